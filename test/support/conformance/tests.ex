defmodule Sippet.Conformance.Tests do
  @moduledoc false
  # The names of the tests in a file. Of a module that this run has loaded they are the real ones; of any other they are
  # read from the text, so that a part of the suite can run alone, and what is computed in a name may be anything
  # then. A test that is always skipped is none: it can't fail.

  @root Path.expand("../../..", __DIR__)

  # What stands in a name for what is not known before it runs.
  @any "…"

  @type names :: %{Path.t() => [String.t()]}

  @doc """
  The tests of all modules that this run has loaded, by their files.
  """
  @spec loaded() :: names
  def loaded do
    for {module, _file} <- :code.all_loaded(),
        function_exported?(module, :__ex_unit__, 0),
        test <- module.__ex_unit__().tests,
        test.tags[:skip] != true,
        reduce: %{} do
      names ->
        file = Path.relative_to(test.tags.file, @root)
        Map.update(names, file, [name(test)], &[name(test) | &1])
    end
  end

  defp name(%{name: name}), do: name |> Atom.to_string() |> String.replace_prefix("test ", "")

  @doc """
  Whether a file of the project has a test whose name, behind that of its `describe`, holds `text`.
  """
  @spec find(Path.t(), String.t(), names) :: :ok | :no_file | :no_test
  def find(file, text, loaded) do
    case names(file, loaded) do
      {:ok, names} -> if Enum.any?(names, &holds?(&1, text)), do: :ok, else: :no_test
      :error -> :no_file
    end
  end

  defp holds?(name, text), do: String.contains?(name, text) or name =~ @any

  defp names(file, loaded) when is_map_key(loaded, file), do: {:ok, loaded[file]}

  defp names(file, _loaded) do
    case {File.read(Path.join(@root, file)), Path.extname(file)} do
      {{:ok, text}, ".exs"} -> {:ok, text |> Code.string_to_quoted!() |> written("")}
      {{:ok, text}, ".rs"} -> {:ok, rust(text)}
      _other -> :error
    end
  end

  defp written({:describe, _meta, [name, [do: block]]}, prefix),
    do: written(block, prefix <> text(name) <> " ")

  defp written({:test, _meta, [name | _]}, prefix), do: [prefix <> text(name)]
  defp written({_form, _meta, list}, prefix) when is_list(list), do: written(list, prefix)
  defp written({left, right}, prefix), do: written(left, prefix) ++ written(right, prefix)
  defp written(list, prefix) when is_list(list), do: Enum.flat_map(list, &written(&1, prefix))
  defp written(_other, _prefix), do: []

  defp text(name) when is_binary(name), do: name

  defp text({:<<>>, _meta, parts}),
    do: Enum.map_join(parts, &if(is_binary(&1), do: &1, else: @any))

  defp text({:<>, _meta, [left, right]}), do: text(left) <> text(right)
  defp text(_computed), do: @any

  defp rust(text),
    do: for([_all, name] <- Regex.scan(~r/#\[test\]\s+fn (\w+)/, text), do: name)
end
