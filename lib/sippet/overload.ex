defmodule Sippet.Overload do
  @moduledoc false
  # Which new requests a stack takes, and which get 503 (RFC3261§21.5.4), judged before the costly part of the work.
  #
  # Limited are the requests in a second, and those that are pending: whose server transaction is not finished, or whose
  # callback still runs. Of these both the number and the octets are limited, as a request may be of 64 KB. INVITEs have a
  # limit of their own, and have a place until their ACK is there: so many that wait, for a phone that rings or for an ACK that
  # never comes, leave all other requests alone. (The limit of all transactions is the transactions' own.)
  #
  # Each is shared out among the sources, see `Sippet.Overload.FairShare`. A fifth of each is kept for whom the stack has seen, see
  # `Sippet.Overload.Seen`. What belongs to a transaction in progress never comes here.

  alias Sippet.Overload.{FairShare, Rate, Seen}

  @enforce_keys [
    :limits,
    :salt,
    :requests,
    :responses,
    :answers,
    :pending,
    :invites,
    :octets,
    :sources,
    :dialogs,
    :waiting,
    :ledger,
    :state
  ]
  defstruct @enforce_keys

  @limits [:max_requests, :max_pending, :max_invites, :max_pending_bytes]

  @typedoc "The options of a stack that are its limits."
  @type limits :: %{
          max_requests: pos_integer | :infinity,
          max_pending: pos_integer | :infinity,
          max_invites: pos_integer | :infinity,
          max_pending_bytes: pos_integer | :infinity
        }

  @typedoc """
    * `limits` - how much of each there may be
    * `requests`, `responses`, `answers` - new requests, responses that a stateless core gets, and answers without a
      transaction, in this second
    * `pending`, `invites` - how many requests are pending, and how many INVITEs have a place, by their sources
    * `octets` - how many octets pending requests came with
    * `sources`, `dialogs` - whom the stack has answered with 2xx
    * `waiting` - the INVITEs that may lose their place for others
    * `ledger` - the processes of callbacks outside of transactions, with their sources, their octets and who is told of
      their end
    * `state` - whether the stack is drained, when an answer without a transaction was last given, whether `waiting` was ever
      used, and when each reason was
  """
  @type t :: %__MODULE__{
          limits: limits,
          salt: binary,
          requests: Rate.t(),
          responses: Rate.t(),
          answers: Rate.t(),
          pending: FairShare.t(),
          invites: FairShare.t(),
          octets: FairShare.t(),
          sources: Seen.t(),
          dialogs: Seen.t(),
          waiting: :ets.tid(),
          ledger: :ets.tid(),
          state: :atomics.atomics_ref()
        }

  @typedoc "What has a place: an INVITE, or anything else that the core is to do."
  @type place :: :invite | :request

  @typedoc "What is to be admitted. `:ack` stands for what gets no answer."
  @type kind :: place | :ack

  @typedoc "Whether the stack has seen who sends a request: its dialog, its source, or neither."
  @type seen :: :dialog | :source | nil

  @type reason :: :draining | :pending | :rate | :transactions
  @reasons [:draining, :pending, :rate, :transactions]

  # How many times what is left of a limit a source may hold.
  @share 4

  # RFC7339§5.10.1 - the same of who is seen: what ends calls goes before what begins them
  @seen_share 9

  # Of each limit a part of so many is kept for who is seen.
  @kept 5

  # A source is seen when it was answered so often.
  @answers_of_source 2

  # So many INVITEs, or a part of so many of their limit, may be over it until those that have lost their places have left.
  @leaving 16
  @leaving_part 50

  # INVITEs are put on the list of those that may lose their place from a part of so many of the limit on.
  @crowded 2

  # Seconds without a refusal after which the next one is worth a line in the log.
  @quiet 10

  # Seconds after an answer without a transaction in which its ACK may come.
  @acknowledged_within 60

  @draining 1
  @answered 2
  @listed 3

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
  Makes the counts of a stack; the tables belong to the caller.
  """
  @spec new(limits) :: t
  def new(limits) do
    state = :atomics.new(@listed + length(@reasons), [])
    for {_reason, index} <- indexed(), do: :atomics.put(state, index, now() - @quiet)
    :atomics.put(state, @answered, now() - @acknowledged_within - 1)

    %__MODULE__{
      limits: limits,
      salt: :crypto.strong_rand_bytes(8),
      requests: Rate.new(),
      responses: Rate.new(),
      answers: Rate.new(),
      pending: FairShare.new(),
      invites: FairShare.new(),
      octets: FairShare.new(),
      sources: Seen.new(),
      dialogs: Seen.new(),
      waiting: :ets.new(__MODULE__, [:ordered_set, :public, write_concurrency: true]),
      ledger: :ets.new(__MODULE__, [:public, write_concurrency: true]),
      state: state
    }
  end

  defp indexed, do: Enum.with_index(@reasons, @listed + 1)

  defp now, do: System.monotonic_time(:second)

  ## Admission

  @spec source(t, tuple) :: FairShare.source()
  def source(%__MODULE__{salt: salt}, remote), do: FairShare.locate(remote, salt)

  @doc """
  Whether the stack takes a new request. One that it takes counts for this second. `seen` tells whether the stack has seen who
  sends it, and is asked only where that matters.
  """
  @spec admit(t, FairShare.source(), kind, (() -> seen)) :: :ok | {:error, reason}
  def admit(%__MODULE__{} = overload, source, kind, seen) do
    cond do
      kind != :ack and draining?(overload) and seen.() != :dialog ->
        {:error, :draining}

      not room?(overload, source, kind, seen) ->
        {:error, :pending}

      not take?(overload, source, seen) ->
        {:error, :rate}

      true ->
        :ok
    end
  end

  @doc """
  Whether the core may be given something more that is not counted as a request.
  """
  @spec room?(t, FairShare.source()) :: boolean
  def room?(%__MODULE__{} = overload, source), do: pending?(overload, source, :ack, :seen)

  @doc """
  Whether a stateless core is given one more response, which nothing here has asked for: not more of these in a second than
  requests are.
  """
  @spec response?(t, FairShare.source()) :: boolean
  def response?(%__MODULE__{limits: limits} = overload, source) do
    room?(overload, source) and
      Rate.take?(overload.responses, source, limits.max_requests, @seen_share)
  end

  defp room?(overload, source, kind, seen) do
    pending?(overload, source, kind, :unseen) or
      (seen.() != nil and pending?(overload, source, kind, :seen)) or
      (kind == :invite and make_room?(overload, source))
  end

  defp take?(%__MODULE__{limits: %{max_requests: limit}, requests: requests}, source, seen) do
    Rate.take?(requests, source, limit(limit, :unseen), @share) or
      (seen.() != nil and Rate.take?(requests, source, limit, @seen_share))
  end

  # Whether one more may be pending. How large that is does not matter: what is over the limit is one message. So many may have a
  # place beyond the limit.
  defp pending?(%__MODULE__{limits: limits} = overload, source, kind, who, beyond \\ 0) do
    {counters, limit} =
      if kind == :invite,
        do: {overload.invites, limits.max_invites},
        else: {overload.pending, limits.max_pending}

    FairShare.room?(counters, source, raised(limit(limit, who), beyond), share(who)) and
      FairShare.room?(overload.octets, source, limit(limits.max_pending_bytes, who), share(who))
  end

  defp raised(:infinity, _beyond), do: :infinity
  defp raised(limit, beyond), do: limit + beyond

  @doc """
  What of a limit is there for who is seen, and for who is not.
  """
  @spec limit(pos_integer | :infinity, :seen | :unseen) :: pos_integer | :infinity
  def limit(:infinity, _who), do: :infinity
  def limit(limit, :seen), do: limit
  def limit(limit, :unseen), do: limit - div(limit, @kept)

  defp share(:seen), do: @seen_share
  defp share(:unseen), do: @share

  ## Who is seen

  @doc """
  Whether the stack has seen the dialog of a request, or else its source. A request outside of a dialog has `nil` as its dialog.
  """
  @spec seen(t, term, term) :: seen
  def seen(%__MODULE__{salt: salt} = overload, address, dialog) do
    cond do
      dialog != nil and Seen.seen?(overload.dialogs, [salt | dialog], 1) -> :dialog
      Seen.seen?(overload.sources, [salt | address], @answers_of_source) -> :source
      true -> nil
    end
  end

  @doc """
  A request from this address was answered with 2xx.
  """
  @spec note_source(t, term) :: :ok
  def note_source(%__MODULE__{salt: salt, sources: sources}, address),
    do: Seen.note(sources, [salt | address])

  @doc """
  There is a dialog of this name: a 2xx has made it.
  """
  @spec note_dialog(t, term) :: :ok
  def note_dialog(%__MODULE__{salt: salt, dialogs: dialogs}, dialog),
    do: Seen.note(dialogs, [salt | dialog])

  ## Places that are lost

  @refused 0
  @unanswered 1

  @doc """
  An INVITE may lose its place for another: one that was refused and waits for its ACK, or one of an unseen source that the core
  has not answered. `row` is what tells it from others, its age first.
  """
  @spec list(t, :refused | :unanswered, {age :: integer, term}) :: :ok
  def list(%__MODULE__{} = overload, why, row) do
    if crowded?(overload) do
      :atomics.put(overload.state, @listed, 1)
      :ets.insert(overload.waiting, {{rank(why), row}})
    end

    :ok
  end

  defp rank(:refused), do: @refused
  defp rank(:unanswered), do: @unanswered

  @doc """
  Whether so many INVITEs have a place that it is worth to know who may lose it.
  """
  @spec crowded?(t) :: boolean
  def crowded?(%__MODULE__{limits: %{max_invites: :infinity}}), do: false

  def crowded?(%__MODULE__{limits: %{max_invites: limit}, invites: invites}),
    do: @crowded * FairShare.total(invites) > limit

  @doc """
  It does not lose its place any more, or has lost it.
  """
  @spec unlist(t, {age :: integer, term}) :: :ok
  def unlist(%__MODULE__{waiting: waiting} = overload, row) do
    if :atomics.get(overload.state, @listed) == 1 do
      :ets.delete(waiting, {@refused, row})
      :ets.delete(waiting, {@unanswered, row})
    end

    :ok
  end

  # The limit is reached, and not by this source: the oldest of who waits in vain has to go.
  defp make_room?(%__MODULE__{limits: %{max_invites: :infinity}}, _source), do: false

  defp make_room?(%__MODULE__{limits: %{max_invites: limit}} = overload, source) do
    leaving = max(div(limit, @leaving_part), @leaving)
    pending?(overload, source, :invite, :unseen, leaving) and lose_one?(overload)
  end

  defp lose_one?(%__MODULE__{waiting: waiting}) do
    with {_rank, row} = entry <- :ets.first(waiting),
         [_taken] <- :ets.take(waiting, entry) do
      Kernel.send(self(), {:lose_place, row})
      true
    else
      :"$end_of_table" -> false
      # Another was faster.
      [] -> true
    end
  end

  ## Answers without a transaction

  @doc """
  Whether one more answer without a transaction is given in this second: not more of these than requests are taken, so
  that nobody has the stack work, and send to others in his name, without end.
  """
  @spec answer?(t, tuple) :: boolean
  def answer?(%__MODULE__{limits: limits} = overload, remote) do
    answer? = Rate.take?(overload.answers, source(overload, remote), limits.max_requests, @share)

    if answer?, do: answered(overload)
    answer?
  end

  @doc """
  An answer without a transaction is given, whose ACK may come.
  """
  @spec answered(t) :: :ok
  def answered(%__MODULE__{state: state}), do: :atomics.put(state, @answered, now())

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
    index = Enum.find_index(@reasons, &(&1 == reason)) + @listed + 1
    now() - :atomics.exchange(state, index, now()) >= @quiet
  end

  ## What is pending

  @doc """
  A request of `source`, of so many octets, is pending from now on, and has a place.
  """
  @spec enter(t, FairShare.source(), place, non_neg_integer) :: :ok
  def enter(%__MODULE__{} = overload, source, place, octets) do
    FairShare.add(overload.octets, source, octets)
    FairShare.add(counters(overload, place), source, 1)
  end

  @doc """
  It is not pending any more.
  """
  @spec leave(t, FairShare.source(), non_neg_integer) :: :ok
  def leave(%__MODULE__{} = overload, source, octets),
    do: FairShare.add(overload.octets, source, -octets)

  @doc """
  It gives its place back.
  """
  @spec leave_place(t, FairShare.source(), place) :: :ok
  def leave_place(%__MODULE__{} = overload, source, place),
    do: FairShare.add(counters(overload, place), source, -1)

  defp counters(overload, :invite), do: overload.invites
  defp counters(overload, :request), do: overload.pending

  @doc """
  A process works on so many octets that came from `source`, until `done/2`. `worker` is told of its end by a monitor.
  """
  @spec enter_process(t, pid, FairShare.source(), non_neg_integer, worker :: term) :: :ok
  def enter_process(%__MODULE__{ledger: ledger} = overload, pid, source, octets, worker) do
    :ets.insert(ledger, {pid, source, octets, worker})
    enter(overload, source, :request, octets)
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
        leave_place(overload, source, :request)
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

  @doc """
  How many have a place, INVITEs that wait for their ACK among them.
  """
  @spec pending(t) :: non_neg_integer
  def pending(%__MODULE__{pending: pending, invites: invites}),
    do: max(FairShare.total(pending), 0) + max(FairShare.total(invites), 0)

  @doc """
  The processes of callbacks outside of transactions.
  """
  @spec processes(t) :: [pid]
  def processes(%__MODULE__{ledger: ledger}) do
    List.flatten(:ets.match(ledger, {:"$1", :_, :_, :_}))
  rescue
    # The ledger has ended with the stack.
    ArgumentError -> []
  end

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
