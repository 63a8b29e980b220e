defmodule Sippet.Trace.HEP do
  @options [
    stack: [type: :atom, required: true, doc: "the name of the stack"],
    collector: [
      type: {:custom, &__MODULE__.collector?/1, "{ip, port}"},
      required: true,
      doc: "where the packets go; Homer listens at port 9060"
    ],
    capture_id: [
      type: {:custom, &__MODULE__.id?/1, "an integer in 0..4294967295"},
      default: 1,
      doc: "the number by which the collector knows this agent"
    ],
    auth_key: [
      type: {:custom, &__MODULE__.key?/1, "a string of at most 1,024 octets"},
      default: nil,
      doc: "the key that the collector may ask for; it goes as plain text"
    ],
    address: [
      type: {:custom, &:inet.is_ip_address/1, "an IP address as a tuple"},
      default: nil,
      doc:
        "what is told as the stack's own address where its transport listens at all addresses of the machine"
    ]
  ]

  @moduledoc """
  Sends what a stack receives and sends to [Homer](https://sipcapture.org), or any other collector of HEP version 3.

      children = [
        {Sippet, name: :mystack, core: MyApp.Core},
        {Sippet.Transports.UDP, name: :mystack, port: 5060},
        {Sippet.Trace.HEP, stack: :mystack, collector: {{192, 0, 2, 20}, 9060}, capture_id: 2001}
      ]

  Each message goes in a UDP datagram of its own, with its time in microseconds, its addresses and ports, and its
  Call-ID as the correlation id: what Kamailio's module siptrace sends.

  The export never holds up the stack. Its process takes what comes out of a bounded mailbox; where it can't follow, messages are
  left out and counted as `:missed`. What can't be sent is counted as `:failed` and not tried again, and no
  line is logged for it. It may be started before its stack, and stays when that is started anew.

  The packet has the address to which the message went. If the transport gets the name of a host,
  as one of the 1.0 kind does, the packet has the unspecified address.

  ## Options

  #{Sippet.Options.docs(@options)}
  """

  use GenServer

  alias Sippet.Options
  alias Sippet.Stack.Tap
  alias Sippet.Transport.Registrations
  alias Sippet.Trace.Entry
  alias Sippet.Trace.HEP.Packet

  # More than any stack here handles: what bounds the export is its mailbox.
  @per_second 1_000_000

  # Until a stack that was not there is looked for again, in ms.
  @wait 500

  @doc """
  Starts the export; see the options above.

  Raises `ArgumentError` for an option that is missing, unknown or of the wrong type.
  """
  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(options),
    do: GenServer.start_link(__MODULE__, Options.validate!(options, @options))

  @doc """
  A child specification; its id has the stack's name and the collector.
  """
  @spec child_spec(keyword) :: Supervisor.child_spec()
  def child_spec(options) do
    %{
      id: {__MODULE__, options[:stack], options[:collector]},
      start: {__MODULE__, :start_link, [options]}
    }
  end

  @doc """
  How many messages were sent, could not be sent, and were left out because they came too fast.
  """
  @spec stats(GenServer.server()) :: %{
          sent: non_neg_integer,
          failed: non_neg_integer,
          missed: non_neg_integer
        }
  def stats(server), do: GenServer.call(server, :stats)

  @impl true
  def init(options) do
    {ip, _port} = options.collector
    family = if tuple_size(ip) == 8, do: :inet6, else: :inet

    case :gen_udp.open(0, [:binary, family, active: false]) do
      {:ok, socket} ->
        tap = Tap.new(self(), @per_second)
        state = %{options: options, socket: socket, tap: tap, sent: 0, failed: 0}
        {:ok, attach(state)}

      {:error, reason} ->
        {:stop, reason}
    end
  end

  defp attach(%{options: %{stack: stack}, tap: tap} = state) do
    :ok = Registrations.attach(stack, tap)
    Process.monitor(Registrations.name(stack))
    state
  catch
    # The stack is not there: not yet, or no more.
    :exit, _reason ->
      Process.send_after(self(), :attach, @wait)
      state
  end

  @impl true
  def handle_call(:stats, _from, state) do
    stats = state |> Map.take([:sent, :failed]) |> Map.put(:missed, Tap.missed(state.tap))
    {:reply, stats, state}
  end

  @impl true
  def handle_info({:tapped, _in_or_out, _time, _protocol, _local, _remote, octets} = told, state) do
    Tap.taken(state.tap, octets)
    {:noreply, told |> Entry.tapped() |> export(state)}
  end

  def handle_info({:DOWN, _ref, :process, _board, _reason}, state), do: {:noreply, attach(state)}
  def handle_info(:attach, state), do: {:noreply, attach(state)}
  def handle_info(_message, state), do: {:noreply, state}

  # Line ends that keep a way open are no message.
  defp export(%Entry{error: %{reason: :empty_message}}, state), do: state

  defp export(entry, %{options: %{collector: {ip, port}}} = state) do
    with {:ok, packet} <- Packet.encode(entry, state.options),
         :ok <- :gen_udp.send(state.socket, ip, port, packet) do
      %{state | sent: state.sent + 1}
    else
      _error -> %{state | failed: state.failed + 1}
    end
  end

  ## What options may be

  @doc false
  def collector?({ip, port}), do: :inet.is_ip_address(ip) and port in 1..65_535
  def collector?(_other), do: false

  @doc false
  def id?(id), do: id in 0..0xFFFF_FFFF

  @doc false
  def key?(key), do: is_binary(key) and byte_size(key) in 1..1_024
end
