defmodule Sippet.Transactions.Clock do
  @moduledoc false
  # The time by which transactions go. It is the VM's, but in a stack of Sippet.Test, whose option `:clock` is a table:
  # there it stands still, timers are rows of the table, and `advance/2` lets them fire in order.

  alias Sippet.Stack

  @typedoc "A table of the time, `{:now, ms}`, and of timers, `{{pid, type}, deadline, order, content}`."
  @type table :: :ets.tid()

  @typedoc "What kind of a timer a machine sets."
  @type type :: :state_timeout | {:timeout, term}

  @spec new() :: table
  def new do
    table = :ets.new(__MODULE__, [:public])
    :ets.insert(table, {:now, 0})
    table
  end

  @doc """
  Milliseconds, from any start.
  """
  @spec now(Stack.t()) :: integer
  def now(stack) do
    case table(stack) do
      nil -> System.monotonic_time(:millisecond)
      table -> :ets.lookup_element(table, :now, 2)
    end
  end

  defp table(%Stack{options: options}), do: Map.get(options, :clock)

  @doc """
  What sets a timer of the calling machine to so many milliseconds from now.
  """
  @spec set(Stack.t(), type, non_neg_integer, term) :: [:gen_statem.action()]
  def set(stack, type, ms, content) do
    case table(stack) do
      table when table != nil and ms > 0 -> note(table, type, now(stack) + ms, content)
      _the_vm_or_at_once -> [{type, ms, content}]
    end
  end

  @doc """
  What sets a timer of the calling machine to a time of `now/1`.
  """
  @spec set_at(Stack.t(), type, integer, term) :: [:gen_statem.action()]
  def set_at(stack, type, deadline, content) do
    case table(stack) do
      nil -> [{type, deadline, content, abs: true}]
      _table -> set(stack, type, max(deadline - now(stack), 0), content)
    end
  end

  defp note(table, type, deadline, content) do
    row = {{self(), type}, deadline, System.unique_integer([:monotonic]), content}
    :ets.insert(table, row)
    []
  end

  @doc """
  What cancels timers of the calling machine.
  """
  @spec cancel(Stack.t(), [type]) :: [:gen_statem.action()]
  def cancel(stack, types) do
    with table when table != nil <- table(stack),
         do: for(type <- types, do: :ets.delete(table, {self(), type}))

    for type <- types, do: {type, :cancel}
  end

  @doc """
  Lets so many milliseconds pass in a stack of Sippet.Test: what is due fires in order, each when all before it is done.
  """
  @spec advance(Stack.t(), non_neg_integer) :: :ok
  def advance(stack, ms), do: advance_to(stack, table(stack), now(stack) + ms)

  defp advance_to(stack, table, target) do
    settle(stack)

    case next(table, target) do
      nil ->
        :ets.insert(table, {:now, target})
        :ok

      {{pid, type} = key, deadline, _order, content} ->
        :ets.insert(table, {:now, deadline})
        :ets.delete(table, key)
        Kernel.send(pid, {__MODULE__, type, content})
        advance_to(stack, table, target)
    end
  end

  # A machine that has ended took its timers along.
  defp next(table, target) do
    due = [{{{:_, :_}, :"$1", :_, :_}, [{:"=<", :"$1", target}], [:"$_"]}]

    table
    |> :ets.select(due)
    |> Enum.filter(fn {{pid, _type}, _deadline, _order, _content} -> Process.alive?(pid) end)
    |> Enum.min_by(fn {_key, deadline, order, _content} -> {deadline, order} end, fn -> nil end)
  end

  # Each machine has handled what was sent to it.
  defp settle(stack) do
    for pid <- Registry.select(stack.name, [{{:_, :"$1", :_}, [], [:"$1"]}]) do
      try do
        :sys.get_state(pid)
      catch
        :exit, _ended -> :ok
      end
    end
  end
end
