defmodule Sippet.Message.CompletionTest do
  use ExUnit.Case, async: true

  alias Sippet.{Message, URI}

  @alice {"Alice", URI.parse!("sip:alice@atlanta.com"), %{}}
  @headers [:via, :from, :to, :call_id, :cseq, :max_forwards]

  defp request(method, headers \\ %{}) do
    %{
      Message.build_request(method, "sip:bob@biloxi.com")
      | headers: Map.merge(%{from: @alice}, headers)
    }
  end

  describe "RFC3261§8.1.1 complete/1" do
    test "puts each header that a request needs, and no other" do
      headers = Message.complete(request(:invite)).headers
      assert Enum.sort(Map.keys(headers)) == Enum.sort(@headers)
      assert [{{2, 0}, :any, {"", 0}, %{"branch" => "z9hG4bK" <> _} = params}] = headers.via
      assert map_size(params) == 1
      assert {"Alice", _uri, %{"tag" => tag}} = headers.from
      assert byte_size(tag) == 8
      assert byte_size(headers.call_id) == 20
      assert {headers.cseq, headers.max_forwards} == {{1, :invite}, 70}
    end

    test "makes a branch, a tag and a Call-ID of its own for each request" do
      parts = fn ->
        %{via: [{_, _, _, %{"branch" => branch}}], from: {_, _, %{"tag" => tag}}, call_id: id} =
          Message.complete(request(:invite)).headers

        [branch, tag, id]
      end

      assert length(Enum.uniq(parts.() ++ parts.())) == 6
    end

    test "changes nothing that is there" do
      complete = Message.complete(request(:invite))
      assert Message.complete(complete) == complete

      for header <- @headers -- [:from] do
        without = Message.delete_header(complete, header)
        again = Message.complete(without)
        assert Message.delete_header(again, header) == without
        assert Message.has_header?(again, header)
      end
    end

    test "leaves a header that stands as text" do
      text = %{"Via" => ["SIP/2.0/UDP"], "To" => ["<"], "Call-ID" => ["a b"], "CSeq" => ["one"]}
      assert Map.take(Message.complete(request(:invite, text)).headers, Map.keys(text)) == text
      keys = Map.keys(Message.complete(request(:invite, text)).headers)
      assert Enum.sort(keys) == Enum.sort([:from, :max_forwards | Map.keys(text)])
    end

    test "gives a Via of one's own the branch that it lacks" do
      via = {{2, 0}, :tcp, {"pc33.atlanta.com", 5060}, %{"rport" => ""}}
      request = Message.complete(request(:options, %{via: [via]}))

      assert [{{2, 0}, :tcp, {"pc33.atlanta.com", 5060}, %{"rport" => "", "branch" => _}}] =
               request.headers.via

      assert [{_, :any, _, _}] = Message.complete(request(:options, %{via: []})).headers.via
    end

    test "writes the URI of From into the To of a REGISTER, without its tag" do
      headers = Message.complete(request(:register)).headers
      assert headers.to == @alice
    end

    test "leaves a request without From without one" do
      request = Message.complete(Message.build_request(:options, "sip:biloxi.com"))
      refute Message.has_header?(request, :from)
      refute Message.valid?(request)
    end

    # RFC3261§8.1.1.3 - a caller of RFC 2543 has no tag, and gets none from a proxy
    test "completes the topmost Via and Max-Forwards alone of somebody else's request" do
      vias = [
        {{2, 0}, :any, {"", 0}, %{}},
        {{2, 0}, :udp, {"pc33.atlanta.com", 5060}, %{"branch" => "z9hG4bK1"}}
      ]

      forwarded = Message.complete(request(:invite, %{via: vias}))
      assert [{_, _, _, %{"branch" => _}}, own] = forwarded.headers.via
      assert own == List.last(vias)
      assert forwarded.headers.from == @alice
      assert Enum.sort(Map.keys(forwarded.headers)) == [:from, :max_forwards, :via]
    end

    test "is for requests" do
      assert_raise FunctionClauseError, fn -> Message.complete(Message.build_response(200)) end
    end
  end

  describe "RFC3261§22.2 renew/1" do
    test "has the next number and a new branch, and all else as it was" do
      request = Message.complete(request(:invite, %{subject: "lunch"}))
      again = Message.renew(request)
      assert again.headers.cseq == {2, :invite}
      assert Map.drop(again.headers, [:cseq, :via]) == Map.drop(request.headers, [:cseq, :via])
      [{version, protocol, sent_by, %{"branch" => first}}] = request.headers.via
      assert [{^version, ^protocol, ^sent_by, %{"branch" => second}}] = again.headers.via
      assert first != second
    end

    test "keeps the sent-by and the parameters of a Via of one's own" do
      via = {{2, 0}, :udp, {"pc33.atlanta.com", 5060}, %{"branch" => "z9hG4bK1", "rport" => ""}}
      [renewed] = Message.renew(request(:options, %{via: [via], cseq: {7, :options}})).headers.via
      assert put_elem(renewed, 3, %{}) == put_elem(via, 3, %{})
      assert %{"rport" => "", "branch" => branch} = elem(renewed, 3)
      assert branch != "z9hG4bK1"
    end

    test "is not for an ACK or a CANCEL, whose numbers are those of an INVITE" do
      for method <- [:ack, :cancel] do
        assert_raise FunctionClauseError, fn -> Message.renew(request(method)) end
      end
    end
  end
end
