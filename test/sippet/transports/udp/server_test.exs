defmodule Sippet.Transports.UDP.ServerTest do
  use Sippet.UDPCase, async: true

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

    test "STUN is dropped without an answer if that is wanted", context do
      :ok =
        :gen_udp.send(
          context.peer,
          @loopback,
          context.port,
          <<1::16, 0::16, 0x2112A442::32, "abcdefghijkl">>
        )

      :ok = :gen_udp.send(context.peer, @loopback, context.port, "SIP")
      assert_receive {:dropped, %{bytes: 20}, %{reason: :stun}}
      assert_receive {:taken, "SIP", _remote, _udp}

      # An answer would have come before this.
      transport = transport(context.name, context.udp)
      assert send_by(transport, {@loopback, context.from}, "after") == :ok
      peer = context.peer
      assert_receive {:udp, ^peer, _ip, _port, "after"}
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

  describe "the option :largest" do
    test "never lets a part of a datagram pass for the whole", %{name: name} do
      udp = start_udp(name, largest: 1_000)
      {peer, from} = peer()

      for size <- [1_000, 1_001, 65_507, 999],
          do: :ok = :gen_udp.send(peer, @loopback, port(udp), :binary.copy("x", size))

      assert_receive {:taken, first, _remote, _udp}
      assert_receive {:taken, second, _remote, _udp}
      assert {byte_size(first), byte_size(second)} == {1_000, 999}
      remote = {:udp, @loopback, from}
      for _ <- 1..2, do: assert_received({:dropped, _, %{reason: :truncated, remote: ^remote}})
      refute_received {:taken, _data, _remote, _udp}
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
      # A batch of them at most has left the kernel.
      assert {:message_queue_len, waiting} = Process.info(udp, :message_queue_len)
      assert waiting <= 100

      Kernel.send(udp, :go)
      assert arrives?(peer, port, 1_000)
      {:memory, memory} = Process.info(udp, :memory)
      assert memory < 1_000_000
    end

    test "keeps what the stack has no room for, and all in order", %{name: name} do
      udp = start_udp(name)
      port = port(udp)
      {peer, _from} = peer()
      datagrams = ["first", "busy 1", "second", "busy 2", "third"]
      for data <- datagrams, do: :ok = :gen_udp.send(peer, @loopback, port, data)
      taken = for _ <- datagrams, do: elem(assert_receive({:taken, _data, _remote, ^udp}), 1)
      assert taken == datagrams
      for data <- ["busy 1", "busy 2"], do: assert_received({:refused, ^data})
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
      :erlang.port_close(transport(name, udp).handle.receiver)
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
end
