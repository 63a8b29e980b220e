defmodule Sippet.Interop.HomerTest do
  # What is exported is decoded by another implementation of HEP: Kamailio's sipcapture, behind which Homer's database stands.
  use Sippet.Interop.Case, async: true

  alias Sippet.Interop.{Answerer, Caller, Sipcapture}
  alias Sippet.Trace.HEP

  @moduletag Peers.tags(:kamailio)

  test "a call arrives as it went over the wire" do
    {caller, {ip, caller_port}} = start_stack(Caller)
    {_answerer, {_ip, port}} = start_stack(Answerer)
    capture = Sipcapture.start()
    collector = {{127, 0, 0, 1}, capture.port}
    export = start_supervised!({HEP, stack: caller, collector: collector, capture_id: 2001})

    before = System.os_time(:second)
    call_id = Caller.call(caller, "bob", {text(ip), port})
    assert_receive {^caller, {:response, :bye, 200, _response, _key}}, 5_000

    rows = Sipcapture.rows(capture, 6)
    assert %{sent: sent, failed: 0, missed: 0} = HEP.stats(export)
    assert sent == length(rows)

    assert ["180", "200", "200", "ACK", "BYE", "INVITE"] =
             rows |> Enum.map(& &1["method"]) |> Enum.sort()

    here = {"127.0.0.1", "#{caller_port}"}
    there = {"127.0.0.1", "#{port}"}

    for row <- rows do
      ends =
        {{row["source_ip"], row["source_port"]}, {row["destination_ip"], row["destination_port"]}}

      response? = row["method"] =~ ~r/^\d/
      assert ends == if(response?, do: {there, here}, else: {here, there})
      assert row["callid"] == call_id and row["correlation_id"] == call_id
      # The agent's name, and its number.
      assert row["node"] =~ ~r/:2001$/
      assert String.to_integer(row["date"]) in before..System.os_time(:second)
      assert row["msg"] =~ "Call-ID: #{call_id}"
    end
  end
end
