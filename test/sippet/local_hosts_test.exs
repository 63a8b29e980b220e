defmodule Sippet.LocalHostsTest do
  use ExUnit.Case, async: true

  alias Sippet.{LocalHosts, URI}

  @any {{0, 0, 0, 0}, 5060}
  @any6 {{0, 0, 0, 0, 0, 0, 0, 0}, 5060}

  describe "of/2" do
    test "is the address that the transport is bound to" do
      assert LocalHosts.of({{192, 0, 2, 1}, 5070}, nil) ==
               %{sent_by: {"192.0.2.1", 5070}, hosts: [{"192.0.2.1", 5070}]}

      assert LocalHosts.of({{0x2001, 0xDB8, 0, 0, 0, 0, 0, 1}, 5060}, nil).sent_by ==
               {"2001:db8::1", 5060}
    end

    test "is what the transport advertises, and both mean it" do
      assert LocalHosts.of({{10, 0, 0, 1}, 5060}, {"sip.example.com", 5090}) ==
               %{
                 sent_by: {"sip.example.com", 5090},
                 hosts: [{"sip.example.com", 5090}, {"10.0.0.1", 5060}]
               }
    end

    test "of a transport without an address is what it advertises, or nothing" do
      assert LocalHosts.of(nil, nil) == %{sent_by: nil, hosts: []}
      assert LocalHosts.of(nil, {"a.com", 1}) == %{sent_by: {"a.com", 1}, hosts: [{"a.com", 1}]}
    end

    test "of a transport that is bound to all addresses is one that the machine has, and all mean it" do
      {:ok, interfaces} = :inet.getifaddrs()

      addresses =
        for {_, options} <- interfaces, {:addr, ip} <- options, do: to_string(:inet.ntoa(ip))

      for address <- [@any, @any6] do
        %{sent_by: {host, 5060}, hosts: hosts} = LocalHosts.of(address, nil)
        refute host in ["0.0.0.0", "::"]
        assert host in addresses
        assert {host, 5060} in hosts
        assert Enum.all?(hosts, fn {host, 5060} -> host in addresses end)
      end

      assert {"127.0.0.1", 5060} in LocalHosts.of(@any, nil).hosts
      assert {"::1", 5060} in LocalHosts.of(@any6, nil).hosts
    end
  end

  describe "member?/2" do
    test "compares names in any letter case, and addresses as addresses" do
      hosts = [{"Sip.Example.com", 5060}, {"2001:db8::1", 5060}, {"192.0.2.1", 5070}]
      member? = &LocalHosts.member?(&1, hosts)
      assert member?.({"sip.example.COM", 5060})
      assert member?.({"sip.example.com.", 5060})
      refute member?.({"sip.example.com", 5061})
      assert member?.({"[2001:DB8:0::1]", 5060})
      assert member?.({"192.0.2.1", 5070})
      refute member?.({"192.0.2.1", 5060})
      assert member?.(URI.parse!("sip:bob@sip.example.com"))
      assert member?.(URI.parse!("sip:[2001:db8:0:0::1]"))
      refute member?.(URI.parse!("tel:+358"))
    end
  end

  describe "named/1" do
    test "a name without a port has the ports of both schemes" do
      assert LocalHosts.named(["example.com", {"example.com", 5090}]) ==
               [{"example.com", 5060}, {"example.com", 5061}, {"example.com", 5090}]
    end
  end
end
