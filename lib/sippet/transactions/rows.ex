defmodule Sippet.Transactions.Rows do
  @moduledoc false
  # The tables that transactions are. The stack's supervisor owns them, so that they outlive every process that works on
  # them. This module alone knows where in a row something stands.
  #
  # A row has a number that is a salted hash of its key. It names its worker: nobody else writes it, but for the
  # counters of what happens once (`leave/2`, `claim_answer/3`, `begin?/2`, `returned/3`), and for what goes with them.

  require Record

  alias Sippet.{Message, Stack}
  alias Sippet.Transactions.{Client, Key, Server}

  Record.defrecord(:row, [
    # The salted hash of the id.
    :number,
    # `{branch, method}` of a client's key, `{branch, method, sent_by}` of a server's.
    :id,
    # Index of the worker.
    :worker,
    # The module of the machine.
    :machine,
    # 1 once a final answer of the core's is on its way.
    claimed: 0,
    # The octets that count as long as the request is pending, then 0.
    pending: 0,
    # How many callbacks of the core were started, and the last one that returned.
    called: 0,
    ended: 0,
    # 1 once the core has begun with the request, and the process in which it has.
    begun: 0,
    runner: nil,
    # The machine's state; `nil` until it has begun.
    state: nil,
    # The time at which the row is looked at next, as it stands among the deadlines.
    due: :never,
    # The process of the callback that runs.
    running: nil,
    # The final answer that the core has claimed, until the worker has it.
    answer: nil,
    # The octets of a server's request, or of a client's until it has begun.
    octets: nil,
    transport: nil,
    # Packed, see `pack/1`.
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
    names: []
  ])

  @type row :: tuple
  @type hash :: non_neg_integer

  @typedoc "A key without its names, which each row would hold anew."
  @type id :: {String.t(), Message.method()} | {String.t(), Message.method(), tuple}

  @typedoc """
  The tables: of the rows; of second names of rows; of the digests of requests; of the destinations of client
  transactions; of callbacks that wait for others; and of rows that have ended while a callback ran.
  """
  @type t :: %__MODULE__{
          salt: term,
          rows: :ets.tid(),
          names: :ets.tid(),
          merges: :ets.tid(),
          destinations: :ets.tid(),
          waiting: :ets.tid(),
          unfinished: :counters.counters_ref()
        }

  @enforce_keys [:salt, :rows, :names, :merges, :destinations, :waiting, :unfinished]
  defstruct @enforce_keys

  # Bits of each half of a hash: what `phash2/2` can yield.
  @half 134_217_728

  @number 2

  # What the counters count: rows that are not finished, and rows that have ended while a callback ran.
  @unfinished 1
  @ended 2

  @doc """
  Makes the tables of a stack; they belong to the caller.
  """
  @spec new() :: t
  def new do
    shared = [:public, read_concurrency: true, write_concurrency: true]
    ordered = [:ordered_set, :public, write_concurrency: true]

    %__MODULE__{
      salt: :erlang.phash2(:crypto.strong_rand_bytes(16)),
      rows: :ets.new(__MODULE__, [:set, {:keypos, @number} | shared]),
      names: :ets.new(__MODULE__, [:set | shared]),
      merges: :ets.new(__MODULE__, [:set | shared]),
      destinations: :ets.new(__MODULE__, ordered),
      waiting: :ets.new(__MODULE__, ordered),
      unfinished: :counters.new(2, [:write_concurrency])
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

  @spec number(Stack.t(), struct) :: hash
  def number(stack, key), do: hash(stack, id(key))

  ## Rows

  @doc """
  Puts a new row there, unless its key is taken. Returns `:error` where the tables have ended with the stack.
  """
  @spec insert_new(Stack.t(), row) :: boolean | :error
  def insert_new(%Stack{transactions: %{rows: tables}}, row) do
    inserted? = :ets.insert_new(tables.rows, row)
    if inserted?, do: :counters.add(tables.unfinished, @unfinished, 1)
    inserted?
  rescue
    ArgumentError -> :error
  end

  @doc """
  The row of a key, or `nil`.
  """
  @spec find(Stack.t(), struct) :: row | nil
  def find(stack, key) do
    id = id(key)

    case fetch(stack, hash(stack, id)) do
      row(id: ^id) = row -> row
      _none_or_another -> nil
    end
  end

  @doc """
  The row of a number, or `nil`.
  """
  @spec fetch(Stack.t(), hash) :: row | nil
  def fetch(%Stack{transactions: %{rows: tables}}, number) do
    case :ets.lookup(tables.rows, number) do
      [row] -> row
      [] -> nil
    end
  rescue
    ArgumentError -> nil
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

  # All else of a row never changes, or is a counter that is written by itself.
  @written [:called, :state, :due, :running, :answer, :octets, :remote, :names]

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
  Takes a row away, with all that stands for it elsewhere.
  """
  @spec delete(Stack.t(), row) :: :ok
  def delete(%Stack{transactions: %{rows: tables}} = stack, row(number: number) = row) do
    :ets.delete(tables.rows, number)
    disclaim(stack, row)
    forget_destination(stack, row)
    unless finished?(row), do: :counters.sub(tables.unfinished, @unfinished, 1)
    :ok
  end

  defp finished?(row(state: state)), do: finished_state?(state)

  @doc """
  Takes the key off a row whose transaction has ended while a callback runs. Returns its new number.
  """
  @spec detach(Stack.t(), row) :: hash
  def detach(%Stack{transactions: %{rows: tables}} = stack, row(number: number) = row) do
    ended = @half * @half + System.unique_integer([:positive])
    :counters.add(tables.unfinished, @ended, 1)
    [pending] = :ets.lookup(tables.rows, number)

    :ets.insert(
      tables.rows,
      row(row,
        number: ended,
        id: :ended,
        state: nil,
        due: :never,
        octets: nil,
        names: [],
        pending: row(pending, :pending),
        begun: row(pending, :begun),
        ended: row(pending, :ended),
        runner: row(pending, :runner)
      )
    )

    for {{^number, order}, call} <-
          :ets.select(tables.waiting, [{{{number, :_}, :_}, [], [:"$_"]}]) do
      :ets.delete(tables.waiting, {number, order})
      :ets.insert(tables.waiting, {{ended, order}, call})
    end

    delete(stack, row)
    ended
  end

  @doc """
  Takes a row away whose transaction has ended before.
  """
  @spec delete_ended(Stack.t(), row) :: :ok
  def delete_ended(%Stack{transactions: %{rows: tables}}, row(number: number)) do
    :counters.sub(tables.unfinished, @ended, 1)
    :ets.delete(tables.rows, number)
    :ok
  end

  @doc """
  Whether a state is one in which nothing but a last timer is waited for.
  """
  @spec finished_state?(tuple | nil) :: boolean
  def finished_state?(nil), do: false
  def finished_state?(state), do: elem(state, 0) in [:completed, :confirmed, :accepted]

  @doc """
  The row has come to a finished state.
  """
  @spec finish(Stack.t(), row) :: :ok
  def finish(%Stack{transactions: %{rows: tables}} = stack, row) do
    :counters.sub(tables.unfinished, @unfinished, 1)
    forget_destination(stack, row)
  end

  @spec count(Stack.t()) :: non_neg_integer
  def count(%Stack{transactions: %{rows: tables}}) do
    case :ets.info(tables.rows, :size) do
      :undefined -> 0
      size -> max(size - :counters.get(tables.unfinished, @ended), 0)
    end
  end

  @spec unfinished(Stack.t()) :: non_neg_integer
  def unfinished(%Stack{transactions: %{rows: tables}}),
    do: max(:counters.get(tables.unfinished, @unfinished), 0)

  @doc """
  The numbers of the rows of a worker.
  """
  @spec of_worker(Stack.t(), pos_integer) :: [hash]
  def of_worker(%Stack{transactions: %{rows: tables}}, worker) do
    pattern = row(number: :"$1", worker: worker, _: :_)
    :ets.select(tables.rows, [{pattern, [], [:"$1"]}])
  end

  @doc """
  The keys of all rows whose transaction has not ended.
  """
  @spec keys(Stack.t()) :: [struct]
  def keys(%Stack{transactions: %{rows: tables}}) do
    ids = :ets.select(tables.rows, [{row(id: :"$1", _: :_), [], [:"$1"]}])
    for id <- ids, id != :ended, do: key(id)
  end

  @doc """
  How many entries each table has.
  """
  @spec sizes(Stack.t()) :: %{atom => non_neg_integer}
  def sizes(%Stack{transactions: %{rows: tables}}) do
    for name <- [:rows, :names, :merges, :destinations, :waiting], into: %{} do
      {name, :ets.info(Map.fetch!(tables, name), :size)}
    end
  end

  ## What happens once

  @doc """
  The octets of a request that is not pending any more, for the first who says so; 0 for all others.
  """
  @spec leave(Stack.t(), hash) :: non_neg_integer
  def leave(%Stack{transactions: %{rows: tables}}, number) do
    position = row(:pending) + 1

    # Whatever stands there becomes 0.
    [before, 0] =
      :ets.update_counter(tables.rows, number, [{position, 0}, {position, -@half * @half, 0, 0}])

    before
  rescue
    ArgumentError -> 0
  end

  @typedoc """
  The number of a row and when it began: the next transaction of the same key has the same number.
  """
  @type turn_of :: {hash, started :: integer}

  @doc """
  Whether the caller is the first process that begins with the request: a worker that was killed before it could write
  so may have started one too.
  """
  @spec begin?(atom, turn_of) :: boolean
  def begin?(name, {number, started}) do
    %Stack{transactions: %{rows: tables}} = Stack.fetch!(name)

    # The transaction may have ended meanwhile, and its number be another's now.
    not same?(tables, number, started) or
      (first?(tables, number, row(:begun)) and
         :ets.update_element(tables.rows, number, {row(:runner) + 1, self()}))
  rescue
    ArgumentError -> true
  end

  @doc """
  The callback of this ordinal number has returned. It says so itself: a monitor of a process that has ended can't tell
  how.
  """
  @spec returned(atom, turn_of, pos_integer) :: :ok
  def returned(name, {number, started}, nth) do
    %Stack{transactions: %{rows: tables}} = Stack.fetch!(name)

    if same?(tables, number, started),
      do: :ets.update_element(tables.rows, number, {row(:ended) + 1, nth})

    :ok
  rescue
    # The transaction has ended meanwhile, or the stack has.
    ArgumentError -> :ok
  end

  defp same?(tables, number, started),
    do: :ets.lookup_element(tables.rows, number, row(:started) + 1) == started

  @doc """
  Puts the final answer of the core there for the worker to find. Returns whether it is the first one.
  """
  @spec claim_answer(Stack.t(), hash, term) :: boolean
  def claim_answer(%Stack{transactions: %{rows: tables}}, number, answer) do
    first?(tables, number, row(:claimed)) and
      :ets.update_element(tables.rows, number, {row(:answer) + 1, answer})
  rescue
    # The transaction has ended.
    ArgumentError -> false
  end

  # Sets a flag of a row: whether it was not set before.
  defp first?(tables, number, flag) do
    position = flag + 1
    [before, 1] = :ets.update_counter(tables.rows, number, [{position, 0}, {position, 1, 1, 1}])
    before == 0
  end

  ## Second names

  @doc """
  Gives a row a second name; of two rows that want one, the first keeps it.
  """
  @spec name(Stack.t(), term, hash) :: :ok
  def name(%Stack{transactions: %{rows: tables}} = stack, name, number) do
    :ets.insert_new(tables.names, {hash(stack, name), number})
    :ok
  end

  @doc """
  Takes a second name away, given its hash.
  """
  @spec unname(Stack.t(), hash, hash) :: :ok
  def unname(%Stack{transactions: %{rows: tables}}, hash, number) do
    :ets.delete_object(tables.names, {hash, number})
    :ok
  end

  @doc """
  The row of a second name, or `nil`.
  """
  @spec named(Stack.t(), term) :: row | nil
  def named(%Stack{transactions: %{rows: tables}} = stack, name) do
    case :ets.lookup(tables.names, hash(stack, name)) do
      [{_hash, number}] -> fetch(stack, number)
      [] -> nil
    end
  rescue
    ArgumentError -> nil
  end

  ## Merged requests

  @doc """
  The digest of a request, or `nil` for one with a To tag: it belongs to a dialog, and can't be merged (RFC 3261
  §8.2.2.2).
  """
  @spec merge(Stack.t(), Message.request()) :: hash | nil
  def merge(_stack, %Message{headers: %{to: {_name, _uri, %{"tag" => _tag}}}}), do: nil

  def merge(stack, %Message{headers: headers}),
    do: hash(stack, {:merge, Key.tag(headers[:from]), headers[:call_id], headers[:cseq]})

  @doc """
  The row is the first, or one more, that has its request.
  """
  @spec claim(Stack.t(), row) :: :ok
  def claim(_stack, row(merge: nil)), do: :ok

  def claim(%Stack{transactions: %{rows: tables}} = stack, row(merge: merge, number: number)) do
    unless :ets.insert_new(tables.merges, {merge, number}) or
             other?(stack, merge, number),
           do: :ets.insert(tables.merges, {merge, number})

    :ok
  end

  defp disclaim(_stack, row(merge: nil)), do: :ok

  defp disclaim(%Stack{transactions: %{rows: tables}}, row(merge: merge, number: number)),
    do: :ets.delete_object(tables.merges, {merge, number})

  @doc """
  Whether another row than that of `key` has the request of this digest.
  """
  @spec merged?(Stack.t(), Message.request(), Server.Key.t()) :: boolean
  def merged?(stack, request, key) do
    case merge(stack, request) do
      nil -> false
      merge -> other?(stack, merge, number(stack, key))
    end
  end

  defp other?(%Stack{transactions: %{rows: tables}}, merge, number) do
    case :ets.lookup(tables.merges, merge) do
      [{_merge, other}] when other != number -> :ets.member(tables.rows, other)
      _none_or_own -> false
    end
  rescue
    ArgumentError -> false
  end

  ## Destinations

  defguardp byte?(number) when number in 0..255

  @doc """
  A destination as it is kept: one of IPv4, as most are, in a number.
  """
  @spec pack(tuple) :: integer | tuple
  def pack({{a, b, c, d}, port})
      when byte?(a) and byte?(b) and byte?(c) and byte?(d) and port in 0..65_535 do
    <<number::48>> = <<a, b, c, d, port::16>>
    number
  end

  def pack(destination), do: destination

  @spec unpack(integer | tuple) :: tuple
  def unpack(number) when is_integer(number) do
    <<a, b, c, d, port::16>> = <<number::48>>
    {{a, b, c, d}, port}
  end

  def unpack(destination), do: destination

  @doc """
  A client transaction sends there: an ICMP error is to find it (RFC 3261 §18.4).
  """
  @spec note_destination(Stack.t(), row) :: true
  def note_destination(
        %Stack{transactions: %{rows: tables}},
        row(destination: destination, number: number)
      ),
      do: :ets.insert(tables.destinations, {{destination, number}})

  defp forget_destination(
         %Stack{transactions: %{rows: tables}},
         row(id: {_branch, _method}) = row
       ) do
    :ets.delete(tables.destinations, {row(row, :destination), row(row, :number)})
    :ok
  end

  defp forget_destination(_stack, _server), do: :ok

  @doc """
  The numbers of the client transactions that send to a destination, and wait for an answer.
  """
  @spec sending_to(Stack.t(), term) :: [hash]
  def sending_to(%Stack{transactions: %{rows: tables}}, destination) do
    :ets.select(tables.destinations, [
      {{{:"$1", :"$2"}}, [{:"=:=", :"$1", {:const, destination}}], [:"$2"]}
    ])
  rescue
    ArgumentError -> []
  end

  ## Callbacks that wait

  @doc """
  Has a callback wait for those before it.
  """
  @spec wait(Stack.t(), hash, tuple) :: true
  def wait(%Stack{transactions: %{rows: tables}}, number, call) do
    order = System.unique_integer([:monotonic])
    :ets.insert(tables.waiting, {{number, order}, call})
  end

  @doc """
  The callback that has waited longest, and what it is forgotten by once it is called.
  """
  @spec next_waiting(Stack.t(), hash) :: {term, tuple} | nil
  def next_waiting(%Stack{transactions: %{rows: tables}}, number) do
    case :ets.next(tables.waiting, {number, -1_000_000_000_000_000_000_000}) do
      {^number, _order} = key ->
        [{_key, call}] = :ets.lookup(tables.waiting, key)
        {key, call}

      _none ->
        nil
    end
  end

  @spec forget_waiting(Stack.t(), term) :: true
  def forget_waiting(%Stack{transactions: %{rows: tables}}, key),
    do: :ets.delete(tables.waiting, key)

  @doc """
  How many callbacks wait, up to `most`.
  """
  @spec waiting(Stack.t(), hash, pos_integer) :: non_neg_integer
  def waiting(%Stack{transactions: %{rows: tables}}, number, most) do
    case :ets.select(tables.waiting, [{{{number, :_}, :_}, [], [true]}], most) do
      {found, _continuation} -> length(found)
      :"$end_of_table" -> 0
    end
  end
end
