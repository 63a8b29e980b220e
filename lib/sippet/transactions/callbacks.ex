defmodule Sippet.Transactions.Callbacks do
  @moduledoc false
  # The callbacks of rows, in tables of the stack's supervisor: which process has a request, and what waits for the
  # callback that runs.
  #
  # A request is given to the core once, though a worker that was killed may have started its callback before it could
  # write so. And a monitor of a process that has ended can't tell a good end from a crash: so the callback says itself that
  # it begins, and that it has returned.

  alias Sippet.Stack

  @enforce_keys [:requests, :waiting]
  defstruct @enforce_keys

  @typedoc "The tables: of the callbacks that have a request, and of the calls that wait for others."
  @type t :: %__MODULE__{requests: :ets.tid(), waiting: :ets.tid()}

  @typedoc """
  The number of a row and when it began: the next transaction of the same key has the same number.
  """
  @type turn :: {non_neg_integer, started :: integer}

  @doc """
  Makes the tables; they belong to the caller.
  """
  @spec new() :: t
  def new do
    %__MODULE__{
      requests: :ets.new(__MODULE__, [:public, write_concurrency: true]),
      waiting: :ets.new(__MODULE__, [:ordered_set, :public, write_concurrency: true])
    }
  end

  ## Of a request

  @doc """
  Whether the calling process is the first one that begins with the request.
  """
  @spec begin?(Stack.t(), turn) :: boolean
  def begin?(%Stack{transactions: %{callbacks: tables}}, turn) do
    :ets.insert_new(tables.requests, {turn, self()})
  rescue
    # The tables have ended with the stack.
    ArgumentError -> true
  end

  @doc """
  The callback of the request has returned.
  """
  @spec returned(Stack.t(), turn) :: boolean
  def returned(%Stack{transactions: %{callbacks: tables}}, turn) do
    :ets.update_element(tables.requests, turn, {2, :returned})
  rescue
    ArgumentError -> false
  end

  @doc """
  The process that has the request; `:returned` when that is over, and `nil` where none has begun.
  """
  @spec process(Stack.t(), turn) :: pid | :returned | nil
  def process(%Stack{transactions: %{callbacks: tables}}, turn) do
    case :ets.lookup(tables.requests, turn) do
      [{_turn, process}] -> process
      [] -> nil
    end
  end

  @doc """
  Forgets a callback that has ended. Returns whether it had returned.
  """
  @spec ended(Stack.t(), turn) :: boolean
  def ended(%Stack{transactions: %{callbacks: tables}}, turn),
    do: match?([{_turn, :returned}], :ets.take(tables.requests, turn))

  ## What waits

  @doc """
  Has a callback of a row wait for those before it.
  """
  @spec wait(Stack.t(), turn, tuple) :: true
  def wait(%Stack{transactions: %{callbacks: tables}}, turn, call) do
    order = System.unique_integer([:monotonic])
    :ets.insert(tables.waiting, {{turn, order}, call})
  end

  @doc """
  The callback that has waited longest, and what it is forgotten by once it is called.
  """
  @spec next_waiting(Stack.t(), turn) :: {term, tuple} | nil
  def next_waiting(%Stack{transactions: %{callbacks: tables}}, turn) do
    case :ets.next(tables.waiting, {turn, -1_000_000_000_000_000_000_000}) do
      {^turn, _order} = key ->
        [{_key, call}] = :ets.lookup(tables.waiting, key)
        {key, call}

      _none ->
        nil
    end
  end

  @spec forget_waiting(Stack.t(), term) :: true
  def forget_waiting(%Stack{transactions: %{callbacks: tables}}, key),
    do: :ets.delete(tables.waiting, key)

  @doc """
  How many callbacks of a row wait.
  """
  @spec waiting(Stack.t(), turn) :: non_neg_integer
  def waiting(%Stack{transactions: %{callbacks: tables}}, turn),
    do: :ets.select_count(tables.waiting, [{{{turn, :_}, :_}, [], [true]}])

  @doc """
  How many entries each table has.
  """
  @spec sizes(t) :: %{atom => non_neg_integer}
  def sizes(%__MODULE__{} = tables) do
    %{requests: :ets.info(tables.requests, :size), waiting: :ets.info(tables.waiting, :size)}
  end
end
