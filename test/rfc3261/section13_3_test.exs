defmodule Sippet.RFC3261.Section13Test do
  use Sippet.TransactionCase, async: true

  describe "RFC3261§13.3.1.4 the INVITE is accepted" do
    test "a 2xx is repeated from T1 to T2 until the ACK comes, over any transport" do
      for reliable? <- [false, true] do
        stack = start_stack(:fast, t1: 20, t2: 40)
        request = request(:invite)
        key = start_server(stack, request, TestTransport.new(reliable?: reliable?))
        octets = answered(stack, request, 200)
        response = Message.to_response(request, 200)
        :ok = Transactions.retransmit_2xx(stack, response)
        for _time <- 1..3, do: assert_soon({:sent, _destination, ^octets, ^key})
        :ok = Transactions.ack(stack, dialog_ack(request))
        await_shelf(stack, key)
        flush()
        refute_receive {:sent, _destination, _octets, _key}, 100
      end
    end

    test "the core is told when 64*T1 pass without an ACK" do
      stack = start_stack(:fast)
      request = request(:invite)
      key = start_server(stack, request)
      response = Message.to_response(request, 200)
      # It may be the first that the transaction hears of the response.
      :ok = Transactions.retransmit_2xx(stack, response)
      assert_soon({:receive_error, :no_ack, ^key})
      assert await_end(stack, key) == :timeout
    end

    test "an ACK of another dialog or CSeq does not count" do
      stack = start_stack(:fast)
      request = request(:invite)
      key = start_server(stack, request)
      :ok = Transactions.retransmit_2xx(stack, Message.to_response(request, 200))
      :error = Transactions.ack(stack, put_all(dialog_ack(request), call_id: "other"))
      :error = Transactions.ack(stack, put_all(dialog_ack(request), cseq: {2, :ack}))
      :error = Transactions.ack(stack, put_all(dialog_ack(request), to: request.headers.to))
      assert_soon({:receive_error, :no_ack, ^key})
    end

    test "an ACK that is faster than the wish to repeat counts" do
      stack = start_stack(:fast)
      request = request(:invite)
      key = start_server(stack, request)
      answered(stack, request, 200)
      :ok = Transactions.ack(stack, dialog_ack(request))
      await_shelf(stack, key)
      :ok = Transactions.retransmit_2xx(stack, Message.to_response(request, 200))
      refute_receive {:sent, _destination, _octets, _key}, 60
      assert await_end(stack, key) == :normal
      refute_received {:receive_error, _reason, _key}
    end

    test "each branch of a fork is repeated until its own ACK" do
      stack = start_stack(:slow, t1: 40, t2: 40)
      request = request(:invite)
      key = start_server(stack, request)
      {name, uri, _params} = request.headers.to

      [one, two] =
        for tag <- ["one", "two"] do
          response = put_all(Message.to_response(request, 200), to: {name, uri, %{"tag" => tag}})
          :ok = Transactions.retransmit_2xx(stack, response)
          octets = Message.to_string(response)
          assert_soon({:sent, _destination, ^octets, ^key})
          octets
        end

      :ok =
        Transactions.ack(stack, put_all(dialog_ack(request), to: {name, uri, %{"tag" => "one"}}))

      state(stack, key)
      flush()
      assert_soon({:sent, _destination, ^two, ^key})
      assert_soon({:sent, _destination, ^two, ^key})
      refute_received {:sent, _destination, ^one, ^key}
    end

    test "wants a transaction, and a 2xx to an INVITE" do
      stack = start_stack()
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

  defp flush do
    receive do
      {:sent, _destination, _octets, _key} -> flush()
    after
      0 -> :ok
    end
  end
end
