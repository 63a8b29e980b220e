defmodule Sippet.Transports.Stream.Unsent do
  @moduledoc false
  # What waits for a connection to be sent: counted before it is handed over, so that a peer that does not read fills no
  # mailbox. Who has counted while the connection was open has its message seen by the connection's process, also by one that
  # is about to end.

  @octets 1
  @messages 2
  @closed 3

  @type t :: :atomics.atomics_ref()

  @spec new() :: t
  def new, do: :atomics.new(3, [])

  @doc """
  Counts a message, if there is room for it. `{:error, :closed}` says that nobody takes it any more.
  """
  @spec add(t, non_neg_integer, pos_integer, pos_integer | :infinity) ::
          :ok | {:error, :busy | :closed}
  def add(unsent, octets, most_octets, most_messages \\ :infinity) do
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
