defmodule Sippet.Transactions.Owners do
  @moduledoc false
  # The processes that get the events of transactions and of dialogs in place of the core, and what becomes of a client's INVITE
  # whose owner has ended. All of this runs in the process of a worker, which monitors the owners of its rows.
  #
  # What a worker knows of owners stands in its dictionary, and is found again in the tables by its successor.

  import Sippet.Transactions.Rows, only: [row: 1, row: 2]

  alias Sippet.{Message, Stack}
  alias Sippet.Transactions.{Aliases, Rows}

  @typedoc "What a process owns: a row by its number, or a dialog by its hash."
  @type owned :: Rows.hash() | {:dialog, Rows.hash()}

  @typedoc """
  What is to be done for an INVITE that nobody waits for: to cancel it (RFC 3261 §9.1), or to end the dialog of its 2xx.
  """
  @type task ::
          {:cancel, Rows.row(), invite :: binary} | {:hang_up, Rows.row(), Message.response()}

  ## Watching

  @doc """
  The end of a process is told to the calling worker from now on, as long as it owns this.
  """
  @spec watch(pid, owned) :: :ok
  def watch(pid, owned) do
    {ref, all} = Process.get({__MODULE__, pid}) || {Process.monitor(pid), MapSet.new()}
    Process.put({__MODULE__, pid}, {ref, MapSet.put(all, owned)})
    :ok
  end

  @doc """
  It owns this no more.
  """
  @spec unwatch(pid, owned) :: :ok
  def unwatch(pid, owned) do
    with {ref, all} <- Process.get({__MODULE__, pid}) do
      left = MapSet.delete(all, owned)

      if MapSet.size(left) == 0 do
        Process.demonitor(ref, [:flush])
        Process.delete({__MODULE__, pid})
      else
        Process.put({__MODULE__, pid}, {ref, left})
      end
    end

    :ok
  end

  @doc """
  What the process of a monitor owned that has ended; nothing where the monitor is another's.
  """
  @spec ended(pid, reference) :: [owned]
  def ended(pid, ref) do
    case Process.get({__MODULE__, pid}) do
      {^ref, all} ->
        Process.delete({__MODULE__, pid})
        MapSet.to_list(all)

      _another ->
        []
    end
  end

  ## Telling

  @doc """
  Tells an owner what the core's callback would have got.
  """
  @spec tell(Stack.t(), pid, struct | nil, atom, term) :: :ok
  def tell(stack, owner, key, callback, argument) do
    Kernel.send(owner, {:sippet, stack.name, key, {event(callback), argument}})
    :ok
  end

  defp event(:receive_request), do: :request
  defp event(:receive_response), do: :response
  defp event(:receive_error), do: :error

  ## Dialogs

  @doc """
  Requests within the dialog go to a process from now on.
  """
  @spec own_dialog(Stack.t(), pos_integer, term, pid) :: :ok
  def own_dialog(stack, worker, id, pid) do
    hash = Rows.hash(stack, {:dialog, id})

    case Aliases.dialog_owner(stack, hash) do
      nil -> :ok
      before -> unwatch(before, {:dialog, hash})
    end

    Aliases.put_dialog(stack, hash, pid, worker)
    watch(pid, {:dialog, hash})
  end

  @doc """
  The owner of the dialog that a request is within, if that has one.
  """
  @spec of_dialog(Stack.t(), Message.request()) :: pid | nil
  def of_dialog(stack, %Message{headers: %{to: {_name, _uri, %{"tag" => tag}}} = headers}) do
    id = {headers[:call_id], tag, Message.Tag.of(headers[:from])}
    Aliases.dialog_owner(stack, Rows.hash(stack, {:dialog, id}))
  end

  def of_dialog(_stack, _request), do: nil

  @doc """
  Monitors the owners of dialogs that a worker was to be told of, and was killed before.
  """
  @spec recover(Stack.t(), pos_integer) :: :ok
  def recover(stack, worker) do
    for {hash, pid} <- Aliases.dialogs(stack, worker), do: watch(pid, {:dialog, hash})
    :ok
  end

  ## Without an owner

  @doc """
  Takes what the owner of a client's INVITE would have got, had it not ended. The tasks come to the worker as `{:unattended, task}`.
  """
  @spec unattended(Rows.row(), atom, term) :: Rows.row()
  def unattended(
        row,
        :receive_response,
        %Message{headers: %{cseq: {_number, :invite}}} = response
      ) do
    case response.start_line.status_code do
      status when status < 200 ->
        cancel(row)

      status when status < 300 ->
        Kernel.send(self(), {:unattended, {:hang_up, row, response}})
        row

      _rejected ->
        row
    end
  end

  def unattended(row, _callback, _argument), do: row

  @doc """
  Has a client's INVITE cancelled, if that can be done now and was not done before.
  """
  @spec cancel(Rows.row()) :: Rows.row()
  # RFC3261§9.1 - not before the first provisional response
  def cancel(row(cancelled: false, state: {:proceeding, invite, _cancelled_at}) = row) do
    Kernel.send(self(), {:unattended, {:cancel, row, invite}})
    row(row, cancelled: true)
  end

  def cancel(row), do: row
end
