defmodule Sippet.TestTelemetry do
  @moduledoc false
  # Stands in for `:telemetry`: a stack with the option `telemetry: Sippet.TestTelemetry` sends each event to the process
  # that its option `:test` names, as `{:event, last_parts_of_its_name, measurements, metadata}`.

  alias Sippet.Stack

  def execute([:sippet | event], measurements, %{stack: name} = metadata) do
    send(Stack.fetch!(name).options.private.test, {:event, event, measurements, metadata})
    :ok
  end
end
