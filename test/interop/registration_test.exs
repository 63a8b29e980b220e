defmodule Sippet.Interop.RegistrationTest do
  # A registration at a registrar that asks for a password, and that is not always there.
  use Sippet.Interop.Case, async: true

  import Sippet.Interop.Kamailio, only: [assert_sane: 1]

  alias Sippet.Interop.{Asterisk, Kamailio}
  alias Sippet.Registration

  defmodule Phone do
    use Sippet.Core
  end

  # No timer is longer than this, and the bindings don't end: hours pass in a moment.
  @longest 50

  defp start_timer(_ms, _pid, :expiry), do: make_ref()
  defp start_timer(ms, pid, name), do: :erlang.start_timer(min(ms, @longest), pid, name)

  defp register(stack, port, options \\ []) do
    options =
      Keyword.merge(
        [
          stack: stack,
          address_of_record: "sip:alice@test.local",
          registrar: "sip:127.0.0.1:#{port}",
          credentials: {"alice", "secret"},
          owner: self()
        ],
        options
      )

    start = {Registration, :start_link, [options, %{start_timer: &start_timer/3}]}
    start_supervised!(%{id: make_ref(), start: start, restart: :temporary})
  end

  defp registered(pid) do
    assert_receive {:sippet_registration, ^pid, {:registered, bindings}}, 5_000
    bindings
  end

  defp failed(pid) do
    assert_receive {:sippet_registration, ^pid, {:failed, reason, _ms}}, 5_000
    reason
  end

  # Those that came before something was stopped.
  defp flush(pid) do
    receive do
      {:sippet_registration, ^pid, _event} -> flush(pid)
    after
      0 -> :ok
    end
  end

  defp own(stack, bindings) do
    own = Sippet.own_uri(stack, user: "alice")
    assert [%{own?: true, uri: uri, expires: seconds}] = bindings
    assert Sippet.URI.lazy_equivalent(uri, own)
    seconds
  end

  describe "Kamailio" do
    @describetag Peers.tags(:kamailio)

    for {algorithm, definitions} <- [{"MD5", []}, {"SHA-256", [:SHA256]}] do
      test "grants what it finds long enough, and lets go, with #{algorithm}" do
        {stack, _address} = start_stack(Phone)
        kamailio = Kamailio.start([MIN_EXPIRES: 120] ++ unquote(definitions))
        {_host, port} = kamailio.address
        pid = register(stack, port, expires: 60)
        assert own(stack, registered(pid)) in 118..120
        # A refresh, with the credentials that it has.
        assert own(stack, registered(pid)) in 118..120
        assert Registration.unregister(pid) == :ok
        assert_receive {:sippet_registration, ^pid, :unregistered}
        assert assert_sane(kamailio) =~ ~r/SAVED.*SAVED.*SAVED/s
        assert Sippet.stats(stack).registration_failed == 0
      end
    end

    test "takes each nonce once, which is no wrong password" do
      {stack, _address} = start_stack(Phone)
      kamailio = Kamailio.start([:ONCE])
      pid = register(stack, elem(kamailio.address, 1))
      for _ <- 1..3, do: own(stack, registered(pid))
      # Each time there was a challenge.
      assert %{registration_failed: 0, message_sent: sent} = Sippet.stats(stack)
      assert sent >= 6
      assert Registration.unregister(pid) == :ok
      assert_sane(kamailio)
    end

    test "refuses a wrong password" do
      {stack, _address} = start_stack(Phone)
      kamailio = Kamailio.start()
      pid = register(stack, elem(kamailio.address, 1), credentials: {"alice", "wrong"})
      assert failed(pid) == :wrong_credentials
      assert_sane(kamailio)
    end

    test "comes back, and the registration with it; several at once" do
      {stack, _address} = start_stack(Phone)
      kamailio = Kamailio.start()
      {_host, port} = kamailio.address
      carol = [address_of_record: "sip:carol@test.local", credentials: {"carol", "secret"}]
      pids = [register(stack, port), register(stack, port, carol)]
      for pid <- pids, do: registered(pid)
      Kamailio.log(kamailio)
      for pid <- pids, do: assert({:unreachable, _reason} = failed(pid))
      Enum.each(pids, &flush/1)
      refute Registration.info(hd(pids)).last_error == nil
      again = Kamailio.start([], port: port)
      for pid <- pids, do: assert([%{own?: true}] = registered(pid))
      for pid <- pids, do: assert(Registration.unregister(pid) == :ok)
      log = assert_sane(again)
      for user <- ~w(alice carol), do: assert(log =~ "SAVED sip:#{user}@test.local")
    end
  end

  describe "Asterisk" do
    @describetag Peers.tags(:asterisk)
    test "challenges, grants what it finds long enough, and lets go" do
      {stack, _address} = start_stack(Phone)
      asterisk = Asterisk.start()
      {_ip, port} = asterisk.address
      pid = register(stack, port, bob(port) ++ [expires: 5])
      assert [%{own?: true, expires: seconds}] = registered(pid)
      assert seconds in 8..10
      assert [%{own?: true}] = registered(pid)
      assert Asterisk.cli(asterisk, "pjsip show contacts") =~ "bob/sip:bob@127.0.0.1"
      assert Registration.unregister(pid) == :ok
      refute Asterisk.cli(asterisk, "pjsip show contacts") =~ "bob/sip:bob@127.0.0.1"
    end

    test "comes back, and the registration with it" do
      {stack, _address} = start_stack(Phone)
      asterisk = Asterisk.start()
      {_ip, port} = asterisk.address
      pid = register(stack, port, bob(port))
      registered(pid)
      Asterisk.stop(asterisk)
      # It may say that there are no bindings before it is gone.
      assert failed(pid)
      flush(pid)
      Asterisk.start(port: port)
      assert [%{own?: true}] = registered(pid)
    end

    defp bob(port),
      do: [address_of_record: "sip:bob@127.0.0.1:#{port}", credentials: {"bob", "secret"}]
  end

  describe "the example registrar" do
    defp start_registrar(port, file) do
      options = [
        name: :"registrar_#{System.unique_integer([:positive])}",
        port: port,
        domains: ["test.local", "127.0.0.1"],
        realm: "test.local",
        users: %{"alice" => "secret"},
        min_expires: 120,
        file: file
      ]

      start = {Examples.Registrar, :start_link, [options]}
      start_supervised!(%{id: :registrar, start: start, type: :supervisor})
      options[:name]
    end

    test "with a file has the binding still when it comes back, and refreshes it" do
      file = Path.join(Program.new_folder("bindings"), "bindings.log")
      port = Program.free_port()
      {stack, _address} = start_stack(Phone)
      registrar = start_registrar(port, file)
      pid = register(stack, port, expires: 60)
      assert own(stack, registered(pid)) in 118..120
      own(stack, registered(pid))

      stop_supervised!(:registrar)
      assert {:unreachable, _reason} = failed(pid)
      flush(pid)
      again = start_registrar(port, file)
      refute again == registrar
      assert own(stack, registered(pid)) in 118..120

      store = {Sippet.Binding.Store.File, Module.concat(again, Bindings)}
      alice = Sippet.URI.parse!("sip:alice@test.local")
      assert {:ok, [[_binding]]} = Sippet.Binding.Store.targets(store, alice)
      assert Registration.unregister(pid) == :ok
      assert {:ok, []} = Sippet.Binding.Store.targets(store, alice)
    end

    test "loses the binding when the process ends", context do
      port = Program.free_port()
      file = Path.join(Program.new_folder("bindings"), "#{context.line}.log")
      {stack, _address} = start_stack(Phone)
      registrar = start_registrar(port, file)
      pid = register(stack, port)
      registered(pid)
      Process.exit(pid, :shutdown)
      store = {Sippet.Binding.Store.File, Module.concat(registrar, Bindings)}
      alice = Sippet.URI.parse!("sip:alice@test.local")
      Sippet.Wait.wait_until(fn -> Sippet.Binding.Store.targets(store, alice) == {:ok, []} end)
    end
  end
end
