defmodule Sippet.Robustness.Tally do
  @moduledoc false
  # What the stack under load has logged, and what its core has heard of its own requests.

  @counted %{line: 1, response: 2, error: 3}

  @type what :: :line | :response | :error

  @spec new() :: :ok
  def new, do: :persistent_term.put(__MODULE__, :counters.new(map_size(@counted), []))

  @spec add(what) :: :ok
  def add(what), do: :counters.add(:persistent_term.get(__MODULE__), @counted[what], 1)

  @spec get(what) :: non_neg_integer
  def get(what), do: :counters.get(:persistent_term.get(__MODULE__), @counted[what])
end
