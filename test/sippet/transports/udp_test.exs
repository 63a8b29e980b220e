defmodule Sippet.Transports.UDPTest do
  use Sippet.UDPCase, async: true

  import Sippet.Wait

  describe "start_link/1" do
    @describetag :no_stack

    test "wants the options of version 1.0, with its messages", %{name: name} do
      for {options, message} <- [
            {[], "expected :name option to be present"},
            {[name: "x"], ~s(expected :name to be an atom, got: "x")},
            {[name: name, port: 65_536],
             "expected :port to be an integer in 0..65535, got: 65536"},
            {[name: name, port: -1], "expected :port to be an integer in 0..65535, got: -1"},
            {[name: name, address: :x],
             "expected :address to be an address or {address, family} tuple, got: :x"},
            {[name: name, address: {"::", :ipx}],
             ~s(expected :address to be an address or {address, family} tuple, got: {"::", :ipx})},
            {[name: name, address: "300.0.0.1"],
             ":address contains an invalid IP or DNS name, got: :nxdomain"},
            {[name: name, stun: :maybe], "expected :stun to be :answer or :ignore, got: :maybe"},
            {[name: name, retry: 0],
             "expected :retry to be false or a positive number of milliseconds, got: 0"},
            {[name: name, batch: 0], "expected :batch to be a positive integer, got: 0"}
          ] do
        assert_raise ArgumentError, message, fn -> UDP.start_link(options) end
      end

      assert_raise ArgumentError, ~r/unknown options: \[:active\]/, fn ->
        UDP.start_link(name: name, active: true)
      end
    end

    test "documents each option" do
      {:docs_v1, _, _, _, %{"en" => text}, _, _} = Code.fetch_docs(UDP)

      for option <- ~w(name port address recbuf sndbuf largest batch stun retry),
          do: assert(text =~ "`:#{option}` (")
    end

    test "finds the family of an address", %{name: name} do
      start_stack(name)

      for {address, ip} <- [
            {"127.0.0.1", @loopback},
            {{"127.0.0.1", :inet}, @loopback},
            {"localhost", @loopback},
            {"::1", @loopback6},
            {"[::1]", @loopback6},
            {{"::1", :inet6}, @loopback6}
          ] do
        assert {:ok, {^ip, port}} = UDP.sockname(start_udp(name, address: address))
        assert port in 1..65_535
      end
    end

    test "listens everywhere without an address", %{name: name} do
      start_stack(name)
      udp = start_supervised!({UDP, name: name, port: 0})
      assert {:ok, {{0, 0, 0, 0}, _port}} = UDP.sockname(udp)
    end
  end

  describe "child_spec/1" do
    test "has an id for each stack, address and port" do
      specs =
        for options <- [
              [name: :a],
              [name: :b],
              [name: :a, port: 5070],
              [name: :a, address: "127.0.0.1"],
              [name: :a, address: {"::", :inet6}]
            ],
            do: UDP.child_spec(options)

      assert length(Enum.uniq_by(specs, & &1.id)) == 5
      assert UDP.child_spec(name: :a).id == UDP.child_spec(name: :a, port: 5060).id
      assert hd(specs).start == {UDP, :start_link, [[name: :a]]}
    end
  end

  describe "binding" do
    test "fails to the supervisor", %{name: name} do
      {_peer, port} = peer()
      Process.flag(:trap_exit, true)
      assert {:error, :eaddrinuse} = UDP.start_link(name: name, port: port, address: "127.0.0.1")
      assert Stack.transports(Stack.fetch!(name)) == []
    end

    @tag :capture_log
    test "is tried again if that is wanted", %{name: name} do
      {peer, port} = peer()
      udp = start_udp(name, port: port, retry: 20)
      assert UDP.sockname(udp) == {:error, :not_bound}
      assert UDP.sockname(name) == {:error, :not_bound}

      trace(udp)
      assert_receive {:trace, ^udp, :receive, :open}
      :gen_udp.close(peer)
      wait_until(fn -> UDP.sockname(udp) == {:ok, {@loopback, port}} end)
      assert %Transport{address: {@loopback, ^port}} = transport(name, udp)
    end

    test "lets both families stand on one port, and IPv6 takes IPv6 alone", %{name: name} do
      udp6 = start_udp(name, address: {"::", :inet6})
      port = port(udp6)
      udp4 = start_udp(name, address: "0.0.0.0", port: port)
      {peer, from} = peer()
      :ok = :gen_udp.send(peer, @loopback, port, "four")
      assert_receive {:taken, "four", {:udp, @loopback, ^from}, ^udp4}
      assert [_, _] = Stack.transports(Stack.fetch!(name))
    end
  end

  describe "sockname/1" do
    test "finds the first transport of a stack", %{name: name} do
      assert UDP.sockname(name) == {:error, :not_bound}
      first = start_udp(name)
      _second = start_udp(name)
      assert UDP.sockname(name) == UDP.sockname(first)
    end

    test "raises for no stack" do
      assert_raise ArgumentError, fn -> UDP.sockname(:no_such_stack) end
    end
  end

  describe "registration" do
    test "tells the address and how to send", %{name: name} do
      udp = start_udp(name)
      {:ok, sockname} = UDP.sockname(udp)

      assert %Transport{protocol: :udp, reliable?: false, module: UDP, address: ^sockname} =
               transport(name, udp)
    end

    @tag :no_stack
    test "waits for the stack, and the datagrams do", %{name: name} do
      udp = start_udp(name)
      {peer, _port} = peer()
      :ok = :gen_udp.send(peer, @loopback, port(udp), "early")
      trace(udp)
      assert_receive {:trace, ^udp, :receive, :register}
      start_stack(name)
      assert_receive {:taken, "early", _remote, ^udp}, 2_000
      assert %Transport{} = transport(name, udp)
    end

    test "is made again with a new stack, on the same socket", %{name: name} do
      udp = start_udp(name)
      port = port(udp)
      trace(udp)
      :ok = stop_supervised(Sippet.UDPCase.Stage)
      assert_receive {:trace, ^udp, :receive, {:DOWN, _, :process, _, _}}
      settle(udp)
      {peer, _port} = peer()
      :ok = :gen_udp.send(peer, @loopback, port, "meanwhile")
      start_stack(name)
      assert_receive {:taken, "meanwhile", _remote, ^udp}, 2_000
      assert %Transport{address: {@loopback, ^port}} = transport(name, udp)
    end

    test "is found again by new registrations of the same stack", %{name: name} do
      udp = start_udp(name)
      trace(udp)
      Process.exit(Process.whereis(Transport.Registrations.name(name)), :kill)
      assert_receive {:trace, ^udp, :receive, {:DOWN, _, :process, _, _}}
      settle(udp)
      {peer, _port} = peer()
      :ok = :gen_udp.send(peer, @loopback, port(udp), "after")
      assert_receive {:taken, "after", _remote, ^udp}, 2_000
      assert [%Transport{pid: ^udp}] = Stack.transports(Stack.fetch!(name))
    end
  end
end
