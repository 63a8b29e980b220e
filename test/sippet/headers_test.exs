defmodule Sippet.HeadersTest do
  use ExUnit.Case, async: true
  doctest Sippet.Headers

  alias Sippet.Headers
  alias Sippet.Headers.Table

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

      assert {:error, %{reason: :invalid_header, header: "Accept-Contact"}} =
               Headers.parse("Accept-Contact", text <> ";p1=w")
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
end
