defmodule Sippet.Stack.Lanes do
  @moduledoc false
  # The processes that take messages off the hands of a transport that has one process for all that it receives. A
  # transaction that starts is waited for here, and not where the socket is read.
  #
  # A lane is chosen by the Call-ID, which all messages of a call have (RFC3261§8.1.1.4): they stay in order. Whoever
  # writes its name in another way than it is looked for has one lane for all calls, which is as good as none.

  # Messages that wait for one lane. The rest is left in the socket's buffer.
  @most_waiting 100

  # A lane waits while a transaction starts: with two for each scheduler there is another one to go on.
  @for_each_scheduler 2

  # What one process that reads can feed, and more.
  @most 16

  @enforce_keys [:names, :waiting]
  defstruct [:names, :waiting]

  @typedoc """
  The names of the processes, and how many messages wait for each, counted at its index.
  """
  @type t :: %__MODULE__{names: tuple, waiting: :atomics.atomics_ref()}

  @doc """
  The lanes of a stack: none where one scheduler would run all of them. Their names are made of the stack's, which is the
  programmer's.
  """
  @spec new(atom, pos_integer) :: t
  def new(stack, schedulers \\ System.schedulers_online()) do
    count = if schedulers == 1, do: 0, else: min(@for_each_scheduler * schedulers, @most)
    names = for index <- 1..count//1, do: Module.concat(stack, "Lane#{index}")
    %__MODULE__{names: List.to_tuple(names), waiting: :atomics.new(max(count, 1), [])}
  end

  @doc """
  Hands a message of the calling transport to the lane of its call. `:none` says that there are no lanes.
  """
  @spec post(t, binary, {atom | binary, :inet.ip_address(), :inet.port_number()}) ::
          :ok | :none | {:error, :busy}
  def post(%__MODULE__{names: {}}, _data, _remote), do: :none

  def post(%__MODULE__{names: names} = lanes, data, remote) do
    index = :erlang.phash2(call(data) || remote, tuple_size(names)) + 1

    if :atomics.add_get(lanes.waiting, index, 1) <= @most_waiting and
         sent?(elem(names, index - 1), {:take, data, remote, self()}) do
      :ok
    else
      taken(lanes, index)
      {:error, :busy}
    end
  end

  defp sent?(lane, message) do
    Kernel.send(lane, message)
    true
  rescue
    # It was killed, and comes again.
    ArgumentError -> false
  end

  @doc """
  Says that a lane has taken one more of its messages.
  """
  @spec taken(t, pos_integer) :: :ok
  def taken(lanes, index), do: :atomics.sub(lanes.waiting, index, 1)

  @doc """
  Says that nothing waits for a lane.
  """
  @spec reset(t, pos_integer) :: :ok
  def reset(lanes, index), do: :atomics.put(lanes.waiting, index, 0)

  defp call(data) do
    # The usual way to write it is found much faster than one of several.
    with :nomatch <- :binary.match(data, "\nCall-ID:"),
         :nomatch <- :binary.match(data, ["\ni:", "\nCall-Id:", "\ncall-id:"]) do
      nil
    else
      {at, length} -> line(data, at + length)
    end
  end

  defp line(data, from) do
    rest = byte_size(data) - from

    case :binary.match(data, "\n", scope: {from, rest}) do
      {at, 1} -> binary_part(data, from, at - from)
      :nomatch -> binary_part(data, from, rest)
    end
  end
end
