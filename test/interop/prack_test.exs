defmodule Sippet.Interop.PrackTest do
  # Reliable provisional responses (RFC 3262), in both directions.
  use Sippet.Interop.Case, async: true

  import Sippet.Interop.Script,
    only: [hang_up: 2, new_request: 5, response: 3, send_request: 2]

  import Sippet.Wait

  alias Sippet.{Dialog, Message}
  alias Sippet.Interop.{Asterisk, Endpoint, Notebook, PJSUA2}

  # Rings reliably, and answers when the PRACK has come.
  defmodule Callee do
    use Sippet.Core

    def receive_request(%Message{start_line: %{method: :invite}} = invite, _key, stack) do
      progress = invite |> Message.to_response(183) |> put_contact(stack)
      {:ok, dialog} = Dialog.uas(invite, progress)
      {progress, dialog} = Dialog.put_reliable(dialog, progress)
      Notebook.put(stack, Dialog.id(dialog), {invite, dialog})
      :ok = Sippet.retransmit_1xx(stack, progress)
    end

    def receive_request(%Message{start_line: %{method: :prack}} = prack, _key, stack) do
      {invite, dialog} = Notebook.fetch!(stack, Dialog.id(prack))
      {:ok, _dialog} = Dialog.receive_request(dialog, prack)
      Sippet.send(stack, Message.to_response(prack, 200))
      ok = invite |> Message.to_response(200) |> put_contact(stack) |> Endpoint.put_sdp(stack)
      Sippet.send(stack, ok)
      Sippet.retransmit_2xx(stack, ok)
    end

    def receive_request(_ack, nil, _stack), do: :ok

    def receive_request(bye, _key, stack), do: Sippet.send(stack, Message.to_response(bye, 200))

    def receive_error(reason, key, stack), do: Notebook.tell(stack, {:error, reason, key})

    defp put_contact(response, stack),
      do: Message.put_header(response, :contact, [{"", Sippet.own_uri(stack), %{}}])
  end

  defmodule Caller do
    use Sippet.Core
  end

  describe "SIPp" do
    @describetag Peers.tags(:sipp)
    test "a caller acknowledges a 183 that has come twice, and is answered" do
      {stack, address} = start_stack(Callee)
      result = address |> SIPp.run(SIPp.scenario("uac_prack"), calls: 10) |> SIPp.assert_success()
      assert result.successful == 10
      refute_received {^stack, {:error, _reason, _key}}
      # 183 twice, 200 to the PRACK, to the INVITE and to the BYE.
      assert %{core_failed: 0, message_sent: sent} = Sippet.stats(stack)
      assert sent >= 50
    end

    test "a called one gets the PRACK for its 183, and then the BYE with the next number" do
      {stack, _address} = start_stack(Caller)
      uas = SIPp.start(SIPp.scenario("uas_prack"), calls: 1)
      call(stack, uas.address, 183)
      assert (uas |> SIPp.await() |> SIPp.assert_success()).successful == 1
    end
  end

  describe "PJSUA2" do
    @describetag Peers.tags(:pjsua2)
    test "as a caller that requires 100rel is rung reliably, and answered" do
      {stack, {_ip, port}} = start_stack(Callee)
      agent = PJSUA2.start(reliable: true) |> PJSUA2.command("dial sip:bob@127.0.0.1:#{port}")
      agent |> PJSUA2.await("call EARLY 183") |> PJSUA2.await("call CONFIRMED 200")
      assert Sippet.stats(stack).core_failed == 0
    end

    test "as a called one that rings reliably gets its PRACK, and is called" do
      {stack, _address} = start_stack(Caller)
      agent = PJSUA2.start(reliable: true)
      call(stack, {{127, 0, 0, 1}, agent.port}, 180)
      PJSUA2.await(agent, "call DISCONNECTED")
    end
  end

  describe "Asterisk" do
    @describetag Peers.tags(:asterisk)
    test "as a caller that requires 100rel is rung reliably, and answered" do
      {stack, {_ip, port}} = start_stack(Callee)
      asterisk = Asterisk.start(endpoint: "100rel = required")
      uri = "sip:bob@127.0.0.1:#{port}"
      Asterisk.cli(asterisk, "channel originate PJSIP/anonymous/#{uri} application Wait 1")
      # The core has failed if it was not so.
      wait_until(fn -> Sippet.stats(stack).message_received >= 4 end)
      assert Sippet.stats(stack).core_failed == 0
      refute_received {^stack, {:error, _reason, _key}}
    end

    test "as a called one that rings reliably gets its PRACK, and is called" do
      {stack, _address} = start_stack(Caller)
      asterisk = Asterisk.start(endpoint: "100rel = required")
      call(stack, asterisk.address, 180, "patient")
    end
  end

  # Calls, acknowledges the reliable response of this status, and hangs up when it is answered.
  defp call(stack, address, status, user \\ "alice") do
    invite =
      stack
      |> new_request(:invite, user, address, supported: ["100rel"])
      |> Endpoint.put_sdp(stack)

    send_request(stack, invite)
    {:ok, dialog} = Dialog.uac(invite, progress = response(stack, :invite, status))
    {:ok, prack, dialog} = Dialog.prack(dialog, progress)
    send_request(stack, prack)
    assert {2, :prack} = response(stack, :prack, 200).headers.cseq
    assert {1, :invite} = (ok = response(stack, :invite, 200)).headers.cseq
    {:ok, dialog} = Dialog.receive_response(dialog, ok)
    :ok = Sippet.send(stack, Dialog.build_ack(dialog, ok, invite))
    {_dialog, bye, _ok} = hang_up(stack, dialog)
    assert {3, :bye} = bye.headers.cseq
  end
end
