defmodule Examples.Echo do
  @moduledoc """
  A user agent that answers every call and sends the caller's voice back.

  It takes G.711 (RFC 3551), re-INVITE and UPDATE, is silent on hold, and keeps a session timer
  (RFC 4028): a phone that has lost its power is hung up on.

  Options:

    * `:name` - the name of the stack, an atom; required
    * `:address`, `:port` - where it listens, by UDP ("127.0.0.1", 5060)
    * `:max_calls` - the most calls at a time; a further one gets 486 (100)
    * `:session_expires` - the session interval, in seconds (1,800)
    * `:stack` - more options of the stack (`Sippet`)

  Another application answers a call so by `Examples.Echo.Call.receive_request/3`, and has the
  calls among its children by `Examples.Echo.Call.supervisor/2`.
  """

  use Supervisor

  alias Examples.Echo.{Call, Core}

  def start_link(options), do: Supervisor.start_link(__MODULE__, options)

  @impl true
  def init(options) do
    name = Keyword.fetch!(options, :name)
    address = options[:address] || "127.0.0.1"
    calls = [address: address] ++ Keyword.take(options, [:max_calls, :session_expires])

    # The calls are last, so that they end first: the stack sends their BYEs before it stops.
    children = [
      {Sippet, [name: name, core: Core] ++ Keyword.get(options, :stack, [])},
      {Sippet.Transports.UDP, name: name, port: options[:port] || 5060, address: address},
      Call.supervisor(name, calls)
    ]

    Supervisor.init(children, strategy: :rest_for_one)
  end
end

defmodule Examples.Echo.Core do
  @moduledoc """
  Every request is for the echo; a call gets its own by itself.
  """

  use Sippet.Core

  alias Examples.Echo.Call
  alias Sippet.Message

  # RFC3261§9.2 - the CANCEL of an INVITE that no call has yet. It asks `Sippet.cancelled?/2`.
  @impl true
  def receive_request(%Message{start_line: %{method: :cancel}} = cancel, _key, stack),
    do: Sippet.send(stack, Message.to_response(cancel, 200))

  def receive_request(request, key, stack) do
    with {:error, response} <- Call.receive_request(stack, key, request),
         do: Sippet.reply(stack, response)
  end

  # Of a request whose call is over.
  @impl true
  def receive_response(_response, _key, _stack), do: :ok

  @impl true
  def receive_error(_reason, _key, _stack), do: :ok
end

defmodule Examples.Echo.Call do
  @moduledoc """
  One call to `echo`, from its INVITE to its BYE: a process that owns the INVITE, the dialog and
  the session timer. If it ends before the call, the stack sends the BYE.
  """

  use GenServer, restart: :temporary

  alias Examples.Echo.{RTP, SDP}
  alias Sippet.{Dialog, Message, SessionTimer, UAS}

  @capabilities [
    allow: ["INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "UPDATE"],
    accept: [{"application", "sdp"}],
    supported: ["timer"]
  ]

  @doc "The name of the supervisor of a stack's calls."
  def supervisor(stack), do: Module.concat(stack, CallSupervisor)

  @doc """
  The child that has the calls of a stack. Options: `:address`, `:max_calls` and
  `:session_expires`, as those of `Examples.Echo`.
  """
  def supervisor(stack, options) do
    config = %{
      stack: stack,
      address: options[:address] || "127.0.0.1",
      session_expires: options[:session_expires] || 1_800
    }

    {DynamicSupervisor,
     name: supervisor(stack), max_children: options[:max_calls] || 100, extra_arguments: [config]}
  end

  @doc "Answers an OPTIONS: what it can do (RFC 3261 §11.2)."
  def reply(stack, request) do
    response = Message.to_response(request, 200)
    Sippet.send(stack, UAS.put_capabilities(response, @capabilities))
  end

  @doc """
  Takes a request that no call has got by itself. An INVITE starts one.

  Returns `{:error, response}` if the request is refused.
  """
  # RFC3261§17.1.1.3 - nothing is answered to an ACK
  def receive_request(_stack, nil, _ack), do: :ok

  def receive_request(stack, key, %Message{start_line: %{method: method}} = request) do
    with :ok <- UAS.validate(request, @capabilities) do
      cond do
        # RFC3261§12.2.2 - the call of its dialog would have got it
        Dialog.within?(request) -> {:error, Message.to_response(request, 481)}
        method == :options -> reply(stack, request)
        method != :invite -> {:error, Message.to_response(request, 481)}
        # RFC3261§8.2.2.2 - the same request by another path
        Sippet.merged?(stack, request) -> {:error, Message.to_response(request, 482)}
        true -> start(stack, key, request)
      end
    end
  end

  defp start(stack, key, invite) do
    case DynamicSupervisor.start_child(supervisor(stack), {__MODULE__, {key, invite}}) do
      {:error, :max_children} -> {:error, Message.to_response(invite, 486)}
      _started -> :ok
    end
  end

  def start_link(config, {key, invite}),
    do: GenServer.start_link(__MODULE__, {config, key, invite})

  @impl true
  def init({%{stack: stack} = config, key, invite}) do
    timer = SessionTimer.new(session_expires: config.session_expires)
    {:ok, echo, port} = RTP.start_link(config.address)

    call = %{
      stack: stack,
      dialog: nil,
      timer: timer,
      echo: echo,
      port: port,
      sdp: nil,
      version: 0
    }

    # It owns both before it sends: a BYE may come as soon as the caller hears the 200.
    with :ok <- Sippet.controlling_process(stack, key, self()),
         false <- Sippet.cancelled?(stack, key),
         {:ok, ok, call} <- answer(invite, call),
         {:ok, dialog} <- Dialog.uas(invite, ok),
         :ok <- Sippet.controlling_process(stack, dialog, self()) do
      {:ok, call |> send_answer(ok, dialog) |> schedule()}
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
  def handle_info({:sippet, stack, _key, {:request, request}}, call) do
    with :ok <- UAS.validate(request, @capabilities),
         {:ok, dialog} <- Dialog.receive_request(call.dialog, request) do
      take(request.start_line.method, request, %{call | dialog: dialog})
    else
      {:error, response} ->
        Sippet.send(stack, response)
        {:noreply, call}
    end
  end

  def handle_info({:sippet, stack, _key, {:response, response}}, call) do
    case Dialog.receive_response(call.dialog, response) do
      {:ok, %{state: :terminated}} -> {:stop, :normal, call}
      {:ok, dialog} -> refreshed(response, %{call | dialog: dialog}, stack)
      {:error, _reason} -> {:noreply, call}
    end
  end

  # RFC3261§13.3.1.4, RFC4028§10 - the call is over, and the stack sends its BYE
  def handle_info({:sippet, _stack, _key, {:error, _reason}}, call), do: {:stop, :normal, call}

  def handle_info(:session_timer, call) do
    case SessionTimer.next(call.timer, now()) do
      {:refresh, method, 0} -> {:noreply, refresh(method, call)}
      {:hang_up, 0} -> {:stop, :normal, call}
      # An earlier message than that of the last refresh.
      _later -> {:noreply, call}
    end
  end

  defp take(:ack, _ack, call), do: {:noreply, call}

  defp take(:bye, bye, call) do
    Sippet.send(call.stack, Message.to_response(bye, 200))
    {:stop, :normal, call}
  end

  defp take(method, request, call) when method in [:invite, :update] do
    case answer(request, call) do
      {:ok, ok, call} ->
        {:noreply, call |> send_answer(ok, call.dialog) |> schedule()}

      {:error, refused} ->
        Sippet.send(call.stack, refused)
        {:noreply, %{call | dialog: Dialog.respond(call.dialog, refused)}}
    end
  end

  # OPTIONS, or a CANCEL that came too late.
  defp take(_other, request, call) do
    reply(call.stack, request)
    {:noreply, call}
  end

  # The 200 to an INVITE or an UPDATE, or what refuses it.
  defp answer(request, %{stack: stack} = call) do
    own = Sippet.own_uri(stack, user: "echo", flow: request.source)

    with :ok <- SessionTimer.receive_request(call.timer, request),
         {:ok, sdp, call} <- describe(request, own.host, call) do
      ok =
        request
        |> Message.to_response(200)
        |> UAS.put_capabilities(@capabilities)
        |> Message.put_header(:contact, [{"", own, %{}}])
        |> put_sdp(sdp)

      {ok, timer} = SessionTimer.put_response(call.timer, request, ok, now())
      {:ok, ok, %{call | timer: timer}}
    end
  end

  # RFC3311§5.1 - an UPDATE may come without an offer
  defp describe(%Message{start_line: %{method: :update}, body: body}, _host, call)
       when body in [nil, ""],
       do: {:ok, nil, call}

  defp describe(request, host, %{version: version} = call) do
    case SDP.answer(request.body, host, call.port, version) do
      {:ok, sdp, echo?} ->
        RTP.open(call.echo, echo?)
        {:ok, sdp, %{call | sdp: sdp, version: version + 1}}

      :error ->
        {:error, Message.to_response(request, 488)}
    end
  end

  defp put_sdp(message, nil), do: message

  defp put_sdp(message, sdp) do
    message = Message.put_header(message, :content_type, {{"application", "sdp"}, %{}})
    %{message | body: sdp}
  end

  defp send_answer(%{stack: stack} = call, ok, dialog) do
    Sippet.send(stack, ok)
    # RFC3261§13.3.1.4 - the 2xx to an INVITE is repeated until the ACK comes
    if match?({_number, :invite}, ok.headers.cseq), do: Sippet.retransmit_2xx(stack, ok)
    %{call | dialog: Dialog.respond(dialog, ok)}
  end

  ## The session timer

  defp refresh(method, call) do
    {:ok, request, dialog} = Dialog.next_request(call.dialog, method)
    request = if method == :invite, do: put_sdp(request, call.sdp), else: request
    {request, timer} = SessionTimer.put_request(call.timer, request)
    Sippet.send(call.stack, request, owner: self())
    schedule(%{call | dialog: dialog, timer: timer})
  end

  defp refreshed(%{start_line: %{status_code: status}} = response, call, stack) do
    if match?({_number, :invite}, response.headers.cseq) and status in 200..299,
      do: Sippet.send(stack, Dialog.build_ack(call.dialog, response))

    case SessionTimer.receive_response(call.timer, response, now()) do
      {:ok, timer} -> {:noreply, schedule(%{call | timer: timer})}
      # A 422: once more, with the longer interval.
      {:retry, timer} -> {:noreply, refresh(timer.method, %{call | timer: timer})}
      {:error, :too_short} -> {:stop, :normal, call}
    end
  end

  defp schedule(call) do
    case SessionTimer.next(call.timer, now()) do
      :never -> :ok
      {:refresh, _method, ms} -> Process.send_after(self(), :session_timer, ms)
      {:hang_up, ms} -> Process.send_after(self(), :session_timer, ms)
    end

    call
  end

  defp now, do: System.monotonic_time(:millisecond)
end

defmodule Examples.Echo.SDP do
  @moduledoc """
  Answers an offer with one stream of G.711 (RFC 3264).
  """

  # PCMU and PCMA (RFC 3551 §6).
  @codecs ["0", "8"]

  @doc """
  Returns `{:ok, answer, echo?}`: `echo?` is whether the far end wants to hear something. Returns
  `:error` if there is no common codec. Without an offer the answer is an offer.
  """
  def answer(none, host, port, version) when none in [nil, ""],
    do: {:ok, session(host, version, [audio(port, @codecs, "sendrecv")]), true}

  def answer(offer, host, port, version) do
    [session | media] = String.split(offer, ~r/\r?\n(?=m=)/)

    lines =
      for section <- media, do: {section, String.split(hd(String.split(section, ["\r", "\n"])))}

    case Enum.find_index(lines, fn {_section, words} -> common(words) != [] end) do
      nil ->
        :error

      taken ->
        {section, words} = Enum.at(lines, taken)
        direction = mirror(direction(section, session), held?(section, session))
        answers = for {_section, words} <- lines, do: refused(words)
        answers = List.replace_at(answers, taken, audio(port, common(words), direction))
        {:ok, session(host, version, answers), direction in ["sendrecv", "sendonly"]}
    end
  end

  defp common(["m=audio", port, "RTP/AVP" | formats]) when port != "0",
    do: Enum.filter(formats, &(&1 in @codecs))

  defp common(_words), do: []

  defp direction(section, session),
    do: of_stream(~r/^a=(sendrecv|sendonly|recvonly|inactive)\r?$/m, section, session)

  # RFC3264§8.4 - as RFC 2543 puts a stream on hold: the far end can hear nothing
  defp held?(section, session),
    do: of_stream(~r/^c=IN IP4 (\S+)/m, section, session) == "0.0.0.0"

  # A line of the stream, or that of the session for all streams.
  defp of_stream(pattern, section, session) do
    with [_all, value] <- Regex.run(pattern, section) || Regex.run(pattern, session), do: value
  end

  # RFC3264§6.1
  defp mirror("inactive", _held?), do: "inactive"
  defp mirror("recvonly", held?), do: if(held?, do: "inactive", else: "sendonly")
  defp mirror("sendonly", _held?), do: "recvonly"
  defp mirror(_both_or_none, held?), do: if(held?, do: "recvonly", else: "sendrecv")

  # RFC3264§6 - each stream of the offer has one in the answer, in the same order; one that is
  # refused has the port 0
  defp refused([type, _port | rest]), do: Enum.join([type, "0" | rest], " ") <> "\r\n"
  defp refused(malformed), do: Enum.join(malformed, " ") <> "\r\n"

  defp audio(port, formats, direction),
    do: "m=audio #{port} RTP/AVP #{Enum.join(formats, " ")}\r\na=#{direction}\r\n"

  defp session(host, version, media) do
    family = if String.contains?(host, ":"), do: "IP6", else: "IP4"
    address = "#{family} #{String.trim(host, "[") |> String.trim("]")}"

    "v=0\r\no=- 1 #{version} IN #{address}\r\ns=-\r\nc=IN #{address}\r\nt=0 0\r\n" <>
      Enum.join(media)
  end
end

defmodule Examples.Echo.RTP do
  @moduledoc """
  Sends each RTP packet back to where it came from. It ends with the process that started it.

  It listens to one source: the first one that sends since `open/2`. So it works for a phone
  behind a NAT, and nobody else can speak in between.
  """

  use GenServer

  @doc "Returns `{:ok, echo, port}`."
  def start_link(address) do
    with {:ok, echo} <- GenServer.start_link(__MODULE__, {address, self()}),
         do: {:ok, echo, GenServer.call(echo, :port)}
  end

  @doc "Begins anew, after an offer. Without `echo?`, as on hold, it is silent."
  def open(echo, echo?), do: GenServer.cast(echo, {:open, echo?})

  @impl true
  def init({address, owner}) do
    Process.monitor(owner)
    {:ok, ip} = :inet.parse_address(String.to_charlist(address))
    family = if tuple_size(ip) == 8, do: :inet6, else: :inet

    with {:ok, socket} <- :gen_udp.open(0, [:binary, family, ip: ip, active: :once]),
         do: {:ok, %{socket: socket, source: nil, echo?: false}}
  end

  @impl true
  def handle_call(:port, _from, state), do: {:reply, elem(:inet.port(state.socket), 1), state}

  @impl true
  def handle_cast({:open, echo?}, state), do: {:noreply, %{state | echo?: echo?, source: nil}}

  @impl true
  def handle_info({:udp, socket, ip, port, packet}, state) do
    :inet.setopts(socket, active: :once)
    source = state.source || {ip, port}

    if state.echo? and source == {ip, port},
      do: :gen_udp.send(socket, ip, port, packet)

    {:noreply, %{state | source: source}}
  end

  def handle_info({:DOWN, _monitor, :process, _owner, _reason}, state),
    do: {:stop, :normal, state}
end
