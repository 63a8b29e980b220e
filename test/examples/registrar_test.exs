defmodule Examples.RegistrarTest do
  use Sippet.ExampleCase, async: true

  # The far end is Sippet.Test's, and no scripted user agent.
  import Sippet.ScriptedUserAgent, only: []
  import Sippet.Test

  alias Examples.Registrar
  alias Sippet.DigestAuth

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
    setup context do
      stack = context.test
      options = [domains: ["test.local"]] ++ Map.get(context, :registrar, [])
      start_supervised!(Registrar.configure(stack, options))
      start_supervised!({DigestAuth.NonceStore, name: Registrar.nonces(stack)})
      start_supervised!({Sippet.Test, name: stack, core: Registrar})
      %{stack: stack}
    end

    @bob {"", URI.parse!("sip:bob@test.local"), %{}}
    @contact [{"", URI.parse!("sip:bob@198.51.100.1"), %{}}]

    defp register(stack, uri \\ "sip:test.local", headers) do
      headers =
        Keyword.merge(
          [to: @bob, from: put_elem(@bob, 2, %{"tag" => "1"}), contact: @contact],
          headers
        )

      deliver(stack, request(:register, uri, headers: headers))
    end

    test "1. another domain gets 404", %{stack: stack} do
      request = register(stack, "sip:elsewhere.local", [])
      assert_response(stack, 404, request)
    end

    test "2. what is required and unknown gets 420", %{stack: stack} do
      request = register(stack, require: ["path", "gruu"])
      assert assert_response(stack, 420, request).headers.unsupported == ["gruu"]
    end

    @tag registrar: [users: %{"bob" => "secret"}, bind: :call_id]
    test "3. credentials are good once, and for one Call-ID", %{stack: stack} do
      request = register(stack, [])
      challenge = assert_response(stack, 401, request)
      bob = fn "test.local" -> {:ok, "bob", "secret"} end
      {:ok, again} = DigestAuth.make_request(request, challenge, bob)

      elsewhere = Message.put_header(repeated(again), :call_id, "another")
      refused = assert_response(stack, 401, deliver(stack, elsewhere))
      assert [{"Digest", %{"stale" => "true"}}] = refused.headers.www_authenticate

      assert_response(stack, 200, deliver(stack, repeated(again)))
      replayed = again |> repeated() |> repeated()
      refused = assert_response(stack, 401, deliver(stack, replayed))
      assert [{"Digest", %{"stale" => "true"}}] = refused.headers.www_authenticate
    end

    @tag registrar: [users: %{"alice" => "secret"}]
    test "4. nobody registers for another", %{stack: stack} do
      request = register(stack, [])
      challenge = assert_response(stack, 401, request)
      alice = fn "test.local" -> {:ok, "alice", "secret"} end
      {:ok, again} = DigestAuth.make_request(request, challenge, alice)
      assert_response(stack, 403, deliver(stack, repeated(again)))
    end

    test "5. an address-of-record of another domain gets 404", %{stack: stack} do
      request = register(stack, to: {"", URI.parse!("sip:bob@elsewhere.local"), %{}})
      assert_response(stack, 404, request)
    end

    test "8. the answer lists the bindings with the time they have left, and no Record-Route", %{
      stack: stack
    } do
      route = [{"", URI.parse!("sip:p.test.local;lr"), %{}}]
      response = assert_response(stack, 200, register(stack, record_route: route, expires: 120))
      assert [{"", contact, %{"expires" => "120"}}] = response.headers.contact
      assert %NaiveDateTime{} = response.headers.date
      refute Message.has_header?(response, :record_route)

      aor = URI.parse!("sip:bob@TEST.local;user=phone")
      assert located(stack, aor) == {:ok, [[contact]]}
      assert located(stack, URI.parse!("sip:bob@elsewhere.local")) == :error
    end

    # The URIs of the targets.
    defp located(stack, uri) do
      with {:ok, targets} <- Registrar.locate(stack, uri),
           do: {:ok, for(list <- targets, do: Enum.map(list, &Sippet.Binding.uri/1))}
    end

    test "a REGISTER without Contact asks, one with * ends all", %{stack: stack} do
      first = register(stack, [])
      assert_response(stack, 200, first)

      asking = deliver(stack, first |> repeated() |> Message.delete_header(:contact))
      assert [_binding] = assert_response(stack, 200, asking).headers.contact

      ending = asking |> repeated() |> Message.put_header(:contact, "*")

      response =
        assert_response(stack, 200, deliver(stack, Message.put_header(ending, :expires, 0)))

      refute Message.has_header?(response, :contact)
      assert located(stack, URI.parse!("sip:bob@test.local")) == {:ok, []}
    end

    test "a phone that moves has one binding, and its Path comes back", %{stack: stack} do
      phone = fn uri -> [{"", URI.parse!(uri), %{"+sip.instance" => "<urn:uuid:1>"}}] end
      assert_response(stack, 200, register(stack, contact: phone.("sip:bob@192.0.2.1")))
      path = %{"Path" => ["<sip:p.test.local;lr>"]}

      request =
        request(:register, "sip:test.local",
          headers: [to: @bob, from: put_elem(@bob, 2, %{"tag" => "1"}), supported: ["path"]]
        )

      moved = Message.put_header(request, :contact, phone.("sip:bob@192.0.2.2"))
      moved = %{moved | headers: Map.merge(moved.headers, path)}
      response = assert_response(stack, 200, deliver(stack, moved))
      assert response.headers["Path"] == path["Path"]

      assert located(stack, URI.parse!("sip:bob@test.local")) ==
               {:ok, [[URI.parse!("sip:bob@192.0.2.2")]]}
    end

    test "of the flows of a phone, the one that it has refreshed last is tried", %{stack: stack} do
      for reg_id <- ["1", "2"] do
        flow = %{"+sip.instance" => "<urn:uuid:1>", "reg-id" => reg_id}
        contact = [{"", URI.parse!("sip:bob@192.0.2.#{reg_id}"), flow}]
        assert_response(stack, 200, register(stack, contact: contact))
      end

      assert located(stack, URI.parse!("sip:bob@test.local")) ==
               {:ok, [[URI.parse!("sip:bob@192.0.2.2")]]}
    end

    @tag registrar: [min_expires: 90]
    test "too short an interval gets 423", %{stack: stack} do
      request = register(stack, expires: 30)
      assert assert_response(stack, 423, request).headers.min_expires == 90
    end
  end

  describe "with a file" do
    @tag :tmp_dir
    test "the bindings are there again after a restart", %{test: stack, tmp_dir: folder} do
      options = [domains: ["test.local"], file: Path.join(folder, "bindings")]
      bob = URI.parse!("sip:bob@test.local")
      start_registrar(stack, options)
      assert_response(stack, 200, register(stack, []))
      assert {:ok, [[contact]]} = located(stack, bob)

      for child <- [:stack, :store], do: stop_supervised!(child)
      start_registrar(stack, options)
      assert located(stack, bob) == {:ok, [[contact]]}
    end

    defp start_registrar(stack, options) do
      start_supervised!(Registrar.configure(stack, options), id: :store)
      start_supervised!({Sippet.Test, name: stack, core: Registrar}, id: :stack)
    end
  end
end
