defmodule Sippet.Transports.TLS.OptionsTest do
  use ExUnit.Case, async: true

  import ExUnit.CaptureLog

  alias Sippet.Certificates
  alias Sippet.Transports.TLS.{Identity, Options}

  @moduletag :tmp_dir

  @timeout 5_000
  @tls_1_3 [versions: [:"tlsv1.3"]]
  @tls_1_2 [versions: [:"tlsv1.2"]]

  defp options(given \\ []) do
    [cacerts: Certificates.certfile("ca")]
    |> Keyword.merge(given)
    |> Sippet.Options.validate!(Options.schema())
  end

  defp identity(nil), do: []

  defp identity(name),
    do: [certfile: Certificates.certfile(name), keyfile: Certificates.keyfile(name)]

  # A server that shakes hands once for each `connect/3`, and says to the test what came of it.
  defp listen(options) do
    {:ok, socket} = :ssl.listen(0, [ip: {127, 0, 0, 1}, active: false] ++ options)
    {:ok, {_ip, port}} = :ssl.sockname(socket)
    test = self()
    start_supervised!({Task, fn -> serve(socket, test) end}, id: socket)
    port
  end

  defp serve(socket, test) do
    with {:ok, accepted} <- :ssl.transport_accept(socket) do
      result = :ssl.handshake(accepted, @timeout)
      send(test, {:server, self(), result})

      receive do
        :next -> serve(socket, test)
      end
    end
  end

  # Both sides of one connection: in TLS 1.3 the client is done before the server has judged it.
  defp connect(port, options, domain) do
    options = Options.client(options, domain)
    client = :ssl.connect({127, 0, 0, 1}, port, [active: false] ++ options, @timeout)
    assert_receive {:server, pid, server}, @timeout
    seen = {outcome(client), outcome(server)}
    close(client)
    close(server)
    send(pid, :next)
    seen
  end

  defp close({:ok, socket}), do: :ssl.close(socket)
  defp close(_error), do: :ok

  # What a side knows of the other.
  defp outcome({:ok, socket}) do
    case :ssl.peercert(socket) do
      {:ok, certificate} -> {:ok, certificate}
      {:error, :no_peercert} -> {:ok, nil}
      # In TLS 1.3 a client is done, and learns later that the server is not.
      {:error, _} = error -> Options.reason(error)
    end
  end

  defp outcome({:error, _} = error), do: Options.reason(error)

  defp dial(name, domain, given \\ []) do
    port = listen(Options.server(options(identity(name))))
    {client, _server} = connect(port, options(given), domain)
    client
  end

  describe "RFC5922§7.3 a server" do
    # The certificates are in Sippet.Certificates.
    for {name, domain, result} <- [
          {"uri", "example.test", :ok},
          {"uri", "other.example.net", :domain},
          {"uri_dns", "example.test", :ok},
          {"uri_dns", "host.example.test", :domain},
          {"dns", "example.test", :ok},
          {"dns", "EXAMPLE.test", :ok},
          {"dns", "sip.example.test", :domain},
          {"wild", "a.example.test", :domain},
          {"uriuser", "example.test", :ok},
          {"cn", "example.test", :ok},
          {"ip", "127.0.0.1", :ok},
          {"ip", "example.test", :domain},
          {"host", "example.test", :domain},
          {"sips", "example.test", :domain},
          {"selfca", "example.test", :unknown_ca},
          {"httponly", "example.test", :certificate},
          # RFC5924§4 - id-kp-sipDomain alone, which OTP would refuse
          {"sipeku", "example.test", :ok},
          {"sipeku", "host.example.test", :domain},
          {"client", "proxy.example.test", :certificate},
          {"expired", "example.test", :expired},
          {"critical", "example.test", :ok},
          {"critical", "host.example.test", :domain},
          {"server", "127.0.0.1", :ok},
          {"server", "test.local", :ok},
          {"server", "127.0.0.2", :domain}
        ],
        version <- [:"tlsv1.3", :"tlsv1.2"] do
      test "with #{name}, dialled as #{domain} by #{version}" do
        result = dial(unquote(name), unquote(domain), versions: [unquote(version)])
        assert result == expected(unquote(result), unquote(name))
      end
    end

    defp expected(:ok, name), do: {:ok, Certificates.der(name)}
    defp expected(reason, _name), do: reason

    test "that signs itself is of an unknown CA" do
      assert dial("other", "test-other") == :unknown_ca
    end

    test "is trusted by certificates in memory" do
      assert {:ok, _} = dial("dns", "example.test", cacerts: [Certificates.der("ca")])
      assert dial("dns", "example.test", cacerts: [Certificates.der("other")]) == :unknown_ca
    end

    test "is trusted by those of the system where there are no others" do
      assert dial("dns", "example.test", cacerts: nil) == :unknown_ca
    end

    test "is anybody with :insecure" do
      for name <- ["selfca", "expired", "host"],
          do: assert({:ok, _} = dial(name, "example.test", insecure: true, cacerts: nil))
    end

    test "is verified again by each connection, though it has met the client under another name" do
      for versions <- [@tls_1_2, @tls_1_3] do
        port = listen(Options.server(options(identity("dns"))))
        options = options(versions)
        assert {{:ok, _}, {:ok, nil}} = connect(port, options, "example.test")
        assert {:domain, _} = connect(port, options, "host.example.test")
      end
    end
  end

  describe "RFC5922§7.8 the name that a client asks for" do
    setup do
      sni = %{
        "Host.example.test" => identity("host"),
        "biloxi.test" => identity("uri"),
        "127.0.0.1" => identity("ip")
      }

      %{port: listen(Options.server(options([sni: sni] ++ identity("dns"))))}
    end

    for {domain, name} <- [
          {"example.test", "dns"},
          {"host.example.test", "host"},
          {"HOST.example.test.", "host"},
          {"biloxi.test", "uri"},
          {"elsewhere.test", "dns"},
          # RFC6066§3 - no name at all
          {"127.0.0.1", "dns"},
          {"::1", "dns"}
        ],
        version <- [:"tlsv1.3", :"tlsv1.2"] do
      test "is #{domain}, by #{version}", %{port: port} do
        options = options(insecure: true, versions: [unquote(version)])
        {{:ok, certificate}, {:ok, nil}} = connect(port, options, unquote(domain))
        assert certificate == Certificates.der(unquote(name))
      end
    end

    test "may be in any letters", %{port: port} do
      options = Options.client(options(), "host.example.test")
      options = Keyword.put(options, :server_name_indication, ~c"HOST.Example.test")
      {:ok, client} = :ssl.connect({127, 0, 0, 1}, port, options, @timeout)
      assert :ssl.peercert(client) == {:ok, Certificates.der("host")}
    end

    test "is verified as any other", %{port: port} do
      assert {{:ok, _}, _} = connect(port, options(), "host.example.test")
      assert {:domain, _} = connect(port, options(), "biloxi.test")
    end
  end

  describe "RFC5922§7.4 a client" do
    for {asked, name, result} <- [
          {:none, "client", {:ok, []}},
          {:none, nil, {:ok, []}},
          {:optional, "client", {:ok, ["proxy.example.test"]}},
          {:optional, "uri_dns", {:ok, ["example.test"]}},
          {:optional, "sipeku", {:ok, ["example.test"]}},
          {:optional, "critical", {:ok, ["example.test"]}},
          {:optional, nil, {:ok, []}},
          {:optional, "selfca", :unknown_ca},
          {:optional, "expired", :expired},
          {:required, "client", {:ok, ["proxy.example.test"]}},
          {:required, "selfca", :unknown_ca},
          {:required, nil, :missing}
        ],
        version <- [:"tlsv1.3", :"tlsv1.2"] do
      test "with #{inspect(name)}, where a certificate is #{asked}, by #{version}" do
        asked = [client_certificate: unquote(asked)]
        port = listen(Options.server(options(asked ++ identity("dns"))))
        own = identity(unquote(name))
        options = options([versions: [unquote(version)]] ++ own)
        {_client, server} = connect(port, options, "example.test")
        assert identities(server) in allowed(unquote(Macro.escape(result)))
      end
    end

    defp identities({:ok, nil}), do: {:ok, []}
    defp identities({:ok, certificate}), do: {:ok, Identity.of(certificate)}
    defp identities(reason), do: reason

    # TLS 1.2 has no alert of its own for it.
    defp allowed(:missing), do: [:certificate, :handshake]
    defp allowed(result), do: [result]
  end

  describe "a file that changes" do
    test "is read by the next connection after reload/0", %{tmp_dir: folder} do
      own = [certfile: Path.join(folder, "own.pem"), keyfile: Path.join(folder, "own.key")]
      Certificates.write!(folder, "own", names: [dns: "example.test"])
      sni = %{"other.test" => own}
      port = listen(Options.server(options([sni: sni] ++ own)))

      assert {{:ok, first}, _} = connect(port, options(), "example.test")
      assert first == own[:certfile] |> der()
      Certificates.write!(folder, "own", names: [dns: "other.test"])
      assert :ok = Options.reload()
      assert {{:ok, second}, _} = connect(port, options(), "other.test")
      assert second == own[:certfile] |> der()
      assert second != first
      assert {:domain, _} = connect(port, options(), "example.test")
    end

    test "is the one of the CAs", %{tmp_dir: folder} do
      cacerts = Path.join(folder, "cas.pem")
      File.cp!(Certificates.certfile("other"), cacerts)
      port = listen(Options.server(options(identity("dns"))))
      assert {:unknown_ca, _} = connect(port, options(cacerts: cacerts), "example.test")
      File.cp!(Certificates.certfile("ca"), cacerts)
      Options.reload()
      assert {{:ok, _}, _} = connect(port, options(cacerts: cacerts), "example.test")
    end

    defp der(path) do
      [{:Certificate, der, _}] = path |> File.read!() |> :public_key.pem_decode()
      der
    end
  end

  describe "a certificate" do
    test "and its key may be in one file", %{tmp_dir: folder} do
      certfile = Path.join(folder, "both.pem")
      both = [Certificates.certfile("dns"), Certificates.keyfile("dns")]
      File.write!(certfile, Enum.map(both, &File.read!/1))
      options = options(certfile: certfile)
      assert Options.check!(options, true) == :ok
      port = listen(Options.server(options))
      assert {{:ok, _}, _} = connect(port, options(), "example.test")
    end

    test "may be in memory" do
      [{kind, key, _}] =
        "dns" |> Certificates.keyfile() |> File.read!() |> :public_key.pem_decode()

      options = options(certs_keys: [%{cert: Certificates.der("dns"), key: {kind, key}}])
      assert Options.check!(options, true) == :ok
      port = listen(Options.server(options))
      assert {{:ok, _}, _} = connect(port, options(), "example.test")
    end
  end

  describe "a connection" do
    test "hibernates" do
      assert Options.server(options(identity("dns")))[:hibernate_after] == 1_000
      assert Options.client(options(), "example.test")[:hibernate_after] == 1_000
    end

    test "is none that goes on where another one ended" do
      for given <- [[], @tls_1_2] do
        assert Options.server(options(given ++ identity("dns")))[:reuse_sessions] == false
        assert Options.client(options(given), "example.test")[:reuse_sessions] == false
      end

      # Newer OTP refuses the option.
      refute Keyword.has_key?(Options.client(options(@tls_1_3), "a.test"), :reuse_sessions)
    end

    # Handshakes are what costs a server most.
    test "is not negotiated again by its client" do
      listening = [ip: {127, 0, 0, 1}, active: false] ++ Options.server(options(identity("dns")))
      {:ok, socket} = :ssl.listen(0, listening)
      {:ok, {_ip, port}} = :ssl.sockname(socket)

      server =
        Task.async(fn ->
          {:ok, accepted} = :ssl.transport_accept(socket)
          {:ok, accepted} = :ssl.handshake(accepted, @timeout)
          :ssl.recv(accepted, 0, @timeout)
        end)

      options = [active: false] ++ Options.client(options(@tls_1_2), "example.test")
      {:ok, client} = :ssl.connect({127, 0, 0, 1}, port, options, @timeout)
      assert {:error, _refused} = :ssl.renegotiate(client)
      :ssl.close(client)
      Task.await(server)
    end
  end

  describe "versions" do
    test "are those that both have" do
      port = listen(Options.server(options(@tls_1_3 ++ identity("dns"))))
      assert {:handshake, :handshake} = connect(port, options(@tls_1_2), "example.test")
      assert {{:ok, _}, _} = connect(port, options(@tls_1_3), "example.test")
    end
  end

  test "strangers write nothing into the log" do
    port = listen(Options.server(options(identity("dns"))))

    log =
      capture_log(fn ->
        {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, port, [:binary])
        :ok = :gen_tcp.send(socket, "OPTIONS sip:a SIP/2.0\r\n\r\n")
        assert_receive {:server, pid, error}, @timeout
        assert Options.reason(error) == :handshake
        send(pid, :next)
        assert {:domain, :handshake} = connect(port, options(), "elsewhere.test")
      end)

    refute log =~ "TLS"
  end

  describe "reason/1" do
    for {error, reason} <- [
          {{:error, {:tls_alert, {:unknown_ca, ~c"text"}}}, :unknown_ca},
          {{:error, {:tls_alert, {:certificate_expired, ~c"text"}}}, :expired},
          {{:error, {:tls_alert, {:bad_certificate, ~c"text"}}}, :certificate},
          {{:error, {:tls_alert, {:certificate_required, ~c"text"}}}, :certificate},
          {{:ssl_error, :socket, {:tls_alert, {:certificate_revoked, ~c"text"}}}, :certificate},
          {{:tls_alert, {:protocol_version, ~c"text"}}, :handshake},
          {{:error, {:options, {:certfile, "a", {:error, :enoent}}}}, :options},
          {{:error, :closed}, :closed},
          {{:error, :timeout}, :timeout},
          {{:error, :econnrefused}, :econnrefused},
          {{:error, {:anything, :else}}, :other}
        ] do
      test "is #{reason} for #{inspect(error)}" do
        assert Options.reason(unquote(Macro.escape(error))) == unquote(reason)
      end
    end

    test "is :options for a file that has gone" do
      own = [certfile: "/nowhere/a.pem"]
      port = listen(Options.server(options(identity("dns"))))
      assert {:options, _} = connect(port, options(own), "example.test")
    end
  end

  describe "schema/0" do
    test "has defaults for all" do
      assert Sippet.Options.validate!([], Options.schema()) == %{
               certfile: nil,
               keyfile: nil,
               certs_keys: nil,
               sni: %{},
               cacerts: nil,
               client_certificate: :none,
               versions: [:"tlsv1.3", :"tlsv1.2"],
               insecure: false
             }
    end

    for {name, value} <- [
          certfile: ~c"a.pem",
          certfile: "",
          certs_keys: [],
          certs_keys: [%{keyfile: "a"}],
          sni: [{"a.test", [certfile: "a"]}],
          sni: %{"a.test" => []},
          sni: %{"a.test" => [verify: :verify_none]},
          sni: %{a: [certfile: "a"]},
          cacerts: [],
          cacerts: ["a", :b],
          client_certificate: true,
          versions: [],
          versions: [:"tlsv1.1"],
          versions: [:"tlsv1.2", :"tlsv1.2"],
          insecure: nil
        ] do
      test "refuses #{inspect([{name, value}])}" do
        given = [{unquote(name), unquote(Macro.escape(value))}]

        assert_raise ArgumentError, ~r/expected :#{unquote(name)} to be/, fn ->
          Sippet.Options.validate!(given, Options.schema())
        end
      end
    end
  end

  describe "check!/2" do
    test "asks for a certificate of a transport that listens" do
      for given <- [[], [sni: %{"a.test" => identity("dns")}]] do
        assert_raise ArgumentError, ~r/expected :certfile/, fn ->
          Options.check!(options(given), true)
        end
      end

      assert Options.check!(options(), false) == :ok
      assert Options.check!(options(identity("dns")), true) == :ok
      assert Options.check!(options(certs_keys: [Map.new(identity("dns"))]), true) == :ok
    end

    test "asks for files that can be read" do
      for given <- [
            [certfile: "/nowhere/a.pem"],
            [certfile: Certificates.certfile("dns"), keyfile: "/nowhere/a.key"],
            [certs_keys: [%{certfile: "/nowhere/a.pem"}]],
            [sni: %{"a.test" => [certfile: "/nowhere/a.pem"]}],
            [cacerts: "/nowhere/a.pem"]
          ] do
        assert_raise ArgumentError, ~r"can't be read: /nowhere/a", fn ->
          Options.check!(options(given), false)
        end
      end
    end

    test "asks for files of the right kind" do
      {certfile, keyfile} = {Certificates.certfile("dns"), Certificates.keyfile("dns")}

      for given <- [
            [certfile: keyfile],
            [certfile: certfile],
            [certfile: certfile, keyfile: certfile],
            [cacerts: keyfile],
            [cacerts: __ENV__.file]
          ] do
        assert_raise ArgumentError, ~r/holds none/, fn ->
          Options.check!(options(given), false)
        end
      end
    end

    test "asks for one of two" do
      both = [certs_keys: [Map.new(identity("dns"))]] ++ identity("dns")
      assert_raise ArgumentError, ~r/got both/, fn -> Options.check!(options(both), true) end

      assert_raise ArgumentError, ~r/:certfile to be present with :keyfile/, fn ->
        Options.check!(options(keyfile: Certificates.keyfile("dns")), false)
      end
    end
  end
end
