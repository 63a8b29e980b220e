defmodule Sippet.DigestAuth do
  # Longer than its code: the face of the room is documentation. The client's work is done in
  # Sippet.DigestAuth.Client, the server's in Sippet.DigestAuth.Server.
  import Sippet.DigestAuth.Account, only: [is_name: 1]

  alias Sippet.DigestAuth.Account
  alias Sippet.DigestAuth.Algorithm
  alias Sippet.DigestAuth.Client
  alias Sippet.DigestAuth.Computation
  alias Sippet.DigestAuth.Options, as: Schema
  alias Sippet.DigestAuth.Server
  alias Sippet.Message
  alias Sippet.Message.RequestLine
  alias Sippet.Message.StatusLine
  alias Sippet.Options

  @moduledoc """
  Digest authentication (RFC 7616, RFC 8760, RFC 3261 §22), for clients and for servers.

  A client answers a challenge: `make_request/4` takes the request that was sent and the 401 or 407 that came, and gives the request to send next.

      iex> request = Sippet.Message.build_request(:register, "sip:biloxi.com")
      iex> request = Sippet.Message.put_header(request, :cseq, {1, :register})
      iex> {:ok, response} = Sippet.DigestAuth.make_response(request, 401, "biloxi.com", algorithm: ["SHA-256", "MD5"])
      iex> {:ok, next} = Sippet.DigestAuth.make_request(request, response, fn "biloxi.com" -> {:ok, "bob", "zanzibar"} end)
      iex> [{"Digest", credentials}] = next.headers.authorization
      iex> {credentials["username"], credentials["algorithm"], credentials["uri"], credentials["nc"]}
      {"bob", "SHA-256", "sip:biloxi.com", "00000001"}

  Algorithms are MD5, SHA-256 and SHA-512-256, each also as `-sess`; qualities of protection are `auth` and `auth-int`.

  ## A client sends the request again

  What `make_request/4` gives is a new request of the same dialog or registration: **give it the next CSeq number and a new branch before it is sent**
  (RFC 3261 §22.2), else it counts as the old one sent again.

      next
      |> Sippet.Message.update_header(:cseq, fn {number, method} -> {number + 1, method} end)
      |> Sippet.Message.update_header_front(:via, fn {version, protocol, sent_by, parameters} ->
        {version, protocol, sent_by, %{parameters | "branch" => Sippet.Message.create_branch()}}
      end)

  An ACK is not challenged: it repeats the `:authorization` and `:proxy_authorization` of its INVITE. A CANCEL
  has none (RFC 3261 §22.1).

  ## A server asks, and verifies

  `verify/4` gives the user, or why there is none; `make_response/4` asks. Both take the same options, so that what is
  accepted is what was asked for.

      @digest [algorithm: ["SHA-256", "MD5"], store: MyApp.Nonces]

      def receive_request(%{start_line: %{method: :register}} = request, key) do
        response =
          case Sippet.DigestAuth.verify(request, "biloxi.com", &MyApp.Users.secret/1, @digest) do
            {:ok, username} ->
              register(request, username)

            {:error, reason} when reason in [:invalid_credentials, :uri_mismatch] ->
              Sippet.Message.to_response(request, 400)

            {:error, reason} ->
              options = [stale: reason in [:stale, :invalid_nonce, :replayed]] ++ @digest
              {:ok, response} = Sippet.DigestAuth.make_response(request, 401, "biloxi.com", options)
              response
          end

        Sippet.send(:mystack, response)
      end

  The nonces need no memory: each says when it was made, is signed with a secret, and is good for one realm and
  for `:max_age`. In that time the same credentials, with the same method and the same `uri`, are good again: who overhears
  a REGISTER can repeat it. A `Sippet.DigestAuth.NonceStore` makes them good once, and a
  `Sippet.DigestAuth.FailureLimit` limits how many passwords can be tried.

      iex> request = Sippet.Message.build_request(:register, "sip:biloxi.com")
      iex> secret = fn
      ...>   "bob" -> {:ok, {:ha1, %{"SHA-256" => Sippet.DigestAuth.ha1("SHA-256", "bob", "biloxi.com", "zanzibar")}}}
      ...>   _unknown -> {:error, :not_found}
      ...> end
      iex> options = [algorithm: "SHA-256"]
      iex> Sippet.DigestAuth.verify(request, "biloxi.com", secret, options)
      {:error, :no_credentials}
      iex> {:ok, response} = Sippet.DigestAuth.make_response(request, 401, "biloxi.com", options)
      iex> {:ok, next} = Sippet.DigestAuth.make_request(request, response, fn _realm -> {:ok, "bob", "zanzibar"} end)
      iex> Sippet.DigestAuth.verify(next, "biloxi.com", secret, options)
      {:ok, "bob"}
      iex> {:ok, next} = Sippet.DigestAuth.make_request(request, response, fn _realm -> {:ok, "bob", "xanadu"} end)
      iex> Sippet.DigestAuth.verify(next, "biloxi.com", secret, options)
      {:error, :wrong_response}

  ### Why credentials are refused

  | reason | what it means | answer |
  |---|---|---|
  | `:no_credentials` | none for this realm | 401 or 407 |
  | `:invalid_credentials` | the header or a parameter is malformed, or one is missing | 400 |
  | `:unsupported_algorithm` | an algorithm that is not in `:algorithm` | 401 or 407 |
  | `:unsupported_qop` | a protection that is not in `:qop` | 401 or 407 |
  | `:invalid_nonce` | not made with this secret for this realm or, with `:bind`, for this Call-ID | 401 or 407, stale |
  | `:stale` | the nonce is too old | 401 or 407, stale |
  | `:uri_mismatch` | the `uri` does not name the Request-URI (RFC 7616 §3.4.6), or is not what `:uri` asks for | 400 |
  | `:too_many_failures` | a `Sippet.DigestAuth.FailureLimit` was reached; the look-up is not called | 403 |
  | `:unknown_user` | the look-up gave an error | 401, 407 or 403 |
  | `:wrong_response` | the password is wrong, or the look-up knows no digest for the algorithm | the same |
  | `:replayed` | right, but it was used before | 401 or 407, stale |

  Answer an unknown user as you answer a wrong password: the same work was done for both, so that neither the answer nor
  its delay tells which names exist. A server must not challenge an ACK or a CANCEL (RFC 3261 §22.1). The ACK of an
  INVITE that was accepted verifies too, whatever its age, unless `auth-int` covers a body that the ACK has not.

  ### Options of `make_response/4` and `verify/4`

  #{Options.docs(Schema.server())}

  `make_response/4` also takes

  #{Options.docs(Schema.challenge())}

  and `verify/4` and `put_authentication_info/5`

  #{Options.docs(Schema.credentials())}
  """

  @typedoc "The name of an algorithm, as `\"SHA-256\"` or `\"MD5-sess\"`."
  @type algorithm :: String.t()

  @type realm :: String.t()

  @typedoc "The name of a user. An atom or an integer counts as its text."
  @type username :: String.t() | atom | integer

  @typedoc """
  A password, or digests made by `ha1/4` under the names of their hashes:
  `{:ha1, %{"MD5" => "…", "SHA-256" => "…"}}`. An atom or an integer counts as its text.
  """
  @type secret ::
          (password :: String.t() | atom | integer) | {:ha1, %{String.t() => String.t()}}

  @typedoc "Who to be in a realm."
  @type authenticate ::
          (realm -> {:ok, username, secret} | {:error, reason :: term})

  @typedoc """
  The secret of a user. The name is text from the network, in any octets.

  Only with the option `:userhash`, it is also called with `{:userhash, algorithm, userhash/3 of the name}`, and gives the
  name as well: `{:ok, username, secret}`.
  """
  @type lookup ::
          (String.t() | {:userhash, algorithm, String.t()} ->
             {:ok, secret} | {:ok, username, secret} | {:error, reason :: term})

  @typedoc "Why a server refuses credentials; see the table above."
  @type refusal ::
          :no_credentials
          | :invalid_credentials
          | :unsupported_algorithm
          | :unsupported_qop
          | :invalid_nonce
          | :stale
          | :uri_mismatch
          | :too_many_failures
          | :unknown_user
          | :wrong_response
          | :replayed

  @doc """
  Adds the credentials that a 401 or 407 response asks for.

  `authenticate` is called with each realm that is asked for. Of several challenges for one realm,
  the strongest is answered that both sides know. Where every challenge has an unknown algorithm,
  the first is answered with MD5, if `:algorithms` has that. Credentials for the same realm that
  the request had are replaced. CSeq and the branch of the topmost Via are left to the caller; see
  above.

  Credentials that the request carries for other realms count on: their `nc` grows by one
  (RFC 7616 §3.4), so that a proxy that has accepted them accepts them again when the server
  behind it asks. `authenticate` is called with those realms, too. Credentials stay as they are
  where it returns an error or has no clause for the realm, and where the user or the secret that
  it returns is not the one that they were made with.

  ## Options

  #{Options.docs(Schema.client())}

  ## Errors

    * `:invalid_auth_header` - no Digest challenge with a realm and a nonce
    * `:unknown_nonce` - the credentials that the request carries were refused: the challenge is neither `stale` nor
      due to the age of a nonce used before. To try another password, start from the request without credentials
    * `:unknown_algorithm` - no challenge has an algorithm that is accepted and for which the
      secret has a digest
    * `:unknown_qop` - no challenge offers `auth` or `auth-int`
    * whatever `authenticate` gives

  Where several realms ask, one that can be answered is enough for `:ok`, as long as none was refused.

      iex> request = Sippet.Message.build_request(:options, "sip:biloxi.com")
      iex> Sippet.DigestAuth.make_request(request, Sippet.Message.build_response(401), fn _realm -> {:error, :locked} end)
      {:error, :invalid_auth_header}
      iex> {:ok, response} = Sippet.DigestAuth.make_response(request, 401, "biloxi.com")
      iex> Sippet.DigestAuth.make_request(request, response, fn _realm -> {:error, :locked} end)
      {:error, :locked}

  """
  @spec make_request(Message.request(), Message.response(), authenticate, keyword) ::
          {:ok, Message.request()}
          | {:error,
             :invalid_auth_header | :unknown_nonce | :unknown_algorithm | :unknown_qop | term}
  def make_request(outgoing_request, incoming_response, authenticate, options \\ [])

  def make_request(
        %Message{start_line: %RequestLine{}} = request,
        %Message{start_line: %StatusLine{}} = response,
        authenticate,
        options
      )
      when is_function(authenticate, 1) do
    options = Options.validate!(options, Schema.client())
    accepted = for name <- options.algorithms, do: name |> Algorithm.parse() |> elem(1)
    Client.answer(request, response, authenticate, %{options | algorithms: accepted})
  end

  @doc """
  Makes the credentials of a request anew, for its method, `uri` and body as they are now.

  So the next request of a dialog spares the challenge: copy `:authorization` and `:proxy_authorization` from the
  last one, then call this. The nonce stays and its count grows by one. Where a response had an Authentication-Info
  with a `nextnonce`, give it as the option `:nonce`; it counts from one, for `:authorization` only.

  The error is `:no_credentials`, `:unknown_algorithm`, or what `authenticate` gives.

      iex> invite = Sippet.Message.build_request(:invite, "sip:bob@biloxi.com")
      iex> {:ok, response} = Sippet.DigestAuth.make_response(invite, 407, "biloxi.com")
      iex> alice = fn "biloxi.com" -> {:ok, "alice", "wonderland"} end
      iex> {:ok, invite} = Sippet.DigestAuth.make_request(invite, response, alice)
      iex> bye = %{Sippet.Message.build_request(:bye, "sip:bob@192.0.2.4") | headers: invite.headers}
      iex> {:ok, bye} = Sippet.DigestAuth.repeat_request(bye, alice)
      iex> [{"Digest", credentials}] = bye.headers.proxy_authorization
      iex> {credentials["nc"], credentials["uri"]}
      {"00000002", "sip:bob@192.0.2.4"}

  """
  @spec repeat_request(Message.request(), authenticate, nonce: String.t() | nil) ::
          {:ok, Message.request()} | {:error, :no_credentials | :unknown_algorithm | term}
  def repeat_request(
        %Message{start_line: %RequestLine{}} = request,
        authenticate,
        options \\ []
      )
      when is_function(authenticate, 1) do
    Client.repeat(request, authenticate, Options.validate!(options, Schema.repeat()))
  end

  @doc """
  Checks that the server, too, knows the secret, by the `rspauth` of its Authentication-Info.

  `request` is the one that the response answers. With `auth-int`, the body of the response is covered. Gives the
  parameters of the header. The error is `:no_credentials` (in the request), `:no_rspauth` or `:wrong_rspauth`.

      iex> request = Sippet.Message.build_request(:options, "sip:biloxi.com")
      iex> Sippet.DigestAuth.verify_response(Sippet.Message.build_response(200), request, fn _ -> {:error, :nobody} end)
      {:error, :no_credentials}

  """
  @spec verify_response(Message.response(), Message.request(), authenticate) ::
          {:ok, %{String.t() => String.t()}}
          | {:error, :no_credentials | :no_rspauth | :wrong_rspauth}
  def verify_response(
        %Message{start_line: %StatusLine{}} = response,
        %Message{start_line: %RequestLine{}} = request,
        authenticate
      )
      when is_function(authenticate, 1),
      do: Client.verify_info(response, request, authenticate)

  @doc """
  Makes the 401 or 407 response that asks for credentials.

  There is one challenge for each `:algorithm`, in that order, all with one nonce. The nonce is one that
  `verify/4` knows again, unless `:nonce` gives another. Options are listed above; a wrong one raises `ArgumentError`.

  The error is `:unchallengeable`, for an ACK or a CANCEL (RFC 3261 §22.1).

      iex> request = Sippet.Message.build_request(:options, "sip:biloxi.com")
      iex> {:ok, response} = Sippet.DigestAuth.make_response(request, 407, "biloxi.com", nonce: "5ccc069c", opaque: "")
      iex> response.headers.proxy_authenticate
      [{"Digest", %{"realm" => "biloxi.com", "nonce" => "5ccc069c", "opaque" => "", "algorithm" => "MD5", "qop" => "auth"}}]

  """
  @spec make_response(Message.request(), 401 | 407, realm, keyword) ::
          {:ok, Message.response()} | {:error, :unchallengeable}
  def make_response(incoming_request, status, realm, options \\ [])

  def make_response(%Message{start_line: %RequestLine{} = line} = request, status, realm, options)
      when status in [401, 407] and is_binary(realm) do
    options = Options.validate!(options, Schema.server() ++ Schema.challenge())

    if line.method in [:ack, :cancel] do
      {:error, :unchallengeable}
    else
      response = Message.to_response(request, status)

      {:ok,
       Message.put_header(response, header(status), Server.challenges(request, realm, options))}
    end
  end

  defp header(401), do: :www_authenticate
  defp header(407), do: :proxy_authenticate

  @doc """
  Verifies the credentials of a request and gives the username.

  `lookup` gives a user's secret. It is called once, and only for a nonce that is good; whether the error is `:unknown_user` or
  `:wrong_response` takes the same work. Where the request has several credentials for the realm, those with a nonce of
  ours are taken. The reasons and the options are listed above.
  """
  @spec verify(Message.request(), realm, lookup, keyword) ::
          {:ok, username :: String.t()} | {:error, refusal}
  def verify(%Message{start_line: %RequestLine{}} = request, realm, lookup, options \\ [])
      when is_binary(realm) and is_function(lookup, 1) do
    options = Options.validate!(options, Schema.server() ++ Schema.credentials())
    Server.verify(request, realm, lookup, options)
  end

  # What no new challenge would mend: see the table above.
  @malformed [:invalid_credentials, :uri_mismatch]

  # The client has the password; only its nonce is no good.
  @nonce_refused [:stale, :invalid_nonce, :replayed]

  @doc """
  Verifies the credentials of a request as `verify/4` does, and gives the response to send where it refuses them.

  The response is that of the table above: the challenge of `make_response/4`, with the option `:status` 407 that of a
  proxy, 400 or 403. An ACK and a CANCEL can't be challenged, and get 403, which to an ACK is not sent.

      iex> request = Sippet.Message.build_request(:register, "sip:biloxi.com")
      iex> secret = fn "bob" -> {:ok, "zanzibar"} end
      iex> {:error, response} = Sippet.DigestAuth.authenticate(request, "biloxi.com", secret)
      iex> response.start_line.status_code
      401
      iex> {:ok, next} = Sippet.DigestAuth.make_request(request, response, fn _realm -> {:ok, "bob", "zanzibar"} end)
      iex> Sippet.DigestAuth.authenticate(next, "biloxi.com", secret)
      {:ok, "bob"}

  """
  @spec authenticate(Message.request(), realm, lookup, keyword) ::
          {:ok, username :: String.t()} | {:error, Message.response()}
  def authenticate(request, realm, lookup, options \\ []) do
    with {:error, reason} <- verify(request, realm, lookup, options),
         do: {:error, refusal(reason, request, realm, options)}
  end

  defp refusal(reason, request, _realm, _options) when reason in @malformed,
    do: Message.to_response(request, 400)

  # RFC3261§21.4.4 - authorization will not help
  defp refusal(:too_many_failures, request, _realm, _options),
    do: Message.to_response(request, 403)

  defp refusal(reason, request, realm, options) do
    {status, options} =
      options |> Keyword.drop([:nextnonce, :address]) |> Keyword.pop(:status, 401)

    options = Keyword.put(options, :stale, reason in @nonce_refused)

    case make_response(request, status, realm, options) do
      {:ok, response} -> response
      {:error, :unchallengeable} -> Message.to_response(request, 403)
    end
  end

  @doc """
  Removes the credentials for a realm from the Proxy-Authorization of a request that a proxy forwards.

  They are for the proxy that asked for them alone; those for other realms go on to their proxies (RFC 3261 §22.3).

      iex> credentials = for realm <- ["atlanta.com", "biloxi.com"], do: {"Digest", %{"realm" => realm}}
      iex> request = Sippet.Message.build_request(:invite, "sip:bob@biloxi.com")
      iex> request = Sippet.Message.put_header(request, :proxy_authorization, credentials)
      iex> Sippet.DigestAuth.delete_credentials(request, "atlanta.com").headers.proxy_authorization
      [{"Digest", %{"realm" => "biloxi.com"}}]

  """
  @spec delete_credentials(Message.request(), realm) :: Message.request()
  def delete_credentials(%Message{start_line: %RequestLine{}} = request, realm)
      when is_binary(realm) do
    credentials = Message.get_header(request, :proxy_authorization, [])

    case Enum.reject(credentials, fn {_scheme, params} -> params["realm"] == realm end) do
      [] -> Message.delete_header(request, :proxy_authorization)
      others -> Message.put_header(request, :proxy_authorization, others)
    end
  end

  @doc """
  Adds Authentication-Info to the response of a request that `verify/4` accepted.

  Its `rspauth` shows the client that the server knows the secret (RFC 7616 §3.5), and covers the response's body with
  `auth-int`: call it last. Takes what `verify/4` takes, and gives an error where that would not have
  come to the password.

      iex> request = Sippet.Message.build_request(:options, "sip:biloxi.com")
      iex> {:ok, response} = Sippet.DigestAuth.make_response(request, 401, "biloxi.com")
      iex> bob = fn "biloxi.com" -> {:ok, "bob", "zanzibar"} end
      iex> {:ok, request} = Sippet.DigestAuth.make_request(request, response, bob)
      iex> ok = Sippet.Message.to_response(request, 200)
      iex> {:ok, ok} = Sippet.DigestAuth.put_authentication_info(ok, request, "biloxi.com", fn "bob" -> {:ok, "zanzibar"} end)
      iex> {:ok, info} = Sippet.DigestAuth.verify_response(ok, request, bob)
      iex> {info["qop"], info["nc"]}
      {"auth", "00000001"}

  """
  @spec put_authentication_info(Message.response(), Message.request(), realm, lookup, keyword) ::
          {:ok, Message.response()} | {:error, refusal}
  def put_authentication_info(
        %Message{start_line: %StatusLine{}} = response,
        %Message{start_line: %RequestLine{}} = request,
        realm,
        lookup,
        options \\ []
      )
      when is_binary(realm) and is_function(lookup, 1) do
    schema = Schema.server() ++ Schema.credentials()

    with {:ok, info} <-
           Server.info(response, request, realm, lookup, Options.validate!(options, schema)),
         do: {:ok, Message.put_header(response, :authentication_info, info)}
  end

  @doc """
  The digest of a username, a realm and a password, to be kept in place of the password.

  It opens what the password opens, in that realm: it is as secret. The session variant of an algorithm has the same. Gives
  lower-case hexadecimal digits; an unknown algorithm raises `ArgumentError`.

      iex> Sippet.DigestAuth.ha1("MD5", "Mufasa", "testrealm@host.com", "Circle Of Life")
      "939e7578ed9e3c518a452acee763bce9"

  """
  @spec ha1(algorithm, username, realm, password :: username) :: String.t()
  def ha1(algorithm, username, realm, password)
      when is_name(username) and is_binary(realm) and is_name(password) do
    {:ok, username, password} = Account.read(username, password)
    {:ok, ha1} = Computation.ha1(algorithm!(algorithm), username, realm, password)
    ha1
  end

  @doc """
  The digest of a username and a realm, by which a client may hide the name (RFC 7616 §3.4.4).

  Gives lower-case hexadecimal digits; an unknown algorithm raises `ArgumentError`.

      iex> Sippet.DigestAuth.userhash("MD5", "bob", "biloxi.com")
      "d3486d41d4666541c4f024aee188d517"

  """
  @spec userhash(algorithm, username, realm) :: String.t()
  def userhash(algorithm, username, realm) when is_name(username) and is_binary(realm),
    do: Computation.userhash(algorithm!(algorithm), to_string(username), realm)

  defp algorithm!(name) do
    case is_binary(name) and Algorithm.parse(name) do
      {:ok, algorithm} ->
        algorithm

      _ ->
        raise ArgumentError,
              "expected one of #{inspect(Algorithm.names())}, got: #{inspect(name)}"
    end
  end
end
