defmodule Sippet.Core.CallbackRunner do
  @moduledoc false
  # Runs a callback of the core in a process of its own.

  alias Sippet.{Flow, Log, Message, Stack, Telemetry}

  @type callback :: :receive_request | :receive_response | :receive_error

  @typedoc """
  A module and its term for the request of a transaction. `begin?/2` of the module returns whether no
  other process has begun with the request; the callback calls `returned/2` after the core has
  returned. The first argument of both is the stack.
  """
  @type turn :: {module, term}

  # A heap for a request of usual size and its answer: one that had to grow for it would cost more.
  @how [:monitor, min_heap_size: 987]

  @doc """
  Starts a callback. The caller receives `{:DOWN, ref, …}` at its end.

  With a `turn`, one process begins with the request; any other exits with `{:shutdown, :begun}`. The
  callback also reports its return, because a monitor of a process that has ended already returns
  `:noproc` for a good end and for a crash.

  `about` is what the log tells of a failure beside the key, where the argument is no message.
  """
  @spec start(Stack.t(), callback, term, struct | nil, turn | nil, Log.about()) ::
          {pid, reference}
  def start(stack, callback, argument, key, turn \\ nil, about \\ %{}) do
    arguments = [stack.name, callback, argument, key, turn, about]
    :erlang.spawn_opt(__MODULE__, :run, arguments, @how)
  end

  @doc false
  # The exit reason is what the transaction learns; what was raised is told here, where the rate is limited.
  @spec run(atom, callback, term, term, turn | nil, Log.about()) :: term | no_return
  def run(name, callback, argument, key, turn, about) do
    keep_source(callback, argument, key)

    case {Stack.find(name), turn} do
      {nil, _turn} ->
        :ok

      {stack, nil} ->
        call(stack, Stack.core(stack), callback, argument, key, about)

      {stack, {module, request}} ->
        unless module.begin?(stack, request), do: exit({:shutdown, :begun})
        call(stack, Stack.core(stack), callback, argument, key, about)
        module.returned(stack, request)
    end
  end

  # A response that no transaction sends leaves by the transport of its request, which the callback is about to answer.
  defp keep_source(:receive_request, %Message{headers: %{via: [via | _]}} = request, nil),
    do: Process.put(__MODULE__, {via, request.source})

  defp keep_source(_callback, _argument, _key), do: :ok

  @doc """
  The flow of the request that a response answers, where the calling process is the callback that has it without a
  transaction.
  """
  @spec source(Message.response()) :: Flow.t() | nil
  def source(%Message{headers: %{via: [via | _]}}) do
    case Process.get(__MODULE__) do
      {^via, source} -> source
      _another -> nil
    end
  end

  # It has answered nothing, as one that failed.
  defp call(stack, nil, callback, _argument, key, _about) do
    tell(stack, :core_missing, callback, key)
    Stack.log_missing_core(stack)
    exit({:shutdown, :core_failed})
  end

  # The message itself is the core's to keep or to forget: it may be large, and a call may ring for long.
  defp call(stack, core, callback, %Message{} = message, key, _about),
    do: apply_to(stack, core, callback, message, key, %{summary: Log.summary(message)})

  defp call(stack, core, callback, reason, key, about),
    do: apply_to(stack, core, callback, reason, key, about)

  defp apply_to(stack, core, callback, argument, key, about) do
    # A module that is not loaded yet exports nothing.
    if Code.ensure_loaded?(core) and function_exported?(core, callback, 3),
      do: apply(core, callback, [argument, key, stack.name]),
      else: apply(core, callback, [argument, key])
  catch
    kind, reason ->
      crash = {kind, reason, __STACKTRACE__}
      failed(stack, callback, Map.merge(about, %{key: key, crash: crash}))
      exit({:shutdown, :core_failed})
  end

  @doc """
  Ends a callback, as nothing can come of it any more. The core has not failed: it may have waited for another peer, which
  never answered.
  """
  @spec abandon(Stack.t(), pid, callback, struct) :: :ok
  def abandon(stack, pid, callback, key) do
    Process.exit(pid, :kill)
    tell(stack, :core_abandoned, callback, key)
  end

  defp tell(stack, event, callback, key) do
    Telemetry.emit(stack.telemetry, event, %{system_time: System.system_time()}, fn ->
      %{callback: callback, key: key}
    end)
  end

  defp failed(stack, callback, %{key: key, crash: {kind, reason, stacktrace}} = about) do
    Telemetry.emit(stack.telemetry, :core_failed, %{system_time: System.system_time()}, fn ->
      %{callback: callback, key: key, kind: kind, reason: reason, stacktrace: stacktrace}
    end)

    Stack.log(stack, :error, about, fn -> "#{callback} of the core failed" end)
  end
end
