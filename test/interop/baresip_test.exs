defmodule Sippet.Interop.BaresipTest do
  use Sippet.Interop.Case, async: true

  import Sippet.ExampleCase, only: [start_example: 2]

  alias Examples.{ForkingProxy, Registrar}
  alias Sippet.Interop.{Answerer, Baresip, Caller}
  alias Sippet.URI

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

  describe "a registration of baresip with the registrar of the examples" do
    @registrar [domains: ["test.local"], users: %{"alice" => "secret"}]
    @alice URI.parse!("sip:alice@test.local")

    test "is challenged, accepted, and taken back" do
      {stack, address} = start_example(Registrar, @registrar)
      baresip = Baresip.start(registrar: address) |> Baresip.await("401 Unauthorized")
      baresip = Baresip.await(baresip, "registered successfully")

      assert {:ok, [[%{contact: {_name, %{port: port}, _params}}]]} =
               Registrar.locate(stack, @alice)

      assert port == baresip.port

      Baresip.quit(baresip)
      assert {:ok, []} = Registrar.locate(stack, @alice)
    end

    test "with a wrong password is refused" do
      {stack, address} = start_example(Registrar, @registrar)
      baresip = Baresip.start(registrar: address, password: "wrong")
      # It tries some times, as each 401 has a nonce of its own.
      Baresip.await(baresip, "reg: sip:alice@test.local: 401 Unauthorized")
      assert {:ok, []} = Registrar.locate(stack, @alice)
    end
  end

  describe "a call from one registered baresip to another, through the proxy of the examples" do
    @users %{"alice" => "secret", "bob" => "secret"}

    defp parties(answer) do
      options = [domains: ["test.local"], users: @users, proxy_users: @users]
      {stack, address} = start_example(ForkingProxy, options)
      alice = Baresip.start(user: "alice", registrar: address)
      bob = Baresip.start(user: "bob", registrar: address, answer: answer)
      registered = for baresip <- [alice, bob], do: Baresip.await(baresip, "registered success")
      {stack, registered}
    end

    defp dial_bob(alice), do: Baresip.command(alice, "dial sip:bob@test.local")

    # What this baresip has sent and taken, from the call on: start lines and a header or two.
    defp count(%{program: %{output: output}}, pattern), do: length(Regex.scan(pattern, output))

    test "asks the caller for the password, is answered, and ended by the caller" do
      {stack, [alice, bob]} = parties(:auto)
      alice = alice |> dial_bob() |> Baresip.await("Call established")
      bob = Baresip.await(bob, "Call established")
      alice = alice |> Baresip.command("hangup") |> Baresip.await(~r/BYE sip:.*SIP\/2.0 200/s)
      bob = Baresip.await(bob, "session closed")

      assert count(alice, ~r/^SIP\/2.0 407 /m) == 1
      # Its INVITE, ACK and BYE have the credentials; further than the proxy they are of no use.
      assert count(alice, ~r/^Proxy-Authorization: Digest username="alice"/m) == 3
      assert count(bob, ~r/^Proxy-Authorization:/m) == 0
      # INVITE, ACK and BYE come by the proxy, which has recorded its route.
      assert count(bob, ~r/^(INVITE|ACK|BYE) sip:.*\R(Via: .*\R){2}(?!Via)/m) == 3
      assert Sippet.stats(stack).core_failed == 0
    end

    test "is ended by the called" do
      {stack, [alice, bob]} = parties(:auto)
      alice = alice |> dial_bob() |> Baresip.await("Call established")
      bob |> Baresip.await("Call established") |> Baresip.command("hangup")
      alice = Baresip.await(alice, "session closed")
      assert count(alice, ~r/^BYE sip:.*\R(Via: .*\R){2}(?!Via)/m) == 1
      assert Sippet.stats(stack).core_failed == 0
    end

    test "is given up while it rings" do
      {stack, [alice, bob]} = parties(:manual)
      alice = alice |> dial_bob() |> Baresip.await("180 Ringing") |> Baresip.command("hangup")
      for baresip <- [alice, bob], do: Baresip.await(baresip, "SIP/2.0 487")
      assert Sippet.stats(stack).core_failed == 0
    end
  end
end
