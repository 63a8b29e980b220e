defmodule Sippet.Transports.UDP do
  @options [
    name: [type: :atom, required: true, doc: "the stack that the transport belongs to"],
    port: [
      type: :port,
      default: Sippet.Names.default_port(:udp),
      doc: "the local port; 0 lets the system choose one"
    ],
    address: [
      type: {:custom, &Sippet.Address.local?/1, "an address or {address, family} tuple"},
      default: "0.0.0.0",
      doc:
        "the local address: text, or text with `:inet` or `:inet6`, as in `{\"::\", :inet6}`, or a tuple, as in `{127, 0, 0, 1}`; a host name is looked up once, when the transport starts"
    ],
    advertise: [
      type: {:custom, &Sippet.LocalHosts.host?/1, "{host, port}"},
      default: nil,
      doc:
        "the host and port by which others reach this transport, as behind a NAT; the stack writes them into the Via of " <>
          "requests. Defaults to the address and port that the transport is bound to, and for a transport bound to all " <>
          "addresses to the address of the default route"
    ],
    recbuf: [
      type: :positive,
      default: 4_194_304,
      doc:
        "octets asked for as the receive buffer, where a burst waits; the system may give less (`net.core.rmem_max` on Linux)"
    ],
    sndbuf: [
      type: :positive,
      default: 1_048_576,
      doc: "octets asked for as the send buffer; the system may give less"
    ],
    largest: [
      type: :positive,
      # The length field of UDP has 16 bits, and covers its own header (RFC 768): no datagram is larger.
      default: 65_535,
      doc: "octets of the largest datagram that is taken; larger ones are dropped"
    ],
    batch: [
      type: :positive,
      default: 100,
      doc: "datagrams taken in one go, before the process looks after its other messages"
    ],
    force_rport: [
      type: :boolean,
      default: false,
      doc:
        "whether each request is answered to the port that it came from, as if its topmost Via had asked for that by " <>
          "`rport` (RFC 3581); for clients behind a NAT that do not ask"
    ],
    stun: [
      type: {:custom, &__MODULE__.stun?/1, ":answer or :ignore"},
      default: :answer,
      doc: "whether STUN Binding requests are answered (RFC 5626 §8) or dropped"
    ],
    retry: [
      type: {:custom, &__MODULE__.retry?/1, "false or a positive number of milliseconds"},
      default: false,
      doc:
        "`false`: a port that can't be bound ends the start; a number of ms: it is tried again after that time, as in version 1.0 (10,000 there)"
    ]
  ]

  @moduledoc """
  SIP over UDP, IPv4 or IPv6.

      children = [
        {Sippet, name: :mystack, core: MyCore},
        {Sippet.Transports.UDP, name: :mystack, port: 5060},
        {Sippet.Transports.UDP, name: :mystack, port: 5060, address: {"::", :inet6}}
      ]

  A stack may have several: one for each family and address. An IPv6 transport takes no IPv4 traffic. The port that
  the system chose is told by `sockname/1`.

  ## Options

  #{Sippet.Options.docs(@options)}

  ## Receiving

  One process takes the datagrams, at most `:batch` at a time: under load they wait in the socket's buffer, where the
  kernel drops what is too much. Datagrams of any size that UDP allows are taken whole. These never reach the
  stack's parser, and are counted as `:message_dropped` (`Sippet.Telemetry`):

    * nothing but CR and LF, and empty ones: `:keep_alive`;
    * STUN: `:stun`, answered or not. A Binding request (RFC 8489, RFC 5626 §8) is answered from the same socket
      with the address that it came from;
    * larger than `:largest`: `:truncated`.

  If the stack is not there, or is restarted, the transport keeps its socket and registers again as soon as it can.
  What comes meanwhile waits in the socket's buffer. As long as no stack of this name has been there for a second, a
  warning in the log says so, and again every minute.

  ## Sending

  Datagrams leave from the process that sends. The transport gets addresses only, because the
  stack has looked up names before (`Sippet`, Names). The reasons of errors are the system's, such
  as `:emsgsize` for a message that does not fit a datagram (65,507 bytes over IPv4).

  On Linux the transport reads ICMP errors. If one says that a destination is unreachable, the
  client transaction ends whose request it quotes, and the core gets the name of the error, such
  as `:econnrefused` (RFC 3261 §18.4). The quoted bytes must hold the branch of the request, which
  nobody can guess who forges an error. An error that quotes less ends nothing. Every error is
  counted as `transport_error`. On other systems transactions time out.

  This transport does not send to multicast groups, so a `maddr` in the topmost Via that names a
  group is not obeyed.
  """

  @behaviour Sippet.Transport

  alias Sippet.{Address, Options, Stack}
  alias Sippet.Transports.UDP.{Server, Socket}

  @doc """
  Starts the transport; see the options above.

  Returns `{:error, reason}` if the port can't be bound, such as `:eaddrinuse` or `:eacces`,
  unless `:retry` is set. Raises `ArgumentError` for an option that is missing, unknown or of the
  wrong type, and for a host name in `:address` that is not found.
  """
  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(options), do: start_link(options, Sippet.Router)

  @doc false
  # Tests hand in where datagrams go.
  @spec start_link(keyword, module) :: GenServer.on_start()
  def start_link(options, router) do
    options = Options.validate!(options, @options)
    {family, ip} = Address.local!(options.address)
    more = %{module: __MODULE__, router: router, family: family, ip: ip}
    GenServer.start_link(Server, Map.merge(options, more))
  end

  @doc """
  A child specification; its id has the stack's name, the address and the port, so that several fit one supervisor.

  Two with port 0 on one address need ids of their own (`Supervisor.child_spec/2`).
  """
  @spec child_spec(keyword) :: Supervisor.child_spec()
  def child_spec(options) do
    defaults = [port: @options[:port][:default], address: @options[:address][:default]]
    given = Keyword.merge(defaults, options)

    %{
      id: {__MODULE__, given[:name], given[:address], given[:port]},
      start: {__MODULE__, :start_link, [options]}
    }
  end

  @doc """
  The local address and port of a transport, given by its process or as the first one of a stack.

  `{:error, :not_bound}` while a transport with `:retry` has no port, or where the stack has no UDP transport.
  """
  @spec sockname(pid | atom) ::
          {:ok, {:inet.ip_address(), :inet.port_number()}} | {:error, term}
  def sockname(transport) when is_pid(transport), do: GenServer.call(transport, :sockname)

  def sockname(stack) when is_atom(stack) do
    case Enum.find(Stack.transports(Stack.fetch!(stack)), &(&1.module == __MODULE__)) do
      nil -> {:error, :not_bound}
      transport -> Socket.sockname(transport.handle)
    end
  end

  @doc false
  @impl Sippet.Transport
  def send_message(%Socket{} = socket, destination, octets, _key),
    do: Socket.send(socket, destination, octets)

  @doc false
  @spec stun?(term) :: boolean
  def stun?(value), do: value in [:answer, :ignore]

  @doc false
  @spec retry?(term) :: boolean
  def retry?(value), do: value == false or (is_integer(value) and value > 0)
end
