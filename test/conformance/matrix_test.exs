defmodule Sippet.Conformance.MatrixTest do
  # Not async: when it runs, all other test modules of this run are loaded.
  use ExUnit.Case, async: false

  alias Sippet.Conformance.{Clauses, Guide, RFC, Tests}

  @statuses ["met", "updated", "left to the core", "not ours", "deviates"]

  # Sections, of two hundred. Few, or it would be another protocol.
  @most_deviations 15

  @deviations Path.expand("../../guides/deviations.md", __DIR__)

  setup_all do
    %{rows: Clauses.rows(), sections: Clauses.sections()}
  end

  defp clause(row), do: "RFC #{row.rfc} §#{row.section}"
  defp shown(row), do: "#{clause(row)}, #{row.n}"

  defp by_section(rows), do: Enum.group_by(rows, &{&1.rfc, &1.section})
  defp numbers(rows), do: Enum.map(rows || [], & &1.n)

  describe "a row" do
    test "is whole", %{rows: rows} do
      for row <- rows do
        assert row.status in @statuses, shown(row)
        assert row.requirement != "" and row.requirement == String.trim(row.requirement)

        if row.status in ["met", "updated"],
          do: assert(row.tests != [], "#{shown(row)} names no test")

        if row.status != "met", do: assert(row.reason != "", "#{shown(row)} gives no reason")
      end
    end

    test "stands once, with the others of its section", %{rows: rows} do
      keys = for row <- rows, do: {row.rfc, row.section, row.n}
      assert keys == Enum.uniq(keys)
      sections = rows |> Enum.chunk_by(&clause/1) |> Enum.map(&clause(hd(&1)))
      assert sections == Enum.uniq(sections)
    end

    test "names tests that exist", %{rows: rows} do
      loaded = Tests.loaded()

      missing =
        for row <- rows,
            {file, name} <- row.tests,
            found = Tests.find(file, name, loaded),
            found != :ok,
            do: "#{shown(row)}: #{found} for #{file}: #{name}"

      assert missing == []
    end
  end

  describe "a section" do
    test "has as many rows as it has words, or one example", %{rows: rows, sections: sections} do
      rows = by_section(rows)

      for {rfc, number, _title, count} <- sections do
        expected = if count == 0, do: ["-"], else: Enum.map(1..count, &to_string/1)
        assert {rfc, number, numbers(rows[{rfc, number}])} == {rfc, number, expected}
      end

      listed = for {rfc, number, _title, _count} <- sections, do: {rfc, number}
      assert Map.keys(rows) -- listed == []
    end
  end

  describe "the texts of the RFCs" do
    @describetag RFC.needs()

    test "are there, but for those of which each rule has a row" do
      {:ok, folder} = RFC.folder()
      unread = Clauses.unread(folder)
      for rfc <- unread, do: IO.puts("\nNOT COUNTED: no text of RFC #{rfc}")
      assert unread -- Clauses.rules() == []
    end

    test "have the words that the rows have, and no others", %{rows: rows, sections: sections} do
      {:ok, folder} = RFC.folder()
      scope = Clauses.scope(folder)
      unread = Clauses.unread(folder)
      counted = Enum.reject(sections, fn {rfc, _, _, _} -> rfc in unread end)
      assert Enum.map(scope, &elem(&1, 0)) == counted
      rows = by_section(rows)

      for {{rfc, number, _title, _count}, keywords, _text} <- scope do
        written = for row <- rows[{rfc, number}], row.keyword != "-", do: row.keyword
        assert {rfc, number, written} == {rfc, number, keywords}
      end
    end

    test "are not copied", %{rows: rows} do
      {:ok, folder} = RFC.folder()

      texts =
        for {{rfc, number, _, _}, _, text} <- Clauses.scope(folder), do: {{rfc, number}, text}

      texts = Map.new(texts)

      for %{rfc: rfc, section: section} = row <- rows,
          text = texts[{rfc, section}],
          length(String.split(row.requirement)) > 6 do
        refute text =~ row.requirement, shown(row)
      end
    end
  end

  describe "deviations" do
    test "are few", %{rows: rows} do
      assert length(deviating(rows)) <= @most_deviations
    end

    test "have their headings in the guide, and nothing else has", %{rows: rows} do
      [_intro, deviations | _others] = @deviations |> File.read!() |> String.split(~r/^## .*$/m)

      headings = ~r/^### .*$/m |> Regex.scan(deviations) |> Enum.join("\n")
      listed = for [clause] <- Regex.scan(~r/RFC \d+ §[\d.]*\d/u, headings), do: clause
      assert Enum.sort(listed) == Enum.sort(deviating(rows))
    end

    defp deviating(rows),
      do: for(row <- rows, row.status == "deviates", uniq: true, do: clause(row))
  end

  describe "the guide" do
    test "is what the rows say" do
      assert Guide.current() == Guide.render(), "out of date: run script/conformance"
    end
  end
end
