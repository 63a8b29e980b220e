defmodule Sippet.Headers do
  @moduledoc """
  The header fields that Sippet knows: names, compact forms, shapes and types.

  The headers that have a key in the table are *typed*: `Sippet.Message.parse/1` gives their values in the shape that the
  table names, under that key. All others stand in a message as raw text, one string per line, under their canonical
  name. For those of them that have a shape, `parse/2` and `to_iodata/2` give typed access on demand:

      iex> {:ok, event} = Sippet.Headers.parse("Event", "message-summary;id=7")
      iex> event
      {"message-summary", %{"id" => "7"}}
      iex> IO.iodata_to_binary(Sippet.Headers.to_iodata("o", event))
      "message-summary;id=7"

  In the shapes, `params` is a map of strings: names in lower case, quoted values without their quotes, and `""` for a
  parameter without a value. `[...]` is a list of one or more, `[...] or []` may be empty.

  ## Typed headers

  #{Sippet.Headers.Table.markdown(&(&1.key != nil))}

  ## Extension headers

  #{Sippet.Headers.Table.markdown(&(&1.key == nil))}
  """

  alias Sippet.Headers.Table
  alias Sippet.Native
  alias Sippet.ParseError
  alias Sippet.Serializer
  alias Sippet.URI

  @typedoc "Parameters: names in lower case; `\"\"` where there is no value."
  @type params :: %{String.t() => String.t()}

  @typedoc "The text between the quotes, or `\"\"` where there is none."
  @type display_name :: String.t()

  @type token :: String.t()

  @typedoc "A known method as an atom, any other as the string that was sent."
  @type method :: atom | String.t()

  @typedoc "A known transport protocol as an atom, any other as a string."
  @type protocol :: atom | String.t()

  @type address :: {display_name, URI.t(), params}
  @type media :: {{type :: String.t(), subtype :: String.t()}, params}
  @type token_params :: {token, params}
  @type uri_params :: {URI.t(), params}
  @type auth :: {scheme :: String.t(), params}
  @type via_value ::
          {{major :: non_neg_integer, minor :: non_neg_integer}, protocol,
           {host :: String.t(), port :: :inet.port_number()}, params}

  # One @type per typed header, named as its key, of the type of its shape.
  @elements %{
    address: quote(do: address),
    route: quote(do: address),
    contact: quote(do: address),
    media: quote(do: media),
    token: quote(do: token),
    token_params: quote(do: token_params),
    uri_params: quote(do: uri_params),
    auth: quote(do: auth),
    auth_info: quote(do: params),
    call_id: quote(do: token),
    cseq: quote(do: {non_neg_integer, method}),
    date: quote(do: NaiveDateTime.t()),
    integer: quote(do: non_neg_integer),
    max_forwards: quote(do: 0..255),
    retry_after: quote(do: {non_neg_integer, comment :: String.t(), params}),
    text: quote(do: String.t()),
    timestamp: quote(do: {time :: float, delay :: float}),
    version: quote(do: {major :: non_neg_integer, minor :: non_neg_integer}),
    via: quote(do: via_value),
    warning: quote(do: {code :: 100..999, agent :: String.t(), text :: String.t()})
  }

  @typed Enum.filter(Table.rows(), & &1.key)

  for row <- @typed do
    element = Map.fetch!(@elements, row.shape)

    type =
      case row do
        %{shape: :contact} -> quote(do: String.t() | [unquote(element), ...])
        %{repeat: :one} -> element
        %{repeat: repeat} when repeat in [:list, :lines] -> quote(do: [unquote(element), ...])
        %{repeat: :list0} -> quote(do: [unquote(element)])
      end

    @typedoc "The value of the #{row.name} header."
    @type unquote({row.key, [], nil}) :: unquote(type)
  end

  fields = for row <- @typed, do: {quote(do: optional(unquote(row.key))), {row.key, [], nil}}

  @typedoc "The headers of a message: typed ones under their key, all others as raw lines under their name."
  @type t ::
          unquote(
            {:%{}, [],
             fields ++ [{quote(do: optional(String.t())), quote(do: [String.t(), ...])}]}
          )

  @doc """
  The canonical spelling of a header name.

  A registered name, in any letter case, and a compact form take the spelling registered with IANA. In any other name
  the first letter of each word becomes a capital and the rest stays.

      iex> Sippet.Headers.canonical_name("call-id")
      "Call-ID"
      iex> Sippet.Headers.canonical_name("k")
      "Supported"
      iex> Sippet.Headers.canonical_name("x-fooBar")
      "X-FooBar"

  """
  @spec canonical_name(String.t()) :: String.t()
  def canonical_name(name) when is_binary(name) do
    case Table.find(name) do
      %{name: name} -> name
      nil -> capitals(name, <<>>)
    end
  end

  @doc """
  Parses the raw value of a header, or its raw lines, in the shape that the table names.

  `name` is a typed or an extension header in any letter case, or its compact form. A header without a shape raises
  `ArgumentError`: its text is all there is.

      iex> Sippet.Headers.parse("rack", "776656 1 INVITE")
      {:ok, {776656, 1, :invite}}
      iex> Sippet.Headers.parse("Allow-Events", ["presence", "dialog, conference"])
      {:ok, ["presence", "dialog", "conference"]}
      iex> {:error, error} = Sippet.Headers.parse("RSeq", "one")
      iex> {error.reason, error.header}
      {:invalid_header, "RSeq"}

  """
  @spec parse(String.t(), binary | [binary]) :: {:ok, term} | {:error, ParseError.t()}
  def parse(name, raw) do
    case Native.parse_header(shaped!(name).name, List.wrap(raw)) do
      {:ok, value} -> {:ok, value}
      {:error, error} -> {:error, ParseError.new(error)}
    end
  end

  @doc """
  Parses the raw value of a header, or its raw lines, element by element.

  Returns `{good, bad}`: the elements that follow the grammar, in their order, and the text of each of the others with
  its error. In a message a list header of which one element is malformed is raw text under its name; this function finds
  what is still of use in it (RFC 3261 §8.2.2).

  A header that may stand once, and credentials, have one element a line. Raises `ArgumentError` for a header without a
  shape.

      iex> {good, bad} = Sippet.Headers.parse_each("Contact", ["<sip:a@192.0.2.1>, <sip:b@c:x>;q=1", "sip:d@e"])
      iex> Enum.map(good, fn {_name, uri, _params} -> to_string(uri) end)
      ["sip:a@192.0.2.1", "sip:d@e"]
      iex> [{"<sip:b@c:x>;q=1", %Sippet.ParseError{reason: :invalid_header, offset: 9}}] = bad

  """
  @spec parse_each(String.t(), binary | [binary]) ::
          {good :: [term], bad :: [{text :: binary, ParseError.t()}]}
  def parse_each(name, raw) do
    elements = elements(name, raw)

    {for({:ok, value} <- elements, do: value),
     for({:error, text, error} <- elements, do: {text, error})}
  end

  @doc false
  # The same, good and bad elements in the order in which they stand.
  @spec elements(String.t(), binary | [binary]) ::
          [{:ok, term} | {:error, text :: binary, ParseError.t()}]
  def elements(name, raw) do
    for element <- Native.parse_elements(shaped!(name).name, List.wrap(raw)) do
      case element do
        {:ok, value} -> {:ok, value}
        {text, {:error, error}} -> {:error, text, ParseError.new(error)}
      end
    end
  end

  @doc """
  Prints a value in the shape that the table names, as it stands behind the name of the header.

  It is what `Sippet.Message.put_header/3` wants under the name of an extension header, once it is a binary. A value of
  another kind is printed by what it is, as `Sippet.Message.to_iodata/1` says. A term without a meaning in this header,
  text that holds a line end, more than one value of an authentication header (they stand on lines of their
  own), and a header without a shape raise `ArgumentError`.

      iex> value = Sippet.Headers.to_iodata("Session-Expires", {1800, %{"refresher" => "uac"}})
      iex> IO.iodata_to_binary(value)
      "1800;refresher=uac"

  """
  @spec to_iodata(String.t(), term) :: iodata
  def to_iodata(name, value), do: Serializer.value(shaped!(name), value)

  defp shaped!(name) do
    case Table.find(name) do
      %{shape: shape} = row when shape != :raw -> row
      _ -> raise ArgumentError, "the header #{inspect(name)} has no shape but its raw text"
    end
  end

  defp capitals(<<c, rest::binary>>, acc) when c in ?a..?z,
    do: word(rest, <<acc::binary, c - 32>>)

  defp capitals(rest, acc), do: word(rest, acc)

  defp word(<<?-, rest::binary>>, acc), do: capitals(rest, <<acc::binary, ?->>)
  defp word(<<c, rest::binary>>, acc), do: word(rest, <<acc::binary, c>>)
  defp word(<<>>, acc), do: acc
end
