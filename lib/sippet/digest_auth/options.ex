defmodule Sippet.DigestAuth.Options do
  @moduledoc false
  # The schemas of the options that Sippet.DigestAuth takes.

  alias Sippet.DigestAuth.Algorithm

  @doc """
  Of a client that answers a challenge.
  """
  @spec client() :: Sippet.Options.schema()
  def client do
    [
      cnonce: [type: text(), default: nil, doc: "the client's nonce; random by default"],
      nc: [
        type: {:custom, &(&1 in 1..0xFFFFFFFF), "an integer from 1 to 4294967295"},
        default: 1,
        doc:
          "how many requests were sent with this nonce, this one included. To use the nonce of an earlier response again, give that response and the next count"
      ],
      qop: [
        type: {:custom, &(&1 in ["auth", "auth-int"]), "\"auth\" or \"auth-int\""},
        default: "auth",
        doc:
          "the protection to choose where the server offers both. `auth-int` covers the body, which proxies and gateways on the way may change"
      ],
      algorithms: [
        type: algorithms(),
        default: Algorithm.names(),
        doc: "those that are answered. Without MD5, nobody on the way can bring it down to that"
      ],
      prefer: [
        type: {:custom, &(&1 in [:strongest, :topmost]), ":strongest or :topmost"},
        default: :strongest,
        doc:
          "which challenge for one realm is answered: the strongest, and the topmost of equals; or the topmost that is known, as the server would have it (RFC 8760 §2.4)"
      ]
    ]
  end

  @doc """
  Of a client that repeats its credentials.
  """
  @spec repeat() :: Sippet.Options.schema()
  def repeat, do: [nonce: [type: text(), default: nil, doc: "the nonce to use from now on"]]

  @doc """
  Of a server, for challenges and for credentials.
  """
  @spec server() :: Sippet.Options.schema()
  def server do
    [
      algorithm: [
        type: {:custom, &(algorithm?(&1) or algorithms?(&1)), "an algorithm or a list of them"},
        default: "MD5",
        doc:
          "what is asked for and accepted, the most preferred first. MD5 is what every client knows, and weak: `[\"SHA-256\", \"MD5\"]` lets the better ones do better, `\"SHA-256\"` keeps the others out"
      ],
      qop: [
        type: {:custom, &qop?/1, "\"auth\", \"auth-int\" or both, parted by a comma"},
        default: "auth",
        doc:
          "the protection that is asked for and accepted. A client of RFC 2069, which has none, passes as `auth` where the algorithm is MD5"
      ],
      secret: [
        type: {:custom, &secret?/1, "16 octets or more"},
        default: nil,
        doc:
          "what signs the nonces. By default it is random and lasts as long as the VM; nodes that share one know each other's nonces"
      ],
      max_age: [type: :positive, default: 300_000, doc: "milliseconds for which a nonce is good"],
      store: [
        type: :atom,
        default: nil,
        doc: "the name of a `Sippet.DigestAuth.NonceStore`, which must be running"
      ],
      limit: [
        type: :atom,
        default: nil,
        doc:
          "the name of a `Sippet.DigestAuth.FailureLimit`, which must be running. By default no failed login is counted"
      ],
      bind: [
        type: {:custom, &(&1 == :call_id), ":call_id"},
        default: nil,
        doc:
          "with `:call_id`, a nonce is good only in requests with the Call-ID of the request that it was made for. Another Call-ID gets a stale challenge, so a client needs one more round trip for each call; the REGISTERs of a client have one Call-ID (RFC 3261 §10.2)"
      ],
      uri: [
        type:
          {:custom, &(&1 in [:any, :equivalent] or is_function(&1, 2)),
           ":equivalent, :any or a function of the text and the request"},
        default: :equivalent,
        doc:
          "which `uri` of the credentials is accepted. `:equivalent` accepts the Request-URI (RFC 7616 §3.4.6), compared by `Sippet.URI.equivalent/2` or octet by octet; an ACK, which repeats the credentials of its INVITE, is not compared. A proxy in front that rewrites the Request-URI makes the two differ (RFC 3261 §22.4): then give a function that returns `true` for each URI that you serve, or `:any`. With `:any`, credentials that were made for one URI are accepted with every other. See the guide \"Digest authentication\" for the risk"
      ],
      userhash: [
        type: :boolean,
        default: false,
        doc: "whether clients may hide their username; the look-up must know hashes then"
      ],
      now: [
        type: {:custom, &(is_integer(&1) and &1 > 0), "milliseconds since 1970"},
        default: nil,
        doc: "the time to go by instead of the system's, for tests"
      ]
    ]
  end

  @doc """
  Of a server, for challenges alone.
  """
  @spec challenge() :: Sippet.Options.schema()
  def challenge do
    [
      nonce: [
        type: text(),
        default: nil,
        doc: "a nonce of your own, which you verify yourself"
      ],
      opaque: [
        type: text(),
        default: nil,
        doc: "what the client returns as it is; random by default"
      ],
      stale: [
        type: :boolean,
        default: false,
        doc:
          "whether it was only the nonce that was refused, so that the client need not ask its user"
      ]
    ]
  end

  @doc """
  Of a server, for credentials alone.
  """
  @spec credentials() :: Sippet.Options.schema()
  def credentials do
    [
      status: [
        type: {:custom, &(&1 in [401, 407]), "401 or 407"},
        default: 401,
        doc:
          "what the challenge is sent with: 401 goes with Authorization, 407 with Proxy-Authorization"
      ],
      address: [
        type: {:custom, fn _any -> true end, ":source, any other term or nil"},
        default: :source,
        doc:
          "the sender that a failed login counts for with `:limit`. `:source` is the IP address that the request came from, by its `source`. Behind a proxy that is the proxy's: give the address of the client that the proxy tells, or `nil` to limit by user alone"
      ],
      nextnonce: [
        type: :boolean,
        default: false,
        doc:
          "whether Authentication-Info gives the client a new nonce; `verify/4` makes no use of it"
      ]
    ]
  end

  defp text, do: {:custom, &is_binary/1, "text"}

  defp algorithms,
    do: {:custom, &algorithms?/1, "a list of different ones of #{inspect(Algorithm.names())}"}

  # RFC8760§2.3 - each of these header fields must use a different digest algorithm
  defp algorithms?([_ | _] = names) do
    Enum.all?(names, &algorithm?/1) and names == Enum.uniq_by(names, &Algorithm.parse/1)
  end

  defp algorithms?(_names), do: false

  defp algorithm?(name), do: is_binary(name) and Algorithm.parse(name) != :error

  # RFC8760§2.6 - a UAS must always send qop
  defp qop?(qop) do
    is_binary(qop) and
      String.split(qop, [",", " "], trim: true) in [
        ["auth"],
        ["auth-int"],
        ["auth", "auth-int"],
        ["auth-int", "auth"]
      ]
  end

  defp secret?(secret), do: is_binary(secret) and byte_size(secret) >= 16
end
