defmodule Sippet.Transactions.Shelf do
  @moduledoc false
  # Where a transaction waits out its last timer. All that is left to it is to absorb what comes again, for 32 s
  # mostly, so it leaves its process for a row of a table. A message that comes for it takes it off
  # the shelf into a process again, with the same data in the same state.
  #
  # The other table holds what merged requests (RFC3261§8.2.2.2) are told by: a row per request without a To tag.
  #
  # The process that owns the tables looks every T1 for rows whose time is over.

  use GenServer

  alias Sippet.{Message, Stack, Telemetry}
  alias Sippet.Transactions.{Client, Clock, Key, Server}

  @typedoc "What `Sippet.Transactions.Machine` puts here; `kept` is its own."
  @type row ::
          {deadline :: integer, started :: integer, module, state :: atom, merge | nil,
           kept :: tuple}

  @typedoc "A key without its names, which each row of a table would hold anew."
  @type id :: {String.t(), Message.method()} | {String.t(), Message.method(), tuple}

  @typedoc "A digest of From tag, Call-ID and CSeq."
  @type merge :: non_neg_integer

  # Bits of a digest: as many as make a small integer.
  @digest 56

  @spec start_link(Stack.t()) :: GenServer.on_start()
  def start_link(stack), do: GenServer.start_link(__MODULE__, stack)

  ## Rows

  @spec put(Stack.t(), struct, row) :: :ok
  def put(stack, key, {deadline, _started, _machine, _state, merge, _kept} = row) do
    {rows, index, merges} = tables(stack)
    id = id(key)
    :ets.insert(rows, Tuple.insert_at(row, 0, id))
    :ets.insert(index, {{deadline, id}})
    if merge, do: :ets.insert(merges, {merge, owner(key), :shelved})
    :ok
  end

  @doc """
  Takes the row off: of several that try, one gets it.
  """
  @spec take(Stack.t(), struct) :: row | nil
  def take(stack, key) do
    {rows, _index, _merges} = tables(stack)

    case :ets.take(rows, id(key)) do
      [row] -> Tuple.delete_at(row, 0)
      [] -> nil
    end
  end

  @doc """
  What stands for a key in the tables.
  """
  @spec id(struct) :: id
  def id(%Client.Key{branch: branch, method: method}), do: {branch, method}
  def id(%Server.Key{} = key), do: {key.branch, key.method, key.sentby}

  @doc """
  The key that an id stands for.
  """
  @spec key(id) :: struct
  def key({branch, method}), do: %Client.Key{branch: branch, method: method}

  def key({branch, method, sentby}),
    do: %Server.Key{branch: branch, method: method, sentby: sentby}

  @spec machine(Stack.t(), struct) :: module | nil
  def machine(stack, key) do
    {rows, _index, _merges} = tables(stack)
    :ets.lookup_element(rows, id(key), 4)
  rescue
    ArgumentError -> nil
  end

  @spec count(Stack.t()) :: non_neg_integer
  def count(stack) do
    case stack |> tables() |> elem(0) |> :ets.info(:size) do
      :undefined -> 0
      size -> size
    end
  end

  ## Merged requests

  @doc """
  The digest of a request, or nothing for one with a To tag: it belongs to a dialog, and can't be merged.
  """
  @spec merge(Message.request()) :: merge | nil
  def merge(%Message{headers: %{to: {_name, _uri, %{"tag" => _tag}}}}), do: nil

  def merge(%Message{headers: headers}) do
    identity = {Key.tag(headers[:from]), headers[:call_id], headers[:cseq]}
    <<digest::size(@digest), _rest::bits>> = :erlang.md5(:erlang.term_to_binary(identity))
    digest
  end

  @doc """
  The calling machine is the first, or one more, that has this request.
  """
  @spec claim(Stack.t(), merge | nil, struct) :: :ok
  def claim(_stack, nil, _key), do: :ok

  def claim(stack, merge, key) do
    {_rows, _index, merges} = tables(stack)

    unless other?(merges, merge, owner(key)),
      do: :ets.insert(merges, {merge, owner(key), self()})

    :ok
  end

  @spec disclaim(Stack.t(), merge | nil, struct) :: :ok
  def disclaim(_stack, nil, _key), do: :ok

  def disclaim(stack, merge, key) do
    {_rows, _index, merges} = tables(stack)
    :ets.match_delete(merges, {merge, owner(key), :_})
    :ok
  end

  @doc """
  Whether another transaction than that of `key` has the request of this digest.
  """
  @spec merged?(Stack.t(), merge | nil, struct) :: boolean
  def merged?(_stack, nil, _key), do: false

  def merged?(stack, merge, key) do
    {_rows, _index, merges} = tables(stack)
    other?(merges, merge, owner(key))
  end

  defp other?(merges, merge, owner) do
    case :ets.lookup(merges, merge) do
      [{_merge, other, holder}] when other != owner -> holds?(holder)
      _none_or_own -> false
    end
  rescue
    # The tables are about to be made again.
    ArgumentError -> false
  end

  # A machine that was killed could not take its row back.
  defp holds?(:shelved), do: true
  defp holds?(pid), do: Process.alive?(pid)

  defp owner(key), do: :erlang.phash2(key)

  defp tables(stack), do: :ets.lookup_element(stack.board, __MODULE__, 2)

  ## The process

  @impl true
  def init(stack) do
    options = [:public, read_concurrency: true, write_concurrency: true]
    rows = :ets.new(__MODULE__, [:set | options])
    index = :ets.new(__MODULE__, [:ordered_set, :public, write_concurrency: true])
    merges = :ets.new(__MODULE__, [:set | options])
    :ets.insert(stack.board, {__MODULE__, {rows, index, merges}})
    {:ok, stack, stack.options.t1}
  end

  @impl true
  def handle_info(_message, stack) do
    {_rows, _index, merges} = tables(stack)
    sweep(stack)
    if :ets.info(merges, :size) > living(stack), do: purge(merges)
    {:noreply, stack, stack.options.t1}
  rescue
    # The stack's supervisor is about to end, or has ended, and the tables and the registry with it.
    ArgumentError -> {:stop, :shutdown, stack}
  end

  defp living(stack) do
    Registry.count(stack.name) + count(stack)
  rescue
    # A part of the registry starts again: what it had is not known yet, and the next look is soon.
    ArithmeticError -> :infinity
  end

  @doc """
  Ends the transactions whose time is over.
  """
  @spec sweep(Stack.t()) :: :ok
  def sweep(stack) do
    {_rows, index, _merges} = tables(stack)
    sweep(stack, index, Clock.now(stack))
  end

  defp sweep(stack, index, now) do
    case :ets.first(index) do
      {deadline, id} when deadline <= now ->
        :ets.delete(index, {deadline, id})
        expire(stack, key(id), deadline)
        sweep(stack, index, now)

      _later_or_none ->
        :ok
    end
  end

  # A row that was taken off meanwhile, or put back by another transaction of the same key, is not this one.
  defp expire(stack, key, deadline) do
    {rows, _index, _merges} = tables(stack)

    with ^deadline <- deadline(rows, key),
         {_deadline, started, machine, _state, merge, _kept} <- take(stack, key) do
      disclaim(stack, merge, key)
      ended(stack, key, machine, started, :normal)
    else
      _gone -> :ok
    end
  end

  defp deadline(rows, key) do
    :ets.lookup_element(rows, id(key), 2)
  rescue
    ArgumentError -> nil
  end

  @doc """
  Tells of the end of a transaction that started at `started`, in native units.
  """
  @spec ended(Stack.t(), struct, module, integer, term) :: :ok
  def ended(stack, key, machine, started, reason) do
    duration = System.monotonic_time() - started

    Telemetry.emit(stack, :transaction_ended, %{duration: duration}, fn ->
      %{key: key, machine: machine, reason: reason}
    end)
  end

  # Rows that are looked at together: after a flood the table is larger than this process shall ever be.
  @purged 1_000

  defp purge(merges) do
    :ets.safe_fixtable(merges, true)
    living = [{{:_, :_, :"$1"}, [{:is_pid, :"$1"}], [:"$_"]}]
    merges |> :ets.select(living, @purged) |> purge(merges)
    :ets.safe_fixtable(merges, false)
  end

  defp purge(:"$end_of_table", _merges), do: :ok

  defp purge({rows, continuation}, merges) do
    for {_merge, _owner, pid} = row <- rows,
        not Process.alive?(pid),
        do: :ets.delete_object(merges, row)

    continuation |> :ets.select() |> purge(merges)
  end
end
