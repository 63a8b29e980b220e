defmodule Sippet.Interop.TimerTest do
  # Session timers (RFC 4028), in both directions. Refreshes come at once, where a session would wait for minutes.
  use Sippet.Interop.Case, async: true

  import Sippet.Interop.Script, except: [request: 2]

  alias Sippet.{Message, SessionTimer}
  alias Sippet.Interop.{Asterisk, Baresip, Linphone, PJSUA2, Script}

  setup do
    {stack, address} = start_stack(Script.Core)
    %{stack: stack, address: address}
  end

  # Calls with an interval of 90 s, which is too short, and again with the one that is asked for.
  defp call_with_timer(stack, user, address, min_se) do
    {invite, timer} =
      stack
      |> new_request(:invite, user, address)
      |> then(&SessionTimer.put_request(SessionTimer.new(session_expires: 90), &1))

    invite = Sippet.Interop.Endpoint.put_sdp(invite, stack)
    send_request(stack, invite)
    refused = response(stack, :invite, 422)
    assert {:retry, timer} = SessionTimer.receive_response(timer, refused, 0)
    {invite, timer} = SessionTimer.put_request(timer, Message.renew(invite))
    send_request(stack, invite)
    ok = response(stack, :invite, 200)
    dialog = acknowledge(stack, invite, ok)
    assert {:ok, %{interval: interval} = timer} = SessionTimer.receive_response(timer, ok, 0)
    assert interval >= min_se
    {dialog, timer}
  end

  defp refresh(stack, dialog, timer, method) do
    change = fn request -> request |> then(&SessionTimer.put_request(timer, &1)) |> elem(0) end
    {dialog, _request, ok} = ask(stack, dialog, method, change: change)
    {:ok, timer} = SessionTimer.receive_response(timer, ok, 1)
    {dialog, timer}
  end

  # Takes a call whose interval is too short, and again; and then a refresh by each of these methods.
  defp take_call_with_timer(stack, min_se, refreshes) do
    timer = SessionTimer.new(session_expires: 3_600, min_se: min_se)
    invite = Script.request(stack, :invite)
    assert {:error, refused} = SessionTimer.receive_request(timer, invite)
    :ok = Sippet.send(stack, refused)

    invite = Script.request(stack, :invite)
    timer = take_refresh(stack, timer, invite)

    for {method, begin} <- refreshes, reduce: timer do
      timer ->
        begin.()
        take_refresh(stack, timer, Script.request(stack, method))
    end
  end

  defp take_refresh(stack, timer, request) do
    assert :ok = SessionTimer.receive_request(timer, request)
    {ok, timer} = SessionTimer.put_response(timer, request, Message.to_response(request, 200), 0)
    timed = Map.take(ok.headers, [:supported, :require, "Session-Expires"])
    answer(stack, request, 200, timed)
    if request.start_line.method == :invite, do: Script.request(stack, :ack)
    timer
  end

  describe "SIPp" do
    @describetag Peers.tags(:sipp)
    test "is refused with 422, calls again, and refreshes by UPDATE and by re-INVITE", %{
      stack: stack,
      address: address
    } do
      uac = SIPp.start_caller(address, SIPp.scenario("uac_timer"))
      take_call_with_timer(stack, 1_800, update: fn -> :ok end, invite: fn -> :ok end)
      take_bye(stack)
      assert (uac |> SIPp.await() |> SIPp.assert_success()).successful == 1
    end

    test "refuses with 422, answers, and is refreshed by UPDATE and by re-INVITE", %{stack: stack} do
      uas = SIPp.start(SIPp.scenario("uas_timer"), calls: 1)
      {dialog, timer} = call_with_timer(stack, "service", uas.address, 3_600)
      assert {:refresh, :update, _ms} = SessionTimer.next(timer, 0)
      {dialog, timer} = refresh(stack, dialog, timer, :update)
      # Its Allow has changed.
      assert {:refresh, :invite, _ms} = SessionTimer.next(timer, 0)
      {dialog, timer} = refresh(stack, dialog, timer, :invite)
      assert timer.refresher == :local
      hang_up(stack, dialog)
      assert (uas |> SIPp.await() |> SIPp.assert_success()).successful == 1
    end
  end

  describe "PJSUA2" do
    @describetag Peers.tags(:pjsua2)
    test "is refused with 422, calls again, and refreshes by UPDATE and by re-INVITE", %{
      stack: stack,
      address: {_ip, port}
    } do
      agent =
        PJSUA2.start(timer: true, session_expires: 90)
        |> PJSUA2.command("dial sip:bob@127.0.0.1:#{port}")

      timer =
        take_call_with_timer(stack, 1_800,
          update: fn -> agent |> PJSUA2.await("call CONFIRMED") |> PJSUA2.command("update") end,
          invite: fn -> PJSUA2.command(agent, "hold") end
        )

      assert timer.interval == 1_800
      PJSUA2.command(agent, "hangup")
      take_bye(stack)
    end

    test "refuses with 422, answers, and is refreshed by UPDATE and by re-INVITE", %{stack: stack} do
      agent = PJSUA2.start(timer: true, min_se: 600, session_expires: 1_200)
      {dialog, timer} = call_with_timer(stack, "alice", {{127, 0, 0, 1}, agent.port}, 600)
      assert timer.method == :update
      {dialog, timer} = refresh(stack, dialog, timer, :update)
      {dialog, timer} = refresh(stack, dialog, timer, :invite)
      assert timer.interval >= 600
      hang_up(stack, dialog)
      PJSUA2.await(agent, "call DISCONNECTED")
    end
  end

  describe "Asterisk" do
    @describetag Peers.tags(:asterisk)
    test "refuses with 422, answers, and is refreshed by re-INVITE", %{stack: stack} do
      asterisk =
        Asterisk.start(
          endpoint: ["timers = always", "timers_min_se = 600", "timers_sess_expires = 1200"]
        )

      {dialog, timer} = call_with_timer(stack, "echo", asterisk.address, 600)
      {dialog, timer} = refresh(stack, dialog, timer, timer.method)
      assert timer.interval >= 600
      hang_up(stack, dialog)
    end

    test "calls with a timer, which it keeps", %{stack: stack, address: {_ip, port}} do
      asterisk = Asterisk.start(endpoint: ["timers = required", "timers_sess_expires = 90"])
      uri = "sip:bob@127.0.0.1:#{port}"
      Asterisk.cli(asterisk, "channel originate PJSIP/anonymous/#{uri} application Wait 1")
      timer = take_call_with_timer(stack, 600, [])
      assert timer.interval >= 600
      take_bye(stack)
    end
  end

  # These know nothing of session timers: we refresh alone.
  describe "baresip" do
    @describetag Peers.tags(:baresip)
    test("is refreshed by whoever called it", %{stack: stack},
      do: refresh_alone(stack, Baresip.start(answer: :auto).port)
    )
  end

  describe "linphone" do
    @describetag Peers.tags(:linphone)
    test("is refreshed by whoever called it", %{stack: stack},
      do: refresh_alone(stack, Linphone.start().port)
    )
  end

  defp refresh_alone(stack, port) do
    timer = SessionTimer.new(session_expires: 600, refresher: :local)
    {timed, timer} = SessionTimer.put_request(timer, Message.build_request(:invite, "sip:a@b"))
    {dialog, _invite, ok} = call(stack, "alice", {{127, 0, 0, 1}, port}, timed.headers)
    {:ok, timer} = SessionTimer.receive_response(timer, ok, 0)
    assert {timer.interval, timer.refresher} == {600, :local}
    {dialog, timer} = refresh(stack, dialog, timer, timer.method)
    {dialog, timer} = refresh(stack, dialog, timer, :invite)
    assert timer.refresher == :local
    hang_up(stack, dialog)
  end
end
