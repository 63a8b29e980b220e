defmodule Sippet.Transactions.RecoveryTest do
  # A worker may be killed at any time. What lay in its mailbox is lost, and no transaction.
  use Sippet.TransactionCase, async: true

  import Sippet.Wait

  alias Sippet.{Overload, Telemetry}

  @moduletag :capture_log

  # All are of one call, which one worker has.
  @call [call_id: "one-call"]

  # Each state of each machine: how a transaction comes to it, and how it goes on.
  @states [
    {:client, :invite, :calling},
    {:client, :invite, :proceeding},
    {:client, :invite, :completed},
    {:client, :invite, :accepted},
    {:client, :options, :trying},
    {:client, :options, :proceeding},
    {:client, :options, :completed},
    {:server, :invite, :proceeding},
    {:server, :invite, :completed},
    {:server, :invite, :confirmed},
    {:server, :invite, :accepted},
    {:server, :options, :trying},
    {:server, :options, :proceeding},
    {:server, :options, :completed}
  ]

  # What comes from the network, or from the core, before the worker is killed.
  defp enter(stack, {:client, method, state}) do
    request = request(method, @call)
    key = start_client(stack, request)

    case {method, state} do
      {_method, :proceeding} -> come(stack, request, 180)
      {:invite, :completed} -> come(stack, request, 486)
      {_method, state} when state in [:accepted, :completed] -> come(stack, request, 200)
      _first -> :ok
    end

    {request, key}
  end

  defp enter(stack, {:server, method, state}) do
    request = request(method, @call)
    key = start_server(stack, request)

    case {method, state} do
      {:invite, :proceeding} ->
        answer(stack, request, 180)

      {:options, :proceeding} ->
        advance(stack, 3_500)

      {:invite, :accepted} ->
        :ok = Transactions.retransmit_2xx(stack, Message.to_response(request, 200))

      {:invite, :completed} ->
        answer(stack, request, 486)

      {:invite, :confirmed} ->
        answer(stack, request, 486)
        come_again(stack, as(request, :ack))

      {:options, :completed} ->
        answer(stack, request, 200)

      _first ->
        :ok
    end

    {request, key}
  end

  # What it does by itself within a second.
  defp by_itself({:client, :invite, :calling}), do: ["INVITE"]
  defp by_itself({:client, :options, :trying}), do: ["OPTIONS"]
  defp by_itself({:client, :options, :proceeding}), do: ["OPTIONS"]
  defp by_itself({:server, :invite, :completed}), do: ["SIP/2.0 486"]
  defp by_itself({:server, :invite, :accepted}), do: ["SIP/2.0 200"]
  defp by_itself(_state), do: []

  # What it does when the far end repeats what it last sent.
  defp asked({:client, :invite, :completed}, stack, request) do
    come(stack, request, 486)
    ["ACK"]
  end

  defp asked({:client, _method, _state}, _stack, _request), do: []

  defp asked({:server, method, state}, stack, request) do
    come_again(stack, request)

    case {method, state} do
      {:invite, :proceeding} -> ["SIP/2.0 180"]
      {:invite, :completed} -> ["SIP/2.0 486"]
      {:options, :proceeding} -> ["SIP/2.0 100"]
      {:options, :completed} -> ["SIP/2.0 200"]
      _silent -> []
    end
  end

  # How it ends by itself. A client's INVITE that rings has no limit of time: a final response comes.
  defp ends({:client, :invite, :proceeding}, stack, request) do
    come(stack, request, 200)
    advance(stack, 32_000)
    :normal
  end

  # The time for an answer, and then that for an ACK.
  defp ends({:server, :invite, :proceeding}, stack, _request) do
    advance(stack, 190_000 + 32_000)
    :timeout
  end

  # No ACK comes.
  defp ends({:server, :invite, state}, stack, _request) when state in [:completed, :accepted] do
    advance(stack, 32_000)
    :timeout
  end

  defp ends({_side, _method, state}, stack, _request) do
    advance(stack, 32_000)
    if state in [:completed, :accepted, :confirmed], do: :normal, else: :timeout
  end

  # The start of each that was sent.
  defp starts(sent), do: Enum.map(sent, &Regex.run(~r/^SIP\S+ \d+|^\S+/, &1)) |> List.flatten()

  describe "a worker that is killed" do
    for {side, method, state} = life <- @states do
      test "leaves a #{side}'s #{method} in #{state}, which goes on and ends" do
        life = unquote(Macro.escape(life))
        {_side, _method, state} = life
        stack = start_stack(:still)
        {request, key} = enter(stack, life)
        assert state(stack, key) == state
        %{due: due} = Transactions.info(stack, key)
        flush()

        kill_workers(stack, [key])
        assert state(stack, key) == state
        assert Transactions.info(stack, key).due == due
        assert_silence()

        expected = asked(life, stack, request)
        assert state(stack, key) == state
        assert starts(sent()) == expected

        advance(stack, 500)
        assert starts(sent()) == by_itself(life)

        reason = ends(life, stack, request)
        assert await_end(stack, key) == reason

        wait_until(fn -> stack |> Transactions.held() |> Map.values() |> Enum.all?(&(&1 == 0)) end)
      end
    end

    test "leaves all that it had, each with the time at which it is looked at" do
      stack = start_stack(:still)
      # The first one needs time to pass.
      lives = [{:server, :options, :proceeding} | @states -- [{:server, :options, :proceeding}]]
      entered = for life <- lives, do: {life, enter(stack, life)}
      Transactions.settle(stack)
      before = all(stack)
      states = for {{_side, _method, state}, {_request, key}} <- entered, do: {key, state}
      assert Map.new(states) == Map.new(before, fn {key, {state, _due}} -> {key, state} end)
      # The one that rings has the entry of Timer A.
      assert Enum.all?(before, fn {_key, {_state, due}} -> is_integer(due) end)

      for _kill <- 1..5 do
        kill_workers(stack, Map.keys(before))
        assert all(stack) == before
      end

      {_life, {_request, ringing}} = List.keyfind(entered, {:client, :invite, :proceeding}, 0)
      advance(stack, 190_000 + 32_000)
      assert Transactions.keys(stack) == [ringing]
      assert Transactions.held(stack).deadlines == 0
      Transactions.terminate(stack, ringing)
      assert await_end(stack, ringing) == :terminated
      assert Transactions.unfinished(stack) == 0
    end

    defp all(stack) do
      for key <- Transactions.keys(stack), into: %{} do
        %{state: state, due: due} = Transactions.info(stack, key)
        {key, {state, due}}
      end
    end

    test "while it looks at what is due leaves none without a time" do
      stack = start_stack(:still)
      {_request, key} = enter(stack, {:client, :options, :trying})
      %{worker: worker, due: due} = Transactions.info(stack, key)
      # As a worker does that gets no further.
      assert [{^due, _number}] = Transactions.Deadlines.take(stack, worker, due, 100)
      assert Transactions.held(stack).deadlines == 0
      kill_workers(stack, [key])
      assert Transactions.held(stack).deadlines == 1
      advance(stack, 500)
      assert starts(sent()) == ["OPTIONS"]
    end

    test "goes on with its timers as real time passes" do
      stack = start_stack(:fast)
      request = request(:invite, @call)
      key = start_client(stack, request)
      kill_workers(stack, [key])
      octets = Message.to_string(request)
      assert_soon({:sent, _destination, ^octets, ^key})
      assert_soon({:receive_error, :timeout, ^key})
      assert await_end(stack, key) == :timeout
    end

    test "is followed by one that finds what began while none lived, and begins it once" do
      stack = start_stack(:still)
      {_request, key} = enter(stack, {:server, :options, :trying})
      incoming = request(:invite, @call)
      outgoing = request(:invite, @call)

      kill_workers(stack, [key], fn ->
        transport = TestTransport.new()
        :ok = Transactions.start_server(stack, incoming, transport, destination())
        :ok = Transactions.start_client(stack, outgoing, transport, destination())
      end)

      # It is read again from its octets.
      server = Server.Key.new(incoming)
      assert_soon({:receive_request, read, ^server})
      assert Message.to_string(read) == Message.to_string(incoming)
      assert sent() == [Message.to_string(outgoing)]
      assert_silence()
      assert state(stack, server) == :proceeding
      assert state(stack, Client.Key.new(outgoing)) == :calling
      answered(stack, incoming, 486)
    end

    test "ends, of those that it can't begin, that one alone" do
      stack = start_stack(:still)
      {request, key} = enter(stack, {:server, :options, :trying})
      spoilt = request(:options, @call)

      kill_workers(stack, [key], fn ->
        transport = TestTransport.new()
        source = Overload.source(stack.overload, {:udp, {192, 0, 2, 1}, 5060})
        origin = %{octets: "no message", remote: {:udp, {192, 0, 2, 1}, 5060}, source: source}
        :ok = Transactions.start_server(stack, spoilt, transport, destination(), origin)
      end)

      assert {:error, %Sippet.ParseError{}} = await_end(stack, Server.Key.new(spoilt))
      assert Transactions.keys(stack) == [key]
      assert Transactions.held(stack).rows == 1
      assert Overload.pending(stack.overload) == 0
      answered(stack, request, 200)
    end
  end

  describe "an answer that the core gave while no worker lived" do
    test "is sent by the next one, and is the transaction's answer" do
      stack = start_stack(:still)
      {options, key} = enter(stack, {:server, :options, :trying})
      {rejected, rejected_key} = enter(stack, {:server, :invite, :proceeding})
      {accepted, accepted_key} = enter(stack, {:server, :invite, :proceeding})
      Transactions.settle(stack)
      flush()

      kill_workers(stack, [key], fn ->
        answer(stack, options, 404)
        answer(stack, rejected, 486)
        :ok = Transactions.retransmit_2xx(stack, Message.to_response(accepted, 200))
        # The first one counts.
        answer(stack, options, 200)
      end)

      assert Enum.sort(starts(sent())) == ["SIP/2.0 200", "SIP/2.0 404", "SIP/2.0 486"]
      assert state(stack, key) == :completed
      assert state(stack, rejected_key) == :completed
      assert state(stack, accepted_key) == :accepted

      # Its ACK finds it, as it finds those of others.
      ack = as(accepted, :ack, to: Message.to_response(accepted, 200).headers.to)
      assert Transactions.ack(stack, ack) == :ok
      advance(stack, 500)
      assert starts(sent()) == ["SIP/2.0 486"]
    end
  end

  describe "a callback that runs while its worker is killed" do
    setup do
      test = self()

      behave = fn callback, argument, _key ->
        if callback == :receive_request or argument.start_line.status_code == 180 do
          send(test, {:blocked, self()})

          receive do
            :go -> :ok
            :fail -> raise "no"
          end
        end
      end

      %{stack: start_stack(:still, behave: behave)}
    end

    defp block(stack, method) do
      request = request(method, @call)
      key = start_server(stack, request)
      assert_soon({:blocked, callback})
      {request, key, callback}
    end

    defp go_on(callback, word) do
      ref = Process.monitor(callback)
      send(callback, word)
      assert_soon({:DOWN, ^ref, :process, ^callback, _reason})
    end

    test "has 500 answered if it fails then", %{stack: stack} do
      {_request, key, callback} = block(stack, :options)
      kill_workers(stack, [key])
      assert Transactions.info(stack, key).running?
      go_on(callback, :fail)
      assert_soon({:sent, _destination, "SIP/2.0 500 " <> _rest, ^key})
    end

    test "has 500 answered if it fails, or is killed, before there is another", %{stack: stack} do
      {_request, failed, failing} = block(stack, :options)
      {_request, killed, victim} = block(stack, :invite)

      kill_workers(stack, [failed], fn ->
        go_on(failing, :fail)
        ref = Process.monitor(victim)
        Process.exit(victim, :kill)
        assert_soon({:DOWN, ^ref, :process, ^victim, _reason})
      end)

      assert_soon({:sent, _destination, "SIP/2.0 500 " <> _rest, ^failed})
      assert_soon({:sent, _destination, "SIP/2.0 500 " <> _rest, ^killed})
    end

    test "has nothing answered if it ends well before there is another", %{stack: stack} do
      {request, key, callback} = block(stack, :invite)
      kill_workers(stack, [key], fn -> go_on(callback, :go) end)
      assert_silence()
      wait_until(fn -> not Transactions.info(stack, key).running? end)
      answered(stack, request, 486)
    end

    test "is still the one that others wait for", %{stack: stack} do
      request = request(:invite, @call)
      key = start_client(stack, request)
      come(stack, request, 180)
      assert_soon({:blocked, callback})
      come(stack, request, 183)
      kill_workers(stack, [key])
      come(stack, request, 200)
      Transactions.settle(stack)
      refute_received {:receive_response, %{start_line: %{status_code: 183}}, _key}
      go_on(callback, :go)
      assert_soon({:receive_response, %{start_line: %{status_code: 183}}, ^key})
      assert_soon({:receive_response, %{start_line: %{status_code: 200}}, ^key})
    end

    test "is followed by those that waited for it, though its transaction has ended", context do
      %{stack: stack} = context
      request = request(:invite, @call)
      key = start_client(stack, request, TestTransport.new(reliable?: true))
      come(stack, request, 180)
      assert_soon({:blocked, callback})
      come(stack, request, 486)
      advance(stack, 0)
      assert await_end(stack, key) == :normal
      {_request, other} = enter(stack, {:client, :options, :trying})
      kill_workers(stack, [other])
      go_on(callback, :go)
      assert_soon({:receive_response, %{start_line: %{status_code: 486}}, ^key})
      wait_until(fn -> match?(%{rows: 1, waiting: 0}, Transactions.held(stack)) end)
      assert Transactions.count(stack) == 1
    end

    test "of which the worker could write nothing down leaves none waiting", %{stack: stack} do
      request = request(:invite, @call)
      key = start_client(stack, request)
      response = Message.to_response(request, 200)
      turn = stack |> Transactions.Rows.find(key) |> Transactions.Rows.turn()
      Transactions.Callbacks.wait(stack, turn, {:receive_response, response, key})
      kill_workers(stack, [key])
      assert_soon({:receive_response, ^response, ^key})
      assert Transactions.held(stack).waiting == 0
    end
  end

  describe "what stands elsewhere for a transaction" do
    test "is there for the next worker: ACKs, merged requests" do
      stack = start_stack(:still)
      {accepted, key} = enter(stack, {:server, :invite, :accepted})
      state(stack, key)
      kill_workers(stack, [key])

      by_other_path = put_all(accepted, via: [via(%{"branch" => Message.create_branch()})])
      assert Transactions.merged?(stack, by_other_path)
      ack = as(accepted, :ack, to: Message.to_response(accepted, 200).headers.to)
      assert Transactions.ack(stack, ack) == :ok
    end

    test "counts once as pending, and then no more" do
      stack = start_stack(:still)
      source = Overload.source(stack.overload, {:udp, {192, 0, 2, 1}, 5060})
      request = request(:options, @call)
      transport = TestTransport.new()
      :ok = Transactions.start_server(stack, request, transport, destination(), %{source: source})
      key = Server.Key.new(request)
      assert_soon({:receive_request, ^request, ^key})
      kill_workers(stack, [key])
      assert Overload.pending(stack.overload) == 1
      kill_workers(stack, [key], fn -> answer(stack, request, 200) end)
      wait_until(fn -> Overload.pending(stack.overload) == 0 end)
      kill_workers(stack, [key])
      assert Overload.pending(stack.overload) == 0
    end

    test "is told of once, by the events" do
      stack = start_stack(:still)
      {request, key} = enter(stack, {:server, :options, :trying})
      kill_workers(stack, [key])
      answered(stack, request, 200)
      kill_workers(stack, [key])
      advance(stack, 32_000)
      assert await_end(stack, key) == :normal
      counts = Telemetry.counts(stack.telemetry)
      assert {counts.transaction_started, counts.transaction_ended} == {1, 1}
    end
  end

  describe "any part that is killed" do
    test "comes back, and whoever calls meanwhile gets a value" do
      stack = start_stack(:still)
      request = request(:options)
      key = start_server(stack, request)
      {:dictionary, dictionary} = stack |> worker_pid(key) |> Process.info(:dictionary)
      supervisor = hd(dictionary[:"$ancestors"])
      response = Message.to_response(request(:options), 200)

      for part <- [worker_pid(stack, key), supervisor] do
        ref = Process.monitor(part)
        Process.exit(part, :kill)
        assert_soon({:DOWN, ^ref, :process, ^part, :killed})
        other = request(:options)
        assert Transactions.receive_request(stack, other, Server.Key.new(other)) == :error
        assert Transactions.send_response(stack, response) == {:error, :no_transaction}
        assert Transactions.ack(stack, request(:ack)) == :error
        assert Transactions.merged?(stack, other) == false
        transport = TestTransport.new()
        assert Transactions.start_server(stack, other, transport, destination()) == :ok
        assert_soon({:receive_request, _other, _key})
      end

      assert Transactions.count(stack) == 3
      answered(stack, request, 200)
    end
  end

  # What was sent and told so far.
  defp flush do
    receive do
      {:sent, _destination, _octets, _key} -> flush()
      {:receive_request, _request, _key} -> flush()
      {:receive_response, _response, _key} -> flush()
    after
      30 -> :ok
    end
  end
end
