defmodule Sippet.RFC4475.ValidTest do
  use ExUnit.Case, async: true

  import Sippet.Corpus, only: [read: 1]

  alias Sippet.Corpus
  alias Sippet.Message
  alias Sippet.Message.RequestLine
  alias Sippet.Message.StatusLine
  alias Sippet.URI

  @sdp {{"application", "sdp"}, %{}}

  setup :read

  describe "RFC4475§3.1.1.1 A Short Tortuous INVITE" do
    @tag fixture: "rfc4475/wsinv"
    test "wsinv: the start line, and values across folds and odd spellings", %{
      parsed: {:ok, message}
    } do
      assert %RequestLine{method: :invite, version: {2, 0}, request_uri: uri} = message.start_line
      assert %URI{userinfo: "vivekg", host: "chair-dnrc.example.com"} = uri
      assert uri.parameters == ";unknownparam"

      assert {"", %URI{userinfo: "vivekg"}, %{"tag" => "1918181833n"}} = message.headers.to
      assert {"J Rosenberg \\\"", from, %{"tag" => "98asjd8"}} = message.headers.from
      assert %URI{scheme: "sip", userinfo: "jdrosen", host: "example.com", port: 5060} = from

      assert message.headers.max_forwards == 68
      assert message.headers.cseq == {9, :invite}
      assert message.headers.call_id == "wsinv.ndaksdj@192.0.2.1"
      assert message.headers.subject == ""
      assert message.headers.content_type == @sdp
      assert message.headers.content_length == 150
      assert byte_size(message.body) == 150
      assert Message.validate(message) == :ok
    end

    @tag fixture: "rfc4475/wsinv"
    test "wsinv: three Vias under two names, across comma and line", %{parsed: {:ok, message}} do
      assert message.headers.via == [
               {{2, 0}, :udp, {"192.0.2.2", 5060}, %{"branch" => "390skdjuw"}},
               {{2, 0}, :tcp, {"spindle.example.com", 5060}, %{"branch" => "z9hG4bK9ikj8"}},
               {{2, 0}, :udp, {"192.168.255.111", 5060}, %{"branch" => "z9hG4bK30239"}}
             ]
    end

    @tag fixture: "rfc4475/wsinv"
    test "wsinv: Route, Contact and the two unknown headers", %{parsed: {:ok, message}} do
      assert [{"", %URI{host: "services.example.com"} = route, no_params}] = message.headers.route
      assert no_params == %{}
      assert route.parameters == ";lr;unknownwith=value;unknown-no-value"

      assert [{"Quoted string \"\"", %URI{userinfo: "jdrosen"}, params}] = message.headers.contact
      assert params == %{"newparam" => "newvalue", "secondparam" => "", "q" => "0.33"}

      assert message.headers["NewFangledHeader"] == [
               "newfangled value continued newfangled value"
             ]

      assert message.headers["UnknownHeaderWithUnusualValue"] == [";;,,;;,;"]
      assert Message.to_string(message) =~ "\r\nUnknownHeaderWithUnusualValue: ;;,,;;,;\r\n"
    end
  end

  describe "RFC4475§3.1.1.2 Wide Range of Valid Characters" do
    @method "!interesting-Method0123456789_*+`.%indeed'~"

    @tag fixture: "rfc4475/intmeth"
    test "intmeth: every octet of method, Request-URI and CSeq is kept", %{parsed: {:ok, message}} do
      assert %RequestLine{method: @method, request_uri: uri} = message.start_line

      assert uri.userinfo ==
               "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:" <>
                 "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"

      assert %URI{host: "example.com", port: 5060, parameters: nil, headers: nil} = uri
      assert message.headers.cseq == {139_122_385, @method}
      assert message.headers.max_forwards == 255
      assert Message.validate(message) == :ok
    end

    @tag fixture: "rfc4475/intmeth"
    test "intmeth: display names, parameters, Call-ID and the unknown header", context do
      {:ok, message} = context.parsed
      assert {"BEL:\a NUL:\0 DEL:\d", %URI{} = to, no_params} = message.headers.to
      assert no_params == %{}
      assert to.userinfo == "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"

      assert {"token1~` token2'+_ token3*%!.-", %URI{userinfo: "mundane"}, params} =
               message.headers.from

      assert params == %{"fromparam''~+*_!.-%" => "работающий", "tag" => "_token~1'+`*%!-."}
      assert message.headers.call_id == ~S|intmeth.word%ZK-!.*_+'@word`~)(><:\/"][?}{|

      branch = %{"branch" => "z9hG4bK-.!%66*_+`'~"}
      assert message.headers.via == [{{2, 0}, :tcp, {"host1.example.com", 5060}, branch}]

      # RFC4475§3.1.1.2 - the value starts with a byte order mark, which is part of it.
      assert message.headers["ExtensionHeader-!.%*+_`'~"] == [<<0xEF, 0xBB, 0xBF>> <> "大停電"]
    end

    @tag fixture: "rfc4475-extra/intmeth-IN56ITE"
    test "an escape in a method is no INVITE", %{parsed: {:ok, message}} do
      assert message.start_line.method == "IN%56ITE"
      assert {_number, "IN%56ITE"} = message.headers.cseq
      assert Message.validate(message) == :ok
    end
  end

  describe "RFC4475§3.1.1.3 Valid Use of the % Escaping Mechanism" do
    @tag fixture: "rfc4475/esc01"
    test "esc01: escapes stay as written and are taken off once", %{parsed: {:ok, message}} do
      assert %URI{userinfo: "sips%3Auser%40example.com", host: "example.net"} =
               message.start_line.request_uri

      assert URI.percent_unescape("sips%3Auser%40example.com") == "sips:user@example.com"

      assert {"", %URI{} = to, _} = message.headers.to
      assert URI.percent_unescape(to.userinfo) == "user"
      assert {"", %URI{} = from, %{"tag" => "938"}} = message.headers.from
      assert URI.percent_unescape(from.userinfo) == "I have spaces"

      assert message.headers.call_id == "esc01.239409asdfakjkn23onasd0-3234"
      assert message.headers.content_type == @sdp
      assert byte_size(message.body) == 150
      assert Message.validate(message) == :ok
    end

    @tag fixture: "rfc4475/esc01"
    test "esc01: escaped parameters of the Contact URI", %{parsed: {:ok, message}} do
      assert [{"", %URI{} = contact, _}] = message.headers.contact
      assert contact.parameters == ";%6C%72;n%61me=v%61lue%25%34%31"
      assert %{"lr" => _, "name" => "value%41"} = URI.decode_parameters(contact.parameters)

      once = URI.parse!("sip:caller@host5.example.net;lr;name=value%2541")
      twice = URI.parse!("sip:caller@host5.example.net;lr;name=valueA")
      assert URI.equivalent(contact, once)
      refute URI.equivalent(contact, twice)
    end
  end

  describe "RFC4475§3.1.1.4 Escaped Nulls in URIs" do
    @tag fixture: "rfc4475/escnull"
    test "escnull: an escaped NUL ends no user part", %{parsed: {:ok, message}} do
      assert message.start_line.method == :register
      assert {"", %URI{userinfo: "null-%00-null"} = to, _} = message.headers.to
      assert URI.percent_unescape(to.userinfo) == "null-\0-null"

      assert [{"", %URI{} = one, _}, {"", %URI{} = two, _}] = message.headers.contact
      assert URI.percent_unescape(one.userinfo) == <<0>>
      assert URI.percent_unescape(two.userinfo) == <<0, 0>>
      refute URI.equivalent(one, two)

      assert message.headers.content_length == 0
      assert message.body == ""
      assert Message.validate(message) == :ok
    end
  end

  describe "RFC4475§3.1.1.5 Use of % When It Is Not an Escape" do
    @tag fixture: "rfc4475/esc02"
    test "esc02: outside URIs a % is a %", %{parsed: {:ok, message}} do
      assert message.start_line.method == "RE%47IST%45R"
      assert message.headers.cseq == {29_344, "RE%47IST%45R"}
      assert {"%Z%45", %URI{userinfo: "resource"}, _} = message.headers.to

      assert {"%Z%45", %URI{userinfo: "resource"}, %{"tag" => "f232jadfj23"}} =
               message.headers.from

      assert [{_, :tcp, _, %{"branch" => "z9hG4bK209%fzsnel234"}}] = message.headers.via

      assert [{"", %URI{userinfo: "alias1"}, _}, {"", %URI{userinfo: "alias3"}, _}] =
               message.headers.contact

      assert message.headers["C%6Fntact"] == ["<sip:alias2@host2.example.com>"]
      assert Message.validate(message) == :ok
    end
  end

  describe "RFC4475§3.1.1.6 Message with No LWS between Display Name and <" do
    @tag fixture: "rfc4475/lwsdisp"
    test "lwsdisp: the display name ends at the bracket", %{parsed: {:ok, message}} do
      assert {"caller", %URI{userinfo: "caller", host: "example.com"}, %{"tag" => "323"}} =
               message.headers.from

      assert Message.validate(message) == :ok
    end
  end

  describe "RFC4475§3.1.1.7 Long Values in Header Fields" do
    @tag fixture: "rfc4475/longreq"
    test "longreq: no value is cut", %{raw: raw, parsed: {:ok, message}} do
      assert {display, %URI{host: "example.com", port: 6000} = to, _} = message.headers.to

      assert display ==
               "I have a user name of #{String.duplicate("extreme", 10)} proportion"

      assert map_size(URI.decode_parameters(to.parameters)) == 3

      assert {"", %URI{host: "example.net"}, %{"tag" => tag} = params} = message.headers.from
      assert tag == "12" <> String.duplicate("982", 50) <> "424"
      assert byte_size(tag) == 155
      assert map_size(params) == 3

      unknown = "Unknown-#{String.duplicate("Long", 20)}-Name"
      assert [value] = message.headers[unknown]
      assert raw =~ "\r\n#{unknown}: #{value}\r\n"
      assert raw =~ "\r\nCall-ID: #{message.headers.call_id}\r\n"
      assert byte_size(message.body) == 150
      assert Message.validate(message) == :ok
    end

    @tag fixture: "rfc4475/longreq"
    test "longreq: 34 Vias in order, whatever their name looks like", %{raw: raw, parsed: parsed} do
      {:ok, message} = parsed
      assert length(message.headers.via) == 34
      assert for({_, :tcp, {host, 5060}, _} <- message.headers.via, do: host) == longreq_hosts()

      assert {_, _, _, %{"received" => "192.0.2.5", "branch" => branch}} =
               List.last(message.headers.via)

      assert branch == "very" <> String.duplicate("long", 50) <> "branchvalue"
      assert raw =~ ";branch=#{branch}\r\n"
    end
  end

  describe "RFC4475§3.1.1.8 Extra Trailing Octets in a UDP Datagram" do
    @tag fixture: "rfc4475/dblreq"
    test "dblreq: a datagram is one message, what follows is dropped", %{raw: raw, parsed: parsed} do
      assert_lone_register(parsed)
      assert parsed == Message.parse(binary_part(raw, 0, byte_size(raw) - 450))
    end

    @tag fixture: "rfc4475/dblreq"
    test "dblreq: a stream has two messages", %{raw: raw} do
      assert {:ok, [register, invite], rest, _resume} = Message.split(raw)
      assert_lone_register(Message.parse(register))
      assert {:ok, message} = Message.parse(invite)
      assert message.headers.cseq == {8, :invite}
      assert byte_size(message.body) == 150
      # What is wrong with the session description is no concern of SIP.
      assert message.body =~ "\r\nm =video 3227 RTP/AVP 31\r\n"
      # The body is three octets longer than its Content-Length.
      assert rest == "C\r\n\r\n"
    end

    @tag fixture: "rfc4475-extra/dblreq-as-printed"
    test "dblreq as printed: a line end less", %{raw: raw, parsed: parsed} do
      assert_lone_register(parsed)
      assert parsed == Message.parse(binary_part(raw, 0, byte_size(raw) - 446))
    end

    @tag fixture: "rfc4475-extra/dblreq-no-extra"
    test "dblreq alone is the same message", %{parsed: parsed} do
      assert_lone_register(parsed)
      assert parsed == Message.parse(Corpus.fixture!("rfc4475/dblreq"))
    end
  end

  describe "RFC4475§3.1.1.9 Semicolon-Separated Parameters in URI User Part" do
    @tag fixture: "rfc4475/semiuri"
    test "semiuri: the user part keeps its semicolon", %{parsed: {:ok, message}} do
      assert %URI{userinfo: "user;par=u%40example.net", host: "example.com", parameters: nil} =
               message.start_line.request_uri

      assert URI.percent_unescape(message.start_line.request_uri.userinfo) ==
               "user;par=u@example.net"

      assert message.headers.accept == [
               {{"application", "sdp"}, %{}},
               {{"application", "pkcs7-mime"}, %{}},
               {{"multipart", "mixed"}, %{}},
               {{"multipart", "signed"}, %{}},
               {{"message", "sip"}, %{}},
               {{"message", "sipfrag"}, %{}}
             ]

      assert Message.validate(message) == :ok
    end
  end

  describe "RFC4475§3.1.1.10 Varied and Unknown Transport Types" do
    @tag fixture: "rfc4475/transports"
    test "transports: a known one is an atom, any other stays text", %{parsed: {:ok, message}} do
      assert for(
               {_, protocol, host_and_port, _} <- message.headers.via,
               do: {protocol, host_and_port}
             ) ==
               [
                 udp: {"t1.example.com", 5060},
                 sctp: {"t2.example.com", 5060},
                 tls: {"t3.example.com", 5061}
               ] ++ [{"UNKNOWN", {"t4.example.com", 0}}, {:tcp, {"t5.example.com", 5060}}]

      assert Message.validate(message) == :ok
    end
  end

  describe "RFC4475§3.1.1.11 Multipart MIME Message" do
    @tag fixture: "rfc4475/mpart01"
    test "mpart01: a binary body is cut by its length", %{parsed: {:ok, message}} do
      assert message.start_line.method == :message
      assert byte_size(message.body) == 553

      assert {{"multipart", "mixed"}, %{"boundary" => boundary}} = message.headers.content_type
      assert boundary == "7a9cbec02ceef655"

      assert ["", text, der, "--\r\n"] = :binary.split(message.body, "--" <> boundary, [:global])
      assert [_, "Hello\r\n"] = :binary.split(text, "\r\n\r\n")
      assert [_, octets] = :binary.split(der, "\r\n\r\n")
      assert byte_size(octets) - byte_size("\r\n") == 342
      assert octets =~ <<0>>
      assert Message.validate(message) == :ok
    end

    @tag fixture: "rfc4475/mpart01"
    test "mpart01: its headers", %{raw: raw, parsed: {:ok, message}} do
      assert [{{2, 0}, :udp, {"127.0.0.1", 5070}, %{"rport" => ""}}] = message.headers.via
      assert [{"", %URI{host: "127.0.0.1", port: 5080}, _}] = message.headers.route
      assert message.headers.date == ~N[2005-10-15 04:44:56]
      assert message.headers.user_agent == "SIPimp.org/0.2.5 (curses)"
      assert message.headers["Content-Transfer-Encoding"] == ["binary"]

      assert [identity] = message.headers["Identity"]
      assert raw =~ "\r\nIdentity: #{identity}\r\n"
      assert Message.to_string(message) =~ "\r\nIdentity: #{identity}\r\n"
    end
  end

  describe "RFC4475§3.1.1.12 Unusual Reason Phrase" do
    @tag fixture: "rfc4475/unreason"
    test "unreason: the phrase is free text", %{raw: raw, parsed: {:ok, message}} do
      assert %StatusLine{status_code: 200, version: {2, 0}, reason_phrase: reason} =
               message.start_line

      assert reason == "= 2**3 * 5**2 но сто девяносто девять - простое"
      assert byte_size(message.body) == 154
      assert String.starts_with?(raw, StatusLine.to_string(message.start_line) <> "\r\n")
      assert Message.validate(message) == :ok
    end
  end

  describe "RFC4475§3.1.1.13 Empty Reason Phrase" do
    @tag fixture: "rfc4475/noreason"
    test "noreason: the blank after the code ends the code", %{parsed: {:ok, message}} do
      assert %StatusLine{status_code: 100, reason_phrase: ""} = message.start_line
      assert Message.validate(message) == :ok
    end

    # RFC4475§3.1.1.13 - "could be rejected as invalid (a liberal receiver would accept it anyway)"
    @tag fixture: "rfc4475-extra/noreason-no-space"
    test "noreason without the blank is accepted, and printed with it", %{parsed: {:ok, message}} do
      assert %StatusLine{status_code: 100, reason_phrase: ""} = message.start_line
      assert String.starts_with?(Message.to_string(message), "SIP/2.0 100 \r\n")
    end
  end

  test "every message of section 3.1.1 has its test" do
    listed = Corpus.listed("rfc4475", "3.1.1.")
    assert length(listed) == 13
    assert listed -- Corpus.tagged(__MODULE__) == []
  end

  test "every variant of one of them has its test" do
    variants =
      for {name, _} <- Corpus.fixtures("rfc4475-extra"),
          String.starts_with?(name, ["dblreq-", "intmeth-", "noreason-"]),
          do: "rfc4475-extra/#{name}"

    assert length(variants) == 4
    assert variants -- Corpus.tagged(__MODULE__) == []
  end

  defp assert_lone_register({:ok, message}) do
    assert message.start_line.method == :register
    assert message.headers.call_id == "dblreq.0ha0isndaksdj99sdfafnl3lk233412"
    assert message.headers.content_length == 0
    assert message.body == ""
    assert Message.validate(message) == :ok
  end

  defp longreq_hosts,
    do: Enum.map(33..1//-1, &"sip#{&1}.example.com") ++ ["host.example.com"]
end
