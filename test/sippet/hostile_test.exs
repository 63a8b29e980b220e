defmodule Sippet.HostileTest do
  # What the network and a core may do to a stack, over real sockets. After each test the stack must be the one that was
  # started, its core must have been given each request once, and a plain call must go through.
  use Sippet.Interop.Case, async: true

  import ExUnit.CaptureLog

  alias Sippet.Interop.{Events, MisbehavingCore, Notebook, RawPeer}
  alias Sippet.{Message, Stack, URI}

  # The most that a datagram carries over IPv4: 65,535 less the headers of IP and UDP.
  @largest 65_507

  # A hostile datagram of any size takes some milliseconds. With quadratic work the largest would take seconds.
  @patience_ms 400

  setup context do
    {stack, address} =
      start_stack(MisbehavingCore, [telemetry: Events] ++ Map.get(context, :stack, []))

    peer = RawPeer.open(address)
    Notebook.put(stack, :peer, {"127.0.0.1", peer.port})
    %{stack: stack, peer: peer, parts: parts(stack)}
  end

  # The processes that all calls share.
  defp parts(stack) do
    supervisor = Process.whereis(Sippet.supervisor(stack))
    children = for {_id, pid, _type, _modules} <- Supervisor.which_children(supervisor), do: pid
    [supervisor, transport(stack) | Enum.sort(children)]
  end

  defp transport(stack) do
    [%{pid: pid}] = Stack.transports(Stack.fetch!(stack))
    pid
  end

  # The end of each test. `expected` is what the core was given before, as `{method, call_id}`.
  defp assert_unharmed(%{stack: stack, peer: peer, parts: parts}, expected) do
    call_id = RawPeer.call(peer)
    expected = expected ++ for method <- [:invite, :ack, :bye], do: {method, call_id}

    assert Enum.sort(given(stack, length(expected))) == Enum.sort(expected)
    assert parts(stack) == parts
  end

  # What the core was given: waits for so many requests, and takes those that are there besides.
  defp given(stack, count) do
    receive do
      {^stack, {:request, method, request, _key}} ->
        [{method, request.headers.call_id} | given(stack, count - 1)]
    after
      if(count > 0, do: 3_000, else: 0) -> []
    end
  end

  # An OPTIONS that is answered with this status, as `assert_unharmed/2` wants to hear of it.
  defp answered(peer, status \\ 200, options) do
    {response, _ms} = RawPeer.ask(peer, "OPTIONS", status, options)
    {:options, response.headers.call_id}
  end

  describe "a malformed request" do
    test "without a Via, or with an empty one, is dropped", %{peer: peer} = context do
      for vias <- [
            [],
            "Via:",
            "Via: ",
            "v:,",
            "Via: SIP/2.0/UDP",
            "Via: SIP/2.0/UDP ;branch=z9hG4bKx"
          ] do
        RawPeer.send(peer, RawPeer.request(peer, "OPTIONS", vias: vias))
      end

      assert_unharmed(context, [])
    end

    test "with Timestamp: nan is taken: nothing hangs on that header", %{peer: peer} = context do
      expected =
        for value <- ["nan", "inf", "1e999", "-1", ""],
            do: answered(peer, lines: "Timestamp: " <> value)

      assert_unharmed(context, expected)
    end

    test "with a port that is none is answered 400, or dropped where it is the Via's",
         %{peer: peer} = context do
      via = "Via: SIP/2.0/UDP 127.0.0.1:99999;branch=#{Message.create_branch()}"
      RawPeer.send(peer, RawPeer.request(peer, "OPTIONS", vias: via))
      answered(peer, 400, uri: "sip:bob@127.0.0.1:99999")

      assert_unharmed(context, [answered(peer, lines: "Referred-By: <sip:bob@127.0.0.1:99999>")])
    end

    test "that was cut is answered 400", %{peer: peer} = context do
      call_id = Message.create_call_id()

      whole =
        RawPeer.request(peer, "OPTIONS", call_id: call_id, body: String.duplicate("x", 9_000))

      RawPeer.send(peer, binary_part(whole, 0, 8_192))
      RawPeer.expect(peer, 400, call_id)

      assert_unharmed(context, [])
    end

    test "is answered by no more than one log line of many",
         %{peer: peer, stack: stack} = context do
      log =
        capture_log(fn ->
          for _ <- 1..500 do
            RawPeer.send(peer, "OPTIONS sip:bob SIP/2.0\r\nVia: x\r\n\r\n")
            RawPeer.send(peer, RawPeer.request(peer, "ACK", lines: "Max-Forwards: x"))
          end

          expected = for _ <- 1..50, do: answered(peer, 500, user: "raise")
          assert_unharmed(context, expected)
        end)

      # Five lines a second are allowed to a stack, for the seconds that this took.
      assert (length(String.split(log, "#{inspect(stack)}:")) - 1) in 1..20
    end
  end

  describe "a Via" do
    test "with an rport that is no port is answered to where it came from",
         %{peer: peer} = context do
      expected =
        for rport <- ["rport=abc", "rport=1", "rport=99999", "rport;received=192.0.2.1"] do
          via = RawPeer.via(peer, Message.create_branch()) <> ";" <> rport
          {response, _ms} = RawPeer.ask(peer, "OPTIONS", 200, vias: via)

          [{_version, :udp, _sent_by, params}] = response.headers.via
          assert params["rport"] == Integer.to_string(peer.port)
          assert params["received"] == "127.0.0.1"
          {:options, response.headers.call_id}
        end

      assert_unharmed(context, expected)
    end

    test "of a transport that is not there is answered by the one that brought the request",
         %{peer: peer} = context do
      expected =
        for protocol <- ["TCP", "TLS", "SCTP", "WS", "QUIC"] do
          via =
            "Via: SIP/2.0/#{protocol} 127.0.0.1:#{peer.port};branch=#{Message.create_branch()}"

          answered(peer, vias: via)
        end

      assert_unharmed(context, expected)
    end

    test "without a port to answer to harms nobody", %{peer: peer} = context do
      expected =
        for protocol <- ["WS", "QUIC"] do
          call_id = Message.create_call_id()
          via = "Via: SIP/2.0/#{protocol} 127.0.0.1;branch=#{Message.create_branch()}"
          RawPeer.send(peer, RawPeer.request(peer, "OPTIONS", vias: via, call_id: call_id))
          {:options, call_id}
        end

      assert_unharmed(context, expected)
    end
  end

  describe "a core" do
    # More often than the stack's supervisor restarts anything.
    test "that fails is answered for with 500, and not asked again",
         %{peer: peer, stack: stack} = context do
      capture_log(fn ->
        expected =
          for _ <- 1..15, how <- ["raise", "throw", "exit", "kill"] do
            repeated = [
              user: how,
              branch: Message.create_branch(),
              call_id: Message.create_call_id()
            ]

            answered(peer, 500, repeated)
            answered(peer, 500, repeated)
          end

        assert Sippet.stats(stack).transactions == length(expected)
        assert_unharmed(context, expected)
      end)
    end

    test "that fails leaves the transactions of others alone",
         %{peer: peer, stack: stack} = context do
      waiting = Message.create_call_id()
      RawPeer.send(peer, RawPeer.request(peer, "INVITE", user: "silent", call_id: waiting))

      assert_receive {^stack,
                      {:request, :invite, %{headers: %{call_id: ^waiting}} = invite, _key}},
                     3_000

      capture_log(fn ->
        expected = for _ <- 1..60, do: answered(peer, 500, user: "raise")
        :ok = Sippet.send(stack, Message.to_response(invite, 486))
        RawPeer.expect(peer, 486, waiting)
        assert_unharmed(context, expected)
      end)
    end

    # 1.0 ran it in the transport's process, where a send waited for itself.
    test "may send when it is given a stray ACK or a stray 2xx",
         %{peer: peer, stack: stack} = context do
      ack = Message.create_call_id()
      RawPeer.send(peer, RawPeer.request(peer, "ACK", user: "sender", call_id: ack))
      assert_asked_back(peer, stack)

      RawPeer.send(peer, stray_2xx(peer))
      assert_receive {^stack, {:response, :invite, 200, _response, nil}}, 3_000
      assert_asked_back(peer, stack)

      assert_unharmed(context, [{:ack, ack}])
    end

    test "that never comes back holds up nobody", %{peer: peer} = context do
      stuck =
        for method <- ["OPTIONS", "INVITE", "ACK"], _ <- 1..20 do
          call_id = Message.create_call_id()
          RawPeer.send(peer, RawPeer.request(peer, method, user: "stuck", call_id: call_id))
          {Message.to_method(method), call_id}
        end

      assert_unharmed(context, stuck)
    end

    test "that sends to where no transport leads gets an error", %{stack: stack} = context do
      elsewhere =
        ~w(sip:127.0.0.1;transport=tcp sips:127.0.0.1 sip:127.0.0.1;transport=nil tel:127.0.0.1 urn:service:sos)

      expected =
        for uri <- elsewhere do
          expected = sent(context, URI.parse!(uri))
          assert_receive {^stack, {:sent, {:error, :no_transport}}}, 3_000
          expected
        end

      assert_unharmed(context, expected)
    end

    test "that sends to what is no address or no host learns it", %{stack: stack} = context do
      elsewhere = [
        {:udp, "127.0.0.1", 99_999},
        {:udp, "127.0.0.1", 0},
        {:udp, "name.invalid", 5060},
        {:udp, "", 5060},
        {:udp, "a\0b", 5060},
        {:udp, "::1", 5060}
      ]

      expected =
        for target <- elsewhere do
          expected = sent(context, target)
          assert_failed(stack)
          expected
        end

      assert_unharmed(context, expected)
    end

    @tag stack: [t1: 10]
    test "that sends to where nobody listens learns it", %{stack: stack} = context do
      {:ok, socket} = :gen_udp.open(0, ip: {127, 0, 0, 1})
      {:ok, port} = :inet.port(socket)
      :gen_udp.close(socket)

      expected = sent(context, {:udp, "127.0.0.1", port})
      assert_receive {^stack, {:sent, :ok}}, 3_000
      assert_receive {^stack, {:error, _reason, %Sippet.Transactions.Client.Key{}}}, 3_000
      assert_unharmed(context, [expected])
    end
  end

  # Has the core send a request elsewhere, out of the callback for one that it answers.
  defp sent(%{stack: stack, peer: peer}, elsewhere) do
    Notebook.put(stack, :elsewhere, elsewhere)
    answered(peer, user: "sender")
  end

  # At once, or by the transaction a little later.
  defp assert_failed(stack) do
    receive do
      {^stack, {:sent, {:error, _reason}}} -> :ok
      {^stack, {:error, _reason, %Sippet.Transactions.Client.Key{}}} -> :ok
    after
      3_000 -> flunk("the core was not told that its request went nowhere")
    end
  end

  defp assert_asked_back(peer, stack) do
    assert %Message{start_line: %{method: :options}} = request = RawPeer.next(peer, 3_000)
    RawPeer.send(peer, Message.to_iodata(Message.to_response(request, 200)))
    assert_receive {^stack, {:response, :options, 200, _response, key}} when key != nil, 3_000
  end

  defp stray_2xx(%RawPeer{to: {ip, port}}) do
    host = "#{:inet.ntoa(ip)}:#{port}"

    """
    SIP/2.0 200 OK\r
    Via: SIP/2.0/UDP #{host};branch=#{Message.create_branch()}\r
    From: <sip:bob@#{host}>;tag=b\r
    To: <sip:alice@127.0.0.1>;tag=a\r
    Call-ID: #{Message.create_call_id()}\r
    CSeq: 1 INVITE\r
    Content-Length: 0\r
    \r
    """
  end

  describe "a datagram" do
    test "of octets that are no message is dropped", %{peer: peer} = context do
      for octets <- [
            "",
            "\r\n",
            "\r\n\r\n",
            "\0",
            <<255>>,
            String.duplicate("\0", @largest),
            "SIP/2.0"
          ] do
        RawPeer.send(peer, octets)
      end

      assert_unharmed(context, [])
    end

    test "of STUN is never taken for SIP", %{peer: peer} = context do
      cookie = 0x2112A442
      RawPeer.send(peer, <<0x0001::16, 0::16, cookie::32, 1::96>>)

      assert <<0x0101::16, _length::16, ^cookie::32, 1::96, _attributes::binary>> =
               RawPeer.octets(peer, 3_000)

      # An indication, an answer, a length that is not the datagram's
      RawPeer.send(peer, <<0x0011::16, 0::16, cookie::32, 1::96>>)
      RawPeer.send(peer, <<0x0101::16, 0::16, cookie::32, 1::96>>)
      RawPeer.send(peer, <<0x0001::16, 400::16, cookie::32, 1::96>>)
      assert_unharmed(context, [])
    end

    test "of a response that is none, or that nobody waits for, is dropped",
         %{peer: peer} = context do
      good = stray_2xx(peer)

      for {from, to} <- [
            {"200 OK", "200OK"},
            {"200 OK", "99 X"},
            {"200 OK", "999 X"},
            {"200 OK", "486 Busy Here"},
            {"200 OK", "100 Trying"},
            {"Via: SIP/2.0/UDP", "X:"},
            {"CSeq: 1 INVITE", "CSeq: 1"},
            {"CSeq: 1 INVITE", "CSeq: 99999999999 INVITE"},
            {"Length: 0", "Length: 9"},
            {"Length: 0", "Length: -1"}
          ] do
        RawPeer.send(peer, String.replace(good, from, to))
      end

      assert_unharmed(context, [])
    end

    test "of the largest size comes whole", %{peer: peer, stack: stack} = context do
      call_id = Message.create_call_id()

      request = fn body ->
        RawPeer.request(peer, "OPTIONS", call_id: call_id, branch: "z9hG4bK1", body: body)
      end

      # The length in Content-Length has four digits more than that of an empty body.
      body = :crypto.strong_rand_bytes(@largest - byte_size(request.("")) - 4)
      assert byte_size(request.(body)) == @largest
      RawPeer.send(peer, request.(body))
      RawPeer.expect(peer, 200, call_id)

      assert_receive {^stack, {:request, :options, %{body: ^body}, _key}}
      assert_unharmed(context, [])
    end

    # Each of these took 1.0 time that grew with the square of the size: 444 ms for 12 KB of the first.
    for {what, lines} <- [
          {"repeated headers", quote(do: List.duplicate("x:", 15_000))},
          {"repeated Vias",
           quote(do: List.duplicate("Via: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1", 1_300))},
          {"header names that differ", quote(do: for(n <- 1..7_000, do: "X#{n}: "))},
          {"parameters", quote(do: "Contact: <sip:a>" <> String.duplicate(";a", 30_000))},
          {"parameters that differ",
           quote(do: "Contact: <sip:a>" <> Enum.map_join(1..9_000, &";a#{&1}"))},
          {"commas", quote(do: "Accept: " <> String.duplicate(",", 60_000))},
          {"elements",
           quote(do: "Route: " <> Enum.map_join(1..7_000, ",", fn _ -> "<sip:a>" end))},
          {"nested comments", quote(do: "Retry-After: 1 " <> String.duplicate("(", 60_000))},
          {"folds", quote(do: "Subject: a" <> String.duplicate("\r\n ", 20_000))},
          {"backslashes", quote(do: "Contact: \"" <> String.duplicate("\\", 60_000))},
          {"quotes", quote(do: "Contact: " <> String.duplicate("\"", 60_000))},
          {"angles", quote(do: "Contact: " <> String.duplicate("<", 60_000))},
          {"percent signs", quote(do: "Contact: <sip:" <> String.duplicate("%", 60_000))}
        ] do
      test "of many #{what} takes no longer than its size is worth",
           %{peer: peer} = context do
        lines = unquote(lines)
        assert IO.iodata_length(List.wrap(lines)) in 29_000..@largest

        # Whether such a header is refused or taken for text is not for this test to say.
        {response, ms} = RawPeer.ask(peer, "OPTIONS", 200..699, lines: lines)
        assert ms < @patience_ms

        if response.start_line.status_code == 200,
          do: assert_unharmed(context, [{:options, response.headers.call_id}]),
          else: assert_unharmed(context, [])
      end
    end
  end

  describe "a transport" do
    test "takes no notice of messages that it does not know",
         %{peer: peer, stack: stack} = context do
      pid = transport(stack)

      for message <- [
            :hello,
            {:udp_error, :no_socket, :econnrefused},
            {:udp_closed, :no_socket},
            {:udp_passive, :no_socket},
            {:udp, :no_socket, {127, 0, 0, 1}, 5060, "OPTIONS"},
            {make_ref(), :late_answer},
            {:DOWN, make_ref(), :process, self(), :noproc},
            {:EXIT, self(), :normal},
            {:"$gen_cast", :hello},
            {:"$gen_call", {self(), make_ref()}, :hello},
            {:timeout, make_ref(), :hello}
          ] do
        send(pid, message)
      end

      assert_unharmed(context, [answered(peer, [])])
    end

    # More than this there never wait: the rest is the kernel's to keep or to drop.
    test "reads no faster than it works", %{peer: peer, stack: stack} = context do
      pid = transport(stack)
      request = RawPeer.request(peer, "OPTIONS", call_id: "flood", branch: "z9hG4bKflood")
      :ok = :sys.suspend(pid)
      for _ <- 1..3_000, do: RawPeer.send(peer, request)
      {:message_queue_len, waiting} = Process.info(pid, :message_queue_len)
      :ok = :sys.resume(pid)

      assert waiting < 1_000
      RawPeer.expect(peer, 200, "flood")

      # Each of the 3,000 is answered: until these are read, the peer's own buffer has no room for another answer.
      RawPeer.drain(peer)
      assert_unharmed(context, [{:options, "flood"}])
    end
  end

  describe "what a stack holds" do
    # Of twelve, a fifth is there for who is known.
    @tag stack: [max_transactions: 12, t1: 5, answer_timeout: 300]
    test "is limited, and none of it stays for ever", %{peer: peer, stack: stack} = context do
      calls = for _ <- 1..5, do: begin_silently(peer, "INVITE")
      others = for _ <- 1..5, do: begin_silently(peer, "OPTIONS")

      expected =
        for {method, call_ids} <- [invite: calls, options: others],
            call_id <- call_ids,
            do: {method, call_id}

      assert Enum.sort(given(stack, 10)) == Enum.sort(expected)

      {refused, _ms} = RawPeer.ask(peer, "INVITE", 503)
      assert {seconds, "", %{}} = refused.headers.retry_after
      assert seconds > 0

      # The core's time is over (§13.3.1.1), no ACK comes for the 500 (Timer H), no answer to the OPTIONS (64·T1).
      for call_id <- calls, do: RawPeer.expect(peer, 500, call_id)

      for reason <- [:no_answer, :no_ack],
          _ <- calls,
          do: assert_receive({^stack, {:error, ^reason, _key}}, 3_000)

      for _ <- 1..10,
          do: assert_receive({^stack, {:event, [:sippet, :transaction, :ended], _, _}}, 3_000)

      assert_unharmed(context, [])
    end
  end

  defp begin_silently(peer, method) do
    call_id = Message.create_call_id()
    RawPeer.send(peer, RawPeer.request(peer, method, user: "silent", call_id: call_id))
    call_id
  end
end
