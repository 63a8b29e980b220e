defmodule Examples.StatelessProxy do
  @moduledoc """
  A stateless proxy (RFC 3261 §16.11) that spreads the calls of its domains over several servers,
  and remembers nothing.

  Options: `:name` of the stack, `:address` and `:port` to listen on, `:domains`, `:servers` as a
  list of URIs, each that of a loose router (`sip:192.0.2.7;lr`), `:record_route` (false), whether
  it stays on the path of a dialog, and `:stack` with more options of the stack (`Sippet`).
  """

  use Supervisor
  use Sippet.Core

  alias Sippet.{Message, Proxy, URI}
  def start_link(options), do: Supervisor.start_link(__MODULE__, options)

  @impl true
  def init(options) do
    name = Keyword.fetch!(options, :name)
    udp = [name: name, port: options[:port] || 5060, address: options[:address] || "127.0.0.1"]
    domains = options[:domains] || ["example.com"]

    :persistent_term.put({__MODULE__, name}, %{
      domains: Enum.map(domains, &String.downcase/1),
      servers: Enum.map(options[:servers] || ["sip:127.0.0.1:5070;lr"], &URI.parse!/1),
      record_route: Keyword.get(options, :record_route, false)
    })

    children = [
      # Without server transactions: every message comes as it is, with `nil` as its key.
      {Sippet,
       [name: name, core: __MODULE__, stateless: true] ++ Keyword.get(options, :stack, [])},
      {Sippet.Transports.UDP, udp}
    ]

    Supervisor.init(children, strategy: :rest_for_one)
  end

  @impl true
  # RFC3261§16.11 - a CANCEL, an ACK and a retransmission are requests like all others
  def receive_request(request, nil, stack) do
    config = :persistent_term.get({__MODULE__, stack})

    with :ok <- Proxy.validate(request),
         copy = copy(request, stack, config),
         {:error, _reason} <- Sippet.forward(stack, copy) do
      # RFC3261§16.9, §16.7 step 6 - a transport's error is a 503, and that becomes a 500
      refuse(request, Message.to_response(request, 500), stack)
    else
      :ok -> :ok
      {:error, response} -> refuse(request, response, stack)
    end
  end

  defp refuse(%Message{start_line: %{method: :ack}}, _response, _stack), do: :ok
  defp refuse(_request, response, stack), do: Sippet.forward(stack, response)

  @impl true
  # RFC3261§16.11 - to where the next Via says; what is not ours is dropped
  def receive_response(response, nil, stack) do
    with {:ok, response} <- Proxy.remove_via(response, Sippet.own_hosts(stack)),
         do: Sippet.forward(stack, response)
  end

  # Nothing is lost that anybody here waits for.
  @impl true
  def receive_error(_reason, _key, _stack), do: :ok

  defp copy(received, stack, config) do
    request = Proxy.preprocess_route(received, Sippet.own_hosts(stack))
    uri = request.start_line.request_uri
    own = Sippet.own_uri(stack, lr: true)

    Proxy.forward(request, uri,
      # The same for what comes again, for the CANCEL of an INVITE, and for its refusal's ACK.
      branch: Proxy.stateless_branch(received),
      record_route: if(config.record_route and request.start_line.method == :invite, do: own),
      route: server(request, uri, config)
    )
  end

  # RFC3261§16.11 - the choice rests on what all requests of a call have in common, and on nothing
  # that changes
  defp server(%Message{headers: headers}, uri, config) do
    if uri.host != nil and String.downcase(uri.host) in config.domains and
         not is_map_key(headers, :route),
       do: [Enum.at(config.servers, :erlang.phash2(headers.call_id, length(config.servers)))],
       else: []
  end
end
