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
    * `:record` - a function that gets the record of each call (`Examples.CallRecords`). It is
      called in one process, so a slow one delays the lamps (drops it)
    * `:max_call` - ms after which a call without a BYE counts as over (12 hours)
    * `:max_echo` - the most calls to `echo` at a time; a further one gets 486 (100)
    * `:session_expires` - the session interval of calls to `echo`, in seconds (1,800)
    * `:bindings` - options of `Sippet.Binding.register/3` (none)
    * `:stack` - more options of the stack (`Sippet`), but `:telemetry`, which is taken
  """

  use Supervisor

  alias Examples.CallRecords
  alias Examples.Echo.Call
  alias Examples.PBX.{Core, Watchers}
  alias Sippet.Binding.Store

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
      nat: nat,
      binding: options[:bindings] || [],
      store: {Store.Memory, bindings}
    }

    :persistent_term.put({__MODULE__, name}, config)
    stack = [name: name, core: Core, telemetry: CallRecords] ++ Keyword.get(options, :stack, [])
    udp = [name: name, port: options[:port] || 5060, address: address, force_rport: nat]
    changed = fn user -> Watchers.changed(name, "dialog", user) end
    records = [changed: changed] ++ Keyword.take(options, [:record, :max_call])
    echo = [address: address, max_calls: options[:max_echo]]
    echo = echo ++ Keyword.take(options, [:session_expires])

    # They end in the opposite order: the calls send their BYEs, the watchers their last NOTIFYs,
    # the transport lets them out, and then the records are written.
    children = [
      {Store.Memory, name: bindings},
      {Sippet.DigestAuth.NonceStore, name: nonces(name)},
      {CallRecords, [stack: name] ++ records},
      {Sippet, stack},
      {Sippet.Transports.UDP, udp},
      {Watchers, name},
      Call.supervisor(name, echo)
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
  def calls(stack), do: CallRecords.list(stack)
end

defmodule Examples.PBX.Core do
  @moduledoc """
  Sorts what comes: it refuses, registers, forwards, or hands over to a process.
  """

  use Sippet.Core

  alias Examples.{CallRecords, PBX}
  alias Examples.Echo.Call
  alias Examples.PBX.Watchers
  alias Sippet.{Binding, Dialog, DigestAuth, Message, Proxy, UAS, URI}
  alias Sippet.Binding.Store
  alias Sippet.Proxy.ResponseContext

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
      # They are nobody else's business.
      request = DigestAuth.delete_credentials(request, config.domain)
      request = Proxy.preprocess_route(request, own)
      uri = request.start_line.request_uri
      called = if ours?(uri, stack, config), do: {:ours, uri.userinfo}, else: :elsewhere
      if new_call?(request), do: CallRecords.placed(stack, key, request, user, called)
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
      method == :ack or Dialog.within?(request) -> {:ok, nil}
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

  defp ours?(%{host: nil}, _stack, _config), do: false

  defp ours?(uri, stack, config),
    do: String.downcase(uri.host) == config.domain or Sippet.own?(stack, uri)

  defp new_call?(request),
    do: request.start_line.method == :invite and not Dialog.within?(request)

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
    do: Call.reply(stack, request)

  defp take(_method, {:ours, "echo"}, request, {stack, key, _config, _user}),
    do: Call.receive_request(stack, key, request)

  defp take(:ack, {:ours, "busy"}, _ack, _place), do: :ok

  defp take(_method, {:ours, "busy"}, request, _place) do
    with :ok <- UAS.validate(request, allow: ["INVITE"]),
         do: {:error, Message.to_response(request, 486)}
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
    report = if new_call?(request), do: CallRecords.await_report(stack, key)
    options = [record_route: own, nat: config.nat, report: report]
    ResponseContext.run(stack, key, request, targets, options)
    :ok
  end

  @impl true
  def receive_response(response, key, stack),
    do: ResponseContext.receive_response(stack, response, key)

  @impl true
  def receive_error(_reason, _key, _stack), do: :ok
end

defmodule Examples.PBX.Watchers do
  @moduledoc """
  The subscriptions of the phones, and the mailboxes. One process sends all NOTIFYs, so that they
  keep their order.
  """

  use GenServer

  alias Examples.{CallRecords, PBX}
  alias Sippet.{Message, Notifier}

  @events ["message-summary", "dialog"]

  def start_link(stack), do: GenServer.start_link(__MODULE__, stack, name: name(stack))

  def subscribe(stack, request, watched, user),
    do: cast(stack, {:subscribe, request, watched, user})

  def messages(stack, user, counts), do: cast(stack, {:messages, user, counts})
  def changed(stack, event, user), do: cast(stack, {:changed, event, user})

  defp cast(stack, message), do: GenServer.cast(name(stack), message)
  defp name(stack), do: Module.concat(stack, Watchers)
  defp now, do: System.monotonic_time(:millisecond)

  @impl true
  def init(stack) do
    Process.flag(:trap_exit, true)
    {:ok, %{stack: stack, notifier: Notifier.new(events: @events), mailboxes: %{}}}
  end

  @impl true
  def handle_cast({:subscribe, request, watched, user}, state) do
    contact = {"", Sippet.own_uri(state.stack, user: watched, flow: request.source), %{}}
    options = [resource: watched, subscriber: user, contact: contact]

    with {:ok, response, id, notifier} <-
           Notifier.receive_subscribe(state.notifier, request, now(), options),
         {:ok, watcher} = Notifier.fetch(notifier, id),
         :ok <- allow(watcher, request) do
      Sippet.send(state.stack, response)
      %{state | notifier: notifier} |> notify(id) |> wait()
    else
      {:error, response} ->
        Sippet.send(state.stack, response)
        wait(state)
    end
  end

  def handle_cast({:messages, user, counts}, state) do
    state = put_in(state.mailboxes[user], counts)
    state |> notify({"message-summary", user}) |> wait()
  end

  def handle_cast({:changed, event, user}, state), do: state |> notify({event, user}) |> wait()

  @impl true
  def handle_info(:timeout, state) do
    {notifies, notifier} = Notifier.expire(state.notifier, now(), &content(&1, state))
    %{state | notifier: notifier} |> send_all(notifies) |> wait()
  end

  def handle_info({:sippet, _stack, _key, {:response, response}}, state) do
    notifier = Notifier.receive_response(state.notifier, response, now())
    wait(%{state | notifier: notifier})
  end

  def handle_info({:sippet, _stack, key, {:error, reason}}, state),
    do: wait(%{state | notifier: Notifier.receive_error(state.notifier, key, reason)})

  # RFC6665§4.1.3 - a subscriber may begin anew at once
  @impl true
  def terminate(_reason, state), do: notify(state, :all, state: {:terminated, "deactivated"})

  # Until the next subscription is over.
  defp wait(state), do: {:noreply, state, Notifier.next(state.notifier, now())}

  # A mailbox is its user's alone.
  defp allow(%{event: {"message-summary", _id}} = watcher, request)
       when watcher.resource != watcher.subscriber,
       do: {:error, Message.to_response(request, 403)}

  defp allow(_watcher, _request), do: :ok

  defp notify(state, which, options \\ []) do
    content = &(content(&1, state) ++ options)
    {notifies, notifier} = Notifier.notify(state.notifier, which, now(), content)
    send_all(%{state | notifier: notifier}, notifies)
  end

  defp send_all(state, notifies) do
    for notify <- notifies, do: Sippet.send(state.stack, notify, owner: self())
    state
  end

  defp content(watcher, state) do
    {type, body} = body(watcher, state)
    [headers: [content_type: {{"application", type}, %{}}], body: body]
  end

  defp body(%{event: {"message-summary", _id}, resource: user}, state) do
    {new, old} = Map.get(state.mailboxes, user, {0, 0})
    waiting = if new > 0, do: "yes", else: "no"

    {"simple-message-summary",
     "Messages-Waiting: #{waiting}\r\nMessage-Account: #{aor(user, state)}\r\n" <>
       "Voice-Message: #{new}/#{old}\r\n"}
  end

  # RFC4235§4.1 - the whole state each time
  defp body(%{resource: user, version: version}, state) do
    dialogs = for call <- CallRecords.of(state.stack, user), do: dialog(call)

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
