defmodule Sippet.Interop.Baresip do
  @moduledoc false
  # Runs baresip (https://github.com/baresip/baresip), a user agent with media: without sound card and window, told what to
  # do by its standard input. It writes every message that it sends and takes.

  alias Sippet.Interop.{Console, Program}

  @loopback {127, 0, 0, 1}

  @type t :: %{program: Program.t(), port: :inet.port_number()}

  @doc """
  Starts a baresip that is ready to take commands and calls.

    * `:user` - its name ("alice");
    * `:ip` - where it stands (127.0.0.1);
    * `:registrar` - `{ip, port}` where it registers as a user of test.local, and by which it sends all its requests;
      without one it is known by its own address alone;
    * `:password` - for whoever challenges it ("secret");
    * `:answer` - whether it answers calls at once, `:auto`, or lets them ring, `:manual` (`:auto`).
  """
  @spec start(keyword) :: t
  def start(options \\ []) do
    user = Keyword.get(options, :user, "alice")
    ip = Keyword.get(options, :ip, @loopback)
    port = Program.free_port(ip)
    folder = Program.new_folder("baresip")

    File.write!(Path.join(folder, "config"), config(ip, port, user))
    File.write!(Path.join(folder, "accounts"), account(user, {ip, port}, options))
    File.write!(Path.join(folder, "contacts"), "")

    program = Program.start("baresip", ["-f", folder, "-s"], folder: folder, limit: 30)
    %{program: Program.await_output(program, "baresip is ready"), port: port}
  end

  @doc """
  Gives baresip a command, as "dial sip:bob@biloxi.com" or "hangup".
  """
  @spec command(t, String.t()) :: t
  def command(baresip, command), do: Console.command(baresip, "/" <> command)

  @doc """
  Waits until baresip has written what the pattern matches.
  """
  @spec await(t, Regex.t() | String.t()) :: t
  defdelegate await(baresip, pattern), to: Console

  @doc """
  Has baresip end all it does: it hangs up, takes its registration back, and quits.
  """
  @spec quit(t) :: Program.result()
  def quit(%{program: program}), do: Program.stop(program)

  # Signalling alone: what would be heard goes from a bridge to itself.
  defp config(ip, port, user) do
    """
    poll_method epoll
    sip_listen #{host(ip)}:#{port}
    net_interface #{:inet.ntoa(ip)}
    call_local_timeout 20
    audio_source aubridge,#{user}
    audio_player aubridge,#{user}
    audio_alert aubridge,#{user}
    module_path #{module_path()}
    module g711.so
    module aubridge.so
    module stdio.so
    module_tmp account.so
    module_app menu.so
    """
  end

  # Where distributions put them: beside the libraries, in some cases by architecture.
  defp module_path do
    ["/usr/lib", "/usr/lib64", "/usr/lib/*", "/usr/local/lib"]
    |> Enum.flat_map(&Path.wildcard(Path.join(&1, "baresip/modules")))
    |> List.first()
  end

  defp account(user, {ip, port}, options) do
    answer = Keyword.get(options, :answer, :auto)
    password = Keyword.get(options, :password, "secret")

    case options[:registrar] do
      nil ->
        "<sip:#{user}@#{host(ip)}:#{port};transport=udp>;regint=0;answermode=#{answer}\n"

      {ip, port} ->
        "<sip:#{user}@test.local;transport=udp>;auth_user=#{user};auth_pass=#{password};" <>
          "outbound=\"sip:#{host(ip)}:#{port};transport=udp\";regint=60;answermode=#{answer}\n"
    end
  end

  defp host(ip) when tuple_size(ip) == 8, do: "[#{:inet.ntoa(ip)}]"
  defp host(ip), do: List.to_string(:inet.ntoa(ip))
end
