defmodule Sippet.Transactions.TableTest.Driver do
  # Each cell of the tables in the documentation of the machines is a test. This module knows how to bring a machine into
  # a state, how to make an event, and what the words of a cell mean. A word that it does not know fails the test.
  #
  # A machine is a function: there is no process here, time is a number, and what is asked for is a list. `did` has what
  # the machine asked for since the event, each with its time; `ended` has how and when it ended.

  import ExUnit.Assertions

  alias Sippet.Message
  alias Sippet.Transactions.{Client, Server, Timers}

  @options Sippet.Stack.Options.new(name: :any, answer_timeout: 60_000)
  # When the machine starts: time may be below zero.
  @start -1_000_000
  # Longer than anything that a machine waits for.
  @ever 1_000_000

  @invite "INVITE, as octets"
  @request "OPTIONS, as octets"

  def run(module, reliable?, state, event, cell) do
    context = module |> start(reliable?) |> reach(state, event)
    context = happen(%{context | did: []} |> Map.merge(%{from: context, event: event}), event)
    for words <- String.split(cell, "; "), do: check(words, context)
  end

  ## The machine

  def start(module, reliable?) do
    octets = %{Client.Invite => @invite, Client.NonInvite => @request}[module]
    timers = {@options, reliable?}
    {state, actions} = module.start(octets, @start, timers)

    # The first sending of a client's request.
    assert actions == if(octets, do: [{:send, octets}], else: [])
    %{module: module, timers: timers, now: @start, state: state, did: [], ended: nil}
  end

  # What the machine asks to be made comes back as octets that say what they are.
  def step(%{ended: nil} = context, event) do
    %{module: module, state: state, now: now, timers: timers} = context

    case module.handle(state, event, now, timers) do
      {:terminated, reason, actions} -> did(%{context | ended: {now, reason}}, actions)
      {state, actions} -> did(%{context | state: state}, actions)
    end
  end

  defp did(context, actions) do
    context = %{context | did: context.did ++ Enum.map(actions, &{context.now, &1})}

    Enum.reduce(actions, context, fn
      {:make, 100}, context -> step(context, {:trying, "100"})
      {:make, status}, context -> step(context, {:answer, status, "own", "#{status}"})
      {:make_ack, @invite, _response}, context -> step(context, {:acknowledge, "ACK"})
      _done_by_others, context -> context
    end)
  end

  # Lets time pass up to `target`, with a look at the machine whenever it wants one.
  def until(%{ended: nil} = context, target) do
    case context.module.due(context.state) do
      due when is_integer(due) and due <= target ->
        looked = step(%{context | now: max(due, context.now)}, :due)
        # It would want to be looked at again and again.
        assert looked.ended != nil or looked.state != context.state
        until(looked, target)

      _later_or_never ->
        %{context | now: target}
    end
  end

  def until(context, _target), do: context

  def wait(context, ms), do: until(context, context.now + ms)

  defp ms(context, name), do: Timers.first(name, context.timers)

  ## How a state is reached

  def reach(context, state, event \\ nil)

  def reach(context, state, _event) when state in [:calling, :trying], do: context

  def reach(%{module: Client.Invite} = context, :completed, _event), do: respond(context, 486)
  def reach(%{module: Client.NonInvite} = context, :completed, _), do: respond(context, 200)
  def reach(%{module: Client.Invite} = context, :accepted, _event), do: respond(context, 200)

  def reach(%{module: module} = context, :proceeding, _event)
      when module in [Client.Invite, Client.NonInvite],
      do: respond(context, 180)

  def reach(%{module: Server.Invite} = context, :proceeding, event)
      when event in ["200 ms", "no answer from the core"],
      do: context

  def reach(%{module: Server.Invite} = context, :proceeding, _event), do: answer(context, 180)
  def reach(%{module: Server.Invite} = context, :completed, _event), do: answer(context, 486)
  def reach(%{module: Server.Invite} = context, :accepted, _event), do: answer(context, 200)

  def reach(%{module: Server.Invite} = context, :confirmed, _event),
    do: context |> answer(486) |> step({:ack, :any, message(:ack)})

  # RFC4320§4.1 - over a reliable transport a 100 may be sent at any time, over others it is the machine's own.
  def reach(%{module: Server.NonInvite, timers: {_options, true}} = context, :proceeding, _),
    do: answer(context, 100)

  def reach(%{module: Server.NonInvite} = context, :proceeding, _event),
    do: wait(context, ms(context, :trying))

  def reach(%{module: Server.NonInvite} = context, :completed, _event), do: answer(context, 200)

  defp respond(context, status), do: step(context, {:response, status, message(status)})
  defp answer(context, status), do: step(context, {:answer, status, "tag", "#{status}"})

  # What the machines pass on, and do not look into: but for the To tag of an ACK.
  defp message(what), do: %Message{headers: %{to: {"", nil, %{"tag" => "tag"}}}, body: what}

  defp last(%{from: %{state: {:proceeding, _, _, octets, _, _, _}, module: Server.Invite}}),
    do: octets

  defp last(%{from: %{state: {:proceeding, octets, _, _}}}), do: octets
  defp last(%{from: %{state: state}}), do: elem(state, 1)

  ## How an event is made

  @statuses %{"1xx" => 183, "2xx" => 202, "300-699" => 603, "200-699" => 404}

  defp happen(context, event) when is_map_key(@statuses, event),
    do: context |> Map.put(:status, @statuses[event]) |> respond(@statuses[event])

  defp happen(context, "INVITE again"), do: step(context, {:request, :invite})
  defp happen(context, "the request again"), do: step(context, {:request, :options})
  defp happen(context, "ACK"), do: step(context, {:ack, :any, message(:ack)})

  defp happen(%{state: state} = context, "ACK of the 2xx's dialog")
       when elem(state, 0) != :accepted,
       do: step(context, {:acked, "tag"})

  defp happen(context, "ACK of the 2xx's dialog") do
    repeated = step(context, {:repeat, "tag", "200"})
    %{step(repeated, {:acked, "tag"}) | from: repeated}
  end

  defp happen(context, "1xx to be repeated"),
    do: context |> Map.put(:status, 183) |> step({:reliable, 988, "183"})

  defp happen(%{state: state} = context, "PRACK of that 1xx") when elem(state, 0) != :proceeding,
    do: step(context, {:pracked, 988})

  defp happen(context, "PRACK of that 1xx") do
    repeated = step(context, {:reliable, 988, "183"})
    # That of another changes nothing.
    assert step(repeated, {:pracked, 987}) == repeated
    %{step(%{repeated | did: []}, {:pracked, 988}) | from: repeated}
  end

  defp happen(context, "64·T1 without its PRACK"),
    do: context |> step({:reliable, 988, "183"}) |> due_after(64 * @options.t1)

  defp happen(context, "2xx to be repeated"),
    do: context |> Map.put(:status, 200) |> step({:repeat, "tag", "200"})

  defp happen(context, event)
       when event in ["300-699 without a transaction", "200-699 without a transaction"],
       do: context |> Map.put(:status, 486) |> step({:reply, "486"})

  defp happen(context, "its place is another's"), do: step(context, :lose_place)

  # The stack makes a 500 in place of the core.
  defp happen(context, "the core fails"), do: answer(context, 500)

  defp happen(context, "a send fails"), do: step(context, {:error, {:odd, %{reason: 1}}})
  defp happen(context, "host unreachable"), do: step(context, {:unreachable, :econnrefused})
  defp happen(context, "terminate"), do: step(context, :terminate)

  defp happen(context, "ACK of a 2xx was sent"), do: step(context, {:acknowledged, "tag", :ack})

  defp happen(context, "2xx whose ACK was sent") do
    acknowledged = step(context, {:acknowledged, "tag", :ack})
    respond(%{acknowledged | from: acknowledged}, 200)
  end

  defp happen(context, "CANCEL was sent"), do: step(%{context | now: @start + 100}, :cancelled)

  defp happen(context, "64·T1 after the CANCEL"),
    do: context |> step(:cancelled) |> due_after(64 * @options.t1)

  defp happen(context, "Timer " <> name) do
    case ms(context, name |> String.downcase() |> String.to_existing_atom()) do
      :never -> until(context, @ever)
      ms -> due_after(context, ms)
    end
  end

  defp happen(context, "200 ms"), do: due_after(context, 200)

  defp happen(context, "no answer from the core"),
    do: due_after(context, @options.answer_timeout)

  defp happen(context, "no answer after ringing"),
    do: context |> answer(183) |> due_after(@options.ring_timeout)

  defp happen(context, "the time until Timer E is T2"),
    do: due_after(context, Enum.sum([500, 1_000, 2_000]))

  defp happen(context, "64·T1 without an answer") do
    # It counts from the request, and a 100 may have gone out meanwhile.
    context = until(context, @start + 64 * @options.t1 - 1)
    assert context.ended == nil
    until(%{context | did: []}, @start + 64 * @options.t1)
  end

  defp happen(context, event) do
    [_all, digits] = Regex.run(~r/^(\d\d\d|\dxx)(?:-\d\d\d)? from the core$/, event)
    status = digits |> String.replace("xx", "99") |> String.to_integer()
    context |> Map.put(:status, status) |> answer(status)
  end

  # Not a millisecond earlier.
  defp due_after(context, ms) do
    before = wait(context, ms - 1)
    assert before.ended == nil
    assert elem(before.state, 0) == elem(context.state, 0)
    until(%{before | did: []} |> Map.put(:before, before.did), context.now + ms)
  end

  ## What the words of a cell mean

  defp check("kept", context) do
    assert context.did == []
    assert {:accepted, _m_at, %{"tag" => :ack}} = context.state
  end

  defp check("its ACK again", context) do
    assert [{_now, {:send_ack, :ack}}] = context.did
    assert context.state == context.from.state
  end

  defp check("ignored", context) do
    assert context.did == []
    assert context.ended == nil
    assert context.state == context.from.state
  end

  # RFC4320§4.1 - no 100 over others
  defp check("sent over a reliable transport", %{timers: {_options, true}} = context),
    do: check("sent", context)

  defp check("sent over a reliable transport", context), do: check("ignored", context)

  defp check("proceeding", %{event: "100 from the core", timers: {_options, false}} = context),
    do: assert(elem(context.state, 0) == elem(context.from.state, 0))

  # What waits for nothing but a timer that is 0 ends at once.
  defp check(words, context) when words in ~w(proceeding completed confirmed accepted) do
    assert context.ended == nil
    assert elem(context.state, 0) == String.to_existing_atom(words)

    unless words == "proceeding",
      do: assert(:finished in actions(context) or words == "confirmed")
  end

  defp check("to the core", %{event: "ACK"} = context),
    do: assert({:tell_stray, message(:ack)} in actions(context))

  defp check("to the core", %{status: status} = context) do
    assert [{:receive_response, response}] = told(context)
    assert response == message(status)
  end

  defp check("ACK, to the core", %{status: status} = context) do
    assert {:make_ack, @invite, message(status)} in actions(context)
    assert sent(context) == ["ACK"]
    check("to the core", context)
  end

  defp check("the same ACK again", context) do
    assert sent(context) == ["ACK"]
    assert told(context) == []
    assert context.state == context.from.state
  end

  # RFC3261§17.1.1.2 - doubled without end, until Timer B
  defp check("INVITE again", context) do
    gaps = [500, 1_000, 2_000, 4_000, 8_000, 16_000]
    check_repeated(context, @invite, gaps)
  end

  # RFC3261§17.1.2.2
  defp check("request again, next after twice the time, at most T2", context),
    do: check_repeated(context, @request, [500, 1_000, 2_000 | List.duplicate(4_000, 7)])

  defp check("request again, next after T2", context),
    do: check_repeated(context, @request, [500 | List.duplicate(4_000, 7)])

  # RFC3261§17.2.1
  defp check("the response again", %{event: "Timer G"} = context),
    do: check_repeated(context, "486", [500, 1_000, 2_000 | List.duplicate(4_000, 7)])

  defp check("the last 1xx again, if any", context) do
    assert sent(context) == [last(context)]
    assert context.state == context.from.state

    silent = start(context.module, false)
    assert step(silent, {:request, :invite}) == silent
  end

  defp check(words, context) when words in ["the response again", "100 again"] do
    assert sent(context) == [last(context)]
    assert context.state == context.from.state
  end

  defp check("sent", %{status: status} = context) do
    assert sent(context) == ["#{status}"]
    assert told(context) == []
  end

  defp check("100 sent", context), do: assert(sent(context) == ["100"])
  defp check("500 sent", context), do: assert(sent(context) == ["500"])

  # The callback that has the request is ended before the core hears of anything else.
  defp check("500 sent, `:no_answer` to the core", context) do
    assert [:abandon, {:tell, :receive_error, :no_answer} | _] = actions(context)
    assert sent(context) == ["500"]
  end

  defp check("503 without a transaction, `:overload` to the core", context) do
    assert actions(context) == [:abandon, {:refuse, 503}, {:tell, :receive_error, :overload}]
  end

  # RFC3262§3 - doubled without an upper bound
  defp check("sent, repeated", %{event: "1xx to be repeated"} = context) do
    check("sent", context)
    gaps = [500, 1_000, 2_000, 4_000, 8_000, 16_000]
    repeated = until(%{context | did: []}, context.now + Enum.sum(gaps))
    times = for {at, {:send, "183"}} <- repeated.did, do: at

    assert Enum.map(Enum.zip(times, [context.now | times]), fn {at, last} -> at - last end) ==
             gaps

    # What was sent before is not sent now.
    sent = context.from |> Map.put(:did, []) |> step({:answer, 183, "tag", "183"})
    assert sent(step(%{sent | did: []}, {:reliable, 988, "183"})) == []
  end

  defp check("not repeated any more", context) do
    assert sent(context) == []
    later = until(%{context | did: []}, context.now + 40_000)
    assert sent(later) == []
  end

  defp check("504 sent, `:no_prack` to the core", context) do
    assert [:abandon, {:tell, :receive_error, :no_prack} | _] = actions(context)
    assert sent(context) == ["504"]
  end

  defp check("sent, repeated", context) do
    check("sent", context)
    check_2xx_repeated(context)
  end

  defp check("repeated until its ACK has come", context) do
    # The core has sent it itself.
    assert sent(context) == []
    check_2xx_repeated(context)
    acknowledged = context |> wait(1_000) |> step({:acked, "tag"})
    assert sent(until(%{acknowledged | did: []}, @ever)) == []
  end

  defp check("the 2xx is not repeated any more", context) do
    assert {:forget_ack, "tag"} in actions(context)
    assert sent(until(context.from, @ever)) != []
    later = until(context, @ever)
    assert sent(later) == []
    assert told(later) == []
  end

  # RFC6026§7.1 - of a server once for each response, and it goes on
  defp check("reason to the core", %{event: event} = context) do
    reason = if event == "a send fails", do: {:odd, %{reason: 1}}, else: :econnrefused
    assert told(context) == [receive_error: reason]

    if context.module in [Server.Invite, Server.NonInvite] do
      assert elem(context.state, 0) == elem(context.from.state, 0)
      assert step(%{context | did: []}, {:error, :again}).did == []
    end
  end

  defp check("`:no_ack` to the core if a 2xx is still being repeated", context) do
    assert told(context) == []
    repeated = context.from |> step({:repeat, "tag", "200"}) |> until(@ever)
    assert List.last(told(repeated)) == {:receive_error, :no_ack}
    assert repeated.ended == put_elem(context.ended, 1, :timeout)
  end

  defp check("`:" <> rest, context) do
    [reason, " to the core"] = String.split(rest, "`")
    assert told(context) == [receive_error: String.to_existing_atom(reason)]
  end

  # As long as it calls Timer B is first: the rest of the time counts when it rings.
  defp check("ends 64·T1 later", context) do
    context = if elem(context.state, 0) == :calling, do: respond(context, 180), else: context
    assert until(context, @ever).ended == {@start + 100 + 64 * @options.t1, :timeout}
  end

  defp check("ends", %{ended: {at, reason}} = context) do
    assert at == context.now

    case {context.event, told(context)} do
      {"terminate", []} ->
        assert {reason, context.did} == {:terminated, []}

      {event, _told} when event in ["a send fails", "host unreachable"] ->
        :transport_error = reason

      {"its place is another's", _told} ->
        assert reason == :overload

      {"64·T1 without" <> _rest, []} ->
        assert {reason, actions(context)} == {:timeout, [:abandon]}

      {_timer, []} ->
        assert reason == :normal

      {_timer, [receive_error: _]} ->
        assert reason == :timeout
    end
  end

  defp check("ends", context), do: flunk("it goes on: #{inspect(context)}")

  # Over a reliable transport nothing is repeated.
  defp check_repeated(%{timers: {_options, true}} = context, octets, _gaps),
    do: refute({:send, octets} in actions(context))

  defp check_repeated(context, octets, gaps) do
    assert sent(context) == [octets]
    started = context.from.now
    later = until(context, @ever)
    times = for {at, {:send, ^octets}} <- later.did, do: at - started
    assert times == gaps |> Enum.scan(&+/2) |> Enum.take_while(&(&1 < 64 * @options.t1))
    assert times == Enum.scan(gaps, &+/2) |> Enum.take(length(times))
  end

  # RFC3261§13.3.1.4 - over any transport
  defp check_2xx_repeated(context) do
    later = until(%{context | did: []}, @ever)
    times = for {at, {:send, "200"}} <- later.did, do: at - context.now
    assert times == Enum.scan([500, 1_000, 2_000 | List.duplicate(4_000, 7)], &+/2)
  end

  defp actions(context), do: for({_at, action} <- context.did, do: action)
  defp sent(context), do: for({_at, {:send, octets}} <- context.did, do: octets)

  defp told(context),
    do: for({_at, {:tell, callback, argument}} <- context.did, do: {callback, argument})
end

for machine <- Sippet.MachineTable.machines() do
  defmodule Module.concat(Sippet.Transactions.TableTest, machine) do
    use ExUnit.Case, async: true

    alias Sippet.MachineTable
    alias Sippet.Transactions.{Client, Key, Machine, Timers}
    alias Sippet.Transactions.TableTest.Driver

    @machine machine
    @rows MachineTable.rows(machine)
    @states @rows |> Enum.map(&elem(&1, 1)) |> Enum.uniq()

    for {event, state, cell} <- @rows, {over, reliable?} <- [unreliable: false, reliable: true] do
      test "#{inspect(machine)}, #{state}, #{event}: #{cell} (#{over} transport)" do
        Driver.run(
          @machine,
          unquote(reliable?),
          unquote(state),
          unquote(event),
          unquote(cell)
        )
      end
    end

    for state <- @states do
      test "#{state}: a look that comes too early changes nothing" do
        context = @machine |> Driver.start(false) |> Driver.reach(unquote(state))

        case @machine.due(context.state) do
          # RFC3261§17.1.1.2 - an INVITE that has got a 1xx waits without end
          :never ->
            assert {@machine, unquote(state)} == {Client.Invite, :proceeding}
            assert Driver.until(context, 1_000_000_000).state == context.state

          due ->
            assert Driver.step(%{context | now: due - 1}, :due) == %{context | now: due - 1}
        end
      end

      test "#{state}: ignores what is not in its table" do
        foreign =
          if @machine in [Client.Invite, Client.NonInvite] do
            [
              {:request, :invite},
              {:ack, :any, nil},
              {:acked, "tag"},
              {:answer, 200, "tag", "200"},
              {:repeat, "tag", "200"},
              {:trying, "100"}
            ]
          else
            [
              {:response, 200, nil},
              {:acknowledge, "ACK"},
              {:unreachable, :econnrefused},
              :cancelled
            ]
          end

        context = @machine |> Driver.start(false) |> Driver.reach(unquote(state))
        for event <- foreign, do: assert(Driver.step(context, event) == context)
      end
    end

    @impure ~w(! send send_after start_timer spawn self put get monotonic_time system_time unique_integer)a

    # No process, no clock, no table, no socket.
    test "calls nothing but functions of values" do
      {:ok, {_module, [imports: imports]}} =
        @machine |> :code.which() |> :beam_lib.chunks([:imports])

      for {module, name, _arity} <- imports do
        assert module in [:erlang, :lists, Access, Enum, List, Key, Machine, Timers]

        refute module == :erlang and name in @impure
      end
    end
  end
end

defmodule Sippet.Transactions.TableTest.Server.InviteDetailsTest do
  # What the sentences below the tables say.
  use ExUnit.Case, async: true

  alias Sippet.Transactions.Server.Invite
  alias Sippet.Transactions.TableTest.Driver

  test "RFC3261§17.2.3 an ACK from a peer of RFC 2543 has to have the To tag of the response" do
    completed = Invite |> Driver.start(false) |> Driver.reach(:completed)
    assert Driver.step(completed, {:ack, "another", nil}) == completed
    assert Driver.step(completed, {:ack, nil, nil}) == completed
    assert %{state: {:confirmed, _i_at}} = Driver.step(completed, {:ack, "tag", nil})
  end

  test "the time for an answer starts anew with each 101-199 from the core, and is longer then" do
    ringing = Invite |> Driver.start(false) |> Driver.reach(:proceeding) |> Driver.wait(150_000)
    ringing = ringing |> Driver.step({:answer, 183, "tag", "183"}) |> Driver.wait(199_999)
    assert {:proceeding, _, _, "183", _, _, []} = ringing.state
    assert {:completed, "500", _, _, _, _, _} = Driver.wait(ringing, 1).state
  end

  test "the time for an answer is what a core that waits for others says, from then on" do
    waiting =
      Invite |> Driver.start(false) |> Driver.wait(50_000) |> Driver.step({:patience, 300_000})

    ringing = waiting |> Driver.wait(299_999) |> Driver.step({:answer, 180, "tag", "180"})
    ringing = Driver.wait(ringing, 299_999)
    assert {:proceeding, _, _, "180", _, 300_000, []} = ringing.state
    assert {:completed, "500", _, _, _, _, _} = Driver.wait(ringing, 1).state
  end

  test "a 100 does not start it anew, the stack's own or the core's" do
    for late <- [
          Invite |> Driver.start(false) |> Driver.wait(59_999),
          Invite
          |> Driver.start(false)
          |> Driver.step({:answer, 100, nil, "100"})
          |> Driver.wait(59_999)
        ] do
      assert {:proceeding, _, _, "100", _, _, []} = late.state
      assert {:completed, "500", _, _, _, _, _} = Driver.wait(late, 1).state
    end
  end

  test "a response after one that could not be sent may fail, and be told, anew" do
    for status <- [183, 200, 486] do
      ringing = Invite |> Driver.start(false) |> Driver.reach(:proceeding)
      failed = Driver.step(ringing, {:error, :one})
      answered = Driver.step(failed, {:answer, status, "tag", "#{status}"})
      again = Driver.step(%{answered | did: []}, {:error, :other})
      assert for({_at, action} <- again.did, do: action) == [{:tell, :receive_error, :other}]
    end
  end

  test "RFC6026§7.1 a 2xx of another branch is another's ACK to wait for" do
    accepted = Invite |> Driver.start(false) |> Driver.reach(:accepted)
    forked = Driver.step(%{accepted | did: []}, {:answer, 200, "fork", "fork"})
    assert [{_, {:send, "fork"}}, {_, {:await_ack, "fork"}}] = forked.did

    repeated = forked |> Driver.step({:repeat, "fork", "fork"}) |> Driver.step({:acked, "tag"})
    assert {_, {:send, "fork"}} = repeated |> Driver.wait(500) |> Map.get(:did) |> List.last()
  end
end
