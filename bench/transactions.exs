# What a transaction holds in each of its states, and whether its cost stays when many are there.
#
#     MIX_ENV=prod mix run bench/transactions.exs [--quick]
#
# Memory is `:erlang.memory(:total)` before and after so many transactions, divided: what holds the key, the octets
# of the response, the process and all else there is. Finished ones lie in a table; all others are processes, measured when
# they have been without work for a second. The cost of a transaction is the processor's time in all of the VM from the
# octets of its request to those of its response, the core's callback included, without router and sockets.

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
      "ring" -> answer(stack, request, 180)
      "accept" -> answer(stack, request, 200)
      "reject" -> answer(stack, request, 486)
      "accept-ack" -> acknowledge(stack, request, key, answer(stack, request, 200))
      "reject-ack" -> acknowledge(stack, request, key, answer(stack, request, 486))
    end
  end

  defp answer(stack, request, status) do
    response = Message.to_response(request, status)
    :ok = Transactions.send_response(stack, response)
    response
  end

  # By the branch of the INVITE it is sure to come behind the response.
  defp acknowledge(stack, request, key, response) do
    ack = %{request | start_line: %{request.start_line | method: :ack}}

    :ok =
      Transactions.receive_request(stack, Message.put_header(ack, :to, response.headers.to), key)
  end

  def receive_response(_response, _key, _stack), do: :ok
  def receive_error(_reason, _key, _stack), do: :ok
end

defmodule Bench.Transactions do
  alias Sippet.{Message, Stack, Transactions, Transport}
  alias Sippet.Transactions.Client

  @destination {{127, 0, 0, 1}, 5060}

  # So many processes do not do without hibernation: Sippet.Transactions.Directory.
  @rest 1_300

  # Machine, state, where it is then, and how one comes there.
  @states [
    {"server, INVITE", "proceeding", :process, {:server, :invite, "ring"}},
    {"server, INVITE", "completed", :process, {:server, :invite, "reject"}},
    {"server, INVITE", "confirmed", :shelf, {:server, :invite, "reject-ack"}},
    {"server, INVITE", "accepted, ACK awaited", :process, {:server, :invite, "accept"}},
    {"server, INVITE", "accepted, ACK came", :shelf, {:server, :invite, "accept-ack"}},
    {"server, other", "trying", :process, {:server, :options, "hang"}},
    {"server, other", "completed", :shelf, {:server, :options, "accept"}},
    {"client, INVITE", "calling", :process, {:client, :invite, nil}},
    {"client, INVITE", "proceeding", :process, {:client, :invite, 180}},
    {"client, INVITE", "completed", :shelf, {:client, :invite, 486}},
    {"client, INVITE", "accepted", :shelf, {:client, :invite, 200}},
    {"client, other", "trying", :process, {:client, :options, nil}},
    {"client, other", "proceeding", :process, {:client, :options, 100}},
    {"client, other", "completed", :shelf, {:client, :options, 200}}
  ]

  def memory(processes, rows) do
    IO.puts("\n### Memory of a transaction in each state, in octets\n")
    IO.puts("| machine | state | kept as | octets |\n|---|---|---|---|")

    for {machine, state, where, how} <- @states do
      count = if where == :process, do: processes, else: rows
      kept = if where == :process, do: "process", else: "row of a table"
      IO.puts("| #{machine} | #{state} | #{kept} | #{octets(where, how, count)} |")
    end
  end

  defp octets(where, how, count) do
    # Nothing ends and nothing is repeated before all are counted.
    {stack, supervisor} = start(t1: 60_000, t4: 60_000)
    for n <- 1..100, do: one(how, stack, -n)
    settle(where, stack, 100)
    before = total()
    for n <- 1..count, do: one(how, stack, n)
    settle(where, stack, 100 + count)
    octets = round((total() - before) / count)
    Supervisor.stop(supervisor)
    octets
  end

  # Each size has the transactions of the one before, and the time is that of others, which come, wait and expire.
  def scale(sizes, measured) do
    IO.puts("\n### The cost of a transaction while so many others are live\n")
    IO.puts("| live | µs for OPTIONS → 200 | to the first | octets each |\n|---|---|---|---|")
    {stack, supervisor} = start(t1: 50, t4: 60_000)
    lasting = %{stack | options: %{stack.options | t1: 60_000}}
    how = {:server, :options, "accept"}
    for n <- 1..2_000, do: one(how, stack, -n)
    empty = total()

    Enum.reduce(sizes, {0, nil}, fn size, {live, first} ->
      for n <- (live + 1)..size, do: one(how, lasting, n)
      settle(:shelf, stack, size)
      octets = round((total() - empty) / size)
      best = Enum.min(for round <- 1..3, do: micros(how, stack, measured, size * 10 + round))
      first = first || best
      IO.puts("| #{size} | #{decimals(best, 1)} | #{decimals(best / first, 2)} | #{octets} |")
      {size, first}
    end)

    Supervisor.stop(supervisor)
  end

  defp micros(how, stack, count, run) do
    {before, _since} = :erlang.statistics(:runtime)
    for n <- 1..count, do: one(how, stack, "#{run}-#{n}", n)
    wait(fn -> Registry.count(stack.name) == 0 end)
    {now, _since} = :erlang.statistics(:runtime)
    (now - before) * 1_000 / count
  end

  defp decimals(number, decimals), do: :erlang.float_to_binary(number / 1, decimals: decimals)

  defp start(times) do
    options =
      Map.merge(
        %{
          core: Bench.Core,
          t1: 500,
          t2: 120_000,
          t4: 5_000,
          answer_timeout: 600_000,
          max_transactions: 10_000_000,
          telemetry: nil
        },
        Map.new(times)
      )

    stack = Stack.create(:bench, options)
    Stack.put_transports(stack, [transport()])

    {:ok, supervisor} =
      Supervisor.start_link(Transactions.children(stack), strategy: :one_for_one)

    {stack, supervisor}
  end

  defp settle(:shelf, stack, count) do
    wait(fn ->
      Transactions.Shelf.count(stack) >= count and Registry.count(stack.name) == 0
    end)
  end

  defp settle(:process, stack, count) do
    wait(fn -> Registry.count(stack.name) == count end)
    Process.sleep(@rest)
  end

  # One that never comes would be a defect, and no reason to wait for ever.
  defp wait(done, left \\ 12_000) do
    cond do
      done.() -> :ok
      left == 0 -> raise "the transactions have not come to their state within a minute"
      true -> Process.sleep(5) && wait(done, left - 1)
    end
  end

  # The machines are left alone: a collection would wake those that hibernate.
  defp total do
    :erlang.garbage_collect()
    Process.sleep(200)
    :erlang.memory(:total)
  end

  defp one(how, stack, n), do: one(how, stack, n, n)

  defp one({:server, method, user}, stack, id, n) do
    request = Message.parse!(request(method, user, id))
    :ok = Transactions.start_server(stack, request, transport(), @destination)
    throttle(stack, n)
  end

  defp one({:client, method, status}, stack, id, n) do
    request = Message.parse!(request(method, "service", id))
    :ok = Transactions.start_client(stack, request, transport(), @destination)

    if status do
      response = Message.to_response(request, status)
      :ok = Transactions.receive_response(stack, response, Client.Key.new(response))
    end

    throttle(stack, n)
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
    Bench.Transactions.memory(1_000, 5_000)
    Bench.Transactions.scale([5_000, 10_000, 20_000], 2_000)

  [] ->
    Bench.Transactions.memory(5_000, 20_000)
    Bench.Transactions.scale([125_000, 250_000, 500_000], 10_000)
end
