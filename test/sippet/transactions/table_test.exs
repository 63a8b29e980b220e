defmodule Sippet.Transactions.TableTest.Driver do
  # Each cell of the tables in the documentation of the machines is a test. This module knows how to bring a machine into
  # a state, how to make an event, and what the words of a cell mean. A word that it does not know fails the test.
  use Sippet.TransactionCase

  def run(module, state, event, cell) do
    stack = start_stack(speed(event, cell), options(event))
    context = reach(module, state, %{stack: stack, module: module, event: event, state: state})
    context = happen(context, event)
    for words <- String.split(cell, "; "), do: check(words, context)
  end

  # What waits for a timer has short ones; in all others nothing happens by itself.
  defp speed(event, cell) do
    if event =~ ~r/^Timer|^64·T1|^no answer|^the time/ or cell =~ "64·T1 later",
      do: :fast,
      else: :slow
  end

  # No other timer shall come first.
  defp options("Timer" <> _name), do: [answer_timeout: 60_000]
  defp options("2xx to be repeated"), do: [t1: 200]
  defp options("ACK of the 2xx's dialog"), do: [t1: 200]

  # The core fails when the test says so.
  defp options("the core fails") do
    test = self()

    behave = fn callback, _argument, _key ->
      if callback == :receive_request do
        send(test, {:callback, self()})
        receive do: (:fail -> raise("as the test wants it"))
      end
    end

    [behave: behave]
  end

  defp options(_event), do: []

  ## How a state is reached

  defp reach(Client.Invite, state, context) do
    request = request(:invite)

    client(
      state,
      Map.merge(context, %{request: request, key: start_client(context.stack, request)})
    )
  end

  defp reach(Client.NonInvite, state, context) do
    request = request(:options)

    client(
      state,
      Map.merge(context, %{request: request, key: start_client(context.stack, request)})
    )
  end

  defp reach(Server.Invite, state, context) do
    request = request(:invite)
    context = server(request, context)

    case state do
      :proceeding when context.event == "200 ms" -> context
      :proceeding -> Map.put(context, :last, answered(context.stack, request, 180))
      :completed -> Map.put(context, :last, answered(context.stack, request, 486))
      :confirmed -> confirm(context)
      :accepted -> Map.put(context, :last, answered(context.stack, request, 200))
    end
  end

  defp reach(Server.NonInvite, state, context) do
    request = request(:options)

    case state do
      :trying ->
        reliable? = context.event == "100 from the core"
        server(request, context, TestTransport.new(reliable?: reliable?))

      :proceeding ->
        # Over a reliable transport a 100 may be sent at any time.
        context = server(request, context, TestTransport.new(reliable?: true))
        Map.put(context, :last, answered(context.stack, request, 100))

      :completed ->
        context = server(request, context)
        Map.put(context, :last, answered(context.stack, request, 200))
    end
  end

  defp client(state, context) when state in [:calling, :trying], do: context
  defp client(:proceeding, context), do: heard(context, 180)
  defp client(:accepted, context), do: heard(context, 200)
  defp client(:completed, %{module: Client.NonInvite} = context), do: heard(context, 200)

  defp client(:completed, %{key: key} = context) do
    context = heard(context, 486)
    assert_soon({:sent, _destination, "ACK " <> _rest = ack, ^key})
    Map.put(context, :last, ack)
  end

  defp heard(%{stack: stack, request: request, key: key} = context, status) do
    response = come(stack, request, status)
    assert_soon({:receive_response, ^response, ^key})
    context
  end

  defp server(request, context, transport \\ TestTransport.new()) do
    :ok = Transactions.start_server(context.stack, request, transport, destination())
    key = Server.Key.new(request)
    assert_soon({:receive_request, ^request, ^key})
    Map.merge(context, %{request: request, key: key})
  end

  defp confirm(context) do
    answered(context.stack, context.request, 486)
    come_again(context.stack, ack(context.request, 486))
    assert state(context.stack, context.key) == :confirmed
    context
  end

  defp ack(request, status),
    do: as(request, :ack, to: Message.to_response(request, status).headers.to)

  ## How an event is made

  defp happen(context, event) when event in ["1xx", "2xx", "300-699", "200-699"] do
    status = %{"1xx" => 183, "2xx" => 202, "300-699" => 603, "200-699" => 404}[event]
    Map.put(context, :message, come(context.stack, context.request, status))
  end

  defp happen(context, event) when event in ["INVITE again", "the request again"] do
    come_again(context.stack, context.request)
    context
  end

  defp happen(context, "ACK") do
    status = if context.state == :accepted, do: 200, else: 486
    ack = ack(context.request, status)
    come_again(context.stack, ack)
    Map.put(context, :message, ack)
  end

  defp happen(context, "ACK of the 2xx's dialog") do
    if context.state == :accepted do
      response = Message.to_response(context.request, 200)
      :ok = Transactions.retransmit_2xx(context.stack, response)
    end

    branch = [via(%{"branch" => Message.create_branch()})]
    ack = context.request |> ack(200) |> Message.put_header(:via, branch)
    _found = Transactions.ack(context.stack, ack)
    context
  end

  defp happen(context, "2xx to be repeated") do
    response = Message.to_response(context.request, 200)
    :ok = Transactions.retransmit_2xx(context.stack, response)
    Map.put(context, :message, response)
  end

  defp happen(context, "the core fails") do
    assert_soon({:callback, pid})
    send(pid, :fail)
    assert_soon({:event, [:core, :failed], _measurements, _metadata})
    context
  end

  defp happen(context, "a send fails") do
    :ok = Transactions.receive_error(context.stack, context.key, {:odd, %{reason: 1}})
    Map.put(context, :reason, {:odd, %{reason: 1}})
  end

  defp happen(context, "host unreachable") do
    :ok = Transactions.unreachable(context.stack, destination(), :econnrefused)
    Map.put(context, :reason, :econnrefused)
  end

  defp happen(context, event) when event in ["CANCEL was sent", "64·T1 after the CANCEL"] do
    cancel = as(context.request, :cancel)
    :ok = Transactions.start_client(context.stack, cancel, TestTransport.new(), destination())
    assert_soon({:sent, _destination, "CANCEL " <> _rest, _key})
    context
  end

  defp happen(context, "terminate") do
    :ok = Transactions.terminate(context.stack, context.key)
    context
  end

  defp happen(context, "Timer L") do
    response = Message.to_response(context.request, 200)
    :ok = Transactions.retransmit_2xx(context.stack, response)
    context
  end

  defp happen(context, event) do
    cond do
      match = Regex.run(~r/^(\d\d\d)(-\d\d\d)? from the core$/, event) ->
        pass(context, match |> Enum.at(1) |> String.to_integer())

      match = Regex.run(~r/^(\d)xx from the core$/, event) ->
        pass(context, match |> Enum.at(1) |> Kernel.<>("99") |> String.to_integer())

      event =~ ~r/^Timer .$|^64·T1|^no answer|^the time until|^200 ms$/ ->
        context
    end
  end

  defp pass(context, status) do
    response = Message.to_response(context.request, status, "Odd")
    :ok = Transactions.send_response(context.stack, response)
    Map.put(context, :message, response)
  end

  ## What the words of a cell mean

  defp check("ignored", context) do
    assert_silence()
    assert state(context.stack, context.key) == context.state
  end

  defp check(words, context) when words in ~w(proceeding completed confirmed accepted) do
    # Handled by the time that the state is read: the event came from this process, or its effect was seen.
    assert state(context.stack, context.key) == String.to_atom(words)
  end

  defp check("to the core", %{event: "ACK", message: ack}) do
    assert_soon({:receive_request, ^ack, nil})
  end

  defp check("to the core", %{message: response, key: key}) do
    assert_soon({:receive_response, ^response, ^key})
  end

  defp check("ACK, to the core", %{key: key} = context) do
    assert_soon({:sent, _destination, "ACK " <> _rest, ^key})
    check("to the core", context)
  end

  defp check("the same ACK again", %{last: ack, key: key}) do
    assert_soon({:sent, _destination, ^ack, ^key})
    assert_silence()
  end

  defp check(words, %{request: request, key: key})
       when words in [
              "INVITE again",
              "request again, next after twice the time, at most T2",
              "request again, next after T2"
            ] do
    octets = Message.to_string(request)
    assert_soon({:sent, _destination, ^octets, ^key})
  end

  defp check(words, %{last: octets, key: key})
       when words in ["the last 1xx again, if any", "the response again", "100 again"] do
    assert_soon({:sent, _destination, ^octets, ^key})
  end

  defp check(words, %{message: message, key: key})
       when words in ["sent", "sent over a reliable transport"] do
    octets = Message.to_string(message)
    assert_soon({:sent, _destination, ^octets, ^key})
  end

  defp check("100 sent", %{key: key}),
    do: assert_soon({:sent, _destination, "SIP/2.0 100 " <> _rest, ^key})

  defp check("500 sent", %{key: key}),
    do: assert_soon({:sent, _destination, "SIP/2.0 500 " <> _rest, ^key})

  defp check("500 sent, `:no_answer` to the core", context) do
    check("500 sent", context)
    check("`:no_answer` to the core", context)
  end

  defp check("sent, repeated", context) do
    check("sent", context)
    check("sent", context)
  end

  defp check("repeated until its ACK has come", context), do: check("sent", context)

  defp check("the 2xx is not repeated any more", _context),
    do: refute_receive({:sent, _destination, _octets, _key}, 500)

  defp check("reason to the core", %{reason: reason, key: key}),
    do: assert_soon({:receive_error, ^reason, ^key})

  defp check("`:no_ack` to the core if a 2xx is still being repeated", context),
    do: check("`:no_ack` to the core", context)

  defp check("`:" <> rest, %{key: key}) do
    [reason, " to the core"] = String.split(rest, "`")
    reason = String.to_existing_atom(reason)
    assert_soon({:receive_error, ^reason, ^key})
  end

  defp check(words, context) when words in ["ends", "ends 64·T1 later"],
    do: await_end(context.stack, context.key)
end

for machine <- Sippet.MachineTable.machines() do
  defmodule Module.concat(Sippet.Transactions.TableTest, machine) do
    use Sippet.TransactionCase, async: true

    alias Sippet.MachineTable
    alias Sippet.Transactions.TableTest.Driver

    @moduletag :capture_log

    for {event, state, cell} <- MachineTable.rows(machine) do
      test "#{inspect(machine)}, #{state}, #{event}: #{cell}" do
        Driver.run(unquote(machine), unquote(state), unquote(event), unquote(cell))
      end
    end
  end
end
