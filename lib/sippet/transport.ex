defmodule Sippet.Transport do
  @moduledoc """
  A behaviour for modules that send SIP messages over the network.

      defmodule MyTransport do
        @behaviour Sippet.Transport

        @impl true
        def send_message(socket, {ip, port}, octets, _key), do: :gen_udp.send(socket, ip, port, octets)
      end

      # In the process that owns the socket:
      Sippet.register_transport(:mystack, :udp, false, via: {MyTransport, socket})

  [Writing a transport](writing-a-transport.md) has complete ones.

  A transport is a process that has registered (`Sippet.register_transport/4`). For each message that
  comes in, it calls `Sippet.Router.handle_transport_message/3`, or
  `Sippet.Router.queue_transport_message/4` if one process receives the messages of all peers. To
  send, the stack does one of two things:

    * If the transport registered a module of this behaviour (`via: {module, handle}`), the stack
      calls its `c:send_message/4`. This runs in a process of the stack or in the caller of
      `Sippet.send/2`, never in the transport's own.
    * Else it calls the transport's process with `{:send_message, message, host, port, key}` (a
      `GenServer.call/2`), which answers `:ok` or `{:error, reason}`, as in version 1.0.

  ## Destinations

  A module of this behaviour gets an address: `{ip, port}`, with `ip` a tuple. The stack has
  looked up the name before. A transport that registers with `takes_names: true` looks up names
  itself, and gets either an address or a name. A transport without a module gets `host` as text,
  a name or an address.

  ## Errors

  The transport reports a send that fails later by `Sippet.Router.receive_transport_error/3`, with the
  key that came with the message, and an ICMP error by `Sippet.Router.receive_unreachable/4`.

  A transport that ends and starts again at the same address takes the place of the one before. A
  message that has to leave meanwhile waits for it, for up to 500 ms. If a response can't be sent,
  the stack tries once more by another transport of the same protocol. For a connection that is
  the registered transport, which connects to the port in the topmost Via.

  ## Responses

  A response leaves by the transport that its request came in by:

    * the transport that was the fourth argument of `Sippet.Router.handle_transport_message/4`. A
      connection of a stream transport is then a `Sippet.Transport` of its own, with the same
      protocol and its own handle;
    * else the calling process, if that has registered;
    * else the transport of the protocol that has registered without an address, or the first one
      of the protocol. So the connections of a transport of the 1.0 kind are processes that need
      not register.

  The message of a call is always a complete one, even if it answers a request that could not be
  parsed.
  """

  alias Sippet.{Address, Message}

  @enforce_keys [:protocol, :reliable?, :pid]
  defstruct [
    :protocol,
    :reliable?,
    :pid,
    :address,
    :sent_by,
    :module,
    :handle,
    :host,
    :instead_of,
    hosts: [],
    identities: [],
    force_rport?: false,
    multicast?: false,
    takes_names?: false
  ]

  @typedoc """
  A transport: its `protocol` as in a Via, whether it is reliable, and its process. `address`, `module`
  and `handle` are those that it registered with, if any. `sent_by` is what the stack writes into a Via
  without a host, and `hosts` are the hosts that mean this transport. `force_rport?`, `multicast?` and
  `takes_names?` are options of `Sippet.register_transport/4`. `host` is the name that the address of a message was found
  for, if it was looked up. `instead_of` is the transport that a message leaves by if this one, which was chosen for the size
  of the message, can't send it. `identities` are the domains that the peer of a connection has shown to be (`Sippet.Flow`).
  """
  @type t :: %__MODULE__{
          protocol: Message.protocol(),
          reliable?: boolean,
          pid: pid,
          address: nil | {:inet.ip_address(), :inet.port_number()},
          sent_by: nil | {String.t(), :inet.port_number()},
          hosts: [{String.t(), :inet.port_number()}],
          module: nil | module,
          handle: term,
          host: nil | String.t(),
          instead_of: nil | t,
          identities: [String.t()],
          force_rport?: boolean,
          multicast?: boolean,
          takes_names?: boolean
        }

  @typedoc """
  Where a message goes: an address and a port. A transport with `takes_names?` may get the host's name
  in place of its address.
  """
  @type destination :: {String.t() | :inet.ip_address(), :inet.port_number()}

  @typedoc "The key of the transaction that sends; `nil` outside of one."
  @type key :: struct | nil

  @doc """
  Sends the octets of a message.

  It may run in a process that must not wait. If the destination is a name, which only a transport
  with `takes_names: true` gets, the process may wait, and the function may look up the name.

  Returns `:ok`, or `{:error, reason}` with any reason. The core gets the reason in
  `c:Sippet.Core.receive_error/2`. If the function raises or exits, the exception or the exit
  reason is the error.
  """
  @callback send_message(handle :: term, destination, octets :: iodata, key) ::
              :ok | {:error, term}

  @doc """
  Returns the handle for messages whose address was found for this name.

  The stack looks up names, so a transport that verifies who is there (RFC 5922 §4) hears of the name by this function
  alone. It must not wait. The stack calls it before `c:send_message/4`, if the module has it.
  """
  @callback for_host(handle :: term, host :: String.t()) :: handle :: term

  @doc """
  Returns how many connections there are, for `Sippet.stats/1`.
  """
  @callback connections(handle :: term) :: non_neg_integer

  @optional_callbacks for_host: 2, connections: 1

  @doc false
  # The one way out. `message` goes to transports of the 1.0 kind, `octets` to all others.
  @spec send(t, destination, Message.t(), iodata, key) :: :ok | {:error, term}
  def send(%__MODULE__{module: nil, pid: pid}, {host, port}, message, _octets, key) do
    answer(fn -> GenServer.call(pid, {:send_message, message, text(host), port, key}) end)
  end

  def send(%__MODULE__{module: module} = transport, destination, _message, octets, key) do
    answer(fn -> module.send_message(handle(transport), destination, octets, key) end)
  end

  defp handle(%__MODULE__{host: nil, handle: handle}), do: handle

  defp handle(%__MODULE__{module: module, handle: handle, host: host}) do
    if function_exported?(module, :for_host, 2), do: module.for_host(handle, host), else: handle
  end

  @doc false
  @spec connections(t) :: non_neg_integer
  def connections(%__MODULE__{module: module, handle: handle}) do
    if module != nil and function_exported?(module, :connections, 1),
      do: module.connections(handle),
      else: 0
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
