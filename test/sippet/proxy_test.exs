defmodule Sippet.ProxyTest do
  use ExUnit.Case, async: true

  alias Sippet.{Message, Proxy, URI}

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
  end
end
