# The stack under measurement: answers OPTIONS and BYE with 200, INVITE with 180 and 200.

defmodule Bench.Answer do
  use Sippet.Core

  alias Sippet.Message

  @impl true
  def receive_request(_ack, nil, _stack), do: :ok

  def receive_request(%Message{start_line: %{method: :invite}} = request, _key, stack) do
    Sippet.send(stack, Message.to_response(request, 180))
    Sippet.send(stack, Message.to_response(request, 200))
  end

  def receive_request(request, _key, stack),
    do: Sippet.send(stack, Message.to_response(request, 200))

  @impl true
  def receive_error(_reason, _key), do: :ok
end

# One source that asks all that the stack can do is what its limits are against.
{:ok, _} =
  Sippet.start_link(
    name: :bench,
    core: Bench.Answer,
    max_requests: :infinity,
    max_pending: :infinity,
    max_pending_bytes: :infinity
  )

{:ok, _} = Sippet.Transports.UDP.start_link(name: :bench, port: 15_060, address: "127.0.0.1")
IO.puts("listening")
Process.sleep(:infinity)
