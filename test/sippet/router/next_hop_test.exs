defmodule Sippet.Router.NextHopTest do
  use ExUnit.Case, async: true

  alias Sippet.{Message, Stack, Transport, URI}
  alias Sippet.Message.Route
  alias Sippet.Router.NextHop

  defp request(uri, headers \\ %{}) do
    request = Message.build_request(:options, uri)
    via = [{{2, 0}, :udp, {"127.0.0.1", 5060}, %{"branch" => "z9hG4bKa"}}]
    %{request | headers: Map.merge(%{via: via}, headers)}
  end

  defp route(uri), do: {"", URI.parse!(uri), %{}}

  describe "RFC3261§8.1.2 the next hop" do
    test "is the Request-URI" do
      assert Route.hop(request("sip:biloxi.com")) == {:udp, "biloxi.com", 5060}
      assert Route.hop(request("sip:biloxi.com:5080")) == {:udp, "biloxi.com", 5080}
      assert Route.hop(request("sip:u@[2001:db8::1]:5070")) == {:udp, "2001:db8::1", 5070}
    end

    test "is the first Route, if it is a loose router" do
      request =
        request("sip:biloxi.com", %{
          route: [route("sip:p1.example;lr"), route("sip:p2.example;lr")]
        })

      assert Route.hop(request) == {:udp, "p1.example", 5060}
      request = request("sip:biloxi.com", %{route: [route("sip:p1.example;LR=on")]})
      assert Route.hop(request) == {:udp, "p1.example", 5060}
    end

    test "is the Request-URI, if the first Route is a strict router" do
      request = request("sip:p1.example", %{route: [route("sip:p2.example")]})
      assert Route.hop(request) == {:udp, "p1.example", 5060}
    end

    test "is the target before all" do
      request = request("sip:biloxi.com", %{route: [route("sip:p1.example;lr")]})
      assert Route.hop(%{request | target: {:tcp, "h", 1}}) == {:tcp, "h", 1}
    end

    test "is the maddr before the host, and nowhere for one that names no host" do
      assert Route.hop(request("sip:h;maddr=192.0.2.9")) == {:udp, "192.0.2.9", 5060}
      assert Route.hop(request("sip:h;maddr=[2001:db8::1]")) == {:udp, "2001:db8::1", 5060}

      for maddr <- ["%FF%FE", "a%20b", "a%2Fb", String.duplicate("9", 6_000)],
          do: assert(Route.hop(request("sip:h;maddr=#{maddr}")) == nil)
    end

    test "is nowhere for a URI that names no host" do
      assert Route.hop(request("tel:+15551234")) == nil
      assert Route.hop(request("urn:service:sos")) == nil
    end
  end

  describe "RFC3263§4.1 the transport" do
    test "is the URI's, in any letter case" do
      assert Route.hop(request("sip:h;transport=TCP")) == {:tcp, "h", 5060}
      assert Route.hop(request("sip:h;Transport=tls")) == {:tls, "h", 5061}
      assert Route.hop(request("sip:h:5060;transport=tls")) == {:tls, "h", 5060}
      assert Route.hop(request("sip:h;transport=wss")) == {:wss, "h", 5061}
      assert Route.hop(request("sip:h;transport=dtls")) == {:dtls, "h", 5061}
      assert Route.hop(request("sip:h;transport=ws")) == {:ws, "h", 5060}
      assert Route.hop(request("sip:h;transport=quic")) == {"QUIC", "h", 5060}
    end

    test "is the Via's, where the URI names none" do
      via = [{{2, 0}, :tcp, {"a", 5060}, %{}}]
      assert Route.hop(request("sip:h", %{via: via})) == {:tcp, "h", 5060}
    end

    test "RFC3261§26.2.2 is TLS for sips" do
      assert Route.hop(request("sips:h")) == {:tls, "h", 5061}
      assert Route.hop(request("sips:h;transport=tcp")) == {:tls, "h", 5061}
      assert Route.hop(request("sips:h;transport=ws")) == {:wss, "h", 5061}
    end

    test "RFC3261§8.1.2 is TLS for a sips Request-URI, whatever the Route" do
      for {route, hop} <- [
            {"sip:p1.example;lr", {:tls, "p1.example", 5061}},
            {"sip:p1.example:5060;lr", {:tls, "p1.example", 5060}},
            {"sip:p1.example:5070;lr;transport=tcp", {:tls, "p1.example", 5070}},
            {"sip:p1.example;lr;transport=ws", {:wss, "p1.example", 5061}},
            {"sip:p1.example", {:tls, "h", 5061}}
          ] do
        assert Route.hop(request("sips:h", %{route: [route(route)]})) == hop
      end

      route = %{route: [route("sips:p1.example;lr")]}
      assert Route.hop(request("sip:h", route)) == {:tls, "p1.example", 5061}
    end

    test "RFC3261§18.1.1 goes to the maddr" do
      assert Route.hop(request("sip:h;maddr=224.0.1.75")) == {:udp, "224.0.1.75", 5060}
    end
  end

  describe "route/2" do
    defp stack(transports) do
      stack = Stack.create(Stack.Options.new(name: __MODULE__), nil)
      on_exit(fn -> :persistent_term.erase({Stack, __MODULE__}) end)
      Stack.put_transports(stack, transports)
      stack
    end

    defp transport(protocol, address \\ nil) do
      %Transport{protocol: protocol, reliable?: protocol != :udp, pid: self(), address: address}
    end

    test "finds no transport of another protocol" do
      assert NextHop.route(stack([transport(:udp)]), request("sips:h")) == {:error, :no_transport}
      assert NextHop.route(stack([]), request("sip:h")) == {:error, :no_transport}
      assert NextHop.route(stack([transport(:udp)]), request("tel:1")) == {:error, :no_transport}
    end

    test "takes the one that reaches the address" do
      four = transport(:udp, {{127, 0, 0, 1}, 5060})
      six = transport(:udp, {{0, 0, 0, 0, 0, 0, 0, 1}, 5060})
      stack = stack([four, six])
      assert {:ok, ^six, {"::1", 5060}, _} = NextHop.route(stack, request("sip:[::1]"))
      assert {:ok, ^four, {"127.0.0.2", 5060}, _} = NextHop.route(stack, request("sip:127.0.0.2"))
      assert NextHop.route(stack([four]), request("sip:[::1]")) == {:error, :no_transport}
    end

    test "takes the one that the Via names" do
      one = transport(:udp, {{127, 0, 0, 2}, 5060})
      two = transport(:udp, {{127, 0, 0, 1}, 5060})
      assert {:ok, ^two, _, _} = NextHop.route(stack([one, two]), request("sip:127.0.0.9"))
    end

    test "RFC3261§18.1.1 rewrites the Via of a request that goes another way" do
      stack = stack([transport(:udp), transport(:tcp)])

      assert {:ok, %{protocol: :tcp}, {"h", 5060}, request} =
               NextHop.route(stack, request("sip:h;transport=tcp"))

      assert [{{2, 0}, :tcp, {"127.0.0.1", 5060}, %{"branch" => "z9hG4bKa"}}] =
               request.headers.via
    end

    test "RFC3261§18.1.1 sends over 1300 octets by a reliable transport, if there is one" do
      large = request("sip:h", %{"X-Padding" => [String.duplicate("a", 1300)]})
      stack = stack([transport(:udp), transport(:tcp)])

      assert {:ok, %{protocol: :tcp}, _, %{headers: %{via: [{_, :tcp, _, _}]}}} =
               NextHop.route(stack, large)

      assert {:ok, %{protocol: :udp}, _, _} = NextHop.route(stack, request("sip:h"))
      assert {:ok, %{protocol: :udp}, _, _} = NextHop.route(stack([transport(:udp)]), large)
    end
  end
end
