defmodule Sippet.TransactionsTest do
  use Sippet.TransactionCase, async: true

  import Sippet.Wait

  alias Sippet.{Machines, Transport}

  @moduletag :capture_log

  defmodule Answering do
    # Answers every request, and tells nobody.
    use Sippet.Core
    alias Sippet.{Message, Stack, Transactions}

    def receive_request(%Message{start_line: %{method: :ack}}, _key, _stack), do: :ok

    def receive_request(request, _key, stack),
      do: :ok = Transactions.send_response(Stack.fetch!(stack), Message.to_response(request, 486))

    def receive_response(_response, _key, _stack), do: :ok
    def receive_error(_reason, _key, _stack), do: :ok
  end

  defmodule Silent do
    @behaviour Transport
    @impl true
    def send_message(_handle, _destination, _octets, _key), do: :ok
  end

  # Runs what a test gives for each callback.
  defp behave(fun), do: [behave: fun]

  describe "a core that fails" do
    for {text, fun} <- [
          {"raises", quote(do: fn -> raise "no" end)},
          {"throws", quote(do: fn -> throw(:no) end)},
          {"exits", quote(do: fn -> exit(:no) end)},
          {"exits normally", quote(do: fn -> exit(:normal) end)},
          {"is killed", quote(do: fn -> Process.exit(self(), :kill) end)}
        ] do
      test "with a request, as it #{text}, has 500 answered, and sees the request once" do
        for method <- [:invite, :options] do
          fun = unquote(fun)
          stack = start_stack(:slow, behave(fn _callback, _argument, _key -> fun.() end))
          request = request(method)
          key = start_server(stack, request)
          assert_soon({:sent, _destination, "SIP/2.0 500 " <> _rest = octets, ^key})
          come_again(stack, request)
          assert_soon({:sent, _destination, ^octets, ^key})
          assert_silence()
        end
      end
    end

    test "after its final response changes nothing" do
      test = self()

      stack =
        start_stack(
          :slow,
          behave(fn :receive_request, request, _key ->
            send(test, {:answer, request, self()})
            receive do: (:answered -> raise("too late"))
          end)
        )

      request = request(:options)
      key = start_server(stack, request)
      assert_soon({:answer, ^request, callback})
      answered(stack, request, 200)
      send(callback, :answered)
      assert_soon({:event, [:core, :failed], _measurements, _metadata})
      await_shelf(stack, key)
      assert_silence()
    end

    test "while it is told of an error answers nothing" do
      stack =
        start_stack(
          :slow,
          behave(fn callback, _argument, _key ->
            if callback == :receive_error, do: raise("no")
          end)
        )

      request = request(:invite)
      key = start_server(stack, request)
      :ok = Transactions.receive_error(stack, key, :closed)
      assert_soon({:receive_error, :closed, ^key})
      assert_soon({:event, [:core, :failed], _measurements, %{callback: :receive_error}})
      assert state(stack, key) == :proceeding
    end

    test "with a response ends nothing, and is counted" do
      stack = start_stack(:slow, behave(fn _callback, _argument, _key -> raise "no" end))
      request = request(:invite)
      key = start_client(stack, request)
      come(stack, request, 180)
      assert_soon({:event, [:core, :failed], _measurements, %{callback: :receive_response}})
      assert state(stack, key) == :proceeding
      assert Sippet.Telemetry.counts(stack.counters).core_failed == 1
    end

    test "because there is none has 500 answered" do
      stack = start_stack(:slow, core: nil)
      request = request(:options)
      :ok = Transactions.start_server(stack, request, TestTransport.new(), destination())
      assert_soon({:sent, _destination, "SIP/2.0 500 " <> _rest, _key})
      assert Sippet.Telemetry.counts(stack.counters).core_failed == 1
    end
  end

  describe "the core's callbacks" do
    test "of one transaction run one at a time, in order, even when it ends meanwhile" do
      test = self()

      stack =
        start_stack(
          :slow,
          behave(fn _callback, response, _key ->
            if response.start_line.status_code == 180 do
              send(test, {:blocked, self()})
              receive do: (:go -> :ok)
            end
          end)
        )

      request = request(:invite)
      key = start_client(stack, request, TestTransport.new(reliable?: true))
      come(stack, request, 180)
      assert_soon({:blocked, callback})
      pid = pid(stack, key)
      ref = Process.monitor(pid)
      for status <- [183, 486], do: come(stack, request, status)
      assert await_end(stack, key) == :normal

      # The key is free again while the old process has calls to make.
      again = request |> put_all(call_id: "again")
      start_client(stack, again)
      send(pid, {:unexpected, :message})
      :gen_statem.cast(pid, :unexpected)
      assert_silence_of_core()

      send(callback, :go)
      assert_soon({:receive_response, %{start_line: %{status_code: 183}}, ^key})
      assert_soon({:receive_response, %{start_line: %{status_code: 486}}, ^key})
      assert_soon({:DOWN, ^ref, :process, ^pid, :normal})
    end

    test "run in no transaction's process" do
      stack =
        start_stack(:slow, behave(fn _callback, _argument, _key -> Process.sleep(:infinity) end))

      request = request(:invite)
      key = start_server(stack, request)
      answered(stack, request, 180)
      come_again(stack, request)
      assert_soon({:sent, _destination, "SIP/2.0 180 " <> _rest, ^key})
    end
  end

  describe "a core that never answers" do
    test "an INVITE has 500 answered, and is told" do
      stack = start_stack(:fast)
      key = start_server(stack, request(:invite))
      assert_soon({:receive_error, :no_answer, ^key})
      assert_soon({:sent, _destination, "SIP/2.0 500 " <> _rest, ^key})
    end

    test "an INVITE but with provisional responses has its time anew with each" do
      stack = start_stack(:slow, answer_timeout: 250)
      request = request(:invite)
      start_server(stack, request)

      for _ringing <- 1..4 do
        answered(stack, request, 180)
        refute_receive {:receive_error, _reason, _key}, 100
      end

      assert_soon({:receive_error, :no_answer, _key})
    end
  end

  describe "start_client/4" do
    test "raises for a request that can't be printed, and starts nothing" do
      stack = start_stack()
      request = request(:options, subject: "a\r\nVia: x")

      assert_raise ArgumentError, fn ->
        Transactions.start_client(stack, request, TestTransport.new(), destination())
      end

      assert Transactions.count(stack) == 0
    end

    test "refuses more transactions than the stack may have" do
      stack = start_stack(:slow, max_transactions: 2)
      start_client(stack, request(:options))
      start_server(stack, request(:options))
      transport = TestTransport.new()
      more = request(:options)
      overload = {:error, :overload}
      assert Transactions.start_client(stack, more, transport, destination()) == overload
      assert Transactions.start_server(stack, more, transport, destination()) == overload
      assert Transactions.count(stack) == 2
    end
  end

  describe "send_response/2" do
    test "raises in the caller for a response that can't be printed, and harms no transaction" do
      stack = start_stack()
      request = request(:options)
      start_server(stack, request)
      bad = request |> Message.to_response(200) |> Message.put_header("X-Foo", "a\r\nb")
      assert_raise ArgumentError, fn -> Transactions.send_response(stack, bad) end
      answered(stack, request, 200)
    end

    test "knows no transaction of a response that nobody asked for" do
      stack = start_stack()
      response = Message.to_response(request(:options), 200)
      assert Transactions.send_response(stack, response) == {:error, :no_transaction}
    end

    test "goes through a transport of the 1.0 kind, from the shelf too" do
      stack = start_stack()
      {:ok, pid} = start_supervised({Sippet.TestLegacyTransport, self()})
      transport = %{TestTransport.new() | module: nil, handle: nil, pid: pid}
      request = request(:options)
      key = start_server(stack, request, transport)
      response = answer(stack, request, 200)
      assert_soon({:send_message, ^response, "192.0.2.1", 5060, ^key})
      await_shelf(stack, key)
      come_again(stack, request)
      assert_soon({:send_message, ^response, "192.0.2.1", 5060, ^key})
    end

    test "tells the core when a transport of the 1.0 kind is gone" do
      stack = start_stack()
      {pid, ref} = spawn_monitor(fn -> :ok end)
      assert_soon({:DOWN, ^ref, :process, ^pid, _reason})
      transport = %{TestTransport.new() | module: nil, handle: nil, pid: pid}
      request = request(:options)
      key = start_server(stack, request, transport)
      answer(stack, request, 200)
      assert_soon({:receive_error, _reason, ^key})
    end
  end

  describe "what nobody expects" do
    for {machine, method} <- [
          client: :invite,
          client: :options,
          server: :invite,
          server: :options
        ],
        message <- [
          quote(do: {:udp_error, :socket, :econnrefused}),
          quote(do: {make_ref(), :late_reply}),
          quote(do: {:timeout, make_ref(), :b}),
          quote(do: {:DOWN, make_ref(), :process, self(), :normal}),
          quote(do: {:"$gen_cast", :unknown}),
          quote(do: {:"$gen_cast", {:unknown, 1, 2}}),
          quote(do: {:"$gen_call", {self(), make_ref()}, :unknown}),
          :any
        ] do
      test "does nothing to a #{machine} of #{method}: #{Macro.to_string(message)}" do
        stack = start_stack()
        request = request(unquote(method))

        {key, first} =
          case unquote(machine) do
            :client -> {start_client(stack, request), 180}
            :server -> {start_server(stack, request), 180}
          end

        before = state(stack, key)
        send(pid(stack, key), unquote(message))
        assert state(stack, key) == before

        case unquote(machine) do
          :client -> come(stack, request, first)
          :server -> answer(stack, request, 200)
        end

        assert state(stack, key) in [:proceeding, :accepted, :completed]
      end
    end

    test "an unknown key is ignored" do
      stack = start_stack()
      key = Client.Key.new(request(:options))
      assert Transactions.terminate(stack, key) == :ok
      assert Transactions.receive_error(stack, key, :closed) == :ok
      assert Transactions.receive_response(stack, request(:options), key) == :error
      assert Transactions.ack(stack, request(:ack)) == :error
    end
  end

  # Elixir shows no crash of a process that is not of its own kinds; OTP's handlers do.
  defmodule Lines do
    @moduledoc false
    def log(%{meta: %{pid: pid}} = event, %{config: test}) do
      {:dictionary, dictionary} = Process.info(pid, :dictionary)
      if test in List.wrap(dictionary[:"$ancestors"]), do: Kernel.send(test, {:logged, event})
    end
  end

  describe "a machine" do
    test "does not wait for ever for a maker that was killed" do
      {_pid, ref} = spawn_monitor(Transactions.Directory, :begin, [Server.Invite, nil])
      assert_receive {:DOWN, ^ref, :process, _pid, :normal}, 10_000
    end

    test "that can't begin is no failure of its maker, and worth no line" do
      stack = %{start_stack() | name: :no_registry_of_this_name}

      :ok = :logger.add_handler(__MODULE__, Lines, %{config: self()})
      on_exit(fn -> :logger.remove_handler(__MODULE__) end)

      started =
        Transactions.start_server(stack, request(:options), TestTransport.new(), destination())

      assert started == {:error, :overload}
      refute_received {:logged, %{msg: {:report, %{label: {:proc_lib, :crash}}}}}
    end
  end

  describe "the crash of a transaction" do
    test "is its own" do
      stack = start_stack()
      others = for _other <- 1..3, do: start_server(stack, request(:options))
      victim = start_server(stack, request(:options))
      :gen_statem.cast(pid(stack, victim), {:answer, "no packet"})
      assert_soon({:event, [:transaction, :ended], _, %{key: ^victim, reason: reason}})
      assert reason not in [:normal, :timeout, :terminated, :transport_error]
      assert Enum.all?(others, &(state(stack, &1) == :trying))
      assert Transactions.count(stack) == 3
      start_server(stack, request(:options))
    end
  end

  describe "a part that is killed" do
    test "comes back, and whoever calls meanwhile gets a value" do
      stack = start_stack()
      request = request(:options)
      response = Message.to_response(request, 200)
      transport = TestTransport.new()

      for part <- [stack.name, :shelf] do
        pid = living(fn -> if part == :shelf, do: shelf(stack), else: Process.whereis(part) end)
        ref = Process.monitor(pid)
        Process.exit(pid, :kill)

        wait_until(fn ->
          key = Server.Key.new(request)
          assert Transactions.receive_request(stack, request, key) in [:ok, :error]
          assert Transactions.send_response(stack, response) in [:ok, {:error, :no_transaction}]
          assert Transactions.ack(stack, request(:ack)) == :error
          assert Transactions.unreachable(stack, destination(), :closed) == :ok
          assert is_boolean(Transactions.merged?(stack, request))
          started = Transactions.start_server(stack, request(:options), transport, destination())
          assert started in [:ok, {:error, :overload}]
          started == :ok and received?({:DOWN, ref})
        end)
      end
    end
  end

  describe "events" do
    test "tell of a transaction's life and of each message that is sent" do
      stack = start_stack()
      request = request(:options)
      key = start_server(stack, request)

      assert_received {:event, [:transaction, :started], %{system_time: _time},
                       %{key: ^key, machine: Server.NonInvite}}

      octets = answered(stack, request, 200)
      await_shelf(stack, key)
      come_again(stack, request)
      bytes = byte_size(octets)

      for _send <- 1..2 do
        assert_soon({:event, [:message, :sent], %{bytes: ^bytes}, metadata})
        assert metadata.octets == octets
        assert metadata.remote == {:udp, {192, 0, 2, 1}, 5060}
      end

      :ok = Transactions.terminate(stack, key)

      assert_soon(
        {:event, [:transaction, :ended], %{duration: duration}, %{key: ^key} = metadata}
      )

      assert duration > 0
      assert {metadata.machine, metadata.reason} == {Server.NonInvite, :terminated}
    end
  end

  describe "what is left" do
    test "of 10,000 transactions is nothing when their timers have run out" do
      stack = start_stack(:slow, t1: 5, t2: 10, t4: 20, core: Answering, telemetry: nil)
      transport = %{TestTransport.new() | module: Silent}

      for n <- 1..2_500 do
        for method <- [:invite, :options] do
          request = request(method)
          :ok = Transactions.start_server(stack, request, transport, destination())
          sent = request(method)
          :ok = Transactions.start_client(stack, sent, transport, destination())
          if rem(n, 2) == 0, do: come(stack, sent, 200)
        end
      end

      wait_until(fn -> Transactions.count(stack) == 0 end)
      {rows, index, merges} = :ets.lookup_element(stack.board, Shelf, 2)
      wait_until(fn -> Enum.all?([rows, index, merges], &(:ets.info(&1, :size) == 0)) end)
      wait_until(fn -> Machines.of(stack.name) == [] end)
      assert Registry.count(Transactions.Dialogs.name(stack.name)) == 0
      counts = Sippet.Telemetry.counts(stack.counters)
      assert counts.transaction_started == 10_000
      assert counts.transaction_ended == 10_000
    end

    test "of transactions that were killed is nothing" do
      stack = start_stack(:fast)
      keys = for _one <- 1..5, do: start_server(stack, request(:invite))
      for key <- keys, do: Process.exit(pid(stack, key), :kill)
      wait_until(fn -> Transactions.count(stack) == 0 end)
      {_rows, _index, merges} = :ets.lookup_element(stack.board, Shelf, 2)
      wait_until(fn -> :ets.info(merges, :size) == 0 end)
    end
  end

  # The owner of the tables.
  defp shelf(stack) do
    {rows, _index, _merges} = :ets.lookup_element(stack.board, Shelf, 2)
    :ets.info(rows, :owner)
  end

  # The parts start anew together, so that this one may be on its way still.
  defp living(find) do
    wait_until(fn -> is_pid(find.()) end)
    find.()
  end

  defp received?({:DOWN, ref}) do
    receive do
      {:DOWN, ^ref, :process, _pid, _reason} -> true
    after
      0 -> false
    end
  end

  defp assert_silence_of_core do
    refute_receive {:receive_response, %{start_line: %{status_code: 183}}, _key}, 30
    refute_received {:receive_response, %{start_line: %{status_code: 486}}, _key}
  end
end
