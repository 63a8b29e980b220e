defmodule Sippet.Interop.PBXTest do
  # The PBX of the examples, between phones of other stacks.
  use Sippet.Interop.Case, async: true

  import Sippet.ExampleCase, only: [start_example: 2]

  import Sippet.Wait

  alias Examples.PBX
  alias Sippet.Binding.Store
  alias Sippet.Interop.{Asterisk, Baresip, Linphone, NetSIP, PJSUA2, Tshark}

  @users %{"alice" => "secret", "bob" => "secret", "carol" => "secret"}

  setup do
    test = self()
    options = [domain: "test.local", users: @users, record: &send(test, {:record, &1})]
    {stack, address} = start_example(PBX, options)
    %{stack: stack, address: address}
  end

  defp alice(address, options \\ []) do
    PJSUA2.start([registrar: address] ++ options) |> PJSUA2.await("registration 200 OK active")
  end

  defp dial(agent, user), do: PJSUA2.command(agent, "dial sip:#{user}@test.local")

  defp baresip(address, user, answer \\ :auto) do
    Baresip.start(user: user, registrar: address, answer: answer)
    |> Baresip.await("registered success")
  end

  # It does not say when it has registered.
  defp linphone(%{stack: stack, address: address}, user) do
    linphone = Linphone.start(user: user, registrar: address)
    aor = Sippet.URI.parse!("sip:#{user}@test.local")
    wait_until(fn -> {:ok, []} != Store.bindings(PBX.config(stack).store, aor) end)
    linphone
  end

  defp how, do: record().how

  defp record do
    assert_receive {:record, record}, 10_000
    record
  end

  # Nothing has failed, and no call is left.
  defp assert_over(stack) do
    wait_until(fn -> PBX.calls(stack) == [] end)
    assert Sippet.stats(stack).core_failed == 0
  end

  describe "SIPp" do
    @describetag Peers.tags(:sipp)

    # SIPp writes into its credentials the `uri` that it is given, without its scheme.
    defp credentials(user, uri, password \\ "secret"),
      do: ["-au", user, "-ap", password, "-auth_uri", uri]

    # Bob's phone: it registers, and then waits to be called.
    defp sipp_phone(address, scenario, calls) do
      arguments = ["-s", "bob"] ++ credentials("bob", "test.local")
      result = SIPp.run(address, arguments ++ SIPp.scenario("uac_register"))
      {_ip, port} = SIPp.assert_success(result).address
      SIPp.start(SIPp.scenario(scenario), port: port, calls: calls)
    end

    defp sipp_call(address, user, scenario, calls) do
      arguments = ["-s", user] ++ credentials("alice", "#{user}@test.local")
      result = SIPp.run(address, arguments ++ SIPp.scenario(scenario), calls: calls)
      assert %{successful: ^calls, retransmissions: 0} = SIPp.assert_success(result)
    end

    defp sipp_calls(address, called, caller) do
      phone = sipp_phone(address, called, 5)
      sipp_call(address, "bob", caller, 5)
      assert %{successful: 5, retransmissions: 0} = phone |> SIPp.await() |> SIPp.assert_success()
      for _ <- 1..5, do: record()
    end

    test "registers with the right password alone", %{stack: stack, address: address} do
      arguments = ["-s", "bob" | SIPp.scenario("uac_register")]
      result = SIPp.run(address, credentials("bob", "test.local") ++ arguments, calls: 3)
      assert SIPp.assert_success(result).successful == 3

      result = SIPp.run(address, credentials("bob", "test.local", "wrong") ++ arguments)
      assert {result.exit, result.failed} == {1, 1}
      assert result.errors =~ "SIP/2.0 401 Unauthorized"
      assert_over(stack)
    end

    test "calls another one, holds, resumes and hangs up, along the Record-Route", context do
      %{stack: stack, address: address} = context
      records = sipp_calls(address, "uas_pbx", "uac_pbx")
      assert Enum.map(records, & &1.how) == List.duplicate(:caller_hung_up, 5)
      assert_over(stack)
    end

    test "is hung up by the called one", %{stack: stack, address: address} do
      records = sipp_calls(address, "uas_pbx_hangs_up", "uac_pbx_hung_up")
      assert Enum.map(records, & &1.how) == List.duplicate(:called_hung_up, 5)
      assert_over(stack)
    end

    test "gives up while the phone rings", %{stack: stack, address: address} do
      records = sipp_calls(address, "uas_pbx_cancel", "uac_pbx_cancel")
      assert Enum.map(records, & &1.how) == List.duplicate(:cancelled, 5)
      assert_over(stack)
    end

    test "is refused by a phone that is busy", %{stack: stack, address: address} do
      records = sipp_calls(address, "uas_busy", "uac_pbx_refused")
      assert Enum.map(records, &{&1.how, &1.status}) == List.duplicate({:refused, 486}, 5)
      assert_over(stack)
    end

    test "calls echo, holds, resumes and hangs up", %{stack: stack, address: address} do
      sipp_call(address, "echo", "uac_pbx", 5)
      for _ <- 1..5, do: assert(how() == :caller_hung_up)
      assert_over(stack)
    end

    for {user, status, why} <- [
          {"busy", 486, "at the extension for that"},
          {"carol", 480, "without a phone"},
          {"nobody", 404, "of somebody unknown"}
        ] do
      test "is refused with #{status} #{why}", %{stack: stack, address: address} do
        sipp_call(address, unquote(user), "uac_pbx_refused", 5)
        for _ <- 1..5, do: assert(%{how: :refused, status: unquote(status)} = record())
        assert_over(stack)
      end
    end

    test "may not call with a wrong password", %{stack: stack, address: address} do
      arguments = ["-s", "echo"] ++ credentials("alice", "echo@test.local", "wrong")
      result = SIPp.run(address, arguments ++ SIPp.scenario("uac_pbx_refused"))
      assert %{successful: 1, retransmissions: 0} = SIPp.assert_success(result)
      # None of the other refusals: those have a record.
      assert_over(stack)
      refute_received {:record, _record}
    end
  end

  describe "tshark" do
    @describetag Peers.tags(:tshark, [:sipp, :pjsua2])

    # All that the PBX has sent is sound; all of these were among it.
    defp assert_sound(tshark, %{stack: stack, address: address}, wanted) do
      assert_over(stack)
      starts = tshark |> Tshark.sent([{stack, address}]) |> Map.values() |> Enum.concat()
      assert wanted -- starts == []
    end

    for {called, caller, wanted} <- [
          {"uas_pbx", "uac_pbx", [401, 407, 100, "INVITE", 180, 200, "ACK", "BYE"]},
          {"uas_pbx_hangs_up", "uac_pbx_hung_up", ["INVITE", 180, 200, "ACK", "BYE"]},
          {"uas_pbx_cancel", "uac_pbx_cancel", ["INVITE", 180, "CANCEL", 200, "ACK", 487]},
          {"uas_busy", "uac_pbx_refused", ["INVITE", 486, "ACK"]}
        ] do
      test "finds nothing against what goes between two SIPps: #{called}", context do
        tshark = Tshark.watch([{context.stack, context.address}])
        sipp_calls(context.address, unquote(called), unquote(caller))
        assert_sound(tshark, context, unquote(wanted))
      end
    end

    test "finds nothing against what the PBX answers itself", context do
      %{stack: stack, address: address} = context
      tshark = Tshark.watch([{stack, address}])
      sipp_call(address, "echo", "uac_pbx", 1)
      for user <- ["busy", "carol", "nobody"], do: sipp_call(address, user, "uac_pbx_refused", 1)
      for _ <- 1..4, do: record()

      agent = alice(address, mailbox: true) |> PJSUA2.await("mailbox Messages-Waiting: no")
      PBX.messages(stack, "alice", 1)
      agent = PJSUA2.await(agent, "mailbox Messages-Waiting: yes")
      agent |> PJSUA2.command("unregister") |> PJSUA2.await("registration 200 OK gone")
      assert_sound(tshark, context, [401, 407, 200, 486, 480, 404, "NOTIFY"])
    end
  end

  describe "PJSUA2" do
    @describetag Peers.tags(:pjsua2)

    test "busy", %{address: address} do
      alice(address) |> dial("busy") |> PJSUA2.await("call DISCONNECTED 486 Busy Here")
      assert how() == :refused
    end

    test "echo, on hold and back, with a session timer", %{stack: stack, address: address} do
      agent = alice(address, timer: true) |> dial("echo") |> PJSUA2.await("call CONFIRMED 200")
      agent = agent |> PJSUA2.await("media active") |> PJSUA2.command("hold")
      agent = agent |> PJSUA2.await("media held here") |> PJSUA2.command("resume")
      agent = PJSUA2.await(agent, ["media held here", "media active"]) |> PJSUA2.command("update")
      PJSUA2.command(agent, "hangup")
      assert how() == :caller_hung_up
      assert Sippet.stats(stack).core_failed == 0
    end

    for options <- [[reliable: true], [timer: true]] do
      test "calls another one, on hold and back, hung up by that, with #{inspect(options)}",
           %{stack: stack, address: address} do
        bob = PJSUA2.start([user: "bob", registrar: address] ++ unquote(options))
        bob = PJSUA2.await(bob, "registration 200 OK active")
        agent = alice(address, unquote(options)) |> dial("bob")
        agent = agent |> PJSUA2.await("call CONFIRMED 200") |> PJSUA2.command("hold")
        agent = agent |> PJSUA2.await("media held here") |> PJSUA2.command("resume")
        agent = PJSUA2.await(agent, ["media held here", "media active"])
        bob = PJSUA2.await(bob, ["media held there", "media active"])
        assert unquote(options) == [timer: true] or bob.program.output =~ "PRACK sip:"
        PJSUA2.command(agent, "update")
        PJSUA2.command(bob, "hangup")
        PJSUA2.await(agent, "call DISCONNECTED")
        assert how() == :called_hung_up
        assert_over(stack)
      end
    end

    test "a mailbox", %{stack: stack, address: address} do
      agent = alice(address, mailbox: true) |> PJSUA2.await("mailbox Messages-Waiting: no")
      PBX.messages(stack, "alice", 1)
      PJSUA2.await(agent, "mailbox Messages-Waiting: yes")
    end
  end

  describe "Net::SIP" do
    @describetag Peers.tags(:net_sip)

    defp net_sip(address, user, options \\ []) do
      NetSIP.start([user: user, registrar: address] ++ options)
      |> NetSIP.await("registration 200 active")
    end

    defp net_sip_dials(address, user),
      do: address |> net_sip("alice") |> NetSIP.command("dial sip:#{user}@test.local")

    for ends <- [:caller, :called] do
      test "calls another one, both hold and resume, and the #{ends} hangs up", context do
        %{stack: stack, address: address} = context
        bob = net_sip(address, "bob")
        alice = net_sip_dials(address, "bob")
        # What it says comes back: the addresses of both descriptions are right.
        alice = alice |> NetSIP.await("call CONFIRMED 200") |> NetSIP.await("media heard")
        bob = NetSIP.await(bob, "call CONFIRMED")
        {alice, bob} = net_sip_holds(alice, bob)
        {bob, alice} = net_sip_holds(bob, alice)

        {hangs_up, other} = if unquote(ends) == :caller, do: {alice, bob}, else: {bob, alice}
        NetSIP.command(hangs_up, "hangup")
        NetSIP.await(other, "call DISCONNECTED there")
        NetSIP.await(hangs_up, "call DISCONNECTED here")
        assert how() == unquote(:"#{ends}_hung_up")
        assert_over(stack)
      end
    end

    defp net_sip_holds(agent, other) do
      NetSIP.command(agent, "hold")
      other = NetSIP.await(other, "media held there")
      agent = agent |> NetSIP.await("media held here") |> NetSIP.command("resume")
      other = NetSIP.await(other, ["media held there", "media active"])
      {NetSIP.await(agent, ["media held here", "media active"]), other}
    end

    test "is given up while it rings", %{stack: stack, address: address} do
      bob = net_sip(address, "bob", answer: :ring)
      alice = net_sip_dials(address, "bob")
      alice |> NetSIP.await("call EARLY 180") |> NetSIP.command("hangup")
      NetSIP.await(alice, "call DISCONNECTED 487")
      NetSIP.await(bob, "call DISCONNECTED there")
      assert how() == :cancelled
      assert_over(stack)
    end

    test "is busy", %{stack: stack, address: address} do
      bob = net_sip(address, "bob", answer: :busy)
      address |> net_sip_dials("bob") |> NetSIP.await("call DISCONNECTED 486")
      NetSIP.await(bob, "call INCOMING 486")
      assert how() == :refused
      assert_over(stack)
    end

    test "hears itself from echo, also after a hold", %{stack: stack, address: address} do
      alice = address |> net_sip_dials("echo") |> NetSIP.await("call CONFIRMED 200")
      alice = alice |> NetSIP.await("media heard") |> NetSIP.command("hold")
      alice = alice |> NetSIP.await("media held here") |> NetSIP.command("resume")
      alice = NetSIP.await(alice, ["media held here", "media active", "media heard"])
      alice |> NetSIP.command("hangup") |> NetSIP.await("call DISCONNECTED here")
      assert how() == :caller_hung_up
      assert_over(stack)
    end

    for {user, status} <- [{"busy", 486}, {"carol", 480}, {"nobody", 404}] do
      test "is told #{status} for #{user}", %{stack: stack, address: address} do
        address
        |> net_sip_dials(unquote(user))
        |> NetSIP.await("call DISCONNECTED #{unquote(status)}")

        assert %{how: :refused, status: unquote(status)} = record()
        assert_over(stack)
      end
    end

    test "is refused with a wrong password", %{stack: stack, address: address} do
      alice = NetSIP.start(registrar: address, password: "wrong")
      NetSIP.await(alice, "registration 401 gone")
      assert_over(stack)
    end

    test "takes its registration back", %{stack: stack, address: address} do
      bob = net_sip(address, "bob")
      bob |> NetSIP.command("unregister") |> NetSIP.await("registration 200 gone")
      address |> net_sip_dials("bob") |> NetSIP.await("call DISCONNECTED 480")
      assert_over(stack)
    end
  end

  describe "Asterisk" do
    @describetag Peers.tags(:asterisk, [:pjsua2])

    # As Bob's phone, which does with its calls as this extension.
    defp asterisk(address, extension, password \\ "secret") do
      trunk = [registrar: address, user: "bob", password: password, extension: extension]
      Asterisk.start(trunk: trunk)
    end

    defp registered(asterisk, state \\ "Registered") do
      wait_until(fn -> Asterisk.cli(asterisk, "pjsip show registrations") =~ state end)
      asterisk
    end

    defp call_alice(asterisk, application) do
      channel = "PJSIP/trunk/sip:alice@test.local"
      Asterisk.cli(asterisk, "channel originate #{channel} application #{application}")
    end

    test "registers, is called, held and resumed, and hung up", context do
      %{stack: stack, address: address} = context
      registered(asterisk(address, "echo"))
      agent = alice(address) |> dial("bob") |> PJSUA2.await("call CONFIRMED 200")
      agent = agent |> PJSUA2.await("media active") |> PJSUA2.command("hold")
      agent = agent |> PJSUA2.await("media held here") |> PJSUA2.command("resume")
      agent |> PJSUA2.await(["media held here", "media active"]) |> PJSUA2.command("hangup")
      assert how() == :caller_hung_up
      assert_over(stack)
    end

    test "is called, and hangs up", %{stack: stack, address: address} do
      registered(asterisk(address, "brief"))
      agent = alice(address) |> dial("bob") |> PJSUA2.await("call CONFIRMED 200")
      PJSUA2.await(agent, "call DISCONNECTED")
      assert how() == :called_hung_up
      assert_over(stack)
    end

    test "is busy", %{stack: stack, address: address} do
      registered(asterisk(address, "busy"))
      alice(address) |> dial("bob") |> PJSUA2.await("call DISCONNECTED 486")
      assert how() == :refused
      assert_over(stack)
    end

    test "is given up while it rings", %{stack: stack, address: address} do
      registered(asterisk(address, "ringing"))
      agent = alice(address) |> dial("bob") |> PJSUA2.await("call EARLY 180")
      agent |> PJSUA2.command("hangup") |> PJSUA2.await("call DISCONNECTED 487")
      assert how() == :cancelled
      assert_over(stack)
    end

    test "calls, and hangs up", %{stack: stack, address: address} do
      asterisk = registered(asterisk(address, "echo"))
      agent = alice(address)
      call_alice(asterisk, "Wait 1")
      agent |> PJSUA2.await("call CONFIRMED") |> PJSUA2.await("call DISCONNECTED")
      assert how() == :caller_hung_up
      assert_over(stack)
    end

    test "calls, and is hung up", %{stack: stack, address: address} do
      asterisk = registered(asterisk(address, "echo"))
      agent = alice(address)
      call_alice(asterisk, "Echo")
      agent |> PJSUA2.await("call CONFIRMED") |> PJSUA2.command("hangup")
      PJSUA2.await(agent, "call DISCONNECTED")
      assert how() == :called_hung_up
      assert_over(stack)
    end

    test "is refused with a wrong password", %{stack: stack, address: address} do
      registered(asterisk(address, "echo", "wrong"), "Rejected")
      alice(address) |> dial("bob") |> PJSUA2.await("call DISCONNECTED 480")
      assert_over(stack)
    end
  end

  describe "with baresip" do
    @describetag Peers.tags(:baresip, [:pjsua2])

    test "a call, on hold and back, ended by the caller", %{stack: stack, address: address} do
      bob = baresip(address, "bob")
      agent = alice(address) |> dial("bob") |> PJSUA2.await("call CONFIRMED 200")
      bob = Baresip.await(bob, "Call established")
      agent = agent |> PJSUA2.await("media active") |> PJSUA2.command("hold")
      agent = agent |> PJSUA2.await("media held here") |> PJSUA2.command("resume")
      agent |> PJSUA2.await(["media held here", "media active"]) |> PJSUA2.command("hangup")
      Baresip.await(bob, "session closed")
      assert how() == :caller_hung_up
      assert Sippet.stats(stack).core_failed == 0
    end

    test "a call that the called one ends", %{address: address} do
      bob = baresip(address, "bob")
      agent = alice(address) |> dial("bob") |> PJSUA2.await("call CONFIRMED 200")
      bob |> Baresip.await("Call established") |> Baresip.command("hangup")
      PJSUA2.await(agent, "call DISCONNECTED")
      assert how() == :called_hung_up
    end

    test "a call that is given up while it rings", %{address: address} do
      bob = baresip(address, "bob", :manual)
      agent = alice(address) |> dial("bob") |> PJSUA2.await("call EARLY 180")
      agent |> PJSUA2.command("hangup") |> PJSUA2.await("call DISCONNECTED 487")
      Baresip.await(bob, "SIP/2.0 487")
      assert how() == :cancelled
    end

    test "a call that is refused while it rings", %{stack: stack, address: address} do
      bob = baresip(address, "bob", :manual)
      agent = alice(address) |> dial("bob") |> PJSUA2.await("call EARLY 180")
      bob |> Baresip.await("INVITE sip:") |> Baresip.command("hangup")
      PJSUA2.await(agent, "call DISCONNECTED 486")
      assert %{how: :refused, status: 486} = record()
      assert_over(stack)
    end

    test "a call that baresip makes", %{address: address} do
      agent = alice(address)
      bob = baresip(address, "bob") |> Baresip.command("dial sip:alice@test.local")
      Baresip.await(bob, "Call established") |> Baresip.command("hangup")
      PJSUA2.await(agent, "call DISCONNECTED")
      assert how() == :caller_hung_up
    end
  end

  describe "with linphone" do
    @describetag Peers.tags(:linphone, [:pjsua2])

    for ends <- [:caller, :called] do
      test "a call that the #{ends} ends", %{stack: stack, address: address} = context do
        carol = linphone(context, "carol")
        agent = alice(address) |> dial("carol") |> PJSUA2.await("call CONFIRMED 200")
        carol = Linphone.await(carol, "connected")

        if unquote(ends) == :caller,
          do: PJSUA2.command(agent, "hangup"),
          else: Linphone.command(carol, "terminate")

        PJSUA2.await(agent, "call DISCONNECTED")
        assert how() == unquote(:"#{ends}_hung_up")
        assert Sippet.stats(stack).core_failed == 0
      end
    end

    test "a call that linphone makes, on hold and back", context do
      %{stack: stack, address: address} = context
      agent = alice(address)
      carol = linphone(context, "carol") |> Linphone.command("call sip:alice@test.local")
      carol = carol |> Linphone.await("connected") |> Linphone.command("pause")
      agent = PJSUA2.await(agent, "media held there")
      carol = carol |> Linphone.await("paused") |> Linphone.command("resume")
      agent = PJSUA2.await(agent, ["media held there", "media active"])
      Linphone.command(carol, "terminate all")
      PJSUA2.await(agent, "call DISCONNECTED")
      assert how() == :caller_hung_up
      assert_over(stack)
    end
  end

  describe "with baresip and linphone" do
    @describetag Peers.tags(:baresip, [:linphone, :pjsua2])

    test "a transfer of a call from one to the other", context do
      %{stack: stack, address: address} = context
      bob = baresip(address, "bob")
      carol = linphone(context, "carol")
      agent = alice(address) |> dial("bob") |> PJSUA2.await("call CONFIRMED 200")
      Baresip.await(bob, "Call established")
      agent = PJSUA2.command(agent, "transfer sip:carol@test.local")
      Linphone.await(carol, "connected")
      PJSUA2.await(agent, "transfer 200 OK final")
      assert Sippet.stats(stack).core_failed == 0
    end
  end
end
