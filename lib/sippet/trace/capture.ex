defmodule Sippet.Trace.Capture do
  @moduledoc false
  # Reads what was recorded elsewhere: a capture or a text log.

  alias Sippet.Trace.{Entry, Filter, Log, Pcap}
  alias Sippet.Trace.Pcap.Frame

  # A text log is read as a whole.
  @longest_log 268_435_456

  @sip ~r/\A(?:SIP\/\d\.\d \d|[A-Za-z0-9.!%*_+`'~-]{1,60} \S[^\r\n]{0,8000} SIP\/\d\.\d\r?\n)/

  # `calls` are those that have a message which fits: a call is shown as a whole, and so they are
  # looked for before. `:all` where the Call-ID of each message tells.
  @enforce_keys [:filter, :room]
  defstruct [:filter, :room, entries: [], calls: :all, skipped: %{}]

  @spec read(Path.t(), Filter.t(), pos_integer) ::
          {:ok, [Entry.t()], %{atom => pos_integer}} | {:error, String.t()}
  def read(path, filter, most) do
    state = %__MODULE__{filter: filter, room: most}

    with {:ok, start} <- start(path),
         {:ok, state} <-
           if(Pcap.capture?(start), do: capture(path, state), else: log(path, state)) do
      {:ok, Enum.reverse(state.entries), state.skipped}
    end
  end

  # So many calls as messages may be shown: of more none could be.
  defp find(entry, %{calls: calls, room: room} = state) do
    cond do
      MapSet.member?(calls, entry.call_id) -> state
      not Filter.fits?(state.filter, entry) -> state
      MapSet.size(calls) == room -> skip(state, :over_limit)
      # A part of a message would hold the whole.
      true -> %{state | calls: MapSet.put(calls, entry.call_id && :binary.copy(entry.call_id))}
    end
  end

  defp start(path) do
    with {:ok, file} <- :file.open(path, [:read, :raw, :binary]),
         result = :file.read(file, 4),
         :ok <- :file.close(file) do
      case result do
        {:ok, octets} -> {:ok, octets}
        :eof -> {:error, "it is empty"}
        {:error, reason} -> {:error, reason(reason)}
      end
    else
      {:error, reason} -> {:error, reason(reason)}
    end
  end

  defp reason(reason), do: List.to_string(:file.format_error(reason))

  defp capture(path, state) do
    if Filter.by_call_id?(state.filter) do
      Pcap.fold(path, state, &packet/2)
    else
      with {:ok, found} <- Pcap.fold(path, %{state | calls: MapSet.new()}, &look/2),
           do: Pcap.fold(path, found, &packet/2)
    end
  end

  # What is skipped is counted when the calls are read.
  defp look({link, time, frame}, state) do
    with {:ok, source, destination, payload} <- Frame.udp(link, frame),
         true <- payload =~ @sip do
      find(Entry.new(time, source, destination, payload), state)
    else
      _skipped -> state
    end
  end

  defp look(:cut_short, state), do: state

  defp packet(:cut_short, state), do: skip(state, :cut_short)

  defp packet({link, time, frame}, state) do
    case Frame.udp(link, frame) do
      {:ok, source, destination, payload} -> datagram(time, source, destination, payload, state)
      {:skip, why} -> skip(state, why)
    end
  end

  defp datagram(time, source, destination, payload, state) do
    if payload =~ @sip,
      # The packet's frame, and what was read ahead, is not kept.
      do: take(Entry.new(time, source, destination, :binary.copy(payload)), state),
      else: skip(state, :not_sip)
  end

  defp log(path, state) do
    with {:ok, %{size: size}} when size <= @longest_log <- File.stat(path),
         {:ok, text} <- File.read(path) do
      case Log.read(text) do
        {[], _skipped} ->
          {:error, "it is neither pcap nor pcapng, and has no SIP message as text"}

        {entries, skipped} ->
          state = if skipped == 0, do: state, else: %{state | skipped: %{lines: skipped}}
          {:ok, Enum.reduce(entries, found(entries, state), &take/2)}
      end
    else
      {:ok, _too_large} -> {:error, "a text log of more than #{@longest_log} octets"}
      {:error, reason} -> {:error, reason(reason)}
    end
  end

  defp found(entries, state) do
    if Filter.by_call_id?(state.filter),
      do: state,
      else: Enum.reduce(entries, %{state | calls: MapSet.new()}, &find/2)
  end

  defp take(entry, state) do
    cond do
      not wanted?(state, entry) -> state
      state.room == 0 -> skip(state, :over_limit)
      true -> %{state | entries: [entry | state.entries], room: state.room - 1}
    end
  end

  defp wanted?(%{calls: :all, filter: filter}, entry), do: Filter.fits?(filter, entry)
  defp wanted?(%{calls: calls}, entry), do: MapSet.member?(calls, entry.call_id)

  defp skip(state, why), do: %{state | skipped: Map.update(state.skipped, why, 1, &(&1 + 1))}

  @doc """
  What was skipped, in words.
  """
  @spec explain(atom) :: String.t()
  def explain(:cut_short), do: "the file ends in the middle of a packet"
  def explain(:link_type), do: "packets of a link type that is not read"
  def explain(:not_ip), do: "packets of another protocol than IP"
  def explain(:tcp), do: "TCP segments (only SIP over UDP is read)"
  def explain(:not_udp), do: "IP packets of another protocol than UDP"
  def explain(:fragment), do: "IP fragments (they are not put together)"
  def explain(:snapped), do: "packets that were captured in part"
  def explain(:malformed), do: "packets with a malformed header"
  def explain(:not_sip), do: "UDP datagrams that are not SIP"
  def explain(:lines), do: "lines that are of no message"
  def explain(:over_limit), do: "messages over the limit"
end
