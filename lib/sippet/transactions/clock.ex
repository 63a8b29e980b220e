defmodule Sippet.Transactions.Clock do
  @moduledoc false
  # The time by which transactions go, in milliseconds from any start. It is the VM's, but in a stack of Sippet.Test,
  # whose private option `:clock` is a table: there it stands still until it is set.

  alias Sippet.Stack

  @typedoc "A table with the time, `{:now, ms}`."
  @type table :: :ets.tid()

  @spec new() :: table
  def new do
    table = :ets.new(__MODULE__, [:public])
    :ets.insert(table, {:now, 0})
    table
  end

  @spec now(Stack.t()) :: integer
  def now(%Stack{options: %{private: %{clock: table}}}), do: :ets.lookup_element(table, :now, 2)
  def now(%Stack{}), do: System.monotonic_time(:millisecond)

  @doc """
  Whether time stands still, but for `put/2`.
  """
  @spec virtual?(Stack.t()) :: boolean
  def virtual?(%Stack{options: options}), do: is_map_key(options.private, :clock)

  @spec put(Stack.t(), integer) :: true
  def put(%Stack{options: %{private: %{clock: table}}}, now), do: :ets.insert(table, {:now, now})
end
