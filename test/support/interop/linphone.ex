defmodule Sippet.Interop.Linphone do
  @moduledoc false
  # Runs linphonec (https://www.linphone.org), a user agent on belle-sip: without sound card, told what to do by its
  # standard input.

  alias Sippet.Interop.{Console, Program}

  @type t :: %{program: Program.t(), port: :inet.port_number()}

  @doc """
  Starts a linphone that is ready to take commands and calls.

    * `:user` - its name ("alice");
    * `:registrar` - `{ip, port}` where it registers as a user of test.local, and by which it sends all its requests;
    * `:password` - for whoever challenges it ("secret");
    * `:answer` - whether it answers calls at once, `:auto`, or lets them ring, `:manual` (`:auto`).
  """
  @spec start(keyword) :: t
  def start(options \\ []) do
    user = Keyword.get(options, :user, "alice")
    port = Program.free_port()
    folder = Program.new_folder("linphone")
    # It does not make this folder, and does not start without it.
    File.mkdir_p!(Path.join(folder, ".local/share/linphone"))
    File.write!(Path.join(folder, "configuration"), configuration(user, port, options))

    answer = if Keyword.get(options, :answer, :auto) == :auto, do: ["-a"], else: []
    arguments = ["-c", "configuration" | answer]

    program =
      Program.start("linphonec", arguments, folder: folder, limit: 30, env: [{"HOME", folder}])

    linphone = %{program: Program.await_bound(program, port), port: port}
    # As there is no card: what is heard comes from a file, of which there is none.
    command(linphone, "soundcard use files")
  end

  @doc """
  Gives linphone a command, as "call sip:bob@biloxi.com" or "terminate".
  """
  @spec command(t, String.t()) :: t
  defdelegate command(linphone, command), to: Console

  @doc """
  Waits until linphone has written what the pattern matches.
  """
  @spec await(t, Regex.t() | String.t()) :: t
  defdelegate await(linphone, pattern), to: Console

  defp configuration(user, port, options) do
    """
    [sip]
    sip_port=#{port}
    sip_tcp_port=0
    sip_tls_port=0
    bind_address=127.0.0.1
    use_ipv6=0
    guess_hostname=0
    auto_net_state_mon=0
    contact="#{user}" <sip:#{user}@127.0.0.1:#{port}>
    default_proxy=#{if options[:registrar], do: 0, else: -1}
    register_only_when_network_is_up=0
    media_encryption=none
    [net]
    firewall_policy=0
    [rtp]
    audio_rtp_port=#{Program.free_port()}
    [video]
    enabled=0
    capture=0
    display=0
    [misc]
    log_collection_upload_server_url=
    version_check_url_root=
    config-uri=
    [lime]
    enabled=0
    #{registration(user, options)}
    """
  end

  defp registration(user, options) do
    case options[:registrar] do
      nil ->
        ""

      {ip, port} ->
        """
        [proxy_0]
        reg_proxy=<sip:#{:inet.ntoa(ip)}:#{port};transport=udp>
        reg_route=<sip:#{:inet.ntoa(ip)}:#{port};transport=udp;lr>
        reg_identity=sip:#{user}@test.local
        reg_expires=60
        reg_sendregister=1
        publish=0
        avpf=0
        [auth_info_0]
        username=#{user}
        passwd=#{Keyword.get(options, :password, "secret")}
        realm=test.local
        domain=test.local
        """
    end
  end
end
