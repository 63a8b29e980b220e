defmodule Sippet.ReplyTest do
  # Final responses without a transaction, and what each kind of answer costs whose address was forged.
  use Sippet.StackCase, async: true

  alias Sippet.Transactions

  import Sippet.Wait

  # 64·T1 is 640 ms.
  @moduletag stack: [t1: 10, t2: 80, answer_timeout: 60_000]

  @via {"Via", "SIP/2.0/UDP 10.1.1.1;branch=z9hG4bKforged;rport"}
  @call {"Call-ID", "forged"}

  defp come(stack, method \\ "INVITE") do
    deliver(stack, wire(method, [@via, @call]))
    assert_receive {:receive_request, request, key}, 1_000
    {request, key}
  end

  defp ack(response) do
    {_name, _uri, %{"tag" => tag}} = response.headers.to
    wire("ACK", [@via, @call, {"To", "<sip:b@biloxi.com>;tag=#{tag}"}])
  end

  describe "reply/2" do
    test "sends once, and leaves nothing", %{stack: stack} do
      for {method, status} <- [
            {"INVITE", 401},
            {"INVITE", 486},
            {"MESSAGE", 403},
            {"OPTIONS", 200}
          ] do
        {request, key} = come(stack, method)
        assert Sippet.reply(stack, Message.to_response(request, status)) == :ok
        assert {%{start_line: %{status_code: ^status}}, _destination} = assert_sent(status)
        wait_until(fn -> Sippet.stats(stack).pending == 0 end)
        refute Transactions.alive?(Sippet.Stack.fetch!(stack), key)
      end

      # As long as a transaction would repeat its 486.
      refute_receive {:sent, _destination, _octets, _key}, 700
      assert Transactions.held(Sippet.Stack.fetch!(stack)).rows == 0
    end

    test "has its ACK end in the stack", %{stack: stack} do
      {invite, _key} = come(stack)
      :ok = Sippet.reply(stack, invite, 486)
      {response, _destination} = assert_sent(486)
      deliver(stack, ack(response))
      refute_receive {:receive_request, _ack, _key}, 50
      assert Sippet.stats(stack).message_dropped == 1
    end

    test "has the core get a request again that comes again", %{stack: stack} do
      for _ <- 1..3 do
        {invite, _key} = come(stack)
        :ok = Sippet.reply(stack, invite, 401)
        assert_sent(401)
      end
    end

    test "tells who was too late", %{stack: stack} do
      {invite, _key} = come(stack)
      :ok = Sippet.send(stack, Message.to_response(invite, 486))
      assert Sippet.reply(stack, invite, 401) == {:error, :already_answered}

      {options, _key} = come(stack, "OPTIONS")
      :ok = Sippet.reply(stack, options, 401)
      wait_until(fn -> Sippet.reply(stack, options, 401) == {:error, :no_transaction} end)
    end

    test "ends the owner's duty too", %{stack: stack} do
      {invite, key} = come(stack)
      test = self()

      owner =
        spawn(fn ->
          :ok = Sippet.controlling_process(stack, key, self())
          send(test, Sippet.reply(stack, invite, 403))
          receive do: (message -> send(test, {:owner, message}))
        end)

      assert_receive :ok
      assert_sent(403)
      Process.exit(owner, :kill)
      refute_receive {:sent, _destination, _octets, _key}, 100
      refute_received {:owner, _message}
    end

    test "answers the CANCEL before the INVITE", %{stack: stack} do
      {invite, _key} = come(stack)
      deliver(stack, wire("CANCEL", [@via, @call]))
      assert_receive {:receive_request, %{start_line: %{method: :cancel}}, _key}
      :ok = Sippet.reply(stack, invite, 403)
      assert {%{headers: %{cseq: {1, :cancel}}}, _destination} = assert_sent(200)
      assert_sent(403)
    end

    test "is for final responses, and for no 2xx to INVITE", %{stack: stack} do
      {invite, _key} = come(stack)

      for status <- [180, 200] do
        assert_raise ArgumentError, ~r/final response/, fn ->
          Sippet.reply(stack, Message.to_response(invite, status))
        end
      end
    end

    @tag stack: [stateless: true]
    test "is forward/2 in a stack without server transactions", %{stack: stack} do
      {options, nil} = come(stack, "OPTIONS")
      assert Sippet.reply(stack, options, 200) == :ok
      assert_sent(200)
    end
  end

  describe "RFC3261§16.11 a stateless core" do
    @describetag stack: [stateless: true, max_requests: 100, max_pending: 1_000]
    test "gets no more responses in a second than requests are taken", %{stack: stack} do
      response =
        "OPTIONS" |> wire() |> Message.parse!() |> Message.to_response(200) |> to_string()

      # Of one second, or of the end of one and the beginning of the next.
      for _ <- 1..2_000, do: deliver(stack, response)
      given = given(0)
      assert given in 50..200
      assert Sippet.stats(stack).message_dropped == 2_000 - given
    end

    defp given(count) do
      receive do
        {:receive_response, _response, nil} -> given(count + 1)
      after
        100 -> count
      end
    end
  end
end
