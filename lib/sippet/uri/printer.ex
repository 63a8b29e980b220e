defmodule Sippet.URI.Printer do
  @moduledoc false
  # A URI as text. Its authority stands in the struct twice: as it was written, and in three fields that users change.
  # As long as both say the same it is printed as written; that keeps an explicit default port, which
  # RFC3261§19.1.4 takes for another URI than none. It takes the fields as a map, since Sippet.URI stands above it.

  alias Sippet.Octets
  alias Sippet.URI.Escape

  @doc """
  The URI as iodata; a part that could end the URI or the line raises `ArgumentError`.
  """
  @spec to_iodata(map) :: iodata
  def to_iodata(%{parameters: parameters, headers: headers} = uri) do
    {authority, _port} = authority(uri)
    [scheme(uri.scheme), authority, optional(parameters, ?;) | optional(headers, ??)]
  end

  @doc """
  `{userinfo, host, port}` as they are printed: the port is `nil` unless it stands in the text.
  """
  @spec parts(map) :: {binary | nil, binary | nil, :inet.port_number() | nil}
  def parts(%{userinfo: userinfo, host: host} = uri) do
    {_authority, port} = authority(uri)
    {userinfo, host || uri.authority, port}
  end

  @doc """
  The default port of a scheme, or `nil`.
  """
  @spec default_port(String.t()) :: nil | :inet.port_number()
  def default_port("sip"), do: 5060
  def default_port("sips"), do: 5061
  def default_port(scheme) when is_binary(scheme), do: nil

  defp scheme("sip"), do: "sip:"
  defp scheme("sips"), do: "sips:"
  defp scheme(nil), do: []
  defp scheme(scheme), do: [Octets.token!(scheme, "the scheme of a URI"), ?:]

  # Without what leads it in, a component would be read as a part of the one before it.
  defp optional(text, _lead) when text in [nil, ""], do: []
  defp optional(<<lead, _rest::binary>> = text, lead), do: Octets.uri!(text, "a URI")

  defp optional(text, lead) do
    raise ArgumentError,
          "cannot print a URI: expected text that starts with #{<<lead>>}, got: #{inspect(text)}"
  end

  # The authority as it is printed, and the port that stands in it.
  defp authority(%{
         authority: authority,
         userinfo: userinfo,
         host: host,
         port: port,
         scheme: scheme
       }) do
    ports = {port, written_port(port, scheme)}

    case agreed(authority, userinfo, host, ports) do
      :differs -> {built(userinfo, host, elem(ports, 1)), elem(ports, 1)}
      written -> {Octets.uri!(authority, "a URI"), written}
    end
  end

  defp built(nil, host, port), do: [hostport(host) | port(port)]

  defp built(userinfo, host, port),
    do: [userinfo!(userinfo), ?@ | built(nil, host, port)]

  # RFC3261§19.1.1 - neither empty nor without a user; §19.1.2 - what may not stand there is escaped, or the URI would be
  # read as another
  defp userinfo!(<<first, _rest::binary>> = userinfo) when first != ?: do
    if Escape.escaped?(userinfo, &Escape.userinfo?/1),
      do: userinfo,
      else: refuse!(userinfo)
  end

  defp userinfo!(userinfo), do: refuse!(userinfo)

  defp refuse!(userinfo) do
    raise ArgumentError,
          "cannot print a URI: expected a userinfo with its escapes, got: #{inspect(userinfo)}"
  end

  defp hostport(nil), do: []
  defp hostport(host), do: Octets.host!(host, "the host of a URI")

  defp port(nil), do: []
  defp port(port), do: [?:, Integer.to_string(port)]

  # The port as it is printed where there is no authority to go by.
  defp written_port(5060, "sip"), do: nil
  defp written_port(5061, "sips"), do: nil
  defp written_port(0, _scheme), do: nil
  defp written_port(port, _scheme), do: port

  # The port that stands in the authority, if it says what userinfo, host and port say; else :differs.
  defp agreed(nil, _userinfo, _host, _ports), do: :differs
  defp agreed(_authority, nil, nil, _ports), do: nil

  defp agreed(<<?[, authority::binary>>, nil, host, ports) when is_binary(host) do
    case behind(authority, host) do
      <<?], rest::binary>> -> agreed_port(rest, ports)
      _ -> :differs
    end
  end

  defp agreed(authority, nil, host, ports) when is_binary(authority) and is_binary(host),
    do: agreed_port(behind(authority, host), ports)

  defp agreed(authority, userinfo, host, ports)
       when is_binary(authority) and is_binary(userinfo) and is_binary(host) do
    case behind(authority, userinfo) do
      <<?@, rest::binary>> -> agreed(rest, nil, host, ports)
      _ -> :differs
    end
  end

  defp agreed(_authority, _userinfo, _host, _ports), do: :differs

  # What follows the prefix, if the text begins with it.
  defp behind(text, prefix) do
    size = byte_size(prefix)

    if byte_size(text) >= size and binary_part(text, 0, size) == prefix,
      do: binary_part(text, size, byte_size(text) - size)
  end

  defp agreed_port("", {_port, nil}), do: nil
  defp agreed_port(":5060", {5060, _written}), do: 5060

  defp agreed_port(<<?:, digits::binary>>, {port, _written}) do
    case Integer.parse(digits) do
      {^port, ""} -> port
      _ -> :differs
    end
  end

  defp agreed_port(_rest, _ports), do: :differs
end
