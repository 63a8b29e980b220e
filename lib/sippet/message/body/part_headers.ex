defmodule Sippet.Message.Body.PartHeaders do
  @moduledoc false
  # The headers of a part of a multipart body, in the form of a message's. None is essential here:
  # what is malformed degrades to raw lines.

  alias Sippet.Headers
  alias Sippet.Headers.Table

  # Parts in the field have five at most.
  @most 128

  @doc """
  How many header lines a part may have.
  """
  @spec most() :: pos_integer
  def most, do: @most

  @doc """
  The headers at the beginning of a part and the content behind their empty line, or the headers
  alone where there is no such line.
  """
  @spec parse(binary) ::
          {:ok, map, rest :: binary}
          | {:headers, map}
          | {:error, :malformed_header | :too_many_headers}
  def parse(part) do
    with {:ok, ending, lines} <- lines(part, 0, []) do
      headers = lines |> Enum.reverse() |> group() |> Map.new(&typed/1)

      case ending do
        :none -> {:headers, headers}
        at -> {:ok, headers, binary_part(part, at, byte_size(part) - at)}
      end
    end
  end

  defp lines(_part, _at, lines) when length(lines) > @most, do: {:error, :too_many_headers}
  defp lines(part, at, lines) when at == byte_size(part), do: {:ok, :none, lines}

  defp lines(part, at, lines) do
    {line, next} = line(part, at)

    case read(line, lines) do
      :empty -> {:ok, next, lines}
      :malformed -> {:error, :malformed_header}
      lines -> lines(part, next, lines)
    end
  end

  # A line without its end, and where the next one starts.
  defp line(part, at) do
    case :binary.match(part, "\n", scope: {at, byte_size(part) - at}) do
      {lf, 1} -> {part |> binary_part(at, lf - at) |> without_cr(), lf + 1}
      :nomatch -> {binary_part(part, at, byte_size(part) - at), byte_size(part)}
    end
  end

  defp without_cr(line) do
    if line != "" and :binary.last(line) == ?\r,
      do: binary_part(line, 0, byte_size(line) - 1),
      else: line
  end

  defp read("", _lines), do: :empty

  # RFC5322§2.2.3 - a line that begins with a blank goes on with the one before
  defp read(<<c, _rest::binary>> = line, lines) when c in [?\s, ?\t] do
    case lines do
      [{name, value} | lines] -> put(name, [value, ?\s, trim(line)], line, lines)
      [] -> :malformed
    end
  end

  defp read(line, lines) do
    with [name, value] <- :binary.split(line, ":"),
         name = trim(name),
         true <- token?(name) do
      put(name, trim(value), line, lines)
    else
      _malformed -> :malformed
    end
  end

  # What printing would refuse. Any other octet is left to the header's own grammar.
  defp put(name, value, line, lines) do
    case :binary.match(line, ["\0", "\r"]) do
      :nomatch -> [{name, value} | lines]
      _found -> :malformed
    end
  end

  # RFC3261§25.1 - header-name = token
  defp token?(<<c, rest::binary>>)
       when c in ?a..?z or c in ?A..?Z or c in ?0..?9 or c in ~c"-.!%*_+`'~",
       do: rest == "" or token?(rest)

  defp token?(_other), do: false

  defp trim(<<c, rest::binary>>) when c in [?\s, ?\t], do: trim(rest)
  defp trim(text), do: trim_end(text, byte_size(text) - 1)

  defp trim_end(text, last) do
    if last >= 0 and :binary.at(text, last) in [?\s, ?\t],
      do: trim_end(text, last - 1),
      else: binary_part(text, 0, last + 1)
  end

  # RFC3261§7.3.1 - lines of one name in any letter case are one header, spelled as its first line
  defp group(lines) do
    Enum.reduce(lines, %{}, fn {name, value}, headers ->
      name = Headers.canonical_name(name)
      # A copy, as the line is a part of the message and would keep it in memory.
      value = value |> IO.iodata_to_binary() |> trim() |> :binary.copy()

      Map.update(headers, String.downcase(name, :ascii), {name, [value]}, fn {first, values} ->
        {first, [value | values]}
      end)
    end)
  end

  defp typed({_folded, {name, values}}) do
    values = Enum.reverse(values)

    with %{key: key, shape: shape} when key != nil and shape != :raw <- Table.find(name),
         {:ok, value} <- Headers.parse(name, values) do
      {key, value}
    else
      _raw -> {name, values}
    end
  end
end
