defmodule Sippet.Router do
  @moduledoc """
  Between transports, transactions and the core.

      # In the process of a transport that has registered:
      def handle_info({:udp, _socket, ip, port, data}, state) do
        Sippet.Router.handle_transport_message(:mystack, data, {:udp, ip, port})
        {:noreply, state}
      end

  Transports call `handle_transport_message/4` for each message that comes in, or
  `queue_transport_message/4` if they need not wait for the stack. They call
  `receive_transport_error/3` when a message that went out failed later, and `receive_unreachable/4` for
  an ICMP error. Users of a stack call `Sippet`, not this module.

  ## What becomes of a message that came in

  The message gets its `source`, a `Sippet.Flow`. A response goes to its client transaction, or, if it is
  a 2xx that no transaction knows, to the core. A request gets `received` and `rport` on its topmost Via
  (RFC 3261 §18.2.1, RFC 3581), is validated, and goes to its server transaction, or starts one. An ACK
  of a 2xx goes to the core, in a process of its own.

  What can't be taken is answered without a transaction where that makes sense, and else dropped:

  | what | answer |
  |---|---|
  | a malformed request, or one without a header it needs | 400, with the header in the reason phrase |
  | a Request-URI over the limit | 414 |
  | a message over a limit of size | 513 |
  | a version that is not 2.0 | 505 |
  | a CANCEL of which no INVITE is known | 481 |
  | a new request over a limit of the stack, or while it is drained | 503 with Retry-After |
  | a malformed ACK, CANCEL or response; a response that nobody waits for | none |
  | a request whose topmost Via is missing or malformed | none |

  Each of these is a whole response, made as `Sippet.Message.to_response/2` makes it. A header of
  a malformed request that can't be read stands in it as raw lines under its name. The ACK of such
  a response ends here, and the core never sees it. The stack sends no more of them in a second
  than its `:max_requests`; further requests are dropped.

  What belongs to a transaction in progress is never refused, nor is the CANCEL of one. A new request is judged before
  any work but its parse and the look for its transaction: [Running in production](running-in-production.md) tells by
  what.

  Nothing that comes in ends the process that calls.
  """

  alias Sippet.{Message, ParseError}
  alias Sippet.Router.{Inbound, Outbound, Remote}
  alias Sippet.Stack.Events
  alias Sippet.{Stack, Transactions, Transport}
  alias Sippet.Transactions.{Client, Server, Workers}

  @typedoc """
  Where a message came from. The address may be text, IPv6 with or without brackets.
  """
  @type remote ::
          {Message.protocol(), :inet.ip_address() | String.t(), :inet.port_number()}

  @doc """
  Takes one message from a transport.

  `data` is one datagram, or one message cut off a stream. `remote` is where it came from; a
  message of any other `remote` is dropped and counted.

  The stack answers by `transport`, where that is given. Else it answers by the calling process,
  if this has registered as a transport. A process that has not, as the connection of a transport
  of the 1.0 kind, is answered by the transport of the protocol that has registered without an
  address, or else by the first one of the protocol.

  Always returns `:ok`.
  """
  @spec handle_transport_message(atom, iodata, remote, Transport.t() | nil) :: :ok
  def handle_transport_message(sippet, data, remote, transport \\ nil) do
    case Stack.find(sippet) do
      nil -> :ok
      stack -> hand(stack, IO.iodata_to_binary(data), remote, transport || self())
    end
  end

  # The calling process waits for the worker, so that it takes no more from the network than the stack can do.
  defp hand(stack, data, remote, transport) do
    case Remote.read(remote) do
      {:ok, remote} ->
        Workers.call(
          stack,
          Workers.of_octets(stack, data, remote),
          {:take, data, remote, transport}
        )

        :ok

      :error ->
        Stack.log(stack, :error, fn ->
          "expected {protocol, address, port} as the remote of a message, got: #{inspect(remote)}"
        end)

        Events.dropped(stack, :malformed_remote, byte_size(data), remote)
    end
  end

  @doc """
  Has a process of the stack take one message, as `handle_transport_message/4` does, for the
  calling process: one socket's messages keep all schedulers busy so.

  Messages of one sender with the same Call-ID are taken one after another, in the order in which they came.

  `{:error, :busy}` says that enough of them wait already, or that the stack is about to start again. The message was
  not taken: keep it, take no more from the network, and offer it again in a millisecond or so.
  """
  @spec queue_transport_message(atom, iodata, remote, Transport.t() | nil) ::
          :ok | {:error, :busy}
  def queue_transport_message(sippet, data, remote, transport \\ nil) do
    with %Stack{} = stack <- Stack.find(sippet),
         {:ok, remote} <- Remote.read(remote),
         data = IO.iodata_to_binary(data) do
      worker = Workers.of_octets(stack, data, remote)
      Workers.post(stack, worker, {:take, data, remote, transport || self()})
    else
      _here -> handle_transport_message(sippet, data, remote, transport)
    end
  end

  @doc """
  Reports that a transport could not send a message after all.

  `key` is the key that came with the message. The core gets `reason`, which may be any term (RFC
  3261 §18.4). A client transaction ends, unless it has its final response. A server transaction
  goes on, because the request may arrive again. Every failure is counted as `transport_error`. If
  `key` is `nil`, nothing else happens.
  """
  @spec receive_transport_error(atom, Client.Key.t() | Server.Key.t() | nil, reason :: term) ::
          :ok
  def receive_transport_error(sippet, key, reason) do
    case {Stack.find(sippet), key} do
      {nil, _key} ->
        :ok

      {stack, nil} ->
        Events.transport_error(stack, reason, nil, nil)

      {stack, key} ->
        Transactions.receive_error(stack, key, reason)
    end
  end

  @doc """
  Reports an ICMP error: a message could not be delivered to `remote`, `{protocol, ip, port}`.

  `quoted` holds the bytes of the message that the error quotes. If they hold the topmost Via of a
  request that went to `remote` by that protocol, its client transaction ends, and the core gets
  `reason` (RFC 3261 §18.4). An INVITE that has a provisional response goes on, and so does a
  transaction that has its final response. Any other error ends nothing, because an attacker who
  forges one does not know the branch. Every error is counted as `transport_error`.

  Always returns `:ok`.
  """
  @spec receive_unreachable(atom, remote, reason :: term, quoted :: binary) :: :ok
  def receive_unreachable(sippet, remote, reason, quoted) do
    with %Stack{} = stack <- Stack.find(sippet),
         {:ok, remote} <- Remote.read(remote),
         do: Transactions.unreachable(stack, remote, reason, quoted)

    :ok
  end

  @doc """
  Reports what came by a stream and could not be cut into messages, with the error of
  `Sippet.Message.Stream.push/2` and the number of bytes.

  It is counted, and answered by `transport` if that can be done (RFC 3261 §18.3). Close the connection
  then. Always returns `:ok`.
  """
  @spec handle_malformed(atom, ParseError.t(), non_neg_integer, remote, Transport.t()) :: :ok
  def handle_malformed(sippet, error, bytes, remote, transport) do
    with %Stack{} = stack <- Stack.find(sippet),
         {:ok, remote} <- Remote.read(remote),
         do: Inbound.malformed(stack, error, bytes, remote, transport)

    :ok
  end

  @doc """
  Reports a message that a connection took and could not send after all.

  A response is sent once more by the registered transport of the protocol, to the address that its
  request came from and the port in the topmost Via (RFC 3261 §18.2.2). For any other message this is
  `receive_transport_error/3`.
  """
  @spec receive_undelivered(
          atom,
          binary,
          Client.Key.t() | Server.Key.t() | nil,
          reason :: term,
          remote,
          Transport.t()
        ) :: :ok
  def receive_undelivered(sippet, octets, key, reason, remote, transport) do
    with "SIP/2.0 " <> _response <- octets,
         %Stack{} = stack <- Stack.find(sippet),
         :ok <- Outbound.respond_elsewhere(stack, octets, key, remote, transport) do
      :ok
    else
      _nowhere -> receive_transport_error(sippet, key, reason)
    end
  end

  @doc """
  Reports that the connection has ended by which the request of this key was sent.

  If the client transaction still waits for its first response, it ends, and the core gets `reason`
  (RFC 3261 §18.4). An INVITE that has a provisional response goes on.
  """
  @spec receive_disconnect(atom, Client.Key.t(), reason :: term) :: :ok
  def receive_disconnect(sippet, %Client.Key{} = key, reason) do
    with %Stack{transactions: %{}} = stack <- Stack.find(sippet),
         do: Transactions.post(stack, key, {:unreachable, reason})

    :ok
  end

  # Milliseconds that a transport which ends waits for what the stack still sends.
  @flush 1_000

  @doc """
  Waits until the stack has sent the messages that it was told to send before, for up to `timeout`
  milliseconds.

  A transport calls it before it closes its socket because its supervisor ends it. In this way the BYEs
  of an application that stops leave the machine. Always returns `:ok`.
  """
  @spec flush(atom, timeout) :: :ok
  def flush(sippet, timeout \\ @flush) do
    with %Stack{transactions: %{}} = stack <- Stack.find(sippet) do
      {pid, ref} = spawn_monitor(fn -> Transactions.settle(stack) end)

      receive do
        {:DOWN, ^ref, :process, ^pid, _reason} -> :ok
      after
        timeout ->
          Process.demonitor(ref, [:flush])
          Process.exit(pid, :kill)
      end
    end

    :ok
  end
end
