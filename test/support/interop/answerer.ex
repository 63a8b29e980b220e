defmodule Sippet.Interop.Answerer do
  @moduledoc false
  # Answers calls. The user of the Request-URI says how: "busy" refuses, "ringing" rings until the caller gives up,
  # anybody else rings and answers.

  use Sippet.Core

  alias Sippet.Interop.{Endpoint, Notebook}
  alias Sippet.Message
  alias Sippet.Transactions.Server

  @impl true
  def receive_request(%Message{start_line: %{method: method}} = request, key, stack) do
    Notebook.tell(stack, {:request, method, request, key})
    answer(method, request, key, stack)
  end

  @impl true
  def receive_error(reason, key, stack), do: Notebook.tell(stack, {:error, reason, key})

  defp answer(:invite, request, key, stack) do
    case {Sippet.merged?(stack, request), request.start_line.request_uri.userinfo} do
      # RFC3261§8.2.2.2 - the same call, by another way
      {true, _anybody} -> reply(stack, request, 482)
      {false, "busy"} -> reply(stack, request, 486)
      {false, "ringing"} -> ring(stack, request, key)
      {false, _anybody} -> accept(stack, request)
    end
  end

  defp answer(:ack, _request, _key, _stack), do: :ok

  # RFC3261§9.2 - a CANCEL is answered for itself, and ends its INVITE with 487
  defp answer(:cancel, cancel, key, stack) do
    reply(stack, cancel, 200)
    reply(stack, Notebook.fetch!(stack, Server.Key.invite(key)), 487)
  end

  defp answer(_other, request, _key, stack), do: reply(stack, request, 200)

  # The CANCEL can come as soon as the 180 is out: what it needs is noted before.
  defp ring(stack, request, key) do
    Notebook.put(stack, key, request)
    reply(stack, request, 180)
  end

  defp accept(stack, request) do
    reply(stack, request, 180)

    response =
      request
      |> Message.to_response(200)
      |> Message.put_header(:contact, [Endpoint.contact(stack)])
      |> Endpoint.put_sdp(stack)

    Sippet.send(stack, response)
    # RFC3261§13.3.1.4 - the 2xx is repeated until the ACK comes
    Sippet.retransmit_2xx(stack, response)
  end

  defp reply(stack, request, status), do: Sippet.send(stack, Message.to_response(request, status))
end
