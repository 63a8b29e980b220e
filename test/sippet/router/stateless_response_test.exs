defmodule Sippet.Router.StatelessResponseTest do
  use ExUnit.Case, async: true

  alias Sippet.Message
  alias Sippet.Router.StatelessResponse

  @remote {:udp, {192, 0, 2, 7}, 5062}

  defp request(start_line, lines) do
    Enum.map_join(
      [
        start_line,
        "Via: SIP/2.0/UDP 192.0.2.7:5062;branch=z9hG4bKone;rport",
        "v: SIP/2.0/TCP far.example.com;branch=z9hG4bKtwo",
        "From: <sip:alice@atlanta.com>;tag=a1",
        "To: Bob <sip:bob@biloxi.com>",
        "i: 8719@192.0.2.7" | lines
      ],
      &(&1 <> "\r\n")
    ) <> "\r\n"
  end

  defp refused(text) do
    {:error, error} = Message.parse(text)

    with {:ok, response} <- StatelessResponse.to_unparsed(error, @remote, false), do: response
  end

  # What stands on the wire under these names, in order.
  defp lines(response, names) do
    for line <- response |> Message.to_string() |> String.split("\r\n"),
        [name, value] <- [String.split(line, ": ", parts: 2)],
        name in names,
        do: {name, value}
  end

  describe "RFC3261§21.4 an answer to what could not be parsed" do
    test "copies what leads it back, and marks the topmost Via" do
      response =
        refused(
          request("INVITE sip:bob@biloxi.com SIP/2.0", ["CSeq: 1 INVITE", "Max-Forwards: x"])
        )

      assert %{status_code: 400, reason_phrase: "Bad Request (Max-Forwards)"} =
               response.start_line

      assert [
               {{2, 0}, :udp, {"192.0.2.7", 5062},
                %{"rport" => "5062", "received" => "192.0.2.7"}},
               {{2, 0}, :tcp, {"far.example.com", 5060}, %{"branch" => "z9hG4bKtwo"}}
             ] = response.headers.via

      assert %{call_id: "8719@192.0.2.7", cseq: {1, :invite}, from: {"", _, %{"tag" => "a1"}}} =
               response.headers

      assert {"Bob", _uri, %{"tag" => _}} = response.headers.to
    end

    test "has one To tag for one request, however often it comes" do
      text = request("INVITE sip:bob@biloxi.com SIP/2.0", ["CSeq: 1 INVITE", "Max-Forwards: x"])
      assert %{headers: %{to: to}} = refused(text)
      assert %{headers: %{to: ^to}} = refused(text)
    end

    test "has the tag that any other response to the request would have" do
      text =
        request("INVITE sip:bob@biloxi.com;x=y SIP/2.0", ["CSeq: 1 INVITE", "Max-Forwards: x"])

      sound = text |> String.replace("Max-Forwards: x", "Max-Forwards: 7") |> Message.parse!()
      assert refused(text).headers.to == Message.to_response(sound, 486).headers.to
    end

    test "is a whole message, in the shapes of a parsed one" do
      text = request("INVITE sip:bob@biloxi.com SIP/2.0", ["CSeq: 1 INVITE", "Max-Forwards: x"])
      response = refused(text)
      parsed = response |> Message.to_string() |> Message.parse!()

      assert %{parsed | body: nil, headers: Map.delete(parsed.headers, :content_length)} ==
               response
    end

    test "has as text what can't be read" do
      bad = [
        {"From", "<sip:alice"},
        {"To", "<sip:bob"},
        {"Call-ID", "a b"},
        {"CSeq", "x INVITE"}
      ]

      for {name, value} <- bad do
        text =
          "INVITE sip:bob@biloxi.com SIP/2.0"
          |> request(["CSeq: 1 INVITE"])
          |> String.replace(~r/^i: /m, "Call-ID: ")
          |> String.replace(~r/^#{name}: .*$/m, "#{name}: #{value}\r")

        response = refused(text)
        assert response.start_line.reason_phrase == "Bad Request (#{name})"
        assert response.headers[name] == [value]
        assert lines(response, [name]) == [{name, value}]
        assert length(lines(response, ~w(Via From To Call-ID CSeq))) == 6
      end
    end

    test "has all lines of what stands twice" do
      text = request("INVITE sip:b@biloxi.com SIP/2.0", ["CSeq: 1 INVITE", "To: <sip:c@d>"])

      assert lines(refused(text), ["To"]) == [
               {"To", "Bob <sip:bob@biloxi.com>"},
               {"To", "<sip:c@d>"}
             ]
    end

    test "has what Request-URI there is, or none" do
      for uri <- ["<sip:bob@biloxi.com>", "", "sip:\xFF"] do
        response = refused(request("INVITE #{uri} SIP/2.0", ["CSeq: 1 INVITE"]))
        assert %{to: {"Bob", _uri, %{"tag" => _}}} = response.headers
      end
    end

    test "goes by the topmost Via where a lower one can't be read" do
      lower = ["Via: SIP/2.0/UDP ;;;", "Via: SIP/2.0/SCTP low.example.com;branch=z9hG4bKlow"]

      response =
        refused(request("OPTIONS sip:bob@biloxi.com SIP/2.0", ["CSeq: 1 OPTIONS" | lower]))

      assert %{status_code: 400, reason_phrase: "Bad Request (Via)"} = response.start_line

      assert [
               {_, :udp, {"192.0.2.7", 5062}, %{"rport" => "5062", "received" => "192.0.2.7"}},
               {_, :tcp, {"far.example.com", 5060}, _}
             ] = response.headers.via

      # In their order: what can be read below one that can't stays below it.
      assert [
               {"Via", "SIP/2.0/UDP 192.0.2.7:5062" <> _},
               {"Via", "SIP/2.0/TCP far.example.com" <> _},
               {"Via", "SIP/2.0/UDP ;;;"},
               {"Via", "SIP/2.0/SCTP low.example.com:5060;branch=z9hG4bKlow"}
             ] = lines(response, ["Via"])
    end

    test "tells the Vias of one line apart" do
      text = request("OPTIONS sip:bob@biloxi.com SIP/2.0", ["CSeq: 1 OPTIONS"])
      low = "SIP/2.0/SCTP low.example.com:5070;branch=z9hG4bKlow"

      text =
        String.replace(
          text,
          ";branch=z9hG4bKone;rport",
          ~s(;branch=z9hG4bKone;x="a,b", ;;;,#{low})
        )

      response = refused(text)

      assert [{_, :udp, {"192.0.2.7", 5062}, %{"branch" => "z9hG4bKone", "x" => "a,b"}}] =
               response.headers.via

      assert [
               {"Via", "SIP/2.0/UDP 192.0.2.7:5062;" <> _},
               {"Via", ";;;"},
               {"Via", low_and_far}
             ] = lines(response, ["Via"])

      assert low_and_far == low <> ", SIP/2.0/TCP far.example.com:5060;branch=z9hG4bKtwo"
    end

    # Many of either kind, each next to one of the other.
    test "takes time that grows as the Vias" do
      for malformed <- ["@", "SIP/2.0/UDP h;branch"] do
        steps = fn count ->
          vias = String.duplicate("Via: SIP/2.0/UDP h,#{malformed}\r\n", count)

          bad =
            request("OPTIONS sip:b SIP/2.0", ["CSeq: x"]) |> String.replace("i: ", vias <> "i: ")

          {:error, error} = Message.parse(bad)
          {:reductions, before} = Process.info(self(), :reductions)
          assert {:ok, _response} = StatelessResponse.to_unparsed(error, @remote, false)
          {:reductions, since} = Process.info(self(), :reductions)
          since - before
        end

        # Eight times the Vias; the square of that would be 64. Some collections of garbage count too.
        assert steps.(1_600) <= 24 * steps.(200)
      end
    end

    test "is 414 for a Request-URI over the limit" do
      uri = "sip:" <> String.duplicate("b", 60_000)
      response = refused(request("OPTIONS #{uri} SIP/2.0", ["CSeq: 1 OPTIONS"]))
      assert response.start_line.status_code == 414
    end

    test "is none for an ACK, a CANCEL, a response, or without a Via that can be read" do
      for method <- ["ACK", "CANCEL"] do
        assert refused(
                 request("#{method} sip:bob@biloxi.com SIP/2.0", [
                   "CSeq: 1 #{method}",
                   "Max-Forwards: x"
                 ])
               ) == :none
      end

      assert refused(request("SIP/2.0 200 OK", ["CSeq: x"])) == :none

      topmost = String.replace(request("OPTIONS sip:b SIP/2.0", ["CSeq: x"]), "rport", "=;=")
      assert refused(topmost) == :none

      # The one below it must not take its place.
      assert refused(String.replace(topmost, "=;=", "\x01")) == :none
    end
  end
end
