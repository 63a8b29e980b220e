defmodule Sippet.Trace.Log do
  @moduledoc false
  # Logs of messages as text. Three forms are read, and the first is written:
  #
  #   * `#{"TIME SOURCE -> DESTINATION [PROTOCOL [OCTETS]]"}`, a line over each message;
  #   * what SIPp writes with -trace_msg;
  #   * messages one after the other, with nothing between them.
  #
  # Where a header line tells the octets of its message they are taken as they are. Else a message goes to the next
  # header line or start line; within the body that its Content-Length tells none is looked for.

  alias Sippet.Message
  alias Sippet.Trace.{Address, Entry, Text}
  alias Sippet.Trace.Log.Ends

  @header ~r/\A(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?Z?|-) (\S+) -> (\S+)(?: ([A-Za-z0-9-]+)(?: (\d{1,9}))?)?[ \t]*\r?\n\z/
  @sipp_time ~r/\A-{20,}\s*(\d{4}-\d\d-\d\d[T\t ]+\d\d:\d\d:\d\d\.\d+)/
  @sipp ~r/\A([A-Z]+) message (sent|received) ?[(\[](\d{1,9})[)\]]? ?bytes/
  @start ~r/\A(?:SIP\/\d\.\d [1-6]\d\d |[A-Za-z0-9.!%*_+`'~-]{1,60} \S{1,2000} SIP\/\d\.\d\r?\n)/
  @content_length ~r/^(?:Content-Length|l)[ \t]*:[ \t]*(\d{1,9})[ \t]*\r?$/im

  # How SIPp's own address and its peer's are called: its log does not tell them.
  @sipp_itself {"SIPp", nil}
  @sipp_peer {"peer", nil}

  @doc """
  Writes entries in the first form.
  """
  @spec draw([Entry.t()]) :: iodata
  def draw(entries) do
    for entry <- entries do
      time = if entry.time, do: Text.time(entry.time), else: "-"
      way = [blankless(entry.source), " -> ", blankless(entry.destination)]
      size = Integer.to_string(byte_size(entry.octets))
      protocol = entry.protocol |> to_string() |> String.upcase()
      [time, " ", way, " ", protocol, " ", size, "\n", entry.octets, "\n\n"]
    end
  end

  defp blankless(address), do: address |> Text.address() |> String.replace(" ", "_")

  @doc """
  Reads a log: entries in the order of the text, and how many lines were not understood.
  """
  @spec read(binary) :: {[Entry.t()], skipped :: non_neg_integer}
  def read(text) do
    {found, skipped} = scan(text, nil, [], 0)
    {found |> Enum.reverse() |> Ends.guess(), skipped}
  end

  # `time` is that of SIPp's line of dashes, which stands before that which tells of the message.
  defp scan(<<>>, _time, found, skipped), do: {found, skipped}

  defp scan(text, time, found, skipped) do
    {line, rest} = line(text)

    case classify(line) do
      :blank ->
        scan(rest, time, found, skipped)

      {:time, time} ->
        scan(rest, time, found, skipped)

      {:sipp, protocol, direction, size} ->
        {octets, rest} = sized(line_end(rest), size)
        {source, destination} = sipp(direction)
        scan(rest, nil, [{time, source, destination, protocol, octets} | found], skipped)

      {:header, time, source, destination, protocol, size} ->
        {octets, rest} = if size, do: sized(rest, size), else: message(rest)
        scan(rest, nil, [{time, source, destination, protocol, octets} | found], skipped)

      :start ->
        {octets, rest} = message(text)
        scan(rest, nil, [{nil, nil, nil, :udp, octets} | found], skipped)

      :unknown ->
        scan(rest, time, found, skipped + 1)
    end
  end

  defp line(text) do
    case :binary.match(text, "\n") do
      {at, 1} -> :erlang.split_binary(text, at + 1)
      :nomatch -> {text <> "\n", <<>>}
    end
  end

  defp classify(line) when line in ["\n", "\r\n"], do: :blank

  defp classify(<<"---", _rest::binary>> = line) do
    case Regex.run(@sipp_time, line) do
      [_line, time] -> {:time, time(time)}
      nil -> :unknown
    end
  end

  defp classify(line) do
    cond do
      fields = Regex.run(@sipp, line) -> sipp_fields(fields)
      fields = Regex.run(@header, line) -> header_fields(fields)
      line =~ @start -> :start
      true -> :unknown
    end
  end

  defp sipp_fields([_line, protocol, direction, size]),
    do: {:sipp, protocol(protocol), direction, String.to_integer(size)}

  defp header_fields([_line, time, source, destination | more]) do
    {protocol, size} =
      case more do
        [] -> {"UDP", nil}
        [protocol] -> {protocol, nil}
        [protocol, size] -> {protocol, String.to_integer(size)}
      end

    {:header, time(time), Address.parse(source), Address.parse(destination), protocol(protocol),
     size}
  end

  defp protocol(text), do: text |> String.downcase() |> Message.to_protocol()

  # SIPp's time has a blank or a tab before the hours, and is the machine's own: it is taken for UTC.
  defp time(text) do
    text = text |> String.replace(~r/[ \t]+/, "T") |> String.trim_trailing("Z")

    case DateTime.from_iso8601(text <> "Z") do
      {:ok, time, 0} -> DateTime.to_unix(time, :microsecond)
      _none -> nil
    end
  end

  defp sipp("sent"), do: {@sipp_itself, @sipp_peer}
  defp sipp("received"), do: {@sipp_peer, @sipp_itself}

  defp line_end(<<"\r\n", rest::binary>>), do: rest
  defp line_end(<<"\n", rest::binary>>), do: rest
  defp line_end(text), do: text

  defp sized(text, size), do: :erlang.split_binary(text, min(size, byte_size(text)))

  ## Messages whose size nobody wrote down

  defp message(text) do
    {_start_line, rest} = line(text)

    case after_head(rest) do
      {"\r\n", body} -> framed(text, byte_size(text) - byte_size(body))
      {"\n", _body} -> unframed(text)
      :none -> unframed(text)
    end
  end

  # Each line is looked at once, or twice where a message ends without an empty one: what is long takes no longer.
  defp after_head(<<>>), do: :none

  defp after_head(text) do
    {line, rest} = line(text)

    case classify(line) do
      :blank -> {line, rest}
      :unknown -> after_head(rest)
      _next_message -> :none
    end
  end

  # The body is as long as Content-Length says, if so much is there; where it says nothing, it ends before the next message.
  defp framed(text, head) do
    with [_all, length] <- Regex.run(@content_length, binary_part(text, 0, head)),
         length = String.to_integer(length),
         true <- head + length <= byte_size(text) do
      :erlang.split_binary(text, head + length)
    else
      _unknown -> cut(text)
    end
  end

  # An editor took the CRs, which Content-Length counts.
  defp unframed(text) do
    {octets, rest} = cut(text)

    {octets
     |> :binary.replace("\r\n", "\n", [:global])
     |> :binary.replace("\n", "\r\n", [:global]), rest}
  end

  defp cut(text) do
    {_start_line, rest} = line(text)
    :erlang.split_binary(text, byte_size(text) - byte_size(after_message(rest)))
  end

  defp after_message(<<>>), do: <<>>

  defp after_message(text) do
    {line, rest} = line(text)
    if classify(line) in [:blank, :unknown], do: after_message(rest), else: text
  end
end
