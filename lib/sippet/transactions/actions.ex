defmodule Sippet.Transactions.Actions do
  @moduledoc false
  # What a worker does with a row: it tells the machine what happened, carries out what that asks for, and writes back
  # the row. All of this runs in the process of the row's worker.
  #
  # A defect of a machine, or of what is done for it, ends that one transaction.

  import Sippet.Transactions.Rows, only: [row: 1, row: 2]

  alias Sippet.Core.CallbackRunner
  alias Sippet.{Message, Overload, Stack, Telemetry, Transport}
  alias Sippet.Message.{RequestLine, Via}
  alias Sippet.Transactions.{Alarm, Clock, Deadlines, Key, Machine, Rows, Workers}
  alias Sippet.Transport.Delivery

  # Callbacks of one transaction that wait for others. A far end can send any number of provisional responses while a
  # core is slow; a final response, an error and a request are never dropped.
  @most_waiting 100

  # RFC3261§8.1.1.6
  @max_forwards 70

  @typedoc """
  An event of a machine. `{event, name}` is a 2xx of the core with the name by which its ACK finds the row.
  """
  @type event :: Machine.event() | {Machine.event(), name :: term}

  ## Start

  @doc """
  Begins a row that was put there: `request` is what the core gets, where it is known already.
  """
  @spec start(Stack.t(), Rows.row(), Message.request() | nil) :: :ok
  def start(stack, row(machine: machine, octets: octets) = row, request \\ nil) do
    Telemetry.emit(stack, :transaction_started, %{system_time: System.system_time()}, fn ->
      %{key: key(row), machine: machine}
    end)

    {state, actions} = machine.start(octets, Clock.now(stack), timers(stack, row))
    begun = row(row, state: state)

    case row(row, :id) do
      {_branch, _method} ->
        Rows.note_destination(stack, row)
        # The machine has them now.
        carry_on(stack, row, row(begun, octets: nil), actions)

      _server ->
        begun = tell(stack, begun, :receive_request, request || request(begun), key(row))
        carry_on(stack, row, begun, actions)
    end
  catch
    kind, reason -> defect(stack, row, kind, reason, __STACKTRACE__)
  end

  ## Events

  @doc """
  Tells the machine of a row what happened.
  """
  @spec handle(Stack.t(), Rows.row(), event) :: :ok
  # Whoever has put the row there is slower to tell of it.
  def handle(stack, row(state: nil, number: number) = row, event) do
    start(stack, row)
    with row when row != nil <- Rows.fetch(stack, number), do: handle(stack, row, event)
    :ok
  end

  def handle(stack, row, event) do
    step(stack, row, row, [event])
  catch
    kind, reason -> defect(stack, row, kind, reason, __STACKTRACE__)
  end

  @doc """
  Takes the final answer of the core out of its row.
  """
  @spec answer(Stack.t(), Rows.row() | nil) :: :ok
  # Another hint was faster, or the transaction has ended.
  def answer(_stack, nil), do: :ok
  def answer(_stack, row(answer: nil)), do: :ok

  def answer(stack, row(answer: answer) = row) do
    step(stack, row, row(row, answer: nil), [answer])
  catch
    kind, reason -> defect(stack, row, kind, reason, __STACKTRACE__)
  end

  defp step(stack, before, row, []), do: settle(stack, before, row)

  defp step(stack, before, row, [event | events]) do
    {event, name} = unnamed(event)
    {row, more} = transition(stack, row, event, name)
    step(stack, before, row, more ++ events)
  catch
    {:terminated, row, reason} -> terminate(stack, row, reason)
  end

  defp unnamed({event, _name} = named) when is_tuple(event), do: named
  defp unnamed(event), do: {event, nil}

  defp carry_on(stack, before, row, actions) do
    {row, events} = carry_all(stack, row, actions, nil)
    step(stack, before, row, events)
  end

  defp transition(stack, row(machine: machine, state: state) = row, event, name) do
    case machine.handle(state, event, Clock.now(stack), timers(stack, row)) do
      {:terminated, reason, actions} ->
        {row, _events} = carry_all(stack, row, actions, name)
        throw({:terminated, row, reason})

      {state, actions} ->
        carry_all(stack, row(row, state: state), actions, name)
    end
  end

  defp timers(stack, row(transport: transport)),
    do: {stack.options, reliable?(transport)}

  defp reliable?({_pid, _protocol, reliable?, _place}), do: reliable?
  defp reliable?(%Transport{reliable?: reliable?}), do: reliable?

  ## What a machine asks for

  defp carry_all(stack, row, actions, name) do
    Enum.reduce(actions, {row, []}, fn action, {row, events} ->
      {row, more} = carry(stack, row, action, name)
      {row, events ++ more}
    end)
  end

  defp carry(stack, row, {:send, octets}, _name) do
    case transmit(stack, row, octets) do
      :ok -> {row, []}
      {:error, reason} -> {row, [{:error, reason}]}
    end
  end

  defp carry(stack, row, {:tell, callback, argument}, _name),
    do: {tell(stack, row, callback, argument, key(row)), []}

  defp carry(stack, row, {:tell_stray, request}, _name),
    do: {tell(stack, row, :receive_request, request, nil), []}

  defp carry(_stack, row, {:make, 100}, _name),
    do: {row, [{:trying, Message.to_string(trying(row))}]}

  defp carry(_stack, row, {:make, status}, _name) do
    response = Message.to_response(request(row), status)
    {row, [{:answer, status, Key.own(Key.tag(response.headers.to)), Message.to_string(response)}]}
  end

  defp carry(_stack, row, {:make_ack, invite, response}, _name),
    do: {row, [{:acknowledge, Message.to_string(ack(Message.parse!(invite), response))}]}

  defp carry(stack, row, {:await_ack, tag}, name) when name != nil do
    Rows.name(stack, name, row(row, :number))
    names = [{Rows.hash(stack, tag), Rows.hash(stack, name)} | row(row, :names)]
    {row(row, names: names), []}
  end

  defp carry(_stack, row, {:await_ack, _tag}, nil), do: {row, []}

  defp carry(stack, row, {:forget_ack, tag}, _name) do
    tag = Rows.hash(stack, tag)
    {forgotten, kept} = Enum.split_with(row(row, :names), &match?({^tag, _hash}, &1))
    for {_tag, hash} <- forgotten, do: Rows.unname(stack, hash, row(row, :number))
    {row(row, names: kept), []}
  end

  defp carry(stack, row(running: {pid, _ref}, called: 1, ended: 0) = row, :abandon, _name) do
    CallbackRunner.abandon(stack, pid, :receive_request)
    {row, []}
  end

  defp carry(_stack, row, :abandon, _name), do: {row, []}

  defp carry(stack, row, :finished, _name) do
    Rows.finish(stack, row)
    {row(row, octets: nil, remote: nil, answer: nil), []}
  end

  defp transmit(stack, row(destination: destination) = row, octets) do
    key = key(row)
    failed = &failed(stack, key, &1)
    message = targeted(octets, row(row, :target))
    destination = Rows.unpack(destination)
    Delivery.post(stack, transport(stack, row), destination, octets, key, failed, message)
  end

  # Octets have no target.
  defp targeted(_octets, nil), do: nil
  defp targeted(octets, target), do: %{Message.parse!(octets) | target: target}

  # By another process, and later: the row may be gone.
  defp failed(stack, key, reason) do
    with row(worker: worker, number: number) <- Rows.find(stack, key),
         do: Workers.send(stack, worker, {:event, number, {:error, reason}})
  end

  # RFC3261§17.2.1, §8.2.6.1 - the seconds from the request to this response are added to its Timestamp
  defp trying(row(started: started) = row) do
    response = Message.to_response(request(row), 100)

    case response.headers do
      %{timestamp: {time, _delay}} ->
        elapsed =
          System.convert_time_unit(System.monotonic_time() - started, :native, :millisecond)

        Message.put_header(response, :timestamp, {time, elapsed / 1_000})

      _none ->
        response
    end
  end

  # The request as it came, read again: what is needed of it seldom is kept as octets.
  defp request(row(octets: octets, remote: remote)) do
    %Message{headers: %{via: vias}} = request = Message.parse!(octets)
    if remote, do: Message.put_header(request, :via, Via.stamp(vias, remote)), else: request
  end

  # RFC3261§17.1.1.3 - Request-URI, From, Call-ID, the number of CSeq, Route and the topmost Via, alone, are the
  # INVITE's, To is the response's; it goes where the INVITE went
  defp ack(%Message{start_line: %{request_uri: uri}, headers: headers}, response) do
    {number, _method} = headers.cseq

    # RFC3261§22.1 - the ACK repeats the credentials of its INVITE
    ack_headers =
      headers
      |> Map.take([:from, :call_id, :route, "Route", :authorization, :proxy_authorization])
      |> Map.merge(%{
        via: [hd(headers.via)],
        to: response.headers.to,
        cseq: {number, :ack},
        max_forwards: @max_forwards
      })

    %Message{start_line: RequestLine.new(:ack, uri), headers: ack_headers}
  end

  ## The core

  defp tell(stack, row(running: nil) = row, callback, argument, key),
    do: call(stack, row, callback, argument, key)

  defp tell(stack, row(number: number) = row, callback, argument, key) do
    unless droppable?(callback, argument) and
             Rows.waiting(stack, number, @most_waiting) >= @most_waiting,
           do: Rows.wait(stack, number, {callback, argument, key})

    row
  end

  defp droppable?(:receive_response, %Message{start_line: %{status_code: status}}),
    do: status < 200

  defp droppable?(_callback, _argument), do: false

  defp call(
         stack,
         row(number: number, called: called, started: started) = row,
         callback,
         argument,
         key
       ) do
    nth = called + 1
    turn = {Rows, {number, started}, nth}
    {pid, ref} = CallbackRunner.start(stack, callback, argument, key, turn)
    Process.put({:callback, ref}, number)
    row(row, running: {pid, ref}, called: nth)
  end

  @doc """
  Takes the end of a callback.
  """
  @spec returned(Stack.t(), Rows.row(), term) :: :ok
  # A worker that was killed had started it before: that one is waited for.
  def returned(stack, row(runner: pid) = row, {:shutdown, :begun}) when pid != nil do
    Rows.update(stack, row, watch(row, pid))
    :ok
  end

  def returned(stack, row(number: number, called: called, ended: ended) = before, reason) do
    failed? = reason not in [:normal, {:shutdown, :begun}] and ended < called
    row = row(before, running: nil)

    row = call_next(stack, row, Rows.next_waiting(stack, number))

    if failed? and called == 1 and unanswered?(row),
      do: carry_on(stack, before, row, [{:make, 500}]),
      else: settle(stack, before, row)
  catch
    kind, reason -> defect(stack, before, kind, reason, __STACKTRACE__)
  end

  defp call_next(_stack, row, nil), do: row

  # In this order: who is killed in between has another one call it once more, and not forget it.
  defp call_next(stack, row, {waiting, {callback, argument, key}}) do
    row = call(stack, row, callback, argument, key)
    Rows.forget_waiting(stack, waiting)
    row
  end

  defp watch(row(number: number) = row, pid) do
    ref = Process.monitor(pid)
    Process.put({:callback, ref}, number)
    row(row, running: {pid, ref})
  end

  # The core failed while it had a request that is not answered yet.
  defp unanswered?(row(id: {_branch, _method, _sent_by}, octets: octets)), do: octets != nil
  defp unanswered?(_client), do: false

  ## The end of a step

  # It leaves what is pending by a counter of its row: before that goes.
  defp settle(stack, before, row(id: :ended) = row) do
    release(stack, row)

    if row(row, :running) == nil,
      do: Rows.delete_ended(stack, row),
      else: Rows.update(stack, before, row)

    :ok
  end

  defp settle(stack, before, row) do
    row = due(stack, row)
    Rows.update(stack, before, row)
    release(stack, row)
  end

  defp due(stack, row(machine: machine, state: state, due: set, worker: worker) = row) do
    case machine.due(state) do
      at when is_integer(at) and at < set ->
        unset(stack, row)
        Deadlines.set(stack, worker, at, row(row, :number))
        Alarm.set(stack, at)
        row(row, due: at)

      _later ->
        row
    end
  end

  # It may be minutes away, as that of an INVITE that rings.
  defp unset(stack, row(due: at, worker: worker, number: number)) when is_integer(at),
    do: Deadlines.unset(stack, worker, at, number)

  defp unset(_stack, _row), do: true

  # A request is pending until it is answered, and no callback runs for it.
  defp release(stack, row(running: nil, source: source, state: state) = row) do
    with true <- source != nil and (state == nil or Rows.finished_state?(state)),
         octets when octets > 0 <- Rows.leave(stack, row(row, :number)),
         do: Overload.leave(stack, source, octets)

    :ok
  end

  defp release(_stack, _row), do: :ok

  @doc """
  Looks at a row whose time has come.
  """
  @spec due(Stack.t(), Rows.row(), integer, integer) :: :ok
  def due(stack, row(due: at, machine: machine, state: state) = row, at, now) do
    row = row(row, due: :never)

    if machine.due(state) <= now,
      do: handle_due(stack, row),
      else: settle(stack, row(row, due: at), row)
  end

  # The entry was not the one that counts.
  def due(_stack, _row, _at, _now), do: :ok

  defp handle_due(stack, row) do
    # What is written back is told from what stands in the table, which has the old time.
    step(stack, row(row, due: :taken), row, [:due])
  catch
    kind, reason -> defect(stack, row, kind, reason, __STACKTRACE__)
  end

  ## The end of a transaction

  @doc """
  Ends a transaction. Callbacks that run or wait go on: they are pending work as long.
  """
  @spec terminate(Stack.t(), Rows.row(), term) :: :ok
  def terminate(stack, row(number: number) = row, reason) do
    for {_tag, hash} <- row(row, :names), do: Rows.unname(stack, hash, number)
    unset(stack, row)
    duration = System.monotonic_time() - row(row, :started)

    case row(row, :running) do
      nil ->
        release(stack, row(row, state: nil))
        Rows.delete(stack, row)

      {_pid, ref} ->
        ended = Rows.detach(stack, row)
        Process.put({:callback, ref}, ended)
    end

    Telemetry.emit(stack, :transaction_ended, %{duration: duration}, fn ->
      %{key: key(row), machine: row(row, :machine), reason: reason}
    end)
  end

  defp defect(stack, row(number: number), kind, reason, stacktrace) do
    Stack.log(stack, :error, fn -> Exception.format(kind, reason, stacktrace) end)

    with row when row != nil <- Rows.fetch(stack, number),
         do: terminate(stack, row, {kind, reason})

    :ok
  end

  ## Of a row

  @doc """
  The key of a row's transaction.
  """
  @spec key(Rows.row()) :: struct
  def key(row(id: id)), do: Rows.key(id)

  @doc """
  What stands for a transport in a row: one of the stack's is found again by its process, or by its place. A connection
  has nobody else who knows it.
  """
  @spec kept_transport(Stack.t(), Transport.t()) :: tuple | Transport.t()
  def kept_transport(stack, %Transport{pid: pid, protocol: protocol} = transport) do
    if Stack.transport(stack, pid, protocol) == transport,
      do: {pid, protocol, transport.reliable?, Stack.place(transport)},
      else: transport
  end

  @doc """
  The transport of a row. One that was started again at the same address is the same to who sends there.
  """
  @spec transport(Stack.t(), Rows.row()) :: Transport.t()
  def transport(_stack, row(transport: %Transport{} = transport)), do: transport

  def transport(stack, row(transport: {pid, protocol, _reliable?, place})) do
    Stack.transport(stack, pid, protocol) || Stack.transport_at(stack, place, protocol) ||
      Transport.Closed.new(protocol, pid)
  end

  @doc """
  Has all rows of a worker, which has begun anew, go on where its predecessor left them.
  """
  @spec recover(Stack.t(), pos_integer) :: :ok
  def recover(stack, worker) do
    for number <- Rows.of_worker(stack, worker),
        row when row != nil <- [Rows.fetch(stack, number)],
        do: recover_row(stack, row)

    :ok
  end

  defp recover_row(stack, row(state: nil, id: id) = row) when id != :ended,
    do: start(stack, row)

  defp recover_row(stack, row(number: number, due: due, answer: answer) = before) do
    row = before |> recover_callback(stack) |> row(answer: nil)

    # The entry of the row is among the deadlines, unless it was just taken: it only has to count.
    if is_integer(due), do: Deadlines.set(stack, row(row, :worker), due, number)

    step(stack, before, row, List.wrap(answer))
  catch
    kind, reason -> defect(stack, before, kind, reason, __STACKTRACE__)
  end

  # What waits was put there while a callback ran, of which the predecessor could write nothing down.
  defp recover_callback(row(running: nil, number: number) = row, stack),
    do: call_next(stack, row, Rows.next_waiting(stack, number))

  defp recover_callback(row(running: {pid, _lost}) = row, _stack), do: watch(row, pid)

  @doc false
  @spec worker_of(Stack.t(), Message.t()) :: pos_integer
  def worker_of(stack, %Message{headers: headers}), do: Workers.of_call(stack, headers[:call_id])
end
