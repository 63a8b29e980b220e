defmodule Sippet.RFC3261.Section22Test do
  use ExUnit.Case, async: true

  alias Sippet.{DigestAuth, Message}

  @realm "biloxi.com"

  defp request do
    Message.build_request(:register, "sip:biloxi.com")
    |> Message.put_header(:cseq, {1, :register})
  end

  defp bob(_realm), do: {:ok, "bob", "zanzibar"}
  defp secret("bob"), do: {:ok, "zanzibar"}

  defp answered(options \\ []) do
    {:ok, response} = DigestAuth.make_response(request(), 401, @realm, options)
    {:ok, next} = DigestAuth.make_request(request(), response, &bob/1)
    {response, next}
  end

  describe "RFC3261§22 Basic" do
    test "is never asked for" do
      for status <- [401, 407], algorithm <- ["MD5", "SHA-256"] do
        {:ok, response} =
          DigestAuth.make_response(request(), status, @realm, algorithm: algorithm)

        text = Message.to_string(response)
        assert text =~ "-Authenticate: Digest "
        refute text =~ ~r/basic/i
      end
    end

    test "is not accepted, and not answered" do
      basic = Base.encode64("bob:zanzibar")
      request = Message.put_header(request(), :authorization, [{"Basic", %{"" => basic}}])
      assert DigestAuth.verify(request, @realm, &secret/1) == {:error, :no_credentials}

      with_realm =
        Message.put_header(request(), :authorization, [{"Basic", %{"realm" => @realm}}])

      assert DigestAuth.verify(with_realm, @realm, &secret/1) == {:error, :no_credentials}

      challenge =
        Message.put_header(Message.build_response(401), :www_authenticate, [
          {"Basic", %{"realm" => @realm}}
        ])

      assert DigestAuth.make_request(request(), challenge, &bob/1) ==
               {:error, :invalid_auth_header}
    end
  end

  describe "RFC3261§22.4 digest" do
    test "quotes the uri, and all else that is to be quoted" do
      {_response, next} = answered()
      text = Message.to_string(Message.put_header(next, :call_id, "1"))
      assert text =~ ~s(uri="sip:biloxi.com")

      for name <- ~w(username realm nonce response cnonce opaque),
          do: assert(text =~ ~s( #{name}="))

      for name <- ~w(algorithm qop nc), do: assert(text =~ ~r/ #{name}=[^"]/)
    end

    test "quotes all of a challenge but stale and algorithm" do
      {response, _next} = answered(stale: true)
      text = Message.to_string(response)
      for name <- ~w(realm nonce opaque qop), do: assert(text =~ ~s( #{name}="))
      for name <- ~w(stale algorithm), do: assert(text =~ ~r/ #{name}=[^"]/)
    end

    test "asks with a qop and an opaque of base64" do
      for algorithm <- ["MD5", "SHA-256", "SHA-512-256"] do
        {response, _next} = answered(algorithm: algorithm)
        [{"Digest", params}] = response.headers.www_authenticate
        assert params["qop"] == "auth"
        assert {:ok, _octets} = Base.url_decode64(params["opaque"])
      end
    end

    test "takes no domain over from a challenge" do
      {:ok, response} = DigestAuth.make_response(request(), 407, @realm)
      [{"Digest", params}] = response.headers.proxy_authenticate
      challenge = [{"Digest", Map.put(params, "domain", "sip:elsewhere.com")}]
      response = Message.put_header(response, :proxy_authenticate, challenge)
      {:ok, next} = DigestAuth.make_request(request(), response, &bob/1)
      assert [{"Digest", credentials}] = next.headers.proxy_authorization
      refute is_map_key(credentials, "domain")
    end
  end

  describe "RFC7616§3.5 Authentication-Info" do
    test "quotes nextnonce, rspauth and cnonce, and neither qop nor nc" do
      {_response, next} = answered()

      {:ok, ok} =
        DigestAuth.put_authentication_info(Message.build_response(200), next, @realm, &secret/1,
          nextnonce: true
        )

      text = Message.to_string(ok)
      for name <- ~w(nextnonce rspauth cnonce), do: assert(text =~ ~s(#{name}="))
      assert text =~ "qop=auth"
      assert text =~ "nc=00000001"
    end
  end
end
