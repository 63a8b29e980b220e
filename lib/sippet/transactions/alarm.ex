defmodule Sippet.Transactions.Alarm do
  @moduledoc false
  # The one timer of a worker: it comes as `{:timeout, timer, :due}` when the earliest deadline has come. Where time stands
  # still there is none.

  alias Sippet.Stack
  alias Sippet.Transactions.Clock

  @doc """
  Has the calling worker look at its rows at this time at the latest.
  """
  @spec set(Stack.t(), integer | :never) :: :ok
  def set(_stack, :never), do: :ok

  def set(stack, at) do
    case Process.get(__MODULE__) do
      {_timer, set} when set <= at ->
        :ok

      {timer, _later} ->
        :erlang.cancel_timer(timer)
        start(stack, at)

      nil ->
        start(stack, at)
    end
  end

  defp start(stack, at) do
    unless Clock.virtual?(stack) do
      timer = :erlang.start_timer(at, self(), :due, abs: true)
      Process.put(__MODULE__, {timer, at})
    end

    :ok
  end

  @doc """
  Takes a timer that has come, and returns the time that it was set to; `:error` for one that was set anew.
  """
  @spec take(reference) :: {:ok, integer} | :error
  def take(timer) do
    case Process.get(__MODULE__) do
      {^timer, at} ->
        Process.delete(__MODULE__)
        {:ok, at}

      _another ->
        :error
    end
  end
end
