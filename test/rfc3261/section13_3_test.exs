defmodule Sippet.RFC3261.Section13Test do
  use Sippet.TransactionCase, async: true

  describe "RFC3261§13.3.1.4 the INVITE is accepted" do
    test "a 2xx is repeated from T1 to T2 until the ACK comes, over any transport" do
      for reliable? <- [false, true] do
        stack = start_stack(:still)
        request = request(:invite)
        transport = timed_transport(stack, reliable?: reliable?)
        key = start_server(stack, request, transport)
        octets = answered(stack, request, 200)
        :ok = Transactions.retransmit_2xx(stack, Message.to_response(request, 200))
        advance(stack, 12_000)
        assert times() == [0, 500, 1_500, 3_500, 7_500, 11_500]
        assert sent() == List.duplicate(octets, 5)
        :ok = Transactions.ack(stack, dialog_ack(request))
        advance(stack, 19_999)
        assert sent() == []
        assert state(stack, key) == :accepted
        advance(stack, 1)
        assert await_end(stack, key) == :normal
        refute_received {:receive_error, _reason, _key}
      end
    end

    test "the core is told when 64*T1 pass without an ACK" do
      stack = start_stack(:still)
      request = request(:invite)
      key = start_server(stack, request)
      # It may be the first that the transaction hears of the response.
      :ok = Transactions.retransmit_2xx(stack, Message.to_response(request, 200))
      advance(stack, 31_999)
      assert state(stack, key) == :accepted
      refute_received {:receive_error, _reason, _key}
      advance(stack, 1)
      assert_soon({:receive_error, :no_ack, ^key})
      assert await_end(stack, key) == :timeout
    end

    test "an ACK of another dialog or CSeq does not count" do
      stack = start_stack(:still)
      request = request(:invite)
      key = start_server(stack, request)
      :ok = Transactions.retransmit_2xx(stack, Message.to_response(request, 200))
      state(stack, key)
      :error = Transactions.ack(stack, put_all(dialog_ack(request), call_id: "other"))
      :error = Transactions.ack(stack, put_all(dialog_ack(request), cseq: {2, :ack}))
      :error = Transactions.ack(stack, put_all(dialog_ack(request), to: request.headers.to))
      {name, uri, params} = request.headers.from
      from = {name, uri, %{params | "tag" => "other"}}
      :error = Transactions.ack(stack, put_all(dialog_ack(request), from: from))
      advance(stack, 32_000)
      assert_soon({:receive_error, :no_ack, ^key})
    end

    test "an ACK that is faster than the wish to repeat counts" do
      stack = start_stack(:still)
      request = request(:invite)
      key = start_server(stack, request)
      answered(stack, request, 200)
      :ok = Transactions.ack(stack, dialog_ack(request))
      :ok = Transactions.retransmit_2xx(stack, Message.to_response(request, 200))
      advance(stack, 32_000)
      assert sent() == []
      assert await_end(stack, key) == :normal
      refute_received {:receive_error, _reason, _key}
    end

    test "an ACK that comes again is the core's, and is waited for no more" do
      stack = start_stack(:still)
      request = request(:invite)
      key = start_server(stack, request)
      :ok = Transactions.retransmit_2xx(stack, Message.to_response(request, 200))
      assert state(stack, key) == :accepted
      assert Transactions.held(stack).names == 1
      :ok = Transactions.ack(stack, dialog_ack(request))
      assert state(stack, key) == :accepted
      assert Transactions.held(stack).names == 0
      assert Transactions.ack(stack, dialog_ack(request)) == :error
    end

    test "each branch of a fork is repeated until its own ACK" do
      stack = start_stack(:still)
      request = request(:invite)
      key = start_server(stack, request)
      {name, uri, _params} = request.headers.to

      [_one, two] =
        for tag <- ["one", "two"] do
          response = put_all(Message.to_response(request, 200), to: {name, uri, %{"tag" => tag}})
          :ok = Transactions.retransmit_2xx(stack, response)
          octets = Message.to_string(response)
          if tag == "one", do: assert_soon({:sent, _destination, ^octets, ^key})
          octets
        end

      one_ack = put_all(dialog_ack(request), to: {name, uri, %{"tag" => "one"}})
      state(stack, key)
      sent()
      :ok = Transactions.ack(stack, one_ack)
      advance(stack, 1_500)
      assert sent() == [two, two]
      advance(stack, 30_500)
      assert_soon({:receive_error, :no_ack, ^key})
    end

    test "wants a transaction, and a 2xx to an INVITE" do
      stack = start_stack(:still)
      invite = request(:invite)
      response = Message.to_response(invite, 200)
      assert Transactions.retransmit_2xx(stack, response) == {:error, :no_transaction}

      for other <- [
            Message.to_response(invite, 180),
            Message.to_response(invite, 486),
            Message.to_response(request(:options), 200)
          ] do
        assert_raise ArgumentError, ~r/2xx response to an INVITE/, fn ->
          Transactions.retransmit_2xx(stack, other)
        end
      end
    end
  end

  # The ACK for a 2xx has a branch of its own.
  defp dialog_ack(request) do
    as(request, :ack,
      to: Message.to_response(request, 200).headers.to,
      via: [via(%{"branch" => Message.create_branch()})]
    )
  end
end
