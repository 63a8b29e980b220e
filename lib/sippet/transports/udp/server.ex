defmodule Sippet.Transports.UDP.Server do
  @moduledoc false
  # The process that owns the socket, registers it with the stack, and takes the datagrams.
  #
  # It reads while it is registered. A read that finds nothing leaves a select: the socket's message wakes the
  # process. After `batch` reads the process sends itself `:read`, so that the mailbox gets its turn. What the stack has
  # no room for is held, and nothing read: the socket's buffer is where datagrams wait.
  #
  # Whatever its mailbox holds and whatever the stack does, the process lives: a socket that is lost takes its port,
  # and the NAT bindings of all who talk to it, along.

  use GenServer

  alias Sippet.{Stack, Telemetry}
  alias Sippet.Transports.STUN
  alias Sippet.Transports.UDP.Socket

  # Waits before another try to register, in ms: doubled from the first to the last.
  @first_wait 10
  @last_wait 1_000

  # How long reading rests after an error that the socket gives no reason for, in ms.
  @rest 10

  # How long reading rests while the stack has enough to do, in ms.
  @busy 1

  # Unreachable destinations that wait to be told to the stack.
  @most_unreachable 1_000

  @enforce_keys [:options]
  defstruct [
    :options,
    socket: nil,
    # The monitor of the stack's board, while registered.
    board: nil,
    wait: @first_wait,
    # The reference of the select that is pending.
    select: nil,
    # Where from and what came last, if the stack had no room for it.
    held: nil,
    # The monitor of the process that tells the stack what can't be reached, and what it shall be told next.
    teller: nil,
    unreachable: %{}
  ]

  @impl true
  def init(options) do
    state = %__MODULE__{options: options}

    case open(state) do
      {:ok, state} -> {:ok, register(state)}
      {:error, reason} when options.retry == false -> {:stop, reason}
      {:error, reason} -> {:ok, open_later(state, reason)}
    end
  end

  defp open(%{options: options} = state) do
    with {:ok, socket} <- Socket.open(options.family, options.ip, options.port, options),
         do: {:ok, %{state | socket: socket}}
  end

  defp open_later(%{options: options} = state, reason) do
    with_stack(state, fn stack ->
      Stack.log(stack, :error, fn ->
        "UDP port #{options.port}: #{inspect(reason)}, next try in #{options.retry} ms"
      end)
    end)

    Process.send_after(self(), :open, options.retry)
    state
  end

  ## Registration

  defp register(state) do
    if registered?(state) do
      Kernel.send(self(), :read)
      %{state | board: Process.monitor(Stack.Board.name(state.options.name)), wait: @first_wait}
    else
      Process.send_after(self(), :register, state.wait)
      %{state | board: nil, wait: min(2 * state.wait, @last_wait)}
    end
  end

  defp registered?(%{options: options, socket: socket}) do
    {:ok, address} = Socket.sockname(socket)
    how = [address: address, via: {options.module, socket}]

    case Sippet.register_transport(options.name, :udp, false, how) do
      :ok -> true
      # The board was restarted, and kept its list.
      {:error, :already_registered} -> listed?(options.name)
    end
  catch
    # The stack is not there: not yet, or no more.
    :exit, _reason -> false
  end

  defp listed?(name), do: Enum.any?(Stack.transports(Stack.fetch!(name)), &(&1.pid == self()))

  ## Messages

  @impl true
  def handle_call(:sockname, _from, %{socket: nil} = state),
    do: {:reply, {:error, :not_bound}, state}

  def handle_call(:sockname, _from, state), do: {:reply, Socket.sockname(state.socket), state}

  def handle_call(request, _from, state),
    do: {:reply, {:error, :unknown_request}, unexpected(state, request)}

  @impl true
  def handle_cast(message, state), do: {:noreply, unexpected(state, message)}

  @impl true
  def handle_info({:"$socket", _socket, :select, ref}, %{select: ref} = state) when ref != nil,
    do: woken(%{state | select: nil})

  # The socket was closed behind our back: the next read tells.
  def handle_info({:"$socket", _socket, :abort, {ref, _reason}}, %{select: ref} = state)
      when ref != nil,
      do: read(%{state | select: nil})

  # A select that was cancelled while its message was under way.
  def handle_info({:"$socket", socket, _event, _info}, %{socket: %{socket: socket}} = state),
    do: {:noreply, state}

  def handle_info(:read, state), do: read(state)

  def handle_info(:open, %{socket: nil} = state) do
    case open(state) do
      {:ok, state} -> {:noreply, register(state)}
      {:error, reason} -> {:noreply, open_later(state, reason)}
    end
  end

  def handle_info(:register, %{board: nil, socket: %Socket{}} = state),
    do: {:noreply, register(state)}

  def handle_info({:DOWN, ref, :process, _pid, _reason}, %{board: ref} = state) when ref != nil,
    do: {:noreply, register(%{state | board: nil})}

  def handle_info({:DOWN, ref, :process, _pid, _reason}, %{teller: ref} = state) when ref != nil,
    do: {:noreply, tell(%{state | teller: nil})}

  def handle_info(message, state), do: {:noreply, unexpected(state, message)}

  # Anybody may send anything to a process: it is counted.
  defp unexpected(state, message) do
    failed(state, {:unexpected_message, message})
    state
  end

  ## Reading

  # What woke the process may be ICMP errors alone, when a sender has been told of them already.
  defp woken(%{board: nil} = state), do: {:noreply, state}

  defp woken(%{socket: socket} = state) do
    case Socket.read(socket) do
      {:wait, info} ->
        Socket.cancel(socket, info)
        {_count, state} = errors(state)
        read(state)

      result ->
        took(result, state, state.options.batch)
    end
  end

  defp read(%{board: board, select: select} = state) when board == nil or select != nil,
    do: {:noreply, state}

  defp read(%{held: {remote, data}} = state),
    do: took({:ok, remote, data}, %{state | held: nil}, state.options.batch)

  defp read(state), do: read(state, state.options.batch)

  defp read(state, 0) do
    Kernel.send(self(), :read)
    {:noreply, state}
  end

  defp read(state, left), do: took(Socket.read(state.socket), state, left)

  defp took({:ok, remote, data}, state, left) do
    case datagram(state, remote, data) do
      :busy -> {:noreply, hold(state, remote, data)}
      :ok -> read(state, left - 1)
    end
  end

  defp took({:cut, remote, size}, state, left) do
    dropped(state, :truncated, size, remote)
    read(state, left - 1)
  end

  defp took({:wait, {:select_info, _call, ref}}, state, _left),
    do: {:noreply, %{state | select: ref}}

  defp took({:error, reason}, state, _left) when reason in [:closed, :ebadf],
    do: {:stop, {:socket, reason}, state}

  defp took({:error, reason}, state, left) do
    {count, state} = errors(state)

    # An ICMP error may be told by a read although its entry was taken with those before it.
    if count > 0 or Socket.pending?(reason),
      do: read(state, left - 1),
      else: rest(state, reason)
  end

  defp rest(state, reason) do
    failed(state, reason)
    Process.send_after(self(), :read, @rest)
    {:noreply, state}
  end

  defp hold(state, remote, data) do
    Process.send_after(self(), :read, @busy)
    %{state | held: {remote, data}}
  end

  defp datagram(state, remote, data) do
    cond do
      STUN.stun?(data) -> stun(state, remote, data)
      line_ends?(data) -> dropped(state, :keep_alive, byte_size(data), remote)
      true -> deliver(state, remote, data)
    end
  end

  defp line_ends?(<<octet, rest::binary>>) when octet in [?\r, ?\n], do: line_ends?(rest)
  defp line_ends?(rest), do: rest == <<>>

  defp stun(state, remote, data) do
    dropped(state, :stun, byte_size(data), remote)

    with :answer <- state.options.stun,
         {:ok, answer} <- STUN.answer(data, remote),
         do: Socket.send(state.socket, remote, answer)

    :ok
  end

  defp deliver(%{options: options} = state, {ip, port}, data) do
    case options.router.queue_transport_message(options.name, data, {:udp, ip, port}) do
      :ok -> :ok
      {:error, :busy} -> :busy
    end
  catch
    kind, reason -> log_defect(state, kind, reason, __STACKTRACE__)
  end

  ## ICMP errors

  defp errors(state) do
    {count, unreachable} = Socket.errors(state.socket)
    {count, tell(Enum.reduce(unreachable, state, &note/2))}
  end

  defp note({destination, reason}, %{unreachable: noted} = state)
       when map_size(noted) < @most_unreachable,
       do: %{state | unreachable: Map.put(noted, destination, reason)}

  defp note(_error, state), do: state

  # Finding the transactions of a destination takes time that is not the receiving process's: one other process does
  # it, for all that came in since the last.
  defp tell(%{teller: nil, unreachable: noted} = state) when map_size(noted) > 0 do
    {_pid, ref} = spawn_monitor(fn -> Enum.each(noted, &unreachable(state, &1)) end)

    %{state | teller: ref, unreachable: %{}}
  end

  defp tell(state), do: state

  defp unreachable(%{options: options} = state, {destination, reason}) do
    for destination <- Socket.aliases(state.socket, destination),
        do: options.router.receive_unreachable(options.name, destination, reason)
  catch
    kind, reason -> log_defect(state, kind, reason, __STACKTRACE__)
  end

  ## What is told

  defp dropped(state, reason, bytes, {ip, port}) do
    with_stack(state, fn stack ->
      Telemetry.emit(stack, :message_dropped, %{bytes: bytes}, fn ->
        %{reason: reason, remote: {:udp, ip, port}}
      end)
    end)
  end

  defp failed(state, reason) do
    with_stack(state, fn stack ->
      Telemetry.emit(stack, :transport_error, %{system_time: System.system_time()}, fn ->
        %{reason: reason, remote: nil, key: nil}
      end)
    end)
  end

  defp log_defect(state, kind, reason, stacktrace) do
    with_stack(state, fn stack ->
      Stack.log(stack, :error, fn -> Exception.format(kind, reason, stacktrace) end)
    end)
  end

  # The stack is looked up each time: it may have been restarted, with counters of its own.
  defp with_stack(%{options: %{name: name}}, fun) do
    case Stack.find(name) do
      nil -> :ok
      stack -> fun.(stack)
    end
  end
end
