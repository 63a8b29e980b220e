defmodule Sippet.SerializerTest do
  use ExUnit.Case, async: true

  alias Sippet.Headers
  alias Sippet.Headers.Table
  alias Sippet.Message
  alias Sippet.Serializer
  alias Sippet.URI

  @bob %URI{scheme: "sip", userinfo: "bob", authority: "bob@b.com", host: "b.com", port: 5060}

  # For each shape elements and their text. What is printed must also be what the parser takes for the same value.
  @samples %{
    address: [
      {{"", @bob, %{}}, "<sip:bob@b.com>"},
      {{"Bob", @bob, %{"tag" => "1"}}, ~S("Bob" <sip:bob@b.com>;tag=1)},
      {{~S(a "b" \c), @bob, %{"x" => "a;b", "y" => ""}},
       ~S("a \"b\" \\c" <sip:bob@b.com>;x="a;b";y)},
      {{"\b\a", @bob, %{}}, "\"\\\b\\\a\" <sip:bob@b.com>"},
      {{"", @bob, %{"+g.feature" => "token", "x" => "[::1]"}},
       ~S(<sip:bob@b.com>;+g.feature="token";x=[::1])}
    ],
    media: [
      {{{"application", "sdp"}, %{}}, "application/sdp"},
      {{{"multipart", "mixed"}, %{"boundary" => "a b"}}, ~S(multipart/mixed;boundary="a b")},
      {{{"*", "*"}, %{"q" => "0.5"}}, "*/*;q=0.5"}
    ],
    token: [{"INVITE", "INVITE"}, {"100rel", "100rel"}],
    token_params: [
      {{"gzip", %{}}, "gzip"},
      {{"session", %{"handling" => "optional"}}, "session;handling=optional"}
    ],
    uri_params: [
      {{@bob, %{}}, "<sip:bob@b.com>"},
      {{@bob, %{"purpose" => "icon"}}, "<sip:bob@b.com>;purpose=icon"}
    ],
    auth: [
      {{"Digest", %{"nonce" => "a", "algorithm" => "MD5", "opaque" => ""}},
       ~S(Digest algorithm=MD5, nonce="a", opaque="")},
      {{"Bearer", %{"" => "abc=="}}, "Bearer abc=="},
      {{"Negotiate", %{}}, "Negotiate"},
      {{"Digest", %{"realm" => ~S(a"b\c)}}, ~S(Digest realm="a\"b\\c")},
      {{"Other", %{"x" => "a", "y" => "a b"}}, ~S(Other x="a", y="a b")}
    ],
    auth_info: [
      {%{
         "nextnonce" => "a",
         "qop" => "auth",
         "nc" => "00000001",
         "rspauth" => "b",
         "cnonce" => "c"
       }, ~S(cnonce="c", nc=00000001, nextnonce="a", qop=auth, rspauth="b")}
    ],
    call_id: [{"a84b4c76e66710@pc33.atlanta.com", "a84b4c76e66710@pc33.atlanta.com"}],
    call_id_params: [{{"1@b", %{"from-tag" => "2", "to-tag" => "3"}}, "1@b;from-tag=2;to-tag=3"}],
    cseq: [{{4711, :invite}, "4711 INVITE"}, {{0, "Ping"}, "0 Ping"}],
    rack: [{{776_656, 1, :invite}, "776656 1 INVITE"}],
    date: [
      {~N[2010-11-13 23:29:00], "Sat, 13 Nov 2010 23:29:00 GMT"},
      {~N[2024-02-29 01:02:03], "Thu, 29 Feb 2024 01:02:03 GMT"}
    ],
    integer: [{0, "0"}, {4_294_967_295, "4294967295"}],
    max_forwards: [{0, "0"}, {255, "255"}],
    integer_params: [{{1800, %{"refresher" => "uac"}}, "1800;refresher=uac"}],
    params: [
      {%{"icid-value" => "a@b", "orig-ioi" => "home.net"}, "icid-value=a@b;orig-ioi=home.net"}
    ],
    privacy: [{["id"], "id"}, {["id", "critical"], "id;critical"}],
    retry_after: [
      {{5, "", %{}}, "5"},
      {{18_000, "in a (long) meeting", %{"duration" => "3600"}},
       ~S[18000 (in a \(long\) meeting);duration=3600]}
    ],
    text: [{"Need more boxes", "Need more boxes"}, {"", ""}, {"ünïcode", "ünïcode"}],
    timestamp: [
      {{54.0, 0.0}, "54"},
      {{54.21, 0.5}, "54.21 0.5"},
      {{1.0e22, 0.0}, "10000000000000000000000"},
      {{1_234_567_890_123.456, 0.0}, "1234567890123.456"},
      {{0.0, 1.25e-7}, "0 0.000000125"}
    ],
    version: [{{1, 0}, "1.0"}],
    via: [
      {{{2, 0}, :udp, {"192.0.2.1", 5060}, %{"branch" => "z9hG4bK1", "rport" => ""}},
       "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1;rport"},
      {{{2, 0}, :wss, {"2001:db8::1", 443}, %{"received" => "2001:db8::9:255"}},
       "SIP/2.0/WSS [2001:db8::1]:443;received=2001:db8::9:255"},
      {{{2, 0}, :tcp, {"b.com", 0}, %{}}, "SIP/2.0/TCP b.com:0"},
      {{{2, 0}, "UNKNOWN", {"b.com", 0}, %{"maddr" => "[::1]"}},
       "SIP/2.0/UNKNOWN b.com;maddr=[::1]"}
    ],
    warning: [{{307, "isi.edu:5060", ~S(a "b")}, ~S(307 isi.edu:5060 "a \"b\"")}],
    word_params: [{{"token", %{"a" => "b"}}, "token;a=b"}]
  }

  @samples Map.merge(@samples, %{
             route: [
               {{"", @bob, %{}}, "<sip:bob@b.com>"},
               {{"P", @bob, %{"x" => ""}}, ~S("P" <sip:bob@b.com>;x)}
             ],
             contact: [
               {{"", @bob, %{"q" => "0.5", "expires" => "60"}},
                "<sip:bob@b.com>;expires=60;q=0.5"},
               {{"", @bob, %{"+sip.instance" => "<urn:x>", "audio" => "", "mobility" => "fixed"}},
                ~S(<sip:bob@b.com>;+sip.instance="<urn:x>";audio;mobility="fixed")}
             ]
           })

  @samples Map.merge(@samples, %{name_addr: @samples.route, refer_to: @samples.address})

  describe "every row of the table" do
    for %{name: name, shape: shape, repeat: repeat} <- Table.rows(), shape != :raw do
      for {_sample, index} <- Enum.with_index(Map.fetch!(@samples, shape)) do
        test "prints and parses #{name}, #{index}",
          do:
            assert_printed_and_parsed(
              unquote(name),
              unquote(shape),
              unquote(index),
              unquote(repeat)
            )
      end

      if repeat != :one and shape != :auth do
        test "joins the values of #{name}", do: assert_joined(unquote(name), unquote(shape))
      end

      test "refuses other terms for #{name}", do: assert_others_refused(unquote(name))
    end

    defp assert_printed_and_parsed(name, shape, index, repeat) do
      {value, text} = @samples |> Map.fetch!(shape) |> Enum.at(index)
      value = if repeat == :one, do: value, else: [value]
      assert print(name, value) == text
      assert Headers.parse(name, text) == {:ok, value}
    end

    defp assert_joined(name, shape) do
      {values, texts} = Enum.unzip(Map.fetch!(@samples, shape))
      values = values ++ values
      text = print(name, values)
      assert text == Enum.join(texts ++ texts, ", ")
      assert Headers.parse(name, text) == {:ok, values}
    end

    defp assert_others_refused(name) do
      for bad <- [
            nil,
            :atom,
            -1,
            %{},
            {},
            {1},
            {1, 2, 3},
            [nil],
            [{}],
            [[]],
            [{"a", "b"}],
            <<1::3>>
          ] do
        assert_raise ArgumentError, ~r/^cannot print #{name}: /, fn ->
          print(name, bad)
        end
      end
    end
  end

  describe "the typed headers of a message" do
    for %{name: name, key: key, shape: shape, repeat: repeat} <- Table.rows(),
        key not in [nil, :content_length] do
      test "#{name} comes back as it went out",
        do: assert_returns(unquote(key), unquote(shape), unquote(repeat))

      test "#{name} refuses text that could end its line",
        do: assert_spoiled_refused(unquote(key), unquote(shape), unquote(repeat))
    end

    defp assert_returns(key, shape, repeat) do
      {values, _texts} = Enum.unzip(Map.fetch!(@samples, shape))
      values = if repeat == :one, do: values, else: [values]

      for value <- values do
        headers = %{key => value}
        assert parsed(headers) == Map.put(headers, :content_length, 0)
      end
    end

    defp assert_spoiled_refused(key, shape, repeat) do
      for evil <- ["a\r\nVia: b", "a\n", "\r"],
          {value, _text} <- Map.fetch!(@samples, shape),
          spoiled <- spoil(value, evil) do
        value = if repeat == :one, do: spoiled, else: [spoiled]

        assert_raise ArgumentError, fn -> block(%{key => value}) end
      end
    end

    test "an empty list leaves a header out unless it may be empty" do
      assert block(%{supported: []}) == "Supported: \r\nContent-Length: 0\r\n"

      assert block(%{via: [], route: [], require: [], warning: [], authorization: []}) ==
               "Content-Length: 0\r\n"
    end

    test "an atom that is no typed header is refused by name" do
      assert_raise ArgumentError, ~r/^:x_foo is no typed header/, fn -> block(%{x_foo: ["a"]}) end
      assert_raise ArgumentError, fn -> block(%{1 => ["a"]}) end
    end

    test "Contact may be *" do
      assert block(%{contact: "*"}) == "Contact: *\r\nContent-Length: 0\r\n"
    end
  end

  describe "order and lines" do
    test "what routes comes first, what describes the body last" do
      uri = {"", @bob, %{}}

      headers = %{
        :content_type => {{"text", "plain"}, %{}},
        :cseq => {1, :invite},
        :call_id => "1",
        :to => uri,
        :from => uri,
        :max_forwards => 70,
        :record_route => [uri, uri],
        :route => [uri],
        :via => [{{2, 0}, :udp, {"a", 5060}, %{}}, {{2, 0}, :tcp, {"b", 5060}, %{}}],
        :contact => [uri, uri],
        :allow => ["INVITE", "ACK"],
        :supported => ["path"],
        :mime_version => {1, 0},
        "X-B" => ["1"],
        "X-A" => ["1", "2"]
      }

      assert names(block(headers)) ==
               ~w(Via Via Route Record-Route Record-Route Max-Forwards From To Call-ID CSeq Contact Allow
                  Supported X-A X-A X-B MIME-Version Content-Type Content-Length)
    end

    test "large maps come in the same order" do
      raw = for n <- 10..60, into: %{}, do: {"X-#{n}", ["#{n}"]}

      headers =
        Map.merge(raw, %{via: [{{2, 0}, :udp, {"a", 5060}, %{}}], content_type: {{"a", "b"}, %{}}})

      assert names(block(headers)) ==
               ["Via"] ++ for(n <- 10..60, do: "X-#{n}") ++ ["Content-Type", "Content-Length"]
    end

    # RFC3261§7.3.1 - these four headers must not be combined into one line
    test "challenges and credentials stand on lines of their own" do
      challenges = [{"Digest", %{"realm" => "a"}}, {"Digest", %{"realm" => "b"}}]

      assert block(%{www_authenticate: challenges}) ==
               "WWW-Authenticate: Digest realm=\"a\"\r\nWWW-Authenticate: Digest realm=\"b\"\r\nContent-Length: 0\r\n"

      assert_raise ArgumentError, fn -> print("WWW-Authenticate", challenges) end
    end
  end

  describe "raw headers" do
    test "stand as they are, line by line" do
      assert block(%{"X-Foo" => ["a, b", "", "c\td"]}) ==
               "X-Foo: a, b\r\nX-Foo: \r\nX-Foo: c\td\r\nContent-Length: 0\r\n"

      assert block(%{"x-foo" => "one"}) == "x-foo: one\r\nContent-Length: 0\r\n"
    end

    test "that could end a line are refused, and names that are no names" do
      for bad <- ["a\r\nb", "a\n", "\r", "\0"] do
        assert_raise ArgumentError, fn -> block(%{"X-Foo" => [bad]}) end
        assert_raise ArgumentError, fn -> block(%{bad => ["a"]}) end
      end

      for name <- ["", "X Foo", "X:Foo", "X-Foo:"],
          do: assert_raise(ArgumentError, fn -> block(%{name => ["a"]}) end)

      for value <- [nil, 5.0, [["a"]], {"a"}, %{}, ["a" | "b"]],
          do: assert_raise(ArgumentError, fn -> block(%{"X-Foo" => value}) end)
    end

    test "never bring a second Content-Length" do
      for name <- ["Content-Length", "content-length", "L", "l"],
          do: assert(block(%{name => ["5"]}) == "Content-Length: 0\r\n")
    end
  end

  describe "RFC7616§3.3, §3.4 quotes" do
    test "qop is quoted in a challenge, and bare in credentials" do
      challenge = [
        {"Digest",
         %{"qop" => "auth", "stale" => "true", "domain" => "sip:a", "algorithm" => "SHA-256"}}
      ]

      expected = ~S(Digest algorithm=SHA-256, domain="sip:a", qop="auth", stale=true)
      assert print("WWW-Authenticate", challenge) == expected
      assert print("Proxy-Authenticate", challenge) == expected

      credentials = [
        {"Digest",
         %{
           "qop" => "auth",
           "nc" => "00000001",
           "username" => "bob",
           "uri" => "sip:a",
           "response" => "0",
           "cnonce" => "1"
         }}
      ]

      expected =
        ~S(Digest cnonce="1", nc=00000001, qop=auth, response="0", uri="sip:a", username="bob")

      assert print("Authorization", credentials) == expected
      assert print("Proxy-Authorization", credentials) == expected
    end
  end

  describe "parameters that are quoted whatever their value" do
    test "RFC3840§9 feature parameters" do
      assert print("Contact", [{"", @bob, %{"methods" => "INVITE"}}]) ==
               ~S(<sip:bob@b.com>;methods="INVITE")

      assert print("Accept-Contact", [{"*", %{"mobility" => "fixed"}}]) == ~S(*;mobility="fixed")
      assert print("Feature-Caps", [{"*", %{"+g.x" => "y"}}]) == ~S(*;+g.x="y")
      assert print("Content-Type", {{"a", "b"}, %{"type" => "c"}}) == "a/b;type=c"
    end

    test "RFC3326§2 the text of a reason" do
      assert print("Reason", [{"SIP", %{"cause" => "200", "text" => "Answered"}}]) ==
               ~S(SIP;cause=200;text="Answered")
    end

    test "RFC2045§5.1 what is no token, in the headers of mail" do
      for {name, value, text} <- [
            {"Content-Type", {{"a", "b"}, %{"c" => "d/e="}}, ~S(a/b;c="d/e=")},
            {"Accept", [{{"a", "b"}, %{"c" => "d@e"}}], ~S(a/b;c="d@e")},
            {"Content-Disposition", {"a", %{"c" => "d:e"}}, ~S(a;c="d:e")}
          ],
          do: assert(print(name, value) == text)

      assert print("Content-Type", {{"a", "b"}, %{"c" => "d"}}) == "a/b;c=d"
    end

    test "RFC3329§2.2 the digest of the security headers" do
      assert print("Security-Verify", [{"tls", %{"d-ver" => "0123"}}]) == ~S(tls;d-ver="0123")
    end
  end

  describe "words" do
    test "RFC8224§4.1 an Identity stands bare, and so does the URI of its certificate" do
      identity =
        {"eyJhbGciOi.x/y+z=", %{"info" => "<https://cert.example.org/a.cer>", "alg" => "ES256"}}

      text = "eyJhbGciOi.x/y+z=;alg=ES256;info=<https://cert.example.org/a.cer>"
      assert print("Identity", [identity]) == text
      assert Headers.parse("Identity", text) == {:ok, [identity]}

      assert print("Identity", [{"a", %{"info" => "<b>c"}}]) == ~S(a;info="<b>c")

      for info <- ["<a b>", "<<a>", "<a>>", "<a%4>"],
          do: assert(print("Identity", [{"a", %{"info" => info}}]) == ~s(a;info="#{info}"))

      assert print("Identity", [{"a", %{"info" => "<b%41>"}}]) == "a;info=<b%41>"
      assert print("Identity", [{"a b", %{}}]) == ~S("a b")

      assert_raise ArgumentError, fn ->
        print("Identity", [{"a", %{"info" => "<a\r\nb>"}}])
      end
    end

    test "other words are quoted when they are no tokens" do
      assert print("P-Visited-Network-ID", [{"Visited network number 1", %{}}]) ==
               ~S("Visited network number 1")

      assert print("User-to-User", [{"56a3", %{"encoding" => "hex"}}]) == "56a3;encoding=hex"
    end
  end

  # Every octet at a place of every kind: what the parser takes must print, and must read the same again.
  describe "what parses prints" do
    for {name, template} <- [
          {"From", "@ <sip:a@b>"},
          {"From", "\"@\" <sip:a@b>"},
          {"From", "\"\\@\" <sip:a@b>"},
          {"From", "<sip:a@b>;a@b=c"},
          {"From", "<sip:a@b>;a=b@c"},
          {"From", "<sip:a@b>;a=\"b@c\""},
          {"From", "<sip:a@b>;a=\"b\\@c\""},
          {"To", "<sip:a@b.c>"},
          {"To", "<sip:u@h;p@=q>"},
          {"To", "<sip:u@h?p=@q>"},
          {"To", "<urn:@a>"},
          {"Contact", "<sip:u@h>;+x=\"@\""},
          {"Call-ID", "a@b"},
          {"Subject", "a@b"},
          {"Via", "SIP/2.0/UDP a@b"},
          {"Via", "SIP/2.0/UDP a;b=c@d"},
          {"Via", "SIP/2.0/UDP a;received=c@d"},
          {"Via", "SIP/2.0/UDP a;maddr=c@d"},
          {"Via", "SIP/2.0/U@DP a"},
          {"CSeq", "1 a@b"},
          {"Retry-After", "5 (a@b)"},
          {"Retry-After", "5 (a\\@b)"},
          {"Warning", "399 a@b \"t\""},
          {"Warning", "399 a \"t@y\""},
          {"Authentication-Info", "a=b@c"},
          {"Authentication-Info", "nextnonce=\"b@c\""},
          {"Identity", "a@b;info=<http://c>"},
          {"Identity", "a;info=<http://c@d>"},
          {"Identity", "a;info=\"c@d\""},
          {"P-Visited-Network-ID", "a@b"},
          {"P-Visited-Network-ID", "\"a@b\""},
          {"Privacy", "a@b"},
          {"Content-Type", "a/b@c"},
          {"Accept-Language", "a@b"},
          {"Allow", "a@b"},
          {"Replaces", "a@b;to-tag=1"},
          {"In-Reply-To", "a@b"},
          {"P-Charging-Vector", "icid-value=a@b"},
          {"From", "<sip:a>;a=[b@c]"},
          {"To", "<tel:1@2>"},
          {"To", "<tel:1;a@=b>"},
          {"To", "<sip:[::@]>"},
          {"To", "<sip:h:1@>"},
          {"Refer-To", "<sip:h?Replaces=a@b>"},
          {"Via", "SIP/2.0/UDP a;received=@"},
          {"Via", "SIP/2.0/UDP a;received=[@]"},
          {"Via", "SIP/2.0/UDP a;received=[[@]]"},
          {"Via", "SIP/2.0/UDP a;received=[::1@"},
          {"Via", "SIP/2.0/UDP a;received=\"[@]\""},
          {"Authorization", "Digest a=b@c"},
          {"Authorization", "Digest nc=@"},
          {"Authorization", "Digest nc=\"@=\""},
          {"Authorization", "Bearer a@="},
          {"WWW-Authenticate", "Digest qop=b@c, stale=@"},
          {"Authentication-Info", "qop=@, nc=\"@\""},
          {"Identity", "\"@\""},
          {"P-Visited-Network-ID", "<@>"}
        ] do
      test "#{name}: #{template}", do: assert_each_octet_printed(unquote(name), unquote(template))
    end

    defp assert_each_octet_printed(name, template) do
      taken =
        for octet <- 0..255,
            text = String.replace(template, "@", <<octet>>),
            {:ok, value} <- [Headers.parse(name, text)] do
          printed = print(name, value)
          refute printed =~ "\0"
          # A NUL can be read in quotes alone, and is left out.
          assert Headers.parse(name, printed) == {:ok, Sippet.NUL.left_out(value)}
        end

      # Digits at least.
      assert length(taken) >= 10
    end
  end

  describe "Content-Length" do
    test "counts octets, not characters" do
      message = %{Message.build_response(200) | body: "é"}
      assert to_string(message) =~ "Content-Length: 2\r\n\r\né"
      assert to_string(%{message | body: nil}) =~ "Content-Length: 0\r\n\r\n"

      assert to_string(Message.put_header(message, :content_length, 99)) =~
               "Content-Length: 2\r\n\r\né"
    end
  end

  defp print(name, value), do: name |> Headers.to_iodata(value) |> IO.iodata_to_binary()

  # The header section, with its line ends behind the lines.
  defp block(headers) do
    "\r\n" <> text = headers |> Serializer.headers(0) |> IO.iodata_to_binary()
    text <> "\r\n"
  end

  defp names(block) do
    for line <- String.split(block, "\r\n", trim: true), do: line |> String.split(":") |> hd()
  end

  defp parsed(headers) do
    Message.parse!(to_string(%{Message.build_response(200) | headers: headers})).headers
  end

  # The value with each of its strings replaced in turn.
  defp spoil(value, evil) when is_binary(value), do: [evil]
  defp spoil(%NaiveDateTime{}, _evil), do: []

  defp spoil(%URI{} = uri, evil) do
    for field <- [:scheme, :userinfo, :host, :parameters, :headers], do: Map.put(uri, field, evil)
  end

  defp spoil(%{} = map, evil) do
    for {name, value} <- map,
        spoiled <- [{name, evil}, {evil, value}],
        do: map |> Map.delete(name) |> Map.put(elem(spoiled, 0), elem(spoiled, 1))
  end

  defp spoil(list, evil) when is_list(list),
    do:
      for(
        {value, i} <- Enum.with_index(list),
        new <- spoil(value, evil),
        do: List.replace_at(list, i, new)
      )

  defp spoil(tuple, evil) when is_tuple(tuple),
    do: tuple |> Tuple.to_list() |> spoil(evil) |> Enum.map(&List.to_tuple/1)

  defp spoil(_other, _evil), do: []
end
