defmodule Sippet.Transactions.Workers do
  @moduledoc false
  # The processes that work on transactions, and which of them works on which: that is said by a salted hash of the
  # Call-ID, which all messages of a call have (RFC3261§8.1.1.4). So the messages of a call stay in order, and no row is
  # written by two.

  alias Sippet.Stack
  alias Sippet.Transactions.Rows

  # Messages of the network that wait for one worker. The rest is left in the socket's buffer.
  @most_waiting 100

  @for_each_scheduler 2

  # What one process that reads can feed, and more.
  @most 16

  @enforce_keys [:names, :waiting, :usual, :others, :line_ends]
  defstruct @enforce_keys

  @typedoc """
  The names of the processes, how many messages of the network wait for each, counted at its index, and the patterns by which a
  Call-ID is found.
  """
  @type t :: %__MODULE__{
          names: tuple,
          waiting: :atomics.atomics_ref(),
          usual: :binary.cp(),
          others: :binary.cp(),
          line_ends: :binary.cp()
        }

  @doc """
  The workers of a stack: one on one scheduler, two for each of several.
  """
  @spec new(atom, pos_integer) :: t
  def new(stack, schedulers \\ System.schedulers_online()) do
    count = if schedulers == 1, do: 1, else: min(@for_each_scheduler * schedulers, @most)
    names = for index <- 1..count, do: Stack.process(stack, "Worker#{index}")

    %__MODULE__{
      names: List.to_tuple(names),
      waiting: :atomics.new(count, []),
      # The usual way to write it is found much faster than one of several.
      usual: :binary.compile_pattern("\nCall-ID:"),
      others: :binary.compile_pattern(["\ni:", "\nCall-Id:", "\ncall-id:"]),
      line_ends: :binary.compile_pattern(["\r", "\n"])
    }
  end

  @spec count(t) :: pos_integer
  def count(%__MODULE__{names: names}), do: tuple_size(names)

  @doc """
  The names of the processes, in the order of their indexes.
  """
  @spec names(Stack.t()) :: [atom]
  def names(%Stack{transactions: %{workers: %__MODULE__{names: names}}}), do: Tuple.to_list(names)

  @doc """
  The name of the process of this index.
  """
  @spec name(Stack.t(), pos_integer) :: atom
  def name(%Stack{transactions: %{workers: %__MODULE__{names: names}}}, index),
    do: elem(names, index - 1)

  ## Who works on what

  @doc """
  The index of the worker of a call.
  """
  @spec of_call(Stack.t(), binary | term) :: pos_integer
  def of_call(%Stack{transactions: %{workers: workers, rows: %Rows{salt: salt}}}, call_id),
    do: :erlang.phash2([salt | call_id], count(workers)) + 1

  @doc """
  The worker that is likely the one of a message's call; that of its source, where its Call-ID is not at once found.
  """
  @spec of_octets(Stack.t(), binary, term) :: pos_integer
  def of_octets(%Stack{transactions: %{workers: %__MODULE__{names: {_only}}}}, _octets, _remote),
    do: 1

  def of_octets(%Stack{transactions: %{workers: workers}} = stack, octets, remote),
    do: of_call(stack, call_id(workers, octets) || remote)

  defp call_id(workers, octets) do
    with :nomatch <- :binary.match(octets, workers.usual),
         :nomatch <- :binary.match(octets, workers.others) do
      nil
    else
      {at, length} -> line(workers, octets, at + length)
    end
  end

  defp line(workers, octets, from) do
    rest = byte_size(octets) - from

    case :binary.match(octets, workers.line_ends, scope: {from, rest}) do
      {at, 1} -> trim(binary_part(octets, from, at - from))
      :nomatch -> trim(binary_part(octets, from, rest))
    end
  end

  # As the parser gives it.
  defp trim(<<blank, rest::binary>>) when blank in [?\s, ?\t], do: trim(rest)

  defp trim(text) do
    case byte_size(text) do
      0 ->
        text

      size ->
        if :binary.last(text) in [?\s, ?\t], do: trim(binary_part(text, 0, size - 1)), else: text
    end
  end

  ## Handing over

  @doc """
  Hands a message of the network to a worker, unless enough of them wait there. `{:error, :busy}` says that they do, or
  that the worker is about to start again.
  """
  @spec post(Stack.t(), pos_integer, term) :: :ok | {:error, :busy}
  def post(%Stack{transactions: %{workers: workers}} = stack, index, message) do
    if :atomics.add_get(workers.waiting, index, 1) <= @most_waiting and
         send(stack, index, {:counted, message}) do
      :ok
    else
      taken(workers, index)
      {:error, :busy}
    end
  end

  @doc """
  Sends a worker what is not counted. It is lost where the worker is about to start again, which then looks into its
  rows.
  """
  @spec send(Stack.t(), pos_integer, term) :: boolean
  def send(%Stack{transactions: %{workers: %__MODULE__{names: names}}}, index, message) do
    Kernel.send(elem(names, index - 1), message)
    true
  rescue
    ArgumentError -> false
  end

  @doc """
  Asks a worker, and waits for its answer; `:error` where it ends meanwhile.
  """
  @spec call(Stack.t(), pos_integer, term) :: term | :error
  def call(%Stack{transactions: %{workers: %__MODULE__{names: names}}}, index, request) do
    GenServer.call(elem(names, index - 1), request, :infinity)
  catch
    :exit, _ended -> :error
  end

  @doc """
  Says that a worker has taken one more of the messages that are counted.
  """
  @spec taken(t, pos_integer) :: :ok
  def taken(workers, index), do: :atomics.sub(workers.waiting, index, 1)

  @doc """
  Says that nothing waits for a worker.
  """
  @spec reset(t, pos_integer) :: :ok
  def reset(workers, index), do: :atomics.put(workers.waiting, index, 0)
end
