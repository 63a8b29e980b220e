defmodule Sippet.TelemetryTest do
  # Each event of the documented list is made to happen, and has the measurements and metadata that its row names.
  use Sippet.StackCase, async: true

  @moduletag :capture_log

  alias Sippet.{LogHandler, Telemetry, Transports.UDP}

  doctest Telemetry

  @moduletag stack: [telemetry: Sippet.TestTelemetry, t1: 2, behave: &__MODULE__.behave/3]

  def behave(:receive_request, %{headers: %{"X-Test" => ["hang"]}}, _key),
    do: Process.sleep(:infinity)

  def behave(:receive_request, %{headers: %{"X-Tell" => [pid]}}, _key) do
    pid |> String.to_charlist() |> :erlang.list_to_pid() |> send({:callback, self()})
    Process.sleep(:infinity)
  end

  def behave(_callback, _argument, _key), do: :ok

  for {id, [:sippet | event], measurements, metadata} <- Telemetry.events() do
    test "#{inspect([:sippet | event])} is as documented, and counted", %{stack: stack} do
      provoke(unquote(id), stack)
      assert_receive {:event, unquote(event), measured, told}, 5_000
      assert measured |> Map.keys() |> Enum.sort() == unquote(Enum.sort(measurements))
      assert told |> Map.keys() |> Enum.sort() == unquote(Enum.sort(metadata))
      assert told.stack == stack
      assert Enum.all?(Map.values(measured), &is_integer/1)

      # It is made for listeners alone.
      if unquote(id) == :transaction_responded,
        do: refute(is_map_key(Sippet.stats(stack), unquote(id))),
        else: assert(Sippet.stats(stack)[unquote(id)] > 0)
    end
  end

  defp provoke(:message_refused, stack), do: deliver(stack, wire("OPTIONS", [{"CSeq", "x"}]))
  defp provoke(:message_dropped, stack), do: deliver(stack, "\r\n\r\n")

  defp provoke(:transport_error, stack),
    do: Router.receive_transport_error(stack, nil, :econnrefused)

  defp provoke(event, stack) when event in [:connection_opened, :connection_closed] do
    start_supervised!({Sippet.Transports.TCP, name: stack, port: 0, address: "127.0.0.1"})
    {:ok, {ip, port}} = Sippet.Transports.TCP.sockname(stack)
    {:ok, socket} = :gen_tcp.connect(ip, port, [])
    if event == :connection_closed, do: :gen_tcp.close(socket)
  end

  # Nobody listens on port 1.
  defp provoke(:connection_refused, stack) do
    start_supervised!({Sippet.Transports.TCP, name: stack, port: 0, address: "127.0.0.1"})
    Sippet.send(stack, own_request(:options, "sip:127.0.0.1:1;transport=tcp"))
  end

  # A module that has to be looked for on the disk could take longer than the request lasts.
  defp provoke(:core_failed, stack) do
    Sippet.register_core(stack, String)
    deliver(stack, wire("OPTIONS"))
  end

  defp provoke(:core_missing, stack) do
    Sippet.register_core(stack, nil)
    deliver(stack, wire("OPTIONS"))
  end

  defp provoke(:core_abandoned, stack),
    do: deliver(stack, wire("OPTIONS", [{"X-Test", "hang"}]))

  defp provoke(:request_rejected, stack) do
    Sippet.drain(stack, 0)
    deliver(stack, wire("OPTIONS"))
  end

  defp provoke(:owner_down, stack) do
    deliver(stack, wire("INVITE"))
    assert_receive {:receive_request, _request, key}
    owner = spawn(fn -> Process.sleep(:infinity) end)
    :ok = Sippet.controlling_process(stack, key, owner)
    Process.exit(owner, :kill)
  end

  defp provoke(:transaction_ended, stack) do
    deliver(stack, wire("OPTIONS"))
    assert_receive {:receive_request, _request, key}
    Sippet.terminate(stack, key)
  end

  # The time that was granted is over at once.
  defp provoke(:registration_expired, stack) do
    start_timer = fn
      _ms, pid, :expiry -> :erlang.start_timer(0, pid, :expiry)
      ms, pid, name -> :erlang.start_timer(ms, pid, name)
    end

    register(stack, 200, %{start_timer: start_timer})
  end

  defp provoke(:registration_registered, stack), do: register(stack, 200, %{})
  defp provoke(:registration_failed, stack), do: register(stack, 403, %{})

  defp provoke(_id, stack) do
    deliver(stack, wire("OPTIONS"))
    assert_receive {:receive_request, request, _key}
    Sippet.send(stack, Message.to_response(request, 200))
  end

  defp register(stack, status, private) do
    options = [stack: stack, address_of_record: "sip:a@192.0.2.9"]
    {:ok, _pid} = Sippet.Registration.start_link(options, private)
    {request, _destination} = assert_sent(:register)

    response =
      request
      |> Message.to_response(status)
      |> Message.put_header(:contact, request.headers.contact)

    deliver(stack, to_string(response))
  end

  describe "what was sent" do
    test "is told with its method and status", %{stack: stack} do
      deliver(stack, wire("OPTIONS", [{"CSeq", "7 OPTIONS"}]))
      assert_receive {:receive_request, request, _key}
      Sippet.send(stack, Message.to_response(request, 486))
      assert_receive {:event, [:message, :sent], _bytes, %{method: :options, status: 486}}

      via = {{2, 0}, :udp, {"127.0.0.1", 5060}, %{"branch" => Message.create_branch()}}

      asked =
        Message.build_request("FOO", "sip:bob@192.0.2.9")
        |> Message.put_header(:via, [via])
        |> Message.put_header(:from, request.headers.from)
        |> Message.put_header(:to, request.headers.to)
        |> Message.put_header(:call_id, "c")
        |> Message.put_header(:cseq, {1, "FOO"})

      :ok = Sippet.send(stack, asked)
      assert_receive {:event, [:message, :sent], _bytes, %{method: "FOO", status: nil}}
    end
  end

  describe "the end of a transaction" do
    test "is told with its final status", %{stack: stack} do
      for {how, status} <- [send: 486, reply: 403] do
        deliver(stack, wire("OPTIONS"))
        assert_receive {:receive_request, request, key}
        :ok = apply(Sippet, how, [stack, Message.to_response(request, status)])
        assert_receive {:event, [:transaction, :ended], _duration, %{key: ^key} = told}, 1_000
        assert %{status: ^status, reason: :normal} = told
      end
    end

    test "is told without one where there was none", %{stack: stack} do
      deliver(stack, wire("OPTIONS", [{"X-Test", "hang"}]))
      assert_receive {:event, [:transaction, :ended], _duration, told}, 1_000
      assert %{status: nil, reason: :timeout} = told
    end
  end

  # What a record of a call needs, of both sides.
  describe "a call" do
    setup %{stack: stack} do
      %{invite: wire("INVITE", [{"Contact", "<sip:a@10.1.1.1>"}, {"Call-ID", "#{stack}"}])}
    end

    test "tells of its request and of each status that is new", %{stack: stack, invite: invite} do
      deliver(stack, invite)
      assert_receive {:receive_request, request, key}
      assert_receive {:event, [:transaction, :started], %{system_time: _}, %{key: ^key} = told}
      assert told.request == request

      # A final response may overtake provisional ones that wait for the worker.
      for status <- [100, 180, 180, 183, 180, 200, 200] do
        Sippet.send(stack, Message.to_response(request, status))
        Sippet.Transactions.settle(Sippet.Stack.fetch!(stack))
      end

      for status <- [180, 183, 180, 200] do
        assert_receive {:event, [:transaction, :responded], measured, %{key: ^key} = told}
        assert %{status: ^status, response: nil, cancelled: false} = told
        assert measured.duration > 0 and measured.system_time > 0
      end

      refute_received {:event, [:transaction, :responded], _measured, %{key: ^key}}
      assert_receive {:event, [:message, :sent], _bytes, %{key: ^key, status: 180}}
    end

    @tag stack: [telemetry: Sippet.TestTelemetry, t1: 2]
    test "tells that it was cancelled", %{stack: stack, invite: invite} do
      deliver(stack, invite)
      assert_receive {:receive_request, request, key}
      deliver(stack, String.replace(invite, "INVITE", "CANCEL"))
      assert_receive {:receive_request, %{start_line: %{method: :cancel}} = cancel, _key}
      Sippet.send(stack, Message.to_response(cancel, 200))
      Sippet.send(stack, Message.to_response(request, 487))
      assert_receive {:event, [:transaction, :responded], _measured, %{key: ^key} = told}
      assert %{status: 487, cancelled: true} = told
      # Timer H: nobody acknowledges.
      assert_receive {:event, [:transaction, :ended], _measured, %{key: ^key} = told}, 2_000
      assert %{status: 487, cancelled: true} = told
    end

    for how <- [:cancel, :send] do
      test "that we make tells it too, by #{how}", %{stack: stack} do
        invite = own_request(:invite, "sip:b@192.0.2.9:5060")
        key = Sippet.Transactions.Client.Key.new(invite)
        :ok = Sippet.send(stack, invite)
        assert_receive {:event, [:transaction, :started], _measured, %{key: ^key} = told}
        assert told.request.headers == Message.complete(invite).headers
        assert told.request.start_line == invite.start_line
        deliver(stack, to_string(Message.to_response(invite, 180)))
        assert_receive {:event, [:transaction, :responded], _measured, %{key: ^key} = told}
        assert %{status: 180, cancelled: false, response: response} = told
        assert response.headers.call_id == invite.headers.call_id
        assert_receive {:receive_response, %{start_line: %{status_code: 180}}, ^key}

        if unquote(how) == :cancel,
          do: Sippet.cancel(stack, key),
          else: Sippet.send(stack, Message.to_cancel(invite))

        # INVITEs that came again may stand before it.
        assert_receive {:sent, _destination, "CANCEL " <> _rest, _key}, 1_000
        deliver(stack, to_string(Message.to_response(invite, 487)))
        assert_receive {:event, [:transaction, :responded], _measured, %{key: ^key} = told}
        assert %{status: 487, cancelled: true, response: %Message{}} = told
      end
    end

    test "has no status where there was none but provisional ones", %{stack: stack} do
      invite = own_request(:invite, "sip:b@192.0.2.9:5060")
      key = Sippet.Transactions.Client.Key.new(invite)
      :ok = Sippet.send(stack, invite)
      assert_sent(:invite)
      deliver(stack, to_string(Message.to_response(invite, 180)))
      assert_receive {:receive_response, _ringing, ^key}
      Sippet.terminate(stack, key)
      assert_receive {:event, [:transaction, :ended], _measured, %{key: ^key} = told}
      assert %{status: nil, reason: :terminated, cancelled: false} = told
    end

    # It was put there by a process that could not tell the worker of it.
    test "tells of a request of which nothing but the octets is left", %{stack: stack} do
      :sys.suspend(worker = worker_of(stack, "orphan"))
      invite = %{own_request(:invite, "sip:b@192.0.2.9:5060") | body: "x"}
      invite = Message.put_header(invite, :call_id, "orphan")
      :ok = Sippet.send(stack, invite)
      Process.exit(worker, :kill)
      assert_receive {:event, [:transaction, :started], _measured, %{request: request}}, 1_000
      assert request.headers.call_id == "orphan" and request.body == "x"
    end
  end

  defp worker_of(stack, call_id) do
    stack = Sippet.Stack.fetch!(stack)
    index = Sippet.Transactions.Workers.of_call(stack, call_id)
    Process.whereis(Sippet.Transactions.Workers.name(stack, index))
  end

  describe "the end of an owner" do
    defp owner(stack, owned, reason) do
      test = self()

      pid =
        spawn(fn ->
          for one <- owned, do: :ok = Sippet.controlling_process(stack, one, self())
          send(test, :owns)

          receive do
            :stop -> exit(reason)
          end
        end)

      assert_receive :owns
      pid
    end

    test "is told of a request that has no final response", %{stack: stack} do
      deliver(stack, wire("INVITE"))
      assert_receive {:receive_request, _request, key}
      send(owner(stack, [key], :normal), :stop)
      assert_receive {:event, [:owner, :down], _measured, told}
      assert %{key: ^key, dialog: nil, reason: :normal} = told
      assert_receive {:event, [:transaction, :responded], _measured, %{key: ^key, status: 500}}
    end

    @tag stack: [telemetry: Sippet.TestTelemetry, behave: &__MODULE__.behave/3]
    test "is told once if it is the callback, too", %{stack: stack} do
      for own? <- [true, false] do
        deliver(stack, wire("INVITE", [{"X-Tell", "#{:erlang.pid_to_list(self())}"}]))
        assert_receive {:receive_request, _request, key}
        assert_receive {:callback, callback}
        if own?, do: :ok = Sippet.controlling_process(stack, key, callback)
        Process.exit(callback, :kill)
        assert_receive {:event, [:owner, :down], _measured, %{key: ^key, reason: :killed}}
        assert_receive {:event, [:transaction, :responded], _measured, %{key: ^key, status: 500}}
        refute_received {:event, [:owner, :down], _measured, _told}
      end
    end

    test "is told of an INVITE that it sent", %{stack: stack} do
      invite = own_request(:invite, "sip:b@192.0.2.9:5060")
      key = Sippet.Transactions.Client.Key.new(invite)
      :ok = Sippet.send(stack, invite)
      assert_sent(:invite)
      send(owner(stack, [key], :crash), :stop)
      assert_receive {:event, [:owner, :down], _measured, %{key: ^key, reason: :crash}}
    end

    test "is not told of what has ended, nor of other requests that it sent", %{stack: stack} do
      deliver(stack, wire("OPTIONS"))
      assert_receive {:receive_request, request, key}
      options = own_request(:options, "sip:b@192.0.2.9:5060")
      :ok = Sippet.send(stack, options)
      owner = owner(stack, [key, Sippet.Transactions.Client.Key.new(options)], :crash)
      :ok = Sippet.send(stack, Message.to_response(request, 200))
      assert_receive {:event, [:transaction, :responded], _measured, %{key: ^key}}
      send(owner, :stop)
      ref = Process.monitor(owner)
      assert_receive {:DOWN, ^ref, :process, _pid, _reason}
      Sippet.Transactions.settle(Sippet.Stack.fetch!(stack))
      refute_received {:event, [:owner, :down], _measured, _told}
    end

    test "is told with the dialog of a call, which gets its BYE", %{stack: stack} do
      deliver(stack, wire("INVITE", [{"Contact", "<sip:a@10.1.1.1>"}]))
      assert_receive {:receive_request, request, _key}
      contact = [{"", Sippet.URI.parse!("sip:b@127.0.0.1"), %{}}]
      ok = request |> Message.to_response(200) |> Message.put_header(:contact, contact)
      {:ok, dialog} = Sippet.Dialog.uas(request, ok)
      owner = owner(stack, [dialog], :crash)
      :ok = Sippet.send(stack, ok)
      send(owner, :stop)
      assert_receive {:event, [:owner, :down], _measured, %{key: nil, reason: :crash} = told}
      assert Sippet.Dialog.id(told.dialog) == Sippet.Dialog.id(dialog)
      assert_receive {:event, [:transaction, :started], _measured, %{request: bye}}
      assert bye.start_line.method in [:bye, :invite]
    end
  end

  describe "a callback that fails" do
    test "is told with the key of its transaction", %{stack: stack} do
      Sippet.register_core(stack, String)
      deliver(stack, wire("OPTIONS", [{"Via", "SIP/2.0/UDP 10.1.1.1;branch=z9hG4bKfails"}]))
      assert_receive {:event, [:core, :failed], _measured, %{key: key}}
      assert key.branch == "z9hG4bKfails"
    end
  end

  defmodule Failing do
    def execute(_event, _measurements, %{stack: stack}) do
      :counters.add(:persistent_term.get({__MODULE__, stack}), 1, 1)
      raise "a listener's defect"
    end
  end

  defmodule NoListener do
    def execute(_event, _measurements), do: :ok
  end

  describe "a module that fails" do
    @describetag stack: [telemetry: Failing]

    test "costs no socket and no request, is told once, and called no more", %{stack: stack} do
      calls = :counters.new(1, [])
      :persistent_term.put({Failing, stack}, calls)
      LogHandler.attach(stack)
      udp = start_supervised!({UDP, name: stack, port: 0, address: "127.0.0.1"})
      ref = Process.monitor(udp)
      {:ok, {ip, port}} = UDP.sockname(udp)
      {:ok, peer} = :gen_udp.open(0, [:binary, ip: ip, active: true])
      :ok = :gen_udp.send(peer, ip, port, "\r\n\r\n")
      :ok = :gen_udp.send(peer, ip, port, wire("OPTIONS"))
      assert_receive {:receive_request, request, _key}, 1_000
      :ok = Sippet.send(stack, Message.to_response(request, 200))
      assert_receive {:udp, ^peer, ^ip, ^port, "SIP/2.0 200 " <> _rest}, 1_000
      refute_received {:DOWN, ^ref, :process, ^udp, _reason}
      assert_receive {:logged, :error, line, %{crash_reason: {%RuntimeError{}, _stacktrace}}}
      assert line =~ "Failing gets no more events"
      refute_received {:logged, _level, _line, _meta}
      assert :counters.get(calls, 1) == 1
      assert %{message_dropped: 1, message_received: 1} = Sippet.stats(stack)
    end
  end

  test "a module without execute/3 is refused at the start" do
    assert_raise ArgumentError, ~r/:telemetry to be .* execute\/3, got: .*NoListener/, fn ->
      Sippet.start_link(name: :refused, telemetry: NoListener)
    end
  end

  describe "without a module to execute them in" do
    @describetag stack: []

    test "events only count", %{stack: stack} do
      assert Sippet.Stack.fetch!(stack).telemetry.module == nil
      deliver(stack, wire("OPTIONS"))
      assert_receive {:receive_request, _request, _key}
      assert Sippet.stats(stack).message_received == 1
      refute_received {:event, _event, _measurements, _metadata}
    end
  end
end
