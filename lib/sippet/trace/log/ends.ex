defmodule Sippet.Trace.Log.Ends do
  @moduledoc false
  # Makes entries of what a log holds. Of messages that nobody wrote addresses to, the ends are guessed: a request comes from
  # its topmost Via and goes to its first Route or its Request-URI, and a response goes the way of its request back.

  alias Sippet.{Message, URI}
  alias Sippet.Message.RequestLine
  alias Sippet.Trace.{Address, Entry}

  @nobody {"?", nil}

  @type found ::
          {time :: integer | nil, Entry.address() | nil, Entry.address() | nil,
           Message.protocol(), binary}

  @spec guess([found]) :: [Entry.t()]
  def guess(found) do
    {entries, _ways} = Enum.map_reduce(found, %{}, &entry/2)
    entries
  end

  defp entry({time, nil, nil, protocol, octets}, ways) do
    {{source, destination}, ways} =
      case Message.parse(octets) do
        {:ok, message} -> ends(message, ways)
        {:error, _error} -> {{@nobody, @nobody}, ways}
      end

    {Entry.new(time, source, destination, octets, protocol), ways}
  end

  defp entry({time, source, destination, protocol, octets}, ways),
    do: {Entry.new(time, source, destination, octets, protocol), ways}

  defp ends(%Message{start_line: %RequestLine{} = line, headers: headers}, ways) do
    {branch, source} = via(headers)
    way = {source, destination(headers, line.request_uri)}
    {way, Map.put(ways, branch, way)}
  end

  defp ends(%Message{headers: headers}, ways) do
    {branch, destination} = via(headers)

    case ways do
      %{^branch => {source, destination}} -> {{destination, source}, ways}
      _unknown -> {{@nobody, destination}, ways}
    end
  end

  defp via(%{via: [{_version, _protocol, {host, port}, params} | _]}),
    do: {params["branch"], {Address.host(host), port(port)}}

  defp via(_headers), do: {nil, @nobody}

  defp destination(%{route: [{_name, %URI{} = uri, _params} | _]}, _request_uri),
    do: uri_address(uri)

  defp destination(_headers, request_uri), do: uri_address(request_uri)

  defp uri_address(%URI{host: host, port: port}) when is_binary(host) and host != "",
    do: {Address.host(host), port(port)}

  defp uri_address(_other), do: @nobody

  # RFC3261§18.1.1, §19.1.2 - the default where none is written
  defp port(port) when port in 1..65_535, do: port
  defp port(_none), do: URI.default_port("sip")
end
