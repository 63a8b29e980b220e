defmodule Sippet.Message do
  # Longer than 400 lines because it is the face of the library: some sixty public functions, each with its documentation
  # and example, and hardly a line of code below them. The work is done in Sippet.Message.HeaderMap (headers),
  # Sippet.Message.Response (what a response takes over), Sippet.Message.Validator and Sippet.Serializer.
  @moduledoc """
  A SIP message: a request or a response.

      iex> message = Sippet.Message.parse!(\"""
      ...> OPTIONS sip:bob@biloxi.com SIP/2.0
      ...> Via: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bKhjhs8ass877
      ...> To: <sip:bob@biloxi.com>
      ...> From: Alice <sip:alice@atlanta.com>;tag=1928301774
      ...> Call-ID: a84b4c76e66710
      ...> CSeq: 63104 OPTIONS
      ...> \""")
      iex> {message.start_line.method, message.headers.cseq, message.body}
      {:options, {63104, :options}, ""}
      iex> to_string(Sippet.Message.to_response(message, 200).start_line)
      "SIP/2.0 200 OK"

    * `start_line` - a `Sippet.Message.RequestLine` or a `Sippet.Message.StatusLine`
    * `headers` - a map, see below
    * `body` - the body as it is on the wire. A message that was parsed and has none holds `""`; a
      message that is built by hand starts with `nil`
    * `target` - where to send the message, whatever its headers say: `{protocol, host, port}`, or the
      `source` of another message. `nil` to send it where its headers say
    * `source` - the `Sippet.Flow` by which the message came in; `nil` if it did not come from the
      network. `to_response/2` does not copy it

  ## Headers

  The headers that `Sippet.Headers` lists with a key stand under that key, parsed into the shape it names:
  `headers.cseq` is `{1, :invite}`. All others stand under their canonical name as a list of raw lines:
  `headers["X-Foo"]` is `["bar"]`. So do headers with a key whose text is malformed, unless the message can't do without
  them (`parse/1` says which); they are then forwarded as they came.

  The functions below take both kinds of names. An atom is the parsed form. A string, in any letter case or compact form,
  is the header in whatever form it stands: its raw lines, or else its parsed value. A header stands in one form at a
  time: putting one form takes the place of the other, and deleting a header deletes both.

      iex> request =
      ...>   Sippet.Message.build_request(:options, %Sippet.URI{scheme: "sip", host: "biloxi.com"})
      ...>   |> Sippet.Message.put_header(:max_forwards, 70)
      ...>   |> Sippet.Message.put_header_back("x-foo", "one")
      ...>   |> Sippet.Message.put_header_back("X-FOO", "two")
      iex> request.headers
      %{:max_forwards => 70, "X-Foo" => ["one", "two"]}
      iex> Sippet.Message.get_header(request, "max-forwards")
      70

  A message implements `Access` for its own fields, and `String.Chars`.
  """

  @behaviour Access

  alias Sippet.Address
  alias Sippet.Flow
  alias Sippet.Headers
  alias Sippet.Message.Completion
  alias Sippet.Message.HeaderMap
  alias Sippet.Message.Random
  alias Sippet.Message.RequestLine
  alias Sippet.Message.Response
  alias Sippet.Message.StatusLine
  alias Sippet.Message.Typed
  alias Sippet.Message.Validator
  alias Sippet.Message.Via
  alias Sippet.Names
  alias Sippet.Native
  alias Sippet.ParseError
  alias Sippet.Serializer
  alias Sippet.URI

  defstruct start_line: nil, headers: %{}, body: nil, target: nil, source: nil

  @typedoc "A known method as an atom, any other as the string that was sent."
  @type method :: atom | String.t()

  @typedoc "A known transport protocol as an atom, any other as a string."
  @type protocol :: atom | String.t()

  @typedoc "The key of a typed header, or the name of any header."
  @type header :: atom | String.t()

  @typedoc "The value of a header, in the shape that `Sippet.Headers` names."
  @type value :: term

  @type t :: %__MODULE__{
          start_line: RequestLine.t() | StatusLine.t(),
          headers: Headers.t(),
          body: binary | nil,
          target: nil | {protocol, host :: String.t(), :inet.port_number()} | Flow.t(),
          source: nil | Flow.t()
        }

  @type request :: %__MODULE__{start_line: RequestLine.t()}

  @type response :: %__MODULE__{start_line: StatusLine.t()}

  @doc """
  The methods that are atoms in a message, as upper-case strings.

      iex> Sippet.Message.known_methods()
      ["ACK", "BYE", "CANCEL", "INFO", "INVITE", "MESSAGE", "NOTIFY", "OPTIONS", "PRACK", "PUBLISH", "PULL", "PUSH",
       "REFER", "REGISTER", "STORE", "SUBSCRIBE", "UPDATE"]

  """
  @spec known_methods() :: [String.t()]
  defdelegate known_methods, to: Names, as: :methods

  @doc """
  The transport protocols that are atoms in a message, as upper-case strings.

      iex> Sippet.Message.known_protocols()
      ["AMQP", "DCCP", "DTLS", "SCTP", "STOMP", "TCP", "TLS", "UDP", "WS", "WSS"]

  """
  @spec known_protocols() :: [String.t()]
  defdelegate known_protocols, to: Names, as: :protocols

  @doc """
  The atom of a known method in any letter case; any other string stays as it is.

      iex> Sippet.Message.to_method("InViTe")
      :invite
      iex> Sippet.Message.to_method("Ping")
      "Ping"

  """
  @spec to_method(String.t()) :: method
  defdelegate to_method(string), to: Names, as: :method

  @doc """
  The atom of a known protocol in any letter case; any other string in upper case.

      iex> Sippet.Message.to_protocol("uDp")
      :udp
      iex> Sippet.Message.to_protocol("quic")
      "QUIC"

  """
  @spec to_protocol(String.t()) :: protocol
  defdelegate to_protocol(string), to: Names, as: :protocol

  @doc """
  Makes a request without headers and without a body.

  A known method may be written in any letter case. A URI that is text is parsed, and raises `Sippet.ParseError` when it is
  malformed.

      iex> request = Sippet.Message.build_request("invite", "sip:bob@biloxi.com")
      iex> {request.start_line.method, request.start_line.request_uri.host, request.headers, request.body}
      {:invite, "biloxi.com", %{}, nil}

  """
  @spec build_request(method, URI.t() | binary) :: request
  def build_request(method, request_uri),
    do: %__MODULE__{start_line: RequestLine.new(method, request_uri)}

  @doc """
  Makes a response without headers, from a status or a status line.

  A status that is not in `100..699`, or that has no registered reason phrase, raises `ArgumentError`.

      iex> Sippet.Message.build_response(200).start_line
      %Sippet.Message.StatusLine{status_code: 200, reason_phrase: "OK", version: {2, 0}}

  """
  @spec build_response(StatusLine.status_code() | StatusLine.t()) :: response
  def build_response(%StatusLine{} = status_line), do: %__MODULE__{start_line: status_line}
  def build_response(status_code), do: build_response(StatusLine.new(status_code))

  @doc """
  Makes a response without headers, with a reason phrase of one's own.

      iex> Sippet.Message.build_response(400, "Bad Lorem Ipsum").start_line.reason_phrase
      "Bad Lorem Ipsum"

  """
  @spec build_response(StatusLine.status_code(), String.t()) :: response
  def build_response(status_code, reason_phrase),
    do: build_response(StatusLine.new(status_code, reason_phrase))

  @doc """
  Makes the response to a request, from a status or a status line.

  Via, From, To, Call-ID and CSeq are those of the request, and so is Record-Route in a response from 101 to 299, which may
  establish a dialog; one that the request lacks is left out. A To
  without a tag gets one, and every response to the same request gets the same tag, on this node and as long as
  the VM runs. A 100 gets no tag, and takes over Timestamp (RFC 3261 §8.2.6). A Record-Route or a
  Timestamp that came malformed is copied as the text that it is.

      iex> request = Sippet.Message.build_request(:options, "sip:bob@biloxi.com")
      iex> request = Sippet.Message.put_header(request, :to, {"", Sippet.URI.parse!("sip:bob@biloxi.com"), %{}})
      iex> %{headers: %{to: {_, _, %{"tag" => tag}}}} = Sippet.Message.to_response(request, 180)
      iex> %{headers: %{to: {_, _, %{"tag" => ^tag}}}} = Sippet.Message.to_response(request, 200)
      iex> Sippet.Message.to_response(request, 100).headers.to == request.headers.to
      true

  """
  @spec to_response(request, StatusLine.status_code() | StatusLine.t()) :: response
  def to_response(%__MODULE__{start_line: %RequestLine{}} = request, %StatusLine{} = status_line) do
    headers = Response.headers(request, status_line.status_code)
    %__MODULE__{start_line: status_line, headers: headers}
  end

  def to_response(%__MODULE__{start_line: %RequestLine{}} = request, status_code),
    do: to_response(request, StatusLine.new(status_code))

  @doc """
  Makes the response to a request with a reason phrase of one's own; else like `to_response/2`.

      iex> request = Sippet.Message.build_request(:options, "sip:bob@biloxi.com")
      iex> to_string(Sippet.Message.to_response(request, 400, "Bad Lorem Ipsum").start_line)
      "SIP/2.0 400 Bad Lorem Ipsum"

  """
  @spec to_response(request, StatusLine.status_code(), String.t()) :: response
  def to_response(request, status_code, reason_phrase),
    do: to_response(request, StatusLine.new(status_code, reason_phrase))

  @doc """
  Completes a request that you are about to send: puts the headers that each request needs and that it
  lacks (RFC 3261 §8.1.1).

    * Via - one with a new branch, and with `{"", 0}` as its sent-by. The stack writes protocol, host,
      port and `rport` there when it sends the request. A Via without a branch gets one;
    * a tag in From;
    * To - the URI of From in a REGISTER, else the Request-URI;
    * Call-ID;
    * CSeq - `1`, with the method of the request;
    * Max-Forwards - `70`.

  `Sippet.send/2` completes a request by itself. Call this function first if you need the branch, the
  Call-ID or the tag before you send, as for the key of the transaction:

      iex> alice = {"Alice", Sippet.URI.parse!("sip:alice@atlanta.com"), %{}}
      iex> request =
      ...>   Sippet.Message.build_request(:message, "sip:bob@biloxi.com")
      ...>   |> Sippet.Message.put_header(:from, alice)
      ...>   |> Sippet.Message.complete()
      iex> %{via: [{{2, 0}, :any, {"", 0}, %{"branch" => branch}}], to: {"", uri, %{}}} = request.headers
      iex> Sippet.Transactions.Client.Key.new(request).branch == branch
      true
      iex> {to_string(uri), request.headers.cseq, request.headers.max_forwards}
      {"sip:bob@biloxi.com", {1, :message}, 70}

  The function changes nothing that is there. A CANCEL gets Max-Forwards alone: the rest is that of its INVITE
  (`to_cancel/1`). Only you can write From: a request without From stays
  without. If the request has several Vias, somebody else made it, and only its topmost Via and
  Max-Forwards are completed. A request with an empty host in its Via can't be printed yet.
  """
  @spec complete(request) :: request
  defdelegate complete(request), to: Completion

  @doc """
  Makes another request of one that was sent: with the next CSeq number and a new branch.

  Use it to send a request again, as after a challenge (RFC 3261 §22.2) or a 422. In a dialog use
  `Sippet.Dialog.renew/2`, so that the dialog knows of the number.

      iex> request = Sippet.Message.complete(Sippet.Message.build_request(:options, "sip:biloxi.com"))
      iex> again = Sippet.Message.renew(request)
      iex> {again.headers.cseq, again.headers.call_id == request.headers.call_id}
      {{2, :options}, true}
      iex> again.headers.via == request.headers.via
      false

  """
  @spec renew(request) :: request
  defdelegate renew(request), to: Completion

  @doc """
  Makes the CANCEL of a request that was sent.

  Request-URI, Call-ID, From, To, the number of CSeq and Route are those of the request, as is its topmost Via, so that the
  CANCEL goes the same way and finds the same transaction (RFC 3261 §9.1). The request must have the Via
  that it was sent with: `complete/1` it before you send it. A CANCEL may be sent after the first provisional
  response has come, and makes sense for an INVITE only. `Sippet.cancel/2` does all that.

      iex> invite =
      ...>   Sippet.Message.build_request(:invite, "sip:bob@biloxi.com")
      ...>   |> Sippet.Message.put_header(:cseq, {314159, :invite})
      ...>   |> Sippet.Message.put_header(:require, ["100rel"])
      iex> cancel = Sippet.Message.to_cancel(invite)
      iex> {to_string(cancel.start_line), cancel.headers}
      {"CANCEL sip:bob@biloxi.com SIP/2.0", %{cseq: {314159, :cancel}}}

  """
  @spec to_cancel(request) :: request
  def to_cancel(%__MODULE__{start_line: %RequestLine{} = line, headers: headers} = request) do
    # RFC3261§9.1 - one Via only; no Require, no Proxy-Require; §22.1 - no credentials
    copied = Map.take(headers, [:via, :route, :from, :to, :call_id, :cseq])

    copied
    |> Map.replace_lazy(:via, &Enum.take(&1, 1))
    |> Map.replace_lazy(:cseq, fn {number, _method} -> {number, :cancel} end)
    |> then(
      &%__MODULE__{start_line: %{line | method: :cancel}, headers: &1, target: request.target}
    )
  end

  @doc """
  Makes a random tag: 48 bits in 8 characters.

      iex> byte_size(Sippet.Message.create_tag())
      8

  """
  @spec create_tag() :: String.t()
  defdelegate create_tag, to: Random, as: :tag

  @doc """
  The text by which a branch shows that RFC 3261 made it.

      iex> Sippet.Message.magic_cookie()
      "z9hG4bK"

  """
  @spec magic_cookie() :: String.t()
  defdelegate magic_cookie, to: Random

  @doc """
  Makes a random branch for a Via header: the magic cookie and 72 bits in 12 characters.

      iex> "z9hG4bK" <> unique = Sippet.Message.create_branch()
      iex> byte_size(unique)
      12

  """
  @spec create_branch() :: String.t()
  defdelegate create_branch, to: Random, as: :branch

  @doc """
  Makes a random Call-ID: 120 bits in 20 characters.

      iex> byte_size(Sippet.Message.create_call_id())
      20

  """
  @spec create_call_id() :: String.t()
  defdelegate create_call_id, to: Random, as: :call_id

  @doc """
  Whether the message is a request.

      iex> Sippet.Message.request?(Sippet.Message.build_request(:options, "sip:biloxi.com"))
      true

  """
  @spec request?(t) :: boolean
  def request?(%__MODULE__{start_line: %RequestLine{}}), do: true
  def request?(_message), do: false

  @doc """
  Whether the message is a response.

      iex> Sippet.Message.response?(Sippet.Message.build_response(200))
      true

  """
  @spec response?(t) :: boolean
  def response?(%__MODULE__{start_line: %StatusLine{}}), do: true
  def response?(_message), do: false

  @doc """
  Whether the message has the header.

      iex> response = %Sippet.Message{headers: %{:expires => 60, "X-Foo" => ["bar"]}}
      iex> Sippet.Message.has_header?(response, :expires)
      true
      iex> Sippet.Message.has_header?(response, "x-foo")
      true
      iex> Sippet.Message.has_header?(response, :cseq)
      false

  """
  @spec has_header?(t, header) :: boolean
  def has_header?(%__MODULE__{} = message, header), do: HeaderMap.has?(message.headers, header)

  @doc """
  Puts `value` in place of the header.

  Nothing is checked until the message is printed: the value of a typed header has its shape then, that of any other is a
  list of raw lines (one line may go without its list). A string always puts raw text, in place of the parsed value
  as well.

      iex> message = Sippet.Message.put_header(%Sippet.Message{}, :cseq, {1, :invite})
      iex> Sippet.Message.put_header(message, "x-foo", ["bar"]).headers
      %{:cseq => {1, :invite}, "X-Foo" => ["bar"]}

  """
  @spec put_header(t, header, value) :: t
  def put_header(%__MODULE__{} = message, header, value),
    do: with_headers(message, HeaderMap.put(message.headers, header, value))

  @doc """
  Puts each of these headers, a map or a keyword list, in place of the header of that name.

      iex> message = Sippet.Message.put_headers(%Sippet.Message{}, subject: "lunch", expires: 60)
      iex> message.headers
      %{subject: "lunch", expires: 60}

  """
  @spec put_headers(t, %{header => value} | [{header, value}]) :: t
  def put_headers(%__MODULE__{} = message, headers) do
    Enum.reduce(headers, message, fn {header, value}, message ->
      put_header(message, header, value)
    end)
  end

  @doc """
  Puts `value` under the header unless the message has it.

      iex> %Sippet.Message{}
      ...> |> Sippet.Message.put_new_header(:max_forwards, 70)
      ...> |> Sippet.Message.put_new_header(:max_forwards, 1)
      ...> |> Sippet.Message.get_header(:max_forwards)
      70

  """
  @spec put_new_header(t, header, value) :: t
  def put_new_header(message, header, value),
    do: put_new_lazy_header(message, header, fn -> value end)

  @doc """
  Puts what `fun` returns under the header unless the message has it; `fun` is called only then.

      iex> %Sippet.Message{}
      ...> |> Sippet.Message.put_new_lazy_header(:max_forwards, fn -> 70 end)
      ...> |> Sippet.Message.get_header(:max_forwards)
      70

  """
  @spec put_new_lazy_header(t, header, (... -> value)) :: t
  def put_new_lazy_header(message, header, fun) when is_function(fun, 0) do
    if has_header?(message, header), do: message, else: put_header(message, header, fun.())
  end

  @doc """
  Puts `value` before the other values of the header; `nil` puts nothing, but an empty list where the header is missing.

      iex> %Sippet.Message{}
      ...> |> Sippet.Message.put_header_front(:content_language, "de")
      ...> |> Sippet.Message.put_header_front(:content_language, "en")
      ...> |> Sippet.Message.get_header(:content_language)
      ["en", "de"]

  """
  @spec put_header_front(t, header, value | nil) :: t
  def put_header_front(message, header, value) do
    values = list!(message, header) || []
    replace(message, header, if(value == nil, do: values, else: [value | values]))
  end

  @doc """
  Puts `value` behind the other values of the header; `nil` puts nothing, but an empty list where the header is missing.

      iex> %Sippet.Message{}
      ...> |> Sippet.Message.put_header_back(:content_language, "en")
      ...> |> Sippet.Message.put_header_back(:content_language, "de")
      ...> |> Sippet.Message.get_header(:content_language)
      ["en", "de"]

  """
  @spec put_header_back(t, header, value | nil) :: t
  def put_header_back(message, header, value),
    do: replace(message, header, (list!(message, header) || []) ++ List.wrap(value && [value]))

  @doc """
  Returns the value of the header in the shape that `Sippet.Headers` names, in whatever form it
  stands.

  A typed value is returned as it is, raw lines are parsed. Returns `:error` if the message lacks
  the header, and `{:error, error}` with a `Sippet.ParseError` if its lines are malformed. Raises
  `ArgumentError` for a header without a shape.

      iex> message = Sippet.Message.put_header(%Sippet.Message{}, "Event", ["dialog;id=7"])
      iex> Sippet.Message.fetch_typed(message, "event")
      {:ok, {"dialog", %{"id" => "7"}}}
      iex> Sippet.Message.fetch_typed(message, :contact)
      :error
      iex> message = Sippet.Message.put_header(message, "Expires", ["soon"])
      iex> {:error, error} = Sippet.Message.fetch_typed(message, :expires)
      iex> error.reason
      :invalid_header

  """
  @spec fetch_typed(t, header) :: {:ok, value} | :error | {:error, ParseError.t()}
  def fetch_typed(%__MODULE__{} = message, header), do: Typed.fetch(message.headers, header)

  @doc """
  Puts a value of the shape that `Sippet.Headers` names in place of the header.

  A typed header is put under its atom, an extension header as a raw line under its name. Raises
  `ArgumentError` for a value that cannot be printed, and for a header without a shape.

      iex> expires = {1800, %{"refresher" => "uac"}}
      iex> message = Sippet.Message.put_typed(%Sippet.Message{}, "Session-Expires", expires)
      iex> Sippet.Message.put_typed(message, "Expires", 60).headers
      %{:expires => 60, "Session-Expires" => ["1800;refresher=uac"]}

  """
  @spec put_typed(t, header, value) :: t
  def put_typed(%__MODULE__{} = message, header, value),
    do: with_headers(message, Typed.put(message.headers, header, value))

  @doc """
  Deletes the header, in whatever form it stands.

      iex> message = %Sippet.Message{headers: %{:expires => 60, "X-Foo" => ["bar"]}}
      iex> Sippet.Message.delete_header(message, "x-foo").headers
      %{expires: 60}

  """
  @spec delete_header(t, header) :: t
  def delete_header(%__MODULE__{} = message, header),
    do: with_headers(message, HeaderMap.delete(message.headers, header))

  @doc """
  Deletes the first value of the header, and the header with its last value.

      iex> message = %Sippet.Message{headers: %{allow: ["INVITE", "ACK"]}}
      iex> message = Sippet.Message.delete_header_front(message, :allow)
      iex> message.headers
      %{allow: ["ACK"]}
      iex> Sippet.Message.delete_header_front(message, :allow).headers
      %{}

  """
  @spec delete_header_front(t, header) :: t
  def delete_header_front(message, header), do: message |> pop_header_front(header) |> elem(1)

  @doc """
  Deletes the last value of the header, and the header with its last value.

      iex> message = %Sippet.Message{headers: %{allow: ["INVITE", "ACK"]}}
      iex> Sippet.Message.delete_header_back(message, :allow).headers
      %{allow: ["INVITE"]}

  """
  @spec delete_header_back(t, header) :: t
  def delete_header_back(message, header), do: message |> pop_header_back(header) |> elem(1)

  @doc """
  Deletes all these headers.

      iex> message = %Sippet.Message{headers: %{:expires => 60, "X-Foo" => ["bar"]}}
      iex> Sippet.Message.drop_headers(message, [:expires, "X-Foo", :cseq]).headers
      %{}

  """
  @spec drop_headers(t, [header]) :: t
  def drop_headers(message, headers), do: Enum.reduce(headers, message, &delete_header(&2, &1))

  @doc """
  The value of the header as `{:ok, value}`, or `:error`.

      iex> message = %Sippet.Message{headers: %{allow: ["INVITE", "ACK"]}}
      iex> Sippet.Message.fetch_header(message, :allow)
      {:ok, ["INVITE", "ACK"]}
      iex> Sippet.Message.fetch_header(message, :cseq)
      :error

  """
  @spec fetch_header(t, header) :: {:ok, value} | :error
  def fetch_header(%__MODULE__{} = message, header), do: HeaderMap.fetch(message.headers, header)

  @doc """
  The first value of the header as `{:ok, value}`.

  `:error` if the header is missing or is no list, `{:ok, nil}` if it is an empty one.

      iex> message = %Sippet.Message{headers: %{allow: ["INVITE", "ACK"], expires: 60}}
      iex> Sippet.Message.fetch_header_front(message, :allow)
      {:ok, "INVITE"}
      iex> Sippet.Message.fetch_header_front(message, :expires)
      :error

  """
  @spec fetch_header_front(t, header) :: {:ok, value | nil} | :error
  def fetch_header_front(message, header), do: fetch_one(message, header, &List.first/1)

  @doc """
  The last value of the header; else like `fetch_header_front/2`.

      iex> message = %Sippet.Message{headers: %{allow: ["INVITE", "ACK"]}}
      iex> Sippet.Message.fetch_header_back(message, :allow)
      {:ok, "ACK"}

  """
  @spec fetch_header_back(t, header) :: {:ok, value | nil} | :error
  def fetch_header_back(message, header), do: fetch_one(message, header, &List.last/1)

  @doc """
  The value of the header; `KeyError` if it is missing.

      iex> Sippet.Message.fetch_header!(%Sippet.Message{headers: %{expires: 60}}, :expires)
      60

  """
  @spec fetch_header!(t, header) :: value
  def fetch_header!(message, header), do: message |> fetch_header(header) |> ok!(message, header)

  @doc """
  The first value of the header; `KeyError` if it is missing or no list.

      iex> Sippet.Message.fetch_header_front!(%Sippet.Message{headers: %{allow: ["INVITE", "ACK"]}}, :allow)
      "INVITE"

  """
  @spec fetch_header_front!(t, header) :: value | nil
  def fetch_header_front!(message, header),
    do: message |> fetch_header_front(header) |> ok!(message, header)

  @doc """
  The last value of the header; `KeyError` if it is missing or no list.

      iex> Sippet.Message.fetch_header_back!(%Sippet.Message{headers: %{allow: ["INVITE", "ACK"]}}, :allow)
      "ACK"

  """
  @spec fetch_header_back!(t, header) :: value | nil
  def fetch_header_back!(message, header),
    do: message |> fetch_header_back(header) |> ok!(message, header)

  @doc """
  The value of the header, or `default`.

      iex> Sippet.Message.get_header(%Sippet.Message{}, :expires, 3600)
      3600

  """
  @spec get_header(t, header, default) :: value | default when default: term
  def get_header(message, header, default \\ nil),
    do: message |> fetch_header(header) |> ok(default)

  @doc """
  The first value of the header, or `default` if it is missing or no list.

      iex> Sippet.Message.get_header_front(%Sippet.Message{headers: %{allow: ["INVITE", "ACK"]}}, :allow)
      "INVITE"
      iex> Sippet.Message.get_header_front(%Sippet.Message{}, :allow, "OPTIONS")
      "OPTIONS"

  """
  @spec get_header_front(t, header, default) :: value | default when default: term
  def get_header_front(message, header, default \\ nil),
    do: message |> fetch_header_front(header) |> ok(default)

  @doc """
  The last value of the header, or `default` if it is missing or no list.

      iex> Sippet.Message.get_header_back(%Sippet.Message{headers: %{allow: ["INVITE", "ACK"]}}, :allow)
      "ACK"

  """
  @spec get_header_back(t, header, default) :: value | default when default: term
  def get_header_back(message, header, default \\ nil),
    do: message |> fetch_header_back(header) |> ok(default)

  @doc """
  Replaces the value of the header by what `fun` makes of it; puts `initial` if the header is missing.

      iex> message = Sippet.Message.update_header(%Sippet.Message{}, :max_forwards, 70, &(&1 - 1))
      iex> Sippet.Message.update_header(message, :max_forwards, &(&1 - 1)).headers
      %{max_forwards: 69}

  """
  @spec update_header(t, header, value, (value -> value)) :: t
  def update_header(message, header, initial \\ nil, fun) when is_function(fun, 1) do
    case fetch_header(message, header) do
      {:ok, value} -> replace(message, header, fun.(value))
      :error -> put_header(message, header, initial)
    end
  end

  @doc """
  Replaces the first value of the header by what `fun` makes of it.

  If the header is missing or empty, `initial` becomes its value: a list as it is, anything else in a list, `nil`
  as the empty list.

      iex> message = %Sippet.Message{headers: %{allow: ["INVITE", "ACK"]}}
      iex> Sippet.Message.update_header_front(message, :allow, &String.downcase/1).headers
      %{allow: ["invite", "ACK"]}

  """
  @spec update_header_front(t, header, value, (value -> value)) :: t
  def update_header_front(message, header, initial \\ nil, fun) when is_function(fun, 1),
    do: replace(message, header, update_first(list!(message, header), initial, fun))

  @doc """
  Replaces the last value of the header by what `fun` makes of it; else like `update_header_front/4`.

      iex> message = %Sippet.Message{headers: %{allow: ["INVITE", "ACK"]}}
      iex> Sippet.Message.update_header_back(message, :allow, &String.downcase/1).headers
      %{allow: ["INVITE", "ack"]}

  """
  @spec update_header_back(t, header, value, (value -> value)) :: t
  def update_header_back(message, header, initial \\ nil, fun) when is_function(fun, 1) do
    reversed = reverse(list!(message, header))
    initial = initial |> List.wrap() |> Enum.reverse()
    replace(message, header, Enum.reverse(update_first(reversed, initial, fun)))
  end

  @doc """
  Takes the header out of the message and returns both; `default` if it is missing.

      iex> message = %Sippet.Message{headers: %{expires: 60}}
      iex> {60, message} = Sippet.Message.pop_header(message, :expires)
      iex> {nil, ^message} = Sippet.Message.pop_header(message, :expires)
      iex> message.headers
      %{}

  """
  @spec pop_header(t, header, default) :: {value | default, t} when default: term
  def pop_header(message, header, default \\ nil),
    do: {get_header(message, header, default), delete_header(message, header)}

  @doc """
  Takes the first value of the header out of the message and returns both, and the header with its last value.

  `default` if the header is missing or empty; a header that is no list raises `ArgumentError`.

      iex> message = %Sippet.Message{headers: %{allow: ["INVITE", "ACK"]}}
      iex> {"INVITE", message} = Sippet.Message.pop_header_front(message, :allow)
      iex> message.headers
      %{allow: ["ACK"]}

  """
  @spec pop_header_front(t, header, default) :: {value | default, t} when default: term
  def pop_header_front(message, header, default \\ nil) do
    case list!(message, header) do
      nil -> {default, message}
      [] -> {default, delete_header(message, header)}
      [first | rest] -> {first, put_list(message, header, rest)}
    end
  end

  @doc """
  Takes the last value of the header out of the message; else like `pop_header_front/3`.

      iex> message = %Sippet.Message{headers: %{allow: ["INVITE", "ACK"]}}
      iex> {"ACK", message} = Sippet.Message.pop_header_back(message, :allow)
      iex> message.headers
      %{allow: ["INVITE"]}

  """
  @spec pop_header_back(t, header, default) :: {value | default, t} when default: term
  def pop_header_back(message, header, default \\ nil) do
    case reverse(list!(message, header)) do
      nil -> {default, message}
      [] -> {default, delete_header(message, header)}
      [last | rest] -> {last, put_list(message, header, Enum.reverse(rest))}
    end
  end

  @doc """
  Gets something from the header and updates it, all in one pass.

  `fun` gets the value, or `nil` if the header is missing. It returns `{get, new_value}`, or `:pop` to take the header
  out; then its value is what is got.

      iex> message = %Sippet.Message{headers: %{max_forwards: 70}}
      iex> {70, message} = Sippet.Message.get_and_update_header(message, :max_forwards, &{&1, &1 - 1})
      iex> message.headers
      %{max_forwards: 69}

  """
  @spec get_and_update_header(t, header, (value | nil -> {get, value} | :pop)) :: {get, t}
        when get: term
  def get_and_update_header(message, header, fun) when is_function(fun, 1) do
    value = get_header(message, header)

    case fun.(value) do
      {get, new_value} -> {get, replace(message, header, new_value)}
      :pop -> {value, delete_header(message, header)}
      other -> raise ArgumentError, wrong_return(other)
    end
  end

  @doc """
  Gets something from the first value of the header and updates it, all in one pass.

  `fun` gets the first value, or `nil` if the header is missing or empty. It returns `{get, new_value}`, where a
  `new_value` of `nil` takes the value out, or `:pop` to act like `pop_header_front/2`.

      iex> message = %Sippet.Message{headers: %{allow: ["INVITE", "ACK"]}}
      iex> {"INVITE", message} = Sippet.Message.get_and_update_header_front(message, :allow, &{&1, "BYE"})
      iex> message.headers
      %{allow: ["BYE", "ACK"]}

  """
  @spec get_and_update_header_front(t, header, (value | nil -> {get, value | nil} | :pop)) ::
          {get, t}
        when get: term
  def get_and_update_header_front(message, header, fun) when is_function(fun, 1) do
    {first, rest} = List.pop_at(list!(message, header) || [], 0)

    case fun.(first) do
      {get, nil} -> {get, replace(message, header, rest)}
      {get, value} -> {get, replace(message, header, [value | rest])}
      :pop -> pop_header_front(message, header)
      other -> raise ArgumentError, wrong_return(other)
    end
  end

  @doc """
  Gets something from the last value of the header and updates it; else like `get_and_update_header_front/3`.

      iex> message = %Sippet.Message{headers: %{allow: ["INVITE", "ACK"]}}
      iex> {"ACK", message} = Sippet.Message.get_and_update_header_back(message, :allow, &{&1, "BYE"})
      iex> message.headers
      %{allow: ["INVITE", "BYE"]}

  """
  @spec get_and_update_header_back(t, header, (value | nil -> {get, value | nil} | :pop)) ::
          {get, t}
        when get: term
  def get_and_update_header_back(message, header, fun) when is_function(fun, 1) do
    {last, rest} = List.pop_at(list!(message, header) || [], -1)

    case fun.(last) do
      {get, nil} -> {get, replace(message, header, rest)}
      {get, value} -> {get, replace(message, header, rest ++ [value])}
      :pop -> pop_header_back(message, header)
      other -> raise ArgumentError, wrong_return(other)
    end
  end

  @doc """
  Parses one message, as a datagram brings it.

  The body is as long as Content-Length says, and what follows it is dropped; without Content-Length it is all that
  follows the empty line. A message without a body has the body `""`. Lines may end in CRLF or LF.

  The start line, Via, From, To, Call-ID, CSeq, Max-Forwards, Content-Length and Route must be well-formed, else the
  message is refused. Any other header that is malformed, or stands twice where it may not, is left as raw text under its
  name. Whether the headers that a message needs are there, and agree, is for `validate/1` to say.

      iex> {:ok, message} = Sippet.Message.parse("SIP/2.0 200 OK\\r\\nCSeq: 1 INVITE\\r\\nl: 0\\r\\n\\r\\n")
      iex> message.headers
      %{content_length: 0, cseq: {1, :invite}}
      iex> {:error, error} = Sippet.Message.parse("SIP/2.0 200 OK\\r\\nCSeq: one\\r\\n\\r\\n")
      iex> {error.reason, error.header, error.line}
      {:invalid_header, "CSeq", 2}

  """
  @spec parse(iodata) :: {:ok, t} | {:error, ParseError.t()}
  def parse(data) do
    case Native.parse(IO.iodata_to_binary(data)) do
      {:request, method, uri, version, headers, body} ->
        line = %RequestLine{method: method, request_uri: uri, version: version}
        {:ok, %__MODULE__{start_line: line, headers: headers, body: body}}

      {:response, version, status, reason, headers, body} ->
        line = %StatusLine{status_code: status, reason_phrase: reason, version: version}
        {:ok, %__MODULE__{start_line: line, headers: headers, body: body}}

      {:error, error} ->
        {:error, ParseError.new(error)}
    end
  end

  @doc """
  Parses one message like `parse/1`, and raises `Sippet.ParseError` when it can't.

      iex> Sippet.Message.parse!("SIP/2.0 180 Ringing\\r\\n\\r\\n").start_line.status_code
      180

  """
  @spec parse!(iodata) :: t
  def parse!(data) do
    case parse(data) do
      {:ok, message} -> message
      {:error, error} -> raise error
    end
  end

  @doc """
  Cuts the complete messages off the front of a buffer, as a stream fills it.

  Returns the text of each, for `parse/1`, then what is left, and how far the rest was looked at: given back as
  `resume` with the rest and more behind it, that part is not read again. `{:error, error}` says that no message can start
  here, and that the stream can't be understood any more. When complete messages stand before the trouble, they are
  returned first, and the error is what the next call gives; so call until there are no messages. Line ends before a
  message are dropped (RFC 3261 §7.5), so that a peer that keeps a connection open by them fills no buffer.

      iex> one = "OPTIONS sip:biloxi.com SIP/2.0\\r\\nContent-Length: 2\\r\\n\\r\\nhi"
      iex> {:ok, [^one], rest, resume} = Sippet.Message.split(one <> "OPTIONS sip:biloxi.com SI")
      iex> rest
      "OPTIONS sip:biloxi.com SI"
      iex> {:ok, [two], "", _} = Sippet.Message.split(rest <> "P/2.0\\r\\nContent-Length: 0\\r\\n\\r\\n", resume)
      iex> Sippet.Message.parse!(two).body
      ""

  """
  @spec split(binary, non_neg_integer) ::
          {:ok, [binary], rest :: binary, resume :: non_neg_integer} | {:error, ParseError.t()}
  def split(buffer, resume \\ 0) when is_binary(buffer), do: split(buffer, resume, [])

  # Of a buffer that begins with a line end nothing was looked at yet but its CR.
  defp split(<<"\r\n", rest::binary>>, _resume, messages), do: split(rest, 0, messages)
  defp split(<<"\n", rest::binary>>, _resume, messages), do: split(rest, 0, messages)

  defp split(buffer, resume, messages) do
    case frame(buffer, resume) do
      {:complete, size} ->
        {message, rest} = :erlang.split_binary(buffer, size)
        split(rest, 0, [message | messages])

      {:partial, resume} ->
        {:ok, Enum.reverse(messages), buffer, resume}

      {:error, error} when messages == [] ->
        {:error, error}

      {:error, _error} ->
        {:ok, Enum.reverse(messages), buffer, 0}
    end
  end

  @doc false
  # How many octets of a stream the first message has.
  @spec frame(binary, non_neg_integer) ::
          {:complete, pos_integer} | {:partial, non_neg_integer} | {:error, ParseError.t()}
  def frame(buffer, resume) do
    with {:error, error} <- Native.frame(buffer, resume), do: {:error, ParseError.new(error)}
  end

  @doc """
  The message as text, as it goes over the wire; see `to_iodata/1`.

      iex> to_string(Sippet.Message.build_response(200))
      "SIP/2.0 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n"

  """
  @spec to_string(t) :: binary
  def to_string(%__MODULE__{} = message), do: message |> to_iodata() |> IO.iodata_to_binary()

  @doc """
  The message as iodata, as it goes over the wire.

  Routing headers come first, those that describe the body last. Content-Length is always counted from the body, in octets,
  whatever the headers say.

  A value is printed in the shape of its header, see `Sippet.Headers`. A value of another kind is printed by what it
  is, as in Sippet 1.0:

    * Text is one raw line. Under `:via`, `:from`, `:to`, `:call_id`, `:cseq`, `:max_forwards` and `:route` it must be a
      value that `parse/1` takes there.
    * An element alone stands for a list of one, and a list of one for the element.
    * A number may be text of digits.
    * Under a string key a number, a `Sippet.URI`, a `NaiveDateTime` and the tuples of the shapes are printed
      alike. Each element of a list has a line of its own.
    * Text that is a URI may stand where a `Sippet.URI` is expected.

  Raises `ArgumentError` with the header and the term for a term without a meaning there, for an atom that is no typed
  header, for text with CR, LF or NUL, and for whatever `parse/1` would refuse or read as something else.

      iex> message = %{Sippet.Message.build_response(200) | body: "é"}
      iex> message = Sippet.Message.put_header(message, :from, {"Bob \\"B\\"", Sippet.URI.parse!("sip:bob@biloxi.com"), %{}})
      iex> IO.iodata_to_binary(Sippet.Message.to_iodata(message))
      "SIP/2.0 200 OK\\r\\nFrom: \\"Bob \\\\\\"B\\\\\\"\\" <sip:bob@biloxi.com>\\r\\nContent-Length: 2\\r\\n\\r\\né"

  """
  @spec to_iodata(t) :: iodata
  def to_iodata(%__MODULE__{start_line: line, headers: headers, body: body}),
    do: Serializer.message(line, headers, body)

  @doc """
  Whether `validate/1` finds the message valid.

      iex> Sippet.Message.valid?(Sippet.Message.build_response(200))
      false

  """
  @spec valid?(t) :: boolean
  def valid?(message), do: validate(message) == :ok

  @doc """
  Whether `validate/2` finds the message valid.
  """
  @spec valid?(t, {protocol, host :: term, port :: term}) :: boolean
  def valid?(message, from), do: validate(message, from) == :ok

  @doc """
  Says whether a message is fit to be sent, and what is wrong with it.

  Judged are: the version 2.0; Via, From, To, Call-ID and CSeq, which must be there; a tag or a branch that is empty (a
  missing one is left to pass, as RFC 2543 allows it); a CSeq number below 2**31; in a request, a CSeq of the same
  method, and a Request-URI that has neither headers nor a `method` parameter. Of several Vias only the topmost is looked
  at. At last every header must be printable as `to_iodata/1` wants it, so a message that was built wrong
  is found out here, never by an exception.

      iex> Sippet.Message.validate(Sippet.Message.build_response(200))
      {:error, "missing headers: Via, From, To, Call-ID, CSeq"}

  """
  @spec validate(t) :: :ok | {:error, String.t()}
  def validate(message) do
    with :ok <- Validator.validate(message), do: printable(message)
  end

  @doc """
  Says whether a message that came in from `{protocol, host, port}` is valid, and what is wrong with it.

  Judges like `validate/1`, and the protocol of the topmost Via must be the one that the message came by. As `parse/1` made
  the message, its headers are taken for printable.
  """
  @spec validate(t, {protocol, host :: term, port :: term}) :: :ok | {:error, String.t()}
  def validate(message, from) do
    with :ok <- Validator.validate(message), do: Validator.source(message, from)
  end

  @doc """
  Returns the sender's protocol, address and port of a request.

  For a request that came in, that is its `source`. For any other, it is read from the topmost Via:
  `received` instead of the host, `rport` instead of the port. A `received` that is no host and an
  `rport` that is no port are passed over.

      iex> uri = Sippet.URI.parse!("sip:biloxi.com")
      iex> via = {{2, 0}, :udp, {"pc33.atlanta.com", 5060}, %{"received" => "192.0.2.1", "rport" => "6060"}}
      iex> request = Sippet.Message.put_header(Sippet.Message.build_request(:options, uri), :via, [via])
      iex> Sippet.Message.get_remote(request)
      {:ok, {:udp, "192.0.2.1", 6060}}

  """
  @spec get_remote(t) ::
          {:ok, {protocol, host :: String.t(), :inet.port_number()}} | {:error, String.t()}
  def get_remote(%__MODULE__{start_line: %RequestLine{}, source: %Flow{} = flow}) do
    {ip, port} = flow.remote
    {:ok, {flow.protocol, Address.to_text(ip), port}}
  end

  def get_remote(%__MODULE__{start_line: %RequestLine{}, headers: %{via: [via | _]}}),
    do: {:ok, Via.remote(via)}

  def get_remote(%__MODULE__{start_line: %RequestLine{}}), do: {:error, "missing Via header"}
  def get_remote(%__MODULE__{}), do: {:error, "not a request"}

  @doc false
  @impl Access
  def fetch(%__MODULE__{} = message, field), do: Map.fetch(message, field)

  @doc false
  @impl Access
  def get_and_update(%__MODULE__{} = message, field, fun)
      when field in [:start_line, :headers, :body, :target, :source] do
    value = Map.fetch!(message, field)

    case fun.(value) do
      {get, new_value} -> {get, %{message | field => new_value}}
      :pop -> pop(message, field)
      other -> raise ArgumentError, wrong_return(other)
    end
  end

  @doc false
  # A struct keeps its fields: a popped one takes its first value again.
  @impl Access
  def pop(%__MODULE__{headers: headers} = message, :headers),
    do: {headers, %{message | headers: %{}}}

  def pop(%__MODULE__{} = message, field) when field in [:start_line, :body, :target, :source],
    do: {Map.fetch!(message, field), %{message | field => nil}}

  defp with_headers(message, headers), do: %{message | headers: headers}

  defp replace(%__MODULE__{} = message, header, value),
    do: with_headers(message, HeaderMap.replace(message.headers, header, value))

  defp put_list(message, header, values),
    do: with_headers(message, HeaderMap.put_list(message.headers, header, values))

  defp list!(%__MODULE__{} = message, header), do: HeaderMap.list!(message.headers, header)

  defp fetch_one(message, header, one) do
    case fetch_header(message, header) do
      {:ok, values} when is_list(values) -> {:ok, one.(values)}
      _ -> :error
    end
  end

  defp ok({:ok, value}, _default), do: value
  defp ok(:error, default), do: default

  defp ok!({:ok, value}, _message, _header), do: value
  defp ok!(:error, message, header), do: raise(KeyError, key: header, term: message.headers)

  defp update_first(values, initial, _fun) when values in [nil, []], do: List.wrap(initial)
  defp update_first([first | rest], _initial, fun), do: [fun.(first) | rest]

  defp reverse(nil), do: nil
  defp reverse(values), do: Enum.reverse(values)

  defp wrong_return(other), do: "expected {get, new_value} or :pop, got: #{inspect(other)}"

  defp printable(message) do
    _iodata = to_iodata(message)
    :ok
  rescue
    error in ArgumentError -> {:error, Exception.message(error)}
  end

  defimpl String.Chars do
    def to_string(message), do: Sippet.Message.to_string(message)
  end
end
