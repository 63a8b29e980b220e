defmodule Sippet.Transport.Closed do
  @moduledoc false
  # Stands for a transport that has ended, where something is still to be sent by it.

  @behaviour Sippet.Transport

  alias Sippet.{Message, Transport}

  @doc """
  One for a transport of a place (`Sippet.Stack.place/1`), where another may start.
  """
  @spec new(Message.protocol(), pid, boolean, non_neg_integer) :: Transport.t()
  def new(protocol, pid, reliable?, place) do
    %Transport{
      protocol: protocol,
      reliable?: reliable?,
      pid: pid,
      module: __MODULE__,
      handle: place
    }
  end

  @impl true
  def send_message(_place, _destination, _octets, _key), do: {:error, :closed}
end
