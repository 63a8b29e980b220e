defmodule Sippet.Transactions.Actions do
  @moduledoc false
  # What a worker does with a row: it tells the machine what happened, carries out what that asks for, and writes back
  # the row. All of this runs in the process of the row's worker.
  #
  # A defect of a machine, or of what is done for it, ends that one transaction.

  import Sippet.Transactions.Rows, only: [row: 1, row: 2]

  alias Sippet.Core.CallbackRunner
  alias Sippet.{Message, Overload, Resolver, Stack, Telemetry, Transport}

  alias Sippet.Transactions.{
    Aliases,
    Alarm,
    Callbacks,
    Client,
    Clock,
    Deadlines,
    Key,
    Location,
    Machine,
    OwnMessages,
    Owners,
    Path,
    Place,
    Rows,
    Workers
  }

  alias Sippet.Stack.Events
  alias Sippet.Transport.{Choice, Delivery, Outgoing}

  # Looks for an answer that is claimed: between the claim and its octets there are microseconds.
  @looks 100

  # Callbacks of one transaction that wait for others. A far end can send any number of provisional responses while a
  # core is slow; a final response, an error and a request are never dropped.
  @most_waiting 100

  @typedoc """
  An event of a machine. `{event, name}` is a 2xx of the core with the name by which its ACK finds the row. `:cancel` has a
  client's INVITE cancelled as soon as that can be.
  """
  @type event :: Machine.event() | {Machine.event(), name :: term} | :cancel

  ## Start

  @doc """
  Begins a row that was put there: `request` is what the core of a server gets and a listener of
  either, where it is known already. One that has begun is left alone.
  """
  @spec start(Stack.t(), Rows.row(), Message.request() | nil) :: :ok
  def start(stack, row, request \\ nil)

  def start(stack, row(running: :request) = row, request) do
    request = request || OwnMessages.request(stack, row)
    started(stack, row, request)
    begun = tell(stack, row(row, running: nil), :receive_request, request, key(row))
    settle(stack, row, begun)
  catch
    kind, reason -> defect(stack, row, kind, reason, __STACKTRACE__)
  end

  def start(stack, row(state: nil, octets: octets) = row, request) do
    started(stack, row, request || octets)
    if named?(stack, row), do: locate(stack, row), else: begin(stack, row, row)
  catch
    kind, reason -> defect(stack, row, kind, reason, __STACKTRACE__)
  end

  def start(_stack, _row, _request), do: :ok

  defp begin(stack, before, row(machine: machine, octets: octets) = row) do
    {state, actions} = machine.start(octets, Clock.now(stack), timers(stack, row))
    # The machine has them now.
    carry_on(stack, before, row(row, state: state, octets: nil), actions)
  end

  defp started(stack, row(machine: machine) = row, request) do
    measurements = %{system_time: System.system_time()}

    Telemetry.emit(stack.telemetry, :transaction_started, measurements, fn ->
      %{key: key(row), machine: machine, request: parsed(request)}
    end)

    watch_owner(row)
  end

  # A row whose worker was not told of it has the octets alone.
  defp parsed(%Message{} = request), do: request

  defp parsed(octets) do
    case Message.parse(octets) do
      {:ok, request} -> request
      {:error, _reason} -> nil
    end
  end

  defp watch_owner(row(owner: owner, number: number)) when is_pid(owner),
    do: Owners.watch(owner, number)

  defp watch_owner(_row), do: :ok

  @doc """
  The first state of a server's row. It sends nothing by itself.
  """
  @spec first_state(Stack.t(), module, Transport.t()) :: tuple
  def first_state(stack, machine, %Transport{reliable?: reliable?}) do
    {state, []} = machine.start(nil, Clock.now(stack), {stack.options, reliable?})
    state
  end

  ## Names of hosts

  # The usual destination is a number, and never looked at.
  defp named?(_stack, row(destination: packed)) when is_integer(packed), do: false

  defp named?(stack, row(destination: destination, transport: transport)),
    do: Location.needed?(Path.transport(stack, transport), Path.unpack(destination))

  # RFC3263§4 - the name is looked up once: all that the transaction sends goes to one address
  defp locate(stack, row(id: {branch, :cancel}) = row) do
    case Rows.fetch(stack, Rows.hash(stack, {branch, :invite})) do
      # RFC3261§9.1 - nothing is cancelled by a message that was never sent
      row(state: {:locating, _ends_at}) = invite ->
        handle(stack, invite, :cancelled)
        fail(stack, row, :cancelled)

      row(transport: transport, destination: destination) ->
        begin(stack, row, row(row, transport: transport, destination: destination))

      nil ->
        look_up(stack, row)
    end
  end

  defp locate(stack, row), do: look_up(stack, row)

  defp look_up(stack, row(number: number, started: started) = row) do
    case addresses(stack, row, {:start, number, started}) do
      {:ok, addresses} -> go(stack, row, addresses)
      {:error, reason} -> fail(stack, row, reason)
      :asked -> settle(stack, row, locating(stack, row))
    end
  end

  defp addresses(stack, row(transport: transport, worker: worker) = row, tag) do
    destination = Path.unpack(row(row, :destination))
    Location.look_up(stack, Path.transport(stack, transport), destination, worker, tag)
  end

  defp locating(stack, row) do
    {state, []} = Client.Locating.start(nil, Clock.now(stack), timers(stack, row))
    row(row, state: state)
  end

  defp fail(stack, row, reason) do
    told(stack, row, reason)
    step(stack, row, locating(stack, row), [{:error, reason}])
  end

  # As any other failure to send. A request that was cancelled is none.
  defp told(_stack, _row, :cancelled), do: :ok
  defp told(stack, row, reason), do: Events.transport_error(stack, reason, nil, key(row))

  defp go(stack, row(octets: octets) = row, addresses) do
    case at_one_of(stack, row, addresses, octets) do
      {:ok, located} -> begin(stack, row, located)
      {:error, reason} -> fail(stack, row, reason)
    end
  end

  # A row whose messages go to one of these addresses from now on.
  defp at_one_of(stack, row(transport: kept, destination: destination) = row, addresses, octets) do
    {name, port} = Path.unpack(destination)
    ip = Location.draw(addresses)

    case Location.transport(stack, Path.transport(stack, kept), ip, octets) do
      nil ->
        {:error, :no_transport}

      transport ->
        kept = Path.keep(stack, %{transport | host: name})
        {:ok, row(row, transport: kept, destination: Path.pack({ip, port}))}
    end
  end

  @doc """
  Takes the answer to a question for the address of a name.
  """
  @spec located(Stack.t(), Rows.row(), term, Resolver.answer()) :: :ok
  def located(stack, row(state: {:locating, _ends_at}) = row, :start, {:ok, addresses}),
    do: go(stack, row, addresses)

  def located(stack, row(state: {:locating, _ends_at}) = row, :start, {:error, reason}) do
    told(stack, row, reason)
    handle(stack, row, {:error, reason})
  end

  def located(stack, row, {:send, octets}, answer) do
    with {:ok, addresses} <- answer,
         {:ok, located} <- at_one_of(stack, row, addresses, octets) do
      carry_on(stack, row, located, [{:send, octets}])
    else
      {:error, reason} -> handle(stack, row, {:error, reason})
    end
  end

  def located(_stack, _row, _what, _answer), do: :ok

  ## Events

  @doc """
  Tells the machine of a row what happened.
  """
  @spec handle(Stack.t(), Rows.row(), event) :: :ok
  # Whoever has put the row there is slower to tell of it.
  def handle(stack, row(state: state, running: running, number: number) = row, event)
      when state == nil or running == :request do
    start(stack, row)
    with row when row != nil <- Rows.fetch(stack, number), do: handle(stack, row, event)
    :ok
  end

  # RFC3261§9.1 - of an INVITE that waits for the address of a name nothing was sent
  def handle(stack, row(state: {:locating, _ends_at}) = row, :cancel),
    do: handle(stack, row, :cancelled)

  def handle(stack, row, :cancel) do
    settle(stack, row, Owners.cancel(row))
  catch
    kind, reason -> defect(stack, row, kind, reason, __STACKTRACE__)
  end

  # RFC3261§9.1 - a CANCEL was sent, by whomever
  def handle(stack, row, :cancelled) do
    step(stack, row, row(row, cancelled: true), [:cancelled])
  catch
    kind, reason -> defect(stack, row, kind, reason, __STACKTRACE__)
  end

  # RFC3261§18.1.1 - a request that is large leaves by UDP after all where the peer takes no TCP
  def handle(stack, row(transport: {_, _, _, _, _more}, state: state) = row, {:error, _} = event)
      when elem(state, 0) in [:calling, :trying] do
    case Path.instead_of(row(row, :transport)) do
      {other, _kept} when row(row, :cancelled) == false -> begin_again(stack, row, other)
      {_other, kept} -> step(stack, row, row(row, transport: kept), [event])
      nil -> step(stack, row, row, [event])
    end
  catch
    kind, reason -> defect(stack, row, kind, reason, __STACKTRACE__)
  end

  # Where the core has answered meanwhile, its hint is on its way, and finds nothing to do.
  def handle(stack, row(answer: answer) = row, event) do
    step(stack, row, row(row, answer: nil), [event | List.wrap(answer)])
  catch
    kind, reason -> defect(stack, row, kind, reason, __STACKTRACE__)
  end

  # The branch stays, and with it the key.
  defp begin_again(stack, row(transport: kept, state: state) = row, other) do
    {before, transport} = {Path.transport(stack, kept), Path.transport(stack, other)}
    request = Choice.rewrite(Message.parse!(octets(state)), before, transport)
    begin(stack, row, row(row, transport: other, octets: Message.to_string(request), state: nil))
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

  @doc """
  Takes a 2xx to an INVITE that is not the first final answer: the core's repetition, or that of a fork (RFC 6026 §7.1).
  """
  @spec answer_again(Stack.t(), Rows.hash(), event) ::
          :ok | {:error, :already_answered | :no_transaction}
  def answer_again(stack, number, event) do
    case Rows.fetch(stack, number) do
      nil ->
        {:error, :no_transaction}

      row(answer: answer) = row when answer != nil ->
        answer(stack, row)
        answer_again(stack, number, event)

      row(state: state) = row ->
        if elem(state, 0) == :accepted,
          do: handle(stack, row, event),
          else: {:error, :already_answered}
    end
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

  defp transition(stack, row(state: state) = row, event, name) do
    answer_cancel_before(stack, row, event)
    Place.keep(stack, row, event)
    row = if Telemetry.listened?(stack.telemetry), do: responded(stack, row, event), else: row

    case machine(row).handle(state, event, Clock.now(stack), timers(stack, row)) do
      {:terminated, reason, actions} ->
        {row, _events} = carry_all(stack, row, actions, name)
        throw({:terminated, row, reason})

      {state, actions} ->
        row = Owners.cancel_wanted(row(row, state: state), event)
        carry_all(stack, row, actions, name)
    end
  end

  # For who listens: the status of the first final response, and until then that of the last
  # provisional one.
  defp responded(_stack, row(status: final) = row, _event) when final >= 200 and final != nil,
    do: row

  defp responded(stack, row(status: last) = row, event) do
    case status(event) do
      status when status in [nil, 100, last] -> row
      status -> respond(stack, row(row, status: status), received(event))
    end
  end

  defp respond(stack, row(status: status, started: started) = row, response) do
    duration = System.monotonic_time() - started
    measurements = %{system_time: System.system_time(), duration: duration}

    Telemetry.emit(stack.telemetry, :transaction_responded, measurements, fn ->
      about = %{key: key(row), machine: row(row, :machine), cancelled: cancelled?(row)}
      Map.merge(about, %{status: status, response: response})
    end)

    row
  end

  defp received({:response, _status, response}), do: response
  defp received(_sent), do: nil

  # One that is only wanted was not sent yet.
  defp cancelled?(row(cancelled: cancelled)), do: cancelled == true

  defp final(row(status: status)), do: if(is_integer(status) and status >= 200, do: status)

  defp status({:response, status, _response}), do: status
  defp status({:answer, status, _tag, _octets}), do: status
  defp status({:reply, octets}), do: Outgoing.status(octets)
  defp status({:repeat, _tag, octets}), do: Outgoing.status(octets)
  defp status({:reliable, _rseq, octets}), do: Outgoing.status(octets)
  defp status(_event), do: nil

  # RFC3261§9.2 - the CANCEL is answered before its INVITE is, by whomever
  defp answer_cancel_before(stack, row(cancelled: true) = row, {:reply, octets}),
    do: answer_cancel_before(stack, row, {:answer, 300, nil, octets})

  defp answer_cancel_before(stack, row(cancelled: true) = row, {:answer, status, _tag, _octets})
       when status >= 300 do
    row(id: {branch, :invite, sent_by}, worker: worker) = row

    if unanswered?(row),
      do: answer_cancel(stack, worker, Rows.hash(stack, {branch, :cancel, sent_by}), @looks)
  end

  defp answer_cancel_before(_stack, _row, _event), do: :ok

  defp answer_cancel(_stack, _worker, _number, 0), do: :ok

  defp answer_cancel(stack, worker, number, looks) do
    case Rows.fetch(stack, number) do
      row(worker: ^worker, answer: answer) = cancel when answer != nil ->
        answer(stack, cancel)

      row(worker: ^worker, octets: octets) = cancel when octets != nil ->
        carry_on(stack, cancel, cancel, [{:make, 200}])
        # Nothing was made if the core has claimed it. Its answer is there in a moment.
        :erlang.yield()
        answer_cancel(stack, worker, number, looks - 1)

      _answered_or_another ->
        :ok
    end
  end

  defp machine(row(state: {:locating, _ends_at})), do: Client.Locating
  defp machine(row(machine: machine)), do: machine

  defp timers(stack, row(transport: transport)),
    do: {stack.options, Path.reliable?(transport)}

  ## What a machine asks for

  defp carry_all(stack, row, actions, name) do
    Enum.reduce(actions, {row, []}, fn action, {row, events} ->
      {row, more} = carry(stack, row, action, name)
      {row, events ++ more}
    end)
  end

  defp carry(stack, row, {:send, octets}, _name) do
    if named?(stack, row),
      do: transmit_named(stack, row, octets),
      else: {row, transmit(stack, row, octets)}
  end

  defp carry(stack, row, {:tell, callback, argument}, _name),
    do: {tell(stack, row, callback, argument, key(row)), []}

  defp carry(stack, row, {:tell_stray, request}, _name),
    do: {tell(stack, row, :receive_request, request, nil), []}

  defp carry(stack, row, {:make, 100}, _name),
    do: {row, [{:trying, Message.to_string(OwnMessages.trying(stack, row))}]}

  # Unless the core was faster.
  defp carry(stack, row, {:make, status}, _name) do
    if Rows.claim?(stack, row(row, :number)) do
      response = Message.to_response(OwnMessages.request(stack, row), status)
      tag = Key.own(Key.tag(response.headers.to))
      {row, [{:answer, status, tag, Message.to_string(response)}]}
    else
      {row, []}
    end
  end

  # RFC3261§8.2.7 - without a transaction; unless the core was faster
  defp carry(stack, row, {:refuse, status}, _name) do
    if Rows.claim?(stack, row(row, :number)) do
      Overload.answered(stack.overload)
      response = OwnMessages.refusal(OwnMessages.request(stack, row), status)

      {respond(stack, row(row, status: status), nil),
       transmit(stack, row, Message.to_string(response))}
    else
      {row, []}
    end
  end

  # RFC3261§13.2.2.4 - the ACK has the INVITE's Call-ID, From tag and CSeq number
  defp carry(stack, row, {:await_2xx, response}, _name) do
    hash = Aliases.name(stack, Aliases.accepted(response), row(row, :number))
    {row(row, names: [{:accepted, hash} | row(row, :names)]), []}
  end

  defp carry(stack, row, {:send_ack, {octets, transport, destination}}, _name) do
    transport = Path.transport(stack, transport)
    destination = Path.unpack(destination)

    Delivery.post(stack, %Outgoing{transport: transport, destination: destination, octets: octets})

    {row, []}
  end

  defp carry(_stack, row, {:make_ack, invite, response}, _name),
    do:
      {row,
       [{:acknowledge, Message.to_string(OwnMessages.ack(Message.parse!(invite), response))}]}

  defp carry(stack, row, {:await_ack, tag}, name) when name != nil do
    tag = Rows.hash(stack, tag)

    if List.keymember?(row(row, :names), tag, 0) do
      {row, []}
    else
      hash = Aliases.name(stack, name, row(row, :number))
      {row(row, names: [{tag, hash} | row(row, :names)]), []}
    end
  end

  defp carry(_stack, row, {:await_ack, _tag}, nil), do: {row, []}

  defp carry(stack, row, {:forget_ack, tag}, _name) do
    tag = Rows.hash(stack, tag)
    {forgotten, kept} = Enum.split_with(row(row, :names), &match?({^tag, _hash}, &1))
    for {_tag, hash} <- forgotten, do: Aliases.unname(stack, hash, row(row, :number))
    {row(row, names: kept), []}
  end

  # An owner is told, and ends by itself. The error of an INVITE is told by its machine.
  defp carry(stack, row(owner: owner, id: {_branch, method, _sent_by}) = row, :abandon, _name)
       when is_pid(owner) do
    if method != :invite, do: Owners.tell(stack, owner, key(row), :receive_error, :timeout)
    if row(row, :running) != owner, do: abandon(stack, row)
    {row, []}
  end

  defp carry(stack, row, :abandon, _name) do
    abandon(stack, row)
    {row, []}
  end

  # Another 2xx may come, and its ACK has what the INVITE had.
  defp carry(stack, row(owner: :nobody, id: {_branch, _method}) = row, :finished, _name) do
    Rows.finish(stack)
    {row, []}
  end

  defp carry(stack, row, :finished, _name) do
    Rows.finish(stack)
    {row(row, octets: nil, remote: nil, answer: nil), []}
  end

  defp abandon(stack, row(running: pid, given: :request) = row) when is_pid(pid) do
    unless Callbacks.process(stack, Rows.turn(row)) == :returned,
      do: CallbackRunner.abandon(stack, pid, :receive_request, key(row))
  end

  defp abandon(_stack, _row), do: :ok

  # A response to the name of a maddr that is obeyed.
  defp transmit_named(stack, row(number: number, started: started) = row, octets) do
    with {:ok, addresses} <- addresses(stack, row, {:send, number, started, octets}),
         {:ok, located} <- at_one_of(stack, row, addresses, octets) do
      {located, transmit(stack, located, octets)}
    else
      {:error, reason} -> {row, [{:error, reason}]}
      :asked -> {row, []}
    end
  end

  # What happened by it, as events.
  defp transmit(stack, row(destination: destination, transport: transport) = row, octets) do
    key = key(row)
    message = targeted(octets, row(row, :target))

    outgoing = %Outgoing{
      transport: Path.transport(stack, transport),
      destination: Path.unpack(destination),
      octets: octets,
      key: key,
      message: message,
      fallback: if(server?(row), do: &Location.another(stack, &1)),
      failed: &failed(stack, key, &1)
    }

    case Delivery.post(stack, outgoing) do
      :ok -> []
      {:error, reason} -> [{:error, reason}]
    end
  end

  # Octets have no target.
  defp targeted(_octets, nil), do: nil
  defp targeted(octets, target), do: %{Message.parse!(octets) | target: target}

  # By another process, and later: the row may be gone.
  defp failed(stack, key, reason) do
    with row(worker: worker, number: number) <- Rows.find(stack, key),
         do: Workers.send(stack, worker, {:event, number, {:error, reason}})
  end

  ## The core

  defp tell(stack, row(owner: owner) = row, callback, argument, key) when is_pid(owner) do
    Owners.tell(stack, owner, key, callback, argument)
    row
  end

  # What a proxy has forwarded is its caller's, and the core brings it there.
  defp tell(
         stack,
         row(owner: :nobody) = row,
         :receive_response,
         %Message{headers: %{via: [_own, _upstream | _]}} = response,
         key
       ) do
    row = tell(stack, row(row, owner: nil), :receive_response, response, key)
    row(row, owner: :nobody)
  end

  defp tell(_stack, row(owner: :nobody) = row, callback, argument, _key),
    do: Owners.unattended(row, callback, argument)

  defp tell(stack, row(running: nil) = row, callback, argument, key),
    do: call(stack, row, callback, argument, key)

  defp tell(stack, row(waiting: waiting) = row, callback, argument, key) do
    if waiting >= @most_waiting and droppable?(callback, argument) do
      row
    else
      Callbacks.wait(stack, Rows.turn(row), {callback, argument, key})
      row(row, waiting: waiting + 1)
    end
  end

  defp droppable?(:receive_response, %Message{start_line: %{status_code: status}}),
    do: status < 200

  defp droppable?(_callback, _argument), do: false

  # A request without a key is an ACK, which has no answer that could be missed.
  defp call(stack, row, :receive_request, request, key) when key != nil do
    turn = {Callbacks, Rows.turn(row)}
    {pid, _ref} = CallbackRunner.start(stack, :receive_request, request, key, turn)
    watched(row, :request, pid)
  end

  defp call(stack, row, callback, argument, key) do
    about = if callback == :receive_error, do: about(row), else: %{}
    {pid, _ref} = CallbackRunner.start(stack, callback, argument, key, nil, about)
    watched(row, :event, pid)
  end

  # Its end is told to this process, which finds the row by it.
  defp watched(row(number: number) = row, given, pid) do
    Process.put({:callback, pid}, number)
    row(row, running: pid, given: given)
  end

  defp watch(row, given, pid) do
    Process.monitor(pid)
    watched(row, given, pid)
  end

  @doc """
  Takes the end of a callback.
  """
  @spec returned(Stack.t(), Rows.row(), term) :: :ok
  # A worker that was killed had started it before: that one is waited for.
  def returned(stack, row(given: :request) = before, {:shutdown, :begun}) do
    case Callbacks.process(stack, Rows.turn(before)) do
      pid when is_pid(pid) ->
        Rows.update(stack, before, watch(before, :request, pid))
        :ok

      _over ->
        Callbacks.ended(stack, Rows.turn(before))
        ended(stack, before, nil)
    end
  end

  def returned(stack, row(given: :request) = row, reason) do
    returned? = Callbacks.ended(stack, Rows.turn(row)) or reason == :normal
    ended(stack, row, if(not returned?, do: {:failed, reason}))
  end

  def returned(stack, row, _reason), do: ended(stack, row, nil)

  defp ended(stack, row(answer: answer) = before, failure) do
    row = call_next(stack, row(before, running: nil, given: nil))

    with {:failed, reason} when answer == nil <- failure, true <- unanswered?(row) do
      Events.owner_down(stack, key(row), nil, reason)
      carry_on(stack, before, row, [{:make, 500}])
    else
      _over -> step(stack, before, row(row, answer: nil), List.wrap(answer))
    end
  catch
    kind, reason -> defect(stack, before, kind, reason, __STACKTRACE__)
  end

  defp call_next(_stack, row(waiting: 0) = row), do: row

  # In this order: who is killed in between has another one call it once more, and not forget it.
  defp call_next(stack, row(waiting: waiting) = row) do
    case Callbacks.next_waiting(stack, Rows.turn(row)) do
      {key_of_call, {callback, argument, key}} ->
        row = call(stack, row, callback, argument, key)
        Callbacks.forget_waiting(stack, key_of_call)
        row(row, waiting: waiting - 1)

      nil ->
        row(row, waiting: 0)
    end
  end

  # The core failed while it had a request that is not answered yet.
  defp unanswered?(row(octets: octets) = row), do: server?(row) and octets != nil

  ## The end of a step

  defp settle(stack, before, row(id: {:ended, _number}) = row) do
    row = Place.release(stack, row)

    if row(row, :running) == nil,
      do: Rows.delete_ended(stack, row),
      else: Rows.update(stack, before, row)

    :ok
  end

  defp settle(stack, row(state: was) = before, row(state: state) = row) do
    finishes? = Rows.finished_state?(state) and not Rows.finished_state?(was)
    row = due(stack, row, finishes?)
    row = if finishes?, do: forget_returned(stack, row), else: row
    if finishes?, do: Place.finished(stack, row)
    Rows.update(stack, before, Place.release(stack, row))
    :ok
  end

  # An earlier entry is left as it is: the machine finds out that it came too early. But a transaction that finishes waits for one
  # time alone, and needs no second look before.
  defp due(stack, row(state: state, due: set) = row, finishes?) do
    at = machine(row).due(state)

    if is_integer(at) and (finishes? or Deadlines.earlier?(stack, at, set)) do
      unset(stack, row)
      row(row, due: set_due(stack, row, at))
    else
      row
    end
  end

  # Most cores have returned by now, and the word of it is on its way. It finds nothing to do then.
  defp forget_returned(stack, row(running: pid, given: :request, waiting: 0) = row)
       when is_pid(pid) do
    turn = Rows.turn(row)

    if Callbacks.process(stack, turn) == :returned do
      Callbacks.ended(stack, turn)
      Process.delete({:callback, pid})
      row(row, running: nil, given: nil)
    else
      row
    end
  end

  defp forget_returned(_stack, row), do: row

  defp set_due(stack, row(worker: worker, number: number), at) do
    at = Deadlines.set(stack, worker, at, number)
    Alarm.set(stack, at)
    at
  end

  defp unset(_stack, row(due: :never)), do: true

  defp unset(stack, row(due: at, worker: worker, number: number)),
    do: Deadlines.unset(stack, worker, at, number)

  @doc """
  Looks at a row whose time has come.
  """
  @spec due(Stack.t(), Rows.row(), integer, integer) :: :ok
  def due(stack, row(due: at, state: state) = row, at, now) do
    if machine(row).due(state) <= now,
      do: handle_due(stack, row),
      else: settle(stack, row, row(row, due: :never))
  end

  # The entry was not the one that counts.
  def due(_stack, _row, _at, _now), do: :ok

  # What is written back is told from what stands in the table, which has the old time.
  defp handle_due(stack, row) do
    step(stack, row, row(row, due: :never), [:due])
  catch
    kind, reason -> defect(stack, row, kind, reason, __STACKTRACE__)
  end

  ## Owners

  @doc """
  Has a process get the events of a row from now on, those first that wait; or, with `nil`, the core.
  """
  @spec own(Stack.t(), Rows.hash(), pid | nil) :: :ok | {:error, :no_transaction}
  def own(stack, number, pid) do
    case Rows.fetch(stack, number) do
      nil ->
        {:error, :no_transaction}

      row(state: state, running: running) = row when state == nil or running == :request ->
        start(stack, row)
        own(stack, number, pid)

      row(owner: before) = row ->
        if is_pid(before), do: Owners.unwatch(before, number)
        if pid, do: Owners.watch(pid, number)
        row = give_waiting(stack, row(row, owner: pid))
        Rows.update(stack, row(row, owner: before, waiting: :unknown), row)
        :ok
    end
  end

  defp give_waiting(_stack, row(owner: nil) = row), do: row

  defp give_waiting(stack, row) do
    case Callbacks.next_waiting(stack, Rows.turn(row)) do
      {key_of_call, {callback, argument, key}} ->
        tell(stack, row, callback, argument, key)
        Callbacks.forget_waiting(stack, key_of_call)
        give_waiting(stack, row)

      nil ->
        row(row, waiting: 0)
    end
  end

  @doc """
  Takes the end of a row's owner. A request that is not answered gets 500, an INVITE of a client is cancelled. One that has its
  final response is the core's again, but for a client's INVITE whose owner has failed: its 2xx wants an ACK and a BYE.
  """
  @spec orphaned(Stack.t(), Rows.row(), term) :: :ok
  # Its request is not sent any more.
  def orphaned(stack, row(id: {_branch, :invite}, state: {:locating, _ends_at}) = row, reason) do
    Events.owner_down(stack, key(row), nil, reason)
    terminate(stack, row(row, owner: :nobody), :terminated)
  end

  def orphaned(stack, row(answer: answer, state: state) = before, reason) do
    core? = Rows.finished_state?(state) and (server?(before) or well?(reason))
    row = if core?, do: row(before, owner: nil), else: leave(before)
    if left?(before), do: Events.owner_down(stack, key(before), nil, reason)

    if answer == nil and unanswered?(row),
      do: carry_on(stack, before, row, [{:make, 500}]),
      else: settle(stack, before, row)
  catch
    kind, reason -> defect(stack, before, kind, reason, __STACKTRACE__)
  end

  # What its owner has not ended: a request that is not answered, and an INVITE that waits for its
  # final response.
  defp left?(row(answer: answer, state: state, id: {_branch, method}) = _client),
    do: answer == nil and method == :invite and not Rows.finished_state?(state)

  defp left?(row(answer: answer) = row), do: answer == nil and unanswered?(row)

  defp leave(row) do
    row = row(row, owner: :nobody)
    if server?(row), do: row, else: Owners.cancel(row(row, octets: octets(row(row, :state))))
  end

  defp well?({:shutdown, _term}), do: true
  defp well?(reason), do: reason in [:normal, :shutdown]

  defp server?(row(id: id)), do: match?({_branch, _method, _sent_by}, id)

  @doc """
  A CANCEL has come for the INVITE of this number. Returns who owns that.
  """
  @spec cancelled(Stack.t(), Rows.hash()) :: pid | nil
  def cancelled(stack, number) do
    with row(owner: owner, octets: octets) = row <- Rows.fetch(stack, number) do
      # RFC3261§9.2 - a CANCEL has no effect on an INVITE that has a final answer
      if octets != nil, do: Rows.update(stack, row, row(row, cancelled: true))
      if is_pid(owner), do: owner
    end
  end

  ## The end of a transaction

  @doc """
  Ends a transaction. Callbacks that run or wait go on: they are pending work as long.
  """
  @spec terminate(Stack.t(), Rows.row(), term) :: :ok
  def terminate(stack, row(owner: owner, number: number, state: state) = row, reason) do
    if is_pid(owner) do
      Owners.unwatch(owner, number)
      # Whoever waits must not wait for ever.
      if reason == :terminated and not Rows.finished_state?(state),
        do: tell(stack, row, :receive_error, :terminated, key(row))
    end

    Aliases.forget(stack, row)
    unset(stack, row)
    duration = System.monotonic_time() - row(row, :started)

    case row(row, :running) do
      pid when is_pid(pid) ->
        ended = Rows.detach(stack, row)
        Process.put({:callback, pid}, ended)

      # None, or one that could not be started.
      _none ->
        Place.release(stack, row(row, state: nil, running: nil))
        Rows.delete(stack, row)
    end

    Telemetry.emit(stack.telemetry, :transaction_ended, %{duration: duration}, fn ->
      about = %{key: key(row), machine: row(row, :machine), cancelled: cancelled?(row)}
      Map.merge(about, %{reason: reason, status: final(row)})
    end)
  end

  defp defect(stack, row(number: number) = row, kind, reason, stacktrace) do
    Stack.log_defect(stack, kind, reason, stacktrace, about(row))

    with row when row != nil <- Rows.fetch(stack, number),
         do: terminate(stack, row, {kind, reason})

    :ok
  end

  # What a line of the log is about.
  defp about(row(id: {:ended, _number})), do: %{}

  defp about(row(octets: octets, state: state, remote: remote) = row),
    do: %{key: key(row), octets: octets || octets(state), remote: remote}

  # Those of the message that a machine may send again.
  defp octets(nil), do: nil
  defp octets(state), do: state |> Tuple.to_list() |> Enum.find(&is_binary/1)

  ## Of a row

  @doc """
  The key of a row's transaction.
  """
  @spec key(Rows.row()) :: struct
  def key(row(id: id)), do: Rows.key(id)

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

  defp recover_row(_stack, row(id: {:ended, _number}, running: pid, given: given) = row),
    do: watch(row, given, pid)

  defp recover_row(stack, row(state: state, running: running) = row)
       when state == nil or running == :request,
       do: start(stack, row)

  # The answer may be lost with the predecessor's mailbox.
  defp recover_row(stack, row(state: {:locating, _ends_at}) = row) do
    watch_owner(row)
    look_up(stack, row)
  end

  defp recover_row(stack, row(due: due, answer: answer) = before) do
    watch_owner(before)
    row = before |> recover_callback(stack) |> row(answer: nil)

    # The entry of the row is among the deadlines, unless it was just taken.
    row = if is_integer(due), do: row(row, due: set_due(stack, row, due)), else: row

    step(stack, before, row, List.wrap(answer))
  catch
    kind, reason -> defect(stack, before, kind, reason, __STACKTRACE__)
  end

  # What waits was put there while a callback ran, of which the predecessor may have written nothing down.
  defp recover_callback(row(running: running, given: given) = row, stack) do
    row = row(row, waiting: Callbacks.waiting(stack, Rows.turn(row)))

    case running do
      nil -> call_next(stack, row)
      pid -> watch(row, given, pid)
    end
  end

  @doc false
  @spec worker_of(Stack.t(), Message.t()) :: pos_integer
  def worker_of(stack, %Message{headers: headers}), do: Workers.of_call(stack, headers[:call_id])
end
