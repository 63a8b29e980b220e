defmodule Sippet.Certificates do
  @moduledoc false
  # Certificates for tests of TLS: a CA, another one, and what they have signed, as PEM files. What is good and what is not is
  # RFC 5922 §7.

  require Record

  @records "public_key/include/public_key.hrl"
  for {name, record} <- [
        signed: :OTPTBSCertificate,
        extension: :Extension,
        validity: :Validity,
        attribute: :AttributeTypeAndValue
      ],
      do: Record.defrecordp(name, record, Record.extract(record, from_lib: @records))

  @ecdsa_with_sha256 {1, 2, 840, 10_045, 4, 3, 2}
  @ec_public_key {1, 2, 840, 10_045, 2, 1}
  @secp256r1 {1, 2, 840, 10_045, 3, 1, 7}
  @common_name {2, 5, 4, 3}
  @subject_alt_name {2, 5, 29, 17}
  @extended_key_usage {2, 5, 29, 37}
  @basic_constraints {2, 5, 29, 19}
  @client_auth {1, 3, 6, 1, 5, 5, 7, 3, 2}
  @sip_domain {1, 3, 6, 1, 5, 5, 7, 3, 20}

  # Name of the file, common name, other names, and what is special.
  @certificates [
    {"uri", "other.example.net", [uri: "sip:example.test"], []},
    {"uri_dns", "x", [uri: "sip:example.test", dns: "host.example.test"], []},
    {"dns", "x", [dns: "example.test"], []},
    {"wild", "x", [dns: "*.example.test"], []},
    {"uriuser", "x", [uri: "sip:alice@example.test", dns: "example.test"], []},
    {"cn", "example.test", [], []},
    {"ip", "x", [ip: {127, 0, 0, 1}], []},
    {"host", "x", [dns: "host.example.test"], []},
    {"sips", "x", [uri: "sips:example.test"], []},
    {"otherca", "x", [dns: "example.test"], [ca: "other"]},
    {"clientonly", "x", [dns: "example.test"], [usage: @client_auth]},
    {"sipeku", "x", [dns: "example.test"], [usage: @sip_domain]},
    {"expired", "x", [dns: "example.test"], [days: -1]},
    {"client", "x", [uri: "sip:proxy.example.test"], [usage: @client_auth]},
    {"local", "x", [dns: "localhost", ip: {127, 0, 0, 1}], []},
    {"biloxi", "x", [dns: "biloxi.test"], []}
  ]

  @doc """
  Writes `NAME.pem` and `NAME.key` of each into a folder, with `ca.pem` and `other.pem`.
  """
  @spec write!(Path.t()) :: Path.t()
  def write!(folder) do
    File.mkdir_p!(folder)
    cas = for name <- ["ca", "other"], into: %{}, do: {name, authority(folder, name)}

    for {name, common_name, names, options} <- @certificates do
      ca = Map.fetch!(cas, options[:ca] || "ca")
      put!(folder, name, common_name, names, ca, options)
    end

    folder
  end

  @doc """
  Writes one more, or one of these anew, signed by the CA of that folder.
  """
  @spec renew!(Path.t(), String.t(), keyword) :: :ok
  def renew!(folder, name, names) do
    [{:Certificate, der, _}] =
      folder |> Path.join("ca.pem") |> File.read!() |> :public_key.pem_decode()

    [entry] = folder |> Path.join("ca.key") |> File.read!() |> :public_key.pem_decode()
    subject = der |> :public_key.pkix_decode_cert(:otp) |> elem(1) |> signed(:subject)
    put!(folder, name, "x", names, {subject, :public_key.pem_entry_decode(entry)}, [])
  end

  defp authority(folder, name) do
    key = :public_key.generate_key({:namedCurve, :secp256r1})
    subject = subject("test-#{name}")

    constraints =
      extension(
        extnID: @basic_constraints,
        critical: true,
        extnValue: {:BasicConstraints, true, :asn1_NOVALUE}
      )

    der = sign(subject, key, [constraints], {subject, key}, 30)
    store!(folder, name, der, key)
    {subject, key}
  end

  defp put!(folder, name, common_name, names, ca, options) do
    key = :public_key.generate_key({:namedCurve, :secp256r1})
    extensions = alt_names(names) ++ usage(options[:usage])
    der = sign(subject(common_name), key, extensions, ca, options[:days] || 30)
    store!(folder, name, der, key)
  end

  defp alt_names([]), do: []

  defp alt_names(names) do
    value =
      for {kind, name} <- names do
        case kind do
          :uri -> {:uniformResourceIdentifier, String.to_charlist(name)}
          :dns -> {:dNSName, String.to_charlist(name)}
          :ip -> {:iPAddress, name |> Tuple.to_list() |> :erlang.list_to_binary()}
        end
      end

    [extension(extnID: @subject_alt_name, critical: false, extnValue: value)]
  end

  defp usage(nil), do: []

  defp usage(usage),
    do: [extension(extnID: @extended_key_usage, critical: false, extnValue: [usage])]

  defp subject(name),
    do: {:rdnSequence, [[attribute(type: @common_name, value: {:utf8String, name})]]}

  defp sign(subject, key, extensions, {issuer, ca_key}, days) do
    {:ECPrivateKey, _version, _private, _parameters, public, _attributes} = full(key)

    signed(
      version: :v3,
      serialNumber: :rand.uniform(1_000_000_000),
      signature: {:SignatureAlgorithm, @ecdsa_with_sha256, :asn1_NOVALUE},
      issuer: issuer,
      validity: validity(notBefore: time(-2), notAfter: time(days)),
      subject: subject,
      subjectPublicKeyInfo:
        {:OTPSubjectPublicKeyInfo,
         {:PublicKeyAlgorithm, @ec_public_key, {:namedCurve, @secp256r1}}, {:ECPoint, public}},
      extensions: extensions
    )
    |> :public_key.pkix_sign(ca_key)
  end

  # Older ones have no attributes.
  defp full({:ECPrivateKey, version, private, parameters, public}),
    do: {:ECPrivateKey, version, private, parameters, public, :asn1_NOVALUE}

  defp full(key), do: key

  defp time(days) do
    at = DateTime.add(DateTime.utc_now(), days * 86_400, :second)
    {:utcTime, at |> Calendar.strftime("%y%m%d%H%M%SZ") |> String.to_charlist()}
  end

  defp store!(folder, name, der, key) do
    certificate = :public_key.pem_encode([{:Certificate, der, :not_encrypted}])
    key = :public_key.pem_encode([:public_key.pem_entry_encode(:ECPrivateKey, key)])
    File.write!(Path.join(folder, name <> ".pem"), certificate)
    File.write!(Path.join(folder, name <> ".key"), key)
  end
end
