defmodule Sippet.DialogTest do
  use ExUnit.Case, async: true

  alias Sippet.{Dialog, Message, URI}

  doctest Dialog

  defp address(uri, params \\ %{}, name \\ ""), do: {name, URI.parse!(uri), params}
  defp route(uris), do: for(uri <- uris, do: address(uri))

  defp invite(headers \\ %{}) do
    headers =
      Map.merge(
        %{
          via: [{{2, 0}, :udp, {"192.0.2.1", 5060}, %{"branch" => "z9hG4bK1"}}],
          from: address("sip:alice@atlanta.com", %{"tag" => "a", "x" => "1"}, "Alice"),
          to: address("sip:bob@biloxi.com"),
          call_id: "call",
          cseq: {7, :invite},
          contact: [address("sip:alice@192.0.2.1")]
        },
        headers
      )

    %{Message.build_request(:invite, "sip:bob@biloxi.com") | headers: headers}
  end

  defp ok(invite, headers \\ %{}) do
    response = Message.to_response(invite, 200)
    response = put_in(response.headers.to, address("sip:bob@biloxi.com", %{"tag" => "b"}))
    %{response | headers: Map.merge(response.headers, headers)}
  end

  defp callee_contact, do: %{contact: [address("sip:bob@192.0.2.4:5070;transport=udp")]}

  defp uac(record_route \\ nil) do
    headers = if record_route, do: %{record_route: route(record_route)}, else: %{}
    invite = invite()
    {:ok, dialog} = Dialog.uac(invite, ok(invite, Map.merge(callee_contact(), headers)))
    dialog
  end

  defp uas(record_route \\ []) do
    invite = invite(%{record_route: route(record_route)})
    {:ok, dialog} = Dialog.uas(invite, ok(invite))
    dialog
  end

  defp in_dialog(method, number, headers \\ %{}) do
    invite = invite(Map.merge(%{cseq: {number, method}}, headers))
    put_in(invite.start_line.method, method)
  end

  describe "RFC3261§12.1.1 UAS behavior" do
    test "route set, remote target, sequence numbers, tags and URIs are those of the request" do
      dialog = uas(["sip:p2;lr", "sip:p1;lr"])

      assert Dialog.id(dialog) == {"call", "b", "a"}
      assert dialog.route_set == route(["sip:p2;lr", "sip:p1;lr"])
      assert to_string(dialog.remote_target) == "sip:alice@192.0.2.1"
      assert {dialog.local_seq, dialog.remote_seq} == {nil, 7}
      assert dialog.local == address("sip:bob@biloxi.com", %{"tag" => "b"})
      assert dialog.remote == address("sip:alice@atlanta.com", %{"tag" => "a"}, "Alice")
    end

    test "a request without Contact makes none" do
      invite = Message.delete_header(invite(), :contact)
      assert Dialog.uas(invite, ok(invite)) == {:error, :no_contact}
    end
  end

  describe "a header that is text because a part of it is malformed" do
    @contacts ["<sip:a b@192.0.2.9>, <sip:bob@192.0.2.4>", "<sip:bob@192.0.2.5>"]

    defp text(message, name, lines), do: Message.put_header(message, name, lines)

    test "has contacts that are used, the first as remote target" do
      invite = invite()
      response = text(ok(invite), "Contact", @contacts)
      assert {:ok, dialog} = Dialog.uac(invite, response)
      assert to_string(dialog.remote_target) == "sip:bob@192.0.2.4"

      assert {:ok, dialog} = Dialog.uas(text(invite, "Contact", @contacts), ok(invite))
      assert to_string(dialog.remote_target) == "sip:bob@192.0.2.4"
    end

    test "refreshes the target, or leaves it where it has none" do
      dialog = uas()
      update = text(in_dialog(:update, 8), "Contact", @contacts)
      assert {:ok, dialog} = Dialog.receive_request(dialog, update)
      assert to_string(dialog.remote_target) == "sip:bob@192.0.2.4"

      update = text(in_dialog(:update, 9), "Contact", ["<sip:a b@192.0.2.9>", "*"])
      assert {:ok, %{remote_target: target}} = Dialog.receive_request(dialog, update)
      assert target == dialog.remote_target
    end

    test "makes no dialog where no contact is good" do
      for lines <- [["<sip:a b@192.0.2.9>"], ["*, <sip:"], ["*"]] do
        invite = text(invite(), "Contact", lines)
        assert Dialog.uas(invite, ok(invite)) == {:error, :no_contact}
      end
    end

    test "makes no dialog where it is a Record-Route, which can't be followed" do
      lines = ["<sip:p2;lr>, <sip:p 1;lr>"]
      invite = text(invite(), "Record-Route", lines)
      assert Dialog.uas(invite, ok(invite)) == {:error, :malformed_record_route}

      response = text(ok(invite(), callee_contact()), "Record-Route", lines)
      assert Dialog.uac(invite(), response) == {:error, :malformed_record_route}
    end

    test "comes so from the wire" do
      text = """
      INVITE sip:bob@biloxi.com SIP/2.0
      Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1
      From: <sip:alice@atlanta.com>;tag=a
      To: <sip:bob@biloxi.com>
      Call-ID: call
      CSeq: 7 INVITE
      Contact: <sip:a b@192.0.2.9>, <sip:alice@192.0.2.1>
      """

      invite = Message.parse!(text)
      assert {:ok, dialog} = Dialog.uas(invite, Message.to_response(invite, 200))
      assert to_string(dialog.remote_target) == "sip:alice@192.0.2.1"

      invite = Message.parse!(text <> "Record-Route: <sip:p 1;lr>\n")
      response = Message.to_response(invite, 200)
      assert Dialog.uas(invite, response) == {:error, :malformed_record_route}
      assert response.headers["Record-Route"] == ["<sip:p 1;lr>"]
    end
  end

  describe "RFC3261§12.1.2 UAC behavior" do
    test "the route set is the Record-Route in reverse" do
      dialog = uac(["sip:p2;lr", "sip:p1;lr"])

      assert Dialog.id(dialog) == {"call", "a", "b"}
      assert dialog.route_set == route(["sip:p1;lr", "sip:p2;lr"])
      assert to_string(dialog.remote_target) == "sip:bob@192.0.2.4:5070;transport=udp"
      assert {dialog.local_seq, dialog.remote_seq} == {7, nil}
    end

    test "a response without Contact makes none" do
      invite = invite()
      assert Dialog.uac(invite, ok(invite)) == {:error, :no_contact}
    end

    test "the messages of both sides belong to it" do
      invite = invite()
      assert Dialog.id(ok(invite)) == Dialog.id(uac())

      assert Dialog.id(in_dialog(:bye, 8, %{to: address("sip:b@b.com", %{"tag" => "b"})})) ==
               Dialog.id(uas())
    end
  end

  describe "RFC3261§12.2.1.1 generating the request" do
    test "numbers go up by one, and the first may be any" do
      {request, dialog} = Dialog.build_request(uac(), :info)
      assert request.headers.cseq == {8, :info}
      assert {%{headers: %{cseq: {9, :bye}}}, _dialog} = Dialog.build_request(dialog, :bye)
      assert {%{headers: %{cseq: {1, :bye}}}, _dialog} = Dialog.build_request(uas(), :bye)
    end

    test "To and From have the URIs and tags of the dialog, and a null tag is left out" do
      {request, _dialog} = Dialog.build_request(uas(), :bye)
      assert request.headers.from == address("sip:bob@biloxi.com", %{"tag" => "b"})
      assert request.headers.to == address("sip:alice@atlanta.com", %{"tag" => "a"}, "Alice")
      assert request.headers.call_id == "call"

      invite = invite(%{from: address("sip:alice@atlanta.com")})
      {:ok, dialog} = Dialog.uas(invite, ok(invite))
      assert {%{headers: %{to: {_, _, %{}}}}, _dialog} = Dialog.build_request(dialog, :bye)
      assert dialog.remote_tag == nil
    end

    test "without a route set the remote target is the Request-URI" do
      {request, _dialog} = Dialog.build_request(uac(), :bye)
      assert to_string(request.start_line.request_uri) == "sip:bob@192.0.2.4:5070;transport=udp"
      refute Map.has_key?(request.headers, :route)
      assert request.target == nil
    end

    test "a route set of loose routers goes into Route" do
      {request, _dialog} = Dialog.build_request(uac(["sip:p2;lr", "sip:p1;lr;x=1"]), :bye)
      assert request.headers.route == route(["sip:p1;lr;x=1", "sip:p2;lr"])
      assert request.start_line.request_uri.host == "192.0.2.4"
      assert request.target == nil
    end

    # The example of the clause, in the order of a Record-Route.
    test "a first strict router gets its URI into the Request-URI, and the request" do
      record_route = [
        "sip:proxy4",
        "sip:proxy3;lr",
        "sip:proxy2;lr",
        "sip:proxy1:5090;method=INVITE?a=b"
      ]

      {request, _dialog} = Dialog.build_request(uac(record_route), :bye)

      assert to_string(request.start_line.request_uri) == "sip:proxy1:5090"

      assert request.headers.route ==
               route(
                 ~w(sip:proxy2;lr sip:proxy3;lr sip:proxy4 sip:bob@192.0.2.4:5070;transport=udp)
               )

      assert request.target == {:udp, "proxy1", 5090}
    end
  end

  describe "RFC3261§13.2.2.4 the ACK of a 2xx" do
    test "has the number of its INVITE and leaves the dialog's alone" do
      invite = invite()
      response = ok(invite, callee_contact())
      {:ok, dialog} = Dialog.uac(invite, response)
      assert Dialog.build_ack(dialog, response).headers.cseq == {7, :ack}
      assert Dialog.build_ack(dialog, response).start_line.request_uri.host == "192.0.2.4"
    end
  end

  describe "RFC3261§12.2.1.2 processing the responses" do
    test "a 2xx to a target refresh request moves the remote target" do
      moved = %{contact: [address("sip:bob@192.0.2.9")]}
      reinvite = ok(invite(), moved)
      assert Dialog.receive_response(uac(), reinvite).remote_target.host == "192.0.2.9"

      bye = put_in(reinvite.headers.cseq, {8, :bye})
      assert Dialog.receive_response(uac(), bye) == uac()
      assert Dialog.receive_response(uac(), put_in(reinvite.start_line.status_code, 180)) == uac()
      assert Dialog.receive_response(uac(), ok(invite())) == uac()
    end
  end

  describe "RFC3261§12.2.2 UAS behavior" do
    test "a lower number gets 500, and gaps are nothing" do
      assert {:error, %{start_line: %{status_code: 500}}} =
               Dialog.receive_request(uas(), in_dialog(:bye, 6))

      assert {:ok, %{remote_seq: 99}} = Dialog.receive_request(uas(), in_dialog(:info, 99))
      assert {:ok, %{remote_seq: 3}} = Dialog.receive_request(uac(), in_dialog(:info, 3))
    end

    test "an ACK is not counted" do
      assert Dialog.receive_request(uas(), in_dialog(:ack, 1)) == {:ok, uas()}
    end

    test "a target refresh request moves the remote target, and any other does not" do
      moved = %{contact: [address("sip:alice@192.0.2.9")]}
      {:ok, dialog} = Dialog.receive_request(uas(), in_dialog(:invite, 8, moved))
      assert dialog.remote_target.host == "192.0.2.9"
      {:ok, dialog} = Dialog.receive_request(uas(), in_dialog(:info, 8, moved))
      assert dialog.remote_target.host == "192.0.2.1"
    end
  end
end
