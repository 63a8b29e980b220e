defmodule Sippet.Transactions.Machine do
  @moduledoc false
  # What the four state machines share: their data, how they start and end, how they send, and how the core hears
  # of things. The machines themselves hold what the RFC's figures show.
  #
  # A machine in a finished state, that only waits out its last timer, goes to the shelf (Sippet.Transactions.Shelf)
  # as soon as no callback of the core runs any more, and its process ends. A message for it makes a process
  # of it again.

  alias Sippet.Core.Runner
  alias Sippet.{Message, Overload, Stack, Telemetry, Transport}
  alias Sippet.Stack.Tap

  alias Sippet.Transactions.{
    Client,
    Clock,
    Dialogs,
    Directory,
    Key,
    Packet,
    Server,
    Shelf,
    Timers
  }

  @enforce_keys [:stack, :module, :key, :transport, :destination]
  defstruct [
    :stack,
    :module,
    :key,
    :transport,
    :destination,
    :source,
    :request,
    :packet,
    :runner,
    :handling,
    :started,
    :deadline,
    :interval,
    :merge,
    :tag,
    :ended,
    told?: false,
    acks: %{}
  ]

  @typedoc """
  The data of a machine.

    * `source` - of whom a server transaction is pending work, until it is finished
    * `request` - of a server transaction, until its final response
    * `packet` - what was sent last, or is to be sent first
    * `handling` - the callback that has the request
    * `deadline` - the time of `Sippet.Transactions.Clock` at which a finished state ends; `nil` in all others
    * `interval` - for how long the timer that repeats `packet` was set last
    * `merge` - the request's row among those that merged requests are told by
    * `tag` - the To tag of the final response
    * `told?` - whether the core knows that `packet` could not be sent
    * `acks` - the 2xx of an INVITE by their To tags: whether their ACK came, is awaited, or they are repeated till then
  """
  @type t :: %__MODULE__{
          stack: Stack.t(),
          module: module,
          key: Client.Key.t() | Server.Key.t(),
          transport: Transport.t(),
          destination: Transport.destination(),
          source: Overload.Sources.source() | nil,
          request: Message.request() | nil,
          packet: Packet.t() | nil,
          runner: Runner.t() | nil,
          handling: reference | nil,
          started: integer | nil,
          deadline: integer | nil,
          interval: pos_integer | nil,
          merge: Shelf.merge() | nil,
          tag: String.t() | nil,
          ended: term,
          told?: boolean,
          acks: %{(String.t() | nil) => :acked | :awaited | :repeated}
        }

  @typep result :: :gen_statem.event_handler_result(atom)

  ## Start

  @doc """
  What a machine's `init/1` does. The key is registered when it returns, so that what comes again finds the machine;
  all other work is left to the event `:start`.
  """
  @spec init(t | tuple, atom) :: :gen_statem.init_result(atom)
  def init(%__MODULE__{stack: stack, key: key} = data, state) do
    with {:ok, _owner} <- Directory.register(stack, key, path(data)),
         nil <- Shelf.machine(stack, key) do
      {:ok, state, started(data), [{:next_event, :internal, :start}]}
    else
      :error -> {:stop, :no_registry}
      _taken -> :ignore
    end
  end

  def init({:wake, stack, key, event}, _state) do
    with {:ok, _owner} <- Directory.register(stack, key, nil),
         row when row != nil <- Shelf.take(stack, key) do
      {state, data} = unpack(stack, key, row)
      Shelf.claim(stack, data.merge, key)
      {:ok, state, data, [{:next_event, :cast, event}]}
    else
      _gone -> :ignore
    end
  end

  # An ICMP error (RFC3261§18.4) finds client transactions by where they send, and a CANCEL goes where its INVITE went.
  defp path(%__MODULE__{key: %Client.Key{}} = data), do: {data.destination, data.transport}
  defp path(%__MODULE__{}), do: nil

  defp started(%__MODULE__{stack: stack, request: request} = data) do
    Overload.enter(stack, self(), data.source)
    merge = request && Shelf.merge(request)
    Shelf.claim(stack, merge, data.key)
    if request, do: Dialogs.answers(stack, request, data.key)

    Telemetry.emit(stack, :transaction_started, %{system_time: System.system_time()}, fn ->
      %{key: data.key, machine: data.module}
    end)

    runner = Runner.new(stack, Stack.core(stack))
    %{data | runner: runner, merge: merge, started: System.monotonic_time()}
  end

  ## Sending

  @doc """
  Sends octets to where the transaction sends all of its.
  """
  @spec transmit(t, Packet.t()) :: :ok | {:error, term}
  def transmit(%__MODULE__{} = data, %Packet{message: message, octets: octets}) do
    time = Tap.clock(data.stack)

    with {:error, reason} = error <-
           Transport.send(data.transport, data.destination, message, octets, data.key) do
      details = fn -> %{reason: reason, remote: remote(data), key: data.key} end
      Telemetry.emit(data.stack, :transport_error, %{system_time: System.system_time()}, details)
      error
    else
      :ok ->
        Tap.sent(time, data.stack, octets, data.transport, data.destination)
        details = fn -> %{octets: octets, remote: remote(data)} end
        Telemetry.emit(data.stack, :message_sent, %{bytes: byte_size(octets)}, details)
    end
  end

  defp remote(%__MODULE__{transport: transport, destination: {host, port}}),
    do: {transport.protocol, host, port}

  @doc """
  Sends a response, which stays at hand for when it is asked for again.
  """
  @spec answer(t, Packet.t()) :: t
  def answer(data, packet), do: repeat(%{data | packet: packet, told?: false})

  @doc """
  Sends the last response again.
  """
  @spec repeat(t) :: t
  def repeat(%__MODULE__{packet: packet} = data) do
    case transmit(data, packet) do
      :ok -> data
      {:error, reason} -> undelivered(data, reason)
    end
  end

  @doc """
  Tells the core that a response did not get out, once for each response.

  A server transaction stays as it is then (RFC 3261 §17.2.4 as of RFC 6026 §8.8), and goes on to absorb what comes again.
  """
  @spec undelivered(t, term) :: t
  def undelivered(%__MODULE__{told?: true} = data, _reason), do: data

  def undelivered(data, reason),
    do: tell(%{data | told?: true}, :receive_error, reason)

  ## The core

  @spec tell(t, Runner.callback(), term) :: t
  def tell(data, callback, argument), do: tell(data, callback, argument, data.key)

  @spec tell(t, Runner.callback(), term, struct | nil) :: t
  def tell(%__MODULE__{runner: runner} = data, callback, argument, key),
    do: %{data | runner: Runner.run(runner, callback, argument, key)}

  @doc """
  Gives the core the request that the transaction is for.
  """
  @spec hand_over(t) :: t
  def hand_over(%__MODULE__{request: request} = data) do
    data = tell(data, :receive_request, request)
    %{data | handling: data.runner.running}
  end

  ## Timers

  @doc """
  What sets a timer as the table has it; nothing where it is not set.
  """
  @spec timer(t, Timers.name(), Clock.type()) :: [:gen_statem.action()]
  def timer(data, name, type) do
    case first(data, name) do
      :never -> []
      ms -> Clock.set(data.stack, type, ms, name)
    end
  end

  @doc """
  What sets a timer again that repeats the last packet; the interval goes on from that in the data.
  """
  @spec repeating(t, Timers.name()) :: {t, [:gen_statem.action()]}
  def repeating(%__MODULE__{interval: nil} = data, name) do
    case first(data, name) do
      :never -> {data, []}
      ms -> repeat_after(data, name, ms)
    end
  end

  def repeating(%__MODULE__{interval: interval, stack: stack} = data, name) do
    repeat_after(data, name, Timers.next(name, stack.options, interval))
  end

  defp repeat_after(data, name, ms),
    do: {%{data | interval: ms}, Clock.set(data.stack, {:timeout, name}, ms, name)}

  @spec stop_timers(t, [term]) :: [:gen_statem.action()]
  def stop_timers(data, names),
    do: Clock.cancel(data.stack, for(name <- names, do: {:timeout, name}))

  defp first(data, name), do: Timers.first(name, data.stack.options, data.transport.reliable?)

  ## Finished states

  @doc """
  Drops what a finished transaction does not need; `packet` is what it may have to send again.
  """
  @spec finished(t, Packet.t() | nil) :: t
  def finished(data, packet) do
    packet = packet && Packet.slim(packet, data.transport)
    %{data | request: nil, handling: nil, interval: nil, packet: packet}
  end

  @doc """
  What a finished state does when it is entered: the named timer ends it.
  """
  @spec wait_out(t, Timers.name()) :: :gen_statem.state_enter_result(atom)
  def wait_out(%__MODULE__{deadline: nil} = data, name),
    do: wait_out(%{data | deadline: Clock.now(data.stack) + first(data, name)}, name)

  def wait_out(%__MODULE__{deadline: deadline} = data, name) do
    timer = Clock.set_at(data.stack, :state_timeout, deadline, name)
    {:keep_state, data, timer ++ [{{:timeout, :shelve}, 0, :shelve}]}
  end

  @doc """
  Puts a finished transaction on the shelf, or keeps it while there is a reason to.
  """
  @spec shelve(atom, t) :: result
  def shelve(_state, %__MODULE__{runner: %{running: ref}} = data) when ref != nil,
    do: {:keep_state, data}

  def shelve(state, data) do
    # The second name of an RFC 2543 transaction, and an ACK that is awaited, need the process.
    if Key.rfc2543?(data.key) or Enum.any?(data.acks, fn {_tag, ack} -> ack != :acked end) do
      {:keep_state, data}
    else
      Shelf.put(data.stack, data.key, pack(state, data))
      Directory.leave(data.stack, data.key)
      Overload.leave(data.stack, self())
      {:stop, {:shutdown, :shelved}, data}
    end
  end

  # A struct or a map in a table takes its keys along, each time: what lies there for 32 s is tuples.
  defp pack(state, data) do
    acks = Map.to_list(data.acks)
    kept = {shelved(data), data.destination, bare(data.packet), data.tag, data.told?, acks}
    {data.deadline, data.started, data.module, state, data.merge, kept}
  end

  # One of the stack's transports is found again by its process. A connection has nobody else who knows it.
  defp shelved(%__MODULE__{stack: stack, transport: %Transport{} = transport}) do
    %{pid: pid, protocol: protocol} = transport
    if Stack.transport(stack, pid, protocol) == transport, do: {pid, protocol}, else: transport
  end

  defp bare(%Packet{message: nil, octets: octets}), do: octets
  defp bare(packet_or_nil), do: packet_or_nil

  defp unpack(stack, key, {deadline, started, module, state, merge, kept}) do
    {transport, destination, packet, tag, told?, acks} = kept

    data = %__MODULE__{
      stack: stack,
      module: module,
      key: key,
      transport: transport(stack, transport),
      destination: destination,
      packet: packet(packet),
      runner: Runner.new(stack, Stack.core(stack)),
      started: started,
      deadline: deadline,
      merge: merge,
      tag: tag,
      told?: told?,
      acks: Map.new(acks)
    }

    {state, data}
  end

  defp transport(_stack, %Transport{} = transport), do: transport

  defp transport(stack, {pid, protocol}),
    do: Stack.transport(stack, pid, protocol) || Transport.Gone.new(protocol, pid)

  defp packet(octets) when is_binary(octets), do: %Packet{octets: octets}
  defp packet(packet_or_nil), do: packet_or_nil

  ## Events that all states take alike

  @doc """
  Takes what a state itself does not: the end of a callback, the wish to end, and whatever else comes, which is ignored.
  """
  @spec common(:gen_statem.event_type(), term, atom, t) :: result
  def common({:timeout, :shelve}, :shelve, state, data), do: shelve(state, data)
  def common(:cast, :terminate, _state, data), do: stop(data, :terminated)

  def common(:info, {:DOWN, ref, :process, _pid, reason}, state, data) do
    case Runner.done(data.runner, ref, reason) do
      :unknown -> :keep_state_and_data
      {outcome, runner} -> called(outcome, ref, state, %{data | runner: runner})
    end
  end

  # A timer of a clock that is not the VM's has run out.
  def common(:info, {Clock, type, content}, _state, _data),
    do: {:keep_state_and_data, [{:next_event, type, content}]}

  def common(_type, _event, _state, _data), do: :keep_state_and_data

  # The core failed while it had a request that is not answered yet.
  defp called(:failed, ref, _state, %__MODULE__{handling: ref, request: request} = data)
       when request != nil do
    {:keep_state, data, [{:next_event, :cast, {:answer, error(request)}}]}
  end

  defp called(_outcome, _ref, _state, %__MODULE__{deadline: nil} = data), do: {:keep_state, data}
  defp called(_outcome, _ref, state, data), do: shelve(state, data)

  @doc """
  Ends the callback that has the request, as the time for an answer is over: else a core that never returns would
  fill the stack for good.
  """
  @spec abandon(t) :: :ok
  def abandon(%__MODULE__{handling: ref, runner: %{running: ref} = runner}) when ref != nil,
    do: Runner.abandon(runner, :receive_request)

  def abandon(%__MODULE__{}), do: :ok

  @doc """
  The answer for a core that gave none.
  """
  @spec error(Message.request()) :: Packet.t()
  def error(request), do: request |> Message.to_response(500) |> Packet.new()

  @doc """
  The 100 that a server transaction sends by itself.
  """
  @spec trying(t) :: Packet.t()
  def trying(%__MODULE__{request: request, started: started}) do
    response = Message.to_response(request, 100)
    Packet.new(%{response | headers: delayed(response.headers, started)})
  end

  # RFC3261§8.2.6.1 - the seconds from the request to this response are added to its Timestamp
  defp delayed(%{timestamp: {time, _delay}} = headers, started) do
    elapsed = System.convert_time_unit(System.monotonic_time() - started, :native, :millisecond)
    %{headers | timestamp: {time, elapsed / 1_000}}
  end

  defp delayed(headers, _started), do: headers

  ## End

  @doc """
  Ends a client transaction that has nothing to hope for, and tells the core.
  """
  @spec fail(t, term, :timeout | :transport_error) :: result
  def fail(data, reason, why), do: data |> tell(:receive_error, reason) |> stop(why)

  @doc """
  Ends a transaction. Its process stays, without the key, while callbacks run: they are pending work as long.
  """
  @spec stop(t, term) :: result
  def stop(%__MODULE__{runner: %{running: nil}} = data, why), do: {:stop, {:shutdown, why}, data}
  def stop(data, why), do: {:next_state, :terminated, %{data | ended: why}}

  @doc """
  The state of the process that outlives its transaction.
  """
  @spec terminated(:enter | :gen_statem.event_type(), term, t) :: result
  def terminated(:enter, _state, data) do
    leave(data, data.ended)
    :keep_state_and_data
  end

  def terminated(:info, {:DOWN, ref, :process, _pid, reason}, data) do
    case Runner.done(data.runner, ref, reason) do
      {_outcome, %{running: nil} = runner} -> {:stop, :normal, %{data | runner: runner}}
      {_outcome, runner} -> {:keep_state, %{data | runner: runner}}
      :unknown -> :keep_state_and_data
    end
  end

  def terminated(_type, _event, _data), do: :keep_state_and_data

  @doc """
  What a machine's `terminate/3` does, also after a crash.
  """
  @spec terminate(term, atom, t) :: :ok
  def terminate({:shutdown, :shelved}, _state, _data), do: :ok
  def terminate(_reason, :terminated, data), do: Overload.leave(data.stack, self())
  def terminate({:shutdown, why}, _state, data), do: leave(data, why)
  def terminate(reason, _state, data), do: leave(data, reason)

  defp leave(data, why) do
    if data.ended == nil, do: Overload.leave(data.stack, self())
    Registry.unregister(data.stack.name, data.key)
    Shelf.disclaim(data.stack, data.merge, data.key)
    Shelf.ended(data.stack, data.key, data.module, data.started, why)
  end
end
