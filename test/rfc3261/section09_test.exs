defmodule Sippet.RFC3261.Section9Test do
  use Sippet.TransactionCase, async: true

  describe "RFC3261§9 CANCEL" do
    test "has a transaction of its own at the server, whose key leads to the INVITE's" do
      stack = start_stack()
      invite = request(:invite)
      cancel = as(invite, :cancel)
      invite_key = start_server(stack, invite)
      cancel_key = start_server(stack, cancel)
      assert cancel_key.method == :cancel
      assert Server.Key.invite(cancel_key) == invite_key
      assert Transactions.alive?(stack, Server.Key.invite(cancel_key))
      answered(stack, cancel, 200)
      answered(stack, invite, 487)
      # RFC3261§9.2 - the tags SHOULD be the same
      assert Message.to_response(cancel, 200).headers.to ==
               Message.to_response(invite, 487).headers.to
    end

    test "of an RFC 2543 peer leads to its INVITE too" do
      invite = old(:invite)
      cancel = as(invite, :cancel)
      assert Server.Key.invite(Server.Key.new(cancel)) == Server.Key.new(invite)
    end

    test "gives the INVITE of a client 64*T1, in which a final response may come" do
      stack = start_stack(:fast)
      invite = request(:invite)
      key = start_client(stack, invite)
      come(stack, invite, 180)
      cancel = as(invite, :cancel)
      start_client(stack, cancel)
      come(stack, cancel, 200)
      response = come(stack, invite, 487)
      assert_soon({:receive_response, ^response, ^key})
      assert await_end(stack, key) == :normal
      refute_received {:receive_error, _reason, ^key}
    end
  end

  describe "RFC3261§9.1 constructing a CANCEL" do
    defp cancelled(headers) do
      invite = request(:invite, [cseq: {314_159, :invite}] ++ headers)
      {invite, Message.to_cancel(invite)}
    end

    test "takes Request-URI, Call-ID, To, From and the number of CSeq from the INVITE" do
      to = {"Bob", Sippet.URI.parse!("sip:bob@biloxi.com"), %{"tag" => "b"}}
      {invite, cancel} = cancelled(to: to)
      assert cancel.start_line.request_uri == invite.start_line.request_uri

      for name <- [:call_id, :to, :from],
          do: assert(cancel.headers[name] == invite.headers[name])

      assert cancel.headers.cseq == {314_159, :cancel}
      assert cancel.start_line.method == :cancel
    end

    test "takes the topmost Via alone" do
      [top, below] = [via(%{"branch" => "z9hG4bKtop"}), via(%{"branch" => "z9hG4bKbelow"})]
      {_invite, cancel} = cancelled(via: [top, below])
      assert cancel.headers.via == [top]
    end

    test "takes the Route" do
      route = for uri <- ["sip:p1;lr", "sip:p2;lr"], do: {"", Sippet.URI.parse!(uri), %{}}
      {_invite, cancel} = cancelled(route: route)
      assert cancel.headers.route == route
    end

    test "takes neither Require nor Proxy-Require" do
      {_invite, cancel} = cancelled(require: ["100rel"], proxy_require: ["sec-agree"])
      refute Message.has_header?(cancel, "Require")
      refute Message.has_header?(cancel, "Proxy-Require")
    end
  end

  describe "RFC3261§9.1 a client's CANCEL" do
    test "ends its INVITE 64*T1 later, where no final response comes" do
      stack = start_stack(:still)
      invite = request(:invite)
      key = start_client(stack, invite)
      come(stack, invite, 180)
      cancel = Message.to_cancel(invite)
      start_client(stack, cancel)
      come(stack, cancel, 200)
      advance(stack, 31_999)
      assert state(stack, key) == :proceeding
      refute_received {:receive_error, _reason, ^key}
      advance(stack, 1)
      assert_soon({:receive_error, :timeout, ^key})
      assert await_end(stack, key) == :timeout
    end

    defmodule Silent do
      use Sippet.Core
      def receive_response(_response, _key), do: :ok
    end

    test "goes where its INVITE went, with the same topmost Via" do
      stack = :section_9_1
      start_supervised!({Sippet.Test, name: stack, core: Silent, transports: [:udp, :tcp]})
      headers = [subject: String.duplicate("a", 1_300)]
      invite = Sippet.Test.request(:invite, "sip:bob@203.0.113.5", headers: headers)
      :ok = Sippet.send(stack, invite)
      sent = Sippet.Test.assert_request(stack, :invite)
      assert {:tcp, "203.0.113.5", 5060} = sent.target
      Sippet.Test.respond(stack, sent, 180)

      :ok = Sippet.send(stack, Message.to_cancel(invite))
      cancel = Sippet.Test.assert_request(stack, :cancel)
      assert cancel.target == sent.target
      assert cancel.headers.via == sent.headers.via
    end

    test "of nothing goes by its own URI" do
      stack = :section_9_1_none
      start_supervised!({Sippet.Test, name: stack, core: Silent})
      invite = Sippet.Test.request(:invite, "sip:bob@203.0.113.5")
      :ok = Sippet.send(stack, Message.to_cancel(invite))
      assert {:udp, "203.0.113.5", 5060} = Sippet.Test.assert_request(stack, :cancel).target
    end
  end

  # What an RFC 2543 client sends: no branch.
  defp old(method), do: request(method, via: [via(%{})])
end
