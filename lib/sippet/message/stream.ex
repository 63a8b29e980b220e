defmodule Sippet.Message.Stream do
  @moduledoc """
  What comes by a stream, cut into messages: octets in, messages and keep-alives out.

      stream = Sippet.Message.Stream.new()
      {:ok, items, stream} = Sippet.Message.Stream.push(stream, octets)

  It is a value, and holds what is left of a message that is not complete. Make one for each
  connection, and push what you read. An item is

    * `{:message, octets}` - a whole message, for `Sippet.Message.parse/1`
    * `:ping` - a double CRLF, which you answer with a CRLF at once (RFC 5626 §5.4)
    * `:pong` - a single CRLF, which answers a ping of yours (RFC 5626 §4.4.1)

  A message ends where its Content-Length says (RFC 3261 §18.3). A message without one is an error,
  because nobody knows where the next message begins.

  The line ends that may stand before a message (RFC 3261 §7.5) come as pings and pongs too. A ping
  that comes in two parts is a pong, and then a ping.
  """

  alias Sippet.{Message, ParseError}

  @largest 65_535

  @enforce_keys [:max_message]
  defstruct [:max_message, buffer: "", resume: 0, line_end?: false]

  @opaque t :: %__MODULE__{
            max_message: pos_integer,
            buffer: binary,
            resume: non_neg_integer,
            line_end?: boolean
          }
  @type item :: {:message, binary} | :ping | :pong

  @doc """
  Makes the stream of a connection that has read nothing yet.

  `max_message` is the number of octets that a message may have. The default is #{@largest}.

      iex> stream = Sippet.Message.Stream.new()
      iex> {:ok, [:ping], stream} = Sippet.Message.Stream.push(stream, "\\r\\n\\r\\nOPTIONS sip:biloxi.com SIP/2.0\\r\\n")
      iex> {:ok, items, _stream} = Sippet.Message.Stream.push(stream, "Content-Length: 2\\r\\n\\r\\nhi\\r\\n")
      iex> items
      [{:message, "OPTIONS sip:biloxi.com SIP/2.0\\r\\nContent-Length: 2\\r\\n\\r\\nhi"}, :pong]
  """
  @spec new(pos_integer) :: t
  def new(max_message \\ @largest), do: %__MODULE__{max_message: max_message}

  @doc """
  Adds octets.

  Returns `{:ok, items, stream}` with what is complete now, in its order. The items may be parts of
  `octets`: copy a message if you keep it for long.

  Returns `{:error, items, error}` if the stream can't be understood any more. The items are what
  stands before the trouble. `error` is a `Sippet.ParseError`: its `request` tells whether an answer
  can be given. Close the connection then.

      iex> stream = Sippet.Message.Stream.new(30)
      iex> {:error, [:pong], error} = Sippet.Message.Stream.push(stream, "\\r\\nOPTIONS sip:biloxi.com SIP/2.0\\r\\n")
      iex> error.reason
      :message_too_large
  """
  @spec push(t, binary) :: {:ok, [item], t} | {:error, [item], ParseError.t()}
  def push(%__MODULE__{buffer: ""} = stream, octets), do: cut(stream, octets, [])
  def push(%__MODULE__{buffer: buffer} = stream, octets), do: cut(stream, buffer <> octets, [])

  @doc """
  Whether the beginning of a message is there, and its end is not.

      iex> {:ok, [], stream} = Sippet.Message.Stream.push(Sippet.Message.Stream.new(), "OPTIONS")
      iex> Sippet.Message.Stream.partial?(stream)
      true
  """
  @spec partial?(t) :: boolean
  def partial?(%__MODULE__{buffer: ""}), do: false
  def partial?(%__MODULE__{buffer: "\r"}), do: false
  def partial?(%__MODULE__{}), do: true

  defp cut(%{line_end?: false} = stream, <<"\r\n\r\n", rest::binary>>, items),
    do: cut(stream, rest, [:ping | items])

  defp cut(%{line_end?: true} = stream, <<"\r\n", rest::binary>>, items),
    do: cut(%{stream | line_end?: false}, rest, [:ping | items])

  defp cut(%{line_end?: false} = stream, <<"\r\n", rest::binary>>, items),
    do: cut(%{stream | line_end?: true}, rest, [:pong | items])

  defp cut(stream, <<"\n", rest::binary>>, items),
    do: cut(%{stream | line_end?: false}, rest, items)

  defp cut(stream, buffer, items) when buffer in ["", "\r"],
    do: {:ok, Enum.reverse(items), %{stream | buffer: buffer, resume: 0}}

  defp cut(%{max_message: most} = stream, buffer, items) do
    case Message.frame(buffer, stream.resume) do
      {:complete, size} when size <= most ->
        {message, rest} = :erlang.split_binary(buffer, size)
        cut(%{stream | resume: 0, line_end?: false}, rest, [{:message, message} | items])

      {:partial, resume} when byte_size(buffer) <= most ->
        {:ok, Enum.reverse(items), kept(%{stream | resume: resume}, buffer, items)}

      {:error, error} ->
        {:error, Enum.reverse(items), error}

      # Without its last octet it is not whole, and so refused with what an answer needs.
      {:complete, size} ->
        {:error, Enum.reverse(items), too_large(binary_part(buffer, 0, size - 1))}

      {:partial, _resume} ->
        {:error, Enum.reverse(items), too_large(buffer)}
    end
  end

  # Behind messages it is a part of what was read: it must not keep all of that.
  defp kept(stream, buffer, []), do: %{stream | buffer: buffer, line_end?: false}

  defp kept(stream, buffer, _items),
    do: %{stream | buffer: :binary.copy(buffer), line_end?: false}

  # With what its head says of whom to answer, if that is there.
  defp too_large(buffer) do
    case Message.parse(buffer) do
      {:error, error} -> %{error | reason: :message_too_large, header: nil}
      {:ok, _message} -> %ParseError{reason: :message_too_large}
    end
  end
end
