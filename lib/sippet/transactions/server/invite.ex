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
  | 2xx from the core | sent; accepted | ignored | ignored | sent |
  | 300-699 from the core | sent; completed | ignored | ignored | ignored |
  | 2xx to be repeated | sent, repeated; accepted | ignored | ignored | repeated until its ACK has come |
  | 200 ms | 100 sent | | | |
  | no answer from the core | 500 sent, `:no_answer` to the core; completed | | | |
  | the core fails | 500 sent; completed | ignored | ignored | ignored |
  | Timer G | | the response again | | |
  | Timer H | | `:no_ack` to the core; ends | | |
  | Timer I | | | ends | |
  | Timer L | | | | ends; `:no_ack` to the core if a 2xx is still being repeated |
  | a send fails | reason to the core | reason to the core | ignored | reason to the core |
  | terminate | ends | ends | ends | ends |

  Whatever else comes is ignored in every state. That a send failed is told once for each response, and ends nothing
  (RFC 6026 §7.1). An ACK from a peer of RFC 2543 ends completed only if its To tag is that of the response (§17.2.3).
  The time for an answer (the stack's `:answer_timeout`) starts anew with each 1xx from the core.
  """

  @behaviour :gen_statem

  alias Sippet.Message
  alias Sippet.Transactions.{Clock, Dialogs, Key, Machine, Packet, Timers}

  @impl true
  def callback_mode, do: [:state_functions, :state_enter]

  @impl true
  def init(seed), do: Machine.init(seed, :proceeding)

  @doc false
  def proceeding(type, event, data)
  def proceeding(:enter, _state, _data), do: :keep_state_and_data

  def proceeding(:internal, :start, data) do
    timers = Machine.timer(data, :invite_trying, {:timeout, :trying}) ++ patience(data)
    {:keep_state, Machine.hand_over(data), timers}
  end

  # RFC3261§17.2.1 - 100, unless the core has answered within 200 ms
  def proceeding({:timeout, :trying}, :invite_trying, data),
    do: {:keep_state, Machine.answer(data, Machine.trying(data))}

  def proceeding({:timeout, :answer}, :invite_no_answer, %{request: request} = data) do
    Machine.abandon(data)
    data = Machine.tell(data, :receive_error, :no_answer)
    {:keep_state, data, [{:next_event, :cast, {:answer, Machine.error(request)}}]}
  end

  def proceeding(:cast, {:request, %Message{start_line: %{method: :invite}}}, data) do
    if data.packet, do: {:keep_state, Machine.repeat(data)}, else: :keep_state_and_data
  end

  def proceeding(:cast, {:answer, packet}, data), do: answer(class(packet), packet, data)

  # Nothing was sent yet: the 2xx is sent now, and repeated by the state that this leads to.
  def proceeding(:cast, {:repeat, packet} = repeat, data) do
    {:next_state, :accepted, data, actions} = answer(:accepted, packet, data)
    {:next_state, :accepted, data, actions ++ [{:next_event, :cast, repeat}]}
  end

  def proceeding(:cast, {:error, reason}, data),
    do: {:keep_state, Machine.undelivered(data, reason)}

  def proceeding(type, event, data), do: Machine.common(type, event, :proceeding, data)

  @doc false
  def completed(type, event, data)

  def completed(:enter, _state, data) do
    {data, timer_g} = Machine.repeating(data, :g)
    {:keep_state, data, timer_g ++ Machine.timer(data, :h, :state_timeout)}
  end

  def completed({:timeout, :g}, :g, data) do
    {data, timer_g} = data |> Machine.repeat() |> Machine.repeating(:g)
    {:keep_state, data, timer_g}
  end

  # RFC3261§17.2.1 - no ACK came: the core has to know
  def completed(:state_timeout, :h, data), do: Machine.fail(data, :no_ack, :timeout)

  def completed(:cast, {:request, %Message{start_line: %{method: :invite}}}, data),
    do: {:keep_state, Machine.repeat(data)}

  def completed(:cast, {:request, %Message{start_line: %{method: :ack}} = ack}, data) do
    if ours?(ack, data),
      do: {:next_state, :confirmed, Machine.finished(data, nil), Machine.stop_timers(data, [:g])},
      else: :keep_state_and_data
  end

  def completed(:cast, {:error, reason}, data),
    do: {:keep_state, Machine.undelivered(data, reason)}

  def completed(type, event, data), do: Machine.common(type, event, :completed, data)

  @doc false
  def confirmed(type, event, data)
  def confirmed(:enter, _state, data), do: Machine.wait_out(data, :i)
  def confirmed(:state_timeout, :i, data), do: Machine.stop(data, :normal)
  def confirmed(type, event, data), do: Machine.common(type, event, :confirmed, data)

  @doc false
  def accepted(type, event, data)
  def accepted(:enter, _state, data), do: Machine.wait_out(data, :l)

  def accepted(:state_timeout, :l, data) do
    if Enum.any?(data.acks, fn {_tag, ack} -> ack == :repeated end),
      do: Machine.fail(data, :no_ack, :timeout),
      else: Machine.stop(data, :normal)
  end

  # RFC6026§7.1 - an ACK that comes by the INVITE's branch is none of the transaction's
  def accepted(:cast, {:request, %Message{start_line: %{method: :ack}} = ack}, data) do
    data = Machine.tell(data, :receive_request, ack, nil)
    {:keep_state, data, [{:next_event, :cast, {:acked, Dialogs.id(ack)}}]}
  end

  def accepted(:cast, {:acked, {:ack, _call_id, _from_tag, tag, _number} = id}, data)
      when is_map_key(data.acks, tag) do
    Dialogs.forget(data.stack, id)
    data = %{data | acks: %{data.acks | tag => :acked}}
    timers = Machine.stop_timers(data, [{:repeat, tag}])
    {:keep_state, data, [{{:timeout, :shelve}, 0, :shelve} | timers]}
  end

  def accepted(:cast, {:answer, packet}, data) do
    # RFC6026§7.1 - the core may pass its 2xx again, or that of another branch
    if class(packet) == :accepted,
      do: {:keep_state, send_2xx(%{await_ack(data, packet) | told?: false}, packet)},
      else: :keep_state_and_data
  end

  def accepted(:cast, {:repeat, packet}, data), do: data |> await_ack(packet) |> repeat(packet)

  def accepted({:timeout, {:repeat, tag}}, {packet, interval}, data) do
    interval = Timers.next(:repeat, data.stack.options, interval)
    {:keep_state, send_2xx(data, packet), repeat_timer(data, tag, packet, interval)}
  end

  def accepted(:cast, {:error, reason}, data),
    do: {:keep_state, Machine.undelivered(data, reason)}

  def accepted(type, event, data), do: Machine.common(type, event, :accepted, data)

  @doc false
  defdelegate terminated(type, event, data), to: Machine

  @impl true
  defdelegate terminate(reason, state, data), to: Machine

  defp patience(data), do: Machine.timer(data, :invite_no_answer, {:timeout, :answer})

  defp class(%Packet{message: %{start_line: %{status_code: status}}}) when status < 200,
    do: :provisional

  defp class(%Packet{message: %{start_line: %{status_code: status}}}) when status < 300,
    do: :accepted

  defp class(%Packet{}), do: :rejected

  defp answer(:provisional, packet, data) do
    timers = Machine.stop_timers(data, [:trying]) ++ patience(data)
    {:keep_state, Machine.answer(data, packet), timers}
  end

  defp answer(:accepted, packet, data) do
    data = data |> await_ack(packet) |> Machine.answer(packet) |> Machine.finished(nil)
    {:next_state, :accepted, data, Machine.stop_timers(data, [:trying, :answer])}
  end

  defp answer(:rejected, packet, data) do
    data = data |> Machine.answer(packet) |> Machine.finished(packet)
    data = %{data | tag: to_tag(packet)}
    {:next_state, :completed, data, Machine.stop_timers(data, [:trying, :answer])}
  end

  # RFC3261§17.2.3 - an RFC 2543 branch does not tell the ACK of this response from others; the To tag does
  defp ours?(ack, data),
    do: not Key.rfc2543?(data.key) or Key.tag(ack.headers[:to]) == data.tag

  defp to_tag(%Packet{message: response}), do: Key.tag(response.headers[:to])

  # The ACK may come before the core asks for repetition: it is awaited from the first 2xx on.
  defp await_ack(data, packet) do
    tag = to_tag(packet)

    if is_map_key(data.acks, tag) do
      data
    else
      Dialogs.await(data.stack, packet.message)
      %{data | acks: Map.put(data.acks, tag, :awaited)}
    end
  end

  # RFC3261§13.3.1.4 - from T1, doubled up to T2, until the ACK comes, over any transport
  defp repeat(data, packet) do
    tag = to_tag(packet)

    if data.acks[tag] == :awaited do
      first = Timers.first(:repeat, data.stack.options, data.transport.reliable?)
      timer = repeat_timer(data, tag, Packet.slim(packet, data.transport), first)
      {:keep_state, %{data | acks: %{data.acks | tag => :repeated}}, timer}
    else
      {:keep_state, data}
    end
  end

  defp repeat_timer(data, tag, packet, interval),
    do: Clock.set(data.stack, {:timeout, {:repeat, tag}}, interval, {packet, interval})

  defp send_2xx(data, packet), do: %{Machine.repeat(%{data | packet: packet}) | packet: nil}
end
