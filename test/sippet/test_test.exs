defmodule Sippet.TestTest do
  use ExUnit.Case, async: true

  import Sippet.Test

  alias Sippet.{Message, Transactions, URI}
  alias Sippet.Test.AssertionError
  alias Sippet.Transactions.Server

  doctest Sippet.Test
  doctest Sippet.Test.AssertionError

  # Answers with the status that the request's Subject names, and tells the test of the rest.
  defmodule Obedient do
    use Sippet.Core

    def receive_request(request, key, stack) do
      with %{subject: status} <- request.headers,
           do: Sippet.send(stack, Message.to_response(request, String.to_integer(status)))

      tell(stack, {:request, request, key})
    end

    def receive_response(response, key, stack), do: tell(stack, {:response, response, key})
    def receive_error(reason, key, stack), do: tell(stack, {:error, reason, key})

    defp tell(stack, what), do: send(:persistent_term.get({__MODULE__, stack}), what)
  end

  defmodule Slow do
    use Sippet.Core
    alias Sippet.Message

    # Answers after three seconds, by a process of its own.
    def receive_request(request, key, stack) do
      pid =
        spawn(fn ->
          receive do
            :answer -> Sippet.send(stack, Message.to_response(request, 200))
          end

          receive do: (:never -> :ok)
        end)

      :ok = Sippet.controlling_process(stack, key, pid)
      Sippet.send_after(stack, pid, :answer, 3_000)
      Sippet.send(stack, Message.to_response(request, 180))
    end

    def receive_error(_reason, _key), do: :ok
  end

  setup context do
    stack = :"#{inspect(__MODULE__)} #{context.test}"
    :persistent_term.put({Obedient, stack}, self())
    options = [name: stack, core: Obedient] ++ Map.get(context, :options, [])
    start_supervised!({Sippet.Test, options})
    %{stack: stack}
  end

  defp outgoing(method, headers \\ []) do
    via = {{2, 0}, :udp, {"192.0.2.1", 5060}, %{"branch" => Message.create_branch()}}
    request(method, "sip:bob@203.0.113.5:5080", headers: [via: [via]] ++ headers)
  end

  describe "start_link/1" do
    test "refuses what Sippet refuses, and needs a core" do
      Process.flag(:trap_exit, true)
      message = ~r/expected :core option to be present/
      assert_raise ArgumentError, message, fn -> Sippet.Test.start_link(name: :no_core) end
      options = [name: :odd, core: Obedient, nonsense: 1]
      assert {:error, reason} = Sippet.Test.start_link(options)
      assert inspect(reason) =~ "unknown options: [:nonsense]"
    end

    test "the caller is the owner" do
      {:ok, _pid} = start_supervised({Sippet.Test, name: :owned_stack, core: Obedient})

      assert Supervisor.child_spec({Sippet.Test, name: :a}, []).start
             |> elem(2)
             |> hd()
             |> Keyword.get(:owner) == self()
    end
  end

  describe "request/3" do
    test "has all that a request needs" do
      for method <- [:invite, :register, "FOO"],
          do: assert(Message.valid?(request(method, "sip:bob@biloxi.com;user=phone")))
    end

    test "takes headers of either kind, and a body" do
      message =
        request(:message, "sip:bob@biloxi.com",
          headers: %{"X-Foo" => ["1"], subject: "s"},
          body: "hello"
        )

      assert %{"X-Foo" => ["1"], subject: "s"} = message.headers
      assert message.body == "hello"

      assert %{headers: %{cseq: {7, :invite}}} =
               request(:invite, "sip:b@h", headers: [cseq: {7, :invite}])
    end
  end

  describe "what the stack sends" do
    test "comes to the test, with where it went", %{stack: stack} do
      invite = deliver(stack, request(:invite, "sip:bob@biloxi.com", headers: [subject: "180"]))
      response = assert_response(stack, 180)
      assert response.target == {:udp, "198.51.100.1", 5060}
      assert response.headers.call_id == invite.headers.call_id
      refute_sent(stack)
    end

    test "is told apart by its request", %{stack: stack} do
      first = deliver(stack, request(:options, "sip:b@h", headers: [subject: "200"]))
      assert_receive {:request, %{headers: %{subject: "200"}}, _key}
      second = deliver(stack, request(:options, "sip:b@h", headers: [subject: "200"]))
      assert assert_response(stack, 200, second).headers.cseq == second.headers.cseq
      assert assert_response(stack, 200, first).headers.call_id == first.headers.call_id
    end

    test "is told where something else was expected", %{stack: stack} do
      deliver(stack, request(:options, "sip:b@h", headers: [subject: "404"]))
      error = assert_raise AssertionError, fn -> assert_response(stack, 200) end
      assert error.message =~ "to send 200 OK"
      assert error.message =~ "SIP/2.0 404 Not Found (CSeq: 1 OPTIONS) to udp 198.51.100.1:5060"
      assert_raise AssertionError, ~r/sent.*404/s, fn -> refute_sent(stack) end
    end

    test "is shown as text, whatever octets its reason phrase has", %{stack: stack} do
      deliver(stack, request(:options, "sip:b@h"))
      assert_receive {:request, request, _key}
      :ok = Sippet.send(stack, Message.to_response(request, 200, "\xFF fine"))
      error = assert_raise AssertionError, fn -> assert_response(stack, 404) end
      assert error.message =~ ~S("SIP/2.0 200 \xFF fine")
      assert String.printable?(error.message)
    end

    @tag options: [transports: [:udp, :tcp]]
    test "leaves by the transport that the request came in by", %{stack: stack} do
      via = {{2, 0}, :tcp, {"198.51.100.1", 5060}, %{"branch" => Message.create_branch()}}
      request = request(:options, "sip:b@h", headers: [via: [via], subject: "200"])
      deliver(stack, request, {:tcp, {198, 51, 100, 1}, 40_000})
      assert {:tcp, "198.51.100.1", _port} = assert_response(stack, 200).target
    end

    test "wire text is delivered as it is", %{stack: stack} do
      text =
        "OPTIONS sip:b@h SIP/3.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\n" <>
          "To: <sip:b@h>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\n\r\n"

      assert deliver(stack, text) == text
      assert assert_response(stack, 505)
    end
  end

  describe "ack/2" do
    test "RFC3261§17.1.1.3 - ends the repetition of a refusal", %{stack: stack} do
      invite = deliver(stack, request(:invite, "sip:bob@biloxi.com", headers: [subject: "486"]))
      response = assert_response(stack, 486, invite)
      advance(stack, 500)
      assert assert_response(stack, 486, invite) == response
      deliver(stack, ack(invite, response))
      advance(stack, 40_000)
      refute_sent(stack)
      assert Sippet.stats(stack).transactions == 0
      refute_received {:error, _reason, _key}
    end

    test "RFC3261§13.2.2.4 - of a 2xx goes to the core", %{stack: stack} do
      invite = deliver(stack, request(:invite, "sip:bob@biloxi.com", headers: [subject: "200"]))
      response = assert_response(stack, 200, invite)
      deliver(stack, ack(invite, response))
      assert_receive {:request, %{start_line: %{method: :ack}, headers: %{via: [via]}}, nil}
      refute via == hd(invite.headers.via)

      contact = [{"", URI.parse!("sip:bob@192.0.2.9"), %{}}]
      ack = ack(invite, Message.put_header(response, :contact, contact))
      assert to_string(ack.start_line.request_uri) == "sip:bob@192.0.2.9"
    end
  end

  describe "advance/2" do
    test "fires the timers of a client in their order", %{stack: stack} do
      :ok = Sippet.send(stack, outgoing(:options))
      first = assert_request(stack, :options)
      assert first.target == {:udp, "203.0.113.5", 5080}

      # RFC3261§17.1.2.2 - Timer E: 500 ms, 1 s, 2 s, and 4 s from then on, until Timer F after 32 s
      for {ms, count} <- [{499, 0}, {1, 1}, {1_000, 1}, {2_000, 1}, {4_000, 1}, {24_499, 6}] do
        advance(stack, ms)
        assert length(sent(stack)) == count
        refute_received {:error, _reason, _key}
      end

      advance(stack, 1)
      assert_receive {:error, :timeout, _key}
      refute_sent(stack)
    end

    test "fires those of several transactions by their time", %{stack: stack} do
      [first, second] = [outgoing(:options), outgoing(:options)]
      :ok = Sippet.send(stack, first)
      assert_request(stack, :options)
      advance(stack, 100)
      :ok = Sippet.send(stack, second)
      assert_request(stack, :options)
      advance(stack, 1_500)
      # Timer E after 500 and 1,500 ms of each.
      calls = for request <- sent(stack), do: request.headers.call_id
      [a, b] = for request <- [first, second], do: request.headers.call_id
      assert calls == [a, b, a, b]
    end

    test "a cancelled timer does not fire", %{stack: stack} do
      deliver(stack, request(:invite, "sip:bob@biloxi.com", headers: [subject: "180"]))
      assert_response(stack, 180)
      # RFC3261§17.2.1 - the 100 of 200 ms is not wanted any more
      advance(stack, 1_000)
      refute_sent(stack)
    end

    test "RFC3261§17.2.1 - a 100 goes out where the core is silent, and 500 at last", %{
      stack: stack
    } do
      invite = deliver(stack, request(:invite, "sip:bob@biloxi.com"))
      advance(stack, 200)
      assert_response(stack, 100, invite)
      advance(stack, 199_800)
      assert_response(stack, 500, invite)
      assert_receive {:error, :no_answer, key}
      # Timer H, and the error that no ACK came.
      advance(stack, 32_000)
      assert_receive {:error, :no_ack, ^key}
      refute Transactions.alive?(Sippet.Stack.fetch!(stack), key)
    end

    test "RFC3261§13.3.1.4 - a 2xx is repeated until its ACK", %{stack: stack} do
      invite = deliver(stack, request(:invite, "sip:bob@biloxi.com"))
      ok = Message.to_response(invite, 200)
      :ok = Sippet.send(stack, ok)
      :ok = Sippet.retransmit_2xx(stack, ok)
      advance(stack, 1_500)
      assert [_first, _after_500, _after_1_500] = sent(stack)
      deliver(stack, ack(invite, ok))
      advance(stack, 31_000)
      refute_sent(stack)
    end

    test "a finished transaction ends with its timer, and wakes with its time", %{stack: stack} do
      options = deliver(stack, request(:options, "sip:b@h", headers: [subject: "200"]))
      assert_response(stack, 200)
      key = Server.Key.new(options)
      advance(stack, 20_000)
      deliver(stack, options)
      assert_response(stack, 200)
      advance(stack, 11_999)
      assert Transactions.alive?(Sippet.Stack.fetch!(stack), key)
      advance(stack, 1)
      refute Transactions.alive?(Sippet.Stack.fetch!(stack), key)
    end

    test "no time passes by itself" do
      stack = :fast_by_itself
      :persistent_term.put({Obedient, stack}, self())
      start_supervised!({Sippet.Test, name: stack, core: Obedient, t1: 1, t2: 1, t4: 1})
      :ok = Sippet.send(stack, outgoing(:options))
      assert_request(stack, :options)
      refute_receive {:error, :timeout, _key}, 100
      refute_sent(stack)
      advance(stack, 64)
      assert_receive {:error, :timeout, _key}
    end

    test "a stack of another kind has no such clock" do
      start_supervised!({Sippet, name: :of_the_vm})

      assert_raise ArgumentError, ~r/was not started by Sippet.Test/, fn ->
        advance(:of_the_vm, 1)
      end
    end
  end

  describe "the far end" do
    test "answers a request", %{stack: stack} do
      :ok = Sippet.send(stack, outgoing(:invite))
      invite = assert_request(stack, :invite)
      respond(stack, invite, 180)
      assert_receive {:response, %{start_line: %{status_code: 180}}, key}
      refuse = &Message.put_header(&1, :retry_after, {5, "", %{}})
      respond(stack, invite, 503, refuse)
      assert_receive {:response, %{headers: %{retry_after: {5, "", %{}}}}, ^key}
      assert assert_request(stack, :ack).headers.via == invite.headers.via
    end

    test "may be out of reach", %{stack: stack} do
      fail_sends(stack, :ehostunreach)
      :ok = Sippet.send(stack, outgoing(:options))
      assert_receive {:error, :ehostunreach, _key}
      refute_sent(stack)
      fail_sends(stack, nil)
      :ok = Sippet.send(stack, outgoing(:options))
      assert_request(stack, :options)
    end
  end

  describe "Sippet.send_after/4" do
    setup context do
      slow = :"slow #{context.test}"
      start_supervised!({Sippet.Test, name: slow, core: Slow})
      %{slow: slow}
    end

    test "goes by the time of the test, in order with the transactions", %{slow: stack} do
      invite = deliver(stack, request(:invite, "sip:b@h"))
      assert_response(stack, 180, invite)
      advance(stack, 2_999)
      refute_sent(stack)
      advance(stack, 1)
      assert_response(stack, 200, invite)
    end

    test "has its message handled before time goes on", %{slow: stack} do
      test = self()

      pid =
        spawn(fn ->
          for _ <- 1..3 do
            receive do
              number ->
                # A timer that follows another one.
                send(test, {number, Sippet.monotonic_time(stack)})
                if number < 3, do: Sippet.send_after(stack, self(), number + 1, 100)
            end
          end
        end)

      start = Sippet.monotonic_time(stack)
      Sippet.send_after(stack, pid, 1, 50)
      advance(stack, 1_000)
      assert Sippet.monotonic_time(stack) == start + 1_000

      for {number, ms} <- [{1, 50}, {2, 150}, {3, 250}],
          do: assert_received({^number, at} when at == start + ms)
    end

    test "follows what an owner does first, however long that takes", %{stack: stack} do
      test = self()

      owner =
        spawn(fn ->
          receive do
            {:sippet, _stack, _key, {:response, _response}} ->
              # Work, which does not wait.
              until = System.monotonic_time(:millisecond) + 50

              Stream.repeatedly(fn -> System.monotonic_time(:millisecond) end)
              |> Enum.find(&(&1 > until))

              Sippet.send_after(stack, self(), :later, 1_000)
          end

          receive do: (:later -> send(test, {:later, Sippet.monotonic_time(stack)}))
        end)

      start = Sippet.monotonic_time(stack)

      invite =
        Sippet.Message.build_request(:invite, "sip:b@h")
        |> Sippet.Message.put_header(:from, {"", Sippet.URI.parse!("sip:a@h"), %{}})

      :ok = Sippet.send(stack, invite, owner: owner)
      respond(stack, assert_request(stack, :invite), 180)
      advance(stack, 5_000)
      assert_received {:later, at} when at == start + 1_000
    end

    test "is cancelled, and does not mind that its process has ended", %{slow: stack} do
      timer = Sippet.send_after(stack, self(), :cancelled, 10)
      Sippet.send_after(stack, self(), :kept, 10)
      Sippet.send_after(stack, spawn(fn -> :ok end), :gone, 10)
      assert Sippet.cancel_timer(stack, timer) == :ok
      assert Sippet.cancel_timer(stack, timer) == :ok
      advance(stack, 10)
      assert_received :kept
      refute_received :cancelled
      assert Sippet.cancel_timer(stack, timer) == :ok
    end

    test "is the machine's in any other stack, and without one" do
      start_supervised!({Sippet, name: :real_time, core: Slow})

      for stack <- [:real_time, :no_such_stack] do
        assert_in_delta Sippet.monotonic_time(stack), System.monotonic_time(:millisecond), 1_000
        timer = Sippet.send_after(stack, self(), :never, 60_000)
        assert is_integer(Process.read_timer(timer))
        assert Sippet.cancel_timer(stack, timer) == :ok
        assert Process.read_timer(timer) == false
        Sippet.send_after(stack, self(), {:soon, stack}, 0)
        assert_receive {:soon, ^stack}
      end
    end
  end

  describe "two stacks of one clock" do
    test "go on together, in order", context do
      [one, other] = stacks = for number <- 1..2, do: :"#{context.test} #{number}"
      start_supervised!({Sippet.Test, name: one, core: Slow})

      start_supervised!(
        {Sippet.Test, name: other, core: Slow, clock: one, address: {192, 0, 2, 2}}
      )

      test = self()

      collect =
        spawn_link(fn ->
          Stream.repeatedly(fn -> receive do: (message -> send(test, message)) end)
          |> Stream.run()
        end)

      for {ms, stack} <- [{30, one}, {10, other}, {20, one}],
          do: Sippet.send_after(stack, collect, {:at, ms}, ms)

      for stack <- stacks,
          do:
            Sippet.send(
              stack,
              Sippet.Message.build_request(:options, "sip:b@h")
              |> Sippet.Message.put_header(:from, {"", Sippet.URI.parse!("sip:a@h"), %{}})
            )

      [request, there] = for stack <- stacks, do: assert_request(stack, :options)
      # Each writes its own address.
      assert [{_, _, {"192.0.2.1", 5060}, _}] = request.headers.via
      assert [{_, _, {"192.0.2.2", 5060}, _}] = there.headers.via

      advance(other, 500)
      for ms <- [10, 20, 30], do: assert_received({:at, ^ms})
      # Timer E of both.
      for stack <- stacks, do: assert_request(stack, :options)
      assert Sippet.monotonic_time(one) == Sippet.monotonic_time(other)

      # What fails in one does not fail in the other.
      fail_sends(one, :econnrefused)
      advance(one, 1_000)
      assert sent(one) == []
      assert_request(other, :options)
    end
  end

  test "a request that Sippet.Dialog has made gets the far end's address", %{stack: stack} do
    invite = request(:invite, "sip:b@h")

    ok =
      Sippet.Message.to_response(invite, 200)
      |> Sippet.Message.put_header(:contact, [{"", Sippet.URI.parse!("sip:b@192.0.2.1"), %{}}])

    {:ok, dialog} = Sippet.Dialog.uac(invite, ok)
    {:ok, bye, _dialog} = Sippet.Dialog.next_request(dialog, :bye)

    assert %{headers: %{via: [{_, :udp, {"198.51.100.7", 5070}, _}]}} =
             deliver(stack, bye, {:udp, {198, 51, 100, 7}, 5070})

    assert %{headers: %{via: [{_, :udp, {"198.51.100.1", 5060}, _}]}} =
             deliver(stack, Sippet.Message.renew(bye))
  end

  test "what did not come is said in SIP's words", %{stack: stack} do
    deliver(stack, options = request(:options, "sip:b@h"))

    for {assertion, words} <- [
          {fn -> assert_request(stack, :invite) end, "to send INVITE within"},
          {fn -> assert_response(stack, 180, options) end,
           "to send 180 Ringing to CSeq: 1 OPTIONS, Call-ID: #{options.headers.call_id} within"}
        ] do
      error = assert_raise Sippet.Test.AssertionError, assertion
      assert error.message =~ words
    end
  end
end
