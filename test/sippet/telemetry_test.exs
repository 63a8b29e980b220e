defmodule Sippet.TelemetryTest do
  # Each event of the documented list is made to happen, and has the measurements and metadata that its row names.
  use Sippet.StackCase, async: true

  @moduletag :capture_log

  alias Sippet.Telemetry

  doctest Telemetry

  @moduletag stack: [telemetry: Sippet.TestTelemetry, t1: 2, behave: &__MODULE__.behave/3]

  def behave(:receive_request, %{headers: %{"X-Test" => ["hang"]}}, _key),
    do: Process.sleep(:infinity)

  def behave(_callback, _argument, _key), do: :ok

  for {id, [:sippet | event], measurements, metadata} <- Telemetry.events() do
    test "#{inspect([:sippet | event])} is as documented, and counted", %{stack: stack} do
      provoke(unquote(id), stack)
      assert_receive {:event, unquote(event), measured, told}, 1_000
      assert measured |> Map.keys() |> Enum.sort() == unquote(Enum.sort(measurements))
      assert told |> Map.keys() |> Enum.sort() == unquote(Enum.sort(metadata))
      assert told.stack == stack
      assert Enum.all?(Map.values(measured), &is_integer/1)
      assert Sippet.stats(stack)[unquote(id)] > 0
    end
  end

  defp provoke(:message_refused, stack), do: deliver(stack, wire("OPTIONS", [{"CSeq", "x"}]))
  defp provoke(:message_dropped, stack), do: deliver(stack, "\r\n\r\n")

  defp provoke(:transport_error, stack),
    do: Router.receive_transport_error(stack, nil, :econnrefused)

  defp provoke(:core_failed, stack) do
    Sippet.register_core(stack, Sippet.TelemetryTest.NoCore)
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

  defp provoke(:transaction_ended, stack) do
    deliver(stack, wire("OPTIONS"))
    assert_receive {:receive_request, _request, key}
    Sippet.terminate(stack, key)
  end

  defp provoke(_id, stack) do
    deliver(stack, wire("OPTIONS"))
    assert_receive {:receive_request, request, _key}
    Sippet.send(stack, Message.to_response(request, 200))
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
