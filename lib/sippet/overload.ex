defmodule Sippet.Overload do
  @moduledoc false
  # Which new requests a stack takes, and which get 503 (RFC3261§21.5.4), judged before the costly part of the work.
  #
  # Limited are the requests in a second, and those that are pending: whose server transaction is a process, as it is
  # not finished, or whose callback still runs. (The third limit, that of all transactions, is the transactions'
  # own.) Each is shared out among the sources, see `Sippet.Overload.Sources`. What belongs to a transaction in progress
  # never comes here.
  #
  # The stack is a `Sippet.Stack`, which lies above this module.

  alias Sippet.Overload.{Rate, Sources}

  @enforce_keys [:salt, :requests, :answers, :pending, :ledger, :state]
  defstruct [:salt, :requests, :answers, :pending, :ledger, :state]

  @typedoc """
    * `requests`, `answers` - new requests, and answers without a transaction, in this second
    * `pending` - how many requests are pending, by their sources
    * `ledger` - the processes that those are, with their sources: it outlives each, so that one that was killed can be
      taken off
    * `state` - whether the stack is drained, and for each reason when it was last given
  """
  @type t :: %__MODULE__{
          salt: binary,
          requests: Rate.t(),
          answers: Rate.t(),
          pending: Sources.t(),
          ledger: :ets.tid(),
          state: :atomics.atomics_ref()
        }

  @typedoc """
  RFC7339§5.10.1 - a request within a dialog goes before one outside of it: it is what ends calls. `:ack` stands for
  what gets no answer.
  """
  @type class :: :new | :within_dialog | :ack

  @type reason :: :draining | :pending | :rate | :transactions
  @reasons [:draining, :pending, :rate, :transactions]

  # How many times what is left of a limit one address may hold: it gets four fifths at most, nine tenths with what is
  # within dialogs. The rest is there for others.
  @shares %{new: 4, within_dialog: 9, ack: 9}

  # Seconds without a refusal after which the next one is worth a line in the log.
  @quiet 10

  @draining 1

  @doc """
  The names of what a refusal can have as its reason.
  """
  @spec reasons() :: [reason]
  def reasons, do: @reasons

  @doc """
  Makes the counts of a stack; the ledger belongs to the caller.
  """
  @spec new() :: t
  def new do
    state = :atomics.new(@draining + length(@reasons), [])
    for {_reason, index} <- indexed(), do: :atomics.put(state, index, now() - @quiet)

    %__MODULE__{
      salt: :crypto.strong_rand_bytes(8),
      requests: Rate.new(),
      answers: Rate.new(),
      pending: Sources.new(),
      ledger: :ets.new(__MODULE__, [:public, write_concurrency: true]),
      state: state
    }
  end

  defp indexed, do: Enum.with_index(@reasons, @draining + 1)

  defp now, do: System.monotonic_time(:second)

  ## Admission

  @spec source(map, tuple) :: Sources.source()
  def source(%{overload: %__MODULE__{salt: salt}}, remote), do: Sources.locate(remote, salt)

  @doc """
  Whether the stack takes a new request. One that it takes counts for this second.
  """
  @spec admit(map, Sources.source(), class) :: :ok | {:error, reason}
  def admit(%{overload: overload, options: options}, source, class) do
    share = @shares[class]

    cond do
      class == :new and draining?(overload) ->
        {:error, :draining}

      not Sources.room?(overload.pending, source, options.max_pending, share) ->
        {:error, :pending}

      not Rate.take?(overload.requests, source, options.max_requests, share) ->
        {:error, :rate}

      true ->
        :ok
    end
  end

  @doc """
  Whether the core may be given something more that is not counted as a request.
  """
  @spec room?(map, Sources.source()) :: boolean
  def room?(%{overload: overload, options: options}, source),
    do: Sources.room?(overload.pending, source, options.max_pending, @shares.ack)

  @doc """
  Whether one more answer without a transaction is given in this second: not more of these than requests are taken, so
  that nobody has the stack work, and send to others in his name, without end.
  """
  @spec answer?(map, tuple) :: boolean
  def answer?(%{overload: overload, options: options} = stack, remote),
    do: Rate.take?(overload.answers, source(stack, remote), options.max_requests, @shares.new)

  @doc """
  Whether this refusal is the first for its reason since a while.
  """
  @spec begins?(map, reason) :: boolean
  def begins?(%{overload: %__MODULE__{state: state}}, reason) do
    index = Enum.find_index(@reasons, &(&1 == reason)) + @draining + 1
    now() - :atomics.exchange(state, index, now()) >= @quiet
  end

  ## What is pending

  @doc """
  A process works on a request of `source` from now on, until `leave/2`. Without a source it is not counted.
  """
  @spec enter(map, pid, Sources.source() | nil) :: :ok
  def enter(_stack, _pid, nil), do: :ok

  def enter(%{overload: %__MODULE__{ledger: ledger, pending: pending}}, pid, source) do
    :ets.insert(ledger, {pid, source})
    Sources.add(pending, source, 1)
  end

  @doc """
  The process has done its work, or never had any.
  """
  @spec leave(map, pid) :: :ok
  def leave(%{overload: %__MODULE__{ledger: ledger, pending: pending}}, pid) do
    case :ets.take(ledger, pid) do
      [{_pid, source}] -> Sources.add(pending, source, -1)
      [] -> :ok
    end
  rescue
    # The ledger has ended with the stack.
    ArgumentError -> :ok
  end

  @doc """
  Takes off who was killed, and could not leave.
  """
  @spec audit(map) :: :ok
  def audit(%{overload: %__MODULE__{ledger: ledger}} = stack) do
    :ets.safe_fixtable(ledger, true)
    audit(stack, ledger, :ets.first(ledger))
    :ets.safe_fixtable(ledger, false)
    :ok
  end

  defp audit(_stack, _ledger, :"$end_of_table"), do: :ok

  defp audit(stack, ledger, pid) do
    unless Process.alive?(pid), do: leave(stack, pid)
    audit(stack, ledger, :ets.next(ledger, pid))
  end

  @spec pending(map) :: non_neg_integer
  def pending(%{overload: %__MODULE__{pending: pending}}), do: max(Sources.total(pending), 0)

  ## Draining

  @spec drain(map, boolean) :: :ok
  def drain(%{overload: %__MODULE__{state: state}}, draining?),
    do: :atomics.put(state, @draining, if(draining?, do: 1, else: 0))

  defp draining?(%__MODULE__{state: state}), do: :atomics.get(state, @draining) == 1
end
