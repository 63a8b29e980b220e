defmodule Examples.ForkingProxyTest do
  use Sippet.ExampleCase, async: true

  alias Examples.{ForkingProxy, UserAgent}

  defp proxy(options \\ []),
    do: start_example(ForkingProxy, Keyword.merge([domains: ["test.local"]], options))

  # Registers contacts of a user: `{address, parameters}`.
  defp register(alice, proxy, contacts, user \\ "bob") do
    contacts = for {address, params} <- contacts, do: {"", URI.parse!(uri(user, address)), params}
    aor = "sip:#{user}@test.local"

    request =
      ScriptedUserAgent.request(alice, :register, "sip:test.local",
        from: aor,
        to: aor,
        route: [route(proxy)]
      )

    send_request(alice, Message.put_header(request, :contact, contacts))
    assert_came(alice, {200, :register})
  end

  defp route(proxy), do: uri(nil, proxy) <> ";lr"

  # A proxy, a caller, and as many called as there are q-values.
  defp scene(qs, options \\ []) do
    {_stack, proxy} = proxy(options)
    {alice, _address} = start_stack(ScriptedUserAgent)
    bobs = for _q <- qs, do: start_stack(ScriptedUserAgent)

    params = for q <- qs, do: if(q, do: %{"q" => q}, else: %{})
    addresses = for {_stack, address} <- bobs, do: address
    register(alice, proxy, Enum.zip(addresses, params))
    {alice, proxy, for({bob, _address} <- bobs, do: bob)}
  end

  defp invite(alice, proxy),
    do: ScriptedUserAgent.request(alice, :invite, "sip:bob@test.local", route: [route(proxy)])

  defp call(alice, proxy) do
    invite = send_request(alice, invite(alice, proxy))
    assert_came(alice, {100, :invite})
    invite
  end

  defp refute_came(stack, timeout \\ 100) do
    refute_receive {^stack, {_kind, _method, _message, _key}}, timeout
    refute_received {^stack, {:response, _method, _status, _response, _key}}
  end

  describe "against SIPp" do
    @describetag Peers.tags(:sipp)

    test "calls between two SIPps, along the Record-Route" do
      {stack, proxy} = proxy()
      {alice, _address} = start_stack(ScriptedUserAgent)
      uas = SIPp.start(SIPp.own_uas(), calls: 10)
      register(alice, proxy, [{uas.address, %{}}], "service")

      result = proxy |> SIPp.run(example_scenario("uac_call"), calls: 10) |> SIPp.assert_success()
      assert result.successful == 10
      result = uas |> SIPp.await() |> SIPp.assert_success()
      assert result.successful == 10
      assert Sippet.stats(stack).core_failed == 0
    end

    # Each SIPp drops a twentieth of what it sends and of what it receives.
    @tag timeout: 1_000 * (SIPp.lossy_limit() + 30)
    test "calls although packets get lost on both sides" do
      calls = SIPp.lossy_calls()

      # The T1 of both SIPps. Were theirs longer, the proxy would forget a BYE (64·T1) while the
      # caller still repeats it, and take it anew to a called one that is gone: SIPp's uas answers
      # a BYE that comes again for 2 s alone. In these it comes 7 times.
      {stack, proxy} = proxy(stack: [t1: 100, t2: 400])
      {alice, _address} = start_stack(ScriptedUserAgent)
      limit = SIPp.lossy_limit()
      # The called one may take an INVITE that comes late for one more call, which nobody ends.
      called = ["-lost", "5" | SIPp.scenario("uas_lossy")]
      uas = SIPp.start(called, calls: 2 * calls, limit: limit + 10)
      register(alice, proxy, [{uas.address, %{}}], "service")

      caller = ["-lost", "5", "-r", "40" | example_scenario("uac_call")]
      result = proxy |> SIPp.run(caller, calls: calls, limit: limit) |> SIPp.assert_success()
      assert result.successful == calls
      assert Sippet.stats(stack).core_failed == 0
    end

    test "re-INVITEs, with the user agent of the examples behind the proxy" do
      {_stack, proxy} = proxy()
      {_stack, address} = start_example(UserAgent, ring: 10)
      {alice, _address} = start_stack(ScriptedUserAgent)
      register(alice, proxy, [{address, %{}}], "service")

      result =
        proxy |> SIPp.run(example_scenario("uac_reinvite"), calls: 5) |> SIPp.assert_success()

      assert result.successful == 5
    end

    test "a caller that gives up" do
      {_stack, proxy} = proxy(domains: ["127.0.0.1"])
      {_stack, address} = start_example(UserAgent, ring: 60_000)
      {alice, _address} = start_stack(ScriptedUserAgent)
      aor = uri("service", proxy)

      request =
        ScriptedUserAgent.request(alice, :register, "sip:127.0.0.1",
          to: aor,
          route: [route(proxy)]
        )

      contact = {"", URI.parse!(uri("service", address)), %{}}
      request = Message.put_header(request, :contact, [contact])

      send_request(
        alice,
        Message.put_header(request, :from, {"", URI.parse!(aor), %{"tag" => "1"}})
      )

      assert_came(alice, {200, :register})
      arguments = ["-s", "service" | SIPp.scenario("uac_cancel")]
      result = proxy |> SIPp.run(arguments, calls: 5) |> SIPp.assert_success()
      assert result.successful == 5
    end
  end

  describe "RFC3261§16.3 request validation" do
    test "a request that can't be forwarded is answered" do
      {alice, proxy, [_bob]} = scene([nil])

      call = fn uri, headers ->
        invite =
          ScriptedUserAgent.request(alice, :invite, uri,
            to: "sip:bob@test.local",
            route: [route(proxy)]
          )

        send_request(alice, %{invite | headers: Map.merge(invite.headers, headers)})
      end

      call.("sip:bob@test.local", %{max_forwards: 0})
      assert_came(alice, {483, :invite})
      call.("tel:+358", %{})
      assert_came(alice, {416, :invite})
      call.("sip:bob@test.local", %{proxy_require: ["foo"]})
      assert assert_came(alice, {420, :invite}).headers.unsupported == ["foo"]
      call.("sip:nobody@test.local", %{})
      assert_came(alice, {480, :invite})
    end

    test "a loop is answered 482" do
      {_stack, proxy} = proxy()
      {alice, _address} = start_stack(ScriptedUserAgent)
      # To the proxy's own address, which is no domain of it: it sends to itself.
      send_request(alice, ScriptedUserAgent.request(alice, :options, uri("bob", proxy)))
      assert_came(alice, {482, :options})
    end

    test "who calls says who they are, and the credentials go no further" do
      {alice, proxy, [bob]} = scene([nil], proxy_users: %{"alice" => "secret"})
      invite = send_request(alice, invite(alice, proxy))
      challenge = assert_came(alice, {407, :invite})
      password = fn "test.local" -> {:ok, "alice", "secret"} end
      {:ok, invite} = Sippet.DigestAuth.make_request(invite, challenge, password)
      send_request(alice, put_in(invite.headers.cseq, {2, :invite}))
      refute Message.has_header?(assert_came(bob, :invite), :proxy_authorization)

      # Who has overheard that cannot call with it.
      replay = repeated(put_in(invite.headers.cseq, {2, :invite}))
      send_request(alice, replay)
      refused = assert_came(alice, {407, :invite})
      assert [{"Digest", %{"stale" => "true"}}] = refused.headers.proxy_authenticate
    end
  end

  describe "RFC3261§16.6 request forwarding" do
    # What a proxy has to leave alone, as it is printed.
    defp alike(request) do
      headers = Map.take(request.headers, [:from, :to, :call_id, :cseq, :contact])

      IO.iodata_to_binary(
        Message.to_iodata(%{
          request
          | headers: headers,
            start_line: Message.build_response(200).start_line
        })
      )
    end

    test "the copy has the contact, a hop less, and the proxy's Via and Record-Route" do
      {alice, proxy, [bob]} = scene([nil])
      sent = call(alice, proxy)
      got = assert_came(bob, :invite)

      {host, port} = ScriptedUserAgent.local(bob)
      assert {got.start_line.request_uri.host, got.start_line.request_uri.port} == {host, port}
      assert got.headers.max_forwards == 69
      refute Message.has_header?(got, :route)
      [{"", own, %{}}] = got.headers.record_route
      assert to_string(own) == route(proxy)
      assert [{{2, 0}, :udp, {_, _}, _}, {{2, 0}, :udp, sent_by, _}] = got.headers.via
      assert sent_by == ScriptedUserAgent.local(alice)

      assert [alike(got), alike(sent)] |> Enum.uniq() |> length() == 1
    end

    test "contacts of one q at the same time, lower ones when these have failed" do
      {alice, proxy, [low, one, other]} = scene(["0.2", "0.8", "0.8"])
      call(alice, proxy)
      [first, second] = for bob <- [one, other], do: assert_came(bob, :invite)
      reply(one, first, 486)
      refute_came(low)
      reply(other, second, 404)
      third = assert_came(low, :invite)
      reply(low, third, 200)
      assert_came(alice, {200, :invite})
    end
  end

  describe "RFC3261§16.7 response processing" do
    test "the first 2xx is passed on, and the other branches are cancelled" do
      {alice, proxy, [one, other]} = scene([nil, nil])
      invite = call(alice, proxy)
      [first, second] = for bob <- [one, other], do: assert_came(bob, :invite)
      reply(one, first, 180)
      reply(other, second, 180)
      for _ <- 1..2, do: assert_came(alice, {180, :invite})

      reply(one, first, 200)
      ok = assert_came(alice, {200, :invite})
      cancel = assert_came(other, :cancel)
      assert cancel.headers.via == Enum.take(second.headers.via, 1)
      reply(other, cancel, 200)
      reply(other, second, 487)

      # ACK and BYE go by the proxy, to who has answered, and come without its Route.
      {:ok, dialog} = Dialog.uac(invite, ok)
      send_request(alice, Dialog.build_ack(dialog, ok))
      refute Message.has_header?(assert_came(one, :ack), :route)
      {:ok, bye, _dialog} = Dialog.next_request(dialog, :bye)
      send_request(alice, bye)
      bye = assert_came(one, :bye)
      assert length(bye.headers.via) == 2
      refute Message.has_header?(bye, :record_route)
      reply(one, bye, 200)
      assert_came(alice, {200, :bye})
      refute_came(alice)
      refute_came(other, 0)
    end

    test "two 2xx are both passed on" do
      {alice, proxy, [one, other]} = scene([nil, nil])
      call(alice, proxy)
      [first, second] = for bob <- [one, other], do: assert_came(bob, :invite)
      reply(one, first, 200)
      assert_came(alice, {200, :invite})
      reply(other, second, 200)
      assert_came(alice, {200, :invite})
    end

    test "every 2xx of a branch is passed on, as it may have forked on its way" do
      {alice, proxy, [one, other]} = scene([nil, nil])
      call(alice, proxy)
      [first, _second] = for bob <- [one, other], do: assert_came(bob, :invite)

      tags =
        for tag <- ["first", "second"] do
          reply(
            one,
            first,
            200,
            &put_in(&1.headers.to, put_elem(&1.headers.to, 2, %{"tag" => tag}))
          )

          {_name, _uri, params} = assert_came(alice, {200, :invite}).headers.to
          params["tag"]
        end

      assert tags == ["first", "second"]
    end

    test "a 100 goes no further" do
      {alice, proxy, [bob]} = scene([nil])
      call(alice, proxy)
      got = assert_came(bob, :invite)
      reply(bob, got, 100)
      reply(bob, got, 180)
      assert_came(alice, {180, :invite})
      refute_received {^alice, {:response, :invite, 100, _response, _key}}
    end

    test "a branch that has said nothing is cancelled when it does" do
      {alice, proxy, [one, other]} = scene([nil, nil])
      call(alice, proxy)
      [first, second] = for bob <- [one, other], do: assert_came(bob, :invite)
      reply(one, first, 200)
      assert_came(alice, {200, :invite})
      refute_came(other)
      reply(other, second, 180)
      reply(other, assert_came(other, :cancel), 200)
      reply(other, second, 487)
      # It rings no more for the caller, who has an answer.
      refute_receive {^alice, {:response, :invite, 180, _response, _key}}, 50
    end

    test "a 6xx ends the search, and comes when all branches have ended" do
      {alice, proxy, [low, one, other]} = scene(["0.1", nil, nil])
      call(alice, proxy)
      [first, second] = for bob <- [one, other], do: assert_came(bob, :invite)
      reply(other, second, 183)
      assert_came(alice, {183, :invite})
      reply(one, first, 603)
      cancel = assert_came(other, :cancel)
      refute_came(alice)
      reply(other, cancel, 200)
      reply(other, second, 487)
      assert_came(alice, {603, :invite})
      refute_came(low, 0)
    end

    test "the best of several refusals" do
      {alice, proxy, [one, other]} = scene([nil, nil])
      call(alice, proxy)
      reply(one, assert_came(one, :invite), 500)
      reply(other, assert_came(other, :invite), 486)
      refusal = assert_came(alice, {486, :invite})
      assert [{_version, :udp, _sent_by, _params}] = refusal.headers.via
    end

    test "a place that can't be reached is a 503, and alone a 500" do
      {_stack, proxy} = proxy()
      {alice, _address} = start_stack(ScriptedUserAgent)
      {:ok, socket} = :gen_udp.open(0, ip: {127, 0, 0, 1})
      {:ok, port} = :inet.port(socket)
      :gen_udp.close(socket)
      register(alice, proxy, [{{{127, 0, 0, 1}, port}, %{}}])
      call(alice, proxy)
      assert_came(alice, {500, :invite})
    end

    # RFC6026§7.3, §8.2
    test "a 2xx that nobody waits for goes nowhere" do
      {_stack, proxy} = proxy()
      {alice, _address} = start_stack(ScriptedUserAgent)
      {bob, _address} = start_stack(ScriptedUserAgent)
      {host, port} = {proxy |> elem(0) |> text(), elem(proxy, 1)}
      request = ScriptedUserAgent.request(alice, :invite, "sip:bob@test.local")

      vias =
        for sent_by <- [{host, port}, ScriptedUserAgent.local(alice)],
            do: {{2, 0}, :udp, sent_by, %{"branch" => Message.create_branch()}}

      late = request |> Message.put_header(:via, vias) |> Message.to_response(200)
      for _ <- 1..20, do: :ok = Sippet.forward(bob, late)
      refute_came(alice)
    end
  end

  describe "an INVITE that rings" do
    # Bytes: a message of this size lies on a heap of several hundred thousand.
    @most_held 30_000

    test "holds little, however large it is" do
      {stack, proxy} = proxy()
      {alice, _address} = start_stack(ScriptedUserAgent)
      {bob, address} = start_stack(ScriptedUserAgent)
      register(alice, proxy, [{address, %{}}])

      large =
        Enum.reduce(1..2_000, invite(alice, proxy), fn number, invite ->
          Message.put_header(invite, "X-#{number}", ["1"])
        end)

      send_request(alice, large)
      got = assert_came(bob, :invite)
      reply(bob, got, 180)
      assert_came(alice, {180, :invite})

      running = Sippet.Stack.fetch!(stack)
      keys = Sippet.Transactions.keys(running)
      context = Enum.find_value(keys, &Sippet.Transactions.owner(running, &1))
      assert {:memory, held} = Process.info(context, :memory)
      assert held < @most_held

      # What it needs of it is there.
      reply(bob, got, 486)
      assert_came(alice, {486, :invite})
    end
  end

  describe "a report" do
    test "has the binding of the phone that has answered" do
      test = self()
      {alice, proxy, [one, two]} = scene([nil, nil], report: &send(test, {:report, &1}))
      call(alice, proxy)
      got = assert_came(two, :invite)
      reply(one, assert_came(one, :invite), 486)
      reply(two, got, 200)
      assert_came(alice, {200, :invite})

      assert_receive {:report, %{target: %Sippet.Binding{} = binding, cancelled?: false} = report}
      {_name, uri, _params} = binding.contact
      assert uri == got.start_line.request_uri
      assert report.branches |> Enum.map(&elem(&1, 1)) |> Enum.sort() == [200, 486]
    end
  end

  describe "RFC3261§16.8 Timer C" do
    test "who rings for too long is cancelled" do
      {alice, proxy, [bob]} = scene([nil], timer_c: 100)
      call(alice, proxy)
      got = assert_came(bob, :invite)
      reply(bob, got, 180)
      reply(bob, assert_came(bob, :cancel), 200)
      reply(bob, got, 487)
      assert_came(alice, {487, :invite})
    end

    test "who says nothing is as good as a 408" do
      {alice, proxy, [bob]} = scene([nil], timer_c: 100)
      call(alice, proxy)
      assert_came(bob, :invite)
      assert_came(alice, {408, :invite})
    end
  end

  describe "RFC3261§16.10 CANCEL processing" do
    test "is answered, and passed on to every branch that rings" do
      {alice, proxy, [low, one, other]} = scene(["0.1", nil, nil])
      invite = call(alice, proxy)
      pairs = for bob <- [one, other], do: {bob, assert_came(bob, :invite)}

      for {bob, got} <- pairs do
        reply(bob, got, 180)
        assert_came(alice, {180, :invite})
      end

      :ok = Sippet.send(alice, Message.to_cancel(invite))
      assert_came(alice, {200, :cancel})

      for {bob, got} <- pairs do
        reply(bob, assert_came(bob, :cancel), 200)
        reply(bob, got, 487)
      end

      assert_came(alice, {487, :invite})
      refute_came(low, 0)
    end
  end

  describe "a phone behind a NAT, which asks for no rport" do
    # Nobody outside can reach this.
    @private {"10.0.0.5", 5060}

    # The proxy, the phone behind its NAT, and a user agent outside; both are registered.
    setup do
      {stack, proxy} = proxy(nat: true)
      {:ok, nat} = start_supervised({Sippet.NAT, proxy})
      {{inside, inside_port}, _outside} = Sippet.NAT.addresses(nat)
      {phone, _address} = start_stack(ScriptedUserAgent)
      Sippet.Interop.Notebook.put(phone, :local, @private)
      gateway = {:udp, to_string(:inet.ntoa(inside)), inside_port}
      {alice, address} = start_stack(ScriptedUserAgent)
      register(alice, proxy, [{address, %{}}], "alice")

      request =
        ScriptedUserAgent.request(phone, :register, "sip:test.local",
          from: "sip:bob@test.local",
          to: "sip:bob@test.local"
        )

      send_by(phone, request, gateway)
      assert_came(phone, {200, :register})
      %{proxy: proxy, phone: phone, gateway: gateway, alice: alice, stack: stack}
    end

    # As the phone sends: through its NAT, with its private address in the Via.
    defp send_by(phone, request, gateway) do
      via = {{2, 0}, :udp, @private, %{"branch" => Message.create_branch()}}
      request = %{Message.put_header(request, :via, [via]) | target: gateway}
      :ok = Sippet.send(phone, request)
      request
    end

    defp next(dialog, method), do: dialog |> Dialog.next_request(method) |> elem(1)

    test "is called, hears the ACK, and either hangs up", context do
      %{alice: alice, phone: phone, proxy: proxy} = context

      for ends <- [:caller, :phone] do
        invite = call(alice, proxy)
        got = assert_came(phone, :invite)
        reply(phone, got, 180)
        assert_came(alice, {180, :invite})
        ok = reply(phone, got, 200)
        {:ok, bobs} = Dialog.uas(got, ok)
        ok = assert_came(alice, {200, :invite})
        {:ok, alices} = Dialog.uac(invite, ok)
        send_request(alice, Dialog.build_ack(alices, ok))
        # What reaches the phone is what it wrote itself.
        assert assert_came(phone, :ack).start_line.request_uri.host == "10.0.0.5"

        if ends == :caller do
          send_request(alice, next(alices, :bye))
          reply(phone, assert_came(phone, :bye), 200)
          assert_came(alice, {200, :bye})
        else
          send_by(phone, next(bobs, :bye), context.gateway)
          reply(alice, assert_came(alice, :bye), 200)
          assert_came(phone, {200, :bye})
        end
      end

      assert Sippet.stats(context.stack).core_failed == 0
    end

    test "calls, acknowledges, and either hangs up", context do
      %{alice: alice, phone: phone} = context

      for ends <- [:caller, :called] do
        invite =
          ScriptedUserAgent.request(phone, :invite, "sip:alice@test.local",
            from: "sip:bob@test.local"
          )

        invite = send_by(phone, invite, context.gateway)
        assert_came(phone, {100, :invite})
        got = assert_came(alice, :invite)
        ok = reply(alice, got, 200)
        {:ok, alices} = Dialog.uas(got, ok)
        ok = assert_came(phone, {200, :invite})
        {:ok, bobs} = Dialog.uac(invite, ok)
        send_by(phone, Dialog.build_ack(bobs, ok), context.gateway)
        assert_came(alice, :ack)

        if ends == :caller do
          send_by(phone, next(bobs, :bye), context.gateway)
          reply(alice, assert_came(alice, :bye), 200)
          assert_came(phone, {200, :bye})
        else
          send_request(alice, next(alices, :bye))
          bye = assert_came(phone, :bye)
          assert to_string(bye.start_line.request_uri) == "sip:bob@10.0.0.5"
          reply(phone, bye, 200)
          assert_came(alice, {200, :bye})
        end
      end
    end

    test "gives up a call, and is given up", context do
      %{alice: alice, phone: phone, proxy: proxy} = context
      invite = call(alice, proxy)
      reply(phone, got = assert_came(phone, :invite), 180)
      assert_came(alice, {180, :invite})
      :ok = Sippet.cancel(alice, Sippet.Transactions.Client.Key.new(invite))
      reply(phone, assert_came(phone, :cancel), 200)
      reply(phone, got, 487)
      assert_came(alice, {487, :invite})
    end
  end
end
