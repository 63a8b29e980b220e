defmodule Sippet.Transactions.Client.Invite do
  @moduledoc """
  The INVITE client transaction: RFC 3261 §17.1.1, with the Accepted state of RFC 6026.

  ```
                 INVITE from the core
                         | send INVITE
                         v
   A: send again   +-----------+   B, or not sent: tell the core
        +----------|  calling  |-------------------------------+
        +--------->|           |                               |
                   +-----------+                               |
        300-699 |       | 1xx       | 2xx                      |
                |       v           |                          |
                |  +------------+   |                          |
                |  | proceeding |   |   cancelled for 64*T1    |
                |  |            |---|------------------------->|
                |  +------------+   |                          |
                |   | 300-699 | 2xx |                          |
                v   v         v     v                          |
           +-----------+     +----------+                      |
   300-699 | completed |     | accepted | 2xx                  |
   +-------|           |     |          |---------+            |
   +------>|           |     |          |<--------+            |
  send ACK +-----------+     +----------+ to the core          |
                |  D              |  M                         |
                v                 v                            v
           +----------------------------------------------------+
           |                     terminated                     |
           +----------------------------------------------------+
  ```

  Every 1xx before a final response goes to the core and every 2xx, of the others the first one. A response from 300 to 699 is acknowledged here
  (§17.1.1.3), one from 200 to 299 by the core (§13.2.2.4).

  | event | calling | proceeding | completed | accepted |
  |---|---|---|---|---|
  | 1xx | to the core; proceeding | to the core | ignored | ignored |
  | 2xx | to the core; accepted | to the core; accepted | to the core | to the core |
  | ACK of a 2xx was sent | ignored | ignored | ignored | kept |
  | 2xx whose ACK was sent | | | | its ACK again |
  | 300-699 | ACK, to the core; completed | ACK, to the core; completed | the same ACK again | ignored |
  | Timer A | INVITE again | | | |
  | Timer B | `:timeout` to the core; ends | | | |
  | Timer D | | | ends | |
  | Timer M | | | | ends |
  | a send fails | reason to the core; ends | reason to the core; ends | reason to the core; ends | ignored |
  | host unreachable | reason to the core; ends | ignored | ignored | ignored |
  | CANCEL was sent | ends 64·T1 later | ends 64·T1 later | ignored | ignored |
  | 64·T1 after the CANCEL | `:timeout` to the core; ends | `:timeout` to the core; ends | | |
  | terminate | ends | ends | ends | ends |

  Whatever else comes is ignored in every state. In proceeding there is no time limit: how long a call may ring is for
  the core to say, by a CANCEL.
  """

  @behaviour Sippet.Transactions.Machine

  import Sippet.Transactions.Machine, only: [passed?: 2]

  alias Sippet.Transactions.{Key, Machine, Timers}

  #   {:calling, invite, a_at, a_interval, b_at, cancelled_at}
  #   {:proceeding, invite, cancelled_at}
  #   {:completed, ack, d_at}
  #   {:accepted, m_at, acks}
  #
  # `acks` are the core's own ACKs of 2xx by their To tags.

  @impl true
  def start(invite, now, timers) do
    {a_at, interval} =
      case Timers.first(:a, timers) do
        :never -> {:never, nil}
        interval -> {now + interval, interval}
      end

    {{:calling, invite, a_at, interval, Timers.at(:b, now, timers), :never}, [{:send, invite}]}
  end

  @impl true
  def due({:calling, _invite, a_at, _interval, b_at, cancelled_at}),
    do: a_at |> Machine.earlier(b_at) |> Machine.earlier(cancelled_at)

  def due({:proceeding, _invite, cancelled_at}), do: cancelled_at
  def due({:completed, _ack, d_at}), do: d_at
  def due({:accepted, m_at, _acks}), do: m_at

  @impl true
  def handle(state, event, now, timers)
  def handle(_state, :terminate, _now, _timers), do: {:terminated, :terminated, []}

  ## Calling

  def handle({:calling, _, _, _, b_at, cancelled_at}, :due, now, _timers)
      when passed?(b_at, now) or passed?(cancelled_at, now),
      do: Machine.fail(:timeout, :timeout)

  # RFC3261§17.1.1.2 - retransmitted at intervals that double
  def handle({:calling, invite, a_at, interval, b_at, cancelled_at}, :due, now, timers)
      when passed?(a_at, now) do
    interval = Timers.next(:a, interval, timers)
    {{:calling, invite, now + interval, interval, b_at, cancelled_at}, [{:send, invite}]}
  end

  def handle({:calling, _, _, _, _, _}, {event, reason}, _now, _timers)
      when event in [:error, :unreachable],
      do: Machine.fail(reason, :transport_error)

  # RFC3261§9.1 - a cancelled INVITE is over 64*T1 after the CANCEL: an old peer sends no 487
  def handle({:calling, invite, a_at, interval, b_at, _}, :cancelled, now, timers) do
    cancelled_at = Timers.at(:cancelled, now, timers)
    {{:calling, invite, a_at, interval, b_at, cancelled_at}, []}
  end

  def handle({:calling, invite, _, _, _, cancelled_at}, {:response, status, _} = event, _, _)
      when status < 200,
      do: {{:proceeding, invite, cancelled_at}, [to_the_core(event)]}

  def handle({:calling, invite, _, _, _, _}, {:response, _, _} = event, now, timers),
    do: final(invite, event, now, timers)

  def handle({:calling, _, _, _, _, _}, {:acknowledge, ack}, now, timers),
    do: completed(ack, now, timers)

  ## Proceeding

  def handle({:proceeding, _, cancelled_at}, :due, now, _timers)
      when passed?(cancelled_at, now),
      do: Machine.fail(:timeout, :timeout)

  def handle({:proceeding, _, _}, {:error, reason}, _now, _timers),
    do: Machine.fail(reason, :transport_error)

  def handle({:proceeding, invite, _}, :cancelled, now, timers),
    do: {{:proceeding, invite, Timers.at(:cancelled, now, timers)}, []}

  def handle({:proceeding, _, _} = state, {:response, status, _} = event, _now, _timers)
      when status < 200,
      do: {state, [to_the_core(event)]}

  def handle({:proceeding, invite, _}, {:response, _, _} = event, now, timers),
    do: final(invite, event, now, timers)

  def handle({:proceeding, _, _}, {:acknowledge, ack}, now, timers),
    do: completed(ack, now, timers)

  ## Completed

  def handle({:completed, _, d_at}, :due, now, _timers) when passed?(d_at, now),
    do: {:terminated, :normal, []}

  # RFC6026§7.2 - the responses that are repeated here are those from 300 to 699
  def handle({:completed, ack, _} = state, {:response, status, _response}, _now, _timers)
      when status >= 300,
      do: {state, [{:send, ack}]}

  # RFC3261§16.7 step 5 - a proxy that has given up by itself passes a 2xx on that comes all the same, and somebody has to
  # acknowledge it
  def handle({:completed, _, _} = state, {:response, status, _} = event, _now, _timers)
      when status in 200..299,
      do: {state, [to_the_core(event)]}

  def handle({:completed, _, _}, {:error, reason}, _now, _timers),
    do: Machine.fail(reason, :transport_error)

  ## Accepted

  def handle({:accepted, m_at, _acks}, :due, now, _timers) when passed?(m_at, now),
    do: {:terminated, :normal, []}

  # RFC6026§7.2 - other branches of a fork may answer too. A 2xx that comes again did not see its ACK (RFC3261§13.2.2.4): it
  # gets that once more. Where the core has made none, it is the core that hears of each, as a proxy does.
  def handle({:accepted, _m_at, acks} = state, {:response, status, response} = event, _now, _)
      when status in 200..299 do
    case acks do
      %{} when acks == %{} -> {state, [to_the_core(event)]}
      %{} -> {state, [again(acks, Key.tag(response.headers[:to]), event)]}
    end
  end

  def handle({:accepted, m_at, acks}, {:acknowledged, tag, ack}, _now, _timers),
    do: {{:accepted, m_at, Map.put(acks, tag, ack)}, []}

  def handle(state, _event, _now, _timers), do: {state, []}

  defp final(_invite, {:response, status, _} = event, now, timers) when status < 300,
    do:
      {{:accepted, Timers.at(:m, now, timers), %{}},
       [{:await_2xx, elem(event, 2)}, to_the_core(event), :finished]}

  # The state is left when the ACK is made.
  defp final(invite, {:response, _status, response} = event, _now, _timers) do
    {{:proceeding, invite, :never}, [to_the_core(event), {:make_ack, invite, response}]}
  end

  defp again(acks, tag, event) do
    case acks do
      %{^tag => ack} -> {:send_ack, ack}
      %{} -> to_the_core(event)
    end
  end

  defp completed(ack, now, timers),
    do: {{:completed, ack, Timers.at(:d, now, timers)}, [{:send, ack}, :finished]}

  defp to_the_core({:response, _status, response}), do: {:tell, :receive_response, response}
end
