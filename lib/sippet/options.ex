defmodule Sippet.Options do
  @moduledoc false
  # Options are checked once, against a schema that also renders their documentation.

  @typep type ::
           :atom
           | :module
           | {:module, [{function :: atom, [arity]}], String.t()}
           | :boolean
           | :positive
           | :limit
           | :port
           | :headers
           | {:one_of, [atom]}
           | {:options, schema}
           | {:custom, (term -> boolean), String.t()}
  @type schema :: [
          {atom, [type: type, default: term, required: boolean, doc: String.t()]}
        ]

  @doc """
  Gives the options with their defaults as a map, or raises `ArgumentError`.
  """
  @spec validate!(keyword, schema) :: map
  def validate!(options, schema) do
    unless Keyword.keyword?(options),
      do: raise(ArgumentError, "expected a keyword list of options, got: #{inspect(options)}")

    case Keyword.keys(options) -- Keyword.keys(schema) do
      [] -> Map.new(schema, fn {name, row} -> {name, fetch!(options, name, row)} end)
      unknown -> raise ArgumentError, "unknown options: #{inspect(unknown)}; #{known(schema)}"
    end
  end

  defp known(schema), do: "known ones are #{inspect(Keyword.keys(schema))}"

  defp fetch!(options, name, row) do
    case Keyword.fetch(options, name) do
      {:ok, value} ->
        checked!(name, value, row)

      :error ->
        if row[:required],
          do: raise(ArgumentError, "expected #{inspect(name)} option to be present"),
          else: default(row)
    end
  end

  defp checked!(name, value, row) do
    case row[:type] do
      {:options, schema} ->
        nested!(name, value, schema)

      type ->
        if member?(type, value) or (!row[:required] and value == row[:default]),
          do: value,
          else: raise(ArgumentError, expected(name, type, value))
    end
  end

  defp nested!(name, value, schema) do
    validate!(value, schema)
  rescue
    error in ArgumentError ->
      reraise ArgumentError, "#{inspect(name)}: #{Exception.message(error)}", __STACKTRACE__
  end

  defp default(row) do
    case row[:type] do
      {:options, schema} -> validate!(row[:default], schema)
      _plain -> row[:default]
    end
  end

  defp expected(name, type, value),
    do: "expected #{inspect(name)} to be #{describe(type)}, got: #{inspect(value)}"

  defp member?(:atom, value), do: is_atom(value) and value != nil
  defp member?(:module, value), do: is_atom(value) and value != nil and Code.ensure_loaded?(value)

  defp member?({:module, functions, _text}, value),
    do: member?(:module, value) and exports?(value, functions)

  defp member?(:boolean, value), do: is_boolean(value)
  defp member?(:positive, value), do: is_integer(value) and value > 0
  defp member?(:limit, value), do: value == :infinity or member?(:positive, value)
  defp member?(:port, value), do: value in 0..65_535

  defp member?(:headers, value),
    do: is_map(value) or (is_list(value) and Enum.all?(value, &pair?/1))

  defp member?({:one_of, values}, value), do: value in values
  defp member?({:custom, member?, _text}, value), do: member?.(value)

  @doc """
  Returns whether a module that is loaded has all these functions, each with one of its arities.
  """
  @spec exports?(module, [{atom, [arity]}]) :: boolean
  def exports?(module, functions) do
    Enum.all?(functions, fn {name, arities} ->
      Enum.any?(arities, &function_exported?(module, name, &1))
    end)
  end

  defp pair?({header, _value}), do: is_atom(header) or is_binary(header)
  defp pair?(_other), do: false

  defp describe(:atom), do: "an atom"
  defp describe(:module), do: "a module that can be loaded"
  defp describe({:module, _functions, text}), do: "a module that can be loaded, with #{text}"
  defp describe(:boolean), do: "a boolean"
  defp describe(:positive), do: "a positive integer"
  defp describe(:limit), do: "a positive integer or :infinity"
  defp describe(:port), do: "an integer in 0..65535"
  defp describe({:one_of, values}), do: Enum.map_join(values, " or ", &inspect/1)
  defp describe({:options, _schema}), do: "a keyword list"
  defp describe(:headers), do: "a map or a keyword list of headers"
  defp describe({:custom, _member?, text}), do: text

  @doc """
  The options as a Markdown list.
  """
  @spec docs(schema, indent :: String.t()) :: String.t()
  def docs(schema, indent \\ "  ") do
    Enum.map_join(schema, "\n", fn {name, row} ->
      note = if row[:required], do: "required", else: "default `#{inspect(row[:default])}`"

      "#{indent}* `#{inspect(name)}` (#{describe(row[:type])}; #{note}): #{row[:doc]}#{nested_docs(row[:type], indent)}"
    end)
  end

  defp nested_docs({:options, schema}, indent), do: "\n" <> docs(schema, indent <> "  ")
  defp nested_docs(_type, _indent), do: ""
end
