defmodule Sippet.Interop.Peers do
  @moduledoc false
  # The real peers that Sippet is tested against: how to find them, and what to say where they are not.

  alias Sippet.Interop.Asterisk
  alias Sippet.SIPp

  @type peer ::
          :sipp
          | :sipsak
          | :tshark
          | :baresip
          | :kamailio
          | :pjsua2
          | :linphone
          | :net_sip
          | :asterisk

  # script/interop makes it. What pip installs goes with the build, not into the user's home.
  @pjsua2_python Path.expand("../../../_build/interop/pjsua2/bin/python", __DIR__)

  # `version`: the command tells it, the pattern finds it in what the command writes.
  @peers [
    sipp: %{
      title: "SIPp",
      about: "a traffic generator with scenarios, as caller and as called",
      link: "https://sipp.readthedocs.io",
      version: {"sipp", ["-v"], ~r/SIPp v(\d[\d.]*\d)/}
    },
    sipsak: %{
      title: "sipsak",
      about: "a tool that sends single requests, floods and trash",
      link: "https://github.com/nils-ohlmeier/sipsak",
      version: {"sipsak", ["-V"], ~r/sipsak (\S+)/}
    },
    tshark: %{
      title: "tshark",
      about: "Wireshark's dissectors, as a neutral reader of what Sippet sends",
      link: "https://www.wireshark.org",
      version: {"tshark", ["-v"], ~r/TShark .*?(\d[\d.]*\d)/}
    },
    baresip: %{
      title: "baresip",
      about: "a user agent on a stack of its own, libre",
      link: "https://github.com/baresip/baresip",
      version: {"baresip", ["-h"], ~r/baresip v(\S+)/}
    },
    kamailio: %{
      title: "Kamailio",
      about: "a proxy and registrar",
      link: "https://www.kamailio.org",
      version: {"kamailio", ["-v"], ~r/kamailio (\S+)/}
    },
    pjsua2: %{
      title: "PJSUA2",
      about: "a user agent on PJSIP, the stack of many phones and of Asterisk",
      link: "https://www.pjsip.org",
      version:
        {@pjsua2_python, ["-c", "import pjsua2; print(pjsua2.Endpoint().libVersion().full)"],
         ~r/(\d\S*)/}
    },
    linphone: %{
      title: "linphone",
      about: "a user agent on a stack of its own, belle-sip",
      link: "https://www.linphone.org",
      version: {"linphonec", ["-v"], ~r/version: (\S+)/}
    },
    net_sip: %{
      title: "Net::SIP",
      about: "a user agent on a stack of its own, in Perl",
      link: "https://metacpan.org/dist/Net-SIP",
      version: {"perl", ["-MNet::SIP", "-e", "print $Net::SIP::VERSION"], ~r/^(\d[\d.]*)/}
    },
    asterisk: %{
      title: "Asterisk",
      about: "a PBX on PJSIP",
      link: "https://www.asterisk.org",
      version: {"chroot", Asterisk.chroot(["-V"]), ~r/Asterisk (\d[\d.]*\d)/}
    }
  ]

  @spec all() :: [peer]
  def all, do: Keyword.keys(@peers)

  @spec title(peer) :: String.t()
  def title(peer), do: @peers[peer].title

  @doc """
  What a reader wants to know of a peer.
  """
  @spec about(peer) :: %{title: String.t(), about: String.t(), link: String.t()}
  def about(peer), do: Map.take(@peers[peer], [:title, :about, :link])

  @doc """
  The tags of a test that needs a peer, and others besides: it is left out where one of them is not there.
  """
  @spec tags(peer, [peer]) :: keyword
  def tags(peer, others \\ []),
    do: [interop: true, peer: peer, skip: Enum.find_value([peer | others], false, &missing/1)]

  @doc """
  Why there is nothing to test a peer with, or `nil` where it is there.
  """
  @spec missing(peer) :: String.t() | nil
  def missing(:sipp), do: SIPp.missing()

  def missing(:tshark) do
    missing_program(:tshark) || uncapturable()
  end

  def missing(:asterisk), do: Asterisk.missing() || missing_program(:asterisk)
  def missing(:net_sip), do: missing_program(:net_sip) || missing_module("Net::SIP")
  def missing(peer), do: missing_program(peer)

  defp missing_program(peer) do
    {program, _arguments, _pattern} = @peers[peer].version

    cond do
      System.find_executable(program) == nil ->
        "#{title(peer)} is not installed: script/interop installs it"

      absent = Enum.find(["timeout", "stdbuf"], &(System.find_executable(&1) == nil)) ->
        "#{absent} (GNU coreutils) is not installed"

      not File.exists?("/proc/net/udp") ->
        "there is no /proc/net/udp to see who listens"

      true ->
        nil
    end
  end

  # Perl is nearly everywhere, without it.
  defp missing_module(module) do
    case System.cmd("perl", ["-M#{module}", "-e", "1"], stderr_to_stdout: true) do
      {_nothing, 0} -> nil
      {_text, _status} -> "#{module} is not installed: script/interop installs it"
    end
  end

  # Listing the link types takes what capturing takes.
  defp uncapturable do
    case System.cmd("dumpcap", ["-L", "-i", "lo"], stderr_to_stdout: true) do
      {_list, 0} -> nil
      {_text, _status} -> "capturing on the loopback interface is not permitted: it takes root"
    end
  end

  @doc """
  The version of a peer that is there.
  """
  @spec version(peer) :: String.t()
  def version(peer) do
    {program, arguments, pattern} = @peers[peer].version
    # Some end with an error after they told it.
    {text, _status} = System.cmd(program, arguments, stderr_to_stdout: true)
    [_all, version] = Regex.run(pattern, text)
    version
  end

  @doc """
  The Python that has PJSUA2.
  """
  @spec pjsua2_python() :: Path.t()
  def pjsua2_python, do: @pjsua2_python
end
