defmodule Sippet.Overload.FairShareTest do
  use ExUnit.Case, async: true

  alias Sippet.Overload.FairShare

  @host {:udp, {192, 0, 2, 7}, 5060}
  @same_host {:udp, {192, 0, 2, 7}, 5061}
  @other {:udp, {192, 0, 2, 8}, 5060}

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
    # 16/21, by the two looks at a share of 4.
    assert fill(counters, @host, 1_000) in 760..764
    # Four fifths of what is left.
    assert fill(counters, @same_host, 1_000) in 20..60
    assert fill(counters, @other, 1_000) in 140..180
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
    assert fill(counters, @other, 1) == 0
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

  test "another salt leads to other places" do
    # Two counters for the address, two with the port, ten bits each.
    [salt, pepper] = for salt <- ["salt", "pepper"], do: FairShare.locate(@host, salt)
    assert div(salt, 1_048_576) != div(pepper, 1_048_576)
    assert rem(salt, 1_048_576) != rem(pepper, 1_048_576)
  end

  test "clear/1 takes all back" do
    counters = FairShare.new()
    fill(counters, @host, 100)
    FairShare.clear(counters)
    assert fill(counters, @host, 100) == fill(FairShare.new(), @host, 100)
  end
end
