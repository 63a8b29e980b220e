defmodule Sippet.Captures do
  @moduledoc false
  # Builds captures, from the datagram to the file.

  @start 1_000_000_000

  def options(call_id) do
    "OPTIONS sip:b@biloxi.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\n" <>
      "To: <sip:b@h>\r\nCall-ID: #{call_id}\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\n\r\n"
  end

  @doc """
  From port 5060 to port 5070.
  """
  def udp(payload), do: <<5060::16, 5070::16, byte_size(payload) + 8::16, 0::16, payload::binary>>

  @doc """
  From 192.0.2.1 to 192.0.2.2. The checksum, which nobody looks at, is 0.
  """
  def ipv4(payload, options \\ []) do
    more = Keyword.get(options, :options, <<>>)
    head = 20 + byte_size(more)
    protocol = Keyword.get(options, :protocol, 17)
    fragment = Keyword.get(options, :fragment, 0)

    <<4::4, div(head, 4)::4, 0, head + byte_size(payload)::16, 1::16, fragment::16, 64, protocol,
      0::16, 192, 0, 2, 1, 192, 0, 2, 2, more::binary, payload::binary>>
  end

  @doc """
  From 2001:db8::1 to 2001:db8::2.
  """
  def ipv6(payload, options \\ []) do
    next = Keyword.get(options, :next, 17)

    <<6::4, 0::28, byte_size(payload)::16, next, 64, 0x20010DB8::32, 1::96, 0x20010DB8::32, 2::96,
      payload::binary>>
  end

  @doc """
  A file of frames, a second between each two, with a microsecond more.
  """
  def pcap(link, frames, options \\ []) do
    order = Keyword.get(options, :order, :little)
    {magic, part} = if options[:unit] == :nano, do: {0xA1B23C4D, 1_999}, else: {0xA1B2C3D4, 1}

    records =
      for {frame, index} <- Enum.with_index(frames) do
        size = u32(byte_size(frame), order)
        [u32(@start + index, order), u32(part, order), size, size, frame]
      end

    [
      u32(magic, order),
      u16(2, order),
      u16(4, order),
      u32(0, order),
      u32(0, order),
      u32(65_535, order),
      u32(link, order) | records
    ]
    |> IO.iodata_to_binary()
  end

  @doc """
  The same as a section of pcapng, with one interface. Its unit of time, if it is another than a microsecond, is
  `:resolution`, and `:ticks` the time of all packets.
  """
  def pcapng(link, frames, options \\ []) do
    order = Keyword.get(options, :order, :little)

    resolution =
      case options[:resolution] do
        nil ->
          <<>>

        code ->
          [
            u16(2, order),
            u16(1, order),
            "x",
            0,
            0,
            0,
            u16(9, order),
            u16(1, order),
            code,
            0,
            0,
            0,
            u32(0, order)
          ]
      end

    packets =
      for {frame, index} <- Enum.with_index(frames) do
        ticks = Keyword.get(options, :ticks, (@start + index) * 1_000_000 + 1)
        size = u32(byte_size(frame), order)
        time = [u32(div(ticks, 0x1_0000_0000), order), u32(rem(ticks, 0x1_0000_0000), order)]
        block(6, [u32(0, order), time, size, size, padded(frame), u32(0, order)], order)
      end

    section =
      block(0x0A0D0D0A, [u32(0x1A2B3C4D, order), u16(1, order), u16(0, order), <<-1::64>>], order)

    interface = block(1, [u16(link, order), u16(0, order), u32(65_535, order), resolution], order)
    IO.iodata_to_binary([section, interface, packets])
  end

  def block(type, body, order \\ :little) do
    body = body |> IO.iodata_to_binary() |> padded()
    size = u32(byte_size(body) + 12, order)
    IO.iodata_to_binary([u32(type, order), size, body, size])
  end

  defp padded(octets) when rem(byte_size(octets), 4) == 0, do: octets
  defp padded(octets), do: padded(octets <> <<0>>)

  defp u32(number, :big), do: <<number::32>>
  defp u32(number, :little), do: <<number::little-32>>
  defp u16(number, :big), do: <<number::16>>
  defp u16(number, :little), do: <<number::little-16>>
end
