defmodule Examples.RegistrarTest do
  use Sippet.ExampleCase, async: true

  alias Examples.Registrar

  defp registrar(options \\ []) do
    {stack, address} = start_example(Registrar, [domains: ["test.local"]] ++ options)
    {bob, _address} = start_stack(Puppet)
    {stack, address, bob}
  end

  defp register(bob, address, options \\ []) do
    user = Keyword.get(options, :user, "bob")
    aor = "sip:#{user}@test.local"
    request = Puppet.request(bob, :register, "sip:test.local", from: aor, to: aor)
    {host, port} = {address |> elem(0) |> text(), elem(address, 1)}

    request =
      Enum.reduce(Keyword.get(options, :headers, []), request, fn
        {header, nil}, request -> Message.delete_header(request, header)
        {header, value}, request -> Message.put_header(request, header, value)
      end)

    send_request(bob, %{request | target: {:udp, host, port}})
  end

  describe "against SIPp" do
    @describetag Peers.tags(:sipp)

    test "registers with digest, and only with the right password" do
      {_stack, address} =
        start_example(Registrar, domains: ["test.local"], users: %{"alice" => "secret"})

      credentials = ~w(-s alice -au alice -auth_uri test.local -ap)

      arguments = credentials ++ ["secret" | SIPp.scenario("uac_register")]
      result = address |> SIPp.run(arguments, calls: 3) |> SIPp.assert_success()
      assert result.successful == 3

      arguments = credentials ++ ["wrong" | SIPp.scenario("uac_register")]
      result = SIPp.run(address, arguments)
      assert {result.exit, result.failed} == {1, 1}
      assert result.errors =~ "SIP/2.0 401 Unauthorized"
    end
  end

  describe "RFC3261§10.3" do
    test "1. another domain gets 404" do
      {_stack, address, bob} = registrar()
      request = Puppet.request(bob, :register, uri(nil, address), to: "sip:bob@test.local")
      send_request(bob, request)
      assert_came(bob, {404, :register})
    end

    test "2. what is required and unknown gets 420" do
      {_stack, address, bob} = registrar()
      register(bob, address, headers: [require: ["path"]])
      assert assert_came(bob, {420, :register}).headers.unsupported == ["path"]
    end

    test "4. nobody registers for another" do
      {_stack, address, bob} = registrar(users: %{"alice" => "secret"})
      request = register(bob, address)
      challenge = assert_came(bob, {401, :register})
      alice = fn "test.local" -> {:ok, "alice", "secret"} end
      {:ok, request} = Sippet.DigestAuth.make_request(request, challenge, alice)
      send_request(bob, put_in(request.headers.cseq, {2, :register}))
      assert_came(bob, {403, :register})
    end

    test "5. an address-of-record of another domain gets 404" do
      {_stack, address, bob} = registrar()
      {host, port} = {address |> elem(0) |> text(), elem(address, 1)}
      request = Puppet.request(bob, :register, "sip:test.local", to: "sip:bob@elsewhere.local")
      send_request(bob, %{request | target: {:udp, host, port}})
      assert_came(bob, {404, :register})
    end

    test "8. the answer lists the bindings with the time they have left, and no Record-Route" do
      {stack, address, bob} = registrar()
      route = [{"", URI.parse!("sip:p.test.local;lr"), %{}}]
      register(bob, address, headers: [record_route: route, expires: 120])
      response = assert_came(bob, {200, :register})
      assert [{"", contact, %{"expires" => "120"}}] = response.headers.contact
      assert %NaiveDateTime{} = response.headers.date
      refute Message.has_header?(response, :record_route)

      aor = URI.parse!("sip:bob@TEST.local;user=phone")
      assert Registrar.locate(stack, aor) == {:ok, [[contact]]}
      assert Registrar.locate(stack, URI.parse!("sip:bob@elsewhere.local")) == :error
    end

    test "a REGISTER without Contact asks, one with * ends all" do
      {stack, address, bob} = registrar()
      register(bob, address)
      assert_came(bob, {200, :register})

      register(bob, address, headers: [contact: nil])
      assert [_binding] = assert_came(bob, {200, :register}).headers.contact

      register(bob, address, headers: [contact: "*", expires: 0])
      refute Message.has_header?(assert_came(bob, {200, :register}), :contact)
      assert Registrar.locate(stack, URI.parse!("sip:bob@test.local")) == {:ok, []}
    end

    test "too short an interval gets 423" do
      {_stack, address, bob} = registrar(min_expires: 90)
      register(bob, address, headers: [expires: 30])
      assert assert_came(bob, {423, :register}).headers.min_expires == 90
    end
  end
end
