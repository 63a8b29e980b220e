defmodule Sippet.Router.Outbound do
  @moduledoc false
  # Where a message goes that the stack sends, and by which transport.

  alias Sippet.Core.CallbackRunner
  alias Sippet.{Dialog, Message}
  alias Sippet.Message.{RequestLine, Route, Via}
  alias Sippet.Router.{Arrival, NextHop}
  alias Sippet.{Stack, Transactions, Transport}
  alias Sippet.Transactions.{Location, Owners, Server}
  alias Sippet.Transport.{Choice, Delivery, Outgoing}

  @doc """
  What `Sippet.send/2` does with a valid request.
  """
  @spec send_request(Stack.t(), Message.request(), pid | :nobody | nil) ::
          :ok | {:error, :already_started | :no_transport | :overload | term}
  def send_request(stack, request, owner \\ nil) do
    with {:ok, transport, destination, request} <- route(stack, request) do
      if request.start_line.method == :ack,
        do: Transactions.send_once(stack, request, transport, destination),
        else: Transactions.start_client(stack, request, transport, destination, owner)
    end
  end

  # RFC3261§9.1 - a CANCEL goes where its INVITE went, and has the same topmost Via
  defp route(stack, %Message{start_line: %{method: :cancel}} = cancel) do
    case Transactions.path_of_cancel(stack, cancel) do
      {transport, destination} ->
        {:ok, transport, destination, Choice.rewrite(cancel, transport)}

      nil ->
        NextHop.route(stack, cancel)
    end
  end

  defp route(stack, request), do: NextHop.route(stack, request)

  @doc """
  What `Sippet.forward/2` does with a valid message.
  """
  @spec forward(Stack.t(), Message.t()) :: :ok | {:error, :no_transport | term}
  def forward(stack, %Message{start_line: %RequestLine{}} = request) do
    with {:ok, transport, destination, request} <- NextHop.route(stack, request),
         do: Transactions.send_once(stack, request, transport, destination)
  end

  def forward(stack, response) do
    source = CallbackRunner.source(response)

    with {:ok, transport, destination} <- NextHop.route_response(stack, response, source) do
      Transactions.note(stack, response)
      Transactions.send_once(stack, response, transport, destination)
    end
  end

  @doc """
  Does what an owner can't do any more: cancels its INVITE, acknowledges the 2xx and ends that dialog, or ends a call.
  """
  @spec unattended(Stack.t(), Owners.task()) :: :ok | {:error, term}
  def unattended(stack, {:cancel, row, invite}) do
    cancel = invite |> Message.parse!() |> Message.to_cancel() |> Message.complete()
    {transport, destination} = Transactions.path(stack, row)
    Transactions.start_client(stack, cancel, transport, destination, :nobody)
  end

  # RFC3261§13.2.2.4, §15
  def unattended(stack, {:hang_up, invite, response}) do
    {ack, bye} = Dialog.hang_up(invite(invite, response), response)
    send_request(stack, with_via(ack, response))
    send_request(stack, with_via(bye, response), :nobody)
  end

  # RFC3261§15.1.1
  def unattended(stack, {:end_dialog, dialog}) do
    {:ok, bye, _dialog} = Dialog.next_request(dialog, :bye)
    send_request(stack, bye, :nobody)
  end

  defp invite(nil, %Message{headers: headers}) do
    {_name, uri, _params} = headers.to

    %Message{
      start_line: RequestLine.new(:invite, Route.request_uri(uri)),
      headers: Map.delete(headers, :to)
    }
  end

  defp invite(octets, _response), do: Message.parse!(octets)

  # It goes by the way of its INVITE, and has a branch of its own.
  defp with_via(request, %Message{headers: %{via: [{version, protocol, sent_by, params} | _]}}) do
    params = params |> Map.drop(["received", "branch"]) |> Map.replace("rport", "")
    Message.complete(Message.put_header(request, :via, [{version, protocol, sent_by, params}]))
  end

  @doc """
  Sends a response that belongs to no transaction to whoever sent its request. It does not wait.
  """
  @spec respond(Stack.t(), Message.response(), Arrival.t()) :: :ok | {:error, term}
  def respond(stack, response, %Arrival{transport: transport} = arrival) do
    destination = response_destination(stack, response, arrival)

    if Location.needed?(transport, destination) do
      Transactions.send_once(stack, response, transport, destination)
    else
      outgoing = %Outgoing{
        transport: transport,
        destination: destination,
        octets: Message.to_string(response),
        message: response
      }

      Delivery.post(stack, outgoing)
    end
  end

  @doc """
  Sends a response whose connection is gone by another way; `:error` where there is none.
  """
  @spec respond_elsewhere(Stack.t(), binary, Server.Key.t() | nil, Via.remote(), Transport.t()) ::
          :ok | :error | {:error, term}
  def respond_elsewhere(stack, octets, key, {_protocol, ip, port}, gone) do
    outgoing = %Outgoing{transport: gone, destination: {ip, port}, octets: octets, key: key}

    case Location.another(stack, outgoing) do
      nil -> :error
      another -> Delivery.post(stack, another)
    end
  end

  @doc """
  Where the responses to a message go that came in.
  """
  @spec response_destination(Stack.t(), Message.t(), Arrival.t()) :: Transport.destination()
  def response_destination(%Stack{options: options}, message, %Arrival{} = arrival) do
    Via.response_destination(
      message.headers.via,
      arrival.remote,
      arrival.transport.reliable?,
      obeyed(options, arrival.transport)
    )
  end

  # The addresses in a `maddr` to which a response goes.
  defp obeyed(%{obey_maddr: false}, %Transport{multicast?: false}), do: []
  defp obeyed(%{obey_maddr: true}, %Transport{multicast?: false}), do: [:unicast]
  defp obeyed(%{obey_maddr: false}, %Transport{multicast?: true}), do: [:multicast]
  defp obeyed(%{obey_maddr: true}, %Transport{multicast?: true}), do: [:unicast, :multicast]
end
