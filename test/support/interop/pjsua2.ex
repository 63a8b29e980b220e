defmodule Sippet.Interop.PJSUA2 do
  @moduledoc false
  # Runs test/interop/pjsua2/agent.py, a user agent on PJSIP (https://www.pjsip.org), which takes commands by its standard
  # input and tells of events.

  alias Sippet.Certificates
  alias Sippet.Interop.{Console, Peers, Program}

  @agent Path.expand("../../interop/pjsua2/agent.py", __DIR__)

  @type t :: %{program: Program.t(), port: :inet.port_number()}

  @doc """
  Starts an agent that is ready for commands and calls, which it answers.

    * `:user` - its name ("alice");
    * `:registrar` - `{ip, port}` where it registers as a user of test.local, and by which it sends all its requests;
    * `:password` - for whoever challenges it ("secret");
    * `:reliable` - whether all provisional responses are reliable ones (RFC 3262), in both directions;
    * `:timer` - whether all calls have a session timer (RFC 4028), in both directions;
    * `:session_expires`, `:min_se` - in seconds, of that timer (1800 and 90);
    * `:transport` - by which it sends and takes requests: `:udp`, `:tcp`, `:tls`, or `:both`, where it chooses UDP or TCP
      (`:udp`);
    * `:certificate` - for TLS, the name of one of `Sippet.Certificates`; both sides verify the other by its CA;
    * `:keep_alive` - after how many seconds it pings by a connection (90);
    * `:mailbox` - whether it subscribes to its own message-summary (RFC 3842).
  """
  @spec start(keyword) :: t
  def start(options \\ []) do
    user = Keyword.get(options, :user, "alice")
    port = Program.free_port()
    arguments = [@agent, user, Integer.to_string(port) | Enum.flat_map(options, &argument/1)]
    program = Program.start(Peers.pjsua2_python(), arguments, limit: 30)
    %{program: Program.await_output(program, "EVENT ready"), port: port}
  end

  defp argument({:user, _user}), do: []
  defp argument({:registrar, {ip, port}}), do: ["--registrar", "#{:inet.ntoa(ip)}:#{port}"]
  defp argument({:password, password}), do: ["--password", password]
  defp argument({:reliable, true}), do: ["--100rel"]
  defp argument({:timer, true}), do: ["--timer"]
  defp argument({:session_expires, seconds}), do: ["--session-expires", "#{seconds}"]
  defp argument({:min_se, seconds}), do: ["--min-se", "#{seconds}"]
  defp argument({:mailbox, true}), do: ["--mailbox"]
  defp argument({:transport, transport}), do: ["--transport", "#{transport}"]

  defp argument({:certificate, name}) do
    files = [certificate: Certificates.certfile(name), key: Certificates.keyfile(name)]

    for {option, file} <- files ++ [ca: Certificates.certfile("ca")],
        word <- ["--#{option}", file],
        do: word
  end

  defp argument({:keep_alive, seconds}), do: ["--keep-alive", "#{seconds}"]

  @doc """
  Gives the agent a command; agent.py lists them.
  """
  @spec command(t, String.t()) :: t
  defdelegate command(agent, command), to: Console

  @doc """
  Waits for an event, which begins with these words; for several, one after the other.
  """
  @spec await(t, String.t() | [String.t()]) :: t
  defdelegate await(agent, events), to: Console, as: :await_event
end
