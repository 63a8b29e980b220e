defmodule Sippet.NamesTest do
  use ExUnit.Case, async: true

  alias Sippet.{Headers, Message, Names, URI}

  test "agrees with the native library" do
    assert {Headers.Table.hash(), Names.hash()} == Sippet.Native.table_hashes()
  end

  test "lists 17 methods and 10 protocols, sorted" do
    assert length(Names.methods()) == 17
    assert length(Names.protocols()) == 10
    for names <- [Names.methods(), Names.protocols()], do: assert(Enum.sort(names) == names)
  end

  describe "a method of the table" do
    for name <- Names.methods() do
      test "#{name} is the same for the parser, the printer and this module" do
        name = unquote(name)
        method = Names.method(name)
        assert is_atom(method)
        assert Names.method(String.downcase(name)) == method
        assert Names.method_name(method) == name

        text = request(name, "UDP h:6060")
        message = Message.parse!(text)
        assert message.start_line.method == method
        assert message.headers.cseq == {1, method}
        assert to_string(message) == text
        assert Headers.parse("RAck", "1 1 #{name}") == {:ok, {1, 1, method}}
      end

      # RFC3261§7.1 - methods are case-sensitive
      test "#{name} is text in another letter case" do
        other = String.downcase(unquote(name))
        message = Message.parse!(request(other, "UDP h"))
        assert message.start_line.method == other
        assert message.headers.cseq == {1, other}
      end
    end
  end

  describe "a protocol of the table" do
    for name <- Names.protocols() do
      test "#{name} is the same for the parser, the printer and this module" do
        name = unquote(name)
        protocol = Names.protocol(name)
        assert is_atom(protocol)
        assert Names.protocol(String.downcase(name)) == protocol

        for written <- [name, String.downcase(name), String.capitalize(name)] do
          message = Message.parse!(request("OPTIONS", "#{written} h"))
          assert [{{2, 0}, ^protocol, {"h", port}, _params}] = message.headers.via
          assert port == (Names.default_port(protocol) || 0)
        end

        text = request("OPTIONS", "#{name} h:6060")
        assert text |> Message.parse!() |> to_string() == text
      end
    end
  end

  test "any other name stays text" do
    for name <- ["invite", "INVIT", "INVITES", "erlang", "Ping"] do
      message = Message.parse!(request(name, "UDP h:6060"))
      assert {message.start_line.method, message.headers.cseq} == {name, {1, name}}
      assert Names.method_name(name) == name
    end

    for name <- ["QUIC", "ERLANG", "UDPX", "TLS-SCTP"] do
      message = Message.parse!(request("OPTIONS", "#{name} h"))
      assert [{{2, 0}, ^name, {"h", 0}, _params}] = message.headers.via
      assert Names.protocol(String.downcase(name)) == name

      assert {Names.default_port(name), Names.secure?(name), Names.carrier(name)} ==
               {nil, false, :tcp}
    end
  end

  describe "RFC3261§19.1.2 default port and transport" do
    test "are those of the scheme, for the parser, the printer and this module" do
      for {scheme, protocol, port} <- [{"sip", :udp, 5060}, {"sips", :tls, 5061}] do
        assert {Names.scheme_protocol(scheme), Names.scheme_port(scheme)} == {protocol, port}
        assert Names.default_port(protocol) == port
        assert URI.parse!("#{scheme}:h").port == port
        assert to_string(%URI{scheme: scheme, host: "h", port: port}) == "#{scheme}:h"
      end

      assert {Names.scheme_protocol("tel"), Names.scheme_port("tel")} == {nil, nil}
    end
  end

  test "says what is reliable and what is secure" do
    protocols = Enum.map(Names.protocols(), &Names.protocol/1)
    assert Enum.reject(protocols, &Names.reliable?/1) == [:dccp, :dtls, :udp]
    assert Enum.filter(protocols, &Names.secure?/1) == [:dtls, :tls, :wss]
  end

  defp request(method, via) do
    "#{method} sip:h SIP/2.0\r\nVia: SIP/2.0/#{via};branch=z9hG4bK1\r\nCSeq: 1 #{method}\r\n" <>
      "Content-Length: 0\r\n\r\n"
  end
end
