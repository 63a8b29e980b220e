defmodule Sippet.Proxy do
  @validate_options [
    own: [
      type: {:custom, &__MODULE__.hosts?/1, "a list of {host, port}"},
      default: [],
      doc: "what the proxy writes as sent-by into its Vias; without it no loop is detected"
    ],
    schemes: [
      type: {:custom, &is_list/1, "a list of schemes"},
      default: ["sip", "sips"],
      doc: "the schemes of Request-URIs that are understood"
    ],
    supported: [
      type: {:custom, &is_list/1, "a list of option tags"},
      default: [],
      doc: "the extensions in a Proxy-Require that are understood"
    ]
  ]

  @forward_options [
    via: [
      type: {:custom, &__MODULE__.sent_by?/1, "{protocol, {host, port}}"},
      required: true,
      doc: "protocol and sent-by of the proxy's own Via"
    ],
    branch: [
      type: {:custom, &is_binary/1, "text"},
      default: nil,
      doc: "the branch of that Via; a new one by default, by which `validate/2` knows a loop"
    ],
    record_route: [
      type: {:custom, &__MODULE__.uri?/1, "a Sippet.URI"},
      default: nil,
      doc: "the URI of the proxy, with `lr`, if it wishes to stay on the path of the dialog"
    ],
    route: [
      type: {:custom, &is_list/1, "a list of Sippet.URI"},
      default: [],
      doc: "what the request shall visit before its target: pushed before the Route that it has"
    ]
  ]

  @moduledoc """
  What a proxy does with a message, step by step as RFC 3261 §16 has it: functions of messages alone.

  | step | function |
  |---|---|
  | §16.3 request validation | `validate/2` |
  | §16.4 route information preprocessing | `preprocess_route/2` |
  | §16.5 determining request targets | yours; `Sippet.Binding.targets/2` |
  | §16.6 request forwarding | `forward/3`, then `Sippet.send/2` |
  | §16.7 response processing | `remove_via/2`, `best_response/2` |
  | §16.10 CANCEL processing | `Sippet.Message.to_cancel/1` |
  | §16.11 stateless proxy | `stateless_branch/1`, `Sippet.forward/2`, the stack's option `:stateless` |

  What stays between messages, as which branches wait for an answer, is the application's: `examples/forking_proxy.ex`
  keeps it in the process of the callback, `examples/stateless_proxy.ex` keeps nothing.
  """

  alias Sippet.{Headers, Message, Options, UAS, URI}
  alias Sippet.Message.{Route, StatusLine, Tag}

  @typedoc "A host as it stands in a Via or a URI, and a port."
  @type host :: {String.t(), :inet.port_number()}

  # RFC3261§8.1.1.6
  @max_forwards 70

  @sip_port URI.default_port("sip")

  @doc """
  Validates a request that is to be forwarded (§16.3), and gives the response that refuses it.

  The response is 400 where a header that a proxy has to look at is malformed, 416, 483, 482 for a loop, or 420 with Unsupported. An
  ACK is not to be answered.

  Options:

  #{Options.docs(@validate_options)}

      iex> request = Sippet.Message.build_request(:invite, "sip:bob@biloxi.com")
      iex> request = Sippet.Message.put_header(request, :max_forwards, 0)
      iex> {:error, response} = Sippet.Proxy.validate(request)
      iex> response.start_line.status_code
      483
  """
  @spec validate(Message.request(), keyword) :: :ok | {:error, Message.response()}
  def validate(request, options \\ []) do
    options = Options.validate!(options, @validate_options)

    # RFC3261§16.3 - what takes part in the forwarding must be well-formed; all else is none of a
    # proxy's business
    with :ok <- UAS.well_formed(request, ["Record-Route", "Proxy-Require"]),
         :ok <- scheme(request, options.schemes),
         :ok <- max_forwards(request),
         :ok <- loop(request, options.own) do
      proxy_require(request, options.supported)
    end
  end

  defp scheme(request, schemes) do
    if request.start_line.request_uri.scheme in schemes, do: :ok, else: refuse(request, 416)
  end

  defp max_forwards(%Message{headers: %{max_forwards: 0}} = request), do: refuse(request, 483)
  defp max_forwards(_request), do: :ok

  # RFC3261§16.3 - one of our Vias whose branch says that nothing has changed since; RFC5393 demands it of who forks
  defp loop(request, own) do
    # What `forward/3` gets is behind the preprocessing.
    mark = request |> preprocess_route(own) |> loop_mark()

    looped? = fn {_version, _protocol, sent_by, params} ->
      member?(sent_by, own) and String.ends_with?(Map.get(params, "branch", ""), mark)
    end

    if Enum.any?(request.headers[:via] || [], looped?), do: refuse(request, 482), else: :ok
  end

  defp proxy_require(request, supported) do
    case UAS.unsupported(request, :proxy_require, supported) do
      [] ->
        :ok

      tags ->
        response = Message.to_response(request, 420)
        {:error, Message.put_header(response, :unsupported, tags)}
    end
  end

  defp refuse(request, status), do: {:error, Message.to_response(request, status)}

  @doc """
  Takes this proxy out of a request's way (§16.4). `own` lists the hosts and ports that the proxy has in its Record-Route,
  or goes by in a Route.

  A Request-URI that the proxy wrote into a Record-Route, as a strict router sends it, gives way to the last Route; a
  `maddr` that names the proxy goes; and so does the first Route, if it names the proxy.

      iex> route = for host <- ["ss1.atlanta.com", "ss2.biloxi.com"], do: {"", Sippet.URI.parse!("sip:\#{host};lr"), %{}}
      iex> request = Sippet.Message.build_request(:bye, "sip:bob@192.0.2.4") |> Sippet.Message.put_header(:route, route)
      iex> request = Sippet.Proxy.preprocess_route(request, [{"ss1.atlanta.com", 5060}])
      iex> for {_name, uri, _params} <- request.headers.route, do: to_string(uri)
      ["sip:ss2.biloxi.com;lr"]
  """
  @spec preprocess_route(Message.request(), [host]) :: Message.request()
  def preprocess_route(request, own),
    do: request |> from_strict_router(own) |> strip_maddr(own) |> pop_route(own)

  # A Record-Route of ours has `lr` and no user; any other URI of this host is one that we serve.
  defp from_strict_router(%Message{headers: %{route: [_ | _] = route}} = request, own) do
    uri = request.start_line.request_uri

    if own?(uri, own) and uri.userinfo == nil and Route.loose?(uri) do
      {_name, last, _params} = List.last(route)
      put_uri(Message.delete_header_back(request, :route), last)
    else
      request
    end
  end

  defp from_strict_router(request, _own), do: request

  # RFC3261§16.4 - with it goes a port or a transport that is not the default
  defp strip_maddr(request, own) do
    uri = request.start_line.request_uri

    with true <- uri.scheme in ["sip", "sips"],
         %{"maddr" => maddr} when is_binary(maddr) <- URI.decode_parameters(uri.parameters),
         true <- member?({maddr, uri.port}, own) do
      uri = Route.without(uri, ["maddr", "transport"])
      put_uri(request, %{uri | port: URI.default_port(uri.scheme)})
    else
      _none -> request
    end
  end

  defp pop_route(%Message{headers: %{route: [{_name, uri, _params} | _]}} = request, own) do
    if own?(uri, own), do: Message.delete_header_front(request, :route), else: request
  end

  defp pop_route(request, _own), do: request

  defp put_uri(request, uri), do: put_in(request.start_line.request_uri, uri)

  defp own?(%URI{host: nil}, _own), do: false
  defp own?(%URI{host: host, port: port}, own), do: member?({host, port}, own)

  defp member?({host, port}, own) do
    host = String.downcase(host, :ascii)

    Enum.any?(own, fn {name, number} ->
      number == port and String.downcase(name, :ascii) == host
    end)
  end

  @doc """
  The copy of a request that goes to one target (§16.6, steps 1 to 9): with the target as its Request-URI, Max-Forwards
  one less, the proxy's Record-Route and Via, and formed for a strict router where the next one is such.

  It is for `Sippet.send/2`, or for `Sippet.forward/2` in a stateless proxy. Options:

  #{Options.docs(@forward_options)}

      iex> via = {{2, 0}, :udp, {"192.0.2.101", 5060}, %{"branch" => "z9hG4bK74b43"}}
      iex> request = Sippet.Message.build_request(:invite, "sip:bob@biloxi.com") |> Sippet.Message.put_header(:via, [via])
      iex> target = Sippet.URI.parse!("sip:bob@192.0.2.4")
      iex> copy = Sippet.Proxy.forward(request, target, via: {:udp, {"ss1.atlanta.com", 5060}}, branch: "z9hG4bK2d4790.1")
      iex> {to_string(copy.start_line), copy.headers.max_forwards}
      {"INVITE sip:bob@192.0.2.4 SIP/2.0", 70}
      iex> copy.headers.via
      [{{2, 0}, :udp, {"ss1.atlanta.com", 5060}, %{"branch" => "z9hG4bK2d4790.1"}}, via]
  """
  @spec forward(Message.request(), URI.t(), keyword) :: Message.request()
  def forward(%Message{headers: headers} = request, %URI{} = target, options) do
    options = Options.validate!(options, @forward_options)
    {protocol, sent_by} = options.via
    branch = options.branch || Message.create_branch() <> loop_mark(request)
    pushed = for uri <- options.route, do: {"", uri, %{}}

    %{request | target: nil, source: nil}
    |> put_uri(Route.request_uri(target))
    |> Message.put_header(:max_forwards, hops(headers))
    |> record_route(options.record_route, pushed)
    |> Message.put_header_front(:via, {{2, 0}, protocol, sent_by, %{"branch" => branch}})
    |> Route.put(pushed ++ Map.get(headers, :route, []))
  end

  defp hops(%{max_forwards: hops}), do: max(hops - 1, 0)
  defp hops(_headers), do: @max_forwards

  defp record_route(request, nil, _pushed), do: request

  defp record_route(request, uri, pushed) do
    unless Route.loose?(uri),
      do: raise(ArgumentError, "expected :record_route to have the parameter lr, got: #{uri}")

    Message.put_header_front(request, :record_route, {"", secured(uri, request, pushed), %{}})
  end

  # RFC3261§16.6 - where the request goes on by a SIPS URI, its Record-Route is one
  defp secured(uri, request, pushed) do
    first = pushed ++ Message.get_header(request, :route, [])
    next = for {_name, uri, _params} <- Enum.take(first, 1), do: uri.scheme

    if "sips" in [request.start_line.request_uri.scheme | next], do: sips(uri), else: uri
  end

  # A port that was the default of the one scheme is that of the other.
  defp sips(%URI{scheme: "sip", port: @sip_port} = uri),
    do: %{uri | scheme: "sips", port: URI.default_port("sips")}

  defp sips(uri), do: %{uri | scheme: "sips"}

  @doc """
  The branch with which a stateless proxy forwards a request (§16.11): the same for each retransmission, and for the
  CANCEL of an INVITE and the ACK of its refusal. Give it what came, before anything was changed.

      iex> via = {{2, 0}, :udp, {"192.0.2.101", 5060}, %{"branch" => "z9hG4bK74b43"}}
      iex> branch = fn method ->
      ...>   request = Sippet.Message.build_request(method, "sip:bob@biloxi.com")
      ...>   Sippet.Proxy.stateless_branch(Sippet.Message.put_header(request, :via, [via]))
      ...> end
      iex> branch.(:invite) == branch.(:cancel)
      true
  """
  @spec stateless_branch(Message.request()) :: String.t()
  def stateless_branch(%Message{headers: %{via: [{_, _, sent_by, params} = via | _]}} = request) do
    # The sent-by is taken too, as two clients of one branch are two transactions (RFC3261§17.2.3).
    case params do
      %{"branch" => "z9hG4bK" <> unique} when unique != "" -> branch({unique, lower(sent_by)})
      _rfc2543 -> branch(rfc2543(request, via))
    end
  end

  defp branch(term), do: Message.magic_cookie() <> hash(term)
  defp lower({host, port}), do: {String.downcase(host, :ascii), port}

  # RFC3261§16.11 - one of these varies across two transactions. The To tag is left out for an ACK, which has that of
  # the response and must have the branch of its INVITE.
  defp rfc2543(%Message{headers: headers} = request, {_version, _protocol, sent_by, params}) do
    {number, method} = headers.cseq
    to = if method in [:invite, :ack, :cancel], do: nil, else: Tag.of(headers.to)

    {lower(sent_by), params["branch"], to, Tag.of(headers.from), headers.call_id, number,
     to_string(request.start_line.request_uri)}
  end

  @doc """
  Takes the proxy's own Via off a response (§16.7 step 3, §16.11); `own` lists what it writes as sent-by.

  `{:error, :own_request}` where no Via is left: the response is to a request of the proxy's own, as a CANCEL. `{:error,
  :not_ours}` where the topmost Via is not the proxy's: the response is to be dropped.
  """
  @spec remove_via(Message.response(), [host]) ::
          {:ok, Message.response()} | {:error, :own_request | :not_ours}
  def remove_via(%Message{start_line: %StatusLine{}, headers: headers} = response, own) do
    case headers do
      %{via: [{_version, _protocol, sent_by, _params} | vias]} ->
        cond do
          not member?(sent_by, own) -> {:error, :not_ours}
          vias == [] -> {:error, :own_request}
          true -> {:ok, Message.put_header(response, :via, vias)}
        end

      %{} ->
        {:error, :not_ours}
    end
  end

  # RFC3261§16.7 - these say how the request may come again
  @resubmission [401, 407, 415, 420, 484]

  @doc """
  The response that a request gets when all branches have ended without a 2xx (§16.7, steps 6 and 7).

  `responses` are the final ones, in the order of their coming and without the proxy's Via. A 6xx wins; else it is one of
  the lowest class, and there one that says how the request may come again. A 401 or a 407 gets the challenges of all
  others. Where there is nothing but 503 the answer is 500, as a 503 would speak for the proxy itself; where there
  is nothing at all it is 408.

      iex> request = Sippet.Message.build_request(:invite, "sip:bob@biloxi.com")
      iex> responses = Enum.map([503, 407, 501, 404], &Sippet.Message.to_response(request, &1))
      iex> Sippet.Proxy.best_response(request, responses).start_line.status_code
      407
  """
  @spec best_response(Message.request(), [Message.response()]) :: Message.response()
  def best_response(request, []), do: Message.to_response(request, 408)

  def best_response(request, responses) do
    best = Enum.min_by(responses, &rank(&1.start_line.status_code))

    case best.start_line.status_code do
      503 -> Message.to_response(request, 500)
      status when status in [401, 407] -> challenge(best, responses)
      _status -> best
    end
  end

  defp rank(status) when status >= 600, do: {0, 0}
  defp rank(status) when status in @resubmission, do: {4, 0}
  # A 408 here is most often the proxy's own: any answer of an endpoint tells more.
  defp rank(status) when status in [408, 503], do: {div(status, 100), 2}
  defp rank(status), do: {div(status, 100), 1}

  defp challenge(best, responses) do
    challenges = Enum.filter(responses, &(&1.start_line.status_code in [401, 407]))

    headers = [www_authenticate: "WWW-Authenticate", proxy_authenticate: "Proxy-Authenticate"]

    Enum.reduce(headers, best, fn {header, name}, best ->
      gathered = Enum.flat_map(challenges, &List.wrap(Message.get_header(&1, name)))

      cond do
        gathered == [] -> best
        Enum.any?(gathered, &is_binary/1) -> Message.put_header(best, name, lines(name, gathered))
        true -> Message.put_header(best, header, gathered)
      end
    end)
  end

  # RFC3261§16.7 - none is left out, so that one that is malformed makes lines of all.
  defp lines(name, challenges) do
    for challenge <- challenges do
      if is_binary(challenge),
        do: challenge,
        else: IO.iodata_to_binary(Headers.to_iodata(name, [challenge]))
    end
  end

  # RFC3261§16.6 step 8 - a hash of what has an influence on where the request goes, at the end of the branch. RFC5393§4.2
  # leaves the Via out, else no loop by way of another proxy would ever be seen.
  defp loop_mark(%Message{headers: headers} = request) do
    "." <>
      hash(
        {to_string(request.start_line.request_uri), headers[:call_id],
         headers[:cseq] && elem(headers.cseq, 0), Tag.of(headers[:from]), Tag.of(headers[:to]),
         headers[:route], headers[:proxy_require], headers[:proxy_authorization]}
      )
  end

  # Without a secret, so that several nodes may be one proxy. A branch is a token: no base 64.
  defp hash(term) do
    :sha256
    |> :crypto.hash(:erlang.term_to_binary(term))
    |> binary_part(0, 12)
    |> Base.encode16(case: :lower)
  end

  @doc false
  @spec hosts?(term) :: boolean
  def hosts?(value), do: is_list(value) and Enum.all?(value, &host?/1)

  defp host?({host, port}), do: is_binary(host) and port in 0..65_535
  defp host?(_other), do: false

  @doc false
  @spec sent_by?(term) :: boolean
  def sent_by?({protocol, sent_by}) when is_atom(protocol) or is_binary(protocol),
    do: host?(sent_by)

  def sent_by?(_other), do: false

  @doc false
  @spec uri?(term) :: boolean
  def uri?(value), do: is_struct(value, URI)
end
