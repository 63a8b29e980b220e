defmodule Sippet.Serializer.OctetsTest do
  use ExUnit.Case, async: true

  # Each octet at each place of every kind: what stands as it is, what is quoted or escaped, and what is refused.

  alias Sippet.Headers
  alias Sippet.Message
  alias Sippet.Message.StatusLine
  alias Sippet.URI

  # RFC3261§25.1 - token
  @token Enum.concat([?a..?z, ?A..?Z, ?0..?9, ~c"-.!%*_+`'~"])

  # RFC3261§25.1 - host, and "_", which the field uses
  @host Enum.concat([?a..?z, ?A..?Z, ?0..?9, ~c"-._"])

  # RFC3261§25.1 - user and password, and the ":" between them
  @userinfo Enum.concat([?a..?z, ?A..?Z, ?0..?9, ~c"-_.!~*'()&=+$,;?/:"])

  # RFC3261§19.1.1, §25.1 - unreserved, and what else stands in each part of a URI without an escape
  @unreserved Enum.concat([?a..?z, ?A..?Z, ?0..?9, ~c"-_.!~*'()"])
  @parameters @unreserved ++ ~c"[]/:&+$;="
  @headers @unreserved ++ ~c"[]/?:+$&=;"

  # RFC2396§2 - uric, and the "#[]" of RFC 3986
  @uric @unreserved ++ ~c";/?:@&=+$,[]#"

  # What the parser reads without quotes: all visible octets but those that end a value, and octets from 0x80
  @value Enum.concat(0x21..0x7E, 0x80..0xFF) -- ~c"\",;<>\\"

  # What no user part can hold, however much a reader bears with
  @never_a_user Enum.concat([0..0x20, [0x7F], ~c"@<>\"[]\\%"])

  @uri %URI{scheme: "sip", host: "b"}

  @long String.duplicate("a", 40)

  # Short and long, as long texts are looked over in several octets at once.
  defp around(octet),
    do: [
      <<octet>>,
      <<?a, octet>>,
      <<octet, ?a>>,
      <<"abcdefg", octet, "hijk">>,
      <<@long, octet>>,
      <<octet, @long::binary>>,
      <<@long, octet, @long::binary>>
    ]

  test "a token is of token characters alone" do
    # A comma makes two of one.
    for octet <- 0..255,
        octet != ?,,
        text <- around(octet),
        do: assert_printed("Allow", [text], octet in @token && text)

    assert_printed("Allow", [""], false)
  end

  test "text holds all but control characters" do
    for octet <- 0..255, text <- around(octet) do
      printed? = octet == ?\t or (octet > 0x1F and octet != 0x7F)
      assert_printed("Subject", text, printed? && text)
      line = %StatusLine{status_code: 200, reason_phrase: text}
      assert_text(fn -> StatusLine.to_string(line) end, printed? && "SIP/2.0 200 " <> text)
    end

    assert_printed("Subject", "", "")
  end

  test "a raw line holds all but CR, LF and NUL" do
    for octet <- 0..255, text <- around(octet) do
      text = if octet not in [?\r, ?\n, 0], do: text
      message = %{Message.build_response(200) | headers: %{"X" => [text || <<octet>>]}}

      printed = text && "SIP/2.0 200 OK\r\nX: #{text}\r\nContent-Length: 0\r\n\r\n"

      assert_text(fn -> to_string(message) end, printed || false)
    end
  end

  # Which octets those are is the parser's to say: here none ends the header, its line or its list.
  test "a Call-ID is what the parser takes for one" do
    for octet <- 0..255, text <- around(octet) do
      for {name, read} <- [{"Call-ID", text}, {"In-Reply-To", [text]}, {"Replaces", {text, %{}}}] do
        printed? = octet not in [?\s, ?\t] and Headers.parse(name, text) == {:ok, read}
        assert_printed(name, read, printed? && text)
      end
    end

    for octet <- [?a, ?-, ?., ?(, ?:, ?/], do: assert_printed("Call-ID", <<octet>>, <<octet>>)
    for text <- ["", " ", "a b", "a\r\n"], do: assert_printed("Call-ID", text, false)
  end

  test "a URI holds what the parser reads back from its place" do
    for octet <- 0..255, octet != ?%, text <- around(octet) do
      assert_uri(%URI{scheme: "urn", authority: text}, octet in @uric && "urn:" <> text)

      assert_uri(
        %URI{scheme: "tel", authority: "1", parameters: ";" <> text},
        octet in @uric && "tel:1;" <> text
      )

      assert_uri(
        %URI{scheme: "sip", host: "h", parameters: ";" <> text},
        octet in @parameters && "sip:h;" <> text
      )

      assert_uri(
        %URI{scheme: "sip", host: "h", headers: "?" <> text},
        octet in @headers && "sip:h?" <> text
      )

      # An "@" can't be taken for the end of a user where there is one before it.
      assert_uri(
        %URI{scheme: "sip", userinfo: "u", host: "h", headers: "?" <> text},
        octet in [?@ | @headers] && "sip:u@h?" <> text
      )
    end
  end

  test "a URI may have quotes where the parser reads them" do
    for {text, printed?} <- [
          {";a=\"b\"", true},
          {";a=\"b;c?d>\\\"\";lr", true},
          {";a=\"b", false},
          {";a\"b\"", false},
          {";a=\"b\"c", false},
          {";a=\"\0\"", false},
          {";a=\"\r\n\"", false}
        ],
        uri = %{@uri | parameters: text} do
      printed = printed? && "sip:b" <> text
      assert_uri(uri, printed)
      assert_printed("To", {"", uri, %{"tag" => "1"}}, printed && "<#{printed}>;tag=1")
      assert_printed("Call-Info", [{uri, %{}}], printed && "<#{printed}>")
    end

    # RFC3261§7.1 - no blank in a Request-URI
    quoted = %{@uri | parameters: ";a=\"b c\""}
    assert_uri(quoted, ~S(sip:b;a="b c"))
    line = Message.build_request(:options, quoted).start_line
    assert_raise ArgumentError, fn -> to_string(line) end
  end

  test "a name in the place of a URI is printed where the parser reads it" do
    name = %URI{authority: "Bellcore-dr1"}
    assert_printed("Alert-Info", [{name, %{}}], "<Bellcore-dr1>")
    assert_printed("To", {"", name, %{}}, false)
    assert to_string(name) == "Bellcore-dr1"
  end

  test "RFC3261§19.1.2 a URI has its escapes" do
    for {text, printed?} <- [
          {"%41", true},
          {"a%4f%4Fb", true},
          {"%", false},
          {"%4", false},
          {"%4g", false},
          {"%g4", false},
          {"a%4;b", false}
        ],
        uri <- [
          %URI{scheme: "urn", authority: text},
          %URI{scheme: "sip", host: "h", parameters: ";" <> text},
          %URI{scheme: "sip", host: "h", headers: "?" <> text},
          %URI{scheme: "sip", userinfo: text, host: "h"},
          %URI{scheme: "sip", authority: text <> "@h"},
          %URI{scheme: "sip", authority: text <> "@h", userinfo: text, host: "h"}
        ] do
      assert_text(fn -> to_string(uri) end, printed? && to_text(uri))
      assert_printed("To", {"", uri, %{}}, printed? && "<#{to_text(uri)}>")
      request = %{Message.build_request(:options, "sip:h") | headers: %{}}
      request = put_in(request.start_line.request_uri, uri)

      assert_text(
        fn -> to_string(request.start_line) end,
        printed? && "OPTIONS #{to_text(uri)} SIP/2.0"
      )
    end
  end

  test "a URI is refused that would be read as another" do
    for uri <- [
          %URI{scheme: "sip", host: "h", parameters: ";a@b"},
          %URI{scheme: "sip", host: "h", headers: "?a@b"},
          %URI{scheme: "sip", authority: "h;x"},
          %URI{scheme: "sip", authority: "h", parameters: ";x?y"},
          %URI{scheme: "sip", authority: "a@b@c", userinfo: "a@b", host: "c"},
          %URI{scheme: "tel", authority: "1;a"},
          %URI{scheme: "tel", authority: "1", headers: "?a"},
          %URI{scheme: "sip"},
          %URI{scheme: "sip", userinfo: "a"},
          %URI{scheme: "urn"},
          %URI{scheme: nil, authority: "a b"},
          %URI{scheme: nil, authority: "a:b"},
          %URI{},
          %URI{scheme: "1a", authority: "b"},
          %URI{scheme: "a_b", authority: "b"}
        ] do
      assert_raise ArgumentError, fn -> to_string(uri) end
      assert_printed("To", {"", uri, %{}}, false)
    end

    # What is no port is not printed.
    for authority <- ["h:", "h:x", "h:99999"],
        do: assert_uri(%URI{scheme: "sip", authority: authority, host: "h"}, "sip:h")
  end

  test "RFC3261§19.1.2 a userinfo that is built anew gets the escapes that it lacks" do
    for octet <- 0..255, octet != ?%, text <- around(octet) do
      printed =
        cond do
          octet in @userinfo -> text
          octet in @never_a_user -> false
          true -> String.replace(text, <<octet>>, "%" <> Base.encode16(<<octet>>))
        end

      printed = if String.starts_with?(text, ":"), do: false, else: printed
      assert_uri(%URI{scheme: "sip", userinfo: text, host: "h"}, printed && "sip:#{printed}@h")
    end

    for text <- ["%41", "a%4f%4F", "%00b"],
        do: assert_uri(%URI{scheme: "sip", userinfo: text, host: "h"}, "sip:#{text}@h")

    for text <- ["", ":", "%", "%4", "%4g", "%g4", "a%", "#%"],
        do: assert_uri(%URI{scheme: "sip", userinfo: text, host: "h"}, false)
  end

  # Which octets those are is the parser's to say.
  test "a userinfo that was read is printed as it was written" do
    for octet <- 0..255, text <- around(octet), {:ok, uri} <- [URI.parse("sip:#{text}@h")] do
      assert to_string(uri) == "sip:#{text}@h"
      assert to_string(%{uri | parameters: ";lr"}) == "sip:#{text}@h;lr"
    end
  end

  test "a quoted string escapes what is no qdtext, refuses CR and LF, and has no NUL" do
    bob = URI.parse!("sip:bob@biloxi.com")

    for octet <- 0..255, text <- around(octet) do
      quoted = quoted(text, octet, ~c"\"\\")
      assert_printed("From", {text, bob, %{}}, quoted && "\"#{quoted}\" <sip:bob@biloxi.com>")
      assert_printed("Warning", [{399, "h", text}], quoted && "399 h \"#{quoted}\"")
    end

    assert_printed("Authentication-Info", %{"nonce" => ""}, ~S(nonce=""))
  end

  test "a comment escapes its parentheses" do
    for octet <- 0..255, text <- around(octet) do
      comment = quoted(text, octet, ~c"()\\")
      assert_printed("Retry-After", {5, text, %{}}, comment && "5 (#{comment})")
    end
  end

  test "a parameter's value is quoted where the parser would not read it bare" do
    for octet <- 0..255, text <- around(octet) do
      quoted = quoted(text, octet, ~c"\"\\")
      value = if octet in @value, do: text, else: quoted && ~s("#{quoted}")
      assert_printed("Accept-Encoding", [{"a", %{"b" => text}}], value && "a;b=" <> value)
      assert_printed("P-Visited-Network-ID", [{text, %{}}], value)

      assert_printed(
        "P-Charging-Vector",
        %{"icid-value" => text},
        value && "icid-value=" <> value
      )

      # Where the RFCs have quotes, they stay.
      assert_printed(
        "Contact",
        [{"", @uri, %{"+a" => text}}],
        quoted && ~s(<sip:b>;+a="#{quoted}")
      )

      assert_printed("Reason", [{"SIP", %{"text" => text}}], quoted && ~s(SIP;text="#{quoted}"))
    end

    for text <- [
          "z9hG4bK7:4f/1",
          "192.0.2.1:5060/17",
          "a@b",
          "[2001:db8::1]",
          "[]",
          "[::1",
          "a=b=="
        ] do
      via = [{{2, 0}, :ws, {"h", 0}, %{"branch" => text, "received" => text}}]
      assert_printed("Via", via, "SIP/2.0/WS h;branch=#{text};received=#{text}")
      assert_printed("To", {"", @uri, %{"tag" => text}}, "<sip:b>;tag=" <> text)
    end

    assert_printed("Accept-Encoding", [{"a", %{"b" => "[::1];x"}}], ~S(a;b="[::1];x"))
  end

  describe "RFC7616§3.3, §3.4, §3.5 the parameters" do
    @challenges ["WWW-Authenticate", "Proxy-Authenticate"]
    @credentials ["Authorization", "Proxy-Authorization"]
    @bare Map.new(@challenges, &{&1, ~w(stale algorithm charset userhash)})
          |> Map.merge(Map.new(@credentials, &{&1, ~w(algorithm qop nc userhash)}))
          |> Map.put("Authentication-Info", ~w(qop nc))
    @names ~w(realm domain nonce opaque stale algorithm qop charset userhash username uri response
              cnonce nc nextnonce rspauth integrity-protected x-info auts scope error)

    for {header, bare} <- @bare, name <- @names do
      test "#{name} of #{header}",
        do: assert_quoted_or_bare(unquote(header), unquote(name), unquote(name in bare))
    end

    defp assert_quoted_or_bare(header, name, bare?) do
      for {text, token?} <- [
            {"yes", true},
            {"SHA-512/256", true},
            {"a b", false},
            {"a,b", false},
            {"=", false},
            {"", false},
            {"é", true}
          ] do
        value = if token? and bare?, do: text, else: ~s("#{text}")
        params = %{name => text}

        if header == "Authentication-Info" do
          assert_printed(header, params, "#{name}=#{value}")
        else
          assert_printed(header, [{"Digest", params}], "Digest #{name}=#{value}")
          assert {:ok, [{"Digest", ^params}]} = Headers.parse(header, "Digest #{name}=#{value}")
        end
      end
    end

    test "or a token68 in their place" do
      for header <- @challenges ++ @credentials do
        for octet <- 0..255, text <- around(octet) do
          token68? = octet in Enum.concat([?a..?z, ?A..?Z, ?0..?9, ~c"-._~+/"])
          token68? = token68? or (octet == ?= and Regex.match?(~r/\Aa+=+\z/, text))
          assert_printed(header, [{"Bearer", %{"" => text}}], token68? && "Bearer " <> text)
        end

        assert_printed(header, [{"Bearer", %{"" => ""}}], false)
        assert_printed(header, [{"Bearer", %{"" => "a", "b" => "c"}}], false)
      end
    end
  end

  test "numbers are no larger than the parser takes them" do
    for {name, value, text} <- [
          {"Expires", 0xFFFFFFFF, "4294967295"},
          {"Expires", 0x100000000, false},
          {"CSeq", {0x7FFFFFFF, :invite}, "2147483647 INVITE"},
          {"CSeq", {0x80000000, :invite}, false},
          {"RAck", {0xFFFFFFFF, 0x7FFFFFFF, :invite}, "4294967295 2147483647 INVITE"},
          {"RAck", {0x100000000, 1, :invite}, false},
          {"RAck", {1, 0x80000000, :invite}, false},
          {"Max-Forwards", 256, false},
          {"MIME-Version", {65_535, 0}, "65535.0"},
          {"MIME-Version", {65_536, 0}, false},
          {"Via", [{{2, 65_536}, :udp, {"h", 1}, %{}}], false},
          {"Via", [{{2, 0}, :udp, {"h", 65_536}, %{}}], false},
          {"Retry-After", {0x100000000, "", %{}}, false},
          {"Session-Expires", {0x100000000, %{}}, false},
          {"Warning", [{1_000, "h", "x"}], false}
        ],
        do: assert_printed(name, value, text)

    line = %StatusLine{status_code: 200, reason_phrase: "OK", version: {2, 65_536}}
    assert_raise ArgumentError, fn -> StatusLine.to_string(line) end
  end

  test "an IPv6 address gets brackets" do
    for octet <- 0..255,
        octet != ?:,
        text <- around(octet),
        do:
          assert_host(text, octet in @host and not String.starts_with?(text, ["-", "."]) && text)

    # RFC5118§4.10 - the last one came of the grammar of RFC 3261
    for host <- ["2001:db8::1", "::1", "1::", "::ffff:192.0.2.1", "2001:db8:::192.0.2.1"],
        do: assert_host(host, "[#{host}]")

    for host <- ["[2001:db8::1]", "192.0.2.1"], do: assert_host(host, host)

    # Each address that colons and one digit make, and each that is none.
    for text <- texts(~c":1", 13) ++ prefixes("2001:0DB8:0000:0000:0000:ff00:0042:83290"),
        :binary.match(text, ":") != :nomatch do
      address? = match?({:ok, %URI{host: ^text}}, URI.parse("sip:[#{text}]"))
      assert_host(text, address? && "[#{text}]")
    end

    for host <- [
          "",
          "a;b",
          "::1\r\n",
          "a/b",
          "[]",
          "[a",
          "b.com:5060",
          "::1]",
          "::x",
          "1:2",
          "fe80::1%25eth0",
          "[::1]:5",
          "a@b",
          nil,
          5
        ],
        do: assert_host(host, false)
  end

  test "the names of raw headers are tokens" do
    for octet <- 0..255, text <- around(octet) do
      message = %{Message.build_response(200) | headers: %{("x" <> text) => ["v"]}}

      if octet in @token do
        assert to_string(message) =~ "\r\nx#{text}: v\r\n"
      else
        assert_raise ArgumentError, ~r/^cannot print a header name: expected a token/, fn ->
          to_string(message)
        end
      end
    end
  end

  test "a refusal names the place and shows the value" do
    for {name, value, text} <- [
          {"Subject", "a\nb", ~S(expected text without CR, LF or NUL, got: "a\nb")},
          {"Allow", [nil], "expected a token, got: nil"},
          {"CSeq", {1, nil}, "expected a method, got: nil"},
          {"CSeq", {-1, :invite}, "expected {integer, method}, got: {-1, :invite}"},
          {"Session-Expires", {nil, %{}}, "expected integer, got: nil"},
          {"WWW-Authenticate", [{"a", %{}}, {"b", %{}}],
           "expected one value, as several must stand on lines of their own, got: " <>
             ~S([{"a", %{}}, {"b", %{}}])}
        ] do
      error = assert_raise ArgumentError, fn -> Headers.to_iodata(name, value) end
      assert error.message == "cannot print #{name}: " <> text
    end
  end

  # The text as it stands in quotes or parentheses: nothing of what has no form there.
  defp quoted(_text, octet, _special) when octet in [?\r, ?\n], do: false
  defp quoted(text, 0, _special), do: String.replace(text, "\0", "")

  defp quoted(text, octet, special),
    do:
      if(octet == 0x7F or octet in 1..8 or octet in 11..31 or octet in special,
        do: escaped(text, octet),
        else: text
      )

  defp texts(_octets, 0), do: [""]

  defp texts(octets, length) do
    shorter = texts(octets, length - 1)
    Enum.uniq(shorter ++ for(text <- shorter, octet <- octets, do: <<text::binary, octet>>))
  end

  defp prefixes(text), do: for(length <- 1..byte_size(text), do: binary_part(text, 0, length))

  defp to_text(%URI{} = uri) do
    authority = uri.authority || "#{uri.userinfo && uri.userinfo <> "@"}#{uri.host}"
    "#{uri.scheme}:#{authority}#{uri.parameters}#{uri.headers}"
  end

  defp escaped(text, octet), do: String.replace(text, <<octet>>, <<?\\, octet>>)

  defp assert_printed(name, value, text),
    do: assert_text(fn -> Headers.to_iodata(name, value) end, text)

  defp assert_uri(uri, text), do: assert_text(fn -> to_string(uri) end, text)

  defp assert_host(host, text) do
    via = [{{2, 0}, :ws, {host, 0}, %{}}]
    assert_printed("Via", via, text && "SIP/2.0/WS " <> text)

    assert_uri(%URI{scheme: "sip", host: host}, text && "sip:" <> text)
  end

  defp assert_text(print, false), do: assert_raise(ArgumentError, print)
  defp assert_text(print, text), do: assert(IO.iodata_to_binary(print.()) == text)
end
