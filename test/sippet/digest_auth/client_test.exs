defmodule Sippet.DigestAuth.ClientTest do
  use ExUnit.Case, async: true

  alias Sippet.DigestAuth
  alias Sippet.Message

  @uri "sip:bob@biloxi.com"
  @nonce "dcd98b7102dd2f0e8b11d0f600bfb0c093"

  defp request(method \\ :invite), do: Message.build_request(method, @uri)
  defp bob(_realm), do: {:ok, "bob", "zanzibar"}

  # RFC3261§22.2 - the challenge of its example
  defp challenge(changes \\ %{}) do
    params = %{
      "realm" => "biloxi.com",
      "qop" => "auth,auth-int",
      "nonce" => @nonce,
      "opaque" => "5ccc069c"
    }

    {"Digest", params |> Map.merge(changes) |> Map.reject(fn {_name, value} -> value == nil end)}
  end

  defp response(challenges, header \\ :www_authenticate),
    do: Message.put_header(Message.build_response(401), header, challenges)

  defp answer(challenges, options \\ [], request \\ request()) do
    options = Keyword.put_new(options, :cnonce, "0a4f113b")

    with {:ok, next} <- DigestAuth.make_request(request, response(challenges), &bob/1, options) do
      [{"Digest", credentials}] = next.headers.authorization
      credentials
    end
  end

  describe "RFC3261§22.2 and §22.4" do
    test "auth" do
      assert answer([challenge()]) == %{
               "username" => "bob",
               "realm" => "biloxi.com",
               "nonce" => @nonce,
               "uri" => @uri,
               "qop" => "auth",
               "nc" => "00000001",
               "cnonce" => "0a4f113b",
               "response" => "89eb0059246c02b2f6ee02c7961d5ea3",
               "opaque" => "5ccc069c"
             }
    end

    test "auth-int without a body hashes the empty one" do
      for body <- [nil, ""], challenge <- [challenge(%{"qop" => "auth-int"}), challenge()] do
        credentials = answer([challenge], [qop: "auth-int"], %{request() | body: body})

        assert %{"qop" => "auth-int", "response" => "2d6fc6e788367208f746582b18a69618"} =
                 credentials
      end
    end

    test "no qop" do
      credentials = answer([challenge(%{"qop" => nil})])
      assert credentials["response"] == "bf57e4e0d0bffc0fbaedce64d59add5e"
      assert Map.take(credentials, ["qop", "cnonce", "nc"]) == %{}
    end

    test "MD5-sess" do
      credentials = answer([challenge(%{"algorithm" => "MD5-sess"})])
      assert credentials["algorithm"] == "MD5-sess"
      assert credentials["response"] == "e4e4ea61d186d07a92c9e1f6919902e9"
    end

    # RFC3261§22.4 - its cnonce may only be sent with a qop; RFC8760§2.6 - which is "auth" then
    test "MD5-sess, SHA-256 and no qop" do
      for algorithm <- ["MD5-sess", "SHA-256"] do
        assert %{"qop" => "auth", "cnonce" => _} =
                 answer([challenge(%{"qop" => nil, "algorithm" => algorithm})])
      end
    end

    # RFC3261§22.1
    test "an ACK is signed as its INVITE" do
      assert answer([challenge()], [], request(:ack))["response"] ==
               "89eb0059246c02b2f6ee02c7961d5ea3"

      refute answer([challenge()], [], request(:bye))["response"] ==
               "89eb0059246c02b2f6ee02c7961d5ea3"
    end
  end

  describe "RFC2617§3.5" do
    test "the example as printed" do
      request = %Message{
        start_line: %Message.RequestLine{method: "GET", request_uri: "/dir/index.html"}
      }

      response = response([challenge(%{"realm" => "testrealm@host.com"})])
      mufasa = fn "testrealm@host.com" -> {:ok, "Mufasa", "Circle Of Life"} end
      {:ok, next} = DigestAuth.make_request(request, response, mufasa, cnonce: "0a4f113b")

      assert [{"Digest", %{"response" => "6629fae49393a05397450978507c4ef1"}}] =
               next.headers.authorization
    end
  end

  describe "JsSIP 3.13.8" do
    # As it registered with the password `secret`: another implementation's digest.
    test "gives the same credentials" do
      register = Message.parse!(Sippet.Corpus.fixture!("clients/jssip-live-019"))
      [{"Digest", credentials}] = register.headers.authorization
      assert credentials["response"] == "4e8a2dd0cdb00d1279d3851f5a65251f"

      challenge =
        {"Digest", Map.take(credentials, ["realm", "nonce", "opaque", "algorithm", "qop"])}

      request = Message.delete_header(register, :authorization)
      user = fn "asterisk" -> {:ok, "1060", "secret"} end
      options = [cnonce: credentials["cnonce"]]

      assert DigestAuth.make_request(request, response([challenge]), user, options) ==
               {:ok, register}
    end
  end

  describe "RFC8760§2.4" do
    defp offered(algorithms), do: Enum.map(algorithms, &challenge(%{"algorithm" => &1}))

    test "the strongest that both know, wherever it stands" do
      for {offered, chosen} <- [
            {["MD5", "SHA-256"], "SHA-256"},
            {["SHA-256", "MD5"], "SHA-256"},
            {["MD5", "SHA-256", "SHA-512-256"], "SHA-512-256"},
            {["SHA-512-256-sess", "SHA-256", "MD5"], "SHA-512-256-sess"},
            {["SHA-256-sess", "SHA-256"], "SHA-256-sess"},
            {["SHA-256", "SHA-256-sess"], "SHA-256"},
            {["SHA-1024", "MD5"], "MD5"},
            {["sha-256", "MD5"], "sha-256"}
          ] do
        assert {offered, answer(offered(offered))["algorithm"]} == {offered, chosen}
      end
    end

    test "the topmost that both know, if so wished" do
      assert answer(offered(["SHA-1024", "MD5", "SHA-256"]), prefer: :topmost)["algorithm"] ==
               "MD5"
    end

    test "none that the caller does not accept" do
      assert answer(offered(["MD5"]), algorithms: ["SHA-256"]) == {:error, :unknown_algorithm}
      assert answer(offered(["SHA-256", "MD5"]), algorithms: ["MD5"])["algorithm"] == "MD5"
    end

    test "many realms, with work that grows as they do" do
      few = reductions(realms(250))
      assert reductions(realms(2000)) < 16 * few
    end

    defp realms(count), do: for(n <- 1..count, do: challenge(%{"realm" => Integer.to_string(n)}))

    # In a process of its own, whose heap the other tests did not fill.
    defp reductions(challenges) do
      Task.await(
        Task.async(fn ->
          {:reductions, before} = Process.info(self(), :reductions)
          {:ok, next} = DigestAuth.make_request(request(), response(challenges), &bob/1)
          {:ok, _again} = DigestAuth.repeat_request(next, &bob/1)
          {:reductions, later} = Process.info(self(), :reductions)
          later - before
        end)
      )
    end

    test "none that the secret has no digest for" do
      only = {:ha1, %{"MD5" => DigestAuth.ha1("MD5", "bob", "biloxi.com", "zanzibar")}}
      options = [cnonce: "0a4f113b"]

      {:ok, next} =
        DigestAuth.make_request(
          request(),
          response(offered(["SHA-256", "MD5"])),
          fn _ -> {:ok, "bob", only} end,
          options
        )

      assert [
               {"Digest",
                %{"algorithm" => "MD5", "response" => "89eb0059246c02b2f6ee02c7961d5ea3"}}
             ] = next.headers.authorization

      assert DigestAuth.make_request(request(), response(offered(["SHA-256"])), fn _ ->
               {:ok, "bob", only}
             end) ==
               {:error, :unknown_algorithm}
    end

    test "challenges that are not understood are passed over" do
      assert answer([{"Basic", %{"realm" => "biloxi.com"}}, {"Bearer", %{"" => "x"}}, challenge()])[
               "username"
             ] == "bob"

      assert answer([{"DIGEST", elem(challenge(), 1)}])["username"] == "bob"

      assert answer(
               offered(["SHA-256"]) ++ [challenge(%{"algorithm" => "MD5", "qop" => "auth-conf"})]
             )["algorithm"] ==
               "SHA-256"

      raw = [
        ~s(Digest realm="biloxi.com"; nonce="1"),
        ~s(Digest realm="biloxi.com", nonce="2", qop="auth")
      ]

      malformed = Message.put_header(Message.build_response(401), "WWW-Authenticate", raw)
      assert {:ok, next} = DigestAuth.make_request(request(), malformed, &bob/1)
      assert [{"Digest", %{"nonce" => "2"}}] = next.headers.authorization
    end
  end

  describe "make_request/4" do
    test "chooses auth where both are offered, in any spelling" do
      for qop <- ["auth,auth-int", "auth-int, auth", "AUTH", "auth-conf,auth"] do
        assert answer([challenge(%{"qop" => qop})])["qop"] == "auth"
      end

      assert answer([challenge(%{"qop" => "auth"})], qop: "auth-int")["qop"] == "auth"
    end

    test "writes the count in eight digits" do
      assert answer([challenge()], nc: 1)["nc"] == "00000001"
      assert answer([challenge()], nc: 0xABCDEF)["nc"] == "00abcdef"
      refute answer([challenge()], nc: 2)["response"] == answer([challenge()], nc: 1)["response"]
    end

    test "makes a new cnonce each time" do
      cnonces = for _ <- 1..10, do: answer([challenge()], cnonce: nil)["cnonce"]
      assert length(Enum.uniq(cnonces)) == 10
    end

    test "leaves out what the challenge left out" do
      credentials = answer([challenge(%{"opaque" => nil})])
      refute is_map_key(credentials, "opaque") or is_map_key(credentials, "algorithm")
      assert answer([challenge(%{"opaque" => ""})])["opaque"] == ""
    end

    # RFC7616§4
    test "puts name and password in Normalization Form C for UTF-8" do
      decomposed = fn _ -> {:ok, "Ja\u0308son", "passe\u0301"} end
      composed = fn _ -> {:ok, "J\u00E4son", "pass\u00E9"} end

      digests =
        for authenticate <- [decomposed, composed], charset <- ["utf-8", nil] do
          response = response([challenge(%{"charset" => charset})])
          {:ok, next} = DigestAuth.make_request(request(), response, authenticate, cnonce: "c")
          next.headers.authorization
        end

      assert [utf8, octets, utf8, utf8] = digests
      refute octets == utf8
    end

    test "answers several realms and both headers" do
      west = challenge(%{"realm" => "west", "nonce" => "w"})
      east = challenge(%{"realm" => "east", "nonce" => "e"})
      proxy = challenge(%{"realm" => "west", "nonce" => "p"})
      response = [west, east] |> response() |> Message.put_header(:proxy_authenticate, [proxy])

      {:ok, next} =
        DigestAuth.make_request(request(), response, fn realm -> {:ok, "of-" <> realm, "pw"} end)

      assert [
               {"Digest", %{"username" => "of-west", "nonce" => "w"}},
               {"Digest", %{"realm" => "east", "nonce" => "e"}}
             ] = next.headers.authorization

      assert [{"Digest", %{"nonce" => "p"}}] = next.headers.proxy_authorization
    end

    test "answers the realm that it can" do
      response = response([challenge(%{"realm" => "west"}), challenge(%{"realm" => "east"})])

      only_east = fn
        "east" -> {:ok, "bob", "pw"}
        "west" -> {:error, :nobody_there}
      end

      {:ok, next} = DigestAuth.make_request(request(), response, only_east)
      assert [{"Digest", %{"realm" => "east"}}] = next.headers.authorization

      assert DigestAuth.make_request(request(), response, fn realm -> {:error, realm} end) ==
               {:error, "west"}
    end

    test "keeps the credentials for other realms" do
      {:ok, next} =
        DigestAuth.make_request(request(), response([challenge(%{"realm" => "west"})]), &bob/1)

      {:ok, next} =
        DigestAuth.make_request(next, response([challenge(%{"realm" => "east"})]), &bob/1)

      assert [{"Digest", %{"realm" => "west"}}, {"Digest", %{"realm" => "east"}}] =
               next.headers.authorization
    end

    test "puts nothing but the credentials" do
      request =
        request()
        |> Message.put_header(:cseq, {7, :invite})
        |> Message.put_header("X-Foo", ["bar"])

      {:ok, next} = DigestAuth.make_request(request, response([challenge()]), &bob/1)
      assert Message.delete_header(next, :authorization) == request
    end

    test "refuses wrong arguments" do
      assert_raise ArgumentError, ~r/expected :nc to be an integer/, fn ->
        answer([challenge()], nc: 0)
      end

      for options <- [
            [nc: -1],
            [nc: 0x100000000],
            [nc: "1"],
            [cnonce: 1],
            [qop: "none"],
            [algorithms: ["SHA-1"]],
            [x: 1]
          ] do
        assert_raise ArgumentError, fn -> answer([challenge()], options) end
      end

      assert_raise ArgumentError, ~r/expected {:ok, username, secret}/, fn ->
        DigestAuth.make_request(request(), response([challenge()]), fn _ ->
          {"bob", "zanzibar"}
        end)
      end
    end
  end

  describe "make_request/4 after credentials were sent" do
    defp sent(options \\ []) do
      {:ok, next} = DigestAuth.make_request(request(), response([challenge()]), &bob/1, options)
      next
    end

    defp again(request, challenges),
      do: DigestAuth.make_request(request, response(challenges), &bob/1)

    test "a stale nonce is replaced, not added to" do
      for flag <- ["true", "TRUE"] do
        {:ok, next} = again(sent(), [challenge(%{"nonce" => "fresh", "stale" => flag})])
        assert [{"Digest", %{"nonce" => "fresh"}}] = next.headers.authorization
      end
    end

    # RFC3261§22.1 - a UAC must not re-attempt requests with the credentials that have just been rejected
    test "refused credentials are not tried again" do
      assert again(sent(), [challenge()]) == {:error, :unknown_nonce}
      assert again(sent(), [challenge(%{"nonce" => "other"})]) == {:error, :unknown_nonce}

      assert again(sent(), [challenge(%{"nonce" => "other", "stale" => "FALSE"})]) ==
               {:error, :unknown_nonce}

      assert again(sent(), [challenge(%{"stale" => "true"})]) == {:error, :unknown_nonce}
      other = challenge(%{"realm" => "other", "nonce" => "other"})
      assert again(sent(), [other, challenge()]) == {:error, :unknown_nonce}
    end

    test "only what is fresh is answered" do
      known = challenge(%{"algorithm" => "SHA-256"})

      assert {:ok, next} =
               again(sent(), [known, challenge(%{"nonce" => "fresh", "stale" => "true"})])

      assert [{"Digest", %{"nonce" => "fresh"}}] = next.headers.authorization
    end

    test "a nonce that had served before may have grown old unsaid" do
      assert {:ok, next} = again(sent(nc: 2), [challenge(%{"nonce" => "other"})])
      assert [{"Digest", %{"nonce" => "other", "nc" => "00000001"}}] = next.headers.authorization
      assert again(sent(nc: 2), [challenge()]) == {:error, :unknown_nonce}
    end

    test "one that carries none starts afresh" do
      assert {:ok, _next} = again(request(), [challenge()])
      proxy = Message.put_header(request(), :proxy_authorization, sent().headers.authorization)
      assert {:ok, _next} = again(proxy, [challenge()])
    end
  end

  describe "make_request/4 where a proxy and a server ask" do
    # A proxy and a server behind it, each with a store: what either has accepted is used up.
    defp path(context) do
      [proxy, server] = stores = for part <- ["proxy", "server"], do: :"#{context.test} #{part}"
      for store <- stores, do: start_supervised!({DigestAuth.NonceStore, name: store})

      fn request ->
        with {:ok, "al"} <- pass(request, "proxy.example", status: 407, store: proxy),
             do: pass(request, "biloxi.com", store: server)
      end
    end

    defp pass(request, realm, options),
      do: DigestAuth.authenticate(request, realm, &secret(realm, &1), options)

    defp secret("proxy.example", "al"), do: {:ok, "pw"}
    defp secret("biloxi.com", "bob"), do: {:ok, "zanzibar"}

    defp both("proxy.example"), do: {:ok, "al", "pw"}
    defp both("biloxi.com"), do: {:ok, "bob", "zanzibar"}

    # The statuses that a request gets until it is let in.
    defp statuses(request, path, authenticate \\ &both/1, left \\ 5) do
      case path.(request) do
        {:ok, user} ->
          {[user], request}

        {:error, %{start_line: line} = response} when left > 0 ->
          {:ok, next} = DigestAuth.make_request(request, response, authenticate)
          {later, last} = statuses(next, path, authenticate, left - 1)
          {[line.status_code | later], last}
      end
    end

    defp counts(request) do
      for key <- [:proxy_authorization, :authorization],
          {"Digest", params} <- request.headers[key],
          do: params["nc"]
    end

    test "after 407 and 401 no credentials are sent twice", context do
      path = path(context)
      assert {[407, 401, "bob"], last} = statuses(request(), path)
      assert counts(last) == ["00000002", "00000001"]

      {:ok, later} = DigestAuth.repeat_request(last, &both/1)
      assert {["bob"], _later} = statuses(later, path)
      assert counts(later) == ["00000003", "00000002"]
    end

    test "a client of whatever algorithm and protection keeps count" do
      for algorithm <- ["MD5-sess", "SHA-256"], qop <- ["auth", "auth-int"] do
        options = [algorithm: algorithm, qop: qop]
        request = %{request() | body: "v=0"}
        {:ok, asked} = DigestAuth.make_response(request, 407, "proxy.example", options)
        {:ok, next} = DigestAuth.make_request(request, asked, &both/1)
        {:ok, asked} = DigestAuth.make_response(next, 401, "biloxi.com", options)
        {:ok, next} = DigestAuth.make_request(next, asked, &both/1)
        proxy = [status: 407] ++ options
        al = &secret("proxy.example", &1)
        assert DigestAuth.verify(next, "proxy.example", al, proxy) == {:ok, "al"}
        assert counts(next) == ["00000002", "00000001"]
      end
    end

    test "what the caller knows no more, or knows otherwise, is left as it was" do
      {:ok, asked} = DigestAuth.make_response(request(), 407, "proxy.example")
      {:ok, sent} = DigestAuth.make_request(request(), asked, &both/1)
      {:ok, asked} = DigestAuth.make_response(sent, 401, "biloxi.com")

      only_bob = fn "biloxi.com" -> {:ok, "bob", "zanzibar"} end
      locked = fn realm -> if realm == "biloxi.com", do: both(realm), else: {:error, :locked} end
      anybody = fn _realm -> {:ok, "bob", "zanzibar"} end

      changed = fn realm ->
        if realm == "biloxi.com", do: both(realm), else: {:ok, "al", "new"}
      end

      hashed = fn realm ->
        if realm == "biloxi.com", do: both(realm), else: {:ok, "al", {:ha1, %{}}}
      end

      for authenticate <- [only_bob, locked, anybody, changed, hashed] do
        {:ok, next} = DigestAuth.make_request(sent, asked, authenticate)
        assert next.headers.proxy_authorization == sent.headers.proxy_authorization
        assert [{"Digest", %{"username" => "bob"}}] = next.headers.authorization
      end

      # A failure within what the caller gave is the caller's.
      assert_raise FunctionClauseError, fn ->
        DigestAuth.make_request(sent, asked, fn realm ->
          if realm == "biloxi.com", do: both(realm), else: String.length(realm: realm)
        end)
      end
    end

    # RFC3261§22.3 - there is a set for each server of the realm
    test "all that is carried counts on, whatever the realm" do
      {:ok, asked} = DigestAuth.make_response(request(), 407, "proxy.example")
      {:ok, one} = DigestAuth.make_request(request(), asked, &both/1)
      {:ok, asked} = DigestAuth.make_response(request(), 407, "proxy.example")
      {:ok, two} = DigestAuth.make_request(request(), asked, &both/1)
      carried = one.headers.proxy_authorization ++ two.headers.proxy_authorization
      basic = {"Basic", %{"" => "Ym9iOnphbnppYmFy"}}
      request = Message.put_header(request(), :proxy_authorization, [basic | carried])

      {:ok, asked} = DigestAuth.make_response(request, 401, "biloxi.com")
      {:ok, next} = DigestAuth.make_request(request, asked, &both/1)
      assert [^basic | renewed] = next.headers.proxy_authorization

      assert for({_, params} <- renewed, do: {params["nonce"], params["nc"]}) ==
               for({_, params} <- carried, do: {params["nonce"], "00000002"})
    end
  end

  describe "make_request/4 gives" do
    test "invalid_auth_header where there is no Digest challenge" do
      for response <- [
            Message.build_response(401),
            response([{"Basic", %{"realm" => "biloxi.com"}}]),
            response([challenge(%{"nonce" => nil})]),
            response([challenge(%{"realm" => nil})]),
            Message.put_header(Message.build_response(401), "WWW-Authenticate", ["Digest realm"])
          ] do
        assert DigestAuth.make_request(request(), response, &bob/1) ==
                 {:error, :invalid_auth_header}
      end
    end

    test "unknown_algorithm and unknown_qop, without asking who" do
      nobody = fn _realm -> flunk("asked") end
      aka = response([challenge(%{"algorithm" => "AKAv1-MD5"})])

      assert DigestAuth.make_request(request(), aka, nobody, algorithms: ["SHA-256"]) ==
               {:error, :unknown_algorithm}

      conf = response([challenge(%{"qop" => "auth-conf"})])
      assert DigestAuth.make_request(request(), conf, nobody) == {:error, :unknown_qop}
    end
  end

  describe "a challenge with empty parameters" do
    test "is answered" do
      for text <- [
            ~s(Digest realm="biloxi.com",nonce="#{@nonce}",qop="auth,auth-int",opaque="5ccc069c",),
            ~s(Digest realm="biloxi.com",,nonce="#{@nonce}",qop="auth,auth-int",opaque="5ccc069c"),
            ~s(Digest ,realm="biloxi.com",nonce="#{@nonce}",qop="auth,",opaque="5ccc069c" , )
          ] do
        response = Message.parse!("SIP/2.0 401 Unauthorized\r\nWWW-Authenticate: #{text}\r\n\r\n")
        {:ok, next} = DigestAuth.make_request(request(), response, &bob/1, cnonce: "0a4f113b")
        assert [{"Digest", %{"response" => digest}}] = next.headers.authorization
        assert digest == "89eb0059246c02b2f6ee02c7961d5ea3"
      end
    end
  end

  describe "credentials that are text because a line of them is malformed" do
    test "keep those of other realms" do
      lines = [~s(Digest realm="other", nonce="1"), ~s(Digest realm="x"; y)]
      request = Message.put_header(request(), "Authorization", lines)
      {:ok, next} = DigestAuth.make_request(request, response([challenge()]), &bob/1)

      assert for({"Digest", params} <- next.headers.authorization, do: params["realm"]) ==
               ["other", "biloxi.com"]
    end
  end

  describe "an algorithm that is not known" do
    # As sippet 1.0 did: the digest is made with MD5, and the name goes back as it came.
    test "is answered with MD5 where nothing else is asked" do
      for algorithm <- ["AKAv1-MD5", "SHA-512", "", "token"] do
        credentials = answer([challenge(%{"algorithm" => algorithm})])
        assert credentials["algorithm"] == algorithm
        assert credentials["response"] == "89eb0059246c02b2f6ee02c7961d5ea3"
      end

      old = answer([challenge(%{"algorithm" => "AKAv1-MD5", "qop" => nil})])
      assert old["response"] == "bf57e4e0d0bffc0fbaedce64d59add5e"
    end

    test "is passed over where another is asked, and where MD5 is not accepted" do
      aka = challenge(%{"algorithm" => "AKAv1-MD5"})
      md5 = challenge(%{"algorithm" => "MD5"})

      for prefer <- [:topmost, :strongest],
          do: assert(answer([aka, md5], prefer: prefer)["algorithm"] == "MD5")

      assert answer([aka, challenge(%{"algorithm" => "SHA-256"})])["algorithm"] == "SHA-256"
      assert answer([aka], algorithms: ["SHA-256"]) == {:error, :unknown_algorithm}

      ask = fn _realm -> {:ok, "bob", {:ha1, %{"SHA-256" => ""}}} end

      assert DigestAuth.make_request(request(), response([aka]), ask) ==
               {:error, :unknown_algorithm}
    end
  end

  describe "a user and a password" do
    test "are atoms or integers as well, and count as their text" do
      for {username, password} <- [{:bob, :zanzibar}, {"bob", :zanzibar}, {:bob, "zanzibar"}] do
        {:ok, next} =
          DigestAuth.make_request(
            request(),
            response([challenge()]),
            fn _ -> {:ok, username, password} end,
            cnonce: "0a4f113b"
          )

        assert [{"Digest", %{"username" => "bob", "response" => digest}}] =
                 next.headers.authorization

        assert digest == "89eb0059246c02b2f6ee02c7961d5ea3"
      end

      number = fn _ -> {:ok, 1000, 4711} end
      text = fn _ -> {:ok, "1000", "4711"} end
      utf8 = response([challenge(%{"charset" => "UTF-8", "userhash" => "true"})])

      for response <- [response([challenge()]), utf8] do
        [{:ok, one}, {:ok, other}] =
          for ask <- [number, text],
              do: DigestAuth.make_request(request(), response, ask, cnonce: "0a4f113b")

        assert one == other
        assert DigestAuth.repeat_request(one, number) == DigestAuth.repeat_request(one, text)
      end
    end

    test "are nothing else" do
      for answer <- [{:ok, 'bob', "x"}, {:ok, "bob", 1.5}, {:ok, "bob", {:ha1, []}}, {:ok, {}, 1}],
          do:
            assert_raise(ArgumentError, ~r/^expected/, fn ->
              DigestAuth.make_request(request(), response([challenge()]), fn _ -> answer end)
            end)
    end
  end
end
