defmodule Sippet.Transactions.OwnMessages do
  @moduledoc false
  # The messages that a stack makes by itself, of what a row keeps.

  import Sippet.Transactions.Rows, only: [row: 1]

  alias Sippet.{Message, Stack}
  alias Sippet.Message.{RequestLine, Via}
  alias Sippet.Transactions.{Path, Rows}

  # RFC3261§8.1.1.6
  @max_forwards 70

  @doc """
  The request of a server's row as it came, read again: what is needed of it seldom is kept as octets.
  """
  @spec request(Stack.t(), Rows.row()) :: Message.request()
  def request(_stack, row(octets: octets, remote: nil)), do: Message.parse!(octets)

  def request(stack, row(octets: octets, remote: remote, transport: kept)) do
    %Message{headers: %{via: vias} = headers} = request = Message.parse!(octets)
    transport = Path.transport(stack, kept)
    vias = Via.stamp(vias, remote, transport.force_rport?)
    %{request | headers: %{headers | via: vias}, source: Stack.flow(stack, transport, remote)}
  end

  @doc """
  The 100 to it (RFC 3261 §17.2.1). The seconds from the request to this response are added to its Timestamp (§8.2.6.1).
  """
  @spec trying(Stack.t(), Rows.row()) :: Message.response()
  def trying(stack, row(started: started) = row) do
    response = Message.to_response(request(stack, row), 100)

    case response.headers do
      %{timestamp: {time, _delay}} ->
        elapsed =
          System.convert_time_unit(System.monotonic_time() - started, :native, :millisecond)

        Message.put_header(response, :timestamp, {time, elapsed / 1_000})

      _none ->
        response
    end
  end

  # Seconds after which a request over a limit may come again.
  @retry_after 5

  @doc """
  A response that refuses a request for now.
  """
  @spec refusal(Message.request(), 400..699) :: Message.response()
  def refusal(request, status) do
    # RFC3261§21.5.4 - a limit is temporary, and says when to come again
    request
    |> Message.to_response(status)
    |> Message.put_header(:retry_after, {@retry_after, "", %{}})
  end

  @doc """
  The ACK of a response from 300 to 699 to an INVITE.
  """
  @spec ack(Message.request(), Message.response()) :: Message.request()
  # RFC3261§17.1.1.3 - Request-URI, From, Call-ID, the number of CSeq, Route and the topmost Via, alone, are the
  # INVITE's, To is the response's; it goes where the INVITE went
  def ack(%Message{start_line: %{request_uri: uri}, headers: headers}, response) do
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

    %Message{start_line: RequestLine.new(:ack, uri), headers: ack_headers}
  end
end
