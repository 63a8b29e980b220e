defmodule Sippet.Transactions.Inspection do
  @moduledoc false
  # What lies in the tables, for tests. They come here by `Sippet.Transactions`.

  import Sippet.Transactions.Rows, only: [row: 1, row: 2]

  alias Sippet.Stack
  alias Sippet.Transactions.{Aliases, Callbacks, Client, Deadlines, Rows, Server}

  @type key :: Client.Key.t() | Server.Key.t()

  @doc """
  What a transaction is, for tests: the name of its state, its worker, when it is looked at next, and the octets that it
  keeps. `nil` where there is none.
  """
  @spec info(Stack.t(), key) :: map | nil
  def info(stack, key) do
    case Rows.find(stack, key) do
      nil ->
        nil

      row(state: state) = row ->
        %{
          state: state && elem(state, 0),
          machine: row(row, :machine),
          worker: row(row, :worker),
          due: row(row, :due),
          running?: is_pid(row(row, :running)),
          bytes: :erts_debug.flat_size(row) * 8 + referenced(row)
        }
    end
  end

  @doc """
  The keys of all that are there, for tests.
  """
  @spec keys(Stack.t()) :: [key]
  def keys(stack), do: Rows.keys(stack)

  @doc """
  What lies in each table, for tests: nothing where no transaction is left.
  """
  @spec held(Stack.t()) :: %{atom => non_neg_integer}
  def held(%Stack{transactions: tables} = stack) do
    %{rows: Rows.size(tables.rows), deadlines: Deadlines.size(stack)}
    |> Map.merge(Aliases.sizes(tables.aliases))
    |> Map.merge(Callbacks.sizes(tables.callbacks))
  end

  # A text of up to 64 octets lies in the row itself; of others it holds all octets of which the text is a part.
  defp referenced(row) do
    row
    |> texts()
    |> Enum.uniq()
    |> Enum.map(&:binary.referenced_byte_size/1)
    |> Enum.filter(&(&1 > 64))
    |> Enum.sum()
  end

  defp texts(text) when is_binary(text), do: [text]
  defp texts(tuple) when is_tuple(tuple), do: texts(Tuple.to_list(tuple))
  defp texts(map) when is_map(map), do: texts(Map.to_list(map))
  defp texts([head | tail]), do: texts(head) ++ texts(tail)
  defp texts(_term), do: []
end
