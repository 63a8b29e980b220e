defmodule GuidesTest do
  # The code of the guides runs, in the order in which it is read. What can't run says so above itself, and parses.

  # The modules that a guide defines, and its stacks' names, are known to the whole VM.
  use ExUnit.Case, async: false

  import ExUnit.CaptureIO

  alias Sippet.Document

  @guides Path.wildcard("guides/*.md")

  test "there are guides" do
    assert "guides/getting-started.md" in @guides
  end

  for guide <- @guides do
    describe guide do
      test "its code parses" do
        for block <- Document.elixir(unquote(guide)),
            not (block.text =~ ~r/^iex> /m),
            do: Code.string_to_quoted!(block.text, file: unquote(guide), line: block.line)
      end

      @tag :capture_log
      test "its code runs, without a warning" do
        blocks = Enum.filter(Document.elixir(unquote(guide)), &Document.run?/1)

        warnings =
          capture_io(:stderr, fn ->
            capture_io(fn -> Document.run(blocks, ports(blocks)) end)
          end)

        assert warnings == ""
      end

      test "its links lead somewhere" do
        text = File.read!(unquote(guide))

        for [_, link] <- Regex.scan(~r/\]\(([^)#]+)[^)]*\)/, text),
            not String.starts_with?(link, "http"),
            do: assert(File.exists?(Path.join("guides", link)), "#{link} is not there")
      end
    end
  end

  # The ports that guides listen at, and such that are free here in their place.
  defp ports(blocks) do
    if Enum.any?(blocks, &(&1.text =~ ~r/port: 50[6-9]0/)) do
      free = Map.new(Enum.zip(~w(5060 5070 5080 5090), free_ports()))
      &Regex.replace(~r/\b50[6-9]0\b/, &1, fn port -> free[port] end)
    else
      & &1
    end
  end

  # Any number of them, each once.
  defp free_ports,
    do: fn -> "#{Document.free_port()}" end |> Stream.repeatedly() |> Stream.uniq()
end
