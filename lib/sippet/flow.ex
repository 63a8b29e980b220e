defmodule Sippet.Flow do
  @moduledoc """
  The way that a message came: its protocol, its sender's address, and the transport that received it.

  The `source` of every message that came in is a flow. It is `nil` for a message that you build, and
  for one from `Sippet.Message.parse/1` or `Sippet.Message.to_response/2`. To send a message back by a
  flow, make the flow its target:

      Sippet.send(stack, %{request | target: source})

  The message then goes to that sender's address by that transport, whatever its headers say. In
  this way you reach a phone behind a NAT, whose Contact leads nowhere. Keep the `source` of its
  REGISTER or of its INVITE, and make it the target of each request to the phone. Only a CANCEL and
  the ACK of a 300-699 go where their INVITE went, without a target of their own.

  A transport that starts again at the same address is the same flow. If the stack has no transport
  at the local address, `Sippet.send/2` returns `{:error, :no_transport}`.

    * `protocol` - the transport protocol, as in a Via
    * `remote` - `{ip, port}` of the sender
    * `local` - `{ip, port}` where the transport listens; `nil` if the transport has registered no
      address
    * `connection` - the `Sippet.Transport` of the connection that the message came by; `nil` if the
      message came by a registered transport
    * `identities` - the domains that the sender's certificate names, verified (RFC 5922 §7.4); `[]`
      if the sender has shown none. Compare them with the domain that a request speaks for
  """

  alias Sippet.Message

  @enforce_keys [:protocol, :remote]
  defstruct [:protocol, :remote, :local, :connection, identities: []]

  @type address :: {:inet.ip_address(), :inet.port_number()}

  @type t :: %__MODULE__{
          protocol: Message.protocol(),
          remote: address,
          local: address | nil,
          connection: struct | nil,
          identities: [String.t()]
        }
end
