defmodule Sippet.RFC5118.IPv6Test do
  use ExUnit.Case, async: true

  import Sippet.Corpus, only: [read: 1]

  # The archive of the RFC has bare LF line ends, lacks two blank lines and declares three wrong lengths. rfc5118 holds
  # its files as they are, rfc5118-wire the same with CRLF and the blank lines, rfc5118-wire-cl those three with
  # their true Content-Length.

  alias Sippet.Corpus
  alias Sippet.Message
  alias Sippet.ParseError
  alias Sippet.URI

  setup :read

  describe "RFC5118§4.1 Valid SIP Message with an IPv6 Reference" do
    for folder <- ["rfc5118", "rfc5118-wire"] do
      @tag fixture: "#{folder}/ipv6-good"
      test "#{folder}/ipv6-good", %{parsed: {:ok, message}} do
        assert %URI{userinfo: nil, host: "2001:db8::10", port: 5060} =
                 message.start_line.request_uri

        assert [{_, :udp, {"2001:db8::9:1", 5060}, _}] = message.headers.via
        assert [{"Caller", %URI{userinfo: "caller"} = uri, _}] = message.headers.contact
        assert uri.host == "2001:db8::1"

        assert address("2001:db8::10") == {0x2001, 0xDB8, 0, 0, 0, 0, 0, 0x10}
        assert address("2001:db8::9:1") == {0x2001, 0xDB8, 0, 0, 0, 0, 9, 1}
        assert address(uri.host) == {0x2001, 0xDB8, 0, 0, 0, 0, 0, 1}

        assert printed(message) =~ "REGISTER sip:[2001:db8::10] SIP/2.0\r\n"
        assert printed(message) =~ "\r\nVia: SIP/2.0/UDP [2001:db8::9:1]"
        assert Message.validate(message) == :ok
      end
    end
  end

  describe "RFC5118§4.2 Invalid SIP Message with an IPv6 Reference" do
    for folder <- ["rfc5118", "rfc5118-wire"] do
      @tag fixture: "#{folder}/ipv6-bad"
      test "#{folder}/ipv6-bad: not host 2001, port db8", %{parsed: parsed} do
        assert {:error, %ParseError{reason: :invalid_request_uri, line: 1}} = parsed
      end
    end
  end

  describe "RFC5118§4.3 Port Ambiguous in a SIP URI" do
    for folder <- ["rfc5118", "rfc5118-wire"] do
      @tag fixture: "#{folder}/port-ambiguous"
      test "#{folder}/port-ambiguous: 5070 belongs to the address", %{parsed: {:ok, message}} do
        assert %URI{host: "2001:db8::10:5070", port: 5060} = message.start_line.request_uri
        assert address("2001:db8::10:5070") == {0x2001, 0xDB8, 0, 0, 0, 0, 0x10, 0x5070}
        assert printed(message) =~ "REGISTER sip:[2001:db8::10:5070] SIP/2.0\r\n"
      end
    end
  end

  describe "RFC5118§4.4 Port Unambiguous in a SIP URI" do
    for folder <- ["rfc5118", "rfc5118-wire"] do
      @tag fixture: "#{folder}/port-unambiguous"
      test "#{folder}/port-unambiguous: 5070 is the port", %{parsed: {:ok, message}} do
        assert %URI{host: "2001:db8::10", port: 5070} = message.start_line.request_uri
        assert printed(message) =~ "REGISTER sip:[2001:db8::10]:5070 SIP/2.0\r\n"
      end
    end
  end

  describe "RFC5118§4.5 IPv6 Reference Delimiters in Via Header" do
    # RFC5118§4.5 - "be liberal in accepting" received with or without the brackets, and send none.
    for folder <- ["rfc5118", "rfc5118-wire"], form <- ["with-delim", "no-delim"] do
      @tag fixture: "#{folder}/via-received-param-#{form}"
      test "#{folder}/via-received-param-#{form}", %{parsed: {:ok, message}} do
        assert [{_, :udp, {"2001:db8::9:1", 5060}, params}] = message.headers.via
        assert params["received"] == "2001:db8::9:255"
        assert params["branch"] =~ "z9hG4bKas3"
        assert address(params["received"]) == {0x2001, 0xDB8, 0, 0, 0, 0, 9, 0x255}

        assert printed(message) =~ ";received=2001:db8::9:255"
        refute printed(message) =~ "received=["
        assert Message.validate(message) == :ok
      end
    end
  end

  describe "RFC5118§4.6 SIP Request with IPv6 Addresses in Session Description Protocol" do
    @tag fixture: "rfc5118-wire-cl/ipv6-in-sdp"
    test "ipv6-in-sdp", %{parsed: {:ok, message}} do
      assert %URI{userinfo: "user", host: "2001:db8::10"} = message.start_line.request_uri
      assert byte_size(message.body) == 251
      assert message.body =~ "\r\nc=IN IP6 2001:db8::20\r\n"
      assert Message.validate(message) == :ok
    end

    # RFC3261§18.3 - a length of 268 is beyond both the 242 octets of the archive and the 251 with CRLF.
    for folder <- ["rfc5118", "rfc5118-wire"] do
      @tag fixture: "#{folder}/ipv6-in-sdp"
      test "#{folder}/ipv6-in-sdp is shorter than it says", %{parsed: parsed} do
        assert {:error, %ParseError{reason: :body_too_short}} = parsed
      end
    end
  end

  describe "RFC5118§4.7 Multiple IP Addresses in SIP Headers" do
    for folder <- ["rfc5118", "rfc5118-wire"] do
      @tag fixture: "#{folder}/mult-ip-in-header"
      test "#{folder}/mult-ip-in-header: order and families", %{parsed: {:ok, message}} do
        assert [
                 {{2, 0}, :udp, {"2001:db8::9:1", 6050}, %{"branch" => "z9hG4bKas3-111"}},
                 {{2, 0}, :udp, {"192.0.2.1", 5060}, _},
                 {{2, 0}, :tcp, {"2001:db8::9:255", 5060}, %{"received" => "192.0.2.200"}}
               ] = message.headers.via

        assert Message.validate(message) == :ok
      end
    end
  end

  describe "RFC5118§4.8 Multiple IP Addresses in SDP" do
    @tag fixture: "rfc5118-wire-cl/mult-ip-in-sdp"
    test "mult-ip-in-sdp", %{parsed: {:ok, message}} do
      assert byte_size(message.body) == 189
      assert message.body =~ "\r\nc=IN IP4 192.0.2.1\r\n"
      assert message.body =~ "\r\nc=IN IP6 2001:db8::1\r\n"
      assert Message.validate(message) == :ok
    end

    @tag fixture: "rfc5118/mult-ip-in-sdp"
    test "the archive's 181 is one octet beyond its LF body", %{parsed: parsed} do
      assert {:error, %ParseError{reason: :body_too_short}} = parsed
    end

    # RFC3261§18.3 - octets beyond Content-Length are dropped.
    @tag fixture: "rfc5118-wire/mult-ip-in-sdp"
    test "with CRLF the declared 181 octets are the body", %{raw: raw, parsed: {:ok, message}} do
      [_, body] = :binary.split(raw, "\r\n\r\n")
      assert message.body == binary_part(body, 0, 181)
    end
  end

  describe "RFC5118§4.9 IPv4-Mapped IPv6 Addresses" do
    @tag fixture: "rfc5118-wire-cl/ipv4-mapped-ipv6"
    test "ipv4-mapped-ipv6: the dotted tail, and a port behind the bracket", %{
      parsed: {:ok, message}
    } do
      assert [
               {_, :udp, {"::ffff:192.0.2.10", 19_823}, _},
               {_, :udp, {"::ffff:192.0.2.2", 5060}, _}
             ] = message.headers.via

      assert [{"T. desk phone", %URI{userinfo: "ted", host: host}, _}] = message.headers.contact
      assert address(host) == {0, 0, 0, 0, 0, 0xFFFF, 0xC000, 0x0202}
      assert byte_size(message.body) == 245
      assert message.body =~ "\r\nc=IN IP6 ::ffff:192.0.2.2\r\n"
      assert printed(message) =~ "\r\nVia: SIP/2.0/UDP [::ffff:192.0.2.10]:19823;"
    end

    # The declared 236 octets fit the archive's LF body; with CRLF they cut it, as RFC3261§18.3 says.
    for folder <- ["rfc5118", "rfc5118-wire"] do
      @tag fixture: "#{folder}/ipv4-mapped-ipv6"
      test "#{folder}/ipv4-mapped-ipv6: 236 octets of body", %{parsed: {:ok, message}} do
        assert byte_size(message.body) == 236
        assert [{"T. desk phone", _, _}] = message.headers.contact
      end
    end
  end

  describe "RFC5118§4.10 IPv6 Reference Bug in RFC 3261 ABNF" do
    for folder <- ["rfc5118", "rfc5118-wire"] do
      @tag fixture: "#{folder}/ipv6-correct-abnf-2-colons"
      test "#{folder}/ipv6-correct-abnf-2-colons", %{parsed: {:ok, message}} do
        assert %URI{userinfo: "user", host: "2001:db8::192.0.2.1"} =
                 message.start_line.request_uri

        assert address("2001:db8::192.0.2.1") == {0x2001, 0xDB8, 0, 0, 0, 0, 0xC000, 0x0201}
        assert Message.validate(message) == :ok
      end

      # RFC5118§4.10 - implementations must tolerate the three colons that the grammar of RFC 3261 made. The text is
      # kept as it came, so that what is forwarded is what was signed or compared; an address it is not.
      @tag fixture: "#{folder}/ipv6-bug-abnf-3-colons"
      test "#{folder}/ipv6-bug-abnf-3-colons is tolerated", %{parsed: {:ok, message}} do
        assert %URI{userinfo: "user", host: "2001:db8:::192.0.2.1"} =
                 message.start_line.request_uri

        assert {"", %URI{host: "2001:db8:::192.0.2.1"}, _} = message.headers.to
        assert printed(message) =~ "OPTIONS sip:user@[2001:db8:::192.0.2.1] SIP/2.0\r\n"
        assert Message.validate(message) == :ok
      end
    end

    # The archive's two files end behind the last header line.
    test "without a blank line there is no body" do
      for folder <- ["rfc5118", "rfc5118-wire"],
          do:
            assert(Message.parse!(Corpus.fixture!("#{folder}/ipv6-bug-abnf-3-colons")).body == "")
    end
  end

  test "LF and CRLF give the same message" do
    for [name, section | _] <- Corpus.table!("rfc5118/expected.tsv"),
        section not in ["4.2", "4.6", "4.8", "4.9"] do
      archive = Message.parse!(Corpus.fixture!("rfc5118/#{name}"))
      wire = Message.parse!(Corpus.fixture!("rfc5118-wire/#{name}"))
      assert %{archive | body: ""} == wire
    end
  end

  test "every message has its test" do
    files =
      for folder <- ["rfc5118", "rfc5118-wire", "rfc5118-wire-cl"],
          {name, _} <- Corpus.fixtures(folder),
          do: "#{folder}/#{name}"

    assert length(files) == 27
    assert files -- Corpus.tagged(__MODULE__) == []
  end

  defp address(text) do
    {:ok, address} = text |> String.to_charlist() |> :inet.parse_ipv6strict_address()
    address
  end

  defp printed(message), do: Message.to_string(message)
end
