defmodule Examples.Registrar do
  @moduledoc """
  A registrar: knows where the users of its domains can be reached (RFC 3261 §10.3).

  Options: `:name` of the stack, `:address` and `:port` to listen on, `:domains`, and `:users` as `%{name => password}`, or
  `nil` to believe everybody; `:bind` as `Sippet.DigestAuth` has it. `:stack` has more options of the stack (`Sippet`); the
  others are those of `Sippet.Binding.register/3`.
  """

  use Supervisor
  use Sippet.Core

  alias Examples.Registrar.Location
  alias Sippet.{Binding, DigestAuth, Message, UAS}

  @binding_options [:default_expires, :min_expires, :max_expires, :max_bindings]

  def start_link(options), do: Supervisor.start_link(__MODULE__, options)

  @impl true
  def init(options) do
    name = Keyword.fetch!(options, :name)
    udp = [name: name, port: options[:port] || 5060, address: options[:address] || "127.0.0.1"]

    children = [
      {Location, configure(name, options)},
      {DigestAuth.NonceStore, name: nonces(name)},
      {Sippet, [name: name, core: __MODULE__] ++ Keyword.get(options, :stack, [])},
      {Sippet.Transports.UDP, udp}
    ]

    Supervisor.init(children, strategy: :rest_for_one)
  end

  @doc "Keeps what the callbacks read; a proxy that is a registrar too calls it, and starts the location service."
  def configure(name, options) do
    domains = options[:domains] || ["example.com"]

    :persistent_term.put({__MODULE__, name}, %{
      domains: Enum.map(domains, &String.downcase/1),
      realm: options[:realm] || hd(domains),
      users: options[:users],
      bind: options[:bind],
      binding: Keyword.take(options, @binding_options)
    })

    name
  end

  @doc "The name of the nonce store that must be running where there are users."
  def nonces(name), do: Module.concat(name, Nonces)

  @impl true
  def receive_request(_ack, nil, _stack), do: :ok

  def receive_request(request, _key, stack) do
    config = :persistent_term.get({__MODULE__, stack})

    with :ok <- UAS.validate(request, allow: ["REGISTER"]),
         :ok <- known(request, request.start_line.request_uri, config),
         {:ok, user} <- authenticate(request, stack, config),
         :ok <- authorize(request, user),
         :ok <- known(request, to(request), config) do
      Sippet.send(stack, Location.register(stack, request, config.binding))
    else
      {:error, response} -> Sippet.reply(stack, response)
    end
  end

  # RFC3261§10.3, steps 1 and 5 - the domain, and the address-of-record in it
  defp known(request, uri, config) do
    if uri.host != nil and String.downcase(uri.host) in config.domains,
      do: :ok,
      else: {:error, Message.to_response(request, 404)}
  end

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
  The targets of a Request-URI, for a proxy: lists of URIs, the best first; `:error` where the domain is not served here.
  """
  def locate(stack, uri) do
    %{domains: domains} = :persistent_term.get({__MODULE__, stack})

    if uri.host != nil and String.downcase(uri.host) in domains,
      do: {:ok, Location.targets(stack, Binding.address_of_record(uri))},
      else: :error
  end
end

defmodule Examples.Registrar.Location do
  @moduledoc """
  The location service: a table of bindings, that many read and one process writes (RFC 3261 §10.3: REGISTERs are taken one
  after another).
  """

  use GenServer

  alias Sippet.Binding

  @sweep :timer.minutes(1)

  def start_link(stack), do: GenServer.start_link(__MODULE__, stack, name: table(stack))

  defp table(stack), do: Module.concat(stack, Location)

  @doc "Takes a REGISTER that is allowed, and gives its response."
  def register(stack, request, options),
    do: GenServer.call(table(stack), {:register, request, options})

  def targets(stack, address_of_record),
    do: stack |> table() |> bindings(address_of_record) |> Binding.targets()

  defp bindings(table, address_of_record) do
    case :ets.lookup(table, address_of_record) do
      [{_address_of_record, bindings}] -> bindings
      [] -> []
    end
  end

  @impl true
  def init(stack) do
    table = :ets.new(table(stack), [:named_table, read_concurrency: true])
    {:ok, table, {:continue, :wait}}
  end

  @impl true
  def handle_continue(:wait, table) do
    Process.send_after(self(), :sweep, @sweep)
    {:noreply, table}
  end

  @impl true
  def handle_call({:register, request, options}, _from, table) do
    {_name, uri, _params} = request.headers.to
    key = Binding.address_of_record(uri)

    case Binding.register(bindings(table, key), request, options) do
      {:ok, bindings, response} ->
        store(table, key, bindings)
        {:reply, response, table}

      {:error, response} ->
        {:reply, response, table}
    end
  end

  @impl true
  def handle_info(:sweep, table) do
    for {key, bindings} <- :ets.tab2list(table),
        do: store(table, key, Binding.current(bindings))

    {:noreply, table, {:continue, :wait}}
  end

  defp store(table, key, []), do: :ets.delete(table, key)
  defp store(table, key, bindings), do: :ets.insert(table, {key, bindings})
end
