defmodule Sippet.Interop.PrackTest do
  # Reliable provisional responses (RFC 3262), in both directions.
  use Sippet.Interop.Case, async: true

  alias Sippet.{Dialog, Message, URI}
  alias Sippet.Interop.Notebook

  @moduletag Peers.tags(:sipp)

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
      ok = invite |> Message.to_response(200) |> put_contact(stack)
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
    {ip, port} = uas.address
    me = {"", Sippet.own_uri(stack, user: "a"), %{}}

    invite =
      Message.build_request(:invite, "sip:b@#{text(ip)}:#{port}")
      |> Message.put_headers(from: me, contact: [me], supported: ["100rel"])
      |> Message.complete()

    :ok = Sippet.send(stack, invite, owner: self())
    {:ok, dialog} = Dialog.uac(invite, progress = response(stack, 183))
    {:ok, prack, dialog} = Dialog.prack(dialog, progress)
    :ok = Sippet.send(stack, prack, owner: self())
    assert {2, :prack} = response(stack, 200).headers.cseq
    ok = response(stack, 200)
    {:ok, dialog} = Dialog.receive_response(dialog, ok)
    :ok = Sippet.send(stack, Dialog.build_ack(dialog, ok, invite))
    {:ok, bye, _dialog} = Dialog.next_request(dialog, :bye)
    :ok = Sippet.send(stack, bye, owner: self())
    assert {3, :bye} = response(stack, 200).headers.cseq
    assert (uas |> SIPp.await() |> SIPp.assert_success()).successful == 1
    assert %URI{} = dialog.remote_target
  end

  defp response(stack, status) do
    assert_receive {:sippet, ^stack, _key, {:response, response}}, 2_000

    case response.start_line.status_code do
      ^status -> response
      100 -> response(stack, status)
    end
  end
end
