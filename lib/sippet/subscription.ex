defmodule Sippet.Subscription do
  @moduledoc """
  A subscription: what a subscriber and a notifier keep of each other between SUBSCRIBE and the last NOTIFY
  (RFC 6665).

  The struct is a value, and your application keeps it, with its `Sippet.Dialog` inside. It has no clock:
  you give `now`, in milliseconds, by any clock that never goes back. What is subscribed to, the *event
  package*, and the bodies of the NOTIFYs are yours.

  | message | the subscriber | the notifier |
  |---|---|---|
  | the first SUBSCRIBE, or a REFER | `subscriber/3` | `notifier/3` |
  | a later SUBSCRIBE | `refresh/2`, `unsubscribe/3` | `receive_subscribe/4` |
  | NOTIFY | `receive_notify/3` | `notify/3` |
  | the responses to what you sent | `receive_response/3` | `receive_response/3` |

  A request that fails without a response goes through `receive_error/2`. `belongs?/2` says which
  subscription a message belongs to.

  ## The subscriber

      subscribe =
        Sippet.Message.build_request(:subscribe, "sip:bob@biloxi.com")
        |> Sippet.Message.put_headers([{"Event", ["message-summary"]}, expires: 600, from: me, contact: [contact]])
        |> Sippet.Message.complete()

      subscription = Sippet.Subscription.subscriber(subscribe, now)
      :ok = Sippet.send(stack, subscribe, owner: self())

      case Sippet.Subscription.receive_notify(subscription, notify, now) do
        {:ok, subscription} -> Sippet.send(stack, Sippet.Message.to_response(notify, 200))
        {:error, response} -> Sippet.send(stack, response)
      end

  Only a NOTIFY makes the subscription, and it may come before the 200 (§4.1.2.4). If the SUBSCRIBE was
  forked, each notifier sends its own. So keep the `:waiting` subscription until 64·T1 (32 s) are over, and
  give it each NOTIFY that belongs to no other: each makes a subscription of its own.

  Refresh it after `refresh_after/2`. When it has ended, `resubscribe/1` says whether you may begin again.

  ## The notifier

      case Sippet.Subscription.notifier(subscribe, now, events: ["message-summary"], contact: contact) do
        {:ok, response, subscription} ->
          Sippet.send(stack, response)
          {:ok, notify, subscription} = Sippet.Subscription.notify(subscription, now, options)
          Sippet.send(stack, notify, owner: self())

        {:error, response} ->
          Sippet.send(stack, response)
      end

  A NOTIFY follows each SUBSCRIBE at once, also that which ends the subscription (§4.2.1.2). Send a NOTIFY when
  `time_left/2` is 0, too: it tells the subscriber that its time is over.

  ## In the dialog of a call

  A REFER in a call uses the dialog of the call. Give it as the option `:dialog`, and keep one dialog for both: put
  the call's dialog into the subscription before you call a function of this module, and take it out
  afterwards.

      {:ok, notify, subscription} =
        Sippet.Subscription.notify(%{subscription | dialog: call.dialog}, now, options)

      call = %{call | dialog: subscription.dialog}

  What ends the subscription does not end such a dialog (RFC 5057).

  ## Fields

    * `role` - `:subscriber` or `:notifier`
    * `state` - `:waiting` before the first NOTIFY, then `:pending`, `:active` or `:terminated`
    * `event` - `{package, id}`, such as `{"dialog", nil}`
    * `dialog` - the dialog, `nil` before there is one
    * `expires` - the seconds that you ask for, as a subscriber
    * `reason` - why a subscription has ended: the text of the reason, `:expired`, `:timeout`, or `{:status,
      status}`; `nil` if nothing was said
    * `retry_after` - how many seconds the notifier wants the subscriber to wait, or `nil`
  """

  alias Sippet.{Dialog, Digits, Headers, Message, Options, Refer, UAS}
  alias Sippet.Message.{Refusal, RequestLine, StatusLine, Tag}

  @enforce_keys [:role, :state, :event]
  defstruct @enforce_keys ++ [:dialog, :request, :expires, :expires_at, :reason, :retry_after]

  @type event :: {package :: String.t(), id :: String.t() | nil}

  @type t :: %__MODULE__{
          role: :subscriber | :notifier,
          state: :waiting | :pending | :active | :terminated,
          event: event,
          dialog: Dialog.t() | nil,
          request: Message.request() | nil,
          expires: non_neg_integer | nil,
          expires_at: integer | nil,
          reason: String.t() | :expired | :timeout | {:status, 300..699} | nil,
          retry_after: non_neg_integer | nil
        }

  # RFC6665§4.1.2.4 - Timer N: 64*T1, in ms
  @timer_n 32_000

  # What a subscriber that names no time asks for, and the longest that a notifier grants, in seconds.
  @default_expires 3_600

  # How long before its end a long subscription is refreshed, in ms.
  @before_the_end 600_000

  # Of a parameter that the network sent.
  @most_seconds 9_999_999_999

  # RFC6665§4.2.1.1 - a 423 is for times below an hour
  @hour 3_600

  # RFC5057§5.1 - what ends the use of a dialog by a subscription, and a 489 for the package
  @ending [404, 405, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604]

  @notifier_options [
    events: [
      type: {:custom, &UAS.tokens?/1, "a list of event packages"},
      default: [],
      doc: "the packages that you know, as in Allow-Events; needed for a SUBSCRIBE"
    ],
    contact: [
      type: {:custom, &__MODULE__.contact?/1, "{display_name, uri, params}"},
      default: nil,
      doc: "your Contact; needed outside of a call"
    ],
    dialog: [
      type: {:custom, &__MODULE__.dialog?/1, "a Sippet.Dialog"},
      default: nil,
      doc: "the dialog of the call that the request came in"
    ],
    expires: [
      type: :positive,
      default: @default_expires,
      doc: "the longest time that you grant, in seconds"
    ],
    min_expires: [
      type: :limit,
      default: 0,
      doc: "the shortest time that you grant, in seconds; less than that is refused with 423"
    ],
    state: [
      type: {:one_of, [:active, :pending]},
      default: :active,
      doc: "`:pending` if somebody has to allow the subscription first"
    ],
    id: [
      type: :boolean,
      default: false,
      doc:
        "whether the NOTIFYs of a REFER name it by its CSeq number, as those of a second REFER in a dialog must (RFC 3515 §2.4.6)"
    ]
  ]

  @subscriber_options [
    dialog: [
      type: {:custom, &__MODULE__.dialog?/1, "a Sippet.Dialog"},
      default: nil,
      doc: "the dialog of the call in which you send the request"
    ]
  ]

  @refresh_options [
    expires: [
      type: :positive,
      default: nil,
      doc: "how long you want it to go on, in seconds; as before if you say nothing"
    ],
    headers: [type: :headers, default: [], doc: "more headers of the SUBSCRIBE"],
    body: [
      type: {:custom, &is_binary/1, "a binary"},
      default: nil,
      doc: "the body of the SUBSCRIBE, such as a filter"
    ]
  ]

  @notify_options [
    state: [
      type: {:custom, &__MODULE__.state?/1, ":active, :pending or {:terminated, reason}"},
      default: nil,
      doc:
        "the state from now on: `:active`, `:pending`, `{:terminated, reason}` or `{:terminated, reason, retry_after}` with " <>
          "seconds (§4.1.3); as before if you say nothing, and terminated when the time is over"
    ],
    headers: [type: :headers, default: [], doc: "more headers of the NOTIFY"],
    body: [type: {:custom, &is_binary/1, "a binary"}, default: nil, doc: "its body"]
  ]

  @doc false
  @spec contact?(term) :: boolean
  def contact?(value), do: match?({_name, _uri, _params}, value)

  @doc false
  @spec dialog?(term) :: boolean
  def dialog?(value), do: is_struct(value, Dialog)

  ## The subscriber

  @doc """
  Makes the subscription of a SUBSCRIBE or a REFER that you send: it is `:waiting` for its NOTIFY.

  The request has an Event, or is a REFER, and is complete (`Sippet.Message.complete/1`). Raises `ArgumentError` if the
  Event of a SUBSCRIBE is missing or malformed. Options:

  #{Options.docs(@subscriber_options)}
  """
  @spec subscriber(Message.request(), now :: integer, keyword) :: t
  def subscriber(%Message{start_line: %RequestLine{method: method}} = request, now, options \\ [])
      when method in [:subscribe, :refer] do
    %{dialog: dialog} = Options.validate!(options, @subscriber_options)

    event =
      case event(request) do
        {:ok, event} -> event
        :error -> raise ArgumentError, "expected a SUBSCRIBE with an Event"
      end

    %__MODULE__{
      role: :subscriber,
      state: :waiting,
      event: event,
      dialog: dialog,
      request: request,
      expires: if(method == :subscribe, do: expires(request) || @default_expires),
      expires_at: now + @timer_n
    }
  end

  @doc """
  Takes a NOTIFY (§4.1.3). Answer it with 200.

  The first one makes the subscription, and its dialog. Subscription-State says how long it goes on, or that it
  has ended; an unknown state counts as active.

  Returns `{:error, response}` with

    * 481 - the NOTIFY belongs to another subscription, or this one has ended;
    * 400 - Subscription-State or Contact is missing or malformed;
    * 500 - its CSeq number is lower than the last one.
  """
  @spec receive_notify(t, Message.request(), now :: integer) ::
          {:ok, t} | {:error, Message.response()}
  def receive_notify(
        %__MODULE__{role: :subscriber} = subscription,
        %Message{start_line: %RequestLine{method: :notify}} = notify,
        now
      ) do
    with :ok <- mine(subscription, notify),
         {:ok, state, params} <- subscription_state(notify),
         {:ok, dialog} <- dialog_of(subscription, notify) do
      {:ok, event} = event(notify)
      subscription = %{subscription | dialog: dialog, event: event}
      {:ok, %{notified(subscription, state, params, now) | request: nil}}
    end
  end

  defp mine(%{state: :terminated}, notify), do: Refusal.new(notify, 481)

  defp mine(subscription, notify),
    do: if(belongs?(subscription, notify), do: :ok, else: Refusal.new(notify, 481))

  defp subscription_state(notify) do
    case Message.fetch_typed(notify, "Subscription-State") do
      {:ok, {state, params}} -> {:ok, String.downcase(state, :ascii), params}
      _none_or_malformed -> Refusal.bad_header(notify, "Subscription-State")
    end
  end

  defp dialog_of(%{dialog: nil, request: request}, notify) do
    case Dialog.uac(request, notify) do
      {:ok, dialog} -> {:ok, dialog}
      {:error, :no_dialog} -> Refusal.new(notify, 481)
      {:error, :malformed_record_route} -> Refusal.bad_header(notify, "Record-Route")
      {:error, _contact} -> Refusal.bad_header(notify, "Contact")
    end
  end

  defp dialog_of(%{dialog: dialog}, notify) do
    with {:ok, after_it} <- Dialog.receive_request(in_use(dialog), notify),
         do: {:ok, restored(after_it, dialog)}
  end

  # RFC5057§5.3 - after its BYE the dialog of a call goes on for the subscription
  defp in_use(%{method: :invite, state: :terminated} = dialog), do: %{dialog | state: :confirmed}
  defp in_use(dialog), do: dialog

  defp restored(dialog, %{method: :invite, state: state}), do: %{dialog | state: state}
  defp restored(dialog, _before), do: dialog

  # RFC6665§4.1.3 - the reason and retry-after
  defp notified(subscription, "terminated", params, _now),
    do: ended(subscription, params["reason"], seconds(params["retry-after"]))

  defp notified(subscription, state, params, now) do
    first? = subscription.state == :waiting
    subscription = %{subscription | state: if(state == "pending", do: :pending, else: :active)}

    case seconds(params["expires"]) do
      nil when first? -> %{subscription | expires_at: granted_at(subscription, now)}
      nil -> subscription
      seconds -> %{subscription | expires_at: now + 1_000 * seconds}
    end
  end

  # That of the 200 counts, or of the SUBSCRIBE if none has come; a REFER has no time.
  defp granted_at(%{expires: nil}, _now), do: nil
  defp granted_at(%{expires: seconds}, now), do: now + 1_000 * seconds

  @doc """
  Makes the SUBSCRIBE that refreshes the subscription (§4.1.2.2). Returns `{:ok, subscribe, subscription}`.

  Returns `{:error, :waiting}` before the first NOTIFY, and `{:error, :terminated}` afterwards. Options:

  #{Options.docs(@refresh_options)}
  """
  @spec refresh(t, keyword) ::
          {:ok, Message.request(), t} | {:error, :waiting | :terminated}
  def refresh(%__MODULE__{role: :subscriber} = subscription, options \\ []) do
    options = Options.validate!(options, @refresh_options)
    expires = options.expires || subscription.expires || @default_expires
    subscribe(%{subscription | expires: expires}, expires, options)
  end

  @doc """
  Makes the SUBSCRIBE that ends the subscription, with an Expires of 0 (§4.1.2.3). Its last NOTIFY is still to come: the
  subscription lasts at most 64·T1 (32 s) from `now` on. The errors and options are those of `refresh/2`, but for
  `:expires`.
  """
  @spec unsubscribe(t, now :: integer, keyword) ::
          {:ok, Message.request(), t} | {:error, :waiting | :terminated}
  def unsubscribe(%__MODULE__{role: :subscriber} = subscription, now, options \\ []) do
    options = Options.validate!(options, Keyword.delete(@refresh_options, :expires))
    last = min(subscription.expires_at || now + @timer_n, now + @timer_n)
    subscribe(%{subscription | expires_at: last}, 0, options)
  end

  defp subscribe(%{state: state}, _expires, _options) when state in [:waiting, :terminated],
    do: {:error, state}

  defp subscribe(subscription, expires, options) do
    headers =
      [{"Event", [event_text(subscription.event)]}, {:expires, expires}] ++
        Enum.to_list(options.headers)

    next_request(subscription, :subscribe, headers, options)
  end

  @doc """
  Returns in how many milliseconds to refresh the subscription: 10 minutes before its end, or at half of the time that
  is left if that is less than 20 minutes. `nil` if there is nothing to refresh.
  """
  @spec refresh_after(t, now :: integer) :: non_neg_integer | nil
  def refresh_after(%__MODULE__{role: :subscriber, state: state} = subscription, now)
      when state in [:pending, :active] do
    case time_left(subscription, now) do
      nil -> nil
      ms when ms > 2 * @before_the_end -> ms - @before_the_end
      ms -> div(ms, 2)
    end
  end

  def refresh_after(%__MODULE__{}, _now), do: nil

  @doc """
  Returns whether a subscriber whose subscription has ended may subscribe again (§4.1.3):

    * `:now` - at once, by a SUBSCRIBE in a new dialog
    * `{:after, ms}` - after the time that the notifier named
    * `:later` - after a time that you choose
    * `:never` - the notifier would refuse it again

  Raises `ArgumentError` if the subscription has not ended.
  """
  @spec resubscribe(t) :: :now | {:after, pos_integer} | :later | :never
  def resubscribe(%__MODULE__{state: :terminated, reason: reason, retry_after: seconds}) do
    case reason do
      never when never in ["rejected", "noresource", "invariant"] -> :never
      {:status, status} when status in [481, 503] or status == 408 -> after_or(seconds, :now)
      {:status, 480} -> after_or(seconds, :later)
      {:status, status} when status in @ending or status in 600..699 -> :never
      {:status, _status} -> after_or(seconds, :later)
      later when later in ["probation", "giveup"] -> after_or(seconds, :later)
      now when now in ["deactivated", "timeout"] -> :now
      :expired -> :now
      :timeout -> :later
      _unknown_or_none -> after_or(seconds, :now)
    end
  end

  def resubscribe(%__MODULE__{state: state}),
    do: raise(ArgumentError, "expected a terminated subscription, got: #{inspect(state)}")

  defp after_or(seconds, _otherwise) when is_integer(seconds) and seconds > 0,
    do: {:after, 1_000 * seconds}

  defp after_or(_none, otherwise), do: otherwise

  ## The notifier

  @doc """
  Takes a SUBSCRIBE or a REFER that makes a subscription. Returns `{:ok, response, subscription}`: send the 200, and
  then the first NOTIFY.

  The 200 has your Contact, and Expires for a SUBSCRIBE: what was asked for, up to the option `:expires`. A
  SUBSCRIBE with an Expires of 0 is answered once: its only NOTIFY says `terminated` (§4.4.3).

  Returns `{:error, response}` with

    * 489 and Allow-Events - the Event is missing, malformed, or none of `:events`;
    * 423 and Min-Expires - it asks for less than `:min_expires`, and for less than an hour;
    * 400 - its Contact is missing or malformed, or its Expires or Record-Route is malformed.

  Options:

  #{Options.docs(@notifier_options)}
  """
  @spec notifier(Message.request(), now :: integer, keyword) ::
          {:ok, Message.response(), t} | {:error, Message.response()}
  def notifier(%Message{start_line: %RequestLine{method: method}} = request, now, options \\ [])
      when method in [:subscribe, :refer] do
    options = Options.validate!(options, @notifier_options)

    with {:ok, event} <- known_event(request, options),
         {:ok, expires} <- granted(request, options),
         response = accept(request, expires, options.contact),
         {:ok, dialog} <- dialog_of_notifier(request, response, options.dialog) do
      subscription = %__MODULE__{
        role: :notifier,
        state: options.state,
        event: event,
        dialog: dialog,
        expires_at: now + 1_000 * expires
      }

      {:ok, response, subscription}
    end
  end

  # RFC3515§2.4.6 - the id is the CSeq number of the REFER
  defp known_event(%Message{start_line: %{method: :refer}} = refer, options) do
    {number, _method} = refer.headers.cseq
    {:ok, {"refer", if(options.id, do: Integer.to_string(number))}}
  end

  defp known_event(_subscribe, %{events: []}),
    do: raise(ArgumentError, "expected :events to name the packages that you know")

  defp known_event(subscribe, %{events: events}) do
    with {:ok, {package, _id} = event} <- event(subscribe),
         true <- package in events do
      {:ok, event}
    else
      _unknown ->
        {:error, response} = Refusal.new(subscribe, 489)
        {:error, Message.put_header(response, "Allow-Events", [Enum.join(events, ", ")])}
    end
  end

  defp granted(%Message{start_line: %{method: :refer}}, options), do: {:ok, options.expires}

  defp granted(subscribe, %{expires: longest, min_expires: shortest}) do
    case Message.fetch_typed(subscribe, :expires) do
      :error ->
        {:ok, longest}

      {:ok, seconds} when seconds > 0 and seconds < shortest and seconds < @hour ->
        {:error, response} = Refusal.new(subscribe, 423)
        {:error, Message.put_header(response, :min_expires, shortest)}

      {:ok, seconds} ->
        {:ok, min(seconds, longest)}

      {:error, _malformed} ->
        Refusal.bad_header(subscribe, "Expires")
    end
  end

  # RFC6665§8.3.1 - a REFER has a 200 too, and no Expires
  defp accept(request, expires, contact) do
    response = Message.to_response(request, 200)

    response =
      if request.start_line.method == :subscribe,
        do: Message.put_header(response, :expires, expires),
        else: response

    if contact, do: Message.put_header(response, :contact, [contact]), else: response
  end

  defp dialog_of_notifier(request, response, nil), do: Dialog.uas(request, response)
  defp dialog_of_notifier(_request, _response, dialog), do: {:ok, dialog}

  @doc """
  Takes a SUBSCRIBE that refreshes or ends the subscription (§4.2.1.4). Returns `{:ok, response, subscription}`: send the
  200, and then a NOTIFY, which says `terminated` if the SUBSCRIBE has ended the subscription.

  Returns `{:error, response}` with a 481 if the SUBSCRIBE belongs to another subscription or this one has ended, the
  refusals of `Sippet.Dialog.receive_request/2`, and 423 and 400 as in `notifier/3`. Options: `:contact`,
  `:expires` and `:min_expires` of `notifier/3`.
  """
  @spec receive_subscribe(t, Message.request(), now :: integer, keyword) ::
          {:ok, Message.response(), t} | {:error, Message.response()}
  def receive_subscribe(
        %__MODULE__{role: :notifier} = subscription,
        %Message{start_line: %RequestLine{method: :subscribe}} = subscribe,
        now,
        options \\ []
      ) do
    schema = Keyword.take(@notifier_options, [:contact, :expires, :min_expires])
    options = Options.validate!(options, schema)

    with :ok <- mine(subscription, subscribe),
         {:ok, dialog} <- Dialog.receive_request(subscription.dialog, subscribe),
         {:ok, expires} <- granted(subscribe, options) do
      contact = options.contact || dialog.local_contact
      response = accept(subscribe, expires, contact)
      {:ok, response, %{subscription | dialog: dialog, expires_at: now + 1_000 * expires}}
    end
  end

  @doc """
  Makes a NOTIFY (§4.2.2). Returns `{:ok, notify, subscription}`.

  Its Subscription-State is the state with the seconds that are left. If the time is over, the NOTIFY says
  `terminated;reason=timeout`, and the subscription has ended. Returns `{:error, :terminated}` if it had ended
  before. Options:

  #{Options.docs(@notify_options)}
  """
  @spec notify(t, now :: integer, keyword) :: {:ok, Message.request(), t} | {:error, :terminated}
  def notify(subscription, now, options \\ [])

  def notify(%__MODULE__{role: :notifier, state: :terminated}, _now, _options),
    do: {:error, :terminated}

  def notify(%__MODULE__{role: :notifier} = subscription, now, options) do
    options = Options.validate!(options, @notify_options)
    subscription = to_state(subscription, options.state, now)

    headers =
      [
        {"Event", [event_text(subscription.event)]},
        {"Subscription-State", [state_text(subscription, now)]}
      ] ++ Enum.to_list(options.headers)

    next_request(subscription, :notify, headers, options)
  end

  defp next_request(%{dialog: dialog} = subscription, method, headers, %{body: body}) do
    options = [headers: headers, body: body]

    with {:ok, request, after_it} <- Dialog.next_request(in_use(dialog), method, options),
         do: {:ok, request, %{subscription | dialog: restored(after_it, dialog)}}
  end

  defp to_state(subscription, {:terminated, reason}, _now), do: ended(subscription, reason, nil)

  defp to_state(subscription, {:terminated, reason, seconds}, _now),
    do: ended(subscription, reason, seconds)

  defp to_state(subscription, state, now) do
    if time_left(subscription, now) == 0,
      do: ended(subscription, "timeout", nil),
      else: %{subscription | state: state || subscription.state}
  end

  defp state_text(%{state: :terminated, reason: reason, retry_after: seconds}, _now) do
    "terminated;reason=#{reason}" <> if(seconds, do: ";retry-after=#{seconds}", else: "")
  end

  defp state_text(%{state: state} = subscription, now),
    do: "#{state};expires=#{div(time_left(subscription, now) + 999, 1_000)}"

  @doc false
  @spec state?(term) :: boolean
  def state?({:terminated, reason}), do: is_binary(reason)

  def state?({:terminated, reason, seconds}),
    do: is_binary(reason) and is_integer(seconds) and seconds >= 0

  def state?(state), do: state in [:active, :pending]

  ## Both sides

  @doc """
  Takes the response to a SUBSCRIBE, REFER or NOTIFY that you sent.

  Returns `{:ok, subscription}`:

    * A 2xx to SUBSCRIBE names the time, if that is less than what was asked for.
    * A 300-699 to the request that would make the subscription ends it, and so does one to a refresh or a NOTIFY that
      says that the far end knows nothing of it, such as 481 (RFC 5057 §5.1). After any other one to a
      refresh the subscription goes on until its time is over (§4.1.2.2).
    * A 408 to NOTIFY ends the subscription.
    * A 2xx to REFER with `Refer-Sub: false` says that there will be none (RFC 4488).

  Returns `{:retry, subscription}` for a 423 to SUBSCRIBE: the notifier takes no less than the seconds that `expires` now
  has. Send the SUBSCRIBE again, by `refresh/2`, or with a new Expires by `Sippet.Message.renew/1` and `subscriber/3` if
  it was the first.
  """
  @spec receive_response(t, Message.response(), now :: integer) :: {:ok, t} | {:retry, t}
  def receive_response(
        %__MODULE__{} = subscription,
        %Message{start_line: %StatusLine{}} = response,
        now
      ) do
    status = response.start_line.status_code
    {_number, method} = response.headers.cseq
    taken(put_response(subscription, response), method, status, response, now)
  end

  # RFC5057 - what ends the subscription does not end the dialog of a call
  defp put_response(%{dialog: %Dialog{method: :invite}} = subscription, _response),
    do: subscription

  defp put_response(%{dialog: nil} = subscription, _response), do: subscription

  defp put_response(%{dialog: dialog} = subscription, response) do
    case Dialog.receive_response(dialog, response) do
      {:ok, dialog} -> %{subscription | dialog: dialog}
      {:error, _reason} -> subscription
    end
  end

  defp taken(%{state: :terminated} = subscription, _method, _status, _response, _now),
    do: {:ok, subscription}

  defp taken(subscription, _method, status, _response, _now) when status < 200,
    do: {:ok, subscription}

  defp taken(subscription, :subscribe, status, response, now) when status < 300,
    do: {:ok, shortened(subscription, expires(response), now)}

  # RFC4488§4 - the far end goes without a subscription
  defp taken(%{state: :waiting} = subscription, :refer, status, response, _now)
       when status < 300 do
    if Refer.subscribe?(response),
      do: {:ok, subscription},
      else: {:ok, ended(subscription, nil, nil)}
  end

  defp taken(subscription, _method, status, _response, _now) when status < 300,
    do: {:ok, subscription}

  defp taken(%{expires: asked} = subscription, :subscribe, 423, response, _now) do
    case Message.fetch_typed(response, :min_expires) do
      {:ok, seconds} when seconds > asked -> {:retry, %{subscription | expires: seconds}}
      _no_more_than_that -> {:ok, refused(subscription, 423, nil)}
    end
  end

  defp taken(subscription, method, status, response, _now)
       when method == :notify and (status in @ending or status == 408),
       do: {:ok, ended(subscription, {:status, status}, retry_after(response))}

  defp taken(subscription, :notify, _status, _response, _now), do: {:ok, subscription}

  defp taken(subscription, _method, status, response, _now),
    do: {:ok, refused(subscription, status, retry_after(response))}

  defp refused(%{state: :waiting} = subscription, status, seconds),
    do: ended(subscription, {:status, status}, seconds)

  defp refused(subscription, status, seconds) when status in @ending,
    do: ended(subscription, {:status, status}, seconds)

  defp refused(subscription, _status, _seconds), do: subscription

  # RFC6665§4.1.2.1 - the time may be less than asked for, and not more
  defp shortened(subscription, nil, _now), do: subscription
  defp shortened(subscription, 0, _now), do: subscription

  defp shortened(subscription, seconds, now) do
    seconds = min(seconds, subscription.expires || seconds)
    subscription = %{subscription | expires: seconds}

    if subscription.state == :waiting,
      do: subscription,
      else: %{subscription | expires_at: now + 1_000 * seconds}
  end

  @doc """
  Takes the failure of a SUBSCRIBE, REFER or NOTIFY that you sent.

  It ends a subscription that waits for its first NOTIFY, and that of a notifier. After a failed refresh a
  subscription goes on until its time is over (§4.1.2.2).
  """
  @spec receive_error(t, reason :: term) :: t
  def receive_error(%__MODULE__{state: :terminated} = subscription, _reason), do: subscription

  def receive_error(%__MODULE__{role: role, state: state} = subscription, _reason)
      when role == :notifier or state == :waiting,
      do: ended(subscription, :timeout, nil)

  def receive_error(%__MODULE__{} = subscription, _reason), do: subscription

  @doc """
  Returns the milliseconds that the subscription lasts, from `now` on, or `nil` if no time is known. A waiting
  subscription lasts 64·T1 (32 s).
  """
  @spec time_left(t, now :: integer) :: non_neg_integer | nil
  def time_left(%__MODULE__{state: :terminated}, _now), do: 0
  def time_left(%__MODULE__{expires_at: nil}, _now), do: nil
  def time_left(%__MODULE__{expires_at: at}, now), do: max(at - now, 0)

  @doc """
  Ends a subscriber's subscription whose time is over, with the reason `:expired`; leaves any other as it is.
  """
  @spec expire(t, now :: integer) :: t
  def expire(%__MODULE__{} = subscription, now) do
    if subscription.state != :terminated and time_left(subscription, now) == 0,
      do: ended(subscription, :expired, nil),
      else: subscription
  end

  @doc """
  Returns whether a SUBSCRIBE or a NOTIFY that came belongs to a subscription: dialog, package and `id` of Event are the
  same (§4.4.1).

      Enum.find(subscriptions, &Sippet.Subscription.belongs?(&1, notify))

  A NOTIFY belongs to a subscription without a dialog if it has the Call-ID of the request, and in To its tag. So look
  among those with a dialog first.
  """
  @spec belongs?(t, Message.request()) :: boolean
  def belongs?(%__MODULE__{} = subscription, %Message{start_line: %RequestLine{}} = request) do
    case event(request) do
      {:ok, event} -> same_event?(subscription, event) and same_dialog?(subscription, request)
      :error -> false
    end
  end

  # RFC3515§2.4.6 - a notifier may name its first REFER too
  defp same_event?(
         %{role: :subscriber, event: {"refer", _}, request: %Message{} = refer},
         {"refer", id}
       ) do
    {number, _method} = refer.headers.cseq
    id == nil or id == Integer.to_string(number)
  end

  defp same_event?(%{event: event}, event), do: true
  defp same_event?(_subscription, _event), do: false

  defp same_dialog?(%{dialog: nil, request: %Message{headers: own}}, %Message{headers: headers}),
    do: headers.call_id == own.call_id and Tag.of(headers.to) == Tag.of(own.from)

  defp same_dialog?(%{dialog: dialog}, request), do: Dialog.id(dialog) == Dialog.id(request)

  ## Headers

  defp ended(subscription, reason, retry_after),
    do: %{subscription | state: :terminated, reason: reason, retry_after: retry_after}

  defp event(%Message{start_line: %{method: :refer}}), do: {:ok, {"refer", nil}}

  defp event(message) do
    case Message.fetch_typed(message, "Event") do
      {:ok, {package, params}} -> {:ok, {package, params["id"]}}
      _none_or_malformed -> :error
    end
  end

  defp event_text({package, id}) do
    params = if id, do: %{"id" => id}, else: %{}
    "Event" |> Headers.to_iodata({package, params}) |> IO.iodata_to_binary()
  end

  defp expires(message) do
    case Message.fetch_typed(message, :expires) do
      {:ok, seconds} -> seconds
      _none_or_malformed -> nil
    end
  end

  defp retry_after(response) do
    case Message.fetch_typed(response, :retry_after) do
      {:ok, {seconds, _comment, _params}} -> seconds
      _none_or_malformed -> nil
    end
  end

  # A parameter that is no number of seconds is as if it were not there.
  defp seconds(text) do
    case Digits.parse(text, @most_seconds) do
      {:ok, seconds} -> seconds
      :error -> nil
    end
  end
end
