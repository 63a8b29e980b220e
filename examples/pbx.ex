defmodule Examples.PBX do
  @moduledoc """
  A small private branch exchange: its users register, call each other, and see who talks.

  | called | answers |
  |---|---|
  | a user | all phones of the user ring; 480 without one |
  | `busy` | 486 |
  | `echo` | the PBX itself, which sends the caller's voice back |
  | anybody else | 404 |

  A phone may subscribe to its mailbox (*message-summary*, RFC 3842) and to the calls of any user
  (*dialog*, RFC 4235). Each call has a record when it ends.

  Options:

    * `:name` - the name of the stack, an atom; required
    * `:users` - the passwords, as `%{name => password}`; required
    * `:domain` - the domain of the users, which is the realm too ("example.com")
    * `:address`, `:port` - where it listens, by UDP ("127.0.0.1", 5060)
    * `:nat` - whether it reaches phones behind a NAT (`true`)
    * `:record` - a function that gets each `t:record/0`. It is called in one process, so a slow
      one delays the lamps (drops it)
    * `:max_call` - ms after which a call without a BYE counts as over (12 hours)
    * `:max_echo` - the most calls to `echo` at a time; a further one gets 486 (100)
    * `:session_expires` - the session interval of calls to `echo`, in seconds (1,800)
    * `:bindings` - options of `Sippet.Binding.register/3` (none)
    * `:stack` - more options of the stack (`Sippet`), but `:telemetry`, which is taken
  """

  use Supervisor

  alias Examples.PBX.{Call, Calls, Core, Watchers}
  alias Sippet.Binding.Store

  @typedoc """
  One call. Times are `System.system_time/0`, `nil` if that did not happen.

    * `caller`, `called` - URIs; `call_id` - the Call-ID
    * `started`, `ringing`, `answered`, `ended` - the times
    * `status` - of the final response to the caller, or `nil`
    * `how` - `:caller_hung_up`, `:called_hung_up`, `:cancelled`, `:refused`, `:process_ended`,
      `:lost` after `:max_call`, `:stopped` with the PBX, or why there was no response
    * `phone` - the Contact of the phone that has answered, or `nil`
    * `branches` - each phone that was called, with its final status
  """
  @type record :: map

  def start_link(options), do: Supervisor.start_link(__MODULE__, options)

  @impl true
  def init(options) do
    name = Keyword.fetch!(options, :name)
    address = options[:address] || "127.0.0.1"
    nat = Keyword.get(options, :nat, true)
    bindings = Module.concat(name, Bindings)

    config = %{
      domain: String.downcase(options[:domain] || "example.com"),
      users: Keyword.fetch!(options, :users),
      address: address,
      nat: nat,
      record: options[:record] || fn _record -> :ok end,
      max_call: options[:max_call] || 12 * 3_600_000,
      session_expires: options[:session_expires] || 1_800,
      binding: options[:bindings] || [],
      store: {Store.Memory, bindings}
    }

    :persistent_term.put({__MODULE__, name}, config)
    stack = [name: name, core: Core, telemetry: Calls] ++ Keyword.get(options, :stack, [])
    udp = [name: name, port: options[:port] || 5060, address: address, force_rport: nat]
    calls = [name: Call.supervisor(name), max_children: options[:max_echo] || 100]

    # They end in the opposite order: the calls send their BYEs, the watchers their last NOTIFYs,
    # the transport lets them out, and then the records are written.
    children = [
      {Store.Memory, name: bindings},
      {Sippet.DigestAuth.NonceStore, name: nonces(name)},
      {Calls, name},
      {Sippet, stack},
      {Sippet.Transports.UDP, udp},
      {Watchers, name},
      {DynamicSupervisor, calls}
    ]

    Supervisor.init(children, strategy: :rest_for_one)
  end

  @doc "The options of a running PBX, with their defaults."
  def config(stack), do: :persistent_term.get({__MODULE__, stack})

  @doc "The name of the nonce store."
  def nonces(stack), do: Module.concat(stack, Nonces)

  @doc "Sets how many new and old messages are in the mailbox of a user, and tells the phones."
  def messages(stack, user, new, old \\ 0), do: Watchers.messages(stack, user, {new, old})

  @doc "Returns the calls in progress, as they stand in their records so far."
  def calls(stack), do: Calls.list(stack)
end

defmodule Examples.PBX.Core do
  @moduledoc """
  Sorts what comes: it refuses, registers, forwards, or hands over to a process.
  """

  use Sippet.Core

  alias Examples.PBX
  alias Examples.PBX.{Call, Calls, Watchers}
  alias Sippet.{Binding, DigestAuth, Message, Proxy, UAS, URI}
  alias Sippet.Binding.Store
  alias Sippet.Proxy.ResponseContext

  @extensions ["busy", "echo"]

  # RFC3261§16.10 - the CANCEL of an INVITE that nobody owns yet. Who takes that asks
  # `Sippet.cancelled?/2`.
  @impl true
  def receive_request(%Message{start_line: %{method: :cancel}} = cancel, _key, stack),
    do: Sippet.send(stack, Message.to_response(cancel, 200))

  def receive_request(request, key, stack) do
    config = PBX.config(stack)
    own = Sippet.own_hosts(stack)

    with :ok <- Proxy.validate(request, own: own),
         # The digest covers the Request-URI as it came.
         {:ok, user} <- authenticate(request, stack, config),
         :ok <- authorize(request, user) do
      request = request |> drop_credentials(config) |> Proxy.preprocess_route(own)
      uri = request.start_line.request_uri
      called = if ours?(uri, stack, config), do: {:ours, uri.userinfo}, else: :elsewhere
      if new_call?(request), do: Calls.placed(stack, key, request, user, called)
      take(request.start_line.method, called, request, {stack, key, config, user})
    end
    |> answer(key, stack)
  end

  defp answer({:error, response}, key, stack) when key != nil, do: Sippet.reply(stack, response)
  defp answer(_done, _key, _stack), do: :ok

  # RFC3261§22.3 - what belongs to a dialog was let in by its first request; an ACK can't be
  # challenged
  defp authenticate(%Message{start_line: %{method: method}} = request, stack, config) do
    cond do
      method == :ack or within_dialog?(request) -> {:ok, nil}
      method == :register -> authenticate(request, stack, config, 401)
      true -> authenticate(request, stack, config, 407)
    end
  end

  defp authenticate(request, stack, config, status) do
    secret = fn user -> with :error <- Map.fetch(config.users, user), do: {:error, :unknown} end
    # Not all phones go on from an algorithm that they don't know to the next one.
    options = [algorithm: "MD5", status: status, store: PBX.nonces(stack)]
    DigestAuth.authenticate(request, config.domain, secret, options)
  end

  # Nobody speaks for another one.
  defp authorize(_request, nil), do: :ok

  defp authorize(%Message{start_line: %{method: method}, headers: headers} = request, user) do
    {_name, uri, _params} = if method == :register, do: headers.to, else: headers.from
    if uri.userinfo == user, do: :ok, else: {:error, Message.to_response(request, 403)}
  end

  # They are nobody else's business.
  defp drop_credentials(request, %{domain: realm}) do
    others =
      request
      |> Message.get_header(:proxy_authorization, [])
      |> Enum.reject(fn {_scheme, params} -> params["realm"] == realm end)

    if others == [],
      do: Message.delete_header(request, :proxy_authorization),
      else: Message.put_header(request, :proxy_authorization, others)
  end

  defp ours?(%{host: nil}, _stack, _config), do: false

  defp ours?(uri, stack, config),
    do: String.downcase(uri.host) == config.domain or Sippet.own?(stack, uri)

  defp new_call?(request),
    do: request.start_line.method == :invite and not within_dialog?(request)

  defp within_dialog?(%Message{headers: %{to: {_name, _uri, params}}}),
    do: is_map_key(params, "tag")

  # A dialog, or a domain, that is not ours.
  defp take(_method, :elsewhere, request, place),
    do: forward(request, [[request.start_line.request_uri]], place)

  defp take(:register, _called, request, {stack, _key, config, _user}) do
    {_name, to, _params} = request.headers.to

    # RFC3261§10.3, steps 2 and 5
    with :ok <- UAS.validate(request, allow: ["REGISTER"], supported: ["path", "outbound"]),
         true <- String.downcase(to.host || "") == config.domain,
         {:ok, response} <- Store.register(config.store, request, config.binding) do
      Sippet.send(stack, response)
    else
      false -> {:error, Message.to_response(request, 404)}
      refused -> refused
    end
  end

  defp take(:subscribe, {:ours, watched}, request, {stack, _key, config, user}) do
    with :ok <- UAS.validate(request, allow: ["SUBSCRIBE"]) do
      if Map.has_key?(config.users, watched),
        do: Watchers.subscribe(stack, request, watched, user),
        else: {:error, Message.to_response(request, 404)}
    end
  end

  # Phones and dispatchers ask so whether it is there.
  defp take(:options, {:ours, nil}, request, {stack, _key, _config, _user}),
    do: Sippet.send(stack, request |> Message.to_response(200) |> Call.put_capabilities())

  defp take(method, {:ours, extension}, request, {stack, key, _config, _user})
       when extension in @extensions do
    cond do
      method == :ack -> :ok
      # RFC3261§12.2.2 - the process of its call would have got it
      within_dialog?(request) -> {:error, Message.to_response(request, 481)}
      method != :invite -> UAS.validate(request, allow: ["INVITE"])
      # RFC3261§8.2.2.2 - the same request by another path
      Sippet.merged?(stack, request) -> {:error, Message.to_response(request, 482)}
      extension == "busy" -> {:error, Message.to_response(request, 486)}
      true -> Call.start(stack, key, request)
    end
  end

  defp take(_method, {:ours, user}, request, {stack, _key, config, _user} = place) do
    with true <- Map.has_key?(config.users, user),
         # By whatever name of the PBX it came.
         uri = URI.parse!("sip:#{user}@#{config.domain}"),
         {:ok, targets} <- Store.targets(config.store, uri) do
      forward(request, for(bindings <- targets, do: phones(bindings, stack)), place)
    else
      false -> {:error, Message.to_response(request, 404)}
      {:error, :unavailable} -> {:error, Message.to_response(request, 500)}
    end
  end

  # RFC5626§7 - of the flows of one phone, one is tried. A Contact of the PBX's own is a loop.
  defp phones(bindings, stack) do
    bindings
    |> Enum.uniq_by(&(&1.instance || &1))
    |> Enum.reject(&Sippet.own?(stack, Binding.uri(&1)))
  end

  # RFC3261§16.6 - an ACK has no transaction: it goes on to one target, and that is all
  defp forward(ack, [[target | _] | _], {stack, nil, config, _user}),
    do: Sippet.send(stack, Proxy.forward(ack, target, nat: config.nat))

  defp forward(_ack, [], {_stack, nil, _config, _user}), do: :ok

  defp forward(%Message{start_line: %{method: method}} = request, targets, place) do
    {stack, key, config, _user} = place
    # REFER and SUBSCRIBE make dialogs too.
    own = if method in [:invite, :subscribe, :refer], do: Sippet.own_uri(stack, lr: true)
    report = if new_call?(request), do: Calls.await_report(stack, key)
    options = [record_route: own, nat: config.nat, report: report]
    ResponseContext.run(stack, key, request, targets, options)
    :ok
  end

  @impl true
  def receive_response(response, key, stack),
    do: ResponseContext.receive_response(stack, response, key)
end

defmodule Examples.PBX.Calls do
  @moduledoc """
  The calls in progress, by what the stack's events say of them (`Sippet.Telemetry`). It writes
  their records, and tells the watchers.
  """

  use GenServer

  require Logger

  alias Examples.PBX
  alias Examples.PBX.Watchers
  alias Sippet.Message

  def start_link(stack), do: GenServer.start_link(__MODULE__, stack, name: name(stack))

  @doc "A call that its caller may make. `called` is `{:ours, user}` or `:elsewhere`."
  def placed(stack, key, invite, user, called) do
    %{call_id: call_id, from: {_, caller, from}} = invite.headers

    call = %{
      call_id: call_id,
      caller: caller,
      called: invite.start_line.request_uri,
      started: System.system_time(),
      ringing: nil,
      answered: nil,
      ended: nil,
      status: nil,
      how: nil,
      phone: nil,
      branches: []
    }

    parties = [{user, :initiator} | with({:ours, user} <- called, do: [{user, :recipient}])]
    cast(stack, {:placed, key, %{call: call, tag: from["tag"], parties: parties, report: nil}})
  end

  @doc "Has the record of a call wait for the report of its forking, which the result takes."
  def await_report(stack, key) do
    cast(stack, {:change, key, &%{&1 | report: :awaited}})
    &cast(stack, {:report, key, &1})
  end

  @doc "The calls in progress."
  def list(stack), do: GenServer.call(name(stack), :list)

  @doc "The calls of a user: `{call_id, :initiator | :recipient, \"early\" | \"confirmed\"}`."
  def of(stack, user), do: GenServer.call(name(stack), {:of, user})

  # Events of one call come from one process, so they keep their order.
  def execute(
        [:sippet, :transaction, :started],
        %{system_time: now},
        %{request: %Message{}} = event
      ) do
    with %{start_line: %{method: :bye}, headers: %{from: {_, _, from}} = headers} <-
           event.request,
         do: cast(event.stack, {:bye, headers.call_id, from["tag"], now})
  end

  def execute([:sippet, :transaction, :responded], %{system_time: now}, event) do
    %{key: key, status: status, cancelled: cancelled?} = event
    cast(event.stack, {:change, key, &responded(&1, status, cancelled?, now)})
  end

  def execute([:sippet, :transaction, :ended], _times, %{status: nil, key: key} = event),
    do: cast(event.stack, {:change, key, &finish(&1, event.reason, System.system_time())})

  def execute([:sippet, :owner, :down], %{system_time: now}, %{key: nil, dialog: dialog} = event),
    do: cast(event.stack, {:ended, dialog.call_id, :process_ended, now})

  def execute(_event, _measurements, _metadata), do: :ok

  defp cast(stack, message), do: GenServer.cast(name(stack), message)
  defp name(stack), do: Module.concat(stack, Calls)

  @impl true
  def init(stack) do
    Process.flag(:trap_exit, true)
    {:ok, %{stack: stack, calls: %{}, keys: %{}}}
  end

  @impl true
  def handle_call(:list, _from, state),
    do: {:reply, for({_key, entry} <- state.calls, do: entry.call), state}

  def handle_call({:of, user}, _from, state) do
    calls =
      for {_key, entry} <- state.calls,
          lamp = lamp(entry),
          {^user, role} <- entry.parties,
          do: {entry.call.call_id, role, lamp}

    {:reply, calls, state}
  end

  @impl true
  def handle_cast({:placed, key, entry}, state) do
    Process.send_after(self(), {:lost, key}, PBX.config(state.stack).max_call)
    keys = Map.put(state.keys, entry.call.call_id, key)
    {:noreply, %{state | calls: Map.put(state.calls, key, entry), keys: keys}}
  end

  def handle_cast({:bye, call_id, tag, now}, state) do
    how = &if(tag == &1.tag, do: :caller_hung_up, else: :called_hung_up)
    {:noreply, change(state, state.keys[call_id], &finish(&1, how.(&1), now))}
  end

  def handle_cast({:ended, call_id, how, now}, state),
    do: {:noreply, change(state, state.keys[call_id], &finish(&1, how, now))}

  def handle_cast({:report, key, report}, state) do
    answered? =
      match?({:ok, %{start_line: %{status_code: status}}} when status < 300, report.result)

    phone = if answered?, do: uri(report.target)
    branches = for {target, status} <- report.branches, do: {uri(target), status}
    put = &put_in(%{&1 | report: nil}.call, %{&1.call | phone: phone, branches: branches})
    {:noreply, change(state, key, put)}
  end

  def handle_cast({:change, key, change}, state), do: {:noreply, change(state, key, change)}

  @impl true
  def handle_info({:lost, key}, state) do
    lost = &finish(%{&1 | report: nil}, :lost, System.system_time())
    {:noreply, change(state, key, lost)}
  end

  @impl true
  def terminate(_reason, %{calls: calls, stack: stack}) do
    for {_key, entry} <- calls do
      write(stack, finish(entry, :stopped, System.system_time()).call)
    end
  end

  # The keys of all transactions come here, most of which are of no call.
  defp change(state, key, change) do
    case state.calls do
      %{^key => before} ->
        entry = change.(before)
        state = put_in(state.calls[key], entry)
        state = if over?(entry), do: remove(state, key, entry.call), else: state

        if lamp(entry) != lamp(before),
          do: for({user, _role} <- entry.parties, do: Watchers.changed(state.stack, user))

        state

      _none ->
        state
    end
  end

  defp over?(%{report: report, call: call}), do: call.how != nil and report == nil

  defp remove(state, key, call) do
    write(state.stack, call)
    %{state | calls: Map.delete(state.calls, key), keys: Map.delete(state.keys, call.call_id)}
  end

  defp write(stack, call) do
    PBX.config(stack).record.(call)
  catch
    kind, reason -> Logger.error(Exception.format(kind, reason, __STACKTRACE__))
  end

  defp responded(%{call: call} = entry, status, _cancelled?, now) when status < 200,
    do: %{entry | call: %{call | ringing: call.ringing || now}}

  defp responded(%{call: call} = entry, status, _cancelled?, now) when status < 300,
    do: %{entry | call: %{call | answered: now, status: status}}

  defp responded(entry, status, cancelled?, now) do
    entry = put_in(entry.call.status, status)
    finish(entry, if(cancelled?, do: :cancelled, else: :refused), now)
  end

  # Whoever comes first knows how.
  defp finish(%{call: %{how: nil} = call} = entry, how, now),
    do: %{entry | call: %{call | how: how, ended: now}}

  defp finish(entry, _how, _now), do: entry

  defp lamp(%{call: %{how: nil, answered: answered}}) when answered != nil, do: "confirmed"
  defp lamp(%{call: %{how: nil, ringing: ringing}}) when ringing != nil, do: "early"
  defp lamp(_entry), do: nil

  defp uri(%Sippet.Binding{} = binding), do: Sippet.Binding.uri(binding)
  defp uri(uri), do: uri
end

defmodule Examples.PBX.Watchers do
  @moduledoc """
  The subscriptions of the phones, and the mailboxes. One process sends all NOTIFYs, so that they
  keep their order.
  """

  use GenServer

  alias Examples.PBX
  alias Examples.PBX.Calls
  alias Sippet.{Dialog, Message, Subscription}
  alias Sippet.Transactions.Client

  @events ["message-summary", "dialog"]
  # Seconds: shorter subscriptions are refused with 423.
  @min_expires 60
  # Subscriptions of one user at a time.
  @most 50

  def start_link(stack), do: GenServer.start_link(__MODULE__, stack, name: name(stack))

  def subscribe(stack, request, watched, user),
    do: cast(stack, {:subscribe, request, watched, user})

  def messages(stack, user, counts), do: cast(stack, {:messages, user, counts})
  def changed(stack, user), do: cast(stack, {:changed, "dialog", user})

  defp cast(stack, message), do: GenServer.cast(name(stack), message)
  defp name(stack), do: Module.concat(stack, Watchers)
  defp now, do: System.monotonic_time(:millisecond)

  @impl true
  def init(stack) do
    Process.flag(:trap_exit, true)
    {:ok, %{stack: stack, entries: %{}, mailboxes: %{}}}
  end

  @impl true
  def handle_cast({:subscribe, request, watched, user}, state) do
    case take(state.entries[Dialog.id(request)], request, watched, user, state) do
      {:ok, response, entry} ->
        Sippet.send(state.stack, response)
        left = Subscription.time_left(entry.subscription, now())
        Process.send_after(self(), {:expire, Dialog.id(entry.subscription.dialog)}, left)
        {:noreply, notify(state, entry)}

      {:error, response} ->
        Sippet.send(state.stack, response)
        {:noreply, state}
    end
  end

  def handle_cast({:messages, user, counts}, state) do
    state = put_in(state.mailboxes[user], counts)
    handle_cast({:changed, "message-summary", user}, state)
  end

  def handle_cast({:changed, package, user}, state) do
    concerned =
      for {_id, %{watched: ^user, subscription: %{event: {^package, _}}} = entry} <-
            state.entries,
          do: entry

    {:noreply, Enum.reduce(concerned, state, &notify(&2, &1))}
  end

  # A timer of each SUBSCRIBE: earlier ones find that there is time left.
  @impl true
  def handle_info({:expire, id}, state) do
    case state.entries[id] do
      nil -> {:noreply, state}
      entry -> {:noreply, if(over?(entry), do: notify(state, entry), else: state)}
    end
  end

  def handle_info({:sippet, _stack, _key, {:response, response}}, state) do
    case state.entries[Dialog.id(response)] do
      nil ->
        {:noreply, state}

      entry ->
        {_ok, next} = Subscription.receive_response(entry.subscription, response, now())
        {:noreply, put(state, %{entry | subscription: next})}
    end
  end

  def handle_info({:sippet, _stack, key, {:error, reason}}, state) do
    case Enum.find(state.entries, fn {_id, entry} -> entry.sent == key end) do
      nil ->
        {:noreply, state}

      {_id, entry} ->
        next = Subscription.receive_error(entry.subscription, reason)
        {:noreply, put(state, %{entry | subscription: next})}
    end
  end

  # RFC6665§4.1.3 - a subscriber may begin anew at once
  @impl true
  def terminate(_reason, state) do
    for {_id, entry} <- state.entries,
        do: notify(state, entry, state: {:terminated, "deactivated"})
  end

  defp over?(%{subscription: subscription}), do: Subscription.time_left(subscription, now()) == 0

  defp take(%{subscription: known} = entry, request, _watched, _user, _state) do
    with {:ok, response, next} <-
           Subscription.receive_subscribe(known, request, now(), min_expires: @min_expires),
         do: {:ok, response, %{entry | subscription: next}}
  end

  # A To tag, and no such dialog.
  defp take(nil, request, _watched, nil, _state), do: {:error, Message.to_response(request, 481)}

  defp take(nil, request, watched, user, state) do
    contact = {"", Sippet.own_uri(state.stack, user: watched, flow: request.source), %{}}
    options = [events: @events, contact: contact, min_expires: @min_expires]

    with {:ok, response, subscription} <- Subscription.notifier(request, now(), options),
         :ok <- allow(subscription.event, request, watched, user, state) do
      entry = %{subscription: subscription, watched: watched, user: user, version: 0, sent: nil}
      {:ok, response, entry}
    end
  end

  # A mailbox is its user's alone.
  defp allow({"message-summary", _id}, request, watched, user, _state) when watched != user,
    do: {:error, Message.to_response(request, 403)}

  defp allow(_event, request, _watched, user, state) do
    if Enum.count(state.entries, fn {_id, entry} -> entry.user == user end) < @most,
      do: :ok,
      else: {:error, Message.to_response(request, 503)}
  end

  defp notify(state, entry, options \\ []) do
    {type, body} = body(entry, state)
    headers = [content_type: {{"application", type}, %{}}]
    options = [headers: headers, body: body] ++ options
    {:ok, notify, subscription} = Subscription.notify(entry.subscription, now(), options)
    Sippet.send(state.stack, notify, owner: self())
    sent = Client.Key.new(notify)
    put(state, %{entry | subscription: subscription, version: entry.version + 1, sent: sent})
  end

  defp put(state, %{subscription: %{state: :terminated, dialog: dialog}}),
    do: %{state | entries: Map.delete(state.entries, Dialog.id(dialog))}

  defp put(state, entry),
    do: put_in(state.entries[Dialog.id(entry.subscription.dialog)], entry)

  defp body(%{subscription: %{event: {"message-summary", _id}}, watched: user}, state) do
    {new, old} = Map.get(state.mailboxes, user, {0, 0})
    waiting = if new > 0, do: "yes", else: "no"

    {"simple-message-summary",
     "Messages-Waiting: #{waiting}\r\nMessage-Account: #{aor(user, state)}\r\n" <>
       "Voice-Message: #{new}/#{old}\r\n"}
  end

  # RFC4235§4.1 - the whole state each time
  defp body(%{watched: user, version: version}, state) do
    dialogs = for call <- Calls.of(state.stack, user), do: dialog(call)

    {"dialog-info+xml",
     """
     <?xml version="1.0"?>
     <dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info"
       version="#{version}" state="full" entity="#{escape(aor(user, state))}">
     #{if dialogs == [], do: "<dialog id=\"0\"><state>terminated</state></dialog>", else: dialogs}
     </dialog-info>
     """}
  end

  defp dialog({call_id, role, state}) do
    id = Base.encode16(:crypto.hash(:sha256, call_id), case: :lower)
    ~s(<dialog id="#{id}" direction="#{role}"><state>#{state}</state></dialog>)
  end

  defp aor(user, state), do: "sip:#{user}@#{PBX.config(state.stack).domain}"

  defp escape(text) do
    for {from, to} <- [{"&", "&amp;"}, {"<", "&lt;"}, {"\"", "&quot;"}], reduce: text do
      text -> String.replace(text, from, to)
    end
  end
end

defmodule Examples.PBX.Call do
  @moduledoc """
  One call to `echo`, from its INVITE to its BYE: a process that owns the INVITE, the dialog and
  the session timer. If it ends before the call, the stack sends the BYE.
  """

  use GenServer, restart: :temporary

  alias Examples.PBX
  alias Examples.PBX.{Echo, SDP}
  alias Sippet.{Dialog, Message, SessionTimer, UAS}

  @allow ["INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "UPDATE"]
  @accept [{"application", "sdp"}]

  def supervisor(stack), do: Module.concat(stack, CallSupervisor)

  @doc "What the PBX can do (RFC 3261 §11.2, §13.3.1.4)."
  def put_capabilities(response) do
    accept = for type <- @accept, do: {type, %{}}
    Message.put_headers(response, allow: @allow, accept: accept, supported: ["timer"])
  end

  def start(stack, key, invite) do
    with :ok <- validate(invite),
         {:error, :max_children} <-
           DynamicSupervisor.start_child(supervisor(stack), {__MODULE__, {stack, key, invite}}) do
      {:error, Message.to_response(invite, 486)}
    else
      {:error, %Message{}} = refused -> refused
      _started -> :ok
    end
  end

  defp validate(request),
    do: UAS.validate(request, allow: @allow, accept: @accept, supported: ["timer"])

  def start_link(argument), do: GenServer.start_link(__MODULE__, argument)

  @impl true
  def init({stack, key, invite}) do
    config = PBX.config(stack)
    timer = SessionTimer.new(session_expires: config.session_expires)
    {:ok, echo, port} = Echo.start_link(config.address)

    call = %{
      stack: stack,
      dialog: nil,
      timer: timer,
      echo: echo,
      port: port,
      sdp: nil,
      version: 0
    }

    # It owns both before it sends: a BYE may come as soon as the caller hears the 200.
    with :ok <- Sippet.controlling_process(stack, key, self()),
         false <- Sippet.cancelled?(stack, key),
         {:ok, ok, call} <- answer(invite, call),
         {:ok, dialog} <- Dialog.uas(invite, ok),
         :ok <- Sippet.controlling_process(stack, dialog, self()) do
      {:ok, call |> send_answer(ok, dialog) |> schedule()}
    else
      # RFC3261§9.2 - the CANCEL was faster
      true -> ignore(stack, Message.to_response(invite, 487))
      {:error, %Message{} = response} -> ignore(stack, response)
      {:error, :no_transaction} -> :ignore
    end
  end

  defp ignore(stack, response) do
    Sippet.send(stack, response)
    :ignore
  end

  @impl true
  def handle_info({:sippet, stack, _key, {:request, request}}, call) do
    with :ok <- validate(request),
         {:ok, dialog} <- Dialog.receive_request(call.dialog, request) do
      take(request.start_line.method, request, %{call | dialog: dialog})
    else
      {:error, response} ->
        Sippet.send(stack, response)
        {:noreply, call}
    end
  end

  def handle_info({:sippet, stack, _key, {:response, response}}, call) do
    case Dialog.receive_response(call.dialog, response) do
      {:ok, %{state: :terminated}} -> {:stop, :normal, call}
      {:ok, dialog} -> refreshed(response, %{call | dialog: dialog}, stack)
      {:error, _reason} -> {:noreply, call}
    end
  end

  # RFC3261§13.3.1.4, RFC4028§10 - the call is over, and the stack sends its BYE
  def handle_info({:sippet, _stack, _key, {:error, _reason}}, call), do: {:stop, :normal, call}

  def handle_info(:session_timer, call) do
    case SessionTimer.next(call.timer, now()) do
      {:refresh, method, 0} -> {:noreply, refresh(method, call)}
      {:hang_up, 0} -> {:stop, :normal, call}
      # An earlier message than that of the last refresh.
      _later -> {:noreply, call}
    end
  end

  defp take(:ack, _ack, call), do: {:noreply, call}

  defp take(:bye, bye, call) do
    Sippet.send(call.stack, Message.to_response(bye, 200))
    {:stop, :normal, call}
  end

  defp take(method, request, call) when method in [:invite, :update] do
    case answer(request, call) do
      {:ok, ok, call} ->
        {:noreply, call |> send_answer(ok, call.dialog) |> schedule()}

      {:error, refused} ->
        Sippet.send(call.stack, refused)
        {:noreply, %{call | dialog: Dialog.respond(call.dialog, refused)}}
    end
  end

  # OPTIONS, or a CANCEL that came too late.
  defp take(_other, request, call) do
    Sippet.send(call.stack, request |> Message.to_response(200) |> put_capabilities())
    {:noreply, call}
  end

  # The 200 to an INVITE or an UPDATE, or what refuses it.
  defp answer(request, %{stack: stack} = call) do
    own = Sippet.own_uri(stack, user: "echo", flow: request.source)

    with :ok <- SessionTimer.receive_request(call.timer, request),
         {:ok, sdp, call} <- describe(request, own.host, call) do
      ok =
        request
        |> Message.to_response(200)
        |> put_capabilities()
        |> Message.put_header(:contact, [{"", own, %{}}])
        |> put_sdp(sdp)

      {ok, timer} = SessionTimer.put_response(call.timer, request, ok, now())
      {:ok, ok, %{call | timer: timer}}
    end
  end

  # RFC3311§5.1 - an UPDATE may come without an offer
  defp describe(%Message{start_line: %{method: :update}, body: body}, _host, call)
       when body in [nil, ""],
       do: {:ok, nil, call}

  defp describe(request, host, %{version: version} = call) do
    case SDP.answer(request.body, host, call.port, version) do
      {:ok, sdp, echo?} ->
        Echo.open(call.echo, echo?)
        {:ok, sdp, %{call | sdp: sdp, version: version + 1}}

      :error ->
        {:error, Message.to_response(request, 488)}
    end
  end

  defp put_sdp(message, nil), do: message

  defp put_sdp(message, sdp) do
    message = Message.put_header(message, :content_type, {{"application", "sdp"}, %{}})
    %{message | body: sdp}
  end

  defp send_answer(%{stack: stack} = call, ok, dialog) do
    Sippet.send(stack, ok)
    # RFC3261§13.3.1.4 - the 2xx to an INVITE is repeated until the ACK comes
    if match?({_number, :invite}, ok.headers.cseq), do: Sippet.retransmit_2xx(stack, ok)
    %{call | dialog: Dialog.respond(dialog, ok)}
  end

  ## The session timer

  defp refresh(method, call) do
    {:ok, request, dialog} = Dialog.next_request(call.dialog, method)
    request = if method == :invite, do: put_sdp(request, call.sdp), else: request
    {request, timer} = SessionTimer.put_request(call.timer, request)
    Sippet.send(call.stack, request, owner: self())
    schedule(%{call | dialog: dialog, timer: timer})
  end

  defp refreshed(%{start_line: %{status_code: status}} = response, call, stack) do
    if match?({_number, :invite}, response.headers.cseq) and status in 200..299,
      do: Sippet.send(stack, Dialog.build_ack(call.dialog, response))

    case SessionTimer.receive_response(call.timer, response, now()) do
      {:ok, timer} -> {:noreply, schedule(%{call | timer: timer})}
      # A 422: once more, with the longer interval.
      {:retry, timer} -> {:noreply, refresh(timer.method, %{call | timer: timer})}
      {:error, :too_short} -> {:stop, :normal, call}
    end
  end

  defp schedule(call) do
    case SessionTimer.next(call.timer, now()) do
      :never -> :ok
      {:refresh, _method, ms} -> Process.send_after(self(), :session_timer, ms)
      {:hang_up, ms} -> Process.send_after(self(), :session_timer, ms)
    end

    call
  end

  defp now, do: System.monotonic_time(:millisecond)
end

defmodule Examples.PBX.SDP do
  @moduledoc """
  Answers an offer with one stream of G.711 (RFC 3264).
  """

  # PCMU and PCMA (RFC 3551 §6).
  @codecs ["0", "8"]
  @answers %{"sendonly" => "recvonly", "recvonly" => "sendonly", "inactive" => "inactive"}

  @doc """
  Returns `{:ok, answer, echo?}`: `echo?` is whether the far end wants to hear something. Returns
  `:error` if there is no common codec. Without an offer the answer is an offer.
  """
  def answer(none, host, port, version) when none in [nil, ""],
    do: {:ok, session(host, version, [audio(port, @codecs, "sendrecv")]), true}

  def answer(offer, host, port, version) do
    [session | media] = String.split(offer, ~r/\r?\n(?=m=)/)

    lines =
      for section <- media, do: {section, String.split(hd(String.split(section, ["\r", "\n"])))}

    case Enum.find_index(lines, fn {_section, words} -> common(words) != [] end) do
      nil ->
        :error

      taken ->
        {section, words} = Enum.at(lines, taken)
        direction = Map.get(@answers, direction(section) || direction(session), "sendrecv")
        answers = for {_section, words} <- lines, do: refused(words)
        answers = List.replace_at(answers, taken, audio(port, common(words), direction))
        {:ok, session(host, version, answers), direction in ["sendrecv", "sendonly"]}
    end
  end

  defp common(["m=audio", port, "RTP/AVP" | formats]) when port != "0",
    do: Enum.filter(formats, &(&1 in @codecs))

  defp common(_words), do: []

  defp direction(section) do
    with [_all, direction] <-
           Regex.run(~r/^a=(sendrecv|sendonly|recvonly|inactive)\r?$/m, section),
         do: direction
  end

  # RFC3264§6 - each stream of the offer has one in the answer, in the same order; one that is
  # refused has the port 0
  defp refused([type, _port | rest]), do: Enum.join([type, "0" | rest], " ") <> "\r\n"
  defp refused(malformed), do: Enum.join(malformed, " ") <> "\r\n"

  defp audio(port, formats, direction),
    do: "m=audio #{port} RTP/AVP #{Enum.join(formats, " ")}\r\na=#{direction}\r\n"

  defp session(host, version, media) do
    family = if String.contains?(host, ":"), do: "IP6", else: "IP4"
    address = "#{family} #{String.trim(host, "[") |> String.trim("]")}"

    "v=0\r\no=- 1 #{version} IN #{address}\r\ns=-\r\nc=IN #{address}\r\nt=0 0\r\n" <>
      Enum.join(media)
  end
end

defmodule Examples.PBX.Echo do
  @moduledoc """
  Sends each RTP packet back to where it came from. It ends with the process that started it.

  It listens to one source: the first one that sends since `open/2`. So it works for a phone
  behind a NAT, and nobody else can speak in between.
  """

  use GenServer

  @doc "Returns `{:ok, echo, port}`."
  def start_link(address) do
    with {:ok, echo} <- GenServer.start_link(__MODULE__, {address, self()}),
         do: {:ok, echo, GenServer.call(echo, :port)}
  end

  @doc "Begins anew, after an offer. Without `echo?`, as on hold, it is silent."
  def open(echo, echo?), do: GenServer.cast(echo, {:open, echo?})

  @impl true
  def init({address, owner}) do
    Process.monitor(owner)
    {:ok, ip} = :inet.parse_address(String.to_charlist(address))
    family = if tuple_size(ip) == 8, do: :inet6, else: :inet

    with {:ok, socket} <- :gen_udp.open(0, [:binary, family, ip: ip, active: :once]),
         do: {:ok, %{socket: socket, source: nil, echo?: false}}
  end

  @impl true
  def handle_call(:port, _from, state), do: {:reply, elem(:inet.port(state.socket), 1), state}

  @impl true
  def handle_cast({:open, echo?}, state), do: {:noreply, %{state | echo?: echo?, source: nil}}

  @impl true
  def handle_info({:udp, socket, ip, port, packet}, state) do
    :inet.setopts(socket, active: :once)
    source = state.source || {ip, port}

    if state.echo? and source == {ip, port},
      do: :gen_udp.send(socket, ip, port, packet)

    {:noreply, %{state | source: source}}
  end

  def handle_info({:DOWN, _monitor, :process, _owner, _reason}, state),
    do: {:stop, :normal, state}
end
