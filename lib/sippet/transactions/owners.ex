defmodule Sippet.Transactions.Owners do
  @moduledoc false
  # The processes that get the events of transactions and of dialogs in place of the core, and what becomes of a client's INVITE
  # whose owner has ended. All of this runs in the process of a worker, which monitors the owners of its rows.
  #
  # What a worker knows of owners stands in its dictionary, and is found again in the tables by its successor.

  import Sippet.Transactions.Rows, only: [row: 1, row: 2]

  alias Sippet.{Dialog, Message, Stack}
  alias Sippet.Message.Tag
  alias Sippet.Stack.Events
  alias Sippet.Transactions.{Aliases, Rows, Workers}

  @typedoc "What a process owns: a row by its number, or a dialog by its hash."
  @type owned :: Rows.hash() | {:dialog, Rows.hash()}

  @typedoc """
  What is to be done where nobody is left to do it: an INVITE is cancelled (RFC 3261 §9.1), the dialog of its 2xx is ended, or a
  dialog whose owner has ended.
  """
  @type task ::
          {:cancel, Rows.row(), invite :: binary}
          | {:hang_up, invite :: binary | nil, Message.response()}
          | {:end_dialog, Dialog.t()}

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
  Requests within the dialog go to a process from now on, or with `nil` to the core. Of a call that is given as a whole, the
  stack can send the BYE.
  """
  @spec own_dialog(Stack.t(), pos_integer, Dialog.t() | Dialog.id(), pid | nil) :: :ok
  def own_dialog(stack, _worker, dialog, nil), do: forget(stack, hash(stack, dialog_id(dialog)))

  def own_dialog(stack, worker, dialog, pid) do
    hash = hash(stack, dialog_id(dialog))
    let_go(stack, hash)
    put_ending(stack, hash, dialog)
    Aliases.put_dialog(stack, hash, pid, worker)
    watch(pid, {:dialog, hash})
  end

  defp dialog_id(%Dialog{} = dialog), do: Dialog.id(dialog)
  defp dialog_id(id), do: id

  defp hash(stack, id), do: Rows.hash(stack, {:dialog, id})

  defp let_go(stack, hash) do
    with owner when owner != nil <- Aliases.dialog_owner(stack, hash),
         do: unwatch(owner, {:dialog, hash})

    :ok
  end

  # As octets it takes a quarter of the room.
  defp put_ending(stack, hash, %Dialog{method: :invite, state: state} = dialog)
       when state != :terminated do
    ending = {:erlang.term_to_binary(dialog), state == :confirmed, dialog.local_seq || 0}
    Aliases.put_ending(stack, hash, ending)
  end

  defp put_ending(_stack, _hash, _other), do: :ok

  @doc """
  Nobody owns the dialog of this hash any more. It runs in the worker that watches the owner.
  """
  @spec forget(Stack.t(), Rows.hash()) :: :ok
  def forget(stack, hash) do
    let_go(stack, hash)
    Aliases.forget_dialog(stack, hash)
    Aliases.take_ending(stack, hash)
    :ok
  end

  @doc """
  Notes a request of our own. After a BYE the stack has none to send.
  """
  @spec sent(Stack.t(), Message.request()) :: :ok
  def sent(stack, %Message{headers: %{cseq: {number, method}} = headers}) do
    to = Tag.of(headers.to)

    if (to != nil or method == :bye) and Aliases.dialogs?(stack) do
      hash = hash(stack, {headers.call_id, Tag.of(headers.from), to})

      if method == :bye,
        do: Aliases.take_ending(stack, hash),
        else: Aliases.used(stack, hash, number)
    end

    :ok
  end

  @doc """
  Notes a final response: one that we send, or one that came. A 2xx to INVITE confirms the dialog. It ends with a BYE that
  is answered, and an early one with the refusal of its INVITE.
  """
  @spec answered(Stack.t(), :sent | :received, Message.response()) :: :ok
  def answered(stack, way, %Message{headers: %{cseq: {_number, method}} = headers} = response)
      when method in [:invite, :bye] do
    if Aliases.dialogs?(stack) do
      status = response.start_line.status_code
      answered(stack, hash(stack, id(way, headers)), way, method, status, response)
    end

    :ok
  end

  def answered(_stack, _way, _response), do: :ok

  defp id(:sent, headers), do: {headers.call_id, Tag.of(headers.to), Tag.of(headers.from)}
  defp id(:received, headers), do: {headers.call_id, Tag.of(headers.from), Tag.of(headers.to)}

  defp answered(stack, hash, way, :invite, status, response) when status < 300 do
    with {octets, _confirmed?, _number} <- Aliases.ending(stack, hash) do
      dialog = confirmed(way, :erlang.binary_to_term(octets), response)
      Aliases.confirm(stack, hash, :erlang.term_to_binary(dialog))
    end
  end

  defp answered(stack, hash, _way, :invite, _refused, response) do
    # Of a re-INVITE in the early dialog it ends nothing.
    with {octets, false, _number} <- Aliases.ending(stack, hash),
         %Dialog{pending: pending} when pending != nil <- :erlang.binary_to_term(octets),
         true <- elem(pending, 1) == elem(response.headers.cseq, 0),
         do: forget_later(stack, hash, response)
  end

  # A BYE that is challenged comes again.
  defp answered(_stack, _hash, :received, :bye, status, _response) when status in [401, 407],
    do: :ok

  defp answered(_stack, _hash, :sent, :bye, status, _response) when status >= 300, do: :ok

  defp answered(stack, hash, _way, :bye, _status, response),
    do: forget_later(stack, hash, response)

  defp confirmed(:sent, dialog, response), do: Dialog.respond(dialog, response)

  defp confirmed(:received, dialog, response) do
    case Dialog.receive_response(dialog, response) do
      {:ok, dialog} -> dialog
      # Its Contact is no good, and so the BYE goes where the dialog has led before.
      {:error, _reason} -> dialog
    end
  end

  defp forget_later(stack, hash, %Message{headers: %{call_id: call_id}}),
    do: Workers.send(stack, Workers.of_call(stack, call_id), {:forget_dialog, hash})

  @doc """
  Has a call ended whose owner has ended for a reason (RFC 3261 §15). One that is early ends with
  its INVITE.
  """
  @spec end_dialog(Stack.t(), Rows.hash(), term) :: :ok
  def end_dialog(stack, hash, reason) do
    Aliases.forget_dialog(stack, hash)

    with {octets, true, number} <- Aliases.take_ending(stack, hash) do
      dialog = %{:erlang.binary_to_term(octets) | local_seq: number, state: :confirmed}
      Events.owner_down(stack, nil, dialog, reason)
      Kernel.send(self(), {:unattended, {:end_dialog, dialog}})
    end

    :ok
  end

  @doc """
  The owner of the dialog that a request is within, if that has one.
  """
  @spec of_dialog(Stack.t(), Message.request()) :: pid | nil
  def of_dialog(stack, %Message{headers: %{to: {_name, _uri, %{"tag" => tag}}} = headers}) do
    id = {headers[:call_id], tag, Tag.of(headers[:from])}
    Aliases.dialog_owner(stack, hash(stack, id))
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
      status when status in 200..299 ->
        Kernel.send(self(), {:unattended, {:hang_up, row(row, :octets), response}})
        row

      # Its owner has ended, and so it is cancelled already, or will be.
      _provisional_or_rejected ->
        row
    end
  end

  def unattended(row, _callback, _argument), do: row

  @doc """
  Has a client's INVITE cancelled: now, or with its first provisional response. One that has its final response, or was
  cancelled before, is left alone.
  """
  @spec cancel(Rows.row()) :: Rows.row()
  # RFC3261§9.1 - not before the first provisional response
  def cancel(row(cancelled: false, state: state) = row) when elem(state, 0) == :calling,
    do: row(row, cancelled: :wanted)

  def cancel(row(cancelled: cancelled, state: {:proceeding, invite, _cancelled_at}) = row)
      when cancelled in [false, :wanted] do
    Kernel.send(self(), {:unattended, {:cancel, row, invite}})
    row(row, cancelled: true)
  end

  def cancel(row), do: row

  @doc """
  Sends the CANCEL that waits for the first provisional response, if the event is that.
  """
  @spec cancel_wanted(Rows.row(), term) :: Rows.row()
  def cancel_wanted(row(cancelled: :wanted) = row, {:response, status, _response})
      when status < 200,
      do: cancel(row)

  def cancel_wanted(row, _event), do: row
end
