defmodule Examples.PBXTest do
  use Sippet.ExampleCase, async: true

  import Sippet.Wait

  alias Examples.{Echo, PBX}
  alias Sippet.{Notifier, SessionTimer, Subscription}
  alias Sippet.Transactions.Client

  @users %{"alice" => "wonderland", "bob" => "builder", "carol" => "christmas"}

  # A PBX that sends its records to the test.
  defp pbx(options \\ []) do
    test = self()
    defaults = [domain: "test.local", users: @users, record: &send(test, {:record, &1})]
    start_example(PBX, Keyword.merge(defaults, options))
  end

  # A PBX, and phones of these users, which are registered.
  defp scene(users, options \\ []) do
    {stack, address} = pbx(options)
    phones = for user <- users, do: phone(user, address)
    {stack, address, phones}
  end

  defp phone(user, address) do
    {phone, _address} = start_stack(ScriptedUserAgent)
    register(phone, user, address)
    phone
  end

  defp request(phone, method, uri, user, address) do
    from = "sip:#{user}@test.local"
    to = if method == :register, do: from, else: uri
    route = uri(nil, address) <> ";lr"
    ScriptedUserAgent.request(phone, method, uri, from: from, to: to, route: [route])
  end

  # Sends a request again with credentials, once it is challenged. Gives it as it was sent.
  defp ask(phone, request, user, password \\ nil) do
    sent = send_request(phone, request)
    method = sent.start_line.method

    assert_receive {^phone, {:response, ^method, status, challenge, _key}} when status > 100,
                   2_000

    assert status in [401, 407]
    send_request(phone, credentials(sent, challenge, user, password))
  end

  defp credentials(sent, challenge, user, password) do
    secret = fn "test.local" -> {:ok, user, password || @users[user]} end
    {:ok, request} = Sippet.DigestAuth.make_request(sent, challenge, secret)
    {number, method} = sent.headers.cseq
    Message.put_header(request, :cseq, {number + 1, method})
  end

  defp register(phone, user, address, password \\ nil) do
    ask(phone, request(phone, :register, "sip:test.local", user, address), user, password)
    unless password, do: assert_came(phone, {200, :register})
  end

  defp invite(phone, user, called, address, body \\ nil) do
    invite = request(phone, :invite, "sip:#{called}@test.local", user, address)
    ask(phone, put_body(invite, body), user)
  end

  defp put_body(request, nil), do: request

  defp put_body(request, body) do
    request = Message.put_header(request, :content_type, {{"application", "sdp"}, %{}})
    %{request | body: body}
  end

  # A call that is answered: both dialogs.
  defp talk(alice, bob, address) do
    sent = invite(alice, "alice", "bob", address)
    got = assert_came(bob, :invite)
    reply(bob, got, 180)
    assert_came(alice, {180, :invite})
    ok = reply(bob, got, 200)
    {:ok, bobs} = Dialog.uas(got, ok)
    ok = assert_came(alice, {200, :invite})
    {:ok, alices} = Dialog.uac(sent, ok)
    send_request(alice, Dialog.build_ack(alices, ok))
    assert_came(bob, :ack)
    {alices, bobs, got}
  end

  defp hang_up(from, dialog, to) do
    {:ok, bye, _dialog} = Dialog.next_request(dialog, :bye)
    send_request(from, bye)
    bye = assert_came(to, :bye)
    reply(to, bye, 200)
    assert_came(from, {200, :bye})
    bye
  end

  defp record do
    assert_receive {:record, record}, 2_000
    record
  end

  defp times(record),
    do: for(time <- [:started, :ringing, :answered, :ended], record[time], do: time)

  describe "a registration" do
    test "is challenged, kept, and asked for by nobody else" do
      {stack, address, [alice]} = scene(["alice"])
      # RFC3261§10.3, step 4
      request = request(alice, :register, "sip:test.local", "bob", address)
      ask(alice, request, "alice")
      assert_came(alice, {403, :register})
      assert Sippet.stats(stack).core_failed == 0
    end

    test "with a wrong password is refused" do
      {_stack, address} = pbx()
      {alice, _address} = start_stack(ScriptedUserAgent)
      register(alice, "alice", address, "wrong")
      assert_came(alice, {401, :register})
      register(alice, "mallory", address, "wrong")
      assert_came(alice, {401, :register})
    end

    test "elsewhere is none of ours" do
      {_stack, address} = pbx()
      {alice, _address} = start_stack(ScriptedUserAgent)
      request = request(alice, :register, "sip:test.local", "alice", address)
      to = {"", URI.parse!("sip:alice@example.org"), %{}}
      ask(alice, Message.put_header(request, :to, to), "alice")
      assert_came(alice, {404, :register})
    end
  end

  describe "a call between two users" do
    test "is ended by either side, and comes by the PBX" do
      {stack, address, [alice, bob]} = scene(["alice", "bob"])

      for ends <- [:caller, :called] do
        {alices, bobs, got} = talk(alice, bob, address)
        [{"", own, _params}] = got.headers.record_route
        assert to_string(own) == uri(nil, address) <> ";lr"
        refute Message.has_header?(got, :proxy_authorization)
        assert got.headers.max_forwards == 69

        bye =
          if ends == :caller,
            do: hang_up(alice, alices, bob),
            else: hang_up(bob, bobs, alice)

        assert length(bye.headers.via) == 2
        record = record()
        assert {record.how, record.status} == {:"#{ends}_hung_up", 200}
        assert times(record) == [:started, :ringing, :answered, :ended]
        assert record.started <= record.ringing and record.ringing <= record.answered
        assert record.answered <= record.ended
        assert to_string(record.caller) == "sip:alice@test.local"
        assert to_string(record.called) == "sip:bob@test.local"
        {_host, port} = ScriptedUserAgent.local(bob)
        assert record.phone.port == port
        assert [{%URI{}, 200}] = record.branches
        assert PBX.calls(stack) == []
      end

      assert Sippet.stats(stack).core_failed == 0
    end

    test "rings all phones of the called" do
      {_stack, address, [alice, one, other]} = scene(["alice", "bob", "bob"])
      invite(alice, "alice", "bob", address)
      [first, second] = for phone <- [one, other], do: assert_came(phone, :invite)
      reply(other, second, 180)
      reply(one, first, 200)
      assert_came(alice, {200, :invite})
      reply(other, assert_came(other, :cancel), 200)
      reply(other, second, 487)
    end

    test "is cancelled while it rings" do
      {_stack, address, [alice, bob]} = scene(["alice", "bob"])
      sent = invite(alice, "alice", "bob", address)
      got = assert_came(bob, :invite)
      reply(bob, got, 180)
      assert_came(alice, {180, :invite})
      :ok = Sippet.cancel(alice, Client.Key.new(sent))
      reply(bob, assert_came(bob, :cancel), 200)
      reply(bob, got, 487)
      assert_came(alice, {487, :invite})
      record = record()
      assert {record.how, record.status, record.phone} == {:cancelled, 487, nil}
      assert times(record) == [:started, :ringing, :ended]
      assert [{_uri, 487}] = record.branches
    end

    test "is refused" do
      {_stack, address, [alice, bob]} = scene(["alice", "bob"])
      invite(alice, "alice", "bob", address)
      reply(bob, assert_came(bob, :invite), 603)
      assert_came(alice, {603, :invite})
      record = record()
      assert {record.how, record.status, record.phone} == {:refused, 603, nil}
      assert times(record) == [:started, :ended]
      assert [{_uri, 603}] = record.branches
    end

    test "of somebody else's name, or with a wrong password, is refused without a record" do
      {_stack, address, [alice, bob]} = scene(["alice", "bob"])
      request = request(alice, :invite, "sip:bob@test.local", "carol", address)
      ask(alice, request, "alice")
      assert_came(alice, {403, :invite})

      ask(
        alice,
        request(alice, :invite, "sip:bob@test.local", "alice", address),
        "alice",
        "wrong"
      )

      assert_came(alice, {407, :invite})
      refute_received {^bob, {:request, :invite, _request, _key}}
      refute_received {:record, _record}
    end

    test "to nobody is a 404, and to nobody's phone a 480" do
      {_stack, address, [alice]} = scene(["alice"])
      invite(alice, "alice", "nobody", address)
      assert_came(alice, {404, :invite})
      assert {:refused, 404} = record() |> then(&{&1.how, &1.status})
      invite(alice, "alice", "carol", address)
      assert_came(alice, {480, :invite})
      assert {:refused, 480} = record() |> then(&{&1.how, &1.status})
    end

    test "a call whose BYE does not come is lost after a while" do
      {stack, address, [alice, bob]} = scene(["alice", "bob"], max_call: 1)
      invite(alice, "alice", "bob", address)
      assert_came(bob, :invite)
      assert record().how == :lost
      assert PBX.calls(stack) == []
    end

    test "a call that is left when the PBX stops has its record" do
      {stack, address, [alice, bob]} = scene(["alice", "bob"])
      talk(alice, bob, address)
      stop_supervised!(stack)
      assert %{how: :stopped, status: 200} = record()
    end

    test "a record that raises does no harm" do
      test = self()
      fail = fn record -> send(test, {:record, record}) && raise "no disk" end
      {stack, address} = pbx(record: fail)
      alice = phone("alice", address)

      log =
        ExUnit.CaptureLog.capture_log(fn ->
          invite(alice, "alice", "busy", address)
          assert record().status == 486
          assert PBX.calls(stack) == []
        end)

      assert log =~ "no disk"
    end
  end

  describe "RFC3261§16.3 a request that can't be forwarded" do
    test "is answered" do
      {_stack, address, [alice]} = scene(["alice"])
      request = request(alice, :invite, "sip:bob@test.local", "alice", address)
      send_request(alice, Message.put_header(request, :max_forwards, 0))
      assert_came(alice, {483, :invite})
      send_request(alice, Message.put_header(request, :proxy_require, ["foo"]))
      assert_came(alice, {420, :invite})
    end

    test "a loop is a 482" do
      {_stack, address, [alice, bob]} = scene(["alice", "bob"])
      message = request(alice, :message, "sip:bob@test.local", "alice", address)
      sent = ask(alice, message, "alice")
      got = assert_came(bob, :message)
      branch = %{"branch" => Message.create_branch()}
      via = {{2, 0}, :udp, ScriptedUserAgent.local(bob), branch}
      # As a proxy would that sends it back.
      back = %{got | start_line: sent.start_line, target: nil}
      back = Message.put_headers(back, via: [via | got.headers.via], route: sent.headers.route)
      :ok = Sippet.send(bob, back)
      assert_came(bob, {482, :message})
    end

    test "a phone that is the PBX itself is not called" do
      {_stack, address} = pbx(nat: false)
      {alice, _address} = start_stack(ScriptedUserAgent)
      request = request(alice, :register, "sip:test.local", "alice", address)
      contact = {"", URI.parse!(uri("alice", address)), %{}}
      ask(alice, Message.put_header(request, :contact, [contact]), "alice")
      assert_came(alice, {200, :register})
      ask(alice, request(alice, :message, "sip:alice@test.local", "alice", address), "alice")
      assert_came(alice, {480, :message})
    end

    test "OPTIONS to the PBX itself says what it can" do
      {_stack, address, [alice]} = scene(["alice"])
      ask(alice, request(alice, :options, uri(nil, address), "alice", address), "alice")
      assert "INVITE" in assert_came(alice, {200, :options}).headers.allow
    end

    test "what belongs to no dialog of an extension is a 481" do
      {_stack, address, [alice]} = scene(["alice"])
      bye = request(alice, :bye, "sip:echo@test.local", "alice", address)
      {name, uri, _params} = bye.headers.to
      send_request(alice, Message.put_header(bye, :to, {name, uri, %{"tag" => "1"}}))
      assert_came(alice, {481, :bye})
    end
  end

  test "busy is busy" do
    {_stack, address, [alice]} = scene(["alice"])
    invite(alice, "alice", "busy", address)
    assert_came(alice, {486, :invite})
    record = record()
    assert {record.how, record.status, times(record)} == {:refused, 486, [:started, :ended]}
  end

  describe "echo" do
    # An offer, and the socket that it names.
    defp media do
      {:ok, socket} = :gen_udp.open(0, [:binary, ip: {127, 0, 0, 1}, active: true])
      {:ok, port} = :inet.port(socket)
      {socket, offer(port)}
    end

    defp offer(port, formats \\ "0 8", more \\ "") do
      "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n" <>
        "m=audio #{port} RTP/AVP #{formats}\r\n" <> more
    end

    defp rtp_port(%{body: body}) do
      [_all, port] = Regex.run(~r/^m=audio (\d+) /m, body)
      String.to_integer(port)
    end

    # Calls it: the dialog, and the port that it listens at.
    defp call_echo(alice, address, offer) do
      sent = invite(alice, "alice", "echo", address, offer)
      ok = assert_came(alice, {200, :invite})
      {:ok, dialog} = Dialog.uac(sent, ok)
      send_request(alice, Dialog.build_ack(dialog, ok))
      {dialog, ok}
    end

    defp bye(alice, dialog) do
      {:ok, bye, _dialog} = Dialog.next_request(dialog, :bye)
      send_request(alice, bye)
      assert_came(alice, {200, :bye})
    end

    defp rtp(number), do: <<0x80, 0, number::16, number * 160::32, 1::32, number::size(1_280)>>

    defp echoed(socket, port, numbers) do
      for number <- numbers do
        :ok = :gen_udp.send(socket, {127, 0, 0, 1}, port, rtp(number))
        assert_receive {:udp, ^socket, _ip, ^port, packet}, 2_000
        assert packet == rtp(number)
      end
    end

    test "sends every packet back, and to nobody else" do
      {stack, address, [alice]} = scene(["alice"])
      {socket, offer} = media()
      {dialog, ok} = call_echo(alice, address, offer)
      port = rtp_port(ok)
      assert length(echoed(socket, port, 1..20)) == 20

      {:ok, stranger} = :gen_udp.open(0, [:binary, ip: {127, 0, 0, 1}, active: true])
      :gen_udp.send(stranger, {127, 0, 0, 1}, port, rtp(1))
      echoed(socket, port, [21])
      refute_received {:udp, ^stranger, _ip, _port, _packet}

      [{_id, call, _type, _modules}] =
        DynamicSupervisor.which_children(Echo.Call.supervisor(stack))

      monitor = Process.monitor(:sys.get_state(call).echo)
      bye(alice, dialog)
      assert_receive {:DOWN, ^monitor, :process, _echo, _reason}
      record = record()
      assert {record.how, record.status} == {:caller_hung_up, 200}
      assert times(record) == [:started, :answered, :ended]
    end

    test "is silent on hold" do
      {_stack, address, [alice]} = scene(["alice"])
      {socket, offer} = media()
      {dialog, ok} = call_echo(alice, address, offer)
      echoed(socket, rtp_port(ok), [1])

      for {direction, answer} <- [
            {"inactive", "inactive"},
            {"recvonly", "sendonly"},
            {"sendrecv", "sendrecv"},
            {"sendonly", "recvonly"}
          ],
          reduce: dialog do
        dialog ->
          headers = [
            content_type: {{"application", "sdp"}, %{}},
            contact: [contact(alice, "alice")]
          ]

          {:ok, invite, dialog} =
            Dialog.next_request(dialog, :invite,
              headers: headers,
              body: offer <> "a=#{direction}\r\n"
            )

          send_request(alice, invite)
          ok = assert_came(alice, {200, :invite})
          assert ok.body =~ "a=#{answer}\r\n"
          assert rtp_port(ok) == rtp_port(ok)
          {:ok, dialog} = Dialog.receive_response(dialog, ok)
          send_request(alice, Dialog.build_ack(dialog, ok))

          if direction in ["sendrecv", "recvonly"] do
            echoed(socket, rtp_port(ok), [2])
          else
            :gen_udp.send(socket, {127, 0, 0, 1}, rtp_port(ok), rtp(3))
            refute_receive {:udp, ^socket, _ip, _port, _packet}, 30
          end

          dialog
      end
    end

    # RFC3264§8.4 - as RFC 2543 puts a call on hold: there is no direction in the offer
    test "is silent on hold by an address of zeros" do
      {_stack, address, [alice]} = scene(["alice"])
      {socket, offer} = media()
      {dialog, ok} = call_echo(alice, address, offer)
      echoed(socket, rtp_port(ok), [1])
      headers = [content_type: {{"application", "sdp"}, %{}}]
      held = String.replace(offer, "IP4 127.0.0.1\r\nt=", "IP4 0.0.0.0\r\nt=")
      {:ok, update, dialog} = Dialog.next_request(dialog, :update, headers: headers, body: held)
      send_request(alice, update)
      assert assert_came(alice, {200, :update}).body =~ "a=recvonly\r\n"
      :gen_udp.send(socket, {127, 0, 0, 1}, rtp_port(ok), rtp(2))
      refute_receive {:udp, ^socket, _ip, _port, _packet}, 30
      {:ok, update, _dialog} = Dialog.next_request(dialog, :update, headers: headers, body: offer)
      send_request(alice, update)
      assert assert_came(alice, {200, :update}).body =~ "a=sendrecv\r\n"
      echoed(socket, rtp_port(ok), [3])
    end

    test "answers each direction by its mirror" do
      for {zero, direction, answer} <- [
            {false, "", "sendrecv"},
            {false, "a=sendonly\r\n", "recvonly"},
            {false, "a=recvonly\r\n", "sendonly"},
            {false, "a=inactive\r\n", "inactive"},
            {true, "", "recvonly"},
            {true, "a=sendrecv\r\n", "recvonly"},
            {true, "a=sendonly\r\n", "recvonly"},
            {true, "a=recvonly\r\n", "inactive"},
            {true, "a=inactive\r\n", "inactive"}
          ],
          level <- [:session, :media] do
        audio = "m=audio 4000 RTP/AVP 0\r\n"
        own = if zero, do: "c=IN IP4 0.0.0.0\r\n", else: "c=IN IP4 192.0.2.9\r\n"

        offer =
          if level == :session,
            do: "v=0\r\n" <> own <> direction <> audio,
            else: "v=0\r\nc=IN IP4 192.0.2.8\r\n" <> audio <> own <> direction

        {:ok, sdp, echo?} = Echo.SDP.answer(offer, "192.0.2.1", 9_000, 0)
        assert sdp =~ "a=#{answer}\r\n"
        assert echo? == answer in ["sendrecv", "sendonly"]
      end

      # The stream's own address counts.
      offer = "v=0\r\nc=IN IP4 0.0.0.0\r\nm=audio 4000 RTP/AVP 0\r\nc=IN IP4 192.0.2.9\r\n"
      assert {:ok, _sdp, true} = Echo.SDP.answer(offer, "192.0.2.1", 9_000, 0)
    end

    test "listens to another source after another offer" do
      {_stack, address, [alice]} = scene(["alice"])
      {socket, offer} = media()
      {dialog, ok} = call_echo(alice, address, offer)
      echoed(socket, rtp_port(ok), [1])
      {other, offer} = media()
      headers = [content_type: {{"application", "sdp"}, %{}}]
      {:ok, update, _dialog} = Dialog.next_request(dialog, :update, headers: headers, body: offer)
      send_request(alice, update)
      assert_came(alice, {200, :update})
      echoed(other, rtp_port(ok), [2])
    end

    test "refreshes by re-INVITE where there is no UPDATE, with the session of before" do
      {stack, address, [alice]} = scene(["alice"])
      invite = request(alice, :invite, "sip:echo@test.local", "alice", address)
      timer = [{:supported, ["timer"]}, {"Session-Expires", ["90;refresher=uas"]}]
      sent = ask(alice, Message.put_headers(invite, [{:allow, ["INVITE"]} | timer]), "alice")
      ok = assert_came(alice, {200, :invite})
      {:ok, dialog} = Dialog.uac(sent, ok)
      send_request(alice, Dialog.build_ack(dialog, ok))
      [{_id, call, _, _}] = DynamicSupervisor.which_children(Echo.Call.supervisor(stack))
      :sys.replace_state(call, &put_in(&1.timer.refresh_at, &1.timer.refresh_at - 50_000))
      send(call, :session_timer)
      again = assert_came(alice, :invite)
      assert again.body == ok.body
      reply(alice, again, 200)
      assert_came(alice, :ack)
    end

    test "takes no other codec, and refuses what it can't read" do
      {_stack, address, [alice]} = scene(["alice"])

      for offer <- [offer(4_000, "96"), offer(0), "v=0\r\n", "m=", <<0xFF, 0>>] do
        invite(alice, "alice", "echo", address, offer)
        assert_came(alice, {488, :invite})
        assert record().status == 488
      end
    end

    test "answers each stream of the offer in its place" do
      video = "m=video 4002 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n"
      audio = "m=audio 4000 RTP/AVP 9 8 101\r\na=sendonly\r\n"
      session = "v=0\r\ns=-\r\na=inactive\r\n"
      {:ok, answer, false} = Echo.SDP.answer(session <> video <> audio, "192.0.2.1", 9_000, 3)
      assert answer =~ "c=IN IP4 192.0.2.1\r\n" and answer =~ "o=- 1 3 IN"
      assert [_session, "m=video 0 RTP/AVP 96\r\n" | _] = String.split(answer, ~r/(?=m=)/)
      assert answer =~ "m=audio 9000 RTP/AVP 8\r\na=recvonly\r\n"
      assert {:ok, _offer, true} = Echo.SDP.answer(nil, "192.0.2.1", 9_000, 0)

      {:ok, answer, true} =
        Echo.SDP.answer(session <> audio, "[2001:db8::1]", 9_000, 0) |> put_elem(2, true)

      assert answer =~ "c=IN IP6 2001:db8::1\r\n"
    end

    test "without an offer it makes one" do
      {_stack, address, [alice]} = scene(["alice"])
      {_dialog, ok} = call_echo(alice, address, nil)
      assert ok.body =~ "RTP/AVP 0 8"
    end

    test "has a session timer, refuses a short one, and is refreshed" do
      {_stack, address, [alice]} = scene(["alice"])
      invite = request(alice, :invite, "sip:echo@test.local", "alice", address)
      {timed, timer} = SessionTimer.put_request(SessionTimer.new(session_expires: 90), invite)
      sent = ask(alice, timed, "alice")
      ok = assert_came(alice, {200, :invite})
      {:ok, timer} = SessionTimer.receive_response(timer, ok, 0)
      assert timer.interval == 90
      {:ok, dialog} = Dialog.uac(sent, ok)
      send_request(alice, Dialog.build_ack(dialog, ok))
      {:ok, update, dialog} = Dialog.next_request(dialog, :update)
      {update, timer} = SessionTimer.put_request(timer, update)
      send_request(alice, update)
      ok = assert_came(alice, {200, :update})
      assert {:ok, %{interval: 90}} = SessionTimer.receive_response(timer, ok, 0)
      bye(alice, dialog)
    end

    test "hangs up when the session is not refreshed, and refreshes where it shall" do
      {stack, address, [alice]} = scene(["alice"])

      for by <- ["uac", "uas"] do
        invite = request(alice, :invite, "sip:echo@test.local", "alice", address)

        invite =
          Message.put_headers(invite, [
            {:supported, ["timer"]},
            {:allow, ["INVITE", "UPDATE"]},
            {"Session-Expires", ["90;refresher=#{by}"]}
          ])

        sent = ask(alice, invite, "alice")
        ok = assert_came(alice, {200, :invite})
        {:ok, dialog} = Dialog.uac(sent, ok)
        send_request(alice, Dialog.build_ack(dialog, ok))

        [{_id, call, _type, _modules}] =
          DynamicSupervisor.which_children(Echo.Call.supervisor(stack))

        # Time goes on by what its timer says.
        earlier =
          &%{
            &1
            | expires_at: &1.expires_at - 90_000,
              refresh_at: &1.refresh_at && &1.refresh_at - 50_000
          }

        soon = &%{&1 | refresh_at: &1.refresh_at && &1.refresh_at - 50_000}

        :sys.replace_state(
          call,
          &%{&1 | timer: if(by == "uac", do: earlier.(&1.timer), else: soon.(&1.timer))}
        )

        send(call, :session_timer)

        if by == "uas" do
          reply(
            alice,
            assert_came(alice, :update),
            200,
            &Message.put_header(&1, "Session-Expires", ["90;refresher=uac"])
          )

          # Its 200 has begun a new interval.
          wait_until(fn -> :sys.get_state(call).timer.refresh_at end)
          :sys.replace_state(call, &%{&1 | timer: earlier.(&1.timer)})
          send(call, :session_timer)
        end

        reply(alice, assert_came(alice, :bye), 200)
        assert record().how in [:called_hung_up, :process_ended]
      end
    end

    test "is cancelled before it has begun, or takes no more calls than it may" do
      {_stack, address, [alice]} = scene(["alice"], max_echo: 1)
      {dialog, _ok} = call_echo(alice, address, nil)
      invite(alice, "alice", "echo", address)
      assert_came(alice, {486, :invite})
      bye(alice, dialog)
    end

    test "gets its BYE when the PBX stops, and its record" do
      {stack, address, [alice]} = scene(["alice"])
      {_dialog, _ok} = call_echo(alice, address, nil)
      stop_supervised!(stack)
      assert_came(alice, :bye)
      assert record().how in [:called_hung_up, :process_ended]
    end

    test "an echo whose process is killed ends its call" do
      {stack, address, [alice]} = scene(["alice"])
      {_dialog, _ok} = call_echo(alice, address, nil)

      [{_id, call, _type, _modules}] =
        DynamicSupervisor.which_children(Echo.Call.supervisor(stack))

      %{echo: echo} = :sys.get_state(call)
      monitor = Process.monitor(echo)
      Process.exit(call, :kill)
      reply(alice, assert_came(alice, :bye), 200)
      assert_receive {:DOWN, ^monitor, :process, ^echo, _reason}
    end
  end

  describe "a subscription" do
    defp subscribe(phone, user, watched, event, address, expires \\ 600) do
      subscribe = request(phone, :subscribe, "sip:#{watched}@test.local", user, address)
      headers = [{"Event", [event]}, {:expires, expires}]
      ask(phone, Message.put_headers(subscribe, headers), user)
    end

    defp subscribed(phone, user, watched, event, address) do
      sent = subscribe(phone, user, watched, event, address)
      ok = assert_came(phone, {200, :subscribe})
      {:ok, subscription} = Subscription.receive_response(Subscription.subscriber(sent, 0), ok, 0)
      notified(phone, subscription)
    end

    defp notified(phone, subscription) do
      notify = assert_came(phone, :notify)
      {:ok, subscription} = Subscription.receive_notify(subscription, notify, 0)
      reply(phone, notify, 200)
      {subscription, notify}
    end

    defp state(%{body: body}) do
      [_all, state] = Regex.run(~r/<state>(\w+)</, body)
      state
    end

    test "tells of messages, is refreshed, and ends" do
      {stack, address, [alice]} = scene(["alice"])
      {subscription, notify} = subscribed(alice, "alice", "alice", "message-summary", address)
      assert notify.body =~ "Messages-Waiting: no\r\n"
      assert notify.body =~ "Message-Account: sip:alice@test.local\r\n"
      PBX.messages(stack, "bob", 7)
      PBX.messages(stack, "alice", 2, 5)
      {subscription, notify} = notified(alice, subscription)
      assert notify.body =~ "Messages-Waiting: yes\r\n"
      assert notify.body =~ "Voice-Message: 2/5\r\n"

      {:ok, again, subscription} = Subscription.refresh(subscription)
      send_request(alice, again)
      assert assert_came(alice, {200, :subscribe}).headers.expires == 600
      {subscription, _notify} = notified(alice, subscription)

      {:ok, last, subscription} = Subscription.unsubscribe(subscription, 0)
      send_request(alice, last)
      assert_came(alice, {200, :subscribe})
      {subscription, notify} = notified(alice, subscription)
      assert {subscription.state, subscription.reason} == {:terminated, "timeout"}
      assert notify.body =~ "Voice-Message: 2/5\r\n"
      send_request(alice, again)
      assert_came(alice, {481, :subscribe})
    end

    test "is refused where it must be" do
      {_stack, address, [alice]} = scene(["alice"])
      subscribe(alice, "alice", "bob", "message-summary", address)
      assert_came(alice, {403, :subscribe})
      subscribe(alice, "alice", "nobody", "dialog", address)
      assert_came(alice, {404, :subscribe})
      subscribe(alice, "alice", "bob", "presence", address)
      refused = assert_came(alice, {489, :subscribe})
      assert Message.get_header(refused, "Allow-Events") == ["message-summary, dialog"]
      subscribe(alice, "alice", "bob", "dialog", address, 5)
      assert_came(alice, {423, :subscribe})
    end

    test "ends when its time is over" do
      {stack, address, [alice]} = scene(["alice"])
      {subscription, _notify} = subscribed(alice, "alice", "bob", "dialog", address)
      watchers = Module.concat(stack, Watchers)

      :sys.replace_state(watchers, fn state ->
        [{id, entry}] = Map.to_list(state.notifier.entries)
        send(watchers, :timeout)
        at = -1_000_000_000_000
        state = put_in(state.notifier.times, :gb_sets.singleton({at, id}))
        put_in(state.notifier.entries[id], put_in(entry.subscription.expires_at, at))
      end)

      {subscription, _notify} = notified(alice, subscription)
      assert {subscription.state, subscription.reason} == {:terminated, "timeout"}
      assert Notifier.watchers(:sys.get_state(watchers).notifier) == %{}
    end

    test "of a phone that knows nothing of it ends" do
      {stack, address, [alice]} = scene(["alice"])
      {_subscription, _notify} = subscribed(alice, "alice", "alice", "message-summary", address)
      PBX.messages(stack, "alice", 1)
      reply(alice, assert_came(alice, :notify), 481)
      # The response has come when the next request of this phone is answered.
      ask(alice, request(alice, :options, uri(nil, address), "alice", address), "alice")
      assert_came(alice, {200, :options})
      PBX.messages(stack, "alice", 2)
      refute_receive {^alice, {:request, :notify, _request, _key}}, 50
    end

    test "shows a user's calls: idle, early, confirmed, idle" do
      {_stack, address, [alice, bob, carol]} = scene(["alice", "bob", "carol"])
      {subscription, notify} = subscribed(carol, "carol", "bob", "dialog", address)
      assert state(notify) == "terminated"
      assert notify.body =~ ~s(version="0" state="full" entity="sip:bob@test.local")
      {_alices, notify} = subscribed(carol, "carol", "alice", "dialog", address)
      assert state(notify) == "terminated"

      sent = invite(alice, "alice", "bob", address)
      got = assert_came(bob, :invite)
      reply(bob, got, 180)
      assert [{"alice", "early", "initiator"}, {"bob", "early", "recipient"}] = lamps(carol, 1)

      ok = reply(bob, got, 200)
      {:ok, bobs} = Dialog.uas(got, ok)
      assert [{"alice", "confirmed", _}, {"bob", "confirmed", _}] = lamps(carol, 2)
      ok = assert_came(alice, {200, :invite})
      {:ok, alices} = Dialog.uac(sent, ok)
      send_request(alice, Dialog.build_ack(alices, ok))
      assert_came(bob, :ack)

      # Who subscribes in the midst of a call sees it.
      {_subscription, notify} = subscribed(alice, "alice", "bob", "dialog", address)
      assert state(notify) == "confirmed"

      hang_up(bob, bobs, alice)
      assert [{"alice", "terminated", nil}, {"bob", "terminated", nil}] = lamps(carol, 3)
      assert subscription.state == :active
    end

    # The next NOTIFY for Alice and for Bob.
    defp lamps(carol, version) do
      for _user <- 1..2 do
        notify = assert_came(carol, :notify)
        reply(carol, notify, 200)
        assert notify.body =~ ~s(version="#{version}")
        [_all, user] = Regex.run(~r/entity="sip:(\w+)@/, notify.body)

        direction =
          with [_all, direction] <- Regex.run(~r/direction="(\w+)"/, notify.body), do: direction

        {user, state(notify), direction}
      end
      |> Enum.sort()
    end

    test "shows a call that is refused, and one that is cancelled" do
      {_stack, address, [alice, bob, carol]} = scene(["alice", "bob", "carol"])
      {_subscription, _notify} = subscribed(carol, "carol", "bob", "dialog", address)

      for ends <- [:refused, :cancelled] do
        sent = invite(alice, "alice", "bob", address)
        got = assert_came(bob, :invite)
        reply(bob, got, 180)
        assert_came(alice, {180, :invite})
        notify = assert_came(carol, :notify)
        assert state(notify) == "early"
        reply(carol, notify, 200)

        if ends == :refused do
          reply(bob, got, 486)
        else
          :ok = Sippet.cancel(alice, Client.Key.new(sent))
          reply(bob, assert_came(bob, :cancel), 200)
          reply(bob, got, 487)
        end

        notify = assert_came(carol, :notify)
        assert state(notify) == "terminated"
        reply(carol, notify, 200)
        assert record().how == ends
        assert_receive {^alice, {:response, :invite, status, _response, _key}} when status >= 486
      end
    end

    test "of a phone that has gone ends" do
      {stack, address, [alice]} = scene(["alice"])
      {_subscription, _notify} = subscribed(alice, "alice", "alice", "message-summary", address)
      PBX.messages(stack, "alice", 1)
      assert_came(alice, :notify)
      watchers = Module.concat(stack, Watchers)
      [branch] = Map.keys(:sys.get_state(watchers).notifier.sent)
      key = %Client.Key{branch: branch, method: :notify}
      send(watchers, {:sippet, stack, key, {:error, :timeout}})
      assert Notifier.watchers(:sys.get_state(watchers).notifier) == %{}
    end

    test "is told when the PBX stops" do
      {stack, address, [alice]} = scene(["alice"])
      {subscription, _notify} = subscribed(alice, "alice", "bob", "dialog", address)
      stop_supervised!(stack)
      notify = assert_came(alice, :notify)
      {:ok, subscription} = Subscription.receive_notify(subscription, notify, 0)
      assert {subscription.state, subscription.reason} == {:terminated, "deactivated"}
    end
  end
end
