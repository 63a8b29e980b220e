defmodule Examples.CallRecords do
  @moduledoc """
  The calls of a proxy: which are in progress, and a record of each when it ends.

  It is a process beside the stack, and the stack's option `:telemetry`. The core says which calls
  are placed, and the stack's events say how they go on (`Sippet.Telemetry`).

      children = [
        {Examples.CallRecords, stack: :proxy, record: &MyApp.Billing.write/1},
        {Sippet, name: :proxy, core: MyApp.Proxy, telemetry: Examples.CallRecords}
      ]

  `Examples.PBX` has one. Options:

    * `:stack` - the name of the stack; required
    * `:record` - a function that gets each `t:call_record/0` (drops it)
    * `:changed` - a function that gets a user each time that `of/2` returns something else for it
    * `:max_call` - ms after which a call without a BYE counts as over (12 hours)
  """

  use GenServer

  require Logger

  alias Sippet.Message

  @typedoc """
  One call. Times are `System.system_time/0`, `nil` if that did not happen.

    * `caller`, `called` - URIs; `call_id` - the Call-ID
    * `started`, `ringing`, `answered`, `ended` - the times
    * `status` - of the final response to the caller, or `nil`
    * `how` - `:caller_hung_up`, `:called_hung_up`, `:cancelled`, `:refused`, `:process_ended`,
      `:lost` after `:max_call`, `:stopped` with this process, or why there was no response
    * `phone` - the Contact of the phone that has answered, or `nil`
    * `branches` - each phone that was called, with its final status
  """
  @type call_record :: map

  def start_link(options),
    do: GenServer.start_link(__MODULE__, options, name: name(Keyword.fetch!(options, :stack)))

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
  defp name(stack), do: Module.concat(stack, CallRecords)

  @impl true
  def init(options) do
    Process.flag(:trap_exit, true)

    config = %{
      record: options[:record] || fn _record -> :ok end,
      changed: options[:changed] || fn _user -> :ok end,
      max_call: options[:max_call] || 12 * 3_600_000
    }

    {:ok, %{config: config, calls: %{}, keys: %{}}}
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
    Process.send_after(self(), {:lost, key}, state.config.max_call)
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
  def terminate(_reason, %{calls: calls, config: config}) do
    for {_key, entry} <- calls do
      write(config, finish(entry, :stopped, System.system_time()).call)
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
          do: for({user, _role} <- entry.parties, do: state.config.changed.(user))

        state

      _none ->
        state
    end
  end

  defp over?(%{report: report, call: call}), do: call.how != nil and report == nil

  defp remove(state, key, call) do
    write(state.config, call)
    %{state | calls: Map.delete(state.calls, key), keys: Map.delete(state.keys, call.call_id)}
  end

  defp write(%{record: record}, call) do
    record.(call)
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
