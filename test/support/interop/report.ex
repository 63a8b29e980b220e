defmodule Sippet.Interop.Report do
  @moduledoc false
  # An ExUnit formatter, for script/interop: of each test against a real peer the peer, its version, what was exercised
  # and the result, as a table on the terminal and as guides/interop.md. The guide is written when all went well, and no
  # peer was missing.

  use GenServer

  alias Sippet.Interop.Peers

  @root Path.expand("../../..", __DIR__)
  @path Path.join(@root, "guides/interop.md")

  @intro """
  # Interoperability

  What Sippet is tested against: programs that others wrote, each started and ended by the test, over UDP, TCP and TLS on the
  loopback interface. Written by `script/interop`, which installs them, runs these tests and fails when one does; don't edit it here.
  `script/test` runs the same tests, and names each peer that it doesn't find.

  """

  @impl true
  def init(_options), do: {:ok, []}

  @impl true
  def handle_cast({:test_finished, %ExUnit.Test{tags: %{peer: peer}} = test}, rows) do
    case result(test.state) do
      :excluded -> {:noreply, rows}
      result -> {:noreply, [row(peer, test, result) | rows]}
    end
  end

  def handle_cast({:suite_finished, _times}, rows) do
    rows = Enum.sort_by(rows, &{index(&1.peer), &1.file, &1.line, &1.exercised})
    IO.puts(["\n" | Enum.map(rows, &line/1)])
    conclude(rows)
    {:noreply, rows}
  end

  def handle_cast(_event, rows), do: {:noreply, rows}

  defp result(nil), do: "passed"
  defp result({:skipped, reason}), do: "skipped: #{reason}"
  defp result({:excluded, _reason}), do: :excluded
  defp result(_failed_or_invalid), do: "FAILED"

  defp row(peer, %ExUnit.Test{tags: tags} = test, result) do
    %{
      peer: peer,
      version: if(Peers.missing(peer), do: "-", else: Peers.version(peer)),
      file: Path.relative_to(tags.file, @root),
      line: tags.line,
      exercised: exercised(tags[:describe], Atom.to_string(test.name)),
      result: result
    }
  end

  defp exercised(nil, "test " <> name), do: name

  defp exercised(describe, "test " <> name),
    do: describe <> ": " <> String.replace_prefix(name, describe <> " ", "")

  defp index(peer), do: Enum.find_index(Peers.all(), &(&1 == peer))

  defp line(row) do
    name = "#{Peers.title(row.peer)} #{row.version}"
    test = Path.basename(row.file, "_test.exs")

    [
      String.pad_trailing(name, 18),
      String.pad_trailing(row.result, 8),
      "#{test}: #{row.exercised}\n"
    ]
  end

  defp conclude(rows) do
    peers = rows |> Enum.map(& &1.peer) |> Enum.uniq()

    if peers == Peers.all() and Enum.all?(rows, &(&1.result == "passed")) do
      File.write!(@path, [@intro, summary(rows), Enum.map(peers, &section(&1, rows))])
      IO.puts("Written to #{Path.relative_to_cwd(@path)}.")
    else
      IO.puts(
        "Not all peers were there, or not all tests passed: guides/interop.md stays as it is."
      )
    end
  end

  defp summary(rows) do
    peers =
      for {peer, rows} <- Enum.group_by(rows, & &1.peer) |> Enum.sort_by(&index(elem(&1, 0))) do
        %{about: about, link: link, title: title} = Peers.about(peer)
        passed = Enum.count(rows, &(&1.result == "passed"))

        "| [#{title}](#{link}) | #{hd(rows).version} | #{about} | #{passed} of #{length(rows)} passed |\n"
      end

    ["| peer | version | what it is | tests |\n|---|---|---|---|\n" | peers]
  end

  defp section(peer, rows) do
    rows = for %{peer: ^peer} = row <- rows, do: row

    [
      "\n## #{Peers.title(peer)} #{hd(rows).version}\n",
      "\n| what was exercised | result |\n|---|---|\n",
      for(row <- rows, do: "| #{escape(row.exercised)} (`#{row.file}`) | #{row.result} |\n")
    ]
  end

  defp escape(text), do: String.replace(text, ~r/([|<>*_\[\]])/, "\\\\\\1")
end
