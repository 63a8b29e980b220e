defmodule Sippet.Standstill do
  @moduledoc false
  # Has the time of a stack stand still that was started as users start theirs, so that a test need not wait for
  # timers. From then on `Sippet.Transactions.advance/2` lets it pass, as in a stack of `Sippet.Test`.

  alias Sippet.Stack
  alias Sippet.Transactions.Clock

  @doc """
  Stops the clock of a stack. It belongs to the caller.
  """
  @spec stop(atom) :: Stack.t()
  def stop(name) do
    stack = Stack.fetch!(name)
    now = Clock.now(stack)
    stack = put_in(stack.options.private[:clock], Clock.new())
    Clock.put(stack, now)
    :persistent_term.put({Stack, name}, stack)

    for worker <- Tuple.to_list(stack.transactions.workers.names),
        do: :sys.replace_state(worker, fn {index, _stack, inbound} -> {index, stack, inbound} end)

    stack
  end
end
