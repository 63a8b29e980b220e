defmodule Sippet.LocalHosts do
  @moduledoc false
  # By which hosts and ports a transport is known: the one that it writes as sent-by, and all that mean it.

  alias Sippet.{Address, URI}

  @type host :: {String.t(), :inet.port_number()}

  @any [{0, 0, 0, 0}, {0, 0, 0, 0, 0, 0, 0, 0}]

  # Addresses of documentation (RFC 5737, RFC 3849), which the default route leads to. No packet is sent there.
  @anywhere %{inet: {192, 0, 2, 1}, inet6: {0x2001, 0xDB8, 0, 0, 0, 0, 0, 1}}

  # Discard (RFC 863): any port would do.
  @any_port 9

  @doc """
  The sent-by of a transport that is bound to an address, and the hosts that mean it. Both are what it advertises, if it does.
  """
  @spec of({:inet.ip_address(), :inet.port_number()} | nil, host | nil) :: %{
          sent_by: host | nil,
          hosts: [host]
        }
  def of(nil, nil), do: %{sent_by: nil, hosts: []}
  def of(nil, advertised), do: %{sent_by: advertised, hosts: [advertised]}

  def of({ip, port}, advertised) do
    sent_by = advertised || {Address.to_text(primary(ip)), port}
    bound = for ip <- bound(ip), do: {Address.to_text(ip), port}
    %{sent_by: sent_by, hosts: Enum.uniq([sent_by | bound])}
  end

  @doc """
  Whether a transport that is bound to this address listens at every address of the machine.
  """
  @spec any?(:inet.ip_address()) :: boolean
  def any?(ip), do: ip in @any

  defp primary(ip) when ip in @any, do: default_route(family(ip)) || loopback(family(ip))
  defp primary(ip), do: ip

  defp bound(ip) when ip in @any, do: Enum.uniq([loopback(family(ip)) | interfaces(family(ip))])
  defp bound(ip), do: [ip]

  defp family(ip) when tuple_size(ip) == 4, do: :inet
  defp family(_ip), do: :inet6

  defp loopback(:inet), do: {127, 0, 0, 1}
  defp loopback(:inet6), do: {0, 0, 0, 0, 0, 0, 0, 1}

  # The kernel chooses a source address for a socket that is connected. Without a default route any interface is as good.
  defp default_route(family) do
    with {:ok, socket} <- :gen_udp.open(0, [family]) do
      try do
        with :ok <- :gen_udp.connect(socket, @anywhere[family], @any_port),
             {:ok, {ip, _port}} <- :inet.sockname(socket) do
          ip
        else
          {:error, _no_route} -> List.first(interfaces(family))
        end
      after
        :gen_udp.close(socket)
      end
    else
      {:error, _no_family} -> nil
    end
  end

  defp interfaces(family) do
    case :inet.getifaddrs() do
      {:ok, interfaces} ->
        for {_name, options} <- interfaces,
            :up in options[:flags],
            :loopback not in options[:flags],
            {:addr, ip} <- options,
            family(ip) == family,
            not link_local?(ip),
            do: ip

      {:error, _reason} ->
        []
    end
  end

  # RFC4291§2.5.6 - it means nothing without the interface
  defp link_local?({first, _, _, _, _, _, _, _}), do: first in 0xFE80..0xFEBF
  defp link_local?(_ipv4), do: false

  @doc """
  The URI of a host for who speaks this protocol.
  """
  @spec uri(host, atom | String.t(), map) :: URI.t()
  def uri({host, port}, protocol, %{user: user, scheme: scheme, lr: lr?}) do
    parameters = transport(protocol, scheme) <> if(lr?, do: ";lr", else: "")

    %URI{
      scheme: scheme,
      userinfo: user,
      host: host,
      port: port,
      parameters: if(parameters != "", do: parameters)
    }
  end

  # RFC3261§19.1.2 - the default of SIP is UDP, and of SIPS TLS
  defp transport(:udp, _scheme), do: ""
  defp transport(:tls, "sips"), do: ""
  defp transport(:wss, "sips"), do: ";transport=ws"

  defp transport(protocol, _scheme),
    do: ";transport=" <> String.downcase(to_string(protocol), :ascii)

  @doc """
  Whether a URI or a host is one of these.
  """
  @spec member?(URI.t() | host, [host]) :: boolean
  def member?(%URI{host: nil}, _hosts), do: false
  def member?(%URI{host: host, port: port}, hosts), do: member?({host, port}, hosts)

  def member?({host, port}, hosts) do
    Enum.any?(hosts, fn {other, number} ->
      number == port and (other == host or normal(other) == normal(host))
    end)
  end

  # RFC5118§4.5, RFC4291§2.2 - an address has several texts
  defp normal(host) do
    case Address.parse(host) do
      {:ok, address} -> address
      :error -> host |> String.trim_trailing(".") |> String.downcase(:ascii)
    end
  end

  @doc """
  Hosts of names that may lack a port.
  """
  @spec named([String.t() | host]) :: [host]
  def named(names), do: Enum.flat_map(names, &ports/1)

  defp ports({_host, _port} = host), do: [host]
  defp ports(name), do: for(scheme <- ["sip", "sips"], do: {name, URI.default_port(scheme)})

  @spec host?(term) :: boolean
  def host?({host, port}), do: is_binary(host) and host != "" and port in 0..65_535
  def host?(_other), do: false

  @spec names?(term) :: boolean
  def names?(value), do: is_list(value) and Enum.all?(value, &(is_binary(&1) or host?(&1)))
end
