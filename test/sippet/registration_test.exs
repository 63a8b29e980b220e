defmodule Sippet.RegistrationTest do
  # A registrar that is the test, and time that is the test's: the timers of the stack fire by advance/2, and those of the
  # registration when the test sends their messages.
  use ExUnit.Case, async: true

  import Sippet.Test
  import Sippet.Wait

  alias Sippet.{DigestAuth, Message, Registration, URI}
  alias Sippet.Registration.Delay

  defmodule Core do
    use Sippet.Core

    # What comes to the core is no registration's.
    def receive_response(response, _key, stack), do: tell(stack, {:core, response})
    def receive_error(reason, _key, stack), do: tell(stack, {:core, reason})

    defp tell(stack, what), do: send(:persistent_term.get({__MODULE__, stack}), what)
  end

  @aor "sip:alice@atlanta.com"
  @urn "urn:uuid:00000000-0000-1000-8000-000a95a0e128"

  setup context do
    stack = :"#{inspect(__MODULE__)} #{context.test}"
    :persistent_term.put({Core, stack}, self())

    unless context[:no_stack],
      do: start_supervised!({Sippet.Test, [name: stack, core: Core, owner: self()]})

    %{stack: stack}
  end

  defp start(stack, options \\ []) do
    test = self()

    start_timer = fn ms, pid, name ->
      ref = make_ref()
      send(test, {:timer, pid, name, ms, ref})
      ref
    end

    options = Keyword.merge([stack: stack, address_of_record: @aor, owner: self()], options)
    private = %{start_timer: start_timer}
    id = make_ref()

    start_supervised!(%{
      id: id,
      start: {Registration, :start_link, [options, private]},
      restart: :temporary
    })
  end

  # The milliseconds of the timer of this name that was started first and not looked at, and what fires it.
  defp timer(pid, name) do
    assert_receive {:timer, ^pid, ^name, ms, ref}
    {ms, fn -> send(pid, {:timeout, ref, name}) end}
  end

  defp fire(pid, name) do
    {ms, fire} = timer(pid, name)
    fire.()
    ms
  end

  defp event(pid) do
    assert_receive {:sippet_registration, ^pid, event}, 1_000
    event
  end

  defp refute_event(pid) do
    # Whatever came before the answer to this has been done.
    Registration.info(pid)
    refute_received {:sippet_registration, ^pid, _event}
  end

  defp listed(request, expires) do
    for {name, uri, params} <- request.headers.contact,
        do: {name, uri, Map.put(params, "expires", "#{expires}")}
  end

  defp accept(stack, request, expires \\ 3_600, change \\ & &1) do
    respond(stack, request, 200, fn response ->
      response |> Message.put_header(:contact, listed(request, expires)) |> change.()
    end)
  end

  defp registered(stack, options \\ []) do
    pid = start(stack, options)
    request = assert_request(stack, :register)
    accept(stack, request)
    assert {:registered, _bindings} = event(pid)
    {pid, request}
  end

  defp challenge(stack, request, status \\ 401, realm \\ "atlanta.com", options \\ []) do
    {qop?, options} = Keyword.pop(options, :qop?, true)
    options = Keyword.put_new(options, :algorithm, "SHA-256")
    {:ok, response} = DigestAuth.make_response(request, status, realm, options)
    deliver(stack, if(qop?, do: response, else: without_qop(response)))
  end

  defp without_qop(response) do
    [{"Digest", params}] = response.headers.www_authenticate
    Message.put_header(response, :www_authenticate, [{"Digest", Map.delete(params, "qop")}])
  end

  defp with_header(header, value), do: &Message.put_header(&1, header, value)

  defp credentials(request, header \\ :authorization) do
    [{"Digest", params}] = request.headers[header]
    params
  end

  defp verify(request, realm \\ "atlanta.com") do
    DigestAuth.verify(request, realm, fn "alice" -> {:ok, "wonderland"} end, algorithm: "SHA-256")
  end

  defp number(request), do: elem(request.headers.cseq, 0)
  defp uris(request), do: for({_name, uri, _params} <- request.headers.contact, do: "#{uri}")

  # Sippet.Registering.lent/1 takes maps, and no structs.
  defp lendable(contacts),
    do: for({name, uri, params} <- contacts, do: {name, Map.from_struct(uri), params})

  defp unlent(response),
    do:
      update_in(response.headers.contact, &for({n, uri, p} <- &1, do: {n, struct!(URI, uri), p}))

  @alice {"alice", "wonderland"}

  describe "RFC3261§10.2 the request" do
    test "has the domain as its Request-URI, and the address-of-record in To and From", context do
      start(context.stack)
      request = assert_request(context.stack, :register)
      assert "#{request.start_line.request_uri}" == "sip:atlanta.com"
      assert {"", to, to_params} = request.headers.to
      assert {"", from, %{"tag" => _}} = request.headers.from
      assert {"#{to}", "#{from}", to_params} == {@aor, @aor, %{}}
      assert request.headers.expires == 3_600
      assert uris(request) == ["sip:alice@192.0.2.1"]
      assert request.headers.supported == ["path"]
      assert {:udp, "atlanta.com", 5060} = request.target
    end

    test "goes to the registrar by the route, with the contacts and headers of the options", %{
      stack: stack
    } do
      start(stack,
        registrar: "sip:reg.atlanta.com:5070",
        contacts: ["sip:a@192.0.2.9", {"A", "tel:+1", %{"q" => "0.5"}}],
        expires: 600,
        instance: @urn,
        route: ["sip:192.0.2.77;lr"],
        headers: [
          user_agent: "Phone/1",
          from: {"Boss", URI.parse!("sip:boss@atlanta.com"), %{}},
          supported: ["gruu"]
        ]
      )

      request = assert_request(stack, :register)
      assert "#{request.start_line.request_uri}" == "sip:reg.atlanta.com:5070"

      assert [{"", _uri, %{"+sip.instance" => "<" <> @urn <> ">"}}, {"A", _, params}] =
               request.headers.contact

      assert %{"q" => "0.5", "+sip.instance" => _} = params
      assert request.headers.expires == 600
      assert request.target == {:udp, "192.0.2.77", 5060}
      assert [{"", _route, _}] = request.headers.route
      assert {"Boss", _uri, %{"tag" => _}} = request.headers.from
      assert %{user_agent: "Phone/1", supported: ["gruu"]} = request.headers
      assert {"", to, _params} = request.headers.to
      assert "#{to}" == @aor
    end

    test "is a SIPS one with a SIPS contact for a SIPS address-of-record" do
      start_supervised!({Sippet.Test, name: :sips_registration, core: Core, transports: [:tls]})
      start(:sips_registration, address_of_record: "sips:alice@atlanta.com")
      request = assert_request(:sips_registration, :register)
      assert "#{request.start_line.request_uri}" == "sips:atlanta.com"
      assert ["sips:alice@192.0.2.1" <> _] = uris(request)
    end

    test "has one Call-ID, From and To, and the next number, refresh after refresh", %{
      stack: stack
    } do
      {pid, first} = registered(stack)
      fire(pid, :attempt)
      second = assert_request(stack, :register)
      kept = [:call_id, :from, :to, :contact]
      assert Map.take(second.headers, kept) == Map.take(first.headers, kept)
      assert number(second) == number(first) + 1
      assert second.headers.via != first.headers.via
    end

    test "takes a From as text, and gives it a tag", %{stack: stack} do
      start(stack, headers: %{"From" => ["Boss <sip:boss@atlanta.com>"]})
      assert {"Boss", _uri, %{"tag" => _}} = assert_request(stack, :register).headers.from
    end

    test "makes no route set of a Record-Route", %{stack: stack} do
      pid = start(stack)
      route = [{"", URI.parse!("sip:192.0.2.99;lr"), %{}}]
      accept(stack, assert_request(stack, :register), 60, with_header(:record_route, route))
      assert {:registered, _bindings} = event(pid)
      fire(pid, :attempt)
      refute is_map_key(assert_request(stack, :register).headers, :route)
    end

    test "is one at a time", %{stack: stack} do
      pid = start(stack)
      assert_request(stack, :register)
      assert :ok = Registration.register(pid)
      refute_sent(stack)
      assert Registration.info(pid).state == :registering
    end
  end

  describe "a 200" do
    test "is told with all bindings, and which are ours", %{stack: stack} do
      pid = start(stack)
      request = assert_request(stack, :register)
      other = {"", URI.parse!("sip:alice@198.51.100.9"), %{"expires" => "77"}}

      respond(
        stack,
        request,
        200,
        with_header(:contact, [other | listed(request, 1_000)])
      )

      assert {:registered, [other, own]} = event(pid)
      assert %{expires: 77, own?: false} = other
      assert %{expires: 1_000, own?: true, uri: uri} = own
      assert "#{uri}" == "sip:alice@192.0.2.1"

      assert %{state: :registered, registered?: true, last_error: nil, bindings: [^other, ^own]} =
               info = Registration.info(pid)

      assert DateTime.diff(info.until, DateTime.utc_now()) in 995..1_000
    end

    test "a default port or transport that the registrar writes out is ours", %{stack: stack} do
      pid = start(stack)
      request = assert_request(stack, :register)
      written = {"", URI.parse!("sip:alice@192.0.2.1:5060;transport=udp"), %{"expires" => "60"}}
      respond(stack, request, 200, with_header(:contact, [written]))
      assert {:registered, [%{own?: true}]} = event(pid)
    end

    test "a contact with our instance is ours, in any letter case", %{stack: stack} do
      pid = start(stack, instance: @urn)
      request = assert_request(stack, :register)
      params = %{"expires" => "60", "+sip.instance" => "<#{String.upcase(@urn)}>"}
      respond(stack, request, 200, with_header(:contact, [{"", URI.parse!("sip:x@h"), params}]))
      assert {:registered, [%{own?: true}]} = event(pid)
    end

    test "a contact at the address that the registrar has seen is ours", %{stack: stack} do
      contacts = ["sip:alice@192.0.2.1", "sip:alice@192.0.2.1;transport=tcp"]
      pid = start(stack, contacts: contacts)
      request = assert_request(stack, :register)

      respond(stack, request, 200, fn response ->
        [{version, udp, sent_by, params}] = response.headers.via
        params = Map.merge(params, %{"received" => "203.0.113.7", "rport" => "61234"})

        seen = {"", URI.parse!("sip:alice@203.0.113.7:61234;ob"), %{"expires" => "60"}}
        other = {"", URI.parse!("sip:alice@203.0.113.7:61235"), %{"expires" => "60"}}
        tcp = {"", URI.parse!("sip:alice@203.0.113.7:61234;transport=tcp"), %{}}
        tls = {"", URI.parse!("sip:alice@203.0.113.7:61234;transport=tls"), %{}}
        bob = {"", URI.parse!("sip:bob@203.0.113.7:61234"), %{"expires" => "60"}}

        response
        |> Message.put_header(:via, [{version, udp, sent_by, params}])
        |> Message.put_header(:contact, [seen, other, bob, tcp, tls])
      end)

      assert {:registered, bindings} = event(pid)
      assert Enum.map(bindings, & &1.own?) == [true, false, false, true, false]
    end

    test "without a contact of ours is a failure", %{stack: stack} do
      for contact <- [nil, "*", [{"", URI.parse!("sip:bob@h"), %{}}], :ended] do
        pid = start(stack)
        request = assert_request(stack, :register)

        respond(stack, request, 200, fn response ->
          case contact do
            nil -> response
            :ended -> Message.put_header(response, :contact, listed(request, 0))
            contact -> Message.put_header(response, :contact, contact)
          end
        end)

        assert {:failed, :not_bound, ms} = event(pid)
        assert ms in 900_000..1_800_000
        assert %{state: :waiting, registered?: false, bindings: []} = Registration.info(pid)
        # It may be one of the registrars that list nothing.
        spawn(fn -> Registration.unregister(pid) end)
        assert assert_request(stack, :register).headers.expires == 0
      end
    end

    test "that lists ours no more has ended the bindings", %{stack: stack} do
      {pid, _request} = registered(stack)
      {_ms, expire} = timer(pid, :expiry)
      fire(pid, :attempt)
      respond(stack, assert_request(stack, :register), 200)
      assert event(pid) == :expired
      assert {:failed, :not_bound, _ms} = event(pid)
      assert %{registered?: false, bindings: [], until: nil} = Registration.info(pid)
      expire.()
      refute_event(pid)
    end

    test "of contacts that are malformed in part counts for the others", %{stack: stack} do
      pid = start(stack)
      request = assert_request(stack, :register)
      own = "<sip:alice@192.0.2.1>;expires=60"
      respond(stack, request, 200, with_header("Contact", ["<sip:", own]))
      assert {:registered, [%{own?: true, expires: 60}]} = event(pid)
    end

    test "says the interval in its contact, else in Expires, else it is the one asked for", %{
      stack: stack
    } do
      for {params, expires, granted} <- [
            {%{"expires" => "50"}, 70, 50},
            {%{}, 70, 70},
            {%{}, nil, 900},
            {%{"expires" => "soon"}, 70, 3_600}
          ] do
        pid = start(stack, expires: 900)
        request = assert_request(stack, :register)

        respond(stack, request, 200, fn response ->
          response =
            if expires, do: Message.put_header(response, :expires, expires), else: response

          [{name, uri, _params}] = request.headers.contact
          Message.put_header(response, :contact, [{name, uri, params}])
        end)

        assert {:registered, [%{expires: ^granted}]} = event(pid)
      end
    end

    test "keeps no datagram in memory", %{stack: stack} do
      # Short texts are copied in any case.
      long = "sip:alice@#{String.duplicate("a", 100)}.com"
      pid = start(stack, contacts: [long])
      request = assert_request(stack, :register)
      key = Sippet.Transactions.Client.Key.new(request)

      response =
        request |> Message.to_response(200) |> with_header(:contact, listed(request, 60)).()

      lent = update_in(response.headers.contact, &Sippet.Registering.lent(lendable(&1)))
      send(pid, {:sippet, stack, key, {:response, unlent(lent)}})
      assert {:registered, [%{own?: true}]} = event(pid)
      [%{uri: uri}] = Registration.info(pid).bindings
      assert Sippet.Registering.borrowed(Map.from_struct(uri)) == []
    end
  end

  describe "refreshing" do
    test "is at half of the time, or 600 s before a long one's end, and once a day" do
      assert Enum.map([1, 60, 1_200, 1_202, 3_600, 86_400, 87_000, 0xFFFFFFFF], &Delay.refresh/1) ==
               [500, 30_000, 600_000, 602_000, 3_000_000, 85_800_000, 86_400_000, 86_400_000]
    end

    test "takes the earliest end of the own contacts", %{stack: stack} do
      pid = start(stack, contacts: ["sip:a@192.0.2.1", "sip:b@192.0.2.1"])
      request = assert_request(stack, :register)
      [{_, a, _}, {_, b, _}] = request.headers.contact
      contacts = [{"", a, %{"expires" => "90"}}, {"", b, %{"expires" => "60"}}]
      respond(stack, request, 200, with_header(:contact, contacts))
      assert {:registered, [_, _]} = event(pid)
      assert {30_000, _fire} = timer(pid, :attempt)
      assert {60_000, _fire} = timer(pid, :expiry)
    end

    test "goes to the address that has answered, until it fails", %{stack: stack} do
      {pid, first} = registered(stack)
      assert first.target == {:udp, "atlanta.com", 5060}
      fire(pid, :attempt)
      second = assert_request(stack, :register)
      assert second.target == {:udp, "198.51.100.1", 5060}
      advance(stack, 32_000)
      sent(stack)
      assert {:failed, :timeout, _ms} = event(pid)
      fire(pid, :attempt)
      assert assert_request(stack, :register).target == {:udp, "atlanta.com", 5060}
    end

    test "goes by any way where the one before is no more", %{stack: stack} do
      pid = start(stack)
      request = assert_request(stack, :register)
      key = Sippet.Transactions.Client.Key.new(request)

      # Of a transport that has gone.
      gone = %Sippet.Flow{
        protocol: :udp,
        remote: {{198, 51, 100, 1}, 5060},
        local: {{192, 0, 2, 200}, 5060}
      }

      response =
        request |> Message.to_response(200) |> with_header(:contact, listed(request, 60)).()

      send(pid, {:sippet, stack, key, {:response, %{response | source: gone}}})
      assert {:registered, _bindings} = event(pid)
      fire(pid, :attempt)
      assert assert_request(stack, :register).target == {:udp, "atlanta.com", 5060}
    end

    test "a failed one leaves the bindings until they expire", %{stack: stack} do
      {pid, _request} = registered(stack)
      {_ms, expire} = timer(pid, :expiry)
      fire(pid, :attempt)
      respond(stack, assert_request(stack, :register), 503)
      assert {:failed, {:status, 503}, _ms} = event(pid)
      assert %{state: :waiting, registered?: true, bindings: [_]} = Registration.info(pid)
      expire.()
      assert event(pid) == :expired

      assert %{registered?: false, until: nil, bindings: [], last_error: {:status, 503}} =
               Registration.info(pid)

      fire(pid, :attempt)
      accept(stack, assert_request(stack, :register))
      assert {:registered, _bindings} = event(pid)
      assert %{registered?: true, last_error: nil} = Registration.info(pid)
    end

    test "has timers as long as the longest that there are", %{stack: stack} do
      pid = start(stack)
      accept(stack, assert_request(stack, :register), 0xFFFFFFFF)
      assert {:registered, [%{expires: 0xFFFFFFFF}]} = event(pid)
      assert {86_400_000, _fire} = timer(pid, :attempt)
      assert {4_000_000_000, _fire} = timer(pid, :expiry)
    end

    test "the end of the time before counts no more", %{stack: stack} do
      {pid, _request} = registered(stack)
      {_ms, expire} = timer(pid, :expiry)
      fire(pid, :attempt)
      accept(stack, assert_request(stack, :register))
      assert {:registered, _bindings} = event(pid)
      expire.()
      refute_event(pid)
      assert Registration.info(pid).registered?
    end
  end

  describe "RFC3261§22 challenges" do
    test "of the registrar and of a proxy are answered, and the password shows nowhere", %{
      stack: stack
    } do
      pid = start(stack, credentials: @alice)
      first = assert_request(stack, :register)
      challenge(stack, first, 407, "proxy")
      second = assert_request(stack, :register)
      assert number(second) == number(first) + 1
      assert credentials(second, :proxy_authorization)["realm"] == "proxy"
      challenge(stack, second)
      third = assert_request(stack, :register)
      assert number(third) == number(second) + 1
      assert verify(third) == {:ok, "alice"}
      assert credentials(third, :proxy_authorization)["nc"] == "00000002"
      accept(stack, third)
      assert {:registered, _bindings} = event(pid)
      refute inspect(:sys.get_state(pid), limit: :infinity) =~ "wonderland"
    end

    test "credentials are used again, and their count rises", %{stack: stack} do
      pid = start(stack, credentials: fn "atlanta.com" -> {:ok, "alice", "wonderland"} end)
      challenge(stack, assert_request(stack, :register))
      accept(stack, assert_request(stack, :register))
      assert {:registered, _bindings} = event(pid)

      for nc <- ["00000002", "00000003"] do
        fire(pid, :attempt)
        request = assert_request(stack, :register)
        assert credentials(request)["nc"] == nc
        assert verify(request) == {:ok, "alice"}
        accept(stack, request)
        assert {:registered, _bindings} = event(pid)
      end
    end

    test "the nextnonce of the registrar is used, from one on", %{stack: stack} do
      pid = start(stack, credentials: @alice)
      challenge(stack, assert_request(stack, :register))

      info = with_header(:authentication_info, %{"nextnonce" => "n2"})
      accept(stack, assert_request(stack, :register), 60, info)
      assert {:registered, _bindings} = event(pid)
      fire(pid, :attempt)

      assert %{"nonce" => "n2", "nc" => "00000001"} =
               credentials(assert_request(stack, :register))
    end

    test "a stale nonce is no wrong password", %{stack: stack} do
      pid = start(stack, credentials: @alice)
      first = assert_request(stack, :register)
      challenge(stack, first, 401, "atlanta.com", nonce: "a")
      second = assert_request(stack, :register)
      challenge(stack, second, 401, "atlanta.com", nonce: "b", stale: true)
      third = assert_request(stack, :register)
      assert credentials(third)["nonce"] == "b"
      accept(stack, third)
      assert {:registered, _bindings} = event(pid)
    end

    test "a nonce that has ended without a word is no wrong password, with or without qop", %{
      stack: stack
    } do
      for qop? <- [true, false] do
        pid = start(stack, credentials: @alice)
        options = [algorithm: "MD5", qop?: qop?]

        challenge(
          stack,
          assert_request(stack, :register),
          401,
          "atlanta.com",
          [nonce: "a"] ++ options
        )

        accept(stack, assert_request(stack, :register))
        assert {:registered, _bindings} = event(pid)
        fire(pid, :attempt)

        challenge(
          stack,
          assert_request(stack, :register),
          401,
          "atlanta.com",
          [nonce: "b"] ++ options
        )

        again = assert_request(stack, :register)
        assert credentials(again)["nonce"] == "b"
        # The second one is a refusal of what was answered just now.
        challenge(stack, again, 401, "atlanta.com", [nonce: "c"] ++ options)
        assert {:failed, :wrong_credentials, _ms} = event(pid)
        fire(pid, :attempt)
        refute is_map_key(assert_request(stack, :register).headers, :authorization)
      end
    end

    test "wrong credentials are not tried again soon, and the next attempt begins without", %{
      stack: stack
    } do
      pid = start(stack, credentials: {"alice", "xanadu"}, max_time: 10_000)
      challenge(stack, assert_request(stack, :register))
      challenge(stack, assert_request(stack, :register))
      assert {:failed, :wrong_credentials, ms} = event(pid)
      assert ms in 5_000..10_000
      refute_sent(stack)
      assert fire(pid, :attempt) == ms
      refute is_map_key(assert_request(stack, :register).headers, :authorization)
    end

    test "that can't be answered are told", %{stack: stack} do
      for {options, reason} <- [
            {[], :no_credentials},
            {[credentials: fn _realm -> {:error, :locked} end], :locked},
            {[credentials: fn "biloxi.com" -> {:ok, "alice", "x"} end], :unknown_realm}
          ] do
        pid = start(stack, options)
        challenge(stack, assert_request(stack, :register))
        assert {:failed, {:challenge, ^reason}, ms} = event(pid)
        assert ms in 900_000..1_800_000
      end

      pid = start(stack, credentials: @alice)
      respond(stack, assert_request(stack, :register), 401)
      assert {:failed, {:challenge, :invalid_auth_header}, _ms} = event(pid)
    end

    test "end after five requests", %{stack: stack} do
      pid = start(stack, credentials: @alice)

      for n <- 1..5 do
        request = assert_request(stack, :register)
        challenge(stack, request, 401, "atlanta.com", nonce: "#{n}", stale: true)
      end

      assert {:failed, {:challenge, :repeated}, _ms} = event(pid)
      refute_sent(stack)
    end
  end

  describe "a 423" do
    test "is answered with its minimum, which is kept", %{stack: stack} do
      pid = start(stack, expires: 60, credentials: @alice)
      challenge(stack, assert_request(stack, :register))
      first = assert_request(stack, :register)
      respond(stack, first, 423, with_header(:min_expires, 7_200))
      second = assert_request(stack, :register)
      assert second.headers.expires == 7_200
      assert number(second) == number(first) + 1
      assert verify(second) == {:ok, "alice"}
      assert credentials(second)["nc"] == "00000002"
      accept(stack, second)
      assert {:registered, _bindings} = event(pid)
      fire(pid, :attempt)
      assert assert_request(stack, :register).headers.expires == 7_200
    end

    test "without a minimum that helps is a refusal", %{stack: stack} do
      for min_expires <- [nil, 60, 86_401] do
        pid = start(stack, expires: 60)

        respond(stack, assert_request(stack, :register), 423, fn response ->
          if min_expires,
            do: Message.put_header(response, :min_expires, min_expires),
            else: response
        end)

        assert {:failed, {:status, 423}, ms} = event(pid)
        assert ms in 900_000..1_800_000
        refute_sent(stack)
      end
    end
  end

  describe "RFC5626§4.5 failures" do
    test "wait for twice as long each time, up to max_time" do
      for {failures, upper} <- [{1, 60}, {2, 120}, {5, 960}, {6, 1_800}, {1_000_000, 1_800}] do
        delays = for _ <- 1..200, do: Delay.back_off(failures, 30_000, 1_800_000)
        assert Enum.all?(delays, &(&1 in (upper * 500)..(upper * 1_000)))
        assert Enum.max(delays) - Enum.min(delays) > upper * 250
      end

      assert Delay.refused(1) == 1
    end

    test "of a server or of the network pass, and each doubles the delay", %{stack: stack} do
      pid = start(stack)

      for {status, index} <- Enum.with_index([408, 480, 500, 503, 504, 513, 500], 1) do
        respond(stack, assert_request(stack, :register), status)
        assert {:failed, {:status, ^status}, ms} = event(pid)
        upper = min(30_000 * 2 ** index, 1_800_000)
        assert ms in div(upper, 2)..upper
        assert fire(pid, :attempt) == ms
      end

      accept(stack, assert_request(stack, :register))
      assert {:registered, _bindings} = event(pid)
      fire(pid, :attempt)
      respond(stack, assert_request(stack, :register), 500)
      assert {:failed, {:status, 500}, ms} = event(pid)
      assert ms in 30_000..60_000
    end

    test "of everything else are long, and a redirection is not followed", %{stack: stack} do
      for status <- [302, 400, 403, 404, 420, 600, 603] do
        pid = start(stack)
        contact = with_header(:contact, [{"", URI.parse!("sip:evil.com"), %{}}])
        respond(stack, assert_request(stack, :register), status, contact)
        assert {:failed, {:status, ^status}, ms} = event(pid)
        assert ms in 900_000..1_800_000
        refute_sent(stack)
      end
    end

    test "obey a Retry-After, up to a day", %{stack: stack} do
      for {status, seconds, ms} <- [
            {503, 5, 5_000},
            {403, 7, 7_000},
            {503, 0, 1_000},
            {503, 0xFFFFFFFF, 86_400_000}
          ] do
        pid = start(stack)
        header = with_header(:retry_after, {seconds, "", %{}})
        respond(stack, assert_request(stack, :register), status, header)
        assert {:failed, {:status, ^status}, ^ms} = event(pid)
      end
    end

    test "of a timeout, of a send, and of the options base_time and max_time", %{stack: stack} do
      pid = start(stack, base_time: 1_000, max_time: 3_000)
      assert_request(stack, :register)
      advance(stack, 32_000)
      assert {:failed, :timeout, ms} = event(pid)
      assert ms in 1_000..2_000
      fail_sends(stack, :ehostunreach)
      sent(stack)
      fire(pid, :attempt)
      assert {:failed, {:unreachable, :ehostunreach}, ms} = event(pid)
      assert ms in 1_500..3_000
      assert Registration.info(pid).last_error == {:unreachable, :ehostunreach}
    end

    test "of a destination that no transport has", %{stack: stack} do
      pid = start(stack, registrar: "sip:atlanta.com;transport=tcp")
      assert {:failed, {:unreachable, :no_transport}, ms} = event(pid)
      assert ms in 30_000..60_000
      assert Registration.unregister(pid) == :ok
      refute_sent(stack)
    end

    test "provisional responses and strange ones change nothing", %{stack: stack} do
      pid = start(stack)
      request = assert_request(stack, :register)
      respond(stack, request, 100)
      key = Sippet.Transactions.Client.Key.new(request)
      send(pid, {:sippet, stack, %{key | branch: "z9hG4bKother"}, {:error, :timeout}})
      send(pid, {:timeout, make_ref(), :attempt})
      send(pid, :nonsense)
      refute_event(pid)
      accept(stack, request)
      assert {:registered, _bindings} = event(pid)
    end
  end

  describe "unregister/2" do
    test "ends the own bindings alone, and register/1 begins anew", %{stack: stack} do
      {pid, first} = registered(stack)
      {_ms, refresh} = timer(pid, :attempt)
      task = Task.async(fn -> Registration.unregister(pid) end)
      request = assert_request(stack, :register)
      refresh.()
      assert request.headers.expires == 0
      assert [{"", uri, %{"expires" => "0"}}] = request.headers.contact
      assert "#{uri}" == "sip:alice@192.0.2.1"
      assert number(request) == number(first) + 1
      assert Registration.info(pid).state == :unregistering
      refute_sent(stack)
      respond(stack, request, 200)
      assert Task.await(task) == :ok
      assert event(pid) == :unregistered

      assert %{state: :unregistered, registered?: false, bindings: [], until: nil} =
               Registration.info(pid)

      assert Registration.unregister(pid) == :ok
      refute_sent(stack)
      assert Registration.register(pid) == :ok
      again = assert_request(stack, :register)
      assert {number(again), again.headers.expires} == {number(request) + 1, 3_600}
      assert again.headers.call_id == first.headers.call_id
    end

    test "answers challenges", %{stack: stack} do
      pid = start(stack, credentials: @alice)
      challenge(stack, assert_request(stack, :register))
      accept(stack, assert_request(stack, :register))
      assert {:registered, _bindings} = event(pid)
      task = Task.async(fn -> Registration.unregister(pid) end)
      request = assert_request(stack, :register)
      assert credentials(request)["nc"] == "00000002"
      challenge(stack, request, 401, "atlanta.com", nonce: "b", stale: true)
      request = assert_request(stack, :register)
      assert {request.headers.expires, credentials(request)["nonce"]} == {0, "b"}
      respond(stack, request, 200)
      assert Task.await(task) == :ok
    end

    test "waits for the request on its way", %{stack: stack} do
      pid = start(stack)
      first = assert_request(stack, :register)
      task = Task.async(fn -> Registration.unregister(pid) end)
      wait_until(fn -> match?([{:unregister, _}], elem(:sys.get_state(pid), 1).leaving) end)
      refute_sent(stack)
      accept(stack, first)
      request = assert_request(stack, :register)
      assert request.headers.expires == 0
      respond(stack, request, 200)
      assert Task.await(task) == :ok
      assert event(pid) == :unregistered
    end

    test "while a request is on its way sends one where that may have bound something", %{
      stack: stack
    } do
      for {status, sends?} <- [{503, true}, {403, false}, {401, false}] do
        pid = start(stack, credentials: @alice)
        first = assert_request(stack, :register)
        task = Task.async(fn -> Registration.unregister(pid) end)
        wait_until(fn -> match?([{:unregister, _}], elem(:sys.get_state(pid), 1).leaving) end)
        if status == 401, do: challenge(stack, first), else: respond(stack, first, status)

        if sends? do
          request = assert_request(stack, :register)
          assert request.headers.expires == 0
          respond(stack, request, 200)
        end

        assert Task.await(task) == :ok
        assert event(pid) == :unregistered
        refute_sent(stack)
      end
    end

    test "takes back a register/1 that waits for the end", %{stack: stack} do
      {pid, _request} = registered(stack)
      tasks = [Task.async(fn -> Registration.unregister(pid) end)]
      request = assert_request(stack, :register)
      assert Registration.register(pid) == :ok
      tasks = [Task.async(fn -> Registration.unregister(pid) end) | tasks]
      wait_until(fn -> match?([_, _], elem(:sys.get_state(pid), 1).leaving) end)
      respond(stack, request, 200)
      assert Task.await_many(tasks) == [:ok, :ok]
      assert event(pid) == :unregistered
      refute_sent(stack)
    end

    test "sends nothing where nothing can be bound", %{stack: stack} do
      pid = start(stack)
      respond(stack, assert_request(stack, :register), 403)
      assert {:failed, {:status, 403}, _ms} = event(pid)
      {_ms, retry} = timer(pid, :attempt)
      assert Registration.unregister(pid) == :ok
      assert event(pid) == :unregistered
      retry.()
      refute_event(pid)
      refute_sent(stack)
    end

    test "sends something where a timeout leaves that open", %{stack: stack} do
      pid = start(stack)
      assert_request(stack, :register)
      advance(stack, 32_000)
      assert {:failed, :timeout, _ms} = event(pid)
      sent(stack)
      task = Task.async(fn -> Registration.unregister(pid) end)
      assert assert_request(stack, :register).headers.expires == 0
      advance(stack, 32_000)
      assert Task.await(task) == {:error, :timeout}
      assert event(pid) == :unregistered
    end

    test "is refused, and has ended all the same", %{stack: stack} do
      {pid, _request} = registered(stack)
      task = Task.async(fn -> Registration.unregister(pid) end)
      respond(stack, assert_request(stack, :register), 500)
      assert Task.await(task) == {:error, {:status, 500}}
      assert event(pid) == :unregistered
      assert %{state: :unregistered, last_error: {:status, 500}} = Registration.info(pid)
    end

    test "returns after its timeout, and the process goes on", %{stack: stack} do
      {pid, _request} = registered(stack)
      task = Task.async(fn -> Registration.unregister(pid, 700) end)
      request = assert_request(stack, :register)
      assert_receive {:timer, ^pid, {:unregister, _} = name, 700, ref}
      send(pid, {:timeout, ref, name})
      assert Task.await(task) == {:error, :timeout}
      refute_event(pid)
      assert Registration.register(pid) == :ok
      respond(stack, request, 200)
      assert event(pid) == :unregistered
      assert assert_request(stack, :register).headers.expires == 3_600
    end
  end

  describe "the end of the process" do
    test "ends the bindings with the credentials there are, and waits for nothing", %{
      stack: stack
    } do
      pid = start(stack, credentials: @alice)
      challenge(stack, assert_request(stack, :register))
      accept(stack, assert_request(stack, :register))
      assert {:registered, _bindings} = event(pid)
      ref = Process.monitor(pid)
      Process.exit(pid, {:shutdown, :reason})
      assert_receive {:DOWN, ^ref, :process, ^pid, {:shutdown, :reason}}
      request = assert_request(stack, :register)
      assert {request.headers.expires, credentials(request)["nc"]} == {0, "00000002"}
      respond(stack, request, 200)
      advance(stack, 32_000)
      refute_received {:core, _response}
    end

    test "takes the place of the request on its way", %{stack: stack} do
      for unregistering? <- [false, true] do
        pid = start(stack)
        request = assert_request(stack, :register)

        request =
          if unregistering? do
            accept(stack, request)
            assert {:registered, _bindings} = event(pid)
            spawn(fn -> Registration.unregister(pid) end)
            assert_request(stack, :register)
          else
            request
          end

        ref = Process.monitor(pid)
        Process.exit(pid, :shutdown)
        assert_receive {:DOWN, ^ref, :process, ^pid, :shutdown}
        last = assert_request(stack, :register)
        assert {number(last), last.headers.expires} == {number(request) + 1, 0}
        for request <- [request, last], do: respond(stack, request, 200)
        advance(stack, 32_000)
        refute_sent(stack)
        refute_received {:core, _response}
      end
    end

    test "sends nothing where nothing is bound, and nothing after a crash", %{stack: stack} do
      for {status, reason} <- [{403, :shutdown}, {200, :crash}] do
        pid = start(stack)
        request = assert_request(stack, :register)
        respond(stack, request, status, with_header(:contact, listed(request, 60)))
        event(pid)
        ref = Process.monitor(pid)
        Process.exit(pid, reason)
        assert_receive {:DOWN, ^ref, :process, ^pid, ^reason}
        refute_sent(stack)
      end
    end

    test "comes with that of its owner", %{stack: stack} do
      owner = spawn(fn -> Process.sleep(:infinity) end)
      pid = start(stack, owner: owner)
      accept(stack, assert_request(stack, :register))
      wait_until(fn -> Registration.info(pid).registered? end)
      ref = Process.monitor(pid)
      # It has the monitor when it has answered.
      Registration.info(pid)
      Process.exit(owner, :kill)
      assert_receive {:DOWN, ^ref, :process, ^pid, :normal}
      assert assert_request(stack, :register).headers.expires == 0
    end
  end

  describe "the owner" do
    test "is who starts it, and nobody in a child specification", %{stack: stack} do
      good = [stack: stack, address_of_record: @aor]
      {:ok, pid} = Registration.start_link(good)
      accept(stack, assert_request(stack, :register))
      assert {:registered, _bindings} = event(pid)

      assert %{start: {Registration, :start_link, [options]}, restart: :permanent} =
               Registration.child_spec(good ++ [credentials: @alice])

      assert options[:owner] == nil
      refute inspect(options) =~ "wonderland"
      assert options[:credentials].("any") == {:ok, "alice", "wonderland"}
      assert %{restart: :transient} = Registration.child_spec([owner: self()] ++ good)
    end

    test "may be a name that is somebody's only later, and the registration has one too", %{
      stack: stack
    } do
      owner = :"#{stack} owner"
      name = :"#{stack} name"
      pid = start(stack, owner: owner, name: name)
      respond(stack, assert_request(stack, :register), 500)
      wait_until(fn -> Registration.info(name).state == :waiting end)
      Process.register(self(), owner)
      fire(pid, :attempt)
      accept(stack, assert_request(stack, :register))
      assert {:registered, _bindings} = event(name)
    end

    test "may have several registrations of one stack", %{stack: stack} do
      pids = for user <- ~w(a b), do: start(stack, address_of_record: "sip:#{user}@atlanta.com")
      requests = for _ <- pids, do: assert_request(stack, :register)
      assert [_, _] = Enum.uniq_by(requests, & &1.headers.call_id)
      Enum.each(requests, &accept(stack, &1))
      for pid <- pids, do: assert({:registered, _bindings} = event(pid))

      options = [stack: stack, address_of_record: "sip:a@atlanta.com"]
      assert {Registration, {^stack, "sip:a@atlanta.com"}} = Registration.child_spec(options).id
      assert {Registration, :x} = Registration.child_spec([name: :x] ++ options).id
    end
  end

  describe "a stack" do
    @tag :no_stack
    test "that is not there yet is waited for", %{stack: stack} do
      pid = start(stack)
      assert {:failed, {:unreachable, :no_stack}, 500} = event(pid)
      assert fire(pid, :attempt) == 500
      refute_event(pid)
      start_supervised!({Sippet, name: stack, core: Core}, id: :bare)
      fire(pid, :attempt)
      assert {:failed, {:unreachable, :no_transport}, 500} = event(pid)
      stop_supervised!(:bare)
      start_supervised!({Sippet.Test, name: stack, core: Core, owner: self()})
      # The one that has ended is noticed by its end, and once.
      fire(pid, :attempt)
      accept(stack, assert_request(stack, :register))
      assert {:registered, _bindings} = event(pid)
    end

    test "that starts again gets a new registration, also in the midst of a request", %{
      stack: stack
    } do
      {pid, first} = registered(stack)
      {3_000_000, refresh} = timer(pid, :attempt)

      for _ <- 1..2 do
        stop_supervised!({Sippet.Test, stack})
        assert {:failed, {:unreachable, :no_stack}, 500} = event(pid)
        assert %{state: :waiting, registered?: true} = Registration.info(pid)
        refresh.()
        refute_event(pid)
        start_supervised!({Sippet.Test, name: stack, core: Core, owner: self()})
        fire(pid, :attempt)
        request = assert_request(stack, :register)
        assert number(request) > number(first)
        assert request.target == {:udp, "atlanta.com", 5060}
      end

      refute_event(pid)
    end

    test "that ends takes a last request with it, or the one before that", %{stack: stack} do
      waiting = start(stack)
      assert_request(stack, :register)
      {pid, _request} = registered(stack)
      tasks = for pid <- [waiting, pid], do: Task.async(fn -> Registration.unregister(pid) end)
      assert_request(stack, :register)
      wait_until(fn -> match?([_], elem(:sys.get_state(waiting), 1).leaving) end)
      stop_supervised!({Sippet.Test, stack})
      lost = {:error, {:unreachable, :no_stack}}
      assert Task.await_many(tasks) == [lost, lost]
      for pid <- [waiting, pid], do: assert(event(pid) == :unregistered)
      assert Registration.unregister(pid) == {:error, {:unreachable, :no_stack}}
    end
  end

  describe "options" do
    test "are checked in the caller, and no password is shown" do
      good = [stack: :none, address_of_record: @aor]

      for {options, text} <- [
            {[stack: :none], "expected :address_of_record option to be present"},
            {[address_of_record: @aor], "expected :stack option to be present"},
            {[nonsense: 1] ++ good, "unknown options: [:nonsense]"},
            {[stack: :none, address_of_record: "tel:+1"], ":address_of_record to be a SIP"},
            {[stack: :none, address_of_record: %URI{scheme: "sip"}],
             ":address_of_record to be a SIP"},
            {[stack: :none, address_of_record: "sip:"], ":address_of_record to be a SIP"},
            {[registrar: "sip:bob@atlanta.com"] ++ good, ":registrar to be a SIP"},
            {[contacts: []] ++ good, ":contacts to be a list"},
            {[contacts: ["::"]] ++ good, ":contacts to be a list"},
            {[contacts: [{"", "sip:a@b", %{"expires" => "1"}}]] ++ good,
             ":contacts to be a list"},
            {[expires: 0] ++ good, ":expires to be an integer in 1..4294967295"},
            {[route: ["::"]] ++ good, ":route to be a list"},
            {[headers: [call_id: "x"]] ++ good, ":headers to be a list"},
            {[headers: %{"cOntact" => ["x"]}] ++ good, ":headers to be a list"},
            {[headers: [from: 5]] ++ good, "From"},
            {[headers: %{"From" => ["<sip:"]}] ++ good, "From"},
            {[headers: [nonsense: 5]] ++ good, ":nonsense is no typed header"},
            {[contacts: [{"\r\n", "sip:a@b", %{}}]] ++ good, "Contact"},
            {[instance: "<urn:x:y>"] ++ good, ":instance to be a URN"},
            {[owner: "me"] ++ good, ":owner to be a process"},
            {[name: "me"] ++ good, ":name to be an atom"},
            {[base_time: 0] ++ good, ":base_time to be a positive integer"},
            {[max_time: 86_400_001] ++ good, ":max_time to be an integer"},
            {[credentials: {"alice", ["secret"]}] ++ good,
             ":credentials to be {username, secret}"},
            {[credentials: "secret"] ++ good, ":credentials to be {username, secret}"},
            {[1], "expected a keyword list"}
          ] do
        error = assert_raise ArgumentError, fn -> Registration.start_link(options) end
        assert error.message =~ text
        refute error.message =~ "secret\""
      end
    end
  end
end
