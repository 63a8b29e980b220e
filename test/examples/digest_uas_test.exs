defmodule Examples.DigestUASTest do
  use Sippet.ExampleCase, async: true

  # The far end is Sippet.Test's, and no scripted user agent.
  import Sippet.ScriptedUserAgent, only: []
  import Sippet.Test

  alias Examples.DigestUAS
  alias Sippet.DigestAuth

  defp start(options) do
    test = self()
    deliver = fn user, text -> send(test, {:delivered, user, text}) end
    start_example(DigestUAS, [deliver: deliver] ++ options)
  end

  describe "against SIPp" do
    @describetag Peers.tags(:sipp)

    # SIPp knows MD5 alone, and gives up where another algorithm stands first. The `uri` of its credentials is what it is
    # given, without its scheme.
    defp arguments(address, password) do
      "sip:" <> request_uri = uri("bob", address)

      ~w(-s alice -au alice -auth_uri #{request_uri} -ap #{password}) ++
        example_scenario("uac_message")
    end

    test "a message is taken with the right password" do
      {_stack, address} = start(algorithm: "MD5")
      arguments = arguments(address, "secret")
      result = address |> SIPp.run(arguments, calls: 3) |> SIPp.assert_success()
      assert result.successful == 3
      for _ <- 1..3, do: assert_received({:delivered, "alice", "Watson, come here."})
    end

    test "and refused with a wrong one" do
      {_stack, address} = start(algorithm: "MD5")
      result = SIPp.run(address, arguments(address, "wrong"))
      assert {result.exit, result.failed} == {1, 1}
      assert result.errors =~ "SIP/2.0 401 Unauthorized"
    end
  end

  describe "RFC3261§22" do
    setup context do
      test = self()
      deliver = fn user, text -> send(test, {:delivered, user, text}) end
      nonces = DigestUAS.configure(context.test, deliver: deliver)
      start_supervised!({DigestAuth.NonceStore, name: nonces})
      start_supervised!({Sippet.Test, name: context.test, core: DigestUAS})
      %{stack: context.test}
    end

    # MESSAGE of a user of the realm.
    defp message(user, headers \\ []) do
      from = {"", URI.parse!("sip:#{user}@example.com"), %{"tag" => "1"}}
      headers = [from: from, content_type: {{"text", "plain"}, %{}}] ++ headers
      request(:message, "sip:bob@example.com", headers: headers, body: "hello")
    end

    # It is sent without credentials, and comes with them.
    defp challenged(stack, message, password) do
      response = assert_response(stack, 401, deliver(stack, message))
      secret = fn "example.com" -> {:ok, "alice", password} end
      {:ok, message} = DigestAuth.make_request(message, response, secret)
      {response, repeated(message)}
    end

    test "credentials are good once", %{stack: stack} do
      {challenge, message} = challenged(stack, message("alice"), "secret")

      assert [{"Digest", %{"algorithm" => "SHA-256"}}, {"Digest", %{"algorithm" => "MD5"}}] =
               challenge.headers.www_authenticate

      response = assert_response(stack, 200, deliver(stack, message))
      assert_received {:delivered, "alice", "hello"}
      secret = fn "example.com" -> {:ok, "alice", "secret"} end
      assert {:ok, _info} = DigestAuth.verify_response(response, message, secret)

      again = assert_response(stack, 401, deliver(stack, repeated(message)))
      assert [{"Digest", %{"stale" => "true"}} | _] = again.headers.www_authenticate
    end

    test "a wrong password is challenged again, and not as stale", %{stack: stack} do
      {_challenge, message} = challenged(stack, message("alice"), "wrong")
      response = assert_response(stack, 401, deliver(stack, message))
      [{"Digest", again} | _] = response.headers.www_authenticate
      refute again["stale"] == "true"
      refute_received {:delivered, _user, _text}
    end

    test "nobody speaks for another", %{stack: stack} do
      {_challenge, message} = challenged(stack, message("carol"), "secret")
      assert_response(stack, 403, deliver(stack, message))
    end

    test "malformed credentials get 400", %{stack: stack} do
      credentials = [{"Digest", %{"realm" => "example.com", "username" => "alice"}}]
      message = message("alice", authorization: credentials)
      assert_response(stack, 400, deliver(stack, message))
    end
  end
end
