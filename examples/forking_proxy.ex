defmodule Examples.ForkingProxy do
  @moduledoc """
  A stateful proxy: forwards a request to all places where its user is registered, and gives back
  the best answer (RFC 3261 §16).

  It is the registrar of its domains too (`Examples.Registrar`, whose options it takes). Its own
  are `:record_route` (true), whether it stays on the path of a dialog; `:routes`, which proxies
  lead to other domains, as `%{domain => URI}`; `:proxy_users` as `%{name => password}`, who may
  call through it, or `nil` for everybody; `:nat` (false), whether it reaches phones behind a NAT;
  and `:timer_c` and `:report`, which are options of `Sippet.Proxy.ResponseContext.run/5`.
  """

  use Supervisor
  use Sippet.Core

  alias Examples.Registrar
  alias Sippet.{Dialog, DigestAuth, Message, Proxy, URI}
  alias Sippet.Proxy.ResponseContext

  def start_link(options), do: Supervisor.start_link(__MODULE__, options)

  @impl true
  def init(options) do
    name = Keyword.fetch!(options, :name)
    nat = Keyword.get(options, :nat, false)
    udp = [name: name, port: options[:port] || 5060, address: options[:address] || "127.0.0.1"]

    :persistent_term.put({__MODULE__, name}, %{
      record_route: Keyword.get(options, :record_route, true),
      routes: Map.new(options[:routes] || %{}, fn {domain, uri} -> {domain, URI.parse!(uri)} end),
      users: options[:proxy_users],
      bind: options[:bind],
      realm: options[:realm] || hd(options[:domains] || ["example.com"]),
      nat: nat,
      context: Keyword.take(options, [:timer_c, :report])
    })

    children = [
      Registrar.configure(name, options),
      {DigestAuth.NonceStore, name: Registrar.nonces(name)},
      {Sippet, [name: name, core: __MODULE__] ++ Keyword.get(options, :stack, [])},
      {Sippet.Transports.UDP, [force_rport: nat] ++ udp}
    ]

    Supervisor.init(children, strategy: :rest_for_one)
  end

  @impl true
  # RFC3261§16.10 - here comes the CANCEL of what no response context has yet. Of what is unknown,
  # the stack has answered 481.
  def receive_request(%Message{start_line: %{method: :cancel}} = cancel, _key, stack),
    do: Sippet.send(stack, Message.to_response(cancel, 200))

  def receive_request(request, key, stack) do
    config = :persistent_term.get({__MODULE__, stack})
    own = Sippet.own_hosts(stack)

    with :ok <- Proxy.validate(request, own: own),
         # The digest covers the Request-URI as it came.
         {:ok, request} <- authorize(request, stack, config),
         request = Proxy.preprocess_route(request, own),
         {:ok, targets, route} <- targets(request, stack, config) do
      forward(request, key, stack, targets, options(request, stack, route, config))
    else
      :registrar -> Registrar.receive_request(request, key, stack)
      # It costs nothing, whoever the sender is.
      {:error, response} -> if key, do: Sippet.reply(stack, response)
    end
  end

  # RFC3261§22.3 - who begins something says who they are; what belongs to a dialog was let in by
  # its first request.
  defp authorize(%Message{start_line: %{method: method}} = request, stack, config) do
    if config.users == nil or method == :register or Dialog.within?(request) do
      {:ok, DigestAuth.delete_credentials(request, config.realm)}
    else
      secret = fn user -> with :error <- Map.fetch(config.users, user), do: {:error, :unknown} end

      options = [status: 407, store: Registrar.nonces(stack), bind: config.bind]

      with {:ok, _user} <- DigestAuth.authenticate(request, config.realm, secret, options),
           do: {:ok, DigestAuth.delete_credentials(request, config.realm)}
    end
  end

  # RFC3261§16.5 - a domain of ours is looked up; any other is its own target, perhaps by way of
  # another proxy
  defp targets(request, stack, config) do
    uri = request.start_line.request_uri

    case Registrar.locate(stack, uri) do
      {:ok, _targets} when request.start_line.method == :register -> :registrar
      {:ok, targets} -> {:ok, targets, []}
      {:error, :unavailable} -> {:error, Message.to_response(request, 500)}
      :error when is_map_key(request.headers, :route) -> {:ok, [[uri]], []}
      :error -> {:ok, [[uri]], List.wrap(config.routes[uri.host])}
    end
  end

  defp options(request, stack, route, %{nat: nat} = config) do
    own = Sippet.own_uri(stack, flow: request.source, lr: true)
    stays? = config.record_route and request.start_line.method == :invite
    [record_route: if(stays?, do: own), route: route, nat: nat] ++ config.context
  end

  # RFC3261§16.6 - an ACK has no transaction: it goes on to one target, and that is all
  defp forward(ack, nil, stack, [[target | _] | _], options),
    do: Sippet.send(stack, Proxy.forward(ack, target, Keyword.take(options, [:route, :nat])))

  defp forward(_ack, nil, _stack, [], _options), do: :ok

  defp forward(request, key, stack, targets, options),
    do: ResponseContext.run(stack, key, request, targets, options)

  @impl true
  def receive_response(response, key, stack),
    do: ResponseContext.receive_response(stack, response, key)
end
