defmodule Sippet.Robustness.FaultsCase do
  @moduledoc false
  # Two stacks that call each other through a proxy that may lose datagrams, and what a test does to them. It is the short
  # form of what test/robustness/endurance_test.exs does for minutes: a fault, while calls go on between two stacks; and
  # when it is over calls succeed, and nothing is left of those before.

  use ExUnit.CaseTemplate

  import Sippet.Interop.Case, only: [text: 1]
  import Sippet.Wait

  alias Sippet.Interop.{Answerer, Caller, Endpoint, Events, Notebook, Program}
  alias Sippet.Robustness.Proxy
  alias Sippet.{Stack, Transactions}
  alias Sippet.Transactions.{Client, WorkerSupervisor}
  alias Sippet.Transports.UDP

  @loopback {127, 0, 0, 1}

  # Timers B, F, H, J, L and M are 64·T1: 1.3 s.
  @timers [t1: 20, t2: 80, t4: 100, answer_timeout: 1_000, ring_timeout: 1_000]

  # Calls that go on during a fault.
  @calls 30

  # Much longer than 64·T1: only a failure waits for it.
  @patience 10_000

  using do
    quote do
      import Sippet.Robustness.FaultsCase

      @moduletag :capture_log
    end
  end

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

  ## Calls

  @doc "Begins some calls, and returns their Call-IDs."
  def begin(caller), do: for(_ <- 1..@calls, do: place(caller))

  @doc "Begins a call, and returns its Call-ID."
  def place(%{stack: stack}) do
    call_id = Caller.call(stack, "bob", Process.get(:far_end))
    Process.put(:placed, [call_id | Process.get(:placed, [])])
    call_id
  end

  # The stack may be about to start again, or its transport.
  defp try_to_place(caller) do
    place(caller)
  rescue
    _error in [ArgumentError, MatchError] -> :error
  catch
    :exit, _reason -> :error
  end

  @doc "Asserts that a call is answered and hung up."
  def succeed(caller), do: assert(hung_up?(caller, place(caller), @patience), "no call succeeds")

  defp hung_up?(%{stack: stack}, call_id, ms) do
    receive do
      {^stack, {:response, :bye, 200, %{headers: %{call_id: ^call_id}}, _key}} ->
        Process.put(:hung_up, [call_id | Process.get(:hung_up, [])])
        true
    after
      ms -> false
    end
  end

  @doc "Asserts that every call that was begun comes to its end, if it is not known to have done so."
  def assert_all_hung_up(caller, what) do
    for call_id <- Process.get(:placed) -- Process.get(:hung_up, []),
        do: assert(hung_up?(caller, call_id, @patience), "a call was lost: #{inspect(what)}")
  end

  @doc "Begins calls until two succeed: how soon that is measures script/robustness."
  def recover(caller, what, tries \\ 100)
  def recover(_caller, what, 0), do: flunk("no call succeeded any more after #{inspect(what)}")

  def recover(caller, what, tries) do
    # The first may have met what was about to end.
    if hung_up?(caller, try_to_place(caller), 200) and
         hung_up?(caller, try_to_place(caller), 200),
       do: :ok,
       else: recover(caller, what, tries - 1)
  end

  # RFC3261§17.1.1.2 - an INVITE that got a provisional response waits for as long as its core does: the far end that
  # rang may be one that was killed
  defp give_up(%{stack: stack}) do
    for call_id <- Process.get(:placed) do
      {_then, invite} = Notebook.fetch!(stack, call_id)

      if Transactions.alive?(Stack.fetch!(stack), Client.Key.new(invite)),
        do: Sippet.send(stack, Endpoint.cancel(invite))
    end
  end

  @doc "Asserts that one of the calls that were begun ends, either way."
  def assert_soon_ended(%{stack: stack}) do
    assert_receive {^stack, event}
                   when elem(event, 0) == :error or
                          (elem(event, 0) == :response and elem(event, 1) == :bye),
                   @patience
  end

  @doc "Asserts that the core has got each INVITE, however often its caller repeated it and whoever was killed."
  def assert_each_seen(%{stack: stack}) do
    for call_id <- Process.get(:placed) do
      assert_received {^stack, {:request, :invite, %{headers: %{call_id: ^call_id}}, _key}}
    end
  end

  ## Processes

  @doc "The ways to all processes of a side from its root."
  def ways(%{root: root}), do: for({way, _pid} <- tree(root, []), do: way)

  @doc "The ways to those below the stack's own supervisor."
  def below_the_stack(victim), do: for([_stack, _part | _rest] = way <- ways(victim), do: way)

  @doc "The ways to the stack's workers."
  def workers(victim),
    do: for([_stack, WorkerSupervisor, _worker] = way <- ways(victim), do: way)

  defp tree(supervisor, way) do
    for {id, pid, type, _modules} <- Supervisor.which_children(supervisor),
        is_pid(pid) and not notebook?(id),
        one <- [{way ++ [id], pid} | below(type, pid, way ++ [id])],
        do: one
  catch
    # It was killed, and is not back yet.
    :exit, _reason -> []
  end

  # The test's own.
  defp notebook?(id), do: match?({Notebook, _stack}, id)

  defp below(:supervisor, pid, way), do: tree(pid, way)
  defp below(:worker, _pid, _way), do: []

  @doc "Kills the process at the end of a way."
  def kill(%{root: root}, way) do
    # The last that was killed may have taken this one along: it is on its way back.
    wait_until(fn -> List.keymember?(tree(root, []), way, 0) end, way)
    {^way, pid} = List.keyfind(tree(root, []), way, 0)
    ref = Process.monitor(pid)
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^ref, :process, ^pid, :killed}
  end

  @doc "Closes the socket of a side's transport."
  def close_socket(%{stack: name}) do
    [%{handle: %{receiver: receiver}}] = Stack.transports(Stack.fetch!(name))
    :erlang.port_close(receiver)
  end

  ## What is left

  @doc "Asserts that no row waits for nothing."
  def assert_all_due(%{answerer: answerer, caller: caller}) do
    for %{stack: name} <- [answerer, caller], stack = Stack.fetch!(name) do
      for key <- Transactions.keys(stack),
          do: wait_until(fn -> due?(Transactions.info(stack, key)) end, key)
    end
  end

  defp due?(nil), do: true

  # RFC3261§17.1.1.2 - an INVITE that got a provisional response waits for as long as its core does
  defp due?(%{machine: Client.Invite, state: :proceeding}), do: true
  defp due?(%{state: state, due: due}), do: state != nil and is_integer(due)

  @doc "Asserts that nothing is left after 64·T1: no transaction, and no entry of any table; and that the stack counts right."
  def assert_nothing_left(%{answerer: answerer, caller: caller}) do
    give_up(caller)

    for %{stack: name} <- [answerer, caller] do
      stack = Stack.fetch!(name)
      for key <- refused(stack), do: Sippet.terminate(name, key)
      # An entry of the deadlines stays until its time, though its row is gone.
      held = fn -> stack |> Transactions.held() |> Map.delete(:deadlines) end

      told = fn ->
        {name, held.(),
         for(key <- Transactions.keys(stack), do: {key, Transactions.info(stack, key)})}
      end

      wait_until(fn -> Enum.all?(held.(), &match?({_table, 0}, &1)) end, told)

      assert %{transactions: 0, pending: 0} = stats = Sippet.stats(name)
      assert stats.transaction_ended <= stats.transaction_started
      assert [_transport] = Stack.transports(stack)
    end
  end

  # RFC3261§17.1.1.2 - Timer D is 32 s, however short T1 is: it holds a call that was refused by a stack on its way back
  defp refused(stack) do
    wait_until(fn -> Enum.all?(Transactions.keys(stack), &(refused?(stack, &1) != nil)) end)
    for key <- Transactions.keys(stack), refused?(stack, key), do: key
  end

  # Nothing, as long as it may still be.
  defp refused?(stack, key) do
    case Transactions.info(stack, key) do
      %{machine: Client.Invite, state: :completed} -> true
      nil -> false
      _other -> nil
    end
  end
end
