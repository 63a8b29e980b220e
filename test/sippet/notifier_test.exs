defmodule Sippet.NotifierTest do
  use ExUnit.Case, async: true

  alias Sippet.{Message, Notifier, Subscription, URI}

  @now 1_000_000
  @contact {"", URI.parse!("sip:bob@192.0.2.4"), %{}}

  defp subscribe(headers \\ []) do
    :subscribe
    |> Message.build_request("sip:bob@biloxi.com")
    |> Message.put_headers(
      from: {"", URI.parse!("sip:alice@atlanta.com"), %{}},
      to: {"", URI.parse!("sip:bob@biloxi.com"), %{}},
      contact: [{"", URI.parse!("sip:alice@192.0.2.1"), %{}}]
    )
    |> Message.put_header(:via, [{{2, 0}, :udp, {"192.0.2.1", 5060}, %{}}])
    |> Message.put_headers([{"Event", ["dialog"]}, {:expires, 600}])
    |> Message.put_headers(headers)
    |> Message.complete()
  end

  defp notifier(options \\ []),
    do: Notifier.new([events: ["dialog", "message-summary"]] ++ options)

  defp options(options \\ []), do: Keyword.merge([resource: "bob", contact: @contact], options)

  defp take(notifier, subscribe, options \\ []) do
    {:ok, response, id, notifier} =
      Notifier.receive_subscribe(notifier, subscribe, @now, options(options))

    {response, id, notifier}
  end

  # The subscriber's side of a subscription that was taken and told.
  defp subscribed(notifier, options \\ [], headers \\ []) do
    subscribe = subscribe(headers)
    {response, id, notifier} = take(notifier, subscribe, options)
    {[notify], notifier} = Notifier.notify(notifier, id, @now, &content/1)
    {:ok, subscriber} = Subscription.subscriber(subscribe, @now) |> heard(response, notify)
    {subscriber, id, notifier, notify}
  end

  defp heard(subscriber, response, notify) do
    {:ok, subscriber} = Subscription.receive_response(subscriber, response, @now)
    Subscription.receive_notify(subscriber, received(notify), @now)
  end

  defp received(message) do
    message
    |> Message.update_header(:via, fn [{version, _protocol, _sent_by, params}] ->
      [{version, :udp, {"192.0.2.9", 5060}, params}]
    end)
    |> Message.to_string()
    |> Message.parse!()
  end

  defp content(watcher), do: [body: inspect({watcher.resource, watcher.version})]

  defp state_of(notify) do
    {:ok, {state, params}} = Message.fetch_typed(notify, "Subscription-State")
    {state, params}
  end

  defp key(%Message{headers: %{via: [{_version, _protocol, _sent_by, params}]}}),
    do: %{branch: params["branch"], method: :notify}

  defp status({:error, response}), do: response.start_line.status_code

  # All ways to an entry are in step with the entries.
  defp assert_sound(notifier) do
    ids = notifier.entries |> Map.keys() |> Enum.sort()
    assert Enum.sort(for {_at, id} <- :gb_sets.to_list(notifier.times), do: id) == ids
    assert Enum.sort(for {_key, set} <- notifier.watched, id <- set, do: id) == ids
    assert notifier.subscribers |> Map.values() |> Enum.sum() == length(ids)
    assert Enum.all?(notifier.sent, fn {_branch, id} -> id in ids end)
    notifier
  end

  describe "new/1" do
    test "wants packages" do
      for options <- [[], [events: []], [events: ["dialog"], max: 0], [events: [:dialog]]],
          do: assert_raise(ArgumentError, fn -> Notifier.new(options) end)
    end
  end

  describe "receive_subscribe/4" do
    test "takes a subscription" do
      {response, id, notifier} = take(notifier(), subscribe(), subscriber: "alice")
      assert response.start_line.status_code == 200
      assert response.headers.expires == 600
      assert response.headers.contact == [@contact]
      assert id == {response.headers.call_id, elem(response.headers.to, 2)["tag"], elem(id, 2)}
      watcher = %{event: {"dialog", nil}, resource: "bob", subscriber: "alice", version: 0}
      assert Notifier.fetch(notifier, id) == {:ok, watcher}
      assert Notifier.watchers(notifier) == %{id => watcher}
      assert Notifier.fetch(notifier, {"a", "b", "c"}) == :error
      assert_sound(notifier)
    end

    test "takes a refresh, which keeps resource and subscriber" do
      {subscriber, id, notifier, _notify} = subscribed(notifier(), subscriber: "alice")
      {:ok, refresh, _subscriber} = Subscription.refresh(subscriber, expires: 1_200)
      {response, ^id, notifier} = take(notifier, received(refresh), resource: "carol")
      assert response.headers.expires == 1_200
      assert response.headers.contact == [@contact]
      assert Notifier.next(notifier, @now) == 1_200_000
      assert {:ok, %{resource: "bob", subscriber: "alice"}} = Notifier.fetch(notifier, id)
      assert_sound(notifier)
    end

    test "ends a subscription by Expires 0, with its NOTIFY" do
      {subscriber, id, notifier, _notify} = subscribed(notifier())
      {:ok, last, subscriber} = Subscription.unsubscribe(subscriber, @now)
      {_response, ^id, notifier} = take(notifier, received(last))
      {[notify], notifier} = Notifier.notify(notifier, id, @now, &content/1)
      {:ok, subscriber} = Subscription.receive_notify(subscriber, received(notify), @now)
      assert {subscriber.state, subscriber.reason} == {:terminated, "timeout"}
      assert notify.body == ~s({"bob", 1})
      assert Notifier.watchers(notifier) == %{}
      assert assert_sound(notifier) == notifier()
      assert status(Notifier.receive_subscribe(notifier, received(last), @now, options())) == 481
    end

    test "refuses what it does not know" do
      refused = fn notifier, headers ->
        {:error, response} =
          Notifier.receive_subscribe(notifier, subscribe(headers), @now, options())

        response
      end

      response = refused.(notifier(), [{"Event", ["presence"]}])
      assert response.start_line.status_code == 489
      assert Message.get_header(response, "Allow-Events") == ["dialog, message-summary"]
      response = refused.(notifier(), expires: 59)
      assert {response.start_line.status_code, response.headers.min_expires} == {423, 60}
      assert refused.(notifier(), contact: []).start_line.status_code == 400
      to = {"", URI.parse!("sip:bob@biloxi.com"), %{"tag" => "12"}}
      assert refused.(notifier(), to: to).start_line.status_code == 481
    end

    # RFC5057 - a dialog has one usage
    test "refuses another event in a dialog that has a subscription" do
      {subscriber, _id, notifier, _notify} = subscribed(notifier())
      {:ok, other, _subscriber} = Subscription.refresh(subscriber)
      other = Message.put_header(received(other), "Event", ["message-summary"])
      assert status(Notifier.receive_subscribe(notifier, other, @now, options())) == 481
    end

    test "grants no more than :expires" do
      {response, _id, _notifier} = take(notifier(expires: 100), subscribe())
      assert response.headers.expires == 100
    end

    test "refuses more than :max with 503, and more than :max_per_subscriber" do
      {_response, id, notifier} =
        take(notifier(max: 3, max_per_subscriber: 2), subscribe(), subscriber: "alice")

      {_response, _id, notifier} = take(notifier, subscribe(), subscriber: "alice")
      options = options(subscriber: "alice")
      assert status(Notifier.receive_subscribe(notifier, subscribe(), @now, options)) == 503

      # Nobody's are not counted.
      {_response, _id, full} = take(notifier, subscribe())
      assert status(Notifier.receive_subscribe(full, subscribe(), @now, options())) == 503

      # One that has ended makes room.
      ended = fn _watcher -> [state: {:terminated, "noresource"}] end
      {[_notify], notifier} = Notifier.notify(notifier, id, @now, ended)
      take(notifier, subscribe(), subscriber: "alice")
    end

    test "wants a resource and a contact" do
      for options <- [[resource: "bob"], [contact: @contact], options(state: :waiting)] do
        assert_raise ArgumentError, fn ->
          Notifier.receive_subscribe(notifier(), subscribe(), @now, options)
        end
      end
    end

    test "takes one that is pending" do
      {_response, id, notifier} = take(notifier(), subscribe(), state: :pending)
      {[notify], notifier} = Notifier.notify(notifier, id, @now, fn _watcher -> [] end)
      assert {"pending", %{"expires" => "600"}} = state_of(notify)
      active = fn _watcher -> [state: :active] end
      {[notify], _notifier} = Notifier.notify(notifier, id, @now, active)
      assert {"active", _params} = state_of(notify)
    end
  end

  describe "notify/4" do
    test "tells those of a package and a resource" do
      {_one, one, notifier, _notify} = subscribed(notifier())
      {_two, two, notifier, _notify} = subscribed(notifier)
      {_other, _id, notifier, _notify} = subscribed(notifier, resource: "carol")
      mailbox = [{"Event", ["message-summary"]}]
      {_mailbox, _id, notifier, _notify} = subscribed(notifier, [], mailbox)

      {notifies, notifier} =
        Notifier.notify(notifier, {"dialog", "bob"}, @now + 1_000, &content/1)

      told = for notify <- notifies, do: {notify.headers.call_id, notify.body}
      assert Enum.sort(told) == Enum.sort(for {id, _, _} <- [one, two], do: {id, ~s({"bob", 1})})
      assert Enum.map(notifies, &state_of/1) |> Enum.uniq() == [{"active", %{"expires" => "599"}}]
      assert Notifier.notify(notifier, {"dialog", "dave"}, @now, &content/1) == {[], notifier}
      assert Notifier.notify(notifier, {"a", "b", "c"}, @now, &content/1) == {[], notifier}
      assert_sound(notifier)
    end

    test "tells all, and ends them" do
      {_one, _id, notifier, _notify} = subscribed(notifier())
      {_two, _id, notifier, _notify} = subscribed(notifier, resource: "carol")
      last = fn _watcher -> [state: {:terminated, "deactivated"}] end
      {notifies, notifier} = Notifier.notify(notifier, :all, @now, last)

      assert Enum.map(notifies, &state_of/1) ==
               List.duplicate({"terminated", %{"reason" => "deactivated"}}, 2)

      assert notifier == notifier()
    end
  end

  describe "RFC6665§4.2.1.4 expire/3" do
    test "ends those whose time is over, in their order" do
      assert Notifier.next(notifier(), @now) == :infinity
      {_one, one, notifier, _notify} = subscribed(notifier(), [], expires: 90)
      {_two, two, notifier, _notify} = subscribed(notifier, [], expires: 60)
      {_last, last, notifier, _notify} = subscribed(notifier)
      assert Notifier.next(notifier, @now) == 60_000
      assert Notifier.expire(notifier, @now + 59_999, &content/1) == {[], notifier}

      {notifies, notifier} = Notifier.expire(notifier, @now + 90_000, &content/1)
      assert for(notify <- notifies, do: notify.headers.call_id) == [elem(two, 0), elem(one, 0)]

      for notify <- notifies,
          do: assert(state_of(notify) == {"terminated", %{"reason" => "timeout"}})

      assert [^last] = notifier |> assert_sound() |> Notifier.watchers() |> Map.keys()
      assert Notifier.next(notifier, @now + 90_000) == 510_000
      assert Notifier.next(notifier, @now + 700_000) == 0
    end

    test "a time of months fits a timeout" do
      {_response, _id, notifier} =
        take(notifier(expires: 10_000_000), subscribe(expires: 10_000_000))

      assert Notifier.next(notifier, @now) == 4_294_967_295
    end
  end

  describe "RFC6665§4.2.2 the fate of a NOTIFY" do
    test "a 481 ends its subscription, and a 200 or a 500 does not" do
      {_one, id, notifier, notify} = subscribed(notifier())
      {_two, _id, notifier, _notify} = subscribed(notifier)

      for status <- [200, 500] do
        response = Message.to_response(notify, status)
        notifier = Notifier.receive_response(notifier, response, @now)
        assert map_size(Notifier.watchers(notifier)) == 2
      end

      gone = Message.to_response(notify, 481)
      notifier = Notifier.receive_response(notifier, gone, @now)
      assert Notifier.fetch(notifier, id) == :error
      assert map_size(Notifier.watchers(notifier)) == 1
      assert Notifier.receive_response(notifier, gone, @now) == notifier
      assert_sound(notifier)
    end

    test "no response ends it, if it was the last one" do
      {_one, id, notifier, first} = subscribed(notifier())
      {[second], notifier} = Notifier.notify(notifier, id, @now, &content/1)
      assert Notifier.receive_error(notifier, key(first), :timeout) == notifier
      assert Notifier.receive_error(notifier, key(second), :timeout) == notifier()
    end
  end
end
