defmodule Sippet.Transactions.WorkerSupervisor do
  @moduledoc false
  # Starts the workers of a stack, each anew by itself.

  use Supervisor

  alias Sippet.Stack
  alias Sippet.Transactions.{Worker, Workers}

  @spec start_link({Stack.t(), module}) :: Supervisor.on_start()
  def start_link({stack, inbound}), do: Supervisor.start_link(__MODULE__, {stack, inbound})

  @impl true
  def init({stack, inbound}) do
    names = Workers.names(stack)
    Stack.await_end(names)

    children =
      for {name, index} <- Enum.with_index(names, 1),
          do: Supervisor.child_spec({Worker, {name, index, stack, inbound}}, id: name)

    Supervisor.init(children, [strategy: :one_for_one] ++ Stack.restarts())
  end
end
