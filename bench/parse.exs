# What parsing and printing cost, as ratios of one run: `mix run bench/parse.exs`.
#
#   parse      Message.parse/1
#   rust       the parser alone, by the crate's example `time`
#   print      to_iodata/1 and one binary of it
#   b2t        :erlang.binary_to_term/1 of the parsed message: the yardstick
#   words      size of the parsed message, literals counted too, its body left out (it is a part of the datagram)

Code.require_file("support.exs", __DIR__)
Code.require_file("worst.exs", __DIR__)

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

    IO.puts("""

    Worst cases: neither nanoseconds nor words per octet may grow with the size, and the words of 64 KB are at most 131,072,
    a megabyte.
    """)

    Bench.table(
      ["input", "4 KB", "16 KB", "64 KB", "64/4", "words", "words 64/4"],
      Enum.map(Bench.Worst.cases(), &grow/1)
    )
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
    inputs = for size <- [4_096, 16_384, 65_000], do: make.(size)
    times = Enum.map(inputs, &(nanos(&1) / byte_size(&1)))
    words = Enum.map(inputs, &Bench.Worst.words(&1, fn input -> Message.parse(input) end))
    [least | _] = dense = Enum.zip_with(words, inputs, &(&1 / byte_size(&2)))

    [name | Enum.map(times ++ [List.last(times) / hd(times)], &Bench.ratio/1)] ++
      [Bench.whole(List.last(words)), Bench.ratio(List.last(dense) / least)]
  end

  defp nanos(input) do
    %{parse: nanos} = Bench.times(parse: fn -> Message.parse(input) end)
    nanos
  end
end

Bench.Parse.run()
