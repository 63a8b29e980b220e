defmodule Sippet.Trace.Mermaid do
  @moduledoc false
  # Calls as one sequence diagram of Mermaid, the form that many Markdown viewers draw.

  alias Sippet.Trace.{Layout, Text}

  @spec draw([Layout.t()]) :: iodata
  def draw(layouts) do
    names = layouts |> Enum.flat_map(& &1.lanes) |> Enum.uniq()
    ids = names |> Enum.with_index(1) |> Map.new(fn {name, index} -> {name, "L#{index}"} end)

    [
      "sequenceDiagram\n",
      for(name <- names, do: ["  participant ", ids[name], " as ", text(name), "\n"]),
      Enum.map(layouts, &call(&1, ids))
    ]
  end

  defp call(layout, ids) do
    lane = layout.lanes |> Enum.map(&ids[&1]) |> List.to_tuple()
    start = if layout.start, do: ", from #{Text.time(layout.start)}", else: ""

    over = [
      elem(lane, 0),
      if(tuple_size(lane) > 1, do: [",", elem(lane, tuple_size(lane) - 1)], else: [])
    ]

    [
      ["  Note over ", over, ": ", text(layout.title <> start), "\n"],
      for arrow <- layout.arrows do
        [
          "  ",
          elem(lane, arrow.from),
          line(arrow),
          elem(lane, arrow.to),
          ": ",
          words(arrow),
          "\n"
        ]
      end
    ]
  end

  # Responses are dashed as usual in such diagrams, what is sent again ends in a cross.
  defp line(%{repeat: repeat}) when repeat > 0, do: "--x"
  defp line(%{kind: :request}), do: "->>"
  defp line(_response), do: "-->>"

  defp words(arrow) do
    [arrow.label | Layout.marks(arrow)]
    |> Enum.join(", ")
    |> Kernel.<>(if(arrow.at, do: " (#{Text.offset(arrow.at)} s)", else: ""))
    |> text()
  end

  # `#` starts an entity and `;` ends a statement; the rest may be taken for HTML or for syntax. A number in `#…;` is
  # what Mermaid shows as the character.
  defp text(text) do
    for <<c::utf8 <- text>> do
      if c in ?a..?z or c in ?A..?Z or c in ?0..?9 or c in ~c" .-_@+,()/=?!*" or c >= 0x80,
        do: <<c::utf8>>,
        else: ["#", Integer.to_string(c), ";"]
    end
  end
end
