defmodule Sippet.Interop.BaresipTest do
  use Sippet.Interop.Case, async: true

  alias Sippet.Interop.{Answerer, Baresip, Caller, Exchange, Registrar}

  @moduletag Peers.tags(:baresip)

  @ipv6 {0, 0, 0, 0, 0, 0, 0, 1}

  defp dial(baresip, user, {ip, port}) do
    host = if tuple_size(ip) == 8, do: "[#{text(ip)}]", else: text(ip)
    Baresip.command(baresip, "dial sip:#{user}@#{host}:#{port}")
  end

  defp to_tag(%{headers: %{to: {_name, _uri, params}}}), do: params["tag"]

  describe "a call of baresip" do
    test "is answered, put on hold and back" do
      {stack, address} = start_stack(Answerer)
      baresip = Baresip.start() |> dial("bob", address) |> Baresip.await("Call established")
      assert [_ack] = requests(stack, :ack, 1)

      # Each is an INVITE in the dialog.
      for command <- ["hold", "resume"] do
        Baresip.command(baresip, command)
        assert [_ack] = requests(stack, :ack, 1)
      end

      Baresip.command(baresip, "hangup")
      assert [bye] = requests(stack, :bye, 1)
      assert bye.headers.user_agent =~ "baresip"

      assert [first, second, third] = requests(stack, :invite, 3)
      assert [nil, tag, tag] = Enum.map([first, second, third], &to_tag/1)
      assert to_tag(bye) == tag
      refute_received {^stack, {:error, _reason, _key}}
    end

    test "is answered over IPv6" do
      {stack, address} = start_stack(Answerer, ip: @ipv6)

      Baresip.start(ip: @ipv6)
      |> dial("bob", address)
      |> Baresip.await("Call established")
      |> Baresip.command("hangup")

      assert [_bye] = requests(stack, :bye, 1)
    end

    test "is refused with 486" do
      {stack, address} = start_stack(Answerer)
      Baresip.start() |> dial("busy", address) |> Baresip.await("session closed: 486 Busy Here")
      assert requests(stack, :ack, 0) == []
    end

    test "is given up while it rings" do
      {stack, address} = start_stack(Answerer)

      Baresip.start()
      |> dial("ringing", address)
      |> Baresip.await("180 Ringing")
      |> Baresip.command("hangup")
      |> Baresip.await("SIP/2.0 487")

      assert [_cancel] = requests(stack, :cancel, 1)
    end
  end

  describe "a call to baresip" do
    test "is answered" do
      {stack, _address} = start_stack(Caller)
      baresip = Baresip.start(answer: :auto)
      Caller.call(stack, "alice", {"127.0.0.1", baresip.port})
      assert_receive {^stack, {:response, :invite, 200, _response, _key}}, 5_000
      assert_receive {^stack, {:response, :bye, 200, _response, _key}}, 5_000
      Baresip.await(baresip, "session closed")
    end

    test "is cancelled while it rings" do
      {stack, _address} = start_stack(Caller)
      baresip = Baresip.start(answer: :manual)
      Caller.call(stack, "alice", {"127.0.0.1", baresip.port}, :cancel)
      assert_receive {^stack, {:response, :cancel, 200, _response, _key}}, 5_000
      assert_receive {^stack, {:response, :invite, 487, _response, _key}}, 5_000
      Baresip.await(baresip, "session closed")
    end
  end

  describe "a registration of baresip" do
    test "is challenged, accepted, and taken back" do
      {stack, address} = start_stack(Registrar)
      baresip = Baresip.start(registrar: address) |> Baresip.await("200 OK")
      assert [_first, _second] = requests(stack, :register, 2)
      assert Registrar.lookup(stack, "alice").port == baresip.port

      Baresip.quit(baresip)
      assert Registrar.lookup(stack, "alice") == nil
    end

    test "with a wrong password is refused" do
      {stack, address} = start_stack(Registrar)
      Baresip.start(registrar: address, password: "wrong") |> Baresip.await("403 Forbidden")
      assert Registrar.lookup(stack, "alice") == nil
    end
  end

  describe "a call from one registered baresip to another, through our proxy" do
    defp parties(answer) do
      {stack, address} = start_stack(Exchange)
      alice = Baresip.start(user: "alice", registrar: address)
      bob = Baresip.start(user: "bob", registrar: address, answer: answer)
      parties = for baresip <- [alice, bob], do: Baresip.await(baresip, "SIP/2.0 200 OK")
      requests(stack, :register, 4)
      {stack, parties}
    end

    test "asks the caller for the password, is answered, and ended by the caller" do
      {stack, [alice, bob]} = parties(:auto)
      dialled = Baresip.command(alice, "dial sip:bob@test.local")
      alice = Baresip.await(dialled, "Call established")
      bob = Baresip.await(bob, "Call established")
      Baresip.command(alice, "hangup")
      Baresip.await(bob, "session closed")

      assert [challenged, accepted] = requests(stack, :invite, 2)
      refute Map.has_key?(challenged.headers, :proxy_authorization)
      assert [{"Digest", %{"username" => "alice"}}] = accepted.headers.proxy_authorization

      # As the proxy is on the route, what follows comes this way; but for the ACK of the 407, which ends here.
      assert [_ack] = requests(stack, :ack, 1)
      assert [bye] = requests(stack, :bye, 1)
      assert [_own] = bye.headers.route
      refute_received {^stack, {:error, _reason, _key}}
    end

    test "is ended by the called" do
      {stack, [alice, bob]} = parties(:auto)
      dialled = Baresip.command(alice, "dial sip:bob@test.local")
      alice = Baresip.await(dialled, "Call established")
      bob |> Baresip.await("Call established") |> Baresip.command("hangup")
      Baresip.await(alice, "session closed")
      assert [_bye] = requests(stack, :bye, 1)
    end

    test "is given up while it rings" do
      {stack, [alice, bob]} = parties(:manual)
      dialled = Baresip.command(alice, "dial sip:bob@test.local")
      alice = dialled |> Baresip.await("180 Ringing") |> Baresip.command("hangup")
      Baresip.await(bob, "SIP/2.0 487")
      Baresip.await(alice, "SIP/2.0 487")
      assert [_cancel] = requests(stack, :cancel, 1)
      assert requests(stack, :ack, 0) == []
    end
  end
end
