defmodule Sippet.LeniencyTest do
  use ExUnit.Case, async: true

  # What is read though the grammar has it not, because senders in the field write it: each kind in every header of the
  # table that has the construct, and in both positions, by Sippet.Headers.parse/2 and in a message. Each odd text
  # is the same value as a plain one.

  alias Sippet.Headers
  alias Sippet.Headers.Table
  alias Sippet.Message
  alias Sippet.ParseError
  alias Sippet.URI

  @lines [
    {"Via", "SIP/2.0/UDP h;branch=z9hG4bK1"},
    {"From", "<sip:a@h>;tag=1"},
    {"To", "<sip:h>"},
    {"Call-ID", "a"},
    {"CSeq", "1 OPTIONS"}
  ]

  # An element of each shape that parameters may follow.
  @with_params %{
    address: "<sip:a@b>",
    call_id_params: "a@b",
    contact: "<sip:a@b>",
    integer_params: "1800",
    media: "application/sdp",
    name_addr: "<sip:a@b>",
    refer_to: "<sip:a@b>",
    retry_after: "5",
    route: "<sip:a@b;lr>",
    token_params: "token",
    uri_params: "<http://a/b>",
    via: "SIP/2.0/UDP h",
    word_params: "word"
  }

  @elements Map.merge(@with_params, %{
              auth: "Digest realm=\"a\"",
              auth_info: "nextnonce=\"a\"",
              call_id: "a@b",
              params: "a=b",
              token: "token",
              warning: ~s(370 h "a")
            })

  @uris ~w(address contact name_addr refer_to route uri_params)a
  @names ~w(address contact name_addr refer_to route)a

  @rows Enum.filter(Table.rows(), &(&1.shape != :raw))
  @lists Enum.filter(@rows, &(&1.repeat in [:list, :list0]))

  describe "parameters of" do
    for %{name: name, shape: shape} <- @rows, is_map_key(@with_params, shape) do
      test "#{name}: the last of two counts, an empty one is none",
        do: assert_last_counts(unquote(name), unquote(shape))
    end

    defp assert_last_counts(name, shape) do
      element = @with_params[shape]
      plain = read(name, element <> ";x=2;y")

      for odd <- [
            ";x=1;x=2;y",
            ";x;X=2;y;y",
            ";x=\"1\";x=2;y",
            ";;x=2;y",
            ";x=2;y;",
            ";x=2;y; ",
            "; ;x=2; ; ;y;;",
            ";x=2;y=",
            ";x=2;y= ;"
          ] do
        assert read(name, element <> odd) == plain, odd
      end
    end

    for %{name: name, shape: :auth} <- @rows do
      test "#{name}: blanks part them too, and commas may be doubled",
        do: assert_parted_by_blanks(unquote(name))
    end

    defp assert_parted_by_blanks(name) do
      plain = read(name, ~s(Digest realm="a", nonce="b", stale=true))

      for odd <- [
            ~s(Digest realm="a" nonce="b", stale=true),
            ~s(Digest realm="a" nonce="b" stale=true),
            ~s(Digest realm="a",, nonce="b", ,stale=true),
            ~s(Digest realm="a", nonce="b", stale=true,),
            ~s(Digest realm="x", realm="a", nonce="b", stale=true)
          ] do
        assert read(name, odd) == plain, odd
      end
    end
  end

  describe "a tag or a branch" do
    test "without a value is none" do
      for name <- ["From", "To"], odd <- [";tag=", ";tag", ";tag= ;"] do
        assert read(name, "<sip:a@b>" <> odd) == read(name, "<sip:a@b>"), odd
      end

      for odd <- [";branch=", ";branch"],
          do: assert(read("Via", "SIP/2.0/UDP h" <> odd) == read("Via", "SIP/2.0/UDP h"), odd)
    end

    test "of octets that are no token is kept" do
      for value <- ["a:b/c", "a@b", "=?", "a=b==", "[::1]", "{x|y}#^"] do
        assert {"", _uri, %{"tag" => ^value}} = read("From", "<sip:a@b>;tag=#{value}")

        assert [{_, _, _, %{"branch" => ^value}}] = read("Via", "SIP/2.0/UDP h;branch=#{value}")
      end
    end

    test "of octets from 0x80 is kept" do
      for value <- ["\u00e9", <<0x80, 0xFF>>] do
        assert {"", _uri, %{"tag" => ^value}} = read("From", "<sip:a@b>;tag=#{value}")
        assert [{_, _, _, %{"branch" => ^value}}] = read("Via", "SIP/2.0/UDP h;branch=#{value}")
      end
    end

    test "that stands twice is the last, but two branches that differ are refused" do
      assert {_, _, %{"tag" => "2"}} = read("To", "<sip:a@b>;tag=1;tag=2")
      once = read("Via", "SIP/2.0/UDP h;branch=z9hG4bK1;rport")
      assert read("Via", "SIP/2.0/UDP h;branch=z9hG4bK1;rport;branch=z9hG4bK1") == once
      refused("Via", "SIP/2.0/UDP h;branch=z9hG4bK1;rport;branch=z9hG4bK2")
    end
  end

  describe "elements of" do
    for %{name: name, shape: shape} when shape not in [:via, :auth] <- @lists do
      test "#{name}: an empty one is passed over",
        do: assert_empty_passed_over(unquote(name), unquote(shape))
    end

    defp assert_empty_passed_over(name, shape) do
      element = @elements[shape]

      for {plain, odd} <- [
            {element, [",#{element}", "#{element},", ", ,#{element}, ,", " , #{element}"]},
            {"#{element},#{element}", ["#{element},,#{element}", "#{element}, , #{element},"]}
          ],
          odd <- odd do
        assert read(name, odd) == read(name, plain), odd
      end
    end

    test "Via: an empty one is refused" do
      via = @elements.via
      for odd <- [",#{via}", "#{via},", "#{via},,#{via}", ","], do: refused("Via", odd)
    end

    for %{name: name, repeat: :list, level: level, shape: shape} when shape != :via <- @lists,
        level != :extension do
      test "#{name}: without any, the header is as one that is not there",
        do: assert_absent(unquote(name), unquote(shape))
    end

    defp assert_absent(name, shape) do
      for odd <- ["", " ", ",", ", ,"] do
        assert {:ok, message} = Message.parse(message(name, odd))
        assert headers(message, name) == [], inspect(odd)
      end

      # … and a line of them among others changes nothing.
      element = @elements[shape]
      more = "#{element}\r\n#{name}: ,\r\n#{name}:"
      assert {:ok, message} = Message.parse(message(name, more))
      assert [{key, value}] = headers(message, name)
      assert {key, value} == {Sippet.Corpus.key(name), read(name, element)}
    end

    for %{name: name, repeat: :list0, level: level} <- @lists, level != :extension do
      test "#{name}: without any, the list is empty", do: assert_empty_list(unquote(name))
    end

    defp assert_empty_list(name) do
      for odd <- ["", " ", ",", ", ,"], do: assert(read(name, odd) == [], inspect(odd))
    end
  end

  describe "URIs of" do
    for %{name: name, shape: shape} <- @rows, shape in @uris do
      test "#{name}: any visible octet in a user, but those that part it",
        do: assert_visible_user(unquote(name))

      test "#{name}: an empty user", do: assert_empty_user(unquote(name))

      test "#{name}: a quoted string as the value of a parameter",
        do: assert_quoted_value(unquote(name))

      test "#{name}: no blanks in brackets", do: assert_no_blanks(unquote(name))
    end

    defp assert_visible_user(name) do
      for user <- ["#", "*#1", "^{}|`", "a;b?c,d", "%23", "é", <<0x80, 0xFF>>, "a:b#c"] do
        assert uri(read(name, "<sip:#{user}@h>")).userinfo == user, inspect(user)
        assert uri(read(name, "<sip:#{user}@h>")).host == "h"
      end

      for user <- ["a@b", "a<b", "a>b", "a\"b", "a[b", "a]b", "a\\b", "a b", "%zz", "%2", "\a"] do
        refused(name, "<sip:#{user}@h>")
      end
    end

    defp assert_empty_user(name) do
      assert uri(read(name, "<sip:@h>")).userinfo == ""
      assert uri(read(name, "<sip:@h>")).host == "h"
    end

    defp assert_quoted_value(name) do
      for parameters <- [
            ~S(;thinfo="U2h5YhU=="),
            ~S(;a="b;c>d,e<";lr),
            ~S(;a="b\"c\\"),
            ~S(;a="";b="x y")
          ] do
        assert uri(read(name, "<sip:a@h#{parameters}>")).parameters == parameters
      end

      refused(name, ~S(<sip:a@h;x="open>))
    end

    defp assert_no_blanks(name) do
      for odd <- ["< sip:a@h>", "<sip:a@h >", "<sip:a @h>", "<sip:a@h;x= y>"],
          do: refused(name, odd)
    end
  end

  describe "a route without brackets in" do
    for %{name: name, shape: :route, repeat: :list} <- @rows do
      test "#{name} has its parameters in the URI", do: assert_parameters_in_uri(unquote(name))
    end

    defp assert_parameters_in_uri(name) do
      for {odd, plain} <- [
            {"sip:p1;lr", "<sip:p1;lr>"},
            {"sip:a@p1:5062;transport=WS;lr", "<sip:a@p1:5062;transport=WS;lr>"},
            {"<sip:p1;lr>, sip:p2;lr", "<sip:p1;lr>, <sip:p2;lr>"},
            {"sip:p1;lr,sip:p2", "<sip:p1;lr>,<sip:p2>"},
            {"sips:p1 ", "<sips:p1>"}
          ] do
        assert read(name, odd) == read(name, plain), odd
      end

      refused(name, "sip:p1?x=y")
    end
  end

  describe "display names of" do
    for %{name: name, shape: shape} <- @rows, shape in @names do
      test "#{name} need no quotes", do: assert_no_quotes_needed(unquote(name))
    end

    defp assert_no_quotes_needed(name) do
      for display <- ["$5", "joe@home", "A (x) B.", "J\u00fcrgen [1]", "a/b:c=d", "Hi I'm Joe"] do
        assert display(read(name, "#{display} <sip:a@b>")) == display
        assert display(read(name, "#{display}<sip:a@b>")) == display
      end

      for odd <- ["a\"b <sip:a@b>", "\"a <sip:a@b>", "a;b <sip:a@b>", "a>b <sip:a@b>"],
          do: refused(name, odd)
    end
  end

  describe "quoted strings" do
    for %{name: name, shape: shape} <- @rows, shape in @names do
      test "in #{name}: a backslash may stand before any octet, also one from 0x80",
        do: assert_backslash(unquote(name))
    end

    defp assert_backslash(name) do
      odd = "\"J\\\u00fcrgen \\\\ \\a\" <sip:a@b>"
      assert display(read(name, odd)) == "J\u00fcrgen \\ a"
    end
  end

  describe "a bare URI of" do
    for %{name: name, shape: :address, repeat: :one} <- @rows do
      test "#{name} may have commas in its user", do: assert_commas_in_user(unquote(name))
    end

    defp assert_commas_in_user(name) do
      value = read(name, "sip:+111,,,2@atlanta.com;tag=12345")
      assert {"", %URI{userinfo: "+111,,,2", host: "atlanta.com"}, params} = value
      assert params == %{"tag" => "12345"}
    end

    test "Refer-To has its headers, raw or escaped, and none of them in a parameter" do
      for {text, parameters, headers} <- [
            {"sip:a@b?Replaces=1%40c%3Bto-tag%3D2", nil, "?Replaces=1%40c%3Bto-tag%3D2"},
            {"sip:a@b;method=INVITE?Replaces=x", ";method=INVITE", "?Replaces=x"},
            {"sip:a@b?Replaces=1@c;to-tag=2", nil, "?Replaces=1@c;to-tag=2"},
            {"<sip:a@b?Replaces=1@c;to-tag=2>", nil, "?Replaces=1@c;to-tag=2"}
          ] do
        assert {"", uri, params} = read("Refer-To", text)
        assert {uri.userinfo, uri.host, params} == {"a", "b", %{}}
        assert {uri.parameters, uri.headers} == {parameters, headers}
      end

      for name <- ["From", "To", "Contact", "Route", "Reply-To", "P-Asserted-Identity"],
          do: refused(name, "sip:a@b?Replaces=x")
    end
  end

  describe "Call-ID and those that name one" do
    for %{name: name, shape: :call_id} <- @rows do
      test "#{name} of any visible octets", do: assert_visible_call_id(unquote(name))
    end

    defp assert_visible_call_id(name) do
      for text <- [
            "7f#2a$91@h",
            "@abc",
            "a@b@c",
            "a;b=|{}",
            "\u00fc@h",
            <<0xFF>>,
            "<a>",
            "\"a\""
          ] do
        assert List.wrap(read(name, text)) == [text]
      end

      for text <- ["a b", "a\tb", "a\ab", <<"a", 127>>], do: refused(name, text)
    end
  end

  describe "single headers" do
    test "Date: a day of one digit, and UTC" do
      plain = read("Date", "Thu, 05 Jul 2018 05:00:00 GMT")
      assert plain == ~N[2018-07-05 05:00:00]

      for odd <- [
            "Thu, 5 Jul 2018 05:00:00 GMT",
            "Thu, 05 Jul 2018 05:00:00 UTC",
            "Thu, 5 Jul 2018 05:00:00 UTC"
          ],
          do: assert(read("Date", odd) == plain, odd)

      for zone <- ["EST", "UT", "UCT", "+0000"],
          do: refused("Date", "Thu, 05 Jul 2018 05:00:00 #{zone}")

      for day <- ["0", "32", "005"], do: refused("Date", "Thu, #{day} Jul 2018 05:00:00 GMT")
    end

    test "Contact: numbers out of their grammar are text" do
      for {name, value} <- [
            {"q", "2"},
            {"q", "0.3333"},
            {"q", "a"},
            {"q", "1.0000"},
            {"expires", "-5"},
            {"expires", "abc"},
            {"expires", "99999999999999"}
          ] do
        assert [{"", _uri, params}] = read("Contact", "<sip:a@b>;#{name}=#{value}")
        assert params == %{name => value}
      end
    end

    test "Priority and Reason: words with blanks" do
      assert read("Priority", "non urgent") == "non urgent"

      assert read("Reason", "Q.850 ;cause=16;text=Normal call clearing") ==
               [{"Q.850", %{"cause" => "16", "text" => "Normal call clearing"}}]
    end

    test "Alert-Info, Call-Info and Error-Info: what has no scheme" do
      for name <- ["Alert-Info", "Call-Info", "Error-Info"],
          text <- ["Bellcore-dr1", "127.0.0.1/Bellcore-dr3"] do
        assert [{%URI{scheme: nil} = uri, params}] = read(name, "<#{text}>;x=y")
        assert params == %{"x" => "y"}
        assert to_string(uri) == text
        assert IO.iodata_to_binary(Headers.to_iodata(name, [{uri, %{}}])) == "<#{text}>"
      end
    end
  end

  describe "carriage returns" do
    test "before the end of a line are blanks" do
      plain = Message.parse!(message("Subject", "a"))

      for end_of_line <- ["\r", "\r\r\r", " \r"] do
        assert Message.parse!(message("Subject", "a" <> end_of_line)) == plain
      end

      text = message("Subject", "a")
      assert Message.parse!(String.replace(text, "\r\n", "\r\r\n", global: false)) == plain
      assert Message.parse!(String.replace(text, "tag=1\r\n", "tag=1\r\r\n")) == plain
    end

    test "in the middle of a line, or alone on it, are refused" do
      for odd <- ["a\rb", "\ra", "a\r b"], do: refused_message(message("Subject", odd))
      text = message("Subject", "a")
      refused_message(String.replace(text, "\r\n\r\n", "\r\n\r\r\n"))
      refused_message(String.replace(text, "\r\n\r\n", "\r\n\r\r\n\r\n"))
    end
  end

  ## Reading

  # The value, which is the same in both positions.
  defp read(name, text) do
    assert {:ok, value} = Headers.parse(name, text)
    assert {:ok, message} = Message.parse(message(name, text))
    assert in_message(Table.find(name), message) == value
    value
  end

  defp in_message(%{level: :extension, name: name}, message) do
    assert {:ok, value} = Headers.parse(name, message.headers[name])
    value
  end

  defp in_message(%{key: key, name: name}, message) do
    refute Map.has_key?(message.headers, name)
    message.headers[key]
  end

  # In both positions, too; a header that is not essential is text then.
  defp refused(name, text) do
    assert {:error, %ParseError{}} = Headers.parse(name, text)

    case {Table.find(name), Message.parse(message(name, text))} do
      {%{level: :essential}, parsed} ->
        assert {:error, %ParseError{header: ^name}} = parsed

      {_row, {:error, error}} ->
        assert error.reason == :control_character

      {%{name: name, key: key}, {:ok, message}} ->
        assert message.headers[name] == [text]
        refute key != nil and Map.has_key?(message.headers, key)
    end
  end

  defp refused_message(text),
    do: assert({:error, %ParseError{}} = Message.parse(text))

  defp message(name, text) do
    others = for {other, value} <- @lines, other != name, do: [other, ": ", value, "\r\n"]
    IO.iodata_to_binary(["OPTIONS sip:h SIP/2.0\r\n", others, name, ": ", text, "\r\n\r\n"])
  end

  defp headers(message, name) do
    for key <- [name, Sippet.Corpus.key(name)], value = message.headers[key], do: {key, value}
  end

  defp uri([element]), do: uri(element)
  defp uri({_display, %URI{} = uri, _params}), do: uri
  defp uri({%URI{} = uri, _params}), do: uri

  defp display([element]), do: display(element)
  defp display({display, _uri, _params}), do: display
end
