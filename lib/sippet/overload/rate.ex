defmodule Sippet.Overload.Rate do
  @moduledoc false
  # So many a second, shared out among their sources. Who comes first in a new second clears the counts of the last one;
  # no process keeps the time.

  alias Sippet.Overload.FairShare

  @enforce_keys [:second, :sources]
  defstruct [:second, :sources]

  @type t :: %__MODULE__{second: :atomics.atomics_ref(), sources: FairShare.t()}

  @spec new() :: t
  def new, do: %__MODULE__{second: :atomics.new(1, []), sources: FairShare.new()}

  @doc """
  Takes one of this second's, if the source may have it.
  """
  @spec take?(t, FairShare.source(), pos_integer | :infinity, pos_integer) :: boolean
  def take?(%__MODULE__{}, _source, :infinity, _share), do: true

  def take?(%__MODULE__{sources: sources} = rate, source, limit, share) do
    turn(rate, System.monotonic_time(:second))
    room? = FairShare.room?(sources, source, limit, share)
    if room?, do: FairShare.add(sources, source, 1)
    room?
  end

  defp turn(%__MODULE__{second: ref, sources: sources}, second) do
    last = :atomics.get(ref, 1)

    # Of several that see the new second one clears.
    if last != second and :atomics.compare_exchange(ref, 1, last, second) == :ok,
      do: FairShare.clear(sources)
  end
end
