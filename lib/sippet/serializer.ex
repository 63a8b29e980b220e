defmodule Sippet.Serializer do
  @moduledoc false
  # Terms to text: the printer is the native library's, `native/sippet_nif/src/print`. Here its refusals become
  # ArgumentErrors, as it's the programmer who hands in what can't be printed.

  alias Sippet.Headers.Table
  alias Sippet.Native

  @rows List.to_tuple(Table.rows())

  @doc """
  A whole message. Content-Length is made of the body's octets, whatever the headers say.
  """
  @spec message(struct, map, binary | nil) :: binary
  def message(start_line, headers, body), do: print({:message, start_line, headers, body})

  @doc """
  The header section of a message. A line end stands before each line, and none behind the last.

  Content-Length is always made of `body_size`, in octets; what stands in `headers` for it is passed over.
  """
  @spec headers(%{(atom | String.t()) => term}, non_neg_integer) :: binary
  def headers(headers, body_size), do: print({:headers, headers, body_size})

  @doc """
  A request line or a status line, without its line end.
  """
  @spec start_line(struct) :: binary
  def start_line(line), do: print({:start_line, line})

  @doc """
  The value of one header as it stands behind its name, in one line.
  """
  @spec value(Table.row(), term) :: binary
  def value(%{name: name}, value), do: print({:value, Native.row(name), value})

  @doc """
  A `Sippet.URI` as text.
  """
  @spec uri(struct) :: binary
  def uri(uri), do: print({:uri, uri})

  @doc """
  The same where nobody is to blame: `:error` for a URI that can't be printed, without a word about it. To inspect a URI
  must not end in inspecting it.
  """
  @spec try_uri(struct) :: {:ok, binary} | :error
  def try_uri(uri) do
    case Native.print({:uri, uri}) do
      text when is_binary(text) -> {:ok, text}
      {:error, _refusal} -> :error
    end
  end

  defp print(part) do
    case Native.print(part) do
      text when is_binary(text) -> text
      {:error, refusal} -> raise ArgumentError, explain(refusal)
    end
  end

  defp explain({:untyped, key}),
    do: "#{inspect(key)} is no typed header; any other header is named by a string"

  defp explain({place, wanted, value}),
    do: "cannot print #{place}: expected #{form(wanted)}, got: #{inspect(value)}"

  # A row's number stands for its shape.
  defp form(row) when is_integer(row), do: Table.describe(elem(@rows, row).shape)
  defp form(text), do: text
end
