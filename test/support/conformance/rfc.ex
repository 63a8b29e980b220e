defmodule Sippet.Conformance.RFC do
  @moduledoc false
  # The texts of the RFCs, read for the words of RFC 2119: which of them stand in which section, in their order. The
  # texts are not part of the project; the folder that SIPPET_RFC names holds them.

  @root Path.expand("../../..", __DIR__)

  # A word in quotes is talked about, as in each document's "The key words ...".
  @keywords ~r/(?<!")\b(?:(?:MUST|SHALL|SHOULD)(?: NOT)?|REQUIRED|(?:NOT )?RECOMMENDED)\b(?!")/

  # A title begins with a capital; deep in the text it may also be "<> Enclosing Request-URI".
  @heading ~r/^(\d{1,2}(?:\.\d+){2,}|\d{1,2}(?:\.\d+)*(?=\.?\s+[A-Z]))\.?\s+(\S.*)$/
  @page_break ~r/^(?:\f.*|.*\[Page \d+\]\s*|RFC \d+ .* (?:19|20)\d\d\s*)$/

  @type section :: {number :: String.t(), title :: String.t(), text :: String.t()}

  @doc """
  The folder of the texts, or why there is none.
  """
  @spec folder() :: {:ok, Path.t()} | {:missing, String.t()}
  def folder do
    path = Path.expand(System.get_env("SIPPET_RFC", "../shared/rfc"), @root)

    if File.dir?(path),
      do: {:ok, path},
      else: {:missing, "no folder of RFC texts; SIPPET_RFC names where it is"}
  end

  @doc """
  The tag for a test that reads the texts: runs it, or skips it and says so aloud.
  """
  @spec needs() :: keyword
  def needs do
    case folder() do
      {:ok, _folder} ->
        []

      {:missing, reason} ->
        IO.puts("\nSKIPPED: #{reason}")
        [skip: reason]
    end
  end

  @doc """
  Whether the folder has the text of an RFC.
  """
  @spec text?(Path.t(), String.t()) :: boolean
  def text?(folder, rfc), do: folder |> path(rfc) |> File.regular?()

  defp path(folder, rfc), do: Path.join(folder, "rfc#{rfc}.txt")

  @doc """
  The sections of an RFC in their order, each with its own text and without that of the sections below it.
  """
  @spec sections(Path.t(), String.t()) :: [section]
  def sections(folder, rfc) do
    folder
    |> path(rfc)
    |> File.read!()
    |> once()
    |> String.split(~r/\r?\n/)
    |> Enum.reject(&(&1 =~ @page_break))
    |> cut({[0], "0", "", []}, [])
  end

  # Some of the files hold their text twice.
  defp once(text) do
    case String.split(text, ~r/^Abstract\s*$/m) do
      [head, first | _again] -> head <> first
      [all] -> all
    end
  end

  defp cut([line | rest], {place, number, title, lines} = section, done) do
    with [_line, next, next_title] <- Regex.run(@heading, line),
         next_place = place(next),
         true <- follows?(next_place, place) do
      cut(rest, {next_place, next, String.trim(next_title), []}, [
        {number, title, text(lines)} | done
      ])
    else
      _no_heading -> cut(rest, put_elem(section, 3, [line | lines]), done)
    end
  end

  defp cut([], {_place, number, title, lines}, done),
    do: Enum.reverse([{number, title, text(lines)} | done])

  defp place(number), do: number |> String.split(".") |> Enum.map(&String.to_integer/1)

  # A line of a table or a list may begin with a number too.
  defp follows?(next, place), do: next > place and hd(next) <= hd(place) + 1

  defp text(lines), do: lines |> Enum.reverse() |> Enum.join(" ") |> String.replace(~r/\s+/, " ")

  @doc """
  The words of RFC 2119 in a text, in their order.
  """
  @spec keywords(String.t()) :: [String.t()]
  def keywords(text), do: for([word] <- Regex.scan(@keywords, text), do: word)
end
