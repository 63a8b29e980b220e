defmodule Sippet.Robustness.StackUnderLoad do
  @moduledoc false
  # The stack that is tormented, in a BEAM of its own, and what that BEAM is asked for: its memory as the kernel
  # counts it, what it holds, what the kernel dropped before its socket. `:peer` talks to it through standard input
  # and output, so nothing of the network is between.

  alias Examples.ForkingProxy
  alias Sippet.Robustness.{Core, Guarded, Machine, Tally}
  alias Sippet.{DigestAuth, Message, Stack, Transactions, URI}
  alias Sippet.Transactions.{Client, WorkerSupervisor}
  alias Sippet.Transports.UDP

  @enforce_keys [:peer, :os_pid, :address, :guarded, :proxy]
  defstruct [:peer, :os_pid, :address, :guarded, :proxy]

  @type t :: %__MODULE__{
          peer: pid,
          os_pid: String.t(),
          address: {:inet.ip_address(), :inet.port_number()},
          guarded: {:inet.ip_address(), :inet.port_number()},
          proxy: {:inet.ip_address(), :inet.port_number()}
        }

  @stack :torment
  @guarded :guarded
  @proxy :forking

  # RFC3261§16.6 asks for more than 3 minutes (Timer C), in ms: what is left shall be over in 40 s.
  @timer_c 7_000
  @loopback {127, 0, 0, 1}

  # Small enough to be used up within a second, and far more than the stack itself needs.
  @limits "ulimit -n 1024; exec"

  @flags ~w(+Q 2048 +P 262144)c

  # What guides/running-in-production.md recommends.
  @allocators "+Muas ageffcbf +Mulmbcs 128 +Musmbcs 64 +MMmcs 0"

  @doc """
  Starts the BEAM on the processors of the server's side, and in it the stacks on these ports: the one that is tormented,
  the one with digest, and the forking proxy of the examples. `options` are the first one's. It ends with the calling
  process.
  """
  @spec start([:inet.port_number()], keyword) :: t
  def start([port, guarded, proxy] = ports, options \\ []) do
    allocators = System.get_env("SIPPET_VM_FLAGS", @allocators)
    flags = @flags ++ schedulers() ++ for flag <- String.split(allocators), do: to_charlist(flag)
    peer = Machine.start(:server, @limits, flags)
    :ok = :peer.call(peer, __MODULE__, :serve, [ports, options], 30_000)

    %__MODULE__{
      peer: peer,
      os_pid: List.to_string(:peer.call(peer, :os, :getpid, [])),
      address: {@loopback, port},
      guarded: {@loopback, guarded},
      proxy: {@loopback, proxy}
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
  def ask(stack, function, arguments \\ [], timeout \\ 30_000),
    do: :peer.call(stack.peer, __MODULE__, function, arguments, timeout)

  ## Seen from outside

  @doc """
  Resident memory in KB: now, or the most since `forget_peak/1`.
  """
  @spec resident(t, :now | :peak) :: non_neg_integer
  def resident(stack, which) do
    name = %{now: "VmRSS", peak: "VmHWM"}[which]
    [_all, kb] = Regex.run(~r/#{name}:\s+(\d+) kB/, File.read!("/proc/#{stack.os_pid}/status"))
    String.to_integer(kb)
  end

  # proc(5): 5 resets the peak to what is resident now.
  @spec forget_peak(t) :: :ok
  def forget_peak(stack), do: File.write!("/proc/#{stack.os_pid}/clear_refs", "5")

  @doc """
  Stops the whole BEAM for so many milliseconds, as a machine does that is suspended or moved.
  """
  @spec pause(t, non_neg_integer, (() -> term)) :: :ok
  # `meanwhile` is called as soon as it stands still.
  def pause(stack, ms, meanwhile) do
    signal(stack, "STOP")
    meanwhile.()
    Process.sleep(ms)
    signal(stack, "CONT")
  end

  defp signal(%{os_pid: os_pid}, name) do
    {_output, 0} = System.cmd("kill", ["-#{name}", os_pid])
    :ok
  end

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
  def serve([port, guarded, proxy], options) do
    {:ok, _started} = Application.ensure_all_started(:sippet)
    # What is loaded later takes memory and atoms.
    for application <- [:kernel, :stdlib, :elixir, :logger, :crypto, :sippet],
        module <- Application.spec(application, :modules),
        do: Code.ensure_loaded(module)

    Tally.new()
    :ok = :logger.add_handler(__MODULE__, __MODULE__, %{})
    for id <- :logger.get_handler_ids(), id != __MODULE__, do: :logger.remove_handler(id)

    children = [
      {DigestAuth.NonceStore, name: Module.concat(@guarded, Nonces)},
      {Sippet, [name: @stack, core: Core] ++ options},
      {UDP, name: @stack, port: port, address: "127.0.0.1", retry: 200},
      {Sippet, name: @guarded, core: Guarded},
      {UDP, name: @guarded, port: guarded, address: "127.0.0.1", retry: 200},
      %{
        id: @proxy,
        start: {ForkingProxy, :start_link, [[name: @proxy, port: proxy, timer_c: @timer_c]]},
        type: :supervisor
      }
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
  def log(_event, _config), do: Tally.add(:line)

  @doc false
  def counts(stack \\ @stack) do
    Map.merge(Sippet.stats(stack), %{log_lines: Tally.get(:line)})
  end

  @doc false
  def answers, do: %{responses: Tally.get(:response), errors: Tally.get(:error)}

  @doc false
  # What must be the same before and after: what a stack may leak.
  def holdings do
    stack = Stack.fetch!(@stack)

    %{
      transactions: Sippet.stats(@stack).transactions,
      held: Transactions.held(stack),
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
  # The keys of all transactions, and of those that nothing will ever end.
  def transactions do
    stack = Stack.fetch!(@stack)
    keys = Transactions.keys(stack)
    {keys, for(key <- keys, undue?(Transactions.info(stack, key)), do: key)}
  end

  defp undue?(nil), do: false

  # RFC3261§17.1.1.2 - an INVITE that got a provisional response waits for as long as its core does
  defp undue?(%{machine: Client.Invite, state: :proceeding}), do: false
  defp undue?(%{due: due}), do: not is_integer(due)

  @doc false
  # Kills all workers of the stack at once, so often.
  def kill_workers(times) do
    for _ <- 1..times, {[Sippet, WorkerSupervisor, _name], pid} <- tree() do
      Process.exit(pid, :kill)
    end

    :ok
  end

  @doc false
  # Sends so many requests to an address, INVITE and OPTIONS in turn.
  def send_requests(count, {ip, port}) do
    {:ok, {own, own_port}} = UDP.sockname(@stack)
    own = {text(own), own_port}

    for number <- 1..count do
      method = if rem(number, 2) == 0, do: :invite, else: :options

      :ok =
        Sippet.send(@stack, request(method, %URI{scheme: "sip", host: text(ip), port: port}, own))
    end

    :ok
  end

  defp request(method, uri, {host, port}) do
    method
    |> Message.build_request(uri)
    |> Message.put_header(:via, [
      {{2, 0}, :udp, {host, port}, %{"branch" => Message.create_branch()}}
    ])
    |> Message.put_header(
      :from,
      {"", %URI{scheme: "sip", host: host, port: port}, %{"tag" => Message.create_tag()}}
    )
    |> Message.put_header(:to, {"", uri, %{}})
    |> Message.put_header(:call_id, Message.create_call_id())
    |> Message.put_header(:cseq, {1, method})
    |> Message.put_header(:contact, [{"", %URI{scheme: "sip", host: host, port: port}, %{}}])
  end

  defp text(ip), do: ip |> :inet.ntoa() |> List.to_string()

  @doc false
  def close_socket do
    [%{handle: %{receiver: receiver}}] = Stack.transports(Stack.fetch!(@stack))
    true = :erlang.port_close(receiver)
    :ok
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
