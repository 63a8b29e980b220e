defmodule Bench.Worst do
  @moduledoc false
  # Messages that are as dear to parse as their size allows.

  @head "OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKa\r\nFrom: <sip:a@h>;tag=1\r\n" <>
          "To: <sip:h>\r\nCall-ID: a\r\nCSeq: 1 OPTIONS\r\n"

  # Elements and parameters may stand in any header: some, each with its shortest element.
  @elements [
    {"v:", "SIP/2.0/A h"},
    {"m:", "<a:b>"},
    {"Route:", "<a:b>"},
    {"Allow:", "a"},
    {"Accept:", "a/b"},
    {"Call-Info:", "<a:b>"},
    {"Require:", "a"},
    {"Reason:", "a"}
  ]

  @doc """
  Names and functions from a size in octets to a message of about that size.
  """
  def cases do
    [
      {"lines x:", repeat("x:\r\n")},
      {"lines of one name", repeat("X-Foo: a\r\n")},
      {"many names", numbered(&"X-#{&1}: a\r\n")},
      {"many short names", numbered(&"_#{Integer.to_string(&1, 36)}:\r\n")},
      {"Via lines", repeat("Via: SIP/2.0/UDP h\r\n")},
      {"Via commas", within("Via: SIP/2.0/UDP h", ",SIP/2.0/UDP h", "")},
      {"short Vias", within("v:SIP/2.0/A h", ",SIP/2.0/A h", "")},
      {"Contacts", within("Contact: <sip:a@b>", ",<sip:a@b>", "")},
      {"short Contacts", within("m:<a:b>", ",<a:b>", "")},
      {"elements of many headers", spread(&[&1, &2, ",", &2])},
      {"empty elements", within("Contact: <sip:a@b>", ",, ,<sip:a@b>", "")},
      {"parameters", within("Contact: <sip:a@b>", &";p#{&1}=v", "")},
      {"parameters of many headers", spread(&[&1, &2, ";a;b;c"])},
      {"same parameter", within("Contact: <sip:a@b>", ";p=v", "")},
      {"doubled parameters", within("Contact: <sip:a@b>", &";p#{div(&1, 2)}=v", "")},
      {"empty parameters", within("Contact: <sip:a@b>", ";", "")},
      {"quoted URI parameters", within("Contact: <sip:a@b", ~S(;a="b;c>"), ">")},
      {"commas", within("Allow: a", ",", "")},
      {"tokens", within("Allow: a", ",a", "")},
      {"credentials", within("Authorization: Digest a=b", &",a#{&1}=b", "")},
      {"credentials by blanks", within("Authorization: Digest a=b", &" a#{&1}=b", "")},
      {"challenges", within("WWW-Authenticate: Digest a=b", ", Digest a=b", "")},
      {"open comments", within("Retry-After: 1 ", "(", "")},
      {"nested comments", nested()},
      {"words of a name", within("Contact: a", " a", " <sip:a@b>")},
      {"words of a reason", within("Reason: SIP;text=a", " a", "")},
      {"carriage returns", within("Subject: a", "\r", "")},
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

  # Lines of one header after another.
  defp spread(more) do
    numbered(fn n ->
      {name, element} = Enum.at(@elements, rem(n, length(@elements)))
      IO.iodata_to_binary([more.(name, element), "\r\n"])
    end)
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

  @doc """
  The words that the result of a function takes, which is called with the input in a process of its own: what is on
  the heap, literals counted too, and the binaries off it but the input itself, of which text is a part.
  """
  @spec words(binary, (binary -> term)) :: non_neg_integer
  def words(input, fun) do
    # What is appended to has room to grow, which would count.
    input = :binary.copy(input)

    Task.await(
      Task.async(fn ->
        result = fun.(input)
        :erlang.garbage_collect()
        {:binary, binaries} = Process.info(self(), :binary)
        octets = for {_id, octets, _references} <- Enum.uniq(binaries), do: octets
        word = :erlang.system_info(:wordsize)
        :erts_debug.flat_size(result) + div(Enum.sum(octets) - byte_size(input), word)
      end),
      :infinity
    )
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
