defmodule Sippet.RFC3261.Section20Test do
  use ExUnit.Case, async: true

  alias Sippet.{Headers, URI}

  defp print(name, value), do: name |> Headers.to_iodata(value) |> IO.iodata_to_binary()

  describe "RFC3261§20 angle brackets" do
    for name <- ["Contact", "From", "To", "Reply-To", "P-Asserted-Identity", "Refer-To"] do
      test "stand around every URI of #{name}, with a display name or without" do
        list? = unquote(name) in ["Contact", "P-Asserted-Identity"]
        wrap = &if(list?, do: [&1], else: &1)

        for text <- ["sip:a@b", "sip:a,b@c", "sip:a@b?Subject=x", "sip:a@b;transport=tcp"] do
          uri = URI.parse!(text)
          assert print(unquote(name), wrap.({"", uri, %{}})) == "<#{text}>"

          assert print(unquote(name), wrap.({"Bob", uri, %{"x" => "y"}})) ==
                   ~s("Bob" <#{text}>;x=y)
        end
      end

      test "that are missing leave what follows ; to #{name}" do
        assert {:ok, value} = Headers.parse(unquote(name), "sip:a@b;transport=tcp")
        assert {"", %{parameters: nil}, %{"transport" => "tcp"}} = value |> List.wrap() |> hd()
      end

      if name != "Refer-To" do
        test "that are missing leave no room for a ? in #{name}" do
          assert {:error, _error} = Headers.parse(unquote(name), "sip:a@b?Subject=x")
        end
      end
    end

    # RFC3515§2.1 wants them as RFC 3261 does; its senders in the field leave them out.
    test "that are missing leave what follows ? to the URI of Refer-To" do
      replaces = "?Replaces=1@c;to-tag=2;from-tag=3"

      for {text, user, parameters, headers, params} <- [
            {"sip:a@b?Subject=x", "a", nil, "?Subject=x", %{}},
            {"sip:b;method=INVITE?Replaces=x%3Bto-tag%3D1", nil, ";method=INVITE",
             "?Replaces=x%3Bto-tag%3D1", %{}},
            {"sip:a@b" <> replaces, "a", nil, replaces, %{}},
            {"<sip:a@b#{replaces}>;x=y", "a", nil, replaces, %{"x" => "y"}}
          ] do
        assert {:ok, {"", uri, found}} = Headers.parse("Refer-To", text)
        assert {uri.userinfo, uri.host, uri.headers} == {user, "b", headers}
        assert {uri.parameters, found} == {parameters, params}
      end
    end
  end

  describe "RFC3261§20 parameters of headers" do
    test "that are not understood are kept" do
      for {name, text} <- [
            {"Contact", "<sip:a@b>;x-new=1"},
            {"Via", "SIP/2.0/UDP a;branch=z9hG4bK1;x-new=1"},
            {"Accept", "application/sdp;x-new=1"},
            {"Retry-After", "5;x-new=1"}
          ] do
        assert {:ok, value} = Headers.parse(name, text)
        assert print(name, value) =~ ";x-new=1"
      end
    end
  end

  describe "RFC3261§20.16 CSeq" do
    test "is a number of 32 bits" do
      assert {:ok, {0x7FFFFFFF, :invite}} = Headers.parse("CSeq", "2147483647 INVITE")

      for number <- ["4294967296", "-1", "1.5", "0x1"] do
        assert {:error, _error} = Headers.parse("CSeq", number <> " INVITE")
      end
    end
  end
end
