defmodule Sippet.Robustness.Flooder do
  @moduledoc false
  # Sends so many datagrams, as fast as a socket takes them or at a rate, in a BEAM of its own. They come from another address than
  # the callers that must not suffer. What comes back is counted by its status.

  alias Sippet.Robustness.Machine

  @ip {127, 0, 0, 66}

  # With the answers of a whole burst waiting, the kernel drops what is too much: they are only counted.
  @room 4_194_304

  @type result :: %{sent: non_neg_integer, seconds: float, answers: %{String.t() => pos_integer}}

  @typedoc "Datagrams a second."
  @type rate :: pos_integer | :full

  @doc """
  Floods an address, and gives what was sent and what came back. `kind` is `:malformed`, or `{method, user}` of requests
  whose tags, Call-IDs and branches all differ; several are sent in turn. `{:large, uri, octets}` are INVITEs of that size
  whose headers take the most terms.
  """
  @spec run({:inet.ip_address(), :inet.port_number()}, term, pos_integer, rate) :: result
  def run(address, kind, count, rate) do
    peer = Machine.start(:sender)
    arguments = [address, kind, count, rate, seeds(kind)]
    result = :peer.call(peer, __MODULE__, :flood, arguments, 120_000)
    :peer.stop(peer)
    result
  end

  # The malformed messages that the parser's tests keep, and octets that are none.
  defp seeds(:malformed) do
    for(file <- Path.wildcard("test/fixtures/{bad,rfc4475}/*.dat"), do: File.read!(file))
    |> Enum.filter(&(byte_size(&1) in 1..8_192))
    |> Kernel.++(for size <- [1, 100, 1_000], do: :crypto.strong_rand_bytes(size))
  end

  defp seeds(_requests), do: []

  @doc false
  def flood({ip, port}, kind, count, rate, seeds) do
    {:ok, socket} = :socket.open(:inet, :dgram, :udp)
    :ok = :socket.setopt(socket, {:socket, :rcvbuf}, @room)
    :ok = :socket.bind(socket, %{family: :inet, addr: @ip, port: 0})
    {:ok, %{port: local}} = :socket.sockname(socket)
    counter = spawn_link(fn -> listen(socket) end)

    to = %{family: :inet, addr: ip, port: port}
    make = maker(kind, List.to_tuple(seeds), local)
    start = System.monotonic_time(:millisecond)
    send_all(%{socket: socket, to: to, make: make, rate: rate, start: start}, count, count)
    ms = System.monotonic_time(:millisecond) - start

    # The answers that are on their way.
    Process.sleep(2_000)
    send(counter, {:tell, self()})
    answers = receive(do: ({^counter, answers} -> answers), after: (5_000 -> %{}))
    :socket.close(socket)
    %{sent: count, seconds: max(ms, 1) / 1_000, answers: answers}
  end

  defp send_all(_how, 0, _count), do: :ok

  defp send_all(how, left, count) do
    _sent_or_refused = :socket.sendto(how.socket, how.make.(left), how.to)
    if how.rate != :full and rem(left, together(how.rate)) == 0, do: keep_to(how, count - left)
    send_all(how, left - 1, count)
  end

  # As often as a timer is exact.
  defp together(rate), do: rate |> div(500) |> max(1) |> min(20)

  defp keep_to(how, sent) do
    ahead = how.start + div(sent * 1_000, how.rate) - System.monotonic_time(:millisecond)
    if ahead > 0, do: Process.sleep(ahead)
  end

  defp maker(:malformed, seeds, _local), do: &elem(seeds, rem(&1, tuple_size(seeds)))

  defp maker({:large, uri, octets}, _seeds, local) do
    run = System.unique_integer([:positive])
    &large(uri, octets, "#{run}x#{&1}", "127.0.0.66:#{local}")
  end

  defp maker(kinds, _seeds, local) do
    kinds = kinds |> List.wrap() |> List.to_tuple()
    run = System.unique_integer([:positive])
    here = "127.0.0.66:#{local}"
    &request(elem(kinds, rem(&1, tuple_size(kinds))), "#{run}x#{&1}", here)
  end

  defp request({method, user}, id, here) do
    IO.iodata_to_binary([
      [method, " sip:", user, "@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP ", here],
      [";rport;branch=z9hG4bK", id, "\r\nMax-Forwards: 70\r\nFrom: <sip:mallory@", here],
      [">;tag=", id, "\r\nTo: <sip:", user, "@127.0.0.1>\r\nCall-ID: ", id],
      ["\r\nCSeq: 1 ", method, "\r\nContact: <sip:mallory@", here],
      ">\r\nContent-Length: 0\r\n\r\n"
    ])
  end

  # Of what fits into a datagram short header fields of names of their own take the most terms.
  defp large(uri, octets, id, here) do
    start =
      IO.iodata_to_binary([
        ["INVITE ", uri, " SIP/2.0\r\nVia: SIP/2.0/UDP ", here, ";rport;branch=z9hG4bK", id],
        ["\r\nMax-Forwards: 70\r\nFrom: <sip:mallory@", here, ">;tag=", id, "\r\nTo: <", uri],
        [">\r\nCall-ID: ", id, "\r\nCSeq: 1 INVITE\r\nContact: <sip:mallory@", here, ">\r\n"]
      ])

    start <> fill(octets - byte_size(start) - 2) <> "\r\n"
  end

  defp fill(octets) do
    line = &"X-#{String.pad_leading(Integer.to_string(&1), 6, "0")}: 1\r\n"
    size = byte_size(line.(1))
    lines = min(div(octets, size), 4_000)
    last = "Y: " <> String.duplicate("y", octets - lines * size - 5) <> "\r\n"
    IO.iodata_to_binary([for(number <- 1..(lines - 1), do: line.(number)), line.(lines), last])
  end

  # Lower than the sender, which shall not wait for it.
  defp listen(socket) do
    Process.flag(:priority, :low)
    listen(socket, %{})
  end

  defp listen(socket, answers) do
    receive do
      {:tell, pid} -> send(pid, {self(), answers})
    after
      0 ->
        case :socket.recvfrom(socket, 0, [], 100) do
          {:ok, {_from, <<"SIP/2.0 ", status::binary-size(3), _rest::binary>>}} ->
            listen(socket, Map.update(answers, status, 1, &(&1 + 1)))

          _other ->
            listen(socket, answers)
        end
    end
  end
end
