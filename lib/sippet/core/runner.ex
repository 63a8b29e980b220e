defmodule Sippet.Core.Runner do
  @moduledoc false
  # The callbacks of one transaction: each in a process of its own, one at a time, in order. The
  # transaction owns this struct, gets the `:DOWN` of each callback and hands it to `done/3`.

  alias Sippet.{Overload, Stack, Telemetry}

  # A far end can send any number of provisional responses while a core is slow. What waits is bounded; the
  # oldest are the ones that are kept, since a final response ends the traffic by itself.
  @most_waiting 100

  @enforce_keys [:stack, :core]
  defstruct [:stack, :core, running: nil, pid: nil, waiting: []]

  @type t :: %__MODULE__{
          stack: Stack.t(),
          core: module | nil,
          running: reference | nil,
          pid: pid | nil,
          waiting: [call]
        }
  @type callback :: :receive_request | :receive_response | :receive_error
  @typep call :: {callback, term, term}

  @spec new(Stack.t(), module | nil) :: t
  def new(stack, core), do: %__MODULE__{stack: stack, core: core}

  @doc """
  Calls the core now, or after the calls before this one.
  """
  @spec run(t, callback, term, term) :: t
  def run(%__MODULE__{running: nil} = runner, callback, argument, key),
    do: start(runner, callback, argument, key)

  def run(%__MODULE__{waiting: waiting} = runner, callback, argument, key) do
    if length(waiting) < @most_waiting,
      do: %{runner | waiting: waiting ++ [{callback, argument, key}]},
      else: runner
  end

  @doc """
  Takes the end of a call: how it went, and what runs next.
  """
  @spec done(t, reference, term) :: {:ok | :failed, t} | :unknown
  def done(%__MODULE__{running: ref} = runner, ref, reason) do
    outcome = if reason == :normal, do: :ok, else: :failed

    case runner.waiting do
      [] ->
        {outcome, %{runner | running: nil, pid: nil}}

      [{callback, argument, key} | waiting] ->
        {outcome, run(%{runner | running: nil, waiting: waiting}, callback, argument, key)}
    end
  end

  def done(%__MODULE__{}, _ref, _reason), do: :unknown

  @doc """
  Ends the call that runs, as nothing can come of it any more. It counts as a failure of the core.
  """
  @spec abandon(t, callback) :: :ok
  def abandon(%__MODULE__{running: nil}, _callback), do: :ok

  def abandon(%__MODULE__{stack: stack, pid: pid}, callback) do
    Process.exit(pid, :kill)
    tell(stack, callback, :exit, :timeout, [])
  end

  @doc """
  Calls the core outside of any transaction; nobody waits for the end. It is pending work of `source` till then.
  """
  @spec detached(Stack.t(), callback, term, Overload.Sources.source()) :: :ok
  def detached(stack, callback, argument, source) do
    pid = spawn(__MODULE__, :counted, [stack, Stack.core(stack), callback, argument])
    Overload.enter(stack, pid, source)
    send(pid, :entered)
    :ok
  end

  # As long as nobody counts a process it does not begin. Its maker may end before it has counted it.
  @begin_ms 5_000

  @doc false
  @spec counted(Stack.t(), module | nil, callback, term) :: :ok | no_return
  def counted(stack, core, callback, argument) do
    receive do
      :entered -> call(stack, core, callback, argument, nil)
    after
      @begin_ms -> :ok
    end
  after
    Overload.leave(stack, self())
  end

  defp start(%__MODULE__{stack: stack, core: core} = runner, callback, argument, key) do
    {pid, ref} = spawn_monitor(__MODULE__, :call, [stack, core, callback, argument, key])
    %{runner | running: ref, pid: pid}
  end

  @doc false
  # The exit reason is what the transaction learns; what was raised is told here, where the rate is limited.
  @spec call(Stack.t(), module | nil, callback, term, term) :: :ok | no_return
  def call(stack, core, callback, argument, key) do
    # A module that is not loaded yet exports nothing.
    if Code.ensure_loaded?(core) and function_exported?(core, callback, 3),
      do: apply(core, callback, [argument, key, stack.name]),
      else: apply(core, callback, [argument, key])

    :ok
  catch
    kind, reason ->
      tell(stack, callback, kind, reason, __STACKTRACE__)
      exit({:shutdown, :core_failed})
  end

  defp tell(stack, callback, kind, reason, stacktrace) do
    Telemetry.emit(stack, :core_failed, %{system_time: System.system_time()}, fn ->
      %{callback: callback, kind: kind, reason: reason, stacktrace: stacktrace}
    end)

    Stack.log(stack, :error, fn ->
      "#{callback} of the core failed: " <> Exception.format(kind, reason, stacktrace)
    end)
  end
end
