defmodule Sippet.Trace.MergeTest do
  # Alice calls by a back-to-back user agent, which calls Bob with a Call-ID of its own.
  use ExUnit.Case, async: true

  alias Sippet.{Address, Trace}
  alias Sippet.Trace.{Call, Entry}

  @hosts %{
    alice: {192, 0, 2, 101},
    middle: {192, 0, 2, 10},
    other: {192, 0, 2, 20},
    bob: {198, 51, 100, 7},
    carol: {198, 51, 100, 8}
  }

  # Where each message comes from and goes to, what it is, and of which call. `at` is in
  # milliseconds.
  defp message(at, from, to, line, call_id, options \\ []) do
    body = Keyword.get(options, :body, "")
    method = Keyword.get(options, :method, line |> String.split() |> hd())
    uri = Keyword.get(options, :uri, "sip:x#{call_id}@example.com")
    start = if line =~ ~r/^\d/, do: "SIP/2.0 #{line}", else: "#{method} #{uri} SIP/2.0"
    method = if line =~ ~r/^\d/, do: Keyword.get(options, :method, "INVITE"), else: method

    lines = [
      start,
      "Via: SIP/2.0/UDP #{Address.to_text(@hosts[from])};branch=z9hG4bK#{call_id}#{method}",
      "From: <#{Keyword.get(options, :caller, "sip:from-#{call_id}@example.com")}>;tag=1",
      "To: <#{Keyword.get(options, :called, "sip:to-#{call_id}@example.com")}>",
      "Call-ID: #{call_id}",
      "CSeq: 1 #{method}",
      "Max-Forwards: 70"
      | Keyword.get(options, :headers, [])
    ]

    sdp = if body == "", do: [], else: ["Content-Type: application/sdp"]
    head = Enum.join(lines ++ sdp ++ ["Content-Length: #{byte_size(body)}"], "\r\n")
    source = {@hosts[from], Keyword.get(options, :port, 5060)}
    destination = {@hosts[to], Keyword.get(options, :to_port, 5060)}
    Entry.new(at && at * 1_000, source, destination, head <> "\r\n\r\n" <> body)
  end

  defp sdp(origin), do: "v=0\r\no=#{origin}\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"

  # A whole call from one host to another. The options are of its INVITE, those of `:answer` of
  # its 200.
  defp call(at, from, to, call_id, options \\ []) do
    {answer, options} = Keyword.pop(options, :answer, [])
    {to_end, options} = Keyword.pop(options, :lasts, 1_000)

    [
      message(at, from, to, "INVITE", call_id, options),
      message(at + 100, to, from, "200 OK", call_id, answer),
      message(at + 110, from, to, "ACK", call_id),
      message(at + to_end, from, to, "BYE", call_id),
      message(at + to_end + 10, to, from, "200 OK", call_id, method: "BYE")
    ]
  end

  defp legs(messages, options \\ []),
    do:
      messages |> List.flatten() |> Call.group() |> Trace.merge(options) |> Enum.map(&Call.ids/1)

  defp two(one, other, options \\ []),
    do: legs([call(0, :alice, :middle, "a", one), call(5, :middle, :bob, "b", other)], options)

  describe "two calls that have nothing in common" do
    test "stay two" do
      assert two([], []) == [["a"], ["b"]]
      assert legs([]) == []
    end
  end

  describe "an identifier" do
    @uuid "ab30317f1a784dc48ff824d0d3715d86"
    @null String.duplicate("0", 32)

    test "of Session-ID joins, as local or remote one" do
      session = &[headers: ["Session-ID: #{&1}"]]
      assert two(session.(@uuid), session.(@uuid)) == [["a", "b"]]

      assert two(
               session.("#{@uuid};remote=#{@null}"),
               session.("1;remote=" <> String.upcase(@uuid))
             ) ==
               [["a", "b"]]

      assert two(session.("1;remote=#{@null}"), session.("2;remote=#{@null}")) == [["a"], ["b"]]
      assert two(session.(@uuid), session.(@uuid), by: [:users]) == [["a"], ["b"]]
    end

    test "joins wherever the calls went, and whenever" do
      session = [headers: ["Session-ID: #{@uuid}"]]
      calls = [call(0, :alice, :middle, "a", session), call(9_000, :other, :bob, "b", session)]
      assert legs(calls) == [["a", "b"]]
    end

    test "of a response joins too" do
      session = [headers: ["Session-ID: #{@uuid}"]]
      assert two([answer: session], session) == [["a", "b"]]
    end

    test "of P-Charging-Vector joins" do
      vector = &[headers: ["P-Charging-Vector: icid-value=\"#{&1}\";icid-generated-at=x"]]
      assert two(vector.("1"), vector.("1")) == [["a", "b"]]
      assert two(vector.("1"), vector.("2")) == [["a"], ["b"]]
      assert two(vector.("1"), vector.("1"), by: []) == [["a"], ["b"]]
    end

    test "of a header that is named joins, in any letter case of the name" do
      header = &[headers: ["X-Ticket: #{&1}"]]
      assert two(header.("7"), header.("7")) == [["a"], ["b"]]
      assert two(header.("7"), header.("7"), headers: ["x-TICKET"], by: []) == [["a", "b"]]
      assert two(header.("7"), header.("8"), headers: ["X-Ticket"]) == [["a"], ["b"]]
      assert two(header.("7"), header.("7"), headers: ["X-Other"]) == [["a"], ["b"]]
    end

    test "joins Call-IDs that are named, and leaves those out that are not there" do
      assert two([], [], call_ids: ["b", "none", "a"], by: []) == [["a", "b"]]
      assert two([], [], call_ids: ["none"]) == [["a"], ["b"]]
    end
  end

  describe "a reference to a Call-ID" do
    for {name, value} <- [
          {"X-CID", "a"},
          {"x-leg", "a"},
          {"Replaces", "a;to-tag=1;from-tag=2"},
          {"Join", "a;to-tag=1;from-tag=2"},
          {"Target-Dialog", "a;local-tag=1;remote-tag=2"},
          {"Refer-To", "<sip:c@d?Replaces=a%3Bto-tag%3D1%3Bfrom-tag%3D2>"}
        ] do
      test "in #{name} joins" do
        refers = [headers: [unquote("#{name}: #{value}")]]
        assert two([], refers) == [["a", "b"]]
        assert two([], refers, by: [:users]) == [["a"], ["b"]]
        late = [call(0, :alice, :middle, "a"), call(9_000, :carol, :bob, "b", refers)]
        assert legs(late) == [["a", "b"]]
      end
    end

    test "joins none in another header, nor to a Call-ID that is not there" do
      assert two([], headers: ["Subject: a"]) == [["a"], ["b"]]
      assert two([], headers: ["X-CID: c"]) == [["a"], ["b"]]
      assert two([], headers: ["Refer-To: <sip:c@d?Replaces=%zz&Join=%>"]) == [["a"], ["b"]]
    end
  end

  describe "a REFER" do
    defp transfer(uri, options \\ []) do
      refer =
        message(200, :bob, :middle, "REFER", "a", headers: ["Refer-To: <sip:carol@example.com>"])

      from = Keyword.get(options, :from, :middle)
      second = call(Keyword.get(options, :at, 300), from, :carol, "c", uri: uri)
      legs([call(0, :middle, :bob, "a"), refer, second])
    end

    test "joins the call that it wanted" do
      assert transfer("sip:carol@EXAMPLE.com") == [["a", "c"]]
    end

    test "joins no other" do
      assert transfer("sip:dave@example.com") == [["a"], ["c"]]
      assert transfer("sip:carol@example.com:5062") == [["a"], ["c"]]
      assert transfer("sip:carol@example.com", from: :other) == [["a"], ["c"]]
      assert transfer("sip:carol@example.com", at: 5_000) == [["a"], ["c"]]
    end
  end

  describe "the origin of a session" do
    @origin "- 3911 1 IN IP4 192.0.2.101"

    test "joins what leaves the host to which the same has come, at any port" do
      offer = [body: sdp(@origin)]
      assert two(offer, offer) == [["a", "b"]]
      assert two(offer, [port: 4_321] ++ offer) == [["a", "b"]]
      assert two(offer, body: sdp("- 3911 7 IN IP4 192.0.2.101")) == [["a", "b"]]
      assert two(offer, body: sdp("- 3912 1 IN IP4 192.0.2.101")) == [["a"], ["b"]]
      assert two(offer, offer, by: [:users]) == [["a"], ["b"]]
    end

    test "joins by the answer, too" do
      calls = [
        message(0, :alice, :middle, "INVITE", "a"),
        message(5, :middle, :bob, "INVITE", "b"),
        message(10, :bob, :middle, "200 OK", "b", body: sdp(@origin)),
        message(15, :middle, :alice, "200 OK", "a", body: sdp(@origin))
      ]

      assert legs(calls) == [["a", "b"]]
    end

    test "joins nothing by way of another host, nor after the end" do
      offer = [body: sdp(@origin)]
      first = call(0, :alice, :middle, "a", offer)
      assert legs([first, call(5, :other, :bob, "b", offer)]) == [["a"], ["b"]]
      assert legs([first, call(1_011, :middle, :bob, "b", offer)]) == [["a"], ["b"]]
      assert legs([first, call(900, :middle, :bob, "b", offer)]) == [["a", "b"]]
      # The same way once more is another call of Alice's.
      assert legs([first, call(5, :alice, :middle, "b", offer)]) == [["a"], ["b"]]
    end

    test "joins on one host by the port, too" do
      offer = [body: sdp(@origin)]
      local = &message(&1, :alice, :alice, "INVITE", &2, [port: &3, to_port: &4] ++ offer)
      first = local.(0, "a", 5061, 5060)
      assert legs([first, local.(5, "b", 5060, 5070)]) == [["a", "b"]]
      assert legs([first, local.(5, "b", 5062, 5070)]) == [["a"], ["b"]]
      # What comes from elsewhere, or goes elsewhere, by any port.
      away = message(5, :alice, :bob, "INVITE", "b", [port: 4_321] ++ offer)
      assert legs([first, away]) == [["a", "b"]]
      came = message(0, :bob, :alice, "INVITE", "a", offer)
      assert legs([came, local.(5, "b", 5060, 5070)]) == [["a", "b"]]
    end

    test "joins to a call in which a refusal was not the end" do
      offer = [body: sdp(@origin)]

      for refusal <- [
            message(150, :middle, :alice, "488 Not Here", "a"),
            message(150, :middle, :alice, "200 OK", "a", method: "INFO")
          ] do
        first = [refusal | call(0, :alice, :middle, "a", offer)]
        assert legs([first, call(500, :middle, :bob, "b", offer)]) == [["a", "b"]]
      end
    end

    test "joins to a call that nothing has ended to the end of the capture" do
      offer = [body: sdp(@origin)]
      call = call(0, :alice, :middle, "a", offer)

      ends = [
        {Enum.take(call, 1), [["a", "b"]]},
        {Enum.take(call, 3), [["a", "b"]]},
        {Enum.take(call, 4), [["a"], ["b"]]},
        {[hd(call), message(5, :middle, :alice, "486 Busy", "a")], [["a"], ["b"]]},
        {[hd(call), message(5, :middle, :alice, "183 Progress", "a")], [["a", "b"]]},
        {[hd(call), message(5, :middle, :alice, "200 OK", "a", method: "INFO")], [["a"], ["b"]]}
      ]

      for {first, joined} <- ends,
          do: assert(legs([first, call(60_000, :middle, :bob, "b", offer)]) == joined)
    end
  end

  describe "the same users" do
    @users [caller: "sip:alice@example.com", called: "sip:bob@example.com"]

    test "join, whatever the hosts of their URIs" do
      second = [caller: "sip:alice:pw@192.0.2.10", called: "sip:bob;x=1@198.51.100.7"]
      assert two(@users, second) == [["a", "b"]]
      numbers = [caller: "tel:+1555", called: "tel:+1556"]
      assert two(numbers, numbers) == [["a", "b"]]
      assert two(@users, second, by: [:origin]) == [["a"], ["b"]]
    end

    test "join nothing if one differs, or is nobody" do
      for {name, uri} <- [
            caller: "sip:carol@example.com",
            called: "sip:carol@example.com",
            caller: "sip:example.com"
          ],
          do: assert(two(@users, Keyword.put(@users, name, uri)) == [["a"], ["b"]])

      for uri <- ["sip:anonymous@anonymous.invalid", "sip:example.com"] do
        nobody = Keyword.put(@users, :caller, uri)
        assert two(nobody, nobody) == [["a"], ["b"]]
      end
    end

    test "join requests of the same method alone" do
      calls = [
        call(0, :alice, :middle, "a", @users),
        message(5, :middle, :bob, "MESSAGE", "b", @users)
      ]

      assert legs(calls) == [["a"], ["b"]]
    end

    test "count in the first request of a call alone" do
      late = [call(0, :alice, :middle, "a", @users), call(5, :middle, :bob, "b")]
      assert legs(late ++ [message(50, :middle, :bob, "INVITE", "b", @users)]) == [["a"], ["b"]]
    end
  end

  describe "several calls at a time" do
    test "are joined each to its own, where each has one leg" do
      offer = [body: sdp("- 0 0 IN IP4 0.0.0.0")]

      calls =
        for n <- 0..2 do
          [
            call(n * 10, :alice, :middle, "a#{n}", offer),
            call(n * 10 + 5, :middle, :bob, "b#{n}", offer)
          ]
        end

      assert legs(calls) == [["a0", "b0"], ["a1", "b1"], ["a2", "b2"]]
    end

    test "are not joined where it can't be told which" do
      both = for id <- ["a", "b"], do: call(0, :alice, :middle, id, @users)
      assert legs([both, call(5, :middle, :bob, "c", @users)]) == [["a"], ["b"], ["c"]]
    end

    test "are joined to one that has forked" do
      forks = for {to, id} <- [bob: "b", carol: "c"], do: call(5, :middle, to, id, @users)
      assert legs([call(0, :alice, :middle, "a", @users), forks]) == [["a", "b", "c"]]
    end

    test "hang together by others" do
      chain = [
        call(0, :alice, :middle, "a", @users),
        call(5, :middle, :other, "b", @users),
        call(10, :other, :bob, "c", headers: ["X-CID: b"])
      ]

      assert legs(chain) == [["a", "b", "c"]]
    end

    test "are not looked for by a likeness where an identifier has joined" do
      first = call(0, :alice, :middle, "a", @users)
      second = call(1, :carol, :middle, "c", headers: ["Session-ID: 1"])
      third = call(5, :middle, :bob, "b", [headers: ["Session-ID: 1"]] ++ @users)
      assert legs([first, second, third]) == [["a"], ["c", "b"]]
    end

    test "stand where the first leg stands, whatever lies between" do
      calls = [
        call(0, :carol, :other, "x"),
        call(1, :alice, :middle, "a", @users),
        call(2, :carol, :other, "y"),
        call(3, :middle, :bob, "b", @users)
      ]

      assert legs(calls) == [["x"], ["a", "b"], ["y"]]
    end
  end

  describe "a merged call" do
    test "has the messages of its legs in the order of their times" do
      [call] = merged()
      assert Enum.map(call.entries, & &1.time) == Enum.sort(Enum.map(call.entries, & &1.time))
      assert Enum.map(Enum.take(call.entries, 4), & &1.call_id) == ["a", "b", "a", "b"]
      assert length(call.entries) == 10
    end

    test "is merged again as it is" do
      assert Trace.merge(merged()) == merged()

      [more] =
        Trace.merge(merged() ++ Call.group(call(7, :other, :carol, "c", headers: ["X-CID: b"])))

      assert Call.ids(more) == ["a", "b", "c"]
    end

    test "is selected by each leg, and shown as a whole" do
      others = Call.group(call(0, :carol, :other, "x"))

      for options <- [[call_id: "b"], [address: "198.51.100.7"], [method: :bye, call_id: "a"]],
          do: assert(Trace.select(merged() ++ others, options) == merged())

      assert Trace.select(merged(), call_id: "none") == []
      assert_raise ArgumentError, fn -> Trace.select([], calls: "a") end
    end

    test "without times has one leg below another" do
      timeless = fn entries -> Enum.map(entries, &%{&1 | time: nil}) end

      calls =
        Enum.flat_map(
          [call(0, :alice, :middle, "a", @users), call(5, :middle, :bob, "b", @users)],
          timeless
        )

      [call] = Trace.merge(Call.group(calls))

      assert Enum.map(call.entries, & &1.call_id) ==
               List.duplicate("a", 5) ++ List.duplicate("b", 5)
    end
  end

  @names %{
    {{192, 0, 2, 101}, 5060} => "alice",
    {{192, 0, 2, 10}, 5060} => "b2bua",
    {{198, 51, 100, 7}, 5060} => "bob"
  }

  defp merged do
    [call(0, :alice, :middle, "a", @users), call(5, :middle, :bob, "b", @users)]
    |> List.flatten()
    |> Call.group()
    |> Trace.merge()
  end

  describe "a picture of it" do
    test "is one ladder" do
      assert Trace.draw(merged(), :ladder, names: @names, plain: true) == """
             Call 1

              alice                                    b2bua                                     bob
                |--------------- INVITE ---------------->|                                        |
                |                                        |----------- INVITE (leg 2) ------------>|
                |<--------------- 200 OK ----------------|                                        |
                |                                        |<----------- 200 OK (leg 2) ------------|
                |----------------- ACK ----------------->|                                        |
                |                                        |------------- ACK (leg 2) ------------->|
                |----------------- BYE ----------------->|                                        |
                |                                        |------------- BYE (leg 2) ------------->|
                |<--------------- 200 OK ----------------|                                        |
                |                                        |<----------- 200 OK (leg 2) ------------|
             """

      assert Trace.draw(merged(), :ladder) =~ "Call-ID a, leg 2 b, from 1970-"
    end

    test "names the first legs of many" do
      [call] = merged()
      many = %{call | merged: for(n <- 2..9, do: "l#{n}")}

      assert Trace.draw([many], :ladder) =~
               "Call-ID a, leg 2 l2, leg 3 l3, leg 4 l4, 5 more legs, from"
    end

    test "is one diagram of Mermaid" do
      mermaid = Trace.draw(merged(), :mermaid, names: @names)
      assert mermaid =~ "Note over L1,L3: Call-ID a, leg 2 b, from"
      assert mermaid =~ "L1->>L2: INVITE (+0.000 s)"
      assert mermaid =~ "L2->>L3: INVITE, leg 2 (+0.005 s)"
    end

    test "is one chart of SVG and HTML, and the page says of which leg a message is" do
      svg = Trace.draw(merged(), :svg, names: @names)
      assert length(Regex.scan(~r/class="lane"/, svg)) == 3
      assert svg =~ ~s(<tspan class="mark" dx="7">leg 2</tspan>)
      html = Trace.draw(merged(), :html, names: @names)
      assert html =~ "1 call, 10 messages"
      assert length(Regex.scan(~r/<dt>Call-ID<\/dt><dd>b<\/dd>/, html)) == 5
      refute Trace.draw(Call.group(call(0, :alice, :middle, "a")), :html) =~ "<dt>Call-ID</dt>"
    end

    @tag :tmp_dir
    test "is a log that is read and merged to the same", %{tmp_dir: folder} do
      path = Path.join(folder, "a.log")
      File.write!(path, Trace.draw(merged(), :log))
      {:ok, calls, %{}} = Trace.read(path)
      assert length(calls) == 2
      assert Trace.merge(calls) == merged()
    end
  end

  describe "what comes from strangers" do
    test "costs as much as it is long" do
      # All are alike, and half of them look for their like among the others.
      crowd = fn count ->
        alike = [body: sdp("- 0 0 IN IP4 0.0.0.0")] ++ @users

        Call.group(
          for n <- 1..count do
            if n <= div(count, 2),
              do: message(n, :alice, :middle, "INVITE", "#{n}", alike),
              else: message(n, :middle, :bob, "INVITE", "#{n}", alike)
          end
        )
      end

      reductions = fn calls ->
        {:reductions, before} = Process.info(self(), :reductions)
        Trace.merge(calls)
        {:reductions, later} = Process.info(self(), :reductions)
        later - before
      end

      [small, large] = for count <- [500, 2_000], do: reductions.(crowd.(count))
      assert large < 6 * small
    end

    test "that is malformed joins nothing, and stays" do
      entry = &Entry.new(0, {@hosts[:alice], 5060}, {@hosts[:middle], 5060}, &1)

      junk =
        for text <- ["x\r\n\r\n", "INVITE sip:a SIP/2.0\r\nCall-ID: j\r\n\r\n"], do: entry.(text)

      assert legs([junk, call(0, :alice, :middle, "a")]) == [[nil], ["j"], ["a"]]
      assert legs(junk, by: []) == [[nil], ["j"]]
    end

    test "leaves what has no Call-ID alone" do
      nameless = %{message(0, :alice, :middle, "INVITE", "a", @users) | call_id: nil}
      assert legs([nameless, call(5, :middle, :bob, "b", @users)]) == [[nil], ["b"]]
    end
  end

  test "options are checked" do
    for options <- [[by: [:luck]], [by: :users], [call_ids: "a"], [headers: [:x]], [legs: []]],
        do: assert_raise(ArgumentError, fn -> Trace.merge([], options) end)
  end
end
