defmodule Sippet.Headers.Table do
  @moduledoc false
  # headers.tbl at compile time: the one table of header names that the Rust parser's build reads too.
  # The lowest room of the house: it names nobody, and the serialiser, the URI comparison and
  # Sippet.Headers look their rows up here.

  @path Path.expand("../../../native/sip_parser/headers.tbl", __DIR__)
  @external_resource @path
  @source File.read!(@path)

  @type row :: %{
          name: String.t(),
          compact: String.t() | nil,
          key: atom,
          shape: atom,
          repeat: :one | :list | :list0 | :lines,
          level: :essential | :typed | :extension,
          rfc: String.t()
        }

  # What one element looks like in Elixir, for the documentation and for error messages.
  @shapes %{
    address: "{display_name, uri, params}",
    name_addr: "{display_name, uri, params}",
    refer_to: "{display_name, uri, params}",
    route: "{display_name, uri, params}",
    contact: "\"*\" or [{display_name, uri, params}]",
    media: "{{type, subtype}, params}",
    token: "token",
    token_params: "{token, params}",
    uri_params: "{uri, params}",
    auth: "{scheme, params}",
    auth_info: "%{name => value}",
    call_id: "call_id",
    call_id_params: "{call_id, params}",
    cseq: "{integer, method}",
    rack: "{rseq, cseq, method}",
    date: "NaiveDateTime",
    integer: "integer",
    max_forwards: "integer in 0..255",
    integer_params: "{integer, params}",
    params: "%{name => value}",
    privacy: "[token]",
    retry_after: "{integer, comment, params}",
    text: "text",
    timestamp: "{timestamp, delay}",
    version: "{major, minor}",
    via: "{{major, minor}, protocol, {host, port}, params}",
    warning: "{code, agent, text}",
    word_params: "{word, params}",
    raw: "raw text"
  }

  @rows (for line <- String.split(@source, "\n", trim: true),
             not String.starts_with?(line, "#") do
           [name, compact, shape, repeat, level, rfc] =
             line |> String.split("|") |> Enum.map(&String.trim/1)

           shape = String.to_atom(shape)
           Map.has_key?(@shapes, shape) || raise "headers.tbl: #{name} has no known shape"

           key =
             if level != "extension",
               do: name |> String.downcase() |> String.replace("-", "_") |> String.to_atom()

           %{
             name: name,
             compact: if(compact != "-", do: compact),
             key: key,
             shape: shape,
             repeat: String.to_atom(repeat),
             level: String.to_atom(level),
             rfc: rfc
           }
         end)

  @index (for row <- @rows,
              spelling <-
                [row.name, String.downcase(row.name)] ++
                  if(row.compact, do: [row.compact, String.upcase(row.compact)], else: []),
              into: %{} do
            {spelling, row}
          end)

  @doc """
  All rows, in the order of the file.
  """
  @spec rows() :: [row]
  def rows, do: @rows

  @doc """
  The CRC-32 of the file, to be compared with the one that the native library was built from.
  """
  @spec hash() :: non_neg_integer
  def hash, do: unquote(:erlang.crc32(@source))

  @doc """
  The row of a header name in any letter case, or of its compact form; `nil` when it isn't listed.
  """
  @spec find(String.t()) :: row | nil
  def find(name) when is_binary(name) do
    index = index()

    case index do
      %{^name => row} -> row
      %{} -> Map.get(index, String.downcase(name, :ascii))
    end
  end

  @doc """
  The registered spelling of a typed header's key; `nil` when the atom is no such key.
  """
  @spec name(atom) :: String.t() | nil
  def name(key)

  for %{key: key, name: name} when key != nil <- @rows do
    def name(unquote(key)), do: unquote(name)
  end

  def name(_key), do: nil

  @doc """
  The Elixir form of one element of a shape, in words.
  """
  @spec describe(atom) :: String.t()
  def describe(shape), do: Map.fetch!(unquote(Macro.escape(@shapes)), shape)

  @doc """
  The rows that `wanted?` picks as a Markdown table.
  """
  @spec markdown((row -> boolean)) :: String.t()
  def markdown(wanted?) do
    lines = for row <- @rows, wanted?.(row), do: Enum.join(cells(row), " | ")

    ["header | compact | key | value | source", "---|---|---|---|---" | lines]
    |> Enum.map_join("\n", &"| #{&1} |")
  end

  defp cells(row),
    do: [
      row.name,
      row.compact || "",
      row.key && "`:#{row.key}`",
      "`#{value(row)}`",
      source(row.rfc)
    ]

  defp value(%{repeat: :list, shape: :contact}), do: describe(:contact)

  defp value(%{repeat: repeat, shape: shape}) when repeat in [:list, :lines],
    do: "[#{describe(shape)}, ...]"

  defp value(%{repeat: :list0, shape: shape}), do: "[#{describe(shape)}, ...] or []"
  defp value(%{repeat: :one, shape: shape}), do: describe(shape)

  defp source(rfc), do: if(rfc =~ ~r/^\d+$/, do: "RFC #{rfc}", else: rfc)

  defp index, do: unquote(Macro.escape(@index))
end
