defmodule Sippet.DigestAuth.ClockTest do
  use ExUnit.Case, async: true

  alias Sippet.Clock
  alias Sippet.DigestAuth
  alias Sippet.Message

  missing = Clock.missing()

  if missing do
    IO.puts(:stderr, "\nSKIPPED: clocks that are set: #{missing}")
    @moduletag skip: missing
  end

  @moduletag :tmp_dir
  @moduletag timeout: 300_000

  @realm "biloxi.com"
  @options [store: :nonces]
  @hour 3_600
  @minutes 120

  defp start(folder, seconds) do
    clock = Clock.start(folder, seconds)
    {:ok, _pid} = Clock.call(clock, DigestAuth.NonceStore, :start_link, [[name: :nonces]])
    clock
  end

  defp login(clock, options \\ []) do
    request = Message.build_request(:register, "sip:biloxi.com")
    {:ok, response} = Clock.call(clock, DigestAuth, :make_response, [request, 401, @realm])
    {:ok, next} = DigestAuth.make_request(request, response, &bob/1, options)
    next
  end

  defp bob(@realm), do: {:ok, "bob", "zanzibar"}

  defp again(request) do
    {:ok, next} = DigestAuth.repeat_request(request, &bob/1)
    next
  end

  defp verify(clock, request), do: Clock.verify(clock, request, @realm, @options)

  describe "a clock that is set back" do
    test "makes no login stale, and none good again", %{tmp_dir: folder} do
      clock = start(folder, @hour)
      first = login(clock)
      assert verify(clock, first) == {:ok, "bob"}

      Clock.set(clock, 0)
      assert verify(clock, login(clock)) == {:ok, "bob"}
      assert verify(clock, first) == {:error, :replayed}
      assert verify(clock, again(first)) == {:ok, "bob"}
    end

    test "shows a store that starts then no nonce from before", %{tmp_dir: folder} do
      # So little that the nonce is young by either time.
      clock = start(folder, @minutes)
      first = login(clock)
      assert verify(clock, first) == {:ok, "bob"}
      Clock.set(clock, 0)
      :ok = Clock.call(clock, GenServer, :stop, [:nonces])
      {:ok, _pid} = Clock.call(clock, DigestAuth.NonceStore, :start_link, [[name: :nonces]])
      assert verify(clock, first) == {:error, :stale}
      assert verify(clock, login(clock)) == {:ok, "bob"}
    end
  end

  describe "a clock that is set forward" do
    test "makes nonces as old as it says, and new ones are good", %{tmp_dir: folder} do
      clock = start(folder, 0)
      first = login(clock)
      Clock.set(clock, @hour)
      assert verify(clock, first) == {:error, :stale}
      assert verify(clock, login(clock)) == {:ok, "bob"}
    end
  end
end
