defmodule Examples.LengthTest do
  # An example is read in one go: each file has less than 300 lines of code.
  use ExUnit.Case, async: true

  @most 299

  # Lines of code: neither blank nor a comment, and not of the documentation.
  defp code_lines(source) do
    source
    |> String.replace(~r/^ *@(module|type)?doc ~?S?""".*?^ *"""$/ms, "")
    |> String.split("\n")
    |> Enum.count(&(not (&1 =~ ~r/^ *($|#|@(module|type)?doc ("|false))/)))
  end

  for file <- Path.wildcard(Path.expand("../../examples/*.ex", __DIR__)) do
    test "#{Path.basename(file)} has at most #{@most} lines of code" do
      source = File.read!(unquote(file))
      assert code_lines(source) <= @most
      # Short lines, so that it is no shorter than it looks.
      assert source |> String.split("\n") |> Enum.map(&String.length/1) |> Enum.max() <= 98
    end
  end

  test "documentation, comments and blank lines do not count" do
    source = ~S'''
    defmodule A do
      @moduledoc """
      Text, and

          code
      """

      # Why.
      @doc "One line."
      def a, do: 1

      @typedoc """
      Text.
      """
      @type t :: map
    end
    '''

    assert code_lines(source) == 4
  end
end
