defmodule Sippet.Router do
  @moduledoc """
  Between transports, transactions and the core.

      # In the process of a transport that has registered:
      def handle_info({:udp, _socket, ip, port, data}, state) do
        Sippet.Router.handle_transport_message(:mystack, data, {:udp, ip, port})
        {:noreply, state}
      end

  Transports call `handle_transport_message/4` for each message that comes in, or `queue_transport_message/3` where one
  process takes what all peers send, and `receive_transport_error/3` when a message that went out failed later. Users of
  a stack call `Sippet`, not this module.

  ## What becomes of a message that came in

  A response goes to its client transaction, or, if it is a 2xx that no transaction knows, to the core. A request gets
  `received` and `rport` on its topmost Via (RFC 3261 §18.2.1, RFC 3581), is validated, and goes to its server
  transaction, or starts one. An ACK of a 2xx goes to the core, in a process of its own.

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

  alias Sippet.Core.CallbackRunner
  alias Sippet.Message
  alias Sippet.Message.{RequestLine, Validator}
  alias Sippet.Router.{NextHop, Remote, StatelessResponse}
  alias Sippet.{Overload, ParseError, Stack, Telemetry, Transactions, Transport}
  alias Sippet.Message.Via
  alias Sippet.Stack.{Events, Tap}
  alias Sippet.Transactions.{Actions, Client, Server, Worker, Workers}
  alias Sippet.Transport.Delivery

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

  @doc false
  # What a worker does with a message that a transport has handed over.
  @spec take(Stack.t(), binary, Remote.t(), Transport.t() | pid) :: :ok
  def take(stack, data, {protocol, _ip, _port} = remote, pid) when is_pid(pid),
    do: take(stack, data, remote, Stack.answering(stack, pid, protocol))

  def take(stack, data, remote, transport) do
    incoming(stack, data, remote, transport)
    :ok
  catch
    # The process is shared by many calls: a defect of the stack's own must not end it.
    kind, reason -> log_defect(stack, kind, reason, __STACKTRACE__)
  end

  @doc false
  # What a worker does with a message of its calls that another worker has taken.
  @spec arrived(Stack.t(), tuple) :: :ok
  def arrived(stack, {:request, request, data, remote, transport}) do
    judge(stack, request, data, remote, transport)
    :ok
  catch
    kind, reason -> log_defect(stack, kind, reason, __STACKTRACE__)
  end

  def arrived(stack, {:response, response, bytes, remote}) do
    dispatch_response(stack, response, bytes, remote)
    :ok
  catch
    kind, reason -> log_defect(stack, kind, reason, __STACKTRACE__)
  end

  defp log_defect(stack, kind, reason, stacktrace),
    do: Stack.log(stack, :error, fn -> Exception.format(kind, reason, stacktrace) end)

  @doc """
  Has a process of the stack take one datagram, as `handle_transport_message/3` does, for the
  calling process: one socket's messages keep all schedulers busy so.

  Messages of one sender with the same Call-ID are taken one after another, in the order in which they came.

  `{:error, :busy}` says that enough of them wait already, or that the stack is about to start again. The message was
  not taken: keep it, take no more from the network, and offer it again in a millisecond or so.
  """
  @spec queue_transport_message(atom, iodata, remote) :: :ok | {:error, :busy}
  def queue_transport_message(sippet, data, remote) do
    with %Stack{} = stack <- Stack.find(sippet),
         {:ok, remote} <- Remote.read(remote),
         data = IO.iodata_to_binary(data) do
      Workers.post(stack, Workers.of_octets(stack, data, remote), {:take, data, remote, self()})
    else
      _here -> handle_transport_message(sippet, data, remote)
    end
  end

  defp incoming(stack, data, remote, transport) do
    Tap.received(stack, data, remote, transport)

    case Message.parse(data) do
      {:ok, %Message{start_line: %RequestLine{}} = request} ->
        request(stack, request, data, remote, transport)

      {:ok, response} ->
        response(stack, response, byte_size(data), remote)

      {:error, %ParseError{reason: :empty_message}} ->
        Events.dropped(stack, :keep_alive, byte_size(data), remote)

      {:error, error} ->
        unparsed(stack, error, byte_size(data), remote, transport)
    end
  end

  ## Responses

  defp response(stack, response, bytes, remote) do
    case Validator.validate(response) do
      :ok ->
        Events.received(stack, response, bytes, remote)
        own(stack, response, {:response, response, bytes, remote}, bytes, remote)

      {:error, _text} ->
        Events.dropped(stack, :malformed_response, bytes, remote)
    end
  end

  defp dispatch_response(stack, response, bytes, remote) do
    case Transactions.receive_response(stack, response, Client.Key.new(response)) do
      :ok -> :ok
      {:error, :busy} -> Events.dropped(stack, :busy, bytes, remote)
      :error -> stray(stack, response, bytes, remote)
    end
  end

  # RFC3261§16.11 - a stateless core forwards every response
  defp stray(%Stack{options: %{stateless: true}} = stack, response, bytes, remote) do
    source = Overload.source(stack, remote)

    if Overload.room?(stack, source),
      do: detached(stack, :receive_response, response, bytes, source),
      else: Events.dropped(stack, :overload, bytes, remote)
  end

  # RFC3261§13.2.2.4 - a 2xx is acknowledged by the core, each time that it comes
  defp stray(stack, %Message{start_line: %{status_code: status}} = response, bytes, remote)
       when status in 200..299,
       do: unbidden(stack, :receive_response, response, bytes, remote)

  defp stray(stack, _response, bytes, remote),
    do: Events.dropped(stack, :stray_response, bytes, remote)

  # What no transaction asked for, and gets no answer, may come without end.
  defp unbidden(stack, callback, message, bytes, remote) do
    source = Overload.source(stack, remote)

    case Overload.admit(stack, source, :ack) do
      :ok -> detached(stack, callback, message, bytes, source)
      {:error, _reason} -> Events.dropped(stack, :overload, bytes, remote)
    end
  end

  ## Requests

  defp request(stack, request, data, remote, transport) do
    case stamped(request, remote) do
      {:ok, request} ->
        arrival = {:request, request, data, remote, transport}
        own(stack, request, arrival, byte_size(data), remote)

      # RFC3261§8.2.6.2 - without a Via no answer finds its way
      :error ->
        Events.dropped(stack, :malformed_request, byte_size(data), remote)
    end
  end

  # The worker of the call works on the message, though its Call-ID was not found before it was parsed. Who writes all of his
  # so must not fill that one's mailbox.
  defp own(stack, message, arrival, bytes, remote) do
    index = Actions.worker_of(stack, message)

    cond do
      Worker.index(stack) == index -> arrived(stack, arrival)
      Workers.post(stack, index, {:arrived, arrival}) == :ok -> :ok
      true -> Events.dropped(stack, :busy, bytes, remote)
    end
  end

  defp stamped(%Message{headers: %{via: [_ | _] = vias}} = request, remote),
    do: {:ok, %{request | headers: %{request.headers | via: Via.stamp(vias, remote)}}}

  defp stamped(_request, _remote), do: :error

  defp judge(stack, request, data, remote, transport) do
    case Validator.validate(request) do
      :ok ->
        Events.received(stack, request, byte_size(data), remote)
        dispatch_request(stack, request, data, remote, transport)

      {:error, text} ->
        invalid(stack, request, text, byte_size(data), remote, transport)
    end
  end

  defp invalid(stack, %Message{start_line: line} = request, text, bytes, remote, transport) do
    Events.refused(stack, text, bytes, remote)

    cond do
      line.method in [:ack, :cancel] -> :ok
      # RFC3261§8.2, §21.5.6
      line.version != {2, 0} -> refuse(stack, request, 505, nil, bytes, remote, transport)
      true -> refuse(stack, request, 400, phrase(text), bytes, remote, transport)
    end
  end

  # The text of a validation may quote what was sent: a phrase is one line.
  defp phrase(text), do: "Bad Request (" <> String.replace(text, ~r/[[:cntrl:]]/, " ") <> ")"

  # RFC3261§16.11, §8.2.7 - a stateless core takes each request from the transport, be it a retransmission or a CANCEL
  defp dispatch_request(
         %Stack{options: %{stateless: true}} = stack,
         request,
         data,
         remote,
         transport
       ) do
    source = Overload.source(stack, remote)

    case admit(stack, request, source) do
      :ok -> detached(stack, :receive_request, request, byte_size(data), source)
      {:error, reason} -> reject(stack, request, reason, byte_size(data), remote, transport)
    end
  end

  defp dispatch_request(
         stack,
         %Message{start_line: %{method: :ack}} = ack,
         data,
         remote,
         _transport
       ) do
    case Transactions.receive_request(stack, ack, Server.Key.new(ack)) do
      :ok -> :ok
      {:error, :busy} -> Events.dropped(stack, :busy, byte_size(data), remote)
      :error -> acknowledged(stack, ack, byte_size(data), remote)
    end
  end

  defp dispatch_request(stack, request, data, remote, transport) do
    key = Server.Key.new(request)

    case Transactions.receive_request(stack, request, key) do
      :ok -> :ok
      {:error, :busy} -> Events.dropped(stack, :busy, byte_size(data), remote)
      :error -> new(stack, request, key, data, remote, transport)
    end
  end

  defp acknowledged(stack, ack, bytes, remote) do
    cond do
      # That of a 2xx which is waited for: there are no more of them than transactions.
      Transactions.ack(stack, ack) == :ok ->
        detached(stack, :receive_request, ack, bytes, Overload.source(stack, remote))

      StatelessResponse.acknowledged?(ack) ->
        Events.dropped(stack, :refusal_ack, bytes, remote)

      true ->
        unbidden(stack, :receive_request, ack, bytes, remote)
    end
  end

  # RFC3261§9.2 - a CANCEL that matches no transaction is answered 481. One that does is what ends it, whatever the load.
  defp new(
         stack,
         %Message{start_line: %{method: :cancel}} = cancel,
         key,
         data,
         remote,
         transport
       ) do
    if Transactions.alive?(stack, Server.Key.invite(key)),
      do: start(stack, cancel, Overload.source(stack, remote), data, remote, transport),
      else: refuse(stack, cancel, 481, nil, byte_size(data), remote, transport)
  end

  defp new(stack, request, _key, data, remote, transport) do
    source = Overload.source(stack, remote)

    case admit(stack, request, source) do
      :ok -> start(stack, request, source, data, remote, transport)
      {:error, reason} -> reject(stack, request, reason, byte_size(data), remote, transport)
    end
  end

  defp admit(stack, %Message{start_line: %{method: method}}, source)
       when method in [:ack, :cancel] do
    if Overload.room?(stack, source), do: :ok, else: {:error, :pending}
  end

  # RFC3261§12.2 - a tag in the To is that of a dialog
  defp admit(stack, %Message{headers: %{to: {_name, _uri, %{"tag" => _tag}}}}, source),
    do: Overload.admit(stack, source, :within_dialog)

  defp admit(stack, _request, source), do: Overload.admit(stack, source, :new)

  defp start(stack, request, source, data, remote, %Transport{} = transport) do
    destination = response_destination(stack, request, remote, transport)
    origin = {data, remote}

    case Transactions.start_server(stack, request, transport, destination, source, origin) do
      :ok ->
        :ok

      # A retransmission of another call's worker, which was faster.
      {:error, :already_started} ->
        :ok

      {:error, :overload} ->
        reject(stack, request, :transactions, byte_size(data), remote, transport)
    end
  end

  # A transport that has not registered cannot be answered through.
  defp start(stack, _request, _source, data, remote, nil),
    do: Events.dropped(stack, :no_transport, byte_size(data), remote)

  # A callback outside of any transaction.
  defp detached(stack, callback, argument, bytes, source) do
    {pid, _ref} = CallbackRunner.start(stack, callback, argument, nil)
    Overload.enter(stack, pid, source, bytes, Worker.index(stack))
  end

  ## Answers without a transaction

  defp reject(stack, request, reason, bytes, remote, transport) do
    Events.rejected(stack, request, reason, bytes, remote)

    # RFC3261§8.2.7 - without a state nothing is answered to a CANCEL, and never to an ACK
    unless request.start_line.method in [:ack, :cancel],
      do: answer(stack, request, &StatelessResponse.later/1, bytes, remote, transport)

    :ok
  end

  defp refuse(stack, request, status, reason, bytes, remote, transport) do
    response = &StatelessResponse.to(&1, status, reason)
    answer(stack, request, response, bytes, remote, transport)
  end

  defp answer(_stack, _request, _response, _bytes, _remote, nil), do: :ok

  defp answer(stack, request, response, bytes, remote, transport) do
    if Overload.answer?(stack, remote),
      do: respond(stack, response.(request), remote, transport),
      else: Events.dropped(stack, :unanswered, bytes, remote)
  end

  defp unparsed(stack, error, bytes, remote, transport) do
    Events.refused(stack, error, bytes, remote)

    if Overload.answer?(stack, remote),
      do: answer_unparsed(stack, error, remote, transport),
      else: Events.dropped(stack, :unanswered, bytes, remote)
  end

  defp answer_unparsed(_stack, _error, _remote, nil), do: :ok

  defp answer_unparsed(stack, error, remote, transport) do
    with {:ok, response} <- StatelessResponse.to_unparsed(error, remote),
         do: respond(stack, response, remote, transport)

    :ok
  end

  defp respond(stack, response, remote, transport) do
    destination = response_destination(stack, response, remote, transport)
    deliver(stack, transport, destination, response)
  end

  defp response_destination(%Stack{options: options}, message, remote, transport) do
    Via.response_destination(
      message.headers.via,
      remote,
      transport.reliable?,
      options.obey_maddr
    )
  end

  defp deliver(stack, transport, destination, response) do
    octets = IO.iodata_to_binary(Message.to_iodata(response))
    Delivery.post(stack, transport, destination, octets, nil, &Function.identity/1, response)
  end

  ## What goes out

  @doc false
  # What `Sippet.send/2` does with a valid request.
  @spec send_request(Stack.t(), Message.request()) ::
          :ok | {:error, :already_started | :no_transport | :overload | term}
  def send_request(stack, request) do
    with {:ok, transport, destination, request} <- route(stack, request) do
      if request.start_line.method == :ack,
        do: post(stack, request, transport, destination),
        else: Transactions.start_client(stack, request, transport, destination)
    end
  end

  # RFC3261§9.1 - a CANCEL goes where its INVITE went, and has the same topmost Via
  defp route(stack, %Message{start_line: %{method: :cancel}} = cancel) do
    case Transactions.path(stack, cancel) do
      {destination, transport} ->
        {:ok, transport, destination, NextHop.rewrite(cancel, transport)}

      nil ->
        NextHop.route(stack, cancel)
    end
  end

  defp route(stack, request), do: NextHop.route(stack, request)

  @doc false
  # What `Sippet.forward/2` does with a valid message.
  @spec forward(Stack.t(), Message.t()) :: :ok | {:error, :no_transport | term}
  def forward(stack, %Message{start_line: %RequestLine{}} = request) do
    with {:ok, transport, destination, request} <- NextHop.route(stack, request),
         do: post(stack, request, transport, destination)
  end

  def forward(stack, response) do
    with {:ok, transport, destination} <- NextHop.route_response(stack, response),
         do: post(stack, response, transport, destination)
  end

  # RFC3261§13.2.2.4, §16.11 - the ACK of a 2xx, and what a stateless core sends, go to the transport without a transaction
  defp post(stack, message, transport, destination) do
    octets = IO.iodata_to_binary(Message.to_iodata(message))
    Delivery.send(stack, transport, destination, octets, nil, message)
  end

  @doc """
  Takes the failure of a message that a transport was given: the transaction of `key` ends, and the core gets
  `reason`, whatever it is (RFC 3261 §18.4). Without a key it is counted.
  """
  @spec receive_transport_error(atom, Client.Key.t() | Server.Key.t() | nil, reason :: term) ::
          :ok
  def receive_transport_error(sippet, key, reason) do
    case {Stack.find(sippet), key} do
      {nil, _key} ->
        :ok

      {stack, nil} ->
        Telemetry.emit(stack, :transport_error, %{system_time: System.system_time()}, fn ->
          %{reason: reason, remote: nil, key: nil}
        end)

      {stack, key} ->
        Transactions.receive_error(stack, key, reason)
    end
  end

  @doc """
  Takes the word that nothing listens at an address (an ICMP error): client transactions that sent there end, and the
  core gets `reason` for each (RFC 3261 §18.4).
  """
  @spec receive_unreachable(atom, Transport.destination(), reason :: term) :: :ok
  def receive_unreachable(sippet, destination, reason) do
    case Stack.find(sippet) do
      nil -> :ok
      stack -> Transactions.unreachable(stack, destination, reason)
    end
  end
end
