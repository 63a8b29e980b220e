defmodule Sippet.Corpus.SuitesTest do
  use ExUnit.Case, async: true

  # 175 inputs of other stacks' own test suites that Sippet once decided otherwise, one a row, with a verdict on who is
  # right. What both allow, and what was wrong, is taken as the suite wants; what was right stays. The rows that
  # Sippet's own contract decides otherwise are listed, each with the line that does.

  alias Sippet.Corpus
  alias Sippet.Headers
  alias Sippet.Headers.Table
  alias Sippet.Message
  alias Sippet.URI

  @moduletag Corpus.needs("suites")

  @quoted "a quoted string as the value of a URI parameter: the value, printed as it came"
  @twice "a parameter twice: the last one counts"
  @empty_user "an empty user, <sip:@host>, in From, To, Contact: user \"\""
  @line_end "CRs directly before a line's CRLF: blanks at its end"
  @via "empty elements of a list: passed over, but in Via"
  @display "display names without quotes: any printable text but < > , ; \""
  @call_id "Call-ID: visible octets, of which a blank is none"

  # "We are right" said the verdict, and the contract reads it all the same.
  @taken %{
    "pjsip-002.uri" => @quoted,
    "pjsip-004.hdr" => @quoted,
    "pjsip-007.hdr" => @quoted,
    "pjsip-010.hdr" => @quoted,
    "pjsip-012.hdr" => @quoted,
    "pjsip-015.hdr" => @quoted,
    "pjsip-028.hdr" => @quoted,
    "kamailio-019.sip" => @line_end,
    "interop-008.hdr" => @twice,
    "interop-018.hdr" => @empty_user
  }

  # "Both are allowed" said the verdict, and the contract refuses it all the same.
  @refused %{
    "pjsip-001.hdr" => @display,
    "sofia-035.sip" => @via,
    "sofia-056.sip" => @display,
    "interop-007.hdr" => @via,
    "interop-063.hdr" => @call_id
  }

  # A message in which each header of the suites finds its place; it lacks none that a request must have.
  @lines [
    {"Via", "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1"},
    {"Max-Forwards", "70"},
    {"From", "<sip:alice@atlanta.com>;tag=1"},
    {"To", "<sip:bob@biloxi.com>"},
    {"Call-ID", "a84b4c76e66710"},
    {"CSeq", "1 OPTIONS"}
  ]

  setup_all do
    rows =
      for [file, _suite, _case, kind, header, expects, ours, _old, verdict | _] <-
            Corpus.shared_table!("suites/expected.tsv") do
        %{
          file: file,
          header: header,
          expects: hd(String.split(expects, " ")),
          ours: ours,
          verdict: hd(String.split(verdict, " (")),
          read: read(Path.extname(file), kind, header, Corpus.shared_file!("suites/#{file}"))
        }
      end

    assert length(rows) == 175
    %{rows: rows}
  end

  test "what both allow, and what was wrong, is taken where the suite takes it", %{rows: rows} do
    rows =
      for %{expects: "ok", verdict: verdict} = row <- rows, verdict != "WE ARE RIGHT", do: row

    assert length(rows) == 80
    {listed, rows} = Enum.split_with(rows, &is_map_key(@refused, &1.file))

    assert for(row <- rows, not taken?(row), do: {row.file, row.read}) == []
    assert for(row <- listed, not refused?(row), do: {row.file, row.read}) == []
    print("refused", @refused, listed)
  end

  test "where we are right we stay so", %{rows: rows} do
    rows = for %{expects: "ok", verdict: "WE ARE RIGHT"} = row <- rows, do: row
    assert length(rows) == 63
    {listed, rows} = Enum.split_with(rows, &is_map_key(@taken, &1.file))

    assert for(row <- rows, not refused?(row), do: {row.file, row.read}) == []
    assert for(row <- listed, not taken?(row), do: {row.file, row.read}) == []
    print("taken", @taken, listed)
  end

  test "what a suite refuses and we take we go on taking", %{rows: rows} do
    rows = for %{expects: "error", ours: "ok"} = row <- rows, do: row
    assert length(rows) == 32
    assert for(row <- rows, not taken?(row), do: {row.file, row.read}) == []
  end

  defp taken?(%{read: read}), do: Enum.all?(read, fn {_how, result} -> result == :ok end)

  # Refused, each way that it can be read; text, where the header is one that refuses no message.
  defp refused?(%{read: read}), do: Enum.all?(read, fn {_how, result} -> result != :ok end)

  defp print(word, decided, listed) do
    assert Enum.sort(Map.keys(decided)) == Enum.sort(for row <- listed, do: row.file)

    IO.puts([
      "\nsuites: #{map_size(decided)} rows that the contract decides otherwise\n",
      for({file, line} <- Enum.sort(decided), do: "  #{word}   #{file}: #{line}\n")
    ])
  end

  # In each position that an input may stand in: whether it is read, as :ok, :text or :error.
  defp read(".uri", _kind, _header, raw), do: [uri: outcome(URI.parse(raw))]
  defp read(".sip", _kind, _header, raw), do: [message: outcome(Message.parse(raw))]

  defp read(".hdr", _kind, header, raw),
    do: [value: outcome(Headers.parse(header, raw)), message: in_message(header, raw)]

  defp outcome({:ok, _value}), do: :ok
  defp outcome({:error, _error}), do: :error

  defp in_message(header, raw) do
    row = Table.find(header)
    others = for {name, value} <- @lines, name != row.name, do: [name, ": ", value, "\r\n"]

    case Message.parse(["OPTIONS sip:h SIP/2.0\r\n", others, header, ": ", raw, "\r\n\r\n"]) do
      {:ok, message} -> standing(row, message.headers)
      {:error, _error} -> :error
    end
  end

  # An extension header is text in every message, and typed on demand.
  defp standing(%{level: :extension, name: name}, headers),
    do: outcome(Headers.parse(name, headers[name]))

  # A header without a value may be as one that is not there: what counts is that nothing was refused or left as text.
  defp standing(%{name: name}, headers), do: if(is_map_key(headers, name), do: :text, else: :ok)
end
