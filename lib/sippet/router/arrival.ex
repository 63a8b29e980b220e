defmodule Sippet.Router.Arrival do
  @moduledoc false
  # A message that came in: what is known of it on its way through the stack.

  alias Sippet.{Message, Transport}
  alias Sippet.Message.Via

  @enforce_keys [:octets, :remote, :transport]
  defstruct [:octets, :remote, :transport, :message]

  @typedoc """
  The octets, where they came from, the transport that answers, if there is one, and the message once it is parsed.
  """
  @type t :: %__MODULE__{
          octets: binary,
          remote: Via.remote(),
          transport: Transport.t() | nil,
          message: Message.t() | nil
        }
end
