defmodule Sippet.Interop.Program do
  @moduledoc false
  # A peer that is a program: an operating system process with a time limit and a folder of its own, whose output the
  # test waits for. It ends with the test that started it, and only what was started here is ended.

  import ExUnit.Assertions, only: [flunk: 1]
  import ExUnit.Callbacks, only: [on_exit: 1]

  @enforce_keys [:name, :port, :os_pid, :folder, :limit]
  defstruct [:name, :port, :os_pid, :folder, :limit, output: ""]

  @typedoc """
  A program that was started, and what it has written so far: standard output and standard error as they came. One that
  had ended at once has no `os_pid`.
  """
  @type t :: %__MODULE__{
          name: String.t(),
          port: port,
          os_pid: pos_integer | nil,
          folder: Path.t(),
          limit: pos_integer,
          output: String.t()
        }

  @type result :: %{exit: non_neg_integer, output: String.t()}

  # Much longer than anything here takes: only a failure waits for it.
  @patience 10_000

  @doc """
  A folder for the files of one program. It goes with the test.
  """
  @spec new_folder(String.t()) :: Path.t()
  def new_folder(name) do
    unique = "sippet-#{name}-#{System.pid()}-#{System.unique_integer([:positive])}"
    folder = Path.join(System.tmp_dir!(), unique)
    File.mkdir_p!(folder)
    on_exit(fn -> File.rm_rf!(folder) end)
    folder
  end

  @doc """
  A port of an address that nobody has at this moment, of UDP nor of TCP, and neither the next one.
  """
  @spec free_port(:inet.ip_address()) :: :inet.port_number()
  def free_port(ip \\ {127, 0, 0, 1}) do
    {:ok, socket} = :gen_udp.open(0, socket_options(ip))
    {:ok, port} = :inet.port(socket)
    :gen_udp.close(socket)
    if free?(ip, port) and free?(ip, port + 1), do: port, else: free_port(ip)
  end

  @doc """
  Whether nobody has this port, of UDP nor of TCP. A connection of it that has ended counts too, for a while.
  """
  @spec free?(:inet.ip_address(), :inet.port_number()) :: boolean
  def free?(ip, port) do
    with {:ok, socket} <- :gen_udp.open(port, socket_options(ip)),
         :ok <- :gen_udp.close(socket),
         {:ok, listener} <- :gen_tcp.listen(port, socket_options(ip)) do
      :gen_tcp.close(listener) == :ok
    else
      {:error, _taken} -> false
    end
  end

  defp socket_options(ip) when tuple_size(ip) == 8, do: [:inet6, ip: ip]
  defp socket_options(ip), do: [ip: ip]

  @doc """
  Starts a program.

    * `:folder` - where it runs, one made by `new_folder/1`;
    * `:limit` - after so many seconds it is ended (20);
    * `:env` - variables of its environment, `[{name, value}]`.
  """
  @spec start(String.t(), [String.t()], keyword) :: t
  def start(program, arguments, options \\ []) do
    name = Path.basename(program)
    folder = Keyword.get_lazy(options, :folder, fn -> new_folder(name) end)
    limit = Keyword.get(options, :limit, 20)

    # timeout ends what it started, and its children, whatever happens here. Into a pipe many programs write only when
    # they have much to say: stdbuf has them write line by line.
    arguments = ~w(-k 1 #{limit} stdbuf -oL -eL #{program}) ++ arguments

    port =
      Port.open({:spawn_executable, System.find_executable("timeout")}, [
        :binary,
        :exit_status,
        :stderr_to_stdout,
        args: arguments,
        cd: folder,
        env:
          for({name, value} <- options[:env] || [], do: {to_charlist(name), to_charlist(value)})
      ])

    os_pid = with {:os_pid, os_pid} <- Port.info(port, :os_pid), do: os_pid
    program = %__MODULE__{name: name, port: port, os_pid: os_pid, folder: folder, limit: limit}
    on_exit(fn -> terminate(program) end)
    program
  end

  @doc """
  Runs a program to its end.
  """
  @spec run(String.t(), [String.t()], keyword) :: result
  def run(program, arguments, options \\ []),
    do: program |> start(arguments, options) |> await()

  @doc """
  Waits until the output has what the pattern matches.
  """
  @spec await_output(t, Regex.t() | String.t(), non_neg_integer) :: t
  def await_output(program, pattern, timeout \\ @patience) do
    case look_for(program, pattern, timeout) do
      {:found, program} -> program
      {:not_yet, program} -> lament(program, "went on for #{timeout} ms", pattern)
    end
  end

  @doc """
  Waits a while for output that the pattern matches, which may be there already.
  """
  @spec look_for(t, Regex.t() | String.t(), non_neg_integer) :: {:found | :not_yet, t}
  def look_for(%{port: port} = program, pattern, timeout) do
    if program.output =~ pattern do
      {:found, program}
    else
      receive do
        {^port, {:data, data}} -> look_for(told(program, data), pattern, timeout)
        {^port, {:exit_status, status}} -> lament(program, "ended with #{status}", pattern)
      after
        timeout -> {:not_yet, program}
      end
    end
  end

  @doc """
  Waits until a UDP port is open. Not every program tells when it listens; the kernel's table does.
  """
  @spec await_bound(t, :inet.port_number(), non_neg_integer, :udp | :tcp) :: t
  def await_bound(%{port: program_port} = program, port, tries \\ 500, protocol \\ :udp) do
    cond do
      bound?(port, protocol) ->
        program

      tries == 0 ->
        lament(program, "did not open port #{port} of #{protocol}", ~r/./)

      true ->
        receive do
          {^program_port, {:data, data}} ->
            await_bound(told(program, data), port, tries - 1, protocol)

          {^program_port, {:exit_status, status}} ->
            lament(program, "ended with #{status}", ~r/./)
        after
          10 -> await_bound(program, port, tries - 1, protocol)
        end
    end
  end

  @doc """
  Whether somebody has this UDP port, of whatever address, or listens at this one of TCP.
  """
  @spec bound?(:inet.port_number(), :udp | :tcp) :: boolean
  def bound?(port, protocol \\ :udp) do
    hex = port |> Integer.to_string(16) |> String.pad_leading(4, "0")
    # A socket of TCP that listens is one without a far end.
    wanted = if protocol == :udp, do: ~r/:#{hex} /, else: ~r/:#{hex} 0+:0000 0A /
    Enum.any?(["", "6"], &(File.read!("/proc/net/#{protocol}#{&1}") =~ wanted))
  end

  @doc """
  Writes to the program's standard input.
  """
  @spec write(t, iodata) :: :ok
  def write(%{port: port}, text) do
    Port.command(port, text)
    :ok
  end

  @doc """
  Waits for the program's end.
  """
  @spec await(t) :: result
  def await(%{port: port} = program) do
    receive do
      {^port, {:data, data}} -> program |> told(data) |> await()
      {^port, {:exit_status, status}} -> %{exit: status, output: program.output}
    after
      (program.limit + 5) * 1_000 -> lament(program, "outlived its limit", ~r/./)
    end
  end

  @doc """
  Asks the program to end (SIGTERM) and waits until it has.
  """
  @spec stop(t) :: result
  def stop(program) do
    terminate(program)
    await(program)
  end

  defp told(program, data), do: %{program | output: program.output <> data}

  defp lament(program, what, pattern),
    do:
      flunk("#{program.name} #{what}, without #{inspect(pattern)}. It wrote:\n#{program.output}")

  defp terminate(%{os_pid: nil}), do: :ok

  # A number may be somebody else's by now: it is ours as long as it runs in our folder.
  defp terminate(%{os_pid: os_pid, folder: folder}) do
    if ours?(os_pid, folder) do
      System.cmd("kill", [Integer.to_string(os_pid)], stderr_to_stdout: true)
      # What it writes at its end would keep the folder from being removed.
      await_end(os_pid, folder, 100)
    end
  end

  defp await_end(os_pid, folder, tries) do
    if tries > 0 and ours?(os_pid, folder) do
      Process.sleep(10)
      await_end(os_pid, folder, tries - 1)
    end
  end

  defp ours?(os_pid, folder), do: File.read_link("/proc/#{os_pid}/cwd") == {:ok, folder}
end
