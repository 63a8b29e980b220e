defmodule Sippet.Transactions.Supervisor do
  @moduledoc false
  # The processes that transactions live with. They know each other's entries, so they start anew together; a
  # machine is no part of that: it is temporary, and its crash is its own.

  use Supervisor

  alias Sippet.Stack
  alias Sippet.Transactions.{Dialogs, Shelf}

  # A part that is killed comes back while calls go on: that many in a row are no reason to give up.
  @restarts [max_restarts: 50, max_seconds: 5]

  @spec start_link(Stack.t()) :: Supervisor.on_start()
  def start_link(stack), do: Supervisor.start_link(__MODULE__, stack)

  @doc """
  The name of the supervisors of the machines. The stack's name is the programmer's, so the atom is too.
  """
  @spec machines(atom) :: atom
  def machines(stack), do: Module.concat(stack, Machines)

  @impl true
  def init(stack) do
    partitions = System.schedulers_online()

    children = [
      {Registry, keys: :unique, name: stack.name, partitions: partitions},
      Supervisor.child_spec({Registry, keys: :unique, name: Dialogs.name(stack.name)},
        id: Dialogs
      ),
      {Shelf, stack},
      {PartitionSupervisor,
       [name: machines(stack.name), child_spec: DynamicSupervisor, partitions: partitions] ++
         @restarts}
    ]

    Supervisor.init(children, [strategy: :one_for_all] ++ @restarts)
  end
end
