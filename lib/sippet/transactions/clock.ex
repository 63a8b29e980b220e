defmodule Sippet.Transactions.Clock do
  @moduledoc false
  # The time by which transactions go, and timers of the user, in milliseconds from any start. It is the VM's, but in a
  # stack of Sippet.Test, whose private option `:clock` is a table: there it stands still until it is set. Several stacks
  # may have one table.

  alias Sippet.Stack

  # How often a process is looked at, 1 ms of real time after another: one that waits for something else has its message
  # later.
  @patience 200

  @typedoc "A table with the time, `{:now, ms}`, the names of its stacks, and timers by `{at, number}`."
  @type table :: :ets.tid()

  @type timer :: reference | {at :: integer, number :: integer}

  @spec new() :: table
  def new do
    # In an ordered set the timers stand behind the atoms, the earliest first.
    table = :ets.new(__MODULE__, [:ordered_set, :public])
    :ets.insert(table, now: 0, stacks: [])
    table
  end

  @doc """
  Adds a stack to those that go by this table.
  """
  @spec add(table, atom) :: true
  def add(table, name) do
    [stacks: names] = :ets.lookup(table, :stacks)
    :ets.insert(table, {:stacks, [name | List.delete(names, name)]})
  end

  @doc """
  The names of the stacks that go by the time of this one.
  """
  @spec stacks(Stack.t()) :: [atom]
  def stacks(%Stack{options: %{private: %{clock: table}}}),
    do: :ets.lookup_element(table, :stacks, 2)

  @spec now(Stack.t() | nil) :: integer
  def now(%Stack{options: %{private: %{clock: table}}}), do: :ets.lookup_element(table, :now, 2)
  def now(_real), do: System.monotonic_time(:millisecond)

  @doc """
  Whether time stands still, but for `put/2`.
  """
  @spec virtual?(Stack.t()) :: boolean
  def virtual?(%Stack{options: options}), do: is_map_key(options.private, :clock)

  @spec put(Stack.t(), integer) :: true
  def put(%Stack{options: %{private: %{clock: table}}}, now), do: :ets.insert(table, {:now, now})

  ## Timers of the user

  @spec send_after(Stack.t() | nil, pid, term, non_neg_integer) :: timer
  def send_after(%Stack{options: %{private: %{clock: table}}} = stack, pid, message, ms) do
    timer = {now(stack) + ms, :erlang.unique_integer([:monotonic])}
    :ets.insert(table, {timer, pid, message})
    timer
  end

  def send_after(_real, pid, message, ms), do: Process.send_after(pid, message, ms)

  @spec cancel_timer(Stack.t() | nil, timer) :: :ok
  def cancel_timer(%Stack{options: %{private: %{clock: table}}}, {_at, _number} = timer) do
    :ets.delete(table, timer)
    :ok
  end

  def cancel_timer(_real, timer) when is_reference(timer) do
    Process.cancel_timer(timer)
    :ok
  end

  # That of a stack of Sippet.Test that has ended.
  def cancel_timer(_real, _timer), do: :ok

  @doc """
  The earliest timer, or `:never`.
  """
  @spec first_timer(Stack.t()) :: timer | :never
  def first_timer(%Stack{options: %{private: %{clock: table}}}) do
    case :ets.next(table, :stacks) do
      {_at, _number} = timer -> timer
      :"$end_of_table" -> :never
    end
  end

  @doc """
  Sends the message of a timer, and waits until its process has taken it and waits for the next one.
  """
  @spec fire(Stack.t(), timer) :: :ok
  def fire(%Stack{options: %{private: %{clock: table}}}, timer) do
    for {_timer, pid, message} <- :ets.take(table, timer) do
      send(pid, message)
      await_idle(pid)
    end

    :ok
  end

  @doc """
  Waits until a process has taken all its messages, and waits for another one. Returns whether it was at work.
  """
  @spec await_idle(pid) :: boolean
  def await_idle(pid), do: await_idle(pid, @patience)

  # The test itself takes its messages when it likes, and a process of another node can't be looked at.
  defp await_idle(pid, tries) when tries > 0 and node(pid) == node() and pid != self() do
    case Process.info(pid, [:message_queue_len, :status]) do
      [message_queue_len: count, status: status] when count > 0 or status != :waiting ->
        receive(do: (:never -> :ok), after: (1 -> await_idle(pid, tries - 1)))
        true

      _idle_or_gone ->
        false
    end
  end

  defp await_idle(_pid, _tries), do: false
end
