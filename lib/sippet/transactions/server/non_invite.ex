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
  | 200-699 without a transaction | sent; ends | sent; ends | ignored |
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

  @behaviour Sippet.Transactions.Machine

  import Sippet.Transactions.Machine, only: [passed?: 2]

  alias Sippet.Transactions.{Machine, Timers}

  # `told?` says whether the core knows that the last response could not be sent.
  #
  #   {:trying, trying_at, no_answer_at}
  #   {:proceeding, provisional, no_answer_at, told?}
  #   {:completed, response, j_at, told?}

  @impl true
  def start(_octets, now, timers),
    do: {{:trying, Timers.at(:trying, now, timers), Timers.at(:no_answer, now, timers)}, []}

  @impl true
  def due({:trying, trying_at, no_answer_at}), do: Machine.earlier(trying_at, no_answer_at)
  def due({:proceeding, _provisional, no_answer_at, _told?}), do: no_answer_at
  def due({:completed, _response, j_at, _told?}), do: j_at

  @impl true
  def handle(state, event, now, timers)
  def handle(_state, :terminate, _now, _timers), do: {:terminated, :terminated, []}

  # RFC4320§4.2 - an answer that comes too late for the client is none
  def handle({:trying, _, no_answer_at}, :due, now, _timers) when passed?(no_answer_at, now),
    do: {:terminated, :timeout, [:abandon]}

  def handle({:proceeding, _, no_answer_at, _}, :due, now, _timers)
      when passed?(no_answer_at, now),
      do: {:terminated, :timeout, [:abandon]}

  # RFC4320§4.1 - 100, as the client repeats its request every T2 now
  def handle({:trying, trying_at, no_answer_at}, :due, now, _timers)
      when passed?(trying_at, now),
      do: {{:trying, :never, no_answer_at}, [{:make, 100}]}

  def handle({:trying, _, no_answer_at}, {:trying, octets}, _now, _timers),
    do: {{:proceeding, octets, no_answer_at, false}, [{:send, octets}]}

  # RFC4320§4.1 - over a reliable transport at any time, over others not before
  def handle({:trying, _, no_answer_at}, {:answer, 100, _tag, octets}, _now, {_options, true}),
    do: {{:proceeding, octets, no_answer_at, false}, [{:send, octets}]}

  def handle({:proceeding, _, no_answer_at, _}, {:answer, 100, _tag, octets}, _now, _timers),
    do: {{:proceeding, octets, no_answer_at, false}, [{:send, octets}]}

  # RFC4320§4.1, §4.2 - no provisional response but 100, and no 408
  def handle(state, {:answer, status, _tag, _octets}, _now, _timers)
      when status < 200 or status == 408,
      do: {state, []}

  # RFC3261§8.2.7 - the request is new when it comes again
  def handle(state, {:reply, octets}, _now, _timers)
      when elem(state, 0) in [:trying, :proceeding],
      do: {:terminated, :normal, [{:send, octets}]}

  def handle({:trying, _, _}, {:answer, _status, _tag, octets}, now, timers),
    do: completed(octets, now, timers)

  def handle({:proceeding, _, _, _}, {:answer, _status, _tag, octets}, now, timers),
    do: completed(octets, now, timers)

  def handle({:proceeding, octets, _, _} = state, {:request, _method}, _now, _timers),
    do: {state, [{:send, octets}]}

  def handle({:proceeding, octets, at, false}, {:error, reason}, _now, _timers),
    do: {{:proceeding, octets, at, true}, [{:tell, :receive_error, reason}]}

  def handle({:completed, _, j_at, _}, :due, now, _timers) when passed?(j_at, now),
    do: {:terminated, :normal, []}

  def handle({:completed, octets, _, _} = state, {:request, _method}, _now, _timers),
    do: {state, [{:send, octets}]}

  def handle({:completed, octets, j_at, false}, {:error, reason}, _now, _timers),
    do: {{:completed, octets, j_at, true}, [{:tell, :receive_error, reason}]}

  def handle(state, _event, _now, _timers), do: {state, []}

  defp completed(octets, now, timers),
    do: {{:completed, octets, Timers.at(:j, now, timers), false}, [{:send, octets}, :finished]}
end
