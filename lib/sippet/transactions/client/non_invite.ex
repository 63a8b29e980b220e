defmodule Sippet.Transactions.Client.NonInvite do
  @moduledoc """
  The non-INVITE client transaction: RFC 3261 §17.1.2.

  ```
                 request from the core
                         | send it
                         v
   E: send again   +------------+   F, or not sent: tell the core
        +----------|   trying   |-------------------------------+
        +--------->|            |                               |
                   +------------+                               |
          200-699 |       | 1xx to the core                     |
          to the  |       v                                     |
            core  |  +------------+ F, or not sent: tell the core
   E: send again +|--| proceeding |---------------------------->|
                 +|->|            |--+                          |
                  |  |            |<-+ 1xx to the core          |
                  |  +------------+                             |
                  |       | 200-699 to the core                 |
                  v       v                                     |
                 +------------+                                 |
                 | completed  |                                 |
                 +------------+                                 |
                        | K                                     v
                 +-----------------------------------------------+
                 |                  terminated                   |
                 +-----------------------------------------------+
  ```

  | event | trying | proceeding | completed |
  |---|---|---|---|
  | 1xx | to the core; proceeding | to the core | ignored |
  | 200-699 | to the core; completed | to the core; completed | ignored |
  | Timer E | request again, next after twice the time, at most T2 | request again, next after T2 | |
  | Timer F | `:timeout` to the core; ends | `:timeout` to the core; ends | |
  | Timer K | | | ends |
  | a send fails | reason to the core; ends | reason to the core; ends | ignored |
  | host unreachable | reason to the core; ends | reason to the core; ends | ignored |
  | CANCEL was sent | ignored | ignored | ignored |
  | terminate | ends | ends | ends |

  Whatever else comes is ignored in every state.
  """

  @behaviour :gen_statem

  alias Sippet.Message
  alias Sippet.Transactions.Machine

  @impl true
  def callback_mode, do: [:state_functions, :state_enter]

  @impl true
  def init(seed), do: Machine.init(seed, :trying)

  @doc false
  def trying(type, event, data)

  # Timer F runs on in proceeding.
  def trying(:enter, _state, data),
    do: {:keep_state_and_data, Machine.timer(data, :f, {:timeout, :f})}

  def trying(:internal, :start, data), do: send_request(data)
  # RFC3261§17.1.2.2 - intervals double up to T2
  def trying({:timeout, :e}, :e, data), do: send_request(data)
  def trying(type, event, data), do: unanswered(type, event, :trying, data)

  @doc false
  def proceeding(type, event, data)
  def proceeding(:enter, _state, _data), do: :keep_state_and_data

  # RFC3261§17.1.2.2 - after a provisional response the interval is T2
  def proceeding({:timeout, :e}, :e, data),
    do: send_request(%{data | interval: data.stack.options.t2})

  def proceeding(type, event, data), do: unanswered(type, event, :proceeding, data)

  @doc false
  def completed(type, event, data)
  def completed(:enter, _state, data), do: Machine.wait_out(data, :k)
  def completed(:state_timeout, :k, data), do: Machine.stop(data, :normal)
  def completed(type, event, data), do: Machine.common(type, event, :completed, data)

  @doc false
  defdelegate terminated(type, event, data), to: Machine

  @impl true
  defdelegate terminate(reason, state, data), to: Machine

  defp send_request(data) do
    case Machine.transmit(data, data.packet) do
      :ok ->
        {data, timer} = Machine.repeating(data, :e)
        {:keep_state, data, timer}

      {:error, reason} ->
        Machine.fail(data, reason, :transport_error)
    end
  end

  defp unanswered({:timeout, :f}, :f, _state, data), do: Machine.fail(data, :timeout, :timeout)

  defp unanswered(:cast, {event, reason}, _state, data) when event in [:error, :unreachable],
    do: Machine.fail(data, reason, :transport_error)

  defp unanswered(:cast, {:response, %Message{start_line: line} = response}, _state, data) do
    data = Machine.tell(data, :receive_response, response)

    if line.status_code < 200,
      do: {:next_state, :proceeding, data},
      else:
        {:next_state, :completed, Machine.finished(data, nil),
         Machine.stop_timers(data, [:e, :f])}
  end

  defp unanswered(type, event, state, data), do: Machine.common(type, event, state, data)
end
