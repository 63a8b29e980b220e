defmodule Sippet.OwnersTest do
  # Who gets the events of a transaction and of a dialog, what becomes of it when that process ends, and what is said to who
  # answers too late.
  use Sippet.StackCase, async: true

  alias Sippet.{Dialog, Stack, Transactions}
  alias Sippet.Transactions.{Client, Server}

  import Sippet.Wait

  @unlimited [
    max_transactions: 100_000,
    max_pending: :infinity,
    max_requests: :infinity,
    answer_timeout: 60_000
  ]

  # A request as it came to the core, with its key. A branch and a Call-ID of its own, unless `headers` have them.
  defp invite(stack, headers \\ []) do
    deliver(stack, wire("INVITE", [{"Contact", "<sip:a@10.1.1.1>"} | headers]))
    assert_receive {:receive_request, %{start_line: %{method: :invite}} = invite, key}
    {invite, key}
  end

  # The CANCEL, ACK or repetition of a request.
  defp again(stack, %Message{headers: headers} = request, method) do
    {number, _method} = headers.cseq
    [{_version, _udp, _sent_by, %{"branch" => branch}} | _] = headers.via
    lines = [{"Via", "SIP/2.0/UDP 10.1.1.1;branch=#{branch};rport"}]
    lines = [{"Call-ID", headers.call_id}, {"CSeq", "#{number} #{method}"} | lines]
    assert request.headers.from
    deliver(stack, wire(method, lines))
  end

  # A process that owns what it is told to, and tells the test of what it gets.
  defp owner(stack, owned) do
    test = self()

    pid =
      spawn(fn ->
        for one <- owned, do: :ok = Sippet.controlling_process(stack, one, self())
        send(test, {:owns, self()})
        relay(test)
      end)

    assert_receive {:owns, ^pid}
    pid
  end

  # An INVITE that a process of its own has sent, and owns.
  defp sent_by_another(stack) do
    invite = request()
    test = self()
    pid = spawn(fn -> send(test, Sippet.send(stack, invite, owner: self())) && relay(test) end)
    assert_receive :ok
    assert_sent(:invite)
    {invite, pid}
  end

  defp relay(test) do
    receive do
      :stop ->
        :ok

      {:run, fun} ->
        send(test, {:ran, fun.()})
        relay(test)

      message ->
        send(test, {:owner, message})
        relay(test)
    end
  end

  defp request(method \\ :invite), do: own_request(method, "sip:b@192.0.2.9:5060")

  defp respond(stack, request, status, tag \\ "2") do
    {name, uri, params} = request.headers.to

    response =
      Message.to_response(request, status)
      |> Message.put_header(:to, {name, uri, Map.put(params, "tag", tag)})
      |> Message.put_header(:contact, [{"", Sippet.URI.parse!("sip:b@192.0.2.9"), %{}}])

    deliver(stack, to_string(response), {:udp, {192, 0, 2, 9}, 5060})
  end

  defp kill_workers(stack),
    do: for(name <- Transactions.Workers.names(Stack.fetch!(stack)), do: kill(name))

  # That of a request's call.
  defp kill_worker(stack, text) do
    running = Stack.fetch!(stack)
    index = Transactions.Actions.worker_of(running, Message.parse!(text))
    running |> Transactions.Workers.names() |> Enum.at(index - 1) |> kill()
  end

  defp kill(name) do
    pid = Process.whereis(name)
    Process.exit(pid, :kill)
    wait_until(fn -> Process.whereis(name) not in [nil, pid] end)
  end

  # A core that takes its time for each provisional response.
  def slow(:receive_response, %{start_line: %{status_code: 183}}, _key), do: Process.sleep(5)
  def slow(_callback, _argument, _key), do: :ok

  describe "a core that has returned, and answers later from another process" do
    @describetag :capture_log
    @describetag stack: @unlimited
    # A worker is killed before the callback begins, while it runs, or after it has returned: whatever comes first.
    test "is never taken for one that failed, whatever was killed meanwhile", %{stack: stack} do
      for n <- 1..100 do
        text = wire("INVITE", [{"Contact", "<sip:a@10.1.1.1>"}])
        deliver(stack, text)
        if rem(n, 6) == 0, do: kill_worker(stack, text)
        # A request that was lost with its worker comes again.
        deliver(stack, text)
        assert_receive {:receive_request, invite, key}, 2_000
        if rem(n, 6) == 1, do: kill_worker(stack, text)
        wait_until(fn -> not Transactions.info(Stack.fetch!(stack), key).running? end)
        {:ok, ok} = Task.async(fn -> answer(stack, invite) end) |> Task.await()
        assert final_status(key) == 200
        assert to_string(ok) =~ invite.headers.call_id
        refute_received {:receive_request, _again, _key}
      end

      assert Sippet.stats(stack).core_failed == 0
    end

    defp answer(stack, invite) do
      ok = Message.to_response(invite, 200)
      with :ok <- Sippet.send(stack, ok), do: {:ok, ok}
    end

    defp final_status(key) do
      assert_receive {:sent, _destination, "SIP/2.0 " <> <<status::binary-3>> <> _rest, ^key},
                     2_000

      if status == "100", do: final_status(key), else: String.to_integer(status)
    end
  end

  describe "the owner of an INVITE that came" do
    test "gets its CANCEL, and the core does not", %{stack: stack} do
      {invite, key} = invite(stack)
      owner(stack, [key])
      again(stack, invite, "CANCEL")
      assert_receive {:owner, {:sippet, ^stack, cancel_key, {:request, cancel}}}
      assert cancel.start_line.method == :cancel
      assert cancel_key.method == :cancel
      refute_received {:receive_request, _cancel, _key}
      assert Sippet.cancelled?(stack, key)
    end

    test "ends before it has answered: 500 at once, and a CANCEL after it changes nothing", %{
      stack: stack
    } do
      {invite, key} = invite(stack)
      pid = owner(stack, [key])
      Sippet.send(stack, Message.to_response(invite, 180))
      assert_sent(180)
      Process.exit(pid, :kill)
      assert_sent(500)

      again(stack, invite, "CANCEL")
      assert_receive {:receive_request, %{start_line: %{method: :cancel}} = cancel, _key}
      assert Sippet.send(stack, Message.to_response(cancel, 200)) == :ok
      assert_sent(200)
      refute Sippet.cancelled?(stack, key)
      assert Sippet.send(stack, Message.to_response(invite, 200)) == {:error, :already_answered}
      wait_until(fn -> Sippet.stats(stack).pending == 0 end)
    end

    test "ends after it has answered: nothing", %{stack: stack} do
      {invite, key} = invite(stack)
      pid = owner(stack, [key])
      Sippet.send(stack, Message.to_response(invite, 200))
      assert_sent(200)
      send(pid, :stop)
      refute_receive {:sent, _destination, _octets, _key}, 50
    end

    # RFC3261§13.3.1.4 - somebody has to end the dialog
    @tag stack: [t1: 10, t2: 40]
    test "ends after its 2xx, well or not: the core is told that no ACK came", %{stack: stack} do
      for reason <- [:normal, {:shutdown, :done}, :crash] do
        {invite, key} = invite(stack)
        pid = owner(stack, [key])
        ok = Message.to_response(invite, 200)
        :ok = Sippet.retransmit_2xx(stack, ok)
        send(pid, {:run, fn -> exit(reason) end})
        wait_until(fn -> not Process.alive?(pid) end)
        assert_receive {:receive_error, :no_ack, ^key}, 10_000
      end
    end

    test "is known to the next worker, dead or alive", %{stack: stack} do
      {invite, key} = invite(stack)
      pid = owner(stack, [key])
      kill_workers(stack)
      again(stack, invite, "CANCEL")
      assert_receive {:owner, {:sippet, ^stack, _key, {:request, cancel}}}
      Sippet.send(stack, Message.to_response(cancel, 200))
      assert_sent(200)
      kill_workers(stack)
      Process.exit(pid, :kill)
      assert_sent(500)
    end

    test "may be another later", %{stack: stack} do
      {invite, key} = invite(stack)
      first = owner(stack, [key])
      second = owner(stack, [key])
      Process.exit(first, :kill)
      refute_receive {:sent, _destination, _octets, _key}, 50
      Process.exit(second, :kill)
      assert_sent(500)
      again(stack, invite, "ACK")
    end

    test "does not exist where there is no transaction", %{stack: stack} do
      key = Server.Key.new("z9hG4bKnone", :invite, {"10.1.1.1", 5060})
      assert Sippet.controlling_process(stack, key, self()) == {:error, :no_transaction}
      refute Sippet.cancelled?(stack, key)
    end
  end

  describe "a CANCEL that is faster than the core" do
    test "is told by cancelled?/2, and answered before its INVITE is", %{stack: stack} do
      for _ <- 1..100 do
        {invite, key} = invite(stack)
        again(stack, invite, "CANCEL")
        assert_receive {:receive_request, %{start_line: %{method: :cancel}} = cancel, _key}
        assert Sippet.cancelled?(stack, key)
        # The core has not answered it yet.
        assert Sippet.send(stack, Message.to_response(invite, 487)) == :ok
        {ok, _destination} = assert_sent(200)
        assert {_number, :cancel} = ok.headers.cseq
        assert_sent(487)
        assert Sippet.send(stack, Message.to_response(cancel, 200)) == {:error, :already_answered}
        # Nobody acknowledges the 487, which would come again.
        Sippet.terminate(stack, key)
      end
    end
  end

  describe "of two final answers" do
    test "one goes out, and the other's sender is told", %{stack: stack} do
      for _ <- 1..200 do
        {invite, key} = invite(stack)
        answers = [486, 487]

        results =
          answers
          |> Enum.map(&Task.async(fn -> Sippet.send(stack, Message.to_response(invite, &1)) end))
          |> Task.await_many()

        assert Enum.sort(results) == [:ok, {:error, :already_answered}]
        assert_receive {:sent, _destination, octets, ^key}
        sent = Message.parse!(octets).start_line.status_code
        assert Enum.at(answers, Enum.find_index(results, &(&1 == :ok))) == sent
        again(stack, invite, "ACK")
      end

      refute_receive {:sent, _destination, "SIP/2.0 48" <> _, _key}, 20
    end

    test "both go out that are 2xx to an INVITE: a fork's, and the core's repetition", %{
      stack: stack
    } do
      {invite, _key} = invite(stack)
      ok = Message.to_response(invite, 200)
      {name, uri, _params} = ok.headers.to
      fork = Message.put_header(ok, :to, {name, uri, %{"tag" => "fork"}})
      for response <- [ok, fork, ok], do: assert(Sippet.send(stack, response) == :ok)

      for tag <- [ok, fork, ok],
          do:
            assert({%{headers: %{to: to}}, _} = assert_sent(200)) && assert(to == tag.headers.to)

      assert Sippet.retransmit_2xx(stack, ok) == :ok
      assert Sippet.send(stack, Message.to_response(invite, 486)) == {:error, :already_answered}
    end

    test "none follows a rejection", %{stack: stack} do
      {invite, _key} = invite(stack)
      assert Sippet.send(stack, Message.to_response(invite, 486)) == :ok
      ok = Message.to_response(invite, 200)
      assert Sippet.send(stack, ok) == {:error, :already_answered}
      assert Sippet.retransmit_2xx(stack, ok) == {:error, :already_answered}
    end
  end

  describe "the owner of an INVITE that was sent" do
    test "gets its responses and errors", %{stack: stack} do
      invite = request()
      assert Sippet.send(stack, invite, owner: self()) == :ok
      assert_sent(:invite)
      key = Client.Key.new(invite)
      respond(stack, invite, 180)
      assert_receive {:sippet, ^stack, ^key, {:response, %{start_line: %{status_code: 180}}}}
      Sippet.terminate(stack, key)
      assert_receive {:sippet, ^stack, ^key, {:error, :terminated}}
      refute_received {:receive_response, _response, _key}
    end

    test "ends: the INVITE is cancelled after its first provisional response", %{stack: stack} do
      {invite, pid} = sent_by_another(stack)
      Process.exit(pid, :kill)
      refute_receive {:sent, _destination, "CANCEL" <> _, _key}, 50
      respond(stack, invite, 180)
      assert_sent(:cancel)
      respond(stack, invite, 180)
      refute_receive {:sent, _destination, "CANCEL " <> _, %{method: :cancel}}, 30
    end

    test "ends while it rings: the INVITE is cancelled, and a 2xx that was faster is ended", %{
      stack: stack
    } do
      {invite, pid} = sent_by_another(stack)
      respond(stack, invite, 180)
      assert_receive {:owner, {:sippet, ^stack, _key, {:response, _ringing}}}
      Process.exit(pid, :kill)
      assert_sent(:cancel)
      respond(stack, invite, 200)
      {ack, _destination} = assert_sent(:ack)
      {bye, _destination} = assert_sent(:bye)
      assert {1, :ack} = ack.headers.cseq
      assert {_name, _uri, %{"tag" => "2"}} = bye.headers.to
      # The 2xx that comes again gets the same ACK, and no further BYE.
      respond(stack, invite, 200)
      {again, _destination} = assert_sent(:ack)
      assert again == ack
      refute_receive {:sent, _destination, "BYE" <> _, nil}, 20
      refute_received {:receive_response, _response, _key}
    end
  end

  describe "the 2xx of an INVITE that was sent" do
    test "comes to the core once, where the core has acknowledged it", %{stack: stack} do
      invite = request()
      :ok = Sippet.send(stack, invite)
      assert_sent(:invite)
      respond(stack, invite, 200)
      assert_receive {:receive_response, ok, _key}
      {:ok, dialog} = Dialog.uac(invite, ok)
      via = [{{2, 0}, :udp, {"127.0.0.1", 5060}, %{"branch" => Message.create_branch()}}]
      ack = dialog |> Dialog.build_ack(ok) |> Message.put_header(:via, via)
      :ok = Sippet.send(stack, ack)
      {sent, destination} = assert_sent(:ack)

      for _ <- 1..3 do
        respond(stack, invite, 200)
        assert {^sent, ^destination} = assert_sent(:ack)
      end

      refute_received {:receive_response, _response, _key}
      # That of another branch of a fork is another dialog's.
      respond(stack, invite, 200, "fork")
      assert_receive {:receive_response, %{headers: %{to: {_, _, %{"tag" => "fork"}}}}, _key}
    end

    test "comes to the core each time, where it forwards the ACKs of others", %{stack: stack} do
      invite = request()
      :ok = Sippet.send(stack, invite)
      assert_sent(:invite)
      respond(stack, invite, 200)
      assert_receive {:receive_response, ok, _key}
      {:ok, dialog} = Dialog.uac(invite, ok)

      vias =
        for n <- 1..2,
            do: {{2, 0}, :udp, {"127.0.0.#{n}", 5060}, %{"branch" => Message.create_branch()}}

      :ok = Sippet.send(stack, dialog |> Dialog.build_ack(ok) |> Message.put_header(:via, vias))
      assert_sent(:ack)
      respond(stack, invite, 200)
      assert_receive {:receive_response, ^ok, _key}
    end
  end

  describe "the owner of a dialog" do
    @describetag stack: @unlimited
    test "gets the requests within it in their order, and never answers 500", %{stack: stack} do
      {invite, _key} = invite(stack)
      ok = Message.to_response(invite, 200)
      {:ok, dialog} = Dialog.uas(invite, ok)
      :ok = Sippet.controlling_process(stack, dialog, self())
      {_name, _uri, %{"tag" => tag}} = ok.headers.to
      call = {"Call-ID", invite.headers.call_id}

      Enum.reduce(1..500, dialog, fn burst, dialog ->
        numbers = Enum.to_list((burst * 10)..(burst * 10 + 9))

        for n <- numbers do
          headers = [call, {"To", "<sip:b@biloxi.com>;tag=#{tag}"}, {"CSeq", "#{n} INFO"}]
          Sippet.Router.queue_transport_message(stack, wire("INFO", headers), remote())
        end

        Enum.reduce(numbers, dialog, fn n, dialog ->
          assert_receive {:sippet, ^stack, _key, {:request, info}}
          assert {^n, "INFO"} = {elem(info.headers.cseq, 0), "INFO"}
          {:ok, dialog} = Dialog.receive_request(dialog, info)
          dialog
        end)
      end)

      refute_received {:receive_request, _request, _key}
    end

    test "gets ACKs, and is forgotten with its end", %{stack: stack} do
      {invite, key} = invite(stack)
      ok = Message.to_response(invite, 200)
      {:ok, dialog} = Dialog.uas(invite, ok)
      pid = owner(stack, [key, dialog])
      Sippet.send(stack, ok)
      assert_sent(200)
      {_name, _uri, %{"tag" => tag}} = ok.headers.to
      within = [{"Call-ID", invite.headers.call_id}, {"To", "<sip:b@biloxi.com>;tag=#{tag}"}]
      {number, :invite} = invite.headers.cseq
      deliver(stack, wire("ACK", [{"CSeq", "#{number} ACK"} | within]))
      assert_receive {:owner, {:sippet, ^stack, nil, {:request, %{start_line: %{method: :ack}}}}}

      # The 2xx had come twice, or the ACK was doubled on its way.
      deliver(stack, wire("ACK", [{"CSeq", "#{number} ACK"} | within]))
      assert_receive {:owner, {:sippet, ^stack, nil, {:request, %{start_line: %{method: :ack}}}}}
      refute_received {:receive_request, _ack, nil}

      send(pid, :stop)
      wait_until(fn -> Transactions.held(Stack.fetch!(stack)).dialogs == 0 end)
      deliver(stack, wire("BYE", [{"CSeq", "9 BYE"} | within]))
      assert_receive {:receive_request, %{start_line: %{method: :bye}}, _key}
    end
  end

  describe "RFC3261§15 the end of who owns a dialog" do
    @describetag stack: [t1: 5_000]

    # The called side's dialog: the owner has sent the response.
    defp owned_call(stack, status, how \\ & &1) do
      {invite, key} = invite(stack)
      response = Message.to_response(invite, status)
      {:ok, dialog} = Dialog.uas(invite, response)
      pid = owner(stack, [key, how.(dialog)])
      :ok = Sippet.send(stack, response)
      assert_sent(status)
      {pid, invite, dialog}
    end

    defp refute_sent(method) do
      refute_receive {:sent, _destination, <<^method::binary-size(4), _rest::binary>>, _key}, 50
    end

    test "ends the call by a BYE, however that ended", %{stack: stack} do
      for reason <- [:kill, :crashed, :normal] do
        {pid, invite, dialog} = owned_call(stack, 200)
        if reason == :normal, do: send(pid, :stop), else: Process.exit(pid, reason)
        {bye, _destination} = assert_sent(:bye)
        assert {bye.headers.call_id, bye.headers.cseq} == {invite.headers.call_id, {1, :bye}}
        assert {bye.headers.from, bye.headers.to} == {dialog.local, dialog.remote}
        # Nobody is told of its response.
        deliver(stack, to_string(Message.to_response(bye, 200)))
        refute_received {:receive_response, _response, _key}
      end

      assert Transactions.held(Stack.fetch!(stack)).endings == 0
    end

    test "ends the call that was early when the owner took it", %{stack: stack} do
      {pid, invite, _dialog} = owned_call(stack, 180)
      :ok = Sippet.send(stack, Message.to_response(invite, 200))
      assert_sent(200)
      Process.exit(pid, :kill)
      assert_sent(:bye)
    end

    test "leaves an early dialog to its INVITE, which gets 500", %{stack: stack} do
      {pid, _invite, _dialog} = owned_call(stack, 180)
      Process.exit(pid, :kill)
      assert_sent(500)
      refute_sent("BYE ")
    end

    test "sends a number that was not used", %{stack: stack} do
      {pid, _invite, dialog} = owned_call(stack, 200)
      {:ok, info, dialog} = Dialog.next_request(dialog, :info)
      :ok = Sippet.send(stack, info)
      assert_sent(:info)
      {:ok, info, _dialog} = Dialog.next_request(dialog, :info)
      :ok = Sippet.send(stack, info)
      assert_sent(:info)
      Process.exit(pid, :kill)
      assert {%{headers: %{cseq: {3, :bye}}}, _destination} = assert_sent(:bye)
    end

    test "sends nothing after a BYE, by either side", %{stack: stack} do
      {pid, _invite, dialog} = owned_call(stack, 200)
      {:ok, bye, _dialog} = Dialog.next_request(dialog, :bye)
      :ok = Sippet.send(stack, bye)
      assert_sent(:bye)
      Process.exit(pid, :kill)
      refute_sent("BYE ")

      {pid, invite, dialog} = owned_call(stack, 200)
      within = [{"Call-ID", invite.headers.call_id}, {"CSeq", "9 BYE"}]
      to = {"To", "<sip:b@biloxi.com>;tag=#{dialog.local_tag}"}
      deliver(stack, wire("BYE", [to | within]))
      assert_receive {:owner, {:sippet, ^stack, _key, {:request, bye}}}
      :ok = Sippet.send(stack, Message.to_response(bye, 200))
      assert_sent(200)
      Process.exit(pid, :kill)
      refute_sent("BYE ")
      assert Transactions.held(Stack.fetch!(stack)).endings == 0
    end

    test "ends the caller's call too, by its route", %{stack: stack} do
      invite = own_request(:invite, "sip:b@192.0.2.4")
      :ok = Sippet.send(stack, invite)
      assert_sent(:invite)
      route = for n <- [2, 1], do: {"", Sippet.URI.parse!("sip:192.0.2.2#{n};lr"), %{}}

      response = fn status ->
        Message.to_response(invite, status)
        |> Message.put_header(:contact, [{"", Sippet.URI.parse!("sip:b@192.0.2.5"), %{}}])
        |> Message.put_header(:record_route, route)
      end

      {:ok, early} = Dialog.uac(invite, response.(180))
      pid = owner(stack, [early])
      deliver(stack, to_string(response.(200)))
      assert_receive {:receive_response, _ok, _key}
      Process.exit(pid, :kill)
      assert_receive {:sent, {{192, 0, 2, 21}, 5060}, "BYE " <> _octets, _key}
    end

    test "ends no subscription, and no dialog that the stack knows by its ID alone", %{
      stack: stack
    } do
      {pid, _invite, _dialog} = owned_call(stack, 200, &Dialog.id/1)
      Process.exit(pid, :kill)
      refute_sent("BYE ")

      {pid, _invite, _dialog} = owned_call(stack, 200, &%{&1 | method: :subscribe})
      Process.exit(pid, :kill)
      refute_sent("BYE ")
    end

    test "is the end of the last one who took it", %{stack: stack} do
      {pid, _invite, dialog} = owned_call(stack, 200)
      other = owner(stack, [dialog])
      Process.exit(pid, :kill)
      refute_sent("BYE ")
      Process.exit(other, :kill)
      assert_sent(:bye)
    end

    test "is known to a worker that has begun anew", %{stack: stack} do
      {pid, _invite, dialog} = owned_call(stack, 200)
      index = Transactions.Workers.of_call(Stack.fetch!(stack), dialog.call_id)
      name = Transactions.Workers.name(Stack.fetch!(stack), index)
      worker = Process.whereis(name)
      Process.exit(worker, :kill)
      wait_until(fn -> Process.whereis(name) not in [nil, worker] end)
      Process.exit(pid, :kill)
      assert_sent(:bye)
    end

    test "goes where the 2xx leads, and not where the 180 led", %{stack: stack} do
      invite = own_request(:invite, "sip:b@192.0.2.4")
      :ok = Sippet.send(stack, invite)
      assert_sent(:invite)
      contact = &[contact: [{"", Sippet.URI.parse!("sip:b@" <> &1), %{}}]]
      ringing = Message.put_headers(Message.to_response(invite, 180), contact.("192.0.2.5"))
      {:ok, early} = Dialog.uac(invite, ringing)
      pid = owner(stack, [early])
      ok = Message.put_headers(Message.to_response(invite, 200), contact.("192.0.2.6"))
      deliver(stack, to_string(ok))
      assert_receive {:receive_response, _ok, _key}
      # An owner that says again what it knew before the 2xx makes nothing undone.
      :ok = Sippet.controlling_process(stack, early, pid)
      Process.exit(pid, :kill)
      assert {bye, {{192, 0, 2, 6}, 5060}} = assert_sent(:bye)
      assert bye.start_line.request_uri.host == "192.0.2.6"
    end

    test "leaves nothing of dialogs that have ended, however long the owner lives", %{
      stack: stack
    } do
      held = fn -> Map.take(Transactions.held(Stack.fetch!(stack)), [:dialogs, :endings]) end
      none = %{dialogs: 0, endings: 0}

      # Refused.
      {_pid, invite, _dialog} = owned_call(stack, 180)
      :ok = Sippet.send(stack, Message.to_response(invite, 486))
      assert_sent(486)
      wait_until(fn -> held.() == none end)

      # Its BYE was answered by the far end.
      {_pid, _invite, dialog} = owned_call(stack, 200)
      {:ok, bye, _dialog} = Dialog.next_request(dialog, :bye)
      :ok = Sippet.send(stack, bye)
      {bye, _destination} = assert_sent(:bye)
      deliver(stack, to_string(Message.to_response(bye, 200)))
      assert_receive {:receive_response, _ok, _key}
      wait_until(fn -> held.() == none end)

      # Given back.
      {pid, _invite, dialog} = owned_call(stack, 200)
      :ok = Sippet.controlling_process(stack, dialog, nil)
      assert held.() == none
      Process.exit(pid, :kill)
      refute_sent("BYE ")
    end

    test "of an INVITE that a proxy has forwarded, the 2xx goes to the core", %{stack: stack} do
      vias = own_request(:invite, "sip:b@192.0.2.9").headers.via
      upstream = {{2, 0}, :udp, {"10.1.1.1", 5060}, %{"branch" => Message.create_branch()}}

      copy =
        own_request(:invite, "sip:b@192.0.2.9") |> Message.put_header(:via, vias ++ [upstream])

      pid = spawn(fn -> Process.sleep(:infinity) end)
      :ok = Sippet.send(stack, copy, owner: pid)
      assert_sent(:invite)
      Process.exit(pid, :kill)
      respond(stack, copy, 180)
      assert_sent(:cancel)
      respond(stack, copy, 200)
      assert_receive {:receive_response, %{start_line: %{status_code: 200}}, _key}
      refute_sent("ACK ")
      refute_sent("BYE ")
    end
  end

  describe "RFC3261§9.1 cancel/2" do
    @describetag stack: [t1: 5_000]

    defp own_invite(stack) do
      invite = own_request(:invite, "sip:b@192.0.2.4")
      :ok = Sippet.send(stack, invite, owner: self())
      assert_sent(:invite)
      {invite, Client.Key.new(invite)}
    end

    test "waits for the first provisional response, and cancels once", %{stack: stack} do
      {invite, key} = own_invite(stack)
      assert Sippet.cancel(stack, key) == :ok
      assert Sippet.cancel(stack, key) == :ok
      refute_sent("CANC")
      respond(stack, invite, 100)
      {cancel, _destination} = assert_sent(:cancel)
      assert hd(cancel.headers.via) == hd(invite.headers.via)
      respond(stack, invite, 180)
      refute_sent("CANC")
      # The response to the CANCEL is the stack's.
      deliver(stack, to_string(Message.to_response(cancel, 200)))
      respond(stack, invite, 487)
      assert_receive {:sippet, ^stack, ^key, {:response, %{start_line: %{status_code: 487}}}}
      refute_received {:sippet, ^stack, _key, {:response, %{headers: %{cseq: {_, :cancel}}}}}
    end

    test "sends at once where it rings", %{stack: stack} do
      {invite, key} = own_invite(stack)
      respond(stack, invite, 180)
      assert_receive {:sippet, ^stack, ^key, {:response, _ringing}}
      assert Sippet.cancel(stack, key) == :ok
      assert_sent(:cancel)
    end

    test "sends nothing where the final response is faster", %{stack: stack} do
      for status <- [200, 486] do
        {invite, key} = own_invite(stack)
        assert Sippet.cancel(stack, key) == :ok
        respond(stack, invite, status)

        assert_receive {:sippet, ^stack, ^key,
                        {:response, %{start_line: %{status_code: ^status}}}}

        assert Sippet.cancel(stack, key) == :ok
        refute_sent("CANC")
      end
    end

    test "knows no other INVITE", %{stack: stack} do
      assert Sippet.cancel(stack, Client.Key.new("z9hG4bKgone", :invite)) ==
               {:error, :no_transaction}

      assert_raise FunctionClauseError, fn ->
        Sippet.cancel(stack, Client.Key.new("z9hG4bKgone", :bye))
      end
    end

    test "holds for a worker that has begun anew", %{stack: stack} do
      {invite, key} = own_invite(stack)
      :ok = Sippet.cancel(stack, key)
      index = Transactions.Workers.of_call(Stack.fetch!(stack), invite.headers.call_id)
      name = Transactions.Workers.name(Stack.fetch!(stack), index)
      # It has written down what it was told.
      Transactions.settle(Stack.fetch!(stack))
      worker = Process.whereis(name)
      Process.exit(worker, :kill)
      wait_until(fn -> Process.whereis(name) not in [nil, worker] end)
      respond(stack, invite, 180)
      assert_sent(:cancel)
    end
  end

  describe "what one process sends for one call" do
    @describetag stack: @unlimited
    test "leaves in that order: responses, ACKs, what is forwarded", %{stack: stack} do
      {first, _key} = invite(stack)
      call = [{"Call-ID", first.headers.call_id}]

      for n <- 1..1_000 do
        {invite, _key} = invite(stack, [{"CSeq", "#{n + 1} INVITE"} | call])

        ack =
          %{request(:ack) | target: nil} |> Message.put_header(:call_id, first.headers.call_id)

        ok = Message.to_response(invite, 200)

        :ok = Sippet.send(stack, Message.to_response(invite, 183))
        :ok = Sippet.send(stack, ack)
        :ok = Sippet.forward(stack, ack)
        :ok = Sippet.send(stack, ok)
        assert [183, :ack, :ack, 200] == for(_ <- 1..4, do: kind())
      end
    end
  end

  # Of the next message that was sent; the stack's own 100 comes where the machine is slow.
  defp kind do
    assert_receive {:sent, _destination, octets, _key}, 2_000

    case Message.parse!(octets).start_line do
      %{status_code: 100} -> kind()
      %{status_code: status} -> status
      %{method: method} -> method
    end
  end

  describe "behind waiting provisional responses" do
    @tag stack: [behave: &__MODULE__.slow/3]
    test "a final one is not dropped", context do
      stack = context.stack
      invite = request()
      :ok = Sippet.send(stack, invite)
      assert_sent(:invite)
      for _ <- 1..120, do: respond(stack, invite, 183)
      respond(stack, invite, 486)
      assert_receive {:receive_response, %{start_line: %{status_code: 486}}, _key}, 2_000
    end
  end

  describe "RFC3261§13.2.2.4 an INVITE whose owner is gone" do
    @describetag stack: [t1: 5_000]

    test "has its 2xx acknowledged with its credentials", %{stack: stack} do
      credentials = [
        authorization: [{"Digest", %{"realm" => "biloxi.com"}}],
        proxy_authorization: [{"Digest", %{"realm" => "atlanta.com"}}]
      ]

      invite = left_alone(stack, credentials)
      accept(stack, invite, contact: [{"", Sippet.URI.parse!("sip:b@192.0.2.9"), %{}}])
      {ack, _destination} = assert_sent(:ack)
      for {name, value} <- credentials, do: assert(ack.headers[name] == value)
      assert_sent(:bye)
    end

    test "has its 2xx acknowledged that has no Contact, and is ended", %{stack: stack} do
      invite = left_alone(stack, [])
      accept(stack, invite, [])
      {ack, _destination} = assert_sent(:ack)
      assert ack.start_line.request_uri == invite.start_line.request_uri
      assert_sent(:bye)
    end
  end

  # An INVITE whose owner has ended before there was any response.
  defp left_alone(stack, headers) do
    invite = Message.put_headers(own_request(:invite, "sip:b@192.0.2.9:5060"), headers)
    {pid, ref} = spawn_monitor(fn -> :ok = Sippet.send(stack, invite, owner: self()) end)
    assert_receive {:DOWN, ^ref, :process, ^pid, :normal}
    assert_sent(:invite)
    invite
  end

  defp accept(stack, invite, headers) do
    response = invite |> Message.to_response(200) |> Message.put_headers(headers)
    deliver(stack, Message.to_string(response), {:udp, {192, 0, 2, 9}, 5060})
  end
end
