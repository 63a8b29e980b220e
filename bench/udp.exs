# What one datagram costs the process that takes it, in nanoseconds: `mix run --no-start bench/udp.exs`.
#
# A socket's buffer is filled, then emptied against the clock; the better of several rounds counts. `:socket` is what
# the UDP transport uses, copy included; the others are what it might have used.

defmodule Bench.UDP do
  alias Sippet.Transports.UDP.Socket

  @loopback {127, 0, 0, 1}
  # So many fit the buffer of 4 MiB that Linux gives.
  @count 2_000
  @rounds 9
  @room %{recbuf: 4_194_304, sndbuf: 1_048_576, largest: 65_535}

  def run do
    ways = [
      {":socket, recvfrom and copy", &socket/1},
      {":gen_udp, active: true", &gen_udp(&1, true, [])},
      {":gen_udp, active: 100", &gen_udp(&1, 100, [])},
      {":gen_udp, active: 100, read_packets: 64", &gen_udp(&1, 100, read_packets: 64)}
    ]

    for size <- [400, 1_200], {name, way} <- ways do
      best = Enum.min(for _ <- 1..@rounds, do: way.(size))

      IO.puts(
        "#{String.pad_leading("#{size}", 5)} octets  #{String.pad_trailing(name, 42)} #{best}"
      )
    end
  end

  defp socket(size) do
    {:ok, socket} = Socket.open(:inet, @loopback, 0, @room)
    {:ok, {_ip, port}} = Socket.sockname(socket)
    fill(port, size)
    nanos = clock(fn -> take(socket, @count) end)
    :socket.close(socket.socket)
    nanos
  end

  defp take(_socket, 0), do: :ok

  defp take(socket, left) do
    {:ok, _remote, _data} = Socket.read(socket)
    take(socket, left - 1)
  end

  defp gen_udp(size, active, options) do
    room = [recbuf: @room.recbuf, buffer: 65_536]
    {:ok, socket} = :gen_udp.open(0, [:binary, active: false, ip: @loopback] ++ room ++ options)
    {:ok, port} = :inet.port(socket)
    fill(port, size)

    nanos =
      clock(fn ->
        :inet.setopts(socket, active: active)
        collect(socket, active, @count)
      end)

    :gen_udp.close(socket)
    nanos
  end

  defp collect(_socket, _active, 0), do: :ok

  defp collect(socket, active, left) do
    receive do
      {:udp, ^socket, _ip, _port, _data} ->
        collect(socket, active, left - 1)

      {:udp_passive, ^socket} ->
        :inet.setopts(socket, active: active)
        collect(socket, active, left)
    end
  end

  defp fill(port, size) do
    {:ok, peer} = :gen_udp.open(0, [:binary, ip: @loopback])
    data = :binary.copy("x", size)
    for _ <- 1..@count, do: :ok = :gen_udp.send(peer, @loopback, port, data)
    :gen_udp.close(peer)
  end

  defp clock(fun) do
    {micros, :ok} = :timer.tc(fun)
    div(micros * 1_000, @count)
  end
end

Bench.UDP.run()
