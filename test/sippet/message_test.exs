defmodule Sippet.MessageTest do
  use ExUnit.Case, async: true
  doctest Sippet.Message
  doctest Sippet.Message.RequestLine
  doctest Sippet.Message.StatusLine

  alias Sippet.Message
  alias Sippet.Message.RequestLine
  alias Sippet.Message.StatusLine
  alias Sippet.ParseError
  alias Sippet.URI

  @invite """
  INVITE sip:bob@biloxi.com SIP/2.0
  Via: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bK776asdhds
  Via: SIP/2.0/TCP pc34.atlanta.com;branch=z9hG4bK776asdhdt
  Record-Route: <sip:p1.example.com;lr>
  Max-Forwards: 70
  To: Bob <sip:bob@biloxi.com>
  From: Alice <sip:alice@atlanta.com>;tag=1928301774
  Call-ID: a84b4c76e66710@pc33.atlanta.com
  CSeq: 314159 INVITE
  Contact: <sip:alice@pc33.atlanta.com>
  Timestamp: 54
  X-Foo: bar
  Content-Length: 0

  """

  defp invite, do: Message.parse!(@invite)

  defp without(key), do: Map.update!(invite(), :headers, &Map.delete(&1, key))

  defp put(key, value), do: Message.put_header(invite(), key, value)

  describe "build_request/2" do
    test "knows methods in any letter case, and leaves others as they are" do
      assert Message.build_request("Invite", "sip:a").start_line.method == :invite
      assert Message.build_request("Ping", "sip:a").start_line.method == "Ping"
      assert Message.build_request(:options, URI.parse!("sip:a")).start_line.method == :options

      assert Message.build_request("REGISTER", "sip:a") ==
               Message.build_request(:register, "sip:a")
    end

    test "refuses a URI that is none" do
      assert_raise ParseError, fn -> Message.build_request(:invite, "bob") end
    end

    test "makes no atom of a name" do
      for name <- ["xyzzy_never_an_atom", "nil", "true", "FOO", "ok"],
          do: assert(Message.to_method(name) == name)
    end
  end

  describe "build_response/1,2" do
    test "take a status, a status line, or a status and a reason" do
      assert Message.build_response(200) == Message.build_response(StatusLine.new(200))
      assert Message.build_response(299, "Fine").start_line.reason_phrase == "Fine"

      for status <- [99, 700, 299, "200", nil],
          do: assert_raise(ArgumentError, fn -> Message.build_response(status) end)

      assert_raise ArgumentError, fn -> Message.build_response(700, "x") end
    end
  end

  describe "RFC3261§8.2.6.2 Headers and Tags" do
    test "copies the headers of the request, in order" do
      request = invite()
      response = Message.to_response(request, 200)

      assert Map.keys(response.headers) |> Enum.sort() == [
               :call_id,
               :cseq,
               :from,
               :record_route,
               :to,
               :via
             ]

      for key <- [:via, :from, :call_id, :cseq, :record_route],
          do: assert(response.headers[key] == request.headers[key])

      assert response.start_line == StatusLine.new(200)
      assert response.body == nil
    end

    # RFC3261§20, table 3
    test "Record-Route stands in what may establish a dialog, and in nothing else" do
      for status <- [180, 183, 199, 200, 202],
          do: assert(Message.has_header?(Message.to_response(invite(), status), :record_route))

      for status <- [100, 302, 401, 486, 500, 603],
          do: refute(Message.has_header?(Message.to_response(invite(), status), :record_route))
    end

    test "all responses to a request carry the same tag, retransmissions and proxies or not" do
      tag = tag(Message.to_response(invite(), 180))
      assert byte_size(tag) >= 11
      assert tag == tag(Message.to_response(invite(), 486))
      assert tag == tag(Message.to_response(invite(), 200, "Fine"))
      assert tag == tag(Message.to_response(invite(), StatusLine.new(404)))

      stamped =
        Message.update_header_front(invite(), :via, fn {version, protocol, sent_by, params} ->
          {version, protocol, sent_by, Map.put(params, "received", "192.0.2.1")}
        end)

      assert tag == tag(Message.to_response(stamped, 200))
    end

    test "other requests carry other tags" do
      tags =
        for request <- [
              invite(),
              put(:call_id, "other"),
              put(:cseq, {314_160, :invite}),
              put(:from, {"Alice", URI.parse!("sip:alice@atlanta.com"), %{"tag" => "other"}}),
              Message.delete_header_front(invite(), :via),
              put_in(invite().start_line.request_uri, URI.parse!("sip:carol@biloxi.com"))
            ],
            do: tag(Message.to_response(request, 200))

      assert Enum.uniq(tags) == tags
    end

    # RFC3261§9.2 - the tags of the responses to the CANCEL and to its INVITE should be the same
    test "a CANCEL gets the tag of its INVITE" do
      cancel = put_in(invite().start_line.method, :cancel)
      cancel = Message.put_header(cancel, :cseq, {314_159, :cancel})
      assert tag(Message.to_response(cancel, 200)) == tag(Message.to_response(invite(), 487))
    end

    test "a tag that is there stays" do
      to = {"Bob", URI.parse!("sip:bob@biloxi.com"), %{"tag" => "mine"}}
      assert Message.to_response(put(:to, to), 200).headers.to == to
    end

    # RFC3261§8.2.6.1
    test "a 100 has no tag of its own, and takes the Timestamp" do
      response = Message.to_response(invite(), 100)
      assert response.headers.to == invite().headers.to
      assert response.headers.timestamp == {54.0, 0.0}
    end

    # A malformed one is raw text, and is copied as it stands.
    test "a Record-Route and a Timestamp that are text are copied" do
      routes = ["<sip:p1.example.com;lr>", "sip:p2 example.com"]

      request =
        invite()
        |> Message.put_header("Record-Route", routes)
        |> Message.put_header("Timestamp", ["five"])

      for status <- [180, 199, 200],
          do: assert(Message.to_response(request, status).headers["Record-Route"] == routes)

      for status <- [100, 302, 486, 603] do
        headers = Message.to_response(request, status).headers
        refute is_map_key(headers, "Record-Route")
        assert Map.get(headers, "Timestamp") == if(status == 100, do: ["five"])
      end

      assert to_string(Message.to_response(request, 200)) =~
               "\r\nRecord-Route: <sip:p1.example.com;lr>\r\nRecord-Route: sip:p2 example.com\r\n"
    end

    test "what the request lacks, the response lacks" do
      assert Message.to_response(Message.build_request(:invite, "sip:a"), 400).headers == %{}
      assert Message.to_response(%{invite() | headers: %{to: 5}}, 400).headers == %{to: 5}
    end

    defp tag(%{headers: %{to: {_, _, %{"tag" => tag}}}}), do: tag
  end

  describe "random names" do
    test "differ, and are tokens of the documented length" do
      for {make, size} <- [
            {&Message.create_tag/0, 8},
            {&Message.create_branch/0, 19},
            {&Message.create_call_id/0, 20}
          ] do
        names = for _ <- 1..100, do: make.()
        assert Enum.uniq(names) == names

        assert Enum.all?(
                 names,
                 &(byte_size(&1) == size and Sippet.Headers.to_iodata("Allow", [&1]) == &1)
               )
      end
    end
  end

  describe "parse/1" do
    test "takes iodata" do
      assert {:ok, message} = Message.parse([["SIP/2.0 200"], ?\s | "OK\r\n\r\n"])
      assert message.start_line == StatusLine.new(200)
    end

    test "gives the structs" do
      assert %Message{
               start_line: %RequestLine{
                 method: :invite,
                 version: {2, 0},
                 request_uri: %URI{host: "biloxi.com"}
               },
               headers: %{:cseq => {314_159, :invite}, "X-Foo" => ["bar"]},
               body: "",
               target: nil
             } = invite()
    end

    test "says what is wrong, and where" do
      bad = String.replace(@invite, "314159 INVITE", "x INVITE")

      assert {:error, %ParseError{reason: :invalid_header, header: "CSeq", line: 9} = error} =
               Message.parse(bad)

      assert Exception.message(error) =~ ~r/^line 9, octet \d+: malformed CSeq header: "/
      assert {:invite, raw} = error.request
      assert {"Call-ID", "a84b4c76e66710@pc33.atlanta.com"} in raw
      assert error.request_uri == "sip:bob@biloxi.com"
      assert catch_error(Message.parse!(bad)) == error
    end
  end

  describe "the body of parse/1" do
    @head "OPTIONS sip:a SIP/2.0\r\nCSeq: 1 OPTIONS\r\n"

    test "is empty text where nothing follows the blank line, and where there is none" do
      for end_of <- ["", "\r\n", "Content-Length: 0\r\n", "Content-Length: 0\r\n\r\nmore"],
          do: assert(Message.parse!(@head <> end_of).body == "")

      assert Message.parse!(String.trim_trailing(@head)).body == ""
      assert Message.build_request(:options, "sip:a").body == nil
    end
  end

  describe "split/1,2" do
    @one "OPTIONS sip:a SIP/2.0\r\nContent-Length: 3\r\n\r\nabc"
    @two "SIP/2.0 200 OK\r\nl: 0\r\n\r\n"

    test "cuts all complete messages, and leaves the rest" do
      assert {:ok, [@one, @two, @one], "OPT", _} = Message.split(@one <> @two <> @one <> "OPT")
      assert {:ok, [], "", _} = Message.split("")
    end

    # RFC3261§7.5
    test "drops the line ends before a message" do
      assert {:ok, [@one, @two], "", 0} =
               Message.split("\r\n\r\n" <> @one <> "\n\r\n" <> @two <> "\r\n")

      assert {:ok, [], "", 0} = Message.split(String.duplicate("\r\n", 1000))
      assert {:ok, [], "\r", resume} = Message.split("\r\n\r")
      assert {:ok, [@one], "", 0} = Message.split("\r" <> "\n" <> @one, resume)
    end

    # A dirty scheduler works on them.
    test "cuts messages off a long buffer, and goes on with one" do
      line = "\r\nX: " <> String.duplicate("x", 40_000)
      large = String.replace(@one, "\r\n\r\n", line <> "\r\n\r\n")
      stream = large <> @two <> large
      assert {:ok, [^large, @two, ^large], "OPT", _} = Message.split(stream <> "OPT")

      {begun, rest} = String.split_at(large, 30_000)
      assert {:ok, [], ^begun, resume} = Message.split(begun)
      assert {:ok, [^large], "", 0} = Message.split(begun <> rest, resume)

      unframed = String.replace(large, "Content-Length", "Y")
      assert {:error, %{reason: :missing_content_length}} = Message.split(unframed)
    end

    test "goes on where it left off, wherever the stream is cut" do
      stream = "\r\n\r\n" <> @one <> @two <> "\r\n" <> @one

      for size <- 1..byte_size(stream) do
        whole = div(byte_size(stream), size)
        chunks = for n <- 0..(whole - 1), do: binary_part(stream, n * size, size)
        last = binary_part(stream, whole * size, rem(byte_size(stream), size))

        {messages, rest, _} =
          Enum.reduce(chunks ++ [last], {[], "", 0}, fn chunk, {messages, rest, resume} ->
            {:ok, more, rest, resume} = Message.split(rest <> chunk, resume)
            {messages ++ more, rest, resume}
          end)

        assert {messages, rest} == {[@one, @two, @one], ""}
      end
    end

    test "gives the messages before the trouble first" do
      bad = "SIP/2.0 200 OK\r\nCSeq: 1 INVITE\r\n\r\n"
      assert {:ok, [@one], ^bad, resume} = Message.split(@one <> bad)
      assert {:error, %ParseError{reason: :missing_content_length}} = Message.split(bad, resume)
    end
  end

  describe "get_remote/1" do
    test "trusts received and rport over the sent-by" do
      via = fn params -> put(:via, [{{2, 0}, :udp, {"a", 5070}, params}]) end
      assert Message.get_remote(via.(%{})) == {:ok, {:udp, "a", 5070}}
      assert Message.get_remote(via.(%{"received" => "::1"})) == {:ok, {:udp, "::1", 5070}}
      assert Message.get_remote(via.(%{"rport" => "6"})) == {:ok, {:udp, "a", 6}}

      for rport <- ["", "abc", "0", "65536", "5x"],
          do: assert(Message.get_remote(via.(%{"rport" => rport})) == {:ok, {:udp, "a", 5070}})

      assert {:error, _} = Message.get_remote(without(:via))
      assert {:error, _} = Message.get_remote(Message.build_response(200))
    end

    test "passes over values that name neither a host nor a port" do
      via = fn params -> put(:via, [{{2, 0}, :udp, {"a", 5070}, params}]) end

      for received <- ["", "\xFF", "a b", "[::1", String.duplicate("9", 60_000)],
          do:
            assert(
              Message.get_remote(via.(%{"received" => received})) == {:ok, {:udp, "a", 5070}}
            )

      for rport <- ["+5", "\xFF", String.duplicate("9", 60_000)],
          do: assert(Message.get_remote(via.(%{"rport" => rport})) == {:ok, {:udp, "a", 5070}})

      # RFC5118§4.5 - brackets are allowed around it
      assert Message.get_remote(via.(%{"received" => "[2001:db8::1]"})) ==
               {:ok, {:udp, "2001:db8::1", 5070}}
    end
  end

  describe "Access" do
    test "reaches the fields of the struct" do
      assert invite()[:headers][:max_forwards] == 70
      assert invite()[:oops] == nil
      assert put_in(invite()[:headers][:max_forwards], 5).headers.max_forwards == 5
      assert {"", %Message{body: nil}} = pop_in(invite()[:body])
      assert {%{}, %Message{headers: empty}} = pop_in(invite()[:headers])
      assert empty == %{}
    end
  end

  describe "to_iodata/1" do
    test "prints the message, and the message prints as a string" do
      message = invite()
      text = to_string(message)
      assert text == IO.iodata_to_binary(Message.to_iodata(message))
      assert text == Message.to_string(message)
      assert Message.parse!(text) == message

      assert text == """
             INVITE sip:bob@biloxi.com SIP/2.0\r
             Via: SIP/2.0/UDP pc33.atlanta.com:5060;branch=z9hG4bK776asdhds\r
             Via: SIP/2.0/TCP pc34.atlanta.com:5060;branch=z9hG4bK776asdhdt\r
             Record-Route: <sip:p1.example.com;lr>\r
             Max-Forwards: 70\r
             From: "Alice" <sip:alice@atlanta.com>;tag=1928301774\r
             To: "Bob" <sip:bob@biloxi.com>\r
             Call-ID: a84b4c76e66710@pc33.atlanta.com\r
             CSeq: 314159 INVITE\r
             Contact: <sip:alice@pc33.atlanta.com>\r
             Timestamp: 54\r
             X-Foo: bar\r
             Content-Length: 0\r
             \r
             """
    end

    test "refuses start lines that can't be printed" do
      for line <- [
            nil,
            %RequestLine{method: "IN VITE", request_uri: URI.parse!("sip:a")},
            %RequestLine{method: "INVITE\r\n", request_uri: URI.parse!("sip:a")},
            %RequestLine{method: :invite, request_uri: "sip:a"},
            %RequestLine{method: :invite, request_uri: %URI{scheme: "sip", host: "a\r\nVia: x"}},
            %StatusLine{status_code: 200, reason_phrase: "OK\r\nVia: x"},
            %StatusLine{status_code: 1000, reason_phrase: "OK"},
            %StatusLine{status_code: 200, reason_phrase: nil}
          ],
          do: assert_raise(ArgumentError, fn -> Message.to_string(%Message{start_line: line}) end)

      assert_raise ArgumentError, fn -> Message.to_string(%{invite() | body: ~c"a"}) end
    end

    test "prints other versions and methods" do
      uri = URI.parse!("sip:a")

      assert to_string(%RequestLine{method: "NO-REPLY", request_uri: uri, version: {3, 1}}) ==
               "NO-REPLY sip:a SIP/3.1"

      assert to_string(%RequestLine{method: :foo, request_uri: uri}) == "FOO sip:a SIP/2.0"
      assert to_string(%StatusLine{status_code: 100, reason_phrase: ""}) == "SIP/2.0 100 "
    end
  end
end
