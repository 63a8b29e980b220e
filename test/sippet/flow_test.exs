defmodule Sippet.FlowTest do
  # By which way messages come and go, over sockets.
  use Sippet.StackCase, async: true

  alias Sippet.{Flow, TestTransport, Transport}
  alias Sippet.Transports.UDP

  defmodule Answering do
    use Sippet.Core
    alias Sippet.Message

    def receive_request(request, nil, stack),
      do: Sippet.forward(stack, Message.to_response(request, 200))
  end

  defmodule Failing do
    use Sippet.Core
    def receive_request(_request, _key, _stack), do: exit(:normal)
  end

  @moduletag :capture_log
  @moduletag transport: false

  @loopback {127, 0, 0, 1}

  # A transport of the stack, and its port.
  defp start_udp(stack, options \\ []) do
    options = Keyword.merge([name: stack, port: 0, address: "127.0.0.1"], options)
    spec = Supervisor.child_spec({UDP, options}, id: make_ref())
    pid = start_supervised!(spec)
    {:ok, {_ip, port}} = UDP.sockname(pid)
    port
  end

  defp phone do
    {:ok, socket} = :gen_udp.open(0, [:binary, ip: @loopback, active: true, recbuf: 4_000_000])
    {:ok, port} = :inet.port(socket)
    {socket, port}
  end

  defp tell({socket, _port}, port, text),
    do: :ok = :gen_udp.send(socket, @loopback, port, text)

  # What a phone gets next, and from which port. Where the machine is slow, the stack's own 100 comes before it.
  defp heard({socket, _port} = phone) do
    assert_receive {:udp, ^socket, _ip, from, octets}, 2_000

    case Message.parse!(octets) do
      %{start_line: %{status_code: 100}} -> heard(phone)
      message -> {message, from}
    end
  end

  # A Via that asks for no rport, and names a port where nobody listens.
  defp via(sent_by \\ "10.1.1.1:9", more \\ ""),
    do: {"Via", "SIP/2.0/UDP #{sent_by};branch=#{Message.create_branch()}#{more}"}

  defp request(via_port, host \\ "127.0.0.1"),
    do: own_request(:options, "sip:b@127.0.0.1", {host, via_port})

  describe "the source of a message" do
    test "is the flow by which it came, of a request and of a response", %{stack: stack} do
      port = start_udp(stack)
      {_socket, source} = phone = phone()
      flow = %Flow{protocol: :udp, remote: {@loopback, source}, local: {@loopback, port}}

      tell(phone, port, wire("OPTIONS", [via()]))
      assert_receive {:receive_request, %{source: ^flow} = request, _key}
      assert Message.get_remote(request) == {:ok, {:udp, "127.0.0.1", source}}
      assert Message.to_response(request, 200).source == nil

      :ok = Sippet.send(stack, %{request(port) | target: {:udp, "127.0.0.1", source}})
      {sent, ^port} = heard(phone)
      tell(phone, port, to_string(Message.to_response(sent, 200)))
      assert_receive {:receive_response, %{source: ^flow}, _key}

      # An ACK, and a 2xx that nobody waits for.
      tell(phone, port, wire("ACK", [via()]))
      assert_receive {:receive_request, %{source: ^flow}, nil}
      stray = "INVITE" |> wire() |> Message.parse!() |> Message.to_response(200)
      tell(phone, port, to_string(stray))
      assert_receive {:receive_response, %{source: ^flow}, nil}
    end

    test "is nothing in a message that was parsed alone" do
      assert Message.parse!(wire("OPTIONS")).source == nil
    end

    @tag stack: [stateless: true]
    test "is there without transactions too", %{stack: stack} do
      port = start_udp(stack)
      phone = phone()
      tell(phone, port, wire("OPTIONS", [via()]))
      assert_receive {:receive_request, %{source: %Flow{local: {_ip, ^port}}}, nil}
    end

    test "leads back to a connection that has not registered", %{stack: stack} do
      connection = %Transport{TestTransport.new(reliable?: true) | protocol: :tcp, handle: self()}
      text = String.replace(wire("OPTIONS"), "/UDP", "/TCP")
      remote = {:tcp, {192, 0, 2, 7}, 4321}
      Router.handle_transport_message(stack, text, remote, connection)
      assert_receive {:receive_request, %{source: %Flow{} = flow}, _key}

      assert {flow.remote, flow.local, flow.connection} ==
               {{{192, 0, 2, 7}, 4321}, nil, connection}

      :ok = Sippet.send(stack, %{request(5060) | target: flow})

      assert {%{headers: %{via: [{_, :tcp, _, _}]}}, {{192, 0, 2, 7}, 4321}} =
               assert_sent(:options)
    end

    test "is known to a callback that another worker starts", %{stack: stack} do
      port = start_udp(stack)
      phone = phone()
      tell(phone, port, wire("INVITE", [via()]))
      assert_receive {:receive_request, %{source: source}, key}
      row = Sippet.Transactions.Rows.find(Sippet.Stack.fetch!(stack), key)
      read = Sippet.Transactions.OwnMessages.request(Sippet.Stack.fetch!(stack), row)
      assert read.source == source
    end
  end

  describe "a message whose target is a flow" do
    test "goes by it, whatever its Via and its Request-URI say", %{stack: stack} do
      [_first, second] = for _ <- 1..2, do: start_udp(stack)
      phone = phone()
      tell(phone, second, wire("OPTIONS", [via()]))
      assert_receive {:receive_request, %{source: source} = request, _key}

      :ok = Sippet.send(stack, %{request(5060) | target: source})
      assert {%{start_line: %{method: :options}}, ^second} = heard(phone)
      :ok = Sippet.forward(stack, %{request(5060) | target: source})
      assert {%{start_line: %{method: :options}}, ^second} = heard(phone)
      :ok = Sippet.forward(stack, %{Message.to_response(request, 200) | target: source})
      assert {%{start_line: %{status_code: 200}}, ^second} = heard(phone)
    end

    test "goes nowhere, where the stack has no transport there", %{stack: stack} do
      start_udp(stack)
      flow = %Flow{protocol: :udp, remote: {@loopback, 9}, local: {@loopback, 1}}
      assert Sippet.send(stack, %{request(5060) | target: flow}) == {:error, :no_transport}
      assert Sippet.forward(stack, %{request(5060) | target: flow}) == {:error, :no_transport}
      response = Message.to_response(Message.parse!(wire("OPTIONS")), 200)
      assert Sippet.forward(stack, %{response | target: flow}) == {:error, :no_transport}
    end
  end

  describe "RFC3261§18.1.1 a request" do
    for {address, host} <- [
          {"127.0.0.1", "127.0.0.1"},
          {"0.0.0.0", "127.0.0.1"},
          {"0.0.0.0", "pc.example.com"}
        ] do
      test "leaves by the transport of its Via's port: #{host}, bound to #{address}", %{
        stack: stack
      } do
        ports = for _ <- 1..2, do: start_udp(stack, address: unquote(address))
        {_socket, there} = phone = phone()

        for port <- ports ++ Enum.reverse(ports) do
          :ok =
            Sippet.send(stack, %{
              request(port, unquote(host))
              | target: {:udp, "127.0.0.1", there}
            })

          assert {_request, ^port} = heard(phone)
        end
      end
    end

    test "leaves by the transport of the Via's address, where the port is that of several", %{
      stack: stack
    } do
      port = start_udp(stack, address: "127.0.0.2")
      ^port = start_udp(stack, address: "127.0.0.3", port: port)
      {_socket, there} = phone = phone()

      for last <- [2, 3, 2] do
        request = request(port, "127.0.0.#{last}")
        :ok = Sippet.send(stack, %{request | target: {:udp, "127.0.0.1", there}})
        {socket, _port} = phone
        assert_receive {:udp, ^socket, {127, 0, 0, ^last}, ^port, _octets}
      end
    end
  end

  describe "RFC3581§4 an answer without a transaction" do
    @tag stack: [stateless: true]
    test "leaves by the transport that its request came to", %{stack: stack} do
      ports = for _ <- 1..2, do: start_udp(stack)
      phone = phone()
      Sippet.register_core(stack, Answering)

      for port <- ports ++ Enum.reverse(ports) do
        tell(phone, port, wire("OPTIONS", [via("127.0.0.1:9", ";rport")]))
        assert {%{start_line: %{status_code: 200}}, ^port} = heard(phone)
      end
    end

    test "leaves so if it is the stack's own: 400 and 481", %{stack: stack} do
      ports = for _ <- 1..2, do: start_udp(stack)
      phone = phone()

      for port <- ports ++ Enum.reverse(ports),
          {status, text} <- [
            {400, wire("OPTIONS", [via("127.0.0.1:9", ";rport"), {"Max-Forwards", "x"}])},
            {481, wire("CANCEL", [via("127.0.0.1:9", ";rport")])}
          ] do
        tell(phone, port, text)
        assert {%{start_line: %{status_code: ^status}}, ^port} = heard(phone)
      end
    end
  end

  describe "a transport with force_rport" do
    test "has requests answered to where they came from, sound or not", %{stack: stack} do
      port = start_udp(stack, force_rport: true)
      {_socket, source} = phone = phone()
      tell(phone, port, wire("OPTIONS", [via()]))
      assert_receive {:receive_request, %{headers: %{via: [{_, _, _, params}]}} = request, _key}
      assert %{"rport" => rport, "received" => "127.0.0.1"} = params
      assert rport == Integer.to_string(source)
      Sippet.send(stack, Message.to_response(request, 200))
      assert {%{start_line: %{status_code: 200}}, ^port} = heard(phone)

      tell(phone, port, wire("OPTIONS", [via(), {"Max-Forwards", "x"}]))
      assert {%{start_line: %{status_code: 400}}, ^port} = heard(phone)
    end

    @tag :capture_log
    test "answers so when the stack makes the answer", %{stack: stack} do
      port = start_udp(stack, force_rport: true)
      phone = phone()
      Sippet.register_core(stack, Failing)
      tell(phone, port, wire("OPTIONS", [via()]))
      assert {%{start_line: %{status_code: 500}}, ^port} = heard(phone)
    end
  end

  describe "a maddr of the topmost Via" do
    test "that is not obeyed is as if it were not there", %{stack: stack} do
      port = start_udp(stack)
      phone = phone()

      for maddr <- ["127.0.0.9", "224.0.1.75"] do
        tell(phone, port, wire("OPTIONS", [via("127.0.0.1:9", ";rport;maddr=#{maddr}")]))
        assert_receive {:receive_request, request, _key}
        Sippet.send(stack, Message.to_response(request, 200))
        assert {%{start_line: %{status_code: 200}}, ^port} = heard(phone)
      end
    end

    test "is obeyed by a transport that sends to groups", %{stack: stack} do
      address = {@loopback, 5060}
      options = [address: address, via: {TestTransport, self()}, multicast: true]
      :ok = Sippet.register_transport(stack, :udp, false, options)
      deliver(stack, wire("OPTIONS", [via("10.1.1.1:5070", ";rport;maddr=224.0.1.75")]))
      assert_receive {:receive_request, request, _key}
      Sippet.send(stack, Message.to_response(request, 200))
      assert {_response, {{224, 0, 1, 75}, 5070}} = assert_sent(200)
    end
  end

  describe "a transport that starts again at the same address" do
    import Sippet.Wait

    @calls 50

    setup %{stack: stack} do
      phone = phone()
      {:ok, socket} = :gen_udp.open(0, [:binary, ip: @loopback])
      {:ok, port} = :inet.port(socket)
      :gen_udp.close(socket)
      %{port: start_udp(stack, port: port), phone: phone}
    end

    # The transport's process, which a supervisor starts again.
    defp kill(stack) do
      [%{pid: pid}] = Sippet.Stack.transports(Sippet.Stack.fetch!(stack))
      Process.exit(pid, :kill)
      pid
    end

    defp await_successor(stack, killed) do
      wait_until(fn ->
        match?(
          [%{pid: pid}] when pid != killed,
          Sippet.Stack.transports(Sippet.Stack.fetch!(stack))
        )
      end)
    end

    defp statuses(phone), do: statuses(phone, @calls, [])
    defp statuses(_phone, 0, heard), do: Enum.frequencies(heard)

    defp statuses(phone, left, heard) do
      {message, _port} = heard(phone)

      case message.start_line do
        %{status_code: status} -> statuses(phone, left - 1, [status | heard])
        %{method: method} -> statuses(phone, left - 1, [method | heard])
      end
    end

    defp came(phone, port, method) do
      texts = for _ <- 1..@calls, do: wire(method, [via("127.0.0.1:9", ";rport")])

      for text <- texts do
        tell(phone, port, text)
        assert_receive {:receive_request, request, _key}
        {text, request}
      end
    end

    @describetag stack: [answer_timeout: 60_000]
    test "is the same to calls that ring: they are answered", %{stack: stack} = context do
      %{port: port, phone: phone} = context
      calls = came(phone, port, "INVITE")
      for {_text, invite} <- calls, do: Sippet.send(stack, Message.to_response(invite, 180))
      assert statuses(phone) == %{180 => @calls}

      kill(stack)
      for {_text, invite} <- calls, do: :ok = Sippet.send(stack, Message.to_response(invite, 200))
      assert statuses(phone) == %{200 => @calls}
      refute_received {:receive_error, _reason, _key}
    end

    test "is the same to what was answered: it is answered again", %{stack: stack} = context do
      %{port: port, phone: phone} = context
      calls = came(phone, port, "INVITE") ++ came(phone, port, "OPTIONS")

      for {_text, request} <- calls do
        status = if request.start_line.method == :invite, do: 486, else: 200
        :ok = Sippet.send(stack, Message.to_response(request, status))
      end

      statuses(phone)
      statuses(phone)
      await_successor(stack, kill(stack))

      {socket, _port} = phone
      for {text, _request} <- calls, do: tell(phone, port, text)
      # 486 comes by Timer G too.
      for status <- ["486", "200"],
          _ <- 1..@calls,
          do:
            assert_receive(
              {:udp, ^socket, _ip, ^port, "SIP/2.0 " <> <<^status::binary-3>> <> _},
              2_000
            )

      refute_received {:receive_request, _again, _key}
      refute_received {:receive_error, _reason, _key}
    end

    test "is the same to calls that it made: they are cancelled, and acknowledged",
         %{stack: stack} = context do
      %{port: port, phone: {_socket, there} = phone} = context

      invites =
        for _ <- 1..@calls do
          invite = %{request(port) | target: {:udp, "127.0.0.1", there}}

          invite =
            Message.put_header(put_in(invite.start_line.method, :invite), :cseq, {1, :invite})

          :ok = Sippet.send(stack, invite)
          {got, ^port} = heard(phone)
          tell(phone, port, to_string(Message.to_response(got, 180)))
          assert_receive {:receive_response, %{start_line: %{status_code: 180}}, _key}
          invite
        end

      killed = kill(stack)
      for invite <- invites, do: :ok = Sippet.send(stack, Message.to_cancel(invite))
      assert statuses(phone) == %{cancel: @calls}
      await_successor(stack, killed)
      for invite <- invites, do: tell(phone, port, to_string(Message.to_response(invite, 487)))
      assert %{ack: @calls} = acknowledged(phone, %{})
      refute_received {:receive_error, _reason, _key}
    end

    # CANCELs come again meanwhile, as nobody answers them.
    defp acknowledged(_phone, %{ack: @calls} = heard), do: heard

    defp acknowledged(phone, heard) do
      {%{start_line: %{method: method}}, _port} = heard(phone)
      acknowledged(phone, Map.update(heard, method, 1, &(&1 + 1)))
    end
  end

  describe "RFC3261§18.2.2 a response whose way is gone" do
    test "goes by another transport of the protocol", %{stack: stack} do
      [gone, other] = for _ <- 1..2, do: start_udp(stack)
      phone = phone()
      tell(phone, gone, wire("OPTIONS", [via("127.0.0.1:9", ";rport")]))
      assert_receive {:receive_request, request, _key}

      pid =
        Enum.find(
          Sippet.Stack.transports(Sippet.Stack.fetch!(stack)),
          &match?({_ip, ^gone}, &1.address)
        ).pid

      id =
        Enum.find_value(supervised(), fn {id, child, _type, _modules} ->
          if child == pid, do: id
        end)

      :ok = stop_supervised(id)
      :ok = Sippet.send(stack, Message.to_response(request, 200))
      assert {%{start_line: %{status_code: 200}}, ^other} = heard(phone)
      refute_received {:receive_error, _reason, _key}
    end

    defp supervised do
      {:ok, supervisor} = ExUnit.fetch_test_supervisor()
      Supervisor.which_children(supervisor)
    end

    test "of a connection goes to the port where the client listens, by the transport that opens connections",
         %{stack: stack} do
      connection = %Transport{
        TestTransport.new(reliable?: true, outcome: fn _ -> {:error, :closed} end)
        | protocol: :tcp
      }

      opens = [address: {@loopback, 5060}, via: {TestTransport, self()}]
      :ok = Sippet.register_transport(stack, :tcp, true, opens)
      text = String.replace(wire("OPTIONS", [via("10.1.1.1:5071")]), "/UDP", "/TCP")
      Router.handle_transport_message(stack, text, {:tcp, {192, 0, 2, 7}, 4321}, connection)
      assert_receive {:receive_request, request, _key}
      :ok = Sippet.send(stack, Message.to_response(request, 200))
      assert {_by_the_connection, {{192, 0, 2, 7}, 4321}} = assert_sent(200)
      assert {_by_a_new_one, {{192, 0, 2, 7}, 5071}} = assert_sent(200)
      refute_receive {:receive_error, _reason, _key}, 50
    end

    test "is not gone where one datagram can't be sent", %{stack: stack} do
      too_large = {TestTransport, {self(), fn _octets -> {:error, :emsgsize} end}}

      :ok =
        Sippet.register_transport(stack, :udp, false, address: {@loopback, 5060}, via: too_large)

      other = [address: {@loopback, 5061}, via: {TestTransport, self()}]
      :ok = Sippet.register_transport(stack, :udp, false, other)
      [first, _other] = Sippet.Stack.transports(Sippet.Stack.fetch!(stack))
      Router.handle_transport_message(stack, wire("OPTIONS"), remote(), first)
      assert_receive {:receive_request, request, key}
      :ok = Sippet.send(stack, Message.to_response(request, 200))
      assert_sent(200)
      assert_receive {:receive_error, :emsgsize, ^key}
      refute_received {:sent, _destination, _octets, _key}
    end

    test "is an error where there is no other", %{stack: stack} do
      connection = %Transport{
        TestTransport.new(reliable?: true, outcome: fn _ -> {:error, :closed} end)
        | protocol: :tcp
      }

      text = String.replace(wire("OPTIONS"), "/UDP", "/TCP")
      Router.handle_transport_message(stack, text, {:tcp, {192, 0, 2, 7}, 4321}, connection)
      assert_receive {:receive_request, request, key}
      :ok = Sippet.send(stack, Message.to_response(request, 200))
      assert_receive {:receive_error, :closed, ^key}
    end
  end

  # A phone that writes the address of its own network everywhere and asks for no rport, and a box before it that gives
  # each sender a port of its own.
  describe "a phone behind a NAT" do
    defp nat(stack_port) do
      {:ok, inside} = :gen_udp.open(0, [:binary, ip: {127, 0, 0, 7}, active: true])
      {:ok, outside} = :gen_udp.open(0, [:binary, ip: @loopback, active: true])
      {:ok, inside_port} = :inet.port(inside)
      {:ok, outside_port} = :inet.port(outside)

      relay = fn relay, phone ->
        receive do
          {:udp, ^inside, ip, port, octets} ->
            :gen_udp.send(outside, @loopback, stack_port, octets)
            relay.(relay, {ip, port})

          {:udp, ^outside, _ip, ^stack_port, octets} ->
            {ip, port} = phone
            :gen_udp.send(inside, ip, port, octets)
            relay.(relay, phone)
        end
      end

      pid = spawn_link(fn -> receive do: (:go -> relay.(relay, nil)) end)
      for socket <- [inside, outside], do: :ok = :gen_udp.controlling_process(socket, pid)
      send(pid, :go)
      {inside_port, outside_port}
    end

    test "registers, is called, calls, and hangs up either way", %{stack: stack} do
      port = start_udp(stack, force_rport: true)
      {socket, _own} = phone = phone()
      {inside, outside} = nat(port)
      own = "10.1.1.1:5060"
      say = fn text -> :ok = :gen_udp.send(socket, {127, 0, 0, 7}, inside, text) end
      contact = {"Contact", "<sip:bob@#{own}>"}

      # It registers.
      say.(wire("REGISTER", [via(own), contact]))
      assert_receive {:receive_request, %{source: source} = register, _key}
      assert source.remote == {@loopback, outside}
      Sippet.send(stack, Message.to_response(register, 200))
      assert {%{start_line: %{status_code: 200}}, ^inside} = heard(phone)

      # It is called, and the caller hangs up.
      invite = %{request(port) | target: source}
      invite = put_in(invite.start_line.method, :invite)
      invite = Message.put_header(invite, :cseq, {1, :invite})

      invite =
        Message.put_header(invite, :contact, [{"", Sippet.URI.parse!("sip:a@127.0.0.1"), %{}}])

      :ok = Sippet.send(stack, invite)
      {got, ^inside} = heard(phone)

      ok =
        got
        |> Message.to_response(200)
        |> Message.put_header(:contact, [{"", Sippet.URI.parse!("sip:bob@#{own}"), %{}}])

      say.(to_string(ok))
      assert_receive {:receive_response, %{start_line: %{status_code: 200}} = ok, _key}
      {:ok, dialog} = Sippet.Dialog.uac(invite, ok)
      ack = Sippet.Dialog.build_ack(dialog, ok)
      via = fn -> hd(request(port).headers.via) end
      :ok = Sippet.send(stack, %{Message.put_header(ack, :via, [via.()]) | target: ok.source})
      assert {%{start_line: %{method: :ack}}, ^inside} = heard(phone)
      {:ok, bye, dialog} = Sippet.Dialog.next_request(dialog, :bye)
      :ok = Sippet.send(stack, %{Message.put_header(bye, :via, [via.()]) | target: ok.source})
      {%{start_line: %{method: :bye}} = got, ^inside} = heard(phone)
      say.(to_string(Message.to_response(got, 200)))
      assert_receive {:receive_response, %{headers: %{cseq: {_, :bye}}}, _key}
      assert dialog

      # It calls, and hangs up itself.
      call = [{"Call-ID", "outgoing"}, contact]
      say.(wire("INVITE", [via(own) | call]))
      assert_receive {:receive_request, %{start_line: %{method: :invite}} = invite, _key}
      ok = Message.to_response(invite, 200)
      Sippet.send(stack, ok)
      assert {%{start_line: %{status_code: 200}}, ^inside} = heard(phone)
      {_name, _uri, %{"tag" => tag}} = ok.headers.to
      within = [{"To", "<sip:b@biloxi.com>;tag=#{tag}"} | call]
      say.(wire("ACK", [via(own) | within]))
      assert_receive {:receive_request, %{start_line: %{method: :ack}}, nil}
      say.(wire("BYE", [via(own), {"CSeq", "2 BYE"} | within]))
      assert_receive {:receive_request, %{start_line: %{method: :bye}} = bye, _key}
      Sippet.send(stack, Message.to_response(bye, 200))
      assert {%{start_line: %{status_code: 200}}, ^inside} = heard(phone)
    end
  end
end
