defmodule Sippet.Overload.SeenTest do
  use ExUnit.Case, async: true

  alias Sippet.Overload.Seen

  defp note(table, key, times), do: for(_ <- 1..times, do: :ok = Seen.note(table, key))

  test "what was noted so often is seen, and nothing else is" do
    table = Seen.new()
    refute Seen.seen?(table, :one, 1)
    note(table, :one, 1)
    assert Seen.seen?(table, :one, 1)
    refute Seen.seen?(table, :one, 2)
    note(table, :one, 20)
    assert Seen.seen?(table, :one, 15)
    refute Enum.any?(1..100_000, &Seen.seen?(table, &1, 1))
  end

  test "what strangers note takes no place from who comes again and again" do
    table = Seen.new()
    for n <- 1..1_000, do: note(table, {:regular, n}, 3)
    for n <- 1..100_000, do: note(table, {:stranger, n}, 1)
    seen = Enum.count(1..1_000, &Seen.seen?(table, {:regular, &1}, 3))
    assert seen >= 990
  end

  # A minute is a minute; the table's words are set back instead.
  test "what was noted twice makes room after a while, and what was noted often after a longer one" do
    table = Seen.new()
    for n <- 1..200_000, do: note(table, {:stranger, n}, 2)
    for n <- 1..1_000, do: note(table, {:late, n}, 2)
    assert Enum.count(1..1_000, &Seen.seen?(table, {:late, &1}, 2)) < 300

    age(table, 11)
    for n <- 1..1_000, do: note(table, {:later, n}, 2)
    assert Enum.count(1..1_000, &Seen.seen?(table, {:later, &1}, 2)) > 950
  end

  test "nothing is remembered for longer than two days" do
    table = Seen.new()
    note(table, :one, 20)
    age(table, 2_880)
    assert Seen.seen?(table, :one, 15)
    age(table, 1)
    refute Seen.seen?(table, :one, 1)
  end

  defp age(table, minutes) do
    for slot <- 1..:atomics.info(table).size, word = :atomics.get(table, slot), word != 0 do
      <<rest::44, at::20>> = <<word::64>>
      <<word::64>> = <<rest::44, Integer.mod(at - minutes, 1_048_576)::20>>
      :atomics.put(table, slot, word)
    end
  end
end
