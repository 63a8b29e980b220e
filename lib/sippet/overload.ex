defmodule Sippet.Overload do
  @moduledoc false
  # Which new requests a stack takes, and which get 503 (RFC3261§21.5.4), judged before the costly part of the work.
  #
  # Limited are the requests in a second, and those that are pending: whose server transaction is not finished, or whose
  # callback still runs. Of these both the number and the octets are limited, as a request may be of 64 KB. (The limit of
  # all transactions is the transactions' own.) Each is shared out among the sources, see `Sippet.Overload.FairShare`. What
  # belongs to a transaction in progress never comes here.
  #
  # The stack is a `Sippet.Stack`, which lies above this module.

  alias Sippet.Overload.{FairShare, Rate}

  @enforce_keys [:salt, :requests, :answers, :pending, :octets, :ledger, :state]
  defstruct @enforce_keys

  @typedoc """
    * `requests`, `answers` - new requests, and answers without a transaction, in this second
    * `pending` - how many requests are pending, by their sources
    * `octets` - how many octets these came with
    * `ledger` - the processes of callbacks outside of transactions, with their sources, their octets and who is told of
      their end
    * `state` - whether the stack is drained, when an answer without a transaction was last given, and when each reason was
  """
  @type t :: %__MODULE__{
          salt: binary,
          requests: Rate.t(),
          answers: Rate.t(),
          pending: FairShare.t(),
          octets: FairShare.t(),
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

  # Seconds after an answer without a transaction in which its ACK may come.
  @acknowledged_within 60

  @draining 1
  @answered 2

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
    state = :atomics.new(@answered + length(@reasons), [])
    for {_reason, index} <- indexed(), do: :atomics.put(state, index, now() - @quiet)
    :atomics.put(state, @answered, now() - @acknowledged_within - 1)

    %__MODULE__{
      salt: :crypto.strong_rand_bytes(8),
      requests: Rate.new(),
      answers: Rate.new(),
      pending: FairShare.new(),
      octets: FairShare.new(),
      ledger: :ets.new(__MODULE__, [:public, write_concurrency: true]),
      state: state
    }
  end

  defp indexed, do: Enum.with_index(@reasons, @answered + 1)

  defp now, do: System.monotonic_time(:second)

  ## Admission

  @spec source(map, tuple) :: FairShare.source()
  def source(%{overload: %__MODULE__{salt: salt}}, remote), do: FairShare.locate(remote, salt)

  @doc """
  Whether the stack takes a new request. One that it takes counts for this second.
  """
  @spec admit(map, FairShare.source(), class) :: :ok | {:error, reason}
  def admit(%{overload: overload, options: options}, source, class) do
    share = @shares[class]

    cond do
      class == :new and draining?(overload) ->
        {:error, :draining}

      not pending?(overload, options, source, share) ->
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
  @spec room?(map, FairShare.source()) :: boolean
  def room?(%{overload: overload, options: options}, source),
    do: pending?(overload, options, source, @shares.ack)

  # Whether one more may be pending. How large that is does not matter: what is over the limit is one message.
  defp pending?(overload, options, source, share) do
    FairShare.room?(overload.pending, source, options.max_pending, share) and
      FairShare.room?(overload.octets, source, options.max_pending_bytes, share)
  end

  @doc """
  Whether one more answer without a transaction is given in this second: not more of these than requests are taken, so
  that nobody has the stack work, and send to others in his name, without end.
  """
  @spec answer?(map, tuple) :: boolean
  def answer?(%{overload: overload, options: options} = stack, remote) do
    answer? =
      Rate.take?(overload.answers, source(stack, remote), options.max_requests, @shares.new)

    if answer?, do: :atomics.put(overload.state, @answered, now())
    answer?
  end

  @doc """
  Whether an answer without a transaction was given in the last minute: as long an ACK of one may come (RFC 3261
  §17.1.1.2, Timer D).
  """
  @spec answered?(map) :: boolean
  def answered?(%{overload: %__MODULE__{state: state}}),
    do: now() - :atomics.get(state, @answered) <= @acknowledged_within

  @doc """
  Whether this refusal is the first for its reason since a while.
  """
  @spec begins?(map, reason) :: boolean
  def begins?(%{overload: %__MODULE__{state: state}}, reason) do
    index = Enum.find_index(@reasons, &(&1 == reason)) + @answered + 1
    now() - :atomics.exchange(state, index, now()) >= @quiet
  end

  ## What is pending

  @doc """
  A request of `source`, of so many octets, is pending from now on, until `leave/3` with the same.
  """
  @spec enter(map, FairShare.source(), non_neg_integer) :: :ok
  def enter(%{overload: %__MODULE__{} = overload}, source, octets) do
    FairShare.add(overload.octets, source, octets)
    FairShare.add(overload.pending, source, 1)
  end

  @spec leave(map, FairShare.source(), non_neg_integer) :: :ok
  def leave(%{overload: %__MODULE__{} = overload}, source, octets) do
    FairShare.add(overload.octets, source, -octets)
    FairShare.add(overload.pending, source, -1)
  end

  @doc """
  A process works on so many octets that came from `source`, until `done/2`. `worker` is told of its end by a monitor.
  """
  @spec enter(map, pid, FairShare.source(), non_neg_integer, worker :: term) :: :ok
  def enter(%{overload: %__MODULE__{ledger: ledger}} = stack, pid, source, octets, worker) do
    :ets.insert(ledger, {pid, source, octets, worker})
    enter(stack, source, octets)
  end

  @doc """
  The process has ended.
  """
  @spec done(map, pid) :: :ok
  def done(%{overload: %__MODULE__{ledger: ledger}} = stack, pid) do
    case :ets.lookup(ledger, pid) do
      # In this order: who is killed in between leaves the count one too low, and not for ever one too high.
      [{_pid, source, octets, _worker}] ->
        leave(stack, source, octets)
        :ets.delete(ledger, pid)
        :ok

      [] ->
        :ok
    end
  rescue
    # The ledger has ended with the stack.
    ArgumentError -> :ok
  end

  @doc """
  Monitors the processes that a worker was to be told of, and was killed before.
  """
  @spec recover(map, term) :: :ok
  def recover(%{overload: %__MODULE__{ledger: ledger}}, worker) do
    for [pid] <- :ets.match(ledger, {:"$1", :_, :_, worker}), do: Process.monitor(pid)
    :ok
  end

  @spec pending(map) :: non_neg_integer
  def pending(%{overload: %__MODULE__{pending: pending}}), do: max(FairShare.total(pending), 0)

  @doc """
  How many octets the pending requests came with.
  """
  @spec pending_bytes(map) :: non_neg_integer
  def pending_bytes(%{overload: %__MODULE__{octets: octets}}), do: max(FairShare.total(octets), 0)

  ## Draining

  @spec drain(map, boolean) :: :ok
  def drain(%{overload: %__MODULE__{state: state}}, draining?),
    do: :atomics.put(state, @draining, if(draining?, do: 1, else: 0))

  defp draining?(%__MODULE__{state: state}), do: :atomics.get(state, @draining) == 1
end
