defmodule Sippet.Transactions.Packet do
  @moduledoc false
  # A message and its octets. It is printed once; what is sent again are the same octets (RFC3261§17.1.1.2).

  alias Sippet.{Message, Transport}

  @enforce_keys [:octets]
  defstruct [:message, :octets]

  @type t :: %__MODULE__{message: Message.t() | nil, octets: binary}

  @doc """
  Raises `ArgumentError` for a message that cannot be printed.
  """
  @spec new(Message.t()) :: t
  def new(message),
    do: %__MODULE__{message: message, octets: IO.iodata_to_binary(Message.to_iodata(message))}

  @doc """
  What is needed to send it once more: transports of the 1.0 kind take messages, all others octets.
  """
  @spec slim(t, Transport.t()) :: t
  def slim(packet, %Transport{module: nil}), do: packet
  def slim(packet, %Transport{}), do: %{packet | message: nil}
end
