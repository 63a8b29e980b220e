defmodule Sippet.Router.Outbound do
  @moduledoc false
  # Where a message goes that the stack sends, and by which transport.

  alias Sippet.Message
  alias Sippet.Message.{RequestLine, Via}
  alias Sippet.Router.{Arrival, NextHop}
  alias Sippet.{Stack, Transactions, Transport}
  alias Sippet.Transport.Delivery

  @doc """
  What `Sippet.send/2` does with a valid request.
  """
  @spec send_request(Stack.t(), Message.request()) ::
          :ok | {:error, :already_started | :no_transport | :overload | term}
  def send_request(stack, request) do
    with {:ok, transport, destination, request} <- route(stack, request) do
      if request.start_line.method == :ack,
        do: send_once(stack, request, transport, destination),
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

  @doc """
  What `Sippet.forward/2` does with a valid message.
  """
  @spec forward(Stack.t(), Message.t()) :: :ok | {:error, :no_transport | term}
  def forward(stack, %Message{start_line: %RequestLine{}} = request) do
    with {:ok, transport, destination, request} <- NextHop.route(stack, request),
         do: send_once(stack, request, transport, destination)
  end

  def forward(stack, response) do
    with {:ok, transport, destination} <- NextHop.route_response(stack, response),
         do: send_once(stack, response, transport, destination)
  end

  # RFC3261§13.2.2.4, §16.11 - the ACK of a 2xx, and what a stateless core sends, go to the transport without a transaction
  defp send_once(stack, message, transport, destination),
    do: Delivery.send(stack, transport, destination, Message.to_string(message), nil, message)

  @doc """
  Sends a response that belongs to no transaction to whoever sent its request. It does not wait.
  """
  @spec respond(Stack.t(), Message.response(), Arrival.t()) :: :ok | {:error, term}
  def respond(stack, response, %Arrival{transport: transport} = arrival) do
    destination = response_destination(stack, response, arrival)
    octets = Message.to_string(response)
    Delivery.post(stack, transport, destination, octets, nil, &Function.identity/1, response)
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
      options.obey_maddr
    )
  end
end
