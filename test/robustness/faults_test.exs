defmodule Sippet.Robustness.FaultsTest do
  # The short form of what test/robustness/endurance_test.exs does for minutes: a fault, while calls go on between two
  # stacks; and when it is over calls succeed, and nothing is left of those before.
  use ExUnit.Case, async: true

  import Sippet.Interop.Case, only: [text: 1]
  import Sippet.Wait

  alias Sippet.Interop.{Answerer, Caller, Events, Notebook, Party, Program}
  alias Sippet.Robustness.Proxy
  alias Sippet.{Machines, Stack, Transactions}
  alias Sippet.Transactions.{Client, Dialogs, Shelf}
  alias Sippet.Transports.UDP

  @moduletag :capture_log

  @loopback {127, 0, 0, 1}

  # Timers B, F, H, J, L and M are 64·T1: 1.3 s.
  @timers [t1: 20, t2: 80, t4: 100, answer_timeout: 1_000]

  # Calls that go on during a fault.
  @calls 30

  # Much longer than 64·T1: only a failure waits for it.
  @patience 10_000

  setup do
    answerer = start(Answerer)
    caller = start(Caller)
    {:ok, proxy} = start_supervised({Proxy, server: answerer.address, client: caller.address})

    # To each the other stands behind the proxy: Via and Contact lead there.
    {near, far} = Proxy.ports(proxy)
    Notebook.put(answerer.stack, :local, {text(@loopback), near})
    Notebook.put(caller.stack, :local, {text(@loopback), far})
    Process.put(:far_end, {text(@loopback), near})

    succeed(caller)
    %{answerer: answerer, caller: caller, proxy: proxy}
  end

  # With a port of its own, which the transport takes again when it was restarted.
  defp start(core) do
    stack = :"faults_#{System.unique_integer([:positive])}"
    port = Program.free_port(@loopback)

    children = [
      {Notebook, {stack, self()}},
      {Sippet, [name: stack, core: core, telemetry: Events] ++ @timers},
      {UDP, name: stack, port: port, address: text(@loopback), retry: 10}
    ]

    options = [strategy: :one_for_one, max_restarts: 100, max_seconds: 1]

    root =
      start_supervised!(%{
        id: stack,
        start: {Supervisor, :start_link, [children, options]},
        type: :supervisor
      })

    %{stack: stack, address: {@loopback, port}, root: root}
  end

  describe "when" do
    for side <- [:answerer, :caller] do
      test "each process of the #{side} is killed, calls succeed as soon as it is back",
           context do
        victim = context[unquote(side)]

        for way <- ways(victim) do
          begin(context.caller)
          kill(victim, way)
          recover(context.caller, way)
        end

        assert_nothing_left(context)
      end

      test "the #{side}'s transactions are killed, nothing else is", context do
        begin(context.caller)
        stack = Stack.fetch!(context[unquote(side)].stack)
        for {pid, _key} <- machines(stack), do: Process.exit(pid, :kill)
        succeed(context.caller)
        assert_nothing_left(context)
      end

      test "the #{side}'s socket is closed, it is opened again", context do
        begin(context.caller)

        [%{handle: %{socket: socket}}] =
          Stack.transports(Stack.fetch!(context[unquote(side)].stack))

        :ok = :socket.close(socket)
        recover(context.caller, :socket)

        assert_nothing_left(context)
      end
    end

    for {what, faults} <- [
          {"lost", [drop: 0.5]},
          {"doubled", [duplicate: 0.5]},
          {"overtaken", [reorder: 0.5]},
          {"lost, doubled or overtaken", [drop: 0.17, duplicate: 0.17, reorder: 0.16]}
        ] do
      test "half of the datagrams are #{what}, no transaction is stuck", context do
        :ok = Proxy.disturb(context.proxy, unquote(faults))
        begin(context.caller)
        for _call <- 1..@calls, do: assert_soon_ended(context.caller)
        :ok = Proxy.disturb(context.proxy, [])

        counts = Proxy.counts(context.proxy)
        for {fault, _share} <- unquote(faults), do: assert(counts[fault] > 10)
        succeed(context.caller)
        assert_nothing_left(context)
      end
    end
  end

  ## Calls

  defp begin(caller), do: for(_ <- 1..@calls, do: place(caller))

  defp place(%{stack: stack}) do
    call_id = Caller.call(stack, "bob", Process.get(:far_end))
    Process.put(:placed, [call_id | Process.get(:placed, [])])
    call_id
  rescue
    # The stack is about to start again, or its transport.
    _error in [ArgumentError, MatchError] -> :error
  catch
    :exit, _reason -> :error
  end

  # A call that is answered and hung up.
  defp succeed(caller), do: assert(hung_up?(caller, place(caller), @patience), "no call succeeds")

  defp hung_up?(%{stack: stack}, call_id, ms) do
    receive do
      {^stack, {:response, :bye, 200, %{headers: %{call_id: ^call_id}}, _key}} -> true
    after
      ms -> false
    end
  end

  # The same, tried until it comes true: how soon that is measures script/robustness.
  defp recover(caller, what, tries \\ 100)
  defp recover(_caller, what, 0), do: flunk("no call succeeded any more after #{inspect(what)}")

  defp recover(caller, what, tries) do
    # The first may have met what was about to end.
    if hung_up?(caller, place(caller), 200) and hung_up?(caller, place(caller), 200),
      do: :ok,
      else: recover(caller, what, tries - 1)
  end

  # RFC3261§17.1.1.2 - an INVITE that got a provisional response waits for as long as its core does: the far end that
  # rang may be one that was killed
  defp give_up(%{stack: stack}) do
    for call_id <- Process.get(:placed) do
      {_then, invite} = Notebook.fetch!(stack, call_id)

      if Transactions.alive?(Stack.fetch!(stack), Client.Key.new(invite)),
        do: Sippet.send(stack, Party.cancel(invite))
    end
  end

  # A call of those that were begun: either way.
  defp assert_soon_ended(%{stack: stack}) do
    assert_receive {^stack, event}
                   when elem(event, 0) == :error or
                          (elem(event, 0) == :response and elem(event, 1) == :bye),
                   @patience
  end

  ## Processes

  # Their ways from the root.
  defp ways(%{root: root}), do: for({way, _pid} <- tree(root, []), do: way)

  defp tree(supervisor, way) do
    for {id, pid, type, _modules} <- Supervisor.which_children(supervisor),
        is_pid(pid) and not notebook?(id),
        one <- [{way ++ [id], pid} | below(type, pid, way ++ [id])],
        do: one
  end

  # The test's own.
  defp notebook?(id), do: match?({Notebook, _stack}, id)

  defp below(:supervisor, pid, way), do: tree(pid, way)
  defp below(:worker, _pid, _way), do: []

  defp kill(%{root: root}, way) do
    # The last that was killed may have taken this one along: it is on its way back.
    wait_until(fn -> List.keymember?(tree(root, []), way, 0) end, way)
    {^way, pid} = List.keyfind(tree(root, []), way, 0)
    ref = Process.monitor(pid)
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^ref, :process, ^pid, :killed}
  end

  defp machines(stack),
    do: Registry.select(stack.name, [{{:"$1", :"$2", :_}, [], [{{:"$2", :"$1"}}]}])

  ## What is left

  # Nothing, 64·T1 later: no transaction, no process, no row; and what the stack counts is what is there.
  defp assert_nothing_left(%{answerer: answerer, caller: caller}) do
    give_up(caller)

    for %{stack: name} <- [answerer, caller] do
      stack = Stack.fetch!(name)
      refused = refused(stack)
      for key <- refused, do: Sippet.terminate(name, key)
      wait_until(fn -> Transactions.count(stack) == 0 end, name)
      wait_until(fn -> rows(stack, refused) == [] end, name)
      wait_until(fn -> Machines.of(name) == [] end, name)
      assert machines(stack) == []
      assert Registry.count(Dialogs.name(name)) == 0
      assert %{transactions: 0} = stats = Sippet.stats(name)
      assert stats.transaction_ended <= stats.transaction_started
      assert [_transport] = Stack.transports(stack)
    end
  end

  # RFC3261§17.1.1.2 - Timer D is 32 s, however short T1 is: it holds a call that was refused by a stack on its way back
  defp refused(stack) do
    wait_until(fn -> machines(stack) == [] end, stack.name)
    {rows, _index, _merges} = :ets.lookup_element(stack.board, Shelf, 2)
    latest = System.monotonic_time(:millisecond) + 32_000

    for {id, deadline, _started, Client.Invite, :completed, _merge, _kept} <- :ets.tab2list(rows),
        deadline <= latest,
        do: Shelf.key(id)
  end

  # All of the shelf's, but for the deadlines of those that were ended before theirs.
  defp rows(stack, refused) do
    {rows, index, merges} = :ets.lookup_element(stack.board, Shelf, 2)

    deadlines =
      for {{_deadline, id}} <- :ets.tab2list(index), Shelf.key(id) not in refused, do: id

    deadlines ++ :ets.tab2list(rows) ++ :ets.tab2list(merges)
  end
end
