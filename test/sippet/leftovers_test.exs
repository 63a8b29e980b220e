defmodule Sippet.LeftoversTest do
  # What a stack leaves behind of transactions that are over. Nothing else may start or end processes meanwhile.
  use Sippet.Interop.Case, async: false

  alias Sippet.Interop.{Answerer, Caller, Events, Notebook}
  alias Sippet.{Stack, Standstill, Transactions}

  @transactions 5_000
  # Of each stack at a time.
  @window 40

  # Nothing is waited for in real time. Timers J, L and M end after 64·T1.
  @over 32_000

  # Bytes that two looks at the memory may differ by when nothing happens.
  @rest 16_384

  # Bytes that a transaction may leave behind: less than the smallest row or process would take.
  @residue 64

  test "#{@transactions} transactions leave no process, no row and no memory behind" do
    # All come from one source, as fast as they can.
    options = [telemetry: Events, max_requests: :infinity]
    {caller, _address} = start_stack(Caller, options)
    {answerer, {ip, port}} = start_stack(Answerer, options)
    address = {text(ip), port}
    for stack <- [caller, answerer], do: Standstill.stop(stack)

    # What is made once, and how far tables grow, is decided by as many before.
    exchange(caller, answerer, address, @transactions)
    before = inventory([caller, answerer])

    exchange(caller, answerer, address, @transactions)
    left = inventory([caller, answerer])

    per_transaction = (left.memory - before.memory) / (2 * @transactions)

    IO.puts(
      "\n#{@transactions} transactions in each of two stacks left #{round(per_transaction)} bytes each"
    )

    assert Map.delete(left, :memory) == Map.delete(before, :memory)
    assert left.transactions == [0, 0]

    for held <- left.held, {table, size} <- held, do: assert({table, size} == {table, 0})
    assert per_transaction < @residue
  end

  # Calls that are answered and ended: an INVITE and a BYE, so that all four machines run.
  defp exchange(caller, answerer, address, count) do
    tally =
      1..div(count, 2)
      |> Stream.chunk_every(div(@window, 2))
      |> Enum.reduce(%{answered: 0, ended: 0}, fn chunk, tally ->
        for _ <- chunk, do: Caller.call(caller, "bob", address)
        await(tally, &(&1.answered == tally.answered + length(chunk)))
      end)

    for stack <- [caller, answerer], do: :ok = Transactions.advance(Stack.fetch!(stack), @over)
    await(tally, &(&1.ended == 2 * count))
    for stack <- [caller, answerer], do: Notebook.clear(stack)
  end

  # Takes what is told in the order that it comes, so that the mailbox stays short.
  defp await(tally, enough?) do
    if enough?.(tally) do
      tally
    else
      receive do
        {_stack, event} -> event |> tally(tally) |> await(enough?)
      after
        20_000 -> flunk("no more came: #{inspect(tally)}")
      end
    end
  end

  defp tally({:response, :bye, 200, _response, _key}, tally),
    do: %{tally | answered: tally.answered + 1}

  defp tally({:event, [:sippet, :transaction, :ended], _measurements, metadata}, tally) do
    assert %{reason: :normal} = metadata
    %{tally | ended: tally.ended + 1}
  end

  defp tally({:error, reason, key}, _tally), do: flunk("#{inspect(key)}: #{inspect(reason)}")
  defp tally(_event, tally), do: tally

  defp inventory(stacks) do
    %{
      memory: memory_at_rest(:erlang.memory(:total), 20),
      transactions: Enum.map(stacks, &Sippet.stats(&1).transactions),
      held: Enum.map(stacks, &Transactions.held(Stack.fetch!(&1))),
      pending: Enum.map(stacks, &Sippet.stats(&1).pending),
      processes: length(Process.list()),
      ports: length(Port.list()),
      tables: length(:ets.all()),
      timers: :ets.info(:timer_tab, :size)
    }
  end

  # The emulator frees what tables and messages held a little later: when two looks agree it has.
  defp memory_at_rest(last, tries) do
    for pid <- Process.list(), do: :erlang.garbage_collect(pid)
    receive(do: (:never -> :ok), after: (50 -> :ok))
    now = :erlang.memory(:total)

    if abs(now - last) < @rest or tries == 0,
      do: now,
      else: memory_at_rest(now, tries - 1)
  end
end
