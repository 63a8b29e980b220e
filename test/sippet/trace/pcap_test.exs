defmodule Sippet.Trace.PcapTest do
  # Captures are built here octet by octet, after the documents of the formats.
  use ExUnit.Case, async: true

  alias Sippet.{Captures, Trace}

  @moduletag :tmp_dir

  @sip Captures.options("a")
  @ipv4 Captures.ipv4(Captures.udp(@sip))
  @ipv6 Captures.ipv6(Captures.udp(@sip))

  defp read(%{tmp_dir: folder}, octets, options \\ []) do
    path = Path.join(folder, "a.pcap")
    File.write!(path, octets)
    Trace.read(path, options)
  end

  defp pcap(context, link, frames), do: read(context, Captures.pcap(link, frames))

  @v4 {{{192, 0, 2, 1}, 5060}, {{192, 0, 2, 2}, 5070}}
  @v6 {{{0x2001, 0xDB8, 0, 0, 0, 0, 0, 1}, 5060}, {{0x2001, 0xDB8, 0, 0, 0, 0, 0, 2}, 5070}}

  describe "link types" do
    @links [
      {"Ethernet", 1, <<0::96, 0x0800::16>>, <<0::96, 0x86DD::16>>},
      {"Ethernet with a VLAN tag", 1, <<0::96, 0x8100::16, 7::16, 0x0800::16>>,
       <<0::96, 0x88A8::16, 7::16, 0x8100::16, 8::16, 0x86DD::16>>},
      {"Linux cooked v1", 113, <<0::112, 0x0800::16>>, <<0::112, 0x86DD::16>>},
      {"Linux cooked v2", 276, <<0x0800::16, 0::144>>, <<0x86DD::16, 0::144>>},
      {"NULL", 0, <<2::little-32>>, <<30::little-32>>},
      {"LOOP", 108, <<2::32>>, <<24::32>>},
      {"raw IP", 101, <<>>, <<>>},
      {"raw IP, the other number", 12, <<>>, <<>>},
      {"IPv4 and IPv6 alone", 228, <<>>, <<>>}
    ]
    for {name, link, head4, head6} <- @links do
      test "#{name}", context do
        frames = [unquote(head4) <> @ipv4, unquote(head6) <> @ipv6]

        assert {:ok, [%{call_id: "a", entries: [four, six]}], skipped} =
                 pcap(context, unquote(link), frames)

        assert skipped == %{}
        assert {four.source, four.destination} == @v4
        assert {six.source, six.destination} == @v6
        assert four.octets == @sip and six.octets == @sip
      end
    end
  end

  describe "what is passed over is counted" do
    @tcp Captures.ipv4("segment", protocol: 6)
    for {why, frame, link} <- [
          {:link_type, @ipv4, 147},
          {:not_ip, <<0::96, 0x0806::16, 0::224>>, 1},
          {:not_ip, <<0xFF>>, 101},
          {:tcp, @tcp, 101},
          {:not_udp, Captures.ipv4("ping", protocol: 1), 101},
          {:fragment, Captures.ipv4(Captures.udp(@sip), fragment: 0x2000), 101},
          {:fragment, Captures.ipv4("rest", fragment: 185), 101},
          {:fragment, Captures.ipv6(<<17, 0, 1::16, 0::32, "first">>, next: 44), 101},
          {:snapped, binary_part(@ipv4, 0, byte_size(@ipv4) - 5), 101},
          {:snapped, binary_part(@ipv6, 0, byte_size(@ipv6) - 5), 101},
          {:malformed, <<0x45, 0>>, 101},
          {:malformed, <<0::32>>, 1},
          {:malformed, Captures.ipv4(<<1::16, 2::16, 3::16, 0::16>>), 101},
          {:not_sip, Captures.ipv4(Captures.udp("no SIP here")), 101}
        ] do
      test "#{why}: #{byte_size(frame)} octets of link type #{link}", context do
        frame = unquote(frame)
        assert {:ok, [], skipped} = pcap(context, unquote(link), [frame, frame])
        assert skipped == %{unquote(why) => 2}
        assert is_binary(Trace.explain(unquote(why)))
      end
    end

    test "and what stands between is read", context do
      assert {:ok, [%{entries: [_]}], %{tcp: 1}} = pcap(context, 101, [@tcp, @ipv4])
    end

    test "messages over the limit", context do
      octets = Captures.pcap(101, List.duplicate(@ipv4, 5))

      assert {:ok, [%{entries: [_, _]}], %{over_limit: 3}} =
               read(context, octets, max_messages: 2)
    end
  end

  describe "the calls that have a message of a method" do
    defp frame(method, call_id) do
      text = String.replace(Captures.options(call_id), "OPTIONS", method)
      Captures.ipv4(Captures.udp(text))
    end

    @wanted [method: :bye]

    test "are read as a whole, and no others", context do
      frames =
        for {method, id} <- [{"INVITE", "a"}, {"INVITE", "b"}, {"ACK", "a"}, {"BYE", "a"}],
            do: frame(method, id)

      octets = Captures.pcap(101, [@tcp | frames] ++ ["cut", frame("INFO", "a")])
      assert {:ok, [call], %{tcp: 1} = skipped} = read(context, octets, @wanted)
      assert Enum.map(call.entries, & &1.label) == ["INVITE", "ACK", "BYE", "INFO"]
      assert map_size(skipped) == 2
    end

    test "are read up to the limit", context do
      octets = Captures.pcap(101, for(m <- ["INVITE", "ACK", "BYE"], do: frame(m, "a")))
      assert {:ok, [call], skipped} = read(context, octets, [max_messages: 2] ++ @wanted)
      assert {length(call.entries), skipped} == {2, %{over_limit: 1}}
    end

    test "are no more than messages may be read", context do
      # Of the third no message is looked at again.
      frames = for id <- ["a", "b", "c"], do: frame("BYE", id)
      octets = Captures.pcap(101, frames ++ [frame("INFO", "c")])
      assert {:ok, calls, skipped} = read(context, octets, [max_messages: 2] ++ @wanted)
      assert {Enum.map(calls, & &1.call_id), skipped} == {["a", "b"], %{over_limit: 1}}
    end

    test "are read of a file that ends within a packet", context do
      octets = Captures.pcap(101, for(m <- ["INVITE", "BYE"], do: frame(m, "a")))
      cut = binary_part(octets, 0, byte_size(octets) - 1)
      assert {:ok, [], %{cut_short: 1}} = read(context, cut, @wanted)
    end
  end

  describe "IP" do
    test "options and extension headers are passed over", context do
      v4 = Captures.ipv4(Captures.udp(@sip), options: <<1::64>>)

      hop =
        Captures.ipv6(<<44, 1, 0::112>> <> <<17, 0, 0::16, 5::32>> <> Captures.udp(@sip), next: 0)

      assert {:ok, [%{entries: [_, _]}], skipped} = pcap(context, 101, [v4, hop])
      assert skipped == %{}
    end

    test "padding behind a packet is no part of the message", context do
      frame = <<0::96, 0x0800::16>> <> @ipv4 <> <<0::64>>
      assert {:ok, [%{entries: [%{octets: @sip}]}], %{}} = pcap(context, 1, [frame])
    end
  end

  describe "pcap" do
    for {order, unit} <- [{:big, :micro}, {:little, :micro}, {:big, :nano}, {:little, :nano}] do
      test "is read with #{order} numbers and times in #{unit}seconds", context do
        octets = Captures.pcap(101, [@ipv4, @ipv4], order: unquote(order), unit: unquote(unit))
        assert {:ok, [%{entries: [first, second]}], skipped} = read(context, octets)

        assert {first.time, second.time, skipped} ==
                 {1_000_000_000_000_001, 1_000_000_001_000_001, %{}}
      end
    end

    test "that ends within a packet gives those before", context do
      whole = Captures.pcap(101, [@ipv4, @ipv4])

      for cut <- [1, byte_size(@ipv4), byte_size(@ipv4) + 3] do
        octets = binary_part(whole, 0, byte_size(whole) - cut)
        assert {:ok, [%{entries: [_]}], %{cut_short: 1}} = read(context, octets)
      end
    end
  end

  describe "pcapng" do
    for order <- [:big, :little] do
      test "is read with #{order} numbers", context do
        octets = Captures.pcapng(101, [@ipv4, @ipv6], order: unquote(order))
        assert {:ok, [%{entries: [first, second]}], skipped} = read(context, octets)

        assert {first.time, second.time, skipped} ==
                 {1_000_000_000_000_001, 1_000_000_001_000_001, %{}}
      end
    end

    test "has its own unit of time", context do
      for {code, ticks} <- [{9, 1_000_000_000}, {0x80 + 10, 1_024}, {3, 1_000}] do
        octets = Captures.pcapng(101, [@ipv4], resolution: code, ticks: ticks * 7)
        assert {:ok, [%{entries: [%{time: 7_000_000}]}], %{}} = read(context, octets)
      end
    end

    test "may have times beyond the year 9999, and is drawn all the same", context do
      for ticks <- [253_402_300_800, 0xFFFF_FFFF_FFFF_FFFF] do
        octets = Captures.pcapng(101, [@ipv4], resolution: 0, ticks: ticks)
        assert {:ok, [%{entries: [%{time: time}]}] = calls, %{}} = read(context, octets)
        assert time == ticks * 1_000_000
        for format <- Trace.formats(), do: assert(Trace.draw(calls, format) =~ "OPTIONS")
      end
    end

    test "has sections, each with its own interfaces", context do
      octets =
        Captures.pcapng(101, [@ipv4], order: :big) <>
          Captures.pcapng(0, [<<0::32, @ipv6::binary>>])

      assert {:ok, [%{entries: [_, _]}], skipped} = read(context, octets)
      assert skipped == %{}
    end

    test "has simple packets, without a time, and older ones", context do
      octets =
        Captures.pcapng(101, []) <>
          Captures.block(3, <<100::little-32, @ipv4::binary>>) <> Captures.block(99, "what")

      assert {:ok, [%{entries: [%{time: nil}]}], %{}} = read(context, octets)

      old = <<0::little-16, 0::16, 0::64, byte_size(@ipv4)::little-32, 0::32, @ipv4::binary>>

      assert {:ok, [%{entries: [%{time: 0}]}], %{}} =
               read(context, Captures.pcapng(101, []) <> Captures.block(2, old))
    end
  end

  describe "a damaged file" do
    test "is told of in a sentence", context do
      section = Captures.pcapng(101, [])

      for {octets, text} <- [
            {"", "it is empty"},
            {<<0xA1B2C3D4::32, 1>>, "its header is cut short"},
            {Captures.pcap(101, []) <> <<0::64, 0xFFFFFFFF::32, 0::32>>,
             "a packet of 4294967295 octets"},
            {<<0x0A0D0D0A::32, 28::32, 7::32>>, "a section begins with no byte order"},
            {<<0x0A0D0D0A::32, 100::32, 0x1A2B3C4D::32, 1>>, "its first block is cut short"},
            {section <> <<6::little-32, 13::little-32>>, "a block of 13 octets"},
            {section <> <<6::little-32, 0xFFFFFFF0::little-32>>, "a block of 4294967280 octets"},
            {section <> <<99::little-32, 12::little-32, 16::little-32>>,
             "a block has two lengths"},
            {section <> Captures.block(6, "short"), "a block is too short for what it is"},
            {section <> Captures.block(6, <<7::little-32, 0::128>>),
             "a packet is of no interface, or longer than its block"},
            {section <> Captures.block(6, <<0::96, 99::little-32, 0::32>>),
             "a packet is of no interface, or longer than its block"},
            {section <> Captures.block(1, <<1::little-16, 0::48, 9::little-16, 99::little-16>>),
             "an option is longer than its block"}
          ] do
        assert read(context, octets) == {:error, text}
      end
    end

    test "that is cut anywhere never raises", context do
      whole = Captures.pcapng(101, [@ipv4, @ipv6])

      for size <- 1..(byte_size(whole) - 1)//7 do
        cut = binary_part(whole, 0, size)
        assert elem(read(context, cut), 0) in [:ok, :error]
      end
    end

    test "that is not there", %{tmp_dir: folder} do
      assert Trace.read(Path.join(folder, "none")) == {:error, "no such file or directory"}
      assert {:error, text} = Trace.read(folder)
      assert text =~ "directory"
    end
  end
end
