defmodule Sippet.SubscriptionTest do
  use ExUnit.Case, async: true

  alias Sippet.{Dialog, Message, Refer, Subscription, URI}

  @now 1_000_000
  @alice {"", URI.parse!("sip:alice@atlanta.com"), %{"tag" => "88"}}
  @bob {"", URI.parse!("sip:bob@biloxi.com"), %{}}
  @alices_contact {"", URI.parse!("sip:alice@192.0.2.1"), %{}}
  @bobs_contact {"", URI.parse!("sip:bob@192.0.2.4"), %{}}

  defp request(method, headers) do
    method
    |> Message.build_request("sip:bob@biloxi.com")
    |> Message.put_headers(from: @alice, to: @bob, contact: [@alices_contact])
    |> Message.put_header(:via, [{{2, 0}, :udp, {"192.0.2.1", 5060}, %{}}])
    |> Message.complete()
    |> Message.put_headers(headers)
  end

  defp subscribe(headers \\ [expires: 600]),
    do: request(:subscribe, [{"Event", ["message-summary"]} | headers])

  # As the wire has it.
  defp received(message) do
    message
    |> Message.update_header(:via, fn [{version, protocol, _sent_by, params}] ->
      [{version, if(protocol == :any, do: :udp, else: protocol), {"192.0.2.9", 5060}, params}]
    end)
    |> Message.to_string()
    |> Message.parse!()
  end

  defp state_of(notify) do
    {:ok, {state, params}} = Message.fetch_typed(notify, "Subscription-State")
    {state, params}
  end

  defp status({:error, response}), do: response.start_line.status_code

  defp response(request, status, headers \\ []),
    do: request |> Message.to_response(status) |> Message.put_headers(headers)

  # Both sides of a subscription: the subscriber after its NOTIFY, and the notifier that sent it.
  defp subscribed(options \\ [], subscribe \\ subscribe()) do
    {subscriber, response, notifier} = begun(options, subscribe)
    {:ok, subscriber} = Subscription.receive_response(subscriber, response, @now)
    {:ok, notify, notifier} = Subscription.notify(notifier, @now)
    {:ok, subscriber} = Subscription.receive_notify(subscriber, received(notify), @now)
    {subscriber, notifier}
  end

  defp begun(options, subscribe) do
    subscriber = Subscription.subscriber(subscribe, @now)
    options = Keyword.merge([events: ["message-summary"], contact: @bobs_contact], options)
    {:ok, response, notifier} = Subscription.notifier(received(subscribe), @now, options)
    {subscriber, received(response), notifier}
  end

  # A NOTIFY of the far end, as the notifier would not write it.
  defp notify(notifier, headers) do
    {:ok, notify, _notifier} = Subscription.notify(notifier, @now)
    notify |> Message.put_headers(headers) |> received()
  end

  describe "a subscriber" do
    test "waits for the NOTIFY of its SUBSCRIBE, 64*T1" do
      subscription = Subscription.subscriber(subscribe(), @now)

      assert %{state: :waiting, event: {"message-summary", nil}, dialog: nil, expires: 600} =
               subscription

      assert Subscription.time_left(subscription, @now) == 32_000
      assert Subscription.expire(subscription, @now + 31_999).state == :waiting
      expired = Subscription.expire(subscription, @now + 32_000)
      assert {expired.state, expired.reason} == {:terminated, :expired}
      assert Subscription.refresh(subscription) == {:error, :waiting}
      assert Subscription.unsubscribe(subscription, @now) == {:error, :waiting}
      assert Subscription.refresh_after(subscription, @now) == nil
    end

    test "asks for an hour where its SUBSCRIBE says nothing" do
      assert Subscription.subscriber(subscribe([]), @now).expires == 3_600
    end

    test "has to name an event package" do
      for headers <- [[], [{"Event", [""]}]] do
        assert_raise ArgumentError, ~r/Event/, fn ->
          Subscription.subscriber(request(:subscribe, headers), @now)
        end
      end
    end

    test "is made by the NOTIFY, before the 200 or after it" do
      for first <- [:notify, :ok] do
        {subscriber, ok, notifier} = begun([expires: 500], subscribe())
        {:ok, notify, _notifier} = Subscription.notify(notifier, @now)
        notify = received(notify)

        {:ok, subscriber} =
          case first do
            :notify ->
              {:ok, subscriber} = Subscription.receive_notify(subscriber, notify, @now)
              Subscription.receive_response(subscriber, ok, @now)

            :ok ->
              {:ok, subscriber} = Subscription.receive_response(subscriber, ok, @now)
              assert subscriber.state == :waiting
              assert Subscription.time_left(subscriber, @now) == 32_000
              Subscription.receive_notify(subscriber, notify, @now)
          end

        assert %{state: :active, request: nil, expires: 500} = subscriber
        assert Subscription.time_left(subscriber, @now) == 500_000
        assert Dialog.id(subscriber.dialog) == Dialog.id(notify)
      end
    end

    test "makes a subscription of each fork's NOTIFY" do
      subscribe = subscribe()
      waiting = Subscription.subscriber(subscribe, @now)

      [one, other] =
        for tag <- ["1", "2"] do
          fork = Message.put_header(subscribe, :to, put_elem(@bob, 2, %{"tag" => tag}))
          options = [events: ["message-summary"], contact: @bobs_contact]
          {:ok, response, notifier} = Subscription.notifier(subscribe, @now, options)
          dialog = %{notifier.dialog | local_tag: tag, local: fork.headers.to}
          {:ok, notify, _notifier} = Subscription.notify(%{notifier | dialog: dialog}, @now)
          _ = response
          received(notify)
        end

      assert {:ok, first} = Subscription.receive_notify(waiting, one, @now)
      refute Subscription.belongs?(first, other)
      assert Subscription.belongs?(waiting, other)
      assert {:ok, second} = Subscription.receive_notify(waiting, other, @now)
      assert Dialog.id(first.dialog) != Dialog.id(second.dialog)
    end

    # Subscription-State, state, ms left
    for {value, state, ms} <- [
          {"active;expires=300", :active, 300_000},
          {"Active;expires=300", :active, 300_000},
          {"pending;expires=300", :pending, 300_000},
          {"Pending;expires=300", :pending, 300_000},
          {"Terminated", :terminated, 0},
          {"active", :active, 600_000},
          {"active;expires=soon", :active, 600_000},
          {"active;expires=-5", :active, 600_000},
          {"active;expires=99999999999", :active, 600_000},
          {"something-new;expires=10", :active, 10_000},
          {"terminated", :terminated, 0},
          {"terminated;reason=giveup;retry-after=5", :terminated, 0}
        ] do
      test "takes the state #{value}" do
        {subscriber, ok, notifier} = begun([], subscribe())
        {:ok, subscriber} = Subscription.receive_response(subscriber, ok, @now)
        notify = notify(notifier, [{"Subscription-State", [unquote(value)]}])
        assert {:ok, subscriber} = Subscription.receive_notify(subscriber, notify, @now)
        assert subscriber.state == unquote(state)
        assert Subscription.time_left(subscriber, @now) == unquote(ms)
      end
    end

    for {what, headers, status} <- [
          {"without a state", [{"Subscription-State", []}], 400},
          {"with a malformed state", [{"Subscription-State", [";"]}], 400},
          {"of another package", [{"Event", ["dialog"]}], 481},
          {"of another id", [{"Event", ["message-summary;id=4"]}], 481},
          {"with a malformed Event", [{"Event", [""]}], 481},
          {"of another call", [call_id: "other"], 481},
          {"to another tag", [to: {"", URI.parse!("sip:alice@atlanta.com"), %{"tag" => "99"}}],
           481},
          {"without a tag of the notifier", [from: {"", URI.parse!("sip:bob@biloxi.com"), %{}}],
           481},
          {"with a Contact of another scheme", [contact: [{"", URI.parse!("tel:123"), %{}}]],
           400},
          {"with a malformed Record-Route", [{"Record-Route", ["<"]}], 400}
        ] do
      test "refuses a first NOTIFY #{what} with #{status}" do
        {subscriber, _ok, notifier} = begun([], subscribe())
        notify = notify(notifier, unquote(Macro.escape(headers)))
        result = Subscription.receive_notify(subscriber, notify, @now)
        assert status(result) == unquote(status)

        if unquote(what) == "of another call",
          do: refute(Subscription.belongs?(subscriber, notify))
      end
    end

    test "refuses a NOTIFY that comes late, and one after the end" do
      {subscriber, notifier} = subscribed()
      {:ok, late, notifier} = Subscription.notify(notifier, @now)

      {:ok, notify, _notifier} =
        Subscription.notify(notifier, @now, state: {:terminated, "giveup"})

      {:ok, subscriber} = Subscription.receive_notify(subscriber, received(notify), @now)
      assert status(Subscription.receive_notify(subscriber, received(late), @now)) == 481

      {subscriber, notifier} = subscribed()
      {:ok, late, notifier} = Subscription.notify(notifier, @now)
      {:ok, notify, _notifier} = Subscription.notify(notifier, @now)
      {:ok, subscriber} = Subscription.receive_notify(subscriber, received(notify), @now)
      assert status(Subscription.receive_notify(subscriber, received(late), @now)) == 500
    end

    test "a NOTIFY that names no time leaves the time as it was" do
      {subscriber, notifier} = subscribed()
      notify = notify(notifier, [{"Subscription-State", ["active"]}, {:cseq, {9, :notify}}])
      {:ok, subscriber} = Subscription.receive_notify(subscriber, notify, @now + 100_000)
      assert Subscription.time_left(subscriber, @now + 100_000) == 500_000
    end

    # seconds left, ms
    for {seconds, ms} <- [
          {3_600, 3_000_000},
          {1_201, 601_000},
          {1_200, 600_000},
          {900, 450_000},
          {600, 300_000},
          {1, 500},
          {0, 0}
        ] do
      test "refreshes #{seconds} s after #{ms} ms" do
        {subscriber, _notifier} = subscribed()
        subscriber = %{subscriber | expires_at: @now + 1_000 * unquote(seconds)}
        assert Subscription.refresh_after(subscriber, @now) == unquote(ms)
      end
    end

    test "makes the SUBSCRIBE that refreshes it" do
      {subscriber, _notifier} = subscribed()
      {:ok, again, subscriber} = Subscription.refresh(subscriber)
      assert %{cseq: {2, :subscribe}, expires: 600} = again.headers
      assert again.headers["Event"] == ["message-summary"]
      assert [_contact] = again.headers.contact

      options = [expires: 300, headers: [subject: "hi"], body: "filter"]
      {:ok, again, subscriber} = Subscription.refresh(subscriber, options)
      assert %{cseq: {3, :subscribe}, expires: 300, subject: "hi"} = again.headers
      assert again.body == "filter"

      {:ok, subscriber} =
        Subscription.receive_response(subscriber, response(again, 200, expires: 200), @now)

      assert Subscription.time_left(subscriber, @now) == 200_000
      {:ok, again, _subscriber} = Subscription.refresh(subscriber)
      assert again.headers.expires == 200
    end

    test "takes no longer time than it asked for" do
      {subscriber, _notifier} = subscribed()
      {:ok, again, subscriber} = Subscription.refresh(subscriber)

      {:ok, subscriber} =
        Subscription.receive_response(subscriber, response(again, 200, expires: 9_000), @now)

      assert Subscription.time_left(subscriber, @now) == 600_000
    end

    test "keeps the id of its Event" do
      subscribe = request(:subscribe, [{"Event", ["message-summary;id=7"]}, {:expires, 600}])
      {subscriber, notifier} = subscribed([], subscribe)
      {:ok, again, _subscriber} = Subscription.refresh(subscriber)
      assert again.headers["Event"] == ["message-summary;id=7"]

      quoted = request(:subscribe, [{"Event", ["message-summary;id=\"7 8\""]}, {:expires, 600}])
      {subscriber, _notifier} = subscribed([], quoted)
      {:ok, again, _subscriber} = Subscription.refresh(subscriber)

      assert {:ok, {"message-summary", %{"id" => "7 8"}}} =
               Message.fetch_typed(received(again), "Event")

      {:ok, notify, _notifier} = Subscription.notify(notifier, @now)
      assert notify.headers["Event"] == ["message-summary;id=7"]
    end

    test "ends by an Expires of 0 and the NOTIFY that follows, or after 64*T1" do
      {subscriber, _notifier} = subscribed()
      {:ok, last, subscriber} = Subscription.unsubscribe(subscriber, @now)
      assert last.headers.expires == 0

      {:ok, subscriber} =
        Subscription.receive_response(subscriber, response(last, 200, expires: 0), @now)

      assert subscriber.state == :active
      assert Subscription.time_left(subscriber, @now) == 32_000
      assert %{state: :terminated} = Subscription.expire(subscriber, @now + 32_000)

      assert Subscription.refresh(Subscription.expire(subscriber, @now + 32_000)) ==
               {:error, :terminated}
    end

    # the response to the first SUBSCRIBE and to a refresh: state
    for {status, first, later} <- [
          {100, :waiting, :active},
          {202, :waiting, :active},
          {302, :terminated, :active},
          {403, :terminated, :active},
          {404, :terminated, :terminated},
          {408, :terminated, :active},
          {481, :terminated, :terminated},
          {489, :terminated, :terminated},
          {500, :terminated, :active},
          {503, :terminated, :active},
          {604, :terminated, :terminated}
        ] do
      test "a #{status} to the first SUBSCRIBE: #{first}; to a later one: #{later}" do
        subscribe = subscribe()
        waiting = Subscription.subscriber(subscribe, @now)

        assert {:ok, %{state: unquote(first)}} =
                 Subscription.receive_response(
                   waiting,
                   response(subscribe, unquote(status)),
                   @now
                 )

        {subscriber, _notifier} = subscribed()
        {:ok, again, subscriber} = Subscription.refresh(subscriber)

        assert {:ok, %{state: unquote(later)} = subscriber} =
                 Subscription.receive_response(subscriber, response(again, unquote(status)), @now)

        if unquote(later) == :terminated,
          do: assert(subscriber.reason == {:status, unquote(status)})
      end
    end

    test "a 423 has it ask for more, at first and later" do
      subscribe = subscribe()
      waiting = Subscription.subscriber(subscribe, @now)

      assert {:retry, %{expires: 900, state: :waiting}} =
               Subscription.receive_response(
                 waiting,
                 response(subscribe, 423, min_expires: 900),
                 @now
               )

      for headers <- [[], [min_expires: 600], [{"Min-Expires", ["soon"]}]] do
        assert {:ok, %{state: :terminated, reason: {:status, 423}}} =
                 Subscription.receive_response(waiting, response(subscribe, 423, headers), @now)
      end

      {subscriber, _notifier} = subscribed()
      {:ok, again, subscriber} = Subscription.refresh(subscriber)

      assert {:retry, subscriber} =
               Subscription.receive_response(
                 subscriber,
                 response(again, 423, min_expires: 900),
                 @now
               )

      {:ok, again, subscriber} = Subscription.refresh(subscriber)
      assert again.headers.expires == 900

      assert {:ok, %{state: :active}} =
               Subscription.receive_response(subscriber, response(again, 423), @now)
    end

    test "an error ends it while it waits, and later it goes on" do
      waiting = Subscription.subscriber(subscribe(), @now)

      assert %{state: :terminated, reason: :timeout} =
               Subscription.receive_error(waiting, :timeout)

      {subscriber, _notifier} = subscribed()
      assert Subscription.receive_error(subscriber, :timeout) == subscriber
      ended = %{subscriber | state: :terminated, reason: "giveup"}
      assert Subscription.receive_error(ended, :timeout) == ended
    end

    # reason, retry-after
    for {reason, seconds, answer} <- [
          {"deactivated", 30, :now},
          {"timeout", nil, :now},
          {"probation", nil, :later},
          {"probation", 30, {:after, 30_000}},
          {"giveup", nil, :later},
          {"giveup", 30, {:after, 30_000}},
          {"rejected", 30, :never},
          {"noresource", 30, :never},
          {"invariant", nil, :never},
          {nil, nil, :now},
          {nil, 30, {:after, 30_000}},
          {"whatever", nil, :now},
          {"whatever", 30, {:after, 30_000}},
          {:expired, nil, :now},
          {:timeout, nil, :later},
          {{:status, 481}, nil, :now},
          {{:status, 408}, nil, :now},
          {{:status, 503}, 30, {:after, 30_000}},
          {{:status, 489}, nil, :never},
          {{:status, 603}, nil, :never},
          {{:status, 404}, nil, :never},
          {{:status, 500}, nil, :later},
          {{:status, 480}, nil, :later},
          {{:status, 403}, nil, :later}
        ] do
      test "that ended for #{inspect(reason)}, #{inspect(seconds)}: again #{inspect(answer)}" do
        {subscriber, _notifier} = subscribed()

        ended = %{
          subscriber
          | state: :terminated,
            reason: unquote(reason),
            retry_after: unquote(seconds)
        }

        assert Subscription.resubscribe(ended) == unquote(answer)
      end
    end

    test "that goes on has no answer to that" do
      {subscriber, _notifier} = subscribed()
      assert_raise ArgumentError, fn -> Subscription.resubscribe(subscriber) end
    end

    test "hears why it ended" do
      {subscriber, notifier} = subscribed()

      {:ok, notify, _} =
        Subscription.notify(notifier, @now, state: {:terminated, "probation", 30})

      assert {:ok, subscriber} = Subscription.receive_notify(subscriber, received(notify), @now)

      assert {subscriber.state, subscriber.reason, subscriber.retry_after} ==
               {:terminated, "probation", 30}

      assert Subscription.resubscribe(subscriber) == {:after, 30_000}

      for status <- [200, 423, 481, 500] do
        response = response(subscribe(), status, expires: 5, min_expires: 9_000)
        assert Subscription.receive_response(subscriber, response, @now) == {:ok, subscriber}
      end
    end
  end

  describe "a notifier" do
    @options [events: ["message-summary", "dialog"], contact: @bobs_contact]

    # Expires, options, granted
    for {asked, options, granted} <- [
          {nil, [], 3_600},
          {nil, [expires: 60], 60},
          {600, [], 600},
          {9_000, [], 3_600},
          {600, [expires: 60], 60},
          {600, [min_expires: 600], 600},
          {599, [min_expires: 600], 423},
          {3_600, [min_expires: 7_200, expires: 9_000], 3_600},
          {0, [min_expires: 600], 0}
        ] do
      test "asked for #{inspect(asked)} with #{inspect(options)} grants #{granted}" do
        headers = if unquote(asked), do: [expires: unquote(asked)], else: []
        result = Subscription.notifier(subscribe(headers), @now, @options ++ unquote(options))

        case unquote(granted) do
          423 ->
            assert {:error, response} = result
            assert {response.start_line.status_code, response.headers.min_expires} == {423, 600}

          seconds ->
            assert {:ok, response, notifier} = result
            assert {response.start_line.status_code, response.headers.expires} == {200, seconds}
            assert response.headers.contact == [@bobs_contact]
            assert Subscription.time_left(notifier, @now) == 1_000 * seconds
        end
      end
    end

    test "refuses an event that it does not know with 489, and says which it does" do
      for event <- [["presence"], [""], nil] do
        headers = if event, do: [{"Event", event}], else: []

        assert {:error, response} =
                 Subscription.notifier(request(:subscribe, headers), @now, @options)

        assert response.start_line.status_code == 489
        assert response.headers["Allow-Events"] == ["message-summary, dialog"]
      end
    end

    test "refuses what is malformed with 400" do
      for headers <- [[{"Expires", ["soon"]}], [contact: "*"], [{"Record-Route", ["<"]}]] do
        subscribe =
          headers
          |> subscribe()
          |> then(
            &if(is_map_key(&1.headers, "Expires"),
              do: Message.delete_header(&1, :expires) |> Message.put_header("Expires", ["soon"]),
              else: &1
            )
          )

        assert status(Subscription.notifier(subscribe, @now, @options)) == 400
      end
    end

    test "has to know an event package" do
      assert_raise ArgumentError, ~r/:events/, fn -> Subscription.notifier(subscribe(), @now) end
    end

    test "says the state and the seconds that are left" do
      {_subscriber, notifier} = subscribed(state: :pending)
      {:ok, notify, notifier} = Subscription.notify(notifier, @now + 100_500)
      assert state_of(notify) == {"pending", %{"expires" => "500"}}

      {:ok, notify, notifier} =
        Subscription.notify(notifier, @now + 200_000,
          state: :active,
          body: "x",
          headers: [subject: "s"]
        )

      assert state_of(notify) == {"active", %{"expires" => "400"}}
      assert {notify.body, notify.headers.subject} == {"x", "s"}
      {:ok, notify, notifier} = Subscription.notify(notifier, @now + 600_000, state: :pending)
      assert state_of(notify) == {"terminated", %{"reason" => "timeout"}}
      assert Subscription.notify(notifier, @now) == {:error, :terminated}
    end

    test "answers a SUBSCRIBE for no time once" do
      {:ok, response, notifier} = Subscription.notifier(subscribe(expires: 0), @now, @options)
      assert response.headers.expires == 0
      {:ok, notify, notifier} = Subscription.notify(notifier, @now)

      assert {state_of(notify), notifier.state} ==
               {{"terminated", %{"reason" => "timeout"}}, :terminated}
    end

    test "is refreshed, and ended, by SUBSCRIBE" do
      {subscriber, notifier} = subscribed()
      {:ok, again, subscriber} = Subscription.refresh(subscriber)
      later = @now + 500_000

      assert {:ok, response, notifier} =
               Subscription.receive_subscribe(notifier, received(again), later, expires: 300)

      assert {response.headers.expires, response.headers.contact} == {300, [@bobs_contact]}
      assert Subscription.time_left(notifier, later) == 300_000

      {:ok, last, _subscriber} = Subscription.unsubscribe(subscriber, later)

      assert {:ok, response, notifier} =
               Subscription.receive_subscribe(notifier, received(last), later)

      assert response.headers.expires == 0

      assert {:ok, notify, %{state: :terminated} = notifier} =
               Subscription.notify(notifier, later)

      assert state_of(notify) == {"terminated", %{"reason" => "timeout"}}
      assert status(Subscription.receive_subscribe(notifier, received(last), later)) == 481
    end

    test "refuses a SUBSCRIBE of another subscription, one that is late, and one for too little" do
      {subscriber, notifier} = subscribed()
      {:ok, first, subscriber} = Subscription.refresh(subscriber)
      {:ok, second, _subscriber} = Subscription.refresh(subscriber)
      assert status(Subscription.receive_subscribe(notifier, received(subscribe()), @now)) == 481
      other = Message.put_header(second, "Event", ["dialog"])
      assert status(Subscription.receive_subscribe(notifier, received(other), @now)) == 481

      assert status(
               Subscription.receive_subscribe(notifier, received(second), @now, min_expires: 700)
             ) == 423

      {:ok, _response, notifier} =
        Subscription.receive_subscribe(notifier, received(second), @now)

      assert status(Subscription.receive_subscribe(notifier, received(first), @now)) == 500
    end

    for {status, state} <- [
          {200, :active},
          {404, :terminated},
          {408, :terminated},
          {481, :terminated},
          {489, :terminated},
          {500, :active},
          {503, :active},
          {403, :active}
        ] do
      test "a #{status} to its NOTIFY: #{state}" do
        {_subscriber, notifier} = subscribed()
        {:ok, notify, notifier} = Subscription.notify(notifier, @now)

        assert {:ok, %{state: unquote(state)}} =
                 Subscription.receive_response(notifier, response(notify, unquote(status)), @now)
      end
    end

    test "an error of its NOTIFY ends it" do
      {_subscriber, notifier} = subscribed()

      assert %{state: :terminated, reason: :timeout} =
               Subscription.receive_error(notifier, :timeout)
    end
  end

  describe "a REFER in a call" do
    setup do
      invite = request(:invite, [])
      ok = response(invite, 200, contact: [@bobs_contact])
      {:ok, alice} = Dialog.uac(invite, ok)
      {:ok, bob} = Dialog.uas(invite, ok)
      bob = Dialog.respond(bob, ok)

      {:ok, refer, alice} =
        Dialog.next_request(alice, :refer,
          headers: Refer.headers(URI.parse!("sip:carol@chicago.com"))
        )

      {:ok, bob} = Dialog.receive_request(bob, received(refer))
      %{alice: alice, bob: bob, refer: refer}
    end

    test "goes on in its dialog, to the NOTIFY with the final response", context do
      subscriber = Subscription.subscriber(context.refer, @now, dialog: context.alice)
      assert %{event: {"refer", nil}, expires: nil} = subscriber

      {:ok, response, notifier} =
        Subscription.notifier(received(context.refer), @now, dialog: context.bob)

      assert response.start_line.status_code == 200
      refute is_map_key(response.headers, :expires)
      {:ok, subscriber} = Subscription.receive_response(subscriber, response, @now)
      assert subscriber.state == :waiting

      {:ok, trying, notifier} = Subscription.notify(notifier, @now, Refer.progress(100))
      assert state_of(trying) == {"active", %{"expires" => "3600"}}
      assert trying.headers["Event"] == ["refer"]
      {:ok, subscriber} = Subscription.receive_notify(subscriber, received(trying), @now)
      assert {subscriber.state, Refer.status(received(trying))} == {:active, {:ok, 100}}

      {:ok, ok, notifier} = Subscription.notify(notifier, @now, Refer.progress(200))
      assert notifier.state == :terminated
      {:ok, subscriber} = Subscription.receive_notify(subscriber, received(ok), @now)
      assert {subscriber.state, subscriber.reason} == {:terminated, "noresource"}
      assert Subscription.resubscribe(subscriber) == :never
      assert {:ok, _bye, _dialog} = Dialog.next_request(subscriber.dialog, :bye)
    end

    test "names itself by its CSeq number, if that is wanted", context do
      {number, :refer} = context.refer.headers.cseq
      subscriber = Subscription.subscriber(context.refer, @now, dialog: context.alice)

      {:ok, _response, notifier} =
        Subscription.notifier(received(context.refer), @now, dialog: context.bob, id: true)

      {:ok, notify, notifier} = Subscription.notify(notifier, @now)
      assert notify.headers["Event"] == ["refer;id=#{number}"]
      {:ok, subscriber} = Subscription.receive_notify(subscriber, received(notify), @now)
      assert subscriber.event == {"refer", "#{number}"}
      {:ok, notify, _notifier} = Subscription.notify(notifier, @now)
      assert {:ok, _subscriber} = Subscription.receive_notify(subscriber, received(notify), @now)

      other = received(Message.put_header(notify, "Event", ["refer;id=#{number + 1}"]))
      waiting = Subscription.subscriber(context.refer, @now, dialog: context.alice)
      refute Subscription.belongs?(waiting, other)
    end

    test "is told of after the BYE too", context do
      subscriber = Subscription.subscriber(context.refer, @now, dialog: context.alice)

      {:ok, _response, notifier} =
        Subscription.notifier(received(context.refer), @now, dialog: context.bob)

      {:ok, bye, alice} = Dialog.next_request(context.alice, :bye)
      {:ok, bob} = Dialog.receive_request(notifier.dialog, received(bye))
      {:ok, alice} = Dialog.receive_response(alice, response(bye, 200))

      {:ok, notify, notifier} =
        Subscription.notify(%{notifier | dialog: bob}, @now, Refer.progress(200))

      assert notifier.dialog.state == :terminated

      {:ok, subscriber} =
        Subscription.receive_notify(%{subscriber | dialog: alice}, received(notify), @now)

      assert {subscriber.state, subscriber.dialog.state} == {:terminated, :terminated}
    end

    test "that is refused, or whose NOTIFY is, leaves the call as it is", context do
      subscriber = Subscription.subscriber(context.refer, @now, dialog: context.alice)

      for status <- [408, 481, 603] do
        {:ok, ended} =
          Subscription.receive_response(subscriber, response(context.refer, status), @now)

        assert {ended.state, ended.dialog.state} == {:terminated, :confirmed}
      end

      {:ok, _response, notifier} =
        Subscription.notifier(received(context.refer), @now, dialog: context.bob)

      {:ok, notify, notifier} = Subscription.notify(notifier, @now)
      {:ok, ended} = Subscription.receive_response(notifier, response(notify, 481), @now)
      assert {ended.state, ended.dialog.state} == {:terminated, :confirmed}
    end

    test "may go without a subscription (RFC4488)", context do
      subscriber = Subscription.subscriber(context.refer, @now, dialog: context.alice)
      ok = response(context.refer, 200, [{"Refer-Sub", ["false"]}])

      assert {:ok, %{state: :terminated, reason: nil}} =
               Subscription.receive_response(subscriber, ok, @now)

      ok = response(context.refer, 202, [{"Refer-Sub", ["true"]}])
      assert {:ok, %{state: :waiting}} = Subscription.receive_response(subscriber, ok, @now)
    end
  end

  test "a failure outside of a call ends the dialog with the subscription" do
    {_subscriber, notifier} = subscribed()
    {:ok, notify, notifier} = Subscription.notify(notifier, @now)
    {:ok, notifier} = Subscription.receive_response(notifier, response(notify, 481), @now)
    assert notifier.dialog.state == :terminated
  end

  test "options of the wrong type raise" do
    {subscriber, notifier} = subscribed()

    for wrong <- [
          fn -> Subscription.subscriber(subscribe(), @now, dialog: :none) end,
          fn -> Subscription.notifier(subscribe(), @now, events: :all) end,
          fn ->
            Subscription.notifier(subscribe(), @now,
              events: ["dialog"],
              contact: "sip:bob@192.0.2.4"
            )
          end,
          fn -> Subscription.refresh(subscriber, expires: 0) end,
          fn -> Subscription.unsubscribe(subscriber, @now, expires: 5) end,
          fn -> Subscription.notify(notifier, @now, state: :gone) end,
          fn -> Subscription.notify(notifier, @now, state: {:terminated, :giveup}) end,
          fn -> Subscription.notify(notifier, @now, state: {:terminated, "giveup", -1}) end
        ],
        do: assert_raise(ArgumentError, wrong)
  end

  test "random octets never raise" do
    :rand.seed(:exsss, {5, 5, 5})
    {subscriber, notifier} = subscribed()
    waiting = Subscription.subscriber(subscribe(), @now)
    {:ok, again, _subscriber} = Subscription.refresh(subscriber)
    {:ok, notify, _notifier} = Subscription.notify(notifier, @now)

    for _ <- 1..1_500, header <- ["Event", "Subscription-State", "Expires"] do
      noise =
        for _ <- 1..:rand.uniform(10),
            into: "",
            do: <<Enum.random([1, 255, ?", ?\\, ?\t] ++ ~c"a;=<>, 9-")>>

      text = if :rand.uniform(2) == 1, do: noise, else: "terminated;reason=" <> noise

      for message <- [again, notify] do
        message = message |> Message.delete_header(header) |> Message.put_header(header, [text])

        results =
          case message.start_line.method do
            :notify ->
              for one <- [subscriber, waiting],
                  do: Subscription.receive_notify(one, message, @now)

            :subscribe ->
              [
                Subscription.receive_subscribe(notifier, message, @now),
                Subscription.notifier(message, @now, @options)
              ]
          end

        for result <- results, do: assert(elem(result, 0) in [:ok, :error])
      end
    end
  end
end
