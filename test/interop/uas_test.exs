defmodule Sippet.Interop.UASTest do
  use Sippet.Interop.Case, async: true

  alias Sippet.Interop.{Answerer, Registrar}

  @moduletag Peers.tags(:sipp)

  defp call_ids(requests), do: requests |> Enum.map(& &1.headers.call_id) |> Enum.sort()

  # What SIPp counts on its side, the core has seen on ours: each call's requests once, each of its own call.
  defp assert_each_once(stack, methods, calls) do
    [first | others] = for method <- methods, do: call_ids(requests(stack, method, calls))

    assert length(first) == calls and first == Enum.uniq(first)
    for other <- others, do: assert(other == first)
  end

  describe "a call (SIPp's own uac)" do
    test "is answered over IPv4" do
      {stack, address} = start_stack(Answerer)
      result = address |> SIPp.run(["-sn", "uac"], calls: 10) |> SIPp.assert_success()

      assert {result.successful, result.retransmissions} == {10, 0}
      assert_each_once(stack, [:invite, :ack, :bye], 10)
    end

    test "is answered over IPv6" do
      {stack, address} = start_stack(Answerer, ip: {0, 0, 0, 0, 0, 0, 0, 1})
      result = address |> SIPp.run(["-sn", "uac"], calls: 10) |> SIPp.assert_success()

      assert {result.successful, result.retransmissions} == {10, 0}
      assert_each_once(stack, [:invite, :ack, :bye], 10)
    end

    # SIPp drops a tenth of what it sends and of what it receives.
    @tag timeout: 1_000 * (SIPp.lossy_limit() + 30)
    test "is answered although packets get lost on both sides" do
      calls = SIPp.lossy_calls()
      {stack, address} = start_stack(Answerer)
      arguments = ["-sn", "uac", "-lost", "10", "-r", "40"]
      options = [calls: calls, limit: SIPp.lossy_limit()]
      result = address |> SIPp.run(arguments, options) |> SIPp.assert_success()

      assert result.successful == calls
      assert result.retransmissions > 0
      invites = call_ids(requests(stack, :invite, calls))
      assert length(invites) == calls and invites == Enum.uniq(invites)

      # SIPp takes the repeated 200 of an INVITE for that of its BYE, and does not repeat the BYE then.
      byes = call_ids(requests(stack, :bye, 0))
      assert byes == Enum.uniq(byes) and byes -- invites == []
    end

    test "that repeats its INVITE after the 200 reaches the core once" do
      {stack, address} = start_stack(Answerer)
      address |> SIPp.run(SIPp.scenario("uac_repeat")) |> SIPp.assert_success()

      assert_each_once(stack, [:invite, :ack, :bye], 1)
      # 180, 200, and 200 to the BYE
      assert Sippet.stats(stack).message_sent == 3
    end
  end

  describe "a call that comes to nothing" do
    test "is refused with 486, and its ACK stays in the transaction" do
      {stack, address} = start_stack(Answerer)
      arguments = ["-s", "busy" | SIPp.scenario("uac_busy")]
      result = address |> SIPp.run(arguments, calls: 5) |> SIPp.assert_success()

      assert {result.successful, result.retransmissions} == {5, 0}
      assert_each_once(stack, [:invite], 5)
      assert requests(stack, :ack, 0) == []
      refute_received {^stack, {:error, _reason, _key}}
    end

    test "is cancelled: 200 to the CANCEL, 487 to the INVITE, and its ACK stays in the transaction" do
      {stack, address} = start_stack(Answerer)
      arguments = ["-s", "ringing" | SIPp.scenario("uac_cancel")]
      result = address |> SIPp.run(arguments, calls: 5) |> SIPp.assert_success()

      assert {result.successful, result.retransmissions} == {5, 0}
      assert_each_once(stack, [:invite, :cancel], 5)
      assert requests(stack, :ack, 0) == []
      refute_received {^stack, {:error, _reason, _key}}
    end
  end

  describe "a REGISTER" do
    @credentials ~w(-s alice -au alice -auth_uri test.local -ap)

    test "is challenged, and accepted with the right password" do
      {stack, address} = start_stack(Registrar)
      arguments = @credentials ++ ["secret" | SIPp.scenario("uac_register")]
      result = address |> SIPp.run(arguments, calls: 3) |> SIPp.assert_success()

      assert {result.successful, result.retransmissions} == {3, 0}
      assert length(requests(stack, :register, 6)) == 6
    end

    test "is refused with a wrong password" do
      {_stack, address} = start_stack(Registrar)
      arguments = @credentials ++ ["wrong" | SIPp.scenario("uac_register")]
      result = SIPp.run(address, arguments)

      assert {result.exit, result.successful, result.failed} == {1, 0, 1}
      assert result.errors =~ "SIP/2.0 403 Forbidden"
    end
  end
end
