defmodule Sippet.ParseErrorTest do
  use ExUnit.Case, async: true
  doctest Sippet.ParseError

  alias Sippet.ParseError

  defp excerpt(text),
    do: ParseError.new({:invalid_header, "From", 3, 20, text, nil}).excerpt

  describe "the excerpt" do
    test "shows text as it is" do
      assert excerpt(~S("Bell, Alexander" <sip:a@b>\é)) == ~S("Bell, Alexander" <sip:a@b>\é)
    end

    test "escapes control characters and what is not UTF-8" do
      assert excerpt("a\r\n\tb\0\e[31m\x7F\x85\xFF") == ~S(a\r\n\tb\x00\x1B[31m\x7F\x85\xFF)
      assert excerpt(<<0xC2, 0x85>>) == ~S(\xC2\x85)
      assert String.valid?(excerpt(<<0xC3>>))
    end

    test "is at most 80 bytes long, and cuts no escape and no character" do
      assert excerpt(String.duplicate("a", 100)) == String.duplicate("a", 80)
      assert excerpt(String.duplicate("\0", 80)) == String.duplicate("\\x00", 20)
      assert excerpt("a" <> String.duplicate("é", 80)) == "a" <> String.duplicate("é", 39)
      assert excerpt(String.duplicate("a", 79) <> "\r") == String.duplicate("a", 79)
    end
  end

  describe "message/1" do
    # As the type lists them.
    {:ok, types} = Code.Typespec.fetch_types(ParseError)

    @reasons Enum.find_value(types, fn
               {:type, {:reason, {:type, _, :union, atoms}, []}} ->
                 for {:atom, _, atom} <- atoms, do: atom

               _ ->
                 nil
             end)

    test "has words for every reason" do
      texts =
        for reason <- @reasons do
          error = ParseError.new({reason, "Via", 7, 99, "oops", nil})
          assert "line 7, octet 99: " <> text = Exception.message(error)
          assert String.ends_with?(text, ": \"oops\"")
          text
        end

      assert length(texts) == 16
      assert Enum.uniq(texts) == texts
    end

    test "leaves out an excerpt that is empty" do
      error = ParseError.new({:empty_message, nil, 1, 0, "", nil})
      assert Exception.message(error) == "line 1, octet 0: the message is empty"
    end

    test "documents every reason" do
      {:docs_v1, _, _, _, %{"en" => doc}, _, _} = Code.fetch_docs(ParseError)
      for reason <- @reasons, do: assert(doc =~ "| `#{inspect(reason)}` |")
    end
  end
end
