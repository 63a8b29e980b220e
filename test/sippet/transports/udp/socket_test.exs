defmodule Sippet.Transports.UDP.SocketTest do
  use ExUnit.Case, async: true

  alias Sippet.Transports.UDP.Socket

  @remote {{192, 0, 2, 1}, 5060}

  # As `:socket.recvmsg/5` gives it.
  defp message(error, origin, type, code) do
    value = %{error: error, origin: origin, type: type, code: code, info: 0, data: 0}

    %{
      addr: %{family: :inet, addr: {192, 0, 2, 1}, port: 5060},
      ctrl: [%{level: :ip, type: :recverr, data: "", value: value}],
      flags: [:errqueue],
      iov: ["OPT", "IONS"]
    }
  end

  describe "RFC3261§18.4 unreachable/1" do
    for {error, origin, type, code} <- [
          {:enetunreach, :icmp, :dest_unreach, :net_unreach},
          {:ehostunreach, :icmp, :dest_unreach, :host_unreach},
          {:econnrefused, :icmp, :dest_unreach, :port_unreach},
          {:enoprotoopt, :icmp, :dest_unreach, 2},
          {:eproto, :icmp, 12, 0},
          {:enetunreach, :icmp6, :dest_unreach, :noroute},
          {:econnrefused, :icmp6, :dest_unreach, :port_unreach},
          {:eproto, :icmp6, 4, 0}
        ] do
      test "tells of #{origin} #{type} #{code}" do
        message = message(unquote(error), unquote(origin), unquote(type), unquote(code))
        assert Socket.unreachable(message) == [{@remote, unquote(error), "OPTIONS"}]
      end
    end

    for {error, origin, type, code} <- [
          {:emsgsize, :icmp, :dest_unreach, :frag_needed},
          {:ehostunreach, :icmp, :time_exceeded, 0},
          {:ehostunreach, :icmp, 4, 0},
          {:emsgsize, :icmp6, :pkt_toobig, 0},
          {:ehostunreach, :icmp6, :time_exceeded, 0},
          {:emsgsize, :local, 0, 0},
          {:econnrefused, :local, :dest_unreach, 0}
        ] do
      test "leaves #{origin} #{type} #{code} alone" do
        message = message(unquote(error), unquote(origin), unquote(type), unquote(code))
        assert Socket.unreachable(message) == []
      end
    end

    test "leaves what it can't read alone" do
      assert Socket.unreachable(%{ctrl: [], flags: [], iov: []}) == []

      assert Socket.unreachable(%{message(:x, :icmp, :dest_unreach, 0) | ctrl: [%{type: 1}]}) ==
               []
    end
  end

  describe "the end of a socket's process" do
    unless File.dir?("/proc/self/fdinfo"), do: @tag(skip: "the system has no /proc")

    test "leaves the description non-blocking, by which a driver may still read" do
      test = self()
      options = %{recbuf: 65_536, sndbuf: 65_536, largest: 65_507}

      {owner, ref} =
        spawn_monitor(fn ->
          {:ok, socket} = Socket.open(:inet, {127, 0, 0, 1}, 0, options)
          {:ok, descriptor} = :inet.getfd(socket.receiver)
          send(test, {:descriptor, descriptor})
          Process.sleep(:infinity)
        end)

      assert_receive {:descriptor, descriptor}
      {:ok, other} = :socket.open(descriptor, %{domain: :inet, type: :dgram, protocol: :udp})
      {:ok, kept} = :socket.getopt(other, {:otp, :fd})
      assert nonblocking?(kept)

      Process.exit(owner, :kill)
      assert_receive {:DOWN, ^ref, :process, ^owner, :killed}
      Process.sleep(20)
      assert nonblocking?(kept)
      :ok = :socket.close(other)
    end

    defp nonblocking?(descriptor) do
      [_, flags] = Regex.run(~r/flags:\s+(\d+)/, File.read!("/proc/self/fdinfo/#{descriptor}"))
      Bitwise.band(String.to_integer(flags, 8), 0o4000) != 0
    end
  end
end
