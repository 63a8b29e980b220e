defmodule Sippet.Interop.SubscriptionTest do
  # Subscriptions (RFC 6665), in both roles.
  use Sippet.Interop.Case, async: true

  import Sippet.Interop.Script, except: [request: 2]

  alias Sippet.Interop.{Asterisk, PJSUA2, Script}
  alias Sippet.{Message, Subscription}

  setup do
    {stack, address} = start_stack(Script.Core)
    %{stack: stack, address: address}
  end

  @now 0

  # Takes a SUBSCRIBE, the first one or a later one, and notifies.
  defp serve(
         stack,
         subscription \\ nil,
         body \\ "Messages-Waiting: yes\r\nVoice-Message: 2/8\r\n"
       ) do
    subscribe = Script.request(stack, :subscribe)

    {:ok, response, subscription} =
      if subscription,
        do: Subscription.receive_subscribe(subscription, subscribe, @now),
        else:
          Subscription.notifier(subscribe, @now,
            events: ["message-summary"],
            contact: contact(stack)
          )

    :ok = Sippet.send(stack, response)
    :ok = Sippet.controlling_process(stack, subscription.dialog, self())

    notify(stack, subscription,
      body: body,
      headers: [content_type: {{"application", "simple-message-summary"}, %{}}]
    )
  end

  defp notify(stack, subscription, options) do
    {:ok, notify, subscription} = Subscription.notify(subscription, @now, options)
    send_request(stack, notify)

    {:ok, subscription} =
      Subscription.receive_response(subscription, response(stack, :notify, 200), @now)

    subscription
  end

  defp subscribe(stack, user, address, event, expires \\ 600) do
    subscribe =
      new_request(stack, :subscribe, user, address, [{"Event", [event]}, {:expires, expires}])

    send_request(stack, subscribe)
    Subscription.subscriber(subscribe, @now)
  end

  defp take_notify(stack, subscription) do
    notify = Script.request(stack, :notify)
    {:ok, subscription} = Subscription.receive_notify(subscription, notify, @now)
    # Its first NOTIFY says what the dialog is.
    :ok = Sippet.controlling_process(stack, subscription.dialog, self())
    :ok = Sippet.send(stack, Message.to_response(notify, 200))
    {subscription, notify}
  end

  defp take_response(stack, subscription) do
    {:ok, subscription} =
      Subscription.receive_response(subscription, response(stack, :subscribe, 200), @now)

    subscription
  end

  describe "SIPp" do
    @describetag Peers.tags(:sipp)
    test "subscribes, refreshes, and ends its subscription", %{stack: stack, address: address} do
      uac = SIPp.start_caller(address, SIPp.scenario("uac_subscribe"))
      subscription = serve(stack)
      subscription = serve(stack, subscription)
      assert %{state: :terminated, reason: "timeout"} = serve(stack, subscription)
      assert (uac |> SIPp.await() |> SIPp.assert_success()).successful == 1
    end

    test "notifies before its 200, is refreshed, and ends", %{stack: stack} do
      uas = SIPp.start(SIPp.scenario("uas_subscribe"), calls: 1)
      waiting = subscribe(stack, "mailbox", uas.address, "message-summary")
      {subscription, notify} = take_notify(stack, waiting)

      assert {subscription.state, notify.body} ==
               {:active, "Messages-Waiting: yes\r\nVoice-Message: 2/8\r\n"}

      subscription = take_response(stack, subscription)

      {:ok, again, subscription} = Subscription.refresh(subscription)
      send_request(stack, again)
      subscription = take_response(stack, subscription)
      assert Subscription.time_left(subscription, @now) == 300_000
      {subscription, _notify} = take_notify(stack, subscription)

      {:ok, last, subscription} = Subscription.unsubscribe(subscription, @now)
      send_request(stack, last)
      subscription = take_response(stack, subscription)
      {subscription, _notify} = take_notify(stack, subscription)
      assert {subscription.state, subscription.reason} == {:terminated, "timeout"}
      assert (uas |> SIPp.await() |> SIPp.assert_success()).successful == 1
    end
  end

  describe "PJSUA2" do
    @describetag Peers.tags(:pjsua2)
    test "watches its mailbox, and hears of a message", %{stack: stack, address: address} do
      agent = PJSUA2.start(registrar: address, mailbox: true)
      register = Script.request(stack, :register)

      Sippet.send(
        stack,
        register
        |> Message.to_response(200)
        |> Message.put_headers(contact: register.headers.contact, expires: 60)
      )

      subscription = serve(stack, nil, "Messages-Waiting: no\r\n")
      agent = PJSUA2.await(agent, "mailbox Messages-Waiting: no")

      notify(stack, subscription,
        body: "Messages-Waiting: yes\r\n",
        headers: [content_type: {{"application", "simple-message-summary"}, %{}}]
      )

      PJSUA2.await(agent, "mailbox Messages-Waiting: yes")
    end
  end

  describe "Asterisk" do
    @describetag Peers.tags(:asterisk)
    test "tells of the state of a phone, which registers", %{stack: stack} do
      asterisk = Asterisk.start()
      waiting = subscribe(stack, "bob", asterisk.address, "dialog")
      subscription = take_response(stack, waiting)
      {subscription, notify} = take_notify(stack, subscription)

      assert {subscription.state, notify.headers.content_type} ==
               {:active, {{"application", "dialog-info+xml"}, %{}}}

      {_ip, port} = asterisk.address

      start_supervised!(
        {Sippet.Registration,
         stack: stack,
         address_of_record: "sip:bob@127.0.0.1:#{port}",
         credentials: {"bob", "secret"},
         owner: self()}
      )

      assert_receive {:sippet_registration, _pid, {:registered, [%{own?: true}]}}, 5_000
      {subscription, notify} = take_notify(stack, subscription)
      assert notify.body =~ "<state>terminated</state>"

      {:ok, last, subscription} = Subscription.unsubscribe(subscription, @now)
      send_request(stack, last)
      subscription = take_response(stack, subscription)
      {subscription, _notify} = take_notify(stack, subscription)
      assert subscription.state == :terminated
    end
  end
end
