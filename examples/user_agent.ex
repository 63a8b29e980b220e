defmodule Examples.UserAgent do
  @moduledoc """
  A user agent that answers every call: it rings for a while, accepts, takes re-INVITEs, and hangs up when it is told to.

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

    children = [
      {DynamicSupervisor,
       name: Call.supervisor(name), extra_arguments: [name, options[:ring] || 1_000]},
      {Sippet, [name: name, core: Core] ++ Keyword.get(options, :stack, [])},
      {Sippet.Transports.UDP, udp}
    ]

    Supervisor.init(children, strategy: :rest_for_one)
  end
end

defmodule Examples.UserAgent.Core do
  @moduledoc """
  Sorts what comes: to a call, to a new call, or to an answer that needs none.
  """

  use Sippet.Core

  alias Examples.UserAgent.Call
  alias Sippet.{Dialog, Message, UAS}

  @allow ["INVITE", "ACK", "CANCEL", "BYE", "OPTIONS"]
  @understood [allow: @allow, accept: [{"application", "sdp"}]]

  # RFC3261§9.2 - here comes the CANCEL of an INVITE that no call has yet. The stack has answered 481 where there is none.
  @impl true
  def receive_request(%Message{start_line: %{method: :cancel}} = cancel, _key, stack),
    do: Sippet.send(stack, Message.to_response(cancel, 200))

  def receive_request(request, key, stack) do
    with :ok <- validate(request),
         {:error, response} <- take(request, key, stack) do
      answer(response, key, stack)
    else
      :ok -> :ok
      {:error, response} -> answer(response, key, stack)
    end
  end

  @doc "What is checked first, of a request within a call too."
  def validate(request), do: UAS.validate(request, @understood)

  # The far end wants a BYE answered, and no more.
  @impl true
  def receive_response(_response, _key, _stack), do: :ok

  @impl true
  def receive_error(_reason, _key, _stack), do: :ok

  # RFC3261§12.2.2 - a To tag says that the request belongs to a dialog: its call would have got it
  defp take(%Message{headers: %{to: {_name, _uri, %{"tag" => _}}}} = request, _key, _stack),
    do: {:error, Message.to_response(request, 481)}

  defp take(%Message{start_line: %{method: :invite}} = invite, key, stack) do
    # RFC3261§8.2.2.2 - the same request by another path
    if Sippet.merged?(stack, invite),
      do: {:error, Message.to_response(invite, 482)},
      else: Call.start(stack, key, invite)
  end

  defp take(%Message{start_line: %{method: :options}} = options, _key, stack) do
    response =
      options
      |> Message.to_response(200)
      |> Message.put_header(:allow, @allow)
      |> Message.put_header(:accept, [{{"application", "sdp"}, %{}}])

    Sippet.send(stack, response)
  end

  defp take(request, _key, _stack), do: {:error, Message.to_response(request, 481)}

  # An ACK has no key, and is not answered.
  defp answer(_response, nil, _stack), do: :ok
  defp answer(response, _key, stack), do: Sippet.reply(stack, response)
end

defmodule Examples.UserAgent.Call do
  @moduledoc """
  One call, from its INVITE to its BYE: a process that owns the INVITE and the dialog.
  """

  use GenServer, restart: :temporary

  alias Examples.UserAgent.Core
  alias Sippet.{Dialog, Message, URI}
  alias Sippet.Transports.UDP

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
      Process.send_after(self(), :answer, ring)
      {:ok, %{stack: stack, invite: invite, dialog: dialog, answered?: false}}
    else
      # RFC3261§9.2 - the CANCEL was faster
      true ->
        reply(stack, invite, 487)
        :ignore

      {:error, reason} ->
        Sippet.send(stack, Message.to_response(invite, 400, "Bad Request (#{reason})"))
        :ignore
    end
  end

  @impl true
  def handle_info(:answer, call) do
    accept(call.invite, call.stack)
    {:noreply, %{call | answered?: true}}
  end

  def handle_info({:sippet, stack, key, {:request, request}}, %{stack: stack} = call) do
    with :ok <- Core.validate(request),
         {:ok, dialog} <- Dialog.receive_request(call.dialog, request) do
      take(request.start_line.method, request, key, %{call | dialog: dialog})
    else
      {:error, response} ->
        Sippet.send(call.stack, response)
        {:noreply, call}
    end
  end

  # RFC3261§13.3.1.4 - without its ACK a call is over
  def handle_info({:sippet, stack, _key, {:error, :no_ack}}, %{stack: stack} = call) do
    {bye, dialog} = Dialog.build_request(call.dialog, :bye)
    {:ok, {ip, port}} = UDP.sockname(stack)
    via = {{2, 0}, :udp, {text(ip), port}, %{"branch" => Message.create_branch(), "rport" => ""}}
    Sippet.send(stack, Message.put_header(bye, :via, [via]))
    {:stop, :normal, %{call | dialog: dialog}}
  end

  def handle_info({:sippet, _stack, _key, _event}, call), do: {:noreply, call}

  # RFC3261§9.2 - a CANCEL that comes after the answer changes nothing
  defp take(:cancel, cancel, _key, call) do
    reply(call.stack, cancel, 200)

    if call.answered? do
      {:noreply, call}
    else
      reply(call.stack, call.invite, 487)
      {:stop, :normal, call}
    end
  end

  defp take(:ack, _ack, _key, call), do: {:noreply, call}

  # RFC3261§15.1.2 - the BYE is answered, and so is an INVITE that still waits
  defp take(:bye, bye, _key, call) do
    reply(call.stack, bye, 200)
    unless call.answered?, do: reply(call.stack, call.invite, 487)
    {:stop, :normal, call}
  end

  # RFC3261§14.2 - one INVITE at a time
  defp take(:invite, invite, _key, %{answered?: false} = call) do
    busy = Message.to_response(invite, 500)

    Sippet.send(
      call.stack,
      Message.put_header(busy, :retry_after, {:rand.uniform(11) - 1, "", %{}})
    )

    {:noreply, call}
  end

  defp take(:invite, invite, _key, call) do
    accept(invite, call.stack)
    {:noreply, call}
  end

  defp take(_other, request, _key, call) do
    reply(call.stack, request, 200)
    {:noreply, call}
  end

  defp accept(invite, stack) do
    response =
      invite
      |> Message.to_response(200)
      |> put_contact(stack)
      |> Message.put_header(:content_type, {{"application", "sdp"}, %{}})

    response = %{response | body: @sdp}
    Sippet.send(stack, response)
    # RFC3261§13.3.1.4 - the 2xx is repeated until the ACK comes
    Sippet.retransmit_2xx(stack, response)
  end

  defp reply(stack, request, status), do: Sippet.send(stack, Message.to_response(request, status))

  defp put_contact(response, stack) do
    {_name, uri, _params} = response.headers.to
    {:ok, {ip, port}} = UDP.sockname(stack)
    contact = %URI{scheme: "sip", userinfo: uri.userinfo, host: text(ip), port: port}
    Message.put_header(response, :contact, [{"", contact, %{}}])
  end

  defp text(ip), do: ip |> :inet.ntoa() |> List.to_string()
end
