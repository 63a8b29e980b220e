defmodule Sippet.StatelessTest do
  use Sippet.StackCase, async: true

  alias Sippet.TestTransport

  # What came twice is given twice: there is nothing that remembers the first.
  describe "RFC3261§16.11 a stack that is stateless" do
    @describetag stack: [stateless: true]

    test "gives the core every request without a key, retransmissions and CANCELs too", %{
      stack: stack
    } do
      for method <- ["INVITE", "INVITE", "CANCEL", "OPTIONS", "ACK"] do
        deliver(stack, wire(method, [{"Via", "SIP/2.0/UDP 10.1.1.1;branch=z9hG4bK1;rport"}]))
        method = Message.to_method(method)
        assert_receive {:receive_request, %{start_line: %{method: ^method}} = request, nil}, 500
        assert [{_, _, _, %{"received" => "192.0.2.7", "rport" => "4321"}}] = request.headers.via
      end

      assert Sippet.stats(stack).transactions == 0
      refute_received {:sent, _destination, _octets, _key}
    end

    test "gives the core every response without a key", %{stack: stack} do
      for status <- [100, 180, 200, 486] do
        response = "OPTIONS" |> wire() |> Message.parse!() |> Message.to_response(status)
        deliver(stack, to_string(response))
        assert_receive {:receive_response, %{start_line: %{status_code: ^status}}, nil}, 500
      end
    end

    test "still refuses what is no valid request", %{stack: stack} do
      deliver(stack, wire("OPTIONS", [{"CSeq", "1 INVITE"}]))
      assert_sent(400)
      refute_received {:receive_request, _request, _key}
    end

    test "knows the responses to requests of its own", %{stack: stack} do
      request =
        "OPTIONS"
        |> wire([{"Via", "SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKown"}])
        |> Message.parse!()

      :ok = Sippet.send(stack, %{request | target: {:udp, "192.0.2.9", 5060}})
      {sent, _destination} = assert_sent(:options)
      deliver(stack, to_string(Message.to_response(sent, 200)))
      assert_receive {:receive_response, _response, %Sippet.Transactions.Client.Key{}}, 500
    end
  end

  describe "forward/2" do
    test "sends a request where send/2 would, once and without a transaction", %{stack: stack} do
      request = Message.parse!(wire("INVITE", [{"Route", "<sip:192.0.2.9:5070;lr>"}]))
      assert Sippet.forward(stack, request) == :ok
      assert {_request, {{192, 0, 2, 9}, 5070}} = assert_sent(:invite)
      assert Sippet.stats(stack).transactions == 0
      # Longer than T1, after which a transaction would send again.
      refute_receive {:sent, _destination, _octets, _key}, 100
    end

    test "sends a response to its topmost Via, as it was stamped", %{stack: stack} do
      for {via, destination} <- [
            {"SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1", {{192, 0, 2, 9}, 5060}},
            {"SIP/2.0/UDP pc.a.com:5070;received=192.0.2.9;branch=z9hG4bK1",
             {{192, 0, 2, 9}, 5070}},
            {"SIP/2.0/UDP pc.a.com;received=192.0.2.9;rport=6060;branch=z9hG4bK1",
             {{192, 0, 2, 9}, 6060}},
            {"SIP/2.0/UDP 192.0.2.9;rport=x;branch=z9hG4bK1", {{192, 0, 2, 9}, 5060}},
            {"SIP/2.0/UDP 192.0.2.9;rport=99999;branch=z9hG4bK1", {{192, 0, 2, 9}, 5060}}
          ] do
        response =
          "INVITE" |> wire([{"Via", via}]) |> Message.parse!() |> Message.to_response(200)

        assert Sippet.forward(stack, response) == :ok
        assert {_response, ^destination} = assert_sent(200)
      end
    end

    test "sends a response to its sent-by where nothing else names a host", %{stack: stack} do
      for received <- ["\xFF\xFE", "a b", String.duplicate("9", 60_000)] do
        params = %{"branch" => "z9hG4bK1", "received" => received, "rport" => received}
        via = {{2, 0}, :udp, {"192.0.2.9", 5070}, params}
        assert Sippet.Message.Via.remote(via) == {:udp, "192.0.2.9", 5070}
      end

      for maddr <- ["\xFF", "a b"] do
        uri = %{Sippet.URI.parse!("sip:h") | parameters: ";maddr=#{URI.encode(maddr)}"}
        request = put_in(Message.parse!(wire("OPTIONS")).start_line.request_uri, uri)
        assert Sippet.forward(stack, request) == {:error, :no_transport}
      end
    end

    test "tells when there is no transport, or none that sends", %{stack: stack} do
      tcp = wire("INVITE", [{"Via", "SIP/2.0/TCP 192.0.2.9;branch=z9hG4bK1"}])
      response = tcp |> Message.parse!() |> Message.to_response(200)
      assert Sippet.forward(stack, response) == {:error, :no_transport}

      assert Sippet.forward(stack, %{Message.parse!(tcp) | target: {:tcp, "h", 5060}}) ==
               {:error, :no_transport}

      :ok =
        Sippet.register_transport(stack, :sctp, true,
          address: {{127, 0, 0, 1}, 5060},
          via: {TestTransport, {self(), fn _octets -> {:error, :closed} end}}
        )

      assert Sippet.forward(
               stack,
               put_in(response.headers.via, [{{2, 0}, :sctp, {"192.0.2.9", 1}, %{}}])
             ) ==
               {:error, :closed}
    end

    test "raises for what is no valid message", %{stack: stack} do
      assert_raise ArgumentError, ~r/valid SIP message/, fn ->
        Sippet.forward(stack, Message.build_response(200))
      end
    end
  end
end
