defmodule Sippet.Corpus do
  @moduledoc false
  # The recorded messages that tests read, byte for byte as they go over the wire. What may be copied is in
  # test/fixtures; the rest is in the folder that SIPPET_CORPUS names. Where that folder is missing its tests are
  # skipped, and the output says so.

  alias Sippet.Message

  @root Path.expand("../..", __DIR__)
  @fixtures Path.join(@root, "test/fixtures")

  @type file :: {name :: String.t(), binary}

  @doc """
  The octets of one fixture, named without its extension: `"rfc4475/wsinv"`.
  """
  @spec fixture!(String.t()) :: binary
  def fixture!(name), do: File.read!(Path.join(@fixtures, name <> ".dat"))

  @doc """
  All fixtures of a folder, by name.
  """
  @spec fixtures(String.t()) :: [file]
  def fixtures(folder), do: messages(Path.join(@fixtures, folder))

  @doc """
  The rows of a table of the corpus, each a list of its columns, without the head.
  """
  @spec table!(String.t()) :: [[String.t()]]
  def table!(name), do: rows(Path.join(@fixtures, name))

  @doc """
  The six messages that the benchmarks time.
  """
  @spec bench() :: [file]
  def bench, do: messages(Path.join(@root, "bench/messages"))

  @doc """
  The messages of a folder that is not part of the project, or why there are none.
  """
  @spec shared(String.t()) :: {:ok, [file]} | {:missing, String.t()}
  def shared(folder) do
    path = Path.join(shared_root(), folder)

    if File.dir?(path),
      do: {:ok, messages(path)},
      else: {:missing, "no folder #{folder} in the corpus; SIPPET_CORPUS names where it is"}
  end

  @doc """
  The rows of a table in a shared folder, as `table!/1` has them of a fixture.
  """
  @spec shared_table!(String.t()) :: [[String.t()]]
  def shared_table!(name), do: rows(Path.join(shared_root(), name))

  @doc """
  The octets of one file in a shared folder, named with its extension.
  """
  @spec shared_file!(String.t()) :: binary
  def shared_file!(name), do: File.read!(Path.join(shared_root(), name))

  @doc """
  The tag for a test that reads a shared folder: runs it, or skips it and says so aloud.
  """
  @spec needs(String.t()) :: keyword
  def needs(folder) do
    case shared(folder) do
      {:ok, [_ | _]} ->
        []

      {:ok, []} ->
        skip("the folder #{folder} of the corpus is empty")

      {:missing, reason} ->
        skip(reason)
    end
  end

  @doc """
  A setup function: reads the fixture that the test's tag names, and parses it.
  """
  @spec read(map) :: map
  def read(%{fixture: name}) do
    raw = fixture!(name)
    %{raw: raw, parsed: Message.parse(raw)}
  end

  def read(_context), do: %{}

  @doc """
  The fixtures that the tests of a module are tagged with, sorted.
  """
  @spec tagged(module) :: [String.t()]
  def tagged(module) do
    Enum.sort(for %{tags: %{fixture: name}} <- module.__ex_unit__().tests, do: name)
  end

  @doc """
  The fixtures of a set of torture messages whose section of the RFC starts like this.
  """
  @spec listed(String.t(), String.t()) :: [String.t()]
  def listed(folder, section) do
    for [name, found | _] <- table!("#{folder}/expected.tsv"),
        String.starts_with?(found, section),
        do: "#{folder}/#{name}"
  end

  @doc """
  The key that a header has in a message when it is typed.
  """
  @spec key(String.t()) :: atom
  def key(name),
    do: name |> String.downcase() |> String.replace("-", "_") |> String.to_existing_atom()

  defp shared_root,
    do: System.get_env("SIPPET_CORPUS") || Path.expand("../shared/corpus", @root)

  defp rows(path) do
    [_head | rows] = path |> File.read!() |> String.split(~r/\r?\n/, trim: true)
    Enum.map(rows, &String.split(&1, "\t"))
  end

  defp messages(path) do
    for name <- Enum.sort(File.ls!(path)), Path.extname(name) in [".dat", ".sip"] do
      {Path.rootname(name), File.read!(Path.join(path, name))}
    end
  end

  defp skip(reason) do
    IO.puts(:stderr, "\nSKIPPED: #{reason}")
    [skip: reason]
  end
end
