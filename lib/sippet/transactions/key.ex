defmodule Sippet.Transactions.Key do
  @moduledoc false
  # What the keys of client and server transactions share: how a branch is read off a message, what stands in
  # its place for RFC 2543 (which knew no branches), and how a key is written down.

  alias Sippet.Digits
  alias Sippet.Message
  alias Sippet.Message.{RequestLine, StatusLine}
  alias Sippet.URI

  @cookie Message.magic_cookie()
  @rfc2543 "rfc2543-"

  # Octets of the digest that stands for an RFC 2543 transaction: 128 bits.
  @digest 16

  @doc """
  The branch of the topmost Via; where RFC 3261 made none, a digest of what identifies the transaction.

  Those are From tag, Call-ID, the number of CSeq and the topmost Via, and what `more` gives.
  """
  @spec branch(Message.t(), (... -> term)) :: String.t()
  def branch(%Message{headers: headers} = message, more) do
    case via(message) do
      # RFC3261§8.1.1.7 - a branch that begins with the cookie is unique, so it has to say more than the cookie
      {_version, _protocol, _sent_by, %{"branch" => <<@cookie, _, _::binary>> = branch}} ->
        own(branch)

      via ->
        @rfc2543 <>
          digest(
            {identity(via), tag(headers[:from]), headers[:call_id], number(headers), more.()}
          )
    end
  end

  @doc """
  Whether the key belongs to a peer of RFC 2543.
  """
  @spec rfc2543?(%{:branch => String.t(), optional(atom) => term}) :: boolean
  def rfc2543?(%{branch: @rfc2543 <> _digest}), do: true
  def rfc2543?(_key), do: false

  @doc """
  The method of the transaction that the message is of: an ACK is its INVITE's.
  """
  @spec method(Message.t()) :: Message.method()
  def method(%Message{start_line: %RequestLine{method: :ack}}), do: :invite
  def method(%Message{start_line: %RequestLine{method: method}}), do: own(method)

  def method(%Message{start_line: %StatusLine{}, headers: %{cseq: {_number, method}}}),
    do: own(method)

  def method(%Message{}), do: raise(ArgumentError, "a response without CSeq has no key")

  @doc """
  Text that is kept: what the parser took out of a datagram may be a part of it, and would keep all of it in memory.
  Any other term is as it is.
  """
  @spec own(term) :: term
  def own(text) when is_binary(text) do
    if :binary.referenced_byte_size(text) == byte_size(text), do: text, else: :binary.copy(text)
  end

  def own(term), do: term

  @doc """
  A method as people write it: a known one in any letter case.
  """
  @spec named(Message.method()) :: Message.method()
  def named(method) when is_atom(method), do: method
  def named(method) when is_binary(method), do: Message.to_method(method)

  @doc """
  Who sent the request, by the topmost Via, in lower case and without brackets.
  """
  @spec sent_by(Message.t()) :: {String.t(), :inet.port_number()}
  def sent_by(message) do
    {_version, _protocol, sent_by, _params} = via(message)
    comparable(sent_by)
  end

  @doc """
  A sent-by as it is compared: names of hosts know no letter case.
  """
  @spec comparable({String.t(), :inet.port_number()}) :: {String.t(), :inet.port_number()}
  def comparable({host, port}), do: {host |> unbracketed() |> lower(), port}

  @doc """
  The tag of a From or To, or `nil`.
  """
  @spec tag(term) :: String.t() | nil
  defdelegate tag(header), to: Sippet.Message.Tag, as: :of

  @doc """
  What RFC 3261 §17.2.3 compares of a Request-URI.
  """
  @spec uri(URI.t()) :: term
  def uri(%URI{} = uri) do
    {lower(uri.scheme), uri.userinfo, lower(uri.host), uri.port, uri.parameters, uri.headers,
     opaque(uri)}
  end

  # A URI without a host is its authority alone.
  defp opaque(%URI{host: nil, authority: authority}), do: authority
  defp opaque(_uri), do: nil

  defp lower(nil), do: nil
  # Most text is in lower case already.
  defp lower(text), do: if(lower?(text), do: own(text), else: String.downcase(text, :ascii))

  defp lower?(<<octet, _rest::binary>>) when octet in ?A..?Z, do: false
  defp lower?(<<_octet, rest::binary>>), do: lower?(rest)
  defp lower?(<<>>), do: true

  @doc """
  A key as text: `~K[branch|method]`, or with `|host:port` at its end.
  """
  @spec write(String.t(), Message.method(), {String.t(), :inet.port_number()} | nil) :: String.t()
  def write(branch, method, nil), do: "~K[#{branch}|#{written(method)}]"

  def write(branch, method, {host, port}),
    do: "~K[#{branch}|#{written(method)}|#{bracketed(host)}:#{port}]"

  @doc """
  A key for people: the sigil, or the call that makes the key, where a sigil can't hold its text.
  """
  @spec document(module, [term], Inspect.Opts.t()) :: Inspect.Algebra.t()
  def document(module, [branch, method | sent_by] = parts, opts) do
    if Enum.all?(parts, &plain?/1) do
      write(branch, method, List.first(sent_by))
    else
      opts = %{opts | binaries: :as_strings, charlists: :as_lists}
      arguments = Enum.map_intersperse(parts, ", ", &Inspect.Algebra.to_doc(&1, opts))
      Inspect.Algebra.concat([Inspect.Algebra.to_doc(module, opts), ".new(" | arguments] ++ [")"])
    end
  end

  # The octets of a peer are any: they may be no UTF-8, or end the sigil.
  defp plain?(text) when is_binary(text),
    do: String.printable?(text) and not String.contains?(text, ["|", "]", "\n"])

  defp plain?({host, port}) when is_integer(port), do: plain?(host)
  defp plain?(term), do: is_atom(term)

  defp written(method) when is_atom(method), do: inspect(method)
  defp written(method), do: method

  @doc """
  The parts of a key that is written as `branch|method` or `branch|method|host:port`.
  """
  @spec read!(String.t()) ::
          {String.t(), Message.method()}
          | {String.t(), Message.method(), {String.t(), :inet.port_number()}}
  def read!(text) do
    case String.split(text, "|") do
      [branch, method] when branch != "" and method != "" ->
        {branch, read_method(method)}

      [branch, method, sent_by] when branch != "" and method != "" ->
        {branch, read_method(method), endpoint!(sent_by, text)}

      _other ->
        refuse!(text)
    end
  end

  defp read_method(":" <> method), do: named(method)
  defp read_method(method), do: named(method)

  defp endpoint!(sent_by, text) do
    with [host, port] when host != "" <- halves(sent_by),
         {:ok, port} <- Digits.parse(port, 65_535) do
      comparable({host, port})
    else
      _other -> refuse!(text)
    end
  end

  defp halves("[" <> _rest = sent_by), do: String.split(sent_by, "]:", parts: 2)
  defp halves(sent_by), do: String.split(sent_by, ":")

  @spec refuse!(String.t()) :: no_return
  defp refuse!(text) do
    raise ArgumentError,
          "expected branch|method or branch|method|host:port as a key, got: #{inspect(text)}"
  end

  defp via(%Message{headers: %{via: [via | _]}}), do: via
  defp via(%Message{}), do: raise(ArgumentError, "a message without Via has no key")

  # `received` and `rport` are not the sender's: they are written when the request has come in.
  defp identity({version, protocol, sent_by, params}),
    do: {version, protocol, comparable(sent_by), Map.drop(params, ["received", "rport"])}

  defp number(%{cseq: {number, _method}}), do: number
  defp number(_headers), do: nil

  defp digest(term) do
    <<digest::binary-size(@digest), _rest::binary>> =
      :crypto.hash(:sha256, :erlang.term_to_binary(term))

    Base.encode16(digest, case: :lower)
  end

  defp unbracketed("[" <> rest), do: String.trim_trailing(rest, "]")
  defp unbracketed(host), do: host

  defp bracketed(host), do: if(String.contains?(host, ":"), do: "[#{host}]", else: host)
end
