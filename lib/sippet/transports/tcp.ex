defmodule Sippet.Transports.TCP do
  @moduledoc """
  SIP over TCP, IPv4 or IPv6.

      children = [
        {Sippet, name: :mystack, core: MyCore},
        {Sippet.Transports.UDP, name: :mystack, port: 5060},
        {Sippet.Transports.TCP, name: :mystack, port: 5060}
      ]

  Who listens on UDP listens on TCP at the same port too (RFC 3261 §18.2.1). Requests over 1,300 octets
  then leave by TCP, and by UDP after all if the peer takes no TCP (§18.1.1). A stack may have several,
  one for each family and address. `sockname/1` tells the port that the system chose.

  `Sippet.Transports.Stream` says how connections are opened, used again, limited and closed.

  ## Options

  #{Sippet.Options.docs(Sippet.Transports.Stream.options())}
  """

  @behaviour Sippet.Transport
  @behaviour Sippet.Transports.Stream

  alias Sippet.Transports.Stream

  @doc """
  Starts the transport; see the options above.

  Returns `{:error, reason}` if the port can't be bound, such as `:eaddrinuse` or `:eacces`. Raises
  `ArgumentError` for an option that is missing, unknown or of the wrong type.
  """
  @spec start_link(keyword) :: Supervisor.on_start()
  def start_link(options), do: Stream.start_link(__MODULE__, :tcp, options)

  @doc """
  A child specification; its id has the stack's name, the address and the port, so that several fit one
  supervisor.
  """
  @spec child_spec(keyword) :: Supervisor.child_spec()
  def child_spec(options), do: Stream.child_spec(__MODULE__, :tcp, options)

  @doc """
  The local address and port of a transport, given by its process or as the first one of a stack.

  Returns `{:error, :not_bound}` where the stack has no TCP transport.
  """
  @spec sockname(pid | atom) :: {:ok, Stream.address()} | {:error, :not_bound}
  def sockname(transport), do: Stream.sockname(__MODULE__, transport)

  ## Sippet.Transport

  @doc false
  @impl Sippet.Transport
  defdelegate send_message(handle, destination, octets, key), to: Stream

  @doc false
  @impl Sippet.Transport
  defdelegate connections(handle), to: Stream

  ## Sippet.Transports.Stream

  # Behind it, memory that each connection holds while it is silent.
  @buffer 1_460

  # Reads that come by themselves: the descriptor stays with the scheduler as long.
  @reads 10

  # Seconds of silence until the system asks whether the peer is still there, between two questions, and how many there are.
  @keepalive {60, 10, 6}

  # Milliseconds until what was sent must be acknowledged.
  @user_timeout 30_000

  @doc false
  @impl Stream
  def listen(%{port: port} = options), do: :gen_tcp.listen(port, listening(options))

  @doc false
  # What `:ssl` passes on is the same.
  @spec listening(map) :: list
  def listening(%{family: family, backlog: backlog} = options),
    do: [reuseaddr: true, backlog: backlog] ++ v6_only(family) ++ connecting(options)

  defp v6_only(:inet6), do: [ipv6_v6only: true]
  defp v6_only(:inet), do: []

  @doc false
  # From the address that it listens at, by a port that the system chooses.
  @spec connecting(map) :: list
  def connecting(%{family: family, ip: ip, send_timeout: timeout}) do
    [
      family,
      ip: ip,
      mode: :binary,
      active: false,
      packet: :raw,
      nodelay: true,
      keepalive: true,
      buffer: @buffer,
      send_timeout: timeout,
      send_timeout_close: true
    ] ++ half_open(:os.type())
  end

  # A peer that has gone without a word is found within minutes, and not within hours. TCP_KEEPIDLE, TCP_KEEPINTVL,
  # TCP_KEEPCNT and TCP_USER_TIMEOUT of Linux.
  defp half_open({:unix, :linux}) do
    {idle, interval, count} = @keepalive

    for {option, value} <- [{4, idle}, {5, interval}, {6, count}, {18, @user_timeout}],
        do: {:raw, 6, option, <<value::32-native>>}
  end

  defp half_open(_other), do: []

  @doc false
  @impl Stream
  def accept(listener), do: :gen_tcp.accept(listener)

  @doc false
  @impl Stream
  def handshake(socket, _options), do: {:ok, socket, %{}}

  @doc false
  @impl Stream
  def connect({ip, port}, _host, %{connect: timeout} = options) do
    with {:ok, socket} <- :gen_tcp.connect(ip, port, connecting(options), timeout),
         do: {:ok, socket, %{}}
  end

  @doc false
  @impl Stream
  defdelegate controlling_process(socket, pid), to: :gen_tcp

  @doc false
  @impl Stream
  def read(socket), do: :inet.setopts(socket, active: @reads)

  @doc false
  @impl Stream
  def write(socket, octets), do: :gen_tcp.send(socket, octets)

  @doc false
  @impl Stream
  def event({:tcp, socket, data}, socket), do: {:part, data}
  def event({:tcp_passive, socket}, socket), do: :passive
  def event({:tcp_closed, socket}, socket), do: :closed
  def event({:tcp_error, socket, reason}, socket), do: {:error, reason}
  def event(_message, _socket), do: :unknown

  @doc false
  @impl Stream
  defdelegate close(socket), to: :gen_tcp

  @doc false
  @impl Stream
  def local_address(socket), do: :inet.sockname(socket)

  @doc false
  @impl Stream
  def remote_address(socket), do: :inet.peername(socket)
end
