defmodule Sippet.DigestAuth.Nonce do
  @moduledoc false
  # A nonce that needs no memory: when it was made, something random, and a MAC of both and of its scope. Nobody
  # without the secret can make one, and its age shows. All of its octets count, so that one nonce has one spelling.

  alias Sippet.Secret

  # 33 octets are 44 characters of Base64 to the last bit.
  @random 10
  @mac 16
  @characters 44

  @typedoc "What tells one nonce from any other; the time is in microseconds since 1970."
  @type id :: {issued :: non_neg_integer, random :: binary}

  @typedoc "Where a nonce is good: in a realm, or in the requests of one Call-ID in a realm."
  @type scope :: {realm :: String.t(), call_id :: String.t() | nil}

  @doc """
  A new nonce for the scope; `now` is in microseconds since 1970.
  """
  @spec create(scope, binary | nil, integer) :: String.t()
  def create(scope, secret, now) do
    stamp = <<now::56, :crypto.strong_rand_bytes(@random)::binary>>
    Base.url_encode64(stamp <> mac(stamp, scope, secret))
  end

  @doc """
  What the nonce says, if it was made with this secret for this scope.
  """
  @spec read(String.t(), scope, binary | nil) :: {:ok, id} | :error
  def read(nonce, scope, secret) when byte_size(nonce) == @characters do
    with {:ok, <<stamp::binary-size(17), mac::binary>>} <- Base.url_decode64(nonce),
         true <- :crypto.hash_equals(mac(stamp, scope, secret), mac) do
      <<issued::56, random::binary>> = stamp
      {:ok, {issued, random}}
    else
      _ -> :error
    end
  end

  def read(_nonce, _scope, _secret), do: :error

  @doc """
  Whether the nonce is older than `max_age`, in milliseconds.

  One of the future comes of another node's clock; it may be as far off as an old one.
  """
  @spec expired?(id, pos_integer, integer) :: boolean
  def expired?({issued, _random}, max_age, now), do: abs(now - issued) > max_age * 1000

  defp mac(stamp, scope, secret) do
    :hmac
    |> :crypto.mac(:sha256, secret || Secret.fetch(__MODULE__), signed(stamp, scope))
    |> binary_part(0, @mac)
  end

  # No text of one scope is that of another: neither begins as the other does, and the length parts realm and Call-ID.
  defp signed(stamp, {realm, nil}), do: ["sippet nonce", stamp, realm]

  defp signed(stamp, {realm, call_id}),
    do: ["sippet call nonce", stamp, <<byte_size(realm)::32>>, realm, call_id]
end
