defmodule Sippet.Message.RequestLine do
  @moduledoc """
  The first line of a request.

      iex> line = Sippet.Message.RequestLine.new(:options, "sip:biloxi.com")
      iex> {line.method, line.request_uri.host, to_string(line)}
      {:options, "biloxi.com", "OPTIONS sip:biloxi.com SIP/2.0"}

    * `method` - an atom for the methods that `Sippet.Message.known_methods/0` lists, else the string as written
    * `request_uri` - a `Sippet.URI`
    * `version` - `{2, 0}`
  """

  alias Sippet.Names
  alias Sippet.Serializer
  alias Sippet.URI

  defstruct method: nil, request_uri: nil, version: {2, 0}

  @type t :: %__MODULE__{
          method: Sippet.Message.method(),
          request_uri: URI.t(),
          version: {major :: non_neg_integer, minor :: non_neg_integer}
        }

  @doc """
  Makes a request line of version 2.0.

  A known method may be written in any letter case; a URI that is text is parsed, and raises `Sippet.ParseError` when it
  is malformed.

      iex> Sippet.Message.RequestLine.new("options", %Sippet.URI{scheme: "sip", host: "biloxi.com"})
      %Sippet.Message.RequestLine{
        method: :options,
        request_uri: %Sippet.URI{scheme: "sip", host: "biloxi.com"},
        version: {2, 0}
      }

  """
  @spec new(Sippet.Message.method(), URI.t() | binary) :: t
  def new(method, %URI{} = uri) when is_atom(method),
    do: %__MODULE__{method: method, request_uri: uri}

  def new(method, %URI{} = uri) when is_binary(method),
    do: %__MODULE__{method: Names.method(method), request_uri: uri}

  def new(method, uri) when is_binary(uri), do: new(method, URI.parse!(uri))

  @doc """
  The line as text, without its line end.

      iex> uri = %Sippet.URI{scheme: "sip", host: "biloxi.com"}
      iex> Sippet.Message.RequestLine.to_string(Sippet.Message.RequestLine.new(:options, uri))
      "OPTIONS sip:biloxi.com SIP/2.0"

  """
  @spec to_string(t) :: binary
  def to_string(%__MODULE__{} = line), do: Serializer.start_line(line)

  @doc """
  The line as iodata, without its line end; a method that is no token and a URI that can't be printed raise
  `ArgumentError`.
  """
  @spec to_iodata(t) :: iodata
  def to_iodata(%__MODULE__{} = line), do: Serializer.start_line(line)

  defimpl String.Chars do
    def to_string(line), do: Sippet.Message.RequestLine.to_string(line)
  end
end
