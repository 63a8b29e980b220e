defmodule Sippet.Transactions.CallbackRecoveryTest do
  # A worker is killed, and another one takes its place: what lies in the rows goes on.
  use Sippet.TransactionCase, async: true

  import Sippet.Wait

  require Sippet.Transactions.Rows, as: Rows

  alias Sippet.Transactions.Clock

  @moduletag :capture_log

  # The core tells who it is, and waits for the word that ends it.
  setup do
    test = self()

    behave = fn _callback, _argument, _key ->
      send(test, {:core, self()})

      receive do
        :return -> :ok
        :fail -> raise "as it was asked to"
      end
    end

    %{stack: start_stack(:slow, clock: Clock.new(), behave: behave, telemetry: nil)}
  end

  for {name, losses} <- [
        {"is killed", []},
        {"is killed before it could write that it has called the core",
         [
           {Rows.row(:running), :request},
           {Rows.row(:given), nil}
         ]}
      ] do
    describe "when the worker of a server transaction #{name}" do
      setup %{stack: stack} do
        request = request(:invite)
        key = start_server(stack, request)
        assert_receive {:core, core}
        Transactions.settle(stack)
        unwrite(stack, key, unquote(losses))
        kill_worker(stack, key)
        assert state(stack, key) == :proceeding
        %{request: request, key: key, core: core}
      end

      test "the core is called once, and its answer goes out", context do
        %{stack: stack, request: request, key: key, core: core} = context
        assert_silence()
        answered(stack, request, 486)
        assert state(stack, key) == :completed
        send(core, :return)
        wait_until(fn -> not Transactions.info(stack, key).running? end)
        assert_silence()
      end

      test "a core that fails afterwards is answered for by 500",
           %{stack: stack, key: key} = context do
        send(context.core, :fail)
        assert_soon({:sent, _destination, "SIP/2.0 500 " <> _rest, ^key})
        assert state(stack, key) == :completed
      end

      test "a core that returned is not taken for one that failed", context do
        %{stack: stack, request: request, key: key, core: core} = context
        # Its end comes to nobody.
        ref = Process.monitor(core)
        suspend_worker(stack, key)
        send(core, :return)
        assert_receive {:DOWN, ^ref, :process, ^core, :normal}
        kill_worker(stack, key)

        assert_silence()
        assert %{running?: false, state: :proceeding} = settled(stack, key)
        answered(stack, request, 200)
      end

      test "the time that it waits for comes", %{stack: stack, key: key} do
        Transactions.advance(stack, 200)
        assert_soon({:sent, _destination, "SIP/2.0 100 " <> _rest, ^key})
      end
    end
  end

  describe "when a worker is killed" do
    test "the answer that it was not told of goes out", %{stack: stack} do
      request = request(:options)
      key = start_server(stack, request)
      suspend_worker(stack, key)
      octets = stack |> answer(request, 200) |> Message.to_string()
      kill_worker(stack, key)

      assert_soon({:sent, _destination, ^octets, ^key})
      assert state(stack, key) == :completed
    end

    test "the request that it was not told of is sent, once", %{stack: stack} do
      request = request(:options)
      worker = Sippet.Transactions.Actions.worker_of(stack, request)
      pid = pid(stack, worker)
      :sys.suspend(pid)
      :ok = Transactions.start_client(stack, request, TestTransport.new(), destination())
      key = Client.Key.new(request)
      kill(stack, worker)

      assert_soon({:sent, _destination, _octets, ^key})
      assert state(stack, key) == :trying
      # Who was about to tell it of the start may do so now.
      send(pid(stack, worker), {:start, Rows.number(stack, key), nil})
      Transactions.settle(stack)
      assert_silence()
    end

    test "a client goes on to send again", %{stack: stack} do
      key = start_client(stack, request(:invite))
      kill_worker(stack, key)
      assert_silence()
      Transactions.advance(stack, 1_000)
      assert_soon({:sent, _destination, "INVITE " <> _rest, ^key})
    end
  end

  ## Workers

  # As if the worker had been killed before it wrote this.
  defp unwrite(stack, key, fields) do
    changes = for {index, value} <- fields, do: {index + 1, value}
    :ets.update_element(stack.transactions.rows.rows, Rows.number(stack, key), changes)
  end

  defp suspend_worker(stack, key),
    do: :ok = :sys.suspend(pid(stack, Transactions.info(stack, key).worker))

  defp kill_worker(stack, key), do: kill(stack, Transactions.info(stack, key).worker)

  defp kill(stack, worker) do
    pid = pid(stack, worker)
    Process.exit(pid, :kill)
    wait_until(fn -> pid(stack, worker) not in [pid, nil] end)
    Transactions.settle(stack)
  end

  defp pid(%{transactions: %{workers: %{names: names}}}, worker),
    do: Process.whereis(elem(names, worker - 1))

  defp settled(stack, key) do
    Transactions.settle(stack)
    Transactions.info(stack, key)
  end
end
