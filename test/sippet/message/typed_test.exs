defmodule Sippet.Message.TypedTest do
  use ExUnit.Case, async: true

  alias Sippet.Headers.Table
  alias Sippet.{Message, ParseError, URI}

  defp message(headers), do: %Message{headers: Map.new(headers)}

  describe "fetch_typed/2" do
    test "returns a typed value as it stands, by its atom and by any of its names" do
      contact = {"", URI.parse!("sip:bob@192.0.2.4"), %{}}
      message = message(contact: [contact])

      for header <- [:contact, "Contact", "contact", "m"],
          do: assert(Message.fetch_typed(message, header) == {:ok, [contact]})

      # A list that was put without its brackets is the program's own.
      assert Message.fetch_typed(message(contact: contact), :contact) == {:ok, contact}
      assert Message.fetch_typed(message(contact: "*"), "m") == {:ok, "*"}
      assert Message.fetch_typed(message(subject: "1"), :subject) == {:ok, "1"}
      assert Message.fetch_typed(message(supported: []), :supported) == {:ok, []}
    end

    test "parses raw lines, in any spelling" do
      message =
        message([
          {"Allow-Events", ["presence", "dialog,refer"]},
          {"refer-to", "<sip:carol@chicago.com>"}
        ])

      assert Message.fetch_typed(message, "u") == {:ok, ["presence", "dialog", "refer"]}
      uri = URI.parse!("sip:carol@chicago.com")
      assert Message.fetch_typed(message, "Refer-To") == {:ok, {"", uri, %{}}}
    end

    test "parses text that was put under an atom, or typed header that stands as text" do
      assert Message.fetch_typed(message(content_type: "application/sdp"), :content_type) ==
               {:ok, {{"application", "sdp"}, %{}}}

      assert Message.fetch_typed(message(%{"Expires" => ["60"]}), :expires) == {:ok, 60}
    end

    test "returns a term that a program put under a name" do
      event = {"presence", %{}}
      assert Message.fetch_typed(message(%{"Event" => event}), "Event") == {:ok, event}
      list = [{"sip.instance", %{}}]

      assert Message.fetch_typed(message(%{"Feature-Caps" => list}), "feature-caps") ==
               {:ok, list}
    end

    test "says what is absent, and what is malformed" do
      for header <- [:contact, "Contact", "Event", "o"],
          do: assert(Message.fetch_typed(%Message{}, header) == :error)

      assert Message.fetch_typed(message(%{"Event" => []}), "Event") == :error

      message = message(%{"RSeq" => ["1", "2"], "Contact" => ["<sip:a@b>", "<"]})
      assert {:error, %ParseError{header: "RSeq"}} = Message.fetch_typed(message, "rseq")
      assert {:error, %ParseError{header: "Contact"}} = Message.fetch_typed(message, :contact)
    end

    test "raises for what has no shape" do
      for header <- ["X-Foo", "Content-ID", :event, :nonsense],
          do: assert_raise(ArgumentError, fn -> Message.fetch_typed(%Message{}, header) end)
    end
  end

  describe "put_typed/3" do
    test "puts a typed header under its atom, in place of its text" do
      message = Message.put_typed(message(%{"Expires" => ["soon"]}), "expires", 60)
      assert message.headers == %{expires: 60}
      assert Message.put_typed(%Message{}, :expires, 60) == message
    end

    test "puts an extension header as a raw line, in place of the others" do
      message = message(%{"Allow-Events" => ["a", "b"]})

      assert Message.put_typed(message, "u", ["presence", "dialog"]).headers == %{
               "Allow-Events" => ["presence, dialog"]
             }
    end

    test "puts several credentials, which stand on lines of their own" do
      values = for realm <- ["a", "b"], do: {"Digest", %{"realm" => realm}}
      message = Message.put_typed(%Message{}, :authorization, values)
      assert message.headers == %{authorization: values}
      assert_raise ArgumentError, fn -> Message.put_typed(%Message{}, :authorization, [1, 2]) end
    end

    test "raises for what can't be printed, and for what has no shape" do
      for {header, value} <- [
            {:expires, -1},
            {"Event", {"a b", %{}}},
            {:subject, "a\r\nb"},
            {"RAck", 1},
            {"X-Foo", "1"},
            {"Content-ID", "1"},
            {:event, {"presence", %{}}}
          ],
          do: assert_raise(ArgumentError, fn -> Message.put_typed(%Message{}, header, value) end)
    end
  end

  for %{shape: shape, name: name} <- Table.rows(), shape != :raw do
    test "what is fetched of #{name} can be put", do: assert_put_back(unquote(name))
  end

  defp assert_put_back(name) do
    %{shape: shape, key: key} = Table.find(name)
    {:ok, value} = Message.fetch_typed(message(%{name => [example(shape)]}), name)
    message = Message.put_typed(%Message{}, name, value)
    assert Message.fetch_typed(message, name) == {:ok, value}
    assert Map.keys(message.headers) == [key || name]
  end

  defp example(shape) when shape in [:address, :name_addr, :refer_to, :route, :contact],
    do: "<sip:a@b>;x=1"

  defp example(shape) when shape in [:integer, :max_forwards], do: "70"
  defp example(:integer_params), do: "70;a=b"
  defp example(:via), do: "SIP/2.0/UDP a.com;branch=z9hG4bK1"
  defp example(:call_id), do: "a@b"
  defp example(:call_id_params), do: "a@b;from-tag=1"
  defp example(:cseq), do: "1 INVITE"
  defp example(:rack), do: "1 2 INVITE"
  defp example(:media), do: "text/plain;charset=utf-8"
  defp example(:uri_params), do: "<http://a.com>;purpose=icon"
  defp example(:auth), do: ~S(Digest realm="a", nonce="b")
  defp example(:auth_info), do: ~S(nextnonce="b")
  defp example(:date), do: "Sat, 13 Nov 2010 23:29:00 GMT"
  defp example(:params), do: "icid-value=1"
  defp example(:privacy), do: "id"
  defp example(:retry_after), do: "5 (busy);duration=1"
  defp example(:timestamp), do: "54.5"
  defp example(:version), do: "1.0"
  defp example(:warning), do: ~S(307 a.com "text")
  defp example(_word), do: "word"
end
