defmodule Sippet.Interop.Tshark do
  @moduledoc false
  # A neutral reader: tshark, Wireshark's dissectors without its windows, decodes what passes over the loopback interface
  # from or to some UDP ports.
  #
  # tshark needs a moment until it captures, and nothing tells when it has seen all. So this module writes to itself: until
  # its first mark is read, and from the second on all that went before has been.

  import Bitwise
  import ExUnit.Assertions, only: [assert: 1, assert: 2, flunk: 1]

  alias Sippet.Interop.Program

  @enforce_keys [:program, :socket, :port, :more]
  defstruct [:program, :socket, :port, :more]

  @type t :: %__MODULE__{
          program: Program.t(),
          socket: :gen_udp.socket(),
          port: :inet.port_number(),
          more: [String.t()]
        }

  @typedoc """
  A datagram as tshark understood it. `start` is the method of a request, the status of a response; `severity` is that of
  the worst note that its dissectors made, `notes` what they say; `more` has the fields that were asked for besides.
  """
  @type packet :: %{
          source: :inet.port_number(),
          destination: :inet.port_number(),
          protocol: String.t(),
          start: String.t() | 100..699,
          call_id: String.t(),
          severity: :none | :comment | :chat | :note | :warning | :error,
          notes: String.t(),
          more: %{String.t() => String.t()}
        }

  @fields ~w(udp.srcport udp.dstport _ws.col.Protocol sip.Request-Line sip.Status-Line sip.Call-ID
             _ws.expert.severity _ws.expert.message _ws.malformed)

  @separator "\x1f"

  @doc """
  Starts to listen to these ports of the loopback interface. Options:

    * `:protocol` - tshark's name for what is spoken there, `"sip"` by default
    * `:script` - a dissector for it in Lua
    * `:more` - fields that are told besides
  """
  @spec start([:inet.port_number()], keyword) :: t
  def start(ports, options \\ []) do
    {:ok, socket} = :gen_udp.open(0, ip: {127, 0, 0, 1})
    {:ok, port} = :inet.port(socket)
    protocol = Keyword.get(options, :protocol, "sip")
    more = Keyword.get(options, :more, [])

    # By itself tshark guesses from the ports what a datagram is, before it looks into it.
    decode_as =
      for {port, protocol} <- [{port, "sip"} | Enum.map(ports, &{&1, protocol})],
          argument <- ["-d", "udp.port==#{port},#{protocol}"],
          do: argument

    script = for path <- List.wrap(options[:script]), do: "-Xlua_script:#{path}"
    fields = Enum.flat_map(@fields ++ more, &["-e", &1])
    filter = Enum.map_join([port | ports], " or ", &"udp port #{&1}")

    arguments =
      ["-l", "-n", "-i", "lo", "-f", filter, "-T", "fields", "-E", "separator=#{@separator}"] ++
        script ++ decode_as ++ fields

    program = Program.start("tshark", arguments, limit: 30)
    mark(%__MODULE__{program: program, socket: socket, port: port, more: more}, "begin", 200)
  end

  # A capture without a packet: its header alone.
  @nothing <<0xA1B2C3D4::32, 2::16, 4::16, 0::32, 0::32, 65_535::32, 1::32>>

  @doc """
  Why tshark, where it is there, does not take a dissector in Lua; `nil` where it does. Some run no scripts for root.
  """
  @spec refused(Path.t(), String.t()) :: String.t() | nil
  def refused(script, protocol) do
    file = Path.join(System.tmp_dir!(), "nothing_#{System.unique_integer([:positive])}.pcap")
    File.write!(file, @nothing)
    arguments = ["-Xlua_script:#{script}", "-d", "udp.port==9,#{protocol}", "-r", file]
    {output, status} = System.cmd("tshark", arguments, stderr_to_stdout: true)
    File.rm!(file)

    cond do
      status == 0 ->
        nil

      output =~ "Unknown protocol" ->
        "this tshark does not run #{Path.basename(script)} for this user"

      true ->
        raise "tshark does not take #{script}: #{output}"
    end
  end

  @doc """
  Ends tshark, and returns all that it saw.
  """
  @spec packets(t) :: [packet]
  def packets(tshark) do
    %{program: program} = tshark = mark(tshark, "end", 200)
    Program.stop(program)

    for line <- String.split(program.output, "\n"),
        [_ | _] = values <- [String.split(line, @separator)],
        length(values) == length(@fields ++ tshark.more),
        packet = packet(values, tshark.more),
        packet.source != tshark.port,
        do: packet
  end

  @doc """
  Starts to listen to some stacks, each with its address.
  """
  @spec watch([{atom, {:inet.ip_address(), :inet.port_number()}}]) :: t
  def watch(stacks), do: start(ports(stacks))

  @doc """
  Ends tshark, and asserts that all that these stacks sent is sound, and that all that they count as sent was seen.
  Returns the start lines of each call, without the Request-URI.
  """
  @spec sent(t, [{atom, {:inet.ip_address(), :inet.port_number()}}]) ::
          %{String.t() => [String.t() | 100..699]}
  def sent(tshark, stacks) do
    ports = ports(stacks)
    packets = for packet <- packets(tshark), packet.source in ports, do: packet
    Enum.each(packets, &assert_sound/1)

    counts = for {stack, _address} <- stacks, do: Sippet.stats(stack).message_sent
    assert length(packets) == Enum.sum(counts)
    Enum.group_by(packets, & &1.call_id, & &1.start)
  end

  defp ports(stacks), do: for({_stack, {_ip, port}} <- stacks, do: port)

  defp assert_sound(packet) do
    assert packet.protocol in ["SIP", "SIP/SDP", "SIP/sipfrag"], inspect(packet)
    assert packet.severity in [:none, :comment, :chat], inspect(packet)
  end

  # Repeated, as a mark may come before the capture does.
  defp mark(%{program: program}, name, 0),
    do: flunk("tshark has not seen the mark #{name}. It wrote:\n#{program.output}")

  defp mark(%{program: program, socket: socket, port: port} = tshark, name, tries) do
    :ok = :gen_udp.send(socket, {127, 0, 0, 1}, port, "MARK sip:#{name} SIP/2.0\r\n\r\n")

    case Program.look_for(program, "MARK sip:#{name} ", 50) do
      {:found, program} -> %{tshark | program: program}
      {:not_yet, program} -> mark(%{tshark | program: program}, name, tries - 1)
    end
  end

  defp packet([source, destination, protocol, request, status, call_id | rest], names) do
    [severities, notes, malformed | more] = rest

    %{
      source: String.to_integer(source),
      destination: String.to_integer(destination),
      protocol: protocol,
      start: method_or_status(request <> status),
      call_id: call_id,
      severity: if(malformed == "", do: worst(severities), else: :error),
      notes: notes <> malformed,
      more: names |> Enum.zip(more) |> Map.new()
    }
  end

  defp method_or_status("SIP/2.0 " <> <<status::binary-3, _reason::binary>>),
    do: String.to_integer(status)

  defp method_or_status(line), do: hd(String.split(line, " "))

  # epan/proto.h: PI_SEVERITY_MASK
  defp worst(severities) do
    severities
    |> String.split(",", trim: true)
    |> Enum.map(&(String.to_integer(&1) >>> 20))
    |> Enum.max(fn -> 0 end)
    |> severity()
  end

  defp severity(0), do: :none
  defp severity(1), do: :comment
  defp severity(2), do: :chat
  defp severity(4), do: :note
  defp severity(6), do: :warning
  defp severity(8), do: :error
end
