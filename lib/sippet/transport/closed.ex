defmodule Sippet.Transport.Closed do
  @moduledoc false
  # Stands for a transport that has ended, where something is still to be sent by it.

  @behaviour Sippet.Transport

  alias Sippet.{Message, Transport}

  @spec new(Message.protocol(), pid) :: Transport.t()
  def new(protocol, pid),
    do: %Transport{protocol: protocol, reliable?: false, pid: pid, module: __MODULE__}

  @impl true
  def send_message(nil, _destination, _octets, _key), do: {:error, :closed}
end
