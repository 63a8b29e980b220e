defmodule Sippet.Transport.CourierTest do
  use ExUnit.Case, async: true

  @moduletag :capture_log

  import Sippet.Wait

  alias Sippet.{Message, Stack}
  alias Sippet.Transport.Registrations

  # A transport as version 1.0 had them: its process is called for each message.
  defmodule Old do
    use GenServer

    def start_link({stack, test}), do: GenServer.start_link(__MODULE__, {stack, test})

    @impl true
    def init({stack, test}) do
      :ok = Sippet.register_transport(stack, :udp, false)
      {:ok, test}
    end

    @impl true
    def handle_call({:send_message, message, _host, _port, _key}, from, test) do
      send(test, {:asked, message, from})
      {:noreply, test}
    end
  end

  setup context do
    name = :"#{inspect(context.module)} #{context.test}"
    start_supervised!({Sippet, name: name})
    old = start_supervised!({Old, {name, self()}})
    %{stack: name, old: old}
  end

  defp courier(stack) do
    [transport] = Stack.transports(Stack.fetch!(stack))
    transport.handle
  end

  defp options do
    via = {{2, 0}, :udp, {"127.0.0.1", 5060}, %{"branch" => Message.create_branch()}}
    uri = Sippet.URI.parse!("sip:127.0.0.1:9")

    %{
      Message.build_request(:options, "sip:127.0.0.1:9")
      | headers: %{
          via: [via],
          from: {"", uri, %{"tag" => "a"}},
          to: {"", uri, %{}},
          call_id: Message.create_call_id(),
          cseq: {1, :options},
          max_forwards: 70
        }
    }
  end

  test "waits for a transport of the 1.0 kind, so that nobody else does", %{stack: stack} do
    :ok = Sippet.send(stack, options())
    :ok = Sippet.send(stack, options())
    assert_receive {:asked, _message, from}
    # The second one waits behind the first.
    refute_received {:asked, _message, _from}
    GenServer.reply(from, :ok)
    assert_receive {:asked, _message, _from}
  end

  test "that was killed has a successor", %{stack: stack} do
    killed = courier(stack)
    Process.exit(killed, :kill)
    wait_until(fn -> courier(stack) != killed end)
    :ok = Sippet.send(stack, options())
    assert_receive {:asked, _message, _from}
  end

  test "ends with its transport and with its stack", %{stack: stack} do
    of_stack = Process.monitor(courier(stack))
    registrations = Process.whereis(Registrations.name(stack))
    Process.exit(registrations, :kill)
    assert_receive {:DOWN, ^of_stack, :process, _pid, _reason}

    wait_until(fn -> Process.whereis(Registrations.name(stack)) not in [nil, registrations] end)
    wait_until(fn -> Process.alive?(courier(stack)) end)
    of_transport = Process.monitor(courier(stack))
    stop_supervised!(Old)
    assert_receive {:DOWN, ^of_transport, :process, _pid, _reason}
    wait_until(fn -> Stack.transports(Stack.fetch!(stack)) == [] end)
    assert Process.alive?(Process.whereis(Registrations.name(stack)))
  end
end
