defmodule Sippet.DigestAuth.RFC7616Test do
  use ExUnit.Case, async: true

  alias Sippet.DigestAuth
  alias Sippet.DigestAuth.Algorithm
  alias Sippet.Message

  # HTTP's targets are paths, which a SIP URI is not: the request line takes their text.
  defp get(path), do: %Message{start_line: %Message.RequestLine{method: "GET", request_uri: path}}

  defp credentials(path, challenges, authenticate, options) do
    response = Message.put_header(Message.build_response(401), :www_authenticate, challenges)
    {:ok, next} = DigestAuth.make_request(get(path), response, authenticate, options)
    [{"Digest", credentials}] = next.headers.authorization
    credentials
  end

  describe "RFC7616§3.9.1" do
    @nonce "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
    @opaque_text "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"
    @cnonce "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"

    defp mufasa("http-auth@example.org"), do: {:ok, "Mufasa", "Circle of Life"}

    defp example(algorithms) do
      challenges =
        for algorithm <- ["SHA-256", "MD5"] do
          {"Digest",
           %{
             "realm" => "http-auth@example.org",
             "qop" => "auth, auth-int",
             "algorithm" => algorithm,
             "nonce" => @nonce,
             "opaque" => @opaque_text
           }}
        end

      credentials("/dir/index.html", challenges, &mufasa/1,
        cnonce: @cnonce,
        algorithms: algorithms
      )
    end

    defp printed(algorithm, response) do
      %{
        "username" => "Mufasa",
        "realm" => "http-auth@example.org",
        "uri" => "/dir/index.html",
        "algorithm" => algorithm,
        "nonce" => @nonce,
        "nc" => "00000001",
        "cnonce" => @cnonce,
        "qop" => "auth",
        "response" => response,
        "opaque" => @opaque_text
      }
    end

    test "MD5 as printed" do
      assert example(["MD5"]) == printed("MD5", "8ca523f5e9506fed4657c9700eebdbec")
    end

    test "SHA-256 as printed" do
      response = "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
      assert example(["MD5", "SHA-256"]) == printed("SHA-256", response)
    end
  end

  describe "RFC7616§3.9.2" do
    @name "Jäsøn Doe"
    @realm "api@example.org"
    @password "Secret, or not?"
    @nonce "5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK"
    @cnonce "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v"

    # What is printed there is SHA-512, cut to 256 bits. FIPS 180-4 §5.3.6.2 starts SHA-512/256 from other
    # values, so that it is not what one gets by cutting; errata of the RFC say so too. The algorithm is the latter.
    @printed_name "488869477bf257147b804c45308cd62ac4e25eb717b12b298c79e62dcea254ec"
    @printed_response "ae66e67d6b427bd3f120414a82e4acff38e8ecd9101d6c861229025f607a79dd"

    defp cut(text),
      do: :crypto.hash(:sha512, text) |> binary_part(0, 32) |> Base.encode16(case: :lower)

    test "the printed values are of SHA-512, cut" do
      ha1 = cut("#{@name}:#{@realm}:#{@password}")
      assert cut("#{@name}:#{@realm}") == @printed_name

      assert cut("#{ha1}:#{@nonce}:00000001:#{@cnonce}:auth:#{cut("GET:/doe.json")}") ==
               @printed_response
    end

    test "the example with SHA-512/256" do
      challenge =
        {"Digest",
         %{
           "realm" => @realm,
           "qop" => "auth",
           "algorithm" => "SHA-512-256",
           "nonce" => @nonce,
           "opaque" => "HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS",
           "charset" => "UTF-8",
           "userhash" => "true"
         }}

      jason = fn @realm -> {:ok, @name, @password} end
      credentials = credentials("/doe.json", [challenge], jason, cnonce: @cnonce)

      assert credentials["username"] ==
               "793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b"

      assert credentials["response"] ==
               "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5"

      assert credentials["userhash"] == "true"
    end
  end

  describe "FIPS180-4 SHA-512/256" do
    for {name, text, digest} <- [
          {"one block", "abc",
           "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23"},
          {"two blocks",
           "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
           "3928e184fb8690f840da3988121d31be65cb9d3ef83ee6146feac861e19b563a"},
          {"nothing", "", "c672b8d1ef56ed28ab87c3622c5114069bdd3ad7b8f9737498d0c01ecef0967a"}
        ] do
      test name do
        assert Algorithm.hex({:sha512_256, false}, unquote(text)) == unquote(digest)
      end
    end
  end
end
