defmodule Sippet.ReferTest do
  use ExUnit.Case, async: true

  alias Sippet.{Message, Refer, URI}

  doctest Refer

  @noise ~c"a@;=<>%&?,: 0" ++ [?\", ?\\, ?\t, 1, 255]

  @carol URI.parse!("sip:carol@biloxi.com")

  defp refer(headers) do
    :refer
    |> Message.build_request("sip:bob@192.0.2.4")
    |> Message.put_header(:from, {"", URI.parse!("sip:alice@atlanta.com"), %{}})
    |> Message.put_header(:via, [{{2, 0}, :udp, {"192.0.2.1", 5060}, %{}}])
    |> Message.complete()
    |> Message.put_headers(headers)
  end

  defp notify(type, body) do
    notify = %{Message.build_request(:notify, "sip:bob@192.0.2.4") | body: body}
    if type, do: Message.put_header(notify, :content_type, type), else: notify
  end

  defp printed(request) do
    request
    |> Message.put_header(:from, {"", URI.parse!("sip:alice@atlanta.com"), %{}})
    |> Message.put_header(:via, [{{2, 0}, :udp, {"192.0.2.1", 5060}, %{}}])
    |> Message.complete()
    |> Message.to_string()
  end

  describe "headers/2" do
    test "names who is to be called, and who refers" do
      me = URI.parse!("sip:alice@atlanta.com")

      assert Refer.headers(@carol, referred_by: me, subscribe: false) == [
               {"Refer-To", ["<sip:carol@biloxi.com>"]},
               {"Referred-By", ["<sip:alice@atlanta.com>"]},
               {"Refer-Sub", ["false"]}
             ]

      assert Refer.headers(@carol) == [{"Refer-To", ["<sip:carol@biloxi.com>"]}]
    end

    test "refuses what is no URI" do
      assert_raise ArgumentError, ~r/:referred_by/, fn ->
        Refer.headers(@carol, referred_by: "alice")
      end
    end
  end

  describe "read/1" do
    test "reads all of it" do
      text =
        "<sip:carol@biloxi.com;method=MESSAGE;user=phone?Replaces=a%40b%3Bto-tag%3D1%3Bfrom-tag%3D2&Subject=hi>"

      {:ok, transfer} =
        Refer.read(
          refer([
            {"Refer-To", [text]},
            {"Referred-By", ["<sip:a@b>;cid=\"1@b\""]},
            {"Refer-Sub", ["FALSE"]}
          ])
        )

      assert %{
               method: :message,
               replaces: "a@b;to-tag=1;from-tag=2",
               headers: %{"Subject" => "hi"},
               referred_by: "<sip:a@b>;cid=\"1@b\"",
               subscribe?: false
             } = transfer

      assert to_string(transfer.uri) == "sip:carol@biloxi.com;user=phone"
    end

    test "has what most REFERs do not say" do
      assert {:ok, transfer} = Refer.read(refer([{"Refer-To", ["sip:carol@biloxi.com"]}]))

      assert transfer == %{
               uri: @carol,
               method: :invite,
               replaces: nil,
               headers: %{},
               referred_by: nil,
               subscribe?: true
             }
    end

    test "takes any other method as text, and makes no atom of it" do
      {:ok, transfer} = Refer.read(refer([{"Refer-To", ["<sip:c@d;method=NoSuchMethodHere>"]}]))
      assert transfer.method == "NoSuchMethodHere"
    end

    test "finds the Replaces in any letter case" do
      {:ok, transfer} = Refer.read(refer([{"Refer-To", ["<sip:c@d?rePlaces=x>"]}]))
      assert {transfer.replaces, transfer.headers} == {"x", %{}}
    end

    for {header, lines} <- [
          {"Refer-To", nil},
          {"Refer-To", [""]},
          {"Refer-To", ["<sip:carol@biloxi.com>", "<sip:dave@biloxi.com>"]},
          {"Refer-To", ["<sip:carol@biloxi.com>, <sip:dave@biloxi.com>"]},
          {"Refer-To", ["<sip:carol@biloxi.com"]},
          {"Refer-To",
           ["<sip:carol@biloxi.com?Replaces=a%40b%0D%0ARoute%3A%20%3Csip%3Aevil%3E>"]},
          {"Refer-To", ["<sip:carol@biloxi.com;method=INVITE%20sip:evil>"]},
          {"Refer-To", ["<sip:carol@biloxi.com;method=INVITE%0D%0A>"]},
          {"Referred-By", ["<sip:carol@biloxi.com"]},
          {"Referred-By", ["<sip:a@b>", "<sip:a@b>"]}
        ] do
      test "refuses #{header}: #{inspect(lines)} with 400" do
        headers = %{"Refer-To" => ["<sip:carol@biloxi.com>"]}

        headers =
          case unquote(lines) do
            nil -> Map.delete(headers, unquote(header))
            lines -> Map.put(headers, unquote(header), lines)
          end

        assert {:error, response} = Refer.read(refer(headers))
        assert response.start_line.reason_phrase == "Bad Request (#{unquote(header)})"
      end
    end

    test "random octets never raise" do
      :rand.seed(:exsss, {3, 2, 1})

      for _ <- 1..2_000, header <- ["Refer-To", "Referred-By", "Refer-Sub"] do
        noise =
          for _ <- 1..:rand.uniform(12),
              into: "",
              do: <<Enum.random(@noise)>>

        text = if :rand.uniform(2) == 1, do: noise, else: "<sip:carol@biloxi.com?" <> noise <> ">"
        headers = Map.put(%{"Refer-To" => ["<sip:c@d>"]}, header, [text])

        case Refer.read(refer(headers)) do
          {:ok, transfer} -> assert printed(Refer.request(transfer))
          {:error, response} -> assert response.start_line.status_code == 400
        end
      end
    end
  end

  describe "request/1" do
    test "has the Replaces and the Referred-By, and no other header of the URI" do
      text =
        "<sip:carol@biloxi.com?Replaces=a%40b%3Bto-tag%3D1%3Bfrom-tag%3D2&Route=%3Csip:evil%3E>"

      {:ok, transfer} = Refer.read(refer([{"Refer-To", [text]}, {"Referred-By", ["<sip:a@b>"]}]))
      invite = Refer.request(transfer)
      assert to_string(invite.start_line) =~ "INVITE sip:carol@biloxi.com SIP/2.0"

      assert invite.headers == %{
               "Replaces" => ["a@b;to-tag=1;from-tag=2"],
               "Referred-By" => ["<sip:a@b>"]
             }
    end
  end

  describe "progress/1" do
    test "is the status line, and goes on until a final one" do
      assert Refer.progress(100)[:body] == "SIP/2.0 100 Trying\r\n"
      response = Message.to_response(refer([]), 486, "Not Now")
      assert Refer.progress(response)[:body] == "SIP/2.0 486 Not Now\r\n"
      for status <- [100, 180, 199], do: assert(Refer.progress(status)[:state] == nil)

      for status <- [200, 302, 603],
          do: assert(Refer.progress(status)[:state] == {:terminated, "noresource"})
    end
  end

  describe "status/1" do
    @sipfrag {{"message", "sipfrag"}, %{"version" => "2.0"}}

    test "is that of the status line" do
      for {body, status} <- [
            {"SIP/2.0 100 Trying", 100},
            {"SIP/2.0 200 OK\r\nContact: <sip:a@b>\r\n", 200},
            {"sip/2.0 603\r\n", 603},
            {"SIP/2.0 486 \r\n", 486}
          ],
          do: assert(Refer.status(notify(@sipfrag, body)) == {:ok, status})

      assert Refer.status(notify({{"Message", "SIPfrag"}, %{}}, "SIP/2.0 180 Ringing")) ==
               {:ok, 180}
    end

    test "is an error for anything else" do
      for body <- [
            "",
            "SIP/2.0 700 X",
            "SIP/2.0 2000 OK",
            "SIP/2.0 20 OK",
            "INVITE sip:a@b SIP/2.0",
            "\r\nSIP/2.0 200 OK",
            <<255>>
          ],
          do: assert(Refer.status(notify(@sipfrag, body)) == :error)

      assert Refer.status(notify(nil, "SIP/2.0 200 OK")) == :error
      assert Refer.status(notify({{"text", "plain"}, %{}}, "SIP/2.0 200 OK")) == :error
      assert Refer.status(%{notify(@sipfrag, "") | body: nil}) == :error
    end

    test "reads what progress/1 writes, through print and parse" do
      notify =
        refer([])
        |> Map.put(:start_line, notify(nil, nil).start_line)
        |> Message.put_header(:cseq, {1, :notify})

      options = Refer.progress(180)
      notify = %{Message.put_headers(notify, options[:headers]) | body: options[:body]}
      assert notify |> Message.to_string() |> Message.parse!() |> Refer.status() == {:ok, 180}
    end
  end
end
