defmodule Sippet.Trace.Entry do
  @moduledoc """
  One message of a trace: when, from where to where, its octets, and what a picture says of it.

      iex> entry = Sippet.Trace.Entry.new(0, {{192, 0, 2, 1}, 5060}, {"biloxi.com", nil}, "SIP/2.0 180 Ringing\\r\\nCSeq: 1 INVITE\\r\\n\\r\\n")
      iex> {entry.label, entry.cseq, entry.call_id}
      {"180 Ringing", "1 INVITE", nil}

    * `time` - microseconds since 1970, or `nil` where nobody wrote it down
    * `source`, `destination` - `{ip_or_name, port}`; the port is `nil` where it is not known
    * `protocol` - as in a Via: an atom, or a string for one that is not known
    * `octets` - the message as it went over the wire
    * `call_id`, `cseq` - of the message, `cseq` as text; `nil` where it has none that can be read
    * `method` - of a request its method, of a response that of its CSeq
    * `label` - the method, or the status with its reason phrase; of what is neither, what is wrong with it
    * `sdp?` - whether it carries a session description
    * `error` - why the message could not be parsed, or `nil`
  """

  alias Sippet.{Message, ParseError}
  alias Sippet.Message.{RequestLine, StatusLine}
  alias Sippet.Stack.Tap
  alias Sippet.Trace.Address

  # So much of a message that can't be parsed is looked at.
  @head 8_192
  @status_line ~r/\ASIP\/2\.0 ([1-6]\d\d[^\r\n]*)/
  @request_line ~r/\A([A-Za-z0-9.!%*_+`'~-]{1,60}) [^\r\n]* SIP\/\d\.\d\r?\n/
  @call_id ~r/^(?:Call-ID|i)[ \t]*:[ \t]*([^\r\n]*[^\r\n \t])/im

  @enforce_keys [:time, :source, :destination, :protocol, :octets, :label]
  defstruct [
    :time,
    :source,
    :destination,
    :protocol,
    :octets,
    :label,
    :call_id,
    :cseq,
    :method,
    :error,
    sdp?: false
  ]

  @typedoc "Where a message came from or went to."
  @type address :: {:inet.ip_address() | String.t(), :inet.port_number() | nil}

  @type t :: %__MODULE__{
          time: integer | nil,
          source: address,
          destination: address,
          protocol: Message.protocol(),
          octets: binary,
          label: String.t(),
          call_id: String.t() | nil,
          cseq: String.t() | nil,
          method: Message.method() | nil,
          error: ParseError.t() | nil,
          sdp?: boolean
        }

  @doc """
  An entry of these octets, read by the parser of the stack.
  """
  @spec new(integer | nil, address, address, binary, Message.protocol()) :: t
  def new(time, source, destination, octets, protocol \\ :udp) do
    entry = %__MODULE__{
      time: time,
      source: source,
      destination: destination,
      protocol: protocol,
      octets: octets,
      label: ""
    }

    case Message.parse(octets) do
      {:ok, message} -> read(entry, message)
      {:error, error} -> unread(entry, error)
    end
  end

  @doc false
  # The entry of what a tap was told.
  @spec tapped(Tap.told()) :: t
  def tapped({:tapped, direction, time, protocol, local, remote, octets}) do
    {host, port} = remote
    remote = {if(is_binary(host), do: Address.host(host), else: host), port}
    {source, destination} = ways(direction, local || {"local", nil}, remote)
    new(time, source, destination, owned(octets), protocol)
  end

  defp ways(:in, local, remote), do: {remote, local}
  defp ways(:out, local, remote), do: {local, remote}

  # A message that was cut off a stream must not keep the buffer.
  defp owned(octets) do
    if :binary.referenced_byte_size(octets) > 2 * byte_size(octets),
      do: :binary.copy(octets),
      else: octets
  end

  defp read(entry, %Message{start_line: line, headers: headers} = message) do
    {number, method} = cseq(headers)

    %{
      entry
      | label: label(line),
        call_id: text(headers[:call_id]),
        cseq: number && "#{number} #{name(method)}",
        method: method(line, method),
        sdp?: sdp?(message)
    }
  end

  defp cseq(%{cseq: {number, method}}), do: {number, method}
  defp cseq(_headers), do: {nil, nil}

  # Parts of a datagram would keep the whole of it, which is kept anyway.
  defp text(text) when is_binary(text), do: text
  defp text(_none), do: nil

  defp label(%RequestLine{method: method}), do: name(method)
  defp label(%StatusLine{status_code: status, reason_phrase: ""}), do: "#{status}"
  defp label(%StatusLine{status_code: status, reason_phrase: phrase}), do: "#{status} #{phrase}"

  defp method(%RequestLine{method: method}, _cseq), do: method
  defp method(%StatusLine{}, method), do: method

  defp name(method) when is_atom(method), do: method |> Atom.to_string() |> String.upcase()
  defp name(method), do: method

  defp sdp?(%Message{body: body}) when body in [nil, ""], do: false

  defp sdp?(%Message{headers: %{content_type: {{type, subtype}, _params}}, body: body}) do
    case {String.downcase(type), String.downcase(subtype)} do
      {"application", "sdp"} -> true
      {"multipart", _subtype} -> body =~ ~r/application\/sdp/i
      _other -> false
    end
  end

  defp sdp?(_message), do: false

  # What the parser refuses is still shown for what it wants to be, in the call that it wants to be of.
  defp unread(entry, error) do
    head = binary_part(entry.octets, 0, min(byte_size(entry.octets), @head))

    %{
      entry
      | error: %{error | request: nil},
        label:
          wanted(@status_line, head) || wanted(@request_line, head) || Exception.message(error),
        call_id: wanted(@call_id, head)
    }
  end

  defp wanted(pattern, head) do
    case Regex.run(pattern, head) do
      [_all, text] -> :binary.copy(text)
      nil -> nil
    end
  end
end
