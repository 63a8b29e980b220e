defmodule Sippet.Trace.HTML do
  @moduledoc false
  # Calls as a page of one file: the picture of each, and beside it the whole text of the message that was clicked on. It
  # has no script, and tells the browser that it needs none, so that no message can bring one.

  alias Sippet.Trace.{Entry, Layout, SVG, Text}

  @style """
  :root{color-scheme:light dark}
  body{margin:0;font:14px ui-sans-serif,system-ui,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;background:#fff;color:#1e293b}
  main{display:grid;grid-template-columns:minmax(0,auto) minmax(24rem,1fr);gap:1.5rem;padding:1.5rem}
  h1{font-size:1.1rem;margin:0 0 .25rem}p{margin:0 0 1rem;color:#64748b}
  .charts{overflow-x:auto}svg{display:block;margin-bottom:1.5rem}a{cursor:pointer}
  .messages{position:sticky;top:1.5rem;align-self:start;max-height:calc(100vh - 3rem);overflow:auto}
  article{display:none;scroll-margin-top:1.5rem;border:1px solid #cbd5e1;border-radius:8px;padding:1rem}article:target{display:block}
  .messages:has(:target)>p{display:none}
  article h2{font-size:1rem;margin:0 0 .5rem}dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem .75rem;margin:0 0 .75rem}
  dt{color:#64748b}dd{margin:0;overflow-wrap:anywhere}
  pre{margin:0;padding:.75rem;border-radius:6px;background:#f1f5f9;font:12px/1.5 ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace;white-space:pre-wrap;overflow-wrap:anywhere}
  @media (max-width:70rem){main{grid-template-columns:minmax(0,1fr)}.messages{position:static;max-height:none}}
  @media (prefers-color-scheme:dark){body{background:#0f172a;color:#e2e8f0}article{border-color:#334155}pre{background:#1e293b}p,dt{color:#94a3b8}}
  """

  @spec draw([Layout.t()]) :: iodata
  def draw(layouts) do
    numbered = Enum.with_index(layouts, 1)

    [
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n",
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n",
      "<meta name=\"viewport\" content=\"width=device-width\">\n<title>SIP calls</title>\n",
      [
        "<style>\n",
        @style,
        SVG.style(),
        "</style>\n</head>\n<body>\n<main>\n<div class=\"charts\">\n"
      ],
      ["<h1>SIP calls</h1>\n<p>", summary(layouts), "</p>\n"],
      for({layout, call} <- numbered, do: SVG.call(layout, &id(call, &1))),
      "</div>\n<div class=\"messages\">\n<p>Click on a message to read it.</p>\n",
      for({layout, call} <- numbered, do: articles(layout, call)),
      "</div>\n</main>\n</body>\n</html>\n"
    ]
  end

  defp summary(layouts) do
    messages = layouts |> Enum.map(&length(&1.arrows)) |> Enum.sum()
    "#{count(length(layouts), "call")}, #{count(messages, "message")}"
  end

  defp count(1, what), do: "1 #{what}"
  defp count(number, what), do: "#{number} #{what}s"

  defp id(call, index), do: "m#{call}-#{index + 1}"

  defp articles(layout, call) do
    for {arrow, index} <- Enum.with_index(layout.arrows),
        do: article(arrow, id(call, index))
  end

  defp article(arrow, id) do
    [
      ["<article id=\"", id, "\">\n<h2>", Text.markup(arrow.label), "</h2>\n<dl>"],
      for(
        {name, value} <- facts(arrow),
        do: ["<dt>", name, "</dt><dd>", Text.markup(value), "</dd>"]
      ),
      [
        "</dl>\n<pre>",
        arrow.entry.octets |> Text.lines() |> Text.markup(),
        "</pre>\n</article>\n"
      ]
    ]
  end

  defp facts(%{entry: %Entry{} = entry} = arrow) do
    [
      {"From", arrow.source},
      {"To", arrow.destination},
      {"Time", entry.time && "#{Text.time(entry.time)} (#{Text.offset(arrow.at)} s)"},
      {"Protocol", entry.protocol |> to_string() |> String.upcase() |> Text.printable()},
      {"Octets", Integer.to_string(byte_size(entry.octets))},
      {"CSeq", arrow.cseq},
      {"Call-ID", arrow.leg && Text.printable(entry.call_id)},
      {"Sent again", if(arrow.repeat > 0, do: "for the #{arrow.repeat}. time")},
      {"Not read", entry.error && Text.printable(Exception.message(entry.error))}
    ]
    |> Enum.filter(fn {_name, value} -> value end)
  end
end
