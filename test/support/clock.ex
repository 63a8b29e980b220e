defmodule Sippet.Clock do
  @moduledoc false
  # A VM of its own whose wall clock a test sets, while the clock of the machine stays. A C
  # library that is preloaded moves the time of day; `+C multi_time_warp` has the VM follow it
  # (erts, "Time and Time Correction in Erlang").

  import Sippet.Wait

  alias Sippet.{DigestAuth, PeerVM}

  @source Path.expand("clock/clock.c", __DIR__)

  # How far off the two clocks may be read, in seconds.
  @precision 60

  # A VM looks at the time of day every few seconds after its start, and later once a minute.
  @patience 120_000

  @enforce_keys [:peer, :file]
  defstruct @enforce_keys

  @type t :: %__MODULE__{peer: pid, file: String.t()}

  @doc """
  Why no clock can be set here, or nil.
  """
  @spec missing() :: String.t() | nil
  def missing do
    cond do
      :os.type() != {:unix, :linux} -> "preloading is done on Linux alone"
      System.find_executable("cc") == nil -> "there is no C compiler"
      true -> nil
    end
  end

  @doc """
  Starts a VM in a folder, with its clock so many seconds ahead.
  """
  @spec start(Path.t(), integer) :: t
  def start(folder, seconds \\ 0) do
    library = Path.join(folder, "clock.so")
    {_output, 0} = System.cmd("cc", ["-shared", "-fPIC", "-O2", "-o", library, @source, "-ldl"])
    file = Path.join(folder, "shift_#{System.unique_integer([:positive])}")
    File.write!(file, "#{seconds}")

    peer =
      PeerVM.start(
        args: ["+C", "multi_time_warp"],
        env: [{"LD_PRELOAD", library}, {"CLOCK_SHIFT", file}]
      )

    set(%__MODULE__{peer: peer, file: file}, seconds)
  end

  @doc """
  Sets the clock so many seconds ahead of the machine's, and waits until the VM has seen it.
  """
  @spec set(t, integer) :: t
  def set(%__MODULE__{file: file} = clock, seconds) do
    # At once, or the VM would read half of it.
    File.write!(file <> ".new", "#{seconds}")
    File.rename!(file <> ".new", file)
    seen? = fn -> abs(ahead(clock) - seconds) < @precision end
    wait_until(seen?, "the clock's new time", @patience)
    clock
  end

  defp ahead(clock), do: call(clock, :erlang, :system_time, [:second]) - System.os_time(:second)

  @doc """
  Calls a function there.
  """
  @spec call(t, module, atom, [term]) :: term
  def call(%__MODULE__{peer: peer}, module, function, arguments),
    do: PeerVM.call(peer, module, function, arguments)

  @doc """
  Verifies credentials of bob there, whose password is zanzibar.
  """
  @spec verify(t, Sippet.Message.request(), String.t(), keyword) :: term
  def verify(clock, request, realm, options),
    do: call(clock, DigestAuth, :verify, [request, realm, &__MODULE__.secret/1, options])

  @doc false
  def secret("bob"), do: {:ok, "zanzibar"}
end
