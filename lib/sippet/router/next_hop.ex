defmodule Sippet.Router.NextHop do
  @moduledoc false
  # Where a request goes, and by which of the stack's transports.

  alias Sippet.{Flow, Message, Stack, Transport}
  alias Sippet.Message.{Route, Via}
  alias Sippet.Transport.Choice

  # RFC3261§18.1.1 - a request within 200 octets of the path MTU, or over 1300 where that is not known, goes by a
  # congestion controlled transport.
  @largest_datagram 1300

  @doc """
  The transport and the destination of a request, whose Via is rewritten where it names another transport.
  """
  @spec route(Stack.t(), Message.request()) ::
          {:ok, Transport.t(), Transport.destination(), Message.request()}
          | {:error, :no_transport}
  def route(stack, %Message{target: %Flow{remote: remote} = flow} = request) do
    case Stack.transport_of(stack, flow) do
      %Transport{} = transport -> {:ok, transport, remote, Choice.rewrite(request, transport)}
      nil -> {:error, :no_transport}
    end
  end

  def route(stack, request) do
    transports = Stack.transports(stack)
    request = with_protocol(request, transports)

    with {protocol, host, port} <- Route.hop(request),
         %Transport{} = transport <- Choice.choose(transports, protocol, host, request) do
      transport = shift(transport, transports, host, request)
      {:ok, transport, {host, port}, Choice.rewrite(request, transport)}
    else
      nil -> {:error, :no_transport}
    end
  end

  @doc """
  The transport and the destination of a response that belongs to no transaction. `source` is the flow by which its request
  came, where that is known.
  """
  @spec route_response(Stack.t(), Message.response(), Flow.t() | nil) ::
          {:ok, Transport.t(), Transport.destination()} | {:error, :no_transport}
  def route_response(stack, %Message{target: %Flow{remote: remote} = flow}, _source) do
    case Stack.transport_of(stack, flow) do
      %Transport{} = transport -> {:ok, transport, remote}
      nil -> {:error, :no_transport}
    end
  end

  def route_response(stack, response, source) do
    {protocol, host, port} = response.target || Via.remote(hd(response.headers.via))

    # RFC3581§4 - by the address that the request came to
    transport =
      (source && source.protocol == protocol && Stack.transport_of(stack, source)) ||
        List.first(Choice.reaching(Stack.transports(stack), protocol, host))

    case transport do
      %Transport{} when port > 0 -> {:ok, transport, {host, port}}
      _none -> {:error, :no_transport}
    end
  end

  # RFC3263§4.1 - UDP is the protocol of a SIP URI that names none. A stack without UDP sends by what it has.
  defp with_protocol(
         %Message{headers: %{via: [{_, :any, _, _} = via | vias]}} = request,
         transports
       ) do
    protocols = Enum.map(transports, & &1.protocol)
    protocol = if protocols == [] or :udp in protocols, do: :udp, else: hd(protocols)
    put_in(request.headers.via, [put_elem(via, 1, protocol) | vias])
  end

  defp with_protocol(request, _transports), do: request

  # RFC3261§18.1.1 - a large request leaves UDP, if there is somewhere to go
  defp shift(%Transport{protocol: :udp} = udp, transports, host, request) do
    case Choice.choose(transports, :tcp, host, request) do
      nil -> udp
      tcp -> if large?(Choice.rewrite(request, udp)), do: %{tcp | instead_of: udp}, else: udp
    end
  end

  defp shift(transport, _transports, _host, _request), do: transport

  defp large?(request), do: IO.iodata_length(Message.to_iodata(request)) > @largest_datagram
end
