defmodule Sippet.Transports.Stream.Unsent do
  @moduledoc false
  # What waits for a connection to be sent: counted before it is handed over, so that a peer that does not read fills no
  # mailbox. Who has counted while the connection was open has its message seen by the connection's process, also by one that
  # is about to end.

  @octets 1
  @messages 2
  @closed 3

  alias Sippet.Transport

  @type t :: :atomics.atomics_ref()

  @type limit :: pos_integer | :infinity

  @typedoc """
  What becomes of a message if the connection turns out dead: of a `:reused` one it is sent once more by another, of a `:fresh` one
  it has failed, and `:only` means by this one or none.
  """
  @type how :: :reused | :fresh | :only

  @doc """
  Hands octets to the process of a connection, unless too much waits there: it gets `{:write, octets, key, how}`.
  """
  @spec offer(t, pid, binary, Transport.key(), how, limit, limit) ::
          :ok | {:error, :busy | :closed}
  def offer(unsent, connection, octets, key, how, most_octets, most_messages \\ :infinity) do
    with :ok <- add(unsent, byte_size(octets), most_octets, most_messages) do
      Kernel.send(connection, {:write, octets, key, how})
      :ok
    end
  end

  @spec new() :: t
  def new, do: :atomics.new(3, [])

  # An atom is larger than any number.
  defp add(unsent, octets, most_octets, most_messages) do
    messages = :atomics.add_get(unsent, @messages, 1)
    total = :atomics.add_get(unsent, @octets, octets)

    cond do
      :atomics.get(unsent, @closed) == 1 -> refuse(unsent, octets, :closed)
      total > most_octets or messages > most_messages -> refuse(unsent, octets, :busy)
      true -> :ok
    end
  end

  defp refuse(unsent, octets, reason) do
    taken(unsent, octets)
    {:error, reason}
  end

  @doc """
  Says that a message was taken out of the mailbox.
  """
  @spec taken(t, non_neg_integer) :: :ok
  def taken(unsent, octets) do
    :atomics.sub(unsent, @octets, octets)
    :atomics.sub(unsent, @messages, 1)
  end

  @doc """
  From now on nothing is taken. What was counted before is still to come.
  """
  @spec close(t) :: :ok
  def close(unsent), do: :atomics.put(unsent, @closed, 1)

  @spec any?(t) :: boolean
  def any?(unsent), do: :atomics.get(unsent, @messages) > 0
end
