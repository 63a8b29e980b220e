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

  @doc """
  Waits for an event of a peer that writes its events as lines of `EVENT` and words: one that begins with these words,
  or several such, one after the other with any in between.

  An event of before counts too: of two that are alike the second is awaited by both.
  """
  @spec await_event(peer, String.t() | [String.t()]) :: peer
  def await_event(peer, events) do
    events = for event <- List.wrap(events), do: "EVENT " <> Regex.escape(event)
    await(peer, Regex.compile!(Enum.join(events, ".*"), "s"))
  end
end
