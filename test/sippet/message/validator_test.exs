defmodule Sippet.Message.ValidatorTest do
  use ExUnit.Case, async: true

  alias Sippet.Message
  alias Sippet.URI

  @invite """
  INVITE sip:bob@biloxi.com SIP/2.0
  Via: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bK776asdhds
  Via: SIP/2.0/TCP pc34.atlanta.com;branch=z9hG4bK776asdhdt
  Record-Route: <sip:p1.example.com;lr>
  Max-Forwards: 70
  To: Bob <sip:bob@biloxi.com>
  From: Alice <sip:alice@atlanta.com>;tag=1928301774
  Call-ID: a84b4c76e66710@pc33.atlanta.com
  CSeq: 314159 INVITE
  Contact: <sip:alice@pc33.atlanta.com>
  Timestamp: 54
  X-Foo: bar
  Content-Length: 0

  """

  defp invite, do: Message.parse!(@invite)

  defp without(key), do: Map.update!(invite(), :headers, &Map.delete(&1, key))

  defp put(key, value), do: Message.put_header(invite(), key, value)

  describe "validate/1" do
    test "accepts what is whole" do
      assert Message.validate(invite()) == :ok
      assert Message.valid?(invite())
      assert Message.validate(Message.to_response(invite(), 200)) == :ok
      assert Message.validate(%{invite() | target: {:udp, "192.0.2.1", 5060}}) == :ok
    end

    test "names the headers that are missing" do
      for {key, name} <- [via: "Via", from: "From", to: "To", call_id: "Call-ID", cseq: "CSeq"] do
        assert Message.validate(without(key)) == {:error, "missing headers: #{name}"}
        refute Message.valid?(without(key))
      end

      assert Message.validate(without(:max_forwards)) == :ok
    end

    test "compares the CSeq with the request" do
      assert {:error, "CSeq" <> _} = Message.validate(put(:cseq, {1, :ack}))
      assert {:error, "CSeq" <> _} = Message.validate(put(:cseq, {1, "INVITE"}))
      assert {:error, "CSeq" <> _} = Message.validate(put(:cseq, {0x80000000, :invite}))
      assert Message.validate(put(:cseq, {0x7FFFFFFF, :invite})) == :ok

      assert Message.validate(
               Message.put_header(Message.to_response(invite(), 200), :cseq, {1, :bye})
             ) == :ok
    end

    test "judges the topmost Via alone, and lets RFC 2543 branches pass" do
      via = fn version, params -> {version, :udp, {"a", 5060}, params} end
      assert Message.validate(put(:via, [via.({2, 0}, %{})])) == :ok

      assert Message.validate(
               put(:via, [via.({2, 0}, %{"branch" => "1"}), via.({1, 0}, %{"branch" => ""})])
             ) == :ok

      assert {:error, "Via" <> _} = Message.validate(put(:via, [via.({2, 0}, %{"branch" => ""})]))
      assert {:error, "Via" <> _} = Message.validate(put(:via, [via.({3, 0}, %{})]))
      assert {:error, _} = Message.validate(put(:via, []))
    end

    test "accepts a From without a tag, but not with an empty one" do
      uri = URI.parse!("sip:a@b")
      assert Message.validate(put(:from, {"", uri, %{}})) == :ok

      assert {:error, "From has an empty tag"} =
               Message.validate(put(:from, {"", uri, %{"tag" => ""}}))

      assert {:error, "To has an empty tag"} =
               Message.validate(put(:to, {"", uri, %{"tag" => ""}}))
    end

    test "refuses other versions" do
      assert {:error, "unsupported SIP version: {7, 0}"} =
               Message.validate(put_in(invite().start_line.version, {7, 0}))
    end

    # RFC3261§19.1.1
    test "refuses headers and a method in the Request-URI" do
      for {uri, verdict} <- [
            {"sip:a@b;transport=tcp", :ok},
            {"sip:a@b;methods=x", :ok},
            {"sip:a@b?Route=c", {:error, "the Request-URI has headers"}},
            {"sip:a@b;method=BYE", {:error, "the Request-URI has the parameter method"}},
            {"sip:a@b;lr;M%45thod=BYE", {:error, "the Request-URI has the parameter method"}}
          ] do
        request = put_in(invite().start_line.request_uri, URI.parse!(uri))
        assert {uri, Message.validate(request)} == {uri, verdict}
      end
    end

    test "takes a Content-Length that is not the body's: it is counted anew when printed" do
      assert Message.validate(%{invite() | body: "abc"}) == :ok
    end

    test "refuses what was built wrong, and does not fail on it" do
      bad = [
        nil,
        5,
        :a,
        "a",
        [],
        [1],
        %{},
        {},
        {1, 2},
        {"", nil, %{}},
        [{}],
        [{{2, 0}, nil, nil, nil}],
        [1 | 2]
      ]

      for {key, _value} <- invite().headers,
          key not in ["X-Foo", :content_length],
          value <- bad do
        # Some of these are of another kind than the header's, and are printed by that.
        if {key, value} in [
             {:call_id, "a"},
             {:max_forwards, 5},
             {:max_forwards, [1]},
             {:record_route, []},
             {:record_route, "a"},
             {:contact, []},
             {:contact, "a"},
             {:timestamp, {1, 2}},
             {:timestamp, "a"},
             {:timestamp, 5},
             {:timestamp, [1]}
           ] do
          assert {value, Message.validate(put(key, value))} == {value, :ok}
        else
          assert {:error, text} = Message.validate(put(key, value))
          assert is_binary(text)
        end

        assert Message.validate(put(key, value), {:udp, "a", 1}) |> is_tuple() or
                 key in [:contact, :record_route, :timestamp, :call_id, :max_forwards]
      end

      for value <- ["70", ["70"], [70]],
          do: assert(Message.validate(put(:max_forwards, value)) == :ok)

      for value <- ["256", "", "a", [256], [70, 70], 256, -1],
          do: assert({:error, _} = Message.validate(put(:max_forwards, value)))

      for value <- [nil, 5.0, :a, [:a], %{}, {}],
          do: assert({:error, _} = Message.validate(put("X-Foo", value)))

      for message <- [
            %{invite() | start_line: nil},
            %{invite() | headers: nil},
            %{invite() | body: 5},
            %{invite() | target: 5},
            %{invite() | target: {:udp, "192.0.2.1", "5060"}},
            put_in(invite().start_line.method, nil),
            put_in(invite().start_line.request_uri, "sip:a"),
            put_in(invite().start_line.request_uri, %URI{scheme: "sip", host: 5}),
            put_in(invite().start_line.request_uri, %URI{scheme: "sip", host: "a", parameters: 5}),
            put_in(invite().start_line.version, nil),
            put_in(Message.to_response(invite(), 200).start_line.status_code, 99),
            put_in(Message.to_response(invite(), 200).start_line.reason_phrase, nil),
            put(:x_foo, ["a"]),
            put("X Foo", ["a"]),
            put(:subject, "a\r\nb"),
            put(:date, %NaiveDateTime{
              year: 2024,
              month: 13,
              day: 1,
              hour: 0,
              minute: 0,
              second: 0
            }),
            put(:via, [{{2, 0}, nil, {"a", 1}, %{}}]),
            put(:via, [{{2, 0}, :udp, {"a", 70_000}, %{}}]),
            put(:via, [{{2, 0}, :udp, {"a", 1}, %{"branch" => nil}}]),
            %{},
            nil
          ],
          do: assert({:error, _} = Message.validate(message))
    end

    test "shows what the network sent at no length" do
      long = String.duplicate("a", 10_000)
      request = put_in(invite().start_line.method, long)
      assert {:error, text} = Message.validate(request)
      assert byte_size(text) < 300
    end
  end

  describe "validate/2" do
    test "compares the topmost Via with where the message came from" do
      assert Message.validate(invite(), {:udp, "192.0.2.1", 5060}) == :ok
      assert Message.validate(invite(), {"udp", "192.0.2.1", 5060}) == :ok
      assert Message.valid?(invite(), {:udp, {192, 0, 2, 1}, 5060})
      assert {:error, "Via" <> _} = Message.validate(invite(), {:tcp, "192.0.2.1", 5060})
      refute Message.valid?(invite(), {:tcp, "192.0.2.1", 5060})
      assert {:error, _} = Message.validate(invite(), nil)
    end

    test "judges all that validate/1 judges of two headers" do
      assert {:error, "missing headers: To"} = Message.validate(without(:to), {:udp, "a", 1})
    end
  end
end
