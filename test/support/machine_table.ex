defmodule Sippet.MachineTable do
  # The state × event table in the documentation of a transaction machine, as data.

  def machines do
    [
      Sippet.Transactions.Client.Invite,
      Sippet.Transactions.Client.NonInvite,
      Sippet.Transactions.Server.Invite,
      Sippet.Transactions.Server.NonInvite
    ]
  end

  # The cells that say something: `{event, state, cell}`.
  def rows(module) do
    {:docs_v1, _, _, _, %{"en" => text}, _, _} = Code.fetch_docs(module)

    lines =
      text |> String.split("\n") |> Enum.drop_while(&(not String.starts_with?(&1, "| event")))

    [head, _rule | rows] = lines |> Enum.take_while(&(&1 != "")) |> Enum.map(&cells/1)
    [_event | states] = head

    for [event | cells] <- rows,
        {state, cell} <- Enum.zip(states, cells),
        cell != "",
        do: {event, String.to_atom(state), cell}
  end

  defp cells(line),
    do: line |> String.split("|") |> Enum.slice(1..-2//1) |> Enum.map(&String.trim/1)
end
