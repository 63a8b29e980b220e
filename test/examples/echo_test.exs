defmodule Examples.EchoTest do
  # By itself. test/examples/pbx_test.exs has the echo within a PBX: its offers, its RTP and its session timer.
  use Sippet.ExampleCase, async: true

  alias Examples.Echo

  defp invite(alice, address),
    do: send_request(alice, ScriptedUserAgent.request(alice, :invite, uri("echo", address)))

  defp established(alice, address) do
    invite = invite(alice, address)
    ok = assert_came(alice, {200, :invite})
    {:ok, dialog} = Dialog.uac(invite, ok)
    send_request(alice, Dialog.build_ack(dialog, ok))
    {invite, dialog, ok}
  end

  defp scene(options \\ []) do
    {stack, address} = start_example(Echo, options)
    {alice, _address} = start_stack(ScriptedUserAgent)
    {stack, address, alice}
  end

  describe "against SIPp" do
    @describetag Peers.tags(:sipp)

    test "answers calls" do
      {stack, address} = start_example(Echo)
      result = address |> SIPp.run(["-sn", "uac"], calls: 10) |> SIPp.assert_success()
      assert result.successful == 10
      assert Sippet.stats(stack).core_failed == 0
    end

    test "takes a re-INVITE" do
      {_stack, address} = start_example(Echo)
      scenario = example_scenario("uac_reinvite")
      result = address |> SIPp.run(scenario, calls: 5) |> SIPp.assert_success()
      assert result.successful == 5
    end
  end

  test "offers G.711, is hung up on, and knows the call no more" do
    {stack, address, alice} = scene()
    {_invite, dialog, ok} = established(alice, address)
    assert ok.body =~ "RTP/AVP 0 8\r\na=sendrecv\r\n"
    assert [{"", %URI{userinfo: "echo"}, %{}}] = ok.headers.contact
    {:ok, bye, _dialog} = Dialog.next_request(dialog, :bye)
    send_request(alice, bye)
    assert_came(alice, {200, :bye})
    send_request(alice, Message.renew(bye))
    assert_came(alice, {481, :bye})
    assert Sippet.stats(stack).core_failed == 0
  end

  test "says what it can, and refuses what it can't" do
    {_stack, address, alice} = scene()
    send_request(alice, ScriptedUserAgent.request(alice, :options, uri("echo", address)))
    response = assert_came(alice, {200, :options})
    assert "UPDATE" in response.headers.allow
    assert response.headers.supported == ["timer"]
    send_request(alice, ScriptedUserAgent.request(alice, :message, uri("echo", address)))
    assert "INVITE" in assert_came(alice, {405, :message}).headers.allow
    send_request(alice, ScriptedUserAgent.request(alice, :bye, uri("echo", address)))
    assert_came(alice, {481, :bye})
  end

  # RFC3261§8.2.2.2
  test "the same INVITE by another path gets 482" do
    {_stack, address, alice} = scene()
    {invite, _dialog, _ok} = established(alice, address)
    send_request(alice, invite)
    assert_came(alice, {482, :invite})
  end

  test "takes no more calls than it may" do
    {_stack, address, alice} = scene(max_calls: 1)
    established(alice, address)
    invite(alice, address)
    assert_came(alice, {486, :invite})
  end

  # RFC3261§13.3.1.4
  test "a call without an ACK is ended by a BYE" do
    {stack, address, alice} = scene(stack: [t1: 5, t2: 20])
    invite(alice, address)
    assert_came(alice, {200, :invite})
    reply(alice, assert_came(alice, :bye), 200)
    assert Sippet.stats(stack).core_failed == 0
  end

  test "all calls get a BYE when it stops" do
    {stack, address, alice} = scene()
    for _ <- 1..5, do: established(alice, address)
    stop_supervised!(stack)
    for _ <- 1..5, do: assert_came(alice, :bye)
  end
end
