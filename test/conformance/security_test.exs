defmodule Sippet.Conformance.SecurityTest do
  # Not async: when it runs, all other test modules of this run are loaded.
  use ExUnit.Case, async: false

  alias Sippet.Conformance.Tests

  # Each line of what SECURITY.md says is defended names its tests.
  @row ~r/^\| (?!threat|---)([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$/m
  @test ~r/`(test\/[^`]+)`: ([^<]+)/

  # What no test of the suite shows.
  @by_script ["crates that were tampered with, withdrawn, or have a bad licence"]

  test "each defence names tests that exist" do
    loaded = Tests.loaded()
    [table, _behind] = "SECURITY.md" |> File.read!() |> String.split("## What is not", parts: 2)

    rows =
      for [_all, threat, _defence, _where, tests] <- Regex.scan(@row, table) do
        named = Regex.scan(@test, tests, capture: :all_but_first)
        assert named != [] or threat in @by_script, "#{threat}: no test"

        for [file, name] <- named,
            do:
              assert(
                {file, name, Tests.find(file, String.trim(name), loaded)} == {file, name, :ok}
              )
      end

    assert length(rows) > 30
  end
end
