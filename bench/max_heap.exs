# The smallest `max_heap_size` with which a stack works, in words: `mix run bench/max_heap.exs [ROUNDS]`.
#
# For each kind of traffic a stack is started and loaded under one limit after another, until the smallest is found under
# which no process of it is killed. The limit is set by `:erlang.system_flag/2` before the stack starts, so that it holds
# for its processes alone. The traffic is repeated ROUNDS (5) times under each limit.

Code.require_file("support.exs", __DIR__)
Code.require_file("worst.exs", __DIR__)

defmodule Bench.MaxHeap.Kills do
  # A handler of the logger that counts what the VM says of processes over the limit.
  def log(%{msg: msg}, %{config: counter}) do
    if inspect(msg, limit: :infinity) =~ "maximum heap size reached",
      do: :counters.add(counter, 1, 1)
  end
end

defmodule Bench.MaxHeap.Core do
  use Sippet.Core

  def receive_request(_ack, nil, _stack), do: :ok

  def receive_request(request, _key, stack),
    do: Sippet.send(stack, Sippet.Message.to_response(request, 200))

  def receive_response(_response, _key, _stack), do: :ok
  def receive_error(_reason, _key, _stack), do: :ok
end

defmodule Bench.MaxHeap do
  alias Sippet.Transports.UDP

  @largest 65_507
  # Under the first no stack starts, and no input takes as much as the second.
  @least 1_024
  @most 8_388_608
  # What the result is exact to.
  @grain 1.03

  def run(rounds) do
    :logger.remove_handler(:default)
    Logger.remove_backend(:console)
    kills = :counters.new(1, [])
    :ok = :logger.add_handler(:kills, Bench.MaxHeap.Kills, %{config: kills})
    # All code is loaded before, and all that is made once.
    _warm = works?(0, [message(400)], 1, kills)

    rows =
      for {name, datagrams} <- traffic() do
        words = least(&works?(&1, datagrams, rounds, kills))
        [name, Bench.whole(words), Bench.whole(words * 8 / 1_024) <> " KB"]
      end

    Bench.table(["traffic", "words", "memory"], rows)
  end

  defp traffic do
    worst = Enum.map(Bench.Worst.cases(), fn {_name, make} -> datagram(make) end)

    [
      {"none: the stack starts", []},
      {"requests of 0.4 KB, one at a time", [message(400)]},
      {"requests of 4 KB", [message(4_096)]},
      {"requests of 64 KB", [message(@largest)]},
      {"a burst of 2,000 requests of 0.4 KB", {:burst, 2_000, [message(400)]}},
      {"worst cases of 64 KB, one at a time", worst},
      {"a burst of 400 worst cases of 64 KB", {:burst, 400, worst}}
    ]
  end

  defp datagram(make) do
    octets = make.(@largest - 600)
    binary_part(octets, 0, min(@largest, byte_size(octets)))
  end

  # A request whose size is made up of headers of usual lengths.
  defp message(size) do
    head =
      "OPTIONS sip:bob@127.0.0.1 SIP/2.0\r\nMax-Forwards: 70\r\nFrom: <sip:alice@atlanta.example>;tag=1\r\n" <>
        "To: <sip:bob@127.0.0.1>\r\nCall-ID: a84b4c76e66710\r\nCSeq: 1 OPTIONS\r\n" <>
        "Via: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK776asdhds;rport\r\n"

    lines = Stream.map(Stream.iterate(1, &(&1 + 1)), &"X-Header-#{&1}: some words of a value\r\n")
    head <> Bench.Worst.take(lines, max(size - byte_size(head) - 60, 0)) <> "\r\n"
  end

  # By halves, of the ratio.
  defp least(works?), do: least(@least, @most, works?)
  defp least(low, high, _works?) when high <= low * @grain, do: high

  defp least(low, high, works?) do
    middle = round(:math.sqrt(low * high))
    if works?.(middle), do: least(low, middle, works?), else: least(middle, high, works?)
  end

  # In a process of its own, which the limit holds for no more than for the sender.
  defp works?(words, traffic, rounds, kills) do
    before = :counters.get(kills, 1)
    was = :erlang.system_flag(:max_heap_size, %{size: words, kill: true, error_logger: true})
    started = start()
    # The sockets that send are this process's, which is older than the limit.
    if started != :error, do: load(started, traffic, rounds)
    :erlang.system_flag(:max_heap_size, was)
    stop(started)
    # What the VM says goes by way of the logger's process.
    :logger.get_handler_ids()
    Process.sleep(50)
    started != :error and :counters.get(kills, 1) == before
  end

  defp start do
    name = :"heap#{System.unique_integer([:positive])}"
    Process.flag(:trap_exit, true)
    options = [name: name, core: Bench.MaxHeap.Core, max_requests: :infinity]

    with {:ok, stack} <- Sippet.start_link(options),
         {:ok, transport} <- UDP.start_link(name: name, port: 0, address: "127.0.0.1"),
         {:ok, {_ip, port}} <- UDP.sockname(transport) do
      Process.sleep(20)
      {name, stack, transport, port}
    else
      _error -> :error
    end
  catch
    :exit, _reason -> :error
  end

  defp stop(:error), do: :ok

  defp stop({_name, stack, transport, _port}) do
    for pid <- [transport, stack], Process.alive?(pid) do
      Process.unlink(pid)
      ref = Process.monitor(pid)
      Process.exit(pid, :shutdown)

      receive do
        {:DOWN, ^ref, _, _, _} -> :ok
      after
        10_000 -> Process.exit(pid, :kill)
      end
    end
  end

  defp load(stack, {:burst, count, datagrams}, rounds) do
    many = datagrams |> Stream.cycle() |> Enum.take(count)
    {:ok, socket} = :gen_udp.open(0, [:binary, active: false, recbuf: 4_194_304])

    for _ <- 1..rounds do
      for datagram <- many, do: send_datagram(socket, stack, datagram)
      Process.sleep(300)
    end

    :gen_udp.close(socket)
  end

  defp load(stack, datagrams, rounds) do
    {:ok, socket} = :gen_udp.open(0, [:binary, active: false])

    for _ <- 1..rounds, datagram <- datagrams do
      send_datagram(socket, stack, datagram)
      :gen_udp.recv(socket, 0, 40)
    end

    :gen_udp.close(socket)
  end

  # Each is a request of its own, and of a call of its own.
  defp send_datagram(socket, {_name, _stack, _transport, port}, datagram) do
    unique = Integer.to_string(System.unique_integer([:positive]), 36)

    datagram =
      datagram
      |> String.replace("branch=z9hG4bKa\r", "branch=z9hG4bK#{unique}\r")
      |> String.replace("branch=z9hG4bK776asdhds", "branch=z9hG4bK#{unique}")
      |> String.replace("Call-ID: a", "Call-ID: #{unique}")

    :gen_udp.send(
      socket,
      {127, 0, 0, 1},
      port,
      binary_part(datagram, 0, min(byte_size(datagram), @largest))
    )
  end
end

rounds =
  case System.argv() do
    [rounds | _] -> String.to_integer(rounds)
    [] -> 5
  end

Bench.MaxHeap.run(rounds)
