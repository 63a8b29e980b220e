defmodule Sippet.Transactions do
  @moduledoc false
  # The transaction layer as the router and the face see it: start one, hand it what came or what shall go, end it.
  #
  # A transaction is a row (Sippet.Transactions.Rows) on which one worker works. What this module is called for by that
  # worker is done at once; what others want is sent to it.

  import Sippet.Transactions.Rows, only: [row: 1, row: 2]

  alias Sippet.{Dialog, Message, Names, Overload, Resolver, Stack, Telemetry, Transport}
  alias Sippet.Message.{RequestLine, StatusLine, Tag, Typed, Via}
  alias Sippet.Stack.Events

  alias Sippet.Transactions.{
    Actions,
    Aliases,
    Callbacks,
    Client,
    Clock,
    Deadlines,
    Inspection,
    Key,
    Location,
    Owners,
    Path,
    Place,
    Quoted,
    Rows,
    Server,
    Worker,
    Workers
  }

  alias Sippet.Transport.{Delivery, Outgoing}

  @type key :: Client.Key.t() | Server.Key.t()

  @other_methods Enum.map(Names.methods(), &Names.method/1) -- [:invite, :ack, :cancel]

  # RFC3261§12.1, RFC6665§4.1.2.4 - what is answered with 2xx makes a dialog
  @dialogs [:invite, :subscribe]

  @doc """
  Makes what the transactions of a stack of this name lie in; the tables belong to the caller.
  """
  @spec create(atom) :: map
  def create(name) do
    workers = Workers.new(name)

    %{
      workers: workers,
      rows: Rows.new(),
      aliases: Aliases.new(),
      callbacks: Callbacks.new(),
      deadlines: Deadlines.new(Workers.count(workers))
    }
  end

  @doc """
  Reads a key as `Sippet.sigil_K/2` has it; raises `ArgumentError` for any other text.
  """
  @spec parse_key!(String.t()) :: key
  def parse_key!(text) do
    case Key.read!(text) do
      {branch, method} -> Client.Key.new(branch, method)
      {branch, method, sent_by} -> Server.Key.new(branch, method, sent_by)
    end
  end

  ## Start

  @doc """
  Sends a request, and takes care of it from then on. Not for an ACK, which has no transaction of its own.

  Raises `ArgumentError` for a request that can't be printed.
  """
  @spec start_client(
          Stack.t(),
          Message.request(),
          Transport.t(),
          Transport.destination(),
          pid | :nobody | nil
        ) :: :ok | {:error, :already_started | :overload}
  def start_client(stack, request, transport, destination, owner \\ nil) do
    {key, number} = numbered(stack, Client.Key.new(request))

    row =
      row(
        number: number,
        id: Rows.id(key),
        worker: Actions.worker_of(stack, request),
        machine: client(request.start_line.method),
        octets: Message.to_string(request),
        transport: Path.keep(stack, transport),
        destination: Path.pack(Path.normal(destination)),
        target: if(transport.module == nil, do: target(request)),
        owner: owner,
        started: System.monotonic_time()
      )

    with :ok <- insert(stack, row) do
      Owners.sent(stack, request)
      # A listener gets it. Else it need not be copied to the worker.
      begin(stack, row, if(Telemetry.listened?(stack.telemetry), do: request))
      cancelled(stack, key)
    end
  end

  defp target(%Message{target: {protocol, host, port}}), do: {protocol, Key.own(host), port}
  defp target(_request), do: nil

  defp client(:invite), do: Client.Invite
  defp client(_method), do: Client.NonInvite

  defp insert(stack, row, seen \\ nil) do
    with true <- room?(stack, row, seen) || :error,
         true <- Rows.insert_new(stack, row) do
      :ok
    else
      false -> {:error, :already_started}
      :error -> {:error, :overload}
    end
  end

  # RFC3261§9.2 - a CANCEL is what ends another, whatever the load
  defp room?(_stack, row(id: id), _seen) when elem(id, 1) == :cancel, do: true

  # What an owner that has ended has left is ended too.
  defp room?(_stack, row(owner: :nobody), _seen), do: true

  # A part of all is kept for who is seen; the stack's own have all.
  defp room?(%Stack{options: %{max_transactions: limit}} = stack, _row, seen) do
    count = count(stack)

    cond do
      count >= limit -> false
      seen == nil -> true
      count < Overload.limit(limit, :unseen) -> true
      true -> seen.() != nil
    end
  end

  # A row that its worker does not hear of begins when the worker looks for such.
  defp begin(stack, row(worker: worker, number: number) = row, request) do
    if Worker.index(stack) == worker,
      do: Actions.start(stack, row, request),
      else: Workers.send(stack, worker, {:start, number, request})
  end

  # RFC3261§9.1 - from a CANCEL on, its INVITE has 64*T1
  defp cancelled(stack, %Client.Key{method: :cancel} = key) do
    post(stack, Client.Key.invite(key), :cancelled)
    :ok
  end

  defp cancelled(_stack, _key), do: :ok

  @doc """
  Has a client's INVITE cancelled as soon as that can be; `:error` where there is none of this key.
  """
  @spec cancel(Stack.t(), Client.Key.t()) :: :ok | :error
  def cancel(stack, %Client.Key{method: :invite} = key), do: post(stack, key, :cancel)

  @doc """
  Whether a request of any method but INVITE, ACK and CANCEL has this branch and sent-by (RFC 3261 §9.2).
  """
  @spec other_request?(Stack.t(), Server.Key.t()) :: boolean
  def other_request?(stack, %Server.Key{} = key) do
    Enum.any?(@other_methods, fn method -> alive?(stack, %{key | method: method}) end)
  end

  @doc """
  Where the INVITE of a CANCEL went, and by which transport; nothing where there is none in progress.
  """
  @spec path_of_cancel(Stack.t(), Message.request()) ::
          {Transport.t(), Transport.destination()} | nil
  def path_of_cancel(stack, cancel) do
    with row when row != nil <- Rows.find(stack, Client.Key.invite(Client.Key.new(cancel))),
         do: path(stack, row)
  end

  @doc """
  By which transport the messages of a row go, and where.
  """
  @spec path(Stack.t(), Rows.row()) :: {Transport.t(), Transport.destination()}
  def path(stack, row(transport: transport, destination: destination)),
    do: {Path.transport(stack, transport), Path.unpack(destination)}

  @typedoc """
  A request as it came: its octets, from which what is needed but seldom is read again, and where it came from; the source whose
  pending work it is, if it is one's; its key with the number of that, where these are known; and what tells whether the stack has
  seen its sender.
  """
  @type origin :: %{
          optional(:octets) => binary,
          optional(:remote) => tuple,
          optional(:source) => Overload.FairShare.source(),
          optional(:key) => {Server.Key.t(), Rows.hash()},
          optional(:seen) => (() -> Overload.seen())
        }

  @doc """
  Gives a request to the core, and its responses to `destination`.
  """
  @spec start_server(Stack.t(), Message.request(), Transport.t(), Transport.destination(), origin) ::
          :ok | {:error, :already_started | :overload}
  def start_server(stack, request, transport, destination, origin \\ %{}) do
    {key, number} = origin[:key] || numbered(stack, Server.Key.new(request))
    octets = origin[:octets] || Message.to_string(request)
    source = origin[:source]

    machine = server(request.start_line.method)

    row =
      row(
        number: number,
        id: Rows.id(key),
        worker: Actions.worker_of(stack, request),
        machine: machine,
        state: Actions.first_state(stack, machine, transport),
        running: :request,
        pending: if(source, do: byte_size(octets), else: 0),
        place: if(source, do: Place.of(request)),
        owner: owner_of_new(stack, request, key),
        octets: Key.own(octets),
        transport: Path.keep(stack, transport),
        destination: Path.pack(Path.normal(destination)),
        source: source,
        remote: origin[:remote],
        started: System.monotonic_time(),
        merge: Aliases.merge(stack, request),
        names: names(stack, request, key)
      )

    with :ok <- insert(stack, row, origin[:seen]) do
      Place.take(stack, row, origin[:seen])
      Aliases.claim(stack, row)

      for {:responses, _hash} <- row(row, :names),
          do: Aliases.name(stack, responses(request), number)

      begin(stack, row, request)
      :ok
    end
  end

  @doc """
  Has a row lose its place for another, if it is still the one that was listed.
  """
  @spec lose_place(Stack.t(), {integer, Rows.hash()}) :: :ok
  def lose_place(stack, {started, number}) do
    with row(started: ^started) = row <- Rows.fetch(stack, number),
         do: pass(stack, row, :lose_place)

    :ok
  end

  @doc """
  A key with its number, by which its transaction is found.
  """
  @spec numbered(Stack.t(), key) :: {key, Rows.hash()}
  def numbered(stack, key), do: {key, Rows.number(stack, key)}

  # RFC3261§9.2 - whoever has the INVITE gets its CANCEL
  defp owner_of_new(stack, %Message{start_line: %{method: :cancel}} = cancel, key) do
    number = Rows.number(stack, Server.Key.invite(key))

    # The row of another call's worker is not written here.
    if Rows.worker(stack, number) == Actions.worker_of(stack, cancel),
      do: Actions.cancelled(stack, number)
  end

  defp owner_of_new(stack, request, _key), do: Owners.of_dialog(stack, request)

  defp server(:invite), do: Server.Invite
  defp server(_method), do: Server.NonInvite

  # The responses to a peer of RFC 2543 lack the Request-URI, so that they have another key.
  defp names(stack, request, key) do
    if Key.rfc2543?(key),
      do: [{:responses, Rows.hash(stack, responses(request))}],
      else: []
  end

  defp responses(request), do: {:responses, Rows.id(Server.Key.of_responses(request))}

  ## What came

  @doc """
  Hands a request to the transaction that it repeats, or an ACK to its INVITE's. `{:error, :busy}` says that this belongs
  to another worker, for whom enough waits already.
  """
  @spec receive_request(
          Stack.t(),
          Message.request(),
          Server.Key.t() | {Server.Key.t(), Rows.hash()}
        ) ::
          :ok | :error | {:error, :busy}
  def receive_request(stack, request, %Server.Key{} = key),
    do: receive_request(stack, request, numbered(stack, key))

  def receive_request(stack, %Message{start_line: %RequestLine{method: :ack}} = ack, key) do
    # RFC3261§17.2.3 - an RFC 2543 branch does not tell the ACK of this response from others; the To tag does
    tag = if Key.rfc2543?(elem(key, 0)), do: Key.tag(ack.headers[:to]), else: :any
    arrived(stack, key, {:ack, tag, ack})
  end

  def receive_request(stack, %Message{start_line: %RequestLine{method: method}}, key),
    do: arrived(stack, key, {:request, method})

  @spec receive_response(Stack.t(), Message.response(), Client.Key.t()) ::
          :ok | :error | {:error, :busy}
  def receive_response(stack, %Message{start_line: %StatusLine{} = line} = response, key) do
    %{status_code: status} = line
    taken = arrived(stack, numbered(stack, key), {:response, status, response})

    if taken == :ok and status >= 200, do: note_received(stack, key.method, response)
    taken
  end

  defp note_received(stack, method, %Message{headers: headers} = response) do
    Owners.answered(stack, :received, response)

    if method in @dialogs and response.start_line.status_code < 300,
      do: note_dialog(stack, headers)
  end

  # The same branch may come with any Call-ID, without end.
  defp arrived(stack, {key, number}, event) do
    case Rows.find(stack, key, number) do
      nil ->
        :error

      row(worker: worker, number: number) = row ->
        if Worker.index(stack) == worker,
          do: pass(stack, row, event),
          else: Workers.post(stack, worker, {:event, number, event})
    end
  end

  @doc """
  Takes an ACK that no transaction took: a 2xx of its dialog is not repeated any more. `:error` where none waits for it.
  """
  @spec ack(Stack.t(), Message.request()) :: :ok | :error
  def ack(stack, request) do
    {:ack, _call_id, _from_tag, tag, _number} = name = ack_name(request)

    with number when number != nil <- Aliases.number(stack, name),
         row when row != nil <- Rows.fetch(stack, number) do
      pass(stack, row, {:acked, tag})
    else
      nil -> :error
    end
  end

  # RFC3261§13.2.2.4 - an ACK has the dialog and the CSeq number of the 2xx that it is for.
  defp ack_name(%Message{headers: headers}) do
    {:ack, headers[:call_id], Key.tag(headers[:from]), Key.tag(headers[:to]),
     number(headers[:cseq])}
  end

  defp number({number, _method}), do: number
  defp number(_cseq), do: nil

  ## What shall go

  @doc """
  Sends the core's response by the transaction of its request.

  Raises `ArgumentError` for a response that can't be printed: in the caller, and not in the worker.
  """
  @spec send_response(Stack.t(), Message.response()) ::
          :ok | {:error, :already_answered | :no_transaction}
  def send_response(stack, %Message{start_line: %StatusLine{status_code: status}} = response) do
    tag = Key.own(Key.tag(response.headers[:to]))
    answer(stack, response, {:answer, status, tag, Message.to_string(response)})
  end

  @doc """
  Notes who is answered with 2xx, and the dialog of that: they are no strangers any more. Any other response notes nothing.
  """
  @spec note(Stack.t(), Message.response()) :: :ok
  def note(
        stack,
        %Message{
          start_line: %StatusLine{status_code: status},
          headers: %{via: [via | _], cseq: {_number, method}} = headers
        }
      )
      when status in 200..299 do
    Overload.note_source(stack.overload, Via.address(via))
    if method in @dialogs, do: note_dialog(stack, headers)
    :ok
  end

  def note(_stack, _response), do: :ok

  defp note_dialog(stack, headers) do
    with dialog when dialog != nil <- Tag.dialog(headers),
         do: Overload.note_dialog(stack.overload, dialog)
  end

  @doc """
  Sends the core's final response, and ends the transaction of its request.

  Raises `ArgumentError` for a response that can't be printed.
  """
  @spec reply(Stack.t(), Message.response()) ::
          :ok | {:error, :already_answered | :no_transaction}
  def reply(stack, response) do
    # The ACK of it is told by its tag.
    Overload.answered(stack.overload)
    answer(stack, response, {:reply, Message.to_string(response)})
  end

  @doc """
  Has a 2xx to an INVITE repeated until its ACK comes (RFC 3261 §13.3.1.4).

  It begins T1 from now; where the 2xx was not sent yet it is sent first. Raises `ArgumentError` for any other response.
  """
  @spec retransmit_2xx(Stack.t(), Message.response()) ::
          :ok | {:error, :already_answered | :no_transaction}
  def retransmit_2xx(stack, response) do
    with %Message{
           start_line: %StatusLine{status_code: status},
           headers: %{cseq: {_number, :invite}, to: to}
         }
         when status in 200..299 <- response do
      answer(stack, response, {:repeat, Key.own(Key.tag(to)), Message.to_string(response)})
    else
      _other ->
        raise ArgumentError, "expected a 2xx response to an INVITE, got: #{inspect(response)}"
    end
  end

  @doc """
  Has a reliable provisional response to an INVITE repeated until its PRACK comes (RFC 3262 §3).

  Where it was not sent yet it is sent first. Raises `ArgumentError` for any other response.
  """
  @spec retransmit_1xx(Stack.t(), Message.response()) :: :ok | {:error, :no_transaction}
  def retransmit_1xx(stack, response) do
    with %Message{
           start_line: %StatusLine{status_code: status},
           headers: %{cseq: {_number, :invite}, to: to} = headers
         }
         when status in 101..199 <- response,
         {:ok, rseq} when rseq > 0 <- Typed.fetch(headers, "RSeq"),
         tag when tag != nil <- Key.tag(to) do
      answer(stack, response, {:reliable, rseq, Message.to_string(response)})
    else
      _other ->
        raise ArgumentError,
              "expected a response of 101 to 199 to an INVITE, with a To tag and RSeq, got: #{inspect(response)}"
    end
  end

  @doc """
  Takes a PRACK: what it acknowledges is not repeated any more. `:unmatched` where the INVITE that it names waits for another,
  and `:unknown` where no INVITE of the dialog has sent such a response, or has its final one.
  """
  @spec prack(Stack.t(), Message.request()) :: :ok | :unmatched | :unknown
  def prack(stack, %Message{headers: headers} = request) do
    with {:ok, {rseq, number, :invite}} <- Typed.fetch(headers, "RAck"),
         name = prack_name(headers, Key.tag(headers[:from]), Key.tag(headers[:to]), number),
         found when found != nil <- Aliases.number(stack, name),
         row(worker: worker, state: state) = row <- Rows.fetch(stack, found),
         waits? when waits? != nil <- Server.Invite.unacknowledged?(state, rseq) do
      if waits?, do: pass(stack, row, {:pracked, rseq})
      if waits? or worker != Actions.worker_of(stack, request), do: :ok, else: :unmatched
    else
      _none -> :unknown
    end
  end

  defp prack_name(headers, remote_tag, local_tag, number),
    do: {:prack, headers[:call_id], remote_tag, local_tag, number}

  defp answer(stack, response, event) do
    with number when number != nil <- answered(stack, response),
         :ok <- give(stack, number, named(response, event)) do
      if response.start_line.status_code >= 200, do: Owners.answered(stack, :sent, response)
      note(stack, response)
    else
      nil -> {:error, :no_transaction}
      {:error, _reason} = error -> error
    end
  end

  # A final answer lies in the row, so that it is not lost with the worker.
  defp give(stack, number, event) do
    case final?(event) && Rows.claim_answer(stack, number, event) do
      {:first, worker} ->
        Workers.send(stack, worker, {:answered, number})
        :ok

      {:later, worker} ->
        again(stack, worker, number, event)

      nil ->
        {:error, :no_transaction}

      false ->
        tell(stack, Rows.worker(stack, number), number, event)
    end
  end

  # RFC6026§7.1 - a 2xx to INVITE may follow another: whether it was one, the worker knows.
  defp again(stack, worker, number, {event, _name} = named) when is_tuple(event) do
    case Workers.call(stack, worker, {:answer_again, number, named}) do
      # It is about to start again.
      :error -> Workers.send(stack, worker, {:event, number, named}) && :ok
      answer -> answer
    end
  end

  defp again(_stack, _worker, _number, _event), do: {:error, :already_answered}

  defp tell(_stack, nil, _number, _event), do: {:error, :no_transaction}

  defp tell(stack, worker, number, event) do
    Workers.send(stack, worker, {:event, number, event})
    :ok
  end

  defp final?({:reply, _octets}), do: true
  defp final?({event, _name}), do: final?(event)
  defp final?({:answer, status, _tag, _octets}), do: status >= 200
  defp final?({:repeat, _tag, _octets}), do: true
  defp final?({:reliable, _rseq, _octets}), do: false

  defp named(%Message{headers: %{cseq: {number, :invite}} = headers}, {:reliable, _, _} = event),
    do: {event, prack_name(headers, Key.tag(headers.from), Key.tag(headers.to), number)}

  defp named(%Message{headers: %{cseq: {_number, :invite}}, start_line: line} = response, event)
       when line.status_code in 200..299,
       do: {event, ack_name(response)}

  defp named(_response, event), do: event

  # The row of the transaction that sends this response.
  defp answered(stack, response) do
    key = Server.Key.new(response)

    if Key.rfc2543?(key),
      do: Aliases.number(stack, {:responses, Rows.id(key)}),
      else: Rows.number(stack, key)
  end

  @doc """
  Sends the ACK of a 2xx, or anything else that has no transaction, behind what the call's worker was told before.

  Where the core has made the ACK, it is sent again for each 2xx that comes again (RFC 3261 §13.2.2.4).
  """
  @spec send_once(Stack.t(), Message.t(), Transport.t(), Transport.destination()) ::
          :ok | {:error, term}
  def send_once(stack, message, transport, destination) do
    octets = Message.to_string(message)
    destination = Path.normal(destination)

    if Location.needed?(transport, destination),
      do: send_to_name(stack, message, octets, transport, destination),
      else: send_octets(stack, message, octets, transport, destination)
  end

  defp send_to_name(stack, message, octets, transport, {host, port} = destination) do
    transport = %{transport | host: host}
    once = {:once, octets, Path.keep(stack, transport), port}
    worker = Actions.worker_of(stack, message)

    case Location.look_up(stack, transport, destination, worker, once) do
      {:ok, addresses} -> send_to_first(stack, message, octets, transport, addresses, port)
      {:error, reason} -> unlocated(stack, reason, transport, destination)
      :asked -> :ok
    end
  end

  # RFC3263§4.4 - always to the same one: no transaction remembers where an earlier one went
  defp send_to_first(stack, message, octets, transport, addresses, port) do
    ip = Location.first(addresses)

    case Location.transport(stack, transport, ip, octets) do
      nil ->
        unlocated(stack, :no_transport, transport, {ip, port})

      found ->
        send_octets(stack, message, octets, %{found | host: transport.host}, {ip, port})
    end
  end

  defp unlocated(stack, reason, transport, {host, port}) do
    Events.transport_error(stack, reason, {transport.protocol, host, port}, nil)
    {:error, reason}
  end

  @doc """
  Takes the answer to a question for the address of a name.
  """
  @spec located(Stack.t(), term, Resolver.answer()) :: :ok
  def located(stack, {:start, number, started}, answer),
    do: located(stack, number, started, :start, answer)

  def located(stack, {:send, number, started, octets}, answer),
    do: located(stack, number, started, {:send, octets}, answer)

  def located(stack, {:once, octets, kept, port}, answer) do
    transport = Path.transport(stack, kept)

    case answer do
      {:ok, addresses} ->
        send_to_first(stack, Message.parse!(octets), octets, transport, addresses, port)

      {:error, reason} ->
        unlocated(stack, reason, transport, {nil, port})
    end

    :ok
  end

  # The transaction may have ended, and another of its key may be there.
  defp located(stack, number, started, what, answer) do
    case Rows.fetch(stack, number) do
      row(started: ^started) = row -> Actions.located(stack, row, what, answer)
      _none -> :ok
    end
  end

  defp send_octets(stack, message, octets, transport, destination) do
    worker = Actions.worker_of(stack, message)
    kept = kept_ack(stack, message, octets, transport, destination)

    outgoing = %Outgoing{
      transport: transport,
      destination: destination,
      octets: octets,
      message: message
    }

    if transport.module == nil or is_binary(elem(destination, 0)) do
      # It may take its time, which is the caller's.
      keep(stack, kept)
      Delivery.send(stack, outgoing)
    else
      run = fn ->
        keep(stack, kept)
        Delivery.post(stack, outgoing)
      end

      if Worker.index(stack) == worker,
        do: run.(),
        else: with(:error <- Workers.call(stack, worker, {:run, run}), do: run.())
    end
  end

  defp keep(_stack, nil), do: :ok

  defp keep(stack, {number, event}) do
    with row when row != nil <- Rows.fetch(stack, number), do: pass(stack, row, event)
  end

  # That of another, which has more than one Via, is not the core's to repeat.
  defp kept_ack(
         stack,
         %Message{start_line: %{method: :ack}, headers: %{via: [_own]}} = ack,
         octets,
         transport,
         destination
       ) do
    with number when number != nil <- Aliases.number(stack, Aliases.accepted(ack)) do
      kept = {octets, Path.keep(stack, transport), Path.pack(destination)}
      {number, {:acknowledged, Key.own(Key.tag(ack.headers.to)), kept}}
    end
  end

  defp kept_ack(_stack, _message, _octets, _transport, _destination), do: nil

  ## Owners

  @doc """
  Has a process get the events of a transaction, or with `nil` the core; or the requests within a dialog, given by its ID or
  as a whole.
  """
  @spec own(Stack.t(), key | Dialog.t() | Dialog.id(), pid | nil) ::
          :ok | {:error, :no_transaction}
  def own(stack, %Dialog{call_id: call_id} = dialog, pid),
    do: ask(stack, Workers.of_call(stack, call_id), {:own_dialog, dialog, pid})

  def own(stack, {call_id, _local_tag, _remote_tag} = dialog, pid),
    do: ask(stack, Workers.of_call(stack, call_id), {:own_dialog, dialog, pid})

  def own(stack, key, pid) do
    number = Rows.number(stack, key)

    case Rows.worker(stack, number) do
      nil -> {:error, :no_transaction}
      worker -> ask(stack, worker, {:own, number, pid})
    end
  end

  # Milliseconds between two tries, and how many there are: a worker that was killed is back at once.
  @pause 5
  @tries 200

  defp ask(stack, worker, request, tries \\ @tries) do
    case Workers.call(stack, worker, request) do
      :error when tries > 0 ->
        Process.sleep(@pause)
        ask(stack, worker, request, tries - 1)

      :error ->
        {:error, :no_transaction}

      answer ->
        answer
    end
  end

  @doc """
  Has a server's INVITE wait so many milliseconds for an answer, from now and from each provisional response on.
  """
  @spec wait(Stack.t(), Server.Key.t(), pos_integer) :: :ok | :error
  def wait(stack, key, ms), do: post(stack, key, {:patience, ms})

  @doc """
  The process that owns a transaction, or `nil`.
  """
  @spec owner(Stack.t(), key) :: pid | nil
  def owner(stack, key) do
    case Rows.find(stack, key) do
      row(owner: owner) when is_pid(owner) -> owner
      _none -> nil
    end
  end

  @doc """
  Whether the INVITE of a key was cancelled.
  """
  @spec cancelled?(Stack.t(), key) :: boolean
  def cancelled?(stack, key), do: Rows.cancelled?(stack, Rows.number(stack, key))

  ## Events

  @doc """
  Tells the transaction of a key what happened; `:error` where there is none.
  """
  @spec post(Stack.t(), key, Actions.event()) :: :ok | :error
  def post(stack, key, event) do
    case Rows.find(stack, key) do
      nil -> :error
      row -> pass(stack, row, event)
    end
  end

  # The worker that has found the row knows it as it is.
  defp pass(
         stack,
         row(worker: worker, state: state, running: running, number: number) = row,
         event
       ) do
    if Worker.index(stack) == worker and state != nil and running != :request,
      do: Actions.handle(stack, row, event),
      else: Workers.send(stack, worker, {:event, number, event})

    :ok
  end

  ## What went wrong

  @doc """
  Takes the failure of a message that a transport took, and could not send after all.
  """
  @spec receive_error(Stack.t(), key, term) :: :ok
  def receive_error(stack, key, reason) do
    Events.transport_error(stack, reason, nil, key)
    post(stack, key, {:error, reason})
    :ok
  end

  @doc """
  Takes the word that a request could not be delivered: its client transaction ends (RFC 3261 §18.4). What is quoted must hold
  the branch of one that sent there, which nobody can guess.
  """
  @spec unreachable(Stack.t(), Via.remote(), term, binary) :: :ok
  def unreachable(stack, remote, reason, quoted) do
    with {:ok, key} <- Quoted.key(quoted),
         row when row != nil <- Rows.find(stack, key),
         true <- sends_to?(row, remote) do
      Events.transport_error(stack, reason, remote, key)
      pass(stack, row, {:unreachable, reason})
    else
      _nobody -> Events.transport_error(stack, reason, remote, nil)
    end

    :ok
  end

  defp sends_to?(row(destination: destination, transport: transport), {protocol, ip, port}),
    do: destination == Path.pack({ip, port}) and Path.protocol(transport) == protocol

  @doc """
  Ends a transaction at once; an unknown key is ignored.
  """
  @spec terminate(Stack.t(), key) :: :ok
  def terminate(stack, key) do
    post(stack, key, :terminate)
    :ok
  end

  ## What is there

  @doc """
  Whether a request is one that another transaction in progress has too, having come by another path (RFC 3261 §8.2.2.2).
  """
  @spec merged?(Stack.t(), Message.request()) :: boolean
  def merged?(stack, request), do: Aliases.merged?(stack, request, Server.Key.new(request))

  @doc """
  Whether a transaction of this key is in progress.
  """
  @spec alive?(Stack.t(), key) :: boolean
  def alive?(stack, key), do: Rows.find(stack, key) != nil

  @doc """
  How many transactions are in progress.
  """
  @spec count(Stack.t()) :: non_neg_integer
  def count(stack), do: Rows.count(stack)

  @doc """
  How many of them are not finished: more than a last timer is awaited.
  """
  @spec unfinished(Stack.t()) :: non_neg_integer
  def unfinished(stack), do: Rows.unfinished(stack)

  @doc """
  The keys of transactions that are not finished, or whose callbacks run, and that began before a time or came in since; not more
  than so many.
  """
  @spec left(Stack.t(), integer, pos_integer) :: [key]
  def left(stack, time, most), do: Rows.left(stack, time, most)

  @spec info(Stack.t(), key) :: map | nil
  defdelegate info(stack, key), to: Inspection

  @spec keys(Stack.t()) :: [key]
  defdelegate keys(stack), to: Inspection

  @spec held(Stack.t()) :: %{atom => non_neg_integer}
  defdelegate held(stack), to: Inspection

  ## Time

  # A message goes from the worker that has taken it to that of its call, and from there to that of its row.
  @hands 3

  @doc """
  Waits until the workers have handled what was sent to them, and what they have handed to each other for it.
  """
  @spec settle(Stack.t()) :: :ok
  def settle(stack) do
    for _hand <- 1..@hands,
        index <- 1..Workers.count(stack.transactions.workers),
        do: Workers.call(stack, index, :settle)

    :ok
  end

  # How often owners are waited for in a row.
  @rounds 10

  @doc """
  Lets so many milliseconds pass in a stack whose time stands still, and in those that go by the same time: what is due
  happens in order, each when all before it is done.
  """
  @spec advance(Stack.t(), non_neg_integer) :: :ok
  def advance(stack, ms), do: advance_to(stack, Clock.now(stack) + ms)

  defp advance_to(stack, target) do
    others = for name <- Clock.stacks(stack), name != stack.name, one = Stack.find(name), do: one
    stacks = [stack | others]
    settle_with_owners(stacks, @rounds)

    case Enum.min([timer(stack) | Enum.map(stacks, &earliest/1)]) do
      {at, due} when at <= target ->
        Clock.put(stack, max(at, Clock.now(stack)))
        due(due, stack)
        advance_to(stack, target)

      _later ->
        Clock.put(stack, target)
        :ok
    end
  end

  # An owner that was at work may have sent something, also to another owner; one that never rests is not waited for.
  defp settle_with_owners(_stacks, 0), do: :ok

  defp settle_with_owners(stacks, rounds) do
    Enum.each(stacks, &settle/1)
    owners = for stack <- stacks, pid <- owners(stack), uniq: true, do: pid
    if Enum.count(owners, &Clock.await_idle/1) > 0, do: settle_with_owners(stacks, rounds - 1)
  end

  # The workers monitor them.
  defp owners(stack) do
    for name <- Workers.names(stack),
        {:monitors, monitors} <- [Process.info(Process.whereis(name), :monitors)],
        {:process, pid} when is_pid(pid) <- monitors,
        do: pid
  end

  defp earliest(stack) do
    Enum.min(
      for index <- 1..Workers.count(stack.transactions.workers),
          do: {Deadlines.first(stack, index), {:worker, index, stack}}
    )
  end

  defp timer(stack) do
    case Clock.first_timer(stack) do
      {at, _number} = timer -> {at, {:timer, timer}}
      :never -> {:never, nil}
    end
  end

  defp due({:worker, index, stack}, _stack), do: Workers.call(stack, index, :due)
  defp due({:timer, timer}, stack), do: Clock.fire(stack, timer)
end
