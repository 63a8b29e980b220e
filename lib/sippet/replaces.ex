defmodule Sippet.Replaces do
  @moduledoc """
  The Replaces header: an INVITE that takes the place of a call (RFC 3891).

      case Sippet.Replaces.find(invite, dialogs) do
        :none -> ring(invite)
        {:ok, dialog} -> answer_instead_of(dialog, invite)
        {:error, response} -> Sippet.send(stack, response)
      end

  An attended transfer needs it, and so does a phone that picks up a call of another one. The header names
  a dialog of the user agent that gets the INVITE. If that dialog is confirmed, the user agent answers the
  INVITE with 200, and ends the dialog by a BYE. If it is early, and its INVITE was sent by this user agent,
  it cancels that one. Both sides list `replaces` in Supported.

  Who sends such an INVITE writes the header by `put/3`:

      invite = Sippet.Replaces.put(invite, dialog)

  `dialog` is yours with the user agent that gets the INVITE. In an attended transfer somebody else sends
  the INVITE: write the header into the URI of Refer-To, by `put_uri/3`.
  """

  alias Sippet.{Dialog, Message, UAS, URI}
  alias Sippet.Message.{Refusal, RequestLine}

  @type option :: {:early_only, boolean}

  @doc """
  Puts Replaces into an INVITE to the far end of a dialog, in place of that dialog. Also puts `replaces` into
  Require, so that the call is refused by whoever does not know the header.

  With `early_only: true` the INVITE is refused if the dialog has been confirmed (§3).

      iex> dialog = %Sippet.Dialog{
      ...>   state: :confirmed, role: :uac, method: :invite, call_id: "98732@sip.example.com", local_tag: "r33th4x0r",
      ...>   remote_tag: "ff87ff", local: nil, remote: nil, remote_target: Sippet.URI.parse!("sip:bob@192.0.2.4")
      ...> }
      iex> invite = Sippet.Replaces.put(Sippet.Message.build_request(:invite, "sip:bob@192.0.2.4"), dialog)
      iex> {invite.headers["Replaces"], invite.headers.require}
      {["98732@sip.example.com;to-tag=ff87ff;from-tag=r33th4x0r"], ["replaces"]}
  """
  @spec put(Message.request(), Dialog.t(), [option]) :: Message.request()
  def put(%Message{start_line: %RequestLine{}} = invite, %Dialog{} = dialog, options \\ []) do
    invite
    |> Message.put_header("Replaces", [value(dialog, options)])
    |> UAS.put_extension(:require, "replaces")
  end

  # Text, as the Call-ID of the far end may break the grammar. The header has the view of whoever
  # gets it: RFC3891§3.
  defp value(dialog, options) do
    early_only = if options[:early_only], do: ";early-only", else: ""

    "#{dialog.call_id};to-tag=#{tag(dialog.remote_tag)};from-tag=#{tag(dialog.local_tag)}" <>
      early_only
  end

  # RFC3891§3 - a side of RFC 2543 has none
  defp tag(nil), do: "0"
  defp tag(tag), do: tag

  @doc """
  Puts Replaces into a URI, for a Refer-To (RFC 3515, RFC 5589 §7): whoever calls the URI takes the place of your
  side of the dialog. Other headers of the URI stay.

      iex> dialog = %Sippet.Dialog{
      ...>   state: :confirmed, role: :uac, method: :invite, call_id: "a84b4c", local_tag: "88",
      ...>   remote_tag: "12", local: nil, remote: nil, remote_target: Sippet.URI.parse!("sip:carol@192.0.2.5")
      ...> }
      iex> to_string(Sippet.Replaces.put_uri(dialog.remote_target, dialog))
      "sip:carol@192.0.2.5?Replaces=a84b4c%3Bto-tag%3D12%3Bfrom-tag%3D88"
  """
  @spec put_uri(URI.t(), Dialog.t(), [option]) :: URI.t()
  def put_uri(%URI{} = uri, %Dialog{} = dialog, options \\ []) do
    "?" <> replaces = URI.encode_headers([{"Replaces", value(dialog, options)}])

    headers =
      if uri.headers in [nil, ""], do: "?" <> replaces, else: uri.headers <> "&" <> replaces

    %{uri | headers: headers}
  end

  @doc """
  Returns the ID that a request's Replaces names, `{:ok, id}`, as `Sippet.Dialog.id/1` returns it for that dialog
  of yours.

  Returns `:none` if the request has no Replaces, and `{:error, response}` with a 400 if the header is
  malformed, lacks a tag, stands there twice, or in a request that is no INVITE (§3).
  """
  @spec dialog_id(Message.request()) :: {:ok, Dialog.id()} | :none | {:error, Message.response()}
  def dialog_id(%Message{start_line: %RequestLine{method: method}} = request) do
    case Message.fetch_typed(request, "Replaces") do
      :error ->
        :none

      {:ok, {call_id, %{"to-tag" => to, "from-tag" => from}}}
      when method == :invite and to != "" and from != "" ->
        {:ok, {call_id, to, from}}

      _malformed ->
        Refusal.bad_header(request, "Replaces")
    end
  end

  @doc """
  Finds the dialog that an INVITE replaces among yours (§3).

  Returns `{:ok, dialog}`, `:none` if the request has no Replaces, or `{:error, response}` with

    * 400 - see `dialog_id/1`;
    * 481 - none of the dialogs is meant, it is not that of an INVITE, or it is early and its INVITE came
      from the far end: that one can only be answered;
    * 486 - the dialog is confirmed, and the header says `early-only`;
    * 603 - the dialog has ended.

  `dialogs` is a list, or any other enumerable. Keep the dialogs by their ID if you have many, and give the one
  that `dialog_id/1` names.
  """
  @spec find(Message.request(), Enumerable.t()) ::
          {:ok, Dialog.t()} | :none | {:error, Message.response()}
  def find(%Message{} = request, dialogs) do
    with {:ok, id} <- dialog_id(request) do
      case Enum.find(dialogs, &(&1.method == :invite and named?(&1, id))) do
        nil ->
          Refusal.new(request, 481)

        %{state: :terminated} ->
          Refusal.new(request, 603)

        %{state: :early, role: :uas} ->
          Refusal.new(request, 481)

        %{state: :confirmed} = dialog ->
          if early_only?(request), do: Refusal.new(request, 486), else: {:ok, dialog}

        %{state: :early} = dialog ->
          {:ok, dialog}
      end
    end
  end

  defp named?(dialog, {call_id, local, remote}) do
    dialog.call_id == call_id and tag(dialog.local_tag) == local and
      tag(dialog.remote_tag) == remote
  end

  defp early_only?(request) do
    {:ok, {_call_id, params}} = Message.fetch_typed(request, "Replaces")
    is_map_key(params, "early-only")
  end
end
