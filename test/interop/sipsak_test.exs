defmodule Sippet.Interop.SipsakTest do
  use Sippet.Interop.Case, async: true

  alias Sippet.Interop.{Answerer, Registrar}

  @moduletag Peers.tags(:sipsak)

  # 0: a 2xx came; 1: another final response; 3: none came; 32: it was not as --search says
  defp sipsak({_ip, port}, arguments, uri \\ nil) do
    target = uri || "sip:alice@127.0.0.1:#{port}"
    Program.run("sipsak", arguments ++ ["-s", target], limit: 15)
  end

  defp assert_alive(address), do: assert(%{exit: 0} = sipsak(address, []))

  describe "OPTIONS" do
    test "is answered" do
      {stack, address} = start_stack(Answerer)
      assert %{exit: 0} = sipsak(address, [])

      assert [request] = requests(stack, :options, 1)
      assert request.headers.user_agent =~ "sipsak"
      # sipsak asks for rport (RFC 3581), and for alias (RFC 5923) without a value
      assert [{{2, 0}, :udp, _sent_by, %{"rport" => _port, "alias" => ""}}] = request.headers.via
    end

    test "has every header in its answer that sipsak looks for" do
      {_stack, address} = start_stack(Answerer)

      for pattern <- [
            "^SIP/2.0 200 OK",
            "Via: SIP/2.0/UDP .*rport=[0-9]+",
            "To: .*;tag=",
            "CSeq: 1 OPTIONS",
            "Content-Length: 0"
          ],
          do: assert(%{exit: 0} = sipsak(address, ["--search", pattern]))

      assert %{exit: 32} = sipsak(address, ["--search", "Nowhere: to be found"])
    end

    test "is answered a hundred times in a row" do
      {stack, address} = start_stack(Answerer)
      assert %{exit: 0, output: output} = sipsak(address, ["-A", "100"])
      assert output =~ ~r/\d ms/
      assert length(requests(stack, :options, 100)) == 100
    end
  end

  describe "a message from a file" do
    # sipsak makes CRLF of the line ends and sends the rest as it is: compact forms, folded lines, blanks before colons.
    test "is understood" do
      {stack, {_ip, port} = address} = start_stack(Answerer)

      message = """
      OPTIONS sip:alice@127.0.0.1:#{port} SIP/2.0
      v: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKfile;rport, SIP/2.0/TCP [2001:db8::1]:5060
         ;branch=z9hG4bKsecond
      f : "A \\"quoted\\" name" <sip:bob@biloxi.example.com>
        ;tag=a1
      T: <sip:alice@127.0.0.1>
      i: file@127.0.0.1
      CSEQ: 0009
        OPTIONS
      k: timer, 100rel
      X-Strange: a,b;c="d
      l: 0

      """

      file = Path.join(Program.new_folder("message"), "message.sip")
      File.write!(file, message)
      assert %{exit: 0} = sipsak(address, ["-i", "-f", file])

      assert [%{headers: headers}] = requests(stack, :options, 1)
      assert [{_, :udp, _, _}, {_, :tcp, {"2001:db8::1", 5060}, _}] = headers.via
      assert {"A \"quoted\" name", %{userinfo: "bob"}, %{"tag" => "a1"}} = headers.from
      assert {9, :options} = headers.cseq
      assert ["timer", "100rel"] = headers.supported
    end
  end

  describe "REGISTER" do
    defp register({_ip, port} = address, password) do
      contact = "sip:alice@127.0.0.1:#{port}"
      arguments = ["-U", "-C", contact, "-x", "60", "-u", "alice", "-a", password]
      sipsak(address, arguments ++ ["-p", "127.0.0.1:#{port}"], "sip:alice@test.local")
    end

    test "is challenged, and accepted with the right password" do
      {stack, address} = start_stack(Registrar)
      assert %{exit: 0} = register(address, "secret")
      assert [first, second] = requests(stack, :register, 2)
      refute Map.has_key?(first.headers, :authorization)

      assert [{"Digest", %{"username" => "alice", "qop" => "auth"}}] =
               second.headers.authorization
    end

    test "is refused with a wrong password" do
      {_stack, address} = start_stack(Registrar)
      assert %{exit: 1, output: output} = register(address, "wrong")
      assert output =~ "403 Forbidden"
    end
  end

  describe "what no friend sends" do
    test "is a flood, and the stack lives on" do
      {stack, address} = start_stack(Answerer)
      assert %{exit: 0} = sipsak(address, ["-F", "-e", "2000"])
      assert_alive(address)
      assert requests(stack, :options, 1) != []
    end

    # Of one request, more and more octets are changed at random, until one gets no answer in 7·T1.
    test "is trash, and the stack lives on" do
      {_stack, address} = start_stack(Answerer)
      sipsak(address, ["-R", "-t", "60", "--timer-t1=50"])
      assert_alive(address)
    end
  end
end
