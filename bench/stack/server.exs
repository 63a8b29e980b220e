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

# How the work is shared out: at SIGUSR2 it says which part of all workers' reductions the busiest has run.
defmodule Bench.Shares do
  @behaviour :gen_event

  def init(_argument), do: {:ok, nil}

  def handle_event(:sigusr2, state) do
    reductions =
      for name <- Sippet.Transactions.Workers.names(Sippet.Stack.fetch!(:bench)) do
        {:reductions, count} = name |> Process.whereis() |> Process.info(:reductions)
        count
      end

    IO.puts("largest share: #{Float.round(Enum.max(reductions) / Enum.sum(reductions), 2)}")
    {:ok, state}
  end

  def handle_event(_signal, state), do: {:ok, state}
  def handle_call(_request, state), do: {:ok, :ok, state}
end

:gen_event.add_handler(:erl_signal_server, Bench.Shares, nil)
:os.set_signal(:sigusr2, :handle)

# One source that asks all that the stack can do is what its limits are against.
{:ok, _} =
  Sippet.start_link(
    name: :bench,
    core: Bench.Answer,
    max_requests: :infinity,
    max_transactions: 100_000_000,
    max_pending: :infinity,
    max_invites: :infinity,
    max_pending_bytes: :infinity
  )

for transport <- [Sippet.Transports.UDP, Sippet.Transports.TCP],
    do: {:ok, _} = transport.start_link(name: :bench, port: 15_060, address: "127.0.0.1")

IO.puts("listening")
Process.sleep(:infinity)
