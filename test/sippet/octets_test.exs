defmodule Sippet.OctetsTest do
  use ExUnit.Case, async: true

  alias Sippet.Octets

  # RFC3261§25.1 - token
  @token Enum.concat([?a..?z, ?A..?Z, ?0..?9, ~c"-.!%*_+`'~"])

  defp around(octet), do: [<<octet>>, <<?a, octet>>, <<octet, ?a>>, <<"abcdefg", octet, "hijk">>]

  test "token?/1 knows each octet at each place" do
    for octet <- 0..255, text <- around(octet) do
      assert Octets.token?(text) == octet in @token
    end

    refute Octets.token?("")
  end

  test "text!/2 refuses CR, LF and NUL at each place, and nothing else" do
    for octet <- 0..255, text <- around(octet) do
      if octet in [?\r, ?\n, 0],
        do: assert_raise(ArgumentError, fn -> Octets.text!(text, "Subject") end),
        else: assert(Octets.text!(text, "Subject") == text)
    end

    assert Octets.text!("", "Subject") == ""
  end

  test "uri!/2 refuses what would end a URI" do
    for octet <- 0..255, text <- around(octet) do
      if octet <= 0x20 or octet in [?<, ?>, 0x7F],
        do: assert_raise(ArgumentError, fn -> Octets.uri!(text, "a URI") end),
        else: assert(Octets.uri!(text, "a URI") == text)
    end
  end

  test "word!/2 refuses blanks and control characters" do
    for octet <- 0..255, text <- around(octet) do
      if octet <= 0x20 or octet == 0x7F,
        do: assert_raise(ArgumentError, fn -> Octets.word!(text, "Call-ID") end),
        else: assert(Octets.word!(text, "Call-ID") == text)
    end

    assert_raise ArgumentError, fn -> Octets.word!("", "Call-ID") end
  end

  test "quoted/2 escapes what is no qdtext, and refuses CR and LF" do
    for octet <- 0..255 do
      text = <<?a, octet, ?b>>

      cond do
        octet in [?\r, ?\n] ->
          assert_raise ArgumentError, fn -> Octets.quoted(text, "From") end

        octet in [?", ?\\, 0x7F] or octet in 0..8 or octet in 11..31 ->
          assert quoted(text) == <<?", ?a, ?\\, octet, ?b, ?">>

        true ->
          assert quoted(text) == <<?", ?a, octet, ?b, ?">>
      end
    end

    assert quoted("") == ~S("")
  end

  test "value/2 quotes what is neither a token nor an IPv6 reference" do
    assert value("4e1f9c3a") == "4e1f9c3a"
    assert value("[2001:db8::1]") == "[2001:db8::1]"
    assert value("[2001:db8::1];x") == ~S("[2001:db8::1];x")
    assert value("a b") == ~S("a b")
    assert value("a;b=\"c\"") == ~S("a;b=\"c\"")
  end

  test "host!/2 puts IPv6 addresses in brackets" do
    assert host("biloxi.com") == "biloxi.com"
    assert host("192.0.2.1") == "192.0.2.1"
    assert host("2001:db8::1") == "[2001:db8::1]"
    assert host("::1") == "[::1]"
    assert host("1::") == "[1::]"
    assert host("[2001:db8::1]") == "[2001:db8::1]"

    for host <- ["", "a b", "a;b", "a,b", "a\r\nb", "::1\r\n", "a/b", "[]", "[a", nil, 5] do
      assert_raise ArgumentError, fn -> Octets.host!(host, "Via") end
    end
  end

  test "comment/2 escapes parentheses" do
    assert IO.iodata_to_binary(Octets.comment("a (b) \\", "Retry-After")) == ~S[(a \(b\) \\)]
    assert_raise ArgumentError, fn -> Octets.comment("a\r\nb", "Retry-After") end
  end

  test "a refusal names the place and shows the value" do
    assert_raise ArgumentError,
                 ~S(cannot print Subject: expected text without CR, LF or NUL, got: "a\nb"),
                 fn -> Octets.text!("a\nb", "Subject") end
  end

  defp quoted(text), do: IO.iodata_to_binary(Octets.quoted(text, "From"))
  defp value(text), do: IO.iodata_to_binary(Octets.value(text, "From"))
  defp host(text), do: IO.iodata_to_binary(Octets.host!(text, "Via"))
end
