defmodule Sippet.Dialog do
  @moduledoc """
  A dialog: what two user agents know of each other between the messages of a call (RFC 3261 §12).

  The struct is a value; who keeps it is up to the application. The fields have the RFC's names:

    * `call_id`, `local_tag`, `remote_tag` - the dialog ID; a tag is `nil` where a peer of RFC 2543 sends none
    * `local`, `remote` - `{display_name, uri, parameters}` with their tags, as they stand in From and To
    * `remote_target` - the URI of the far end's Contact
    * `route_set` - what goes into Route, in that order
    * `local_seq`, `remote_seq` - the CSeq number used last in each direction, `nil` before the first

  The caller makes the dialog from the response, the called side from its own:

      {:ok, dialog} = Sippet.Dialog.uac(invite, response)
      {:ok, dialog} = Sippet.Dialog.uas(invite, response)

  A request of ours in the dialog, for which only the Via is left to write:

      {bye, dialog} = Sippet.Dialog.build_request(dialog, :bye)

  A request of theirs:

      case Sippet.Dialog.receive_request(dialog, request) do
        {:ok, dialog} -> answer(request, dialog)
        {:error, response} -> Sippet.send(stack, response)
      end
  """

  alias Sippet.{Message, URI}
  alias Sippet.Message.{RequestLine, Route, StatusLine, Tag, Typed}

  @enforce_keys [:call_id, :local_tag, :remote_tag, :local, :remote, :remote_target]
  defstruct [
    :call_id,
    :local_tag,
    :remote_tag,
    :local,
    :remote,
    :remote_target,
    :local_seq,
    :remote_seq,
    route_set: []
  ]

  @type address :: {display_name :: String.t(), URI.t(), %{String.t() => String.t()}}

  @type t :: %__MODULE__{
          call_id: String.t(),
          local_tag: String.t() | nil,
          remote_tag: String.t() | nil,
          local: address,
          remote: address,
          remote_target: URI.t(),
          local_seq: non_neg_integer | nil,
          remote_seq: non_neg_integer | nil,
          route_set: [address]
        }

  @typedoc "The dialog ID: Call-ID, local tag, remote tag."
  @type id :: {String.t(), String.t() | nil, String.t() | nil}

  @typedoc "Why a message makes no dialog."
  @type reason :: :no_contact | :malformed_record_route

  # Requests whose Contact is the new remote target: RFC3261§12.2, RFC3311§5.1, RFC6665§4.4.1.
  @target_refresh [:invite, :update, :subscribe, :notify]

  @doc """
  The dialog ID of a dialog, or the one that a message that came in belongs to.

  A request has the local tag in To, a response in From.

      iex> request =
      ...>   Sippet.Message.build_request(:bye, "sip:bob@192.0.2.4")
      ...>   |> Sippet.Message.put_header(:call_id, "a84b4c76e66710")
      ...>   |> Sippet.Message.put_header(:from, {"", Sippet.URI.parse!("sip:alice@atlanta.com"), %{"tag" => "88"}})
      ...>   |> Sippet.Message.put_header(:to, {"", Sippet.URI.parse!("sip:bob@biloxi.com"), %{"tag" => "12"}})
      iex> Sippet.Dialog.id(request)
      {"a84b4c76e66710", "12", "88"}
  """
  @spec id(t | Message.t()) :: id
  def id(%__MODULE__{} = dialog), do: {dialog.call_id, dialog.local_tag, dialog.remote_tag}

  def id(%Message{start_line: %RequestLine{}, headers: headers}),
    do: {headers.call_id, Tag.of(headers.to), Tag.of(headers.from)}

  def id(%Message{start_line: %StatusLine{}, headers: headers}),
    do: {headers.call_id, Tag.of(headers.from), Tag.of(headers.to)}

  @doc """
  The caller's dialog, from its request and a response that establishes one: 2xx, or 101 to 199 with a To tag (§12.1.2).

  Of several contacts the first that is well-formed becomes the remote target. Returns
  `{:error, :no_contact}` if the response has none, and `{:error, :malformed_record_route}` if its
  Record-Route is malformed, so that nobody knows the way of the requests that follow.
  """
  @spec uac(Message.request(), Message.response()) :: {:ok, t} | {:error, reason}
  def uac(%Message{start_line: %RequestLine{}} = request, %Message{headers: headers} = response) do
    {number, _method} = request.headers.cseq

    with {:ok, route} <- record_route(response),
         {:ok, target} <- contact(response) do
      {:ok,
       new(headers.call_id, request.headers.from, headers.to, target, %{
         local_seq: number,
         remote_seq: nil,
         route_set: Enum.reverse(route)
       })}
    end
  end

  @doc """
  The called side's dialog, from the request that came and the response to it, which has the To tag (§12.1.1).

  Of several contacts the first that is well-formed becomes the remote target. Returns
  `{:error, :no_contact}` if the request has none, and `{:error, :malformed_record_route}` if its
  Record-Route is malformed. Answer either with 400.
  """
  @spec uas(Message.request(), Message.response()) :: {:ok, t} | {:error, reason}
  def uas(%Message{start_line: %RequestLine{}, headers: headers} = request, response) do
    {number, _method} = headers.cseq

    with {:ok, route} <- record_route(request),
         {:ok, target} <- contact(request) do
      {:ok,
       new(headers.call_id, response.headers.to, headers.from, target, %{
         local_seq: nil,
         remote_seq: number,
         route_set: route
       })}
    end
  end

  defp new(call_id, local, remote, target, more) do
    struct!(
      %__MODULE__{
        call_id: call_id,
        local_tag: Tag.of(local),
        remote_tag: Tag.of(remote),
        local: bare(local),
        remote: bare(remote),
        remote_target: target
      },
      more
    )
  end

  # RFC3261§12.2.1.1 - the URI and the tag are what From and To have in a dialog
  defp bare({name, uri, params}), do: {name, uri, Map.take(params, ["tag"])}

  # Text is what the parser could not read.
  defp record_route(%Message{headers: %{"Record-Route" => _malformed}}),
    do: {:error, :malformed_record_route}

  defp record_route(%Message{headers: headers}), do: {:ok, Map.get(headers, :record_route, [])}

  # RFC3261§8.1.1.8 - Contact has one URI here
  defp contact(%Message{headers: headers}) do
    case Typed.each(headers, :contact) do
      {:ok, [{_name, %URI{} = uri, _params} | _], _bad} -> {:ok, uri}
      _none -> {:error, :no_contact}
    end
  end

  @doc """
  A request within the dialog, and the dialog after it (§12.2.1.1). Its Via, and what belongs to its method, are left to
  write.

  Not for an ACK or a CANCEL, whose numbers are those of an INVITE: see `build_ack/2` and
  `Sippet.Message.to_cancel/1`.
  """
  @spec build_request(t, Message.method()) :: {Message.request(), t}
  def build_request(%__MODULE__{} = dialog, method) when method not in [:ack, :cancel] do
    # RFC3261§8.1.1.5 - any number below 2**31 may be the first
    number = (dialog.local_seq || 0) + 1
    {request(dialog, method, number), %{dialog | local_seq: number}}
  end

  @doc """
  The ACK for a 2xx to an INVITE of ours (§13.2.2.4). Its Via is left to write, and the credentials of the INVITE, if it
  had any.

      iex> address = fn uri, tag -> {"", Sippet.URI.parse!(uri), %{"tag" => tag}} end
      iex> invite = %{
      ...>   Sippet.Message.build_request(:invite, "sip:bob@biloxi.com")
      ...>   | headers: %{call_id: "a84b4c", cseq: {314159, :invite}, from: address.("sip:alice@atlanta.com", "88")}
      ...> }
      iex> ok = Sippet.Message.build_response(200)
      iex> ok = %{ok | headers: Map.merge(invite.headers, %{
      ...>   to: address.("sip:bob@biloxi.com", "12"),
      ...>   contact: [{"", Sippet.URI.parse!("sip:bob@192.0.2.4"), %{}}]
      ...> })}
      iex> {:ok, dialog} = Sippet.Dialog.uac(invite, ok)
      iex> ack = Sippet.Dialog.build_ack(dialog, ok)
      iex> {to_string(ack.start_line), ack.headers.cseq}
      {"ACK sip:bob@192.0.2.4 SIP/2.0", {314159, :ack}}
  """
  @spec build_ack(t, Message.response()) :: Message.request()
  def build_ack(%__MODULE__{} = dialog, %Message{headers: %{cseq: {number, :invite}}}),
    do: request(dialog, :ack, number)

  defp request(dialog, method, number) do
    method
    |> Message.build_request(Route.request_uri(dialog.remote_target))
    |> Message.put_header(:from, dialog.local)
    |> Message.put_header(:to, dialog.remote)
    |> Message.put_header(:call_id, dialog.call_id)
    |> Message.put_header(:cseq, {number, method})
    |> Message.put_header(:max_forwards, 70)
    |> Route.put(dialog.route_set)
  end

  @doc """
  Takes a request that came within the dialog, and gives the dialog after it (§12.2.2).

  One whose CSeq number is lower than the last is out of order: the error is the response to it, a 500. The Contact of
  a target refresh request, as a re-INVITE is, becomes the remote target. Give it only what you accept: a request that is
  refused changes nothing.
  """
  @spec receive_request(t, Message.request()) :: {:ok, t} | {:error, Message.response()}
  # Their number is that of an INVITE, which counted already.
  def receive_request(%__MODULE__{} = dialog, %Message{start_line: %{method: method}})
      when method in [:ack, :cancel],
      do: {:ok, dialog}

  def receive_request(%__MODULE__{remote_seq: last} = dialog, request) do
    {number, method} = request.headers.cseq

    if last != nil and number < last,
      do: {:error, Message.to_response(request, 500)},
      else: {:ok, refreshed(%{dialog | remote_seq: number}, method, request)}
  end

  @doc """
  Takes a response that came within the dialog, and gives the dialog after it (§12.2.1.2): the Contact of a 2xx to a
  target refresh request becomes the remote target.
  """
  @spec receive_response(t, Message.response()) :: t
  def receive_response(
        %__MODULE__{} = dialog,
        %Message{start_line: %{status_code: status}} = response
      )
      when status in 200..299 do
    {_number, method} = response.headers.cseq
    refreshed(dialog, method, response)
  end

  def receive_response(%__MODULE__{} = dialog, %Message{}), do: dialog

  defp refreshed(dialog, method, message) when method in @target_refresh do
    case contact(message) do
      {:ok, target} -> %{dialog | remote_target: target}
      {:error, :no_contact} -> dialog
    end
  end

  defp refreshed(dialog, _method, _message), do: dialog
end
