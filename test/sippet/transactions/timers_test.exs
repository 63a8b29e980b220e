defmodule Sippet.Transactions.TimersTest do
  use ExUnit.Case, async: true

  alias Sippet.Transactions.Timers

  @defaults Sippet.Stack.Options.new(name: :any)
  @unreliable {@defaults, false}
  @reliable {@defaults, true}

  describe "RFC3261 table 4, with the defaults" do
    for {timer, unreliable, reliable} <- [
          {:a, 500, :never},
          {:b, 32_000, 32_000},
          {:d, 32_000, 0},
          {:e, 500, :never},
          {:f, 32_000, 32_000},
          {:g, 500, :never},
          {:h, 32_000, 32_000},
          {:i, 5_000, 0},
          {:j, 32_000, 0},
          {:k, 5_000, 0},
          {:l, 32_000, 32_000},
          {:m, 32_000, 32_000},
          {:invite_trying, 200, 200},
          {:trying, 3_500, 3_500},
          {:no_answer, 32_000, 32_000},
          {:invite_no_answer, 60_000, 60_000},
          {:invite_ringing, 200_000, 200_000},
          {:cancelled, 32_000, 32_000},
          {:repeat, 500, 500}
        ] do
      test "#{timer}" do
        assert Timers.first(unquote(timer), @unreliable) == unquote(unreliable)
        assert Timers.first(unquote(timer), @reliable) == unquote(reliable)
      end
    end
  end

  describe "first/2" do
    test "Timer D is 32 s at least, whatever T1 is" do
      assert Timers.first(:d, {%{@defaults | t1: 100}, false}) == 32_000
      assert Timers.first(:d, {%{@defaults | t1: 1_000}, false}) == 64_000
    end

    test "a 100 waits until Timer E is T2" do
      assert Timers.first(:trying, {%{@defaults | t1: 1_000}, false}) == 3_000
      assert Timers.first(:trying, {%{@defaults | t1: 300}, false}) == 300 * (1 + 2 + 4 + 8)
      assert Timers.first(:trying, {%{@defaults | t1: 4_000}, false}) == 0
    end
  end

  describe "at/3" do
    test "is the time from now on, which may be below zero" do
      assert Timers.at(:b, 7, @unreliable) == 32_007
      assert Timers.at(:b, -576_460_751_000, @unreliable) == -576_460_719_000
      assert Timers.at(:j, 7, @reliable) == 7
    end

    test "is never for a timer that is not set" do
      for timer <- [:a, :e, :g], do: assert(Timers.at(timer, 7, @reliable) == :never)
    end
  end

  describe "next/3" do
    test "Timer A doubles without end" do
      assert Timers.next(:a, 16_000, @unreliable) == 32_000
    end

    test "Timers E and G, and the interval of a 2xx, double up to T2" do
      for timer <- [:e, :g, :repeat] do
        assert Timers.next(timer, 500, @unreliable) == 1_000
        assert Timers.next(timer, 2_500, @unreliable) == 4_000
        assert Timers.next(timer, 4_000, @unreliable) == 4_000
      end
    end
  end

  test "the documentation has every timer" do
    {:docs_v1, _, _, _, %{"en" => text}, _, _} = Code.fetch_docs(Timers)
    for timer <- ~w(a b d e f g h i j k l m), do: assert(text =~ "| `#{timer}` |")
  end
end
