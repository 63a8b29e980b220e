defmodule Sippet.HeadersTest do
  use ExUnit.Case, async: true
  doctest Sippet.Headers

  alias Sippet.Headers
  alias Sippet.Headers.Table
  alias Sippet.ParseError

  describe "canonical_name/1" do
    for %{name: name, compact: compact} <- Table.rows() do
      test "spells #{name} as registered" do
        spellings = [unquote(name), String.upcase(unquote(name)), String.downcase(unquote(name))]

        for spelling <- spellings ++ unquote(List.wrap(compact)),
            do: assert(Headers.canonical_name(spelling) == unquote(name))
      end
    end

    test "gives capitals to the words of other names, and leaves the rest" do
      for {name, canonical} <- [
            {"x-foo", "X-Foo"},
            {"X-fooBAR-baz", "X-FooBAR-Baz"},
            {"NewFangledHeader", "NewFangledHeader"},
            {"p-", "P-"},
            {"-x", "-X"},
            {"call_id", "Call_id"},
            {"", ""}
          ],
          do: assert(Headers.canonical_name(name) == canonical)
    end
  end

  describe "parse/2 and to_iodata/2" do
    for %{name: name, shape: :raw} <- Table.rows() do
      test "refuse #{name}, which has no shape" do
        assert_raise ArgumentError, fn -> Headers.parse(unquote(name), "a") end
        assert_raise ArgumentError, fn -> Headers.to_iodata(unquote(name), "a") end
      end
    end

    test "refuse names that are not listed" do
      assert_raise ArgumentError, ~r/"X-Foo"/, fn -> Headers.parse("X-Foo", "a") end
      assert_raise ArgumentError, fn -> Headers.to_iodata("X-Foo", "a") end
    end

    test "take typed headers as well" do
      assert {:ok, [{{2, 0}, :udp, {"a", 5060}, %{}}] = via} = Headers.parse("v", "SIP/2.0/UDP a")
      assert IO.iodata_to_binary(Headers.to_iodata("VIA", via)) == "SIP/2.0/UDP a:5060"
    end

    # A dirty scheduler works on them.
    test "take long values, and refuse them" do
      params = Map.new(1..3_000, &{"p#{&1}", "v"})
      text = "*" <> Enum.map_join(params, fn {name, value} -> ";#{name}=#{value}" end)
      assert byte_size(text) > 16_384

      assert Headers.parse("Accept-Contact", text) == {:ok, [{"*", params}]}
      assert Headers.parse("Accept-Contact", [text, "*"]) == {:ok, [{"*", params}, {"*", %{}}]}

      assert Headers.parse("Accept-Contact", text <> ";p1=w") ==
               {:ok, [{"*", Map.put(params, "p1", "w")}]}

      assert {:error, %{reason: :invalid_header, header: "Accept-Contact"}} =
               Headers.parse("Accept-Contact", text <> ";=w")
    end

    # draft-ietf-sip-privacy-04, never an RFC and everywhere in the field
    test "read who calls and who is called" do
      lines = [
        ~s("Alice" <sip:alice@atlanta.com>;party=calling;privacy=off;screen=no),
        "<sip:a@h>;party=called, <sip:b@h>;id-type=user"
      ]

      assert {:ok, [{"Alice", uri, params}, {"", _, _}, {"", _, %{"id-type" => "user"}}] = all} =
               Headers.parse("remote-party-id", lines)

      assert to_string(uri) == "sip:alice@atlanta.com"
      assert params == %{"party" => "calling", "privacy" => "off", "screen" => "no"}

      text = IO.iodata_to_binary(Headers.to_iodata("Remote-Party-ID", all))
      assert Headers.parse("Remote-Party-ID", text) == {:ok, all}
      assert Headers.canonical_name("rpid-privacy") == "RPID-Privacy"
    end

    test "join the lines of a list, and refuse those of a single value" do
      assert Headers.parse("Path", ["<sip:a;lr>", "<sip:b;lr>, <sip:c;lr>"])
             |> elem(1)
             |> length() == 3

      assert {:error, %{reason: :repeated_header, header: "Event"}} =
               Headers.parse("Event", ["a", "b"])
    end
  end

  describe "documentation" do
    test "has a row for every header of the table, and a type for every typed one" do
      {:docs_v1, _, _, _, %{"en" => doc}, _, _} = Code.fetch_docs(Headers)
      {:ok, types} = Code.Typespec.fetch_types(Headers)
      names = for {:type, {name, _, _}} <- types, do: name

      for row <- Table.rows() do
        assert doc =~ "\n| #{row.name} | "
        if row.key, do: assert(row.key in names)
      end
    end
  end

  describe "parse_each/2" do
    test "keeps the good elements of a REGISTER's 200" do
      lines = [
        "<sip:alice@192.0.2.10:5060>;expires=600,<sip:alice@192.0.2.11:5060transport=udp>;expires=3600",
        "<sip:alice@192.0.2.12>;expires=60"
      ]

      assert {[{"", one, %{"expires" => "600"}}, {"", two, _}], [{text, error}]} =
               Headers.parse_each("m", lines)

      assert {to_string(one), two.host} == {"sip:alice@192.0.2.10:5060", "192.0.2.12"}
      assert text == "<sip:alice@192.0.2.11:5060transport=udp>;expires=3600"
      assert %ParseError{reason: :invalid_header, header: "Contact", offset: 26} = error
    end

    test "reads what can stand once line by line" do
      assert {[5], [{"six", %ParseError{}}]} = Headers.parse_each("Expires", ["5", "six"])
    end

    test "tells order to who needs it" do
      assert [{:ok, "a"}, {:error, "b c", _}, {:ok, "d"}] = Headers.elements("Allow", "a, b c, d")
    end

    test "bounds what a line of malformed elements becomes" do
      {[], bad} = Headers.parse_each("Allow", String.duplicate("@,", 30_000))
      assert length(bad) < 300
    end

    test "takes octets that are no UTF-8" do
      assert {[], [{<<0xE9, ?@>>, error}]} = Headers.parse_each("Allow", <<0xE9, ?@>>)
      assert Exception.message(error) =~ "\\xE9"
    end
  end
end
