defmodule Sippet.Transports.TLS do
  @options Sippet.Transports.Stream.options() ++ Sippet.Transports.TLS.Options.schema()

  @moduledoc """
  SIP over TLS, IPv4 or IPv6.

      children = [
        {Sippet, name: :mystack, core: MyCore},
        {Sippet.Transports.TLS,
         name: :mystack, certfile: "/etc/sip/cert.pem", keyfile: "/etc/sip/key.pem"}
      ]

  Connections are those of `Sippet.Transports.Stream`, and the default port is 5061. Each is TLS 1.3 or 1.2.

  ## Whom it connects to

  The certificate of a peer is always verified: by the CAs that are trusted (`:cacerts`), and by its
  domain (RFC 5922). The domain that it must have is the host that the request goes to by its Route,
  its Request-URI or its target, before any name server was asked. A SIP URI in the certificate counts first,
  then its DNS names and addresses, and the common name only if there is nothing else. No wildcard
  counts. A connection that was verified for one domain is never used for another.

  If the peer is not who it should be, the core gets one of these reasons, and nothing is sent:

  | reason | meaning |
  |---|---|
  | `:domain` | the certificate is another domain's |
  | `:unknown_ca` | nobody who is trusted has signed it |
  | `:expired` | it is too old, or not valid yet |
  | `:certificate` | anything else is wrong with it, or the peer refuses ours |
  | `:handshake` | there is no version or cipher in common, or the peer speaks no TLS |

  In TLS 1.3 a peer refuses our certificate only after the connection stands. The request then fails within
  milliseconds, as at any connection that ends.

  ## Who connects

  With `client_certificate: :required` only those with a certificate of a trusted CA get in (mutual TLS), as
  trunks do. The `identities` of the `source` of each message (`Sippet.Flow`) are the domains of that certificate:
  compare them with the domain that the request speaks for.

  A peer that shows a certificate and writes `alias` into its Via has requests to its domain sent by its own
  connection (RFC 5923). Over one-way TLS, and over TCP, `alias` means nothing.

  ## Certificates

  Files are read when a connection begins, so a renewed certificate needs no restart. OTP keeps what it has read
  for up to two minutes: `reload/0` ends that.

  ## Options

  #{Sippet.Options.docs(@options)}
  """

  @behaviour Sippet.Transport
  @behaviour Sippet.Transports.Stream

  alias Sippet.{Address, Log}
  alias Sippet.Transports.{Stream, TCP}
  alias Sippet.Transports.TLS.{Identity, Options}

  @doc """
  Starts the transport; see the options above.

  Returns `{:error, reason}` if the port can't be bound, or a certificate can't be read. Raises `ArgumentError` for an
  option that is missing, unknown or of the wrong type, and for a transport that listens without a certificate.
  """
  @spec start_link(keyword) :: Supervisor.on_start()
  def start_link(options) do
    {:ok, _started} = Application.ensure_all_started(:ssl)
    Stream.start_link(__MODULE__, :tls, options, Options.schema(), &check!/1)
  end

  defp check!(%{listen: listen?, insecure: insecure?, name: name} = options) do
    Options.check!(options, listen?)

    if insecure? do
      Log.write(
        name,
        :warning,
        %{},
        "TLS with insecure: true: whom it connects to is not verified"
      )
    end

    :ok
  end

  @doc """
  A child specification; its id has the stack's name, the address and the port, so that several fit one
  supervisor.
  """
  @spec child_spec(keyword) :: Supervisor.child_spec()
  def child_spec(options), do: Stream.child_spec(__MODULE__, :tls, options)

  @doc """
  The local address and port of a transport, given by its process or as the first one of a stack.

  Returns `{:error, :not_bound}` where the stack has no TLS transport.
  """
  @spec sockname(pid | atom) :: {:ok, Stream.address()} | {:error, :not_bound}
  def sockname(transport), do: Stream.sockname(__MODULE__, transport)

  @doc """
  Has all TLS connections that begin from now on read their certificates anew, also those of other programs in this
  VM (`:ssl.clear_pem_cache/0`).
  """
  @spec reload() :: :ok
  defdelegate reload, to: Options

  ## Sippet.Transport

  @doc false
  @impl Sippet.Transport
  defdelegate send_message(handle, destination, octets, key), to: Stream

  @doc false
  @impl Sippet.Transport
  defdelegate for_host(handle, host), to: Stream

  @doc false
  @impl Sippet.Transport
  defdelegate connections(handle), to: Stream

  ## Sippet.Transports.Stream

  @doc false
  @impl Stream
  def listen(%{port: port} = options),
    do: :ssl.listen(port, TCP.listening(options) ++ Options.server(options))

  @doc false
  @impl Stream
  def accept(listener) do
    with {:error, reason} <- :ssl.transport_accept(listener), do: {:error, Options.reason(reason)}
  end

  @doc false
  @impl Stream
  def handshake(socket, %{handshake: timeout}) do
    case :ssl.handshake(socket, timeout) do
      {:ok, socket} -> with_peer(socket)
      {:error, :timeout} -> {:error, :handshake}
      {:error, reason} -> {:error, Options.reason(reason)}
    end
  catch
    # A file of a certificate that is gone, or broken, is no error to OTP, but an exit.
    :exit, _reason -> {:error, :options}
  end

  @doc false
  @impl Stream
  def connect({ip, port}, host, %{connect: timeout} = options) do
    how = Options.client(options, host || Address.to_text(ip))

    case :ssl.connect(ip, port, TCP.connecting(options) ++ how, timeout) do
      {:ok, socket} -> with_peer(socket)
      {:error, reason} -> {:error, Options.reason(reason)}
    end
  end

  # RFC5922§7.4
  defp with_peer(socket) do
    case :ssl.connection_information(socket, [:protocol, :selected_cipher_suite]) do
      {:ok, about} ->
        {:ok, socket,
         %{
           identities: identities(socket),
           version: about[:protocol],
           cipher: about[:selected_cipher_suite]
         }}

      # The peer has refused us meanwhile.
      {:error, reason} ->
        :ssl.close(socket)
        {:error, Options.reason(reason)}
    end
  end

  defp identities(socket) do
    case :ssl.peercert(socket) do
      {:ok, certificate} -> Identity.of(certificate)
      {:error, _none} -> []
    end
  end

  @doc false
  @impl Stream
  defdelegate controlling_process(socket, pid), to: :ssl

  # An alert that was there before is told here, and by no message.
  @doc false
  @impl Stream
  def read(socket), do: result(:ssl.setopts(socket, active: :once))

  @doc false
  @impl Stream
  def write(socket, octets), do: result(:ssl.send(socket, octets))

  defp result(:ok), do: :ok
  # What the system says of a socket that is closed.
  defp result({:error, reason}) when reason in [:einval, :enotconn], do: {:error, :closed}
  defp result({:error, reason}), do: {:error, Options.reason(reason)}

  @doc false
  @impl Stream
  def event({:ssl, _socket, data}, _own), do: {:data, data}
  def event({:ssl_closed, _socket}, _own), do: :closed
  def event({:ssl_error, _socket, reason}, _own), do: {:error, Options.reason(reason)}
  def event(_message, _own), do: :unknown

  @doc false
  @impl Stream
  defdelegate close(socket), to: :ssl

  @doc false
  @impl Stream
  def local_address(socket) do
    with {:error, reason} <- :ssl.sockname(socket), do: result({:error, reason})
  end

  @doc false
  @impl Stream
  def remote_address(socket), do: :ssl.peername(socket)
end
