defmodule Sippet.Log.Redaction do
  @moduledoc false
  # Takes out of texts and terms what must not stand in a log: credentials, and control characters.
  #
  # Texts and terms are the network's and the core's: of neither more is looked at than a bounded part.

  # Bytes of a text that are looked at.
  @looked_at 4_096

  # Parts of a term that are kept; so many bytes of a text are another one.
  @most_parts 1_000
  @part 64

  @hidden "[hidden]"

  ## Text

  @doc """
  Returns a text of one line without credentials.

      iex> Sippet.Log.Redaction.text("Subject: a\\r\\nAuthorization: Digest username=\\"bob\\"\\r\\nTo: b")
      ~S(Subject: a\\r\\nAuthorization: [hidden]\\r\\nTo: b)
  """
  @spec text(iodata) :: String.t()
  def text(text) do
    text |> IO.iodata_to_binary() |> beginning() |> escape() |> hide()
  end

  defp beginning(text), do: binary_part(text, 0, min(byte_size(text), @looked_at))

  @doc """
  Returns a text with its control characters and the octets that are not UTF-8 escaped.

      iex> Sippet.Log.Redaction.escape("a\\e[2J\\r\\n" <> <<255>>)
      ~S(a\\x1B[2J\\r\\n\\xFF)
  """
  @spec escape(binary) :: String.t()
  def escape(text), do: escape(text, [])

  defp escape(<<?\r, rest::binary>>, done), do: escape(rest, [done | "\\r"])
  defp escape(<<?\n, rest::binary>>, done), do: escape(rest, [done | "\\n"])
  defp escape(<<?\t, rest::binary>>, done), do: escape(rest, [done | "\\t"])

  # Those of Unicode end lines too, or turn the direction of writing.
  defp escape(<<char::utf8, rest::binary>>, done)
       when char < 0x20 or char in 0x7F..0x9F or char in 0x200B..0x200F or
              char in 0x2028..0x202E or char in 0x2060..0x2069 or char == 0xFEFF,
       do: escape(rest, [done | escaped(char)])

  defp escape(<<char::utf8, rest::binary>>, done), do: escape(rest, [done | <<char::utf8>>])
  defp escape(<<octet, rest::binary>>, done), do: escape(rest, [done | escaped(octet)])
  defp escape(<<>>, done), do: IO.iodata_to_binary(done)

  defp escaped(char) when char < 0x100, do: "\\x" <> Base.encode16(<<char>>)
  defp escaped(char), do: "\\u" <> Base.encode16(<<char::16>>)

  # Of a header all of its line, also where that is folded; in a term that was printed, all that follows. What is escaped
  # has its line ends as `\\r\\n`.
  defp hide(text) do
    text
    |> replace(~r/(authorization\\?["']?\s*(?::|=>|,))(?:(?!\\r|\\n).|(?:\\r)?\\n[ \t])*+/iu)
    |> replace(~r/(\bdigest\s+)\w+\s*=(?:(?!\\r|\\n).|(?:\\r)?\\n[ \t])*+/iu)
    |> replace(~r/(\b(?:basic|bearer)\s+)[A-Za-z0-9+\/=._~-]{8,}/iu)
    |> replace(~r/(\b(?:response|password)\\?"?\s*(?:=>?|:)\s*)\\?"?[^\s,;"\\]+\\?"?/iu)
    |> String.replace(~r/(\bsips?:[^\s:@;>]{0,256}+:)[^\s@>]{1,256}@/iu, "\\1#{@hidden}@")
  end

  defp replace(text, pattern), do: String.replace(text, pattern, "\\1 #{@hidden}")

  @doc """
  Returns the beginning of a text, of at most so many bytes.

      iex> Sippet.Log.Redaction.cut("größer als es sein darf", 8)
      "grö..."
  """
  @spec cut(String.t(), pos_integer) :: String.t()
  def cut(text, most) when byte_size(text) <= most, do: text

  def cut(text, most) do
    case text |> binary_part(0, most - 3) |> :unicode.characters_to_binary() do
      whole when is_binary(whole) -> whole <> "..."
      {_half, whole, _rest} -> whole <> "..."
    end
  end

  ## Terms

  @doc """
  Returns a term without the credentials in it, and without its end where it is large.

      iex> Sippet.Log.Redaction.term({:badmatch, %{authorization: [{"Digest", %{}}], expires: 60}})
      {:badmatch, %{authorization: "[hidden]", expires: 60}}
  """
  @spec term(term) :: term
  def term(term), do: term |> bare(@most_parts) |> elem(0)

  defp bare(_term, left) when left <= 0, do: {:..., 0}

  defp bare({name, value}, left) do
    if header?(name) or (is_binary(value) and secret?(name)) do
      {{name, @hidden}, left - 1}
    else
      {name, left} = bare(name, left - 1)
      {value, left} = bare(value, left)
      {{name, value}, left}
    end
  end

  defp bare(tuple, left) when is_tuple(tuple) do
    {parts, left} = each(Tuple.to_list(tuple), left - 1)
    {List.to_tuple(parts), left}
  end

  defp bare(%module{} = struct, left) do
    {fields, left} = struct |> Map.from_struct() |> bare(left)
    {Map.put(fields, :__struct__, module), left}
  end

  defp bare(map, left) when is_map(map) do
    {pairs, left} = map |> Map.to_list() |> each(left - 1)
    {for({name, value} <- pairs, into: %{}, do: {name, value}), left}
  end

  defp bare([_ | _] = list, left), do: each(list, left - 1)
  defp bare(text, left) when is_binary(text), do: {quoted(text), left - cost(text)}
  defp bare(term, left), do: {term, left - 1}

  defp cost(text), do: 1 + div(min(byte_size(text), @looked_at), @part)

  # The text of an exception may hold that of a message.
  defp quoted(text) do
    cond do
      text =~ ~r/authorization|digest|basic|bearer|response|password|sips?:/i -> text(text)
      byte_size(text) > @looked_at -> beginning(text)
      true -> text
    end
  end

  defp each([head | tail], left) when left > 0 do
    {head, left} = bare(head, left)
    {tail, left} = each(tail, left)
    {[head | tail], left}
  end

  defp each([], left), do: {[], left}
  defp each([_ | _], left), do: {[:...], left}
  defp each(improper, left), do: bare(improper, left)

  # A header, or a scheme with its parameters.
  defp header?(name) when is_atom(name) or is_binary(name) do
    name = lower(name)
    String.ends_with?(name, "authorization") or name in ["digest", "basic", "bearer"]
  end

  defp header?(_term), do: false

  defp secret?(name) when is_atom(name) or is_binary(name),
    do: lower(name) in ["password", "response", "ha1"]

  defp secret?(_term), do: false

  defp lower(name), do: name |> to_string() |> String.downcase(:ascii)
end
