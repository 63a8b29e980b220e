defmodule Sippet.Transactions.Worker do
  @moduledoc false
  # Works on the transactions of its calls: takes the messages of the network, has `Sippet.Router.Inbound` read them, tells machines
  # what happened, and looks at rows when their time has come. It never waits: what may take its time is done by another
  # process.
  #
  # All that it knows lies in the rows. Whoever kills it loses what lay in its mailbox, and no transaction.

  use GenServer

  alias Sippet.{Overload, Stack}
  alias Sippet.Transactions.{Actions, Alarm, Clock, Deadlines, Owners, Rows, Workers}

  # Words: garbage of some twenty requests, which costs less to collect together.
  @heap 16_384

  # Rows whose time has come that are looked at together: then what came meanwhile gets its turn.
  @together 100

  # A timer that is this late tells that the VM has paused, in ms. What came meanwhile still lies in the sockets: it is
  # taken first, as long as @grace.
  @late 1_000
  @grace 200

  @spec start_link({atom, pos_integer, Stack.t(), module}) :: GenServer.on_start()
  def start_link({name, index, stack, inbound}) do
    GenServer.start_link(__MODULE__, {index, stack, inbound}, name: name)
  end

  @doc """
  The index of the calling process, if it is a worker of this stack.
  """
  @spec index(Stack.t()) :: pos_integer | nil
  def index(%Stack{name: name}) do
    case Process.get(__MODULE__) do
      {^name, index} -> index
      _none -> nil
    end
  end

  @impl true
  def init({index, stack, inbound}) do
    # The literal, which costs the heap nothing.
    stack = Stack.fetch!(stack.name)
    Process.put(__MODULE__, {stack.name, index})
    Process.flag(:min_heap_size, @heap)
    # What waited for a predecessor is lost with it.
    Workers.reset(stack.transactions.workers, index)
    {:ok, {index, stack, inbound}, {:continue, :recover}}
  end

  # Older ones have it without naming it.
  if {:format_status, 1} in GenServer.behaviour_info(:callbacks), do: @impl(true)
  @doc false
  # What OTP logs of its end. What it got are messages of strangers, with their credentials.
  def format_status(status), do: status |> Map.replace(:message, :hidden) |> Map.replace(:log, [])

  @impl true
  def handle_continue(:recover, {index, stack, _inbound} = worker) do
    Overload.recover(stack.overload, index)
    Actions.recover(stack, index)
    Owners.recover(stack, index)
    Alarm.set(stack, Deadlines.first(stack, index))
    {:noreply, worker}
  end

  @impl true
  def handle_info({:counted, message}, {index, stack, _inbound} = worker) do
    take(message, worker)
    Workers.taken(stack.transactions.workers, index)
    {:noreply, worker}
  end

  # One that was killed before may have been told of it too: its successor has found the row by itself.
  def handle_info({:start, number, request}, {_index, stack, _inbound} = worker) do
    with row when row != nil <- Rows.fetch(stack, number),
         do: Actions.start(stack, row, request)

    {:noreply, worker}
  end

  def handle_info({:answered, number}, {_index, stack, _inbound} = worker) do
    with row when row != nil <- Rows.fetch(stack, number), do: Actions.answer(stack, row)
    {:noreply, worker}
  end

  def handle_info({:resolved, tag, answer}, {_index, stack, inbound} = worker) do
    inbound.located(stack, tag, answer)
    {:noreply, worker}
  end

  # An owner may be a callback too, and is monitored as each.
  def handle_info({:DOWN, ref, :process, pid, reason}, {_index, stack, _inbound} = worker) do
    case Owners.ended(pid, ref) do
      [] -> returned(stack, pid, reason)
      owned -> for one <- owned, do: orphaned(stack, one, reason)
    end

    {:noreply, worker}
  end

  def handle_info({:forget_dialog, hash}, {_index, stack, _inbound} = worker) do
    Owners.forget(stack, hash)
    {:noreply, worker}
  end

  def handle_info({:lose_place, listed}, {_index, stack, inbound} = worker) do
    inbound.lose_place(stack, listed)
    {:noreply, worker}
  end

  def handle_info({:unattended, task}, {_index, stack, inbound} = worker) do
    inbound.unattended(stack, task)
    {:noreply, worker}
  end

  # What lies in the mailbox came before the worker looks: it may be the answer whose time is over. So a look goes behind it.
  def handle_info({:timeout, timer, :due}, worker) do
    case Process.info(self(), :message_queue_len) do
      {:message_queue_len, 0} -> look_once(timer, worker)
      {:message_queue_len, _waiting} -> Kernel.send(self(), {:look, timer})
    end

    {:noreply, worker}
  end

  def handle_info({:look, timer}, worker) do
    look_once(timer, worker)
    {:noreply, worker}
  end

  def handle_info(message, worker) do
    take(message, worker)
    {:noreply, worker}
  end

  @impl true
  def handle_call({:take, _octets, _remote, _transport} = message, _from, worker),
    do: {:reply, take(message, worker), worker}

  def handle_call({:run, fun}, _from, worker), do: {:reply, fun.(), worker}

  def handle_call({:own, number, pid}, _from, {_index, stack, _inbound} = worker),
    do: {:reply, Actions.own(stack, number, pid), worker}

  def handle_call({:own_dialog, dialog, pid}, _from, {index, stack, _inbound} = worker),
    do: {:reply, Owners.own_dialog(stack, index, dialog, pid), worker}

  def handle_call({:answer_again, number, event}, _from, {_index, stack, _inbound} = worker),
    do: {:reply, Actions.answer_again(stack, number, event), worker}

  # For a stack whose time stands still.
  def handle_call(:due, _from, {index, stack, _inbound} = worker) do
    due(stack, index, Clock.now(stack))
    {:reply, :ok, worker}
  end

  def handle_call(:settle, _from, worker), do: {:reply, :ok, worker}
  def handle_call(_unknown, _from, worker), do: {:noreply, worker}

  @impl true
  def handle_cast(_unknown, worker), do: {:noreply, worker}

  defp returned(stack, pid, reason) do
    case Process.delete({:callback, pid}) do
      nil ->
        Overload.done(stack.overload, pid)

      number ->
        with row when row != nil <- Rows.fetch(stack, number),
             do: Actions.returned(stack, row, reason)
    end
  end

  defp orphaned(stack, {:dialog, hash}, reason), do: Owners.end_dialog(stack, hash, reason)

  defp orphaned(stack, number, reason) do
    with row when row != nil <- Rows.fetch(stack, number),
         do: Actions.orphaned(stack, row, reason)
  end

  # Another worker has found out of which call a message is.
  defp take({:arrived, arrival}, {_index, stack, inbound}), do: inbound.arrived(stack, arrival)

  defp take({:take, octets, remote, transport}, {_index, stack, inbound}),
    do: inbound.take(stack, octets, remote, transport)

  # Of a transaction of this worker's, by whomever.
  defp take({:event, number, event}, {_index, stack, _inbound}) do
    with row when row != nil <- Rows.fetch(stack, number), do: Actions.handle(stack, row, event)
    :ok
  end

  # Anybody may send anything to a process.
  defp take(_other, _worker), do: :ok

  ## Time

  defp look_once(timer, worker) do
    case Alarm.take(timer) do
      {:ok, at} -> look(at, worker)
      # It was set anew.
      :error -> :ok
    end
  end

  defp look(at, {index, stack, _inbound}) do
    now = Clock.now(stack)

    case Process.get(:grace) do
      nil when now - at > @late -> grace(stack, now + @grace)
      # What was taken meanwhile has set the timer anew.
      until when is_integer(until) and now < until -> grace(stack, until)
      _over -> look_at_rows(stack, index, now)
    end
  end

  defp grace(stack, until) do
    Process.put(:grace, until)
    Alarm.set(stack, until)
  end

  defp look_at_rows(stack, index, now) do
    Process.delete(:grace)

    if due(stack, index, now) >= @together,
      do: Alarm.set(stack, now),
      else: look_later(stack, Deadlines.first(stack, index))
  end

  # Nothing is left: it gives back what a flood had it hold.
  defp look_later(_stack, :never) do
    :erlang.garbage_collect()
    :ok
  end

  defp look_later(stack, at), do: Alarm.set(stack, at)

  defp due(stack, index, now) do
    entries = Deadlines.take(stack, index, now, @together)

    for {at, number} <- entries,
        row when row != nil <- [Rows.fetch_due(stack, number, at)],
        do: Actions.due(stack, row, at, now)

    length(entries)
  end
end
