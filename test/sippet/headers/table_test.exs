defmodule Sippet.Headers.TableTest do
  use ExUnit.Case, async: true

  alias Sippet.Headers.Table

  # The 20 compact forms of the IANA registry.
  @compact ~w(a b c d e f i j k l m n o r s t u v x y)

  test "holds every compact form once" do
    assert Enum.sort(for %{compact: compact} when compact != nil <- Table.rows(), do: compact) ==
             @compact
  end

  test "types 46 headers" do
    assert Enum.count(Table.rows(), &(&1.key != nil)) == 46
  end

  describe "find/1" do
    for %{name: name, compact: compact} = row <- Table.rows() do
      test "finds #{name} in any spelling" do
        row = unquote(Macro.escape(row))

        for spelling <- spellings(unquote(name)) ++ compact(unquote(compact)) do
          assert Table.find(spelling) == row
        end
      end
    end

    test "finds nothing else" do
      for name <- ["", "x", "Z", "X-Foo", "Call_ID", "Vi", "Via ", "via:"] do
        assert Table.find(name) == if(name == "x", do: Table.find("Session-Expires"))
      end
    end
  end

  describe "name/1" do
    test "leads from the key back to the name" do
      for row <- Table.rows(), row.key, do: assert(Table.name(row.key) == row.name)
      assert Table.name(:event) == nil
    end
  end

  defp spellings(name), do: [name, String.downcase(name), String.upcase(name)]

  defp compact(nil), do: []
  defp compact(letter), do: [letter, String.upcase(letter)]
end
