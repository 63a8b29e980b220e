defmodule Sippet.URI do
  @moduledoc """
  A URI as it stands in SIP messages: SIP, SIPS, TEL or any other absolute URI.

      iex> uri = Sippet.URI.parse!("sip:alice@atlanta.com;transport=tcp")
      iex> {uri.userinfo, uri.host, uri.port, uri.parameters}
      {"alice", "atlanta.com", 5060, ";transport=tcp"}
      iex> to_string(%{uri | parameters: nil})
      "sip:alice@atlanta.com"

  The fields of `%Sippet.URI{}`:

    * `scheme` - in lower case; `nil` for a name that stands where a URI should, as in `Alert-Info: <Bellcore-dr1>`
    * `authority` - sip and sips: all that stands between `scheme:` and the parameters. tel: the number, up to the
      first `;`. Any other scheme: all that follows `scheme:`
    * `userinfo` - user and password as written, or `nil`. Peers send `#` and octets that are no UTF-8 there
      without escapes
    * `host` - a host name or an address; an IPv6 address has no brackets here
    * `port` - the port, or else the scheme's default (see `default_port/1`), or else `nil`
    * `parameters` - the raw text of the parameters with its leading `;`, or `nil`
    * `headers` - the raw text of the headers with its leading `?`, or `nil`

  `userinfo`, `host` and `port` are `nil` unless the scheme is sip or sips.

  ## Printing

  As long as `userinfo`, `host` and `port` say the same as `authority`, the authority is printed as it stands, so
  `sip:b:5060` keeps its port, which sets it apart from `sip:b`. When one of the three was changed, or there is no
  `authority`, the URI is built from the three, and a default port is left out:

      iex> uri = Sippet.URI.parse!("sip:alice@atlanta.com:5060;transport=tcp")
      iex> to_string(uri)
      "sip:alice@atlanta.com:5060;transport=tcp"
      iex> to_string(%{uri | host: "2001:db8::1"})
      "sip:alice@[2001:db8::1];transport=tcp"
      iex> to_string(%Sippet.URI{scheme: "sips", host: "biloxi.com", port: 5062})
      "sips:biloxi.com:5062"

  In a `userinfo` that is built anew, octets that RFC 3261 does not allow there are escaped, as `#` by `%23`. A URI that
  `parse/1` would refuse, or take apart at other places, can't be printed: `ArgumentError`.

  ## Inspecting

  `inspect/2` shows a URI in one line, and never raises. The text of a URI that was built by hand
  stands in `#Sippet.URI<…>`, as `parse!/1` would fill the fields that it leaves out.

      iex> inspect(Sippet.URI.parse!("sip:bob@biloxi.com"))
      ~S|Sippet.URI.parse!("sip:bob@biloxi.com")|
      iex> inspect(%Sippet.URI{scheme: "sip", host: "biloxi.com"})
      "#Sippet.URI<sip:biloxi.com>"

  """

  alias Sippet.Names
  alias Sippet.Native
  alias Sippet.ParseError
  alias Sippet.Serializer
  alias Sippet.URI.Comparison
  alias Sippet.URI.Escape

  defstruct scheme: nil,
            userinfo: nil,
            authority: nil,
            parameters: nil,
            headers: nil,
            host: nil,
            port: nil

  @type t :: %__MODULE__{
          scheme: nil | String.t(),
          userinfo: nil | binary,
          authority: nil | binary,
          parameters: nil | binary,
          headers: nil | binary,
          host: nil | binary,
          port: nil | :inet.port_number()
        }

  @doc """
  The default port of a scheme, or `nil` when it has none.

      iex> Sippet.URI.default_port("sip")
      5060
      iex> Sippet.URI.default_port("sips")
      5061
      iex> Sippet.URI.default_port("tel")
      nil

  """
  @spec default_port(String.t()) :: nil | :inet.port_number()
  defdelegate default_port(scheme), to: Names, as: :scheme_port

  @doc """
  Encodes names and values as the parameters of a URI.

  Takes anything that enumerates as pairs; names and values are converted by `to_string/1` and escaped by
  `encode_paramchar/1`. A value of `nil` leaves a parameter without a value. No pairs give `""`. A name or
  value that is a list raises `ArgumentError`.

      iex> Sippet.URI.encode_parameters(%{"transport" => "udp", "lr" => nil})
      ";lr;transport=udp"
      iex> Sippet.URI.encode_parameters([{"key", "with blanks"}, {:ttl, 1}])
      ";key=with%20blanks;ttl=1"

  """
  @spec encode_parameters(Enumerable.t()) :: binary
  def encode_parameters(enumerable),
    do: encode(enumerable, ";", ";", &encode_paramchar/1, "encode_parameters/1")

  @doc """
  Decodes the parameters of a URI into a map, on top of those that are in `map` already.

  Names and values are unescaped, one layer; a value in quotes comes without them. The value of a parameter without
  one is `nil`, and of a name that stands twice the last one counts. Raises `ArgumentError` for text that doesn't start
  with `;`; `nil` and `""` are no parameters.

      iex> Sippet.URI.decode_parameters(";lr;transport=udp")
      %{"lr" => nil, "transport" => "udp"}
      iex> Sippet.URI.decode_parameters(~S(;thinfo="a;b=";lr))
      %{"lr" => nil, "thinfo" => "a;b="}
      iex> Sippet.URI.decode_parameters(";ttl=1", %{"ttl" => "255", "lr" => nil})
      %{"lr" => nil, "ttl" => "1"}

  """
  @spec decode_parameters(binary | nil, map) :: %{binary => binary | nil}
  def decode_parameters(parameters, map \\ %{}),
    do: Enum.into(decode(parameters, ";", ";", "decode_parameters"), map)

  @doc """
  The parameters of a URI as `{name, value}` one by one, in their order.

      iex> Sippet.URI.parameters_decoder(";lr;transport=udp") |> Enum.to_list()
      [{"lr", nil}, {"transport", "udp"}]

  """
  @spec parameters_decoder(binary | nil) :: Enumerable.t()
  def parameters_decoder(parameters), do: decode(parameters, ";", ";", "parameters_decoder/1")

  @doc """
  Encodes names and values as the headers of a URI, escaped by `encode_hnvchar/1`; else like `encode_parameters/1`.

      iex> Sippet.URI.encode_headers(%{"subject" => "project x", "priority" => "urgent"})
      "?priority=urgent&subject=project%20x"

  """
  @spec encode_headers(Enumerable.t()) :: binary
  def encode_headers(enumerable),
    do: encode(enumerable, "?", "&", &encode_hnvchar/1, "encode_headers/1")

  @doc """
  Decodes the headers of a URI into a map, on top of those that are in `map` already; else like `decode_parameters/2`.

      iex> Sippet.URI.decode_headers("?subject=project%20x&priority=urgent")
      %{"priority" => "urgent", "subject" => "project x"}

  """
  @spec decode_headers(binary | nil, map) :: %{binary => binary | nil}
  def decode_headers(headers, map \\ %{}),
    do: Enum.into(decode(headers, "?", "&", "decode_headers"), map)

  @doc """
  The headers of a URI as `{name, value}` one by one, in their order.

      iex> Sippet.URI.headers_decoder("?subject=x&priority=urgent") |> Enum.to_list()
      [{"subject", "x"}, {"priority", "urgent"}]

  """
  @spec headers_decoder(binary | nil) :: Enumerable.t()
  def headers_decoder(headers), do: decode(headers, "?", "&", "headers_decoder/1")

  @doc """
  Escapes what may not stand in the name or value of a URI parameter.

      iex> Sippet.URI.encode_paramchar("put: it+;é")
      "put:%20it+%3B%C3%A9"

  """
  @spec encode_paramchar(binary) :: binary
  def encode_paramchar(string) when is_binary(string),
    do: Escape.escape(string, &(char_unreserved?(&1) or char_param_unreserved?(&1)))

  @doc """
  Escapes what may not stand in the name or value of a URI header.

      iex> Sippet.URI.encode_hnvchar("put: it&é")
      "put:%20it%26%C3%A9"

  """
  @spec encode_hnvchar(binary) :: binary
  def encode_hnvchar(string) when is_binary(string),
    do: Escape.escape(string, &(char_unreserved?(&1) or char_hnv_unreserved?(&1)))

  @doc """
  Escapes what may not stand in the user part of a URI.

      iex> user = Sippet.URI.encode_userchar("alice: at home")
      iex> to_string(%Sippet.URI{scheme: "sip", userinfo: user, host: "atlanta.com"})
      "sip:alice%3A%20at%20home@atlanta.com"

  """
  @spec encode_userchar(binary) :: binary
  def encode_userchar(string) when is_binary(string),
    do: Escape.escape(string, &(char_unreserved?(&1) or char_user_unreserved?(&1)))

  @doc """
  Escapes what may not stand in the password of a URI, which stands behind the user and `:` in `userinfo`. RFC 3261
  §19.1.1 advises against passwords in URIs.

      iex> Sippet.URI.encode_passwordchar("open;sesame")
      "open%3Bsesame"

  """
  @spec encode_passwordchar(binary) :: binary
  def encode_passwordchar(string) when is_binary(string),
    do: Escape.escape(string, &(char_unreserved?(&1) or &1 in ~c"&=+$,"))

  @doc """
  Takes one layer of `%` escapes off, octet by octet. What is no escape stays as it is.

      iex> Sippet.URI.percent_unescape("sips%3Auser%40example.com")
      "sips:user@example.com"
      iex> Sippet.URI.percent_unescape("value%2541")
      "value%41"
      iex> Sippet.URI.percent_unescape("100% %4")
      "100% %4"

  """
  @spec percent_unescape(binary) :: binary
  def percent_unescape(string) when is_binary(string), do: Escape.unescape(string)

  @doc """
  Whether a character is in the class "unreserved" of RFC 3261 §25.1.

      iex> Sippet.URI.char_unreserved?(?~)
      true
      iex> Sippet.URI.char_unreserved?(?:)
      false

  """
  @spec char_unreserved?(char) :: boolean
  def char_unreserved?(char) when char in 0..0x10FFFF, do: Escape.unreserved?(char)

  @doc """
  Whether a character is in the class "user-unreserved" of RFC 3261 §25.1.

      iex> Sippet.URI.char_user_unreserved?(?;)
      true
      iex> Sippet.URI.char_user_unreserved?(?:)
      false

  """
  @spec char_user_unreserved?(char) :: boolean
  def char_user_unreserved?(char) when char in 0..0x10FFFF, do: char in ~c"&=+$,;?/"

  @doc """
  Whether a character is in the class "param-unreserved" of RFC 3261 §25.1.

      iex> Sippet.URI.char_param_unreserved?(?&)
      true
      iex> Sippet.URI.char_param_unreserved?(??)
      false

  """
  @spec char_param_unreserved?(char) :: boolean
  def char_param_unreserved?(char) when char in 0..0x10FFFF, do: char in ~c"[]/:&+$"

  @doc """
  Whether a character is in the class "hnv-unreserved" of RFC 3261 §25.1.

      iex> Sippet.URI.char_hnv_unreserved?(??)
      true
      iex> Sippet.URI.char_hnv_unreserved?(?&)
      false

  """
  @spec char_hnv_unreserved?(char) :: boolean
  def char_hnv_unreserved?(char) when char in 0..0x10FFFF, do: char in ~c"[]/?:+$"

  @doc """
  Parses a URI; a `%Sippet.URI{}` is given back as it is.

      iex> Sippet.URI.parse("sip:alice@atlanta.com;transport=tcp?subject=x")
      {:ok,
       %Sippet.URI{
         scheme: "sip",
         userinfo: "alice",
         authority: "alice@atlanta.com",
         host: "atlanta.com",
         port: 5060,
         parameters: ";transport=tcp",
         headers: "?subject=x"
       }}
      iex> Sippet.URI.parse("tel:+358-555-1234567;postd=pp22")
      {:ok, %Sippet.URI{scheme: "tel", authority: "+358-555-1234567", parameters: ";postd=pp22"}}
      iex> {:error, error} = Sippet.URI.parse("sip:")
      iex> error.reason
      :invalid_uri

  """
  @spec parse(t | binary) :: {:ok, t} | {:error, ParseError.t()}
  def parse(%__MODULE__{} = uri), do: {:ok, uri}

  def parse(string) when is_binary(string) do
    case Native.parse_uri(string) do
      {:error, error} -> {:error, ParseError.new(error)}
      uri -> {:ok, uri}
    end
  end

  @doc """
  Parses a URI like `parse/1`, and raises `Sippet.ParseError` when it can't.

      iex> Sippet.URI.parse!("urn:service:sos")
      %Sippet.URI{scheme: "urn", authority: "service:sos"}

  """
  @spec parse!(t | binary) :: t
  def parse!(uri) do
    case parse(uri) do
      {:ok, uri} -> uri
      {:error, error} -> raise error
    end
  end

  @doc """
  The URI as text; see "Printing" above.

      iex> Sippet.URI.to_string(%Sippet.URI{scheme: "sip", userinfo: "bob", host: "biloxi.com", port: 5060})
      "sip:bob@biloxi.com"

  """
  @spec to_string(t) :: binary
  def to_string(%__MODULE__{} = uri), do: Serializer.uri(uri)

  @doc """
  Whether two URIs are equivalent.

  sip and sips URIs follow RFC 3261 §19.1.4: a port or transport that is left out is not its default value, parameters
  other than `user`, `ttl`, `method`, `maddr` and `transport` count only where both URIs have them, headers
  always count, and only the userinfo is compared with letter case. IPv6 addresses are compared as numbers (RFC
  5954 §4.2). tel URIs follow RFC 3966 §4; any others must be equal but for the letter case of the scheme.

      iex> a = Sippet.URI.parse!("sip:%61lice@atlanta.com;transport=TCP")
      iex> b = Sippet.URI.parse!("sip:alice@AtLanTa.CoM;Transport=tcp")
      iex> Sippet.URI.equivalent(a, b)
      true
      iex> a = Sippet.URI.parse!("sip:bob@biloxi.com")
      iex> b = Sippet.URI.parse!("sip:bob@biloxi.com:5060")
      iex> Sippet.URI.equivalent(a, b)
      false

  """
  @spec equivalent(t, t) :: boolean
  def equivalent(%__MODULE__{} = a, %__MODULE__{} = b), do: Comparison.equivalent?(a, b, false)

  @doc """
  Whether two URIs are equivalent when defaults count as written.

  Like `equivalent/2`, but a sip or sips URI without a port has the default port of its scheme, and one without the
  parameter `transport` has `udp` (sip) or `tls` (sips).

      iex> a = Sippet.URI.parse!("sip:atlanta.com;transport=UDP")
      iex> b = Sippet.URI.parse!("sip:atlanta.com:5060")
      iex> Sippet.URI.lazy_equivalent(a, b)
      true

  """
  @spec lazy_equivalent(t, t) :: boolean
  def lazy_equivalent(%__MODULE__{} = a, %__MODULE__{} = b),
    do: Comparison.equivalent?(a, b, true)

  defp encode(enumerable, first, separator, encode, function) do
    case Enum.map_join(enumerable, separator, &encode_pair(&1, encode, function)) do
      "" -> ""
      text -> first <> text
    end
  end

  defp encode_pair({name, _value}, _encode, function) when is_list(name),
    do: raise(ArgumentError, "#{function} names cannot be lists, got: #{inspect(name)}")

  defp encode_pair({_name, value}, _encode, function) when is_list(value),
    do: raise(ArgumentError, "#{function} values cannot be lists, got: #{inspect(value)}")

  defp encode_pair({name, nil}, encode, _function), do: encode.(Kernel.to_string(name))

  defp encode_pair({name, value}, encode, _function),
    do: encode.(Kernel.to_string(name)) <> "=" <> encode.(Kernel.to_string(value))

  defp decode(text, _first, _separator, _function) when text in [nil, ""], do: []

  defp decode(<<octet, rest::binary>>, <<octet>>, separator, _function),
    do: Escape.pairs(rest, separator, &percent_unescape/1)

  defp decode(text, first, _separator, function),
    do:
      raise(
        ArgumentError,
        "#{function} expects text that starts with #{first}, got: #{inspect(text)}"
      )

  defimpl Inspect do
    import Inspect.Algebra

    alias Sippet.Serializer

    # An expression that makes the URI, where the parser makes the same struct of its text. Of a
    # URI that was built by hand the text, in the form by which Elixir marks what is no
    # expression, or the fields where it can't be printed. Octets that are no UTF-8 are escaped.
    def inspect(uri, opts) do
      opts = %{opts | binaries: :as_strings}

      case Serializer.try_uri(uri) do
        {:ok, text} -> document(Sippet.URI.parse(text) == {:ok, uri}, text, opts)
        :error -> concat(["%Sippet.URI{", fields(uri, opts), "}"])
      end
    end

    defp document(true, text, opts), do: concat(["Sippet.URI.parse!(", to_doc(text, opts), ")"])

    defp document(false, text, _opts) do
      quoted = Kernel.inspect(text, binaries: :as_strings, printable_limit: :infinity)
      concat(["#Sippet.URI<", String.slice(quoted, 1..-2//1), ">"])
    end

    defp fields(uri, opts) do
      pairs =
        for name <- [:scheme, :authority, :userinfo, :host, :port, :parameters, :headers],
            %{^name => value} when value != nil <- [uri],
            do: concat("#{name}: ", to_doc(value, opts))

      pairs |> Enum.intersperse(", ") |> concat()
    end
  end

  defimpl String.Chars do
    def to_string(uri), do: Sippet.URI.to_string(uri)
  end
end
