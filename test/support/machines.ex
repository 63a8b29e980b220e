defmodule Sippet.Machines do
  @moduledoc false
  # The processes of a stack's transactions, those too that have left its registry.

  alias Sippet.Transactions.Directory

  @spec of(atom) :: [pid]
  def of(stack), do: Enum.filter(Process.list(), &(machine?(&1) and stack_of(&1) == stack))

  defp machine?(pid) do
    case Process.info(pid, :dictionary) do
      {:dictionary, dictionary} -> dictionary[:"$initial_call"] == {Directory, :begin, 2}
      nil -> false
    end
  end

  defp stack_of(pid) do
    {_state, machine} = :sys.get_state(pid)
    machine.stack.name
  catch
    # It has ended meanwhile.
    :exit, _reason -> nil
  end
end
