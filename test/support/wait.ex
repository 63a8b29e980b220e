defmodule Sippet.Wait do
  @moduledoc false
  # For what tells nobody when it comes about.

  import ExUnit.Assertions

  @patience 20_000
  @pause 10

  @doc """
  Waits until a condition holds, for so many milliseconds at most; `what` says in a failure what did not come about; it may be
  a function that is called then.
  """
  @spec wait_until((() -> as_boolean(term)), term, integer) :: :ok
  def wait_until(condition, what \\ "it", ms \\ @patience) do
    unless condition.() do
      assert ms > 0, "#{inspect(said(what))} did not come about in time"
      pause()
      wait_until(condition, what, ms - @pause)
    end

    :ok
  end

  defp said(what) when is_function(what, 0), do: what.()
  defp said(what), do: what

  # The mailbox is the test's: nothing is taken from it.
  defp pause, do: receive(do: (:never -> :ok), after: (@pause -> :ok))
end
