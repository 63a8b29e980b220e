defmodule Sippet.Transports.UDP.Socket do
  @moduledoc false
  # A UDP socket: opening, sending, the turns of reading, and the ICMP errors.
  #
  # Two descriptors of one socket. The driver of `:gen_udp` reads: the scheduler polls its descriptor itself, which spares
  # a datagram the way by the poll thread (bench/udp.exs). `:socket` sends, and hands out the error queue, where Linux says
  # which destination an ICMP error is about.
  #
  # `:socket.close/1` makes a descriptor blocking before it closes it, and that is shared: the driver would then hold its
  # scheduler. So nothing here closes the socket. Both descriptors end with the process that has opened them, where OTP
  # leaves that be.

  @enforce_keys [:receiver, :socket, :family, :owner, :errors_told]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          receiver: :gen_udp.socket(),
          socket: :socket.socket(),
          family: :inet | :inet6,
          owner: pid,
          errors_told: :atomics.atomics_ref()
        }
  @type remote :: {:inet.ip_address(), :inet.port_number()}

  # What Linux makes of an ICMP error. It tells it once, to whichever call on the socket comes next.
  @pending [
    :econnrefused,
    :ehostunreach,
    :enetunreach,
    :ehostdown,
    :enonet,
    :enoprotoopt,
    :eopnotsupp,
    :eproto,
    :eacces,
    :emsgsize
  ]

  # So often a send is tried against errors that belong to earlier ones. It is an own one that comes each time.
  @attempts 10

  # Less than this is not asked for as a buffer of the system's.
  @least_room 65_536

  # ICMP errors taken from the queue at a time.
  @most_errors 100

  @spec open(:inet | :inet6, :inet.ip_address(), :inet.port_number(), map) ::
          {:ok, t} | {:error, term}
  def open(family, ip, port, options) do
    # One octet more than is wanted: who fills it was cut.
    receiving = [:binary, family, ip: ip, active: false, buffer: options.largest + 1]

    with {:ok, receiver} <- :gen_udp.open(port, receiving ++ v6_only(family)) do
      {:ok, descriptor} = :inet.getfd(receiver)
      # A descriptor of its own: each is closed by who has it.
      how = %{domain: family, type: :dgram, protocol: :udp, dup: true}

      with {:ok, socket} <- :socket.open(descriptor, how) do
        ask_room(socket, :rcvbuf, options.recbuf)
        ask_room(socket, :sndbuf, options.sndbuf)
        ask_errors(socket, level(family))
        {:ok, new(receiver, socket, family)}
      end
    end
  end

  defp new(receiver, socket, family) do
    %__MODULE__{
      receiver: receiver,
      socket: socket,
      family: family,
      owner: self(),
      errors_told: :atomics.new(1, [])
    }
  end

  # Linux gives less without a word, others refuse: less is asked for then.
  defp ask_room(socket, buffer, size) do
    with {:error, _reason} when size > @least_room <-
           :socket.setopt(socket, {:socket, buffer}, size),
         do: ask_room(socket, buffer, div(size, 2))
  end

  # RFC3261§18.4 - without this an unconnected socket hears of no ICMP error. Only Linux has it.
  defp ask_errors(socket, level) do
    if :socket.is_supported(:options, level, :recverr),
      do: :socket.setopt(socket, {level, :recverr}, true)
  end

  # One socket for each family, side by side on the same port.
  defp v6_only(:inet6), do: [ipv6_v6only: true]
  defp v6_only(:inet), do: []

  defp level(:inet), do: :ip
  defp level(:inet6), do: :ipv6

  @spec sockname(t) :: {:ok, remote} | {:error, term}
  def sockname(%__MODULE__{socket: socket}) do
    with {:ok, %{addr: ip, port: port}} <- :socket.sockname(socket), do: {:ok, {ip, port}}
  end

  @doc """
  Has the owner get so many datagrams as `{:udp, receiver, ip, port, octets}`, and `{:udp_passive, receiver}` behind them.
  """
  @spec read(t, pos_integer) :: :ok | {:error, term}
  def read(%__MODULE__{receiver: receiver}, count),
    do: :inet.setopts(receiver, active: count)

  @doc """
  Empties the queue of ICMP errors, or takes a good part of it: which of them say that a destination cannot be reached,
  and whether there may be more.
  """
  @spec errors(t) :: {:empty | :more, [{remote, atom, quoted :: binary}]}
  def errors(%__MODULE__{} = socket) do
    :atomics.put(socket.errors_told, 1, 0)
    errors(socket, @most_errors, [])
  end

  defp errors(_socket, 0, unreachable), do: {:more, unreachable}

  defp errors(socket, left, unreachable) do
    case :socket.recvmsg(socket.socket, 0, 0, [:errqueue], 0) do
      {:ok, message} -> errors(socket, left - 1, unreachable(message) ++ unreachable)
      {:error, _empty} -> {:empty, unreachable}
    end
  end

  # As long as an error is in the queue the descriptor is polled in vain. A sender that is told of it is the only one who
  # is: it tells the owner, `:errors`, and once is enough.
  defp tell_errors(%__MODULE__{owner: owner, errors_told: told}) do
    if :atomics.exchange(told, 1, 1) == 0, do: Kernel.send(owner, :errors)
  end

  @doc """
  Whether this is the error of an earlier send, which any call on the socket may be told of.
  """
  @spec pending?(term) :: boolean
  def pending?(reason), do: reason in @pending

  @doc """
  What a message of the error queue says that cannot be reached, with what the error quotes of the datagram.
  """
  @spec unreachable(map) :: [{remote, atom, quoted :: binary}]
  def unreachable(%{addr: %{addr: ip, port: port}, ctrl: ctrl, iov: iov}) do
    for %{type: :recverr, value: %{error: reason} = error} <- ctrl,
        final?(error),
        do: {{ip, port}, reason, IO.iodata_to_binary(iov)}
  end

  def unreachable(_message), do: []

  # RFC3261§18.4 - host, network, port or protocol unreachable and parameter problems are failures; source quench
  # and an exceeded TTL are not. Nor is a path that wants smaller packets: the next attempt is cut to fit.
  defp final?(%{error: :emsgsize}), do: false
  defp final?(%{origin: origin, type: :dest_unreach}), do: origin in [:icmp, :icmp6]
  # RFC 792: 12, RFC 4443: 4 - parameter problem
  defp final?(%{origin: origin, type: type}), do: {origin, type} in [icmp: 12, icmp6: 4]
  defp final?(_error), do: false

  @doc """
  Sends a datagram from the calling process, which does not wait.
  """
  @spec send(t, {:inet.ip_address(), :inet.port_number()}, iodata) :: :ok | {:error, term}
  def send(%__MODULE__{family: family} = socket, {ip, port}, octets)
      when is_tuple(ip) and port in 1..65_535 do
    if family(ip) == family do
      destination = %{family: family, addr: ip, port: port}
      attempt(socket, destination, IO.iodata_to_binary(octets), @attempts)
    else
      {:error, :eafnosupport}
    end
  end

  def send(%__MODULE__{}, {_host, _port}, _octets), do: {:error, :einval}

  defp family(ip) when tuple_size(ip) == 4, do: :inet
  defp family(_ip), do: :inet6

  defp attempt(socket, destination, data, attempts) do
    # A socket that is full is waited for by nobody here.
    case :socket.sendto(socket.socket, data, destination, [], 0) do
      {:error, reason} when reason in @pending and attempts > 1 ->
        tell_errors(socket)
        attempt(socket, destination, data, attempts - 1)

      # A full queue of the device: nobody hears of it but who asked for ICMP errors. It is one more lost datagram.
      {:error, :enobufs} ->
        :ok

      {:error, :timeout} ->
        {:error, :eagain}

      result ->
        result
    end
  end
end
