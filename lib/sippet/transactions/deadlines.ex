defmodule Sippet.Transactions.Deadlines do
  @moduledoc false
  # When rows want to be looked at: one ordered table for each worker, which it alone reads. The stack's supervisor owns
  # them. A row has one entry, which the row itself names. One that a worker left behind when it was killed is passed over.

  alias Sippet.Stack

  @typedoc "The tables by the indexes of their workers."
  @type t :: tuple

  @doc """
  Makes the tables; they belong to the caller.
  """
  @spec new(pos_integer) :: t
  def new(workers) do
    List.to_tuple(for _worker <- 1..workers, do: :ets.new(__MODULE__, [:ordered_set, :public]))
  end

  @doc """
  Has a row looked at at this time, in milliseconds of `now/1`.
  """
  @spec set(Stack.t(), pos_integer, integer, non_neg_integer) :: true
  def set(stack, worker, at, number), do: :ets.insert(table(stack, worker), {{at, number}})

  @doc """
  Takes an entry away that nobody waits for any more.
  """
  @spec unset(Stack.t(), pos_integer, integer, non_neg_integer) :: true
  def unset(stack, worker, at, number), do: :ets.delete(table(stack, worker), {at, number})

  @doc """
  The earliest time at which a row of the worker wants to be looked at.
  """
  @spec first(Stack.t(), pos_integer) :: integer | :never
  def first(stack, worker) do
    case :ets.first(table(stack, worker)) do
      {at, _number} -> at
      :"$end_of_table" -> :never
    end
  end

  @doc """
  Takes up to `most` entries whose time has come, the earliest first.
  """
  @spec take(Stack.t(), pos_integer, integer, non_neg_integer) :: [{integer, non_neg_integer}]
  def take(stack, worker, now, most), do: take_first(table(stack, worker), now, most)

  defp take_first(_table, _now, 0), do: []

  defp take_first(table, now, most) do
    case :ets.first(table) do
      {at, _number} = entry when at <= now ->
        :ets.delete(table, entry)
        [entry | take_first(table, now, most - 1)]

      _later_or_none ->
        []
    end
  end

  @doc """
  How many entries there are.
  """
  @spec size(Stack.t()) :: non_neg_integer
  def size(%Stack{transactions: %{deadlines: tables}}),
    do: tables |> Tuple.to_list() |> Enum.map(&:ets.info(&1, :size)) |> Enum.sum()

  defp table(%Stack{transactions: %{deadlines: tables}}, worker), do: elem(tables, worker - 1)
end
