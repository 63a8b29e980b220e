defmodule Sippet.DigestAuth.Server do
  @moduledoc false
  # Challenges, and what is made of the credentials that answer them.

  alias Sippet.DigestAuth.Account
  alias Sippet.DigestAuth.Algorithm
  alias Sippet.DigestAuth.Clock
  alias Sippet.DigestAuth.Computation
  alias Sippet.DigestAuth.Credentials
  alias Sippet.DigestAuth.FailureLimit
  alias Sippet.DigestAuth.Nonce
  alias Sippet.DigestAuth.NonceStore
  alias Sippet.Message
  alias Sippet.URI

  # Octets of an `opaque` that nobody gave.
  @opaque_size 18

  @doc """
  The challenges to a request for a realm, one for each algorithm, in the order given.
  """
  @spec challenges(Message.request(), String.t(), map) :: [{String.t(), map}, ...]
  def challenges(request, realm, options) do
    common =
      %{
        "realm" => realm,
        "nonce" => options.nonce || nonce(request, realm, options),
        "opaque" => options.opaque || random(),
        "qop" => options.qop
      }
      |> flag("stale", options.stale)
      |> flag("userhash", options.userhash)

    for name <- List.wrap(options.algorithm), do: {"Digest", Map.put(common, "algorithm", name)}
  end

  defp nonce(request, realm, options),
    do: Nonce.create(scope(request, realm, options.bind), options.secret, now(options))

  defp scope(_request, realm, nil), do: {realm, nil}
  defp scope(request, realm, :call_id), do: {realm, Message.get_header(request, :call_id, "")}

  # RFC7616§3.3 - what is false by default is left out
  defp flag(params, _name, false), do: params
  defp flag(params, name, true), do: Map.put(params, name, "true")

  defp random, do: @opaque_size |> :crypto.strong_rand_bytes() |> Base.url_encode64()

  @doc """
  The user whose credentials the request carries.

  The checks that cost a look-up come after those that cost none.
  """
  @spec verify(Message.request(), String.t(), Sippet.DigestAuth.lookup(), map) ::
          {:ok, String.t()} | {:error, Sippet.DigestAuth.refusal()}
  def verify(request, realm, lookup, options) do
    with {:ok, credentials} <- fetch(request, realm, options),
         :ok <- current(request, credentials, options),
         :ok <- same_resource(request, credentials, options.uri),
         {:ok, username} <- limited(request, credentials, lookup, options),
         :ok <- unused(request, credentials, options.store) do
      {:ok, username}
    end
  end

  defp fetch(request, realm, options) do
    Credentials.fetch(request, header(options.status), realm, %{
      scope: scope(request, realm, options.bind),
      secret: options.secret,
      algorithm: Enum.map(List.wrap(options.algorithm), &elem(Algorithm.parse(&1), 1)),
      qop: String.split(options.qop, [",", " "], trim: true)
    })
  end

  defp header(401), do: :authorization
  defp header(407), do: :proxy_authorization

  defp current(_request, %{nonce: nil}, _options), do: {:error, :invalid_nonce}

  # RFC3261§22.1 - credentials that were accepted with the INVITE must be accepted with the ACK, however late
  defp current(%{start_line: %{method: :ack}}, _credentials, _options), do: :ok

  defp current(_request, %{nonce: nonce}, options) do
    if Nonce.expired?(nonce, options.max_age, now(options)), do: {:error, :stale}, else: :ok
  end

  defp now(%{now: nil}), do: Clock.now()
  defp now(%{now: milliseconds}), do: milliseconds * 1000

  defp same_resource(_request, _credentials, :any), do: :ok

  defp same_resource(request, %{params: %{"uri" => uri}}, policy) do
    if agrees?(policy, uri, request), do: :ok, else: {:error, :uri_mismatch}
  end

  # RFC3261§22.1 - an ACK carries the credentials of its INVITE; it goes to the Contact of the 2xx
  defp agrees?(:equivalent, _text, %{start_line: %{method: :ack}}), do: true

  # RFC7616§3.4.6 - the uri designates the resource of the Request-Line
  defp agrees?(:equivalent, text, %{start_line: %{request_uri: request_uri}}),
    do: text == to_string(request_uri) or equivalent?(text, request_uri)

  defp agrees?(policy, text, request), do: policy.(text, request) == true

  defp equivalent?(text, %URI{} = request_uri) do
    case URI.parse(text) do
      {:ok, uri} -> URI.equivalent(uri, request_uri)
      {:error, _error} -> false
    end
  end

  defp equivalent?(_text, _request_uri), do: false

  defp limited(request, credentials, lookup, %{limit: nil} = options),
    do: proven(request, credentials, lookup, options)

  # RFC3261§22.1 - an ACK is accepted with what its INVITE was accepted with
  defp limited(%{start_line: %{method: :ack}} = request, credentials, lookup, options),
    do: proven(request, credentials, lookup, options)

  defp limited(request, credentials, lookup, %{limit: limit} = options) do
    %{username: username, params: %{"realm" => realm}} = credentials
    subjects = FailureLimit.subjects(realm, username, address(options.address, request))

    with :ok <- FailureLimit.check(limit, subjects),
         {:error, reason} <- proven(request, credentials, lookup, options) do
      FailureLimit.record(limit, subjects)
      {:error, reason}
    end
  end

  defp address(:source, %{source: %{remote: {ip, _port}}}), do: ip
  defp address(:source, _request), do: nil
  defp address(given, _request), do: given

  # Whatever the look-up says, the same digests are made and compared: how long it takes does not tell users from others.
  defp proven(request, credentials, lookup, options) do
    %{algorithm: algorithm, params: params} = credentials
    {found, username, secret} = look_up(credentials.username, lookup, options.userhash)
    {usable, ha1} = ha1(algorithm, username, params["realm"], secret)

    expected =
      Computation.response(algorithm, ha1, request.start_line.method, params, request.body)

    equal? = Algorithm.equal?(expected, params["response"])

    cond do
      found == :unknown -> {:error, :unknown_user}
      equal? and usable == :ok -> {:ok, username}
      true -> {:error, :wrong_response}
    end
  end

  defp look_up({:userhash, _hash, _hex}, _lookup, false), do: {:unknown, "", ""}

  defp look_up({:userhash, _hash, _hex} = hidden, lookup, true) do
    case lookup.(hidden) do
      {:ok, username, secret} = found -> account(found, username, secret)
      {:error, _reason} -> {:unknown, "", ""}
      other -> misused(other, "{:ok, username, secret}")
    end
  end

  defp look_up(username, lookup, _userhash) do
    case lookup.(username) do
      {:ok, secret} = found -> account(found, username, secret)
      {:error, _reason} -> {:unknown, username, ""}
      other -> misused(other, "{:ok, secret}")
    end
  end

  defp account(found, username, secret) do
    with :error <- Account.read(username, secret), do: misused(found, "a user and a secret")
  end

  defp misused(other, wanted) do
    raise ArgumentError,
          "expected the look-up to give #{wanted} or {:error, reason}, got: #{inspect(other)}"
  end

  defp ha1(algorithm, username, realm, secret) do
    with :error <- Computation.ha1(algorithm, username, realm, secret),
         {:ok, ha1} = Computation.ha1(algorithm, username, realm, ""),
         do: {:error, ha1}
  end

  defp unused(_request, _credentials, nil), do: :ok
  # RFC3261§22.1 - an ACK repeats the count of its INVITE
  defp unused(%{start_line: %{method: :ack}}, _credentials, _store), do: :ok

  defp unused(_request, %{nonce: id, count: count}, store),
    do: NonceStore.use_count(store, id, count)

  @doc """
  What Authentication-Info says about the request that a response answers.
  """
  @spec info(Message.response(), Message.request(), String.t(), Sippet.DigestAuth.lookup(), map) ::
          {:ok, map} | {:error, Sippet.DigestAuth.refusal()}
  def info(response, request, realm, lookup, options) do
    with {:ok, %{params: params, algorithm: algorithm} = credentials} <-
           fetch(request, realm, options),
         {:ok, username, secret} <- look_up(credentials.username, lookup, options.userhash),
         {:ok, ha1} <- ha1(algorithm, username, realm, secret) do
      # RFC7616§3.5 - cnonce and nc must be those of the request, and qop should be
      {:ok,
       params
       |> Map.take(["qop", "cnonce", "nc"])
       |> Map.put("rspauth", Computation.rspauth(algorithm, ha1, params, response.body))
       |> next_nonce(request, realm, options)}
    else
      {:unknown, _username, _secret} -> {:error, :unknown_user}
      {:error, reason} when is_atom(reason) -> {:error, reason}
      {:error, _ha1} -> {:error, :wrong_response}
    end
  end

  defp next_nonce(info, _request, _realm, %{nextnonce: false}), do: info

  defp next_nonce(info, request, realm, %{nextnonce: true} = options),
    do: Map.put(info, "nextnonce", nonce(request, realm, options))
end
