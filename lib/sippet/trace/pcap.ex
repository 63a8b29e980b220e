defmodule Sippet.Trace.Pcap do
  @moduledoc false
  # The files that tcpdump and Wireshark write: pcap and pcapng, of either byte order. They are read packet by packet,
  # so that a big file needs no more memory than what is kept of it. A packet is given with its link type and its time,
  # and it is Sippet.Trace.Pcap.Frame that looks into it.
  #
  # draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng

  @micro 0xA1B2C3D4
  @nano 0xA1B23C4D
  @section 0x0A0D0D0A
  @byte_order 0x1A2B3C4D

  # No packet and no block is longer: a length over it is a file that is damaged.
  @longest 16_777_216

  @typedoc "`time` is in microseconds since 1970, `nil` where the file has none."
  @type packet :: {link :: non_neg_integer, time :: integer | nil, binary}

  @doc """
  Whether a file that begins like this is such a capture.
  """
  @spec capture?(binary) :: boolean
  def capture?(<<magic::32, _rest::binary>>) when magic in [@micro, @nano, @section], do: true
  def capture?(<<magic::little-32, _rest::binary>>) when magic in [@micro, @nano], do: true
  def capture?(_other), do: false

  @doc """
  Folds over the packets of a file; `fun` gets each, and `:cut_short` at last where the file ends within one.
  """
  @spec fold(Path.t(), acc, (packet | :cut_short, acc -> acc)) ::
          {:ok, acc} | {:error, String.t()}
        when acc: term
  def fold(path, acc, fun) do
    case :file.open(path, [:read, :raw, :binary, {:read_ahead, 262_144}]) do
      {:ok, file} ->
        try do
          file |> read(4) |> start(file, acc, fun)
        catch
          {:damaged, text} -> {:error, text}
        after
          :file.close(file)
        end

      {:error, reason} ->
        {:error, List.to_string(:file.format_error(reason))}
    end
  end

  defp start(<<@section::32>>, file, acc, fun), do: section(file, acc, fun)

  defp start(<<magic::32>>, file, acc, fun) when magic in [@micro, @nano],
    do: pcap(file, :big, magic, acc, fun)

  defp start(<<magic::little-32>>, file, acc, fun) when magic in [@micro, @nano],
    do: pcap(file, :little, magic, acc, fun)

  defp start(_other, _file, _acc, _fun), do: damaged("it is neither pcap nor pcapng")

  ## pcap

  defp pcap(file, order, magic, acc, fun) do
    case read(file, 20) do
      <<_version::32, _zone::32, _figures::32, _snap::32, link::binary-4>> ->
        # The upper bits tell of frame check sequences.
        link = rem(u32(link, order), 0x10000)
        records(file, {order, link, if(magic == @nano, do: 1_000, else: 1)}, acc, fun)

      _short ->
        damaged("its header is cut short")
    end
  end

  defp records(file, {order, link, divisor} = how, acc, fun) do
    case read(file, 16) do
      <<sec::binary-4, part::binary-4, size::binary-4, _original::32>> ->
        time = u32(sec, order) * 1_000_000 + div(u32(part, order), divisor)
        size = length!(u32(size, order))

        case read(file, size) do
          data when byte_size(data) == size ->
            records(file, how, fun.({link, time, data}, acc), fun)

          _short ->
            {:ok, fun.(:cut_short, acc)}
        end

      rest ->
        {:ok, ended(rest, acc, fun)}
    end
  end

  ## pcapng

  # A section says in its first block in which byte order it is written.
  defp section(file, acc, fun) do
    case read(file, 8) do
      <<size::binary-4, @byte_order::32>> -> section(file, :big, size, acc, fun)
      <<size::binary-4, @byte_order::little-32>> -> section(file, :little, size, acc, fun)
      _other -> damaged("a section begins with no byte order")
    end
  end

  defp section(file, order, size, acc, fun) do
    rest = block_length!(u32(size, order)) - 12

    case read(file, rest) do
      data when byte_size(data) == rest -> blocks(file, order, %{}, acc, fun)
      _short -> damaged("its first block is cut short")
    end
  end

  defp blocks(file, order, interfaces, acc, fun) do
    case read(file, 4) do
      <<@section::32>> -> section(file, acc, fun)
      <<type::binary-4>> -> block(file, u32(type, order), order, interfaces, acc, fun)
      rest -> {:ok, ended(rest, acc, fun)}
    end
  end

  defp block(file, type, order, interfaces, acc, fun) do
    with <<size::binary-4>> <- read(file, 4),
         rest = block_length!(u32(size, order)) - 8,
         data when byte_size(data) == rest <- read(file, rest) do
      {body, again} = :erlang.split_binary(data, rest - 4)
      if again != size, do: damaged("a block has two lengths")
      {interfaces, acc} = told(type, body, order, interfaces, acc, fun)
      blocks(file, order, interfaces, acc, fun)
    else
      # Of a block that is not there the type was.
      _short -> {:ok, fun.(:cut_short, acc)}
    end
  end

  # Interface Description Block
  defp told(
         1,
         <<link::binary-2, _reserved::16, _snap::32, options::binary>>,
         order,
         interfaces,
         acc,
         _fun
       ) do
    unit = resolution(options, order)
    {Map.put(interfaces, map_size(interfaces), {u16(link, order), unit}), acc}
  end

  # Enhanced Packet Block
  defp told(
         6,
         <<id::binary-4, time::binary-8, size::binary-4, _original::32, rest::binary>>,
         order,
         interfaces,
         acc,
         fun
       ),
       do: {interfaces, packet(u32(id, order), time, size, rest, {order, interfaces}, acc, fun)}

  # Packet Block, the older form
  defp told(
         2,
         <<id::binary-2, _drops::16, time::binary-8, size::binary-4, _original::32,
           rest::binary>>,
         order,
         interfaces,
         acc,
         fun
       ),
       do: {interfaces, packet(u16(id, order), time, size, rest, {order, interfaces}, acc, fun)}

  # Simple Packet Block
  defp told(3, <<_original::32, data::binary>>, _order, interfaces, acc, fun) do
    case interfaces do
      %{0 => {link, _unit}} -> {interfaces, fun.({link, nil, data}, acc)}
      _none -> damaged("a packet is of no interface")
    end
  end

  defp told(type, _body, _order, _interfaces, _acc, _fun) when type in [1, 2, 3, 6],
    do: damaged("a block is too short for what it is")

  defp told(_type, _body, _order, interfaces, acc, _fun), do: {interfaces, acc}

  defp packet(id, <<high::binary-4, low::binary-4>>, size, rest, {order, interfaces}, acc, fun) do
    size = u32(size, order)

    with %{^id => {link, unit}} <- interfaces,
         true <- byte_size(rest) >= size do
      data = binary_part(rest, 0, size)
      ticks = u32(high, order) * 0x1_0000_0000 + u32(low, order)
      fun.({link, div(ticks * 1_000_000, unit), data}, acc)
    else
      _other -> damaged("a packet is of no interface, or longer than its block")
    end
  end

  # if_tsresol - ticks a second: a power of ten, or with its highest bit a power of two
  defp resolution(<<code::binary-2, size::binary-2, rest::binary>>, order) do
    size = u16(size, order)
    padded = size + rem(4 - rem(size, 4), 4)

    case {u16(code, order), rest} do
      {0, _rest} -> 1_000_000
      {9, <<0::1, power::7, _rest::binary>>} when power <= 18 -> Integer.pow(10, power)
      {9, <<1::1, power::7, _rest::binary>>} when power <= 63 -> Integer.pow(2, power)
      {_other, _rest} when byte_size(rest) >= padded -> rest |> skip(padded) |> resolution(order)
      _short -> damaged("an option is longer than its block")
    end
  end

  defp resolution(_no_options, _order), do: 1_000_000

  defp skip(octets, count), do: binary_part(octets, count, byte_size(octets) - count)

  ## Octets

  defp ended(<<>>, acc, _fun), do: acc
  defp ended(_part, acc, fun), do: fun.(:cut_short, acc)

  defp read(_file, 0), do: <<>>

  defp read(file, size) do
    case :file.read(file, size) do
      {:ok, data} -> data
      :eof -> <<>>
      {:error, reason} -> damaged(List.to_string(:file.format_error(reason)))
    end
  end

  defp length!(size) when size <= @longest, do: size
  defp length!(size), do: damaged("a packet of #{size} octets")

  defp block_length!(size) when size in 12..@longest and rem(size, 4) == 0, do: size
  defp block_length!(size), do: damaged("a block of #{size} octets")

  @spec damaged(String.t()) :: no_return
  defp damaged(text), do: throw({:damaged, text})

  defp u32(octets, order), do: :binary.decode_unsigned(octets, order)
  defp u16(octets, order), do: :binary.decode_unsigned(octets, order)
end
