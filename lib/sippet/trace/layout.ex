defmodule Sippet.Trace.Layout do
  @moduledoc false
  # What all pictures of a call have in common: a lane for each address, in the order of appearance, and an arrow for
  # each message, with what is to be said of it. All text is fit to be printed; each kind of picture escapes it for itself.

  alias Sippet.Trace.{Call, Entry, Text}

  # A row of the ladder is as long as there are lanes: without a bound, n messages from n addresses make a picture of n².
  @lanes 20

  @enforce_keys [:title, :start, :lanes, :arrows]
  defstruct [:title, :start, :lanes, :arrows]

  @typedoc """
  `leg` is the number of the Call-ID in a call that was merged of several. `start` is the time of
  the first message; an arrow's `at` is microseconds from it. `repeat` is how often the same
  octets went the same way before. `from` and `to` are lanes, `source` and `destination` the names
  of the addresses, which differ from those of the lanes where many addresses share the last one.
  """
  @type t :: %__MODULE__{
          title: String.t(),
          start: integer | nil,
          lanes: [String.t()],
          arrows: [arrow]
        }

  @type arrow :: %{
          from: non_neg_integer,
          to: non_neg_integer,
          source: String.t(),
          destination: String.t(),
          at: integer | nil,
          label: String.t(),
          cseq: String.t() | nil,
          kind: :request | :provisional | :success | :redirection | :failure | :malformed,
          sdp?: boolean,
          repeat: non_neg_integer,
          leg: pos_integer | nil,
          entry: Entry.t()
        }

  @type names :: %{Entry.address() => String.t()}

  @doc """
  Lays calls out; `names` has other words for addresses. A plain one has neither times nor Call-ID.
  """
  @spec new([Call.t()], names, plain? :: boolean) :: [t]
  def new(calls, names, plain?) do
    for {call, number} <- Enum.with_index(calls, 1) do
      layout = layout(call, names)
      if plain?, do: plain(layout, number), else: layout
    end
  end

  defp plain(layout, number) do
    arrows = Enum.map(layout.arrows, &%{&1 | at: nil, entry: %{&1.entry | time: nil}})
    %{layout | title: "Call #{number}", start: nil, arrows: arrows}
  end

  defp layout(%Call{entries: entries} = call, names) do
    addresses = entries |> Enum.flat_map(&[&1.source, &1.destination]) |> Enum.uniq()
    {lanes, ends} = lanes(addresses, names)
    start = hd(entries).time
    legs = legs(call)

    {arrows, _seen} =
      Enum.map_reduce(entries, %{}, fn entry, seen ->
        # RFC3261§17.1.1.2 - a retransmission is the same octets again
        same = {entry.source, entry.destination, :erlang.md5(entry.octets)}
        repeat = Map.get(seen, same, 0)
        {arrow(entry, ends, start, repeat, legs), Map.put(seen, same, repeat + 1)}
      end)

    %__MODULE__{
      title: title(Call.ids(call)),
      start: start,
      lanes: lanes,
      arrows: arrows
    }
  end

  # The names of the lanes, and of each address its lane and its name. More addresses than there are lanes share the last.
  defp lanes(addresses, names) do
    ends =
      for {address, index} <- Enum.with_index(addresses),
          do: {address, {min(index, @lanes - 1), name(address, names)}}

    {alone, rest} = Enum.split(ends, if(length(ends) > @lanes, do: @lanes - 1, else: @lanes))
    lanes = for {_address, {_lane, name}} <- alone, do: name
    more = if rest == [], do: [], else: ["#{length(rest)} more addresses"]
    {lanes ++ more, Map.new(ends)}
  end

  defp legs(%Call{merged: []}), do: %{}
  defp legs(call), do: call |> Call.ids() |> Enum.with_index(1) |> Map.new()

  # A title has so many Call-IDs.
  @legs 4

  defp title([nil]), do: "No Call-ID"
  defp title([call_id]), do: "Call-ID " <> shown(call_id)

  defp title([call_id | others]) do
    {named, more} = Enum.split(others, @legs - 1)
    legs = for {id, leg} <- Enum.with_index(named, 2), do: ", leg #{leg} #{shown(id)}"
    more = if more == [], do: "", else: ", #{length(more)} more legs"
    "Call-ID #{shown(call_id)}#{legs}#{more}"
  end

  defp shown(call_id), do: call_id |> Text.printable() |> Text.shorten(100)

  defp arrow(entry, ends, start, repeat, legs) do
    {from, source} = ends[entry.source]
    {to, destination} = ends[entry.destination]

    %{
      from: from,
      to: to,
      source: source,
      destination: destination,
      at: entry.time && start && entry.time - start,
      label: entry.label |> Text.printable() |> Text.shorten(60),
      cseq: entry.cseq && entry.cseq |> Text.printable() |> Text.shorten(40),
      kind: kind(entry),
      sdp?: entry.sdp?,
      repeat: repeat,
      leg: legs[entry.call_id],
      entry: entry
    }
  end

  defp kind(%Entry{error: error}) when error != nil, do: :malformed
  defp kind(%Entry{octets: "SIP/" <> _, label: <<class, _::binary>>}), do: class(class)
  defp kind(_request), do: :request

  defp class(?1), do: :provisional
  defp class(?2), do: :success
  defp class(?3), do: :redirection
  defp class(_failure), do: :failure

  defp name(address, names) do
    case names do
      %{^address => name} -> Text.printable(name)
      _other -> Text.address(address)
    end
  end

  @doc """
  What is written beside the label: that it carries a session, can't be parsed, is sent again, and
  is of another leg than the first.
  """
  @spec marks(arrow) :: [String.t()]
  def marks(arrow) do
    for {true, mark} <- [
          {arrow.sdp?, "SDP"},
          {arrow.kind == :malformed, "malformed"},
          {arrow.repeat > 0, "again ×#{arrow.repeat}"},
          {is_integer(arrow.leg) and arrow.leg > 1, "leg #{arrow.leg}"}
        ],
        do: mark
  end
end
