defmodule Sippet.Digits do
  @moduledoc false
  # Numbers in text that the network sent. `Integer.parse/1` makes a number of any size of any
  # text, in time that grows with the square of its length; here it is bounded, and nothing is
  # read behind the first octet that is too much.

  @doc """
  Returns the number that the text is: digits of the base alone, without a sign or blanks, of a
  value of at most `max`. Leading zeros are taken. Any other term is `:error`.
  """
  @spec parse(term, max :: non_neg_integer, base :: 10 | 16) :: {:ok, non_neg_integer} | :error
  def parse(text, max, base \\ 10)
  def parse(<<_, _::binary>> = text, max, base), do: read(text, 0, max, base)
  def parse(_other, _max, _base), do: :error

  defp read(_text, number, max, _base) when number > max, do: :error
  defp read(<<>>, number, _max, _base), do: {:ok, number}

  defp read(<<digit, rest::binary>>, number, max, base) when digit in ?0..?9,
    do: read(rest, number * base + digit - ?0, max, base)

  defp read(<<digit, rest::binary>>, number, max, 16) when digit in ?a..?f,
    do: read(rest, number * 16 + digit - ?a + 10, max, 16)

  defp read(<<digit, rest::binary>>, number, max, 16) when digit in ?A..?F,
    do: read(rest, number * 16 + digit - ?A + 10, max, 16)

  defp read(_other, _number, _max, _base), do: :error
end
