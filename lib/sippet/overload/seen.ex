defmodule Sippet.Overload.Seen do
  @moduledoc false
  # Whom a stack has answered with 2xx: a source, or a dialog. It is in a table of fixed size, whatever is noted.
  #
  # A slot is one word: a fingerprint, how often, and when. What is noted has two slots, by a salted hash that nobody can choose, and
  # takes the place of what was noted less often or long ago. So what strangers have noted takes no place from who comes
  # again and again. One of a million strangers is taken for another.

  import Bitwise

  # Slots, and bits of their number.
  @bits 15
  @slots 1 <<< @bits

  # A slot: 40 bits of fingerprint, 4 of the count, 20 of the minute.
  @minutes 1 <<< 20
  @most 15

  # Minutes after which nobody is remembered: two days, in which a phone registers again many times.
  @lifetime 2_880

  @type t :: :atomics.atomics_ref()

  @spec new() :: t
  def new, do: :atomics.new(@slots, signed: false)

  @doc """
  Notes it once more. `key` is any term with a secret in it.
  """
  @spec note(t, term) :: :ok
  def note(table, key) do
    {fingerprint, one, other} = places(key)
    now = now()

    case {read(table, one, now), read(table, other, now)} do
      {{^fingerprint, count, _at}, _other} -> write(table, one, fingerprint, count + 1, now)
      {_one, {^fingerprint, count, _at}} -> write(table, other, fingerprint, count + 1, now)
      {one_is, other_is} -> replace(table, {one_is, one}, {other_is, other}, fingerprint, now)
    end
  end

  # What was noted once goes before what was noted more often; that stays, however many are new.
  defp replace(table, {{_, one_count, _}, one}, {{_, other_count, _}, other}, fingerprint, now) do
    cond do
      one_count <= other_count and one_count < 2 -> write(table, one, fingerprint, 1, now)
      other_count < 2 -> write(table, other, fingerprint, 1, now)
      true -> :ok
    end
  end

  @doc """
  Whether it was noted so often.
  """
  @spec seen?(t, term, pos_integer) :: boolean
  def seen?(table, key, least) do
    {fingerprint, one, other} = places(key)
    now = now()

    Enum.any?([one, other], fn slot ->
      match?({^fingerprint, count, _at} when count >= least, read(table, slot, now))
    end)
  end

  defp places(key) do
    low = :erlang.phash2([key], 134_217_728)
    high = :erlang.phash2({key}, 134_217_728)
    # 0 stands for an empty slot.
    fingerprint = bor(low <<< 13 &&& (1 <<< 40) - 1, high >>> 14) |> max(1)
    {fingerprint, 1 + (low &&& @slots - 1), 1 + (high &&& @slots - 1)}
  end

  defp read(table, slot, now) do
    word = :atomics.get(table, slot)
    at = word &&& @minutes - 1

    if word == 0 or rem(now - at + @minutes, @minutes) > @lifetime,
      do: {0, 0, 0},
      else: {word >>> 24, word >>> 20 &&& @most, at}
  end

  defp write(table, slot, fingerprint, count, now),
    do: :atomics.put(table, slot, fingerprint <<< 24 ||| min(count, @most) <<< 20 ||| now)

  defp now, do: rem(System.monotonic_time(:second) + (1 <<< 40), 60 * @minutes) |> div(60)
end
