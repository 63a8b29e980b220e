defmodule Sippet.URITest do
  use ExUnit.Case, async: true
  doctest Sippet.URI

  alias Sippet.URI

  describe "parse/1" do
    test "gives a URI back as it is" do
      uri = %URI{scheme: "sip", host: "biloxi.com"}
      assert URI.parse(uri) == {:ok, uri}
      assert URI.parse!(uri) == uri
    end

    test "keeps escapes, user parts with separators, and IPv6 addresses without brackets" do
      assert %URI{userinfo: "user;par=u%40example.net", host: "example.com", parameters: nil} =
               URI.parse!("sip:user;par=u%40example.net@example.com")

      assert %URI{host: "2001:db8::10", port: 5070, authority: "[2001:db8::10]:5070"} =
               URI.parse!("sip:[2001:db8::10]:5070")
    end

    test "parse!/1 raises what parse/1 returns" do
      assert {:error, %Sippet.ParseError{} = error} = URI.parse("sip:a b@c")
      assert catch_error(URI.parse!("sip:a b@c")) == error
    end
  end

  describe "to_string/1" do
    for text <- [
          "sip:alice@atlanta.com",
          "sip:alice@atlanta.com:5060",
          "sips:alice@atlanta.com:5061;transport=tcp",
          "sip:atlanta.com;method=REGISTER?to=alice%40atlanta.com",
          "sip:alice:secretword@atlanta.com;transport=tcp",
          "sip:+1-212-555-1212:1234@gateway.com;user=phone",
          "sip:alice;day=tuesday@atlanta.com",
          "sip:[2001:db8::10]:5070",
          "sip:bob@[2001:db8::10]",
          "tel:+358-555-1234567;postd=pp22",
          "urn:service:sos",
          "http://www.example.com/a?b=c",
          "isbn:2983792873",
          "soap.beep://192.0.2.103:3002"
        ] do
      test "prints #{text} as it was parsed" do
        assert unquote(text) |> URI.parse!() |> to_string() == unquote(text)
      end
    end

    test "builds the authority once one of its fields was changed" do
      uri = URI.parse!("sip:alice@atlanta.com:5060;lr")
      assert to_string(%{uri | userinfo: nil}) == "sip:atlanta.com;lr"
      assert to_string(%{uri | userinfo: "bob"}) == "sip:bob@atlanta.com;lr"
      assert to_string(%{uri | host: "biloxi.com"}) == "sip:alice@biloxi.com;lr"
      assert to_string(%{uri | port: 5080}) == "sip:alice@atlanta.com:5080;lr"
      assert to_string(%{uri | port: nil}) == "sip:alice@atlanta.com;lr"
      assert to_string(%{uri | authority: nil}) == "sip:alice@atlanta.com;lr"
      assert to_string(%{uri | host: "::1", port: 0}) == "sip:alice@[::1];lr"
    end

    test "does not take one authority for another" do
      uri = URI.parse!("sip:alice@atlanta.com")
      assert to_string(%{uri | host: "atlanta"}) == "sip:alice@atlanta"
      assert to_string(%{uri | userinfo: "ali"}) == "sip:ali@atlanta.com"
      assert to_string(%{uri | port: 506}) == "sip:alice@atlanta.com:506"
      assert to_string(%{URI.parse!("sip:b:50601") | port: 5060}) == "sip:b"
    end

    test "prints URIs built by hand" do
      assert to_string(%URI{scheme: "foo", host: "bar.baz"}) == "foo:bar.baz"
      assert to_string(%URI{scheme: "sip", host: "b", port: 5060}) == "sip:b"
      assert to_string(%URI{scheme: "sip", host: "b", port: 5061}) == "sip:b:5061"
      assert to_string(%URI{scheme: "sip", authority: "a@b:5060"}) == "sip:a@b:5060"
    end

    test "refuses what would end the URI or the line" do
      uri = URI.parse!("sip:alice@atlanta.com")

      for field <- [:scheme, :userinfo, :host, :parameters, :headers, :authority],
          bad <- ["a\r\nVia: x", "a\0", "a\n", "a>", "<a", "a b"] do
        uri = if field == :authority, do: %URI{scheme: "sip"}, else: uri
        assert_raise ArgumentError, fn -> URI.to_string(Map.put(uri, field, bad)) end
      end
    end
  end

  describe "RFC3261§19.1.4 URI Comparison" do
    for {a, b} <- [
          {"sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"},
          {"sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"},
          {"sip:carol@chicago.com", "sip:carol@chicago.com;security=on"},
          {"sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on"},
          {"sip:carol@chicago.com", "sip:carol@chicago.com;security=off"},
          {"sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
           "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com"},
          {"sip:alice@atlanta.com?subject=project%20x&priority=urgent",
           "sip:alice@atlanta.com?priority=urgent&subject=project%20x"},
          {"SIP:alice@atlanta.com", "sip:alice@atlanta.com"},
          {"sip:alice@atlanta.com;%6C%72", "sip:alice@atlanta.com;lr"},
          {"sip:a@b?s=x", "sip:a@b?Subject=X"},
          {"sip:a@[2001:db8:0:0::1]", "sip:a@[2001:DB8::1]"},
          {"sip:a%2fb@c", "sip:a%2Fb@c"}
        ] do
      test "#{a} equals #{b}" do
        assert equivalent?(unquote(a), unquote(b))
        assert equivalent?(unquote(b), unquote(a))
      end
    end

    for {a, b} <- [
          {"SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"},
          {"sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"},
          {"sip:5060", "sip:5060:5060"},
          {"sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"},
          {"sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"},
          {"sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"},
          {"sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"},
          {"sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"},
          {"sip:bob@biloxi.com", "sips:bob@biloxi.com"},
          {"sip:bob@biloxi.com", "sip:biloxi.com"},
          {"sip:bob@biloxi.com", "sip:bob:secret@biloxi.com"},
          {"sip:biloxi.com", "sip:biloxi.com;user=ip"},
          {"sip:biloxi.com", "sip:biloxi.com;ttl=1"},
          {"sip:biloxi.com", "sip:biloxi.com;method=INVITE"},
          {"sip:biloxi.com", "sip:biloxi.com;maddr=192.0.2.1"},
          {"sip:a%3Ab@c", "sip:a:b@c"},
          {"sip:a@b;name=value%2541", "sip:a@b;name=valueA"},
          {"sip:null-%00-null@b", "sip:null-%00%00-null@b"}
        ] do
      test "#{a} differs from #{b}" do
        refute equivalent?(unquote(a), unquote(b))
        refute equivalent?(unquote(b), unquote(a))
      end
    end

    test "URIs built by hand compare as they print" do
      hand = %URI{scheme: "sip", userinfo: "bob", host: "biloxi.com", port: 5060}
      assert URI.equivalent(hand, URI.parse!("sip:bob@biloxi.com"))
      refute URI.equivalent(hand, URI.parse!("sip:bob@biloxi.com:5060"))
      refute URI.equivalent(%{hand | port: 5062}, URI.parse!("sip:bob@biloxi.com"))

      changed = %{URI.parse!("sip:bob@biloxi.com:5060") | port: nil}
      assert URI.equivalent(changed, URI.parse!("sip:bob@biloxi.com"))

      refute URI.equivalent(
               %URI{scheme: "sip", authority: "a@b"},
               %URI{scheme: "sip", authority: "c@d"}
             )
    end
  end

  describe "RFC3966§4 comparison of tel URIs" do
    test "visual separators and the order of parameters don't count" do
      assert equivalent?("tel:+1-201-555-0123", "tel:+12015550123")
      assert equivalent?("tel:+1(201)555.0123;a=b;c=d", "TEL:+12015550123;C=D;a=b")
    end

    test "numbers and parameters do" do
      refute equivalent?("tel:+12015550123", "tel:12015550123")
      refute equivalent?("tel:7042;phone-context=example.com", "tel:7042")
    end
  end

  test "other URIs are equal when they are written alike" do
    assert equivalent?("urn:service:sos", "URN:service:sos")
    refute equivalent?("urn:service:sos", "urn:service:SOS")
    refute equivalent?("urn:service:sos", "sip:service")
  end

  describe "lazy_equivalent/2" do
    for {a, b} <- [
          {"sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"},
          {"sip:bob@biloxi.com;transport=UDP", "sip:bob@biloxi.com"},
          {"sip:bob@biloxi.com;transport=UDP", "sip:bob@biloxi.com:5060"},
          {"sips:bob@biloxi.com;transport=tls", "sips:bob@biloxi.com:5061"}
        ] do
      test "takes #{a} for #{b}" do
        assert URI.lazy_equivalent(URI.parse!(unquote(a)), URI.parse!(unquote(b)))
      end
    end

    test "is not blind" do
      refute URI.lazy_equivalent(URI.parse!("sip:b"), URI.parse!("sip:b:5061"))
      refute URI.lazy_equivalent(URI.parse!("sip:b"), URI.parse!("sip:b;transport=tcp"))
      refute URI.lazy_equivalent(URI.parse!("sip:b"), URI.parse!("sips:b"))
      refute URI.lazy_equivalent(URI.parse!("sip:b"), URI.parse!("sip:b;user=phone"))
    end
  end

  describe "escapes" do
    test "percent_unescape/1 never fails" do
      assert URI.percent_unescape("%") == "%"
      assert URI.percent_unescape("%%41") == "%A"
      assert URI.percent_unescape("%4G%G4%") == "%4G%G4%"
      assert URI.percent_unescape("%00%ff") == <<0, 255>>
    end

    test "every octet survives encoding and decoding" do
      all = for octet <- 0..255, into: <<>>, do: <<octet>>
      assert URI.decode_parameters(URI.encode_parameters(%{all => all})) == %{all => all}
      assert URI.decode_headers(URI.encode_headers(%{all => all})) == %{all => all}
    end

    test "no pairs are no text" do
      assert URI.encode_parameters(%{}) == ""
      assert URI.encode_headers([]) == ""
      assert URI.decode_parameters("") == %{}
      assert URI.decode_headers(nil) == %{}
    end

    test "lists are refused, and text that starts otherwise" do
      assert_raise ArgumentError, fn -> URI.encode_parameters(%{key: [:a, :list]}) end
      assert_raise ArgumentError, fn -> URI.encode_headers([{~c"key", 1}]) end
      assert_raise ArgumentError, fn -> URI.decode_parameters("a=b") end
      assert_raise ArgumentError, fn -> URI.headers_decoder(";a=b") end
    end

    test "only the first = divides name and value" do
      assert URI.decode_parameters(";a=b=c;;d=") == %{"a" => "b=c", "d" => ""}
    end
  end

  defp equivalent?(a, b), do: URI.equivalent(URI.parse!(a), URI.parse!(b))

  describe "URIs as the field sends them" do
    test "keep a user of any visible octets, and one that is empty" do
      for user <- ["*#100", "a^b", "{a}|`", "é", <<0xE9>>, ""] do
        uri = URI.parse!("sip:" <> user <> "@h;lr")
        assert {uri.userinfo, uri.host, uri.parameters} == {user, "h", ";lr"}
        assert to_string(uri) == "sip:" <> user <> "@h;lr"
        assert URI.equivalent(uri, URI.parse!("sip:" <> URI.encode_userchar(user) <> "@h;lr"))
      end

      for user <- ["a@b", "a<b", "a\"b", "a[b", "a\\b", "a b", "a%zz", "a\d"],
          do: assert({:error, _error} = URI.parse("sip:" <> user <> "@h"))
    end

    test "have parameters in quotes" do
      text = ~S(sip:u@[2001:db8::1]:8061;transport=wss;thinfo="a;b=\"c\"%41=";lr)
      uri = URI.parse!(text)
      assert to_string(uri) == text

      assert URI.decode_parameters(uri.parameters) ==
               %{"transport" => "wss", "thinfo" => ~S(a;b="c"%41=), "lr" => nil}

      bare = URI.parse!(~S(sip:h;transport="tcp"))
      assert URI.equivalent(bare, URI.parse!("sip:h;transport=tcp"))
      refute URI.equivalent(bare, URI.parse!("sip:h"))
    end

    test "whose parameters in quotes are broken raise nothing" do
      for text <- [~S(;a="), ~S(;a="b;c=d), ~S(;a="b\), ~S(;"="), ~S(;a="b"c;d)],
          do: assert(is_map(URI.decode_parameters(text)))
    end

    test "have headers with @ and ; in them" do
      uri = URI.parse!("sip:carol@h;method=INVITE?Replaces=1@pc99;to-tag=1%3Bx&Require=a")

      assert URI.decode_headers(uri.headers) ==
               %{"Replaces" => "1@pc99;to-tag=1;x", "Require" => "a"}

      assert uri.parameters == ";method=INVITE"
    end
  end

  describe "inspect" do
    test "is an expression that makes a URI that was parsed" do
      for text <- [
            "sip:bob@biloxi.com",
            "sips:%62ob:secret@[2001:db8::1]:5061;lr?subject=x",
            "tel:+1-201-555;ext=1",
            "urn:service:sos"
          ] do
        uri = URI.parse!(text)
        refute inspect(uri, pretty: true, width: 20) =~ "\n"
        assert {^uri, []} = Code.eval_string(inspect(uri))
      end
    end

    test "marks a URI that the parser would not make" do
      uri = URI.parse!("sip:bob@biloxi.com")
      assert inspect(%{uri | host: "atlanta.com"}) == "#Sippet.URI<sip:bob@atlanta.com>"
      latin1 = URI.parse!("sip:\xE9@biloxi.com")
      assert inspect(%{latin1 | parameters: ""}) == ~S(#Sippet.URI<sip:\xE9@biloxi.com>)
    end

    test "shows the fields of a URI that can't be printed" do
      assert inspect(%URI{}) == "%Sippet.URI{}"

      assert inspect(%URI{scheme: "sip", host: "a b"}) ==
               ~S(%Sippet.URI{scheme: "sip", host: "a b"})

      assert inspect(%URI{host: {:a, 'b'}, port: "x"}) =~ "host: {:a, "
      assert inspect(%URI{scheme: "sip\xFF\r\n", host: "h"}) =~ ~S(scheme: "sip\xFF\r\n")
      assert inspect(%{__struct__: URI}) == "%Sippet.URI{}"

      assert inspect(Map.put(%URI{host: "a b"}, {:odd, "key"}, 1)) ==
               ~S(%Sippet.URI{host: "a b"})

      # The error shows the URI, and showing it must not print it again.
      message = ~r/got: %Sippet.URI{}/
      assert_raise ArgumentError, message, fn -> to_string(%{__struct__: URI}) end
    end
  end
end
