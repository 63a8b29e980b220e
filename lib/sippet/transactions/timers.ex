defmodule Sippet.Transactions.Timers do
  # One table of the timers: how long, how long when it is set again, how long over a reliable transport, and where
  # that is written. The documentation below is made of it.
  @rows [
    {:a, {1, :t1}, :doubles, :never, "RFC 3261 §17.1.1.2", "repeats an INVITE"},
    {:b, {64, :t1}, :once, :same, "RFC 3261 §17.1.1.2", "ends an INVITE without a response"},
    {:d, {:at_least, :least_d, {64, :t1}}, :once, 0, "RFC 3261 §17.1.1.2",
     "keeps the ACK for repeated final responses"},
    {:e, {1, :t1}, :doubles_to_t2, :never, "RFC 3261 §17.1.2.2", "repeats a request"},
    {:f, {64, :t1}, :once, :same, "RFC 3261 §17.1.2.2",
     "ends a request without a final response"},
    {:g, {1, :t1}, :doubles_to_t2, :never, "RFC 3261 §17.2.1",
     "repeats the final response to an INVITE"},
    {:h, {64, :t1}, :once, :same, "RFC 3261 §17.2.1", "ends the wait for an ACK"},
    {:i, {1, :t4}, :once, 0, "RFC 3261 §17.2.1", "absorbs repeated ACKs"},
    {:j, {64, :t1}, :once, 0, "RFC 3261 §17.2.2", "absorbs repeated requests"},
    {:k, {1, :t4}, :once, 0, "RFC 3261 §17.1.2.2", "absorbs repeated responses"},
    {:l, {64, :t1}, :once, :same, "RFC 6026 §7.1", "absorbs INVITEs repeated after a 2xx"},
    {:m, {64, :t1}, :once, :same, "RFC 6026 §7.2", "takes further 2xx of an INVITE"},
    {:invite_trying, 200, :once, :same, "RFC 3261 §17.2.1",
     "answers 100 to an INVITE that the core has not answered"},
    {:trying, :until_e_is_t2, :once, :same, "RFC 4320 §4.1",
     "answers 100 to any other request that the core has not answered"},
    {:no_answer, {64, :t1}, :once, :same, "none",
     "ends any other request that the core never answers"},
    {:invite_no_answer, {1, :answer_timeout}, :once, :same, "none",
     "answers 500 to an INVITE that the core never answers"},
    {:invite_ringing, {1, :ring_timeout}, :once, :same, "none",
     "answers 500 to an INVITE that rings, from each 101-199 of the core on"},
    {:cancelled, {64, :t1}, :once, :same, "RFC 3261 §9.1",
     "ends a cancelled INVITE without a final response"},
    {:repeat, {1, :t1}, :doubles_to_t2, :same, "RFC 3261 §13.3.1.4",
     "repeats a 2xx until its ACK comes"},
    {:repeat_1xx, {1, :t1}, :doubles, :same, "RFC 3262 §3",
     "repeats a reliable provisional response until its PRACK comes"},
    {:prack, {64, :t1}, :once, :same, "RFC 3262 §3",
     "answers 504 to an INVITE whose reliable provisional response gets no PRACK"}
  ]

  texts = fn
    {1, name} -> to_string(name)
    {64, :t1} -> "64·t1"
    {:at_least, :least_d, {64, :t1}} -> "64·t1, at least 32 s"
    :until_e_is_t2 -> "until Timer E is set to t2: 7·t1 with the defaults"
    ms -> "#{ms} ms"
  end

  rows =
    for {name, first, growth, reliable, clause, text} <- @rows do
      again =
        case growth do
          :once -> ""
          :doubles -> ", doubled each time"
          :doubles_to_t2 -> ", doubled up to t2"
        end

      "| `#{name}` | #{texts.(first)}#{again} | #{reliable} | #{clause} | #{text} |\n"
    end

  @moduledoc """
  The timers of the transactions, in milliseconds of a stack's options `:t1`, `:t2`, `:t4`, `:answer_timeout` and
  `:ring_timeout`.

  | timer | time | reliable transport | clause | what for |
  |---|---|---|---|---|
  #{rows}
  """

  # RFC3261§17.1.1.2 - T1 of the far end is not known, so Timer D has an absolute minimum
  @least_d 32_000

  @type name ::
          :a
          | :b
          | :d
          | :e
          | :f
          | :g
          | :h
          | :i
          | :j
          | :k
          | :l
          | :m
          | :invite_trying
          | :trying
          | :no_answer
          | :invite_no_answer
          | :invite_ringing
          | :cancelled
          | :repeat
          | :repeat_1xx
          | :prack

  @typedoc false
  # The stack's options, and whether the transaction's transport is a reliable one.
  @type t :: {Sippet.Stack.Options.t(), reliable? :: boolean}

  @doc """
  Returns for how many milliseconds the timer is set first, or `:never` where it is not set at all.
  """
  @spec first(name, t) :: non_neg_integer | :never
  def first(name, timers)

  for {name, first, _growth, reliable, _clause, _text} <- @rows do
    if reliable == :same do
      def first(unquote(name), {options, _reliable?}),
        do: ms(unquote(Macro.escape(first)), options)
    else
      def first(unquote(name), {_options, true}), do: unquote(reliable)
      def first(unquote(name), {options, false}), do: ms(unquote(Macro.escape(first)), options)
    end
  end

  @doc """
  Returns when a timer that is set now fires, or `:never`.
  """
  @spec at(name, integer, t) :: integer | :never
  def at(name, now, timers) do
    case first(name, timers) do
      :never -> :never
      ms -> now + ms
    end
  end

  @doc """
  Returns for how many milliseconds the timer is set again when it fired after `interval`.
  """
  @spec next(name, pos_integer, t) :: pos_integer
  def next(name, interval, timers)

  for {name, _first, growth, _reliable, _clause, _text} <- @rows do
    case growth do
      :once ->
        :ok

      :doubles ->
        def next(unquote(name), interval, _timers), do: 2 * interval

      :doubles_to_t2 ->
        def next(unquote(name), interval, {%{t2: t2}, _}), do: min(2 * interval, t2)
    end
  end

  defp ms({factor, name}, options), do: factor * Map.fetch!(options, name)

  # A test may have a lower minimum; users have no such option.
  defp ms({:at_least, :least_d, time}, options),
    do: max(Map.get(options.private, :least_d, @least_d), ms(time, options))

  defp ms(:until_e_is_t2, %{t1: t1, t2: t2}), do: until(t1, t2, 0)
  defp ms(ms, _options) when is_integer(ms), do: ms

  defp until(interval, t2, elapsed) when interval >= t2, do: elapsed
  defp until(interval, t2, elapsed), do: until(2 * interval, t2, elapsed + interval)
end
