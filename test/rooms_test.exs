defmodule Sippet.RoomsTest do
  # `SIPPET_WRITE=1 mix test test/rooms_test.exs` writes the tree of ARCHITECTURE.md.
  use ExUnit.Case, async: true

  alias Sippet.Rooms

  @document "ARCHITECTURE.md"
  @begins "<!-- The tree is written by test/rooms_test.exs. -->\n"
  @ends "<!-- End of the tree. -->\n"

  test "each names those below it alone" do
    assert Rooms.upward() == []
  end

  test "what is named is found, also in patterns and literals" do
    edges = Rooms.edges()
    assert {Sippet, Sippet.Router.Outbound} in edges
    assert {Sippet.Dialog, Sippet.Message.Route} in edges
    assert {Sippet.Proxy, Sippet.URI} in edges
    refute {Sippet.Message, Sippet} in edges
  end

  test "stand in ARCHITECTURE.md as they are" do
    text = File.read!(@document)
    [before, rest] = String.split(text, @begins)
    [_tree, behind] = String.split(rest, @ends)
    written = before <> @begins <> tree() <> @ends <> behind
    if System.get_env("SIPPET_WRITE"), do: File.write!(@document, written)
    assert File.read!(@document) == written
  end

  defp tree do
    rooms =
      for {title, what, modules} <- Rooms.tree() do
        names = Enum.map_join(modules, ", ", &"`#{inspect(&1)}`")
        "* **#{title}** - #{what}\n  (#{names})\n"
      end

    IO.iodata_to_binary(["\n", rooms, "\n"])
  end
end
