defmodule Sippet.Transports.Stream.Table do
  @moduledoc false
  # The connections of a transport, by process and by where they lead. The supervisor of the transport owns the table, so it
  # outlives each process that works on it. A connection enters by itself; the connector takes out what has ended.

  alias Sippet.Transport
  alias Sippet.Transports.Stream.Unsent

  @type t :: :ets.tid()
  @typedoc "Where a connection leads: address, port, and the name of the host where the protocol verifies that."
  @type place :: {:inet.ip_address(), :inet.port_number(), String.t() | nil}

  @spec new() :: t
  def new do
    table = :ets.new(__MODULE__, [:public, read_concurrency: true, write_concurrency: true])
    :ets.insert(table, {:count, 0})
    table
  end

  ## What the processes of a transport tell each other

  @spec put(t, atom, term) :: true
  def put(table, name, value), do: :ets.insert(table, {{:known, name}, value})

  @spec get(t, atom) :: term
  def get(table, name), do: :ets.lookup_element(table, {:known, name}, 2)

  @doc """
  Has octets sent to a place by a connection that is opened now, unless another has come before.
  """
  @spec connect(t, place, binary, Transport.key()) :: :ok
  def connect(table, place, octets, key),
    do: GenServer.cast(get(table, :connector), {:connect, place, octets, key})

  @doc """
  Has the calling process taken out of the table when it ends.
  """
  @spec watch(t) :: :ok
  def watch(table), do: GenServer.cast(get(table, :connector), {:watch, self()})

  ## Connections

  @doc """
  Enters the calling process as one connection more, which counts for `address` if others have opened it.
  """
  @spec enter(t, :inet.ip_address() | nil, map) :: :ok | {:error, :max_connections | :per_address}
  def enter(table, address, %{max_connections: most, max_per_address: most_of_one}) do
    network = network(address)

    cond do
      :ets.update_counter(table, :count, 1) > most ->
        :ets.update_counter(table, :count, -1)
        {:error, :max_connections}

      network != nil and :ets.update_counter(table, network, 1, {network, 0}) > most_of_one ->
        :ets.update_counter(table, :count, -1)
        leave_network(table, network)
        {:error, :per_address}

      true ->
        :ets.insert(table, {self(), network})
        :ok
    end
  end

  # Who has one address of IPv6 has a /64 of them.
  defp network(nil), do: nil
  defp network({a, b, c, d, _, _, _, _}), do: {:network, {a, b, c, d}}
  defp network(ip), do: {:network, ip}

  defp leave_network(_table, nil), do: :ok

  defp leave_network(table, network) do
    if :ets.update_counter(table, network, -1, {network, 1}) <= 0,
      do: :ets.select_delete(table, [{{network, :"$1"}, [{:"=<", :"$1", 0}], [true]}])
  end

  @doc """
  Takes out what is left of a process that has ended.
  """
  @spec leave(t, pid) :: :ok
  def leave(table, pid) do
    for {^pid, network} <- :ets.take(table, pid) do
      :ets.update_counter(table, :count, -1)
      leave_network(table, network)
    end

    unlist(table, pid)
  end

  @spec count(t) :: non_neg_integer
  def count(table), do: :ets.lookup_element(table, :count, 2)

  @doc """
  The processes of all connections.
  """
  @spec pids(t) :: [pid]
  def pids(table), do: :ets.select(table, [{{:"$1", :_}, [{:is_pid, :"$1"}], [:"$1"]}])

  ## Where they lead

  @doc """
  Has messages to a place go by the calling process, unless another one is there.
  """
  @spec list(t, place, Unsent.t(), up? :: boolean) :: boolean
  def list(table, place, unsent, up?) do
    listed? = :ets.insert_new(table, {place, self(), unsent, up?})
    if listed?, do: :ets.insert(table, {{:at, self()}, [place | places(table)]})
    listed?
  end

  defp places(table) do
    case :ets.lookup(table, {:at, self()}) do
      [{_at, places}] -> places
      [] -> []
    end
  end

  @doc """
  Says that the connection of the calling process is ready.
  """
  @spec up(t, place) :: boolean
  def up(table, place), do: :ets.update_element(table, place, {4, true})

  @doc """
  Has nothing more go by the calling process.
  """
  @spec unlist(t) :: :ok
  def unlist(table), do: unlist(table, self())

  defp unlist(table, pid) do
    for {_at, places} <- :ets.take(table, {:at, pid}),
        place <- places,
        do: :ets.match_delete(table, {place, pid, :_, :_})

    :ok
  end

  @spec find(t, place) :: {pid, Unsent.t(), up? :: boolean} | nil
  def find(table, place) do
    case :ets.lookup(table, place) do
      [{_place, pid, unsent, up?}] -> {pid, unsent, up?}
      [] -> nil
    end
  end
end
