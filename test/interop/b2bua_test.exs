defmodule Sippet.Interop.B2BUATest do
  # The back-to-back user agent of the examples between programs that others wrote.
  use Sippet.Interop.Case, async: true

  import Sippet.Wait

  alias Examples.B2BUA
  alias Sippet.Interop.{Asterisk, Baresip, Linphone, PJSUA2}

  # An agent whose sides lead to these addresses. Gives its stacks, and where it listens.
  defp start_agent(next_hops) do
    sides =
      for side <- [:inside, :outside] do
        name = :"interop_#{side}_#{System.unique_integer([:positive])}"
        {side, [name: name, port: Program.free_port(), next_hop: next_hop(next_hops[side])]}
      end

    start_supervised!({B2BUA, sides})
    Map.new(sides)
  end

  defp next_hop(nil), do: nil
  defp next_hop(%{port: port}), do: "127.0.0.1:#{port}"
  defp next_hop({_ip, port}), do: "127.0.0.1:#{port}"

  defp uri(user, side), do: "sip:#{user}@127.0.0.1:#{side[:port]}"

  defp calls(agent) do
    registry = Module.concat(agent.inside[:name], Dialogs)
    Registry.count(registry)
  end

  # Nothing has failed, and nothing is left.
  defp assert_over(agent) do
    wait_until(fn -> calls(agent) == 0 end)
    for {_side, options} <- agent, do: assert(%{core_failed: 0} = Sippet.stats(options[:name]))
  end

  describe "SIPp on both sides" do
    @describetag Peers.tags(:sipp)
    test "calls, 100 in a second" do
      uas = SIPp.start(SIPp.own_uas(), calls: 200, limit: 20)
      agent = start_agent(outside: uas.address)

      result =
        SIPp.run({{127, 0, 0, 1}, agent.inside[:port]}, ["-sn", "uac"], calls: 200, limit: 20)

      assert SIPp.assert_success(result).successful == 200
      assert SIPp.assert_success(SIPp.await(uas)).retransmissions == 0
      assert_over(agent)
    end

    # RFC3261§17 - a retransmission would say that something has waited for half a second.
    @tag :endurance
    test "600 calls, 20 in a second: none fails, nothing is repeated, nothing is left" do
      uas = SIPp.start(SIPp.own_uas(), calls: 600, limit: 60)
      agent = start_agent(outside: uas.address)
      before = :erlang.memory(:processes)

      result =
        SIPp.run({{127, 0, 0, 1}, agent.inside[:port]}, ["-r", "20", "-sn", "uac"],
          calls: 600,
          limit: 60
        )

      assert %{successful: 600, retransmissions: 0} = SIPp.assert_success(result)
      assert %{successful: 600, retransmissions: 0} = SIPp.assert_success(SIPp.await(uas))
      assert_over(agent)

      assert DynamicSupervisor.count_children(Module.concat(agent.inside[:name], Calls)).active ==
               0

      for pid <- Process.list(), do: :erlang.garbage_collect(pid)
      assert :erlang.memory(:processes) - before < 5_000_000
    end

    test "is busy, and is cancelled" do
      for {scenario, caller} <- [{"uas_busy", "uac_busy"}, {"uas_cancel", "uac_cancel"}] do
        uas = SIPp.start(SIPp.scenario(scenario), calls: 10)
        agent = start_agent(outside: uas.address)
        address = {{127, 0, 0, 1}, agent.inside[:port]}
        result = SIPp.run(address, SIPp.scenario(caller), calls: 10)
        assert SIPp.assert_success(result).successful == 10
        SIPp.assert_success(SIPp.await(uas))
        assert_over(agent)
        stop_supervised!(B2BUA)
      end
    end

    test "rings reliably" do
      uas = SIPp.start(SIPp.scenario("uas_prack"), calls: 5)
      agent = start_agent(outside: uas.address)

      result =
        SIPp.run({{127, 0, 0, 1}, agent.inside[:port]}, SIPp.scenario("uac_prack"), calls: 5)

      assert SIPp.assert_success(result).successful == 5
      SIPp.assert_success(SIPp.await(uas))
      assert_over(agent)
    end
  end

  describe "PJSUA2 on both sides" do
    @describetag Peers.tags(:pjsua2)
    for options <- [[], [reliable: true], [timer: true]] do
      test "calls, holds, resumes and hangs up, with #{inspect(options)}" do
        bob = PJSUA2.start([user: "bob"] ++ unquote(options))
        agent = start_agent(outside: bob)

        alice =
          PJSUA2.start(unquote(options)) |> PJSUA2.command("dial #{uri("bob", agent.inside)}")

        alice = alice |> PJSUA2.await("call CONFIRMED 200") |> PJSUA2.await("media active")
        bob = PJSUA2.await(bob, "call CONFIRMED")
        alice = alice |> PJSUA2.command("hold") |> PJSUA2.await("media held here")
        bob = PJSUA2.await(bob, "media held there")
        PJSUA2.command(alice, "resume")
        PJSUA2.command(alice, "update")
        PJSUA2.command(bob, "hangup")
        PJSUA2.await(alice, "call DISCONNECTED")
        assert_over(agent)
      end
    end

    test "transfers its call, and connects two calls" do
      # Carol is inside, as Alice is, and Bob outside.
      [bob, carol] = for user <- ["bob", "carol"], do: PJSUA2.start(user: user)
      agent = start_agent(outside: bob, inside: carol)
      alice = PJSUA2.start() |> PJSUA2.command("dial #{uri("bob", agent.inside)}")
      alice = PJSUA2.await(alice, "call CONFIRMED 200")
      bob = PJSUA2.await(bob, "call CONFIRMED")
      PJSUA2.command(alice, "transfer #{uri("carol", agent.inside)}")
      alice = PJSUA2.await(alice, "transfer 200 OK final")
      bob = PJSUA2.await(bob, "transfer to <sip:carol@")
      carol = PJSUA2.await(carol, "call CONFIRMED")
      PJSUA2.command(alice, "hangup")
      PJSUA2.command(carol, "hangup")
      PJSUA2.await(bob, "call DISCONNECTED")
      assert_over(agent)
    end
  end

  describe "baresip" do
    @describetag Peers.tags(:baresip)
    test "is called by another one, put on hold, and hung up" do
      bob = Baresip.start(user: "bob", answer: :auto)
      agent = start_agent(outside: bob)
      alice = Baresip.start() |> Baresip.command("dial #{uri("bob", agent.inside)}")
      alice = Baresip.await(alice, "Call established")
      bob = Baresip.await(bob, "Call established")
      for command <- ["hold", "resume"], do: Baresip.command(alice, command)
      Baresip.command(bob, "hangup")
      Baresip.await(alice, "session closed")
      assert_over(agent)
    end

    test "is given up while it rings" do
      bob = Baresip.start(user: "bob", answer: :manual)
      agent = start_agent(outside: bob)
      alice = Baresip.start() |> Baresip.command("dial #{uri("bob", agent.inside)}")
      alice |> Baresip.await("180 Ringing") |> Baresip.command("hangup")
      Baresip.await(bob, "CANCEL sip:")
      Baresip.await(alice, "SIP/2.0 487")
      assert_over(agent)
    end
  end

  describe "linphone" do
    @describetag Peers.tags(:linphone)
    test "calls another one, and hangs up" do
      bob = Linphone.start(user: "bob")
      agent = start_agent(outside: bob)
      alice = Linphone.start() |> Linphone.command("call #{uri("bob", agent.inside)}")

      alice =
        alice
        |> Linphone.await("connected")
        |> Linphone.command("pause")
        |> Linphone.await("paused")

      Linphone.command(alice, "terminate all")
      Linphone.await(bob, "ended")
      assert_over(agent)
    end
  end

  describe "Asterisk" do
    @describetag Peers.tags(:asterisk, [:pjsua2])
    test "is called: echo, busy, and given up while it rings" do
      asterisk = Asterisk.start()
      agent = start_agent(outside: asterisk.address)
      alice = PJSUA2.start(user: "zoe") |> PJSUA2.command("dial #{uri("echo", agent.inside)}")

      alice =
        alice
        |> PJSUA2.await("call CONFIRMED 200")
        |> PJSUA2.command("hold")
        |> PJSUA2.await("media held")

      alice = alice |> PJSUA2.command("hangup") |> PJSUA2.await("call DISCONNECTED 200")

      alice =
        alice
        |> PJSUA2.command("dial #{uri("busy", agent.inside)}")
        |> PJSUA2.await("call DISCONNECTED 486")

      alice =
        alice
        |> PJSUA2.command("dial #{uri("ringing", agent.inside)}")
        |> PJSUA2.await("call EARLY 180")

      alice |> PJSUA2.command("hangup") |> PJSUA2.await("call DISCONNECTED 487")
      assert_over(agent)
    end

    test "calls, and hangs up" do
      asterisk = Asterisk.start()
      bob = PJSUA2.start(user: "bob")
      agent = start_agent(inside: bob)
      uri = uri("bob", agent.outside)
      Asterisk.cli(asterisk, "channel originate PJSIP/anonymous/#{uri} application Wait 1")
      PJSUA2.await(PJSUA2.await(bob, "call CONFIRMED"), "call DISCONNECTED")
      assert_over(agent)
    end
  end
end
