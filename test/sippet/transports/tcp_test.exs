defmodule Sippet.Transports.TCPTest do
  use Sippet.StackCase, async: true

  import Sippet.StreamPeer
  import Sippet.Wait

  alias Sippet.{Stack, URI}
  alias Sippet.Transactions.Client
  alias Sippet.Transports.{TCP, UDP}

  @moduletag :capture_log
  @moduletag transport: false

  # What becomes of a request.
  def behave(:receive_request, request, key) when key != nil do
    case Message.get_header(request, "X-Answer") do
      nil ->
        :ok

      [status] ->
        Sippet.send(stack_of(request), Message.to_response(request, String.to_integer(status)))
    end
  end

  def behave(_callback, _argument, _key), do: :ok

  defp stack_of(request) do
    [name] = Message.get_header(request, "X-Stack")
    String.to_existing_atom(name)
  end

  defp start_tcp(stack, options \\ []) do
    options = Keyword.merge([name: stack, port: 0, address: "127.0.0.1"], options)
    tcp = start_supervised!(Supervisor.child_spec({TCP, options}, id: make_ref()))
    {:ok, {_ip, port}} = TCP.sockname(tcp)
    {tcp, port}
  end

  defp answered(stack, status), do: "X-Stack: #{stack}\r\nX-Answer: #{status}\r\n"

  # A request that the stack fills the Via of, to a port here.
  defp to(port, method \\ :options, host \\ "127.0.0.1") do
    Message.build_request(method, "sip:b@#{host}:#{port};transport=tcp")
    |> Message.put_header(:from, {"", URI.parse!("sip:a@h"), %{"tag" => "1"}})
    |> Message.put_header(:contact, [{"", URI.parse!("sip:a@127.0.0.1"), %{}}])
    |> Message.complete()
  end

  defp connections(stack), do: Sippet.stats(stack).connections

  defp await_connections(stack, count),
    do: wait_until(fn -> connections(stack) == count end, {count, :connections})

  defp await_closed(stack, reason) do
    assert_receive {:event, [:connection, :closed], _measured, %{stack: ^stack, reason: ^reason}},
                   5_000
  end

  @listened [stack: [telemetry: __MODULE__.Listener, behave: &__MODULE__.behave/3]]
  @moduletag @listened

  defmodule Listener do
    def execute([:sippet | event], measurements, metadata) do
      send(
        Stack.fetch!(metadata.stack).options.private.test,
        {:event, event, measurements, metadata}
      )
    end
  end

  describe "requests that come" do
    test "are answered by the connection that they came by", %{stack: stack} do
      {_tcp, port} = start_tcp(stack)
      peer = connect(port)
      send_text(peer, request("OPTIONS", more: answered(stack, 200)))
      response = receive_message(peer)
      assert response.start_line.status_code == 200
      # RFC3261§18.2.1 - as for UDP
      assert [{_, :tcp, {"10.1.1.1", _}, %{"received" => "127.0.0.1"}}] = response.headers.via
    end

    test "are read whole, octet by octet and all in one", %{stack: stack} do
      {_tcp, port} = start_tcp(stack)
      peer = connect(port, nodelay: true)
      for <<octet <- request("MESSAGE", body: "by octets")>>, do: send_text(peer, <<octet>>)
      assert_receive {:receive_request, %{body: "by octets"}, _key}, 5_000
      many = for number <- 1..20, into: "", do: request("MESSAGE", body: "#{number}")
      send_text(peer, many)

      for number <- 1..20 do
        body = "#{number}"
        assert_receive {:receive_request, %{body: ^body}, _key}, 5_000
      end
    end

    test "tell by what flow they came, and it leads back", %{stack: stack} do
      {_tcp, port} = start_tcp(stack)
      peer = connect(port)
      local = {{127, 0, 0, 1}, port(peer)}
      send_text(peer, request("OPTIONS"))
      assert_receive {:receive_request, request, _key}

      assert %Sippet.Flow{protocol: :tcp, remote: ^local, local: {_, ^port}, identities: []} =
               request.source

      # RFC5626§5.3 - wherever its URI leads
      :ok = Sippet.send(stack, %{to(1) | target: request.source})
      assert receive_message(peer).start_line.method == :options
      :gen_tcp.close(peer)
      await_connections(stack, 0)
      :ok = Sippet.send(stack, %{to(1) | target: request.source})
      assert_receive {:receive_error, :closed, _key}
    end

    test "that are malformed get what can be said, and end their connection", %{stack: stack} do
      {_tcp, port} = start_tcp(stack, max_message: 2_000)

      for {text, status, reason} <- [
            {String.replace(request("OPTIONS"), "Content-Length: 0\r\n", ""), 400, :garbage},
            {String.replace(request("OPTIONS"), "Content-Length: 0", "Content-Length: -1"), 400,
             :garbage},
            {request("OPTIONS", body: String.duplicate("x", 3_000)), 513, :too_large}
          ] do
        peer = connect(port)
        send_text(peer, text)
        assert receive_message(peer).start_line.status_code == status
        assert_closed(peer)
        await_closed(stack, reason)
      end

      peer = connect(port)
      send_text(peer, "GET / HTTP/1.1\r\n\r\n")
      assert_closed(peer)
      await_closed(stack, :garbage)
      # Those of others go on.
      peer = connect(port)
      send_text(peer, request("OPTIONS", more: answered(stack, 200)))
      assert receive_message(peer).start_line.status_code == 200
    end
  end

  describe "keep-alives" do
    # RFC5626§4.4.1, §5.4
    test "are answered before the parser, between messages and in parts", %{stack: stack} do
      {_tcp, port} = start_tcp(stack)
      peer = connect(port, nodelay: true)
      send_text(peer, "\r\n\r\n")
      assert :gen_tcp.recv(peer, 2, 5_000) == {:ok, "\r\n"}
      send_text(peer, "\r\n")
      send_text(peer, "\r\n")
      assert :gen_tcp.recv(peer, 2, 5_000) == {:ok, "\r\n"}
      send_text(peer, request("OPTIONS", more: answered(stack, 200)) <> "\r\n\r\n")
      {:ok, data} = :gen_tcp.recv(peer, 2, 5_000)
      {:ok, more} = :gen_tcp.recv(peer, 0, 5_000)
      assert data <> more =~ "SIP/2.0 200 OK" or data == "\r\n"
      send_text(peer, "\r\n")
      assert {:error, :timeout} = :gen_tcp.recv(peer, 100, 50)
      assert Sippet.stats(stack).message_refused == 0
    end

    test "of our own find out who is gone", %{stack: stack} do
      {_tcp, _port} = start_tcp(stack, keep_alive: 50, pong: 50)
      {listener, port} = listen()
      :ok = Sippet.send(stack, to(port))
      peer = accept(listener)
      receive_message(peer)
      assert :gen_tcp.recv(peer, 4, 5_000) == {:ok, "\r\n\r\n"}
      send_text(peer, "\r\n")
      assert :gen_tcp.recv(peer, 4, 5_000) == {:ok, "\r\n\r\n"}
      assert_closed(peer)
      await_closed(stack, :no_pong)
    end

    test "are not sent where nobody asked for them", %{stack: stack} do
      {_tcp, _port} = start_tcp(stack)
      {listener, port} = listen()
      :ok = Sippet.send(stack, to(port))
      peer = accept(listener)
      receive_message(peer)
      assert :gen_tcp.recv(peer, 0, 100) == {:error, :timeout}
    end
  end

  describe "requests that go" do
    # RFC3261§18.1.1
    test "have the Via of the transport, and one connection for all", %{stack: stack} do
      {_tcp, own} = start_tcp(stack)
      {listener, port} = listen()
      for _request <- 1..50, do: Task.start(fn -> Sippet.send(stack, to(port)) end)
      peer = accept(listener)
      requests = receive_messages(peer, 50)
      refute_accept(listener)
      assert connections(stack) == 1

      for request <- requests do
        assert [{{2, 0}, :tcp, {"127.0.0.1", ^own}, params}] = request.headers.via
        refute Map.has_key?(params, "rport")
      end

      Enum.each(requests, &respond(peer, &1, 200))

      for _request <- 1..50,
          do: assert_receive({:receive_response, %{start_line: %{status_code: 200}}, _key})
    end

    test "go by the connection that a peer has opened from there", %{stack: stack} do
      {_tcp, port} = start_tcp(stack)
      peer = connect(port)
      await_connections(stack, 1)
      :ok = Sippet.send(stack, to(port(peer)))
      assert receive_message(peer).start_line.method == :options
      assert connections(stack) == 1
    end

    test "are told within milliseconds that nobody listens", %{stack: stack} do
      {_tcp, _port} = start_tcp(stack)
      {listener, port} = listen()
      :gen_tcp.close(listener)

      keys =
        for request <- for(_ <- 1..20, do: to(port)),
            do:
              (
                Sippet.send(stack, request)
                Client.Key.new(request)
              )

      for key <- keys, do: assert_receive({:receive_error, :econnrefused, ^key}, 5_000)

      assert_receive {:event, [:connection, :refused], _,
                      %{reason: :econnrefused, direction: :out}}

      assert connections(stack) == 0
    end

    test "wait for a connection for a while, and not in number without end", %{stack: stack} do
      {_tcp, _port} = start_tcp(stack, connect: 300, waiting: 10)
      {listener, port} = blackhole()

      keys =
        for request <- for(_ <- 1..15, do: to(port)),
            do:
              (
                Sippet.send(stack, request)
                Client.Key.new(request)
              )

      errors =
        for key <- keys,
            do:
              (
                assert_receive({:receive_error, reason, ^key}, 5_000)
                reason
              )

      assert Enum.count(errors, &(&1 == :busy)) == 5
      assert Enum.count(errors, &(&1 == :etimedout)) == 10
      :gen_tcp.close(listener)
    end

    test "that were given up meanwhile do not leave any more", %{stack: stack} do
      {tcp, _port} = start_tcp(stack)
      {listener, port} = listen()
      connector = child(tcp, Sippet.Transports.Stream.Connector)
      :sys.suspend(connector)
      gone = to(port)
      :ok = Sippet.send(stack, gone)
      :ok = Sippet.terminate(stack, Client.Key.new(gone))
      wait_until(fn -> Sippet.stats(stack).transactions == 0 end)
      there = to(port)
      :ok = Sippet.send(stack, there)
      :sys.resume(connector)
      peer = accept(listener)
      assert receive_message(peer).headers.call_id == there.headers.call_id
      assert :gen_tcp.recv(peer, 0, 50) == {:error, :timeout}
    end

    # RFC3261§18.1.1
    test "are large: they leave by TCP, and by UDP where there is none", %{stack: stack} do
      start_supervised!({UDP, name: stack, port: 0, address: "127.0.0.1"})
      {_tcp, own} = start_tcp(stack)
      {:ok, {_ip, own_udp}} = UDP.sockname(stack)

      large = fn port ->
        %{
          %{
            to(port)
            | start_line: %{
                to(port).start_line
                | request_uri: URI.parse!("sip:b@127.0.0.1:#{port}")
              }
          }
          | body: String.duplicate("x", 1_400)
        }
      end

      {listener, port} = listen()
      :ok = Sippet.send(stack, large.(port))
      assert [{_, :tcp, {_, ^own}, _}] = receive_message(accept(listener)).headers.via
      :gen_tcp.close(listener)

      {:ok, udp} = :gen_udp.open(0, [:binary, active: false, ip: {127, 0, 0, 1}])
      {:ok, port} = :inet.port(udp)
      request = large.(port)
      :ok = Sippet.send(stack, request)
      {:ok, {_ip, _port, octets}} = :gen_udp.recv(udp, 0, 5_000)
      message = Message.parse!(octets)
      assert [{_, :udp, {"127.0.0.1", ^own_udp}, %{"rport" => ""}}] = message.headers.via
      # It is repeated there, as all that goes by UDP.
      {:ok, {ip, from, ^octets}} = :gen_udp.recv(udp, 0, 5_000)
      :ok = :gen_udp.send(udp, ip, from, Message.to_string(Message.to_response(message, 200)))
      key = Client.Key.new(request)
      assert_receive {:receive_response, %{start_line: %{status_code: 200}}, ^key}
      refute_received {:receive_error, _reason, _key}
    end
  end

  describe "a connection that ends" do
    test "ends at once what waits for its first response", %{stack: stack} do
      {_tcp, _port} = start_tcp(stack)
      {listener, port} = listen()

      for method <- [:options, :invite] do
        request = to(port, method)
        :ok = Sippet.send(stack, request)
        peer = accept(listener)
        receive_message(peer)
        :gen_tcp.close(peer)
        key = Client.Key.new(request)
        assert_receive {:receive_error, :closed, ^key}, 1_000
      end
    end

    test "leaves alone an INVITE that rings: its answer may come by another", %{stack: stack} do
      {_tcp, own} = start_tcp(stack)
      {listener, port} = listen()
      request = to(port, :invite)
      :ok = Sippet.send(stack, request)
      peer = accept(listener)
      invite = receive_message(peer)
      respond(peer, invite, 180)
      key = Client.Key.new(request)
      assert_receive {:receive_response, %{start_line: %{status_code: 180}}, ^key}
      :gen_tcp.close(peer)
      await_connections(stack, 0)
      # RFC3261§18.1.2 - by whatever connection
      other = connect(own)
      respond(other, invite, 200)
      assert_receive {:receive_response, %{start_line: %{status_code: 200}}, ^key}
      refute_received {:receive_error, _reason, _key}
    end

    test "and was used before: the next request goes by a new one", %{stack: stack} do
      {tcp, _port} = start_tcp(stack)
      {listener, port} = listen()
      :ok = Sippet.send(stack, to(port))
      peer = accept(listener)
      respond(peer, receive_message(peer), 200)
      assert_receive {:receive_response, _response, _key}

      # It can't know yet that the far end is gone.
      [connection] = pids(tcp)
      :erlang.suspend_process(connection)
      reset(peer)
      request = to(port)
      :ok = Sippet.send(stack, request)
      :erlang.resume_process(connection)
      other = accept(listener)
      assert receive_message(other).headers.call_id == request.headers.call_id
      refute_received {:receive_error, _reason, _key}
    end

    test "is replaced for each of many, and none is left", %{stack: stack} do
      {_tcp, _port} = start_tcp(stack)
      {listener, port} = listen()

      for round <- 1..5 do
        for _request <- 1..20, do: Sippet.send(stack, to(port))
        peer = accept(listener)
        Enum.each(receive_messages(peer, 20), &respond(peer, &1, 200))
        for _request <- 1..20, do: assert_receive({:receive_response, _, _}, 5_000)
        assert connections(stack) <= 2
        if rem(round, 2) == 0, do: reset(peer), else: :gen_tcp.close(peer)
        await_connections(stack, 0)
      end
    end

    # RFC3261§18.2.2
    test "has its response come to the sent-by's port", %{stack: stack} do
      {_tcp, port} = start_tcp(stack)
      {listener, own} = listen()

      for how <- [:closed, :reset] do
        peer = connect(port)

        send_text(
          peer,
          request("INVITE", via: "SIP/2.0/TCP example.com:#{own};branch=z9hG4bK#{how}")
        )

        assert_receive {:receive_request, %{start_line: %{method: :invite}} = invite, _key}
        if how == :closed, do: :gen_tcp.close(peer), else: reset(peer)
        await_connections(stack, 0)
        :ok = Sippet.send(stack, Message.to_response(invite, 486))
        other = accept(listener)
        assert receive_message(other).start_line.status_code == 486
        :gen_tcp.close(other)
        await_connections(stack, 0)
      end
    end

    test "while a response waits in it has that come there too", %{stack: stack} do
      {tcp, port} = start_tcp(stack)
      {listener, own} = listen()
      peer = connect(port)

      send_text(
        peer,
        request("INVITE", via: "SIP/2.0/TCP example.com:#{own};branch=z9hG4bKwaits")
      )

      assert_receive {:receive_request, invite, _key}
      [connection] = pids(tcp)
      :erlang.suspend_process(connection)
      reset(peer)
      :ok = Sippet.send(stack, Message.to_response(invite, 486))

      wait_until(fn -> Process.info(connection, :message_queue_len) != {:message_queue_len, 0} end)

      :erlang.resume_process(connection)
      assert receive_message(accept(listener)).start_line.status_code == 486
    end
  end

  describe "limits" do
    test "of one address and of all: others come in, and those that end make room", %{
      stack: stack
    } do
      {_tcp, port} = start_tcp(stack, max_per_address: 3, max_connections: 5)
      peers = for _peer <- 1..3, do: connect(port)
      await_connections(stack, 3)
      assert_closed(connect(port))
      assert_receive {:event, [:connection, :refused], _, %{reason: :per_address, direction: :in}}

      elsewhere = for _peer <- 1..2, do: connect(port, ip: {127, 0, 0, 2})
      await_connections(stack, 5)
      assert_closed(connect(port, ip: {127, 0, 0, 3}))
      assert_receive {:event, [:connection, :refused], _, %{reason: :max_connections}}

      for peer <- peers ++ elsewhere, do: :gen_tcp.close(peer)
      await_connections(stack, 0)
      peer = connect(port)
      send_text(peer, request("OPTIONS", more: answered(stack, 200)))
      assert receive_message(peer).start_line.status_code == 200
    end

    test "of time: who says nothing, and who says it octet by octet", %{stack: stack} do
      {_tcp, port} = start_tcp(stack, first_message: 100, message: 100)
      silent = connect(port)
      assert_closed(silent)
      await_closed(stack, :slow)

      slow = connect(port, nodelay: true)
      send_text(slow, request("OPTIONS", more: answered(stack, 200)))
      assert receive_message(slow).start_line.status_code == 200
      started = System.monotonic_time(:millisecond)

      for <<octet <- "OPTIONS sip:b@h SIP/2.0">>,
        do:
          (
            :gen_tcp.send(slow, <<octet>>)
            Process.sleep(20)
          )

      assert_closed(slow)
      assert System.monotonic_time(:millisecond) - started >= 100
      await_closed(stack, :slow)
    end

    @tag stack: [t1: 1, telemetry: __MODULE__.Listener, behave: &__MODULE__.behave/3]
    test "of idleness: at least as long as a transaction may take", %{stack: stack} do
      assert_raise ArgumentError, ~r/at least 64\*T1, which is 64 ms, got: 63/, fn ->
        TCP.start_link(name: stack, port: 0, idle: 63)
      end

      {_tcp, port} = start_tcp(stack, idle: 64)
      peer = connect(port)
      send_text(peer, request("OPTIONS", more: answered(stack, 200)))
      assert receive_message(peer).start_line.status_code == 200
      assert_closed(peer)
      await_closed(stack, :idle)
    end

    test "of what a peer does not read: senders hear at once, and it ends", %{stack: stack} do
      {_tcp, _port} = start_tcp(stack, max_unsent: 65_536, send_timeout: 300)
      {listener, port} = listen(recbuf: 4_096)
      keys = send_until_closed(stack, %{to(port) | body: String.duplicate("x", 20_000)}, [])
      _never_read = accept(listener)

      reasons =
        for key <- keys do
          assert_receive {:receive_error, reason, ^key}, 10_000
          reason
        end

      assert :busy in reasons and :send_timeout in reasons
      # What was sent just behind the end went by a connection of its own, and nobody answers it.
      assert Enum.all?(reasons, &(&1 in [:busy, :send_timeout, :timeout]))
    end

    # RFC3261§18.2.2 - another connection is for one that is gone
    test "of what waits for a peer open no other connection for its response", %{stack: stack} do
      {_tcp, port} = start_tcp(stack, max_unsent: 100)
      {listener, own} = listen()
      peer = connect(port)
      via = "SIP/2.0/TCP example.com:#{own};branch=z9hG4bKbusy"
      send_text(peer, request("OPTIONS", via: via))
      assert_receive {:receive_request, request, _key}
      :ok = Sippet.send(stack, Message.to_response(request, 200))
      assert_receive {:receive_error, :busy, _key}
      refute_accept(listener)
    end

    test "of a slow reader: everything comes whole", %{stack: stack} do
      {_tcp, _port} = start_tcp(stack, max_unsent: 100_000_000, waiting: 1_000)
      {listener, port} = listen(recbuf: 4_096)
      bodies = for number <- 1..300, do: String.duplicate("#{number},", 2_000)
      for body <- bodies, do: Task.start(fn -> Sippet.send(stack, %{to(port) | body: body}) end)
      peer = accept(listener)
      messages = receive_messages(peer, 300)
      assert Enum.sort(Enum.map(messages, & &1.body)) == Enum.sort(bodies)
    end
  end

  describe "the transport" do
    # RFC3261§18.2.1
    test "stands beside UDP at the same port, and beside another family", %{stack: stack} do
      {_tcp, port} = start_tcp(stack)
      start_supervised!({UDP, name: stack, port: port, address: "127.0.0.1"})
      start_tcp(stack, address: {"::1", :inet6})
      assert Enum.map(Stack.transports(Stack.fetch!(stack)), & &1.protocol) == [:tcp, :udp, :tcp]

      Process.flag(:trap_exit, true)
      again = [name: stack, port: port, address: "127.0.0.1"]
      assert {:error, :eaddrinuse} = TCP.start_link(again)
    end

    test "goes by IPv6", %{stack: stack} do
      {_tcp, port} = start_tcp(stack, address: "::1")

      :ok =
        Sippet.send(
          stack,
          Message.put_header(to(port, :options, "[::1]"), "X-Answer", ["200"])
          |> Message.put_header("X-Stack", ["#{stack}"])
        )

      assert_receive {:receive_response, %{start_line: %{status_code: 200}}, _key}
    end

    test "need not listen", %{stack: stack} do
      start_supervised!({TCP, name: stack, port: 5999, address: "127.0.0.1", listen: false})
      {listener, port} = listen()
      :ok = Sippet.send(stack, to(port))
      peer = accept(listener)
      respond(peer, receive_message(peer), 200)
      assert_receive {:receive_response, %{start_line: %{status_code: 200}}, _key}
      assert {:error, :econnrefused} = :gen_tcp.connect({127, 0, 0, 1}, 5999, [])
    end

    for part <- [
          Sippet.Transports.Stream.Listener,
          Sippet.Transports.Stream.Connector,
          {Sippet.Transports.Stream.Acceptor, 1}
        ] do
      test "lives on without its #{inspect(part)}, and so do its connections", %{stack: stack} do
        {tcp, port} = start_tcp(stack)
        peer = connect(port)
        send_text(peer, request("OPTIONS", more: answered(stack, 200)))
        assert receive_message(peer).start_line.status_code == 200
        pid = child(tcp, unquote(Macro.escape(part)))
        Process.exit(pid, :kill)

        wait_until(fn ->
          child(tcp, unquote(Macro.escape(part))) not in [pid, nil, :restarting]
        end)

        send_text(peer, request("OPTIONS", more: answered(stack, 200)))
        assert receive_message(peer).start_line.status_code == 200
        {:ok, {_ip, again}} = TCP.sockname(tcp)
        other = connect(again)
        send_text(other, request("OPTIONS", more: answered(stack, 200)))
        assert receive_message(other).start_line.status_code == 200
        assert connections(stack) == 2
        :gen_tcp.close(peer)
        :gen_tcp.close(other)
        await_connections(stack, 0)
      end
    end

    test "counts nobody who was killed", %{stack: stack} do
      {tcp, port} = start_tcp(stack)
      peers = for _peer <- 1..10, do: connect(port)
      await_connections(stack, 10)
      for pid <- pids(tcp), do: Process.exit(pid, :kill)
      await_connections(stack, 0)
      for peer <- peers, do: assert_closed(peer)
    end

    test "writes what the stack was told to send before it ends", %{stack: stack} do
      {tcp, port} = start_tcp(stack)
      peer = connect(port)
      send_text(peer, request("INVITE"))
      assert_receive {:receive_request, invite, _key}
      :ok = Sippet.send(stack, Message.to_response(invite, 486))
      Supervisor.stop(tcp, :shutdown)
      assert receive_message(peer).start_line.status_code == 486
      assert_closed(peer)
    end

    test "tells of each connection how it went", %{stack: stack} do
      {_tcp, port} = start_tcp(stack)
      peer = connect(port)
      remote = {:tcp, {127, 0, 0, 1}, port(peer)}

      assert_receive {:event, [:connection, :opened], _,
                      %{remote: ^remote, direction: :in, local: {_, ^port}}}

      text = request("OPTIONS", more: answered(stack, 200))
      send_text(peer, text)
      receive_message(peer)
      :gen_tcp.close(peer)

      assert_receive {:event, [:connection, :closed], measured,
                      %{remote: ^remote, reason: :normal}}

      assert %{octets_in: octets, messages_in: 1, messages_out: 1} = measured
      assert octets == byte_size(text)
    end

    test "holds no name of a host longer than for a message", %{stack: stack} do
      {_tcp, _port} = start_tcp(stack)
      {listener, port} = listen()
      :ok = Sippet.send(stack, to(port, :options, "localhost"))
      assert receive_message(accept(listener)).start_line.method == :options
    end
  end

  defp send_until_closed(stack, request, keys) do
    receive do
      {:event, [:connection, :closed], _measured, %{reason: :send_timeout}} -> keys
    after
      # The peer's buffer has room at first.
      if(length(keys) < 400, do: 0, else: 50) ->
        request = Message.renew(request)
        started = System.monotonic_time(:millisecond)
        :ok = Sippet.send(stack, request)
        assert System.monotonic_time(:millisecond) - started < 1_000
        send_until_closed(stack, request, [Client.Key.new(request) | keys])
    end
  end

  defp child(supervisor, id) do
    {^id, pid, _type, _modules} = List.keyfind(Supervisor.which_children(supervisor), id, 0)
    pid
  end

  defp pids(tcp) do
    for {_id, pid, _type, _modules} <-
          DynamicSupervisor.which_children(child(tcp, DynamicSupervisor)),
        do: pid
  end

  # A port whose queue of connections is full: a further one waits.
  defp blackhole do
    {listener, port} = listen(backlog: 0)
    fill(port, 5)
    {listener, port}
  end

  defp fill(_port, 0), do: :ok

  defp fill(port, left) do
    case :gen_tcp.connect({127, 0, 0, 1}, port, [:binary, active: false], 100) do
      {:ok, _socket} -> fill(port, left - 1)
      {:error, :timeout} -> :ok
    end
  end
end
