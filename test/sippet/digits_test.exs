defmodule Sippet.DigitsTest do
  use ExUnit.Case, async: true

  alias Sippet.Digits

  describe "parse/2,3" do
    test "reads what is digits alone" do
      assert Digits.parse("0", 9) == {:ok, 0}
      assert Digits.parse("3600", 4_294_967_295) == {:ok, 3600}
      assert Digits.parse("0000000042", 99) == {:ok, 42}
    end

    test "refuses any other text, and any other term" do
      for text <- ["", " 1", "1 ", "+1", "-1", "1.0", "0x1", "1_000", "abc", "1\n", "\xFF", "１"],
          do: assert(Digits.parse(text, 99) == :error)

      for term <- [nil, 1, :one, ~c"1", {1}], do: assert(Digits.parse(term, 99) == :error)
    end

    test "takes the largest number, and none above it" do
      assert Digits.parse("65535", 65_535) == {:ok, 65_535}
      assert Digits.parse("65536", 65_535) == :error
      assert Digits.parse("1", 0) == :error
    end

    test "reads hexadecimal digits in any letter case" do
      assert Digits.parse("0000001f", 0xFFFFFFFF, 16) == {:ok, 31}
      assert Digits.parse("FfFfFfFf", 0xFFFFFFFF, 16) == {:ok, 0xFFFFFFFF}
      assert Digits.parse("100000000", 0xFFFFFFFF, 16) == :error
      assert Digits.parse("1g", 0xFF, 16) == :error
      assert Digits.parse("1f", 0xFF) == :error
    end

    # `String.to_integer/1` takes quadratic time here; a step more for each octet is all that is
    # allowed.
    test "takes time that grows as the text, whatever its digits" do
      for digit <- ["0", "9"] do
        steps = fn octets -> steps(String.duplicate(digit, octets)) end
        assert steps.(60_000) <= 20 * max(steps.(6_000), 100)
      end
    end

    defp steps(text) do
      {:reductions, before} = Process.info(self(), :reductions)
      Digits.parse(text, 0xFFFFFFFF)
      {:reductions, since} = Process.info(self(), :reductions)
      since - before
    end
  end
end
