defmodule Sippet.Transactions.Supervisor do
  @moduledoc false
  # The processes that transactions live with. They know each other's entries, so they start anew together; a
  # machine is no part of that: it is temporary, and its crash is its own.

  use Supervisor

  alias Sippet.Stack
  alias Sippet.Transactions.{Dialogs, Directory, Shelf}

  # A part that is killed comes back while calls go on: that many in a row are no reason to give up.
  @restarts [max_restarts: 50, max_seconds: 5]

  # Milliseconds in which no machine starts or ends, after which their supervisors give back what a flood had them hold.
  @rest 1_000

  @spec start_link(Stack.t()) :: Supervisor.on_start()
  def start_link(stack), do: Supervisor.start_link(__MODULE__, stack)

  @impl true
  def init(stack) do
    registries = [stack.name, Dialogs.name(stack.name)]
    Stack.await_end([Directory.machines(stack.name) | registries])
    partitions = System.schedulers_online()

    children = [
      {Registry, keys: :unique, name: stack.name, partitions: partitions},
      Supervisor.child_spec({Registry, keys: :unique, name: Dialogs.name(stack.name)},
        id: Dialogs
      ),
      {Shelf, stack},
      {PartitionSupervisor,
       [
         name: Directory.machines(stack.name),
         child_spec: {DynamicSupervisor, hibernate_after: @rest},
         partitions: partitions
       ] ++
         @restarts}
    ]

    Supervisor.init(children, [strategy: :one_for_all] ++ @restarts)
  end
end
