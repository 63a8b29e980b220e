defmodule Sippet.DigestAuthTest do
  use ExUnit.Case, async: true

  alias Sippet.DigestAuth
  alias Sippet.Message

  doctest Sippet.DigestAuth
  doctest Sippet.DigestAuth.NonceStore

  @realm "biloxi.com"
  @uri "sip:bob@biloxi.com"

  defp request(method \\ :invite), do: Message.build_request(method, @uri)
  defp bob(@realm), do: {:ok, "bob", "zanzibar"}

  defp lookup("bob"), do: {:ok, "zanzibar"}
  defp lookup(_username), do: {:error, :not_found}

  defp answered(request, server \\ [], client \\ []) do
    {:ok, response} = DigestAuth.make_response(request, 401, @realm, server)
    {:ok, next} = DigestAuth.make_request(request, response, &bob/1, client)
    next
  end

  # Through text and back, as the two would meet on the wire.
  defp wire(%{headers: %{authorization: _}} = request) do
    headers =
      Map.merge(request.headers, %{
        via: [{{2, 0}, :udp, {"192.0.2.4", 5060}, %{"branch" => Message.create_branch()}}],
        from: {"", Sippet.URI.parse!(@uri), %{"tag" => "1928301774"}},
        to: {"", Sippet.URI.parse!(@uri), %{}},
        call_id: "a84b4c76e66710",
        cseq: {2, request.start_line.method}
      })

    Message.parse!(Message.to_iodata(%{request | headers: headers}))
  end

  describe "client and server" do
    for algorithm <- ~w(MD5 MD5-sess SHA-256 SHA-256-sess SHA-512-256 SHA-512-256-sess),
        qop <- ["auth", "auth-int"],
        secret <- [:password, :ha1] do
      test "agree on #{algorithm} with #{qop} by #{secret}" do
        options = [algorithm: unquote(algorithm), qop: unquote(qop)]
        base = String.replace_suffix(unquote(algorithm), "-sess", "")

        secret =
          if unquote(secret) == :ha1,
            do: {:ha1, %{base => DigestAuth.ha1(base, "bob", @realm, "zanzibar")}},
            else: "zanzibar"

        request = %{request() | body: "v=0\r\n"}
        {:ok, response} = DigestAuth.make_response(request, 401, @realm, options)

        {:ok, next} =
          DigestAuth.make_request(request, response, fn @realm -> {:ok, "bob", secret} end)

        next = wire(next)

        assert [{"Digest", %{"qop" => unquote(qop), "algorithm" => unquote(algorithm)}}] =
                 next.headers.authorization

        assert DigestAuth.verify(next, @realm, fn "bob" -> {:ok, secret} end, options) ==
                 {:ok, "bob"}

        assert DigestAuth.verify(next, @realm, fn "bob" -> {:ok, "xanadu"} end, options) ==
                 {:error, :wrong_response}

        changed =
          DigestAuth.verify(
            %{next | body: "v=1\r\n"},
            @realm,
            fn "bob" -> {:ok, secret} end,
            options
          )

        assert changed ==
                 if(unquote(qop) == "auth", do: {:ok, "bob"}, else: {:error, :wrong_response})
      end
    end

    test "agree on a username and a realm that need escapes" do
      realm = ~s(the "west" \\ wing)
      {:ok, response} = DigestAuth.make_response(request(), 401, realm)

      {:ok, next} =
        DigestAuth.make_request(request(), response, fn ^realm -> {:ok, ~S(b"o\b), "p:w"} end)

      assert DigestAuth.verify(wire(next), realm, fn ~S(b"o\b) -> {:ok, "p:w"} end) ==
               {:ok, ~S(b"o\b)}
    end

    test "agree where a proxy asks too" do
      {:ok, unauthorized} = DigestAuth.make_response(request(), 401, @realm)
      {:ok, next} = DigestAuth.make_request(request(), unauthorized, &bob/1)
      {:ok, proxy} = DigestAuth.make_response(next, 407, "proxy.example")

      {:ok, next} =
        DigestAuth.make_request(next, proxy, fn "proxy.example" -> {:ok, "al", "pw"} end)

      assert DigestAuth.verify(next, @realm, &lookup/1) == {:ok, "bob"}

      assert DigestAuth.verify(next, "proxy.example", fn "al" -> {:ok, "pw"} end, status: 407) ==
               {:ok, "al"}

      assert DigestAuth.verify(next, @realm, &lookup/1, status: 407) == {:error, :no_credentials}
    end
  end

  describe "make_response/4" do
    test "gives one challenge for each algorithm, in order, with one nonce" do
      {:ok, response} =
        DigestAuth.make_response(request(), 401, @realm,
          algorithm: ["SHA-512-256", "SHA-256", "MD5"]
        )

      challenges = Enum.map(response.headers.www_authenticate, &elem(&1, 1))
      assert Enum.map(challenges, & &1["algorithm"]) == ["SHA-512-256", "SHA-256", "MD5"]
      assert [nonce] = challenges |> Enum.map(& &1["nonce"]) |> Enum.uniq()
      assert nonce =~ ~r/\A[\w-]{44}\z/

      assert Enum.all?(
               challenges,
               &match?(%{"realm" => @realm, "qop" => "auth", "opaque" => _}, &1)
             )

      refute Enum.any?(challenges, &is_map_key(&1, "stale"))

      text = to_string(Message.put_header(response, :call_id, "a"))
      assert length(String.split(text, "WWW-Authenticate: Digest ")) == 4
    end

    test "answers the request" do
      request = Message.put_header(request(), :call_id, "a84b4c76e66710")
      {:ok, response} = DigestAuth.make_response(request, 407, @realm)
      assert response.start_line.status_code == 407
      assert response.headers.call_id == "a84b4c76e66710"
      assert [{"Digest", _}] = response.headers.proxy_authenticate
      refute is_map_key(response.headers, :www_authenticate)
    end

    test "says that the nonce was stale, and that usernames may be hidden" do
      {:ok, response} =
        DigestAuth.make_response(request(), 401, @realm, stale: true, userhash: true)

      assert [{"Digest", %{"stale" => "true", "userhash" => "true"}}] =
               response.headers.www_authenticate
    end

    test "makes no nonce twice" do
      nonces =
        for _ <- 1..100 do
          {:ok, response} = DigestAuth.make_response(request(), 401, @realm, now: 1)
          [{"Digest", %{"nonce" => nonce}}] = response.headers.www_authenticate
          nonce
        end

      assert length(Enum.uniq(nonces)) == 100
    end

    # RFC3261§22.1 - servers must not attempt to challenge these
    test "challenges neither an ACK nor a CANCEL" do
      assert DigestAuth.make_response(request(:ack), 401, @realm) == {:error, :unchallengeable}
      assert DigestAuth.make_response(request(:cancel), 407, @realm) == {:error, :unchallengeable}
    end

    test "refuses wrong options" do
      for options <- [
            [algorithm: "SHA-1"],
            [algorithm: []],
            [algorithm: ["MD5", "md5"]],
            [qop: ""],
            [qop: "auth-conf"],
            [secret: "short"],
            [max_age: 0],
            [uri: :some],
            [stale: "true"],
            [status: 401]
          ] do
        assert_raise ArgumentError, fn ->
          DigestAuth.make_response(request(), 401, @realm, options)
        end
      end
    end
  end

  describe "verify/4 refuses" do
    test "a request without credentials for the realm" do
      assert DigestAuth.verify(request(), @realm, &lookup/1) == {:error, :no_credentials}

      assert DigestAuth.verify(answered(request()), "atlanta.com", &lookup/1) ==
               {:error, :no_credentials}

      basic =
        Message.put_header(request(), :authorization, [{"Basic", %{"" => "Ym9iOnphbnppYmFy"}}])

      assert DigestAuth.verify(basic, @realm, &lookup/1) == {:error, :no_credentials}
    end

    test "a header that is malformed" do
      raw =
        Message.put_header(request(), "Authorization", [
          "Digest username=\"bob\" realm=\"biloxi.com\""
        ])

      assert DigestAuth.verify(raw, @realm, &lookup/1) == {:error, :invalid_credentials}
    end

    test "credentials that were cut off, and takes no harm from two thousand parameters" do
      for {file, expected} <- [
            {"auth-digest-truncated", :invalid_credentials},
            {"auth-many-params", :no_credentials}
          ] do
        request = Message.parse!(Sippet.Corpus.fixture!("bad/" <> file))
        assert {file, DigestAuth.verify(request, @realm, &lookup/1)} == {file, {:error, expected}}
      end
    end

    test "parameters that are malformed or missing" do
      for changes <- [
            %{"response" => "0123"},
            %{"response" => String.duplicate("g", 32)},
            %{"nc" => "1"},
            %{"nc" => "00000000"},
            %{"nc" => "0000000x"},
            %{"nc" => "-0000001"},
            %{"nc" => nil},
            %{"cnonce" => nil},
            %{"uri" => nil},
            %{"username" => nil},
            %{"nonce" => nil},
            %{"response" => nil},
            %{"username*" => "UTF-8''bob"},
            %{"username" => nil, "username*" => "bob"},
            %{"username" => nil, "username*" => "ISO-8859-1''bob"},
            %{"username" => nil, "username*" => "UTF-8''b%6"},
            %{"username" => nil, "username*" => "UTF-8''b%zz"},
            %{"username" => nil, "username*" => "UTF-8''b%ff"}
          ] do
        changed = change(answered(request()), changes)

        assert {changes, DigestAuth.verify(changed, @realm, &lookup/1)} ==
                 {changes, {:error, :invalid_credentials}}
      end
    end

    test "an algorithm that was not asked for" do
      next = answered(request())

      assert DigestAuth.verify(next, @realm, &lookup/1, algorithm: "SHA-256") ==
               {:error, :unsupported_algorithm}

      unknown = change(next, %{"algorithm" => "AKAv1-MD5"})
      assert DigestAuth.verify(unknown, @realm, &lookup/1) == {:error, :unsupported_algorithm}
      # MD5 is what a missing parameter means
      missing = change(next, %{"algorithm" => nil})

      assert DigestAuth.verify(missing, @realm, &lookup/1, algorithm: "SHA-256") ==
               {:error, :unsupported_algorithm}

      assert DigestAuth.verify(missing, @realm, &lookup/1) == {:ok, "bob"}
    end

    test "a protection that was not asked for" do
      next = answered(request(), qop: "auth")

      assert DigestAuth.verify(next, @realm, &lookup/1, qop: "auth-int") ==
               {:error, :unsupported_qop}

      none = change(next, %{"qop" => nil, "cnonce" => nil, "nc" => nil})

      assert DigestAuth.verify(none, @realm, &lookup/1, qop: "auth-int") ==
               {:error, :unsupported_qop}

      better = answered(request(), algorithm: "SHA-256")
      none = change(better, %{"qop" => nil, "cnonce" => nil, "nc" => nil})

      assert DigestAuth.verify(none, @realm, &lookup/1, algorithm: "SHA-256") ==
               {:error, :unsupported_qop}
    end

    test "a nonce of somebody else, of another realm, and a changed one" do
      next = answered(request(), nonce: "dcd98b7102dd2f0e8b11d0f600bfb0c093")
      assert DigestAuth.verify(next, @realm, &lookup/1) == {:error, :invalid_nonce}

      other = answered(request(), secret: String.duplicate("k", 16))
      assert DigestAuth.verify(other, @realm, &lookup/1) == {:error, :invalid_nonce}

      assert DigestAuth.verify(other, @realm, &lookup/1, secret: String.duplicate("k", 16)) ==
               {:ok, "bob"}

      elsewhere = change(answered(request()), %{"realm" => "atlanta.com"})
      assert DigestAuth.verify(elsewhere, "atlanta.com", &lookup/1) == {:error, :invalid_nonce}

      [{"Digest", %{"nonce" => nonce}}] = answered(request()).headers.authorization

      for position <- [0, 8, 20, 43] do
        {before, <<character, rest::binary>>} = String.split_at(nonce, position)
        forged = before <> if(character == ?A, do: "B", else: "A") <> rest
        changed = change(answered(request()), %{"nonce" => forged})
        assert DigestAuth.verify(changed, @realm, &lookup/1) == {:error, :invalid_nonce}
      end
    end

    test "a nonce that is too old, before anything is looked up" do
      next = answered(request(), now: 1_000_000)
      nobody = fn _username -> flunk("looked up") end

      assert DigestAuth.verify(next, @realm, &lookup/1, now: 1_300_000) == {:ok, "bob"}
      assert DigestAuth.verify(next, @realm, nobody, now: 1_300_001) == {:error, :stale}

      assert DigestAuth.verify(next, @realm, &lookup/1, now: 1_002_000, max_age: 2_000) ==
               {:ok, "bob"}

      assert DigestAuth.verify(next, @realm, nobody, now: 1_002_001, max_age: 2_000) ==
               {:error, :stale}

      # a clock set back, or another node's
      assert DigestAuth.verify(next, @realm, &lookup/1, now: 700_000) == {:ok, "bob"}
      assert DigestAuth.verify(next, @realm, nobody, now: 699_999) == {:error, :stale}
    end

    # RFC7616§3.4.6
    test "a uri that names another resource than the Request-URI, before anything is looked up" do
      next = answered(request())
      nobody = fn _username -> flunk("looked up") end

      for other <- [
            "sip:bob@192.0.2.4",
            "sip:bob@biloxi.com:5060",
            "sips:bob@biloxi.com",
            "tel:1"
          ] do
        moved = put_in(next.start_line.request_uri, Sippet.URI.parse!(other))
        assert DigestAuth.verify(moved, @realm, nobody) == {:error, :uri_mismatch}
        assert {:error, response} = DigestAuth.authenticate(moved, @realm, nobody)
        assert response.start_line.status_code == 400
      end

      garbage = change(next, %{"uri" => "not a uri"})
      assert DigestAuth.verify(garbage, @realm, nobody) == {:error, :uri_mismatch}
    end

    test "a uri by the policy given" do
      next = answered(request())
      forwarded = put_in(next.start_line.request_uri, Sippet.URI.parse!("sip:bob@192.0.2.4"))
      assert DigestAuth.verify(forwarded, @realm, &lookup/1, uri: :any) == {:ok, "bob"}

      assert DigestAuth.verify(forwarded, @realm, &lookup/1, uri: :equivalent) ==
               {:error, :uri_mismatch}

      assert DigestAuth.verify(next, @realm, &lookup/1, uri: :equivalent) == {:ok, "bob"}

      ours = fn uri, %Message{} -> uri == @uri end
      assert DigestAuth.verify(forwarded, @realm, &lookup/1, uri: ours) == {:ok, "bob"}

      assert DigestAuth.verify(forwarded, @realm, &lookup/1, uri: fn _, _ -> false end) ==
               {:error, :uri_mismatch}
    end

    test "an unknown user, whatever password was guessed" do
      {:ok, response} = DigestAuth.make_response(request(), 401, @realm)

      {:ok, next} =
        DigestAuth.make_request(request(), response, fn _realm -> {:ok, "eve", ""} end)

      assert DigestAuth.verify(next, @realm, &lookup/1) == {:error, :unknown_user}
    end

    test "a wrong password, and a user without a digest for the algorithm" do
      next = answered(request())

      assert DigestAuth.verify(next, @realm, fn "bob" -> {:ok, "xanadu"} end) ==
               {:error, :wrong_response}

      assert DigestAuth.verify(next, @realm, fn "bob" -> {:ok, {:ha1, %{}}} end) ==
               {:error, :wrong_response}

      {:ok, response} = DigestAuth.make_response(request(), 401, @realm)

      {:ok, empty} =
        DigestAuth.make_request(request(), response, fn _realm -> {:ok, "bob", ""} end)

      assert DigestAuth.verify(empty, @realm, fn "bob" -> {:ok, {:ha1, %{}}} end) ==
               {:error, :wrong_response}
    end

    test "another method, and any part that the digest covers" do
      next = answered(request())
      other = put_in(next.start_line.method, :bye)
      assert DigestAuth.verify(other, @realm, &lookup/1) == {:error, :wrong_response}

      for name <- ["uri", "cnonce"] do
        changed = change(next, %{name => "sip:x"})

        assert DigestAuth.verify(changed, @realm, &lookup/1, uri: :any) ==
                 {:error, :wrong_response}
      end

      assert DigestAuth.verify(change(next, %{"nc" => "00000002"}), @realm, &lookup/1) ==
               {:error, :wrong_response}
    end

    test "a look-up that gives something else, by raising" do
      assert_raise ArgumentError, ~r/expected the look-up/, fn ->
        DigestAuth.verify(answered(request()), @realm, fn "bob" -> "zanzibar" end)
      end
    end
  end

  describe "verify/4 accepts" do
    test "a method that is no atom" do
      next = answered(request("PING"))
      assert DigestAuth.verify(wire(next), @realm, &lookup/1) == {:ok, "bob"}
    end

    test "a digest in upper case" do
      [{"Digest", %{"response" => response}}] =
        answered(request()) |> Map.fetch!(:headers) |> Map.fetch!(:authorization)

      refute response == String.upcase(response)
      next = answered(request())
      [{"Digest", %{"response" => response}}] = next.headers.authorization

      assert DigestAuth.verify(
               change(next, %{"response" => String.upcase(response)}),
               @realm,
               &lookup/1
             ) == {:ok, "bob"}
    end

    # RFC3261§22.4 - the means of RFC 2069 for a client without qop
    test "a client of RFC 2069" do
      {:ok, response} = DigestAuth.make_response(request(), 401, @realm)

      [{"Digest", challenge}] = response.headers.www_authenticate

      old =
        Message.put_header(response, :www_authenticate, [{"Digest", Map.delete(challenge, "qop")}])

      {:ok, next} = DigestAuth.make_request(request(), old, &bob/1)
      [{"Digest", credentials}] = next.headers.authorization

      refute is_map_key(credentials, "qop") or is_map_key(credentials, "cnonce") or
               is_map_key(credentials, "nc")

      assert DigestAuth.verify(next, @realm, &lookup/1) == {:ok, "bob"}
    end

    # RFC3261§22.3
    test "the credentials that have a nonce of its own, where a request has several for the realm" do
      [{"Digest", credentials}] = answered(request()).headers.authorization
      foreign = {"Digest", %{credentials | "nonce" => "another"}}

      for both <- [[foreign, {"Digest", credentials}], [{"digest", credentials}, foreign]] do
        request = Message.put_header(request(), :authorization, both)
        assert DigestAuth.verify(request, @realm, &lookup/1) == {:ok, "bob"}
      end
    end

    test "what can be read of a header with a malformed line" do
      next = answered(request())
      [{"Digest", _} = value] = next.headers.authorization
      line = "Authorization" |> Sippet.Headers.to_iodata([value]) |> IO.iodata_to_binary()

      raw =
        Message.put_header(request(), "Authorization", ["Digest username=\"a\" nonsense", line])

      assert DigestAuth.verify(raw, @realm, &lookup/1) == {:ok, "bob"}
    end

    # RFC3261§22.1
    test "the ACK of an INVITE, late and after it was used" do
      start_supervised!({DigestAuth.NonceStore, name: :ack_nonces})
      next = answered(request())
      assert DigestAuth.verify(next, @realm, &lookup/1, store: :ack_nonces) == {:ok, "bob"}
      ack = put_in(next.start_line.method, :ack)
      late = System.system_time(:millisecond) + 3_600_000

      assert DigestAuth.verify(ack, @realm, &lookup/1, store: :ack_nonces, now: late) ==
               {:ok, "bob"}

      assert DigestAuth.verify(ack, @realm, fn _ -> {:ok, "xanadu"} end) ==
               {:error, :wrong_response}
    end
  end

  describe "RFC7616§3.4.6 the uri of the credentials" do
    test "is compared as SIP URIs are, or by its octets" do
      for {sent, came} <- [
            {"sip:bob@biloxi.com", "sip:%62ob@BILOXI.com"},
            {"sip:biloxi.com;transport=UDP", "sip:biloxi.com;transport=udp"},
            {"tel:+1-201-555-0123", "tel:+12015550123"},
            {"urn:service:sos", "urn:service:sos"},
            {"sip:b@h;x=1;x=2", "sip:b@h;x=1;x=2"}
          ] do
        next =
          answered(%{request() | start_line: Message.build_request(:invite, sent).start_line})

        came = put_in(next.start_line.request_uri, Sippet.URI.parse!(came))
        assert {sent, DigestAuth.verify(came, @realm, &lookup/1)} == {sent, {:ok, "bob"}}
      end

      # What is no URI at all is itself.
      http = %Message{start_line: %Message.RequestLine{method: "GET", request_uri: "/dir"}}
      assert DigestAuth.verify(answered(http), @realm, &lookup/1) == {:ok, "bob"}
    end

    # RFC3261§22.1 - an ACK repeats its INVITE's credentials; its Request-URI is the Contact of the 2xx (§13.2.2.4)
    test "is the INVITE's in an ACK" do
      next = answered(request())
      contact = Sippet.URI.parse!("sip:bob@192.0.2.4")
      line = %{next.start_line | method: :ack, request_uri: contact}
      assert DigestAuth.verify(%{next | start_line: line}, @realm, &lookup/1) == {:ok, "bob"}
    end
  end

  describe "RFC7616§3.4 username* and §3.4.4 userhash" do
    @name "Jäsøn Doe"

    test "a name in the extended notation" do
      {:ok, response} = DigestAuth.make_response(request(), 401, @realm)
      {:ok, next} = DigestAuth.make_request(request(), response, fn _ -> {:ok, @name, "pw"} end)
      extended = change(next, %{"username" => nil, "username*" => "UTF-8''J%C3%A4s%C3%B8n%20Doe"})

      assert DigestAuth.verify(wire(extended), @realm, fn @name -> {:ok, "pw"} end) ==
               {:ok, @name}
    end

    test "a hidden name is looked up by its hash" do
      for algorithm <- ["MD5", "SHA-256-sess"] do
        base = String.replace_suffix(algorithm, "-sess", "")
        options = [algorithm: algorithm, userhash: true]
        {:ok, response} = DigestAuth.make_response(request(), 401, @realm, options)
        {:ok, next} = DigestAuth.make_request(request(), response, &bob/1)
        hash = DigestAuth.userhash(base, "bob", @realm)

        assert [{"Digest", %{"username" => ^hash, "userhash" => "true"}}] =
                 next.headers.authorization

        by_hash = fn {:userhash, ^base, ^hash} -> {:ok, "bob", "zanzibar"} end
        assert DigestAuth.verify(wire(next), @realm, by_hash, options) == {:ok, "bob"}

        nobody = fn {:userhash, ^base, ^hash} -> {:error, :not_found} end
        assert DigestAuth.verify(next, @realm, nobody, options) == {:error, :unknown_user}
      end
    end

    test "a look-up that knows no hashes is not asked for one" do
      next = change(answered(request()), %{"userhash" => "true"})

      assert DigestAuth.verify(next, @realm, fn _ -> flunk("looked up") end) ==
               {:error, :unknown_user}
    end
  end

  describe "verify/4 with a store" do
    setup context do
      store = :"#{context.test}"
      start_supervised!({DigestAuth.NonceStore, name: store})
      [options: [store: store], store: store]
    end

    test "accepts credentials once", %{options: options} do
      next = answered(request())
      assert DigestAuth.verify(next, @realm, &lookup/1, options) == {:ok, "bob"}
      assert DigestAuth.verify(next, @realm, &lookup/1, options) == {:error, :replayed}
    end

    test "accepts each count once, in any order", %{options: options} do
      {:ok, response} = DigestAuth.make_response(request(), 401, @realm)

      for {nc, expected} <- [
            {1, {:ok, "bob"}},
            {3, {:ok, "bob"}},
            {2, {:ok, "bob"}},
            {3, {:error, :replayed}}
          ] do
        {:ok, next} = DigestAuth.make_request(request(), response, &bob/1, nc: nc)
        assert {nc, DigestAuth.verify(next, @realm, &lookup/1, options)} == {nc, expected}
      end
    end

    test "lets a client of RFC 2069 use a nonce once", %{options: options} do
      {:ok, response} = DigestAuth.make_response(request(), 401, @realm)
      [{"Digest", challenge}] = response.headers.www_authenticate

      old =
        Message.put_header(response, :www_authenticate, [{"Digest", Map.delete(challenge, "qop")}])

      {:ok, next} = DigestAuth.make_request(request(), old, &bob/1)
      assert DigestAuth.verify(next, @realm, &lookup/1, options) == {:ok, "bob"}
      assert DigestAuth.verify(next, @realm, &lookup/1, options) == {:error, :replayed}
    end

    test "remembers nothing of a wrong password", %{options: options, store: store} do
      next = answered(request())

      assert DigestAuth.verify(next, @realm, fn _ -> {:ok, "xanadu"} end, options) ==
               {:error, :wrong_response}

      assert DigestAuth.verify(next, @realm, fn _ -> {:error, :no} end, options) ==
               {:error, :unknown_user}

      assert DigestAuth.NonceStore.count(store) == 0
      assert DigestAuth.verify(next, @realm, &lookup/1, options) == {:ok, "bob"}
      assert DigestAuth.NonceStore.count(store) == 1
    end

    test "raises where the store was not started" do
      assert_raise ArgumentError, ~r/no nonce store named/, fn ->
        DigestAuth.verify(answered(request()), @realm, &lookup/1, store: :nowhere)
      end
    end
  end

  describe "a nonce that is bound to its Call-ID" do
    @bound [bind: :call_id]

    defp call(call_id), do: Message.put_header(request(), :call_id, call_id)

    test "is good for that Call-ID alone; another gets a stale challenge" do
      next = answered(call("one"), @bound)
      assert DigestAuth.verify(next, @realm, &lookup/1, @bound) == {:ok, "bob"}

      nobody = fn _username -> flunk("looked up") end
      other = Message.put_header(next, :call_id, "two")
      assert DigestAuth.verify(other, @realm, nobody, @bound) == {:error, :invalid_nonce}
      {:error, response} = DigestAuth.authenticate(other, @realm, nobody, @bound)
      assert response.start_line.status_code == 401
      assert [{"Digest", %{"stale" => "true"}}] = response.headers.www_authenticate

      # The client answers that, and is in.
      {:ok, again} = DigestAuth.make_request(other, response, &bob/1)
      assert DigestAuth.verify(again, @realm, &lookup/1, @bound) == {:ok, "bob"}
    end

    test "is none of those that are not bound" do
      for {made, read} <- [{@bound, []}, {[], @bound}] do
        next = answered(call("one"), made)
        assert DigestAuth.verify(next, @realm, &lookup/1, read) == {:error, :invalid_nonce}
      end

      # Where the realm ends and the Call-ID begins counts too.
      {:ok, response} = DigestAuth.make_response(call("de"), 401, "abc", @bound)
      {:ok, next} = DigestAuth.make_request(call("cde"), response, fn _ -> {:ok, "bob", "pw"} end)

      moved =
        Message.update_header(next, :authorization, nil, fn [{"Digest", params}] ->
          [{"Digest", %{params | "realm" => "ab"}}]
        end)

      assert DigestAuth.verify(moved, "ab", &lookup/1, @bound) == {:error, :invalid_nonce}
    end

    test "is given so by Authentication-Info" do
      next = answered(call("one"), @bound)
      options = [nextnonce: true] ++ @bound
      ok = Message.build_response(200)
      {:ok, ok} = DigestAuth.put_authentication_info(ok, next, @realm, &lookup/1, options)
      {:ok, %{"nextnonce" => nonce}} = DigestAuth.verify_response(ok, next, &bob/1)
      {:ok, again} = DigestAuth.repeat_request(next, &bob/1, nonce: nonce)
      assert DigestAuth.verify(again, @realm, &lookup/1, @bound) == {:ok, "bob"}
      other = Message.put_header(again, :call_id, "two")
      assert DigestAuth.verify(other, @realm, &lookup/1, @bound) == {:error, :invalid_nonce}
    end
  end

  describe "repeat_request/3" do
    test "is accepted with the next count" do
      start_supervised!({DigestAuth.NonceStore, name: :repeated})
      options = [store: :repeated, algorithm: "SHA-256-sess"]
      next = answered(request(), algorithm: "SHA-256-sess")
      assert DigestAuth.verify(next, @realm, &lookup/1, options) == {:ok, "bob"}
      {:ok, again} = DigestAuth.repeat_request(%{next | body: "x"}, &bob/1)
      assert [{"Digest", %{"nc" => "00000002"}}] = again.headers.authorization
      assert DigestAuth.verify(wire(again), @realm, &lookup/1, options) == {:ok, "bob"}
    end

    test "takes the next nonce, and counts from one" do
      next = answered(request(), userhash: true)
      {:ok, next} = DigestAuth.repeat_request(next, &bob/1)
      {:ok, next} = DigestAuth.repeat_request(next, &bob/1, nonce: "abc")

      assert [
               {"Digest",
                %{"nc" => "00000001", "nonce" => "abc", "userhash" => "true"} = credentials}
             ] = next.headers.authorization

      assert credentials["username"] == DigestAuth.userhash("MD5", "bob", @realm)
    end

    test "gives errors as values" do
      assert DigestAuth.repeat_request(request(), &bob/1) == {:error, :no_credentials}
      next = answered(request())
      assert DigestAuth.repeat_request(next, fn _ -> {:error, :locked} end) == {:error, :locked}
      none = {:ha1, %{"SHA-256" => ""}}

      assert DigestAuth.repeat_request(next, fn _ -> {:ok, "bob", none} end) ==
               {:error, :unknown_algorithm}
    end

    # As they were answered.
    test "makes credentials of an unknown algorithm with MD5" do
      next = answered(request())
      unknown = change(next, %{"algorithm" => "AKAv1-MD5"})
      {:ok, again} = DigestAuth.repeat_request(unknown, &bob/1)

      assert [{"Digest", %{"algorithm" => "AKAv1-MD5"} = credentials}] =
               again.headers.authorization

      {:ok, known} = DigestAuth.repeat_request(next, &bob/1)
      assert [{"Digest", %{"response" => response}}] = known.headers.authorization
      assert credentials["response"] == response
    end

    test "counts from one where the count is none" do
      for nc <- [String.duplicate("9", 60_000), "xyz", "", <<0xFF>>] do
        {:ok, again} =
          DigestAuth.repeat_request(change(answered(request()), %{"nc" => nc}), &bob/1)

        assert [{"Digest", %{"nc" => "00000001"}}] = again.headers.authorization
      end
    end
  end

  describe "RFC7616§3.5 Authentication-Info" do
    for algorithm <- ["MD5", "SHA-256-sess"], qop <- ["auth", "auth-int"] do
      test "proves the secret to the client with #{algorithm} and #{qop}" do
        options = [algorithm: unquote(algorithm), qop: unquote(qop)]
        next = answered(request(), options)
        ok = %{Message.build_response(200) | body: "v=0"}
        {:ok, ok} = DigestAuth.put_authentication_info(ok, next, @realm, &lookup/1, options)
        assert {:ok, %{"qop" => unquote(qop)}} = DigestAuth.verify_response(ok, next, &bob/1)

        assert DigestAuth.verify_response(ok, next, fn _ -> {:ok, "bob", "xanadu"} end) ==
                 {:error, :wrong_rspauth}

        changed = DigestAuth.verify_response(%{ok | body: "v=1"}, next, &bob/1)
        assert match?({:ok, _}, changed) == (unquote(qop) == "auth")
      end
    end

    test "is of this request" do
      next = answered(request())

      {:ok, ok} =
        DigestAuth.put_authentication_info(Message.build_response(200), next, @realm, &lookup/1)

      {:ok, again} = DigestAuth.repeat_request(next, &bob/1)
      assert DigestAuth.verify_response(ok, again, &bob/1) == {:error, :wrong_rspauth}

      assert DigestAuth.verify_response(Message.build_response(200), next, &bob/1) ==
               {:error, :no_rspauth}
    end

    # RFC7616§3.5 - the cnonce value and nc value must be the ones for the client request
    test "repeats cnonce and nc" do
      next = answered(request())
      ok = Message.build_response(200)
      {:ok, ok} = DigestAuth.put_authentication_info(ok, next, @realm, &lookup/1)

      for changed <- [
            Map.put(ok.headers.authentication_info, "nc", "00000002"),
            Map.delete(ok.headers.authentication_info, "cnonce")
          ] do
        ok = Message.put_header(ok, :authentication_info, changed)
        assert DigestAuth.verify_response(ok, next, &bob/1) == {:error, :wrong_rspauth}
      end
    end

    test "has the digest of an empty method" do
      next = answered(request(), nonce: "dcd98b7102dd2f0e8b11d0f600bfb0c093")
      [{"Digest", credentials}] = next.headers.authorization
      same = %{credentials | "cnonce" => "0a4f113b"}
      next = Message.put_header(next, :authorization, [{"Digest", same}])
      ok = Message.build_response(200)
      {:ok, ok} = DigestAuth.put_authentication_info(ok, next, @realm, &lookup/1)
      assert ok.headers.authentication_info["rspauth"] == "9175a7857f138ef9768651f475f1d73a"
    end

    test "gives a nonce for the next request" do
      next = answered(request())

      {:ok, ok} =
        DigestAuth.put_authentication_info(Message.build_response(200), next, @realm, &lookup/1,
          nextnonce: true
        )

      {:ok, %{"nextnonce" => nonce}} = DigestAuth.verify_response(ok, next, &bob/1)
      {:ok, again} = DigestAuth.repeat_request(next, &bob/1, nonce: nonce)
      assert DigestAuth.verify(again, @realm, &lookup/1) == {:ok, "bob"}
    end

    test "is not made for what would not be accepted" do
      ok = Message.build_response(200)
      next = answered(request())

      assert DigestAuth.put_authentication_info(ok, request(), @realm, &lookup/1) ==
               {:error, :no_credentials}

      assert DigestAuth.put_authentication_info(ok, next, @realm, fn _ -> {:error, :no} end) ==
               {:error, :unknown_user}

      assert DigestAuth.put_authentication_info(ok, next, @realm, fn _ -> {:ok, {:ha1, %{}}} end) ==
               {:error, :wrong_response}
    end
  end

  describe "a user and a password that are atoms or integers" do
    test "are known to the server by their text" do
      next = answered(request())
      assert DigestAuth.verify(next, @realm, fn "bob" -> {:ok, :zanzibar} end) == {:ok, "bob"}

      {:ok, response} = DigestAuth.make_response(request(), 401, @realm)
      {:ok, next} = DigestAuth.make_request(request(), response, fn _ -> {:ok, 1000, 4711} end)
      lookup = fn "1000" -> {:ok, 4711} end
      assert DigestAuth.verify(wire(next), @realm, lookup) == {:ok, "1000"}

      ok = Message.build_response(200)
      {:ok, ok} = DigestAuth.put_authentication_info(ok, next, @realm, lookup)

      assert {:ok, %{"rspauth" => _}} =
               DigestAuth.verify_response(ok, next, fn _ -> {:ok, 1000, 4711} end)
    end

    test "are known by a hash of the name" do
      {:ok, response} = DigestAuth.make_response(request(), 401, @realm, userhash: true)
      {:ok, next} = DigestAuth.make_request(request(), response, fn _ -> {:ok, :bob, 4711} end)
      hash = DigestAuth.userhash("MD5", "bob", @realm)
      lookup = fn {:userhash, "MD5", ^hash} -> {:ok, :bob, 4711} end
      assert DigestAuth.verify(next, @realm, lookup, userhash: true) == {:ok, "bob"}
    end

    test "make the same digests" do
      assert DigestAuth.ha1("MD5", :bob, @realm, 4711) ==
               DigestAuth.ha1("MD5", "bob", @realm, "4711")

      assert DigestAuth.userhash("MD5", 1000, @realm) ==
               DigestAuth.userhash("MD5", "1000", @realm)
    end
  end

  describe "ha1/4 and userhash/3" do
    test "raise for an unknown algorithm" do
      assert_raise ArgumentError, fn -> DigestAuth.ha1("SHA-1", "bob", @realm, "zanzibar") end
      assert_raise ArgumentError, fn -> DigestAuth.userhash("SHA-1", "bob", @realm) end
    end
  end

  # `nil` takes a parameter away.
  defp change(request, changes) do
    Message.update_header(request, :authorization, nil, fn [{"Digest", credentials}] ->
      changed = Map.merge(credentials, changes)
      [{"Digest", Map.reject(changed, fn {_name, value} -> value == nil end)}]
    end)
  end
end
