defmodule Sippet.Trace.Call do
  @moduledoc """
  The messages of one Call-ID, in the order of their times.

      iex> Sippet.Trace.Call.group([])
      []

  What could not be read far enough to have a Call-ID stands in a call of its own, whose `call_id` is `nil`.
  """

  alias Sippet.Trace.Entry

  @enforce_keys [:call_id, :entries]
  defstruct [:call_id, :entries]

  @type t :: %__MODULE__{call_id: String.t() | nil, entries: [Entry.t(), ...]}

  @doc """
  Puts entries into calls, in the order in which the calls begin.

  Entries without a time stay where they stand.
  """
  @spec group([Entry.t()]) :: [t]
  def group(entries) do
    # The sort is stable.
    sorted = Enum.sort_by(entries, &(&1.time || 0))
    by_call = Enum.group_by(sorted, & &1.call_id)

    for call_id <- sorted |> Enum.map(& &1.call_id) |> Enum.uniq(),
        do: %__MODULE__{call_id: call_id, entries: by_call[call_id]}
  end
end
