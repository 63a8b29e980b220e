defmodule Sippet.Transports.Stream.Endpoint do
  @moduledoc false
  # The supervisor of a transport of connections.

  use Supervisor

  alias Sippet.Transports.Stream.{Acceptor, Connector, Handle, Listener, Table}

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
    handle = %Handle{table: table, max_unsent: options.max_unsent, waiting: options.waiting}
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
end
