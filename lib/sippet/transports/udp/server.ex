defmodule Sippet.Transports.UDP.Server do
  @moduledoc false
  # The process that owns the socket, registers it with the stack, and takes the datagrams.
  #
  # It reads while it is registered: it has the socket send it `batch` datagrams, and asks for more when half of these are with
  # the stack. As long as the socket never has to stop so, its descriptor stays with the scheduler, which spares a datagram a
  # thread's turn. What the stack has no room for is held, and no more is asked for: the socket's buffer is where
  # datagrams wait.
  #
  # Whatever its mailbox holds and whatever the stack does, the process lives: a socket that is lost takes its port,
  # and the NAT bindings of all who talk to it, along.

  use GenServer

  alias Sippet.{Overload, Stack}
  alias Sippet.Stack.Events
  alias Sippet.Transports.{Attachment, STUN}
  alias Sippet.Transports.UDP.Socket

  # How long reading rests while the stack has enough to do, in ms.
  @busy 1

  @enforce_keys [:options]
  defstruct [
    :options,
    socket: nil,
    # The monitor of the port that reads.
    receiver: nil,
    # What keeps it registered, once there is a socket.
    attachment: nil,
    # How many datagrams come by themselves: they were asked for and are not here yet.
    asked: 0,
    # What came and is not with the stack yet.
    held: :queue.new()
  ]

  @impl true
  def init(options) do
    # Its supervisor ends it: what is on its way goes out first.
    Process.flag(:trap_exit, true)
    state = %__MODULE__{options: options}

    case open(state) do
      {:ok, state} -> {:ok, attach(state)}
      {:error, reason} when options.retry == false -> {:stop, reason}
      {:error, reason} -> {:ok, open_later(state, reason)}
    end
  end

  defp open(%{options: options} = state) do
    with {:ok, socket} <- Socket.open(options.family, options.ip, options.port, options),
         do: {:ok, %{state | socket: socket, receiver: Port.monitor(socket.receiver)}}
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

  # Older ones have it without naming it.
  if {:format_status, 1} in GenServer.behaviour_info(:callbacks), do: @impl(true)
  @doc false
  # What OTP logs of its end. What it holds are messages of strangers, with their credentials.
  def format_status(status) do
    status
    |> Map.replace(:message, :hidden)
    |> Map.replace(:log, [])
    |> Map.update!(:state, &%{&1 | held: :queue.len(&1.held)})
  end

  ## Registration

  defp attach(%{options: options, socket: socket} = state) do
    {:ok, {_ip, port} = address} = Socket.sockname(socket)

    attachment = %Attachment{
      stack: options.name,
      protocol: :udp,
      reliable?: false,
      port: port,
      options:
        [address: address, via: {options.module, socket}] ++
          Keyword.take(Map.to_list(options), [:advertise, :force_rport])
    }

    register(%{state | attachment: attachment})
  end

  defp register(%{attachment: attachment} = state),
    do: attached(state, Attachment.register(attachment))

  defp attached(state, attachment) do
    if Attachment.registered?(attachment), do: Kernel.send(self(), :read)
    %{state | attachment: attachment}
  end

  defp registered?(%{attachment: nil}), do: false
  defp registered?(%{attachment: attachment}), do: Attachment.registered?(attachment)

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
  # The driver leaves room behind the octets, and who keeps a part would keep it all.
  def handle_info({:udp, receiver, ip, port, data}, %{socket: %{receiver: receiver}} = state),
    do:
      {:noreply,
       %{state | asked: state.asked - 1} |> arrived({ip, port}, :binary.copy(data)) |> ask()}

  # All came before more was asked for; or more was asked for since.
  def handle_info({:udp_passive, receiver}, %{socket: %{receiver: receiver}} = state),
    do: {:noreply, ask(state)}

  def handle_info({:udp_error, receiver, reason}, %{socket: %{receiver: receiver}} = state),
    do: {:noreply, failed_read(state, reason)}

  def handle_info(:errors, %{socket: %Socket{}} = state), do: {:noreply, errors(state)}

  # It was closed behind our back.
  def handle_info({:DOWN, ref, :port, _port, _reason}, %{receiver: ref} = state),
    do: {:stop, {:socket, :closed}, state}

  # The port is monitored; and whoever else is linked may end.
  def handle_info({:EXIT, _port_or_process, _reason}, state), do: {:noreply, state}

  def handle_info(:read, state), do: {:noreply, read(state)}

  def handle_info(:open, %{socket: nil} = state) do
    case open(state) do
      {:ok, state} -> {:noreply, attach(state)}
      {:error, reason} -> {:noreply, open_later(state, reason)}
    end
  end

  def handle_info(:register, %{attachment: %Attachment{monitor: nil}} = state),
    do: {:noreply, register(state)}

  def handle_info({:DOWN, ref, :process, _pid, _reason} = down, %{attachment: attachment} = state)
      when attachment != nil do
    case Attachment.down(attachment, ref) do
      {:ok, attachment} -> {:noreply, attached(state, attachment)}
      :error -> {:noreply, unexpected(state, down)}
    end
  end

  def handle_info(message, state), do: {:noreply, unexpected(state, message)}

  # Anybody may send anything to a process: it is counted.
  defp unexpected(state, message) do
    failed(state, {:unexpected_message, message})
    state
  end

  @impl true
  def terminate(reason, %{options: options, socket: %Socket{}})
      when reason in [:normal, :shutdown] or elem(reason, 0) == :shutdown,
      do: options.router.flush(options.name)

  def terminate(_reason, _state), do: :ok

  ## Reading

  # Behind what is held, or while nobody is there to take it, it waits too.
  defp arrived(%{held: held} = state, remote, data) do
    if registered?(state) and :queue.is_empty(held),
      do: take(state, remote, data),
      else: %{state | held: :queue.in({remote, data}, held)}
  end

  defp take(%{options: %{largest: largest}} = state, remote, data)
       when byte_size(data) > largest do
    dropped(state, :truncated, byte_size(data), remote)
    state
  end

  defp take(state, remote, data) do
    case datagram(state, remote, data) do
      :ok ->
        state

      :busy ->
        Process.send_after(self(), :read, @busy)
        %{state | held: :queue.in_r({remote, data}, state.held)}
    end
  end

  defp read(%{held: held} = state) do
    case registered?(state) && :queue.out(held) do
      false ->
        state

      {{:value, {remote, data}}, rest} ->
        case take(%{state | held: rest}, remote, data) do
          %{held: ^rest} = state -> read(state)
          busy -> busy
        end

      {:empty, _held} ->
        ask(state)
    end
  end

  # Asked for is what fills the batch up again, once half of it is there.
  defp ask(%{asked: asked, options: %{batch: batch}} = state) when 2 * asked > batch, do: state

  defp ask(%{held: held, asked: asked, options: %{batch: batch}} = state) do
    with true <- registered?(state) and :queue.is_empty(held),
         :ok <- Socket.read(state.socket, batch - asked) do
      %{state | asked: batch}
    else
      # The stack has enough to do, or the port has ended, which its monitor tells.
      _not_now -> state
    end
  end

  # What a read is told of is an ICMP error, or one of the system's.
  defp failed_read(state, reason) do
    unless Socket.pending?(reason), do: failed(state, reason)
    errors(state)
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
         true <- answer?(state, remote),
         {:ok, answer} <- STUN.answer(data, remote),
         do: Socket.send(state.socket, remote, answer)

    :ok
  end

  # As any other answer to who may have forged the address.
  defp answer?(%{options: %{name: name}}, {ip, port}) do
    case Stack.find(name) do
      nil -> false
      stack -> Overload.answer?(stack.overload, {:udp, ip, port})
    end
  end

  defp deliver(%{options: options} = state, {ip, port}, data) do
    case options.router.queue_transport_message(options.name, data, {:udp, ip, port}) do
      :ok -> :ok
      {:error, :busy} -> :busy
    end
  catch
    kind, reason ->
      log_defect(state, kind, reason, __STACKTRACE__, %{octets: data, remote: {:udp, ip, port}})
  end

  ## ICMP errors

  defp errors(state) do
    {left, unreachable} = Socket.errors(state.socket)
    # The mailbox gets its turn.
    if left == :more, do: Kernel.send(self(), :errors)
    Enum.each(unreachable, &unreachable(state, &1))
    state
  end

  defp unreachable(%{options: options} = state, {{ip, port}, reason, quoted}) do
    options.router.receive_unreachable(options.name, {:udp, ip, port}, reason, quoted)
  catch
    kind, reason -> log_defect(state, kind, reason, __STACKTRACE__)
  end

  ## What is told

  defp dropped(state, reason, bytes, {ip, port}),
    do: with_stack(state, &Events.dropped(&1, reason, bytes, {:udp, ip, port}))

  defp failed(state, reason),
    do: with_stack(state, &Events.transport_error(&1, reason, nil, nil))

  defp log_defect(state, kind, reason, stacktrace, about \\ %{}),
    do: with_stack(state, &Stack.log_defect(&1, kind, reason, stacktrace, about))

  # The stack is looked up each time: it may have been restarted, with counters of its own.
  defp with_stack(%{options: %{name: name}}, fun) do
    case Stack.find(name) do
      nil -> :ok
      stack -> fun.(stack)
    end
  end
end
