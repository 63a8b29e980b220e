defmodule Sippet.Message.HeaderMapTest do
  use ExUnit.Case, async: true

  alias Sippet.Message
  alias Sippet.URI

  describe "header functions by atom" do
    test "put" do
      response =
        Message.build_response(200)
        |> Message.put_new_header(:a, [2])
        |> Message.put_new_header(:a, [99])
        |> Message.put_header_front(:a, 1)
        |> Message.put_header_back(:a, 3)
        |> Message.put_new_lazy_header(:b, fn -> [2] end)
        |> Message.put_new_lazy_header(:b, fn -> flunk("called in vain") end)
        |> Message.put_header_front(:a, nil)
        |> Message.put_header_back(:c, nil)

      assert response.headers == %{a: [1, 2, 3], b: [2], c: []}
    end

    test "delete" do
      message = %Message{headers: %{a: [1, 2, 3], b: [9], c: 5}}
      assert Message.delete_header(message, :a).headers == %{b: [9], c: 5}
      assert Message.delete_header_front(message, :a).headers.a == [2, 3]
      assert Message.delete_header_back(message, :a).headers.a == [1, 2]
      assert Message.delete_header_front(message, :b).headers == %{a: [1, 2, 3], c: 5}
      assert Message.delete_header_back(message, :b).headers == %{a: [1, 2, 3], c: 5}
      assert Message.drop_headers(message, [:a, :b, :z]).headers == %{c: 5}

      for delete <- [
            &Message.delete_header/2,
            &Message.delete_header_front/2,
            &Message.delete_header_back/2
          ],
          do: assert(delete.(message, :z) == message)
    end

    test "fetch and get" do
      message = %Message{headers: %{a: [1, 2, 3], b: [], c: 5}}
      assert Message.fetch_header(message, :a) == {:ok, [1, 2, 3]}
      assert Message.fetch_header_front(message, :a) == {:ok, 1}
      assert Message.fetch_header_back(message, :a) == {:ok, 3}
      assert Message.fetch_header_front(message, :b) == {:ok, nil}
      assert Message.fetch_header_back(message, :b) == {:ok, nil}
      assert Message.fetch_header_front!(message, :b) == nil
      assert Message.fetch_header_back!(message, :b) == nil
      assert Message.get_header(message, :c, 9) == 5

      for header <- [:c, :z] do
        assert Message.fetch_header_front(message, header) == :error
        assert Message.fetch_header_back(message, header) == :error
        assert_raise KeyError, fn -> Message.fetch_header_front!(message, header) end
        assert_raise KeyError, fn -> Message.fetch_header_back!(message, header) end
        assert Message.get_header_front(message, header, 9) == 9
        assert Message.get_header_back(message, header) == nil
      end

      assert Message.fetch_header(message, :z) == :error
      assert_raise KeyError, fn -> Message.fetch_header!(message, :z) end
    end

    test "update" do
      message = %Message{headers: %{a: [1, 2, 3], b: []}}
      assert Message.update_header(message, :a, &length/1).headers.a == 3
      assert Message.update_header(message, :z, 7, &length/1).headers.z == 7
      assert Message.update_header_front(message, :a, &(&1 + 10)).headers.a == [11, 2, 3]
      assert Message.update_header_back(message, :a, &(&1 + 10)).headers.a == [1, 2, 13]

      for update <- [&Message.update_header_front/4, &Message.update_header_back/4],
          header <- [:b, :z] do
        assert update.(message, header, 7, & &1).headers[header] == [7]
        assert update.(message, header, [7, 8], & &1).headers[header] == [7, 8]
        assert update.(message, header, nil, & &1).headers[header] == []
      end
    end

    test "pop" do
      message = %Message{headers: %{a: [1, 2, 3], b: [9], c: []}}
      assert {[1, 2, 3], %{headers: %{b: [9], c: []}}} = Message.pop_header(message, :a)
      assert {1, %{headers: %{a: [2, 3]}}} = Message.pop_header_front(message, :a)
      assert {3, %{headers: %{a: [1, 2]}}} = Message.pop_header_back(message, :a)

      for pop <- [&Message.pop_header_front/3, &Message.pop_header_back/3] do
        assert pop.(message, :b, 7) == {9, %{message | headers: %{a: [1, 2, 3], c: []}}}
        assert pop.(message, :c, 7) == {7, %{message | headers: %{a: [1, 2, 3], b: [9]}}}
        assert pop.(message, :z, 7) == {7, message}
      end
    end

    test "get and update" do
      message = %Message{headers: %{a: [1, 2, 3], b: [9]}}

      assert {[1, 2, 3], %{headers: %{a: 3}}} =
               Message.get_and_update_header(message, :a, &{&1, length(&1)})

      assert {nil, %{headers: %{z: 1}}} = Message.get_and_update_header(message, :z, &{&1, 1})

      assert {[9], %{headers: headers}} =
               Message.get_and_update_header(message, :b, fn _ -> :pop end)

      assert headers == %{a: [1, 2, 3]}

      front = &Message.get_and_update_header_front/3
      back = &Message.get_and_update_header_back/3
      assert {1, %{headers: %{a: [7, 2, 3]}}} = front.(message, :a, &{&1, 7})
      assert {3, %{headers: %{a: [1, 2, 7]}}} = back.(message, :a, &{&1, 7})
      assert {1, %{headers: %{a: [2, 3]}}} = front.(message, :a, &{&1, nil})
      assert {3, %{headers: %{a: [1, 2]}}} = back.(message, :a, &{&1, nil})
      assert {1, %{headers: %{a: [2, 3]}}} = front.(message, :a, fn _ -> :pop end)
      assert {3, %{headers: %{a: [1, 2]}}} = back.(message, :a, fn _ -> :pop end)

      for update <- [front, back] do
        assert {nil, %{headers: %{z: [7]}}} = update.(message, :z, &{&1, 7})
        assert {nil, %{headers: %{z: []}}} = update.(message, :z, &{&1, nil})
        assert {9, %{headers: %{a: [1, 2, 3]} = headers}} = update.(message, :b, fn _ -> :pop end)
        refute is_map_key(headers, :b)
        assert_raise ArgumentError, fn -> update.(message, :a, fn _ -> :oops end) end
      end
    end

    test "what works on lists refuses anything else" do
      message = %Message{headers: %{max_forwards: 70}}

      for fun <- [
            &Message.put_header_front(&1, :max_forwards, 1),
            &Message.put_header_back(&1, :max_forwards, 1),
            &Message.delete_header_front(&1, :max_forwards),
            &Message.pop_header_back(&1, :max_forwards),
            &Message.update_header_front(&1, :max_forwards, fn x -> x end),
            &Message.get_and_update_header_back(&1, :max_forwards, fn x -> {x, x} end)
          ],
          do: assert_raise(ArgumentError, fn -> fun.(message) end)
    end
  end

  describe "header functions by string" do
    test "find a raw header in any letter case and compact form" do
      message = %Message{headers: %{"X-FooBar" => ["1"], "Session-Expires" => ["60"]}}

      for name <- ["X-FooBar", "x-foobar", "X-FOOBAR"],
          do: assert(Message.get_header(message, name) == ["1"])

      for name <- ["session-expires", "x", "X"],
          do: assert(Message.get_header(message, name) == ["60"])

      refute Message.has_header?(message, "X-Foo")
    end

    test "find a name that was put by hand in any spelling" do
      assert Message.get_header(%Message{headers: %{"x-foo" => ["1"]}}, "X-Foo") == ["1"]
      assert Message.get_header(%Message{headers: %{"o" => ["1"]}}, "Event") == ["1"]
    end

    test "put under the canonical name, or under the spelling that is there" do
      assert Message.put_header(%Message{}, "x-foo", ["1"]).headers == %{"X-Foo" => ["1"]}
      assert Message.put_header(%Message{}, "o", ["1"]).headers == %{"Event" => ["1"]}

      message = %Message{headers: %{"NewFangledHeader" => ["1"]}}

      assert Message.put_header_back(message, "newfangledheader", "2").headers == %{
               "NewFangledHeader" => ["1", "2"]
             }

      assert Message.put_header(message, "NEWFANGLEDHEADER", ["3"]).headers == %{
               "NewFangledHeader" => ["3"]
             }

      assert Message.delete_header(message, "newFangledHeader").headers == %{}
    end

    test "find the parsed value of a typed header" do
      message = %Message{headers: %{contact: "*", allow: ["INVITE", "ACK"]}}
      assert Message.get_header(message, "contact") == "*"
      assert Message.get_header(message, "m") == "*"
      assert Message.has_header?(message, "Allow")

      assert Message.put_header_back(message, "Allow", "BYE").headers.allow == [
               "INVITE",
               "ACK",
               "BYE"
             ]

      assert Message.update_header(message, "Allow", &Enum.reverse/1).headers.allow == [
               "ACK",
               "INVITE"
             ]

      assert Message.put_new_header(message, "Contact", ["<sip:a@b>"]) == message
      assert {"*", %{headers: %{allow: _} = headers}} = Message.pop_header(message, "Contact")
      refute is_map_key(headers, :contact)
    end

    test "a header stands in one form at a time" do
      degraded = %Message{headers: %{"P-Asserted-Identity" => ["<sip:"]}}
      assert Message.get_header(degraded, :p_asserted_identity) == nil
      assert Message.get_header(degraded, "p-asserted-identity") == ["<sip:"]

      typed = [{"", URI.parse!("sip:a@b"), %{}}]

      assert Message.put_header(degraded, :p_asserted_identity, typed).headers == %{
               p_asserted_identity: typed
             }

      assert Message.put_header_back(degraded, :p_asserted_identity, hd(typed)).headers == %{
               p_asserted_identity: typed
             }

      # What a proxy strips must not slip through because it came malformed.
      assert Message.delete_header(degraded, :p_asserted_identity).headers == %{}
      assert Message.drop_headers(degraded, [:p_asserted_identity]).headers == %{}
      assert {nil, %{headers: headers}} = Message.pop_header(degraded, :p_asserted_identity)
      assert headers == %{}

      message = %Message{headers: %{p_asserted_identity: typed}}
      assert Message.delete_header(message, "P-Asserted-Identity").headers == %{}

      assert Message.put_header(message, "P-Asserted-Identity", ["<sip:a>"]).headers ==
               degraded.headers |> Map.new(fn {k, _} -> {k, ["<sip:a>"]} end)
    end
  end
end
