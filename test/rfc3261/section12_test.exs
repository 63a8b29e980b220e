defmodule Sippet.RFC3261.Section12Test do
  use Sippet.DialogCase, async: true

  @no_contact [
    nil,
    "*",
    [{"", URI.parse!("tel:+1-201-555-0123"), %{}}],
    [{"", URI.parse!("sip:a@192.0.2.8"), %{}}, {"", URI.parse!("sip:b@192.0.2.8"), %{}}]
  ]

  @record_route ["sip:p2.biloxi.com;lr;x=1", "sip:p1.atlanta.com;lr;y"]

  describe "RFC3261§12.1 a dialog" do
    test "has one ID at both ends, with the tags exchanged" do
      assert Dialog.id(alice()) == {"call", "a", "b"}
      assert Dialog.id(bob()) == {"call", "b", "a"}
    end

    test "is that of the messages of both ends" do
      assert Dialog.id(answer(invite(), 180)) == Dialog.id(alice())
      assert Dialog.id(alices(:bye, 8)) == Dialog.id(bob())
      assert Dialog.id(bobs(:bye, 1)) == Dialog.id(alice())
    end
  end

  describe "RFC3261§12.1.1 the called side" do
    test "gives the Record-Route back as it came, in its order" do
      lines = """
      Record-Route: <sip:p2.biloxi.com;lr;x=1>;kept=yes
      Record-Route: "P" <sip:p1.atlanta.com;lr;y>;z
      """

      text = """
      INVITE sip:bob@192.0.2.4 SIP/2.0
      Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1
      From: <sip:alice@atlanta.com>;tag=a
      To: <sip:bob@biloxi.com>
      Call-ID: call
      CSeq: 7 INVITE
      Contact: <sip:alice@192.0.2.1>
      """

      invite = Message.parse!(text <> lines)

      for status <- [180, 200] do
        response = invite |> Message.to_response(status) |> Message.to_string()
        assert response =~ String.replace(lines, "\n", "\r\n")
      end
    end

    test "has the Record-Route as its route set, in its order and with all URI parameters" do
      assert bob(record_route: route(@record_route)).route_set == route(@record_route)
    end

    test "has an empty route set without one, whatever the Route was" do
      assert bob(route: route(["sip:p.atlanta.com;lr"])).route_set == []
    end

    test "has the Contact as its remote target" do
      contact = [address("sip:alice@192.0.2.9:5070;transport=tcp")]

      assert to_string(bob(contact: contact).remote_target) ==
               "sip:alice@192.0.2.9:5070;transport=tcp"
    end

    test "has the number of the request as its remote one, and no local one" do
      assert %{remote_seq: 7, local_seq: nil} = bob()
    end

    test "has the Call-ID, the tag of its response, and that of the From" do
      assert %{call_id: "call", local_tag: "b", remote_tag: "a"} = bob()
    end

    test "takes a From without a tag, and has null for it" do
      assert %{remote_tag: nil} = bob(from: address("sip:alice@atlanta.com"))
    end

    test "has From's URI as the remote one, and To's as the local one" do
      assert %{remote: {"", remote, _}, local: {"", local, _}} = bob()

      assert {to_string(remote), to_string(local)} ==
               {"sip:alice@atlanta.com", "sip:bob@biloxi.com"}
    end
  end

  describe "RFC3261§12.1.2 the caller" do
    test "has the Record-Route in reverse as its route set, with all URI parameters" do
      dialog = alice(200, record_route: route(@record_route))
      assert dialog.route_set == @record_route |> Enum.reverse() |> route()
    end

    test "has an empty route set without one, whatever its Route was" do
      invite = invite(route: route(["sip:p.atlanta.com;lr"]))
      assert {:ok, %{route_set: []}} = Dialog.uac(invite, answer(invite, 200))
    end

    test "has the Contact of the response as its remote target" do
      dialog = alice(200, contact: [address("sip:bob@192.0.2.8;transport=tcp")])
      assert to_string(dialog.remote_target) == "sip:bob@192.0.2.8;transport=tcp"
    end

    test "has the number of its request as the local one, and no remote one" do
      assert %{local_seq: 7, remote_seq: nil} = alice()
    end

    test "has the Call-ID, its own tag, and that of the response" do
      assert %{call_id: "call", local_tag: "a", remote_tag: "b"} = alice()
    end

    test "takes a 2xx without a To tag, and has null for it" do
      assert %{remote_tag: nil} = alice(200, to: address("sip:bob@biloxi.com"))
    end

    test "has To's URI as the remote one, and From's as the local one" do
      assert %{remote: {"", remote, _}, local: {"", local, _}} = alice()

      assert {to_string(remote), to_string(local)} ==
               {"sip:bob@biloxi.com", "sip:alice@atlanta.com"}
    end
  end

  describe "RFC3261§12.2.1.1 a request within a dialog" do
    test "has the remote URI and tag in To, and the local ones in From" do
      {request, _dialog} = next(alice(), :info)
      assert request.headers.to == address("sip:bob@biloxi.com", "b")
      assert request.headers.from == address("sip:alice@atlanta.com", "a")

      {request, _dialog} = next(bob(), :info)
      assert request.headers.to == address("sip:alice@atlanta.com", "a")
      assert request.headers.from == address("sip:bob@biloxi.com", "b")
    end

    test "leaves a tag out that is null" do
      {request, _dialog} = next(bob(from: address("sip:alice@atlanta.com")), :info)
      assert request.headers.to == address("sip:alice@atlanta.com")

      {request, _dialog} = next(alice(200, to: address("sip:bob@biloxi.com")), :info)
      assert request.headers.to == address("sip:bob@biloxi.com")
    end

    test "has the Call-ID of the dialog" do
      assert {%{headers: %{call_id: "call"}}, _dialog} = next(alice(), :info)
    end

    test "has the next number, with its method" do
      {first, dialog} = next(alice(), :info)
      {second, _dialog} = next(dialog, "PING")
      assert {first.headers.cseq, second.headers.cseq} == {{8, :info}, {9, "PING"}}
    end

    test "has a first number below 2**31" do
      {first, dialog} = next(bob(), :info)
      {second, _dialog} = next(dialog, :info)
      assert {number, :info} = first.headers.cseq
      assert number in 0..0x7FFFFFFF
      assert second.headers.cseq == {number + 1, :info}
    end

    test "goes to the remote target without a route set, and has no Route" do
      {request, _dialog} = next(alice(), :info)
      assert to_string(request.start_line.request_uri) == "sip:bob@192.0.2.4"
      refute Message.has_header?(request, :route)
    end

    test "has the route set in Route, where a loose router is first" do
      {request, _dialog} = next(alice(200, record_route: route(@record_route)), :info)
      assert to_string(request.start_line.request_uri) == "sip:bob@192.0.2.4"
      assert request.headers.route == @record_route |> Enum.reverse() |> route()
    end

    # The example of the clause. A Record-Route of the caller is read from its end.
    test "has a strict router in its Request-URI, and the remote target as the last Route" do
      record_route = [
        "sip:proxy4",
        "sip:proxy3;lr;x=1",
        "sip:proxy2",
        "sip:proxy1;method=INFO?a=b"
      ]

      {request, _dialog} = next(alice(200, record_route: route(record_route)), :info)
      assert to_string(request.start_line.request_uri) == "sip:proxy1"

      assert request.headers.route ==
               route(["sip:proxy2", "sip:proxy3;lr;x=1", "sip:proxy4", "sip:bob@192.0.2.4"])
    end

    test "is one that may be sent: with a Via, a branch of its own and Max-Forwards" do
      {first, dialog} = next(alice(), :info)
      {second, _dialog} = next(dialog, :info)

      assert [{{2, 0}, :any, {"", 0}, %{"branch" => "z9hG4bK" <> _}}] = first.headers.via

      assert hd(first.headers.via) != hd(second.headers.via)
      assert first.headers.max_forwards == 70
    end
  end

  describe "RFC3261§12.2.1.2 a response within a dialog" do
    test "that is a 2xx to a target refresh request moves the remote target, if it has a Contact" do
      moved = answer(alices(:invite, 8), 200, contact: [address("sip:bob@192.0.2.8")])
      assert received(alice(), moved).remote_target.host == "192.0.2.8"

      still = answer(alices(:invite, 8), 200, contact: nil)
      assert received(alice(), still).remote_target.host == "192.0.2.4"

      other = answer(alices(:info, 8), 200, contact: [address("sip:bob@192.0.2.8")])
      assert received(alice(), other).remote_target.host == "192.0.2.4"
    end

    test "that is a 481 or a 408 ends the dialog, and no other refusal does" do
      for {status, state} <- [
            {481, :terminated},
            {408, :terminated},
            {486, :confirmed},
            {500, :confirmed}
          ] do
        {_request, dialog} = next(alice(), :info)
        assert received(dialog, answer(alices(:info, 8), status)).state == state
      end
    end

    test "that never comes ends the dialog" do
      {request, dialog} = next(alice(), :info)

      assert Dialog.receive_error(dialog, request.start_line.method, :timeout).state ==
               :terminated
    end
  end

  describe "RFC3261§12.2.2 a request that comes within a dialog" do
    test "sets the remote number where there was none" do
      assert {:ok, %{remote_seq: 3}} = Dialog.receive_request(alice(), bobs(:info, 3))
    end

    test "gets 500 where its number is lower than the last" do
      assert {:error, response} = Dialog.receive_request(bob(), alices(:info, 6))
      assert response.start_line.status_code == 500
      assert response.headers.cseq == {6, :info}
    end

    test "may leave numbers out, and its own becomes the last" do
      assert {:ok, dialog} = Dialog.receive_request(bob(), alices(:info, 99))
      assert dialog.remote_seq == 99
      assert {:error, _response} = Dialog.receive_request(dialog, alices(:info, 98))
    end

    test "moves the remote target, if it is a target refresh request with a Contact" do
      contact = [contact: [address("sip:alice@192.0.2.9")]]

      for {request, host} <- [
            {alices(:invite, 8, contact), "192.0.2.9"},
            {alices(:invite, 8), "192.0.2.1"},
            {alices(:info, 8, contact), "192.0.2.1"}
          ] do
        # The call was answered, and acknowledged.
        {:ok, dialog} = Dialog.receive_request(bob(), alices(:ack, 7))
        assert {:ok, dialog} = Dialog.receive_request(dialog, request)
        # A re-INVITE may be refused, and then moves nothing.
        dialog = Dialog.respond(dialog, answer(request, 200))
        assert dialog.remote_target.host == host
      end
    end

    test "gets 400 where it is a target refresh request and its Contact is no SIP URI" do
      for contact <- tl(@no_contact) do
        reinvite = alices(:invite, 8, contact: contact)
        assert {:error, response} = Dialog.receive_request(acknowledged_bob(), reinvite)
        assert response.start_line.status_code == 400
      end
    end
  end

  describe "RFC3261§12.1 the state of a dialog" do
    test "is early with a response from 101 to 199, and confirmed with a 2xx" do
      for {status, state} <- [{180, :early}, {183, :early}, {199, :early}, {200, :confirmed}] do
        assert %{state: ^state, role: :uac} = alice(status, [])
        assert %{state: ^state, role: :uas} = bob([], status)
      end
    end

    test "is early by a response without a Contact" do
      assert {:ok, %{state: :early}} = Dialog.uac(invite(), answer(invite(), 180, contact: nil))
    end

    test "is none by a 100, a provisional response without a To tag, or a refusal" do
      no_tag = [to: address("sip:bob@biloxi.com")]

      for response <- [
            answer(invite(), 100),
            answer(invite(), 180, no_tag),
            answer(invite(), 302),
            answer(invite(), 486)
          ] do
        assert {:error, _reason} = Dialog.uac(invite(), response)
      end
    end
  end

  describe "RFC3261§12.1.1 a request that makes a dialog" do
    test "gets 400 where its Contact is not one SIP URI" do
      for contact <- @no_contact do
        invite = invite(contact: contact)
        assert {:error, response} = Dialog.uas(invite, answer(invite, 200))
        assert response.start_line.status_code == 400
      end
    end

    test "gets 400 where it asks for sips: and has sip: in its Contact" do
      invite = put_in(invite().start_line.request_uri, URI.parse!("sips:bob@biloxi.com"))
      assert {:error, response} = Dialog.uas(invite, answer(invite, 200))
      assert response.start_line.status_code == 400
    end
  end

  describe "RFC3261§12.1.2 a 2xx that makes a dialog" do
    test "makes none where its Contact is not one SIP URI" do
      for contact <- @no_contact do
        response = answer(invite(), 200, contact: contact)
        assert {:error, reason} = Dialog.uac(invite(), response)
        assert reason in [:no_contact, :bad_contact]
      end
    end

    test "makes none where sips: was asked for and its Contact is sip:" do
      contact = [contact: [address("sips:alice@192.0.2.1")]]
      invite = put_in(invite(contact).start_line.request_uri, URI.parse!("sips:bob@biloxi.com"))
      assert Dialog.uac(invite, answer(invite, 200)) == {:error, :bad_contact}
    end
  end
end
