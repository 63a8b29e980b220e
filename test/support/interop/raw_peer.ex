defmodule Sippet.Interop.RawPeer do
  @moduledoc false
  # A far end that is a socket and text: it sends what no stack would, and places a plain call.

  import ExUnit.Assertions
  import Kernel, except: [send: 2]

  alias Sippet.{Headers, Message}
  alias Sippet.Message.StatusLine

  @enforce_keys [:socket, :port, :to]
  defstruct [:socket, :port, :to]

  @type t :: %__MODULE__{
          socket: :gen_udp.socket(),
          port: :inet.port_number(),
          to: {:inet.ip_address(), :inet.port_number()}
        }

  # Much longer than any answer takes: only a failure waits for it.
  @patience 3_000

  @doc """
  Opens a socket on 127.0.0.1 from which to send to an address.
  """
  @spec open({:inet.ip_address(), :inet.port_number()}) :: t
  def open(to) do
    {:ok, socket} =
      :gen_udp.open(0, [:binary, active: false, ip: {127, 0, 0, 1}, recbuf: 1_048_576])

    {:ok, port} = :inet.port(socket)
    %__MODULE__{socket: socket, port: port, to: to}
  end

  @doc """
  Sends octets as they are. They may be none, or more than the peer takes.
  """
  @spec send(t, iodata) :: :ok
  def send(%__MODULE__{socket: socket, to: {ip, port}}, octets) do
    :ok = :gen_udp.send(socket, ip, port, octets)
  end

  @doc """
  The text of a request. Of the options `:user`, `:uri`, `:call_id`, `:branch`, `:number`, `:to`, `:vias`, `:lines` and
  `:body` each replaces what an ordinary request has.
  """
  @spec request(t, String.t(), keyword) :: binary
  def request(%__MODULE__{to: {ip, to_port}} = peer, method, options \\ []) do
    host = "#{:inet.ntoa(ip)}:#{to_port}"
    body = options[:body] || ""
    uri = options[:uri] || "sip:#{options[:user] || "bob"}@#{host}"

    lines = [
      "#{method} #{uri} SIP/2.0",
      options[:vias] || via(peer, options[:branch] || Message.create_branch()),
      "Max-Forwards: 70",
      "From: <sip:alice@127.0.0.1:#{peer.port}>;tag=a1",
      "To: #{options[:to] || "<sip:bob@#{host}>"}",
      "Call-ID: #{options[:call_id] || Message.create_call_id()}",
      "CSeq: #{options[:number] || 1} #{method}",
      "Contact: <sip:alice@127.0.0.1:#{peer.port}>",
      options[:lines] || [],
      "Content-Length: #{byte_size(body)}"
    ]

    lines |> List.flatten() |> Enum.map_join(&(&1 <> "\r\n")) |> Kernel.<>("\r\n" <> body)
  end

  @doc """
  The line of a Via that leads back here.
  """
  @spec via(t, String.t()) :: String.t()
  def via(peer, branch), do: "Via: SIP/2.0/UDP 127.0.0.1:#{peer.port};branch=#{branch}"

  @doc """
  Takes messages until there is a response with this status, or one of these, to a request of this Call-ID, and gives it.
  """
  @spec expect(t, StatusLine.status_code() | Range.t(), String.t()) :: Message.response()
  def expect(peer, status, call_id) when is_integer(status),
    do: expect(peer, status..status, call_id)

  def expect(peer, statuses, call_id) do
    message = next(peer, @patience)

    cond do
      message == nil -> flunk("no #{inspect(statuses)} came for #{call_id}")
      answers?(message, statuses, call_id) -> message
      true -> expect(peer, statuses, call_id)
    end
  end

  defp answers?(
         %Message{start_line: %StatusLine{status_code: status}, headers: headers},
         statuses,
         call_id
       ),
       do: status in statuses and headers[:call_id] == call_id

  defp answers?(_request, _statuses, _call_id), do: false

  @doc """
  The next message, or `nil` when none comes in `timeout` ms.
  """
  @spec next(t, non_neg_integer) :: Message.t() | nil
  def next(peer, timeout) do
    with octets when octets != nil <- octets(peer, timeout), do: Message.parse!(octets)
  end

  @doc """
  The next datagram, or `nil` when none comes in `timeout` ms.
  """
  @spec octets(t, non_neg_integer) :: binary | nil
  def octets(peer, timeout) do
    case :gen_udp.recv(peer.socket, 0, timeout) do
      {:ok, {_ip, _port, octets}} -> octets
      {:error, :timeout} -> nil
    end
  end

  @doc """
  Takes datagrams until none has come for a while.
  """
  @spec drain(t) :: :ok
  def drain(peer), do: if(octets(peer, 300), do: drain(peer), else: :ok)

  @doc """
  Sends a request and waits for the final response; gives the time that took in ms as well.
  """
  @spec ask(t, String.t(), StatusLine.status_code() | Range.t(), keyword) ::
          {Message.response(), float}
  def ask(peer, method, status, options \\ []) do
    call_id = options[:call_id] || Message.create_call_id()
    start = System.monotonic_time(:microsecond)
    send(peer, request(peer, method, [call_id: call_id] ++ options))
    response = expect(peer, status, call_id)
    {response, (System.monotonic_time(:microsecond) - start) / 1_000}
  end

  @doc """
  Places a call and hangs up: INVITE, 180, 200, ACK, BYE, 200. Gives the Call-ID.
  """
  @spec call(t) :: String.t()
  def call(peer) do
    call_id = Message.create_call_id()
    send(peer, request(peer, "INVITE", call_id: call_id))
    ringing = expect(peer, 180, call_id)
    answer = expect(peer, 200, call_id)
    assert answer.headers.to == ringing.headers.to

    to = IO.iodata_to_binary(Headers.to_iodata("To", answer.headers.to))
    send(peer, request(peer, "ACK", call_id: call_id, to: to))
    ask(peer, "BYE", 200, call_id: call_id, to: to, number: 2)
    call_id
  end
end
