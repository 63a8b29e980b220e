defmodule Sippet.DigestAuth.FailureLimitTest do
  use ExUnit.Case, async: true

  alias Sippet.DigestAuth
  alias Sippet.DigestAuth.FailureLimit
  alias Sippet.Flow
  alias Sippet.Message

  doctest FailureLimit

  @realm "biloxi.com"

  # It is called in the process that verifies, and fails.
  defmodule Listener do
    def execute(event, measurements, metadata) do
      send(self(), {:event, event, measurements, metadata})
      raise "as a listener may"
    end
  end

  setup context do
    limit = :"#{context.test}"
    options = Map.get(context, :options, max_per_user: 3, max_per_address: 5)
    start_supervised!({FailureLimit, [name: limit] ++ options})
    [limit: limit]
  end

  defp secret(user) when user in ["bob", "alice"], do: {:ok, "zanzibar"}
  defp secret(_user), do: {:error, :unknown}

  defp nobody(_user), do: flunk("looked up")

  @tag options: [max_per_user: 1, telemetry: Listener]
  test "a refusal is an event, and a listener that fails ends no login", %{limit: limit} do
    login(limit, "bob", "wrong", {192, 0, 2, 1})
    refute_received {:event, _event, _measurements, _metadata}
    assert {:error, :too_many_failures} = login(limit, "bob", "zanzibar", {192, 0, 2, 1})
    assert_received {:event, [:sippet, :digest_auth, :refused], %{system_time: _}, metadata}
    assert metadata == %{limit: limit, by: :user}
    assert FailureLimit.stats(limit).refused == 1
  end

  # A login as a user by a password, from an address.
  defp login(limit, user, password, address, lookup \\ &secret/1) do
    user |> request(password, address) |> DigestAuth.verify(@realm, lookup, limit: limit)
  end

  defp request(user, password, address, method \\ :register) do
    request = Message.build_request(method, "sip:biloxi.com")
    {:ok, asked} = DigestAuth.make_response(%{request | start_line: line()}, 401, @realm)
    {:ok, next} = DigestAuth.make_request(request, asked, fn _ -> {:ok, user, password} end)
    %{next | source: %Flow{protocol: :udp, remote: {address, 5060}}}
  end

  defp line, do: Message.build_request(:register, "sip:biloxi.com").start_line

  defp fail(limit, user, address, times) do
    for _ <- 1..times, do: login(limit, user, "wrong", address)
  end

  defp address(n), do: {192, 0, 2, n}

  describe "failed logins of a user" do
    test "are limited, from whatever address, before anything is looked up", %{limit: limit} do
      for n <- 1..3,
          do: assert(login(limit, "bob", "wrong", address(n)) == {:error, :wrong_response})

      for password <- ["wrong", "zanzibar"] do
        assert login(limit, "bob", password, address(4), &nobody/1) ==
                 {:error, :too_many_failures}
      end

      assert login(limit, "alice", "zanzibar", address(1)) == {:ok, "alice"}
      assert %{failed: 3, refused: 2} = FailureLimit.stats(limit)
    end

    test "are answered 403, which is no challenge", %{limit: limit} do
      fail(limit, "bob", address(1), 3)
      request = request("bob", "zanzibar", address(1))
      options = [limit: limit]
      {:error, response} = DigestAuth.authenticate(request, @realm, &nobody/1, options)
      assert response.start_line.status_code == 403
      refute Message.has_header?(response, :www_authenticate)
    end

    test "are limited where there is no such user", %{limit: limit} do
      assert fail(limit, "eve", address(1), 4) ==
               List.duplicate({:error, :unknown_user}, 3) ++ [{:error, :too_many_failures}]
    end

    test "count in their realm, and are not what was refused for another reason", %{limit: limit} do
      fail(limit, "bob", address(1), 2)
      request = Message.build_request(:register, "sip:biloxi.com")

      for _ <- 1..9 do
        assert DigestAuth.verify(request, @realm, &secret/1, limit: limit) ==
                 {:error, :no_credentials}

        stale = request("bob", "zanzibar", address(1))
        late = System.system_time(:millisecond) + 3_600_000
        options = [limit: limit, now: late]
        assert DigestAuth.verify(stale, @realm, &secret/1, options) == {:error, :stale}
        assert login(limit, "bob", "zanzibar", address(1)) == {:ok, "bob"}
      end

      assert FailureLimit.check(limit, FailureLimit.subjects(@realm, "bob", nil)) == :ok
      assert fail(limit, "bob", address(1), 1) == [{:error, :wrong_response}]
      {:error, _} = FailureLimit.check(limit, FailureLimit.subjects(@realm, "bob", nil))
      assert FailureLimit.check(limit, FailureLimit.subjects("other", "bob", nil)) == :ok
    end

    # RFC3261§22.1
    test "refuse no ACK", %{limit: limit} do
      fail(limit, "bob", address(1), 3)
      ack = request("bob", "zanzibar", address(1), :ack)
      assert DigestAuth.verify(ack, @realm, &secret/1, limit: limit) == {:ok, "bob"}
    end
  end

  describe "failed logins from an address" do
    test "are limited, as whatever user", %{limit: limit} do
      for n <- 1..5, do: fail(limit, "user#{n}", address(1), 1)

      assert login(limit, "bob", "zanzibar", address(1), &nobody/1) ==
               {:error, :too_many_failures}

      assert login(limit, "bob", "zanzibar", address(2)) == {:ok, "bob"}
    end

    test "are those of its IPv6 subnet, or of the IPv4 address in it", %{limit: limit} do
      for n <- 1..5, do: fail(limit, "user#{n}", {0x2001, 0xDB8, 0, 1, 0, 0, 0, n}, 1)
      {:error, _} = login(limit, "bob", "zanzibar", {0x2001, 0xDB8, 0, 1, 9, 9, 9, 9}, &nobody/1)
      assert {:ok, "bob"} = login(limit, "bob", "zanzibar", {0x2001, 0xDB8, 0, 2, 0, 0, 0, 1})

      for n <- 1..5, do: fail(limit, "other#{n}", {0, 0, 0, 0, 0, 0xFFFF, 0xC000, 0x0201}, 1)
      {:error, _} = login(limit, "bob", "zanzibar", {192, 0, 2, 1}, &nobody/1)
      assert {:ok, "bob"} = login(limit, "bob", "zanzibar", {192, 0, 2, 2})
    end

    test "are of the address that the caller names, or of none", %{limit: limit} do
      for n <- 1..5 do
        request = request("user#{n}", "wrong", address(1))
        options = [limit: limit, address: "client"]
        {:error, :unknown_user} = DigestAuth.verify(request, @realm, &secret/1, options)
        options = [limit: limit, address: nil]
        {:error, :unknown_user} = DigestAuth.verify(request, @realm, &secret/1, options)
      end

      assert login(limit, "bob", "zanzibar", address(1)) == {:ok, "bob"}
      request = request("bob", "zanzibar", address(1))
      options = [limit: limit, address: "client"]

      assert DigestAuth.verify(request, @realm, &nobody/1, options) ==
               {:error, :too_many_failures}

      built = %{request("bob", "zanzibar", address(1)) | source: nil}
      assert DigestAuth.verify(built, @realm, &secret/1, limit: limit) == {:ok, "bob"}
    end
  end

  describe "a window" do
    @subjects [{:user, "biloxi.com", "bob"}]

    @tag options: [max_per_user: 2, window: 1_000]
    test "begins with the first failure, and ends them all", %{limit: limit} do
      now = System.monotonic_time(:millisecond)
      FailureLimit.record(limit, @subjects, now)
      FailureLimit.record(limit, @subjects, now + 900)
      assert {:error, :too_many_failures} = FailureLimit.check(limit, @subjects, now + 999)
      assert FailureLimit.check(limit, @subjects, now + 1_000) == :ok
      FailureLimit.record(limit, @subjects, now + 1_000)
      assert FailureLimit.check(limit, @subjects, now + 1_000) == :ok
      FailureLimit.record(limit, @subjects, now + 1_001)
      assert {:error, :too_many_failures} = FailureLimit.check(limit, @subjects, now + 1_999)
    end

    @tag options: [window: 20]
    test "that is over gives its memory back", %{limit: limit} do
      FailureLimit.record(limit, @subjects)
      :erlang.trace(Process.whereis(limit), true, [:receive])
      assert_receive {:trace, _pid, :receive, :prune}, 3_000
      assert_receive {:trace, _pid, :receive, :prune}, 3_000
      :sys.get_state(limit)
      assert %{failed: 1, entries: 0} = FailureLimit.stats(limit)
    end
  end

  describe "memory" do
    @tag options: [max_per_user: 1, max_entries: 3]
    test "is bounded, and the oldest count is forgotten", %{limit: limit} do
      for n <- 1..10, do: FailureLimit.record(limit, [{:user, @realm, n}])
      assert FailureLimit.stats(limit).entries == 3

      for n <- 1..10 do
        refused? = FailureLimit.check(limit, [{:user, @realm, n}]) != :ok
        assert {n, refused?} == {n, n > 7}
      end
    end

    @tag options: [max_per_user: 1, max_entries: 2_000]
    test "does not grow with the names that are sent, nor the work with their number", context do
      %{limit: limit} = context
      name = String.duplicate("x", 60_000)
      for n <- 1..2_000, do: FailureLimit.record(limit, [{:user, @realm, {n, name}}])
      assert :erlang.external_size(:ets.tab2list(limit)) < 2_000 * 250
      assert :erlang.external_size(:sys.get_state(limit)) < 2_000 * 250

      few = reductions(limit, 2_000)
      assert reductions(limit, 8_000) < 8 * few
    end

    defp reductions(limit, count) do
      {:reductions, before} = limit |> Process.whereis() |> Process.info(:reductions)
      for n <- 1..count, do: FailureLimit.record(limit, [{:user, @realm, {count, n}}])
      {:reductions, later} = limit |> Process.whereis() |> Process.info(:reductions)
      later - before
    end

    @tag options: [max_per_user: :infinity, max_per_address: :infinity]
    test "is not taken where nothing is limited", %{limit: limit} do
      fail(limit, "bob", address(1), 30)
      assert FailureLimit.stats(limit) == %{failed: 30, refused: 0, entries: 0}
      assert login(limit, "bob", "zanzibar", address(1)) == {:ok, "bob"}
    end
  end

  describe "a limit" do
    @tag options: []
    test "is met by no client that has a wrong password and registers twice a minute", context do
      for _ <- 1..10, do: fail(context.limit, "bob", address(1), 1)
      assert login(context.limit, "bob", "zanzibar", address(1)) == {:ok, "bob"}
    end

    test "that was not started raises" do
      assert_raise ArgumentError, ~r/no failure limit named/, fn ->
        login(:nowhere, "bob", "zanzibar", address(1))
      end

      assert_raise ArgumentError, ~r/no failure limit named/, fn ->
        FailureLimit.stats(:nowhere)
      end
    end

    test "passes over strange messages", %{limit: limit} do
      send(limit, :strange)
      assert :sys.get_state(limit).name == limit
    end

    test "refuses wrong options" do
      for options <- [[], [name: nil], [name: :x, window: 0], [name: :x, max_per_user: 0]] do
        assert_raise ArgumentError, fn -> FailureLimit.start_link(options) end
      end
    end
  end
end
