defmodule Sippet.Transactions.Aliases do
  @moduledoc false
  # What rows are found by besides their keys, in tables of the stack's supervisor: second names, and the digests of requests
  # that came by several paths.

  import Sippet.Transactions.Rows, only: [row: 1]

  alias Sippet.{Message, Stack}
  alias Sippet.Transactions.{Key, Rows, Server}

  @enforce_keys [:names, :merges, :dialogs, :endings]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          names: :ets.tid(),
          merges: :ets.tid(),
          dialogs: :ets.tid(),
          endings: :ets.tid()
        }

  @doc """
  Makes the tables; they belong to the caller.
  """
  @spec new() :: t
  def new do
    shared = [:public, read_concurrency: true, write_concurrency: true]

    %__MODULE__{
      names: :ets.new(__MODULE__, [:set | shared]),
      merges: :ets.new(__MODULE__, [:set | shared]),
      dialogs: :ets.new(__MODULE__, [:set | shared]),
      endings: :ets.new(__MODULE__, [:set | shared])
    }
  end

  @doc """
  Forgets all that stands for a row.
  """
  @spec forget(Stack.t(), Rows.row()) :: :ok
  def forget(stack, row(number: number, names: names) = row) do
    for {_tag, hash} <- names, do: unname(stack, hash, number)
    disclaim(stack, row)
    :ok
  end

  ## Second names

  @doc """
  Gives a row a second name, and returns its hash. Of two rows that want one, the first keeps it.
  """
  @spec name(Stack.t(), term, Rows.hash()) :: Rows.hash()
  def name(%Stack{transactions: %{aliases: tables}} = stack, name, number) do
    hash = Rows.hash(stack, name)
    :ets.insert_new(tables.names, {hash, number})
    hash
  end

  @doc """
  Takes a second name away, given its hash.
  """
  @spec unname(Stack.t(), Rows.hash(), Rows.hash()) :: :ok
  def unname(%Stack{transactions: %{aliases: tables}}, hash, number) do
    :ets.delete_object(tables.names, {hash, number})
    :ok
  end

  @doc """
  The number of the row of a second name, or `nil`.
  """
  @spec number(Stack.t(), term) :: Rows.hash() | nil
  def number(%Stack{transactions: %{aliases: tables}} = stack, name) do
    case :ets.lookup(tables.names, Rows.hash(stack, name)) do
      [{_hash, number}] -> number
      [] -> nil
    end
  rescue
    # The tables have ended with the stack.
    ArgumentError -> nil
  end

  @doc """
  The second name of a client's INVITE that was accepted, by the 2xx or by its ACK.
  """
  @spec accepted(Message.t()) :: term
  def accepted(%Message{headers: headers}) do
    {number, _method} = headers[:cseq] || {nil, nil}
    {:accepted, headers[:call_id], Key.tag(headers[:from]), number}
  end

  ## Dialogs

  @doc """
  Requests within the dialog of this hash go to a process, of which a worker is told.
  """
  @spec put_dialog(Stack.t(), Rows.hash(), pid, pos_integer) :: true
  def put_dialog(%Stack{transactions: %{aliases: tables}}, hash, pid, worker),
    do: :ets.insert(tables.dialogs, {hash, pid, worker})

  @spec forget_dialog(Stack.t(), Rows.hash()) :: true
  def forget_dialog(%Stack{transactions: %{aliases: tables}}, hash),
    do: :ets.delete(tables.dialogs, hash)

  @doc """
  Whether any process owns a dialog.
  """
  @spec dialogs?(Stack.t()) :: boolean
  def dialogs?(%Stack{transactions: %{aliases: tables}}),
    do: :ets.info(tables.dialogs, :size) not in [0, :undefined]

  @typedoc "The dialog of a call as octets, whether it is confirmed, and the CSeq number that was used last."
  @type ending :: {binary, confirmed? :: boolean, non_neg_integer}

  @doc """
  Keeps what a BYE is made of, should the owner of the dialog end. What is known of it already is not forgotten.
  """
  @spec put_ending(Stack.t(), Rows.hash(), ending) :: true
  def put_ending(%Stack{transactions: %{aliases: tables}} = stack, hash, ending) do
    {dialog, confirmed?, number} = ending

    case ending(stack, hash) do
      {before, true, last} when not confirmed? ->
        :ets.insert(tables.endings, {hash, before, true, max(number, last)})

      {_before, _confirmed?, last} ->
        :ets.insert(tables.endings, {hash, dialog, confirmed?, max(number, last)})

      nil ->
        :ets.insert(tables.endings, {hash, dialog, confirmed?, number})
    end
  end

  @spec ending(Stack.t(), Rows.hash()) :: ending | nil
  def ending(%Stack{transactions: %{aliases: tables}}, hash) do
    case :ets.lookup(tables.endings, hash) do
      [{_hash, dialog, confirmed?, number}] -> {dialog, confirmed?, number}
      [] -> nil
    end
  end

  @doc """
  Takes away what a BYE would be made of, and returns it.
  """
  @spec take_ending(Stack.t(), Rows.hash()) :: ending | nil
  def take_ending(%Stack{transactions: %{aliases: tables}}, hash) do
    case :ets.take(tables.endings, hash) do
      [{_hash, dialog, confirmed?, number}] -> {dialog, confirmed?, number}
      [] -> nil
    end
  end

  @doc """
  Keeps the dialog as its 2xx has left it. One that is not kept any more stays so.
  """
  @spec confirm(Stack.t(), Rows.hash(), binary) :: boolean
  def confirm(%Stack{transactions: %{aliases: tables}}, hash, dialog),
    do: :ets.update_element(tables.endings, hash, [{2, dialog}, {3, true}])

  @doc """
  Notes a CSeq number that the dialog has used.
  """
  @spec used(Stack.t(), Rows.hash(), non_neg_integer) :: non_neg_integer
  def used(%Stack{transactions: %{aliases: tables}}, hash, number) do
    :ets.select_replace(tables.endings, [
      {{hash, :"$1", :"$2", :"$3"}, [{:<, :"$3", number}], [{{hash, :"$1", :"$2", number}}]}
    ])
  end

  @spec dialog_owner(Stack.t(), Rows.hash()) :: pid | nil
  def dialog_owner(%Stack{transactions: %{aliases: tables}}, hash) do
    case :ets.lookup(tables.dialogs, hash) do
      [{_hash, pid, _worker}] -> pid
      [] -> nil
    end
  end

  @doc """
  The dialogs of whose owners a worker is told.
  """
  @spec dialogs(Stack.t(), pos_integer) :: [{Rows.hash(), pid}]
  def dialogs(%Stack{transactions: %{aliases: tables}}, worker),
    do: :ets.select(tables.dialogs, [{{:"$1", :"$2", worker}, [], [{{:"$1", :"$2"}}]}])

  ## Merged requests

  @doc """
  The digest of a request, or `nil` for one with a To tag: it belongs to a dialog, and can't be merged (RFC 3261
  §8.2.2.2).
  """
  @spec merge(Stack.t(), Message.request()) :: Rows.hash() | nil
  def merge(_stack, %Message{headers: %{to: {_name, _uri, %{"tag" => _tag}}}}), do: nil

  def merge(stack, %Message{headers: headers}),
    do: Rows.hash(stack, {:merge, Key.tag(headers[:from]), headers[:call_id], headers[:cseq]})

  @doc """
  The row is the first, or one more, that has its request.
  """
  @spec claim(Stack.t(), Rows.row()) :: :ok
  def claim(_stack, row(merge: nil)), do: :ok

  def claim(%Stack{transactions: %{aliases: tables}} = stack, row(merge: merge, number: number)) do
    unless :ets.insert_new(tables.merges, {merge, number}) or other?(stack, merge, number),
      do: :ets.insert(tables.merges, {merge, number})

    :ok
  end

  defp disclaim(_stack, row(merge: nil)), do: :ok

  defp disclaim(%Stack{transactions: %{aliases: tables}}, row(merge: merge, number: number)),
    do: :ets.delete_object(tables.merges, {merge, number})

  @doc """
  Whether another row than that of `key` has the request of this digest.
  """
  @spec merged?(Stack.t(), Message.request(), Server.Key.t()) :: boolean
  def merged?(stack, request, key) do
    case merge(stack, request) do
      nil -> false
      merge -> other?(stack, merge, Rows.number(stack, key))
    end
  end

  defp other?(%Stack{transactions: %{aliases: tables}} = stack, merge, number) do
    case :ets.lookup(tables.merges, merge) do
      [{_merge, other}] when other != number -> Rows.member?(stack, other)
      _none_or_own -> false
    end
  rescue
    ArgumentError -> false
  end

  @doc """
  How many entries each table has.
  """
  @spec sizes(t) :: %{atom => non_neg_integer}
  def sizes(%__MODULE__{} = tables) do
    for name <- [:names, :merges, :dialogs, :endings],
        into: %{},
        do: {name, :ets.info(Map.fetch!(tables, name), :size)}
  end
end
