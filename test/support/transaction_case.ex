defmodule Sippet.TransactionCase do
  @moduledoc false
  # What tests of transactions share: a stack without router and sockets, whose transport, core and telemetry are the
  # test's own. A test gets `{:sent, destination, octets, key}` for what the transport sends, `{callback, argument,
  # key}` for what the core hears, and `{:event, name, measurements, metadata}`.

  use ExUnit.CaseTemplate

  alias Sippet.{Message, Stack, TestCore, TestTelemetry, TestTransport, Transactions, URI}
  alias Sippet.Transactions.{Client, Server, Shelf}

  # Nothing happens by itself within a test. `fast` is for those that wait for a timer.
  @slow %{t1: 1_000, t2: 4_000, t4: 5_000, answer_timeout: 60_000, least_d: 0}
  @fast %{t1: 4, t2: 16, t4: 40, answer_timeout: 100, least_d: 0}

  @destination {{192, 0, 2, 1}, 5060}

  # How long a test waits for what must come, and for what must not. The machine may be busy.
  @patience 3_000

  using do
    quote do
      import Sippet.TransactionCase
      alias Sippet.{Message, Stack, TestCore, TestTransport, Transactions}
      alias Sippet.Transactions.{Client, Server, Shelf}
    end
  end

  @doc """
  Starts a stack with `:slow` or `:fast` timers and, in their place, `options`.
  """
  def start_stack(speed \\ :slow, options \\ []) do
    # As a stack does that is given a core.
    {:module, TestCore} = Code.ensure_loaded(TestCore)
    name = :"stack#{System.unique_integer([:positive])}"
    timers = if speed == :fast, do: @fast, else: @slow
    own = %{core: TestCore, telemetry: TestTelemetry, max_transactions: 100_000, test: self()}
    stack = Stack.create(name, timers |> Map.merge(own) |> Map.merge(Map.new(options)))
    for child <- Transactions.children(stack), do: start_supervised!(child, id: name)
    stack
  end

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
    :ok = Transactions.receive_response(stack, response, Client.Key.new(request))
    response
  end

  @doc """
  A request from the network, for a transaction that is there.
  """
  def come_again(stack, request),
    do: :ok = Transactions.receive_request(stack, request, Server.Key.new(request))

  @doc """
  A response from the core.
  """
  def answer(stack, request, status) do
    response = Message.to_response(request, status)
    :ok = Transactions.send_response(stack, response)
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

  def pid(stack, key) do
    [{pid, _value}] = Registry.lookup(stack.name, key)
    pid
  end

  @doc """
  The state of a transaction, wherever it is; `nil` where there is none.
  """
  def state(stack, key) do
    case Registry.lookup(stack.name, key) do
      [{pid, _value}] -> pid |> :sys.get_state() |> elem(0)
      [] -> shelved_state(stack, key)
    end
  catch
    # On its way to the shelf, or off it.
    :exit, _reason -> state(stack, key)
  end

  defp shelved_state(stack, key) do
    {rows, _index, _merges} = :ets.lookup_element(stack.board, Shelf, 2)

    case :ets.lookup(rows, Shelf.id(key)) do
      [row] -> elem(row, 4)
      [] -> nil
    end
  end

  @doc """
  Waits until a transaction is on the shelf.
  """
  def await_shelf(stack, key) do
    case Registry.lookup(stack.name, key) do
      [{pid, _value}] ->
        ref = Process.monitor(pid)
        assert_receive {:DOWN, ^ref, :process, _pid, reason}, @patience
        assert reason in [{:shutdown, :shelved}, :noproc]

      [] ->
        assert Transactions.alive?(stack, key)
    end
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
  Nothing is sent, and the core hears of nothing, while the machine handles what it has got.
  """
  def assert_silence do
    refute_receive {:sent, _destination, _octets, _key}, 30
    refute_received {:receive_request, _request, _key}
    refute_received {:receive_response, _response, _key}
    refute_received {:receive_error, _reason, _key}
  end
end
