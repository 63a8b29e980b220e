defmodule Sippet.Stack.Lanes.Lane do
  @moduledoc false
  # Takes one message after another.

  use GenServer

  alias Sippet.Stack
  alias Sippet.Stack.Lanes

  # Milliseconds without a message, after which it gives back what a flood had it hold.
  @rest 1_000

  @spec start_link({atom, pos_integer, Stack.t(), module}) :: GenServer.on_start()
  def start_link({name, index, stack, router}) do
    GenServer.start_link(__MODULE__, {index, stack, router}, name: name, hibernate_after: @rest)
  end

  @impl true
  def init({index, stack, _router} = lane) do
    # What waited for a predecessor is lost with it.
    Lanes.reset(stack.lanes, index)
    {:ok, lane}
  end

  @impl true
  def handle_info({:take, data, remote, pid}, {index, stack, router} = lane) do
    {protocol, _ip, _port} = remote
    transport = Stack.answering(stack, pid, protocol)
    router.handle_transport_message(stack.name, data, remote, transport)
    Lanes.taken(stack.lanes, index)
    {:noreply, lane}
  end

  # Anybody may send anything to a process.
  def handle_info(_message, lane), do: {:noreply, lane}
end
