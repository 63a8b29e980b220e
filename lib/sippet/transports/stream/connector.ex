defmodule Sippet.Transports.Stream.Connector do
  @moduledoc false
  # Opens connections, one for each place, whoever asks at once; and takes out of the table those that have ended. It never
  # waits: a connection connects in its own process.

  use GenServer

  alias Sippet.Router
  alias Sippet.Transports.Stream.{Connection, Handle, Table}

  @spec start_link(map) :: GenServer.on_start()
  def start_link(options), do: GenServer.start_link(__MODULE__, options)

  @impl true
  def init(%{table: table} = options) do
    Table.put(table, :connector, self())
    # Those of a predecessor's time. One that has ended is told at once.
    Enum.each(Table.pids(table), &Process.monitor/1)
    {:ok, options}
  end

  # Older ones have it without naming it.
  if {:format_status, 1} in GenServer.behaviour_info(:callbacks), do: @impl(true)
  @doc false
  # What OTP logs of its end. What it got are messages of users, with their credentials.
  def format_status(status), do: status |> Map.replace(:message, :hidden) |> Map.replace(:log, [])

  @impl true
  def handle_cast({:watch, pid}, options) do
    Process.monitor(pid)
    {:noreply, options}
  end

  def handle_cast({:connect, place, octets, key}, options) do
    with {:error, reason} <- hand_over(place, octets, key, options),
         do: Router.receive_transport_error(options.name, key, reason)

    {:noreply, options}
  end

  def handle_cast(_unknown, options), do: {:noreply, options}

  defp hand_over(place, octets, key, %{table: table, handle: handle} = options) do
    case Table.find(table, place) do
      nil ->
        open(place, {octets, key}, options)

      {pid, _unsent, _up?} = found ->
        # It has ended, and is still about to say so.
        with {:error, :closed} <- Handle.offer(handle, found, octets, key) do
          Table.leave(table, pid)
          hand_over(place, octets, key, options)
        end
    end
  end

  # It may be refused before another line runs here, and tells the reason to who has a message there.
  defp open(place, message, %{table: table} = options) do
    child = {Connection, {{:to, place, message}, options}}

    case DynamicSupervisor.start_child(Table.get(table, :connections), child) do
      {:ok, _pid} -> :ok
      {:error, {:shutdown, reason}} -> {:error, reason}
      {:error, reason} -> {:error, reason}
    end
  end

  @impl true
  def handle_info({:DOWN, _ref, :process, pid, _reason}, %{table: table} = options) do
    Table.leave(table, pid)
    {:noreply, options}
  end

  # Anybody may send anything to a process.
  def handle_info(_message, options), do: {:noreply, options}
end
