defmodule Examples.B2BUA do
  @moduledoc """
  A back-to-back user agent between two networks, as a session border controller has it.

  A call that comes to one side goes on to the other, as a call of its own: neither side sees an
  address, a route or a Call-ID of the other. Session descriptions pass as they are.

  Options: `:inside` and `:outside`, each a keyword list with

    * `:name` - the name of the stack
    * `:address` and `:port` - where it listens, by default 127.0.0.1 and 5060
    * `:next_hop` - the host and port to which calls to this side go, such as `"10.0.0.1:5070"`.
      If there is none, a call goes where its Request-URI says
    * `:stack` - more options of the stack (`Sippet`)
  """

  use Supervisor

  alias Examples.B2BUA.{Call, Side}

  def start_link(options), do: Supervisor.start_link(__MODULE__, options)

  @impl true
  def init(options) do
    [inside, outside] = for side <- [:inside, :outside], do: Keyword.fetch!(options, side)
    registry = Module.concat(inside[:name], Dialogs)

    # The calls are last, so that they end first: the stacks send their BYEs before they stop. If
    # a stack fails, the calls go on with the one that takes its place.
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

  # RFC3261§9.2 - the CANCEL of an INVITE that no call has yet. The call will ask
  # `Sippet.cancelled?/2`.
  @impl true
  def receive_request(%Message{start_line: %{method: :cancel}} = cancel, _key, stack),
    do: Sippet.send(stack, Message.to_response(cancel, 200))

  # The ACK of a call that is over.
  def receive_request(_ack, nil, _stack), do: :ok

  def receive_request(request, key, stack) do
    capabilities = [allow: ["INVITE", "OPTIONS"], supported: ["100rel", "timer", "replaces"]]

    with :ok <- in_no_dialog(request),
         :ok <- UAS.validate(request, capabilities),
         :ok <- take(request, key, stack) do
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

  # RFC3261§12.2.2 - a To tag says that the request belongs to a dialog: its call would have it
  defp in_no_dialog(%Message{headers: %{to: {_name, _uri, %{"tag" => _}}}} = request),
    do: {:error, Message.to_response(request, 481)}

  defp in_no_dialog(_request), do: :ok

  defp take(%Message{start_line: %{method: :invite}} = invite, key, stack) do
    # RFC3261§8.2.2.2 - the same request by another path
    if Sippet.merged?(stack, invite),
      do: {:error, Message.to_response(invite, 482)},
      else: Call.start(stack, key, invite)
  end

  defp take(options, _key, stack), do: Sippet.send(stack, Message.to_response(options, 200))
end

defmodule Examples.B2BUA.Call do
  @moduledoc """
  One call: a process that keeps a `Sippet.B2BUA`, carries out what that says, and owns all of it.

  When the process ends, the stacks end what is left of the call: by a BYE, a CANCEL or a 500.
  """

  use GenServer, restart: :temporary

  alias Sippet.{B2BUA, Dialog, Message, Replaces, URI}
  alias Sippet.Transactions.Client

  # A 3xx may name any number of servers.
  @most_targets 5

  @enforce_keys [:registry, :next_hop, :stacks]
  defstruct @enforce_keys ++ [:b2bua, targets: [], tried: 0]

  def supervisor(from, to, registry) do
    stacks = %{caller: from[:name], called: to[:name]}
    call = %__MODULE__{registry: registry, next_hop: to[:next_hop], stacks: stacks}
    options = [name: supervisor(from[:name]), extra_arguments: [call]]
    Supervisor.child_spec({DynamicSupervisor, options}, id: options[:name])
  end

  defp supervisor(stack), do: Module.concat(stack, Calls)

  def start(stack, key, invite) do
    DynamicSupervisor.start_child(supervisor(stack), {__MODULE__, {key, invite}})
    :ok
  end

  def start_link(call, {key, invite}), do: GenServer.start_link(__MODULE__, {call, key, invite})

  def tell_all(registry, message) do
    pids = Registry.select(registry, [{{:_, :"$1", :_}, [], [:"$1"]}])
    for pid <- Enum.uniq(pids), do: send(pid, message)
  end

  @impl true
  def init({%{stacks: %{caller: stack}} = call, key, invite}) do
    with :ok <- Sippet.controlling_process(stack, key, self()),
         false <- Sippet.cancelled?(stack, key),
         :none <- hand_over(call, key, invite),
         {:ok, actions, b2bua} <- B2BUA.new(invite, contacts(call, invite)) do
      call = %{call | b2bua: b2bua, targets: [target(invite, call.next_hop)]}
      {:ok, Enum.reduce(actions, call, &act/2), {:continue, :call}}
    else
      # RFC3261§9.2 - the CANCEL was faster
      true -> ignore(stack, Message.to_response(invite, 487))
      {:error, %Message{} = response} -> ignore(stack, response)
      _no_transaction_or_handed_over -> :ignore
    end
  end

  defp ignore(stack, response) do
    Sippet.send(stack, response)
    :ignore
  end

  # RFC3891§3 - an INVITE that takes the place of a leg goes to the call of that leg
  defp hand_over(%{registry: registry, stacks: %{caller: stack}}, key, invite) do
    with {:ok, id} <- Replaces.dialog_id(invite),
         [{pid, _}] <- Registry.lookup(registry, id),
         :ok <- Sippet.controlling_process(stack, key, pid) do
      send(pid, {:replace, stack, invite})
      :handed_over
    else
      [] -> {:error, Message.to_response(invite, 481)}
      none_or_malformed -> none_or_malformed
    end
  end

  defp contacts(%{stacks: stacks}, %Message{headers: %{to: {_, to, _}, from: {_, from, _}}}) do
    [
      caller: Sippet.own_uri(stacks.caller, user: to.userinfo),
      called: Sippet.own_uri(stacks.called, user: from.userinfo)
    ]
  end

  defp target(%Message{start_line: %{request_uri: uri}}, nil), do: uri
  defp target(invite, next_hop), do: URI.parse!("sip:#{user(invite)}@#{next_hop}")

  defp user(invite), do: invite.start_line.request_uri.userinfo

  @impl true
  def handle_continue(:call, %{targets: [target | targets]} = call) do
    call = %{call | targets: targets, tried: call.tried + 1}
    go_on(B2BUA.call(call.b2bua, target), call)
  end

  @impl true
  def handle_info({:sippet, _stack, _key, {:request, request}}, call),
    do: go_on(B2BUA.receive_request(call.b2bua, request), call)

  def handle_info({:sippet, _stack, _key, {:response, response}}, call),
    do: go_on(B2BUA.receive_response(call.b2bua, response, now()), call)

  def handle_info({:sippet, _stack, key, {:error, reason}}, call),
    do: go_on(B2BUA.receive_error(call.b2bua, key, reason, now()), call)

  def handle_info(:session_timer, call), do: go_on(B2BUA.timeout(call.b2bua, now()), call)

  def handle_info({:replace, stack, invite}, call) do
    call = %{call | stacks: Map.put(call.stacks, :replacing, stack)}

    case B2BUA.replace(call.b2bua, invite, Sippet.own_uri(stack, user: user(invite))) do
      {:ok, actions, b2bua} ->
        go_on({actions, b2bua}, call)

      {:error, response} ->
        Sippet.send(stack, response)
        {:noreply, call}
    end
  end

  # A stack that has failed is back: it knows nothing of this call.
  def handle_info({:started, stack}, call) do
    case Enum.find(call.stacks, &match?({_leg, ^stack}, &1)) do
      {leg, ^stack} -> go_on(B2BUA.lost(call.b2bua, leg, now()), call)
      nil -> {:noreply, call}
    end
  end

  defp go_on({actions, b2bua}, call) do
    call = Enum.reduce(actions, %{call | b2bua: b2bua}, &act/2)
    ms = B2BUA.next(call.b2bua, now())
    # A message of before a refresh comes too early, and does no harm.
    if ms != :never, do: Process.send_after(self(), :session_timer, ms)

    cond do
      :ended in actions -> {:stop, :normal, call}
      refused = List.keyfind(actions, :refused, 0) -> try_again(elem(refused, 1), call)
      true -> {:noreply, call}
    end
  end

  defp try_again(%{start_line: %{status_code: status}} = response, call) do
    targets = Enum.take(call.targets ++ redirected(status, response), @most_targets - call.tried)

    if targets != [] and status < 600,
      do: {:noreply, %{call | targets: targets}, {:continue, :call}},
      else: go_on(B2BUA.refuse(call.b2bua, response), call)
  end

  # RFC3261§8.1.3.4 - the contact with the highest q-value first
  defp redirected(status, %{headers: %{contact: [_ | _] = contacts}}) when status in 300..399 do
    contacts = Enum.sort_by(contacts, fn {_name, _uri, params} -> params["q"] || "1" end, :desc)
    for {_name, uri, _params} <- contacts, do: uri
  end

  defp redirected(_status, _response), do: []

  # What cannot be sent fails as what got no answer.
  defp act({:send, leg, message}, call) do
    with {:error, reason} <- Sippet.send(call.stacks[leg], message, owner: self()),
         %{start_line: %Message.RequestLine{}} <- message do
      error = {:sippet, call.stacks[leg], Client.Key.new(message), {:error, reason}}
      send(self(), error)
    end

    call
  end

  defp act({:retransmit, leg, %{start_line: %{status_code: status}} = response}, call) do
    if status < 200,
      do: Sippet.retransmit_1xx(call.stacks[leg], response),
      else: Sippet.retransmit_2xx(call.stacks[leg], response)

    call
  end

  defp act({:own, leg, dialog}, call) do
    Registry.register(call.registry, Dialog.id(dialog), nil)
    Sippet.controlling_process(call.stacks[leg], dialog, self())
    call
  end

  defp act({:cancel, leg, request}, call) do
    Sippet.cancel(call.stacks[leg], Client.Key.new(request))
    call
  end

  defp act({:replaced, leg}, call), do: put_in(call.stacks[leg], call.stacks.replacing)
  defp act(_refused_or_ended, call), do: call

  defp now, do: System.monotonic_time(:millisecond)
end
