defmodule Sippet.Overload.Auditor do
  @moduledoc false
  # Looks now and then whether the processes of the ledger live: one that was killed would count for ever.

  use GenServer

  alias Sippet.Overload

  # Milliseconds between two looks. Each costs a microsecond for five processes.
  @interval 2_000

  @spec start_link(map) :: GenServer.on_start()
  def start_link(stack), do: GenServer.start_link(__MODULE__, stack)

  @impl true
  def init(stack), do: {:ok, stack, @interval}

  @impl true
  def handle_info(_message, stack) do
    Overload.audit(stack)
    {:noreply, stack, @interval}
  end
end
