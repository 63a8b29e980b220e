defmodule Bench.Worst do
  @moduledoc false
  # Messages that are as dear to parse as their size allows.

  @head "OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKa\r\nFrom: <sip:a@h>;tag=1\r\n" <>
          "To: <sip:h>\r\nCall-ID: a\r\nCSeq: 1 OPTIONS\r\n"

  @doc """
  Names and functions from a size in octets to a message of about that size.
  """
  def cases do
    [
      {"lines x:", repeat("x:\r\n")},
      {"lines of one name", repeat("X-Foo: a\r\n")},
      {"many names", numbered(&"X-#{&1}: a\r\n")},
      {"Via lines", repeat("Via: SIP/2.0/UDP h\r\n")},
      {"Via commas", within("Via: SIP/2.0/UDP h", ",SIP/2.0/UDP h", "")},
      {"Contacts", within("Contact: <sip:a@b>", ",<sip:a@b>", "")},
      {"parameters", within("Contact: <sip:a@b>", &";p#{&1}=v", "")},
      {"same parameter", within("Contact: <sip:a@b>", ";p=v", "")},
      {"commas", within("Allow: a", ",", "")},
      {"tokens", within("Allow: a", ",a", "")},
      {"challenges", within("WWW-Authenticate: Digest a=b", ", Digest a=b", "")},
      {"open comments", within("Retry-After: 1 ", "(", "")},
      {"nested comments", nested()},
      {"folds", within("Subject: a", "\r\n a", "")},
      {"blank folds", within("Subject: a", "\r\n ", "")},
      {"backslashes", within("Contact: \"", "\\\\", "\" <sip:a@b>")},
      {"open quote", within("Contact: \"", "a", "")},
      {"quotes", within("Contact: ", "\"\"", "")},
      {"NUL pairs", within("Contact: \"", <<?\\, 0>>, "\" <sip:a@b>")},
      {"blanks", within("Contact: <sip:a@b>", " ", ";a=b")},
      {"escapes", within("Contact: <sip:", "%41", "@h>")},
      {"@ signs", within("Contact: <sip:a", "@a", ">")},
      {"brackets", within("Contact: ", "<", "")},
      {"line ends before",
       fn size -> String.duplicate("\r\n", div(size, 2)) <> @head <> "\r\n" end},
      {"body", fn size -> @head <> "\r\n" <> String.duplicate("a", size) end}
    ]
  end

  defp repeat(line),
    do: fn size -> @head <> String.duplicate(line, div(size, byte_size(line))) <> "\r\n" end

  defp numbered(line) do
    fn size ->
      lines =
        line
        |> Stream.iterate(& &1)
        |> Stream.with_index()
        |> Stream.map(fn {line, n} -> line.(n) end)

      @head <> take(lines, size) <> "\r\n"
    end
  end

  defp within(start, piece, finish) when is_binary(piece),
    do: within(start, fn _ -> piece end, finish)

  defp within(start, piece, finish) do
    fn size ->
      pieces = Stream.map(Stream.iterate(0, &(&1 + 1)), piece)
      @head <> start <> take(pieces, size) <> finish <> "\r\n\r\n"
    end
  end

  defp nested do
    fn size ->
      half = div(size, 2)

      @head <>
        "Retry-After: 1 " <>
        String.duplicate("(", half) <> String.duplicate(")", half) <> "\r\n\r\n"
    end
  end

  # As many pieces as make `size` octets, or the first that make more.
  def take(pieces, size) do
    pieces
    |> Enum.reduce_while({[], 0}, fn piece, {taken, length} ->
      if length >= size,
        do: {:halt, {taken, length}},
        else: {:cont, {[taken | piece], length + byte_size(piece)}}
    end)
    |> elem(0)
    |> IO.iodata_to_binary()
  end
end
