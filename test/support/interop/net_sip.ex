defmodule Sippet.Interop.NetSIP do
  @moduledoc false
  # Runs test/interop/net_sip/agent.pl, a user agent on Net::SIP (https://metacpan.org/dist/Net-SIP), which takes commands
  # by its standard input and tells of events.

  alias Sippet.Interop.{Console, Program}

  @agent Path.expand("../../interop/net_sip/agent.pl", __DIR__)

  @type t :: %{program: Program.t(), port: :inet.port_number()}

  @doc """
  Starts an agent that is ready for commands and calls.

    * `:user` - its name ("alice");
    * `:registrar` - `{ip, port}` where it registers as a user of test.local, and by which it sends all its requests;
    * `:password` - for whoever challenges it ("secret");
    * `:answer` - whether it answers calls at once, `:auto`, lets them ring, `:ring`, or refuses them, `:busy` (`:auto`).
  """
  @spec start(keyword) :: t
  def start(options \\ []) do
    user = Keyword.get(options, :user, "alice")
    port = Program.free_port()
    answer = options |> Keyword.get(:answer, :auto) |> Atom.to_string()
    arguments = [@agent, user, Integer.to_string(port), answer | registration(options)]
    program = Program.start("perl", arguments, limit: 30)
    %{program: Program.await_output(program, "EVENT ready"), port: port}
  end

  defp registration(options) do
    case options[:registrar] do
      nil -> []
      {ip, port} -> ["#{:inet.ntoa(ip)}:#{port}", Keyword.get(options, :password, "secret")]
    end
  end

  @doc """
  Gives the agent a command; agent.pl lists them.
  """
  @spec command(t, String.t()) :: t
  defdelegate command(agent, command), to: Console

  @doc """
  Waits for an event, which begins with these words; for several, one after the other.
  """
  @spec await(t, String.t() | [String.t()]) :: t
  defdelegate await(agent, events), to: Console, as: :await_event
end
