defmodule Sippet.Message.TagTest do
  use ExUnit.Case, async: true

  alias Sippet.Message.Tag

  test "is read of an address alone" do
    uri = Sippet.URI.parse!("sip:bob@biloxi.com")
    assert Tag.of({"", uri, %{"tag" => "88", "x" => "1"}}) == "88"
    assert Tag.of({"", uri, %{"x" => "1"}}) == nil
    for other <- [nil, "text", {"", uri}, %{"tag" => "88"}], do: assert(Tag.of(other) == nil)
  end
end
