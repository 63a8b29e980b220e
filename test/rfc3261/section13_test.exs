defmodule Sippet.RFC3261.Section13CallTest do
  use Sippet.DialogCase, async: true

  describe "RFC3261§13.2.2.4 a 2xx" do
    test "with another To tag makes a dialog of its own" do
      fork = alice(200, to: address("sip:bob@biloxi.com", "c"))
      assert Dialog.id(fork) == {"call", "a", "c"}
      assert Dialog.id(alice()) == {"call", "a", "b"}
    end

    test "is acknowledged with the number of its INVITE, whatever came between" do
      ok = answer(invite(), 200)
      {_request, dialog} = next(alice(180), :info)
      ack = acknowledged(dialog, ok)
      assert ack.start_line.method == :ack
      assert ack.headers.cseq == {7, :ack}
    end

    test "is acknowledged as any request within the dialog is made" do
      record_route = route(["sip:p2.biloxi.com;lr", "sip:p1.atlanta.com;lr"])
      ok = answer(invite(), 200, record_route: record_route)
      ack = 200 |> alice(record_route: record_route) |> acknowledged(ok)
      assert Dialog.id(ack) == Dialog.id(bob())
      assert to_string(ack.start_line.request_uri) == "sip:bob@192.0.2.4"
      assert ack.headers.route == Enum.reverse(record_route)
    end

    defp acknowledged(dialog, ok), do: Dialog.build_ack(dialog, ok)

    test "confirms the early dialog of its To tag" do
      assert %{state: :confirmed} = received(alice(180), answer(invite(), 200))
    end

    test "sets the route set anew, and keeps the numbers of the early dialog" do
      early = alice(180, record_route: route(["sip:p1;lr"]))
      {_request, early} = next(early, :info)
      {:ok, early} = Dialog.receive_request(early, bobs(:info, 3))
      ok = answer(invite(), 200, record_route: route(["sip:p3;lr", "sip:p2;lr"]))
      dialog = received(early, ok)
      assert dialog.route_set == route(["sip:p2;lr", "sip:p3;lr"])
      assert %{local_seq: 8, remote_seq: 3, state: :confirmed} = dialog

      assert received(early, answer(invite(), 200)).route_set == []
    end

    test "with another To tag makes a confirmed dialog of its own" do
      assert %{state: :confirmed, remote_tag: "c"} =
               alice(200, to: address("sip:bob@biloxi.com", "c"))
    end

    test "is acknowledged with the credentials of its INVITE" do
      credentials = [
        authorization: [{"Digest", %{"realm" => "biloxi.com"}}],
        proxy_authorization: [{"Digest", %{"realm" => "atlanta.com"}}]
      ]

      invite = invite(credentials)
      ok = answer(invite, 200)
      {:ok, dialog} = Dialog.uac(invite, ok)
      ack = Dialog.build_ack(dialog, ok, invite)
      for {name, value} <- credentials, do: assert(ack.headers[name] == value)
      assert ack.headers.cseq == {7, :ack}
    end
  end

  describe "RFC3261§13.3.1.1 provisional responses" do
    test "have one dialog ID, which is that of the 2xx" do
      invite = invite()
      ids = for status <- [180, 183, 199, 200], do: Dialog.id(Message.to_response(invite, status))
      assert [{"call", "a", _tag}] = Enum.uniq(ids)
    end
  end

  describe "RFC3261§13.2.2.3 a refusal" do
    test "ends the early dialogs of its INVITE" do
      # Its To tag may be that of another branch.
      for status <- [302, 404, 486, 503, 603], tag <- ["b", "c"] do
        refusal = answer(invite(), status, to: address("sip:bob@biloxi.com", tag))
        assert received(alice(180), refusal).state == :terminated
      end
    end
  end
end
