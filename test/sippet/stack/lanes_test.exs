defmodule Sippet.Stack.LanesTest do
  use ExUnit.Case, async: true

  import Sippet.Wait

  alias Sippet.{Stack, Transport}
  alias Sippet.Stack.Lanes

  @remote {:udp, {192, 0, 2, 7}, 5060}

  # Tells the test what it got, and where; waits for `:go` where it is told to.
  defmodule Listener do
    @moduledoc false

    def handle_transport_message(stack, data, remote, transport) do
      test = Stack.fetch!(stack).options.test
      Kernel.send(test, {:taken, data, remote, transport, self()})

      if String.contains?(data, "hold") do
        receive do
          :go -> :ok
        end
      end

      :ok
    end
  end

  setup context do
    name = :"#{context.test}"
    on_exit(fn -> :persistent_term.erase({Stack, name}) end)
    stack = %{Stack.create(name, %{test: self()}) | lanes: Lanes.new(name, 2)}
    start_supervised!({Lanes.Supervisor, {stack, Listener}})
    %{stack: stack, lanes: stack.lanes}
  end

  test "are none where one scheduler would run them all, else two for each, up to what is of use" do
    assert Lanes.post(Lanes.new(:one, 1), message("a"), @remote) == :none
    assert tuple_size(Lanes.new(:four, 4).names) == 8
    assert tuple_size(Lanes.new(:many, 64).names) == 16
  end

  test "take what comes with the transport that it came by", %{stack: stack, lanes: lanes} do
    transport = %Transport{pid: self(), protocol: :udp, reliable?: false}
    Stack.put_transports(stack, [%{transport | pid: spawn(fn -> :ok end)}, transport])
    message = message("a")
    assert Lanes.post(lanes, message, @remote) == :ok
    assert_receive {:taken, ^message, @remote, ^transport, _lane}
  end

  test "keep the messages of a call in order, and spread calls", %{lanes: lanes} do
    calls = for call <- 1..20, do: "call-#{call}@atlanta.com"

    for number <- 1..4, call <- calls do
      assert Lanes.post(lanes, message(call, number), @remote) == :ok
    end

    taken = for _ <- 1..80, do: assert_receive({:taken, _data, _remote, _transport, _lane})
    by_call = Enum.group_by(taken, fn {:taken, data, _, _, _} -> call(data) end)
    assert map_size(by_call) == 20

    for {call, messages} <- by_call do
      assert [_one] = messages |> Enum.map(&elem(&1, 4)) |> Enum.uniq()
      assert Enum.map(messages, &elem(&1, 1)) == Enum.map(1..4, &message(call, &1))
    end

    assert taken |> Enum.map(&elem(&1, 4)) |> Enum.uniq() |> length() == 4
  end

  test "know the Call-ID in each usual form", %{lanes: lanes} do
    for name <- ["Call-ID:", "Call-Id:", "call-id:", "i:"] do
      assert lanes_of(lanes, &"OPTIONS sip:b SIP/2.0\r\nCSeq: #{&1}\r\n#{name} #{&1}\r\n\r\n") > 1
    end

    # It is the last line, and not a complete one.
    assert lanes_of(lanes, &"OPTIONS sip:b SIP/2.0\r\nCall-ID: #{&1}") > 1
  end

  test "take messages without one by where they come from", %{lanes: lanes} do
    assert lanes_of(lanes, &"nonsense #{&1}") == 1
    assert lanes_of(lanes, fn _number -> "nonsense" end, &{:udp, {192, 0, 2, &1}, 5060}) > 1
  end

  test "take no more than a lane has room for, and others go on", %{lanes: lanes} do
    assert Lanes.post(lanes, message("hold"), @remote) == :ok
    assert_receive {:taken, _data, _remote, _transport, held}
    for _ <- 2..100, do: assert(Lanes.post(lanes, message("hold"), @remote) == :ok)
    assert Lanes.post(lanes, message("hold"), @remote) == {:error, :busy}
    assert Process.info(held, :message_queue_len) == {:message_queue_len, 99}

    other = Enum.find(1..100, &(lane(lanes, message("#{&1}")) not in [:busy, held]))
    assert other

    for _ <- 1..100, do: Kernel.send(held, :go)
    wait_until(fn -> Lanes.post(lanes, message("hold"), @remote) == :ok end, "room again")
    Kernel.send(held, :go)
  end

  test "come again when they are killed, without what waited", %{lanes: lanes} do
    for _ <- 1..100, do: assert(Lanes.post(lanes, message("hold"), @remote) == :ok)
    assert_receive {:taken, _data, _remote, _transport, held}
    Process.exit(held, :kill)

    wait_until(fn -> is_pid(lane(lanes, message("hold"))) end, "another lane")
    refute Process.alive?(held)
    for _ <- 1..99, do: assert(Lanes.post(lanes, message("hold"), @remote) == :ok)
    assert Lanes.post(lanes, message("hold"), @remote) == {:error, :busy}
  end

  test "are busy while they are not there", %{lanes: lanes} do
    stop_supervised!(Lanes.Supervisor)
    for _ <- 1..101, do: assert(Lanes.post(lanes, message("a"), @remote) == {:error, :busy})
  end

  test "ignore what is no message", %{lanes: lanes} do
    lane = Process.whereis(elem(lanes.names, 0))
    Kernel.send(lane, :strange)
    assert :sys.get_state(lane)
    assert Process.whereis(elem(lanes.names, 0)) == lane
  end

  # A call of a UDP transport's process, with what its messages are told by.
  defp message(call, number \\ 1),
    do:
      "OPTIONS sip:b SIP/2.0\r\nCSeq: #{number} OPTIONS\r\nCall-ID: #{call}\r\nMax-Forwards: 70\r\n\r\n"

  defp call(data) do
    [_all, call] = Regex.run(~r/Call-ID: (.*)\r/, data)
    call
  end

  # How many lanes take a number of messages.
  defp lanes_of(lanes, message, remote \\ fn _number -> @remote end) do
    1..20
    |> Enum.map(fn number ->
      assert Lanes.post(lanes, message.(number), remote.(number)) == :ok
      assert_receive {:taken, _data, _remote, _transport, lane}
      lane
    end)
    |> Enum.uniq()
    |> length()
  end

  defp lane(lanes, message) do
    case Lanes.post(lanes, message, @remote) do
      :ok ->
        receive do
          {:taken, ^message, _remote, _transport, lane} -> lane
        after
          50 -> :busy
        end

      {:error, :busy} ->
        :busy
    end
  end
end
