defmodule Sippet.NUL do
  @moduledoc false
  # A NUL can be read in quotes (RFC4475§3.1.1.2), but none is printed: what a value is once it was printed.

  @spec left_out(term) :: term
  def left_out(text) when is_binary(text), do: String.replace(text, "\0", "")
  def left_out(list) when is_list(list), do: Enum.map(list, &left_out/1)

  def left_out(%{} = map) when not is_struct(map),
    do: Map.new(map, fn {key, value} -> {key, left_out(value)} end)

  def left_out(tuple) when is_tuple(tuple),
    do: tuple |> Tuple.to_list() |> left_out() |> List.to_tuple()

  def left_out(other), do: other
end
