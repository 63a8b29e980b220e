defmodule Sippet.Conformance.Clauses do
  @moduledoc false
  # The matrix itself: test/conformance/clauses.tsv has a row for each word of RFC 2119 in the sections that fall to
  # the stack, and test/conformance/sections.tsv has those sections, with how many of the words each has. A row with `-`
  # in place of a word and its ordinal is an example of an RFC that has no such words (4475, 5118). An RFC whose text the
  # folder lacks has a row for each rule, with `-` in place of its word; sections.tsv alone says how many those are.

  alias Sippet.Conformance.RFC

  @root Path.expand("../../..", __DIR__)
  @clauses Path.join(@root, "test/conformance/clauses.tsv")
  @sections Path.join(@root, "test/conformance/sections.tsv")

  # The sections that are ours to meet; all that an RFC has where none is named.
  @scope [
    {"3261", ~w(7 8 9 10 11 12 13 14 15 16 17 18 19 20 22 25)},
    {"3262", ~w(3 4 5 7)},
    {"3311", ~w(4 5)},
    {"3327", ~w(5)},
    {"3515", ~w(2)},
    {"3581", []},
    {"3891", ~w(3 4 6)},
    {"3892", ~w(2)},
    {"4028", ~w(4 5 6 7 8 9 10 11)},
    {"4320", []},
    {"4475", ~w(3)},
    {"4488", ~w(4)},
    {"5118", ~w(4)},
    {"5393", ~w(4 5)},
    {"5626", ~w(3.5 4.4 5.4 8)},
    {"5922", ~w(7)},
    {"5923", ~w(9)},
    {"6026", []},
    {"6665", ~w(4 8)},
    {"7616", []},
    {"8760", []}
  ]

  @type row :: %{
          rfc: String.t(),
          section: String.t(),
          n: String.t(),
          keyword: String.t(),
          requirement: String.t(),
          status: String.t(),
          reason: String.t(),
          tests: [{file :: String.t(), name :: String.t()}]
        }

  @type section ::
          {rfc :: String.t(), number :: String.t(), title :: String.t(), count :: non_neg_integer}

  @columns ~w(rfc section n keyword requirement status reason tests)

  @spec rows() :: [row]
  def rows do
    [@columns | rows] = table(@clauses)
    for row <- rows, do: @columns |> Enum.map(&String.to_atom/1) |> Enum.zip(row) |> row()
  end

  defp row(columns), do: columns |> Map.new() |> Map.update!(:tests, &tests/1)

  defp tests(text) do
    for reference <- String.split(text, " | ", trim: true) do
      [file, name] = String.split(reference, ": ", parts: 2)
      {file, name}
    end
  end

  @spec sections() :: [section]
  def sections do
    [["rfc", "section", "title", "count"] | rows] = table(@sections)
    for [rfc, number, title, count] <- rows, do: {rfc, number, title, String.to_integer(count)}
  end

  defp table(path) do
    for line <- path |> File.read!() |> String.split("\n", trim: true),
        do: String.split(line, "\t")
  end

  # These have no words of RFC 2119, but a message in each section that has none below it.
  @examples ~w(4475 5118)

  # These were written down rule by rule, without their texts.
  @rules ~w(3262 3311 3327 3515 3891 3892 4028 4488 5393 5922 5923 6665)

  @doc """
  The RFCs of the scope whose texts the folder lacks. Those of all but `rules/0` have to be there.
  """
  @spec unread(Path.t()) :: [String.t()]
  def unread(folder), do: Enum.reject(rfcs(), &RFC.text?(folder, &1))

  @doc """
  The RFCs that have a row for each rule, and not for each word.
  """
  @spec rules() :: [String.t()]
  def rules, do: @rules

  @doc """
  The sections of the scope that have any of the words, or an example, and the words, as the texts have them that are there.
  """
  @spec scope(Path.t()) :: [{section, [keyword :: String.t()], text :: String.t()}]
  def scope(folder) do
    for {rfc, prefixes} <- @scope,
        RFC.text?(folder, rfc),
        sections = RFC.sections(folder, rfc),
        {number, title, text} <- sections,
        within?(number, prefixes),
        keywords = RFC.keywords(text),
        keywords != [] or (rfc in @examples and leaf?(number, sections)),
        do: {{rfc, number, title, length(keywords)}, keywords, text}
  end

  defp leaf?(number, sections),
    do:
      not Enum.any?(sections, fn {other, _title, _text} ->
        String.starts_with?(other, number <> ".")
      end)

  defp within?(_number, []), do: true

  defp within?(number, prefixes),
    do: Enum.any?(prefixes, &String.starts_with?(number <> ".", &1 <> "."))

  @doc """
  The RFCs, in the order of their numbers.
  """
  @spec rfcs() :: [String.t()]
  def rfcs, do: Enum.map(@scope, &elem(&1, 0))
end
