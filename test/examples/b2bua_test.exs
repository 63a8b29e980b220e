defmodule Examples.B2BUATest do
  use Sippet.Interop.Case, async: true

  import Sippet.Interop.Script, except: [request: 2]

  @moduletag :interop

  alias Examples.B2BUA
  alias Sippet.Interop.{Endpoint, Script}
  alias Sippet.{Dialog, Message, Refer, Replaces, SessionTimer, Subscription, UAS, URI}
  alias Sippet.Transports.UDP

  # Alice is inside, Bob and Carol are outside.
  setup do
    [{alice, _}, {bob, {_ip, bobs}}] = for _ <- 1..2, do: start_stack(Script.Core)

    sides =
      for side <- [:inside, :outside], do: :"b2bua_#{side}_#{System.unique_integer([:positive])}"

    [inside, outside] = sides

    pid =
      start_supervised!(
        {B2BUA,
         inside: [name: inside, port: Program.free_port()],
         outside: [name: outside, port: Program.free_port(), next_hop: "127.0.0.1:#{bobs}"]}
      )

    [ins, outs] = for side <- sides, do: with({:ok, address} <- UDP.sockname(side), do: address)
    %{alice: alice, bob: bob, inside: ins, outside: outs, sides: sides, pid: pid}
  end

  defp dial(alice, inside, headers \\ []) do
    invite = alice |> new_request(:invite, "bob", inside, headers) |> Endpoint.put_sdp(alice)
    send_request(alice, invite)
    invite
  end

  # A call that is up, with both dialogs.
  defp call_through(%{alice: alice, bob: bob, inside: inside}, headers \\ []) do
    invite = dial(alice, inside, headers)
    {bobs, received} = accept(bob)
    ok = response(alice, :invite, 200)
    alices = acknowledge(alice, invite, ok)
    ack = Script.request(bob, :ack)
    {:ok, bobs} = Dialog.receive_request(bobs, ack)
    %{alice: alices, bob: bobs, invite: received, ok: ok}
  end

  defp accept(bob, headers \\ []) do
    invite = Script.request(bob, :invite)
    ok = answer(bob, invite, 200, headers)
    {:ok, dialog} = Dialog.uas(invite, ok)
    :ok = Sippet.controlling_process(bob, dialog, self())
    {Dialog.respond(dialog, ok), invite}
  end

  # The processes of all calls.
  defp calls(%{sides: [inside | _]}) do
    registry = Module.concat(inside, Dialogs)
    registry |> Registry.select([{{:_, :"$1", :_}, [], [:"$1"]}]) |> Enum.uniq()
  end

  # Asks in one dialog while the test answers in the other.
  defp through(from, dialog, method, to, far, options \\ []) do
    {:ok, request, dialog} = Dialog.next_request(dialog, method, options)
    request = if method == :invite, do: Endpoint.put_sdp(request, from), else: request
    send_request(from, request)
    received = Script.request(to, method)
    {:ok, far} = Dialog.receive_request(far, received)
    ok = answer(to, received, 200)
    far = Dialog.respond(far, ok)
    response = response(from, method, 200)
    {:ok, dialog} = Dialog.receive_response(dialog, response)

    if method == :invite do
      :ok = Sippet.send(from, Dialog.build_ack(dialog, response, request))
      Script.request(to, :ack)
    end

    {dialog, far, received, response}
  end

  describe "a call" do
    test "goes on as another call, which shows nothing of the first",
         %{alice: alice, bob: bob} = context do
      call = call_through(context, subject: "lunch")
      %{invite: received, ok: ok} = call
      assert {received.headers.subject, length(received.headers.via)} == {"lunch", 1}
      refute received.headers.call_id == ok.headers.call_id
      assert received.body =~ "m=audio"
      {_ip, inside} = context.inside
      {_ip, outside} = context.outside
      assert [{_, %{port: ^outside}, _}] = received.headers.contact
      assert [{_, %{port: ^inside}, _}] = ok.headers.contact
      refute Map.has_key?(received.headers, :record_route)
      assert received.headers.max_forwards == 69

      {:ok, bye, _dialog} =
        Dialog.next_request(call.alice, :bye, headers: [reason: [{"Q.850", %{"cause" => "16"}}]])

      send_request(alice, bye)
      bye = Script.request(bob, :bye)
      assert bye.headers.reason == [{"Q.850", %{"cause" => "16"}}]
      answer(bob, bye, 200)
      response(alice, :bye, 200)
    end

    test "is ended by the called side", %{alice: alice, bob: bob} = context do
      call = call_through(context)
      {:ok, bye, _dialog} = Dialog.next_request(call.bob, :bye)
      send_request(bob, bye)
      response(bob, :bye, 200)
      take_bye(alice)
    end

    test "goes from outside to inside, where the Request-URI says",
         %{alice: alice, bob: bob} = context do
      {:ok, {ip, port}} = UDP.sockname(alice)
      invite = bob |> new_request(:invite, "alice", context.outside) |> Endpoint.put_sdp(bob)
      # Its route is the agent, its Request-URI is Alice.
      {out_ip, out_port} = context.outside

      invite = %{
        invite
        | start_line: %{
            invite.start_line
            | request_uri: URI.parse!("sip:alice@#{:inet.ntoa(ip)}:#{port}")
          }
      }

      send_request(bob, %{invite | target: {:udp, List.to_string(:inet.ntoa(out_ip)), out_port}})
      {_dialog, received} = accept(alice)
      assert received.start_line.request_uri.userinfo == "alice"
      acknowledge(bob, invite, response(bob, :invite, 200))
      Script.request(alice, :ack)
    end

    test "is put on hold and back, and INFO, MESSAGE and UPDATE pass",
         %{alice: alice, bob: bob} = context do
      call = call_through(context)
      {alices, bobs, hold, _ok} = through(alice, call.alice, :invite, bob, call.bob)
      assert hold.body =~ "m=audio"
      {bobs, alices, _hold, _ok} = through(bob, bobs, :invite, alice, alices)
      info = [body: "Signal=5\r\n", headers: [content_type: {{"application", "dtmf-relay"}, %{}}]]
      {alices, bobs, info, _ok} = through(alice, alices, :info, bob, bobs, info)

      assert {info.body, info.headers.content_type} ==
               {"Signal=5\r\n", {{"application", "dtmf-relay"}, %{}}}

      {bobs, alices, _update, _ok} = through(bob, bobs, :update, alice, alices)
      {_alices, _bobs, _message, _ok} = through(alice, alices, :message, bob, bobs)
    end

    test "whose re-INVITEs cross gets 491 from the agent", %{alice: alice, bob: bob} = context do
      call = call_through(context)
      {:ok, invite, alices} = Dialog.next_request(call.alice, :invite)
      send_request(alice, Endpoint.put_sdp(invite, alice))
      first = Script.request(bob, :invite)
      {:ok, crossing, _dialog} = Dialog.next_request(%{call.bob | pending: nil}, :invite)
      send_request(bob, Endpoint.put_sdp(crossing, bob))
      response(bob, :invite, 491)
      answer(bob, first, 200)
      ok = response(alice, :invite, 200)
      {:ok, alices} = Dialog.receive_response(alices, ok)
      Sippet.send(alice, Dialog.build_ack(alices, ok))
      Script.request(bob, :ack)
    end

    test "without an offer has the answer in its ACK", %{alice: alice, bob: bob, inside: inside} do
      invite = new_request(alice, :invite, "bob", inside)
      send_request(alice, invite)
      {_dialog, received} = accept(bob)
      assert received.body in [nil, ""]
      ok = response(alice, :invite, 200)
      assert ok.body =~ "m=audio"
      {:ok, dialog} = Dialog.uac(invite, ok)
      ack = Dialog.build_ack(dialog, ok, invite) |> Endpoint.put_sdp(alice)
      Sippet.send(alice, ack)
      assert Script.request(bob, :ack).body == ack.body
    end
  end

  describe "a call that comes to nothing" do
    for status <- [404, 480, 486, 503, 603] do
      test "is refused with #{status}, by its phrase", %{alice: alice, bob: bob} = context do
        dial(alice, context.inside)
        invite = Script.request(bob, :invite)
        Sippet.send(bob, Message.to_response(invite, unquote(status), "Because"))
        assert response(alice, :invite, unquote(status)).start_line.reason_phrase == "Because"
      end
    end

    for {status, passed} <- [{302, 480}, {401, 403}, {407, 403}, {422, 500}] do
      test "is refused with #{passed} for a #{status}, which is for the agent",
           %{alice: alice, bob: bob} = context do
        dial(alice, context.inside)
        Sippet.send(bob, Message.to_response(Script.request(bob, :invite), unquote(status)))
        response(alice, :invite, unquote(passed))
      end
    end

    test "is cancelled while it rings", %{alice: alice, bob: bob} = context do
      invite = dial(alice, context.inside)
      received = Script.request(bob, :invite)
      answer(bob, received, 180)
      response(alice, :invite, 180)
      :ok = Sippet.cancel(alice, Sippet.Transactions.Client.Key.new(invite))
      response(alice, :invite, 487)
      cancel = Script.request(bob, :cancel)
      Sippet.send(bob, Message.to_response(cancel, 200))
      Sippet.send(bob, Message.to_response(received, 487))
    end

    test "is cancelled, and its 2xx was faster", %{alice: alice, bob: bob} = context do
      invite = dial(alice, context.inside)
      received = Script.request(bob, :invite)
      answer(bob, received, 180)
      response(alice, :invite, 180)
      :ok = Sippet.cancel(alice, Sippet.Transactions.Client.Key.new(invite))
      response(alice, :invite, 487)
      Script.request(bob, :cancel)
      # Bob had picked up.
      ok = answer(bob, received, 200)
      {:ok, dialog} = Dialog.uas(received, ok)
      Sippet.controlling_process(bob, dialog, self())
      Script.request(bob, :ack)
      take_bye(bob)
    end

    test "a re-INVITE is cancelled by its own far end", %{alice: alice, bob: bob} = context do
      call = call_through(context)
      {:ok, invite, _alices} = Dialog.next_request(call.alice, :invite)
      send_request(alice, Endpoint.put_sdp(invite, alice))
      received = Script.request(bob, :invite)
      # A provisional response lets the CANCEL go.
      Sippet.send(bob, Message.to_response(received, 180))
      key = Sippet.Transactions.Client.Key.new(invite)
      Sippet.send(bob, Message.to_response(received, 100))
      Process.sleep(50)
      :ok = Sippet.cancel(alice, key)
      cancel = Script.request(bob, :cancel)
      Sippet.send(bob, Message.to_response(cancel, 200))
      Sippet.send(bob, Message.to_response(received, 487))
      response(alice, :invite, 487)
      # The call goes on.
      {:ok, bye, _dialog} = Dialog.next_request(call.bob, :bye)
      send_request(bob, bye)
      response(bob, :bye, 200)
      take_bye(alice)
    end

    test "with Max-Forwards 0 gets 483", %{alice: alice} = context do
      dial(alice, context.inside, max_forwards: 0)
      response(alice, :invite, 483)
    end

    test "that requires what nobody knows gets 420", %{alice: alice} = context do
      dial(alice, context.inside, require: ["nothing"])
      assert response(alice, :invite, 420).headers.unsupported == ["nothing"]
    end
  end

  describe "a redirection" do
    test "is followed, the best contact first, and the caller sees nothing of it",
         %{alice: alice, bob: bob} = context do
      {carol, {_ip, port}} = start_stack(Script.Core)
      dial(alice, context.inside)
      moved = Message.to_response(Script.request(bob, :invite), 302)
      at = fn user, q -> {"", URI.parse!("sip:#{user}@127.0.0.1:#{port}"), %{"q" => q}} end

      Sippet.send(
        bob,
        Message.put_header(moved, :contact, [at.("last", "0.1"), at.("first", "0.9")])
      )

      refused = Script.request(carol, :invite)
      assert refused.start_line.request_uri.userinfo == "first"
      Sippet.send(carol, Message.to_response(refused, 486))
      {_dialog, invite} = accept(carol)
      assert invite.start_line.request_uri.userinfo == "last"
      response(alice, :invite, 200)
    end

    test "has an end", %{alice: alice, bob: bob} = context do
      {:ok, {_ip, port}} = UDP.sockname(bob)
      dial(alice, context.inside)

      for _ <- 1..5 do
        moved = Message.to_response(Script.request(bob, :invite), 302)

        Sippet.send(
          bob,
          Message.put_header(moved, :contact, [{"", URI.parse!("sip:bob@127.0.0.1:#{port}"), %{}}])
        )
      end

      response(alice, :invite, 480)
    end
  end

  describe "a reliable provisional response" do
    test "is acknowledged from end to end", %{alice: alice, bob: bob} = context do
      invite = dial(alice, context.inside, supported: ["100rel"])
      received = Script.request(bob, :invite)
      assert UAS.extension(received, "100rel") == :supported

      progress =
        received |> Message.to_response(183) |> Message.put_header(:contact, [contact(bob)])

      {:ok, bobs} = Dialog.uas(received, progress)
      {progress, bobs} = Dialog.put_reliable(bobs, Endpoint.put_sdp(progress, bob))
      Sippet.controlling_process(bob, bobs, self())
      :ok = Sippet.retransmit_1xx(bob, progress)

      there = response(alice, :invite, 183)
      assert there.body == progress.body
      {:ok, alices} = Dialog.uac(invite, there)
      {:ok, prack, alices} = Dialog.prack(alices, there)

      send_request(
        alice,
        %{prack | body: "x"} |> Message.put_header(:content_type, {{"a", "b"}, %{}})
      )

      received_prack = Script.request(bob, :prack)
      assert received_prack.body == "x"
      {:ok, _bobs} = Dialog.receive_request(bobs, received_prack)
      answer(bob, received_prack, 200)
      response(alice, :prack, 200)

      answer(bob, received, 200)
      ok = response(alice, :invite, 200)
      {:ok, alices} = Dialog.receive_response(alices, ok)
      Sippet.send(alice, Dialog.build_ack(alices, ok))
      Script.request(bob, :ack)
    end

    test "is not asked for by a caller that knows none", %{alice: alice, bob: bob} = context do
      dial(alice, context.inside)
      assert UAS.extension(Script.request(bob, :invite), "100rel") == :unsupported
    end

    test "is required where the caller requires it", %{alice: alice, bob: bob} = context do
      dial(alice, context.inside, require: ["100rel"])
      assert UAS.extension(Script.request(bob, :invite), "100rel") == :required
    end
  end

  describe "session timers" do
    test "are those of each leg", %{alice: alice, bob: bob} = context do
      dial(alice, context.inside, [{"Session-Expires", ["300"]}, {:supported, ["timer"]}])
      received = Script.request(bob, :invite)
      assert {:ok, {1_800, _}} = Message.fetch_typed(received, "Session-Expires")

      answer(bob, received, 200, [
        {"Session-Expires", ["1200;refresher=uas"]},
        {:require, ["timer"]}
      ])

      ok = response(alice, :invite, 200)
      assert {:ok, {300, %{"refresher" => "uac"}}} = Message.fetch_typed(ok, "Session-Expires")
    end

    test "that are too short for the called side are tried again, and the caller sees nothing of it",
         %{alice: alice, bob: bob} = context do
      dial(alice, context.inside)
      refused = Script.request(bob, :invite) |> Message.to_response(422)
      Sippet.send(bob, Message.put_header(refused, "Min-SE", ["3600"]))
      again = Script.request(bob, :invite)
      assert {:ok, {3_600, _}} = Message.fetch_typed(again, "Session-Expires")
      assert again.headers.cseq == {2, :invite}
      answer(bob, again, 200)
      response(alice, :invite, 200)
    end

    test "that are too short for the agent get 422", %{alice: alice} = context do
      dial(alice, context.inside, [{"Session-Expires", ["60"]}, {:supported, ["timer"]}])
      response(alice, :invite, 422)
    end

    test "refresh a leg by UPDATE, or by re-INVITE, when it is time", %{bob: bob} = context do
      for {allow, method} <- [{~w(INVITE ACK BYE UPDATE), :update}, {~w(INVITE ACK BYE), :invite}] do
        call = timed_call(context, allow)
        # As if half an hour had gone by.
        :sys.replace_state(call.pid, fn state ->
          update_in(
            state.b2bua.timers.called,
            &%{&1 | refresh_at: System.monotonic_time(:millisecond)}
          )
        end)

        send(call.pid, :session_timer)
        refresh = Script.request(bob, method)

        assert {:ok, {1_800, %{"refresher" => "uac"}}} =
                 Message.fetch_typed(refresh, "Session-Expires")

        if method == :invite, do: assert(refresh.body =~ "m=audio")

        answer(bob, refresh, 200, [
          {"Session-Expires", ["1800;refresher=uac"]},
          {:require, ["timer"]},
          {:allow, allow}
        ])

        if method == :invite, do: Script.request(bob, :ack)

        Sippet.Wait.wait_until(fn ->
          match?(
            {:refresh, _, ms} when ms > 800_000,
            SessionTimer.next(
              :sys.get_state(call.pid).b2bua.timers.called,
              System.monotonic_time(:millisecond)
            )
          )
        end)
      end
    end

    test "end both legs of a call that nobody refreshes", %{alice: alice, bob: bob} = context do
      call = timed_call(context, ~w(INVITE ACK BYE))

      :sys.replace_state(call.pid, fn state ->
        update_in(
          state.b2bua.timers.called,
          &%{&1 | expires_at: System.monotonic_time(:millisecond), refresh_at: nil}
        )
      end)

      send(call.pid, :session_timer)
      take_bye(bob)
      take_bye(alice)
    end

    # The far end lets the agent refresh.
    defp timed_call(%{alice: alice, bob: bob, inside: inside} = context, allow) do
      before = calls(context)
      invite = dial(alice, inside)

      {_dialog, _invite} =
        accept(bob, [
          {"Session-Expires", ["1800;refresher=uac"]},
          {:require, ["timer"]},
          {:allow, allow}
        ])

      acknowledge(alice, invite, response(alice, :invite, 200))
      Script.request(bob, :ack)
      [pid] = calls(context) -- before
      %{pid: pid}
    end
  end

  describe "a transfer" do
    test "goes on to the far end, which knows the agent by its own address",
         %{alice: alice, bob: bob} = context do
      call = call_through(context)
      {ip, port} = context.inside
      uri = URI.parse!("sip:carol@#{:inet.ntoa(ip)}:#{port}")
      {:ok, refer, alices} = Dialog.next_request(call.alice, :refer, headers: Refer.headers(uri))
      send_request(alice, refer)
      subscriber = Subscription.subscriber(refer, 0, dialog: alices)

      received = Script.request(bob, :refer)
      {:ok, transfer} = Refer.read(received)
      {ip, port} = context.outside
      assert to_string(transfer.uri) == "sip:carol@#{:inet.ntoa(ip)}:#{port}"
      {:ok, bobs} = Dialog.receive_request(call.bob, received)
      {:ok, accepted, notifier} = Subscription.notifier(received, 0, dialog: bobs)
      Sippet.send(bob, accepted)
      response(alice, :refer, 200)

      {:ok, notify, _notifier} = Subscription.notify(notifier, 0, Refer.progress(200))
      send_request(bob, notify)
      notify = Script.request(alice, :notify)
      assert {:ok, %{state: :terminated}} = Subscription.receive_notify(subscriber, notify, 0)
      assert Refer.status(notify) == {:ok, 200}
      answer(alice, notify, 200)
      response(bob, :notify, 200)
    end

    test "connects the far ends of two calls: one takes the place of the caller in the other",
         %{alice: alice, bob: bob} = context do
      # Alice has called Bob twice; the second Bob is Carol.
      with_carol = call_through(context)
      replaces = Replaces.put(Message.build_request(:invite, "sip:x@y"), with_carol.alice)
      headers = Map.take(replaces.headers, ["Replaces", :require])

      invite =
        bob |> new_request(:invite, "carol", context.outside, headers) |> Endpoint.put_sdp(bob)

      send_request(bob, invite)
      # Carol gets a re-INVITE, and Alice a BYE.
      reinvite = Script.request(bob, :invite)
      assert Dialog.id(reinvite) == Dialog.id(with_carol.bob)
      answer(bob, reinvite, 200)
      take_bye(alice)
      bobs = acknowledge(bob, invite, response(bob, :invite, 200))
      Script.request(bob, :ack)

      # From now on the two are connected.
      {:ok, bye, _dialog} = Dialog.next_request(bobs, :bye)
      send_request(bob, bye)
      bye = Script.request(bob, :bye)
      assert Dialog.id(bye) == Dialog.id(with_carol.bob)
      answer(bob, bye, 200)
    end

    test "to a call that nobody has gets 481", %{bob: bob} = context do
      headers = [{"Replaces", ["a@b;to-tag=1;from-tag=2"]}]
      send_request(bob, new_request(bob, :invite, "carol", context.outside, headers))
      response(bob, :invite, 481)
    end
  end

  describe "what fails" do
    test "is the process of a call: both legs get a BYE", %{alice: alice, bob: bob} = context do
      call_through(context)
      [pid] = calls(context)
      Process.exit(pid, :kill)
      take_bye(alice)
      take_bye(bob)
    end

    test "is the process of a call that rings: the caller gets 500, the called a CANCEL",
         %{alice: alice, bob: bob} = context do
      dial(alice, context.inside)
      answer(bob, Script.request(bob, :invite), 180)
      response(alice, :invite, 180)
      [pid] = calls(context)
      Process.exit(pid, :kill)
      response(alice, :invite, 500)
      Script.request(bob, :cancel)
    end

    test "is nothing, when the application stops: both legs get a BYE",
         %{alice: alice, bob: bob} = context do
      call_through(context)
      stop_supervised!(B2BUA)
      take_bye(alice)
      take_bye(bob)
    end

    for side <- [0, 1] do
      test "is stack #{side} under twenty calls, of which none is lost",
           %{alice: alice, bob: bob} = context do
        calls = for _ <- 1..20, do: call_through(context)
        stack = Enum.at(context.sides, unquote(side))
        before = calls(context)
        killed = Process.whereis(Sippet.supervisor(stack))
        Process.exit(killed, :kill)

        Sippet.Wait.wait_until(fn ->
          Process.whereis(Sippet.supervisor(stack)) not in [nil, killed] and
            match?({:ok, _}, UDP.sockname(stack))
        end)

        assert Enum.sort(calls(context)) == Enum.sort(before)
        # A moment for the calls to take their dialogs back.
        for pid <- before, do: :sys.get_state(pid)

        for call <- calls do
          {:ok, bye, _dialog} = Dialog.next_request(call.alice, :bye)
          send_request(alice, bye)
          answer(bob, Script.request(bob, :bye), 200)
          response(alice, :bye, 200)
        end

        Sippet.Wait.wait_until(fn -> calls(context) == [] end)
      end
    end
  end
end
