defmodule Sippet.Message.Typed do
  @moduledoc false
  # Headers as values of their shapes, whether they stand in the message typed or as raw lines.

  alias Sippet.Headers
  alias Sippet.Headers.Table
  alias Sippet.Message.HeaderMap
  alias Sippet.ParseError
  alias Sippet.Serializer

  # Shapes of which one value is text.
  @text [:text, :token, :call_id]

  @doc """
  The typed value of the header, `:error` where the message has none.
  """
  @spec fetch(map, atom | String.t()) :: {:ok, term} | :error | {:error, ParseError.t()}
  def fetch(headers, header) do
    row = row!(header)

    case find(headers, row) do
      {:typed, value} -> {:ok, value}
      {:text, lines} -> Headers.parse(row.name, lines)
      :error -> :error
    end
  end

  @doc """
  The elements of a list header that can be used, and the text of those that are malformed;
  `:error` where the message has no such header.
  """
  @spec each(map, atom | String.t()) :: {:ok, good :: [term], bad :: [binary]} | :error
  def each(headers, header) do
    row = row!(header)

    case find(headers, row) do
      {:typed, value} ->
        {:ok, List.wrap(value), []}

      {:text, lines} ->
        {good, bad} = Headers.parse_each(row.name, lines)
        {:ok, good, for({text, _error} <- bad, do: text)}

      :error ->
        :error
    end
  end

  defp find(headers, %{key: key} = row) when is_map_key(headers, key) and key != nil do
    case Map.fetch!(headers, key) do
      # A program may put text under an atom.
      text when is_binary(text) -> if value?(row, text), do: {:typed, text}, else: {:text, text}
      value -> {:typed, value}
    end
  end

  defp find(headers, row) do
    case HeaderMap.fetch(headers, row.name) do
      {:ok, [_ | _] = lines} ->
        if Enum.all?(lines, &is_binary/1), do: {:text, lines}, else: {:typed, lines}

      {:ok, text} when is_binary(text) ->
        {:text, text}

      none when none in [:error, {:ok, []}] ->
        :error

      {:ok, value} ->
        {:typed, value}
    end
  end

  defp value?(%{shape: :contact}, text), do: text == "*"
  defp value?(%{shape: shape, repeat: repeat}, _text), do: repeat == :one and shape in @text

  @doc """
  The headers with the value in place of the header, in the form in which the parser leaves it.
  """
  @spec put(map, atom | String.t(), term) :: map
  def put(headers, header, value) do
    row = row!(header)
    text = print(row, value)

    if row.key,
      do: HeaderMap.put(headers, row.key, value),
      else: HeaderMap.put(headers, row.name, [text])
  end

  # RFC3261§7.3.1 - several values of an authentication header stand on lines of their own
  defp print(%{repeat: :lines} = row, [_, _ | _] = values),
    do: Enum.each(values, &Serializer.value(row, [&1]))

  defp print(row, value), do: Serializer.value(row, value)

  defp row!(header) do
    case row(header) do
      %{shape: shape} = row when shape != :raw ->
        row

      _ ->
        raise ArgumentError, "the header #{inspect(header)} has no shape but its raw text"
    end
  end

  defp row(key) when is_atom(key) do
    with name when name != nil <- Table.name(key), do: Table.find(name)
  end

  defp row(name) when is_binary(name), do: Table.find(name)
end
