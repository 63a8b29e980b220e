defmodule Sippet.Transport.Outgoing do
  @moduledoc false
  # A message on its way out.

  alias Sippet.{Message, Transport}

  @enforce_keys [:transport, :destination, :octets]
  defstruct [:transport, :destination, :octets, :key, :message, :fallback, :failed]

  @typedoc """
  What is sent, by what and where to.

    * `key` - that of the transaction, which is told to the transport
    * `message` - the octets as a message, where that has a target which transports of the 1.0 kind get
    * `fallback` - gives another way, where the transport is gone for good
    * `failed` - is called with the reason if the message was taken, and could not be sent after all
  """
  @type t :: %__MODULE__{
          transport: Transport.t(),
          destination: Transport.destination(),
          octets: binary,
          key: Transport.key(),
          message: Message.t() | nil,
          fallback: (t -> t | nil) | nil,
          failed: (term -> term) | nil
        }
end
