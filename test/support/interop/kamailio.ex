defmodule Sippet.Interop.Kamailio do
  @moduledoc false
  # Runs Kamailio (https://www.kamailio.org) with the configuration of test/interop/kamailio, as a proxy and as a registrar.

  alias Sippet.Interop.Program

  @configuration Path.expand("../../interop/kamailio/kamailio.cfg", __DIR__)

  @type t :: %{program: Program.t(), address: {String.t(), :inet.port_number()}}

  @doc """
  Starts a Kamailio that listens on one port of 127.0.0.1 and of ::1, with these definitions of its configuration.
  """
  @spec start([atom | {atom, String.t()}]) :: t
  def start(definitions \\ []) do
    port = Program.free_port()
    folder = Program.new_folder("kamailio")

    arguments =
      ~w(-f #{@configuration} -DD -E -m 32 -M 4 -w #{folder} -Y #{folder}) ++
        ~w(-l udp:127.0.0.1:#{port} -l udp:[::1]:#{port}) ++
        Enum.flat_map(definitions, &["-A", definition(&1)])

    program = Program.start("kamailio", arguments, folder: folder, limit: 30)
    %{program: Program.await_bound(program, port), address: {"127.0.0.1", port}}
  end

  @doc """
  Ends Kamailio, and gives what it has logged.
  """
  @spec log(t) :: String.t()
  def log(%{program: program}), do: Program.stop(program).output

  @doc """
  Waits for a line of its log: a worker may write it after its reply has gone, and be late.
  """
  def await(%{program: program} = kamailio, pattern),
    do: %{kamailio | program: Program.await_output(program, pattern)}

  defp definition({name, value}), do: "#{name}=#{value}"
  defp definition(name), do: Atom.to_string(name)
end
