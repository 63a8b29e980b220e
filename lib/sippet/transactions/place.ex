defmodule Sippet.Transactions.Place do
  @moduledoc false
  # What a server's row counts for among those that are limited (`Sippet.Overload`): its octets, as long as it is pending, and a
  # place, which an INVITE has until its ACK is there.

  import Sippet.Transactions.Rows, only: [row: 1, row: 2]

  alias Sippet.{Message, Overload, Stack}
  alias Sippet.Transactions.{Machine, Rows}

  @doc """
  What a request has a place as.
  """
  @spec of(Message.request()) :: Overload.place()
  def of(%Message{start_line: %{method: :invite}}), do: :invite
  def of(_request), do: :request

  @doc """
  A row takes its place. `seen` tells whether the stack has seen its sender.
  """
  @spec take(Stack.t(), Rows.row(), (() -> Overload.seen()) | nil) :: :ok
  def take(_stack, row(place: nil), _seen), do: :ok

  def take(stack, row(place: place, source: source, pending: octets) = row, seen) do
    Overload.enter(stack.overload, source, place, octets)

    if place == :invite and Overload.crowded?(stack.overload) and seen != nil and seen.() == nil,
      do: Overload.list(stack.overload, :unanswered, listed(row)),
      else: :ok
  end

  @doc """
  Gives back what a row does not count for any more.
  """
  @spec release(Stack.t(), Rows.row()) :: Rows.row()
  def release(_stack, row(place: nil) = row), do: row

  # It is pending until it is answered and no callback runs for it.
  def release(stack, row(running: nil, state: state) = row) do
    row = if state == nil or Rows.finished_state?(state), do: leave(stack, row), else: row
    if gives_back?(row), do: give_back(stack, row), else: row
  end

  def release(_stack, row), do: row

  defp leave(_stack, row(pending: 0) = row), do: row

  defp leave(stack, row(pending: octets, source: source) = row) do
    Overload.leave(stack.overload, source, octets)
    row(row, pending: 0)
  end

  defp gives_back?(row(state: nil)), do: true
  defp gives_back?(row(place: :request, state: state)), do: Rows.finished_state?(state)
  defp gives_back?(row(state: state)), do: elem(state, 0) in [:confirmed, :accepted]

  defp give_back(stack, row(place: place, source: source) = row) do
    Overload.leave_place(stack.overload, source, place)
    if place == :invite, do: Overload.unlist(stack.overload, listed(row))
    row(row, place: nil)
  end

  @doc """
  A row has come to a finished state. An INVITE that was refused is the first to go where there is no room for others.
  """
  @spec finished(Stack.t(), Rows.row()) :: :ok
  def finished(stack, row(place: :invite, state: state) = row) do
    Overload.unlist(stack.overload, listed(row))

    if elem(state, 0) == :completed,
      do: Overload.list(stack.overload, :refused, listed(row)),
      else: :ok
  end

  def finished(_stack, _row), do: :ok

  @doc """
  An INVITE that rings does not lose its place.
  """
  @spec keep(Stack.t(), Rows.row(), Machine.event()) :: :ok
  def keep(stack, row(place: :invite) = row, {:answer, status, _tag, _octets})
      when status in 101..199,
      do: Overload.unlist(stack.overload, listed(row))

  def keep(_stack, _row, _event), do: :ok

  # By its age, and what tells it from others.
  defp listed(row) do
    {number, started} = Rows.turn(row)
    {started, number}
  end
end
