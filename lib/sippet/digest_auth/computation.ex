defmodule Sippet.DigestAuth.Computation do
  @moduledoc false
  # The formulas of RFC 7616 §3.4 and §3.5, for the client and the server alike: the parameters are those of the
  # credentials, as they stand or will stand on the wire.

  alias Sippet.DigestAuth.Algorithm
  alias Sippet.Names

  @type params :: %{String.t() => String.t()}

  @doc """
  H(username:realm:password) in lower-case hexadecimal digits; `:error` where only other hashes of it are known.
  """
  @spec ha1(Algorithm.t(), String.t(), String.t(), Sippet.DigestAuth.secret()) ::
          {:ok, String.t()} | :error
  def ha1(algorithm, username, realm, password) when is_binary(password),
    do: {:ok, Algorithm.hex(algorithm, [username, ?:, realm, ?:, password])}

  def ha1(algorithm, _username, _realm, {:ha1, %{} = digests}) do
    with {:ok, hex} <- Map.fetch(digests, Algorithm.name(algorithm)),
         do: {:ok, String.downcase(hex, :ascii)}
  end

  @doc """
  H(username:realm), which stands for the username where that is kept secret.
  """
  @spec userhash(Algorithm.t(), String.t(), String.t()) :: String.t()
  # RFC7616§3.4.4 - username = H( unq(username) ":" unq(realm) )
  def userhash(algorithm, username, realm), do: Algorithm.hex(algorithm, [username, ?:, realm])

  @doc """
  The `response` of credentials.
  """
  @spec response(Algorithm.t(), String.t(), atom | String.t(), params, binary | nil) :: String.t()
  # RFC3261§22.1 - an ACK carries the credentials of its INVITE
  def response(algorithm, ha1, :ack, params, body),
    do: keyed(algorithm, ha1, "INVITE", params, body)

  def response(algorithm, ha1, method, params, body),
    do: keyed(algorithm, ha1, Names.method_name(method), params, body)

  @doc """
  The `rspauth` by which a server shows that it knows the secret too.
  """
  @spec rspauth(Algorithm.t(), String.t(), params, binary | nil) :: String.t()
  # RFC7616§3.5 - A2 = ":" request-uri, as if the method were empty
  def rspauth(algorithm, ha1, params, body), do: keyed(algorithm, ha1, "", params, body)

  # RFC7616§3.4.1 - KD(H(A1), unq(nonce) ":" nc ":" unq(cnonce) ":" unq(qop) ":" H(A2))
  defp keyed(algorithm, ha1, method, %{"nonce" => nonce} = params, body) do
    key = session_key(algorithm, ha1, params)
    ha2 = Algorithm.hex(algorithm, a2(algorithm, method, params, body))
    Algorithm.hex(algorithm, [key, ?:, nonce, ?:, protection(params), ha2])
  end

  # RFC7616§3.4.2 - A1 = H( unq(username) ":" unq(realm) ":" passwd ) ":" unq(nonce-prime) ":" unq(cnonce-prime)
  defp session_key({_hash, true} = algorithm, ha1, %{"nonce" => nonce, "cnonce" => cnonce}),
    do: Algorithm.hex(algorithm, [ha1, ?:, nonce, ?:, cnonce])

  defp session_key({_hash, false}, ha1, _params), do: ha1

  # RFC7616§3.4.3 - A2 = Method ":" request-uri ":" H(entity-body)
  # RFC8760§2.6 - where there is no body, that is the hash of the empty string
  defp a2(algorithm, method, %{"qop" => "auth-int", "uri" => uri}, body),
    do: [method, ?:, uri, ?:, Algorithm.hex(algorithm, body || "")]

  defp a2(_algorithm, method, %{"uri" => uri}, _body), do: [method, ?:, uri]

  defp protection(%{"qop" => qop, "nc" => nc, "cnonce" => cnonce}),
    do: [nc, ?:, cnonce, ?:, qop, ?:]

  # RFC3261§22.4 - what came before qop, RFC 2069, has to be understood still
  defp protection(_params), do: []
end
