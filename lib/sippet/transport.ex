defmodule Sippet.Transport do
  @moduledoc """
  What a transport is to a stack, and the behaviour of one that is written for speed.

      defmodule MyTransport do
        @behaviour Sippet.Transport

        @impl true
        def send_message(socket, {ip, port}, octets, _key), do: :gen_udp.send(socket, ip, port, octets)
      end

      # In the process that owns the socket:
      Sippet.register_transport(:mystack, :udp, false, via: {MyTransport, socket})

  [Writing a transport](writing-a-transport.md) has whole ones.

  A transport is a process that has registered (`Sippet.register_transport/4`). For each message that comes in
  it calls `Sippet.Router.handle_transport_message/3`, or `Sippet.Router.queue_transport_message/3` where one process
  takes what all peers send. To send, the stack does one of two things:

    * if the transport registered a module of this behaviour (`via: {module, handle}`), the stack calls
      `c:send_message/4` of it, in the process that has the message to send: a transaction or a caller of
      `Sippet.send/2`, never the transport's own;
    * else it calls the transport's process with `{:send_message, message, host, port, key}` (a
      `GenServer.call/2`), which answers `:ok` or `{:error, reason}`, as in version 1.0.

  A send that fails later is told to the stack by `Sippet.Router.receive_transport_error/3`, with the key that
  came with the message.

  A response leaves by the transport that its request came in by:

    * the transport that was the fourth argument of `Sippet.Router.handle_transport_message/4`. A
      connection of a stream transport is a `Sippet.Transport` of its own then: same protocol, its
      own handle;
    * else the calling process, if that has registered;
    * else the transport of the protocol that has registered without an address, or the first one
      of the protocol. So the connections of a transport of the 1.0 kind are processes that need
      not register.

  The message of a call is always a whole one, also where it answers a request that could not be
  parsed.
  """

  alias Sippet.{Address, Message}

  @enforce_keys [:protocol, :reliable?, :pid]
  defstruct [
    :protocol,
    :reliable?,
    :pid,
    :address,
    :module,
    :handle,
    force_rport?: false,
    multicast?: false,
    takes_names?: false
  ]

  @typedoc """
  A transport: `protocol` as in a Via, whether it is reliable, its process, and, where it told, its local
  `address` and the `module` with the `handle` that sends. `force_rport?`, `multicast?` and `takes_names?` are
  options of `Sippet.register_transport/4`.
  """
  @type t :: %__MODULE__{
          protocol: Message.protocol(),
          reliable?: boolean,
          pid: pid,
          address: nil | {:inet.ip_address(), :inet.port_number()},
          module: nil | module,
          handle: term,
          force_rport?: boolean,
          multicast?: boolean,
          takes_names?: boolean
        }

  @typedoc """
  Where a message goes: an address and a port; for a transport that takes names, the host's name in place of its address.
  """
  @type destination :: {String.t() | :inet.ip_address(), :inet.port_number()}

  @typedoc "The key of the transaction that sends; `nil` outside of one."
  @type key :: struct | nil

  @doc """
  Sends the octets of a message.

  It runs in the sender's process, which may be one that must not wait. An error of any shape is a value for
  `c:Sippet.Core.receive_error/2`. What raises or exits here is taken as an error too.
  """
  @callback send_message(handle :: term, destination, octets :: iodata, key) ::
              :ok | {:error, term}

  @doc false
  # The one way out. `message` goes to transports of the 1.0 kind, `octets` to all others.
  @spec send(t, destination, Message.t(), iodata, key) :: :ok | {:error, term}
  def send(%__MODULE__{module: nil, pid: pid}, {host, port}, message, _octets, key) do
    answer(fn -> GenServer.call(pid, {:send_message, message, text(host), port, key}) end)
  end

  def send(%__MODULE__{module: module, handle: handle}, destination, _message, octets, key) do
    answer(fn -> module.send_message(handle, destination, octets, key) end)
  end

  # Transports that others wrote answer, raise and exit as they like: it all ends as a value.
  defp answer(fun) do
    case fun.() do
      :ok -> :ok
      {:error, _reason} = error -> error
      other -> {:error, other}
    end
  rescue
    exception -> {:error, exception}
  catch
    :exit, reason -> {:error, reason}
    thrown -> {:error, thrown}
  end

  defp text(host) when is_binary(host), do: host
  defp text(address), do: Address.to_text(address)
end
