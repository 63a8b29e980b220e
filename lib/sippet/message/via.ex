defmodule Sippet.Message.Via do
  @moduledoc false
  # The topmost Via: the stack that received a request stamps it with the source, finds the source there again, and
  # sends the responses where it says.

  alias Sippet.{Address, Digits}

  @type t ::
          {version :: tuple, protocol :: atom | String.t(),
           sent_by :: {String.t(), :inet.port_number()}, params :: %{String.t() => String.t()}}

  @typedoc "Where a request came from: protocol, address and port."
  @type remote :: {atom | String.t(), :inet.ip_address(), :inet.port_number()}

  @largest_port 65_535

  @doc """
  Writes `received` and `rport` on the topmost Via. What the sender wrote there is not taken over, else anybody
  could have the stack send to anybody. With `force_rport?` both are there although the sender did not ask for them.
  """
  @spec stamp([t], remote, force_rport? :: boolean) :: [t]
  def stamp(vias, remote, force_rport? \\ false)

  def stamp(
        [{version, protocol, {host, port}, params} | vias],
        {_protocol, ip, source_port},
        force_rport?
      ) do
    params = Map.delete(params, "received")
    params = if force_rport?, do: Map.put(params, "rport", ""), else: params
    params = mark(params, host, ip, source_port)
    [{version, protocol, {host, port}, params} | vias]
  end

  # RFC3581§4 - asked for by an rport without a value: the source port is filled in, and `received` too, even
  # where the sent-by is the source address.
  defp mark(%{"rport" => _asked} = params, _host, ip, source_port) do
    params
    |> Map.put("rport", Integer.to_string(source_port))
    |> Map.put("received", Address.to_text(ip))
  end

  # RFC3261§18.2.1 - where the sent-by is a name or another address, the source address is added.
  defp mark(params, host, ip, _source_port) do
    if same_address?(host, ip), do: params, else: Map.put(params, "received", Address.to_text(ip))
  end

  defp same_address?(host, ip) do
    case Address.parse(host) do
      {:ok, address} -> address == ip
      :error -> false
    end
  end

  @doc """
  Returns the host and port to which the responses to a stamped request are sent.

  On a reliable transport that is the connection by which the request came in. On an unreliable one it is the source
  address: `received` is it, or the sent-by equals it. A `maddr` makes the stack send to whom the sender names. One that is
  not obeyed is as if it were not there.
  """
  @spec response_destination([t], remote, reliable? :: boolean, obeyed :: [:unicast | :multicast]) ::
          {:inet.ip_address() | String.t(), :inet.port_number()}
  # RFC3261§18.2.2 - on a reliable transport by the connection that the request came in by
  def response_destination(_vias, {_protocol, ip, port}, true, _obeyed), do: {ip, port}

  def response_destination([via | _], {_protocol, ip, _source_port}, false, obeyed) do
    {_version, _via_protocol, {_host, port}, params} = via

    case maddr(params, obeyed) do
      # RFC3581§4 - the port is the one that the stamp has put there
      nil -> {ip, rport(params, port)}
      maddr -> {maddr, port}
    end
  end

  defp maddr(%{"maddr" => text}, [_ | _] = obeyed) do
    case {Address.parse(text), Address.host(text)} do
      {{:ok, ip}, _host} -> if kind(ip) in obeyed, do: ip
      {:error, {:ok, host}} -> if :unicast in obeyed, do: host
      {:error, :error} -> nil
    end
  end

  defp maddr(_params, _obeyed), do: nil

  defp kind(ip), do: if(multicast?(ip), do: :multicast, else: :unicast)

  defp multicast?({first, _, _, _}), do: first in 224..239
  defp multicast?({first, _, _, _, _, _, _, _}), do: first in 0xFF00..0xFFFF

  @doc """
  Returns protocol, host and port: `received` instead of the sent-by's host, `rport` instead of
  its port. A value that names neither is passed over: it came back from the network, and may not
  be the one that was stamped. A response that belongs to no transaction is sent there.
  """
  # RFC3261§18.2.2, RFC3581§4 - `maddr` is left out, as above
  @spec remote(t) :: {atom | String.t(), String.t(), :inet.port_number()}
  def remote({_version, protocol, {host, port}, params}),
    do: {protocol, received(params, host), rport(params, port)}

  @doc """
  The text of the address that a stamped request came from, as `Sippet.Address.to_text/1` writes it.
  """
  @spec address(t) :: String.t()
  def address({_version, _protocol, _sent_by, %{"received" => text}}), do: text

  # The sent-by is the address then. One of IPv6 may be written in several ways.
  def address({_version, _protocol, {host, _port}, _params}) do
    with true <- String.contains?(host, ":"), {:ok, ip} <- Address.parse(host) do
      Address.to_text(ip)
    else
      _ipv4 -> host
    end
  end

  # RFC5118§4.5 - an address may stand in brackets here
  defp received(%{"received" => text}, host) do
    case Address.host(text) do
      {:ok, received} -> received
      :error -> host
    end
  end

  defp received(_params, host), do: host

  @doc """
  Returns the port that `rport` names, or else the one given.
  """
  @spec rport(map, :inet.port_number()) :: :inet.port_number()
  def rport(%{"rport" => text}, port) do
    case Digits.parse(text, @largest_port) do
      {:ok, number} when number > 0 -> number
      _none -> port
    end
  end

  def rport(_params, port), do: port
end
