defmodule Sippet.Router.CallIDTest do
  # Which worker takes a datagram is guessed from the line of its Call-ID, which can be written in several ways. A
  # transaction is its branch, whatever Call-ID a datagram has.
  use Sippet.StackCase, async: true

  alias Sippet.{Stack, Transactions}
  alias Sippet.Transactions.Workers

  # Name and blanks, and the blanks at the end.
  @spellings [
    {"Call-ID: ", ""},
    {"Call-ID:  \t", " "},
    {"i:", ""},
    {"cALL-iD : ", ""},
    {"Call-ID:\r\n ", ""}
  ]

  # Two calls that different workers have.
  defp two_calls(stack) do
    one = "call-0@atlanta.com"
    others = for n <- 1..100, do: "call-#{n}@atlanta.com"
    {one, Enum.find(others, &(Workers.of_call(stack, &1) != Workers.of_call(stack, one)))}
  end

  defp spelt(text, {before, behind}, call_id),
    do: String.replace(text, ~r/^Call-ID: .*\r\n/m, "#{before}#{call_id}#{behind}\r\n")

  defp offer(name, text) do
    with {:error, :busy} <- Sippet.Router.queue_transport_message(name, text, remote()) do
      Process.sleep(1)
      offer(name, text)
    end
  end

  # From four processes at once, as from four sockets.
  defp offer_all(name, texts) do
    texts
    |> Enum.chunk_every(div(length(texts), 4))
    |> Task.async_stream(&Enum.each(&1, fn text -> :ok = offer(name, text) end), timeout: 30_000)
    |> Stream.run()

    # Those for which one worker had no room at another are dropped.
    Transactions.settle(Stack.fetch!(name))
  end

  describe "1,000 datagrams of one branch, with their Call-ID in five spellings and of two values" do
    for method <- ["OPTIONS", "INVITE"] do
      test "are one #{method} transaction, and have one answer", %{stack: name} do
        stack = Stack.fetch!(name)
        {one, other} = two_calls(stack)
        text = wire(unquote(method))

        texts =
          for n <- 0..999 do
            call_id = if rem(n, 2) == 0, do: one, else: other
            spelt(text, Enum.at(@spellings, rem(n, 5)), call_id)
          end

        offer_all(name, texts)
        assert_receive {:receive_request, request, key}, 3_000
        assert Transactions.count(stack) == 1
        refute_received {:receive_request, _request, _key}

        # Whichever came first: all else are repetitions of it.
        worker = Transactions.info(stack, key).worker
        assert worker == Workers.of_call(stack, request.headers.call_id)

        :ok = Sippet.send(name, Message.to_response(request, 404))
        assert_receive {:sent, _destination, "SIP/2.0 404 " <> _rest = octets, ^key}, 3_000
        Enum.each(Enum.take(texts, 10), &deliver(name, &1))
        Transactions.settle(stack)
        for _again <- 1..10, do: assert_receive({:sent, _destination, ^octets, ^key}, 3_000)
        Transactions.terminate(stack, key)
        Transactions.settle(stack)
        assert Transactions.count(stack) == 0
        assert Sippet.stats(name).transaction_started == 1
      end
    end
  end

  test "an ACK and a CANCEL find their INVITE by the branch, however the Call-ID is spelt",
       context do
    %{stack: name} = context
    stack = Stack.fetch!(name)
    {one, other} = two_calls(stack)

    for spelling <- @spellings, call_id <- [one, other] do
      invite = spelt(wire("INVITE"), hd(@spellings), one)
      deliver(name, invite)
      assert_receive {:receive_request, request, key}
      deliver(name, spelt(String.replace(invite, "INVITE", "CANCEL"), spelling, call_id))
      assert_receive {:receive_request, %{start_line: %{method: :cancel}}, _key}

      :ok = Sippet.send(name, Message.to_response(request, 487))
      Transactions.settle(stack)
      assert Transactions.info(stack, key).state == :completed
      deliver(name, spelt(String.replace(invite, "INVITE", "ACK"), spelling, call_id))
      Transactions.settle(stack)
      assert Transactions.info(stack, key).state == :confirmed
    end
  end

  test "a response finds its request, however the Call-ID is spelt, and whatever it is",
       context do
    %{stack: name} = context
    stack = Stack.fetch!(name)
    {one, other} = two_calls(stack)

    for spelling <- @spellings, call_id <- [one, other] do
      via = {{2, 0}, :udp, {"127.0.0.1", 5060}, %{"branch" => Message.create_branch()}}

      request =
        Message.build_request(:options, "sip:b@192.0.2.7")
        |> Message.put_header(:via, [via])
        |> Message.put_header(
          :from,
          {"", Sippet.URI.parse!("sip:a@atlanta.com"), %{"tag" => "1"}}
        )
        |> Message.put_header(:to, {"", Sippet.URI.parse!("sip:b@biloxi.com"), %{}})
        |> Message.put_header(:call_id, one)
        |> Message.put_header(:cseq, {1, :options})
        |> Message.put_header(:max_forwards, 70)

      :ok = Sippet.send(name, request)
      assert_receive {:sent, _destination, octets, key}
      response = octets |> Message.parse!() |> Message.to_response(200) |> Message.to_string()
      deliver(name, spelt(response, spelling, call_id))
      assert_receive {:receive_response, %{start_line: %{status_code: 200}}, ^key}
    end
  end
end
