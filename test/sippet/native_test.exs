defmodule Sippet.NativeTest do
  use ExUnit.Case, async: true

  alias Sippet.NativeReload

  describe "loading the module anew" do
    setup do
      path = Enum.flat_map(:code.get_path(), &[~c"-pa", &1])
      {:ok, peer, _node} = :peer.start_link(%{connection: :standard_io, args: path})
      # Its console is this VM's.
      :ok = :peer.call(peer, :logger, :remove_handler, [:default])
      %{peer: peer}
    end

    test "is refused in plain words, and what is loaded stays in use", %{peer: peer} do
      {result, log, parsed?} = :peer.call(peer, NativeReload, :load, [], 30_000)
      assert result == {:error, :on_load_failure}
      assert log =~ "can't be replaced in a running VM"
      assert log =~ "the one that is loaded stays in use"
      assert parsed?
    end

    test "costs no call that is under way, on a normal scheduler or a dirty one", %{peer: peer} do
      parsed = :peer.call(peer, NativeReload, :load_under_way, [5], 30_000)
      assert Enum.all?(parsed, &(&1 > 0))
    end
  end
end
