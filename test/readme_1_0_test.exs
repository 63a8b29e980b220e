defmodule Readme10Test do
  # The code of the README of version 1.0, which its users pasted: with the aliases that it leaves out, one stack name
  # where it has two, and addresses of this machine in place of its defaults.

  use ExUnit.Case, async: true

  alias Sippet.{Document, Message, URI}
  alias Sippet.Message.RequestLine
  alias Sippet.Transports.UDP

  @stack :mystack_1_0

  defmodule MyCore do
    use Sippet.Core

    def receive_request(incoming_request, server_key) do
      tell({:request, incoming_request, server_key})
      Sippet.send(:mystack_1_0, Sippet.Message.to_response(incoming_request, 200))
    end

    def receive_response(incoming_response, client_key),
      do: tell({:response, incoming_response, client_key})

    def receive_error(reason, client_or_server_key),
      do: tell({:error, reason, client_or_server_key})

    defp tell(message), do: send(:persistent_term.get(__MODULE__), message)
  end

  setup do
    :persistent_term.put(MyCore, self())
    on_exit(fn -> :persistent_term.erase(MyCore) end)

    start(Sippet, name: @stack)
    start(UDP, name: @stack, port: 0, address: "127.0.0.1")
    :ok = Sippet.register_core(@stack, MyCore)

    {:ok, {_ip, port}} = UDP.sockname(@stack)
    {peer, peer_port} = Document.open_peer()
    %{port: port, peer: peer, peer_port: peer_port}
  end

  # By the functions that the README calls, and under a supervisor that ends what they start before the next test.
  defp start(module, options) do
    start = {module, :start_link, [options]}
    start_supervised!(%{id: module, start: start, type: :supervisor})
  end

  describe "the core of version 1.0" do
    test "receives a request with its key, and its answer gets out", context do
      request = Document.options(context.peer_port, "sip:127.0.0.1:#{context.port}")
      :ok = :gen_udp.send(context.peer, {127, 0, 0, 1}, context.port, request)

      assert_receive {:request, %Message{start_line: %RequestLine{method: :options}}, key}
      assert %Sippet.Transactions.Server.Key{method: :options} = key
      assert_receive {:udp, _socket, _ip, _port, "SIP/2.0 200 OK\r\n" <> _}
    end

    test "receives an error with the key of its request", context do
      # No datagram holds it.
      request = %{request(context.port, context.peer_port) | body: String.duplicate(" ", 70_000)}
      assert :ok = Sippet.send(@stack, request)
      assert_receive {:error, :emsgsize, %Sippet.Transactions.Client.Key{}}
    end
  end

  describe "messages of version 1.0" do
    test "are sent as a struct", context do
      request = request(context.port, context.peer_port)
      assert :ok = Sippet.send(@stack, request)
      assert answered(context).headers.user_agent == "Sippet/1.0"
    end

    test "are sent as wire text", context do
      request =
        """
        OPTIONS sip:127.0.0.1:#{context.peer_port} SIP/2.0
        Via: SIP/2.0/UDP localhost:#{context.port};branch=#{Message.create_branch()}
        From: sip:localhost;tag=#{Message.create_tag()}
        To: sip:localhost
        CSeq: 1 OPTIONS
        User-Agent: Sippet/1.0
        Call-ID: #{Message.create_call_id()}
        """
        |> Message.parse!()

      assert :ok = Sippet.send(@stack, request)
      assert answered(context).headers.user_agent == "Sippet/1.0"
    end
  end

  defp request(port, peer_port) do
    %Message{
      start_line: RequestLine.new(:options, "sip:127.0.0.1:#{peer_port}"),
      headers: %{
        via: [
          {{2, 0}, :udp, {"localhost", port}, %{"branch" => Message.create_branch()}}
        ],
        from: {"", URI.parse!("sip:localhost"), %{"tag" => Message.create_tag()}},
        to: {"", URI.parse!("sip:localhost"), %{}},
        cseq: {1, :options},
        user_agent: "Sippet/1.0",
        call_id: Message.create_call_id()
      }
    }
  end

  # What the peer got; it answers 200, which the core then gets.
  defp answered(%{peer: peer, port: port}) do
    assert_receive {:udp, _socket, _ip, _port, octets}
    request = Message.parse!(octets)
    assert request.headers.max_forwards == 70

    response = Message.to_response(request, 200)
    :ok = :gen_udp.send(peer, {127, 0, 0, 1}, port, Message.to_iodata(response))

    assert_receive {:response, %Message{start_line: %{status_code: 200}}, key}
    assert %Sippet.Transactions.Client.Key{method: :options} = key
    request
  end
end
