defmodule Sippet.Flow do
  @moduledoc """
  The way that a message came by: the protocol, the far end, and the address of the transport that took it.

  The `source` of every message that came in is a flow; that of a message built by hand or by `Sippet.Message.parse/1` is
  `nil`. To send a message back by a flow, make it the message's target:

      Sippet.send(stack, %{request | target: source})

  The message then goes to the far end's address by that transport, whatever its headers say. So you reach a client behind
  a NAT, whose Contact leads nowhere: keep the `source` of its REGISTER or of its INVITE.

  A transport that starts again at the same address is the same flow. `Sippet.send/2` returns `{:error, :no_transport}` where
  the stack has no transport at the local address.

    * `protocol` - the transport protocol, as in a Via
    * `remote` - `{ip, port}` of the far end
    * `local` - `{ip, port}` where the transport listens; `nil` for a transport that has not told
    * `connection` - the `Sippet.Transport` of a connection that was handed in with the message, else `nil`
  """

  alias Sippet.Message

  @enforce_keys [:protocol, :remote]
  defstruct [:protocol, :remote, :local, :connection]

  @type address :: {:inet.ip_address(), :inet.port_number()}

  @type t :: %__MODULE__{
          protocol: Message.protocol(),
          remote: address,
          local: address | nil,
          connection: struct | nil
        }
end
