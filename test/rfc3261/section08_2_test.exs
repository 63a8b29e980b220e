defmodule Sippet.RFC3261.Section8Test do
  use Sippet.TransactionCase, async: true

  describe "RFC3261§8.2.2.2 merged requests" do
    test "are those that came by another path, while the first is in progress" do
      stack = start_stack(:still)
      request = request(:options)
      key = start_server(stack, request)
      by_other_path = put_all(request, via: [via(%{"branch" => Message.create_branch()})])

      refute Transactions.merged?(stack, request)
      assert Transactions.merged?(stack, by_other_path)
      start_server(stack, by_other_path)
      assert Transactions.merged?(stack, by_other_path)
      refute Transactions.merged?(stack, request)

      # A finished one is in progress too, until it ends.
      answered(stack, request, 200)
      assert state(stack, key) == :completed
      assert Transactions.merged?(stack, by_other_path)
      advance(stack, 32_000)
      assert await_end(stack, key) == :normal
      refute Transactions.merged?(stack, by_other_path)
    end

    test "are none with a To tag, another From tag, Call-ID or CSeq" do
      stack = start_stack(:still)
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

    test "leave nothing behind with the transaction" do
      stack = start_stack(:still)
      key = start_server(stack, request(:options))
      assert Transactions.held(stack).merges == 1
      :ok = Transactions.terminate(stack, key)
      assert await_end(stack, key) == :terminated
      assert Transactions.held(stack).merges == 0
    end
  end
end
