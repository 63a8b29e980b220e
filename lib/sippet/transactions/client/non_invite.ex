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

  @behaviour Sippet.Transactions.Machine

  import Sippet.Transactions.Machine, only: [passed?: 2]

  alias Sippet.Transactions.{Machine, Timers}

  #   {:trying, request, e_at, e_interval, f_at}
  #   {:proceeding, request, e_at, f_at}
  #   {:completed, k_at}

  @impl true
  def start(request, now, timers) do
    {e_at, interval} =
      case Timers.first(:e, timers) do
        :never -> {:never, nil}
        interval -> {now + interval, interval}
      end

    {{:trying, request, e_at, interval, Timers.at(:f, now, timers)}, [{:send, request}]}
  end

  @impl true
  def due({:trying, _request, e_at, _interval, f_at}), do: Machine.earlier(e_at, f_at)
  def due({:proceeding, _request, e_at, f_at}), do: Machine.earlier(e_at, f_at)
  def due({:completed, k_at}), do: k_at

  @impl true
  def handle(state, event, now, timers)
  def handle(_state, :terminate, _now, _timers), do: {:terminated, :terminated, []}

  def handle({:completed, k_at}, :due, now, _timers) when passed?(k_at, now),
    do: {:terminated, :normal, []}

  def handle({:completed, _} = state, _event, _now, _timers), do: {state, []}

  # Timer F runs on in proceeding.
  def handle({:trying, _, _, _, f_at}, :due, now, _timers) when passed?(f_at, now),
    do: Machine.fail(:timeout, :timeout)

  def handle({:proceeding, _, _, f_at}, :due, now, _timers) when passed?(f_at, now),
    do: Machine.fail(:timeout, :timeout)

  # RFC3261§17.1.2.2 - intervals double up to T2
  def handle({:trying, request, e_at, interval, f_at}, :due, now, timers)
      when passed?(e_at, now) do
    interval = Timers.next(:e, interval, timers)
    {{:trying, request, now + interval, interval, f_at}, [{:send, request}]}
  end

  # RFC3261§17.1.2.2 - after a provisional response the interval is T2
  def handle({:proceeding, request, e_at, f_at}, :due, now, {%{t2: t2}, _reliable?})
      when passed?(e_at, now),
      do: {{:proceeding, request, now + t2, f_at}, [{:send, request}]}

  def handle(_unanswered, {event, reason}, _now, _timers) when event in [:error, :unreachable],
    do: Machine.fail(reason, :transport_error)

  def handle({:trying, request, e_at, _, f_at}, {:response, status, response}, _now, _timers)
      when status < 200,
      do: {{:proceeding, request, e_at, f_at}, [{:tell, :receive_response, response}]}

  def handle({:proceeding, _, _, _} = state, {:response, status, response}, _now, _timers)
      when status < 200,
      do: {state, [{:tell, :receive_response, response}]}

  def handle(_unanswered, {:response, _status, response}, now, timers) do
    {{:completed, Timers.at(:k, now, timers)}, [{:tell, :receive_response, response}, :finished]}
  end

  def handle(state, _event, _now, _timers), do: {state, []}
end
