defmodule Sippet.Corpus.AtomTableTest do
  use ExUnit.Case, async: true

  alias Sippet.Unseen

  @messages 100_000

  # An atom is never freed, and a full table (1,048,576 by default) stops the VM: no peer may be able to make one. Counted
  # in a VM of its own, where nothing else loads code or makes atoms meanwhile.
  @tag timeout: 120_000
  test "#{@messages} messages with names never seen before make no atom" do
    {:ok, peer, _node} = :peer.start_link(%{connection: :standard_io, args: code_path()})

    # What is loaded or made on first use is there after this.
    assert {_loaded, 0} = :peer.call(peer, Unseen, :grow, [1..100])
    assert {0, 0} = :peer.call(peer, Unseen, :grow, [101..@messages], 120_000)
    :peer.stop(peer)
  end

  defp code_path, do: Enum.flat_map(:code.get_path(), &[~c"-pa", &1])
end
