defmodule Sippet.URI.Escape do
  @moduledoc false
  # The "%" HEX HEX escapes of RFC3261§19.1.2: octet by octet, one layer at a time, and without failing on what is
  # no escape; and the parameters and headers that are escaped by them.

  @hex ~c"0123456789ABCDEF"

  # RFC2396§2.2 - escaped or not, these don't mean the same
  defguardp is_reserved(c)
            when c in [?;, ?/, ??, ?:, ?@, ?&, ?=, ?+, ?$, ?,, ?%]

  @doc """
  Escapes each octet of which `keep?` is false.
  """
  @spec escape(binary, (byte -> boolean)) :: binary
  def escape(text, keep?) do
    for <<octet <- text>>, into: <<>> do
      if keep?.(octet), do: <<octet>>, else: escaped(octet)
    end
  end

  @doc """
  Whether an octet is in the class "unreserved" of RFC 3261 §25.1.
  """
  @spec unreserved?(byte) :: boolean
  def unreserved?(octet) when octet in ?a..?z or octet in ?A..?Z or octet in ?0..?9, do: true
  def unreserved?(octet), do: octet in ~c"-_.!~*'()"

  @doc """
  Takes one layer of escapes off. A "%" that starts no escape stays as it is.
  """
  @spec unescape(binary) :: binary
  def unescape(text), do: unescape(text, <<>>, fn _octet -> true end)

  @doc """
  The form that two equal texts share: what needs no escape has none, what keeps one has upper-case digits.
  """
  # RFC3261§19.1.4 - characters other than those in the "reserved" set are equivalent to their escapes
  @spec normalize(binary) :: binary
  def normalize(text), do: unescape(text, <<>>, fn octet -> not is_reserved(octet) end)

  @doc """
  The names and values of a URI's parameters or headers, `nil` for one without a value, each as `decode` makes it.

  A value in quotes has no escapes: it comes without its quotes, as it is.
  """
  @spec pairs(binary, binary, (binary -> binary)) :: [{binary, binary | nil}]
  def pairs(text, separator, decode) do
    for part <- parts(text, separator), part != "" do
      case :binary.split(part, "=") do
        [name, <<?", quoted::binary>>] -> {decode.(name), unquote_text(quoted, <<>>)}
        [name, value] -> {decode.(name), decode.(value)}
        [name] -> {decode.(name), nil}
      end
    end
  end

  defp parts(text, separator) do
    case :binary.match(text, "\"") do
      :nomatch -> :binary.split(text, separator, [:global])
      _quote -> quoted_parts(text, separator, false, <<>>)
    end
  end

  defp quoted_parts(<<?\\, octet, rest::binary>>, separator, true, part),
    do: quoted_parts(rest, separator, true, <<part::binary, ?\\, octet>>)

  defp quoted_parts(<<?", rest::binary>>, separator, quoted?, part),
    do: quoted_parts(rest, separator, not quoted?, <<part::binary, ?">>)

  defp quoted_parts(<<octet, rest::binary>>, <<octet>> = separator, false, part),
    do: [part | quoted_parts(rest, separator, false, <<>>)]

  defp quoted_parts(<<octet, rest::binary>>, separator, quoted?, part),
    do: quoted_parts(rest, separator, quoted?, <<part::binary, octet>>)

  defp quoted_parts(<<>>, _separator, _quoted?, part), do: [part]

  defp unquote_text(<<?\\, octet, rest::binary>>, text),
    do: unquote_text(rest, <<text::binary, octet>>)

  defp unquote_text(<<?", _rest::binary>>, text), do: text

  defp unquote_text(<<octet, rest::binary>>, text),
    do: unquote_text(rest, <<text::binary, octet>>)

  defp unquote_text(<<>>, text), do: text

  defp unescape(<<?%, a, b, rest::binary>>, acc, plain?) do
    case octet(a, b) do
      nil -> unescape(<<a, b, rest::binary>>, <<acc::binary, ?%>>, plain?)
      octet -> unescape(rest, <<acc::binary, piece(octet, plain?)::binary>>, plain?)
    end
  end

  defp unescape(<<octet, rest::binary>>, acc, plain?),
    do: unescape(rest, <<acc::binary, octet>>, plain?)

  defp unescape(<<>>, acc, _plain?), do: acc

  defp piece(octet, plain?), do: if(plain?.(octet), do: <<octet>>, else: escaped(octet))

  defp octet(a, b) do
    with a when a != nil <- digit(a), b when b != nil <- digit(b), do: a * 16 + b
  end

  defp digit(c) when c in ?0..?9, do: c - ?0
  defp digit(c) when c in ?A..?F, do: c - ?A + 10
  defp digit(c) when c in ?a..?f, do: c - ?a + 10
  defp digit(_c), do: nil

  for {high, i} <- Enum.with_index(@hex), {low, j} <- Enum.with_index(@hex) do
    defp escaped(unquote(i * 16 + j)), do: unquote(<<?%, high, low>>)
  end
end
