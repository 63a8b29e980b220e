defmodule Sippet.Telemetry do
  alias Sippet.{Log, Overload}

  # One list of events: it makes the documentation below, the counters of `Sippet.stats/1`, and the tests.
  @events [
    {:message_received, [:sippet, :message, :received], "a message was parsed and taken",
     [bytes: "octets of it"], [:message, :remote]},
    {:message_sent, [:sippet, :message, :sent],
     "a message was handed to a transport, for the first time or again; `octets` is the iodata of it",
     [bytes: "octets of it"], [:octets, :method, :status, :remote, :key]},
    {:message_refused, [:sippet, :message, :refused],
     "what came could not be parsed or is no valid request; a request was answered where that can be done",
     [bytes: "octets of it"], [:error, :remote]},
    {:message_dropped, [:sippet, :message, :dropped],
     "what came was dropped: `reason` is `:keep_alive`, `:stun`, `:truncated`, `:stray_response`, `:malformed_response`, `:malformed_ack`, `:malformed_request`, `:refusal_ack`, `:overload`, `:unanswered`, `:busy`, `:malformed_remote` or `:no_transport`",
     [bytes: "octets of it"], [:reason, :remote]},
    {:request_rejected, [:sippet, :request, :rejected],
     "a new request was over a limit and got 503; `reason` is `:rate`, `:pending`, `:transactions` or, of a stack that is being drained, `:draining`",
     [bytes: "octets of it"], [:reason, :request, :remote]},
    {:transaction_started, [:sippet, :transaction, :started],
     "a transaction began; `request` is the message that began it", [system_time: "native units"],
     [:key, :machine, :request]},
    {:transaction_responded, [:sippet, :transaction, :responded],
     "a server transaction sent, or a client transaction received, a response of another `status` than the one before: " <>
       "each of 101 to 199, and the first final one. `response` is what a client received, and `nil` of a server. " <>
       "`duration` counts from the start of the transaction",
     [system_time: "native units", duration: "native units"],
     [:key, :machine, :status, :response, :cancelled]},
    {:transaction_ended, [:sippet, :transaction, :ended],
     "a transaction ended; `reason` is `:normal`, `:timeout`, `:terminated`, `:transport_error` or what it crashed of, " <>
       "`status` is that of its first final response, or `nil` if there was none",
     [duration: "native units"], [:key, :machine, :reason, :status, :cancelled]},
    {:owner_down, [:sippet, :owner, :down],
     "an owner or a callback ended and left something that the stack ends for it: a request without a final response, or an INVITE " <>
       "that it sent (then `key` is that of the transaction), or a call (then `dialog` is its `Sippet.Dialog`, and `key` is `nil`). " <>
       "`reason` is the exit reason of the process", [system_time: "native units"],
     [:key, :dialog, :reason]},
    {:transport_error, [:sippet, :transport, :error],
     "a message could not be sent, an ICMP error came, or a transport met what it did not expect; `key` is `nil` where " <>
       "no transaction is concerned, as for an ICMP error that quotes none",
     [system_time: "native units"], [:reason, :remote, :key]},
    {:connection_opened, [:sippet, :connection, :opened],
     "a connection is ready; `direction` is `:in` if the peer has opened it, and `:out` otherwise. A secure one has " <>
       "`identities`, `version` and `cipher` too", [system_time: "native units"],
     [:remote, :local, :direction]},
    {:connection_closed, [:sippet, :connection, :closed],
     "a connection has ended; `Sippet.Transports.Stream` has the reasons",
     [
       duration: "native units",
       octets_in: "octets that came",
       octets_out: "octets that were sent",
       messages_in: "messages that came",
       messages_out: "messages that were sent"
     ], [:remote, :local, :direction, :reason]},
    {:connection_refused, [:sippet, :connection, :refused],
     "a connection was not taken, or could not be opened; `Sippet.Transports.Stream` has the reasons",
     [system_time: "native units"], [:remote, :direction, :reason]},
    {:registration_registered, [:sippet, :registration, :registered],
     "a `Sippet.Registration` was granted its bindings, for the first time or again",
     [expires: "seconds granted"], [:registration, :address_of_record]},
    {:registration_failed, [:sippet, :registration, :failed],
     "an attempt of a `Sippet.Registration` failed; `reason` is that of its event",
     [retry_in: "ms until the next attempt"], [:registration, :address_of_record, :reason]},
    {:registration_expired, [:sippet, :registration, :expired],
     "the bindings of a `Sippet.Registration` ended, as they were not refreshed in time",
     [system_time: "native units"], [:registration, :address_of_record]},
    {:core_missing, [:sippet, :core, :missing],
     "the stack had no core to call; a request gets 500", [system_time: "native units"],
     [:callback, :key]},
    {:core_abandoned, [:sippet, :core, :abandoned],
     "a callback was ended with its transaction: the time for an answer was over, or the stack was overloaded",
     [system_time: "native units"], [:callback, :key]},
    {:core_failed, [:sippet, :core, :failed], "a core's callback raised, threw or exited",
     [system_time: "native units"], [:callback, :key, :kind, :reason, :stacktrace]}
  ]

  @moduledoc """
  What a stack tells of itself: events and counters.

      Sippet.stats(:mystack)
      :telemetry.attach("calls", [:sippet, :transaction, :ended], &MyApp.Metrics.handle/4, nil)

  Each event counts, whatever listens: `Sippet.stats/1` gives the counts. The event `:responded`
  alone is made for listeners only, and has no count. Where the module `:telemetry` is there when
  a stack starts, each event is also executed there; where it is not, an event costs one addition.
  Sippet does not depend on `:telemetry`: add it to your own dependencies to listen. The stack's
  option `:telemetry` names another module in its place; its `execute/3` gets the event's name,
  measurements and metadata. A stack does not start with a module that has no `execute/3`.

  If `execute/3` raises, throws or exits, the stack writes one line into the log and calls it no more. Nothing else comes
  of it: no request, transport or stack ends. The counters go on. The next start of the stack calls it again.

  Every event's metadata has the stack's name as `:stack`, and what its row says:

  | event | when | measurements | metadata |
  |---|---|---|---|
  #{for {_id, event, text, measurements, metadata} <- @events do
    ["| `", inspect(event), "` | ", text, " | ", Enum.map_join(measurements, ", ", fn {name, unit} -> "`#{name}` (#{unit})" end), " | ", Enum.map_join(metadata, ", ", &"`#{&1}`"), " |\n"]
  end}
  `remote` is `{protocol, ip_or_host, port}`; `machine` is the module of the state machine;
  `key` is a `Sippet.Transactions.Client.Key` or `Sippet.Transactions.Server.Key`, or `nil`
  outside of a transaction. `method` is that of the message, which a response has in its CSeq;
  `status` is that of a response, and `nil` of a request. `cancelled` is true if a CANCEL came for
  the INVITE of a server transaction, or was sent for that of a client transaction, before its
  final response. `registration` is the name of the process, or its pid; `address_of_record` is
  text.

  The guide [Call records](call-records.md) writes one line for each call from these events.

  Refusals are also counted by their reasons: #{Enum.map_join(Overload.reasons(), ", ", &"`rejected_#{&1}`")}.
  """

  # It is not known without a look at each message, which is for listeners alone.
  @uncounted [:transaction_responded]

  @ids Enum.map(@events, &elem(&1, 0)) -- @uncounted

  # Counters that are no events of their own stand behind those of the events.
  @counters @ids ++ Enum.map(Overload.reasons(), &:"rejected_#{&1}")

  @typedoc "The short name of an event, which is also its counter's if it has one."
  @type id ::
          :message_received
          | :message_sent
          | :message_refused
          | :message_dropped
          | :request_rejected
          | :transaction_started
          | :transaction_responded
          | :transaction_ended
          | :owner_down
          | :transport_error
          | :connection_opened
          | :connection_closed
          | :connection_refused
          | :registration_registered
          | :registration_failed
          | :registration_expired
          | :core_missing
          | :core_abandoned
          | :core_failed

  @doc """
  The documented events: short name, event name, measurements and metadata keys.

      iex> {:core_failed, [:sippet, :core, :failed], [:system_time], metadata} =
      ...>   List.last(Sippet.Telemetry.events())
      iex> :callback in metadata
      true
  """
  @spec events() :: [{id, [atom], [atom], [atom]}]
  def events do
    for {id, event, _text, measurements, metadata} <- @events,
        do: {id, event, Keyword.keys(measurements), [:stack | metadata]}
  end

  @enforce_keys [:stack, :counters, :module, :detached]
  defstruct @enforce_keys

  @typedoc false
  @type t :: %__MODULE__{
          stack: atom,
          counters: :counters.counters_ref(),
          module: module | nil,
          detached: :atomics.atomics_ref()
        }

  @doc false
  # What the events of a stack of this name go to: `module`, or `:telemetry` where that is there.
  @spec new(atom, module | nil) :: t
  def new(stack, module) do
    %__MODULE__{
      stack: stack,
      counters: :counters.new(length(@counters), [:write_concurrency]),
      module: module || if(Code.ensure_loaded?(:telemetry), do: :telemetry),
      detached: :atomics.new(1, [])
    }
  end

  @doc false
  # Whether somebody may listen, who wants more to be known of an event.
  @spec listened?(t) :: boolean
  def listened?(%__MODULE__{module: nil}), do: false
  def listened?(%__MODULE__{detached: detached}), do: :atomics.get(detached, 1) == 0

  @doc false
  # Counts the event, and executes it with what `details` gives if somebody may listen.
  @spec emit(t, id, map, (... -> map)) :: :ok
  def emit(telemetry, id, measurements, details)

  for {id, index} <- Enum.with_index(@ids, 1),
      {_id, event, _, _, _} = List.keyfind(@events, id, 0) do
    def emit(telemetry, unquote(id), measurements, details) do
      :counters.add(telemetry.counters, unquote(index), 1)
      if telemetry.module, do: execute(telemetry, unquote(event), measurements, details)
      :ok
    end
  end

  for id <- @uncounted, {_id, event, _, _, _} = List.keyfind(@events, id, 0) do
    def emit(telemetry, unquote(id), measurements, details) do
      if telemetry.module, do: execute(telemetry, unquote(event), measurements, details)
      :ok
    end
  end

  defp execute(telemetry, event, measurements, details) do
    if listened?(telemetry),
      do: call(telemetry, event, measurements, Map.put(details.(), :stack, telemetry.stack))
  end

  # It runs in the process of a transport or of a worker, which must not end by it.
  defp call(%__MODULE__{module: module} = telemetry, event, measurements, metadata) do
    module.execute(event, measurements, metadata)
  catch
    kind, reason -> detach(telemetry, event, {kind, reason, __STACKTRACE__})
  end

  defp detach(%__MODULE__{module: module, stack: stack} = telemetry, event, crash) do
    if :atomics.exchange(telemetry.detached, 1, 1) == 0 do
      text = "#{inspect(module)} gets no more events, as it failed of #{inspect(event)}"
      Log.write(stack, :error, %{crash: crash}, text)
    end
  end

  @doc false
  # Tells of a new request that was refused, and counts it by its reason too.
  @spec reject(t, Overload.reason(), map, (... -> map)) :: :ok
  def reject(telemetry, reason, measurements, details)

  for {reason, index} <- Enum.with_index(Overload.reasons(), length(@ids) + 1) do
    def reject(telemetry, unquote(reason), measurements, details) do
      :counters.add(telemetry.counters, unquote(index), 1)
      emit(telemetry, :request_rejected, measurements, details)
    end
  end

  @doc false
  @spec counts(t) :: %{atom => non_neg_integer}
  def counts(%__MODULE__{counters: counters}) do
    for {id, index} <- Enum.with_index(@counters, 1),
        into: %{},
        do: {id, :counters.get(counters, index)}
  end
end
