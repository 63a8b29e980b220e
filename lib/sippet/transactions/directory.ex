defmodule Sippet.Transactions.Directory do
  @moduledoc false
  # Where transactions are: a transaction in progress is a process in the stack's registry, or a row on the shelf. Who
  # has something for one goes by its key, and need not know which it is.

  alias Sippet.{Stack, Transport}
  alias Sippet.Transactions.Shelf

  # A machine lives for milliseconds as a rule: with room for its request from the start it ends without a
  # garbage collection. One that lives longer, while a call rings, hibernates.
  @room [min_heap_size: 1_598]
  @loop [hibernate_after: 1_000]

  # How long a machine waits for the one who makes it, in ms: it may have been killed meanwhile.
  @begin_ms 5_000

  # Messages that wait for one machine. The same datagram over and over, faster than it is answered, must not fill the
  # memory; no peer that behaves has so many of one transaction under way.
  @most_waiting 100

  @doc """
  Starts a machine with what its `init/1` takes. It ends with the registry that it enters, at the latest.

  `:ignore` says that it found its key taken, or nothing on the shelf to go on with.
  """
  # A supervisor would be one more process to wait for, and to tell of each end, for what the link to the registry does
  # already. `:gen_statem.start/3` would look through all that waits for the calling process.
  @spec start(module, term) :: :ok | :ignore | {:error, :overload}
  def start(module, seed) do
    pid = :proc_lib.spawn_opt(__MODULE__, :begin, [module, seed], @room)
    ref = :erlang.monitor(:process, pid, alias: :reply_demonitor)
    send(pid, {:begin, ref})

    receive do
      {^ref, result} -> result
      {:DOWN, ^ref, :process, _pid, _reason} -> {:error, :overload}
    end
  rescue
    # The VM has no room for another process.
    SystemLimitError -> {:error, :overload}
  end

  @doc false
  @spec begin(module, term) :: term
  def begin(module, seed) do
    receive do
      {:begin, ref} -> enter(ref, module, module.init(seed))
    after
      @begin_ms -> :ok
    end
  end

  defp enter(ref, module, {:ok, state, data, actions}) do
    send(ref, {ref, :ok})
    :gen_statem.enter_loop(module, @loop, state, data, actions)
  end

  defp enter(ref, _module, :ignore), do: send(ref, {ref, :ignore})
  defp enter(ref, _module, {:stop, _reason}), do: send(ref, {ref, {:error, :overload}})

  @doc """
  Enters the calling process, a machine, for a key. `:error` says that the registry is about to start again, or gone.
  """
  @spec register(Stack.t(), struct, term) :: {:ok, pid} | {:error, term} | :error
  def register(stack, key, value) do
    Registry.register(stack.name, key, value)
  rescue
    ArgumentError -> :error
  end

  @doc """
  Hands an event to the transaction of this key, which is taken off the shelf for it if that is where it is.
  """
  @spec post(Stack.t(), struct, term) :: :ok | :error
  def post(stack, key, event), do: hand(find(stack, key), stack, key, event)

  @doc """
  Hands over what came from the network: like `post/3`, but a transaction that does not keep up is not given more.
  """
  @spec deliver(Stack.t(), struct, term) :: :ok | :error | :busy
  def deliver(stack, key, event) do
    case find(stack, key) do
      # To ask takes a moment, in which the transaction may have gone to the shelf: it is looked up anew.
      pid when is_pid(pid) -> if busy?(pid), do: :busy, else: post(stack, key, event)
      module_or_nil -> hand(module_or_nil, stack, key, event)
    end
  end

  defp busy?(pid) do
    case Process.info(pid, :message_queue_len) do
      {:message_queue_len, waiting} -> waiting >= @most_waiting
      nil -> false
    end
  end

  defp hand(nil, _stack, _key, _event), do: :error
  defp hand(pid, _stack, _key, event) when is_pid(pid), do: :gen_statem.cast(pid, event)
  defp hand(module, stack, key, event), do: wake(stack, key, module, event)

  # Another process may be faster to wake it; the event then goes to where it is now.
  defp wake(stack, key, module, event) do
    with :ignore <- start(module, {:wake, stack, key, event}),
         [{pid, _value}] <- lookup(stack.name, key) do
      :gen_statem.cast(pid, event)
    else
      :ok -> :ok
      _gone -> :error
    end
  end

  @doc """
  The process of a transaction in progress, or the module of one on the shelf.
  """
  @spec find(Stack.t(), struct) :: pid | module | nil
  def find(stack, key) do
    case lookup(stack.name, key) do
      [{pid, _value}] -> pid
      [] -> Shelf.machine(stack, key)
    end
  end

  @doc """
  Looks into a registry that may be about to start again, or gone with its stack.
  """
  @spec lookup(atom, term) :: [{pid, term}]
  def lookup(registry, name) do
    Registry.lookup(registry, name)
  rescue
    ArgumentError -> []
  end

  @doc """
  Where the client transaction of this key sends, and by which transport, as long as it has not ended.
  """
  @spec path(Stack.t(), struct) :: {Transport.destination(), Transport.t()} | nil
  def path(stack, key) do
    case lookup(stack.name, key) do
      [{_pid, {_destination, %Transport{}} = path}] -> path
      _none -> nil
    end
  end

  @doc """
  The client transactions that send to a destination.
  """
  @spec clients(Stack.t(), Transport.destination()) :: [pid]
  def clients(stack, destination) do
    sends_there = {:"=:=", :"$2", {:const, destination}}
    Registry.select(stack.name, [{{:_, :"$1", {:"$2", :_}}, [sends_there], [:"$1"]}])
  rescue
    ArgumentError -> []
  end

  @doc """
  How many transactions are in progress.
  """
  @spec count(Stack.t()) :: non_neg_integer
  def count(stack) do
    unfinished(stack) + Shelf.count(stack)
  rescue
    ArgumentError -> 0
  end

  @doc """
  How many of them are processes.
  """
  @spec unfinished(Stack.t()) :: non_neg_integer
  def unfinished(stack) do
    Registry.count(stack.name)
  rescue
    # A registry that starts again has not made all of its tables yet: it adds up what is none.
    _error in [ArgumentError, ArithmeticError] -> 0
  end

  @doc """
  Takes the calling process out, whose transaction lies on the shelf now, and hands on what came for it meanwhile.
  """
  @spec leave(Stack.t(), struct) :: :ok
  def leave(stack, key) do
    Registry.unregister(stack.name, key)
    hand_on(stack, key)
  end

  defp hand_on(stack, key) do
    receive do
      {:"$gen_cast", event} ->
        post(stack, key, event)
        hand_on(stack, key)
    after
      0 -> :ok
    end
  end
end
