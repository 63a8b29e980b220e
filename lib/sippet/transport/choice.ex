defmodule Sippet.Transport.Choice do
  @moduledoc false
  # Which of a stack's transports a message leaves by.

  alias Sippet.{Address, LocalHosts, Message, Transport}

  @doc """
  Of several transports of a protocol: one that can reach the host, and among these the one that the topmost Via names as its
  own. The host may be a name.
  """
  @spec choose([Transport.t()], Message.protocol(), term, Message.request()) ::
          Transport.t() | nil
  def choose(transports, protocol, host, request) do
    case reaching(transports, protocol, host) do
      [] -> nil
      [transport] -> transport
      several -> Enum.max_by(several, &likeness(&1, request))
    end
  end

  @doc """
  Those of a protocol that can reach the host.
  """
  @spec reaching([Transport.t()], Message.protocol(), term) :: [Transport.t()]
  def reaching(transports, protocol, host) do
    family = host_family(host)
    Enum.filter(transports, &(&1.protocol == protocol and reaches?(&1.address, family)))
  end

  defp host_family(host) when is_tuple(host), do: tuple_size(host)

  defp host_family(host) do
    case Address.parse(host) do
      {:ok, address} -> tuple_size(address)
      :error -> nil
    end
  end

  defp reaches?({address, _port}, family) when is_tuple(address) and family != nil,
    do: tuple_size(address) == family

  defp reaches?(_address, _family), do: true

  # RFC3261§18.1.1 - the responses come to the address and port of the Via. Its host may be a name, or one that stands for
  # the transport's address: then the port tells.
  defp likeness(%Transport{address: {ip, port}}, %Message{
         headers: %{via: [{_version, _protocol, {host, port}, _params} | _]}
       }) do
    cond do
      host == Address.to_text(ip) -> 3
      LocalHosts.any?(ip) -> 2
      true -> 1
    end
  end

  defp likeness(_transport, _request), do: 0

  @doc """
  The families of addresses that the transports of a protocol reach, that of `first` before the others.
  """
  @spec families([Transport.t()], Transport.t()) :: [:inet | :inet6, ...]
  def families(transports, first) do
    others = Enum.filter(transports, &(&1.protocol == first.protocol))
    [first | others] |> Enum.flat_map(&families/1) |> Enum.uniq()
  end

  defp families(%Transport{address: {ip, _port}}) when tuple_size(ip) == 4, do: [:inet]
  defp families(%Transport{address: {_ip, _port}}), do: [:inet6]
  defp families(%Transport{address: nil}), do: [:inet, :inet6]

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

  @doc """
  The request for the transport in whose place the other one could not send it (RFC 3261 §18.1.1).
  """
  @spec rewrite(Message.request(), Transport.t(), Transport.t()) :: Message.request()
  def rewrite(request, %Transport{sent_by: sent_by}, %Transport{} = transport) do
    case request.headers.via do
      # It was the stack that had filled it in.
      [{version, _protocol, ^sent_by, params} | vias] ->
        via = {version, :any, {"", 0}, params}
        rewrite(put_in(request.headers.via, [via | vias]), transport)

      _of_the_core ->
        rewrite(request, transport)
    end
  end
end
