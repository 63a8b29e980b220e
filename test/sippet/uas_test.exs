defmodule Sippet.UASTest do
  use ExUnit.Case, async: true

  alias Sippet.{Message, UAS}

  doctest UAS

  defp request(method, headers \\ %{}, body \\ nil) do
    request = Message.build_request(method, "sip:bob@biloxi.com")
    %{request | headers: headers, body: body}
  end

  defp status(request, options) do
    case UAS.validate(request, options) do
      :ok -> :ok
      {:error, response} -> {response.start_line.status_code, response.headers}
    end
  end

  describe "RFC3261§8.2.1 method inspection" do
    test "known and unknown methods are looked up as they stand in Allow" do
      assert status(request(:invite), allow: ["INVITE"]) == :ok
      assert status(request("PING"), allow: ["PING"]) == :ok

      assert {405, %{allow: ["INVITE"]}} =
               status(put_in(request(:invite).start_line.method, "invite"), allow: ["INVITE"])
    end
  end

  describe "RFC3261§8.2.2.3 Require" do
    test "option tags are compared in any letter case" do
      headers = %{require: ["100REL", "path"]}

      assert {420, %{unsupported: ["path"]}} =
               status(request(:invite, headers), allow: ["INVITE"], supported: ["100rel"])
    end

    test "is ignored in an ACK and a CANCEL" do
      for method <- [:ack, :cancel],
          do:
            assert(status(request(method, %{require: ["path"]}), allow: ["ACK", "CANCEL"]) == :ok)
    end

    test "that is malformed gets 400" do
      assert {400, _headers} =
               status(request(:invite, %{"Require" => ["a b"]}), allow: ["INVITE"])
    end
  end

  describe "a Record-Route" do
    test "that is malformed gets 400, as from a proxy" do
      request = request(:invite, %{"Record-Route" => ["<sip:p 1;lr>"]})
      assert {:error, response} = UAS.validate(request, allow: ["INVITE"])
      assert to_string(response.start_line) == "SIP/2.0 400 Bad Request (Record-Route)"
      assert Sippet.Proxy.validate(request) == {:error, response}
    end

    test "is not looked at in an ACK and a CANCEL" do
      for method <- [:ack, :cancel] do
        request = request(method, %{"Record-Route" => ["<sip:p 1;lr>"]})
        assert UAS.validate(request, allow: ["ACK", "CANCEL"]) == :ok
      end
    end
  end

  describe "RFC3261§8.2.3 content processing" do
    @sdp [allow: ["INVITE"], accept: [{"application", "sdp"}]]
    @text {{"text", "plain"}, %{}}

    test "a type that is not understood gets 415 with Accept" do
      assert status(request(:invite, %{content_type: {{"application", "sdp"}, %{}}}, "v=0"), @sdp) ==
               :ok

      assert {415, %{accept: [{{"application", "sdp"}, %{}}]}} =
               status(request(:invite, %{content_type: @text}, "v=0"), @sdp)

      assert {415, _headers} = status(request(:invite, %{}, "v=0"), @sdp)
    end

    test "no body has no type, and any type goes where none is asked for" do
      assert status(request(:invite, %{content_type: @text}, ""), @sdp) == :ok
      assert status(request(:invite, %{content_type: @text}, "hello"), allow: ["INVITE"]) == :ok
    end

    test "a body that is optional is passed over" do
      headers = %{
        content_type: @text,
        content_disposition: {"render", %{"handling" => "Optional"}}
      }

      assert status(request(:invite, headers, "hello"), @sdp) == :ok
    end

    test "the body of an ACK and of a CANCEL is not looked at" do
      for method <- [:ack, :cancel], encoding <- [[], ["gzip"]] do
        headers = %{content_type: @text, content_encoding: encoding}
        options = Keyword.put(@sdp, :allow, ["ACK", "CANCEL"])
        assert status(request(method, headers, "hello"), options) == :ok
      end
    end

    test "an encoding gets 415 with Accept-Encoding" do
      headers = %{content_type: {{"application", "sdp"}, %{}}, content_encoding: ["gzip"]}

      assert {415, %{accept_encoding: [{"identity", %{}}]}} =
               status(request(:invite, headers, "x"), @sdp)
    end
  end
end
