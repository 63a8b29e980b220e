defmodule Sippet.SIPp do
  @moduledoc false
  # Runs SIPp (https://sipp.readthedocs.io) as a peer: an operating system process with a time limit, ports and files of
  # its own. `run/2` is for a SIPp that calls, `start/2` and `await/1` for one that waits to be called.

  import ExUnit.Callbacks, only: [on_exit: 1]

  @scenarios Path.expand("../interop/sipp", __DIR__)

  alias Sippet.Interop.Program

  @enforce_keys [:port, :os_pid, :address, :protocol, :folder, :limit]
  defstruct [:port, :os_pid, :address, :protocol, :folder, :limit]

  @typedoc """
  A SIPp that was started: `address` is the `{ip, port}` of its signalling; one that had ended at once has no `os_pid`.
  """
  @type t :: %__MODULE__{
          port: port,
          os_pid: pos_integer | nil,
          address: {:inet.ip_address(), :inet.port_number()},
          protocol: :udp | :tcp,
          folder: Path.t(),
          limit: pos_integer
        }

  @typedoc """
  How it went: where SIPp stood, its exit code (0: every call was as the scenario says), its statistics by the names that
  SIPp gives them, the times in ms from each `start_rtd` to its `rtd`, and what it told of errors.
  """
  @type result :: %{
          address: {:inet.ip_address(), :inet.port_number()},
          exit: non_neg_integer,
          statistics: %{String.t() => String.t()},
          successful: non_neg_integer,
          failed: non_neg_integer,
          retransmissions: non_neg_integer,
          response_times: [float],
          errors: String.t(),
          output: String.t()
        }

  @doc """
  Why SIPp cannot run here, or `nil` where it can.
  """
  @spec missing() :: String.t() | nil
  def missing do
    cond do
      System.find_executable("sipp") == nil ->
        "SIPp is not installed: script/setup installs it"

      System.find_executable("timeout") == nil ->
        "timeout (GNU coreutils) is not installed"

      not File.exists?("/proc/net/udp") ->
        "there is no /proc/net/udp to see when SIPp listens"

      true ->
        nil
    end
  end

  @doc """
  The arguments that name a scenario of test/interop/sipp.
  """
  @spec scenario(String.t()) :: [String.t()]
  def scenario(name), do: ["-sf", Path.join(@scenarios, name <> ".xml")]

  @doc """
  The arguments for SIPp's own scenario `uas`, but for the time that it stays after each call, to answer a BYE again: that
  is 4 s, which a test would wait for. Here it is longer than T1, so that a BYE that came again would be seen.
  """
  @spec own_uas() :: [String.t()]
  def own_uas do
    {scenario, _status} = System.cmd("sipp", ["-sd", "uas"])
    [before, rest] = String.split(scenario, ~s(<timewait milliseconds="4000"/>))
    folder = new_folder()
    on_exit(fn -> File.rm_rf!(folder) end)
    file = Path.join(folder, "uas.xml")
    File.write!(file, [before, ~s(<timewait milliseconds="700"/>), rest])
    ["-sf", file]
  end

  @doc """
  Returns how many calls a test places where packets get lost: the number in the environment variable
  `SIPPET_LOSSY_CALLS`. Defaults to 40.
  """
  # More with SIPPET_LOSSY_CALLS=1000.
  @spec lossy_calls() :: pos_integer
  def lossy_calls, do: "SIPPET_LOSSY_CALLS" |> System.get_env("40") |> String.to_integer()

  @doc """
  Returns how many seconds `lossy_calls/0` calls may take, if 40 or so begin in a second. Nearly half a
  minute is for the last ones, whose packets may get lost again and again.
  """
  @spec lossy_limit() :: pos_integer
  def lossy_limit, do: 30 + div(lossy_calls(), 20)

  @doc """
  Starts SIPp and gives it back once it listens.

    * `:ip` - the address to stand on, 127.0.0.1 or ::1;
    * `:port` - the port of its signalling (one that is free);
    * `:calls` - after so many it ends (1);
    * `:transport` - "u1" for UDP, "t1" for one connection of TCP, "tn" for one of each call ("u1");
    * `:limit` - after so many seconds it is ended, and its exit code is not 0 (10).
  """
  @spec start([String.t()], keyword) :: t
  def start(arguments, options \\ []), do: arguments |> launch(options) |> wait_until_bound(500)

  defp launch(arguments, options) do
    ip = Keyword.get(options, :ip, {127, 0, 0, 1})
    limit = Keyword.get(options, :limit, 10)
    folder = new_folder()
    transport = Keyword.get(options, :transport, "u1")
    [free, media, control] = free_ports(ip)
    signalling = Keyword.get(options, :port, free)

    arguments =
      ~w(-k 1 #{limit + 1} sipp) ++
        arguments ++
        ~w(-t #{transport} -max_socket 1000 -i #{host(ip)} -bind_local -p #{signalling} -mi #{host(ip)} -mp #{media} -cp #{control}) ++
        ~w(-m #{Keyword.get(options, :calls, 1)} -nostdin -timeout #{limit}s -timeout_error) ++
        ~w(-trace_err -error_file errors -trace_stat -stf statistics -fd 1 -trace_rtt -rtt_freq 1)

    port =
      Port.open({:spawn_executable, System.find_executable("timeout")}, [
        :binary,
        :exit_status,
        :stderr_to_stdout,
        args: arguments,
        cd: folder
      ])

    sipp = %__MODULE__{
      port: port,
      os_pid: with({:os_pid, os_pid} <- Port.info(port, :os_pid), do: os_pid),
      address: {ip, signalling},
      protocol: if(transport == "u1", do: :udp, else: :tcp),
      folder: folder,
      limit: limit
    }

    on_exit(fn -> clear(sipp) end)
    sipp
  end

  @doc """
  Waits for SIPp's end.
  """
  @spec await(t) :: result
  def await(%__MODULE__{} = sipp), do: result(sipp, collect(sipp, ""))

  @doc """
  Starts a SIPp that calls `remote`, and gives it back while it calls. Options are those of `start/2`.
  """
  @spec start_caller({:inet.ip_address(), :inet.port_number()}, [String.t()], keyword) :: t
  def start_caller({ip, port}, arguments, options \\ []),
    do: start(["#{host(ip)}:#{port}" | arguments], [ip: ip] ++ options)

  @doc """
  Runs SIPp against `remote` to its end. Options are those of `start/2`. Of several calls 100 begin in a second, if the
  arguments do not say otherwise.
  """
  @spec run({:inet.ip_address(), :inet.port_number()}, [String.t()], keyword) :: result
  def run({ip, port}, arguments, options \\ []) do
    ["#{host(ip)}:#{port}", "-r", "100" | arguments] |> launch([ip: ip] ++ options) |> await()
  end

  @doc """
  Gives the result back when all calls went well, and else fails the test with all that SIPp told.
  """
  @spec assert_success(result) :: result
  def assert_success(%{exit: 0, failed: 0} = result), do: result
  def assert_success(result), do: ExUnit.Assertions.flunk(describe(result))

  @doc """
  What SIPp told, to be read by a person.
  """
  @spec describe(result) :: String.t()
  def describe(result) do
    causes =
      for {"Failed" <> _ = name, count} <- result.statistics,
          String.ends_with?(name, "(C)") and count != "0",
          do: "  #{name} = #{count}\n"

    """
    SIPp ended with #{result.exit}: #{result.successful} calls successful, #{result.failed} failed, \
    #{result.retransmissions} retransmissions
    #{causes}
    #{result.errors}
    #{if result.errors == "", do: result.output}
    """
  end

  ## The operating system's side

  defp new_folder do
    name = "sippet-sipp-#{System.pid()}-#{System.unique_integer([:positive])}"
    folder = Path.join(System.tmp_dir!(), name)
    File.mkdir_p!(folder)
    folder
  end

  # All three are open at once, so that they differ. For media SIPp also takes the port two above.
  defp free_ports(ip) do
    sockets = for _ <- 1..3, do: open!(ip, 0)
    ports = for socket <- sockets, do: with({:ok, port} <- :inet.port(socket), do: port)
    Enum.each(sockets, &:gen_udp.close/1)
    [signalling, media, _control] = ports

    if Program.free?(ip, signalling) and Program.free?(ip, media + 2),
      do: ports,
      else: free_ports(ip)
  end

  defp open!(ip, port) do
    {:ok, socket} = :gen_udp.open(port, socket_options(ip))
    socket
  end

  defp socket_options(ip) when tuple_size(ip) == 8, do: [:inet6, ip: ip]
  defp socket_options(ip), do: [ip: ip]

  # SIPp tells nobody when it listens; the kernel's table does. It takes some 10 ms.
  defp wait_until_bound(sipp, 0), do: ExUnit.Assertions.flunk(describe(await(sipp)))

  defp wait_until_bound(sipp, tries) do
    port = sipp.port

    receive do
      {^port, {:exit_status, status}} ->
        ExUnit.Assertions.flunk(describe(result(sipp, {status, "it never listened"})))
    after
      10 -> if bound?(sipp), do: sipp, else: wait_until_bound(sipp, tries - 1)
    end
  end

  defp bound?(%{address: {_ip, port}, protocol: protocol}), do: Program.bound?(port, protocol)

  defp collect(%{port: port, limit: limit} = sipp, output) do
    receive do
      {^port, {:data, data}} -> collect(sipp, output <> data)
      {^port, {:exit_status, status}} -> {status, output}
    after
      (limit + 5) * 1_000 -> ExUnit.Assertions.flunk("SIPp outlived its limit:\n#{output}")
    end
  end

  # Only what was started here is ended: the folder's name in its command line says that it is.
  defp clear(sipp) do
    if ours?(sipp), do: System.cmd("kill", [Integer.to_string(sipp.os_pid)])
    File.rm_rf!(sipp.folder)
  end

  defp ours?(%{os_pid: nil}), do: false
  defp ours?(sipp), do: File.read_link("/proc/#{sipp.os_pid}/cwd") == {:ok, sipp.folder}

  defp host(ip) when tuple_size(ip) == 8, do: "[#{:inet.ntoa(ip)}]"
  defp host(ip), do: List.to_string(:inet.ntoa(ip))

  ## What SIPp wrote

  defp result(sipp, {status, output}) do
    statistics = statistics(sipp)

    %{
      address: sipp.address,
      exit: status,
      statistics: statistics,
      successful: count(statistics, "SuccessfulCall(C)"),
      failed: count(statistics, "FailedCall(C)"),
      retransmissions: count(statistics, "Retransmissions(C)"),
      response_times: response_times(sipp),
      errors: read(sipp, "errors"),
      output: output
    }
  end

  defp count(statistics, name), do: statistics |> Map.get(name, "0") |> String.to_integer()

  # One row a second, and one at the end, in which the columns marked (C) are cumulated.
  defp statistics(sipp) do
    case sipp |> read("statistics") |> String.split("\n", trim: true) do
      [names | [_ | _] = rows] ->
        Enum.zip(String.split(names, ";"), String.split(List.last(rows), ";")) |> Map.new()

      _none ->
        %{}
    end
  end

  defp response_times(sipp) do
    for file <- Path.wildcard(Path.join(sipp.folder, "*_rtt.csv")),
        row <- file |> File.read!() |> String.split("\n", trim: true),
        [_date, milliseconds | _] <- [String.split(row, ";")],
        {time, _rest} <- [Float.parse(milliseconds)],
        do: time
  end

  defp read(sipp, name) do
    case File.read(Path.join(sipp.folder, name)) do
      {:ok, text} -> text
      {:error, _reason} -> ""
    end
  end
end
