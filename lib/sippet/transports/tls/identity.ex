defmodule Sippet.Transports.TLS.Identity do
  @moduledoc false
  # The SIP domains that a certificate stands for (RFC 5922 §7.1), and how they are compared (§7.2). Whether the
  # certificate itself is good has been decided before.
  #
  # RFC 5922 is about domains. Where a number is dialled, the number is the reference: it may stand as the host of a SIP
  # URI, or as an iPAddress (RFC 9525 §6.5), which counts where a DNS name would. It is never found in a DNS name or a CN.

  import Kernel, except: [match?: 2]

  alias Sippet.{Address, URI}

  @typedoc "A certificate as DER, or as OTP decodes it"
  @type certificate :: :public_key.der_encoded() | tuple

  # Of a certificate with more, the first ones count: what is kept for each connection has a bound.
  @most 100

  # RFC1035§2.3.4 - no name is longer
  @longest 255

  @subject_alt_name {2, 5, 29, 17}
  @ext_key_usage {2, 5, 29, 37}
  @common_name {2, 5, 4, 3}

  @doc """
  Returns the SIP domain identities of a certificate: at most 100 names of at most 255 bytes, in lower
  case, each once. A wildcard stays as it is written, and matches nothing but itself.
  """
  @spec of(certificate) :: [String.t()]
  def of(certificate) do
    {subject, extensions} = parts(certificate)

    case List.keyfind(extensions, @subject_alt_name, 1) do
      {_tag, _oid, _critical, names} -> alternative(names, &dns_name/1)
      # RFC5922§7.1 - the CN counts only where there is no subjectAltName at all
      nil -> for({@common_name, value} <- subject, do: common_name(value)) |> bounded()
    end
  end

  @doc """
  Returns whether one of the identities is the domain, compared as RFC 5922 §7.2 says.

      iex> Sippet.Transports.TLS.Identity.match?(["biloxi.com"], "Biloxi.COM")
      true
      iex> Sippet.Transports.TLS.Identity.match?(["biloxi.com", "*.biloxi.com"], "sip.biloxi.com")
      false

  """
  @spec match?([String.t()], String.t()) :: boolean
  def match?(identities, domain), do: canonical(domain) in identities

  @doc """
  Returns whether a certificate stands for the host that was dialled, a domain or an IP address (RFC 5922 §7.3).
  """
  @spec authenticates?(certificate, String.t()) :: boolean
  def authenticates?(certificate, host) do
    identities = if address?(host), do: numeric(certificate), else: of(certificate)
    match?(identities, host)
  end

  @doc """
  Returns whether the text is an IP address, and so no name for DNS or SNI. IPv6 may stand in brackets.
  """
  @spec address?(String.t()) :: boolean
  def address?(host), do: Address.parse(host) != :error

  @doc """
  Returns a host as it is compared: in lower case, without the dot of the root; an address in its shortest form.
  """
  @spec canonical(String.t()) :: String.t()
  def canonical(host) do
    case Address.parse(host) do
      {:ok, address} -> Address.to_text(address)
      :error -> host |> String.downcase(:ascii) |> String.replace_suffix(".", "")
    end
  end

  @doc """
  Returns the purposes that a certificate names (its extendedKeyUsage), or `[]` where it names none.
  """
  @spec purposes(certificate) :: [tuple]
  def purposes(certificate) do
    {_subject, extensions} = parts(certificate)

    case List.keyfind(extensions, @ext_key_usage, 1) do
      {_tag, _oid, _critical, purposes} -> purposes
      nil -> []
    end
  end

  defp numeric(certificate) do
    {_subject, extensions} = parts(certificate)

    case List.keyfind(extensions, @subject_alt_name, 1) do
      {_tag, _oid, _critical, names} -> alternative(names, &ip_address/1)
      nil -> []
    end
  end

  # RFC5922§7.1 - SIP URIs without a user, and only where there is none of them other names
  defp alternative(names, other) do
    case names |> Enum.flat_map(&sip_uri/1) |> bounded() do
      [] -> names |> Enum.flat_map(other) |> bounded()
      domains -> domains
    end
  end

  # RFC5922§7.1 - not `sips`, and none with a user: that one stands for a person
  defp sip_uri({:uniformResourceIdentifier, value}) do
    with text = octets(value),
         false <- String.contains?(text, "@"),
         {:ok, %URI{scheme: "sip", host: host}} when is_binary(host) <- URI.parse(text),
         do: [host],
         else: (_other -> [])
  end

  defp sip_uri(_name), do: []

  defp dns_name({:dNSName, value}) do
    name = octets(value)
    if address?(name), do: [], else: [name]
  end

  defp dns_name(_name), do: []

  defp ip_address({:iPAddress, value}) do
    case octets(value) do
      <<a, b, c, d>> ->
        [Address.to_text({a, b, c, d})]

      <<v6::binary-size(16)>> ->
        [Address.to_text(List.to_tuple(for <<part::16 <- v6>>, do: part))]

      _mask_or_garbage ->
        []
    end
  end

  defp ip_address(_name), do: []

  # RFC5922§7.1 - a CN may be anything; it counts if it is a DNS name
  defp common_name({kind, value}) when kind in [:utf8String, :printableString, :teletexString] do
    name = octets(value)
    if address?(name) or String.contains?(name, "*"), do: "", else: name
  end

  defp common_name(_other), do: ""

  defp bounded(hosts) do
    hosts
    |> Stream.map(&canonical/1)
    |> Stream.filter(&host?/1)
    |> Stream.map(&:binary.copy/1)
    |> Stream.uniq()
    |> Enum.take(@most)
  end

  # A name with an octet that no host has (NUL, a blank) is none. `*` is there for wildcards, which match themselves.
  defp host?(host), do: byte_size(host) in 1..@longest and (name?(host) or address?(host))

  defp name?(<<octet, rest::binary>>)
       when octet in ?a..?z or octet in ?A..?Z or octet in ?0..?9 or octet in [?-, ?., ?_, ?*],
       do: name?(rest)

  defp name?(rest), do: rest == ""

  # OTP has these strings as lists of octets or as binaries; what is neither is no name.
  defp octets(value) when is_binary(value), do: value

  defp octets(value) do
    :erlang.list_to_binary(value)
  rescue
    ArgumentError -> ""
  end

  # By their places and not by records: the header files of OTP are not everywhere, and some tags differ between versions.
  defp parts(der) when is_binary(der), do: der |> :public_key.pkix_decode_cert(:otp) |> parts()

  defp parts({:OTPCertificate, tbs, _algorithm, _signature}) do
    {:rdnSequence, names} = elem(tbs, 6)
    subject = for name <- names, {_tag, oid, value} <- name, do: {oid, value}
    {subject, extensions(elem(tbs, 10))}
  end

  defp extensions(list) when is_list(list), do: list
  defp extensions(:asn1_NOVALUE), do: []
end
