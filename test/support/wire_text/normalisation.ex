defmodule Sippet.WireText.Normalisation do
  @moduledoc false
  # The differences there may be between a message as it came and the message printed, each a named function.

  alias Sippet.Headers.Table
  alias Sippet.WireText.Cut

  @all [
    header_names: "compact forms and letter case give way to the registered name",
    content_length: "Content-Length is there, and is that of the body; nothing follows the body",
    list_lines: "the values of a list may stand on one line or on several",
    empty_elements: "an empty element of a list goes, and so does a list that has no other",
    blanks: "no blanks around separators, one between words, none at the end of a line",
    empty_parameters:
      "an empty parameter goes; one without a value has no =, and no tag or branch is empty",
    brackets: "a URI stands between < and >, that of a route with its parameters",
    display_names: "a display name stands in quotes; an empty one is left out",
    parameter_names: "names of parameters are in lower case",
    repeated_parameters: "of a parameter that stands twice the last one stays",
    parameter_quotes: "what reads the same without quotes has none, and an empty value no =",
    auth_commas: "a comma parts the parameters of credentials and challenges, where blanks did",
    auth_quotes:
      "quotes in credentials and challenges stand where RFC7616§3.3 and §3.4 want them",
    via: "SIP and transports in upper case, their default port, no brackets in received",
    numbers: "no leading zeros",
    dates: "a day has two digits, and the zone is GMT",
    media_types: "media types are in lower case",
    parameter_order: "parameters in any order",
    header_order: "headers in any order"
  ]

  # RFC3261§18, §26.2.1 - the ports that a Via without one means.
  @ports %{"UDP" => 5060, "TCP" => 5060, "SCTP" => 5060, "TLS" => 5061}
  @transports ~w(UDP TCP TLS SCTP WS WSS)

  # RFC7616§3.3, §3.4, §3.5 - what stands without quotes, or does so in the examples (§3.9): all else has them.
  @bare_in_challenges ~w(algorithm charset stale userhash)
  @bare_in_credentials ~w(algorithm nc qop userhash)
  @bare_in_info ~w(nc qop)
  @challenges ~w(WWW-Authenticate Proxy-Authenticate)

  # RFC2045§5.1 - in these what is no token stands in quotes.
  @mime ~w(Content-Type Content-Disposition Accept)

  @doc """
  The names, and what each allows.
  """
  @spec all() :: keyword(String.t())
  def all, do: @all

  @doc """
  What a message as it came is when printed, with its headers sorted by name, and what that took.
  """
  @spec came(map) :: {map, [atom]}
  def came(message) do
    named = message |> header_names() |> content_length()
    listed = values(named, &Cut.list(&1, ","))
    full = empty_elements(listed)
    cut = each(full, &Cut.params(&1, ","))
    begun = if full == listed, do: [], else: [:empty_elements]

    {normal, used} =
      Enum.reduce(steps(), {cut, begun ++ names(message, named)}, fn {name, step},
                                                                     {before, used} ->
        normal = each(before, step)
        {normal, if(normal == before, do: used, else: [name | used])}
      end)

    {sorted(normal), used}
  end

  @doc """
  A printed message in the same form, where no one form is the right one: quotes around tokens, and order.
  """
  @spec printed(map) :: map
  def printed(message) do
    message
    |> values(&Cut.list(&1, ", "))
    |> each(&Cut.params(&1, ", "))
    |> each(&parameter_quotes/1)
    |> each(&parameter_order/1)
    |> sorted()
  end

  @doc """
  How the lines of the two differ, the values of each header being the same.
  """
  @spec layout(map, map) :: [atom]
  def layout(came, printed) do
    [came, printed] =
      for message <- [came, printed], do: message |> header_names() |> entry_names()

    order = Enum.uniq(came) -- ["Content-Length"] != Enum.uniq(printed) -- ["Content-Length"]
    counts = Map.delete(Enum.frequencies(came), "Content-Length")
    lines = counts != Map.delete(Enum.frequencies(printed), "Content-Length")
    for {name, true} <- [header_order: order, list_lines: lines], do: name
  end

  defp names(message, named) do
    for {name, true} <- [
          header_names:
            entry_names(message) != Enum.take(entry_names(named), length(message.entries)),
          content_length:
            length(named.entries) > length(message.entries) or named.body != message.body
        ],
        do: name
  end

  defp entry_names(message), do: for({name, _, _, _} <- message.entries, do: name)

  defp steps do
    [
      blanks: &blanks/1,
      auth_commas: &auth_commas/1,
      empty_parameters: &empty_parameters/1,
      brackets: &brackets/1,
      display_names: &display_names/1,
      parameter_names: &parameter_names/1,
      repeated_parameters: &repeated_parameters/1,
      parameter_quotes: &parameter_quotes/1,
      auth_quotes: &auth_quotes/1,
      via: &via/1,
      numbers: &numbers/1,
      dates: &dates/1,
      media_types: &media_types/1,
      parameter_order: &parameter_order/1
    ]
  end

  defp sorted(message), do: %{message | entries: Enum.sort_by(message.entries, &elem(&1, 0))}
  defp each(message, step), do: %{message | entries: Enum.map(message.entries, step)}
  defp values(message, step), do: %{message | entries: Enum.flat_map(message.entries, step)}

  # Lines whose unlisted names differ in letter case only join under the spelling of the first.
  defp header_names(message) do
    {entries, _spellings} =
      Enum.map_reduce(message.entries, %{}, fn {name, row, value, params}, spellings ->
        spellings = Map.put_new(spellings, String.downcase(name), registered(name))
        {{spellings[String.downcase(name)], row, value, params}, spellings}
      end)

    %{message | entries: entries}
  end

  defp registered(name) do
    case Table.find(name) do
      %{name: name} -> name
      nil -> name |> String.split("-") |> Enum.map_join("-", &capital/1)
    end
  end

  defp capital(<<first::binary-size(1), rest::binary>>), do: String.upcase(first) <> rest
  defp capital(""), do: ""

  # RFC3261§18.3 - octets beyond Content-Length are no part of the message.
  defp content_length(%{entries: entries, body: body} = message) do
    case List.keyfind(entries, "Content-Length", 0) do
      {_name, _row, length, _params} ->
        length = length |> String.trim() |> String.to_integer()
        %{message | body: binary_part(body, 0, length)}

      nil ->
        length = {"Content-Length", nil, Integer.to_string(byte_size(body)), []}
        %{message | entries: entries ++ [length]}
    end
  end

  # RFC3261§25.1 has no empty element. Where a list may be empty, one that holds nothing else is.
  defp empty_elements(%{entries: entries} = message) do
    {empty, others} = Enum.split_with(entries, &empty?/1)
    names = for {name, _row, _value, _params} <- others, do: name

    kept = for {name, %{repeat: :list0}, _, _} = entry <- empty, name not in names, do: entry

    if length(empty) == length(kept) and Enum.uniq(kept) == kept,
      do: message,
      else: %{message | entries: others ++ Enum.uniq_by(kept, &elem(&1, 0))}
  end

  defp empty?({_name, %{repeat: repeat}, value, []}) when repeat in [:list, :list0],
    do: String.trim(value) == ""

  defp empty?(_entry), do: false

  defp blanks({name, nil, value, []}), do: {name, nil, String.trim(value, " "), []}

  defp blanks({name, row, value, params}) do
    value = words(row.shape, String.trim(value))
    {name, row, value, Enum.map(params, &param_blanks/1)}
  end

  defp words(shape, value) when shape in [:via, :media] do
    value
    |> String.replace(~r/\s*\/\s*/, "/")
    |> String.replace(~r/\s*:\s*/, ":")
    |> String.replace(~r/\s+/, " ")
  end

  defp words(:cseq, value), do: String.replace(value, ~r/\s+/, " ")
  defp words(_shape, value), do: value

  defp param_blanks(param) do
    param |> String.split("=", parts: 2) |> Enum.map_join("=", &String.trim/1)
  end

  # RFC3261§25.1 - auth-params are parted by commas. A blank may stand beside an equals sign, too.
  defp auth_commas({name, %{shape: :auth} = row, scheme, params}) do
    {name, row, scheme,
     Enum.flat_map(params, fn param ->
       pieces = param |> Cut.pieces(" ") |> Enum.reject(&(&1 == ""))
       if Enum.all?(pieces, &(&1 =~ ~r/^[^="]+=./)), do: pieces, else: [param]
     end)}
  end

  defp auth_commas(entry), do: entry

  defp empty_parameters({_name, nil, _value, []} = entry), do: entry

  defp empty_parameters({name, %{shape: shape} = row, value, params})
       when shape in [:auth, :auth_info],
       do: {name, row, value, Enum.reject(params, &(&1 == ""))}

  defp empty_parameters({name, row, value, params}) do
    params = for param <- params, param != "", do: String.replace(param, ~r/\A([^="]+)=\z/, "\\1")
    {name, row, value, Enum.reject(params, &(&1 =~ ~r/\A(tag|branch)\z/i))}
  end

  # RFC3261§20.30, §20.34 - a route has brackets; without them its parameters are the URI's all the same.
  defp brackets({name, %{shape: :route} = row, value, [_ | _] = params} = entry) do
    if String.ends_with?(value, ">"),
      do: entry,
      else: {name, row, "<#{Enum.join([value | params], ";")}>", []}
  end

  # RFC3261§20.10 - without them the parameters are the header's, and so they are behind them.
  defp brackets({name, %{shape: shape} = row, value, params})
       when shape in [:address, :route, :contact, :uri_params] do
    if value == "*" or String.ends_with?(value, ">"),
      do: {name, row, value, params},
      else: {name, row, "<#{value}>", params}
  end

  defp brackets(entry), do: entry

  defp display_names({name, %{shape: shape} = row, value, params})
       when shape in [:address, :route, :contact] and value != "*" do
    # A quoted string as the value of a URI parameter may have brackets of its own.
    [_, display, uri] = Regex.run(~r/^("(?:[^"\\]|\\.)*"|[^<"]*?)\s*(<.*>)$/s, value)
    {name, row, displayed(display, uri), params}
  end

  defp display_names(entry), do: entry

  defp displayed(display, uri) do
    case unquoted(display) do
      "" -> uri
      text -> "#{quoted(text)} #{uri}"
    end
  end

  defp parameter_names({name, row, value, params}),
    do: {name, row, value, Enum.map(params, &named(&1, fn _name, value -> value end))}

  # RFC3261§7.3.1 - a parameter stands once; which of two counts is every reader's choice, and most take the last.
  defp repeated_parameters({name, row, value, params}) do
    once = params |> Enum.reverse() |> Enum.uniq_by(&hd(String.split(&1, "=", parts: 2)))

    {name, row, value, Enum.reverse(once)}
  end

  defp parameter_quotes({_, %{shape: shape}, _, _} = entry) when shape in [:auth, :auth_info],
    do: entry

  defp parameter_quotes({name, row, value, params}) do
    {name, row, value,
     Enum.map(params, fn param ->
       case String.split(param, "=", parts: 2) do
         [param, <<?", _::binary>> = text] -> requoted(name, param, unquoted(text))
         _bare -> param
       end
     end)}
  end

  defp requoted(_header, name, ""), do: name

  defp requoted(header, name, text) do
    bare? = if header in @mime, do: token?(text), else: bare?(text)
    if bare?, do: "#{name}=#{text}", else: "#{name}=#{quoted(text)}"
  end

  defp auth_quotes({header, %{shape: shape} = row, scheme, params})
       when shape in [:auth, :auth_info] do
    {header, row, scheme,
     Enum.map(params, &named(&1, fn name, value -> auth_value(header, name, value) end))}
  end

  defp auth_quotes(entry), do: entry

  defp auth_value(header, name, value) do
    text = unquoted(value)
    if name in bare(header) and bare?(text), do: text, else: quoted(text)
  end

  defp bare(header) when header in @challenges, do: @bare_in_challenges
  defp bare("Authentication-Info"), do: @bare_in_info
  defp bare(_credentials), do: @bare_in_credentials

  defp via({name, %{shape: :via} = row, value, params}) do
    [_, version, transport, sent_by] = Regex.run(~r|^(.*)/(.*?) (.*)$|, value)
    known = String.upcase(transport)
    transport = if known in @transports, do: known, else: transport
    value = "#{String.upcase(version)}/#{transport} #{with_port(sent_by, @ports[transport])}"

    {name, row, value,
     Enum.map(params, &String.replace(&1, ~r/^(received|maddr)=\[(.*)\]$/, "\\1=\\2"))}
  end

  defp via(entry), do: entry

  defp with_port(sent_by, nil), do: sent_by

  defp with_port(sent_by, port),
    do: if(sent_by =~ ~r/:\d+$/, do: sent_by, else: "#{sent_by}:#{port}")

  defp numbers({name, %{shape: shape} = row, value, params})
       when shape in [:cseq, :integer, :max_forwards],
       do: {name, row, String.replace(value, ~r/^0+(?=\d)/, ""), params}

  defp numbers(entry), do: entry

  defp dates({name, %{shape: :date} = row, value, []}) do
    value =
      value
      |> String.replace(~r/, (\d) /, ", 0\\1 ")
      |> String.replace(~r/ UTC\z/, " GMT")

    {name, row, value, []}
  end

  defp dates(entry), do: entry

  defp media_types({name, %{shape: :media} = row, value, params}),
    do: {name, row, String.downcase(value), params}

  defp media_types(entry), do: entry

  defp parameter_order({name, row, value, params}), do: {name, row, value, Enum.sort(params)}

  # The parameter with its name in lower case and the value that `change` makes of both.
  defp named(param, change) do
    case String.split(param, "=", parts: 2) do
      [name] -> String.downcase(name)
      [name, value] -> "#{String.downcase(name)}=#{change.(String.downcase(name), value)}"
    end
  end

  defp token?(text), do: text =~ ~r/\A[a-zA-Z0-9.!%*_+`'~-]+\z/

  # What no separator of any header and no quote is in.
  defp bare?(text), do: text =~ ~r/\A[^\x00-\x20\x7f",;<>\\]+\z/

  defp unquoted(<<?", rest::binary>>) do
    text = binary_part(rest, 0, byte_size(rest) - 1)
    String.replace(text, ~r/\\(.)/s, "\\1")
  end

  defp unquoted(text), do: text

  # RFC3261§25.1 - qdtext and quoted-pair
  defp quoted(text),
    do: "\"#{String.replace(text, ~r/["\\\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/, "\\\\\\0")}\""
end
