defmodule Sippet.Router.Refusal do
  @moduledoc false
  # Answers that are given without a transaction, to requests that never become one: malformed, over a limit, or a
  # CANCEL of nothing.

  alias Sippet.{Headers, Message, ParseError}
  alias Sippet.Message.StatusLine
  alias Sippet.Router.Source

  # Seconds after which a request over a limit may come again.
  @retry_after 5

  @doc """
  Answers a request that could not be parsed: gives the octets and the topmost Via, by which they go; or nothing
  where no answer is due, or none can find its way.

  From, To, Call-ID and CSeq are copied as they came. The Vias are read and written anew, as the topmost one gets its
  `received`.
  """
  @spec answer_unparsed(ParseError.t(), Source.remote()) :: {:ok, iodata, Message.t()} | :none
  def answer_unparsed(%ParseError{request: {method, lines}} = error, remote)
      # RFC3261§17 - an ACK is never answered; §8.2.7 - nor is a CANCEL without a state
      when method not in [:ack, :cancel] do
    vias = for {"Via", value} <- lines, do: value

    case Headers.parse("Via", vias) do
      {:ok, [_ | _] = vias} -> unparsed(error, lines, Source.stamp(vias, remote))
      _unreadable -> :none
    end
  end

  def answer_unparsed(_error, _remote), do: :none

  defp unparsed(error, lines, vias) do
    status_line = StatusLine.new(status(error.reason), reason(error))

    octets = [
      StatusLine.to_iodata(status_line),
      "\r\n",
      Enum.map(vias, &["Via: ", Headers.to_iodata("Via", [&1]), "\r\n"]),
      for(
        {name, value} <- lines,
        name != "Via",
        do: [name, ": ", tagged(name, value, lines), "\r\n"]
      ),
      "Content-Length: 0\r\n\r\n"
    ]

    {:ok, octets, %Message{start_line: status_line, headers: %{via: vias}}}
  end

  # RFC3261§21.4.1 - the phrase says what was wrong with the syntax. It is text of the stack's own.
  defp reason(%ParseError{header: nil, reason: reason}),
    do: StatusLine.default_reason!(status(reason))

  defp reason(%ParseError{header: header, reason: reason}),
    do: "#{StatusLine.default_reason!(status(reason))} (#{header})"

  # RFC3261§8.2.6.2 - a To without a tag gets one. A retransmission must get the same, so it is made of the
  # lines themselves.
  defp tagged("To", value, lines) do
    case Headers.parse("To", value) do
      {:ok, {_name, _uri, %{"tag" => _tag}}} -> value
      {:ok, _address} -> [value, ";tag=", hash(lines)]
      {:error, _error} -> value
    end
  end

  defp tagged(_name, value, _lines), do: value

  defp hash(lines),
    do: lines |> :erlang.phash2(4_294_967_296) |> Integer.to_string(36) |> String.downcase()

  @doc """
  Refuses a request for now.
  """
  @spec later(Message.request()) :: Message.response()
  def later(request) do
    # RFC3261§21.5.4 - a limit is temporary, and says when to come again
    request |> answer(503) |> Message.put_header(:retry_after, {@retry_after, "", %{}})
  end

  @doc """
  Whether this is the ACK of an answer that was given here to an INVITE: RFC3261§17.1.1.3 has it carry the INVITE's
  Request-URI and branch, so it leads to the same To tag. That of a 2xx has a branch of its own.
  """
  @spec acknowledged?(Message.request()) :: boolean
  def acknowledged?(%Message{headers: %{to: {name, uri, %{"tag" => tag} = params}}} = ack) do
    untagged = Message.put_header(ack, :to, {name, uri, Map.delete(params, "tag")})
    match?({_name, _uri, %{"tag" => ^tag}}, Message.to_response(untagged, 503).headers.to)
  end

  def acknowledged?(_ack), do: false

  @doc """
  Answers a parsed request without a transaction. Headers that the request lacks the answer lacks.
  """
  @spec answer(Message.request(), 400..599, String.t() | nil) :: Message.response()
  def answer(request, status, reason \\ nil) do
    response = Message.to_response(request, status)
    if reason, do: put_in(response.start_line.reason_phrase, reason), else: response
  end

  # The status that a refusal of this reason has.
  @spec status(ParseError.reason()) :: 400..599
  defp status(:request_uri_too_long), do: 414

  defp status(reason)
       when reason in [
              :message_too_large,
              :headers_too_large,
              :too_many_headers,
              :too_many_parameters
            ],
       do: 513

  defp status(_reason), do: 400
end
