defmodule Sippet.Message.ViaTest do
  use ExUnit.Case, async: true

  alias Sippet.Message.Via

  @remote {:udp, {192, 0, 2, 7}, 4321}

  defp stamp(host, params, remote \\ @remote) do
    below = {{2, 0}, :udp, {"below", 5060}, %{"branch" => "b"}}

    [{{2, 0}, :udp, {^host, 5060}, stamped}, ^below] =
      Via.stamp([via(host, params), below], remote)

    stamped
  end

  defp via(host, params), do: {{2, 0}, :udp, {host, 5060}, params}

  # Where an answer goes to one who asked for nothing.
  @answered {{192, 0, 2, 7}, 5060}

  defp destination(host, params, obeyed \\ [], reliable? \\ false) do
    vias = Via.stamp([via(host, params)], @remote)
    Via.response_destination(vias, @remote, reliable?, obeyed)
  end

  describe "RFC3261§18.2.1 received" do
    test "is added where the sent-by is a name" do
      assert stamp("bobspc.biloxi.com", %{}) == %{"received" => "192.0.2.7"}
    end

    test "is added where the sent-by is another address" do
      assert stamp("10.0.0.1", %{}) == %{"received" => "192.0.2.7"}
    end

    test "is not added where the sent-by is the source" do
      assert stamp("192.0.2.7", %{"branch" => "z"}) == %{"branch" => "z"}
    end

    test "compares IPv6 addresses, not their text, and writes no brackets" do
      source = {:udp, {0x2001, 0xDB8, 0, 0, 0, 0, 0, 1}, 5060}
      assert stamp("2001:0db8:0:0::1", %{}, source) == %{}
      assert stamp("2001:db8::2", %{}, source) == %{"received" => "2001:db8::1"}
    end

    test "is added where the sent-by is no text" do
      for host <- ["\xFF", String.duplicate("9", 60_000)],
          do: assert(stamp(host, %{}) == %{"received" => "192.0.2.7"})
    end

    test "is never the sender's own word" do
      assert stamp("192.0.2.7", %{"received" => "203.0.113.9"}) == %{}
      assert stamp("10.0.0.1", %{"received" => "203.0.113.9"}) == %{"received" => "192.0.2.7"}
    end
  end

  describe "RFC3581§4 rport" do
    test "is filled in where it was asked for, and received then too" do
      assert stamp("192.0.2.7", %{"rport" => ""}) == %{
               "rport" => "4321",
               "received" => "192.0.2.7"
             }
    end

    test "is overwritten where the sender filled it in" do
      for rport <- ["1234", "abc", "-1", "99999"] do
        assert stamp("a", %{"rport" => rport}) == %{"rport" => "4321", "received" => "192.0.2.7"}
      end
    end

    test "is not added where nobody asked" do
      refute Map.has_key?(stamp("a", %{}), "rport")
    end
  end

  describe "RFC3261§18.2.2 the destination of a response" do
    test "is the source address and port where rport was asked for" do
      assert destination("a", %{"rport" => ""}) == {{192, 0, 2, 7}, 4321}
    end

    test "is the source address and the sent-by's port otherwise" do
      assert destination("a", %{}) == {{192, 0, 2, 7}, 5060}
      assert destination("192.0.2.7", %{}) == {{192, 0, 2, 7}, 5060}
    end

    test "is the connection's other end on a reliable transport" do
      assert destination("a", %{"maddr" => "203.0.113.9"}, [:unicast], true) ==
               {{192, 0, 2, 7}, 4321}
    end

    test "is a unicast maddr only where it is obeyed" do
      assert destination("a", %{"maddr" => "203.0.113.9"}, [:multicast]) == @answered
      assert destination("a", %{"maddr" => "203.0.113.9"}, [:unicast]) == {{203, 0, 113, 9}, 5060}
      assert destination("a", %{"maddr" => "host.example"}, [:unicast]) == {"host.example", 5060}
    end

    test "is a multicast maddr only where it is obeyed" do
      assert destination("a", %{"maddr" => "224.0.1.75"}, [:unicast]) == @answered
      assert destination("a", %{"maddr" => "224.0.1.75"}, [:multicast]) == {{224, 0, 1, 75}, 5060}

      for text <- ["ff02::1", "[ff02::1]"] do
        assert {{0xFF02, _, _, _, _, _, _, _}, 5060} =
                 destination("a", %{"maddr" => text}, [:multicast])
      end
    end

    test "is what it would be without the maddr that is not obeyed" do
      for maddr <- ["203.0.113.9", "host.example", "224.0.1.75", ""] do
        asked = %{"maddr" => maddr, "rport" => ""}
        assert destination("a", asked) == {{192, 0, 2, 7}, 4321}
        assert destination("192.0.2.7", asked) == {{192, 0, 2, 7}, 4321}
      end
    end

    test "is the source where the maddr names no host" do
      for maddr <- ["", "\xFF\xFE", "a b", String.duplicate("9", 60_000)],
          obeyed <- [[], [:unicast, :multicast]] do
        assert destination("a", %{"maddr" => maddr}, obeyed) == @answered
      end
    end

    test "is never what a false received names" do
      assert destination("a", %{"received" => "203.0.113.9"}) == {{192, 0, 2, 7}, 5060}
    end
  end
end
