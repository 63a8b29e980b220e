defmodule Sippet.Interop.PJSUA2Test do
  use Sippet.Interop.Case, async: true

  alias Sippet.Interop.{Answerer, Caller, Exchange, PJSUA2, Registrar}

  @moduletag Peers.tags(:pjsua2)

  defp dial(agent, user, {_ip, port}),
    do: PJSUA2.command(agent, "dial sip:#{user}@127.0.0.1:#{port}")

  describe "a call of PJSUA2" do
    test "is answered, put on hold and back" do
      {stack, address} = start_stack(Answerer)
      agent = PJSUA2.start() |> dial("bob", address) |> PJSUA2.await("call CONFIRMED 200")
      agent = PJSUA2.await(agent, "media active")
      assert [_ack] = requests(stack, :ack, 1)

      for command <- ["hold", "resume"] do
        PJSUA2.command(agent, command)
        assert [_ack] = requests(stack, :ack, 1)
      end

      agent |> PJSUA2.await("media held") |> PJSUA2.command("hangup")
      assert [_bye] = requests(stack, :bye, 1)
      assert [_call, hold, _resume] = requests(stack, :invite, 3)
      assert hold.body =~ "a=sendonly"
      # RFC4028, RFC3262 - what it offers that an answerer need not know
      assert "timer" in hold.headers.supported and "100rel" in hold.headers.supported
      refute_received {^stack, {:error, _reason, _key}}
    end

    test "is refused with 486" do
      {stack, address} = start_stack(Answerer)
      PJSUA2.start() |> dial("busy", address) |> PJSUA2.await("call DISCONNECTED 486 Busy Here")
      assert requests(stack, :ack, 0) == []
    end

    test "is given up while it rings" do
      {stack, address} = start_stack(Answerer)

      PJSUA2.start()
      |> dial("ringing", address)
      |> PJSUA2.await("call EARLY 180")
      |> PJSUA2.command("hangup")
      |> PJSUA2.await("call DISCONNECTED 487")

      assert [_cancel] = requests(stack, :cancel, 1)
    end
  end

  describe "a call to PJSUA2" do
    test "is answered" do
      {stack, _address} = start_stack(Caller)
      agent = PJSUA2.start()
      Caller.call(stack, "alice", {"127.0.0.1", agent.port})

      for {method, status} <- [invite: 180, invite: 200, bye: 200],
          do: assert_receive({^stack, {:response, ^method, ^status, _response, _key}}, 5_000)

      PJSUA2.await(agent, "call DISCONNECTED")
    end
  end

  describe "a registration of PJSUA2" do
    test "is challenged, accepted, and taken back" do
      {stack, address} = start_stack(Registrar)
      agent = PJSUA2.start(registrar: address) |> PJSUA2.await("registration 200 OK active")
      assert [_first, _second] = requests(stack, :register, 2)
      assert Registrar.lookup(stack, "alice").port == agent.port

      agent |> PJSUA2.command("unregister") |> PJSUA2.await("registration 200 OK gone")
      assert Registrar.lookup(stack, "alice") == nil
    end

    test "with a wrong password is refused" do
      {_stack, address} = start_stack(Registrar)
      PJSUA2.start(registrar: address, password: "wrong") |> PJSUA2.await("registration 403")
    end
  end

  describe "from one registered PJSUA2 to another, through our proxy" do
    defp parties do
      {stack, address} = start_stack(Exchange)
      parties = for user <- ["alice", "bob"], do: PJSUA2.start(user: user, registrar: address)
      parties = for agent <- parties, do: PJSUA2.await(agent, "registration 200")
      {stack, parties}
    end

    test "a call goes with the password of the caller, and ends on both sides" do
      {stack, [alice, bob]} = parties()
      dialled = PJSUA2.command(alice, "dial sip:bob@test.local")
      alice = PJSUA2.await(dialled, "call CONFIRMED")
      bob = PJSUA2.await(bob, "call CONFIRMED")

      PJSUA2.command(bob, "hangup")
      PJSUA2.await(alice, "call DISCONNECTED")
      assert [_challenged, _accepted] = requests(stack, :invite, 2)
      assert [_ack] = requests(stack, :ack, 1)
      assert [_bye] = requests(stack, :bye, 1)
    end

    test "a MESSAGE goes with the password of the sender, and its text arrives" do
      {stack, [alice, bob]} = parties()
      sent = PJSUA2.command(alice, "message sip:bob@test.local Grüße, \"bob\"")
      PJSUA2.await(sent, "delivery 200")
      PJSUA2.await(bob, "message <sip:alice@test.local> Grüße, \"bob\"")
      assert [_challenged, %{body: "Grüße, \"bob\""}] = requests(stack, :message, 2)
    end
  end
end
