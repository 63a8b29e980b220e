defmodule Sippet.Corpus.VerdictsTest do
  use ExUnit.Case, async: true

  # 203 generated messages, each odd in one place, with the verdicts of five other stacks. What Kamailio, PJSIP and
  # sofia-sip all take is taken here, but for a short list, of which each kind has its reason in the guide. What none
  # of the three takes stays refused, but for empty parameters.

  alias Sippet.Corpus
  alias Sippet.Headers.Table
  alias Sippet.Message
  alias Sippet.ParseError

  @moduletag Corpus.needs("field/matrix")

  # The kinds of refusals that stay, by the words that name each in guides/deviations.md.
  @kinds %{
    blanks: "Blanks inside the brackets of a URI",
    control: "Control characters",
    max_forwards: "Max-Forwards over 255",
    comment: "A comment in a Via"
  }

  # Taken by all three, and refused here: the kind, and the header of the error.
  @refused %{
    "098-uri-blank-end-from" => {:blanks, "From"},
    "116-uri-blank-in-to" => {:blanks, "To"},
    "181-from-lws-inside" => {:blanks, "From"},
    "253-ctl-bel-from" => {:control, "From"},
    "258-ctl-bel-cid" => {:control, "Call-ID"},
    "260-mf-256" => {:max_forwards, "Max-Forwards"},
    "261-mf-1000" => {:max_forwards, "Max-Forwards"},
    "310-via-comment" => {:comment, "Via"}
  }

  # Taken by all three, and text under its name here: the grammar has no value for these, and none is guessed.
  @degraded %{
    # Blanks inside the brackets of a URI
    "135-uri-blank-in-contact" => ["Contact"],
    "136-uri-blank-end-contact" => ["Contact"],
    # Control characters
    "236-ctl-bel" => ["Subject"],
    "239-ctl-del" => ["Subject"],
    "369-hdr-ua-ctl" => ["User-Agent"],
    # RFC3261§20.4 - "Ring Answer" is no URI
    "363-hdr-alert" => ["Alert-Info"],
    # RFC3261§20.9 - without brackets nobody can say whose parameters they are
    "365-hdr-callinfo-nobr" => ["Call-Info"],
    # RFC3261§20.24 - a comment
    "376-hdr-mime" => ["MIME-Version"],
    # RFC3261§20.10 - a comma in a display name without quotes parts two elements
    "377-hdr-pai-comma-name" => ["P-Asserted-Identity"]
  }

  # Taken by none of the three: an empty parameter is passed over, as an empty element is.
  @empty_parameters ~w(185-to-semi-end 186-to-semi2 283-via-semi2 284-via-semi-end 285-via-semi-end-blank)

  setup_all do
    rows =
      for [file | verdicts] <- Corpus.shared_table!("field/matrix/verdicts.tsv") do
        verdicts = Enum.map(verdicts, &(&1 == "ok"))
        parsed = Message.parse(Corpus.shared_file!("field/matrix/#{file}"))
        {Path.rootname(file), verdicts, parsed}
      end

    %{rows: rows}
  end

  test "what Kamailio, PJSIP and sofia-sip all take is taken, but for eight", %{rows: rows} do
    taken = for {name, [true, true, true | _], parsed} <- rows, do: {name, parsed}
    assert {length(rows), length(taken)} == {203, 70}
    refused = for {name, {:error, %ParseError{} = error}} <- taken, do: {name, error}

    IO.puts([
      "\nfield/matrix: #{length(refused)} refused of the 70 messages that three stacks take\n",
      for({name, error} <- refused, do: "  refused   #{name}: #{Exception.message(error)}\n")
    ])

    found = Map.new(refused, fn {name, error} -> {name, error.header} end)
    assert found == Map.new(@refused, fn {name, {_kind, header}} -> {name, header} end)
  end

  test "… and of those that are taken few headers are text", %{rows: rows} do
    found =
      for {name, [true, true, true | _], {:ok, message}} <- rows,
          texts = for({text, _lines} <- message.headers, typed?(text), do: text),
          texts != [],
          into: %{},
          do: {name, texts}

    assert found == @degraded
  end

  test "each kind that stays refused has its reason in the guide" do
    guide = File.read!("guides/deviations.md")
    used = for {_name, {kind, _header}} <- @refused, uniq: true, do: kind
    assert Enum.sort(used) == Enum.sort(Map.keys(@kinds))
    for {_kind, words} <- @kinds, do: assert(guide =~ "* **#{words}")
  end

  test "what none of the three takes stays refused, but for empty parameters", %{rows: rows} do
    none =
      for {name, [false, false, false | _], _parsed} = row <- rows, into: %{}, do: {name, row}

    assert map_size(none) == 15

    for {name, {_name, verdicts, parsed}} <- none do
      if name in @empty_parameters or List.last(verdicts),
        do: assert({:ok, _message} = parsed, name),
        else: assert({:error, %ParseError{}} = parsed, name)
    end

    assert @empty_parameters -- Map.keys(none) == []
  end

  test "what was taken on 2026-11-30 is taken", %{rows: rows} do
    for {name, verdicts, parsed} <- rows, List.last(verdicts) do
      assert {:ok, _message} = parsed, name
    end
  end

  defp typed?(name) when is_binary(name),
    do: match?(%{level: level} when level != :extension, Table.find(name))

  defp typed?(_key), do: false
end
