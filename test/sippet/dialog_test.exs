defmodule Sippet.DialogTest do
  use ExUnit.Case, async: true

  alias Sippet.{Dialog, Flow, Message, URI}

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

  defp response(request, status, headers \\ %{}) do
    response = Message.to_response(request, status)
    to = Map.get(headers, :to, address("sip:bob@biloxi.com", %{"tag" => "b"}))
    %{response | headers: Map.merge(response.headers, Map.put(headers, :to, to))}
  end

  defp ok(request, headers \\ %{}), do: response(request, 200, headers)

  defp callee_contact, do: %{contact: [address("sip:bob@192.0.2.4:5070;transport=udp")]}

  defp uac(record_route \\ nil) do
    headers = if record_route, do: %{record_route: route(record_route)}, else: %{}
    invite = invite()
    {:ok, dialog} = Dialog.uac(invite, ok(invite, Map.merge(callee_contact(), headers)))
    dialog
  end

  defp uas(record_route \\ []) do
    invite = invite(%{record_route: route(record_route)})
    {:ok, dialog} = Dialog.uas(invite, ok(invite, callee_contact()))
    dialog
  end

  # The caller's early dialog, by a 180.
  defp early_uac(headers \\ callee_contact()) do
    {:ok, dialog} = Dialog.uac(invite(), response(invite(), 180, headers))
    dialog
  end

  defp early_uas do
    {:ok, dialog} = Dialog.uas(invite(), response(invite(), 180, callee_contact()))
    dialog
  end

  # A request within the called side's dialog.
  defp in_dialog(method, number, headers \\ %{}) do
    to = address("sip:bob@biloxi.com", %{"tag" => "b"})
    invite = invite(Map.merge(%{cseq: {number, method}, to: to}, headers))
    put_in(invite.start_line.method, method)
  end

  # The response to a request of ours within a dialog.
  defp answer(request, status, headers \\ %{}) do
    response = Message.to_response(request, status)
    %{response | headers: Map.merge(response.headers, headers)}
  end

  defp moved(host), do: %{contact: [address("sip:x@#{host}")]}
  defp text(message, name, lines), do: Message.put_header(message, name, lines)
  defp status({:error, response}), do: response.start_line.status_code

  # None of these can be a remote target.
  @bad_contacts %{
    star: "*",
    tel: [{"", %URI{scheme: "tel", authority: "+358"}, %{}}],
    two: [
      {"", %URI{scheme: "sip", host: "192.0.2.1", port: 5060}, %{}},
      {"", %URI{scheme: "sip", host: "192.0.2.2", port: 5060}, %{}}
    ]
  }

  @malformed_contacts [
    ["<sip:a b@192.0.2.9>"],
    ["<sip:a b@192.0.2.9>, <sip:bob@192.0.2.4>"],
    ["<sip:bob@192.0.2.4>", "<sip:bob@192.0.2.5>"],
    ["*, <sip:"],
    ["*"]
  ]

  describe "RFC3261§12.1.1 UAS behavior" do
    test "route set, remote target, sequence numbers, tags and URIs are those of the request" do
      dialog = uas(["sip:p2;lr", "sip:p1;lr"])

      assert Dialog.id(dialog) == {"call", "b", "a"}
      assert dialog.route_set == route(["sip:p2;lr", "sip:p1;lr"])
      assert to_string(dialog.remote_target) == "sip:alice@192.0.2.1"
      assert {dialog.local_seq, dialog.remote_seq} == {nil, 7}
      assert dialog.local == address("sip:bob@biloxi.com", %{"tag" => "b"})
      assert dialog.remote == address("sip:alice@atlanta.com", %{"tag" => "a"}, "Alice")
      assert {dialog.role, dialog.state, dialog.pending} == {:uas, :confirmed, nil}
    end

    test "a provisional response makes it early, and its INVITE is in progress" do
      dialog = early_uas()
      assert {dialog.state, dialog.pending} == {:early, {:received, 7, nil}}
      assert_raise ArgumentError, fn -> Dialog.uas(invite(), response(invite(), 404)) end
      assert_raise ArgumentError, fn -> Dialog.uas(invite(), response(invite(), 100)) end
    end

    test "a request without Contact is answered 400" do
      invite = Message.delete_header(invite(), :contact)
      assert {:error, response} = Dialog.uas(invite, ok(invite))
      assert to_string(response.start_line) == "SIP/2.0 400 Bad Request (Contact)"
    end

    test "so is one whose Contact is *, no SIP URI, or two" do
      for {_name, contact} <- @bad_contacts do
        invite = invite(%{contact: contact})
        assert status(Dialog.uas(invite, ok(invite))) == 400
      end

      for lines <- @malformed_contacts do
        invite = text(invite(), "Contact", lines)
        assert status(Dialog.uas(invite, ok(invite))) == 400
      end
    end

    test "so is a SIP URI as the Contact in a dialog of a SIPS URI" do
      invite = put_in(invite().start_line.request_uri, URI.parse!("sips:bob@biloxi.com"))
      assert status(Dialog.uas(invite, ok(invite))) == 400

      secure = Message.put_header(invite, :contact, [address("sips:alice@192.0.2.1")])
      assert {:ok, %{secure?: true}} = Dialog.uas(secure, ok(secure))
    end

    test "so is one whose Record-Route is malformed, as nobody knows the way" do
      invite = text(invite(), "Record-Route", ["<sip:p2;lr>, <sip:p 1;lr>"])
      assert {:error, response} = Dialog.uas(invite, ok(invite))
      assert to_string(response.start_line) == "SIP/2.0 400 Bad Request (Record-Route)"
    end

    test "a Contact that is malformed comes so from the wire" do
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
      assert status(Dialog.uas(invite, Message.to_response(invite, 200))) == 400
    end

    test "it keeps the flow that the request came by" do
      flow = %Flow{protocol: :udp, remote: {{192, 0, 2, 1}, 5060}}
      invite = %{invite() | source: flow}
      assert {:ok, %{flow: ^flow} = dialog} = Dialog.uas(invite, ok(invite))
      moved = %{flow | remote: {{192, 0, 2, 1}, 6060}}
      info = %{in_dialog(:info, 8) | source: moved}
      assert {:ok, %{flow: ^moved}} = Dialog.receive_request(dialog, info)
    end
  end

  describe "RFC3261§12.1.2 UAC behavior" do
    test "the route set is the Record-Route in reverse" do
      dialog = uac(["sip:p2;lr", "sip:p1;lr"])

      assert Dialog.id(dialog) == {"call", "a", "b"}
      assert dialog.route_set == route(["sip:p1;lr", "sip:p2;lr"])
      assert to_string(dialog.remote_target) == "sip:bob@192.0.2.4:5070;transport=udp"
      assert {dialog.local_seq, dialog.remote_seq} == {7, nil}
      assert {dialog.role, dialog.state, dialog.pending} == {:uac, :confirmed, nil}
    end

    test "a 2xx without Contact makes none" do
      assert Dialog.uac(invite(), ok(invite())) == {:error, :no_contact}
    end

    test "a provisional response with a To tag makes an early one, also without a Contact" do
      dialog = early_uac()
      assert {dialog.state, dialog.pending} == {:early, {:sent, 7}}
      assert dialog.remote_target.host == "192.0.2.4"

      assert {:ok, dialog} = Dialog.uac(invite(), response(invite(), 180))
      assert to_string(dialog.remote_target) == "sip:bob@biloxi.com"
      {:ok, dialog} = Dialog.receive_response(dialog, response(invite(), 183, moved("192.0.2.5")))
      assert dialog.remote_target.host == "192.0.2.5"
    end

    test "any other response makes none" do
      untagged = response(invite(), 180, %{to: address("sip:bob@biloxi.com")})
      assert Dialog.uac(invite(), untagged) == {:error, :no_dialog}

      for status <- [100, 302, 404, 600] do
        assert Dialog.uac(invite(), response(invite(), status, callee_contact())) ==
                 {:error, :no_dialog}
      end
    end

    test "neither does a response to a request that makes none" do
      register = put_in(invite(%{cseq: {7, :register}}).start_line.method, :register)
      assert Dialog.uac(register, ok(register, callee_contact())) == {:error, :no_dialog}
    end

    test "nor a Contact that is *, no SIP URI, or two" do
      for {_name, contact} <- @bad_contacts, status <- [180, 200] do
        response = response(invite(), status, %{contact: contact})
        assert Dialog.uac(invite(), response) == {:error, :bad_contact}
      end

      for lines <- @malformed_contacts do
        assert Dialog.uac(invite(), text(ok(invite()), "Contact", lines)) ==
                 {:error, :bad_contact}
      end
    end

    test "nor a SIP URI as the Contact in a dialog of a SIPS URI" do
      invite = put_in(invite().start_line.request_uri, URI.parse!("sips:bob@biloxi.com"))
      assert Dialog.uac(invite, ok(invite, callee_contact())) == {:error, :bad_contact}

      secure = %{contact: [address("sips:bob@192.0.2.4")]}
      assert {:ok, %{secure?: true} = dialog} = Dialog.uac(invite, ok(invite, secure))
      {:ok, update, dialog} = Dialog.next_request(dialog, :update)
      insecure = answer(update, 200, moved("192.0.2.5"))
      assert Dialog.receive_response(dialog, insecure) == {:error, :bad_contact}
    end

    test "nor a Record-Route that is malformed" do
      response = text(ok(invite(), callee_contact()), "Record-Route", ["<sip:p 1;lr>"])
      assert Dialog.uac(invite(), response) == {:error, :malformed_record_route}
    end

    test "the messages of both sides belong to it" do
      assert Dialog.id(ok(invite())) == Dialog.id(uac())
      assert Dialog.id(in_dialog(:bye, 8)) == Dialog.id(uas())
    end

    test "what the stack has written into the request is read from the response" do
      sent = invite()
      {name, uri, _params} = sent.headers.from

      written = %{
        sent
        | headers: Map.drop(%{sent.headers | from: {name, uri, %{}}}, [:call_id, :cseq])
      }

      assert {:ok, dialog} = Dialog.uac(written, ok(sent, callee_contact()))
      assert Dialog.id(dialog) == {"call", "a", "b"}
      assert {dialog.local_seq, elem(dialog.local, 2)} == {7, %{"tag" => "a"}}
      ack = Dialog.build_ack(dialog, ok(sent, callee_contact()))
      assert Dialog.id(ack) == Dialog.id(in_dialog(:ack, 7))
    end

    test "a response to another request, and a NOTIFY to an INVITE, make none" do
      for headers <- [
            %{call_id: "other"},
            %{from: address("sip:alice@atlanta.com", %{"tag" => "z"})}
          ] do
        response = ok(invite(), Map.merge(callee_contact(), headers))
        assert Dialog.uac(invite(), response) == {:error, :other_dialog}
      end

      assert Dialog.uac(invite(), notify("b")) == {:error, :no_dialog}
    end
  end

  describe "RFC6665§4.1.2.4 a NOTIFY before the 200" do
    defp subscribe, do: put_in(invite(%{cseq: {7, :subscribe}}).start_line.method, :subscribe)

    # What the far end sends: from Bob with a tag, to Alice with hers.
    defp notify(tag, headers \\ %{}) do
      headers =
        Map.merge(
          %{
            from: address("sip:bob@biloxi.com", %{"tag" => tag}),
            to: address("sip:alice@atlanta.com", %{"tag" => "a"}),
            cseq: {21, :notify},
            contact: [address("sip:bob@192.0.2.4")],
            record_route: route(["sip:p1;lr", "sip:p2;lr"])
          },
          headers
        )

      put_in(invite(headers).start_line.method, :notify)
    end

    test "makes the subscriber's dialog" do
      assert {:ok, dialog} = Dialog.uac(subscribe(), notify("b"))
      assert Dialog.id(dialog) == {"call", "a", "b"}
      assert {dialog.role, dialog.state} == {:uac, :confirmed}
      assert {dialog.local_seq, dialog.remote_seq} == {7, 21}
      assert dialog.remote_target.host == "192.0.2.4"
      # It came to us: the nearest proxy is the first.
      assert dialog.route_set == route(["sip:p1;lr", "sip:p2;lr"])
      assert dialog.local == address("sip:alice@atlanta.com", %{"tag" => "a"}, "Alice")
      assert dialog.remote == address("sip:bob@biloxi.com", %{"tag" => "b"})

      assert {:ok, same} = Dialog.receive_response(dialog, ok(subscribe(), callee_contact()))
      assert {same.route_set, same.remote_seq} == {dialog.route_set, 21}
      assert {:ok, _dialog} = Dialog.receive_request(same, notify("b", %{cseq: {22, :notify}}))
    end

    test "of a fork makes another, with another ID" do
      {:ok, one} = Dialog.uac(subscribe(), notify("b"))
      {:ok, other} = Dialog.uac(subscribe(), notify("c"))
      assert Dialog.id(one) != Dialog.id(other)
      ok = ok(subscribe(), callee_contact())
      assert {:ok, _dialog} = Dialog.receive_response(one, ok)
      assert Dialog.receive_response(other, ok) == {:error, :other_dialog}
    end

    test "that does not belong to the request makes none" do
      for headers <- [
            %{call_id: "other"},
            %{to: address("sip:alice@atlanta.com", %{"tag" => "z"})}
          ] do
        assert Dialog.uac(subscribe(), notify("b", headers)) == {:error, :no_dialog}
      end

      assert Dialog.uac(subscribe(), notify("b", %{contact: "*"})) == {:error, :bad_contact}
    end
  end

  describe "RFC3261§13.2.2.4 early to confirmed" do
    test "the route set is that of the 2xx, the sequence numbers stay, and the INVITE is done" do
      early = early_uac(Map.merge(callee_contact(), %{record_route: route(["sip:p1;lr"])}))
      {:ok, prack, early} = Dialog.next_request(early, :prack)
      {:ok, early} = Dialog.receive_response(early, answer(prack, 200))
      {:ok, _prack, early} = Dialog.next_request(early, :prack)
      {:ok, early} = Dialog.receive_request(early, swapped(in_dialog(:info, 3)))
      assert early.state == :early

      headers = Map.merge(moved("192.0.2.9"), %{record_route: route(["sip:p3;lr", "sip:p2;lr"])})
      assert {:ok, dialog} = Dialog.receive_response(early, ok(invite(), headers))
      assert {dialog.state, dialog.pending} == {:confirmed, nil}
      assert dialog.route_set == route(["sip:p2;lr", "sip:p3;lr"])
      assert dialog.remote_target.host == "192.0.2.9"
      assert {dialog.local_seq, dialog.remote_seq} == {9, 3}
      {:ok, bye, _dialog} = Dialog.next_request(dialog, :bye)
      assert bye.headers.cseq == {10, :bye}
    end

    test "a 2xx without Record-Route leaves no route set" do
      early = early_uac(Map.merge(callee_contact(), %{record_route: route(["sip:p1;lr"])}))

      assert {:ok, %{route_set: []}} =
               Dialog.receive_response(early, ok(invite(), callee_contact()))
    end

    test "a dialog of an 18x without Contact is confirmed too" do
      {:ok, early} = Dialog.uac(invite(), response(invite(), 180))
      assert {:ok, dialog} = Dialog.receive_response(early, ok(invite(), callee_contact()))
      assert {dialog.state, dialog.remote_target.host} == {:confirmed, "192.0.2.4"}
    end

    test "a 2xx whose Contact is bad leaves the remote target" do
      for {_name, contact} <- @bad_contacts do
        response = ok(invite(), %{contact: contact})
        assert Dialog.receive_response(early_uac(), response) == {:error, :bad_contact}
      end
    end

    test "each fork has its own, and the 2xx of another is refused" do
      other = %{to: address("sip:bob@biloxi.com", %{"tag" => "c"})}
      {:ok, one} = Dialog.uac(invite(), response(invite(), 180, callee_contact()))

      {:ok, two} =
        Dialog.uac(invite(), response(invite(), 180, Map.merge(moved("192.0.2.5"), other)))

      {:ok, _prack, one} = Dialog.next_request(one, :prack)
      assert {one.local_seq, two.local_seq} == {8, 7}

      ok = ok(invite(), Map.merge(moved("192.0.2.5"), other))
      assert Dialog.receive_response(one, ok) == {:error, :other_dialog}
      assert {:ok, %{state: :confirmed}} = Dialog.receive_response(two, ok)
    end

    test "a final response that is no 2xx ends it (§12.3)" do
      refused = response(invite(), 486)

      assert {:ok, %{state: :terminated, pending: nil}} =
               Dialog.receive_response(early_uac(), refused)

      assert Dialog.receive_error(early_uac(), :invite, :timeout).state == :terminated
      assert Dialog.receive_error(early_uac(), :invite, :no_transport).state == :terminated
    end

    test "so does one of another branch, as it is the answer to all" do
      other = response(invite(), 486, %{to: address("sip:bob@biloxi.com", %{"tag" => "c"})})
      assert {:ok, %{state: :terminated}} = Dialog.receive_response(early_uac(), other)
      assert Dialog.receive_response(uac(), other) == {:error, :other_dialog}
    end

    test "the called side confirms it by its own 2xx, or ends it" do
      dialog = Dialog.respond(early_uas(), ok(invite(), callee_contact()))
      assert {dialog.state, dialog.pending} == {:confirmed, nil}
      assert Dialog.respond(early_uas(), response(invite(), 183)) == early_uas()
      assert Dialog.respond(early_uas(), response(invite(), 486)).state == :terminated
      {:ok, dialog} = Dialog.receive_request(early_uas(), in_dialog(:ack, 7))
      assert {dialog.state, dialog.pending} == {:confirmed, nil}
    end
  end

  # As the called side sends it.
  defp swapped(%Message{headers: headers} = request) do
    from = address("sip:bob@biloxi.com", %{"tag" => "b"})

    %{
      request
      | headers: %{headers | from: from, to: address("sip:alice@atlanta.com", %{"tag" => "a"})}
    }
  end

  describe "RFC3261§12.2.1.1 generating the request" do
    test "numbers go up by one, and the first may be any" do
      {:ok, request, dialog} = Dialog.next_request(uac(), :info)
      assert request.headers.cseq == {8, :info}
      assert {:ok, %{headers: %{cseq: {9, :bye}}}, _dialog} = Dialog.next_request(dialog, :bye)
      assert {:ok, %{headers: %{cseq: {1, :bye}}}, _dialog} = Dialog.next_request(uas(), :bye)
    end

    test "it is complete, but for the sent-by, which the stack writes" do
      {:ok, request, _dialog} = Dialog.next_request(uac(), :bye)
      assert [{{2, 0}, :any, {"", 0}, %{"branch" => "z9hG4bK" <> _}}] = request.headers.via
      assert Message.complete(request) == request
      assert request.headers.max_forwards == 70
    end

    test "it has the headers and the body that are wanted" do
      type = {{"application", "dtmf-relay"}, %{}}

      for headers <- [[content_type: type], %{"x-foo" => "1", :content_type => type}] do
        {:ok, info, _dialog} =
          Dialog.next_request(uac(), :info, headers: headers, body: "Signal=5")

        assert {info.headers.content_type, info.body} == {type, "Signal=5"}
      end

      assert_raise ArgumentError, fn -> Dialog.next_request(uac(), :info, headers: :none) end
    end

    test "To and From have the URIs and tags of the dialog, and a null tag is left out" do
      {:ok, request, _dialog} = Dialog.next_request(uas(), :bye)
      assert request.headers.from == address("sip:bob@biloxi.com", %{"tag" => "b"})
      assert request.headers.to == address("sip:alice@atlanta.com", %{"tag" => "a"}, "Alice")
      assert request.headers.call_id == "call"

      invite = invite(%{from: address("sip:alice@atlanta.com")})
      {:ok, dialog} = Dialog.uas(invite, ok(invite))
      assert {:ok, %{headers: %{to: {_, _, %{}}}}, _dialog} = Dialog.next_request(dialog, :bye)
      assert dialog.remote_tag == nil
    end

    test "without a route set the remote target is the Request-URI" do
      {:ok, request, _dialog} = Dialog.next_request(uac(), :bye)
      assert to_string(request.start_line.request_uri) == "sip:bob@192.0.2.4:5070;transport=udp"
      refute Map.has_key?(request.headers, :route)
      assert request.target == nil
    end

    test "a route set of loose routers goes into Route" do
      {:ok, request, _dialog} = Dialog.next_request(uac(["sip:p2;lr", "sip:p1;lr;x=1"]), :bye)
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

      {:ok, request, _dialog} = Dialog.next_request(uac(record_route), :bye)

      assert to_string(request.start_line.request_uri) == "sip:proxy1:5090"

      assert request.headers.route ==
               route(
                 ~w(sip:proxy2;lr sip:proxy3;lr sip:proxy4 sip:bob@192.0.2.4:5070;transport=udp)
               )

      assert request.target == {:udp, "proxy1", 5090}
    end

    test "a target refresh request has the Contact of before, unless another is given" do
      own = [address("sip:alice@192.0.2.1")]

      for method <- [:invite, :update, :subscribe, :notify, :refer],
          do: assert({:ok, %{headers: %{contact: ^own}}, _} = Dialog.next_request(uac(), method))

      assert {:ok, %{headers: headers}, _dialog} = Dialog.next_request(uac(), :bye)
      refute Map.has_key?(headers, :contact)

      new = [address("sip:alice@192.0.2.8")]
      {:ok, _invite, dialog} = Dialog.next_request(uac(), :invite, headers: %{contact: new})
      assert {:ok, %{headers: %{contact: ^new}}, _} = Dialog.next_request(dialog, :update)

      assert {:ok, %{headers: %{contact: [{"", %{host: "192.0.2.4"}, %{}}]}}, _} =
               Dialog.next_request(uas(), :invite)
    end

    test "a far end that only its flow reaches gets it by that, if no route is set" do
      flow = %Flow{protocol: :udp, remote: {{192, 0, 2, 4}, 6060}}

      target = fn contact, record_route ->
        headers = %{contact: [address(contact)], record_route: route(record_route)}
        {:ok, dialog} = Dialog.uac(invite(), %{ok(invite(), headers) | source: flow})
        {:ok, bye, _dialog} = Dialog.next_request(dialog, :bye)
        bye.target
      end

      assert target.("sip:bob@df7jal23ls0d.invalid", []) == flow
      assert target.("sip:bob@10.0.0.1;ob", []) == flow
      assert target.("sip:bob@10.0.0.1;ob", ["sip:p1;lr"]) == nil
      assert target.("sip:bob@192.0.2.4", []) == nil
    end

    test "an ACK or a CANCEL is none of these" do
      for method <- [:ack, :cancel],
          do: assert_raise(FunctionClauseError, fn -> Dialog.next_request(uac(), method) end)
    end

    test "is no BYE of the called side while the dialog is early" do
      assert Dialog.next_request(early_uas(), :bye) == {:error, :early}

      assert {:ok, %{start_line: %{method: :bye}}, _dialog} =
               Dialog.next_request(early_uac(), :bye)

      assert {:ok, %{start_line: %{method: :info}}, _dialog} =
               Dialog.next_request(early_uas(), :info)
    end

    test "once more, after a challenge, it has the next number, and the dialog knows it" do
      {:ok, bye, dialog} = Dialog.next_request(uac(), :bye)
      {:ok, again, dialog} = Dialog.renew(dialog, bye)
      assert again.headers.cseq == {9, :bye}
      assert hd(again.headers.via) != hd(bye.headers.via)
      assert {:ok, %{headers: %{cseq: {10, :info}}}, _dialog} = Dialog.next_request(dialog, :info)
    end

    test "a request that was renewed without the dialog is known by its response" do
      {:ok, info, dialog} = Dialog.next_request(uac(), :info)
      {:ok, dialog} = Dialog.receive_response(dialog, answer(Message.renew(info), 200))
      assert {:ok, %{headers: %{cseq: {10, :bye}}}, _dialog} = Dialog.next_request(dialog, :bye)
    end

    test "once more, it goes where the dialog leads by then, with what it had" do
      {:ok, reinvite, dialog} =
        Dialog.next_request(uac(["sip:p1;lr"]), :invite, headers: [subject: "x"], body: "v=0")

      {:ok, dialog} = Dialog.receive_response(dialog, answer(reinvite, 491))

      {:ok, dialog} =
        Dialog.receive_request(dialog, swapped(in_dialog(:update, 3, moved("192.0.2.9"))))

      assert {:ok, again, dialog} = Dialog.renew(dialog, reinvite)
      assert again.start_line.request_uri.host == "192.0.2.9"
      assert {again.headers.cseq, again.headers.subject, again.body} == {{9, :invite}, "x", "v=0"}
      assert again.headers.route == reinvite.headers.route
      assert Dialog.renew(dialog, reinvite) == {:error, :invite_in_progress}
    end

    test "none is made in a dialog that has ended" do
      {:ok, ended} = Dialog.receive_request(uas(), in_dialog(:bye, 8))
      assert Dialog.next_request(ended, :info) == {:error, :terminated}
      assert Dialog.next_request(ended, :invite) == {:error, :terminated}
      assert status(Dialog.receive_request(ended, in_dialog(:info, 9))) == 481
      assert {:ok, _dialog} = Dialog.receive_request(ended, in_dialog(:ack, 7))
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

    test "has the credentials of the INVITE" do
      credentials = [{"Digest", %{"username" => "alice"}}]
      invite = invite(%{proxy_authorization: credentials, subject: "lunch"})
      response = ok(invite, callee_contact())
      {:ok, dialog} = Dialog.uac(invite, response)
      ack = Dialog.build_ack(dialog, response, invite)
      assert ack.headers.proxy_authorization == credentials
      refute Map.has_key?(ack.headers, :subject)
    end

    test "is made in its own dialog alone" do
      fork =
        ok(
          invite(),
          Map.put(callee_contact(), :to, address("sip:bob@biloxi.com", %{"tag" => "c"}))
        )

      assert_raise ArgumentError, fn -> Dialog.build_ack(uac(), fork) end
    end
  end

  describe "RFC3261§13.2.2.4, §15 hang_up/2" do
    test "makes an ACK and a BYE of the dialog of a 2xx" do
      headers = Map.merge(callee_contact(), %{record_route: route(["sip:p1;lr"])})
      {ack, bye} = Dialog.hang_up(invite(), ok(invite(), headers))
      assert {ack.headers.cseq, bye.headers.cseq} == {{7, :ack}, {8, :bye}}

      for request <- [ack, bye] do
        assert request.start_line.request_uri.host == "192.0.2.4"
        assert request.headers.route == route(["sip:p1;lr"])
        assert request.headers.to == address("sip:bob@biloxi.com", %{"tag" => "b"})
        assert request.target == nil
      end
    end

    test "gives the ACK the credentials of the INVITE" do
      invite = invite(%{authorization: [{"Digest", %{"username" => "alice"}}]})
      {ack, bye} = Dialog.hang_up(invite, ok(invite, callee_contact()))
      assert ack.headers.authorization == invite.headers.authorization
      refute Map.has_key?(bye.headers, :authorization)
    end

    test "goes to the Request-URI, by the flow of the 2xx, where that has no good Contact" do
      flow = %Flow{protocol: :udp, remote: {{192, 0, 2, 4}, 6060}}

      for headers <- [%{}, %{contact: "*"}, %{record_route: route(["sip:p1;lr"])}] do
        {ack, bye} = Dialog.hang_up(invite(), %{ok(invite(), headers) | source: flow})

        for request <- [ack, bye] do
          assert to_string(request.start_line.request_uri) == "sip:bob@biloxi.com"
          assert request.headers[:route] == headers[:record_route]
          assert request.target == flow
        end
      end
    end

    test "goes to the Contact where only the Record-Route is malformed" do
      response = text(ok(invite(), callee_contact()), "Record-Route", ["<sip:p 1;lr>"])
      {ack, _bye} = Dialog.hang_up(invite(), response)
      assert ack.start_line.request_uri.host == "192.0.2.4"
      refute Map.has_key?(ack.headers, :route)
    end

    test "of a re-INVITE goes by the route set of its dialog" do
      {:ok, reinvite, _dialog} = Dialog.next_request(uac(["sip:p2;lr"]), :invite)
      {ack, bye} = Dialog.hang_up(reinvite, answer(reinvite, 200, moved("192.0.2.9")))
      assert {ack.headers.cseq, bye.headers.cseq} == {{8, :ack}, {9, :bye}}

      assert {ack.headers.route, bye.headers.route} ==
               {route(["sip:p2;lr"]), route(["sip:p2;lr"])}
    end
  end

  describe "RFC3261§12.2.1.2 processing the responses" do
    test "a 2xx to a target refresh request moves the remote target" do
      for method <- [:invite, :update, :subscribe, :notify] do
        {:ok, request, dialog} = Dialog.next_request(uac(), method)
        {:ok, dialog} = Dialog.receive_response(dialog, answer(request, 180, moved("192.0.2.8")))
        assert dialog.remote_target.host == "192.0.2.4"
        {:ok, dialog} = Dialog.receive_response(dialog, answer(request, 200, moved("192.0.2.9")))
        assert dialog.remote_target.host == "192.0.2.9"
      end

      {:ok, info, dialog} = Dialog.next_request(uac(), :info)
      {:ok, dialog} = Dialog.receive_response(dialog, answer(info, 200, moved("192.0.2.9")))
      assert dialog.remote_target.host == "192.0.2.4"
    end

    test "one whose Contact is bad is an error, and moves nothing" do
      {:ok, update, dialog} = Dialog.next_request(uac(), :update)

      for {_name, contact} <- @bad_contacts do
        response = answer(update, 200, %{contact: contact})
        assert Dialog.receive_response(dialog, response) == {:error, :bad_contact}
      end
    end

    test "408, 481 and silence end the dialog, whatever was asked" do
      for method <- [:invite, :info, :bye] do
        {:ok, request, dialog} = Dialog.next_request(uac(), method)

        for status <- [408, 481],
            do:
              assert(
                {:ok, %{state: :terminated}} =
                  Dialog.receive_response(dialog, answer(request, status))
              )

        assert Dialog.receive_error(dialog, method, :timeout).state == :terminated
      end

      {:ok, info, dialog} = Dialog.next_request(uac(), :info)
      assert {:ok, %{state: :confirmed}} = Dialog.receive_response(dialog, answer(info, 500))
      assert Dialog.receive_error(dialog, :info, :econnrefused).state == :confirmed
    end

    test "a 2xx to a BYE ends it, and so does a BYE that can't be delivered" do
      {:ok, bye, dialog} = Dialog.next_request(uac(), :bye)
      assert dialog.state == :confirmed
      assert {:ok, %{state: :confirmed}} = Dialog.receive_response(dialog, answer(bye, 407))
      assert {:ok, %{state: :terminated}} = Dialog.receive_response(dialog, answer(bye, 200))
      assert Dialog.receive_error(dialog, :bye, :econnrefused).state == :terminated
    end

    test "it keeps the flow by which the response came" do
      flow = %Flow{protocol: :udp, remote: {{192, 0, 2, 4}, 6060}}
      {:ok, info, dialog} = Dialog.next_request(uac(), :info)

      assert {:ok, %{flow: ^flow}} =
               Dialog.receive_response(dialog, %{answer(info, 200) | source: flow})

      assert {:ok, %{flow: nil}} = Dialog.receive_response(dialog, answer(info, 200))
    end
  end

  describe "RFC3261§12.2.2 UAS behavior" do
    test "a lower number gets 500, and gaps are nothing" do
      assert status(Dialog.receive_request(uas(), in_dialog(:bye, 6))) == 500
      assert {:ok, %{remote_seq: 99}} = Dialog.receive_request(uas(), in_dialog(:info, 99))
      assert {:ok, %{remote_seq: 3}} = Dialog.receive_request(uac(), swapped(in_dialog(:info, 3)))
    end

    test "a request of another dialog gets 481" do
      assert status(Dialog.receive_request(uas(), in_dialog(:info, 8, %{call_id: "other"}))) ==
               481
    end

    test "an ACK is not counted" do
      assert Dialog.receive_request(uas(), in_dialog(:ack, 1)) == {:ok, uas()}
      # It has the To of its INVITE, without a tag.
      cancel = Message.to_cancel(invite())
      assert Dialog.receive_request(early_uas(), cancel) == {:ok, early_uas()}
    end

    test "a target refresh request moves the remote target, and any other does not" do
      for method <- [:update, :subscribe, :notify] do
        {:ok, dialog} = Dialog.receive_request(uas(), in_dialog(method, 8, moved("192.0.2.9")))
        assert dialog.remote_target.host == "192.0.2.9"
        {:ok, dialog} = Dialog.receive_request(dialog, in_dialog(:info, 9, moved("192.0.2.8")))
        assert dialog.remote_target.host == "192.0.2.9"
      end

      update = Message.delete_header(in_dialog(:update, 8), :contact)
      assert {:ok, %{remote_target: %{host: "192.0.2.1"}}} = Dialog.receive_request(uas(), update)
    end

    test "one whose Contact is bad gets 400" do
      for {_name, contact} <- @bad_contacts do
        update = in_dialog(:update, 8, %{contact: contact})
        assert status(Dialog.receive_request(uas(), update)) == 400
      end

      for lines <- @malformed_contacts do
        update = text(in_dialog(:update, 8), "Contact", lines)
        assert status(Dialog.receive_request(uas(), update)) == 400
      end
    end

    test "a re-INVITE moves it when it is accepted, by the 2xx or its ACK" do
      reinvite = in_dialog(:invite, 8, moved("192.0.2.9"))
      {:ok, dialog} = Dialog.receive_request(uas(), reinvite)
      assert dialog.remote_target.host == "192.0.2.1"

      accepted = Dialog.respond(dialog, answer(reinvite, 200))
      assert {accepted.remote_target.host, accepted.pending} == {"192.0.2.9", nil}
      {:ok, acknowledged} = Dialog.receive_request(dialog, in_dialog(:ack, 8))
      assert {acknowledged.remote_target.host, acknowledged.pending} == {"192.0.2.9", nil}
      # The ACK of another one.
      assert Dialog.receive_request(dialog, in_dialog(:ack, 7)) == {:ok, dialog}
    end

    test "a BYE ends the dialog" do
      assert {:ok, %{state: :terminated}} = Dialog.receive_request(uas(), in_dialog(:bye, 8))
    end
  end

  describe "RFC3261§14.1 a re-INVITE" do
    test "is not made while another is in progress, in either direction" do
      {:ok, _invite, dialog} = Dialog.next_request(uac(), :invite)
      assert Dialog.next_request(dialog, :invite) == {:error, :invite_in_progress}
      assert Dialog.next_request(early_uac(), :invite) == {:error, :invite_in_progress}

      {:ok, dialog} = Dialog.receive_request(uas(), in_dialog(:invite, 8))
      assert Dialog.next_request(dialog, :invite) == {:error, :invite_in_progress}
      assert {:ok, %{start_line: %{method: :info}}, _dialog} = Dialog.next_request(dialog, :info)
    end

    test "that is refused leaves the session as it was, and another may follow" do
      for status <- [488, 491, 503] do
        {:ok, invite, dialog} = Dialog.next_request(uac(), :invite)
        refusal = answer(invite, status, moved("192.0.2.9"))
        assert {:ok, left} = Dialog.receive_response(dialog, refusal)
        assert left == %{uac() | local_seq: 8}

        assert {:ok, %{headers: %{cseq: {9, :invite}}}, _dialog} =
                 Dialog.next_request(left, :invite)
      end

      {:ok, _invite, dialog} = Dialog.next_request(uac(), :invite)
      assert Dialog.receive_error(dialog, :invite, :econnrefused) == %{uac() | local_seq: 8}
    end

    test "that got 491 comes again after 2.1 to 4 s, or 0 to 2 s, in steps of 10 ms" do
      delays = fn dialog -> for _ <- 1..1_000, do: Dialog.retry_delay(dialog) end
      assert Enum.all?(delays.(uac()), &(&1 in 2_100..4_000 and rem(&1, 10) == 0))
      assert Enum.all?(delays.(uas()), &(&1 in 0..2_000 and rem(&1, 10) == 0))
      assert length(Enum.uniq(delays.(uac()))) > 100
    end
  end

  describe "RFC3261§14.2 a re-INVITE that comes" do
    test "while ours is in progress gets 491" do
      {:ok, _invite, dialog} = Dialog.next_request(uac(), :invite)
      assert status(Dialog.receive_request(dialog, swapped(in_dialog(:invite, 1)))) == 491
      assert {:ok, _dialog} = Dialog.receive_request(dialog, swapped(in_dialog(:info, 1)))
    end

    test "while theirs is not answered gets 500 with a Retry-After of up to 10 s" do
      for dialog <- [early_uas(), elem(Dialog.receive_request(uas(), in_dialog(:invite, 8)), 1)] do
        assert {:error, response} = Dialog.receive_request(dialog, in_dialog(:invite, 9))
        assert response.start_line.status_code == 500
        assert {seconds, "", %{}} = response.headers.retry_after
        assert seconds in 0..10
      end
    end

    test "and is refused changes nothing, and another may follow" do
      reinvite = in_dialog(:invite, 8, moved("192.0.2.9"))
      {:ok, dialog} = Dialog.receive_request(uas(), reinvite)
      dialog = Dialog.respond(dialog, answer(reinvite, 488))
      assert dialog == %{uas() | remote_seq: 8}
      assert {:ok, _dialog} = Dialog.receive_request(dialog, in_dialog(:invite, 9))
    end
  end
end
