defmodule Sippet.TransactionsTest do
  use Sippet.TransactionCase, async: true

  import Sippet.Wait

  alias Sippet.Transactions.Rows
  alias Sippet.Transport

  require Rows

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
          stack = start_stack(:still, behave(fn _callback, _argument, _key -> fun.() end))
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
          :still,
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
      assert_silence()
      assert state(stack, key) == :completed
    end

    test "while it is told of an error answers nothing" do
      stack =
        start_stack(
          :still,
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
      stack = start_stack(:still, behave(fn _callback, _argument, _key -> raise "no" end))
      request = request(:invite)
      key = start_client(stack, request)
      come(stack, request, 180)
      assert_soon({:event, [:core, :failed], _measurements, %{callback: :receive_response}})
      assert state(stack, key) == :proceeding
      assert Sippet.Telemetry.counts(stack.telemetry).core_failed == 1
    end

    test "because there is none has 500 answered" do
      stack = start_stack(:still, core: nil)
      request = request(:options)
      :ok = Transactions.start_server(stack, request, TestTransport.new(), destination())
      assert_soon({:sent, _destination, "SIP/2.0 500 " <> _rest, _key})
      assert %{core_missing: 1, core_failed: 0} = Sippet.Telemetry.counts(stack.telemetry)
    end
  end

  describe "the core's callbacks" do
    test "of one transaction run one at a time, in order, even when it ends meanwhile" do
      test = self()

      stack =
        start_stack(
          :still,
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
      for status <- [183, 486], do: come(stack, request, status)
      advance(stack, 0)
      assert await_end(stack, key) == :normal
      assert Transactions.count(stack) == 0

      # The key is free again while there are calls to make for the one that has ended.
      again = request |> put_all(call_id: "again")
      start_client(stack, again)
      assert_silence_of_core()

      send(callback, :go)
      assert_soon({:receive_response, %{start_line: %{status_code: 183}}, ^key})
      assert_soon({:receive_response, %{start_line: %{status_code: 486}}, ^key})
      assert state(stack, key) == :calling
      wait_until(fn -> match?(%{rows: 1, waiting: 0}, Transactions.held(stack)) end)
    end

    test "of one that has ended are not taken for those of the next with its key" do
      test = self()

      stack =
        start_stack(
          :still,
          behave(fn _callback, _request, _key ->
            send(test, {:blocked, self()})

            receive do
              :go -> :ok
              :fail -> raise "no"
            end
          end)
        )

      request = request(:options)
      key = start_server(stack, request)
      assert_soon({:blocked, first})
      :ok = Transactions.terminate(stack, key)
      assert await_end(stack, key) == :terminated

      start_server(stack, request)
      assert_soon({:blocked, second})
      ref = Process.monitor(first)
      send(first, :go)
      assert_soon({:DOWN, ^ref, :process, ^first, :normal})
      send(second, :fail)
      assert_soon({:sent, _destination, "SIP/2.0 500 " <> _rest, ^key})
    end

    test "that wait are at most 100 provisional responses, and every final one" do
      test = self()

      stack =
        start_stack(
          :still,
          behave(fn _callback, response, _key ->
            if response.start_line.status_code == 100 do
              send(test, {:blocked, self()})
              receive do: (:go -> :ok)
            end
          end)
        )

      request = request(:invite)
      key = start_client(stack, request)
      come(stack, request, 100)
      assert_soon({:blocked, callback})
      for _ringing <- 1..150, do: come(stack, request, 180)
      come(stack, request, 200)
      assert state(stack, key) == :accepted
      assert Transactions.held(stack).waiting == 101
      send(callback, :go)
      assert_soon({:receive_response, %{start_line: %{status_code: 200}}, ^key})
      assert Transactions.held(stack).waiting == 0
    end

    test "run in no transaction's process" do
      stack =
        start_stack(:still, behave(fn _callback, _argument, _key -> Process.sleep(:infinity) end))

      request = request(:invite)
      key = start_server(stack, request)
      answered(stack, request, 180)
      come_again(stack, request)
      assert_soon({:sent, _destination, "SIP/2.0 180 " <> _rest, ^key})
    end
  end

  describe "a core that never answers" do
    test "an INVITE has 500 answered, and is told" do
      stack = start_stack(:still)
      key = start_server(stack, request(:invite))
      advance(stack, 179_999)
      assert ["SIP/2.0 100 " <> _rest] = sent()
      refute_received {:receive_error, _reason, _key}
      advance(stack, 1)
      assert_soon({:receive_error, :no_answer, ^key})
      assert_soon({:sent, _destination, "SIP/2.0 500 " <> _rest, ^key})
      assert state(stack, key) == :completed
    end

    test "an INVITE has its callback ended" do
      test = self()

      stack =
        start_stack(
          :still,
          behave(fn callback, _argument, _key ->
            if callback == :receive_request do
              send(test, {:blocked, self()})
              receive do: (:never -> :ok)
            end
          end)
        )

      key = start_server(stack, request(:invite))
      assert_soon({:blocked, callback})
      ref = Process.monitor(callback)
      advance(stack, 180_000)
      assert_soon({:DOWN, ^ref, :process, ^callback, :killed})
      assert_soon({:receive_error, :no_answer, ^key})
      assert_soon({:event, [:core, :abandoned], _measurements, %{callback: :receive_request}})
      assert Sippet.Telemetry.counts(stack.telemetry).core_failed == 0
    end

    test "an INVITE but with provisional responses has its time anew with each" do
      stack = start_stack(:still)
      request = request(:invite)
      key = start_server(stack, request)

      for _ringing <- 1..4 do
        answered(stack, request, 180)
        advance(stack, 189_999)
        refute_received {:receive_error, _reason, _key}
      end

      advance(stack, 1)
      assert_soon({:receive_error, :no_answer, ^key})
    end
  end

  describe "start_client/4" do
    test "raises for a request that can't be printed, and starts nothing" do
      stack = start_stack(:still)
      request = request(:options, subject: "a\r\nVia: x")

      assert_raise ArgumentError, fn ->
        Transactions.start_client(stack, request, TestTransport.new(), destination())
      end

      assert Transactions.count(stack) == 0
    end

    test "refuses more transactions than the stack may have" do
      stack = start_stack(:still, max_transactions: 2)
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
      stack = start_stack(:still)
      request = request(:options)
      start_server(stack, request)
      bad = request |> Message.to_response(200) |> Message.put_header("X-Foo", "a\r\nb")
      assert_raise ArgumentError, fn -> Transactions.send_response(stack, bad) end
      answered(stack, request, 200)
    end

    test "knows no transaction of a response that nobody asked for" do
      stack = start_stack(:still)
      response = Message.to_response(request(:options), 200)
      assert Transactions.send_response(stack, response) == {:error, :no_transaction}
    end

    test "goes through a transport of the 1.0 kind, and once more when the request comes again" do
      stack = start_stack(:still)
      {:ok, pid} = start_supervised({Sippet.TestLegacyTransport, self()})
      transport = %{TestTransport.new() | module: nil, handle: nil, pid: pid}
      request = request(:options)
      key = start_server(stack, request, transport)
      response = answer(stack, request, 200)
      assert_soon({:send_message, sent, "192.0.2.1", 5060, ^key})
      assert Message.to_string(sent) == Message.to_string(response)
      come_again(stack, request)
      assert_soon({:send_message, ^sent, "192.0.2.1", 5060, ^key})
    end

    test "answers requests that come before its worker has the answer" do
      stack = start_stack(:still)
      request = request(:options)
      key = start_server(stack, request)
      worker = worker_pid(stack, key)
      :erlang.suspend_process(worker)
      octets = stack |> answer(request, 200) |> Message.to_string()
      for _again <- 1..3, do: come_again(stack, request)
      :erlang.resume_process(worker)
      assert state(stack, key) == :completed
      assert sent() == List.duplicate(octets, 4)
    end

    test "tells the core when a transport of the 1.0 kind is gone" do
      stack = start_stack(:still)
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
          quote(do: {:timeout, make_ref(), :due}),
          quote(do: {:counted, :unknown}),
          quote(do: {:event, :no_number, :due}),
          quote(do: {:start, :no_number, nil}),
          quote(do: {:answered, :no_number}),
          :any
        ] do
      test "does nothing to a #{machine} of #{method}: #{Macro.to_string(message)}" do
        stack = start_stack(:still)
        request = request(unquote(method))

        {key, first} =
          case unquote(machine) do
            :client -> {start_client(stack, request), 180}
            :server -> {start_server(stack, request), 180}
          end

        before = state(stack, key)
        worker = worker_pid(stack, key)
        send(worker, unquote(message))
        assert state(stack, key) == before
        assert worker_pid(stack, key) == worker

        case unquote(machine) do
          :client -> come(stack, request, first)
          :server -> answer(stack, request, 200)
        end

        assert state(stack, key) in [:proceeding, :accepted, :completed]
      end
    end

    test "a worker's hint that comes twice does its work once" do
      stack = start_stack(:still)
      request = request(:options)
      key = start_server(stack, request)
      number = Rows.number(stack, key)
      send(worker_pid(stack, key), {:start, number, request})
      assert_silence()
      answered(stack, request, 200)
      send(worker_pid(stack, key), {:answered, number})
      send(worker_pid(stack, key), {:event, number, :unknown})
      send(worker_pid(stack, key), {:event, number, {:unknown, nil}})
      assert_silence()
      assert state(stack, key) == :completed
    end

    test "an event that comes before the word of the start has the transaction begin first" do
      stack = start_stack(:still)
      request = request(:invite)
      key = start_client(stack, request)
      row = Rows.find(stack, key)
      worker = worker_pid(stack, key)
      :ok = Transactions.terminate(stack, key)
      assert await_end(stack, key) == :terminated

      # As it stands there between the two.
      octets = Message.to_string(request)
      row = Rows.row(row, state: nil, due: :never, octets: octets)
      assert Rows.insert_new(stack, row)
      :ok = Transactions.post(stack, key, :cancelled)
      assert_soon({:sent, _destination, ^octets, ^key})
      send(worker, {:start, Rows.row(row, :number), nil})
      assert_silence()
      advance(stack, 32_000)
      assert_soon({:receive_error, :timeout, ^key})
      assert await_end(stack, key) == :timeout
    end

    test "an unknown key is ignored" do
      stack = start_stack(:still)
      key = Client.Key.new(request(:options))
      assert Transactions.terminate(stack, key) == :ok
      assert Transactions.receive_error(stack, key, :closed) == :ok
      response = Message.to_response(request(:options), 200)
      assert Transactions.receive_response(stack, response, key) == :error
      assert Transactions.ack(stack, request(:ack)) == :error
    end
  end

  describe "a stack that has ended" do
    test "starts nothing, finds nothing, and raises nothing" do
      {pid, ref} = spawn_monitor(fn -> exit({:stack, start_unowned()}) end)
      assert_soon({:DOWN, ^ref, :process, ^pid, {:stack, stack}})
      transport = TestTransport.new()
      request = request(:options)
      overload = {:error, :overload}
      assert Transactions.start_server(stack, request, transport, destination()) == overload
      assert Transactions.start_client(stack, request, transport, destination()) == overload
      response = Message.to_response(request, 200)
      assert Transactions.send_response(stack, response) == {:error, :no_transaction}
      assert Transactions.receive_request(stack, request, Server.Key.new(request)) == :error
      assert Transactions.terminate(stack, Server.Key.new(request)) == :ok
      remote = {:udp, {192, 0, 2, 1}, 5060}
      assert Transactions.unreachable(stack, remote, :closed, Message.to_string(request)) == :ok
      assert Transactions.ack(stack, request(:ack)) == :error
      refute Transactions.merged?(stack, request)
      assert {Transactions.count(stack), Transactions.unfinished(stack)} == {0, 0}
    end

    defp start_unowned do
      name = :"unowned#{System.unique_integer([:positive])}"
      Stack.create(Stack.Options.new(name: name, max_transactions: 10), Transactions.create(name))
    end
  end

  describe "a defect" do
    test "ends the transaction that it happens to, and no other" do
      stack = start_stack(:still)
      others = for _other <- 1..3, do: start_server(stack, request(:options))
      invite = request(:invite)
      victim = start_server(stack, invite)
      answered(stack, invite, 200)
      worker = worker_pid(stack, victim)
      :ok = Transactions.post(stack, victim, {:ack, :any, :no_request})
      assert_soon({:event, [:transaction, :ended], _, %{key: ^victim, reason: {:error, _}}})
      assert Enum.all?(others, &(state(stack, &1) == :trying))
      assert Process.alive?(worker)
      assert Transactions.count(stack) == 3
      start_server(stack, request(:options))
    end
  end

  describe "events" do
    test "tell of a transaction's life and of each message that is sent" do
      stack = start_stack(:still)
      request = request(:options)
      key = start_server(stack, request)

      assert_received {:event, [:transaction, :started], %{system_time: _time},
                       %{key: ^key, machine: Server.NonInvite}}

      octets = answered(stack, request, 200)
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
      stack = start_stack(:still, core: Answering, telemetry: nil)
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

      # The core has answered all.
      wait_until(fn -> Transactions.unfinished(stack) == 2_500 end)
      advance(stack, 64_000)
      assert Transactions.count(stack) == 0
      wait_until(fn -> stack |> Transactions.held() |> Enum.all?(&(elem(&1, 1) == 0)) end)
      counts = Sippet.Telemetry.counts(stack.telemetry)
      assert counts.transaction_started == 10_000
      assert counts.transaction_ended == 10_000
    end
  end

  defp assert_silence_of_core do
    refute_receive {:receive_response, %{start_line: %{status_code: 183}}, _key}, 30
    refute_received {:receive_response, %{start_line: %{status_code: 486}}, _key}
  end
end
