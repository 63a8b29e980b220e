defmodule Sippet.Trace.Collector do
  @moduledoc false
  # The process of a trace: it takes what its tap tells, keeps what fits within its limits, and ends with who asked for it.
  #
  # When it has all messages that it may have it takes its tap off, and a full trace costs the stack as little as none.
  #
  # Which calls are asked for may show late, as by the method of their last request. Until then
  # their messages wait.

  use GenServer

  alias Sippet.Stack.Tap
  alias Sippet.Transport.Registrations
  alias Sippet.Trace.{Call, Entry, Filter, Waiting}

  # A flood may come, and a trace of few calls: more than so many messages a second are not even looked at.
  @per_second 5_000

  # What an entry holds besides its octets. Texts of it may be parts of them, or as long again.
  @overhead 1_024

  @enforce_keys [:stack, :tap, :owner, :filter, :limits, :waiting]
  defstruct [
    :stack,
    :tap,
    :owner,
    :filter,
    :limits,
    :waiting,
    entries: [],
    calls: MapSet.new(),
    messages: 0,
    octets: 0,
    ignored: 0,
    full?: false
  ]

  @spec start(atom, pid, map) :: {:ok, pid}
  def start(stack, owner, options), do: GenServer.start(__MODULE__, {stack, owner, options})

  @spec calls(pid) :: [Call.t()]
  def calls(trace), do: GenServer.call(trace, :calls)

  @spec info(pid) :: map
  def info(trace), do: GenServer.call(trace, :info)

  @impl true
  def init({stack, owner, options}) do
    filter = Filter.new(options)
    tap = Tap.new(self(), @per_second, filter.call_id)

    state = %__MODULE__{
      stack: stack,
      tap: tap,
      owner: Process.monitor(owner),
      filter: filter,
      limits: options,
      waiting: Waiting.new(options.max_messages, options.max_octets)
    }

    :ok = Registrations.attach(stack, tap)
    {:ok, state}
  end

  @impl true
  def handle_call(:calls, _from, state),
    do: {:reply, state.entries |> Enum.reverse() |> Call.group(), state}

  def handle_call(:info, _from, state) do
    info =
      state
      |> Map.take([:messages, :octets, :ignored, :full?])
      |> Map.put(:calls, MapSet.size(state.calls))
      |> Map.merge(%{waiting: state.waiting.messages, forgotten: state.waiting.forgotten})

    {:reply, Map.put(info, :missed, Tap.missed(state.tap)), state}
  end

  @impl true
  def handle_info({:tapped, _in_or_out, _time, _protocol, _local, _remote, octets} = told, state) do
    Tap.taken(state.tap, octets)
    {:noreply, if(state.full?, do: ignore(state), else: take(Entry.tapped(told), state))}
  end

  def handle_info({:DOWN, owner, :process, _pid, _reason}, %{owner: owner} = state),
    do: {:stop, :normal, state}

  def handle_info(_message, state), do: {:noreply, state}

  # Line ends that keep a way open are no message.
  defp take(%Entry{error: %{reason: :empty_message}}, state), do: state

  defp take(entry, state) do
    cond do
      MapSet.member?(state.calls, entry.call_id) -> follow(entry, state)
      not Filter.fits?(state.filter, entry) -> wait(entry, state)
      room?(state) -> begin(entry, state)
      true -> ignore(state)
    end
  end

  defp room?(state), do: MapSet.size(state.calls) < state.limits.max_calls

  defp wait(entry, state) do
    if room?(state) and Filter.may_fit?(state.filter, entry),
      do: %{state | waiting: Waiting.put(state.waiting, entry, size(entry))},
      else: state
  end

  defp begin(%Entry{call_id: call_id} = entry, state) do
    {before, waiting} = Waiting.take(state.waiting, call_id)
    state = %{state | waiting: waiting, calls: MapSet.put(state.calls, call_id)}
    # No further call can begin.
    state = if room?(state), do: state, else: forget_waiting(state)
    Enum.reduce(before ++ [entry], state, &follow/2)
  end

  defp follow(_entry, %{full?: true} = state), do: ignore(state)

  defp follow(entry, state) do
    if state.octets + size(entry) > state.limits.max_octets,
      do: state |> ignore() |> full(),
      else: state |> keep(entry) |> full_or_not()
  end

  defp forget_waiting(state), do: %{state | waiting: Waiting.clear(state.waiting)}

  defp ignore(state), do: %{state | ignored: state.ignored + 1}

  defp keep(state, entry) do
    %{
      state
      | entries: [entry | state.entries],
        messages: state.messages + 1,
        octets: state.octets + size(entry)
    }
  end

  defp size(%Entry{octets: octets}), do: 2 * byte_size(octets) + @overhead

  defp full_or_not(%{messages: messages, limits: %{max_messages: messages}} = state),
    do: full(state)

  defp full_or_not(state), do: state

  defp full(state) do
    state = forget_waiting(state)
    Registrations.detach(state.stack, state.tap)
    %{state | full?: true}
  catch
    # The stack is ending, or its registrations come back in a moment.
    :exit, _reason -> forget_waiting(state)
  end
end
