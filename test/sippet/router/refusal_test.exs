defmodule Sippet.Router.RefusalTest do
  use ExUnit.Case, async: true

  alias Sippet.Message
  alias Sippet.Router.Refusal

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

    with {:ok, octets, via} <- Refusal.answer_unparsed(error, @remote),
         do: {Message.parse!(octets), via}
  end

  describe "RFC3261§21.4 an answer to what could not be parsed" do
    test "copies what leads it back, and marks the topmost Via" do
      {response, _via} =
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
      assert {%{headers: %{to: to}}, _via} = refused(text)
      assert {%{headers: %{to: ^to}}, _via} = refused(text)
    end

    test "is 414 for a Request-URI over the limit" do
      uri = "sip:" <> String.duplicate("b", 60_000)
      {response, _via} = refused(request("OPTIONS #{uri} SIP/2.0", ["CSeq: 1 OPTIONS"]))
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

      assert refused(request("OPTIONS sip:bob@biloxi.com SIP/2.0", ["CSeq: 1 OPTIONS", "Via: x"])) ==
               :none
    end
  end
end
