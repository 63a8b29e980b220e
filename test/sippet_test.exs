defmodule SippetTest do
  use Sippet.StackCase, async: true

  @moduletag :capture_log

  alias Sippet.{Stack, TestCore, TestTransport, Transactions, Transport, Transports}
  alias Sippet.Transactions.{Client, Server}

  import Sippet, only: [sigil_K: 2]
  import Sippet.Wait

  defmodule Silent do
    use Sippet.Core

    def receive_request(request, _key, stack),
      do: Sippet.send(stack, Sippet.Message.to_response(request, 200))
  end

  defp request(method, uri \\ "sip:127.0.0.1:9") do
    headers = method |> wire() |> Message.parse!() |> Map.fetch!(:headers)
    %{Message.build_request(method, uri) | headers: headers}
  end

  describe "start_link/1" do
    test "wants a name, which is an atom" do
      assert_raise ArgumentError, "expected :name option to be present", fn ->
        Sippet.start_link([])
      end

      assert_raise ArgumentError, ~s(expected :name to be an atom, got: "x"), fn ->
        Sippet.start_link(name: "x")
      end
    end

    test "refuses what it does not know, and values of another type" do
      for bad <- [
            [colour: :red],
            [t1: 0],
            [t2: "4000"],
            [core: :no_such_module],
            [max_transactions: -1],
            [obey_maddr: 1]
          ] do
        assert_raise ArgumentError, fn -> Sippet.start_link([name: :never_started] ++ bad) end
      end

      assert Stack.find(:never_started) == nil
    end

    test "fits a supervision tree, with transports, more than once", %{stack: stack} do
      children = [
        {Sippet, name: :"#{stack}.one", core: Silent},
        {Sippet, name: :"#{stack}.two", core: Silent, t1: 100},
        {Transports.UDP, name: :"#{stack}.one", port: 0, address: "127.0.0.1"},
        {Transports.UDP, name: :"#{stack}.two", port: 0, address: "127.0.0.1"}
      ]

      start_supervised!(%{
        id: :tree,
        start: {Supervisor, :start_link, [children, [strategy: :one_for_one]]},
        type: :supervisor
      })

      for name <- [:"#{stack}.one", :"#{stack}.two"] do
        {:ok, {_ip, port}} = Transports.UDP.sockname(name)
        {:ok, socket} = :gen_udp.open(0, [:binary, active: false, ip: {127, 0, 0, 1}])
        :ok = :gen_udp.send(socket, {127, 0, 0, 1}, port, wire("OPTIONS"))
        assert {:ok, {_ip, ^port, "SIP/2.0 200 OK\r\n" <> _}} = :gen_udp.recv(socket, 0, 2_000)
      end
    end

    test "gives stacks of their own timers", %{stack: stack} do
      start_supervised!({Sippet, name: :"#{stack}.slow", t1: 900})
      assert Stack.fetch!(:"#{stack}.slow").options.t1 == 900
      assert Stack.fetch!(:"#{stack}.slow").options.t2 == 4_000
    end
  end

  describe "register_core/2" do
    @tag stack: [core: nil]
    test "names the core of a running stack", %{stack: stack} do
      assert Sippet.register_core(stack, TestCore) == :ok
      deliver(stack, wire("OPTIONS"))
      assert_receive {:receive_request, _request, _key}
      assert Sippet.register_core(stack, Silent) == :ok
      deliver(stack, wire("OPTIONS"))
      assert_sent(200)
    end

    @tag stack: [core: nil]
    test "is missed: requests are answered 500", %{stack: stack} do
      deliver(stack, wire("OPTIONS"))
      assert_sent(500)
    end

    test "wants a stack that is there" do
      assert_raise ArgumentError, fn -> Sippet.register_core(:no_such_stack, Silent) end
    end
  end

  describe "register_transport/3,4" do
    test "allows one of a protocol without an address", %{stack: stack} do
      assert Sippet.register_transport(stack, :tcp, true) == :ok
      assert Sippet.register_transport(stack, :tcp, true) == {:error, :already_registered}
      assert Sippet.register_transport(stack, "QUIC", true) == :ok
    end

    test "allows any number that name theirs", %{stack: stack} do
      via = {TestTransport, self()}

      for n <- 1..3,
          do:
            assert(
              :ok ==
                Sippet.register_transport(stack, :udp, false,
                  address: {{127, 0, 0, 1}, n},
                  via: via
                )
            )

      assert Sippet.register_transport(stack, :udp, false, address: {{127, 0, 0, 1}, 2}, via: via) ==
               {:error, :already_registered}
    end

    test "refuses options that it does not know", %{stack: stack} do
      for bad <- [[adress: 1], [address: {"127.0.0.1", 1}], [via: {NoSuchModule, 1}]] do
        assert_raise ArgumentError, fn -> Sippet.register_transport(stack, :udp, false, bad) end
      end
    end

    test "lasts as long as the process", %{stack: stack} do
      {pid, ref} = spawn_monitor(fn -> :ok = Sippet.register_transport(stack, :tcp, true) end)
      assert_receive {:DOWN, ^ref, :process, ^pid, _reason}
      assert Sippet.register_transport(stack, :tcp, true) == :ok
    end

    test "outlives the process that keeps the list", %{stack: stack} do
      registrations = stack |> Transport.Registrations.name() |> Process.whereis()
      ref = Process.monitor(registrations)
      Process.exit(registrations, :kill)
      assert_receive {:DOWN, ^ref, :process, ^registrations, :killed}
      deliver(stack, wire("OPTIONS"))
      assert_receive {:receive_request, request, _key}
      assert Sippet.send(stack, Message.to_response(request, 200)) == :ok
      assert_sent(200)
    end
  end

  describe "send/2" do
    test "adds Max-Forwards where there is none", %{stack: stack} do
      request = Message.delete_header(request("OPTIONS"), :max_forwards)
      assert Sippet.send(stack, request) == :ok
      assert {%{headers: %{max_forwards: 70}}, {_host, 9}} = assert_sent(:options)
    end

    test "refuses a second transaction of the same branch and method", %{stack: stack} do
      request = request("OPTIONS")
      assert Sippet.send(stack, request) == :ok
      assert Sippet.send(stack, request) == {:error, :already_started}
    end

    test "sends an ACK without a transaction", %{stack: stack} do
      before = Sippet.stats(stack).transactions
      assert Sippet.send(stack, request("ACK")) == :ok
      assert_sent(:ack)
      assert Sippet.stats(stack).transactions == before
    end

    test "starts nothing without a transport", %{stack: stack} do
      assert Sippet.send(stack, request("OPTIONS", "sips:h")) == {:error, :no_transport}
      assert Sippet.send(stack, request("OPTIONS", "tel:1")) == {:error, :no_transport}
      assert Sippet.stats(stack).transaction_started == 0
    end

    test "knows no transaction for a response", %{stack: stack} do
      response = Message.to_response(request("OPTIONS"), 200)
      assert Sippet.send(stack, response) == {:error, :no_transaction}
    end

    test "raises for what is no valid message, in the caller", %{stack: stack} do
      request = request("OPTIONS")

      for bad <- [
            :nothing,
            %Message{},
            Message.delete_header(request, :from),
            Message.put_header(request, :cseq, {1, :invite}),
            Message.put_header(request, :subject, "a\r\nb: c"),
            Message.put_header(request, "X-Foo", ["a\r\n"])
          ] do
        assert_raise ArgumentError, fn -> Sippet.send(stack, bad) end
      end

      assert Sippet.stats(stack).transaction_started == 0
    end

    test "wants a stack that is there" do
      assert_raise ArgumentError, fn -> Sippet.send(:no_such_stack, request("OPTIONS")) end
    end
  end

  describe "reliable?/2" do
    test "goes by the topmost Via", %{stack: stack} do
      refute Sippet.reliable?(stack, request("OPTIONS"))
      :ok = Sippet.register_transport(stack, :tcp, true)
      via = [{{2, 0}, :tcp, {"h", 5060}, %{}}]
      assert Sippet.reliable?(stack, Message.put_header(request("OPTIONS"), :via, via))
      via = [{{2, 0}, :tls, {"h", 5061}, %{}}]

      assert_raise ArgumentError, "protocol not registered", fn ->
        Sippet.reliable?(stack, Message.put_header(request("OPTIONS"), :via, via))
      end
    end
  end

  describe "terminate/2" do
    test "ends a transaction without a word, and ignores unknown keys", %{stack: stack} do
      deliver(stack, wire("OPTIONS"))
      assert_receive {:receive_request, request, key}
      assert Sippet.terminate(stack, key) == :ok
      assert Sippet.terminate(stack, ~K[z9hG4bKnone|invite]) == :ok
      wait_until_ended(stack)
      assert Sippet.send(stack, Message.to_response(request, 200)) == {:error, :no_transaction}
    end

    defp wait_until_ended(stack) do
      if Sippet.stats(stack).transaction_ended == 0, do: wait_until_ended(stack)
    end
  end

  describe "sigil_K/2" do
    test "writes keys" do
      assert ~K[z9hG4bKa|:invite] == Client.Key.new("z9hG4bKa", :invite)
      assert ~K[z9hG4bKa|INVITE] == ~K[z9hG4bKa|invite]
      assert ~K[z9hG4bKa|PING] == Client.Key.new("z9hG4bKa", "PING")

      assert ~K{z9hG4bKa|bye|[::1]:5060} == Server.Key.new("z9hG4bKa", :bye, {"::1", 5060})
      assert_raise ArgumentError, fn -> sigil_K("nothing", []) end
    end
  end

  describe "merged?/2" do
    test "RFC3261§8.2.2.2 tells a request that came by another path too", %{stack: stack} do
      same = [{"Call-ID", "merge"}, {"From", "<sip:a@b>;tag=m"}, {"To", "<sip:c@d>"}]
      deliver(stack, wire("OPTIONS", same))
      assert_receive {:receive_request, first, _key}
      refute Sippet.merged?(stack, first)
      deliver(stack, wire("OPTIONS", same))
      assert_receive {:receive_request, second, _key}
      assert Sippet.merged?(stack, second)
    end
  end

  describe "a finished transaction" do
    setup %{stack: stack} do
      text = wire("OPTIONS")
      deliver(stack, text)
      assert_receive {:receive_request, request, key}
      :ok = Sippet.send(stack, Message.to_response(request, 200))
      assert_receive {:sent, destination, octets, ^key}
      wait_until(fn -> Transactions.unfinished(Stack.fetch!(stack)) == 0 end)
      %{text: text, key: key, destination: destination, octets: octets}
    end

    test "answers again, by the transport that it came in by", context do
      %{stack: stack, key: key, destination: destination, octets: octets} = context
      deliver(stack, context.text)
      assert_receive {:sent, ^destination, ^octets, ^key}
    end

    test "tells the core where that transport is gone", %{stack: stack, key: key} = context do
      Stack.put_transports(Stack.fetch!(stack), [])
      deliver(stack, context.text)
      assert_receive {:receive_error, :closed, ^key}
    end
  end

  describe "the end of a stack" do
    test "is that of its transactions", %{stack: stack} do
      deliver(stack, wire("INVITE"))
      deliver(stack, wire("OPTIONS"))

      requests =
        for _ <- 1..2 do
          assert_receive {:receive_request, request, _key}
          request
        end

      struct = Stack.fetch!(stack)
      assert Transactions.count(struct) == 2
      refs = for pid <- workers(struct), do: Process.monitor(pid)
      stop_supervised!(stack)
      for ref <- refs, do: assert_receive({:DOWN, ^ref, :process, _pid, :shutdown})
      assert Sippet.stats(stack).transactions == 0

      for request <- requests do
        response = Message.to_response(request, 200)
        assert Sippet.send(stack, response) == {:error, :no_transaction}
      end
    end

    defp workers(%Stack{transactions: %{workers: workers}}),
      do: for(name <- Tuple.to_list(workers.names), do: Process.whereis(name))
  end

  describe "a part that is killed" do
    test "again and again comes back, and no transaction is lost", %{stack: stack} do
      deliver(stack, wire("INVITE"))
      assert_receive {:receive_request, invite, _key}
      struct = Stack.fetch!(stack)
      registrations = Process.whereis(Transport.Registrations.name(stack))
      {:dictionary, dictionary} = Process.info(registrations, :dictionary)
      [supervisor | _] = dictionary[:"$ancestors"]

      for _ <- 1..20 do
        before = workers(struct)
        {_id, part, _type, _modules} = part(supervisor)
        ref = Process.monitor(part)
        Process.exit(part, :kill)
        assert_receive {:DOWN, ^ref, :process, ^part, :killed}
        # This waits until the restart is over.
        assert %{active: 3} = Supervisor.count_children(supervisor)
        again = workers(struct)
        assert Enum.all?(again, &is_pid/1)
        assert again -- before == again
      end

      assert Sippet.send(stack, Message.to_response(invite, 200)) == :ok
      assert_sent(200)
      wait_until(fn -> Sippet.stats(stack).pending == 0 end)
    end

    defp part(supervisor),
      do: List.keyfind(Supervisor.which_children(supervisor), Transactions.WorkerSupervisor, 0)
  end
end
