defmodule Sippet.RFC4475.InvalidTest do
  use ExUnit.Case, async: true

  import Sippet.Corpus, only: [read: 1]

  alias Sippet.Corpus
  alias Sippet.Headers
  alias Sippet.Message
  alias Sippet.ParseError
  alias Sippet.URI

  setup :read

  describe "RFC4475§3.1.2.1 Extraneous Header Field Separators" do
    @tag fixture: "rfc4475/badinv01"
    test "badinv01: empty parameters and empty values in a Via", %{parsed: parsed} do
      assert {:error, %ParseError{reason: :invalid_header, header: "Via", line: 7}} = parsed
    end

    @tag fixture: "rfc4475/badinv01"
    test "badinv01: empty parameters alone are passed over", %{raw: raw} do
      raw = String.replace(raw, "192.0.2.15;;,;,,", "192.0.2.15;;branch=z9hG4bKx;")
      assert {:ok, message} = Message.parse(raw)
      assert [{_, :udp, {"192.0.2.15", 5060}, %{"branch" => "z9hG4bKx"}}] = message.headers.via
      assert [{"Joe", %URI{host: "example.org"}, params}] = message.headers.contact
      assert params == %{}
      assert Message.to_string(message) =~ ~s(\r\nContact: "Joe" <sip:joe@example.org>\r\n)
    end

    @tag fixture: "rfc4475/badinv01"
    test "badinv01: the same text is legal in an unknown header", %{raw: raw} do
      raw = String.replace(raw, "Via: SIP/2.0/UDP 192.0.2.15;;,;,,", "X-Via: ;;,;,,")
      assert {:ok, message} = Message.parse(raw)
      assert message.headers["X-Via"] == [";;,;,,"]
    end
  end

  describe "RFC4475§3.1.2.2 Content Length Larger Than Message" do
    @tag fixture: "rfc4475/clerr"
    test "clerr: a datagram is an error", %{parsed: parsed} do
      assert {:error, %ParseError{reason: :body_too_short} = error} = parsed

      # RFC3261§18.3 - the request is answered by 400, so what the answer copies is at hand.
      assert {:invite, lines} = error.request
      assert {"CSeq", "8 INVITE"} in lines
      assert {"Call-ID", "clerr.0ha0isndaksdjweiafasdk3"} in lines
    end

    @tag fixture: "rfc4475/clerr"
    test "clerr: a stream waits for more", %{raw: raw} do
      assert {:ok, [], ^raw, _resume} = Message.split(raw)
    end
  end

  describe "RFC4475§3.1.2.3 Negative Content-Length" do
    @tag fixture: "rfc4475/ncl"
    test "ncl: an error in a datagram and on a stream", %{raw: raw, parsed: parsed} do
      assert {:error, %ParseError{reason: :invalid_header, header: "Content-Length"} = error} =
               parsed

      assert error.excerpt == "-999"
      assert {:error, %ParseError{reason: :invalid_header}} = Message.split(raw)
    end

    @tag fixture: "rfc4475-extra/ncl-five"
    test "Content-Length: five", %{raw: raw, parsed: parsed} do
      assert {:error, %ParseError{reason: :invalid_header, header: "Content-Length"}} = parsed
      assert {:error, %ParseError{reason: :invalid_header}} = Message.split(raw)
    end
  end

  describe "RFC4475§3.1.2.4 Request Scalar Fields with Overlarge Values" do
    @tag fixture: "rfc4475/scalar02"
    test "scalar02: a CSeq of 2^65 does not wrap to 0", %{parsed: parsed} do
      assert {:error, %ParseError{reason: :invalid_header, header: "CSeq", line: 5}} = parsed
    end

    @tag fixture: "rfc4475/scalar02"
    test "scalar02: an overlarge Expires degrades", %{raw: raw} do
      raw =
        raw
        |> String.replace("36893488147419103232", "1")
        |> String.replace("Max-Forwards: 300", "Max-Forwards: 70")

      assert {:ok, message} = Message.parse(raw)
      assert_degraded(message, "Expires", ["1" <> String.duplicate("0", 100)])

      # RFC3261§10.3 - the registrar judges the expiration of a contact; here it is text.
      assert [{"", %URI{host: "host129.example.com"}, params}] = message.headers.contact
      assert params == %{"expires" => "280297596632815"}
    end

    @tag fixture: "rfc4475-extra/scalar02-cseq-2p32"
    test "a CSeq of 2^32 does not wrap to 0", %{parsed: parsed} do
      assert {:error, %ParseError{reason: :invalid_header, header: "CSeq"}} = parsed
    end

    # RFC3261§8.1.1.5 - "MUST be less than 2**31". RFC 4475 faults only what is beyond 2^32-1; the older
    # document is the one that defines the field.
    @tag fixture: "rfc4475-extra/scalar02-cseq-ok"
    test "a CSeq of 2^32-1 is refused too", %{parsed: parsed} do
      assert {:error, %ParseError{reason: :invalid_header, header: "CSeq"}} = parsed
    end

    # RFC3261§20.22 - "an integer in the range 0-255". RFC 4475 lets a receiver take 300 as absent; to a proxy an
    # absent Max-Forwards is 70 new hops, so a wrong one is refused.
    @tag fixture: "rfc4475-extra/scalar02-only-maxfwd"
    test "Max-Forwards: 300 alone is refused", %{parsed: parsed} do
      assert {:error, %ParseError{reason: :invalid_header, header: "Max-Forwards"}} = parsed
    end
  end

  describe "RFC4475§3.1.2.5 Response Scalar Fields with Overlarge Values" do
    @tag fixture: "rfc4475/scalarlg"
    test "scalarlg: a response that can't be read has no answer", %{parsed: parsed} do
      assert {:error, %ParseError{reason: :invalid_header, header: "CSeq", request: nil}} = parsed
    end

    @tag fixture: "rfc4475/scalarlg"
    test "scalarlg: Retry-After and Warning degrade", %{raw: raw} do
      assert {:ok, message} = Message.parse(String.replace(raw, "9292394834772304023312", "1"))
      assert_degraded(message, "Retry-After", ["949302838503028349304023988"])
      # RFC3261§20.43 - "warning codes consist of three digits"
      assert_degraded(message, "Warning", ["1812 overture \"In Progress\""])
    end
  end

  describe "RFC4475§3.1.2.6 Unterminated Quoted String in Display Name" do
    @tag fixture: "rfc4475/quotbal"
    test "quotbal: the quote does not run into the next line", %{parsed: parsed} do
      assert {:error, %ParseError{reason: :invalid_header, header: "To", line: 2}} = parsed
    end

    @tag fixture: "rfc4475-extra/quotbal-two-addr"
    test "two addresses behind the open quote: no guess", %{parsed: parsed} do
      assert {:error, %ParseError{reason: :invalid_header, header: "To"}} = parsed
    end
  end

  describe "RFC4475§3.1.2.7 <> Enclosing Request-URI" do
    @tag fixture: "rfc4475/ltgtruri"
    test "ltgtruri: refused", %{parsed: parsed} do
      assert {:error, %ParseError{reason: :invalid_request_uri, line: 1}} = parsed
    end
  end

  describe "RFC4475§3.1.2.8 Malformed SIP Request-URI (embedded LWS)" do
    @tag fixture: "rfc4475/lwsruri"
    test "lwsruri: four words are no request line", %{parsed: parsed} do
      assert {:error, %ParseError{reason: :invalid_start_line, line: 1}} = parsed
    end
  end

  describe "RFC4475§3.1.2.9 Multiple SP Separating Request-Line Elements" do
    @tag fixture: "rfc4475/lwsstart"
    test "lwsstart: refused", %{parsed: parsed} do
      assert {:error, %ParseError{reason: :invalid_start_line, line: 1}} = parsed
    end
  end

  describe "RFC4475§3.1.2.10 SP Characters at End of Request-Line" do
    @tag fixture: "rfc4475/trws"
    test "trws: refused", %{parsed: parsed} do
      assert {:error, %ParseError{reason: :invalid_start_line, line: 1}} = parsed
    end

    @tag fixture: "rfc4475-extra/trws-example-com"
    test "trws with the host as printed: refused", %{parsed: parsed} do
      assert {:error, %ParseError{reason: :invalid_start_line, line: 1}} = parsed
    end
  end

  describe "RFC4475§3.1.2.11 Escaped Headers in SIP Request-URI" do
    @tag fixture: "rfc4475/escruri"
    test "escruri: parses, is not valid", %{parsed: {:ok, message}} do
      assert %URI{userinfo: "user", headers: "?Route=%3Csip:example.com%3E"} =
               message.start_line.request_uri

      refute Map.has_key?(message.headers, :route)
      assert {:error, reason} = Message.validate(message)
      assert reason =~ "Request-URI"
    end
  end

  describe "RFC4475§3.1.2.12 Invalid Time Zone in Date Header Field" do
    for {name, zone} <- [
          {"rfc4475/baddate", "EST"},
          {"rfc4475-extra/baddate-UT", "UT"},
          {"rfc4475-extra/baddate-UCT", "UCT"}
        ] do
      @tag fixture: name, zone: zone
      test "#{zone} degrades the Date", %{parsed: {:ok, message}, zone: zone} do
        assert_degraded(message, "Date", ["Fri, 01 Jan 2010 16:00:00 #{zone}"])
        assert Message.validate(message) == :ok
      end
    end

    # UTC is what GMT means (RFC1123§5.2.14), and senders in the field write it.
    for {name, zone} <- [
          {"rfc4475-extra/baddate-GMT-valid", "GMT"},
          {"rfc4475-extra/baddate-UTC", "UTC"}
        ] do
      @tag fixture: name
      test "#{zone} is read", %{parsed: {:ok, message}} do
        assert message.headers.date == ~N[2010-01-01 16:00:00]
        assert Message.to_string(message) =~ "\r\nDate: Fri, 01 Jan 2010 16:00:00 GMT\r\n"
      end
    end
  end

  describe "RFC4475§3.1.2.13 Failure to Enclose name-addr URI in <>" do
    # RFC3261§20.10 - a URI with a question mark needs the brackets. Contact is no essential header: it degrades, and
    # the registrar finds none to bind.
    @tag fixture: "rfc4475/regbadct"
    test "regbadct: the Contact degrades", %{parsed: {:ok, message}} do
      assert_degraded(message, "Contact", [
        "sip:user@example.com?Route=%3Csip:sip.example.com%3E"
      ])
    end
  end

  describe "RFC4475§3.1.2.14 Spaces within addr-spec" do
    @tag fixture: "rfc4475/badaspec"
    test "badaspec: refused", %{parsed: parsed} do
      assert {:error, %ParseError{reason: :invalid_header, header: "To", line: 5}} = parsed
    end
  end

  describe "RFC4475§3.1.2.15 Non-token Characters in Display Name" do
    # The archive's file has no blank line either, which alone would be accepted.
    for name <- ["rfc4475/baddn", "rfc4475-extra/baddn-with-blank-line"] do
      @tag fixture: name
      test "#{name}: a comma needs quotes", %{parsed: parsed} do
        assert {:error, %ParseError{reason: :invalid_header, header: "From", line: 4} = error} =
                 parsed

        assert error.excerpt =~ ", Alexander"
      end
    end
  end

  describe "RFC4475§3.1.2.16 Unknown Protocol Version" do
    @tag fixture: "rfc4475/badvers"
    test "badvers: the version is read, so that a 505 can be built", %{parsed: {:ok, message}} do
      assert message.start_line.version == {7, 0}
      assert [{{7, 0}, :udp, {"c.example.com", 5060}, _}] = message.headers.via
      assert {:error, reason} = Message.validate(message)
      assert reason =~ "version"
      assert Message.to_response(message, 505).headers.cseq == {1, :options}
    end
  end

  describe "RFC4475§3.1.2.17 Start Line and CSeq Method Mismatch" do
    @tag fixture: "rfc4475/mismatch01"
    test "mismatch01: each parses, together they are not valid", %{parsed: {:ok, message}} do
      assert message.start_line.method == :options
      assert message.headers.cseq == {8, :invite}
      assert {:error, reason} = Message.validate(message)
      assert reason =~ "CSeq"
    end
  end

  describe "RFC4475§3.1.2.18 Unknown Method with CSeq Method Mismatch" do
    @tag fixture: "rfc4475/mismatch02"
    test "mismatch02: the same with an unknown method", %{parsed: {:ok, message}} do
      assert message.start_line.method == "NEWMETHOD"
      assert message.headers.cseq == {8, :invite}
      assert byte_size(message.body) == 138
      assert {:error, reason} = Message.validate(message)
      assert reason =~ "CSeq"
    end
  end

  describe "RFC4475§3.1.2.19 Overlarge Response Code" do
    @tag fixture: "rfc4475/bigcode"
    test "bigcode: 2^32+5 does not wrap to 5", %{parsed: parsed} do
      assert {:error, %ParseError{reason: :invalid_status_code, line: 1, request: nil}} = parsed
    end
  end

  describe "RFC4475§A the file that no section names" do
    @tag fixture: "rfc4475-extra/test-unreferenced"
    test "a header line without a colon", %{parsed: parsed} do
      assert {:error, %ParseError{reason: :invalid_header_line, line: 10} = error} = parsed
      assert error.excerpt == "Foobar roobar"
    end
  end

  test "every message of section 3.1.2 has its test" do
    listed = Corpus.listed("rfc4475", "3.1.2.")
    assert length(listed) == 19
    assert listed -- Corpus.tagged(__MODULE__) == []
  end

  test "every variant of one of them has its test" do
    variants =
      for {name, _} <- Corpus.fixtures("rfc4475-extra"),
          not String.starts_with?(name, ["dblreq-", "intmeth-", "noreason-"]),
          do: "rfc4475-extra/#{name}"

    assert length(variants) == 12
    assert variants -- Corpus.tagged(__MODULE__) == []
  end

  # All its lines stand raw under the registered name, and reading them names the header.
  defp assert_degraded(message, name, lines) do
    assert message.headers[name] == lines
    refute Map.has_key?(message.headers, Corpus.key(name))
    assert {:error, %ParseError{header: ^name}} = Headers.parse(name, lines)
  end
end
