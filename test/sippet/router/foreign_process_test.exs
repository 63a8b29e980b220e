defmodule Sippet.Router.ForeignProcessTest do
  # Messages that a process hands in which has not registered: the connections of a 1.0 transport.
  use Sippet.StackCase, async: true

  alias Sippet.{TestTelemetry, TestTransport}
  alias Sippet.Transactions.Server

  @moduletag :capture_log
  @moduletag transport: false, stack: [telemetry: TestTelemetry]
  @tcp {:tcp, {192, 0, 2, 73}, 4321}

  # Registers as a process of its own, which tells the test by `name` of what it is given to send.
  defp register(stack, name, protocol, options \\ []) do
    test = self()

    start_supervised!(
      {Task,
       fn ->
         send(test, {name, Sippet.register_transport(stack, protocol, protocol != :udp, options)})
         relay(test, name)
       end},
      id: name
    )

    assert_receive {^name, result}
    result
  end

  defp relay(test, name) do
    receive do
      {:"$gen_call", from, {:send_message, message, host, port, key}} ->
        GenServer.reply(from, :ok)
        send(test, {name, message, {host, port}, key})

      {:sent, destination, octets, key} ->
        send(test, {name, Message.parse!(octets), destination, key})
    end

    relay(test, name)
  end

  defp tcp(method, headers \\ []) do
    via = "SIP/2.0/TCP 10.1.1.1;branch=#{Message.create_branch()};rport"
    wire(method, [{"Via", via} | headers])
  end

  defp foreign(stack, text, remote \\ @tcp),
    do: Task.await(Task.async(fn -> deliver(stack, text, remote) end))

  describe "a process that has not registered" do
    test "is answered by the registered transport of the protocol", %{stack: stack} do
      :ok = register(stack, :datagrams, :udp)
      :ok = register(stack, :streams, :tcp)
      assert foreign(stack, tcp("OPTIONS")) == :ok
      assert_receive {:receive_request, request, %Server.Key{} = key}

      assert [{_, :tcp, _, %{"received" => "192.0.2.73", "rport" => "4321"}}] =
               request.headers.via

      Sippet.send(stack, Message.to_response(request, 200))
      assert_receive {:streams, response, {"192.0.2.73", 4321}, ^key}
      assert response.start_line.status_code == 200
    end

    test "is so where no transaction answers", %{stack: stack} do
      :ok = register(stack, :streams, :tcp)
      long = "sip:" <> String.duplicate("5", 9_000) <> "@biloxi.com"

      for {text, status} <- [
            {tcp("OPTIONS", [{"Max-Forwards", "x"}]), 400},
            {tcp("OPTIONS", [{"CSeq", "1 INVITE"}]), 400},
            {String.replace(tcp("OPTIONS"), "sip:b@biloxi.com", long, global: false), 414},
            {String.replace(tcp("OPTIONS"), " SIP/2.0", " SIP/7.0", global: false), 505},
            {tcp("OPTIONS", for(_ <- 1..5_000, do: {"X", "y"})), 513},
            {tcp("CANCEL"), 481}
          ] do
        foreign(stack, text)
        assert_receive {:streams, response, {"192.0.2.73", 4321}, nil}, 500
        assert response.start_line.status_code == status
      end

      Sippet.drain(stack, 0)
      foreign(stack, tcp("OPTIONS"))
      assert_receive {:streams, %{start_line: %{status_code: 503}}, _destination, nil}
    end

    test "is answered by the transport without an address before all others", %{stack: stack} do
      # First the one without, as those that name theirs may come to it.
      :ok = register(stack, :plain, :tcp)
      :ok = register(stack, :named, :tcp, address: {{127, 0, 0, 1}, 1})
      foreign(stack, tcp("CANCEL"))
      assert_receive {:plain, %{start_line: %{status_code: 481}}, _destination, nil}
    end

    test "is answered by the first one where all name theirs", %{stack: stack} do
      for port <- 1..3,
          do: :ok = register(stack, {:named, port}, :tcp, address: {{127, 0, 0, 1}, port})

      foreign(stack, tcp("CANCEL"))
      assert_receive {{:named, 1}, %{start_line: %{status_code: 481}}, _destination, nil}
    end

    test "hands in for nobody where the protocol has no transport", %{stack: stack} do
      :ok = register(stack, :datagrams, :udp)
      foreign(stack, tcp("OPTIONS"))
      assert_receive {:event, [:message, :dropped], _, %{reason: :no_transport}}
      refute_received {:receive_request, _request, _key}
    end

    test "may queue what it has", %{stack: stack} do
      :ok = register(stack, :streams, :tcp)
      remote = {"TCP", "192.0.2.73", 4321}
      task = Task.async(fn -> Router.queue_transport_message(stack, tcp("CANCEL"), remote) end)
      assert Task.await(task) == :ok
      assert_receive {:streams, %{start_line: %{status_code: 481}}, {"192.0.2.73", 4321}, nil}
    end
  end

  describe "a process that has registered" do
    test "answers itself, whatever protocol it names", %{stack: stack} do
      :ok = register(stack, :streams, :tcp)

      :ok =
        Sippet.register_transport(stack, :tcp, true,
          address: {{127, 0, 0, 1}, 1},
          via: {TestTransport, self()}
        )

      for remote <- [@tcp, {:tls, {192, 0, 2, 73}, 4321}] do
        deliver(stack, tcp("CANCEL"), remote)
        assert_sent(481)
      end
    end

    test "answers by the one of its transports that has the protocol", %{stack: stack} do
      test = self()

      for {protocol, port} <- [tls: 1, tcp: 2] do
        :ok =
          Sippet.register_transport(stack, protocol, true,
            address: {{127, 0, 0, 1}, port},
            via: {TestTransport, {test, fn _octets -> send(test, protocol) && :ok end}}
          )
      end

      deliver(stack, tcp("CANCEL"), @tcp)
      assert_receive :tcp
      deliver(stack, tcp("CANCEL"), {:tls, {192, 0, 2, 73}, 4321})
      assert_receive :tls
    end
  end

  describe "where a message came from" do
    test "may be told as text", %{stack: stack} do
      :ok = register(stack, :streams, :tcp)

      for {address, host} <- [
            {"192.0.2.73", "192.0.2.73"},
            {"2001:DB8::1", "2001:db8::1"},
            {"[2001:db8::1]", "2001:db8::1"}
          ],
          protocol <- [:tcp, "tcp", "TCP"] do
        foreign(stack, tcp("OPTIONS", [{"Max-Forwards", "x"}]), {protocol, address, 5060})
        assert_receive {:streams, %{start_line: %{status_code: 400}} = bad, {^host, 5060}, nil}
        assert [{_, _, _, %{"received" => ^host, "rport" => "5060"}}] = bad.headers.via
        foreign(stack, tcp("OPTIONS"), {protocol, address, 5060})
        assert_receive {:receive_request, request, _key}
        assert [{_, _, _, %{"received" => ^host, "rport" => "5060"}}] = request.headers.via
      end
    end

    test "is told to who watches the stack as an address", %{stack: stack} do
      foreign(stack, tcp("OPTIONS"), {"Tcp", "192.0.2.73", 5060})
      assert_receive {:event, [:message, :received], _, %{remote: remote}}
      assert remote == {:tcp, {192, 0, 2, 73}, 5060}
    end

    test "is dropped and counted where it is no address, and never raises", %{stack: stack} do
      :ok = register(stack, :streams, :tcp)

      for remote <- [
            {:tcp, "pbx.example.com", 5060},
            {:tcp, "\xFF\xFE", 5060},
            {:tcp, String.duplicate("9", 60_000), 5060},
            {:tcp, {1, 2}, 5060},
            {:tcp, {256, 0, 0, 1}, 5060},
            {:tcp, nil, 5060},
            {:tcp, "192.0.2.73", "5060"},
            {:tcp, "192.0.2.73", 65_536},
            {1, "192.0.2.73", 5060},
            {:tcp, "192.0.2.73"},
            nil
          ],
          take <- [&Router.handle_transport_message/3, &Router.queue_transport_message/3] do
        assert take.(stack, tcp("OPTIONS"), remote) == :ok
        assert_receive {:event, [:message, :dropped], _, dropped}
        assert %{reason: :malformed_remote, remote: ^remote} = dropped
      end

      refute_received {:receive_request, _request, _key}
      refute_received {:streams, _message, _destination, _key}
    end
  end

  describe "register_transport/3" do
    test "is refused while another process has the protocol, named or not", %{stack: stack} do
      :ok = register(stack, :named, :tcp, address: {{127, 0, 0, 1}, 1})
      assert Sippet.register_transport(stack, :tcp, true) == {:error, :already_registered}
      assert Sippet.register_transport(stack, "TCP", true) == {:error, :already_registered}
      :ok = stop_supervised(:named)
      assert Sippet.register_transport(stack, "tcp", true) == :ok
      assert register(stack, :other, :tcp) == {:error, :already_registered}
    end

    test "leaves those that name their address beside it", %{stack: stack} do
      assert Sippet.register_transport(stack, :tcp, true) == :ok

      for port <- 1..2,
          do: assert(register(stack, port, :tcp, address: {{127, 0, 0, 1}, port}) == :ok)
    end

    test "of one's own beside one's own address", %{stack: stack} do
      address = {{127, 0, 0, 1}, 1}
      assert Sippet.register_transport(stack, :tcp, true, address: address) == :ok
      assert Sippet.register_transport(stack, :tcp, true) == :ok
    end
  end
end
