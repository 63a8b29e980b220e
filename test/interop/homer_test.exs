defmodule Sippet.Interop.HomerTest do
  # What is exported to Homer is decoded by others: Kamailio's sipcapture, behind which Homer's database stands, and
  # tshark, with a dissector that was written from HEP's description alone.
  use Sippet.Interop.Case, async: true

  alias Sippet.Interop.{Answerer, Caller, Sipcapture, Tshark}
  alias Sippet.Trace.HEP

  @agent 2001

  # A call that is hung up, told to a collector: which messages went between which ends, and since when.
  defp export(collector, ip \\ {127, 0, 0, 1}) do
    {caller, {ip, caller_port}} = start_stack(Caller, ip: ip)
    {_answerer, {ip, port}} = start_stack(Answerer, ip: ip)
    collector = {{127, 0, 0, 1}, collector}
    key = "secret"

    export =
      start_supervised!(
        {HEP, stack: caller, collector: collector, capture_id: @agent, auth_key: key}
      )

    since = System.os_time(:second)
    call_id = Caller.call(caller, "bob", {text(ip), port})
    assert_receive {^caller, {:response, :bye, 200, _response, _key}}, 5_000
    here = {text(ip), "#{caller_port}"}
    there = {text(ip), "#{port}"}

    messages =
      for start <- ["180", "200", "200", "ACK", "BYE", "INVITE"],
          do: if(start =~ ~r/^\d/, do: {start, there, here}, else: {start, here, there})

    %{export: export, call_id: call_id, since: since, messages: messages}
  end

  defp assert_time(seconds, since),
    do: assert(String.to_integer(seconds) in since..System.os_time(:second))

  describe "sipcapture" do
    @describetag Peers.tags(:kamailio)

    test "has a call as it went over the wire" do
      capture = Sipcapture.start()
      %{call_id: call_id} = sent = export(capture.port)
      rows = Sipcapture.rows(capture, 6)
      assert %{sent: 6, failed: 0, missed: 0} = HEP.stats(sent.export)

      messages =
        for row <- rows do
          assert row["callid"] == call_id and row["correlation_id"] == call_id
          # The agent's name, and its number.
          assert row["node"] =~ ~r/:#{@agent}$/
          assert_time(row["date"], sent.since)
          assert row["msg"] =~ "Call-ID: #{call_id}"

          {row["method"], {row["source_ip"], row["source_port"]},
           {row["destination_ip"], row["destination_port"]}}
        end

      assert Enum.sort(messages) == sent.messages
    end
  end

  describe "tshark" do
    @script Path.expand("tshark/hep.lua", __DIR__)

    @refused if Peers.missing(:tshark), do: nil, else: Tshark.refused(@script, "hep")
    if @refused, do: IO.puts("\nSKIPPED: tshark as Homer's collector: #{@refused}")

    @describetag Peers.tags(:tshark)
    if @refused, do: @describetag(skip: @refused)

    @fields ~w(family protocol source destination source6 destination6 source_port destination_port
               seconds microseconds type capture_id auth_key correlation_id)

    for {version, ip, family, six} <- [
          {"IPv4", {127, 0, 0, 1}, 2, ""},
          {"IPv6", {0, 0, 0, 0, 0, 0, 0, 1}, 10, "6"}
        ] do
      test "has a call as it went over the wire, over #{version}" do
        {:ok, collector} = :gen_udp.open(0, ip: {127, 0, 0, 1}, active: false)
        {:ok, port} = :inet.port(collector)
        fields = Enum.map(@fields, &"hep.#{&1}")
        tshark = Tshark.start([port], protocol: "hep", script: @script, more: fields)
        %{call_id: call_id} = sent = export(port, unquote(Macro.escape(ip)))
        for _ <- sent.messages, do: {:ok, _packet} = :gen_udp.recv(collector, 0, 5_000)
        packets = Tshark.packets(tshark)
        assert %{sent: 6, failed: 0, missed: 0} = HEP.stats(sent.export)

        messages =
          for %{more: hep} = packet <- packets do
            assert packet.severity in [:none, :comment, :chat], inspect(packet)
            assert packet.call_id == call_id and hep["hep.correlation_id"] == call_id
            # UDP, and SIP
            assert {hep["hep.family"], "17", "1"} ==
                     {"#{unquote(family)}", hep["hep.protocol"], hep["hep.type"]}

            assert {hep["hep.capture_id"], hep["hep.auth_key"]} == {"#{@agent}", "secret"}
            assert_time(hep["hep.seconds"], sent.since)
            assert String.to_integer(hep["hep.microseconds"]) in 0..999_999

            {"#{packet.start}", {hep["hep.source#{unquote(six)}"], hep["hep.source_port"]},
             {hep["hep.destination#{unquote(six)}"], hep["hep.destination_port"]}}
          end

        assert Enum.sort(messages) == sent.messages
      end
    end
  end
end
