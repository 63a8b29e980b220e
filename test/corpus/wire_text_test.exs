defmodule Sippet.Corpus.WireTextTest do
  use ExUnit.Case, async: true

  # The comparison that the round trips stand on must see what it is there to see.

  alias Sippet.WireText

  @came "INVITE sip:bob@biloxi.com SIP/2.0\r\n" <>
          "v: SIP / 2.0/udp pc33.atlanta.com ;branch=z9hG4bK776;received=[2001:db8::1]\r\n" <>
          "f:Alice Smith\r\n <sip:alice@atlanta.com>;TAG=\"88sja8x\"\r\n" <>
          "To: sip:bob@biloxi.com;tag=\r\n" <>
          "Route: sip:p1.biloxi.com;lr, <sip:p2.biloxi.com;lr>\r\n" <>
          "Date: Sat, 6 Nov 2010 23:29:00 UTC\r\n" <>
          "Contact: <sip:alice@pc33.atlanta.com;lr>;q=0.1;;q=0.5;+sip.instance=\"<urn:uuid:1>\"\r\n" <>
          "Call-ID: a84b4c76e66710\r\n" <>
          "Allow: INVITE,ACK,\r\n" <>
          "Allow: BYE\r\n" <>
          "Authorization: Digest Username=bob,\r\n\tqop=\"auth\" nc=00000001\r\n" <>
          "Max-Forwards: 070\r\n" <>
          "x-two: a, b\r\n" <>
          "X-Two: c\r\n" <>
          "CSeq: 314159  INVITE\r\n" <>
          "c: Application/SDP\r\n" <>
          "\r\nv=0"

  @printed "INVITE sip:bob@biloxi.com SIP/2.0\r\n" <>
             "Via: SIP/2.0/UDP pc33.atlanta.com:5060;received=2001:db8::1;branch=z9hG4bK776\r\n" <>
             "Max-Forwards: 70\r\n" <>
             "From: \"Alice Smith\" <sip:alice@atlanta.com>;tag=88sja8x\r\n" <>
             "To: <sip:bob@biloxi.com>\r\n" <>
             "Route: <sip:p1.biloxi.com;lr>, <sip:p2.biloxi.com;lr>\r\n" <>
             "Date: Sat, 06 Nov 2010 23:29:00 GMT\r\n" <>
             "Call-ID: a84b4c76e66710\r\n" <>
             "CSeq: 314159 INVITE\r\n" <>
             "Contact: <sip:alice@pc33.atlanta.com;lr>;+sip.instance=\"<urn:uuid:1>\";q=0.5\r\n" <>
             "Allow: INVITE, ACK, BYE\r\n" <>
             "Authorization: Digest nc=00000001, qop=auth, username=\"bob\"\r\n" <>
             "X-Two: a, b\r\n" <>
             "X-Two: c\r\n" <>
             "Content-Type: application/sdp\r\n" <>
             "Content-Length: 3\r\n" <>
             "\r\nv=0"

  # What the printer might get wrong: text that was printed, and what would stand there instead.
  @faults [
    {"another value", "tag=88sja8x", "tag=88sja8y"},
    {"a lost parameter", ";q=0.5", ""},
    {"the first of two parameters", ";q=0.5", ";q=0.1"},
    {"a lost route", "<sip:p1.biloxi.com;lr>, ", ""},
    {"a route that lost its parameter", "p1.biloxi.com;lr", "p1.biloxi.com"},
    {"another date", "06 Nov", "16 Nov"},
    {"a lost header", "X-Two: c\r\n", ""},
    {"an invented header", "X-Two: c\r\n", "X-Two: c\r\nX-Three: d\r\n"},
    {"raw lines joined", "a, b\r\nX-Two: c", "a, b, c"},
    {"raw lines in another order", "a, b\r\nX-Two: c", "c\r\nX-Two: a, b"},
    {"list values in another order", "INVITE, ACK, BYE", "INVITE, BYE, ACK"},
    {"a list without blanks", "INVITE, ACK, BYE", "INVITE,ACK,BYE"},
    {"a compact name", "From: ", "f: "},
    {"another name", "X-Two: a", "X-Too: a"},
    {"a name in lower case", "X-Two: c", "x-two: c"},
    {"a URI without brackets", "<sip:bob@biloxi.com>", "sip:bob@biloxi.com"},
    {"a display name without quotes", "\"Alice Smith\"", "Alice Smith"},
    {"a lost display name", "\"Alice Smith\" ", ""},
    {"a parameter that left its brackets", "pc33.atlanta.com;lr>", "pc33.atlanta.com>;lr"},
    {"a lost escape", "\"<urn:uuid:1>\"", "<urn:uuid:1>"},
    {"quotes where none may be", "qop=auth", "qop=\"auth\""},
    {"no quotes where some must be", "username=\"bob\"", "username=bob"},
    {"a lost port", "atlanta.com:5060", "atlanta.com"},
    {"brackets in received", "received=2001:db8::1", "received=[2001:db8::1]"},
    {"a transport in lower case", "SIP/2.0/UDP", "SIP/2.0/udp"},
    {"blanks at the end", "INVITE\r\nContact", "INVITE \r\nContact"},
    {"another length", "Content-Length: 3", "Content-Length: 4"},
    {"another body", "\r\n\r\nv=0", "\r\n\r\nv=1"},
    {"another Request-URI", "INVITE sip:bob@biloxi.com", "INVITE sip:bob@biloxi.com:5060"}
  ]

  test "what the named normalisations explain is no difference" do
    assert {:ok, used} = WireText.compare(@came, @printed, [])

    assert Enum.sort(used) == Enum.sort(Keyword.keys(WireText.Normalisation.all()))
  end

  for {title, right, wrong} <- @faults do
    test "#{title} is a difference" do
      assert @printed =~ unquote(right)
      printed = String.replace(@printed, unquote(right), unquote(wrong))
      assert {:error, came, found} = WireText.compare(@came, printed, [])
      assert came ++ found != []
    end
  end

  test "a header that was degraded is compared as text" do
    came = String.replace(@came, "q=0.5", "q=7;")
    printed = String.replace(@printed, ~r/Contact: .*\r/, "Contact: #{contact(came)}\r")
    assert {:ok, _used} = WireText.compare(came, printed, ["Contact"])

    assert {:error, _, _} =
             WireText.compare(came, String.replace(printed, "q=7;", "q=7"), ["Contact"])
  end

  test "bare LF, leading line ends, a missing blank line and octets behind the body are understood" do
    came = "\r\n\nBYE sip:a SIP/2.0\nl: 2\nX-A: b\n c\n\nhi there"
    printed = "BYE sip:a SIP/2.0\r\nX-A: b c\r\nContent-Length: 2\r\n\r\nhi"
    assert {:ok, _used} = WireText.compare(came, printed, [])

    came = "BYE sip:a SIP/2.0\nX-A: b"
    printed = "BYE sip:a SIP/2.0\r\nX-A: b\r\nContent-Length: 0\r\n\r\n"
    assert {:ok, _used} = WireText.compare(came, printed, [])
  end

  defp contact(text) do
    [_, value] = Regex.run(~r/\r\nContact: (.*)\r/, text)
    value
  end
end
