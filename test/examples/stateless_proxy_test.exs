defmodule Examples.StatelessProxyTest do
  use Sippet.ExampleCase, async: true

  alias Examples.{StatelessProxy, UserAgent}

  @missing SIPp.missing() || false

  defp proxy(servers, options) do
    servers = for address <- servers, do: uri(nil, address) <> ";lr"

    start_example(
      StatelessProxy,
      Keyword.merge([domains: ["test.local"], servers: servers], options)
    )
  end

  defp invite(alice, {ip, port}, uri \\ "sip:bob@test.local"),
    do: %{ScriptedUserAgent.request(alice, :invite, uri) | target: {:udp, text(ip), port}}

  # A proxy before two servers, and who calls.
  defp scene do
    # With this T1 a server waits 320 ms for an ACK.
    {one, first} = start_stack(ScriptedUserAgent, t1: 5, t2: 40)
    {other, second} = start_stack(ScriptedUserAgent, t1: 5, t2: 40)
    {stack, proxy} = proxy([first, second], [])
    {alice, _address} = start_stack(ScriptedUserAgent)
    {alice, proxy, stack, [one, other]}
  end

  # The request came to one of the servers: which, and how.
  defp assert_came_to(servers, method) do
    assert_receive {server, {:request, ^method, request, key}}, 2_000
    assert server in servers
    {server, request, key}
  end

  defp branch(%Message{headers: %{via: [{_version, _protocol, _sent_by, params} | _]}}),
    do: params["branch"]

  describe "against SIPp" do
    @describetag skip: @missing

    test "calls, with a re-INVITE, on the path of the dialog" do
      {_stack, server} = start_example(UserAgent, ring: 20)
      {stack, proxy} = proxy([server], record_route: true)

      for scenario <- ["uac_call", "uac_reinvite"] do
        result = proxy |> SIPp.run(example_scenario(scenario), calls: 5) |> SIPp.assert_success()
        assert result.successful == 5
      end

      stats = Sippet.stats(stack)
      assert {stats.transactions, stats.transaction_started, stats.core_failed} == {0, 0, 0}
    end

    test "callers that give up" do
      {_stack, server} = start_example(UserAgent, ring: 60_000)
      {_stack, proxy} = proxy([server], domains: ["127.0.0.1"])
      result = proxy |> SIPp.run(SIPp.scenario("uac_cancel"), calls: 5) |> SIPp.assert_success()
      assert result.successful == 5
    end

    test "refusals between two SIPps, with their ACK" do
      uas = SIPp.start(SIPp.scenario("uas_busy"), calls: 5)
      {_stack, proxy} = proxy([uas.address], domains: ["127.0.0.1"])
      result = proxy |> SIPp.run(SIPp.scenario("uac_busy"), calls: 5) |> SIPp.assert_success()
      assert result.successful == 5
      result = uas |> SIPp.await() |> SIPp.assert_success()
      assert result.successful == 5
    end
  end

  describe "RFC3261§16.11" do
    test "a request and its CANCEL go to one server, by one branch, and nothing is answered here" do
      {alice, proxy, stack, servers} = scene()
      sent = send_request(alice, invite(alice, proxy))
      {server, got, key} = assert_came_to(servers, :invite)
      assert got.headers.max_forwards == 69
      assert [{_, :udp, _, _}, {_, :udp, sent_by, _}] = got.headers.via
      assert sent_by == ScriptedUserAgent.local(alice)
      refute_receive {^alice, {:response, :invite, 100, _response, _key}}, 100

      reply(server, got, 180)
      assert_came(alice, {180, :invite})
      :ok = Sippet.send(alice, Message.to_cancel(sent))
      {^server, cancel, cancel_key} = assert_came_to([server], :cancel)
      assert branch(cancel) == branch(got)
      assert Sippet.Transactions.Server.Key.invite(cancel_key) == key
      reply(server, cancel, 200)
      assert_came(alice, {200, :cancel})

      # The ACK of the refusal comes to the server's transaction, which would send the 487 again without it.
      reply(server, got, 487)
      assert_came(alice, {487, :invite})
      refute_receive {^server, {:error, :no_ack, _key}}, 600
      assert Sippet.stats(stack).transaction_started == 0
    end

    test "calls are spread over the servers" do
      {alice, proxy, _stack, servers} = scene()

      came_to =
        for _ <- 1..20 do
          send_request(alice, invite(alice, proxy))
          {server, got, _key} = assert_came_to(servers, :invite)
          reply(server, got, 486)
          assert_came(alice, {486, :invite})
          server
        end

      assert Enum.sort(Enum.uniq(came_to)) == Enum.sort(servers)
    end

    test "what is for another domain goes there" do
      {alice, proxy, _stack, _servers} = scene()
      {bob, address} = start_stack(ScriptedUserAgent)
      send_request(alice, invite(alice, proxy, uri("bob", address)))
      refute Message.has_header?(assert_came(bob, :invite), :route)
    end

    test "a request that is not to be forwarded is refused" do
      {alice, proxy, _stack, _servers} = scene()
      send_request(alice, Message.put_header(invite(alice, proxy), :max_forwards, 0))
      assert_came(alice, {483, :invite})
      send_request(alice, Message.put_header(invite(alice, proxy), :proxy_require, ["foo"]))
      assert assert_came(alice, {420, :invite}).headers.unsupported == ["foo"]
      send_request(alice, invite(alice, proxy, "sip:bob@[2001:db8::1]"))
      assert_came(alice, {500, :invite})
    end

    test "a response that is not the proxy's is dropped" do
      {alice, {ip, port}, _stack, [server, _other]} = scene()
      request = ScriptedUserAgent.request(alice, :options, "sip:bob@test.local")

      response = fn host ->
        vias =
          for sent_by <- [{host, port}, ScriptedUserAgent.local(alice)],
              do: {{2, 0}, :udp, sent_by, %{"branch" => Message.create_branch()}}

        response = request |> Message.put_header(:via, vias) |> Message.to_response(200)
        :ok = Sippet.forward(server, %{response | target: {:udp, text(ip), port}})
      end

      response.("192.0.2.1")
      refute_receive {^alice, {:response, _method, _status, _response, _key}}, 100
      response.(text(ip))
      assert_came(alice, {200, :options})
    end
  end
end
