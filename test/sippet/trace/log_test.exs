defmodule Sippet.Trace.LogTest do
  use ExUnit.Case, async: true

  alias Sippet.Trace

  @moduletag :tmp_dir

  @call "guides/assets/call.log"

  defp read(%{tmp_dir: folder}, text, options \\ []) do
    path = Path.join(folder, "a.log")
    File.write!(path, text)
    Trace.read(path, options)
  end

  defp ends(calls),
    do:
      for(
        call <- calls,
        entry <- call.entries,
        do: {entry.label, entry.source, entry.destination}
      )

  defp request(method, branch, more \\ ""),
    do:
      "#{method} sip:bob@192.0.2.9 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5061;branch=#{branch}\r\n" <>
        "Call-ID: a\r\nCSeq: 1 #{method}\r\n#{more}\r\n"

  defp response(status, branch, more \\ ""),
    do:
      "SIP/2.0 #{status} Text\r\nVia: SIP/2.0/UDP 192.0.2.1:5061;branch=#{branch}\r\nCall-ID: a\r\nCSeq: 1 REFER\r\n#{more}\r\n"

  @alice {{192, 0, 2, 1}, 5061}
  @bob {{192, 0, 2, 9}, 5060}

  describe "lines over messages" do
    test "are read as they are written" do
      assert {:ok, [call], skipped} = Trace.read(@call)
      assert skipped == %{}
      assert length(call.entries) == 15
      assert Trace.draw([call], :log) == File.read!(@call)
      assert %{time: 1_800_000_000_000_000, protocol: :udp, sdp?: true} = hd(call.entries)
    end

    test "may lack time, protocol and size", context do
      text =
        "- [2001:db8::1]:5061 -> somewhere\n" <>
          request("OPTIONS", "1") <> "2027-01-15 08:00:00 a:1 -> b:2 TCP\n" <> request("BYE", "2")

      assert {:ok, [%{entries: [options, bye]}], %{}} = read(context, text)

      assert %{
               time: nil,
               source: {{0x2001, 0xDB8, 0, 0, 0, 0, 0, 1}, 5061},
               destination: {"somewhere", nil}
             } = options

      assert %{time: 1_800_000_000_000_000, protocol: :tcp, source: {"a", 1}} = bye
      assert options.octets == request("OPTIONS", "1")
    end
  end

  describe "SIPp's log" do
    test "is read: the sizes are its, the lanes have names", context do
      body = "v=0\r\nSIP/2.0 200 OK\r\n"

      invite =
        request(
          "INVITE",
          "1",
          "Content-Type: application/sdp\r\nContent-Length: #{byte_size(body)}\r\n"
        ) <> body

      ok = response(200, "1")

      text = """
      ----------------------------------------------- 2026-11-28 04:18:50.034811
      UDP message sent (#{byte_size(invite)} bytes):

      #{invite}
      -----------------------------------------------  2026-11-28\t04:18:50.036172
      UDP message received [#{byte_size(ok)}] bytes :

      #{ok}
      """

      assert {:ok, calls, skipped} = read(context, text)
      assert skipped == %{}

      assert ends(calls) == [
               {"INVITE", {"SIPp", nil}, {"peer", nil}},
               {"200 Text", {"peer", nil}, {"SIPp", nil}}
             ]

      assert [
               %{
                 entries: [
                   %{octets: ^invite, sdp?: true, time: time},
                   %{octets: ^ok, time: later}
                 ]
               }
             ] = calls

      assert later - time == 1_361
    end
  end

  describe "messages one after the other" do
    test "have the ends that Via and Request-URI say", context do
      route = "Route: <sip:192.0.2.5:5063;lr>\r\n"

      text =
        request("REFER", "1") <>
          response(202, "1") <> request("REFER", "2", route) <> response(481, "unseen")

      assert {:ok, calls, skipped} = read(context, text)
      assert skipped == %{}

      assert ends(calls) == [
               {"REFER", @alice, @bob},
               {"202 Text", @bob, @alice},
               {"REFER", @alice, {{192, 0, 2, 5}, 5063}},
               {"481 Text", {"?", nil}, @alice}
             ]
    end

    test "may carry what looks like a message", context do
      fragment = "SIP/2.0 180 Ringing\r\n"

      notify =
        request("NOTIFY", "1", "Content-Type: message/sipfrag\r\nl: #{byte_size(fragment)}\r\n") <>
          fragment

      assert {:ok, calls, skipped} = read(context, notify <> "\r\n" <> response(200, "1"))
      assert skipped == %{}
      assert [{"NOTIFY", _, _}, {"200 Text", _, _}] = ends(calls)
      assert hd(hd(calls).entries).octets == notify
    end

    test "may have lost their CRs in an editor", context do
      text = request("INVITE", "1", "Content-Length: 5\r\n") <> "v=0\r\n" <> response(200, "1")
      assert {:ok, calls, %{}} = read(context, String.replace(text, "\r", ""))
      assert [{"INVITE", @alice, @bob}, {"200 Text", @bob, @alice}] = ends(calls)
      assert Enum.all?(hd(calls).entries, &(&1.error == nil))
    end

    test "may have lines between them, which are counted", context do
      text = "# from the field\n" <> request("BYE", "1") <> "\nand\n\n" <> response(200, "1")
      assert {:ok, calls, %{lines: 1}} = read(context, text)
      assert [{"BYE", _, _}, {"200 Text", _, _}] = ends(calls)
    end
  end

  # A number of any length would take time that grows with its square.
  test "a size of more than nine digits is none", context do
    line = "- 192.0.2.1:5061 -> 192.0.2.9:5060 UDP " <> String.duplicate("9", 60_000)
    text = "#{line}\n#{request("BYE", "1")}#{response(200, "1")}"
    assert {:ok, [%{entries: [_bye, _ok]}], %{lines: 1}} = read(context, text)
  end

  test "which calls are read is told by the options" do
    assert {:ok, [], %{}} = Trace.read(@call, call_id: "none")
    assert {:ok, [], %{}} = Trace.read(@call, method: :info)
    assert {:ok, [%{entries: all}], %{}} = Trace.read(@call)
    assert length(all) == 15

    # The INVITE came before, and by another address.
    for options <- [[method: :bye], [method: "BYE"], [address: "198.51.100.7"]],
        do: assert({:ok, [%{entries: ^all}], %{}} = Trace.read(@call, options))
  end

  test "one message has all that is asked for", context do
    bye = request("BYE", "1")
    other = String.replace(request("OPTIONS", "2"), "192.0.2.1:", "192.0.2.8:")

    both =
      "- 192.0.2.1:5061 -> 192.0.2.9:5060\n#{bye}- 192.0.2.8:5061 -> 192.0.2.9:5060\n#{other}"

    assert {:ok, [_call], %{}} = read(context, both, method: :bye, address: "192.0.2.1")
    assert {:ok, [], %{}} = read(context, both, method: :bye, address: "192.0.2.8")
  end

  test "what holds no message is an error", context do
    assert {:error, "it is neither pcap nor pcapng, and has no SIP message as text"} =
             read(context, "Dear diary,\n")

    assert {:error, _text} = read(context, :crypto.strong_rand_bytes(10_000))
  end

  test "a log of start lines alone takes its time, and no more", context do
    # A minute and more where each line would be looked for its end in the whole rest.
    text = String.duplicate("OPTIONS sip:a@b SIP/2.0\n", 20_000)
    assert {:ok, [_calls], %{over_limit: _}} = read(context, text)
  end
end
