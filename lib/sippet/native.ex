defmodule Sippet.Native do
  @moduledoc false
  # The Elixir side of the NIF door: plain terms in, plain terms out. Nobody but Sippet.Message, Sippet.URI,
  # Sippet.Headers and Sippet.DigestAuth comes here.

  alias Sippet.Headers.Table
  alias Sippet.Names

  @compile {:autoload, false}
  @on_load :load

  @words Path.expand("../../native/sippet_nif/words.tbl", __DIR__)
  @external_resource @words

  # What stands in nearly every message is given to the parser as literals of this module: those cost the
  # result neither a copy nor a word of heap, nor does sending them to another process.
  @literals List.to_tuple(
              ["", %{}, {2, 0}] ++
                Enum.map(Table.rows(), & &1.name) ++
                for(
                  line <- String.split(File.read!(@words), "\n", trim: true),
                  not String.starts_with?(line, "#"),
                  do: line
                )
            )

  # Octets up to which a call stays on a normal scheduler; `mix run bench/nif.exs` measures that the worst input of this
  # size takes well under a millisecond. A URI has no such bound: the largest takes a tenth of that.
  @normal 16_384

  # The same for the values of one header, which may be thousands of parameters to sort and to put into one map.
  @normal_values 8_192

  @typep refusal ::
           {:error,
            {reason :: atom, header :: binary | nil, line :: pos_integer,
             offset :: non_neg_integer, excerpt :: binary, request :: request | nil}}
  @typep request ::
           {method :: atom | binary, request_uri :: binary | nil,
            [{name :: binary, value :: binary}]}
  @typep version :: {non_neg_integer, non_neg_integer}
  @typep parsed ::
           {:request, atom | binary, struct, version, map, binary}
           | {:response, version, 100..699, binary, map, binary}
           | refusal
  @typep framed :: {:complete, pos_integer} | {:partial, non_neg_integer} | refusal

  @spec parse(binary) :: parsed
  def parse(message) when byte_size(message) <= @normal, do: parse(message, @literals)
  def parse(message), do: parse_dirty(message, @literals)

  @spec parse_uri(binary) :: struct | refusal
  def parse_uri(text), do: parse_uri(text, @literals)

  # The number by which the native library knows a header that has a shape.
  @spec row(String.t()) :: non_neg_integer
  def row(name)

  for {%{name: name, shape: shape}, row} <- Enum.with_index(Table.rows()), shape != :raw do
    def row(unquote(name)), do: unquote(row)
  end

  # The name is the registered spelling of a row that has a shape.
  @spec parse_header(binary, [binary]) :: {:ok, term} | refusal
  def parse_header(name, values) do
    if Enum.reduce(values, 0, &(byte_size(&1) + &2)) <= @normal_values,
      do: parse_values(row(name), values, @literals),
      else: parse_values_dirty(row(name), values, @literals)
  end

  # The elements of the header in order, each for itself; the text of a malformed one.
  @spec parse_elements(binary, [binary]) :: [{:ok, term} | {binary, refusal}]
  def parse_elements(name, values) do
    if Enum.reduce(values, 0, &(byte_size(&1) + &2)) <= @normal_values,
      do: parse_each(row(name), values, @literals),
      else: parse_each_dirty(row(name), values, @literals)
  end

  # `resume` is 0, or what an earlier call on the beginning of the same buffer gave.
  @spec frame(binary, non_neg_integer) :: framed
  def frame(buffer, resume) when byte_size(buffer) <= @normal,
    do: frame(buffer, resume, @literals)

  def frame(buffer, resume), do: frame_dirty(buffer, resume, @literals)

  # The text of a message or of a part of it. How much that is shows only on the way: the native library gives
  # up on what would hold a scheduler for too long.
  @spec print(tuple) ::
          binary | {:error, {:untyped, atom} | {binary, binary | non_neg_integer, term}}
  def print(part) do
    with :large <- print_nif(part), do: print_dirty(part)
  end

  # SHA-512/256, which OTP 25's :crypto lacks: 32 octets.
  @spec sha512_256(iodata) :: <<_::256>>
  def sha512_256(data) do
    data = IO.iodata_to_binary(data)
    if byte_size(data) <= @normal, do: sha512_256_nif(data), else: sha512_256_dirty(data)
  end

  # The CRC-32 of headers.tbl and of names.tbl.
  @spec table_hashes() :: {non_neg_integer, non_neg_integer}
  def table_hashes, do: :erlang.nif_error(:not_loaded)

  # What the library puts its functions in the place of.

  @spec parse(binary, tuple) :: parsed
  def parse(_message, _literals), do: :erlang.nif_error(:not_loaded)

  @spec parse_dirty(binary, tuple) :: parsed
  def parse_dirty(_message, _literals), do: :erlang.nif_error(:not_loaded)

  @spec parse_uri(binary, tuple) :: struct | refusal
  def parse_uri(_text, _literals), do: :erlang.nif_error(:not_loaded)

  @spec parse_values(non_neg_integer, [binary], tuple) :: {:ok, term} | refusal
  def parse_values(_row, _values, _literals), do: :erlang.nif_error(:not_loaded)

  @spec parse_values_dirty(non_neg_integer, [binary], tuple) :: {:ok, term} | refusal
  def parse_values_dirty(_row, _values, _literals), do: :erlang.nif_error(:not_loaded)

  @spec parse_each(non_neg_integer, [binary], tuple) :: [{:ok, term} | {binary, refusal}]
  def parse_each(_row, _values, _literals), do: :erlang.nif_error(:not_loaded)

  @spec parse_each_dirty(non_neg_integer, [binary], tuple) :: [{:ok, term} | {binary, refusal}]
  def parse_each_dirty(_row, _values, _literals), do: :erlang.nif_error(:not_loaded)

  @spec frame(binary, non_neg_integer, tuple) :: framed
  def frame(_buffer, _resume, _literals), do: :erlang.nif_error(:not_loaded)

  @spec frame_dirty(binary, non_neg_integer, tuple) :: framed
  def frame_dirty(_buffer, _resume, _literals), do: :erlang.nif_error(:not_loaded)

  @spec print_nif(tuple) :: binary | :large | {:error, tuple}
  def print_nif(_part), do: :erlang.nif_error(:not_loaded)

  @spec print_dirty(tuple) :: binary | {:error, tuple}
  def print_dirty(_part), do: :erlang.nif_error(:not_loaded)

  @spec sha512_256_nif(binary) :: <<_::256>>
  def sha512_256_nif(_data), do: :erlang.nif_error(:not_loaded)

  @spec sha512_256_dirty(binary) :: <<_::256>>
  def sha512_256_dirty(_data), do: :erlang.nif_error(:not_loaded)

  # The hashes go along, so that a library built from other tables is refused.
  @spec load() :: :ok | {:error, {atom, charlist}}
  def load do
    :code.purge(__MODULE__)
    path = Path.join(:code.priv_dir(:sippet), "native/sippet_nif")

    hashes = {Table.hash(), Names.hash()}

    with {:error, {reason, text}} <- :erlang.load_nif(String.to_charlist(path), hashes) do
      :logger.error("Sippet: #{explain(reason, text)} (#{path})")
      {:error, {reason, text}}
    end
  end

  defp explain(:load, _text),
    do:
      "the native library was built from another version of headers.tbl or names.tbl: run " <>
        "`mix compile --force`, or `mix deps.compile sippet --force` where Sippet is a dependency"

  # rustler's libraries have no upgrade callback. The module that is loaded stays, and with it its calls under way.
  defp explain(:upgrade, _text),
    do:
      "the native library can't be replaced in a running VM, and the one that is loaded stays in " <>
        "use: start the VM anew for another version"

  defp explain(_reason, text), do: "the native library can't be loaded: #{text}"
end
