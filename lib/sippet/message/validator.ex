defmodule Sippet.Message.Validator do
  @moduledoc false
  # What makes a message valid beyond its grammar: the headers that must be there, and those that must agree. It takes
  # messages that were built by hand as well, and says no to any term instead of failing on it.

  alias Sippet.Flow
  alias Sippet.Message.RequestLine
  alias Sippet.Message.StatusLine
  alias Sippet.Names
  alias Sippet.URI

  @type result :: :ok | {:error, String.t()}

  # RFC3261§8.1.1 - without Max-Forwards: RFC 2543 did not know it, and such a request is still served.
  @required [via: "Via", from: "From", to: "To", call_id: "Call-ID", cseq: "CSeq"]

  # RFC3261§8.1.1.5 - the sequence number MUST be less than 2**31
  @cseq_limit 0x80000000

  @doc """
  Judges what can be judged of any message.
  """
  @spec validate(map) :: result
  def validate(%{start_line: start_line, headers: headers, body: body} = message)
      when is_map(headers) do
    with :ok <- start_line(start_line),
         :ok <- required(headers),
         :ok <- essential(headers),
         :ok <- request(start_line, headers),
         :ok <- body(body) do
      target(message)
    end
  end

  def validate(_message), do: {:error, "the message has no header map"}

  @doc """
  Judges the topmost Via of a message against where the message came from.
  """
  @spec source(map, {atom | String.t(), term, term}) :: result
  def source(
        %{headers: %{via: [{_version, protocol, _sent_by, _params} | _]}},
        {from, _host, _port}
      ) do
    if protocol(protocol) == protocol(from),
      do: :ok,
      else:
        {:error, "Via names the protocol #{shown(protocol)}, the message came by #{shown(from)}"}
  end

  def source(_message, _from), do: {:error, "expected {protocol, host, port}"}

  defp protocol(name) when is_binary(name), do: Names.protocol(name)
  defp protocol(name), do: name

  defp start_line(%RequestLine{request_uri: %URI{}, version: version, method: method})
       when (is_atom(method) and method != nil) or is_binary(method),
       do: version(version)

  defp start_line(%StatusLine{status_code: status, reason_phrase: reason, version: version})
       when status in 100..699 and is_binary(reason),
       do: version(version)

  defp start_line(line), do: {:error, "malformed start line: #{shown(line)}"}

  defp version({2, 0}), do: :ok
  defp version(version), do: {:error, "unsupported SIP version: #{shown(version)}"}

  defp required(%{via: _, from: _, to: _, call_id: _, cseq: _}), do: :ok

  defp required(headers) do
    missing = for {key, name} <- @required, not is_map_key(headers, key), do: name
    {:error, "missing headers: #{Enum.join(missing, ", ")}"}
  end

  defp essential(headers) do
    with :ok <- via(headers.via),
         :ok <- address(headers.from, "From"),
         :ok <- address(headers.to, "To"),
         :ok <- call_id(headers.call_id),
         :ok <- cseq(headers.cseq) do
      max_forwards(headers)
    end
  end

  # Only the topmost Via is ours to judge. RFC3261§17.2.3 - its branch may be missing or lack the cookie: such requests
  # are matched by the rules of RFC 2543.
  defp via([{{2, 0}, protocol, {host, port}, params} | _])
       when (is_atom(protocol) or is_binary(protocol)) and is_binary(host) and is_integer(port) and
              is_map(params) do
    case params do
      %{"branch" => ""} -> {:error, "Via has an empty branch"}
      %{} -> :ok
    end
  end

  defp via([{version, _protocol, _sent_by, _params} | _]) when version != {2, 0},
    do: {:error, "Via has an unsupported SIP version: #{shown(version)}"}

  defp via(value), do: malformed("Via", value)

  # RFC3261§8.1.1.3 - From has a tag; it may be missing from a peer of RFC 2543, but not be empty.
  defp address({display_name, %URI{}, params}, name)
       when is_binary(display_name) and is_map(params) do
    case params do
      %{"tag" => ""} -> {:error, "#{name} has an empty tag"}
      %{} -> :ok
    end
  end

  defp address(value, name), do: malformed(name, value)

  defp call_id(call_id) when is_binary(call_id) and call_id != "", do: :ok
  defp call_id(value), do: malformed("Call-ID", value)

  defp cseq({number, method})
       when is_integer(number) and number >= 0 and (is_atom(method) or is_binary(method)) do
    if number < @cseq_limit,
      do: :ok,
      else: {:error, "CSeq has the number #{number}, which is not below 2**31"}
  end

  defp cseq(value), do: malformed("CSeq", value)

  # Text, or a list of one, is the printer's to judge.
  defp max_forwards(%{max_forwards: value}) when is_integer(value) and value not in 0..255,
    do: malformed("Max-Forwards", value)

  defp max_forwards(_headers), do: :ok

  defp malformed(name, value), do: {:error, "malformed #{name}: #{shown(value)}"}

  # What the network sent is shown, but not at any length.
  defp shown(value), do: inspect(value, limit: 10, printable_limit: 80)

  defp request(%RequestLine{method: method, request_uri: uri}, %{cseq: {_number, cseq_method}}) do
    if method == cseq_method,
      do: request_uri(uri),
      else:
        {:error, "CSeq names the method #{shown(cseq_method)}, the request is #{shown(method)}"}
  end

  defp request(_status_line, _headers), do: :ok

  # RFC3261§19.1.1 - neither headers nor the parameter "method" are allowed in a Request-URI
  defp request_uri(%URI{headers: headers}) when headers not in [nil, ""],
    do: {:error, "the Request-URI has headers"}

  defp request_uri(%URI{scheme: scheme, parameters: <<?;, rest::binary>>})
       when scheme in ["sip", "sips"] do
    if method_parameter?(rest, rest),
      do: {:error, "the Request-URI has the parameter method"},
      else: :ok
  end

  defp request_uri(_uri), do: :ok

  # Looks at the names in the raw text, as each request comes by here; only an escape makes decoding worth its time.
  defp method_parameter?(<<m, e, t, h, o, d, rest::binary>>, _all)
       when m in ~c"mM" and e in ~c"eE" and t in ~c"tT" and h in ~c"hH" and o in ~c"oO" and
              d in ~c"dD" and (rest == "" or binary_part(rest, 0, 1) in ["=", ";"]),
       do: true

  defp method_parameter?(text, all), do: next_parameter(text, all)

  defp next_parameter(<<?;, rest::binary>>, all), do: method_parameter?(rest, all)
  defp next_parameter(<<?%, _rest::binary>>, all), do: escaped_method?(all)
  defp next_parameter(<<_octet, rest::binary>>, all), do: next_parameter(rest, all)
  defp next_parameter(<<>>, _all), do: false

  defp escaped_method?(all) do
    Enum.any?(URI.parameters_decoder(";" <> all), fn {name, _value} ->
      String.downcase(name, :ascii) == "method"
    end)
  end

  defp body(body) when is_binary(body) or body == nil, do: :ok
  defp body(_body), do: {:error, "the body is no binary"}

  defp target(%{target: {protocol, host, port}})
       when (is_atom(protocol) or is_binary(protocol)) and
              (is_binary(host) or is_tuple(host)) and port in 0..65_535,
       do: :ok

  defp target(%{target: nil}), do: :ok
  defp target(%{target: %Flow{}}), do: :ok
  defp target(message), do: {:error, "malformed target: #{shown(message[:target])}"}
end
