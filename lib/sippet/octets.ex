defmodule Sippet.Octets do
  @moduledoc false
  # The octet classes of RFC3261§25.1 and what printing needs of them: is it a token, is it safe to stand in a
  # line, how is it quoted. Everything that goes out passes one of these checks, once a piece: no value
  # can end a header line or start another.
  #
  # Written as plain binary walks: `:binary.match/2` compiles its pattern at each call, and a compiled pattern is a
  # reference that no module attribute can hold.

  # RFC3261§25.1 - token = 1*(alphanum / "-" / "." / "!" / "%" / "*" / "_" / "+" / "`" / "'" / "~")
  defguardp is_token(c)
            when c in ?a..?z or c in ?0..?9 or c in ?A..?Z or c == ?- or c == ?. or c == ?_ or
                   c == ?+ or c == ?% or c == ?! or c == ?* or c == ?` or c == ?' or c == ?~

  # What no line may hold. HTAB and the other controls can't end a line and are let through in text.
  defguardp is_breaking(c) when c == ?\r or c == ?\n or c == 0

  # RFC3261§25.1 - qdtext: the octets that stand in a quoted string as they are.
  defguardp is_qdtext(c) when (c >= 0x20 and c != ?" and c != ?\\ and c != 0x7F) or c == ?\t

  # What would end a URI between "<" and ">", or in a request line.
  defguardp is_uri(c) when c > 0x20 and c != ?< and c != ?> and c != 0x7F

  # RFC3261§25.1 - host, and "_", which is no host's by the grammar and many a host's in the field
  defguardp is_host(c)
            when c in ?a..?z or c in ?0..?9 or c == ?. or c == ?- or c in ?A..?Z or c == ?_

  # What no text holds, looked for in four octets at once: one below 0x20 borrows into its highest bit.
  defguardp is_line4(x)
            when Bitwise.band(Bitwise.band(x - 0x20202020, Bitwise.bnot(x)), 0x80808080) == 0

  @doc """
  Whether `text` is a token: not empty, and of token characters alone.
  """
  @spec token?(binary) :: boolean
  def token?(<<c, rest::binary>>) when is_token(c), do: token_rest?(rest)
  def token?(_text), do: false

  defp token_rest?(<<a, b, rest::binary>>) when is_token(a) and is_token(b), do: token_rest?(rest)
  defp token_rest?(<<c>>) when is_token(c), do: true
  defp token_rest?(<<>>), do: true
  defp token_rest?(_rest), do: false

  @doc """
  Returns `text` if it is a token; raises `ArgumentError` if not. `where` names the place in the message.
  """
  @spec token!(binary, String.t()) :: binary
  def token!(text, where) do
    if is_binary(text) and token?(text), do: text, else: refuse!(text, where, "a token")
  end

  @doc """
  Returns `text` if it holds no CR, LF or NUL; raises `ArgumentError` if it does.
  """
  @spec text!(binary, String.t()) :: binary
  def text!(text, where) when is_binary(text) do
    if line?(text), do: text, else: refuse!(text, where, "text without CR, LF or NUL")
  end

  def text!(text, where), do: refuse!(text, where, "text")

  defp line?(<<x::32, rest::binary>>) when is_line4(x), do: line?(rest)
  defp line?(<<c, rest::binary>>) when not is_breaking(c), do: line?(rest)
  defp line?(rest), do: rest == <<>>

  @doc """
  Returns `text` if it can stand inside a URI; raises `ArgumentError` if it holds a control character, a blank,
  `<` or `>`.
  """
  @spec uri!(binary, String.t()) :: binary
  def uri!(text, where) when is_binary(text) do
    if uri?(text), do: text, else: refuse!(text, where, "text without blanks, \"<\" or \">\"")
  end

  def uri!(text, where), do: refuse!(text, where, "text")

  defp uri?(<<a, b, rest::binary>>) when is_uri(a) and is_uri(b), do: uri?(rest)
  defp uri?(<<c>>) when is_uri(c), do: true
  defp uri?(rest), do: rest == <<>>

  @doc """
  Returns `text` if it can stand as a word without quotes: not empty, no control characters and no blanks.
  """
  @spec word!(binary, String.t()) :: binary
  def word!(text, where) do
    if is_binary(text) and text != "" and word?(text),
      do: text,
      else: refuse!(text, where, "a word without blanks")
  end

  defp word?(<<c, rest::binary>>) when c > 0x20 and c != 0x7F, do: word?(rest)
  defp word?(rest), do: rest == <<>>

  @doc """
  A host as it stands before a port: an IPv6 address gets its brackets.
  """
  @spec host!(binary, String.t()) :: iodata
  def host!(host, where) when is_binary(host) do
    case host_kind(host) do
      :name -> host
      :ipv6 -> ["[", host, "]"]
      :no_host -> refuse!(host, where, "a host")
    end
  end

  def host!(host, where), do: refuse!(host, where, "a host")

  defp host_kind(<<a, b, rest::binary>>) when is_host(a) and is_host(b), do: host_rest(rest)
  defp host_kind(<<c, rest::binary>>) when is_host(c), do: host_rest(rest)
  defp host_kind(<<?:, rest::binary>>), do: ipv6_rest(rest, "")

  defp host_kind(<<?[, rest::binary>>),
    do: if(reference(rest) == :ipv6, do: :name, else: :no_host)

  defp host_kind(_host), do: :no_host

  defp host_rest(<<a, b, rest::binary>>) when is_host(a) and is_host(b), do: host_rest(rest)
  defp host_rest(<<c, rest::binary>>) when is_host(c), do: host_rest(rest)
  defp host_rest(<<>>), do: :name
  defp host_rest(<<?:, rest::binary>>), do: ipv6_rest(rest, "")
  defp host_rest(_rest), do: :no_host

  defp ipv6_rest(<<c, rest::binary>>, close)
       when c in ?0..?9 or c in ?a..?f or c in ?A..?F or c == ?: or c == ?.,
       do: ipv6_rest(rest, close)

  defp ipv6_rest(close, close), do: :ipv6
  defp ipv6_rest(_rest, _close), do: :no_host

  defp reference(<<?], _rest::binary>>), do: :no_host
  defp reference(text), do: ipv6_rest(text, "]")

  @doc """
  The value of a parameter: as it is where it is a token or an IPv6 reference, else in quotes.
  """
  @spec value(binary, String.t()) :: iodata
  def value(text, where) when is_binary(text) do
    if token?(text) or ipv6_reference?(text), do: text, else: quoted(text, where)
  end

  def value(text, where), do: refuse!(text, where, "text")

  defp ipv6_reference?(<<?[, rest::binary>>), do: reference(rest) == :ipv6
  defp ipv6_reference?(_text), do: false

  @doc """
  The value of a parameter that is an address: as it is with colons and brackets too, else like `value/2`.
  """
  @spec address(binary, String.t()) :: iodata
  def address(text, where) do
    if address?(text), do: text, else: value(text, where)
  end

  defp address?(<<c, rest::binary>>) when is_token(c) or c in [?:, ?[, ?]], do: address?(rest)
  defp address?(rest), do: rest == <<>>

  @doc """
  `text` as a quoted string, its quotes included.

  `"`, `\\` and control characters become quoted pairs. So does NUL, which the grammar allows there
  (RFC 4475 §3.1.1.2 sends one); CR and LF have no quoted form and raise `ArgumentError`.
  """
  @spec quoted(binary, String.t()) :: iodata
  def quoted(text, where) when is_binary(text) do
    if qdtext?(text), do: [?", text, ?"], else: [?", escape(text, where), ?"]
  end

  def quoted(text, where), do: refuse!(text, where, "text")

  defp qdtext?(<<c, rest::binary>>) when is_qdtext(c), do: qdtext?(rest)
  defp qdtext?(rest), do: rest == <<>>

  defp escape(text, where) do
    for <<c <- text>>, into: <<>> do
      cond do
        is_qdtext(c) -> <<c>>
        c in [?\r, ?\n] -> refuse!(text, where, "text without CR or LF")
        true -> <<?\\, c>>
      end
    end
  end

  @doc """
  `text` as a comment, its parentheses included; parentheses inside become quoted pairs.
  """
  @spec comment(binary, String.t()) :: iodata
  def comment(text, where) when is_binary(text) do
    escaped =
      for <<c <- text>>, into: <<>> do
        cond do
          c in [?\r, ?\n] -> refuse!(text, where, "text without CR or LF")
          c in [?(, ?), ?\\, 0x7F] or (c < 0x20 and c != ?\t) -> <<?\\, c>>
          true -> <<c>>
        end
      end

    ["(", escaped, ")"]
  end

  def comment(text, where), do: refuse!(text, where, "text")

  @spec refuse!(term, String.t(), String.t()) :: no_return
  defp refuse!(value, where, wanted) do
    raise ArgumentError, "cannot print #{where}: expected #{wanted}, got: #{inspect(value)}"
  end
end
