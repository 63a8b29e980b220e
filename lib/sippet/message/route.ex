defmodule Sippet.Message.Route do
  @moduledoc false
  # Where a request goes by its Route and its Request-URI, and how both are written (RFC 3261 §8.1.2, §12.2.1.1, §16.6).

  alias Sippet.{Address, Flow, Message, Names, URI}

  @type hop :: {Message.protocol(), String.t() | :inet.ip_address(), :inet.port_number()}

  @doc """
  Where the request goes: its `target`, else its first Route, else its Request-URI.
  """
  @spec hop(Message.request()) :: hop | nil
  def hop(%Message{target: {protocol, host, port}}), do: {protocol, host, port}

  def hop(%Message{target: %Flow{protocol: protocol, remote: {ip, port}}}),
    do: {protocol, ip, port}

  def hop(%Message{headers: headers, start_line: %{request_uri: request_uri}}) do
    # RFC3261§8.1.2 - a SIPS Request-URI makes a SIPS URI of the Route's too
    secure? = request_uri.scheme == "sips"

    case headers do
      %{route: [{_name, %URI{} = uri, _params} | _]} ->
        # RFC3261§8.1.2 - a first Route without lr is a strict router: its URI stands in the Request-URI already
        if loose?(uri),
          do: of_uri(uri, headers, secure?),
          else: of_uri(request_uri, headers, secure?)

      %{} ->
        of_uri(request_uri, headers, secure?)
    end
  end

  @doc """
  Writes a route set into a request whose Request-URI is the remote target (RFC 3261 §12.2.1.1, §16.6).

  A first URI without `lr` is that of a strict router, who wants its own URI in the Request-URI, and gives back the last
  Route. The request then goes to that Request-URI, whatever stands in the Route that is left: as `target`, if it names a
  host.
  """
  @spec put(Message.request(), [tuple]) :: Message.request()
  def put(request, []), do: Message.delete_header(request, :route)

  def put(request, [{_name, uri, _params} | rest] = route) do
    if loose?(uri) do
      Message.put_header(request, :route, route)
    else
      remote_target = request.start_line.request_uri
      last = {"", remote_target, %{}}
      request = put_in(request.start_line.request_uri, request_uri(uri))
      secure? = remote_target.scheme == "sips"
      target = of_uri(request.start_line.request_uri, request.headers, secure?)
      %{Message.put_header(request, :route, rest ++ [last]) | target: request.target || target}
    end
  end

  @doc """
  A URI without what may not stand in a Request-URI: headers, and the parameter `method` (RFC 3261 §19.1.1).
  """
  @spec request_uri(URI.t()) :: URI.t()
  def request_uri(%URI{} = uri), do: %{without(uri, ["method"]) | headers: nil}

  @doc """
  A URI without the parameters of these names.
  """
  @spec without(URI.t(), [String.t()]) :: URI.t()
  def without(%URI{parameters: parameters} = uri, names) do
    named? = fn {name, _value} -> String.downcase(name, :ascii) in names end
    {gone, kept} = parameters |> URI.parameters_decoder() |> Enum.split_with(named?)

    case {gone, kept} do
      {[], _kept} -> uri
      {_gone, []} -> %{uri | parameters: nil}
      {_gone, kept} -> %{uri | parameters: URI.encode_parameters(kept)}
    end
  end

  @doc """
  Whether a URI is that of a loose router (RFC 3261 §19.1.1).
  """
  @spec loose?(URI.t()) :: boolean
  def loose?(uri), do: parameter?(uri, "lr")

  @doc """
  Whether the host of a URI is one that no name server knows, by which a client says that only its flow leads to it (RFC 7118
  §5).
  """
  @spec invalid_host?(URI.t()) :: boolean
  def invalid_host?(%URI{host: host}),
    do: host != nil and String.ends_with?(String.downcase(host, :ascii), ".invalid")

  @doc """
  Whether a URI has the parameter of this name, given in lower case.
  """
  @spec parameter?(URI.t(), String.t()) :: boolean
  def parameter?(%URI{parameters: parameters}, name),
    do: parameters |> parameters() |> Map.has_key?(name)

  @doc """
  The value of a URI's parameter of this name, given in lower case; `""` of one without a value.
  """
  @spec fetch_parameter(URI.t(), String.t()) :: {:ok, String.t()} | :error
  def fetch_parameter(%URI{parameters: parameters}, name),
    do: parameters |> parameters() |> Map.fetch(name)

  # RFC3261§19.1.4 - parameter names are compared in any letter case
  defp parameters(nil), do: %{}

  defp parameters(text) do
    for {name, value} <- URI.parameters_decoder(text), into: %{} do
      {String.downcase(name, :ascii), value || ""}
    end
  end

  defp of_uri(%URI{scheme: scheme, host: host} = uri, headers, secure?)
       when scheme in ["sip", "sips"] and is_binary(host) do
    parameters = parameters(uri.parameters)
    protocol = protocol(if(secure?, do: "sips", else: scheme), parameters, headers)

    with {:ok, host} <- maddr(parameters, host), do: {protocol, host, port(uri, protocol)}
  end

  # A `tel:` or another URI names no host: whoever sends it sets a Route or a target.
  defp of_uri(_uri, _headers, _secure?), do: nil

  defp maddr(%{"maddr" => text}, _host), do: with(:error <- Address.host(text), do: nil)
  defp maddr(_parameters, host), do: {:ok, host}

  # RFC3261§26.2.2 - sips means TLS on every hop
  defp protocol("sips", %{"transport" => transport}, _headers) do
    case String.downcase(transport, :ascii) do
      "ws" <> _ -> :wss
      _ -> Names.scheme_protocol("sips")
    end
  end

  defp protocol("sip", %{"transport" => transport}, _headers), do: Message.to_protocol(transport)
  defp protocol("sip", _parameters, %{via: [{_, protocol, _, _} | _]}), do: protocol
  defp protocol(scheme, _parameters, _headers), do: Names.scheme_protocol(scheme)

  # RFC3261§19.1.2 - a URI without a port has the default of its scheme; over TLS that is the one of sips
  defp port(%URI{scheme: scheme, port: port} = uri, protocol) do
    default = URI.default_port(scheme)

    cond do
      port not in [nil, default] -> port
      Names.secure?(protocol) and not written?(uri) -> URI.default_port("sips")
      true -> default
    end
  end

  defp written?(%URI{authority: nil}), do: false
  defp written?(%URI{port: nil}), do: false
  defp written?(%URI{authority: text, port: port}), do: String.ends_with?(text, ":#{port}")
end
