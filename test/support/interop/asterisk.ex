defmodule Sippet.Interop.Asterisk do
  @moduledoc false
  # Runs Asterisk (https://www.asterisk.org), a PBX on PJSIP, in the Debian that script/chroot made: the one that this
  # project stands on has no package of it.
  #
  # The users bob, carol and dave have the password "secret" and may register. Anybody may call, by the user of the
  # Request-URI: "echo" answers, "patient" rings for a second and answers, "ringing" rings, "busy" refuses, "brief" answers and hangs up after a second; the
  # users are called where they registered.

  alias Sippet.Interop.{Console, Program}

  @loopback {127, 0, 0, 1}
  @users ["bob", "carol", "dave"]
  @asterisk "/usr/sbin/asterisk"

  @type t :: %{
          program: Program.t(),
          address: {:inet.ip_address(), :inet.port_number()},
          configuration: Path.t()
        }

  @doc """
  The arguments with which `chroot` runs Asterisk.
  """
  @spec chroot([String.t()]) :: [String.t()]
  def chroot(arguments), do: [root(), @asterisk | arguments]

  @doc """
  Why Asterisk cannot run here, or `nil` where it can.
  """
  @spec missing() :: String.t() | nil
  def missing do
    cond do
      not File.exists?(root() <> @asterisk) ->
        "Asterisk is not installed: script/interop installs it"

      System.cmd("id", ["-u"]) != {"0\n", 0} ->
        "Asterisk runs in a chroot: it takes root"

      true ->
        nil
    end
  end

  defp root,
    do: Path.join(System.get_env("SIPPET_CHROOTS", "/var/tmp/sippet-chroots"), "sid")

  @doc """
  Starts an Asterisk that is ready for calls.

    * `:port` - where it listens on 127.0.0.1 (one that is free);
    * `:endpoint` - lines for all its endpoints, as "timers = always" (none);
    * `:trunk` - registers somewhere else, and calls by the endpoint "trunk" through there: `:registrar`, the `{ip, port}`;
      `:user` of test.local and `:password`; `:extension`, what is dialled by calls from there (no trunk);
    * `:sections` - further sections of pjsip.conf (none).
  """
  @spec start(keyword) :: t
  def start(options \\ []) do
    port = Keyword.get_lazy(options, :port, &Program.free_port/0)
    folder = Program.new_folder("asterisk")
    # The same path in both worlds.
    outside = Path.join(root(), folder)
    File.mkdir_p!(outside)
    ExUnit.Callbacks.on_exit(fn -> File.rm_rf!(outside) end)

    for {name, text} <- files(folder, port, options),
        do: File.write!(Path.join(outside, name), text)

    configuration = Path.join(folder, "asterisk.conf")
    arguments = chroot(["-C", configuration, "-f", "-n", "-vv"])
    program = Program.start("chroot", arguments, folder: folder, limit: 40)

    %{
      program: Program.await_output(program, "Asterisk Ready"),
      address: {@loopback, port},
      configuration: configuration
    }
  end

  @doc """
  Has Asterisk carry out a command, and returns what it says.
  """
  @spec cli(t, String.t()) :: String.t()
  def cli(%{configuration: configuration}, command) do
    arguments = chroot(["-C", configuration, "-rx", command])
    {text, 0} = System.cmd("chroot", arguments, stderr_to_stdout: true)
    text
  end

  @doc """
  Waits until Asterisk has written what the pattern matches.
  """
  @spec await(t, Regex.t() | String.t()) :: t
  defdelegate await(asterisk, pattern), to: Console

  @doc """
  Ends Asterisk.
  """
  @spec stop(t) :: Program.result()
  def stop(%{program: program}), do: Program.stop(program)

  # Files that are named in none of these must be there all the same.
  @empty ~w(acl ccss cdr cel codecs features http indications manager pjproject sorcery stasis udptl)

  defp files(folder, port, options) do
    for(name <- @empty, do: {name <> ".conf", ""}) ++
      [
        {"asterisk.conf", directories(folder)},
        {"logger.conf", "[general]\n[logfiles]\nconsole => notice,warning,error,verbose\n"},
        {"modules.conf", modules()},
        {"extensions.conf", extensions()},
        {"rtp.conf", "[general]\nrtpstart = 30000\nrtpend = 30100\n"},
        {"pjsip.conf", pjsip(port, options)}
      ]
  end

  defp directories(folder) do
    """
    [directories]
    astetcdir => #{folder}
    astmoddir => #{module_folder()}
    astvarlibdir => #{folder}
    astdatadir => /usr/share/asterisk
    astdbdir => #{folder}
    astkeydir => #{folder}
    astspooldir => #{folder}
    astrundir => #{folder}
    astlogdir => #{folder}
    """
  end

  # By architecture, as everything of Debian's.
  defp module_folder do
    [folder | _] = Path.wildcard(Path.join(root(), "usr/lib/*/asterisk/modules"))
    String.replace_prefix(folder, root(), "")
  end

  # Loading all that there is would take seconds.
  @modules ~w(res_sorcery_config res_sorcery_memory res_sorcery_astdb res_timing_timerfd res_rtp_asterisk res_pjproject
    res_pjsip res_pjsip_session res_pjsip_authenticator_digest res_pjsip_outbound_authenticator_digest
    res_pjsip_outbound_registration res_pjsip_endpoint_identifier_user res_pjsip_endpoint_identifier_anonymous res_pjsip_registrar res_pjsip_sdp_rtp
    res_pjsip_caller_id res_pjsip_outbound_publish res_pjsip_nat res_pjsip_refer res_pjsip_rfc3326 res_pjsip_pubsub res_pjsip_exten_state
    res_pjsip_dialog_info_body_generator res_pjsip_logger res_pjsip_dlg_options chan_pjsip func_callerid pbx_config
    app_dial app_echo bridge_simple bridge_native_rtp bridge_softmix bridge_builtin_features bridge_holding codec_ulaw
    codec_alaw res_clioriginate)

  defp modules do
    ["[modules]\nautoload = no\n" | Enum.map(@modules, &"load = #{&1}.so\n")]
  end

  defp extensions do
    [
      """
      [default]
      exten => echo,1,Answer()
       same => n,Echo()
      exten => ringing,1,Ringing()
       same => n,Wait(20)
      exten => patient,1,Ringing()
       same => n,Wait(1)
       same => n,Answer()
       same => n,Echo()
      exten => busy,1,Hangup(17)
      exten => brief,1,Answer()
       same => n,Wait(1)
       same => n,Hangup()
      """
      | for user <- @users do
          """
          exten => #{user},hint,PJSIP/#{user}
          exten => #{user},1,Dial(PJSIP/#{user},20)
          """
        end
    ]
  end

  defp pjsip(port, options) do
    [
      """
      [global]
      type = global
      user_agent = Asterisk
      endpoint_identifier_order = username,anonymous
      [udp]
      type = transport
      protocol = udp
      bind = 127.0.0.1:#{port}
      [user](!)
      type = endpoint
      context = default
      disallow = all
      allow = ulaw
      direct_media = no
      rewrite_contact = yes
      subscribe_context = default
      #{Enum.join(List.wrap(options[:endpoint]), "\n")}
      [anonymous](user)
      """,
      for user <- @users do
        """
        [#{user}](user)
        auth = #{user}
        aors = #{user}
        [#{user}]
        type = auth
        auth_type = digest
        username = #{user}
        password = secret
        [#{user}]
        type = aor
        max_contacts = 5
        minimum_expiration = 10
        """
      end,
      trunk(options[:trunk]),
      Keyword.get(options, :sections, "")
    ]
  end

  defp trunk(nil), do: ""

  # Calls from there come to the endpoint "anonymous".
  defp trunk(trunk) do
    {ip, port} = trunk[:registrar]
    proxy = "outbound_proxy = sip:#{:inet.ntoa(ip)}:#{port}\\;lr"

    """
    [trunk](user)
    outbound_auth = trunk
    #{proxy}
    from_user = #{trunk[:user]}
    from_domain = test.local
    [trunk]
    type = auth
    auth_type = digest
    username = #{trunk[:user]}
    password = #{trunk[:password]}
    [trunk]
    type = registration
    transport = udp
    outbound_auth = trunk
    #{proxy}
    server_uri = sip:test.local
    client_uri = sip:#{trunk[:user]}@test.local
    contact_user = #{trunk[:extension]}
    expiration = 60
    max_random_initial_delay = 0
    """
  end
end
