defmodule Sippet.RFC3261.Section17.ServerTest do
  use Sippet.TransactionCase, async: true

  describe "RFC3261§17.2.1 INVITE server transaction" do
    test "answers 100 by itself after 200 ms, with the Timestamp and without a tag" do
      stack = start_stack(:still)
      request = request(:invite, timestamp: {54.3, 0.0})
      key = start_server(stack, request)
      advance(stack, 199)
      assert sent() == []
      advance(stack, 1)
      assert_received {:sent, destination, "SIP/2.0 100 " <> _rest = octets, ^key}
      assert destination == destination()
      trying = Message.parse!(octets)
      assert trying.headers.to == request.headers.to
      assert {54.3, _delay} = trying.headers.timestamp
      # It is a provisional response like those of the core.
      come_again(stack, request)
      assert_soon({:sent, _destination, ^octets, ^key})
    end

    test "sends no 100 when the core has answered" do
      for status <- [180, 200, 486] do
        stack = start_stack(:still)
        request = request(:invite)
        start_server(stack, request)
        advance(stack, 199)
        answered(stack, request, status)
        advance(stack, 200)
        assert sent() == []
      end
    end

    test "sends every provisional response once, and the last one again when the INVITE comes again" do
      stack = start_stack(:still)
      request = request(:invite)
      key = start_server(stack, request)
      answered(stack, request, 180)
      progress = answered(stack, request, 183)

      for _again <- 1..2 do
        come_again(stack, request)
        assert_soon({:sent, _destination, ^progress, ^key})
      end

      assert_silence()
    end

    test "an INVITE that comes again before there is any answer gets none, and the core sees one" do
      stack = start_stack(:still)
      request = request(:invite)
      start_server(stack, request)
      come_again(stack, request)
      assert_silence()
    end

    test "repeats a rejection from T1 to T2 until the ACK comes, and absorbs more ACKs for T4" do
      stack = start_stack(:still)
      request = request(:invite)
      key = start_server(stack, request, timed_transport(stack))
      rejection = answered(stack, request, 486)
      advance(stack, 12_000)
      assert times() == [0, 500, 1_500, 3_500, 7_500, 11_500]
      assert sent() == List.duplicate(rejection, 5)
      come_again(stack, acknowledging(request, 486))
      advance(stack, 4_999)
      assert state(stack, key) == :confirmed
      advance(stack, 1)
      assert await_end(stack, key) == :normal
      assert sent() == []
      refute_received {:receive_request, _ack, _key}
      refute_received {:receive_error, _reason, _key}
    end

    test "repeats no rejection over a reliable transport, and ends with the ACK" do
      stack = start_stack(:still)
      request = request(:invite)
      key = start_server(stack, request, TestTransport.new(reliable?: true))
      answered(stack, request, 486)
      advance(stack, 31_999)
      assert sent() == []
      come_again(stack, acknowledging(request, 486))
      advance(stack, 0)
      assert await_end(stack, key) == :normal
    end

    test "answers a repeated INVITE with the rejection again" do
      stack = start_stack(:still)
      request = request(:invite)
      key = start_server(stack, request)
      rejection = answered(stack, request, 603)
      come_again(stack, request)
      assert_soon({:sent, _destination, ^rejection, ^key})
    end

    test "tells the core that no ACK came, over any transport" do
      for reliable? <- [false, true] do
        stack = start_stack(:still)
        request = request(:invite)
        key = start_server(stack, request, TestTransport.new(reliable?: reliable?))
        answered(stack, request, 486)
        advance(stack, 31_999)
        refute_received {:receive_error, _reason, _key}
        advance(stack, 1)
        assert_soon({:receive_error, :no_ack, ^key})
        assert await_end(stack, key) == :timeout
      end
    end

    test "absorbs ACKs and INVITEs that come after the ACK" do
      stack = start_stack(:still)
      request = request(:invite)
      key = start_server(stack, request)
      answered(stack, request, 486)
      ack = acknowledging(request, 486)
      for message <- [ack, ack, request], do: come_again(stack, message)
      assert_silence()
      assert state(stack, key) == :confirmed
    end

    test "ignores what the core answers after its rejection" do
      stack = start_stack(:still)
      request = request(:invite)
      key = start_server(stack, request)
      answered(stack, request, 486)
      for status <- [180, 200, 603], do: answer(stack, request, status)
      assert_silence()
      assert state(stack, key) == :completed
    end
  end

  describe "RFC6026§7.1 INVITE server transaction, Accepted" do
    test "absorbs the INVITE that comes again, and repeats no 2xx by itself" do
      stack = start_stack(:still)
      request = request(:invite)
      key = start_server(stack, request)
      answered(stack, request, 200)
      come_again(stack, request)
      advance(stack, 31_999)
      assert state(stack, key) == :accepted
      advance(stack, 1)
      assert await_end(stack, key) == :normal
      assert sent() == []
      refute_received {:receive_request, _request, _key}
      refute_received {:receive_error, _reason, _key}
    end

    test "sends each 2xx that the core passes, and nothing else" do
      stack = start_stack(:still)
      request = request(:invite)
      key = start_server(stack, request)
      octets = answered(stack, request, 200)
      answer(stack, request, 200)
      assert_soon({:sent, _destination, ^octets, ^key})
      for status <- [180, 486], do: answer(stack, request, status)
      assert_silence()
      assert state(stack, key) == :accepted
    end

    test "passes an ACK that has the INVITE's branch to the core" do
      stack = start_stack(:still)
      request = request(:invite)
      key = start_server(stack, request)
      answered(stack, request, 200)
      ack = acknowledging(request, 200)
      come_again(stack, ack)
      assert_soon({:receive_request, ^ack, nil})
      assert state(stack, key) == :accepted
      come_again(stack, ack)
      assert_soon({:receive_request, ^ack, nil})
    end

    test "goes on absorbing INVITEs when a 2xx could not be sent" do
      stack = start_stack(:still)
      request = request(:invite)
      failing = TestTransport.new(outcome: fn _octets -> {:error, :enetunreach} end)
      key = start_server(stack, request, failing)
      answered(stack, request, 200)
      assert_soon({:receive_error, :enetunreach, ^key})
      come_again(stack, request)
      assert_silence()
      assert state(stack, key) == :accepted
      # Another response of the core's is another failure to tell of.
      answered(stack, request, 200)
      assert_soon({:receive_error, :enetunreach, ^key})
    end
  end

  describe "RFC3261§17.2.2 non-INVITE server transaction" do
    test "ignores the request that comes again before there is an answer" do
      stack = start_stack(:still)
      request = request(:options)
      key = start_server(stack, request)
      come_again(stack, request)
      assert_silence()
      assert state(stack, key) == :trying
    end

    test "answers the request that comes again with the same octets" do
      stack = start_stack(:still)
      request = request(:options)
      key = start_server(stack, request)
      octets = answered(stack, request, 200)

      for _again <- 1..3 do
        come_again(stack, request)
        assert_soon({:sent, _destination, ^octets, ^key})
      end

      assert_silence()
    end

    test "ignores other final responses of the core" do
      stack = start_stack(:still)
      request = request(:options)
      start_server(stack, request)
      answered(stack, request, 200)
      answer(stack, request, 404)
      assert_silence()
    end

    test "ends with Timer J, or at once over a reliable transport" do
      for {reliable?, ms} <- [{false, 32_000}, {true, 0}] do
        stack = start_stack(:still)
        request = request(:options)
        key = start_server(stack, request, TestTransport.new(reliable?: reliable?))
        answered(stack, request, 200)

        if ms > 0 do
          advance(stack, ms - 1)
          assert state(stack, key) == :completed
        end

        advance(stack, 1)
        assert await_end(stack, key) == :normal
      end
    end
  end

  describe "RFC3261§17.2.3 matching requests to server transactions" do
    test "takes branch, sent-by without letter case, and method" do
      stack = start_stack(:still)
      request = request(:invite)
      key = start_server(stack, request)
      progress = answered(stack, request, 180)
      [{version, protocol, {host, port}, params}] = request.headers.via
      shouted = [{version, protocol, {String.upcase(host), port}, params}]
      come_again(stack, put_all(request, via: shouted))
      assert_soon({:sent, _destination, ^progress, ^key})

      for other <- [
            [{version, protocol, {host, port + 1}, params}],
            [{version, protocol, {"other.example.com", port}, params}],
            [{version, protocol, {host, port}, %{params | "branch" => "z9hG4bKother"}}]
          ] do
        other = put_all(request, via: other)
        assert Transactions.receive_request(stack, other, Server.Key.new(other)) == :error
      end

      options = as(request, :options)
      assert Transactions.receive_request(stack, options, Server.Key.new(options)) == :error
    end

    test "starts no second transaction of one key, be the first in progress or finished" do
      stack = start_stack(:still)
      request = request(:options)
      key = start_server(stack, request)

      again = fn ->
        Transactions.start_server(stack, request, TestTransport.new(), destination())
      end

      assert again.() == {:error, :already_started}
      answered(stack, request, 200)
      assert state(stack, key) == :completed
      assert again.() == {:error, :already_started}
      refute_received {:receive_request, _request, _key}
    end

    test "of an RFC 2543 peer, takes what stands for a branch" do
      stack = start_stack(:still)
      request = old(:invite)
      key = start_server(stack, request)
      rejection = answered(stack, request, 486)
      come_again(stack, request)
      assert_soon({:sent, _destination, ^rejection, ^key})

      for change <- [
            [call_id: "other"],
            [cseq: {2, :invite}],
            [from: {"", Sippet.URI.parse!("sip:alice@atlanta.com"), %{"tag" => "other"}}],
            [via: [via(%{"hidden" => ""})]]
          ] do
        other = put_all(request, change)
        assert Transactions.receive_request(stack, other, Server.Key.new(other)) == :error
      end

      elsewhere = %{
        request
        | start_line: Message.build_request(:invite, "sip:carol@x.com").start_line
      }

      assert Transactions.receive_request(stack, elsewhere, Server.Key.new(elsewhere)) == :error
    end

    test "of an RFC 2543 peer, an ACK confirms if its To tag is the response's" do
      stack = start_stack(:still)
      request = old(:invite)
      key = start_server(stack, request)
      answered(stack, request, 486)
      {name, uri, _params} = request.headers.to
      come_again(stack, as(request, :ack, to: {name, uri, %{"tag" => "another"}}))
      assert state(stack, key) == :completed
      come_again(stack, acknowledging(request, 486))
      assert state(stack, key) == :confirmed
      refute_received {:receive_request, _request, _key}
    end

    test "of an RFC 2543 peer, an ACK for a 2xx goes to the core" do
      stack = start_stack(:still)
      request = old(:invite)
      start_server(stack, request)
      answered(stack, request, 200)
      ack = acknowledging(request, 200)
      come_again(stack, ack)
      assert_soon({:receive_request, ^ack, nil})
    end

    test "of an RFC 2543 peer, a request that is not an INVITE needs the To tag too" do
      stack = start_stack(:still)
      request = old(:options)
      key = start_server(stack, request)
      octets = answered(stack, request, 200)
      come_again(stack, request)
      assert_soon({:sent, _destination, ^octets, ^key})
      {name, uri, _params} = request.headers.to
      other = put_all(request, to: {name, uri, %{"tag" => "x"}})
      assert Transactions.receive_request(stack, other, Server.Key.new(other)) == :error
    end

    test "the cookie alone is no branch" do
      bare = put_all(request(:invite), via: [via(%{"branch" => "z9hG4bK"})])
      assert "rfc2543-" <> _digest = Server.Key.new(bare).branch
    end
  end

  describe "RFC3261§17.2.4 handling transport errors, as of RFC6026§8.8" do
    test "tells the core once for each response, and stays" do
      for method <- [:invite, :options] do
        stack = start_stack(:still)
        request = request(method)
        failing = TestTransport.new(outcome: fn _octets -> {:error, {:odd, %{}}} end)
        key = start_server(stack, request, failing)
        answered(stack, request, 404)
        assert_soon({:receive_error, {:odd, %{}}, ^key})
        come_again(stack, request)
        assert_soon({:sent, _destination, "SIP/2.0 404 " <> _rest, ^key})
        assert Transactions.alive?(stack, key)
        refute_receive {:receive_error, {:odd, %{}}, ^key}, 30
      end
    end
  end

  # The branch of an ACK for a rejection is its INVITE's.
  defp acknowledging(request, status),
    do: as(request, :ack, to: Message.to_response(request, status).headers.to)

  # What an RFC 2543 client sends: no branch.
  defp old(method), do: request(method, via: [via(%{})])
end
