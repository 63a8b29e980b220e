defmodule Sippet.Transports.TLSTest do
  use Sippet.StackCase, async: true

  import Sippet.StreamPeer, only: [request: 1, request: 2]
  import Sippet.Wait
  import ExUnit.CaptureLog

  alias Sippet.{Certificates, Stack, URI}
  alias Sippet.Transactions.Client
  alias Sippet.Transports.TLS

  @moduletag :capture_log
  @moduletag transport: false
  @moduletag stack: [telemetry: __MODULE__.Listener]
  @loopback {127, 0, 0, 1}
  @patience 5_000

  defmodule Listener do
    def execute([:sippet | event], measurements, metadata) do
      send(
        Stack.fetch!(metadata.stack).options.private.test,
        {:event, event, measurements, metadata}
      )
    end
  end

  setup_all do
    {:ok, _} = Application.ensure_all_started(:ssl)
    Certificates.write!(Certificates.folder(), "biloxi", names: [dns: "biloxi.test"])
    %{folder: Certificates.folder()}
  end

  defp file(folder, name), do: Path.join(folder, name)

  defp pair(folder, name),
    do: [certfile: file(folder, name <> ".pem"), keyfile: file(folder, name <> ".key")]

  defp start_tls(stack, folder, options \\ []) do
    defaults = [name: stack, port: 0, address: "127.0.0.1", cacerts: file(folder, "ca.pem")]
    options = defaults |> Keyword.merge(pair(folder, "server")) |> Keyword.merge(options)
    tls = start_supervised!(Supervisor.child_spec({TLS, options}, id: make_ref()))
    {:ok, {_ip, port}} = TLS.sockname(tls)
    {tls, port}
  end

  # A server of TLS alone, which shows the test what comes.
  defp server(folder, name, options \\ []) do
    how =
      [:binary, active: false, ip: @loopback, log_level: :none] ++ pair(folder, name) ++ options

    {:ok, listener} = :ssl.listen(0, how)
    {:ok, {_ip, port}} = :ssl.sockname(listener)
    test = self()
    pid = spawn_link(fn -> serve(listener, test) end)
    on_exit(fn -> Process.exit(pid, :kill) end)
    port
  end

  defp serve(listener, test) do
    with {:ok, socket} <- :ssl.transport_accept(listener) do
      spawn_link(fn -> serve(listener, test) end)
      with {:error, _reason} <- shake_hands(socket, test), do: send(test, :no_handshake)
    end
  end

  defp shake_hands(socket, test) do
    with {:ok, socket} <- :ssl.handshake(socket, @patience) do
      about = :ssl.connection_information(socket, [:sni_hostname, :protocol])
      send(test, {:handshake, about})
      answer(socket, test, Message.Stream.new())
      :ok
    end
  end

  defp answer(socket, test, stream) do
    with {:ok, data} <- :ssl.recv(socket, 0) do
      {:ok, items, stream} = Message.Stream.push(stream, data)

      for {:message, octets} <- items do
        message = Message.parse!(octets)
        send(test, {:server, message})

        if message.start_line.method != :ack,
          do: :ssl.send(socket, Message.to_string(Message.to_response(message, 200)))
      end

      answer(socket, test, stream)
    end
  end

  # A client of TLS alone.
  defp connect(port, options \\ []) do
    how = [:binary, active: false, verify: :verify_none, log_level: :none] ++ options
    :ssl.connect(@loopback, port, how, @patience)
  end

  defp receive_message(socket, stream \\ Message.Stream.new()) do
    {:ok, data} = :ssl.recv(socket, 0, @patience)

    case Message.Stream.push(stream, data) do
      {:ok, [{:message, octets} | _], _stream} -> Message.parse!(octets)
      {:ok, [], stream} -> receive_message(socket, stream)
    end
  end

  # By the name of a host, whose address the test knows.
  defp to(port, host \\ "127.0.0.1") do
    Message.build_request(:options, "sips:b@#{host}:#{port}")
    |> Message.put_header(:from, {"", URI.parse!("sip:a@h"), %{"tag" => "1"}})
    |> Message.complete()
  end

  # As the stack does that has looked up the name.
  defp send_to(stack, port, host) do
    transport = Enum.find(Stack.transports(Stack.fetch!(stack)), &(&1.protocol == :tls))
    request = to(port, host)
    {:ok, _, _, request} = Sippet.Router.NextHop.route(Stack.fetch!(stack), request)

    :ok =
      Sippet.Transactions.start_client(
        Stack.fetch!(stack),
        request,
        %{transport | host: host},
        {@loopback, port}
      )

    Client.Key.new(request)
  end

  defp outcome(key) do
    receive do
      {:receive_response, %{start_line: %{status_code: 200}}, ^key} -> :ok
      {:receive_error, reason, ^key} -> reason
    after
      @patience -> :nothing
    end
  end

  describe "whom it connects to" do
    # RFC5922§7.1 to §7.3
    for {name, host, wanted} <- [
          {"uri", "example.test", :ok},
          {"uri_dns", "example.test", :ok},
          {"uri_dns", "host.example.test", :domain},
          {"dns", "example.test", :ok},
          {"dns", "EXAMPLE.test", :ok},
          {"wild", "a.example.test", :domain},
          {"uriuser", "example.test", :ok},
          {"cn", "example.test", :ok},
          {"host", "example.test", :domain},
          {"sips", "example.test", :domain},
          {"selfca", "example.test", :unknown_ca},
          {"httponly", "example.test", :certificate},
          # RFC5924 - the usage of a SIP domain alone
          {"sipeku", "example.test", :ok},
          {"expired", "example.test", :expired},
          {"ip", "127.0.0.1", :ok}
        ],
        version <- [:"tlsv1.2", :"tlsv1.3"] do
      test "with the certificate #{name} for #{host} over #{version}: #{wanted}", %{
        stack: stack,
        folder: folder
      } do
        start_tls(stack, folder, versions: [unquote(version)])
        port = server(folder, unquote(name))
        key = send_to(stack, port, unquote(host))
        outcome = outcome(key)
        # What kind of wrong the usage is, each version of OTP says by itself.
        assert outcome == unquote(wanted)

        if unquote(wanted) != :ok do
          refute_received {:server, _message}

          assert_receive {:event, [:connection, :refused], _,
                          %{reason: unquote(wanted), direction: :out}}
        end
      end
    end

    test "is asked for by its name, and not by its address", %{stack: stack, folder: folder} do
      start_tls(stack, folder)
      assert outcome(send_to(stack, server(folder, "dns"), "example.test")) == :ok
      assert_receive {:handshake, {:ok, [protocol: _, sni_hostname: ~c"example.test"]}}
      assert outcome(send_to(stack, server(folder, "ip"), "127.0.0.1")) == :ok
      assert_receive {:handshake, {:ok, [protocol: _]}}
    end

    # RFC5923§9
    test "has a connection for each domain, even at one address", %{stack: stack, folder: folder} do
      start_tls(stack, folder)
      port = server(folder, "dns")
      assert outcome(send_to(stack, port, "example.test")) == :ok
      assert outcome(send_to(stack, port, "EXAMPLE.test")) == :ok
      assert Sippet.stats(stack).connections == 1
      assert outcome(send_to(stack, port, "other.test")) == :domain
    end

    test "is the host of the request, whatever the name servers say", %{
      stack: stack,
      folder: folder
    } do
      start_tls(stack, folder)
      port = server(folder, "server")
      :ok = Sippet.send(stack, to(port, "localhost"))
      assert_receive {:receive_response, %{start_line: %{status_code: 200}}, _key}, @patience
      :ok = Sippet.send(stack, to(server(folder, "dns"), "localhost"))
      assert_receive {:receive_error, :domain, _key}, @patience
    end

    test "may be anybody where that was asked for, which is logged", %{
      stack: stack,
      folder: folder
    } do
      log = capture_log(fn -> start_tls(stack, folder, insecure: true) end)
      assert log =~ "is not verified"
      assert outcome(send_to(stack, server(folder, "selfca"), "example.test")) == :ok
    end

    test "need not speak TLS", %{stack: stack, folder: folder} do
      start_tls(stack, folder, connect: 500)
      {listener, port} = Sippet.StreamPeer.listen()

      spawn_link(fn ->
        {:ok, socket} = :gen_tcp.accept(listener, @patience)
        :gen_tcp.send(socket, "SIP/2.0 400 Bad Request\r\n\r\n")
        :gen_tcp.recv(socket, 0, @patience)
      end)

      assert outcome(send_to(stack, port, "example.test")) in [:handshake, :closed]
    end

    # RFC3261§26.2.2
    test "is nobody for sips: without TLS", %{stack: stack} do
      start_supervised!({Sippet.Transports.TCP, name: stack, port: 0, address: "127.0.0.1"})

      for uri <- ["sips:b@127.0.0.1", "sips:b@127.0.0.1;transport=tcp"] do
        request = %{to(1) | start_line: %{to(1).start_line | request_uri: URI.parse!(uri)}}
        assert Sippet.send(stack, request) == {:error, :no_transport}
      end
    end
  end

  describe "who connects" do
    for version <- [:"tlsv1.2", :"tlsv1.3"] do
      test "without a certificate is served, and has no identity (#{version})", %{
        stack: stack,
        folder: folder
      } do
        {_tls, port} = start_tls(stack, folder, versions: [unquote(version)])
        {:ok, peer} = connect(port)
        :ok = :ssl.send(peer, request("OPTIONS"))
        assert_receive {:receive_request, request, _key}, @patience
        assert %Sippet.Flow{protocol: :tls, identities: []} = request.source
        :ok = Sippet.send(stack, Message.to_response(request, 200))
        assert receive_message(peer).start_line.status_code == 200

        assert_receive {:event, [:connection, :opened], _,
                        %{direction: :in, version: unquote(version), cipher: _}}
      end

      test "with an optional certificate shows it, or none (#{version})", %{
        stack: stack,
        folder: folder
      } do
        {_tls, port} =
          start_tls(stack, folder, client_certificate: :optional, versions: [unquote(version)])

        for {options, identities} <- [{[], []}, {pair(folder, "client"), ["proxy.example.test"]}] do
          {:ok, peer} = connect(port, options)
          :ok = :ssl.send(peer, request("OPTIONS"))

          assert_receive {:receive_request, %{source: %{identities: ^identities}}, _key},
                         @patience
        end
      end

      test "without the certificate that is required, or with another CA's, is refused (#{version})",
           %{stack: stack, folder: folder} do
        {_tls, port} =
          start_tls(stack, folder, client_certificate: :required, versions: [unquote(version)])

        for options <- [[], pair(folder, "selfca")] do
          # In TLS 1.3 it is told behind the handshake.
          with {:ok, peer} <- connect(port, options) do
            :ssl.send(peer, request("OPTIONS"))
            assert {:error, _refused} = :ssl.recv(peer, 0, @patience)
          end

          assert_receive {:event, [:connection, :refused], _, %{direction: :in, reason: reason}},
                         @patience

          assert reason in [:certificate, :unknown_ca, :handshake]
        end

        refute_received {:receive_request, _request, _key}
        {:ok, peer} = connect(port, pair(folder, "client"))
        :ok = :ssl.send(peer, request("OPTIONS"))

        assert_receive {:receive_request, %{source: %{identities: ["proxy.example.test"]}}, _key},
                       @patience
      end

      # RFC3261§18.4 - the alert comes when the connection stands already
      test "is refused by us or by them: the request fails within milliseconds (#{version})", %{
        stack: stack,
        folder: folder
      } do
        start_tls(stack, folder, pair(folder, "selfca"))

        port =
          server(folder, "dns",
            verify: :verify_peer,
            fail_if_no_peer_cert: true,
            cacertfile: file(folder, "ca.pem"),
            versions: [unquote(version)]
          )

        for _attempt <- 1..5 do
          started = System.monotonic_time(:millisecond)
          outcome = outcome(send_to(stack, port, "example.test"))
          assert outcome in [:unknown_ca, :certificate, :handshake, :closed]
          assert System.monotonic_time(:millisecond) - started < 2_000
        end
      end
    end

    test "that never ends its handshake is dropped", %{stack: stack, folder: folder} do
      {_tls, port} = start_tls(stack, folder, handshake: 100)
      peer = Sippet.StreamPeer.connect(port)
      Sippet.StreamPeer.assert_closed(peer)
      assert_receive {:event, [:connection, :refused], _, %{reason: :handshake}}, @patience
      wait_until(fn -> Sippet.stats(stack).connections == 0 end)
    end

    test "by garbage is dropped, and others go on", %{stack: stack, folder: folder} do
      {_tls, port} = start_tls(stack, folder)
      peer = Sippet.StreamPeer.connect(port)
      Sippet.StreamPeer.send_text(peer, request("OPTIONS"))
      Sippet.StreamPeer.assert_closed(peer)
      {:ok, other} = connect(port)
      :ok = :ssl.send(other, request("OPTIONS"))
      assert_receive {:receive_request, _request, _key}, @patience
    end

    # RFC5922§7.8
    test "gets the certificate of the name that it asks for", %{stack: stack, folder: folder} do
      {_tls, port} = start_tls(stack, folder, sni: %{"Biloxi.test" => pair(folder, "biloxi")})

      for {name, domains} <- [
            {~c"biloxi.test", ["biloxi.test"]},
            {~c"BILOXI.TEST", ["biloxi.test"]},
            {~c"atlanta.test", ["localhost", "test.local"]}
          ] do
        {:ok, peer} = connect(port, server_name_indication: name)
        {:ok, certificate} = :ssl.peercert(peer)
        assert TLS.Identity.of(certificate) == domains
      end
    end

    test "gets the certificate that was renewed, without a restart", %{
      stack: stack,
      folder: folder
    } do
      Certificates.write!(folder, "renewed", names: [dns: "old.test"])
      {_tls, port} = start_tls(stack, folder, pair(folder, "renewed"))
      {:ok, peer} = connect(port)
      {:ok, certificate} = :ssl.peercert(peer)
      assert TLS.Identity.of(certificate) == ["old.test"]

      Certificates.write!(folder, "renewed", names: [dns: "new.test"])
      TLS.reload()
      {:ok, peer} = connect(port)
      {:ok, certificate} = :ssl.peercert(peer)
      assert TLS.Identity.of(certificate) == ["new.test"]
    end
  end

  test "a certificate whose file is gone ends handshakes, and nothing else", %{
    stack: stack,
    folder: folder
  } do
    Certificates.write!(folder, "gone", names: [dns: "gone.test"])
    {tls, port} = start_tls(stack, folder, sni: %{"gone.test" => pair(folder, "gone")})
    File.rm!(file(folder, "gone.pem"))
    TLS.reload()
    assert {:error, _reason} = connect(port, server_name_indication: ~c"gone.test")
    assert_receive {:event, [:connection, :refused], _, %{direction: :in}}, @patience
    assert {:ok, _peer} = connect(port)
    assert Process.alive?(tls)
  end

  # RFC5923
  describe "alias" do
    defp alias_via(port),
      do:
        "SIP/2.0/TLS proxy.example.test:#{port};branch=z9hG4bK#{System.unique_integer([:positive])};alias"

    test "of mutual TLS has requests to its domain go by its connection", %{
      stack: stack,
      folder: folder
    } do
      {_tls, port} = start_tls(stack, folder, client_certificate: :required)
      {:ok, peer} = connect(port, pair(folder, "client"))
      :ok = :ssl.send(peer, request("OPTIONS", via: alias_via(5999)))
      assert_receive {:receive_request, _request, _key}, @patience
      send_to(stack, 5999, "proxy.example.test")
      assert receive_message(peer).start_line.method == :options
      # Never for a domain that the certificate does not name: nobody listens there.
      assert outcome(send_to(stack, 5999, "other.test")) == :econnrefused
    end

    test "of one-way TLS means nothing", %{stack: stack, folder: folder} do
      {_tls, port} = start_tls(stack, folder)
      {:ok, peer} = connect(port)
      :ok = :ssl.send(peer, request("OPTIONS", via: alias_via(5999)))
      assert_receive {:receive_request, _request, _key}, @patience
      assert outcome(send_to(stack, 5999, "proxy.example.test")) == :econnrefused
    end
  end

  describe "the transport" do
    test "that listens needs a certificate", %{stack: stack} do
      assert_raise ArgumentError, ~r/expected :certfile or :certs_keys to be present/, fn ->
        TLS.start_link(name: stack, port: 0)
      end
    end

    test "needs none to connect", %{stack: stack, folder: folder} do
      start_supervised!(
        {TLS,
         name: stack,
         listen: false,
         port: 5998,
         address: "127.0.0.1",
         cacerts: file(folder, "ca.pem")}
      )

      assert outcome(send_to(stack, server(folder, "dns"), "example.test")) == :ok
    end

    # RFC3261§18.1.1
    test "writes its own sent-by, with its port", %{stack: stack, folder: folder} do
      {_tls, own} = start_tls(stack, folder)
      port = server(folder, "server")
      :ok = Sippet.send(stack, to(port))
      assert_receive {:server, request}, @patience
      assert [{_, :tls, {"127.0.0.1", ^own}, _}] = request.headers.via
    end
  end
end
