defmodule Sippet.Interop.TCPTest do
  # What the tests of each peer do over UDP, over TCP; and what only connections have.
  use Sippet.Interop.Case, async: true

  import Sippet.ExampleCase, only: [start_example: 2]
  import Sippet.Interop.Kamailio, only: [assert_sane: 1]

  alias Examples.{ForkingProxy, Registrar}
  alias Sippet.Interop.{Answerer, Baresip, Caller, Events, Kamailio, Notebook, PJSUA2, Registrant}
  alias Sippet.{Interop, URI}

  @calls 10
  @users %{"alice" => "secret", "bob" => "secret"}
  @registrar [domains: ["test.local"], users: @users]
  @alice URI.parse!("sip:alice@test.local")

  defp start_tcp(core, options \\ []),
    do: start_stack(core, [protocol: :tcp, telemetry: Events] ++ options)

  # An example has UDP; its peers here use TCP.
  defp start_tcp_example(module, options) do
    {stack, _address} = start_example(module, options)
    {stack, add_transport(stack, :tcp)}
  end

  defp uri(user, {ip, port}), do: "sip:#{user}@#{text(ip)}:#{port};transport=tcp"

  defp call_ids(requests), do: requests |> Enum.map(& &1.headers.call_id) |> Enum.sort()

  defp assert_each_once(stack, methods, calls) do
    [first | others] = for method <- methods, do: call_ids(requests(stack, method, calls))
    assert length(first) == calls and first == Enum.uniq(first)
    for other <- others, do: assert(other == first)
    refute_received {^stack, {:error, _reason, _key}}
  end

  defp assert_all(sipp, calls) do
    result = SIPp.assert_success(sipp)
    assert {result.successful, result.retransmissions} == {calls, 0}
  end

  for {transport, count, whose} <- [{"t1", 1, "all calls"}, {"tn", @calls, "each call"}] do
    describe "SIPp over TCP, with one connection for #{whose}" do
      @describetag Peers.tags(:sipp)
      @describetag sipp: [transport: transport, calls: @calls], count: count

      test "has its calls answered", %{sipp: options, count: count} do
        {stack, address} = start_tcp(Answerer)
        address |> SIPp.run(["-sn", "uac"], options) |> assert_all(@calls)
        assert_each_once(stack, [:invite, :ack, :bye], @calls)
        assert_connections(stack, count)
      end

      test "has its calls refused with 486", %{sipp: options, count: count} do
        {stack, address} = start_tcp(Answerer)
        arguments = ["-s", "busy" | SIPp.scenario("uac_busy")]
        address |> SIPp.run(arguments, options) |> assert_all(@calls)
        assert_each_once(stack, [:invite], @calls)
        assert requests(stack, :ack, 0) == []
        assert_connections(stack, count)
      end

      test "cancels its calls", %{sipp: options, count: count} do
        {stack, address} = start_tcp(Answerer)
        arguments = ["-s", "ringing" | SIPp.scenario("uac_cancel")]
        address |> SIPp.run(arguments, options) |> assert_all(@calls)
        assert_each_once(stack, [:invite, :cancel], @calls)
        assert requests(stack, :ack, 0) == []
        assert_connections(stack, count)
      end

      test "registers with the right password", %{sipp: options, count: count} do
        {stack, address} = start_tcp(Interop.Registrar)
        address |> SIPp.run(register("secret"), options) |> assert_all(@calls)
        assert length(requests(stack, :register, 2 * @calls)) == 2 * @calls
        assert_connections(stack, count)
      end

      test "is refused with a wrong password", %{sipp: options, count: count} do
        {stack, address} = start_tcp(Interop.Registrar)
        # Else it sends a BYE, and is gone before that is answered.
        arguments = ["-default_behaviors", "all,-bye" | register("wrong")]
        result = SIPp.run(address, arguments, options)
        assert {result.exit, result.successful, result.failed} == {1, 0, @calls}
        assert result.errors =~ "SIP/2.0 403 Forbidden"
        assert_connections(stack, count)
      end
    end
  end

  defp register(password),
    do:
      ~w(-s alice -au alice -auth_uri test.local -ap #{password}) ++ SIPp.scenario("uac_register")

  # All of them were the peer's, and end with it.
  defp assert_connections(stack, count) do
    await_gone(stack)
    assert [_ | _] = opened = connections(stack, :opened)
    assert length(opened) == count
    assert Enum.all?(opened, &(&1.direction == :in))
    assert length(connections(stack, :closed)) == count
    assert Sippet.stats(stack).connection_refused == 0
  end

  describe "SIPp that is called over TCP" do
    @describetag Peers.tags(:sipp)

    defp start_called(arguments, calls \\ @calls) do
      {stack, _address} = start_tcp(Caller)
      sipp = SIPp.start(arguments, calls: calls, transport: "t1")
      {ip, port} = sipp.address
      {stack, sipp, {text(ip), port}}
    end

    # A second request finds the connection of the first.
    defp assert_one_connection(stack) do
      assert [%{direction: :out}] = connections(stack, :opened)
      refute_received {^stack, {:error, _reason, _key}}
    end

    test "answers calls" do
      {stack, sipp, address} = start_called(SIPp.own_uas())
      for _ <- 1..@calls, do: Caller.call(stack, "service", address)
      for _ <- 1..@calls, do: assert_responses(stack, invite: 180, invite: 200, bye: 200)
      sipp |> SIPp.await() |> assert_all(@calls)
      assert_one_connection(stack)
    end

    test "refuses calls with 486" do
      {stack, sipp, address} = start_called(SIPp.scenario("uas_busy"))
      for _ <- 1..@calls, do: Caller.call(stack, "service", address)
      for _ <- 1..@calls, do: assert_responses(stack, invite: 486)
      sipp |> SIPp.await() |> assert_all(@calls)
      assert_one_connection(stack)
    end

    test "ends calls with 487 that are cancelled" do
      {stack, sipp, address} = start_called(SIPp.scenario("uas_cancel"))
      for _ <- 1..@calls, do: Caller.call(stack, "service", address, :cancel)
      for _ <- 1..@calls, do: assert_responses(stack, invite: 180, cancel: 200, invite: 487)
      sipp |> SIPp.await() |> assert_all(@calls)
      assert_one_connection(stack)
    end

    for {password, status} <- [{"secret", 200}, {"wrong", 403}] do
      test "answers a REGISTER with #{status} to the password #{password}" do
        {stack, _address} = start_tcp(Registrant)
        sipp = SIPp.start(SIPp.scenario("uas_registrar"), transport: "t1")
        {ip, port} = sipp.address
        :ok = Registrant.register(stack, {text(ip), port}, unquote(password))
        assert_responses(stack, register: 401, register: unquote(status))
        sipp |> SIPp.await() |> assert_all(1)
        assert_one_connection(stack)
      end
    end
  end

  describe "sipsak over TCP" do
    @describetag Peers.tags(:sipsak)

    defp sipsak({_ip, port}, arguments, uri \\ nil) do
      target = ["-s", uri || "sip:alice@127.0.0.1:#{port}"]
      Program.run("sipsak", ["-E", "tcp" | arguments] ++ target, limit: 15)
    end

    test "has its OPTIONS answered" do
      {stack, address} = start_tcp(Answerer)
      assert %{exit: 0} = sipsak(address, [])
      assert [%{headers: %{via: [{{2, 0}, :tcp, _, _}]}}] = requests(stack, :options, 1)

      for pattern <- ["^SIP/2.0 200 OK", "Via: SIP/2.0/TCP ", "Content-Length: 0"],
          do: assert(%{exit: 0} = sipsak(address, ["--search", pattern]))

      await_gone(stack)
      assert length(connections(stack, :opened)) == 4
    end

    test "registers with the right password, and not with a wrong one" do
      {_stack, {_ip, port} = address} = start_tcp(Interop.Registrar)
      arguments = ~w(-U -C sip:alice@127.0.0.1:#{port} -x 60 -u alice -p 127.0.0.1:#{port} -a)
      assert %{exit: 0} = sipsak(address, arguments ++ ["secret"], "sip:alice@test.local")

      assert %{exit: 1, output: output} =
               sipsak(address, arguments ++ ["wrong"], "sip:alice@test.local")

      assert output =~ "403 Forbidden"
    end
  end

  describe "a call of baresip over TCP" do
    @describetag Peers.tags(:baresip)

    defp baresip(user, address),
      do: Baresip.command(Baresip.start(protocol: :tcp), "dial #{uri(user, address)}")

    test "is answered, put on hold and back, by one connection" do
      {stack, address} = start_tcp(Answerer)
      baresip = "bob" |> baresip(address) |> Baresip.await("Call established")
      assert [_ack] = requests(stack, :ack, 1)

      for command <- ["hold", "resume"] do
        Baresip.command(baresip, command)
        assert [_ack] = requests(stack, :ack, 1)
      end

      Baresip.command(baresip, "hangup")
      assert [%{headers: %{via: [{_, :tcp, _, _}]}}] = requests(stack, :bye, 1)
      assert [_call, _hold, _resume] = requests(stack, :invite, 3)
      assert [%{direction: :in}] = connections(stack, :opened)
      refute_received {^stack, {:error, _reason, _key}}
    end

    test "is refused with 486" do
      {stack, address} = start_tcp(Answerer)
      "busy" |> baresip(address) |> Baresip.await("session closed: 486 Busy Here")
      assert requests(stack, :ack, 0) == []
    end

    test "is given up while it rings" do
      {stack, address} = start_tcp(Answerer)

      "ringing"
      |> baresip(address)
      |> Baresip.await("180 Ringing")
      |> Baresip.command("hangup")
      |> Baresip.await("SIP/2.0 487")

      assert [_cancel] = requests(stack, :cancel, 1)
    end
  end

  describe "a call to baresip over TCP" do
    @describetag Peers.tags(:baresip)

    test "is answered, and ended by us" do
      {stack, _address} = start_tcp(Caller)
      baresip = Baresip.start(protocol: :tcp)
      Caller.call(stack, "alice", {"127.0.0.1", baresip.port})
      assert_responses(stack, invite: 200, bye: 200)
      Baresip.await(baresip, "session closed")
      assert [%{direction: :out}] = connections(stack, :opened)
    end

    test "is cancelled while it rings" do
      {stack, _address} = start_tcp(Caller)
      baresip = Baresip.start(protocol: :tcp, answer: :manual)
      Caller.call(stack, "alice", {"127.0.0.1", baresip.port}, :cancel)
      assert_responses(stack, cancel: 200, invite: 487)
      Baresip.await(baresip, "session closed")
    end
  end

  describe "baresip at the registrar and the proxy of the examples, over TCP" do
    @describetag Peers.tags(:baresip)

    test "is registered, and takes it back" do
      {stack, address} = start_tcp_example(Registrar, @registrar)
      baresip = Baresip.start(protocol: :tcp, registrar: address)
      baresip = Baresip.await(baresip, ~r/401 Unauthorized.*registered successfully/s)
      assert {:ok, [[%{contact: {_, uri, _}}]]} = Registrar.locate(stack, @alice)
      assert uri.parameters =~ "transport=tcp"
      assert Sippet.stats(stack).connections == 1
      Baresip.quit(baresip)
      assert {:ok, []} = Registrar.locate(stack, @alice)
      await_gone(stack)
    end

    test "with a wrong password is refused" do
      {stack, address} = start_tcp_example(Registrar, @registrar)
      baresip = Baresip.start(protocol: :tcp, registrar: address, password: "wrong")
      Baresip.await(baresip, "reg: sip:alice@test.local: 401 Unauthorized")
      assert {:ok, []} = Registrar.locate(stack, @alice)
    end

    defp baresips(answer) do
      {stack, address} = start_tcp_example(ForkingProxy, [proxy_users: @users] ++ @registrar)
      options = [protocol: :tcp, registrar: address]
      alice = Baresip.start([user: "alice"] ++ options)
      bob = Baresip.start([user: "bob", answer: answer] ++ options)
      registered = for baresip <- [alice, bob], do: Baresip.await(baresip, "registered success")
      {stack, registered}
    end

    test "calls another, which hangs up" do
      {stack, [alice, bob]} = baresips(:auto)
      alice = alice |> Baresip.command("dial sip:bob@test.local") |> Baresip.await("Call establi")
      bob |> Baresip.await("Call established") |> Baresip.command("hangup")
      alice = Baresip.await(alice, "session closed")
      # By the proxy, which has recorded its route.
      assert [_once] =
               Regex.scan(
                 ~r/^BYE sip:.*\R(Via: SIP\/2.0\/TCP .*\R){2}(?!Via)/m,
                 alice.program.output
               )

      assert Sippet.stats(stack).core_failed == 0
    end

    test "calls another, and gives up while it rings" do
      {stack, [alice, bob]} = baresips(:manual)
      alice = Baresip.command(alice, "dial sip:bob@test.local")
      alice = alice |> Baresip.await("180 Ringing") |> Baresip.command("hangup")
      for baresip <- [alice, bob], do: Baresip.await(baresip, "SIP/2.0 487")
      assert Sippet.stats(stack).core_failed == 0
    end
  end

  describe "a call of PJSUA2 over TCP" do
    @describetag Peers.tags(:pjsua2)

    defp pjsua2(user, address),
      do: PJSUA2.command(PJSUA2.start(transport: :tcp), "dial #{uri(user, address)}")

    test "is answered, put on hold and back, by one connection" do
      {stack, address} = start_tcp(Answerer)
      agent = "bob" |> pjsua2(address) |> PJSUA2.await("call CONFIRMED 200")
      agent = PJSUA2.await(agent, "media active")
      assert [_ack] = requests(stack, :ack, 1)

      for command <- ["hold", "resume"] do
        PJSUA2.command(agent, command)
        assert [_ack] = requests(stack, :ack, 1)
      end

      agent |> PJSUA2.await("media held") |> PJSUA2.command("hangup")
      assert [%{headers: %{via: [{_, :tcp, _, _}]}}] = requests(stack, :bye, 1)
      assert [_call, _hold, _resume] = requests(stack, :invite, 3)
      assert [%{direction: :in}] = connections(stack, :opened)
      refute_received {^stack, {:error, _reason, _key}}
    end

    test "is refused with 486" do
      {stack, address} = start_tcp(Answerer)
      "busy" |> pjsua2(address) |> PJSUA2.await("call DISCONNECTED 486 Busy Here")
      assert requests(stack, :ack, 0) == []
    end

    test "is given up while it rings" do
      {stack, address} = start_tcp(Answerer)
      agent = "ringing" |> pjsua2(address) |> PJSUA2.await("call EARLY 180")
      agent |> PJSUA2.command("hangup") |> PJSUA2.await("call DISCONNECTED 487")
      assert [_cancel] = requests(stack, :cancel, 1)
    end

    # RFC3261§18.1.1, §18.2.1
    test "comes by UDP while it is small, and by TCP at the same port when it is large" do
      {stack, {_ip, port} = address} = start_stack(Answerer, telemetry: Events)
      assert add_transport(stack, :tcp, port: port) == address
      agent = PJSUA2.start(transport: :both)

      for {command, protocol} <- [{"dial", :udp}, {"dial-large", :tcp}] do
        PJSUA2.command(agent, "#{command} sip:bob@127.0.0.1:#{port}")
        assert [%{headers: %{via: [{_, ^protocol, _, _}]}}] = requests(stack, :invite, 1)
        assert [_ack] = requests(stack, :ack, 1)
        PJSUA2.command(agent, "hangup")
        assert [_bye] = requests(stack, :bye, 1)
      end

      assert [%{direction: :in}] = connections(stack, :opened)
      refute_received {^stack, {:error, _reason, _key}}
    end
  end

  describe "a call to PJSUA2 over TCP" do
    @describetag Peers.tags(:pjsua2)

    test "is answered" do
      {stack, _address} = start_tcp(Caller)
      agent = PJSUA2.start(transport: :tcp)
      Caller.call(stack, "alice", {"127.0.0.1", agent.port})
      assert_responses(stack, invite: 180, invite: 200, bye: 200)
      PJSUA2.await(agent, "call DISCONNECTED")
      # It opens one too, to see from where, and sends nothing by it.
      assert [_once] = for(%{direction: :out} = own <- connections(stack, :opened), do: own)
    end
  end

  describe "PJSUA2 at the registrar and the proxy of the examples, over TCP" do
    @describetag Peers.tags(:pjsua2)

    test "is registered, and takes it back" do
      {stack, address} = start_tcp_example(Registrar, @registrar)
      agent = PJSUA2.start(transport: :tcp, registrar: address)
      agent = PJSUA2.await(agent, "registration 200 OK active")
      assert {:ok, [[%{contact: {_, uri, _}}]]} = Registrar.locate(stack, @alice)
      assert String.downcase(uri.parameters) =~ "transport=tcp"
      agent |> PJSUA2.command("unregister") |> PJSUA2.await("registration 200 OK gone")
      assert {:ok, []} = Registrar.locate(stack, @alice)
    end

    test "with a wrong password is refused" do
      {stack, address} = start_tcp_example(Registrar, @registrar)
      agent = PJSUA2.start(transport: :tcp, registrar: address, password: "wrong")
      PJSUA2.await(agent, "registration 401")
      assert {:ok, []} = Registrar.locate(stack, @alice)
    end

    test "calls another, and sends it a MESSAGE" do
      {stack, address} = start_tcp_example(ForkingProxy, [proxy_users: @users] ++ @registrar)
      options = [transport: :tcp, registrar: address]
      agents = for user <- ["alice", "bob"], do: PJSUA2.start([user: user] ++ options)
      [alice, bob] = for agent <- agents, do: PJSUA2.await(agent, "registration 200 OK active")

      alice = PJSUA2.command(alice, "dial sip:bob@test.local")
      alice = PJSUA2.await(alice, "call CONFIRMED 200")
      bob = bob |> PJSUA2.await("call CONFIRMED") |> PJSUA2.command("hangup")
      alice = PJSUA2.await(alice, "call DISCONNECTED 200")

      alice = PJSUA2.command(alice, "message sip:bob@test.local Grüße")
      PJSUA2.await(alice, "delivery 200")
      PJSUA2.await(bob, "message <sip:alice@test.local> Grüße")
      assert Sippet.stats(stack).core_failed == 0
    end

    # RFC5626§4.4.1
    test "has its pings answered" do
      {_stack, address} = start_tcp_example(Registrar, @registrar)
      agent = PJSUA2.start(transport: :tcp, keep_alive: 1, registrar: relay(address))
      PJSUA2.await(agent, "registration 200 OK active")

      for _ <- 1..2 do
        assert_receive {:relayed, :up, "\r\n\r\n"}, 5_000
        assert_receive {:relayed, :down, "\r\n"}, 5_000
      end
    end
  end

  # Stands between a peer and the stack, and tells what passes.
  defp relay({ip, port}) do
    test = self()
    {:ok, listener} = :gen_tcp.listen(0, [:binary, ip: ip, active: true, nodelay: true])

    spawn_link(fn ->
      {:ok, up} = :gen_tcp.connect(ip, port, [:binary, active: true, nodelay: true])
      {:ok, down} = :gen_tcp.accept(listener)
      pass(up, down, test)
    end)

    {:ok, address} = :inet.sockname(listener)
    address
  end

  defp pass(up, down, test) do
    receive do
      {:tcp, ^down, data} ->
        :ok = :gen_tcp.send(up, data)
        send(test, {:relayed, :up, data})
        pass(up, down, test)

      {:tcp, ^up, data} ->
        :ok = :gen_tcp.send(down, data)
        send(test, {:relayed, :down, data})
        pass(up, down, test)

      {:tcp_closed, _either} ->
        :ok
    end
  end

  describe "a call through Kamailio over TCP" do
    @describetag Peers.tags(:kamailio, [:sipp])

    # From the caller to Kamailio, and from there on.
    for {first, second} <- [tcp: :tcp, tcp: :udp, udp: :tcp] do
      test "is answered, by #{first} and then by #{second}" do
        {caller, answerer, kamailio} = around_kamailio(unquote(first), unquote(second))
        Caller.call(caller, "bob", kamailio.address)
        assert_responses(caller, invite: 200, bye: 200)

        for method <- [:invite, :ack, :bye] do
          assert [%{headers: headers}] = requests(answerer, method, 1)

          assert [{_, unquote(second), sent_by, _}, {_, unquote(first), _caller, _}] = headers.via
          assert sent_by == kamailio.address
          refute Map.has_key?(headers, :route)
        end

        log = assert_sane(kamailio)
        assert log =~ "LOOSE ACK" and log =~ "LOOSE BYE"
        for stack <- [caller, answerer], do: assert(length(connections(stack, :opened)) <= 1)
      end
    end

    test "is refused with 486, which each hop acknowledges by itself" do
      {caller, answerer, kamailio} = around_kamailio(:tcp, :tcp)
      Caller.call(caller, "busy", kamailio.address)
      assert_responses(caller, invite: 486)
      assert_sane(kamailio)
      assert requests(answerer, :ack, 0) == []
      refute_received {^answerer, {:error, _reason, _key}}
    end

    test "is cancelled" do
      {caller, answerer, kamailio} = around_kamailio(:tcp, :tcp)
      Caller.call(caller, "ringing", kamailio.address, :cancel)
      assert_responses(caller, cancel: 200, invite: 487)
      assert [%{headers: %{via: [_only_kamailio]}}] = requests(answerer, :cancel, 1)
      assert_sane(kamailio)
    end

    test "is one of many of SIPp, which all reach us by one connection" do
      {answerer, address} = start_tcp(Answerer)
      kamailio = start_kamailio(AHEAD: ahead(address, :tcp))
      {host, port} = kamailio.address
      {:ok, ip} = :inet.parse_address(to_charlist(host))

      {ip, port}
      |> SIPp.run(SIPp.scenario("uac_busy") ++ ["-s", "busy"], transport: "tn", calls: @calls)
      |> assert_all(@calls)

      assert_each_once(answerer, [:invite], @calls)
      assert [%{direction: :in}] = connections(answerer, :opened)
      assert_sane(kamailio)
    end

    defp start_kamailio(definitions), do: Kamailio.start(definitions, protocol: :tcp)

    defp ahead({ip, port}, :udp), do: "#{text(ip)}:#{port}"
    defp ahead({ip, port}, :tcp), do: "#{text(ip)}:#{port};transport=tcp"

    defp around_kamailio(first, second) do
      {caller, _address} = start_stack(Caller, protocol: first, telemetry: Events)
      {answerer, address} = start_stack(Answerer, protocol: second, telemetry: Events)
      {caller, answerer, start_kamailio(AHEAD: ahead(address, second))}
    end
  end

  describe "Kamailio as our registrar over TCP" do
    @describetag Peers.tags(:kamailio)

    test "accepts the right password, refuses a wrong one, and takes both by one connection" do
      {stack, _address} = start_tcp(Registrant)
      kamailio = start_kamailio([])
      Registrant.register(stack, kamailio.address, "secret")
      assert_responses(stack, register: 401, register: 200)
      Registrant.register(stack, kamailio.address, "wrong")
      assert_receive {^stack, {:gave_up, :unknown_nonce}}, 5_000
      kamailio = Kamailio.await(kamailio, ~r/SAVED sip:alice@test.local/)
      assert [_once] = Regex.scan(~r/SAVED sip:alice@test.local/, assert_sane(kamailio))
      assert [%{direction: :out}] = connections(stack, :opened)
    end

    test "brings calls to where we are registered" do
      kamailio = start_kamailio([:PASSWORDS])
      {callee, _address} = start_tcp(Registrant)
      Registrant.register(callee, kamailio.address, "secret")
      assert_responses(callee, register: 200)
      Sippet.register_core(callee, Answerer)

      {caller, _address} = start_tcp(Caller)
      Notebook.put(caller, :password, "secret")
      Caller.call(caller, "alice", kamailio.address)
      assert_responses(caller, invite: 407, invite: 200, bye: 200)
      assert [%{headers: %{via: [{_, :tcp, _, _} | _]}}] = requests(callee, :invite, 1)
      assert [_ack] = requests(callee, :ack, 1)
      assert_sane(kamailio)
    end
  end
end
