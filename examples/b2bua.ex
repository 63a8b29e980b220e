defmodule Examples.B2BUA do
  @moduledoc """
  A back-to-back user agent between two networks, as a session border controller has it.

  A call that comes to one side goes on to the other, as a call of its own: neither side sees an address,
  a route or a Call-ID of the other. Session descriptions pass as they are.

  Options: `:inside` and `:outside`, each a keyword list with

    * `:name` - the name of the stack
    * `:address` and `:port` - where it listens, by default 127.0.0.1 and 5060
    * `:next_hop` - the host and port to which calls to this side go, such as `"10.0.0.1:5070"`. If there is
      none, a call goes where its Request-URI says
    * `:stack` - more options of the stack (`Sippet`)
  """

  use Supervisor

  alias Examples.B2BUA.{Call, Side}

  def start_link(options), do: Supervisor.start_link(__MODULE__, options)

  @impl true
  def init(options) do
    [inside, outside] = for side <- [:inside, :outside], do: Keyword.fetch!(options, side)
    registry = Module.concat(inside[:name], Dialogs)

    # The calls are last, so that they end first: the stacks send their BYEs before they stop. If a
    # stack fails, the calls go on with the one that takes its place.
    children = [
      {Registry, name: registry, keys: :unique},
      {Side, {inside, registry}},
      {Side, {outside, registry}},
      Call.supervisor(inside, outside, registry),
      Call.supervisor(outside, inside, registry)
    ]

    Supervisor.init(children, strategy: :one_for_one)
  end
end

defmodule Examples.B2BUA.Side do
  @moduledoc """
  The stack of one side, with its transport. Each time that it has started, the calls are told.
  """

  use Supervisor

  alias Examples.B2BUA.{Call, Core}

  def child_spec({options, _registry} = argument), do: %{super(argument) | id: options[:name]}

  def start_link(argument), do: Supervisor.start_link(__MODULE__, argument)

  @impl true
  def init({options, registry}) do
    name = options[:name]
    udp = [name: name, port: options[:port] || 5060, address: options[:address] || "127.0.0.1"]
    tell = {Task, fn -> Call.tell_all(registry, {:started, name}) end}

    children = [
      {Sippet, [name: name, core: Core] ++ Keyword.get(options, :stack, [])},
      {Sippet.Transports.UDP, udp},
      Supervisor.child_spec(tell, restart: :transient)
    ]

    Supervisor.init(children, strategy: :rest_for_one)
  end
end

defmodule Examples.B2BUA.Core do
  @moduledoc """
  Begins a call with each INVITE. A call gets its own requests by itself.
  """

  use Sippet.Core

  alias Examples.B2BUA.Call
  alias Sippet.{Message, UAS}

  @methods ~w(INVITE ACK CANCEL BYE PRACK UPDATE INFO MESSAGE REFER NOTIFY OPTIONS)
  @extensions ~w(100rel timer replaces)

  # RFC3261§9.2 - the CANCEL of an INVITE that no call has yet. The call will ask `Sippet.cancelled?/2`.
  @impl true
  def receive_request(%Message{start_line: %{method: :cancel}} = cancel, _key, stack),
    do: Sippet.send(stack, Message.to_response(cancel, 200))

  # The ACK of a call that is over.
  def receive_request(_ack, nil, _stack), do: :ok

  def receive_request(request, key, stack) do
    with :ok <- validate(request), :ok <- take(request, key, stack) do
      :ok
    else
      {:error, response} -> Sippet.reply(stack, response)
    end
  end

  # The response to the BYE of a call that is over.
  @impl true
  def receive_response(_response, _key), do: :ok

  @impl true
  def receive_error(_reason, _key), do: :ok

  @doc "What is checked first, of a request within a call too."
  def validate(request), do: UAS.validate(request, allow: @methods, supported: @extensions)

  @doc "Puts in what this agent can do (RFC 3261 §20.5, §20.37)."
  def put_capabilities(message),
    do: Message.put_headers(message, allow: @methods, supported: @extensions)

  # RFC3261§12.2.2 - a To tag says that the request belongs to a dialog: its call would have got it
  defp take(%Message{headers: %{to: {_name, _uri, %{"tag" => _}}}} = request, _key, _stack),
    do: {:error, Message.to_response(request, 481)}

  defp take(%Message{start_line: %{method: :invite}} = invite, key, stack) do
    cond do
      # RFC3261§8.2.2.2 - the same request by another path
      Sippet.merged?(stack, invite) -> {:error, Message.to_response(invite, 482)}
      # A loop of agents like this one ends too.
      invite.headers.max_forwards == 0 -> {:error, Message.to_response(invite, 483)}
      true -> Call.start(stack, key, invite)
    end
  end

  defp take(%Message{start_line: %{method: :options}} = options, _key, stack),
    do: Sippet.send(stack, options |> Message.to_response(200) |> put_capabilities())

  defp take(request, _key, _stack), do: {:error, Message.to_response(request, 481)}
end

defmodule Examples.B2BUA.Call do
  @moduledoc """
  One call: a process that owns the dialogs of both legs, and each request in them that waits for an answer.

  A request of one leg goes on as a request of the other leg, and its responses come back. When the
  process ends, the stacks end what is left of the call: by a BYE, a CANCEL or a 500.
  """

  use GenServer, restart: :temporary

  alias Examples.B2BUA.Core
  alias Sippet.{Dialog, Message, Replaces, SessionTimer, UAS, URI}
  alias Sippet.Transactions.Client

  # What is said from end to end. All else belongs to one leg.
  @end_to_end [:content_type, :content_disposition, :content_encoding, :content_language] ++
                [:mime_version, :subject, :priority, :alert_info, :reason, :retry_after] ++
                ["Event", "Subscription-State", "Refer-To", "Referred-By", "Refer-Sub"]

  # A 3xx may name any number of servers.
  @most_targets 5

  # The legs are `:caller` and `:called`. Each has a stack, a session timer, the session description that was sent
  # there last, and the ID of its dialog; other dialogs are forks of the called side. `relayed` are the requests that
  # went on to the other leg, by their keys. `accepted` are 2xx that wait for the ACK of the leg that they went to, and
  # `progress` is the reliable response that waits for its PRACK.
  defstruct [:registry, :next_hop, :invite, :progress] ++
              [stacks: %{}, timers: %{}, sessions: %{}, current: %{}, dialogs: %{}] ++
              [targets: [], relayed: %{}, accepted: %{}]

  ## The beginning of a call

  def supervisor(from, to, registry) do
    call = %__MODULE__{
      registry: registry,
      next_hop: to[:next_hop],
      stacks: %{caller: from[:name], called: to[:name]},
      timers: %{caller: SessionTimer.new(), called: SessionTimer.new()}
    }

    options = [name: supervisor(from[:name]), extra_arguments: [call]]
    Supervisor.child_spec({DynamicSupervisor, options}, id: options[:name])
  end

  defp supervisor(stack), do: Module.concat(stack, Calls)

  def start(stack, key, invite) do
    DynamicSupervisor.start_child(supervisor(stack), {__MODULE__, {key, invite}})
    :ok
  end

  def start_link(call, {key, invite}),
    do: GenServer.start_link(__MODULE__, {key, %{call | invite: invite}})

  def tell_all(registry, message) do
    pids = Registry.select(registry, [{{:_, :"$1", :_}, [], [:"$1"]}])
    for pid <- Enum.uniq(pids), do: send(pid, message)
  end

  @impl true
  def init({key, %{invite: invite, stacks: %{caller: stack}} = call}) do
    ringing = invite |> Message.to_response(180) |> put_contact(stack)

    with :ok <- Sippet.controlling_process(stack, key, self()),
         false <- Sippet.cancelled?(stack, key),
         :ok <- SessionTimer.receive_request(call.timers.caller, invite),
         :none <- replaced(call, key),
         {:ok, dialog} <- Dialog.uas(invite, ringing) do
      target = target(invite.start_line.request_uri, call.next_hop)
      {:ok, put_dialog(%{call | targets: [target]}, :caller, dialog), {:continue, :call}}
    else
      # RFC3261§9.2 - the CANCEL was faster
      true -> ignore(stack, Message.to_response(invite, 487))
      {:error, %Message{} = response} -> ignore(stack, response)
      _no_transaction_or_replaced -> :ignore
    end
  end

  defp ignore(stack, response) do
    Sippet.send(stack, response)
    :ignore
  end

  defp target(uri, nil), do: uri
  defp target(uri, next_hop), do: URI.parse!("sip:#{uri.userinfo}@#{next_hop}")

  # RFC3891§3 - an INVITE that takes the place of a leg goes to the call of that leg
  defp replaced(%{invite: invite, stacks: %{caller: stack}} = call, key) do
    with {:ok, id} <- Replaces.dialog_id(invite),
         [{pid, _}] <- Registry.lookup(call.registry, id),
         :ok <- Sippet.controlling_process(stack, key, pid) do
      send(pid, {:replace, stack, id, invite})
      :replaced
    else
      [] -> {:error, Message.to_response(invite, 481)}
      none_or_malformed -> none_or_malformed
    end
  end

  @impl true
  def handle_continue(:call, call), do: {:noreply, next_target(call)}

  defp next_target(%{invite: invite, targets: [target | targets]} = call) do
    {name, from, _params} = invite.headers.from
    me = Sippet.own_uri(call.stacks.called, user: from.userinfo)

    Message.build_request(:invite, target)
    |> Message.put_headers(from: {name, me, %{}}, contact: [{"", me, %{}}])
    |> Message.put_header(:max_forwards, Map.get(invite.headers, :max_forwards, 70) - 1)
    |> put_end_to_end(invite)
    |> put_100rel(invite)
    |> Message.complete()
    |> relay(%{leg: :caller, stack: call.stacks.caller, request: invite}, %{
      call
      | targets: targets
    })
  end

  # RFC3262§4 - the called side may ring reliably if the caller answers by PRACK, and has to if the caller says so
  defp put_100rel(sent, invite) do
    case UAS.extension(invite, "100rel") do
      :required -> Message.put_header(sent, :require, ["100rel"])
      :supported -> sent
      :unsupported -> Message.update_header(sent, :supported, [], &List.delete(&1, "100rel"))
    end
  end

  ## What comes

  # RFC3261§9.2 - the first INVITE is answered at once; the 487 to another one comes from its far end
  @impl true
  def handle_info(
        {:sippet, stack, _key, {:request, %Message{start_line: %{method: :cancel}} = cancel}},
        call
      ) do
    Sippet.send(stack, Message.to_response(cancel, 200))
    via = hd(cancel.headers.via)

    case Enum.find(call.relayed, fn {_key, relayed} -> hd(relayed.request.headers.via) == via end) do
      {_key, %{request: invite}} when invite == call.invite -> give_up(487, call)
      {key, relayed} -> Sippet.cancel(call.stacks[other(relayed.leg)], key) && {:noreply, call}
      nil -> {:noreply, call}
    end
  end

  def handle_info({:sippet, stack, _key, {:request, request}}, call) do
    leg = if Dialog.id(request) == call.current.caller, do: :caller, else: :called

    with :ok <- Core.validate(request),
         {:ok, dialog} <- Dialog.receive_request(call.dialogs[Dialog.id(request)], request),
         :ok <- SessionTimer.receive_request(call.timers[leg], request) do
      take(request.start_line.method, leg, request, put_dialog(call, leg, dialog))
    else
      {:error, response} -> Sippet.send(stack, response) && {:noreply, call}
    end
  end

  def handle_info({:sippet, _stack, key, {:response, response}}, call) do
    case {call.relayed, response.start_line.status_code} do
      {%{^key => relayed}, status} when status > 100 ->
        take_response(status, response, key, relayed, call)

      _trying_or_bye ->
        {:noreply, call}
    end
  end

  def handle_info({:sippet, _stack, key, {:error, reason}}, call) do
    case call.relayed do
      %{^key => relayed} -> failed(reason, key, relayed, call)
      # RFC3261§13.3.1.4 - without its ACK a call is over; so is one without a PRACK or an answer
      %{} when reason in [:no_ack, :no_prack, :no_answer] -> {:stop, :normal, call}
      %{} -> {:noreply, call}
    end
  end

  # A stack that has failed is back: it knows nothing of the dialogs, and what was in the air is lost.
  def handle_info({:started, stack}, call) do
    for {leg, ^stack} <- call.stacks,
        dialog = call.dialogs[call.current[leg]],
        do: Sippet.controlling_process(stack, dialog, self())

    for {key, relayed} <- call.relayed,
        stack == call.stacks[other(relayed.leg)],
        do: send(self(), {:sippet, stack, key, {:error, :restarted}})

    {:noreply, call}
  end

  # The new INVITE goes on to the other leg, and its answer ends the dialog that it replaces.
  def handle_info({:replace, stack, id, invite}, call) do
    leg = if id == call.current.caller, do: :caller, else: :called

    with {:ok, _dialog} <- Replaces.find(invite, Map.values(call.dialogs)),
         {:ok, _dialog} <- Dialog.uas(invite, Message.to_response(invite, 180)),
         {:ok, sent, dialog} <- next_request(call, other(leg), invite) do
      relayed = %{leg: leg, stack: stack, request: invite}
      {:noreply, relay(sent, relayed, put_dialog(call, other(leg), dialog))}
    else
      {:error, response} -> Sippet.send(stack, response) && {:noreply, call}
    end
  end

  def handle_info({:session_timer, leg}, call) do
    case SessionTimer.next(call.timers[leg], now()) do
      {:refresh, method, 0} -> {:noreply, refresh(method, leg, call)}
      {:hang_up, 0} -> {:stop, :normal, call}
      _later -> {:noreply, schedule(call, leg)}
    end
  end

  ## Requests

  defp take(:ack, leg, ack, call) do
    with {%{sent: sent, ok: ok}, accepted} <- Map.pop(call.accepted, leg) do
      answer = dialog(call, other(leg)) |> Dialog.build_ack(ok, sent) |> put_end_to_end(ack)
      Sippet.send(call.stacks[other(leg)], answer)
      {:noreply, %{call | accepted: accepted}}
    else
      {nil, _accepted} -> {:noreply, call}
    end
  end

  defp take(:bye, leg, bye, call) do
    Sippet.send(call.stacks[leg], Message.to_response(bye, 200))

    with %{state: :confirmed} = dialog <- dialog(call, other(leg)),
         {:ok, sent, _dialog} <- Dialog.next_request(dialog, :bye),
         do: Sippet.send(call.stacks[other(leg)], put_end_to_end(sent, bye))

    give_up(487, call)
  end

  # RFC3262§3 - the PRACK goes on to the fork whose response it acknowledges
  defp take(:prack, :caller, prack, %{progress: {fork, response}} = call) do
    {:ok, sent, dialog} = Dialog.prack(call.dialogs[fork], response)
    relayed = %{leg: :caller, stack: call.stacks.caller, request: prack}
    call = put_dialog(%{call | progress: nil}, :called, dialog)
    {:noreply, sent |> put_end_to_end(prack) |> relay(relayed, call)}
  end

  defp take(_method, leg, request, call) do
    case next_request(call, other(leg), request) do
      {:ok, sent, dialog} ->
        relayed = %{leg: leg, stack: call.stacks[leg], request: request}
        {:noreply, relay(sent, relayed, put_dialog(call, other(leg), dialog))}

      {:error, response} ->
        Sippet.send(call.stacks[leg], response)
        {:noreply, call}
    end
  end

  # The request of one leg as it goes on to the other.
  defp next_request(call, to, request) do
    with %Dialog{} = dialog <- dialog(call, to),
         {:ok, sent, dialog} <- Dialog.next_request(dialog, request.start_line.method) do
      {:ok, sent |> put_end_to_end(request) |> put_refer_to(call, other(to), to), dialog}
    else
      {:error, :invite_in_progress} -> {:error, Message.to_response(request, 491)}
      _no_dialog -> {:error, Message.to_response(request, 481)}
    end
  end

  defp relay(sent, relayed, call) do
    to = other(relayed.leg)
    {sent, timer} = SessionTimer.put_request(call.timers[to], sent)
    {key, stack} = {Client.Key.new(sent), call.stacks[to]}

    with {:error, reason} <- Sippet.send(stack, sent, owner: self()),
         do: send(self(), {:sippet, stack, key, {:error, reason}})

    relayed = Map.put(relayed, :sent, sent)
    call |> put_session(to, sent) |> put_timer(to, timer) |> put_relayed(key, relayed)
  end

  defp refresh(method, leg, call) do
    {:ok, request, dialog} = Dialog.next_request(dialog(call, leg), method)
    request = if method == :invite, do: put_end_to_end(request, call.sessions[leg]), else: request

    relay(
      request,
      %{leg: other(leg), stack: nil, request: request},
      put_dialog(call, leg, dialog)
    )
  end

  ## Responses

  defp take_response(status, response, key, relayed, call) do
    to = other(relayed.leg)

    case SessionTimer.receive_response(call.timers[to], response, now()) do
      # RFC4028§7.3 - once more, with the longer interval
      {:retry, timer} -> {:noreply, again(relayed, put_timer(call, to, timer))}
      {:ok, timer} -> take_any(status, response, key, relayed, put_timer(call, to, timer))
      {:error, :too_short} -> take_any(status, response, key, relayed, call)
    end
  end

  defp again(%{sent: sent} = relayed, call) do
    if first?(sent) do
      sent |> Message.renew() |> relay(relayed, call)
    else
      {:ok, sent, dialog} = Dialog.renew(dialog(call, other(relayed.leg)), sent)
      relay(sent, relayed, put_dialog(call, other(relayed.leg), dialog))
    end
  end

  defp take_any(status, response, key, %{sent: sent} = relayed, call) do
    cond do
      first?(sent) -> take_first(status, response, relayed, call)
      status < 200 -> {:noreply, call}
      true -> take_later(response, relayed, %{call | relayed: Map.delete(call.relayed, key)})
    end
  end

  # The first INVITE, of which each fork makes a dialog.
  defp take_first(status, response, %{sent: sent}, call) when status < 200 do
    case dialog_of(call, sent, response) do
      {:ok, dialog} -> {:noreply, ring(response, put_dialog(call, :called, dialog))}
      {:error, _no_tag} -> {:noreply, ring(response, call)}
    end
  end

  defp take_first(status, response, %{sent: sent} = relayed, call) when status < 300 do
    with false <- match?(%{state: :confirmed}, dialog(call, :called)),
         {:ok, dialog} <- dialog_of(call, sent, response) do
      {:noreply, answer(relayed, response, put_dialog(call, :called, dialog))}
    else
      # Another fork has answered before.
      true -> hang_up(sent, response, call) && {:noreply, call}
      {:error, _bad_contact} -> hang_up(sent, response, call) && give_up(502, call)
    end
  end

  defp take_first(status, response, relayed, call) do
    case {dialog(call, :called), call.targets ++ redirected(status, response, call)} do
      # The call is up: what the stack lost of its first INVITE is no matter.
      {%{state: :confirmed}, _targets} ->
        {:noreply, call}

      {_none, [_ | _] = targets} when status < 600 ->
        {:noreply, next_target(%{call | targets: targets})}

      _no_target ->
        {:stop, :normal, answer(relayed, passed(response), call)}
    end
  end

  defp redirected(status, %{headers: %{contact: [_ | _] = contacts}}, call)
       when status in 300..399 do
    tried = Enum.count(call.relayed, fn {_key, %{sent: sent}} -> first?(sent) end)
    uris = for {_name, uri, params} <- contacts, do: {params["q"] || "1", uri}

    for({_q, uri} <- Enum.sort_by(uris, &elem(&1, 0), :desc), do: uri)
    |> Enum.take(@most_targets - tried)
  end

  defp redirected(_status, _response, _call), do: []

  # A caller can do nothing with these: they speak to this agent.
  defp passed(%{start_line: %{status_code: status}} = response) do
    cond do
      status in 300..399 -> %{response | start_line: Message.StatusLine.new(480)}
      status in [401, 407] -> %{response | start_line: Message.StatusLine.new(403)}
      status == 422 -> %{response | start_line: Message.StatusLine.new(500)}
      true -> response
    end
  end

  # RFC3262§3 - one reliable response after another: one that comes too early will come again
  defp ring(%{start_line: line} = response, %{stacks: %{caller: stack}} = call) do
    fork = Dialog.id(response)
    progress = Message.to_response(call.invite, line.status_code, line.reason_phrase)
    progress = progress |> put_end_to_end(response) |> put_contact(stack)

    case call.dialogs[fork] && Dialog.prack(call.dialogs[fork], response) do
      {:ok, _prack, _dialog} when call.progress == nil ->
        {progress, dialog} = Dialog.put_reliable(dialog(call, :caller), progress)
        Sippet.retransmit_1xx(stack, progress)
        %{put_dialog(call, :caller, dialog) | progress: {fork, response}}

      none when none in [nil, {:error, :not_reliable}] ->
        Sippet.send(stack, progress)
        call

      _again ->
        call
    end
  end

  defp take_later(response, relayed, call) do
    to = other(relayed.leg)

    case dialog_of(call, relayed.sent, response) do
      {:ok, dialog} ->
        call = answer(relayed, passed(response), put_dialog(call, to, dialog))
        if dialog.state == :terminated, do: {:stop, :normal, call}, else: {:noreply, call}

      {:error, _bad_contact} ->
        {:stop, :normal, call}
    end
  end

  # This agent's own refresh.
  defp answer(%{stack: nil, leg: leg, sent: sent}, response, call) do
    if sent.start_line.method == :invite and response.start_line.status_code < 300,
      do:
        Sippet.send(
          call.stacks[other(leg)],
          Dialog.build_ack(dialog(call, other(leg)), response, sent)
        )

    call
  end

  defp answer(%{leg: leg, stack: stack, request: request} = relayed, response, call) do
    %{status_code: status, reason_phrase: reason} = response.start_line

    answer =
      request
      |> Message.to_response(status, reason)
      |> put_end_to_end(response)
      |> put_contact(stack)

    {answer, timer} = SessionTimer.put_response(call.timers[leg], request, answer, now())
    Sippet.send(stack, answer)
    call = call |> put_session(leg, answer) |> put_timer(leg, timer)

    cond do
      request.start_line.method != :invite -> call
      status >= 300 -> put_dialog(call, leg, Dialog.respond(dialog(call, leg), answer))
      true -> accept(relayed, response, answer, call)
    end
  end

  # RFC3261§13.3.1.4 - the 2xx is repeated until its ACK comes, which then goes on to the other leg
  defp accept(%{leg: leg, stack: stack, request: request, sent: sent}, ok, answer, call) do
    Sippet.retransmit_2xx(stack, answer)
    call = %{call | accepted: Map.put(call.accepted, leg, %{sent: sent, ok: ok})}

    if first?(request) and request != call.invite do
      {:ok, bye, _replaced} = Dialog.next_request(dialog(call, leg), :bye)
      Sippet.send(call.stacks[leg], bye)
      {:ok, dialog} = Dialog.uas(request, answer)
      put_dialog(put_in(call.stacks[leg], stack), leg, Dialog.respond(dialog, answer))
    else
      put_dialog(call, leg, Dialog.respond(dialog(call, leg), answer))
    end
  end

  # RFC3261§8.1.3.1 - silence counts as a 408; what could not be sent, as a 500
  defp failed(reason, key, %{sent: sent} = relayed, call) do
    status = if reason == :timeout, do: 408, else: 500
    take_any(status, Message.to_response(sent, status), key, relayed, call)
  end

  defp hang_up(invite, ok, call) do
    for request <- Tuple.to_list(Dialog.hang_up(invite, ok)),
        do: Sippet.send(call.stacks.called, request)
  end

  # An INVITE that has its answer goes without a second one.
  defp give_up(status, call) do
    Sippet.send(call.stacks.caller, Message.to_response(call.invite, status))
    {:stop, :normal, call}
  end

  ## Parts

  defp other(:caller), do: :called
  defp other(:called), do: :caller

  defp first?(%Message{headers: %{to: {_name, _uri, params}}}), do: not is_map_key(params, "tag")

  defp now, do: System.monotonic_time(:millisecond)

  defp dialog(call, leg), do: call.dialogs[call.current[leg]]

  defp dialog_of(call, sent, response) do
    case call.dialogs[Dialog.id(response)] do
      nil -> Dialog.uac(sent, response)
      dialog -> Dialog.receive_response(dialog, response)
    end
  end

  defp put_dialog(call, leg, dialog) do
    id = Dialog.id(dialog)

    unless is_map_key(call.dialogs, id) do
      Registry.register(call.registry, id, nil)
      Sippet.controlling_process(call.stacks[leg], dialog, self())
    end

    %{call | dialogs: Map.put(call.dialogs, id, dialog), current: Map.put(call.current, leg, id)}
  end

  defp put_relayed(call, key, relayed), do: put_in(call.relayed[key], relayed)

  defp put_timer(call, leg, timer), do: schedule(put_in(call.timers[leg], timer), leg)

  # A message of before a refresh comes too early, and does no harm.
  defp schedule(call, leg) do
    case SessionTimer.next(call.timers[leg], now()) do
      :never -> :ok
      {_what, ms} -> Process.send_after(self(), {:session_timer, leg}, ms)
      {:refresh, _method, ms} -> Process.send_after(self(), {:session_timer, leg}, ms)
    end

    call
  end

  defp put_session(call, _leg, %Message{body: none}) when none in [nil, ""], do: call
  defp put_session(call, leg, message), do: put_in(call.sessions[leg], message)

  defp put_contact(response, stack) do
    {_name, uri, _params} = response.headers.to
    Message.put_header(response, :contact, [{"", Sippet.own_uri(stack, user: uri.userinfo), %{}}])
  end

  defp put_end_to_end(message, from) do
    message = Message.put_headers(message, Map.take(from.headers, @end_to_end))
    Core.put_capabilities(%{message | body: from.body})
  end

  # Who is asked to call this agent knows it by its address on that side.
  defp put_refer_to(%{start_line: %{method: :refer}} = refer, call, from, to) do
    with {:ok, {name, uri, params}} <- Message.fetch_typed(refer, "Refer-To"),
         true <- Sippet.own?(call.stacks[from], uri) do
      own = Sippet.own_uri(call.stacks[to], user: uri.userinfo)
      Message.put_typed(refer, "Refer-To", {name, %{own | headers: uri.headers}, params})
    else
      _of_somebody_else -> refer
    end
  end

  defp put_refer_to(request, _call, _from, _to), do: request
end
