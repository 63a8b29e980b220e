defmodule Sippet.Robustness.Report do
  @moduledoc false
  # What the long tests saw: a row of a table for each, on the terminal as it comes, and in the file that
  # script/robustness names and shows at its end.

  import ExUnit.Assertions, only: [flunk: 1]

  alias Sippet.SIPp

  @doc """
  Writes a row, and fails the test if something is wrong. `wrong` is a list of sentences.
  """
  @spec row(String.t(), String.t(), String.t(), String.t(), [String.t()]) :: :ok
  def row(scenario, happened, calls, memory, wrong) do
    verdict = if wrong == [], do: "held", else: "MISSED: " <> Enum.join(wrong, "; ")
    cells = [scenario, happened, calls, memory, verdict]
    row = "| " <> Enum.join(cells, " | ") <> " |\n"
    IO.write("\n" <> row)
    if path = System.get_env("SIPPET_ROBUSTNESS"), do: File.write!(path, row, [:append])
    if wrong == [], do: :ok, else: flunk("#{scenario}: #{Enum.join(wrong, "; ")}")
  end

  @doc """
  How SIPp's calls went, in words.
  """
  @spec calls(SIPp.result()) :: String.t()
  def calls(result) do
    times = Enum.sort(result.response_times)

    "#{result.successful} of #{result.successful + result.failed}, " <>
      "#{result.retransmissions} repetitions, INVITE to 200 in #{quantile(times, 0.5)} ms (median), " <>
      "#{quantile(times, 0.99)} ms (99 %)"
  end

  defp quantile([], _share), do: "-"
  defp quantile(times, share), do: Enum.at(times, trunc(share * (length(times) - 1)))

  @doc """
  Counts as words: `"3 apples, 2 pears"`, without those that are zero.
  """
  @spec counts(Enumerable.t()) :: String.t()
  def counts(counts) do
    case for {name, count} <- counts,
             count != 0,
             do: "#{count} #{String.replace("#{name}", "_", " ")}" do
      [] -> "nothing"
      words -> Enum.join(words, ", ")
    end
  end
end
