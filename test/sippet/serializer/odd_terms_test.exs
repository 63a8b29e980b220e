defmodule Sippet.Serializer.OddTermsTest do
  use ExUnit.Case, async: true

  # Users build messages by hand, so any term can stand anywhere. Each place of each shape is given each odd term: the
  # outcome is text or ArgumentError, and text has no line end that the printer did not write.

  alias Sippet.Headers
  alias Sippet.Headers.Table
  alias Sippet.Message
  alias Sippet.Message.RequestLine
  alias Sippet.Message.StatusLine
  alias Sippet.URI

  @uri %URI{
    scheme: "sip",
    userinfo: "bob",
    authority: "bob@[::1]:5070",
    host: "::1",
    port: 5070,
    parameters: ";lr",
    headers: "?a=b"
  }

  @params %{"a" => "b", "c" => ""}

  # A value of each shape with all its places.
  @values %{
    address: {"Bob", @uri, @params},
    route: {"Bob", @uri, @params},
    name_addr: {"Bob", @uri, @params},
    refer_to: {"Bob", @uri, @params},
    contact: {"Bob", @uri, @params},
    media: {{"application", "sdp"}, @params},
    token: "token",
    token_params: {"token", @params},
    uri_params: {@uri, @params},
    auth: {"Digest", @params},
    auth_info: @params,
    call_id: "a@b",
    call_id_params: {"a@b", @params},
    cseq: {1, :invite},
    rack: {1, 2, :invite},
    date: ~N[2024-02-29 01:02:03],
    integer: 1,
    max_forwards: 70,
    integer_params: {1, @params},
    params: @params,
    privacy: ["id", "critical"],
    retry_after: {1, "comment", @params},
    text: "text",
    timestamp: {1.5, 0.5},
    version: {1, 0},
    via: {{2, 0}, :udp, {"h", 5060}, Map.put(@params, "received", "::1")},
    warning: {307, "h", "text"},
    word_params: {"word", Map.put(@params, "info", "<http://h>")}
  }

  defp odd do
    deep = Enum.reduce(1..200, [], fn _, deep -> [deep] end)

    [
      nil,
      true,
      :atom,
      :"with blank",
      :"line\r\nend",
      :ž,
      :é,
      String.to_atom(String.duplicate("a", 240)),
      0,
      -1,
      65_536,
      0xFFFFFFFFFFFFFFFF,
      0x10000000000000000,
      -0x10000000000000000,
      Bitwise.bsl(1, 1_000),
      0.0,
      -0.0,
      -1.5,
      1.0e300,
      5.0e-324,
      self(),
      make_ref(),
      hd(Port.list()),
      fn -> :ok end,
      &Enum.map/2,
      "",
      "a\r\nb",
      "\0",
      <<0xFF, 0xFE>>,
      <<1::3>>,
      <<"abc", 1::1>>,
      # Octets that start inside another octet.
      bit_slice(<<0::5, "slice", 0::3>>),
      String.duplicate("a", 20_000),
      [],
      ["a" | "b"],
      ["a", :b | nil],
      [[["a"]]],
      ~c"charlist",
      deep,
      {},
      {nil},
      {1, 2},
      {1, 2, 3},
      {1, 2, 3, 4},
      Tuple.duplicate("a", 100),
      %{},
      %{a: 1},
      %{1 => 2},
      %{"a" => nil},
      %{"a" => %{"b" => "c"}},
      %{nil => nil, [] => {}},
      %{"a\r\n" => "b"},
      Map.new(1..100, &{"p#{&1}", "v"}),
      Map.new(1..100, &{&1, &1}),
      %{__struct__: URI},
      %{__struct__: NaiveDateTime},
      %{__struct__: "Elixir.Sippet.URI"},
      %URI{},
      Map.delete(@uri, :port),
      Map.put(@uri, :more, 1),
      %{~N[2024-02-29 01:02:03] | month: 13},
      %{~N[2024-02-29 01:02:03] | calendar: nil},
      ~N[-0001-01-01 00:00:00],
      ~D[2024-02-29],
      1..3,
      %Message{}
    ]
  end

  defp bit_slice(<<_::5, text::binary-size(5), _::bitstring>>), do: text

  for %{name: name, shape: shape, repeat: repeat} <- Table.rows(), shape != :raw do
    test "at each place of #{name}",
      do: assert_each_place(unquote(name), unquote(shape), unquote(repeat))
  end

  defp assert_each_place(name, shape, repeat) do
    value = Map.fetch!(@values, shape)
    value = if repeat == :one, do: value, else: [value]
    assert print_text(fn -> Headers.to_iodata(name, value) end) != :refused

    for odd <- odd(), value <- spoiled(value, odd) do
      assert_one_line(fn -> Headers.to_iodata(name, value) end)
    end
  end

  for %{key: key, name: name} <- Table.rows(), key != nil do
    test "as the value of #{name} in a message", do: assert_validated(unquote(key))
  end

  defp assert_validated(key) do
    for odd <- odd() do
      message = %{Message.build_response(200) | headers: %{key => odd}}
      print_text(fn -> to_string(message) end)

      case Message.validate(message) do
        {:error, reason} -> assert is_binary(reason)
        :ok -> flunk("has no Via")
      end
    end
  end

  test "as a raw header's name, value and line" do
    for odd <- odd(),
        headers <- [%{odd => "v"}, %{"X" => odd}, %{"X" => [odd]}, %{"X" => ["a" | odd]}] do
      print_text(fn -> to_string(%{Message.build_response(200) | headers: headers}) end)
    end
  end

  test "at each place of a URI" do
    for odd <- odd(), uri <- [%URI{scheme: "tel", authority: "1"} | spoiled(@uri, odd)] do
      if is_struct(uri, URI), do: assert_one_line(fn -> URI.to_string(uri) end)
      message = %Message{start_line: %RequestLine{method: :invite, request_uri: uri}}
      print_text(fn -> to_string(message) end)
    end
  end

  test "at each place of a message" do
    request = %RequestLine{method: :invite, request_uri: @uri}
    response = %StatusLine{status_code: 200, reason_phrase: "OK"}

    for odd <- odd(), line <- [request, response] do
      for line <- spoiled(line, odd),
          do: print_text(fn -> to_string(%Message{start_line: line}) end)

      print_text(fn -> to_string(%Message{start_line: line, headers: odd}) end)
      print_text(fn -> to_string(%Message{start_line: line, body: odd}) end)
    end
  end

  test "each odd term is refused somewhere, and most everywhere" do
    outcomes =
      for odd <- odd(), name <- ["Allow", "CSeq", "Contact", "Date", "Subject", "RAck"] do
        print_text(fn -> Headers.to_iodata(name, odd) end)
      end

    refused = Enum.count(outcomes, &(&1 == :refused))
    assert refused > 0.9 * length(outcomes) and refused < length(outcomes)
  end

  # The value with the term in each of its places, the value itself being one. Not in :__struct__ and :calendar, from
  # which inspect/1 would have a module loaded.
  defp spoiled(value, odd), do: [odd | inside(value, odd)]

  defp inside(tuple, odd) when is_tuple(tuple) do
    for i <- 0..(tuple_size(tuple) - 1),
        new <- spoiled(elem(tuple, i), odd),
        do: put_elem(tuple, i, new)
  end

  defp inside(list, odd) when is_list(list) do
    replaced =
      for {value, i} <- Enum.with_index(list),
          new <- spoiled(value, odd),
          do: List.replace_at(list, i, new)

    [list ++ odd, [odd | list] | replaced]
  end

  defp inside(%{} = map, odd) do
    replaced =
      for {key, value} <- :maps.to_list(map),
          key not in [:__struct__, :calendar],
          new <- spoiled(value, odd),
          do: Map.put(map, key, new)

    renamed =
      for {key, value} <- :maps.to_list(map), do: map |> Map.delete(key) |> Map.put(odd, value)

    [Map.put(map, odd, "v") | renamed ++ replaced]
  end

  defp inside(_term, _odd), do: []

  defp assert_one_line(print) do
    case print_text(print) do
      :refused -> :ok
      text -> refute text =~ ~r/[\r\n]/
    end
  end

  # Any other exception fails the test, and so does the end of the VM.
  defp print_text(print) do
    IO.iodata_to_binary(print.())
  rescue
    error in ArgumentError ->
      assert error.message =~ ~r/^cannot print |no typed header/
      :refused
  end
end
