defmodule Sippet.RFC4320.Section4Test do
  use Sippet.TransactionCase, async: true

  describe "RFC4320§4.1 provisional responses to a non-INVITE request" do
    test "a 100 is sent by itself when a client's Timer E has reached T2" do
      stack = start_stack(:fast, t1: 30, t2: 120)
      request = request(:options)
      started = System.monotonic_time(:millisecond)
      key = start_server(stack, request)
      assert_soon({:sent, _destination, "SIP/2.0 100 " <> _rest = trying, ^key})
      assert System.monotonic_time(:millisecond) - started >= 89
      come_again(stack, request)
      assert_soon({:sent, _destination, ^trying, ^key})
    end

    test "the core's 100 is not sent before that, unless the transport is reliable" do
      stack = start_stack()
      request = request(:options)
      start_server(stack, request)
      answer(stack, request, 100)
      assert_silence()

      request = request(:options)
      start_server(stack, request, TestTransport.new(reliable?: true))
      answered(stack, request, 100)
    end

    test "no other provisional response is ever sent" do
      for reliable? <- [false, true] do
        stack = start_stack()
        request = request(:options)
        key = start_server(stack, request, TestTransport.new(reliable?: reliable?))
        for status <- [180, 183], do: answer(stack, request, status)
        assert_silence()
        assert state(stack, key) == :trying
      end
    end
  end

  describe "RFC4320§4.2 late answers to a non-INVITE request" do
    test "a 408 is not sent" do
      stack = start_stack()
      request = request(:options)
      key = start_server(stack, request)
      answer(stack, request, 408)
      assert_silence()
      assert state(stack, key) == :trying
    end

    test "a request that the core never answers ends at 64*T1, and a later answer is not sent" do
      stack = start_stack(:fast)
      request = request(:options)
      key = start_server(stack, request)
      assert await_end(stack, key) == :timeout
      flush()
      late = Message.to_response(request, 200)
      assert Transactions.send_response(stack, late) == {:error, :no_transaction}
      assert_silence()
    end
  end

  defp flush do
    receive do
      {:sent, _destination, _octets, _key} -> flush()
    after
      0 -> :ok
    end
  end
end
