defmodule Sippet.Transactions.WorkersTest do
  # Which worker works on what, how much may wait for one, and what a worker does when it is late.
  use Sippet.TransactionCase, async: true

  import Sippet.Wait

  alias Sippet.Transactions.{Clock, Deadlines, Workers, WorkerSupervisor}
  alias Sippet.Transport

  @remote {:udp, {192, 0, 2, 7}, 5060}

  # Tells the test what it got, and where; waits for `:go` where it is told to.
  defmodule Listener do
    @moduledoc false

    def take(stack, data, remote, transport) do
      Kernel.send(stack.options.private.test, {:taken, data, remote, transport, self()})

      if String.contains?(data, "hold") do
        receive do
          :go -> :ok
        end
      end

      :ok
    end
  end

  describe "the processes" do
    test "are one on one scheduler, else two for each, up to what is of use" do
      for {schedulers, count} <- [{1, 1}, {2, 4}, {4, 8}, {64, 16}],
          do: assert(Workers.count(Workers.new(:some, schedulers)) == count)
    end
  end

  describe "of_octets/3" do
    setup :listening

    test "finds the worker of the call in each usual form of a Call-ID", %{stack: stack} do
      for call <- 1..20,
          line <- ["Call-ID: ", "Call-ID:", "Call-Id: ", "call-id:\t", "i: ", "i:"],
          ending <- ["\r\nCSeq: 1 BYE\r\n\r\n", "  \r\n\r\n", "\n", ""] do
        octets = "BYE sip:b SIP/2.0\r\nFrom: <sip:a@b>\r\n#{line}#{call}@a#{ending}"
        assert Workers.of_octets(stack, octets, @remote) == Workers.of_call(stack, "#{call}@a")
      end
    end

    test "goes by the source where there is none", %{stack: stack} do
      workers = for n <- 1..50, do: Workers.of_octets(stack, "nonsense #{n}", @remote)
      assert [_one] = Enum.uniq(workers)

      sources = for n <- 1..50, do: {:udp, {192, 0, 2, n}, 5060}
      workers = for source <- sources, do: Workers.of_octets(stack, "nonsense", source)
      assert length(Enum.uniq(workers)) == 4
    end

    test "can't be foreseen from outside", %{stack: stack} do
      other = start_stack()
      calls = for call <- 1..100, do: "call-#{call}"
      [one, two] = for s <- [stack, other], do: Enum.map(calls, &Workers.of_call(s, &1))
      assert one != two
    end
  end

  describe "post/3" do
    setup :listening

    test "hands over with where it came from, and by which transport", %{stack: stack} do
      transport = %Transport{pid: self(), protocol: :udp, reliable?: false}
      assert Workers.post(stack, 1, {:take, "a", @remote, transport}) == :ok
      assert_receive {:taken, "a", @remote, ^transport, worker}
      assert Process.whereis(elem(stack.transactions.workers.names, 0)) == worker
    end

    test "keeps the messages of a call in order, and spreads calls", %{stack: stack} do
      calls = for call <- 1..40, do: "call-#{call}@atlanta.com"
      for number <- 1..4, call <- calls, do: assert(post(stack, call, number) == :ok)
      taken = for _ <- 1..160, do: assert_receive({:taken, _data, _remote, _transport, _worker})

      by_call = Enum.group_by(taken, fn {:taken, data, _, _, _} -> call(data) end)
      assert map_size(by_call) == 40

      for {call, messages} <- by_call do
        assert [_one] = messages |> Enum.map(&elem(&1, 4)) |> Enum.uniq()
        assert Enum.map(messages, &elem(&1, 1)) == Enum.map(1..4, &message(call, &1))
      end

      assert taken |> Enum.map(&elem(&1, 4)) |> Enum.uniq() |> length() == 4
    end

    test "is busy when 100 wait for a worker, and others go on", %{stack: stack} do
      assert post(stack, "hold") == :ok
      assert_receive {:taken, _data, _remote, _transport, held}
      for _ <- 2..100, do: assert(post(stack, "hold") == :ok)
      for _ <- 1..10, do: assert(post(stack, "hold") == {:error, :busy})
      assert Process.info(held, :message_queue_len) == {:message_queue_len, 99}

      others = for n <- 1..100, post(stack, "#{n}") == :ok, do: n
      taken = for _ <- others, do: assert_receive({:taken, _data, _remote, _transport, _worker})
      assert taken != []
      refute held in Enum.map(taken, &elem(&1, 4))

      for _ <- 1..100, do: Kernel.send(held, :go)
      wait_until(fn -> post(stack, "hold") == :ok end, "room again")
      Kernel.send(held, :go)
    end

    test "counts anew for a worker that was killed, without what waited", %{stack: stack} do
      for _ <- 1..100, do: assert(post(stack, "hold") == :ok)
      assert_receive {:taken, _data, _remote, _transport, held}
      Process.exit(held, :kill)

      wait_until(fn -> post(stack, "hold") == :ok end, "another worker")
      assert_receive {:taken, _data, _remote, _transport, other} when other != held
      for _ <- 1..99, do: assert(post(stack, "hold") == :ok)
      assert post(stack, "hold") == {:error, :busy}
      refute Process.alive?(held)
    end

    test "is busy while there are no workers", %{stack: stack} do
      stop_supervised!(WorkerSupervisor)
      for _ <- 1..101, do: assert(post(stack, "a") == {:error, :busy})
      assert Workers.call(stack, 1, :settle) == :error
      refute Workers.send(stack, 1, :strange)
    end
  end

  test "a worker ignores what is no message" do
    stack = start_stack()
    {name, pid} = worker(stack, 1)

    for strange <-
          [:strange, {:counted, :strange}, {:event, 1, :due}, {:start, 1, nil}] ++
            [{:answered, 1}, {:timeout, make_ref(), :due}, {:look, make_ref()}] ++
            [{:DOWN, make_ref(), :process, self(), :normal}],
        do: Kernel.send(pid, strange)

    assert Workers.call(stack, 1, :settle) == :ok
    assert Process.whereis(name) == pid
  end

  describe "after a pause" do
    # Timers B and F are over after 512 ms.
    @over 512

    defp waiting(options \\ []) do
      stack = start_stack(:slow, [t1: 8, t2: 1_000] ++ options)

      requests =
        for n <- 1..100 do
          request = request(if(rem(n, 2) == 0, do: :invite, else: :options))

          assert :ok =
                   Transactions.start_client(stack, request, TestTransport.new(), destination())

          request
        end

      {stack, requests}
    end

    defp suspend(stack), do: for({_name, pid} <- workers(stack), do: :ok = :sys.suspend(pid))
    defp resume(stack), do: for({_name, pid} <- workers(stack), do: :ok = :sys.resume(pid))

    defp assert_answered(stack, requests) do
      for _ <- requests, do: assert_soon({:receive_response, _response, _key})
      Transactions.settle(stack)
      refute_received {:receive_error, _reason, _key}
      for request <- requests, do: assert_finished(stack, Client.Key.new(request))
    end

    defp assert_finished(stack, key),
      do: assert(state(stack, key) in [:accepted, :completed, nil])

    test "responses in the mailbox come before deadlines that passed meanwhile" do
      {stack, requests} = waiting(t4: 1_000)
      suspend(stack)
      # The look lies in the mailbox first, and what came in the pause behind it.
      wait_until(fn -> Enum.all?(workers(stack), &looks?/1) end)
      pause(@over)
      for request <- requests, do: come(stack, request, 200)
      resume(stack)
      assert_answered(stack, requests)
    end

    # The mailbox is the test's: nothing is taken from it.
    defp pause(ms), do: receive(do: (:never -> :ok), after: (ms -> :ok))

    defp looks?({_name, pid}) do
      {:messages, messages} = Process.info(pid, :messages)
      Enum.any?(messages, &(elem(&1, 0) in [:timeout, :look]))
    end

    # More than a second late: the VM was stopped, and the reader of the socket has not had its turn yet.
    test "of the VM datagrams come before them too, that still lie in a socket" do
      {stack, requests} = waiting()
      suspend(stack)
      pause(@over + 1_050)
      resume(stack)
      Transactions.settle(stack)
      for request <- requests, do: come(stack, request, 200)
      assert_answered(stack, requests)
    end

    test "in a stack whose time stands still as well" do
      {stack, requests} = waiting(clock: Clock.new())
      suspend(stack)
      for request <- requests, do: come(stack, request, 200)
      advance = Task.async(fn -> Transactions.advance(stack, 2 * @over) end)
      resume(stack)
      Task.await(advance)
      assert_answered(stack, requests)
    end

    test "what nobody has answered times out" do
      {stack, requests} = waiting()
      suspend(stack)
      pause(@over)
      resume(stack)
      for _ <- requests, do: assert_soon({:receive_error, :timeout, _key})
    end
  end

  describe "the deadlines" do
    test "have no entry of a row that has ended, once its time is over" do
      stack = start_stack(:slow, clock: Clock.new(), answer_timeout: 1_000_000)

      keys =
        for {method, status} <- [invite: 200, invite: 486, options: 200, invite: nil] do
          request = request(method)
          key = start_server(stack, request)
          # The look at the time for an answer lies far away then.
          Transactions.advance(stack, 1_000)
          if status, do: answer(stack, request, status), else: Transactions.terminate(stack, key)
          Transactions.settle(stack)
          key
        end

      assert Deadlines.size(stack) in 3..9
      Transactions.advance(stack, 400_000)
      for key <- keys, do: refute(Transactions.alive?(stack, key))
      assert Enum.all?(Transactions.held(stack), fn {_table, size} -> size == 0 end)
    end
  end

  ## Listening workers

  defp listening(context) do
    name = :"#{context.test}"
    on_exit(fn -> :persistent_term.erase({Stack, name}) end)
    # Four, whatever the machine has.
    transactions = %{
      Transactions.create(name)
      | workers: Workers.new(name, 2),
        deadlines: Deadlines.new(4)
    }

    stack = Stack.create(Stack.Options.new([name: name], %{test: self()}), transactions)
    start_supervised!({WorkerSupervisor, {stack, Listener}})
    %{stack: stack}
  end

  defp post(stack, call, number \\ 1) do
    data = message(call, number)
    index = Workers.of_octets(stack, data, @remote)
    Workers.post(stack, index, {:take, data, @remote, self()})
  end

  defp message(call, number),
    do:
      "OPTIONS sip:b SIP/2.0\r\nCSeq: #{number} OPTIONS\r\nCall-ID: #{call}\r\nMax-Forwards: 70\r\n\r\n"

  defp call(data) do
    [_all, call] = Regex.run(~r/Call-ID: (.*)\r/, data)
    call
  end

  defp workers(stack) do
    for index <- 1..Workers.count(stack.transactions.workers), do: worker(stack, index)
  end

  defp worker(stack, index) do
    name = elem(stack.transactions.workers.names, index - 1)
    {name, Process.whereis(name)}
  end
end

defmodule Sippet.Transactions.WorkersOfAStackTest do
  # The same with a router, a core and transports.
  use Sippet.StackCase, async: true

  import Sippet.Wait

  alias Sippet.{Stack, Transactions}
  alias Sippet.Transactions.Workers

  @moduletag :capture_log

  # Call-ID in five spellings, of which a worker finds the first three before it parses.
  @spellings ["Call-ID: ", "i: ", "call-id:", "CALL-ID : ", "Call-ID:\r\n "]

  test "one branch in 1,000 datagrams, its Call-ID in five spellings and of two values",
       context do
    %{stack: stack} = context
    via = {"Via", "SIP/2.0/UDP 10.1.1.1;branch=z9hG4bKone;rport"}

    for n <- 1..100, call <- ["one", "other"], spelling <- @spellings do
      text = wire("OPTIONS", [via, {"Call-ID", "placeholder"}])
      text = String.replace(text, "Call-ID: placeholder", spelling <> call)
      offer(stack, text)
      # None shall be dropped for too many that wait.
      if spelling == "i: ", do: settle(stack)

      if n == 50 and call == "one" and spelling == hd(@spellings) do
        assert_receive {:receive_request, request, _key}
        :ok = Sippet.send(stack, Message.to_response(request, 200))
      end
    end

    assert {%{headers: %{call_id: call_id}}, _destination} = assert_sent(200)
    wait_until(fn -> Sippet.stats(stack).message_received == 1_000 end)
    assert Sippet.stats(stack).transaction_started == 1
    refute_received {:receive_request, _request, _key}
    assert answers(stack) == [call_id]
  end

  # Twice, as one worker hands on to another.
  defp settle(stack) do
    for _ <- 1..2, do: Transactions.settle(Stack.fetch!(stack))
    :ok
  end

  test "a Call-ID that is found late does not fill the mailbox of its worker", %{stack: stack} do
    struct = Stack.fetch!(stack)
    first = Workers.of_octets(struct, "", remote())
    call = Enum.find(1..1_000, &(Workers.of_call(struct, "call-#{&1}") != first))

    owner =
      Process.whereis(
        elem(struct.transactions.workers.names, Workers.of_call(struct, "call-#{call}") - 1)
      )

    :ok = :sys.suspend(owner)

    for _ <- 1..300 do
      text = wire("OPTIONS", [{"Call-ID", "placeholder"}])
      deliver(stack, String.replace(text, "Call-ID: placeholder", "CALL-ID : call-#{call}"))
    end

    assert {:message_queue_len, 100} = Process.info(owner, :message_queue_len)
    assert Sippet.stats(stack).message_dropped == 200
    :ok = :sys.resume(owner)
    for _ <- 1..100, do: assert_receive({:receive_request, _request, _key}, 1_000)
  end

  test "nor does a branch that comes with any Call-ID", %{stack: stack} do
    via = {"Via", "SIP/2.0/UDP 10.1.1.1;branch=z9hG4bKone;rport"}
    deliver(stack, wire("INVITE", [via]))
    assert_receive {:receive_request, invite, key}
    struct = Stack.fetch!(stack)
    %{worker: index} = Transactions.info(struct, key)
    owner = Process.whereis(elem(struct.transactions.workers.names, index - 1))
    :ok = Sippet.send(stack, Message.to_response(invite, 180))
    assert_sent(180)
    :ok = :sys.suspend(owner)

    calls = for n <- 1..10_000, Workers.of_call(struct, "call-#{n}") != index, do: "call-#{n}"

    for call <- Enum.take(calls, 300),
        do: deliver(stack, wire("INVITE", [via, {"Call-ID", call}]))

    assert {:message_queue_len, 100} = Process.info(owner, :message_queue_len)
    assert Sippet.stats(stack).message_dropped == 200
    :ok = :sys.resume(owner)
    for _ <- 1..100, do: assert_sent(180)
  end

  defp offer(stack, text) do
    with {:error, :busy} <- Router.queue_transport_message(stack, text, remote()) do
      receive(do: (:never -> :ok), after: (1 -> :ok))
      offer(stack, text)
    end
  end

  # The Call-IDs of all that was sent.
  defp answers(stack) do
    receive do
      {:sent, _destination, octets, _key} ->
        Enum.uniq([Message.parse!(octets).headers.call_id | answers(stack)])
    after
      0 -> []
    end
  end

  @tag stack: [behave: &__MODULE__.hang_in_invite/3]
  test "a slow core does not hold the messages of its own call", %{stack: stack} do
    call = [{"Call-ID", "slow"}]
    deliver(stack, wire("INVITE", call))
    assert_receive {:receive_request, %{start_line: %{method: :invite}}, _key}

    for _ <- 1..10 do
      deliver(stack, wire("MESSAGE", call))
      assert_receive {:receive_request, %{start_line: %{method: :message}} = message, _key}
      :ok = Sippet.send(stack, Message.to_response(message, 200))
      assert_sent(200)
    end
  end

  def hang_in_invite(:receive_request, %{start_line: %{method: :invite}}, _key),
    do: Process.sleep(:infinity)

  def hang_in_invite(_callback, _argument, _key), do: :ok

  test "nor does a transport of the 1.0 kind that never answers", %{stack: stack} do
    test = self()

    start_supervised!(
      {Task,
       fn ->
         :ok = Sippet.register_transport(stack, :tcp, true)
         send(test, :registered)
         receive do: ({:"$gen_call", _from, message} -> send(test, {:waits, message}))
         Process.sleep(:infinity)
       end}
    )

    assert_receive :registered
    call = {"Call-ID", "slow"}
    via = {"Via", "SIP/2.0/TCP 10.1.1.1;branch=z9hG4bKslow"}

    # It comes from a process that has not registered, as the connection of such a transport.
    text = wire("OPTIONS", [via, call])
    Task.await(Task.async(fn -> deliver(stack, text, {:tcp, {192, 0, 2, 7}, 4321}) end))
    assert_receive {:receive_request, request, _key}
    :ok = Sippet.send(stack, Message.to_response(request, 200))

    assert_receive {:waits,
                    {:send_message, %{start_line: %{status_code: 200}}, _host, _port, _key}}

    deliver(stack, wire("MESSAGE", [call]))
    assert_receive {:receive_request, message, _key}
    :ok = Sippet.send(stack, Message.to_response(message, 202))
    assert_sent(202)
  end
end
