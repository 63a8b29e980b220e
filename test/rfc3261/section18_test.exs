defmodule Sippet.RFC3261.Section18Test do
  use Sippet.StackCase, async: true

  alias Sippet.Transports.UDP

  # An OPTIONS that the stack has sent, and the text of the response to it.
  defp sent(stack) do
    branch = Message.create_branch()
    via = {{2, 0}, :udp, {"127.0.0.1", 5060}, %{"branch" => branch}}
    headers = Message.parse!(wire("OPTIONS")).headers
    request = %{Message.build_request(:options, "sip:127.0.0.1:9") | headers: headers}
    request = Message.put_header(request, :via, [via])
    :ok = Sippet.send(stack, request)
    assert_sent(:options)
    Message.to_string(Message.to_response(request, 200))
  end

  describe "RFC3261§18.1.2 a response" do
    test "goes to the transaction that it matches", %{stack: stack} do
      deliver(stack, sent(stack))
      assert_receive {:receive_response, %{start_line: %{status_code: 200}}, %{method: :options}}
    end

    # A deviation: guides/deviations.md says why.
    test "is not judged by the sent-by of its Via", %{stack: stack} do
      deliver(stack, String.replace(sent(stack), "127.0.0.1", "nat.example.com"))
      assert_receive {:receive_response, %{start_line: %{status_code: 200}}, %{method: :options}}
    end
  end

  describe "RFC3261§18.2.1 the server" do
    test "listens on port 5060 unless it is told otherwise" do
      assert %{id: {UDP, :stack, "0.0.0.0", 5060}} = UDP.child_spec(name: :stack)
    end
  end

  describe "RFC3261§18.3 framing" do
    test "a response whose body is cut short is dropped", %{stack: stack} do
      deliver(stack, String.replace(sent(stack), "Content-Length: 0", "Content-Length: 9"))
      assert %{message_refused: 1} = Sippet.stats(stack)
      refute_received {:receive_response, _response, _key}
      refute_receive {:sent, _destination, "SIP/2.0 " <> _rest, _key}, 10
    end

    test "what stands behind the body of a request is dropped", %{stack: stack} do
      deliver(stack, String.replace(wire("MESSAGE", [{"Content-Length", "3"}]), ~r/\z/, "abcdef"))
      assert_receive {:receive_request, %{body: "abc"}, _key}
    end
  end
end
