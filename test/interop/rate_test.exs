defmodule Sippet.Interop.RateTest do
  # Alone on the machine, as far as that goes: what is measured is time.
  use Sippet.Interop.Case, async: false

  alias Sippet.Interop.Answerer

  @moduletag Peers.tags(:sipp)

  @rate 200
  @seconds 5

  test "calls at #{@rate}/s for #{@seconds} s fail none and repeat nothing" do
    {stack, address} = start_stack(Answerer)
    arguments = ~w(-sn uac -r #{@rate} -buff_size 1048576)
    result = SIPp.run(address, arguments, calls: @rate * @seconds, limit: @seconds + 10)

    IO.puts("\n" <> figures(result))
    SIPp.assert_success(result)

    assert {result.successful, result.retransmissions} == {@rate * @seconds, 0}
    assert length(requests(stack, :invite, @rate * @seconds)) == @rate * @seconds
    refute_received {^stack, {:error, _reason, _key}}
  end

  defp figures(result) do
    times = Enum.sort(result.response_times)

    "SIPp, INVITE/180/200/ACK/BYE/200 at #{@rate}/s for #{@seconds} s: #{result.successful} calls, " <>
      "#{result.failed} failed, #{result.retransmissions} retransmissions; INVITE to 200 in " <>
      "#{quantile(times, 0.5)} ms (median), #{quantile(times, 0.99)} ms (99 %), #{List.last(times)} ms (longest)"
  end

  defp quantile([], _share), do: "no"
  defp quantile(times, share), do: Enum.at(times, trunc(share * (length(times) - 1)))
end
