# What a finished transaction costs while it waits for its last timer, and how many a second go through.
#
#     MIX_ENV=prod mix run bench/transactions.exs [COUNT]
#
# Memory is `:erlang.memory(:total)` before and after COUNT transactions (100,000), divided: what holds the key, the
# octets of the response and all else there is. The rate counts a transaction from the octets of its request to those of
# its response, the core's callback included, without router and sockets.
# `ELIXIR_ERL_OPTIONS="+S 1:1"` gives the rate on one core.

defmodule Bench.Transport do
  @behaviour Sippet.Transport

  @impl true
  def send_message(_handle, _destination, _octets, _key), do: :ok
end

defmodule Bench.Core do
  use Sippet.Core
  alias Sippet.{Message, Stack, Transactions}

  def receive_request(%Message{start_line: %{method: :ack}}, _key, _stack), do: :ok

  def receive_request(request, key, stack) do
    stack = Stack.fetch!(stack)
    response = Message.to_response(request, 200)
    :ok = Transactions.send_response(stack, response)
    if request.start_line.method == :invite, do: acknowledge(stack, request, key)
  end

  # By the branch of the INVITE it is sure to come behind the 200.
  defp acknowledge(stack, request, key) do
    ack = %{request | start_line: %{request.start_line | method: :ack}}
    to = Message.to_response(request, 200).headers.to
    :ok = Transactions.receive_request(stack, Message.put_header(ack, :to, to), key)
  end

  def receive_response(_response, _key, _stack), do: :ok
  def receive_error(_reason, _key, _stack), do: :ok
end

defmodule Bench.Transactions do
  alias Sippet.{Message, Stack, Transactions, Transport}
  alias Sippet.Transactions.Client

  @destination {{127, 0, 0, 1}, 5060}

  def run(count) do
    for {name, one} <- [
          {"server, OPTIONS", &server(&1, :options, &2)},
          {"server, INVITE with its ACK", &server(&1, :invite, &2)},
          {"client, OPTIONS", &client(&1, :options, 200, &2)},
          {"client, INVITE answered 200", &client(&1, :invite, 200, &2)},
          {"client, INVITE answered 486", &client(&1, :invite, 486, &2)}
        ] do
      measure(name, one, count)
    end
  end

  defp measure(name, one, count) do
    stack =
      Stack.create(String.to_atom(name), %{
        core: Bench.Core,
        t1: 500,
        t2: 4_000,
        # A client's OPTIONS waits T4 only; here it waits until all are counted.
        t4: 60_000,
        answer_timeout: 200_000,
        max_transactions: 10 * count,
        telemetry: nil
      })

    {:ok, supervisor} =
      Supervisor.start_link(Transactions.children(stack), strategy: :one_for_one)

    for n <- 1..100, do: one.(stack, -n)
    settle(stack, 100)
    before = memory()

    {micros, :ok} =
      :timer.tc(fn ->
        Enum.each(1..count, &one.(stack, &1))
        settle(stack, 100 + count)
      end)

    bytes = (memory() - before) / count
    row = [name, round(bytes), round(count * 1_000_000 / micros)]
    :io.format("~-30ts ~8b bytes each ~8b transactions/s~n", row)
    Supervisor.stop(supervisor)
  end

  # All are done when all are on the shelf.
  defp settle(stack, count) do
    if Transactions.Shelf.count(stack) < count or Registry.count(stack.name) > 0 do
      Process.sleep(5)
      settle(stack, count)
    else
      :ok
    end
  end

  defp memory do
    for pid <- Process.list(), do: :erlang.garbage_collect(pid)
    :erlang.memory(:total)
  end

  defp server(stack, method, n) do
    request = Message.parse!(request(method, n))
    :ok = Transactions.start_server(stack, request, transport(), @destination)
    throttle(stack, n)
  end

  defp client(stack, method, status, n) do
    request = Message.parse!(request(method, n))
    :ok = Transactions.start_client(stack, request, transport(), @destination)
    response = Message.to_response(request, status)
    :ok = Transactions.receive_response(stack, response, Client.Key.new(response))
    throttle(stack, n)
  end

  # A generator that runs ahead of what it loads would measure its own queue.
  defp throttle(stack, n) do
    if rem(n, 64) == 0 and Registry.count(stack.name) > 256 do
      Process.sleep(1)
      throttle(stack, n)
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

  defp request(method, n) do
    name = method |> Atom.to_string() |> String.upcase()

    """
    #{name} sip:service@127.0.0.1:5060 SIP/2.0\r
    Via: SIP/2.0/UDP 127.0.0.1:5061;branch=z9hG4bK-4421-#{n}-0;rport=5061;received=127.0.0.1\r
    Max-Forwards: 70\r
    From: "sipp" <sip:sipp@127.0.0.1:5061>;tag=4421SIPpTag00#{n}\r
    To: "sut" <sip:service@127.0.0.1:5060>\r
    Call-ID: #{n}-4421@127.0.0.1\r
    CSeq: 1 #{name}\r
    Contact: <sip:sipp@127.0.0.1:5061>\r
    Subject: Performance Test\r
    Content-Length: 0\r
    \r
    """
  end
end

count = System.argv() |> List.first("100000") |> String.to_integer()
Bench.Transactions.run(count)
