defmodule Sippet.Transactions.Client.Key do
  @moduledoc """
  What identifies a client transaction (RFC 3261 §17.1.3).

    * `branch` - of the topmost Via
    * `method` - of the request; an ACK has its INVITE's key

  A branch without the magic cookie, and one of the cookie alone, is not unique: `branch` is then `"rfc2543-"` and a
  digest of From tag, Call-ID, CSeq number and topmost Via.

  Keys are printed as they are written in `Sippet.sigil_K/2`:

      iex> to_string(Sippet.Transactions.Client.Key.new("z9hG4bK776asdhds", :invite))
      "~K[z9hG4bK776asdhds|:invite]"
  """

  alias Sippet.Message
  alias Sippet.Transactions.Key

  @enforce_keys [:branch, :method]
  defstruct [:branch, :method]

  @type t :: %__MODULE__{branch: String.t(), method: Message.method()}

  @doc """
  The key of the client transaction that sends this request, or gets this response.

  Raises `ArgumentError` for a message without Via, and a response without CSeq.

      iex> request =
      ...>   Sippet.Message.build_request(:ack, "sip:bob@biloxi.com")
      ...>   |> Sippet.Message.put_header(:via, [{{2, 0}, :udp, {"a.com", 5060}, %{"branch" => "z9hG4bK74b43"}}])
      iex> Sippet.Transactions.Client.Key.new(request)
      %Sippet.Transactions.Client.Key{branch: "z9hG4bK74b43", method: :invite}
  """
  @spec new(Message.t()) :: t
  def new(%Message{} = message),
    do: %__MODULE__{branch: Key.branch(message, fn -> nil end), method: Key.method(message)}

  @doc """
  The key of this branch and method.

      iex> Sippet.Transactions.Client.Key.new("z9hG4bK74b43", "Invite").method
      :invite
  """
  @spec new(String.t(), Message.method()) :: t
  def new(branch, method) when is_binary(branch),
    do: %__MODULE__{branch: branch, method: Key.named(method)}

  @doc """
  The key of the INVITE that a CANCEL of this key cancels, or that an ACK acknowledges.

      iex> Sippet.Transactions.Client.Key.invite(Sippet.Transactions.Client.Key.new("z9hG4bK74b43", :cancel))
      %Sippet.Transactions.Client.Key{branch: "z9hG4bK74b43", method: :invite}
  """
  @spec invite(t) :: t
  def invite(%__MODULE__{} = key), do: %{key | method: :invite}

  defimpl String.Chars do
    def to_string(key), do: Key.write(key.branch, key.method, nil)
  end

  defimpl Inspect do
    def inspect(key, opts), do: Key.document(@for, [key.branch, key.method], opts)
  end
end
