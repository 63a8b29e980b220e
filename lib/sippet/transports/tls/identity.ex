defmodule Sippet.Transports.TLS.Identity do
  @moduledoc false
  # The domains that a certificate speaks for (RFC 5922 §7), and whether one of them is the one that is meant.

  require Record

  alias Sippet.Address

  @records "public_key/include/public_key.hrl"

  Record.defrecordp(
    :certificate,
    :OTPCertificate,
    Record.extract(:OTPCertificate, from_lib: @records)
  )

  Record.defrecordp(
    :signed,
    :OTPTBSCertificate,
    Record.extract(:OTPTBSCertificate, from_lib: @records)
  )

  Record.defrecordp(:extension, :Extension, Record.extract(:Extension, from_lib: @records))

  Record.defrecordp(
    :attribute,
    :AttributeTypeAndValue,
    Record.extract(:AttributeTypeAndValue, from_lib: @records)
  )

  @subject_alt_name {2, 5, 29, 17}
  @extended_key_usage {2, 5, 29, 37}
  @common_name {2, 5, 4, 3}

  # RFC5924§4 - id-kp-sipDomain
  @sip_domain {1, 3, 6, 1, 5, 5, 7, 3, 20}

  # What is kept of one certificate, and the octets of a name (RFC1035§2.3.4).
  @most 100
  @longest 255

  @type certificate :: binary | tuple

  @doc """
  The domains of a certificate, in lower case: those of its SIP URIs; where it has none, its names and addresses; where it has no
  other names at all, the common name.
  """
  @spec of(certificate) :: [String.t()]
  def of(der) when is_binary(der), do: der |> :public_key.pkix_decode_cert(:otp) |> of()

  def of(certificate) do
    # RFC5922§7.1
    domains =
      case value(certificate, @subject_alt_name) do
        nil -> common_names(certificate)
        names -> uris(names) |> or_else(fn -> hosts(names) end)
      end

    domains |> Enum.filter(&(byte_size(&1) in 1..@longest)) |> Enum.uniq() |> Enum.take(@most)
  end

  defp or_else([], other), do: other.()
  defp or_else(domains, _other), do: domains

  defp uris(names) do
    for {:uniformResourceIdentifier, uri} <- names, domain = domain(to_string(uri)), do: domain
  end

  # A URI with a user is that of a user, and no other scheme speaks for a domain.
  defp domain(text) do
    case Sippet.URI.parse(text) do
      {:ok, %{scheme: "sip", userinfo: nil, host: host}} when is_binary(host) -> lower(host)
      _other -> nil
    end
  end

  defp hosts(names) do
    for name <- names, host = host(name), do: host
  end

  defp host({:dNSName, name}), do: name |> to_string() |> lower()
  defp host({:iPAddress, octets}), do: octets |> :erlang.iolist_to_binary() |> address()
  defp host(_other), do: nil

  defp address(<<a, b, c, d>>), do: Address.to_text({a, b, c, d})

  defp address(<<words::binary-size(16)>>),
    do: for(<<word::16 <- words>>, do: word) |> List.to_tuple() |> Address.to_text()

  defp address(_malformed), do: nil

  defp common_names(certificate) do
    {:rdnSequence, names} = certificate |> certificate(:tbsCertificate) |> signed(:subject)

    for name <- names, attribute(type: @common_name, value: value) <- name do
      case value do
        {_kind, text} -> text |> to_string() |> lower()
        text -> text |> to_string() |> lower()
      end
    end
  end

  defp value(certificate, id) do
    case certificate |> certificate(:tbsCertificate) |> signed(:extensions) do
      extensions when is_list(extensions) ->
        Enum.find_value(extensions, fn
          extension(extnID: ^id, extnValue: value) -> value
          _other -> nil
        end)

      _none ->
        nil
    end
  end

  defp lower(text), do: text |> :binary.copy() |> String.downcase(:ascii)

  @doc """
  Whether one of the domains is the one that is meant: whole, in any letter case, and never by a wildcard (RFC 5922 §7.2).
  """
  @spec match?([String.t()], String.t()) :: boolean
  def match?(domains, domain), do: (domain |> String.trim_trailing(".") |> lower()) in domains

  @doc """
  Whether the certificate may be used by a SIP domain, which OTP does not know of.
  """
  @spec sip_domain?(certificate) :: boolean
  def sip_domain?(certificate), do: @sip_domain in (value(certificate, @extended_key_usage) || [])
end
