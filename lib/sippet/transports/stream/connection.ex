defmodule Sippet.Transports.Stream.Connection do
  @moduledoc false
  # One connection: it connects or is accepted, reads, cuts messages, answers keep-alives, writes what others hand to it, and
  # keeps the clocks. What it could not send it tells the stack of when it ends.

  use GenServer, restart: :temporary

  alias Sippet.{Flow, Message, Names, Router, Stack, Transactions, Transport}
  alias Sippet.Message.Stream, as: Octets
  alias Sippet.Transactions.Client
  alias Sippet.Transports.Stream.{Table, Told, Unsent}

  # Without anything to do for so long it gives back its memory, in ms.
  @rest 1_000

  # How long one that ends waits for what was counted, and is not in its mailbox yet, in ms: who has counted has only to send.
  @last_look 1_000

  # How long reading rests while the stack has enough to do, in ms.
  @busy 1

  # What a connection that is ready needs of the options: each has them in its own memory.
  @needed [
    :name,
    :protocol,
    :module,
    :table,
    :first_message,
    :message,
    :idle,
    :keep_alive,
    :pong,
    :max_unsent
  ]

  @enforce_keys [:options, :place, :direction, :unsent, :opened_at]
  defstruct @enforce_keys ++
              [
                :socket,
                :remote,
                :transport,
                :octets,
                :reason,
                # Deadlines in ms of monotonic time, of the clock and of the keep-alive.
                :clock,
                :keep_alive,
                # The timer, and when it fires.
                :timer,
                fires_at: :infinity,
                waits_for_pong?: false,
                # Whether requests to the peer's domains go by it.
                alias?: false,
                peer: %{},
                # Keys of client transactions whose requests were written, with the time of that.
                written: :queue.new(),
                counts: %{octets_in: 0, octets_out: 0, messages_in: 0, messages_out: 0}
              ]

  ## For others

  @type way :: {:to, Table.place(), {binary, Transport.key()}} | {:from, Flow.address()}

  @spec start_link({way, map}) :: GenServer.on_start()
  def start_link(argument), do: GenServer.start_link(__MODULE__, argument, hibernate_after: @rest)

  @doc """
  Gives the connection the socket that was accepted for it.
  """
  @spec take(pid, term) :: term
  def take(connection, socket), do: Kernel.send(connection, {:accepted, socket})

  ## Begin

  @impl true
  def init({way, %{table: table} = options}) do
    # Its supervisor ends it: what waits goes out first.
    Process.flag(:trap_exit, true)

    case Table.enter(table, address(way), options) do
      :ok ->
        Table.watch(table)
        begin(way, new(way, options))

      {:error, reason} ->
        Told.refused(options, remote(way), direction(way), reason)
        {:stop, {:shutdown, reason}}
    end
  end

  defp new(way, options) do
    %__MODULE__{
      options: options,
      direction: direction(way),
      place: place(way),
      remote: remote(way),
      unsent: Unsent.new(),
      octets: Octets.new(options.max_message),
      opened_at: System.monotonic_time()
    }
  end

  defp address({:from, {ip, _port}}), do: ip
  defp address({:to, _place, _message}), do: nil
  defp direction({:from, _remote}), do: :in
  defp direction({:to, _place, _message}), do: :out
  defp remote({:from, remote}), do: remote
  defp remote({:to, {ip, port, _host}, _message}), do: {ip, port}
  defp place({:from, _remote}), do: nil
  defp place({:to, place, _message}), do: place

  defp begin({:to, place, {octets, key}}, %{options: options, unsent: unsent} = state) do
    :ok = Unsent.offer(unsent, self(), octets, key, :fresh, :infinity)
    Table.list(options.table, place, unsent, false)
    {:ok, state, {:continue, :connect}}
  end

  # Who has accepted it may have been killed.
  defp begin({:from, _remote}, state), do: {:ok, state, state.options.handshake}

  @impl true
  def handle_continue(:connect, %{options: options, place: {ip, port, host} = place} = state) do
    case options.module.connect({ip, port}, host, options) do
      {:ok, socket, peer} ->
        Table.up(options.table, place)
        ready(%{state | socket: socket, peer: peer})

      {:error, reason} ->
        refused(state, not_ready(reason))
    end
  end

  # As the system says it, where that is slower.
  defp not_ready(:timeout), do: :etimedout
  defp not_ready(reason), do: reason

  defp refused(%{options: options} = state, reason) do
    Told.refused(options, state.remote, state.direction, reason)
    {:stop, {:shutdown, reason}, %{state | reason: reason}}
  end

  defp ready(%{options: options, socket: socket} = state) do
    case options.module.local_address(socket) do
      {:ok, local} ->
        state = %{state | transport: transport(state, local), options: Map.take(options, @needed)}
        Told.opened(options, about(state))
        state |> keep_alive_from_now() |> set_clock(first(state)) |> read()

      {:error, reason} ->
        stop(state, reason)
    end
  end

  defp first(%{direction: :in, options: options}), do: options.first_message
  defp first(%{options: options}), do: options.idle

  defp transport(%{options: options, unsent: unsent} = state, local) do
    %Transport{
      protocol: options.protocol,
      reliable?: true,
      pid: self(),
      address: local,
      sent_by: Table.get(options.table, :sent_by),
      module: options.module,
      handle: {:connection, self(), unsent, options.max_unsent},
      identities: Map.get(state.peer, :identities, [])
    }
  end

  ## Messages

  @impl true
  def handle_info(:timeout, %{socket: nil} = state), do: {:stop, {:shutdown, :handshake}, state}

  def handle_info({:accepted, socket}, %{options: options, socket: nil} = state) do
    case options.module.handshake(socket, options) do
      {:ok, socket, peer} ->
        # Requests may go to the port that it came from, where nobody else is. Who is there, nobody has verified.
        %{remote: {ip, port}} = state

        unless Names.secure?(options.protocol),
          do: Table.list(options.table, {ip, port, nil}, state.unsent, true)

        ready(%{state | socket: socket, peer: peer})

      {:error, reason} ->
        options.module.close(socket)
        refused(state, reason)
    end
  end

  def handle_info({:write, octets, key, how}, state) do
    case write(state, octets, key, how) do
      {:ok, state} -> {:noreply, state}
      {:error, reason, state} -> stop(state, reason)
    end
  end

  def handle_info({:timeout, timer, :clock}, %{timer: timer} = state),
    do: look(%{state | timer: nil, fires_at: :infinity}, now())

  def handle_info({:timeout, _earlier, :clock}, state), do: {:noreply, state}

  def handle_info(message, %{socket: nil} = state), do: unexpected(message, state)

  def handle_info(message, %{options: %{module: module}, socket: socket} = state) do
    case module.event(message, socket) do
      {:part, data} -> received(state, data, &{:noreply, &1})
      {:data, data} -> received(state, data, &read/1)
      :passive -> read(state)
      :closed -> stop(state, :normal)
      {:error, reason} -> stop(state, reason)
      :unknown -> unexpected(message, state)
    end
  end

  @impl true
  def handle_cast(_unknown, state), do: {:noreply, state}

  # Older ones have it without naming it.
  if {:format_status, 1} in GenServer.behaviour_info(:callbacks), do: @impl(true)
  @doc false
  # What OTP logs of its end. What it got are messages of strangers, with their credentials.
  def format_status(status),
    do: Map.merge(status, %{message: :hidden, log: [], state: :hidden})

  # Anybody may send anything to a process; a supervisor that ends is heard of by `terminate/2`.
  defp unexpected(_message, state), do: {:noreply, state}

  ## Reading

  defp read(%{options: %{module: module}, socket: socket} = state) do
    # An alert of TLS may be told by this alone.
    case module.read(socket) do
      :ok -> {:noreply, state}
      {:error, :closed} -> stop(state, :normal)
      {:error, reason} -> stop(state, reason)
    end
  end

  defp received(state, data, go_on) do
    state = count(state, :octets_in, byte_size(data))

    case Octets.push(state.octets, data) do
      {:ok, items, octets} ->
        state = Enum.reduce(items, %{state | octets: octets}, &take_item/2)
        state |> keep_alive_from_now() |> set_clock(after_items(state, items)) |> go_on.()

      {:error, items, error} ->
        state = Enum.reduce(items, state, &take_item/2)
        refuse(state, error, byte_size(data))
        stop(state, if(error.reason == :message_too_large, do: :too_large, else: :garbage))
    end
  end

  defp take_item({:message, octets}, state) do
    %{options: %{name: name, protocol: protocol}, remote: {ip, port}} = state
    hand_over(name, octets, {protocol, ip, port}, state.transport)
    state |> count(:messages_in, 1) |> take_alias(octets)
  end

  # RFC5626§5.4 - answered at once, and not seen by the parser
  defp take_item(:ping, %{options: %{module: module}} = state) do
    # Whether that came to anything, the next read tells.
    module.write(state.socket, "\r\n")
    state
  end

  defp take_item(:pong, state), do: %{state | waits_for_pong?: false}

  # The clock of a message begins with its first octet, and does not begin again with the next ones.
  defp after_items(%{options: options, octets: octets} = state, items) do
    cond do
      not Octets.partial?(octets) -> options.idle
      items == [] and state.clock != nil and elem(state.clock, 0) == :slow -> :as_it_is
      true -> {:slow, options.message}
    end
  end

  # RFC3261§18.3 - what can be answered is
  defp refuse(%{options: options, remote: {ip, port}} = state, error, bytes) do
    remote = {options.protocol, ip, port}
    Router.handle_malformed(options.name, error, bytes, remote, state.transport)
  end

  # While the stack has enough to do nothing is read, and the peer finds its window closed.
  defp hand_over(name, octets, remote, transport) do
    with {:error, :busy} <- Router.queue_transport_message(name, octets, remote, transport) do
      Process.sleep(@busy)
      hand_over(name, octets, remote, transport)
    end
  end

  # RFC5923§9 - only of who has shown a certificate, and only for the domains of that
  defp take_alias(%{direction: :in, transport: %{identities: [_ | _]}} = state, octets) do
    with false <- state.alias?,
         {_at, _length} <- :binary.match(octets, "alias"),
         {:ok, %Message{headers: %{via: [{_, _, {_host, sent_by_port}, params} | _]}}} <-
           Message.parse(octets),
         true <- is_map_key(params, "alias") do
      %{options: %{table: table}, remote: {ip, _port}, transport: transport} = state

      for identity <- transport.identities,
          do: Table.list(table, {ip, sent_by_port, identity}, state.unsent, true)

      %{state | alias?: true}
    else
      _none -> state
    end
  end

  defp take_alias(state, _octets), do: state

  ## Writing

  defp write(state, octets, key, how) do
    Unsent.taken(state.unsent, byte_size(octets))

    # RFC3261§17.1 - the transaction may have given up while the connection was opened
    if how == :fresh and over?(state, key) do
      {:ok, state}
    else
      case state.options.module.write(state.socket, octets) do
        :ok ->
          {:ok, state |> count(:octets_out, byte_size(octets)) |> wrote(key)}

        {:error, reason} ->
          undelivered(state, octets, key, how, reason)
          {:error, failed(reason), state}
      end
    end
  end

  defp failed(:timeout), do: :send_timeout
  defp failed(:closed), do: :normal
  defp failed(reason), do: reason

  defp over?(%{options: %{name: name}}, %Client.Key{} = key) do
    case Stack.find(name) do
      %Stack{transactions: %{}} = stack -> not Transactions.alive?(stack, key)
      _none -> false
    end
  end

  defp over?(_state, _key), do: false

  defp wrote(state, key) do
    state = state |> count(:messages_out, 1) |> keep_alive_from_now()
    state = if idle?(state), do: set_clock(state, state.options.idle), else: state

    case key do
      %Client.Key{} -> %{state | written: :queue.in({now(), key}, recent(state))}
      _other -> state
    end
  end

  # After 64*T1 a transaction has heard something, or has ended.
  defp recent(%{written: written, options: %{name: name}}) do
    case :queue.peek(written) do
      {:value, {at, _key}} ->
        t1 = with %Stack{options: %{t1: t1}} <- Stack.find(name), do: t1
        forget(written, at, now() - 64 * (t1 || 500))

      :empty ->
        written
    end
  end

  defp forget(written, at, before) when at >= before, do: written

  defp forget(written, _at, before) do
    written = :queue.drop(written)

    case :queue.peek(written) do
      {:value, {at, _key}} -> forget(written, at, before)
      :empty -> written
    end
  end

  ## Clocks

  # A clock is `{reason, deadline}`.
  defp set_clock(state, :as_it_is), do: state
  defp set_clock(state, {reason, ms}), do: arm(%{state | clock: {reason, now() + ms}})
  defp set_clock(state, :infinity), do: %{state | clock: nil}

  defp set_clock(%{clock: nil, direction: :in} = state, ms),
    do: arm(%{state | clock: {:slow, now() + ms}})

  defp set_clock(state, ms), do: arm(%{state | clock: {:idle, now() + ms}})

  defp idle?(%{clock: {:idle, _at}}), do: true
  defp idle?(_state), do: false

  # RFC5626§4.4.1 - by random, so that not all ping at once
  defp keep_alive_from_now(%{options: %{keep_alive: false}} = state), do: state
  defp keep_alive_from_now(%{direction: :in} = state), do: state
  defp keep_alive_from_now(%{waits_for_pong?: true} = state), do: state

  defp keep_alive_from_now(%{options: %{keep_alive: keep_alive}} = state) do
    {least, most} =
      if keep_alive == true,
        do: {95_000, 120_000},
        else: {div(4 * keep_alive, 5), keep_alive}

    wait = least + :rand.uniform(most - least + 1) - 1
    arm(%{state | keep_alive: now() + wait})
  end

  # A timer that is set already is left where it fires first: what it finds is looked at then.
  defp arm(%{fires_at: fires_at} = state) do
    case Enum.min([deadline(state.clock), state.keep_alive || :infinity]) do
      at when is_integer(at) and at < fires_at ->
        if state.timer, do: :erlang.cancel_timer(state.timer)
        timer = :erlang.start_timer(at, self(), :clock, abs: true)
        %{state | timer: timer, fires_at: at}

      _later ->
        state
    end
  end

  defp deadline(nil), do: :infinity
  defp deadline({_reason, at}), do: at

  defp look(%{clock: {reason, at}} = state, now) when at <= now, do: stop(state, reason)

  defp look(%{keep_alive: at, waits_for_pong?: waits?} = state, now)
       when is_integer(at) and at <= now do
    if waits?, do: stop(state, :no_pong), else: ping(state, now)
  end

  defp look(state, _now), do: {:noreply, arm(state)}

  defp ping(%{options: %{module: module, pong: pong}} = state, now) do
    case module.write(state.socket, "\r\n\r\n") do
      :ok -> {:noreply, arm(%{state | waits_for_pong?: true, keep_alive: now + pong})}
      {:error, reason} -> stop(state, failed(reason))
    end
  end

  defp now, do: System.monotonic_time(:millisecond)

  ## End

  defp stop(state, reason), do: {:stop, {:shutdown, reason}, %{state | reason: reason}}

  @impl true
  def terminate(reason, %{options: %{table: table, module: module}} = state) do
    state = %{state | reason: state.reason || reason(reason)}
    Table.unlist(table)
    Unsent.close(state.unsent)
    state = empty(state, writable?(state))

    if state.socket do
      module.close(state.socket)
      if state.transport, do: tell_closed(state)
    end

    tell_ended(state)
  end

  defp reason({:shutdown, reason}), do: reason
  defp reason(reason) when reason in [:normal, :shutdown], do: :shutdown
  defp reason(_defect), do: :defect

  # A response to what was refused, and what a stack that ends had to say.
  defp writable?(%{socket: nil}), do: false
  defp writable?(%{reason: reason}), do: reason in [:shutdown, :garbage, :too_large, :idle]

  defp empty(%{unsent: unsent} = state, writable?) do
    receive do
      {:write, octets, key, how} when writable? ->
        case write(state, octets, key, how) do
          {:ok, state} -> empty(state, true)
          {:error, _reason, state} -> empty(state, false)
        end

      {:write, octets, key, how} ->
        Unsent.taken(unsent, byte_size(octets))
        undelivered(state, octets, key, how, state.reason)
        empty(state, false)
    after
      if(Unsent.any?(unsent), do: @last_look, else: 0) -> state
    end
  end

  # A connection that was used before may have been dead for long, and nobody knew: it is tried once more by another. A peer that
  # does not read is no better off with two.
  defp undelivered(%{place: place, options: options} = state, octets, key, :reused, reason)
       when reason not in [:timeout, :send_timeout] do
    {ip, port} = state.remote
    Table.connect(options.table, place || {ip, port, nil}, octets, key)
  end

  defp undelivered(%{options: %{name: name}}, _octets, key, how, reason)
       when how in [:fresh, :reused],
       do: Router.receive_transport_error(name, key, error(reason))

  # By this connection or by none; but for a response, for which there is another way.
  defp undelivered(%{options: options, remote: {ip, port}} = state, octets, key, :only, reason) do
    remote = {options.protocol, ip, port}
    Router.receive_undelivered(options.name, octets, key, error(reason), remote, state.transport)
  end

  defp error(:normal), do: :closed
  defp error(:shutdown), do: :closed
  defp error(:timeout), do: :send_timeout
  defp error(reason), do: reason

  # RFC3261§18.4 - who waits for a response is told at once that it does not come by this way
  defp tell_ended(%{written: written, options: %{name: name}, reason: reason}) do
    for {_at, key} <- :queue.to_list(written),
        do: Router.receive_disconnect(name, key, error(reason))

    :ok
  end

  defp count(%{counts: counts} = state, what, number),
    do: %{state | counts: Map.update!(counts, what, &(&1 + number))}

  defp about(%{options: options, remote: {ip, port}, transport: transport} = state) do
    Map.merge(state.peer, %{
      remote: {options.protocol, ip, port},
      local: transport.address,
      direction: state.direction
    })
  end

  defp tell_closed(%{options: options} = state) do
    measurements = Map.put(state.counts, :duration, System.monotonic_time() - state.opened_at)
    about = state |> about() |> Map.take([:remote, :local, :direction])
    Told.closed(options, measurements, Map.put(about, :reason, state.reason))
  end
end
