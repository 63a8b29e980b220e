defmodule Sippet.Interop.Baresip do
  @moduledoc false
  # Runs baresip (https://github.com/baresip/baresip), a user agent with media: without sound card and window, told what to
  # do by its standard input. It writes every message that it sends and takes.

  alias Sippet.Certificates
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
    * `:protocol` - by which it sends (`:udp`); it takes requests by UDP and by TCP;
    * `:certificate` - for TLS, the name of one of `Sippet.Certificates`, by whose CA it verifies others; for TLS it
      listens at the port above;
    * `:answer` - whether it answers calls at once, `:auto`, or lets them ring, `:manual` (`:auto`).
  """
  @spec start(keyword) :: t
  def start(options \\ []) do
    user = Keyword.get(options, :user, "alice")
    ip = Keyword.get(options, :ip, @loopback)
    port = Program.free_port(ip)
    folder = Program.new_folder("baresip")

    File.write!(Path.join(folder, "config"), [
      config(ip, port, user),
      certificate(folder, options)
    ])

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

  defp certificate(folder, options) do
    case options[:certificate] do
      nil ->
        ""

      name ->
        files = [Certificates.certfile(name), Certificates.keyfile(name)]
        pem = Enum.map(files, &File.read!/1)
        own = Path.join(folder, "certificate.pem")
        File.write!(own, pem)
        "sip_certificate #{own}\nsip_cafile #{Certificates.certfile("ca")}\n"
    end
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
    protocol = Keyword.get(options, :protocol, :udp)

    case options[:registrar] do
      nil ->
        port = if protocol == :tls, do: port + 1, else: port

        "<sip:#{user}@#{host(ip)}:#{port};transport=#{protocol}>;regint=0;answermode=#{answer}\n"

      {ip, port} ->
        "<sip:#{user}@test.local;transport=#{protocol}>;auth_user=#{user};auth_pass=#{password};" <>
          "outbound=\"sip:#{host(ip)}:#{port};transport=#{protocol}\";regint=60;answermode=#{answer}\n"
    end
  end

  defp host(ip) when tuple_size(ip) == 8, do: "[#{:inet.ntoa(ip)}]"
  defp host(ip), do: List.to_string(:inet.ntoa(ip))
end
