defmodule Sippet.SessionTimer do
  @min_se 90

  @options [
    session_expires: [
      type: :positive,
      default: 1_800,
      doc: "the session interval that you ask for, in seconds; at least `:min_se`"
    ],
    min_se: [
      type: :positive,
      default: @min_se,
      doc: "the shortest session interval that you take, in seconds; at least #{@min_se} (§5)"
    ],
    refresher: [
      type: {:one_of, [:local, :remote]},
      default: nil,
      doc:
        "who shall refresh. `:local`: you, even if the far end knows nothing of session timers. `:remote`: the far end. " <>
          "`nil`: whom the far end names, and the caller if it names nobody"
    ],
    update: [
      type: :boolean,
      default: true,
      doc: "whether you refresh by UPDATE if the far end allows it; otherwise by re-INVITE"
    ]
  ]

  @moduledoc """
  A session timer: who refreshes a call, when, and when the call is given up (RFC 4028).

  A caller or a called one that has gone silent leaves a call that nobody ends. With a session timer one
  side, the *refresher*, sends an UPDATE (RFC 3311) or a re-INVITE before the *session interval* is over. If
  that does not succeed, both sides end the call.

  The struct is a value, and your application keeps it beside the `Sippet.Dialog`. It has no clock: you
  give `now`, in milliseconds, by any clock that never goes back.

  | message | you send it | you receive it |
  |---|---|---|
  | INVITE, UPDATE, re-INVITE | `put_request/2` | `receive_request/2` |
  | the response to it | `put_response/4` | `receive_response/3` |

  A request that fails without a response goes through `receive_error/2`. After each of these, `next/2`
  says what to do next, and when.

  ## The caller

      timer = Sippet.SessionTimer.new(session_expires: 600)
      {invite, timer} = Sippet.SessionTimer.put_request(timer, invite)
      :ok = Sippet.send(stack, invite, owner: self())

      case Sippet.SessionTimer.receive_response(timer, response, now) do
        {:ok, timer} -> schedule(Sippet.SessionTimer.next(timer, now))
        # A 422: the same request again, with the interval that was asked for.
        {:retry, timer} -> Sippet.SessionTimer.put_request(timer, Sippet.Message.renew(invite))
        {:error, :too_short} -> give_up()
      end

  ## The called side

      with :ok <- Sippet.SessionTimer.receive_request(timer, invite) do
        {ok, timer} = Sippet.SessionTimer.put_response(timer, invite, ok, now)
        Sippet.send(stack, ok)
      else
        {:error, response} -> Sippet.send(stack, response)
      end

  ## Refreshing

      case Sippet.SessionTimer.next(timer, now) do
        {:refresh, method, 0} ->
          {:ok, request, dialog} = Sippet.Dialog.next_request(dialog, method, options)
          {request, timer} = Sippet.SessionTimer.put_request(timer, request)

        {:hang_up, 0} ->
          {:ok, bye, dialog} = Sippet.Dialog.next_request(dialog, :bye)

        {_what, ms} or {:refresh, _method, ms} ->
          Process.send_after(self(), :session_timer, ms)

        :never ->
          :ok
      end

  Ask `next/2` again whenever such a message arrives: one that was scheduled for an earlier state of the
  timer then does no harm. An UPDATE needs no body. A re-INVITE needs the session description that you sent
  last, with the same version (§7.4).

  ## Fields

    * `interval` - the session interval in seconds, `nil` if the session has no timer
    * `refresher` - `:local` or `:remote`, `nil` if the session has no timer
    * `method` - by what you refresh: `:update` or `:invite`
    * `session_expires` - what you ask for, in seconds
    * `min_se` - the largest minimum of both sides so far, in seconds
  """

  alias Sippet.{Message, Options, UAS}
  alias Sippet.Message.{Refusal, RequestLine, StatusLine}

  defstruct [
    :interval,
    :refresher,
    :wanted,
    :update?,
    :expires_at,
    :refresh_at,
    method: :invite,
    session_expires: 1_800,
    min_se: @min_se,
    refusals: 0
  ]

  @type t :: %__MODULE__{
          interval: pos_integer | nil,
          refresher: :local | :remote | nil,
          wanted: :local | :remote | nil,
          update?: boolean,
          expires_at: integer | nil,
          refresh_at: integer | nil,
          method: :update | :invite,
          session_expires: pos_integer,
          min_se: pos_integer,
          refusals: non_neg_integer
        }

  # RFC4028§7.4, RFC3311§5.1 - the requests that refresh a session
  @refreshing [:invite, :update]

  # RFC4028§10 - how long before its end a session is given up: 32 s, or a third of its interval
  @margin 32_000

  # Every 422 may name a larger interval, without an end.
  @most_refusals 5

  @doc """
  Makes the timer of a session that does not exist yet. Options:

  #{Options.docs(@options)}

  Raises `ArgumentError` for an option that is unknown, of the wrong type, or too small.
  """
  @spec new(keyword) :: t
  def new(options \\ []) do
    options = Options.validate!(options, @options)

    if options.min_se < @min_se or options.session_expires < options.min_se do
      raise ArgumentError,
            "expected :min_se to be at least #{@min_se}, and :session_expires at least :min_se"
    end

    %__MODULE__{
      session_expires: options.session_expires,
      min_se: options.min_se,
      wanted: options.refresher,
      update?: options.update
    }
  end

  ## Requests

  @doc """
  Puts into an INVITE or an UPDATE that you send: `timer` into Supported, Session-Expires, and Min-SE if it is
  more than #{@min_se} s (§7.1, §7.4). Returns the request with the timer after it.

  Within a session that has a timer, the request names the refresher of now, so that the roles stay. Any
  other request is returned as it is.
  """
  @spec put_request(t, Message.request()) :: {Message.request(), t}
  def put_request(
        %__MODULE__{} = timer,
        %Message{start_line: %RequestLine{method: method}} = request
      )
      when method in @refreshing do
    seconds = timer.interval || timer.session_expires

    request =
      request
      |> UAS.put_extension(:supported, "timer")
      |> put_session_expires(max(seconds, timer.min_se), refresher_of_request(timer))
      |> put_min_se(timer.min_se)

    {request, %{timer | refresh_at: nil}}
  end

  def put_request(%__MODULE__{} = timer, %Message{start_line: %RequestLine{}} = request),
    do: {request, timer}

  # RFC4028§7.4 - by the roles of this request: you are its UAC
  defp refresher_of_request(%{refresher: nil, wanted: :local}), do: "uac"
  defp refresher_of_request(%{refresher: nil, wanted: :remote}), do: "uas"
  defp refresher_of_request(%{refresher: :local}), do: "uac"
  defp refresher_of_request(%{refresher: :remote}), do: "uas"
  defp refresher_of_request(_nobody), do: nil

  @doc """
  Checks an INVITE or an UPDATE that came (§9).

  Returns `{:error, response}` with

    * 422 and Min-SE - its session interval is shorter than you take, and its sender supports session
      timers;
    * 400 - its Session-Expires or its Min-SE is malformed.

  Any other request returns `:ok`.
  """
  @spec receive_request(t, Message.request()) :: :ok | {:error, Message.response()}
  def receive_request(
        %__MODULE__{} = timer,
        %Message{start_line: %RequestLine{method: method}} = request
      )
      when method in @refreshing do
    case {seconds(request, "Session-Expires"), seconds(request, "Min-SE")} do
      {:malformed, _min_se} ->
        Refusal.bad_header(request, "Session-Expires")

      {_asked, :malformed} ->
        Refusal.bad_header(request, "Min-SE")

      {asked, _min_se} ->
        if asked && asked < timer.min_se && supports?(request),
          do:
            {:error, request |> Message.to_response(422) |> put_seconds("Min-SE", timer.min_se)},
          else: :ok
    end
  end

  def receive_request(%__MODULE__{}, %Message{start_line: %RequestLine{}}), do: :ok

  ## Responses

  @doc """
  Puts into the 2xx to an INVITE or an UPDATE what was agreed: Session-Expires with the refresher, and `timer`
  into Require (§9). Returns the response with the timer after it, which runs from `now`.

  The interval is what the request asks for, or yours if that is shorter, and never below the minimum of
  both sides. If the request has no Session-Expires and its sender does not support session timers, the
  session has no timer, unless the option `:refresher` is `:local`. Any other response is returned as it is.
  """
  @spec put_response(t, Message.request(), Message.response(), now :: integer) ::
          {Message.response(), t}
  def put_response(
        %__MODULE__{} = timer,
        %Message{start_line: %RequestLine{method: method}} = request,
        %Message{start_line: %StatusLine{status_code: status}} = response,
        now
      )
      when method in @refreshing and status in 200..299 do
    timer = timer |> heard_of(request) |> put_largest_min_se(request)
    response = UAS.put_extension(response, :supported, "timer")

    case agreed(timer, request) do
      nil ->
        {response, without(timer)}

      {seconds, by} ->
        response = put_session_expires(response, seconds, by)
        # RFC4028§9 - Require says that there is a Session-Expires to be processed
        response =
          if supports?(request),
            do: UAS.put_extension(response, :require, "timer"),
            else: response

        {response, start(timer, seconds, if(by == "uas", do: :local, else: :remote), now)}
    end
  end

  def put_response(%__MODULE__{} = timer, %Message{}, %Message{} = response, _now),
    do: {response, timer}

  # RFC4028§9, table 2
  defp agreed(timer, request) do
    case {supports?(request), asked(request)} do
      {false, nil} when timer.wanted != :local -> nil
      {false, nil} -> {timer.session_expires, "uas"}
      # It does not know what a 422 is for, so its interval grows to the minimum (erratum 1687).
      {false, asked} -> {interval(timer, asked), "uas"}
      {true, nil} -> {max(timer.session_expires, timer.min_se), by(timer, nil)}
      {true, asked} -> {interval(timer, asked), by(timer, refresher_param(request))}
    end
  end

  # `receive_request/2` refuses a malformed one, which counts as none where that was not asked.
  defp asked(request) do
    with :malformed <- seconds(request, "Session-Expires"), do: nil
  end

  defp interval(timer, asked), do: asked |> min(timer.session_expires) |> max(timer.min_se)

  defp by(_timer, named) when named in ["uac", "uas"], do: named
  defp by(%{wanted: :local}, _nobody), do: "uas"
  defp by(_timer, _nobody), do: "uac"

  @doc """
  Takes the response to an INVITE or an UPDATE that you sent with `put_request/2` (§7.2, §7.3). Returns

    * `{:ok, timer}` - a 2xx has started the timer anew from `now`, or has said that there is none.
      Another final response leaves it running: your next refresh is at half of the time that is left;
    * `{:retry, timer}` - a 422 asks for a longer interval: send the request again, by
      `Sippet.Message.renew/1` or `Sippet.Dialog.renew/2` and `put_request/2`;
    * `{:error, :too_short}` - a 422 that names no longer interval, or the fifth one. The request has
      failed.

  Any other response returns `{:ok, timer}` with the timer as it was. Whether a response ends the
  dialog, as a 408 or a 481 does, `Sippet.Dialog.receive_response/2` says.
  """
  @spec receive_response(t, Message.response(), now :: integer) ::
          {:ok, t} | {:retry, t} | {:error, :too_short}
  def receive_response(%__MODULE__{} = timer, %Message{start_line: %StatusLine{}} = response, now) do
    case {response.headers.cseq, response.start_line.status_code} do
      {{_number, method}, status} when method in @refreshing and status in 200..299 ->
        {:ok, timer |> heard_of(response) |> started_by(response, now)}

      {{_number, method}, 422} when method in @refreshing ->
        too_small(timer, response, now)

      {{_number, method}, status} when method in @refreshing and status >= 300 ->
        {:ok, timer |> without_update(method, status) |> refused(now)}

      _other ->
        {:ok, timer}
    end
  end

  defp started_by(timer, response, now) do
    case seconds(response, "Session-Expires") do
      seconds when is_integer(seconds) ->
        # RFC4028§4 - less than this is not allowed, and would have you refresh without a pause
        by = if refresher_param(response) == "uas", do: :remote, else: :local
        start(timer, max(seconds, @min_se), by, now)

      # RFC4028§7.2 - the far end knows nothing of it: you may refresh alone
      nil when timer.wanted == :local ->
        start(timer, timer.interval || timer.session_expires, :local, now)

      _none_or_malformed ->
        without(timer)
    end
  end

  defp too_small(%{refusals: refusals} = timer, response, now) do
    case seconds(response, "Min-SE") do
      min_se when is_integer(min_se) and refusals < @most_refusals - 1 ->
        asked = max(timer.interval || timer.session_expires, timer.min_se)

        if min_se > asked do
          timer = %{timer | min_se: min_se, refusals: refusals + 1}
          session_expires = max(timer.session_expires, min_se)
          {:retry, %{timer | session_expires: session_expires} |> refused(now)}
        else
          {:error, :too_short}
        end

      _none_or_too_often ->
        {:error, :too_short}
    end
  end

  @doc """
  Takes the failure of an INVITE or an UPDATE that you sent. The timer runs on, and your next refresh is at half
  of the time that is left.

  A `:timeout` ends the dialog: `Sippet.Dialog.receive_error/3` says so.
  """
  @spec receive_error(t, now :: integer) :: t
  def receive_error(%__MODULE__{} = timer, now), do: refused(timer, now)

  # A far end that does not know UPDATE after all: RFC3261§8.2.1.
  defp without_update(timer, :update, status) when status in [405, 501],
    do: %{timer | method: :invite, update?: false}

  defp without_update(timer, _method, _status), do: timer

  defp refused(%{refresher: :local} = timer, now),
    do: %{timer | refresh_at: now + max(div(hang_up_at(timer) - now, 2), 0)}

  defp refused(timer, _now), do: timer

  ## Time

  @doc """
  Returns what to do next, and in how many milliseconds from `now`:

    * `{:refresh, method, ms}` - send an UPDATE or a re-INVITE. It is due at half of the interval (§10);
    * `{:hang_up, ms}` - end the call by a BYE, as no refresh was successful. It is due 32 s before the
      end of the interval, or a third of the interval if that is less (§10);
    * `:never` - the session has no timer.

  What is due returns 0.
  """
  @spec next(t, now :: integer) ::
          {:refresh, :update | :invite, ms :: non_neg_integer}
          | {:hang_up, ms :: non_neg_integer}
          | :never
  def next(%__MODULE__{interval: nil}, _now), do: :never

  def next(%__MODULE__{refresh_at: refresh_at} = timer, now) do
    hang_up_at = hang_up_at(timer)

    if refresh_at != nil and refresh_at < hang_up_at and now < hang_up_at,
      do: {:refresh, timer.method, max(refresh_at - now, 0)},
      else: {:hang_up, max(hang_up_at - now, 0)}
  end

  defp hang_up_at(%{interval: interval, expires_at: expires_at}),
    do: expires_at - min(@margin, div(interval * 1_000, 3))

  defp start(timer, seconds, refresher, now) do
    refresh_at = if refresher == :local, do: now + div(seconds * 1_000, 2)

    %{
      timer
      | interval: seconds,
        refresher: refresher,
        expires_at: now + seconds * 1_000,
        refresh_at: refresh_at,
        refusals: 0
    }
  end

  defp without(timer),
    do: %{timer | interval: nil, refresher: nil, expires_at: nil, refresh_at: nil, refusals: 0}

  ## Proxies

  @doc """
  Puts into an INVITE or an UPDATE that a proxy forwards what it wants of a session timer, which `timer` says
  (§8.1). Returns `{:ok, request}`.

  A proxy inserts Session-Expires, or lowers it, but not below the Min-SE of the request. If the interval is
  shorter than the proxy takes, the request is refused with 422, `{:error, response}`, as in
  `receive_request/2`; if its sender does not support session timers, interval and Min-SE grow instead. Any
  other request is returned as it is.

      timer = Sippet.SessionTimer.new(session_expires: 1_800, min_se: 600)

      with {:ok, request} <- Sippet.SessionTimer.forward_request(timer, request),
           {:ok, request} <- Sippet.Proxy.forward(request, target, options),
           do: Sippet.send(stack, request)
  """
  @spec forward_request(t, Message.request()) ::
          {:ok, Message.request()} | {:error, Message.response()}
  def forward_request(
        %__MODULE__{} = timer,
        %Message{start_line: %RequestLine{method: method}} = request
      )
      when method in @refreshing do
    with :ok <- receive_request(timer, request) do
      asked = seconds(request, "Session-Expires")
      # RFC4028§8.1 - a Min-SE grows, and never shrinks
      own_min_se = if asked && asked < timer.min_se, do: timer.min_se, else: @min_se
      min_se = max(seconds(request, "Min-SE") || @min_se, own_min_se)
      seconds = (asked || timer.session_expires) |> min(timer.session_expires) |> max(min_se)
      by = if asked, do: refresher_param(request), else: ""
      request = put_session_expires(request, seconds, if(by != "", do: by))
      {:ok, put_min_se(request, min_se)}
    end
  end

  def forward_request(%__MODULE__{}, %Message{start_line: %RequestLine{}} = request),
    do: {:ok, request}

  @doc """
  Puts the session timer into a 2xx that a proxy forwards, if the called side does not know of it and the caller
  does (§8.2). Takes the response, and the request as the proxy has sent it.

  The caller is the refresher then. Any other response is returned as it is.
  """
  @spec forward_response(Message.response(), Message.request()) :: Message.response()
  def forward_response(
        %Message{start_line: %StatusLine{status_code: status}} = response,
        %Message{start_line: %RequestLine{method: method}} = request
      )
      when method in @refreshing and status in 200..299 do
    with nil <- seconds(response, "Session-Expires"),
         asked when is_integer(asked) <- seconds(request, "Session-Expires"),
         true <- supports?(request) do
      response |> put_session_expires(asked, "uac") |> UAS.put_extension(:require, "timer")
    else
      _nothing_to_insert -> response
    end
  end

  def forward_response(%Message{} = response, %Message{}), do: response

  ## Headers

  # By what the far end can be refreshed: RFC3311§5.1 - its Allow says so
  defp heard_of(timer, message) do
    case Message.fetch_header(message, :allow) do
      {:ok, methods} when is_list(methods) ->
        %{timer | method: if(timer.update? and "UPDATE" in methods, do: :update, else: :invite)}

      _none ->
        timer
    end
  end

  defp put_largest_min_se(timer, request) do
    case seconds(request, "Min-SE") do
      min_se when is_integer(min_se) -> %{timer | min_se: max(timer.min_se, min_se)}
      _none -> timer
    end
  end

  defp supports?(request), do: UAS.extension(request, "timer") != :unsupported

  # `nil` where there is no such header.
  defp seconds(message, name) do
    case Message.fetch_typed(message, name) do
      {:ok, {seconds, _params}} -> seconds
      :error -> nil
      {:error, _reason} -> :malformed
    end
  end

  defp refresher_param(message) do
    {:ok, {_seconds, params}} = Message.fetch_typed(message, "Session-Expires")
    params |> Map.get("refresher", "") |> String.downcase(:ascii)
  end

  defp put_session_expires(message, seconds, by) do
    params = if by, do: %{"refresher" => by}, else: %{}
    Message.put_typed(message, "Session-Expires", {seconds, params})
  end

  # RFC4028§5 - without a Min-SE the minimum is this
  defp put_min_se(message, @min_se), do: message
  defp put_min_se(message, min_se), do: put_seconds(message, "Min-SE", min_se)

  defp put_seconds(message, name, seconds), do: Message.put_typed(message, name, {seconds, %{}})
end
