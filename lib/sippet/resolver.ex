defmodule Sippet.Resolver do
  @moduledoc false
  # Looks up the addresses of hosts. Nobody waits for it: who asks is sent the answer.
  #
  # Each look-up runs in a process of its own, and asks name servers by a socket of its own: the VM's native resolver has four
  # workers for all of the node, which twelve dead names keep busy for seconds. One question is asked once, whoever waits for
  # it, and answers are kept as long as they say.
  #
  # Questions and answers lie in tables of the stack's supervisor: a resolver that is killed has the next one go on.

  use GenServer

  alias Sippet.Resolver.Lookup
  alias Sippet.Stack

  @enforce_keys [:answers, :askers]
  defstruct @enforce_keys

  @type t :: %__MODULE__{answers: :ets.tid(), askers: :ets.tid()}

  @typedoc "A host's name, and the families of the addresses that are of use, the best first."
  @type question :: {String.t(), [:inet | :inet6, ...]}
  @type answer :: {:ok, [:inet.ip_address(), ...]} | {:error, term}

  # Look-ups at a time. More are not begun: who makes a stack look up dead names gets so many, for so long.
  @most_lookups 200

  # Answers that are kept.
  @most_answers 10_000

  @doc """
  Makes the tables of a stack's resolver; they belong to the caller.
  """
  @spec new() :: t
  def new do
    %__MODULE__{
      answers: :ets.new(__MODULE__, [:public, read_concurrency: true]),
      askers: :ets.new(__MODULE__, [:ordered_set, :public, write_concurrency: true])
    }
  end

  @spec start_link(Stack.t()) :: GenServer.on_start()
  def start_link(stack), do: GenServer.start_link(__MODULE__, stack, name: name(stack.name))

  @doc """
  The registered name of a stack's resolver.
  """
  @spec name(atom) :: atom
  def name(stack), do: Stack.process(stack, "Resolver")

  @doc """
  The answer to a question, if it is known.
  """
  @spec known(Stack.t(), question) :: answer | nil
  def known(%Stack{resolver: %__MODULE__{answers: table}}, question) do
    case :ets.lookup(table, question) do
      [{_question, answer, until}] -> if until > now(), do: answer
      [] -> nil
    end
  rescue
    # The tables have ended with the stack.
    ArgumentError -> nil
  end

  @doc """
  Has the process of a name get `{:resolved, tag, answer}`. Those who ask the same are answered in the order in which they
  asked.
  """
  @spec ask(Stack.t(), question, atom, term) :: :ok
  def ask(%Stack{resolver: %__MODULE__{askers: table}} = stack, question, process, tag) do
    :ets.insert(table, {{question, System.unique_integer([:monotonic])}, process, tag})
    GenServer.cast(name(stack.name), {:asked, question})
  rescue
    ArgumentError -> :ok
  end

  ## The process

  @impl true
  def init(stack) do
    questions = :ets.select(stack.resolver.askers, [{{{:"$1", :_}, :_, :_}, [], [:"$1"]}])
    questions |> Enum.uniq() |> Enum.each(&GenServer.cast(self(), {:asked, &1}))

    {:ok, %{stack: stack, lookups: %{}}}
  end

  @impl true
  def handle_cast({:asked, question}, %{stack: stack, lookups: lookups} = state) do
    cond do
      question in Map.values(lookups) ->
        {:noreply, state}

      answer = known(stack, question) ->
        answer(stack, question, answer)
        {:noreply, state}

      map_size(lookups) >= @most_lookups ->
        answer(stack, question, {:error, :overload})
        {:noreply, state}

      true ->
        {:noreply, %{state | lookups: Map.put(lookups, look_up(stack, question), question)}}
    end
  end

  defp look_up(%Stack{options: %{resolver: options}} = stack, {name, families}) do
    {pid, _ref} = spawn_monitor(fn -> exit(found_by(stack, name, families, options)) end)
    Process.send_after(self(), {:too_late, pid}, options.timeout)
    pid
  end

  # A defect is logged at the stack's own rate: the name is the network's.
  defp found_by(stack, name, families, options) do
    {:found, Lookup.run(name, families, options)}
  catch
    kind, reason -> Stack.log_defect(stack, kind, reason, __STACKTRACE__)
  end

  @impl true
  def handle_info({:DOWN, _ref, :process, pid, reason}, %{lookups: lookups} = state)
      when is_map_key(lookups, pid) do
    {question, lookups} = Map.pop!(lookups, pid)
    {answer, ms} = found(reason)
    keep(state.stack, question, answer, ms)
    answer(state.stack, question, answer)
    {:noreply, %{state | lookups: lookups}}
  end

  def handle_info({:too_late, pid}, %{lookups: lookups} = state) do
    if is_map_key(lookups, pid), do: Process.exit(pid, :kill)
    {:noreply, state}
  end

  def handle_info(_message, state), do: {:noreply, state}

  defp found({:found, found}), do: found
  defp found(:killed), do: Lookup.failed(:dns_timeout)
  defp found(_defect), do: Lookup.failed(:nxdomain)

  defp keep(%Stack{resolver: %__MODULE__{answers: table}}, question, answer, ms) do
    if :ets.info(table, :size) >= @most_answers do
      :ets.select_delete(table, [{{:_, :_, :"$1"}, [{:"=<", :"$1", now()}], [true]}])
      if :ets.info(table, :size) >= @most_answers, do: :ets.delete_all_objects(table)
    end

    :ets.insert(table, {question, answer, now() + ms})
  end

  defp answer(%Stack{resolver: %__MODULE__{askers: table}}, question, answer) do
    for [number, process, tag] <- :ets.match(table, {{question, :"$1"}, :"$2", :"$3"}) do
      :ets.delete(table, {question, number})
      tell(process, {:resolved, tag, answer})
    end
  end

  # It may be about to start again.
  defp tell(process, message) do
    Kernel.send(process, message)
  rescue
    ArgumentError -> :ok
  end

  defp now, do: System.monotonic_time(:millisecond)
end
