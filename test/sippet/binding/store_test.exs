defmodule Sippet.Binding.StoreTest do
  # What all stores do alike, and what the front makes of those that fail.
  use ExUnit.Case, async: true

  import Sippet.Registering
  import Sippet.Wait

  alias Sippet.Binding.Store
  alias Sippet.{Binding, LogHandler, Message}

  doctest Store.Memory
  doctest Store.File

  defmodule Failing do
    @moduledoc false
    @behaviour Store

    @impl true
    def fetch(failure, _address_of_record), do: failure.()

    @impl true
    def update(failure, _address_of_record, _change), do: failure.()
  end

  defmodule FailingAlways do
    @moduledoc false
    @behaviour Store

    @impl true
    def fetch(_store, _address_of_record), do: raise("the database is down")

    @impl true
    def update(_store, _address_of_record, _change), do: raise("the database is down")
  end

  defp uris(bindings), do: for(binding <- bindings, do: to_string(Binding.uri(binding)))

  defp found(store, user) do
    {:ok, bindings} = Store.bindings(store, uri(user))
    uris(bindings)
  end

  defp registered(store, request, options \\ []) do
    assert {:ok, response} = Store.register(store, request, options)
    assert response.start_line.status_code == 200
    response
  end

  defp refused(store, request, options \\ []) do
    assert {:error, response} = Store.register(store, request, options)
    response
  end

  for module <- [Store.Memory, Store.File] do
    describe inspect(module) do
      @describetag kind: module
      @describetag :tmp_dir

      setup %{kind: module, tmp_dir: folder} = context do
        name = :"store_#{System.unique_integer([:positive])}"
        path = if module == Store.File, do: [path: Path.join(folder, "bindings")], else: []
        options = [name: name] ++ path ++ Map.get(context, :options, [])
        pid = start_supervised!({module, options})
        %{store: {module, name}, pid: pid, name: name}
      end

      test "registers, and finds by any URI of the address-of-record", %{store: store} do
        assert Store.bindings(store, uri("bob")) == {:ok, []}
        assert Store.targets(store, uri("bob")) == {:ok, []}
        response = registered(store, register("bob", ["sip:a@h", "sip:b@h"]))
        assert length(response.headers.contact) == 2

        assert {:ok, [targets]} =
                 Store.targets(store, Sippet.URI.parse!("sip:b%6fb@BILOXI.com;user=phone"))

        assert uris(targets) == ["sip:b@h", "sip:a@h"]
        assert found(store, "bob") == ["sip:a@h", "sip:b@h"]
        assert found(store, "alice") == []
      end

      test "changes nothing where the request is refused", %{store: store} do
        registered(store, register("bob", ["sip:a@h"]))
        response = refused(store, register("bob", ["sip:b@h"], expires: 5))
        assert {response.start_line.status_code, response.headers.min_expires} == {423, 60}

        response = refused(store, register("bob", ["sip:b@h"]), max_bindings: 1)
        assert response.start_line.status_code == 403
        assert found(store, "bob") == ["sip:a@h"]
      end

      test "forgets what has ended", %{store: store, name: name} do
        registered(store, register("bob", ["sip:a@h"]))
        registered(store, register("bob", [], contact: "*", expires: 0))
        assert found(store, "bob") == []
        assert Store.Table.size(name) == 0
      end

      test "removes what has expired, once a minute", %{store: store, name: name, pid: pid} do
        # As of 1970, this has expired.
        registered(store, register("bob", ["sip:a@h"]), now: 1_000)
        registered(store, register("alice", ["sip:a@h"]))
        assert found(store, "bob") == []
        assert Store.Table.size(name) == 2

        send(pid, :sweep)
        :sys.get_state(pid)
        assert Store.Table.size(name) == 1
        assert found(store, "alice") == ["sip:a@h"]
      end

      @tag options: [max_addresses: 2]
      test "answers 503 where there is no place for another", %{store: store, pid: pid} do
        for user <- ["a", "b"], do: registered(store, register(user, ["sip:a@h"]))
        response = refused(store, register("c", ["sip:a@h"]))
        assert response.start_line.status_code == 503
        assert {60, "", %{}} = response.headers.retry_after
        assert found(store, "c") == []

        # Those who have one go on, and the place of one that has ended is free.
        registered(store, register("a", ["sip:b@h"]))
        registered(store, register("b", [], contact: "*", expires: 0))
        registered(store, register("c", ["sip:a@h"]))
        assert Process.alive?(pid)
      end

      @tag options: [max_addresses: 10]
      test "has no more of them than it may, whoever comes at once", %{store: store, name: name} do
        results =
          1..100
          |> Task.async_stream(&Store.register(store, register("u#{&1}", ["sip:a@h"])),
            max_concurrency: 50
          )
          |> Enum.map(fn {:ok, {result, _response}} -> result end)

        assert Enum.count(results, &(&1 == :ok)) <= 10
        assert Store.Table.size(name) <= 10
      end

      test "does REGISTERs of one address-of-record one after another", %{store: store} do
        1..100
        |> Task.async_stream(
          fn n ->
            registered(store, register("bob", ["sip:#{n}@h"]), max_bindings: 100)
          end,
          max_concurrency: 20
        )
        |> Stream.run()

        assert length(found(store, "bob")) == 100
      end

      test "makes a change again where another was faster", %{store: {module, name} = store} do
        key = Binding.address_of_record(uri("bob"))

        changed = fn first, request ->
          module.update(name, key, fn bindings ->
            if first not in uris(bindings), do: registered(store, register("bob", [first]))
            Binding.register(bindings, request)
          end)
        end

        # Before anything is there, and after.
        for number <- 1..2 do
          request = register("bob", ["sip:own@h"])
          assert {:ok, %Message{}} = changed.("sip:#{number}@h", request)
        end

        assert found(store, "bob") == ["sip:1@h", "sip:2@h", "sip:own@h"]

        # And where nothing is left.
        ending = register("bob", [], contact: "*", expires: 0)
        assert {:ok, _response} = changed.("sip:3@h", ending)
        assert found(store, "bob") == []
      end

      test "stands a change that raises", %{store: {module, name} = store, pid: pid} do
        registered(store, register("bob", ["sip:a@h"]))
        key = Binding.address_of_record(uri("bob"))
        raising = fn _bindings -> raise "no" end
        assert_raise RuntimeError, "no", fn -> module.update(name, key, raising) end
        assert found(store, "bob") == ["sip:a@h"]
        assert Process.alive?(pid)
      end

      test "stands a registrar that is killed in a change", %{store: {module, name} = store} do
        registered(store, register("bob", ["sip:a@h"]))
        key = Binding.address_of_record(uri("bob"))
        test = self()

        killed =
          spawn(fn ->
            module.update(name, key, fn _bindings ->
              send(test, :changing)
              receive(do: (:never -> {:ok, [], :done}))
            end)
          end)

        assert_receive :changing, 5_000
        # Nobody waits for it.
        registered(store, register("bob", ["sip:b@h"]))
        Process.exit(killed, :kill)
        wait_until(fn -> not Process.alive?(killed) end)
        assert found(store, "bob") == ["sip:a@h", "sip:b@h"]
      end

      test "is read while its process is busy", %{store: store, pid: pid} do
        registered(store, register("bob", ["sip:a@h"]))
        :sys.suspend(pid)
        assert found(store, "bob") == ["sip:a@h"]
        # Nothing is written by a request that changes nothing.
        assert %Message{} =
                 registered(store, register("bob", []) |> Message.delete_header(:contact))

        :sys.resume(pid)
      end

      test "keeps nothing of a datagram", %{store: store, name: name} do
        long = String.duplicate("x", 100)
        request = lent(register(long, ["sip:#{long}@#{long};p=#{long}"], call_id: long))
        assert borrowed(request) != []
        registered(store, request)
        assert [{_key, _version, [_binding]}] = rows = :ets.match_object(name, {:_, :_, :_})
        assert borrowed(rows) == []
      end

      test "ignores messages", %{store: store, pid: pid} do
        send(pid, :what)
        registered(store, register("bob", ["sip:a@h"]))
      end
    end
  end

  describe "a store that fails" do
    @describetag :capture_log

    test "has its REGISTERs answered 500, and its readers told" do
      request = register("bob", ["sip:a@h"], record_route: [{"", uri("p"), %{}}])

      for failure <- [
            fn -> raise "the database is down" end,
            fn -> exit({:timeout, :database}) end,
            fn -> throw(:database) end
          ] do
        response = refused({Failing, failure}, request)
        assert response.start_line.status_code == 500
        refute Message.has_header?(response, :record_route)
        assert Store.bindings({Failing, failure}, uri("bob")) == {:error, :unavailable}
        assert Store.targets({Failing, failure}, uri("bob")) == {:error, :unavailable}
      end
    end

    test "is logged, but not with every request" do
      LogHandler.attach(FailingAlways)
      request = register("bob", ["sip:a@h"])
      {time, _} = :timer.tc(fn -> for _n <- 1..50, do: refused({FailingAlways, nil}, request) end)
      assert_received {:logged, :error, line, %{crash_reason: {%RuntimeError{}, _}, call_id: _}}
      assert line =~ "a store of bindings has failed: ** (RuntimeError) the database is down"
      assert length(logged()) <= 1 + div(time, 1_000_000)
    end

    defp logged do
      receive do
        {:logged, :error, line, _meta} -> [line | logged()]
      after
        0 -> []
      end
    end

    test "is one that was not started" do
      store = {Store.Memory, :not_started}
      assert refused(store, register("bob", ["sip:a@h"])).start_line.status_code == 500
      assert Store.bindings(store, uri("bob")) == {:error, :unavailable}
    end

    test "is not to be confused with wrong options" do
      assert_raise ArgumentError, ~r/unknown options/, fn ->
        Store.register({Failing, fn -> [] end}, register("bob", []), max: 1)
      end
    end
  end
end
