defmodule Sippet.DigestAuth.NonceStoreTest do
  use ExUnit.Case, async: true

  alias Sippet.DigestAuth.NonceStore

  setup context do
    store = :"#{context.test}"
    options = Map.get(context, :options, [])
    start_supervised!({NonceStore, [name: store] ++ options})
    [store: store]
  end

  defp now, do: System.system_time(:microsecond)
  defp nonce(issued \\ now()), do: {issued, :crypto.strong_rand_bytes(10)}

  defp use_all(store, id, counts), do: Enum.map(counts, &NonceStore.use_count(store, id, &1))

  describe "counts" do
    test "are good once", %{store: store} do
      id = nonce()
      assert use_all(store, id, [1, 1]) == [:ok, {:error, :replayed}]
      assert use_all(store, id, [2, 1, 2]) == [:ok, {:error, :replayed}, {:error, :replayed}]
      assert NonceStore.use_count(store, nonce(), 1) == :ok
    end

    test "may come out of order, in a window of 32", %{store: store} do
      id = nonce()

      assert use_all(store, id, [40, 9, 10, 9, 8, 39]) |> Enum.map(&(&1 == :ok)) == [
               true,
               true,
               true,
               false,
               false,
               true
             ]

      assert use_all(store, id, [41, 9, 10, 40]) |> Enum.map(&(&1 == :ok)) == [
               true,
               false,
               false,
               false
             ]

      # every count of the window is told from its neighbours
      for count <- 11..38, do: assert(NonceStore.use_count(store, id, count) == :ok)

      for count <- 0..41,
          do: assert(NonceStore.use_count(store, id, count) == {:error, :replayed})
    end

    test "may leap, as far as they go", %{store: store} do
      id = nonce()

      assert use_all(store, id, [1, 0xFFFFFFFF, 0xFFFFFFFF - 31, 0xFFFFFFFF - 32]) == [
               :ok,
               :ok,
               :ok,
               {:error, :replayed}
             ]

      assert use_all(store, id, [2, 0xFFFFFFFF]) == [{:error, :replayed}, {:error, :replayed}]
    end

    # So many that two processes are sure to meet at the row.
    test "are good once, whoever comes first", %{store: store} do
      id = nonce()

      tasks =
        for _ <- 1..4 do
          Task.async(fn ->
            receive do: (:go -> use_all(store, id, Enum.to_list(1..40_000)))
          end)
        end

      Enum.each(tasks, &send(&1.pid, :go))
      results = tasks |> Task.await_many(60_000) |> Enum.concat()
      assert Enum.count(results, &(&1 == :ok)) == 40_000
    end
  end

  describe "memory" do
    @tag options: [max_nonces: 3]
    test "is bounded, and what was forgotten is stale", %{store: store} do
      start = now()
      [a, b, c, d, e] = ids = for n <- 1..5, do: nonce(start + n)
      unused = nonce(start + 1)

      for id <- ids do
        assert NonceStore.use_count(store, id, 1) == :ok
        assert NonceStore.count(store) <= 3
      end

      assert NonceStore.count(store) == 3
      # the two oldest went, and what was made before them can't come any more
      assert NonceStore.use_count(store, a, 1) == {:error, :stale}
      assert NonceStore.use_count(store, b, 2) == {:error, :stale}
      assert NonceStore.use_count(store, unused, 1) == {:error, :stale}
      for id <- [c, d, e], do: assert(NonceStore.use_count(store, id, 1) != :ok)
      assert NonceStore.count(store) <= 3
    end

    test "is given back with age", %{store: store} do
      start = now()
      old = nonce(start + 1)
      young = nonce(start + 2)
      assert NonceStore.use_count(store, old, 1) == :ok
      assert NonceStore.use_count(store, young, 1) == :ok
      NonceStore.prune(store, start + 1)
      assert NonceStore.count(store) == 1
      assert NonceStore.use_count(store, old, 2) == {:error, :stale}
      assert NonceStore.use_count(store, young, 1) == {:error, :replayed}
      assert NonceStore.use_count(store, young, 2) == :ok
      NonceStore.prune(store, start + 2)
      NonceStore.prune(store, start + 2)
      assert use_all(store, young, [3]) == [{:error, :stale}]
    end

    @tag options: [max_age: 20]
    test "is given back by the store itself", %{store: store} do
      assert NonceStore.use_count(store, nonce(), 1) == :ok
      assert NonceStore.count(store) == 1
      :erlang.trace(Process.whereis(store), true, [:receive])
      # between the two lies an age
      assert_receive {:trace, _pid, :receive, :prune}, 3_000
      assert_receive {:trace, _pid, :receive, :prune}, 3_000
      :sys.get_state(store)
      assert NonceStore.count(store) == 0
    end
  end

  describe "a store that starts" do
    test "takes no nonce from before", %{store: store} do
      before = nonce()
      assert NonceStore.use_count(store, before, 1) == :ok
      stop_supervised!({NonceStore, store})
      start_supervised!({NonceStore, name: store})
      assert NonceStore.use_count(store, before, 1) == {:error, :stale}
      assert NonceStore.use_count(store, nonce(), 1) == :ok
    end

    test "passes over strange messages", %{store: store} do
      send(store, :strange)
      assert :sys.get_state(store).name == store
    end

    test "refuses wrong options" do
      for options <- [
            [],
            [name: nil],
            [name: :x, max_age: 0],
            [name: :x, max_nonces: 0],
            [name: :x, size: 1]
          ] do
        assert_raise ArgumentError, fn -> NonceStore.start_link(options) end
      end
    end
  end
end
