defmodule Sippet.OverloadTest do
  # What a stack does over its limits. The core of these tests answers nothing unless told to, so each request stays
  # pending.
  use Sippet.StackCase, async: true

  import ExUnit.CaptureLog
  import Sippet.Wait

  alias Sippet.{Stack, Transactions}
  alias Sippet.Transactions.Server.Key

  @moduletag :capture_log

  # Another host, and another port of the host that floods.
  @elsewhere {:udp, {198, 51, 100, 9}, 5060}
  @neighbour {:udp, {192, 0, 2, 7}, 5555}

  defp flood(stack, count, method \\ "OPTIONS", headers \\ []),
    do: for(_ <- 1..count, do: deliver(stack, wire(method, headers)))

  defp stats(stack, counter), do: Map.fetch!(Sippet.stats(stack), counter)

  # How many messages of this form the test has got, all that were caused before.
  defp answers(status) do
    receive do
      {:sent, _destination, "SIP/2.0 " <> <<code::binary-3, _rest::binary>>, _key} ->
        answers(status) + if(code == "#{status}", do: 1, else: 0)
    after
      0 -> 0
    end
  end

  defp given, do: given(0)

  defp given(count) do
    receive do
      {:receive_request, _request, _key} -> given(count + 1)
    after
      100 -> count
    end
  end

  defp in_dialog(tag \\ "2"), do: [{"To", "<sip:b@biloxi.com>;tag=#{tag}"}]

  # Who sends from there has got a 2xx.
  defp served(stack, remote) do
    deliver(stack, wire("OPTIONS"), remote)
    assert_receive {:receive_request, request, _key}
    :ok = Sippet.send(stack, Message.to_response(request, 200))
    assert_sent(200)
  end

  # What the requests within a dialog have that the stack has seen begin.
  defp dialog(stack) do
    deliver(stack, wire("INVITE"))
    assert_receive {:receive_request, invite, _key}
    ok = Message.to_response(invite, 200)
    :ok = Sippet.send(stack, ok)
    assert_sent(200)
    {_name, _uri, %{"tag" => tag}} = ok.headers.to
    [{"Call-ID", invite.headers.call_id} | in_dialog(tag)]
  end

  describe "RFC3261§21.5.4 over the limit of new requests in a second" do
    @describetag stack: [max_requests: 10]

    test "a request gets 503 with Retry-After, and the core does not see it", %{stack: stack} do
      flood(stack, 40)

      # Seven of a second, if it ends meanwhile of two.
      assert_receive {:sent, _destination, "SIP/2.0 503" <> _rest = octets, _key}
      assert {seconds, "", %{}} = Message.parse!(octets).headers.retry_after
      assert seconds > 0

      count = given()
      assert count in 1..14
      assert stats(stack, :rejected_rate) == 40 - count
      assert stats(stack, :request_rejected) == 40 - count
      assert answers(503) in 0..14
    end

    test "another source still gets in", %{stack: stack} do
      flood(stack, 40)
      given()
      deliver(stack, wire("MESSAGE"), @elsewhere)
      assert_receive {:receive_request, %{start_line: %{method: :message}}, _key}, 500
    end

    test "answers without a transaction end with the second's too", %{stack: stack} do
      flood(stack, 40, "OPTIONS", [{"CSeq", "x"}])
      flood(stack, 40, "OPTIONS", [{"Call-ID", nil}])
      flood(stack, 40, "CANCEL")
      assert stats(stack, :message_refused) == 80
      answered = answers(400) + answers(481)
      assert answered in 1..24
      assert stats(stack, :message_dropped) in (120 - 24)..119
    end
  end

  describe "over the limit of pending requests" do
    @describetag stack: [max_pending: 100, t1: 500, t2: 4_000]

    test "one source gets 503, its neighbour and others get in", %{stack: stack} do
      flood(stack, 200)
      count = given()
      # 64/85 of four fifths.
      assert count in 58..63
      assert answers(503) == 200 - count
      assert stats(stack, :rejected_pending) == 200 - count
      assert stats(stack, :pending) == count

      for {remote, method} <- [{@neighbour, "INVITE"}, {@elsewhere, "MESSAGE"}] do
        deliver(stack, wire(method), remote)
        method = Message.to_method(method)
        assert_receive {:receive_request, %{start_line: %{method: ^method}}, _key}, 500
      end
    end

    test "transactions in progress go on", %{stack: stack} do
      branch = [{"Via", "SIP/2.0/UDP 10.1.1.1;branch=z9hG4bKone;rport"}, {"Call-ID", "one"}]
      deliver(stack, wire("INVITE", branch))
      assert_receive {:receive_request, invite, key}
      flood(stack, 200)
      given()
      assert answers(503) > 0

      # The request again, the core's answer, the ACK: none is refused.
      Sippet.send(stack, Message.to_response(invite, 180))
      assert_sent(180)
      deliver(stack, wire("INVITE", branch))
      assert_sent(180)
      Sippet.send(stack, Message.to_response(invite, 486))
      assert_sent(486)
      deliver(stack, wire("ACK", branch))
      wait_until(fn -> %{state: :confirmed} = Transactions.info(Stack.fetch!(stack), key) end)
      refute_received {:receive_request, _request, _key}
    end

    test "RFC3261§9.2 a CANCEL whose INVITE is there is not refused", %{stack: stack} do
      branch = [{"Via", "SIP/2.0/UDP 10.1.1.1;branch=z9hG4bKtwo;rport"}, {"Call-ID", "two"}]
      deliver(stack, wire("INVITE", branch))
      assert_receive {:receive_request, _invite, key}
      flood(stack, 200)
      flood(stack, 200, "INVITE")
      given()
      deliver(stack, wire("CANCEL", branch))
      assert_receive {:receive_request, %{start_line: %{method: :cancel}}, cancel_key}, 500
      assert Key.invite(cancel_key) == key
    end

    test "RFC7339§5.10.1 a request within a dialog goes before one outside, if there is such a dialog",
         %{stack: stack} do
      dialog = dialog(stack)
      flood(stack, 200)
      given()
      deliver(stack, wire("BYE", dialog))
      assert_receive {:receive_request, %{start_line: %{method: :bye}}, _key}, 500
      answers(503)

      for made_up <- [[], in_dialog(), [hd(dialog) | in_dialog()]] do
        deliver(stack, wire("OPTIONS", made_up))
        assert_sent(503)
      end
    end

    test "a source that was answered more than once goes before strangers", %{stack: stack} do
      for _ <- 1..2, do: served(stack, @elsewhere)
      served(stack, {:udp, {203, 0, 113, 1}, 5060})

      # Of many strangers, who leave nothing for strangers.
      for a <- 1..50, b <- 1..4, do: deliver(stack, wire("OPTIONS"), {:udp, {10, a, b, 1}, 5060})
      assert given() == 80
      deliver(stack, wire("OPTIONS"), {:udp, {203, 0, 113, 1}, 5060})
      deliver(stack, wire("OPTIONS"), {:udp, {203, 0, 113, 2}, 5060})
      assert given() == 0
      for _ <- 1..10, do: deliver(stack, wire("REGISTER"), @elsewhere)
      assert given() == 10
    end

    test "an ACK is not answered", %{stack: stack} do
      flood(stack, 200)
      flood(stack, 200, "ACK", in_dialog())
      given()
      answers(503)
      dropped = stats(stack, :message_dropped)
      flood(stack, 20, "ACK", in_dialog())
      assert stats(stack, :message_dropped) == dropped + 20
      refute_received {:sent, _destination, _octets, _key}
    end

    test "a request that is answered is not pending any more", %{stack: stack} do
      flood(stack, 50)

      for _ <- 1..50 do
        assert_receive {:receive_request, request, _key}
        Sippet.send(stack, Message.to_response(request, 200))
      end

      wait_until(fn -> stats(stack, :pending) == 0 end)
      assert stats(stack, :transactions) == 50
    end

    test "and one that is not answered is, though each worker was killed", %{stack: stack} do
      flood(stack, 50)

      requests =
        for _ <- 1..50 do
          assert_receive {:receive_request, request, _key}
          request
        end

      kill_workers(stack)
      Transactions.settle(Stack.fetch!(stack))
      assert stats(stack, :pending) == 50
      for request <- requests, do: :ok = Sippet.send(stack, Message.to_response(request, 200))
      wait_until(fn -> stats(stack, :pending) == 0 end)
      assert stats(stack, :transactions) == 50
    end

    @tag stack: [behave: &__MODULE__.tell_and_hang/3, max_pending: 100]
    test "nor is one whose callback was killed, by whomever", %{stack: stack} do
      headers = [{"X-Test", address(stack)}]
      flood(stack, 50, "OPTIONS", headers)

      pids =
        for _ <- 1..50 do
          assert_receive {:hangs, pid}
          pid
        end

      # Of half of them while no worker lives who could be told.
      {half, other} = Enum.split(pids, 25)
      for pid <- half, do: Process.exit(pid, :kill)
      for _ <- half, do: assert_receive({:sent, _, "SIP/2.0 500 " <> _, _key}, 1_000)
      kill_workers(stack, fn -> for pid <- other, do: Process.exit(pid, :kill) end)
      for _ <- other, do: assert_receive({:sent, _, "SIP/2.0 500 " <> _, _key}, 1_000)
      wait_until(fn -> stats(stack, :pending) == 0 end)
    end

    # `meanwhile` happens when they are suspended: they do nothing any more.
    defp kill_workers(stack, meanwhile \\ fn -> :ok end) do
      %{workers: %{names: names}} = Stack.fetch!(stack).transactions
      workers = for name <- Tuple.to_list(names), do: {name, Process.whereis(name)}
      for {_name, pid} <- workers, do: :ok = :sys.suspend(pid)
      meanwhile.()

      for {name, pid} <- workers do
        Process.exit(pid, :kill)
        wait_until(fn -> Process.whereis(name) not in [nil, pid] end)
      end
    end

    test "the log is told once", %{stack: stack} do
      log = capture_log(fn -> flood(stack, 200) end)
      assert length(String.split(log, "#{inspect(stack)}: new requests are refused")) == 2
    end
  end

  describe "over the limit of INVITEs that wait" do
    @describetag stack: [
                   max_invites: 100,
                   max_pending: 100,
                   t1: 500,
                   t2: 4_000,
                   answer_timeout: 60_000
                 ]

    # Each from an address of its own, as who forges them sends them: of `count` the core gets so many.
    defp forge(stack, numbers) do
      for n <- numbers,
          do: deliver(stack, wire("INVITE"), {:udp, {10, div(n, 250), rem(n, 250), 1}, 5060})
    end

    defp taken(requests \\ []) do
      receive do
        {:receive_request, request, key} -> taken([{request, key} | requests])
      after
        100 -> Enum.reverse(requests)
      end
    end

    test "other requests go on, and INVITEs of who is known", %{stack: stack} do
      for _ <- 1..2, do: served(stack, @elsewhere)
      dialog = dialog(stack)
      forge(stack, 1..300)
      rung = taken()

      for {invite, _key} <- rung, do: Sippet.send(stack, Message.to_response(invite, 180))
      Transactions.settle(Stack.fetch!(stack))
      forge(stack, 301..400)
      assert length(rung) >= 80
      strangers = length(taken())
      assert strangers == 0

      for method <- ["OPTIONS", "REGISTER", "MESSAGE"] do
        deliver(stack, wire(method))
        method = Message.to_method(method)
        assert_receive {:receive_request, %{start_line: %{method: ^method}}, _key}
      end

      for headers <- [[], dialog] do
        deliver(stack, wire("INVITE", [{"CSeq", "7 INVITE"} | headers]), @elsewhere)
        assert_receive {:receive_request, %{headers: %{cseq: {7, :invite}}}, _key}
      end
    end

    test "the oldest go first that were refused and wait for their ACK", %{stack: stack} do
      # At the rate at which an attacker sends, each is refused by a transaction, and never acknowledged.
      for n <- 1..500 do
        forge(stack, [n])
        assert_receive {:receive_request, invite, _key}
        assert Sippet.send(stack, Message.to_response(invite, 401)) == :ok
      end

      assert stats(stack, :request_rejected) == 0
      wait_until(fn -> stats(stack, :pending) <= 83 end)
      # Those that have gone: their ACK is known all the same.
      {refused, _destination} = assert_sent(401)
      {_name, _uri, %{"tag" => tag}} = refused.headers.to
      [{_, _, {host, port}, %{"branch" => branch}} | _] = refused.headers.via
      via = {"Via", "SIP/2.0/UDP #{host}:#{port};branch=#{branch}"}
      deliver(stack, wire("ACK", [via, {"Call-ID", refused.headers.call_id} | in_dialog(tag)]))
      refute_receive {:receive_request, _ack, nil}, 50
    end

    test "then the oldest of a stranger that nobody has answered", %{stack: stack} do
      forge(stack, 1..80)
      first = taken()
      assert length(first) == 80
      # It rings, and stays.
      {ringing, ringing_key} = hd(first)
      Sippet.send(stack, Message.to_response(ringing, 180))
      forge(stack, 101..120)
      assert length(taken()) == 20

      # Those were listed that came when half of all places were taken.
      for _ <- 1..20 do
        assert_receive {:receive_error, :overload, key}
        assert key != ringing_key
        assert key in Enum.map(first, &elem(&1, 1))
        refute Transactions.alive?(Stack.fetch!(stack), key)
      end

      assert Transactions.alive?(Stack.fetch!(stack), ringing_key)
      assert answers(503) == 20
      wait_until(fn -> stats(stack, :pending) == 80 end)
    end
  end

  describe "over the limit of what pending requests hold" do
    @describetag stack: [
                   max_pending_bytes: 10_000_000,
                   t1: 500,
                   t2: 4_000,
                   answer_timeout: 60_000
                 ]

    # 64 KB with its headers, as the largest datagram.
    defp large(method, headers \\ []) do
      length = {"Content-Length", "64800"}
      wire(method, [length | headers]) <> String.duplicate("v", 64_800)
    end

    test "400 INVITEs of 64 KB from one source get 503, its neighbour and others get in",
         context do
      %{stack: stack} = context
      size = byte_size(large("INVITE"))
      for _ <- 1..400, do: deliver(stack, large("INVITE"))
      count = given()

      # 64/85 of four fifths of the limit, and the one that goes over it.
      assert (count * size) in 6_020_000..(6_030_000 + size)
      # A machine that is busy may have sent 100 too.
      assert_receive {:sent, _destination, "SIP/2.0 503" <> _rest = octets, _key}
      assert {_seconds, "", %{}} = Message.parse!(octets).headers.retry_after
      assert answers(503) == 400 - count - 1
      assert stats(stack, :rejected_pending) == 400 - count
      assert_in_delta stats(stack, :pending_bytes), count * size, count * 10
      assert held(stack) in (count * size)..(count * (size + 2_048))

      for {remote, method} <- [{@neighbour, "INVITE"}, {@elsewhere, "MESSAGE"}] do
        deliver(stack, large(method), remote)
        method = Message.to_method(method)
        assert_receive {:receive_request, %{start_line: %{method: ^method}}, _key}, 500
      end
    end

    # Rows and what they refer to.
    defp held(stack) do
      struct = Stack.fetch!(stack)
      Enum.sum(for key <- Transactions.keys(struct), do: Transactions.info(struct, key).bytes)
    end

    @tag stack: [max_pending_bytes: 1_000_000, max_invites: :infinity]
    test "INVITEs get 503 too, of which there may be any number", %{stack: stack} do
      for _ <- 1..40, do: deliver(stack, large("INVITE"))
      count = given()
      assert count in 5..15
      assert answers(503) == 40 - count
      assert stats(stack, :rejected_pending) == 40 - count
    end

    test "what is answered is not held any more", %{stack: stack} do
      for _ <- 1..50, do: deliver(stack, large("INVITE"))

      for n <- 1..50 do
        assert_receive {:receive_request, request, _key}
        status = if rem(n, 2) == 0, do: 200, else: 486
        :ok = Sippet.send(stack, Message.to_response(request, status))
      end

      wait_until(fn -> stats(stack, :pending_bytes) == 0 end)
      # Those that wait for their ACK.
      assert stats(stack, :pending) == 25
      assert stats(stack, :transactions) == 50
      assert held(stack) < 50 * 4_096
    end

    @tag stack: [max_pending_bytes: 1_000_000, behave: &__MODULE__.hang/3]
    test "what no transaction asked for counts as well", %{stack: stack} do
      for _ <- 1..100, do: deliver(stack, large("ACK", in_dialog()))
      # 64/85 of four fifths of the limit, and the one that goes over it.
      assert stats(stack, :pending_bytes) in 602_000..670_000
      assert stats(stack, :message_dropped) == 100 - stats(stack, :pending)
    end
  end

  describe "the ACK of a 503" do
    test "RFC3261§8.2.7 is not the core's, as the 503 was not", %{stack: stack} do
      Sippet.drain(stack, 0)
      headers = [{"Via", "SIP/2.0/UDP 10.1.1.1;branch=z9hG4bKthree;rport"}, {"Call-ID", "three"}]
      deliver(stack, wire("INVITE", headers))
      {refused, _destination} = assert_sent(503)
      {_name, _uri, %{"tag" => tag}} = refused.headers.to

      deliver(stack, wire("ACK", headers ++ in_dialog(tag)))
      refute_receive {:receive_request, _request, _key}, 50
      assert stats(stack, :message_dropped) == 1
    end
  end

  describe "a core that does not return" do
    defp hanging(stack, method) do
      deliver(stack, wire(method))
      assert_receive {:receive_request, _request, _key}
      assert stats(stack, :pending) == 1
    end

    @tag stack: [t1: 2, answer_timeout: 100, behave: &__MODULE__.hang/3]
    test "is ended when the time for an answer is over", %{stack: stack} do
      for {method, answer} <- [{"OPTIONS", nil}, {"INVITE", 500}] do
        hanging(stack, method)
        before = Stack.fetch!(stack)
        if answer, do: assert_sent(answer)
        wait_until(fn -> Transactions.unfinished(before) == 0 end)
        wait_until(fn -> stats(stack, :pending) == 0 end)
        assert stats(stack, :core_abandoned) > 0
        assert stats(stack, :core_failed) == 0
      end
    end

    @tag stack: [t1: 2, behave: &__MODULE__.answer_and_wait/3]
    test "counts for as long as it runs, though it has answered", %{stack: stack} do
      deliver(stack, wire("OPTIONS", [{"X-Test", address(stack)}]))
      assert_receive {:receive_request, _request, key}
      assert_receive {:waits, pid}
      wait_until(fn -> not Transactions.alive?(Stack.fetch!(stack), key) end)
      assert stats(stack, :pending) == 1
      assert Sippet.drain(stack, 10) == {:error, {:timeout, [nil]}}
      send(pid, :go_on)
      wait_until(fn -> stats(stack, :pending) == 0 end)
    end

    @tag stack: [max_pending: 20, behave: &__MODULE__.hang/3]
    test "is not given messages without end that no transaction asked for", %{stack: stack} do
      flood(stack, 100, "ACK", in_dialog())
      for n <- 1..100, do: deliver(stack, stray(n))
      assert_receive {:receive_request, _ack, nil}
      assert stats(stack, :pending) in 12..20
      assert stats(stack, :message_dropped) == 200 - stats(stack, :pending)
    end

    @tag stack: [max_pending: 20, stateless: true, behave: &__MODULE__.hang/3]
    test "nor is that of a stateless stack", %{stack: stack} do
      flood(stack, 100, "OPTIONS")
      assert stats(stack, :pending) in 12..20
      assert stats(stack, :rejected_pending) == 100 - stats(stack, :pending)
      assert answers(503) == stats(stack, :rejected_pending)
      flood(stack, 100, "CANCEL")
      for n <- 1..100, do: deliver(stack, stray(n))
      assert stats(stack, :pending) <= 20
      assert answers(503) == 0
    end
  end

  def hang(:receive_error, _reason, _key), do: :ok
  def hang(_callback, _argument, _key), do: Process.sleep(:infinity)

  def tell_and_hang(:receive_request, request, _key) do
    {_stack, test} = sender(request)
    send(test, {:hangs, self()})
    Process.sleep(:infinity)
  end

  def answer_and_wait(:receive_request, request, _key) do
    {stack, test} = sender(request)
    Sippet.send(stack, Message.to_response(request, 200))
    send(test, {:waits, self()})
    receive do: (:go_on -> :ok)
  end

  # The test that sends a request says by a header who it is.
  defp address(stack), do: {stack, self()} |> :erlang.term_to_binary() |> Base.encode64()

  defp sender(request),
    do: request.headers["X-Test"] |> hd() |> Base.decode64!() |> :erlang.binary_to_term()

  defp stray(n) do
    "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKstray#{n}\r\nFrom: <sip:a@b>;tag=1\r\n" <>
      "To: <sip:b@c>;tag=2\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n\r\n"
  end

  describe "who is known" do
    defp seen(stack, ip, dialog \\ nil) do
      address = if ip, do: Sippet.Address.to_text(ip)
      Sippet.Overload.seen(Stack.fetch!(stack).overload, address, dialog)
    end

    test "is who got a 2xx by whichever function, and the dialog of that", %{stack: stack} do
      for {send, n} <- Enum.with_index([&Sippet.send/2, &Sippet.retransmit_2xx/2]) do
        remote = {:udp, {198, 51, 100, n}, 5060}

        for _ <- 1..2 do
          assert seen(stack, elem(remote, 1)) == nil
          deliver(stack, wire("INVITE"), remote)
          assert_receive {:receive_request, invite, _key}
          ok = Message.to_response(invite, 200)
          :ok = send.(stack, ok)
          assert seen(stack, nil, Message.Tag.dialog(ok.headers)) == :dialog
        end

        assert seen(stack, elem(remote, 1)) == :source
      end

      for _ <- 1..2 do
        deliver(stack, wire("OPTIONS"), @elsewhere)
        assert_receive {:receive_request, options, _key}
        :ok = Sippet.reply(stack, options, 200)
      end

      assert seen(stack, elem(@elsewhere, 1)) == :source
    end

    @tag stack: [stateless: true]
    test "is known to a stateless stack too", %{stack: stack} do
      for _ <- 1..2 do
        deliver(stack, wire("INVITE"), @elsewhere)
        assert_receive {:receive_request, invite, nil}
        ok = Message.to_response(invite, 200)
        :ok = Sippet.forward(stack, ok)
        assert seen(stack, nil, Message.Tag.dialog(ok.headers)) == :dialog
      end

      assert seen(stack, elem(@elsewhere, 1)) == :source
    end

    test "is nobody who was refused", %{stack: stack} do
      for _ <- 1..3 do
        deliver(stack, wire("OPTIONS"), @elsewhere)
        assert_receive {:receive_request, options, _key}
        :ok = Sippet.reply(stack, options, 404)
      end

      assert seen(stack, elem(@elsewhere, 1)) == nil
    end
  end

  describe "over the limit of transactions" do
    @describetag stack: [max_transactions: 5]
    test "RFC3261§9.2 the CANCEL of an INVITE that is there gets in", %{stack: stack} do
      branch = [{"Via", "SIP/2.0/UDP 10.1.1.1;branch=z9hG4bKfull;rport"}, {"Call-ID", "full"}]
      deliver(stack, wire("INVITE", branch))
      assert_receive {:receive_request, _invite, _key}
      flood(stack, 10)
      given()
      for n <- 1..2, do: own(stack, n)
      assert stats(stack, :transactions) == 5
      deliver(stack, wire("CANCEL", branch))
      assert_receive {:receive_request, %{start_line: %{method: :cancel}}, _key}
    end

    # A request of the stack's own, which has the places that strangers have not.
    defp own(stack, n) do
      via = [{"Via", "SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKown#{n}"}]

      Sippet.send(stack, %{
        Message.parse!(wire("OPTIONS", via))
        | target: {:udp, "192.0.2.9", 5060}
      })
    end
  end

  describe "drain/2" do
    test "refuses what is new, and waits for what is not", %{stack: stack} do
      dialog = dialog(stack)
      deliver(stack, wire("INVITE"))
      assert_receive {:receive_request, invite, key}
      assert Sippet.drain(stack, 0) == {:error, {:timeout, [key]}}

      deliver(stack, wire("OPTIONS"))
      assert {%{headers: %{retry_after: _}}, _destination} = assert_sent(503)
      assert stats(stack, :rejected_draining) == 1

      # A dialog that is made up holds nothing back.
      flood(stack, 10, "BYE", in_dialog())
      assert stats(stack, :rejected_draining) == 11

      deliver(stack, wire("BYE", dialog))
      assert_receive {:receive_request, %{start_line: %{method: :bye}} = bye, _key}

      drain = Task.async(fn -> Sippet.drain(stack, :infinity) end)
      Sippet.send(stack, Message.to_response(bye, 200))
      Sippet.send(stack, Message.to_response(invite, 486))
      Sippet.terminate(stack, Key.new(invite))
      assert Task.await(drain) == :ok

      Sippet.resume(stack)
      deliver(stack, wire("OPTIONS"))
      assert_receive {:receive_request, %{start_line: %{method: :options}}, _key}
    end

    test "waits for requests of the stack's own", %{stack: stack} do
      via = [{"Via", "SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKown"}]
      request = %{Message.parse!(wire("OPTIONS", via)) | target: {:udp, "192.0.2.9", 5060}}
      :ok = Sippet.send(stack, request)
      {sent, _destination} = assert_sent(:options)
      key = Sippet.Transactions.Client.Key.new(request)
      assert Sippet.drain(stack, 0) == {:error, {:timeout, [key]}}

      drain = Task.async(fn -> Sippet.drain(stack, :infinity) end)
      refute Task.yield(drain, 20)

      # What it begins later is not waited for.
      via = [{{2, 0}, :udp, {"127.0.0.1", 5060}, %{"branch" => "z9hG4bKlater"}}]
      :ok = Sippet.send(stack, Message.put_header(request, :via, via))
      assert_sent(:options)

      deliver(stack, to_string(Message.to_response(sent, 200)))
      assert_receive {:receive_response, _response, _key}
      assert Task.await(drain) == :ok
    end

    test "has nothing to wait for where nothing is in progress", %{stack: stack} do
      assert Sippet.drain(stack) == :ok
    end
  end
end
