defmodule Sippet.Interop.Notebook do
  @moduledoc false
  # What the cores of these tests remember, and whom they tell: a table for each stack. A core has no process of its own,
  # so what outlives a callback has to lie somewhere; a real application has its own place.

  use Agent

  @doc """
  Opens the notebook of a stack, whose core tells what it sees to `observer`.
  """
  @spec start_link({stack :: atom, observer :: pid}) :: Agent.on_start()
  def start_link({stack, observer}) do
    Agent.start_link(fn ->
      :ets.new(table(stack), [:named_table, :public])
      put(stack, :observer, observer)
    end)
  end

  @doc false
  def child_spec({stack, _observer} = argument),
    do: %{super(argument) | id: {__MODULE__, stack}}

  @doc """
  Tells the test what a core saw.
  """
  @spec tell(atom, term) :: :ok
  def tell(stack, event) do
    send(fetch!(stack, :observer), {stack, event})
    :ok
  rescue
    # A callback may outlive its stack, and the test with it.
    ArgumentError -> :ok
  end

  @spec put(atom, term, term) :: :ok
  def put(stack, key, value) do
    :ets.insert(table(stack), {key, value})
    :ok
  end

  @doc """
  Whether this is the first time that `key` is asked for.
  """
  @spec first?(atom, term) :: boolean
  def first?(stack, key), do: :ets.insert_new(table(stack), {{:first, key}, true})

  @spec fetch!(atom, term) :: term
  def fetch!(stack, key), do: :ets.lookup_element(table(stack), key, 2)

  @spec get(atom, term, term) :: term
  def get(stack, key, default) do
    case :ets.lookup(table(stack), key) do
      [{_key, value}] -> value
      [] -> default
    end
  end

  @doc """
  Forgets all but the observer and the address of the stack.
  """
  @spec clear(atom) :: :ok
  def clear(stack) do
    kept = Enum.flat_map([:observer, :local, :protocol], &:ets.lookup(table(stack), &1))
    :ets.delete_all_objects(table(stack))
    :ets.insert(table(stack), kept)
    :ok
  end

  defp table(stack), do: Module.concat(stack, Notebook)
end
