defmodule Sippet.Transports.TLS.Options do
  @moduledoc false
  # The options of a TLS transport, and the options of `:ssl` that they become.
  #
  # Certificates and keys are given to `:ssl` by their paths, in `certs_keys`: it reads them at each handshake, through
  # a cache (the PEM cache) that looks every two minutes whether a file has changed (`ssl_pem_cache_clean`), or at
  # once after `reload/0`. The same holds for a file of `:cacerts`.

  alias Sippet.Options
  alias Sippet.Transports.TLS.Identity

  # Without it an idle connection takes 103 KB instead of 32.
  @hibernate_after 1_000

  # RFC5924§4 - id-kp-sipDomain and anyExtendedKeyUsage
  @sip_purposes [{1, 3, 6, 1, 5, 5, 7, 3, 20}, {2, 5, 29, 37, 0}]

  @certificates [
    certfile: [
      type: {:custom, &__MODULE__.path?/1, "a path"},
      default: nil,
      doc:
        "the PEM file of the certificate, followed by those of its intermediate CAs. A file that " <>
          "changes is read again within two minutes, or after `reload/0`, for new connections. " <>
          "A transport that listens needs it, or `:certs_keys`"
    ],
    keyfile: [
      type: {:custom, &__MODULE__.path?/1, "a path"},
      default: nil,
      doc: "the PEM file of the private key. Defaults to the file of `:certfile`"
    ],
    certs_keys: [
      type: {:custom, &__MODULE__.certs_keys?/1, "a list of maps with a certificate and a key"},
      default: nil,
      doc:
        "several certificates, as of an RSA and an EC key, or certificates that are in no file, as " <>
          "`:ssl` takes them: `%{certfile: path, keyfile: path}` or " <>
          "`%{cert: der, key: {:ECPrivateKey, der}}`. Excludes `:certfile`"
    ]
  ]

  @schema @certificates ++
            [
              sni: [
                type:
                  {:custom, &__MODULE__.sni?/1,
                   "a map of host names to keyword lists with :certfile, :keyfile or :certs_keys"},
                default: %{},
                doc:
                  "the certificates of further domains, by the name that the client asks for " <>
                    "(SNI, RFC 5922 §7.8), as in `%{\"biloxi.com\" => [certfile: \"biloxi.pem\"]}`. " <>
                    "Clients that ask for another name, or for none, get the certificate of the " <>
                    "transport"
              ],
              cacerts: [
                type: {:custom, &__MODULE__.cacerts?/1, "a path or a list of DER certificates"},
                default: nil,
                doc:
                  "the CA certificates that peers are verified with: the path of a PEM file, or a " <>
                    "list of DER binaries. Defaults to those of the operating system"
              ],
              client_certificate: [
                type: {:one_of, [:none, :optional, :required]},
                default: :none,
                doc:
                  "whether clients are asked for a certificate. `:optional` takes clients without " <>
                    "one, `:required` ends their handshake. A certificate that can't be verified " <>
                    "ends the handshake in both cases"
              ],
              versions: [
                type:
                  {:custom, &__MODULE__.versions?/1,
                   "a list of :\"tlsv1.3\" and :\"tlsv1.2\", or one of them"},
                default: [:"tlsv1.3", :"tlsv1.2"],
                doc: "the versions of TLS that are used, in both directions"
              ],
              insecure: [
                type: :boolean,
                default: false,
                doc:
                  "`true` turns off the verification of servers that the transport connects to, " <>
                    "their names too: anybody can pose as them. For tests only"
              ]
            ]

  @typedoc "The options of `schema/0`, validated"
  @type t :: %{
          required(:certfile) => Path.t() | nil,
          required(:keyfile) => Path.t() | nil,
          required(:certs_keys) => [map] | nil,
          required(:sni) => %{String.t() => keyword},
          required(:cacerts) => Path.t() | [:public_key.der_encoded()] | nil,
          required(:client_certificate) => :none | :optional | :required,
          required(:versions) => [:"tlsv1.3" | :"tlsv1.2"],
          required(:insecure) => boolean,
          optional(atom) => term
        }

  @typedoc """
  Why there is no connection:

    * `:domain` - the server's certificate is not one of the domain that was dialled
    * `:unknown_ca` - a certificate is signed by nobody that the verifying side trusts
    * `:expired` - a certificate, or one of its CAs, is not valid any more, or not yet
    * `:certificate` - a certificate is missing, revoked, or not good for its purpose
    * `:handshake` - anything else that one side has against the other, such as no common version
    * `:options` - `:ssl` refuses the options, as for a certificate file that can't be read
    * `:closed`, `:timeout` or the name of a system's error - the connection itself
    * `:other` - none of these
  """
  @type reason ::
          :domain
          | :unknown_ca
          | :expired
          | :certificate
          | :handshake
          | :options
          | :closed
          | :timeout
          | :other
          | :inet.posix()

  @doc """
  Returns the schema of the options, for `Sippet.Options`.
  """
  @spec schema() :: Options.schema()
  def schema, do: @schema

  @doc """
  Checks together the options that `schema/0` checks one by one, or raises `ArgumentError`.

  A transport that listens needs a certificate; files have to be there, with PEM of the right kind.
  """
  @spec check!(t, listen? :: boolean) :: :ok
  def check!(options, listen?) do
    # Also with `:sni`: for a client that asks for no name, some OTP would end in an exception.
    if listen? and certs_keys(options) == [],
      do: raise(ArgumentError, "expected :certfile or :certs_keys to be present")

    check_certificates!(options)
    Enum.each(options.sni, fn {_host, given} -> check_certificates!(Map.new(given)) end)
    check_file!(:cacerts, options.cacerts)
    :ok
  end

  defp check_certificates!(options) do
    if options[:certfile] && options[:certs_keys],
      do: raise(ArgumentError, "expected :certfile or :certs_keys, got both")

    if options[:keyfile] && !options[:certfile],
      do: raise(ArgumentError, "expected :certfile to be present with :keyfile")

    for pair <- certs_keys(options), {name, path} <- pair, do: check_file!(name, path)
  end

  # With a file of the wrong content, some OTP would end each handshake in an exception.
  defp check_file!(name, path) when name in [:certfile, :keyfile, :cacerts] and is_binary(path) do
    unless Enum.any?(entries!(name, path), &(certificate?(&1) == (name != :keyfile))),
      do: raise(ArgumentError, "#{inspect(name)} holds none: #{path}")
  end

  defp check_file!(_name, _value), do: :ok

  defp certificate?({kind, _der, _cipher}), do: kind == :Certificate

  defp entries!(name, path) do
    case File.read(path) do
      {:ok, text} ->
        :public_key.pem_decode(text)

      {:error, reason} ->
        raise ArgumentError,
              "#{inspect(name)} can't be read: #{path}: #{:file.format_error(reason)}"
    end
  end

  @doc """
  Returns the options for `:ssl.handshake/3` (or `:ssl.listen/2`) on connections that others open.
  """
  @spec server(t) :: [:ssl.tls_server_option()]
  def server(options) do
    common(options) ++
      [certs_keys: certs_keys(options), honor_cipher_order: true] ++
      only_12(options, client_renegotiation: false) ++
      sni(options.sni) ++ client_certificates(options)
  end

  defp sni(hosts) when hosts == %{}, do: []

  defp sni(hosts) do
    hosts =
      Map.new(hosts, fn {host, given} ->
        {Identity.canonical(host), [certs_keys: given |> Map.new() |> certs_keys()]}
      end)

    [sni_fun: fn name -> Map.get(hosts, asked_for(name), :undefined) end]
  end

  # What a stranger has sent.
  defp asked_for(name) do
    name |> :erlang.list_to_binary() |> Identity.canonical()
  rescue
    ArgumentError -> ""
  end

  defp client_certificates(%{client_certificate: :none}), do: [verify: :verify_none]

  defp client_certificates(options) do
    [
      verify: :verify_peer,
      fail_if_no_peer_cert: options.client_certificate == :required,
      # RFC5922§7.4 - a server expects no domain: whom the certificate stands for is for the core to judge
      verify_fun: {&verify/3, :any}
    ] ++ cacerts(options.cacerts)
  end

  @doc """
  Returns the options for `:ssl.connect/4` to a server of the domain.

  The domain is the host that RFC 3263 began with, the one of the URI, and never a name that DNS
  gave for it; it may be an IP address. The transport's own certificate is there for servers that
  ask for one.
  """
  @spec client(t, domain :: String.t()) :: [:ssl.tls_client_option()]
  def client(options, domain) do
    common(options) ++
      [server_name_indication: server_name(domain)] ++
      own_certificate(certs_keys(options)) ++ server_certificate(options, domain)
  end

  # RFC6066§3 - a name, and never an address
  defp server_name(domain) do
    if Identity.address?(domain),
      do: :disable,
      else: domain |> Identity.canonical() |> String.to_charlist()
  end

  defp own_certificate([]), do: []
  defp own_certificate(certs_keys), do: [certs_keys: certs_keys]

  defp server_certificate(%{insecure: true}, _domain), do: [verify: :verify_none]

  defp server_certificate(options, domain),
    do: [verify: :verify_peer, verify_fun: {&verify/3, domain}] ++ cacerts(options.cacerts)

  # Sessions are never resumed: a client would take one that another domain at the same address has begun, without a look
  # at its certificate. Strangers whose handshakes fail write nothing into the log.
  defp common(options) do
    [
      mode: :binary,
      versions: options.versions,
      hibernate_after: @hibernate_after,
      log_level: :none
    ] ++ only_12(options, reuse_sessions: false)
  end

  # Newer OTP refuses options of TLS 1.2 where it is not used.
  defp only_12(options, more), do: if(:"tlsv1.2" in options.versions, do: more, else: [])

  defp certs_keys(%{certs_keys: given}) when is_list(given), do: given

  defp certs_keys(%{certfile: certfile} = options) when certfile != nil,
    do: [%{certfile: certfile, keyfile: options[:keyfile] || certfile}]

  defp certs_keys(_none), do: []

  defp cacerts(nil), do: [cacerts: system()]
  defp cacerts(path) when is_binary(path), do: [cacertfile: path]
  defp cacerts(certificates), do: [cacerts: certificates]

  # A system without any trusts nobody.
  defp system do
    :public_key.cacerts_get()
  rescue
    _no_store -> []
  end

  # OTP has its own idea of which name a server has; RFC 5922 has another, so both outcomes are judged anew.
  defp verify(certificate, event, domain)
       when event in [:valid_peer, {:bad_cert, :hostname_check_failed}] do
    if domain == :any or Identity.authenticates?(certificate, domain),
      do: {:valid, domain},
      else: {:fail, :sip_domain_differs}
  end

  # RFC5924§4 - a certificate for SIP alone, of which OTP says that it is not for TLS; in two ways, by its version
  defp verify(certificate, {:bad_cert, :invalid_ext_key_usage} = reason, domain),
    do: for_sip(certificate, reason, domain)

  defp verify(certificate, {:bad_cert, {:invalid_ext_keyusage, _}} = reason, domain),
    do: for_sip(certificate, reason, domain)

  # Signed by itself is signed by an unknown CA, and says so in the alert.
  defp verify(_certificate, {:bad_cert, :selfsigned_peer}, _domain),
    do: {:fail, {:bad_cert, :unknown_ca}}

  defp verify(_certificate, {:bad_cert, _} = reason, _domain), do: {:fail, reason}
  defp verify(_certificate, {:extension, _}, domain), do: {:unknown, domain}
  defp verify(_certificate, :valid, domain), do: {:valid, domain}

  defp for_sip(certificate, reason, domain) do
    if Enum.any?(Identity.purposes(certificate), &(&1 in @sip_purposes)),
      do: {:valid, domain},
      else: {:fail, reason}
  end

  @doc """
  Drops the certificates that `:ssl` has read from files. Connections from now on use the files as they are.
  """
  @spec reload() :: :ok
  def reload do
    :ssl.clear_pem_cache()
    :ok
  end

  @doc """
  Returns the reason of an error of `:ssl`, whose names for it differ between versions.
  """
  @spec reason(term) :: reason
  def reason({:error, error}), do: reason(error)
  def reason({:ssl_error, _socket, error}), do: reason(error)
  def reason({:tls_alert, {alert, text}}), do: alert(alert, text)
  def reason({:options, _refused}), do: :options
  def reason(error) when is_atom(error), do: error
  def reason(_other), do: :other

  defp alert(:unknown_ca, _text), do: :unknown_ca
  defp alert(:certificate_expired, _text), do: :expired

  # Where an alert tells too little, its text has the reason that `verify/3` gave.
  defp alert(alert, text) do
    text = to_string(text)

    cond do
      String.contains?(text, "sip_domain_differs") -> :domain
      String.contains?(text, "invalid_ext_key_usage") -> :certificate
      of_certificate?(alert) -> :certificate
      true -> :handshake
    end
  end

  defp of_certificate?(alert) do
    alert in [
      :bad_certificate,
      :unsupported_certificate,
      :certificate_revoked,
      :certificate_unknown,
      :certificate_required,
      :access_denied
    ]
  end

  @doc false
  @spec path?(term) :: boolean
  def path?(value), do: is_binary(value) and value != ""

  @doc false
  @spec certs_keys?(term) :: boolean
  def certs_keys?(value),
    do: is_list(value) and value != [] and Enum.all?(value, &certificate_and_key?/1)

  defp certificate_and_key?(%{cert: _, key: _}), do: true
  defp certificate_and_key?(%{certfile: _}), do: true
  defp certificate_and_key?(_other), do: false

  @doc false
  @spec sni?(term) :: boolean
  def sni?(value) when is_map(value), do: Enum.all?(value, &host_certificates?/1)
  def sni?(_other), do: false

  defp host_certificates?({host, given}) when is_binary(host) and is_list(given) do
    given |> Options.validate!(@certificates) |> certs_keys() != []
  rescue
    ArgumentError -> false
  end

  defp host_certificates?(_other), do: false

  @doc false
  @spec cacerts?(term) :: boolean
  def cacerts?(value) when is_list(value), do: value != [] and Enum.all?(value, &is_binary/1)
  def cacerts?(value), do: path?(value)

  @doc false
  @spec versions?(term) :: boolean
  def versions?(value) when is_list(value),
    do: value != [] and value -- [:"tlsv1.3", :"tlsv1.2"] == []

  def versions?(_other), do: false
end
