# The longest that a call of the NIF holds a normal scheduler, and whether parsing leaks: `mix run bench/nif.exs [PARSES]`.
#
# A call may hold a scheduler for a millisecond (erl_nif's manual); longer input goes to a dirty one. Of each input the best of
# some rounds counts, which leaves out what else the machine does; the longest of all inputs is printed. Then PARSES (10
# million) parses are made, and the memory of this VM is printed between.

Code.require_file("support.exs", __DIR__)
Code.require_file("worst.exs", __DIR__)

defmodule Bench.Nif do
  alias Sippet.{Headers, Message, Native, URI}

  # The bounds in Sippet.Native.
  @normal 16_384
  @normal_values 8_192
  @largest 65_507
  @rounds 30
  @root Path.expand("..", __DIR__)

  def run(parses) do
    real = messages()

    IO.puts(
      "#{length(real)} real messages, malformed ones among them; microseconds, best of #{@rounds}.\n"
    )

    rows = [
      longest("parse, real messages", normal(real), &Message.parse/1),
      longest("parse, worst cases of 16 KB", worst(@normal), &Message.parse/1),
      longest("split, real messages", normal(real), &Message.split/1),
      longest("split, worst cases of 16 KB", worst(@normal), &Message.split/1),
      longest("headers, worst cases of 8 KB", values(@normal_values), &headers/1),
      longest("URI, worst cases of 64 KB", uris(@largest), &URI.parse/1),
      longest("(dirty) parse, worst cases of 64 KB", worst(@largest), &Message.parse/1),
      longest("(dirty) split, worst cases of 64 KB", worst(@largest), &Message.split/1),
      longest("(dirty) headers, worst cases of 64 KB", values(@largest), &headers/1)
    ]

    Bench.table(["call", "longest", "input", "octets"], rows)
    memory(real, parses)
  end

  defp normal(inputs),
    do: Enum.filter(inputs, fn {_name, input} -> byte_size(input) <= @normal end)

  defp messages do
    shared = System.get_env("SIPPET_CORPUS") || Path.join(@root, "../shared/corpus")

    for folder <- [Path.join(@root, "test/fixtures"), Path.join(@root, "bench/messages"), shared],
        path <- Path.wildcard(folder <> "/**/*.{dat,sip}"),
        do: {Path.basename(path), File.read!(path)}
  end

  # Cut, so that none is over the bound; that leaves most of them malformed at their end alone.
  defp worst(octets) do
    for {name, make} <- Bench.Worst.cases() do
      input = make.(octets - 300)
      {name, binary_part(input, 0, min(octets, byte_size(input)))}
    end
  end

  defp values(octets) do
    for {header, first, piece} <- [
          {"Accept-Contact", "*",
           fn n -> ";" <> Integer.to_string(rem(n * 7_919, 46_656), 36) end},
          {"Accept-Contact", "*", fn n -> ";p#{n}=v" end},
          {"Allow-Events", "a", fn _ -> ",a" end},
          {"Path", "<sip:a>", fn _ -> ",<sip:a>" end},
          {"History-Info", "<sip:a>;x", fn _ -> ",\"a\"<sip:a@b:1;c?d>;e=f" end},
          {"P-Charging-Vector", "a=b", fn n -> ";c#{n}=\"\\d\"" end},
          {"Identity", "a", fn n -> ";c#{n}=<d:e>" end}
        ] do
      tail = Stream.iterate(1, &(&1 + 1)) |> Stream.map(piece)
      {header, {header, first <> Bench.Worst.take(tail, octets - byte_size(first) - 30)}}
    end
  end

  defp headers({name, value}), do: Headers.parse(name, value)

  defp uris(octets) do
    for {name, piece} <- [
          {"escapes", "%41"},
          {"user", "a"},
          {"colons", ":"},
          {"semicolons", ";"},
          {"brackets", "["}
        ] do
      {name, "sip:" <> String.duplicate(piece, div(octets - 6, byte_size(piece))) <> "@h"}
    end
  end

  defp longest(title, inputs, fun) do
    {nanos, name, octets} =
      inputs
      |> Enum.map(fn {name, input} -> {best(fun, input), name, octets(input)} end)
      |> Enum.max()

    [title, Bench.ratio(nanos / 1_000), name, Integer.to_string(octets)]
  end

  defp octets({_name, value}), do: byte_size(value)
  defp octets(input), do: byte_size(input)

  # Each in a fresh process with a heap that holds the result: what is measured is the call, no garbage collection.
  defp best(fun, input) do
    for _ <- 1..@rounds, reduce: :infinity do
      best -> min(best, nanos(fun, input))
    end
  end

  defp nanos(fun, input) do
    {pid, ref} =
      :erlang.spawn_opt(
        fn ->
          start = :erlang.monotonic_time(:nanosecond)
          _result = fun.(input)
          exit({:took, :erlang.monotonic_time(:nanosecond) - start})
        end,
        [:monitor, min_heap_size: 1_000_000]
      )

    receive do
      {:DOWN, ^ref, :process, ^pid, {:took, nanos}} -> nanos
    end
  end

  ## Memory

  @reports 10

  defp memory(messages, parses) do
    inputs = for {_name, input} <- messages, byte_size(input) <= 4_096, do: input

    IO.puts(
      "\n#{parses} parses of the #{length(inputs)} messages up to 4 KB, each also framed and a fifth also printed.\n"
    )

    rounds = ceil(parses / (@reports * length(inputs)))
    warm_up(inputs)

    rows =
      for report <- 0..@reports do
        if report > 0, do: Enum.each(1..rounds, fn _ -> Enum.each(inputs, &work/1) end)
        :erlang.garbage_collect()

        [
          Integer.to_string(report * rounds * length(inputs)),
          mb(resident()),
          mb(:erlang.memory(:total))
        ]
      end

    Bench.table(["parses", "resident MB", "MB by the VM's own count"], rows)
  end

  defp warm_up(inputs), do: Enum.each(1..20, fn _ -> Enum.each(inputs, &work/1) end)

  defp work(input) do
    _framed = Native.frame(input, 0)

    with {:ok, message} when rem(byte_size(input), 5) == 0 <- Message.parse(input),
         do: Message.to_iodata(message)
  end

  # proc(5): the second number is that of resident pages.
  defp resident do
    [_size, pages | _rest] = File.read!("/proc/self/statm") |> String.split()
    String.to_integer(pages) * 4_096
  end

  defp mb(octets), do: :erlang.float_to_binary(octets / 1_048_576, decimals: 1)
end

parses = List.first(System.argv()) || "10000000"
Bench.Nif.run(String.to_integer(parses))
