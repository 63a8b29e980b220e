defmodule Sippet.Transports.Stream.Connector do
  @moduledoc false
  # Opens connections, one for each place, whoever asks at once; and takes out of the table those that have ended. It never
  # waits: a connection connects in its own process.

  use GenServer

  alias Sippet.Router
  alias Sippet.Transports.Stream.{Connection, Handle, Table, Unsent}

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
        unsent = Unsent.new()

        with {:ok, pid} <- open(place, unsent, options),
             do: Handle.offer(handle, {pid, unsent, false}, octets, key)

      {pid, _unsent, _up?} = found ->
        # It has ended, and is still about to say so.
        with {:error, :closed} <- Handle.offer(handle, found, octets, key) do
          Table.leave(table, pid)
          hand_over(place, octets, key, options)
        end
    end
  end

  defp open(place, unsent, %{table: table} = options) do
    child = {Connection, {{:to, place}, unsent, options}}

    case DynamicSupervisor.start_child(Table.get(table, :connections), child) do
      {:ok, pid} -> {:ok, pid}
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
