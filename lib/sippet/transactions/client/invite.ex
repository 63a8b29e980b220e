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

  Every 1xx and 2xx goes to the core, of the others the first one. A response from 300 to 699 is acknowledged here
  (§17.1.1.3), one from 200 to 299 by the core (§13.2.2.4).

  | event | calling | proceeding | completed | accepted |
  |---|---|---|---|---|
  | 1xx | to the core; proceeding | to the core | ignored | ignored |
  | 2xx | to the core; accepted | to the core; accepted | ignored | to the core |
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

  @behaviour :gen_statem

  alias Sippet.Message
  alias Sippet.Message.RequestLine
  alias Sippet.Transactions.{Machine, Packet}

  # RFC3261§8.1.1.6
  @max_forwards 70

  @impl true
  def callback_mode, do: [:state_functions, :state_enter]

  @impl true
  def init(seed), do: Machine.init(seed, :calling)

  @doc false
  def calling(type, event, data)

  def calling(:enter, _state, data),
    do: {:keep_state_and_data, Machine.timer(data, :b, :state_timeout)}

  def calling(:internal, :start, data), do: send_invite(data)
  # RFC3261§17.1.1.2 - retransmitted at intervals that double
  def calling({:timeout, :a}, :a, data), do: send_invite(data)
  def calling(:state_timeout, :b, data), do: Machine.fail(data, :timeout, :timeout)

  def calling(:cast, {event, reason}, data) when event in [:error, :unreachable],
    do: Machine.fail(data, reason, :transport_error)

  def calling(:cast, {:response, response}, data),
    do: response(class(response), response, data)

  def calling(type, event, data), do: cancellable(type, event, :calling, data)

  @doc false
  def proceeding(type, event, data)
  def proceeding(:enter, _state, _data), do: :keep_state_and_data

  def proceeding(:cast, {:response, response}, data),
    do: response(class(response), response, data)

  def proceeding(:cast, {:error, reason}, data),
    do: Machine.fail(data, reason, :transport_error)

  def proceeding(type, event, data), do: cancellable(type, event, :proceeding, data)

  @doc false
  def completed(type, event, data)
  def completed(:enter, _state, data), do: Machine.wait_out(data, :d)
  def completed(:state_timeout, :d, data), do: Machine.stop(data, :normal)

  def completed(:cast, {:response, response}, data) do
    # RFC6026§7.2 - the responses that are repeated here are those from 300 to 699
    if class(response) == :rejected, do: acknowledge(data), else: :keep_state_and_data
  end

  def completed(:cast, {:error, reason}, data),
    do: Machine.fail(data, reason, :transport_error)

  def completed(type, event, data), do: Machine.common(type, event, :completed, data)

  @doc false
  def accepted(type, event, data)
  def accepted(:enter, _state, data), do: Machine.wait_out(data, :m)
  def accepted(:state_timeout, :m, data), do: Machine.stop(data, :normal)

  def accepted(:cast, {:response, response}, data) do
    # RFC6026§7.2 - every 2xx: the core acknowledges each, and other branches of a fork may answer too
    if class(response) == :accepted,
      do: {:keep_state, Machine.tell(data, :receive_response, response)},
      else: :keep_state_and_data
  end

  def accepted(type, event, data), do: Machine.common(type, event, :accepted, data)

  @doc false
  defdelegate terminated(type, event, data), to: Machine

  @impl true
  defdelegate terminate(reason, state, data), to: Machine

  defp send_invite(data) do
    case Machine.transmit(data, data.packet) do
      :ok ->
        {data, timer} = Machine.repeating(data, :a)
        {:keep_state, data, timer}

      {:error, reason} ->
        Machine.fail(data, reason, :transport_error)
    end
  end

  # RFC3261§9.1 - a cancelled INVITE is over 64*T1 after the CANCEL: an old peer sends no 487
  defp cancellable(:cast, :cancelled, _state, data),
    do: {:keep_state_and_data, Machine.timer(data, :cancelled, {:timeout, :cancelled})}

  defp cancellable({:timeout, :cancelled}, :cancelled, _state, data),
    do: Machine.fail(data, :timeout, :timeout)

  defp cancellable(type, event, state, data), do: Machine.common(type, event, state, data)

  defp class(%Message{start_line: %{status_code: status}}) when status < 200, do: :provisional
  defp class(%Message{start_line: %{status_code: status}}) when status < 300, do: :accepted
  defp class(%Message{}), do: :rejected

  defp response(:provisional, response, data) do
    data = Machine.tell(data, :receive_response, response)
    {:next_state, :proceeding, data, Machine.stop_timers(data, [:a])}
  end

  defp response(:accepted, response, data) do
    data = data |> Machine.tell(:receive_response, response) |> Machine.finished(nil)
    {:next_state, :accepted, data, Machine.stop_timers(data, [:a, :cancelled])}
  end

  defp response(:rejected, response, data) do
    packet = Packet.new(ack(data.packet.message, response))
    data = Machine.tell(data, :receive_response, response)

    case Machine.transmit(data, packet) do
      :ok ->
        data = Machine.finished(data, packet)
        {:next_state, :completed, data, Machine.stop_timers(data, [:a, :cancelled])}

      {:error, reason} ->
        Machine.fail(data, reason, :transport_error)
    end
  end

  defp acknowledge(data) do
    case Machine.transmit(data, data.packet) do
      :ok -> :keep_state_and_data
      {:error, reason} -> Machine.fail(data, reason, :transport_error)
    end
  end

  # RFC3261§17.1.1.3 - Request-URI, From, Call-ID, the number of CSeq, Route and the topmost Via, alone, are the
  # INVITE's, To is the response's; it goes where the INVITE went
  defp ack(%Message{start_line: %{request_uri: uri}, headers: headers} = invite, response) do
    {number, _method} = headers.cseq

    # RFC3261§22.1 - the ACK repeats the credentials of its INVITE
    ack_headers =
      headers
      |> Map.take([:from, :call_id, :route, "Route", :authorization, :proxy_authorization])
      |> Map.merge(%{
        via: [hd(headers.via)],
        to: response.headers.to,
        cseq: {number, :ack},
        max_forwards: @max_forwards
      })

    %Message{
      start_line: RequestLine.new(:ack, uri),
      headers: ack_headers,
      target: invite.target
    }
  end
end
