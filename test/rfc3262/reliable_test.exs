defmodule Sippet.RFC3262.ReliableTest do
  use Sippet.StackCase, async: true

  alias Sippet.{Dialog, Stack, Transactions, UAS, URI}

  # No INVITE is answered 100, nor comes again, by itself while a test runs.
  @moduletag stack: [t1: 100, t2: 400, answer_timeout: 30_000]

  @contact [{"", URI.parse!("sip:b@127.0.0.1"), %{}}]

  # An INVITE that came, and the dialog of a reliable 183 to it that was sent.
  defp ringing(stack) do
    :ok =
      deliver(stack, wire("INVITE", [{"Supported", "100rel"}, {"Contact", "<sip:a@10.1.1.1>"}]))

    assert_receive {:receive_request, invite, key}
    progress = invite |> Message.to_response(183) |> Message.put_header(:contact, @contact)
    {:ok, dialog} = Dialog.uas(invite, progress)
    {progress, dialog} = Dialog.put_reliable(dialog, progress)
    assert Sippet.retransmit_1xx(stack, progress) == :ok
    {_sent, _destination} = assert_sent(183)
    %{invite: invite, key: key, progress: progress, dialog: dialog}
  end

  defp rack(progress, change \\ 0) do
    {:ok, rseq} = Message.fetch_typed(progress, "RSeq")
    {number, _method} = progress.headers.cseq
    "#{rseq + change} #{number} INVITE"
  end

  defp prack(stack, call, rack, number \\ 2) do
    to = "<sip:b@biloxi.com>;tag=#{call.dialog.local_tag}"
    headers = [{"Call-ID", call.dialog.call_id}, {"To", to}, {"CSeq", "#{number} PRACK"}]
    deliver(stack, wire("PRACK", headers ++ if(rack, do: [{"RAck", rack}], else: [])))
  end

  defp sent_within(ms, start) do
    size = byte_size(start)

    receive do
      {:sent, _destination, <<^start::binary-size(size), _rest::binary>>, _key} ->
        [start | sent_within(ms, start)]
    after
      ms -> []
    end
  end

  describe "RFC3262§3 UAS behavior" do
    test "the response has Require and RSeq, of which the first is random, and the next is one more",
         %{stack: stack} do
      %{progress: progress, dialog: dialog, invite: invite} = ringing(stack)
      assert progress.headers.require == ["100rel"]
      {:ok, first} = Message.fetch_typed(progress, "RSeq")
      assert first in 1..0x7FFFFFFF
      {next, _dialog} = Dialog.put_reliable(dialog, Message.to_response(invite, 180))
      assert Message.fetch_typed(next, "RSeq") == {:ok, first + 1}
    end

    test "it is repeated at intervals that double, over any transport", %{stack: stack} do
      began = System.monotonic_time(:millisecond)
      ringing(stack)

      times =
        for _ <- 1..3 do
          assert_receive {:sent, _destination, "SIP/2.0 183" <> _rest, _key}, 2_000
          System.monotonic_time(:millisecond) - began
        end

      assert [one, two, three] = times
      assert one >= 95 and two >= 290 and three >= 690
    end

    test "until its PRACK comes, which goes to the core", %{stack: stack} do
      call = ringing(stack)
      prack(stack, call, rack(call.progress))
      assert_receive {:receive_request, %{start_line: %{method: :prack}} = prack, _key}
      assert {:ok, _dialog} = Dialog.receive_request(call.dialog, prack)
      Sippet.send(stack, Message.to_response(prack, 200))
      assert sent_within(300, "SIP/2.0 183") == []
    end

    test "or to the owner of the dialog", %{stack: stack} do
      call = ringing(stack)
      :ok = Sippet.controlling_process(stack, call.dialog, self())
      prack(stack, call, rack(call.progress))
      assert_receive {:sippet, ^stack, _key, {:request, %{start_line: %{method: :prack}}}}
    end

    test "a PRACK of what does not wait for one is answered 481, and ends nothing", %{
      stack: stack
    } do
      call = ringing(stack)
      prack(stack, call, rack(call.progress, 1))
      assert_sent_eventually(481)
      refute_received {:receive_request, %{start_line: %{method: :prack}}, _key}
      assert sent_within(300, "SIP/2.0 183") != []

      # Once more, after it was acknowledged.
      prack(stack, call, rack(call.progress), 3)
      assert_receive {:receive_request, %{start_line: %{method: :prack}}, _key}
      prack(stack, call, rack(call.progress), 4)
      assert_sent_eventually(481)
    end

    test "a PRACK of a dialog of which the stack knows no such response goes to the core", %{
      stack: stack
    } do
      call = %{dialog: %{local_tag: "t", call_id: "elsewhere"}}

      for {rack, n} <- [{"1 1 INVITE", 1}, {"1 1 OPTIONS", 2}, {"x", 3}, {nil, 4}] do
        prack(stack, call, rack, n)
        assert_receive {:receive_request, %{start_line: %{method: :prack}}, _key}
      end
    end

    test "one that comes after the final response goes to the core", %{stack: stack} do
      call = ringing(stack)
      ok = call.invite |> Message.to_response(200) |> Message.put_header(:contact, @contact)
      :ok = Sippet.send(stack, ok)
      assert_sent_eventually(200)
      assert sent_within(300, "SIP/2.0 183") == []
      prack(stack, call, rack(call.progress))
      assert_receive {:receive_request, %{start_line: %{method: :prack}}, _key}
    end

    @tag stack: [t1: 10, t2: 40, answer_timeout: 30_000]
    test "without a PRACK the INVITE is answered 504, and the core is told", %{stack: stack} do
      %{key: key} = ringing(stack)
      assert_receive {:receive_error, :no_prack, ^key}, 3_000
      assert_receive {:sent, _destination, "SIP/2.0 504" <> _rest, _key}, 1_000
    end

    test "is known to a worker that has begun anew", %{stack: stack} do
      call = ringing(stack)
      running = Stack.fetch!(stack)

      name =
        Transactions.Workers.name(
          running,
          Transactions.Workers.of_call(running, call.dialog.call_id)
        )

      worker = Process.whereis(name)
      Process.exit(worker, :kill)
      Sippet.Wait.wait_until(fn -> Process.whereis(name) not in [nil, worker] end)
      assert_receive {:sent, _destination, "SIP/2.0 183" <> _rest, _key}, 2_000
      prack(stack, call, rack(call.progress))
      assert_receive {:receive_request, %{start_line: %{method: :prack}}, _key}
      assert sent_within(400, "SIP/2.0 183") == []
    end

    test "what is no reliable provisional response is refused", %{stack: stack} do
      %{invite: invite, progress: progress} = ringing(stack)

      for wrong <- [
            Message.delete_header(progress, "RSeq"),
            Message.put_header(progress, "RSeq", ["0"]),
            put_in(progress.start_line.status_code, 100),
            put_in(progress.start_line.status_code, 200),
            put_in(progress.headers.cseq, {1, :options}),
            Message.to_response(invite, 180)
          ] do
        assert_raise ArgumentError, fn -> Sippet.retransmit_1xx(stack, wrong) end
      end
    end

    test "an INVITE that has ended is not found", %{stack: stack} do
      call = ringing(stack)
      Sippet.terminate(stack, call.key)
      Transactions.settle(Stack.fetch!(stack))
      assert Sippet.retransmit_1xx(stack, call.progress) == {:error, :no_transaction}
    end

    test "whether it may be sent, or has to be, the request says" do
      invite = fn headers ->
        Message.put_headers(Message.build_request(:invite, "sip:b@b"), headers)
      end

      assert UAS.extension(invite.(supported: ["100REL"]), "100rel") == :supported

      assert UAS.extension(invite.(require: ["timer", "100rel"], supported: ["100rel"]), "100rel") ==
               :required

      assert UAS.extension(invite.(supported: ["timer"]), "100rel") == :unsupported
    end
  end

  # The 183 may be repeated in between.
  defp assert_sent_eventually(status) do
    start = "SIP/2.0 #{status}"
    size = byte_size(start)

    assert_receive {:sent, _destination, <<^start::binary-size(size), _rest::binary>>, _key},
                   1_000
  end

  describe "RFC3262§4 UAC behavior" do
    defp invite, do: own_request(:invite, "sip:b@192.0.2.4")

    defp progress(invite, rseq, headers \\ []) do
      invite
      |> Message.to_response(183)
      |> Message.put_header(:contact, @contact)
      |> Message.put_header(:require, ["100rel"])
      |> Message.put_header("RSeq", ["#{rseq}"])
      |> Message.put_headers(headers)
    end

    test "a PRACK has RAck, the next CSeq, and the dialog's route" do
      invite = invite()
      first = progress(invite, 988)
      {:ok, dialog} = Dialog.uac(invite, first)
      assert {:ok, prack, dialog} = Dialog.prack(dialog, first)
      assert Message.fetch_typed(prack, "RAck") == {:ok, {988, 1, :invite}}
      assert prack.headers.cseq == {2, :prack}
      assert prack.start_line.request_uri.host == "127.0.0.1"

      # The 200 to the INVITE leaves the number, and a BYE has the next.
      {:ok, second, dialog} = Dialog.prack(dialog, progress(invite, 989))
      assert second.headers.cseq == {3, :prack}
      ok = invite |> Message.to_response(200) |> Message.put_header(:contact, @contact)
      {:ok, dialog} = Dialog.receive_response(dialog, ok)
      assert {:ok, %{headers: %{cseq: {4, :bye}}}, _dialog} = Dialog.next_request(dialog, :bye)
    end

    test "none for what came before, nor for what came before its turn" do
      invite = invite()
      {:ok, dialog} = Dialog.uac(invite, progress(invite, 988))
      {:ok, _prack, dialog} = Dialog.prack(dialog, progress(invite, 988))
      assert Dialog.prack(dialog, progress(invite, 988)) == {:error, :repeated}
      assert Dialog.prack(dialog, progress(invite, 987)) == {:error, :repeated}
      assert Dialog.prack(dialog, progress(invite, 990)) == {:error, :out_of_order}
      assert {:ok, _prack, _dialog} = Dialog.prack(dialog, progress(invite, 989))
    end

    test "each fork has numbers of its own" do
      invite = invite()
      tagged = fn tag -> [to: {"", URI.parse!("sip:b@b"), %{"tag" => tag}}] end
      [one, two] = for tag <- ["1", "2"], do: progress(invite, 988, tagged.(tag))
      {:ok, first} = Dialog.uac(invite, one)
      {:ok, second} = Dialog.uac(invite, two)
      assert {:ok, _prack, _dialog} = Dialog.prack(first, one)
      assert {:ok, prack, _dialog} = Dialog.prack(second, two)
      assert {"", _uri, %{"tag" => "2"}} = prack.headers.to
    end

    test "none for a response that is not reliable" do
      invite = invite()
      {:ok, dialog} = Dialog.uac(invite, progress(invite, 988))

      for response <- [
            Message.delete_header(progress(invite, 988), :require),
            Message.delete_header(progress(invite, 988), "RSeq"),
            Message.put_header(progress(invite, 988), "RSeq", ["x"]),
            put_in(progress(invite, 988).start_line.status_code, 200),
            put_in(progress(invite, 988).headers.cseq, {1, :options})
          ] do
        assert Dialog.prack(dialog, response) == {:error, :not_reliable}
      end
    end
  end

  describe "two stacks" do
    @describetag transport: false
    test "ring reliably, acknowledge, answer and hang up", %{stack: stack} do
      start_supervised!({Sippet.Transports.UDP, name: stack, port: 0, address: "127.0.0.1"})
      uri = Sippet.own_uri(stack, user: "b")
      me = {"", Sippet.own_uri(stack, user: "a"), %{}}

      # Of the same stack: it calls itself.
      invite =
        Message.build_request(:invite, uri)
        |> Message.put_headers(from: me, contact: [me], supported: ["100rel"])
        |> Message.complete()

      :ok = Sippet.send(stack, invite, owner: self())
      assert_receive {:receive_request, %{start_line: %{method: :invite}} = got, _key}
      contact = [{"", uri, %{}}]
      progress = got |> Message.to_response(183) |> Message.put_header(:contact, contact)
      {:ok, callee} = Dialog.uas(got, progress)
      {progress, callee} = Dialog.put_reliable(callee, progress)
      :ok = Sippet.retransmit_1xx(stack, progress)

      assert_receive {:sippet, ^stack, _key,
                      {:response, %{start_line: %{status_code: 183}} = came}}

      {:ok, caller} = Dialog.uac(invite, came)
      {:ok, prack, caller} = Dialog.prack(caller, came)
      :ok = Sippet.send(stack, prack, owner: self())
      assert_receive {:receive_request, %{start_line: %{method: :prack}} = prack, _key}
      {:ok, callee} = Dialog.receive_request(callee, prack)
      :ok = Sippet.send(stack, Message.to_response(prack, 200))
      assert_receive {:sippet, ^stack, _key, {:response, %{headers: %{cseq: {2, :prack}}}}}

      ok = got |> Message.to_response(200) |> Message.put_header(:contact, contact)
      :ok = Sippet.send(stack, ok)
      callee = Dialog.respond(callee, ok)
      assert_receive {:sippet, ^stack, _key, {:response, %{start_line: %{status_code: 200}} = ok}}
      {:ok, caller} = Dialog.receive_response(caller, ok)
      :ok = Sippet.send(stack, Dialog.build_ack(caller, ok, invite))
      assert_receive {:receive_request, %{start_line: %{method: :ack}}, nil}
      {:ok, bye, _caller} = Dialog.next_request(caller, :bye)
      :ok = Sippet.send(stack, bye, owner: self())
      assert_receive {:receive_request, %{start_line: %{method: :bye}} = bye, _key}
      assert {:ok, %{state: :terminated}} = Dialog.receive_request(callee, bye)
    end
  end
end
