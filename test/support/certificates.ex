defmodule Sippet.Certificates do
  @moduledoc false
  # Certificates for tests and for their peers, made once per run by OTP alone, as PEM files in a folder that goes with
  # the run: NAME.pem and NAME.key for each name below, and ca.pem, other.pem (with ca.key, other.key) of two CAs
  # that know nothing of each other.

  @curve {:namedCurve, :secp256r1}
  @valid {{2020, 1, 1}, {2049, 1, 1}}
  @past {{2020, 1, 1}, {2020, 2, 1}}

  @common_name {2, 5, 4, 3}
  @key_usage {2, 5, 29, 15}
  @subject_alt_name {2, 5, 29, 17}
  @ext_key_usage {2, 5, 29, 37}

  @client_auth {1, 3, 6, 1, 5, 5, 7, 3, 2}
  @sip_domain {1, 3, 6, 1, 5, 5, 7, 3, 20}

  # What each certificate has besides a key of its own. `names` is the subjectAltName, which `nil` leaves out.
  @certificates [
    # The cases of RFC 5922 §7
    uri: [cn: "other.example.net", names: [uri: "sip:example.test"]],
    uri_dns: [names: [uri: "sip:example.test", dns: "host.example.test"]],
    dns: [names: [dns: "example.test"]],
    wild: [names: [dns: "*.example.test"]],
    uriuser: [names: [uri: "sip:alice@example.test", dns: "example.test"]],
    cn: [cn: "example.test", names: nil],
    ip: [names: [ip: {127, 0, 0, 1}]],
    host: [names: [dns: "host.example.test"]],
    sips: [names: [uri: "sips:example.test"]],
    selfca: [names: [dns: "example.test"], ca: "other"],
    httponly: [names: [dns: "example.test"], purposes: [@client_auth]],
    sipeku: [names: [dns: "example.test"], purposes: [@sip_domain]],
    client: [names: [uri: "sip:proxy.example.test"], purposes: [@client_auth]],
    # More of them
    critical: [
      cn: nil,
      names: [uri: "sip:example.test"],
      purposes: [@sip_domain],
      critical: true
    ],
    expired: [names: [dns: "example.test"], validity: @past],
    server: [
      cn: "localhost",
      names: [
        dns: "localhost",
        dns: "test.local",
        ip: {127, 0, 0, 1},
        ip: {0, 0, 0, 0, 0, 0, 0, 1}
      ]
    ]
  ]

  @type options :: [
          cn: String.t() | nil,
          names: [{:uri | :dns, String.t()} | {:ip, :inet.ip_address()} | {atom, term}] | nil,
          purposes: [tuple],
          critical: boolean,
          ca: String.t(),
          validity: {:calendar.date(), :calendar.date()}
        ]

  @doc """
  The folder of the certificates, which the first call makes.
  """
  @spec folder() :: Path.t()
  def folder do
    # Tests run side by side.
    :global.trans({__MODULE__, self()}, fn ->
      :persistent_term.get(__MODULE__, nil) || make()
    end)
  end

  defp make do
    folder =
      Path.join(
        System.tmp_dir!(),
        "sippet-certificates-#{System.unique_integer([:positive])}-#{System.pid()}"
      )

    File.mkdir_p!(folder)
    System.at_exit(fn _status -> File.rm_rf(folder) end)
    for ca <- ["ca", "other"], do: write_ca!(folder, ca)

    for {name, options} <- @certificates,
        do: write!(folder, Atom.to_string(name), folder, options)

    :persistent_term.put(__MODULE__, folder)
    folder
  end

  @doc """
  The PEM file of a certificate.
  """
  @spec certfile(String.t()) :: Path.t()
  def certfile(name), do: Path.join(folder(), name <> ".pem")

  @doc """
  The PEM file of its key.
  """
  @spec keyfile(String.t()) :: Path.t()
  def keyfile(name), do: Path.join(folder(), name <> ".key")

  @doc """
  A certificate as DER.
  """
  @spec der(String.t()) :: :public_key.der_encoded()
  def der(name), do: name |> certfile() |> entry() |> elem(1)

  @doc """
  A new certificate as DER, of a new key.
  """
  @spec new(options) :: :public_key.der_encoded()
  def new(options), do: options |> made(folder()) |> elem(0)

  @doc """
  Writes a new certificate and its key into a folder, over those that may be there.
  """
  @spec write!(Path.t(), String.t(), options) :: :ok
  def write!(folder, name, options), do: write!(folder, name, folder(), options)

  defp write!(folder, name, cas, options) do
    {certificate, key} = made(options, cas)
    write_pem!(folder, name, certificate, key)
  end

  defp write_ca!(folder, name) do
    options = [key: @curve, digest: :sha256, validity: @valid]
    title = String.to_charlist("test-" <> name)
    %{cert: der, key: key} = :public_key.pkix_test_root_cert(title, options)
    write_pem!(folder, name, der, {:ECPrivateKey, :public_key.der_encode(:ECPrivateKey, key)})
  end

  defp write_pem!(folder, name, certificate, {kind, key}) do
    path = Path.join(folder, name)
    File.write!(path <> ".pem", pem(:Certificate, certificate))
    File.write!(path <> ".key", pem(kind, key))
  end

  defp pem(kind, der), do: :public_key.pem_encode([{kind, der, :not_encrypted}])

  # OTP makes a certificate of its own taste; subject and extensions are replaced, and it is signed again. So its
  # records stay those of the OTP that runs.
  defp made(options, cas) do
    ca = ca(cas, Keyword.get(options, :ca, "ca"))
    peer = [key: @curve, digest: :sha256, validity: Keyword.get(options, :validity, @valid)]
    made = :public_key.pkix_test_data(%{root: ca, intermediates: [], peer: peer})

    signed =
      made[:cert]
      |> :public_key.pkix_decode_cert(:otp)
      |> elem(1)
      |> put_elem(2, :binary.decode_unsigned(<<1, :crypto.strong_rand_bytes(8)::binary>>))
      |> rename(Keyword.get(options, :cn, "x"))
      |> extend(options)
      |> :public_key.pkix_sign(ca.key)

    {signed, made[:key]}
  end

  defp ca(folder, name) do
    path = Path.join(folder, name)
    {:Certificate, der, :not_encrypted} = entry(path <> ".pem")
    %{cert: der, key: :public_key.pem_entry_decode(entry(path <> ".key"))}
  end

  defp entry(path), do: path |> File.read!() |> :public_key.pem_decode() |> hd()

  # RFC5280§4.1.2.6 - without a subject, the subjectAltName is critical
  defp rename(tbs, nil), do: put_elem(tbs, 6, {:rdnSequence, []})

  defp rename(tbs, cn) do
    {:rdnSequence, names} = elem(tbs, 6)
    [attribute] = Enum.find(names, &match?([name] when elem(name, 1) == @common_name, &1))
    put_elem(tbs, 6, {:rdnSequence, [[put_elem(attribute, 2, {:utf8String, cn})]]})
  end

  defp extend(tbs, options) do
    critical = Keyword.get(options, :critical, false)

    more = [
      extension(
        @subject_alt_name,
        options[:names] && Enum.map(options[:names], &name/1),
        critical
      ),
      extension(@ext_key_usage, options[:purposes], critical)
    ]

    kept = Enum.filter(elem(tbs, 10), &(elem(&1, 1) == @key_usage))
    put_elem(tbs, 10, kept ++ Enum.reject(more, &is_nil/1))
  end

  defp extension(_oid, nil, _critical), do: nil
  defp extension(oid, value, critical), do: {:Extension, oid, critical, value}

  defp name({:uri, uri}), do: {:uniformResourceIdentifier, String.to_charlist(uri)}
  defp name({:dns, name}), do: {:dNSName, String.to_charlist(name)}
  defp name({:ip, {a, b, c, d}}), do: {:iPAddress, <<a, b, c, d>>}

  defp name({:ip, address}),
    do: {:iPAddress, for(part <- Tuple.to_list(address), into: <<>>, do: <<part::16>>)}

  # As OTP has it.
  defp name(other), do: other
end
