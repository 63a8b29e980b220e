defmodule Sippet.CallFlow do
  @moduledoc false
  # A call flow: what the stacks of a test sent, beside what a table of an RFC's messages says.
  #
  # The stacks tell of what they send in place of `:telemetry` (Sippet.Interop.Events). Messages are compared one by one
  # within each direction between two parties; across these no order is promised, by UDP or by anybody. A stack tells of a
  # message a moment after it went, so that the order within a direction is what the test itself waits for.

  import ExUnit.Assertions

  alias Sippet.{Message, URI}

  @table Path.expand("../rfc3665/flows.tsv", __DIR__)
  @external_resource @table

  [columns | rows] =
    for line <- @table |> File.read!() |> String.split("\n", trim: true),
        do: String.split(line, "\t")

  @columns Enum.map(columns, &String.to_atom/1)
  @rows for row <- rows, do: @columns |> Enum.zip(row) |> Map.new()
  @judged @columns -- [:flow, :message, :from, :to]

  @doc """
  The messages of a flow as the RFC prints them, in its order.
  """
  @spec printed(String.t()) :: [%{atom => String.t()}]
  def printed(flow), do: Enum.filter(@rows, &(&1.flow == flow))

  @doc """
  Waits until as many messages were sent as the table has, compares them, and sees that no more come.

  `parties` are the addresses by their stacks: `%{stack => {name, {ip, port}}}`.
  """
  @spec assert_flow([%{atom => String.t()}], %{atom => {String.t(), tuple}}) :: :ok
  def assert_flow(expected, parties) do
    names = for {_stack, {name, address}} <- parties, into: %{}, do: {address, name}
    sent = Enum.map(expected, fn _row -> next(parties, names, 10_000) end)

    all = Enum.map_join(sent, "\n", &"#{&1.from} -> #{&1.to}: #{&1.what} (#{&1.cseq})")

    for {link, rows} <- Enum.group_by(expected, &{&1.from, &1.to}) do
      actual = Enum.filter(sent, &({&1.from, &1.to} == link))
      {actual, rows} = {sorted(actual), sorted(rows)}
      assert ladder(actual) == ladder(rows), "#{inspect(link)} differs in\n#{all}"
      for {row, actual} <- Enum.zip(rows, actual), do: same!(row, actual)
    end

    refute_receive {_stack, {:event, [:sippet, :message, :sent], _measurements, _metadata}}, 100
    :ok
  end

  defp sorted(rows), do: Enum.sort_by(rows, &{&1.cseq, &1.what})
  defp ladder(rows), do: for(row <- rows, do: {row.what, row.cseq})

  defp same!(row, actual) do
    for column <- @judged do
      assert actual[column] == row[column],
             "#{row.flow} #{row.message}, #{column}: sent #{actual[column]}, the RFC has #{row[column]}"
    end
  end

  @doc """
  Passes over as many messages as were sent before the flow.
  """
  @spec skip(non_neg_integer) :: :ok
  def skip(count) do
    for _ <- 1..count//1,
        do:
          assert_receive(
            {_stack, {:event, [:sippet, :message, :sent], _measurements, _metadata}},
            5_000
          )

    :ok
  end

  defp next(parties, names, timeout) do
    receive do
      {stack, {:event, [:sippet, :message, :sent], _measurements, metadata}}
      when is_map_key(parties, stack) ->
        {_protocol, host, port} = metadata.remote
        {from, _address} = parties[stack]
        message = metadata.octets |> IO.iodata_to_binary() |> Message.parse!()

        Map.merge(
          %{from: from, to: Map.fetch!(names, {address(host), port})},
          signature(message, names)
        )
    after
      timeout -> flunk("no further message was sent")
    end
  end

  defp address(host) when is_binary(host) do
    {:ok, address} = host |> String.to_charlist() |> :inet.parse_strict_address()
    address
  end

  defp address(host), do: host

  ## What is compared

  defp signature(%Message{headers: headers} = message, names) do
    {number, method} = headers.cseq

    %{
      what: what(message),
      uri: request_uri(message, names),
      via:
        list(headers.via, fn {_version, _protocol, {host, port}, _params} ->
          party(host, port, names)
        end),
      hops: text(headers[:max_forwards]),
      route: list(headers[:route], &address_text(&1, names)),
      record_route: list(headers[:record_route], &address_text(&1, names)),
      contact: contact(headers[:contact], names),
      cseq: "#{number} #{name(method)}",
      to_tag: if(is_map_key(elem(headers.to, 2), "tag"), do: "tag", else: "-"),
      auth: auth(headers),
      body: if(message.body in [nil, ""], do: "-", else: "sdp")
    }
  end

  defp what(%Message{start_line: %{method: method}}), do: name(method)
  defp what(%Message{start_line: %{status_code: status}}), do: Integer.to_string(status)

  defp name(method), do: method |> Atom.to_string() |> String.upcase()

  defp request_uri(%Message{start_line: %{request_uri: uri}}, names), do: uri(uri, names)
  defp request_uri(_response, _names), do: "-"

  defp uri(%URI{scheme: "mailto"}, _names), do: "mailto"
  defp uri(%URI{userinfo: nil} = uri, names), do: party(uri.host, uri.port, names)
  defp uri(%URI{} = uri, names), do: "#{uri.userinfo}@#{party(uri.host, uri.port, names)}"

  # The names of the RFC's domains, and its hosts by their addresses here.
  defp party("ss2.biloxi.example.com", _port, _names), do: "proxy2"
  defp party("biloxi.example.com", _port, _names), do: "biloxi"
  defp party("atlanta.example.com", _port, _names), do: "atlanta"
  defp party(host, port, names), do: Map.get(names, {address(host), port}, "#{host}:#{port}")

  defp address_text({_name, uri, _params}, names), do: uri(uri, names)

  defp contact("*", _names), do: "*"
  defp contact(contacts, names), do: list(contacts, &address_text(&1, names))

  defp auth(headers) do
    list(
      for {header, word} <- [
            www_authenticate: "401",
            authorization: "www",
            proxy_authenticate: "407",
            proxy_authorization: "proxy"
          ],
          {_scheme, params} <- Map.get(headers, header, []) do
        "#{word} #{party(params["realm"], 0, %{})}"
      end,
      & &1
    )
  end

  defp list(nil, _text), do: "-"
  defp list([], _text), do: "-"
  defp list(values, text), do: Enum.map_join(values, ",", text)

  defp text(nil), do: "-"
  defp text(number), do: Integer.to_string(number)
end
