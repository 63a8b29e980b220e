defmodule Sippet.Transport.RegistrationsTest do
  use ExUnit.Case, async: true

  import Sippet.Wait

  alias Sippet.{Message, Stack, Transport, URI}
  alias Sippet.Transport.{Delivery, Outgoing}

  # A transport as they were written for version 1.0 registers in its own process, and is called for each message.
  defmodule Legacy do
    use GenServer

    def start_link(arguments), do: GenServer.start_link(__MODULE__, arguments)

    @impl true
    def init({stack, test}) do
      :ok = Sippet.register_transport(stack, :udp, false)
      {:ok, test}
    end

    @impl true
    def handle_call({:send_message, message, host, port, _key}, from, test) do
      send(test, {:called, message.start_line.method, host, port, from})
      {:noreply, test}
    end
  end

  describe "the process that waits for a transport of version 1.0" do
    setup do
      name = :"registrations#{System.unique_integer([:positive])}"
      start_supervised!({Sippet, name: name})
      transport = start_supervised!({Legacy, {name, self()}})
      %{stack: Stack.fetch!(name), transport: transport}
    end

    test "waits, so that nobody else does", %{stack: stack} do
      assert post(stack) == :ok
      assert post(stack) == :ok
      assert_receive {:called, :options, "192.0.2.1", 5060, from}, 3_000
      # The second one waits behind the first.
      refute_received {:called, _method, _host, _port, _from}
      GenServer.reply(from, :ok)
      assert_receive {:called, :options, "192.0.2.1", 5060, _from}, 3_000
    end

    test "ends with the registrations, and begins with them", %{stack: stack} do
      before = courier(stack)
      ref = Process.monitor(before)
      kill(Process.whereis(Transport.Registrations.name(stack.name)))
      assert_receive {:DOWN, ^ref, :process, ^before, _reason}, 3_000
      wait_until(fn -> courier(stack) != before and Process.alive?(courier(stack)) end)
      stop_supervised!(Legacy)
      wait_until(fn -> Stack.transports(stack) == [] end)
      assert Process.alive?(Process.whereis(Transport.Registrations.name(stack.name)))
    end

    test "is replaced when it was killed", %{stack: stack} do
      kill_courier(stack)
      assert post(stack) == :ok
      assert_receive {:called, :options, "192.0.2.1", 5060, _from}, 3_000
    end

    test "is replaced when it was killed after the registrations", %{stack: stack} do
      kill(Process.whereis(Transport.Registrations.name(stack.name)))
      wait_until(fn -> Process.whereis(Transport.Registrations.name(stack.name)) != nil end)
      kill_courier(stack)
      assert post(stack) == :ok
      assert_receive {:called, :options, "192.0.2.1", 5060, _from}, 3_000
    end

    test "ends with the transport", %{stack: stack} do
      courier = Process.monitor(courier(stack))
      stop_supervised!(Legacy)
      assert_receive {:DOWN, ^courier, :process, _pid, :normal}, 3_000
      wait_until(fn -> Stack.transports(stack) == [] end)
    end
  end

  defp kill_courier(stack) do
    killed = courier(stack)
    kill(killed)
    wait_until(fn -> courier(stack) != killed end)
  end

  defp courier(stack) do
    [%{handle: courier}] = Stack.transports(stack)
    courier
  end

  defp kill(pid) do
    ref = Process.monitor(pid)
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^ref, :process, ^pid, _reason}
  end

  defp post(stack) do
    [transport] = Stack.transports(stack)
    uri = URI.parse!("sip:192.0.2.1")
    request = Message.build_request(:options, uri)
    octets = IO.iodata_to_binary(Message.to_iodata(request))

    Delivery.post(stack, %Outgoing{
      transport: transport,
      destination: {{192, 0, 2, 1}, 5060},
      octets: octets,
      message: request
    })
  end
end
