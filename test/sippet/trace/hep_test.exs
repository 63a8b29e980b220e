defmodule Sippet.Trace.HEPTest do
  use Sippet.StackCase, async: true

  import Sippet.Wait

  alias Sippet.Transport.Registrations
  alias Sippet.Trace.{Entry, HEP}
  alias Sippet.Trace.HEP.Packet

  @plain %{capture_id: 1, auth_key: nil, address: nil}
  @alice {{192, 0, 2, 1}, 5061}
  @bob {{192, 0, 2, 2}, 5062}
  @v6 {{0x2001, 0xDB8, 0, 0, 0, 0, 0, 1}, 5060}

  # What the document of HEP3 says, read the other way.
  defp decode(<<"HEP3", size::16, chunks::binary>> = packet) when byte_size(packet) == size,
    do: chunks |> chunks() |> Map.new()

  defp chunks(<<>>), do: []

  defp chunks(<<0::16, type::16, size::16, value::binary-size(size - 6), rest::binary>>),
    do: [{type, value} | chunks(rest)]

  defp encoded(source, destination, options \\ @plain, protocol \\ :udp) do
    {:ok, packet} =
      1_700_000_000_123_456
      |> Entry.new(source, destination, wire("OPTIONS", [{"Call-ID", "a"}]), protocol)
      |> Packet.encode(options)

    decode(packet)
  end

  describe "a packet" do
    test "has the chunks of a message over IPv4" do
      octets = wire("OPTIONS", [{"Call-ID", "a"}])
      entry = Entry.new(1_700_000_000_123_456, @alice, @bob, octets)
      {:ok, packet} = Packet.encode(entry, %{@plain | capture_id: 2001, auth_key: "secret"})

      assert decode(packet) == %{
               1 => <<2>>,
               2 => <<17>>,
               3 => <<192, 0, 2, 1>>,
               4 => <<192, 0, 2, 2>>,
               7 => <<5061::16>>,
               8 => <<5062::16>>,
               9 => <<1_700_000_000::32>>,
               10 => <<123_456::32>>,
               11 => <<1>>,
               12 => <<2001::32>>,
               14 => "secret",
               15 => octets,
               17 => "a"
             }
    end

    test "has the addresses of IPv6" do
      chunks = encoded(@v6, @v6)

      assert %{1 => <<10>>, 5 => <<0x20010DB8::32, 1::96>>, 6 => <<0x20010DB8::32, 1::96>>} =
               chunks

      refute Map.has_key?(chunks, 3) or Map.has_key?(chunks, 4)
      refute Map.has_key?(chunks, 14)
    end

    test "has both addresses in one family" do
      assert %{
               1 => <<10>>,
               5 => <<0x20010DB8::32, 1::96>>,
               6 => <<0::80, 0xFFFF::16, 192, 0, 2, 2>>
             } = encoded(@v6, @bob)

      assert %{1 => <<10>>, 5 => <<0::128>>, 6 => <<0x20010DB8::32, 1::96>>} =
               encoded({{0, 0, 0, 0}, 1}, @v6)
    end

    test "has the unspecified address for a name, and the given one for the stack's own" do
      assert %{3 => <<192, 0, 2, 1>>, 4 => <<0::32>>, 8 => <<5060::16>>} =
               encoded(@alice, {"biloxi.com", 5060})

      assert %{5 => <<0::128>>, 6 => <<0x20010DB8::32, 1::96>>} =
               encoded({"biloxi.com", 5060}, @v6)

      own = %{@plain | address: {10, 0, 0, 1}}

      assert %{3 => <<10, 0, 0, 1>>, 4 => <<192, 0, 2, 2>>} =
               encoded({{0, 0, 0, 0}, 5060}, @bob, own)

      assert %{3 => <<10, 0, 0, 1>>, 7 => <<0::16>>} = encoded({"local", nil}, @bob, own)
    end

    test "has the protocol's number" do
      for {protocol, number} <- [udp: 17, dtls: 17, tcp: 6, tls: 6, sctp: 132, dccp: 33],
          do: assert(%{2 => <<^number>>} = encoded(@alice, @bob, @plain, protocol))
    end

    test "is none where no datagram holds it" do
      entry = Entry.new(0, @alice, @bob, String.duplicate("x", 65_450))
      assert Packet.encode(entry, @plain) == :error
      entry = Entry.new(0, @alice, @bob, String.duplicate("x", 65_350))
      assert {:ok, _packet} = Packet.encode(entry, @plain)
    end
  end

  describe "the export" do
    setup do
      {:ok, socket} = :gen_udp.open(0, [:binary, ip: {127, 0, 0, 1}, active: true])
      {:ok, port} = :inet.port(socket)
      %{collector: {{127, 0, 0, 1}, port}}
    end

    defp packet do
      assert_receive {:udp, _socket, _ip, _port, packet}, 1_000
      decode(packet)
    end

    defp told?(stack) do
      :sys.get_state(Registrations.name(stack))
      stack |> Sippet.Stack.fetch!() |> Map.fetch!(:taps) |> :atomics.get(1) == 1
    end

    test "sends each message that comes and goes, and what is no SIP", %{
      stack: stack,
      collector: collector
    } do
      export = start_supervised!({HEP, stack: stack, collector: collector, capture_id: 7})
      deliver(stack, wire("OPTIONS", [{"Call-ID", "a"}]))

      assert %{
               3 => <<192, 0, 2, 7>>,
               4 => <<127, 0, 0, 1>>,
               7 => <<4321::16>>,
               12 => <<7::32>>,
               15 => "OPTIONS " <> _
             } = packet()

      assert_receive {:receive_request, request, _key}
      Sippet.send(stack, Message.to_response(request, 200))
      assert %{4 => <<192, 0, 2, 7>>, 15 => "SIP/2.0 200 " <> _, 17 => "a"} = packet()
      deliver(stack, "\r\n\r\n")
      deliver(stack, "nonsense")
      assert %{15 => "nonsense"} = packet()
      assert HEP.stats(export) == %{sent: 3, failed: 0, missed: 0}
    end

    test "leaves out what it can't follow, and the stack goes on", %{
      stack: stack,
      collector: collector
    } do
      export = start_supervised!({HEP, stack: stack, collector: collector})
      :sys.suspend(export)
      junk = "SIP/2.0 200 OK\r\nX: #{String.duplicate("x", 60_000)}\r\n\r\n"
      for _ <- 1..100, do: deliver(stack, junk)
      :sys.resume(export)
      assert %{sent: sent, missed: missed} = HEP.stats(export)
      assert sent + missed == 100 and missed in 30..50
    end

    test "counts what can't be sent", %{stack: stack, collector: collector} do
      export = start_supervised!({HEP, stack: stack, collector: collector})
      deliver(stack, "SIP/2.0 200 OK\r\nX: #{String.duplicate("x", 65_450)}\r\n\r\n")
      assert HEP.stats(export) == %{sent: 0, failed: 1, missed: 0}
    end

    test "ends as the tap ends", %{stack: stack, collector: collector} do
      start_supervised!({HEP, stack: stack, collector: collector}, id: :export)
      assert told?(stack)
      stop_supervised!(:export)
      refute told?(stack)
    end

    test "waits for its stack, and for the next one of that name", %{collector: collector} do
      name = Module.concat(__MODULE__, "Late#{System.unique_integer([:positive])}")
      start_supervised!({HEP, stack: name, collector: collector})

      for _ <- 1..2 do
        start_supervised!({Sippet, name: name}, id: :late)
        wait_until(fn -> told?(name) end)
        deliver(name, "SIP/2.0 200 OK\r\n\r\n")
        assert %{15 => "SIP/2.0 200 OK" <> _} = packet()
        stop_supervised!(:late)
      end
    end

    test "checks its options", %{stack: stack} do
      good = [stack: stack, collector: {{127, 0, 0, 1}, 9060}]

      for bad <- [
            [collector: {"homer", 9060}],
            [collector: {{127, 0, 0, 1}, 0}],
            [capture_id: -1],
            [auth_key: ""],
            [address: "10.0.0.1"]
          ],
          do: assert_raise(ArgumentError, fn -> HEP.start_link(Keyword.merge(good, bad)) end)
    end
  end
end
