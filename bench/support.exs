defmodule Bench do
  @moduledoc false
  # Times as ratios of one run: each round times every operation once, and each operation keeps its best round,
  # so that a busy moment of the machine spoils one round of all rather than all rounds of one.

  @quick "--quick" in System.argv()
  @rounds if @quick, do: 3, else: 9
  @nanos if @quick, do: 5_000_000, else: 15_000_000

  def times(operations) do
    counts = Enum.map(operations, fn {name, fun} -> {name, fun, count(fun)} end)

    for _ <- 1..@rounds, {name, fun, count} <- counts, reduce: %{} do
      best ->
        time = nanos(fun, count)
        Map.update(best, name, time, &min(&1, time))
    end
  end

  # A fresh process each time: no operation pays for the garbage of another.
  def nanos(fun, count) do
    task =
      Task.async(fn ->
        {micros, _} = :timer.tc(fn -> repeat(fun, count) end)
        micros * 1000 / count
      end)

    Task.await(task, :infinity)
  end

  defp count(fun) do
    nanos(fun, 5)
    max(5, trunc(@nanos / nanos(fun, 10)))
  end

  defp repeat(_fun, 0), do: :ok

  defp repeat(fun, count) do
    fun.()
    repeat(fun, count - 1)
  end

  # A table in Markdown, as `script/bench` takes it over.
  def table(header, rows) do
    widths =
      Enum.zip_with([header | rows], fn column ->
        column |> Enum.map(&String.length/1) |> Enum.max()
      end)

    IO.puts(line(header, widths))
    IO.puts("|---" <> String.duplicate("|--:", length(header) - 1) <> "|")
    for row <- rows, do: IO.puts(line(row, widths))
  end

  defp line(row, widths) do
    cells = Enum.zip_with(row, widths, &String.pad_leading/2)
    "| " <> Enum.join(cells, " | ") <> " |"
  end

  def ratio(number), do: :erlang.float_to_binary(number / 1, decimals: 2)
  def whole(number), do: Integer.to_string(round(number))
end
