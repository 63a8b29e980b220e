defmodule Sippet.Message.Body do
  @moduledoc """
  The parts of a multipart body (RFC 2046 §5.1, RFC 5621).

      iex> message = Sippet.Message.parse!(\"""
      ...> INVITE sip:bob@biloxi.com SIP/2.0
      ...> Content-Type: multipart/mixed;boundary=unique
      ...>
      ...> --unique
      ...> Content-Type: application/sdp
      ...>
      ...> v=0
      ...> --unique
      ...> Content-Type: application/pidf+xml
      ...> Content-ID: <target@atlanta.com>
      ...>
      ...> <presence/>
      ...> --unique--
      ...> \""")
      iex> {:ok, [sdp, pidf]} = Sippet.Message.Body.split(message)
      iex> {sdp.headers, sdp.body}
      {%{content_type: {{"application", "sdp"}, %{}}}, "v=0"}
      iex> pidf.headers["Content-ID"]
      ["<target@atlanta.com>"]

    * `headers` - a map of the form that a message has: the headers that `Sippet.Headers` lists
      with a key are typed, all others and malformed ones are lists of raw lines
    * `body` - the bytes of the part as they are on the wire. Content-Transfer-Encoding is not
      undone

  A part without a Content-Type is `text/plain` (RFC 2046 §5.1).

  ## Nested parts

  A part may be multipart itself. `multipart?/1` says so, and `split/1` takes the part:

      def leaves(entity) do
        if Sippet.Message.Body.multipart?(entity) do
          with {:ok, parts} <- Sippet.Message.Body.split(entity),
               do: Enum.flat_map(parts, &leaves/1)
        else
          [entity]
        end
      end

  ## Memory

  The body of a part is a sub-binary of the body that was split, so splitting copies no content. A
  part that is kept longer than its message keeps the whole message in memory, unless its body is
  copied with `:binary.copy/1`. The headers hold copies.
  """

  alias Sippet.Message
  alias Sippet.Message.Body.Delimiter
  alias Sippet.Message.Body.PartHeaders
  alias Sippet.Message.Typed

  @enforce_keys [:headers, :body]
  defstruct headers: %{}, body: ""

  @type t :: %__MODULE__{headers: Sippet.Headers.t(), body: binary}

  # As many as a message may have Vias. A notification of a resource list has one for each
  # resource (RFC 4662 §5).
  @most_parts 1_000

  @typedoc """
  Why a body can't be split.

    * `:not_multipart` - the Content-Type is missing, malformed, or no multipart type
    * `:no_boundary` - the Content-Type has no boundary, or one of more than 70 bytes (RFC 2046
      §5.1.1)
    * `:no_parts` - no line of the body starts a part
    * `:incomplete_part` - the body ends within the headers of a part
    * `:malformed_header` - a header line of a part is malformed
    * `:too_many_headers` - a part has more than #{PartHeaders.most()} header lines
    * `:too_many_parts` - there are more than #{@most_parts} parts
  """
  @type reason ::
          :not_multipart
          | :no_boundary
          | :no_parts
          | :incomplete_part
          | :malformed_header
          | :too_many_headers
          | :too_many_parts

  @doc """
  Returns whether the Content-Type of a message or a part is a multipart type.

      iex> Sippet.Message.Body.multipart?(Sippet.Message.build_response(200))
      false

  """
  @spec multipart?(Message.t() | t) :: boolean
  def multipart?(entity), do: match?({:ok, _params}, parameters(entity))

  @doc """
  Splits the body of a message or a part into its parts, in their order.

  Text before the first part and after the last is dropped. Lines may end in CRLF or LF, and the
  line end before a delimiter belongs to the delimiter. Where the last delimiter is missing, the
  last part ends with the body (RFC 2046 §5.1.2). Takes time linear in the size of the body.

      iex> Sippet.Message.Body.split(Sippet.Message.build_response(200))
      {:error, :not_multipart}

  """
  @spec split(Message.t() | t) :: {:ok, [t, ...]} | {:error, reason}
  def split(%module{body: body} = entity) when module in [Message, __MODULE__] do
    with {:ok, params} <- parameters(entity),
         {:ok, delimiter} <- Delimiter.new(params["boundary"]) do
      split(body || "", delimiter)
    end
  end

  defp parameters(%module{headers: headers}) when module in [Message, __MODULE__] do
    case Typed.fetch(headers, :content_type) do
      {:ok, {{"multipart", _subtype}, params}} -> {:ok, params}
      _other -> {:error, :not_multipart}
    end
  end

  defp split(body, delimiter) do
    case Delimiter.next(body, delimiter, 0) do
      {:open, _at, start} -> parts({body, delimiter}, start, [], 1)
      _none -> {:error, :no_parts}
    end
  end

  defp parts(_source, _start, _parts, number) when number > @most_parts,
    do: {:error, :too_many_parts}

  defp parts({body, delimiter} = source, start, parts, number) do
    case Delimiter.next(body, delimiter, start) do
      {:open, at, next} ->
        with {:ok, part} <- part(body, start, at, :ended),
             do: parts(source, next, [part | parts], number + 1)

      {:close, at, _next} ->
        finish(part(body, start, at, :ended), parts)

      # RFC2046§5.1.2 - a truncated entity may not have any terminating boundary marker
      :none ->
        finish(part(body, start, byte_size(body), :cut), parts)
    end
  end

  defp finish({:ok, part}, parts), do: {:ok, Enum.reverse([part | parts])}
  defp finish({:error, reason}, _parts), do: {:error, reason}

  # RFC2046§5.1.1 - body-part := MIME-part-headers [CRLF *OCTET]
  defp part(body, start, at, ending) do
    case PartHeaders.parse(binary_part(body, start, at - start)) do
      {:ok, headers, rest} -> {:ok, %__MODULE__{headers: headers, body: rest}}
      {:headers, headers} when ending == :ended -> {:ok, %__MODULE__{headers: headers, body: ""}}
      {:headers, _headers} -> {:error, :incomplete_part}
      {:error, reason} -> {:error, reason}
    end
  end
end
