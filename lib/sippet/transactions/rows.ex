defmodule Sippet.Transactions.Rows do
  @moduledoc false
  # The table that transactions are. The stack's supervisor owns it, so that it outlives every process that works on
  # it. This module alone knows where in a row something stands.
  #
  # A row has a number that is a salted hash of its key. It names its worker: nobody else writes it, but for the claim of
  # the final answer (`claim_answer/3`).

  require Record

  alias Sippet.Message
  alias Sippet.Stack
  alias Sippet.Transactions.{Client, Server}

  Record.defrecord(:row, [
    # The salted hash of the id.
    :number,
    # `{branch, method}` of a client's key, `{branch, method, sent_by}` of a server's; `{:ended, number}` of one whose
    # callback still runs.
    :id,
    # Index of the worker.
    :worker,
    # The module of the machine.
    :machine,
    # 1 once a final answer of the core's is on its way.
    claimed: 0,
    # The octets that count as long as the request is pending, then 0.
    pending: 0,
    # What its place is one of (`Sippet.Overload`), until it gives that back.
    place: nil,
    # The machine's state; `nil` until a client's request is sent.
    state: nil,
    # The time at which the row is looked at next, as it stands among the deadlines.
    due: :never,
    # The process of the callback that runs; `:request` as long as that of the request is to be started.
    running: nil,
    # What that callback has: `:request` or `:event`.
    given: nil,
    # How many calls wait for it.
    waiting: 0,
    # The process that gets the events instead of the core; `:nobody` once it has ended.
    owner: nil,
    # Whether a CANCEL came for this INVITE, or was sent; `:wanted` if it is to be sent as soon as that can be.
    cancelled: false,
    # The final answer that the core has claimed, until the worker has it.
    answer: nil,
    # The octets of a server's request; of a client's until it has begun, and from the end of its owner on.
    octets: nil,
    # As `Sippet.Transactions.Path` keeps it.
    transport: nil,
    # Packed, see `Sippet.Transactions.Path`.
    destination: nil,
    source: nil,
    # Where a server's request came from, which it was stamped with; as long as it has no final answer.
    remote: nil,
    # The target of a client's request, for a transport of the 1.0 kind, which takes messages.
    target: nil,
    # When it began, in native units of time.
    started: nil,
    # The digest that merged requests are told by.
    merge: nil,
    # Second names: of the ACKs that it waits for with the hash of their To tag, `{:responses, hash}` of an RFC 2543
    # transaction.
    names: [],
    # The status of its first final response, and until then of its last provisional one, where
    # somebody listens to events.
    status: nil
  ])

  @type row :: tuple
  @type hash :: non_neg_integer

  @typedoc "A key without its names, which each row would hold anew."
  @type id :: {String.t(), Message.method()} | {String.t(), Message.method(), tuple}

  @type t :: %__MODULE__{salt: term, rows: :ets.tid(), counts: :counters.counters_ref()}

  @enforce_keys [:salt, :rows, :counts]
  defstruct @enforce_keys

  # Bits of each half of a hash: what `phash2/2` can yield.
  @half 134_217_728

  @number 2

  # The states in which nothing but a last timer is waited for.
  @finished [:completed, :confirmed, :accepted]

  # What the counters count: rows that are not finished, and rows that have ended while a callback ran.
  @unfinished 1
  @ended 2

  @doc """
  Makes the table of a stack; it belongs to the caller.
  """
  @spec new() :: t
  def new do
    %__MODULE__{
      salt: :erlang.phash2(:crypto.strong_rand_bytes(16)),
      rows:
        :ets.new(__MODULE__, [
          :set,
          :public,
          keypos: @number,
          read_concurrency: true,
          write_concurrency: true
        ]),
      counts: :counters.new(2, [:write_concurrency])
    }
  end

  ## Numbers

  @doc """
  The hash of a term that nobody outside can choose: 54 bits, a small integer.
  """
  @spec hash(Stack.t(), term) :: hash
  def hash(%Stack{transactions: %{rows: %__MODULE__{salt: salt}}}, term),
    do: :erlang.phash2([salt | term], @half) * @half + :erlang.phash2([term | salt], @half)

  @doc """
  What stands for a key in the table.
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

  @spec number(Stack.t(), struct) :: hash
  def number(stack, key), do: hash(stack, id(key))

  ## Rows

  @doc """
  Puts a new row there, unless its key is taken. Returns `:error` where the table has ended with the stack.
  """
  @spec insert_new(Stack.t(), row) :: boolean | :error
  def insert_new(%Stack{transactions: %{rows: table}}, row) do
    inserted? = :ets.insert_new(table.rows, row)
    if inserted?, do: :counters.add(table.counts, @unfinished, 1)
    inserted?
  rescue
    ArgumentError -> :error
  end

  @doc """
  The row of a key, or `nil`.
  """
  @spec find(Stack.t(), struct) :: row | nil
  def find(stack, key), do: find(stack, key, number(stack, key))

  @spec find(Stack.t(), struct, hash) :: row | nil
  def find(stack, key, number) do
    case fetch(stack, number) do
      row(id: id) = row -> if id == id(key), do: row
      nil -> nil
    end
  end

  @doc """
  The row of a number, or `nil`.
  """
  @spec fetch(Stack.t(), hash) :: row | nil
  def fetch(%Stack{transactions: %{rows: table}}, number) do
    case :ets.lookup(table.rows, number) do
      [row] -> row
      [] -> nil
    end
  rescue
    ArgumentError -> nil
  end

  @spec member?(Stack.t(), hash) :: boolean
  def member?(%Stack{transactions: %{rows: table}}, number), do: :ets.member(table.rows, number)

  @doc """
  The row of a number, if this is the time at which it wants to be looked at.
  """
  @spec fetch_due(Stack.t(), hash, integer) :: row | nil
  # Most entries are of rows that are finished meanwhile: these are not read.
  def fetch_due(%Stack{transactions: %{rows: table}} = stack, number, at) do
    if :ets.lookup_element(table.rows, number, row(:due) + 1) == at, do: fetch(stack, number)
  rescue
    ArgumentError -> nil
  end

  @doc """
  The worker of a row, or `nil` where there is none.
  """
  @spec worker(Stack.t(), hash) :: pos_integer | nil
  def worker(%Stack{transactions: %{rows: table}}, number) do
    :ets.lookup_element(table.rows, number, row(:worker) + 1)
  rescue
    ArgumentError -> nil
  end

  @doc """
  Whether a CANCEL came for the INVITE of a number, or was sent; `false` where there is none.
  """
  @spec cancelled?(Stack.t(), hash) :: boolean
  def cancelled?(%Stack{transactions: %{rows: table}}, number) do
    :ets.lookup_element(table.rows, number, row(:cancelled) + 1) == true
  rescue
    ArgumentError -> false
  end

  @doc """
  Writes back what a step of the machine has changed.
  """
  @spec update(Stack.t(), row, row) :: true
  def update(stack, row(number: number) = before, row) do
    case changes(before, row) do
      [] -> true
      changes -> :ets.update_element(stack.transactions.rows.rows, number, changes)
    end
  end

  # All else of a row never changes, or is the claim.
  @written [
    :pending,
    :place,
    :state,
    :due,
    :running,
    :given,
    :waiting,
    :owner,
    :cancelled,
    :answer,
    :octets,
    :transport,
    :destination,
    :remote,
    :names,
    :status
  ]

  defp changes(before, row),
    do: changes(unquote(Enum.map(@written, &{:row, [], [&1]})), before, row)

  defp changes([], _before, _row), do: []

  defp changes([position | positions], before, row) do
    value = elem(row, position)

    if value === elem(before, position),
      do: changes(positions, before, row),
      else: [{position + 1, value} | changes(positions, before, row)]
  end

  @doc """
  Takes a row away.
  """
  @spec delete(Stack.t(), row) :: :ok
  def delete(%Stack{transactions: %{rows: table}}, row(number: number, state: state)) do
    :ets.delete(table.rows, number)
    unless finished_state?(state), do: :counters.sub(table.counts, @unfinished, 1)
    :ok
  end

  @doc """
  Takes the key off a row whose transaction has ended while a callback runs. Returns its new number.
  """
  @spec detach(Stack.t(), row) :: hash
  def detach(%Stack{transactions: %{rows: table}} = stack, row(number: number) = row) do
    ended = @half * @half + System.unique_integer([:positive])
    :counters.add(table.counts, @ended, 1)

    :ets.insert(
      table.rows,
      row(row,
        number: ended,
        id: {:ended, number},
        state: nil,
        due: :never,
        octets: nil,
        names: [],
        merge: nil
      )
    )

    delete(stack, row)
    ended
  end

  @doc """
  Takes a row away whose transaction has ended before.
  """
  @spec delete_ended(Stack.t(), row) :: :ok
  def delete_ended(%Stack{transactions: %{rows: table}}, row(number: number)) do
    :counters.sub(table.counts, @ended, 1)
    :ets.delete(table.rows, number)
    :ok
  end

  @doc """
  The number of a row and when it began: the next transaction of the same key has the same number.
  """
  @spec turn(row) :: {hash, integer}
  def turn(row(id: {:ended, number}, started: started)), do: {number, started}
  def turn(row(number: number, started: started)), do: {number, started}

  @doc """
  Whether a state is one in which nothing but a last timer is waited for.
  """
  @spec finished_state?(tuple | nil) :: boolean
  def finished_state?(nil), do: false
  def finished_state?(state), do: elem(state, 0) in @finished

  @doc """
  A row has come to a finished state.
  """
  @spec finish(Stack.t()) :: :ok
  def finish(%Stack{transactions: %{rows: table}}),
    do: :counters.sub(table.counts, @unfinished, 1)

  @spec count(Stack.t()) :: non_neg_integer
  def count(%Stack{transactions: %{rows: table}}) do
    case :ets.info(table.rows, :size) do
      :undefined -> 0
      size -> max(size - :counters.get(table.counts, @ended), 0)
    end
  end

  @spec unfinished(Stack.t()) :: non_neg_integer
  def unfinished(%Stack{transactions: %{rows: table}}),
    do: max(:counters.get(table.counts, @unfinished), 0)

  @doc """
  The numbers of the rows of a worker.
  """
  @spec of_worker(Stack.t(), pos_integer) :: [hash]
  def of_worker(%Stack{transactions: %{rows: table}}, worker) do
    pattern = row(number: :"$1", worker: worker, _: :_)
    :ets.select(table.rows, [{pattern, [], [:"$1"]}])
  end

  @doc """
  The keys of all rows whose transaction has not ended.
  """
  @spec keys(Stack.t()) :: [struct]
  def keys(%Stack{transactions: %{rows: table}}) do
    ids = :ets.select(table.rows, [{row(id: :"$1", _: :_), [], [:"$1"]}])
    for id <- ids, not match?({:ended, _number}, id), do: key(id)
  end

  @doc """
  The keys of rows that are not finished, or whose callbacks run, and that began before a time or are a server's; not more than
  so many.
  """
  @spec left(Stack.t(), integer, pos_integer) :: [struct]
  def left(%Stack{transactions: %{rows: table}}, time, most) do
    pattern = row(id: :"$1", state: :"$2", running: :"$3", started: :"$4", _: :_)
    finished = for name <- @finished, do: {:"=:=", {:element, 1, :"$2"}, name}
    unfinished = {:orelse, {:"=:=", :"$2", nil}, {:not, List.to_tuple([:orelse | finished])}}
    ended = {:"=:=", {:element, 1, :"$1"}, :ended}
    works = {:orelse, {:"=/=", :"$3", nil}, {:andalso, {:not, ended}, unfinished}}
    counts = {:orelse, {:"=<", :"$4", time}, {:"=:=", {:size, :"$1"}, 3}}

    case :ets.select(table.rows, [{pattern, [works, counts], [:"$1"]}], most) do
      {ids, _more} -> Enum.map(ids, &left_key/1)
      :"$end_of_table" -> []
    end
  rescue
    # The table has ended with the stack.
    ArgumentError -> []
  end

  # The key of one that has ended is gone: its callback runs.
  defp left_key({:ended, _number}), do: nil
  defp left_key(id), do: key(id)

  @doc """
  How many rows there are.
  """
  @spec size(t) :: non_neg_integer
  def size(%__MODULE__{rows: rows}), do: :ets.info(rows, :size)

  ## What happens once

  @doc """
  Claims the final answer of a row, and puts what the core has answered there for the worker to find.

  Returns the row's worker, and whether this is the first final answer; `nil` where there is no such row.
  """
  @spec claim_answer(Stack.t(), hash, term) :: {:first | :later, pos_integer} | nil
  def claim_answer(%Stack{transactions: %{rows: table}}, number, answer) do
    with {:first, worker} <- claim(table, number) do
      :ets.update_element(table.rows, number, {row(:answer) + 1, answer})
      {:first, worker}
    end
  rescue
    # The transaction has ended.
    ArgumentError -> nil
  end

  defp claim(table, number) do
    claimed = row(:claimed) + 1
    steps = [{claimed, 0}, {claimed, 1, 1, 1}, {row(:worker) + 1, 0}]

    case :ets.update_counter(table.rows, number, steps) do
      [0, 1, worker] -> {:first, worker}
      [1, 1, worker] -> {:later, worker}
    end
  end

  @doc """
  Claims the final answer of a row for the stack itself. Returns whether it is the first one.
  """
  @spec claim?(Stack.t(), hash) :: boolean
  def claim?(%Stack{transactions: %{rows: table}}, number) do
    match?({:first, _worker}, claim(table, number))
  rescue
    ArgumentError -> false
  end
end
