defmodule Sippet.Transactions.Deadlines do
  @moduledoc false
  # When rows want to be looked at. Each worker has two tables, which it alone reads; the stack's supervisor owns them.
  #
  # What is due soon lies in an ordered table. What lasts seconds, as the last timer of every transaction, lies in buckets of
  # 20 ms, each of which has one entry in the ordered table: that is cheap, however many there are.
  #
  # A row names the entry that counts, whoever finds another passes it over.

  alias Sippet.Stack
  alias Sippet.Transactions.Clock

  # What is so far away goes to a bucket, in ms.
  @far 2_000
  @bucket 20

  # An entry is not further away than this, in ms: one that does not count any more is there so long.
  @farthest 32_000

  @typedoc "For each worker the ordered table, and that of the buckets."
  @type t :: {soon :: tuple, buckets :: tuple}

  @doc """
  Makes the tables; they belong to the caller.
  """
  @spec new(pos_integer) :: t
  def new(workers), do: {tables(workers, :ordered_set), tables(workers, :duplicate_bag)}

  defp tables(count, type),
    do: List.to_tuple(for _worker <- 1..count, do: :ets.new(__MODULE__, [type, :public]))

  @doc """
  Has a row looked at at this time, in milliseconds of `Sippet.Transactions.Clock`, or earlier where that is far away. Returns the
  time of the entry.
  """
  @spec set(Stack.t(), pos_integer, integer, non_neg_integer) :: integer
  def set(stack, worker, at, number) do
    {soon, buckets} = stack.transactions.deadlines
    now = Clock.now(stack)
    soon = elem(soon, worker - 1)

    if at - now < @far do
      :ets.insert(soon, {{at, number}})
      at
    else
      at = up(min(at, now + @farthest), width(stack))
      put(soon, elem(buckets, worker - 1), at, number)
      at
    end
  end

  # Where time stands still it is exact.
  defp width(stack), do: if(Clock.virtual?(stack), do: 1, else: @bucket)

  @doc """
  Takes an entry away that counts no more. One of a bucket stays, and is passed over at its time.
  """
  @spec unset(Stack.t(), pos_integer, integer, non_neg_integer) :: true
  def unset(%Stack{transactions: %{deadlines: {soon, _buckets}}}, worker, at, number),
    do: :ets.delete(elem(soon, worker - 1), {at, number})

  @doc """
  Whether a row that has an entry at `set` has to have one for this time.
  """
  @spec earlier?(Stack.t(), integer, integer | :never) :: boolean
  def earlier?(_stack, _at, :never), do: true
  def earlier?(_stack, at, set) when at >= set, do: false

  # An entry of a bucket is later than what it was set for.
  def earlier?(stack, at, set),
    do: at - Clock.now(stack) < @far or up(at, width(stack)) != set

  defp up(at, width), do: at + Integer.mod(-at, width)

  defp put(soon, buckets, at, number) do
    unless :ets.member(buckets, at), do: :ets.insert(soon, {{at, :bucket}})
    :ets.insert(buckets, {at, number})
  end

  @doc """
  The earliest time at which a row of the worker wants to be looked at.
  """
  @spec first(Stack.t(), pos_integer) :: integer | :never
  def first(%Stack{transactions: %{deadlines: {soon, _buckets}}}, worker) do
    case :ets.first(elem(soon, worker - 1)) do
      {at, _number} -> at
      :"$end_of_table" -> :never
    end
  end

  @doc """
  Takes entries whose time has come, the earliest first: not many more than `most`, but for those of one bucket.
  """
  @spec take(Stack.t(), pos_integer, integer, non_neg_integer) :: [{integer, non_neg_integer}]
  def take(%Stack{transactions: %{deadlines: {soon, buckets}}}, worker, now, most),
    do: take_first(elem(soon, worker - 1), elem(buckets, worker - 1), now, most)

  defp take_first(_soon, _buckets, _now, most) when most <= 0, do: []

  defp take_first(soon, buckets, now, most) do
    case :ets.first(soon) do
      {at, number} = entry when at <= now ->
        :ets.delete(soon, entry)
        entries = if number == :bucket, do: :ets.take(buckets, at), else: [entry]
        entries ++ take_first(soon, buckets, now, most - length(entries))

      _later_or_none ->
        []
    end
  end

  @doc """
  How many entries there are.
  """
  @spec size(Stack.t()) :: non_neg_integer
  def size(%Stack{transactions: %{deadlines: {soon, buckets}}}) do
    soon =
      for table <- Tuple.to_list(soon),
          do: :ets.select_count(table, [{{{:_, :"$1"}}, [{:is_integer, :"$1"}], [true]}])

    far = for table <- Tuple.to_list(buckets), do: :ets.info(table, :size)
    Enum.sum(soon ++ far)
  end
end
