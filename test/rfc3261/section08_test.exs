defmodule Sippet.RFC3261.Section08Test do
  use Sippet.StackCase, async: true

  alias Sippet.URI

  defp options(headers \\ []) do
    request = Message.build_request(:options, "sip:127.0.0.1:5062")

    [
      via: [{{2, 0}, :udp, {"127.0.0.1", 5060}, %{"branch" => Message.create_branch()}}],
      from: {"", URI.parse!("sip:a@atlanta.com"), %{"tag" => "1"}},
      to: {"", URI.parse!("sip:b@biloxi.com"), %{}},
      call_id: Message.create_call_id(),
      cseq: {1, :options}
    ]
    |> Keyword.merge(headers)
    |> Enum.reduce(request, fn {name, value}, request ->
      Message.put_header(request, name, value)
    end)
  end

  describe "RFC3261§8.1.1 a request" do
    # No request comes a second time while the test runs.
    @describetag stack: [t1: 5_000]

    test "is not sent without From, and To, CSeq, Call-ID and Via are added where they are missing",
         %{stack: stack} do
      for name <- [:to, :cseq, :call_id, :via] do
        assert Sippet.send(stack, Message.delete_header(options(), name)) == :ok
        {sent, _destination} = assert_sent(:options)
        assert Message.has_header?(sent, name)
      end

      assert_raise ArgumentError, ~r/missing headers: From/, fn ->
        Sippet.send(stack, Message.delete_header(options(), :from))
      end

      refute_received {:sent, _destination, _octets, _key}
    end

    test "is not sent with a CSeq of another method, or of 2**31", %{stack: stack} do
      for cseq <- [{1, :invite}, {0x80000000, :options}] do
        assert_raise ArgumentError, fn -> Sippet.send(stack, options(cseq: cseq)) end
      end
    end

    test "RFC3261§8.1.1.6 is sent with a Max-Forwards of 70, or the one it has", %{stack: stack} do
      assert Sippet.send(stack, options()) == :ok
      assert {%{headers: %{max_forwards: 70}}, _destination} = assert_sent(:options)
      assert Sippet.send(stack, options(max_forwards: 5)) == :ok
      assert {%{headers: %{max_forwards: 5}}, _destination} = assert_sent(:options)
    end

    test "RFC3261§8.1.1.7 gets a branch that begins with the magic cookie" do
      for _ <- 1..100, do: assert("z9hG4bK" <> <<_::binary-size(12)>> = Message.create_branch())
    end

    test "RFC3261§8.1.1.7 is not sent with a Via of another version", %{stack: stack} do
      via = {{1, 0}, :udp, {"127.0.0.1", 5060}, %{"branch" => Message.create_branch()}}
      assert_raise ArgumentError, fn -> Sippet.send(stack, options(via: [via])) end
    end
  end

  describe "RFC3261§8.2.2 a request that comes in" do
    test "may have headers that nobody knows, and malformed ones that are not needed", %{
      stack: stack
    } do
      odd = [
        {"X-Unknown", "a, b"},
        {"Date", "yesterday"},
        {"Contact", "<sip:"},
        {"Require", "foo"}
      ]

      deliver(stack, wire("OPTIONS", odd))
      assert_receive {:receive_request, request, _key}
      assert %{"X-Unknown" => ["a, b"], "Date" => ["yesterday"]} = request.headers
      assert request.headers.require == ["foo"]
    end

    test "RFC3261§8.2.2.1 may have any URI in To and as its Request-URI", %{stack: stack} do
      text = wire("OPTIONS", [{"To", "<nobody-knows:this>"}])
      deliver(stack, String.replace(text, "sip:b@biloxi.com SIP", "tel:+15551234 SIP"))
      assert_receive {:receive_request, %{start_line: %{request_uri: %{scheme: "tel"}}}, _key}
    end
  end

  describe "RFC3261§8.2.2.3 Require and Proxy-Require" do
    @tag stack: [t1: 5_000]
    test "are not in the ACK for a rejection", %{stack: stack} do
      headers = [cseq: {1, :invite}, require: ["100rel"], proxy_require: ["foo"]]
      invite = put_in(options(headers).start_line.method, :invite)
      assert Sippet.send(stack, invite) == :ok
      assert_sent(:invite)
      deliver(stack, Message.to_string(Message.to_response(invite, 486)))
      assert {ack, _destination} = assert_sent(:ack)
      refute Message.has_header?(ack, :require) or Message.has_header?(ack, :proxy_require)
    end
  end

  describe "RFC3261§8.2.6.1 the 100 that is sent by itself" do
    test "has the Timestamp of its INVITE, and how long it took", %{stack: stack} do
      deliver(stack, wire("INVITE", [{"Timestamp", "54.25"}]))
      assert {%{headers: %{timestamp: {54.25, delay}}}, _destination} = assert_sent(100)
      assert delay >= 0.199 and delay < 5
    end

    @tag stack: [t1: 20, t2: 80, t4: 40]
    test "has that of another request too, when RFC4320§4.1 sends it", %{stack: stack} do
      deliver(stack, wire("OPTIONS", [{"Timestamp", "1"}]))
      assert {%{headers: %{timestamp: {1.0, delay}}}, _destination} = assert_sent(100)
      assert delay > 0 and delay < 5
    end
  end

  describe "RFC3261§8.2.6.2 the To of a response" do
    test "is that of its request, with a tag where it had none", %{stack: stack} do
      for {to, kept?} <- [
            {"\"Bob\" <sip:b@biloxi.com;x=1>;y=2", false},
            {"<tel:+15551234>;tag=mine", true}
          ] do
        deliver(stack, wire("OPTIONS", [{"To", to}]))
        assert_receive {:receive_request, request, _key}
        assert Sippet.send(stack, Message.to_response(request, 200)) == :ok
        assert {%{headers: %{to: {name, uri, params}}}, _destination} = assert_sent(200)
        assert {^name, ^uri, sent} = request.headers.to

        assert {Map.delete(params, "tag"), params["tag"] == sent["tag"]} ==
                 {Map.delete(sent, "tag"), kept?}

        assert byte_size(params["tag"]) >= 4
      end
    end
  end
end
