defmodule Sippet.RFC3665.FlowsTest do
  # The call flows of RFC 3665, message by message: flows.tsv has what the RFC prints of each. They run over UDP, where the
  # RFC uses TCP and TLS as well, and with addresses in place of host names.

  use Sippet.ExampleCase, async: true

  alias Examples.{ForkingProxy, Registrar}
  alias Sippet.{CallFlow, DigestAuth, Standstill, Transactions}
  alias Sippet.Interop.{Endpoint, Events, Notebook}

  @alice "sip:alice@atlanta.example.com"
  @bob "sip:bob@biloxi.example.com"
  @realms ["atlanta.example.com", "biloxi.example.com"]

  # Where the RFC's print is no conforming message, or its network is another than this one.
  @printed_wrong [
    # RFC3261§17.1.1.3 - the ACK of a refusal has the topmost Via of its own INVITE
    {"3.3", "F8", via: "proxy1"},
    {"3.8", "F18", via: "proxy1"},
    # Alice's outbound proxy is in her Route in every other request, or she would not reach it
    {"3.3", "F11", route: "proxy1"},
    # RFC3261§20.10 - proxies add no Contact
    {"3.3", "F20", contact: "-"},
    {"3.3", "F21", contact: "-"},
    # RFC3261§20 - a response has no Max-Forwards
    {"3.7", "F10", hops: "-"},
    {"3.7", "F13", hops: "-"},
    # RFC3261§8.2.6.2 - a response but 100 has a To tag, and that to a CANCEL too (§9.2)
    {"3.8", "F10", to_tag: "tag"},
    {"3.8", "F12", to_tag: "tag"},
    {"3.8", "F14", to_tag: "tag"},
    # RFC3261§9.1 - a CANCEL has the Request-URI of its INVITE
    {"3.8", "F11", uri: "bob@biloxi"},
    # RFC3261§16.6 - Proxy 2 adds its Record-Route to what it has, as it does in all other flows
    {"3.10", "F4", record_route: "proxy2,proxy1"},
    {"3.10", "F6", record_route: "proxy2,proxy1"},
    {"3.10", "F7", record_route: "proxy2,proxy1"},
    {"3.10", "F8", record_route: "proxy2,proxy1"},
    {"3.10", "F9", record_route: "proxy2,proxy1"},
    {"3.10", "F10", record_route: "proxy2,proxy1"},
    {"3.10", "F11", record_route: "proxy2,proxy1"},
    # RFC3261§16.7 step 6 - a proxy that has no final response MUST send 408
    {"3.10", "F12", what: "408"},
    {"3.10", "F14", what: "408"}
  ]

  defp expected(flow) do
    for row <- CallFlow.printed(flow) do
      changes =
        for {^flow, message, changes} <- @printed_wrong, message == row.message, do: changes

      row |> Map.merge(changes |> Enum.concat() |> Map.new()) |> by_route()
    end
  end

  # RFC3261§16.6 step 6 - the RFC's Proxy 1 finds biloxi.example.com in the DNS, ours is told by its policy, and pushes a
  # Route, which is that of CANCEL and ACK then (§9.1, §17.1.1.3)
  defp by_route(%{from: "proxy1", to: "proxy2", uri: "bob@biloxi"} = row),
    do: %{row | route: "proxy2"}

  # RFC3261§17.1.1.3 - the ACK of a refusal has the Route of its INVITE, which the RFC does not print
  defp by_route(%{from: "alice", to: "proxy1", uri: "bob@biloxi", what: "ACK"} = row),
    do: %{row | route: "proxy1"}

  defp by_route(row), do: row

  ## The parties

  defp party(name, options \\ []) do
    {stack, address} = start_stack(ScriptedUserAgent, [telemetry: Events] ++ options)
    {name, stack, address}
  end

  defp example(name, module, options) do
    stack = :"flow_#{name}_#{System.unique_integer([:positive])}"
    start_supervised!({Notebook, {stack, self()}})
    {more, options} = Keyword.pop(options, :stack, [])
    options = [name: stack, stack: [telemetry: Events] ++ more] ++ options
    {^stack, address} = start_example(module, options)
    {name, stack, address}
  end

  defp parties(list),
    do: for({name, stack, address} <- list, into: %{}, do: {stack, {name, address}})

  defp password(realm) when realm in @realms, do: {:ok, "alice", "secret"}

  # Alice, her Proxy 1, Bob's Proxy 2, and Bob, who is registered: with his own address, or with that of the option `:bob`.
  defp trapezoid(options \\ []) do
    {"alice", alice, _} = caller = party("alice")
    {"bob", bob, bob_address} = party("bob")
    bob_address = Keyword.get(options, :bob, bob_address)

    proxy2 =
      example(
        "proxy2",
        ForkingProxy,
        [domains: ["biloxi.example.com"]] ++ Keyword.get(options, :proxy2, [])
      )

    {_, _, address2} = proxy2

    proxy1 =
      example("proxy1", ForkingProxy,
        domains: ["atlanta.example.com"],
        proxy_users: %{"alice" => "secret"},
        routes: %{"biloxi.example.com" => uri(nil, address2) <> ";lr"}
      )

    {_, _, address1} = proxy1
    register(bob, address2, bob_address)

    {alice, bob, parties([caller, proxy1, proxy2, {"bob", bob, bob_address}]),
     uri(nil, address1) <> ";lr"}
  end

  defp register(bob, proxy, address) do
    register =
      ScriptedUserAgent.request(bob, :register, "sip:biloxi.example.com", from: @bob, to: @bob)

    contact = {"", URI.parse!(uri("bob", address)), %{}}
    {ip, port} = proxy
    register = Message.put_header(register, :contact, [contact])
    send_request(bob, %{register | target: {:udp, text(ip), port}})
    assert_came(bob, {200, :register})
    CallFlow.skip(2)
  end

  defp invite(alice, route) do
    routes = if route, do: [route: [route]], else: []

    alice
    |> ScriptedUserAgent.request(:invite, @bob, [from: @alice] ++ routes)
    |> Endpoint.put_sdp(alice)
  end

  # The same request with credentials for the challenges, under the next number.
  defp again(alice, request, challenge, number) do
    {:ok, request} = DigestAuth.make_request(request, challenge, &password/1)
    send_request(alice, put_in(request.headers.cseq, {number, :invite}))
  end

  # An INVITE that has its credentials from the start, as 3.8 to 3.11 begin: the challenge was before.
  defp known(alice, route) do
    first = send_request(alice, invite(alice, route))
    challenge = assert_came(alice, {407, :invite})
    # The INVITE, the challenge, the ACK.
    CallFlow.skip(3)
    {:ok, request} = DigestAuth.make_request(first, challenge, &password/1)
    send_request(alice, Message.put_header(request, :call_id, Message.create_call_id()))
  end

  # The answer has an SDP body, as a 200 to an INVITE has.
  defp accept(bob, request), do: reply(bob, request, 200, &Endpoint.put_sdp(&1, bob))

  defp acknowledge(alice, invite, ok, credentials \\ []) do
    {:ok, dialog} = Dialog.uac(invite, ok)
    ack = Dialog.build_ack(dialog, ok)

    ack =
      Enum.reduce(credentials, ack, fn header, ack ->
        Message.put_header(ack, header, invite.headers[header])
      end)

    send_request(alice, ack)
    dialog
  end

  ## 2. Registrations

  defp registrar do
    {"bob", bob, address} = client = party("bob")

    options = [
      domains: ["biloxi.example.com", "ss2.biloxi.example.com"],
      realm: "atlanta.example.com",
      users: %{"bob" => "secret"}
    ]

    {_, _, server} = registrar = example("sipserver", Registrar, options)
    {bob, address, server, parties([client, registrar])}
  end

  defp registration(bob, {ip, port}, headers) do
    request =
      ScriptedUserAgent.request(bob, :register, "sip:ss2.biloxi.example.com", from: @bob, to: @bob)

    headers = Map.merge(Map.delete(request.headers, :contact), Map.new(headers))
    %{request | headers: headers, target: {:udp, text(ip), port}}
  end

  defp bobs_password("atlanta.example.com"), do: {:ok, "bob", "secret"}

  # RFC 3665 §2.1, and the credentials for what follows.
  defp registered(bob, address, server) do
    contact = [{"", URI.parse!(uri("bob", address)), %{}}]
    request = send_request(bob, registration(bob, server, contact: contact))
    challenge = assert_came(bob, {401, :register})
    {:ok, request} = DigestAuth.make_request(request, challenge, &bobs_password/1)
    request = send_request(bob, put_in(request.headers.cseq, {2, :register}))
    assert_came(bob, {200, :register})
    request.headers.authorization
  end

  defp repeated(bob, server, credentials, headers) do
    request = registration(bob, server, [authorization: credentials] ++ headers)
    {:ok, request} = DigestAuth.repeat_request(request, &bobs_password/1)
    send_request(bob, request)
    assert_came(bob, {200, :register})
    request.headers.authorization
  end

  @mailto [{"", %URI{scheme: "mailto", authority: "bob@biloxi.example.com"}, %{}}]

  test "2.1 Successful New Registration" do
    {bob, address, server, parties} = registrar()
    registered(bob, address, server)
    CallFlow.assert_flow(expected("2.1"), parties)
  end

  test "2.2 Update of Contact List, 2.3 Request for Current Contact List, 2.4 Cancellation of Registration" do
    {bob, address, server, parties} = registrar()
    credentials = registered(bob, address, server)
    CallFlow.assert_flow(expected("2.1"), parties)

    credentials = repeated(bob, server, credentials, contact: @mailto)
    CallFlow.assert_flow(expected("2.2"), parties)

    credentials = repeated(bob, server, credentials, [])
    CallFlow.assert_flow(expected("2.3"), parties)

    repeated(bob, server, credentials, contact: "*", expires: 0)
    CallFlow.assert_flow(expected("2.4"), parties)
  end

  ## 3. Sessions

  test "3.1 Successful Session Establishment" do
    {"alice", alice, _address} = caller = party("alice")
    {"bob", bob, {ip, port}} = called = party("bob")
    invite = send_request(alice, %{invite(alice, nil) | target: {:udp, text(ip), port}})
    got = assert_came(bob, :invite)
    reply(bob, got, 180)
    response = accept(bob, got)
    assert_came(alice, {180, :invite})
    acknowledge(alice, invite, assert_came(alice, {200, :invite}))
    assert_came(bob, :ack)

    hang_up(bob, got, response, alice)
    CallFlow.assert_flow(expected("3.1"), parties([caller, called]))
  end

  defp hang_up(bob, invite, response, alice) do
    {:ok, dialog} = Dialog.uas(invite, response)
    {:ok, bye, _dialog} = Dialog.next_request(dialog, :bye)
    send_request(bob, bye)
    reply(alice, assert_came(alice, :bye), 200)
    assert_came(bob, {200, :bye})
  end

  test "3.2 Session Establishment Through Two Proxies" do
    {alice, bob, parties, route} = trapezoid()
    first = send_request(alice, invite(alice, route))
    invite = again(alice, first, assert_came(alice, {407, :invite}), 2)

    got = assert_came(bob, :invite)
    reply(bob, got, 180)
    assert_came(alice, {180, :invite})
    response = accept(bob, got)
    acknowledge(alice, invite, assert_came(alice, {200, :invite}))
    assert_came(bob, :ack)

    hang_up(bob, got, response, alice)
    CallFlow.assert_flow(expected("3.2"), parties)
  end

  test "3.3 Session with Multiple Proxy Authentication" do
    {alice, bob, parties, route} = trapezoid(proxy2: [proxy_users: %{"alice" => "secret"}])
    first = send_request(alice, invite(alice, route))
    second = again(alice, first, assert_came(alice, {407, :invite}), 2)
    invite = again(alice, second, assert_came(alice, {407, :invite}), 3)

    accept(bob, assert_came(bob, :invite))
    acknowledge(alice, invite, assert_came(alice, {200, :invite}), [:proxy_authorization])
    assert_came(bob, :ack)
    CallFlow.assert_flow(expected("3.3"), parties)
  end

  test "3.7 Session with re-INVITE (IP Address Change)" do
    {"alice", alice, _} = caller = party("alice")
    {"bob", bob, bob_address} = called = party("bob")

    {_, _, {ip, port} = address} =
      proxy2 =
      example("proxy2", ForkingProxy, domains: ["biloxi.example.com"], record_route: false)

    register(bob, address, bob_address)

    invite = send_request(alice, %{invite(alice, nil) | target: {:udp, text(ip), port}})
    got = assert_came(bob, :invite)
    reply(bob, got, 180)
    assert_came(alice, {180, :invite})
    response = accept(bob, got)
    dialog = acknowledge(alice, invite, assert_came(alice, {200, :invite}))
    assert_came(bob, :ack)

    {:ok, bobs} = Dialog.uas(got, response)
    {:ok, reinvite, _bobs} = Dialog.next_request(%{bobs | local_seq: 13}, :invite)
    contact = ScriptedUserAgent.contact(bob, "bob")
    reinvite = reinvite |> Message.put_header(:contact, [contact]) |> Endpoint.put_sdp(bob)
    reinvite = send_request(bob, reinvite)

    got = assert_came(alice, :invite)
    {:ok, dialog} = Dialog.receive_request(dialog, got)
    # Her Contact, and not the one of the To.
    contact = [ScriptedUserAgent.contact(alice, "alice")]

    reply(
      alice,
      got,
      200,
      &(&1 |> Endpoint.put_sdp(alice) |> Message.put_header(:contact, contact))
    )

    acknowledge(bob, reinvite, assert_came(bob, {200, :invite}))
    assert_came(alice, :ack)

    {:ok, bye, _dialog} = Dialog.next_request(dialog, :bye)
    send_request(alice, bye)
    reply(bob, assert_came(bob, :bye), 200)
    assert_came(alice, {200, :bye})
    CallFlow.assert_flow(expected("3.7"), parties([caller, proxy2, called]))
  end

  test "3.8 Unsuccessful No Answer" do
    {alice, bob, parties, route} = trapezoid()
    invite = known(alice, route)
    got = assert_came(bob, :invite)
    reply(bob, got, 180)
    assert_came(alice, {180, :invite})

    :ok = Sippet.send(alice, Message.to_cancel(invite))
    assert_came(alice, {200, :cancel})
    reply(bob, assert_came(bob, :cancel), 200)
    reply(bob, got, 487)
    assert_came(alice, {487, :invite})
    CallFlow.assert_flow(expected("3.8"), parties)
  end

  test "3.9 Unsuccessful Busy" do
    {alice, bob, parties, route} = trapezoid()
    known(alice, route)
    reply(bob, assert_came(bob, :invite), 486)
    assert_came(alice, {486, :invite})
    CallFlow.assert_flow(expected("3.9"), parties)
  end

  test "3.10 Unsuccessful No Response from User Agent" do
    # Bob's address takes what comes, and says nothing.
    {:ok, socket} = :gen_udp.open(0, ip: {127, 0, 0, 1}, active: false)
    {:ok, address} = :inet.sockname(socket)
    {alice, _bob, parties, route} = trapezoid(bob: address)
    [proxy2] = for {stack, {"proxy2", _address}} <- parties, do: stack
    proxy2 = Standstill.stop(proxy2)
    known(alice, route)
    {:ok, _first} = :gen_udp.recv(socket, 0, 5_000)

    # Timer A six times, then Timer B.
    for ms <- [500, 1_000, 2_000, 4_000, 8_000, 16_000] do
      :ok = Transactions.advance(proxy2, ms)
      {:ok, _again} = :gen_udp.recv(socket, 0, 5_000)
    end

    :ok = Transactions.advance(proxy2, 499)
    refute_received {^alice, {:response, :invite, 408, _response, _key}}
    :ok = Transactions.advance(proxy2, 1)
    assert_receive {^alice, {:response, :invite, 408, _response, _key}}, 5_000
    CallFlow.assert_flow(expected("3.10"), parties)
  end

  test "3.11 Unsuccessful Temporarily Unavailable" do
    {alice, bob, parties, route} = trapezoid()
    known(alice, route)
    got = assert_came(bob, :invite)
    reply(bob, got, 180)
    assert_came(alice, {180, :invite})
    reply(bob, got, 480)
    assert_came(alice, {480, :invite})
    CallFlow.assert_flow(expected("3.11"), parties)
  end
end
