defmodule Sippet.Robustness.Subject do
  @moduledoc false
  # The stack that is tormented, in a BEAM of its own, and what that BEAM is asked for: its memory as the kernel
  # counts it, what it holds, what the kernel dropped before its socket. `:peer` talks to it through standard input
  # and output, so nothing of the network is between.

  alias Sippet.Robustness.{Core, Guarded, Machine}
  alias Sippet.{DigestAuth, Stack}
  alias Sippet.Transactions.{Dialogs, Shelf}
  alias Sippet.Transports.UDP

  @enforce_keys [:peer, :os_pid, :address, :guarded]
  defstruct [:peer, :os_pid, :address, :guarded]

  @type t :: %__MODULE__{
          peer: pid,
          os_pid: String.t(),
          address: {:inet.ip_address(), :inet.port_number()},
          guarded: {:inet.ip_address(), :inet.port_number()}
        }

  @stack :torment
  @guarded :guarded
  @loopback {127, 0, 0, 1}

  # Small enough to be used up within a second, and far more than the stack itself needs.
  @limits "ulimit -n 1024; exec"

  @flags ~w(+Q 2048 +P 262144)c

  # What guides/running-in-production.md recommends.
  @allocators "+Muas ageffcbf +Mulmbcs 128 +Musmbcs 64 +MMmcs 0"

  @doc """
  Starts the BEAM on the processors of the server's side, and in it both stacks on these ports. `options` are the
  stack's. It ends with the calling process.
  """
  @spec start({:inet.port_number(), :inet.port_number()}, keyword) :: t
  def start({port, guarded}, options \\ []) do
    allocators = System.get_env("SIPPET_VM_FLAGS", @allocators)
    flags = @flags ++ schedulers() ++ for flag <- String.split(allocators), do: to_charlist(flag)
    peer = Machine.start(:server, @limits, flags)
    :ok = :peer.call(peer, __MODULE__, :serve, [port, guarded, options], 30_000)

    %__MODULE__{
      peer: peer,
      os_pid: List.to_string(:peer.call(peer, :os, :getpid, [])),
      address: {@loopback, port},
      guarded: {@loopback, guarded}
    }
  end

  # As many as it has processors to run on, as the same guide says.
  defp schedulers do
    count = Machine.count(:server)
    [~c"+S", ~c"#{count}:#{count}"]
  end

  @doc """
  Calls one of the functions below in the other BEAM.
  """
  @spec ask(t, atom, [term], timeout) :: term
  def ask(subject, function, arguments \\ [], timeout \\ 30_000),
    do: :peer.call(subject.peer, __MODULE__, function, arguments, timeout)

  ## Seen from outside

  @doc """
  Resident memory in KB: now, or the most since `forget_peak/1`.
  """
  @spec resident(t, :now | :peak) :: non_neg_integer
  def resident(subject, which) do
    name = %{now: "VmRSS", peak: "VmHWM"}[which]
    [_all, kb] = Regex.run(~r/#{name}:\s+(\d+) kB/, File.read!("/proc/#{subject.os_pid}/status"))
    String.to_integer(kb)
  end

  # proc(5): 5 resets the peak to what is resident now.
  @spec forget_peak(t) :: :ok
  def forget_peak(subject), do: File.write!("/proc/#{subject.os_pid}/clear_refs", "5")

  @doc """
  Datagrams that the kernel dropped since the socket was opened, as its buffer was full.
  """
  @spec dropped_by_kernel(t) :: non_neg_integer
  def dropped_by_kernel(%{address: {_ip, port}}) do
    hex = port |> Integer.to_string(16) |> String.pad_leading(4, "0")

    "/proc/net/udp"
    |> File.read!()
    |> String.split("\n", trim: true)
    |> Enum.filter(&String.contains?(&1, ":#{hex} "))
    |> Enum.map(&(&1 |> String.split() |> List.last() |> String.to_integer()))
    |> Enum.sum()
  end

  ## In the other BEAM

  @doc false
  def serve(port, guarded, options) do
    {:ok, _started} = Application.ensure_all_started(:sippet)
    # What is loaded later takes memory and atoms.
    for application <- [:kernel, :stdlib, :elixir, :logger, :crypto, :sippet],
        module <- Application.spec(application, :modules),
        do: Code.ensure_loaded(module)

    lines = :counters.new(1, [])
    :persistent_term.put(__MODULE__, lines)
    :ok = :logger.add_handler(__MODULE__, __MODULE__, %{})
    for id <- :logger.get_handler_ids(), id != __MODULE__, do: :logger.remove_handler(id)

    children = [
      {DigestAuth.NonceStore, name: Module.concat(@guarded, Nonces)},
      {Sippet, [name: @stack, core: Core] ++ options},
      {UDP, name: @stack, port: port, address: "127.0.0.1", retry: 200},
      {Sippet, name: @guarded, core: Guarded},
      {UDP, name: @guarded, port: guarded, address: "127.0.0.1", retry: 200}
    ]

    # Whoever asks for this is gone soon.
    {:ok, supervisor} =
      Supervisor.start_link(children, strategy: :one_for_one, max_restarts: 100, max_seconds: 5)

    Process.unlink(supervisor)
    Process.register(supervisor, __MODULE__)
    :ok
  end

  @doc false
  # A handler of `:logger`: what is logged is counted, lest writing it is what is measured.
  def log(_event, _config), do: :counters.add(:persistent_term.get(__MODULE__), 1, 1)

  @doc false
  def counts(stack \\ @stack) do
    lines = :counters.get(:persistent_term.get(__MODULE__), 1)
    Map.merge(Sippet.stats(stack), %{log_lines: lines})
  end

  @doc false
  # What must be the same before and after: what a stack may leak.
  def holdings do
    stack = Stack.fetch!(@stack)
    {rows, index, merges} = :ets.lookup_element(stack.board, Shelf, 2)

    %{
      transactions: Sippet.stats(@stack).transactions,
      registered: Registry.count(@stack),
      dialogs: Registry.count(Dialogs.name(@stack)),
      shelf: for(table <- [rows, index, merges], do: :ets.info(table, :size)),
      transports: length(Stack.transports(stack)),
      processes: length(Process.list()),
      ports: length(Port.list()),
      tables: length(:ets.all()),
      descriptors: length(File.ls!("/proc/self/fd"))
    }
  end

  @doc false
  def atoms, do: :erlang.system_info(:atom_count)

  @doc false
  # Each process of the tree, with its way from the root.
  def tree do
    children(Process.whereis(__MODULE__), [])
  end

  defp children(supervisor, way) do
    for {id, pid, type, _modules} <- Supervisor.which_children(supervisor),
        is_pid(pid),
        way != [] or of_stack?(id),
        one <- [{way ++ [name(id)], pid} | below(type, pid, way ++ [name(id)])],
        do: one
  end

  defp below(:supervisor, pid, way), do: children(pid, way)
  defp below(:worker, _pid, _way), do: []

  defp of_stack?({_module, @stack}), do: true
  defp of_stack?({_module, @stack, _address, _port}), do: true
  defp of_stack?(_id), do: false

  defp name({module, @stack}), do: module
  defp name({module, @stack, _address, _port}), do: module
  defp name(id), do: id

  @doc false
  # Kills what is at the end of a way: `true` when there was something.
  def kill(way) do
    case List.keyfind(tree(), way, 0) do
      {^way, pid} -> Process.exit(pid, :kill)
      nil -> false
    end
  end

  @doc false
  def kill_transactions do
    pids = Registry.select(@stack, [{{:_, :"$1", :_}, [], [:"$1"]}])
    for pid <- pids, do: Process.exit(pid, :kill)
    length(pids)
  end

  @doc false
  def close_socket do
    [%{handle: %{socket: socket}}] = Stack.transports(Stack.fetch!(@stack))
    :socket.close(socket)
  end

  @doc false
  # Takes all that is left of something for `ms`, and gives it back by itself: who has none left can't be asked to.
  def exhaust(what, ms) do
    caller = self()

    pid =
      spawn(fn ->
        send(caller, {self(), length(take(what, []))})
        Process.sleep(ms)
      end)

    receive do: ({^pid, count} -> count)
  end

  # What was taken hangs on the process, and goes with it.
  defp take(what, taken) do
    one(what, taken)
  catch
    :error, _limit -> taken
  end

  defp one(:descriptors, taken) do
    {:ok, file} = :file.open("/dev/null", [:read, :raw])
    take(:descriptors, [file | taken])
  end

  defp one(:ports, taken),
    do: take(:ports, [Port.open({:spawn_driver, String.to_charlist("ram_file_drv")}, []) | taken])

  defp one(:processes, taken) do
    holder = self()
    pid = spawn(fn -> hold(Process.monitor(holder)) end)
    take(:processes, [pid | taken])
  end

  defp hold(ref), do: receive(do: ({:DOWN, ^ref, :process, _pid, _reason} -> :ok))
end

defmodule Sippet.Robustness.Machine do
  @moduledoc false
  # Other BEAMs, and on which processors they run: the server has the upper half of those that there are, whoever
  # sends has the lower. On a machine with one, all share it.

  @doc """
  Starts a BEAM for the `:server` or a `:sender`, by a shell command that ends in `exec`. It ends with the caller.
  """
  @spec start(:server | :sender, String.t(), [charlist]) :: pid
  def start(side, command \\ "exec", flags \\ []) do
    erl = Path.join([:code.root_dir(), "bin", "erl"])
    # The shell's `$0` is erl.
    shell = [~c"sh", ~c"-c", ~c"#{command} \"$0\" \"$@\"", ~c"#{erl}"]
    path = Enum.flat_map(:code.get_path(), &[~c"-pa", &1])

    {:ok, peer, _node} =
      :peer.start_link(%{
        connection: :standard_io,
        exec: {~c"#{System.find_executable("taskset")}", [~c"-c", processors(side) | shell]},
        args: flags ++ [~c"-kernel", ~c"logger_level", ~c"error"] ++ path,
        wait_boot: 30_000
      })

    peer
  end

  @doc """
  The processors of a side, as taskset takes them.
  """
  @spec processors(:server | :sender) :: charlist
  def processors(side) do
    range = range(side)
    ~c"#{range.first}-#{range.last}"
  end

  @doc """
  How many processors a side has.
  """
  @spec count(:server | :sender) :: pos_integer
  def count(side), do: Range.size(range(side))

  defp range(side) do
    count = System.schedulers()
    half = max(div(count, 2), 1)

    case side do
      :sender -> 0..(half - 1)
      :server -> min(half, count - 1)..(count - 1)
    end
  end
end
