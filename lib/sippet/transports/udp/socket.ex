defmodule Sippet.Transports.UDP.Socket do
  @moduledoc false
  # A UDP socket of the `:socket` module: opening, one read, one send, and the ICMP errors.
  #
  # `:socket` and not `:gen_udp`, since only it hands out the socket's error queue, where Linux says which
  # destination an ICMP error is about (and a read costs less: see bench/udp.exs).

  alias Sippet.Address

  @enforce_keys [:socket, :family, :owner, :names, :largest]
  defstruct [:socket, :family, :owner, :names, :largest]

  @type t :: %__MODULE__{
          socket: :socket.socket(),
          family: :inet | :inet6,
          owner: pid,
          names: :ets.tid(),
          largest: pos_integer
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

  # How long a sender waits for room in the socket's buffer, in ms: T1, after which a datagram is as good as lost.
  @patience 500

  # Less than this is not asked for as a buffer of the system's.
  @least_room 65_536

  # ICMP errors taken from the queue at a time.
  @most_errors 100

  # Names of which it is known what they resolved to. Over that, all are forgotten.
  @most_names 10_000

  @spec open(:inet | :inet6, :inet.ip_address(), :inet.port_number(), map) ::
          {:ok, t} | {:error, term}
  def open(family, ip, port, options) do
    with {:ok, socket} <- :socket.open(family, :dgram, :udp) do
      ask_room(socket, :rcvbuf, options.recbuf)
      ask_room(socket, :sndbuf, options.sndbuf)
      ask_errors(socket, level(family))

      with :ok <- v6_only(socket, family),
           :ok <- :socket.bind(socket, %{family: family, addr: ip, port: port}) do
        {:ok, new(socket, family, options.largest)}
      else
        error ->
          :socket.close(socket)
          error
      end
    end
  end

  defp new(socket, family, largest) do
    %__MODULE__{
      socket: socket,
      family: family,
      owner: self(),
      # Which names a send resolved to which addresses. The table ends with the process, as the socket does.
      names: :ets.new(__MODULE__, [:ordered_set, :public]),
      largest: largest
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
  defp v6_only(socket, :inet6), do: :socket.setopt(socket, {:ipv6, :v6only}, true)
  defp v6_only(_socket, :inet), do: :ok

  defp level(:inet), do: :ip
  defp level(:inet6), do: :ipv6

  @spec sockname(t) :: {:ok, remote} | {:error, term}
  def sockname(%__MODULE__{socket: socket}) do
    with {:ok, %{addr: ip, port: port}} <- :socket.sockname(socket), do: {:ok, {ip, port}}
  end

  @doc """
  Takes one datagram, or says that a select message with this reference will come. Of a datagram that is too large it
  is told where it came from, and how much of it was read.
  """
  @spec read(t) ::
          {:ok, remote, binary}
          | {:cut, remote, pos_integer}
          | {:wait, :socket.select_info()}
          | {:error, term}
  def read(%__MODULE__{socket: socket, largest: largest}) do
    # One octet more than is wanted: who fills it was cut.
    case :socket.recvfrom(socket, largest + 1, [], :nowait) do
      # What comes is a part of the whole buffer, and so would be what the parser leaves uncopied.
      {:ok, {source, data}} when byte_size(data) <= largest ->
        {:ok, remote(source), :binary.copy(data)}

      {:ok, {source, data}} ->
        {:cut, remote(source), byte_size(data)}

      {:select, info} ->
        {:wait, info}

      {:error, reason} ->
        {:error, reason}
    end
  end

  defp remote(%{addr: ip, port: port}), do: {ip, port}

  @spec cancel(t, :socket.select_info()) :: :ok | {:error, term}
  def cancel(%__MODULE__{socket: socket}, info), do: :socket.cancel(socket, info)

  @doc """
  Empties the queue of ICMP errors, or takes a good part of it: how many there were, and which of them say that a
  destination cannot be reached.
  """
  @spec errors(t) :: {non_neg_integer, [{remote, atom}]}
  def errors(%__MODULE__{} = socket), do: errors(socket, 0, [])

  defp errors(_socket, @most_errors, unreachable), do: {@most_errors, unreachable}

  defp errors(socket, count, unreachable) do
    case :socket.recvmsg(socket.socket, 0, 0, [:errqueue], 0) do
      {:ok, message} -> errors(socket, count + 1, unreachable(message) ++ unreachable)
      {:error, _empty} -> {count, unreachable}
    end
  end

  @doc """
  Whether this is the error of an earlier send, which any call on the socket may be told of.
  """
  @spec pending?(term) :: boolean
  def pending?(reason), do: reason in @pending

  @doc """
  What a message of the error queue says that cannot be reached.
  """
  @spec unreachable(map) :: [{remote, atom}]
  def unreachable(%{addr: %{addr: ip, port: port}, ctrl: ctrl}) do
    for %{type: :recverr, value: %{error: reason} = error} <- ctrl,
        final?(error),
        do: {{ip, port}, reason}
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
  The destination, and what senders called it: an ICMP error knows the address alone.
  """
  @spec aliases(t, remote) :: [Sippet.Transport.destination()]
  def aliases(%__MODULE__{names: names}, {ip, port}) do
    hosts = :ets.select(names, [{{{ip, port, :"$1"}}, [], [:"$1"]}])
    [{ip, port} | Enum.map(hosts, &{&1, port})]
  end

  @doc """
  Sends a datagram from the calling process.

  The host may be a name, which is resolved here unless the caller is the process that receives, which must not
  wait: `{:error, :not_an_address}`.
  """
  @spec send(t, Sippet.Transport.destination(), iodata) :: :ok | {:error, term}
  def send(%__MODULE__{} = socket, {host, port}, octets) when port in 1..65_535 do
    with {:ok, ip} <- address(host, port, socket) do
      destination = %{family: socket.family, addr: ip, port: port}
      attempt(socket, destination, IO.iodata_to_binary(octets), @attempts)
    end
  end

  def send(%__MODULE__{}, {_host, _port}, _octets), do: {:error, :einval}

  defp attempt(socket, destination, data, attempts) do
    case :socket.sendto(socket.socket, data, destination, [], patience(socket)) do
      {:error, reason} when reason in @pending and attempts > 1 ->
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

  defp patience(%__MODULE__{owner: owner}), do: if(owner == self(), do: 0, else: @patience)

  defp address(ip, _port, %{family: :inet}) when tuple_size(ip) == 4, do: {:ok, ip}
  defp address(ip, _port, %{family: :inet6}) when tuple_size(ip) == 8, do: {:ok, ip}
  defp address(ip, _port, _socket) when is_tuple(ip), do: {:error, :eafnosupport}

  # Text that can be no host's is not worth a question.
  defp address(text, port, socket) do
    case {Address.parse(text), Address.host(text)} do
      {{:ok, ip}, _host} -> address(ip, port, socket)
      {:error, {:ok, name}} -> resolve(name, port, socket)
      {:error, :error} -> {:error, :nxdomain}
    end
  end

  defp resolve(_host, _port, %{owner: owner}) when owner == self(), do: {:error, :not_an_address}

  defp resolve(host, port, %{family: family, names: names}) do
    with {:ok, ip} <- :inet.getaddr(:erlang.binary_to_list(host), family) do
      if :ets.info(names, :size) >= @most_names, do: :ets.delete_all_objects(names)
      :ets.insert(names, {{ip, port, host}})
      {:ok, ip}
    end
  rescue
    # The table is gone, and so is the socket.
    ArgumentError -> {:error, :closed}
  end
end
