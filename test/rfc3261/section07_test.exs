defmodule Sippet.RFC3261.Section07Test do
  use ExUnit.Case, async: true

  alias Sippet.{Headers, Message, URI}

  @invite Message.parse!("""
          INVITE sip:bob@biloxi.com SIP/2.0
          Via: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bK776asdhds
          Max-Forwards: 70
          To: Bob <sip:bob@biloxi.com>
          From: Alice <sip:alice@atlanta.com>;tag=1928301774
          Call-ID: a84b4c76e66710@pc33.atlanta.com
          CSeq: 314159 INVITE
          X-Foo: bar

          """)

  describe "RFC3261§7 SIP messages" do
    test "have CRLF at the end of each line, and an empty line behind the headers, body or none" do
      for body <- [nil, "", "v=0\r\n\r\no=x"],
          message <- [@invite, Message.to_response(@invite, 200)] do
        [head, rest] =
          %{message | body: body} |> Message.to_string() |> String.split("\r\n\r\n", parts: 2)

        assert rest == (body || "")
        lines = String.split(head, "\r\n")
        assert length(lines) >= 7
        refute Enum.any?(lines, &(&1 =~ ~r/[\r\n]/ or &1 == ""))
      end
    end
  end

  describe "RFC3261§7.1 requests" do
    test "name their version SIP/2.0, in capitals" do
      assert to_string(Message.build_request(:options, "sip:b").start_line) ==
               "OPTIONS sip:b SIP/2.0"

      assert to_string(Message.build_response(200).start_line) =~ ~r/\ASIP\/2\.0 200 /
      assert Message.parse!("OPTIONS sip:b sip/2.0\r\n\r\n").start_line.version == {2, 0}
    end

    test "hold no blank, no control character and no bracket in the Request-URI" do
      for octet <- [0..0x20, [?<, ?>, 0x7F]] |> Enum.concat() do
        uri = <<"sip:a", octet, "@b">>
        assert {:error, _error} = URI.parse(uri)
        assert {:error, _error} = Message.parse("OPTIONS #{uri} SIP/2.0\r\n\r\n")
      end

      assert {:error, _error} = Message.parse("OPTIONS <sip:b> SIP/2.0\r\n\r\n")
    end
  end

  describe "RFC3261§7.3.1 header rows" do
    test "of one name are the same in one row, and in any mix" do
      values = %{
        "Via" => [
          "SIP/2.0/UDP a;branch=z9hG4bK1",
          "SIP/2.0/TCP b;branch=z9hG4bK2",
          "SIP/2.0/UDP c"
        ],
        "Route" => ["<sip:a;lr>", "<sip:b,c@d;lr>", "\"x, y\" <sip:e;lr>"],
        "Contact" => ["<sip:a>;q=0.5", "\"x, y\" <sip:b>", "sip:c"],
        "Allow" => ["INVITE", "ACK", "BYE"],
        "Warning" => ["307 a \"b, c\"", "301 d \"e\"", "399 f \"g\""]
      }

      for {name, [a, b, c] = rows} <- values do
        parsed = Headers.parse(name, rows)
        assert {:ok, [_, _, _]} = parsed
        assert Headers.parse(name, Enum.join(rows, ", ")) == parsed
        assert Headers.parse(name, ["#{a},#{b}", c]) == parsed
        assert Headers.parse(name, [a, "#{b} , #{c}"]) == parsed
      end
    end

    test "hold no parameter twice" do
      # Read, the last one counts, as in most stacks; what is printed has it once.
      for {name, text, printed} <- [
            {"From", "<sip:a>;tag=1;Tag=2", "<sip:a>;tag=2"},
            {"Contact", "<sip:a>;x;q=0.1;q=0.5", "<sip:a>;q=0.5;x"},
            {"Content-Type", "a/b;charset=x;charset=y", "a/b;charset=y"},
            {"Via", "SIP/2.0/UDP a:1;rport;branch=z9hG4bK1;rport=7",
             "SIP/2.0/UDP a:1;branch=z9hG4bK1;rport=7"},
            {"Event", "a;id=1;id=1", "a;id=1"}
          ] do
        assert {:ok, value} = Headers.parse(name, text)
        found = name |> Headers.to_iodata(value) |> IO.iodata_to_binary()
        assert pieces(found) == pieces(printed)
      end

      # A response finds its transaction by the branch: of two that differ nobody can say which.
      assert {:error, _error} =
               Headers.parse("Via", "SIP/2.0/UDP a;branch=z9hG4bK1;Branch=z9hG4bK2")
    end

    # Parameters have no order.
    defp pieces(text), do: text |> String.split(";") |> Enum.sort()
  end

  describe "RFC3261§7.4.2 the length of the body" do
    test "is in Content-Length, and the body stands as it is" do
      for body <- ["", "v=0\r\n", "é", <<0, 13, 10, 255>>] do
        text = Message.to_string(%{@invite | body: body})
        assert text =~ "\r\nContent-Length: #{byte_size(body)}\r\n\r\n"
        assert String.ends_with?(text, "\r\n\r\n" <> body)
        refute text =~ ~r/transfer-encoding/i
      end

      assert Message.to_string(%{@invite | body: nil}) =~ "\r\nContent-Length: 0\r\n\r\n"
    end
  end
end
