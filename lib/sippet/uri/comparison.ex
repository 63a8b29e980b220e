defmodule Sippet.URI.Comparison do
  @moduledoc false
  # When two URIs are the same: RFC3261§19.1.4 for sip and sips, RFC3966§4 for tel, letter by letter for any other
  # scheme.

  alias Sippet.Address
  alias Sippet.Digits
  alias Sippet.Headers.Table
  alias Sippet.Names
  alias Sippet.Serializer
  alias Sippet.URI.Escape

  # RFC3261§19.1.4 - these never match a URI that leaves them out, even with their default value
  @significant ~w(user ttl method maddr transport)

  @largest_port 65_535

  @doc """
  Whether `a` and `b` are equivalent. `lenient?` takes a default port and a default transport for written.
  """
  @spec equivalent?(map, map, boolean) :: boolean
  def equivalent?(a, b, lenient?) do
    scheme = downcase(a.scheme)
    scheme == downcase(b.scheme) and same?(scheme, a, b, lenient?)
  end

  defp same?(scheme, a, b, lenient?) when scheme in ["sip", "sips"] do
    a_parts = parts(a)
    b_parts = parts(b)

    userinfo(a_parts) == userinfo(b_parts) and host(a_parts) == host(b_parts) and
      port(a_parts, scheme, lenient?) == port(b_parts, scheme, lenient?) and
      parameters?(parameters(a, scheme, lenient?), parameters(b, scheme, lenient?)) and
      headers(a) == headers(b)
  end

  # RFC3966§4 - visual separators and the order of parameters don't count, letter case neither
  defp same?("tel", a, b, _lenient?) do
    number(a) == number(b) and tel_parameters(a) == tel_parameters(b)
  end

  defp same?(_scheme, a, b, _lenient?) do
    {a.authority, a.parameters, a.headers} == {b.authority, b.parameters, b.headers}
  end

  # `{userinfo, host, port}` as they are printed: the port is `nil` unless it stands in the text. What
  # can't be printed is compared by its fields.
  defp parts(%{scheme: scheme, userinfo: userinfo, host: host} = uri) do
    port =
      case Serializer.try_uri(%{uri | parameters: nil, headers: nil}) do
        {:ok, text} -> written_port(text)
        :error -> if(uri.port != Names.scheme_port(scheme), do: uri.port)
      end

    {userinfo, host || uri.authority, port}
  end

  # Of `sip:5060` the digits are the host.
  defp written_port(text) do
    with [_all, digits] <- Regex.run(~r/:.*:(\d+)\z/s, text),
         {:ok, port} <- Digits.parse(digits, @largest_port) do
      port
    else
      _none -> nil
    end
  end

  # RFC3261§19.1.4 - the userinfo is compared with letter case
  defp userinfo({nil, _host, _port}), do: nil
  defp userinfo({userinfo, _host, _port}), do: Escape.normalize(userinfo)

  # RFC5954§4.2 - IPv6 addresses are compared as numbers, not as text
  defp host({_userinfo, host, _port}) do
    with true <- is_binary(host) and String.contains?(host, ":"),
         {:ok, address} <- Address.parse(host) do
      address
    else
      _ -> downcase(host)
    end
  end

  defp port({_userinfo, _host, nil}, scheme, true), do: Names.scheme_port(scheme)
  defp port({_userinfo, _host, port}, _scheme, _lenient?), do: port

  defp parameters(uri, scheme, lenient?) do
    parameters = Map.new(pairs(uri.parameters, ";"))
    if lenient?, do: Map.put_new(parameters, "transport", transport(scheme)), else: parameters
  end

  # RFC3261§19.1.2
  defp transport(scheme), do: scheme |> Names.scheme_protocol() |> Atom.to_string()

  defp parameters?(a, b), do: covered?(a, b) and covered?(b, a)

  # RFC3261§19.1.4 - a parameter in both must match; most that are in one alone are ignored
  defp covered?(a, b) do
    Enum.all?(a, fn {name, value} ->
      case b do
        %{^name => other} -> value == other
        %{} -> name not in @significant
      end
    end)
  end

  # RFC3261§19.1.4 - header components are never ignored; their order is
  defp headers(uri) do
    for {name, value} <- Enum.sort(pairs(uri.headers, "&")), do: {full_name(name), value}
  end

  defp full_name(name) do
    case Table.find(name) do
      nil -> name
      row -> row.name
    end
  end

  defp pairs(text, _separator) when text in [nil, ""], do: []

  defp pairs(<<_first, text::binary>>, separator),
    do: Escape.pairs(text, separator, &comparable/1)

  defp comparable(text), do: text |> Escape.normalize() |> downcase()

  defp number(uri) do
    for <<c <- downcase(uri.authority || "")>>, c not in [?-, ?., ?(, ?)], into: <<>>, do: <<c>>
  end

  defp tel_parameters(uri), do: uri.parameters |> pairs(";") |> Enum.sort()

  defp downcase(nil), do: nil
  defp downcase(text), do: String.downcase(text, :ascii)
end
