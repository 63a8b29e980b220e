defmodule Sippet.Transactions.WorkerSupervisor do
  @moduledoc false
  # Starts the workers of a stack, each anew by itself.

  use Supervisor

  alias Sippet.Stack
  alias Sippet.Transactions.{Worker, Workers}

  @spec start_link({Stack.t(), module}) :: Supervisor.on_start()
  def start_link({stack, router}), do: Supervisor.start_link(__MODULE__, {stack, router})

  @impl true
  def init({stack, router}) do
    names = Workers.names(stack)
    Stack.await_end(names)

    children =
      for {name, index} <- Enum.with_index(names, 1),
          do: Supervisor.child_spec({Worker, {name, index, stack, router}}, id: name)

    Supervisor.init(children, [strategy: :one_for_one] ++ Stack.restarts())
  end
end
