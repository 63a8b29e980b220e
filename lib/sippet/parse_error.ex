defmodule Sippet.ParseError do
  @moduledoc """
  What is wrong with a message, a URI or a header value that could not be parsed.

      iex> {:error, error} = Sippet.Message.parse("OPTIONS sip:h SIP/2.0\\r\\nCSeq: one OPTIONS\\r\\n\\r\\n")
      iex> {error.reason, error.header, error.line, error.offset, error.excerpt}
      {:invalid_header, "CSeq", 2, 29, "one OPTIONS"}

  `Sippet.Message.parse/1`, `Sippet.Message.split/2`, `Sippet.URI.parse/1` and `Sippet.Headers.parse/2` return it in
  `{:error, error}`; their `!` twins raise it.

    * `reason` - one of the reasons below
    * `header` - the registered name of the header that is at fault, or `nil`
    * `line` - the line of the input, the first being 1
    * `offset` - the octet of the input where the trouble starts, the first being 0
    * `excerpt` - at most 80 bytes of the offending text. Control characters and octets that are not UTF-8 are
      escaped, so that it can be logged as it is
    * `request` - where a request could not be parsed, but could be answered: `{method, [{name, raw_value}]}` with the
      raw text of its Via, From, To, Call-ID and CSeq lines, in their order; else `nil`
    * `request_uri` - the raw text of that request's Request-URI, or `nil` where there is none, or
      one over the limit

  ## Reasons

  | reason | meaning |
  |---|---|
  | `:empty_message` | nothing but line ends |
  | `:invalid_start_line` | neither a request line nor a status line |
  | `:invalid_request_uri` | the Request-URI is malformed |
  | `:request_uri_too_long` | the Request-URI is over the limit (414) |
  | `:invalid_status_code` | the status is not three digits in 100..699 |
  | `:invalid_header_line` | a line without a colon, or with a malformed name |
  | `:control_character` | a bare CR, or a NUL that is not escaped |
  | `:invalid_header` | an essential header is malformed |
  | `:repeated_header` | a header that may stand once stands twice |
  | `:body_too_short` | fewer octets of body than Content-Length says |
  | `:missing_content_length` | a message on a stream has no Content-Length |
  | `:message_too_large` | the message is over the limit (513) |
  | `:headers_too_large` | the header section is over the limit |
  | `:too_many_headers` | more header lines than the limit |
  | `:too_many_elements` | more elements and parameters in all headers together than the limit |
  | `:invalid_uri` | a URI is malformed |
  """

  @type reason ::
          :empty_message
          | :invalid_start_line
          | :invalid_request_uri
          | :request_uri_too_long
          | :invalid_status_code
          | :invalid_header_line
          | :control_character
          | :invalid_header
          | :repeated_header
          | :body_too_short
          | :missing_content_length
          | :message_too_large
          | :headers_too_large
          | :too_many_headers
          | :too_many_elements
          | :invalid_uri

  @type t :: %__MODULE__{
          reason: reason,
          header: String.t() | nil,
          line: pos_integer,
          offset: non_neg_integer,
          excerpt: String.t(),
          request: request | nil,
          request_uri: binary | nil
        }

  @typedoc """
  What answering a request needs: its method, and the raw lines that a response copies.
  """
  @type request :: {method :: atom | binary, [{name :: String.t(), raw_value :: binary}]}

  @typep salvage ::
           {method :: atom | binary, request_uri :: binary | nil, [{String.t(), binary}]}

  defexception [:reason, :header, :request, :request_uri, line: 1, offset: 0, excerpt: ""]

  @excerpt_bytes 80

  @doc """
  The error in one line: where, what, and the offending text.

      iex> error = %Sippet.ParseError{reason: :invalid_header, header: "CSeq", line: 6, offset: 210, excerpt: "one INVITE"}
      iex> Exception.message(error)
      ~S(line 6, octet 210: malformed CSeq header: "one INVITE")

  """
  @spec message(t) :: String.t()
  @impl Exception
  def message(%__MODULE__{} = error) do
    "line #{error.line}, octet #{error.offset}: #{text(error.reason, error.header)}" <>
      quoted(error.excerpt)
  end

  @doc false
  # Makes the exception of what the parser reports. The parser gives octets as they are; they are escaped here.
  @spec new({reason, binary | nil, pos_integer, non_neg_integer, binary, salvage | nil}) :: t
  def new({reason, header, line, offset, excerpt, salvage}) do
    error = %__MODULE__{
      reason: reason,
      header: header,
      line: line,
      offset: offset,
      excerpt: escape(excerpt, "")
    }

    case salvage do
      nil ->
        error

      {method, request_uri, lines} ->
        %{error | request: {method, lines}, request_uri: request_uri}
    end
  end

  defp quoted(""), do: ""
  defp quoted(excerpt), do: ": \"#{excerpt}\""

  defp text(:empty_message, _header), do: "the message is empty"
  defp text(:invalid_start_line, _header), do: "malformed start line"
  defp text(:invalid_request_uri, _header), do: "malformed Request-URI"
  defp text(:request_uri_too_long, _header), do: "the Request-URI is too long"
  defp text(:invalid_status_code, _header), do: "the status code is not in 100..699"
  defp text(:invalid_header_line, _header), do: "malformed header line"
  defp text(:control_character, nil), do: "control character"
  defp text(:control_character, header), do: "control character in the #{header} header"
  defp text(:invalid_header, header), do: "malformed #{header} header"
  defp text(:repeated_header, header), do: "the #{header} header stands more than once"
  defp text(:body_too_short, _header), do: "the body is shorter than Content-Length says"
  defp text(:missing_content_length, _header), do: "no Content-Length in a stream"
  defp text(:message_too_large, _header), do: "the message is too large"
  defp text(:headers_too_large, _header), do: "the header section is too large"
  defp text(:too_many_headers, _header), do: "too many header lines"
  defp text(:too_many_elements, nil), do: "too many elements and parameters"

  defp text(:too_many_elements, header),
    do: "too many elements and parameters up to the #{header} header"

  defp text(:invalid_uri, _header), do: "malformed URI"

  # Stops before the first piece that would not fit: an escape is never cut in two.
  defp escape(<<char::utf8, rest::binary>>, acc) when char >= 0x20 and char not in 0x7F..0x9F,
    do: append(<<char::utf8>>, rest, acc)

  defp escape(<<octet, rest::binary>>, acc), do: append(escape_octet(octet), rest, acc)
  defp escape(<<>>, acc), do: acc

  defp append(piece, rest, acc) do
    if byte_size(acc) + byte_size(piece) <= @excerpt_bytes,
      do: escape(rest, acc <> piece),
      else: acc
  end

  defp escape_octet(?\r), do: "\\r"
  defp escape_octet(?\n), do: "\\n"
  defp escape_octet(?\t), do: "\\t"
  defp escape_octet(octet), do: "\\x" <> Base.encode16(<<octet>>)
end
