defmodule Sippet.Robustness.EnduranceTest do
  # Floods, faults and hostile tools, one after another against one running stack in a BEAM of its own; at last 1,000
  # calls. script/robustness runs these, in this order: after each flood, and after all else, it waits until the stack is
  # as it was, 40 s at most.
  use Sippet.Interop.Case, async: false

  alias Sippet.Interop.RawPeer
  alias Sippet.Message
  alias Sippet.Robustness.{Attacker, Flooder, Proxy, Regular, Report, StackUnderLoad}

  @moduletag :endurance
  @moduletag timeout: 180_000
  @moduletag Peers.tags(:sipp)

  @scenario Path.expand("sipp/call.xml", __DIR__)

  # 64·T1, for which a transaction waits, and some seconds more.
  @recovery_ms 40_000

  # KB that a flood may take.
  @most_memory 512 * 1_024

  # Calls a second beside a flood, and the seconds that they go on when it is over.
  @rate 20
  @after_s 2

  setup_all do
    stack = StackUnderLoad.start(for(_ <- 1..3, do: Program.free_port()), options())

    # At rest is who has worked: code is loaded, heaps and tables have the size that some thousand requests take.
    send_some(stack.address, [{"INVITE", "busy"}, {"OPTIONS", "bob"}], 4_000)
    send_some(stack.guarded, [{"REGISTER", "1000"}, {"INVITE", "1000"}], 200)
    Process.sleep(@recovery_ms)

    {:ok,
     stack: stack,
     idle: StackUnderLoad.resident(stack, :now),
     held: StackUnderLoad.ask(stack, :holdings)}
  end

  # Elixir terms, to try other limits by: the defaults are what is tested.
  defp options do
    {options, _binding} = Code.eval_string(System.get_env("SIPPET_STACK_OPTIONS", "[]"))

    # The core that never answers holds its INVITEs for 200 s by default; and 32 s more while their ACK is awaited
    # (Timer H). So that both are over in 40 s; the slow core answers before.
    Keyword.merge([answer_timeout: 7_000, ring_timeout: 7_000], options)
  end

  # Not by SIPp, which belongs to a test.
  defp send_some(address, kind, count) do
    result = Flooder.run(address, kind, count, 1_000)
    assert map_size(result.answers) > 0
  end

  ## Floods

  # The scenario, in a word and in words, what is sent, how many of it, how many a second.
  @floods [
    {:malformed, "malformed datagrams at full rate", :malformed, 1_000_000, :full},
    {:invites, "100,000 INVITEs, no ACK", [{"INVITE", "bob"}, {"INVITE", "busy"}], 100_000,
     10_000},
    {:options, "OPTIONS of a million tags at full rate", [{"OPTIONS", "bob"}], 1_000_000, :full},
    {:slow, "a core that takes 5 s", [{"INVITE", "slow"}, {"OPTIONS", "slow"}], 50_000, 10_000},
    {:raising, "a core that raises each time", [{"INVITE", "raise"}, {"OPTIONS", "raise"}],
     50_000, 10_000},
    {:silent, "a core that never answers", [{"INVITE", "silent"}, {"OPTIONS", "silent"}], 50_000,
     10_000}
  ]

  describe "flood:" do
    for {scenario, name, kind, count, rate} <- @floods do
      @tag :floods
      @tag scenario: scenario
      test name, context do
        row = "`#{unquote(scenario)}`: #{unquote(name)}"
        flood(context, row, unquote(Macro.escape(kind)), unquote(count), unquote(rate))
      end
    end
  end

  ## Attacks

  # From addresses that are made up, each with a stack of its own that has its defaults: the scenario, in words, what is sent, from
  # where, how many, how many a second.
  @attacks [
    {:ringing, "INVITEs to phones that ring", {"INVITE", "ringing", nil}, :anywhere, 22_000,
     1_000},
    {:refused, "INVITEs to a core that refuses them by a transaction", {"INVITE", "busy", nil},
     :anywhere, 33_000, 1_500},
    {:tags, "requests of made-up dialogs, which the core leaves alone",
     {"INFO", "silent", "made-up"}, :anywhere, 33_000, 1_500},
    {:subnet, "requests of one /24, which the core leaves alone", {"INFO", "silent", nil},
     :network, 33_000, 1_500}
  ]

  # From 10 s after its begin on, that much of what a known caller asks is answered by the core; from 5 s after its end on, all.
  @from_ms 10_000
  @served 95
  @after_ms 5_000
  @watched_ms 10_000

  describe "attack:" do
    for {scenario, name, kind, from, count, rate} <- @attacks do
      @tag :attacks
      @tag scenario: scenario
      test name do
        stack = StackUnderLoad.start(for(_ <- 1..3, do: Program.free_port()))
        regular = Regular.start(stack.address)
        Process.sleep(1_000)
        began = Regular.now()
        kind = unquote(Macro.escape(kind))
        :ok = Attacker.run(stack.address, kind, unquote(from), unquote(count), unquote(rate))
        ended = Regular.now()
        Process.sleep(@after_ms + @watched_ms)
        counts = StackUnderLoad.ask(stack, :counts)
        outcomes = Regular.stop(regular)
        # The last ones have had no time.
        during = served(outcomes, began + @from_ms, ended)
        later = served(outcomes, ended + @after_ms, ended + @after_ms + @watched_ms - 2_000)

        Report.row(
          "`#{unquote(scenario)}`: #{unquote(count)} #{unquote(name)}, #{unquote(rate)} a second",
          "#{counts.request_rejected} rejected, #{counts.message_dropped} dropped; #{counts.pending} pending at last",
          "of a known caller #{percent(during)} % while it went on, #{percent(later)} % afterwards",
          "-",
          too_little(percent(during), @served, "% answered while it went on") ++
            too_little(percent(later), 100, "% answered afterwards")
        )
      end
    end
  end

  # How many of the requests of this time the core has answered, and how many there were.
  defp served(outcomes, from, to) do
    statuses = for {at, status} <- outcomes, at in from..to, do: status
    {Enum.count(statuses, &(&1 in [200, 486])), length(statuses)}
  end

  defp percent({_served, 0}), do: 0.0
  defp percent({served, all}), do: Float.round(100 * served / all, 1)

  # KB that 400 INVITEs of 64 KB may take: the core rings for each, or the far end of the proxy does.
  @large [
    {:large, "a core that rings", :address, 100 * 1_024},
    {:forked, "through examples/forking_proxy", :proxy, 200 * 1_024}
  ]

  # What is added to them on their way fits into a datagram too.
  @large_octets 64_000
  @large_count 400

  describe "large:" do
    for {scenario, name, to, most} <- @large do
      @tag :floods
      @tag scenario: scenario
      test name, %{stack: stack} = context do
        {far, uri} = far_end()
        uri = if unquote(to) == :proxy, do: uri, else: "sip:ringing@127.0.0.1"
        before = state(stack)
        StackUnderLoad.forget_peak(stack)
        to = Map.fetch!(stack, unquote(to))
        sent = Flooder.run(to, {:large, uri, @large_octets}, @large_count, div(@large_count, 5))
        peak = StackUnderLoad.resident(stack, :peak)
        kept = StackUnderLoad.resident(stack, :now)
        # Some are held until nobody waits for them any more.
        {resting, remains} = rest(context)
        Process.exit(far, :kill)

        wrong =
          too_much(peak - context.idle, unquote(most), "KB at the peak") ++
            too_much(
              @large_count,
              Map.get(sent.answers, "180", 0),
              "INVITEs, of which some did not ring"
            ) ++
            too_much(state(stack).atoms - before.atoms, 0, "new atoms") ++ remains

        each = Float.round((kept - context.idle) / @large_count, 1)

        Report.row(
          "`#{unquote(scenario)}`: #{@large_count} INVITEs of 64 KB in 5 s, #{unquote(name)}",
          "answers: #{Report.counts(sent.answers)}; #{each} KB for each that rings",
          "-",
          "#{megabytes(context.idle)} → #{megabytes(peak)} → #{resting}",
          wrong
        )
      end
    end
  end

  # Rings whoever calls, until there is a CANCEL: where it is, and the URI that leads there.
  defp far_end do
    {:ok, socket} =
      :gen_udp.open(0, [:binary, active: true, ip: {127, 0, 0, 1}, recbuf: 4_194_304])

    {:ok, port} = :inet.port(socket)
    pid = spawn(fn -> ring(socket, %{}) end)
    :ok = :gen_udp.controlling_process(socket, pid)
    {pid, "sip:bob@127.0.0.1:#{port}"}
  end

  # `calls` are their Vias.
  defp ring(socket, calls) do
    receive do
      {:udp, _socket, ip, port, octets} ->
        {responses, calls} = octets |> Message.parse!() |> rung(calls)

        for response <- responses,
            do: :gen_udp.send(socket, ip, port, Message.to_iodata(response))

        ring(socket, calls)
    end
  end

  defp rung(%Message{start_line: %{method: :invite}, headers: headers} = invite, calls),
    do: {[Message.to_response(invite, 180)], Map.put(calls, headers.call_id, headers.via)}

  # RFC3261§9.2 - both are answered; the CANCEL has the topmost Via alone
  defp rung(%Message{start_line: %{method: :cancel}, headers: headers} = cancel, calls) do
    {number, :cancel} = headers.cseq

    terminated =
      cancel
      |> Message.to_response(487)
      |> Message.put_header(:via, Map.fetch!(calls, headers.call_id))
      |> Message.put_header(:cseq, {number, :invite})

    {[Message.to_response(cancel, 200), terminated], calls}
  end

  defp rung(_ack, calls), do: {[], calls}

  defp flood(%{stack: stack} = context, name, kind, count, rate) do
    before = state(stack)
    StackUnderLoad.forget_peak(stack)
    flooder = Task.async(fn -> Flooder.run(stack.address, kind, count, rate) end)
    # Until the flooder is there, and then as long as it takes, and a little longer.
    seconds = 2 + if(rate == :full, do: 12, else: div(count, rate)) + @after_s
    calls = call(stack.address, "bob", @rate, @rate * seconds)
    sent = Task.await(flooder, 120_000)
    peak = StackUnderLoad.resident(stack, :peak)
    {resting, remains} = rest(context)
    state = state(stack)

    wrong =
      unsuccessful(calls, @rate * seconds) ++
        too_much(peak, context.idle + @most_memory, "KB at the peak") ++
        too_much(state.atoms - before.atoms, 0, "new atoms") ++ remains

    Report.row(
      name,
      happened(sent, before, state),
      Report.calls(calls),
      "#{megabytes(context.idle)} → #{megabytes(peak)} → #{resting}",
      wrong
    )
  end

  # Waits until memory is within 10 % of what it was and nothing is left: the memory then, in words, and what is wrong.
  defp rest(context, start \\ System.monotonic_time(:millisecond)) do
    resident = StackUnderLoad.resident(context.stack, :now)

    wrong =
      too_much(resident, div(context.idle * 11, 10), "KB resident") ++
        left(context.stack, context.held)

    waited = System.monotonic_time(:millisecond) - start

    if wrong != [] and waited < @recovery_ms do
      Process.sleep(1_000)
      rest(context, start)
    else
      {"#{megabytes(resident)} after #{round(waited / 1_000)} s", wrong}
    end
  end

  defp happened(sent, before, state) do
    counted =
      for {name, count} <- state.counts, do: {name, count - Map.get(before.counts, name, 0)}

    rate = round(sent.sent / sent.seconds)

    "#{sent.sent} sent in #{Float.round(sent.seconds, 1)} s (#{rate}/s), " <>
      "#{state.dropped - before.dropped} dropped by the kernel; answers: #{Report.counts(sent.answers)}; " <>
      "counted: #{Report.counts(counted)}"
  end

  defp state(stack) do
    %{
      counts: StackUnderLoad.ask(stack, :counts),
      dropped: StackUnderLoad.dropped_by_kernel(stack),
      atoms: StackUnderLoad.ask(stack, :atoms)
    }
  end

  ## Faults

  # What becomes of half of the datagrams, both ways.
  @networks [
    {"lost", [drop: 0.5]},
    {"doubled", [duplicate: 0.5]},
    {"overtaken", [reorder: 0.5]},
    {"a sixth each", [drop: 0.17, duplicate: 0.17, reorder: 0.16]}
  ]

  describe "fault:" do
    @tag :faults
    @tag scenario: :kill
    test "each process of the tree is killed", %{stack: stack} do
      ways = stack |> StackUnderLoad.ask(:tree) |> Enum.map(&elem(&1, 0))
      # What lies in tables of the stack's supervisor is not lost with those below it.
      {below, others} = Enum.split_with(ways, &match?([Sippet, _part | _rest], &1))
      {outages, calls} = kill_each(stack, below)
      {more, others_calls} = kill_each(stack, others)

      # Those of calls end too soon to be met.
      send_some(stack.address, [{"INVITE", "silent"}], 200)
      {before, _undue} = StackUnderLoad.ask(stack, :transactions)
      :ok = StackUnderLoad.ask(stack, :kill_workers, [10])
      {afterwards, undue} = StackUnderLoad.ask(stack, :transactions)
      {slowest, longest} = Enum.max_by(outages ++ more, &elem(&1, 1))

      conclude(
        stack,
        "`kill`: each of #{length(ways)} processes of the tree, under 100 calls/s",
        "answered again after at most #{longest} ms (#{slowest}); below the stack: #{during(calls)}; " <>
          "the stack and its transport: #{during(others_calls)}; all workers killed ten times: " <>
          "#{length(afterwards)} of #{length(before)} transactions are left",
        unsuccessful(calls, calls.successful + calls.failed) ++
          too_much(length(before -- afterwards), 0, "lost transactions") ++
          too_much(200, length(before), "pending INVITEs, which are too few") ++
          too_much(length(undue), 0, "transactions without a deadline")
      )
    end

    # One after another under load; how long each was missing, and what became of the calls.
    defp kill_each(stack, ways) do
      load = load(stack, "bob", 100, 50 * (length(ways) + 4))

      outages =
        for way <- ways do
          assert StackUnderLoad.ask(stack, :kill, [way])
          outage = outage(stack)
          Process.sleep(max(500 - outage, 0))
          {Enum.map_join(way, "/", &inspect/1), outage}
        end

      {outages, SIPp.await(load)}
    end

    # Longer than 64·T1, after which whoever waits for an answer waits no more.
    @pause_ms 40_000

    @tag :faults
    @tag scenario: :pause
    test "the VM stands still while answers come", %{stack: stack} do
      {:ok, socket} =
        :gen_udp.open(0, [:binary, active: false, ip: {127, 0, 0, 1}, recbuf: 4_194_304])

      {:ok, address} = :inet.sockname(socket)
      before = StackUnderLoad.ask(stack, :answers)
      :ok = StackUnderLoad.ask(stack, :send_requests, [100, address])
      requests = take_requests(socket, %{}, 100)
      StackUnderLoad.pause(stack, @pause_ms, fn -> answer_all(socket, requests) end)
      # The time that what came is given before what is late.
      Process.sleep(2_000)
      heard = StackUnderLoad.ask(stack, :answers)
      :gen_udp.close(socket)
      answered = heard.responses - before.responses
      failed = heard.errors - before.errors

      conclude(
        stack,
        "`pause`: SIGSTOP for 40 s, while the answers to 100 requests lie in the socket",
        "#{answered} answers reached the core, #{failed} transactions failed",
        too_much(failed, 0, "transactions that failed") ++
          too_much(100, answered, "answers, of which some were not heard")
      )
    end

    # The first of each, by their branches: a busy machine may send one more than once.
    defp take_requests(_socket, requests, count) when map_size(requests) == count, do: requests

    defp take_requests(socket, requests, count) do
      {:ok, {ip, port, octets}} = :gen_udp.recv(socket, 0, 5_000)
      request = Message.parse!(octets)
      take_requests(socket, Map.put(requests, request.headers.via, {request, ip, port}), count)
    end

    defp answer_all(socket, requests) do
      for {_via, {request, ip, port}} <- requests do
        response = Message.to_response(request, 200)
        :ok = :gen_udp.send(socket, ip, port, Message.to_iodata(response))
      end
    end

    for {scenario, what, function, arguments} <- [
          {:socket, "closed", :close_socket, []},
          {:transport, "killed", :kill, [[Sippet.Transports.UDP]]}
        ] do
      @tag :faults
      @tag scenario: scenario
      test "the #{scenario} is #{what}", %{stack: stack} do
        load = load(stack, "bob", 100, 1_000)

        outages =
          for _ <- 1..10 do
            assert StackUnderLoad.ask(stack, unquote(function), unquote(arguments))
            outage = outage(stack)
            Process.sleep(300)
            outage
          end

        calls = SIPp.await(load)

        conclude(
          stack,
          "`#{unquote(scenario)}`: #{unquote(what)} ten times under 100 calls/s",
          "answered again after at most #{Enum.max(outages)} ms; " <> during(calls),
          unsuccessful(calls, 1_000)
        )
      end
    end

    for what <- [:descriptors, :ports, :processes] do
      @tag :faults
      @tag scenario: what
      test "no #{what} are left", %{stack: stack} do
        load = load(stack, "bob", 50, 350)
        taken = StackUnderLoad.ask(stack, :exhaust, [unquote(what), 4_000])
        transport = [Sippet.Transports.UDP]
        if unquote(what) == :descriptors, do: StackUnderLoad.ask(stack, :kill, [transport])
        start = System.monotonic_time(:millisecond)
        Process.sleep(4_000)
        outage = outage(stack)
        elapsed = System.monotonic_time(:millisecond) - start - 4_000

        conclude(
          stack,
          "`#{unquote(what)}`: none left for 4 s under 50 calls/s",
          "#{taken} taken; answered again #{max(elapsed, outage)} ms after they were given back; " <>
            during(SIPp.await(load))
        )
      end
    end

    @tag :faults
    @tag scenario: :network
    test "half of the datagrams are lost, come twice, are overtaken", %{stack: stack} do
      networks =
        for {name, faults} <- @networks do
          {:ok, proxy} = Proxy.start_link(server: stack.address)
          {near, _far} = Proxy.ports(proxy)
          :ok = Proxy.disturb(proxy, faults)
          {name, proxy, load(%{address: {{127, 0, 0, 1}, near}}, "direct", 50, 250)}
        end

      happened =
        for {name, proxy, load} <- networks do
          calls = SIPp.await(load)
          counts = Proxy.counts(proxy)
          GenServer.stop(proxy)
          "#{name}: #{Report.counts(counts)}; #{during(calls)}"
        end

      name =
        "`network`: half of the datagrams lost, doubled, overtaken, and a sixth each, at a time"

      conclude(stack, name, Enum.join(happened, ". "))
    end
  end

  # What the kernel does to all that passes the loopback interface of the namespace, which is the tests' own. Its delay
  # has some datagrams overtake others.
  @netem ~w(loss 17% duplicate 17% delay 30ms 30ms)

  describe "fault of the kernel:" do
    @tag :faults
    @tag scenario: :netem
    @tag skip:
           if(System.get_env("SIPPET_NETEM"),
             do: false,
             else: "tc netem is not available here, or there is no network namespace"
           )
    test "tc netem loses, doubles and delays", %{stack: stack} do
      tc(~w(add dev lo root netem) ++ @netem)
      calls = call(stack.address, "direct", 50, 250)
      tc(~w(del dev lo root))
      conclude(stack, "`netem`: #{Enum.join(@netem, " ")}", during(calls))
    end
  end

  defp tc(arguments),
    do: {_output, 0} = System.cmd("tc", ["qdisc" | arguments], stderr_to_stdout: true)

  # While a fault lasts calls may fail; once it is over none may. What is left of them is looked for at last.
  defp conclude(stack, name, happened, wrong \\ []) do
    afterwards = call(stack.address, "bob", 50, 100)

    Report.row(
      name,
      happened,
      Report.calls(afterwards),
      megabytes(StackUnderLoad.resident(stack, :now)),
      wrong ++ unsuccessful(afterwards, 100)
    )
  end

  defp during(calls),
    do: "meanwhile #{calls.successful} calls succeeded, #{calls.failed} failed"

  defp load(stack, user, rate, count) do
    {ip, port} = stack.address
    remote = "#{:inet.ntoa(ip)}:#{port}"
    SIPp.start([remote | arguments(user, rate)], calls: count, limit: div(count, rate) + 40)
  end

  # How long until somebody is answered again, in ms.
  defp outage(stack) do
    {:ok, socket} = :gen_udp.open(0, [:binary, active: false, ip: {127, 0, 0, 1}])
    peer = %RawPeer{socket: socket, port: elem(:inet.port(socket), 1), to: stack.address}
    start = System.monotonic_time(:millisecond)
    ask(peer, start + 20_000)
    :gen_udp.close(socket)
    System.monotonic_time(:millisecond) - start
  end

  # A new request every 10 ms, until one is answered, by 200.
  defp ask(peer, deadline) do
    if System.monotonic_time(:millisecond) > deadline, do: flunk("nothing was answered any more")
    # The kernel may refuse while nobody listens.
    _sent_or_refused =
      :gen_udp.send(
        peer.socket,
        elem(peer.to, 0),
        elem(peer.to, 1),
        RawPeer.request(peer, "OPTIONS")
      )

    case :gen_udp.recv(peer.socket, 0, 10) do
      {:ok, {_ip, _port, "SIP/2.0 200" <> _rest}} -> :ok
      _other -> ask(peer, deadline)
    end
  end

  ## Hostile tools

  describe "hostile:" do
    @tag :hostile
    @tag scenario: :sipvicious
    @tag skip:
           if(System.find_executable("svcrack"),
             do: false,
             else: "sipvicious is not installed: script/robustness installs it"
           )
    test "sipvicious scans, enumerates and cracks", %{stack: stack} do
      before = guarded(stack)
      {_ip, port} = stack.guarded
      calls = load(stack, "bob", @rate, @rate * 20)

      map = sipvicious("svmap", ~w(-p #{port} -m OPTIONS 127.0.0.1))
      invites = sipvicious("svmap", ~w(-p #{port} -m INVITE 127.0.0.1))
      war = sipvicious("svwar", ~w(-p #{port} -e 1000-1099 -m REGISTER 127.0.0.1))
      crack = sipvicious("svcrack", ~w(-p #{port} -u 1000 -r 1000-1999 127.0.0.1))
      # That the tool cracks what can be cracked shows that it tried.
      weak = sipvicious("svcrack", ~w(-p #{port} -u 2000 -r 1200-1299 127.0.0.1))

      calls = SIPp.await(calls)
      state = guarded(stack)

      counted =
        for {name, count} <- state.counts, do: {name, count - Map.get(before.counts, name, 0)}

      wrong =
        for(
          {true, what} <- [
            {not (map =~ "127.0.0.1:#{port}"), "svmap did not find the server"},
            {not (invites =~ "127.0.0.1:#{port}"), "svmap did not find it by INVITE"},
            {war =~ ~r/\| 10\d\d +\| noauth/, "svwar found an extension that lets it in"},
            {crack =~ ~r/\| 1000 /, "svcrack found a good password"},
            {not (weak =~ ~r/\| 2000 +\| 1234/), "svcrack did not even find 1234"},
            {counted[:core_failed] != 0, "the core failed"},
            {counted[:log_lines] != 0, "something was logged"}
          ],
          do: what
        ) ++
          unsuccessful(calls, @rate * 20) ++
          too_much(state.atoms - before.atoms, 0, "new atoms")

      Report.row(
        "`sipvicious`: svmap, svwar, svcrack against digest",
        "counted: #{Report.counts(counted)}; the password 1234 was found, the good one not",
        Report.calls(calls),
        megabytes(StackUnderLoad.resident(stack, :now)),
        wrong
      )
    end
  end

  defp guarded(stack),
    do: %{
      counts: StackUnderLoad.ask(stack, :counts, [:guarded]),
      atoms: StackUnderLoad.ask(stack, :atoms)
    }

  defp sipvicious(tool, arguments), do: Program.run(tool, arguments, limit: 30).output

  ## At last

  @tag :at_last
  test "nothing is left, and 1,000 calls succeed", %{stack: stack} = context do
    {resting, remains} = rest(context)
    counts = StackUnderLoad.ask(stack, :counts)
    calls = call(stack.address, "bob", 100, 1_000)

    Report.row(
      "at last: rest, then 1,000 calls at 100/s",
      "counted since the stack's last restart: #{Report.counts(counts)}",
      Report.calls(calls),
      "#{megabytes(context.idle)} → #{resting}",
      unsuccessful(calls, 1_000) ++ remains
    )
  end

  ## What is right

  # RFC3261§17.1.1.2, §17.1.2.2 - so often until Timers B and F end it; SIPp's own defaults are 5 and 9
  defp arguments(user, rate) do
    ~w(-sf #{@scenario} -s #{user} -r #{rate} -l 100000 -buff_size 4194304 -max_invite_retrans 6 -max_non_invite_retrans 10)
  end

  defp call(address, user, rate, count),
    do: SIPp.run(address, arguments(user, rate), calls: count, limit: div(count, rate) + 40)

  defp unsuccessful(%{successful: count}, count), do: []

  defp unsuccessful(calls, count),
    do: ["#{count - calls.successful} of #{count} calls failed: " <> one_line(calls)]

  defp one_line(calls),
    do: calls |> SIPp.describe() |> String.split() |> Enum.join(" ") |> String.slice(0, 400)

  defp too_much(is, limit, _what) when is <= limit, do: []
  defp too_much(is, limit, what), do: ["#{is} #{what}, over #{limit}"]

  defp too_little(is, limit, _what) when is >= limit, do: []
  defp too_little(is, limit, what), do: ["#{is} #{what}, under #{limit}"]

  defp left(stack, held) do
    for {what, count} <- StackUnderLoad.ask(stack, :holdings),
        count != held[what],
        do: "#{what}: #{inspect(held[what])} → #{inspect(count)}"
  end

  defp megabytes(kb), do: "#{Float.round(kb / 1_024, 1)} MB"
end
