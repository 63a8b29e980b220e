defmodule Sippet.RFC4475.SemanticsTest do
  use ExUnit.Case, async: true

  import Sippet.Corpus, only: [read: 1]

  alias Sippet.Corpus
  alias Sippet.Message
  alias Sippet.ParseError
  alias Sippet.URI

  setup :read

  describe "RFC4475§3.2.1 Missing Transaction Identifier" do
    # RFC3261§17.2.3 - the cookie with nothing behind it names no transaction; the request is matched as one of RFC 2543.
    @tag fixture: "rfc4475/badbranch"
    test "badbranch: parses, with the bare cookie as its branch", %{parsed: {:ok, message}} do
      assert [{{2, 0}, :udp, {"192.0.2.1", 5060}, %{"branch" => branch}}] = message.headers.via
      assert branch == Message.magic_cookie()
      assert Message.validate(message) == :ok
    end
  end

  describe "RFC4475§3.3.1 Missing Required Header Fields" do
    @tag fixture: "rfc4475/insuf"
    test "insuf: validation names what is missing", %{parsed: {:ok, message}} do
      assert byte_size(message.body) == 152
      assert {:error, reason} = Message.validate(message)
      for name <- ["From", "To", "Call-ID"], do: assert(reason =~ name)
      refute reason =~ "CSeq"
      refute reason =~ "Via"
    end
  end

  describe "RFC4475§3.3.2 Request-URI with Unknown Scheme" do
    @tag fixture: "rfc4475/unkscm"
    test "unkscm: what follows the scheme is opaque", %{parsed: {:ok, message}} do
      uri = message.start_line.request_uri
      assert uri == %URI{scheme: "nobodyknowsthisscheme", authority: "totallyopaquecontent"}
      assert Message.validate(message) == :ok
    end
  end

  describe "RFC4475§3.3.3 Request-URI with Known but Atypical Scheme" do
    @tag fixture: "rfc4475/novelsc"
    test "novelsc: a scheme may hold a dot", %{raw: raw, parsed: {:ok, message}} do
      uri = message.start_line.request_uri
      assert uri == %URI{scheme: "soap.beep", authority: "//192.0.2.103:3002"}
      assert raw =~ " #{uri} SIP/2.0"
      assert Message.validate(message) == :ok
    end
  end

  describe "RFC4475§3.3.4 Unknown URI Schemes in Header Fields" do
    @tag fixture: "rfc4475/unksm2"
    test "unksm2: three URIs that are not SIP's", %{parsed: {:ok, message}} do
      isbn = %URI{scheme: "isbn", authority: "2983792873"}
      http = %URI{scheme: "http", authority: "//www.example.com"}
      name = %URI{scheme: "name", authority: "John_Smith"}

      assert message.headers.to == {"", isbn, %{}}
      assert message.headers.from == {"", http, %{"tag" => "3234233"}}
      assert message.headers.contact == [{"", name, %{}}]
      assert Message.validate(message) == :ok
    end
  end

  describe "RFC4475§3.3.5 Proxy-Require and Require" do
    @tag fixture: "rfc4475/bext01"
    test "bext01: option tags keep their letter case", %{parsed: {:ok, message}} do
      assert message.headers.require == ["nothingSupportsThis", "nothingSupportsThisEither"]

      assert message.headers.proxy_require == [
               "noProxiesSupportThis",
               "norDoAnyProxiesSupportThis"
             ]

      assert [{_, :tls, {"fold-and-staple.example.com", 5061}, _}] = message.headers.via
      assert Message.validate(message) == :ok
    end
  end

  describe "RFC4475§3.3.6 Unknown Content-Type" do
    @tag fixture: "rfc4475/invut"
    test "invut: the body is opaque", %{parsed: {:ok, message}} do
      assert message.headers.content_type == {{"application", "unknownformat"}, %{}}
      assert message.body == "<audio>\r\n <pcmu port=\"443\"/>\r\n</audio>\r\n"
      assert byte_size(message.body) == 40
      assert Message.validate(message) == :ok
    end
  end

  describe "RFC4475§3.3.7 Unknown Authorization Scheme" do
    @tag fixture: "rfc4475/regaut01"
    test "regaut01: an unknown scheme is readable", %{parsed: {:ok, message}} do
      assert message.headers.authorization == [
               {"NoOneKnowsThisScheme", %{"opaque-data" => "here"}}
             ]

      assert message.headers.content_length == 0

      assert Message.to_string(message) =~
               ~s(\r\nAuthorization: NoOneKnowsThisScheme opaque-data="here"\r\n)
    end
  end

  describe "RFC4475§3.3.8 Multiple Values in Single Value Required Fields" do
    # The headers are judged in the order in which they first stand; Max-Forwards is the first that repeats.
    @tag fixture: "rfc4475/multi01"
    test "multi01: refused at the repetition", %{parsed: parsed} do
      assert {:error, %ParseError{reason: :repeated_header, header: "Max-Forwards", line: 16}} =
               parsed
    end

    @tag fixture: "rfc4475/multi01"
    test "multi01: each of the five is enough, and Contact is none of them", %{raw: raw} do
      second = [
        "CSeq: 59 INVITE\r\n",
        "Call-ID: multi01.98asdh@192.0.2.2\r\n",
        "To: sip:other@example.net\r\n",
        "From: sip:caller@example.net;tag=2923420123\r\n",
        "Max-Forwards: 5\r\n"
      ]

      without = fn lines -> Enum.reduce(lines, raw, &String.replace(&2, &1, "")) end

      assert {:ok, message} = Message.parse(without.(second))
      assert [{"", one, _}, {"", two, _}] = message.headers.contact
      assert {one.host, two.host} == {"host25.example.net", "host36.example.net"}
      assert byte_size(message.body) == 154

      for line <- second do
        [name, _value] = String.split(line, ":", parts: 2)

        assert {:error, %ParseError{reason: :repeated_header, header: ^name}} =
                 Message.parse(without.(second -- [line]))
      end
    end
  end

  describe "RFC4475§3.3.9 Multiple Content-Length Values" do
    @tag fixture: "rfc4475/mcl01"
    test "mcl01: neither the first nor the last wins", %{raw: raw, parsed: parsed} do
      assert {:error, %ParseError{reason: :repeated_header, header: "Content-Length", line: 9}} =
               parsed

      assert {:error, %ParseError{reason: :repeated_header}} = Message.split(raw)
    end
  end

  describe "RFC4475§3.3.10 200 OK Response with Broadcast Via Header Field Value" do
    @tag fixture: "rfc4475/bcast"
    test "bcast: the address can be read, to be checked", %{parsed: {:ok, message}} do
      assert for({_, :udp, host_and_port, _} <- message.headers.via, do: host_and_port) ==
               [{"192.0.2.198", 5060}, {"255.255.255.255", 5060}]

      assert byte_size(message.body) == 154
      assert Message.validate(message) == :ok
    end
  end

  describe "RFC4475§3.3.11 Max-Forwards of Zero" do
    @tag fixture: "rfc4475/zeromf"
    test "zeromf: 0 is a value", %{parsed: {:ok, message}} do
      assert message.headers.max_forwards == 0
      assert Message.validate(message) == :ok
    end
  end

  describe "RFC4475§3.3.12 REGISTER with a Contact Header Parameter" do
    @tag fixture: "rfc4475/cparam01"
    test "cparam01: without brackets the parameter is the header's", %{parsed: {:ok, message}} do
      assert [{"", uri, %{"unknownparam" => ""}}] = message.headers.contact
      assert %URI{userinfo: "+19725552222", host: "gw1.example.net", parameters: nil} = uri
      assert Message.to_string(message) =~ "<sip:+19725552222@gw1.example.net>;unknownparam\r\n"
    end
  end

  describe "RFC4475§3.3.13 REGISTER with a url-parameter" do
    @tag fixture: "rfc4475/cparam02"
    test "cparam02: inside brackets it is the URI's", %{parsed: {:ok, message}} do
      assert [{"", %URI{parameters: ";unknownparam"} = uri, no_params}] = message.headers.contact
      assert %URI{userinfo: "+19725552222", host: "gw1.example.net"} = uri
      assert no_params == %{}
      assert Message.to_string(message) =~ "<sip:+19725552222@gw1.example.net;unknownparam>\r\n"
    end
  end

  describe "RFC4475§3.3.14 REGISTER with a URL Escaped Header" do
    @tag fixture: "rfc4475/regescrt"
    test "regescrt: the escaped Route stays in the Contact", %{parsed: {:ok, message}} do
      assert [{"", %URI{headers: headers}, _}] = message.headers.contact
      assert URI.decode_headers(headers) == %{"Route" => "<sip:sip.example.com>"}
      refute Map.has_key?(message.headers, :route)

      assert Message.to_string(message) =~
               "\r\nContact: <sip:user@example.com?Route=%3Csip:sip.example.com%3E>\r\n"

      assert Message.validate(message) == :ok
    end
  end

  describe "RFC4475§3.3.15 Unacceptable Accept Offering" do
    @tag fixture: "rfc4475/sdp01"
    test "sdp01: parses", %{parsed: {:ok, message}} do
      # RFC3261§7.3.1 - media types are compared without letter case, so they are kept in lower case.
      assert message.headers.accept == [{{"text", "nobodyknowsthis"}, %{}}]
      assert byte_size(message.body) == 150
      assert Message.validate(message) == :ok
    end
  end

  describe "RFC4475§3.4.1 INVITE with RFC 2543 Syntax" do
    @tag fixture: "rfc4475/inv2543"
    test "inv2543: a datagram's body runs to its end", %{parsed: {:ok, message}} do
      assert message.headers.via == [{{2, 0}, :udp, {"iftgw.example.com", 5060}, %{}}]

      assert {"", %URI{userinfo: "+13035551111", parameters: ";user=phone"}, no_tag} =
               message.headers.from

      assert no_tag == %{}
      assert {"", %URI{parameters: nil}, %{"user" => "phone"}} = message.headers.to

      assert [{"", %URI{userinfo: "UserB", parameters: ";maddr=ss1.example.com"}, _}] =
               message.headers.record_route

      refute Map.has_key?(message.headers, :content_length)
      refute Map.has_key?(message.headers, :max_forwards)
      assert byte_size(message.body) == 105
      assert Message.validate(message) == :ok
    end

    @tag fixture: "rfc4475/inv2543"
    test "inv2543: a stream can't frame it", %{raw: raw} do
      assert {:error, %ParseError{reason: :missing_content_length}} = Message.split(raw)
    end
  end

  test "every message of sections 3.2 to 3.4 has its test" do
    listed = for section <- ["3.2.", "3.3.", "3.4."], do: Corpus.listed("rfc4475", section)
    assert length(List.flatten(listed)) == 17
    assert List.flatten(listed) -- Corpus.tagged(__MODULE__) == []
  end

  test "no file of the archive is left out" do
    listed = Corpus.listed("rfc4475", "3.")
    files = for {name, _} <- Corpus.fixtures("rfc4475"), do: "rfc4475/#{name}"
    assert Enum.sort(listed) == files
    assert length(files) == 49
  end
end
