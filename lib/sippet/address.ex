defmodule Sippet.Address do
  @moduledoc false
  # The addresses of hosts, as text and as tuples. The text may be the network's: any octets, and
  # as many as it likes.

  # Octets of the longest text that is an address: RFC 4291 §2.2 has 45 with an IPv4 part, then
  # the name of an interface.
  @longest 64

  # RFC1035§2.3.4 - 255 octets on the wire, where each label has one more for its length, and the last is the root's
  @longest_name 253

  @doc """
  Returns the address that the text is. IPv6 may stand in brackets, as in a URI.
  """
  @spec parse(binary) :: {:ok, :inet.ip_address()} | :error
  def parse(text) when byte_size(text) <= @longest do
    case ipv4(text) do
      {:ok, _address} = found -> found
      :error -> other(text)
    end
  end

  def parse(_longer), do: :error

  # The usual form, in each message several times.
  defp ipv4(<<digit, _rest::binary>> = text) when digit in ?0..?9, do: ipv4(text, 0, 0, [])
  defp ipv4(_text), do: :error

  # No leading zero: some take it for octal.
  defp ipv4(<<digit, rest::binary>>, number, length, octets)
       when digit in ?0..?9 and length < 3 and (number > 0 or length == 0),
       do: ipv4(rest, 10 * number + digit - ?0, length + 1, octets)

  defp ipv4(<<?., rest::binary>>, octet, length, octets) when length > 0 and octet <= 255,
    do: ipv4(rest, 0, 0, [octet | octets])

  defp ipv4(<<>>, d, length, [c, b, a]) when length > 0 and d <= 255, do: {:ok, {a, b, c, d}}
  defp ipv4(_other, _number, _length, _octets), do: :error

  defp other(text) do
    case bare(text) do
      {:ipv6, bare} -> strict(bare, &:inet.parse_ipv6strict_address/1)
      :any -> strict(text, &:inet.parse_strict_address/1)
    end
  end

  defp bare("[" <> rest) do
    case :binary.split(rest, "]") do
      [bare, ""] -> {:ipv6, bare}
      _unbalanced -> {:ipv6, ""}
    end
  end

  defp bare(_text), do: :any

  # Octets, and not characters: text that is no UTF-8 is no address either.
  defp strict(text, parse) do
    case text |> :binary.bin_to_list() |> parse.() do
      {:ok, address} -> {:ok, address}
      {:error, :einval} -> :error
    end
  end

  @doc """
  Returns the text of an address, IPv6 without brackets.
  """
  @spec to_text(:inet.ip_address()) :: String.t()
  def to_text(address), do: address |> :inet.ntoa() |> List.to_string()

  @doc """
  Returns the text of an address as it stands before a port, IPv6 in brackets.
  """
  @spec to_host(:inet.ip_address()) :: String.t()
  def to_host(address) when tuple_size(address) == 8, do: "[" <> to_text(address) <> "]"
  def to_host(address), do: to_text(address)

  @doc """
  Returns the host that the text names: an address, IPv6 without its brackets, or a name of
  letters, digits, `-`, `.` and `_`.
  """
  @spec host(binary) :: {:ok, String.t()} | :error
  def host(text) when byte_size(text) in 1..@longest_name do
    cond do
      name?(text) -> {:ok, text}
      parse(text) == :error -> :error
      true -> {:ok, text |> String.trim_leading("[") |> String.trim_trailing("]")}
    end
  end

  def host(_other), do: :error

  defp name?(<<>>), do: true

  defp name?(<<octet, rest::binary>>)
       when octet in ?a..?z or octet in ?A..?Z or octet in ?0..?9 or octet in [?-, ?., ?_],
       do: name?(rest)

  defp name?(_text), do: false

  @doc """
  Whether an option names a local address: text, with a family or without, or a tuple.
  """
  @spec local?(term) :: boolean
  def local?({address, family}), do: is_binary(address) and family in [:inet, :inet6]
  def local?(address), do: is_binary(address) or :inet.is_ip_address(address)

  @doc """
  The family and the address that such an option names. A name is looked up; raises `ArgumentError` where it is not found.
  """
  @spec local!(term) :: {:inet | :inet6, :inet.ip_address()}
  def local!({address, family}) when is_binary(address) do
    case :inet.getaddr(String.to_charlist(address), family) do
      {:ok, ip} ->
        {family, ip}

      {:error, reason} ->
        raise ArgumentError,
              ":address contains an invalid IP or DNS name, got: #{inspect(reason)}"
    end
  end

  def local!(address) when is_tuple(address),
    do: {if(tuple_size(address) == 4, do: :inet, else: :inet6), address}

  def local!(address) do
    case parse(address) do
      {:ok, ip} when tuple_size(ip) == 8 -> {:inet6, ip}
      _name_or_ipv4 -> local!({address, :inet})
    end
  end
end
