defmodule Sippet.RFC3261.Section10Test do
  use ExUnit.Case, async: true

  import Sippet.DialogCase, only: [alices: 2, alices: 3, route: 1]

  alias Sippet.{Binding, Message, UAS, URI}

  @now 1_000_000

  defp address(uri, params \\ %{}), do: {"", URI.parse!(uri), params}

  defp register(number, headers) do
    request = Message.build_request(:register, "sip:chicago.com")

    [to: address("sip:carol@chicago.com"), call_id: "one", cseq: {number, :register}]
    |> Keyword.merge(headers)
    |> Enum.reduce(request, fn {name, value}, request ->
      Message.put_header(request, name, value)
    end)
  end

  defp contacts(uris), do: Enum.map(uris, &address/1)

  defp bindings(uris) do
    {:ok, bindings, _response} =
      Binding.register([], register(1, contact: contacts(uris)), now: @now)

    bindings
  end

  describe "RFC3261§10.3 a registrar" do
    test "refuses with 400, 403, 423 and 500, and with no 6xx" do
      bindings = bindings(["sip:carol@192.0.2.1"])

      for {status, headers, options} <- [
            {400, [contact: "*"], []},
            {403, [contact: contacts(["sip:1@h", "sip:2@h"])], [max_bindings: 1]},
            {423, [contact: contacts(["sip:1@h"]), expires: 1], []},
            {500, [contact: contacts(["sip:carol@192.0.2.1"])], []}
          ] do
        request = register(1, [record_route: contacts(["sip:p;lr"])] ++ headers)
        assert {:error, response} = Binding.register(bindings, request, [now: @now] ++ options)
        assert response.start_line.status_code == status
        refute Message.has_header?(response, "Record-Route")
      end
    end

    test "passes over a Record-Route, and gives none back" do
      contact = [contact: contacts(["sip:carol@192.0.2.1"])]
      route = [record_route: contacts(["sip:p.chicago.com;lr"])]
      {:ok, bindings, response} = Binding.register([], register(1, contact ++ route), now: @now)
      assert {:ok, ^bindings, plain} = Binding.register([], register(1, contact), now: @now)
      assert response == plain
    end

    test "takes * from another Call-ID, whatever its number, and else only a higher one" do
      bindings = bindings(["sip:carol@192.0.2.1", "sip:carol@192.0.2.2"])
      all = [contact: "*", expires: 0]
      assert {:error, _response} = Binding.register(bindings, register(1, all), now: @now)
      assert {:ok, [], _response} = Binding.register(bindings, register(2, all), now: @now)
      other = register(1, [call_id: "two"] ++ all)
      assert {:ok, [], _response} = Binding.register(bindings, other, now: @now)
    end

    test "takes a binding from another Call-ID, whatever its number, and else only a higher one" do
      bindings = bindings(["sip:carol@192.0.2.1"])

      for {expires, left} <- [{0, []}, {600, [600]}] do
        headers = [contact: contacts(["sip:carol@192.0.2.1"]), expires: expires]
        assert {:error, response} = Binding.register(bindings, register(1, headers), now: @now)
        assert response.start_line.status_code == 500

        for request <- [register(2, headers), register(1, [call_id: "two"] ++ headers)] do
          assert {:ok, bindings, _response} = Binding.register(bindings, request, now: @now)
          assert for(binding <- bindings, do: binding.expires_at - @now) == left
        end
      end
    end

    test "does all of a request or nothing, wherever in it the failure is" do
      bindings = bindings(["sip:carol@192.0.2.1"])

      for uris <- [
            ["sip:new@h", "sip:carol@192.0.2.1"],
            ["sip:carol@192.0.2.1", "sip:new@h"]
          ] do
        request = register(1, contact: contacts(uris))
        assert {:error, response} = Binding.register(bindings, request, now: @now)
        assert response.start_line.status_code == 500
        assert {:ok, ^bindings, _all} = Binding.register(bindings, register(2, []), now: @now)
      end
    end

    test "lists all bindings with the time that they have left, and says the date" do
      bindings = bindings(["sip:carol@192.0.2.1", "mailto:carol@chicago.com"])
      {:ok, _bindings, response} = Binding.register(bindings, register(2, []), now: @now + 600)

      assert for({_name, uri, params} <- response.headers.contact, do: {to_string(uri), params}) ==
               [
                 {"sip:carol@192.0.2.1", %{"expires" => "3000"}},
                 {"mailto:carol@chicago.com", %{"expires" => "3000"}}
               ]

      assert response.headers.date == ~N[1970-01-12 13:56:40]
    end
  end

  describe "RFC3261§10.3 step 2" do
    test "what is required and not known gets 420" do
      request = register(1, require: ["path"])
      assert {:error, response} = UAS.validate(request, allow: ["REGISTER"])
      assert response.start_line.status_code == 420
    end
  end

  describe "RFC3261§10.2 a further REGISTER" do
    test "has the Call-ID of the one before, the next number and a branch of its own" do
      first = alices(:register, 1)
      again = Message.renew(first)
      assert again.headers.call_id == first.headers.call_id
      assert again.headers.cseq == {2, :register}
      assert hd(again.headers.via) != hd(first.headers.via)
    end
  end

  describe "RFC3261§10.3 a Record-Route in a REGISTER" do
    test "is passed over by UAS.validate/2, malformed or not" do
      for headers <- [[record_route: route(["sip:p;lr"])], [{"Record-Route", ["<sip:p 1;lr>"]}]] do
        assert UAS.validate(alices(:register, 1, headers), allow: ["REGISTER"]) == :ok
      end
    end
  end
end
