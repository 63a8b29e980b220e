defmodule Sippet.Serializer do
  @moduledoc false
  # Headers to iodata: which order, which line, which shape. The lines come in the order that people
  # and proxies read: routing first, what describes the body last (RFC3261§7.3.1). Within a rank the name decides, so
  # that the same headers always give the same text.

  alias Sippet.Headers.Table
  alias Sippet.Octets
  alias Sippet.Serializer.Shape

  # RFC3261§7.3.1 - header fields that proxies need appear toward the top
  @first ~w(Via Route Record-Route Max-Forwards From To Call-ID CSeq Contact)
  @last ~w(MIME-Version Content-Disposition Content-Encoding Content-Language Content-Type)

  # One line per value: a Via or Route that was added or taken off is then a line that was added or taken off.
  # RFC3261§7.3.1 - the values of the four authentication headers must not be combined
  @line_each [:via, :route, :auth]

  # Typed headers have their rank below this, or above.
  @raw_rank 500

  @typed Enum.filter(Table.rows(), &(&1.key != nil and &1.key != :content_length))

  @doc """
  The header section of a message. A line end stands before each line, and none behind the last.

  Content-Length is always made of `body_size`, in octets; what stands in `headers` for it is passed over.
  """
  @spec headers(%{(atom | String.t()) => term}, non_neg_integer) :: iodata
  def headers(headers, body_size) when is_map(headers) do
    {typed, raw} = split(pairs(headers), [], [])
    [lines(typed, raw), "\r\nContent-Length: ", Integer.to_string(body_size)]
  end

  # Small maps come in the order of their keys, large ones in none.
  defp pairs(headers) when map_size(headers) <= 32, do: :maps.to_list(headers)
  defp pairs(headers), do: headers |> :maps.to_list() |> :lists.sort()

  # Typed headers by falling rank, raw ones by falling name.
  defp split([{:content_length, _value} | rest], typed, raw), do: split(rest, typed, raw)

  defp split([{key, value} | rest], typed, raw) when is_atom(key),
    do: split(rest, insert(rank(key), key, value, typed), raw)

  defp split([{key, value} | rest], typed, raw) when is_binary(key),
    do: split(rest, typed, [{key, value} | raw])

  defp split([], typed, raw), do: {typed, raw}

  defp split([{key, _value} | _rest], _typed, _raw),
    do: raise(ArgumentError, "a header name is an atom or a string, got: #{inspect(key)}")

  # A sorted list beats sorting: in a map the middle ranks come in their order already.
  defp insert(rank, key, value, [{other, _key, _value} = first | rest]) when rank < other,
    do: [first | insert(rank, key, value, rest)]

  defp insert(rank, key, value, typed), do: [{rank, key, value} | typed]

  # The raw headers stand before the last ranks.
  defp lines(typed, raw), do: lines(typed, raw, [])

  defp lines([{rank, key, value} | rest], raw, acc) when rank > @raw_rank,
    do: lines(rest, raw, [typed(key, value) | acc])

  defp lines(typed, [{name, value} | rest], acc),
    do: lines(typed, rest, [raw_lines(name, value) | acc])

  defp lines([{_rank, key, value} | rest], [], acc),
    do: lines(rest, [], [typed(key, value) | acc])

  defp lines([], [], acc), do: acc

  @doc """
  The value of one header as it stands behind its name, in one line.
  """
  @spec value(Table.row(), term) :: iodata
  def value(%{shape: :contact, name: name}, "*"), do: Shape.contact("*", name)
  def value(%{repeat: :one, shape: shape, name: name}, value), do: Shape.print(shape, value, name)

  def value(%{shape: :auth, name: name}, [_, _ | _]) do
    raise ArgumentError, "cannot print #{name}: its values must stand on lines of their own"
  end

  def value(%{repeat: :list0}, []), do: []

  def value(%{shape: shape, name: name}, [first | rest]),
    do: [Shape.print(shape, first, name) | joined(rest, shape, name)]

  def value(%{shape: shape, name: name}, value), do: Shape.refuse!(shape, value, name)

  # The lists of most elements, and the simplest ones.
  defp joined([value | rest], :token, name),
    do: [", ", Octets.token!(value, name) | joined(rest, :token, name)]

  defp joined([value | rest], shape, name),
    do: [", ", Shape.print(shape, value, name) | joined(rest, shape, name)]

  defp joined([], _shape, _name), do: []

  for {%{key: key, name: name}, index} <- Enum.with_index(@typed) do
    rank =
      cond do
        name in @first -> Enum.find_index(@first, &(&1 == name))
        name in @last -> @raw_rank + 1 + Enum.find_index(@last, &(&1 == name))
        true -> length(@first) + index
      end

    defp rank(unquote(key)), do: unquote(rank)
  end

  defp rank(key) do
    raise ArgumentError,
          "#{inspect(key)} is no typed header; any other header is named by a string"
  end

  for %{key: key, name: name, shape: shape, repeat: repeat} = row <- @typed do
    print = if shape == :route, do: :address, else: shape

    cond do
      repeat == :one ->
        defp typed(unquote(key), value),
          do: [unquote("\r\n#{name}: ") | Shape.unquote(print)(value, unquote(name))]

      shape in @line_each ->
        defp typed(unquote(key), values),
          do:
            line_each(
              values,
              unquote("\r\n#{name}: "),
              &(Shape.unquote(print) / 2),
              unquote(name)
            )

      true ->
        if repeat in [:list, :lines], do: defp(typed(unquote(key), []), do: [])

        defp typed(unquote(key), value),
          do: [unquote("\r\n#{name}: ") | value(unquote(Macro.escape(row)), value)]
    end
  end

  defp line_each([value | rest], prefix, print, name),
    do: [prefix, print.(value, name) | line_each(rest, prefix, print, name)]

  defp line_each([], _prefix, _print, _name), do: []

  defp line_each(value, _prefix, _print, name) do
    raise ArgumentError, "cannot print #{name}: expected a list, got: #{inspect(value)}"
  end

  # "Content-Length" and "l" are 14 octets and one; no other name needs the look into the table.
  defp raw_lines(name, value) when byte_size(name) in [1, 14] do
    case Table.find(name) do
      %{key: :content_length} -> []
      _ -> raw(value, Octets.token!(name, "a header name"))
    end
  end

  defp raw_lines(name, value), do: raw(value, Octets.token!(name, "a header name"))

  defp raw(line, name) when is_binary(line), do: ["\r\n", name, ": " | Octets.text!(line, name)]

  defp raw([line | rest], name) when is_binary(line),
    do: ["\r\n", name, ": ", Octets.text!(line, name) | raw(rest, name)]

  defp raw([], _name), do: []

  defp raw(value, name) do
    raise ArgumentError,
          "cannot print #{name}: expected raw text or a list of it, got: #{inspect(value)}"
  end
end
