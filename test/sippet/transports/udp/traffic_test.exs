defmodule Sippet.Transports.UDP.TrafficTest do
  use Sippet.UDPCase, async: true

  for {family, ip, limit} <- [{:ip, @loopback, 65_507}, {:ipv6, @loopback6, 65_527}] do
    describe "#{family}" do
      @ip ip
      @limit limit
      @errors :socket.is_supported(:options, family, :recverr)

      setup %{name: name} do
        udp = start_udp(name, address: List.to_string(:inet.ntoa(@ip)))
        {peer, from} = peer(@ip, buffer: 65_536, sndbuf: 200_000, recbuf: 200_000)
        %{udp: udp, port: port(udp), peer: peer, from: from, transport: transport(name, udp)}
      end

      test "datagrams come in and go out", context do
        %{udp: udp, port: port, peer: peer, from: from} = context
        :ok = :gen_udp.send(peer, @ip, port, "in")
        assert_receive {:taken, "in", {:udp, @ip, ^from}, ^udp}
        assert send_by(context.transport, {@ip, from}, ["o", [?u], "t"]) == :ok
        assert_receive {:udp, ^peer, @ip, ^port, "out"}
      end

      test "the largest datagrams come in whole and go out whole", context do
        %{port: port, peer: peer, from: from} = context

        for size <- [8_192, 8_193, @limit] do
          data = :binary.copy("x", size)
          :ok = :gen_udp.send(peer, @ip, port, data)
          assert_receive {:taken, ^data, _remote, _udp}
          assert send_by(context.transport, {@ip, from}, data) == :ok
          assert_receive {:udp, ^peer, @ip, ^port, ^data}
        end
      end

      test "a datagram keeps no more memory than its octets", context do
        :ok = :gen_udp.send(context.peer, @ip, context.port, :binary.copy("x", 500))
        assert_receive {:taken, data, _remote, _udp}
        assert :binary.referenced_byte_size(data) == 500
      end

      test "a larger one is refused, and the next goes out", context do
        too_large = :binary.copy("x", @limit + 1)
        assert send_by(context.transport, {@ip, context.from}, too_large) == {:error, :emsgsize}
        assert send_by(context.transport, {@ip, context.from}, "next") == :ok
        peer = context.peer
        assert_receive {:udp, ^peer, @ip, _port, "next"}
        refute_received {:unreachable, _destination, _reason, _quoted}
      end

      test "STUN is answered and never taken for SIP", context do
        %{port: port, peer: peer, from: from} = context
        request = <<1::16, 0::16, 0x2112A442::32, "abcdefghijkl">>
        :ok = :gen_udp.send(peer, @ip, port, request)
        assert_receive {:udp, ^peer, @ip, ^port, answer}
        assert Sippet.Transports.STUN.answer(request, {@ip, from}) == {:ok, answer}

        :ok = :gen_udp.send(peer, @ip, port, <<0, 0, 0, 0>>)
        :ok = :gen_udp.send(peer, @ip, port, "SIP")
        assert_receive {:dropped, %{bytes: 20}, %{reason: :stun, remote: {:udp, @ip, ^from}}}
        assert_receive {:dropped, %{bytes: 4}, %{reason: :stun}}
        assert_receive {:taken, "SIP", _remote, _udp}
        refute_received {:taken, _data, _remote, _udp}
      end

      unless @errors, do: @tag(skip: "the system tells no ICMP errors")

      test "RFC3261§18.4 a closed port is told with its address", context do
        closed = closed_port(@ip)
        assert send_by(context.transport, {@ip, closed}, "anybody?") == :ok
        assert_receive {:unreachable, {@ip, ^closed}, :econnrefused, "anybody?"}, 1_000
      end

      unless @errors, do: @tag(skip: "the system tells no ICMP errors")

      test "errors of one destination don't touch what goes to another", context do
        %{peer: peer, from: from} = context
        closed = closed_port(@ip)

        for number <- 1..100 do
          text = Integer.to_string(number)
          assert send_by(context.transport, {@ip, closed}, "anybody?") == :ok
          assert send_by(context.transport, {@ip, from}, text) == :ok
          assert_receive {:udp, ^peer, @ip, _port, ^text}
        end

        assert_receive {:unreachable, {@ip, ^closed}, :econnrefused, _quoted}
        refute_received {:unreachable, {@ip, ^from}, _reason, _quoted}
        refute_received {:error, _measurements, _metadata}
      end
    end
  end

  describe "send_message/4" do
    setup %{name: name} do
      transport = transport(name, start_udp(name))
      {peer, from} = peer()
      %{transport: transport, peer: peer, from: from}
    end

    unless :socket.is_supported(:options, :ip, :recverr),
      do: @tag(skip: "the system tells no ICMP errors")

    test "RFC3261§18.4 tells each of many, whoever hears of it first", %{transport: transport} do
      closed = for _ <- 1..30, do: closed_port(@loopback)

      closed
      |> Task.async_stream(&send_by(transport, {@loopback, &1}, "anybody?"), max_concurrency: 30)
      |> Enum.each(&assert &1 == {:ok, :ok})

      for port <- Enum.uniq(closed),
          do: assert_receive({:unreachable, {@loopback, ^port}, :econnrefused, _quoted})
    end

    test "gives what can't be a destination back", %{transport: transport, from: from} do
      for {destination, reason} <- [
            {{"localhost", from}, :einval},
            {{"127.0.0.1", from}, :einval},
            {{@loopback6, from}, :eafnosupport},
            {{{1, 2}, from}, :eafnosupport},
            {{@loopback, 0}, :einval},
            {{@loopback, 99_999}, :einval},
            {{@loopback, -1}, :einval}
          ] do
        assert {destination, send_by(transport, destination, "x")} ==
                 {destination, {:error, reason}}
      end
    end

    test "gives an error when the transport is gone", %{transport: transport, from: from} do
      ref = Process.monitor(transport.pid)
      Process.exit(transport.pid, :kill)
      assert_receive {:DOWN, ^ref, :process, _pid, :killed}
      assert send_by(transport, {@loopback, from}, "x") == {:error, :closed}
    end
  end
end
