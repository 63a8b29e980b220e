defmodule Sippet.Transports.STUNTest do
  use ExUnit.Case, async: true

  import Bitwise

  alias Sippet.Transports.STUN

  @cookie 0x2112A442
  @id "abcdefghijkl"
  @v4 {{192, 0, 2, 1}, 32_853}
  @v6 {{0x2001, 0xDB8, 0x1234, 0x5678, 0x11, 0x2233, 0x4455, 0x6677}, 32_853}

  # RFC 5769 §2.1: the sample request, with SOFTWARE, PRIORITY (0x0024) and ICE-CONTROLLED of another usage
  @rfc5769_request Base.decode16!(
                     "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74" <>
                       "002400046e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020" <>
                       "000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf",
                     case: :lower
                   )
  # RFC 5769 §2.2, §2.3: the transaction, and XOR-MAPPED-ADDRESS as printed there
  @rfc5769_id Base.decode16!("b7e7a701bc34d686fa87dfae", case: :lower)
  @rfc5769_mapped_v4 Base.decode16!("002000080001a147e112a643", case: :lower)
  @rfc5769_mapped_v6 Base.decode16!("002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9",
                       case: :lower
                     )

  defp request(attributes \\ "", type \\ 1, id \\ @id),
    do: <<type::16, byte_size(attributes)::16, @cookie::32, id::binary, attributes::binary>>

  defp attribute(type, value) do
    padding = rem(4 - rem(byte_size(value), 4), 4)
    <<type::16, byte_size(value)::16, value::binary, 0xFF::size(padding)-unit(8)>>
  end

  defp fingerprinted(attributes) do
    length = byte_size(attributes) + 8
    covered = <<1::16, length::16, @cookie::32, @id, attributes::binary>>
    covered <> <<0x8028::16, 4::16, bxor(:erlang.crc32(covered), 0x5354554E)::32>>
  end

  defp parse({:ok, <<type::16, length::16, @cookie::32, id::binary-size(12), rest::binary>>}) do
    assert byte_size(rest) == length
    {type, id, attributes(rest)}
  end

  defp attributes(<<>>), do: []

  defp attributes(<<type::16, length::16, rest::binary>>) do
    {value, rest} = :erlang.split_binary(rest, length)
    {padding, rest} = :erlang.split_binary(rest, rem(4 - rem(length, 4), 4))
    assert padding in ["", <<0>>, <<0, 0>>, <<0, 0, 0>>]
    [{type, value} | attributes(rest)]
  end

  describe "stun?/1" do
    test "is told by the first octet" do
      for octet <- 0..3, do: assert(STUN.stun?(<<octet, "IP/2.0">>))
      for octet <- 4..255, do: refute(STUN.stun?(<<octet, "IP/2.0">>))
      refute STUN.stun?("")
    end
  end

  describe "RFC8489§6.3.1 a Binding request" do
    test "is answered with the address it came from, as RFC 5769 prints it" do
      request = request("", 1, @rfc5769_id)

      assert {:ok, <<0x0101::16, 12::16, @cookie::32, @rfc5769_id, v4::binary>>} =
               STUN.answer(request, @v4)

      assert v4 == @rfc5769_mapped_v4

      assert {:ok, <<0x0101::16, 24::16, @cookie::32, @rfc5769_id, v6::binary>>} =
               STUN.answer(request, @v6)

      assert v6 == @rfc5769_mapped_v6
    end

    test "may carry what is known or need not be understood" do
      attributes =
        attribute(0x8022, "software") <> attribute(0x06, "user") <> attribute(0xC001, "")

      assert {0x0101, @id, [{0x20, _}]} = parse(STUN.answer(request(attributes), @v4))
    end

    test "with unknown attributes that must be understood is answered 420 with their list" do
      attributes =
        attribute(0x0024, "1234") <>
          attribute(0x8022, "x") <> attribute(0x7FFF, "") <> attribute(0x0024, "again")

      assert {0x0111, @id, [{0x09, <<0::21, 4::3, 20, reason::binary>>}, {0x0A, unknown}]} =
               parse(STUN.answer(request(attributes), @v4))

      assert reason == "Unknown Attribute"
      assert unknown == <<0x0024::16, 0x7FFF::16>>
    end

    test "is not refused for what follows MESSAGE-INTEGRITY" do
      unknown = attribute(0x0024, "1234")

      for {type, size} <- [{0x08, 20}, {0x1C, 32}] do
        integrity = attribute(type, String.duplicate("i", size))
        assert {0x0101, _, _} = parse(STUN.answer(request(integrity <> unknown), @v4))
        assert {0x0111, _, _} = parse(STUN.answer(request(unknown <> integrity), @v4))

        assert {0x0101, _, [_, {0x8028, _}]} =
                 parse(STUN.answer(fingerprinted(integrity <> unknown), @v4))
      end
    end
  end

  describe "RFC8489§14.7 FINGERPRINT" do
    test "is answered with one" do
      assert {:ok, answer} = STUN.answer(fingerprinted(attribute(0x8022, "x")), @v4)
      assert {0x0101, @id, [{0x20, _}, {0x8028, <<crc::32>>}]} = parse({:ok, answer})
      covered = binary_part(answer, 0, byte_size(answer) - 8)
      assert crc == bxor(:erlang.crc32(covered), 0x5354554E)
    end

    test "of RFC 5769 §2.1 is right, and the request's PRIORITY unknown" do
      assert {0x0111, @rfc5769_id, [{0x09, _}, {0x0A, <<0x24::16>>}, {0x8028, _}]} =
               parse(STUN.answer(@rfc5769_request, @v4))
    end

    test "that is wrong, or not the last, means that it is no STUN" do
      right = fingerprinted("")
      <<crc::32>> = binary_part(right, byte_size(right), -4)
      wrong = binary_part(right, 0, byte_size(right) - 4) <> <<crc + 1::32>>
      assert {:ok, _answer} = STUN.answer(right, @v4)
      assert STUN.answer(wrong, @v4) == :drop

      for attributes <- [
            attribute(0x8028, "1234") <> attribute(0x8022, ""),
            attribute(0x8028, "12345678")
          ],
          do: assert(STUN.answer(request(attributes), @v4) == :drop)
    end
  end

  describe "RFC8489§5 what is dropped" do
    test "any other type of message" do
      for type <- [0x0000, 0x0002, 0x0003, 0x0011, 0x0101, 0x0111, 0x03FF],
          do: assert(STUN.answer(request("", type), @v4) == :drop)
    end

    test "a wrong cookie, as of RFC 3489, and a wrong length" do
      assert STUN.answer(<<1::16, 0::16, 0::32, @id>>, @v4) == :drop
      assert STUN.answer(request() <> "more", @v4) == :drop
      assert STUN.answer(<<1::16, 4::16, @cookie::32, @id>>, @v4) == :drop
      assert STUN.answer(<<0, 0, 0, 0>>, @v4) == :drop
    end

    test "every cut of a request, and attributes that run over its end" do
      whole = fingerprinted(attribute(0x8022, "software"))

      for size <- 0..(byte_size(whole) - 1),
          do: assert(STUN.answer(binary_part(whole, 0, size), @v4) == :drop)

      for size <- 1..11,
          do: assert(STUN.answer(request(binary_part(whole, 20, size)), @v4) == :drop)

      assert STUN.answer(request(<<0x8022::16, 5::16, "four">>), @v4) == :drop
      assert STUN.answer(request(<<0x8022::16, 0xFFFF::16, "four">>), @v4) == :drop
    end
  end

  test "the answer to the largest request is smaller than it" do
    request = for(type <- 0x0030..0x3F00, into: "", do: attribute(type, "")) |> request()
    assert {:ok, answer} = STUN.answer(request, @v6)
    assert byte_size(answer) < byte_size(request)
  end
end
