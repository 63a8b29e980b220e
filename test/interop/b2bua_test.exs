defmodule Sippet.Interop.B2BUATest do
  # The back-to-back user agent of the examples between programs that others wrote.
  use Sippet.Interop.Case, async: true

  import Sippet.Wait

  alias Examples.B2BUA
  alias Sippet.Interop.{Asterisk, Baresip, Linphone, NetSIP, PJSUA2, Tshark}

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

    test "is busy, and is cancelled while it rings and before" do
      for name <- ["busy", "cancel", "cancel_early"] do
        {scenario, caller} = {"uas_#{name}", "uac_#{name}"}
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

  describe "tshark" do
    @describetag Peers.tags(:tshark, [:sipp, :pjsua2])

    # All that the agent has sent on both sides is sound; all of these were among it.
    defp assert_sound(tshark, agent, wanted) do
      assert_over(agent)
      starts = tshark |> Tshark.sent(stacks(agent)) |> Map.values() |> Enum.concat()
      assert wanted -- starts == []
    end

    defp stacks(agent),
      do: for({_side, side} <- agent, do: {side[:name], {{127, 0, 0, 1}, side[:port]}})

    for {name, wanted} <- [
          prack: [183, "PRACK", 200, "ACK", "BYE"],
          busy: [486, "ACK"],
          cancel: [180, "CANCEL", 200, 487, "ACK"]
        ] do
      test "finds nothing against what goes between two SIPps: #{name}" do
        uas = SIPp.start(SIPp.scenario("uas_#{unquote(name)}"), calls: 3)
        agent = start_agent(outside: uas.address)
        tshark = Tshark.watch(stacks(agent))
        address = {{127, 0, 0, 1}, agent.inside[:port]}
        result = SIPp.run(address, SIPp.scenario("uac_#{unquote(name)}"), calls: 3)
        assert SIPp.assert_success(result).successful == 3
        SIPp.assert_success(SIPp.await(uas))
        assert_sound(tshark, agent, ["INVITE" | unquote(wanted)])
      end
    end

    test "finds nothing against what goes between PJSUA2s: hold, refresh and transfer" do
      [bob, carol] = for user <- ["bob", "carol"], do: PJSUA2.start(user: user, timer: true)
      agent = start_agent(outside: bob, inside: carol)
      tshark = Tshark.watch(stacks(agent))
      alice = PJSUA2.start(timer: true) |> PJSUA2.command("dial #{uri("bob", agent.inside)}")
      alice = alice |> PJSUA2.await("call CONFIRMED 200") |> PJSUA2.command("hold")
      alice = alice |> PJSUA2.await("media held here") |> PJSUA2.command("resume")
      alice = PJSUA2.await(alice, ["media held here", "media active"])
      bob = PJSUA2.await(bob, ["media held there", "media active"])
      PJSUA2.command(alice, "update")
      PJSUA2.await(bob, "media active")
      PJSUA2.command(alice, "transfer #{uri("carol", agent.inside)}")
      PJSUA2.await(alice, "transfer 200 OK final")
      PJSUA2.await(carol, "call CONFIRMED")
      PJSUA2.command(alice, "hangup")
      PJSUA2.command(bob, "hangup")
      PJSUA2.await(carol, "call DISCONNECTED")

      assert_sound(tshark, agent, [
        "INVITE",
        180,
        200,
        "ACK",
        "UPDATE",
        "REFER",
        202,
        "NOTIFY",
        "BYE"
      ])
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
        bob = PJSUA2.await(bob, ["media held there", "media active"])
        alice = PJSUA2.await(alice, ["media held here", "media active"])
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

    test "is refused while it rings" do
      bob = Baresip.start(user: "bob", answer: :manual)
      agent = start_agent(outside: bob)
      alice = Baresip.start() |> Baresip.command("dial #{uri("bob", agent.inside)}")
      alice = Baresip.await(alice, "180 Ringing")
      bob |> Baresip.await("INVITE sip:") |> Baresip.command("hangup")
      Baresip.await(alice, "session closed: 486")
      assert_over(agent)
    end
  end

  describe "linphone" do
    @describetag Peers.tags(:linphone)
    test "holds and resumes, and is hung up by the called one" do
      bob = Linphone.start(user: "bob")
      agent = start_agent(outside: bob)
      alice = Linphone.start() |> Linphone.command("call #{uri("bob", agent.inside)}")
      alice = alice |> Linphone.await("connected") |> Linphone.command("pause")
      alice = alice |> Linphone.await("paused") |> Linphone.command("resume")
      alice = Linphone.await(alice, ~r/paused.*Resum/s)
      Linphone.command(bob, "terminate all")
      Linphone.await(alice, "ended")
      assert_over(agent)
    end

    test "gives up while the other one rings" do
      bob = Linphone.start(user: "bob", answer: :manual)
      agent = start_agent(outside: bob)
      alice = Linphone.start() |> Linphone.command("call #{uri("bob", agent.inside)}")
      alice |> Linphone.await("ringing") |> Linphone.command("terminate all")
      Linphone.await(bob, "ended")
      assert_over(agent)
    end

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

  describe "Net::SIP on both sides" do
    @describetag Peers.tags(:net_sip)

    for ends <- [:caller, :called] do
      test "calls, holds, resumes, and the #{ends} hangs up" do
        bob = NetSIP.start(user: "bob")
        agent = start_agent(outside: bob)
        alice = NetSIP.start() |> NetSIP.command("dial #{uri("bob", agent.inside)}")
        # What it says comes back: the addresses of both descriptions are right.
        alice = alice |> NetSIP.await("call CONFIRMED 200") |> NetSIP.await("media heard")
        bob = NetSIP.await(bob, "call CONFIRMED")

        NetSIP.command(alice, "hold")
        bob = NetSIP.await(bob, "media held there")
        alice = alice |> NetSIP.await("media held here") |> NetSIP.command("resume")
        bob = NetSIP.await(bob, ["media held there", "media active"])
        alice = NetSIP.await(alice, ["media held here", "media active"])

        # The called one holds too.
        NetSIP.command(bob, "hold")
        alice = NetSIP.await(alice, "media held there")
        bob = bob |> NetSIP.await("media held here") |> NetSIP.command("resume")
        alice = NetSIP.await(alice, ["media held there", "media active"])
        bob = NetSIP.await(bob, ["media held here", "media active"])

        {hangs_up, other} = if unquote(ends) == :caller, do: {alice, bob}, else: {bob, alice}
        NetSIP.command(hangs_up, "hangup")
        NetSIP.await(other, "call DISCONNECTED there")
        NetSIP.await(hangs_up, "call DISCONNECTED here")
        assert_over(agent)
      end
    end

    test "is given up while it rings" do
      bob = NetSIP.start(user: "bob", answer: :ring)
      agent = start_agent(outside: bob)
      alice = NetSIP.start() |> NetSIP.command("dial #{uri("bob", agent.inside)}")
      alice |> NetSIP.await("call EARLY 180") |> NetSIP.command("hangup")
      NetSIP.await(alice, "call DISCONNECTED 487")
      NetSIP.await(bob, "call DISCONNECTED there")
      assert_over(agent)
    end

    test "is busy" do
      bob = NetSIP.start(user: "bob", answer: :busy)
      agent = start_agent(outside: bob)
      alice = NetSIP.start() |> NetSIP.command("dial #{uri("bob", agent.inside)}")
      NetSIP.await(alice, "call DISCONNECTED 486")
      NetSIP.await(bob, "call INCOMING 486")
      assert_over(agent)
    end
  end

  describe "Net::SIP and another one" do
    @describetag Peers.tags(:net_sip, [:pjsua2])

    test "calls PJSUA2, is put on hold and resumed by it, and hung up" do
      bob = PJSUA2.start(user: "bob")
      agent = start_agent(outside: bob)
      alice = NetSIP.start() |> NetSIP.command("dial #{uri("bob", agent.inside)}")
      alice = NetSIP.await(alice, "call CONFIRMED 200")
      bob = bob |> PJSUA2.await("media active") |> PJSUA2.command("hold")
      alice = NetSIP.await(alice, "media held there")
      bob = bob |> PJSUA2.await("media held here") |> PJSUA2.command("resume")
      alice = NetSIP.await(alice, ["media held there", "media active"])
      PJSUA2.command(bob, "hangup")
      NetSIP.await(alice, "call DISCONNECTED there")
      assert_over(agent)
    end

    test "is called by PJSUA2, puts it on hold and resumes it, and hangs up" do
      bob = NetSIP.start(user: "bob")
      agent = start_agent(outside: bob)
      alice = PJSUA2.start() |> PJSUA2.command("dial #{uri("bob", agent.inside)}")
      alice = PJSUA2.await(alice, "call CONFIRMED 200")
      bob = bob |> NetSIP.await("call CONFIRMED") |> NetSIP.command("hold")
      alice = PJSUA2.await(alice, "media held there")
      bob = bob |> NetSIP.await("media held here") |> NetSIP.command("resume")
      bob = NetSIP.await(bob, ["media held here", "media active"])
      alice = PJSUA2.await(alice, ["media held there", "media active"])
      NetSIP.command(bob, "hangup")
      PJSUA2.await(alice, "call DISCONNECTED")
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
