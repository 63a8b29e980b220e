defmodule Sippet.StreamPeer do
  @moduledoc false
  # The far end of connections in tests: a plain socket of TCP.

  import ExUnit.Assertions

  alias Sippet.Message
  alias Sippet.Message.Stream

  @patience 5_000
  @loopback {127, 0, 0, 1}

  def listen(options \\ []) do
    {:ok, listener} =
      :gen_tcp.listen(0, [:binary, active: false, ip: @loopback, backlog: 1_024] ++ options)

    {:ok, {_ip, port}} = :inet.sockname(listener)
    {listener, port}
  end

  def accept(listener, ms \\ @patience) do
    {:ok, socket} = :gen_tcp.accept(listener, ms)
    socket
  end

  def refute_accept(listener, ms \\ 100),
    do: assert(:gen_tcp.accept(listener, ms) == {:error, :timeout})

  def connect(port, options \\ []) do
    {:ok, socket} = :gen_tcp.connect(@loopback, port, [:binary, active: false] ++ options)
    socket
  end

  def port(socket) do
    {:ok, {_ip, port}} = :inet.sockname(socket)
    port
  end

  def send_text(socket, text), do: :ok = :gen_tcp.send(socket, text)

  # The next message, and nothing behind it.
  def receive_message(socket, stream \\ Stream.new()) do
    {:ok, data} = :gen_tcp.recv(socket, 0, @patience)

    case Stream.push(stream, data) do
      {:ok, [{:message, octets}], _stream} -> Message.parse!(octets)
      {:ok, [], stream} -> receive_message(socket, stream)
    end
  end

  def receive_messages(socket, count, stream \\ Stream.new())
  def receive_messages(_socket, count, _stream) when count <= 0, do: []

  def receive_messages(socket, count, stream) do
    {:ok, data} = :gen_tcp.recv(socket, 0, @patience)
    {:ok, items, stream} = Stream.push(stream, data)
    messages = for {:message, octets} <- items, do: Message.parse!(octets)
    messages ++ receive_messages(socket, count - length(messages), stream)
  end

  def respond(socket, request, status),
    do: send_text(socket, Message.to_string(Message.to_response(request, status)))

  # As a peer that crashes does.
  def reset(socket) do
    :ok = :inet.setopts(socket, linger: {true, 0})
    :gen_tcp.close(socket)
  end

  def assert_closed(socket, ms \\ @patience) do
    case :gen_tcp.recv(socket, 0, ms) do
      {:error, reason} -> assert reason in [:closed, :econnreset]
      {:ok, _data} -> assert_closed(socket, ms)
    end
  end

  # Text of a request with a body that has the length it says.
  def request(method, options \\ []) do
    branch = options[:branch] || "z9hG4bK#{System.unique_integer([:positive])}"
    call_id = options[:call_id] || "call-#{System.unique_integer([:positive])}"
    via = options[:via] || "SIP/2.0/TCP 10.1.1.1;branch=#{branch}"
    body = options[:body] || ""

    "#{method} sip:b@biloxi.com SIP/2.0\r\nVia: #{via}\r\nMax-Forwards: 70\r\n" <>
      "From: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: #{call_id}\r\nCSeq: 1 #{method}\r\n" <>
      "#{options[:more]}Content-Length: #{byte_size(body)}\r\n\r\n#{body}"
  end
end
