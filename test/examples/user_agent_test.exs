defmodule Examples.UserAgentTest do
  use Sippet.ExampleCase, async: true

  alias Examples.UserAgent

  # Tells of a core that has failed.
  defmodule Failures do
    def listener(stack), do: Module.concat(stack, Failures)

    def execute([:sippet, :core, :failed], _measurements, %{stack: stack} = metadata),
      do: send(listener(stack), {:failed, metadata})

    def execute(_event, _measurements, _metadata), do: :ok
  end

  # A call's process may outlive the last answer of it by a moment.
  defp assert_no_calls(stack) do
    children = stack |> UserAgent.Call.supervisor() |> DynamicSupervisor.which_children()

    for {_id, pid, _type, _modules} <- children do
      ref = Process.monitor(pid)
      assert_receive {:DOWN, ^ref, :process, ^pid, _reason}, 1_000
    end
  end

  # A call whose ACK was sent.
  defp established(alice, address) do
    invite = send_request(alice, ScriptedUserAgent.request(alice, :invite, uri("bob", address)))
    ok = assert_came(alice, {200, :invite})
    {:ok, dialog} = Dialog.uac(invite, ok)
    send_request(alice, Dialog.build_ack(dialog, ok))
    {dialog, ok}
  end

  describe "against SIPp" do
    @describetag Peers.tags(:sipp)

    test "answers calls" do
      {_stack, address} = start_example(UserAgent, ring: 10)
      result = address |> SIPp.run(["-sn", "uac"], calls: 10) |> SIPp.assert_success()
      assert result.successful == 10
    end

    test "takes a re-INVITE" do
      {stack, address} = start_example(UserAgent, ring: 10)

      result =
        address |> SIPp.run(example_scenario("uac_reinvite"), calls: 5) |> SIPp.assert_success()

      assert result.successful == 5
      assert_no_calls(stack)
    end

    test "lets a caller give up" do
      {stack, address} = start_example(UserAgent, ring: 60_000)
      result = address |> SIPp.run(SIPp.scenario("uac_cancel"), calls: 5) |> SIPp.assert_success()
      assert result.successful == 5
      assert_no_calls(stack)
    end
  end

  describe "RFC3261§8.2" do
    test "an unknown method gets 405 with Allow, and what is required and unknown 420" do
      {_stack, address} = start_example(UserAgent)
      {alice, _address} = start_stack(ScriptedUserAgent)

      send_request(alice, ScriptedUserAgent.request(alice, :subscribe, uri("bob", address)))
      assert "INVITE" in assert_came(alice, {405, :subscribe}).headers.allow

      invite = ScriptedUserAgent.request(alice, :invite, uri("bob", address))
      send_request(alice, Message.put_header(invite, :require, ["100rel"]))
      assert assert_came(alice, {420, :invite}).headers.unsupported == ["100rel"]
    end

    test "a body that is no SDP gets 415" do
      {_stack, address} = start_example(UserAgent)
      {alice, _address} = start_stack(ScriptedUserAgent)
      invite = ScriptedUserAgent.request(alice, :invite, uri("bob", address))
      invite = Message.put_header(invite, :content_type, {{"text", "plain"}, %{}})
      send_request(alice, %{invite | body: "hello"})
      assert assert_came(alice, {415, :invite}).headers.accept == [{{"application", "sdp"}, %{}}]
    end

    test "OPTIONS tells what is understood" do
      {_stack, address} = start_example(UserAgent)
      {alice, _address} = start_stack(ScriptedUserAgent)
      send_request(alice, ScriptedUserAgent.request(alice, :options, uri("bob", address)))
      response = assert_came(alice, {200, :options})
      assert "BYE" in response.headers.allow
      assert response.headers.accept == [{{"application", "sdp"}, %{}}]
    end

    test "the same INVITE by another path gets 482" do
      {_stack, address} = start_example(UserAgent, ring: 60_000)
      {alice, _address} = start_stack(ScriptedUserAgent)
      invite = send_request(alice, ScriptedUserAgent.request(alice, :invite, uri("bob", address)))
      assert_came(alice, {180, :invite})
      send_request(alice, invite)
      assert_came(alice, {482, :invite})
    end
  end

  describe "RFC3261§12" do
    test "a request of no dialog gets 481" do
      {_stack, address} = start_example(UserAgent)
      {alice, _address} = start_stack(ScriptedUserAgent)
      bye = ScriptedUserAgent.request(alice, :bye, uri("bob", address))
      send_request(alice, bye)
      assert_came(alice, {481, :bye})
      send_request(alice, put_in(bye.headers.to, put_elem(bye.headers.to, 2, %{"tag" => "gone"})))
      assert_came(alice, {481, :bye})
    end

    test "a request with an older number gets 500" do
      {_stack, address} = start_example(UserAgent, ring: 0)
      {alice, _address} = start_stack(ScriptedUserAgent)
      {dialog, _ok} = established(alice, address)
      {:ok, options, _dialog} = Dialog.next_request(dialog, :options)
      send_request(alice, put_in(options.headers.cseq, {0, :options}))
      assert_came(alice, {500, :options})
      send_request(alice, options)
      assert_came(alice, {200, :options})
    end

    test "a BYE ends a call that still rings" do
      {stack, address} = start_example(UserAgent, ring: 60_000)
      {alice, _address} = start_stack(ScriptedUserAgent)
      invite = send_request(alice, ScriptedUserAgent.request(alice, :invite, uri("bob", address)))
      {:ok, early} = Dialog.uac(invite, assert_came(alice, {180, :invite}))

      # A caller that does not wait for its first INVITE.
      {:ok, reinvite, early} = Dialog.next_request(%{early | pending: nil}, :invite)
      send_request(alice, reinvite)
      assert {seconds, "", %{}} = assert_came(alice, {500, :invite}).headers.retry_after
      assert seconds in 0..10

      {:ok, bye, _early} = Dialog.next_request(early, :bye)
      send_request(alice, bye)
      assert_came(alice, {200, :bye})
      assert_came(alice, {487, :invite})
      assert_no_calls(stack)
    end

    test "an INVITE without a Contact gets 400" do
      {stack, address} = start_example(UserAgent)
      {alice, _address} = start_stack(ScriptedUserAgent)
      invite = ScriptedUserAgent.request(alice, :invite, uri("bob", address))
      send_request(alice, Message.delete_header(invite, :contact))
      assert_came(alice, {400, :invite})
      assert_no_calls(stack)
    end
  end

  describe "RFC3261§13.3.1.4" do
    test "a call whose ACK never comes is ended with a BYE" do
      {stack, address} = start_example(UserAgent, ring: 0, stack: [t1: 5, t2: 20])
      {alice, _address} = start_stack(ScriptedUserAgent)
      send_request(alice, ScriptedUserAgent.request(alice, :invite, uri("bob", address)))
      ok = assert_came(alice, {200, :invite})
      bye = assert_came(alice, :bye)
      assert Dialog.id(bye) == Dialog.id(ok)
      assert_no_calls(stack)
    end

    for {outcome, title} <- [answered: "is answered", lost: "gets no answer"] do
      test "and when that BYE #{title}, nothing fails" do
        stack = :"bye_#{unquote(outcome)}"
        Process.register(self(), Failures.listener(stack))
        start_supervised!({Sippet.Test, name: stack, core: UserAgent.Core, telemetry: Failures})
        calls = [name: UserAgent.Call.supervisor(stack), extra_arguments: [stack, 0]]
        start_supervised!({DynamicSupervisor, calls})

        invite = Sippet.Test.request(:invite, "sip:bob@192.0.2.1")
        Sippet.Test.deliver(stack, invite)
        Sippet.Test.assert_response(stack, 180, invite)
        Sippet.Test.advance(stack, 0)
        Sippet.Test.assert_response(stack, 200, invite)
        Sippet.Test.advance(stack, 32_000)
        bye = Sippet.Test.assert_request(stack, :bye)

        if unquote(outcome) == :answered,
          do: Sippet.Test.respond(stack, bye, 200),
          else: Sippet.Test.advance(stack, 32_000)

        refute_receive {:failed, _metadata}, 50
        assert_no_calls(stack)
      end
    end
  end

  describe "RFC3261§15 where a process ends, its calls end" do
    defp calls(n) do
      {stack, address} = start_example(UserAgent, ring: 0)
      {alice, _address} = start_stack(ScriptedUserAgent)
      for _ <- 1..n, do: established(alice, address)
      {stack, alice}
    end

    test "of a call that is killed, the caller gets a BYE" do
      {stack, alice} = calls(1)

      [{_, pid, _, _}] =
        stack |> UserAgent.Call.supervisor() |> DynamicSupervisor.which_children()

      Process.exit(pid, :kill)
      assert_came(alice, :bye)
    end

    test "of an application that stops, all callers get one" do
      {stack, alice} = calls(50)
      :ok = stop_supervised(stack)
      for _ <- 1..50, do: assert_came(alice, :bye)
      refute_received {^alice, {:request, :bye, _request, _key}}
    end
  end
end
