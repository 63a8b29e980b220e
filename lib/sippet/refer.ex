defmodule Sippet.Refer do
  @moduledoc """
  REFER: somebody is asked to send a request to somebody else, as in a call transfer (RFC 3515).

      uri = Sippet.URI.parse!("sip:carol@biloxi.com")
      headers = Sippet.Refer.headers(uri, referred_by: me)
      {:ok, refer, dialog} = Sippet.Dialog.next_request(dialog, :refer, headers: headers)
      subscription = Sippet.Subscription.subscriber(refer, now, dialog: dialog)

  The functions write and read the headers of REFER, and the `message/sipfrag` bodies that tell how the
  request went. The subscription that a REFER makes is a `Sippet.Subscription`.

  ## You transfer a call

  You send the REFER as above. Each NOTIFY says how the transfer goes on:

      {:ok, subscription} = Sippet.Subscription.receive_notify(subscription, notify, now)
      {:ok, 180} = Sippet.Refer.status(notify)

  In an attended transfer the URI names the call that you have with the third party:
  `Sippet.Replaces.put_uri/3`.

  ## You are transferred

      options = [dialog: dialog, contact: contact]

      with {:ok, transfer} <- Sippet.Refer.read(refer),
           {:ok, response, subscription} <- Sippet.Subscription.notifier(refer, now, options) do
        Sippet.send(stack, response)
        invite = Sippet.Refer.request(transfer)
        …
      end

  For each response to the INVITE, and first of all for a 100, send a NOTIFY:

      {:ok, notify, subscription} =
        Sippet.Subscription.notify(subscription, now, Sippet.Refer.progress(response))
  """

  alias Sippet.{Message, Names, Options, URI}
  alias Sippet.Message.{Refusal, RequestLine, Route, StatusLine}

  @header_options [
    referred_by: [
      type: {:custom, &__MODULE__.uri?/1, "a Sippet.URI"},
      default: nil,
      doc: "who refers, for the Referred-By that the far end copies (RFC 3892)"
    ],
    subscribe: [
      type: :boolean,
      default: true,
      doc: "whether you want to be told how it went; `false` puts `Refer-Sub: false` (RFC 4488)"
    ]
  ]

  @typedoc """
  What a REFER asks for:

    * `uri` - the URI that is to be called, without its headers and its `method`
    * `method` - the method of the request to send, `:invite` if nothing else is said
    * `replaces` - the text of the Replaces for the request, or `nil`
    * `headers` - the other headers of the URI, by the names that stand there. `request/1` does not use them:
      whoever refers could write anything there
    * `referred_by` - the text of the Referred-By for the request, or `nil`
    * `subscribe?` - whether the sender wants to be told how it went
  """
  @type t :: %{
          uri: URI.t(),
          method: Message.method(),
          replaces: String.t() | nil,
          headers: %{String.t() => String.t()},
          referred_by: String.t() | nil,
          subscribe?: boolean
        }

  @doc """
  Returns the headers of a REFER to this URI, for `Sippet.Dialog.next_request/3` or `Sippet.Message.put_headers/2`.
  Options:

  #{Options.docs(@header_options)}

      iex> uri = Sippet.URI.parse!("sip:carol@biloxi.com")
      iex> Sippet.Refer.headers(uri, referred_by: Sippet.URI.parse!("sip:bob@biloxi.com"))
      [{"Refer-To", ["<sip:carol@biloxi.com>"]}, {"Referred-By", ["<sip:bob@biloxi.com>"]}]
  """
  @spec headers(URI.t(), keyword) :: [{String.t(), [String.t()]}]
  def headers(%URI{} = uri, options \\ []) do
    options = Options.validate!(options, @header_options)

    referred_by =
      if options.referred_by, do: [{"Referred-By", ["<#{options.referred_by}>"]}], else: []

    # RFC4488§4 - the far end may refuse to go without
    refer_sub = if options.subscribe, do: [], else: [{"Refer-Sub", ["false"]}]
    [{"Refer-To", ["<#{uri}>"]}] ++ referred_by ++ refer_sub
  end

  @doc false
  @spec uri?(term) :: boolean
  def uri?(value), do: is_struct(value, URI)

  @doc """
  Reads a REFER: `{:ok, map}`, see `t:t/0`.

  Returns `{:error, response}` with a 400 if there is no Refer-To, if it stands there twice or is malformed
  (§2.4.2), if Referred-By is malformed, or if what the URI says as its method or as Replaces can't stand
  in a request.
  """
  @spec read(Message.request()) :: {:ok, t} | {:error, Message.response()}
  def read(%Message{start_line: %RequestLine{method: :refer}} = refer) do
    with {:ok, {_name, uri, _params}} <- typed(refer, "Refer-To"),
         {:ok, referred_by} <- text(refer, "Referred-By"),
         {:ok, headers} <- headers_of(refer, uri),
         {replaces, headers} = pop(headers, "replaces"),
         :ok <- printable(refer, replaces),
         {:ok, method} <- method_of(refer, uri) do
      {:ok,
       %{
         uri: Route.request_uri(uri),
         method: method,
         replaces: replaces,
         headers: headers,
         referred_by: referred_by,
         subscribe?: subscribe?(refer)
       }}
    end
  end

  defp typed(refer, name) do
    case Message.fetch_typed(refer, name) do
      {:ok, value} -> {:ok, value}
      _none_or_malformed -> Refusal.bad_header(refer, name)
    end
  end

  # RFC3892§2 - it is copied as it came
  defp text(refer, name) do
    case {Message.fetch_typed(refer, name), Message.get_header(refer, name)} do
      {:error, _nothing} -> {:ok, nil}
      {{:ok, _value}, [text]} -> {:ok, text}
      _malformed -> Refusal.bad_header(refer, name)
    end
  end

  defp headers_of(_refer, %URI{headers: none}) when none in [nil, ""], do: {:ok, %{}}

  defp headers_of(refer, %URI{headers: text}) do
    {:ok, URI.decode_headers(text)}
  rescue
    ArgumentError -> Refusal.bad_header(refer, "Refer-To")
  end

  defp pop(headers, wanted) do
    case Enum.find(headers, fn {name, _value} -> String.downcase(name, :ascii) == wanted end) do
      {name, value} -> {value, Map.delete(headers, name)}
      nil -> {nil, headers}
    end
  end

  # An escaped line end would begin a header of its own.
  defp printable(refer, replaces) do
    if replaces != nil and replaces =~ ~r/[\x00-\x1F\x7F]/,
      do: Refusal.bad_header(refer, "Refer-To"),
      else: :ok
  end

  # RFC3261§19.1.1 - the method parameter, which is a token
  defp method_of(refer, uri) do
    case Route.fetch_parameter(uri, "method") do
      {:ok, method} when method != "" ->
        if method =~ ~r/\A[\w.!%*+`'~-]+\z/,
          do: {:ok, Names.method(method)},
          else: Refusal.bad_header(refer, "Refer-To")

      _none ->
        {:ok, :invite}
    end
  end

  @doc false
  # RFC4488§4 - of a REFER, and of its 2xx
  @spec subscribe?(Message.t()) :: boolean
  def subscribe?(message) do
    case Message.fetch_typed(message, "Refer-Sub") do
      {:ok, {value, _params}} -> String.downcase(value, :ascii) != "false"
      _none -> true
    end
  end

  @doc """
  Makes the request that a REFER asks for, from what `read/1` returned.

  It has the Replaces and the Referred-By of the REFER. Add From, Contact and a body, and send it.
  """
  @spec request(t) :: Message.request()
  def request(%{uri: uri, method: method} = transfer) do
    method
    |> Message.build_request(uri)
    |> put("Replaces", transfer.replaces)
    |> put("Referred-By", transfer.referred_by)
  end

  defp put(request, _name, nil), do: request
  defp put(request, name, text), do: Message.put_header(request, name, [text])

  @doc """
  Returns the options of `Sippet.Subscription.notify/3` that tell how a transfer goes on: the `message/sipfrag` body
  (RFC 3420) of a status or of a response.

  A final status ends the subscription, with the reason `noresource` (§2.4.5).

      iex> options = Sippet.Refer.progress(180)
      iex> {options[:body], options[:state]}
      {"SIP/2.0 180 Ringing\\r\\n", nil}
      iex> Sippet.Refer.progress(200)[:state]
      {:terminated, "noresource"}
  """
  @spec progress(100..699 | Message.response()) :: keyword
  def progress(%Message{start_line: %StatusLine{} = line}), do: told(line)
  def progress(status) when is_integer(status), do: told(StatusLine.new(status))

  defp told(%StatusLine{status_code: status} = line) do
    state = if status >= 200, do: [state: {:terminated, "noresource"}], else: []
    # RFC3420§2 - the version tells what the fragment is made of
    type = {{"message", "sipfrag"}, %{"version" => "2.0"}}
    [headers: [content_type: type], body: to_string(%{line | version: {2, 0}}) <> "\r\n"] ++ state
  end

  @doc """
  Returns the status that the NOTIFY of a REFER tells: `{:ok, 100..699}`, or `:error` if its body is no `message/sipfrag`
  that begins with a status line.

      iex> notify = %{Sippet.Message.build_request(:notify, "sip:bob@192.0.2.4") | body: "SIP/2.0 603 Declined"}
      iex> notify = Sippet.Message.put_header(notify, :content_type, {{"message", "sipfrag"}, %{}})
      iex> Sippet.Refer.status(notify)
      {:ok, 603}
  """
  @spec status(Message.request()) :: {:ok, 100..699} | :error
  def status(%Message{headers: headers, body: body}) when is_binary(body) do
    with {{type, subtype}, _params} <- headers[:content_type],
         "message/sipfrag" <- String.downcase("#{type}/#{subtype}", :ascii),
         [_all, status] <- Regex.run(~r/\ASIP\/2\.0 ([1-6]\d\d)(?: |\r|\n|\z)/i, body) do
      {:ok, String.to_integer(status)}
    else
      _no_fragment -> :error
    end
  end

  def status(%Message{}), do: :error
end
