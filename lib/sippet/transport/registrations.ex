defmodule Sippet.Transport.Registrations do
  @moduledoc false
  # Keeps the lists of a stack's transports and of its taps: who registers is watched, who dies is taken off. The
  # lists themselves lie elsewhere (`Sippet.Stack`), so a restart of this process loses none.

  use GenServer

  alias Sippet.Stack.Tap
  alias Sippet.{Stack, Transport}

  @spec start_link(Stack.t()) :: GenServer.on_start()
  def start_link(stack), do: GenServer.start_link(__MODULE__, stack, name: name(stack.name))

  @doc """
  The registered name of a stack's registrations.
  """
  @spec name(atom) :: atom
  def name(stack), do: Stack.process(stack, "Registrations")

  @spec register(atom, Transport.t()) :: :ok | {:error, :already_registered}
  def register(stack, %Transport{} = transport),
    do: GenServer.call(name(stack), {:register, transport})

  @doc """
  Has a tap told of each message from now on, until its process ends or it is detached.
  """
  @spec attach(atom, Tap.t()) :: :ok
  def attach(stack, %Tap{} = tap), do: GenServer.call(name(stack), {:attach, tap})

  @spec detach(atom, Tap.t()) :: :ok
  def detach(stack, %Tap{} = tap), do: GenServer.call(name(stack), {:detach, tap})

  @impl true
  def init(stack) do
    # A courier that ends is no end of this process; it ends with this one.
    Process.flag(:trap_exit, true)
    for transport <- Stack.transports(stack), do: Process.monitor(transport.pid)
    Stack.put_transports(stack, Enum.map(Stack.transports(stack), &with_courier/1))
    for tap <- Stack.taps(stack), do: Process.monitor(tap.pid)
    {:ok, stack}
  end

  @impl true
  def handle_call({:register, transport}, _from, stack) do
    # A predecessor may be dead while its `:DOWN` is still under way.
    alive = Enum.filter(Stack.transports(stack), &Process.alive?(&1.pid))

    if conflict?(alive, transport) do
      {:reply, {:error, :already_registered}, stack}
    else
      Process.monitor(transport.pid)
      Stack.put_transports(stack, alive ++ [with_courier(transport)])
      {:reply, :ok, stack}
    end
  end

  def handle_call({:attach, tap}, _from, stack) do
    Process.monitor(tap.pid)
    Stack.put_taps(stack, [tap | without(stack, tap.pid)])
    {:reply, :ok, stack}
  end

  def handle_call({:detach, tap}, _from, stack) do
    Stack.put_taps(stack, without(stack, tap.pid))
    {:reply, :ok, stack}
  end

  # A transport of the 1.0 kind is waited for by a process that exists for it.
  defp with_courier(%Transport{module: nil} = transport) do
    {:ok, courier} = Transport.Courier.start_link(transport.pid)
    %{transport | handle: courier}
  end

  defp with_courier(transport), do: transport

  defp without(stack, pid), do: Enum.reject(Stack.taps(stack), &(&1.pid == pid))

  # One transport of a protocol may be without an address, as in version 1.0, and it comes first:
  # what was written for that version takes the protocol for its own. Those that name their
  # address are told apart by it.
  defp conflict?(transports, %Transport{protocol: protocol, address: address, pid: pid}) do
    Enum.any?(transports, fn other ->
      other.protocol == protocol and
        (other.address == address or (address == nil and other.pid != pid))
    end)
  end

  @impl true
  def handle_info({:DOWN, _ref, :process, pid, _reason}, stack) do
    Stack.put_transports(stack, Enum.reject(Stack.transports(stack), &(&1.pid == pid)))
    Stack.put_taps(stack, without(stack, pid))
    {:noreply, stack}
  end

  def handle_info({:EXIT, courier, _reason}, stack) do
    transports =
      for transport <- Stack.transports(stack) do
        if transport.handle == courier and Process.alive?(transport.pid),
          do: with_courier(transport),
          else: transport
      end

    Stack.put_transports(stack, transports)
    {:noreply, stack}
  end

  def handle_info(_message, stack), do: {:noreply, stack}

  @impl true
  # Its supervisor ends, and so does the stack: what still runs finds no transport.
  def terminate(reason, stack) when reason in [:shutdown, :killed],
    do: Stack.put_transports(stack, [])

  def terminate(_defect, _stack), do: :ok
end
