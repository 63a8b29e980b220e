defmodule Sippet.Conformance.Guide do
  @moduledoc false
  # guides/conformance.md, made of the matrix. `script/conformance` writes it; a test says when it is out of date.

  alias Sippet.Conformance.Clauses

  @root Path.expand("../../..", __DIR__)
  @path Path.join(@root, "guides/conformance.md")

  @statuses ["met", "updated", "left to the core", "not ours", "deviates"]

  @titles %{
    "3261" => "SIP: Session Initiation Protocol",
    "3262" => "Reliability of provisional responses (100rel)",
    "3311" => "The UPDATE method",
    "3327" => "Registering contacts behind proxies: the Path header",
    "3515" => "The REFER method",
    "3581" => "Symmetric response routing (`rport`)",
    "3891" => "The Replaces header",
    "3892" => "The Referred-By mechanism",
    "4028" => "Session timers",
    "4320" => "Non-INVITE transactions",
    "4475" => "Torture test messages",
    "4488" => "REFER without a subscription",
    "5118" => "Torture test messages for IPv6",
    "5393" => "Loops of proxies that fork",
    "5626" => "Client-initiated connections: keep-alive",
    "5922" => "Domain certificates",
    "5923" => "Connection reuse: who is at the other end",
    "6026" => "2xx responses to INVITE",
    "6665" => "Event notification: SUBSCRIBE and NOTIFY",
    "7616" => "HTTP digest access authentication",
    "8760" => "SHA-256 and SHA-512/256 digests for SIP"
  }

  @intro """
  # Conformance

  What the RFCs ask of the layers that Sippet has, clause by clause, and the tests that prove it. Made by
  `script/conformance` of `test/conformance/clauses.tsv`; don't edit it here.

  There is a row for each MUST, MUST NOT, SHALL, SHALL NOT, SHOULD, SHOULD NOT, REQUIRED, RECOMMENDED and NOT RECOMMENDED
  in capitals (RFC 2119 gives REQUIRED and SHALL the force of MUST, RECOMMENDED that of SHOULD) of RFC 3261 §7 to §20,
  §22 and §25; of RFC 5626 §3.5, §4.4, §5.4 and §8; and of RFC 3581, 4320, 6026, 7616 and 8760 whole. MAY and OPTIONAL ask
  for nothing. RFC 4475 and RFC 5118 have no such words: there each message is a row. RFC 3262, 3311, 3515, 3891, 3892, 4028,
  4488 and 6665, RFC 3327 §5, RFC 5393 §4 and §5, RFC 5922 §7 and RFC 5923 §4 and §9 have a row for each rule, written without
  their texts at hand: their words are not counted, and nothing but a reader finds a rule that is missing. Rows are counted
  within their section, and their words are this project's own: the RFC's sentence is the one that counts.

  The build fails when a word of these sections has no row, when a row that claims to be met names no test or one that
  does not exist, when a test fails, when a deviation is not in [the list of deviations](deviations.md), and
  when this page is not what the table says.

    * **met** - the stack does it, and the tests show it
    * **updated** - a later RFC put another rule in its place, which the stack follows
    * **left to the core** - it is for the code that uses the library to decide; the stack does not stand in its way
    * **not ours** - it speaks to registrars, operators, people, or a transport that the library does not have
    * **deviates** - the stack does something else, for the reason given

  """

  @doc """
  Writes the guide.
  """
  @spec write!() :: :ok
  def write!, do: File.write!(@path, render())

  @doc """
  The guide as it stands in the project, or `""`.
  """
  @spec current() :: String.t()
  def current do
    case File.read(@path) do
      {:ok, text} -> text
      {:error, :enoent} -> ""
    end
  end

  @doc """
  The guide as the matrix has it.
  """
  @spec render() :: String.t()
  def render do
    rows = Enum.group_by(Clauses.rows(), & &1.rfc)

    titles =
      Map.new(Clauses.sections(), fn {rfc, number, title, _n} -> {{rfc, number}, title} end)

    rfcs = Enum.filter(Clauses.rfcs(), &is_map_key(rows, &1))

    IO.iodata_to_binary([
      @intro,
      summary(rfcs, rows),
      Enum.map(rfcs, &rfc(&1, rows[&1], titles))
    ])
  end

  defp summary(rfcs, rows) do
    [
      "| RFC | rows | #{Enum.join(@statuses, " | ")} |\n",
      "|---|---|#{String.duplicate("---|", length(@statuses))}\n",
      Enum.map(rfcs, &counts("[#{&1}](#rfc-#{&1})", rows[&1])),
      counts("all", Enum.flat_map(rfcs, &rows[&1]))
    ]
  end

  defp counts(name, rows) do
    numbers = for status <- @statuses, do: Enum.count(rows, &(&1.status == status))
    "| #{name} | #{Enum.join([length(rows) | numbers], " | ")} |\n"
  end

  defp rfc(rfc, rows, titles) do
    [
      "\n## RFC #{rfc}\n\n#{@titles[rfc]}\n"
      | rows |> Enum.chunk_by(& &1.section) |> Enum.map(&section(&1, titles))
    ]
  end

  defp section([%{rfc: rfc, section: number} | _] = rows, titles) do
    [
      "\n### §#{number} #{escape(titles[{rfc, number}])}\n\n",
      "| | word | what is asked | | shown by, or why |\n|---|---|---|---|---|\n",
      Enum.map(rows, &line/1)
    ]
  end

  defp line(row) do
    cells = [row.n, row.keyword, escape(row.requirement), status(row.status), proof(row)]
    "| #{Enum.join(cells, " | ")} |\n"
  end

  defp status(status) when status in ["met", "updated"], do: status
  defp status(status), do: "**#{status}**"

  defp proof(%{reason: reason, tests: tests}) do
    tests = for {file, name} <- tests, do: "`#{file}`: #{escape(name)}"
    [escape(reason) | tests] |> Enum.reject(&(&1 == "")) |> Enum.join("<br>")
  end

  # What stands in a cell of a table, as text but for what is code.
  defp escape(text) do
    text
    |> String.split("`")
    |> Enum.with_index(fn part, index -> escape(part, rem(index, 2)) end)
    |> Enum.join("`")
  end

  defp escape(code, 1), do: String.replace(code, "|", "\\|")
  defp escape(text, 0), do: String.replace(text, ~r/([|<>*_\[\]])/, "\\\\\\1")
end
