# Each of these tests waits for 64·T1 at its end: the modules do that at the same time.

for side <- [:answerer, :caller] do
  defmodule Module.concat(Sippet.Robustness.FaultsTest, Macro.camelize("#{side}")) do
    use Sippet.Robustness.FaultsCase, async: true

    @side side

    describe "when" do
      # All that a transaction is lies in tables of the stack's supervisor.
      test "each process below the #{@side}'s stack is killed, all calls go on", context do
        for way <- below_the_stack(context[@side]) do
          begin(context.caller)
          kill(context[@side], way)
          begin(context.caller)
          assert_all_hung_up(context.caller, way)
          assert_all_due(context)
        end

        assert_each_seen(context.answerer)
        assert_nothing_left(context)
      end

      test "the #{@side}'s workers are killed all the time, all calls go on", context do
        workers = workers(context[@side])

        for round <- 1..10, way <- workers do
          place(context.caller)
          kill(context[@side], way)
          if rem(round, 2) == 0, do: place(context.caller)
        end

        assert_all_hung_up(context.caller, :workers)
        assert_nothing_left(context)
      end

      test "the #{@side}'s stack or its transport is killed, calls succeed as soon as it is back",
           context do
        victim = context[@side]

        for way <- ways(victim) -- below_the_stack(victim) do
          begin(context.caller)
          kill(victim, way)
          recover(context.caller, way)
        end

        assert_nothing_left(context)
      end

      test "the #{@side}'s socket is closed, it is opened again", context do
        begin(context.caller)
        close_socket(context[@side])
        recover(context.caller, :socket)
        assert_nothing_left(context)
      end
    end
  end
end

defmodule Sippet.Robustness.FaultsTest do
  use Sippet.Robustness.FaultsCase, async: true

  alias Sippet.Interop.{Caller, Endpoint, Notebook}
  alias Sippet.Robustness.Proxy

  # Much longer than 64·T1: only a failure waits for it.
  @patience 10_000

  describe "when" do
    # RFC3261§18.2.2 - a response goes by the transport of its request: one that listens at the same address is that
    test "the answerer's transport starts again, a call that rang goes on", context do
      %{caller: %{stack: caller}} = context
      call_id = Caller.call(caller, "ringing", Process.get(:far_end))

      assert_receive {^caller, {:response, :invite, 180, %{headers: %{call_id: ^call_id}}, key}},
                     @patience

      close_socket(context.answerer)
      recover(context.caller, :socket)

      {_then, invite} = Notebook.fetch!(caller, call_id)
      :ok = Sippet.send(caller, Endpoint.cancel(invite))
      assert_receive {^caller, {:response, :invite, 487, _terminated, ^key}}, @patience
      Sippet.terminate(caller, key)
      assert_nothing_left(context)
    end

    for {what, faults} <- [
          {"lost", [drop: 0.5]},
          {"doubled", [duplicate: 0.5]},
          {"overtaken", [reorder: 0.5]},
          {"lost, doubled or overtaken", [drop: 0.17, duplicate: 0.17, reorder: 0.16]}
        ] do
      test "half of the datagrams are #{what}, no transaction is stuck", context do
        :ok = Proxy.disturb(context.proxy, unquote(faults))
        for _call <- begin(context.caller), do: assert_soon_ended(context.caller)
        :ok = Proxy.disturb(context.proxy, [])

        counts = Proxy.counts(context.proxy)
        for {fault, _share} <- unquote(faults), do: assert(counts[fault] > 10)
        succeed(context.caller)
        assert_nothing_left(context)
      end
    end
  end
end
