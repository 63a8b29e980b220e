# What a request costs that is refused, and what one holds that is pending.
#
#     ELIXIR_ERL_OPTIONS="+sbwt none" MIX_ENV=prod mix run bench/overload.exs [COUNT]
#
# Costs are the processor's time in all of the VM, from the octets that a transport takes to those that it is given,
# without sockets: of a request that the core answers at once, and of such as are refused. Memory is
# `:erlang.memory(:total)` before and after COUNT (10,000) requests, divided, a while after the last.

defmodule Bench.Transport do
  @behaviour Sippet.Transport

  @impl true
  def send_message(counter, _destination, octets, _key) do
    _size = IO.iodata_length(octets)
    :counters.add(counter, 1, 1)
  end
end

defmodule Bench.Core do
  use Sippet.Core
  alias Sippet.Message

  def receive_request(_ack, nil, _stack), do: :ok

  def receive_request(%Message{start_line: %{request_uri: %{userinfo: "hang"}}}, _key, _stack),
    do: Process.sleep(:infinity)

  def receive_request(%Message{start_line: %{request_uri: %{userinfo: "forget"}}}, _key, _stack),
    do: :ok

  def receive_request(request, _key, stack) do
    response = Message.to_response(request, 200)
    Sippet.send(stack, response)
    if request.start_line.method == :invite, do: Sippet.retransmit_2xx(stack, response)
  end

  def receive_response(_response, _key, _stack), do: :ok
  def receive_error(_reason, _key, _stack), do: :ok
end

defmodule Bench.Overload do
  alias Sippet.Router

  @rounds 5

  def run(count) do
    IO.puts(
      "microseconds of processor time, best of #{@rounds} rounds of #{count}, and against the first\n"
    )

    costs(count)
    IO.puts("\noctets of memory of one that is pending\n")

    for {name, method, user} <- [
          {"OPTIONS, the callback hangs", "OPTIONS", "hang"},
          {"OPTIONS, never answered", "OPTIONS", "forget"},
          {"INVITE, the callback hangs", "INVITE", "hang"},
          {"INVITE, never answered", "INVITE", "forget"},
          {"INVITE, answered, no ACK", "INVITE", "answer"}
        ],
        do: held(name, method, user, count)
  end

  defp costs(count) do
    cases = [
      {"OPTIONS, answered 200", [], &request("OPTIONS", "answer", &1)},
      {"OPTIONS, refused by 503", [], &request("OPTIONS", "answer", &1)},
      {"OPTIONS, dropped", [max_requests: 1], &request("OPTIONS", "answer", &1)},
      {"malformed, refused by 400", [],
       fn n -> "OPTIONS" |> request("answer", n) |> String.replace("Call-ID", "Call-IX") end}
    ]

    rows =
      for {name, options, make} <- cases do
        messages = for n <- 1..count, do: make.(n)
        times = for round <- 1..@rounds, do: cost(:"cost#{round}", name, options, messages)
        {name, Enum.min(times)}
      end

    [{_name, first} | _] = rows

    for {name, micros} <- rows,
        do: :io.format("~-55ts ~8.1f ~6.2f~n", [name, micros, micros / first])
  end

  defp cost(stack, name, options, messages) do
    {supervisor, counter} = start(stack, options)
    if name =~ "503", do: Sippet.drain(stack, 0)
    :erlang.garbage_collect()
    {before, _} = :erlang.statistics(:runtime)

    for message <- messages,
        do: Router.handle_transport_message(stack, message, {:udp, {127, 0, 0, 1}, 5061})

    if name =~ "200", do: settle(counter, length(messages))
    {later, _} = :erlang.statistics(:runtime)
    Supervisor.stop(supervisor)
    (later - before) * 1_000 / length(messages)
  end

  defp settle(counter, count) do
    if :counters.get(counter, 1) < count do
      Process.sleep(5)
      settle(counter, count)
    end
  end

  defp held(name, method, user, count) do
    {supervisor, _counter} = start(:held, t1: 60_000, t2: 60_000)
    for n <- 1..100, do: deliver(method, user, -n)
    Process.sleep(2_500)
    before = memory()
    for n <- 1..count, do: deliver(method, user, n)
    Process.sleep(3_000)
    bytes = (memory() - before) / count
    :io.format("~-35ts ~8b~n", [name, round(bytes)])
    Supervisor.stop(supervisor)
  end

  defp deliver(method, user, n),
    do:
      Router.handle_transport_message(
        :held,
        request(method, user, n),
        {:udp, {127, 0, 0, 1}, 5061}
      )

  defp memory do
    :erlang.garbage_collect()
    :erlang.memory(:total)
  end

  defp start(stack, options) do
    counter = :counters.new(1, [])
    # Finite, so that they are counted.
    names = [:max_requests, :max_pending, :max_invites, :max_pending_bytes, :max_transactions]
    limits = for name <- names, do: {name, 100_000_000_000}
    options = Keyword.merge([name: stack, core: Bench.Core] ++ limits, options)
    {:ok, supervisor} = Sippet.start_link(options)
    :ok = Sippet.register_transport(stack, :udp, false, via: {Bench.Transport, counter})
    {supervisor, counter}
  end

  defp request(method, user, n) do
    """
    #{method} sip:#{user}@127.0.0.1:5060 SIP/2.0\r
    Via: SIP/2.0/UDP 127.0.0.1:5061;branch=z9hG4bK-4421-#{n}-0;rport\r
    Max-Forwards: 70\r
    From: "sipp" <sip:sipp@127.0.0.1:5061>;tag=4421SIPpTag00#{n}\r
    To: "sut" <sip:service@127.0.0.1:5060>\r
    Call-ID: #{n}-4421@127.0.0.1\r
    CSeq: 1 #{method}\r
    Contact: <sip:sipp@127.0.0.1:5061>\r
    Subject: Performance Test\r
    Content-Length: 0\r
    \r
    """
  end
end

Logger.configure(level: :error)
Bench.Overload.run(System.argv() |> List.first("10000") |> String.to_integer())
