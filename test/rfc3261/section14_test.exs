defmodule Sippet.RFC3261.Section14Test do
  use Sippet.DialogCase, async: true

  describe "RFC3261§14.1 a re-INVITE" do
    test "is a request within the dialog, with its Call-ID, tags and next number" do
      {reinvite, _dialog} = next(alice(), :invite)
      assert Dialog.id(reinvite) == Dialog.id(bob())
      assert reinvite.headers.cseq == {8, :invite}
      assert to_string(reinvite.start_line.request_uri) == "sip:bob@192.0.2.4"
    end

    test "that is refused leaves the remote target and the route set" do
      {_reinvite, dialog} = next(alice(), :invite)
      moved = [contact: [address("sip:bob@192.0.2.8")], record_route: route(["sip:p;lr"])]

      for status <- [302, 401, 488, 491, 500, 603] do
        later = received(dialog, answer(alices(:invite, 8), status, moved))
        assert later.remote_target == dialog.remote_target
        assert later.route_set == dialog.route_set
        assert {%{headers: %{cseq: {9, :info}}}, _dialog} = next(later, :info)
      end
    end

    test "that never gets a response ends the dialog, and so does one that gets 481 or 408" do
      {reinvite, dialog} = next(alice(), :invite)

      assert Dialog.receive_error(dialog, reinvite.start_line.method, :timeout).state ==
               :terminated

      for status <- [481, 408] do
        assert received(dialog, answer(alices(:invite, 8), status)).state == :terminated
      end
    end

    test "is tried again after 2.1 to 4 s by who made the Call-ID, and after 0 to 2 s by the other" do
      for {dialog, range} <- [{alice(), 2_100..4_000}, {bob(), 0..2_000}] do
        delays = for _ <- 1..1_000, do: Dialog.retry_delay(dialog)
        assert Enum.all?(delays, &(&1 in range and rem(&1, 10) == 0))
        assert length(Enum.uniq(delays)) > 50
      end
    end
  end

  describe "RFC3261§14.1 a second INVITE" do
    test "waits for the final response to the first of one's own" do
      {_reinvite, dialog} = next(alice(), :invite)
      assert Dialog.next_request(dialog, :invite) == {:error, :invite_in_progress}

      ringing = received(dialog, answer(alices(:invite, 8), 180))
      assert Dialog.next_request(ringing, :invite) == {:error, :invite_in_progress}

      for status <- [200, 488, 491] do
        later = received(dialog, answer(alices(:invite, 8), status))
        assert {%{headers: %{cseq: {9, :invite}}}, _dialog} = next(later, :invite)
      end
    end

    test "waits for the end of the other side's" do
      {:ok, dialog} = Dialog.receive_request(acknowledged_bob(), alices(:invite, 8))
      assert Dialog.next_request(dialog, :invite) == {:error, :invite_in_progress}

      answered = Dialog.respond(dialog, answer(alices(:invite, 8), 200))
      assert {%{headers: %{cseq: {_, :invite}}}, _dialog} = next(answered, :invite)

      refused = Dialog.respond(dialog, answer(alices(:invite, 8), 488))
      assert {%{headers: %{cseq: {_, :invite}}}, _dialog} = next(refused, :invite)
    end

    test "is not waited for by other requests" do
      {_reinvite, dialog} = next(alice(), :invite)
      assert {%{headers: %{cseq: {9, :info}}}, _dialog} = next(dialog, :info)
    end
  end

  describe "RFC3261§14.2 an INVITE that comes" do
    test "before the final response to the one before it gets 500 with Retry-After of 0 to 10 s" do
      {:ok, dialog} = Dialog.receive_request(acknowledged_bob(), alices(:invite, 8))

      seconds =
        for _ <- 1..300 do
          assert {:error, response} = Dialog.receive_request(dialog, alices(:invite, 9))
          assert response.start_line.status_code == 500
          assert {seconds, "", %{}} = response.headers.retry_after
          seconds
        end

      assert Enum.all?(seconds, &(&1 in 0..10))
      assert length(Enum.uniq(seconds)) > 3
    end

    test "while one's own is in progress gets 491" do
      {_reinvite, dialog} = next(alice(), :invite)
      assert {:error, response} = Dialog.receive_request(dialog, bobs(:invite, 3))
      assert response.start_line.status_code == 491
    end

    test "and is refused so leaves the remote target" do
      contact = [contact: [address("sip:bob@192.0.2.8")]]
      {_reinvite, dialog} = next(alice(), :invite)
      assert {:error, _response} = Dialog.receive_request(dialog, bobs(:invite, 3, contact))
      later = received(dialog, answer(alices(:invite, 8), 488))
      assert later.remote_target.host == "192.0.2.4"
    end
  end
end
