defmodule Sippet.Transactions do
  @moduledoc false
  # The transaction layer as the router and the face see it: start one, hand it what came or what shall go, end it.

  alias Sippet.{Address, Message, Overload, Stack, Telemetry, Transport}
  alias Sippet.Message.StatusLine

  alias Sippet.Transactions.{Client, Dialogs, Directory, Key, Machine, Packet, Server, Shelf}

  @type key :: Client.Key.t() | Server.Key.t()

  @doc """
  What a stack's supervisor starts.
  """
  @spec children(Stack.t()) :: [Supervisor.child_spec() | {module, term}]
  def children(stack), do: [{Sippet.Transactions.Supervisor, stack}]

  @doc """
  Reads a key as `Sippet.sigil_K/2` has it; raises `ArgumentError` for any other text.
  """
  @spec parse_key!(String.t()) :: key
  def parse_key!(text) do
    case Key.read!(text) do
      {branch, method} -> Client.Key.new(branch, method)
      {branch, method, sent_by} -> Server.Key.new(branch, method, sent_by)
    end
  end

  ## Start

  @doc """
  Sends a request, and takes care of it from then on. Not for an ACK, which has no transaction of its own.

  Raises `ArgumentError` for a request that can't be printed.
  """
  @spec start_client(Stack.t(), Message.request(), Transport.t(), Transport.destination()) ::
          :ok | {:error, :already_started | :overload}
  def start_client(stack, request, transport, {host, port}) do
    data = %Machine{
      stack: stack,
      module: client(request.start_line.method),
      key: Client.Key.new(request),
      transport: transport,
      destination: {address(host), port},
      packet: Packet.new(request)
    }

    with :ok <- start(data), do: cancelled(stack, data.key)
  end

  defp client(:invite), do: Client.Invite
  defp client(_method), do: Client.NonInvite

  # RFC3261§9.1 - from a CANCEL on, its INVITE has 64*T1
  defp cancelled(stack, %Client.Key{method: :cancel} = key) do
    Directory.post(stack, Client.Key.invite(key), :cancelled)
    :ok
  end

  defp cancelled(_stack, _key), do: :ok

  @doc """
  Where the INVITE of a CANCEL went, and by which transport; nothing where there is none in progress.
  """
  @spec path(Stack.t(), Message.request()) :: {Transport.destination(), Transport.t()} | nil
  def path(stack, cancel), do: Directory.path(stack, Client.Key.invite(Client.Key.new(cancel)))

  @doc """
  Gives a request to the core, and its responses to `destination`. It is pending work of `source`, if that is given.
  """
  @spec start_server(
          Stack.t(),
          Message.request(),
          Transport.t(),
          Transport.destination(),
          Overload.Sources.source() | nil
        ) ::
          :ok | {:error, :already_started | :overload}
  def start_server(stack, request, transport, {host, port}, source \\ nil) do
    start(%Machine{
      stack: stack,
      module: server(request.start_line.method),
      key: Server.Key.new(request),
      transport: transport,
      destination: {address(host), port},
      source: source,
      request: request
    })
  end

  defp server(:invite), do: Server.Invite
  defp server(_method), do: Server.NonInvite

  defp start(%Machine{stack: stack} = data) do
    if count(stack) < stack.options.max_transactions,
      do: started(Directory.start(data.module, data)),
      else: {:error, :overload}
  end

  defp started(:ok), do: :ok
  defp started(:ignore), do: {:error, :already_started}
  defp started({:error, :overload} = error), do: error

  ## What came

  @doc """
  Hands a request to the transaction that it repeats, or an ACK to its INVITE's. `:busy` says that it has enough to do.
  """
  @spec receive_request(Stack.t(), Message.request(), Server.Key.t()) :: :ok | :error | :busy
  def receive_request(stack, request, key),
    do: Directory.deliver(stack, key, {:request, request})

  @spec receive_response(Stack.t(), Message.response(), Client.Key.t()) :: :ok | :error | :busy
  def receive_response(stack, response, key),
    do: Directory.deliver(stack, key, {:response, response})

  @doc """
  Takes an ACK that no transaction took: a 2xx of its dialog is not repeated any more. `:error` where none waits for it.
  """
  @spec ack(Stack.t(), Message.request()) :: :ok | :error
  def ack(stack, request) do
    case Dialogs.waiting(stack, request) do
      nil -> :error
      pid -> :gen_statem.cast(pid, {:acked, Dialogs.id(request)})
    end
  end

  ## What shall go

  @doc """
  Sends the core's response by the transaction of its request.

  Raises `ArgumentError` for a response that can't be printed: in the caller, and not in the machine.
  """
  @spec send_response(Stack.t(), Message.response()) :: :ok | {:error, :no_transaction}
  def send_response(stack, response), do: pass(stack, response, :answer)

  @doc """
  Has a 2xx to an INVITE repeated until its ACK comes (RFC 3261 §13.3.1.4).

  It begins T1 from now; where the 2xx was not sent yet it is sent first. Raises `ArgumentError` for any other response.
  """
  @spec retransmit_2xx(Stack.t(), Message.response()) :: :ok | {:error, :no_transaction}
  def retransmit_2xx(stack, response) do
    with %Message{
           start_line: %StatusLine{status_code: status},
           headers: %{cseq: {_number, :invite}}
         }
         when status in 200..299 <- response do
      pass(stack, response, :repeat)
    else
      _other ->
        raise ArgumentError, "expected a 2xx response to an INVITE, got: #{inspect(response)}"
    end
  end

  defp pass(stack, response, event) do
    packet = Packet.new(response)

    case Directory.post(stack, Dialogs.key(stack, response), {event, packet}) do
      :ok -> :ok
      :error -> {:error, :no_transaction}
    end
  end

  ## What went wrong

  @doc """
  Takes the failure of a message that a transport took, and could not send after all.
  """
  @spec receive_error(Stack.t(), key, term) :: :ok
  def receive_error(stack, key, reason) do
    failed(stack, reason, nil, key)
    Directory.post(stack, key, {:error, reason})
    :ok
  end

  @doc """
  Takes the word that nothing can be sent to a destination: client transactions that wait for an answer from there
  end (RFC 3261 §18.4).
  """
  @spec unreachable(Stack.t(), Transport.destination(), term) :: :ok
  def unreachable(stack, {host, port}, reason) do
    destination = {address(host), port}
    failed(stack, reason, {nil, host, port}, nil)

    for pid <- Directory.clients(stack, destination),
        do: :gen_statem.cast(pid, {:unreachable, reason})

    :ok
  end

  defp failed(stack, reason, remote, key) do
    Telemetry.emit(stack, :transport_error, %{system_time: System.system_time()}, fn ->
      %{reason: reason, remote: remote, key: key}
    end)
  end

  @doc """
  Ends a transaction at once; an unknown key is ignored.
  """
  @spec terminate(Stack.t(), key) :: :ok
  def terminate(stack, key) do
    Directory.post(stack, key, :terminate)
    :ok
  end

  ## What is there

  @doc """
  Whether a request is one that another transaction in progress has too, having come by another path (RFC 3261 §8.2.2.2).
  """
  @spec merged?(Stack.t(), Message.request()) :: boolean
  def merged?(stack, request),
    do: Shelf.merged?(stack, Shelf.merge(request), Server.Key.new(request))

  @doc """
  Whether a transaction of this key is in progress.
  """
  @spec alive?(Stack.t(), key) :: boolean
  def alive?(stack, key), do: Directory.find(stack, key) != nil

  @doc """
  How many transactions are in progress.
  """
  @spec count(Stack.t()) :: non_neg_integer
  def count(stack), do: Directory.count(stack)

  @doc """
  How many of them are not finished: more than a last timer is awaited.
  """
  @spec unfinished(Stack.t()) :: non_neg_integer
  def unfinished(stack), do: Directory.unfinished(stack)

  # A destination is compared: an address is one, however it is written.
  defp address(host) when is_binary(host) do
    case Address.parse(host) do
      {:ok, address} -> address
      :error -> host
    end
  end

  defp address(address), do: address
end
