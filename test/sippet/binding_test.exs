defmodule Sippet.BindingTest do
  use ExUnit.Case, async: true

  alias Sippet.{Binding, Clock, Flow, Message, Registering, URI}

  doctest Binding

  @now 1_000_000
  @day 86_400

  defp contact(uri, params \\ %{}), do: {"", URI.parse!(uri), params}

  defp request(headers, number \\ 1, call_id \\ "one") do
    base = %{cseq: {number, :register}, call_id: call_id, to: contact("sip:bob@biloxi.com")}

    %{
      Message.build_request(:register, "sip:biloxi.com")
      | headers: Map.merge(base, Map.new(headers))
    }
  end

  defp register(bindings, request, options \\ []),
    do: Binding.register(bindings, request, [now: @now] ++ options)

  defp registered(bindings, request, options \\ []) do
    {:ok, bindings, response} = register(bindings, request, options)
    assert response.start_line.status_code == 200
    {bindings, response}
  end

  defp refused(bindings, request, options \\ []) do
    {:error, response} = register(bindings, request, options)
    response.start_line.status_code
  end

  # A list of bindings as {uri, seconds left}.
  defp left(bindings) do
    for %Binding{contact: {_name, uri, _params}, expires_at: at} <- bindings,
        do: {to_string(uri), at - @now}
  end

  # Targets as lists of URIs.
  defp uris(targets),
    do: for(list <- targets, do: for(binding <- list, do: to_string(Binding.uri(binding))))

  defp bound(uris), do: [] |> registered(request(contact: Enum.map(uris, &contact/1))) |> elem(0)

  describe "address_of_record/1" do
    test "is one form for all that RFC3261§10.3 step 5 has the same" do
      for uri <-
            ~w(sip:bob@biloxi.com sip:bob@biloxi.com:5060;transport=tcp sip:b%6fb@BILOXI.com?subject=x),
          do: assert(Binding.address_of_record(URI.parse!(uri)) == "sip:bob@biloxi.com")

      for uri <- ~w(sip:Bob@biloxi.com sips:bob@biloxi.com sip:bob@biloxi.com:5070 tel:+1),
          do: assert(Binding.address_of_record(URI.parse!(uri)) != "sip:bob@biloxi.com")
    end
  end

  describe "RFC3261§10.3 step 6" do
    test "without Contact nothing changes, and all bindings are listed" do
      bindings = bound(["sip:bob@192.0.2.4", "mailto:bob@biloxi.com"])
      {^bindings, response} = registered(bindings, request([]))

      assert [{"", _, %{"expires" => "3600"}}, {"", _, %{"expires" => "3600"}}] =
               response.headers.contact

      assert response.headers.date == ~N[1970-01-12 13:46:40]
    end

    test "* with Expires: 0 ends all bindings" do
      bindings = bound(["sip:bob@192.0.2.4", "sip:bob@192.0.2.5"])
      {[], response} = registered(bindings, request([contact: "*", expires: 0], 2))
      refute Map.has_key?(response.headers, :contact)

      assert {[], _response} =
               registered(bindings, request([contact: "*", expires: 0], 1, "other"))
    end

    test "* of an older request fails as a whole" do
      assert refused(bound(["sip:bob@192.0.2.4"]), request([contact: "*", expires: 0], 1)) == 500
    end

    test "* with another interval, or none, makes no sense" do
      assert refused([], request(contact: "*", expires: 1)) == 400
      assert refused([], request(contact: "*")) == 400
      assert refused([], request(%{"Contact" => ["*, <sip:bob@192.0.2.4>"], expires: 0})) == 400
    end
  end

  describe "RFC3261§10.3 step 7" do
    test "the interval is the parameter's, else the header's, else the default" do
      contacts = [contact("sip:a@h", %{"expires" => "70"}), contact("sip:b@h")]
      {bindings, _response} = registered([], request(contact: contacts, expires: 80))
      assert left(bindings) == [{"sip:a@h", 70}, {"sip:b@h", 80}]

      {bindings, _response} = registered([], request(contact: contacts), default_expires: 90)
      assert left(bindings) == [{"sip:a@h", 70}, {"sip:b@h", 90}]
    end

    test "a malformed parameter is an hour, and a long one is cut" do
      contacts = [
        contact("sip:a@h", %{"expires" => "soon"}),
        contact("sip:b@h", %{"expires" => "4294967295"})
      ]

      {bindings, _response} = registered([], request(contact: contacts), max_expires: 7_200)
      assert left(bindings) == [{"sip:a@h", 3_600}, {"sip:b@h", 7_200}]

      # RFC3261§20.10 - up to 2**32-1
      for text <- [
            "-1",
            "",
            "+60",
            "60.5",
            "1 ",
            "\xFF",
            "4294967296",
            String.duplicate("9", 60_000)
          ] do
        request = request(contact: [contact("sip:a@h", %{"expires" => text})])
        {bindings, _response} = registered([], request, max_expires: 7_200)
        assert left(bindings) == [{"sip:a@h", 3_600}]
      end
    end

    test "too brief an interval gets 423 with Min-Expires, and nothing changes" do
      contacts = [contact("sip:a@h"), contact("sip:b@h", %{"expires" => "59"})]
      {:error, response} = register([], request(contact: contacts))
      assert {response.start_line.status_code, response.headers.min_expires} == {423, 60}
    end

    test "an hour is never too brief, and neither is an end" do
      {bindings, _response} =
        registered([], request(contact: [contact("sip:a@h")], expires: 3_600), min_expires: 9_999)

      assert left(bindings) == [{"sip:a@h", 3_600}]

      assert {[], _response} =
               registered(bindings, request([contact: [contact("sip:a@h")], expires: 0], 2),
                 min_expires: 9_999
               )
    end

    test "a contact is the same by the rules of URI comparison, and is updated" do
      bindings = bound(["sip:bob@Host.com;transport=UDP", "sip:bob@other.com"])

      refresh =
        request(
          [contact: [contact("sip:%62ob@host.com;transport=udp", %{"q" => "0.5"})], expires: 100],
          2
        )

      {bindings, response} = registered(bindings, refresh)

      assert left(bindings) == [
               {"sip:bob@other.com", 3_600},
               {"sip:%62ob@host.com;transport=udp", 100}
             ]

      assert %{"q" => "0.5", "expires" => "100"} =
               response.headers.contact |> List.last() |> elem(2)
    end

    test "an interval of 0 ends the binding" do
      {bindings, _response} =
        registered(
          bound(["sip:a@h", "sip:b@h"]),
          request([contact: [contact("sip:a@h", %{"expires" => "0"})]], 2)
        )

      assert left(bindings) == [{"sip:b@h", 3_600}]
    end

    test "of one Call-ID an older number fails, and the whole request with it" do
      bindings = bound(["sip:a@h"])

      assert refused(bindings, request([contact: [contact("sip:b@h"), contact("sip:a@h")]], 1)) ==
               500

      assert refused(bindings, request([contact: [contact("sip:a@h")], expires: 0], 1)) == 500

      assert {_bindings, _response} =
               registered(bindings, request([contact: [contact("sip:a@h")]], 1, "other"))
    end

    test "a contact that stands twice counts as it stands last" do
      contacts = [
        contact("sip:a@h", %{"expires" => "70"}),
        contact("sip:a@h", %{"expires" => "80"})
      ]

      {bindings, _response} = registered([], request(contact: contacts))
      assert left(bindings) == [{"sip:a@h", 80}]
    end

    test "more bindings than may be get 403" do
      contacts = for n <- 1..3, do: contact("sip:#{n}@h")
      assert refused([], request(contact: contacts), max_bindings: 2) == 403

      {bindings, _response} =
        registered([], request(contact: Enum.take(contacts, 2)), max_bindings: 2)

      assert refused(bindings, request([contact: [contact("sip:3@h")]], 2), max_bindings: 2) ==
               403
    end
  end

  @phone "urn:uuid:00000000-0000-1000-8000-000a95a0e128"

  defp phone(uri, params \\ %{}),
    do: contact(uri, Map.merge(%{"+sip.instance" => "<#{@phone}>"}, params))

  defp flow(uri, reg_id, params \\ %{}),
    do: phone(uri, Map.merge(%{"reg-id" => "#{reg_id}"}, params))

  defp via(hosts), do: for(host <- hosts, do: {{2, 0}, :udp, {host, 5060}, %{}})

  describe "RFC5626§6 a contact with an instance and a reg-id" do
    test "is a flow of its user agent, whatever the URI and the Call-ID" do
      {[first], _response} = registered([], request(contact: [flow("sip:a@h1", 1)]))
      assert {first.instance, first.reg_id} == {@phone, 1}

      moved = request([contact: [flow("sip:a@h2", 1)]], 1, "other")
      {bindings, response} = registered([first], moved)
      assert left(bindings) == [{"sip:a@h2", 3_600}]

      assert [{"", _uri, %{"+sip.instance" => "<" <> _, "reg-id" => "1"}}] =
               response.headers.contact
    end

    test "stands beside the other flows of the same URI, and beside the URI itself" do
      {bindings, _response} = registered([], request(contact: [flow("sip:a@h", 1)]))
      {bindings, _response} = registered(bindings, request([contact: [flow("sip:a@h", 2)]], 2))
      {bindings, _response} = registered(bindings, request([contact: [contact("sip:a@h")]], 3))
      {bindings, _response} = registered(bindings, request([contact: [phone("sip:b@h")]], 4))
      assert for(binding <- bindings, do: binding.reg_id) == [1, 2, nil, nil]

      {bindings, _response} = registered(bindings, request([contact: [flow("sip:c@h", 1)]], 5))
      assert for(binding <- bindings, do: binding.reg_id) == [2, nil, nil, 1]
    end

    test "is kept apart from one of another user agent" do
      other = contact("sip:a@h", %{"+sip.instance" => "<urn:uuid:1>", "reg-id" => "1"})
      {bindings, _response} = registered([], request(contact: [flow("sip:a@h", 1)]))
      {bindings, _response} = registered(bindings, request([contact: [other]], 2))
      assert length(bindings) == 2
    end

    test "ends that flow with an interval of 0, whatever the URI" do
      {bindings, _response} = registered([], request(contact: [flow("sip:a@h", 1)]))
      ending = flow("sip:z@h", 1, %{"expires" => "0"})

      {bindings, _response} =
        registered(bindings, request([contact: [flow("sip:a@h", 2), ending]], 2))

      assert [%Binding{reg_id: 2}] = bindings
    end

    test "fails if the request is older than its flow, also at another URI" do
      {bindings, _response} = registered([], request([contact: [flow("sip:a@h2", 1)]], 2))
      assert refused(bindings, request([contact: [flow("sip:a@h1", 1)]], 1)) == 500
      assert refused(bindings, request([contact: [flow("sip:a@h1", 1)], expires: 0], 2)) == 500
      assert refused(bindings, request([contact: "*", expires: 0], 2)) == 500
      assert {[], _response} = registered(bindings, request([contact: "*", expires: 0], 3))
    end

    test "gets 400 beside other contacts, but for those that end" do
      both = [flow("sip:a@h", 1), contact("sip:b@h")]
      assert refused([], request(contact: both)) == 400

      both = [flow("sip:a@h", 1), contact("sip:b@h", %{"expires" => "0"})]
      assert {[_binding], _response} = registered([], request(contact: both))
    end

    test "is required by the 200 if the user agent supports it" do
      contact = [flow("sip:a@h", 1)]
      {_bindings, response} = registered([], request(contact: contact, supported: ["Outbound"]))
      assert response.headers.require == ["outbound"]

      for headers <- [
            [contact: contact],
            [contact: [phone("sip:a@h")], supported: ["outbound"]],
            [contact: "*", expires: 0, supported: ["outbound"]]
          ] do
        {_bindings, response} = registered([], request(headers))
        refute Map.has_key?(response.headers, :require)
      end
    end
  end

  describe "RFC5626§6 a contact with a reg-id that came through a proxy" do
    defp proxied(headers) do
      base = %{contact: [flow("sip:a@h", 1)], via: via(["p.com", "192.0.2.1"])}
      request(Map.merge(base, Map.new(headers)))
    end

    test "gets 439 if the user agent asks for flows and the proxy has none" do
      assert refused([], proxied(supported: ["outbound"])) == 439
      path = %{"Path" => ["<sip:p.com;lr>, <sip:q.com;lr;ob>"], supported: ["path", "outbound"]}
      assert refused([], proxied(path)) == 439
    end

    test "has its reg-id ignored if the user agent does not ask for flows" do
      assert {[%Binding{reg_id: nil, instance: @phone}], response} = registered([], proxied([]))
      refute Map.has_key?(response.headers, :require)
      contacts = [contact: [flow("sip:a@h", 1), flow("sip:b@h", 2)]]
      assert {[_a, _b], _response} = registered([], proxied(contacts))
    end

    test "is a flow if the proxy next to the user agent says so" do
      headers = [{"Path", ["<sip:p.com;lr;OB>"]}, {:supported, ["path", "outbound"]}]
      assert {[%Binding{reg_id: 1}], response} = registered([], proxied(headers))
      assert response.headers.require == ["outbound"]
    end
  end

  describe "RFC5626§6 a reg-id that is ignored" do
    test "has no instance, or is no number of its range" do
      contact = contact("sip:a@h", %{"reg-id" => "1"})

      assert {[%Binding{reg_id: nil, instance: nil}], _} =
               registered([], request(contact: [contact]))

      for reg_id <- ["0", "-1", "x", "", "2147483648", String.duplicate("9", 60_000)] do
        contact = [flow("sip:a@h", reg_id)]

        assert {[%Binding{reg_id: nil, instance: @phone}], _} =
                 registered([], request(contact: contact))
      end

      assert {[%Binding{reg_id: 2_147_483_647}], _} =
               registered([], request(contact: [flow("sip:a@h", 2_147_483_647)]))
    end

    test "leaves an instance without text unread" do
      for instance <- ["", "<>"] do
        contact = contact("sip:a@h", %{"+sip.instance" => instance, "reg-id" => "1"})

        assert {[%Binding{reg_id: nil, instance: nil}], _} =
                 registered([], request(contact: [contact]))
      end
    end
  end

  describe "RFC5626§4.1 instances" do
    defp instance(text) do
      contact = contact("sip:a@h", %{"+sip.instance" => text})
      {[binding], _response} = registered([], request(contact: [contact]))
      binding.instance
    end

    test "are compared as URNs, without their brackets" do
      for text <- [
            "<#{@phone}>",
            @phone,
            "<#{String.upcase(@phone)}>",
            "<URN:Uuid" <> String.slice(@phone, 8..-1//1)
          ],
          do: assert(instance(text) == @phone)

      assert instance("<URN:IMEI:aB-1>") == "urn:imei:aB-1"
      assert instance("<uRn:x>") == "uRn:x"
      assert instance("\xFF:\xFF:\xFF") == "\xFF:\xFF:\xFF"
    end
  end

  describe "a contact with an instance and no reg-id" do
    test "takes the place of those that its user agent had, and leaves none behind" do
      {bindings, _response} =
        registered(bound(["sip:other@h"]), request([contact: [phone("sip:a@h1")]], 2))

      moved = request([contact: [phone("sip:a@h2")]], 1, "another")
      {bindings, _response} = registered(bindings, moved)
      assert left(bindings) == [{"sip:other@h", 3_600}, {"sip:a@h2", 3_600}]
    end

    test "stays with all that the request lists" do
      contacts = [phone("sip:a@h"), phone("sip:b@h"), phone("sip:c@h")]
      {bindings, _response} = registered([], request(contact: contacts))
      assert length(bindings) == 3

      {bindings, _response} = registered(bindings, request([contact: Enum.take(contacts, 2)], 2))
      assert left(bindings) == [{"sip:a@h", 3_600}, {"sip:b@h", 3_600}]
    end

    test "leaves the flows alone, and the contacts of others" do
      other = contact("sip:o@h", %{"+sip.instance" => "<urn:uuid:1>"})
      {bindings, _response} = registered([], request(contact: [flow("sip:a@h", 1)]))
      {bindings, _response} = registered(bindings, request([contact: [other]], 2))
      {bindings, _response} = registered(bindings, request([contact: [phone("sip:b@h")]], 3))
      assert length(bindings) == 3
    end

    test "ends its own URI alone with an interval of 0" do
      {bindings, _response} = registered([], request(contact: [phone("sip:new@h")]))
      ending = [contact: [phone("sip:old@h")], expires: 0]
      assert {^bindings, _response} = registered(bindings, request(ending, 2))

      # A phone that has moved ends its old contact, and has a new one.
      both = [phone("sip:new@h", %{"expires" => "0"}), phone("sip:newer@h")]
      {bindings, _response} = registered(bindings, request([contact: both], 2))
      assert left(bindings) == [{"sip:newer@h", 3_600}]
    end

    test "fails if the request is older than the binding that it would replace" do
      {bindings, _response} = registered([], request([contact: [phone("sip:a@h2")]], 2))
      assert refused(bindings, request([contact: [phone("sip:a@h1")]], 2)) == 500
      assert refused(bindings, request([contact: [phone("sip:a@h1")]], 1)) == 500
    end
  end

  describe "RFC3327§5.3" do
    @path [
      {"", URI.parse!("sip:p1.com;lr"), %{}},
      {"", URI.parse!("sip:p2.com;lr"), %{}}
    ]

    defp with_path(lines, headers) do
      base = %{"Path" => lines, contact: [contact("sip:a@h"), contact("sip:b@h")]}
      request(Map.merge(base, Map.new(headers)))
    end

    test "the Path is kept with each binding in its order, and stands in the 200" do
      request = with_path(["<sip:p1.com;lr>", "<sip:p2.com;lr>"], supported: ["PATH"])
      {bindings, response} = registered([], request)
      assert for(binding <- bindings, do: binding.path) == [@path, @path]
      assert Message.fetch_typed(response, "Path") == {:ok, @path}
    end

    test "the Path of a refresh takes the place of the one before" do
      {bindings, _response} = registered([], with_path(["<sip:p1.com;lr>"], supported: ["path"]))

      {bindings, response} = registered(bindings, request([contact: [contact("sip:a@h")]], 2))
      assert [%Binding{path: [_p1]}, %Binding{path: []}] = bindings
      assert Message.fetch_typed(response, "Path") == :error
    end

    test "a malformed Path gets 400" do
      assert refused([], with_path(["<sip:p 1>"], supported: ["path"])) == 400

      assert refused([], with_path(["<sip:p1.com;lr>, x y"], supported: ["path"])) ==
               400
    end

    test "a user agent that does not support it gets 420, unless the option says otherwise" do
      for headers <- [[], [supported: ["gruu"]], [{"Supported", ["a b"]}]] do
        request = with_path(["<sip:p1.com;lr>"], headers)
        {:error, response} = register([], request)

        assert {response.start_line.status_code, response.headers.unsupported} ==
                 {420, ["path"]}

        assert {[%Binding{path: [_]}, _], response} = registered([], request, path: :accept)
        assert {:ok, [_]} = Message.fetch_typed(response, "Path")
      end
    end
  end

  describe "the source of a binding" do
    @flow %Flow{protocol: :udp, remote: {{192, 0, 2, 1}, 5060}}

    test "is the flow of a REGISTER that came straight from its user agent" do
      request = %{request(contact: [contact("sip:a@h")]) | source: @flow}
      assert {[%Binding{source: @flow}], _response} = registered([], request)

      one = put_in(request.headers[:via], via(["192.0.2.1"]))
      assert {[%Binding{source: @flow}], _response} = registered([], one)

      two = put_in(request.headers[:via], via(["p.com", "192.0.2.1"]))
      assert {[%Binding{source: nil}], _response} = registered([], two)
    end

    test "leaves the VM if it is an address, and not if it is a connection" do
      request = %{request(contact: [contact("sip:a@h")]) | source: @flow}
      {:ok, [binding], _response} = Binding.register([], request)
      assert binding.deadline
      assert %Binding{source: @flow, deadline: nil} = Binding.storable(binding)

      connection = %Sippet.Transport{protocol: :tcp, reliable?: true, pid: self()}
      connected = %{binding | source: %{@flow | connection: connection}}
      assert Binding.storable(connected) == %{binding | source: nil, deadline: nil}
    end
  end

  describe "a full address-of-record" do
    defp full, do: bound(["sip:1@h", "sip:2@h"])

    test "puts out the binding that was refreshed least recently, if the option says so" do
      {bindings, _response} = registered(full(), request([contact: [contact("sip:1@h")]], 2))
      new = request([contact: [contact("sip:3@h")]], 3)
      options = [max_bindings: 2, when_full: :replace_oldest]
      {bindings, response} = registered(bindings, new, options)
      assert left(bindings) == [{"sip:1@h", 3_600}, {"sip:3@h", 3_600}]
      assert length(response.headers.contact) == 2
    end

    test "refuses more contacts in one request than there may be bindings" do
      contacts = for n <- 3..5, do: contact("sip:#{n}@h")
      options = [max_bindings: 2, when_full: :replace_oldest]
      assert refused(full(), request([contact: contacts], 2), options) == 403

      {bindings, _response} =
        registered(full(), request([contact: Enum.take(contacts, 2)], 2), options)

      assert left(bindings) == [{"sip:3@h", 3_600}, {"sip:4@h", 3_600}]
    end

    test "refuses an unknown way" do
      assert_raise ArgumentError, ~r/:refuse or :replace_oldest/, fn ->
        register([], request([]), when_full: :ask)
      end
    end
  end

  describe "a binding" do
    test "keeps nothing of its datagram, but copies" do
      long = String.duplicate("x", 100)
      params = %{"+sip.instance" => "<urn:#{long}:#{long}>", long => long, "reg-id" => "1"}
      {"", uri, %{}} = contact("sip:#{long}@#{long};#{long}=#{long}")

      request =
        request(
          contact: [{long, uri, params}],
          call_id: long,
          supported: ["path"]
        )

      path = [{long, uri, %{long => long}}]
      request = request |> Message.put_typed("Path", path) |> Registering.lent()
      assert Registering.borrowed(request) != []

      {[binding], _response} = registered([], request)
      assert %Binding{instance: "urn:" <> _, reg_id: 1, path: [_]} = binding
      assert Registering.borrowed(binding) == []
    end
  end

  describe "a Contact that is text because one of its contacts is malformed" do
    test "has others that are used, in their order" do
      lines = ["<sip:a@h>;expires=70, <sip:b c@h>", "<sip:d@h>"]
      {bindings, response} = registered([], request(%{"Contact" => lines, expires: 80}))
      assert left(bindings) == [{"sip:a@h", 70}, {"sip:d@h", 80}]
      assert length(response.headers.contact) == 2
    end

    test "gets 400 where no other is good, and where one is a star" do
      for lines <- [["<sip:b c@h>"], ["*, <sip:a@h>"], ["<sip:a@h>", " * "], ["*", "<sip:b c@h>"]],
          expires <- [0, 60],
          do: assert(refused([], request(%{"Contact" => lines, expires: expires})) == 400)
    end

    test "comes so from the wire, and its parameters as they were sent" do
      text = """
      REGISTER sip:biloxi.com SIP/2.0
      Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1
      From: <sip:bob@biloxi.com>;tag=a
      To: <sip:bob@biloxi.com>
      Call-ID: call
      CSeq: 7 REGISTER
      Contact: <sip:a@h>;expires=abc;q=0.1234, <sip:b@h>;expires=-1;q=a, <sip:c@h>;q=0.5
      """

      {bindings, _response} = registered([], Message.parse!(text))
      assert left(bindings) == [{"sip:a@h", 3_600}, {"sip:b@h", 3_600}, {"sip:c@h", 3_600}]

      assert bindings |> Binding.targets(@now) |> uris() == [
               ["sip:b@h"],
               ["sip:c@h"],
               ["sip:a@h"]
             ]

      {bindings, _response} = registered([], Message.parse!(text <> "m: <sip:d e@h>\n"))
      assert length(bindings) == 3
    end
  end

  describe "RFC3261§10.3 step 8" do
    test "what has expired is not listed, nor a Record-Route given back" do
      bindings = bound(["sip:a@h"])
      route = [contact("sip:p;lr")]

      {:ok, [], response} =
        Binding.register(bindings, request(record_route: route), now: @now + 3_600)

      assert Map.take(response.headers, [:contact, :record_route]) == %{}
    end
  end

  # Without the option `now`.
  describe "a time that nobody gives" do
    test "is the monotonic clock's for what was registered in this VM" do
      {:ok, [binding] = bindings, _response} =
        Binding.register([], request(contact: [contact("sip:a@h")], expires: 100))

      assert_in_delta binding.expires_at, System.os_time(:second) + 100, 2
      assert Binding.current(bindings) == bindings
      assert Binding.targets(bindings) == [bindings]

      # As if the wall clock had been set back, and forward.
      for shift <- [-@day, @day] do
        shifted = [%{binding | expires_at: binding.expires_at + shift}]
        assert Binding.current(shifted) == shifted
        {:ok, _bindings, response} = Binding.register(shifted, request([], 2))
        assert [{"", _uri, %{"expires" => expires}}] = response.headers.contact
        assert_in_delta String.to_integer(expires), 100, 2
      end

      # A time that is given counts.
      assert Binding.current(bindings, binding.expires_at) == []
      assert Binding.targets(bindings, binding.expires_at) == []
    end

    test "is the wall clock's for what comes from elsewhere" do
      {:ok, [binding], _response} =
        Binding.register([], request(contact: [contact("sip:a@h")], expires: 100))

      fields = [contact: binding.contact, call_id: "one", cseq: 1]
      now = System.os_time(:second)

      for {expires_at, current?} <- [{now + 50, true}, {now - 1, false}] do
        stored = struct!(Binding, [expires_at: expires_at] ++ fields)
        assert Binding.current([stored]) == if(current?, do: [stored], else: [])
      end
    end
  end

  describe "the wall clock of a VM that is set" do
    missing = Clock.missing()

    if missing do
      IO.puts(:stderr, "\nSKIPPED: clocks that are set: #{missing}")
      @describetag skip: missing
    end

    @describetag :tmp_dir
    @describetag timeout: 300_000

    test "ends no binding before its time, and keeps none", %{tmp_dir: folder} do
      clock = Clock.start(folder, 0)
      request = request(contact: [contact("sip:a@h")], expires: 3_600)
      {:ok, bindings, _response} = Clock.call(clock, Binding, :register, [[], request])

      Clock.set(clock, 2 * @day)
      assert Clock.call(clock, Binding, :targets, [bindings]) == [bindings]
      {:ok, ^bindings, response} = Clock.call(clock, Binding, :register, [bindings, request([])])
      assert [{"", _uri, %{"expires" => expires}}] = response.headers.contact
      assert String.to_integer(expires) in 3_000..3_600

      # They are kept as a whole, and read by another VM, whose clock is right.
      kept = :erlang.term_to_binary(bindings)
      later = Clock.start(folder, 1_800)
      bindings = :erlang.binary_to_term(kept)
      {:ok, ^bindings, response} = Clock.call(later, Binding, :register, [bindings, request([])])
      assert [{"", _uri, %{"expires" => expires}}] = response.headers.contact
      assert String.to_integer(expires) in 1_200..1_800

      much_later = Clock.start(folder, 3_700)
      assert Clock.call(much_later, Binding, :targets, [bindings]) == []
    end
  end

  describe "targets/2" do
    test "groups by q-value, the highest first, and what has none or a bad one is 1" do
      contacts = [
        contact("sip:low@h", %{"q" => "0.3"}),
        contact("sip:high@h"),
        contact("sip:half@h", %{"q" => "0.5"}),
        contact("sip:odd@h", %{"q" => "7"}),
        contact("sip:low2@h", %{"q" => "0.30"})
      ]

      {bindings, _response} = registered([], request(contact: contacts))

      assert bindings |> Binding.targets(@now) |> uris() ==
               [~w(sip:odd@h sip:high@h), ~w(sip:half@h), ~w(sip:low2@h sip:low@h)]

      assert Binding.targets(bindings, @now + 3_600) == []
    end

    test "has the most recently refreshed binding first in its list" do
      bindings = bound(["sip:a@h", "sip:b@h"])
      {bindings, _response} = registered(bindings, request([contact: [contact("sip:a@h")]], 2))
      assert bindings |> Binding.targets(@now) |> uris() == [~w(sip:a@h sip:b@h)]
    end

    test "reads a q-value beyond its grammar, but none of any length" do
      texts = ["0.1234", "a", "", "-1", "\xFF", "1.5", ".5", "1e999"]
      texts = texts ++ for digits <- [400, 60_000], do: String.duplicate("9", digits)
      contacts = for {q, n} <- Enum.with_index(texts), do: contact("sip:#{n}@h", %{"q" => q})
      {bindings, _response} = registered([], request(contact: contacts))

      assert [malformed, [_one]] = Binding.targets(bindings, @now)
      assert length(malformed) == length(texts) - 1
    end
  end

  describe "a REGISTER with more contacts than may be" do
    # Each is compared with each binding, else.
    test "costs no more than to count them" do
      contacts = for n <- 1..2_000, do: {"", URI.parse!("sip:b@h#{n}.com"), %{}}
      [first | _] = contacts
      bindings = for n <- 1..16, do: binding_of("sip:a@h#{n}.com")
      request = with_contacts(contacts)

      reductions = fn bindings ->
        {:reductions, before} = Process.info(self(), :reductions)
        assert {:error, %{start_line: %{status_code: 403}}} = Binding.register(bindings, request)
        {:reductions, later} = Process.info(self(), :reductions)
        later - before
      end

      reductions.([])
      assert reductions.(bindings) < 2 * reductions.([])
      assert first
    end

    defp binding_of(uri) do
      {:ok, [binding], _response} =
        Binding.register([], with_contacts([{"", URI.parse!(uri), %{}}]))

      binding
    end

    defp with_contacts(contacts) do
      bob = {"", URI.parse!("sip:bob@biloxi.com"), %{}}
      headers = %{to: bob, from: bob, call_id: "x", cseq: {1, :register}, contact: contacts}
      %{Message.build_request(:register, "sip:biloxi.com") | headers: headers}
    end
  end
end
