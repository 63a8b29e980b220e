defmodule Sippet.Transports.TLS.IdentityTest do
  use ExUnit.Case, async: true

  alias Sippet.Certificates
  alias Sippet.Transports.TLS.Identity

  setup_all do
    folder = Path.join(System.tmp_dir!(), "sippet-identity-#{System.unique_integer([:positive])}")
    on_exit(fn -> File.rm_rf!(folder) end)
    %{folder: Certificates.write!(folder)}
  end

  defp of(folder, name) do
    [{:Certificate, der, _}] =
      folder |> Path.join(name <> ".pem") |> File.read!() |> :public_key.pem_decode()

    Identity.of(der)
  end

  # RFC5922§7.1
  for {name, domains} <- [
        {"uri", ["example.test"]},
        {"uri_dns", ["example.test"]},
        {"dns", ["example.test"]},
        {"wild", ["*.example.test"]},
        {"uriuser", ["example.test"]},
        {"cn", ["example.test"]},
        {"ip", ["127.0.0.1"]},
        {"sips", []},
        {"client", ["proxy.example.test"]}
      ] do
    test "the certificate #{name} speaks for #{inspect(domains)}", %{folder: folder} do
      assert of(folder, unquote(name)) == unquote(domains)
    end
  end

  test "names that are many or long are not all kept", %{folder: folder} do
    many = for number <- 1..300, do: {:dns, "h#{number}.example.test"}
    Certificates.renew!(folder, "many", [{:dns, String.duplicate("x", 300)} | many])
    domains = of(folder, "many")
    assert length(domains) == 100 and hd(domains) == "h1.example.test"
  end

  # RFC5922§7.2
  for {domains, domain, match?} <- [
        {["example.test"], "example.test", true},
        {["example.test"], "EXAMPLE.test", true},
        {["example.test"], "example.test.", true},
        {["example.test"], "a.example.test", false},
        {["*.example.test"], "a.example.test", false},
        {["a.example.test"], "example.test", false},
        {["127.0.0.1"], "127.0.0.1", true},
        {[], "example.test", false}
      ] do
    test "#{inspect(domains)} #{if match?, do: "is", else: "is not"} #{domain}" do
      assert Identity.match?(unquote(domains), unquote(domain)) == unquote(match?)
    end
  end
end
