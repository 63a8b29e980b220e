defmodule Sippet.ProxyTest do
  use ExUnit.Case, async: true

  alias Sippet.{Binding, Flow, Message, Proxy, URI}

  doctest Proxy

  @own [{"ss1.atlanta.com", 5060}, {"192.0.2.101", 5070}]
  @via {:udp, {"ss1.atlanta.com", 5060}}

  defp route(uris), do: for(uri <- uris, do: {"", URI.parse!(uri), %{}})

  defp via(host, branch \\ "z9hG4bKclient"),
    do: {{2, 0}, :udp, {host, 5060}, %{"branch" => branch}}

  defp request(uri \\ "sip:bob@biloxi.com", headers \\ %{}) do
    headers =
      Map.merge(
        %{
          via: [via("client.atlanta.com")],
          max_forwards: 70,
          from: {"", URI.parse!("sip:alice@atlanta.com"), %{"tag" => "a"}},
          to: {"", URI.parse!("sip:bob@biloxi.com"), %{}},
          call_id: "call",
          cseq: {1, :invite}
        },
        headers
      )

    %{Message.build_request(:invite, uri) | headers: headers, body: "body"}
  end

  defp status(request, options \\ []) do
    with {:error, response} <- Proxy.validate(request, options),
         do: response.start_line.status_code
  end

  defp forward(request, uri \\ "sip:bob@192.0.2.4", options \\ []),
    do: Proxy.forward(request, URI.parse!(uri), [via: @via] ++ options)

  defp uri(request), do: to_string(request.start_line.request_uri)
  defp uris(route), do: for({_name, uri, _params} <- route, do: to_string(uri))
  defp branch(%{headers: %{via: [{_, _, _, params} | _]}}), do: params["branch"]

  describe "RFC3261§16.3 request validation" do
    test "1. what takes part in the forwarding must be well-formed, all else need not" do
      assert status(request("sip:b@h", %{"Record-Route" => ["<sip:p"]})) == 400
      assert status(request("sip:b@h", %{"Proxy-Require" => ["a b"]})) == 400
      assert status(request("sip:b@h", %{"Date" => ["yesterday"], "X-Foo" => ["?"]})) == :ok
    end

    test "2. a scheme that is not understood gets 416" do
      assert status(request("tel:+358")) == 416
      assert status(request("tel:+358"), schemes: ["sip", "sips", "tel"]) == :ok
      assert status(request("sips:b@h")) == :ok
    end

    test "3. no hops left gets 483" do
      assert status(request("sip:b@h", %{max_forwards: 0})) == 483
      assert status(request("sip:b@h", %{max_forwards: 1})) == :ok
      assert status(Message.delete_header(request(), :max_forwards)) == :ok
    end

    test "4. a request that comes back unchanged gets 482" do
      back = forward(request("sip:bob@biloxi.com"), "sip:bob@biloxi.com")
      assert status(back, own: @own) == 482
      assert status(back, own: []) == :ok
      assert status(back, own: [{"ss1.atlanta.com", 5061}]) == :ok

      # By way of another proxy, and with a Route to this one.
      back = put_in(back.headers.via, [via("ss2.biloxi.com") | back.headers.via])
      assert status(back, own: @own) == 482

      assert status(put_in(back.headers[:route], route(["sip:ss1.atlanta.com;lr"])), own: @own) ==
               482
    end

    test "4. a request that was changed on its way is a spiral" do
      back = forward(request("sip:bob@biloxi.com"), "sip:robert@biloxi.com")
      assert status(back, own: @own) == :ok
      back = forward(request("sip:bob@biloxi.com"), "sip:bob@biloxi.com")
      assert status(put_in(back.headers[:route], route(["sip:ss3;lr"])), own: @own) == :ok
      assert status(put_in(back.headers.cseq, {2, :invite}), own: @own) == :ok
    end

    test "5. an extension that is not understood gets 420 with Unsupported" do
      request = request("sip:b@h", %{proxy_require: ["foo", "Bar"]})
      assert {:error, response} = Proxy.validate(request, supported: ["bar"])
      assert {response.start_line.status_code, response.headers.unsupported} == {420, ["foo"]}
      assert status(request, supported: ["FOO", "bar"]) == :ok
    end

    # RFC3261§8.2.2.3
    test "5. Proxy-Require is ignored in a CANCEL and an ACK" do
      for method <- [:cancel, :ack] do
        headers = %{proxy_require: ["foo"], cseq: {1, method}}
        request = put_in(request("sip:b@h", headers).start_line.method, method)
        assert status(request) == :ok
      end
    end
  end

  describe "RFC3261§16.4 route information preprocessing" do
    test "a Request-URI of ours gives way to the last Route" do
      request =
        request("sip:ss1.atlanta.com;lr", %{route: route(["sip:p2;lr", "sip:bob@192.0.2.4"])})

      request = Proxy.preprocess_route(request, @own)
      assert uri(request) == "sip:bob@192.0.2.4"
      assert uris(request.headers.route) == ["sip:p2;lr"]
    end

    test "a Request-URI of a user of ours stays" do
      for uri <- [
            "sip:bob@ss1.atlanta.com;lr",
            "sip:ss1.atlanta.com",
            "sip:ss1.atlanta.com:5061;lr"
          ] do
        request = request(uri, %{route: route(["sip:p2;lr"])})
        assert Proxy.preprocess_route(request, @own) == request
      end
    end

    test "a maddr of ours goes, with what is not default" do
      request = request("sip:bob@biloxi.com:5070;maddr=192.0.2.101;transport=udp;x=1")
      assert uri(Proxy.preprocess_route(request, @own)) == "sip:bob@biloxi.com;x=1"

      for uri <- ["sip:bob@biloxi.com;maddr=192.0.2.101", "sip:bob@biloxi.com;maddr=192.0.2.9"],
          do: assert(Proxy.preprocess_route(request(uri), @own) == request(uri))
    end

    test "the first Route goes if it is ours, and only the first" do
      request =
        request("sip:b@h", %{route: route(["sip:SS1.atlanta.com;lr", "sip:ss1.atlanta.com;lr"])})

      assert uris(Proxy.preprocess_route(request, @own).headers.route) == [
               "sip:ss1.atlanta.com;lr"
             ]

      request = request("sip:b@h", %{route: route(["sip:ss1.atlanta.com;lr"])})
      refute Map.has_key?(Proxy.preprocess_route(request, @own).headers, :route)
      request = request("sip:b@h", %{route: route(["sip:p2;lr", "sip:ss1.atlanta.com;lr"])})
      assert Proxy.preprocess_route(request, @own) == request
    end

    test "a maddr of ours in any letter case, and stays where the request came by another transport" do
      assert uri(Proxy.preprocess_route(request("sip:b@h:5070;MADDR=192.0.2.101"), @own)) ==
               "sip:b@h"

      # It came by UDP, and asks for TCP.
      request = request("sip:b@h:5070;maddr=192.0.2.101;transport=tcp")
      assert Proxy.preprocess_route(request, @own) == request
    end

    test "addresses are compared, and not their text" do
      own = [{"2001:db8::1", 5060}]
      request = request("sip:b@h", %{route: route(["sip:[2001:DB8:0::1];lr"])})
      refute Message.has_header?(Proxy.preprocess_route(request, own), :route)
      assert uri(Proxy.preprocess_route(request("sip:b@h;maddr=[2001:db8::1]"), own)) == "sip:b@h"
    end
  end

  describe "RFC3261§16.6 request forwarding" do
    test "1. all else stays as it is" do
      request = request("sip:b@h", %{"X-Foo" => ["1"]})
      copy = forward(request)
      assert copy.body == "body"
      changed = [:via, :max_forwards]
      assert Map.drop(copy.headers, changed) == Map.drop(request.headers, changed)
    end

    test "2. the target is the Request-URI, without what may not stand there" do
      copy = forward(request(), "sip:bob@192.0.2.4;method=INVITE;user=phone?subject=x")
      assert uri(copy) == "sip:bob@192.0.2.4;user=phone"
    end

    test "3. Max-Forwards is one less, or 70" do
      assert forward(request()).headers.max_forwards == 69
      assert forward(Message.delete_header(request(), :max_forwards)).headers.max_forwards == 70
    end

    test "4. Record-Route goes in front, and must be that of a loose router" do
      own = URI.parse!("sip:ss1.atlanta.com;lr")
      request = request("sip:b@h", %{record_route: route(["sip:p0;lr"])})
      copy = forward(request, "sip:bob@192.0.2.4", record_route: own)
      assert uris(copy.headers.record_route) == ["sip:ss1.atlanta.com;lr", "sip:p0;lr"]

      assert_raise ArgumentError, ~r/lr/, fn ->
        forward(request, "sip:bob@192.0.2.4", record_route: URI.parse!("sip:ss1.atlanta.com"))
      end
    end

    test "4. Record-Route is a SIPS URI where the request goes on by one" do
      own = URI.parse!("sip:ss1.atlanta.com;lr")
      copy = forward(request(), "sips:bob@192.0.2.4", record_route: own)
      assert uris(copy.headers.record_route) == ["sips:ss1.atlanta.com;lr"]
      request = request("sip:b@h", %{route: route(["sips:p2;lr"])})
      copy = forward(request, "sip:bob@192.0.2.4", record_route: own)
      assert uris(copy.headers.record_route) == ["sips:ss1.atlanta.com;lr"]
    end

    test "6. what policy wants visited is pushed before the Route" do
      request = request("sip:b@h", %{route: route(["sip:p2;lr"])})
      copy = forward(request, "sip:bob@192.0.2.4", route: [URI.parse!("sip:p1;lr")])
      assert uris(copy.headers.route) == ["sip:p1;lr", "sip:p2;lr"]
    end

    test "6. a strict router gets its URI into the Request-URI, and the request" do
      request = request("sip:b@h", %{route: route(["sip:strict:5090", "sip:p3;lr"])})
      copy = forward(request)
      assert uri(copy) == "sip:strict:5090"
      assert uris(copy.headers.route) == ["sip:p3;lr", "sip:bob@192.0.2.4"]
      assert copy.target == {:udp, "strict", 5090}
    end

    test "8. the Via is the proxy's, and a branch is new each time" do
      assert [{{2, 0}, :udp, {"ss1.atlanta.com", 5060}, %{}}, client] =
               forward(request()).headers.via

      assert client == via("client.atlanta.com")
      assert "z9hG4bK" <> _ = branch(forward(request()))
      assert branch(forward(request())) != branch(forward(request()))
      assert branch(forward(request(), "sip:b@h", branch: "z9hG4bK9")) == "z9hG4bK9"
    end

    test "where the request was to go before is forgotten" do
      assert forward(%{request() | target: {:udp, "10.0.0.1", 5060}}).target == nil
    end

    test "4. a Record-Route with a user, which preprocess_route/2 would not know again, is refused" do
      assert_raise ArgumentError, fn ->
        forward(request(), "sip:bob@192.0.2.4",
          record_route: URI.parse!("sip:x@ss1.atlanta.com;lr")
        )
      end
    end
  end

  describe "RFC3261§16.11 stateless proxy" do
    defp stateless(request), do: Proxy.stateless_branch(request)

    test "one branch for a request, its retransmission, its CANCEL and its ACK" do
      branch = stateless(request())
      assert "z9hG4bK" <> _ = branch

      for method <- [:invite, :cancel, :ack] do
        to = if method == :ack, do: %{"tag" => "b"}, else: %{}
        headers = %{cseq: {1, method}, to: {"", URI.parse!("sip:bob@biloxi.com"), to}}
        request = put_in(request("sip:bob@biloxi.com", headers).start_line.method, method)
        assert stateless(request) == branch

        rfc2543 = put_in(request.headers.via, [{{2, 0}, :udp, {"client", 5060}, %{}}])
        invite = put_in(request().headers.via, [{{2, 0}, :udp, {"client", 5060}, %{}}])
        assert stateless(rfc2543) == stateless(invite)
      end
    end

    test "another branch for another transaction" do
      others = [
        put_in(request().headers.via, [via("client.atlanta.com", "z9hG4bKother")]),
        put_in(request().headers.via, [via("other.atlanta.com")])
      ]

      for other <- others, do: assert(stateless(other) != stateless(request()))

      # RFC 2543 has no branch to go by.
      old = put_in(request().headers.via, [{{2, 0}, :udp, {"client", 5060}, %{}}])

      for other <- [
            put_in(old.headers.call_id, "other"),
            put_in(old.headers.cseq, {2, :invite}),
            put_in(old.headers.from, {"", URI.parse!("sip:alice@atlanta.com"), %{"tag" => "z"}}),
            put_in(old.start_line.request_uri, URI.parse!("sip:carol@biloxi.com"))
          ],
          do: assert(stateless(other) != stateless(old))
    end
  end

  describe "RFC3261§16.7 response processing" do
    test "3. the proxy's Via is removed" do
      response = Message.to_response(forward(request()), 200)
      assert {:ok, removed} = Proxy.remove_via(response, @own)
      assert removed.headers.via == [via("client.atlanta.com")]
    end

    test "3. a response to the proxy itself, and one to another, are not forwarded" do
      response = Message.to_response(forward(request()), 200)
      own = put_in(response.headers.via, Enum.take(response.headers.via, 1))
      assert Proxy.remove_via(own, @own) == {:error, :own_request}
      assert Proxy.remove_via(response, [{"ss2.biloxi.com", 5060}]) == {:error, :not_ours}
    end

    defp best(statuses) do
      responses = for status <- statuses, do: Message.to_response(request(), status)
      Proxy.best_response(request(), responses).start_line.status_code
    end

    test "6. a 6xx wins, then the lowest class, and there what helps to come again" do
      assert best([302, 603, 404]) == 603
      assert best([500, 404, 302]) == 302
      assert best([404, 484, 480]) == 484
      assert best([486, 404]) == 486
      assert best([408, 486]) == 486
      assert best([503, 501]) == 501
    end

    test "6. nothing is 408, and 503 alone is 500" do
      assert best([]) == 408
      assert best([503, 503]) == 500
    end

    test "7. a challenge brings all others with it" do
      challenge = fn status, header, realm ->
        Message.put_header(Message.to_response(request(), status), header, [
          {"Digest", %{"realm" => realm}}
        ])
      end

      responses = [
        challenge.(407, :proxy_authenticate, "a"),
        Message.to_response(request(), 404),
        challenge.(401, :www_authenticate, "b"),
        challenge.(407, :proxy_authenticate, "c")
      ]

      best = Proxy.best_response(request(), responses)
      assert best.start_line.status_code == 407

      assert for({_, params} <- best.headers.proxy_authenticate, do: params["realm"]) == [
               "a",
               "c"
             ]

      assert for({_, params} <- best.headers.www_authenticate, do: params["realm"]) == ["b"]
    end

    test "7. also one that is malformed, and is text" do
      responses =
        for {header, value} <- [
              {:www_authenticate, [{"Digest", %{"realm" => "a"}}]},
              {"WWW-Authenticate", ["Digest realm"]}
            ],
            do: Message.put_header(Message.to_response(request(), 401), header, value)

      for responses <- [responses, Enum.reverse(responses)] do
        best = Proxy.best_response(request(), responses)

        assert Enum.sort(best.headers["WWW-Authenticate"]) ==
                 [~S(Digest realm), ~S(Digest realm="a")]

        refute is_map_key(best.headers, :www_authenticate)
      end
    end

    # RFC4320§4.2
    test "6. a 408 is none for a request that is no INVITE, where there is another" do
      options = Message.put_header(request(), :cseq, {1, :options})
      options = put_in(options.start_line.method, :options)
      responses = for status <- [408, 501], do: Message.to_response(options, status)
      assert Proxy.best_response(options, responses).start_line.status_code == 501
    end
  end

  describe "RFC3327§5.3 a registrar" do
    defp register(path) do
      contact = {"", URI.parse!("sip:bob@192.0.2.4"), %{}}

      request =
        Message.build_request(:register, "sip:biloxi.com")
        |> Map.put(:headers, Map.put(request().headers, :cseq, {1, :register}))
        |> Message.put_header(:contact, [contact])
        |> Message.put_header(:supported, ["path"])
        |> Message.put_typed("Path", route(path))

      {:ok, bindings, response} = Binding.register([], request)
      {bindings, response}
    end

    test "keeps the Path with the binding, in its order" do
      {[binding], _response} = register(["sip:p1;lr", "sip:p2;lr"])
      assert uris(forward_to(request(), binding).headers.route) == ["sip:p1;lr", "sip:p2;lr"]

      # Of another REGISTER another Path.
      {[binding], _response} = register(["sip:p3;lr"])
      assert uris(forward_to(request(), binding).headers.route) == ["sip:p3;lr"]
    end

    test "gives the Path back in the 200" do
      {_bindings, response} = register(["sip:p1;lr", "sip:p2;lr"])
      assert response.start_line.status_code == 200
      assert {:ok, path} = Message.fetch_typed(response, "Path")
      assert uris(path) == ["sip:p1;lr", "sip:p2;lr"]
    end
  end

  describe "RFC3327§5.4" do
    defp forward_to(request, binding, options \\ []),
      do: Proxy.forward(request, binding, [via: @via] ++ options)

    test "a binding as target has its Path for Route" do
      {[binding], _response} = register(["sip:p1;lr", "sip:p2;lr"])
      copy = forward_to(request(), binding)
      assert uri(copy) == "sip:bob@192.0.2.4"
      assert uris(copy.headers.route) == ["sip:p1;lr", "sip:p2;lr"]
      refute Message.has_header?(copy, "Path")
    end

    test "the Path goes before the Route that is left" do
      {[binding], _response} = register(["sip:p1;lr"])
      request = request("sip:bob@biloxi.com", %{route: route(["sip:p9;lr"])})
      assert uris(forward_to(request, binding).headers.route) == ["sip:p1;lr", "sip:p9;lr"]

      # What policy wants visited comes before all.
      copy = forward_to(request, binding, route: [URI.parse!("sip:p0;lr")])
      assert uris(copy.headers.route) == ["sip:p0;lr", "sip:p1;lr", "sip:p9;lr"]
    end
  end

  describe "the Via of forward/3" do
    test "is left to the stack, unless it is named" do
      copy = Proxy.forward(request(), URI.parse!("sip:bob@192.0.2.4"))
      assert [{{2, 0}, :any, {"", 0}, %{"branch" => branch}}, _callers] = copy.headers.via
      assert branch =~ ~r/^z9hG4bK.+\.[0-9a-f]{24}$/
    end

    test "asks for rport, where that is wanted" do
      copy = forward(request(), "sip:bob@192.0.2.4", rport: true)
      assert [{_, :udp, {"ss1.atlanta.com", 5060}, %{"rport" => ""}}, _callers] = copy.headers.via
    end
  end

  describe "NAT" do
    @outside %Flow{protocol: :udp, remote: {{192, 0, 2, 9}, 40_001}}
    @nat [nat: true, record_route: URI.parse!("sip:ss1.atlanta.com;lr")]

    defp from_phone(contact, source \\ @outside),
      do: %{request("sip:bob@192.0.2.4", %{contact: [contact(contact)]}) | source: source}

    defp contact(uri), do: {"", URI.parse!(uri), %{}}
    defp contact_of(message), do: message.headers.contact |> hd() |> elem(1) |> to_string()
    defp copy_of(request, options \\ @nat), do: forward(request, "sip:bob@192.0.2.4", options)

    test "a request's Contact gets the address that it came from, if that is another" do
      assert contact_of(copy_of(from_phone("sip:a@10.0.0.5:5062;x=1"))) ==
               "sip:a@10.0.0.5:5062;x=1;alias=192.0.2.9~40001~udp"

      v6 = %{@outside | remote: {{0x2001, 0xDB8, 0, 0, 0, 0, 0, 1}, 5061}, protocol: :tcp}

      assert contact_of(copy_of(from_phone("sip:a@[fd00::1]", v6))) ==
               "sip:a@[fd00::1];alias=[2001:db8::1]~5061~tcp"

      for unchanged <- [
            "sip:a@192.0.2.9:40001",
            "sip:a@phone.atlanta.com"
          ],
          do: assert(contact_of(copy_of(from_phone(unchanged))) == unchanged)

      assert contact_of(copy_of(from_phone("sip:a@df7jal.invalid"))) =~ ";alias="

      # Where a phone wants us to send to is not for it to say.
      assert contact_of(copy_of(from_phone("sip:a@10.0.0.5;alias=10.9.9.9~22~tcp"))) ==
               "sip:a@10.0.0.5;alias=192.0.2.9~40001~udp"

      assert contact_of(copy_of(from_phone("sip:a@192.0.2.9:40001;alias=10.9.9.9~22~tcp"))) ==
               "sip:a@192.0.2.9:40001"
    end

    test "only if it is wanted, and the proxy sees what follows" do
      plain = "sip:a@10.0.0.5"
      assert contact_of(copy_of(from_phone(plain), [])) == plain
      assert contact_of(copy_of(from_phone(plain), nat: true)) == plain
      assert contact_of(copy_of(from_phone(plain, nil))) == plain
    end

    test "not that of who is behind another proxy" do
      request = from_phone("sip:a@10.0.0.5")
      request = Message.put_header_back(request, :via, via("proxy.atlanta.com"))
      assert contact_of(copy_of(request)) == "sip:a@10.0.0.5"
    end

    test "a response's Contact gets it, if no other proxy record-routes behind us" do
      response = fn record_route ->
        Message.to_response(request(), 200)
        |> Message.put_header(:contact, [contact("sip:b@10.0.0.6")])
        |> Message.put_header(:record_route, route(record_route))
        |> Map.put(:source, @outside)
        |> Proxy.put_alias(@own)
        |> contact_of()
      end

      assert response.(["sip:ss1.atlanta.com;lr"]) == "sip:b@10.0.0.6;alias=192.0.2.9~40001~udp"
      assert response.(["sip:other.com;lr", "sip:ss1.atlanta.com;lr"]) == "sip:b@10.0.0.6"
      assert response.([]) == "sip:b@10.0.0.6"
    end

    test "a request within the dialog goes there, without it" do
      bye = request("sip:a@10.0.0.5:5062;x=1;alias=192.0.2.9~40001~udp")
      copy = Proxy.forward(bye, bye.start_line.request_uri, [via: @via] ++ @nat)
      assert uri(copy) == "sip:a@10.0.0.5:5062;x=1"
      assert copy.target == {:udp, "192.0.2.9", 40_001}

      copy = Proxy.forward(bye, bye.start_line.request_uri, via: @via)
      assert {uri(copy), copy.target} == {to_string(bye.start_line.request_uri), nil}
    end

    test "but not past another proxy, nor anywhere by a malformed one" do
      bye = request("sip:a@10.0.0.5;alias=192.0.2.9~40001~udp", %{route: route(["sip:p;lr"])})
      assert Proxy.forward(bye, bye.start_line.request_uri, [via: @via] ++ @nat).target == nil

      for text <- [
            "",
            "192.0.2.9",
            "host~1~udp",
            "192.0.2.9~0~udp",
            "192.0.2.9~65536~udp",
            "a~b~c~d"
          ] do
        bye = request("sip:a@10.0.0.5;alias=#{text}")
        assert Proxy.take_alias(bye) == bye
      end
    end

    test "a binding is reached by the flow of its REGISTER, if its Contact names another address" do
      binding = fn contact, fields ->
        struct!(
          %Binding{
            contact: contact(contact),
            expires_at: 0,
            call_id: "a",
            cseq: 1,
            source: @outside
          },
          fields
        )
      end

      target = fn binding, options ->
        Proxy.forward(request(), binding, [via: @via] ++ options).target
      end

      assert target.(binding.("sip:b@10.0.0.6", []), nat: true) == @outside
      assert target.(binding.("sip:b@10.0.0.6", []), []) == nil
      assert target.(binding.("sip:b@192.0.2.9:40001", []), nat: true) == nil
      assert target.(binding.("sip:b@10.0.0.6", source: nil), nat: true) == nil
      assert target.(binding.("sip:b@10.0.0.6", path: route(["sip:p;lr"])), nat: true) == nil
      route = [nat: true, route: [URI.parse!("sip:p;lr")]]
      assert target.(binding.("sip:b@10.0.0.6", []), route) == nil
    end
  end
end
