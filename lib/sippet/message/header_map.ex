defmodule Sippet.Message.HeaderMap do
  @moduledoc false
  # The header map of a message as the header functions of Sippet.Message see it.
  #
  # A header stands in the map once: typed under its atom, or as raw text under its name (a header without a shape, and
  # one that came malformed). An atom means the typed form. A string, in any letter case or compact, means the
  # header whatever its form. Putting either form drops the other, and deleting takes both: what a proxy strips can't
  # slip through because its sender malformed it.

  alias Sippet.Headers
  alias Sippet.Headers.Table

  @type t :: %{(atom | String.t()) => term}
  @type name :: atom | String.t()

  @doc """
  Whether the header is there.
  """
  @spec has?(t, name) :: boolean
  def has?(headers, name), do: is_map_key(headers, key(headers, name))

  @doc """
  The value of the header, or `:error`.
  """
  @spec fetch(t, name) :: {:ok, term} | :error
  def fetch(headers, name), do: Map.fetch(headers, key(headers, name))

  @doc """
  Puts `value` in place of the header, in the form that `name` says.
  """
  @spec put(t, name, term) :: t
  def put(headers, name, value) when is_atom(name),
    do: headers |> without(Table.name(name)) |> Map.put(name, value)

  def put(headers, name, value) when is_binary(name) do
    key = raw_key(headers, name)
    headers |> without(typed_key(key)) |> Map.put(key, value)
  end

  @doc """
  Puts `value` where the header stands, or else in the form that `name` says.
  """
  @spec replace(t, name, term) :: t
  def replace(headers, name, value) do
    case key(headers, name) do
      key when is_map_key(headers, key) -> Map.put(headers, key, value)
      _ -> put(headers, name, value)
    end
  end

  @doc """
  Takes the header away, in both its forms.
  """
  @spec delete(t, name) :: t
  def delete(headers, name) when is_atom(name),
    do: headers |> Map.delete(name) |> without(Table.name(name))

  def delete(headers, name) when is_binary(name) do
    key = raw_key(headers, name)
    headers |> Map.delete(key) |> without(typed_key(key))
  end

  @doc """
  The list that is the value of the header: `nil` if the header is missing; anything but a list raises `ArgumentError`.
  """
  @spec list!(t, name) :: [term] | nil
  def list!(headers, name) do
    case fetch(headers, name) do
      {:ok, values} when is_list(values) ->
        values

      :error ->
        nil

      {:ok, value} ->
        raise ArgumentError, "the value of #{inspect(name)} is no list: #{inspect(value)}"
    end
  end

  @doc """
  Puts a list where the header stands; an empty one takes the header away.
  """
  @spec put_list(t, name, [term]) :: t
  def put_list(headers, name, []), do: delete(headers, name)
  def put_list(headers, name, values), do: replace(headers, name, values)

  defp without(headers, nil), do: headers
  defp without(headers, key), do: Map.delete(headers, key)

  defp key(_headers, name) when is_atom(name), do: name
  defp key(headers, name) when is_map_key(headers, name), do: name

  defp key(headers, name) when is_binary(name) do
    raw = raw_key(headers, name)
    typed = typed_key(raw)
    if typed && not is_map_key(headers, raw), do: typed, else: raw
  end

  defp typed_key(name) do
    case Table.find(name) do
      nil -> nil
      row -> row.key
    end
  end

  # The spelling under which the raw form stands or would stand.
  defp raw_key(headers, name) when is_map_key(headers, name), do: name

  defp raw_key(headers, name) do
    canonical = Headers.canonical_name(name)

    if is_map_key(headers, canonical),
      do: canonical,
      else: spelled_otherwise(headers, canonical) || canonical
  end

  # RFC3261§7.3.1 - field names are case-insensitive; an unlisted one keeps the spelling that was sent.
  defp spelled_otherwise(headers, canonical) do
    folded = String.downcase(canonical, :ascii)

    headers
    |> Map.keys()
    |> Enum.find(&(is_binary(&1) and folded(&1) == folded))
  end

  defp folded(name), do: name |> Headers.canonical_name() |> String.downcase(:ascii)
end
