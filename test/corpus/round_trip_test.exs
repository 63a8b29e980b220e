defmodule Sippet.Corpus.RoundTripTest do
  use ExUnit.Case, async: true

  # Whole folders of messages, each parsed, printed and parsed again: nothing is lost, and the text differs by named
  # normalisations only. What is refused or degraded is listed, and the lists are exact.

  alias Sippet.Corpus
  alias Sippet.Headers
  alias Sippet.Headers.Table
  alias Sippet.Message
  alias Sippet.ParseError
  alias Sippet.WireText
  alias Sippet.WireText.Normalisation

  # The headers that RFC3261§7.3.1 wants toward the top, as the serialiser ranks them.
  @first ~w(Via Route Record-Route Max-Forwards From To Call-ID CSeq Contact)

  # Flows that the RFCs print with a slip in what a message can't do without.
  @refused %{
    # RFC3261§25.1 - "Route: <…>, <…> . . .": the marks of what was left out are no parameters
    "rfc3608-007" => {:invalid_header, "Route"},
    "rfc3608-008" => {:invalid_header, "Route"},
    "rfc3608-009" => {:invalid_header, "Route"},
    # RFC3261§25.1 - "To: Bob <…>;user=phone>": a bracket that closes nothing
    "rfc3666-032" => {:invalid_header, "To"},
    # RFC3261§20.34 - "Route: <ss1.a.example.com;lr>": a URI has a scheme
    "rfc3666-038" => {:invalid_header, "Route"},
    "rfc3666-040" => {:invalid_header, "Route"},
    # RFC3261§25.1 - prose of the RFC folded into Content-Length
    "rfc4916-006" => {:invalid_header, "Content-Length"},
    # RFC3261§7.3.1 - "Content Length: 0": a blank in a name
    "rfc5359-004" => {:invalid_header_line, nil},
    "rfc5359-005" => {:invalid_header_line, nil},
    "rfc5359-029" => {:invalid_header_line, nil},
    "rfc5359-030" => {:invalid_header_line, nil},
    "rfc5359-043" => {:invalid_header_line, nil},
    "rfc5359-044" => {:invalid_header_line, nil},
    # RFC3261§8.1.1.7 - "SIPS/2.0/TLS": "the protocol name … MUST be SIP"
    "rfc6442-001" => {:invalid_header, "Via"},
    "rfc6442-002" => {:invalid_header, "Via"},
    "rfc8262-001" => {:invalid_header, "Via"},
    # RFC3261§20.39 - "To: Bob <bob@example.com>": a URI has a scheme
    "rfc6873-002" => {:invalid_header, "To"},
    # RFC3261§25.1 - "Via: …;\": the marks of a broken line are no parameter
    "rfc7131-015" => {:invalid_header, "Via"},
    "rfc7131-016" => {:invalid_header, "Via"},
    "rfc7131-018" => {:invalid_header, "Via"},
    "rfc7131-019" => {:invalid_header, "Via"},
    "rfc7131-024" => {:invalid_header, "Via"},
    "rfc7131-032" => {:invalid_header, "Via"},
    "rfc7131-034" => {:invalid_header, "Via"},
    "rfc7131-043" => {:invalid_header, "Via"},
    "rfc7131-045" => {:invalid_header, "Via"},
    "rfc7131-046" => {:invalid_header, "Via"},
    "rfc7131-049" => {:invalid_header, "Via"},
    # RFC3261§25.1 - the same marks in the URI of To
    "rfc7131-054" => {:invalid_header, "To"},
    "rfc7131-057" => {:invalid_header, "To"},
    # RFC3261§20.42 - "Via: … p1@home1.net:5060": a sent-by has no user part
    "rfc7315-009" => {:invalid_header, "Via"},
    "rfc7315-011" => {:invalid_header, "Via"},
    # RFC3261§25.1 - "From: …;tag=1928301774>": a bracket that closes nothing
    "rfc8224-001" => {:invalid_header, "From"}
  }

  @degraded %{
    # RFC3261§20.11 - a semicolon is missing between two parameters
    "rfc3261-007" => ["Content-Disposition"],
    # RFC3261§20.28 - a comma is missing between two parameters, and there is no scheme
    "rfc6050-003" => ["Proxy-Authorization"],
    # RFC3261§25.1 - the marks of what was left out, ". . .", are no parameters
    "rfc3608-001" => ["Contact"],
    "rfc3608-010" => ["Record-Route"],
    # RFC3261§25.1 - "Contact: …;\": the marks of a broken line are no parameter
    "rfc7131-052" => ["Contact"],
    "rfc7131-053" => ["Contact"],
    "rfc7131-055" => ["Contact"]
  }

  describe "the call flows of 45 RFCs" do
    @describetag Corpus.needs("flows")

    test "parse, and come back" do
      {:ok, files} = Corpus.shared("flows")
      assert length(files) == 740
      assert_round_trips("flows", files, @refused, @degraded)
    end
  end

  describe "what users of other stacks reported" do
    test "parses, is valid, and comes back" do
      files = Corpus.fixtures("field")
      assert length(files) == 13
      # One of its Contacts is malformed.
      degraded = %{"c04-register-200-one-bad-contact" => ["Contact"]}
      assert_round_trips("field", files, %{}, degraded)
      for {name, raw} <- files, do: assert(Message.validate(Message.parse!(raw)) == :ok, name)
    end
  end

  describe "messages that are odd in one place" do
    @describetag Corpus.needs("field/matrix")

    # Which of them parse is the business of the test of the verdicts.
    test "come back where they parse" do
      {:ok, files} = Corpus.shared("field/matrix")
      assert length(files) == 203
      results = for {name, raw} <- files, do: {name, raw, Message.parse(raw)}
      messages = for {name, raw, {:ok, message}} <- results, do: {name, raw, message}
      assert length(messages) > 130
      used = for {name, raw, message} <- messages, do: round_trip(name, raw, message)
      report("field/matrix", messages, [], [], used)
    end
  end

  describe "what real clients sent" do
    test "parses, is valid, and comes back" do
      files = Corpus.fixtures("clients")
      assert length(files) == 60
      assert_round_trips("clients", files, %{}, %{})
      for {name, raw} <- files, do: assert(Message.validate(Message.parse!(raw)) == :ok, name)
    end
  end

  describe "the messages of the benchmarks" do
    test "parse, are valid, and come back" do
      files = Corpus.bench()
      assert length(files) == 6
      assert_round_trips("bench", files, %{}, %{})
      for {name, raw} <- files, do: assert(Message.validate(Message.parse!(raw)) == :ok, name)
    end
  end

  describe "the mix of the benchmarks" do
    @describetag Corpus.needs("bench/mix")

    test "parses, is valid, and comes back" do
      {:ok, files} = Corpus.shared("bench/mix")
      assert length(files) == 510
      assert_round_trips("bench/mix", files, %{}, %{})
      for {name, raw} <- files, do: assert(Message.validate(Message.parse!(raw)) == :ok, name)
    end
  end

  defp assert_round_trips(folder, files, refused, degraded) do
    results = for {name, raw} <- files, do: {name, raw, Message.parse(raw)}
    errors = for {name, _raw, {:error, %ParseError{} = error}} <- results, do: {name, error}
    messages = for {name, raw, {:ok, message}} <- results, do: {name, raw, message}

    assert_same(for({name, error} <- errors, do: {name, {error.reason, error.header}}), refused)

    found = for {name, _raw, message} <- messages, header <- degraded(message), do: {name, header}
    assert_same(Enum.group_by(found, &elem(&1, 0), &elem(&1, 1)), degraded)

    used = for {name, raw, message} <- messages, do: round_trip(name, raw, message)
    report(folder, messages, errors, found, used)
  end

  # Two lists of differences are easier to read than two long maps.
  defp assert_same(found, listed) do
    {found, listed} = {Enum.to_list(found), Enum.to_list(listed)}
    assert {found -- listed, listed -- found} == {[], []}
  end

  defp round_trip(name, raw, message) do
    printed = Message.to_string(message)
    assert Message.parse!(printed) == with_length(message), name
    assert_order(name, WireText.names(printed), @first -- degraded(message))

    case WireText.compare(raw, printed, degraded(message)) do
      {:ok, used} ->
        used

      {:error, came, printed} ->
        flunk(
          "#{name}: no normalisation explains\n#{lines("came", came)}#{lines("printed", printed)}"
        )
    end
  end

  # Printing always gives a Content-Length and a blank line, so the message that is read back has both.
  defp with_length(message) do
    body = message.body || ""
    headers = Map.put(message.headers, :content_length, byte_size(body))
    %{message | headers: headers, body: body}
  end

  # A degraded header is text, and stands among the others that are.
  defp assert_order(name, names, first) do
    leading = Enum.take_while(names, &(&1 in first))
    assert Enum.dedup(leading) == Enum.filter(first, &(&1 in names)), name
    assert leading == Enum.filter(names, &(&1 in first)), name
    assert List.last(names) == "Content-Length", name
  end

  defp degraded(message) do
    for {name, _lines} when is_binary(name) <- message.headers,
        match?(%{level: level} when level != :extension, Table.find(name)),
        do: name
  end

  defp report(folder, messages, errors, found, used) do
    parsed = Map.new(messages, fn {name, _raw, message} -> {name, message} end)
    needed = used |> List.flatten() |> Enum.frequencies()

    IO.puts([
      "\n#{folder}: #{length(messages)} messages parsed, #{length(errors)} refused, ",
      "#{length(found)} headers degraded\n",
      for({name, error} <- errors, do: "  refused   #{name}: #{Exception.message(error)}\n"),
      for({name, header} <- found, do: "  degraded  #{name}: #{reason(parsed[name], header)}\n"),
      for {step, text} <- Normalisation.all(), count = needed[step] do
        "  #{String.pad_leading(Integer.to_string(count), 4)} texts differ by #{step}: #{text}\n"
      end
    ])
  end

  defp reason(message, header) do
    {:error, error} = Headers.parse(header, message.headers[header])
    Exception.message(error)
  end

  defp lines(title, lines), do: for(line <- lines, do: "  #{title}: #{inspect(line)}\n")
end
