defmodule Sippet.Transactions.Server.Key do
  @moduledoc """
  What identifies a server transaction (RFC 3261 §17.2.3).

    * `branch` - of the topmost Via
    * `method` - of the request; an ACK has its INVITE's key, a CANCEL one of its own
    * `sentby` - `{host, port}` of the topmost Via, the host in lower case and without brackets

  A peer of RFC 2543 makes no branch of the magic cookie. `branch` is then `"rfc2543-"` and a digest of what stands for
  it: Request-URI, From tag, Call-ID, CSeq number, topmost Via, and the To tag. INVITE, ACK and CANCEL leave the To tag
  out, so that an ACK, which has the tag of the response, leads to its INVITE; the transaction compares that tag itself.

  Keys are printed as they are written in `Sippet.sigil_K/2`:

      iex> to_string(Sippet.Transactions.Server.Key.new("z9hG4bK776asdhds", :invite, {"::1", 5060}))
      "~K[z9hG4bK776asdhds|:invite|[::1]:5060]"
  """

  alias Sippet.Message
  alias Sippet.Message.{RequestLine, StatusLine}
  alias Sippet.Transactions.Key

  @enforce_keys [:branch, :method, :sentby]
  defstruct [:branch, :method, :sentby]

  @type t :: %__MODULE__{
          branch: String.t(),
          method: Message.method(),
          sentby: {host :: String.t(), :inet.port_number()}
        }

  @doc """
  The key of the server transaction that gets this request, or sends this response.

  A response to a peer of RFC 2543 lacks the Request-URI, so the key that it gives is not its request's; the stack
  finds the transaction of either (`Sippet.send/2` does). Raises `ArgumentError` for a message without Via, and a
  response without CSeq.

      iex> via = {{2, 0}, :udp, {"Pc33.Atlanta.com", 5060}, %{"branch" => "z9hG4bK74b43"}}
      iex> request =
      ...>   Sippet.Message.build_request(:ack, "sip:bob@biloxi.com") |> Sippet.Message.put_header(:via, [via])
      iex> key = Sippet.Transactions.Server.Key.new(request)
      iex> {key.branch, key.method, key.sentby}
      {"z9hG4bK74b43", :invite, {"pc33.atlanta.com", 5060}}
  """
  @spec new(Message.t()) :: t
  def new(%Message{start_line: %RequestLine{request_uri: uri}} = request),
    do: of(request, fn -> {Key.uri(uri), to_tag(request)} end)

  def new(%Message{start_line: %StatusLine{}} = response), do: of(response, fn -> nil end)

  @doc """
  The key of this branch, method and sent-by.

      iex> Sippet.Transactions.Server.Key.new("z9hG4bK74b43", "INVITE", {"Atlanta.com", 5060})
      ...> |> Map.take([:method, :sentby])
      %{method: :invite, sentby: {"atlanta.com", 5060}}
  """
  @spec new(String.t(), Message.method(), {String.t(), :inet.port_number()}) :: t
  def new(branch, method, {host, port} = sentby)
      when is_binary(branch) and is_binary(host) and is_integer(port),
      do: %__MODULE__{branch: branch, method: Key.named(method), sentby: Key.comparable(sentby)}

  @doc """
  The key of the INVITE that a CANCEL of this key cancels, or that an ACK acknowledges.

      iex> key = Sippet.Transactions.Server.Key.new("z9hG4bK74b43", :cancel, {"atlanta.com", 5060})
      iex> Sippet.Transactions.Server.Key.invite(key).method
      :invite
  """
  @spec invite(t) :: t
  def invite(%__MODULE__{} = key), do: %{key | method: :invite}

  @doc false
  # RFC3261§17.2.3 - a response can't be matched by what an RFC 2543 request is matched by; this is the key that
  # `new/1` gives for the responses to `request`.
  @spec of_responses(Message.request()) :: t
  def of_responses(%Message{} = request), do: of(request, fn -> nil end)

  defp of(message, more) do
    %__MODULE__{
      branch: Key.branch(message, more),
      method: Key.method(message),
      sentby: Key.sent_by(message)
    }
  end

  defp to_tag(%Message{start_line: %{method: method}}) when method in [:invite, :ack, :cancel],
    do: nil

  defp to_tag(%Message{headers: headers}), do: Key.tag(headers[:to])

  defimpl String.Chars do
    def to_string(key), do: Key.write(key.branch, key.method, key.sentby)
  end

  defimpl Inspect do
    def inspect(key, opts),
      do: Key.document(@for, [key.branch, key.method, key.sentby], opts)
  end
end
