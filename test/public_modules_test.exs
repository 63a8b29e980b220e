defmodule PublicModulesTest do
  # What every module owes its readers: a spec for each function, and of a public one a text that opens with a sentence
  # and an example.
  use ExUnit.Case, async: true

  @modules (
             Application.load(:sippet)

             for module <- Application.spec(:sippet, :modules),
                 {:module, ^module} = Code.ensure_loaded(module),
                 to_string(module.module_info(:compile)[:source]) =~ "/lib/",
                 not function_exported?(module, :__impl__, 1),
                 do: module
           )

  test "there are modules" do
    assert Sippet in @modules and Sippet.Native in @modules
    assert Mix.Tasks.Compile.SippetNif in @modules
  end

  for module <- @modules do
    test "#{inspect(module)}: each function has a spec", do: assert_specs(unquote(module))

    test "#{inspect(module)}: its text opens with a sentence, then an example",
      do: assert_text(unquote(module))
  end

  defp assert_specs(module) do
    {:docs_v1, _, _, _, _, _, entries} = Code.fetch_docs(module)

    # A callback has its type from the behaviour, and is hidden. OTP's behaviours bring child_spec/1.
    functions =
      for {{:function, name, arity}, _, _, doc, _} <- entries,
          doc != :hidden,
          {name, arity} != {:child_spec, 1},
          do: {name, arity}

    specs =
      case Code.Typespec.fetch_specs(module) do
        {:ok, specs} -> for {function, _types} <- specs, do: function
        :error -> []
      end

    assert functions -- specs == []
  end

  defp assert_text(module) do
    with {:docs_v1, _, _, _, %{"en" => text}, _, _} <- Code.fetch_docs(module) do
      [opening | _sections] = String.split(text, "\n## ")
      [sentence | rest] = String.split(opening, "\n\n")

      assert sentence =~ ~r/\A[A-Z][^\n]*(\n[^\n]+)*[.:]\s*\z/
      # Code, a table, a picture in text, or a list of what there is.
      assert Enum.any?(rest, &(&1 =~ ~r/\A(    |```|\||  \* |!\[)/)),
             "no example before the sections"
    end
  end
end
