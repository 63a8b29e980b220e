defmodule Sippet.DigestAuth.Clock do
  @moduledoc false
  # The time that nonces carry: the wall clock's, which never goes back as long as the VM runs. A
  # clock that is set back would give new nonces the times of old ones: a store could not tell
  # which it had seen, nor which came before its start. So the time goes on from what it was, by
  # the monotonic clock, and a clock that is set forward is followed. In a VM that does not warp
  # time, as is the default, this is `System.system_time/1`.

  # Microseconds. What a VM that warps time corrects every minute is less; it is not worth a
  # write, which all processes may have to look at (`:persistent_term`).
  @step 1_000_000

  @doc """
  Microseconds since 1970.
  """
  @spec now() :: integer
  def now, do: System.monotonic_time(:microsecond) + offset(System.time_offset(:microsecond))

  # The most that the wall clock was ahead of the monotonic one. Two processes may see a step at
  # once: where the lesser is written last, whoever reads next writes again.
  defp offset(current) do
    case :persistent_term.get(__MODULE__, nil) do
      highest when is_integer(highest) and current - highest < @step ->
        highest

      _lower ->
        :persistent_term.put(__MODULE__, current)
        current
    end
  end
end
