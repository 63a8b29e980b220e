defmodule Sippet.Interop.Events do
  @moduledoc false
  # Stands where `:telemetry` would: tells the test that watches a stack of its events.

  alias Sippet.Interop.Notebook

  @spec execute([atom], map, map) :: :ok
  def execute(event, measurements, %{stack: stack} = metadata),
    do: Notebook.tell(stack, {:event, event, measurements, metadata})
end
