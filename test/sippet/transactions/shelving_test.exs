defmodule Sippet.Transactions.ShelvingTest do
  # A finished transaction leaves its process. What comes for it in that moment must not be lost.
  use ExUnit.Case, async: true

  alias Sippet.{Message, Stack, TestCore, TestTransport, Transactions, URI}
  alias Sippet.Transactions.Server

  @destination {{192, 0, 2, 1}, 5060}

  setup do
    Code.ensure_loaded!(TestCore)
    name = :"shelving#{System.unique_integer([:positive])}"

    stack =
      Stack.create(name, %{
        core: TestCore,
        test: self(),
        t1: 500,
        t2: 4_000,
        t4: 5_000,
        answer_timeout: 60_000,
        max_transactions: 100
      })

    for child <- Transactions.children(stack), do: start_supervised!(child)
    %{stack: stack}
  end

  defp request(method) do
    branch = %{"branch" => Message.create_branch()}

    %{
      Message.build_request(method, "sip:bob@biloxi.com")
      | headers: %{
          via: [{{2, 0}, :udp, {"192.0.2.1", 5060}, branch}],
          from: {"", URI.parse!("sip:alice@atlanta.com"), %{"tag" => "a1"}},
          to: {"", URI.parse!("sip:bob@biloxi.com"), %{}},
          call_id: Message.create_call_id(),
          cseq: {1, method}
        }
    }
  end

  # Until the machine knows that the core's callback has ended: the answer alone keeps it in its process then.
  defp idle(pid, tries) when tries > 0 do
    {_state, data} = :sys.get_state(pid)
    if data.runner.running, do: idle(pid, tries - 1), else: :ok
  end

  test "requests that come while the process leaves are answered again", %{stack: stack} do
    request = request(:options)
    key = Server.Key.new(request)
    :ok = Transactions.start_server(stack, request, TestTransport.new(), @destination)
    assert_receive {:receive_request, ^request, ^key}, 3_000

    [{pid, _value}] = Registry.lookup(stack.name, key)

    idle(pid, 10_000)
    :erlang.suspend_process(pid)
    :ok = Transactions.send_response(stack, Message.to_response(request, 200))
    for _ <- 1..3, do: :ok = Transactions.receive_request(stack, request, key)
    :erlang.resume_process(pid)

    for _ <- 1..4, do: assert_receive({:sent, @destination, "SIP/2.0 200 " <> _, ^key}, 3_000)
    assert Transactions.count(stack) == 1
  end
end
