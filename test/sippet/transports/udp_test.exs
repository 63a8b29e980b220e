defmodule Sippet.Transports.UDPTest do
  use ExUnit.Case, async: true

  alias Sippet.{Stack, Transport}
  alias Sippet.Transports.UDP

  @loopback {127, 0, 0, 1}
  @loopback6 {0, 0, 0, 0, 0, 0, 0, 1}

  # A stack of its board alone.
  defmodule Stage do
    use Supervisor

    def start_link({name, test}), do: Supervisor.start_link(__MODULE__, {name, test})

    @impl true
    def init({name, test}) do
      stack = Stack.create(name, %{test: test, telemetry: Sippet.Transports.UDPTest.Listener})
      Supervisor.init([{Stack.Board, stack}], strategy: :one_for_one)
    end
  end

  # Router and telemetry of that stack: the test is told what they get.
  defmodule Listener do
    def handle_transport_message(_stack, "raise" <> _, _remote), do: raise("a defect")
    def handle_transport_message(_stack, "exit" <> _, _remote), do: exit(:noproc)
    def handle_transport_message(_stack, "flood" <> _, _remote), do: :ok

    def handle_transport_message(stack, "wait", _remote) do
      tell(stack, {:waiting, self()})

      receive do
        :go -> :ok
      end
    end

    def handle_transport_message(stack, data, remote),
      do: tell(stack, {:taken, data, remote, self()})

    def receive_unreachable(stack, destination, reason),
      do: tell(stack, {:unreachable, destination, reason})

    def execute([:sippet, _, event], measurements, metadata),
      do: tell(metadata.stack, {event, measurements, metadata})

    defp tell(stack, message) do
      Kernel.send(Stack.fetch!(stack).options.test, message)
      :ok
    end
  end

  setup context do
    name = :"#{inspect(__MODULE__)} #{context.test}"
    on_exit(fn -> :persistent_term.erase({Stack, name}) end)
    unless context[:no_stack], do: start_stack(name)
    %{name: name}
  end

  defp start_stack(name), do: start_supervised!({Stage, {name, self()}})

  defp start_udp(name, options \\ []) do
    options = Keyword.merge([name: name, port: 0, address: "127.0.0.1"], options)

    start_supervised!(%{
      id: make_ref(),
      start: {UDP, :start_link, [options, Listener]},
      restart: :temporary
    })
  end

  defp port(udp) do
    {:ok, {_ip, port}} = UDP.sockname(udp)
    port
  end

  defp peer(ip \\ @loopback, options \\ []) do
    family = if tuple_size(ip) == 8, do: :inet6, else: :inet
    {:ok, peer} = :gen_udp.open(0, [:binary, family, active: true, ip: ip] ++ options)
    {:ok, {_ip, port}} = :inet.sockname(peer)
    {peer, port}
  end

  defp closed_port(ip) do
    {peer, port} = peer(ip)
    :gen_udp.close(peer)
    port
  end

  defp transport(name, udp), do: Enum.find(Stack.transports(Stack.fetch!(name)), &(&1.pid == udp))

  defp send_by(transport, destination, octets),
    do: Transport.send(transport, destination, nil, octets, nil)

  # Shows what a process gets, so that a test can wait for it. What it does then is done after `settle/1`.
  defp trace(pid), do: :erlang.trace(pid, true, [:receive])
  defp settle(pid), do: :sys.get_state(pid)

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

      for option <- ~w(name port address recbuf sndbuf batch stun retry),
          do: assert(text =~ "`:#{option}` (")
    end

    test "finds the family of an address", %{name: name} do
      start_stack(name)

      for {address, ip} <- [
            {"127.0.0.1", @loopback},
            {{"127.0.0.1", :inet}, @loopback},
            {"localhost", @loopback},
            {"::1", @loopback6},
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
      settle(udp)
      :gen_udp.close(peer)
      assert_receive {:trace, ^udp, :receive, :open}
      assert UDP.sockname(udp) == {:ok, {@loopback, port}}
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
      :ok = stop_supervised(Stage)
      assert_receive {:trace, ^udp, :receive, {:DOWN, _, :process, _, _}}
      settle(udp)
      {peer, _port} = peer()
      :ok = :gen_udp.send(peer, @loopback, port, "meanwhile")
      start_stack(name)
      assert_receive {:taken, "meanwhile", _remote, ^udp}, 2_000
      assert %Transport{address: {@loopback, ^port}} = transport(name, udp)
    end

    test "is found again by a new board of the same stack", %{name: name} do
      udp = start_udp(name)
      trace(udp)
      Process.exit(Process.whereis(Stack.Board.name(name)), :kill)
      assert_receive {:trace, ^udp, :receive, {:DOWN, _, :process, _, _}}
      settle(udp)
      {peer, _port} = peer()
      :ok = :gen_udp.send(peer, @loopback, port(udp), "after")
      assert_receive {:taken, "after", _remote, ^udp}, 2_000
      assert [%Transport{pid: ^udp}] = Stack.transports(Stack.fetch!(name))
    end
  end

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
        host = List.to_string(:inet.ntoa(@ip))
        assert send_by(context.transport, {host, from}, "text") == :ok
        assert_receive {:udp, ^peer, @ip, ^port, "text"}
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

      test "a larger one is refused, and the next goes out", context do
        too_large = :binary.copy("x", @limit + 1)
        assert send_by(context.transport, {@ip, context.from}, too_large) == {:error, :emsgsize}
        assert send_by(context.transport, {@ip, context.from}, "next") == :ok
        peer = context.peer
        assert_receive {:udp, ^peer, @ip, _port, "next"}
        refute_received {:unreachable, _destination, _reason}
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
        assert_receive {:unreachable, {@ip, ^closed}, :econnrefused}, 1_000
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

        assert_receive {:unreachable, {@ip, ^closed}, :econnrefused}
        refute_received {:unreachable, {@ip, ^from}, _reason}
        refute_received {:error, _measurements, _metadata}
      end
    end
  end

  describe "what is no message" do
    setup %{name: name} do
      udp = start_udp(name, stun: :ignore)
      {peer, from} = peer()
      %{udp: udp, port: port(udp), peer: peer, from: from}
    end

    test "RFC5626§3.5.1 line ends alone are counted and dropped", context do
      %{peer: peer, port: port, from: from} = context
      datagrams = ["\r\n\r\n", "\r\n", "\n", "", :binary.copy("\r\n", 10_000)]
      for data <- datagrams, do: :ok = :gen_udp.send(peer, @loopback, port, data)

      for data <- datagrams do
        bytes = byte_size(data)
        remote = {:udp, @loopback, from}
        assert_receive {:dropped, %{bytes: ^bytes}, %{reason: :keep_alive, remote: ^remote}}
      end

      :ok = :gen_udp.send(peer, @loopback, port, "\r\n\r\nX")
      assert_receive {:taken, "\r\n\r\nX", _remote, _udp}
      refute_received {:taken, _data, _remote, _udp}
    end

    test "STUN is dropped without an answer if that is wanted", %{peer: peer, port: port} do
      :ok = :gen_udp.send(peer, @loopback, port, <<1::16, 0::16, 0x2112A442::32, "abcdefghijkl">>)
      :ok = :gen_udp.send(peer, @loopback, port, "SIP")
      assert_receive {:dropped, %{bytes: 20}, %{reason: :stun}}
      assert_receive {:taken, "SIP", _remote, _udp}
      refute_received {:udp, ^peer, _ip, _port, _answer}
    end

    test "messages in the mailbox are counted", %{udp: udp, peer: peer, port: port} do
      strange = [
        :hello,
        {:udp_error, peer, :econnrefused},
        {:udp, peer, @loopback, 5060, "SIP"},
        {:DOWN, make_ref(), :process, self(), :normal},
        {:"$socket", make_ref(), :select, make_ref()},
        {:"$socket", make_ref(), :abort, {make_ref(), :closed}},
        :open,
        :register
      ]

      for message <- strange do
        Kernel.send(udp, message)
        assert_receive {:error, _, %{reason: {:unexpected_message, ^message}}}
      end

      Kernel.send(udp, :read)
      GenServer.cast(udp, :cast)
      assert_receive {:error, _, %{reason: {:unexpected_message, :cast}}}
      assert GenServer.call(udp, :call) == {:error, :unknown_request}
      assert_receive {:error, _, %{reason: {:unexpected_message, :call}}}

      :ok = :gen_udp.send(peer, @loopback, port, "alive")
      assert_receive {:taken, "alive", _remote, ^udp}
    end
  end

  describe "the process" do
    @tag :capture_log
    test "survives what the stack does with a datagram", %{name: name} do
      udp = start_udp(name)
      {peer, _from} = peer()
      for data <- ~w(raise exit alive), do: :gen_udp.send(peer, @loopback, port(udp), data)
      assert_receive {:taken, "alive", _remote, ^udp}
    end

    test "leaves a flood to the kernel, and is there after it", %{name: name} do
      udp = start_udp(name)
      port = port(udp)
      {peer, _from} = peer()
      :ok = :gen_udp.send(peer, @loopback, port, "wait")
      assert_receive {:waiting, ^udp}

      garbage = "flood" <> :crypto.strong_rand_bytes(400)
      for _ <- 1..20_000, do: :gen_udp.send(peer, @loopback, port, garbage)
      assert {:message_queue_len, 0} = Process.info(udp, :message_queue_len)

      Kernel.send(udp, :go)
      assert arrives?(peer, port, 1_000)
      {:memory, memory} = Process.info(udp, :memory)
      assert memory < 1_000_000
    end

    test "looks after its messages between batches", %{name: name} do
      udp = start_udp(name, batch: 1)
      {peer, _from} = peer()
      port = port(udp)
      :ok = :gen_udp.send(peer, @loopback, port, "wait")
      assert_receive {:waiting, ^udp}
      :ok = :gen_udp.send(peer, @loopback, port, "first")
      :ok = :gen_udp.send(peer, @loopback, port, "second")
      Kernel.send(udp, :hello)
      Kernel.send(udp, :go)
      assert_receive {:taken, "second", _remote, _udp}
      {:messages, told} = Process.info(self(), :messages)

      assert [{:error, _, %{reason: {:unexpected_message, :hello}}}, {:taken, "first", _, _}] =
               told
    end

    @tag :capture_log
    test "ends with its socket", %{name: name} do
      udp = start_udp(name)
      ref = Process.monitor(udp)
      :ok = :socket.close(transport(name, udp).handle.socket)
      assert_receive {:DOWN, ^ref, :process, ^udp, {:socket, :closed}}
    end

    # The kernel's buffer is full of garbage at first: what comes then is lost.
    defp arrives?(_peer, _port, 0), do: false

    defp arrives?(peer, port, attempts) do
      :ok = :gen_udp.send(peer, @loopback, port, "alive")

      receive do
        {:taken, "alive", _remote, _udp} -> true
      after
        10 -> arrives?(peer, port, attempts - 1)
      end
    end
  end

  describe "send_message/4" do
    setup %{name: name} do
      transport = transport(name, start_udp(name))
      {peer, from} = peer()
      %{transport: transport, peer: peer, from: from}
    end

    test "resolves names in the caller's process", %{transport: transport, peer: peer, from: from} do
      assert send_by(transport, {"localhost", from}, "hello") == :ok
      assert_receive {:udp, ^peer, @loopback, _port, "hello"}
    end

    test "resolves none in the process that receives", %{transport: transport, from: from} do
      own = %{transport | handle: %{transport.handle | owner: self()}}
      assert send_by(own, {"localhost", from}, "hello") == {:error, :not_an_address}
      assert send_by(own, {"127.0.0.1", from}, "hello") == :ok
    end

    test "gives what can't be a destination back", %{transport: transport, from: from} do
      for {destination, reason} <- [
            {{"", from}, :nxdomain},
            {{"no.such.invalid", from}, :nxdomain},
            {{String.duplicate("a", 60_000), from}, :nxdomain},
            {{"a b", from}, :nxdomain},
            {{<<0>>, from}, :nxdomain},
            {{<<255, 195>>, from}, :nxdomain},
            {{"[::1]", from}, :nxdomain},
            {{"::1", from}, :eafnosupport},
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
