defmodule Sippet.Transactions.Machine do
  @moduledoc false
  # A state machine of RFC 3261 §17 as functions: no process, no clock, no table, no socket. Time is an argument. What
  # happened is an event, what is to be done is data. A state is a tuple of octets and numbers, its name first.
  #
  # A machine never sets or cancels a timer: `due/1` says when it wants to be looked at next, and it finds out by
  # itself what is due when the event `:due` comes. One that comes too early changes nothing.

  alias Sippet.Message
  alias Sippet.Transactions.Timers

  @type state :: tuple

  @typedoc """
  What happened to a transaction.

    * `{:request, method}` - a server's request came again
    * `{:ack, to_tag, request}` - an ACK came for a server's INVITE
    * `{:acked, to_tag}` - the ACK of a 2xx came, which has a branch of its own
    * `{:answer, status, to_tag, octets}` - the core has answered
    * `{:repeat, to_tag, octets}` - the core wants its 2xx repeated until the ACK comes
    * `{:patience, ms}` - the core waits so long for others to answer a server's INVITE
    * `{:reply, octets}` - the core has answered finally, and wants nothing remembered of it
    * `{:trying, octets}` - the 100 that the machine asked for by `{:make, 100}`
    * `{:response, status, response}` - a client's response came
    * `{:acknowledge, octets}` - the ACK that the machine asked for by `{:make_ack, …}`
    * `{:acknowledged, to_tag, ack}` - the core has sent the ACK of a client's 2xx
    * `:lose_place` - a server's INVITE that nobody answers, or acknowledges, has to go for others
    * `{:error, reason}` - a message could not be sent
    * `{:unreachable, reason}` - nothing can be sent to the destination
    * `:cancelled` - a CANCEL was sent for a client's INVITE
    * `:due` - the time that `due/1` said has come
    * `:terminate` - the user wants the end
  """
  @type event ::
          {:request, Message.method()}
          | {:ack, String.t() | nil, Message.request()}
          | {:acked, String.t() | nil}
          | {:answer, 100..699, String.t() | nil, binary}
          | {:repeat, String.t() | nil, binary}
          | {:reliable, rseq :: pos_integer, binary}
          | {:pracked, rseq :: pos_integer}
          | {:reply, binary}
          | {:patience, pos_integer}
          | {:trying, binary}
          | {:response, 100..699, Message.response()}
          | {:acknowledge, binary}
          | {:acknowledged, String.t() | nil, term}
          | {:error, term}
          | {:unreachable, term}
          | :cancelled
          | :lose_place
          | :due
          | :terminate

  @typedoc """
  What is to be done, in this order.

    * `{:send, octets}` - send them to the transaction's destination
    * `{:tell, callback, argument}` - call the core with the transaction's key
    * `{:tell_stray, request}` - call the core's `receive_request` without a key
    * `{:make, status}` - make the response of the stack's own: a 100 comes back as `{:trying, octets}`, any other as an
      answer
    * `{:refuse, status}` - send the response of the stack's own, as the last message
    * `{:make_ack, invite, response}` - make the ACK of a response from 300 to 699; it comes back as `{:acknowledge,
      octets}`
    * `{:await_ack, to_tag}`, `{:forget_ack, to_tag}` - the ACK of this 2xx, which has a branch of its own, is the
      transaction's, or is not any more; with `:prack` the PRACK of a reliable provisional response is
    * `{:await_2xx, response}` - the core's ACK of this 2xx, and of others to the same INVITE, is the transaction's
    * `{:send_ack, ack}` - send again what `{:acknowledged, …}` told
    * `:abandon` - end the callback that has the request
    * `:finished` - nothing but a last timer is waited for: forget all that only an unfinished transaction needs
  """
  @type action ::
          {:send, binary}
          | {:tell, :receive_response | :receive_error, term}
          | {:tell_stray, Message.request()}
          | {:make, 100 | 200 | 500 | 504}
          | {:refuse, 503}
          | {:make_ack, binary, Message.response()}
          | {:await_ack | :forget_ack, String.t() | :prack | nil}
          | {:await_2xx, Message.response()}
          | {:send_ack, term}
          | :abandon
          | :finished

  @type result ::
          {state, [action]} | {:terminated, reason :: term, [action]}

  @doc """
  The first state. A client machine gets the octets of its request, and asks for them to be sent.
  """
  @callback start(octets :: binary | nil, now :: integer, Timers.t()) :: {state, [action]}

  @doc """
  What becomes of a state. An event that means nothing in it leaves it as it is.
  """
  @callback handle(state, event, now :: integer, Timers.t()) :: result

  @doc """
  When the machine wants to be looked at next.
  """
  @callback due(state) :: integer | :never

  @doc """
  Ends a transaction that has nothing to hope for, and tells the core.
  """
  @spec fail(term, :timeout | :transport_error | :terminated) :: {:terminated, term, [action]}
  def fail(reason, why), do: {:terminated, why, [{:tell, :receive_error, reason}]}

  @doc """
  The earlier of two times.
  """
  @spec earlier(integer | :never, integer | :never) :: integer | :never
  # An atom is larger than any number.
  def earlier(one, other), do: min(one, other)

  @doc """
  Whether a time has come.
  """
  defguard passed?(at, now) when is_integer(at) and at <= now
end
