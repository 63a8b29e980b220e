defmodule Sippet.Interop.KamailioTest do
  use Sippet.Interop.Case, async: true

  import Sippet.Interop.Kamailio, only: [assert_sane: 1]

  alias Sippet.Interop.{Answerer, Caller, Kamailio, Notebook, Registrant}

  @moduletag Peers.tags(:kamailio)

  @ipv6 {0, 0, 0, 0, 0, 0, 0, 1}

  defp host({ip, port}) when tuple_size(ip) == 8, do: "[#{text(ip)}]:#{port}"
  defp host({ip, port}), do: "#{text(ip)}:#{port}"

  describe "a call through Kamailio, which stands before the called" do
    defp behind_kamailio(definitions \\ [], options \\ []) do
      {caller, _address} = start_stack(Caller)
      {answerer, address} = start_stack(Answerer, options)
      kamailio = Kamailio.start([{:AHEAD, host(address)} | definitions])
      {caller, answerer, kamailio}
    end

    test "keeps to the route that Kamailio records" do
      {caller, answerer, kamailio} = behind_kamailio()
      Caller.call(caller, "bob", kamailio.address)
      assert_receive {^caller, {:response, :invite, 100, _response, _key}}, 5_000
      assert_receive {^caller, {:response, :bye, 200, _response, _key}}, 5_000

      for method <- [:invite, :ack, :bye] do
        assert [%{headers: headers}] = requests(answerer, method, 1)
        assert [{_, :udp, sent_by, _}, {_, :udp, _caller, _}] = headers.via
        assert sent_by == kamailio.address
        refute Map.has_key?(headers, :route)
        assert headers.max_forwards == 69
      end

      log = assert_sane(kamailio)
      assert log =~ "LOOSE ACK" and log =~ "LOOSE BYE"
    end

    test "goes on from IPv4 to IPv6, with two entries in the route" do
      {caller, answerer, kamailio} = behind_kamailio([], ip: @ipv6)
      Caller.call(caller, "bob", kamailio.address)
      assert_receive {^caller, {:response, :invite, 200, response, _key}}, 5_000
      assert_receive {^caller, {:response, :bye, 200, _response, _key}}, 5_000

      assert [{_, %{host: "::1"}, _}, {_, %{host: "127.0.0.1"}, _}] =
               response.headers.record_route

      for method <- [:invite, :ack, :bye], do: assert([_request] = requests(answerer, method, 1))
      assert_sane(kamailio)
    end

    test "is refused: 486, which each hop acknowledges by itself" do
      {caller, answerer, kamailio} = behind_kamailio()
      Caller.call(caller, "busy", kamailio.address)
      assert_receive {^caller, {:response, :invite, 486, _response, _key}}, 5_000
      assert_sane(kamailio)
      assert requests(answerer, :ack, 0) == []
      refute_received {^answerer, {:error, _reason, _key}}
    end

    test "is cancelled: Kamailio answers the CANCEL, and sends its own" do
      {caller, answerer, kamailio} = behind_kamailio()
      Caller.call(caller, "ringing", kamailio.address, :cancel)
      assert_receive {^caller, {:response, :cancel, 200, _response, _key}}, 5_000
      assert_receive {^caller, {:response, :invite, 487, _response, _key}}, 5_000
      assert [%{headers: %{via: [_only_kamailio]}}] = requests(answerer, :cancel, 1)
      assert_sane(kamailio)
    end

    test "comes twice, by two branches of it: one is answered, the other is refused with 482" do
      {caller, answerer, kamailio} = behind_kamailio([:FORKS])
      Caller.call(caller, "bob", kamailio.address)
      assert_receive {^caller, {:response, :bye, 200, _response, _key}}, 5_000

      assert [first, second] = requests(answerer, :invite, 2)
      assert first.headers.cseq == second.headers.cseq
      refute hd(first.headers.via) == hd(second.headers.via)
      assert [_ack] = requests(answerer, :ack, 1)
      log = kamailio |> Kamailio.await(~r/REPLY 482 to INVITE/) |> assert_sane()

      for status <- [200, 482],
          do: assert([_once] = Regex.scan(~r/REPLY #{status} to INVITE/, log))
    end
  end

  describe "Kamailio as our registrar" do
    for {name, definitions} <- [{"MD5", []}, {"SHA-256", [:SHA256]}] do
      test "accepts credentials of #{name}, and refuses those of a wrong password" do
        {stack, _address} = start_stack(Registrant)
        kamailio = Kamailio.start(unquote(definitions))

        Registrant.register(stack, kamailio.address, "secret")
        assert_receive {^stack, {:response, :register, 401, challenged, _key}}, 5_000
        assert [{"Digest", challenge}] = challenged.headers.www_authenticate
        assert Map.get(challenge, "algorithm", "MD5") == unquote(name)
        assert_receive {^stack, {:response, :register, 200, accepted, _key}}, 5_000
        assert [{_name, _uri, %{"expires" => "60"}}] = accepted.headers.contact

        Registrant.register(stack, kamailio.address, "wrong")
        # It challenges anew, and to go on would be to guess.
        assert_receive {^stack, {:gave_up, :unknown_nonce}}, 5_000
        kamailio = Kamailio.await(kamailio, ~r/SAVED sip:alice@test.local/)
        assert [_once] = Regex.scan(~r/SAVED sip:alice@test.local/, assert_sane(kamailio))
      end
    end

    test "brings calls to where we are registered, and asks the caller for the password" do
      kamailio = Kamailio.start([:PASSWORDS])
      {callee, _address} = start_stack(Registrant)
      Registrant.register(callee, kamailio.address, "secret")
      assert_receive {^callee, {:response, :register, 200, _response, _key}}, 5_000
      Sippet.register_core(callee, Answerer)

      {caller, _address} = start_stack(Caller)
      Notebook.put(caller, :password, "secret")
      Caller.call(caller, "alice", kamailio.address)
      assert_receive {^caller, {:response, :invite, 407, _response, _key}}, 5_000
      assert_receive {^caller, {:response, :invite, 200, _response, _key}}, 5_000
      assert_receive {^caller, {:response, :bye, 200, _response, _key}}, 5_000

      assert [invite] = requests(callee, :invite, 1)
      refute Map.has_key?(invite.headers, :proxy_authorization)
      assert [_ack] = requests(callee, :ack, 1)
      assert_sane(kamailio)
    end

    test "does not know whom nobody registered" do
      kamailio = Kamailio.start()
      {caller, _address} = start_stack(Caller)
      Caller.call(caller, "nobody", kamailio.address)
      assert_receive {^caller, {:response, :invite, 404, _response, _key}}, 5_000
      assert_sane(kamailio)
    end
  end
end
