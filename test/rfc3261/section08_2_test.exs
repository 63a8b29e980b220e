defmodule Sippet.RFC3261.Section8Test do
  use Sippet.TransactionCase, async: true

  describe "RFC3261§8.2.2.2 merged requests" do
    test "are those that came by another path, while the first is in progress" do
      stack = start_stack(:fast)
      request = request(:options)
      key = start_server(stack, request)
      by_other_path = put_all(request, via: [via(%{"branch" => Message.create_branch()})])

      refute Transactions.merged?(stack, request)
      assert Transactions.merged?(stack, by_other_path)
      start_server(stack, by_other_path)
      assert Transactions.merged?(stack, by_other_path)
      refute Transactions.merged?(stack, request)

      answered(stack, request, 200)
      assert Transactions.merged?(stack, by_other_path)
      await_end(stack, key)
      refute Transactions.merged?(stack, by_other_path)
    end

    test "are none with a To tag, another From tag, Call-ID or CSeq" do
      stack = start_stack()
      request = request(:options)
      start_server(stack, request)
      {name, uri, params} = request.headers.to

      for change <- [
            [to: {name, uri, Map.put(params, "tag", "x")}],
            [from: {name, uri, %{"tag" => "x"}}],
            [call_id: "x"],
            [cseq: {2, :options}]
          ] do
        via = [via: [via(%{"branch" => Message.create_branch()})]]
        refute Transactions.merged?(stack, put_all(request, change ++ via))
      end
    end

    test "are told on the shelf too, and not by one that was killed" do
      stack = start_stack()
      request = request(:options)
      key = start_server(stack, request)
      by_other_path = put_all(request, via: [via(%{"branch" => Message.create_branch()})])
      answered(stack, request, 200)
      await_shelf(stack, key)
      assert Transactions.merged?(stack, by_other_path)

      request = request(:options)
      key = start_server(stack, request)
      by_other_path = put_all(request, via: [via(%{"branch" => Message.create_branch()})])
      ref = Process.monitor(pid(stack, key))
      Process.exit(pid(stack, key), :kill)
      assert_soon({:DOWN, ^ref, :process, _pid, :killed})
      refute Transactions.merged?(stack, by_other_path)
    end

    test "leave nothing behind with the transaction" do
      stack = start_stack()
      key = start_server(stack, request(:options))
      {_rows, _index, merges} = :ets.lookup_element(stack.board, Shelf, 2)
      assert :ets.info(merges, :size) == 1
      :ok = Transactions.terminate(stack, key)
      assert await_end(stack, key) == :terminated
      assert :ets.info(merges, :size) == 0
    end
  end
end
