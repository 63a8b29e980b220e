defmodule Program10Test do
  # A program as they were written for version 1.0, by the functions and shapes that its
  # documentation names and no other: a TCP transport with a process for each connection, a phone
  # that registers and calls, and the server that it calls.
  use ExUnit.Case, async: true

  alias Sippet.{Message, URI}
  alias Sippet.Message.StatusLine

  defmodule TCP do
    use GenServer

    alias Sippet.{Message, Router}

    @options [:binary, ip: {127, 0, 0, 1}, active: false]

    def start_link(stack), do: GenServer.start_link(__MODULE__, stack)

    def port(tcp), do: GenServer.call(tcp, :port)

    @impl true
    def init(stack) do
      {:ok, listener} = :gen_tcp.listen(0, @options)
      :ok = Sippet.register_transport(stack, :tcp, true)
      tcp = self()
      spawn_link(fn -> accept(listener, stack, tcp) end)
      {:ok, %{stack: stack, listener: listener, connections: %{}}}
    end

    @impl true
    def handle_call(:port, _from, state) do
      {:ok, port} = :inet.port(state.listener)
      {:reply, port, state}
    end

    def handle_call({:connected, peer, connection}, _from, state),
      do: {:reply, :ok, put_in(state.connections[peer], connection)}

    def handle_call({:send_message, message, host, port, key}, _from, state) do
      with nil <- state.connections[{host, port}],
           {:ok, socket} <- :gen_tcp.connect(String.to_charlist(host), port, @options) do
        connection = connect(socket, state.stack)
        send(connection, {:write, message})
        send(connection, :read)
        {:reply, :ok, put_in(state.connections[{host, port}], connection)}
      else
        {:error, reason} ->
          Router.receive_transport_error(state.stack, key, reason)
          {:reply, :ok, state}

        connection ->
          send(connection, {:write, message})
          {:reply, :ok, state}
      end
    end

    defp accept(listener, stack, tcp) do
      with {:ok, socket} <- :gen_tcp.accept(listener) do
        connection = connect(socket, stack)
        :ok = GenServer.call(tcp, {:connected, peer(socket), connection})
        send(connection, :read)
        accept(listener, stack, tcp)
      end
    end

    defp peer(socket) do
      {:ok, {ip, port}} = :inet.peername(socket)
      {ip |> :inet.ntoa() |> to_string(), port}
    end

    # A process that has registered as nothing.
    defp connect(socket, stack) do
      {host, port} = peer(socket)
      connection = spawn(fn -> connection(socket, stack, {:tcp, host, port}, "") end)
      :ok = :gen_tcp.controlling_process(socket, connection)
      connection
    end

    defp connection(socket, stack, from, buffer) do
      receive do
        :read ->
          :ok = :inet.setopts(socket, active: true)
          connection(socket, stack, from, buffer)

        {:write, message} ->
          :ok = :gen_tcp.send(socket, Message.to_iodata(message))
          connection(socket, stack, from, buffer)

        {:tcp, ^socket, data} ->
          connection(socket, stack, from, take(stack, from, buffer <> data))

        {:tcp_closed, ^socket} ->
          :ok
      end
    end

    defp take(stack, from, buffer) do
      with [head, rest] <- String.split(buffer, "\r\n\r\n", parts: 2),
           [_, digits] <- Regex.run(~r/^Content-Length: *(\d+)/mi, head),
           length when byte_size(rest) >= length <- String.to_integer(digits) do
        {body, rest} = String.split_at(rest, length)
        Router.handle_transport_message(stack, head <> "\r\n\r\n" <> body, from)
        take(stack, from, rest)
      else
        _incomplete -> buffer
      end
    end
  end

  # What both ends write.
  defmodule Terms do
    alias Sippet.{Message, URI}
    alias Sippet.Message.RequestLine

    def sdp, do: "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"

    def contact(user, port),
      do: {user, URI.parse!("sip:#{user}@127.0.0.1:#{port};transport=tcp"), %{}}

    def via(port),
      do: {{2, 0}, :tcp, {"127.0.0.1", port}, %{"branch" => Message.create_branch()}}

    def with_sdp(message) do
      message
      |> Message.put_header(:content_type, "application/sdp")
      |> Message.put_header(:content_length, byte_size(sdp()))
      |> Map.put(:body, sdp())
    end

    def request(method, uri, port, headers) do
      %Message{
        start_line: RequestLine.new(method, uri),
        headers:
          Map.merge(
            %{
              via: [via(port)],
              from: {"", URI.parse!("sip:alice@127.0.0.1"), %{"tag" => Message.create_tag()}},
              to: {"", URI.parse!("sip:bob@127.0.0.1"), %{}},
              call_id: Message.create_call_id(),
              cseq: {1, method},
              max_forwards: 70,
              contact: contact("alice", port),
              accept: "application/sdp",
              user_agent: "Program/1.0"
            },
            headers
          )
      }
    end
  end

  defmodule PhoneCore do
    use Sippet.Core

    def receive_request(request, key), do: send(:phone_1_0, {:request, request, key})
    def receive_response(response, key), do: send(:phone_1_0, {:response, response, key})
    def receive_error(reason, key), do: send(:phone_1_0, {:error, reason, key})
  end

  defmodule ServerCore do
    use Sippet.Core

    alias Sippet.{DigestAuth, Message}

    def receive_request(request, key) do
      send(:phone_1_0, {:served, request, key})
      serve(request.start_line.method, request)
    end

    def receive_response(_response, _key), do: :ok
    def receive_error(reason, key), do: send(:phone_1_0, {:server_error, reason, key})

    defp serve(:register, request) do
      if Message.has_header?(request, :authorization) do
        answer(request, 200)
      else
        {:ok, response} = DigestAuth.make_response(request, 401, "example.com")
        Sippet.send(:server_1_0, response)
      end
    end

    defp serve(:invite, request) do
      [{_version, _protocol, {_host, _port}, _params}] = request.headers.via
      :ok = answer(request, 180)

      response =
        request
        |> Message.to_response(200)
        |> Message.put_header(:contact, Terms.contact("bob", :persistent_term.get(__MODULE__)))
        |> Message.put_header(:allow, "INVITE, ACK, BYE")
        |> Terms.with_sdp()

      Sippet.send(:server_1_0, response)
    end

    defp serve(:bye, request), do: answer(request, 200)
    defp serve(:ack, _request), do: :ok

    defp answer(request, status),
      do: Sippet.send(:server_1_0, Message.to_response(request, status))
  end

  setup do
    Process.register(self(), :phone_1_0)
    phone = start(:phone_1_0_stack, PhoneCore)
    server = start(:server_1_0, ServerCore)
    :persistent_term.put(ServerCore, server)
    on_exit(fn -> :persistent_term.erase(ServerCore) end)
    %{phone: phone, server: server}
  end

  # Gives the port on which the stack listens.
  defp start(stack, core) do
    start_supervised!(%{
      id: stack,
      start: {Sippet, :start_link, [[name: stack]]},
      type: :supervisor
    })

    :ok = Sippet.register_core(stack, core)
    tcp = start_supervised!(%{id: {TCP, stack}, start: {TCP, :start_link, [stack]}})
    TCP.port(tcp)
  end

  defp send_request(request), do: :ok = Sippet.send(:phone_1_0_stack, request)

  defp again(request, port) do
    request
    |> Message.update_header(:cseq, fn {number, method} -> {number + 1, method} end)
    |> Message.put_header(:via, [Terms.via(port)])
  end

  defp md5(text), do: :md5 |> :crypto.hash(text) |> Base.encode16(case: :lower)

  test "registers with a digest of a user that is an atom", %{phone: phone, server: server} do
    uri = "sip:127.0.0.1:#{server};transport=tcp"
    register = Terms.request(:register, uri, phone, %{expires: "3600"})
    send_request(register)
    assert_receive {:served, %{headers: %{contact: [{"alice", _, _}]}} = first, _key}
    assert first.headers.accept == [{{"application", "sdp"}, %{}}]
    assert first.headers.expires == 3600

    assert_receive {:response, %{start_line: %StatusLine{status_code: 401}} = challenge, _key}

    {:ok, authorized} =
      Sippet.DigestAuth.make_request(register, challenge, fn "example.com" ->
        {:ok, :alice, :secret}
      end)

    send_request(again(authorized, phone))
    assert_receive {:served, %{headers: %{authorization: [{"Digest", params}]}}, _key}
    assert %{"username" => "alice", "uri" => ^uri, "qop" => "auth"} = params
    ha1 = md5("alice:example.com:secret")
    answer = Enum.join([params["nonce"], params["nc"], params["cnonce"], "auth"], ":")
    assert params["response"] == md5("#{ha1}:#{answer}:#{md5("REGISTER:#{uri}")}")
    assert_receive {:response, %{start_line: %{status_code: 200}}, _key}
  end

  test "calls, talks and hangs up", %{phone: phone, server: server} do
    uri = "sip:bob@127.0.0.1:#{server};transport=tcp"
    invite = :invite |> Terms.request(uri, phone, %{}) |> Terms.with_sdp()
    send_request(invite)
    assert_receive {:served, %{headers: headers, body: body}, _key}
    assert %{content_type: {{"application", "sdp"}, %{}}, contact: [{"alice", _, _}]} = headers
    assert body == Terms.sdp()

    assert_receive {:response, %{start_line: %{status_code: 180}}, key}
    assert_receive {:response, %{start_line: %{status_code: 200}} = ok, ^key}
    assert ok.body == Terms.sdp()
    assert ok.headers.content_type == {{"application", "sdp"}, %{}}
    assert ok.headers.allow == ["INVITE", "ACK", "BYE"]
    assert [{"bob", target, _params}] = ok.headers.contact

    dialog = %{to: ok.headers.to, from: ok.headers.from, call_id: ok.headers.call_id}
    send_request(Terms.request(:ack, URI.to_string(target), phone, dialog))
    assert_receive {:served, %{start_line: %{method: :ack}}, nil}

    bye = Terms.request(:bye, URI.to_string(target), phone, Map.put(dialog, :cseq, {2, :bye}))
    send_request(bye)
    assert_receive {:served, %{start_line: %{method: :bye}, headers: %{cseq: {2, :bye}}}, _key}
    assert_receive {:response, %{start_line: %{status_code: 200}, headers: last}, _key}
    assert last.cseq == {2, :bye}
    refute_received {:error, _reason, _key}
    refute_received {:server_error, _reason, _key}
  end

  test "refuses what does not parse with a whole message", %{server: server} do
    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, server, [:binary, active: false])

    head = fn method, to, max_forwards ->
      "#{method} sip:bob@127.0.0.1 SIP/2.0\r\n" <>
        "Via: SIP/2.0/TCP 127.0.0.1:9;branch=z9hG4bKbad\r\n" <>
        "From: <sip:alice@127.0.0.1>;tag=1\r\nTo: #{to}\r\nCall-ID: bad\r\n" <>
        "CSeq: 1 #{method}\r\nMax-Forwards: #{max_forwards}\r\nContent-Length: 0\r\n\r\n"
    end

    :ok = :gen_tcp.send(socket, head.("INVITE", "<sip:bob@127.0.0.1>", "many"))
    {:ok, text} = :gen_tcp.recv(socket, 0, 5_000)
    response = Message.parse!(text)
    assert response.start_line.status_code == 400
    assert %{via: [_], from: _, to: {_, _, %{"tag" => tag}}, call_id: "bad"} = response.headers
    assert response.headers.cseq == {1, :invite}

    # Its ACK is nobody's, and so the OPTIONS behind it comes first.
    :ok = :gen_tcp.send(socket, head.("ACK", "<sip:bob@127.0.0.1>;tag=#{tag}", "70"))
    options = String.replace(head.("BYE", "<sip:bob@127.0.0.1>", "70"), "z9hG4bKbad", "z9hG4bKok")
    :ok = :gen_tcp.send(socket, options)
    assert_receive {:served, %{start_line: %{method: :bye}}, _key}
    assert {:ok, "SIP/2.0 200 OK\r\n" <> _} = :gen_tcp.recv(socket, 0, 5_000)
    refute_received {:served, _request, _key}
    :gen_tcp.close(socket)
  end

  test "has the protocol for itself" do
    assert Sippet.register_transport(:server_1_0, :tcp, true) == {:error, :already_registered}
  end

  test "hears of a destination that is not there", %{phone: phone} do
    {:ok, socket} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
    {:ok, closed} = :inet.port(socket)
    :gen_tcp.close(socket)
    request = Terms.request(:options, "sip:127.0.0.1:#{closed};transport=tcp", phone, %{})
    # Of the usual shapes: this one is about the transport alone.
    request = Message.drop_headers(request, [:contact, :accept])
    send_request(request)
    assert_receive {:error, :econnrefused, key}
    assert key == Sippet.Transactions.Client.Key.new(request)
  end
end
