defmodule Sippet.Trace.Capture do
  @moduledoc false
  # Reads what was recorded elsewhere: a capture or a text log.

  alias Sippet.Trace.{Entry, Filter, Log, Pcap}
  alias Sippet.Trace.Pcap.Frame

  # A text log is read as a whole.
  @longest_log 268_435_456

  @sip ~r/\A(?:SIP\/\d\.\d \d|[A-Za-z0-9.!%*_+`'~-]{1,60} \S[^\r\n]{0,8000} SIP\/\d\.\d\r?\n)/

  @enforce_keys [:filter, :room]
  defstruct [:filter, :room, entries: [], calls: MapSet.new(), skipped: %{}]

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

  defp capture(path, state), do: Pcap.fold(path, state, &packet/2)

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

        {entries, 0} ->
          {:ok, Enum.reduce(entries, state, &take/2)}

        {entries, skipped} ->
          {:ok, Enum.reduce(entries, %{state | skipped: %{lines: skipped}}, &take/2)}
      end
    else
      {:ok, _too_large} -> {:error, "a text log of more than #{@longest_log} octets"}
      {:error, reason} -> {:error, reason(reason)}
    end
  end

  defp take(entry, state) do
    cond do
      not (MapSet.member?(state.calls, entry.call_id) or Filter.fits?(state.filter, entry)) ->
        state

      state.room == 0 ->
        skip(state, :over_limit)

      true ->
        %{
          state
          | entries: [entry | state.entries],
            calls: MapSet.put(state.calls, entry.call_id),
            room: state.room - 1
        }
    end
  end

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
