defmodule Sippet.SentByTest do
  # What the stack writes into the Via of a request that leaves the sent-by to it.
  use Sippet.StackCase, async: true

  alias Sippet.{TestTransport, URI}
  alias Sippet.Transactions.Client
  alias Sippet.Transports.UDP

  @moduletag transport: false
  # No request comes a second time while a test runs.
  @moduletag stack: [t1: 5_000, t2: 5_000]

  @alice {"", URI.parse!("sip:alice@atlanta.com"), %{}}

  defp register(stack, protocol, reliable?, options) do
    options = Keyword.put_new(options, :via, {TestTransport, self()})
    :ok = Sippet.register_transport(stack, protocol, reliable?, options)
  end

  defp request(method \\ :options, uri \\ "sip:bob@192.0.2.4"),
    do: Message.build_request(method, uri) |> Message.put_header(:from, @alice)

  defp sent_via(method) do
    {message, _destination} = assert_sent(method)
    hd(message.headers.via)
  end

  test "a request of two lines is sent, by the address that the transport is bound to", %{
    stack: stack
  } do
    register(stack, :udp, false, address: {{127, 0, 0, 1}, 5070})
    assert Sippet.send(stack, request()) == :ok
    {sent, {{192, 0, 2, 4}, 5060}} = assert_sent(:options)

    assert [{{2, 0}, :udp, {"127.0.0.1", 5070}, %{"branch" => "z9hG4bK" <> _, "rport" => ""}}] =
             sent.headers.via

    assert {"", %{host: "192.0.2.4"}, %{}} = sent.headers.to
    assert {_, _, %{"tag" => _}} = sent.headers.from
    assert Message.valid?(sent)
  end

  test "the key that the caller has is that of the transaction", %{stack: stack} do
    register(stack, :udp, false, address: {{127, 0, 0, 1}, 5070})
    request = Message.complete(request())
    key = Client.Key.new(request)
    assert Sippet.send(stack, request) == :ok
    {sent, _destination} = assert_sent(:options)
    assert Client.Key.new(sent) == key
    deliver(stack, to_string(Message.to_response(sent, 200)))
    assert_receive {:receive_response, _response, ^key}
  end

  test "it is what the transport advertises", %{stack: stack} do
    register(stack, :udp, false,
      address: {{127, 0, 0, 1}, 5070},
      advertise: {"sip.atlanta.com", 5062}
    )

    Sippet.send(stack, request())
    assert {_, :udp, {"sip.atlanta.com", 5062}, _} = sent_via(:options)
  end

  test "RFC3581§3: rport is asked for over an unreliable transport alone", %{stack: stack} do
    register(stack, :tcp, true, address: {{127, 0, 0, 1}, 5070})
    Sippet.send(stack, request(:options, "sip:bob@192.0.2.4;transport=tcp"))
    assert {_, :tcp, {"127.0.0.1", 5070}, params} = sent_via(:options)
    refute is_map_key(params, "rport")
  end

  test "a stack without UDP sends by the protocol that it has", %{stack: stack} do
    register(stack, :tcp, true, address: {{127, 0, 0, 1}, 5070})
    assert Sippet.send(stack, request()) == :ok
    assert {_, :tcp, {"127.0.0.1", 5070}, _} = sent_via(:options)
  end

  test "RFC3261§9.1: a CANCEL has the Via of its INVITE, and so has the ACK of a refusal", %{
    stack: stack
  } do
    register(stack, :udp, false, address: {{0, 0, 0, 0}, 5070})
    invite = Message.complete(request(:invite, "sip:bob@127.0.0.1"))
    Sippet.send(stack, invite)
    {sent, _destination} = assert_sent(:invite)
    deliver(stack, to_string(Message.to_response(sent, 180)))
    assert_receive {:receive_response, _response, _key}
    Sippet.send(stack, Message.to_cancel(invite))
    assert sent_via(:cancel) == hd(sent.headers.via)
    deliver(stack, to_string(Message.to_response(sent, 487)))
    assert sent_via(:ack) == hd(sent.headers.via)
  end

  test "a copy of a stateless proxy gets it too", %{stack: stack} do
    register(stack, :udp, false, address: {{127, 0, 0, 1}, 5070})
    own = {{2, 0}, :any, {"", 0}, %{"branch" => "z9hG4bKown"}}
    copy = own_request(:options, "sip:bob@192.0.2.4") |> Message.put_header_front(:via, own)
    assert Sippet.forward(stack, copy) == :ok
    {sent, _destination} = assert_sent(:options)

    assert [{_, :udp, {"127.0.0.1", 5070}, %{"branch" => "z9hG4bKown", "rport" => ""}}, _callers] =
             sent.headers.via
  end

  test "a Via of one's own stays as it is", %{stack: stack} do
    register(stack, :udp, false, address: {{127, 0, 0, 1}, 5070})
    Sippet.send(stack, own_request(:options, "sip:bob@192.0.2.4", {"pc33.atlanta.com", 5060}))
    assert {_, :udp, {"pc33.atlanta.com", 5060}, params} = sent_via(:options)
    assert Map.keys(params) == ["branch"]
  end

  test "it is filled in by the transport that the message leaves by", %{stack: stack} do
    {:ok, _pid} = start_supervised({UDP, name: stack, port: 0, address: "127.0.0.1"})
    {:ok, {_ip, port}} = UDP.sockname(stack)
    {:ok, phone} = :gen_udp.open(0, [:binary, ip: {127, 0, 0, 1}, active: true])
    {:ok, phone_port} = :inet.port(phone)
    Sippet.send(stack, request(:options, "sip:bob@127.0.0.1:#{phone_port}"))
    assert_receive {:udp, ^phone, _ip, ^port, octets}, 1_000
    assert [{_, :udp, {"127.0.0.1", ^port}, _}] = Message.parse!(octets).headers.via
  end

  test "UDP advertises what its option says", %{stack: stack} do
    options = [name: stack, port: 0, address: "127.0.0.1", advertise: {"sip.atlanta.com", 5062}]
    start_supervised!({UDP, options})
    assert {"sip.atlanta.com", 5062} in Sippet.own_hosts(stack)
  end

  test "a transport that has registered no address can't be named", %{stack: stack} do
    register(stack, :udp, false, [])

    assert_raise ArgumentError, ~r/:address or :advertise/, fn ->
      Sippet.send(stack, request())
    end

    assert Sippet.send(stack, own_request(:options, "sip:bob@192.0.2.4")) == :ok
  end

  describe "own_uri/2" do
    test "is how others reach the stack, and a transport of it", %{stack: stack} do
      register(stack, :udp, false, address: {{127, 0, 0, 1}, 5070})
      register(stack, :tcp, true, address: {{0, 0, 0, 0, 0, 0, 0, 1}, 5060})
      assert to_string(Sippet.own_uri(stack)) == "sip:127.0.0.1:5070"
      assert to_string(Sippet.own_uri(stack, user: "alice")) == "sip:alice@127.0.0.1:5070"

      flow = %Sippet.Flow{
        protocol: :tcp,
        remote: {{0, 0, 0, 0, 0, 0, 0, 1}, 1},
        local: {{0, 0, 0, 0, 0, 0, 0, 1}, 5060}
      }

      assert to_string(Sippet.own_uri(stack, user: "alice", flow: flow)) ==
               "sip:alice@[::1];transport=tcp"
    end

    test "keeps the transport beside lr, and has the scheme that is wanted", %{stack: stack} do
      register(stack, :tcp, true, address: {{127, 0, 0, 1}, 5070})
      uri = Sippet.own_uri(stack, lr: true)
      assert to_string(uri) == "sip:127.0.0.1:5070;transport=tcp;lr"
      assert Sippet.own?(stack, uri)
      uri = Sippet.own_uri(stack, user: "a", scheme: "sips")
      assert to_string(uri) == "sips:a@127.0.0.1:5070;transport=tcp"
    end

    test "of a flow whose transport has no address is that of another", %{stack: stack} do
      register(stack, :udp, false, address: {{127, 0, 0, 1}, 5070})
      connection = %Sippet.Transport{protocol: :tcp, reliable?: true, pid: self()}
      flow = %Sippet.Flow{protocol: :tcp, remote: {{127, 0, 0, 1}, 1}, connection: connection}
      assert to_string(Sippet.own_uri(stack, flow: flow)) == "sip:127.0.0.1:5070"
    end

    test "wants a transport with an address", %{stack: stack} do
      assert_raise ArgumentError, fn -> Sippet.own_uri(stack) end
      register(stack, :udp, false, [])
      assert_raise ArgumentError, fn -> Sippet.own_uri(stack) end
      register(stack, :udp, false, address: {{127, 0, 0, 1}, 5060}, advertise: {"a.com", 5062})
      assert to_string(Sippet.own_uri(stack)) == "sip:a.com:5062"
    end
  end

  describe "own?/2" do
    @describetag stack: [hosts: ["atlanta.com", {"192.0.2.9", 5099}]]

    test "knows the addresses of the transports, what they advertise, and the option :hosts", %{
      stack: stack
    } do
      register(stack, :udp, false, address: {{127, 0, 0, 1}, 5070}, advertise: {"nat.com", 5071})
      own? = &Sippet.own?(stack, &1)

      for own <- [
            {"127.0.0.1", 5070},
            {"nat.com", 5071},
            {"Atlanta.com", 5061},
            {"192.0.2.9", 5099}
          ],
          do: assert(own?.(own))

      assert own?.(URI.parse!("sips:bob@atlanta.com"))
      refute own?.(URI.parse!("sip:bob@atlanta.com:5070"))
      refute own?.({"127.0.0.1", 5060})
      refute own?.(URI.parse!("tel:+358"))
    end

    test "forgets a transport that has ended", %{stack: stack} do
      pid = start_supervised!({UDP, name: stack, port: 0, address: "127.0.0.1"})
      {:ok, {_ip, port}} = UDP.sockname(pid)
      assert Sippet.own?(stack, {"127.0.0.1", port})
      stop_supervised!({UDP, stack, "127.0.0.1", 0})
      Sippet.Wait.wait_until(fn -> not Sippet.own?(stack, {"127.0.0.1", port}) end)
    end
  end

  describe "RFC3261§18.1.1 beside a transport of TCP" do
    setup %{stack: stack} do
      register(stack, :udp, false, address: {{127, 0, 0, 1}, 5070})
      register(stack, :tcp, true, address: {{127, 0, 0, 1}, 5071})
      :ok
    end

    test "a request is completed, and judged by its size", %{stack: stack} do
      assert Sippet.send(stack, request()) == :ok
      assert {_, :udp, {"127.0.0.1", 5070}, %{"rport" => ""}} = sent_via(:options)

      large = Message.put_header(request(), :subject, String.duplicate("x", 1_300))
      assert Sippet.send(stack, large) == :ok
      assert {_, :tcp, {"127.0.0.1", 5071}, params} = sent_via(:options)
      refute is_map_key(params, "rport")
    end
  end

  test "RFC3261§9.1: a CANCEL without the branch of its INVITE is refused", %{stack: stack} do
    register(stack, :udp, false, address: {{127, 0, 0, 1}, 5070})
    invite = request(:invite)
    :ok = Sippet.send(stack, invite)

    assert_raise ArgumentError, fn -> Sippet.send(stack, Message.to_cancel(invite)) end

    cancel = own_request(:cancel, "sip:bob@192.0.2.4")
    [{version, protocol, sent_by, _params}] = cancel.headers.via
    cancel = Message.put_header(cancel, :via, [{version, protocol, sent_by, %{}}])
    assert_raise ArgumentError, ~r/branch of its INVITE/, fn -> Sippet.send(stack, cancel) end
  end
end
