defmodule Sippet.Transactions.Server.NonInvite do
  @moduledoc """
  The non-INVITE server transaction: RFC 3261 §17.2.2, with the rules of RFC 4320.

  ```
                  request
                     | to the core
                     v
              +------------+
              |   trying   |---------+
              +------------+         |
                     | 100           |
                     v               | 200-699 from
    request:  +------------+         | the core: send
   100 again  | proceeding |         |
       +------|            |         |
       +----->|            |         |
              +------------+         |
                     | 200-699 from  |
                     | the core: send|
                     v               |
    request:  +------------+         |
    response  | completed  |<--------+
    again +---|            |
          +-->|            |
              +------------+
                     | J                  no answer for 64*T1
                     v                    in trying, proceeding
              +------------+                      |
              | terminated |<---------------------+
              +------------+
  ```

  | event | trying | proceeding | completed |
  |---|---|---|---|
  | the request again | ignored | 100 again | the response again |
  | 100 from the core | sent over a reliable transport; proceeding | sent | ignored |
  | 101-199 from the core | ignored | ignored | ignored |
  | 408 from the core | ignored | ignored | ignored |
  | 200-699 from the core | sent; completed | sent; completed | ignored |
  | the time until Timer E is T2 | 100 sent; proceeding | | |
  | 64·T1 without an answer | ends | ends | |
  | the core fails | 500 sent; completed | 500 sent; completed | ignored |
  | Timer J | | | ends |
  | a send fails | | reason to the core | reason to the core |
  | terminate | ends | ends | ends |

  Whatever else comes is ignored in every state. RFC 4320 §4.1 allows no provisional response but 100, and that over an
  unreliable transport not before a client's Timer E has reached T2 (3.5 s with the defaults); then it is sent by
  itself. §4.2 allows no 408: when it is too late for an answer, none is sent. That a send failed is told once for
  each response, and ends nothing (RFC 3261 §17.2.4 as of RFC 6026 §8.8).
  """

  @behaviour :gen_statem

  alias Sippet.Transactions.{Machine, Packet}

  @impl true
  def callback_mode, do: [:state_functions, :state_enter]

  @impl true
  def init(seed), do: Machine.init(seed, :trying)

  @doc false
  def trying(type, event, data)
  def trying(:enter, _state, _data), do: :keep_state_and_data

  # The time for an answer runs on in proceeding.
  def trying(:internal, :start, data) do
    timers =
      Machine.timer(data, :trying, {:timeout, :trying}) ++
        Machine.timer(data, :no_answer, {:timeout, :answer})

    {:keep_state, Machine.hand_over(data), timers}
  end

  # RFC4320§4.1 - 100, as the client repeats its request every T2 now
  def trying({:timeout, :trying}, :trying, data), do: provisional(Machine.trying(data), data)

  # RFC4320§4.1 - over a reliable transport at any time, over others not before
  def trying(
        :cast,
        {:answer, %Packet{message: %{start_line: %{status_code: 100}}} = packet},
        data
      ) do
    if data.transport.reliable?, do: provisional(packet, data), else: :keep_state_and_data
  end

  def trying(type, event, data), do: unanswered(type, event, :trying, data)

  @doc false
  def proceeding(type, event, data)
  def proceeding(:enter, _state, _data), do: :keep_state_and_data
  def proceeding(:cast, {:request, _request}, data), do: {:keep_state, Machine.repeat(data)}

  def proceeding(
        :cast,
        {:answer, %Packet{message: %{start_line: %{status_code: 100}}} = packet},
        data
      ),
      do: {:keep_state, Machine.answer(data, packet)}

  def proceeding(:cast, {:error, reason}, data),
    do: {:keep_state, Machine.undelivered(data, reason)}

  def proceeding(type, event, data), do: unanswered(type, event, :proceeding, data)

  @doc false
  def completed(type, event, data)
  def completed(:enter, _state, data), do: Machine.wait_out(data, :j)
  def completed(:state_timeout, :j, data), do: Machine.stop(data, :normal)
  def completed(:cast, {:request, _request}, data), do: {:keep_state, Machine.repeat(data)}

  def completed(:cast, {:error, reason}, data),
    do: {:keep_state, Machine.undelivered(data, reason)}

  def completed(type, event, data), do: Machine.common(type, event, :completed, data)

  @doc false
  defdelegate terminated(type, event, data), to: Machine

  @impl true
  defdelegate terminate(reason, state, data), to: Machine

  defp provisional(packet, data),
    do:
      {:next_state, :proceeding, Machine.answer(data, packet),
       Machine.stop_timers(data, [:trying])}

  # RFC4320§4.2 - an answer that comes too late for the client is none
  defp unanswered({:timeout, :answer}, :no_answer, _state, data) do
    Machine.abandon(data)
    Machine.stop(data, :timeout)
  end

  defp unanswered(:cast, {:answer, packet}, _state, data),
    do: answer(packet.message.start_line.status_code, packet, data)

  defp unanswered(type, event, state, data), do: Machine.common(type, event, state, data)

  # RFC4320§4.1, §4.2 - no provisional response but 100, and no 408
  defp answer(status, _packet, _data) when status < 200 or status == 408,
    do: :keep_state_and_data

  defp answer(_status, packet, data) do
    data = data |> Machine.answer(packet) |> Machine.finished(packet)
    {:next_state, :completed, data, Machine.stop_timers(data, [:trying, :answer])}
  end
end
