defmodule Sippet.Interop.TransferTest do
  # REFER (RFC 3515) and Replaces (RFC 3891), in all three roles: who transfers, who is transferred, and to whom.
  use Sippet.Interop.Case, async: true

  import Sippet.Interop.Script, except: [request: 2]

  alias Sippet.Interop.{Baresip, Endpoint, Linphone, PJSUA2, Script}
  alias Sippet.{Dialog, Message, Refer, Replaces, Subscription, URI}

  @loopback {127, 0, 0, 1}
  @now 0

  # Bob and Carol are stacks of ours.
  setup do
    {bob, bobs} = start_stack(Script.Core)
    {carol, carols} = start_stack(Script.Core)
    %{bob: bob, bobs: bobs, carol: carol, carols: carols}
  end

  defp uri(user, {_ip, port}), do: URI.parse!("sip:#{user}@127.0.0.1:#{port}")

  # Takes the REFER of a call, calls whom it names, and tells how that goes on. Gives the dialog with the transferor,
  # and that of the new call.
  defp follow(stack, dialog, answer, target \\ nil) do
    refer = Script.request(stack, :refer)
    {:ok, dialog} = Dialog.receive_request(dialog, refer)
    {:ok, transfer} = Refer.read(refer)
    {:ok, response, subscription} = Subscription.notifier(refer, @now, dialog: dialog)
    :ok = Sippet.send(stack, response)
    subscription = tell(stack, subscription, 100)

    me = contact(stack)
    invite = transfer |> Refer.request() |> Message.put_headers(from: me, contact: [me])
    invite = invite |> Message.complete() |> Endpoint.put_sdp(stack)
    send_request(stack, %{invite | target: target})
    theirs = answer.()
    ok = response(stack, :invite, 200)
    mine = acknowledge(stack, invite, ok)
    Script.request(elem(theirs, 0), :ack)
    subscription = tell(stack, subscription, 200)
    assert subscription.state == :terminated
    {subscription.dialog, mine, theirs}
  end

  defp tell(stack, subscription, status) do
    {:ok, notify, subscription} = Subscription.notify(subscription, @now, Refer.progress(status))
    send_request(stack, notify)

    {:ok, subscription} =
      Subscription.receive_response(subscription, response(stack, :notify, 200), @now)

    subscription
  end

  # Answers the new call.
  defp accept(stack) do
    invite = Script.request(stack, :invite)
    ok = answer(stack, invite, 200)
    {:ok, dialog} = Dialog.uas(invite, ok)
    :ok = Sippet.controlling_process(stack, dialog, self())
    {stack, Dialog.respond(dialog, ok), invite}
  end

  # Sends a REFER, and takes its NOTIFYs until one is final. Gives the dialog and the last status.
  defp refer(stack, dialog, uri) do
    headers = Refer.headers(uri, referred_by: elem(contact(stack), 1))
    {:ok, refer, dialog} = Dialog.next_request(dialog, :refer, headers: headers)
    send_request(stack, refer)
    Subscription.subscriber(refer, @now, dialog: dialog)
  end

  # UDP keeps no order between the 202 and the first NOTIFY.
  defp take_notifies(stack, subscription) do
    notify = Script.request(stack, :notify)
    {:ok, subscription} = Subscription.receive_notify(subscription, notify, @now)
    :ok = Sippet.send(stack, Message.to_response(notify, 200))

    if subscription.state == :terminated,
      do: {subscription.dialog, Refer.status(notify)},
      else: take_notifies(stack, subscription)
  end

  describe "SIPp" do
    @describetag Peers.tags(:sipp)
    test "transfers its call, and hears how that goes on", %{bob: bob, bobs: bobs, carol: carol} do
      # Its Refer-To names Bob's stack, so that this answers too.
      uac = SIPp.start_caller(bobs, SIPp.scenario("uac_refer"))
      {dialog, _invite} = take_call(bob)
      {_dialog, mine, {^bob, _theirs, _}} = follow(bob, dialog, fn -> accept(bob) end)
      take_bye(bob)
      assert (uac |> SIPp.await() |> SIPp.assert_success()).successful == 1
      assert mine.state == :confirmed
      refute_received {:sippet, ^carol, _key, _event}
    end

    test "is transferred, and says how that goes on", %{bob: bob, carols: carols} do
      uas = SIPp.start(SIPp.scenario("uas_refer"), calls: 1)
      {dialog, _invite, _ok} = call(bob, "service", uas.address)
      subscription = refer(bob, dialog, uri("carol", carols))
      assert {dialog, {:ok, 200}} = take_notifies(bob, subscription)
      hang_up(bob, dialog)
      assert (uas |> SIPp.await() |> SIPp.assert_success()).successful == 1
    end
  end

  describe "PJSUA2" do
    @describetag Peers.tags(:pjsua2)
    test "transfers its call, and hears how that goes on", stacks do
      {agent, invite} = transferring(stacks, PJSUA2, "dial", "call CONFIRMED")
      PJSUA2.await(agent, "transfer 200 OK final")
      assert invite.start_line.request_uri.userinfo == "carol"
    end

    test "is transferred, and says how that goes on", %{bob: bob, carol: carol, carols: carols} do
      agent = PJSUA2.start()
      transferred(bob, carol, carols, agent.port)
      PJSUA2.await(agent, "transfer to <sip:carol@")
    end

    test "connects its two calls", %{bob: bob, bobs: bobs, carol: carol, carols: carols} do
      agent = PJSUA2.start() |> PJSUA2.command("dial #{uri("bob", bobs)}")
      {with_bob, _invite} = take_call(bob)
      PJSUA2.command(agent, "dial #{uri("carol", carols)}")
      {with_carol, _invite} = take_call(carol)
      agent = PJSUA2.command(agent, "transfer-attended")
      connected(bob, with_bob, carol, with_carol, nil)
      PJSUA2.await(agent, "transfer 200 OK final")
    end

    test "is connected to another one, whose call is replaced", %{bob: bob} do
      [one, other] = for user <- ["alice", "dave"], do: PJSUA2.start(user: user)
      {with_one, _invite, _ok} = call(bob, "alice", {@loopback, one.port})
      {with_other, _invite, _ok} = call(bob, "dave", {@loopback, other.port})
      subscription = refer(bob, with_one, Replaces.put_uri(with_other.remote_target, with_other))
      # The call that is replaced ends by a BYE.
      take_bye(bob)
      assert {dialog, {:ok, 200}} = take_notifies(bob, subscription)
      PJSUA2.await(other, "replaced")
      hang_up(bob, dialog)
    end
  end

  describe "baresip" do
    @describetag Peers.tags(:baresip)
    test("transfers its call, and hears how that goes on", stacks,
      do: transferring(stacks, Baresip, "dial", "Call established")
    )

    test("is transferred, and says how that goes on", %{bob: bob, carol: carol, carols: carols},
      do: transferred(bob, carol, carols, Baresip.start(answer: :auto).port)
    )
  end

  describe "linphone" do
    @describetag Peers.tags(:linphone)
    test("transfers its call, and hears how that goes on", stacks,
      do: transferring(stacks, Linphone, "call", "connected")
    )

    test("is transferred, and says how that goes on", %{bob: bob, carol: carol, carols: carols},
      do: transferred(bob, carol, carols, Linphone.start().port, &take_hold/2)
    )

    test "connects its two calls", %{bob: bob, bobs: bobs, carol: carol, carols: carols} do
      linphone = Linphone.start() |> Linphone.command("call #{uri("bob", bobs)}")
      {with_bob, _invite} = take_call(bob)

      linphone = linphone |> Linphone.await("connected") |> Linphone.command("pause")
      {with_bob, _hold} = take_hold(bob, with_bob)
      linphone = Linphone.await(linphone, "paused")
      Linphone.command(linphone, "call #{uri("carol", carols)}")
      {with_carol, _invite} = take_call(carol)

      linphone
      |> Linphone.await(~r/Call 2 with .* connected/)
      |> Linphone.command("transfer 1 --to-call 2")

      # Its Refer-To has Carol's address without the port.
      {_ip, port} = carols
      connected(bob, with_bob, carol, with_carol, {:udp, "127.0.0.1", port})
    end
  end

  defp take_hold(stack, dialog) do
    invite = Script.request(stack, :invite)
    {:ok, dialog} = Dialog.receive_request(dialog, invite)
    ok = answer(stack, invite, 200)
    Script.request(stack, :ack)
    {Dialog.respond(dialog, ok), invite}
  end

  # The program calls Bob by this command, and once it says so has him call Carol. Gives the program, and the INVITE
  # that Carol got.
  defp transferring(stacks, module, dial, connected) do
    %{bob: bob, bobs: bobs, carol: carol, carols: carols} = stacks
    program = module.command(module.start(), "#{dial} #{uri("bob", bobs)}")
    {dialog, _invite} = take_call(bob)
    program = module.await(program, connected)
    module.command(program, "transfer #{uri("carol", carols)}")
    {_dialog, mine, {^carol, _theirs, invite}} = follow(bob, dialog, fn -> accept(carol) end)
    assert mine.state == :confirmed
    {program, invite}
  end

  # We call the program at a port, and have it call Carol.
  defp transferred(bob, carol, carols, port, first \\ fn _stack, dialog -> {dialog, nil} end) do
    {dialog, _invite, _ok} = call(bob, "alice", {@loopback, port})
    subscription = refer(bob, dialog, uri("carol", carols))
    {dialog, _request} = first.(bob, subscription.dialog)
    subscription = %{subscription | dialog: dialog}
    {^carol, _theirs, invite} = accept(carol)
    assert invite.start_line.request_uri.userinfo == "carol"
    Script.request(carol, :ack)
    assert {dialog, {:ok, 200}} = take_notifies(bob, subscription)
    {:ok, bye, _dialog} = Dialog.next_request(dialog, :bye)
    send_request(bob, bye)
  end

  # Bob is asked to take the place of the program in its call with Carol.
  defp connected(bob, with_bob, carol, with_carol, target) do
    replace = fn ->
      invite = Script.request(carol, :invite)
      assert {:ok, ^with_carol} = Replaces.find(invite, [with_carol])
      ok = answer(carol, invite, 200)
      {:ok, dialog} = Dialog.uas(invite, ok)
      {:ok, bye, _replaced} = Dialog.next_request(with_carol, :bye)
      send_request(carol, bye)
      {carol, Dialog.respond(dialog, ok), invite}
    end

    {_dialog, mine, _theirs} = follow(bob, with_bob, replace, target)
    assert mine.state == :confirmed
    assert response(carol, :bye, 200)
  end
end
