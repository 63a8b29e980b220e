defmodule Sippet.WireText.Cut do
  @moduledoc false
  # Cuts the value of a header at its commas or semicolons, but for those in quotes and brackets. Put together
  # again the pieces are the value, so that cutting alone hides no difference.

  alias Sippet.WireText

  @with_params ~w(via address route contact media token_params uri_params retry_after)a

  @doc """
  One entry for each value of a list; `comma` is between them.
  """
  @spec list(WireText.entry(), binary) :: [WireText.entry()]
  # RFC3261§7.3.1 - the values of the authentication headers have commas of their own and stand one a line.
  def list({_name, %{repeat: repeat, shape: shape}, _value, []} = entry, _comma)
      when repeat == :one or shape == :auth,
      do: [entry]

  def list({_name, nil, _value, []} = entry, _comma), do: [entry]

  def list({name, row, value, []}, comma) do
    for value <- pieces(value, comma), do: {name, row, value, []}
  end

  @doc """
  The entry with the parameters apart from the value; `comma` is between those of credentials and challenges.
  """
  @spec params(WireText.entry(), binary) :: WireText.entry()
  def params({name, %{shape: shape} = row, value, []}, _comma) when shape in @with_params do
    [value | params] = pieces(value, ";")
    {name, row, value, params}
  end

  def params({name, %{shape: :auth} = row, value, []}, comma) do
    case :binary.split(value, [" ", "\t"]) do
      [scheme, params] -> {name, row, scheme, pieces(params, comma)}
      [scheme] -> {name, row, scheme, []}
    end
  end

  def params({name, %{shape: :auth_info} = row, value, []}, comma),
    do: {name, row, "", pieces(value, comma)}

  def params(entry, _comma), do: entry

  @doc """
  The pieces of a text between separators that stand outside of quotes and brackets.
  """
  @spec pieces(binary, binary) :: [binary]
  def pieces(text, separator) do
    case :binary.match(text, separator) do
      :nomatch -> [text]
      _found -> pieces(text, separator, :outside, "", [])
    end
  end

  defp pieces("", _separator, _place, piece, done), do: Enum.reverse([piece | done])

  defp pieces(<<?\\, octet, rest::binary>>, separator, :quotes, piece, done),
    do: pieces(rest, separator, :quotes, <<piece::binary, ?\\, octet>>, done)

  defp pieces(<<?\\, octet, rest::binary>>, separator, :quotes_in_brackets, piece, done),
    do: pieces(rest, separator, :quotes_in_brackets, <<piece::binary, ?\\, octet>>, done)

  defp pieces(<<?", rest::binary>>, separator, :quotes_in_brackets, piece, done),
    do: pieces(rest, separator, :brackets, <<piece::binary, ?">>, done)

  defp pieces(<<?", rest::binary>>, separator, :brackets, piece, done),
    do: pieces(rest, separator, :quotes_in_brackets, <<piece::binary, ?">>, done)

  defp pieces(<<?", rest::binary>>, separator, :quotes, piece, done),
    do: pieces(rest, separator, :outside, <<piece::binary, ?">>, done)

  defp pieces(<<?>, rest::binary>>, separator, :brackets, piece, done),
    do: pieces(rest, separator, :outside, <<piece::binary, ?>>>, done)

  defp pieces(<<?", rest::binary>>, separator, :outside, piece, done),
    do: pieces(rest, separator, :quotes, <<piece::binary, ?">>, done)

  defp pieces(<<?<, rest::binary>>, separator, :outside, piece, done),
    do: pieces(rest, separator, :brackets, <<piece::binary, ?<>>, done)

  defp pieces(text, separator, :outside, piece, done) do
    if String.starts_with?(text, separator) do
      rest = binary_part(text, byte_size(separator), byte_size(text) - byte_size(separator))
      pieces(rest, separator, :outside, "", [piece | done])
    else
      <<octet, rest::binary>> = text
      pieces(rest, separator, :outside, <<piece::binary, octet>>, done)
    end
  end

  defp pieces(<<octet, rest::binary>>, separator, place, piece, done),
    do: pieces(rest, separator, place, <<piece::binary, octet>>, done)
end
