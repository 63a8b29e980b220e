defmodule Sippet.DigestAuth.NonceStore do
  alias Sippet.Options

  @schema [
    name: [
      type: :atom,
      required: true,
      doc: "what the option `:store` then names; one store per name and node"
    ],
    max_age: [
      type: :positive,
      default: 300_000,
      doc:
        "milliseconds after its making for which a nonce may be used; give the same to `Sippet.DigestAuth.verify/4`"
    ],
    max_nonces: [type: :positive, default: 100_000, doc: "how many used nonces are remembered"]
  ]

  @moduledoc """
  Remembers which nonce counts were used, so that no credentials are accepted twice.

      children = [
        {Sippet.DigestAuth.NonceStore, name: MyApp.Nonces}
      ]

      Sippet.DigestAuth.verify(request, "biloxi.com", &MyApp.secret/1, store: MyApp.Nonces)

  A nonce gets its row when it was first used with the right password, so that only those who have one can fill the table.
  Requests may come out of order: a count is refused that was used, or that is 32 or more below the highest
  one used. A client of RFC 2069 sends no count; it may use a nonce once.

  Memory is bounded: at `:max_nonces` rows, the oldest nonce goes, and with it the right to use it or
  any that was made before it. So it is with what was made before the store was started. Such a nonce is `:stale`, the
  client asks its user nothing and comes again with a new one.

  Each node has its own: where several nodes share a secret, credentials are accepted once by each.

  A wall clock that is set back changes nothing: the times of nonces go on by the monotonic clock until the VM ends. A
  clock that is set forward is followed, and makes the nonces that clients have older.

  ## Options

  #{Options.docs(@schema)}
  """

  use GenServer

  alias Sippet.DigestAuth.Clock
  alias Sippet.DigestAuth.Nonce

  # How far below the highest count others may come in. One small integer holds as many bits.
  @window 32

  @doc """
  Starts a store; raises `ArgumentError` if an option is wrong.

      iex> {:ok, pid} = Sippet.DigestAuth.NonceStore.start_link(name: :some_nonces, max_age: 60_000)
      iex> GenServer.stop(pid)
      :ok

  """
  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(options) do
    options = Options.validate!(options, @schema)
    GenServer.start_link(__MODULE__, options, name: options.name)
  end

  @doc """
  The specification for a supervisor; stores of different names may run side by side.
  """
  @spec child_spec(keyword) :: Supervisor.child_spec()
  def child_spec(options) do
    %{id: {__MODULE__, options[:name]}, start: {__MODULE__, :start_link, [options]}}
  end

  @doc """
  How many nonces the store remembers.
  """
  @spec count(atom) :: non_neg_integer
  def count(store), do: size(store)

  # Takes this count of the nonce for used. Whoever verifies calls it from a process of his own: the table is public,
  # and nobody waits for the store.
  @doc false
  @spec use_count(atom, Nonce.id(), non_neg_integer) :: :ok | {:error, :stale | :replayed}
  def use_count(store, {issued, _random} = id, count) do
    if :ets.whereis(store) == :undefined,
      do: raise(ArgumentError, "no nonce store named #{inspect(store)} was started")

    with :ok <- record(store, id, count) do
      trim(store)

      # Asked after the row was written: whoever removed an earlier row of this nonce had raised the floor before.
      if issued > :ets.lookup_element(store, :floor, 2), do: :ok, else: {:error, :stale}
    end
  end

  # Forgets the nonces that are too old by `now`, in microseconds.
  @doc false
  @spec prune(atom, integer) :: :ok
  def prune(store, now) do
    case oldest(store) do
      {issued, _random} = id ->
        if issued <= now do
          remove(store, id)
          prune(store, now)
        else
          :ok
        end

      nil ->
        :ok
    end
  end

  @impl true
  def init(options) do
    table = :ets.new(options.name, [:ordered_set, :public, :named_table])
    :ets.insert(table, {:floor, Clock.now(), options.max_nonces})
    {:ok, schedule(options)}
  end

  @impl true
  def handle_info(:prune, options) do
    prune(options.name, Clock.now() - options.max_age * 1000)
    {:noreply, schedule(options)}
  end

  def handle_info(_message, options), do: {:noreply, options}

  defp schedule(options) do
    Process.send_after(self(), :prune, options.max_age)
    options
  end

  # A row is {id, highest count, which of the counts below it were used}. Bit 0 is the highest itself.
  defp record(store, id, count) do
    if :ets.insert_new(store, {id, count, 1}),
      do: :ok,
      else: update(store, :ets.lookup(store, id), id, count)
  end

  defp update(store, [], id, count), do: record(store, id, count)

  defp update(store, [{_id, highest, bits} = row], id, count) do
    case window(highest, bits, count) do
      :error -> {:error, :replayed}
      {highest, bits} -> swap(store, row, {id, highest, bits}, count)
    end
  end

  # Another request with the same nonce may have come between; then it is all judged again.
  defp swap(store, row, new_row, count) do
    case :ets.select_replace(store, [{row, [], [{:const, new_row}]}]) do
      1 -> :ok
      0 -> record(store, elem(row, 0), count)
    end
  end

  defp window(highest, _bits, count) when count - highest >= @window, do: {count, 1}

  defp window(highest, bits, count) when count > highest,
    do: {count, Bitwise.band(Bitwise.bsl(bits, count - highest) + 1, Bitwise.bsl(1, @window) - 1)}

  defp window(highest, _bits, count) when highest - count >= @window, do: :error

  defp window(highest, bits, count) do
    bit = Bitwise.bsl(1, highest - count)
    if Bitwise.band(bits, bit) == 0, do: {highest, bits + bit}, else: :error
  end

  defp trim(store) do
    if size(store) > :ets.lookup_element(store, :floor, 3), do: remove(store, oldest(store))
  end

  # The floor first: a nonce without a row must not pass for one that was never used.
  defp remove(_store, nil), do: :ok

  defp remove(store, {issued, _random} = id) do
    lower = {{:floor, :"$1", :"$2"}, [{:<, :"$1", issued}], [{{:floor, issued, :"$2"}}]}
    :ets.select_replace(store, [lower])
    :ets.delete(store, id)
  end

  # One row is no nonce: the time up to which none is accepted, and how many may be. An atom sorts before any tuple.
  defp size(store), do: :ets.info(store, :size) - 1

  defp oldest(store) do
    case :ets.next(store, :floor) do
      :"$end_of_table" -> nil
      id -> id
    end
  end
end
