defmodule Sippet.Corpus.FieldTest do
  use ExUnit.Case, async: true

  # Messages rebuilt from public reports of other stacks' users. Each has one oddity that some stack refused or
  # misread; here each is read, the value in question is right, and it leaves as it came.

  alias Sippet.Corpus
  alias Sippet.Headers
  alias Sippet.Message
  alias Sippet.URI

  setup context do
    case context do
      %{fixture: name} -> read(name)
      _none -> :ok
    end
  end

  defp read(name) do
    message = Message.parse!(Corpus.fixture!(name))
    assert Message.validate(message) == :ok
    printed = Message.to_string(message)
    # RFC3261§20.14 - each has a Content-Length and no body, so that the same term is read back.
    assert Message.parse!(printed) == message
    %{headers: message.headers, message: message, printed: printed}
  end

  describe "RFC3261§25.1 user" do
    @tag fixture: "field/c01-teams-hash-ruri"
    test "a # in the Request-URI and in To", %{message: message, printed: printed} do
      uri = message.start_line.request_uri
      assert %URI{scheme: "sip", userinfo: "#123", host: "sbc.example.com", port: 5081} = uri
      assert uri.parameters == ";user=phone;transport=tls"
      assert {"", %URI{userinfo: "#123", host: "sbc.example.com"}, %{}} = message.headers.to

      assert {"Carol", %URI{userinfo: "+15550100"}, %{"tag" => "1c2066"}} = message.headers.from

      assert printed =~
               "INVITE sip:#123@sbc.example.com:5081;user=phone;transport=tls SIP/2.0\r\n"

      assert printed =~ "\r\nTo: <sip:#123@sbc.example.com:5081;user=phone>\r\n"
    end

    @tag fixture: "field/c03-contact-hash-200"
    test "a # in a Contact, and in a header that is no part of the table", context do
      assert [{"", %URI{userinfo: "*#9240", host: "192.0.2.155"}, params}] =
               context.headers.contact

      assert params == %{}
      assert [{"", %URI{userinfo: "rE+E+4LTPqFh9AXAqA=="}, %{}}] = context.headers.record_route

      assert context.printed =~ "\r\nContact: <sip:*#9240@192.0.2.155:5060;transport=udp>\r\n"

      assert context.headers["Remote-Party-ID"] ==
               [~S("*#9240" <sip:*#9240@pbx.example.com>;party=calling;privacy=off;screen=no)]
    end
  end

  describe "RFC3261§20.10 Contact" do
    @tag fixture: "field/c04-register-200-one-bad-contact"
    test "one that can't be read among others", %{headers: headers, printed: printed} do
      refute Map.has_key?(headers, :contact)

      bad = "<sip:alice@192.0.2.11:5060transport=udp>;expires=3600"
      lines = headers["Contact"]
      assert lines == ["<sip:alice@192.0.2.10:5060>;expires=600,#{bad}", contact(12)]
      for line <- lines, do: assert(printed =~ "\r\nContact: #{line}\r\n")

      assert {good, [{^bad, %{reason: :invalid_header, header: "Contact"}}]} =
               Headers.parse_each("Contact", lines)

      assert [{"", %URI{host: "192.0.2.10"}, first}, {"", %URI{host: "192.0.2.12"}, last}] = good
      assert {first, last} == {%{"expires" => "600"}, %{"expires" => "60"}}
    end

    @tag fixture: "field/c05-contact-thinfo-quoted"
    test "a quoted string as the value of a URI parameter", context do
      assert [{"", uri, params}] = context.headers.contact
      assert params == %{}
      assert {uri.host, uri.port} == {"2001:db8:0:0:0:0:0:1", 8061}

      thinfo = ~S(;thinfo="U2h5YhUORg5uUBNZW1dIUAQadlZjRlFWUV0DBA==")
      assert uri.parameters == ";transport=wss" <> thinfo
      address = "<sip:[2001:db8:0:0:0:0:0:1]:8061;transport=wss#{thinfo}>"
      assert context.printed =~ "\r\nContact: #{address}\r\n"
    end
  end

  describe "RFC3261§20.42 Via" do
    @tag fixture: "field/c11-via-dup-param-lower"
    test "rport twice in a lower one: the last counts, and it goes on once", context do
      assert [{_, :udp, {"192.0.2.1", 5060}, top}, {_, :udp, {"192.0.2.8", 5060}, lower}] =
               context.headers.via

      assert top == %{"branch" => "z9hG4bK80"}

      assert lower == %{"branch" => "z9hG4bK81", "received" => "192.0.2.7", "rport" => "5060"}

      assert length(Regex.scan(~r/;rport/, context.printed)) == 1
    end

    @tag fixture: "field/c31-branch-tag-not-token"
    test "a branch and a tag that are no tokens leave as they came", context do
      assert [{_, _, _, %{"branch" => "z9hG4bK7:4f/1"}}] = context.headers.via
      assert {_, _, %{"tag" => "192.0.2.1:5060/17"}} = context.headers.from
      assert context.printed =~ ~r/\r\nVia: [^\r]*;branch=z9hG4bK7:4f\/1\r\n/
      assert context.printed =~ "\r\nFrom: <sip:1000@example.com>;tag=192.0.2.1:5060/17\r\n"

      response = Message.to_string(Message.to_response(context.message, 200))
      assert response =~ ";branch=z9hG4bK7:4f/1"
      assert response =~ ";tag=192.0.2.1:5060/17\r\n"
    end
  end

  describe "RFC3261§20.30, §20.34 Record-Route and Route" do
    @tag fixture: "field/c13-clearwater-record-route"
    test "without brackets: the parameters are the URI's, and a response copies them", context do
      routes = [
        {"2x1mBRkkY9", "192.0.2.144", 5062, ";transport=WS;lr"},
        {nil, "192.0.2.144", 5058, ";transport=TCP;lr"},
        {nil, "scscf.192.0.2.144", 5054,
         ";transport=tcp;lr;service=scscf;billing-role=charge-term"}
      ]

      assert routes(context.headers.record_route) == routes
      assert [{_, :ws, {_, 5062}, _}, {_, :tcp, {_, 52_426}, _}] = context.headers.via

      response = Message.to_response(context.message, 200)
      assert response.headers.record_route == context.headers.record_route
      assert Message.to_string(response) =~ "<sip:192.0.2.144:5058;transport=TCP;lr>"
    end

    @tag fixture: "field/c14-route-nobr"
    test "a Route without brackets has its lr", %{headers: headers, printed: printed} do
      assert routes(headers.route) == [{nil, "192.0.2.144", 5058, ";transport=TCP;lr"}]
      assert printed =~ "\r\nRoute: <sip:192.0.2.144:5058;transport=TCP;lr>\r\n"
    end
  end

  describe "RFC3515§2.1 Refer-To" do
    @tag fixture: "field/c16-refer-to-raw-at"
    test "a raw @ among the headers of its URI", %{headers: headers, printed: printed} do
      [line] = headers["Refer-To"]
      assert {:ok, {"", uri, params}} = Headers.parse("Refer-To", line)
      assert params == %{}
      assert {uri.userinfo, uri.host, uri.parameters} == {"dave", "denver.example.org", nil}

      assert URI.decode_headers(uri.headers) == %{
               "Replaces" => "12345@192.0.2.3;to-tag=12345;from-tag=5FFE-3994"
             }

      assert printed =~ "\r\nRefer-To: #{line}\r\n"
    end

    @tag fixture: "field/c19-refer-to-nobr-method-headers"
    test "without brackets: its headers are the URI's, and in no parameter", context do
      [line] = context.headers["Refer-To"]
      assert {:ok, {"", uri, params}} = Headers.parse("Refer-To", line)
      assert {uri.userinfo, uri.host, uri.port} == {"brendan", "192.0.2.1", 5060}

      # RFC3261§20 - a URI with a "?" stands in brackets: all of this would be within them.
      assert {uri.parameters, params} == {";method=INVITE", %{}}

      assert URI.decode_headers(uri.headers) == %{
               "Replaces" => "mDgBcHe5np;from-tag=xsdZ;to-tag=qWep",
               "Require" => "replaces"
             }

      assert context.printed =~ "\r\nRefer-To: #{line}\r\n"
    end
  end

  describe "RFC3261§20.8 Call-ID" do
    @tag fixture: "field/c24-call-id-hash-dollar"
    test "of any visible octets", %{headers: headers, printed: printed} do
      assert headers.call_id == "7f#2a$91@192.0.2.200"
      assert printed =~ "\r\nCall-ID: 7f#2a$91@192.0.2.200\r\n"
    end
  end

  describe "RFC3261§20.44 WWW-Authenticate" do
    @tag fixture: "field/c28-auth-unknown-quoted-param"
    test "a parameter that nobody registered keeps its quotes", context do
      assert context.headers.www_authenticate == [
               {"Digest",
                %{
                  "realm" => "example.com",
                  "nonce" => "n",
                  "qop" => "auth",
                  "x-info" => "gold",
                  "algorithm" => "MD5"
                }}
             ]

      assert [line] = Regex.run(~r/\r\nWWW-Authenticate: [^\r]*/, context.printed)

      for part <- [~S(realm="example.com"), ~S(x-info="gold"), ~S(qop="auth"), "algorithm=MD5"],
          do: assert(line =~ part)
    end
  end

  describe "RFC3261§20.37 Supported" do
    @tag fixture: "field/c40-supported-leading-comma"
    test "an empty element in front", %{headers: headers, printed: printed} do
      assert headers.supported == ["outbound"]
      assert headers.reason == [{"SIP", %{"description" => "User Hung Up"}}]
      assert printed =~ "\r\nSupported: outbound\r\n"
    end
  end

  test "each of the 13 has its test" do
    files = for {name, _raw} <- Corpus.fixtures("field"), do: "field/#{name}"
    assert length(files) == 13
    assert files -- Corpus.tagged(__MODULE__) == []
  end

  defp contact(host), do: "<sip:alice@192.0.2.#{host}>;expires=60"

  defp routes(values) do
    for {"", uri, params} <- values do
      assert params == %{}
      {uri.userinfo, uri.host, uri.port, uri.parameters}
    end
  end
end
