defmodule Sippet.DigestAuth.Credentials do
  @moduledoc false
  # What a client sent, read with suspicion: which of the credentials in a request are meant for a realm, and
  # whether they hold all that the formulas need.

  alias Sippet.DigestAuth.Algorithm
  alias Sippet.DigestAuth.Header
  alias Sippet.DigestAuth.Nonce
  alias Sippet.Digits

  @enforce_keys [:params, :algorithm, :username, :count, :nonce]
  defstruct [:params, :algorithm, :username, :count, :nonce]

  @typedoc "`nonce` is `nil` for one that was not made here; `count` is 0 where the client sent none."
  @type t :: %__MODULE__{
          params: Header.params(),
          algorithm: Algorithm.t(),
          username: String.t() | {:userhash, String.t(), String.t()},
          count: non_neg_integer,
          nonce: Nonce.id() | nil
        }

  @required ["realm", "nonce", "uri", "response"]

  @doc """
  The credentials for `realm`, well formed but not verified.
  """
  @spec fetch(Sippet.Message.request(), Header.key(), String.t(), map) ::
          {:ok, t}
          | {:error,
             :no_credentials | :invalid_credentials | :unsupported_algorithm | :unsupported_qop}
  def fetch(request, key, realm, options) do
    case Header.digests(request, key) do
      :malformed ->
        {:error, :invalid_credentials}

      digests ->
        digests |> Enum.filter(&(&1["realm"] == realm)) |> pick(options) |> read(options)
    end
  end

  # RFC3261§22.3 - several credentials may be for one realm, each with the nonce of another server. Ours is
  # looked for; there is no second guess at a password.
  defp pick([], _options), do: nil

  defp pick([first | _] = candidates, %{scope: scope, secret: secret}) do
    Enum.find_value(candidates, {first, nil}, fn params ->
      case Nonce.read(params["nonce"] || "", scope, secret) do
        {:ok, nonce} -> {params, nonce}
        :error -> nil
      end
    end)
  end

  defp read(nil, _options), do: {:error, :no_credentials}

  defp read({params, nonce}, options) do
    with :ok <- complete(params),
         {:ok, algorithm} <- algorithm(params, options.algorithm),
         {:ok, params, count} <- protection(params, algorithm, options.qop),
         :ok <- digits(params["response"], Algorithm.size(algorithm)),
         {:ok, username} <- username(params, algorithm) do
      {:ok,
       %__MODULE__{
         params: params,
         algorithm: algorithm,
         username: username,
         count: count,
         nonce: nonce
       }}
    end
  end

  defp complete(params) do
    if Enum.all?(@required, &is_map_key(params, &1)),
      do: :ok,
      else: {:error, :invalid_credentials}
  end

  defp algorithm(params, accepted) do
    with {:ok, algorithm} <- Algorithm.parse(params["algorithm"]),
         true <- algorithm in accepted do
      {:ok, algorithm}
    else
      _ -> {:error, :unsupported_algorithm}
    end
  end

  # RFC7616§3.4 - qop must be one of the alternatives that the server indicated
  defp protection(%{"qop" => qop} = params, _algorithm, accepted) do
    cond do
      qop not in accepted -> {:error, :unsupported_qop}
      not is_map_key(params, "cnonce") -> {:error, :invalid_credentials}
      true -> counted(params)
    end
  end

  # RFC3261§22.4 - qop remains optional to receive, as in RFC 2069; that gives what "auth" gives, but not for a session,
  # which needs the cnonce.
  defp protection(params, {:md5, false}, accepted) do
    if "auth" in accepted, do: {:ok, params, 0}, else: {:error, :unsupported_qop}
  end

  defp protection(_params, _algorithm, _accepted), do: {:error, :unsupported_qop}

  # RFC7616§3.4 - nc is a count from 1, in 8 hexadecimal digits
  defp counted(params) do
    with nc = params["nc"] || "",
         :ok <- digits(nc, 8),
         {:ok, count} when count > 0 <- Digits.parse(nc, 0xFFFFFFFF, 16) do
      {:ok, params, count}
    else
      _ -> {:error, :invalid_credentials}
    end
  end

  defp digits(text, size) do
    if byte_size(text) == size and hexadecimal?(text),
      do: :ok,
      else: {:error, :invalid_credentials}
  end

  defp hexadecimal?(<<c, rest::binary>>) when c in ?0..?9 or c in ?a..?f or c in ?A..?F,
    do: hexadecimal?(rest)

  defp hexadecimal?(rest), do: rest == ""

  # RFC7616§3.4 - both in one header must be treated as an error
  defp username(%{"username" => _, "username*" => _}, _algorithm),
    do: {:error, :invalid_credentials}

  defp username(%{"username" => username} = params, algorithm) do
    if String.downcase(params["userhash"] || "", :ascii) == "true",
      do: {:ok, {:userhash, Algorithm.name(algorithm), String.downcase(username, :ascii)}},
      else: {:ok, username}
  end

  defp username(%{"username*" => extended}, _algorithm), do: extended(extended)
  defp username(_params, _algorithm), do: {:error, :invalid_credentials}

  # RFC5987§3.2.1 - ext-value = charset "'" [ language ] "'" value-chars
  defp extended(extended) do
    with [charset, _language, encoded] <- String.split(extended, "'"),
         "utf-8" <- String.downcase(charset, :ascii),
         {:ok, username} <- percent_decoded(encoded, <<>>),
         true <- String.valid?(username) do
      {:ok, username}
    else
      _ -> {:error, :invalid_credentials}
    end
  end

  defp percent_decoded(<<?%, digits::binary-size(2), rest::binary>>, acc) do
    case Base.decode16(digits, case: :mixed) do
      {:ok, octet} -> percent_decoded(rest, acc <> octet)
      :error -> :error
    end
  end

  defp percent_decoded(<<?%, _rest::binary>>, _acc), do: :error
  defp percent_decoded(<<c, rest::binary>>, acc), do: percent_decoded(rest, <<acc::binary, c>>)
  defp percent_decoded(<<>>, acc), do: {:ok, acc}
end
