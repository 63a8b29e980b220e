defmodule Sippet.B2BUATest do
  use ExUnit.Case, async: true

  alias Sippet.{B2BUA, Dialog, Message, Replaces, URI}

  @caller URI.parse!("sip:bob@10.0.0.1")
  @called URI.parse!("sip:alice@192.0.2.9")
  @target URI.parse!("sip:bob@192.0.2.4")
  @alice {"Alice", URI.parse!("sip:alice@10.0.0.5"), %{"tag" => "a"}}
  @now 5_000_000

  ## The two phones

  defp invite(headers \\ []) do
    :invite
    |> Message.build_request("sip:bob@10.0.0.1")
    |> Message.put_headers(from: @alice, contact: [put_elem(@alice, 2, %{})])
    |> Message.put_header(:supported, ["100rel"])
    |> Message.put_headers(headers)
    |> Map.put(:body, "offer")
    |> Message.complete()
    |> wired()
  end

  # As the stack sends it.
  defp wired(message) do
    Message.update_header(message, :via, fn [{version, protocol, {host, port}, params}] ->
      [
        {version, if(protocol == :any, do: :udp, else: protocol),
         {if(host == "", do: "192.0.2.9", else: host), port}, params}
      ]
    end)
  end

  defp received(message), do: message |> wired() |> Message.to_string() |> Message.parse!()

  defp contact(user), do: [contact: [{"", URI.parse!("sip:#{user}@192.0.2.4"), %{}}]]

  defp answer(request, status, headers \\ []) do
    response = request |> received() |> Message.to_response(status)

    response =
      if status in 101..299, do: Message.put_headers(response, contact("bob")), else: response

    received(Message.put_headers(response, headers))
  end

  ## Steps

  defp begun(headers \\ [], options \\ []) do
    {:ok, [{:own, :caller, _dialog}], call} =
      B2BUA.new(invite(headers), [caller: @caller, called: @called], options)

    {[{:send, :called, sent}], call} = B2BUA.call(call, @target)
    {call, sent}
  end

  # A call that is up, with the dialogs of both phones.
  defp up(options \\ []) do
    invite = invite()
    {:ok, _own, call} = B2BUA.new(invite, [caller: @caller, called: @called], options)
    {[{:send, :called, sent}], call} = B2BUA.call(call, @target)
    ok = answer(sent, 200, [])

    {[{:own, :called, _}, {:send, :caller, answer}, {:retransmit, :caller, answer}], call} =
      B2BUA.receive_response(call, ok, @now)

    {:ok, alice} = Dialog.uac(invite, received(answer))
    {:ok, bob} = Dialog.uas(received(sent), ok)

    {[{:send, :called, ack}], call} =
      B2BUA.receive_request(call, received(Dialog.build_ack(alice, received(answer))))

    {:ok, bob} = bob |> Dialog.respond(ok) |> Dialog.receive_request(received(ack))
    %{call: call, alice: alice, bob: bob, invite: invite}
  end

  defp ask(dialog, method, headers \\ [], body \\ nil) do
    {:ok, request, dialog} =
      Dialog.next_request(
        dialog,
        method,
        [headers: headers] ++ if(body, do: [body: body], else: [])
      )

    {received(request), dialog}
  end

  defp status(response), do: response.start_line.status_code

  describe "new/3 and call/2" do
    test "make an INVITE that shows nothing of the caller but name, user and what passes" do
      {_call, sent} =
        begun(
          subject: "lunch",
          user_agent: "phone",
          record_route: [{"", URI.parse!("sip:p;lr"), %{}}]
        )

      assert {name, from, %{"tag" => _}} = sent.headers.from
      assert {name, to_string(from)} == {"Alice", "sip:alice@192.0.2.9"}
      assert [{"", contact, %{}}] = sent.headers.contact

      assert {to_string(contact), to_string(sent.start_line.request_uri)} ==
               {"sip:alice@192.0.2.9", "sip:bob@192.0.2.4"}

      assert {sent.headers.subject, sent.body, sent.headers.max_forwards} ==
               {"lunch", "offer", 69}

      refute Map.has_key?(sent.headers, :user_agent) or Map.has_key?(sent.headers, :record_route)
      refute sent.headers.call_id == invite().headers.call_id
    end

    test "let further headers pass" do
      identity = [{"", URI.parse!("sip:alice@atlanta.com"), %{}}]
      {_call, sent} = begun([p_asserted_identity: identity], headers: [:p_asserted_identity])
      assert sent.headers.p_asserted_identity == identity
      {_call, sent} = begun(p_asserted_identity: identity)
      refute Map.has_key?(sent.headers, :p_asserted_identity)
    end

    for {headers, status} <- [
          {[max_forwards: 0], 483},
          {[contact: "*"], 400},
          {[{"Session-Expires", ["60"]}, {:supported, ["timer"]}], 422}
        ] do
      test "refuse #{inspect(headers)} with #{status}" do
        assert {:error, response} =
                 B2BUA.new(invite(unquote(Macro.escape(headers))),
                   caller: @caller,
                   called: @called
                 )

        assert status(response) == unquote(status)
      end
    end

    # Supported and Require of the caller; of the called side
    for {supported, required, there} <- [
          {["100rel"], [], :supported},
          {[], [], :unsupported},
          {[], ["100rel"], :required}
        ] do
      test "ask for 100rel as the caller does: #{inspect({supported, required})}" do
        headers =
          [supported: unquote(supported)] ++
            if(unquote(required) == [], do: [], else: [require: unquote(required)])

        {_call, sent} = begun(headers)
        assert Sippet.UAS.extension(sent, "100rel") == unquote(there)
        assert Sippet.UAS.extension(sent, "timer") == :supported
      end
    end
  end

  describe "the first INVITE" do
    test "rings, and is answered by the first 2xx; another fork is hung up" do
      {call, sent} = begun()
      ringing = answer(sent, 180)

      assert {[{:own, :called, dialog}, {:send, :caller, there}], call} =
               B2BUA.receive_response(call, ringing, @now)

      assert {status(there), Dialog.id(dialog)} == {180, Dialog.id(ringing)}
      assert [{"", @caller, %{}}] = there.headers.contact

      ok = answer(sent, 200)

      assert {[{:send, :caller, there}, {:retransmit, :caller, there}], call} =
               B2BUA.receive_response(call, ok, @now)

      assert status(there) == 200

      {_name, uri, _params} = sent.headers.to
      fork = Message.put_header(ok, :to, {"", uri, %{"tag" => "fork"}})

      assert {[{:send, :called, ack}, {:send, :called, bye}], call} =
               B2BUA.receive_response(call, fork, @now)

      assert {ack.start_line.method, bye.start_line.method} == {:ack, :bye}
      assert ack.headers.to == fork.headers.to

      # What comes too late changes nothing.
      assert {[], ^call} = B2BUA.receive_response(call, answer(sent, 486), @now)

      key = %{
        branch: sent.headers.via |> hd() |> elem(3) |> Map.fetch!("branch"),
        method: :invite
      }

      assert {[], ^call} = B2BUA.receive_error(call, key, :timeout, @now)
    end

    test "rings by 32 To tags, and is answered by any other one" do
      {call, sent} = begun()
      {_name, uri, _params} = sent.headers.to

      tagged = fn status, tag ->
        Message.put_header(answer(sent, status), :to, {"", uri, %{"tag" => tag}})
      end

      call =
        Enum.reduce(1..32, call, fn tag, call ->
          {[{:own, :called, _dialog}, {:send, :caller, _ringing}], call} =
            B2BUA.receive_response(call, tagged.(180, "#{tag}"), @now)

          call
        end)

      assert {[], ^call} = B2BUA.receive_response(call, tagged.(180, "33"), @now)

      assert {[{:send, :caller, _ringing}], call} =
               B2BUA.receive_response(call, tagged.(183, "5"), @now)

      assert {[{:own, :called, _dialog}, {:send, :caller, ok} | _], _call} =
               B2BUA.receive_response(call, tagged.(200, "34"), @now)

      assert status(ok) == 200
    end

    test "rings without a dialog where the response has no tag, and does nothing with a 100" do
      {call, sent} = begun()
      {name, uri, _params} = sent.headers.to
      ringing = Message.put_header(answer(sent, 180), :to, {name, uri, %{}})
      assert {[{:send, :caller, there}], call} = B2BUA.receive_response(call, ringing, @now)
      assert status(there) == 180
      assert {[], ^call} = B2BUA.receive_response(call, answer(sent, 100), @now)
    end

    test "is refused with 502 where the answer can't be used" do
      {call, sent} = begun()
      ok = Message.delete_header(answer(sent, 200), :contact)

      assert {[{:send, :called, _ack}, {:send, :called, _bye}, {:send, :caller, refusal}, :ended],
              _call} = B2BUA.receive_response(call, ok, @now)

      assert status(refusal) == 502
    end

    test "is refused: the application tries another target, or passes the refusal on" do
      {call, sent} = begun()
      refusal = answer(sent, 486)
      assert {[{:refused, ^refusal}], call} = B2BUA.receive_response(call, refusal, @now)
      assert {[{:send, :called, again}], call} = B2BUA.call(call, URI.parse!("sip:bob@192.0.2.5"))
      refute again.headers.call_id == sent.headers.call_id
      # The refused one says no more.
      assert {[], ^call} = B2BUA.receive_response(call, answer(sent, 200), @now)
      refusal = answer(again, 480, retry_after: {5, "", %{}})
      assert {[{:refused, refusal}], call} = B2BUA.receive_response(call, refusal, @now)
      assert {[{:send, :caller, passed}, :ended], _call} = B2BUA.refuse(call, refusal)
      assert {status(passed), passed.headers.retry_after} == {480, {5, "", %{}}}
      assert {[{:send, :caller, passed}, :ended], _call} = B2BUA.refuse(call, 404)
      assert status(passed) == 404
    end

    for {status, passed} <- [
          {300, 480},
          {302, 480},
          {401, 403},
          {407, 403},
          {422, 500},
          {403, 403},
          {603, 603}
        ] do
      test "a #{status} is passed on as #{passed}" do
        {call, sent} = begun()

        assert {[{:send, :caller, passed}, :ended], _call} =
                 B2BUA.refuse(call, answer(sent, unquote(status)))

        assert status(passed) == unquote(passed)
      end
    end

    test "fails as 408 for silence, and as 500 for anything else" do
      for {reason, status} <- [timeout: 408, econnrefused: 500] do
        {call, sent} = begun()

        key = %{
          branch: sent.headers.via |> hd() |> elem(3) |> Map.fetch!("branch"),
          method: :invite
        }

        assert {[{:refused, response}], _call} = B2BUA.receive_error(call, key, reason, @now)
        assert status(response) == status
      end
    end

    test "is cancelled: both are answered, and the call is over" do
      {call, _sent} = begun()
      cancel = Message.to_cancel(call.invite)

      assert {[{:send, :caller, ok}, {:send, :caller, refusal}, :ended], _call} =
               B2BUA.receive_request(call, cancel)

      assert {status(ok), ok.headers.cseq, status(refusal)} == {200, {1, :cancel}, 487}
    end

    test "ends with the errors of its own side" do
      key = %{branch: "z9hG4bKx", method: :invite}

      for reason <- [:no_ack, :no_prack, :no_answer],
          do: assert({[:ended], _call} = B2BUA.receive_error(up().call, key, reason, @now))

      assert {[], _call} = B2BUA.receive_error(up().call, key, :anything, @now)
    end

    test "is sent again for a 422, and the caller hears nothing" do
      {call, sent} = begun()

      assert {[{:send, :called, again}], _call} =
               B2BUA.receive_response(call, answer(sent, 422, [{"Min-SE", ["2000"]}]), @now)

      assert {:ok, {2_000, _}} = Message.fetch_typed(again, "Session-Expires")

      assert {again.headers.call_id, again.headers.cseq, again.body} ==
               {sent.headers.call_id, {2, :invite}, "offer"}
    end
  end

  describe "a reliable provisional response" do
    defp reliable(sent, rseq),
      do: answer(sent, 183, [{:require, ["100rel"]}, {"RSeq", ["#{rseq}"]}])

    test "goes on as one, and its PRACK as a PRACK" do
      invite = invite()
      {:ok, _own, call} = B2BUA.new(invite, caller: @caller, called: @called)
      {[{:send, :called, sent}], call} = B2BUA.call(call, @target)
      first = reliable(sent, 70)

      assert {[{:own, :called, _dialog}, {:retransmit, :caller, there}], call} =
               B2BUA.receive_response(call, first, @now)

      assert there.headers.require == ["100rel"]

      # Repeated, and one more before its turn.
      assert {[], call} = B2BUA.receive_response(call, first, @now)
      {:ok, alice} = Dialog.uac(invite, received(there))
      {:ok, prack, _alice} = Dialog.prack(alice, received(there))

      assert {[{:send, :called, prack_there}], call} =
               B2BUA.receive_request(call, received(%{prack | body: "answer"}))

      assert {prack_there.headers["RAck"], prack_there.body} == {["70 1 INVITE"], "answer"}

      assert {[{:send, :caller, ok}], call} =
               B2BUA.receive_response(call, answer(prack_there, 200), @now)

      assert {status(ok), ok.headers.cseq} == {200, {2, :prack}}

      assert {[], call} = B2BUA.receive_response(call, first, @now)

      assert {[{:retransmit, :caller, second}], _call} =
               B2BUA.receive_response(call, reliable(sent, 71), @now)

      {:ok, rseq} = Message.fetch_typed(there, "RSeq")
      assert Message.fetch_typed(second, "RSeq") == {:ok, rseq + 1}
    end
  end

  describe "within the call" do
    test "a request goes on, and its response comes back" do
      %{call: call, alice: alice, bob: bob} = up()

      for {leg, dialog, to} <- [{:caller, alice, :called}, {:called, bob, :caller}],
          method <- [:info, :message, :update, :notify, :options] do
        {request, _dialog} = ask(dialog, method, [subject: "s"], "body")
        assert {[{:send, ^to, there}], call} = B2BUA.receive_request(call, request)

        assert {there.start_line.method, there.headers.subject, there.body} ==
                 {method, "s", "body"}

        response =
          Message.to_response(received(there), 299, "Fine") |> Message.put_headers(contact("bob"))

        assert {[{:send, ^leg, back} | _], _call} = B2BUA.receive_response(call, response, @now)

        assert {back.start_line.status_code, back.start_line.reason_phrase, back.headers.cseq} ==
                 {299, "Fine", request.headers.cseq}
      end
    end

    test "a re-INVITE goes on, with its ACK; a second one gets 491" do
      %{call: call, alice: alice, bob: bob} = up()
      {hold, alice} = ask(alice, :invite, [], "hold")
      assert {[{:send, :called, there}], call} = B2BUA.receive_request(call, hold)
      {crossing, _bob} = ask(bob, :invite, [], "crossing")
      assert {[{:send, :called, refused}], call} = B2BUA.receive_request(call, crossing)
      assert status(refused) == 491
      assert {[], call} = B2BUA.receive_response(call, answer(there, 180), @now)

      assert {[{:send, :caller, ok}, {:retransmit, :caller, ok}], call} =
               B2BUA.receive_response(call, answer(there, 200), @now)

      {:ok, alice} = Dialog.receive_response(alice, received(ok))
      ack = %{received(Dialog.build_ack(alice, received(ok))) | body: "late"}
      assert {[{:send, :called, ack_there}], call} = B2BUA.receive_request(call, ack)

      assert {ack_there.body, ack_there.headers.cseq} ==
               {"late", put_elem(there.headers.cseq, 1, :ack)}

      # It comes again.
      assert {[], call} = B2BUA.receive_request(call, ack)

      # And now Bob's may go on.
      {:ok, bob} = Dialog.receive_request(bob, received(there))
      bob = Dialog.respond(bob, answer(there, 200))
      {hold, _bob} = ask(%{bob | local_seq: 100}, :invite)

      assert {[{:send, :caller, %{start_line: %{method: :invite}}}], _call} =
               B2BUA.receive_request(call, hold)
    end

    test "a re-INVITE that is refused leaves the call, and another may follow from either side" do
      %{call: call, alice: alice, bob: bob} = up()
      {hold, _alice} = ask(alice, :invite)
      {[{:send, :called, there}], call} = B2BUA.receive_request(call, hold)

      assert {[{:send, :caller, refused}], call} =
               B2BUA.receive_response(call, answer(there, 488), @now)

      assert status(refused) == 488
      {hold, _bob} = ask(bob, :invite)
      assert {[{:send, :caller, _there}], _call} = B2BUA.receive_request(call, hold)
    end

    test "a re-INVITE is cancelled by its far end" do
      %{call: call, alice: alice} = up()
      {hold, _alice} = ask(alice, :invite)
      {[{:send, :called, there}], call} = B2BUA.receive_request(call, hold)

      assert {[{:send, :caller, ok}, {:cancel, :called, ^there}], _call} =
               B2BUA.receive_request(call, Message.to_cancel(hold))

      assert status(ok) == 200
    end

    test "a CANCEL that comes after the answer is answered where it came from" do
      %{call: call, alice: alice, bob: bob, invite: invite} = up()

      for {cancel, leg} <- [
            {Message.to_cancel(invite), :caller},
            {alice |> ask(:invite) |> elem(0) |> Message.to_cancel(), :caller},
            {bob |> ask(:invite) |> elem(0) |> Message.to_cancel(), :called}
          ] do
        assert {[{:send, ^leg, ok}], _call} = B2BUA.receive_request(call, cancel)
        assert status(ok) == 200
      end
    end

    test "a BYE ends both legs" do
      %{call: call, alice: alice, bob: bob} = up()

      for {leg, dialog, to} <- [{:caller, alice, :called}, {:called, bob, :caller}] do
        {bye, _dialog} = ask(dialog, :bye, reason: [{"SIP", %{"cause" => "200"}}])

        assert {[{:send, ^leg, ok}, {:send, ^to, there}, :ended], _call} =
                 B2BUA.receive_request(call, bye)

        assert {status(ok), there.start_line.method, there.headers.reason} ==
                 {200, :bye, [{"SIP", %{"cause" => "200"}}]}
      end
    end

    test "a 401 to a request is for the agent" do
      %{call: call, alice: alice} = up()
      {info, _alice} = ask(alice, :info)
      {[{:send, :called, there}], call} = B2BUA.receive_request(call, info)
      {[{:send, :caller, back}], _call} = B2BUA.receive_response(call, answer(there, 401), @now)
      assert status(back) == 403
    end

    for {status, ended?} <- [{481, true}, {408, true}, {500, false}, {603, false}] do
      test "a #{status} to a request passes on#{if ended?, do: ", and ends the call"}" do
        %{call: call, alice: alice} = up()
        {info, _alice} = ask(alice, :info)
        {[{:send, :called, there}], call} = B2BUA.receive_request(call, info)

        {[{:send, :caller, back} | rest], _call} =
          B2BUA.receive_response(call, answer(there, unquote(status)), @now)

        assert {status(back), rest} ==
                 {unquote(status), if(unquote(ended?), do: [:ended], else: [])}
      end
    end

    test "what is not of the call, too late, or not known is refused" do
      %{call: call, alice: alice} = up()
      {first, alice} = ask(alice, :info)
      {second, alice} = ask(alice, :info)
      {[_there], call} = B2BUA.receive_request(call, second)
      assert {[{:send, :caller, late}], call} = B2BUA.receive_request(call, first)
      assert status(late) == 500
      {odd, _alice} = ask(alice, "PUBLISH")
      assert {[{:send, :caller, odd}], call} = B2BUA.receive_request(call, odd)
      assert {status(odd), "INFO" in odd.headers.allow} == {405, true}

      {stranger, _dialog} =
        ask(%{alice | remote_tag: "x", remote: {"", @target, %{"tag" => "x"}}}, :info)

      assert {[{:send, :called, stranger}], _call} = B2BUA.receive_request(call, stranger)
      assert status(stranger) == 481
    end

    test "a REFER names the agent by its address on the other leg, and others as they are" do
      %{call: call, alice: alice, bob: bob} = up()

      for {dialog, uri, there} <- [
            {alice, "sip:carol@10.0.0.1?Replaces=x", "sip:carol@192.0.2.9?Replaces=x"},
            {alice, "sip:carol@chicago.com", "sip:carol@chicago.com"},
            {bob, "sip:carol@192.0.2.9", "sip:carol@10.0.0.1"}
          ] do
        {refer, _dialog} = ask(dialog, :refer, Sippet.Refer.headers(URI.parse!(uri)))
        assert {[{:send, _leg, sent}], _call} = B2BUA.receive_request(call, refer)
        assert {:ok, {"", uri, %{}}} = Message.fetch_typed(sent, "Refer-To")
        assert to_string(uri) == there
      end
    end
  end

  describe "replace/3" do
    test "has the other leg asked anew, and the replaced one hung up" do
      %{call: call, alice: alice, bob: bob} = up()
      contact = URI.parse!("sip:bob@192.0.2.9")

      carol =
        Replaces.put(
          invite(from: {"Carol", URI.parse!("sip:carol@192.0.2.7"), %{"tag" => "c"}}),
          alice
        )

      assert {:ok, [{:send, :called, there}], call} = B2BUA.replace(call, carol, contact)
      assert Dialog.id(received(there)) == Dialog.id(bob)
      ok = answer(there, 200)

      assert {[
                {:send, :replacing, answer},
                {:retransmit, :replacing, answer},
                {:send, :caller, bye},
                {:replaced, :caller},
                {:own, :caller, _dialog}
              ], call} = B2BUA.receive_response(call, ok, @now)

      assert [{"", ^contact, %{}}] = answer.headers.contact
      assert {bye.start_line.method, Dialog.id(received(bye))} == {:bye, Dialog.id(alice)}
      {:ok, carols} = Dialog.uac(carol, received(answer))
      {:ok, ack, carols} = {:ok, Dialog.build_ack(carols, received(answer)), carols}
      assert {[{:send, :called, _ack}], call} = B2BUA.receive_request(call, received(ack))
      {hold, _carols} = ask(carols, :invite)
      assert {[{:send, :called, there}], call} = B2BUA.receive_request(call, hold)

      assert {[{:send, :caller, ok} | _], _call} =
               B2BUA.receive_response(call, answer(there, 200), @now)

      assert [{"", ^contact, %{}}] = ok.headers.contact
    end

    test "of the called side too; a refusal leaves the call as it is" do
      %{call: call, alice: alice, bob: bob} = up()
      carol = Replaces.put(invite(), bob)
      assert {:ok, [{:send, :caller, there}], call} = B2BUA.replace(call, carol, @called)
      assert Dialog.id(received(there)) == Dialog.id(alice)

      assert {[{:send, :replacing, refused}], call} =
               B2BUA.receive_response(call, answer(there, 488), @now)

      assert status(refused) == 488
      {info, _alice} = ask(alice, :info)
      assert {[{:send, :called, _info}], _call} = B2BUA.receive_request(call, info)
    end

    test "is refused for another dialog, a bad Contact, or while an INVITE is in progress" do
      %{call: call, alice: alice} = up()

      assert {:error, response} =
               B2BUA.replace(call, Replaces.put(invite(), %{alice | call_id: "x"}), @called)

      assert status(response) == 481

      assert {:error, response} =
               B2BUA.replace(call, Replaces.put(invite(contact: "*"), alice), @called)

      assert status(response) == 400
      short = invite([{"Session-Expires", ["60"]}, {:supported, ["timer"]}])
      assert {:error, response} = B2BUA.replace(call, Replaces.put(short, alice), @called)
      assert status(response) == 422
      {hold, _alice} = ask(alice, :invite)
      {[_there], call} = B2BUA.receive_request(call, hold)
      assert {:error, response} = B2BUA.replace(call, Replaces.put(invite(), alice), @called)
      assert status(response) == 491
    end
  end

  describe "session timers" do
    # The called side lets the agent refresh, and allows this.
    defp timed(allow) do
      invite = invite()
      {:ok, _own, call} = B2BUA.new(invite, caller: @caller, called: @called)
      {[{:send, :called, sent}], call} = B2BUA.call(call, @target)

      ok = %{
        answer(sent, 200, [{"Session-Expires", ["600;refresher=uac"]}, {:allow, allow}])
        | body: "sdp"
      }

      {_actions, call} = B2BUA.receive_response(call, ok, @now)
      call
    end

    test "a leg is refreshed at half of its interval, by UPDATE or by re-INVITE with the session of before" do
      for {allow, method, body} <- [{["UPDATE"], :update, nil}, {["INVITE"], :invite, "offer"}] do
        call = timed(allow)
        assert B2BUA.next(call, @now) == 300_000
        assert {[], ^call} = B2BUA.timeout(call, @now + 299_999)
        assert {[{:send, :called, refresh}], call} = B2BUA.timeout(call, @now + 300_000)
        assert {refresh.start_line.method, refresh.body} == {method, body}

        assert {:ok, {600, %{"refresher" => "uac"}}} =
                 Message.fetch_typed(refresh, "Session-Expires")

        ok = answer(refresh, 200, [{"Session-Expires", ["600;refresher=uac"]}])
        {actions, call} = B2BUA.receive_response(call, ok, @now + 300_000)

        if method == :invite,
          do: assert([{:send, :called, %{start_line: %{method: :ack}}}] = actions),
          else: assert(actions == [])

        assert B2BUA.next(call, @now + 300_000) == 300_000
      end
    end

    test "the caller's leg is refreshed too, with the session that was answered" do
      timer = [
        {"Session-Expires", ["600;refresher=uas"]},
        {:supported, ["timer"]},
        {:allow, ["INVITE"]}
      ]

      {call, sent} = begun(timer)
      ok = %{answer(sent, 200) | body: "answer"}
      {_actions, call} = B2BUA.receive_response(call, ok, @now)
      assert B2BUA.next(call, @now) == 300_000
      assert {[{:send, :caller, refresh}], _call} = B2BUA.timeout(call, @now + 300_000)
      assert {refresh.start_line.method, refresh.body} == {:invite, "answer"}
    end

    test "a call that nobody refreshes is over" do
      call = timed(["UPDATE"])
      {_refresh, call} = B2BUA.timeout(call, @now + 300_000)
      assert B2BUA.next(call, @now + 300_000) == 268_000
      assert {[:ended], _call} = B2BUA.timeout(call, @now + 568_000)
    end

    test "a refresh that is answered with 481 ends the call" do
      {[{:send, :called, refresh}], call} = B2BUA.timeout(timed(["UPDATE"]), @now + 300_000)
      assert {[:ended], _call} = B2BUA.receive_response(call, answer(refresh, 481), @now)
    end

    test "an INVITE that crosses a refresh gets 491, and may come again after it" do
      {:ok, _own, call} = B2BUA.new(invite = invite(), caller: @caller, called: @called)
      {[{:send, :called, sent}], call} = B2BUA.call(call, @target)
      ok = answer(sent, 200, [{"Session-Expires", ["600;refresher=uac"]}, {:allow, ["INVITE"]}])
      {[_own, {:send, :caller, there} | _], call} = B2BUA.receive_response(call, ok, @now)
      {:ok, alice} = Dialog.uac(invite, received(there))
      {[{:send, :called, refresh}], call} = B2BUA.timeout(call, @now + 300_000)

      {hold, alice} = ask(alice, :invite)
      assert {[{:send, :caller, refused}], call} = B2BUA.receive_request(call, hold)
      assert status(refused) == 491
      {[_ack], call} = B2BUA.receive_response(call, answer(refresh, 200), @now)
      {:ok, alice} = Dialog.receive_response(alice, received(refused))
      {hold, _alice} = ask(alice, :invite)
      assert {[{:send, :called, _there}], _call} = B2BUA.receive_request(call, hold)
    end

    test "waits while an INVITE is in progress" do
      call = timed(["INVITE"])
      {[{:send, :called, _refresh}], call} = B2BUA.timeout(call, @now + 300_000)
      # As if it had failed, and is to be tried again at once.
      timers = Map.update!(call.timers, :called, &%{&1 | refresh_at: @now})
      assert {[], call} = B2BUA.timeout(%{call | timers: timers}, @now + 300_000)
      assert B2BUA.next(call, @now + 300_000) == 134_000
    end

    test "without one there is nothing to do" do
      assert B2BUA.next(up().call, @now) == :never
      call = up().call
      assert B2BUA.timeout(call, @now) == {[], call}
    end
  end

  describe "lost/3" do
    test "owns the dialogs of the leg anew, and fails what was sent there" do
      %{call: call, alice: alice, bob: bob} = up()
      {info, _alice} = ask(alice, :info)
      {[{:send, :called, _there}], call} = B2BUA.receive_request(call, info)
      {info, _bob} = ask(bob, :info)
      {[{:send, :caller, _there}], call} = B2BUA.receive_request(call, info)

      assert {[{:own, :called, _dialog}, {:send, :caller, failed}], call} =
               B2BUA.lost(call, :called, @now)

      assert status(failed) == 500

      assert {[{:own, :caller, _dialog}, {:send, :called, failed}], call} =
               B2BUA.lost(call, :caller, @now)

      assert status(failed) == 500
      assert {[{:own, :caller, _dialog}], _call} = B2BUA.lost(call, :caller, @now)
    end
  end
end
