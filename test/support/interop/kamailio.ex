defmodule Sippet.Interop.Kamailio do
  @moduledoc false
  # Runs Kamailio (https://www.kamailio.org) with the configuration of test/interop/kamailio, as a proxy and as a registrar.

  import ExUnit.Assertions, only: [refute: 2]

  alias Sippet.Interop.{Console, Program}

  @configuration Path.expand("../../interop/kamailio/kamailio.cfg", __DIR__)

  @type t :: %{program: Program.t(), address: {String.t(), :inet.port_number()}}

  @doc """
  Starts a Kamailio that listens on one port of 127.0.0.1 and of ::1, with these definitions of its configuration.

    * `:port` - for one that starts again;
    * `:protocol` - `:tcp`, to listen there for TCP besides UDP (`:udp`).
  """
  @spec start([atom | {atom, String.t() | pos_integer}], keyword) :: t
  def start(definitions \\ [], options \\ []) do
    port = options[:port] || Program.free_port()
    protocol = options[:protocol] || :udp
    folder = Program.new_folder("kamailio")

    arguments =
      ~w(-f #{@configuration} -DD -E -m 32 -M 4 -w #{folder} -Y #{folder}) ++
        listening(protocol, port) ++
        Enum.flat_map(definitions, &["-A", definition(&1)])

    program = Program.start("kamailio", arguments, folder: folder, limit: 30)
    program = Program.await_bound(program, port, 500, protocol)
    %{program: program, address: {"127.0.0.1", port}}
  end

  defp listening(:udp, port), do: ~w(-l udp:127.0.0.1:#{port} -l udp:[::1]:#{port})

  defp listening(:tcp, port),
    do: listening(:udp, port) ++ ~w(-l tcp:127.0.0.1:#{port} -l tcp:[::1]:#{port} -A TCP)

  @doc """
  Ends Kamailio, and gives what it has logged.
  """
  @spec log(t) :: String.t()
  def log(%{program: program}), do: Program.stop(program).output

  @doc """
  Ends Kamailio, and gives its log. Fails the test where that has an error, or something against a message: each of
  Kamailio's own checks writes what it finds.
  """
  @spec assert_sane(t) :: String.t()
  def assert_sane(kamailio) do
    # Of its processes that end, some find the others gone.
    log = String.replace(log(kamailio), ~r/.*receive_fd\(\): EOF on.*\n/, "")
    refute log =~ ~r/INSANE|ERROR|CRITICAL/, log
    log
  end

  @doc """
  Waits for a line of its log: a worker may write it after its reply has gone, and be late.
  """
  defdelegate await(kamailio, pattern), to: Console

  defp definition({name, value}), do: "#{name}=#{value}"
  defp definition(name), do: Atom.to_string(name)
end
