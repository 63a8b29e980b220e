defmodule Sippet.RFC3581.SymmetricTest do
  use ExUnit.Case, async: true

  alias Sippet.Message
  alias Sippet.Transports.UDP

  defmodule Core do
    use Sippet.Core

    def receive_request(request, _key, stack),
      do: Sippet.send(stack, Message.to_response(request, 200))
  end

  describe "RFC3581§4 a response" do
    test "comes from the port that got the request, to the port that sent it" do
      name = :"#{inspect(__MODULE__)}"
      start_supervised!({Sippet, name: name, core: Core})

      ports =
        for id <- [:one, :two] do
          spec = Supervisor.child_spec({UDP, name: name, port: 0, address: "127.0.0.1"}, id: id)
          {:ok, {_ip, port}} = spec |> start_supervised!() |> UDP.sockname()
          port
        end

      {:ok, client} = :gen_udp.open(0, [:binary, ip: {127, 0, 0, 1}, active: true])
      {:ok, source} = :inet.port(client)

      for port <- ports do
        :ok = :gen_udp.send(client, {127, 0, 0, 1}, port, options(port))
        assert_receive {:udp, ^client, {127, 0, 0, 1}, ^port, "SIP/2.0 200 " <> _rest = octets}
        assert octets =~ ~r/\r\nVia: [^\r]*;rport=#{source}\b/
        assert octets =~ ";received=127.0.0.1"
      end
    end

    defp options(port) do
      """
      OPTIONS sip:127.0.0.1 SIP/2.0
      Via: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bK#{port};rport
      From: <sip:a@atlanta.com>;tag=1
      To: <sip:b@biloxi.com>
      Call-ID: #{port}
      CSeq: 1 OPTIONS

      """
    end
  end
end
