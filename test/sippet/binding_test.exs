defmodule Sippet.BindingTest do
  use ExUnit.Case, async: true

  alias Sippet.{Binding, Clock, Message, URI}

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

      assert for([uri] <- Binding.targets(bindings, @now), do: to_string(uri)) == [
               "sip:b@h",
               "sip:c@h",
               "sip:a@h"
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
      assert [[_uri]] = Binding.targets(bindings)

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
      assert [[_uri]] = Clock.call(clock, Binding, :targets, [bindings])
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

      assert for(uris <- Binding.targets(bindings, @now), do: Enum.map(uris, &to_string/1)) ==
               [~w(sip:high@h sip:odd@h), ~w(sip:half@h), ~w(sip:low@h sip:low2@h)]

      assert Binding.targets(bindings, @now + 3_600) == []
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
end
