defmodule Sippet.Interop.PBXTest do
  # The PBX of the examples, between phones of three other stacks.
  use Sippet.Interop.Case, async: true

  import Sippet.ExampleCase, only: [start_example: 2]

  import Sippet.Wait

  alias Examples.PBX
  alias Sippet.Binding.Store
  alias Sippet.Interop.{Baresip, Linphone, PJSUA2}

  @moduletag Peers.tags(:pjsua2)
  @users %{"alice" => "secret", "bob" => "secret", "carol" => "secret"}

  setup do
    test = self()
    options = [domain: "test.local", users: @users, record: &send(test, {:record, &1})]
    {stack, address} = start_example(PBX, options)
    %{stack: stack, address: address}
  end

  defp alice(address, options \\ []) do
    PJSUA2.start([registrar: address] ++ options) |> PJSUA2.await("registration 200 OK active")
  end

  defp dial(agent, user), do: PJSUA2.command(agent, "dial sip:#{user}@test.local")

  defp baresip(address, user, answer \\ :auto) do
    Baresip.start(user: user, registrar: address, answer: answer)
    |> Baresip.await("registered success")
  end

  # It does not say when it has registered.
  defp linphone(%{stack: stack, address: address}, user) do
    linphone = Linphone.start(user: user, registrar: address)
    aor = Sippet.URI.parse!("sip:#{user}@test.local")
    wait_until(fn -> {:ok, []} != Store.bindings(PBX.config(stack).store, aor) end)
    linphone
  end

  defp how do
    assert_receive {:record, record}, 10_000
    record.how
  end

  test "busy", %{address: address} do
    alice(address) |> dial("busy") |> PJSUA2.await("call DISCONNECTED 486 Busy Here")
    assert how() == :refused
  end

  test "echo, on hold and back, with a session timer", %{stack: stack, address: address} do
    agent = alice(address, timer: true) |> dial("echo") |> PJSUA2.await("call CONFIRMED 200")
    agent = agent |> PJSUA2.await("media active") |> PJSUA2.command("hold")
    agent = agent |> PJSUA2.await("media held here") |> PJSUA2.command("resume")
    agent = agent |> PJSUA2.await("media active") |> PJSUA2.command("update")
    PJSUA2.command(agent, "hangup")
    assert how() == :caller_hung_up
    assert Sippet.stats(stack).core_failed == 0
  end

  test "a mailbox", %{stack: stack, address: address} do
    agent = alice(address, mailbox: true) |> PJSUA2.await("mailbox Messages-Waiting: no")
    PBX.messages(stack, "alice", 1)
    PJSUA2.await(agent, "mailbox Messages-Waiting: yes")
  end

  describe "with baresip" do
    @describetag Peers.tags(:baresip, [:pjsua2])

    test "a call, on hold and back, ended by the caller", %{stack: stack, address: address} do
      bob = baresip(address, "bob")
      agent = alice(address) |> dial("bob") |> PJSUA2.await("call CONFIRMED 200")
      bob = Baresip.await(bob, "Call established")
      agent = agent |> PJSUA2.await("media active") |> PJSUA2.command("hold")
      agent = agent |> PJSUA2.await("media held here") |> PJSUA2.command("resume")
      agent |> PJSUA2.await("media active") |> PJSUA2.command("hangup")
      Baresip.await(bob, "session closed")
      assert how() == :caller_hung_up
      assert Sippet.stats(stack).core_failed == 0
    end

    test "a call that the called one ends", %{address: address} do
      bob = baresip(address, "bob")
      agent = alice(address) |> dial("bob") |> PJSUA2.await("call CONFIRMED 200")
      bob |> Baresip.await("Call established") |> Baresip.command("hangup")
      PJSUA2.await(agent, "call DISCONNECTED")
      assert how() == :called_hung_up
    end

    test "a call that is given up while it rings", %{address: address} do
      bob = baresip(address, "bob", :manual)
      agent = alice(address) |> dial("bob") |> PJSUA2.await("call EARLY 180")
      agent |> PJSUA2.command("hangup") |> PJSUA2.await("call DISCONNECTED 487")
      Baresip.await(bob, "SIP/2.0 487")
      assert how() == :cancelled
    end

    test "a call that baresip makes", %{address: address} do
      agent = alice(address)
      bob = baresip(address, "bob") |> Baresip.command("dial sip:alice@test.local")
      Baresip.await(bob, "Call established") |> Baresip.command("hangup")
      PJSUA2.await(agent, "call DISCONNECTED")
      assert how() == :caller_hung_up
    end
  end

  describe "with linphone" do
    @describetag Peers.tags(:linphone, [:pjsua2])

    for ends <- [:caller, :called] do
      test "a call that the #{ends} ends", %{stack: stack, address: address} = context do
        carol = linphone(context, "carol")
        agent = alice(address) |> dial("carol") |> PJSUA2.await("call CONFIRMED 200")
        carol = Linphone.await(carol, "connected")

        if unquote(ends) == :caller,
          do: PJSUA2.command(agent, "hangup"),
          else: Linphone.command(carol, "terminate")

        PJSUA2.await(agent, "call DISCONNECTED")
        assert how() == unquote(:"#{ends}_hung_up")
        assert Sippet.stats(stack).core_failed == 0
      end
    end
  end

  describe "with baresip and linphone" do
    @describetag Peers.tags(:baresip, [:linphone, :pjsua2])

    test "a transfer of a call from one to the other", context do
      %{stack: stack, address: address} = context
      bob = baresip(address, "bob")
      carol = linphone(context, "carol")
      agent = alice(address) |> dial("bob") |> PJSUA2.await("call CONFIRMED 200")
      Baresip.await(bob, "Call established")
      agent = PJSUA2.command(agent, "transfer sip:carol@test.local")
      Linphone.await(carol, "connected")
      PJSUA2.await(agent, "transfer 200 OK final")
      assert Sippet.stats(stack).core_failed == 0
    end
  end
end
