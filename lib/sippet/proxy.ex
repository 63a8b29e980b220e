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
      default: nil,
      doc:
        "protocol and sent-by of the proxy's own Via; `nil` leaves them to the stack that sends the copy"
    ],
    branch: [
      type: {:custom, &is_binary/1, "text"},
      default: nil,
      doc: "the branch of that Via; a new one by default, by which `validate/2` detects a loop"
    ],
    rport: [
      type: :boolean,
      default: false,
      doc:
        "whether a Via that you name in `:via` asks for `rport` (RFC 3581); the stack asks for it by itself where it writes " <>
          "the sent-by"
    ],
    record_route: [
      type: {:custom, &__MODULE__.uri?/1, "a Sippet.URI"},
      default: nil,
      doc:
        "the URI of the proxy, with `lr` and without a user, if the proxy wishes to stay on the path of the dialog"
    ],
    route: [
      type: {:custom, &is_list/1, "a list of Sippet.URI"},
      default: [],
      doc: "URIs that the request visits before its target: pushed before the Route that it has"
    ],
    nat: [
      type: :boolean,
      default: false,
      doc:
        "whether to reach user agents behind a NAT by the address that their messages come from (below, NAT)"
    ]
  ]

  @moduledoc """
  The steps of a proxy (RFC 3261 §16), as functions of messages.

  To write a stateful proxy, begin with `Sippet.Proxy.ResponseContext`: it sends the copies of a request,
  forwards responses, cancels branches and chooses the final response. This module has the steps before
  and after that:

  | step | function |
  |---|---|
  | §16.3 request validation | `validate/2` |
  | §16.4 route information preprocessing | `preprocess_route/2` |
  | §16.5 determining request targets | yours; `Sippet.Binding.targets/2` |
  | §16.6 request forwarding | `Sippet.Proxy.ResponseContext.run/5`, or `forward/3` and `Sippet.send/2` |
  | §16.7 response processing | `Sippet.Proxy.ResponseContext`, or `remove_via/2` and `best_response/2` |
  | §16.10 CANCEL processing | `Sippet.Proxy.ResponseContext`, or `Sippet.cancel/2` |
  | §16.11 stateless proxy | `stateless_branch/1`, `Sippet.forward/2`, the stack's option `:stateless` |

  Several functions take `own`, the hosts that are the proxy itself: `Sippet.own_hosts/1` lists them.

  ## NAT

  A user agent behind a NAT writes an address into its Contact that nobody outside can reach. The messages
  that it sends come from the address of its NAT binding, and only that leads back to it. With `nat: true`

    * a request to a `Sippet.Binding` goes by the flow that its REGISTER came by, if the Contact names
      another address;
    * `forward/3`, and for responses `Sippet.Proxy.ResponseContext`, write that address into the Contact of
      a message that makes a dialog (`put_alias/2`). A request within the dialog then has it in its
      Request-URI, and `forward/3` sends it there (`take_alias/1`).

  The proxy must stay on the path of the dialog (`:record_route`). Responses to such a user agent go by the
  option `:force_rport` of `Sippet.Transports.UDP`, if it does not ask for `rport` itself.
  """

  alias Sippet.{Address, Binding, Digits, Flow, Headers, LocalHosts, Message, Options, UAS, URI}
  alias Sippet.Message.{Completion, Refusal, RequestLine, Route, StatusLine, Tag}

  @typedoc "A host as it stands in a Via or a URI, and a port."
  @type host :: {String.t(), :inet.port_number()}

  @largest_port 65_535

  @sip_port URI.default_port("sip")

  @doc """
  Checks a request that is to be forwarded (§16.3). Returns `:ok`, or `{:error, response}` with the
  response that refuses it:

    * 400 - a header that a proxy has to read is malformed;
    * 416 - the scheme of the Request-URI is not one of `:schemes`;
    * 483 - Max-Forwards is 0;
    * 482 - the request has been here before, and nothing has changed since;
    * 420 with Unsupported - Proxy-Require lists an unknown extension. An ACK and a CANCEL pass.

  Do not answer an ACK.

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
    if request.start_line.request_uri.scheme in schemes, do: :ok, else: Refusal.new(request, 416)
  end

  defp max_forwards(%Message{headers: %{max_forwards: 0}} = request),
    do: Refusal.new(request, 483)

  defp max_forwards(_request), do: :ok

  # RFC3261§16.3 - one of our Vias whose branch says that nothing has changed since; RFC5393 demands it of who forks
  defp loop(request, own) do
    # What `forward/3` gets is behind the preprocessing.
    mark = request |> preprocess_route(own) |> loop_mark()

    looped? = fn {_version, _protocol, sent_by, params} ->
      member?(sent_by, own) and String.ends_with?(Map.get(params, "branch", ""), mark)
    end

    if Enum.any?(request.headers[:via] || [], looped?), do: Refusal.new(request, 482), else: :ok
  end

  # RFC3261§8.2.2.3 - as Require it is ignored in these
  defp proxy_require(%Message{start_line: %{method: method}}, _supported)
       when method in [:ack, :cancel],
       do: :ok

  defp proxy_require(request, supported) do
    case UAS.unsupported(request, :proxy_require, supported) do
      [] ->
        :ok

      tags ->
        response = Message.to_response(request, 420)
        {:error, Message.put_header(response, :unsupported, tags)}
    end
  end

  @doc """
  Removes this proxy from the route of a request (§16.4). `own` lists the hosts and ports by which others
  know the proxy (`Sippet.own_hosts/1`).

    * If the Request-URI is a Record-Route of this proxy, as a strict router sends it, the last Route takes
      its place.
    * A `maddr` that names the proxy is removed, if the request came by the transport that the URI names.
    * The first Route is removed, if it names the proxy.

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

  # RFC3261§16.4 - with it goes a port or a transport that is not the default, where the request came to that
  defp strip_maddr(request, own) do
    uri = request.start_line.request_uri

    with true <- uri.scheme in ["sip", "sips"],
         {:ok, maddr} <- Route.fetch_parameter(uri, "maddr"),
         true <- member?({maddr, uri.port}, own),
         true <- came_so?(request, Route.fetch_parameter(uri, "transport")) do
      uri = Route.without(uri, ["maddr", "transport"])
      put_uri(request, %{uri | port: URI.default_port(uri.scheme)})
    else
      _none -> request
    end
  end

  defp came_so?(_request, :error), do: true

  defp came_so?(%Message{source: %Flow{protocol: protocol}}, {:ok, transport}),
    do: Message.to_protocol(transport) == protocol

  defp came_so?(%Message{headers: %{via: [{_, protocol, _, _} | _]}}, {:ok, transport}),
    do: Message.to_protocol(transport) == protocol

  defp came_so?(_request, _transport), do: false

  defp pop_route(%Message{headers: %{route: [{_name, uri, _params} | _]}} = request, own) do
    if own?(uri, own), do: Message.delete_header_front(request, :route), else: request
  end

  defp pop_route(request, _own), do: request

  defp put_uri(request, uri), do: put_in(request.start_line.request_uri, uri)

  defp own?(uri, own), do: LocalHosts.member?(uri, own)
  defp member?(host, own), do: LocalHosts.member?(host, own)

  @doc """
  Makes the copy of a request that goes to one target (§16.6, steps 1 to 9).

  The copy has the target as its Request-URI, a Max-Forwards that is one less, the proxy's Record-Route and
  Via, and the form that a strict router needs if the next hop is one. The target is a URI, or a
  `Sippet.Binding`: then its Contact is the Request-URI, and its Path goes before the Route (RFC 3327 §5.4).

  Send the copy by `Sippet.send/2`, or by `Sippet.forward/2` in a stateless proxy. Options:

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
  @spec forward(Message.request(), URI.t() | Binding.t(), keyword) :: Message.request()
  def forward(request, target, options \\ [])

  def forward(request, %Binding{path: path} = binding, options) do
    options = Options.validate!(options, @forward_options)
    copy = copy(request, Binding.uri(binding), path, options)
    if options.nat and path == [], do: put_flow(copy, binding), else: copy
  end

  def forward(request, %URI{} = target, options),
    do: copy(request, target, [], Options.validate!(options, @forward_options))

  defp copy(%Message{headers: headers} = request, target, path, options) do
    pushed = for(uri <- options.route, do: {"", uri, %{}}) ++ path

    request
    |> nat(options)
    |> Map.merge(%{target: nil, source: nil})
    |> put_uri(Route.request_uri(target))
    |> Message.put_header(:max_forwards, hops(headers))
    |> record_route(options.record_route, pushed)
    |> Message.put_header_front(:via, via(options, request))
    |> Route.put(pushed ++ Map.get(headers, :route, []))
    |> take_alias(options)
  end

  defp via(options, request) do
    branch = options.branch || Message.create_branch() <> loop_mark(request)

    case options.via do
      nil -> put_elem(Completion.via(), 3, %{"branch" => branch})
      {protocol, sent_by} -> {{2, 0}, protocol, sent_by, asking(%{"branch" => branch}, options)}
    end
  end

  defp asking(params, %{rport: true}), do: Map.put(params, "rport", "")
  defp asking(params, _options), do: params

  # An alias is of use where the proxy sees the requests that have it.
  defp nat(request, %{nat: true, record_route: %URI{}}), do: put_alias(request)
  defp nat(request, _options), do: request

  defp take_alias(request, %{nat: true}), do: take_alias(request)
  defp take_alias(request, _options), do: request

  # With a route set, the next hop is another's.
  defp put_flow(%Message{headers: %{route: [_ | _]}} = copy, _binding), do: copy

  defp put_flow(copy, %Binding{source: %Flow{} = flow} = binding) do
    if elsewhere?(Binding.uri(binding), flow), do: %{copy | target: flow}, else: copy
  end

  defp put_flow(copy, _binding), do: copy

  # Whether a Contact names another address than the one that its message came from. What a name means is not known here.
  defp elsewhere?(%URI{host: host, port: port} = uri, %Flow{remote: {ip, source_port}}) do
    case Address.parse(host || "") do
      {:ok, address} -> {address, port} != {ip, source_port}
      :error -> Route.invalid_host?(uri)
    end
  end

  # The parameter of a Contact that Kamailio writes too: address, port and protocol.
  @alias "alias"

  @doc """
  Writes the address that a message came from into its Contact, as the URI parameter `alias`, if the
  Contact names another one.

  It does so only for a Contact of the user agent that sent the message to this proxy: for a request with
  one Via, and for a response whose topmost Record-Route is one of `own`. An `alias` that this user agent
  has written itself is taken off.

      iex> flow = %Sippet.Flow{protocol: :udp, remote: {{192, 0, 2, 9}, 40_001}}
      iex> request = Sippet.Message.build_request(:invite, "sip:bob@biloxi.com")
      iex> request = Sippet.Message.put_header(request, :via, [{{2, 0}, :udp, {"10.0.0.5", 5060}, %{}}])
      iex> request = Sippet.Message.put_header(request, :contact, [{"", Sippet.URI.parse!("sip:alice@10.0.0.5"), %{}}])
      iex> %{headers: %{contact: [{"", contact, %{}}]}} = Sippet.Proxy.put_alias(%{request | source: flow})
      iex> to_string(contact)
      "sip:alice@10.0.0.5;alias=192.0.2.9~40001~udp"
  """
  @spec put_alias(Message.t(), [host]) :: Message.t()
  def put_alias(message, own \\ [])

  def put_alias(
        %Message{source: %Flow{} = flow, headers: %{contact: [{name, %URI{} = uri, params}]}} =
          message,
        own
      ) do
    if uri.scheme in ["sip", "sips"] and first_hop?(message, own),
      do: Message.put_header(message, :contact, [{name, aliased(uri, flow), params}]),
      else: message
  end

  def put_alias(message, _own), do: message

  defp first_hop?(%Message{start_line: %RequestLine{}, headers: headers}, _own),
    do: match?([_only], headers[:via])

  defp first_hop?(%Message{headers: %{record_route: [{_name, uri, _params} | _]}}, own),
    do: own?(uri, own)

  defp first_hop?(_response, _own), do: false

  defp aliased(uri, flow) do
    uri = Route.without(uri, [@alias])
    if elsewhere?(uri, flow), do: with_alias(uri, flow), else: uri
  end

  defp with_alias(%URI{parameters: parameters} = uri, %Flow{
         remote: {ip, port},
         protocol: protocol
       }) do
    text = "#{Address.to_host(ip)}~#{port}~#{String.downcase(to_string(protocol))}"
    %{uri | parameters: "#{parameters};#{@alias}=#{text}"}
  end

  @doc """
  Takes the parameter `alias` out of the Request-URI of a request that has no Route, and makes its address
  the request's `target`.

      iex> request = Sippet.Message.build_request(:bye, "sip:alice@10.0.0.5;alias=192.0.2.9~40001~udp")
      iex> request = Sippet.Proxy.take_alias(request)
      iex> {to_string(request.start_line.request_uri), request.target}
      {"sip:alice@10.0.0.5", {:udp, "192.0.2.9", 40_001}}
  """
  @spec take_alias(Message.request()) :: Message.request()
  def take_alias(%Message{headers: %{route: [_ | _]}} = request), do: request

  def take_alias(%Message{start_line: %RequestLine{request_uri: uri}} = request) do
    with {:ok, text} <- Route.fetch_parameter(uri, @alias),
         [host, port, protocol] <- String.split(text, "~"),
         {:ok, ip} <- Address.parse(host),
         {:ok, port} when port > 0 <- Digits.parse(port, @largest_port) do
      target = {Message.to_protocol(protocol), Address.to_text(ip), port}
      %{put_uri(request, Route.without(uri, [@alias])) | target: target}
    else
      _none -> request
    end
  end

  defp hops(%{max_forwards: hops}), do: max(hops - 1, 0)
  defp hops(_headers), do: Completion.max_forwards()

  defp record_route(request, nil, _pushed), do: request

  defp record_route(request, uri, pushed) do
    # `preprocess_route/2` knows the proxy by it, also where a strict router has made it the Request-URI.
    unless Route.loose?(uri) and uri.userinfo == nil and uri.scheme in ["sip", "sips"] do
      raise ArgumentError,
            "expected :record_route to be a SIP URI with the parameter lr and without a user, got: #{uri}"
    end

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
  Returns the branch by which a stateless proxy forwards a request (§16.11).

  The branch is the same for each retransmission, for the CANCEL of an INVITE, and for the ACK of its
  refusal. Pass the request as it came, before you change it.

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
  Removes the proxy's own Via from a response (§16.7 step 3, §16.11). `own` lists the sent-by values of the
  proxy (`Sippet.own_hosts/1`).

  Returns `{:ok, response}`, or `{:error, reason}` with

    * `:own_request` - no other Via is left: the response answers a request of the proxy itself, such as a
      CANCEL;
    * `:not_ours` - the topmost Via is not the proxy's. Drop the response.
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
    best = Enum.min_by(responses, &rank(request, &1.start_line.status_code))

    case best.start_line.status_code do
      503 -> Message.to_response(request, 500)
      status when status in [401, 407] -> challenge(best, responses)
      _status -> best
    end
  end

  # RFC4320§4.2 - none is sent to a request that is no INVITE
  defp rank(%Message{start_line: %{method: method}}, 408) when method != :invite, do: {9, 0}
  defp rank(_request, status), do: rank(status)

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
  # Those that a response context takes too.
  @spec forward_options() :: Options.schema()
  def forward_options, do: @forward_options

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
