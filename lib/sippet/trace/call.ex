defmodule Sippet.Trace.Call do
  @moduledoc """
  The messages of one Call-ID, in the order of their times, or of several that
  `Sippet.Trace.merge/2` has joined.

      iex> Sippet.Trace.Call.group([])
      []

  What could not be read far enough to have a Call-ID stands in a call of its own, whose `call_id` is `nil`.

    * `call_id` - the Call-ID; of several, that of the call that began first
    * `merged` - the Call-IDs of the other legs, in the order in which they began
    * `entries` - the messages
  """

  alias Sippet.Trace.Entry

  @enforce_keys [:call_id, :entries]
  defstruct [:call_id, :entries, merged: []]

  @type t :: %__MODULE__{
          call_id: String.t() | nil,
          merged: [String.t()],
          entries: [Entry.t(), ...]
        }

  @doc """
  Puts entries into calls, in the order in which the calls begin.

  Entries without a time stay where they stand.
  """
  @spec group([Entry.t()]) :: [t]
  def group(entries) do
    sorted = sorted(entries)
    by_call = Enum.group_by(sorted, & &1.call_id)

    for call_id <- sorted |> Enum.map(& &1.call_id) |> Enum.uniq(),
        do: %__MODULE__{call_id: call_id, entries: by_call[call_id]}
  end

  # The sort is stable.
  defp sorted(entries), do: Enum.sort_by(entries, &(&1.time || 0))

  @doc """
  Returns the Call-IDs of a call, that of the first leg first.
  """
  @spec ids(t) :: [String.t() | nil, ...]
  def ids(%__MODULE__{call_id: call_id, merged: merged}), do: [call_id | merged]

  @doc false
  # One call of several, which stand in the order in which they began.
  @spec join([t, ...]) :: t
  def join([call]), do: call

  def join([first | _] = calls) do
    [_first | merged] = calls |> Enum.flat_map(&ids/1) |> Enum.uniq()
    %{first | merged: merged, entries: calls |> Enum.flat_map(& &1.entries) |> sorted()}
  end
end
