defmodule Sippet.RFC3261.Section19Test do
  use ExUnit.Case, async: true

  alias Sippet.{Message, URI}
  alias Sippet.Message.Route

  @alphanum Enum.concat([?a..?z, ?A..?Z, ?0..?9])
  @mark ~c"-_.!~*'()"

  # RFC3261§25.1 - what may stand unescaped in each component
  @components [
    {:user, &URI.encode_userchar/1, @alphanum ++ @mark ++ ~c"&=+$,;?/"},
    {:password, &URI.encode_passwordchar/1, @alphanum ++ @mark ++ ~c"&=+$,"},
    {:parameter, &URI.encode_paramchar/1, @alphanum ++ @mark ++ ~c"[]/:&+$"},
    {:header, &URI.encode_hnvchar/1, @alphanum ++ @mark ++ ~c"[]/?:+$"}
  ]

  describe "RFC3261§19.1.1 components" do
    test "an empty user is none" do
      # … and one that somebody else left out is read, and passed on as it came.
      uri = URI.parse!("sip:@h")
      assert {uri.userinfo, uri.host, to_string(uri)} == {"", "h", "sip:@h"}
      assert {:error, _error} = URI.parse("sips::secret@h")

      for userinfo <- ["", ":secret"] do
        uri = %URI{scheme: "sip", userinfo: userinfo, host: "h"}
        assert_raise ArgumentError, fn -> to_string(uri) end
      end
    end

    test "parameters that are not understood change nothing, and stay" do
      plain = Message.build_request(:options, "sip:h:5070;transport=udp")
      more = Message.build_request(:options, "sip:h:5070;x-new=%3B;transport=udp;flag")
      assert Route.hop(more) == Route.hop(plain)
      assert to_string(more.start_line) =~ "sip:h:5070;x-new=%3B;transport=udp;flag"
    end

    test "sips goes by no unreliable transport, whatever its transport parameter says" do
      for transport <- ~w(udp tcp tls sctp x) do
        assert {:tls, "h", 5061} =
                 Route.hop(Message.build_request(:options, "sips:h;transport=#{transport}"))
      end
    end
  end

  describe "RFC3261§19.1.2 escapes" do
    for {component, _encode, _plain} <- @components do
      test "in a #{component}, all but its own characters" do
        {_component, encode, plain} = List.keyfind(components(), unquote(component), 0)

        for octet <- 0..255 do
          expected =
            if octet in plain,
              do: <<octet>>,
              else: "%" <> Base.encode16(<<octet>>)

          assert encode.(<<octet>>) == expected
          assert URI.percent_unescape(expected) == <<octet>>
        end
      end
    end

    defp components, do: @components

    test "any text is read back from the component that it was put in" do
      all = for octet <- 0..255, into: <<>>, do: <<octet>>

      uri = %URI{
        scheme: "sip",
        userinfo: URI.encode_userchar(all) <> ":" <> URI.encode_passwordchar(all),
        host: "biloxi.com",
        parameters: URI.encode_parameters(%{all => all, "lr" => nil}),
        headers: URI.encode_headers(%{all => all})
      }

      read = URI.parse!(to_string(uri))
      assert [user, password] = String.split(read.userinfo, ":")
      assert {URI.percent_unescape(user), URI.percent_unescape(password)} == {all, all}
      assert URI.decode_parameters(read.parameters) == %{all => all, "lr" => nil}
      assert URI.decode_headers(read.headers) == %{all => all}
      assert URI.equivalent(read, uri)
    end

    test "in a host there are none, and none is taken for what it stands for" do
      assert {:error, _error} = URI.parse("sip:b%69loxi.com")
      hand = %URI{scheme: "sip", host: "b%69loxi.com"}
      assert_raise ArgumentError, fn -> to_string(hand) end
    end

    test "characters of a telephone-subscriber that no user may hold are wanted" do
      for text <- ["#31#", "^", "`", "{1}"] do
        hand = %URI{scheme: "sip", userinfo: "+1555;x=" <> text, host: "h"}
        escaped = %{hand | userinfo: "+1555;x=" <> URI.encode_userchar(text)}
        assert to_string(hand) == to_string(escaped)
        assert URI.parse!(to_string(escaped)).userinfo == escaped.userinfo
      end

      for text <- ["a\"b", "a@b", "a b", "<a>", "[a]", "a\\b", "a%4", "a\n", "a\d"] do
        hand = %URI{scheme: "sip", userinfo: "+1555;x=" <> text, host: "h"}
        assert_raise ArgumentError, fn -> to_string(hand) end
      end
    end
  end

  describe "building and updating" do
    @uris [
      "sip:alice@atlanta.com",
      "sip:alice:secretword@atlanta.com;transport=tcp",
      "sips:alice@atlanta.com?subject=project%20x&priority=urgent",
      "sip:+1-212-555-1212:1234@gateway.com;user=phone",
      "sips:1212@gateway.com",
      "sip:alice@192.0.2.4",
      "sip:atlanta.com;method=REGISTER?to=alice%40atlanta.com",
      "sip:alice;day=tuesday@atlanta.com",
      "sip:a%3Ab?c/d@[2001:db8::1]:5070;lr"
    ]

    test "the same parts make the same URI, and each change is read back alone" do
      for text <- @uris do
        uri = URI.parse!(text)
        assert text == to_string(uri)

        assert URI.parse!(to_string(%{uri | authority: nil})) |> Map.delete(:authority) ==
                 Map.delete(uri, :authority)

        for {field, value} <- [
              userinfo: "bob;x=%40",
              userinfo: nil,
              host: "biloxi.com",
              host: "2001:db8::2",
              port: 5082,
              parameters: ";maddr=239.255.255.1;ttl=15",
              parameters: nil,
              headers: "?to=alice%40atlanta.com",
              headers: nil
            ] do
          changed = Map.put(uri, field, value)

          assert Map.delete(URI.parse!(to_string(changed)), :authority) ==
                   Map.delete(changed, :authority)
        end
      end
    end

    test "what would be read as another part is refused" do
      uri = URI.parse!("sip:alice@atlanta.com;lr?subject=x")

      for {field, value} <- [
            userinfo: "a@b",
            userinfo: "a%4",
            userinfo: "a%zz",
            userinfo: "a[b]",
            host: "b;lr",
            host: "b?x",
            host: "a@b",
            parameters: "lr",
            parameters: "?lr",
            headers: "subject=x",
            headers: ";subject=x"
          ] do
        assert_raise ArgumentError, fn -> uri |> Map.put(field, value) |> to_string() end
      end
    end
  end

  describe "RFC3261§19.1.5 a request made from a URI" do
    test "has all its parameters, known or not, in the Request-URI" do
      text = "sip:a@b;transport=tcp;maddr=192.0.2.1;ttl=1;user=phone;x-new=1"

      assert to_string(Message.build_request(:options, text).start_line) ==
               "OPTIONS #{text} SIP/2.0"
    end

    test "is not valid with the parameter method, or with headers" do
      for text <- ["sip:a@b;method=INVITE", "sip:a@b?Subject=x"] do
        request = Message.build_request(:invite, text)

        headers = %{
          via: [{{2, 0}, :udp, {"a", 5060}, %{"branch" => Message.create_branch()}}],
          from: {"", URI.parse!("sip:a@b"), %{"tag" => "1"}},
          to: {"", URI.parse!("sip:a@b"), %{}},
          call_id: "1",
          cseq: {1, :invite}
        }

        assert {:error, "the Request-URI has" <> _} =
                 Message.validate(%{request | headers: headers})
      end
    end
  end

  describe "RFC3261§19.3 tags" do
    test "have 32 random bits or more" do
      tags = for _ <- 1..1_000, do: Message.create_tag()
      assert length(Enum.uniq(tags)) == 1_000
      # Six bits in each character, any of 64 at each place.
      for place <- 0..7 do
        assert tags |> Enum.map(&:binary.at(&1, place)) |> Enum.uniq() |> length() > 48
      end
    end
  end
end
