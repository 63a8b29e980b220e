defmodule Sippet.Serializer.OctetsTest do
  use ExUnit.Case, async: true

  # Each octet at each place of every kind: what stands as it is, what is quoted or escaped, and what is refused.

  alias Sippet.Headers
  alias Sippet.Message
  alias Sippet.URI

  # RFC3261§25.1 - token
  @token Enum.concat([?a..?z, ?A..?Z, ?0..?9, ~c"-.!%*_+`'~"])

  # RFC3261§25.1 - host, and "_", which the field uses
  @host Enum.concat([?a..?z, ?A..?Z, ?0..?9, ~c"-._"])

  # RFC3261§25.1 - user and password, and the ":" between them
  @userinfo Enum.concat([?a..?z, ?A..?Z, ?0..?9, ~c"-_.!~*'()&=+$,;?/:"])

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
    for octet <- 0..255,
        text <- around(octet),
        do: assert_printed("Allow", [text], octet in @token && text)

    assert_printed("Allow", [""], false)
  end

  test "text holds all but CR, LF and NUL" do
    for octet <- 0..255,
        text <- around(octet),
        do: assert_printed("Subject", text, octet not in [?\r, ?\n, 0] && text)

    assert_printed("Subject", "", "")
  end

  test "a word holds neither blanks nor control characters" do
    for octet <- 0..255,
        text <- around(octet),
        do: assert_printed("Call-ID", text, octet > 0x20 and octet != 0x7F && text)

    assert_printed("Call-ID", "", false)
  end

  test "no part of a URI holds what would end it" do
    for octet <- 0..255, text <- around(octet) do
      printed? = octet > 0x20 and octet not in [?<, ?>, 0x7F]
      assert_uri(%URI{scheme: "urn", authority: text}, printed? && "urn:" <> text)

      assert_uri(
        %URI{scheme: "sip", host: "h", parameters: ";" <> text},
        printed? && "sip:h;" <> text
      )

      assert_uri(
        %URI{scheme: "sip", host: "h", headers: "?" <> text},
        printed? && "sip:h?" <> text
      )
    end
  end

  test "RFC3261§19.1.2 a userinfo has its escapes" do
    for octet <- 0..255, octet != ?%, text <- around(octet) do
      printed? = octet in @userinfo and not String.starts_with?(text, ":")
      assert_uri(%URI{scheme: "sip", userinfo: text, host: "h"}, printed? && "sip:#{text}@h")
    end

    for text <- ["%41", "a%4f%4F", "%00b"],
        do: assert_uri(%URI{scheme: "sip", userinfo: text, host: "h"}, "sip:#{text}@h")

    for text <- ["", ":", "%", "%4", "%4g", "%g4", "a%"],
        do: assert_uri(%URI{scheme: "sip", userinfo: text, host: "h"}, false)
  end

  test "a quoted string escapes what is no qdtext, and refuses CR and LF" do
    bob = URI.parse!("sip:bob@biloxi.com")

    for octet <- 0..255, text <- around(octet) do
      quoted =
        cond do
          octet in [?\r, ?\n] -> false
          octet in [?", ?\\, 0x7F] or octet in 0..8 or octet in 11..31 -> escaped(text, octet)
          true -> text
        end

      assert_printed("From", {text, bob, %{}}, quoted && "\"#{quoted}\" <sip:bob@biloxi.com>")
    end

    assert_printed("Authentication-Info", %{"nonce" => ""}, ~S(nonce=""))
  end

  test "a comment escapes its parentheses" do
    for octet <- 0..255, text <- around(octet) do
      comment =
        cond do
          octet in [?\r, ?\n] -> false
          octet in [?(, ?), ?\\, 0x7F] or octet in 0..8 or octet in 11..31 -> escaped(text, octet)
          true -> text
        end

      assert_printed("Retry-After", {5, text, %{}}, comment && "5 (#{comment})")
    end
  end

  test "a parameter's value is quoted unless it is a token or an IPv6 reference" do
    for octet <- 0..255, octet not in [?\r, ?\n], text <- around(octet) do
      value =
        cond do
          octet in @token ->
            text

          octet in [?", ?\\, 0x7F] or octet in 0..8 or octet in 11..31 ->
            ~s("#{escaped(text, octet)}")

          true ->
            ~s("#{text}")
        end

      assert_printed("Accept-Encoding", [{"a", %{"b" => text}}], "a;b=" <> value)
    end

    for {text, value} <- [
          {"[2001:db8::1]", "[2001:db8::1]"},
          {"[2001:db8::1];x", ~S("[2001:db8::1];x")},
          {"[]", ~S("[]")},
          {"[::1", ~S("[::1")}
        ],
        do: assert_printed("Accept-Encoding", [{"a", %{"b" => text}}], "a;b=" <> value)
  end

  test "an IPv6 address gets brackets" do
    for octet <- 0..255,
        octet != ?:,
        text <- around(octet),
        do: assert_host(text, octet in @host && text)

    for host <- ["2001:db8::1", "::1", "1::", "::ffff:192.0.2.1"],
        do: assert_host(host, "[#{host}]")

    for host <- ["[2001:db8::1]", "192.0.2.1"], do: assert_host(host, host)

    for host <- ["", "a;b", "::1\r\n", "a/b", "[]", "[a", "b.com:5060", "::1]", nil, 5],
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

  defp escaped(text, octet), do: String.replace(text, <<octet>>, <<?\\, octet>>)

  defp assert_printed(name, value, text),
    do: assert_text(fn -> Headers.to_iodata(name, value) end, text)

  defp assert_uri(uri, text), do: assert_text(fn -> to_string(uri) end, text)

  defp assert_host(host, text) do
    via = [{{2, 0}, :ws, {host, 0}, %{}}]
    assert_printed("Via", via, text && "SIP/2.0/WS " <> text)

    assert_uri(
      %URI{scheme: "sip", host: host},
      (text && "sip:" <> text) || (is_nil(host) && "sip:")
    )
  end

  defp assert_text(print, false), do: assert_raise(ArgumentError, print)
  defp assert_text(print, text), do: assert(IO.iodata_to_binary(print.()) == text)
end
