defmodule Sippet.WireText do
  @moduledoc false
  # Compares a message as it came with the same message printed. What may differ between the two is named by
  # Sippet.WireText.Normalisation; any other difference is reported, line by line.
  #
  # Both heads are cut into values: one per header, or one per element where the header is a list. What came goes
  # through the normalisations and must then be, octet for octet, what was printed. Only where no form is the one right
  # form (the order of headers and parameters, quotes around a token) are they applied to the printed text as well.

  alias Sippet.Headers.Table
  alias Sippet.WireText.Normalisation

  @typedoc "The name of a header, its row in headers.tbl unless it is text, the value and its parameters."
  @type entry :: {String.t(), Table.row() | nil, binary, [binary]}

  @doc """
  The normalisations that were needed, or the lines that none of them explains.

  `degraded` names the typed headers that the parser gave as text; they are compared as text.
  """
  @spec compare(came :: binary, printed :: binary, degraded :: [String.t()]) ::
          {:ok, [atom]} | {:error, came :: [binary], printed :: [binary]}
  def compare(came, printed, degraded) do
    {came, printed} = {came(came, degraded), printed(printed, degraded)}
    {expected, used} = Normalisation.came(came)
    found = Normalisation.printed(printed)

    case {texts(expected), texts(found)} do
      {same, same} -> {:ok, used ++ Normalisation.layout(came, printed)}
      {expected, found} -> difference(expected, found)
    end
  end

  defp difference(expected, found) do
    case {expected -- found, found -- expected} do
      # The same lines, in another order.
      {[], []} -> {:error, expected, found}
      {came, printed} -> {:error, came, printed}
    end
  end

  @doc """
  The names of the headers of a printed message, one per line, in their order.
  """
  @spec names(binary) :: [String.t()]
  def names(printed) do
    %{entries: entries} = printed(printed, [])
    for {name, _row, _value, _params} <- entries, do: name
  end

  # As it came: leading line ends, bare LF, folds, blanks around the colon, and no blank line, are all understood.
  defp came(text, degraded) do
    {head, body} = text |> skip_line_ends() |> split_head(["\r\n\r\n", "\n\n"])
    [start | lines] = unfold(head)
    %{start: start, entries: entries(lines, ~r/[ \t]*:[ \t]*/, degraded), body: body}
  end

  # As it was printed, strictly.
  defp printed(text, degraded) do
    [head, body] = :binary.split(text, "\r\n\r\n")
    [start | lines] = String.split(head, "\r\n")
    %{start: start, entries: entries(lines, ": ", degraded), body: body}
  end

  defp skip_line_ends(<<octet, rest::binary>>) when octet in [?\r, ?\n], do: skip_line_ends(rest)
  defp skip_line_ends(text), do: text

  defp split_head(text, blank_lines) do
    case :binary.split(text, blank_lines) do
      [head, body] -> {head, body}
      [head] -> {head, ""}
    end
  end

  # RFC3261§7.3.1 - a line that starts with a blank goes on with the line before.
  defp unfold(head) do
    head
    |> String.replace(~r/[ \t\r]*\n[ \t][ \t\r\n]*/, " ")
    |> String.split(["\r\n", "\n"], trim: true)
  end

  defp entries(lines, colon, degraded) do
    for line <- lines do
      [name, value] = String.split(line, colon, parts: 2)
      {name, row(Table.find(name), degraded), value, []}
    end
  end

  # Extension headers and degraded ones are text, as unlisted ones are.
  defp row(%{level: level, name: name} = row, degraded) when level != :extension,
    do: if(name in degraded, do: nil, else: row)

  defp row(_row, _degraded), do: nil

  defp texts(%{start: start, entries: entries, body: body}),
    do: [start | Enum.map(entries, &text/1)] ++ [body]

  defp text({name, %{shape: :auth}, scheme, params}),
    do: "#{name}: #{scheme} #{Enum.join(params, ", ")}"

  defp text({name, %{shape: :auth_info}, "", params}), do: "#{name}: #{Enum.join(params, ", ")}"
  defp text({name, _row, value, params}), do: "#{name}: #{Enum.join([value | params], ";")}"
end
