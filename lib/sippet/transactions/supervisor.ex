defmodule Sippet.Transactions.Supervisor do
  @moduledoc false
  # The processes that transactions live with. They know each other's entries, so they start anew together. A machine is
  # linked to the registry that it enters, and ends with it; its own crash is nobody else's.

  use Supervisor

  alias Sippet.Stack
  alias Sippet.Transactions.{Dialogs, Shelf}

  @spec start_link(Stack.t()) :: Supervisor.on_start()
  def start_link(stack), do: Supervisor.start_link(__MODULE__, stack)

  @impl true
  def init(stack) do
    registries = [stack.name, Dialogs.name(stack.name)]
    Stack.await_end(registries)

    children = [
      Supervisor.child_spec({Registry, keys: :unique, name: Dialogs.name(stack.name)},
        id: Dialogs
      ),
      {Shelf, stack},
      # The last to start is the first to end: machines use the others.
      {Registry, keys: :unique, name: stack.name, partitions: System.schedulers_online()}
    ]

    Supervisor.init(children, [strategy: :one_for_all] ++ Stack.restarts())
  end
end
