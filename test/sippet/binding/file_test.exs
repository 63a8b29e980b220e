defmodule Sippet.Binding.Store.FileTest do
  # What is left of a file of bindings, whatever becomes of the VM or of the file.
  use ExUnit.Case, async: true

  import Sippet.Registering
  import Sippet.Wait

  alias Sippet.Binding.Store
  alias Sippet.{Binding, Flow, LogHandler, PeerVM}

  @moduletag :tmp_dir
  @moduletag :capture_log

  setup %{tmp_dir: folder} do
    name = :"file_#{System.unique_integer([:positive])}"
    %{name: name, store: {Store.File, name}, path: Path.join(folder, "bindings")}
  end

  defp start(%{name: name, path: path}, options \\ []),
    do: start_supervised!({Store.File, [name: name, path: path] ++ options}, restart: :temporary)

  defp stop(%{name: name}), do: stop_supervised!({Store.File, name})

  # Why it does not start.
  defp refusal(%{name: name, path: path}) do
    Process.flag(:trap_exit, true)
    {:error, {:bindings_file, ^path, reason}} = Store.File.start_link(name: name, path: path)
    reason
  end

  defp found(%{store: store}, user) do
    {:ok, bindings} = Store.bindings(store, uri(user))
    for binding <- bindings, do: to_string(Binding.uri(binding))
  end

  defp register!(%{store: store}, user, contacts, headers \\ [], options \\ []) do
    {:ok, response} = Store.register(store, register(user, contacts, headers), options)
    response
  end

  describe "a VM that is killed" do
    @describetag timeout: 120_000

    test "leaves all bindings to the next one", %{name: name, path: path, store: store} do
      options = [name: name, path: path]
      first = PeerVM.start()
      {:ok, _pid} = PeerVM.start_child(first, Store.File, options)

      for number <- 1..3 do
        request = register("bob", ["sip:#{number}@h"], expires: 1_000 * number)
        assert {:ok, _response} = PeerVM.call(first, Store, :register, [store, request])
      end

      # The 200 was there, and no time to write anything.
      PeerVM.kill(first)

      second = PeerVM.start()
      {:ok, _pid} = PeerVM.start_child(second, Store.File, options)
      {:ok, bindings} = PeerVM.call(second, Store, :bindings, [store, uri("bob")])

      assert for(binding <- bindings, do: to_string(Binding.uri(binding))) ==
               ~w(sip:1@h sip:2@h sip:3@h)

      # They end when they would have ended.
      {:ok, response} =
        PeerVM.call(second, Store, :register, [
          store,
          "bob" |> register([]) |> Sippet.Message.delete_header(:contact)
        ])

      left = for {_, _, %{"expires" => expires}} <- response.headers.contact, do: expires

      for {text, most} <- Enum.zip(left, [1_000, 2_000, 3_000]),
          do: assert(String.to_integer(text) in (most - 120)..most)

      # And so does what was registered by the second.
      {:ok, _response} =
        PeerVM.call(second, Store, :register, [store, register("al", ["sip:a@h"])])

      PeerVM.kill(second)
      start(%{name: name, path: path})
      assert length(found(%{store: store}, "bob")) == 3
      assert found(%{store: store}, "al") == ["sip:a@h"]
    end
  end

  describe "a store that starts again" do
    test "has what there was last, in its order", context do
      start(context)
      register!(context, "bob", ["sip:a@h", "sip:b@h"])
      register!(context, "bob", ["sip:a@h"])
      register!(context, "al", ["sip:c@h"])
      register!(context, "al", [], contact: "*", expires: 0)
      stop(context)

      start(context)
      assert found(context, "bob") == ["sip:b@h", "sip:a@h"]
      assert found(context, "al") == []
    end

    test "drops what has expired", context do
      start(context)
      register!(context, "bob", ["sip:a@h"], [], now: 1_000)
      assert Store.Table.size(context.name) == 1
      stop(context)

      start(context)
      assert Store.Table.size(context.name) == 0
    end

    test "has the flows of UDP, and no connection and no deadline", context do
      flow = %Flow{protocol: :udp, remote: {{192, 0, 2, 1}, 5060}, local: {{192, 0, 2, 9}, 5060}}
      connection = %Sippet.Transport{protocol: :tcp, reliable?: true, pid: self()}
      start(context)
      udp = %{register("bob", ["sip:a@h"]) | source: flow}
      tcp = %{register("al", ["sip:a@h"]) | source: %{flow | connection: connection}}
      for request <- [udp, tcp], do: {:ok, _response} = Store.register(context.store, request)

      # While it runs, it has them all.
      assert {:ok, [%Binding{source: %Flow{connection: ^connection}, deadline: {_, _}}]} =
               Store.bindings(context.store, uri("al"))

      stop(context)
      start(context)

      assert {:ok, [%Binding{source: ^flow, deadline: nil}]} =
               Store.bindings(context.store, uri("bob"))

      assert {:ok, [%Binding{source: nil, deadline: nil}]} =
               Store.bindings(context.store, uri("al"))
    end

    test "reads the bindings of a version with fewer fields", context do
      start(context)
      register!(context, "bob", ["sip:a@h"])
      stop(context)

      {:ok, log} = :disk_log.open(name: make_ref(), file: to_charlist(context.path))
      old = %{__struct__: Binding, contact: {"", uri("a"), %{}}, expires_at: 9_999_999_999}
      old = Map.merge(old, %{call_id: "a", cseq: 1})
      :ok = :disk_log.log(log, {"sip:old@biloxi.com", [old]})
      :ok = :disk_log.close(log)

      start(context)
      assert {:ok, [%Binding{path: [], source: nil}]} = Store.bindings(context.store, uri("old"))
    end
  end

  describe "the option :sync_after" do
    test "has a 200 mean that it is written, by default", context do
      start(context)
      register!(context, "bob", ["sip:written@h"])
      assert File.read!(context.path) =~ "written"
    end

    test "has a 200 not wait for that", context do
      pid = start(context, sync_after: 1_000_000)
      register!(context, "bob", ["sip:written@h"])
      register!(context, "al", ["sip:later@h"])
      refute File.read!(context.path) =~ "written"
      send(pid, :sync)
      :sys.get_state(pid)
      assert File.read!(context.path) =~ "written"
      assert File.read!(context.path) =~ "later"

      register!(context, "bob", ["sip:last@h"])
      stop(context)
      start(context)
      assert found(context, "bob") == ["sip:written@h", "sip:last@h"]
    end

    test "is milliseconds", context do
      assert_raise ArgumentError, ~r/:sync_after to be milliseconds/, fn ->
        Store.File.start_link(name: context.name, path: context.path, sync_after: -1)
      end
    end

    test "syncs once for all that wait", context do
      pid = start(context)
      :sys.suspend(pid)
      tasks = for n <- 1..250, do: Task.async(fn -> register!(context, "u#{n}", ["sip:a@h"]) end)
      waiting = fn -> Process.info(pid, :message_queue_len) == {:message_queue_len, 250} end
      wait_until(waiting, "requests that wait")
      :sys.resume(pid)
      assert length(Task.await_many(tasks)) == 250
      stop(context)
      start(context)
      assert Store.Table.size(context.name) == 250
    end
  end

  describe "a file that is damaged" do
    setup context do
      start(context)
      for n <- 1..100, do: register!(context, "u#{n}", ["sip:a@h"])
      stop(context)
      LogHandler.attach(context.name)
    end

    test "at its end, is read up to there", context do
      octets = File.read!(context.path)
      File.write!(context.path, binary_part(octets, 0, byte_size(octets) - 10))
      start(context)
      assert_received {:logged, :warning, line, _meta}
      assert line =~ ~r/skipped \d+ bytes/
      assert Store.Table.size(context.name) == 99
      assert found(context, "u99") == ["sip:a@h"]
      stop(context)

      # It is whole again.
      start(context)
      refute_received {:logged, :warning, _line, _meta}
      assert Store.Table.size(context.name) == 99
    end

    test "in its middle, is read but for that", context do
      octets = File.read!(context.path)
      half = div(byte_size(octets), 2)
      <<before::binary-size(half), _lost::binary-size(1_000), rest::binary>> = octets
      File.write!(context.path, before <> String.duplicate(<<0>>, 1_000) <> rest)
      start(context)
      assert_received {:logged, :warning, _line, _meta}
      assert Store.Table.size(context.name) in 80..99
      assert found(context, "u1") == ["sip:a@h"]
      assert found(context, "u100") == ["sip:a@h"]
    end

    test "at its beginning, is left alone", context do
      "" <> octets = File.read!(context.path)
      damaged = "damaged" <> octets
      File.write!(context.path, damaged)
      assert {:not_a_log_file, _path} = refusal(context)
      assert File.read!(context.path) == damaged
    end

    test "or empty, is left alone", context do
      File.write!(context.path, "")
      assert {:not_a_log_file, _path} = refusal(context)
    end
  end

  describe "a file that is none" do
    test "but another log, is left alone", context do
      {:ok, log} = :disk_log.open(name: make_ref(), file: to_charlist(context.path))
      :ok = :disk_log.log(log, :other)
      :ok = :disk_log.close(log)
      before = File.read!(context.path)
      assert refusal(context) == :not_a_file_of_bindings
      assert File.read!(context.path) == before
    end

    test "or in no folder, is refused", context do
      assert {:file_error, _path, :enoent} =
               refusal(%{context | path: Path.join(context.path, "none")})
    end
  end

  describe "a file that can't be written" do
    # As if the log were not there.
    defp break(pid) do
      :sys.replace_state(pid, fn state ->
        Store.Journal.close(state.journal)
        state
      end)
    end

    test "has REGISTERs answered 500, and nothing found", context do
      pid = start(context)
      register!(context, "bob", ["sip:a@h"])
      break(pid)
      assert {:error, response} = Store.register(context.store, register("bob", ["sip:b@h"]))
      assert response.start_line.status_code == 500
      assert found(context, "bob") == ["sip:a@h"]
      assert Process.alive?(pid)
    end

    test "or not synced, ends the store", context do
      pid = start(context, sync_after: 1_000_000)
      monitor = Process.monitor(pid)
      break(pid)
      send(pid, :sync)

      assert_receive {:DOWN, ^monitor, :process, ^pid, {:bindings_file, _path, :no_such_log}},
                     5_000
    end
  end

  describe "a file that grows" do
    @describetag timeout: 120_000

    test "is written anew, and has all that there is", context do
      start(context)

      1..10_300
      |> Task.async_stream(
        fn n ->
          register!(context, "u#{rem(n, 100)}", ["sip:#{n}@h"], [],
            when_full: :replace_oldest,
            max_bindings: 1
          )
        end,
        max_concurrency: 100,
        timeout: 60_000
      )
      |> Stream.run()

      assert File.stat!(context.path).size < 1_000_000
      before = for n <- 0..99, do: found(context, "u#{n}")
      stop(context)
      start(context)
      assert for(n <- 0..99, do: found(context, "u#{n}")) == before
      refute File.exists?(context.path <> ".new")
    end
  end
end
