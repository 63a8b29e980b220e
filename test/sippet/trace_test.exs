defmodule Sippet.TraceTest do
  use Sippet.StackCase, async: true

  alias Sippet.{Stack, Trace}
  alias Sippet.Stack.Tap
  alias Sippet.Transport.Registrations

  doctest Sippet.Trace
  doctest Sippet.Trace.Call
  doctest Sippet.Trace.Entry

  @local {{127, 0, 0, 1}, 5060}
  @peer {{192, 0, 2, 7}, 4321}

  # The process answers after it has taken what came before.
  defp taps(stack) do
    :sys.get_state(Registrations.name(stack))
    stack |> Stack.fetch!() |> Map.fetch!(:taps) |> :atomics.get(1)
  end

  defp answered(stack, text, status \\ 200) do
    deliver(stack, text)
    assert_receive {:receive_request, request, _key}, 500
    :ok = Sippet.send(stack, Message.to_response(request, status))
    assert_sent(status)
  end

  defp labels(trace), do: for(call <- Trace.calls(trace), do: Enum.map(call.entries, & &1.label))

  describe "a trace" do
    test "has what comes and goes, with addresses and times", %{stack: stack} do
      {:ok, trace} = Trace.start(stack)
      text = wire("OPTIONS", [{"Call-ID", "one"}])
      before = System.os_time(:microsecond)
      answered(stack, text)

      assert [%{call_id: "one", entries: [request, response]}] = Trace.calls(trace)
      assert {request.source, request.destination} == {@peer, @local}
      assert request.octets == text
      # RFC3581§4 - the answer to a request with rport goes to where it came from
      assert {response.source, response.destination} == {@local, @peer}
      assert response.label == "200 OK"
      assert before <= request.time and request.time <= response.time
      assert response.time <= System.os_time(:microsecond)
    end

    test "has what is repeated, and marks it", %{stack: stack} do
      {:ok, trace} = Trace.start(stack)
      text = wire("OPTIONS")
      answered(stack, text)
      deliver(stack, text)
      assert_sent(200)

      assert labels(trace) == [["OPTIONS", "200 OK", "OPTIONS", "200 OK"]]
      assert [_, _, again, answer] = ladder(trace)
      assert again =~ "OPTIONS (again ×1)"
      assert answer =~ "200 OK (again ×1)"
    end

    test "has what is sent first and again by the stack", %{stack: stack} do
      {:ok, trace} = Trace.start(stack)

      request =
        "OPTIONS"
        |> wire([{"Via", "SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKown"}])
        |> Message.parse!()
        |> Map.put(:target, {:udp, "192.0.2.7", 4321})

      :ok = Sippet.send(stack, request)
      assert_sent(:options)
      assert_sent(:options)
      assert [[_first, _again | _]] = labels(trace)
      # The address was given as text, and is the address all the same.
      assert [%{entries: [%{source: @local, destination: @peer} | _]}] = Trace.calls(trace)
      assert Enum.at(ladder(trace), 1) =~ "again ×1"
    end

    test "has what could not be parsed, and its answer", %{stack: stack} do
      {:ok, trace} = Trace.start(stack)
      deliver(stack, wire("OPTIONS", [{"CSeq", "x"}, {"Call-ID", "bad"}]))
      assert_receive {:sent, _destination, "SIP/2.0 400 " <> _rest, _key}, 500
      deliver(stack, "\r\n\r\n")
      deliver(stack, "nonsense\r\n\r\n")

      assert [
               %{call_id: "bad", entries: [request, response]},
               %{call_id: nil, entries: [nonsense]}
             ] = Trace.calls(trace)

      assert request.error.header == "CSeq"
      assert "400 Bad Request" <> _ = response.label
      assert {request.label, request.cseq} == {"OPTIONS", nil}
      assert trace |> ladder() |> hd() =~ "OPTIONS (malformed)"
      assert nonsense.error.reason == :invalid_start_line
    end

    test "gives a text that is an address one lane with the address", %{stack: stack} do
      {:ok, trace} = Trace.start(stack)
      answered(stack, wire("INVITE", [{"Call-ID", "a"}]), 200)

      ack =
        "ACK"
        |> wire([{"Call-ID", "a"}, {"Via", "SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKack"}])
        |> Message.parse!()
        |> Map.put(:target, {:udp, "192.0.2.7", 4321})

      :ok = Sippet.send(stack, ack)

      assert [%{entries: [_invite, _ok, %{label: "ACK", destination: @peer}]}] =
               Trace.calls(trace)
    end

    test "tells of a transport without an address as local", %{stack: stack} do
      {:ok, trace} = Trace.start(stack)
      transport = %{hd(Stack.transports(Stack.fetch!(stack))) | address: nil}
      Router.handle_transport_message(stack, wire("OPTIONS"), remote(), transport)
      assert [%{entries: [%{destination: {"local", nil}} | _]}] = Trace.calls(trace)
    end
  end

  defp ladder(trace) do
    [_title, _blank, _head | rungs] =
      trace |> Trace.draw(:ladder) |> String.split("\n", trim: false)

    Enum.reject(rungs, &(&1 == ""))
  end

  describe "which calls" do
    test "are followed by their Call-ID", %{stack: stack} do
      {:ok, trace} = Trace.start(stack, call_id: "wanted")

      for id <- ["other", "wanted", "unwanted-too"],
          do: answered(stack, wire("OPTIONS", [{"Call-ID", id}]))

      assert [%{call_id: "wanted", entries: [_, _]}] = Trace.calls(trace)
    end

    test "are shown as a whole for a method that came late", %{stack: stack} do
      {:ok, trace} = Trace.start(stack, method: "INFO")

      for id <- ["a", "b"], do: answered(stack, wire("INVITE", [{"Call-ID", id}]), 486)
      assert Trace.calls(trace) == []
      assert %{calls: 0, messages: 0, forgotten: 0} = info = Trace.info(trace)
      # The stack's own 100 may be among them.
      assert info.waiting in 4..6
      answered(stack, wire("INFO", [{"Call-ID", "b"}]))
      answered(stack, wire("OPTIONS", [{"Call-ID", "b"}]))

      assert [%{call_id: "b", entries: entries}] = Trace.calls(trace)
      labels = for %{label: label} <- entries, label != "100 Trying", do: label

      # Nobody acknowledges, and so the 486 may come again.
      assert ["INVITE", "486 Busy Here" | rest] = labels
      assert ["INFO", "200 OK", "OPTIONS", "200 OK"] = rest -- ["486 Busy Here"]

      assert %{calls: 1, messages: messages, waiting: waiting} = Trace.info(trace)
      assert messages == length(entries)
      assert waiting in 2..5
    end

    test "that are not asked for by Call-ID do not wait", %{stack: stack} do
      {:ok, trace} = Trace.start(stack, call_id: "b")
      for id <- ["a", "ab"], do: deliver(stack, wire("OPTIONS", [{"Call-ID", id}]))
      assert %{calls: 0, waiting: 0} = Trace.info(trace)

      {:ok, trace} = Trace.start(stack, call_id: "b", method: :invite)
      for id <- ["b", "ab", "b"], do: deliver(stack, wire("OPTIONS", [{"Call-ID", id}]))
      assert %{calls: 0, waiting: 2} = Trace.info(trace)
    end

    test "that wait are bounded: the oldest messages are forgotten", %{stack: stack} do
      {:ok, trace} = Trace.start(stack, method: :info, max_messages: 3)

      for id <- ["a", "b", "a", "a", "c"],
          do: deliver(stack, wire("OPTIONS", [{"Call-ID", id}]))

      assert %{waiting: 3, forgotten: 2, full?: false, ignored: 0} = Trace.info(trace)
      deliver(stack, wire("INFO", [{"Call-ID", "a"}]))
      assert [%{entries: [%{label: "OPTIONS"}, %{label: "OPTIONS"}, _]}] = Trace.calls(trace)
      assert %{full?: true, waiting: 0, messages: 3} = Trace.info(trace)
    end

    test "wait no more once they are shown", %{stack: stack} do
      {:ok, trace} = Trace.start(stack, method: :info)
      for id <- ["a", "b", "b"], do: deliver(stack, wire("OPTIONS", [{"Call-ID", id}]))
      deliver(stack, wire("INFO", [{"Call-ID", "b"}]))
      assert %{waiting: 1, messages: 3, forgotten: 0} = Trace.info(trace)
    end

    test "that wait are bounded in memory", %{stack: stack} do
      {:ok, trace} = Trace.start(stack, method: :info, max_octets: 10_000)
      long = String.duplicate("x", 2_000)

      for id <- ["a", "b", "c"],
          do: deliver(stack, wire("OPTIONS", [{"X-Long", long}, {"Call-ID", id}]))

      assert %{waiting: 1, forgotten: 2} = Trace.info(trace)
      # What waits counts once its call is shown.
      deliver(stack, wire("INFO", [{"Call-ID", "c"}]))
      assert %{messages: 2, octets: octets} = Trace.info(trace)
      assert octets > 5_000
    end

    test "of which there are too many are not waited for", %{stack: stack} do
      {:ok, trace} = Trace.start(stack, method: :info, max_calls: 1)
      for id <- ["a", "b"], do: deliver(stack, wire("OPTIONS", [{"Call-ID", id}]))
      deliver(stack, wire("INFO", [{"Call-ID", "b"}]))
      assert %{calls: 1, messages: 2, waiting: 0} = Trace.info(trace)
      deliver(stack, wire("OPTIONS", [{"Call-ID", "c"}]))
      deliver(stack, wire("INFO", [{"Call-ID", "c"}]))
      assert %{calls: 1, waiting: 0, ignored: 1} = Trace.info(trace)
    end

    test "that fill the trace with what waited leave it full", %{stack: stack} do
      {:ok, trace} = Trace.start(stack, method: :info, max_messages: 2)
      for _ <- 1..2, do: deliver(stack, wire("OPTIONS", [{"Call-ID", "a"}]))
      deliver(stack, wire("INFO", [{"Call-ID", "a"}]))
      assert %{messages: 2, full?: true, ignored: 1} = Trace.info(trace)
      assert taps(stack) == 0
    end

    test "are followed by a method, to their end", %{stack: stack} do
      {:ok, trace} = Trace.start(stack, method: "INVITE")
      answered(stack, wire("OPTIONS", [{"Call-ID", "a"}]))
      answered(stack, wire("INVITE", [{"Call-ID", "b"}]), 486)
      answered(stack, wire("OPTIONS", [{"Call-ID", "b"}]))
      assert [%{call_id: "b", entries: [_, _, _, _ | _]}] = Trace.calls(trace)
    end

    test "are followed by an address", %{stack: stack} do
      {:ok, by_text} = Trace.start(stack, address: "192.0.2.8")
      {:ok, by_port} = Trace.start(stack, address: {{192, 0, 2, 8}, 1})

      for {ip, id} <- [{{192, 0, 2, 7}, "a"}, {{192, 0, 2, 8}, "b"}],
          do: deliver(stack, wire("OPTIONS", [{"Call-ID", id}]), {:udp, ip, 2})

      assert [%{call_id: "b"}] = Trace.calls(by_text)
      assert [] = Trace.calls(by_port)
    end

    test "options are checked", %{stack: stack} do
      for options <- [
            [call_id: ""],
            [method: 7],
            [address: {1, 2}],
            [max_calls: 0],
            [callid: "a"]
          ],
          do: assert_raise(ArgumentError, fn -> Trace.start(stack, options) end)

      assert_raise ArgumentError, ~r/no stack named/, fn -> Trace.start(:nobody) end
    end
  end

  describe "the limits" do
    test "of calls: those that are followed go on", %{stack: stack} do
      {:ok, trace} = Trace.start(stack, max_calls: 2)
      for id <- ["a", "b", "c", "a"], do: deliver(stack, wire("OPTIONS", [{"Call-ID", id}]))
      assert [%{call_id: "a", entries: [_, _]}, %{call_id: "b"}] = Trace.calls(trace)
      assert %{calls: 2, messages: 3, ignored: 1, full?: false} = Trace.info(trace)
    end

    test "of messages: a full trace is off", %{stack: stack} do
      {:ok, trace} = Trace.start(stack, max_messages: 3)
      assert taps(stack) == 1
      for _ <- 1..5, do: deliver(stack, wire("OPTIONS"))
      assert %{messages: 3, full?: true} = Trace.info(trace)
      assert taps(stack) == 0
    end

    test "of memory", %{stack: stack} do
      {:ok, trace} = Trace.start(stack, max_octets: 10_000)
      long = String.duplicate("x", 3_000)
      for _ <- 1..5, do: deliver(stack, wire("OPTIONS", [{"X-Long", long}]))
      # A message or some may be on their way already when the trace goes off.
      assert %{messages: 1, octets: octets, full?: true, ignored: ignored} = Trace.info(trace)
      assert octets in 6_000..10_000
      assert ignored in 1..4
      assert taps(stack) == 0
    end

    test "of what waits for the trace: the rest is missed", %{stack: stack} do
      {:ok, trace} = Trace.start(stack)
      :sys.suspend(trace)
      # No request: nobody answers it.
      junk = "SIP/2.0 200 OK\r\nX: #{String.duplicate("x", 60_000)}\r\n\r\n"
      for _ <- 1..100, do: deliver(stack, junk)
      {:message_queue_len, waiting} = Process.info(trace, :message_queue_len)
      assert waiting in 50..70
      :sys.resume(trace)
      assert %{missed: missed} = Trace.info(trace)
      assert missed == 100 - waiting
    end

    test "of messages a second", %{stack: stack} do
      tap = Tap.new(self(), 10)
      :ok = Registrations.attach(stack, tap)
      start = System.monotonic_time(:second)
      for _ <- 1..1_000, do: deliver(stack, "SIP/2.0 200 OK\r\n\r\n")
      seconds = System.monotonic_time(:second) - start + 1
      {:message_queue_len, told} = Process.info(self(), :message_queue_len)
      assert told in 10..(10 * seconds)
      assert Tap.missed(tap) == 1_000 - told
    end
  end

  describe "the end" do
    test "comes when it is stopped, and gives the calls", %{stack: stack} do
      {:ok, trace} = Trace.start(stack)
      deliver(stack, wire("OPTIONS", [{"Call-ID", "a"}]))
      assert [%{call_id: "a"}] = Trace.stop(trace)
      refute Process.alive?(trace)
      assert taps(stack) == 0
    end

    test "comes with that of who started it", %{stack: stack} do
      test = self()

      owner =
        spawn(fn ->
          send(test, Trace.start(stack))
          Process.sleep(:infinity)
        end)

      assert_receive {:ok, trace}
      ref = Process.monitor(trace)
      Process.exit(owner, :kill)
      assert_receive {:DOWN, ^ref, :process, _pid, :normal}
      assert taps(stack) == 0
    end

    test "takes the tap off though it was killed; the owner lives", %{stack: stack} do
      {:ok, trace} = Trace.start(stack)
      {:ok, other} = Trace.start(stack)
      ref = Process.monitor(trace)
      Process.exit(trace, :kill)
      assert_receive {:DOWN, ^ref, :process, _pid, :killed}
      assert taps(stack) == 1
      deliver(stack, wire("OPTIONS"))
      assert [["OPTIONS"]] = labels(other)
    end

    test "of the registrations does not end a trace", %{stack: stack} do
      {:ok, trace} = Trace.start(stack)
      registrations = Process.whereis(Registrations.name(stack))
      ref = Process.monitor(registrations)
      Process.exit(registrations, :kill)
      assert_receive {:DOWN, ^ref, :process, _pid, :killed}
      deliver(stack, wire("OPTIONS"))
      assert [["OPTIONS"]] = labels(trace)
    end

    test "of the stack leaves the trace what it has", %{stack: stack} do
      {:ok, trace} = Trace.start(stack)
      deliver(stack, wire("OPTIONS"))
      stop_supervised!(stack)
      assert [["OPTIONS"]] = labels(trace)
    end
  end
end
