defmodule Sippet.UAS do
  @options [
    allow: [
      type: {:custom, &__MODULE__.tokens?/1, "a list of method names"},
      required: true,
      doc: "the methods that are understood, as in Allow: `[\"INVITE\", \"ACK\", …]`"
    ],
    supported: [
      type: {:custom, &__MODULE__.tokens?/1, "a list of option tags"},
      default: [],
      doc: "the extensions that are understood, as in Supported"
    ],
    accept: [
      type: {:custom, &__MODULE__.types?/1, "a list of {type, subtype}"},
      default: nil,
      doc:
        "the media types of bodies that are understood, as `[{\"application\", \"sdp\"}]`; `nil` takes any"
    ]
  ]

  @moduledoc """
  What a user agent server does with a request before it looks at what is asked (RFC 3261 §8.2).

      def receive_request(request, _key, stack) do
        case Sippet.UAS.validate(request, allow: ["OPTIONS", "MESSAGE"]) do
          :ok -> answer(request, stack)
          {:error, response} -> Sippet.reply(stack, response)
        end
      end

  Whether a request came by two paths (§8.2.2.2) is for `Sippet.merged?/2` to say, as it takes the stack's state.
  """

  alias Sippet.{Dialog, Message, Options}
  alias Sippet.Message.Refusal

  @doc """
  Checks method (§8.2.1), Record-Route, Require (§8.2.2.3) and body (§8.2.3), and gives the
  response that refuses the request.

  The response is 405 with Allow, 420 with Unsupported, 415 with Accept or Accept-Encoding, or 400 where the header that
  has to be looked at is malformed. An ACK has no answer, and a CANCEL must not be refused for its Require: of these only
  the method is looked at, so leave them in `:allow`.

  Options:

  #{Options.docs(@options)}

      iex> request = Sippet.Message.build_request(:invite, "sip:bob@biloxi.com")
      iex> {:error, response} = Sippet.UAS.validate(request, allow: ["OPTIONS"])
      iex> {response.start_line.status_code, response.headers.allow}
      {405, ["OPTIONS"]}
      iex> request = Sippet.Message.put_header(request, :require, ["100rel", "timer"])
      iex> {:error, response} = Sippet.UAS.validate(request, allow: ["INVITE"], supported: ["timer"])
      iex> {response.start_line.status_code, response.headers.unsupported}
      {420, ["100rel"]}
  """
  @spec validate(Message.request(), keyword) :: :ok | {:error, Message.response()}
  def validate(request, options) do
    options = Options.validate!(options, @options)

    with :ok <- method(request, options.allow),
         :ok <- record_route(request),
         :ok <- require_header(request, options.supported) do
      content(request, options.accept)
    end
  end

  # RFC3261§8.2.1 - the methods that are allowed are listed in the 405
  defp method(request, allow) do
    if name(request.start_line.method) in allow,
      do: :ok,
      else: refuse(request, 405, :allow, allow)
  end

  defp name(method) when is_atom(method), do: method |> Atom.to_string() |> String.upcase()
  defp name(method), do: method

  # RFC3261§12.1.1 - the route of a dialog is made of it, by either end; §10.3 - a registrar ignores it
  defp record_route(%Message{start_line: %{method: method}} = request) do
    if method == :notify or Dialog.forming?(method),
      do: well_formed(request, ["Record-Route"]),
      else: :ok
  end

  @doc """
  Adds to a response what you understand: Allow, Supported and Accept (RFC 3261 §11.2, §13.3.1.4).

  A 200 to OPTIONS tells it so, and a 2xx to INVITE. The options are those of `validate/2`, so that
  both take the same list. There is no Accept if `:accept` is `nil`.

      iex> own = [allow: ["INVITE", "ACK"], accept: [{"application", "sdp"}], supported: ["timer"]]
      iex> ok = Sippet.Message.build_response(200) |> Sippet.UAS.put_capabilities(own)
      iex> {ok.headers.allow, ok.headers.supported, ok.headers.accept}
      {["INVITE", "ACK"], ["timer"], [{{"application", "sdp"}, %{}}]}
  """
  @spec put_capabilities(Message.response(), keyword) :: Message.response()
  def put_capabilities(response, options) do
    options = Options.validate!(options, @options)
    response = Message.put_headers(response, Map.take(options, [:allow, :supported]))

    if options.accept,
      do: Message.put_header(response, :accept, for(type <- options.accept, do: {type, %{}})),
      else: response
  end

  @doc """
  Returns whether the sender of a request requires an extension, supports it, or says nothing of it
  (RFC 3261 §20.32, §20.37).

      iex> request = Sippet.Message.build_request(:invite, "sip:bob@biloxi.com")
      iex> request = Sippet.Message.put_headers(request, require: ["100rel"], supported: ["timer"])
      iex> for tag <- ["100rel", "Timer", "replaces"], do: Sippet.UAS.extension(request, tag)
      [:required, :supported, :unsupported]
  """
  @spec extension(Message.request(), String.t()) :: :required | :supported | :unsupported
  def extension(request, tag) do
    cond do
      unsupported(request, :require, [tag]) != Message.get_header(request, :require, []) ->
        :required

      unsupported(request, :supported, [tag]) != Message.get_header(request, :supported, []) ->
        :supported

      true ->
        :unsupported
    end
  end

  @doc false
  # Puts an option tag behind those of Supported or Require, unless it stands there.
  @spec put_extension(message, :supported | :require, String.t()) :: message
        when message: Message.t()
  def put_extension(message, header, tag) do
    tags = Message.get_header(message, header, [])

    if unsupported(message, header, [tag]) == tags,
      do: Message.put_header(message, header, tags ++ [tag]),
      else: message
  end

  @doc false
  # Whether none of the headers is text, which is what the parser makes of a malformed one; else
  # the 400.
  @spec well_formed(Message.request(), [String.t()]) :: :ok | {:error, Message.response()}
  def well_formed(%Message{headers: headers} = request, names) do
    case Enum.find(names, &is_map_key(headers, &1)) do
      nil -> :ok
      name -> Refusal.bad_header(request, name)
    end
  end

  # RFC3261§8.2.2.3 - Require is ignored in an ACK and a CANCEL
  defp require_header(%Message{start_line: %{method: method}}, _supported)
       when method in [:ack, :cancel],
       do: :ok

  defp require_header(request, supported) do
    with :ok <- well_formed(request, ["Require"]) do
      case unsupported(request, :require, supported) do
        [] -> :ok
        tags -> refuse(request, 420, :unsupported, tags)
      end
    end
  end

  @doc false
  # RFC3261§7.3.1 - tokens are compared in any letter case
  @spec unsupported(Message.t(), atom, [String.t()]) :: [String.t()]
  def unsupported(message, header, supported) do
    supported = Enum.map(supported, &String.downcase(&1, :ascii))
    known? = fn tag -> String.downcase(tag, :ascii) in supported end
    message |> Message.get_header(header, []) |> Enum.reject(known?)
  end

  # RFC3261§13.2.2.4 - an ACK gets no response, and so its body can't be refused
  defp content(%Message{start_line: %{method: method}}, _accept) when method in [:ack, :cancel],
    do: :ok

  defp content(_request, nil), do: :ok
  defp content(%Message{body: body}, _accept) when body in [nil, ""], do: :ok

  defp content(%Message{headers: headers} = request, accept) do
    type = with {type, _params} <- headers[:content_type], do: type

    cond do
      # RFC3261§8.2.3 - a body that need not be understood may be passed over
      optional?(headers) -> :ok
      encoded?(headers) -> refuse(request, 415, :accept_encoding, [{"identity", %{}}])
      type in accept -> :ok
      true -> refuse(request, 415, :accept, for(type <- accept, do: {type, %{}}))
    end
  end

  defp optional?(%{content_disposition: {_type, %{"handling" => handling}}}),
    do: String.downcase(handling, :ascii) == "optional"

  defp optional?(_headers), do: false

  defp encoded?(%{content_encoding: [_ | _] = encodings}),
    do: Enum.any?(encodings, &(String.downcase(&1, :ascii) != "identity"))

  defp encoded?(%{"Content-Encoding" => _malformed}), do: true
  defp encoded?(_headers), do: false

  defp refuse(request, status, header, value),
    do: {:error, request |> Message.to_response(status) |> Message.put_header(header, value)}

  @doc false
  @spec tokens?(term) :: boolean
  def tokens?(value), do: is_list(value) and Enum.all?(value, &is_binary/1)

  @doc false
  @spec types?(term) :: boolean
  def types?(value), do: is_list(value) and Enum.all?(value, &match?({_type, _subtype}, &1))
end
