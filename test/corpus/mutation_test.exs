defmodule Sippet.Corpus.MutationTest do
  use ExUnit.Case, async: true

  alias Sippet.Mutation

  # Real messages with faults in them, as many as MUTATIONS says.
  @mutations String.to_integer(System.get_env("MUTATIONS", "3000"))

  missing = Mutation.missing()

  if missing do
    IO.puts(:stderr, "\nSKIPPED: mutated messages: #{missing}")
    @moduletag skip: missing
  end

  @moduletag timeout: 600_000

  setup do
    {:ok, peer, _node} = :peer.start_link(%{connection: :standard_io, args: code_path()})
    %{peer: peer}
  end

  defp code_path, do: Enum.flat_map(:code.get_path(), &[~c"-pa", &1])

  defp call(peer, function, arguments),
    do: :peer.call(peer, Mutation, function, arguments, 600_000)

  test "#{@mutations} mutated messages are parsed and come back, or are refused", %{peer: peer} do
    assert {:ok, []} = call(peer, :run, [@mutations, &Mutation.parse/1])
  end

  test "#{@mutations} mutated messages leave a stack as it was", %{peer: peer} do
    {outcome, stack} = call(peer, :route, [@mutations])
    assert {:ok, []} = outcome
    assert %{alive?: true, logged: 0, stats: %{core_failed: 0}} = stack

    assert stack.asked > 0 and stack.stats.message_received > 0 and
             stack.stats.message_refused > 0
  end
end
