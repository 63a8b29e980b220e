defmodule Sippet.Binding.Store.Table do
  @moduledoc false
  # The bindings of a store as rows of an ETS table that everybody reads: {address-of-record,
  # version, bindings}. A change is made by its caller, outside of any process of the store: it is
  # written if the row has still the version that was read, else it is made again of what is there
  # now. One of those who are at the same row is always done.
  #
  # A row more has the number of addresses-of-record that there may be.

  alias Sippet.Binding

  # How many rows are looked at in one go.
  @step 200

  @type version :: reference | nil

  @spec new(atom, :public | :protected, pos_integer) :: atom
  def new(name, access, max) do
    options = [:named_table, access, read_concurrency: true, write_concurrency: true]
    ^name = :ets.new(name, options)
    :ets.insert(name, {:max, max})
    name
  end

  @spec size(atom) :: non_neg_integer
  def size(table), do: :ets.info(table, :size) - 1

  @spec fetch(atom, String.t()) :: [Binding.t()]
  def fetch(table, key), do: table |> read(key) |> elem(1)

  defp read(table, key) do
    case :ets.lookup(table, key) do
      [{_key, version, bindings}] -> {version, bindings}
      [] -> {nil, []}
    end
  end

  @doc """
  Makes a change. `write` is called with the version that was read and the bindings to keep.
  """
  @spec update(atom, String.t(), (list -> tuple), (version, list -> :ok | :conflict | :full)) ::
          {:ok, term} | {:error, term} | :full
  def update(table, key, change, write) do
    {version, before} = read(table, key)

    case change.(before) do
      {:ok, ^before, result} ->
        {:ok, result}

      {:ok, bindings, result} ->
        written(write.(version, bindings), result, {table, key, change, write})

      {:error, result} ->
        {:error, result}
    end
  end

  defp written(:ok, result, _again), do: {:ok, result}
  defp written(:full, _result, _again), do: :full

  defp written(:conflict, _result, {table, key, change, write}),
    do: update(table, key, change, write)

  @doc """
  Writes bindings in place of those of a version, or says why not.
  """
  @spec write(atom, String.t(), version, [Binding.t()]) :: :ok | :conflict | :full
  def write(_table, _key, nil, []), do: :ok

  def write(table, key, nil, bindings) do
    version = make_ref()

    cond do
      not :ets.insert_new(table, {key, version, bindings}) -> :conflict
      size(table) <= :ets.lookup_element(table, :max, 2) -> :ok
      # Who has changed the row meanwhile was told that it is kept.
      delete(table, key, version) == 0 -> :ok
      true -> :full
    end
  end

  def write(table, key, version, []), do: one(delete(table, key, version))

  def write(table, key, version, bindings) do
    row = {:const, {key, make_ref(), bindings}}
    one(:ets.select_replace(table, [{{key, version, :_}, [], [row]}]))
  end

  defp delete(table, key, version),
    do: :ets.select_delete(table, [{{key, version, :_}, [], [true]}])

  defp one(1), do: :ok
  defp one(0), do: :conflict

  @doc """
  Whether bindings may be written in place of those of a version. Only the one process that writes
  a table may go by it.
  """
  @spec writable(atom, String.t(), version) :: :ok | :conflict | :full
  def writable(table, key, version) do
    case read(table, key) do
      {nil, []} when version == nil ->
        if size(table) < :ets.lookup_element(table, :max, 2), do: :ok, else: :full

      {^version, _bindings} ->
        :ok

      _other ->
        :conflict
    end
  end

  @doc """
  Sets what is kept for an address-of-record, as it was read from a file.
  """
  @spec load(atom, String.t(), [Binding.t()]) :: true
  def load(table, key, bindings) do
    case Binding.current(bindings) do
      [] -> :ets.delete(table, key)
      current -> :ets.insert(table, {key, make_ref(), current})
    end
  end

  @doc """
  Removes the bindings that have expired.
  """
  @spec sweep(atom) :: :ok
  def sweep(table) do
    each(table, fn rows ->
      for {key, version, bindings} <- rows,
          current = Binding.current(bindings),
          current != bindings,
          do: write(table, key, version, current)
    end)
  end

  @doc """
  Calls a function with all rows, some at a time.
  """
  @spec each(atom, ([{String.t(), version, [Binding.t()]}] -> term)) :: :ok
  def each(table, fun) do
    :ets.safe_fixtable(table, true)
    step(:ets.select(table, [{{:_, :_, :_}, [], [:"$_"]}], @step), fun)
  after
    :ets.safe_fixtable(table, false)
  end

  defp step(:"$end_of_table", _fun), do: :ok

  defp step({rows, continuation}, fun) do
    fun.(rows)
    step(:ets.select(continuation), fun)
  end
end
