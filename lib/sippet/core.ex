defmodule Sippet.Core do
  @moduledoc """
  The behaviour that users of a stack implement: what shall happen with a request, a response, an error.

      defmodule MyCore do
        use Sippet.Core
        alias Sippet.Message

        @impl true
        # An ACK has no transaction, and is not answered.
        def receive_request(_ack, nil, _stack), do: :ok
        def receive_request(request, _key, stack), do: Sippet.send(stack, Message.to_response(request, 200))

        @impl true
        def receive_response(_response, _key), do: :ok

        @impl true
        def receive_error(_reason, _key), do: :ok
      end

  Send a response by `Sippet.send/2`. Challenges, and refusals of strangers such as 403 and 404, are for `Sippet.reply/2`: they
  leave once, and cost nothing afterwards.

  A callback that is defined with one more argument gets the stack's name as its last one, and the shorter form
  is not called. Return values are ignored.

  ## Where callbacks run

  Each runs in a process of its own, never in a transport's: it may take its time, and wait. A callback
  that holds a request is ended when the time for an answer is over. That is 64·T1 (32 s), and for an
  INVITE the stack's `:answer_timeout` (60 s). From its first 101-199 on, an INVITE has the stack's
  `:ring_timeout` (200 s), anew with each. The stack counts an ended callback as `core_abandoned`, and logs
  nothing. After a final response the callback may run for as long as it likes. It counts as pending (the stack's `:max_pending` or `:max_invites`) until it returns.

  The callbacks of one transaction run one after another, in order. Across transactions no order is
  kept, as UDP keeps none.

  A callback that raises, throws or exits is counted (`Sippet.stats/1`) and logged at a limited rate. If it was
  handling a request that has no final response yet, the stack answers 500 to it. The request is not
  given to the core again.

  ## What a key is

  Requests come with the `Sippet.Transactions.Server.Key` of their server transaction. An ACK for a 2xx has no
  transaction, so its key is `nil` (RFC 3261 §17), as is the key of a 2xx that no client transaction knows
  (a retransmission of the far end that wants its ACK again, RFC 3261 §13.2.2.4).

  In a stack with the option `:stateless` every request comes with `nil`, retransmissions and CANCELs like all others, and
  so does every response; each in a process of its own, so that even those of one call may overtake each other.
  """

  alias Sippet.Message
  alias Sippet.Transactions.{Client, Server}

  @doc """
  A request came. `server_key` is `nil` for an ACK of a 2xx.

  The request's `source` is the `Sippet.Flow` by which it came. A CANCEL comes with a key of its own;
  `Sippet.Transactions.Server.Key.invite/1` returns that of its INVITE.
  """
  @callback receive_request(
              incoming_request :: Message.request(),
              server_key :: Server.Key.t() | nil
            ) ::
              any

  @doc """
  A response came for the request of `client_key`; or one to a transaction that is gone, with `nil`.
  """
  @callback receive_response(
              incoming_response :: Message.response(),
              client_key :: Client.Key.t() | nil
            ) :: any

  @doc """
  A transaction failed, or one of its messages was not sent.

  The reasons of the stack's own are

    * `:timeout` - the request got no final response. Treat it as a 408 (RFC 3261 §8.1.3.1);
    * `:no_ack` - no ACK came for a final response (§17.2.1, §13.3.1.4);
    * `:no_prack` - no PRACK came for a reliable provisional response (RFC 3262 §3), so the stack sent 504;
    * `:no_answer` - the core sent no final response to an INVITE in time, so the stack sent 500;
    * `:overload`, for an INVITE that came in - it lost its place to another one, and got 503 (the
      stack's `:max_invites`);
    * `:nxdomain`, `:no_address`, `:dns_timeout`, `:overload` and failures of the DNS, for a
      request that you sent - the look-up of its destination failed (`Sippet`, Names);
    * `:cancelled` - you sent the CANCEL during the look-up, so neither INVITE nor CANCEL was
      sent;
    * `:no_transport` - the stack has no transport any more that reaches the address.

  Any other reason is a transport's, or that of an ICMP error. Treat it as a 503 (§8.1.3.1), and a
  name that was not found too.
  """
  @callback receive_error(reason :: term, key :: Client.Key.t() | Server.Key.t()) :: any

  @doc "As `c:receive_request/2`, with the stack's name."
  @callback receive_request(Message.request(), Server.Key.t() | nil, sippet :: atom) :: any

  @doc "As `c:receive_response/2`, with the stack's name."
  @callback receive_response(Message.response(), Client.Key.t() | nil, sippet :: atom) :: any

  @doc "As `c:receive_error/2`, with the stack's name."
  @callback receive_error(reason :: term, Client.Key.t() | Server.Key.t(), sippet :: atom) :: any

  @optional_callbacks receive_request: 3, receive_response: 3, receive_error: 3

  @doc false
  defmacro __using__(_options) do
    quote location: :keep do
      @behaviour Sippet.Core

      @doc false
      def receive_request(_request, _key),
        do: raise("attempted to call Core but no receive_request/2 was provided")

      @doc false
      def receive_response(_response, _key),
        do: raise("attempted to call Core but no receive_response/2 was provided")

      @doc false
      def receive_error(_reason, _key),
        do: raise("attempted to call Core but no receive_error/2 was provided")

      defoverridable receive_request: 2, receive_response: 2, receive_error: 2
    end
  end
end
