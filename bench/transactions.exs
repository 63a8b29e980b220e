# What a transaction holds in each of its states, and whether its cost stays when many are there.
#
#     MIX_ENV=prod mix run bench/transactions.exs [--quick]
#
# Memory is `:erlang.memory(:total)` before and after so many transactions, divided: the row with its octets, its
# deadlines, and all else there is. The octets of the request, which are 4xx here, are in it. The cost of a transaction is
# the processor's time in all of the VM from the octets of its request to those of its response, the core's callback
# included, without router and sockets.

defmodule Bench.Transport do
  @behaviour Sippet.Transport

  @impl true
  def send_message(_handle, _destination, _octets, _key), do: :ok
end

# Does what the user part of the Request-URI says.
defmodule Bench.Core do
  use Sippet.Core
  alias Sippet.{Message, Stack, Transactions}

  def receive_request(%Message{start_line: %{method: :ack}}, _key, _stack), do: :ok

  def receive_request(request, key, name) do
    stack = Stack.fetch!(name)

    case request.start_line.request_uri.userinfo do
      "hang" -> :ok
      "work" -> Process.sleep(:infinity)
      "ring" -> answer(stack, request, 180)
      "accept" -> answer(stack, request, 200)
      "reject" -> answer(stack, request, 486)
      "repeat" -> repeat(stack, request)
      "reject-ack" -> acknowledge(stack, request, key, answer(stack, request, 486))
    end
  end

  defp answer(stack, request, status) do
    response = Message.to_response(request, status)
    :ok = Transactions.send_response(stack, response)
    response
  end

  defp repeat(stack, request),
    do: :ok = Transactions.retransmit_2xx(stack, answer(stack, request, 200))

  # By the branch of the INVITE it is sure to come behind the response.
  defp acknowledge(stack, request, key, response) do
    ack = %{request | start_line: %{request.start_line | method: :ack}}

    ack = Message.put_header(ack, :to, response.headers.to)
    Bench.Transactions.until_taken(fn -> Transactions.receive_request(stack, ack, key) end)
  end

  def receive_response(_response, _key, _stack), do: :ok
  def receive_error(_reason, _key, _stack), do: :ok
end

defmodule Bench.Transactions do
  alias Sippet.{Message, Stack, Transactions, Transport}
  alias Sippet.Transactions.{Client, Server}

  @destination {{127, 0, 0, 1}, 5060}

  # Machine, state, and how one comes there.
  @states [
    {"server, INVITE", "proceeding", {:server, :invite, "ring"}},
    {"server, INVITE", "completed", {:server, :invite, "reject"}},
    {"server, INVITE", "confirmed", {:server, :invite, "reject-ack"}},
    {"server, INVITE", "accepted, ACK awaited", {:server, :invite, "repeat"}},
    {"server, INVITE", "accepted", {:server, :invite, "accept"}},
    {"server, other", "trying", {:server, :options, "hang"}},
    {"server, other", "trying, the callback at work", {:server, :options, "work"}},
    {"server, other", "completed", {:server, :options, "accept"}},
    {"client, INVITE", "calling", {:client, :invite, nil}},
    {"client, INVITE", "proceeding", {:client, :invite, 180}},
    {"client, INVITE", "completed", {:client, :invite, 486}},
    {"client, INVITE", "accepted", {:client, :invite, 200}},
    {"client, other", "trying", {:client, :options, nil}},
    {"client, other", "proceeding", {:client, :options, 100}},
    {"client, other", "completed", {:client, :options, 200}}
  ]

  def memory(count) do
    IO.puts("\n### Memory of a transaction in each state, in octets\n")
    request = byte_size(request(:invite, "ring", 1))
    IO.puts("The INVITE has #{request} octets, which are counted where they are kept.\n")
    IO.puts("| machine | state | octets |\n|---|---|---|")

    for {machine, state, how} <- @states,
        do: IO.puts("| #{machine} | #{state} | #{octets(how, count)} |")
  end

  defp octets(how, count) do
    # Nothing ends and nothing is repeated before all are counted.
    {stack, supervisor} = start(t1: 60_000, t4: 60_000)
    work? = match?({:server, _method, "work"}, how)
    for n <- 1..100, do: one(how, stack, -n)
    settle(stack, 100, work?)
    before = total()
    for n <- 1..count, do: one(how, stack, n)
    settle(stack, 100 + count, work?)
    octets = round((total() - before) / count)
    stop(supervisor, stack)
    octets
  end

  # Each size has the transactions of the one before, and the time is that of others, which come, are answered, and are
  # ended.
  def scale(sizes, measured) do
    IO.puts("\n### The cost of a transaction while so many others are live\n")
    IO.puts("| live | µs for OPTIONS → 200 | to the first | octets each |\n|---|---|---|---|")
    {stack, supervisor} = start(t1: 60_000, t4: 60_000)
    how = {:server, :options, "accept"}
    micros(how, stack, measured, "warm")
    empty = total()

    Enum.reduce(sizes, {0, nil}, fn size, {live, first} ->
      for n <- (live + 1)..size, do: one(how, stack, n)
      settle(stack, size)
      octets = round((total() - empty) / size)
      best = Enum.min(for round <- 1..3, do: micros(how, stack, measured, size * 10 + round))
      first = first || best
      IO.puts("| #{size} | #{decimals(best, 1)} | #{decimals(best / first, 2)} | #{octets} |")
      {size, first}
    end)

    stop(supervisor, stack)
  end

  defp micros(how, stack, count, run) do
    live = Transactions.count(stack)
    {before, _since} = :erlang.statistics(:runtime)
    keys = for n <- 1..count, do: one(how, stack, "#{run}-#{n}", n)
    settle(stack, live + count)
    for key <- keys, do: Transactions.terminate(stack, key)
    settle(stack, live)
    {now, _since} = :erlang.statistics(:runtime)
    (now - before) * 1_000 / count
  end

  defp decimals(number, decimals), do: :erlang.float_to_binary(number / 1, decimals: decimals)

  defp start(times) do
    options =
      Stack.Options.new(
        [name: :bench, core: Bench.Core, t2: 120_000, answer_timeout: 600_000] ++
          [max_transactions: 10_000_000] ++ times
      )

    stack = Stack.create(options, Transactions.create(:bench))

    Stack.put_transports(stack, [transport()])

    {:ok, supervisor} =
      Supervisor.start_link([{Transactions.WorkerSupervisor, {stack, Sippet.Router.Inbound}}],
        strategy: :one_for_one
      )

    {stack, supervisor}
  end

  defp stop(supervisor, stack) do
    Supervisor.stop(supervisor)
    for pid <- Process.list(), callback?(pid), do: Process.exit(pid, :kill)
    for table <- :ets.all(), :ets.info(table, :owner) == self(), do: :ets.delete(table)
    :persistent_term.erase({Stack, stack.name})
  end

  # All have come, and no callback of theirs runs, but where it shall.
  defp settle(stack, count, work? \\ false) do
    wait(fn -> Transactions.count(stack) == count end)
    if work?, do: Process.sleep(1_000), else: rest(stack)
  end

  defp rest(stack) do
    Transactions.settle(stack)
    wait(fn -> Enum.all?(Process.list(), &(not callback?(&1))) end)
    Transactions.settle(stack)
  end

  defp callback?(pid) do
    case Process.info(pid, :initial_call) do
      {:initial_call, {Sippet.Core.CallbackRunner, _function, _arity}} -> true
      _other -> false
    end
  end

  # One that never comes would be a defect, and no reason to wait for ever.
  defp wait(done, left \\ 12_000) do
    cond do
      done.() -> :ok
      left == 0 -> raise "the transactions have not come to their state within a minute"
      true -> Process.sleep(5) && wait(done, left - 1)
    end
  end

  defp total do
    for pid <- Process.list(), do: :erlang.garbage_collect(pid)
    Process.sleep(200)
    :erlang.memory(:total)
  end

  defp one(how, stack, n), do: one(how, stack, n, n)

  defp one({:server, method, user}, stack, id, n) do
    request = Message.parse!(request(method, user, id))
    :ok = Transactions.start_server(stack, request, transport(), @destination)
    throttle(stack, n)
    Server.Key.new(request)
  end

  defp one({:client, method, status}, stack, id, n) do
    request = Message.parse!(request(method, "service", id))
    :ok = Transactions.start_client(stack, request, transport(), @destination)

    if status do
      response = Message.to_response(request, status)
      key = Client.Key.new(response)
      until_taken(fn -> Transactions.receive_response(stack, response, key) end)
    end

    throttle(stack, n)
  end

  # A worker takes so many from others and no more.
  def until_taken(give) do
    with {:error, :busy} <- give.() do
      Process.sleep(1)
      until_taken(give)
    end
  end

  # A generator that runs ahead of what it loads would measure its own queue.
  defp throttle(_stack, n) do
    if rem(n, 64) == 0 and :erlang.statistics(:total_run_queue_lengths) > 64 do
      Process.sleep(1)
      throttle(nil, n)
    end
  end

  defp transport do
    %Transport{
      protocol: :udp,
      reliable?: false,
      pid: self(),
      module: Bench.Transport,
      handle: self()
    }
  end

  defp request(method, user, id) do
    name = method |> Atom.to_string() |> String.upcase()

    """
    #{name} sip:#{user}@127.0.0.1:5060 SIP/2.0\r
    Via: SIP/2.0/UDP 127.0.0.1:5061;branch=z9hG4bK-4421-#{id}-0;rport=5061;received=127.0.0.1\r
    Max-Forwards: 70\r
    From: "sipp" <sip:sipp@127.0.0.1:5061>;tag=4421SIPpTag00#{id}\r
    To: "sut" <sip:service@127.0.0.1:5060>\r
    Call-ID: #{id}-4421@127.0.0.1\r
    CSeq: 1 #{name}\r
    Contact: <sip:sipp@127.0.0.1:5061>\r
    Subject: Performance Test\r
    Content-Length: 0\r
    \r
    """
  end
end

case System.argv() do
  ["--quick"] ->
    Bench.Transactions.memory(5_000)
    Bench.Transactions.scale([5_000, 10_000, 20_000], 2_000)

  [] ->
    Bench.Transactions.memory(20_000)
    Bench.Transactions.scale([125_000, 250_000, 500_000], 10_000)
end
