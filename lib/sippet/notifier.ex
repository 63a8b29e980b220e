defmodule Sippet.Notifier do
  @options [
    events: [
      type: {:custom, &__MODULE__.events?/1, "a list of event packages, and not empty"},
      required: true,
      doc: "the packages that you know, as in Allow-Events"
    ],
    expires: [
      type: :positive,
      default: 3_600,
      doc: "the longest time that you grant, in seconds"
    ],
    min_expires: [
      type: :positive,
      default: 60,
      doc:
        "the shortest time that you grant, in seconds; less than that, and less than an hour, " <>
          "is refused with 423"
    ],
    max: [
      type: :limit,
      default: 10_000,
      doc: "the most subscriptions at a time; a further one is refused with 503"
    ],
    max_per_subscriber: [
      type: :limit,
      default: 50,
      doc: "the most subscriptions of one subscriber at a time; a further one is refused with 503"
    ]
  ]

  @moduledoc """
  All subscriptions of a notifier: who watches which resource, and the NOTIFYs for them (RFC 6665).

      notifier = Sippet.Notifier.new(events: ["message-summary"])

      options = [resource: "alice", contact: contact]

      {:ok, response, id, notifier} =
        Sippet.Notifier.receive_subscribe(notifier, subscribe, now, options)

      {notifies, notifier} = Sippet.Notifier.notify(notifier, id, now, &body/1)

      # Later, when the mailbox of Alice has changed:
      which = {"message-summary", "alice"}
      {notifies, notifier} = Sippet.Notifier.notify(notifier, which, now, &body/1)

  The struct is a value, and one process of your application keeps it, so that the NOTIFYs of a
  subscription keep their order. It has no clock: you give `now`, in milliseconds, by any clock that
  never goes back. Each subscription in it is a `Sippet.Subscription`. `Examples.PBX.Watchers`
  (`examples/pbx.ex`) is such a process.

  | message or event | function |
  |---|---|
  | SUBSCRIBE, the first or a later one | `receive_subscribe/4`, then `notify/4` with its ID |
  | a resource has changed | `notify/4` |
  | `next/2` is over | `expire/3` |
  | the response to a NOTIFY | `receive_response/3` |
  | a NOTIFY that has failed | `receive_error/3` |

  Send each NOTIFY with your process as its owner: `Sippet.send(stack, notify, owner: self())`. Its
  response and its failure come as messages then.

  ## What a NOTIFY says

  You give a function, which gets the `t:watcher/0` and returns options of
  `Sippet.Subscription.notify/3`:

      def body(%{event: {"message-summary", _id}, resource: user}) do
        headers = [content_type: {{"application", "simple-message-summary"}, %{}}]
        [headers: headers, body: "Messages-Waiting: yes\\r\\n"]
      end

  When you stop, `notify/4` with `:all` and the option `state: {:terminated, "deactivated"}` has the
  subscribers subscribe anew at once (§4.1.3).
  """

  alias Sippet.{Dialog, Message, Options, Subscription, UAS}
  alias Sippet.Message.{Refusal, RequestLine, StatusLine}

  @enforce_keys [:options]
  defstruct @enforce_keys ++
              [entries: %{}, watched: %{}, subscribers: %{}, sent: %{}, times: :gb_sets.new()]

  # `entries` are watchers with their subscription and the branch of the last NOTIFY. The others
  # find an entry: `watched` has IDs by package and resource, `sent` by branch, and `times` in the
  # order of their ends. `subscribers` counts.
  @opaque t :: %__MODULE__{
            options: map,
            entries: %{Dialog.id() => map},
            watched: %{{String.t(), term} => MapSet.t()},
            subscribers: %{term => pos_integer},
            sent: %{String.t() => Dialog.id()},
            times: :gb_sets.set()
          }

  @typedoc """
  A subscription as your functions see it.

    * `event` - `{package, id}`, such as `{"dialog", nil}`
    * `resource`, `subscriber` - as you gave them to `receive_subscribe/4`
    * `version` - how many NOTIFYs it had, as the bodies of some packages count them
  """
  @type watcher :: %{
          event: Subscription.event(),
          resource: term,
          subscriber: term,
          version: non_neg_integer
        }

  @typedoc "Which subscriptions: one, those of a package and a resource, or all."
  @type which :: Dialog.id() | {package :: String.t(), resource :: term} | :all

  # In ms: the longest that `receive` takes.
  @longest_timeout 4_294_967_295

  @subscribe_options [
    resource: [
      type: {:custom, &__MODULE__.any?/1, "a term"},
      required: true,
      doc: "what it watches, any term"
    ],
    contact: [
      type: {:custom, &Subscription.contact?/1, "{display_name, uri, params}"},
      required: true,
      doc: "your Contact"
    ],
    subscriber: [
      type: {:custom, &__MODULE__.any?/1, "a term"},
      default: nil,
      doc: "whose it is, any term, for `:max_per_subscriber`; `nil` is not counted"
    ],
    state: [
      type: {:one_of, [:active, :pending]},
      default: :active,
      doc: "`:pending` if somebody has to allow the subscription first"
    ]
  ]

  @doc false
  @spec events?(term) :: boolean
  def events?(value), do: value != [] and UAS.tokens?(value)

  @doc false
  @spec any?(term) :: true
  def any?(_value), do: true

  @doc """
  Makes a notifier without subscriptions. Raises `ArgumentError` for a wrong option. Options:

  #{Options.docs(@options)}
  """
  @spec new(keyword) :: t
  def new(options), do: %__MODULE__{options: Options.validate!(options, @options)}

  @doc """
  Takes a SUBSCRIBE: one that begins a subscription, and one that refreshes or ends it (§4.2.1).

  Returns `{:ok, response, id, notifier}`. Send the 200, and then the NOTIFY of `notify/4` with this
  ID, which is that of its dialog. If you do not want the subscription after all, send a refusal and
  go on with the notifier of before.

  Returns `{:error, response}`, and nothing has changed, with

    * 481 - its To has a tag, and there is no such subscription. A dialog has one alone, as RFC 5057
      advises, so a SUBSCRIBE in it for another event is refused too;
    * 503 - there are `:max` or `:max_per_subscriber` subscriptions;
    * 489, 423, 400 and 500 as in `Sippet.Subscription.notifier/3` and
      `Sippet.Subscription.receive_subscribe/4`.

  Options, which count for the first SUBSCRIBE alone:

  #{Options.docs(@subscribe_options)}
  """
  @spec receive_subscribe(t, Message.request(), now :: integer, keyword) ::
          {:ok, Message.response(), Dialog.id(), t} | {:error, Message.response()}
  def receive_subscribe(
        %__MODULE__{} = notifier,
        %Message{start_line: %RequestLine{method: :subscribe}} = subscribe,
        now,
        options
      ) do
    options = Options.validate!(options, @subscribe_options)
    known = notifier.entries[Dialog.id(subscribe)]

    with {:ok, response, entry} <- take(known, subscribe, now, options, notifier) do
      id = Dialog.id(entry.subscription.dialog)
      {:ok, response, id, put(notifier, id, entry)}
    end
  end

  defp take(nil, subscribe, now, options, notifier) do
    %{resource: resource, subscriber: subscriber} = options
    granted = Map.take(notifier.options, [:events, :expires, :min_expires])
    granted = Map.merge(granted, Map.take(options, [:contact, :state]))

    with :ok <- outside(subscribe),
         :ok <- room(notifier, subscriber, subscribe),
         {:ok, response, subscription} <-
           Subscription.notifier(subscribe, now, Map.to_list(granted)) do
      entry = %{subscription: subscription, resource: resource, subscriber: subscriber}
      {:ok, response, Map.merge(entry, %{version: 0, sent: nil})}
    end
  end

  defp take(%{subscription: known} = entry, subscribe, now, _options, notifier) do
    granted = notifier.options |> Map.take([:expires, :min_expires]) |> Map.to_list()

    with {:ok, response, subscription} <-
           Subscription.receive_subscribe(known, subscribe, now, granted),
         do: {:ok, response, %{entry | subscription: subscription}}
  end

  # RFC3261§12.2.2
  defp outside(subscribe),
    do: if(Dialog.within?(subscribe), do: Refusal.new(subscribe, 481), else: :ok)

  defp room(notifier, subscriber, subscribe) do
    %{options: %{max: max, max_per_subscriber: own_max}, entries: entries} = notifier
    own = Map.get(notifier.subscribers, subscriber, 0)

    if map_size(entries) < max and (subscriber == nil or own < own_max),
      do: :ok,
      else: Refusal.new(subscribe, 503)
  end

  @doc """
  Makes the NOTIFYs for these subscriptions (§4.2.2): the one with an ID, those of
  `{package, resource}`, or `:all`.

  Returns `{notifies, notifier}`. `fun` gets each `t:watcher/0`, and returns options of
  `Sippet.Subscription.notify/3`. A subscription whose time is over, that was ended by its
  SUBSCRIBE, or whose `:state` is terminated, is gone with its NOTIFY. An ID of no subscription
  has no NOTIFY.
  """
  @spec notify(t, which, now :: integer, (watcher -> keyword)) :: {[Message.request()], t}
  def notify(%__MODULE__{} = notifier, which, now, fun) when is_function(fun, 1),
    do: notifier |> ids(which) |> Enum.flat_map_reduce(notifier, &notify_one(&1, &2, now, fun))

  defp ids(notifier, :all), do: Map.keys(notifier.entries)
  defp ids(notifier, {_package, _resource} = key), do: Map.get(notifier.watched, key, [])
  defp ids(_notifier, {_call_id, _local_tag, _remote_tag} = id), do: [id]

  defp notify_one(id, notifier, now, fun) do
    with %{^id => entry} <- notifier.entries,
         options = fun.(watcher(entry)),
         {:ok, notify, subscription} <- Subscription.notify(entry.subscription, now, options) do
      sent = branch(notify)
      entry = %{entry | subscription: subscription, version: entry.version + 1, sent: sent}
      {[notify], put(notifier, id, entry)}
    else
      _gone -> {[], notifier}
    end
  end

  defp branch(%Message{headers: %{via: [{_version, _protocol, _sent_by, params} | _]}}),
    do: params["branch"]

  @doc """
  Returns in how many milliseconds the time of the next subscription is over, or `:infinity` if
  there is none.

  It fits the timeout of a `GenServer`: it is at most 49 days. Then call `expire/3`.
  """
  @spec next(t, now :: integer) :: timeout
  def next(%__MODULE__{times: times}, now) do
    if :gb_sets.is_empty(times),
      do: :infinity,
      else: (elem(:gb_sets.smallest(times), 0) - now) |> max(0) |> min(@longest_timeout)
  end

  @doc """
  Ends the subscriptions whose time is over (§4.2.1.4).

  Returns `{notifies, notifier}` as `notify/4` does: their last NOTIFYs, which say
  `terminated;reason=timeout`.
  """
  @spec expire(t, now :: integer, (watcher -> keyword)) :: {[Message.request()], t}
  def expire(%__MODULE__{} = notifier, now, fun) when is_function(fun, 1),
    do: expire([], notifier, now, fun)

  defp expire(notifies, notifier, now, fun) do
    if next(notifier, now) == 0 do
      {_at, id} = :gb_sets.smallest(notifier.times)
      {[notify], notifier} = notify_one(id, notifier, now, fun)
      expire([notify | notifies], notifier, now, fun)
    else
      {Enum.reverse(notifies), notifier}
    end
  end

  @doc """
  Takes the response to a NOTIFY. One that says that the far end knows nothing of the subscription ends it
  (`Sippet.Subscription.receive_response/3`); so does a 408. Any other response leaves it.
  """
  @spec receive_response(t, Message.response(), now :: integer) :: t
  def receive_response(
        %__MODULE__{} = notifier,
        %Message{start_line: %StatusLine{}} = response,
        now
      ) do
    id = Dialog.id(response)

    case notifier.entries do
      %{^id => entry} ->
        {_ok, subscription} = Subscription.receive_response(entry.subscription, response, now)
        put(notifier, id, %{entry | subscription: subscription})

      %{} ->
        notifier
    end
  end

  @doc """
  Takes the failure of a NOTIFY: the error that its owner got, with the branch of its key.

  If it was the last NOTIFY of its subscription, that has ended (§4.2.2).
  """
  @spec receive_error(t, %{branch: String.t()}, reason :: term) :: t
  def receive_error(%__MODULE__{} = notifier, %{branch: branch}, reason) do
    case notifier.sent do
      %{^branch => id} ->
        entry = notifier.entries[id]
        subscription = Subscription.receive_error(entry.subscription, reason)
        put(notifier, id, %{entry | subscription: subscription})

      %{} ->
        notifier
    end
  end

  @doc """
  Returns the subscription with this ID, as `{:ok, watcher}`, or `:error`.
  """
  @spec fetch(t, Dialog.id()) :: {:ok, watcher} | :error
  def fetch(%__MODULE__{entries: entries}, id) do
    with {:ok, entry} <- Map.fetch(entries, id), do: {:ok, watcher(entry)}
  end

  @doc """
  Returns all subscriptions by their IDs.
  """
  @spec watchers(t) :: %{Dialog.id() => watcher}
  def watchers(%__MODULE__{entries: entries}),
    do: for({id, entry} <- entries, into: %{}, do: {id, watcher(entry)})

  defp watcher(%{subscription: %{event: event}} = entry),
    do: entry |> Map.take([:resource, :subscriber, :version]) |> Map.put(:event, event)

  ## The ways to an entry

  defp put(notifier, id, entry), do: notifier |> delete(id) |> insert(id, entry)

  defp insert(notifier, _id, %{subscription: %{state: :terminated}}), do: notifier

  defp insert(notifier, id, %{subscriber: subscriber, sent: sent} = entry) do
    %{
      notifier
      | entries: Map.put(notifier.entries, id, entry),
        watched: Map.update(notifier.watched, key(entry), MapSet.new([id]), &MapSet.put(&1, id)),
        subscribers: Map.update(notifier.subscribers, subscriber, 1, &(&1 + 1)),
        sent: if(sent, do: Map.put(notifier.sent, sent, id), else: notifier.sent),
        times: :gb_sets.add({entry.subscription.expires_at, id}, notifier.times)
    }
  end

  defp delete(notifier, id) do
    case Map.pop(notifier.entries, id) do
      {nil, _entries} ->
        notifier

      {entry, entries} ->
        %{
          notifier
          | entries: entries,
            watched: without(notifier.watched, key(entry), &MapSet.delete(&1, id), MapSet.new()),
            subscribers: without(notifier.subscribers, entry.subscriber, &(&1 - 1), 0),
            sent: Map.delete(notifier.sent, entry.sent),
            times: :gb_sets.delete({entry.subscription.expires_at, id}, notifier.times)
        }
    end
  end

  defp key(%{subscription: %{event: {package, _id}}, resource: resource}), do: {package, resource}

  defp without(map, key, change, empty) do
    case change.(Map.fetch!(map, key)) do
      ^empty -> Map.delete(map, key)
      left -> Map.put(map, key, left)
    end
  end
end
