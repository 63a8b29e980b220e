defmodule Sippet.Interop.UACTest do
  use Sippet.Interop.Case, async: true

  alias Sippet.Interop.{Caller, Registrant}

  @moduletag Peers.tags(:sipp)

  @calls 10

  # SIPp's uas stays a while after each call, to answer a BYE again: its end is not awaited for the answers.
  defp call(stack, %SIPp{address: {ip, port}}, user, then \\ :hang_up),
    do: Caller.call(stack, user, {text(ip), port}, then)

  defp assert_response(stack, call_id, method, status) do
    assert_receive {^stack, {:response, ^method, ^status, %{headers: %{call_id: ^call_id}}, key}},
                   15_000

    assert %Sippet.Transactions.Client.Key{method: ^method} = key
  end

  defp assert_calls(stack, sipp, calls) do
    call_ids = for _ <- 1..calls, do: call(stack, sipp, "service")

    for call_id <- call_ids,
        {method, status} <- [invite: 200, bye: 200],
        do: assert_response(stack, call_id, method, status)

    call_ids
  end

  @lossy SIPp.lossy_calls()
  # A thousand at a time are too many for SIPp: it has ended before each BYE has its answer.
  @at_once 40

  describe "a call (SIPp's own uas)" do
    test "is placed over IPv4" do
      {stack, _address} = start_stack(Caller)
      sipp = SIPp.start(SIPp.own_uas(), calls: @calls)
      call_ids = assert_calls(stack, sipp, @calls)
      for call_id <- call_ids, do: assert_response(stack, call_id, :invite, 180)

      result = sipp |> SIPp.await() |> SIPp.assert_success()
      assert {result.successful, result.retransmissions} == {@calls, 0}
      refute_received {^stack, {:error, _reason, _key}}
    end

    test "is placed over IPv6" do
      ip = {0, 0, 0, 0, 0, 0, 0, 1}
      {stack, _address} = start_stack(Caller, ip: ip)
      sipp = SIPp.start(SIPp.own_uas(), calls: @calls, ip: ip)
      assert_calls(stack, sipp, @calls)

      result = sipp |> SIPp.await() |> SIPp.assert_success()
      assert {result.successful, result.retransmissions} == {@calls, 0}
      refute_received {^stack, {:error, _reason, _key}}
    end

    # SIPp drops a tenth of what it sends and of what it receives.
    @tag timeout: 1_000 * (SIPp.lossy_limit() + 30)
    test "is placed although packets get lost on both sides" do
      # SIPp's uas answers a BYE that comes again for 2 s alone, in which it comes 8 times.
      {stack, _address} = start_stack(Caller, t1: 50, t2: 400)
      arguments = ["-lost", "10" | SIPp.scenario("uas_lossy")]
      sipp = SIPp.start(arguments, calls: @lossy, limit: SIPp.lossy_limit())

      for calls <- Enum.chunk_every(1..@lossy, @at_once),
          do: assert_calls(stack, sipp, length(calls))

      result = sipp |> SIPp.await() |> SIPp.assert_success()
      assert result.successful == @lossy
      assert Sippet.stats(stack).message_sent > 3 * @lossy
      refute_received {^stack, {:error, _reason, _key}}
      # A 2xx that came again got its ACK again, and the core did not see it.
      refute_received {^stack, {:response, :invite, 200, _response, _key}}
    end
  end

  describe "a call that comes to nothing" do
    test "ends with 486, which the transaction acknowledges" do
      {stack, _address} = start_stack(Caller)
      sipp = SIPp.start(SIPp.scenario("uas_busy"), calls: @calls)
      call_ids = for _ <- 1..@calls, do: call(stack, sipp, "service")
      for call_id <- call_ids, do: assert_response(stack, call_id, :invite, 486)

      result = sipp |> SIPp.await() |> SIPp.assert_success()
      assert {result.successful, result.retransmissions} == {@calls, 0}
    end

    test "ends with 487 when it is cancelled" do
      {stack, _address} = start_stack(Caller)
      sipp = SIPp.start(SIPp.scenario("uas_cancel"), calls: @calls)
      call_ids = for _ <- 1..@calls, do: call(stack, sipp, "service", :cancel)

      for call_id <- call_ids,
          {method, status} <- [invite: 180, cancel: 200, invite: 487],
          do: assert_response(stack, call_id, method, status)

      result = sipp |> SIPp.await() |> SIPp.assert_success()
      assert {result.successful, result.retransmissions} == {@calls, 0}
    end
  end

  describe "a REGISTER" do
    defp register(password) do
      {stack, _address} = start_stack(Registrant)
      sipp = SIPp.start(SIPp.scenario("uas_registrar"))
      {ip, port} = sipp.address
      :ok = Registrant.register(stack, {text(ip), port}, password)
      {stack, sipp}
    end

    test "answers a challenge, and SIPp verifies the digest" do
      {stack, sipp} = register("secret")
      assert_receive {^stack, {:response, :register, 401, _response, _key}}, 5_000
      assert_receive {^stack, {:response, :register, 200, _response, _key}}, 5_000
      sipp |> SIPp.await() |> SIPp.assert_success()
    end

    test "with a wrong password is refused by SIPp" do
      {stack, sipp} = register("wrong")
      assert_receive {^stack, {:response, :register, 401, _response, _key}}, 5_000
      assert_receive {^stack, {:response, :register, 403, _response, _key}}, 5_000
      sipp |> SIPp.await() |> SIPp.assert_success()
    end
  end
end
