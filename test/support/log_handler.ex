defmodule Sippet.LogHandler do
  @moduledoc false
  # A handler of `:logger` that sends a test what a stack logs, as `{:logged, level, line, metadata}`.

  @doc """
  Has the calling test told of the lines of a stack until it ends.
  """
  def attach(stack) do
    id = :"#{inspect(stack)} #{System.unique_integer([:positive])}"
    config = %{config: %{test: self(), stack: stack}, level: :all}
    :ok = :logger.add_handler(id, __MODULE__, config)
    ExUnit.Callbacks.on_exit(fn -> :logger.remove_handler(id) end)
  end

  # A callback of `:logger`, in the process that logs.
  @doc false
  def log(%{level: level, msg: {:string, line}, meta: %{stack: stack} = meta}, %{
        config: %{stack: stack, test: test}
      }),
      do: send(test, {:logged, level, IO.chardata_to_string(line), meta})

  def log(_another, _config), do: :ok
end
