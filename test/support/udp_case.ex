defmodule Sippet.UDPCase do
  @moduledoc false
  # Tests of the UDP transport alone: each gets a stack of its registrations alone, under a name of its own, unless tagged
  # `:no_stack`, and hears what its transports hand to the router and to telemetry.

  use ExUnit.CaseTemplate

  alias Sippet.{Stack, Transport}
  alias Sippet.Transports.UDP

  @loopback {127, 0, 0, 1}

  using do
    quote do
      import Sippet.UDPCase

      alias Sippet.{Stack, Transport}
      alias Sippet.Transports.UDP

      @loopback {127, 0, 0, 1}
      @loopback6 {0, 0, 0, 0, 0, 0, 0, 1}
    end
  end

  # A stack of its registrations alone.
  defmodule Stage do
    @moduledoc false
    use Supervisor

    def start_link({name, options}), do: Supervisor.start_link(__MODULE__, {name, options})

    @impl true
    def init({name, options}) do
      options = Stack.Options.new([name: name, telemetry: Sippet.UDPCase.Listener], options)
      stack = Stack.create(options, nil)
      Supervisor.init([{Transport.Registrations, stack}], strategy: :one_for_one)
    end
  end

  # Router and telemetry of that stack: the test is told what they get.
  defmodule Listener do
    @moduledoc false

    def queue_transport_message(_stack, "raise" <> _, _remote), do: raise("a defect")
    def queue_transport_message(_stack, "exit" <> _, _remote), do: exit(:noproc)
    def queue_transport_message(_stack, "flood" <> _, _remote), do: :ok

    def queue_transport_message(stack, "wait", _remote), do: wait(stack)

    # A stack that has enough to do at first.
    def queue_transport_message(stack, "busy" <> _ = data, remote) do
      if Process.put(data, :refused) == :refused do
        tell(stack, {:taken, data, remote, self()})
      else
        tell(stack, {:refused, data})
        {:error, :busy}
      end
    end

    # A stack that is gone takes nothing.
    def queue_transport_message(stack, data, remote) do
      if Process.whereis(Transport.Registrations.name(stack)),
        do: tell(stack, {:taken, data, remote, self()}),
        else: :ok
    end

    def receive_unreachable(stack, {:udp, ip, port}, reason, quoted),
      do: tell(stack, {:unreachable, {ip, port}, reason, quoted})

    def flush(_stack), do: :ok

    def execute([:sippet, _, event], measurements, metadata),
      do: tell(metadata.stack, {event, measurements, metadata})

    defp wait(stack) do
      tell(stack, {:waiting, self()})

      receive do
        :go -> :ok
      end
    end

    defp tell(stack, message) do
      Kernel.send(Stack.fetch!(stack).options.private.test, message)
      :ok
    end
  end

  setup context do
    name = :"#{inspect(context.module)} #{context.test}"
    on_exit(fn -> :persistent_term.erase({Stack, name}) end)
    unless context[:no_stack], do: start_stack(name)
    %{name: name}
  end

  def start_stack(name),
    do: start_supervised!({Stage, {name, %{test: self()}}})

  def start_udp(name, options \\ []) do
    options = Keyword.merge([name: name, port: 0, address: "127.0.0.1"], options)

    start_supervised!(%{
      id: make_ref(),
      start: {UDP, :start_link, [options, Listener]},
      restart: :temporary
    })
  end

  def port(udp) do
    {:ok, {_ip, port}} = UDP.sockname(udp)
    port
  end

  def peer(ip \\ @loopback, options \\ []) do
    family = if tuple_size(ip) == 8, do: :inet6, else: :inet
    {:ok, peer} = :gen_udp.open(0, [:binary, family, active: true, ip: ip] ++ options)
    {:ok, {_ip, port}} = :inet.sockname(peer)
    {peer, port}
  end

  def closed_port(ip) do
    {peer, port} = peer(ip)
    :gen_udp.close(peer)
    port
  end

  def transport(name, udp), do: Enum.find(Stack.transports(Stack.fetch!(name)), &(&1.pid == udp))

  def send_by(transport, destination, octets),
    do: Transport.send(transport, destination, nil, octets, nil)

  # Shows what a process gets, so that a test can wait for it. What it does then is done after `settle/1`.
  def trace(pid), do: :erlang.trace(pid, true, [:receive])
  def settle(pid), do: :sys.get_state(pid)
end
