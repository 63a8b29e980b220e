defmodule Sippet.Overload.FairShareTest do
  use ExUnit.Case, async: true

  alias Sippet.Overload.FairShare

  @host {:udp, {192, 0, 2, 7}, 5060}
  @same_host {:udp, {192, 0, 2, 7}, 5061}
  @other {:udp, {192, 0, 2, 8}, 5060}
  @elsewhere {:udp, {198, 51, 100, 8}, 5060}

  defp source(remote), do: FairShare.locate(remote, "salt")

  # Takes until no more is given.
  defp fill(counters, remote, limit, share \\ 4) do
    source = source(remote)

    if FairShare.room?(counters, source, limit, share) do
      FairShare.add(counters, source, 1)
      1 + fill(counters, remote, limit, share)
    else
      0
    end
  end

  test "one source gets most of a limit, others a part of what is left" do
    counters = FairShare.new()
    # 64/85, by the three looks at a share of 4.
    assert fill(counters, @host, 1_000) in 751..755
    # What is left to its address, to its network, and to others.
    assert fill(counters, @same_host, 1_000) in 5..50
    assert fill(counters, @other, 1_000) in 10..60
    assert fill(counters, @elsewhere, 1_000) in 100..180
    assert FairShare.total(counters) < 1_000
  end

  test "who may have a larger share gets in where others do not" do
    counters = FairShare.new()
    fill(counters, @host, 1_000)
    refute FairShare.room?(counters, source(@host), 1_000, 4)
    assert FairShare.room?(counters, source(@host), 1_000, 9)
  end

  test "a limit of one lets one in" do
    counters = FairShare.new()
    assert fill(counters, @host, 1) == 1
    assert fill(counters, @elsewhere, 1) == 0
  end

  test "the more sources flood at once, the less each gets, and some is left for another" do
    counters = FairShare.new()

    for _round <- 1..1_000, n <- 1..50 do
      source = source({:udp, {198, 51, 100, n}, 5060})
      if FairShare.room?(counters, source, 10_000, 4), do: FairShare.add(counters, source, 1)
    end

    assert fill(counters, @other, 10_000) > 20
  end

  test "what is given back may be had again" do
    counters = FairShare.new()
    count = fill(counters, @host, 100)
    FairShare.add(counters, source(@host), -10)
    assert fill(counters, @host, 100) == 10
    assert FairShare.total(counters) == count
  end

  test "infinity is no limit" do
    assert FairShare.room?(FairShare.new(), source(@host), :infinity, 4)
  end

  test "a host of IPv6 is the /64 that it sends from" do
    counters = FairShare.new()

    for n <- 1..1_000,
        source = source({:udp, {0x2001, 0xDB8, 0, 1, n, n, n, n}, 5060}),
        FairShare.room?(counters, source, 1_000, 4),
        do: FairShare.add(counters, source, 1)

    assert FairShare.total(counters) in 750..801

    refute FairShare.room?(
             counters,
             source({:udp, {0x2001, 0xDB8, 0, 1, 9, 0, 0, 0}, 5060}),
             1_000,
             4
           )

    assert FairShare.room?(
             counters,
             source({:udp, {0x2001, 0xDB8, 0, 2, 9, 0, 0, 0}, 5060}),
             1_000,
             4
           )
  end

  test "nor does it help to have a /56, a /48 or a /24: all others get in" do
    for {name, remote} <- [
          {"/24", fn n -> {{192, 0, 2, rem(n, 256)}, n} end},
          {"/56", fn n -> {{0x2001, 0xDB8, 1, 0x100 + rem(n, 256), 0, 0, 0, n}, 5060} end},
          {"/48", fn n -> {{0x2001, 0xDB8, 1, n, 0, 0, 0, 1}, 5060} end}
        ] do
      counters = FairShare.new()

      for n <- 1..12_000 do
        {ip, port} = remote.(n)
        source = source({:udp, ip, port})
        if FairShare.room?(counters, source, 10_000, 4), do: FairShare.add(counters, source, 1)
      end

      assert {name, FairShare.total(counters)} <= {name, 8_001}
      assert FairShare.room?(counters, source(@elsewhere), 10_000, 4)

      assert FairShare.room?(
               counters,
               source({:udp, {0x2001, 0xDB8, 2, 1, 0, 0, 0, 1}, 1}),
               10_000,
               4
             )
    end
  end

  test "another salt leads to other places" do
    # Two counters for each level, of nine and ten bits.
    [salt, pepper] = for salt <- ["salt", "pepper"], do: FairShare.locate(@host, salt)

    for level <- [1, 1_048_576, 1_048_576 * 1_048_576] do
      [one, other] = for place <- [salt, pepper], do: rem(div(place, level), 1_048_576)
      assert one != other
    end
  end

  test "clear/1 takes all back" do
    counters = FairShare.new()
    fill(counters, @host, 100)
    FairShare.clear(counters)
    assert fill(counters, @host, 100) == fill(FairShare.new(), @host, 100)
  end
end
