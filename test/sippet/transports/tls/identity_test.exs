defmodule Sippet.Transports.TLS.IdentityTest do
  use ExUnit.Case, async: true

  alias Sippet.Certificates
  alias Sippet.Transports.TLS.Identity

  doctest Identity

  defp of(options), do: options |> Certificates.new() |> Identity.of()

  describe "RFC5922§7.1 the identities of a certificate" do
    for {what, options, identities} <- [
          {"a SIP URI", [names: [uri: "sip:example.test"]], ["example.test"]},
          {"its scheme in any letters", [names: [uri: "SIP:Example.TEST"]], ["example.test"]},
          {"its host alone", [names: [uri: "sip:example.test:5070;transport=tls?a=b"]],
           ["example.test"]},
          {"several, each once",
           [names: [uri: "sip:a.test", uri: "sip:b.test", uri: "sip:A.test:5061"]],
           ["a.test", "b.test"]},
          {"a number as the host of a SIP URI",
           [names: [uri: "sip:192.0.2.1", uri: "sip:[2001:DB8::0:1]:5061"]],
           ["192.0.2.1", "2001:db8::1"]},
          {"no SIPS URI", [names: [uri: "sips:example.test"]], []},
          {"no URI of another scheme",
           [names: [uri: "https://example.test", uri: "tel:+1", uri: "example.test"]], []},
          {"no URI with a user", [names: [uri: "sip:alice@example.test"]], []},
          {"no URI with an empty user", [names: [uri: "sip:@example.test"]], []},
          {"no URI with @ elsewhere", [names: [uri: "sip:example.test;x=a@b"]], []},
          {"no URI that is none", [names: [uri: "sip:", uri: "sip:a b", uri: "sip:a\0b"]], []},
          {"a DNS name", [names: [dns: "Example.TEST"]], ["example.test"]},
          {"not a DNS name beside a SIP URI",
           [names: [dns: "host.test", uri: "sip:example.test"]], ["example.test"]},
          {"a DNS name beside a URI of a user", [names: [uri: "sip:alice@a.test", dns: "b.test"]],
           ["b.test"]},
          {"a DNS name beside a SIPS URI", [names: [uri: "sips:a.test", dns: "b.test"]],
           ["b.test"]},
          {"a wildcard as it is written", [names: [dns: "*.example.test"]], ["*.example.test"]},
          {"no DNS name with NUL, blanks or nothing",
           [names: [dns: "example.test\0.evil.test", dns: "a b", dns: "", dns: "."]], []},
          {"no DNS name that is not ASCII",
           [
             names: [
               {:dNSName, [?b, 0xFC, ?c, ?h, ?e, ?r]},
               {:dNSName, [?b, 0xC3, 0xBC, ?c, ?h, ?e, ?r]}
             ]
           ], []},
          {"no DNS name that is a number", [names: [dns: "192.0.2.1"]], []},
          {"no other kind of name",
           [
             names: [
               {:rfc822Name, String.to_charlist("alice@example.test")},
               {:ip, {192, 0, 2, 1}}
             ]
           ], []},
          {"the CN without subjectAltName", [cn: "Example.TEST", names: nil], ["example.test"]},
          {"not the CN beside subjectAltName",
           [cn: "example.test", names: [uri: "sip:alice@a.test"]], []},
          {"no CN that is no DNS name", [cn: "Alice of Example", names: nil], []},
          {"no CN that is a number", [cn: "192.0.2.1", names: nil], []},
          {"no CN that is a wildcard", [cn: "*.example.test", names: nil], []},
          {"no CN that is not ASCII", [cn: "exämple.test", names: nil], []},
          {"a name without the dot of the root", [names: [dns: "example.test."]],
           ["example.test"]}
        ] do
      test "are #{what}" do
        assert of(unquote(Macro.escape(options))) == unquote(identities)
      end
    end

    test "are found in a certificate that is decoded" do
      certificate = :public_key.pkix_decode_cert(Certificates.der("uri_dns"), :otp)
      assert Identity.of(certificate) == ["example.test"]
    end

    test "are at most a hundred, of 255 bytes, and hold nothing of the certificate" do
      long = String.duplicate("a", 255)
      names = for n <- 1..150, do: {:dns, "h#{n}.test"}
      identities = of(names: [{:dns, long <> "a"}, {:dns, long} | names])
      assert identities == [long | for(n <- 1..99, do: "h#{n}.test")]
      # Up to 64 bytes a binary is no reference; some OTP tell its size in bits then.
      host = String.duplicate("b", 100)
      assert [kept] = of(names: [uri: "sip:#{host};x=#{String.duplicate("a", 2000)}"])
      assert kept == host

      for name <- [kept, hd(identities)],
          do: assert(:binary.referenced_byte_size(name) == byte_size(name))
    end
  end

  describe "RFC5922§7.2 a domain" do
    for {identity, domain, result} <- [
          {"example.test", "example.test", true},
          {"example.test", "EXAMPLE.Test", true},
          {"example.test", "example.test.", true},
          {"example.test", "sip.example.test", false},
          {"sip.example.test", "example.test", false},
          {"example.test", "example.test.evil.test", false},
          {"example.test", "an-example.test", false},
          {"*.example.test", "sip.example.test", false},
          {".example.test", "sip.example.test", false},
          {"*.example.test", "*.example.test", true},
          {"2001:db8::1", "[2001:DB8:0::1]", true},
          {"xn--bcher-kva.test", "XN--bcher-KVA.test", true},
          {"example.test", "", false}
        ] do
      test "#{inspect(domain)} against #{identity}" do
        assert Identity.match?([unquote(identity)], unquote(domain)) == unquote(result)
      end
    end

    test "matches one of several identities, and none of none" do
      assert Identity.match?(["a.test", "b.test"], "b.test")
      refute Identity.match?([], "b.test")
    end
  end

  describe "RFC5922§7.3 a host that was dialled" do
    for {what, names, host, result} <- [
          {"a domain that is one of them", [dns: "a.test", dns: "b.test"], "B.test", true},
          {"a domain that is none", [dns: "a.test"], "b.test", false},
          {"a number as iPAddress", [ip: {192, 0, 2, 1}], "192.0.2.1", true},
          {"a number as another iPAddress", [ip: {192, 0, 2, 1}], "192.0.2.2", false},
          {"an IPv6 address", [ip: {0x2001, 0xDB8, 0, 0, 0, 0, 0, 1}], "[2001:db8::1]", true},
          {"a number as the host of a SIP URI", [uri: "sip:192.0.2.1"], "192.0.2.1", true},
          {"a number as iPAddress beside a SIP URI", [ip: {192, 0, 2, 1}, uri: "sip:a.test"],
           "192.0.2.1", false},
          {"a number as DNS name", [dns: "192.0.2.1"], "192.0.2.1", false},
          {"a network as iPAddress", [{:iPAddress, <<192, 0, 2, 0, 255, 255, 255, 0>>}],
           "192.0.2.0", false},
          {"a domain beside iPAddress", [ip: {192, 0, 2, 1}, dns: "a.test"], "a.test", true}
        ] do
      test "is #{what}" do
        certificate = Certificates.new(names: unquote(Macro.escape(names)))
        assert Identity.authenticates?(certificate, unquote(host)) == unquote(result)
      end
    end

    test "is a number, and the CN has it" do
      certificate = Certificates.new(cn: "192.0.2.1", names: nil)
      refute Identity.authenticates?(certificate, "192.0.2.1")
    end
  end
end
