defmodule Examples.UserAgent do
  @moduledoc """
  A user agent that answers every call: it rings for a while, accepts, takes re-INVITEs, and hangs
  up when it is told to.

  Options: `:name` of the stack, `:address` and `:port` to listen on, `:ring` in milliseconds, and
  `:stack` with more options of the stack (`Sippet`).
  """

  use Supervisor

  alias Examples.UserAgent.{Call, Core}

  def start_link(options), do: Supervisor.start_link(__MODULE__, options)

  @impl true
  def init(options) do
    name = Keyword.fetch!(options, :name)
    udp = [name: name, port: options[:port] || 5060, address: options[:address] || "127.0.0.1"]

    # The calls are last, so that they end first: the stack sends their BYEs before it stops.
    children = [
      {Sippet, [name: name, core: Core] ++ Keyword.get(options, :stack, [])},
      {Sippet.Transports.UDP, udp},
      {DynamicSupervisor,
       name: Call.supervisor(name), extra_arguments: [name, options[:ring] || 1_000]}
    ]

    Supervisor.init(children, strategy: :rest_for_one)
  end
end

defmodule Examples.UserAgent.Core do
  @moduledoc """
  Sorts what comes: to a new call, or to a response. A call gets its own requests by itself.
  """

  use Sippet.Core

  alias Examples.UserAgent.Call
  alias Sippet.{Message, UAS}

  @capabilities [
    allow: ["INVITE", "ACK", "CANCEL", "BYE", "OPTIONS"],
    accept: [{"application", "sdp"}]
  ]

  # RFC3261§9.2 - the CANCEL of an INVITE that no call has yet. The call will ask
  # `Sippet.cancelled?/2`.
  @impl true
  def receive_request(%Message{start_line: %{method: :cancel}} = cancel, _key, stack),
    do: Sippet.send(stack, Message.to_response(cancel, 200))

  # The ACK of a call that is over.
  def receive_request(_ack, nil, _stack), do: :ok

  def receive_request(request, key, stack) do
    with :ok <- validate(request), :ok <- take(request, key, stack) do
      :ok
    else
      {:error, response} -> Sippet.reply(stack, response)
    end
  end

  # Of a BYE whose call is over.
  @impl true
  def receive_response(_response, _key, _stack), do: :ok

  @impl true
  def receive_error(_reason, _key, _stack), do: :ok

  @doc "What is checked first, of a request within a call too."
  def validate(request), do: UAS.validate(request, @capabilities)

  @doc "What this user agent can do (RFC 3261 §11.2, §13.3.1.4)."
  def put_capabilities(response), do: UAS.put_capabilities(response, @capabilities)

  # RFC3261§12.2.2 - a To tag says that the request belongs to a dialog: its call would have it
  defp take(%Message{headers: %{to: {_name, _uri, %{"tag" => _}}}} = request, _key, _stack),
    do: {:error, Message.to_response(request, 481)}

  defp take(%Message{start_line: %{method: :invite}} = invite, key, stack) do
    # RFC3261§8.2.2.2 - the same request by another path
    if Sippet.merged?(stack, invite),
      do: {:error, Message.to_response(invite, 482)},
      else: Call.start(stack, key, invite)
  end

  defp take(%Message{start_line: %{method: :options}} = options, _key, stack),
    do: Sippet.send(stack, options |> Message.to_response(200) |> put_capabilities())

  defp take(request, _key, _stack), do: {:error, Message.to_response(request, 481)}
end

defmodule Examples.UserAgent.Call do
  @moduledoc """
  One call, from its INVITE to its BYE: a process that owns the INVITE and the dialog.

  If it ends before the call, the stack answers the INVITE or sends the BYE.
  """

  use GenServer, restart: :temporary

  alias Examples.UserAgent.Core
  alias Sippet.{Dialog, Message}

  @sdp """
  v=0\r
  o=- 1 1 IN IP4 127.0.0.1\r
  s=-\r
  c=IN IP4 127.0.0.1\r
  t=0 0\r
  m=audio 9 RTP/AVP 0\r
  """

  def supervisor(stack), do: Module.concat(stack, CallSupervisor)

  def start(stack, key, invite) do
    DynamicSupervisor.start_child(supervisor(stack), {__MODULE__, {key, invite}})
    :ok
  end

  def start_link(stack, ring, {key, invite}),
    do: GenServer.start_link(__MODULE__, {stack, ring, key, invite})

  @impl true
  def init({stack, ring, key, invite}) do
    ringing = put_contact(Message.to_response(invite, 180), stack)

    with :ok <- Sippet.controlling_process(stack, key, self()),
         {:ok, dialog} <- Dialog.uas(invite, ringing),
         :ok <- Sippet.controlling_process(stack, dialog, self()),
         false <- Sippet.cancelled?(stack, key) do
      Sippet.send(stack, ringing)
      Sippet.send_after(stack, self(), :answer, ring)
      {:ok, %{stack: stack, invite: invite, dialog: dialog}}
    else
      # RFC3261§9.2 - the CANCEL was faster
      true -> ignore(stack, Message.to_response(invite, 487))
      {:error, %Message{} = response} -> ignore(stack, response)
      {:error, :no_transaction} -> :ignore
    end
  end

  defp ignore(stack, response) do
    Sippet.send(stack, response)
    :ignore
  end

  @impl true
  def handle_info(:answer, call), do: {:noreply, accept(call.invite, call)}

  def handle_info({:sippet, stack, _key, {:request, request}}, call) do
    with :ok <- Core.validate(request),
         {:ok, dialog} <- Dialog.receive_request(call.dialog, request) do
      take(request.start_line.method, request, %{call | dialog: dialog})
    else
      {:error, response} ->
        Sippet.send(stack, response)
        {:noreply, call}
    end
  end

  # RFC3261§13.3.1.4 - without its ACK a call is over
  def handle_info({:sippet, stack, _key, {:error, :no_ack}}, call) do
    {:ok, bye, _dialog} = Dialog.next_request(call.dialog, :bye)
    Sippet.send(stack, bye)
    {:stop, :normal, call}
  end

  def handle_info({:sippet, _stack, _key, _event}, call), do: {:noreply, call}

  # RFC3261§9.2 - a CANCEL that comes after the answer changes nothing
  defp take(:cancel, cancel, call) do
    reply(call, cancel, 200)
    if call.dialog.state == :early, do: give_up(call), else: {:noreply, call}
  end

  defp take(:ack, _ack, call), do: {:noreply, call}

  # RFC3261§15.1.2 - the BYE is answered, and so is an INVITE that still waits
  defp take(:bye, bye, call) do
    reply(call, bye, 200)
    give_up(call)
  end

  defp take(:invite, reinvite, call), do: {:noreply, accept(reinvite, call)}

  defp take(_other, request, call) do
    reply(call, request, 200)
    {:noreply, call}
  end

  # The INVITE may have its 2xx, and then goes without a second answer.
  defp give_up(call) do
    reply(call, call.invite, 487)
    {:stop, :normal, call}
  end

  defp accept(invite, %{stack: stack} = call) do
    response =
      invite
      |> Message.to_response(200)
      |> put_contact(stack)
      |> Core.put_capabilities()
      |> Message.put_header(:content_type, {{"application", "sdp"}, %{}})

    response = %{response | body: @sdp}
    Sippet.send(stack, response)
    # RFC3261§13.3.1.4 - the 2xx is repeated until the ACK comes
    Sippet.retransmit_2xx(stack, response)
    %{call | dialog: Dialog.respond(call.dialog, response)}
  end

  defp reply(%{stack: stack}, request, status),
    do: Sippet.send(stack, Message.to_response(request, status))

  defp put_contact(response, stack) do
    {_name, uri, _params} = response.headers.to
    Message.put_header(response, :contact, [{"", Sippet.own_uri(stack, user: uri.userinfo), %{}}])
  end
end
