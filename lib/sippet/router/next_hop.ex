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
      %Transport{} = transport -> {:ok, transport, remote, rewrite(request, transport)}
      nil -> {:error, :no_transport}
    end
  end

  def route(stack, request) do
    transports = Stack.transports(stack)
    request = with_protocol(request, transports)

    with {protocol, host, port} <- Route.hop(request),
         %Transport{} = transport <- Choice.choose(transports, protocol, host, request) do
      transport = shift(transport, transports, host, request)
      {:ok, transport, {host, port}, rewrite(request, transport)}
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
      tcp -> if large?(rewrite(request, udp)), do: tcp, else: udp
    end
  end

  defp shift(transport, _transports, _host, _request), do: transport

  defp large?(request), do: IO.iodata_length(Message.to_iodata(request)) > @largest_datagram

  @doc """
  The request with the transport in its topmost Via that it goes by (RFC 3261 §18.1.1), and with the transport's own
  sent-by where that Via has none.
  """
  @spec rewrite(Message.request(), Transport.t()) :: Message.request()
  def rewrite(request, %Transport{protocol: protocol} = transport) do
    case request.headers do
      %{via: [{version, _any, {"", _port}, params} | vias]} ->
        via = {version, protocol, sent_by(transport), asking(params, transport)}
        put_in(request.headers.via, [via | vias])

      %{via: [{_version, ^protocol, _sent_by, _params} | _]} ->
        request

      %{via: [{version, _other, sent_by, params} | vias]} ->
        put_in(request.headers.via, [{version, protocol, sent_by, params} | vias])
    end
  end

  defp sent_by(%Transport{sent_by: nil, protocol: protocol}) do
    raise ArgumentError,
          "the Via of the request has no host, and the transport of #{inspect(protocol)} has no address to write " <>
            "there: register the transport with :address or :advertise, or write the Via yourself"
  end

  defp sent_by(%Transport{sent_by: sent_by}), do: sent_by

  # RFC3581§3 - the response comes to the port that the request left from, whatever a NAT made of it
  defp asking(params, %Transport{reliable?: false}), do: Map.put_new(params, "rport", "")
  defp asking(params, _reliable), do: params
end
