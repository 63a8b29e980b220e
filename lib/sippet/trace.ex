defmodule Sippet.Trace do
  @limits [
    max_calls: [
      type: :positive,
      default: 100,
      doc: "how many calls are followed; later ones are not"
    ],
    max_messages: [type: :positive, default: 2_000, doc: "how many messages are kept"],
    max_octets: [
      type: :positive,
      default: 8_388_608,
      doc: "how much memory they may take: twice a message's octets, and 1,024 for each"
    ]
  ]

  @pictures [
    names: [
      type: {:custom, &is_map/1, "a map of addresses to names"},
      default: %{},
      doc: "names of addresses, as `%{{{127, 0, 0, 1}, 5060} => \"alice\"}`"
    ],
    plain: [
      type: :boolean,
      default: false,
      doc:
        "whether all that differs from one run to the next is left out: the times, and the Call-IDs over the calls"
    ]
  ]

  @merging Sippet.Trace.Merge.options()

  @reading Sippet.Trace.Filter.options() ++
             [
               max_messages: [
                 type: :positive,
                 default: 10_000,
                 doc: "how many messages are read; the rest is counted"
               ]
             ]

  @moduledoc """
  Follows calls and draws them.

      {:ok, trace} = Sippet.Trace.start(:mystack, method: :invite)
      # … a call comes and goes
      Sippet.Trace.print(trace)
      File.write!("call.html", Sippet.Trace.draw(trace, :html))
      Sippet.Trace.stop(trace)

  A call is shown as a whole if one of its messages is of the method or the address that you ask
  for. So a running trace also keeps messages of other calls for a while, as many as it may have
  itself (`:max_messages`, `:max_octets`). If there are more, it forgets the oldest.

  A trace has each message that its stack receives and sends, as it went over the wire: what is repeated too, and what
  could not be parsed. Nothing is traced unless somebody asks; then it is off again when the trace is stopped, when it is full, or
  when the process that started it ends. While no trace runs, a message costs the stack one read of a number.

  `mix sippet.trace` draws calls that were captured elsewhere, and `Sippet.Trace.HEP` sends them to Homer. The guide
  [Tracing](tracing.md) shows all of it.

  ## Formats

  | format | what it is |
  |---|---|
  | `:ladder` | text for a terminal: a lane for each address, an arrow for each message |
  | `:mermaid` | a sequence diagram of [Mermaid](https://mermaid.js.org), for Markdown |
  | `:svg` | a picture that needs nothing from elsewhere, for light and dark surroundings; a message's text shows where the pointer rests |
  | `:html` | a page of one file, without scripts: the picture, and the whole message that was clicked on |
  | `:log` | the messages as text, each under a line with its time and addresses; `read/2` reads it |

  A call has at most 20 lanes: of more addresses those that appear last share one lane.

  Whatever a message holds, it acts on none of them: control characters and octets that are not UTF-8 are written as
  `\\xNN`, and what a format has a meaning for is escaped. Only `:log` has the messages as they came.

  ## Options of a trace

  #{Sippet.Options.docs(Sippet.Trace.Filter.options() ++ @limits)}

  ## Options of a picture

  #{Sippet.Options.docs(@pictures)}
  """

  alias Sippet.{Options, Stack}

  alias Sippet.Trace.{
    Address,
    Call,
    Capture,
    Collector,
    Entry,
    Filter,
    HTML,
    Ladder,
    Layout,
    Log,
    Merge,
    Mermaid,
    SVG
  }

  @formats [:ladder, :mermaid, :svg, :html, :log]

  @typedoc "A running trace."
  @type t :: pid

  @type format :: :ladder | :mermaid | :svg | :html | :log

  @doc """
  Starts to follow the calls of a stack, for the calling process: when that ends, so does the trace.

  The options are those above. Raises `ArgumentError` for an option that is unknown or of a wrong type, and for a stack
  that does not run.
  """
  @spec start(Sippet.sippet(), keyword) :: {:ok, t}
  def start(stack, options \\ []) do
    options = Options.validate!(options, Filter.options() ++ @limits)
    Collector.start(Stack.fetch!(stack).name, self(), options)
  end

  @doc """
  The calls that a trace has so far, in the order in which they began.
  """
  @spec calls(t) :: [Call.t()]
  def calls(trace), do: Collector.calls(trace)

  @doc """
  What a trace has, and what it has not:

    * `:calls`, `:messages`, `:octets` - how much it keeps;
    * `:waiting` - messages that it keeps of calls which have none yet that was asked for;
    * `:forgotten` - messages of such calls for which it had no more room;
    * `:full?` - whether it takes no more;
    * `:ignored` - messages that it had no room for;
    * `:missed` - messages that came faster than it could take them.
  """
  @spec info(t) :: %{
          calls: non_neg_integer,
          messages: non_neg_integer,
          octets: non_neg_integer,
          waiting: non_neg_integer,
          forgotten: non_neg_integer,
          full?: boolean,
          ignored: non_neg_integer,
          missed: non_neg_integer
        }
  def info(trace), do: Collector.info(trace)

  @doc """
  Ends a trace, and gives the calls that it has.
  """
  @spec stop(t) :: [Call.t()]
  def stop(trace) do
    calls = Collector.calls(trace)
    GenServer.stop(trace)
    calls
  end

  @doc """
  Returns the calls of a trace, or of a list of calls, that have a message which fits, each as a
  whole. The options are `:call_id`, `:method` and `:address`, as those of a trace.

  A call that was merged has the messages of all its legs.
  """
  @spec select(t | [Call.t()], keyword) :: [Call.t()]
  def select(trace, options) when is_pid(trace), do: select(calls(trace), options)

  def select(calls, options) do
    filter = options |> Options.validate!(Filter.options()) |> Filter.new()
    Enum.filter(calls, fn call -> Enum.any?(call.entries, &Filter.fits?(filter, &1)) end)
  end

  @doc """
  Joins the calls that are legs of one: a back-to-back user agent (B2BUA) takes a call with one
  Call-ID, and makes another with a Call-ID of its own. Returns the calls, and joined legs as one
  call in place of the first leg. `draw/3` draws that as one picture, in which messages of the
  second leg and further ones say so.

  Two calls are joined by an identifier that both have, wherever their messages went:

    * `:references` - one names the Call-ID of the other: in Replaces (RFC 3891), Join (RFC 3911)
      or Target-Dialog (RFC 4538), in a Replaces or Join of the URI in Refer-To, or as the value
      of a header whose name begins with `X-`
    * `:session_id` - a UUID of Session-ID (RFC 7989) but the null one
    * `:charging_vector` - the `icid-value` of P-Charging-Vector (RFC 7315)
    * `:headers`, `:call_ids` - see the options

  Else a likeness joins a call to another that is in progress. A message of the call leaves the
  host that the like message of the other has come to. The port counts only for a message that
  stays on its host:

    * `:origin` - a session description with the same `o=` line, whatever its version
    * `:users` - the first requests have the same method, and the same users in From and To
    * `:references` - the first request has the URI in Refer-To of a REFER of the other

  A likeness counts only for a call that nothing else joins, and if it leads to one call alone. If
  it leads to several, it counts if one of them alone has no such leg yet. A call is in progress
  from its first message to its last, or to the end if none of them ends it: a BYE, a refusal, or
  a 2xx to another request than INVITE.

  The order of messages in different calls is not known if they have no times. Then the legs stand
  one below another, and each call is in progress to the end.

  The result depends on the messages alone, and the work grows as their number. Options:

  #{Options.docs(@merging)}
  """
  @spec merge(t | [Call.t()], keyword) :: [Call.t()]
  def merge(trace_or_calls, options \\ [])
  def merge(trace, options) when is_pid(trace), do: merge(calls(trace), options)
  def merge(calls, options), do: Merge.merge(calls, Options.validate!(options, @merging))

  @doc """
  The formats that `draw/3` knows.

      iex> Sippet.Trace.formats()
      [:ladder, :mermaid, :svg, :html, :log]
  """
  @spec formats() :: [format]
  def formats, do: @formats

  @doc """
  Draws a trace, or calls that `calls/1`, `stop/1`, `read/2`, `select/2` or `merge/2` returned, in
  one of the formats above.

      iex> ok = "SIP/2.0 200 OK\\r\\nCall-ID: a\\r\\nCSeq: 1 OPTIONS\\r\\n\\r\\n"
      iex> entry = Sippet.Trace.Entry.new(0, {"biloxi.com", nil}, {{192, 0, 2, 1}, 5060}, ok)
      iex> call = %Sippet.Trace.Call{call_id: "a", entries: [entry]}
      iex> Sippet.Trace.draw([call], :mermaid, plain: true)
      \"""
      sequenceDiagram
        participant L1 as biloxi.com
        participant L2 as 192.0.2.1#58;5060
        Note over L1,L2: Call 1
        L1-->>L2: 200 OK
      \"""
  """
  @spec draw(t | [Call.t()], format, keyword) :: String.t()
  def draw(trace_or_calls, format, options \\ [])

  def draw(trace, format, options) when is_pid(trace), do: draw(calls(trace), format, options)

  def draw(calls, format, options) when format in @formats do
    options = Options.validate!(options, @pictures)
    calls |> drawn(format, options) |> IO.iodata_to_binary()
  end

  defp drawn(calls, :log, _options),
    do: calls |> Enum.flat_map(& &1.entries) |> Enum.sort_by(&(&1.time || 0)) |> Log.draw()

  defp drawn(calls, format, options),
    do: renderer(format).draw(Layout.new(calls, options.names, options.plain))

  defp renderer(:ladder), do: Ladder
  defp renderer(:mermaid), do: Mermaid
  defp renderer(:svg), do: SVG
  defp renderer(:html), do: HTML

  @doc """
  Prints the ladder of a trace, or of calls, to the standard output.
  """
  @spec print(t | [Call.t()], keyword) :: :ok
  def print(trace_or_calls, options \\ []),
    do: trace_or_calls |> draw(:ladder, options) |> IO.write()

  @doc """
  Reads the calls of a file: a capture (pcap, pcapng) or a text log.

  `skipped` says how many packets or lines were passed over, for each reason; `explain/1` has the reason in words. The
  error is one sentence. Options:

  #{Options.docs(@reading)}

  Of a capture, SIP over UDP over IPv4 and IPv6 is read, of Ethernet (with VLAN tags), Linux' cooked captures (versions
  1 and 2), raw IP, and BSD's loopback. Fragments are not put together and TCP is not read: both are counted.

  A text log is one of three:

    * a line `TIME SOURCE -> DESTINATION PROTOCOL OCTETS`, and below it the message: what the format `:log` writes. The time
      is of ISO 8601, in UTC, or `-`; an address is `192.0.2.1:5060`, `[2001:db8::1]:5060`, or a name. Protocol and octets
      may be missing; then the message ends where the next begins, or where its Content-Length says.
    * what SIPp writes with `-trace_msg`. It has no addresses: the lanes are called `SIPp` and `peer`.
    * messages one after the other. Their ends are guessed, from Via, Route and Request-URI.
  """
  @spec read(Path.t(), keyword) ::
          {:ok, [Call.t()], skipped :: %{atom => pos_integer}} | {:error, String.t()}
  def read(path, options \\ []) do
    options = Options.validate!(options, @reading)

    with {:ok, entries, skipped} <- Capture.read(path, Filter.new(options), options.max_messages),
         do: {:ok, Call.group(entries), skipped}
  end

  @doc """
  Why something was passed over, in words.

      iex> Sippet.Trace.explain(:tcp)
      "TCP segments (only SIP over UDP is read)"
  """
  @spec explain(atom) :: String.t()
  def explain(reason), do: Capture.explain(reason)

  @doc """
  Reads an address as pictures and logs have it, for the option `:names`.

      iex> Sippet.Trace.parse_address("[2001:db8::1]:5060")
      {{0x2001, 0xdb8, 0, 0, 0, 0, 0, 1}, 5060}

      iex> Sippet.Trace.parse_address("SIPp")
      {"SIPp", nil}
  """
  @spec parse_address(String.t()) :: Entry.address()
  def parse_address(text), do: Address.parse(text)
end
