defmodule Sippet.Trace.PicturesTest do
  use ExUnit.Case, async: true

  alias Sippet.Trace
  alias Sippet.Trace.{Call, Entry, Text}

  doctest Sippet.Trace.Text

  @names %{
    {{192, 0, 2, 101}, 5060} => "alice",
    {{192, 0, 2, 10}, 5060} => "proxy",
    {{198, 51, 100, 7}, 5060} => "bob"
  }

  defp calls do
    {:ok, calls, %{}} = Trace.read("guides/assets/call.log")
    calls
  end

  describe "the ladder" do
    test "has a lane for each address and an arrow for each message" do
      assert Trace.draw(calls(), :ladder, names: @names, plain: true) == """
             Call 1

              alice                                      proxy                                       bob
                |------------- INVITE (SDP) -------------->|                                          |
                |<-------------- 100 Trying ---------------|                                          |
                |                                          |------------- INVITE (SDP) -------------->|
                |                                          |- - - -  INVITE (SDP, again ×1) - - - - ->|
                |                                          |- - - -  INVITE (SDP, again ×2) - - - - ->|
                |                                          |<-------------- 180 Ringing --------------|
                |<-------------- 180 Ringing --------------|                                          |
                |                                          |<------------- 200 OK (SDP) --------------|
                |<------------- 200 OK (SDP) --------------|                                          |
                |------------------ ACK ------------------>|                                          |
                |                                          |------------------ ACK ------------------>|
                |------------------ BYE ------------------>|                                          |
                |                                          |------------------ BYE ------------------>|
                |                                          |<-- 481 Call/Transaction Does Not Exist --|
                |<-- 481 Call/Transaction Does Not Exist --|                                          |
             """
    end

    test "has times, and the Call-ID" do
      ladder = Trace.draw(calls(), :ladder)

      assert ladder =~
               "Call-ID 3848276298220188511@atlanta.example, from 2027-01-15T08:00:00.000000Z\n"

      assert ladder =~ ~r/^ +\+4\.210  \| +\|<-+ 200 OK \(SDP\) -+\|$/m
      assert ladder =~ "192.0.2.101:5060"
    end

    test "has arrows over several lanes, and to where they came from" do
      ends = [{"a", "b"}, {"b", "c"}, {"c", "a"}, {"b", "b"}]

      entries =
        for {from, to} <- ends,
            do: Entry.new(nil, {from, nil}, {to, nil}, "SIP/2.0 200 OK\r\n\r\n")

      [_, _, _ | rungs] =
        [%Call{call_id: nil, entries: entries}] |> Trace.draw(:ladder) |> String.split("\n")

      assert Enum.at(rungs, 2) =~ ~r/^ +\|<-{30,} 200 OK -{30,}\|$/
      assert Enum.at(rungs, 3) =~ ~r/^ +\| +\|<- 200 OK$/
    end
  end

  describe "Mermaid" do
    test "has participants and messages" do
      assert [
               "sequenceDiagram",
               "  participant L1 as alice",
               "  participant L2 as proxy",
               "  participant L3 as bob" | rest
             ] = calls() |> Trace.draw(:mermaid, names: @names) |> String.split("\n", trim: true)

      assert "  Note over L1,L3: Call-ID 3848276298220188511@atlanta.example, from 2027-01-15T08#58;00#58;00.000000Z" in rest
      assert "  L1->>L2: INVITE, SDP (+0.000 s)" in rest
      assert "  L2--xL3: INVITE, SDP, again ×2 (+1.506 s)" in rest
      assert "  L3-->>L2: 180 Ringing (+1.530 s)" in rest
    end
  end

  describe "SVG" do
    test "is XML, with a lane for each address and an arrow for each message" do
      svg = parsed(Trace.draw(calls(), :svg, names: @names))
      assert count(svg, "g", "message") == 15
      assert count(svg, "g", "again") == 2
      assert count(svg, "path", "lane") == 3
      assert texts(svg) =~ "481 Call/Transaction Does Not Exist"
      assert texts(svg) =~ "m=audio 49172"
    end

    test "grows with what is written on it" do
      long = %{{{192, 0, 2, 10}, 5060} => String.duplicate("n", 60)}
      [_, narrow] = Regex.run(~r/ width="(\d+)"/, Trace.draw(calls(), :svg))
      [_, wide] = Regex.run(~r/ width="(\d+)"/, Trace.draw(calls(), :svg, names: long))
      assert String.to_integer(wide) > String.to_integer(narrow) + 300
    end
  end

  describe "HTML" do
    test "has each message in full, linked from its arrow, and no script" do
      html = Trace.draw(calls() ++ calls(), :html, names: @names)

      for call <- 1..2,
          n <- 1..15,
          do:
            assert(
              html =~ ~s(<a href="#m#{call}-#{n}">) and html =~ ~s(<article id="m#{call}-#{n}">)
            )

      assert html =~ "default-src 'none'"
      refute html =~ "<script"
      refute html =~ ~r/(src|href)="(?!#)/
    end
  end

  describe "a call of many addresses" do
    defp crowd(count) do
      entries =
        for n <- 1..count,
            do:
              Entry.new(
                n,
                {{10, 1, div(n, 256), rem(n, 256)}, 5060},
                {"proxy", nil},
                "OPTIONS sip:a@b SIP/2.0\r\nCall-ID: a\r\nCSeq: #{n} OPTIONS\r\n\r\n"
              )

      [%Call{call_id: "a", entries: entries}]
    end

    for format <- [:ladder, :mermaid, :svg, :html] do
      test "is drawn as #{format} in a size that grows as their number" do
        [small, large] = for n <- [500, 1_000], do: Trace.draw(crowd(n), unquote(format))
        assert byte_size(large) < 2.1 * byte_size(small)
        assert byte_size(large) < 2_000_000
        assert large =~ "982 more addresses"
      end
    end

    test "has a lane for each address up to twenty, and one for the rest" do
      assert lanes(crowd(19)) == 20
      refute Trace.draw(crowd(19), :svg) =~ "more addresses"
      assert lanes(crowd(20)) == 20
      assert Trace.draw(crowd(20), :svg) =~ "2 more addresses"
      assert lanes(crowd(1_000)) == 20
    end

    test "names each address beside the message" do
      html = Trace.draw(crowd(1_000), :html)

      for n <- [1, 256, 1_000],
          do: assert(html =~ "<dd>10.1.#{div(n, 256)}.#{rem(n, 256)}:5060</dd>")
    end

    defp lanes(calls), do: calls |> Trace.draw(:svg) |> parsed() |> count("path", "lane")
  end

  describe "a time beyond the year 9999" do
    test "is left out of each picture" do
      octets = "SIP/2.0 200 OK\r\nCall-ID: a\r\n\r\n"

      for time <- [253_402_300_800_000_000, 18_446_744_073_709_551_615_000_000, -(10 ** 30)] do
        entry = Entry.new(time, {"a", nil}, {"b", nil}, octets)
        calls = [%Call{call_id: "a", entries: [entry]}]
        for format <- Trace.formats(), do: assert(Trace.draw(calls, format) =~ "200 OK")
        assert Trace.draw(calls, :log) =~ ~r/\A- a -> b UDP/
      end
    end
  end

  describe "a hostile message" do
    @hostile [
      "<script>alert(1)</script>",
      "</style></title><img src=x onerror=alert(1)>",
      "\" onload=\"alert(1)",
      "' onload='alert(1)",
      "&lt;b&gt;",
      "]]><!--",
      "\e]0;owned\a\e[2J",
      "\xFF\xFE\xC0\xAF\xED\xA0\x80",
      "\u202Egnp.exe\u2066\u200B\uFEFF\uFFFE",
      "a;b#35;%%{init: {}}%% : -->> end",
      "\u0085\u009B31m\x7F\x00\x01"
    ]

    defp hostile(text) do
      octets =
        "OPTIONS sip:#{text}@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=1\r\nCall-ID: #{text}\r\n" <>
          "CSeq: 1 OPTIONS\r\nSubject: #{text}\r\nContent-Type: text/plain\r\n\r\n#{text}"

      answer = "SIP/2.0 200 #{text}\r\nCall-ID: #{text}\r\nCSeq: 1 OPTIONS\r\n\r\n#{text}"

      entries =
        for octets <- [octets, answer, text, "#{text} sip:a@b SIP/2.0\r\n\r\n"],
            do: Entry.new(0, {text, 1}, {"h", nil}, octets)

      [%Call{call_id: text, entries: entries}]
    end

    # Sound and malformed messages, and one that is repeated.
    defp harmless, do: calls() ++ hostile("harmless") ++ hostile("not harmless")

    for {text, index} <- Enum.with_index(@hostile) do
      test "is harmless in each picture: #{index}" do
        calls = hostile(unquote(text))
        options = [names: %{{"h", nil} => unquote(text)}]

        for format <- [:ladder, :mermaid, :svg, :html] do
          drawn = Trace.draw(calls, format, options)
          assert String.valid?(drawn)
          refute drawn =~ ~r/[\x00-\x09\x0B-\x1F\x7F]|\xC2[\x80-\x9F]/
          refute drawn =~ ~r/[\x{202A}-\x{202E}\x{2066}-\x{2069}\x{200B}-\x{200F}\x{FEFF}]/u
        end

        # What the network wrote is text and nothing else: there are the elements and attributes of a harmless call, and no
        # others.
        svg = parsed(Trace.draw(calls, :svg, options))
        assert shapes(svg) -- shapes(parsed(Trace.draw(harmless(), :svg))) == []
        html = Trace.draw(calls, :html, options)
        assert tags(html) -- tags(Trace.draw(harmless(), :html)) == []

        for line <- calls |> Trace.draw(:mermaid, options) |> String.split("\n", trim: true) do
          words = Regex.replace(~r/\A  L\d+(->>|-->>|--x)L\d+: |#\d+;/, line, "")
          refute words =~ ~r/[<>"%&;#{}]/
        end
      end
    end

    test "may be as long as a datagram: a label is not" do
      calls = hostile(String.duplicate("<", 60_000))
      assert byte_size(Trace.draw(calls, :ladder)) < 3_000
      assert byte_size(Trace.draw(calls, :mermaid)) < 5_000
      assert byte_size(Trace.draw(calls, :svg)) < 60_000
    end

    test "makes no atom" do
      for n <- 1..50 do
        text = "unseen#{n}x#{System.unique_integer([:positive])}"
        for format <- [:ladder, :mermaid, :svg, :html], do: Trace.draw(hostile(text), format)
        # The table's size tells nothing: other tests run beside this one, and load modules.
        assert_raise ArgumentError, fn -> String.to_existing_atom(text) end
      end
    end
  end

  describe "printable text" do
    test "of any octets is valid, and none of them is lost in silence" do
      for octet <- 0..255, context <- ["", "a", "é"] do
        printed = Text.printable(context <> <<octet>> <> "b")
        assert String.printable?(printed)
        assert String.ends_with?(printed, "b")
      end
    end
  end

  ## A strict reader of the XML that is drawn: what is not well-formed does not match

  @tag_pattern ~r/\A<([a-z]+)((?: [a-zA-Z:-]+="(?:[^"<&]|&(?:amp|lt|gt|quot|#39);)*")*)(\/?)>/
  @text_pattern ~r/\A(?:[^<>&]|&(?:amp|lt|gt|quot|#39);)+/

  defp parsed(svg) do
    {[root], ""} = children(svg, [])
    root
  end

  defp children("", found), do: {Enum.reverse(found), ""}
  defp children("</" <> _ = rest, found), do: {Enum.reverse(found), rest}
  defp children("<" <> _ = text, found), do: element(Regex.run(@tag_pattern, text), text, found)

  defp children(text, found) do
    [words] = Regex.run(@text_pattern, text)
    found = if String.trim(words) == "", do: found, else: [words | found]
    text |> rest(words) |> children(found)
  end

  defp element([tag, name, attributes, "/"], text, found),
    do: text |> rest(tag) |> children([{name, attributes(attributes), []} | found])

  defp element([tag, name, attributes, ""], text, found) do
    {inner, text} = text |> rest(tag) |> children([])
    close = "</#{name}>"
    true = String.starts_with?(text, close)
    text |> rest(close) |> children([{name, attributes(attributes), inner} | found])
  end

  defp rest(text, taken),
    do: binary_part(text, byte_size(taken), byte_size(text) - byte_size(taken))

  defp attributes(text) do
    for [_, name, value] <- Regex.scan(~r/ ([a-zA-Z:-]+)="([^"]*)"/, text), do: {name, value}
  end

  defp shapes(node) do
    for {name, attributes, _content} <- elements(node),
        uniq: true,
        do: {name, Enum.map(attributes, &elem(&1, 0))}
  end

  defp count(node, name, class),
    do:
      node
      |> elements()
      |> Enum.count(fn {tag, attributes, _} -> tag == name and class in classes(attributes) end)

  defp classes(attributes),
    do: for({"class", value} <- attributes, class <- String.split(value), do: class)

  defp elements({_name, _attributes, content} = node),
    do: [node | Enum.flat_map(content, &elements/1)]

  defp elements(_text), do: []

  defp texts({_name, _attributes, content}), do: Enum.map_join(content, &texts/1)
  defp texts(text), do: text

  defp tags(html),
    do:
      ~r/<[a-zA-Z\/!][^>]*/
      |> Regex.scan(html)
      |> Enum.map(fn [tag] -> tag |> String.split([" ", ">"]) |> hd() end)
      |> Enum.uniq()
end
