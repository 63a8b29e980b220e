defmodule Sippet.Transports.UDPStackTest do
  use ExUnit.Case, async: true

  alias Sippet.{Message, Stack}
  alias Sippet.Transactions.Workers
  alias Sippet.Transports.UDP

  # Answers every request, and shows the test what the core of the stack gets.
  defmodule Core do
    use Sippet.Core

    def receive_request(request, _key, stack),
      do: Sippet.send(stack, Message.to_response(request, 200))

    def receive_response(response, key, stack), do: tell(stack, {:response, response, key})
    def receive_error(reason, key, stack), do: tell(stack, {:error, reason, key})

    defp tell(stack, message), do: send(:persistent_term.get({__MODULE__, stack}), message)
  end

  setup context do
    name = :"#{inspect(__MODULE__)} #{context.test}"
    :persistent_term.put({Core, name}, self())
    on_exit(fn -> :persistent_term.erase({Core, name}) end)
    start_supervised!({Sippet, name: name, core: Core})
    %{name: name}
  end

  defp start_udp(name, address \\ "127.0.0.1") do
    udp = start_supervised!({UDP, name: name, port: 0, address: address})
    {:ok, {ip, port}} = UDP.sockname(udp)
    %{udp: udp, host: List.to_string(:inet.ntoa(ip)), port: port}
  end

  defp options(from, {host, port}) do
    Message.build_request(:options, "sip:somebody@example.com")
    |> Map.put(:target, {:udp, host, port})
    |> Message.put_header(:via, [{{2, 0}, :udp, {from.host, from.port}, %{}}])
    |> Message.put_header(:from, {"", Sippet.URI.parse!("sip:a@example.com"), %{}})
    |> Message.complete()
  end

  for address <- ["127.0.0.1", "::1"] do
    test "a request goes out and its answer comes back over #{address}", %{name: name} do
      far = :"#{name} far"
      start_supervised!({Sippet, name: far, core: Core})
      there = start_udp(far, unquote(address))
      here = start_udp(name, unquote(address))
      assert Sippet.send(name, options(here, {there.host, there.port})) == :ok

      assert_receive {:response, %{start_line: %{status_code: 200}},
                      %Sippet.Transactions.Client.Key{}}

      refute_received {:error, _reason, _key}
    end
  end

  for {host, ip} <- [
        {"127.0.0.1", {127, 0, 0, 1}},
        {"localhost", {127, 0, 0, 1}},
        {"::1", {0, 0, 0, 0, 0, 0, 0, 1}}
      ] do
    unless :socket.is_supported(:options, :ip, :recverr),
      do: @tag(skip: "the system tells no ICMP errors")

    test "RFC3261§18.4 nobody at #{host} is an error at once", %{name: name} do
      ip = unquote(Macro.escape(ip))
      here = start_udp(name, List.to_string(:inet.ntoa(ip)))
      family = if tuple_size(ip) == 8, do: :inet6, else: :inet
      {:ok, nobody} = :gen_udp.open(0, [family, ip: ip])
      {:ok, port} = :inet.port(nobody)
      :gen_udp.close(nobody)

      request = options(here, {unquote(host), port})
      assert Sippet.send(name, request) == :ok
      assert_receive {:error, :econnrefused, key}, 2_000
      assert key == Sippet.Transactions.Client.Key.new(request)
    end
  end

  test "STUN is not answered without end", %{name: name} do
    limited = :"#{name} limited"
    start_supervised!({Sippet, name: limited, core: Core, max_requests: 10})
    here = start_udp(limited)
    {:ok, client} = :gen_udp.open(0, [:binary, ip: {127, 0, 0, 1}, active: true])
    binding = <<1::16, 0::16, 0x2112A442::32, "abcdefghijkl">>
    for _ <- 1..100, do: :ok = :gen_udp.send(client, {127, 0, 0, 1}, here.port, binding)

    # Of this second, or of this and the next.
    assert answers(client, 0) in 1..20
  end

  defp answers(client, count) do
    receive do
      {:udp, ^client, _ip, _port, _answer} -> answers(client, count + 1)
    after
      200 -> count
    end
  end

  # An error as anybody can make it who knows both addresses, and the octets that it quotes.
  defp icmp(here, {peer_ip, peer_port}, quoted) do
    udp = <<here.port::16, peer_port::16, 8 + byte_size(quoted)::16, 0::16>>
    own = Tuple.to_list({127, 0, 0, 1}) |> :binary.list_to_bin()
    far = Tuple.to_list(peer_ip) |> :binary.list_to_bin()
    length = 20 + 8 + byte_size(quoted)
    ip = <<0x45, 0, length::16, 0::16, 0::16, 64, 17, 0::16, own::binary, far::binary>>
    # Type 3, code 3: port unreachable.
    message = fn sum -> <<3, 3, sum::16, 0::32, ip::binary, udp::binary, quoted::binary>> end
    message.(checksum(message.(0), 0))
  end

  defp checksum(<<word::16, rest::binary>>, sum), do: checksum(rest, sum + word)
  defp checksum(<<octet>>, sum), do: checksum(<<octet, 0>>, sum)

  defp checksum(<<>>, sum) when sum > 0xFFFF,
    do: checksum(<<>>, Bitwise.band(sum, 0xFFFF) + Bitwise.bsr(sum, 16))

  defp checksum(<<>>, sum), do: Bitwise.bxor(sum, 0xFFFF)

  # Raw sockets are root's.
  raw? = with {:ok, socket} <- :socket.open(:inet, :raw, :icmp), do: :socket.close(socket) == :ok

  unless raw? == true and :socket.is_supported(:options, :ip, :recverr),
    do: @tag(skip: "this user may not make ICMP errors, or the system tells none")

  test "RFC3261§18.4 a forged error ends the transaction whose branch it knows, and no other", %{
    name: name
  } do
    here = start_udp(name)
    {:ok, silent} = :gen_udp.open(0, [:binary, ip: {127, 0, 0, 1}, active: false])
    {:ok, port} = :inet.port(silent)
    requests = for _ <- 1..100, do: options(here, {"127.0.0.1", port})
    for request <- requests, do: :ok = Sippet.send(name, request)

    {:ok, raw} = :socket.open(:inet, :raw, :icmp)
    there = %{family: :inet, addr: {127, 0, 0, 1}, port: 0}
    forge = &:socket.sendto(raw, icmp(here, {{127, 0, 0, 1}, port}, &1), there)

    for quoted <- [
          "",
          "OPTIONS sip:",
          "OPTIONS sip:b SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKx\r\n"
        ],
        do: :ok = forge.(quoted)

    refute_receive {:error, _reason, _key}, 200
    assert Sippet.stats(name).transport_error == 3

    {:ok, {_ip, _port, octets}} = :gen_udp.recv(silent, 0, 1_000)
    first = Message.parse!(octets)
    :ok = forge.(binary_part(octets, 0, 200))
    assert_receive {:error, :econnrefused, key}, 1_000
    assert key == Sippet.Transactions.Client.Key.new(first)
    refute_receive {:error, _reason, _key}, 100
    :socket.close(raw)
  end

  @tag :capture_log
  test "garbage is refused, and a call goes on", %{name: name} do
    here = start_udp(name)
    {:ok, peer} = :gen_udp.open(0, [:binary, active: false, ip: {127, 0, 0, 1}])
    :rand.seed(:exsss, {1, 2, 3})

    for number <- 1..20_000 do
      garbage =
        if rem(number, 2) == 0,
          do: :rand.bytes(100),
          else: "INVITE sip:x SIP/2.0\r\n" <> :rand.bytes(80)

      :ok = :gen_udp.send(peer, {127, 0, 0, 1}, here.port, garbage)
    end

    assert answered?(peer, here, 1_000)
    assert Process.alive?(here.udp)
    assert Sippet.stats(name).message_refused > 0
  end

  # The kernel's buffer may be full of garbage: what comes then is lost.
  defp answered?(_peer, _here, 0), do: false

  defp answered?(peer, here, attempts) do
    {:ok, port} = :inet.port(peer)
    request = options(%{host: "127.0.0.1", port: port}, {here.host, here.port})

    :ok =
      :gen_udp.send(peer, {127, 0, 0, 1}, here.port, Message.to_iodata(%{request | target: nil}))

    case :gen_udp.recv(peer, 0, 20) do
      {:ok, {_ip, _port, "SIP/2.0 200" <> _}} -> true
      {:ok, _other} -> answered?(peer, here, attempts)
      {:error, :timeout} -> answered?(peer, here, attempts - 1)
    end
  end

  test "what was to be sent goes out before the transport is stopped", %{name: name} do
    here = start_udp(name)
    {:ok, phone} = :gen_udp.open(0, [:binary, ip: {127, 0, 0, 1}, active: true])
    {:ok, port} = :inet.port(phone)

    # The workers have other things to do, for a while.
    workers = Workers.names(Stack.fetch!(name))
    Enum.each(workers, &:sys.suspend/1)
    assert Sippet.send(name, options(here, {"127.0.0.1", port})) == :ok

    spawn(fn ->
      Process.sleep(100)
      Enum.each(workers, &:sys.resume/1)
    end)

    :ok = stop_supervised({UDP, name, "127.0.0.1", 0})
    assert_receive {:udp, ^phone, _ip, _port, "OPTIONS " <> _octets}, 1_000
  end

  test "and is not waited for without end", %{name: name} do
    start_udp(name)
    stack = Stack.fetch!(name)
    Enum.each(Workers.names(stack), &:sys.suspend/1)
    assert Sippet.Router.flush(name, 10) == :ok
    Enum.each(Workers.names(stack), &:sys.resume/1)
  end
end
