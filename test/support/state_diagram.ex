defmodule Sippet.StateDiagram do
  # Draws the four transaction machines for guides/transactions.md, out of the tables of their documentation. States, edges
  # and words come from there; here is only where they are put. An edge without a place raises, and so does a place
  # without an edge. Written anew by
  #
  #     MIX_ENV=test mix run --no-start -e "Sippet.StateDiagram.write!()"

  alias Sippet.MachineTable
  alias Sippet.Transactions.{Client, Server}

  @folder Path.expand("../../guides/assets", __DIR__)

  # Pixels from one line of text to the next.
  @line 16

  # For each state its box: {left, top, width}; for each edge the corners of its line, and where its words begin.
  # `start` says what leads into the first state. `:terminated` is what every machine ends in.
  @layouts %{
    Client.Invite => %{
      file: "invite-client.svg",
      title: "The INVITE client transaction",
      start: {"INVITE from the core: INVITE sent", {130, 40}},
      size: {940, 510},
      boxes: %{
        calling: {240, 60, 200},
        proceeding: {240, 190, 200},
        completed: {20, 340, 210},
        accepted: {690, 340, 200},
        terminated: {320, 462, 150}
      },
      edges: %{
        {:calling, :proceeding} => {[{340, 110}, {340, 190}], {350, 145}},
        {:calling, :completed} => {[{240, 85}, {50, 85}, {50, 340}], {60, 106}},
        {:calling, :accepted} => {[{440, 95}, {850, 95}, {850, 340}], {460, 116}},
        {:calling, :terminated} => {[{440, 75}, {920, 75}, {920, 488}, {470, 488}], {460, 18}},
        {:proceeding, :completed} =>
          {[{260, 240}, {260, 290}, {130, 290}, {130, 340}], {60, 280}},
        {:proceeding, :accepted} => {[{440, 215}, {730, 215}, {730, 340}], {460, 236}},
        {:proceeding, :terminated} => {[{360, 240}, {360, 462}], {370, 290}},
        {:completed, :terminated} => {[{125, 390}, {125, 480}, {320, 480}], {135, 414}},
        {:accepted, :terminated} => {[{790, 390}, {790, 472}, {470, 472}], {730, 420}}
      }
    },
    Client.NonInvite => %{
      file: "non-invite-client.svg",
      title: "The non-INVITE client transaction",
      start: {"request from the core: request sent", {430, 40}},
      size: {940, 510},
      boxes: %{
        trying: {220, 60, 400},
        proceeding: {270, 200, 300},
        completed: {270, 340, 300},
        terminated: {345, 462, 150}
      },
      edges: %{
        {:trying, :proceeding} => {[{420, 110}, {420, 200}], {430, 160}},
        {:trying, :completed} => {[{220, 85}, {50, 85}, {50, 357}, {270, 357}], {60, 106}},
        {:trying, :terminated} => {[{620, 85}, {920, 85}, {920, 488}, {495, 488}], {640, 106}},
        {:proceeding, :completed} => {[{420, 266}, {420, 340}], {430, 308}},
        {:proceeding, :terminated} =>
          {[{570, 225}, {830, 225}, {830, 472}, {495, 472}], {590, 246}},
        {:completed, :terminated} => {[{420, 374}, {420, 462}], {430, 422}}
      }
    },
    Server.Invite => %{
      file: "invite-server.svg",
      title: "The INVITE server transaction",
      start: {"INVITE: to the core", {560, 40}},
      size: {940, 590},
      boxes: %{
        proceeding: {420, 60, 260},
        completed: {40, 250, 250},
        confirmed: {40, 420, 250},
        accepted: {520, 250, 400},
        terminated: {420, 542, 150}
      },
      edges: %{
        {:proceeding, :completed} => {[{420, 100}, {20, 100}, {20, 290}, {40, 290}], {30, 122}},
        {:proceeding, :accepted} => {[{620, 158}, {620, 250}], {630, 196}},
        {:completed, :confirmed} => {[{165, 332}, {165, 420}], {175, 380}},
        {:completed, :terminated} => {[{290, 290}, {480, 290}, {480, 542}], {300, 282}},
        {:confirmed, :terminated} => {[{165, 454}, {165, 559}, {420, 559}], {175, 504}},
        {:accepted, :terminated} => {[{880, 364}, {880, 559}, {570, 559}], {520, 440}},
        {:proceeding, :terminated} => {[{680, 80}, {930, 80}, {930, 568}, {570, 568}], {690, 72}}
      }
    },
    Server.NonInvite => %{
      file: "non-invite-server.svg",
      title: "The non-INVITE server transaction",
      start: {"request: to the core", {400, 40}},
      size: {940, 530},
      boxes: %{
        trying: {260, 60, 260},
        proceeding: {260, 190, 260},
        completed: {260, 360, 260},
        terminated: {315, 482, 150}
      },
      edges: %{
        {:trying, :proceeding} => {[{390, 94}, {390, 190}], {400, 130}},
        {:trying, :completed} => {[{260, 77}, {50, 77}, {50, 393}, {260, 393}], {60, 98}},
        {:trying, :terminated} => {[{520, 77}, {920, 77}, {920, 508}, {465, 508}], {740, 98}},
        {:proceeding, :completed} => {[{390, 272}, {390, 360}], {400, 306}},
        {:proceeding, :terminated} =>
          {[{520, 231}, {830, 231}, {830, 492}, {465, 492}], {640, 222}},
        {:completed, :terminated} => {[{390, 426}, {390, 482}], {400, 458}}
      }
    }
  }

  def write! do
    for machine <- MachineTable.machines(), do: File.write!(path(machine), svg(machine))
    :ok
  end

  def path(machine), do: Path.join(@folder, @layouts[machine].file)

  # What happens in a state, and leads to no other: `%{state => [words]}`; and `%{{from, to} => [words]}`.
  def graph(machine) do
    moves =
      for {event, state, cell} <- MachineTable.rows(machine),
          event != "terminate",
          {to, actions} <- [target(cell)],
          to != nil,
          do: {{state, to}, words(event, actions)}

    {inside, edges} =
      Enum.split_with(moves, fn {{from, to}, _words} -> to == :same or from == to end)

    {group(for {{state, _same}, words} <- inside, do: {state, words}), group(edges)}
  end

  defp group(pairs), do: Enum.group_by(pairs, &elem(&1, 0), &elem(&1, 1))

  # A time that begins to run is an edge of its own in the row of its end.
  defp target("ignored"), do: {nil, []}
  defp target("ends 64·T1 later"), do: {nil, []}

  defp target(cell) do
    {states, actions} = cell |> String.split("; ") |> Enum.split_with(&(state(&1) != nil))

    case states do
      [] -> {:same, actions}
      [name] -> {state(name), actions}
    end
  end

  defp state("ends"), do: :terminated

  defp state(word) when word in ~w(proceeding completed confirmed accepted),
    do: String.to_existing_atom(word)

  defp state(_word), do: nil

  defp words(event, []), do: event

  defp words(event, actions),
    do: "#{event}: #{actions |> Enum.join(", ") |> String.replace("`", "")}"

  def svg(machine) do
    layout = @layouts[machine]
    {inside, edges} = graph(machine)
    [{_event, first, _cell} | _] = MachineTable.rows(machine)
    same!(edges, layout.edges, "edges of #{inspect(machine)}")

    states = Enum.uniq([first | for({_from, to} <- Map.keys(edges), do: to)])
    same!(Map.from_keys(states, nil), layout.boxes, "states of #{inspect(machine)}")

    IO.iodata_to_binary([
      head(layout, states),
      start(layout.start, layout.boxes[first]),
      for {{from, to} = edge, {points, place}} <- sorted(layout.edges) do
        [line("#{from}-#{to}", points), lines(place, edges[edge])]
      end,
      for({state, box} <- sorted(layout.boxes), do: box(state, box, inside[state] || [])),
      "</svg>\n"
    ])
  end

  # The order of a map is a matter of the OTP version.
  defp sorted(map), do: map |> Map.to_list() |> Enum.sort()

  defp same!(found, placed, what) do
    odd = {Map.keys(found) -- Map.keys(placed), Map.keys(placed) -- Map.keys(found)}
    if odd != {[], []}, do: raise("#{what}: without a place, without a row: #{inspect(odd)}")
  end

  defp head(%{size: {width, height}, title: title}, states) do
    """
    <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 #{width} #{height}" width="#{width}" height="#{height}" \
    font-family="sans-serif" font-size="12">
    <title>#{title}</title>
    <desc>States: #{states |> Enum.sort() |> Enum.join(", ")}. Each line leads from a state to the next, and says on which event, and what is done.</desc>
    <defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">\
    <path d="M0 0 8 4 0 8z" fill="#64748b"/></marker></defs>
    <rect width="#{width}" height="#{height}" fill="#fff"/>
    """
  end

  defp start({text, place}, {left, top, width}) do
    x = left + div(width, 2)

    [
      ~s(<circle cx="#{x}" cy="20" r="5" fill="#64748b"/>\n),
      line("start", [{x, 20}, {x, top}]),
      lines(place, [text])
    ]
  end

  defp line(id, points) do
    corners = Enum.map_join(points, " ", fn {x, y} -> "#{x},#{y}" end)

    ~s(<polyline id="#{id}" points="#{corners}" fill="none" stroke="#64748b" ) <>
      ~s[marker-end="url(#a)"/>\n]
  end

  defp lines({x, y}, words) do
    for {text, row} <- Enum.with_index(words),
        do: ~s(<text x="#{x}" y="#{y + row * @line}" fill="#334155">#{escape(text)}</text>\n)
  end

  defp box(state, {x, y, width}, words) do
    height = 34 + length(words) * @line

    [
      ~s(<rect x="#{x}" y="#{y}" width="#{width}" height="#{height}" rx="6" fill="#eef2ff" stroke="#6366f1"/>\n),
      ~s(<text x="#{x + div(width, 2)}" y="#{y + 21}" text-anchor="middle" font-weight="bold" font-size="13">),
      "#{state}</text>\n",
      lines({x + 10, y + 40}, words)
    ]
  end

  defp escape(text), do: text |> String.replace("&", "&amp;") |> String.replace("<", "&lt;")
end
