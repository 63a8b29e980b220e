defmodule Sippet.Registration.Delay do
  @moduledoc false
  # How long a registration waits, in milliseconds: for its refresh, and after a failure.

  # A day. A registrar may grant more, and is asked all the same.
  @longest 86_400

  # Seconds before the end of a long registration.
  @margin 600

  @doc """
  The most seconds that count where a registrar says how long to wait, or for how long to
  register.
  """
  @spec longest() :: pos_integer
  def longest, do: @longest

  @doc """
  When to refresh what was granted for so many seconds: at half of the time, #{@margin} s before
  its end if that is later, and at least once a day.
  """
  @spec refresh(seconds :: pos_integer) :: pos_integer
  def refresh(granted) when granted > 2 * @margin, do: min(granted - @margin, @longest) * 1_000
  def refresh(granted), do: granted * 500

  @doc """
  The delay after so many failures in a row that may pass by themselves.
  """
  @spec back_off(pos_integer, pos_integer, pos_integer) :: pos_integer
  # RFC5626§4.5 - min(max-time, base-time * 2 ^ consecutive-failures), of which 50 to 100 %
  def back_off(failures, base_time, max_time), do: spread(upper(failures, base_time, max_time))

  # The power is not computed where it is too large.
  defp upper(0, time, max_time), do: min(time, max_time)
  defp upper(_failures, time, max_time) when time >= max_time, do: max_time
  defp upper(failures, time, max_time), do: upper(failures - 1, time * 2, max_time)

  @doc """
  The delay after a refusal, which is for somebody to mend.
  """
  @spec refused(pos_integer) :: pos_integer
  def refused(max_time), do: spread(max_time)

  # Those that lost the same registrar don't come back at the same moment.
  defp spread(upper), do: upper - :rand.uniform(div(upper, 2) + 1) + 1
end
