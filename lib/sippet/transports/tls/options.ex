defmodule Sippet.Transports.TLS.Options do
  @moduledoc false
  # What `:ssl` gets, for what comes and for what goes, and what its errors mean.

  alias Sippet.Address
  alias Sippet.Transports.TLS.Identity

  @versions [:"tlsv1.3", :"tlsv1.2"]
  @client_certificates [:none, :optional, :required]

  @schema [
    certfile: [
      type: {:custom, &__MODULE__.path?/1, "a path"},
      default: nil,
      doc:
        "the file with the certificate, and those up to its CA, as PEM. A transport that listens needs it, or `:certs_keys`; " <>
          "one that connects shows it where the peer asks for one"
    ],
    keyfile: [
      type: {:custom, &__MODULE__.path?/1, "a path"},
      default: nil,
      doc: "the file with the private key of `:certfile`, as PEM"
    ],
    certs_keys: [
      type: {:custom, &__MODULE__.certs_keys?/1, "a list of maps"},
      default: nil,
      doc:
        "in place of both, what the option of this name of `:ssl` takes (several certificates, passwords, keys in memory)"
    ],
    sni: [
      type: {:custom, &__MODULE__.sni?/1, "a map of host names to keyword lists"},
      default: %{},
      doc:
        "other certificates by the name that a peer asks for (RFC 5922 §7.8), as in " <>
          "`%{\"biloxi.com\" => [certfile: path, keyfile: path]}`"
    ],
    cacerts: [
      type: {:custom, &__MODULE__.cacerts?/1, "a path, a list of DER certificates or nil"},
      default: nil,
      doc:
        "the CAs that are trusted: the path of a PEM file, or a list of certificates as DER. `nil` means those of the system"
    ],
    client_certificate: [
      type: {:one_of, @client_certificates},
      default: :none,
      doc:
        "whether who connects to this transport must show a certificate: `:none`, `:optional` (one that is shown must be " <>
          "valid) or `:required`. What it says stands in the `identities` of a message's `source`"
    ],
    versions: [
      type: {:custom, &__MODULE__.versions?/1, "a list of versions as :ssl names them"},
      default: @versions,
      doc: "the versions of TLS that are taken"
    ],
    insecure: [
      type: :boolean,
      default: false,
      doc:
        "**turns off** the verification of peers that this transport connects to; for a lab. It is logged once a start"
    ]
  ]

  @doc """
  The options of TLS, for the schema of a transport.
  """
  @spec schema() :: keyword
  def schema, do: @schema

  @spec path?(term) :: boolean
  def path?(value), do: is_binary(value) and value != ""

  @spec certs_keys?(term) :: boolean
  def certs_keys?(value), do: is_list(value) and value != [] and Enum.all?(value, &is_map/1)

  @spec sni?(term) :: boolean
  def sni?(value),
    do: is_map(value) and Enum.all?(value, fn {k, v} -> is_binary(k) and Keyword.keyword?(v) end)

  @spec cacerts?(term) :: boolean
  def cacerts?(value),
    do: path?(value) or (is_list(value) and value != [] and Enum.all?(value, &is_binary/1))

  @spec versions?(term) :: boolean
  def versions?(value),
    do: is_list(value) and value != [] and Enum.all?(value, &(&1 in @versions))

  @doc """
  Whether there is a certificate to show.
  """
  @spec certificate?(map) :: boolean
  def certificate?(options), do: options.certfile != nil or options.certs_keys != nil

  ## For `:ssl`

  # Silent connections give back their memory as ours do. What strangers do in a handshake is no line of the log each.
  @common [hibernate_after: 1_000, log_level: :none]

  @doc """
  Of a connection that was accepted.
  """
  @spec server(map) :: keyword
  def server(options) do
    [versions: options.versions] ++
      @common ++ certificate(options) ++ names(options.sni) ++ of_clients(options)
  end

  # Read at each handshake: a file that was renewed needs no restart.
  defp certificate(%{certs_keys: certs_keys}) when certs_keys != nil,
    do: [certs_keys: certs_keys]

  defp certificate(%{certfile: nil}), do: []

  defp certificate(%{certfile: certfile, keyfile: keyfile}),
    do: [certfile: certfile, keyfile: keyfile || certfile]

  defp names(sni) when sni == %{}, do: []

  # RFC6066§3 - a name is compared in any letter case
  defp names(sni) do
    by_name = for {name, options} <- sni, into: %{}, do: {String.downcase(name), options}

    [sni_fun: fn name -> Map.get(by_name, name |> to_string() |> String.downcase(), []) end]
  end

  defp of_clients(%{client_certificate: :none}), do: [verify: :verify_none]

  defp of_clients(%{client_certificate: wanted} = options) do
    [
      verify: :verify_peer,
      fail_if_no_peer_cert: wanted == :required,
      verify_fun: {&verify/3, :any}
    ] ++ trusted(options)
  end

  @doc """
  Of a connection that is opened. `host` is the name or the address that the request is for, and not what the name servers made
  of it (RFC 5922 §7.3). `told` is who is sent `{:refused, reason}` of its certificate.
  """
  @spec client(map, String.t(), pid) :: keyword
  def client(options, host, told) do
    [versions: options.versions] ++
      @common ++ certificate(options) ++ asked_for(host) ++ of_server(options, host, told)
  end

  # RFC6066§3 - an address is no name to ask for
  defp asked_for(host) do
    case Address.parse(host) do
      {:ok, _address} -> [server_name_indication: :disable]
      :error -> [server_name_indication: String.to_charlist(host)]
    end
  end

  defp of_server(%{insecure: true}, _host, _told), do: [verify: :verify_none]

  # A `match_fun` sees one name at a time, and can't tell that there is a SIP URI too.
  defp of_server(options, host, told) do
    [
      verify: :verify_peer,
      customize_hostname_check: [match_fun: fn _reference, _presented -> true end],
      verify_fun: {&verify/3, {host, told}}
    ] ++ trusted(options)
  end

  defp trusted(%{cacerts: nil}), do: [cacerts: :public_key.cacerts_get()]
  defp trusted(%{cacerts: path}) when is_binary(path), do: [cacertfile: path]
  defp trusted(%{cacerts: cacerts}), do: [cacerts: cacerts]

  # RFC5924§4 - OTP asks for the usage of a web server
  defp verify(certificate, {:bad_cert, :invalid_ext_key_usage}, state) do
    if Identity.sip_domain?(certificate), do: {:valid, state}, else: refuse(:certificate, state)
  end

  defp verify(_certificate, {:bad_cert, :hostname_check_failed}, state), do: {:valid, state}
  defp verify(_certificate, {:bad_cert, reason}, state), do: refuse(bad(reason), state)
  defp verify(_certificate, {:extension, _extension}, state), do: {:unknown, state}
  defp verify(_certificate, :valid, state), do: {:valid, state}
  defp verify(_certificate, :valid_peer, :any), do: {:valid, :any}

  # RFC5922§7.3
  defp verify(certificate, :valid_peer, {host, _told} = state) do
    if Identity.match?(Identity.of(certificate), host),
      do: {:valid, state},
      else: refuse(:domain, state)
  end

  defp refuse(reason, :any), do: {:fail, reason}

  defp refuse(reason, {_host, told}) do
    send(told, {:refused, reason})
    {:fail, reason}
  end

  defp bad(reason) when reason in [:unknown_ca, :selfsigned_peer, :invalid_issuer],
    do: :unknown_ca

  defp bad(:cert_expired), do: :expired
  defp bad(_other), do: :certificate

  @doc """
  What an error of `:ssl` means: its alerts have other names in each version of OTP.
  """
  @spec reason(term) :: term
  def reason({:tls_alert, {:unknown_ca, _text}}), do: :unknown_ca
  def reason({:tls_alert, {:certificate_expired, _text}}), do: :expired
  def reason({:tls_alert, {:certificate_required, _text}}), do: :certificate
  def reason({:tls_alert, {:bad_certificate, _text}}), do: :certificate
  def reason({:tls_alert, {:unsupported_certificate, _text}}), do: :certificate
  def reason({:tls_alert, {:certificate_unknown, _text}}), do: :certificate
  def reason({:tls_alert, _alert}), do: :handshake
  def reason({:options, _what} = error), do: error
  def reason(reason) when is_atom(reason), do: reason
  def reason(_other), do: :handshake
end
