defmodule Sippet.Trace.HEP.Packet do
  @moduledoc false
  # A message as a packet of HEP version 3 (EEP), as sipcapture.org's HEP3 revision 12 has it: "HEP3", the length of the
  # whole, and chunks of vendor, type, length and value. All numbers are in network order, and lengths include their own
  # headers.

  alias Sippet.Names
  alias Sippet.Trace.Entry

  # The generic vendor.
  @vendor 0

  # As on Linux, whatever the system here calls them.
  @ipv4 2
  @ipv6 10

  # IANA's numbers of protocols over IP
  @carriers %{tcp: 6, udp: 17, dccp: 33, sctp: 132}

  # Protocol type 1 is SIP.
  @sip 1

  # What UDP over IPv4 carries at most.
  @longest 65_507

  @type option :: %{
          capture_id: non_neg_integer,
          auth_key: String.t() | nil,
          address: :inet.ip_address() | nil
        }

  @doc """
  A packet; `:error` where it would be longer than a datagram.
  """
  @spec encode(Entry.t(), option) :: {:ok, binary} | :error
  def encode(%Entry{} = entry, options) do
    {family, source, destination} = hosts(entry, options.address)

    chunks = [
      chunk(1, <<family>>),
      chunk(2, <<protocol(entry.protocol)>>),
      chunk(if(family == @ipv4, do: 3, else: 5), source),
      chunk(if(family == @ipv4, do: 4, else: 6), destination),
      chunk(7, <<port(entry.source)::16>>),
      chunk(8, <<port(entry.destination)::16>>),
      chunk(9, <<div(entry.time, 1_000_000)::32>>),
      chunk(10, <<rem(entry.time, 1_000_000)::32>>),
      chunk(11, <<@sip>>),
      chunk(12, <<options.capture_id::32>>),
      text(14, options.auth_key),
      chunk(15, entry.octets),
      text(17, entry.call_id)
    ]

    size = IO.iodata_length(chunks) + 6

    if size <= @longest,
      do: {:ok, IO.iodata_to_binary(["HEP3", <<size::16>>, chunks])},
      else: :error
  end

  # A value over the length makes the packet too long, and is not sent.
  defp chunk(type, value), do: [<<@vendor::16, type::16, byte_size(value) + 6::16>>, value]

  defp text(_type, nil), do: []
  defp text(type, text), do: chunk(type, text)

  defp protocol(protocol), do: Map.fetch!(@carriers, Names.carrier(protocol))

  defp port({_host, port}), do: port || 0

  ## Addresses: both are of one family. A name has none yet, and is told as the unspecified address, as is one that is not known.

  defp hosts(%Entry{source: {source, _}, destination: {destination, _}}, own) do
    source = source |> known(own)
    destination = destination |> known(own)

    if tuple_size(source || destination || {0, 0, 0, 0}) == 8 or
         tuple_size(destination || source || {0, 0, 0, 0}) == 8,
       do: {@ipv6, v6(source), v6(destination)},
       else: {@ipv4, v4(source), v4(destination)}
  end

  # What listens at every address is told as the one that was given for it.
  defp known(ip, own) when ip in [{0, 0, 0, 0}, {0, 0, 0, 0, 0, 0, 0, 0}], do: own || ip
  defp known(ip, _own) when is_tuple(ip), do: ip
  defp known("local", own), do: own
  defp known(_name, _own), do: nil

  defp v4(nil), do: <<0::32>>
  defp v4({a, b, c, d}), do: <<a, b, c, d>>

  defp v6(nil), do: <<0::128>>
  defp v6({0, 0, 0, 0}), do: <<0::128>>
  # RFC4291§2.5.5.2
  defp v6({a, b, c, d}), do: <<0::80, 0xFFFF::16, a, b, c, d>>

  defp v6({a, b, c, d, e, f, g, h}),
    do: <<a::16, b::16, c::16, d::16, e::16, f::16, g::16, h::16>>
end
