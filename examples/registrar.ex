defmodule Examples.Registrar do
  @moduledoc """
  A registrar: knows where the users of its domains can be reached (RFC 3261 §10.3).

  Options: `:name` of the stack, `:address` and `:port` to listen on, `:domains`, and `:users` as
  `%{name => password}`, or `nil` to believe everybody; `:bind` as `Sippet.DigestAuth` has it.
  With `:file`, a path, the bindings survive a restart. `:stack` has more options of the stack
  (`Sippet`); the others are those of `Sippet.Binding.register/3`.
  """

  use Supervisor
  use Sippet.Core

  alias Sippet.Binding.Store
  alias Sippet.{DigestAuth, Message, UAS}

  @binding_options [
    :default_expires,
    :min_expires,
    :max_expires,
    :max_bindings,
    :when_full,
    :path
  ]

  def start_link(options), do: Supervisor.start_link(__MODULE__, options)

  @impl true
  def init(options) do
    name = Keyword.fetch!(options, :name)
    udp = [name: name, port: options[:port] || 5060, address: options[:address] || "127.0.0.1"]

    children = [
      configure(name, options),
      {DigestAuth.NonceStore, name: nonces(name)},
      {Sippet, [name: name, core: __MODULE__] ++ Keyword.get(options, :stack, [])},
      {Sippet.Transports.UDP, udp}
    ]

    Supervisor.init(children, strategy: :rest_for_one)
  end

  @doc """
  Keeps what the callbacks read, and returns the child that is the location service. A proxy that
  is a registrar too has it among its children.
  """
  def configure(name, options) do
    domains = options[:domains] || ["example.com"]
    bindings = Module.concat(name, Bindings)

    {module, _options} =
      store =
      if path = options[:file],
        do: {Store.File, name: bindings, path: path},
        else: {Store.Memory, name: bindings}

    :persistent_term.put({__MODULE__, name}, %{
      domains: Enum.map(domains, &String.downcase/1),
      realm: options[:realm] || hd(domains),
      users: options[:users],
      bind: options[:bind],
      binding: Keyword.take(options, @binding_options),
      store: {module, bindings}
    })

    store
  end

  @doc "The name of the nonce store that must be running where there are users."
  def nonces(name), do: Module.concat(name, Nonces)

  @impl true
  def receive_request(_ack, nil, _stack), do: :ok

  def receive_request(request, _key, stack) do
    config = :persistent_term.get({__MODULE__, stack})

    with :ok <- UAS.validate(request, allow: ["REGISTER"], supported: ["path", "outbound"]),
         :ok <- known(request, request.start_line.request_uri, config),
         {:ok, user} <- authenticate(request, stack, config),
         :ok <- authorize(request, user),
         :ok <- known(request, to(request), config),
         {:ok, response} <- Store.register(config.store, request, config.binding) do
      Sippet.send(stack, response)
    else
      {:error, response} -> Sippet.reply(stack, response)
    end
  end

  # RFC3261§10.3, steps 1 and 5 - the domain, and the address-of-record in it
  defp known(request, uri, config) do
    if ours?(uri, config), do: :ok, else: {:error, Message.to_response(request, 404)}
  end

  defp ours?(uri, config), do: uri.host != nil and String.downcase(uri.host) in config.domains

  # RFC3261§10.3, step 3
  defp authenticate(request, _stack, %{users: nil}), do: {:ok, to(request).userinfo}

  defp authenticate(request, stack, %{users: users, realm: realm, bind: bind}) do
    secret = fn user -> with :error <- Map.fetch(users, user), do: {:error, :unknown} end
    options = [algorithm: "MD5", store: nonces(stack), bind: bind]
    DigestAuth.authenticate(request, realm, secret, options)
  end

  # RFC3261§10.3, step 4 - users change their own bindings
  defp authorize(request, user) do
    if to(request).userinfo == user, do: :ok, else: {:error, Message.to_response(request, 403)}
  end

  defp to(%Message{headers: %{to: {_name, uri, _params}}}), do: uri

  @doc """
  The targets of a Request-URI, for a proxy: lists of bindings, the best first; `:error` where the
  domain is not served here, and `{:error, :unavailable}` where the store can't be read.
  """
  def locate(stack, uri) do
    config = :persistent_term.get({__MODULE__, stack})

    # RFC5626§7 - of the flows of one user agent, one is tried: the one that it has refreshed last
    with true <- ours?(uri, config) || :error,
         {:ok, targets} <- Store.targets(config.store, uri),
         do: {:ok, for(bindings <- targets, do: Enum.uniq_by(bindings, &(&1.instance || &1)))}
  end
end
