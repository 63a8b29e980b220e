defmodule Sippet.Proxy.ResponseContext do
  @options [
    own: [
      type: {:custom, &is_list/1, "a list of {host, port}"},
      required: true,
      doc: "what the proxy writes as sent-by: its Via is taken off the responses"
    ],
    timer_c: [
      type: :positive,
      # RFC3261§16.6 step 11 - larger than 3 minutes
      default: 181_000,
      doc: "ms that an INVITE may ring at one place without a further provisional response"
    ]
  ]

  @moduledoc """
  A response context of a stateful proxy: the branches of one request, and what came back from them (RFC 3261 §16.7).

  It runs in the process of the callback that got the request: the stack lets a callback take its time. That process owns the
  request and its branches (`Sippet.controlling_process/3`), so it gets the responses, and the CANCEL of the caller, as
  messages. Should it end before its time, the caller gets 500, and the stack cancels the branches. It is not started by a
  supervisor, and needs nothing in your supervision tree.

      # The CANCEL of what no context has yet: `run/5` finds out.
      def receive_request(%{start_line: %{method: :cancel}} = cancel, _key, stack),
        do: Sippet.send(stack, Sippet.Message.to_response(cancel, 200))

      def receive_request(request, key, stack) do
        ...
        ResponseContext.run(stack, key, request, [[copy, copy], [copy]], own: own)
      end

      # What comes when no context is there any more.
      def receive_response(response, key, stack),
        do: ResponseContext.receive_response(stack, response, key, own)

      def receive_error(_reason, _key), do: :ok

  ## What it does

    * All copies of one list are sent at the same time, those of the next list when all before have ended without an answer
      (§16.6).
    * Provisional responses but 100, and every 2xx to an INVITE, are passed on at once (step 5).
    * A 2xx, a 6xx and a CANCEL of the caller end the search: no further copies, and a CANCEL for each branch, not before that
      has had a provisional response (§9.1, step 10, §16.10).
    * When all branches have ended, `Sippet.Proxy.best_response/2` chooses what the caller gets (steps 6 and 7). A timeout
      counts as 408, a transport's error as 503 (§16.9).
    * Timer C ends a branch that rings for too long with a CANCEL, and one that says nothing as by 408 (§16.8).

  It does not follow the Contacts of a 3xx: a proxy may, and need not.
  """

  alias Sippet.{Message, Options, Proxy, Stack, Transactions}
  alias Sippet.Transactions.{Client, Server}

  @enforce_keys [:stack, :own, :request, :timer_c, :waiting, :monitor]
  defstruct [
    :stack,
    :own,
    :request,
    :timer_c,
    :waiting,
    :monitor,
    branches: %{},
    finals: [],
    answered?: false,
    cancelled?: false
  ]

  # `cancel` is what cancels an INVITE.
  @typep branch :: %{
           cancel: Message.request() | nil,
           state: :calling | :proceeding | :cancelled,
           cancel?: boolean,
           timer: reference | nil
         }
  @typep t :: %__MODULE__{
           stack: atom,
           own: [Proxy.host()],
           request: Message.request(),
           timer_c: pos_integer,
           waiting: [[Message.request()]],
           monitor: reference,
           branches: %{Client.Key.t() => branch},
           finals: [Message.response()],
           answered?: boolean,
           cancelled?: boolean
         }

  # ms for which the caller's INVITE lasts longer than Timer C, which ends what it waits for.
  @margin 10_000

  @doc """
  Forwards the copies of a request that has a server transaction, and returns when all has been answered. An INVITE gets a
  100 first (§16.2). One that was cancelled before gets 487, and nobody is called.

  `copies` are lists of what `Sippet.Proxy.forward/3` made: one list after another, those of one list at the same time. No
  copies at all answer 408. Options:

  #{Options.docs(@options)}
  """
  @spec run(atom, Server.Key.t(), Message.request(), [[Message.request()]], keyword) :: :ok
  def run(stack, key, request, copies, options) do
    %{timer_c: timer_c, own: own} = Options.validate!(options, @options)

    # Of this order a CANCEL comes as a message, or was there before.
    case Sippet.controlling_process(stack, key, self()) do
      :ok -> run(stack, key, answerable(request), copies, own, timer_c)
      {:error, :no_transaction} -> :ok
    end
  end

  defp run(stack, key, request, copies, own, timer_c) do
    if Sippet.cancelled?(stack, key) do
      Sippet.send(stack, Message.to_response(request, 487))
    else
      if request.start_line.method == :invite do
        Transactions.wait(Stack.fetch!(stack), key, timer_c + @margin)
        Sippet.send(stack, Message.to_response(request, 100))
      end

      settle(%__MODULE__{
        stack: stack,
        own: own,
        request: request,
        timer_c: timer_c,
        waiting: copies,
        monitor: Process.monitor(Sippet.supervisor(stack))
      })
    end

    :ok
  end

  # RFC3261§8.2.6.2 - what its final responses are made of. A request may be large, and a call may ring for long.
  defp answerable(%Message{headers: headers} = request) do
    %{request | headers: Map.take(headers, [:via, :from, :to, :call_id, :cseq]), body: nil}
  end

  @doc """
  Takes a response that came to the core, with the proxy's Via; `own` lists what the proxy writes as sent-by.

  A 2xx to an INVITE that came after all had been answered goes upstream, as long as the server transaction is there
  (§16.7 step 5), and also where the proxy has answered 408 by itself. All else goes nowhere: what belongs to no transaction of the proxy's must not be forwarded (RFC 6026
  §8.3).
  """
  @spec receive_response(atom, Message.response(), Client.Key.t() | nil, [Proxy.host()]) :: :ok
  def receive_response(_stack, _response, nil, _own), do: :ok

  def receive_response(
        stack,
        %Message{headers: %{cseq: {_number, :invite}}} = response,
        _key,
        own
      )
      when response.start_line.status_code in 200..299 do
    with {:ok, response} <- Proxy.remove_via(response, own),
         {:error, :already_answered} <- Sippet.send(stack, response),
         do: Sippet.forward(stack, response)

    :ok
  end

  def receive_response(_stack, _response, _key, _own), do: :ok

  @doc """
  Has the context of an INVITE cancel all branches, as if the caller had sent a CANCEL (§16.10). Returns `:error` where there is
  no context of this key.
  """
  @spec cancel(atom, Server.Key.t()) :: :ok | :error
  def cancel(stack, %Server.Key{} = key) do
    case Transactions.owner(Stack.fetch!(stack), key) do
      nil ->
        :error

      pid ->
        send(pid, {__MODULE__, :cancel})
        :ok
    end
  end

  ## The context

  # RFC3261§16.7 - it lasts until all its branches have ended
  @spec settle(t) :: :ok
  defp settle(%__MODULE__{branches: branches} = context) when map_size(branches) > 0 do
    %{stack: stack, monitor: monitor} = context

    receive do
      {:sippet, ^stack, key, event} -> key |> told(event, context) |> settle()
      {__MODULE__, event} -> event |> handle(context) |> settle()
      # The stack has ended, and all its transactions with it.
      {:DOWN, ^monitor, :process, _pid, _reason} -> :ok
    end
  end

  defp settle(%__MODULE__{answered?: true}), do: :ok

  defp settle(%__MODULE__{waiting: [copies | waiting]} = context),
    do: copies |> Enum.reduce(%{context | waiting: waiting}, &start/2) |> tidied() |> settle()

  # RFC3261§9.2
  defp settle(%__MODULE__{waiting: [], cancelled?: true} = context) do
    Sippet.send(context.stack, Message.to_response(context.request, 487))
    :ok
  end

  defp settle(%__MODULE__{waiting: []} = context) do
    best = Proxy.best_response(context.request, Enum.reverse(context.finals))
    Sippet.send(context.stack, best)
    :ok
  end

  defp told(key, {:response, response}, context) do
    case Proxy.remove_via(response, context.own) do
      {:ok, response} -> handle({:response, key, response}, context)
      {:error, _not_ours} -> context
    end
  end

  # RFC3261§16.10, §9.2
  defp told(_key, {:request, %Message{start_line: %{method: :cancel}} = cancel}, context) do
    Sippet.send(context.stack, Message.to_response(cancel, 200))
    handle(:cancel, context)
  end

  defp told(key, {:error, reason}, context), do: handle({:error, key, reason}, context)

  # Words of a heap that are worth to be given back: of an ordinary request there are far less.
  @large 10_000

  # While it rings nothing happens that would collect what is left of a large request.
  defp tidied(context) do
    {:total_heap_size, words} = Process.info(self(), :total_heap_size)
    if words > @large, do: :erlang.garbage_collect()
    context
  end

  # RFC3261§16.6 step 10
  defp start(copy, context) do
    key = Client.Key.new(copy)
    branch = %{cancel: cancel_of(copy), state: :calling, cancel?: false, timer: nil}
    context = put_branch(context, key, set_timer_c(branch, key, context))

    case Sippet.send(context.stack, copy, owner: self()) do
      :ok -> context
      {:error, reason} -> final(context, key, status(reason))
    end
  end

  defp cancel_of(%Message{start_line: %{method: :invite}} = invite), do: Message.to_cancel(invite)
  defp cancel_of(_request), do: nil

  defp put_branch(context, key, branch),
    do: %{context | branches: Map.put(context.branches, key, branch)}

  defp handle(:cancel, %{answered?: true} = context), do: context
  defp handle(:cancel, context), do: stop(%{context | cancelled?: true})

  # What could not be sent to the caller ends nothing.
  defp handle({:error, %Server.Key{}, _reason}, context), do: context
  defp handle({:error, key, reason}, context), do: final(context, key, status(reason))
  defp handle({:timer_c, key}, context), do: timer_c(context, key)

  defp handle({:response, key, %Message{start_line: %{status_code: status}} = response}, context) do
    case context.branches do
      %{^key => branch} when status < 200 -> provisional(context, key, branch, response)
      %{^key => _branch} when status < 300 -> accepted(context, key, response)
      %{^key => _branch} when status < 600 -> final(context, key, response)
      # RFC3261§16.7 step 5 - a 6xx ends the search, and is sent when all branches have ended
      %{^key => _branch} -> context |> final(key, response) |> stop()
      %{} -> late(context, response)
    end
  end

  # RFC3261§16.9, §16.7 step 6
  defp status(:timeout), do: 408
  defp status(_transport), do: 503

  # RFC3261§16.7 steps 2 and 5 - all but 100 set Timer C anew, and are passed on
  defp provisional(context, key, branch, response) do
    more? = response.start_line.status_code > 100
    # A server transaction that has its 2xx sends no 1xx any more.
    if more?, do: Sippet.send(context.stack, response)

    branch = if branch.state == :calling, do: %{branch | state: :proceeding}, else: branch
    branch = if more?, do: set_timer_c(branch, key, context), else: branch
    branch = if branch.cancel?, do: cancel_branch(branch, context), else: branch
    put_branch(context, key, branch)
  end

  # RFC3261§16.7 steps 5 and 10 - passed on at once, and the other branches end
  defp accepted(context, key, response) do
    pass_on(context, response)
    stop(%{context | branches: ended(context, key), answered?: true})
  end

  # RFC3261§16.7 step 5 - a branch may have forked on its way, and then has several 2xx
  defp late(context, %Message{start_line: %{status_code: status}} = response) do
    if status in 200..299, do: pass_on(context, response)
    context
  end

  # RFC3261§16.7 step 5 - every 2xx to an INVITE, and one answer to any other request
  defp pass_on(%{answered?: answered?, stack: stack}, response) do
    {_number, method} = response.headers.cseq
    if method == :invite or not answered?, do: Sippet.send(stack, response)
  end

  defp final(context, key, _late) when not is_map_key(context.branches, key), do: context

  defp final(context, key, status) when is_integer(status),
    do: final(context, key, Message.to_response(context.request, status))

  defp final(context, key, response),
    do: %{context | branches: ended(context, key), finals: [response | context.finals]}

  defp ended(%{branches: branches}, key) do
    {%{timer: timer}, branches} = Map.pop!(branches, key)
    if timer, do: Process.cancel_timer(timer)
    branches
  end

  # No new branches, and a CANCEL for those that there are.
  defp stop(context) do
    branches =
      Map.new(context.branches, fn {key, branch} -> {key, cancel_branch(branch, context)} end)

    %{context | waiting: [], branches: branches}
  end

  # RFC3261§9.1 - only an INVITE is cancelled, once, and not before it has had a provisional response
  defp cancel_branch(%{state: :proceeding, cancel: %Message{} = cancel} = branch, context) do
    Sippet.send(context.stack, cancel)
    %{branch | state: :cancelled, cancel?: false}
  end

  defp cancel_branch(branch, _context), do: %{branch | cancel?: true}

  # RFC3261§16.6 step 11 - for an INVITE alone: all other transactions end by themselves
  defp set_timer_c(%{cancel: %Message{}} = branch, key, context) do
    if branch.timer, do: Process.cancel_timer(branch.timer)
    event = {__MODULE__, {:timer_c, key}}
    %{branch | timer: Process.send_after(self(), event, context.timer_c)}
  end

  defp set_timer_c(branch, _key, _context), do: branch

  # RFC3261§16.8 - who rings is cancelled, and answers to that; who has said nothing is as good as a 408
  defp timer_c(context, key) do
    case context.branches do
      %{^key => %{state: :calling}} ->
        # A 2xx that comes all the same is the core's.
        Transactions.own(Stack.fetch!(context.stack), key, nil)
        final(context, key, 408)

      %{^key => branch} ->
        put_branch(context, key, cancel_branch(branch, context))

      %{} ->
        context
    end
  end
end
