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

    test "forgets the one entry that is taken away", %{stack: stack} do
      for {at, number} <- [{10, 1}, {10, 2}, {20, 1}],
          do: Deadlines.set(stack, @worker, at, number)

      Deadlines.unset(stack, @worker, 10, 1)
      assert Deadlines.take(stack, @worker, 20, 9) == [{10, 2}, {20, 1}]
      assert Deadlines.first(stack, @worker) == :never
    end
  end

  describe "a row" do
    for {method, machine} <- [invite: "INVITE", options: "non-INVITE"] do
      test "of a client's #{machine} leaves no entry when it ends before its time", %{
        stack: stack
      } do
        key = start_client(stack, request(unquote(method)))
        assert %{due: at} = Transactions.info(stack, key)
        assert is_integer(at)
        assert Transactions.held(stack).deadlines == 1

        Transactions.terminate(stack, key)
        assert await_end(stack, key) == :terminated
        assert_nothing_held(stack)
      end

      test "of a server's #{machine} leaves no entry when it ends before its time", %{
        stack: stack
      } do
        key = start_server(stack, request(unquote(method)))
        Transactions.settle(stack)
        assert Transactions.held(stack).deadlines == 1

        Transactions.terminate(stack, key)
        assert await_end(stack, key) == :terminated
        assert_nothing_held(stack)
      end
    end

    test "has one entry, however often its time changes", %{stack: stack} do
      request = request(:invite)
      key = start_server(stack, request)
      answered(stack, request, 180)
      # The 180 put the time off, the 200 with its repetitions brings it forward.
      response = Message.to_response(request, 200)
      :ok = Transactions.retransmit_2xx(stack, response)
      octets = Message.to_string(response)
      assert_soon({:sent, _destination, ^octets, ^key})
      Transactions.settle(stack)

      assert %{due: at} = Transactions.info(stack, key)
      assert Transactions.held(stack).deadlines == 1
      assert at == earliest(stack)
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

  defp earliest(stack) do
    Enum.min(
      for index <- 1..Transactions.Workers.count(stack.transactions.workers),
          do: Deadlines.first(stack, index)
    )
  end

  # An ended transaction's callback may run on for a moment.
  defp assert_nothing_held(stack) do
    Sippet.Wait.wait_until(fn ->
      stack |> Transactions.held() |> Map.values() |> Enum.all?(&(&1 == 0))
    end)
  end
end
