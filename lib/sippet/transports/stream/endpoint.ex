defmodule Sippet.Transports.Stream.Endpoint do
  @moduledoc false
  # The supervisor of a transport of connections, and what the stack has in its hands to send by it.

  use Supervisor

  alias Sippet.Transports.Stream.{Acceptor, Connection, Connector, Listener, Table}
  alias Sippet.Transport

  @enforce_keys [:table, :max_unsent, :waiting]
  defstruct @enforce_keys ++ [:host]

  @typedoc "The handle that the transport registers with; `host` is the name that a message's address was found for."
  @type t :: %__MODULE__{
          table: Table.t(),
          max_unsent: pos_integer,
          waiting: pos_integer,
          host: String.t() | nil
        }

  # A listener that is lost over and over is the transport's end; connections that end are no restarts.
  @restarts [max_restarts: 10, max_seconds: 10]

  @spec start_link(map) :: Supervisor.on_start()
  def start_link(options) do
    # Whoever starts it hears of a port that can't be bound as of any other server's.
    case Supervisor.start_link(__MODULE__, options) do
      {:error, {:shutdown, {:failed_to_start_child, Listener, reason}}} -> {:error, reason}
      started -> started
    end
  end

  @impl true
  def init(options) do
    table = Table.new()
    handle = %__MODULE__{table: table, max_unsent: options.max_unsent, waiting: options.waiting}
    options = Map.merge(options, %{table: table, handle: handle})

    acceptors =
      for number <- 1..options.acceptors, options.listen, do: {Acceptor, {number, options}}

    # They end in the opposite order: the listener waits until the stack has sent what it was told to, and then the connections
    # write that.
    children = [
      %{
        id: DynamicSupervisor,
        start: {__MODULE__, :start_connections, [table]},
        type: :supervisor,
        shutdown: :infinity
      },
      {Connector, options},
      {Listener, options} | acceptors
    ]

    Supervisor.init(children, [strategy: :rest_for_one] ++ @restarts)
  end

  @doc false
  def start_connections(table) do
    with {:ok, pid} <- DynamicSupervisor.start_link(strategy: :one_for_one) do
      Table.put(table, :connections, pid)
      {:ok, pid}
    end
  end

  @spec sockname(pid) :: {:ok, {:inet.ip_address(), :inet.port_number()}} | {:error, :not_bound}
  def sockname(supervisor) do
    case List.keyfind(Supervisor.which_children(supervisor), Listener, 0) do
      {Listener, pid, _type, _modules} when is_pid(pid) -> {:ok, Listener.address(pid)}
      _none -> {:error, :not_bound}
    end
  end

  ## Sending

  @spec for_host(t, String.t()) :: t
  def for_host(%__MODULE__{} = endpoint, host),
    do: %{endpoint | host: String.downcase(host, :ascii)}

  @spec connections(t) :: non_neg_integer
  def connections(%__MODULE__{table: table}) do
    Table.count(table)
  rescue
    ArgumentError -> 0
  end

  @doc """
  Sends octets to an address, by the connection that leads there, or by a new one.
  """
  @spec send(t, Transport.destination(), iodata, Transport.key()) :: :ok | {:error, term}
  def send(%__MODULE__{} = endpoint, {ip, port}, octets, key) when port > 0 do
    octets = IO.iodata_to_binary(octets)
    place = {ip, port, endpoint.host}

    with {pid, unsent, up?} <- Table.find(endpoint.table, place),
         taken when taken != {:error, :closed} <- offer(endpoint, pid, unsent, up?, octets, key) do
      taken
    else
      _none -> Connector.connect(endpoint.table, place, octets, key)
    end
  rescue
    # The table has ended with the transport.
    ArgumentError -> {:error, :closed}
  end

  def send(%__MODULE__{}, {_ip, 0}, _octets, _key), do: {:error, :einval}

  @doc """
  Hands octets to a connection, unless too much waits there.
  """
  @spec offer(t, pid, reference, boolean, binary, Transport.key()) ::
          :ok | {:error, :busy | :closed}
  def offer(endpoint, pid, unsent, true, octets, key),
    do: Connection.offer(pid, unsent, octets, key, :reused, endpoint.max_unsent, :infinity)

  def offer(endpoint, pid, unsent, false, octets, key),
    do: Connection.offer(pid, unsent, octets, key, :fresh, endpoint.max_unsent, endpoint.waiting)
end
