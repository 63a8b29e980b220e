# Draws the bars of the README from the tables of bench/RESULTS.md: `elixir bench/chart.exs RESULTS.md FILE.svg`.
#
# The colours are of a middle brightness, so that they can be read on a light and on a dark background.

defmodule Bench.Chart do
  @width 760
  @label 230
  @bar 400
  @row 22
  @ink "#7a828c"
  @ours "#2f9e6e"
  @others "#8f9aa8"

  def run(from, to) do
    tables = from |> File.read!() |> tables()
    groups = Enum.reject(groups(tables), fn {_title, bars} -> bars == [] end)
    File.write!(to, svg(groups))
  end

  # Each table of the file: rows as maps from the column's name to the cell. The first column's name may be anything.
  defp tables(text) do
    text
    |> String.split("\n")
    |> Enum.chunk_by(&String.starts_with?(&1, "|"))
    |> Enum.filter(&match?(["|" <> _, "|---" <> _ | _], &1))
    |> Enum.map(fn [header, _rule | rows] ->
      [_first | names] = cells(header)
      for row <- rows, [name | values] = cells(row), do: {name, Map.new(Enum.zip(names, values))}
    end)
  end

  defp cells(line),
    do: line |> String.split("|") |> Enum.slice(1..-2) |> Enum.map(&String.trim/1)

  defp groups(tables) do
    [
      {"Parsing an INVITE of 1,142 octets, nanoseconds: less is better",
       columns(tables, "c_invite", ["ours", "libosip2", "sofia-sip", "rsip", "rsipstack"])},
      {"Parsing a message of a mix of 510, nanoseconds: less is better",
       columns(tables, "mix", ["ours", "libosip2", "sofia-sip", "rsip", "rsipstack"])},
      {"That INVITE in the VM, beside its terms read by binary_to_term, nanoseconds: less is better",
       columns(tables, "c_invite", ["parse", "print", "b2t"])},
      {"OPTIONS answered a second, one core: more is better",
       columns(tables, "options", ["Sippet", "Kamailio"])},
      {"Calls a second, one core: more is better",
       columns(tables, "call", ["Sippet", "Kamailio"])},
      {"Calls a second, by the light sender: more is better",
       for name <- ["Sippet", "Kamailio"], cores <- ["one core", "both cores"] do
         {"#{name}, #{cores}", number(tables, name, cores)}
       end
       |> Enum.filter(&elem(&1, 1))}
    ]
  end

  defp columns(tables, row, names) do
    for name <- names, value = number(tables, row, name), do: {name, value}
  end

  defp number(tables, row, column) do
    with %{^column => cell} <- find(tables, row, column),
         {number, ""} <- Float.parse(cell) do
      number
    else
      _none -> nil
    end
  end

  defp find(tables, row, column) do
    Enum.find_value(tables, fn table ->
      Enum.find_value(table, fn {name, cells} ->
        if name == row and is_map_key(cells, column), do: cells
      end)
    end)
  end

  defp svg(groups) do
    {body, height} = Enum.map_reduce(groups, 10, &group/2)

    [
      ~s(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 #{@width} #{height}" width="#{@width}" ),
      ~s(height="#{height}" role="img" font-family="sans-serif" font-size="13" fill="#{@ink}">\n),
      "<title>Sippet beside others</title>\n",
      body,
      "</svg>\n"
    ]
  end

  defp group({title, bars}, top) do
    largest = bars |> Enum.map(&elem(&1, 1)) |> Enum.max()
    head = ~s(<text x="10" y="#{top + 15}" font-weight="bold">#{escape(title)}</text>\n)

    {rows, bottom} =
      Enum.map_reduce(bars, top + @row, fn bar, y -> {bar(bar, y, largest), y + @row} end)

    {[head | rows], bottom + 14}
  end

  defp bar({name, value}, y, largest) do
    width = if largest > 0, do: Float.round(value / largest * @bar, 1), else: 0
    colour = if name =~ ~r/^(ours|parse|print|Sippet)/, do: @ours, else: @others
    shown = name |> shown() |> escape()

    [
      ~s(<text x="#{@label - 8}" y="#{y + 15}" text-anchor="end">#{shown}</text>),
      ~s(<rect x="#{@label}" y="#{y + 3}" width="#{width}" height="#{@row - 6}" fill="#{colour}"/>),
      ~s(<text x="#{@label + width + 6}" y="#{y + 15}">#{grouped(round(value))}</text>\n)
    ]
  end

  defp shown("ours"), do: "Sippet's parser"
  defp shown("parse"), do: "Sippet.Message.parse/1"
  defp shown("print"), do: "Sippet.Message.to_iodata/1"
  defp shown("b2t"), do: "binary_to_term/1"
  defp shown(name), do: name

  defp grouped(number) do
    number |> Integer.to_string() |> String.replace(~r/\B(?=(\d{3})+$)/, ",")
  end

  defp escape(text),
    do: text |> String.replace("&", "&amp;") |> String.replace("<", "&lt;")
end

[from, to] = System.argv()
Bench.Chart.run(from, to)
