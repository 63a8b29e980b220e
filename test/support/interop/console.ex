defmodule Sippet.Interop.Console do
  @moduledoc false
  # How a test talks with a peer that is a program: it writes commands to the program's standard input, and reads what
  # the program tells. A peer is a map of its own module, which has the program as `program`.

  alias Sippet.Interop.Program

  @type peer :: %{:program => Program.t(), optional(atom) => term}

  @doc """
  Gives the peer a command, one line of its standard input.
  """
  @spec command(peer, String.t()) :: peer
  def command(%{program: program} = peer, command) do
    Program.write(program, command <> "\n")
    peer
  end

  @doc """
  Waits until the peer has written what the pattern matches.
  """
  @spec await(peer, Regex.t() | String.t()) :: peer
  def await(%{program: program} = peer, pattern),
    do: %{peer | program: Program.await_output(program, pattern)}
end
