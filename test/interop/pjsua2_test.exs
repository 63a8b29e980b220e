defmodule Sippet.Interop.PJSUA2Test do
  use Sippet.Interop.Case, async: true

  import Sippet.ExampleCase, only: [start_example: 2]

  alias Examples.{ForkingProxy, Registrar}
  alias Sippet.Interop.{Answerer, Caller, PJSUA2}
  alias Sippet.URI

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

  describe "a registration of PJSUA2 with the registrar of the examples" do
    @registrar [domains: ["test.local"], users: %{"alice" => "secret"}]
    @alice URI.parse!("sip:alice@test.local")

    test "is challenged, accepted, and taken back" do
      {stack, address} = start_example(Registrar, @registrar)
      agent = PJSUA2.start(registrar: address) |> PJSUA2.await("registration 200 OK active")

      assert {:ok, [[%{contact: {_name, %{port: port}, _params}}]]} =
               Registrar.locate(stack, @alice)

      assert port == agent.port

      agent |> PJSUA2.command("unregister") |> PJSUA2.await("registration 200 OK gone")
      assert {:ok, []} = Registrar.locate(stack, @alice)
    end

    test "with a wrong password is refused" do
      {stack, address} = start_example(Registrar, @registrar)
      PJSUA2.start(registrar: address, password: "wrong") |> PJSUA2.await("registration 401")
      assert {:ok, []} = Registrar.locate(stack, @alice)
    end
  end

  describe "from one registered PJSUA2 to another, through the proxy of the examples" do
    @users %{"alice" => "secret", "bob" => "secret"}

    defp parties do
      options = [domains: ["test.local"], users: @users, proxy_users: @users]
      {stack, address} = start_example(ForkingProxy, options)
      agents = for user <- ["alice", "bob"], do: PJSUA2.start(user: user, registrar: address)
      registered = for agent <- agents, do: PJSUA2.await(agent, "registration 200 OK active")
      {stack, registered}
    end

    test "a call goes with the password of the caller, and ends on both sides" do
      {stack, [alice, bob]} = parties()
      dialled = PJSUA2.command(alice, "dial sip:bob@test.local")
      alice = PJSUA2.await(dialled, "call CONFIRMED 200")
      assert alice.program.output =~ "Response msg 407/INVITE"
      bob = PJSUA2.await(bob, "call CONFIRMED")

      PJSUA2.command(bob, "hangup")
      PJSUA2.await(alice, "call DISCONNECTED 200")
      assert Sippet.stats(stack).core_failed == 0
    end

    test "a MESSAGE goes with the password of the sender, and its text arrives" do
      {stack, [alice, bob]} = parties()
      sent = PJSUA2.command(alice, "message sip:bob@test.local Grüße, \"bob\"")
      PJSUA2.await(sent, "delivery 200")
      PJSUA2.await(bob, "message <sip:alice@test.local> Grüße, \"bob\"")
      assert Sippet.stats(stack).core_failed == 0
    end
  end
end
