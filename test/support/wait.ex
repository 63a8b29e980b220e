defmodule Sippet.Wait do
  @moduledoc false
  # For what tells nobody when it comes about.

  import ExUnit.Assertions

  @patience 20_000
  @pause 10

  @doc """
  Waits until a condition holds, for so many milliseconds at most; `what` says in a failure what did not come about.
  """
  @spec wait_until((() -> as_boolean(term)), term, integer) :: :ok
  def wait_until(condition, what \\ "it", ms \\ @patience) do
    cond do
      condition.() -> :ok
      ms <= 0 -> flunk("#{inspect(what)} did not come about in time")
      true -> pause() && wait_until(condition, what, ms - @pause)
    end
  end

  # The mailbox is the test's: nothing is taken from it.
  defp pause, do: receive(do: (:never -> true), after: (@pause -> true))
end
