defmodule Sippet.Transactions.DeadlinesTest do
  use Sippet.TransactionCase, async: true

  alias Sippet.Transactions.{Clock, Deadlines}

  # With more, a test would not know which worker has its row.
  @worker 1

  setup do
    %{stack: start_stack(:slow, clock: Clock.new())}
  end

  describe "a table of deadlines" do
    test "yields what is due, the earliest first, and not more than it is asked for", %{
      stack: stack
    } do
      for {at, number} <- [{30, 1}, {10, 2}, {20, 3}, {40, 4}],
          do: Deadlines.set(stack, @worker, at, number)

      assert Deadlines.first(stack, @worker) == 10
      assert Deadlines.take(stack, @worker, 30, 2) == [{10, 2}, {20, 3}]
      assert Deadlines.take(stack, @worker, 30, 2) == [{30, 1}]
      assert Deadlines.take(stack, @worker, 30, 2) == []
      assert Deadlines.size(stack) == 1
    end

    test "puts what is far away into buckets, and looks at it in time" do
      stack = start_stack(:slow)
      now = Clock.now(stack)
      set = for number <- 1..100, do: Deadlines.set(stack, @worker, now + 9_000 + number, number)

      for {at, number} <- Enum.with_index(set, 1),
          do: assert((at - (now + 9_000 + number)) in 0..19)

      assert length(Enum.uniq(set)) in 5..6
      assert Deadlines.first(stack, @worker) == hd(set)

      taken = Deadlines.take(stack, @worker, now + 9_060, 1)
      assert length(taken) in 1..20
      assert Enum.all?(taken, fn {at, _number} -> at == hd(set) end)

      taken = taken ++ Deadlines.take(stack, @worker, now + 10_000, 1_000)
      assert Enum.sort(taken) == Enum.zip(set, 1..100)
      assert Deadlines.size(stack) == 0
      assert Deadlines.first(stack, @worker) == :never
    end

    test "has nothing that is further away than 32 s", %{stack: stack} do
      assert Deadlines.set(stack, @worker, 200_000, 1) == 32_000
      assert Deadlines.take(stack, @worker, 32_000, 9) == [{32_000, 1}]
    end
  end

  describe "a row" do
    for {method, machine} <- [invite: "INVITE", options: "non-INVITE"] do
      test "of a client's #{machine} leaves no entry but until its time when it ends before", %{
        stack: stack
      } do
        key = start_client(stack, request(unquote(method)))
        # Its worker begins it.
        Transactions.settle(stack)
        assert %{due: at} = Transactions.info(stack, key)
        assert is_integer(at)
        assert Transactions.held(stack).deadlines == 1

        Transactions.terminate(stack, key)
        assert await_end(stack, key) == :terminated
        Transactions.advance(stack, 32_000)
        assert_nothing_held(stack)
      end

      test "of a server's #{machine} leaves no entry but until its time when it ends before", %{
        stack: stack
      } do
        key = start_server(stack, request(unquote(method)))
        Transactions.settle(stack)
        assert Transactions.held(stack).deadlines == 1

        Transactions.terminate(stack, key)
        assert await_end(stack, key) == :terminated
        Transactions.advance(stack, 32_000)
        assert_nothing_held(stack)
      end
    end

    test "is looked at in time, however often its time changes", %{stack: stack} do
      request = request(:invite)
      key = start_server(stack, request)
      answered(stack, request, 180)
      # The 180 put the time off, the 200 with its repetitions brings it forward.
      response = Message.to_response(request, 200)
      :ok = Transactions.retransmit_2xx(stack, response)
      octets = Message.to_string(response)
      assert_soon({:sent, _destination, ^octets, ^key})
      Transactions.settle(stack)

      assert %{due: at, worker: worker} = Transactions.info(stack, key)
      number = Transactions.Rows.number(stack, key)
      assert {at, number} in Deadlines.take(stack, worker, at, 9)
    end

    test "has none when all has happened", %{stack: stack} do
      request = request(:options)
      key = start_server(stack, request)
      answered(stack, request, 200)
      Transactions.advance(stack, 64_000)
      assert await_end(stack, key) == :normal
      assert_nothing_held(stack)
    end
  end

  # An ended transaction's callback may run on for a moment.
  defp assert_nothing_held(stack) do
    Sippet.Wait.wait_until(fn ->
      stack |> Transactions.held() |> Map.values() |> Enum.all?(&(&1 == 0))
    end)
  end
end
