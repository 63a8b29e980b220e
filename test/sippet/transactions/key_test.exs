defmodule Sippet.Transactions.KeyTest do
  use Sippet.TransactionCase, async: true

  alias Sippet.Transactions.Key

  doctest Client.Key
  doctest Server.Key

  describe "Client.Key.new/1" do
    test "is the same for a request and its response" do
      for method <- [:invite, :options, "PING"] do
        request = request(method)
        assert Client.Key.new(request) == Client.Key.new(Message.to_response(request, 200))
      end
    end

    test "is the INVITE's for its ACK, and another for its CANCEL" do
      invite = request(:invite)
      assert Client.Key.new(as(invite, :ack)) == Client.Key.new(invite)
      assert Client.Key.new(as(invite, :cancel)) != Client.Key.new(invite)
    end

    test "without a branch is the same for a request and its response, whatever the server wrote into the Via" do
      request = request(:options, via: [via(%{"rport" => ""})])
      response = Message.to_response(request, 200)
      stamped = via(%{"rport" => "5061", "received" => "192.0.2.9"})
      assert %{branch: "rfc2543-" <> _digest} = key = Client.Key.new(request)
      assert Client.Key.new(put_all(response, via: [stamped])) == key
      assert Client.Key.new(put_all(request, call_id: "other")) != key
    end

    test "wants a Via, and of a response a CSeq" do
      request = request(:options)
      response = Message.to_response(request, 200)

      assert_raise ArgumentError, fn -> Client.Key.new(Message.delete_header(request, :via)) end
      assert_raise ArgumentError, fn -> Client.Key.new(Message.delete_header(response, :cseq)) end
    end
  end

  describe "Client.Key.new/2, Server.Key.new/3" do
    test "take a method in any letter case, and keep one that is not known" do
      assert Client.Key.new("z9hG4bKa", "bye").method == :bye
      assert Client.Key.new("z9hG4bKa", "Ping").method == "Ping"
      assert Server.Key.new("z9hG4bKa", "bye", {"a", 1}).method == :bye
    end

    test "compare hosts without letter case and brackets" do
      assert Server.Key.new("z9hG4bKa", :bye, {"[2001:DB8::1]", 1}).sentby == {"2001:db8::1", 1}
    end
  end

  describe "Server.Key.new/1" do
    test "is the same for a request and its responses" do
      request = request(:invite)
      assert Server.Key.new(request) == Server.Key.new(Message.to_response(request, 200))
    end

    test "does not depend on what this side wrote into the Via" do
      request = request(:invite, via: [via(%{})])
      stamped = put_all(request, via: [via(%{"received" => "192.0.2.9"})])
      assert Server.Key.new(stamped) == Server.Key.new(request)
    end

    test "of an RFC 2543 request compares the host of its URI without letter case" do
      request = request(:invite, via: [via(%{})])
      line = Message.build_request(:invite, "SIP:bob@BILOXI.com").start_line
      assert Server.Key.new(%{request | start_line: line}) == Server.Key.new(request)
      line = Message.build_request(:invite, "sip:BOB@biloxi.com").start_line
      refute Server.Key.new(%{request | start_line: line}) == Server.Key.new(request)
    end

    test "takes the host of a parsed IPv6 Via without brackets" do
      request =
        Message.parse!(
          "OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP [2001:DB8::1]:5061;branch=z9hG4bKa\r\n\r\n"
        )

      assert Server.Key.new(request).sentby == {"2001:db8::1", 5061}
    end

    test "keeps no datagram in memory" do
      branch = "z9hG4bK" <> String.duplicate("x", 200)
      via = "Via: SIP/2.0/UDP #{String.duplicate("a", 200)}.com;branch=#{branch}\r\n"
      filler = "Subject: #{String.duplicate("s", 5_000)}\r\n"
      request = Message.parse!("OPTIONS sip:a SIP/2.0\r\n#{via}#{filler}\r\n")
      key = Server.Key.new(request)
      assert key.branch == branch
      assert :binary.referenced_byte_size(key.branch) == byte_size(branch)
      {host, _port} = key.sentby
      assert :binary.referenced_byte_size(host) <= 2 * byte_size(host)
    end
  end

  describe "the text of a key" do
    test "is read again as the same key" do
      for key <- [
            Client.Key.new("z9hG4bKa", :invite),
            Client.Key.new("z9hG4bKa", "Ping"),
            Server.Key.new("z9hG4bKa", :cancel, {"atlanta.com", 5060}),
            Server.Key.new("z9hG4bKa", "Ping", {"2001:db8::1", 0})
          ] do
        "~K[" <> text = to_string(key)
        assert inspect(key) == to_string(key)
        assert Transactions.parse_key!(String.trim_trailing(text, "]")) == key
      end
    end

    test "is a call where the sigil can't hold it" do
      for branch <- ["z9hG4bK\xFF", "z9hG4bK|", "z9hG4bK]", "z9hG4bK\n"],
          key <- [Client.Key.new(branch, :invite), Server.Key.new(branch, "Ping", {"h", 0})] do
        text = inspect(key)
        assert text =~ ".Key.new(" and String.printable?(text)
        assert {^key, []} = Code.eval_string(text)
      end

      # Built by hand, of whatever.
      assert inspect(%Server.Key{branch: nil, method: nil, sentby: nil}) == "~K[|nil]"
      assert inspect(%Client.Key{branch: 'a', method: {}}) =~ "Client.Key.new([97], {})"
    end

    test "is read with the method as an atom, in upper case or in lower case" do
      for method <- [":invite", "INVITE", "invite"] do
        assert Transactions.parse_key!("z9hG4bKa|#{method}") ==
                 Client.Key.new("z9hG4bKa", :invite)
      end
    end

    test "makes no atom" do
      name = "unseen#{System.unique_integer([:positive])}"
      assert Transactions.parse_key!("z9hG4bKa|:#{name}").method == name
      assert_raise ArgumentError, fn -> String.to_existing_atom(name) end
    end

    test "that is none is refused" do
      for text <- [
            "",
            "z9hG4bKa",
            "|invite",
            "z9hG4bKa|",
            "a|b|c|d",
            "a|invite|host",
            "a|invite|:5060",
            "a|invite|host:x",
            "a|invite|host:65536",
            "a|invite|host:-1",
            "a|invite|2001:db8::1:5060"
          ] do
        assert_raise ArgumentError, ~r/as a key/, fn -> Transactions.parse_key!(text) end
      end
    end
  end

  describe "Key.rfc2543?/1" do
    test "tells the two kinds" do
      refute Key.rfc2543?(Server.Key.new(request(:invite)))
      assert Key.rfc2543?(Server.Key.new(request(:invite, via: [via(%{})])))
      assert Key.rfc2543?(Server.Key.new(request(:invite, via: [via(%{"branch" => "1"})])))
    end
  end
end
