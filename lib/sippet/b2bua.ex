defmodule Sippet.B2BUA do
  @options [
    headers: [
      type: {:custom, &__MODULE__.headers?/1, "a list of header keys and names"},
      default: [],
      doc: "more headers that pass from one leg to the other, such as `:p_asserted_identity`"
    ],
    allow: [
      type: {:custom, &Sippet.UAS.tokens?/1, "a list of method names"},
      default: ~w(INVITE ACK CANCEL BYE PRACK UPDATE INFO MESSAGE REFER NOTIFY OPTIONS),
      doc: "the methods that you let through, as in Allow"
    ],
    supported: [
      type: {:custom, &Sippet.UAS.tokens?/1, "a list of option tags"},
      default: ~w(100rel timer replaces),
      doc: "the extensions of both legs, as in Supported"
    ],
    session_timer: [
      type: {:custom, &Keyword.keyword?/1, "options of Sippet.SessionTimer.new/1"},
      default: [],
      doc: "the session timer of each leg (`Sippet.SessionTimer.new/1`)"
    ]
  ]

  @moduledoc """
  A call through a back-to-back user agent: what comes on one leg goes on to the other (RFC 7092).

      {:ok, actions, call} = Sippet.B2BUA.new(invite, caller: inside, called: outside)
      {actions, call} = Sippet.B2BUA.call(call, target)
      {actions, call} = Sippet.B2BUA.receive_response(call, response, now)
      {actions, call} = Sippet.B2BUA.receive_request(call, request)

  The struct is a value, and a process of your application keeps it. It has no clock: you give `now`, in milliseconds. Each function returns what is to be done,
  as a list of actions in their order, and the call after it. The process carries the actions out, by the
  stack of each leg. `examples/b2bua.ex` is such a process.

  The legs are `:caller` and `:called`. Each has a dialog, a session timer and a Contact of its own, so
  neither sees an address, a route or a Call-ID of the other.

  ## Actions

    * `{:send, leg, message}` - send it, and own it: `Sippet.send(stack, message, owner: self())`
    * `{:retransmit, leg, response}` - repeat it: `Sippet.retransmit_2xx/2`, or `Sippet.retransmit_1xx/2` if
      it is a provisional response
    * `{:own, leg, dialog}` - a new dialog: `Sippet.controlling_process(stack, dialog, self())`
    * `{:cancel, leg, request}` - cancel an INVITE that was sent: `Sippet.cancel/2` by its key
    * `{:refused, response}` - the called side has refused the call. `call/2` tries another target, and `refuse/2`
      gives up. The redirections of a 3xx are for you to follow
    * `{:replaced, leg}` - the leg `:replacing` has taken the place of this leg: what is sent on `leg` from now on
      goes by the stack of the INVITE of `replace/3`
    * `:ended` - the call is over. When its process ends, the stacks end what is left of it

  ## What passes

  Bodies pass as they are, and so do the headers that describe them, Subject, Priority, Alert-Info, Reason,
  Retry-After, Event, Subscription-State, Refer-To, Referred-By and Refer-Sub. All other headers belong to
  one leg.

    * INVITE, UPDATE, INFO, MESSAGE, REFER, NOTIFY and OPTIONS in a dialog go on in the other one. Their
      responses come back, with status and phrase.
    * The ACK of one leg makes the ACK of the other, with its body.
    * A BYE is answered, and goes on. The call has ended.
    * A CANCEL of the first INVITE is answered, and ends the call. That of a re-INVITE goes on.
    * The called side is offered `100rel` if the caller knows it, and required if the caller requires it. A reliable
      response goes on as a reliable one, and its PRACK as a PRACK (RFC 3262). One that comes while another waits
      for its PRACK is left to come again.
    * Each To tag of the called side is a dialog, up to 32. The first 2xx is the call, and another one gets ACK and BYE.
    * Session timers are refreshed on each leg by itself (RFC 4028). A 422 of the called side is answered by
      another INVITE.
    * What speaks to the agent alone does not pass: 3xx becomes 480, 401 and 407 become 403, 422 becomes 500.
  """

  alias Sippet.{Dialog, Message, Options, Replaces, SessionTimer, UAS, URI}
  alias Sippet.Message.{Completion, Refusal, RequestLine, StatusLine, Tag}

  @end_to_end [:content_type, :content_disposition, :content_encoding, :content_language] ++
                [:mime_version, :subject, :priority, :alert_info, :reason, :retry_after] ++
                ["Event", "Subscription-State", "Refer-To", "Referred-By", "Refer-Sub"]

  # A called side may ring by any number of To tags; that of the caller's leg is one.
  @most_dialogs 33

  @type leg :: :caller | :called
  @type action ::
          {:send, leg | :replacing, Message.t()}
          | {:retransmit, leg | :replacing, Message.response()}
          | {:own, leg, Dialog.t()}
          | {:cancel, leg, Message.request()}
          | {:refused, Message.response()}
          | {:replaced, leg}
          | :ended

  # `current` has the ID of each leg's dialog; other dialogs are forks of the called side. `sessions` are the messages
  # that had the last session description of each leg. `relayed` are requests that went on, by branch and method: the
  # leg that they came from (`from`, `nil` if they are this agent's own), the request, and what was sent. `accepted` are
  # 2xx that wait for the ACK of a leg, and `progress` is the reliable response that waits for its PRACK.
  @enforce_keys [:invite, :contacts, :options, :timers]
  defstruct @enforce_keys ++
              [:progress, current: %{}, dialogs: %{}, sessions: %{}, relayed: %{}, accepted: %{}] ++
              [actions: []]

  @opaque t :: %__MODULE__{
            invite: Message.request(),
            contacts: %{leg => URI.t()},
            options: map,
            timers: %{leg => SessionTimer.t()},
            progress: {Dialog.id(), Message.response()} | nil,
            current: %{leg => Dialog.id()},
            dialogs: %{Dialog.id() => Dialog.t()},
            sessions: %{leg => Message.t()},
            relayed: %{{String.t(), Message.method()} => map},
            accepted: %{leg => map},
            actions: [action]
          }

  @doc false
  @spec headers?(term) :: boolean
  def headers?(value), do: is_list(value) and Enum.all?(value, &(is_atom(&1) or is_binary(&1)))

  ## The beginning

  @doc """
  Makes the call of an INVITE that came. `contacts` are your URIs on both legs, `[caller: uri, called: uri]`, as
  `Sippet.own_uri/2` makes them.

  Returns `{:ok, actions, call}`: become the owner of its first dialog. Returns `{:error, response}` with 483 if
  Max-Forwards is 0, 422 if its session interval is too short, or 400 if its Contact can't be used. Options:

  #{Options.docs(@options)}
  """
  @spec new(Message.request(), [{leg, URI.t()}], keyword) ::
          {:ok, [action], t} | {:error, Message.response()}
  def new(%Message{start_line: %RequestLine{method: :invite}} = invite, contacts, options \\ []) do
    options =
      options |> Options.validate!(@options) |> Map.update!(:headers, &(@end_to_end ++ &1))

    timer = SessionTimer.new(options.session_timer)

    call = %__MODULE__{
      invite: invite,
      contacts: Map.new(contacts),
      options: options,
      timers: %{caller: timer, called: timer}
    }

    with :ok <- max_forwards(invite),
         :ok <- SessionTimer.receive_request(timer, invite),
         ringing = invite |> Message.to_response(180) |> put_contact(call, :caller),
         {:ok, dialog} <- Dialog.uas(invite, ringing) do
      {actions, call} = call |> put_dialog(:caller, dialog) |> done()
      {:ok, actions, call}
    end
  end

  # RFC3261§16.3 - a loop through agents like this one ends too
  defp max_forwards(%Message{headers: %{max_forwards: 0}} = invite),
    do: Refusal.new(invite, 483)

  defp max_forwards(_invite), do: :ok

  @doc """
  Calls a URI. Use it again, with another URI, after `{:refused, response}`.

  From is the caller's name and user at your Contact of that leg. Max-Forwards is one less.
  """
  @spec call(t, URI.t()) :: {[action], t}
  def call(%__MODULE__{invite: invite} = call, %URI{} = target) do
    {name, _uri, _params} = invite.headers.from
    me = call.contacts.called

    Message.build_request(:invite, target)
    |> Message.put_headers(from: {name, me, %{}}, contact: [{"", me, %{}}])
    |> Message.put_header(
      :max_forwards,
      Map.get(invite.headers, :max_forwards, Completion.max_forwards()) - 1
    )
    |> put_end_to_end(invite, call)
    |> put_100rel(invite)
    |> Message.complete()
    |> relay(:called, :caller, invite, call)
    |> done()
  end

  # RFC3262§4 - whether the called side may ring reliably, or has to
  defp put_100rel(sent, invite) do
    case UAS.extension(invite, "100rel") do
      :required -> Message.put_header(sent, :require, ["100rel"])
      :supported -> sent
      :unsupported -> Message.update_header(sent, :supported, [], &List.delete(&1, "100rel"))
    end
  end

  @doc """
  Refuses the call, with a status or with the response that `{:refused, response}` had. Ends it.
  """
  @spec refuse(t, 300..699 | Message.response()) :: {[action], t}
  def refuse(%__MODULE__{} = call, status) when is_integer(status),
    do: refuse(call, Message.to_response(call.invite, status))

  def refuse(%__MODULE__{invite: invite} = call, %Message{start_line: %StatusLine{}} = response) do
    call |> emit({:send, :caller, answer_of(invite, passed(response), :caller, call)}) |> ended()
  end

  ## Requests

  @doc """
  Takes a request that came on either leg, in one of the call's dialogs, and a CANCEL.

  Requests that are refused are answered: by `Sippet.UAS.validate/2` with the options `:allow` and `:supported`, by
  `Sippet.Dialog.receive_request/2`, and with 491 if an INVITE is in progress on the other leg.
  """
  @spec receive_request(t, Message.request()) :: {[action], t}
  # RFC3261§9.2 - the first INVITE is answered at once; the 487 to another one comes from its far end
  def receive_request(
        %__MODULE__{} = call,
        %Message{start_line: %{method: :cancel}} = cancel
      ) do
    via = hd(cancel.headers.via)
    same? = fn {_key, relayed} -> relayed.from && hd(relayed.request.headers.via) == via end

    leg = if first?(cancel), do: :caller, else: leg_of(call, Dialog.id(cancel))
    call = emit(call, {:send, leg, Message.to_response(cancel, 200)})

    case {Enum.find(call.relayed, same?), dialog(call, :called)} do
      {{_key, %{request: invite}}, %{state: :confirmed}} when invite == call.invite -> done(call)
      {{_key, %{request: invite}}, _early} when invite == call.invite -> refuse(call, 487)
      {{_key, relayed}, _dialog} -> call |> emit({:cancel, relayed.to, relayed.sent}) |> done()
      # The INVITE has its answer.
      {nil, _dialog} -> done(call)
    end
  end

  def receive_request(%__MODULE__{} = call, %Message{start_line: %RequestLine{}} = request) do
    leg = leg_of(call, Dialog.id(request))
    %{allow: allow, supported: supported} = call.options

    with :ok <- UAS.validate(request, allow: allow, supported: supported),
         {:ok, dialog} <- known_dialog(call, request),
         {:ok, dialog} <- Dialog.receive_request(dialog, request),
         :ok <- SessionTimer.receive_request(call.timers[leg], request) do
      take(request.start_line.method, leg, request, put_dialog(call, leg, dialog))
    else
      {:error, response} -> call |> emit({:send, leg, response}) |> done()
    end
  end

  defp known_dialog(call, request) do
    with :error <- Map.fetch(call.dialogs, Dialog.id(request)), do: Refusal.new(request, 481)
  end

  defp take(:ack, leg, ack, call) do
    case Map.pop(call.accepted, leg) do
      {nil, _accepted} ->
        done(call)

      {%{sent: sent, ok: ok}, accepted} ->
        there = call |> dialog(other(leg)) |> Dialog.build_ack(ok, sent)
        call = %{call | accepted: accepted}
        call |> emit({:send, other(leg), put_end_to_end(there, ack, call)}) |> done()
    end
  end

  defp take(:bye, leg, bye, call) do
    call = emit(call, {:send, leg, Message.to_response(bye, 200)})

    with %{state: :confirmed} = dialog <- dialog(call, other(leg)),
         {:ok, sent, _dialog} <- Dialog.next_request(dialog, :bye) do
      call |> emit({:send, other(leg), put_end_to_end(sent, bye, call)}) |> ended()
    else
      _early -> call |> emit({:send, :caller, Message.to_response(call.invite, 487)}) |> ended()
    end
  end

  # RFC3262§3 - the PRACK goes on to the fork whose response it acknowledges
  defp take(:prack, :caller, prack, %{progress: {fork, response}} = call) do
    {:ok, sent, dialog} = Dialog.prack(call.dialogs[fork], response)
    call = put_dialog(%{call | progress: nil}, :called, dialog)
    sent |> put_end_to_end(prack, call) |> relay(:called, :caller, prack, call) |> done()
  end

  defp take(_method, leg, request, call) do
    case next_request(call, other(leg), request) do
      {:ok, sent, dialog} ->
        call = put_dialog(call, other(leg), dialog)
        sent |> relay(other(leg), leg, request, call) |> done()

      {:error, response} ->
        call = put_dialog(call, leg, Dialog.respond(dialog(call, leg), response))
        call |> emit({:send, leg, response}) |> done()
    end
  end

  # The request of one leg as it goes on to the other.
  defp next_request(call, to, request) do
    with %Dialog{} = dialog <- dialog(call, to),
         {:ok, sent, dialog} <- Dialog.next_request(dialog, request.start_line.method) do
      {:ok, sent |> put_end_to_end(request, call) |> put_refer_to(call, to), dialog}
    else
      {:error, :invite_in_progress} -> Refusal.new(request, 491)
      _no_dialog -> Refusal.new(request, 481)
    end
  end

  # RFC3515§2.1 - whoever is asked to call this agent knows it by its address on that leg
  defp put_refer_to(%{start_line: %{method: :refer}} = refer, call, to) do
    own = call.contacts[other(to)]

    with {:ok, {name, uri, params}} <- Message.fetch_typed(refer, "Refer-To"),
         true <- {uri.host, uri.port} == {own.host, own.port} do
      uri = %{call.contacts[to] | userinfo: uri.userinfo, headers: uri.headers}
      Message.put_typed(refer, "Refer-To", {name, uri, params})
    else
      _of_somebody_else -> refer
    end
  end

  defp put_refer_to(request, _call, _to), do: request

  @doc """
  Takes an INVITE that replaces a dialog of the call (RFC 3891): it goes on to the other leg as a re-INVITE, and its 2xx
  ends the dialog that it replaces. `contact` is your URI on its way.

  Returns `{:ok, actions, call}`. The responses to the INVITE are sent on the leg `:replacing`. Returns
  `{:error, response}` if it can't be: see `Sippet.Replaces.find/2`, and `new/3`.
  """
  @spec replace(t, Message.request(), contact :: URI.t()) ::
          {:ok, [action], t} | {:error, Message.response()}
  def replace(%__MODULE__{} = call, %Message{} = invite, %URI{} = contact) do
    with {:ok, replaced} <- Replaces.find(invite, Map.values(call.dialogs)),
         leg = leg_of(call, Dialog.id(replaced)),
         :ok <- SessionTimer.receive_request(call.timers[leg], invite),
         {:ok, _dialog} <- Dialog.uas(invite, Message.to_response(invite, 180)),
         {:ok, sent, dialog} <- next_request(call, other(leg), invite) do
      call = put_dialog(call, other(leg), dialog)
      call = %{call | contacts: Map.put(call.contacts, :replacing, contact)}
      {actions, call} = sent |> relay(other(leg), :replacing, invite, call) |> done()
      {:ok, actions, call}
    end
  end

  # Sends a request, whose responses come back to `from`.
  defp relay(sent, to, from, request, call) do
    {sent, timer} = SessionTimer.put_request(call.timers[to], sent)
    relayed = %{to: to, from: from, request: request, sent: sent}

    %{call | relayed: Map.put(call.relayed, key(sent), relayed)}
    |> put_timer(to, timer)
    |> put_session(to, sent)
    |> emit({:send, to, sent})
  end

  ## Responses

  @doc """
  Takes a response to a request that was sent.
  """
  @spec receive_response(t, Message.response(), now :: integer) :: {[action], t}
  def receive_response(%__MODULE__{} = call, %Message{start_line: line} = response, now) do
    case Map.fetch(call.relayed, key(response)) do
      {:ok, relayed} when line.status_code > 100 ->
        take_response(line.status_code, response, relayed, call, now)

      # A 100, or the response to a BYE.
      _other ->
        done(call)
    end
  end

  @doc """
  Takes the failure of a request: the error that its owner got, with the branch and the method of its key.

  A `:timeout` counts as a 408, and anything else as a 500 (RFC 3261 §8.1.3.1). The errors `:no_ack`, `:no_prack` and
  `:no_answer` end the call.
  """
  @spec receive_error(t, %{branch: String.t(), method: Message.method()}, term, now :: integer) ::
          {[action], t}
  def receive_error(%__MODULE__{} = call, %{branch: branch, method: method}, reason, now) do
    case call.relayed do
      %{{^branch, ^method} => relayed} -> fail(relayed, reason, call, now)
      %{} when reason in [:no_ack, :no_prack, :no_answer] -> ended(call)
      %{} -> done(call)
    end
  end

  defp fail(%{sent: sent} = relayed, reason, call, now) do
    status = if reason == :timeout, do: 408, else: 500
    take_response(status, Message.to_response(sent, status), relayed, call, now)
  end

  @doc """
  Takes the end of a stack that is there again: what was sent on this leg is lost, and counts as failed. Become the owner
  of the dialogs anew.
  """
  @spec lost(t, leg, now :: integer) :: {[action], t}
  def lost(%__MODULE__{} = call, leg, now) do
    again = for {id, dialog} <- call.dialogs, leg_of(call, id) == leg, do: {:own, leg, dialog}
    relayed = for {_key, %{to: ^leg} = relayed} <- call.relayed, do: relayed

    Enum.reduce(relayed, {again, call}, fn relayed, {actions, call} ->
      {more, call} = fail(relayed, :lost, call, now)
      {actions ++ more, call}
    end)
  end

  defp take_response(status, response, %{to: to, sent: sent} = relayed, call, now) do
    case SessionTimer.receive_response(call.timers[to], response, now) do
      # RFC4028§7.3 - once more, with the longer interval
      {:retry, timer} ->
        again(relayed, put_timer(call, to, timer))

      {:ok, timer} ->
        take_any(first?(sent), status, response, relayed, put_timer(call, to, timer), now)

      {:error, :too_short} ->
        take_any(first?(sent), status, response, relayed, call, now)
    end
  end

  defp again(%{to: to, from: from, request: request, sent: sent}, call) do
    if first?(sent) do
      sent |> Message.renew() |> relay(to, from, request, call) |> done()
    else
      {:ok, sent, dialog} = Dialog.renew(dialog(call, to), sent)
      sent |> relay(to, from, request, put_dialog(call, to, dialog)) |> done()
    end
  end

  # The first INVITE, of which each fork makes a dialog.
  defp take_any(true, status, response, %{sent: sent}, call, _now) when status < 200 do
    case dialog_of(call, sent, response) do
      {:ok, dialog} ->
        if map_size(call.dialogs) < @most_dialogs or is_map_key(call.dialogs, Dialog.id(dialog)),
          do: response |> ring(put_dialog(call, :called, dialog)) |> done(),
          else: done(call)

      {:error, _no_tag} ->
        response |> ring(call) |> done()
    end
  end

  defp take_any(true, status, response, %{sent: sent} = relayed, call, now) when status < 300 do
    with false <- match?(%{state: :confirmed}, dialog(call, :called)),
         {:ok, dialog} <- dialog_of(call, sent, response) do
      relayed |> answer(response, put_dialog(call, :called, dialog), now) |> done()
    else
      # Another fork has answered before.
      true -> call |> hang_up(sent, response) |> done()
      {:error, _bad_contact} -> call |> hang_up(sent, response) |> refuse(502)
    end
  end

  defp take_any(true, _status, response, %{sent: sent}, call, _now) do
    # The call may be up: then this is what was lost of its first INVITE.
    if match?(%{state: :confirmed}, dialog(call, :called)),
      do: done(call),
      else:
        %{call | relayed: Map.delete(call.relayed, key(sent))}
        |> emit({:refused, response})
        |> done()
  end

  defp take_any(false, status, _response, _relayed, call, _now) when status < 200, do: done(call)

  defp take_any(false, _status, response, %{to: to, sent: sent} = relayed, call, now) do
    call = %{call | relayed: Map.delete(call.relayed, key(sent))}

    case dialog_of(call, sent, response) do
      {:ok, dialog} ->
        call = answer(relayed, passed(response), put_dialog(call, to, dialog), now)
        if dialog.state == :terminated, do: ended(call), else: done(call)

      {:error, _bad_contact} ->
        ended(call)
    end
  end

  # RFC3262§3 - one reliable response after another: one that comes too early will come again
  defp ring(response, call) do
    fork = Dialog.id(response)
    progress = answer_of(call.invite, response, :caller, call)

    case call.dialogs[fork] && Dialog.prack(call.dialogs[fork], response) do
      {:ok, _prack, _dialog} when call.progress == nil ->
        {progress, dialog} = Dialog.put_reliable(dialog(call, :caller), progress)
        call = put_dialog(%{call | progress: {fork, response}}, :caller, dialog)
        emit(call, {:retransmit, :caller, progress})

      none when none in [nil, {:error, :not_reliable}] ->
        emit(call, {:send, :caller, progress})

      _again ->
        call
    end
  end

  # This agent's own refresh.
  defp answer(%{from: nil, to: to, sent: sent}, response, call, _now) do
    if sent.start_line.method == :invite and response.start_line.status_code < 300,
      do: emit(call, {:send, to, Dialog.build_ack(dialog(call, to), response, sent)}),
      else: call
  end

  defp answer(%{from: from, request: request} = relayed, response, call, now) do
    answer = answer_of(request, response, from, call)
    leg = if from == :replacing, do: other(relayed.to), else: from
    {answer, timer} = SessionTimer.put_response(call.timers[leg], request, answer, now)

    call =
      call |> emit({:send, from, answer}) |> put_timer(leg, timer) |> put_session(leg, answer)

    cond do
      request.start_line.method != :invite -> call
      response.start_line.status_code < 300 -> accept(relayed, leg, response, answer, call)
      from == :replacing -> call
      true -> put_dialog(call, leg, Dialog.respond(dialog(call, leg), answer))
    end
  end

  # RFC3261§13.3.1.4 - the 2xx is repeated until its ACK comes, which then goes on to the other leg
  defp accept(%{from: from, request: request, sent: sent}, leg, ok, answer, call) do
    call = emit(call, {:retransmit, from, answer})
    call = %{call | accepted: Map.put(call.accepted, leg, %{sent: sent, ok: ok})}

    if from == :replacing do
      {:ok, bye, _replaced} = Dialog.next_request(dialog(call, leg), :bye)
      {:ok, dialog} = Dialog.uas(request, answer)
      {contact, contacts} = Map.pop(call.contacts, :replacing)

      %{call | contacts: Map.put(contacts, leg, contact)}
      |> emit({:send, leg, bye})
      |> emit({:replaced, leg})
      |> put_dialog(leg, Dialog.respond(dialog, answer))
    else
      put_dialog(call, leg, Dialog.respond(dialog(call, leg), answer))
    end
  end

  defp hang_up(call, invite, ok) do
    {ack, bye} = Dialog.hang_up(invite, ok)
    call |> emit({:send, :called, ack}) |> emit({:send, :called, bye})
  end

  # Nobody but this agent can do anything with these.
  defp passed(%{start_line: %{status_code: status}} = response) do
    cond do
      status in 300..399 -> %{response | start_line: StatusLine.new(480)}
      status in [401, 407] -> %{response | start_line: StatusLine.new(403)}
      status == 422 -> %{response | start_line: StatusLine.new(500)}
      true -> response
    end
  end

  ## Session timers

  @doc """
  Returns in how many milliseconds `timeout/2` has something to do, or `:never`.

  Ask again after each change of the call. A timer that was set for an earlier state does no harm.
  """
  @spec next(t, now :: integer) :: non_neg_integer | :never
  def next(%__MODULE__{timers: timers}, now) do
    times =
      for {_leg, timer} <- timers do
        case SessionTimer.next(timer, now) do
          {:refresh, _method, ms} -> ms
          {:hang_up, ms} -> ms
          :never -> :never
        end
      end

    # Any number is less than an atom.
    Enum.min(times)
  end

  @doc """
  Refreshes the legs whose session timers are due, and ends the call if nobody has refreshed one (RFC 4028 §10).
  """
  @spec timeout(t, now :: integer) :: {[action], t}
  def timeout(%__MODULE__{} = call, now) do
    due = for leg <- [:caller, :called], do: {leg, SessionTimer.next(call.timers[leg], now)}

    if Enum.any?(due, &match?({_leg, {:hang_up, 0}}, &1)) do
      ended(call)
    else
      refreshes = for {leg, {:refresh, method, 0}} <- due, do: {leg, method}
      refreshes |> Enum.reduce(call, &refresh(&1, &2, now)) |> done()
    end
  end

  # RFC4028§7.4 - a re-INVITE has the session description of before
  defp refresh({leg, method}, call, now) do
    case Dialog.next_request(dialog(call, leg), method) do
      {:ok, request, dialog} ->
        session = if method == :invite, do: call.sessions[leg], else: request
        request = put_end_to_end(request, session || request, call)
        relay(request, leg, nil, request, put_dialog(call, leg, dialog))

      # An INVITE is in progress, which refreshes the session too.
      {:error, _reason} ->
        %{call | timers: Map.update!(call.timers, leg, &SessionTimer.receive_error(&1, now))}
    end
  end

  ## Parts

  defp done(%{actions: actions} = call), do: {Enum.reverse(actions), %{call | actions: []}}
  defp ended(call), do: call |> emit(:ended) |> done()

  defp emit(call, action), do: %{call | actions: [action | call.actions]}

  defp other(:caller), do: :called
  defp other(:called), do: :caller

  defp leg_of(call, id), do: if(id == call.current[:caller], do: :caller, else: :called)

  defp first?(%Message{headers: headers}), do: Tag.of(headers.to) == nil

  defp key(%Message{headers: %{via: [{_, _, _, %{"branch" => branch}} | _], cseq: {_, method}}}),
    do: {branch, method}

  defp dialog(call, leg), do: call.dialogs[call.current[leg]]

  defp dialog_of(call, sent, response) do
    case call.dialogs[Dialog.id(response)] do
      nil -> Dialog.uac(sent, response)
      dialog -> Dialog.receive_response(dialog, response)
    end
  end

  defp put_dialog(call, leg, dialog) do
    id = Dialog.id(dialog)
    call = if is_map_key(call.dialogs, id), do: call, else: emit(call, {:own, leg, dialog})
    %{call | dialogs: Map.put(call.dialogs, id, dialog), current: Map.put(call.current, leg, id)}
  end

  defp put_timer(call, leg, timer), do: %{call | timers: Map.put(call.timers, leg, timer)}

  defp put_session(call, _leg, %Message{body: none}) when none in [nil, ""], do: call

  defp put_session(call, leg, message),
    do: %{call | sessions: Map.put(call.sessions, leg, message)}

  defp answer_of(request, %{start_line: line} = response, leg, call) do
    request
    |> Message.to_response(line.status_code, line.reason_phrase)
    |> put_end_to_end(response, call)
    |> put_contact(call, leg)
  end

  defp put_contact(response, call, leg),
    do: Message.put_header(response, :contact, [{"", call.contacts[leg], %{}}])

  defp put_end_to_end(message, from, %{options: options}) do
    passing = Map.take(from.headers, options.headers)
    capabilities = [allow: options.allow, supported: options.supported]

    %{message | body: from.body}
    |> Message.put_headers(capabilities)
    |> Message.put_headers(passing)
  end
end
