defmodule Sippet.Router.Inbound do
  @moduledoc false
  # What becomes of a message that came in, in the process of a worker. `Sippet.Router` says what that is.

  alias Sippet.Core.CallbackRunner
  alias Sippet.Message
  alias Sippet.Message.{RequestLine, Tag, Validator, Via}
  alias Sippet.Router.{Arrival, Outbound, StatelessResponse}
  alias Sippet.Stack.{Events, Tap}
  alias Sippet.{Address, Overload, ParseError, Resolver, Stack, Transactions, Transport}
  alias Sippet.Transactions.{Actions, Client, Owners, OwnMessages, Server, Worker, Workers}

  @doc """
  Takes octets that a transport has handed over. `transport` is the one that answers, or the process that has them from the network.
  """
  @spec take(Stack.t(), binary, Via.remote(), Transport.t() | pid) :: :ok
  def take(stack, octets, {protocol, _ip, _port} = remote, pid) when is_pid(pid),
    do: take(stack, octets, remote, Stack.answering(stack, pid, protocol))

  def take(stack, octets, remote, transport) do
    Tap.received(stack, octets, remote, transport)
    parse(stack, %Arrival{octets: octets, remote: remote, transport: transport})
    :ok
  catch
    # The process is shared by many calls: a defect of the stack's own must not end it.
    kind, reason ->
      about = %{octets: octets, remote: remote}
      Stack.log_defect(stack, kind, reason, __STACKTRACE__, about)
  end

  @doc """
  Refuses what came by a stream and could not be cut into messages.
  """
  @spec malformed(Stack.t(), ParseError.t(), non_neg_integer, Via.remote(), Transport.t()) :: :ok
  def malformed(stack, error, bytes, remote, transport) do
    unparsed(stack, error, bytes, %Arrival{octets: "", remote: remote, transport: transport})
  catch
    kind, reason -> Stack.log_defect(stack, kind, reason, __STACKTRACE__, %{remote: remote})
  end

  @doc """
  Takes a message of the calling worker's calls that another worker has parsed.
  """
  @spec arrived(Stack.t(), Arrival.t()) :: :ok
  def arrived(stack, arrival) do
    dispatch(stack, arrival)
    :ok
  catch
    kind, reason ->
      about = %{message: arrival.message, remote: arrival.remote}
      Stack.log_defect(stack, kind, reason, __STACKTRACE__, about)
  end

  @doc """
  Does for a client's INVITE what its owner can't do any more.
  """
  @spec unattended(Stack.t(), Owners.task()) :: :ok
  def unattended(stack, task) do
    Outbound.unattended(stack, task)
    :ok
  catch
    kind, reason -> Stack.log_defect(stack, kind, reason, __STACKTRACE__)
  end

  @doc """
  Has an INVITE lose its place for another.
  """
  @spec lose_place(Stack.t(), {integer, non_neg_integer}) :: :ok
  def lose_place(stack, listed) do
    Transactions.lose_place(stack, listed)
  catch
    kind, reason -> Stack.log_defect(stack, kind, reason, __STACKTRACE__)
  end

  @doc """
  Takes the answer to a question for the address of a name.
  """
  @spec located(Stack.t(), term, Resolver.answer()) :: :ok
  def located(stack, tag, answer) do
    Transactions.located(stack, tag, answer)
  catch
    kind, reason -> Stack.log_defect(stack, kind, reason, __STACKTRACE__)
  end

  defp parse(stack, arrival) do
    case Message.parse(arrival.octets) do
      {:ok, message} -> stamp(stack, arrival, message)
      {:error, %ParseError{reason: :empty_message}} -> dropped(stack, :keep_alive, arrival)
      {:error, error} -> unparsed(stack, error, byte_size(arrival.octets), arrival)
    end
  end

  defp stamp(stack, arrival, %Message{start_line: %RequestLine{}, headers: headers} = request) do
    case headers do
      %{via: [_ | _] = vias} ->
        headers = %{headers | via: Via.stamp(vias, arrival.remote, force_rport?(arrival))}
        hand_over(stack, arrival, %{request | headers: headers})

      # RFC3261§8.2.6.2 - without a Via no answer finds its way
      _none ->
        dropped(stack, :malformed_request, %{arrival | message: request})
    end
  end

  defp stamp(stack, arrival, response) do
    case Validator.validate(response) do
      :ok -> hand_over(stack, arrival, response)
      {:error, _text} -> dropped(stack, :malformed_response, %{arrival | message: response})
    end
  end

  defp force_rport?(%Arrival{transport: nil}), do: false
  defp force_rport?(%Arrival{transport: transport}), do: transport.force_rport?

  # The worker of the call works on the message, though its Call-ID was not found before it was parsed. Who writes all of his
  # so must not fill that one's mailbox.
  defp hand_over(stack, %Arrival{transport: transport, remote: remote} = arrival, message) do
    arrival = %{arrival | message: %{message | source: Stack.flow(stack, transport, remote)}}
    index = Actions.worker_of(stack, message)

    cond do
      Worker.index(stack) == index -> dispatch(stack, arrival)
      Workers.post(stack, index, {:arrived, arrival}) == :ok -> :ok
      true -> dropped(stack, :busy, arrival)
    end
  end

  defp dispatch(
         stack,
         %Arrival{message: %Message{start_line: %RequestLine{}} = request} = arrival
       ) do
    case Validator.validate(request) do
      :ok ->
        received(stack, arrival)
        request(stack, request, arrival)

      {:error, text} ->
        invalid(stack, request, text, arrival)
    end
  end

  defp dispatch(stack, arrival) do
    received(stack, arrival)
    response(stack, arrival.message, arrival)
  end

  ## Responses

  defp response(stack, response, arrival) do
    case Transactions.receive_response(stack, response, Client.Key.new(response)) do
      :ok -> :ok
      {:error, :busy} -> dropped(stack, :busy, arrival)
      :error -> stray(stack, response, arrival)
    end
  end

  # RFC3261§16.11 - a stateless core forwards every response
  defp stray(%Stack{options: %{stateless: true}} = stack, _response, arrival) do
    source = source(stack, arrival)

    if Overload.response?(stack.overload, source),
      do: detached(stack, :receive_response, arrival, source),
      else: dropped(stack, :overload, arrival)
  end

  # RFC3261§13.2.2.4 - a 2xx is acknowledged by the core, each time that it comes
  defp stray(stack, %Message{start_line: %{status_code: status}}, arrival)
       when status in 200..299,
       do: unbidden(stack, :receive_response, arrival)

  defp stray(stack, _response, arrival), do: dropped(stack, :stray_response, arrival)

  # What no transaction asked for, and gets no answer, may come without end.
  defp unbidden(stack, callback, arrival) do
    source = source(stack, arrival)

    case Overload.admit(stack.overload, source, :ack, seen(stack, arrival)) do
      :ok -> detached(stack, callback, arrival, source)
      {:error, _reason} -> dropped(stack, :overload, arrival)
    end
  end

  ## Requests

  defp invalid(stack, %Message{start_line: line} = request, text, arrival) do
    Events.refused(stack, text, byte_size(arrival.octets), arrival.remote, request)

    cond do
      line.method in [:ack, :cancel] -> :ok
      # RFC3261§8.2, §21.5.6
      line.version != {2, 0} -> respond(stack, 505, nil, arrival)
      true -> respond(stack, 400, phrase(text), arrival)
    end
  end

  # The text of a validation may quote what was sent: a phrase is one line.
  defp phrase(text), do: "Bad Request (" <> String.replace(text, ~r/[[:cntrl:]]/, " ") <> ")"

  # RFC3261§16.11, §8.2.7 - a stateless core takes each request from the transport, be it a retransmission or a CANCEL
  defp request(%Stack{options: %{stateless: true}} = stack, request, arrival) do
    source = source(stack, arrival)

    case admit(stack, request, source, seen(stack, arrival)) do
      :ok -> detached(stack, :receive_request, arrival, source)
      {:error, reason} -> reject(stack, reason, arrival)
    end
  end

  defp request(stack, %Message{start_line: %{method: method}} = request, arrival) do
    key = Transactions.numbered(stack, Server.Key.new(request))

    case Transactions.receive_request(stack, request, key) do
      :ok -> :ok
      {:error, :busy} -> dropped(stack, :busy, arrival)
      :error when method == :ack -> acknowledged(stack, request, arrival)
      :error -> new(stack, request, key, arrival)
    end
  end

  defp acknowledged(stack, ack, arrival) do
    cond do
      # That of a 2xx which is waited for: there are no more of them than transactions.
      Transactions.ack(stack, ack) == :ok ->
        unless told_owner?(stack, ack),
          do: detached(stack, :receive_request, arrival, source(stack, arrival))

      Overload.answered?(stack.overload) and StatelessResponse.acknowledged?(ack) ->
        dropped(stack, :refusal_ack, arrival)

      true ->
        unless told_owner?(stack, ack), do: unbidden(stack, :receive_request, arrival)
    end
  end

  # The owner of a dialog gets its ACKs.
  defp told_owner?(stack, ack) do
    case Owners.of_dialog(stack, ack) do
      nil -> false
      owner -> Owners.tell(stack, owner, nil, :receive_request, ack) == :ok
    end
  end

  # RFC3261§9.2 - a CANCEL that matches no transaction is answered 481. One that does is what ends it, whatever the load.
  defp new(stack, %Message{start_line: %{method: :cancel}} = cancel, {id, _number} = key, arrival) do
    cond do
      Transactions.alive?(stack, Server.Key.invite(id)) ->
        start(stack, cancel, key, source(stack, arrival), nil, arrival)

      # It has no effect on any other request.
      Transactions.other_request?(stack, id) ->
        respond(stack, 200, nil, arrival)

      true ->
        respond(stack, 481, nil, arrival)
    end
  end

  # RFC3262§3 - a PRACK of nothing that waits for one is answered 481
  defp new(stack, %Message{start_line: %{method: :prack}} = prack, key, arrival) do
    case Transactions.prack(stack, prack) do
      :unmatched -> respond(stack, 481, nil, arrival)
      _matched_or_unknown -> accept(stack, prack, key, arrival)
    end
  end

  defp new(stack, request, key, arrival), do: accept(stack, request, key, arrival)

  defp accept(stack, request, key, arrival) do
    source = source(stack, arrival)
    seen = seen(stack, arrival)

    case admit(stack, request, source, seen) do
      :ok -> start(stack, request, key, source, seen, arrival)
      {:error, reason} -> reject(stack, reason, arrival)
    end
  end

  defp admit(stack, %Message{start_line: %{method: method}}, source, _seen)
       when method in [:ack, :cancel] do
    if Overload.room?(stack.overload, source), do: :ok, else: {:error, :pending}
  end

  defp admit(stack, %Message{start_line: %{method: method}}, source, seen) do
    kind = if method == :invite and not stack.options.stateless, do: :invite, else: :request
    Overload.admit(stack.overload, source, kind, seen)
  end

  # RFC3261§12.2 - a tag in the To is that of a dialog. Whether there is such a dialog, the stack knows that has seen it begin.
  defp seen(stack, %Arrival{message: message, remote: {_protocol, ip, _port}}) do
    fn ->
      dialog = if to_tag?(message), do: Tag.dialog(message.headers)
      Overload.seen(stack.overload, Address.to_text(ip), dialog)
    end
  end

  defp to_tag?(%Message{headers: %{to: {_name, _uri, %{"tag" => _tag}}}}), do: true
  defp to_tag?(_message), do: false

  # A transport that has not registered cannot be answered through.
  defp start(stack, _request, _key, _source, _seen, %Arrival{transport: nil} = arrival),
    do: dropped(stack, :no_transport, arrival)

  defp start(stack, request, key, source, seen, %Arrival{transport: transport} = arrival) do
    origin = %{
      octets: arrival.octets,
      remote: arrival.remote,
      source: source,
      key: key,
      seen: seen
    }

    destination = Outbound.response_destination(stack, request, arrival)

    case Transactions.start_server(stack, request, transport, destination, origin) do
      :ok -> :ok
      # A retransmission of another call's worker, which was faster.
      {:error, :already_started} -> :ok
      {:error, :overload} -> reject(stack, :transactions, arrival)
    end
  end

  # A callback outside of any transaction.
  defp detached(stack, callback, %Arrival{message: message, octets: octets}, source) do
    {pid, _ref} = CallbackRunner.start(stack, callback, message, nil)
    Overload.enter_process(stack.overload, pid, source, byte_size(octets), Worker.index(stack))
  end

  ## Answers without a transaction

  defp reject(stack, reason, %Arrival{message: request, octets: octets} = arrival) do
    Events.rejected(stack, request, reason, byte_size(octets), arrival.remote)

    # RFC3261§8.2.7 - without a state nothing is answered to a CANCEL, and never to an ACK
    if request.start_line.method in [:ack, :cancel],
      do: :ok,
      else: answer(stack, arrival, fn -> {:ok, OwnMessages.refusal(request, 503)} end)
  end

  defp respond(stack, status, reason, %Arrival{message: request} = arrival),
    do: answer(stack, arrival, fn -> {:ok, StatelessResponse.to(request, status, reason)} end)

  defp unparsed(stack, error, bytes, %Arrival{remote: remote} = arrival) do
    Events.refused(stack, error, bytes, remote)

    answer(stack, arrival, fn ->
      StatelessResponse.to_unparsed(error, remote, force_rport?(arrival))
    end)
  end

  defp answer(_stack, %Arrival{transport: nil}, _response), do: :ok

  defp answer(stack, arrival, response) do
    if Overload.answer?(stack.overload, arrival.remote) do
      with {:ok, response} <- response.(), do: Outbound.respond(stack, response, arrival)
      :ok
    else
      dropped(stack, :unanswered, arrival)
    end
  end

  ## What is told

  defp source(stack, arrival), do: Overload.source(stack.overload, arrival.remote)

  defp received(stack, arrival),
    do: Events.received(stack, arrival.message, byte_size(arrival.octets), arrival.remote)

  defp dropped(stack, reason, arrival),
    do: Events.dropped(stack, reason, byte_size(arrival.octets), arrival.remote, arrival.message)
end
