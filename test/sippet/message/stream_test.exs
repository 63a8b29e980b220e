defmodule Sippet.Message.StreamTest do
  use ExUnit.Case, async: true
  doctest Sippet.Message.Stream

  alias Sippet.Message.Stream

  defp message(body \\ "", method \\ "OPTIONS") do
    "#{method} sip:b@biloxi.com SIP/2.0\r\nVia: SIP/2.0/TCP 10.1.1.1;branch=z9hG4bKa\r\n" <>
      "From: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: x\r\nCSeq: 1 #{method}\r\n" <>
      "Content-Length: #{byte_size(body)}\r\n\r\n#{body}"
  end

  # All items of these parts, pushed one after another.
  defp push(parts, max \\ 65_535) do
    Enum.reduce_while(parts, {[], Stream.new(max)}, fn part, {before, stream} ->
      case Stream.push(stream, part) do
        {:ok, items, stream} -> {:cont, {before ++ items, stream}}
        {:error, items, error} -> {:halt, {before ++ items, error}}
      end
    end)
  end

  defp octets(text), do: for(<<octet <- text>>, do: <<octet>>)

  describe "messages" do
    test "come whole, however they are cut" do
      wire = message("one") <> message() <> message("three")
      expected = for body <- ["one", "", "three"], do: {:message, message(body)}

      assert {^expected, stream} = push([wire])
      refute Stream.partial?(stream)
      assert {^expected, _stream} = push(octets(wire))

      for at <- 1..(byte_size(wire) - 1) do
        {one, other} = String.split_at(wire, at)
        assert {^expected, _stream} = push([one, other])
      end
    end

    test "keep nothing of what came before them" do
      big = message(String.duplicate("x", 60_000))
      {:ok, [_whole], stream} = Stream.push(Stream.new(), big <> "OPT")
      assert :binary.referenced_byte_size(stream.buffer) < 100
    end

    test "are partial from the first octet to the last" do
      {:ok, [], stream} = Stream.push(Stream.new(), "O")
      assert Stream.partial?(stream)

      {:ok, [_message], stream} =
        Stream.push(stream, binary_part(message(), 1, byte_size(message()) - 1))

      refute Stream.partial?(stream)
    end
  end

  # RFC5626§4.4.1, §5.4
  describe "keep-alives" do
    for {wire, items} <- [
          {"\r\n\r\n", [:ping]},
          {"\r\n", [:pong]},
          {"\r\n\r\n\r\n\r\n", [:ping, :ping]},
          {"\n", []},
          {"\r", []}
        ] do
      test "#{inspect(wire)} is #{inspect(items)}" do
        assert {unquote(items), stream} = push([unquote(wire)])
        refute Stream.partial?(stream)
      end
    end

    test "stand before, between and behind messages" do
      assert {[:ping, {:message, _}, :ping, {:message, _}, :pong], _stream} =
               push(["\r\n\r\n" <> message("a") <> "\r\n\r\n" <> message("b") <> "\r\n"])
    end

    test "that come in parts are a pong, then a ping" do
      assert {[:pong, :ping], _stream} = push(["\r\n", "\r\n"])
      assert {[:pong, :ping], _stream} = push(octets("\r\n\r\n"))
      assert {[:pong, {:message, _}, :pong], _stream} = push(["\r\n", message(), "\r\n"])
    end
  end

  # RFC3261§18.3
  describe "what can't be understood" do
    test "comes behind what stands before it" do
      without = String.replace(message(), "Content-Length: 0\r\n", "")
      assert {[:ping, {:message, _}], error} = push(["\r\n\r\n" <> message() <> without])
      assert error.reason == :missing_content_length
      assert {:options, [{"Via", _} | _]} = error.request
    end

    test "is a negative Content-Length, or another start line" do
      assert {[], %{reason: :invalid_header, header: "Content-Length"}} =
               push([String.replace(message(), "Content-Length: 0", "Content-Length: -1")])

      assert {[], %{reason: reason}} = push(["\x16\x03\x01\x02\x00\r\n\r\n"])
      assert reason in [:invalid_start_line, :control_character]
    end

    test "is what is too large, whole or not, told with whom to answer" do
      large = message(String.duplicate("x", 1_000))

      for parts <- [[large], octets(large), [binary_part(large, 0, 600)]] do
        assert {[], %{reason: :message_too_large, request: {:options, [{"Via", _} | _]}}} =
                 push(parts, 500)
      end

      assert {[{:message, ^large}], _stream} = push([large], byte_size(large))
      assert {[], %{reason: :message_too_large}} = push([large], byte_size(large) - 1)
    end

    test "is a head without end" do
      endless = ["OPTIONS sip:b@h SIP/2.0\r\n" | List.duplicate("X-Y: z\r\n", 100)]
      assert {[], %{reason: :message_too_large}} = push(endless, 500)
    end
  end

  test "any octets are cut alike, whole and in parts" do
    :rand.seed(:exsss, {1, 2, 3})
    pieces = ["\r\n", "\r", "\n", message("ab"), "OPTIONS", ": ", "Content-Length: 3\r\n", <<0>>]

    for _run <- 1..500 do
      wire = for _piece <- 1..6, into: "", do: Enum.random(pieces)
      whole = for {:message, _} = item <- elem(push([wire]), 0), do: item
      parts = for {:message, _} = item <- elem(push(octets(wire)), 0), do: item
      assert whole == parts
    end
  end
end
