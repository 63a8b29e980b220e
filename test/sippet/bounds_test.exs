Code.require_file("../../bench/worst.exs", __DIR__)

defmodule Sippet.BoundsTest do
  use ExUnit.Case, async: true

  # RFC3261§26.1 - a peer may send whatever fits a datagram. What becomes of it is at most a megabyte of terms, in
  # whatever header it stands and over however many it is spread.

  alias Sippet.Headers
  alias Sippet.Headers.Table
  alias Sippet.Message
  alias Sippet.ParseError

  @datagram 65_507
  @bytes 1_048_576

  @head "OPTIONS sip:h SIP/2.0\r\n"

  # What no request lacks; each line gives way where its header is the one in question.
  @lines [
    {"Via", "SIP/2.0/UDP h;branch=z9hG4bK1"},
    {"From", "<sip:a@h>;tag=1"},
    {"To", "<sip:h>"},
    {"Call-ID", "a"},
    {"CSeq", "1 OPTIONS"}
  ]

  # The shortest element of each shape, and how the parameters of one begin: what few octets buy most of.
  @elements %{
    address: "<a:b>",
    auth: "A",
    auth_info: "a=b",
    call_id: "a",
    call_id_params: "a",
    contact: "<a:b>",
    cseq: "1 OPTIONS",
    date: "Sat, 13 Nov 2010 23:29:00 GMT",
    integer: "1",
    integer_params: "1",
    max_forwards: "1",
    media: "a/b",
    name_addr: "<a:b>",
    params: "a=b",
    privacy: "id",
    rack: "1 1 A",
    refer_to: "<a:b>",
    retry_after: "1",
    route: "<a:b>",
    text: "a",
    timestamp: "1",
    token: "a",
    token_params: "a",
    uri_params: "<a:b>",
    version: "1.0",
    via: "SIP/2.0/A h",
    warning: ~s(100 a ""),
    word_params: "a"
  }

  @rows Enum.filter(Table.rows(), &(&1.shape != :raw))

  test "every shape has its shortest element, and it parses" do
    for %{name: name, shape: shape} <- @rows do
      element = Map.get(@elements, shape) || flunk("no element of #{shape}")
      assert {:ok, _value} = Headers.parse(name, element), name
    end
  end

  describe "a datagram" do
    # An extension header is text in a message, and becomes terms when it is asked for.
    for %{name: name} <- @rows do
      test "of elements of #{name} is at most a megabyte",
        do: assert_elements_bounded(unquote(name))

      test "of parameters of #{name} is at most a megabyte",
        do: assert_parameters_bounded(unquote(name))
    end

    defp assert_elements_bounded(name) do
      %{shape: shape, level: level} = row = Table.find(name)
      line = line(row)
      element = @elements[shape]

      for separator <- [",", "\r\n#{line}", ";", ", ,", " "] do
        value = [element, fill(@datagram, separator <> element)]
        held(name, level, line, value)
      end
    end

    defp assert_parameters_bounded(name) do
      %{shape: shape, level: level} = row = Table.find(name)
      line = line(row)
      {start, separators} = parameters_of(shape)

      for separator <- separators, value <- ["", "=a", "=\"\\a\""] do
        parameters = fill(@datagram, &[separator, name(&1), value])

        held(name, level, line, [@elements[shape], start, parameters])
      end
    end
  end

  test "of good and bad elements, read one by one, is at most a megabyte" do
    for %{name: name, shape: shape} <- @rows, piece <- [",", ",<", "," <> @elements[shape]] do
      value = IO.iodata_to_binary([@elements[shape], fill(@datagram - 100, piece <> ",<?>")])
      bytes = bytes(value, &Headers.parse_each(name, &1))
      assert bytes <= @bytes, "#{bytes} bytes of #{inspect(value, printable_limit: 300)}"
    end
  end

  # Elements of URIs with all their parts: the most words that a limited number of elements comes to.
  @rich %{
    address: "a<sip:a@b;c?d=e>",
    contact: "a<sip:a@b;c?d=e>",
    name_addr: "a<sip:a@b;c?d=e>",
    refer_to: "a<sip:a@b;c?d=e>",
    route: "a<sip:a@b;c?d=e>",
    uri_params: "<sip:a@b;c?d=e>"
  }

  describe "a datagram of elements and of lines that nobody registered," do
    for %{name: name, level: level} <- @rows, level != :extension do
      test "of #{name} is at most a megabyte", do: assert_unlisted_bounded(unquote(name))
    end

    defp assert_unlisted_bounded(name) do
      %{shape: shape} = row = Table.find(name)
      line = line(row)

      for element <- [@elements[shape], Map.get(@rich, shape, "a;a")],
          count <- [1_000, 1_300, 2_000, 4_000] do
        elements = [line, element, List.duplicate([",", element], count), "\r\n"]
        left = max(0, @datagram - 200 - IO.iodata_length(elements))
        lines = fill(left, &["_", name(&1), ":\r\n"], 4_000)
        bounded(name, [elements, lines])
      end
    end
  end

  describe "a datagram spread over all headers" do
    test "in elements of one line each, is at most a megabyte" do
      for {separator, share} <- [{",", 700}, {",", 3_000}, {";a,", 1_400}, {";a=b,", 700}] do
        bounded(nil, lines(&[&1, fill(share, separator <> &1)]))
      end
    end

    test "in parameters of one line each, is at most a megabyte" do
      for value <- ["", "=a", "=\"a\""], share <- [300, 700, 3_000] do
        bounded(
          nil,
          lines(&[&1, fill(share, fn n -> [";", name(n), value] end)])
        )
      end
    end

    test "in lines, is at most a megabyte" do
      bounded(nil, lines(& &1))
      for pair <- ["<a:b>;a", "a;a", "a/b;a", "A a=b"], do: bounded(nil, lines(fn _ -> pair end))
    end

    test "in lines that nobody registered, is at most a megabyte" do
      for value <- ["", "a", "a,b;c"] do
        bounded(nil, fill(@datagram, "_:#{value}\r\n"))
        for count <- [1_000, 4_000, 5_000], do: bounded(nil, unlisted(count, value))
      end
    end

    test "of the kinds of the benchmarks, is at most a megabyte" do
      for {name, make} <- Bench.Worst.cases() do
        [small, large] = for size <- [4_096, @datagram - 200], do: make.(size)
        bytes = bytes(large, &Message.parse/1)
        assert bytes <= @bytes, name

        # … and in proportion to what came, until a limit makes it less.
        share = bytes(small, &Message.parse/1) / byte_size(small)
        assert bytes / byte_size(large) <= 1.1 * share, name
      end
    end
  end

  describe "the limit" do
    test "lets a thousand Vias by, in one line and in many" do
      via = "SIP/2.0/UDP h;branch=z9hG4bK1"

      for separator <- [",", "\r\nVia: "] do
        vias = Enum.join(List.duplicate(via, 1_000), separator)
        assert {:ok, message} = Message.parse(around("Via", "Via: #{vias}\r\n"))
        assert length(message.headers.via) == 1_000
      end
    end

    test "lets two thousand parameters by, in one header and in many" do
      for name <- ["Contact", "From", "Via"] do
        line = "#{name}: #{element(name)}#{parameters(1..2_000)}\r\n"
        assert {:ok, message} = Message.parse(around(name, line))
        [value | _] = List.wrap(message.headers[Sippet.Corpus.key(name)])
        assert map_size(elem(value, tuple_size(value) - 1)) == 2_000
      end

      lines = for n <- 0..19, do: "Contact: <a:b>#{parameters((n * 100)..(n * 100 + 99))}\r\n"
      assert {:ok, message} = Message.parse(around(nil, lines))

      assert for({_, _, params} <- message.headers.contact, uniq: true, do: map_size(params)) == [
               100
             ]
    end

    test "makes an essential header an error of its own reason" do
      for {name, next} <- [{"Via", ","}, {"Route", ","}, {"Via", ";a\r\nv:"}] do
        line = [name, ":", element(name), fill(60_000, next <> element(name)), "\r\n"]
        assert {:error, %ParseError{} = error} = Message.parse(around(name, line))
        assert {error.reason, error.header} == {:too_many_elements, name}
        assert Exception.message(error) =~ "elements"
      end

      for name <- ["Via", "Route", "From", "To"] do
        line = [name, ":", element(name), parameters(1..8_500), "\r\n"]
        assert {:error, %ParseError{} = error} = Message.parse(around(name, line))
        assert {error.reason, error.header} == {:too_many_elements, name}
      end
    end

    test "makes any other header text, and the message goes on" do
      for {name, line} <- [
            {"Contact", ["m:<a:b>", fill(60_000, ",<a:b>")]},
            {"Record-Route", ["Record-Route:<a:b>", fill(60_000, ",<a:b>")]},
            {"Allow", ["Allow:a", fill(60_000, ",a")]},
            {"Contact", ["Contact:<a:b>", parameters(1..8_500)]},
            {"Authorization", ["Authorization:A a=b", fill(60_000, &[",", name(&1), "=b"])]}
          ] do
        [_name, value] = :binary.split(IO.iodata_to_binary(line), ":")
        assert {:ok, message} = Message.parse(around(nil, [line, "\r\n"]))
        assert message.headers[name] == [value]
        refute Map.has_key?(message.headers, Sippet.Corpus.key(name))
        assert message.headers.cseq == {1, :options}

        assert {:error, %ParseError{} = error} = Headers.parse(name, value)
        assert {error.reason, error.header} == {:too_many_elements, name}
      end
    end

    test "counts the elements of all headers together" do
      half = fn name -> "#{name}: #{Enum.map_join(1..1_200, ",", fn _ -> "<sip:a>" end)}\r\n" end
      assert {:ok, one} = Message.parse(around(nil, half.("Contact")))
      assert length(one.headers.contact) == 1_200

      names = ~w(Contact Record-Route P-Asserted-Identity Call-Info Alert-Info)
      assert {:ok, all} = Message.parse(around(nil, Enum.map(names, half)))
      assert for(name <- names, is_map_key(all.headers, name), do: name) != []
      assert length(all.headers.contact) == 1_200
    end
  end

  ## Messages

  defp held(name, :extension, _line, value) do
    value = IO.iodata_to_binary(value)

    bytes =
      bytes(binary_part(value, 0, min(byte_size(value), @datagram)), &Headers.parse(name, &1))

    assert bytes <= @bytes, "#{bytes} bytes of #{inspect(value, printable_limit: 300)}"
  end

  defp held(name, _level, line, value), do: bounded(name, [line, value])

  defp bounded(name, lines) do
    input = around(name, [lines, "\r\n"])
    bytes = bytes(binary_part(input, 0, min(byte_size(input), @datagram)), &Message.parse/1)
    assert bytes <= @bytes, "#{bytes} bytes of terms of #{inspect(input, printable_limit: 300)}"
  end

  defp bytes(input, fun), do: Bench.Worst.words(input, fun) * :erlang.system_info(:wordsize)

  # How a line begins, in as few octets as may be.
  defp line(%{compact: compact, name: name}), do: [compact || name, ":"]

  # The lines, behind those of the headers that every request has.
  defp around(name, lines) do
    others = for {other, value} <- @lines, other != name, do: [other, ": ", value, "\r\n"]
    IO.iodata_to_binary([@head, others, lines, "\r\n"])
  end

  # One line of each header that may stand beside the others.
  defp lines(value) do
    present = for {name, _value} <- @lines, do: name

    for %{name: name, compact: compact, shape: shape} <- @rows, name not in present do
      [compact || name, ":", value.(@elements[shape]), "\r\n"]
    end
  end

  defp unlisted(count, value),
    do: for(n <- 0..(count - 1), do: ["_", name(n), ":", value, "\r\n"])

  defp element(name), do: @elements[Table.find(name).shape]

  defp parameters(numbers), do: for(n <- numbers, do: [";p", Integer.to_string(n, 36)])

  # A short name for each number, each another.
  defp name(n), do: "a" <> Integer.to_string(n, 36)

  # As many pieces as there is room for: of one that is repeated, or of those that a function makes of 0, 1, 2, …
  defp fill(octets, piece, count \\ :infinity)

  defp fill(octets, piece, _count) when is_binary(piece),
    do: String.duplicate(piece, div(octets, byte_size(piece)))

  defp fill(octets, piece, count), do: pieces(0, octets, piece, count)

  defp pieces(count, _octets, _piece, count), do: []

  defp pieces(n, octets, piece, count) do
    next = piece.(n)
    left = octets - IO.iodata_length(next)
    if left < 0, do: [], else: [next | pieces(n + 1, left, piece, count)]
  end

  # The first parameter, where it is parted from the scheme in another way, and what parts the next ones.
  defp parameters_of(:auth), do: {" a=b", [",", " "]}
  defp parameters_of(:auth_info), do: {"", [","]}
  defp parameters_of(_shape), do: {"", [";"]}
end
