defmodule Sippet.Proxy.ResponseContext do
  # Options of `Sippet.Proxy.forward/3` that are the same for all targets.
  @forward [:via, :rport, :record_route, :route, :nat]

  @options [
             timer_c: [
               type: :positive,
               # RFC3261§16.6 step 11 - larger than 3 minutes
               default: 181_000,
               doc:
                 "ms that an INVITE may ring at one place without a further provisional response. Then it is cancelled there"
             ],
             max_breadth: [
               type: :positive,
               # RFC5393§5.3.3.3
               default: 60,
               doc:
                 "branches of a request that may exist at a time, here and at the proxies behind, if its Max-Breadth " <>
                   "does not say less (RFC 5393 §5). A longer list is tried in parts"
             ],
             response: [
               type: {:custom, &__MODULE__.change?/1, "a function of a response"},
               default: nil,
               doc:
                 "changes each response before it goes upstream (§16.7, steps 8 and 9). It gets the response without the " <>
                   "proxy's Via, and returns it"
             ],
             report: [
               type: {:custom, &__MODULE__.change?/1, "a function of a report"},
               default: nil,
               doc:
                 "gets a `t:report/0` when all has ended, before `run/5` returns: which target has answered, and when. If the process " <>
                   "ends before, there is none"
             ]
           ] ++ Keyword.take(Sippet.Proxy.forward_options(), @forward)

  @moduledoc """
  The response context of a stateful proxy: it forwards one request to its targets, and gives the caller
  the final response (RFC 3261 §16.6 to §16.10).

      def receive_request(%{start_line: %{method: :cancel}} = cancel, _key, stack),
        do: Sippet.send(stack, Sippet.Message.to_response(cancel, 200))

      def receive_request(request, key, stack) do
        ...
        {:ok, targets} = Sippet.Binding.Store.targets(store, request.start_line.request_uri)
        ResponseContext.run(stack, key, request, targets, record_route: record_route)
      end

      def receive_response(response, key, stack),
        do: ResponseContext.receive_response(stack, response, key)

      def receive_error(_reason, _key), do: :ok

  `run/5` runs in the process of the callback that got the request, and returns when all branches have
  ended. The process owns the request and its branches (`Sippet.controlling_process/3`), so the responses and
  the caller's CANCEL come to it as messages. If it ends before its time, the caller gets 500, and the stack
  cancels the branches. It needs nothing in your supervision tree. The core gets a CANCEL only before `run/5`
  has begun, and answers it with 200; `run/5` then finds that the request was cancelled.

  ## What it does

    * It sends the copies of one list of targets at the same time, and those of the next list when all
      before have ended without an answer (§16.6). `Sippet.Binding.targets/2` makes such lists by q-value.
      A target that stands twice is called once.
    * It forwards provisional responses but 100, and every 2xx to an INVITE, at once (step 5).
    * A 2xx, a 6xx and the caller's CANCEL end the search: there are no further copies, and each branch is
      cancelled as soon as it has a provisional response (§9.1, step 10, §16.10).
    * When all branches have ended, `Sippet.Proxy.best_response/2` chooses the response that the caller gets
      (steps 6 and 7). A timeout counts as 408, a transport's error as 503 (§16.9), and a final response
      that has no Via of the caller as 502 (step 3). After a CANCEL only responses that can be forwarded
      count, and a 487 if there is none.
    * A request that is no INVITE gets no 408, as its client has given up by then (RFC 4320 §4.2).
    * Timer C cancels a branch that rings for too long, and gives up one that says nothing (§16.8). If that
      rings after all, it is cancelled then, and a 2xx of it still goes to the caller.
    * Max-Breadth is shared among the copies (RFC 5393 §5.3.3).

  It does not follow the Contacts of a 3xx: a proxy may, and need not.
  """

  alias Sippet.{Binding, Message, Options, Proxy, Stack, Transactions, URI}
  alias Sippet.Proxy.Report
  alias Sippet.Transactions.{Client, Server}

  @enforce_keys [:stack, :key, :request, :timer_c, :respond, :waiting, :monitor]
  defstruct [
    :stack,
    :key,
    :request,
    :timer_c,
    :respond,
    :waiting,
    :monitor,
    :result,
    branches: %{},
    finals: [],
    report: nil,
    cancelled?: false,
    unanswered?: false
  ]

  @typedoc "A place to forward the request to. A request is sent as it is."
  @type target :: URI.t() | Binding.t() | Message.request()

  @typedoc """
  Why the caller got no response of the context's:

    * `:cancelled` - the caller has cancelled, and got a 487
    * `:timeout` - no branch has answered a request that is no INVITE
    * `:no_transaction` - the transaction of the request had ended before
    * `:no_answer`, `:overload`, `:terminated` - the stack has ended the transaction of the request
    * `:already_answered` - somebody else has answered the request
  """
  @type reason ::
          :cancelled
          | :timeout
          | :no_transaction
          | :no_answer
          | :overload
          | :terminated
          | :already_answered

  @typedoc """
  What has become of a request, for the record of a call:

    * `result` - what `run/5` returns
    * `cancelled?` - whether the caller, or `cancel/2`, has cancelled
    * `target` - the target of the branch whose response is the result, `nil` if none is
    * `branches` - each target that was tried, in that order, with its final status, or why it has
      none
    * `started`, `ringing`, `answered`, `ended` - when `run/5` began, the first response of 101 to
      199 came, the first final response went to the caller, and all branches had ended; `nil` if
      that did not happen

  A target is the one that you gave; of a request it is the Request-URI. A branch that was left
  without a final response has `:timeout`, and one that ended with the stack `nil`. The times are
  `System.system_time/0`, in native units.
  """
  @type report :: %{
          result: {:ok, Message.response()} | {:error, reason},
          cancelled?: boolean,
          target: URI.t() | Binding.t() | nil,
          branches: [{URI.t() | Binding.t(), 200..699 | atom | term}],
          started: integer,
          ringing: integer | nil,
          answered: integer | nil,
          ended: integer
        }

  # `state` is `:left` once the search goes on without a branch that has not ended. `unanswered?` says that the transaction of
  # the request shall end without a response.
  @typep branch :: %{state: :calling | :ringing | :left, timer: reference | nil}
  @typep t :: %__MODULE__{
           stack: atom,
           key: Server.Key.t(),
           request: Message.request(),
           timer_c: pos_integer,
           respond: (Message.response() -> Message.response()),
           waiting: [[{Message.request(), URI.t() | Binding.t() | nil}]],
           monitor: reference,
           result: nil | {:ok, Message.response()} | {:error, reason},
           branches: %{Client.Key.t() => branch},
           finals: [{Client.Key.t() | nil, Message.response()}],
           report: Report.t() | nil,
           cancelled?: boolean
         }

  # ms for which the caller's INVITE lasts longer than Timer C and the 64*T1 that a branch then has to end.
  @margin 10_000

  # Reasons for which the stack ends the transaction of the request. Any other is of one response that could not be sent.
  @ended [:no_answer, :timeout, :overload, :terminated]

  @doc """
  Forwards a request that has a server transaction, and returns when it has been answered and all its
  branches have ended.

  `targets` are lists of targets: one list is tried after another, those of one list at the same time. An
  INVITE gets a 100 first (§16.2). A request without targets gets 480. One that was cancelled before gets 487,
  and nobody is called.

  Returns `{:ok, response}` with the final response that the caller got, or `{:error, reason}`.

  Options are these, of which `:via`, `:rport`, `:record_route`, `:route` and `:nat` are those of
  `Sippet.Proxy.forward/3`:

  #{Options.docs(@options)}
  """
  @spec run(atom, Server.Key.t(), Message.request(), [[target]], keyword) ::
          {:ok, Message.response()} | {:error, reason}
  def run(stack, key, request, targets, options \\ []) do
    forward = Keyword.take(options, @forward)
    options = Options.validate!(options, @options)

    # A CANCEL comes as a message from now on. `Sippet.cancelled?/2` tells of one that came before.
    with :ok <- Sippet.controlling_process(stack, key, self()) do
      monitor = Process.monitor(Sippet.supervisor(stack))

      # Nothing but it holds the copies, which may be large.
      context =
        begin(
          %__MODULE__{
            stack: stack,
            key: key,
            request: answerable(request),
            timer_c: options.timer_c,
            respond: respond(options, stack),
            waiting: copies(request, targets, options, forward),
            monitor: monitor,
            report: Report.new(options.report)
          },
          max_breadth(request)
        )

      Process.demonitor(monitor, [:flush])
      Report.finish(context.report, context.result, context.cancelled?)
      context.result
    end
  end

  # RFC3261§8.2.6.2 - what its final responses are made of. A request may be large, and a call may ring for long.
  defp answerable(%Message{headers: headers} = request) do
    %{request | headers: Map.take(headers, [:via, :from, :to, :call_id, :cseq]), body: nil}
  end

  # An alias is of use where the proxy sees the requests that have it.
  defp respond(%{nat: nat?, record_route: record_route, response: change}, stack) do
    change = change || (& &1)

    if nat? and record_route != nil do
      own = Sippet.own_hosts(stack)
      &change.(Proxy.put_alias(&1, own))
    else
      change
    end
  end

  ## Targets

  defp copies(request, targets, %{max_breadth: most, report: report}, forward) do
    breadth = min(max_breadth(request) || most, most)

    for list <- without_doubles(targets), part <- Enum.chunk_every(list, max(breadth, 1)) do
      part
      |> Enum.zip(shares(breadth, length(part)))
      |> Enum.map(fn {target, share} ->
        {copy(request, target, share, forward), if(report, do: Report.name(target))}
      end)
    end
  end

  defp max_breadth(request) do
    case Message.fetch_typed(request, "Max-Breadth") do
      {:ok, breadth} -> breadth
      _missing_or_malformed -> nil
    end
  end

  # RFC5393§5.3.3 - what all of them have together is not more than what came
  defp shares(breadth, parts) do
    for n <- 1..parts//1, do: div(breadth, parts) + if(n <= rem(breadth, parts), do: 1, else: 0)
  end

  defp copy(_request, %Message{} = copy, share, _forward), do: put_breadth(copy, share)

  defp copy(request, target, share, forward),
    do: request |> Proxy.forward(target, forward) |> put_breadth(share)

  defp put_breadth(copy, share),
    do: Message.put_header(copy, "Max-Breadth", [Integer.to_string(share)])

  # RFC3261§16.5 - a target set has each URI once
  defp without_doubles(targets) do
    {lists, _seen} =
      Enum.map_reduce(targets, [], fn list, seen ->
        Enum.flat_map_reduce(list, seen, &unless_seen/2)
      end)

    Enum.reject(lists, &(&1 == []))
  end

  defp unless_seen(%Message{} = copy, seen), do: {[copy], seen}

  defp unless_seen(target, seen) do
    if Enum.any?(seen, &same?(target, &1)), do: {[], seen}, else: {[target], [target | seen]}
  end

  # Two bindings of one URI lead to it by two ways.
  defp same?(%Binding{} = one, other), do: one == other
  defp same?(%URI{} = one, %URI{} = other), do: URI.equivalent(one, other)
  defp same?(_one, _other), do: false

  ## The caller

  defp begin(context, breadth) do
    cond do
      Sippet.cancelled?(context.stack, context.key) ->
        answer(%{context | cancelled?: true})

      # RFC5393§5.3.3.2
      breadth == 0 ->
        answer(context, Message.to_response(context.request, 440), nil)

      # RFC3261§16.5
      context.waiting == [] ->
        answer(context, Message.to_response(context.request, 480), nil)

      true ->
        if invite?(context),
          do: Sippet.send(context.stack, Message.to_response(context.request, 100))

        settle(context)
    end
  end

  defp invite?(%{key: %Server.Key{method: method}}), do: method == :invite

  # The key is that of the branch whose response it is.
  defp answer(context, response, key) do
    case Sippet.send(context.stack, response) do
      :ok ->
        %{context | result: {:ok, response}, report: Report.answered(context.report, key)}

      # RFC4320§4.2 - its time is over, and the word of that is on its way
      {:error, :no_transaction} when context.key.method != :invite ->
        %{context | result: {:error, :timeout}}

      {:error, reason} ->
        %{context | result: {:error, reason}}
    end
  end

  # RFC3261§9.2, §16.10 - where nobody has answered the CANCEL by a final response
  defp answer(%{cancelled?: true, finals: []} = context) do
    context = answer(context, Message.to_response(context.request, 487), nil)

    if match?({:ok, _response}, context.result),
      do: %{context | result: {:error, :cancelled}},
      else: context
  end

  defp answer(%{finals: finals} = context) do
    finals = Enum.reverse(finals)
    best = Proxy.best_response(context.request, Enum.map(finals, &elem(&1, 1)))

    # RFC4320§4.2 - and the end of this process would have the stack answer
    if best.start_line.status_code == 408 and not invite?(context),
      do: %{context | result: {:error, :timeout}, unanswered?: true},
      else: answer(context, best, branch(finals, best.start_line.status_code))
  end

  # The first of this status is what the best one was made of. A 500 in place of a 503 is
  # nobody's.
  defp branch(finals, status) do
    Enum.find_value(finals, fn {key, response} ->
      if response.start_line.status_code == status, do: key
    end)
  end

  @doc """
  Takes a response that came to the core, because no context has its branch any more.

  A 2xx to an INVITE goes upstream, as long as the server transaction is there (§16.7 step 5), and also if the
  proxy has answered by itself. An INVITE that still rings is cancelled. All else is dropped: a response that
  belongs to no transaction of the proxy must not be forwarded (RFC 6026 §8.3).
  """
  @spec receive_response(atom, Message.response(), Client.Key.t() | nil) :: :ok
  def receive_response(_stack, _response, nil), do: :ok

  def receive_response(
        stack,
        %Message{headers: %{cseq: {_number, :invite}}} = response,
        %Client.Key{method: :invite} = key
      ) do
    case response.start_line.status_code do
      status when status < 200 -> Sippet.cancel(stack, key)
      status when status < 300 -> forward_late(stack, response)
      _refused -> :ok
    end

    :ok
  end

  def receive_response(_stack, _response, _key), do: :ok

  defp forward_late(stack, response) do
    with {:ok, response} <- without_own_via(response),
         {:error, :already_answered} <- Sippet.send(stack, response),
         do: Sippet.forward(stack, response)
  end

  # Its transaction was found, and so the topmost Via is what this proxy has sent.
  defp without_own_via(%Message{headers: %{via: [_own | [_upstream | _] = vias]}} = response),
    do: {:ok, Message.put_header(response, :via, vias)}

  defp without_own_via(_response), do: :error

  @doc """
  Has the context of an INVITE cancel all branches, as if the caller had sent a CANCEL (§16.10).

  The key is that of an INVITE which `run/5` forwards. Returns `{:error, :no_transaction}` if no process
  owns such an INVITE any more.
  """
  @spec cancel(atom, Server.Key.t()) :: :ok | {:error, :no_transaction}
  def cancel(stack, %Server.Key{} = key) do
    case Transactions.owner(Stack.fetch!(stack), key) do
      nil ->
        {:error, :no_transaction}

      pid ->
        send(pid, {__MODULE__, :cancel})
        :ok
    end
  end

  ## The context

  # RFC3261§16.7 - it lasts until all its branches have ended
  @spec settle(t) :: t
  defp settle(%__MODULE__{result: nil, branches: branches, waiting: waiting} = context) do
    cond do
      Enum.any?(branches, fn {_key, branch} -> branch.state != :left end) -> await(context)
      waiting == [] -> context |> answer() |> settle()
      true -> context |> next() |> settle()
    end
  end

  defp settle(%__MODULE__{branches: branches, unanswered?: false} = context)
       when branches == %{},
       do: context

  defp settle(context), do: await(context)

  defp await(%{stack: stack, monitor: monitor} = context) do
    receive do
      {:sippet, ^stack, key, event} ->
        key |> told(event, context) |> settle()

      {__MODULE__, event} ->
        event |> handle(context) |> settle()

      # The stack has ended, and all its transactions with it.
      {:DOWN, ^monitor, :process, _pid, _reason} ->
        %{context | result: context.result || {:error, :terminated}}
    end
  end

  defp next(%{waiting: [copies | waiting]} = context) do
    # RFC3261§16.8 - Timer C begins anew with each branch, and the caller's INVITE lasts longer
    if invite?(context) do
      stack = Stack.fetch!(context.stack)
      Transactions.wait(stack, context.key, context.timer_c + 64 * stack.options.t1 + @margin)
    end

    copies |> Enum.reduce(%{context | waiting: waiting}, &start/2) |> tidied()
  end

  # Words of a heap that are worth to be given back: of an ordinary request there are far less.
  @large 10_000

  # While it rings nothing happens that would collect what is left of a large request.
  defp tidied(context) do
    {:total_heap_size, words} = Process.info(self(), :total_heap_size)
    if words > @large, do: :erlang.garbage_collect()
    context
  end

  # RFC3261§16.6 step 10
  defp start({copy, target}, context) do
    key = Client.Key.new(copy)
    context = %{context | report: Report.tried(context.report, key, target)}
    branch = set_timer_c(%{state: :calling, timer: nil}, key, context)
    context = put_branch(context, key, branch)

    case Sippet.send(context.stack, copy, owner: self()) do
      :ok -> context
      {:error, reason} -> failed(context, key, reason)
    end
  end

  defp put_branch(context, key, branch),
    do: %{context | branches: Map.put(context.branches, key, branch)}

  defp told(key, {:response, response}, context) do
    case without_own_via(response) do
      {:ok, response} -> handle({:response, key, response}, context)
      :error -> without_upstream(context, key, response.start_line.status_code)
    end
  end

  # RFC3261§16.10, §9.2
  defp told(_key, {:request, %Message{start_line: %{method: :cancel}} = cancel}, context) do
    Sippet.send(context.stack, Message.to_response(cancel, 200))
    handle(:cancel, context)
  end

  defp told(%Server.Key{} = key, {:error, reason}, %{key: key} = context) when reason in @ended,
    do: abandoned(context, reason)

  # A response that could not be sent to the caller ends nothing.
  defp told(%Server.Key{}, {:error, _reason}, context), do: context
  defp told(key, {:error, reason}, context), do: failed(context, key, reason)

  # RFC3261§16.7 step 3 - it goes no further, and a final one has ended its branch. Net::SIP, behind a proxy,
  # sends such a 487: it answers the INVITE with the Via of the CANCEL.
  defp without_upstream(context, _key, status) when status < 200, do: context
  defp without_upstream(context, key, status), do: failed(context, key, status)

  # The caller has its answer by the stack, or is gone.
  defp abandoned(context, reason) do
    context = %{context | result: context.result || {:error, reason}, unanswered?: false}
    if invite?(context), do: stop(context), else: %{context | branches: %{}}
  end

  defp handle(:cancel, %{result: nil} = context), do: stop(%{context | cancelled?: true})
  defp handle(:cancel, context), do: context
  defp handle({:timer_c, key}, context), do: timer_c(context, key)

  defp handle({:response, key, %Message{start_line: %{status_code: status}} = response}, context) do
    case context.branches do
      %{^key => branch} when status < 200 -> provisional(context, key, branch, response)
      %{^key => _branch} when status < 300 -> accepted(context, key, response)
      %{^key => %{state: :left}} -> ended(context, key, status)
      %{^key => _branch} when status < 600 -> final(context, key, response, status)
      # RFC3261§16.7 step 5 - a 6xx ends the search, and is sent when all branches have ended
      %{^key => _branch} -> context |> final(key, response, status) |> stop()
      %{} -> late(context, key, response)
    end
  end

  # The search goes on without it, and so the caller does not hear of it. It is cancelled by now.
  defp provisional(context, _key, %{state: :left}, _response), do: context

  # RFC3261§16.7 steps 2 and 5 - all but 100 set Timer C anew, and are passed on
  defp provisional(context, key, branch, response) do
    branch = %{branch | state: :ringing}

    if response.start_line.status_code > 100 do
      # A server transaction that has its 2xx sends no 1xx any more.
      Sippet.send(context.stack, context.respond.(response))
      context = %{context | report: Report.ringing(context.report)}
      put_branch(context, key, set_timer_c(branch, key, context))
    else
      put_branch(context, key, branch)
    end
  end

  # RFC3261§16.7 steps 5 and 10 - passed on at once, and the other branches end
  defp accepted(context, key, response) do
    context
    |> ended(key, response.start_line.status_code)
    |> pass_on(key, response)
    |> stop()
  end

  # RFC3261§16.7 step 5 - a branch may have forked on its way, and then has several 2xx
  defp late(context, key, %Message{start_line: %{status_code: status}} = response) do
    if status in 200..299, do: pass_on(context, key, response), else: context
  end

  # RFC3261§16.7 step 5 - every 2xx to an INVITE, also where the caller has an answer of the proxy's own; and one answer to
  # any other request
  defp pass_on(context, key, %Message{headers: %{cseq: {_number, :invite}}} = response) do
    response = context.respond.(response)

    answered = answer(context, response, key)

    if answered.result == {:error, :already_answered},
      do: Sippet.forward(context.stack, response)

    %{answered | result: context.result || answered.result}
  end

  defp pass_on(%{result: nil} = context, key, response),
    do: answer(context, context.respond.(response), key)

  defp pass_on(context, _key, _second), do: context

  # RFC3261§16.9, §16.7 step 6 - after a CANCEL it is no answer
  defp failed(%{branches: branches} = context, key, reason) do
    case branches do
      %{^key => %{state: :left}} -> ended(context, key, reason)
      %{^key => _branch} when context.cancelled? -> ended(context, key, reason)
      %{^key => _branch} -> final(context, key, made(context, reason), reason)
      %{} -> context
    end
  end

  defp made(context, :timeout), do: Message.to_response(context.request, 408)
  # RFC3261§21.5.3 - of a response that can't be forwarded there is no more than that it came
  defp made(context, status) when is_integer(status),
    do: Message.to_response(context.request, 502)

  defp made(context, _transport), do: Message.to_response(context.request, 503)

  # `how` is for the report: a status, or an error.
  defp final(context, key, response, how) do
    finals = [{key, context.respond.(response)} | context.finals]
    ended(%{context | finals: finals}, key, how)
  end

  defp ended(%{branches: branches} = context, key, how) do
    {%{timer: timer}, branches} = Map.pop!(branches, key)
    if timer, do: Process.cancel_timer(timer)
    %{context | branches: branches, report: Report.ended(context.report, key, how)}
  end

  # RFC3261§16.10 - no new branches, and a CANCEL for each INVITE that there is
  defp stop(context) do
    for {%Client.Key{method: :invite} = key, _branch} <- context.branches,
        do: Sippet.cancel(context.stack, key)

    %{context | waiting: []}
  end

  # RFC3261§16.6 step 11 - for an INVITE alone: all other transactions end by themselves
  defp set_timer_c(branch, %Client.Key{method: :invite} = key, context) do
    if branch.timer, do: Process.cancel_timer(branch.timer)
    event = {__MODULE__, {:timer_c, key}}
    %{branch | timer: Process.send_after(self(), event, context.timer_c)}
  end

  defp set_timer_c(branch, _key, _context), do: branch

  # RFC3261§16.8 - who rings is cancelled, and answers to that; who has said nothing is as good as a 408
  defp timer_c(%{branches: branches} = context, key) do
    case branches do
      %{^key => %{state: :calling} = branch} ->
        Sippet.cancel(context.stack, key)
        context = put_branch(context, key, %{branch | state: :left})
        %{context | finals: [{key, made(context, :timeout)} | context.finals]}

      %{^key => _branch} ->
        Sippet.cancel(context.stack, key)
        context

      %{} ->
        context
    end
  end

  @doc false
  @spec change?(term) :: boolean
  def change?(value), do: is_function(value, 1)
end
