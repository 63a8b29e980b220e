defmodule Sippet.Trace.SVG do
  @moduledoc false
  # Calls as a picture: a lane for each address, an arrow for each message, time running down. It has its own style, for
  # light and for dark surroundings, and needs nothing from elsewhere.

  alias Sippet.Trace.{Layout, Text}

  # All lengths in pixels.
  @left 92
  @right 24
  @title 44
  @head 30
  @row 44
  @least_gap 230
  # What a character takes at most, on average, in the fonts of the style.
  @character 7.4

  # How much of a message a tooltip shows.
  @tooltip 2_000

  @style """
  .sip{--paper:#fff;--ink:#1e293b;--faint:#64748b;--lane:#cbd5e1;--box:#f1f5f9;--edge:#94a3b8;
  --request:#1d4ed8;--provisional:#64748b;--success:#15803d;--redirection:#7e22ce;--failure:#b91c1c;--again:#b45309;
  font:13px ui-sans-serif,system-ui,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
  @media (prefers-color-scheme:dark){.sip{--paper:#0f172a;--ink:#e2e8f0;--faint:#94a3b8;--lane:#334155;--box:#1e293b;
  --edge:#475569;--request:#93c5fd;--provisional:#94a3b8;--success:#86efac;--redirection:#d8b4fe;--failure:#fca5a5;--again:#fcd34d}}
  .sip .paper{fill:var(--paper)}.sip text{fill:var(--ink)}.sip .title{font-weight:600;font-size:14px}
  .sip .faint{fill:var(--faint);font-size:11px}.sip .lane{stroke:var(--lane)}
  .sip .box{fill:var(--box);stroke:var(--edge)}.sip .name{text-anchor:middle;font-weight:600}
  .sip .label{text-anchor:middle;font-weight:600}.sip .hit{fill:transparent}.sip .at{text-anchor:end}
  .sip .message{color:var(--request);outline:none}.sip .provisional{color:var(--provisional)}
  .sip .success{color:var(--success)}.sip .redirection{color:var(--redirection)}
  .sip .failure,.sip .malformed{color:var(--failure)}
  .sip .message .label{fill:currentColor}.sip .shaft{fill:none;stroke:currentColor;stroke-width:1.6}
  .sip .tip{fill:currentColor}.sip .again .shaft{stroke-dasharray:5 4}.sip .again .label{font-weight:400}
  .sip .mark{font-size:10px;font-weight:600;fill:var(--faint)}.sip .mark.warn{fill:var(--again)}
  .sip .message:hover .hit,.sip a:focus .hit{fill:var(--box)}
  """

  @doc """
  The style that `call/2` needs around it.
  """
  @spec style() :: String.t()
  def style, do: @style

  @spec draw([Layout.t()]) :: iodata
  def draw(layouts) do
    charts = Enum.map(layouts, &chart(&1, nil))
    width = charts |> Enum.map(& &1.width) |> Enum.max(fn -> @left end)
    height = charts |> Enum.map(& &1.height) |> Enum.sum()

    {parts, _y} =
      Enum.map_reduce(charts, 0, fn chart, y ->
        {["<g transform=\"translate(0 ", number(y), ")\">", chart.body, "</g>\n"],
         y + chart.height}
      end)

    [
      frame(width, height, " xmlns=\"http://www.w3.org/2000/svg\""),
      ["<title>SIP calls</title>\n<style>", @style, "</style>\n"],
      ["<rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n", parts, "</svg>\n"]
    ]
  end

  @doc """
  One call as an element of a page; each message is a link to what `target` gives for its number.
  """
  @spec call(Layout.t(), (non_neg_integer -> String.t())) :: iodata
  def call(layout, target) do
    chart = chart(layout, target)
    [frame(chart.width, chart.height, ""), chart.body, "</svg>\n"]
  end

  defp frame(width, height, more) do
    size = [number(width), " ", number(height)]

    [
      ["<svg class=\"sip\" viewBox=\"0 0 ", size, "\" width=\"", number(width)],
      ["\" height=\"", number(height), "\" role=\"img\"", more, ">\n"]
    ]
  end

  defp chart(%Layout{lanes: lanes, arrows: arrows} = layout, target) do
    gap = gap(lanes, arrows)
    left = max(@left, div(box(hd(lanes)), 2) + 20)
    rows = @title + @head + 14
    bottom = rows + length(arrows) * @row

    width =
      left + (length(lanes) - 1) * gap + max(div(box(List.last(lanes)), 2), loop(lanes, arrows)) +
        @right

    x = fn lane -> left + lane * gap end

    body = [
      title(layout),
      for({name, lane} <- Enum.with_index(lanes), do: lane(name, x.(lane), bottom)),
      for {arrow, index} <- Enum.with_index(arrows) do
        y = rows + index * @row
        arrow |> message(x, y, width) |> linked(index, target)
      end
    ]

    %{body: body, width: max(width, text_width(layout.title) + 280), height: bottom + 24}
  end

  defp gap(lanes, arrows) do
    name = lanes |> Enum.map(&box/1) |> Enum.max()

    label =
      arrows
      |> Enum.map(fn arrow ->
        span = max(abs(arrow.from - arrow.to), 1)
        div(text_width(arrow.label) + marks_width(arrow) + 40, span)
      end)
      |> Enum.max()

    @least_gap |> max(name + 24) |> max(label)
  end

  # Room beside the last lane for what goes to where it came from.
  defp loop(lanes, arrows) do
    last = length(lanes) - 1

    arrows
    |> Enum.filter(&(&1.from == last and &1.to == last))
    |> Enum.map(&(text_width(&1.label) + marks_width(&1) + 60))
    |> Enum.max(fn -> 0 end)
  end

  defp box(name), do: text_width(name) + 24
  defp text_width(text), do: ceil(String.length(text) * @character)

  defp marks_width(arrow),
    do: arrow |> Layout.marks() |> Enum.map(&(text_width(&1) + 8)) |> Enum.sum()

  defp title(%Layout{title: title, start: start}) do
    [
      ["<text class=\"title\" x=\"16\" y=\"26\">", Text.markup(title)],
      if(start,
        do: ["<tspan class=\"faint\" dx=\"12\">from ", Text.time(start), "</tspan>"],
        else: []
      ),
      "</text>\n"
    ]
  end

  defp lane(name, x, bottom) do
    width = box(name)

    [
      [
        "<path class=\"lane\" d=\"M",
        number(x),
        " ",
        number(@title + @head),
        "V",
        number(bottom + 8),
        "\"/>"
      ],
      [
        "<rect class=\"box\" x=\"",
        number(x - width / 2),
        "\" y=\"",
        number(@title),
        "\" width=\"",
        number(width)
      ],
      [
        "\" height=\"",
        number(@head),
        "\" rx=\"6\"/><text class=\"name\" x=\"",
        number(x),
        "\" y=\""
      ],
      [number(@title + 20), "\">", Text.markup(name), "</text>\n"]
    ]
  end

  defp linked(message, _index, nil), do: message

  defp linked(message, index, target),
    do: ["<a href=\"#", target.(index), "\">", message, "</a>"]

  defp message(arrow, x, y, width) do
    again = if arrow.repeat > 0, do: " again", else: ""

    [
      [
        "<g class=\"message ",
        Atom.to_string(arrow.kind),
        again,
        "\"><title>",
        tooltip(arrow),
        "</title>"
      ],
      [
        "<rect class=\"hit\" x=\"0\" y=\"",
        number(y),
        "\" width=\"",
        number(width),
        "\" height=\"#{@row}\" rx=\"4\"/>"
      ],
      [
        "<text class=\"faint at\" x=\"58\" y=\"",
        number(y + 30),
        "\">",
        Text.offset(arrow.at),
        "</text>"
      ],
      [
        label(arrow, x, y),
        shaft(x.(arrow.from), x.(arrow.to), y + 26),
        cseq(arrow, x, y),
        "</g>\n"
      ]
    ]
  end

  defp tooltip(arrow),
    do: arrow.entry.octets |> cut(@tooltip) |> Text.lines() |> Text.markup()

  defp cut(octets, most) when byte_size(octets) > most, do: binary_part(octets, 0, most)
  defp cut(octets, _most), do: octets

  defp label(%{from: lane, to: lane} = arrow, x, y),
    do: label(arrow, x.(lane) + 44, y + 30, " style=\"text-anchor:start\"")

  defp label(arrow, x, y), do: label(arrow, (x.(arrow.from) + x.(arrow.to)) / 2, y + 19, "")

  defp label(arrow, x, y, style) do
    [
      [
        "<text class=\"label\"",
        style,
        " x=\"",
        number(x),
        "\" y=\"",
        number(y),
        "\">",
        Text.markup(arrow.label)
      ],
      for mark <- Layout.marks(arrow) do
        warn = if mark == "SDP" or match?("leg " <> _, mark), do: "", else: " warn"
        ["<tspan class=\"mark", warn, "\" dx=\"7\">", mark, "</tspan>"]
      end,
      "</text>"
    ]
  end

  defp cseq(%{cseq: nil}, _x, _y), do: []
  defp cseq(%{from: lane, to: lane}, _x, _y), do: []

  defp cseq(arrow, x, y) do
    middle = number((x.(arrow.from) + x.(arrow.to)) / 2)

    [
      "<text class=\"faint\" text-anchor=\"middle\" x=\"",
      middle,
      "\" y=\"",
      number(y + 38),
      "\">"
    ] ++
      ["CSeq ", Text.markup(arrow.cseq), "</text>"]
  end

  defp shaft(x, x, y) do
    from = "M#{number(x)} #{number(y - 8)}h22a6 6 0 0 1 6 6v4a6 6 0 0 1-6 6h-14"
    ["<path class=\"shaft\" d=\"", from, "\"/>", tip(x, y + 8, 1)]
  end

  defp shaft(from, to, y) do
    way = if from < to, do: -1, else: 1

    [
      [
        "<path class=\"shaft\" d=\"M",
        number(from),
        " ",
        number(y),
        "H",
        number(to + 8 * way),
        "\"/>"
      ],
      tip(to, y, way)
    ]
  end

  defp tip(x, y, way) do
    back = number(10 * way)
    ["<path class=\"tip\" d=\"M", number(x), " ", number(y), "l", back, " -5v10z\"/>"]
  end

  defp number(number) when is_integer(number), do: Integer.to_string(number)
  defp number(number), do: :erlang.float_to_binary(number, [:compact, decimals: 1])
end
