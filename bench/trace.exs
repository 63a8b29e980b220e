# What a trace costs the process that takes a message: `mix run --no-start bench/trace.exs`.
#
# A response of which no transaction knows is handed to a stack: it is parsed, counted and dropped. The trace is off, on
# for another Call-ID, on with all that it may have, and full. The last columns are ratios to the first.

Code.require_file("support.exs", __DIR__)

defmodule Bench.Trace do
  alias Sippet.Stack.Tap
  alias Sippet.Transport.Registrations

  @remote {:udp, {192, 0, 2, 7}, 5060}
  @rounds 9
  @count 20_000

  def run do
    {:ok, _} = Application.ensure_all_started(:logger)
    {:ok, _} = Sippet.start_link(name: :bench)
    text = File.read!(Path.join(__DIR__, "messages/d_200ok.sip"))
    text = String.replace(text, "SIP/2.0 200", "SIP/2.0 404")

    ways = [
      {"off", fn -> [] end},
      {"another Call-ID", fn -> [trace(call_id: "somebody else's")] end},
      {"full", fn -> [full(text)] end},
      {"on", fn -> [trace(max_messages: 10_000_000, max_octets: 1_000_000_000)] end},
      {"a flood: calls are full", fn -> [trace(max_calls: 1, call_id: nil)] end}
    ]

    best =
      for _ <- 1..@rounds, {name, start} <- ways, reduce: %{} do
        best ->
          traces = start.()
          nanos = Bench.nanos(fn -> deliver(text) end, @count)
          Enum.each(traces, &GenServer.stop/1)
          Map.update(best, name, nanos, &min(&1, nanos))
      end

    rows =
      for {name, _start} <- ways,
          do: [name, Bench.whole(best[name]), Bench.ratio(best[name] / best["off"])]

    Bench.table(["trace", "ns", "ratio"], rows)
    read()
  end

  # The read alone, which is all that a message costs while no trace runs.
  defp read do
    stack = Sippet.Stack.fetch!(:bench)
    transport = nil
    empty = Bench.nanos(fn -> :ok end, 1_000_000)
    tap = Bench.nanos(fn -> Tap.received(stack, "", @remote, transport) end, 1_000_000)
    IO.puts("\nthe check alone: #{Bench.ratio(tap - empty)} ns")
  end

  defp deliver(text), do: Sippet.Router.handle_transport_message(:bench, text, @remote)

  defp trace(options) do
    {:ok, trace} = Sippet.Trace.start(:bench, options)
    trace
  end

  defp full(text) do
    trace = trace(max_messages: 1)
    deliver(text)
    %{full?: true} = Sippet.Trace.info(trace)
    :sys.get_state(Registrations.name(:bench))
    trace
  end
end

Bench.Trace.run()
