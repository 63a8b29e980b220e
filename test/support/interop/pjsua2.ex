defmodule Sippet.Interop.PJSUA2 do
  @moduledoc false
  # Runs test/interop/pjsua2/agent.py, a user agent on PJSIP (https://www.pjsip.org), which takes commands by its standard
  # input and tells of events.

  alias Sippet.Interop.{Peers, Program}

  @agent Path.expand("../../interop/pjsua2/agent.py", __DIR__)

  @type t :: %{program: Program.t(), port: :inet.port_number()}

  @doc """
  Starts an agent that is ready for commands and calls, which it answers.

    * `:user` - its name ("alice");
    * `:registrar` - `{ip, port}` where it registers as a user of test.local, and by which it sends all its requests;
    * `:password` - for whoever challenges it ("secret");
    * `:reliable` - whether all provisional responses are reliable ones (RFC 3262), in both directions.
  """
  @spec start(keyword) :: t
  def start(options \\ []) do
    user = Keyword.get(options, :user, "alice")
    password = Keyword.get(options, :password, "secret")
    port = Program.free_port()

    registrar =
      case options[:registrar] do
        nil -> []
        {ip, registrar_port} -> ["#{:inet.ntoa(ip)}:#{registrar_port}", password]
      end

    reliable = if options[:reliable], do: ["--100rel"], else: []
    arguments = [@agent, user, Integer.to_string(port) | registrar] ++ reliable
    program = Program.start(Peers.pjsua2_python(), arguments, limit: 30)
    %{program: Program.await_output(program, "EVENT ready"), port: port}
  end

  @doc """
  Gives the agent a command; agent.py lists them.
  """
  @spec command(t, String.t()) :: t
  def command(%{program: program} = agent, command) do
    Program.write(program, command <> "\n")
    agent
  end

  @doc """
  Waits for an event, which begins with these words.
  """
  @spec await(t, String.t()) :: t
  def await(%{program: program} = agent, event),
    do: %{agent | program: Program.await_output(program, "EVENT #{event}")}
end
