defmodule Sippet.Dialog do
  @moduledoc """
  A dialog: what two user agents keep of each other between the messages of a call or of a subscription
  (RFC 3261 §12).

  The struct is a value, and your application keeps it. Each message of the dialog goes through one
  function:

  | message | you send it | you receive it |
  |---|---|---|
  | the request that makes the dialog, with its response | `uas/2` | `uac/2` |
  | a request within the dialog | `next_request/3`, `build_ack/3` | `receive_request/2` |
  | a response within the dialog | `respond/2` | `receive_response/2` |
  | a reliable provisional response (RFC 3262) | `put_reliable/2` | `prack/2` |

  A request that fails without a response goes through `receive_error/3`.

  ## The caller

      {:ok, dialog} = Sippet.Dialog.uac(invite, ringing)
      {:ok, dialog} = Sippet.Dialog.receive_response(dialog, ok)
      :ok = Sippet.send(stack, Sippet.Dialog.build_ack(dialog, ok))
      {:ok, bye, dialog} = Sippet.Dialog.next_request(dialog, :bye)
      :ok = Sippet.send(stack, bye)

  A response of 101 to 199 with a To tag makes an *early* dialog, and the 2xx confirms it. Confirm the
  early dialog by `receive_response/2` instead of making another one by `uac/2`: requests that you sent
  in the early dialog, such as PRACK, have used CSeq numbers.

  An INVITE that was forked gets responses with several To tags. Each tag is a dialog of its own: keep
  them by their `id/1`.

  ## The called side

      {:ok, dialog} = Sippet.Dialog.uas(invite, ringing)
      dialog = Sippet.Dialog.respond(dialog, ok)

      case Sippet.Dialog.receive_request(dialog, request) do
        {:ok, dialog} -> answer(request, dialog)
        {:error, response} -> Sippet.send(stack, response)
      end

  ## Fields

    * `state` - `:early`, `:confirmed`, or `:terminated`
    * `role` - `:uac` if your request made the dialog, `:uas` if the far end's did
    * `method` - the method of that request, such as `:invite`
    * `call_id`, `local_tag`, `remote_tag` - the dialog ID. A tag is `nil` if a peer of RFC 2543 sends
      none
    * `local`, `remote` - `{display_name, uri, parameters}` with their tags, as they stand in From and To
    * `local_contact` - your Contact, `nil` if you wrote none
    * `remote_target` - the URI of the far end's Contact
    * `route_set` - the values of Route, in that order
    * `local_seq`, `remote_seq` - the last CSeq number of each side, `nil` before the first
    * `local_rseq`, `remote_rseq` - the last RSeq number of each side, `nil` before the first
    * `secure?` - whether the dialog was made by a SIPS URI
    * `pending` - the INVITE in progress, `nil` if there is none: `{:sent, number}` or
      `{:received, number, remote_target}`
    * `flow` - the `Sippet.Flow` by which the far end's last message came, `nil` if that is not known

  ## The Contact

  The Contact of a message that makes a dialog or refreshes its target must be exactly one SIP URI, and
  a SIPS URI if the dialog is `secure?`. If it is anything else (`*`, two URIs, a `tel:` URI), it never
  becomes the remote target. `uas/2` and `receive_request/2` then return `{:error, response}` with a
  400, and `uac/2` and `receive_response/2` return `{:error, :bad_contact}`.
  """

  alias Sippet.Dialog.Contact
  alias Sippet.{Flow, Message, Options, URI}
  alias Sippet.Message.{Completion, Refusal, RequestLine, Route, StatusLine, Tag}

  @enforce_keys [
    :state,
    :role,
    :method,
    :call_id,
    :local_tag,
    :remote_tag,
    :local,
    :remote,
    :remote_target
  ]
  defstruct @enforce_keys ++
              [
                :local_contact,
                :local_seq,
                :remote_seq,
                :pending,
                :flow,
                :local_rseq,
                :remote_rseq,
                secure?: false,
                route_set: []
              ]

  @type address :: {display_name :: String.t(), URI.t(), %{String.t() => String.t()}}

  @type t :: %__MODULE__{
          state: :early | :confirmed | :terminated,
          role: :uac | :uas,
          method: Message.method(),
          call_id: String.t(),
          local_tag: String.t() | nil,
          remote_tag: String.t() | nil,
          local: address,
          remote: address,
          local_contact: address | nil,
          remote_target: URI.t(),
          route_set: [address],
          local_seq: non_neg_integer | nil,
          remote_seq: non_neg_integer | nil,
          local_rseq: pos_integer | nil,
          remote_rseq: pos_integer | nil,
          secure?: boolean,
          pending: nil | {:sent, non_neg_integer} | {:received, non_neg_integer, URI.t() | nil},
          flow: Flow.t() | nil
        }

  @typedoc "The dialog ID: Call-ID, local tag, remote tag."
  @type id :: {String.t(), String.t() | nil, String.t() | nil}

  @typedoc """
  Why a message makes no dialog, or does not go on with it:

    * `:no_dialog` - the request is no INVITE, SUBSCRIBE or REFER; the response is 100, 300 or above, or
      a provisional one without a To tag; the NOTIFY does not belong to the request
    * `:other_dialog` - the message belongs to another dialog, such as that of a fork
    * `:no_contact` - a 2xx or a NOTIFY has no Contact
    * `:bad_contact` - the Contact is not exactly one SIP URI, or no SIPS URI in a secure dialog
    * `:malformed_record_route` - the Record-Route is malformed, so that the route set is not known
  """
  @type reason ::
          :no_dialog | :other_dialog | :no_contact | :bad_contact | :malformed_record_route

  # Requests whose Contact is the new remote target: RFC3261§12.2, RFC3311§5.1, RFC6665§4.4.1.
  @target_refresh [:invite, :update, :subscribe, :notify]

  # Requests in which the local Contact stands: these, and REFER (RFC3515§2.2).
  @with_contact [:refer | @target_refresh]

  # Requests that make a dialog: RFC3261§12.1, RFC6665§4.1.2.1, RFC3515§2.4.4.
  @dialog_forming [:invite, :subscribe, :refer]

  # RFC3261§22.1 - the ACK has the credentials of its INVITE
  @credentials [:authorization, :proxy_authorization]

  @request_options [
    headers: [
      type: :headers,
      default: [],
      doc: "more headers of the request, by their keys or names"
    ],
    body: [
      type: {:custom, &is_binary/1, "a binary"},
      default: nil,
      doc: "the body of the request; its Content-Type is one of `:headers`"
    ]
  ]

  @doc false
  @spec forming?(Message.method()) :: boolean
  def forming?(method), do: method in @dialog_forming

  @doc """
  Returns the ID of a dialog, or the ID of the dialog that a received message belongs to.

  The local tag stands in the To of a request, and in the From of a response.

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
  Returns whether a request was sent within a dialog: its To has a tag (RFC 3261 §12.2.2).

  The sender says so. Whether there is such a dialog says its owner: a request that no owner has got
  is refused with 481.

      iex> request = Sippet.Message.build_request(:invite, "sip:bob@biloxi.com")
      iex> Sippet.Dialog.within?(Sippet.Message.complete(request))
      false
      iex> bob = {"", Sippet.URI.parse!("sip:bob@biloxi.com"), %{"tag" => "12"}}
      iex> Sippet.Dialog.within?(Sippet.Message.put_header(request, :to, bob))
      true
  """
  @spec within?(Message.request()) :: boolean
  def within?(%Message{start_line: %RequestLine{}, headers: headers}),
    do: Tag.of(headers[:to]) != nil

  ## Making a dialog

  @doc """
  Makes the dialog of the side that sent the request (RFC 3261 §12.1.2).

  The second argument is one of

    * a 2xx: the dialog is confirmed;
    * a response of 101 to 199 with a To tag: the dialog is early. If it has no Contact, the
      Request-URI is the remote target until a response brings one. The early dialog can be confirmed,
      and its INVITE can be cancelled;
    * the NOTIFY of a SUBSCRIBE or a REFER, which may come before the 2xx (RFC 6665 §4.1.2.4): the dialog
      is confirmed.

  Returns `{:error, reason}` if the message makes no dialog. A 2xx to INVITE needs its ACK all the same,
  and the far end its BYE: `hang_up/2` makes both.
  """
  @spec uac(Message.request(), Message.response() | Message.request()) ::
          {:ok, t} | {:error, reason}
  def uac(%Message{start_line: %RequestLine{method: method}}, %Message{})
      when method not in @dialog_forming,
      do: {:error, :no_dialog}

  def uac(%Message{start_line: %RequestLine{}} = request, %Message{} = message) do
    with {:ok, state} <- state_of(request, message),
         {:ok, route} <- record_route(message),
         {:ok, target} <- first_target(request, message) do
      dialog = %{of_uac(request, message, target, state) | route_set: uac_route(message, route)}
      {:ok, pending(dialog, {:sent, dialog.local_seq})}
    end
  end

  defp state_of(request, %Message{start_line: %StatusLine{status_code: status}} = response)
       when status in 101..299 do
    cond do
      not response_to?(response, request) -> {:error, :other_dialog}
      status >= 200 -> {:ok, :confirmed}
      Tag.of(response.headers.to) -> {:ok, :early}
      true -> {:error, :no_dialog}
    end
  end

  # RFC6665§4.1.2.4 - the NOTIFY has the Call-ID, and in To the tag, of the SUBSCRIBE
  defp state_of(
         %Message{start_line: %{method: method}} = request,
         %Message{start_line: %RequestLine{method: :notify}, headers: headers}
       )
       when method in [:subscribe, :refer] do
    if Tag.of(headers.from) != nil and Tag.of(headers.to) != nil and
         same?(headers.call_id, request.headers[:call_id]) and
         same?(Tag.of(headers.to), Tag.of(request.headers.from)),
       do: {:ok, :confirmed},
       else: {:error, :no_dialog}
  end

  defp state_of(_request, _message), do: {:error, :no_dialog}

  defp response_to?(%Message{headers: response}, %Message{headers: request}) do
    same?(response.call_id, request[:call_id]) and
      same?(Tag.of(response.from), Tag.of(request.from))
  end

  # What the request lacks, the stack has written when it sent it.
  defp same?(_written, nil), do: true
  defp same?(one, other), do: one == other

  # RFC3261§12.1.2 - a 1xx may lack the Contact
  defp first_target(request, message) do
    case {Contact.uri(message, secure?(request)), message.start_line} do
      {{:error, :no_contact}, %StatusLine{status_code: status}} when status < 200 ->
        {:ok, request.start_line.request_uri}

      {target, _line} ->
        target
    end
  end

  defp of_uac(%Message{headers: headers} = request, message, target, state) do
    {call_id, local_tag, remote_tag} = id(message)
    {name, uri, params} = headers.from
    tagged = if local_tag, do: Map.put(params, "tag", local_tag), else: params

    %__MODULE__{
      call_id: call_id,
      local_tag: local_tag,
      remote_tag: remote_tag,
      local: bare({name, uri, tagged}),
      remote: bare(far_end(message)),
      remote_target: target,
      role: :uac,
      method: request.start_line.method,
      state: state,
      local_contact: Contact.own(request),
      local_seq: sent_number(message, headers),
      remote_seq: notify_number(message),
      secure?: secure?(request),
      flow: message.source
    }
  end

  # A response has the number that was sent, whoever has written it.
  defp sent_number(%Message{start_line: %StatusLine{}, headers: %{cseq: {number, _method}}}, _),
    do: number

  defp sent_number(_notify, %{cseq: {number, _method}}), do: number
  defp sent_number(_notify, _headers), do: Completion.first_number()

  defp far_end(%Message{start_line: %StatusLine{}, headers: headers}), do: headers.to
  defp far_end(%Message{start_line: %RequestLine{}, headers: headers}), do: headers.from

  defp notify_number(%Message{start_line: %RequestLine{}, headers: %{cseq: {number, _method}}}),
    do: number

  defp notify_number(_response), do: nil

  # RFC3261§12.1.2 - of a response in reverse order; of a NOTIFY as it came, §12.1.1
  defp uac_route(%Message{start_line: %StatusLine{}}, route), do: Enum.reverse(route)
  defp uac_route(%Message{start_line: %RequestLine{}}, route), do: route

  # RFC3261§12.1.1 - the Request-URI says so, as TLS alone does not
  defp secure?(%Message{start_line: %RequestLine{request_uri: uri}}), do: uri.scheme == "sips"

  @doc """
  Makes the dialog of the side that got the request, from the request and your response to it, which
  has the To tag (RFC 3261 §12.1.1).

  The dialog is early if the response is one of 101 to 199, and confirmed if it is a 2xx.

  Returns `{:error, response}` with a 400 if the request has no Contact, a Contact that is refused (see
  above), or a malformed Record-Route. Raises `ArgumentError` for any other response.
  """
  @spec uas(Message.request(), Message.response()) :: {:ok, t} | {:error, Message.response()}
  def uas(%Message{start_line: %RequestLine{}} = request, response) do
    with {:ok, route} <- record_route(request),
         {:ok, target} <- Contact.uri(request, secure?(request)) do
      {number, _method} = request.headers.cseq
      dialog = %{of_uas(request, response, target) | remote_seq: number, route_set: route}
      {:ok, pending(dialog, {:received, number, nil})}
    else
      {:error, :malformed_record_route} -> Refusal.bad_header(request, "Record-Route")
      {:error, _contact} -> Refusal.bad_header(request, "Contact")
    end
  end

  defp of_uas(%Message{headers: headers} = request, response, target) do
    %__MODULE__{
      call_id: headers.call_id,
      local_tag: Tag.of(response.headers.to),
      remote_tag: Tag.of(headers.from),
      local: bare(response.headers.to),
      remote: bare(headers.from),
      remote_target: target,
      role: :uas,
      method: request.start_line.method,
      state: own_state(response.start_line.status_code),
      local_contact: Contact.own(response),
      secure?: secure?(request),
      flow: request.source
    }
  end

  defp own_state(status) when status in 101..199, do: :early
  defp own_state(status) when status in 200..299, do: :confirmed

  defp own_state(status),
    do: raise(ArgumentError, "expected a response of 101 to 299, got: #{status}")

  # RFC3261§14.1 - an INVITE is in progress until its final response
  defp pending(%{state: :early, method: :invite} = dialog, pending),
    do: %{dialog | pending: pending}

  defp pending(dialog, _pending), do: dialog

  # RFC3261§12.2.1.1 - the URI and the tag are what From and To have in a dialog
  defp bare({name, uri, params}), do: {name, uri, Map.take(params, ["tag"])}

  # Text is what the parser could not read.
  defp record_route(%Message{headers: %{"Record-Route" => _malformed}}),
    do: {:error, :malformed_record_route}

  defp record_route(%Message{headers: headers}), do: {:ok, Map.get(headers, :record_route, [])}

  ## Requests that you send

  @doc """
  Makes the next request within a dialog (RFC 3261 §12.2.1.1). Returns `{:ok, request, dialog}`, with the
  dialog after the request.

  The request is complete: it has Via with a new branch, From, To, Call-ID, the next CSeq, Max-Forwards
  and Route. An INVITE, UPDATE, SUBSCRIBE, NOTIFY and REFER has your Contact. The stack writes the
  sent-by into the Via when you send the request.

      {:ok, info, dialog} = Sippet.Dialog.next_request(dialog, :info, body: "Signal=5\\r\\n",
        headers: [content_type: {{"application", "dtmf-relay"}, %{}}])

  Returns `{:error, reason}` with

    * `:invite_in_progress` - for an INVITE, if another INVITE of this dialog has no final response yet, in
      either direction (§14.1);
    * `:early` - for a BYE of the called side, if you have not accepted the INVITE: refuse that instead
      (§15);
    * `:terminated` - if the dialog has ended.

  If the far end can be reached only by the connection or the NAT binding that its messages came by (its
  Contact has a host of `.invalid` or the parameter `ob`), and there is no route set, the request's
  `target` is the dialog's `flow`. In other cases you may set it so yourself.

  Not for an ACK or a CANCEL, whose numbers are those of an INVITE: see `build_ack/3` and
  `Sippet.Message.to_cancel/1`.

  Options:

  #{Options.docs(@request_options)}
  """
  @spec next_request(t, Message.method(), keyword) ::
          {:ok, Message.request(), t} | {:error, :invite_in_progress | :early | :terminated}
  def next_request(%__MODULE__{} = dialog, method, options \\ [])
      when method not in [:ack, :cancel] do
    %{headers: headers, body: body} = Options.validate!(options, @request_options)

    with :ok <- allowed(dialog, method) do
      dialog = numbered(dialog, method)
      request = dialog |> request(method, dialog.local_seq) |> Message.put_headers(headers)
      request = put_contact(%{request | body: body}, method, dialog)
      {:ok, request, %{dialog | local_contact: Contact.own(request) || dialog.local_contact}}
    end
  end

  defp allowed(%{state: :terminated}, _method), do: {:error, :terminated}

  defp allowed(%{pending: pending}, :invite) when pending != nil,
    do: {:error, :invite_in_progress}

  defp allowed(%{role: :uas, state: :early}, :bye), do: {:error, :early}
  defp allowed(_dialog, _method), do: :ok

  # RFC3261§8.1.1.5 - any number below 2**31 may be the first
  defp numbered(dialog, method) do
    number = (dialog.local_seq || 0) + 1
    dialog = %{dialog | local_seq: number}
    if method == :invite, do: %{dialog | pending: {:sent, number}}, else: dialog
  end

  # RFC3261§12.2.1.1 - a target refresh request has the Contact, the same as before if nothing else is wanted
  defp put_contact(request, method, %{local_contact: contact})
       when method in @with_contact and contact != nil,
       do: Message.put_new_header(request, :contact, [contact])

  defp put_contact(request, _method, _dialog), do: request

  @doc """
  Makes a request within a dialog once more, with the next CSeq number and a new branch. Returns
  `{:ok, request, dialog}`, and the errors of `next_request/3`.

  Use it for a request that got a challenge, when you have added the credentials, and for a re-INVITE
  that got 491, after `retry_delay/1`. The response that refused the request has gone through
  `receive_response/2` before. The request goes where the dialog leads now.
  """
  @spec renew(t, Message.request()) ::
          {:ok, Message.request(), t} | {:error, :invite_in_progress | :early | :terminated}
  def renew(%__MODULE__{} = dialog, %Message{start_line: %RequestLine{method: method}} = request)
      when method not in [:ack, :cancel] do
    with :ok <- allowed(dialog, method) do
      dialog = numbered(dialog, method)
      next = request(dialog, method, dialog.local_seq)
      more = Map.drop(request.headers, [:route | Map.keys(next.headers)])
      {:ok, %{next | headers: Map.merge(next.headers, more), body: request.body}, dialog}
    end
  end

  @doc """
  Makes the ACK for a 2xx to your INVITE (RFC 3261 §13.2.2.4).

  If the INVITE had credentials, the ACK needs the same: give the INVITE as third argument. Raises
  `ArgumentError` for the response of another dialog, such as that of a fork.

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
  @spec build_ack(t, Message.response(), Message.request() | nil) :: Message.request()
  def build_ack(dialog, response, invite \\ nil)

  def build_ack(
        %__MODULE__{} = dialog,
        %Message{headers: %{cseq: {number, :invite}}} = response,
        invite
      ) do
    unless id(dialog) == id(response),
      do: raise(ArgumentError, "expected a response of the dialog #{inspect(id(dialog))}")

    dialog |> request(:ack, number) |> put_credentials(invite)
  end

  defp put_credentials(ack, nil), do: ack

  defp put_credentials(ack, %Message{headers: headers}),
    do: %{ack | headers: Map.merge(ack.headers, Map.take(headers, @credentials))}

  # RFC3262§3 - the first number is below 2**31
  @largest_first_rseq 0x7FFFFFFF

  @doc """
  Makes a provisional response to the INVITE reliable (RFC 3262 §3): puts `100rel` into its Require, and
  the next RSeq. Returns the response with the dialog after it.

  `Sippet.retransmit_1xx/2` sends it and repeats it. The first RSeq is random.
  """
  @spec put_reliable(t, Message.response()) :: {Message.response(), t}
  def put_reliable(%__MODULE__{local_rseq: last} = dialog, %Message{} = response) do
    rseq = if last, do: last + 1, else: :rand.uniform(@largest_first_rseq)

    response =
      response
      |> Message.put_header(:require, ["100rel" | Message.get_header(response, :require, [])])
      |> Message.put_header("RSeq", [Integer.to_string(rseq)])

    {response, %{dialog | local_rseq: rseq}}
  end

  @doc """
  Makes the PRACK for a reliable provisional response to your INVITE (RFC 3262 §4). Returns
  `{:ok, prack, dialog}`.

  Returns `{:error, reason}` with

    * `:not_reliable` - the response needs no PRACK;
    * `:repeated` - the response came before, and has its PRACK: do nothing;
    * `:out_of_order` - a response before it is missing: do nothing, as both will come again.
  """
  @spec prack(t, Message.response()) ::
          {:ok, Message.request(), t} | {:error, :not_reliable | :repeated | :out_of_order}
  def prack(%__MODULE__{} = dialog, %Message{} = response) do
    with {:ok, rseq, number} <- reliable(response),
         :ok <- in_sequence(rseq, dialog.remote_rseq) do
      rack = "#{rseq} #{number} INVITE"
      {:ok, prack, dialog} = next_request(dialog, :prack, headers: [{"RAck", [rack]}])
      {:ok, prack, %{dialog | remote_rseq: rseq}}
    end
  end

  defp reliable(
         %Message{start_line: %StatusLine{status_code: status}, headers: headers} = response
       )
       when status in 101..199 do
    tags = Message.get_header(response, :require, [])

    with true <- Enum.any?(tags, &(String.downcase(&1, :ascii) == "100rel")),
         {:ok, rseq} when rseq > 0 <- Message.fetch_typed(response, "RSeq"),
         {number, :invite} <- headers.cseq do
      {:ok, rseq, number}
    else
      _unreliable -> {:error, :not_reliable}
    end
  end

  defp reliable(_final), do: {:error, :not_reliable}

  defp in_sequence(_rseq, nil), do: :ok
  defp in_sequence(rseq, last) when rseq == last + 1, do: :ok
  defp in_sequence(rseq, last) when rseq <= last, do: {:error, :repeated}
  defp in_sequence(_rseq, _last), do: {:error, :out_of_order}

  @doc """
  Makes the ACK and the BYE that end the dialog of a 2xx to your INVITE at once.

  Use it for a 2xx that you do not want, such as that of a second fork or of an INVITE that you have
  cancelled, and for one of which `uac/2` makes no dialog. If the 2xx has no Contact that can be used,
  both requests go to the Request-URI of the INVITE, by the flow that the 2xx came by.

      for request <- Tuple.to_list(Sippet.Dialog.hang_up(invite, ok)), do: Sippet.send(stack, request)
  """
  @spec hang_up(Message.request(), Message.response()) :: {Message.request(), Message.request()}
  def hang_up(%Message{start_line: %RequestLine{method: :invite}} = invite, response) do
    {dialog, target} =
      case uac(invite, response) do
        {:ok, dialog} -> {dialog, nil}
        {:error, _reason} -> {of_refused(invite, response), response.source}
      end

    {:ok, bye, _dialog} = dialog |> within(invite) |> next_request(:bye)
    ack = dialog |> within(invite) |> build_ack(response, invite)
    {%{ack | target: target || ack.target}, %{bye | target: target || bye.target}}
  end

  defp of_refused(invite, response) do
    dialog = of_uac(invite, response, invite.start_line.request_uri, :confirmed)

    case {Contact.uri(response, dialog.secure?), record_route(response)} do
      {{:ok, target}, _malformed} -> %{dialog | remote_target: target}
      {_bad, {:ok, route}} -> %{dialog | route_set: Enum.reverse(route)}
      {_bad, _malformed} -> dialog
    end
  end

  # RFC3261§12.2 - a re-INVITE leaves the route set of its dialog, and has it
  defp within(dialog, %Message{headers: %{to: {_name, _uri, %{"tag" => _}}} = headers}),
    do: %{dialog | route_set: Map.get(headers, :route, [])}

  defp within(dialog, _invite), do: dialog

  defp request(dialog, method, number) do
    method
    |> Message.build_request(Route.request_uri(dialog.remote_target))
    |> Message.put_header(:from, dialog.local)
    |> Message.put_header(:to, dialog.remote)
    |> Message.put_header(:call_id, dialog.call_id)
    |> Message.put_header(:cseq, {number, method})
    |> Route.put(dialog.route_set)
    |> put_flow(dialog)
    |> Message.complete()
  end

  # RFC5626§4.3, RFC7118§5 - a Contact that says that there is no other way than the flow
  defp put_flow(request, %{flow: %Flow{} = flow, route_set: [], remote_target: uri}) do
    if Route.invalid_host?(uri) or Route.parameter?(uri, "ob"),
      do: %{request | target: flow},
      else: request
  end

  defp put_flow(request, _dialog), do: request

  ## Messages that you receive

  @doc """
  Takes a request that came within the dialog (RFC 3261 §12.2.2).

  Returns `{:ok, dialog}`, or `{:error, response}` with the response that refuses the request:

    * 481 - the request belongs to another dialog, or the dialog has ended;
    * 500 - its CSeq number is lower than the last one;
    * 491 - it is an INVITE, and an INVITE of yours has no final response yet (§14.2);
    * 500 with a Retry-After of 0 to 10 seconds - it is an INVITE, and you have not answered the one
      before (§14.2). Give `respond/2` each response that you send to an INVITE;
    * 400 - its Contact is refused (see above).

  The Contact of an UPDATE, SUBSCRIBE or NOTIFY becomes the remote target. The Contact of an INVITE
  does so when you accept it: by the 2xx in `respond/2`, or by its ACK. A BYE terminates the dialog.
  """
  @spec receive_request(t, Message.request()) :: {:ok, t} | {:error, Message.response()}
  # RFC3261§9.1 - it has the To of its INVITE, which had no tag
  def receive_request(%__MODULE__{} = dialog, %Message{start_line: %{method: :cancel}}),
    do: {:ok, dialog}

  def receive_request(%__MODULE__{} = dialog, %Message{start_line: %RequestLine{}} = request) do
    if id(dialog) == id(request),
      do: take_request(dialog, request.start_line.method, request),
      else: Refusal.new(request, 481)
  end

  # Its number is that of the INVITE, which counted already.
  defp take_request(dialog, :ack, %Message{headers: %{cseq: {number, _method}}} = ack),
    do: {:ok, dialog |> accepted(number) |> put_source(ack)}

  defp take_request(%{state: :terminated}, _method, request),
    do: Refusal.new(request, 481)

  defp take_request(dialog, method, %Message{headers: %{cseq: {number, _method}}} = request) do
    with :ok <- in_order(dialog, number, request),
         :ok <- one_invite(dialog, method, request),
         {:ok, target} <- new_target(dialog, method, request) do
      dialog = put_source(%{dialog | remote_seq: number}, request)
      {:ok, requested(dialog, method, number, target)}
    else
      {:error, %Message{}} = refused -> refused
      {:error, :bad_contact} -> Refusal.bad_header(request, "Contact")
    end
  end

  defp in_order(%{remote_seq: last}, number, request) when last != nil and number < last,
    do: Refusal.new(request, 500)

  defp in_order(_dialog, _number, _request), do: :ok

  # RFC3261§14.2 - the longest Retry-After, in seconds
  @longest_retry_after 10

  defp one_invite(%{pending: {:sent, _number}}, :invite, request),
    do: Refusal.new(request, 491)

  defp one_invite(%{pending: {:received, _number, _target}}, :invite, request) do
    seconds = :rand.uniform(@longest_retry_after + 1) - 1
    response = Message.to_response(request, 500)
    {:error, Message.put_header(response, :retry_after, {seconds, "", %{}})}
  end

  defp one_invite(_dialog, _method, _request), do: :ok

  defp new_target(dialog, method, message) when method in @target_refresh do
    with {:error, :no_contact} <- Contact.uri(message, dialog.secure?),
         do: {:ok, dialog.remote_target}
  end

  defp new_target(dialog, _method, _message), do: {:ok, dialog.remote_target}

  defp requested(dialog, :invite, number, target),
    do: %{dialog | pending: {:received, number, target}}

  # RFC3261§15.1.2
  defp requested(dialog, :bye, _number, _target), do: %{dialog | state: :terminated}
  defp requested(dialog, _method, _number, target), do: %{dialog | remote_target: target}

  # RFC3261§14.2 - an INVITE that is refused changes nothing, so its Contact waits for the 2xx
  defp accepted(%{pending: {:received, number, target}} = dialog, number),
    do: confirmed(%{dialog | pending: nil, remote_target: target || dialog.remote_target})

  defp accepted(dialog, _number), do: dialog

  defp confirmed(%{state: :early} = dialog), do: %{dialog | state: :confirmed}
  defp confirmed(dialog), do: dialog

  defp put_source(dialog, %Message{source: nil}), do: dialog
  defp put_source(dialog, %Message{source: flow}), do: %{dialog | flow: flow}

  @doc """
  Takes a response to a request that you sent: to the INVITE that made an early dialog, or to a request
  within the dialog (RFC 3261 §12.2.1.2, §13.2.2).

  Returns `{:ok, dialog}`:

    * A 2xx to the INVITE confirms an early dialog. The route set is then that of the 2xx, and the
      sequence numbers stay (§13.2.2.4).
    * The Contact of a 2xx to a target refresh request becomes the remote target; so does the Contact
      of a provisional response in an early dialog.
    * A 300-699 to the INVITE terminates an early dialog, also if another branch of a fork has sent it
      (§13.2.2.3). A re-INVITE that is refused leaves the dialog and its session as they were.
    * 408 and 481 terminate the dialog, whatever the request, and so does a 2xx to BYE.

  Returns `{:error, reason}` if the response belongs to another dialog, or has a Contact or a
  Record-Route that can't be used. A 2xx to INVITE needs its ACK in any case.
  """
  @spec receive_response(t, Message.response()) :: {:ok, t} | {:error, reason}
  def receive_response(%__MODULE__{} = dialog, %Message{start_line: %StatusLine{}} = response) do
    {number, method} = response.headers.cseq
    status = response.start_line.status_code

    if id(dialog) == id(response) or all_forks?(dialog, response) do
      # A request that was made without this value may have a higher one.
      dialog = %{dialog | local_seq: max(dialog.local_seq || number, number)}

      with {:ok, dialog} <- take_response(dialog, status, method, number, response),
           do: {:ok, put_source(dialog, response)}
    else
      {:error, :other_dialog}
    end
  end

  # RFC3261§13.2.2.3 - what refuses an INVITE ends the early dialogs of all its branches, whoever of them has sent it
  defp all_forks?(%{state: :early, pending: {:sent, number}} = dialog, response) do
    {call_id, local_tag, _remote_tag} = id(response)

    response.start_line.status_code >= 300 and response.headers.cseq == {number, :invite} and
      {call_id, local_tag} == {dialog.call_id, dialog.local_tag}
  end

  defp all_forks?(_dialog, _response), do: false

  defp take_response(%{state: :early} = dialog, status, :invite, _number, response)
       when status in 101..199,
       do: refreshed(dialog, :invite, response)

  defp take_response(dialog, status, _method, _number, _response) when status < 200,
    do: {:ok, dialog}

  # RFC3261§13.2.2.4 - the route set is computed anew, and nothing else
  defp take_response(%{state: :early} = dialog, status, :invite, number, response)
       when status < 300 do
    with {:ok, route} <- record_route(response),
         {:ok, dialog} <- refreshed(dialog, :invite, response) do
      dialog = %{dialog | route_set: Enum.reverse(route), state: :confirmed}
      {:ok, finished(dialog, number)}
    end
  end

  defp take_response(dialog, status, :bye, _number, _response) when status < 300,
    do: {:ok, %{dialog | state: :terminated}}

  defp take_response(dialog, status, method, number, response) when status < 300 do
    with {:ok, dialog} <- refreshed(dialog, method, response), do: {:ok, finished(dialog, number)}
  end

  # RFC3261§12.3 - a final response that is no 2xx ends all early dialogs of the INVITE
  defp take_response(
         %{state: :early, pending: {:sent, number}} = dialog,
         _status,
         :invite,
         number,
         _
       ),
       do: {:ok, %{dialog | pending: nil, state: :terminated}}

  # RFC3261§12.2.1.2
  defp take_response(dialog, status, _method, number, _response) when status in [408, 481],
    do: {:ok, finished(%{dialog | state: :terminated}, number)}

  # RFC3261§14.1 - as if the re-INVITE had not been sent
  defp take_response(dialog, _status, _method, number, _response),
    do: {:ok, finished(dialog, number)}

  defp refreshed(dialog, method, message) do
    with {:ok, target} <- new_target(dialog, method, message),
         do: {:ok, %{dialog | remote_target: target}}
  end

  defp finished(%{pending: {:sent, number}} = dialog, number), do: %{dialog | pending: nil}
  defp finished(dialog, _number), do: dialog

  @doc """
  Takes the failure of a request that you sent within the dialog, or of the INVITE that made it.

  A `:timeout` counts as a 408, and terminates the dialog (RFC 3261 §12.2.1.2). Any other reason counts
  as a 503. A BYE that can't be delivered terminates the dialog too (§15.1.1).
  """
  @spec receive_error(t, Message.method(), reason :: term) :: t
  def receive_error(%__MODULE__{} = dialog, method, reason) do
    dialog = if method == :invite, do: without_sent(dialog), else: dialog

    if reason == :timeout or method == :bye or (dialog.state == :early and method == :invite),
      do: %{dialog | state: :terminated},
      else: dialog
  end

  defp without_sent(%{pending: {:sent, _number}} = dialog), do: %{dialog | pending: nil}
  defp without_sent(dialog), do: dialog

  @doc """
  Notes a response that you send within the dialog.

  A 2xx to an INVITE confirms an early dialog, and makes the Contact of a re-INVITE the remote target. A
  300-699 terminates an early dialog, and leaves a confirmed one as it was. Your own Contact becomes
  `local_contact`. Only responses to an INVITE need to be noted.
  """
  @spec respond(t, Message.response()) :: t
  def respond(
        %__MODULE__{} = dialog,
        %Message{start_line: %StatusLine{status_code: status}} = response
      ) do
    case response.headers.cseq do
      {number, :invite} when status in 200..299 ->
        accepted(%{dialog | local_contact: Contact.own(response) || dialog.local_contact}, number)

      {number, :invite} when status >= 300 ->
        refused(dialog, number)

      _other ->
        dialog
    end
  end

  # RFC3261§12.3
  defp refused(%{pending: {:received, number, _target}, state: :early} = dialog, number),
    do: %{dialog | pending: nil, state: :terminated}

  defp refused(%{pending: {:received, number, _target}} = dialog, number),
    do: %{dialog | pending: nil}

  defp refused(dialog, _number), do: dialog

  # RFC3261§14.1 - milliseconds, in steps of 10, for the side that made the Call-ID and for the other
  @owners_delays 210..400
  @others_delays 0..200
  @step 10

  @doc """
  Returns how many milliseconds to wait before a re-INVITE that got 491 is sent again (RFC 3261 §14.1).

  The time is random: 2,100 to 4,000 ms if you made the Call-ID, else 0 to 2,000 ms, in steps of 10 ms.
  """
  @spec retry_delay(t) :: non_neg_integer
  def retry_delay(%__MODULE__{role: :uac}), do: @step * Enum.random(@owners_delays)
  def retry_delay(%__MODULE__{role: :uas}), do: @step * Enum.random(@others_delays)
end
