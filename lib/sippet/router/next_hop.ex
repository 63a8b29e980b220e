defmodule Sippet.Router.NextHop do
  @moduledoc false
  # Where a request goes, and by which of the stack's transports.

  alias Sippet.{Address, Message, Stack, Transport}
  alias Sippet.Message.{Route, Via}

  # RFC3261§18.1.1 - a request within 200 octets of the path MTU, or over 1300 where that is not known, goes by a
  # congestion controlled transport.
  @largest_datagram 1300

  @doc """
  The transport and the destination of a request, whose Via is rewritten where it names another transport.
  """
  @spec route(Stack.t(), Message.request()) ::
          {:ok, Transport.t(), Transport.destination(), Message.request()}
          | {:error, :no_transport}
  def route(stack, request) do
    with {protocol, host, port} <- Route.hop(request),
         transports = Stack.transports(stack),
         %Transport{} = transport <- choose(transports, protocol, host, request) do
      transport = shift(transport, transports, host, request)
      {:ok, transport, {host, port}, rewrite(request, transport)}
    else
      nil -> {:error, :no_transport}
    end
  end

  @doc """
  The transport and the destination of a response that belongs to no transaction.
  """
  @spec route_response(Stack.t(), Message.response()) ::
          {:ok, Transport.t(), Transport.destination()} | {:error, :no_transport}
  def route_response(stack, response) do
    {protocol, host, port} = response.target || Via.remote(hd(response.headers.via))

    case choose(Stack.transports(stack), protocol, host, response) do
      %Transport{} = transport when port > 0 -> {:ok, transport, {host, port}}
      _none -> {:error, :no_transport}
    end
  end

  # Of several transports of the protocol: one that can reach the address, and among these the one that the Via
  # names as its own.
  defp choose(transports, protocol, host, request) do
    family = family(host)

    candidates =
      Enum.filter(transports, &(&1.protocol == protocol and reaches?(&1.address, family)))

    Enum.find(candidates, List.first(candidates), &named?(&1, request))
  end

  defp family(host) when is_tuple(host), do: tuple_size(host)

  defp family(host) do
    case Address.parse(host) do
      {:ok, address} -> tuple_size(address)
      :error -> nil
    end
  end

  defp reaches?({address, _port}, family) when is_tuple(address) and family != nil,
    do: tuple_size(address) == family

  defp reaches?(_address, _family), do: true

  defp named?(%Transport{address: {address, port}}, %Message{headers: %{via: [via | _]}}) do
    {_version, _protocol, {host, via_port}, _params} = via
    via_port == port and host == Address.to_text(address)
  end

  defp named?(_transport, _request), do: false

  # RFC3261§18.1.1 - a large request leaves UDP, if there is somewhere to go
  defp shift(%Transport{protocol: :udp} = udp, transports, host, request) do
    case choose(transports, :tcp, host, request) do
      nil -> udp
      tcp -> if large?(request), do: tcp, else: udp
    end
  end

  defp shift(transport, _transports, _host, _request), do: transport

  defp large?(request), do: IO.iodata_length(Message.to_iodata(request)) > @largest_datagram

  @doc """
  The request with the transport in its topmost Via that it goes by (RFC 3261 §18.1.1).
  """
  @spec rewrite(Message.request(), Transport.t()) :: Message.request()
  def rewrite(request, %Transport{protocol: protocol}) do
    case request.headers do
      %{via: [{_version, ^protocol, _sent_by, _params} | _]} ->
        request

      %{via: [{version, _other, sent_by, params} | vias]} ->
        put_in(request.headers.via, [{version, protocol, sent_by, params} | vias])
    end
  end
end
