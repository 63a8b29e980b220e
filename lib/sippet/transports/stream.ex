defmodule Sippet.Transports.Stream do
  @options [
    name: [type: :atom, required: true, doc: "the stack that the transport belongs to"],
    port: [
      type: :port,
      default: nil,
      doc:
        "the local port; 0 lets the system choose one. The default is that of the protocol (RFC 3261 §18.2.1)"
    ],
    address: [
      type: {:custom, &Sippet.Address.local?/1, "an address or {address, family} tuple"},
      default: "0.0.0.0",
      doc: "the local address, as that of `Sippet.Transports.UDP`"
    ],
    advertise: [
      type: {:custom, &Sippet.LocalHosts.host?/1, "{host, port}"},
      default: nil,
      doc:
        "the host and port by which others reach this transport; the stack writes them into the Via of requests. " <>
          "Defaults to the address and port that the transport is bound to"
    ],
    listen: [
      type: :boolean,
      default: true,
      doc: "whether it takes connections of others; if not, it only opens its own"
    ],
    acceptors: [type: :positive, default: 4, doc: "processes that accept connections"],
    backlog: [
      type: :positive,
      default: 1_024,
      doc: "connections that wait in the system to be accepted"
    ],
    max_connections: [type: :positive, default: 16_384, doc: "connections at a time, in all"],
    max_per_address: [
      type: :positive,
      default: 1_024,
      doc: "connections at a time that one address has opened; of IPv6 one /64"
    ],
    handshake: [
      type: :positive,
      default: 5_000,
      doc:
        "ms until a connection that was accepted must be ready, if the protocol has a handshake"
    ],
    first_message: [
      type: :positive,
      default: 10_000,
      doc: "ms until the first message or keep-alive of a connection that was accepted"
    ],
    message: [
      type: :positive,
      default: 10_000,
      doc: "ms from the first octet of a message to its last one"
    ],
    idle: [
      type: :limit,
      default: 600_000,
      doc:
        "ms after which a connection without traffic is closed, or `:infinity`. At least 64·T1 (RFC 3261 §18): " <>
          "the answers of pending transactions come by it"
    ],
    connect: [
      type: :positive,
      default: 5_000,
      doc: "ms until a connection that is opened must be ready, with its handshake"
    ],
    waiting: [
      type: :positive,
      default: 100,
      doc: "messages that wait for a connection to be ready"
    ],
    max_message: [
      type: :positive,
      default: 65_535,
      doc:
        "octets of the largest message that is taken; a larger one gets 513, and ends its connection"
    ],
    max_unsent: [
      type: :positive,
      default: 262_144,
      doc:
        "octets that wait for a connection whose peer does not read; a further message gets `{:error, :busy}`"
    ],
    send_timeout: [
      type: :positive,
      default: 5_000,
      doc:
        "ms that a peer may read nothing while something is to be sent, before the connection is closed"
    ],
    keep_alive: [
      type:
        {:custom, &__MODULE__.keep_alive?/1, "false, true or a positive number of milliseconds"},
      default: false,
      doc:
        "whether the transport sends pings of its own by connections that it has opened (RFC 5626 §4.4.1): " <>
          "`true` after 95 to 120 s without traffic, a number after 80 to 100 % of so many ms"
    ],
    pong: [
      type: :positive,
      default: 10_000,
      doc: "ms until a ping must be answered, else the connection is closed (RFC 5626 §4.4.1)"
    ]
  ]

  @moduledoc """
  Connections of a stream protocol, for transports such as `Sippet.Transports.TCP`.

  A module of this behaviour says how sockets of its protocol are opened, read and written. It gets
  listening, accepting, connections that are used again, limits, clocks, keep-alives and telemetry.
  The guide [Writing a transport](writing-a-transport.md) has a whole one.

      defmodule MyStream do
        @behaviour Sippet.Transports.Stream

        def start_link(options), do: Sippet.Transports.Stream.start_link(__MODULE__, :tcp, options)
        # … and the callbacks
      end

  ## Options

  #{Sippet.Options.docs(@options)}

  ## Connections

  Each connection is a process that owns its socket, reads it and writes to it. Who sends hands over
  the octets, and never waits.

    * **Requests** go by a connection to the same address and port, if there is one, whoever has opened
      it (RFC 3261 §18). Else one is opened, once: further messages wait for it. If a connection turns out
      to be dead after it had been used before, the message is sent once more by a new one.
    * **Responses** go by the connection of their request. If that is gone, they go by another to the
      address in `received` and the port of the sent-by (RFC 3261 §18.2.2).
    * **The end of a connection** ends the client transactions that sent by it and have heard nothing
      since, within milliseconds. An INVITE with a provisional response goes on: its final response may
      come by another connection.

  The reasons of errors that the core gets are the system's, such as `:econnrefused`, and

  | reason | meaning |
  |---|---|
  | `:busy` | more than `:max_unsent` octets or `:waiting` messages wait for the connection |
  | `:closed` | the connection has ended |
  | `:max_connections` | there are as many connections as there may be |
  | `:etimedout` | the connection was not ready in time |
  | `:send_timeout` | the peer read nothing for too long |

  ## Receiving

  A connection hands the stack what it reads, and rests while 100 messages wait for a worker there. So a
  stack that has enough to do closes the TCP window of those who send, and of nobody else.

  Keep-alives (RFC 5626 §5.4) are answered before the parser. A message without Content-Length gets
  400, one over `:max_message` gets 513, if they can be answered. Then the connection is closed, because
  nobody can tell where the next message begins.

  ## Telemetry

  Connections are told by the events `connection opened`, `closed` and `refused` (`Sippet.Telemetry`).
  Reasons of `closed`: `:normal` (the peer has closed it), `:idle`, `:slow`, `:garbage`, `:too_large`,
  `:send_timeout`, `:no_pong`, `:shutdown`, or the system's, such as `:econnreset`. Reasons of `refused`:
  `:max_connections`, `:per_address`, `:handshake` and those of a protocol's own, and what the system says of one
  that was not opened.
  """

  alias Sippet.{Address, Options, Stack, Transport}
  alias Sippet.Transports.Stream.{Endpoint, Handle, Unsent}

  @type socket :: term
  @type listener :: term
  @type address :: {:inet.ip_address(), :inet.port_number()}

  @typedoc """
  Options with their defaults, as a map: those above, those of the transport's own, and `:ip` and
  `:family` of the local address.
  """
  @type options :: map

  @typedoc """
  What a peer has shown to be: `:identities` are the domains of its certificate, and other keys are for
  telemetry.
  """
  @type peer :: %{optional(:identities) => [String.t()], optional(atom) => term}

  @doc "Opens a listening socket, of the calling process."
  @callback listen(options) :: {:ok, listener} | {:error, term}

  @doc "Waits for a connection of somebody else. Returns `{:error, :closed}` after the listener was closed."
  @callback accept(listener) :: {:ok, socket} | {:error, term}

  @doc "Makes a connection that was accepted ready, in its process, within `:handshake` ms."
  @callback handshake(socket, options) :: {:ok, socket, peer} | {:error, term}

  @doc """
  Opens a connection, in its process, within `:connect` ms. `host` is the name that the address was found
  for, or `nil`.
  """
  @callback connect(address, host :: String.t() | nil, options) ::
              {:ok, socket, peer} | {:error, term}

  @doc "Gives a socket to another process."
  @callback controlling_process(socket, pid) :: :ok | {:error, term}

  @doc "Has the owner get the next octets as a message, or as a few (`{active, once}`, `{active, n}`)."
  @callback read(socket) :: :ok | {:error, term}

  @doc "Sends octets. It may wait for `:send_timeout` ms, and must send all of them or close the socket."
  @callback write(socket, iodata) :: :ok | {:error, term}

  @doc """
  What a message that the owner of the socket got says: octets, behind which no more come until `c:read/1` is called
  (`:data`); octets behind which more may come (`:part`); or that no more come (`:passive`).
  """
  @callback event(message :: term, socket) ::
              {:data | :part, binary} | :passive | :closed | {:error, term} | :unknown

  @callback close(socket) :: term
  @callback local_address(listener | socket) :: {:ok, address} | {:error, term}
  @callback remote_address(socket) :: {:ok, address} | {:error, term}

  @doc """
  The options above, for the schema and the documentation of a transport.
  """
  @doc since: "2.0.0"
  @spec options() :: keyword
  def options, do: @options

  @doc """
  Starts a transport of a protocol, whose sockets are those of a module of this behaviour.

  `schema` adds options of the transport's own to those above, in the same form, and `check` raises where they do not fit each
  other. Returns
  `{:error, reason}` if the port can't be bound. Raises `ArgumentError` for an option that is missing,
  unknown or of the wrong type.
  """
  @spec start_link(module, Sippet.Message.protocol(), keyword, keyword, (options -> term)) ::
          Supervisor.on_start()
  def start_link(module, protocol, options, schema \\ [], check \\ fn _options -> :ok end) do
    options = Options.validate!(options, @options ++ schema)
    check.(options)
    {family, ip} = Address.local!(options.address)
    port = options.port || Sippet.Names.default_port(protocol) || 0

    more = %{module: module, protocol: protocol, family: family, ip: ip, port: port}
    options = Map.merge(options, more)
    check_idle!(options)
    Endpoint.start_link(options)
  end

  # RFC3261§18 - a connection is open for as long as a transaction may take
  defp check_idle!(%{name: name, idle: idle} = options) when is_integer(idle) do
    with %Stack{options: %{t1: t1, answer_timeout: answer}} <- Stack.find(name) do
      if idle < 64 * t1 do
        raise ArgumentError,
              "expected :idle to be at least 64*T1, which is #{64 * t1} ms, got: #{idle}"
      end

      if idle < answer, do: warn_idle(options, answer)
    end

    :ok
  end

  defp check_idle!(_options), do: :ok

  defp warn_idle(%{name: name, idle: idle}, answer) do
    Sippet.Log.write(
      name,
      :warning,
      %{},
      "connections are closed after #{idle} ms without traffic, and an INVITE may wait #{answer} ms for its answer"
    )
  end

  @doc """
  A child specification; its id has the stack's name, the address and the port.
  """
  @spec child_spec(module, Sippet.Message.protocol(), keyword) :: Supervisor.child_spec()
  def child_spec(module, protocol, options) do
    address = options[:address] || @options[:address][:default]
    port = options[:port] || Sippet.Names.default_port(protocol)

    %{
      id: {module, options[:name], address, port},
      start: {module, :start_link, [options]},
      type: :supervisor
    }
  end

  @doc """
  The local address and port of a transport, given by its process or as the first one of a stack with
  this module.
  """
  @spec sockname(module, pid | atom) :: {:ok, address} | {:error, :not_bound}
  def sockname(_module, transport) when is_pid(transport), do: Endpoint.sockname(transport)

  def sockname(module, stack) when is_atom(stack) do
    case Enum.find(Stack.transports(Stack.fetch!(stack)), &(&1.module == module)) do
      %Transport{address: address} when address != nil -> {:ok, address}
      _none -> {:error, :not_bound}
    end
  end

  @doc """
  What `c:Sippet.Transport.send_message/4` of a transport does.
  """
  @spec send_message(term, Transport.destination(), iodata, Transport.key()) ::
          :ok | {:error, term}
  def send_message({:connection, pid, unsent, most}, _destination, octets, key),
    do: Unsent.offer(unsent, pid, IO.iodata_to_binary(octets), key, :only, most)

  def send_message(handle, destination, octets, key),
    do: Handle.send(handle, destination, octets, key)

  @doc """
  What `c:Sippet.Transport.for_host/2` of a transport does, whose connections depend on the name of the
  host.
  """
  @spec for_host(term, String.t()) :: term
  def for_host({:connection, _pid, _unsent, _most} = connection, _host), do: connection
  def for_host(handle, host), do: Handle.for_host(handle, host)

  @doc """
  What `c:Sippet.Transport.connections/1` of a transport does.
  """
  @spec connections(term) :: non_neg_integer
  def connections(handle), do: Handle.connections(handle)

  @doc false
  @spec keep_alive?(term) :: boolean
  def keep_alive?(value), do: is_boolean(value) or (is_integer(value) and value > 0)
end
