defmodule Sippet.Trace.Ladder do
  @moduledoc false
  # Calls as ladders of characters, for a terminal.

  alias Sippet.Trace.{Layout, Text}

  # Between two lanes, the lanes themselves not counted: what most labels fit into.
  @gap 40

  @spec draw([Layout.t()]) :: iodata
  def draw(layouts), do: layouts |> Enum.map(&call/1) |> Enum.intersperse("\n")

  defp call(%Layout{lanes: lanes, arrows: arrows} = layout) do
    gap = gap(lanes, arrows)
    margin = margin(layout)
    [title(layout), head(lanes, margin, gap), Enum.map(arrows, &rung(&1, lanes, margin, gap))]
  end

  defp title(%Layout{start: nil} = layout), do: [layout.title, "\n\n"]

  defp title(layout),
    do: [layout.title, ", from ", Text.time(layout.start), "\n\n"]

  # Names stand centred over their lanes.
  defp margin(%Layout{lanes: [first | _], start: start}),
    do: max(if(start, do: 12, else: 2), div(String.length(first), 2) + 1)

  defp gap(lanes, arrows) do
    name = lanes |> Enum.map(&String.length/1) |> Enum.max()

    # An arrow over several gaps has more room.
    label =
      arrows
      |> Enum.map(&div(String.length(text(&1)) + 7, max(abs(&1.from - &1.to), 1)))
      |> Enum.max()

    @gap |> max(name + 2) |> max(label)
  end

  defp head(lanes, margin, gap) do
    {line, _end} =
      lanes
      |> Enum.with_index()
      |> Enum.reduce({"", 0}, fn {name, index}, {line, column} ->
        at = margin + index * (gap + 1) - div(String.length(name), 2)
        at = max(at, column)
        {[line, String.duplicate(" ", at - column), name], at + String.length(name)}
      end)

    [line, "\n"]
  end

  defp rung(arrow, lanes, margin, gap) do
    [first, last] = Enum.sort([arrow.from, arrow.to])

    offset =
      arrow.at |> Text.offset() |> String.pad_leading(margin - 2) |> String.pad_trailing(margin)

    last_lane = length(lanes) - 1

    bars =
      cond do
        first == last ->
          [free(first, gap), "|<- ", text(arrow)]

        true ->
          [
            free(first, gap),
            "|",
            shaft(arrow, (last - first) * (gap + 1) - 1),
            "|",
            tail(last_lane - last, gap)
          ]
      end

    [String.trim_trailing(IO.iodata_to_binary([offset, bars])), "\n"]
  end

  defp free(lanes, gap), do: String.duplicate("|" <> String.duplicate(" ", gap), lanes)
  defp tail(lanes, gap), do: String.duplicate(String.duplicate(" ", gap) <> "|", lanes)

  defp shaft(%{from: from, to: to} = arrow, width) do
    # Sent again, the line is broken.
    line = if arrow.repeat > 0, do: "- ", else: "--"
    text = " " <> Text.shorten(text(arrow), width - 5) <> " "
    left = div(width - 1 - String.length(text), 2)
    right = width - 1 - String.length(text) - left

    if from < to,
      do: [dashes(line, left), text, dashes(line, right), ">"],
      else: ["<", dashes(line, left), text, dashes(line, right)]
  end

  defp dashes(line, width), do: line |> String.duplicate(width) |> String.slice(0, width)

  defp text(arrow) do
    case Layout.marks(arrow) do
      [] -> arrow.label
      marks -> "#{arrow.label} (#{Enum.join(marks, ", ")})"
    end
  end
end
