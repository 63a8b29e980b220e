defmodule Sippet.ResolverTest do
  # Names of hosts: what they become, and what waits for them.
  use Sippet.StackCase, async: true

  alias Sippet.Resolver.ResolvConf
  alias Sippet.{NameServer, Resolver, Stack, TestTransport, Transactions}
  alias Sippet.Transactions.Client

  import Sippet.Wait

  doctest ResolvConf, import: true

  @moduletag :capture_log

  @one {192, 0, 2, 1}
  @two {192, 0, 2, 2}

  # The time that a look-up may take in these tests, in ms.
  @timeout 400

  setup context do
    if answer = context[:answers] do
      nameserver = NameServer.start(&apply(__MODULE__, answer, [&1]))

      resolver =
        Keyword.merge([nameservers: [nameserver], timeout: @timeout], context[:resolver] || [])

      name = Module.concat(__MODULE__, "Named#{System.unique_integer([:positive])}")

      options =
        [name: name, core: Sippet.TestCore, resolver: resolver] ++ (context[:options] || [])

      start_supervised!(%{
        id: name,
        start: {Sippet, :start_link, [options, %{test: self()}]},
        type: :supervisor
      })

      for {ip, index} <- Enum.with_index(context[:local] || [{127, 0, 0, 1}]) do
        how = [address: {ip, 5060 + index}, via: {TestTransport, self()}]
        :ok = Sippet.register_transport(name, :udp, false, how)
      end

      %{stack: name}
    else
      :ok
    end
  end

  ## What the name servers say

  # Each time the other first, and nobody may keep it.
  def rotating({"two.example", :a}) do
    turn = :atomics.add_get(:persistent_term.get(__MODULE__), 1, 1)
    {if(rem(turn, 2) == 0, do: [@one, @two], else: [@two, @one]), 0}
  end

  def zone({"known.example", :a}), do: {[@one], 60}
  def zone({"six.example", :aaaa}), do: {[{0x2001, 0xDB8, 0, 0, 0, 0, 0, 1}], 60}
  def zone({"both.example", :a}), do: {[@one], 60}
  def zone({"both.example", :aaaa}), do: {[{0x2001, 0xDB8, 0, 0, 0, 0, 0, 1}], 60}
  def zone({"slow.example", :a}), do: {:after, 150, {[@one], 0}}
  def zone({"dead" <> _, _type}), do: :silent
  def zone({"db.internal.example", :a}), do: {[@two], 60}
  def zone({name, _type}) when name in ["six.example", "known.example"], do: {[], 60}
  def zone(_other), do: :nxdomain

  setup_all do
    :persistent_term.put(__MODULE__, :atomics.new(1, []))
    on_exit(fn -> :persistent_term.erase(__MODULE__) end)
  end

  ## Requests

  defp request(uri, method \\ :options), do: own_request(method, uri)

  defp sent(method) do
    assert_receive {:sent, destination, octets, _key}, 2_000
    message = Message.parse!(octets)
    assert message.start_line.method == method
    {message, destination}
  end

  defp respond(stack, request, status) do
    response = Message.to_response(request, status)
    deliver(stack, to_string(response), {:udp, {192, 0, 2, 9}, 5060})
    assert_receive {:receive_response, %{start_line: %{status_code: ^status}}, _key}, 1_000
    response
  end

  describe "RFC3263§4 a name" do
    @describetag answers: :rotating
    @tag options: [t1: 20, t2: 40]
    test "is looked up once for a transaction: INVITE, again, CANCEL and ACK go to one address",
         %{stack: stack} do
      used =
        for _ <- 1..100 do
          invite = request("sip:b@two.example", :invite)
          :ok = Sippet.send(stack, invite)
          {_first, destination} = sent(:invite)
          # Timer A.
          assert {_again, ^destination} = sent(:invite)
          respond(stack, invite, 180)
          :ok = Sippet.send(stack, Message.to_cancel(invite))
          assert {cancel, ^destination} = sent(:cancel)
          respond(stack, cancel, 200)
          respond(stack, invite, 487)
          assert {_ack, ^destination} = sent(:ack)
          destination
        end

      assert used |> Enum.uniq() |> Enum.sort() == [{@one, 5060}, {@two, 5060}]
    end

    test "is asked for once by those who ask at the same time", %{stack: stack} do
      for _ <- 1..50, do: :ok = Sippet.send(stack, request("sip:b@two.example"))
      for _ <- 1..50, do: sent(:options)
      assert length(asked()) < 50
    end

    test "stands for the same address each time where no transaction remembers it", %{
      stack: stack
    } do
      for _ <- 1..20 do
        :ok = Sippet.forward(stack, request("sip:b@two.example"))
        assert {_request, {@one, 5060}} = sent(:options)
      end
    end
  end

  defp asked(questions \\ []) do
    receive do
      {:asked, name, type} -> asked([{name, type} | questions])
    after
      50 -> questions
    end
  end

  describe "an answer" do
    @describetag answers: :zone
    test "is kept as long as it says", %{stack: stack} do
      for _ <- 1..3 do
        :ok = Sippet.send(stack, request("sip:b@KNOWN.example"))
        assert {_request, {@one, 5060}} = sent(:options)
      end

      assert asked() == [{"known.example", :a}]
    end

    test "that there is no such name is kept for a while, and told to the core", %{stack: stack} do
      for _ <- 1..3 do
        request = request("sip:b@none.example")
        key = Client.Key.new(request)
        :ok = Sippet.send(stack, request)
        assert_receive {:receive_error, :nxdomain, ^key}, 1_000
      end

      assert asked() == [{"none.example", :a}]
      assert Sippet.stats(stack).transport_error == 3
      assert %{transactions: 0} = Sippet.stats(stack)
    end

    test "that it has no address of the stack's families is told so", %{stack: stack} do
      :ok = Sippet.send(stack, request("sip:b@six.example"))
      assert_receive {:receive_error, :no_address, _key}, 1_000
    end

    test "that never comes ends the transaction in time", %{stack: stack} do
      :ok = Sippet.send(stack, request("sip:b@dead.example"))
      assert_receive {:receive_error, :dns_timeout, _key}, 2_000
    end

    @tag local: [{127, 0, 0, 1}, {0, 0, 0, 0, 0, 0, 0, 1}]
    test "of the other family goes by the other family's transport", %{stack: stack} do
      :ok = Sippet.send(stack, request("sip:b@six.example"))
      assert {_request, {{0x2001, 0xDB8, 0, 0, 0, 0, 0, 1}, 5060}} = sent(:options)
      # That of the Via's transport goes before.
      :ok = Sippet.send(stack, request("sip:b@both.example"))
      assert {_request, {@one, 5060}} = sent(:options)
    end
  end

  describe "a name that needs no name server" do
    @describetag answers: :zone
    test "is one of the hosts file, localhost, or invalid", %{stack: stack} do
      for name <- ["localhost", "LOCALHOST", "phone.localhost"] do
        :ok = Sippet.send(stack, request("sip:b@#{name}:5070"))
        assert {_request, {{127, 0, 0, 1}, 5070}} = sent(:options)
      end

      :ok = Sippet.send(stack, request("sip:b@x7.invalid"))
      assert_receive {:receive_error, :nxdomain, _key}
      assert asked() == []
    end

    test "is no name at all", %{stack: stack} do
      for host <- [
            "a b",
            "",
            <<255>>,
            String.duplicate("a", 300),
            "a..b",
            String.duplicate("a", 64)
          ] do
        :ok = Sippet.send(stack, %{request("sip:b@b") | target: {:udp, host, 5060}})
        assert_receive {:receive_error, :nxdomain, _key}
      end
    end
  end

  describe "a short name" do
    setup do
      path = Path.join(System.tmp_dir!(), "resolv-#{System.unique_integer([:positive])}.conf")
      on_exit(fn -> File.rm(path) end)
      nameserver = NameServer.start(&zone/1)
      %{path: path, nameserver: nameserver}
    end

    test "has the search domains of the system behind it", %{path: path, nameserver: nameserver} do
      File.write!(
        path,
        "nameserver 127.0.0.1\nsearch none.example internal.example\noptions ndots:1 timeout:1\n"
      )

      options = %{nameservers: [nameserver], resolv_conf: path}
      assert {{:ok, [@two]}, 60_000} = Resolver.Lookup.run("db", [:inet], options)

      assert asked() |> Enum.reverse() |> Enum.map(&elem(&1, 0)) ==
               ["db.none.example", "db.internal.example"]

      assert {{:ok, [@one]}, _ms} = Resolver.Lookup.run("known.example", [:inet], options)
      assert asked() == [{"known.example", :a}]
    end

    test "is read from the file as it is at the time", %{path: path, nameserver: nameserver} do
      options = %{nameservers: [nameserver], resolv_conf: path}
      assert {{:error, :nxdomain}, _ms} = Resolver.Lookup.run("db", [:inet], options)
      File.write!(path, "domain internal.example.\n")
      assert {{:ok, [@two]}, _ms} = Resolver.Lookup.run("db", [:inet], options)
    end
  end

  describe "resolv.conf" do
    test "says servers, domains and dots; of what is there twice the last counts" do
      text = """
      # a comment
      domain first.example
      nameserver 192.0.2.53 ; the near one
      nameserver 2001:db8::53
      nameserver not-an-address
      search a.example\tb.example
      options rotate ndots:5 ndots:x edns0
      sortlist 10.0.0.0
      """

      assert ResolvConf.parse(text) == %ResolvConf{
               nameservers: [{{192, 0, 2, 53}, 53}, {{0x2001, 0xDB8, 0, 0, 0, 0, 0, 0x53}, 53}],
               search: ["a.example", "b.example"],
               ndots: 5
             }

      assert ResolvConf.parse("options ndots:99\r\n").ndots == 15
      # As resolv.conf(5) has it.
      assert ResolvConf.read("/no/such/file") == %ResolvConf{nameservers: [{{127, 0, 0, 1}, 53}]}
      assert ResolvConf.parse(<<255, "\n", 0, "nameserver">>) == %ResolvConf{}
    end
  end

  describe "while names are looked up that nobody answers for" do
    @describetag answers: :zone
    test "a request to a known name leaves at once", %{stack: stack} do
      :ok = Sippet.send(stack, request("sip:b@known.example"))
      sent(:options)
      for n <- 1..12, do: :ok = Sippet.send(stack, request("sip:b@dead#{n}.example"))

      for name <- ["known.example", "both.example"] do
        :ok = Sippet.send(stack, request("sip:b@#{name}"))
        assert_receive {:sent, {@one, 5060}, _octets, _key}, 50
      end
    end

    test "no more than so many are, and more fail at once", %{stack: stack} do
      askers = Stack.fetch!(stack).resolver.askers
      for n <- 1..200, do: :ok = Sippet.send(stack, request("sip:b@dead#{n}.example"))
      wait_until(fn -> :ets.info(askers, :size) == 200 end)
      :ok = Sippet.send(stack, request("sip:b@both.example"))
      assert_receive {:receive_error, :overload, _key}, 200
      for _ <- 1..200, do: assert_receive({:receive_error, :dns_timeout, _key}, 3_000)
      # Nothing is left of it.
      wait_until(fn -> :ets.info(askers, :size) == 0 end)
      :ok = Sippet.send(stack, request("sip:b@both.example"))
      sent(:options)
    end

    test "whoever sends an ACK, or forwards, does not wait", %{stack: stack} do
      {microseconds, _results} =
        :timer.tc(fn ->
          :ok = Sippet.send(stack, request("sip:b@dead.example", :ack))
          :ok = Sippet.forward(stack, request("sip:b@dead.example"))
          response = Message.to_response(request("sip:b@b"), 200)
          :ok = Sippet.forward(stack, %{response | target: {:udp, "dead.example", 5060}})
        end)

      assert microseconds < 200_000
      wait_until(fn -> Sippet.stats(stack).transport_error == 3 end)
    end

    test "an ACK leaves when its name is found, before what was sent after it", %{stack: stack} do
      # Of one call, and so in order.
      ack = request("sip:b@slow.example", :ack)
      bye = request("sip:b@slow.example", :bye)
      :ok = Sippet.send(stack, ack)
      :ok = Sippet.send(stack, Message.put_header(bye, :call_id, ack.headers.call_id))
      assert {_ack, {@one, 5060}} = sent(:ack)
      assert {_bye, {@one, 5060}} = sent(:bye)
    end
  end

  describe "a transaction that ends during its look-up sends nothing afterwards" do
    @describetag answers: :zone
    test "if it is terminated", %{stack: stack} do
      request = request("sip:b@slow.example")
      :ok = Sippet.send(stack, request)
      Sippet.terminate(stack, Client.Key.new(request))
      refute_receive {:sent, _destination, _octets, _key}, 300
      refute_received {:receive_error, _reason, _key}
      assert Sippet.stats(stack).transactions == 0
    end

    test "if it is cancelled by its key: it is told", %{stack: stack} do
      invite = request("sip:b@slow.example", :invite)
      :ok = Sippet.send(stack, invite)
      key = Client.Key.new(invite)
      assert Sippet.cancel(stack, key) == :ok
      assert_receive {:receive_error, :cancelled, ^key}
      refute_receive {:sent, _destination, _octets, _key}, 300
      refute_received {:receive_error, :cancelled, _key}
    end

    test "if it is cancelled: both are told", %{stack: stack} do
      invite = request("sip:b@slow.example", :invite)
      cancel = Message.to_cancel(invite)
      :ok = Sippet.send(stack, invite)
      :ok = Sippet.send(stack, cancel)

      for request <- [invite, cancel] do
        key =
          Client.Key.new(
            request.headers.via |> hd() |> elem(3) |> Map.get("branch"),
            request.start_line.method
          )

        assert_receive {:receive_error, :cancelled, ^key}
      end

      refute_receive {:sent, _destination, _octets, _key}, 300
    end

    test "if its owner ends", %{stack: stack} do
      test = self()

      spawn(fn ->
        send(test, Sippet.send(stack, request("sip:b@slow.example", :invite), owner: self()))
      end)

      assert_receive :ok
      refute_receive {:sent, _destination, _octets, _key}, 300
      assert Sippet.stats(stack).transactions == 0
    end

    @tag resolver: [timeout: 50]
    test "if it takes too long", %{stack: stack} do
      :ok = Sippet.send(stack, request("sip:b@slow.example"))
      assert_receive {:receive_error, :dns_timeout, _key}
      refute_receive {:sent, _destination, _octets, _key}, 300
    end
  end

  describe "a process that is killed during a look-up" do
    @describetag answers: :zone
    @describetag :capture_log
    test "is followed by one that goes on: the resolver, and the worker", %{stack: stack} do
      for name <- [Resolver.name(stack) | Transactions.Workers.names(Stack.fetch!(stack))] do
        :ok = Sippet.send(stack, request("sip:b@slow.example"))
        pid = Process.whereis(name)
        Process.exit(pid, :kill)
        assert {_request, {@one, 5060}} = sent(:options)
      end
    end
  end

  describe "a transport that takes names" do
    @describetag answers: :zone
    test "is given them", %{stack: stack} do
      how = [via: {TestTransport, self()}, takes_names: true]
      :ok = Sippet.register_transport(stack, :sctp, false, how)
      :ok = Sippet.send(stack, %{request("sip:b@b") | target: {:sctp, "known.example", 5060}})
      assert {_request, {"known.example", 5060}} = sent(:options)
      assert asked() == []
    end
  end

  describe "a response to the name in a maddr that is obeyed" do
    @describetag answers: :zone, options: [obey_maddr: true]
    test "goes to its address, of a transaction and without one", %{stack: stack} do
      via = fn ->
        {"Via", "SIP/2.0/UDP 10.1.1.1;branch=#{Message.create_branch()};maddr=known.example"}
      end

      deliver(stack, wire("OPTIONS", [via.()]))
      assert_receive {:receive_request, request, _key}
      Sippet.send(stack, Message.to_response(request, 200))
      assert_receive {:sent, {@one, 5060}, "SIP/2.0 200" <> _, _key}, 1_000
      deliver(stack, wire("OPTIONS", [via.(), {"Max-Forwards", "x"}]))
      assert_receive {:sent, {@one, 5060}, "SIP/2.0 400" <> _, nil}, 1_000
    end
  end
end
