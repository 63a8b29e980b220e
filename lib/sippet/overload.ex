defmodule Sippet.Overload do
  @moduledoc false
  # Which new requests a stack takes, and which get 503 (RFC3261§21.5.4), judged before the costly part of the work.
  #
  # Limited are the requests in a second, and those that are pending: whose server transaction is not finished, or whose
  # callback still runs. Of these both the number and the octets are limited, as a request may be of 64 KB. (The limit of
  # all transactions is the transactions' own.) Each is shared out among the sources, see `Sippet.Overload.FairShare`. What
  # belongs to a transaction in progress never comes here.

  alias Sippet.Overload.{FairShare, Rate}

  @enforce_keys [
    :limits,
    :salt,
    :requests,
    :responses,
    :answers,
    :pending,
    :octets,
    :ledger,
    :state
  ]
  defstruct @enforce_keys

  @limits [:max_requests, :max_pending, :max_pending_bytes]

  @typedoc "The options of a stack that are its limits."
  @type limits :: %{
          max_requests: pos_integer | :infinity,
          max_pending: pos_integer | :infinity,
          max_pending_bytes: pos_integer | :infinity
        }

  @typedoc """
    * `limits` - how much of each there may be
    * `requests`, `responses`, `answers` - new requests, responses that a stateless core gets, and answers without a
      transaction, in this second
    * `pending` - how many requests are pending, by their sources
    * `octets` - how many octets these came with
    * `ledger` - the processes of callbacks outside of transactions, with their sources, their octets and who is told of
      their end
    * `state` - whether the stack is drained, when an answer without a transaction was last given, and when each reason was
  """
  @type t :: %__MODULE__{
          limits: limits,
          salt: binary,
          requests: Rate.t(),
          responses: Rate.t(),
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
  The names of the limits.
  """
  @spec limits() :: [atom]
  def limits, do: @limits

  @doc """
  Makes the counts of a stack; the ledger belongs to the caller.
  """
  @spec new(limits) :: t
  def new(limits) do
    state = :atomics.new(@answered + length(@reasons), [])
    for {_reason, index} <- indexed(), do: :atomics.put(state, index, now() - @quiet)
    :atomics.put(state, @answered, now() - @acknowledged_within - 1)

    %__MODULE__{
      limits: limits,
      salt: :crypto.strong_rand_bytes(8),
      requests: Rate.new(),
      responses: Rate.new(),
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

  @spec source(t, tuple) :: FairShare.source()
  def source(%__MODULE__{salt: salt}, remote), do: FairShare.locate(remote, salt)

  @doc """
  Whether the stack takes a new request. One that it takes counts for this second.
  """
  @spec admit(t, FairShare.source(), class) :: :ok | {:error, reason}
  def admit(%__MODULE__{limits: limits} = overload, source, class) do
    share = @shares[class]

    cond do
      class == :new and draining?(overload) ->
        {:error, :draining}

      not pending?(overload, source, share) ->
        {:error, :pending}

      not Rate.take?(overload.requests, source, limits.max_requests, share) ->
        {:error, :rate}

      true ->
        :ok
    end
  end

  @doc """
  Whether the core may be given something more that is not counted as a request.
  """
  @spec room?(t, FairShare.source()) :: boolean
  def room?(%__MODULE__{} = overload, source), do: pending?(overload, source, @shares.ack)

  # Whether one more may be pending. How large that is does not matter: what is over the limit is one message.
  defp pending?(%__MODULE__{limits: limits} = overload, source, share) do
    FairShare.room?(overload.pending, source, limits.max_pending, share) and
      FairShare.room?(overload.octets, source, limits.max_pending_bytes, share)
  end

  @doc """
  Whether one more answer without a transaction is given in this second: not more of these than requests are taken, so
  that nobody has the stack work, and send to others in his name, without end.
  """
  @spec answer?(t, tuple) :: boolean
  def answer?(%__MODULE__{limits: limits} = overload, remote) do
    answer? =
      Rate.take?(overload.answers, source(overload, remote), limits.max_requests, @shares.new)

    if answer?, do: answered(overload)
    answer?
  end

  @doc """
  An answer without a transaction is given, whose ACK may come.
  """
  @spec answered(t) :: :ok
  def answered(%__MODULE__{state: state}), do: :atomics.put(state, @answered, now())

  @doc """
  Whether a stateless core is given one more response, which nothing here has asked for: not more of these in a second than
  requests are.
  """
  @spec response?(t, FairShare.source()) :: boolean
  def response?(%__MODULE__{limits: limits} = overload, source) do
    room?(overload, source) and
      Rate.take?(overload.responses, source, limits.max_requests, @shares.ack)
  end

  @doc """
  Whether an answer without a transaction was given in the last minute: as long an ACK of one may come (RFC 3261
  §17.1.1.2, Timer D).
  """
  @spec answered?(t) :: boolean
  def answered?(%__MODULE__{state: state}),
    do: now() - :atomics.get(state, @answered) <= @acknowledged_within

  @doc """
  Whether this refusal is the first for its reason since a while.
  """
  @spec begins?(t, reason) :: boolean
  def begins?(%__MODULE__{state: state}, reason) do
    index = Enum.find_index(@reasons, &(&1 == reason)) + @answered + 1
    now() - :atomics.exchange(state, index, now()) >= @quiet
  end

  ## What is pending

  @doc """
  A request of `source`, of so many octets, is pending from now on, until `leave/3` with the same.
  """
  @spec enter(t, FairShare.source(), non_neg_integer) :: :ok
  def enter(%__MODULE__{} = overload, source, octets) do
    FairShare.add(overload.octets, source, octets)
    FairShare.add(overload.pending, source, 1)
  end

  @spec leave(t, FairShare.source(), non_neg_integer) :: :ok
  def leave(%__MODULE__{} = overload, source, octets) do
    FairShare.add(overload.octets, source, -octets)
    FairShare.add(overload.pending, source, -1)
  end

  @doc """
  A process works on so many octets that came from `source`, until `done/2`. `worker` is told of its end by a monitor.
  """
  @spec enter(t, pid, FairShare.source(), non_neg_integer, worker :: term) :: :ok
  def enter(%__MODULE__{ledger: ledger} = overload, pid, source, octets, worker) do
    :ets.insert(ledger, {pid, source, octets, worker})
    enter(overload, source, octets)
  end

  @doc """
  The process has ended.
  """
  @spec done(t, pid) :: :ok
  def done(%__MODULE__{ledger: ledger} = overload, pid) do
    case :ets.lookup(ledger, pid) do
      # In this order: who is killed in between leaves the count one too low, and not for ever one too high.
      [{_pid, source, octets, _worker}] ->
        leave(overload, source, octets)
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
  @spec recover(t, term) :: :ok
  def recover(%__MODULE__{ledger: ledger}, worker) do
    for [pid] <- :ets.match(ledger, {:"$1", :_, :_, worker}), do: Process.monitor(pid)
    :ok
  end

  @spec pending(t) :: non_neg_integer
  def pending(%__MODULE__{pending: pending}), do: max(FairShare.total(pending), 0)

  @doc """
  How many octets the pending requests came with.
  """
  @spec pending_bytes(t) :: non_neg_integer
  def pending_bytes(%__MODULE__{octets: octets}), do: max(FairShare.total(octets), 0)

  ## Draining

  @spec drain(t, boolean) :: :ok
  def drain(%__MODULE__{state: state}, draining?),
    do: :atomics.put(state, @draining, if(draining?, do: 1, else: 0))

  defp draining?(%__MODULE__{state: state}), do: :atomics.get(state, @draining) == 1
end
