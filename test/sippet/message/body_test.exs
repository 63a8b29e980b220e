defmodule Sippet.Message.BodyTest do
  use ExUnit.Case, async: true

  alias Sippet.{Corpus, Message}
  alias Sippet.Message.Body

  doctest Body

  defp message(body, boundary \\ "x") do
    type = {{"multipart", "mixed"}, %{"boundary" => boundary}}
    %{Message.build_request(:invite, "sip:b") | body: body, headers: %{content_type: type}}
  end

  defp bodies(entity) do
    with {:ok, parts} <- Body.split(entity), do: Enum.map(parts, & &1.body)
  end

  defp corpus!(name), do: Message.parse!(Corpus.fixture!(name))

  describe "RFC2046§5.1.1 common syntax" do
    test "text before the first part and after the last is dropped" do
      text =
        "preamble\r\n--x\r\n\r\none\r\n--x\r\n\r\ntwo\r\n--x--\r\nepilogue\r\n--x\r\n\r\nthree"

      assert bodies(message(text)) == ["one", "two"]
    end

    test "the line end before a delimiter is no part of the content" do
      assert bodies(message("--x\r\n\r\none\r\n\r\n--x\r\n\r\n\r\n--x--")) == ["one\r\n", ""]
    end

    test "a part may have no headers, no content, or neither" do
      text =
        "--x\r\n\r\n\r\n--x\r\nSubject: a\r\n\r\n--x\r\nSubject: b\r\n--x\r\n\r\n--x\r\n--x--"

      {:ok, parts} = Body.split(message(text))
      assert for(part <- parts, do: Map.get(part.headers, :subject)) == [nil, "a", "b", nil, nil]
      assert Enum.all?(parts, &(&1.body == ""))
    end

    test "blanks may follow a delimiter on its line, and nothing else" do
      text = "--x \t\r\n\r\n--xy\r\n--x-\r\n --x\r\n--x y\r\n--x--y\r\na--x\r\n--x-- \r\n"
      assert bodies(message(text)) == ["--xy\r\n--x-\r\n --x\r\n--x y\r\n--x--y\r\na--x"]
    end

    test "lines may end in LF" do
      text = "--x\nSubject: a\n\none\ntwo\n\n--x\n\nthree\n--x--\n"

      assert {:ok, [%Body{headers: %{subject: "a"}, body: "one\ntwo\n"}, part]} =
               Body.split(message(text))

      assert part == %Body{headers: %{}, body: "three"}
      # A CR that is no line end's is content.
      assert bodies(message("--x\n\n\r\r\n--x--")) == ["\r"]
      assert bodies(message("--x\n\na\r--x\n--x--")) == ["a\r--x"]
    end

    test "a boundary is any text, with quotes on the wire or without" do
      for {parameter, boundary} <- [
            {"unique", "unique"},
            {~S|"gc0p4Jq0M:2Yt08jU534c0p/=?(),' x"|, "gc0p4Jq0M:2Yt08jU534c0p/=?(),' x"},
            {~S|"a.*[b]\\c"|, ~S|a.*[b]\c|},
            {~S|"--"|, "--"}
          ] do
        message =
          Message.parse!(
            "OPTIONS sip:b SIP/2.0\r\nContent-Type: multipart/mixed;boundary=#{parameter}\r\n\r\n" <>
              "--#{boundary}\r\n\r\none\r\n--#{boundary}--\r\n"
          )

        assert bodies(message) == ["one"]
      end
    end

    test "a boundary of 70 octets, of no UTF-8" do
      boundary = String.duplicate("\xFF", 70)
      assert bodies(message("--#{boundary}\r\n\r\none\r\n--#{boundary}--", boundary)) == ["one"]
    end
  end

  describe "RFC2046§5.1.2 nested and truncated" do
    test "a part that is multipart is split in its turn" do
      inner = "--in\r\n\r\na\r\n--in\r\n\r\nb\r\n--in--\r\n"

      text =
        "--x\r\nContent-Type: multipart/alternative; boundary=in\r\n\r\n#{inner}\r\n--x\r\n\r\nc\r\n--x--"

      assert {:ok, [part, leaf]} = Body.split(message(text))
      assert part.body == inner
      assert Body.multipart?(message(text)) and Body.multipart?(part)
      refute Body.multipart?(leaf)
      assert bodies(part) == ["a", "b"]
      assert Body.split(leaf) == {:error, :not_multipart}
    end

    test "an outer delimiter ends an inner body whose own is missing" do
      text =
        "--x\r\nContent-Type: multipart/mixed; boundary=in\r\n\r\n--in\r\n\r\na\r\n--x\r\n\r\nc\r\n--x--"

      assert {:ok, [part, %Body{body: "c"}]} = Body.split(message(text))
      assert bodies(part) == ["a"]
    end

    test "without the last delimiter the last part ends with the body" do
      assert bodies(message("--x\r\n\r\none\r\n--x\r\n\r\ntwo\r\n")) == ["one", "two\r\n"]
    end
  end

  describe "the headers of a part" do
    defp headers(lines) do
      with {:ok, [part]} <- Body.split(message("--x\r\n#{lines}\r\n--x--")), do: part.headers
    end

    test "are typed and named as those of a message" do
      assert headers("""
             content-type:text/PLAIN ; charset = UTF-8
             Content-Disposition: session;
              handling=optional
             content-id: <1@a>
             Content-Transfer-Encoding: binary
             x-a: 1
             X-A:\t2 \s

             """) == %{
               :content_type => {{"text", "plain"}, %{"charset" => "UTF-8"}},
               :content_disposition => {"session", %{"handling" => "optional"}},
               "Content-ID" => ["<1@a>"],
               "Content-Transfer-Encoding" => ["binary"],
               "X-A" => ["1", "2"]
             }
    end

    test "are raw where they are malformed, essential in a message or not" do
      assert headers("Content-Type: text\r\nCSeq: one\r\nContent-Length: 9999\r\n\r\n") == %{
               "Content-Type" => ["text"],
               "CSeq" => ["one"],
               :content_length => 9999
             }

      assert headers("Content-Type: text/a\r\nContent-Type: text/b\r\n\r\n") == %{
               "Content-Type" => ["text/a", "text/b"]
             }

      assert headers("Subject: \xFF\r\n\r\n") == %{subject: "\xFF"}
    end

    test "hold copies, while the content is a part of the message's body" do
      text = "--x\r\nX-A: " <> String.duplicate("h", 100) <> "\r\n\r\n"
      content = String.duplicate("c", 1_000)
      {:ok, [part]} = Body.split(message(text <> content <> "\r\n--x--"))
      [value] = part.headers["X-A"]
      assert :binary.referenced_byte_size(value) == 100
      assert :binary.referenced_byte_size(part.body) > 1_000
    end
  end

  describe "errors" do
    test "of the Content-Type" do
      for headers <- [
            %{},
            %{content_type: {{"application", "sdp"}, %{"boundary" => "x"}}},
            %{"Content-Type" => ["multipart/mixed;boundary=x;="]}
          ],
          do: assert(Body.split(%{message("") | headers: headers}) == {:error, :not_multipart})

      for boundary <- ["", String.duplicate("x", 71), nil],
          do: assert(Body.split(message("--x\r\n\r\n--x--", boundary)) == {:error, :no_boundary})

      text = %{
        message("--x\r\n\r\na\r\n--x--")
        | headers: %{content_type: "multipart/mixed;boundary=x"}
      }

      assert bodies(text) == ["a"]
    end

    test "of a body without parts" do
      for body <- [nil, "", "--x", "--x--", "--x--\r\n--x\r\n", "v=0\r\n", "a--x\r\n\r\n--xx"],
          body != "--x",
          do: assert(Body.split(message(body)) == {:error, :no_parts})

      assert Body.split(message("--x")) == {:error, :incomplete_part}
    end

    test "of headers" do
      for {lines, reason} <- [
            {"no colon\r\n\r\n", :malformed_header},
            {": a\r\n\r\n", :malformed_header},
            {"a b: c\r\n\r\n", :malformed_header},
            {"\xFF: c\r\n\r\n", :malformed_header},
            {" folded: c\r\n\r\n", :malformed_header},
            {"a: b\0\r\n\r\n", :malformed_header},
            {"a: b\rc\r\n\r\n", :malformed_header},
            {"a: b\r\n c\0\r\n\r\n", :malformed_header},
            {String.duplicate("a: b\r\n", 129) <> "\r\n", :too_many_headers}
          ],
          do: assert(headers(lines) == {:error, reason})

      assert map_size(headers(String.duplicate("a: b\r\n", 128) <> "\r\n")) == 1
      assert Body.split(message("--x\r\nSubject: a")) == {:error, :incomplete_part}
      assert Body.split(message("--x\r\nSubject: a\r\n")) == {:error, :incomplete_part}
    end

    test "of too many parts" do
      text = fn number -> String.duplicate("--x\r\n\r\n\r\n", number) <> "--x--" end
      assert {:ok, parts} = Body.split(message(text.(1_000)))
      assert length(parts) == 1_000
      assert Body.split(message(text.(1_001))) == {:error, :too_many_parts}
    end
  end

  describe "bodies of 64 KB" do
    # The worst that is known of each kind; twice as much takes no more than about twice as long.
    test "take time that is linear" do
      kinds = [
        fn size ->
          message("--x\r\n\r\n" <> String.duplicate("-", size), String.duplicate("-", 70))
        end,
        fn size -> message("--x\r\n\r\n" <> String.duplicate("--x", div(size, 3))) end,
        fn size -> message("--x\r\n\r\n" <> String.duplicate("\n--x  y", div(size, 7))) end,
        fn size ->
          message("--x\r\nA: b" <> String.duplicate("\n c", div(size, 3)) <> "\r\n\r\n")
        end,
        fn size -> message("--x\r\nA: " <> String.duplicate(" ", size) <> "\r\n\r\n") end,
        fn size -> message("--x\r\nA" <> String.duplicate("a", size) <> ": b\r\n\r\n") end,
        fn size -> message("--x" <> String.duplicate(" ", size) <> "\r\n\r\n") end
      ]

      for kind <- kinds do
        reductions = for size <- [64_000, 256_000], do: reductions(kind.(size))
        assert [once, more] = reductions
        assert more < 5 * once
      end
    end

    defp reductions(message) do
      {_, before} = Process.info(self(), :reductions)
      _result = Body.split(message)
      {_, then} = Process.info(self(), :reductions)
      then - before + 1_000
    end
  end

  describe "messages of the corpus" do
    for name <-
          ~w(cms-smime-msg noeku-cms-smime-msg noeku-smime-msg noeku-smime-sign-encrypt smime-msg
                   smime-sign-encrypt) do
      test "rfc6216 #{name}: a content and its signature" do
        message = corpus!("rfc6216-cl/#{unquote(name)}")
        assert {:ok, [content, signature]} = Body.split(message)
        assert {{_type, _subtype}, %{}} = content.headers.content_type
        assert {{"application", "pkcs7-signature"}, _} = signature.headers.content_type
        assert {"attachment", %{"handling" => "required"}} = signature.headers.content_disposition
        {_type, %{"boundary" => boundary}} = message.headers.content_type
        assert String.ends_with?(message.body, "#{signature.body}\r\n--#{boundary}--\r\n")
        assert <<0x30, 0x82, _der::binary>> = signature.body
      end
    end

    test "rfc4475 mpart01: binary content" do
      assert {:ok, [text, der]} = Body.split(corpus!("rfc4475/mpart01"))
      assert text.body == "Hello"

      assert text.headers == %{
               :content_type => {{"text", "plain"}, %{}},
               "Content-Transfer-Encoding" => ["binary"]
             }

      assert byte_size(der.body) == 342
    end

    test "bad: ends within the bounds, and no boundary" do
      assert Body.split(corpus!("bad/multipart-no-header-end")) == {:error, :incomplete_part}
      assert Body.split(corpus!("bad/multipart-truncated-boundary")) == {:error, :no_boundary}
    end

    @tag Corpus.needs("flows")
    test "those of the RFCs' flows have parts, or are cut within one" do
      {:ok, files} = Corpus.shared("flows")

      results =
        for {name, text} <- files,
            {:ok, message} <- [Message.parse(text)],
            Body.multipart?(message),
            do: {name, Body.split(message)}

      assert length(results) == 13

      assert for({name, {:error, reason}} <- results, do: {name, reason}) == [
               # Cut within the headers of its second part.
               {"rfc3261-008", :incomplete_part},
               # No empty line behind the headers.
               {"rfc4662-012", :malformed_header},
               {"rfc6086-007", :malformed_header},
               {"rfc6086-008", :malformed_header}
             ]
    end
  end
end
