defmodule Sippet.RFC3261.Section16Test do
  # What test/sippet/proxy_test.exs and the tests of the examples leave open.
  use Sippet.StackCase, async: true

  alias Sippet.{Names, Proxy, TestTransport, Transactions, URI}
  alias Sippet.Proxy.ResponseContext

  # Nothing is repeated while a test runs.
  @moduletag stack: [t1: 2_000, t2: 8_000, answer_timeout: 30_000]

  @own {"127.0.0.1", 5060}
  @via {:udp, @own}

  defp forward(request, uri \\ "sip:b@192.0.2.11", options \\ []),
    do: Proxy.forward(request, URI.parse!(uri), [via: @via] ++ options)

  # A request as it comes from the wire.
  defp read(method, headers \\ []), do: method |> wire(headers) |> Message.parse!()

  defp text(message), do: message |> Message.to_iodata() |> IO.iodata_to_binary()

  defp branch(%Message{headers: %{via: [{_version, _protocol, _sent_by, params} | _]}}),
    do: params["branch"]

  # The part of a branch that tells a loop.
  defp mark(request), do: request |> forward() |> branch() |> String.split(".") |> List.last()

  # The next message of this kind that the stack sends, and where to.
  defp sent(wanted) do
    start = if is_integer(wanted), do: "SIP/2.0 #{wanted} ", else: "#{Names.method_name(wanted)} "
    size = byte_size(start)
    assert_receive {:sent, destination, <<^start::binary-size(size), _::binary>> = octets, _key}
    {Message.parse!(octets), destination}
  end

  # Hands in a request, and runs its response context with a branch for each host. Gives the copies.
  defp context(stack, text, hosts \\ ["192.0.2.11"], options \\ []) do
    {_context, copies} = started(stack, text, hosts, options)
    copies
  end

  defp started(stack, text, hosts \\ ["192.0.2.11"], options \\ [], remote \\ remote()) do
    :ok = deliver(stack, text, remote)
    assert_receive {:receive_request, request, key}
    copies = for host <- hosts, do: forward(request, "sip:b@#{host}")
    context = spawn_link(fn -> ResponseContext.run(stack, key, request, [copies], options) end)
    {context, for(_host <- hosts, do: request.start_line.method |> sent() |> elem(0))}
  end

  # The called one of a copy answers.
  defp respond(stack, copy, status, change \\ & &1) do
    response = copy |> Message.to_response(status) |> change.()
    :ok = deliver(stack, text(response), {:udp, {192, 0, 2, 11}, 5060})
    response
  end

  defp put_to_tag(%Message{headers: %{to: {name, uri, params}}} = message, tag) do
    params = if tag, do: Map.put(params, "tag", tag), else: Map.delete(params, "tag")
    Message.put_header(message, :to, {name, uri, params})
  end

  describe "RFC3261§16.2 stateful proxy" do
    test "a request that is no INVITE gets no 100", %{stack: stack} do
      # Over an unreliable transport the stack would drop it.
      address = {{127, 0, 0, 1}, 5060}
      via = {TestTransport, self()}
      :ok = Sippet.register_transport(stack, :tcp, true, address: address, via: via)
      headers = [{"Via", "SIP/2.0/TCP 10.1.1.1;branch=z9hG4bKtcp"}, {"Content-Length", "0"}]
      remote = {:tcp, {192, 0, 2, 7}, 4321}
      {_context, [copy]} = started(stack, wire("OPTIONS", headers), ["192.0.2.11"], [], remote)
      refute_receive {:sent, _destination, "SIP/2.0 100" <> _rest, _key}, 100
      respond(stack, copy, 200)
      sent(200)
    end
  end

  describe "RFC3261§16.3 request validation" do
    test "one request by two paths is forwarded twice", %{stack: stack} do
      headers = [{"Call-ID", "merged"}]

      for _path <- 1..2 do
        :ok = deliver(stack, wire("INVITE", headers))
        assert_receive {:receive_request, request, _key}
        assert Proxy.validate(request, own: [@own]) == :ok
      end
    end

    test "1. malformed headers that no proxy needs stay as they are" do
      request = read("INVITE", [{"Date", "yesterday"}, {"Subject", "a"}, {"Contact", "<sip:"}])
      assert Proxy.validate(request) == :ok
      copy = text(forward(request))
      for line <- ["Date: yesterday", "Contact: <sip:"], do: assert(copy =~ "\r\n#{line}\r\n")
    end

    test "1. methods and headers that nobody knows are let through" do
      request = read("FROBNICATE", [{"X-Unknown", "1, <2>;3"}])
      assert Proxy.validate(request) == :ok
      assert "FROBNICATE sip:b@192.0.2.11 SIP/2.0\r\n" <> headers = text(forward(request))
      assert headers =~ "\r\nX-Unknown: 1, <2>;3\r\n"
    end
  end

  describe "RFC3261§16.4 route information preprocessing" do
    test "what was changed is what the next steps see" do
      own = URI.parse!("sip:127.0.0.1;lr")
      route = [{"", URI.parse!("sip:b@192.0.2.11"), %{}}]

      # As a strict router sends it.
      request = read("BYE") |> Message.put_header(:route, route)
      request = put_in(request.start_line.request_uri, own)
      preprocessed = Proxy.preprocess_route(request, [@own])
      assert to_string(preprocessed.start_line.request_uri) == "sip:b@192.0.2.11"
      assert mark(preprocessed) == mark(Proxy.preprocess_route(preprocessed, [@own]))
      refute Message.has_header?(forward(preprocessed), :route)
    end
  end

  describe "RFC3261§16.6 request forwarding" do
    test "1. the values of one name keep their order, and the body is the same" do
      request =
        "INVITE"
        |> wire([
          {"Record-Route", "<sip:p2;lr>, <sip:p1;lr>"},
          {"Record-Route", "<sip:p0;lr>"},
          {"X-Many", "b"},
          {"X-Many", "a"},
          {"Content-Length", "4"}
        ])
        |> Kernel.<>("\0\r\n\xFF")
        |> Message.parse!()

      copy = forward(request, "sip:b@192.0.2.11", record_route: URI.parse!("sip:p3;lr"))
      hosts = for {_name, uri, _params} <- copy.headers.record_route, do: uri.host
      assert hosts == ["p3", "p2", "p1", "p0"]
      assert text(copy) =~ ~r/X-Many: b(\r\nX-Many: |, )a\r\n/
      assert String.ends_with?(text(copy), "\r\n\r\n\0\r\n\xFF")
    end

    # RFC3261§22.3, RFC7616§3.6
    test "1. credentials go on as they came" do
      credentials = ~S(Digest realm="a", nonce="n", uri="sip:b", response="0", x-new=1)

      lines = for name <- ["Authorization", "Proxy-Authorization"], do: {name, credentials}

      request = read("INVITE", lines)
      copy = forward(request)

      for header <- [:authorization, :proxy_authorization] do
        assert copy.headers[header] == request.headers[header]
        assert [{"Digest", %{"response" => "0", "x-new" => "1"}}] = copy.headers[header]
      end

      # Where there were none, there are none.
      copy = forward(read("INVITE"))
      refute Message.has_header?(copy, :proxy_authorization)
    end

    test "8. a branch has a part that is new each time, and one that tells loops" do
      request = read("INVITE")
      [one, other] = for _ <- 1..2, do: request |> forward() |> branch()
      assert [first, mark] = String.split(one, ".")
      assert [second, ^mark] = String.split(other, ".")
      assert first != second
      for part <- [first, second], do: assert(part =~ ~r/^z9hG4bK[\w-]{8,}$/)
    end

    test "8. the second part reflects what has an influence on where a request goes" do
      request = read("INVITE", [{"Call-ID", "one"}])
      uri = fn text -> put_in(request.start_line.request_uri, URI.parse!(text)) end
      credentials = [{"Digest", %{"realm" => "r"}}]
      {name, from, _params} = request.headers.from

      others = [
        uri.("sip:c@biloxi.com"),
        Message.put_header(request, :route, [{"", URI.parse!("sip:p;lr"), %{}}]),
        Message.put_header(request, :proxy_require, ["foo"]),
        Message.put_header(request, :proxy_authorization, credentials),
        Message.put_header(request, :call_id, "other"),
        Message.put_header(request, :cseq, {2, :invite}),
        Message.put_header(request, :from, {name, from, %{"tag" => "2"}}),
        put_to_tag(request, "b")
      ]

      marks = Enum.map([request | others], &mark/1)
      assert Enum.uniq(marks) == marks
    end

    test "8. the second part is the same for another method, and after another hop" do
      request = read("INVITE", [{"Call-ID", "one"}])
      same = ["CANCEL", "ACK", "OPTIONS"] |> Enum.map(&read(&1, [{"Call-ID", "one"}]))
      hop = Message.put_header_front(request, :via, {{2, 0}, :udp, {"p", 5060}, %{}})
      hop = Message.put_header(hop, :max_forwards, 1)
      for other <- [hop | same], do: assert(mark(other) == mark(request))
    end

    test "8. a CANCEL has the branch of the request that it cancels" do
      copy = forward(read("INVITE"))
      assert Message.to_cancel(copy).headers.via == Enum.take(copy.headers.via, 1)
    end

    test "10. each copy has a client transaction", %{stack: stack} do
      copies = context(stack, wire("INVITE"), ["192.0.2.11", "192.0.2.12"])
      keys = Transactions.keys(Sippet.Stack.fetch!(stack))
      clients = for %Transactions.Client.Key{} = key <- keys, do: key
      assert Enum.sort(clients) == Enum.sort(Enum.map(copies, &Transactions.Client.Key.new/1))
    end

    test "11. Timer C is above three minutes unless the core says otherwise" do
      {:docs_v1, _, _, _, _, _, docs} = Code.fetch_docs(ResponseContext)

      assert [text] = for({{:function, :run, _arity}, _, _, %{"en" => text}, _} <- docs, do: text)

      assert [_all, default] = Regex.run(~r/`:?timer_c:?`.*?(\d[\d_]+)/s, text)
      assert default |> String.replace("_", "") |> String.to_integer() > :timer.minutes(3)
    end
  end

  describe "RFC3261§16.7 response processing" do
    test "2. each provisional response but a 100 sets Timer C anew", %{stack: stack} do
      [copy] = context(stack, wire("INVITE"), ["192.0.2.11"], timer_c: 1_000)

      for _ <- 1..3 do
        respond(stack, copy, 180)
        sent(180)
        refute_receive {:sent, _destination, "CANCEL " <> _rest, _key}, 400
      end

      sent(:cancel)
    end

    test "2. a 100 does not set it anew", %{stack: stack} do
      [copy] = context(stack, wire("INVITE"), ["192.0.2.11"], timer_c: 1_000)
      started = System.monotonic_time(:millisecond)
      refute_receive {:sent, _destination, "CANCEL " <> _rest, _key}, 700
      respond(stack, copy, 100)
      # Were it set anew, no CANCEL would come before 1700 ms.
      assert_receive {:sent, _destination, "CANCEL " <> _rest, _key}, 2_000
      assert System.monotonic_time(:millisecond) - started < 1_650
    end

    # As Net::SIP's 487, which has the Via of the CANCEL alone.
    defp without_upstream(%Message{headers: %{via: [own | _upstream]}} = response),
      do: Message.put_header(response, :via, [own])

    # Waits until the context has ended.
    defp over(context) do
      monitor = Process.monitor(context)
      assert_receive {:DOWN, ^monitor, :process, ^context, _reason}
    end

    test "3. a response with no Via but the proxy's goes no further, and its branch is over", %{
      stack: stack
    } do
      for status <- [200, 302, 486, 603] do
        {context, [copy]} = started(stack, wire("INVITE"))
        respond(stack, copy, 180, &without_upstream/1)
        respond(stack, copy, status, &without_upstream/1)
        sent(502)
        over(context)
      end

      {context, [one, other]} = started(stack, wire("INVITE"), ["192.0.2.11", "192.0.2.12"])
      respond(stack, one, 486, &without_upstream/1)
      respond(stack, other, 404)
      sent(404)
      over(context)
      refute_received {:sent, _destination, "SIP/2.0 180" <> _rest, _key}
    end

    test "3. after a CANCEL the caller gets the proxy's own 487 then", %{stack: stack} do
      invite = wire("INVITE")
      {context, [copy]} = started(stack, invite)
      respond(stack, copy, 180)
      sent(180)
      :ok = deliver(stack, text(Message.to_cancel(Message.parse!(invite))))
      sent(:cancel)
      respond(stack, copy, 487, &without_upstream/1)
      sent(487)
      over(context)
    end

    test "9. a response goes upstream as it came, but for the topmost Via", %{stack: stack} do
      for status <- [183, 486, 200] do
        [copy] = context(stack, wire("INVITE"))

        sent =
          respond(stack, copy, status, fn response ->
            %{response | body: "\0\xFF"}
            |> put_to_tag("of-the-called")
            |> Message.put_header("X-Unknown", ["1, <2>;3"])
            |> Message.put_header("Date", ["yesterday"])
            |> Message.put_header(:record_route, [{"", URI.parse!("sip:p;lr"), %{}}])
          end)

        {came, _caller} = sent(status)
        [_own | vias] = sent.headers.via
        assert [{_version, :udp, _sent_by, %{"received" => _, "rport" => "4321"}}] = vias
        assert came == Message.parse!(text(Message.put_header(sent, :via, vias)))
      end
    end

    # RFC7616§3.6
    test "9. challenges and what follows them go upstream as they came", %{stack: stack} do
      lines = [
        {407, "Proxy-Authenticate", ~S(Digest realm="a", nonce="n", x-new="1")},
        {401, "WWW-Authenticate", ~S(Digest realm="a", nonce="n", x-new="1")},
        {200, "Authentication-Info", ~S(nextnonce="n", x-new=1)},
        {200, "Proxy-Authentication-Info", ~S(nextnonce="n", x-new=1)}
      ]

      for {status, name, value} <- lines do
        [copy] = context(stack, wire("INVITE"))

        [start, rest] =
          copy |> Message.to_response(status) |> text() |> String.split("\r\n", parts: 2)

        response = start <> "\r\n#{name}: #{value}\r\n" <> rest
        :ok = deliver(stack, response, {:udp, {192, 0, 2, 11}, 5060})
        {came, _destination} = sent(status)
        assert Message.get_header(came, name) != nil

        assert Message.get_header(came, name) ==
                 Message.get_header(Message.parse!(response), name)
      end
    end

    test "6. no To gets a tag that it had not, or another", %{stack: stack} do
      [copy] = context(stack, wire("INVITE"))

      for {status, tag} <- [{180, nil}, {180, "a"}, {183, "b"}, {200, nil}] do
        respond(stack, copy, status, &put_to_tag(&1, tag))
        {came, _destination} = sent(status)
        {_name, _uri, params} = came.headers.to
        assert params["tag"] == tag
      end

      [copy] = context(stack, wire("INVITE", [{"To", "<sip:b@biloxi.com>;tag=in-dialog"}]))
      respond(stack, copy, 488)
      {came, _destination} = sent(488)
      assert {_name, _uri, %{"tag" => "in-dialog"}} = came.headers.to
    end

    test "9. the context stays until each branch has ended", %{stack: stack} do
      [one, other] = context(stack, wire("INVITE"), ["192.0.2.11", "192.0.2.12"])
      respond(stack, one, 200)
      sent(200)
      respond(stack, other, 200, &put_to_tag(&1, "late"))
      assert {%Message{headers: %{to: {_, _, %{"tag" => "late"}}}}, _to} = sent(200)
    end

    test "6. the best of those that came is sent after a CANCEL too", %{stack: stack} do
      invite = wire("INVITE")
      [one, other] = context(stack, invite, ["192.0.2.11", "192.0.2.12"])
      respond(stack, other, 180)
      sent(180)
      respond(stack, one, 603)
      sent(:cancel)
      :ok = deliver(stack, text(Message.to_cancel(Message.parse!(invite))))
      sent(200)
      respond(stack, other, 487)
      sent(603)

      # The called one's own 487, with its tag, and not one of the proxy's.
      invite = wire("INVITE")
      [copy] = context(stack, invite)
      respond(stack, copy, 180)
      sent(180)
      :ok = deliver(stack, text(Message.to_cancel(Message.parse!(invite))))
      sent(:cancel)
      respond(stack, copy, 487, &put_to_tag(&1, "of-the-called"))
      {came, _destination} = sent(487)
      assert {_name, _uri, %{"tag" => "of-the-called"}} = came.headers.to
    end
  end

  describe "RFC3261§16.7 response processing, RFC4320§4.2" do
    # 64*T1 is 640 ms.
    @describetag stack: [t1: 10, t2: 40, answer_timeout: 30_000]

    test "6. a request that is no INVITE gets no answer when its branch has timed out", %{
      stack: stack
    } do
      {context, [_copy]} = started(stack, wire("OPTIONS"))
      monitor = Process.monitor(context)
      assert_receive {:DOWN, ^monitor, :process, ^context, _reason}, 2_000
      # By then the stack has sent a 100 (RFC4320§4.1).
      for class <- ?2..?6,
          do: refute_received({:sent, _destination, <<"SIP/2.0 ", ^class, _::binary>>, _key})
    end
  end

  describe "RFC3261§16.9 handling transport errors" do
    @describetag transport: false

    test "a response that can't be sent ends no branch", %{stack: stack} do
      outcome = fn
        "SIP/2.0 180" <> _rest -> {:error, :enetunreach}
        _octets -> :ok
      end

      :ok =
        Sippet.register_transport(stack, :udp, false,
          address: {{127, 0, 0, 1}, 5060},
          via: {TestTransport, {self(), outcome}}
        )

      [copy] = context(stack, wire("INVITE"))
      respond(stack, copy, 180)
      sent(180)
      refute_receive {:sent, _destination, "CANCEL " <> _rest, _key}, 100
      respond(stack, copy, 200)
      sent(200)
    end
  end

  describe "RFC3261§16.11 stateless proxy" do
    test "what comes again is forwarded in the same form" do
      text = wire("INVITE")

      [one, other] =
        for _ <- 1..2 do
          request = Message.parse!(text)

          request
          |> forward("sip:b@192.0.2.11",
            branch: Proxy.stateless_branch(request),
            record_route: URI.parse!("sip:127.0.0.1;lr"),
            route: [URI.parse!("sip:p1;lr")]
          )
          |> text()
        end

      assert one == other
    end

    test "a branch is a hash of the one that came, and of nothing that a hop may change" do
      request = read("INVITE", [{"Via", "SIP/2.0/UDP 10.1.1.1;branch=z9hG4bKone"}])
      changed = Message.put_header(request, :max_forwards, 3)
      assert Proxy.stateless_branch(changed) == Proxy.stateless_branch(request)
      other = read("INVITE", [{"Via", "SIP/2.0/UDP 10.1.1.1;branch=z9hG4bKother"}])
      assert Proxy.stateless_branch(other) != Proxy.stateless_branch(request)
    end

    test "a response loses its topmost Via, and nothing else" do
      response =
        "INVITE"
        |> read()
        |> forward()
        |> Message.to_response(200)
        |> Message.put_header("X-Unknown", ["1"])

      response = %{response | body: "body"}
      assert {:ok, left} = Proxy.remove_via(response, [@own])
      assert put_in(left.headers.via, response.headers.via) == response
      assert left.headers.via == tl(response.headers.via)
    end
  end

  # RFC 5393 asks for more: guides/deviations.md
  describe "RFC5393§5.3.3 proxy behavior" do
    test "Max-Breadth goes on as it came" do
      request = read("INVITE", [{"Max-Breadth", "7"}])
      assert text(forward(request)) =~ "\r\nMax-Breadth: 7\r\n"
      refute text(forward(read("INVITE"))) =~ "Max-Breadth"
    end
  end

  describe "RFC3261§16.5 determining request targets" do
    test "no targets are answered 480, whatever the method", %{stack: stack} do
      for method <- ["INVITE", "OPTIONS"] do
        :ok = deliver(stack, wire(method))
        assert_receive {:receive_request, request, key}
        spawn_link(fn -> ResponseContext.run(stack, key, request, []) end)
        sent(480)
      end
    end
  end

  describe "RFC3261§16.8 processing Timer C" do
    test "who rings after Timer C has given them up is cancelled", %{stack: stack} do
      [copy] = context(stack, wire("INVITE"), ["192.0.2.11"], timer_c: 100)
      sent(408)

      respond(stack, copy, 180)
      {cancel, {{192, 0, 2, 11}, 5060}} = sent(:cancel)
      assert cancel.headers.via == Enum.take(copy.headers.via, 1)
      refute_received {:sent, _destination, "SIP/2.0 180" <> _rest, _key}
    end

    test "a 2xx of who was given up goes to the caller", %{stack: stack} do
      [copy] = context(stack, wire("INVITE"), ["192.0.2.11"], timer_c: 50)
      sent(408)
      respond(stack, copy, 200)
      {ok, _destination} = sent(200)
      assert length(ok.headers.via) == 1
    end

    test "who is given up does not hold up the next list", %{stack: stack} do
      :ok = deliver(stack, wire("INVITE"))
      assert_receive {:receive_request, request, key}
      lists = for host <- ["192.0.2.11", "192.0.2.12"], do: [forward(request, "sip:b@#{host}")]
      options = [timer_c: 50]
      context = Task.async(fn -> ResponseContext.run(stack, key, request, lists, options) end)
      {first, {{192, 0, 2, 11}, 5060}} = sent(:invite)
      {second, {{192, 0, 2, 12}, 5060}} = sent(:invite)
      respond(stack, second, 180)
      sent(180)
      respond(stack, second, 486)
      # Of the refusals the one that has come.
      sent(486)
      # The first one rings after all.
      respond(stack, first, 180)
      sent(:cancel)
      respond(stack, first, 487)
      assert {:ok, %{start_line: %{status_code: 486}}} = Task.await(context)
    end

    @tag stack: [t1: 10, t2: 40, answer_timeout: 30_000]
    test "who has rung and is dead by now does not end the search", %{stack: stack} do
      :ok = deliver(stack, wire("INVITE"))
      assert_receive {:receive_request, request, key}
      lists = for host <- ["192.0.2.11", "192.0.2.12"], do: [forward(request, "sip:b@#{host}")]
      context = Task.async(fn -> ResponseContext.run(stack, key, request, lists, timer_c: 50) end)
      {dead, _destination} = sent(:invite)
      respond(stack, dead, 180)
      sent(180)
      sent(:cancel)
      # 64*T1 after the CANCEL.
      assert_receive {:sent, {{192, 0, 2, 12}, 5060}, "INVITE" <> _rest = next, _key}, 2_000
      respond(stack, Message.parse!(next), 486)
      sent(486)
      assert {:ok, %{start_line: %{status_code: 486}}} = Task.await(context)
    end
  end

  describe "RFC3261§16.7 what run/5 returns" do
    defp run(stack, text, targets, options \\ []) do
      :ok = deliver(stack, text)
      assert_receive {:receive_request, request, key}
      Task.async(fn -> ResponseContext.run(stack, key, request, targets, options) end)
    end

    defp uris(hosts), do: for(host <- hosts, do: URI.parse!("sip:b@#{host}"))

    test "is the response that went upstream", %{stack: stack} do
      for status <- [200, 302, 486, 603] do
        context = run(stack, wire("INVITE"), [uris(["192.0.2.11"])])
        {copy, _destination} = sent(:invite)
        respond(stack, copy, status)
        sent(status)
        assert {:ok, %Message{start_line: %{status_code: ^status}} = sent} = Task.await(context)
        assert length(sent.headers.via) == 1
      end
    end

    test "is :cancelled where the caller has got a 487", %{stack: stack} do
      invite = wire("INVITE")
      context = run(stack, invite, [uris(["192.0.2.11"])])
      {copy, _destination} = sent(:invite)
      :ok = deliver(stack, text(Message.to_cancel(Message.parse!(invite))))
      sent(200)
      # Nothing has come, and so nothing can be cancelled: the timers of the branch end it.
      Transactions.receive_error(
        Sippet.Stack.fetch!(stack),
        Transactions.Client.Key.new(copy),
        :econnrefused
      )

      sent(487)
      assert Task.await(context) == {:error, :cancelled}

      # A CANCEL that was faster than the context.
      invite = wire("INVITE")
      :ok = deliver(stack, invite)
      assert_receive {:receive_request, request, key}
      :ok = deliver(stack, text(Message.to_cancel(Message.parse!(invite))))
      assert_receive {:receive_request, _cancel, _key}

      context =
        Task.async(fn -> ResponseContext.run(stack, key, request, [uris(["192.0.2.11"])]) end)

      assert Task.await(context) == {:error, :cancelled}
      sent(487)
    end

    test "is :no_transaction where the request has ended before", %{stack: stack} do
      :ok = deliver(stack, wire("INVITE"))
      assert_receive {:receive_request, request, key}
      Sippet.terminate(stack, key)
      Transactions.settle(Sippet.Stack.fetch!(stack))

      assert ResponseContext.run(stack, key, request, [uris(["192.0.2.11"])]) ==
               {:error, :no_transaction}
    end

    test "is why the stack has ended the request", %{stack: stack} do
      context = run(stack, wire("INVITE"), [uris(["192.0.2.11"])])
      {copy, _destination} = sent(:invite)
      respond(stack, copy, 180)
      {ringing, _destination} = sent(180)
      Sippet.terminate(stack, Transactions.Server.Key.new(ringing))
      # Nobody is left who could want the call.
      sent(:cancel)
      respond(stack, copy, 487)
      assert Task.await(context) == {:error, :terminated}
    end

    test "is that of a branch whose Via the proxy has named itself", %{stack: stack} do
      options = [via: {:udp, {"proxy.example.com", 5060}}]
      context = run(stack, wire("INVITE"), [uris(["192.0.2.11"])], options)
      {copy, _destination} = sent(:invite)
      assert {_, :udp, {"proxy.example.com", 5060}, _} = hd(copy.headers.via)
      respond(stack, copy, 200)
      sent(200)
      assert {:ok, %{start_line: %{status_code: 200}}} = Task.await(context)
    end

    test "leaves nothing in the mailbox of a process that goes on", %{stack: stack} do
      :ok = deliver(stack, wire("INVITE"))
      assert_receive {:receive_request, request, key}
      assert {:ok, _response} = ResponseContext.run(stack, key, request, [])
      {:monitors, monitors} = Process.info(self(), :monitors)
      refute {:process, Process.whereis(Sippet.supervisor(stack))} in monitors
    end
  end

  describe "RFC4320§4.2 a request that is no INVITE, to who is silent" do
    @describetag stack: [t1: 10, t2: 40, answer_timeout: 30_000]

    test "ends without a response, and is no failure of the core", %{stack: stack} do
      context = run(stack, wire("MESSAGE"), [uris(["192.0.2.11"])])
      sent(:message)
      assert Task.await(context) == {:error, :timeout}
      refute_received {:sent, _destination, "SIP/2.0 4" <> _rest, _key}
      stats = Sippet.stats(stack)
      assert {stats.core_failed, stats.core_abandoned} == {0, 0}
    end

    test "nor is it answered where the far end answers 408", %{stack: stack} do
      context = run(stack, wire("MESSAGE"), [uris(["192.0.2.11"])])
      {copy, _destination} = sent(:message)
      respond(stack, copy, 408)
      assert Task.await(context) == {:error, :timeout}
      refute_received {:sent, _destination, "SIP/2.0 408" <> _rest, _key}
      refute_received {:sent, _destination, "SIP/2.0 500" <> _rest, _key}
    end

    test "nor where a list comes behind that", %{stack: stack} do
      context = run(stack, wire("MESSAGE"), [uris(["192.0.2.11"]), uris(["192.0.2.12"])])
      assert Task.await(context) == {:error, :timeout}
      refute_received {:sent, _destination, "SIP/2.0 5" <> _rest, _key}
    end
  end

  describe "RFC3261§16.6 the targets of run/5" do
    test "get copies with what is given for them", %{stack: stack} do
      own = URI.parse!("sip:127.0.0.1;lr")
      route = [URI.parse!("sip:192.0.2.20;lr")]

      options = [
        record_route: own,
        route: route,
        response: &Message.put_header(&1, :subject, "hi")
      ]

      run(stack, wire("INVITE"), [uris(["192.0.2.11"])], options)
      {copy, {{192, 0, 2, 20}, 5060}} = sent(:invite)
      assert [{"", ^own, %{}}] = copy.headers.record_route
      assert [{{2, 0}, :udp, {"127.0.0.1", 5060}, %{"rport" => ""}}, _callers] = copy.headers.via
      respond(stack, copy, 180)
      {ringing, _destination} = sent(180)
      assert ringing.headers.subject == "hi"
    end

    test "may be bindings, and stand once", %{stack: stack} do
      binding = %Sippet.Binding{
        contact: {"", URI.parse!("sip:b@192.0.2.11"), %{}},
        expires_at: 0,
        call_id: "a",
        cseq: 1,
        path: [{"", URI.parse!("sip:192.0.2.21;lr"), %{}}]
      }

      twice = uris(["192.0.2.12", "192.0.2.12"])
      run(stack, wire("INVITE"), [[binding, binding | twice], uris(["192.0.2.12"])])
      {by_path, {{192, 0, 2, 21}, 5060}} = sent(:invite)
      assert to_string(by_path.start_line.request_uri) == "sip:b@192.0.2.11"
      {other, {{192, 0, 2, 12}, 5060}} = sent(:invite)
      for copy <- [by_path, other], do: respond(stack, copy, 486)
      sent(486)
      refute_received {:sent, _destination, "INVITE" <> _rest, _key}
    end
  end

  describe "RFC5393§5.3.3 Max-Breadth" do
    defp breadth(copy), do: Message.fetch_typed(copy, "Max-Breadth")

    test "is shared among the copies of a list", %{stack: stack} do
      hosts = for n <- 1..3, do: "192.0.2.1#{n}"
      run(stack, wire("INVITE", [{"Max-Breadth", "8"}]), [uris(hosts)])
      shares = for _ <- hosts, do: sent(:invite) |> elem(0) |> breadth()
      assert shares == [{:ok, 3}, {:ok, 3}, {:ok, 2}]
    end

    test "is 60 where the request has none, or a larger one", %{stack: stack} do
      for headers <- [[], [{"Max-Breadth", "100"}]] do
        run(stack, wire("INVITE", headers), [uris(["192.0.2.11"])])
        {copy, _destination} = sent(:invite)
        assert breadth(copy) == {:ok, 60}
      end

      run(stack, wire("INVITE"), [uris(["192.0.2.11"])], max_breadth: 5)
      {copy, _destination} = sent(:invite)
      assert breadth(copy) == {:ok, 5}
    end

    test "has a longer list tried in parts", %{stack: stack} do
      hosts = for n <- 1..3, do: "192.0.2.1#{n}"
      run(stack, wire("INVITE", [{"Max-Breadth", "2"}]), [uris(hosts)])
      copies = for _ <- 1..2, do: sent(:invite) |> elem(0)
      assert Enum.map(copies, &breadth/1) == [{:ok, 1}, {:ok, 1}]
      refute_receive {:sent, _destination, "INVITE" <> _rest, _key}, 50
      for copy <- copies, do: respond(stack, copy, 486)
      {last, _destination} = sent(:invite)
      assert breadth(last) == {:ok, 2}
    end

    test "of 0 is answered 440", %{stack: stack} do
      context = run(stack, wire("INVITE", [{"Max-Breadth", "0"}]), [uris(["192.0.2.11"])])
      sent(440)
      assert {:ok, %{start_line: %{status_code: 440}}} = Task.await(context)
    end
  end

  describe "RFC3261§16.7 what comes when no context is there" do
    test "a 2xx goes to the caller, and an INVITE that rings is cancelled", %{stack: stack} do
      {context, [copy]} = started(stack, wire("INVITE"))
      Process.unlink(context)
      Process.exit(context, :kill)
      sent(500)
      key = Transactions.Client.Key.new(copy)
      ringing = Message.to_response(copy, 180)
      assert ResponseContext.receive_response(stack, ringing, key) == :ok
      respond(stack, copy, 180)
      sent(:cancel)
      ok = Message.to_response(copy, 200)
      assert ResponseContext.receive_response(stack, ok, key) == :ok
      sent(200)
      assert ResponseContext.receive_response(stack, ok, nil) == :ok
      refute_received {:sent, _destination, "SIP/2.0 200" <> _rest, _key}
    end
  end

  # In a stack whose time stands still, but for Timer C.
  defmodule TwoTargets do
    use Sippet.Core

    def receive_request(request, key, stack) do
      lists = for n <- 11..12, do: [Sippet.URI.parse!("sip:b@192.0.2.#{n}")]
      Sippet.Proxy.ResponseContext.run(stack, key, request, lists, timer_c: 20)
    end
  end

  describe "RFC3261§16.8 the time of the caller's INVITE" do
    @describetag transport: false
    test "is Timer C, and the 64*T1 that who has rung has to answer its CANCEL" do
      stack = start_supervised!({Sippet.Test, name: __MODULE__, core: TwoTargets}) && __MODULE__
      invite = Sippet.Test.deliver(stack, Sippet.Test.request(:invite, "sip:b@biloxi.com"))
      Sippet.Test.assert_response(stack, 100, invite)
      first = Sippet.Test.assert_request(stack, :invite)
      Sippet.Test.respond(stack, first, 180)
      Sippet.Test.assert_response(stack, 180, invite)
      Sippet.Test.assert_request(stack, :cancel)
      Sippet.Test.advance(stack, 33_000)
      second = Sippet.Test.assert_request(stack, :invite)
      assert second.start_line.request_uri.host == "192.0.2.12"
      Sippet.Test.respond(stack, second, 486)
      Sippet.Test.assert_response(stack, 486, invite)
    end
  end
end
