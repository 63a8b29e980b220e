defmodule Sippet do
  @moduledoc """
  A SIP stack: transactions, routing, transports and a core that you write.

      defmodule Hello do
        use Sippet.Core
        alias Sippet.Message

        # An ACK has no transaction, and is not answered.
        def receive_request(_ack, nil, _stack), do: :ok

        def receive_request(request, _key, stack),
          do: Sippet.send(stack, Message.to_response(request, 200))
      end

      children = [
        {Sippet, name: :mystack, core: Hello},
        {Sippet.Transports.UDP, name: :mystack, port: 5060}
      ]

      Supervisor.start_link(children, strategy: :one_for_one)

  Or step by step:

      Sippet.start_link(name: :mystack)
      Sippet.Transports.UDP.start_link(name: :mystack)
      Sippet.register_core(:mystack, Hello)

  Several stacks may run side by side, and a stack may have several transports.

  ## Options

  #{Sippet.Options.docs(Sippet.Stack.Options.schema())}

  ## Sending

  `send/2` sends a request or a response. A request goes to its `target`, else to its first Route,
  else to its Request-URI. A response goes by the server transaction of its request.

      alice = {"", Sippet.URI.parse!("sip:alice@atlanta.com"), %{}}

      request =
        Sippet.Message.build_request(:options, "sip:biloxi.com")
        |> Sippet.Message.put_header(:from, alice)

      :ok = Sippet.send(:mystack, request)

  The stack writes the other headers that a request needs (`Sippet.Message.complete/1`). Into the Via
  it writes the address by which it sends: the option `:advertise` of the transport, else the address
  that the transport is bound to. If you write the host of the topmost Via yourself, it stays.

  If several transports can reach the destination, the request leaves by the one whose port the Via names,
  or by the first of them if the Via has no host. Make a `Sippet.Flow` the request's target to choose
  another. A transport that is bound to all addresses of the machine looks at its interfaces once, when it
  registers: give it `:advertise` if they change.

  The response comes to the core's `c:Sippet.Core.receive_response/2`.

  Every message that came in has a `source`, a `Sippet.Flow`. To send another message back by that
  way, make the source its target.

  ## Names

  A destination may be the name of a host, as `biloxi.com` above. The stack looks it up once for
  each transaction, before the first send. `send/2` does not wait for that, and returns `:ok`. All
  messages of the transaction go to the address that was found: retransmissions, the ACK of a
  300-699, and the CANCEL.

  If the look-up fails, nothing is sent, and the core gets `receive_error(reason, key)`:

    * `:nxdomain` - there is no such name;
    * `:no_address` - the name has no address of the families, IPv4 and IPv6, that the stack's
      transports have;
    * `:dns_timeout` - no name server answered in time (the option `:resolver`);
    * `:overload` - 200 look-ups were in progress;
    * `:cancelled` - you sent a CANCEL during the look-up. INVITE and CANCEL both end with this
      error;
    * a failure of the DNS, such as `:servfail`.

  The stack looks names up in processes of its own, and does not use the VM's native resolver. It
  reads the hosts file first, and then asks the name servers. It obeys `search`, `domain` and
  `ndots` of `resolv.conf`. `localhost` and `*.localhost` are the loopback address, and
  `*.invalid` is never looked up. The stack keeps a record for its TTL, and a failure for 2 s. It
  keeps that a name does not exist for as long as the zone's SOA says, from 1 to 300 s.

  If a name has IPv4 and IPv6 addresses, the stack takes those of the family of the transport that
  the topmost Via names. If there are several, a transaction draws one. The stack asks for
  addresses only, not for NAPTR and SRV records.

  `forward/2` and the ACK of a 2xx always choose the same address (RFC 3263 §4.4). They do not
  wait for a look-up either, and return `:ok`. If it fails, the failure is only counted, as
  `transport_error`. A failure that is still kept is returned as `{:error, reason}`.
  """

  use Supervisor

  alias Sippet.{Dialog, LocalHosts, Message, Options, Overload, Resolver, Stack}
  alias Sippet.{Telemetry, Transactions, Transport, URI}
  alias Sippet.Router.{Inbound, Outbound}
  alias Sippet.Message.{RequestLine, StatusLine, Validator}
  alias Sippet.Transactions.{Client, Clock, Server}

  @typedoc "The name of a stack."
  @type sippet :: atom

  @typedoc "A timer of `send_after/4`."
  @opaque timer :: Clock.timer()

  @typedoc "The key of a transaction."
  @type key :: Client.Key.t() | Server.Key.t()

  # Transactions that a stack names which were left when it was drained.
  @most_left 100

  @send_options [owner: [type: {:custom, &is_pid/1, "a process"}, default: nil]]

  @doc """
  Starts a stack; see the options above.

  Raises `ArgumentError` for an option that is missing, unknown or of the wrong type.
  """
  @spec start_link(keyword) :: Supervisor.on_start()
  def start_link(options), do: start_link(options, %{})

  @doc false
  # With options that are for tests alone.
  @spec start_link(keyword, map) :: Supervisor.on_start()
  def start_link(options, private) do
    options = Stack.Options.new(options, private)
    Supervisor.start_link(__MODULE__, options, name: supervisor(options.name))
  end

  @doc false
  @spec supervisor(sippet) :: atom
  def supervisor(name), do: Stack.process(name, "Supervisor")

  @doc """
  A child specification; its id has the stack's name, so that several stacks fit one supervisor.
  """
  @spec child_spec(keyword) :: Supervisor.child_spec()
  def child_spec(options) do
    %{
      id: {__MODULE__, Keyword.get(options, :name)},
      start: {__MODULE__, :start_link, [options]},
      type: :supervisor
    }
  end

  @impl true
  def init(options) do
    Stack.await_end([Transport.Registrations.name(options.name), Resolver.name(options.name)])
    stack = Stack.create(options, Transactions.create(options.name), Resolver.new())

    children = [
      {Transport.Registrations, stack},
      {Resolver, stack},
      {Transactions.WorkerSupervisor, {stack, Inbound}}
    ]

    Supervisor.init(children, [strategy: :one_for_one] ++ Stack.restarts())
  end

  @doc """
  Sends a request or a response.

  A request starts a client transaction. Returns `:ok`, or `{:error, reason}` with

    * `:already_started` - a transaction of this branch and method is in progress;
    * `:no_transport` - no registered transport fits, the request names no host to go to, or its
      target is a `Sippet.Flow` whose transport is gone. Nothing is started;
    * `:overload` - the stack has as many transactions as it may have.

  An error that is known only later comes to `c:Sippet.Core.receive_error/2`. So does a name that is
  not found (see Names above).

  An ACK of a 2xx has no transaction, and its `{:error, reason}` is the transport's. Headers that each
  request needs are added where they are missing (`Sippet.Message.complete/1`).

  A response goes to its server transaction. Returns `:ok`; `{:error, :no_transaction}` if that has
  ended; `{:error, :already_answered}` if another final response was sent before. A second 2xx to an
  INVITE is sent: it is a retransmission by the core, or the response of a fork (RFC 6026 §7.1).

  The option `:owner` of a request names the process that gets its responses and errors as messages, see
  `controlling_process/3`.

  The messages that one process sends for one call leave in that order. Raises `ArgumentError` for a
  message that is not valid, and for a Via without a host if the transport has no address to write
  there (`register_transport/4`).
  """
  @spec send(sippet, Message.t(), owner: pid) :: :ok | {:error, term}
  def send(sippet, message, options \\ []) do
    stack = Stack.fetch!(sippet)

    case message do
      %Message{start_line: %RequestLine{}} = request ->
        %{owner: owner} = Options.validate!(options, @send_options)

        Outbound.send_request(
          stack,
          request |> Message.complete() |> valid!() |> with_branch!(),
          owner
        )

      response ->
        Transactions.send_response(stack, valid!(response))
    end
  end

  @doc """
  Sends a final response once, and ends the transaction of its request (RFC 3261 §8.2.7).

      # A challenge to somebody who has shown no password yet.
      with {:error, response} <- Sippet.DigestAuth.authenticate(request, "biloxi.com", find_ha1),
           do: Sippet.reply(stack, response)

  The response is not repeated, and no copy of it is kept. The request is not pending any more. If
  it comes again, your core gets it again, as a new request. The ACK of a response to INVITE ends in
  the stack.

  Use it for challenges, and to refuse strangers. Over UDP the source of a request may be forged,
  and `send/2` sends a response to INVITE up to eleven times to that address.

  Make the response by `Sippet.Message.to_response/2`: the stack finds its ACK by the To tag. In a
  stack with the option `:stateless` this function is `forward/2`.

  Returns `{:error, :already_answered}` if another final response was sent before, and
  `{:error, :no_transaction}` if the transaction has ended. Raises `ArgumentError` for a provisional
  response, and for a 2xx to INVITE, which has to be repeated until its ACK comes.
  """
  @spec reply(sippet, Message.response()) :: :ok | {:error, term}
  def reply(sippet, response) do
    stack = Stack.fetch!(sippet)

    case valid!(response) do
      %Message{start_line: %{status_code: status}, headers: %{cseq: {_number, method}}}
      when status < 200 or (status < 300 and method == :invite) ->
        raise ArgumentError,
              "expected a final response, and no 2xx to INVITE, got: #{status} to #{method}"

      %Message{start_line: %StatusLine{}} when stack.options.stateless ->
        Outbound.forward(stack, response)

      %Message{start_line: %StatusLine{}} ->
        Transactions.reply(stack, response)
    end
  end

  @doc """
  Sends a final response with this status, as `reply/2` does.

      Sippet.reply(stack, request, 486)
  """
  @spec reply(sippet, Message.request(), 200..699) :: :ok | {:error, term}
  def reply(sippet, request, status), do: reply(sippet, Message.to_response(request, status))

  @doc """
  Makes a process the owner of a transaction or of a dialog. From now on it gets as messages what the core's
  callbacks would get. Events that wait for a callback come first.

      {:sippet, stack, key, {:request, request}}
      {:sippet, stack, key, {:response, response}}
      {:sippet, stack, key, {:error, reason}}

  The messages have the arguments of the callbacks. The key of the ACK of a 2xx is `nil`, and a CANCEL has
  a key of its own. The owner of an INVITE gets its CANCEL, and answers both: the CANCEL with 200, then the
  INVITE with 487. A CANCEL that came before went to the core: ask `cancelled?/2`.

  The owner of a dialog (`Sippet.Dialog`, or its ID) gets the requests within it in the order of their
  arrival, and owns their transactions.

  If the owner ends, the stack ends what it has left:

    * A request without a final response is answered with 500.
    * An INVITE that it sent is cancelled, after the first provisional response (RFC 3261 §9.1). If a 2xx is
      faster, the stack acknowledges it and ends its dialog by a BYE.
    * If an INVITE has its 2xx and the ACK is missing, the core gets the error `:no_ack`.
    * A call whose dialog it owned is ended by a BYE, unless a BYE was sent or accepted before. The stack
      needs the `Sippet.Dialog` itself for that, and not only its ID. It follows each 2xx to INVITE. If
      anything else changes the remote target, call this function again with the new dialog.

  If `terminate/2` ends a transaction, its owner gets the error `:terminated`. Pass `nil` instead of a
  process to give a transaction or a dialog back to the core. The stack then sends no BYE. A dialog has no
  owner any more after its BYE was answered, and an early one after its INVITE was refused.

  Returns `{:error, :no_transaction}` if there is no transaction of this key.
  """
  @spec controlling_process(sippet, key | Dialog.t() | Dialog.id(), pid | nil) ::
          :ok | {:error, :no_transaction}
  def controlling_process(sippet, key, pid) when is_pid(pid) or pid == nil,
    do: Transactions.own(Stack.fetch!(sippet), key, pid)

  @doc """
  Cancels an INVITE that you sent, by its key (RFC 3261 §9.1).

      request = Sippet.Message.complete(invite)
      :ok = Sippet.send(stack, request)
      :ok = Sippet.cancel(stack, Sippet.Transactions.Client.Key.new(request))

  The stack sends the CANCEL at once if a provisional response has come, and otherwise with the first one. It
  sends none if the INVITE gets its final response before. It takes the response to the CANCEL. You get
  the final response to the INVITE: a 487, or a 2xx that was faster, or the error `:timeout`. If the
  INVITE waits for the address of a name, it is not sent, and you get the error `:cancelled`.

  Returns `{:error, :no_transaction}` if there is no INVITE of this key. Raises
  `FunctionClauseError` for the key of any other request: only an INVITE can be cancelled.
  """
  @spec cancel(sippet, Client.Key.t()) :: :ok | {:error, :no_transaction}
  def cancel(sippet, %Client.Key{method: :invite} = key) do
    with :error <- Transactions.cancel(Stack.fetch!(sippet), key), do: {:error, :no_transaction}
  end

  @doc """
  Whether a CANCEL has come for the INVITE of this key, before it had a final response (RFC 3261 §9.2). `false` where there is
  no such transaction.
  """
  @spec cancelled?(sippet, key) :: boolean
  def cancelled?(sippet, key), do: Transactions.cancelled?(Stack.fetch!(sippet), key)

  @doc """
  Sends a message once, without a transaction (RFC 3261 §16.11).

  A request goes where `send/2` would send it. A response goes to its `target`, else where its
  topmost Via says. Use it in a stateless proxy or a stateless user agent server (§8.2.7), in a
  stack with the option `:stateless`. A stateful proxy uses it for a response when the transaction of
  its request is gone (§16.7).

  In a stack with the option `:stateless`, a response leaves by the transport that its request came
  to, if you call this function in the callback that has the request. In another process, keep the
  request's source and write `Sippet.forward(stack, %{response | target: request.source})`.

  Returns `:ok`, or `{:error, :no_transport}` if no registered transport fits. Any other error is the
  transport's. A name is looked up without waiting; see Names above. Raises `ArgumentError` if the
  message is not valid.
  """
  @spec forward(sippet, Message.t()) :: :ok | {:error, term}
  def forward(sippet, message),
    do: sippet |> Stack.fetch!() |> Outbound.forward(valid!(message))

  # RFC3261§9.1 - a CANCEL has the branch of its INVITE, and is not completed
  defp with_branch!(
         %Message{headers: %{via: [{_version, _protocol, _sent_by, params} | _]}} = request
       ) do
    unless is_map_key(params, "branch") do
      raise ArgumentError,
            "expected the Via of a CANCEL to have the branch of its INVITE: complete the INVITE before you send it " <>
              "(Sippet.Message.complete/1), or call Sippet.cancel/2"
    end

    request
  end

  # That it prints too shows a moment later, when the transaction's octets are made: also in this process.
  defp valid!(message) do
    case Validator.validate(message) do
      :ok ->
        message

      {:error, text} ->
        raise ArgumentError, "expected :message argument to be a valid SIP message: #{text}"
    end
  end

  @doc """
  Repeats a 2xx to an INVITE until its ACK comes (RFC 3261 §13.3.1.4).

  Call it beside `send/2` with the same response. The intervals are T1, doubled up to T2. When no ACK of the dialog
  has come after 64·T1, the core gets `receive_error(:no_ack, key)`, and should end the dialog with a BYE.
  """
  @spec retransmit_2xx(sippet, Message.response()) ::
          :ok | {:error, :already_answered | :no_transaction}
  def retransmit_2xx(sippet, response),
    do: Transactions.retransmit_2xx(Stack.fetch!(sippet), response)

  @doc """
  Repeats a reliable provisional response to an INVITE until its PRACK comes (RFC 3262 §3).

      {ringing, dialog} = Sippet.Dialog.put_reliable(dialog, Sippet.Message.to_response(invite, 183))
      :ok = Sippet.retransmit_1xx(stack, ringing)

  The stack sends the response, unless you have sent it by `send/2` just before. It repeats it at
  intervals of T1 that double. The PRACK ends that, and comes to the core or to the dialog's owner, who
  answers it with 200. The stack answers a PRACK with 481 if the INVITE waits for none of this number.

  If no PRACK has come after 64·T1, the stack answers the INVITE with 504, and the core or the owner gets
  the error `:no_prack`. A final response ends the repetition too. Do not send another reliable response
  before the first one has its PRACK.

  The caller must list `100rel` in Supported or Require: `Sippet.UAS.extension/2` tells. Raises
  `ArgumentError` for a response that is not one of 101 to 199 to an INVITE, with a To tag and RSeq.
  """
  @spec retransmit_1xx(sippet, Message.response()) :: :ok | {:error, :no_transaction}
  def retransmit_1xx(sippet, response),
    do: Transactions.retransmit_1xx(Stack.fetch!(sippet), response)

  @doc """
  Whether a request without a To tag is one that came by another path already (RFC 3261 §8.2.2.2): then the core
  answers 482.
  """
  @spec merged?(sippet, Message.request()) :: boolean
  def merged?(sippet, request), do: Transactions.merged?(Stack.fetch!(sippet), request)

  @doc """
  Whether the protocol of the topmost Via is a reliable one.

  Raises `ArgumentError` where no transport of that protocol is registered.
  """
  @spec reliable?(sippet, Message.t()) :: boolean
  def reliable?(sippet, %Message{headers: %{via: [{_version, protocol, _sent_by, _params} | _]}}) do
    transports = Stack.transports(Stack.fetch!(sippet))

    case Enum.find(transports, &(&1.protocol == protocol)) do
      %Transport{reliable?: reliable?} -> reliable?
      nil -> raise ArgumentError, "protocol not registered"
    end
  end

  @doc """
  Registers the calling process as a transport, until it ends.

  Without `:address` a protocol has one transport, as in version 1.0: the function returns
  `{:error, :already_registered}` if another living process has registered the protocol, or the
  caller itself without an address. Transports that name their addresses may stand side by side,
  and beside one without that was there first.

    * `:address` - `{ip, port}`, where the transport listens. Two of a protocol can't have the
      same one;
    * `:advertise` - `{host, port}`, written as the sent-by into the Via of each request whose Via has
      no host. Defaults to `:address`; a transport bound to all addresses of the machine writes the
      one that the system's default route has;
    * `:via` - `{module, handle}`, a `Sippet.Transport` and the handle that its
      `c:Sippet.Transport.send_message/4` gets;
    * `:force_rport` - a boolean. If true, each request is answered to the port that it came from,
      as if its topmost Via had asked for that by `rport` (RFC 3581). Defaults to `false`;
    * `:multicast` - a boolean. Set it to true if the transport can send to multicast groups. A
      response then goes to the multicast address in the `maddr` of the topmost Via (RFC 3261
      §18.2.2). Defaults to `false`;
    * `:takes_names` - a boolean. If true, the transport gets names of hosts as they are, and looks
      them up itself. If false, the stack looks names up, and the transport gets addresses only.
      Defaults to `false`. A transport without `:via` gets names in any case, as in version 1.0.
  """
  @spec register_transport(sippet, Message.protocol(), boolean, keyword) ::
          :ok | {:error, :already_registered}
  def register_transport(sippet, protocol, reliable?, options \\ [])
      when is_boolean(reliable?) and (is_atom(protocol) or is_binary(protocol)) do
    options = Options.validate!(options, transport_options())
    %{address: address, via: {module, handle}} = options
    %{sent_by: sent_by, hosts: hosts} = LocalHosts.of(address, options.advertise)

    Transport.Registrations.register(sippet, %Transport{
      protocol: if(is_binary(protocol), do: Message.to_protocol(protocol), else: protocol),
      reliable?: reliable?,
      pid: self(),
      address: address,
      sent_by: sent_by,
      hosts: hosts,
      module: module,
      handle: handle,
      force_rport?: options.force_rport,
      multicast?: options.multicast,
      takes_names?: options.takes_names or module == nil
    })
  end

  defp transport_options do
    [
      address: [type: {:custom, &address?/1, "{ip, port}"}, default: nil],
      advertise: [type: {:custom, &LocalHosts.host?/1, "{host, port}"}, default: nil],
      via: [type: {:custom, &via?/1, "{module, handle}"}, default: {nil, nil}],
      force_rport: [type: :boolean, default: false],
      multicast: [type: :boolean, default: false],
      takes_names: [type: :boolean, default: false]
    ]
  end

  defp address?({ip, port}), do: :inet.is_ip_address(ip) and port in 0..65_535
  defp address?(_other), do: false

  defp via?({module, _handle}), do: is_atom(module) and Code.ensure_loaded?(module)
  defp via?(_other), do: false

  @doc """
  Returns the hosts that are the stack itself, as `{host, port}`: the addresses of its transports, the
  sent-by that they write, and the stack's option `:hosts`.

  A proxy gives them to the functions of `Sippet.Proxy` as `own`.
  """
  @spec own_hosts(sippet) :: [Sippet.Proxy.host()]
  def own_hosts(sippet), do: Stack.own_hosts(Stack.fetch!(sippet))

  @doc """
  Returns whether a URI, or a `{host, port}`, is the stack itself (`own_hosts/1`).

  Hosts are compared in any letter case, and addresses as addresses. A URI that names no host is not
  the stack.
  """
  @spec own?(sippet, URI.t() | Sippet.Proxy.host()) :: boolean
  def own?(sippet, host), do: LocalHosts.member?(host, own_hosts(sippet))

  @doc """
  Returns a SIP URI by which others reach the stack, for a Contact or a Record-Route.

      contact = [{"", Sippet.own_uri(stack, user: "alice"), %{}}]
      record_route = Sippet.own_uri(stack, lr: true)

  Its host and port are those that the stack writes into a Via: of the first transport that has registered
  an address. A protocol other than UDP is written as the parameter `transport`. Raises `ArgumentError` if
  no transport has an address. Options:

  #{Sippet.Options.docs(Sippet.Stack.Options.own_uri())}
  """
  @spec own_uri(sippet, keyword) :: URI.t()
  def own_uri(sippet, options \\ []) do
    options = Options.validate!(options, Stack.Options.own_uri())
    stack = Stack.fetch!(sippet)
    by_flow = options.flow && Stack.transport_of(stack, options.flow)

    case Enum.find(List.wrap(by_flow) ++ Stack.transports(stack), & &1.sent_by) do
      %Transport{} = transport ->
        LocalHosts.uri(transport.sent_by, transport.protocol, options)

      nil ->
        raise ArgumentError, "no transport of #{inspect(sippet)} has registered an address"
    end
  end

  @doc """
  Sends a message to a process after so many milliseconds, as `Process.send_after/3` does. Returns a timer for
  `cancel_timer/2`.

      Sippet.send_after(stack, self(), :answer, 3_000)

  In a test with `Sippet.Test` the time is that of the test: `Sippet.Test.advance/2` lets it pass. So a test need not
  wait for your timers. If there is no stack of this name, the time is the machine's.
  """
  @spec send_after(sippet, pid, message :: term, ms :: non_neg_integer) :: timer
  def send_after(sippet, pid, message, ms) when is_pid(pid) and is_integer(ms) and ms >= 0,
    do: Clock.send_after(Stack.find(sippet), pid, message, ms)

  @doc """
  Cancels a timer of `send_after/4`. The message may have been sent before.
  """
  @spec cancel_timer(sippet, timer) :: :ok
  def cancel_timer(sippet, timer), do: Clock.cancel_timer(Stack.find(sippet), timer)

  @doc """
  Returns the time by which the timers of `send_after/4` go, in milliseconds: that of `System.monotonic_time/1`, and in a test
  with `Sippet.Test` that of the test.

  Give it to the values that ask for `now`, such as `Sippet.SessionTimer`.
  """
  @spec monotonic_time(sippet) :: integer
  def monotonic_time(sippet), do: Clock.now(Stack.find(sippet))

  @doc """
  Registers the core of a stack, in place of the one before.

  A module that lacks a callback of `Sippet.Core` is registered as well, as version 1.0 did; a warning in the log tells
  which functions are expected. The option `:core` of `start_link/1` refuses such a module.
  """
  @spec register_core(sippet, module) :: :ok
  def register_core(sippet, module) when is_atom(module) do
    stack = Stack.fetch!(sippet)

    with {:error, text} <- Stack.Options.check_core(module),
         do: Stack.log(stack, :warning, fn -> "register_core/2: #{text}" end)

    Stack.put_core(stack, module)
  end

  @doc """
  Ends a transaction at once, without telling the core. An unknown key is ignored.
  """
  @spec terminate(sippet, key) :: :ok
  def terminate(sippet, key), do: Transactions.terminate(Stack.fetch!(sippet), key)

  @doc """
  Has a stack refuse new requests, before you stop its node.

      :ok = Sippet.drain(:mystack, 32_000)

  From now on requests outside of a dialog get 503 with Retry-After. So does the OPTIONS by which a
  dispatcher asks whether the node is there. Transactions in progress go on, and so do requests that
  the stack itself sends. Requests within a dialog go on if the stack has seen the 2xx that made the
  dialog: a To tag alone is not enough. `resume/1` ends this.

  Returns `:ok` when all transactions and callbacks that were in progress have ended, and all requests
  within dialogs that came since. It does not wait for requests that the stack sends later, nor for
  calls: your core counts those. Nor does it wait for a finished transaction, which only answers
  retransmissions. A peer that missed its answer may ask for it up to 64·T1 (32 s) later.

  Returns `{:error, {:timeout, keys}}` after `timeout` milliseconds, with the keys of up to
  #{@most_left} transactions that are left. A key is `nil` for a callback that still runs for a
  transaction that has ended.
  """
  @spec drain(sippet, timeout) :: :ok | {:error, {:timeout, [key]}}
  def drain(sippet, timeout \\ 5_000) when timeout == :infinity or timeout >= 0 do
    stack = Stack.fetch!(sippet)
    Overload.drain(stack.overload, true)
    began = {System.monotonic_time(), Overload.processes(stack.overload)}
    await_end(stack, began, timeout)
  end

  # Milliseconds between two looks whether all has ended.
  @look 50

  defp await_end(stack, {time, processes} = began, timeout) do
    left = Transactions.left(stack, time, @most_left)

    cond do
      left == [] and not Enum.any?(processes, &Process.alive?/1) ->
        :ok

      timeout == 0 ->
        {:error, {:timeout, left}}

      true ->
        wait = min(@look, timeout)
        Process.sleep(wait)
        await_end(stack, began, if(timeout == :infinity, do: :infinity, else: timeout - wait))
    end
  end

  @doc """
  Has a drained stack take new requests again.
  """
  @spec resume(sippet) :: :ok
  def resume(sippet), do: Overload.drain(Stack.fetch!(sippet).overload, false)

  @doc """
  The counts of the stack's events since it started (`Sippet.Telemetry` names them), and of the moment the transactions
  as `:transactions`, the pending requests as `:pending`, the bytes that these came with as `:pending_bytes`, and the
  connections of its transports as `:connections`.
  """
  @spec stats(sippet) :: %{atom => non_neg_integer}
  def stats(sippet) do
    stack = Stack.fetch!(sippet)

    Map.merge(Telemetry.counts(stack.telemetry), %{
      transactions: Transactions.count(stack),
      pending: Overload.pending(stack.overload),
      pending_bytes: Overload.pending_bytes(stack.overload),
      connections: stack |> Stack.transports() |> Enum.map(&Transport.connections/1) |> Enum.sum()
    })
  end

  @doc """
  The key of a transaction, written down: `~K[branch|method]` for a client's, `~K[branch|method|host:port]` for a
  server's. The method may be `:invite`, `INVITE` or `invite`; an IPv6 host stands in brackets.

      iex> import Sippet
      iex> ~K[z9hG4bK74b43|INVITE|atlanta.com:5060]
      %Sippet.Transactions.Server.Key{
        branch: "z9hG4bK74b43", method: :invite, sentby: {"atlanta.com", 5060}
      }
  """
  @spec sigil_K(String.t(), charlist) :: key
  def sigil_K(text, _modifiers), do: Transactions.parse_key!(text)
end
