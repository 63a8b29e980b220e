defmodule Sippet.RFC4028.CallTest do
  # A call with a session timer between two values, from INVITE to the BYE of a silent far end: what each side
  # does, and when. The clock is a number.
  use ExUnit.Case, async: true

  alias Sippet.{Dialog, Message, SessionTimer, URI}

  @allow ["INVITE", "ACK", "BYE", "UPDATE"]
  @alice {"", URI.parse!("sip:alice@192.0.2.1"), %{}}
  @bob {"", URI.parse!("sip:bob@192.0.2.4"), %{}}

  defp received(message) do
    message
    |> Message.update_header(:via, fn [{version, _protocol, _sent_by, params}] ->
      [{version, :udp, {"192.0.2.9", 5060}, params}]
    end)
    |> Message.to_string()
    |> Message.parse!()
  end

  defp ok(request, contact),
    do:
      request
      |> Message.to_response(200)
      |> Message.put_headers(contact: [contact], allow: @allow)

  # Calls and is answered, at 0 ms.
  defp call(alices, bobs) do
    invite =
      :invite
      |> Message.build_request("sip:bob@biloxi.com")
      |> Message.put_headers(from: @alice, contact: [@alice], allow: @allow)
      |> Message.complete()

    {invite, alices} = SessionTimer.put_request(SessionTimer.new(alices), invite)
    invite = received(invite)
    bobs = SessionTimer.new(bobs)
    assert :ok = SessionTimer.receive_request(bobs, invite)
    {ok, bobs} = SessionTimer.put_response(bobs, invite, ok(invite, @bob), 0)
    ok = received(ok)
    {:ok, alice} = Dialog.uac(invite, ok)
    {:ok, bob} = Dialog.uas(invite, ok)
    {:ok, alices} = SessionTimer.receive_response(alices, ok, 0)
    {{alice, alices, @alice}, {Dialog.respond(bob, ok), bobs, @bob}}
  end

  # One side refreshes, and the other answers.
  defp refresh({dialog, timer, contact}, {far, fars, far_contact}, now) do
    {:refresh, method, 0} = SessionTimer.next(timer, now)
    {:ok, request, dialog} = Dialog.next_request(dialog, method)
    {request, timer} = SessionTimer.put_request(timer, request)
    request = received(request)
    {:ok, far} = Dialog.receive_request(far, request)
    assert :ok = SessionTimer.receive_request(fars, request)
    {ok, fars} = SessionTimer.put_response(fars, request, ok(request, far_contact), now)
    ok = received(ok)
    {:ok, dialog} = Dialog.receive_response(dialog, ok)
    {:ok, timer} = SessionTimer.receive_response(timer, ok, now)
    {method, {dialog, timer, contact}, {Dialog.respond(far, ok), fars, far_contact}}
  end

  for {wanted, refresher} <- [{:local, :alice}, {:remote, :bob}, {nil, :alice}] do
    test "with the option #{inspect(wanted)} of the caller #{refresher} refreshes, again and again" do
      {alice, bob} = call([session_expires: 600, refresher: unquote(wanted)], [])
      {one, other} = if unquote(refresher) == :alice, do: {alice, bob}, else: {bob, alice}

      Enum.reduce(1..5, {one, other}, fn round, {one, other} ->
        now = 300_000 * round
        {method, one, other} = refresh(one, other, now)
        assert method == :update
        assert SessionTimer.next(elem(one, 1), now) == {:refresh, :update, 300_000}
        assert SessionTimer.next(elem(other, 1), now) == {:hang_up, 568_000}
        {one, other}
      end)
    end
  end

  test "by re-INVITE where one of them wants no UPDATE" do
    {alice, bob} = call([session_expires: 600, update: false], [])
    assert {:invite, _alice, _bob} = refresh(alice, bob, 300_000)
  end

  test "a far end that is silent is hung up by both, before the interval is over" do
    {{alice, alices, _contact}, {_bob, bobs, _bobs_contact}} = call([session_expires: 600], [])
    {:ok, update, alice} = Dialog.next_request(alice, :update)
    {_update, alices} = SessionTimer.put_request(alices, update)
    assert SessionTimer.next(alices, 300_000) == {:hang_up, 268_000}

    # Nobody has answered for 64*T1: that ends the dialog.
    assert %{state: :terminated} = Dialog.receive_error(alice, :update, :timeout)
    assert SessionTimer.next(bobs, 568_000) == {:hang_up, 0}
  end

  test "both sides may ask for the roles, and the caller's word counts" do
    {{_alice, alices, _}, {_bob, bobs, _}} =
      call([session_expires: 600, refresher: :remote], refresher: :remote)

    assert {alices.refresher, bobs.refresher} == {:remote, :local}
  end
end
