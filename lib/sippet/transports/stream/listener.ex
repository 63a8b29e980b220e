defmodule Sippet.Transports.Stream.Listener do
  @moduledoc false
  # Owns the listening socket, and is the transport that the stack knows: it registers, again when the stack was restarted, and
  # what the stack still sends leaves before it ends.

  use GenServer

  alias Sippet.LocalHosts
  alias Sippet.Router
  alias Sippet.Transports.Attachment
  alias Sippet.Transports.Stream.Table

  @spec start_link(map) :: GenServer.on_start()
  def start_link(options), do: GenServer.start_link(__MODULE__, options)

  @spec address(pid) :: {:inet.ip_address(), :inet.port_number()}
  def address(listener), do: GenServer.call(listener, :address)

  @impl true
  def init(options) do
    Process.flag(:trap_exit, true)

    with {:ok, address} <- listen(options) do
      Table.put(options.table, :address, address)
      Table.put(options.table, :sent_by, LocalHosts.of(address, options.advertise).sent_by)

      attachment = %Attachment{
        stack: options.name,
        protocol: options.protocol,
        reliable?: true,
        port: elem(address, 1),
        options: [
          address: address,
          advertise: options.advertise,
          via: {options.module, options.handle}
        ]
      }

      {:ok, {options, address, Attachment.register(attachment)}}
    else
      {:error, reason} -> {:stop, reason}
    end
  end

  # The responses to its requests come by its own connections, whatever the Via says.
  defp listen(%{listen: false, ip: ip, port: port}), do: {:ok, {ip, port}}

  defp listen(%{module: module, table: table} = options) do
    with {:ok, listener} <- module.listen(options) do
      Table.put(table, :listener, listener)
      module.local_address(listener)
    end
  end

  @impl true
  def handle_call(:address, _from, {_options, address, _attachment} = state),
    do: {:reply, address, state}

  def handle_call(_unknown, _from, state), do: {:reply, {:error, :unknown_request}, state}

  @impl true
  def handle_cast(_unknown, state), do: {:noreply, state}

  @impl true
  def handle_info(:register, {options, address, attachment}),
    do: {:noreply, {options, address, Attachment.register(attachment)}}

  def handle_info({:DOWN, ref, :process, _pid, _reason}, {options, address, attachment} = state) do
    case Attachment.down(attachment, ref) do
      {:ok, attachment} -> {:noreply, {options, address, attachment}}
      :error -> {:noreply, state}
    end
  end

  # It was closed behind our back.
  def handle_info({:EXIT, port, reason}, state) when is_port(port), do: {:stop, reason, state}
  def handle_info(_message, state), do: {:noreply, state}

  @impl true
  def terminate(reason, {options, _address, _attachment})
      when reason in [:normal, :shutdown] or elem(reason, 0) == :shutdown,
      do: Router.flush(options.name)

  def terminate(_reason, _state), do: :ok
end
