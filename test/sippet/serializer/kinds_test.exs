defmodule Sippet.Serializer.KindsTest do
  use ExUnit.Case, async: true

  # A term that is not of its header's shape is printed by what it is, as programs for Sippet 1.0 have it. What has no
  # meaning under its header is refused.

  alias Sippet.Headers
  alias Sippet.Headers.Table
  alias Sippet.Message
  alias Sippet.URI

  @uri %URI{scheme: "sip", userinfo: "a", host: "b"}
  @lr %{@uri | parameters: ";lr"}
  @date ~N[2010-11-13 23:29:00]
  @date_text "Sat, 13 Nov 2010 23:29:00 GMT"

  # The terms that 1.0 printed, and the line that came of each.
  @v1 [
    {:contact, {"Al", @uri, %{}}, "Contact: \"Al\" <sip:a@b>"},
    {:accept, "application/dialog-info+xml", "Accept: application/dialog-info+xml"},
    {:content_type, "application/sdp", "Content-Type: application/sdp"},
    {:allow, "INVITE, ACK", "Allow: INVITE, ACK"},
    {:supported, "path", "Supported: path"},
    {:user_agent, ["x"], "User-Agent: x"},
    {:expires, "3600", "Expires: 3600"},
    {:expires, [3600], "Expires: 3600"},
    {:contact, "<sip:a@b>", "Contact: <sip:a@b>"},
    {:contact, ["<sip:a@b>"], "Contact: <sip:a@b>"},
    {"X-Foo", 1, "X-Foo: 1"},
    {"X-Foo", [1], "X-Foo: 1"},
    {"X-Foo", {"token", %{"a" => "b"}}, "X-Foo: token;a=b"},
    {"X-Foo", [{"token", %{"a" => "b"}}], "X-Foo: token;a=b"},
    {"Refer-To", {"", @uri, %{}}, "Refer-To: <sip:a@b>"},
    {"Refer-To", [{"", @uri, %{}}], "Refer-To: <sip:a@b>"},
    {:reason, {"SIP", %{"cause" => "200"}}, "Reason: SIP;cause=200"},
    {:route, {"", @lr, %{}}, "Route: <sip:a@b;lr>"},
    {:call_id, ["a"], "Call-ID: a"},
    {:date, @date_text, "Date: #{@date_text}"},
    {:content_disposition, "session", "Content-Disposition: session"},
    {:in_reply_to, "a@b", "In-Reply-To: a@b"},
    {:warning, {370, "h", "x"}, "Warning: 370 h \"x\""},
    {:p_asserted_identity, {"", @uri, %{}}, "P-Asserted-Identity: <sip:a@b>"},
    {:record_route, {"", @lr, %{}}, "Record-Route: <sip:a@b;lr>"},
    {:require, "100rel", "Require: 100rel"},
    {:max_forwards, "70", "Max-Forwards: 70"},
    # 1.0 left the brackets away, and its own parser then refused the URI.
    {:call_info, [{"http://www.example.com", %{"purpose" => "info"}}],
     "Call-Info: <http://www.example.com>;purpose=info"}
  ]

  # A value of each shape.
  @values %{
    address: {"Bob", @uri, %{"x" => "y"}},
    route: {"Bob", @uri, %{"x" => "y"}},
    name_addr: {"Bob", @uri, %{"x" => "y"}},
    refer_to: {"Bob", @uri, %{"x" => "y"}},
    contact: {"Bob", @uri, %{"x" => "y"}},
    media: {{"application", "sdp"}, %{"x" => "y"}},
    token: "token",
    token_params: {"token", %{"x" => "y"}},
    uri_params: {@uri, %{"x" => "y"}},
    auth: {"Digest", %{"realm" => "x"}},
    auth_info: %{"nextnonce" => "x"},
    call_id: "a@b",
    call_id_params: {"a@b", %{"x" => "y"}},
    cseq: {1, :invite},
    rack: {1, 2, :invite},
    date: @date,
    integer: 1,
    max_forwards: 70,
    integer_params: {1, %{"x" => "y"}},
    params: %{"a" => "b"},
    privacy: ["id", "critical"],
    retry_after: {1, "comment", %{"x" => "y"}},
    text: "text",
    timestamp: {1.5, 0.5},
    version: {1, 0},
    via: {{2, 0}, :udp, {"h", 5060}, %{"x" => "y"}},
    warning: {307, "h", "text"},
    word_params: {"word", %{"x" => "y"}}
  }

  # Every kind of term that has a text of its own.
  @kinds [
    {1, "1"},
    {@uri, "<sip:a@b>"},
    {@date, @date_text},
    {{1, 0}, "1.0"},
    {{1, :invite}, "1 INVITE"},
    {{1, "Ping"}, "1 Ping"},
    {{1.5, 0.5}, "1.5 0.5"},
    {{1.5, 0.0}, "1.5"},
    {{1, 2, :invite}, "1 2 INVITE"},
    {{1, %{"x" => "y"}}, "1;x=y"},
    {{5, "", %{}}, "5"},
    {{5, "why", %{"x" => "y"}}, "5 (why);x=y"},
    {{370, "h", "x"}, "370 h \"x\""},
    {{"token", %{"x" => "y"}}, "token;x=y"},
    {{"http://h", %{"x" => "y"}}, "<http://h>;x=y"},
    {{@uri, %{"x" => "y"}}, "<sip:a@b>;x=y"},
    {{{"application", "sdp"}, %{}}, "application/sdp"},
    {{"", @uri, %{}}, "<sip:a@b>"},
    {{"A b", @uri, %{"x" => "y"}}, "\"A b\" <sip:a@b>;x=y"},
    {{"", "sip:a@b", %{"x" => "y"}}, "<sip:a@b>;x=y"},
    {{{2, 0}, :udp, {"h", 5060}, %{"x" => "y"}}, "SIP/2.0/UDP h:5060;x=y"}
  ]

  @meaningless [
    nil,
    true,
    :atom,
    1.5,
    {},
    {1},
    {nil, nil},
    {nil, %{}},
    {1, nil},
    {"a", "b"},
    {"a", "b", "c"},
    {"", "no uri", %{}},
    {"a\r\nb", %{}},
    {"a", %{"b\r\n" => "c"}},
    {{1, 2}, %{}},
    {1, 2, 3, 4},
    [nil],
    [[]],
    [["a"]],
    [["a"], "b"],
    ["a" | "b"],
    %{},
    %{"a" => "b"},
    <<1::3>>,
    &List.first/1
  ]

  @rows Enum.filter(Table.rows(), &(&1.shape != :raw and &1.key != :content_length))

  test "what 1.0 printed" do
    for {key, value, line} <- @v1, do: assert({key, line(key, value)} == {key, line})
  end

  # The tests of a row are calls: the compiler takes longer for the same text under each name than all of them run.

  describe "text is one raw line" do
    for %{name: name, level: level} = row <- @rows, level != :essential do
      test "under #{name}", do: assert_raw_line(unquote(Macro.escape(row)))
    end

    defp assert_raw_line(%{name: name, key: key, shape: shape}) do
      for text <- ["any <text>, \"with; all", "<a", "", "é", <<"a", 0xFF>>, "a\tb"] do
        assert print(name, text) == text
        if key, do: assert(line(key, text) == "#{name}: #{text}")
      end

      for text <- ["a\r\nb", "a\n", "\r", "\0", "a\0"] do
        assert_raise ArgumentError, fn -> print(name, text) end
        if key, do: refused(key, text)
      end

      # RFC3261§25.1 - TEXT-UTF8-TRIM has no control characters
      if shape == :text,
        do: assert_raise(ArgumentError, fn -> print(name, "a\a") end),
        else: assert(print(name, "a\a") == "a\a")
    end

    for %{name: name, level: :essential} = row <- @rows do
      test "under #{name}, where it parses",
        do: assert_line_that_parses(unquote(Macro.escape(row)))
    end

    defp assert_line_that_parses(%{name: name, key: key, shape: shape, repeat: repeat}) do
      value = Map.fetch!(@values, shape)
      text = print(name, whole(value, repeat))
      assert print(name, text) == text
      assert line(key, text) == "#{name}: #{text}"
      assert line(name, text) == "#{name}: #{text}"

      for bad <- ["", " ", "\a", "a b;", text <> "\r\nA: b", text <> "\0", "é é"] do
        assert_raise ArgumentError, fn -> print(name, bad) end
        refused(key, bad)
      end
    end
  end

  describe "one for a list, a list for one" do
    # The value of Privacy is a list.
    for %{name: name, shape: shape} = row <- @rows, shape != :privacy do
      test "under #{name}", do: assert_one_or_list(unquote(Macro.escape(row)))
    end

    defp assert_one_or_list(%{name: name, key: key, shape: shape, repeat: repeat}) do
      value = Map.fetch!(@values, shape)
      printed = print(name, whole(value, repeat))

      for value <- [value, [value]] do
        assert print(name, value) == printed
        assert line(key || name, value) == "#{name}: #{printed}"
      end

      unless several?(repeat) do
        assert_raise ArgumentError, fn -> print(name, [value, value]) end
        if key, do: refused(key, [value, value])
      end
    end
  end

  describe "each kind" do
    for %{name: name} = row <- @rows do
      test "prints under #{name} where it has a meaning there",
        do: assert_printed_by_kind(unquote(Macro.escape(row)))

      test "of no meaning is refused under #{name}",
        do: assert_meaningless_refused(unquote(Macro.escape(row)))
    end

    defp assert_printed_by_kind(%{name: name, key: key, shape: shape, repeat: repeat}) do
      for {value, text} <- @kinds, value <- [value, [value]] do
        # It means the same alone and in a list.
        case attempt(name, value) do
          # Credentials and challenges are of their own kind alone.
          :refused ->
            unless shape == :auth, do: assert({:error, _error} = Headers.parse(name, text))
            if key, do: refused(key, value)

          printed ->
            assert {:ok, parsed} = Headers.parse(name, printed)
            assert Headers.parse(name, print(name, parsed)) == {:ok, parsed}
            if key, do: assert(line(key, value) =~ printed)
        end
      end

      # Challenges stand on lines of their own.
      if several?(repeat) and shape not in [:auth] do
        {values, _texts} = Enum.unzip(@kinds)
        good = for value <- values, attempt(name, value) != :refused, do: value
        bad = values -- good
        assert {:ok, _list} = Headers.parse(name, print(name, good))
        assert lines(key || name, good) != []

        for value <- Enum.take(bad, 3),
            do: assert_raise(ArgumentError, fn -> print(name, good ++ [value]) end)
      end
    end

    defp assert_meaningless_refused(%{name: name, shape: shape}) do
      # The value of Privacy is a list, and so a list of one is, too.
      meaningless = if shape == :privacy, do: @meaningless -- [[["a"]]], else: @meaningless

      for value <- meaningless, attempt(name, value) != :refused do
        # Of these one has the header's shape.
        assert {:ok, _value} = Headers.parse(name, print(name, value))
        assert value in [{1, nil}, %{"a" => "b"}, {"a", %{"b" => "c"}}]
      end

      error = assert_raise ArgumentError, fn -> print(name, [nil]) end
      assert error.message =~ ~r/^cannot print #{name}: expected .*, got: .*nil/
    end

    test "prints under a name that the table does not have" do
      for {value, text} <- @kinds do
        assert line("X-Foo", value) == "X-Foo: " <> text
        assert line("X-Foo", [value]) == "X-Foo: " <> text
        assert line("Content-ID", value) == "Content-ID: " <> text
      end

      assert line("X-Foo", -1) == "X-Foo: -1"
      assert line("X-Foo", {"a b", %{"x" => "y"}}) == "X-Foo: a b;x=y"
      values = Enum.map(@kinds, &elem(&1, 0))
      assert lines("X-Foo", values) == for({_value, text} <- @kinds, do: "X-Foo: " <> text)
      assert lines("X-Foo", ["raw", 1]) == ["X-Foo: raw", "X-Foo: 1"]
      for value <- @meaningless, do: refused("X-Foo", value)
    end

    test "prints in the shape of the table under the name of a header" do
      assert line("Session-Expires", {1800, %{"refresher" => "uac"}}) ==
               "Session-Expires: 1800;refresher=uac"

      assert line("refer-to", "text") == "refer-to: text"
      assert line("r", @uri) == "r: <sip:a@b>"
      assert line("Contact", {"Al", @uri, %{}}) == "Contact: \"Al\" <sip:a@b>"
      assert line("RAck", {1, 2, :invite}) == "RAck: 1 2 INVITE"

      assert lines("proxy-authenticate", [{"Digest", %{"qop" => "auth", "stale" => "true"}}]) ==
               [~S(proxy-authenticate: Digest qop="auth", stale=true)]

      assert line("Content-Type", {"application/sdp", %{"x" => "y"}}) ==
               "Content-Type: application/sdp;x=y"

      refused("Content-Type", {"application/sdp;x=y", %{}})
      refused("Replaces", {"a;b", %{}})
      refused("Refer-To", {"token", %{}})
      refused("Session-Expires", {"uac", %{}})
    end
  end

  describe "numbers may be text" do
    test "wherever a number stands" do
      assert print("CSeq", {"1", :invite}) == "1 INVITE"
      assert print("RAck", {"1", "2", :invite}) == "1 2 INVITE"
      assert print("Via", [{{2, 0}, :udp, {"h", "5060"}, %{}}]) == "SIP/2.0/UDP h:5060"
      assert print("Retry-After", {"5", "", %{}}) == "5"
      assert print("Warning", [{"370", "h", "x"}]) == "370 h \"x\""
      assert print("MIME-Version", {"1", "0"}) == "1.0"
      assert print("Session-Expires", {"1800", %{}}) == "1800"

      for bad <- ["", "-1", "+1", "1a", " 1", "99999999999999999999"] do
        assert_raise ArgumentError, fn -> print("CSeq", {bad, :invite}) end
        assert_raise ArgumentError, fn -> print("Session-Expires", {bad, %{}}) end
      end
    end
  end

  describe "text in a list" do
    test "is an element, or some" do
      assert print("Accept", ["application/sdp", {{"text", "plain"}, %{}}]) ==
               "application/sdp, text/plain"

      assert print("Allow", ["INVITE, ACK", "BYE"]) == "INVITE, ACK, BYE"
      assert line(:via, ["SIP/2.0/UDP h;branch=1"]) == "Via: SIP/2.0/UDP h;branch=1"

      assert lines(:via, ["SIP/2.0/UDP h", {{2, 0}, :tcp, {"i", 0}, %{}}]) ==
               ["Via: SIP/2.0/UDP h", "Via: SIP/2.0/TCP i:0"]

      assert print("Contact", ["*"]) == "*"

      for bad <- [["a b"], [""], [" "], [" a"], ["a "], ["a", ""], ["INVITE,"], [","], ["a\r\n"]],
          do: assert_raise(ArgumentError, fn -> print("Allow", bad) end)

      assert_raise ArgumentError, fn -> print("Contact", ["*", {"", @uri, %{}}]) end
    end
  end

  # So the answer to what could not be read has its lines as they came.
  test "text under the name of an essential header is a raw line, whatever it is" do
    for name <- ["Via", "from", "t", "Call-ID", "CSeq", "Max-Forwards", "Route"] do
      assert line(name, "x y") == "#{name}: x y"
      assert lines(name, ["", "x"]) == ["#{name}: ", "#{name}: x"]
      refused(name, "x\0")
    end
  end

  # Whatever is printed by kind is read back as text, or as a value of the header's shape that prints alike.
  test "a whole message comes back" do
    for {key, value, line} <- @v1, is_atom(key) do
      message = Message.parse!(to_string(message(%{key => value})))
      assert Message.parse!(to_string(message)) == message
      [_line] = for text <- String.split(to_string(message), "\r\n"), text == line, do: text
    end
  end

  test "64 KB of any kind take the time of their octets" do
    for {value, _text} <- @kinds do
      values = List.duplicate(value, 3_000)
      assert lines("X-Foo", values) |> length() == 3_000
    end

    many = List.duplicate({"http://h", %{}}, 1_000)
    assert {:ok, list} = Headers.parse("Call-Info", print("Call-Info", many))
    assert length(list) == 1_000
    assert_raise ArgumentError, fn -> print("Call-Info", many ++ [nil]) end
  end

  defp print(name, value), do: IO.iodata_to_binary(Headers.to_iodata(name, value))

  defp attempt(name, value) do
    print(name, value)
  rescue
    ArgumentError -> :refused
  end

  defp whole(value, :one), do: value
  defp whole(value, _repeat), do: [value]

  defp several?(repeat), do: repeat in [:list, :list0, :lines]

  defp message(headers), do: %{Message.build_response(200) | headers: headers}

  # The lines of one header in a message.
  defp lines(key, value) do
    text = to_string(message(%{key => value}))
    [_start | lines] = String.split(text, "\r\n")
    Enum.take_while(lines, &(not String.starts_with?(&1, "Content-Length")))
  end

  defp line(key, value) do
    assert [line] = lines(key, value)
    line
  end

  defp refused(key, value) do
    error = assert_raise ArgumentError, fn -> to_string(message(%{key => value})) end
    assert error.message =~ "cannot print "
  end
end
