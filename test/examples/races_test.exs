defmodule Examples.RacesTest do
  # Calls in which two things happen at once, or a process dies: nothing is lost, doubled or left ringing.
  use Sippet.ExampleCase, async: true

  alias Examples.{ForkingProxy, UserAgent}
  alias Sippet.Interop.Kamailio
  alias Sippet.{Stack, Transactions}
  alias Sippet.Proxy.ResponseContext

  import Sippet.Wait

  @calls 300

  ## A caller of its own socket, which sends INVITE and CANCEL together

  defp caller do
    {:ok, socket} =
      :gen_udp.open(0, [:binary, ip: {127, 0, 0, 1}, active: true, recbuf: 4_000_000])

    {:ok, {_ip, port}} = :inet.sockname(socket)
    {socket, port}
  end

  defp text(method, uri, n, {_socket, port}, more \\ "") do
    "#{method} #{uri} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:#{port};branch=z9hG4bKrace-#{n}\r\n" <>
      "From: <sip:alice@example.com>;tag=#{n}\r\nTo: <#{uri}>\r\nCall-ID: race-#{n}-#{port}\r\n" <>
      "CSeq: 1 #{method}\r\nMax-Forwards: 70\r\nContact: <sip:alice@127.0.0.1:#{port}>\r\n#{more}Content-Length: 0\r\n\r\n"
  end

  # Each INVITE with its CANCEL in one burst. Gives for each call the final responses in their order.
  defp burst({socket, _port} = caller, {ip, port}, uri, more \\ "") do
    for n <- 1..@calls do
      for method <- ["INVITE", "CANCEL"],
          do: :ok = :gen_udp.send(socket, ip, port, text(method, uri, n, caller, more))

      # Not faster than a stack may take requests of one source.
      if rem(n, 10) == 0, do: Process.sleep(5)
    end

    finals(caller, {ip, port}, uri, more, %{}, 2 * @calls)
  end

  defp finals(_caller, _address, _uri, _more, calls, 0), do: calls

  defp finals({socket, _port} = caller, {ip, port} = address, uri, more, calls, left) do
    assert_receive {:udp, ^socket, _ip, _port, octets}, 5_000
    %{start_line: %{status_code: status}, headers: headers} = Message.parse!(octets)
    "race-" <> number = headers.call_id
    {n, _rest} = Integer.parse(number)
    {1, method} = headers.cseq

    if status < 200 do
      finals(caller, address, uri, more, calls, left)
    else
      if method == :invite do
        {_name, _uri, %{"tag" => tag}} = headers.to
        ack = text("ACK", uri, n, caller, more)
        ack = String.replace(ack, "To: <#{uri}>", "To: <#{uri}>;tag=#{tag}")
        :ok = :gen_udp.send(socket, ip, port, ack)
      end

      answers = Map.get(calls, n, [])
      again? = {method, status} in answers
      calls = if again?, do: calls, else: Map.put(calls, n, answers ++ [{method, status}])
      finals(caller, address, uri, more, calls, if(again?, do: left, else: left - 1))
    end
  end

  defp assert_all_cancelled(calls) do
    assert map_size(calls) == @calls
    for {_n, answers} <- calls, do: assert(answers == [cancel: 200, invite: 487])
  end

  describe "INVITE and CANCEL in one burst" do
    test "end as 200 and 487 at a user agent" do
      {stack, address} = start_example(UserAgent, ring: 60_000)
      caller() |> burst(address, uri("bob", address)) |> assert_all_cancelled()
      assert Sippet.stats(stack).core_failed == 0
    end

    test "end as 200 and 487 at a proxy, and nobody is left ringing" do
      {_stack, proxy} = start_example(ForkingProxy, domains: ["test.local"])
      {bob, address} = start_example(UserAgent, ring: 60_000)
      {alice, _address} = start_stack(ScriptedUserAgent)
      register(alice, proxy, address)
      route = "Route: <#{uri(nil, proxy)};lr>\r\n"
      caller() |> burst(proxy, "sip:bob@test.local", route) |> assert_all_cancelled()

      wait_until(fn ->
        DynamicSupervisor.count_children(UserAgent.Call.supervisor(bob)).active == 0
      end)
    end
  end

  # More with SIPPET_RACES_SECONDS=60.
  @seconds String.to_integer(System.get_env("SIPPET_RACES_SECONDS", "4"))
  @rate 200

  @tag Peers.tags(:sipp)
  @tag timeout: 180_000
  test "#{@rate} calls a second, of which a tenth is cancelled at any time: each has one final answer" do
    {stack, address} = start_example(UserAgent, ring: 400, stack: [max_pending: 10_000])
    calls = @rate * @seconds

    arguments = ["-r", "#{@rate}", "-l", "#{calls}" | example_scenario("uac_cancels")]

    result =
      address |> SIPp.run(arguments, calls: calls, limit: @seconds + 30) |> SIPp.assert_success()

    assert result.successful == calls

    wait_until(fn ->
      DynamicSupervisor.count_children(UserAgent.Call.supervisor(stack)).active == 0
    end)

    assert %{core_failed: 0, pending: 0} = Sippet.stats(stack)

    # 64·T1 later nothing is left.
    stack = Sippet.Standstill.stop(stack)
    Transactions.advance(stack, 32_000)
    held = Map.delete(Transactions.held(stack), :deadlines)
    assert Enum.all?(held, &match?({_table, 0}, &1))
  end

  defp register(alice, proxy, address) do
    request =
      ScriptedUserAgent.request(alice, :register, "sip:test.local",
        from: "sip:bob@test.local",
        to: "sip:bob@test.local",
        route: [uri(nil, proxy) <> ";lr"]
      )

    contact = [{"", URI.parse!(uri("bob", address)), %{}}]
    send_request(alice, Message.put_header(request, :contact, contact))
    assert_came(alice, {200, :register})
  end

  ## A proxy that looks for its targets for long

  defmodule SlowProxy do
    use Sippet.Core

    def receive_request(%Message{start_line: %{method: :cancel}} = cancel, _key, stack),
      do: Sippet.send(stack, Message.to_response(cancel, 200))

    def receive_request(_ack, nil, _stack), do: :ok

    def receive_request(request, key, stack) do
      Process.sleep(600)
      ResponseContext.run(stack, key, request, [[URI.parse!("sip:bob@127.0.0.1:9")]])
    end

    def receive_error(_reason, _key, _stack), do: :ok
  end

  test "a CANCEL while a proxy looks for targets: nobody is called" do
    {stack, address} = start_stack(SlowProxy)
    {socket, _port} = caller = caller()
    {ip, port} = address
    uri = uri("bob", address)

    for method <- ["INVITE", "CANCEL"],
        do: :gen_udp.send(socket, ip, port, text(method, uri, 1, caller))

    assert_receive {:udp, ^socket, _, _, "SIP/2.0 200" <> _}, 2_000
    assert_receive {:udp, ^socket, _, _, "SIP/2.0 100" <> _}, 2_000
    assert_receive {:udp, ^socket, _, _, "SIP/2.0 487" <> _}, 2_000
    running = Stack.fetch!(stack)
    refute Enum.any?(Transactions.keys(running), &is_struct(&1, Sippet.Transactions.Client.Key))
    key = Enum.find(Transactions.keys(running), &(&1.method == :invite))
    wait_until(fn -> ResponseContext.cancel(stack, key) == {:error, :no_transaction} end)
  end

  ## Processes that die

  # A call through a proxy, as it has come to the called.
  defp proxied_call(options \\ []) do
    {stack, proxy} = start_example(ForkingProxy, [domains: ["test.local"]] ++ options)
    {alice, _address} = start_stack(ScriptedUserAgent)
    {bob, address} = start_stack(ScriptedUserAgent)
    register(alice, proxy, address)
    alice |> call_through(proxy, bob, "sip:bob@test.local") |> Map.put(:stack, stack)
  end

  defp call_through(alice, proxy, bob, uri) do
    route = [uri(nil, proxy) <> ";lr"]
    invite = send_request(alice, ScriptedUserAgent.request(alice, :invite, uri, route: route))
    %{alice: alice, bob: bob, invite: invite, got: assert_came(bob, :invite)}
  end

  defp ringing_call do
    %{stack: stack, alice: alice, bob: bob, got: got} = call = proxied_call()
    reply(bob, got, 180)
    assert_came(alice, {180, :invite})
    running = Stack.fetch!(stack)
    context = Enum.find_value(Transactions.keys(running), &Transactions.owner(running, &1))
    Map.put(call, :context, context)
  end

  test "the callback that waits for branches is killed: 500, and the branch is cancelled" do
    %{alice: alice, bob: bob, got: got, context: context, stack: stack} = call = ringing_call()
    Process.exit(context, :kill)
    assert_came(alice, {500, :invite})
    reply(bob, assert_came(bob, :cancel), 200)
    # The phone was answered all the same: the core takes that to the caller, who ends it.
    reply(bob, got, 200)
    ok = assert_came(alice, {200, :invite})

    for request <- Tuple.to_list(Dialog.hang_up(call.invite, ok)),
        do: send_request(alice, request)

    assert_came(bob, :ack)
    reply(bob, assert_came(bob, :bye), 200)
    wait_until(fn -> Sippet.stats(stack).pending == 0 end)
  end

  @tag :capture_log
  test "the stack of a callback that waits for branches is killed: it waits no more" do
    %{context: context, stack: stack} = ringing_call()
    ref = Process.monitor(context)
    stack |> Sippet.supervisor() |> Process.whereis() |> Process.exit(:kill)
    assert_receive {:DOWN, ^ref, :process, ^context, _reason}, 5_000
  end

  test "the process of a call is killed while it rings: 500 at once, and a CANCEL changes nothing" do
    {bob, address} = start_example(UserAgent, ring: 60_000)
    {alice, _address} = start_stack(ScriptedUserAgent)
    invite = send_request(alice, ScriptedUserAgent.request(alice, :invite, uri("bob", address)))
    assert_came(alice, {180, :invite})

    [{_id, call, _type, _modules}] =
      DynamicSupervisor.which_children(UserAgent.Call.supervisor(bob))

    Process.exit(call, :kill)
    assert_came(alice, {500, :invite})
    :ok = Sippet.send(alice, Message.to_cancel(invite))
    assert_came(alice, {200, :cancel})
  end

  ## A called one who answers when the proxy has already

  # Milliseconds that a proxy waits for the called one.
  @patience 100

  # RFC3261§16.7 item 5 - a 2xx goes upstream, whatever went there before
  defp assert_late_2xx_passed(%{alice: alice, bob: bob, got: got}) do
    refused = assert_came(alice, {408, :invite})
    sent = reply(bob, got, 200)
    late = assert_came(alice, {200, :invite})
    assert late.headers.to == sent.headers.to
    refute late.headers.to == refused.headers.to
    assert late.headers.via == refused.headers.via
  end

  describe "a 2xx after a proxy's own 408 goes upstream" do
    test "by our proxy",
      do: [timer_c: @patience] |> proxied_call() |> assert_late_2xx_passed()

    @tag Peers.tags(:kamailio)
    test "by Kamailio" do
      {alice, _address} = start_stack(ScriptedUserAgent)
      {bob, {ip, port}} = start_stack(ScriptedUserAgent)
      kamailio = Kamailio.start(AHEAD: "#{text(ip)}:#{port}", PATIENCE: @patience)
      {_host, port} = kamailio.address
      alice |> call_through({ip, port}, bob, "sip:bob@example.com") |> assert_late_2xx_passed()

      kamailio |> Kamailio.await("REPLY 200 to INVITE") |> Kamailio.assert_sane()
    end
  end
end
