defmodule Sippet.Interop.TLSTest do
  # Calls and registrations over TLS, and peers that refuse one another's certificates.
  use Sippet.Interop.Case, async: true

  import Sippet.ExampleCase, only: [start_example: 2]

  alias Examples.{ForkingProxy, Registrar}
  alias Sippet.{Certificates, URI}
  alias Sippet.Interop.{Answerer, Baresip, Caller, Events, PJSUA2}

  @users %{"alice" => "secret", "bob" => "secret"}
  @registrar [domains: ["test.local"], users: @users]
  @alice URI.parse!("sip:alice@test.local")

  # "server" is the certificate of 127.0.0.1.
  @wrong [
    {"selfca", :unknown_ca, "that nobody trusted has signed"},
    {"host", :domain, "of another domain"}
  ]

  defp tls(name \\ "server") do
    [
      certfile: Certificates.certfile(name),
      keyfile: Certificates.keyfile(name),
      cacerts: Certificates.certfile("ca")
    ]
  end

  defp mutual, do: [{:client_certificate, :required} | tls()]

  defp start_tls(core, options),
    do: start_stack(core, protocol: :tls, telemetry: Events, transport: options)

  defp start_tls_example(module, options) do
    {stack, _address} = start_example(module, options)
    {stack, add_transport(stack, :tls, tls())}
  end

  defp uri(user, {ip, port}), do: "sip:#{user}@#{text(ip)}:#{port};transport=tls"

  # Who connects to us may know it before we tell.
  defp assert_refused(stack, reason) do
    assert_receive {^stack, {:event, [_, :connection, :refused], _measured, about}}, 5_000
    assert %{direction: :in, reason: ^reason} = about
  end

  # The request was not sent: it says why.
  defp assert_error(stack, reason) do
    assert_receive {^stack, {:error, error, _key}}, 5_000
    assert error == reason
  end

  describe "sipsak over TLS" do
    @describetag Peers.tags(:sipsak)

    defp sipsak({_ip, port}) do
      ca = "--tls-ca-cert=#{Certificates.certfile("ca")}"
      Program.run("sipsak", ["-E", "tls", ca, "-s", "sip:alice@127.0.0.1:#{port}"])
    end

    test "has its OPTIONS answered" do
      {stack, address} = start_tls(Answerer, tls())
      assert %{exit: 0} = sipsak(address)
      assert [%{headers: %{via: [{_, :tls, _, _}]}}] = requests(stack, :options, 1)
      await_gone(stack)
    end
  end

  describe "baresip over TLS" do
    @describetag Peers.tags(:baresip)

    defp start_baresip(options \\ []) do
      name = Keyword.get(options, :name, "server")

      Baresip.start([protocol: :tls, certificate: name] ++ Keyword.delete(options, :name))
    end

    test "calls, holds, and hangs up, by one connection" do
      {stack, address} = start_tls(Answerer, tls())
      baresip = start_baresip() |> Baresip.command("dial #{uri("bob", address)}")
      baresip = Baresip.await(baresip, "Call established")
      assert [_ack] = requests(stack, :ack, 1)

      for command <- ["hold", "resume"] do
        Baresip.command(baresip, command)
        assert [_ack] = requests(stack, :ack, 1)
      end

      Baresip.command(baresip, "hangup")
      assert [%{headers: %{via: [{_, :tls, _, _}]}}] = requests(stack, :bye, 1)
      assert [%{direction: :in, version: _}] = connections(stack, :opened)
      refute_received {^stack, {:error, _reason, _key}}
    end

    test "is called" do
      {stack, _address} = start_tls(Caller, tls())
      baresip = start_baresip()
      Caller.call(stack, "alice", {"127.0.0.1", baresip.port + 1})
      assert_responses(stack, invite: 200, bye: 200)
      Baresip.await(baresip, "session closed")
      assert [%{direction: :out, identities: [_ | _]}] = connections(stack, :opened)
    end

    test "is registered, and takes it back" do
      {stack, address} = start_tls_example(Registrar, @registrar)
      baresip = start_baresip(registrar: address)
      baresip = Baresip.await(baresip, ~r/401 Unauthorized.*registered successfully/s)
      assert {:ok, [[%{contact: {_, uri, _}}]]} = Registrar.locate(stack, @alice)
      assert uri.parameters =~ "transport=tls"
      Baresip.quit(baresip)
      assert {:ok, []} = Registrar.locate(stack, @alice)
      await_gone(stack)
    end

    test "calls another through the proxy of the examples" do
      {stack, address} = start_tls_example(ForkingProxy, [proxy_users: @users] ++ @registrar)

      [alice, bob] =
        for user <- ["alice", "bob"] do
          baresip = start_baresip(user: user, registrar: address)
          Baresip.await(baresip, "registered success")
        end

      alice = alice |> Baresip.command("dial sip:bob@test.local") |> Baresip.await("Call establi")
      bob |> Baresip.await("Call established") |> Baresip.command("hangup")
      Baresip.await(alice, "session closed")
      assert Sippet.stats(stack).core_failed == 0
    end

    for {name, reason, words} <- @wrong do
      test "with a certificate #{words} is not called" do
        {stack, _address} = start_tls(Caller, tls())
        baresip = start_baresip(name: unquote(name))
        Caller.call(stack, "alice", {"127.0.0.1", baresip.port + 1})
        assert_error(stack, unquote(reason))
        assert [%{direction: :out, reason: unquote(reason)}] = connections(stack, :refused)
      end
    end

    # This one takes any certificate of ours: it verifies none of whom it calls.
    test "is not let in with a certificate that nobody trusted has signed" do
      {stack, address} = start_tls(Answerer, mutual())
      baresip = start_baresip(name: "selfca")
      Baresip.command(baresip, "dial #{uri("bob", address)}")

      assert_refused(stack, :unknown_ca)
      assert requests(stack, :invite, 0) == []
    end

    test "is let in with a certificate that somebody trusted has signed" do
      {stack, address} = start_tls(Answerer, mutual())
      baresip = Baresip.command(start_baresip(), "dial #{uri("bob", address)}")
      Baresip.await(baresip, "Call established")
      assert [%{source: %{identities: [_ | _]}}] = requests(stack, :invite, 1)
    end
  end

  describe "PJSUA2 over TLS" do
    @describetag Peers.tags(:pjsua2)

    defp start_pjsua2(options \\ []) do
      name = Keyword.get(options, :name, "server")

      PJSUA2.start([transport: :tls, certificate: name] ++ Keyword.delete(options, :name))
    end

    test "calls, holds, and hangs up, by one connection with certificates of both" do
      {stack, address} = start_tls(Answerer, mutual())
      agent = start_pjsua2() |> PJSUA2.command("dial #{uri("bob", address)}")
      agent = agent |> PJSUA2.await("call CONFIRMED 200") |> PJSUA2.await("media active")
      assert [_ack] = requests(stack, :ack, 1)

      for command <- ["hold", "resume"] do
        PJSUA2.command(agent, command)
        assert [_ack] = requests(stack, :ack, 1)
      end

      agent |> PJSUA2.await("media held") |> PJSUA2.command("hangup")
      assert [%{headers: %{via: [{_, :tls, _, _}]}} = bye] = requests(stack, :bye, 1)
      assert "localhost" in bye.source.identities
      assert [%{direction: :in}] = connections(stack, :opened)
      refute_received {^stack, {:error, _reason, _key}}
    end

    test "is called, and verifies the caller" do
      {stack, _address} = start_tls(Caller, tls())
      agent = start_pjsua2()
      Caller.call(stack, "alice", {"127.0.0.1", agent.port})
      assert_responses(stack, invite: 180, invite: 200, bye: 200)
      PJSUA2.await(agent, "call DISCONNECTED")
    end

    test "is registered, and takes it back" do
      {stack, address} = start_tls_example(Registrar, @registrar)
      agent = start_pjsua2(registrar: address)
      agent = PJSUA2.await(agent, "registration 200 OK active")
      assert {:ok, [[%{contact: {_, uri, _}}]]} = Registrar.locate(stack, @alice)
      assert String.downcase(uri.parameters) =~ "transport=tls"
      agent |> PJSUA2.command("unregister") |> PJSUA2.await("registration 200 OK gone")
      assert {:ok, []} = Registrar.locate(stack, @alice)
    end

    # Its Contact is its end of the connection to the proxy, where nobody else gets in: it is the caller, and hangs up.
    @tag Peers.tags(:pjsua2, [:baresip])
    test "calls a baresip through the proxy of the examples" do
      {stack, address} = start_tls_example(ForkingProxy, [proxy_users: @users] ++ @registrar)
      bob = start_baresip(user: "bob", registrar: address) |> Baresip.await("registered success")
      alice = start_pjsua2(registrar: address) |> PJSUA2.await("registration 200 OK active")
      alice = PJSUA2.command(alice, "dial sip:bob@test.local")
      alice = PJSUA2.await(alice, "call CONFIRMED 200")
      bob = Baresip.await(bob, "Call established")
      alice |> PJSUA2.command("hangup") |> PJSUA2.await("call DISCONNECTED 200")
      Baresip.await(bob, "session closed")
      assert Sippet.stats(stack).core_failed == 0
    end

    for {name, reason, words} <- @wrong do
      test "with a certificate #{words} is not called" do
        {stack, _address} = start_tls(Caller, tls())
        agent = start_pjsua2(name: unquote(name))
        Caller.call(stack, "alice", {"127.0.0.1", agent.port})
        assert_error(stack, unquote(reason))
      end

      test "does not call us with a certificate #{words}" do
        {stack, address} = start_tls(Answerer, tls(unquote(name)))
        agent = start_pjsua2() |> PJSUA2.command("dial #{uri("bob", address)}")
        PJSUA2.await(agent, "call DISCONNECTED")
        assert requests(stack, :invite, 0) == []
      end
    end

    test "is not let in with a certificate that nobody trusted has signed" do
      {stack, address} = start_tls(Answerer, mutual())

      agent =
        start_pjsua2(name: "selfca")
        |> PJSUA2.command("dial #{uri("bob", address)}")

      PJSUA2.await(agent, "call DISCONNECTED")
      assert requests(stack, :invite, 0) == []
      assert_refused(stack, :unknown_ca)
    end

    test "does not let us in with a certificate that nobody trusted has signed" do
      {stack, _address} = start_tls(Caller, tls("selfca"))
      agent = start_pjsua2()
      Caller.call(stack, "alice", {"127.0.0.1", agent.port})
      assert_receive {^stack, {:error, reason, _key}}, 5_000
      assert reason in [:unknown_ca, :certificate, :closed]
    end
  end
end
