defmodule Sippet.Router.StatelessResponse do
  @moduledoc false
  # Responses that are given without a transaction, to requests that never become one: malformed,
  # over a limit, or a CANCEL of nothing.

  alias Sippet.{Headers, Message, ParseError, URI}
  alias Sippet.Message.{RequestLine, StatusLine}
  alias Sippet.Message.Via
  alias Sippet.Router.Remote

  # RFC3261§8.2.6.2 - what a response copies besides the Vias
  @copied [from: "From", to: "To", call_id: "Call-ID", cseq: "CSeq"]
  @raw ["Via" | Keyword.values(@copied)]

  @doc """
  Returns the response to a request that could not be parsed, or `:none` where none is due, or
  none can find its way.

  It is made as that to any other request is, of as much of the request as can be read. A header
  that can't be read is there under its name, as the lines that came.
  """
  @spec to_unparsed(ParseError.t(), Remote.t(), force_rport? :: boolean) ::
          {:ok, Message.response()} | :none
  def to_unparsed(%ParseError{request: {method, lines}} = error, remote, force_rport?)
      # RFC3261§17 - an ACK is never answered; §8.2.7 - nor is a CANCEL without a state
      when method not in [:ack, :cancel] do
    case vias(for {"Via", line} <- lines, do: line) do
      {[], _unread} ->
        :none

      {vias, unread} ->
        {:ok, error |> request(Via.stamp(vias, remote, force_rport?), unread) |> to(error)}
    end
  end

  def to_unparsed(_error, _remote, _force_rport?), do: :none

  # The Vias from the topmost on that can be read, and what stands below them as text, in its order.
  defp vias(lines) do
    {read, below} = "Via" |> Headers.elements(lines) |> Enum.split_while(&read?/1)
    {values(read), below |> Enum.chunk_by(&read?/1) |> Enum.flat_map(&text/1)}
  end

  defp read?(element), do: match?({:ok, _via}, element)

  defp values(elements), do: for({:ok, via} <- elements, do: via)

  defp text([{:ok, _via} | _] = vias),
    do: [IO.iodata_to_binary(Headers.to_iodata("Via", values(vias)))]

  defp text(malformed), do: for({:error, text, _error} <- malformed, do: text)

  defp request(%ParseError{request: {method, lines}} = error, vias, unread) do
    headers = for header <- @copied, copied <- copied(header, lines), into: %{}, do: copied
    headers = if unread == [], do: headers, else: Map.put(headers, "Via", unread)

    %Message{
      start_line: %RequestLine{method: method, request_uri: request_uri(error)},
      headers: Map.put(headers, :via, vias)
    }
  end

  # The ACK of the response has it too, so it counts for the tag.
  defp request_uri(%ParseError{request_uri: nil}), do: nil

  defp request_uri(%ParseError{request_uri: text}) do
    case URI.parse(text) do
      {:ok, uri} -> uri
      {:error, _error} -> text
    end
  end

  defp copied({key, name}, lines) do
    values = for {^name, value} <- lines, do: value

    case values != [] and Headers.parse(name, values) do
      false -> []
      {:ok, value} -> [{key, value}]
      {:error, _error} -> [{name, values}]
    end
  end

  defp to(request, %ParseError{reason: reason, header: header}) do
    status = status(reason)
    response = to(request, status, phrase(StatusLine.default_reason!(status), header))
    %{response | headers: Map.merge(Map.take(request.headers, @raw), response.headers)}
  end

  # RFC3261§21.4.1 - the phrase says what was wrong with the syntax. It is text of the stack's
  # own.
  defp phrase(text, nil), do: text
  defp phrase(text, header), do: "#{text} (#{header})"

  @doc """
  Whether this is the ACK of a response that was given here to an INVITE: RFC3261§17.1.1.3 has it
  carry the INVITE's Request-URI and branch, so it leads to the same To tag. That of a 2xx has a
  branch of its own.
  """
  @spec acknowledged?(Message.request()) :: boolean
  def acknowledged?(%Message{headers: %{to: {name, uri, %{"tag" => tag} = params}}} = ack) do
    untagged = Message.put_header(ack, :to, {name, uri, Map.delete(params, "tag")})
    match?({_name, _uri, %{"tag" => ^tag}}, Message.to_response(untagged, 503).headers.to)
  end

  def acknowledged?(_ack), do: false

  @doc """
  Returns the response to a request, which lacks what that lacks. Without a reason phrase it has
  that of its status.
  """
  @spec to(Message.request(), 400..599, String.t() | nil) :: Message.response()
  def to(request, status, nil), do: Message.to_response(request, status)
  def to(request, status, reason), do: Message.to_response(request, status, reason)

  # The status that a refusal of this reason has.
  @spec status(ParseError.reason()) :: 400..599
  defp status(:request_uri_too_long), do: 414

  defp status(reason)
       when reason in [
              :message_too_large,
              :headers_too_large,
              :too_many_headers,
              :too_many_elements
            ],
       do: 513

  defp status(_reason), do: 400
end
