defmodule Sippet.Interop.LinphoneTest do
  use Sippet.Interop.Case, async: true

  import Sippet.ExampleCase, only: [start_example: 2]
  import Sippet.Wait

  alias Examples.Registrar
  alias Sippet.Interop.{Answerer, Caller, Linphone}
  alias Sippet.URI

  @moduletag Peers.tags(:linphone)

  defp dial(linphone, user, {_ip, port}),
    do: Linphone.command(linphone, "call sip:#{user}@127.0.0.1:#{port}")

  describe "a call of linphone" do
    test "is answered, put on hold and back" do
      {stack, address} = start_stack(Answerer)
      linphone = Linphone.start() |> dial("bob", address) |> Linphone.await("connected")
      assert [_ack] = requests(stack, :ack, 1)

      for command <- ["pause", "resume"] do
        Linphone.command(linphone, command)
        assert [_ack] = requests(stack, :ack, 1)
      end

      linphone |> Linphone.command("terminate all") |> Linphone.await("ended (No error)")
      assert [_bye] = requests(stack, :bye, 1)
      assert [_call, hold, _resume] = requests(stack, :invite, 3)
      assert hold.body =~ "a=sendonly"
      refute_received {^stack, {:error, _reason, _key}}
    end

    test "is refused with 486" do
      {stack, address} = start_stack(Answerer)
      Linphone.start() |> dial("busy", address) |> Linphone.await("error.")
      assert requests(stack, :ack, 0) == []
    end

    test "is given up while it rings" do
      {stack, address} = start_stack(Answerer)
      linphone = Linphone.start() |> dial("ringing", address) |> Linphone.await("ringing")
      Linphone.command(linphone, "terminate all")
      assert [_cancel] = requests(stack, :cancel, 1)
    end
  end

  describe "a call to linphone" do
    test "is answered" do
      {stack, _address} = start_stack(Caller)
      linphone = Linphone.start()
      Caller.call(stack, "alice", {"127.0.0.1", linphone.port})
      assert_receive {^stack, {:response, :invite, 200, _response, _key}}, 5_000
      assert_receive {^stack, {:response, :bye, 200, _response, _key}}, 5_000
      Linphone.await(linphone, "ended (No error)")
    end
  end

  describe "a registration of linphone with the registrar of the examples" do
    @registrar [domains: ["test.local"], users: %{"alice" => "secret"}]
    @alice URI.parse!("sip:alice@test.local")

    test "is challenged, accepted, and taken back" do
      {stack, address} = start_example(Registrar, @registrar)
      linphone = Linphone.start(registrar: address)
      # It does not tell when it is.
      wait_until(fn -> Registrar.locate(stack, @alice) != {:ok, []} end)

      assert {:ok, [[%{contact: {_name, %{port: port}, _params}}]]} =
               Registrar.locate(stack, @alice)

      assert port == linphone.port

      # A command that comes before it has read the 200 is lost.
      wait_until(fn ->
        Linphone.command(linphone, "unregister")
        Registrar.locate(stack, @alice) == {:ok, []}
      end)
    end
  end
end
