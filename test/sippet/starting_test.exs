defmodule Sippet.StartingTest do
  # What a programmer gets wrong at the start, and is told.
  use Sippet.StackCase, async: true

  import ExUnit.CaptureLog

  alias Sippet.{LogHandler, Stack, Transports.UDP}

  @moduletag :capture_log

  defmodule NoCallbacks do
    def receive_request(_request, _key), do: :ok
  end

  defp lines(level, lines \\ []) do
    receive do
      {:logged, ^level, line, _meta} -> lines(level, [line | lines])
    after
      0 -> Enum.reverse(lines)
    end
  end

  describe "a stack" do
    @tag stack: [], transport: false
    test "starts beside processes of its application's names" do
      name = Module.concat(__MODULE__, "App#{System.unique_integer([:positive])}")

      for part <- [Supervisor, Registrations, Resolver, Worker1, Worker2, Worker] do
        start_supervised!(%{
          id: part,
          start: {Agent, :start_link, [fn -> nil end, [name: Module.concat(name, part)]]}
        })
      end

      start_supervised!({Sippet, name: name, core: Sippet.TestCore})
      assert [_ | _] = Sippet.Transactions.Workers.names(Stack.fetch!(name))
      assert %{transactions: 0} = Sippet.stats(name)
    end

    test "registers no name that an application could have", %{stack: stack} do
      names = [
        Sippet.supervisor(stack),
        Sippet.Resolver.name(stack),
        Sippet.Transport.Registrations.name(stack)
        | Sippet.Transactions.Workers.names(Stack.fetch!(stack))
      ]

      for name <- names do
        assert is_pid(Process.whereis(name))
        assert Atom.to_string(name) =~ ~r/^Sippet\.Stack\./
      end
    end

    test "may have a name as long as an atom" do
      name = String.to_atom(String.duplicate("n", 255))
      assert {:ok, pid} = Sippet.start_link(name: name)
      assert %{transactions: 0} = Sippet.stats(name)
      Supervisor.stop(pid)
    end

    test "tells which callbacks its core lacks" do
      assert_raise ArgumentError,
                   ~r/receive_error\/2 or \/3.*use Sippet\.Core.*NoCallbacks/,
                   fn ->
                     Sippet.start_link(name: :starting_without, core: NoCallbacks)
                   end
    end

    test "registers a core that lacks callbacks as version 1.0 did, and tells", %{stack: stack} do
      LogHandler.attach(stack)
      assert :ok = Sippet.register_core(stack, NoCallbacks)
      assert [line] = lines(:warning)
      assert line =~ ~r/register_core\/2: .*receive_error\/2 or \/3/
      assert :ok = Sippet.register_core(stack, Sippet.TestCore)
      assert lines(:warning) == []
    end
  end

  describe "without a core" do
    @tag stack: [core: nil]
    test "requests get 500, and one line says so", %{stack: stack} do
      LogHandler.attach(stack)

      for _ <- 1..20 do
        deliver(stack, wire("OPTIONS"))
        assert_sent(500)
      end

      assert [line] = lines(:error)
      assert line =~ "no core is registered"
      assert line =~ "Sippet.register_core/2"
      assert %{core_failed: 0, core_missing: 20} = Sippet.stats(stack)
      Sippet.register_core(stack, Sippet.TestCore)
      deliver(stack, wire("OPTIONS"))
      assert_receive {:receive_request, _request, _key}
    end
  end

  describe "a transport" do
    test "is told after a second that no stack has its name" do
      name = :"nobody #{System.unique_integer([:positive])}"
      LogHandler.attach(name)
      started = System.monotonic_time(:millisecond)
      start_supervised!({UDP, name: name, port: 0, address: "127.0.0.1"})
      assert_receive {:logged, :warning, line, _meta}, 3_000
      assert System.monotonic_time(:millisecond) - started >= 1_000
      assert line =~ "no stack of this name runs"
      assert line =~ "{Sippet, name: #{inspect(name)}}"
      refute_receive {:logged, _level, _line, _meta}, 1_500
    end

    test "is told again every minute, as long as it lasts" do
      alias Sippet.Transports.Attachment
      assert {false, at} = Attachment.warning(nil, 5_000)
      assert {false, ^at} = Attachment.warning(at, 5_999)
      assert {true, next} = Attachment.warning(at, 6_000)
      assert {false, ^next} = Attachment.warning(next, 65_999)
      assert {true, _later} = Attachment.warning(next, 66_000)
    end

    test "says nothing where the stack comes within a second" do
      name = :"late #{System.unique_integer([:positive])}"

      log =
        capture_log(fn ->
          udp = start_supervised!({UDP, name: name, port: 0, address: "127.0.0.1"})
          start_supervised!({Sippet, name: name})
          Sippet.Wait.wait_until(fn -> Stack.transports(Stack.fetch!(name)) != [] end)
          assert [%{pid: ^udp}] = Stack.transports(Stack.fetch!(name))
        end)

      refute log =~ inspect(name)
    end

    test "takes an address as a tuple", %{stack: stack} do
      one = start_supervised!({UDP, name: stack, port: 0, address: {127, 0, 0, 1}})
      assert {:ok, {{127, 0, 0, 1}, _port}} = UDP.sockname(one)
      six = start_supervised!({UDP, name: stack, port: 0, address: {0, 0, 0, 0, 0, 0, 0, 1}})
      assert {:ok, {{0, 0, 0, 0, 0, 0, 0, 1}, _port}} = UDP.sockname(six)

      for wrong <- [{127, 0, 0, 256}, {127, 0, 0}, {{127, 0, 0, 1}, :inet}] do
        assert_raise ArgumentError, ~r/:address/, fn ->
          UDP.start_link(name: stack, port: 0, address: wrong)
        end
      end
    end
  end
end
