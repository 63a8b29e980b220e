defmodule Sippet.Transactions.MemoryTest do
  # How much memory a transaction holds, by `Transactions.info/2` and by the table of deadlines.
  use Sippet.StackCase, async: true

  alias Sippet.{Stack, Transactions, URI}
  alias Sippet.Transactions.Client

  # Nothing comes to its end within a test.
  @timers [t1: 500, t2: 4_000, t4: 5_000, answer_timeout: 180_000]
  @moduletag stack: @timers

  # As many as make the tables' own memory small beside theirs.
  @many 200

  @most_pending 2_048
  # 0.6 KB: the entry of its deadline has 60 to 80 octets, by the size of its table, and the other entries vary by some
  # octets too.
  @most_finished 640
  @most_repeating 768

  # What a 64 KB datagram and an ordinary one have as their body.
  @large 64_000
  @ordinary 150

  setup %{stack: name}, do: %{name: name, stack: Stack.fetch!(name)}

  # Octets for each transaction of `start`, which gives its key and the octets that it may hold; without those.
  defp beside(stack, start) do
    before = deadlines(stack)
    started = for _one <- 1..@many, do: start.()
    Transactions.settle(stack)

    # The first entry stays until its time, seconds later, where the transaction is finished before.
    assert Transactions.held(stack).deadlines <= 2 * Transactions.count(stack)
    per_deadline = (deadlines(stack) - before) / Transactions.held(stack).deadlines

    sizes =
      for {key, held} <- started do
        %{running?: false, bytes: bytes} = idle(stack, key)
        bytes - held
      end

    Enum.max(sizes) + per_deadline
  end

  # Its callback has ended: what that holds is the core's.
  defp idle(stack, key) do
    Sippet.Wait.wait_until(fn -> not Transactions.info(stack, key).running? end)
    Transactions.info(stack, key)
  end

  defp deadlines(stack) do
    words =
      for tables <- Tuple.to_list(stack.transactions.deadlines),
          table <- Tuple.to_list(tables),
          do: :ets.info(table, :memory)

    Enum.sum(words) * :erlang.system_info(:wordsize)
  end

  # A datagram, its request as the core gets it, and the key.
  defp come(name, method, body, headers \\ []) do
    length = {"Content-Length", "#{body}"}
    datagram = wire(method, [length | headers]) <> :binary.copy("x", body)
    deliver(name, datagram)
    assert_receive {:receive_request, request, key}
    {datagram, request, key}
  end

  defp answer(name, request, key, status) do
    :ok = Sippet.send(name, Message.to_response(request, status))
    assert_receive {:sent, _destination, octets, ^key}
    octets
  end

  defp outgoing(method, body, headers \\ %{}) do
    via = {{2, 0}, :udp, {"127.0.0.1", 5060}, %{"branch" => Message.create_branch()}}

    defaults = %{
      via: [via],
      from: {"", URI.parse!("sip:a@atlanta.com"), %{"tag" => "1"}},
      to: {"", URI.parse!("sip:b@biloxi.com"), %{}},
      call_id: Message.create_call_id(),
      cseq: {1, method},
      max_forwards: 70
    }

    request = Message.build_request(method, "sip:b@192.0.2.7")
    %{request | headers: Map.merge(defaults, headers), body: :binary.copy("x", body)}
  end

  defp go(name, request) do
    :ok = Sippet.send(name, request)
    assert_receive {:sent, _destination, octets, %Client.Key{} = key}
    {octets, key}
  end

  defp respond(name, octets, status) do
    request = Message.parse!(octets)
    deliver(name, request |> Message.to_response(status) |> Message.to_string())
    assert_receive {:receive_response, _response, _key}
  end

  describe "a pending INVITE of 64 KB holds its octets, and at most 2 KB beside" do
    test "before the core has answered", %{name: name, stack: stack} do
      start = fn ->
        {datagram, _request, key} = come(name, "INVITE", @large)
        {key, byte_size(datagram)}
      end

      assert beside(stack, start) <= @most_pending
    end

    test "while it rings", %{name: name, stack: stack} do
      start = fn ->
        {datagram, request, key} = come(name, "INVITE", @large)
        answer(name, request, key, 180)
        {key, byte_size(datagram)}
      end

      assert beside(stack, start) <= @most_pending
    end

    test "as a client's", %{name: name, stack: stack} do
      for status <- [nil, 180] do
        start = fn ->
          {octets, key} = go(name, outgoing(:invite, @large))
          if status, do: respond(name, octets, status)
          {key, byte_size(octets)}
        end

        assert beside(stack, start) <= @most_pending
      end
    end
  end

  describe "an ordinary pending transaction holds at most 2 KB" do
    for method <- ["INVITE", "OPTIONS"] do
      test "of a server: #{method}", %{name: name, stack: stack} do
        start = fn ->
          {_datagram, request, key} = come(name, unquote(method), @ordinary)
          if unquote(method) == "INVITE", do: answer(name, request, key, 180)
          {key, 0}
        end

        assert beside(stack, start) <= @most_pending
      end
    end

    for method <- [:invite, :options] do
      test "of a client: #{method}", %{name: name, stack: stack} do
        start = fn ->
          {_octets, key} = go(name, outgoing(unquote(method), @ordinary))
          {key, 0}
        end

        assert beside(stack, start) <= @most_pending
      end
    end
  end

  describe "a finished transaction holds at most 0.6 KB beside its octets" do
    for {method, status, octets?} <- [
          # The core alone has the octets of a 2xx to an INVITE.
          {"INVITE", 200, false},
          {"INVITE", 486, true},
          {"OPTIONS", 200, true}
        ] do
      test "of a server: #{method}, #{status}", %{name: name, stack: stack} do
        start = fn ->
          {_datagram, request, key} = come(name, unquote(method), @large)
          if unquote(method) == "INVITE", do: answer(name, request, key, 180)
          octets = answer(name, request, key, unquote(status))
          {key, if(unquote(octets?), do: byte_size(octets), else: 0)}
        end

        assert beside(stack, start) <= @most_finished
      end
    end

    test "of a server: INVITE, with its ACK", %{name: name, stack: stack} do
      start = fn ->
        {_datagram, request, key} = come(name, "INVITE", @large)
        octets = answer(name, request, key, 486)
        to = Message.parse!(octets).headers.to
        ack = %{request | start_line: %{request.start_line | method: :ack}, body: ""}
        headers = %{ack.headers | to: to, cseq: {1, :ack}, content_length: 0}
        deliver(name, Message.to_string(%{ack | headers: headers}))
        assert Transactions.info(stack, key).state == :confirmed
        {key, 0}
      end

      assert beside(stack, start) <= @most_finished
    end

    # More than a last timer is waited for.
    test "of a server: INVITE, its 2xx repeated: 0.75 KB", %{name: name, stack: stack} do
      start = fn ->
        {_datagram, request, key} = come(name, "INVITE", @large)
        response = Message.to_response(request, 200)
        octets = answer(name, request, key, 200)
        :ok = Transactions.retransmit_2xx(stack, response)
        {key, byte_size(octets)}
      end

      assert beside(stack, start) <= @most_repeating
    end

    for {method, status, octets?} <- [
          {:invite, 200, false},
          {:invite, 486, true},
          {:options, 200, false}
        ] do
      test "of a client: #{method}, #{status}", %{name: name, stack: stack} do
        start = fn ->
          {octets, key} = go(name, outgoing(unquote(method), @large))
          respond(name, octets, unquote(status))

          if unquote(octets?) do
            assert_receive {:sent, _destination, "ACK " <> _rest = ack, ^key}
            {key, byte_size(ack)}
          else
            {key, 0}
          end
        end

        assert beside(stack, start) <= @most_finished
      end
    end
  end

  # The parser shares octets of a datagram of up to 4 KB, and of a larger one where a part of it is a quarter.
  describe "a text that is kept does not keep its datagram" do
    @long String.duplicate("a", 66) <> ".com"
    @longest String.duplicate("b", 20_000)

    for {body, long} <- [{3_500, @long}, {60_000, @long}, {40_000, @longest}],
        {what, method, headers} <- [
          {"a method", "M" <> long, []},
          {"a To tag", "INVITE", [{"To", "<sip:b@biloxi.com>;tag=#{long}"}]},
          {"a host", "OPTIONS", [{"Via", "SIP/2.0/UDP #{long};branch=z9hG4bKhost"}]},
          {"a branch", "OPTIONS", [{"Via", "SIP/2.0/UDP h;branch=z9hG4bK#{long}"}]}
        ] do
      test "#{what} of #{byte_size(long)} octets, before #{body} others", %{
        name: name,
        stack: stack
      } do
        for status <- [200, 486] do
          {_datagram, request, key} =
            come(name, unquote(method), unquote(body), unquote(Macro.escape(headers)))

          octets = answer(name, request, key, status)
          Transactions.settle(stack)
          # It may stand in the key and in the state.
          most = 1_024 + byte_size(octets) + 2 * unquote(byte_size(long))
          assert idle(stack, key).bytes <= most
          Transactions.terminate(stack, key)
          Transactions.settle(stack)
        end
      end
    end

    @tag stack: @timers ++ [behave: &__MODULE__.fail/3]
    @tag :capture_log
    test "a To tag, where the core fails, and the stack answers", %{name: name, stack: stack} do
      {_datagram, request, key} =
        come(name, "INVITE", 3_500, [{"To", "<sip:b@biloxi.com>;tag=#{@long}"}])

      {_name, _uri, %{"tag" => tag}} = request.headers.to
      assert :binary.referenced_byte_size(tag) > 3_500
      assert_receive {:sent, _destination, "SIP/2.0 500 " <> _rest = octets, ^key}
      assert idle(stack, key).bytes <= 1_024 + byte_size(octets)
    end

    def fail(_callback, _argument, _key), do: raise("no")

    test "a message keeps nothing of the stream that it was cut off", %{name: name, stack: stack} do
      stream = String.duplicate(wire("OPTIONS"), 100)
      datagram = binary_part(stream, 0, div(byte_size(stream), 100))
      assert :binary.referenced_byte_size(datagram) == byte_size(stream)
      deliver(name, datagram)
      assert_receive {:receive_request, _request, key}
      assert idle(stack, key).bytes <= @most_pending
    end

    test "a host to which a request goes", %{name: name, stack: stack} do
      {_datagram, request, _key} = come(name, "INVITE", 3_500, [{"Contact", "<sip:a@#{@long}>"}])

      [{_name, %{host: host}, _params}] = request.headers.contact
      assert :binary.referenced_byte_size(host) > 3_500
      # A name is kept for a transport that looks it up itself.
      how = [via: {Sippet.TestTransport, self()}, takes_names: true]
      :ok = Sippet.register_transport(name, :sctp, false, how)
      request = %{outgoing(:options, 0) | target: {:sctp, host, 5060}}
      {octets, key} = go(name, request)
      assert Transactions.info(stack, key).bytes <= 1_024 + byte_size(octets)
    end
  end
end
