defmodule Sippet.Robustness.Proxy do
  @moduledoc false
  # A network that misbehaves, between two who take it for each other: a datagram that comes to the near port leaves
  # from the far one, and the other way round. Of the datagrams a share is lost, sent twice, or held back for a moment so
  # that others overtake it. What happens is drawn from a seed.

  use GenServer

  @loopback {127, 0, 0, 1}

  # How long a datagram is held back at most, in ms.
  @held 60

  @type faults :: [drop: float, duplicate: float, reorder: float]

  @doc """
  Starts between `:server`, an address, and whoever sends to it first, or `:client`, an address.
  """
  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(options), do: GenServer.start_link(__MODULE__, options)

  @doc """
  Where the client finds the server, and the server the client.
  """
  @spec ports(pid) :: {near :: :inet.port_number(), far :: :inet.port_number()}
  def ports(proxy), do: GenServer.call(proxy, :ports)

  @doc """
  What becomes of datagrams from now on; `[]` ends all faults.
  """
  @spec disturb(pid, faults) :: :ok
  def disturb(proxy, faults), do: GenServer.call(proxy, {:disturb, faults})

  @doc """
  How many datagrams came, and how often each fault was done.
  """
  @spec counts(pid) :: %{atom => non_neg_integer}
  def counts(proxy), do: GenServer.call(proxy, :counts)

  @impl true
  def init(options) do
    :rand.seed(:exsss, {1, 2, 3})

    {:ok,
     %{
       near: open(),
       far: open(),
       server: Keyword.fetch!(options, :server),
       client: options[:client],
       faults: [],
       counts: %{passed: 0, drop: 0, duplicate: 0, reorder: 0}
     }}
  end

  defp open do
    {:ok, socket} = :gen_udp.open(0, [:binary, ip: @loopback, active: true, recbuf: 1_048_576])
    socket
  end

  @impl true
  def handle_call(:ports, _from, state) do
    {:ok, near} = :inet.port(state.near)
    {:ok, far} = :inet.port(state.far)
    {:reply, {near, far}, state}
  end

  def handle_call({:disturb, faults}, _from, state), do: {:reply, :ok, %{state | faults: faults}}
  def handle_call(:counts, _from, state), do: {:reply, state.counts, state}

  @impl true
  def handle_info({:udp, near, ip, port, data}, %{near: near} = state) do
    state = if state.client, do: state, else: %{state | client: {ip, port}}
    {:noreply, pass(state, {state.far, state.server, data})}
  end

  def handle_info({:udp, far, _ip, _port, data}, %{far: far, client: {_, _} = client} = state),
    do: {:noreply, pass(state, {state.near, client, data})}

  def handle_info({:late, datagram}, state) do
    forward(datagram)
    {:noreply, state}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp pass(state, datagram) do
    fault = draw(state.faults)

    case fault do
      :drop -> :ok
      :reorder -> Process.send_after(self(), {:late, datagram}, :rand.uniform(@held))
      :duplicate -> for _ <- 1..2, do: forward(datagram)
      :passed -> forward(datagram)
    end

    %{state | counts: Map.update!(state.counts, fault, &(&1 + 1))}
  end

  # The shares of the faults lie one behind the other on a line of length 1.
  defp draw(faults) do
    Enum.reduce_while(faults, :rand.uniform(), fn {fault, share}, left ->
      if left < share, do: {:halt, fault}, else: {:cont, left - share}
    end)
    |> then(&if is_atom(&1), do: &1, else: :passed)
  end

  defp forward({socket, {ip, port}, data}), do: :gen_udp.send(socket, ip, port, data)
end
