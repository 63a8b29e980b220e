defmodule Sippet.AddressTest do
  use ExUnit.Case, async: true

  alias Sippet.Address

  # No text of UTF-8, no address, or more of it than an address has.
  @bad [
         "",
         "h.example.com",
         "\xFF\xFE",
         "[",
         "[]",
         "[::1",
         "::1]",
         "1.2.3",
         "1.2.3.4.5",
         "\0",
         "192.0.2.1 "
       ] ++
         [String.duplicate("9", 60_000), String.duplicate(":", 60_000)]

  describe "parse/1" do
    test "reads an address, with or without brackets" do
      assert Address.parse("192.0.2.73") == {:ok, {192, 0, 2, 73}}
      assert Address.parse("2001:DB8::1") == {:ok, {0x2001, 0xDB8, 0, 0, 0, 0, 0, 1}}
      assert Address.parse("[2001:db8::1]") == {:ok, {0x2001, 0xDB8, 0, 0, 0, 0, 0, 1}}
      assert {:ok, {0xFE80, 0, 0, 0, 0, 0, 0, 1}} = Address.parse("fe80::1%eth0")
    end

    test "reads IPv4 as OTP does" do
      octets = ["0", "9", "10", "255", "256", "1000", "00", "01", "", "a", "1 "]

      for a <- octets, b <- octets, c <- ["0", "300"], d <- octets do
        text = Enum.join([a, b, c, d], ".")

        case :inet.parse_strict_address(String.to_charlist(text)) do
          {:ok, address} -> assert Address.parse(text) == {:ok, address}
          {:error, :einval} -> assert Address.parse(text) == :error
        end
      end
    end

    test "refuses all other text" do
      for text <- ["[192.0.2.73]" | @bad], do: assert(Address.parse(text) == :error)
    end
  end

  describe "to_text/1" do
    test "writes an address without brackets" do
      assert Address.to_text({192, 0, 2, 73}) == "192.0.2.73"
      assert Address.to_text({0x2001, 0xDB8, 0, 0, 0, 0, 0, 1}) == "2001:db8::1"
    end
  end

  describe "to_host/1" do
    test "writes IPv6 in brackets" do
      assert Address.to_host({192, 0, 2, 73}) == "192.0.2.73"
      assert Address.to_host({0x2001, 0xDB8, 0, 0, 0, 0, 0, 1}) == "[2001:db8::1]"
    end
  end

  describe "host/1" do
    test "takes names and addresses, without brackets" do
      for text <- ["a", "pbx_1.example.com.", "192.0.2.1", "::1"],
          do: assert(Address.host(text) == {:ok, text})

      assert Address.host("[2001:DB8::1]") == {:ok, "2001:DB8::1"}
    end

    test "refuses what is neither" do
      for text <- ["", "a b", "a/b", "a:1", "[a]", "\xFF", "b\xC3\xBC", "\0"],
          do: assert(Address.host(text) == :error)

      assert Address.host(String.duplicate("a", 254)) == :error
    end
  end
end
