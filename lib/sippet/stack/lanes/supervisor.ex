defmodule Sippet.Stack.Lanes.Supervisor do
  @moduledoc false
  # Starts the lanes of a stack, which give the router what they take.

  use Supervisor

  alias Sippet.Stack
  alias Sippet.Stack.Lanes.Lane

  @spec start_link({Stack.t(), module}) :: Supervisor.on_start()
  def start_link({stack, router}), do: Supervisor.start_link(__MODULE__, {stack, router})

  @impl true
  def init({%Stack{lanes: %{names: names}} = stack, router}) do
    names = Tuple.to_list(names)
    Stack.await_end(names)

    children =
      for {name, index} <- Enum.with_index(names, 1),
          do: Supervisor.child_spec({Lane, {name, index, stack, router}}, id: name)

    Supervisor.init(children, [strategy: :one_for_one] ++ Stack.restarts())
  end
end
