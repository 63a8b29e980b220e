defmodule Sippet.RFC6216.SMIMETest do
  use ExUnit.Case, async: true

  import Sippet.Corpus, only: [read: 1]

  # The S/MIME and TLS messages of RFC 6216, with their true Content-Length (the archive's is 2 to 8 octets short). Their
  # DER bodies hold every octet there is: NUL, bare CR, blank lines.

  alias Sippet.Corpus
  alias Sippet.Message
  alias Sippet.URI

  setup :read

  @signature %{
    "micalg" => "sha1",
    "protocol" => "application/pkcs7-signature"
  }

  @encrypted %{"smime-type" => "enveloped-data", "name" => "smime.p7m"}

  @signed [
    {"cms-smime-msg", 774, "7f069b1090fc9f21"},
    {"noeku-cms-smime-msg", 774, "f36eb25c80c26264"},
    {"noeku-smime-msg", 778, "36a2826dd304f858"},
    {"noeku-smime-sign-encrypt", 1463, "d6165e7481bbe35d"},
    {"smime-msg", 778, "3b515e121b43a911"},
    {"smime-sign-encrypt", 1462, "e8df6e1ce5d1e864"}
  ]

  describe "RFC6216 multipart/signed bodies" do
    for {name, length, boundary} <- @signed do
      @tag fixture: "rfc6216-cl/#{name}", length: length, boundary: boundary
      test name, %{raw: raw, parsed: {:ok, message}} = context do
        params = Map.put(@signature, "boundary", context.boundary)
        assert message.headers.content_type == {{"multipart", "signed"}, params}

        assert byte_size(message.body) == context.length
        assert String.ends_with?(raw, "\r\n\r\n" <> message.body)

        delimiter = "--" <> context.boundary
        assert [<<>>, _part, _signature, "--" <> _] = parts(message.body, delimiter)
        assert Message.parse!(Message.to_string(message)) == message
      end
    end
  end

  describe "RFC6216 application/pkcs7-mime bodies" do
    for {name, length} <- [{"smime-encrypted", 569}, {"noeku-smime-encrypted", 570}] do
      @tag fixture: "rfc6216-cl/#{name}", length: length
      test name, %{parsed: {:ok, message}} = context do
        assert message.headers.content_type == {{"application", "pkcs7-mime"}, @encrypted}

        assert message.headers.content_disposition ==
                 {"attachment", %{"handling" => "required", "filename" => "smime.p7"}}

        assert byte_size(message.body) == context.length
        assert message.body =~ <<0>>
        assert Message.parse!(Message.to_string(message)) == message
      end
    end
  end

  describe "RFC6216 a MESSAGE over TLS" do
    @tag fixture: "rfc6216-cl/message-tls"
    test "message-tls", %{parsed: {:ok, message}} do
      assert %URI{scheme: "sips", host: "example.net", port: 5061} =
               message.start_line.request_uri

      assert [{{2, 0}, :tls, {"192.0.2.2", 15_001}, params}] = message.headers.via
      assert params["rport"] == "50738"
      assert {"", %URI{scheme: "sips", port: 15_001}, _} = message.headers.from
      assert message.body == "Hello!\r\n"
      assert Message.validate(message) == :ok
    end

    @tag fixture: "rfc6216-cl/message-tls-resp"
    test "message-tls-resp", %{parsed: {:ok, message}} do
      assert message.start_line.status_code == 200
      assert message.headers.cseq == {4308, :message}
      assert message.body == "\r\n"
      assert Message.validate(message) == :ok
    end
  end

  test "every message has its test" do
    files = for {name, _} <- Corpus.fixtures("rfc6216-cl"), do: "rfc6216-cl/#{name}"
    assert length(files) == 10
    assert files -- Corpus.tagged(__MODULE__) == []
  end

  defp parts(body, delimiter), do: :binary.split(body, delimiter, [:global])
end
