defmodule Sippet.Overload.FairShare do
  @moduledoc false
  # Who uses how much of a limit, and whether it may have more: in a table of fixed size, whatever the number of sources.
  #
  # A count-min sketch: a source has two counters, found by hashes, and its use is the lesser of them; only sources that
  # share both are taken for one. Hashes are salted, so that nobody can choose whom to share with. The sum of all has
  # a counter of its own.
  #
  # The share of a source is that of Choudhury and Hahne's dynamic thresholds (1998): it may hold so many times what is
  # left. While little is used nobody is held back; one that takes all it can get leaves a part free, and the more of
  # those there are, the less each may hold. The share is looked at twice, first that of the address, then that of address
  # with port within it: so neither a host with many ports nor one of many phones behind a NAT takes all.

  # Counters of a row. With one flooding source the chance to share both of its counters is one in a million.
  @width 1_024
  @bits 10

  @total 1
  @size 1 + 4 * @width

  @type t :: :counters.counters_ref()

  @typedoc "The places of the four counters of a source, as one small integer."
  @type source :: non_neg_integer

  @spec new() :: t
  def new, do: :counters.new(@size, [])

  @doc """
  The places of a source. `salt` is any term that nobody else knows.
  """
  @spec locate({term, :inet.ip_address(), :inet.port_number()}, term) :: source
  def locate({_protocol, ip, port}, salt) do
    address = :erlang.phash2([salt | network(ip)], 1_048_576)
    whole = :erlang.phash2([salt, port | network(ip)], 1_048_576)
    Bitwise.bor(Bitwise.bsl(address, 2 * @bits), whole)
  end

  # A host of IPv6 has all of its /64 to send from (RFC 4291 §2.5.4).
  defp network({a, b, c, d, _, _, _, _}), do: {a, b, c, d}
  defp network(ip), do: ip

  @doc """
  Whether a source may have one more of what is limited. `share` is how many times what is left it may hold.
  """
  @spec room?(t, source, pos_integer | :infinity, pos_integer) :: boolean
  def room?(_counters, _source, :infinity, _share), do: true

  def room?(counters, source, limit, share) do
    left = share * (limit - :counters.get(counters, @total))

    # What is left of the address's share, and by that the share of one of its ports.
    left = left - used(counters, index(source, 0), index(source, 1))
    used(counters, index(source, 2), index(source, 3)) < share * left
  end

  defp used(counters, one, other),
    do: min(:counters.get(counters, one), :counters.get(counters, other))

  @spec add(t, source, integer) :: :ok
  def add(counters, source, count) do
    :counters.add(counters, @total, count)
    :counters.add(counters, index(source, 0), count)
    :counters.add(counters, index(source, 1), count)
    :counters.add(counters, index(source, 2), count)
    :counters.add(counters, index(source, 3), count)
  end

  # Row 0 has the upper bits: rows 0 and 1 are the address's, 2 and 3 those of address with port.
  defp index(source, row) do
    place = source |> Bitwise.bsr((3 - row) * @bits) |> Bitwise.band(@width - 1)
    @total + 1 + row * @width + place
  end

  @spec total(t) :: integer
  def total(counters), do: :counters.get(counters, @total)

  @spec clear(t) :: :ok
  def clear(counters), do: Enum.each(1..@size, &:counters.put(counters, &1, 0))
end
