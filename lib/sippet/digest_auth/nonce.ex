defmodule Sippet.DigestAuth.Nonce do
  @moduledoc false
  # A nonce that needs no memory: when it was made, something random, and a MAC of both and of the realm. Nobody
  # without the secret can make one, and its age shows. All of its octets count, so that one nonce has one spelling.

  alias Sippet.Secret

  # 33 octets are 44 characters of Base64 to the last bit.
  @random 10
  @mac 16
  @characters 44

  @typedoc "What tells one nonce from any other; the time is in microseconds since 1970."
  @type id :: {issued :: non_neg_integer, random :: binary}

  @doc """
  A new nonce for the realm; `now` is in microseconds since 1970.
  """
  @spec create(String.t(), binary | nil, integer) :: String.t()
  def create(realm, secret, now) do
    stamp = <<now::56, :crypto.strong_rand_bytes(@random)::binary>>
    Base.url_encode64(stamp <> mac(stamp, realm, secret))
  end

  @doc """
  What the nonce says, if it was made with this secret for this realm.
  """
  @spec read(String.t(), String.t(), binary | nil) :: {:ok, id} | :error
  def read(nonce, realm, secret) when byte_size(nonce) == @characters do
    with {:ok, <<stamp::binary-size(17), mac::binary>>} <- Base.url_decode64(nonce),
         true <- :crypto.hash_equals(mac(stamp, realm, secret), mac) do
      <<issued::56, random::binary>> = stamp
      {:ok, {issued, random}}
    else
      _ -> :error
    end
  end

  def read(_nonce, _realm, _secret), do: :error

  @doc """
  Whether the nonce is older than `max_age`, in milliseconds.

  One of the future comes of a clock that was set back, or of another node's; it may be as far off as an old one.
  """
  @spec expired?(id, pos_integer, integer) :: boolean
  def expired?({issued, _random}, max_age, now), do: abs(now - issued) > max_age * 1000

  defp mac(stamp, realm, secret) do
    :hmac
    |> :crypto.mac(:sha256, secret || Secret.fetch(__MODULE__), ["sippet nonce", stamp, realm])
    |> binary_part(0, @mac)
  end
end
