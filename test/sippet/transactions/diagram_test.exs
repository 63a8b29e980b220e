defmodule Sippet.Transactions.DiagramTest do
  # The pictures of guides/transactions.md show what the tables of the machines say, of which each cell is a test
  # (table_test.exs).
  use ExUnit.Case, async: true

  alias Sippet.{MachineTable, StateDiagram}

  @guide "guides/transactions.md"

  for machine <- MachineTable.machines() do
    describe inspect(machine) do
      test "is drawn with the edges of its table, and no others" do
        targets = %{"ends" => "terminated"}

        wanted =
          for {event, state, cell} <- MachineTable.rows(unquote(machine)),
              event != "terminate",
              word <- String.split(cell, "; "),
              to = targets[word] || word,
              to in ~w(proceeding completed confirmed accepted terminated),
              do: "#{state}-#{to}"

        drawn = Regex.scan(~r/<polyline id="(\w+-\w+)"/, File.read!(path(unquote(machine))))
        assert Enum.sort(for [_all, id] <- drawn, do: id) == Enum.sort(Enum.uniq(wanted))
      end

      test "is drawn with the words of its table" do
        assert File.read!(path(unquote(machine))) == StateDiagram.svg(unquote(machine)),
               "draw it anew: MIX_ENV=test mix run --no-start -e 'Sippet.StateDiagram.write!()'"
      end

      test "is in the guide" do
        file = Path.basename(path(unquote(machine)))
        assert File.read!(@guide) =~ "](assets/#{file})"
      end
    end
  end

  defp path(machine), do: StateDiagram.path(machine)
end
