defmodule Sippet.Test do
  @options [
    name: [
      type: :atom,
      required: true,
      doc: "the stack's name, as `Sippet.start_link/1` takes it"
    ],
    core: [type: :module, required: true, doc: "the core under test"],
    owner: [
      type: {:custom, &is_pid/1, "a pid"},
      default: nil,
      doc: "the process that gets what the stack sends; by default the one that calls"
    ],
    clock: [
      type: :atom,
      default: nil,
      doc: "the name of another stack of `Sippet.Test`, if both shall go by one time"
    ],
    address: [
      type: {:custom, &__MODULE__.address?/1, "an IP address as a tuple"},
      default: {192, 0, 2, 1},
      doc: "the address of the stack; give each its own if a test has several"
    ],
    transports: [
      type: {:custom, &is_list/1, "a list of protocols"},
      default: [:udp],
      doc:
        "protocols that the stack shall have, as `[:udp, :tcp]`; all but `:udp`, `:dtls` and `:dccp` are reliable ones"
    ]
  ]

  @moduledoc """
  Tests of a core without sockets and without waiting: the far end is the test, and time is what the test says.

      iex> defmodule Busy do
      ...>   use Sippet.Core
      ...>   def receive_request(_ack, nil, _stack), do: :ok
      ...>   def receive_request(request, _key, stack),
      ...>     do: Sippet.send(stack, Sippet.Message.to_response(request, 486))
      ...> end
      iex> import Sippet.Test
      iex> {:ok, _pid} = Sippet.Test.start_link(name: :busy, core: Busy)
      iex> invite = deliver(:busy, request(:invite, "sip:bob@biloxi.com"))
      iex> response = assert_response(:busy, 486, invite)
      iex> # Timer G (RFC 3261 §17.2.1): nobody has acknowledged yet.
      iex> advance(:busy, 500)
      iex> assert_response(:busy, 486, invite) == response
      true
      iex> deliver(:busy, ack(invite, response))
      iex> advance(:busy, 32_000)
      iex> sent(:busy)
      []

  In a test of ExUnit, `start_supervised!({Sippet.Test, name: :busy, core: Busy})` starts it, and ends it with the test.
  [Testing your core](testing-your-core.md) goes on from here.

  The stack under the core is the whole one: what the far end delivers goes through the parser,
  the router and the transactions, and what the core sends is printed, and parsed again for the
  test. Three things differ:

    * There is no socket. Each message that the stack sends comes to the process that started the
      stack.
    * No name is looked up. A message to the name of a host has the name in its `target`.
    * Time stands still. The timers of the transactions fire when `advance/2` passes them, in
      order, so that 32 seconds cost nothing. So do your own timers, if you set them by
      `Sippet.send_after/4`.

  Nothing here needs ExUnit; the `assert_` functions raise `Sippet.Test.AssertionError`. Several stacks may run side by
  side, in tests with `async: true` too, if each has a name of its own.

  ## Options

  `start_link/1` takes these, and all of `Sippet.start_link/1`.

  #{Sippet.Options.docs(@options)}

  ## Callbacks run beside the test

  The core's callbacks run in processes of their own, as ever. The `assert_` functions wait for what the core sends, up to a second
  of real time; `advance/2` waits for the transactions and for the owners of calls, and not for the core. So first take what
  the core does at once, and then let time pass.

  ## Several stacks

  A back-to-back user agent has two. Start both with one `:clock`, and with an `:address` of their own. The functions
  below take the name of the stack, and the test is the far end of both:

      start_supervised!({Sippet.Test, name: :inside, core: MyCore})
      start_supervised!({Sippet.Test, name: :outside, core: MyCore, clock: :inside, address: {192, 0, 2, 2}})

      deliver(:inside, request(:invite, "sip:bob@192.0.2.1"))
      invite = assert_request(:outside, :invite)
  """

  use Supervisor

  alias Sippet.{Address, Dialog, Message, Names, Options, Router, Stack, URI}
  alias Sippet.Message.{RequestLine, StatusLine}
  alias Sippet.Test.{AssertionError, Transport}
  alias Sippet.Transactions
  alias Sippet.Transactions.Clock

  @typedoc "The far end: a protocol, an address and a port."
  @type remote :: Router.remote()

  # Of TEST-NET-2 of RFC 5737, as the stack's is of TEST-NET-1: no host of these is ever there.
  @remote {:udp, {198, 51, 100, 1}, 5060}

  # How long an assertion waits for the core, in ms of real time.
  @patience 1_000

  @doc false
  @spec address?(term) :: boolean
  def address?(value), do: :inet.is_ip_address(value)

  ## Start

  @doc """
  Starts a stack whose far end and whose clock are the caller's, or those of the option `:owner`.

  Raises `ArgumentError` for an option that is missing, unknown or of the wrong type.
  """
  @spec start_link(keyword) :: Supervisor.on_start()
  def start_link(options) do
    {own, stack} = Keyword.split(options, [:owner, :transports, :clock, :address])
    own = Options.validate!(own ++ Keyword.take(stack, [:name, :core]), @options)
    Supervisor.start_link(__MODULE__, {%{own | owner: own.owner || self()}, stack})
  end

  @doc """
  A child specification. The process that asks for it is the owner, as in a test that calls `start_supervised!/1`.
  """
  @spec child_spec(keyword) :: Supervisor.child_spec()
  def child_spec(options) do
    %{
      id: {__MODULE__, Keyword.get(options, :name)},
      start: {__MODULE__, :start_link, [Keyword.put_new(options, :owner, self())]},
      type: :supervisor
    }
  end

  @impl true
  def init({%{name: name, owner: owner, transports: protocols} = own, options}) do
    clock = if own.clock, do: clock!(own.clock), else: Clock.new()
    Clock.add(clock, name)
    outcomes = :ets.new(__MODULE__, [:public])

    transports =
      for {protocol, index} <- Enum.with_index(protocols) do
        config = %{
          tag: __MODULE__,
          stack: name,
          protocol: protocol,
          owner: owner,
          outcomes: outcomes,
          address: {own.address, 5060 + index}
        }

        Supervisor.child_spec({Transport, config}, id: {Transport, protocol})
      end

    stack = %{
      id: Sippet,
      start: {Sippet, :start_link, [options, %{clock: clock, outcomes: outcomes}]},
      type: :supervisor
    }

    Supervisor.init([stack | transports], strategy: :rest_for_one)
  end

  ## The far end

  @doc """
  A request of the far end, with all the headers that RFC 3261 §8.1.1 asks for. Options:

    * `:headers` - a keyword list or map of headers to have in place of those, or beside them
    * `:body` - as in `Sippet.Message`

  `request(:invite, "sip:bob@biloxi.com", headers: [subject: "Lunch"])`
  """
  @spec request(Message.method(), String.t() | URI.t(), keyword) :: Message.request()
  def request(method, uri, options \\ []) do
    %{headers: headers, body: body} =
      Options.validate!(options,
        headers: [type: :headers, default: []],
        body: [type: {:custom, &is_binary/1, "text"}, default: nil]
      )

    request = Message.build_request(method, uri)
    {_protocol, address, port} = @remote
    host = Address.to_text(address)

    headers_of_all = %{
      via: [{{2, 0}, :udp, {host, port}, %{}}],
      from: {"", URI.parse!("sip:alice@#{host}"), %{}},
      to: {"", %{request.start_line.request_uri | parameters: nil, headers: nil}, %{}}
    }

    contact = if method in [:invite, :subscribe], do: %{contact: [contact(host, port)]}, else: %{}

    %{request | headers: Map.merge(headers_of_all, contact), body: body}
    |> Message.put_headers(headers)
    |> Message.complete()
  end

  defp contact(host, port), do: {"", URI.parse!("sip:alice@#{host}:#{port}"), %{}}

  @doc """
  The ACK of the far end for a final response to its INVITE: with the INVITE's branch (RFC 3261 §17.1.1.3), or, for a
  2xx, one of its own (§13.2.2.4).
  """
  @spec ack(Message.request(), Message.response()) :: Message.request()
  def ack(%Message{} = invite, %Message{start_line: %StatusLine{status_code: status}} = response)
      when status in 200..299 do
    [{version, protocol, sent_by, params} | _] = invite.headers.via
    via = {version, protocol, sent_by, Map.put(params, "branch", Message.create_branch())}

    case Dialog.uac(invite, response) do
      {:ok, dialog} ->
        dialog |> Dialog.build_ack(response) |> Message.put_header(:via, [via])

      # A core that forgot its Contact can be acknowledged all the same.
      {:error, _reason} ->
        as_ack(invite, response, [via])
    end
  end

  def ack(%Message{} = invite, %Message{start_line: %StatusLine{status_code: status}} = response)
      when status >= 300,
      do: as_ack(invite, response, [hd(invite.headers.via)])

  defp as_ack(%Message{headers: headers} = invite, response, via) do
    {number, _method} = headers.cseq

    headers =
      headers
      |> Map.take([:from, :call_id, :route, :max_forwards])
      |> Map.merge(%{via: via, to: response.headers.to, cseq: {number, :ack}})

    %Message{start_line: RequestLine.new(:ack, invite.start_line.request_uri), headers: headers}
  end

  @doc """
  Hands the stack a message of the far end, as a struct or as wire text, and gives it as it was handed over.

  It comes from `remote`, by default #{inspect(@remote)}, and by the transport of its protocol. That address is written into the
  Via of a request that has none, such as one that `Sippet.Dialog` has made.
  """
  @spec deliver(atom, message, remote) :: message when message: Message.t() | iodata
  def deliver(stack, message, remote \\ @remote) do
    message = put_sent_by(message, remote)
    octets = if is_struct(message), do: Message.to_iodata(message), else: message
    transport = Transport.find!(stack, elem(remote, 0))
    :ok = Router.handle_transport_message(stack, octets, remote, transport)
    message
  end

  # As the stack of the far end would: a request that `Sippet.Dialog` has made leaves it out.
  defp put_sent_by(
         %Message{headers: %{via: [{version, _protocol, {"", _port}, params} | rest]}} = message,
         {protocol, address, port}
       ) do
    via = {version, protocol, {Address.to_text(address), port}, params}
    Message.put_header(message, :via, [via | rest])
  end

  defp put_sent_by(message, _remote), do: message

  @doc """
  Has the far end answer a request that the stack sent, as `assert_request/2` gave it; `change` may add to the
  response. Gives the response.
  """
  @spec respond(atom, Message.request(), 100..699, (Message.response() -> Message.response())) ::
          Message.response()
  def respond(stack, %Message{target: {protocol, _host, _port}} = request, status, change \\ & &1) do
    {_protocol, address, port} = @remote
    deliver(stack, change.(Message.to_response(request, status)), {protocol, address, port})
  end

  @doc """
  Has all that the stack sends from now on fail for `reason`, which the core gets as `receive_error/2`; `nil` has it
  go out again.
  """
  @spec fail_sends(atom, reason :: term) :: :ok
  def fail_sends(stack, reason) do
    clock!(stack)
    Transport.fail(Stack.fetch!(stack).options.private.outcomes, reason)
  end

  ## What the stack sent

  @doc """
  The next response of this status that the stack has sent, or sends within a second; that to `request`, if one is given. Its `target` is where it
  went. Raises `Sippet.Test.AssertionError` where none comes, with what came in its place.
  """
  @spec assert_response(atom, 100..699, Message.request() | nil) :: Message.response()
  def assert_response(stack, status, request \\ nil)

  def assert_response(stack, status, nil) when is_integer(status) do
    receive do
      {__MODULE__, ^stack, ^status, message} -> message
    after
      @patience -> missing!(stack, phrase(status))
    end
  end

  def assert_response(stack, status, %Message{headers: %{call_id: call_id, cseq: cseq}})
      when is_integer(status) do
    receive do
      {__MODULE__, ^stack, ^status, %{headers: %{call_id: ^call_id, cseq: ^cseq}} = message} ->
        message
    after
      @patience ->
        missing!(stack, "#{phrase(status)} to CSeq: #{cseq(cseq)}, Call-ID: #{call_id}")
    end
  end

  @doc """
  The next request of this method that the stack has sent, or sends within a second. Its `target` is where it went.
  Raises `Sippet.Test.AssertionError` where none comes, with what came in its place.
  """
  @spec assert_request(atom, Message.method()) :: Message.request()
  def assert_request(stack, method) do
    receive do
      {__MODULE__, ^stack, ^method, message} -> message
    after
      @patience -> missing!(stack, Names.method_name(method))
    end
  end

  defp missing!(stack, what) do
    {:messages, messages} = Process.info(self(), :messages)
    sent = for {__MODULE__, ^stack, _kind, message} <- messages, do: "\n  " <> line(message)

    raise AssertionError,
          "expected the stack #{inspect(stack)} to send #{what} within #{@patience} ms; it sent " <>
            if(sent == [], do: "nothing", else: "these:#{sent}")
  end

  defp line(%Message{start_line: line, headers: headers, target: {protocol, host, port}}) do
    text = line |> to_string() |> String.trim_trailing() |> printable()
    "#{text} (CSeq: #{cseq(headers.cseq)}) to #{protocol} #{host}:#{port}"
  end

  defp phrase(status), do: String.trim("#{status} #{StatusLine.default_reason(status)}")
  defp cseq({number, method}), do: "#{number} #{Names.method_name(method)}"

  # A reason phrase may hold octets that no terminal takes.
  defp printable(text) do
    if String.printable?(text), do: text, else: inspect(text, binaries: :as_strings)
  end

  @doc """
  All that the stack has sent and no assertion has taken, the oldest first, without waiting.
  """
  @spec sent(atom) :: [Message.t()]
  def sent(stack) do
    receive do
      {__MODULE__, ^stack, _kind, message} -> [message | sent(stack)]
    after
      0 -> []
    end
  end

  @doc """
  Raises `Sippet.Test.AssertionError` if there is something that the stack has sent and no assertion has taken.

  It does not wait: what a core may send by itself some time later is not seen.
  """
  @spec refute_sent(atom) :: :ok
  def refute_sent(stack) do
    case sent(stack) do
      [] ->
        :ok

      messages ->
        lines = for message <- messages, do: "\n  " <> line(message)
        raise AssertionError, "the stack #{inspect(stack)} sent#{lines}"
    end
  end

  ## Time

  @doc """
  Lets so many milliseconds pass: the timers that are due fire in order, each after what the one before did is done. These
  are those of the transactions, and those of `Sippet.send_after/4`. The process of such a timer has taken its message, and
  waits for the next one, before anything else happens. Stacks with one `:clock` go on together.
  """
  @spec advance(atom, non_neg_integer) :: :ok
  def advance(stack, ms) when is_integer(ms) and ms >= 0 do
    clock!(stack)
    Transactions.advance(Stack.fetch!(stack), ms)
  end

  defp clock!(stack) do
    case Stack.fetch!(stack).options do
      %{private: %{clock: clock}} -> clock
      _options -> raise ArgumentError, "#{inspect(stack)} was not started by Sippet.Test"
    end
  end
end
