defmodule Sippet.Transactions.Server.Invite do
  @moduledoc """
  The INVITE server transaction: RFC 3261 §17.2.1, with the Accepted state of RFC 6026.

  ```
                    INVITE
                      | to the core; 100 if it has not answered in 200 ms
                      v
    INVITE:     +------------+  1xx from the core: send
   last 1xx +---| proceeding |-------+
    again   +-->|            |<------+
                +------------+
   300-699 from |          | 2xx from
  the core: send|          | the core: send
                v          |
          +-----------+    |
     +----| completed |    +------->+----------+ INVITE: -
     +--->|           |             | accepted | ACK: to the core
   G, INVITE:         |             |          | 2xx from the core: send
   send again         |             +----------+
          +-----------+                  |
     ACK    |     | H: tell the core     | L
            v     +---------+            |
     +-----------+          |            |
     | confirmed |          |            |
     +-----------+          |            |
            | I             v            v
     +-----------------------------------------+
     |               terminated                |
     +-----------------------------------------+
  ```

  | event | proceeding | completed | confirmed | accepted |
  |---|---|---|---|---|
  | INVITE again | the last 1xx again, if any | the response again | ignored | ignored |
  | ACK | ignored | confirmed | ignored | to the core |
  | ACK of the 2xx's dialog | ignored | ignored | ignored | the 2xx is not repeated any more |
  | 1xx from the core | sent | ignored | ignored | ignored |
  | 1xx to be repeated | sent, repeated | ignored | ignored | ignored |
  | PRACK of that 1xx | not repeated any more | ignored | ignored | ignored |
  | 64·T1 without its PRACK | 504 sent, `:no_prack` to the core; completed | | | |
  | 2xx from the core | sent; accepted | ignored | ignored | sent |
  | 300-699 from the core | sent; completed | ignored | ignored | ignored |
  | 300-699 without a transaction | sent; ends | ignored | ignored | ignored |
  | 2xx to be repeated | sent, repeated; accepted | ignored | ignored | repeated until its ACK has come |
  | 200 ms | 100 sent | | | |
  | no answer from the core | 500 sent, `:no_answer` to the core; completed | | | |
  | no answer after ringing | 500 sent, `:no_answer` to the core; completed | | | |
  | the core fails | 500 sent; completed | ignored | ignored | ignored |
  | Timer G | | the response again | | |
  | Timer H | | `:no_ack` to the core; ends | | |
  | Timer I | | | ends | |
  | Timer L | | | | ends; `:no_ack` to the core if a 2xx is still being repeated |
  | a send fails | reason to the core | reason to the core | ignored | reason to the core |
  | its place is another's | 503 without a transaction, `:overload` to the core; ends | ends | ignored | ignored |
  | terminate | ends | ends | ends | ends |

  Whatever else comes is ignored in every state. That a send failed is told once for each response, and ends nothing
  (RFC 6026 §7.1). An ACK from a peer of RFC 2543 ends completed only if its To tag is that of the response (§17.2.3).
  A 1xx that is to be repeated is a reliable one (RFC 3262 §3): at intervals of T1 that double, until its PRACK comes.
  The time for an answer is the stack's `:answer_timeout`. From the first 101-199 of the core on it is `:ring_timeout`, and
  starts anew with each.
  """

  @behaviour Sippet.Transactions.Machine

  import Sippet.Transactions.Machine, only: [passed?: 2]

  alias Sippet.Transactions.{Machine, Timers}

  # `told?` says whether the core knows that the last response could not be sent.
  #
  # `patience` is how long a far end may ring, in ms, where that is not the stack's option.
  #
  # `unacked` are the reliable 1xx without their PRACK, as `{rseq, octets, at, interval, give_up_at}`.
  #
  #   {:proceeding, trying_at, no_answer_at, last_provisional | nil, told?, patience | nil, unacked}
  #   {:completed, response, to_tag, g_at, g_interval, h_at, told?}
  #   {:confirmed, i_at}
  #   {:accepted, l_at, acks, told?}
  #
  # `acks` are the 2xx by their To tags: `:acked`, `:awaited`, or repeated till then as `{octets, at, interval}`.

  @impl true
  def start(_octets, now, timers) do
    trying_at = Timers.at(:invite_trying, now, timers)
    {{:proceeding, trying_at, Timers.at(:invite_no_answer, now, timers), nil, false, nil, []}, []}
  end

  @impl true
  def due({:proceeding, trying_at, no_answer_at, _last, _told?, _patience, unacked}) do
    Enum.reduce(unacked, Machine.earlier(trying_at, no_answer_at), fn
      {_rseq, _octets, at, _interval, give_up_at}, due ->
        at |> Machine.earlier(give_up_at) |> Machine.earlier(due)
    end)
  end

  def due({:completed, _response, _tag, g_at, _interval, h_at, _told?}),
    do: Machine.earlier(g_at, h_at)

  def due({:confirmed, i_at}), do: i_at

  def due({:accepted, l_at, acks, _told?}) do
    Enum.reduce(acks, l_at, fn
      {_tag, {_octets, at, _interval}}, due -> Machine.earlier(at, due)
      {_tag, _ack}, due -> due
    end)
  end

  @impl true
  def handle(state, event, now, timers)
  def handle(_state, :terminate, _now, _timers), do: {:terminated, :terminated, []}

  ## Proceeding

  # RFC3261§17.2.1 - 100, unless the core has answered within 200 ms
  def handle({:proceeding, trying_at, no_answer_at, last, told?, patience, unacked}, :due, now, _)
      when passed?(trying_at, now),
      do: {{:proceeding, :never, no_answer_at, last, told?, patience, unacked}, [{:make, 100}]}

  def handle({:proceeding, trying_at, no_answer_at, last, told?, patience, unacked}, :due, now, _)
      when passed?(no_answer_at, now) do
    {{:proceeding, trying_at, :never, last, told?, patience, unacked},
     [:abandon, {:tell, :receive_error, :no_answer}, {:make, 500}]}
  end

  def handle({:proceeding, trying_at, at, last, told?, patience, unacked}, :due, now, timers) do
    case Enum.any?(unacked, fn {_, _, _, _, give_up_at} -> passed?(give_up_at, now) end) do
      # RFC3262§3 - the INVITE is refused
      true ->
        {{:proceeding, trying_at, at, last, told?, patience, []},
         [:abandon, {:tell, :receive_error, :no_prack}, {:make, 504}]}

      false ->
        {unacked, sends} = Enum.map_reduce(unacked, [], &repeat_1xx(&1, &2, now, timers))
        {{:proceeding, trying_at, at, last, told?, patience, unacked}, Enum.reverse(sends)}
    end
  end

  def handle({:proceeding, _, no_answer_at, _, _, patience, unacked}, {:trying, octets}, _, _),
    do: {{:proceeding, :never, no_answer_at, octets, false, patience, unacked}, [{:send, octets}]}

  def handle({:proceeding, _, _, last, _, _, _} = state, {:request, :invite}, _now, _timers)
      when last != nil,
      do: {state, [{:send, last}]}

  # A 100 says no more than the stack's own.
  def handle({:proceeding, _, at, _, _, patience, unacked}, {:answer, 100, _, octets}, _, _),
    do: {{:proceeding, :never, at, octets, false, patience, unacked}, [{:send, octets}]}

  def handle(
        {:proceeding, _, _, _, _, patience, unacked},
        {:answer, status, _, octets},
        now,
        timers
      )
      when status < 200 do
    at = ringing_until(patience, now, timers)
    {{:proceeding, :never, at, octets, false, patience, unacked}, [{:send, octets}]}
  end

  # The core has sent it, or has it sent now.
  def handle(
        {:proceeding, _, _, last, _, patience, unacked} = state,
        {:reliable, rseq, octets},
        now,
        timers
      ) do
    if List.keymember?(unacked, rseq, 0) do
      {state, []}
    else
      interval = Timers.first(:repeat_1xx, timers)
      one = {rseq, octets, now + interval, interval, Timers.at(:prack, now, timers)}
      at = ringing_until(patience, now, timers)
      send = if octets == last, do: [], else: [{:send, octets}]

      {{:proceeding, :never, at, octets, false, patience, unacked ++ [one]},
       send ++ [{:await_ack, :prack}]}
    end
  end

  def handle({:proceeding, trying_at, at, last, told?, patience, unacked}, {:pracked, rseq}, _, _) do
    {{:proceeding, trying_at, at, last, told?, patience, List.keydelete(unacked, rseq, 0)}, []}
  end

  def handle({:proceeding, trying_at, _, last, told?, _, unacked}, {:patience, ms}, now, _timers),
    do: {{:proceeding, trying_at, now + ms, last, told?, ms, unacked}, []}

  # The ACK may come before the core asks for repetition: it is awaited from the first 2xx on.
  def handle({:proceeding, _, _, _, _, _, _}, {:answer, status, tag, octets}, now, timers)
      when status < 300 do
    {{:accepted, Timers.at(:l, now, timers), [{tag, :awaited}], false},
     [{:send, octets}, {:await_ack, tag}, :finished]}
  end

  def handle({:proceeding, _, _, _, _, _, _}, {:answer, _status, tag, octets}, now, timers) do
    {g_at, interval} = repetition(:g, now, timers)
    h_at = Timers.at(:h, now, timers)
    {{:completed, octets, tag, g_at, interval, h_at, false}, [{:send, octets}, :finished]}
  end

  def handle({:proceeding, _, _, _, _, _, _}, :lose_place, _now, _timers) do
    {:terminated, :overload, [:abandon, {:refuse, 503}, {:tell, :receive_error, :overload}]}
  end

  # RFC3261§8.2.7 - what is known of its ACK is known without state
  def handle({:proceeding, _, _, _, _, _, _}, {:reply, octets}, _now, _timers),
    do: {:terminated, :normal, [{:send, octets}]}

  # Nothing was sent yet: the 2xx is sent now, and repeated by the state that this leads to.
  def handle({:proceeding, _, _, _, _, _, _}, {:repeat, tag, octets}, now, timers) do
    {{:accepted, Timers.at(:l, now, timers), [{tag, repeated(octets, now, timers)}], false},
     [{:send, octets}, {:await_ack, tag}, :finished]}
  end

  def handle(
        {:proceeding, trying_at, at, last, false, patience, unacked},
        {:error, reason},
        _now,
        _timers
      ),
      do:
        {{:proceeding, trying_at, at, last, true, patience, unacked},
         [{:tell, :receive_error, reason}]}

  ## Completed

  # RFC3261§17.2.1 - no ACK came: the core has to know
  def handle({:completed, _, _, _, _, h_at, _}, :due, now, _timers) when passed?(h_at, now),
    do: Machine.fail(:no_ack, :timeout)

  def handle({:completed, octets, tag, g_at, interval, h_at, told?}, :due, now, timers)
      when passed?(g_at, now) do
    interval = Timers.next(:g, interval, timers)
    {{:completed, octets, tag, now + interval, interval, h_at, told?}, [{:send, octets}]}
  end

  def handle({:completed, octets, _, _, _, _, _} = state, {:request, :invite}, _now, _timers),
    do: {state, [{:send, octets}]}

  # RFC3261§17.2.3 - an RFC 2543 branch does not tell the ACK of this response from others; the To tag does
  def handle({:completed, _, tag, _, _, _, _}, {:ack, tag, _request}, now, timers),
    do: {{:confirmed, Timers.at(:i, now, timers)}, []}

  def handle({:completed, _, _, _, _, _, _}, {:ack, :any, _request}, now, timers),
    do: {{:confirmed, Timers.at(:i, now, timers)}, []}

  def handle({:completed, octets, tag, at, ms, h_at, false}, {:error, reason}, _now, _timers),
    do: {{:completed, octets, tag, at, ms, h_at, true}, [{:tell, :receive_error, reason}]}

  # Its ACK is known without state.
  def handle({:completed, _, _, _, _, _, _}, :lose_place, _now, _timers),
    do: {:terminated, :overload, []}

  ## Confirmed

  def handle({:confirmed, i_at}, :due, now, _timers) when passed?(i_at, now),
    do: {:terminated, :normal, []}

  ## Accepted

  def handle({:accepted, l_at, acks, _told?}, :due, now, _timers) when passed?(l_at, now) do
    case Enum.any?(acks, &match?({_tag, {_octets, _at, _interval}}, &1)) do
      true -> Machine.fail(:no_ack, :timeout)
      false -> {:terminated, :normal, []}
    end
  end

  # RFC3261§13.3.1.4 - from T1, doubled up to T2, until the ACK comes, over any transport
  def handle({:accepted, l_at, acks, told?}, :due, now, timers) do
    {acks, sends} =
      Enum.map_reduce(acks, [], fn
        {tag, {octets, at, interval}}, sends when at <= now ->
          interval = Timers.next(:repeat, interval, timers)
          {{tag, {octets, now + interval, interval}}, [{:send, octets} | sends]}

        ack, sends ->
          {ack, sends}
      end)

    {{:accepted, l_at, acks, told?}, sends}
  end

  # RFC6026§7.1 - an ACK that comes by the INVITE's branch is none of the transaction's
  def handle({:accepted, _, _, _} = state, {:ack, _tag, request}, now, timers) do
    tag = Sippet.Transactions.Key.tag(request.headers[:to])
    {state, actions} = handle(state, {:acked, tag}, now, timers)
    {state, [{:tell_stray, request} | actions]}
  end

  def handle({:accepted, l_at, acks, told?} = state, {:acked, tag}, _now, _timers) do
    case List.keymember?(acks, tag, 0) do
      true ->
        {{:accepted, l_at, List.keyreplace(acks, tag, 0, {tag, :acked}), told?},
         [{:forget_ack, tag}]}

      false ->
        {state, []}
    end
  end

  # RFC6026§7.1 - the core may pass its 2xx again, or that of another branch
  def handle({:accepted, l_at, acks, _told?}, {:answer, status, tag, octets}, _now, _timers)
      when status in 200..299 do
    {acks, actions} = awaiting(acks, tag)
    {{:accepted, l_at, acks, false}, [{:send, octets} | actions]}
  end

  def handle({:accepted, l_at, acks, told?}, {:repeat, tag, octets}, now, timers) do
    {acks, actions} = awaiting(acks, tag)

    acks =
      if {tag, :awaited} in acks,
        do: List.keyreplace(acks, tag, 0, {tag, repeated(octets, now, timers)}),
        else: acks

    {{:accepted, l_at, acks, told?}, actions}
  end

  def handle({:accepted, l_at, acks, false}, {:error, reason}, _now, _timers),
    do: {{:accepted, l_at, acks, true}, [{:tell, :receive_error, reason}]}

  def handle(state, _event, _now, _timers), do: {state, []}

  defp ringing_until(nil, now, timers), do: Timers.at(:invite_ringing, now, timers)
  defp ringing_until(patience, now, _timers), do: now + patience

  defp repeat_1xx({rseq, octets, at, interval, give_up_at}, sends, now, timers) when at <= now do
    interval = Timers.next(:repeat_1xx, interval, timers)
    {{rseq, octets, now + interval, interval, give_up_at}, [{:send, octets} | sends]}
  end

  defp repeat_1xx(later, sends, _now, _timers), do: {later, sends}

  @doc """
  Whether a reliable provisional response with this number waits for its PRACK; `nil` once the INVITE has its final response.
  """
  @spec unacknowledged?(tuple, non_neg_integer) :: boolean | nil
  def unacknowledged?({:proceeding, _, _, _, _, _, unacked}, rseq),
    do: List.keymember?(unacked, rseq, 0)

  def unacknowledged?(_answered, _rseq), do: nil

  defp awaiting(acks, tag) do
    case List.keymember?(acks, tag, 0) do
      true -> {acks, []}
      false -> {[{tag, :awaited} | acks], [{:await_ack, tag}]}
    end
  end

  defp repeated(octets, now, timers) do
    {at, interval} = repetition(:repeat, now, timers)
    {octets, at, interval}
  end

  defp repetition(name, now, timers) do
    case Timers.first(name, timers) do
      :never -> {:never, nil}
      interval -> {now + interval, interval}
    end
  end
end
