defmodule Sippet.Stack do
  @moduledoc false
  # What the parts of a running stack share: its options, counters, core and transports.
  #
  # The struct never changes while the stack runs and is read on every message, so it lies in
  # `:persistent_term`. So do the transports, which change seldom. Core and taps are rows of a table that the stack's
  # supervisor owns. All of them outlive each part that reads them.

  alias Sippet.{Flow, LocalHosts, Log, Overload, Telemetry, Transport}
  alias Sippet.Message.Via
  alias Sippet.Stack.{Options, Tap}

  @enforce_keys [
    :name,
    :options,
    :telemetry,
    :registrations,
    :overload,
    :log_budget,
    :taps,
    :transactions,
    :resolver
  ]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          name: atom,
          options: Options.t(),
          telemetry: Telemetry.t(),
          registrations: :ets.tid(),
          overload: Overload.t(),
          log_budget: :atomics.atomics_ref(),
          taps: :atomics.atomics_ref(),
          transactions: term,
          resolver: term
        }

  # Lines a second that a stack may log about what the network or a core did. Those for debugging have a budget of their
  # own: who sends what is malformed must not keep others out of the log.
  @log_lines 5

  # Slots of the budget: the second and the lines in it, of each kind; and whether it was told that there is no core.
  @usual 1
  @debug 3
  @core_missed 5

  @doc """
  Makes the stack's struct and tables; the tables belong to the caller. `transactions` and `resolver` are what these rooms
  keep here for themselves.
  """
  @spec create(Options.t(), term, term) :: t
  def create(%Options{name: name} = options, transactions, resolver \\ nil) do
    registrations = :ets.new(__MODULE__, [:public, read_concurrency: true])
    :ets.insert(registrations, [{:core, options.core}, {:taps, []}])

    stack = %__MODULE__{
      name: name,
      options: options,
      telemetry: Telemetry.new(name, options.telemetry),
      registrations: registrations,
      overload: options |> Map.take(Overload.limits()) |> Overload.new(),
      log_budget: :atomics.new(@core_missed, []),
      taps: :atomics.new(1, []),
      transactions: transactions,
      resolver: resolver
    }

    :persistent_term.put({__MODULE__, name}, stack)
    stack
  end

  @doc """
  The stack of this name; `ArgumentError` where none was started.
  """
  @spec fetch!(atom) :: t
  def fetch!(name) do
    case :persistent_term.get({__MODULE__, name}, nil) do
      nil -> raise ArgumentError, "no stack named #{inspect(name)} was started"
      stack -> stack
    end
  end

  @doc """
  The stack of this name, or nothing.
  """
  @spec find(atom) :: t | nil
  def find(name), do: :persistent_term.get({__MODULE__, name}, nil)

  # An atom has 255 characters at most.
  @longest_name 200

  @doc """
  The registered name of a process of a stack. Its atom begins like no name of an application's: `MyApp.Supervisor` may stand
  beside the stack `MyApp`. Stacks are named by programmers, so the atom is theirs too.
  """
  @spec process(atom, String.t()) :: atom
  def process(name, part), do: :"Sippet.Stack.#{short(Atom.to_string(name))}.#{part}"

  defp short(name) when byte_size(name) <= @longest_name, do: name
  defp short(name), do: Base.encode16(:crypto.hash(:sha256, name))

  # Milliseconds that processes get to end which a killed supervisor left behind.
  @leftovers 5_000

  @doc """
  Waits for processes of these names to end. A supervisor that was killed leaves its children to end by themselves, and
  those that shall take their place can't be named as long as they have not: each try would count as a restart.
  """
  @spec await_end([atom]) :: :ok
  def await_end(names) do
    for name <- names, pid = Process.whereis(name) do
      ref = Process.monitor(pid)

      receive do
        {:DOWN, ^ref, :process, _pid, _reason} -> :ok
      after
        @leftovers -> Process.demonitor(ref, [:flush])
      end
    end

    :ok
  end

  @doc """
  How often a supervisor of the stack starts parts again. One that is killed comes back while calls go on: that many
  in a row are no reason to give up.
  """
  @spec restarts() :: keyword
  def restarts, do: [max_restarts: 50, max_seconds: 5]

  @spec core(t) :: module | nil
  def core(stack), do: read(stack, :core, nil)

  @spec put_core(t, module) :: :ok
  def put_core(stack, module) do
    :ets.insert(stack.registrations, {:core, module})
    :atomics.put(stack.log_budget, @core_missed, 0)
  end

  @spec transports(t) :: [Transport.t()]
  def transports(%__MODULE__{name: name, registrations: registrations}) do
    case :persistent_term.get({__MODULE__, :transports, name}, nil) do
      {^registrations, transports} -> transports
      # Those of an earlier stack of this name.
      _others -> []
    end
  end

  @doc """
  The transport of this protocol that a process has registered.
  """
  @spec transport(t, pid, atom | String.t()) :: Transport.t() | nil
  def transport(stack, pid, protocol), do: own(transports(stack), pid, protocol)

  defp own(transports, pid, protocol),
    do: Enum.find(transports, &(&1.pid == pid and &1.protocol == protocol))

  @doc """
  The hosts that are the stack itself.
  """
  @spec own_hosts(t) :: [LocalHosts.host()]
  def own_hosts(%__MODULE__{options: options} = stack),
    do: Enum.flat_map(transports(stack), & &1.hosts) ++ LocalHosts.named(options.hosts)

  @doc """
  Whether this is one of the transports that have registered, and not a connection that somebody has handed in.
  """
  @spec listed?(t, Transport.t()) :: boolean
  def listed?(stack, transport),
    do:
      transport(stack, transport.pid, transport.protocol) == %{
        transport
        | host: nil,
          instead_of: nil
      }

  @doc """
  Stands for the address of a transport, in one word.
  """
  @spec place(Transport.t()) :: non_neg_integer
  def place(%{address: address}), do: :erlang.phash2(address)

  @doc """
  The transport of this protocol that has taken a place.
  """
  @spec transport_at(t, non_neg_integer, atom | String.t()) :: Transport.t() | nil
  def transport_at(stack, place, protocol),
    do: Enum.find(transports(stack), &(&1.protocol == protocol and place(&1) == place))

  @doc """
  The flow of a message that a transport took from the far end.
  """
  @spec flow(t, Transport.t() | nil, Via.remote()) :: Flow.t()
  def flow(_stack, nil, {protocol, ip, port}), do: %Flow{protocol: protocol, remote: {ip, port}}

  def flow(stack, %{address: address} = transport, {protocol, ip, port}) do
    connection = if listed?(stack, transport), do: nil, else: transport

    %Flow{
      protocol: protocol,
      remote: {ip, port},
      local: address,
      connection: connection,
      identities: transport.identities
    }
  end

  @doc """
  The transport of a flow.
  """
  @spec transport_of(t, Flow.t()) :: Transport.t() | nil
  def transport_of(stack, %Flow{connection: nil, protocol: protocol, local: local}),
    do: Enum.find(transports(stack), &(&1.protocol == protocol and &1.address == local))

  def transport_of(_stack, %Flow{connection: transport}), do: transport

  @doc """
  The transport that answers what a process hands in: its own, and of several that of the
  protocol. For a process that has not registered it is the protocol's one without an address, or
  else the first one.
  """
  @spec answering(t, pid, atom | String.t()) :: Transport.t() | nil
  def answering(stack, pid, protocol) do
    transports = transports(stack)

    own(transports, pid, protocol) ||
      Enum.find(transports, &(&1.pid == pid)) ||
      Enum.find(transports, &(&1.protocol == protocol and &1.address == nil)) ||
      Enum.find(transports, &(&1.protocol == protocol))
  end

  @doc """
  Only `Sippet.Transport.Registrations` calls this: one process changes the list.
  """
  @spec put_transports(t, [Transport.t()]) :: :ok
  def put_transports(stack, transports) do
    :persistent_term.put(
      {__MODULE__, :transports, stack.name},
      {stack.registrations, transports}
    )
  end

  @doc """
  Who watches the stack's messages; see `Sippet.Stack.Tap`.
  """
  @spec taps(t) :: [Tap.t()]
  def taps(stack), do: read(stack, :taps, [])

  @doc """
  Only `Sippet.Transport.Registrations` calls this: one process changes the list.
  """
  @spec put_taps(t, [Tap.t()]) :: :ok
  def put_taps(stack, taps) do
    :ets.insert(stack.registrations, {:taps, taps})
    # Read on every message, as the struct is: the list is looked up only where there is one.
    :atomics.put(stack.taps, 1, length(taps))
  end

  # The table is gone with the stack's supervisor: what still runs then finds no core.
  defp read(stack, row, default) do
    :ets.lookup_element(stack.registrations, row, 2)
  rescue
    ArgumentError -> default
  end

  @doc """
  Logs a defect of the stack's own, at the same limited rate.
  """
  @spec log_defect(t, :error | :exit | :throw, term, Exception.stacktrace(), Log.about()) :: :ok
  def log_defect(stack, kind, reason, stacktrace, about \\ %{}) do
    about = Map.put(about, :crash, {kind, reason, stacktrace})
    log(stack, :error, about, fn -> "a defect of the stack's own" end)
  end

  @doc """
  Logs once that the stack has no core, until one is registered.
  """
  @spec log_missing_core(t) :: :ok
  def log_missing_core(%__MODULE__{log_budget: budget} = stack) do
    if :atomics.exchange(budget, @core_missed, 1) == 0 do
      log(stack, :error, fn ->
        "no core is registered, so that requests get 500: start the stack with the option :core, or call Sippet.register_core/2"
      end)
    else
      :ok
    end
  end

  @doc """
  Logs what `text` returns, but not more than #{@log_lines} lines a second, and of the level `:debug` as many: the network must
  not fill the log. What was not logged was counted.
  """
  @spec log(t, :logger.level(), Log.about(), (... -> iodata)) :: :ok
  def log(%__MODULE__{log_budget: budget, name: name}, level, about \\ %{}, text) do
    slot = if level == :debug, do: @debug, else: @usual

    if :logger.allow(level, __MODULE__) and within?(budget, slot),
      do: Log.write(name, level, about, text.()),
      else: :ok
  end

  defp within?(budget, slot) do
    second = System.monotonic_time(:second)

    if :atomics.exchange(budget, slot, second) != second, do: :atomics.put(budget, slot + 1, 0)
    :atomics.add_get(budget, slot + 1, 1) <= @log_lines
  end
end
