defmodule Sippet.URI.Printer do
  @moduledoc false
  # A URI as text. Its authority stands in the struct twice: as it was written, and in three fields that users change.
  # As long as both say the same it is printed as written; that keeps an explicit default port, which
  # RFC3261§19.1.4 takes for another URI than none. It takes the fields as a map, since Sippet.URI stands above it.

  alias Sippet.Octets

  @doc """
  The URI as iodata; a part that could end the URI or the line raises `ArgumentError`.
  """
  @spec to_iodata(map) :: iodata
  def to_iodata(uri) do
    [scheme(uri.scheme), authority(uri), optional(uri.parameters) | optional(uri.headers)]
  end

  @doc """
  `{userinfo, host, port}` as they are printed: the port is `nil` unless it stands in the text.
  """
  @spec parts(map) :: {binary | nil, binary | nil, :inet.port_number() | nil}
  def parts(uri) do
    case agreement(uri) do
      {:agrees, port} -> {uri.userinfo, uri.host || uri.authority, port}
      :differs -> {uri.userinfo, uri.host, written_port(uri)}
    end
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

  defp optional(nil), do: []
  defp optional(text), do: Octets.uri!(text, "a URI")

  defp authority(uri) do
    case agreement(uri) do
      {:agrees, _port} -> Octets.uri!(uri.authority, "a URI")
      :differs -> built(uri)
    end
  end

  defp built(%{userinfo: nil} = uri), do: [hostport(uri.host) | port(written_port(uri))]

  defp built(uri),
    do: [Octets.uri!(uri.userinfo, "a URI"), ?@, hostport(uri.host) | port(written_port(uri))]

  defp hostport(nil), do: []
  defp hostport(host), do: Octets.host!(host, "the host of a URI")

  defp port(nil), do: []
  defp port(port), do: [?:, Integer.to_string(port)]

  defp written_port(%{port: port}) when port in [nil, 0], do: nil

  defp written_port(%{port: port, scheme: scheme}) do
    if scheme && default_port(scheme) == port, do: nil, else: port
  end

  # Whether the authority says what userinfo, host and port say, and which port stands in it.
  defp agreement(%{authority: nil}), do: :differs
  defp agreement(%{host: nil, userinfo: nil}), do: {:agrees, nil}

  defp agreement(%{authority: authority, userinfo: nil, host: host} = uri)
       when is_binary(authority) and is_binary(host),
       do: agreement(authority, host, uri)

  defp agreement(%{authority: authority, userinfo: userinfo, host: host} = uri)
       when is_binary(authority) and is_binary(host) and is_binary(userinfo) do
    size = byte_size(userinfo)

    case authority do
      <<^userinfo::binary-size(size), ?@, rest::binary>> -> agreement(rest, host, uri)
      _ -> :differs
    end
  end

  defp agreement(_uri), do: :differs

  defp agreement(hostport, host, uri) do
    size = byte_size(host)

    case hostport do
      <<^host::binary-size(size), rest::binary>> -> agreed_port(rest, uri)
      <<?[, ^host::binary-size(size), ?], rest::binary>> -> agreed_port(rest, uri)
      _ -> :differs
    end
  end

  defp agreed_port("", uri) do
    if written_port(uri) == nil, do: {:agrees, nil}, else: :differs
  end

  defp agreed_port(<<?:, digits::binary>>, %{port: port}) do
    case Integer.parse(digits) do
      {^port, ""} -> {:agrees, port}
      _ -> :differs
    end
  end

  defp agreed_port(_rest, _uri), do: :differs
end
