defmodule Sippet.TelemetryTest do
  # Each event of the documented list is made to happen, and has the measurements and metadata that its row names.
  use Sippet.StackCase, async: true

  @moduletag :capture_log

  alias Sippet.{LogHandler, Telemetry, Transports.UDP}

  doctest Telemetry

  @moduletag stack: [telemetry: Sippet.TestTelemetry, t1: 2, behave: &__MODULE__.behave/3]

  def behave(:receive_request, %{headers: %{"X-Test" => ["hang"]}}, _key),
    do: Process.sleep(:infinity)

  def behave(_callback, _argument, _key), do: :ok

  for {id, [:sippet | event], measurements, metadata} <- Telemetry.events() do
    test "#{inspect([:sippet | event])} is as documented, and counted", %{stack: stack} do
      provoke(unquote(id), stack)
      assert_receive {:event, unquote(event), measured, told}, 5_000
      assert measured |> Map.keys() |> Enum.sort() == unquote(Enum.sort(measurements))
      assert told |> Map.keys() |> Enum.sort() == unquote(Enum.sort(metadata))
      assert told.stack == stack
      assert Enum.all?(Map.values(measured), &is_integer/1)
      assert Sippet.stats(stack)[unquote(id)] > 0
    end
  end

  defp provoke(:message_refused, stack), do: deliver(stack, wire("OPTIONS", [{"CSeq", "x"}]))
  defp provoke(:message_dropped, stack), do: deliver(stack, "\r\n\r\n")

  defp provoke(:transport_error, stack),
    do: Router.receive_transport_error(stack, nil, :econnrefused)

  # A module that has to be looked for on the disk could take longer than the request lasts.
  defp provoke(:core_failed, stack) do
    Sippet.register_core(stack, String)
    deliver(stack, wire("OPTIONS"))
  end

  defp provoke(:core_missing, stack) do
    Sippet.register_core(stack, nil)
    deliver(stack, wire("OPTIONS"))
  end

  defp provoke(:core_abandoned, stack),
    do: deliver(stack, wire("OPTIONS", [{"X-Test", "hang"}]))

  defp provoke(:request_rejected, stack) do
    Sippet.drain(stack, 0)
    deliver(stack, wire("OPTIONS"))
  end

  defp provoke(:transaction_ended, stack) do
    deliver(stack, wire("OPTIONS"))
    assert_receive {:receive_request, _request, key}
    Sippet.terminate(stack, key)
  end

  # The time that was granted is over at once.
  defp provoke(:registration_expired, stack) do
    start_timer = fn
      _ms, pid, :expiry -> :erlang.start_timer(0, pid, :expiry)
      ms, pid, name -> :erlang.start_timer(ms, pid, name)
    end

    register(stack, 200, %{start_timer: start_timer})
  end

  defp provoke(:registration_registered, stack), do: register(stack, 200, %{})
  defp provoke(:registration_failed, stack), do: register(stack, 403, %{})

  defp provoke(_id, stack) do
    deliver(stack, wire("OPTIONS"))
    assert_receive {:receive_request, request, _key}
    Sippet.send(stack, Message.to_response(request, 200))
  end

  defp register(stack, status, private) do
    options = [stack: stack, address_of_record: "sip:a@192.0.2.9"]
    {:ok, _pid} = Sippet.Registration.start_link(options, private)
    {request, _destination} = assert_sent(:register)

    response =
      request
      |> Message.to_response(status)
      |> Message.put_header(:contact, request.headers.contact)

    deliver(stack, to_string(response))
  end

  describe "what was sent" do
    test "is told with its method and status", %{stack: stack} do
      deliver(stack, wire("OPTIONS", [{"CSeq", "7 OPTIONS"}]))
      assert_receive {:receive_request, request, _key}
      Sippet.send(stack, Message.to_response(request, 486))
      assert_receive {:event, [:message, :sent], _bytes, %{method: :options, status: 486}}

      via = {{2, 0}, :udp, {"127.0.0.1", 5060}, %{"branch" => Message.create_branch()}}

      asked =
        Message.build_request("FOO", "sip:bob@192.0.2.9")
        |> Message.put_header(:via, [via])
        |> Message.put_header(:from, request.headers.from)
        |> Message.put_header(:to, request.headers.to)
        |> Message.put_header(:call_id, "c")
        |> Message.put_header(:cseq, {1, "FOO"})

      :ok = Sippet.send(stack, asked)
      assert_receive {:event, [:message, :sent], _bytes, %{method: "FOO", status: nil}}
    end
  end

  describe "the end of a transaction" do
    test "is told with its final status", %{stack: stack} do
      for {how, status} <- [send: 486, reply: 403] do
        deliver(stack, wire("OPTIONS"))
        assert_receive {:receive_request, request, key}
        :ok = apply(Sippet, how, [stack, Message.to_response(request, status)])
        assert_receive {:event, [:transaction, :ended], _duration, %{key: ^key} = told}, 1_000
        assert %{status: ^status, reason: :normal} = told
      end
    end

    test "is told without one where there was none", %{stack: stack} do
      deliver(stack, wire("OPTIONS", [{"X-Test", "hang"}]))
      assert_receive {:event, [:transaction, :ended], _duration, told}, 1_000
      assert %{status: nil, reason: :timeout} = told
    end
  end

  defmodule Failing do
    def execute(_event, _measurements, %{stack: stack}) do
      :counters.add(:persistent_term.get({__MODULE__, stack}), 1, 1)
      raise "a listener's defect"
    end
  end

  defmodule NoListener do
    def execute(_event, _measurements), do: :ok
  end

  describe "a module that fails" do
    @describetag stack: [telemetry: Failing]

    test "costs no socket and no request, is told once, and called no more", %{stack: stack} do
      calls = :counters.new(1, [])
      :persistent_term.put({Failing, stack}, calls)
      LogHandler.attach(stack)
      udp = start_supervised!({UDP, name: stack, port: 0, address: "127.0.0.1"})
      ref = Process.monitor(udp)
      {:ok, {ip, port}} = UDP.sockname(udp)
      {:ok, peer} = :gen_udp.open(0, [:binary, ip: ip, active: true])
      :ok = :gen_udp.send(peer, ip, port, "\r\n\r\n")
      :ok = :gen_udp.send(peer, ip, port, wire("OPTIONS"))
      assert_receive {:receive_request, request, _key}, 1_000
      :ok = Sippet.send(stack, Message.to_response(request, 200))
      assert_receive {:udp, ^peer, ^ip, ^port, "SIP/2.0 200 " <> _rest}, 1_000
      refute_received {:DOWN, ^ref, :process, ^udp, _reason}
      assert_receive {:logged, :error, line, %{crash_reason: {%RuntimeError{}, _stacktrace}}}
      assert line =~ "Failing gets no more events"
      refute_received {:logged, _level, _line, _meta}
      assert :counters.get(calls, 1) == 1
      assert %{message_dropped: 1, message_received: 1} = Sippet.stats(stack)
    end
  end

  test "a module without execute/3 is refused at the start" do
    assert_raise ArgumentError, ~r/:telemetry to be .* execute\/3, got: .*NoListener/, fn ->
      Sippet.start_link(name: :refused, telemetry: NoListener)
    end
  end

  describe "without a module to execute them in" do
    @describetag stack: []

    test "events only count", %{stack: stack} do
      assert Sippet.Stack.fetch!(stack).telemetry.module == nil
      deliver(stack, wire("OPTIONS"))
      assert_receive {:receive_request, _request, _key}
      assert Sippet.stats(stack).message_received == 1
      refute_received {:event, _event, _measurements, _metadata}
    end
  end
end
