defmodule Sippet.Robustness.Attacker do
  @moduledoc false
  # Requests from addresses that are made up: each of another one, or all of one network, in a BEAM of its own.

  alias Sippet.Robustness.Machine

  @type kind :: {method :: String.t(), user :: String.t(), to_tag :: String.t() | nil}

  @doc """
  Sends so many requests at a rate a second, from everywhere or from one /24.
  """
  @spec run(
          {:inet.ip_address(), :inet.port_number()},
          kind,
          :anywhere | :network,
          pos_integer,
          pos_integer
        ) :: :ok
  def run(address, kind, from, count, rate) do
    peer = Machine.start(:sender)
    :ok = :peer.call(peer, __MODULE__, :attack, [address, kind, from, count, rate], 120_000)
    :peer.stop(peer)
  end

  @doc false
  def attack(address, kind, from, count, rate) do
    start = System.monotonic_time(:millisecond)
    for n <- 1..count, do: one(address, kind, source(from, n), n, start + div(n * 1_000, rate))
    :ok
  end

  # Not one that the callers have.
  defp source(:anywhere, n),
    do: {127, 1 + rem(div(n, 62_500), 200), rem(div(n, 250), 250), 1 + rem(n, 250)}

  defp source(:network, n), do: {127, 250, 9, 1 + rem(n, 250)}

  defp one({ip, port}, kind, source, n, at) do
    ahead = at - System.monotonic_time(:millisecond)
    if ahead > 1, do: Process.sleep(ahead)
    {:ok, socket} = :socket.open(:inet, :dgram, :udp)
    :ok = :socket.bind(socket, %{family: :inet, addr: source, port: 0})
    :ok = :socket.sendto(socket, request(kind, n), %{family: :inet, addr: ip, port: port})
    :socket.close(socket)
  end

  defp request({method, user, to_tag}, n) do
    tag = if to_tag, do: ";tag=#{to_tag}#{n}", else: ""

    "#{method} sip:#{user}@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;rport;branch=z9hG4bKattack#{n}\r\n" <>
      "Max-Forwards: 70\r\nFrom: <sip:mallory@192.0.2.1>;tag=#{n}\r\nTo: <sip:#{user}@127.0.0.1>#{tag}\r\n" <>
      "Call-ID: attack-#{n}\r\nCSeq: 1 #{method}\r\nContact: <sip:mallory@192.0.2.1>\r\nContent-Length: 0\r\n\r\n"
  end
end

defmodule Sippet.Robustness.Regular do
  @moduledoc false
  # Who has called before: four INVITEs and four OPTIONS a second, each repeated after T1 as a client does. What became of each is kept
  # with its time.

  alias Sippet.Message

  @ip {127, 0, 0, 200}
  @pause_ms 125
  @again_ms 500

  @typedoc "When a request was first sent, in ms, and its final status; `nil` without an answer."
  @type outcome :: {integer, 100..699 | nil}

  @doc """
  Starts a caller that the stack has answered before.
  """
  @spec start({:inet.ip_address(), :inet.port_number()}) :: pid
  def start(address) do
    parent = self()

    pid =
      spawn_link(fn ->
        {:ok, socket} = :gen_udp.open(0, [:binary, ip: @ip, active: true, recbuf: 4_194_304])
        known = for n <- 1..3, do: ask(socket, address, "OPTIONS", "known#{n}")

        for id <- known,
            do:
              receive(
                do: ({:udp, ^socket, _, _, "SIP/2.0 200" <> _} -> id),
                after: (2_000 -> exit(:unknown))
              )

        send(parent, {:known, self()})
        call(%{socket: socket, address: address, n: 0, asked: %{}, outcomes: []})
      end)

    receive do: ({:known, ^pid} -> pid)
  end

  @doc """
  Ends it. Returns the outcomes.
  """
  @spec stop(pid) :: [outcome]
  def stop(pid) do
    send(pid, {:stop, self()})
    receive do: ({:outcomes, outcomes} -> outcomes)
  end

  defp call(state) do
    Process.send_after(self(), :next, @pause_ms)
    loop(state)
  end

  defp loop(%{socket: socket} = state) do
    receive do
      :next ->
        method = if rem(state.n, 2) == 0, do: "INVITE", else: "OPTIONS"
        id = "regular#{state.n}"
        ask(socket, state.address, method, id)
        Process.send_after(self(), {:again, method, id}, @again_ms)
        call(%{state | n: state.n + 1, asked: Map.put(state.asked, id, now())})

      {:again, method, id} ->
        if is_map_key(state.asked, id), do: ask(socket, state.address, method, id)
        loop(state)

      {:udp, ^socket, _ip, _port, octets} ->
        loop(answered(state, Message.parse!(octets)))

      {:stop, pid} ->
        unanswered = for {_id, at} <- state.asked, do: {at, nil}
        send(pid, {:outcomes, unanswered ++ state.outcomes})
    end
  end

  defp answered(state, %Message{start_line: %{status_code: status}}) when status < 200, do: state

  defp answered(%{asked: asked} = state, %Message{headers: headers, start_line: line} = response) do
    if match?({_number, :invite}, headers.cseq), do: acknowledge(state, response)

    case Map.pop(asked, headers.call_id) do
      # An answer that came again.
      {nil, _asked} -> state
      {at, asked} -> %{state | asked: asked, outcomes: [{at, line.status_code} | state.outcomes]}
    end
  end

  defp acknowledge(%{socket: socket, address: address}, response) do
    {_name, _uri, %{"tag" => tag}} = response.headers.to
    ask(socket, address, "ACK", response.headers.call_id, ";tag=#{tag}")
  end

  defp ask(socket, {ip, port}, method, id, tag \\ "") do
    user = if method == "OPTIONS", do: "bob", else: "busy"

    text =
      "#{method} sip:#{user}@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.200;rport;branch=z9hG4bK#{id}\r\n" <>
        "Max-Forwards: 70\r\nFrom: <sip:alice@127.0.0.200>;tag=#{id}\r\nTo: <sip:#{user}@127.0.0.1>#{tag}\r\n" <>
        "Call-ID: #{id}\r\nCSeq: 1 #{method}\r\nContact: <sip:alice@127.0.0.200>\r\nContent-Length: 0\r\n\r\n"

    :ok = :gen_udp.send(socket, ip, port, text)
    id
  end

  @doc """
  The time of the outcomes.
  """
  @spec now() :: integer
  def now, do: System.monotonic_time(:millisecond)
end
