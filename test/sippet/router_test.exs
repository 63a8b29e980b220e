defmodule Sippet.RouterTest do
  use Sippet.StackCase, async: true

  defp stats(stack, counter), do: Map.fetch!(Sippet.stats(stack), counter)

  describe "a request that comes in" do
    test "goes to the core with received and rport on its topmost Via", %{stack: stack} do
      below = {"Via", "SIP/2.0/UDP 10.2.2.2;branch=z9hG4bKb"}
      top = {"Via", "SIP/2.0/UDP 10.1.1.1;branch=z9hG4bKa;rport=1;received=203.0.113.9"}
      assert deliver(stack, wire("OPTIONS", [top, below])) == :ok

      assert_receive {:receive_request, request, key}
      assert [{_, :udp, _, params}, {_, :udp, _, untouched}] = request.headers.via
      assert %{"received" => "192.0.2.7", "rport" => "4321"} = params
      assert untouched == %{"branch" => "z9hG4bKb"}

      assert Sippet.send(stack, Message.to_response(request, 200)) == :ok
      assert {_response, {{192, 0, 2, 7}, 4321}} = assert_sent(200)
      assert key.method == :options
    end

    test "reaches the core once, however often it comes", %{stack: stack} do
      text = wire("OPTIONS")
      for _ <- 1..5, do: deliver(stack, text)
      assert_receive {:receive_request, request, _key}
      Sippet.send(stack, Message.to_response(request, 200))
      assert_sent(200)
      deliver(stack, text)
      assert_sent(200)
      refute_received {:receive_request, _request, _key}
    end

    test "may be folded, compact and followed by noise", %{stack: stack} do
      text =
        "OPTIONS sip:b SIP/2.0\r\nv: SIP/2.0/UDP h\r\n ;branch=z9hG4bKf\r\nf: <sip:a@b>;tag=1\r\nt: <sip:b>\r\n" <>
          "i: x\r\nCSeq: 1\r\n OPTIONS\r\nl: 0\r\n\r\nnoise"

      deliver(stack, ["\r\n\r\n", text])
      assert_receive {:receive_request, %{body: ""}, _key}
    end
  end

  describe "a topmost Via with values of any octets" do
    for obey? <- [false, true] do
      @tag stack: [obey_maddr: obey?]
      test "is answered to the source, where maddr is obeyed: #{obey?}", %{stack: stack} do
        digits = String.duplicate("9", 60_000)

        for name <- ["maddr", "received", "rport"],
            value <- ["\"\xFF\xFE\"", "\"a b\"", digits] do
          via = "SIP/2.0/UDP 10.1.1.1:5070;branch=#{Message.create_branch()};#{name}=#{value}"
          deliver(stack, wire("OPTIONS", [{"Via", via}]))
          assert_receive {:receive_request, request, _key}
          assert {:ok, {:udp, "192.0.2.7", _port}} = Message.get_remote(request)
          Sippet.send(stack, Message.to_response(request, 200))
          assert_receive {:sent, {{192, 0, 2, 7}, _port}, _octets, %{method: :options}}

          deliver(stack, wire("OPTIONS", [{"Via", via}, {"CSeq", "x"}]))
          assert_receive {:sent, {{192, 0, 2, 7}, _port}, "SIP/2.0 400" <> _, nil}
        end
      end
    end
  end

  describe "RFC3261§17.1.1.3, §13.2.2.4 ACK" do
    test "of a 2xx goes to the core without a key", %{stack: stack} do
      deliver(stack, wire("ACK"))
      assert_receive {:receive_request, %{start_line: %{method: :ack}}, nil}
    end

    test "is never answered, malformed or not", %{stack: stack} do
      for bad <- [[{"From", "x"}], [{"From", nil}], [{"CSeq", "1 INVITE"}]] do
        deliver(stack, wire("ACK", bad))
      end

      deliver(stack, String.replace(wire("ACK"), "SIP/2.0\r\n", "SIP/7.0\r\n", global: false))
      assert stats(stack, :message_refused) == 4
      refute_receive {:sent, _destination, _octets, _key}, 50
      refute_received {:receive_request, _request, _key}
    end
  end

  describe "RFC3261§17.1.1.3 the ACK of a response without a transaction" do
    @describetag stack: [telemetry: Sippet.TestTelemetry]

    # As the INVITE's sender makes it: it has the topmost Via, and nothing of the malformed
    # header.
    defp ack_of(invite, to) do
      [start_line | _] = String.split(invite, "\r\n")
      line = fn name -> Regex.run(~r/^#{name}: .*\r\n/m, invite) end

      Enum.join([
        String.replace(start_line, "INVITE", "ACK") <> "\r\n",
        line.("Via"),
        line.("From"),
        "To: #{to}\r\n",
        line.("Call-ID"),
        String.replace(hd(line.("CSeq")), "INVITE", "ACK"),
        "Max-Forwards: 70\r\n\r\n"
      ])
    end

    @malformed %{
      "Max-Forwards" => [{"Max-Forwards", "x"}],
      "Max-Forwards that stands twice" => [{"Max-Forwards", "1"}, {"Max-Forwards", "2"}],
      "Content-Length" => [{"Content-Length", "x"}],
      "body" => [{"Content-Length", "99"}],
      "lower Via" => [
        {"Via", "SIP/2.0/UDP 10.1.1.1;branch=z9hG4bKupper"},
        {"Via", "SIP/2.0/UDP"}
      ],
      "line" => [{"X y", "z"}],
      "CSeq's method" => [{"CSeq", "1 OPTIONS"}],
      "number of headers" => [{"X", "y"}]
    }

    for {what, headers} <- @malformed do
      test "to a malformed #{what} never reaches the core", %{stack: stack} do
        headers = unquote(headers)
        headers = if {"X", "y"} in headers, do: List.duplicate({"X", "y"}, 5_000), else: headers
        invite = wire("INVITE", headers)
        deliver(stack, invite)
        assert_receive {:sent, _destination, octets, nil}
        assert %{start_line: %{status_code: status}} = Message.parse!(drop_malformed(octets))
        assert status in [400, 513]
        [_, to] = Regex.run(~r/^To: (.*)\r\n/m, octets)
        deliver(stack, String.replace(ack_of(invite, to), "1 OPTIONS", "1 ACK"))
        assert_receive {:event, [:message, :dropped], _, %{reason: :refusal_ack}}
        refute_received {:receive_request, _request, _key}
      end
    end

    defp drop_malformed(octets), do: String.replace(octets, "Via: SIP/2.0/UDP\r\n", "")

    test "is that of no other tag", %{stack: stack} do
      invite = wire("INVITE", [{"Max-Forwards", "x"}])
      deliver(stack, invite)
      deliver(stack, ack_of(invite, "<sip:b@biloxi.com>;tag=other"))
      assert_receive {:receive_request, %{start_line: %{method: :ack}}, nil}
    end
  end

  describe "RFC3261§9.2 CANCEL" do
    test "of nothing is answered 481", %{stack: stack} do
      deliver(stack, wire("CANCEL"))
      assert {response, _destination} = assert_sent(481)
      assert {_, _, %{"tag" => _tag}} = response.headers.to
      refute_received {:receive_request, _request, _key}
    end

    test "of a request that is no INVITE is answered 200, and changes nothing", %{stack: stack} do
      via = {"Via", "SIP/2.0/UDP 10.1.1.1;branch=z9hG4bKoptions"}
      deliver(stack, wire("OPTIONS", [via]))
      assert_receive {:receive_request, options, key}
      deliver(stack, wire("CANCEL", [via]))
      assert {cancelled, _destination} = assert_sent(200)
      assert cancelled.headers.cseq == {1, :cancel}
      refute_received {:receive_request, _request, _key}
      refute Sippet.cancelled?(stack, key)
      assert Sippet.send(stack, Message.to_response(options, 200)) == :ok
      assert_sent(200)
    end

    test "of an INVITE goes to the core with a key that leads to it", %{stack: stack} do
      via = {"Via", "SIP/2.0/UDP 10.1.1.1;branch=z9hG4bKc"}
      deliver(stack, wire("INVITE", [via]))
      assert_receive {:receive_request, %{start_line: %{method: :invite}}, invite}
      deliver(stack, wire("CANCEL", [via]))
      assert_receive {:receive_request, %{start_line: %{method: :cancel}} = cancel, key}
      assert Sippet.Transactions.Server.Key.invite(key) == invite
      Sippet.send(stack, Message.to_response(cancel, 200))
      assert_sent(200)
    end
  end

  describe "RFC3261§8.2 what is refused without a transaction" do
    test "a malformed essential header: 400, with the lines copied", %{stack: stack} do
      deliver(stack, wire("INVITE", [{"From", "<sip:a"}, {"To", "<sip:b@c>"}, {"Call-ID", "x"}]))
      assert_receive {:sent, {{192, 0, 2, 7}, 4321}, octets, nil}
      assert octets =~ ~r/\ASIP\/2.0 400 Bad Request \(From\)\r\n/
      assert octets =~ "From: <sip:a\r\n"
      assert octets =~ ~r/To: <sip:b@c>;tag=[0-9a-f]{24}\r\n/
      assert octets =~ "Call-ID: x\r\n"
      assert octets =~ ";received=192.0.2.7"
      assert octets =~ "Content-Length: 0\r\n\r\n"
    end

    test "the same answer to the same request", %{stack: stack} do
      text = wire("INVITE", [{"CSeq", "x INVITE"}])
      for _ <- 1..2, do: deliver(stack, text)
      assert_receive {:sent, _, one, nil}
      assert_receive {:sent, _, two, nil}
      assert one == two
    end

    test "a header that is missing: 400", %{stack: stack} do
      for name <- ["From", "To", "Call-ID", "CSeq"] do
        deliver(stack, wire("OPTIONS", [{name, nil}]))
        assert {response, _} = assert_sent(400)
        assert response.start_line.reason_phrase =~ name
      end
    end

    test "a body cut short: 400", %{stack: stack} do
      deliver(stack, wire("MESSAGE", [{"Content-Length", "99"}]))
      assert_sent(400)
    end

    test "another method in the CSeq: 400", %{stack: stack} do
      deliver(stack, wire("OPTIONS", [{"CSeq", "1 INVITE"}]))
      assert_sent(400)
    end

    test "another version: 505", %{stack: stack} do
      deliver(stack, String.replace(wire("OPTIONS"), "SIP/2.0\r\n", "SIP/7.0\r\n", global: false))
      assert_sent(505)
    end

    test "a Request-URI over the limit: 414", %{stack: stack} do
      long = "OPTIONS sip:" <> String.duplicate("5", 9_000) <> "@biloxi.com SIP/2.0"
      deliver(stack, String.replace(wire("OPTIONS"), "OPTIONS sip:b@biloxi.com SIP/2.0", long))
      assert_sent(414)
    end

    test "too many headers: 513", %{stack: stack} do
      deliver(stack, wire("OPTIONS", for(_ <- 1..5_000, do: {"X", "y"})))
      assert_sent(513)
    end

    @tag stack: [max_transactions: 1]
    test "RFC3261§21.5.4 over the limit of transactions: 503 with Retry-After", %{stack: stack} do
      deliver(stack, wire("OPTIONS"))
      assert_receive {:receive_request, _request, _key}
      deliver(stack, wire("OPTIONS"))
      assert {%{headers: %{retry_after: {seconds, "", %{}}}}, _} = assert_sent(503)
      assert seconds > 0
      refute_received {:receive_request, _request, _key}
    end

    test "a request that cannot find its way back is dropped", %{stack: stack} do
      for via <- [nil, "", "SIP/2.0/UDP", "SIP/2.0/UDP h;branch="] do
        deliver(stack, wire("OPTIONS", [{"Via", via}]))
      end

      refute_receive {:sent, _destination, _octets, _key}, 50
    end

    test "a CANCEL that is malformed is dropped", %{stack: stack} do
      deliver(stack, wire("CANCEL", [{"CSeq", "x CANCEL"}]))
      deliver(stack, wire("CANCEL", [{"From", nil}]))
      refute_receive {:sent, _destination, _octets, _key}, 50
    end
  end

  describe "a response that comes in" do
    defp response(line, branch) do
      "#{line}\r\nVia: SIP/2.0/UDP 127.0.0.1:5060;branch=#{branch}\r\nFrom: <sip:a@b>;tag=1\r\n" <>
        "To: <sip:b@c>;tag=2\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n\r\n"
    end

    test "that nobody waits for is counted", %{stack: stack} do
      deliver(stack, response("SIP/2.0 180 Ringing", "z9hG4bKnone"))
      assert stats(stack, :message_dropped) == 1
      refute_received {:receive_response, _response, _key}
    end

    test "RFC3261§13.2.2.4 a stray 2xx goes to the core without a key", %{stack: stack} do
      deliver(stack, response("SIP/2.0 200 OK", "z9hG4bKnone"))
      assert_receive {:receive_response, %{start_line: %{status_code: 200}}, nil}
    end

    test "that is malformed is counted and never answered", %{stack: stack} do
      deliver(stack, response("SIP/2.0 999 x", "z9hG4bKnone"))
      deliver(stack, "SIP/2.0 200 OK\r\n\r\n")
      refute_receive {:sent, _destination, _octets, _key}, 50
      assert %{message_refused: 1, message_dropped: 1} = Sippet.stats(stack)
    end
  end

  describe "what is no message" do
    test "is counted and dropped", %{stack: stack} do
      for text <- ["\r\n", "\r\n\r\n", "", "\0\0\0", "hello", :binary.copy("x", 9_000)] do
        assert deliver(stack, text) == :ok
      end

      assert %{message_dropped: 3, message_refused: 3} = Sippet.stats(stack)
      refute_received {:sent, _destination, _octets, _key}
    end

    test "for a stack that is not there is dropped" do
      assert Router.handle_transport_message(:no_such_stack, wire("OPTIONS"), remote()) == :ok
      assert Router.receive_transport_error(:no_such_stack, nil, :reason) == :ok
      assert Router.receive_unreachable(:no_such_stack, {:udp, "h", 1}, :reason, "") == :ok
    end
  end

  describe "a transport of the 1.0 kind" do
    @describetag transport: false

    test "gets a call for each message, and may be the process that handed in the request", %{
      stack: stack
    } do
      test = self()

      transport =
        start_supervised!(
          {Task,
           fn ->
             :ok = Sippet.register_transport(stack, :udp, false)
             {:error, :already_registered} = Sippet.register_transport(stack, :udp, false)
             deliver(stack, wire("OPTIONS"))
             deliver(stack, wire("OPTIONS", [{"CSeq", "x"}]))
             serve(test)
           end}
        )

      assert_receive {:receive_request, request, _key}
      assert_receive {:called, %{start_line: %{status_code: 400}} = bad, "192.0.2.7", 4321, nil}
      assert %{via: [_], from: _, to: {_, _, %{"tag" => _}}, call_id: _} = bad.headers
      assert bad.headers["CSeq"] == ["x"]
      Sippet.send(stack, Message.to_response(request, 200))
      assert_receive {:called, %Message{start_line: %{status_code: 200}}, "192.0.2.7", 4321, key}
      assert key == Sippet.Transactions.Server.Key.new(request)
      assert Process.alive?(transport)
    end

    defp serve(test) do
      receive do
        {:"$gen_call", from, {:send_message, message, host, port, key}} ->
          send(test, {:called, message, host, port, key})
          GenServer.reply(from, :ok)
          serve(test)
      end
    end

    test "may fail in any way", %{stack: stack} do
      spawn_link(fn ->
        Sippet.register_transport(stack, :udp, false)

        receive do
          {:"$gen_call", from, _message} -> GenServer.reply(from, {:error, {:odd, %{reason: 1}}})
        end

        Process.sleep(:infinity)
      end)

      request =
        "sip:127.0.0.1"
        |> then(&Message.build_request(:options, &1))
        |> Map.put(:headers, Message.parse!(wire("OPTIONS")).headers)

      wait_for_transport(stack)
      assert Sippet.send(stack, request) == :ok
      assert_receive {:receive_error, {:odd, %{reason: 1}}, %{method: :options}}
    end

    defp wait_for_transport(stack) do
      case Sippet.Stack.transports(Sippet.Stack.fetch!(stack)) do
        [] -> wait_for_transport(stack)
        _registered -> :ok
      end
    end
  end

  describe "receive_transport_error/3" do
    test "ends the client transaction and tells the core", %{stack: stack} do
      request = %{
        Message.build_request(:options, "sip:127.0.0.1:9")
        | headers: Message.parse!(wire("OPTIONS")).headers
      }

      :ok = Sippet.send(stack, request)
      key = Sippet.Transactions.Client.Key.new(request)
      assert_receive {:sent, {_host, 9}, _octets, ^key}
      Router.receive_transport_error(stack, key, :econnrefused)
      assert_receive {:receive_error, :econnrefused, ^key}
    end

    test "RFC3261§18.4 ends the transaction whose request is quoted", %{stack: stack} do
      request = %{
        Message.build_request(:options, "sip:127.0.0.1:9")
        | headers: Message.parse!(wire("OPTIONS")).headers
      }

      :ok = Sippet.send(stack, request)
      assert_receive {:sent, _destination, octets, key}
      Router.receive_unreachable(stack, {:udp, {127, 0, 0, 1}, 9}, :econnrefused, "OPTIONS ")
      Router.receive_unreachable(stack, {:udp, {127, 0, 0, 1}, 8}, :econnrefused, octets)
      Router.receive_unreachable(stack, {:udp, "nobody knows", 9}, :econnrefused, octets)
      refute_receive {:receive_error, _reason, _key}, 50
      assert %{transport_error: 2} = Sippet.stats(stack)
      Router.receive_unreachable(stack, {:udp, "127.0.0.1", 9}, :econnrefused, octets)
      assert_receive {:receive_error, :econnrefused, ^key}
    end
  end
end
