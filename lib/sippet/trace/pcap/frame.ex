defmodule Sippet.Trace.Pcap.Frame do
  @moduledoc false
  # What a captured frame carries, if that is UDP over IP: link header, IP header, UDP header are taken off.

  @type skip :: :link_type | :not_ip | :tcp | :not_udp | :fragment | :snapped | :malformed
  @type address :: {:inet.ip_address(), :inet.port_number()}

  # Ethernet's numbers of protocols.
  @ipv4 0x0800
  @ipv6 0x86DD
  # IEEE 802.1Q and 802.1ad: a tag of four octets before the number.
  @tags [0x8100, 0x88A8, 0x9100]

  @doc """
  Source, destination and payload of a UDP datagram, or why there is none to be had.

  `link` is the link type's number, as the registry of pcap has it.
  """
  @spec udp(non_neg_integer, binary) :: {:ok, address, address, binary} | {:skip, skip}
  # LINKTYPE_ETHERNET
  def udp(1, <<_addresses::binary-12, type::16, rest::binary>>), do: typed(type, rest)
  # LINKTYPE_LINUX_SLL
  def udp(113, <<_head::binary-14, type::16, rest::binary>>), do: typed(type, rest)
  # LINKTYPE_LINUX_SLL2
  def udp(276, <<type::16, _head::binary-18, rest::binary>>), do: typed(type, rest)

  # LINKTYPE_NULL: the family is in the byte order of who captured. LINKTYPE_LOOP: it is in network order.
  def udp(link, <<_family::32, rest::binary>>) when link in [0, 108], do: ip(rest)
  # LINKTYPE_RAW, and what DLT_RAW is on some systems; LINKTYPE_IPV4, LINKTYPE_IPV6
  def udp(link, rest) when link in [12, 14, 101, 228, 229], do: ip(rest)
  def udp(link, _short) when link in [0, 1, 108, 113, 276], do: {:skip, :malformed}
  def udp(_link, _frame), do: {:skip, :link_type}

  defp typed(type, rest) when type in [@ipv4, @ipv6], do: ip(rest)
  defp typed(tag, <<_tag::16, type::16, rest::binary>>) when tag in @tags, do: typed(type, rest)
  defp typed(_type, _rest), do: {:skip, :not_ip}

  # The version is told by the header itself.
  defp ip(<<4::4, _rest::bits>> = packet), do: ipv4(packet)
  defp ip(<<6::4, _rest::bits>> = packet), do: ipv6(packet)
  defp ip(_packet), do: {:skip, :not_ip}

  # RFC791§3.1
  defp ipv4(
         <<4::4, words::4, _tos, total::16, _id::16, _flags::2, more::1, offset::13, _ttl,
           protocol, _checksum::16, source::binary-4, destination::binary-4, rest::binary>>
       )
       when words >= 5 do
    options = (words - 5) * 4
    # A card that cuts up what is sent leaves it to the card to write the length.
    size = if total == 0, do: byte_size(rest) - options, else: total - words * 4

    cond do
      more == 1 or offset > 0 -> {:skip, :fragment}
      protocol != 17 -> other(protocol)
      true -> rest |> drop(options) |> take(size) |> datagram(source, destination)
    end
  end

  defp ipv4(_packet), do: {:skip, :malformed}

  # RFC8200§3
  defp ipv6(
         <<6::4, _class::8, _label::20, size::16, next, _hops, source::binary-16,
           destination::binary-16, rest::binary>>
       ) do
    # Zero is a jumbogram, or again left to the card.
    size = if size == 0, do: byte_size(rest), else: size
    rest |> take(size) |> extension(next, source, destination)
  end

  defp ipv6(_packet), do: {:skip, :malformed}

  # RFC8200§4 - hop-by-hop options, routing, destination options
  defp extension(<<next, size, rest::binary>>, header, source, destination)
       when header in [0, 43, 60],
       do: rest |> drop(size * 8 + 6) |> extension(next, source, destination)

  # RFC8200§4.5, RFC6946 - one that is whole goes with a fragment header now and then
  defp extension(
         <<next, _reserved, 0::13, _::2, 0::1, _id::32, rest::binary>>,
         44,
         source,
         destination
       ),
       do: extension(rest, next, source, destination)

  defp extension(<<_fragment::binary>>, 44, _source, _destination), do: {:skip, :fragment}
  defp extension(payload, 17, source, destination), do: datagram(payload, source, destination)
  defp extension(payload, header, _, _) when is_binary(payload), do: other(header)
  defp extension(:short, _header, _source, _destination), do: {:skip, :snapped}

  # RFC768
  defp datagram(
         <<source_port::16, port::16, size::16, _checksum::16, rest::binary>>,
         source,
         destination
       )
       when size >= 8 or size == 0 do
    case take(rest, if(size == 0, do: byte_size(rest), else: size - 8)) do
      :short -> {:skip, :snapped}
      payload -> {:ok, {address(source), source_port}, {address(destination), port}, payload}
    end
  end

  defp datagram(:short, _source, _destination), do: {:skip, :snapped}
  defp datagram(_other, _source, _destination), do: {:skip, :malformed}

  defp other(6), do: {:skip, :tcp}
  defp other(_protocol), do: {:skip, :not_udp}

  # A frame may be captured in part, or have padding behind it.
  defp take(:short, _size), do: :short
  defp take(binary, size) when size in 0..byte_size(binary)//1, do: binary_part(binary, 0, size)
  defp take(_binary, _size), do: :short

  defp drop(binary, size) when size <= byte_size(binary),
    do: binary_part(binary, size, byte_size(binary) - size)

  defp drop(_binary, _size), do: :short

  defp address(<<a, b, c, d>>), do: {a, b, c, d}

  defp address(<<a::16, b::16, c::16, d::16, e::16, f::16, g::16, h::16>>),
    do: {a, b, c, d, e, f, g, h}
end
