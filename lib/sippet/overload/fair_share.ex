defmodule Sippet.Overload.FairShare do
  @moduledoc false
  # Who uses how much of a limit, and whether it may have more: in a table of fixed size, whatever the number of sources.
  #
  # A count-min sketch: a source has two counters on each of three levels, found by hashes, and its use there is the lesser of
  # them; only sources that share both are taken for one. Hashes are salted, so that nobody can choose whom to share with. The
  # sum of all has a counter of its own.
  #
  # The share of a source is that of Choudhury and Hahne's dynamic thresholds (1998): it may hold so many times what is
  # left. While little is used nobody is held back; one that takes all it can get leaves a part free, and the more of
  # those there are, the less each may hold. The share is looked at three times: that of the network, within it that of a part, and
  # within that the least. So neither a network of many hosts, nor a host with many ports, nor one of many phones behind a
  # NAT takes all.

  # Counters of a row, in bits: of networks, which are fewer, and of the other levels. With one flooding source the chance to share
  # both of its counters is one in a million.
  @network_bits 9
  @bits 10

  @network_width Bitwise.bsl(1, @network_bits)
  @width Bitwise.bsl(1, @bits)

  @total 1
  @size 1 + 2 * @network_width + 4 * @width

  @type t :: :counters.counters_ref()

  @typedoc "The places of the six counters of a source, as one small integer."
  @type source :: non_neg_integer

  @spec new() :: t
  def new, do: :counters.new(@size, [])

  @doc """
  The places of a source. `salt` is any term that nobody else knows.
  """
  @spec locate({term, :inet.ip_address(), :inet.port_number()}, term) :: source
  def locate({_protocol, ip, port}, salt) do
    {network, part, least} = levels(ip, port)
    network = :erlang.phash2([salt | network], Bitwise.bsl(1, 2 * @network_bits))
    part = :erlang.phash2([salt | part], Bitwise.bsl(1, 2 * @bits))
    least = :erlang.phash2([salt | least], Bitwise.bsl(1, 2 * @bits))

    network
    |> Bitwise.bsl(4 * @bits)
    |> Bitwise.bor(Bitwise.bsl(part, 2 * @bits))
    |> Bitwise.bor(least)
  end

  # Of IPv4 the /24, the address, and its port. A host of IPv6 has all of its /64 to send from (RFC 4291 §2.5.4), and a site a /56 or a
  # /48 (RFC 6177).
  defp levels({a, b, c, d} = ip, port), do: {{a, b, c}, ip, {a, b, c, d, port}}

  defp levels({a, b, c, d, _, _, _, _}, _port),
    do: {{a, b, c}, {a, b, c, Bitwise.bsr(d, 8)}, {a, b, c, d}}

  @doc """
  Whether a source may have one more of what is limited. `share` is how many times what is left it may hold.
  """
  @spec room?(t, source, pos_integer | :infinity, pos_integer) :: boolean
  def room?(_counters, _source, :infinity, _share), do: true

  def room?(counters, source, limit, share) do
    left = share * (limit - :counters.get(counters, @total))
    {one, other} = network(source)
    # What is left of the network's share, and by that the share of a part, and so on.
    left = share * (left - used(counters, one, other))
    {one, other} = part(source)
    left = share * (left - used(counters, one, other))
    {one, other} = least(source)
    used(counters, one, other) < left
  end

  defp used(counters, one, other),
    do: min(:counters.get(counters, one), :counters.get(counters, other))

  @spec add(t, source, integer) :: :ok
  def add(counters, source, count) do
    :counters.add(counters, @total, count)
    add_both(counters, network(source), count)
    add_both(counters, part(source), count)
    add_both(counters, least(source), count)
  end

  defp add_both(counters, {one, other}, count) do
    :counters.add(counters, one, count)
    :counters.add(counters, other, count)
  end

  # The counters of each level: two rows, of a place in each.
  defp network(source) do
    place = Bitwise.bsr(source, 4 * @bits)
    one = 2 + Bitwise.bsr(place, @network_bits)
    {one, 2 + @network_width + Bitwise.band(place, @network_width - 1)}
  end

  defp part(source), do: rows(Bitwise.bsr(source, 2 * @bits), 2 + 2 * @network_width)
  defp least(source), do: rows(source, 2 + 2 * @network_width + 2 * @width)

  defp rows(place, first) do
    one = place |> Bitwise.bsr(@bits) |> Bitwise.band(@width - 1)
    {first + one, first + @width + Bitwise.band(place, @width - 1)}
  end

  @spec total(t) :: integer
  def total(counters), do: :counters.get(counters, @total)

  @spec clear(t) :: :ok
  def clear(counters), do: Enum.each(1..@size, &:counters.put(counters, &1, 0))
end
