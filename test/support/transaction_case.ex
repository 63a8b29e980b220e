defmodule Sippet.TransactionCase do
  @moduledoc false
  # What tests of transactions share: a stack without router and sockets, whose transport, core and telemetry are the
  # test's own. A test gets `{:sent, destination, octets, key}` for what the transport sends, `{callback, argument,
  # key}` for what the core hears, and `{:event, name, measurements, metadata}`.

  use ExUnit.CaseTemplate

  alias Sippet.{
    Message,
    Resolver,
    Stack,
    TestCore,
    TestTelemetry,
    TestTransport,
    Transactions,
    URI
  }

  alias Sippet.Transactions.{Client, Clock, Server}

  # Nothing happens by itself within a test. `fast` is for those that wait for a timer; with `still` time stands still but
  # for `advance/2`, and the timers are those of RFC 3261.
  @still %{t1: 500, t2: 4_000, t4: 5_000, answer_timeout: 180_000, ring_timeout: 190_000}
  @slow %{t1: 1_000, t2: 4_000, t4: 5_000, answer_timeout: 60_000, least_d: 0}
  @fast %{t1: 4, t2: 16, t4: 40, answer_timeout: 100, least_d: 0}

  @destination {{192, 0, 2, 1}, 5060}

  # How long a test waits for what must come, and for what must not. The machine may be busy.
  @patience 10_000

  using do
    quote do
      import Sippet.TransactionCase
      alias Sippet.{Message, Stack, TestCore, TestTransport, Transactions}
      alias Sippet.Transactions.{Client, Server}
    end
  end

  @doc """
  Starts a stack with `:slow`, `:fast` or `:still` timers and, in their place, `options`.
  """
  def start_stack(speed \\ :slow, options \\ []) do
    # As a stack does that is given a core.
    {:module, TestCore} = Code.ensure_loaded(TestCore)
    name = :"stack#{System.unique_integer([:positive])}"
    timers = timers(speed)
    own = %{core: TestCore, telemetry: TestTelemetry, max_transactions: 100_000, test: self()}
    options = timers |> Map.merge(own) |> Map.merge(Map.new(options))
    stack = Stack.create(stack_options(name, options), Transactions.create(name), Resolver.new())
    start_supervised!({Resolver, stack}, id: Resolver.name(name))
    start_supervised!({Transactions.WorkerSupervisor, {stack, Sippet.Router.Inbound}}, id: name)
    # What a test starts is not to be found by workers that have yet to look into their tables.
    Transactions.settle(stack)
    stack
  end

  @doc """
  The options of a stack; what users have no option for is private.
  """
  def stack_options(name, options) do
    {known, private} = Map.split(options, Keyword.keys(Stack.Options.schema()))
    Stack.Options.new([{:name, name} | Map.to_list(known)], private)
  end

  defp timers(:slow), do: @slow
  defp timers(:fast), do: @fast
  defp timers(:still), do: Map.put(@still, :clock, Clock.new())

  def destination, do: @destination

  defmacro assert_soon(pattern) do
    quote do: assert_receive(unquote(pattern), unquote(@patience))
  end

  @doc """
  A request as it comes in or goes out, with a branch of its own.
  """
  def request(method, headers \\ []) do
    request = %{
      Message.build_request(method, "sip:bob@biloxi.com")
      | headers: %{
          via: [via(%{"branch" => Message.create_branch()})],
          from: {"Alice", URI.parse!("sip:alice@atlanta.com"), %{"tag" => Message.create_tag()}},
          to: {"Bob", URI.parse!("sip:bob@biloxi.com"), %{}},
          call_id: Message.create_call_id(),
          cseq: {1, method},
          max_forwards: 70
        }
    }

    put_all(request, headers)
  end

  def via(params), do: {{2, 0}, :udp, {"pc33.atlanta.com", 5060}, params}

  def put_all(message, headers) do
    Enum.reduce(headers, message, fn {name, value}, message ->
      Message.put_header(message, name, value)
    end)
  end

  @doc """
  The same request with another method: what a CANCEL or an ACK shares with its INVITE.
  """
  def as(request, method, headers \\ []) do
    %{request | start_line: %{request.start_line | method: method}}
    |> put_all([{:cseq, {elem(request.headers.cseq, 0), method}} | headers])
  end

  @doc """
  Starts a client transaction, and takes the first sending of its request.
  """
  def start_client(stack, request, transport \\ TestTransport.new()) do
    :ok = Transactions.start_client(stack, request, transport, @destination)
    key = Client.Key.new(request)
    octets = Message.to_string(request)
    assert_soon({:sent, @destination, ^octets, ^key})
    key
  end

  @doc """
  Starts a server transaction, and takes its request from the core.
  """
  def start_server(stack, request, transport \\ TestTransport.new()) do
    :ok = Transactions.start_server(stack, request, transport, @destination)
    key = Server.Key.new(request)
    assert_soon({:receive_request, ^request, ^key})
    key
  end

  @doc """
  A response from the network.
  """
  def come(stack, request, status) do
    response = Message.to_response(request, status)
    :ok = patiently(stack, &Transactions.receive_response(&1, response, Client.Key.new(request)))
    response
  end

  # A worker takes no more than has room to wait.
  defp patiently(stack, receive) do
    with {:error, :busy} <- receive.(stack) do
      Transactions.settle(stack)
      patiently(stack, receive)
    end
  end

  @doc """
  A request from the network, for a transaction that is there.
  """
  def come_again(stack, request),
    do:
      :ok = patiently(stack, &Transactions.receive_request(&1, request, Server.Key.new(request)))

  @doc """
  A response from the core.
  """
  def answer(stack, request, status) do
    response = Message.to_response(request, status)
    assert Transactions.send_response(stack, response) in [:ok, {:error, :already_answered}]
    response
  end

  @doc """
  A response from the core, taken from the transport.
  """
  def answered(stack, request, status) do
    octets = stack |> answer(request, status) |> Message.to_string()
    assert_soon({:sent, @destination, ^octets, _key})
    octets
  end

  @doc """
  The state of a transaction; `nil` where there is none.
  """
  def state(stack, key) do
    Transactions.settle(stack)
    with %{state: state} <- Transactions.info(stack, key), do: state
  end

  @doc """
  The process that works on a transaction.
  """
  def worker_pid(stack, key) do
    %{worker: index} = Transactions.info(stack, key)
    Process.whereis(elem(stack.transactions.workers.names, index - 1))
  end

  @doc """
  Kills the workers of some transactions. `meanwhile` is called while none of them lives.
  """
  def kill_workers(stack, keys, meanwhile \\ fn -> :ok end) do
    workers = keys |> Enum.map(&worker_pid(stack, &1)) |> Enum.uniq()
    {:dictionary, dictionary} = Process.info(hd(workers), :dictionary)
    supervisor = hd(dictionary[:"$ancestors"])
    :sys.suspend(supervisor)

    for worker <- workers do
      ref = Process.monitor(worker)
      Process.exit(worker, :kill)
      assert_receive {:DOWN, ^ref, :process, ^worker, :killed}, @patience
    end

    meanwhile.()
    :sys.resume(supervisor)
    # It has started them anew when it answers.
    Supervisor.count_children(supervisor)
    Transactions.settle(stack)
  end

  @doc """
  Waits until a transaction has ended, and gives how.
  """
  def await_end(stack, key) do
    assert_receive {:event, [:transaction, :ended], _measurements, %{key: ^key, reason: reason}},
                   @patience

    refute Transactions.alive?(stack, key)
    reason
  end

  @doc """
  Lets so many milliseconds pass in a `:still` stack. What became due is sent when this returns.
  """
  def advance(stack, ms), do: Transactions.advance(stack, ms)

  @doc """
  Takes what was sent so far: the octets, in order.
  """
  def sent do
    receive do
      {:sent, _destination, octets, _key} -> [octets | sent()]
    after
      0 -> []
    end
  end

  @doc """
  A transport that tells when each message was sent, by the stack's clock, as `{:at, ms}`.
  """
  def timed_transport(stack, options \\ []) do
    test = self()

    outcome = fn _octets ->
      send(test, {:at, Clock.now(stack)})
      :ok
    end

    TestTransport.new([outcome: outcome] ++ options)
  end

  @doc """
  The times at which something was sent so far.
  """
  def times do
    receive do
      {:at, time} -> [time | times()]
    after
      0 -> []
    end
  end

  @doc """
  Nothing is sent, and the core hears of nothing, while the machine handles what it has got.
  """
  def assert_silence do
    refute_receive {:sent, _destination, _octets, _key}, 30
    refute_received {:receive_request, _request, _key}
    refute_received {:receive_response, _response, _key}
    refute_received {:receive_error, _reason, _key}
  end
end
