defmodule Sippet.DigestAuth.Client do
  @moduledoc false
  # Challenges to credentials. Each realm of each of the two headers is answered for itself, by its best challenge.

  alias Sippet.DigestAuth.Account
  alias Sippet.DigestAuth.Algorithm
  alias Sippet.DigestAuth.Computation
  alias Sippet.DigestAuth.Header
  alias Sippet.Digits
  alias Sippet.Message

  @headers [www_authenticate: :authorization, proxy_authenticate: :proxy_authorization]

  # Octets of a cnonce.
  @cnonce 18

  # What a realm asks in one of the headers: the challenges that may be answered.
  @typep target :: {Header.key(), realm :: String.t(), challenges :: [Header.params()]}

  @doc """
  The request with credentials for what the response asks.
  """
  @spec answer(Message.request(), Message.response(), (String.t() -> term), map) ::
          {:ok, Message.request()} | {:error, term}
  def answer(request, response, authenticate, options) do
    targets = targets(request, response)

    cond do
      targets == [] -> {:error, :invalid_auth_header}
      Enum.any?(targets, &match?({_key, _realm, []}, &1)) -> {:error, :unknown_nonce}
      true -> answer_each(targets, request, authenticate, options)
    end
  end

  # RFC8760§2.4 - credentials that match any of the realms; abandoned only where none can be answered
  defp answer_each(targets, request, authenticate, options) do
    answers = Enum.map(targets, &credentials(&1, request, authenticate, options))

    case for {:ok, key, params} <- answers, do: {key, params} do
      [] -> hd(answers)
      given -> {:ok, put_all(request, carried(request, targets, authenticate) ++ given)}
    end
  end

  # RFC7616§3.4 - nc counts the requests that were sent with a nonce, this one too. Whoever stands
  # before the one that asks has accepted what the request carries, and would refuse its count now.
  defp carried(request, targets, authenticate) do
    asked = MapSet.new(targets, fn {key, realm, _challenges} -> {key, realm} end)

    for {key, params} <- sent(request),
        not MapSet.member?(asked, {key, params["realm"]}),
        do: {key, count_on(params, request, authenticate)}
  end

  # Another user or secret than these were made with is of the realm that asks now: then they stay as they are.
  defp count_on(%{"nc" => _nc, "realm" => realm} = params, request, authenticate) do
    with {:ok, username, secret} <- ask_again(authenticate, realm),
         known = fn ^realm -> {:ok, username, secret} end,
         {:ok, ^params} <- again(params, request, known),
         {:ok, next} <- again(recount(params, count(params) + 1), request, known) do
      next
    else
      _other -> params
    end
  end

  defp count_on(params, _request, _authenticate), do: params

  # Programs written for sippet 1.0 were asked for the realms of the challenges alone, and may have
  # clauses for no other.
  defp ask_again(authenticate, realm) do
    ask(authenticate, realm)
  rescue
    error in FunctionClauseError ->
      if own?(error, Function.info(authenticate)),
        do: {:error, :no_clause},
        else: reraise(error, __STACKTRACE__)
  end

  defp own?(error, info), do: error.module == info[:module] and error.function == info[:name]

  defp put_all(request, given) do
    Enum.reduce(Keyword.values(@headers), request, fn key, request ->
      Header.put_credentials(request, key, Keyword.get_values(given, key))
    end)
  end

  @spec targets(Message.request(), Message.response()) :: [target]
  defp targets(request, response) do
    for {challenge, key} <- @headers,
        challenges = usable(Header.digests(response, challenge)),
        {by_realm, sent} = {by_realm(challenges), by_realm(usable(Header.digests(request, key)))},
        realm <- challenges |> Enum.map(& &1["realm"]) |> Enum.uniq(),
        do: {key, realm, answerable(by_realm[realm], Map.get(sent, realm, []))}
  end

  defp by_realm(digests), do: Enum.group_by(digests, & &1["realm"])

  defp usable(:malformed), do: []
  defp usable(digests), do: Enum.filter(digests, &match?(%{"realm" => _, "nonce" => _}, &1))

  # RFC3261§22.1 - a UAC must not re-attempt requests with the credentials that have just been rejected, though it may if
  # the nonce was stale.
  defp answerable(challenges, []), do: challenges
  defp answerable(challenges, sent), do: Enum.filter(challenges, &fresh?(&1, sent))

  # A stale nonce has another in its place, or the two would go on for ever. Some servers change the nonce and
  # forget the flag: that is believed where the nonce had served before, since a password that
  # was right then is right still.
  defp fresh?(%{"nonce" => nonce} = challenge, sent) do
    Enum.all?(sent, &(&1["nonce"] != nonce)) and
      (stale?(challenge) or Enum.all?(sent, &(count(&1) > 1)))
  end

  # RFC7616§3.3 - stale is a case-insensitive flag
  defp stale?(challenge), do: String.downcase(challenge["stale"] || "", :ascii) == "true"

  # RFC3261§25.1 - nc-value = 8LHEX
  defp count(params) do
    case Digits.parse(params["nc"], 0xFFFFFFFF, 16) do
      {:ok, count} -> count
      :error -> 0
    end
  end

  defp credentials({key, realm, challenges}, request, authenticate, options) do
    with {:ok, known} <- non_empty(known(challenges, options.algorithms), :unknown_algorithm),
         {:ok, protected} <- protected(known, options.qop),
         {:ok, username, secret} <- ask(authenticate, realm),
         {:ok, chosen} <- choose(protected, secret, options.prefer) do
      {:ok, key, respond(chosen, username, secret, request, options)}
    end
  end

  # RFC8760§2.4 - the client must ignore any challenge it does not understand; but see unknown/2
  defp known(challenges, accepted) do
    known =
      for challenge <- challenges,
          {:ok, algorithm} <- [Algorithm.parse(challenge["algorithm"])],
          algorithm in accepted,
          do: {algorithm, challenge}

    with [] <- known, do: unknown(challenges, accepted)
  end

  # Deviates from RFC8760§2.4, as sippet 1.0 did: where nothing is asked that is understood, the
  # digest is made with MD5. Names such as AKAv1-MD5 (RFC 3310) stand for that computation, and a
  # server that means another refuses the credentials.
  defp unknown(challenges, accepted) do
    for challenge <- challenges,
        {:md5, false} in accepted,
        Algorithm.parse(challenge["algorithm"]) == :error,
        do: {{:md5, false}, challenge}
  end

  defp protected(known, preferred) do
    non_empty(
      for(
        {algorithm, challenge} <- known,
        {:ok, qop} <- [qop(algorithm, options(challenge["qop"]), preferred)],
        do: {algorithm, qop, challenge}
      ),
      :unknown_qop
    )
  end

  defp non_empty([], reason), do: {:error, reason}
  defp non_empty(list, _reason), do: {:ok, list}

  # RFC7616§3.3 - unrecognized options must be ignored
  defp options(nil), do: []

  defp options(qop),
    do:
      for(
        option <- String.split(qop, [",", " ", "\t"], trim: true),
        do: String.downcase(option, :ascii)
      )

  # RFC8760§2.6 - without qop the default is "auth", and the UAC must send it. Not to a server that knows only MD5:
  # it may be one of RFC 2069, which RFC3261§22.4 wants understood, and one of RFC 3261 takes that too.
  defp qop({:md5, false}, [], _preferred), do: {:ok, nil}
  defp qop(_algorithm, [], _preferred), do: {:ok, "auth"}

  defp qop(_algorithm, offered, preferred) do
    case Enum.find([preferred, "auth", "auth-int"], &(&1 in offered)) do
      nil -> :error
      qop -> {:ok, qop}
    end
  end

  defp ask(authenticate, realm) do
    with {:ok, username, secret} = answer <- authenticate.(realm),
         :error <- Account.read(username, secret) do
      misused(answer)
    else
      {:ok, username, secret} -> {:ok, username, secret}
      {:error, reason} -> {:error, reason}
      other -> misused(other)
    end
  end

  defp misused(other) do
    raise ArgumentError,
          "expected {:ok, username, secret} or {:error, reason}, got: #{inspect(other)}"
  end

  # RFC8760§2.4 - the topmost that is supported, unless a local policy dictates otherwise. The policy here: the
  # strongest, and among equals the topmost, so that nobody gets MD5 by changing the order.
  defp choose(protected, secret, prefer) do
    usable =
      Enum.filter(protected, fn {algorithm, _qop, _challenge} -> digest?(algorithm, secret) end)

    with {:ok, usable} <- non_empty(usable, :unknown_algorithm) do
      {:ok,
       if(prefer == :topmost,
         do: hd(usable),
         else: Enum.max_by(usable, &Algorithm.rank(elem(&1, 0)))
       )}
    end
  end

  defp digest?(_algorithm, password) when is_binary(password), do: true
  defp digest?(algorithm, {:ha1, digests}), do: is_map_key(digests, Algorithm.name(algorithm))

  defp respond({algorithm, qop, challenge}, username, secret, request, options) do
    {username, secret} = normalized(username, secret, challenge)
    {:ok, ha1} = Computation.ha1(algorithm, username, challenge["realm"], secret)

    # RFC7616§3.4 - the values of opaque and algorithm must be those of the challenge
    challenge
    |> Map.take(["realm", "nonce", "opaque", "algorithm"])
    |> Map.put("username", username)
    |> counted(qop, options)
    |> sign(algorithm, ha1, request)
    |> hide(algorithm, challenge)
  end

  # RFC7616§4 - Normalization Form C where the server says UTF-8
  defp normalized(username, secret, challenge) do
    if String.downcase(challenge["charset"] || "", :ascii) == "utf-8",
      do: {normalize(username), normalize(secret)},
      else: {username, secret}
  end

  defp normalize(text) when is_binary(text), do: String.normalize(text, :nfc)
  defp normalize({:ha1, digests}), do: {:ha1, digests}

  # RFC3261§22.4 - no cnonce where no qop is sent
  defp counted(params, nil, _options), do: params

  defp counted(params, qop, options) do
    Map.merge(params, %{
      "qop" => qop,
      "cnonce" => options.cnonce || create_cnonce(),
      "nc" => nc(options.nc)
    })
  end

  defp create_cnonce, do: @cnonce |> :crypto.strong_rand_bytes() |> Base.url_encode64()

  # RFC3261§25.1 - nc-value = 8LHEX
  defp nc(count),
    do: count |> Integer.to_string(16) |> String.downcase() |> String.pad_leading(8, "0")

  defp sign(params, algorithm, ha1, request) do
    %{method: method, request_uri: request_uri} = request.start_line
    params = Map.put(params, "uri", to_string(request_uri))

    Map.put(
      params,
      "response",
      Computation.response(algorithm, ha1, method, params, request.body)
    )
  end

  # RFC7616§3.4.4 - the client must hash the username, after any other calculation
  defp hide(%{"username" => username, "realm" => realm} = params, algorithm, asked) do
    if String.downcase(asked["userhash"] || "", :ascii) == "true" do
      hash = Computation.userhash(algorithm, username, realm)
      Map.merge(params, %{"username" => hash, "userhash" => "true"})
    else
      params
    end
  end

  @doc """
  The request with its credentials made anew, for what it has become and one use later.
  """
  @spec repeat(Message.request(), (String.t() -> term), map) ::
          {:ok, Message.request()} | {:error, term}
  def repeat(request, authenticate, options) do
    case sent(request) do
      [] -> {:error, :no_credentials}
      sent -> repeat_each(sent, request, authenticate, options)
    end
  end

  defp sent(request) do
    for key <- Keyword.values(@headers),
        params <- usable(Header.digests(request, key)),
        do: {key, params}
  end

  defp repeat_each(sent, request, authenticate, options) do
    answers =
      for {key, params} <- sent,
          do: {key, again(renewed(params, key, options), request, authenticate)}

    case Enum.find(answers, &match?({_key, {:error, _reason}}, &1)) do
      nil -> {:ok, put_all(request, for({key, {:ok, params}} <- answers, do: {key, params}))}
      {_key, error} -> error
    end
  end

  # RFC7616§3.5 - nextnonce is of Authentication-Info, which is the UAS's
  defp renewed(params, :authorization, %{nonce: nonce}) when is_binary(nonce),
    do: recount(%{params | "nonce" => nonce}, 1)

  defp renewed(params, _key, _options), do: recount(params, count(params) + 1)

  defp recount(%{"nc" => _nc} = params, count), do: %{params | "nc" => nc(count)}
  defp recount(params, _count), do: params

  defp again(params, request, authenticate) do
    with [{algorithm, _params}] <- known([params], all()),
         {:ok, username, secret} <- ask(authenticate, params["realm"]),
         {:ok, ha1} <- ha1(algorithm, username, params["realm"], secret) do
      {:ok,
       params
       |> Map.put("username", username)
       |> sign(algorithm, ha1, request)
       |> hide(algorithm, params)}
    end
  end

  defp all, do: for(name <- Algorithm.names(), do: name |> Algorithm.parse() |> elem(1))

  defp ha1(algorithm, username, realm, secret) do
    with :error <- Computation.ha1(algorithm, username, realm, secret),
         do: {:error, :unknown_algorithm}
  end

  @doc """
  Whether the response proves that its sender knows the secret, and its Authentication-Info.
  """
  @spec verify_info(Message.response(), Message.request(), (String.t() -> term)) ::
          {:ok, map} | {:error, term}
  def verify_info(response, request, authenticate) do
    info = Message.get_header(response, :authentication_info, %{})
    sent = usable(Header.digests(request, :authorization))

    cond do
      sent == [] -> {:error, :no_credentials}
      not is_map_key(info, "rspauth") -> {:error, :no_rspauth}
      Enum.any?(sent, &proves?(info, &1, response.body, authenticate)) -> {:ok, info}
      true -> {:error, :wrong_rspauth}
    end
  end

  # RFC7616§3.5 - cnonce and nc must be those of the request, or an older response would do
  defp proves?(info, sent, body, authenticate) do
    with true <- Map.take(info, ["cnonce", "nc"]) == Map.take(sent, ["cnonce", "nc"]),
         params = Map.merge(sent, Map.take(info, ["qop"])),
         [{algorithm, _params}] <- known([params], all()),
         {:ok, username, secret} <- ask(authenticate, sent["realm"]),
         {:ok, ha1} <- Computation.ha1(algorithm, username, sent["realm"], secret) do
      Algorithm.equal?(Computation.rspauth(algorithm, ha1, params, body), info["rspauth"])
    else
      _ -> false
    end
  end
end
