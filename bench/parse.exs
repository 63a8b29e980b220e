# What parsing and printing cost, as ratios of one run: `mix run bench/parse.exs`.
#
#   parse      Message.parse/1
#   rust       the parser alone, by the crate's example `time`
#   print      to_iodata/1 and one binary of it
#   b2t        :erlang.binary_to_term/1 of the parsed message: the yardstick
#   words      size of the parsed message in the heap, its body left out (it is a part of the datagram)

Code.require_file("support.exs", __DIR__)

defmodule Bench.Parse do
  alias Sippet.Message

  @target Path.expand("../_build/bench", __DIR__)

  def run do
    paths = Path.wildcard(Path.join(__DIR__, "messages/*.sip"))
    rust = rust(paths)

    IO.puts("Six messages: the ratios are to binary_to_term of the parsed message.\n")

    rows = for path <- paths, do: row(path, rust[path])

    Bench.table(
      ~w(message octets parse rust print b2t parse/b2t print/parse rust/parse words),
      rows
    )

    IO.puts("\nWorst cases: nanoseconds per octet must not grow with the size.\n")
    Bench.table(["input", "4 KB", "16 KB", "64 KB", "64/4"], Enum.map(worst(), &grow/1))
  end

  defp row(path, rust) do
    input = File.read!(path)
    message = Message.parse!(input)
    term = :erlang.term_to_binary(message)

    best =
      Bench.times(
        parse: fn -> Message.parse(input) end,
        print: fn -> message |> Message.to_iodata() |> IO.iodata_to_binary() end,
        b2t: fn -> :erlang.binary_to_term(term) end
      )

    [
      Path.basename(path, ".sip"),
      Integer.to_string(byte_size(input)),
      Bench.whole(best.parse),
      Bench.whole(rust),
      Bench.whole(best.print),
      Bench.whole(best.b2t),
      Bench.ratio(best.parse / best.b2t),
      Bench.ratio(best.print / best.parse),
      Bench.ratio(rust / best.parse),
      Integer.to_string(:erts_debug.flat_size(%{message | body: nil}))
    ]
  end

  # The crate's own timer prints `path TAB octets TAB nanoseconds`.
  defp rust(paths) do
    arguments =
      ~w(run --quiet --release --locked -p sip_parser --example time --target-dir) ++
        [@target, "--" | paths]

    {output, 0} = System.cmd("cargo", arguments, cd: Path.expand("..", __DIR__))

    for line <- String.split(output, "\n", trim: true), into: %{} do
      [path, _octets, nanos] = String.split(line, "\t")
      {path, String.to_integer(nanos)}
    end
  end

  defp grow({name, make}) do
    [small, medium, large] =
      for size <- [4_096, 16_384, 65_000] do
        input = make.(size)

        %{parse: nanos} = Bench.times(parse: fn -> Message.parse(input) end)
        nanos / byte_size(input)
      end

    [name | Enum.map([small, medium, large, large / small], &Bench.ratio/1)]
  end

  @head "OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKa\r\nFrom: <sip:a@h>;tag=1\r\n" <>
          "To: <sip:h>\r\nCall-ID: a\r\nCSeq: 1 OPTIONS\r\n"

  defp worst do
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

  defp take(pieces, size) do
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

Bench.Parse.run()
