defmodule Examples.DigestUASTest do
  use Sippet.ExampleCase, async: true

  alias Examples.DigestUAS
  alias Sippet.DigestAuth

  defp start(options \\ []) do
    test = self()
    deliver = fn user, text -> send(test, {:delivered, user, text}) end
    start_example(DigestUAS, [deliver: deliver] ++ options)
  end

  defp password(password), do: fn "example.com" -> {:ok, "alice", password} end

  # MESSAGE without credentials, and then with them.
  defp challenged(alice, address, password) do
    message = Puppet.request(alice, :message, uri("bob", address))
    message = Message.put_header(message, :content_type, {{"text", "plain"}, %{}})
    message = send_request(alice, %{message | body: "hello"})
    response = assert_came(alice, {401, :message})
    {:ok, message} = DigestAuth.make_request(message, response, password(password))
    {response, put_in(message.headers.cseq, {2, :message})}
  end

  describe "against SIPp" do
    @describetag Peers.tags(:sipp)

    # SIPp knows MD5 alone, and gives up where another algorithm stands first.

    test "a message is taken with the right password" do
      {_stack, address} = start(algorithm: "MD5")
      arguments = ~w(-s alice -au alice -ap secret) ++ example_scenario("uac_message")
      result = address |> SIPp.run(arguments, calls: 3) |> SIPp.assert_success()
      assert result.successful == 3
      for _ <- 1..3, do: assert_received({:delivered, "alice", "Watson, come here."})
    end

    test "and refused with a wrong one" do
      {_stack, address} = start(algorithm: "MD5")
      arguments = ~w(-s alice -au alice -ap wrong) ++ example_scenario("uac_message")
      result = SIPp.run(address, arguments)
      assert {result.exit, result.failed} == {1, 1}
      assert result.errors =~ "SIP/2.0 401 Unauthorized"
    end
  end

  describe "RFC3261§22" do
    test "credentials are good once" do
      {_stack, address} = start()
      {alice, _address} = start_stack(Puppet)
      {challenge, message} = challenged(alice, address, "secret")

      assert [{"Digest", %{"algorithm" => "SHA-256"}}, {"Digest", %{"algorithm" => "MD5"}}] =
               challenge.headers.www_authenticate

      message = send_request(alice, message)
      response = assert_came(alice, {200, :message})
      assert_received {:delivered, "alice", "hello"}
      assert {:ok, _info} = DigestAuth.verify_response(response, message, password("secret"))

      send_request(alice, message)
      [{"Digest", again} | _] = assert_came(alice, {401, :message}).headers.www_authenticate
      assert again["stale"] == "true"
    end

    test "a wrong password is challenged again, and not as stale" do
      {_stack, address} = start()
      {alice, _address} = start_stack(Puppet)
      {_challenge, message} = challenged(alice, address, "wrong")
      send_request(alice, message)
      [{"Digest", again} | _] = assert_came(alice, {401, :message}).headers.www_authenticate
      refute again["stale"] == "true"
      refute_received {:delivered, _user, _text}
    end

    test "nobody speaks for another" do
      {_stack, address} = start()
      {alice, _address} = start_stack(Puppet)
      {_challenge, message} = challenged(alice, address, "secret")
      carol = {"", URI.parse!("sip:carol@example.com"), %{"tag" => "1"}}
      send_request(alice, Message.put_header(message, :from, carol))
      assert_came(alice, {403, :message})
    end

    test "malformed credentials get 400" do
      {_stack, address} = start()
      {alice, _address} = start_stack(Puppet)
      message = Puppet.request(alice, :message, uri("bob", address))
      credentials = [{"Digest", %{"realm" => "example.com", "username" => "alice"}}]
      send_request(alice, Message.put_header(message, :authorization, credentials))
      assert_came(alice, {400, :message})
    end
  end
end
