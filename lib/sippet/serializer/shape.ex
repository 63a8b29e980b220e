defmodule Sippet.Serializer.Shape do
  @moduledoc false
  # Terms to text, one function per shape of headers.tbl. Each takes one element of a header's value and the header's
  # name, for what differs from header to header and for the error. A term of another form raises
  # ArgumentError: nothing malformed leaves.

  alias Sippet.Headers.Table
  alias Sippet.Headers.Vocabulary
  alias Sippet.Octets
  alias Sippet.URI
  alias Sippet.URI.Printer

  # RFC3840§9 - the values of feature parameters are always quoted: those that start with "+", and these
  @base_tags ~w(actor application audio automata class control data description duplex events extensions isfocus
                language methods mobility priority schemes text type video)

  # RFC3841§9.2, RFC3261§20.10 - where base tags stand
  @base_tag_headers ~w(Contact Accept-Contact Reject-Contact)

  # RFC3261§25.1, RFC7616§3, RFC3310§3.2, RFC8898§4 - quoted strings even where a token would do.
  @quoted_auth ~w(auts authz_server ck cnonce domain error ik nextnonce nonce opaque realm response rspauth scope uri
                  username)

  @challenges ~w(WWW-Authenticate Proxy-Authenticate)

  @days {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"}
  @months {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"}

  @type name :: String.t()

  @doc """
  One element of any shape; the functions below are the same, shape by shape.
  """
  @spec print(atom, term, name) :: iodata
  def print(shape, value, name)

  for shape <-
        ~w(address auth auth_info call_id call_id_params contact cseq date integer integer_params max_forwards media
           params privacy rack retry_after text timestamp token token_params uri_params version via warning
           word_params)a do
    def print(unquote(shape), value, name), do: unquote(shape)(value, name)
  end

  def print(:route, value, name), do: address(value, name)

  @spec via(term, name) :: iodata
  def via({version, protocol, {host, port}, params}, name) when is_map(params) do
    [
      sent_protocol(version, protocol, name),
      Octets.host!(host, name),
      via_port(port, protocol, name) | via_params(:maps.to_list(params), name)
    ]
  end

  def via(value, name), do: refuse!(:via, value, name)

  for protocol <- Vocabulary.protocols() do
    atom = protocol |> String.downcase() |> String.to_atom()

    defp sent_protocol({2, 0}, unquote(atom), _name), do: unquote("SIP/2.0/#{protocol} ")
  end

  defp sent_protocol(version, protocol, name)
       when (is_atom(protocol) and protocol not in [nil, true, false]) or is_binary(protocol) do
    transport = Octets.token!(Vocabulary.protocol_name(protocol), name)
    ["SIP/", version(version, name), ?/, transport, ?\s]
  end

  defp sent_protocol(_version, protocol, name), do: refuse!(:via, protocol, name)

  # The port of a Via without one is 0 where the protocol has no default. Of the others that one was sent, and a response
  # has it too (RFC3261§8.2.6.2).
  defp via_port(0, protocol, _name) when protocol not in [:sctp, :tcp, :tls, :udp], do: []

  defp via_port(port, _protocol, _name) when port in 0..65_535, do: [?:, Integer.to_string(port)]
  defp via_port(port, _protocol, name), do: refuse!(:via, port, name)

  # RFC3261§25.1 - via-received is an address without brackets: its colons stand without quotes (RFC5118§4.5)
  defp via_params([{address, value} | rest], name)
       when address in ["received", "maddr"] and is_binary(value) and value != "",
       do: [[?;, address, ?=, Octets.address(value, name)] | via_params(rest, name)]

  defp via_params([{param, value} | rest], name),
    do: [param(param, value, name) | via_params(rest, name)]

  defp via_params([], _name), do: []

  @spec address(term, name) :: iodata
  def address({"", %URI{} = uri, params}, name) when is_map(params),
    do: [?<, Printer.to_iodata(uri), ?> | tail(params, name)]

  def address({display_name, %URI{} = uri, params}, name) when is_map(params),
    do: [Octets.quoted(display_name, name), " <", Printer.to_iodata(uri), ?> | tail(params, name)]

  def address(value, name), do: refuse!(:address, value, name)

  @spec contact(term, name) :: iodata
  def contact("*", _name), do: "*"
  def contact(value, name), do: address(value, name)

  @spec uri_params(term, name) :: iodata
  def uri_params({%URI{} = uri, params}, name) when is_map(params),
    do: [?<, Printer.to_iodata(uri), ?> | tail(params, name)]

  def uri_params(value, name), do: refuse!(:uri_params, value, name)

  @spec media(term, name) :: iodata
  def media({{type, subtype}, params}, name) when is_map(params) do
    [Octets.token!(type, name), ?/, Octets.token!(subtype, name) | tail(params, name)]
  end

  def media(value, name), do: refuse!(:media, value, name)

  @spec token(term, name) :: iodata
  def token(value, name), do: Octets.token!(value, name)

  @spec token_params(term, name) :: iodata
  def token_params({token, params}, name) when is_map(params),
    do: [Octets.token!(token, name) | tail(params, name)]

  def token_params(value, name), do: refuse!(:token_params, value, name)

  @spec word_params(term, name) :: iodata
  def word_params({word, params}, name) when is_binary(word) and is_map(params),
    do: [word(word, name) | word_tail(:maps.to_list(params), name)]

  def word_params(value, name), do: refuse!(:word_params, value, name)

  # RFC8224§4.1 - the signature stands bare, though base64 is no token
  defp word(word, "Identity" = name), do: Octets.word!(word, name)
  defp word(word, name), do: Octets.value(word, name)

  # RFC8224§4.1 - ident-info is a URI between brackets, without quotes
  defp word_tail([{"info", <<?<, uri::binary>>} | rest], "Identity" = name) do
    if String.ends_with?(uri, ">"),
      do: [
        [";info=<", Octets.uri!(String.replace_suffix(uri, ">", ""), name), ?>]
        | word_tail(rest, name)
      ],
      else: [param("info", "<" <> uri, name) | word_tail(rest, name)]
  end

  defp word_tail([{param, value} | rest], name),
    do: [param(param, value, name) | word_tail(rest, name)]

  defp word_tail([], _name), do: []

  @spec auth(term, name) :: iodata
  # A scheme with a token68 instead of parameters, as "Bearer abc==" (RFC 7235 §2.1).
  def auth({scheme, %{"" => token68} = params}, name) when map_size(params) == 1,
    do: [Octets.token!(scheme, name), ?\s, Octets.word!(token68, name)]

  # A scheme alone, which RFC 7235 §2.1 allows ("Negotiate"): what was taken must be handed on.
  def auth({scheme, params}, name) when params == %{}, do: Octets.token!(scheme, name)

  def auth({scheme, params}, name) when is_map(params),
    do: [Octets.token!(scheme, name), ?\s | auth_info(params, name)]

  def auth(value, name), do: refuse!(:auth, value, name)

  @spec auth_info(term, name) :: iodata
  def auth_info(params, name) when is_map(params) and map_size(params) > 0,
    do: auth_params(:maps.to_list(params), name)

  def auth_info(value, name), do: refuse!(:auth_info, value, name)

  defp auth_params([pair], name), do: auth_param(pair, name)

  defp auth_params([pair | rest], name),
    do: [auth_param(pair, name), ", " | auth_params(rest, name)]

  defp auth_param({param, value}, name),
    do: [Octets.token!(param, name), ?=, auth_value(param, value, name)]

  defp auth_value(param, value, name) when param in @quoted_auth, do: Octets.quoted(value, name)

  # RFC7616§3.3, §3.4 - the options of a challenge are quoted, the choice in credentials is not
  defp auth_value("qop", value, name) when name in @challenges, do: Octets.quoted(value, name)
  defp auth_value(_param, "", _name), do: "\"\""
  defp auth_value(_param, value, name), do: Octets.value(value, name)

  @spec call_id(term, name) :: iodata
  def call_id(value, name), do: Octets.word!(value, name)

  @spec call_id_params(term, name) :: iodata
  def call_id_params({call_id, params}, name) when is_map(params),
    do: [Octets.word!(call_id, name) | tail(params, name)]

  def call_id_params(value, name), do: refuse!(:call_id_params, value, name)

  @spec cseq(term, name) :: iodata
  def cseq({number, method}, name) when is_integer(number) and number >= 0,
    do: [Integer.to_string(number), ?\s, method(method, name)]

  def cseq(value, name), do: refuse!(:cseq, value, name)

  @spec rack(term, name) :: iodata
  def rack({rseq, cseq, method}, name)
      when is_integer(rseq) and rseq >= 0 and is_integer(cseq) and cseq >= 0,
      do: [Integer.to_string(rseq), ?\s, Integer.to_string(cseq), ?\s, method(method, name)]

  def rack(value, name), do: refuse!(:rack, value, name)

  @doc """
  A method as it stands in the CSeq header and in the request line.
  """
  @spec method(term, name) :: binary
  def method(method, name)

  for name <- Vocabulary.methods() do
    def method(unquote(name |> String.downcase() |> String.to_atom()), _name), do: unquote(name)
  end

  def method(method, name) when is_binary(method), do: Octets.token!(method, name)

  def method(method, name) when is_atom(method) and method not in [nil, true, false],
    do: method |> Vocabulary.method_name() |> Octets.token!(name)

  def method(method, name), do: refuse!(:cseq, method, name)

  @spec date(term, name) :: iodata
  # RFC3261§20.17 - SIP-date is in GMT and has no fractions of a second
  def date(%NaiveDateTime{calendar: Calendar.ISO, year: year} = date, _name)
      when year in 0..9999 do
    [
      elem(@days, :calendar.day_of_the_week(year, date.month, date.day) - 1),
      ", ",
      padded(date.day, 2),
      ?\s,
      elem(@months, date.month - 1),
      ?\s,
      padded(year, 4),
      ?\s,
      padded(date.hour, 2),
      ?:,
      padded(date.minute, 2),
      ?:,
      padded(date.second, 2),
      " GMT"
    ]
  end

  def date(value, name), do: refuse!(:date, value, name)

  defp padded(number, width),
    do: number |> Integer.to_string() |> String.pad_leading(width, "0")

  @spec integer(term, name) :: iodata
  def integer(value, _name) when is_integer(value) and value >= 0, do: Integer.to_string(value)
  def integer(value, name), do: refuse!(:integer, value, name)

  @spec max_forwards(term, name) :: iodata
  # RFC3261§20.22 - an integer in the range 0-255
  def max_forwards(value, _name) when value in 0..255, do: Integer.to_string(value)
  def max_forwards(value, name), do: refuse!(:max_forwards, value, name)

  @spec integer_params(term, name) :: iodata
  def integer_params({value, params}, name) when is_map(params),
    do: [integer(value, name) | tail(params, name)]

  def integer_params(value, name), do: refuse!(:integer_params, value, name)

  @spec params(term, name) :: iodata
  def params(params, name) when is_map(params) and map_size(params) > 0 do
    [[_separator | first] | rest] = tail(params, name)
    [first | rest]
  end

  def params(value, name), do: refuse!(:params, value, name)

  @spec privacy(term, name) :: iodata
  def privacy([_ | _] = tokens, name),
    do: tokens |> Enum.map(&Octets.token!(&1, name)) |> Enum.intersperse(?;)

  def privacy(value, name), do: refuse!(:privacy, value, name)

  @spec retry_after(term, name) :: iodata
  def retry_after({seconds, "", params}, name) when is_map(params),
    do: [integer(seconds, name) | tail(params, name)]

  def retry_after({seconds, comment, params}, name) when is_map(params),
    do: [integer(seconds, name), ?\s, Octets.comment(comment, name) | tail(params, name)]

  def retry_after(value, name), do: refuse!(:retry_after, value, name)

  @spec text(term, name) :: iodata
  def text(value, name), do: Octets.text!(value, name)

  @spec timestamp(term, name) :: iodata
  def timestamp({time, delay}, name) when delay == 0, do: decimal(time, name)
  def timestamp({time, delay}, name), do: [decimal(time, name), ?\s, decimal(delay, name)]
  def timestamp(value, name), do: refuse!(:timestamp, value, name)

  # RFC3261§20.38 - digits and a dot, no exponent; as short as reading them back allows
  defp decimal(number, _name) when is_integer(number) and number >= 0,
    do: Integer.to_string(number)

  defp decimal(number, _name) when is_float(number) and number >= 0 do
    case number |> Float.to_string() |> String.split("e") do
      [plain] -> String.replace_suffix(plain, ".0", "")
      [mantissa, exponent] -> shift(mantissa, String.to_integer(exponent))
    end
  end

  defp decimal(value, name), do: refuse!(:timestamp, value, name)

  defp shift(<<first, ?., fraction::binary>>, exponent) when exponent > 0 do
    digits = String.trim_trailing(fraction, "0")
    <<first, String.pad_trailing(digits, exponent, "0")::binary>>
  end

  defp shift(<<first, ?., fraction::binary>>, exponent) do
    digits = String.trim_trailing(fraction, "0")
    "0." <> String.duplicate("0", -exponent - 1) <> <<first, digits::binary>>
  end

  @spec version(term, name) :: iodata
  def version({2, 0}, _name), do: "2.0"

  def version({major, minor}, _name)
      when is_integer(major) and major >= 0 and is_integer(minor) and minor >= 0,
      do: [Integer.to_string(major), ?., Integer.to_string(minor)]

  def version(value, name), do: refuse!(:version, value, name)

  @spec warning(term, name) :: iodata
  # RFC3261§20.43 - three digits
  def warning({code, agent, text}, name) when code in 100..999,
    do: [Integer.to_string(code), ?\s, Octets.word!(agent, name), ?\s, Octets.quoted(text, name)]

  def warning(value, name), do: refuse!(:warning, value, name)

  # Parameters as they stand behind a value, each with its leading ";".
  defp tail(params, _name) when map_size(params) == 0, do: []
  defp tail(params, name), do: pairs(:maps.to_list(params), name)

  defp pairs([{param, value} | rest], name), do: [param(param, value, name) | pairs(rest, name)]
  defp pairs([], _name), do: []

  # Parameters that stand in nearly every message, without a look at their names.
  for param <- ~w(branch expires handling lr q received refresher rport tag) do
    defp param(unquote(param), "", _name), do: unquote(";#{param}")

    defp param(unquote(param), value, name),
      do: [unquote(";#{param}=") | value(value, name)]
  end

  defp param(param, "", name), do: [?;, Octets.token!(param, name)]

  defp param(<<?+, _rest::binary>> = param, value, name), do: quoted_param(param, value, name)

  # RFC3329§2.2 - d-ver is a quoted string
  defp param("d-ver", value, name), do: quoted_param("d-ver", value, name)

  # RFC3326§2 - so is the text of a reason
  defp param("text", value, "Reason" = name), do: quoted_param("text", value, name)

  defp param(param, value, name) when name in @base_tag_headers and param in @base_tags,
    do: quoted_param(param, value, name)

  defp param(param, value, name),
    do: [?;, Octets.token!(param, name), ?=, Octets.value(value, name)]

  # An improper list where the value is one piece: one cons less.
  defp value(value, name) do
    case Octets.value(value, name) do
      [_ | _] = quoted -> quoted
      token -> token
    end
  end

  defp quoted_param(param, value, name),
    do: [?;, Octets.token!(param, name), ?=, Octets.quoted(value, name)]

  @spec refuse!(atom, term, name) :: no_return
  def refuse!(shape, value, name) do
    raise ArgumentError,
          "cannot print #{name}: expected #{Table.describe(shape)}, got: #{inspect(value)}"
  end
end
