defmodule Sippet.RFC3261.Section17.ClientTest do
  use Sippet.TransactionCase, async: true

  alias Sippet.URI

  describe "RFC3261§17.1.1.2 INVITE client transaction" do
    test "is sent seven times, at intervals that double, then Timer B tells the core, and no ACK is sent" do
      stack = start_stack(:still)
      request = request(:invite)
      key = start_client(stack, request, timed_transport(stack))
      advance(stack, 31_999)
      assert times() == [0, 500, 1_500, 3_500, 7_500, 15_500, 31_500]
      assert sent() == List.duplicate(Message.to_string(request), 6)
      refute_received {:receive_error, _reason, _key}
      advance(stack, 1)
      assert_soon({:receive_error, :timeout, ^key})
      assert await_end(stack, key) == :timeout
      assert sent() == []
    end

    test "is not repeated over a reliable transport, and Timer B holds there too" do
      stack = start_stack(:still)
      key = start_client(stack, request(:invite), TestTransport.new(reliable?: true))
      advance(stack, 31_999)
      refute_received {:receive_error, _reason, _key}
      advance(stack, 1)
      assert_soon({:receive_error, :timeout, ^key})
      assert sent() == []
    end

    test "is not repeated after a provisional response, and has no time limit then" do
      stack = start_stack(:still)
      request = request(:invite)
      key = start_client(stack, request)
      response = come(stack, request, 100)
      assert_soon({:receive_response, ^response, ^key})
      advance(stack, 3_600_000)
      assert sent() == []
      refute_received {:receive_error, _reason, _key}
      assert state(stack, key) == :proceeding
    end

    test "acknowledges a rejection over a reliable transport too, and ends then" do
      stack = start_stack(:still)
      request = request(:invite)
      key = start_client(stack, request, TestTransport.new(reliable?: true))
      response = come(stack, request, 486)
      assert_soon({:receive_response, ^response, ^key})
      assert_soon({:sent, _destination, "ACK " <> _rest, ^key})
      advance(stack, 0)
      assert await_end(stack, key) == :normal
    end

    test "gives the core a rejection once, whatever comes behind it" do
      stack = start_stack(:still)
      request = request(:invite)
      key = start_client(stack, request)
      first = come(stack, request, 486)
      assert_soon({:receive_response, ^first, ^key})
      assert_soon({:sent, _destination, "ACK " <> _rest = ack, ^key})

      for status <- [486, 603, 486] do
        come(stack, request, status)
        assert_soon({:sent, _destination, ^ack, ^key})
      end

      come(stack, request, 180)
      assert_silence()
      # Somebody has to acknowledge a 2xx that comes all the same, and to end its call.
      late = come(stack, request, 200)
      assert_soon({:receive_response, ^late, ^key})
      assert state(stack, key) == :completed
    end

    test "acknowledges rejections that come again for 32 s, which is Timer D" do
      stack = start_stack(:still)
      request = request(:invite)
      key = start_client(stack, request)
      come(stack, request, 486)
      advance(stack, 31_999)
      sent()
      come(stack, request, 486)
      assert state(stack, key) == :completed
      assert ["ACK " <> _rest] = sent()
      advance(stack, 1)
      assert await_end(stack, key) == :normal

      assert Transactions.receive_response(stack, Message.to_response(request, 486), key) ==
               :error
    end
  end

  describe "RFC3261§17.1.1.3 construction of the ACK" do
    test "is the example's" do
      invite =
        Message.parse!("""
        INVITE sip:bob@biloxi.com SIP/2.0
        Via: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bKkjshdyff
        To: Bob <sip:bob@biloxi.com>
        From: Alice <sip:alice@atlanta.com>;tag=88sja8x
        Max-Forwards: 70
        Call-ID: 987asjd97y7atg
        CSeq: 986759 INVITE

        """)

      stack = start_stack(:still)
      start_client(stack, invite)

      response =
        invite
        |> Message.to_response(404)
        |> put_all(to: {"Bob", URI.parse!("sip:bob@biloxi.com"), %{"tag" => "99sa0xk"}})

      :ok = Transactions.receive_response(stack, response, Client.Key.new(response))
      assert_soon({:sent, _destination, "ACK " <> _rest = octets, _key})

      expected =
        Message.parse!("""
        ACK sip:bob@biloxi.com SIP/2.0
        Via: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bKkjshdyff
        To: Bob <sip:bob@biloxi.com>;tag=99sa0xk
        From: Alice <sip:alice@atlanta.com>;tag=88sja8x
        Max-Forwards: 70
        Call-ID: 987asjd97y7atg
        CSeq: 986759 ACK
        Content-Length: 0

        """)

      assert Message.parse!(octets) == expected
    end

    test "has the topmost Via alone, the Route set, no body, and goes where the INVITE went" do
      routes = [
        {"", URI.parse!("sip:p1.example.com;lr"), %{}},
        {"", URI.parse!("sip:p2.example.com;lr"), %{}}
      ]

      top = via(%{"branch" => Message.create_branch()})
      below = {{2, 0}, :tcp, {"below.example.com", 5060}, %{"branch" => "z9hG4bKbelow"}}

      request =
        request(:invite,
          via: [top, below],
          route: routes,
          content_type: {{"application", "sdp"}, %{}},
          contact: [{"", URI.parse!("sip:alice@pc33.atlanta.com"), %{}}]
        )

      stack = start_stack(:still)
      start_client(stack, %{request | body: "v=0\r\n"})
      come(stack, request, 480)
      assert_soon({:sent, destination, "ACK " <> _rest = octets, _key})
      ack = Message.parse!(octets)

      assert destination == destination()
      assert ack.headers.via == [top]
      assert ack.headers.route == routes
      assert ack.body == ""
      refute Message.has_header?(ack, :content_type)
    end

    # RFC3261§22.1
    test "repeats the credentials of the INVITE" do
      credentials = [{"Digest", %{"username" => "alice", "realm" => "atlanta.com"}}]

      request = request(:invite, authorization: credentials, proxy_authorization: credentials)

      stack = start_stack(:still)
      start_client(stack, request)
      come(stack, request, 486)
      assert_soon({:sent, _destination, "ACK " <> _rest = octets, _key})
      ack = Message.parse!(octets)

      assert ack.headers.authorization == credentials
      assert ack.headers.proxy_authorization == credentials
    end

    test "keeps the INVITE's target for transports that take messages" do
      request = %{request(:invite) | target: {:udp, "192.0.2.7", 5062}}
      stack = start_stack(:still)
      {:ok, pid} = start_supervised({Sippet.TestLegacyTransport, self()})
      transport = %{TestTransport.new() | module: nil, handle: nil, pid: pid}
      :ok = Transactions.start_client(stack, request, transport, destination())
      assert_soon({:send_message, sent, "192.0.2.1", 5060, key})
      assert Message.to_string(sent) == Message.to_string(request)
      assert sent.target == request.target
      come(stack, request, 486)
      assert_soon({:send_message, ack, "192.0.2.1", 5060, ^key})
      assert {ack.start_line.method, ack.target} == {:ack, request.target}
      come(stack, request, 486)
      assert_soon({:send_message, ^ack, "192.0.2.1", 5060, ^key})
    end
  end

  describe "RFC6026§7.2 INVITE client transaction, Accepted" do
    test "passes every 2xx to the core, of other branches too, and acknowledges none" do
      stack = start_stack(:still)
      request = request(:invite)
      key = start_client(stack, request)

      for tag <- ["one", "one", "two"] do
        {name, uri, _params} = request.headers.to
        to = {name, uri, %{"tag" => tag}}
        response = request |> Message.to_response(200) |> Message.put_header(:to, to)
        :ok = Transactions.receive_response(stack, response, key)
        assert_soon({:receive_response, ^response, ^key})
      end

      refute_received {:sent, _destination, _octets, _key}
    end

    test "ends with Timer M, without a word, over any transport" do
      for reliable? <- [false, true] do
        stack = start_stack(:still)
        request = request(:invite)
        key = start_client(stack, request, TestTransport.new(reliable?: reliable?))
        come(stack, request, 200)
        advance(stack, 31_999)
        assert state(stack, key) == :accepted
        advance(stack, 1)
        assert await_end(stack, key) == :normal
        refute_received {:receive_error, _reason, _key}
      end
    end
  end

  describe "RFC3261§17.1.2.2 non-INVITE client transaction" do
    test "is repeated at intervals that double up to T2, until Timer F" do
      stack = start_stack(:still)
      request = request(:options)
      key = start_client(stack, request, timed_transport(stack))
      advance(stack, 31_999)
      times = [0, 500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]
      assert times() == times
      assert sent() == List.duplicate(Message.to_string(request), 10)
      refute_received {:receive_error, _reason, _key}
      advance(stack, 1)
      assert_soon({:receive_error, :timeout, ^key})
      assert await_end(stack, key) == :timeout
    end

    test "is repeated every T2 after a provisional response, until Timer F" do
      stack = start_stack(:still)
      request = request(:options)
      key = start_client(stack, request, timed_transport(stack))
      response = come(stack, request, 100)
      assert_soon({:receive_response, ^response, ^key})
      advance(stack, 32_000)
      # Timer E runs on as it was set.
      assert times() == [0, 500, 4_500, 8_500, 12_500, 16_500, 20_500, 24_500, 28_500]
      assert_soon({:receive_error, :timeout, ^key})
    end

    test "is not repeated over a reliable transport, and Timer F holds there too" do
      stack = start_stack(:still)
      key = start_client(stack, request(:options), TestTransport.new(reliable?: true))
      advance(stack, 31_999)
      refute_received {:receive_error, _reason, _key}
      advance(stack, 1)
      assert_soon({:receive_error, :timeout, ^key})
      assert sent() == []
      assert await_end(stack, key) == :timeout
    end

    test "gives the core one final response, and absorbs others for T4" do
      stack = start_stack(:still)
      request = request(:options)
      key = start_client(stack, request)
      first = come(stack, request, 200)
      assert_soon({:receive_response, ^first, ^key})
      for status <- [200, 404, 100], do: come(stack, request, status)
      assert_silence()
      advance(stack, 4_999)
      assert state(stack, key) == :completed
      advance(stack, 1)
      assert await_end(stack, key) == :normal
    end

    test "ends at once with its final response over a reliable transport" do
      stack = start_stack(:still)
      request = request(:options)
      key = start_client(stack, request, TestTransport.new(reliable?: true))
      response = come(stack, request, 200)
      assert_soon({:receive_response, ^response, ^key})
      advance(stack, 0)
      assert await_end(stack, key) == :normal
    end
  end

  describe "RFC3261§17.1.3 matching responses to client transactions" do
    test "takes the branch of the topmost Via and the method of CSeq" do
      stack = start_stack(:still)
      invite = request(:invite)
      cancel = as(invite, :cancel)
      invite_key = start_client(stack, invite)
      cancel_key = start_client(stack, cancel)
      assert invite_key != cancel_key
      assert Client.Key.invite(cancel_key) == invite_key

      response = come(stack, cancel, 200)
      assert_soon({:receive_response, ^response, ^cancel_key})
      response = come(stack, invite, 487)
      assert_soon({:receive_response, ^response, ^invite_key})
    end

    test "finds none for another branch" do
      stack = start_stack(:still)
      start_client(stack, request(:options))
      other = Message.to_response(request(:options), 200)
      assert Transactions.receive_response(stack, other, Client.Key.new(other)) == :error
    end

    test "starts no second transaction of one key, be the first in progress or finished" do
      stack = start_stack(:still)
      request = request(:options)
      key = start_client(stack, request)

      again = fn ->
        Transactions.start_client(stack, request, TestTransport.new(), destination())
      end

      assert again.() == {:error, :already_started}
      come(stack, request, 200)
      assert state(stack, key) == :completed
      assert again.() == {:error, :already_started}
      refute_received {:sent, _destination, _octets, _key}
    end
  end

  describe "RFC3261§17.1.4 handling transport errors" do
    for {text, reason} <- [
          {"an atom", :econnrefused},
          {"a tuple", {:tls_alert, {:bad_certificate, "x"}}},
          {"a struct", Macro.escape(%ArgumentError{message: "odd"})}
        ] do
      test "tells the core #{text} as the reason, and ends" do
        for method <- [:invite, :options] do
          stack = start_stack(:still)
          reason = unquote(reason)
          transport = TestTransport.new(outcome: fn _octets -> {:error, reason} end)
          key = start_client(stack, request(method), transport)
          assert_soon({:receive_error, ^reason, ^key})
          assert await_end(stack, key) == :transport_error
          assert_soon({:event, [:transport, :error], _, %{reason: ^reason, key: ^key}})
        end
      end
    end

    test "takes what a transport raises, throws, exits with or answers for a reason" do
      for fun <- [
            fn _octets -> raise "no" end,
            fn _octets -> throw(:no) end,
            fn _octets -> exit(:no) end,
            fn _octets -> :no end
          ] do
        stack = start_stack(:still)
        key = start_client(stack, request(:options), TestTransport.new(outcome: fun))
        assert_soon({:receive_error, _reason, ^key})
      end
    end

    test "takes a failed repetition, and a failed ACK, as well" do
      for method <- [:invite, :options] do
        stack = start_stack(:still)
        sends = :counters.new(1, [])

        outcome = fn _octets ->
          :counters.add(sends, 1, 1)
          if :counters.get(sends, 1) > 1, do: {:error, :closed}, else: :ok
        end

        key = start_client(stack, request(method), TestTransport.new(outcome: outcome))
        advance(stack, 500)
        assert_soon({:receive_error, :closed, ^key})
        assert await_end(stack, key) == :transport_error
      end

      stack = start_stack(:still)
      request = request(:invite)
      outcome = &if String.starts_with?(&1, "ACK"), do: {:error, :closed}, else: :ok
      key = start_client(stack, request, TestTransport.new(outcome: outcome))
      response = come(stack, request, 486)
      # Both are told, in order, although the transaction has ended.
      assert_soon({:receive_error, :closed, ^key})
      assert_received {:receive_response, ^response, ^key}
      assert await_end(stack, key) == :transport_error
    end

    test "RFC3261§18.4 an unreachable host ends the one whose request is quoted, and no other" do
      stack = start_stack(:still)
      {ip, port} = destination()
      there = {:udp, ip, port}
      [one, _two, invite] = requests = [request(:options), request(:options), request(:invite)]
      [one_key, two_key, invite_key] = for request <- requests, do: start_client(stack, request)
      come(stack, invite, 180)
      quoted = Message.to_string(one)

      # Another place, another protocol, no whole Via, and a branch of nobody's end nothing.
      [line, "Via: " <> _ = via | _] = String.split(quoted, "\r\n")
      cut = line <> "\r\n" <> via

      for {remote, octets} <- [
            {{:udp, {192, 0, 2, 9}, port}, quoted},
            {{:udp, ip, 9}, quoted},
            {{:tcp, ip, port}, quoted},
            {there, cut},
            {there, binary_part(quoted, 0, 8)},
            {there, ""},
            {there, Message.to_string(request(:options))},
            {there, Message.to_string(Message.to_response(one, 200))},
            {there, <<0, 255>>}
          ],
          do: :ok = Transactions.unreachable(stack, remote, :ehostunreach, octets)

      assert for(key <- [one_key, two_key], do: state(stack, key)) == [:trying, :trying]

      :ok = Transactions.unreachable(stack, there, :ehostunreach, cut <> "\r\n")
      assert_soon({:receive_error, :ehostunreach, ^one_key})
      assert await_end(stack, one_key) == :transport_error
      assert state(stack, two_key) == :trying

      # A far end that rings was reached before.
      :ok = Transactions.unreachable(stack, there, :ehostunreach, Message.to_string(invite))
      assert state(stack, invite_key) == :proceeding
    end
  end
end
