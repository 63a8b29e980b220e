defmodule Sippet.LogTest do
  # What a stack writes into the log, of messages that strangers send and of a core that fails of them.
  use Sippet.StackCase, async: true

  alias Sippet.{Log, LogHandler}

  doctest Sippet.Log.Redaction

  @moduletag :capture_log
  @moduletag stack: [behave: &__MODULE__.behave/3]

  # Forwards each request to who never answers.
  defmodule Forwarder do
    use Sippet.Core
    alias Sippet.{Proxy, URI}

    @own {"127.0.0.1", 5060}

    def receive_request(request, key, stack) do
      phone = URI.parse!("sip:phone@192.0.2.9")
      {host, port} = @own
      copy = Proxy.forward(request, phone, via: {:udp, {host, port}})
      Proxy.ResponseContext.run(stack, key, request, [[copy]])
    end

    def receive_response(_response, _key, _stack), do: :ok
    def receive_error(_reason, _key, _stack), do: :ok
  end

  @credentials ~s(Digest username="alice", realm="atlanta.com", nonce="84a4", uri="sip:b", response="5ec3e7")

  setup %{stack: stack} do
    LogHandler.attach(stack)
    :ok
  end

  # The core fails of each request in the way that its header asks for.
  def behave(:receive_request, request, _key) do
    case request.headers["X-Fail"] do
      [how | _] -> fail(how, request)
      nil -> :ok
    end
  end

  def behave(:receive_error, :closed, _key), do: raise("no")
  def behave(_callback, _argument, _key), do: :ok

  defp fail("raise", _request), do: raise("no")
  defp fail("throw", _request), do: throw(:no)
  defp fail("match", request), do: :another = later(request)
  defp fail("clause", request), do: only(later(request), :this)
  defp fail("key", request), do: Map.fetch!(later(request).headers, :none)
  defp fail("exit", request), do: exit({:noproc, {GenServer, :call, [:one, request]}})
  defp fail("text", request), do: raise("can't take #{Message.to_string(request)}")
  defp fail("inspect", request), do: raise("can't take #{inspect(request, limit: :infinity)}")
  defp fail("long", _request), do: raise(String.duplicate("long ", 20_000))
  defp fail("forge", _request), do: raise("a\n12:00:00 [info] all is well\e[2J")
  defp fail("hang", _request), do: Process.sleep(:infinity)

  defp later(request), do: Process.get(:none, request)
  defp only(:that, :this), do: :ok

  defp fails(stack, how, headers \\ []),
    do: deliver(stack, wire("MESSAGE", [{"X-Fail", how} | headers]))

  describe "a core that fails" do
    test "is told with the request, whose names are metadata", %{stack: stack} do
      fails(stack, "raise", [{"Call-ID", "a84b4c76e66710@atlanta.com"}])
      assert_receive {:logged, :error, line, meta}
      assert line =~ "#{inspect(stack)}: receive_request of the core failed: ** (RuntimeError) no"
      assert line =~ "log_test.exs"
      assert %{call_id: "a84b4c76e66710@atlanta.com", method: "MESSAGE", stack: ^stack} = meta
      assert meta.source == "udp:192.0.2.7:4321"
      assert meta.key =~ ~r/^~K\[z9hG4bK\d+\|:message\|10.1.1.1:5060\]$/

      assert {%RuntimeError{message: "no"}, [{__MODULE__, :fail, 2, _location} | _]} =
               meta.crash_reason
    end

    test "of an error is told with the Call-ID of its request", %{stack: stack} do
      deliver(stack, wire("INVITE", [{"Call-ID", "c1"}]))
      assert_receive {:receive_request, invite, key}
      Sippet.Router.receive_transport_error(stack, key, :closed)
      assert_receive {:logged, :error, line, %{call_id: "c1", method: "INVITE"} = meta}
      assert line =~ "receive_error of the core failed"
      assert %{key: "~K[" <> _rest, source: "udp:192.0.2.7:4321"} = meta

      via = {{2, 0}, :udp, {"127.0.0.1", 5060}, %{"branch" => Message.create_branch()}}
      bye = %{invite | start_line: %{invite.start_line | method: :bye}, target: nil}

      bye =
        bye
        |> Message.put_header(:via, [via])
        |> Message.put_header(:cseq, {2, :bye})
        |> Map.put(:target, {:udp, "192.0.2.9", 5060})

      :ok = Sippet.send(stack, bye)
      key = Sippet.Transactions.Client.Key.new(bye)
      Sippet.Router.receive_transport_error(stack, key, :closed)
      assert_receive {:logged, :error, _line, %{call_id: "c1", method: "BYE"}}
    end

    test "has the reason as OTP writes it", %{stack: stack} do
      fails(stack, "throw")
      assert_receive {:logged, :error, _line, %{crash_reason: {{:nocatch, :no}, [_ | _]}}}
      fails(stack, "exit")

      assert_receive {:logged, :error, _line,
                      %{crash_reason: {{:noproc, {GenServer, :call, _}}, _}}}
    end

    for how <- ["match", "clause", "key", "exit", "text", "inspect"],
        header <- ["Authorization", "Proxy-Authorization"] do
      test "of #{how}, shows nothing of #{header}", %{stack: stack} do
        fails(stack, unquote(how), [{unquote(header), @credentials}])
        assert_receive {:logged, :error, line, meta}
        assert line =~ "failed"
        refute line =~ "5ec3e7"
        refute inspect(meta, limit: :infinity, printable_limit: :infinity) =~ "5ec3e7"
      end
    end

    test "of a long text, makes a line of 1 KB", %{stack: stack} do
      fails(stack, "long", [{"Call-ID", String.duplicate("i", 5_000)}])
      assert_receive {:logged, :error, line, meta}
      assert byte_size(line) in 500..1_024
      assert byte_size(meta.call_id) <= 128
    end

    test "of a text of the network, makes no line of that", %{stack: stack} do
      fails(stack, "forge")
      assert_receive {:logged, :error, line, _meta}
      assert line =~ ~S(a\n12:00:00 [info] all is well\x1B[2J)
    end
  end

  describe "a message that is malformed or refused" do
    test "is told for debugging, with control characters escaped", %{stack: stack} do
      deliver(stack, wire("OPTIONS", [{"CSeq", "\e[31mx"}, {"Call-ID", "c1"}]))
      assert_receive {:logged, :debug, line, meta}
      assert line =~ ~S(malformed CSeq header: "\x1B[31mx")
      assert %{call_id: "c1", method: "OPTIONS", source: "udp:192.0.2.7:4321"} = meta
      deliver(stack, wire("OPTIONS", [{"CSeq", "1 INVITE"}, {"Call-ID", "c2"}]))
      assert_receive {:logged, :debug, _line, %{call_id: "c2", method: "OPTIONS"}}
      deliver(stack, wire("OPTIONS", [{"Via", nil}, {"Call-ID", "c3"}]))
      assert_receive {:logged, :debug, _line, %{call_id: "c3", method: "OPTIONS"}}
      Sippet.drain(stack, 0)
      deliver(stack, wire("OPTIONS", [{"Call-ID", "c4"}]))
      assert_receive {:logged, :debug, line, %{call_id: "c4", method: "OPTIONS"}}
      assert line =~ "a request is refused: draining"
    end

    test "shows no credentials", %{stack: stack} do
      deliver(stack, wire("OPTIONS", [{"Authorization", "\0" <> @credentials}]))
      assert_receive {:logged, :debug, line, _meta}
      refute line =~ "5ec3e7"

      deliver(
        stack,
        "REGISTER sip:a:5ec3e7@b:x SIP/2.0\r\nVia: SIP/2.0/UDP 10.1.1.1;branch=z9hG4bK1\r\n\r\n"
      )

      assert_receive {:logged, :debug, line, _meta}
      refute line =~ "5ec3e7"
    end

    test "keeps no failure of the core out of the log", %{stack: stack} do
      for _ <- 1..200, do: deliver(stack, wire("OPTIONS", [{"CSeq", "x"}]))
      fails(stack, "raise")
      assert_receive {:logged, :error, _line, _meta}
      # Five in a second, which may have changed meanwhile.
      assert debugged(0) in 5..15
    end
  end

  defp debugged(count) do
    receive do
      {:logged, :debug, _line, _meta} -> debugged(count + 1)
    after
      0 -> count
    end
  end

  describe "a callback whose transaction is over" do
    @tag stack: [behave: &__MODULE__.behave/3, t1: 2]
    test "ends without a line, and is no failure of the core", %{stack: stack} do
      fails(stack, "hang")
      Sippet.Wait.wait_until(fn -> Sippet.stats(stack).core_abandoned == 1 end)
      assert Sippet.stats(stack).core_failed == 0
      refute_received {:logged, _level, _line, _meta}
    end
  end

  describe "a request that is forwarded to a silent phone" do
    @tag stack: [core: Forwarder, t1: 2]
    test "is no failure of the core, and no line", %{stack: stack} do
      for _ <- 1..10, do: deliver(stack, wire("MESSAGE"))
      running = Sippet.Stack.fetch!(stack)
      Sippet.Wait.wait_until(fn -> Sippet.stats(stack).transaction_started == 20 end)
      Sippet.Wait.wait_until(fn -> Sippet.Transactions.unfinished(running) == 0 end)
      Sippet.Wait.wait_until(fn -> Sippet.stats(stack).pending == 0 end)
      assert %{core_failed: 0, core_abandoned: 0} = Sippet.stats(stack)
      refute_received {:logged, _level, _line, _meta}
    end
  end

  describe "what OTP logs of a process that ends" do
    test "shows no message", %{stack: stack} do
      alias Sippet.Transports.UDP.Server
      held = :queue.from_list([{{{192, 0, 2, 7}, 5060}, @credentials}])
      state = %Server{options: %{name: stack}, held: held}
      message = {:counted, {:take, @credentials, remote(), self()}}

      for {module, state} <- [{Server, state}, {Sippet.Transactions.Worker, {1, :stack, :none}}] do
        status = %{state: state, message: message, log: [message], reason: :killed}
        refute inspect(module.format_status(status)) =~ "5ec3e7"
      end
    end
  end

  describe "line/3" do
    test "is no longer than 1 KB, whatever it says" do
      for text <- [String.duplicate("ü", 4_000), String.duplicate(<<255>>, 4_000), "x"] do
        line = Log.line(:stack, %{crash: {:error, :no, []}}, text)
        assert String.valid?(line) and byte_size(line) <= 1_024
      end
    end
  end
end
