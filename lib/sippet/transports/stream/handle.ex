defmodule Sippet.Transports.Stream.Handle do
  @moduledoc false
  # What the stack has in its hands to send by a transport of connections.

  alias Sippet.Transport
  alias Sippet.Transports.Stream.{Table, Unsent}

  @enforce_keys [:table, :max_unsent, :waiting]
  defstruct @enforce_keys ++ [:host]

  @typedoc "`host` is the name that a message's address was found for."
  @type t :: %__MODULE__{
          table: Table.t(),
          max_unsent: pos_integer,
          waiting: pos_integer,
          host: String.t() | nil
        }

  @spec for_host(t, String.t()) :: t
  def for_host(%__MODULE__{} = handle, host), do: %{handle | host: String.downcase(host, :ascii)}

  @spec connections(t) :: non_neg_integer
  def connections(%__MODULE__{table: table}) do
    Table.count(table)
  rescue
    # The table has ended with the transport.
    ArgumentError -> 0
  end

  @doc """
  Sends octets to an address, by the connection that leads there, or by a new one.
  """
  @spec send(t, Transport.destination(), iodata, Transport.key()) :: :ok | {:error, term}
  def send(%__MODULE__{} = handle, {ip, port}, octets, key) when port > 0 do
    octets = IO.iodata_to_binary(octets)
    place = {ip, port, handle.host}

    case offer(handle, Table.find(handle.table, place), octets, key) do
      {:error, :closed} -> Table.connect(handle.table, place, octets, key)
      taken -> taken
    end
  rescue
    ArgumentError -> {:error, :closed}
  end

  def send(%__MODULE__{}, {_ip, 0}, _octets, _key), do: {:error, :einval}

  @doc """
  Hands octets to the connection that was found, unless too much waits there.
  """
  @spec offer(t, {pid, Unsent.t(), boolean} | nil, binary, Transport.key()) ::
          :ok | {:error, :busy | :closed}
  def offer(_handle, nil, _octets, _key), do: {:error, :closed}

  def offer(handle, {pid, unsent, true}, octets, key),
    do: Unsent.offer(unsent, pid, octets, key, :reused, handle.max_unsent)

  def offer(handle, {pid, unsent, false}, octets, key),
    do: Unsent.offer(unsent, pid, octets, key, :fresh, handle.max_unsent, handle.waiting)
end
