defmodule Sippet.Binding.Store.File do
  alias Sippet.Options

  @schema [
    name: [
      type: :atom,
      required: true,
      doc: "the name of the store, which `{Sippet.Binding.Store.File, name}` then means"
    ],
    path: [
      type: {:custom, &is_binary/1, "a path"},
      required: true,
      doc: "the file, in a folder that exists; only one store may use it at a time"
    ],
    max_addresses: [
      type: :positive,
      default: 1_000_000,
      doc:
        "how many addresses-of-record may have bindings; a REGISTER for another one gets 503 " <>
          "with Retry-After"
    ],
    sync_after: [
      type: {:custom, &__MODULE__.milliseconds?/1, "milliseconds"},
      default: 0,
      doc:
        "for how long the bindings of a 200 may not be on the disk yet; with 0 the store returns " <>
          "the 200 when they are"
    ]
  ]

  @moduledoc """
  A store that keeps bindings in a file, so that they survive the end of the VM.

      children = [
        {Sippet.Binding.Store.File, name: MyApp.Bindings, path: "/var/lib/myapp/bindings.log"}
      ]

      Sippet.Binding.Store.register({Sippet.Binding.Store.File, MyApp.Bindings}, request)

  The store is a process that owns an ETS table and a log file (`:disk_log`). Readers read the
  table in their own process. Each change goes through the store's process:

    1. The process writes the change to the file, then to the table.
    2. When no other changes wait, or a hundred do, it syncs the file to the disk. One sync serves
       all the REGISTERs of that time.
    3. It returns, and you send the 200.

  So a 200 means that the binding is on the disk, also after `kill -9` or a loss of power. The
  option `:sync_after` trades that for speed: with `1_000`, the REGISTERs of up to a second are
  lost.

  The store writes the file anew when it starts, and whenever there are more changes in it than
  addresses-of-record (and more than 10,000). REGISTERs wait meanwhile. The file has no limit of 2
  GB.

  ## After a restart

  The store reads the file, and drops the bindings that have expired by the wall clock. The
  `source` of a binding stays if it is a flow of UDP. A connection has ended, so such a binding
  has no `source`.

  If the VM was killed, the last entry may be incomplete. The store skips what it can't read,
  keeps the other entries, and logs a warning with the number of bytes. If the beginning of the
  file is damaged, or the file is another one, the store leaves it alone and does not start.
  `start_link/1` then returns `{:error, {:bindings_file, path, reason}}`.

  If the disk is full, REGISTERs get 500. If a sync fails, the store ends, and its supervisor
  starts it from what is in the file.

  ## Options

  #{Options.docs(@schema)}
  """

  @behaviour Sippet.Binding.Store

  use GenServer

  alias Sippet.Binding.Store.{Journal, Table}
  alias Sippet.Log

  @sweep :timer.minutes(1)

  # REGISTERs that wait for one sync at most, so that those of a stream of them get their 200.
  @batch 100

  # Changes that the file may have beyond one for each address-of-record.
  @changes 10_000

  @enforce_keys [:table, :journal, :path, :sync_after]
  defstruct [:table, :journal, :path, :sync_after, timer: nil, waiting: [], changes: 0]

  @doc false
  @spec milliseconds?(term) :: boolean
  def milliseconds?(value), do: is_integer(value) and value >= 0

  @doc """
  Starts a store and reads its file; raises `ArgumentError` if an option is wrong.

      iex> path = Path.join(System.tmp_dir!(), "bindings_\#{System.unique_integer([:positive])}")
      iex> {:ok, pid} = Sippet.Binding.Store.File.start_link(name: :filed_bindings, path: path)
      iex> store = {Sippet.Binding.Store.File, :filed_bindings}
      iex> Sippet.Binding.Store.bindings(store, Sippet.URI.parse!("sip:bob@biloxi.com"))
      {:ok, []}
      iex> GenServer.stop(pid)
      iex> File.rm(path)
      :ok
  """
  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(options) do
    options = Options.validate!(options, @schema)
    GenServer.start_link(__MODULE__, options, name: options.name)
  end

  @doc """
  Returns the specification for a supervisor. Stores of different names may run side by side.
  """
  @spec child_spec(keyword) :: Supervisor.child_spec()
  def child_spec(options),
    do: %{id: {__MODULE__, options[:name]}, start: {__MODULE__, :start_link, [options]}}

  @impl Sippet.Binding.Store
  defdelegate fetch(store, address_of_record), to: Table

  @impl Sippet.Binding.Store
  def update(store, address_of_record, change) do
    Table.update(store, address_of_record, change, fn version, bindings ->
      commit(store, {:commit, address_of_record, version, bindings})
    end)
  end

  defp commit(store, message) do
    with {:failed, reason} <- GenServer.call(store, message),
         do: raise("the file of #{inspect(store)} can't be written: #{inspect(reason)}")
  end

  ## The process

  @impl GenServer
  def init(options) do
    # The log is closed when the supervisor ends the store.
    Process.flag(:trap_exit, true)
    table = Table.new(options.name, :protected, options.max_addresses)

    with {:ok, bad} <- Journal.read(options.path, &Table.load(table, &1, &2)),
         :ok <- Journal.write(options.path, &entries(table, &1)),
         {:ok, journal} <- Journal.adopt(options.path) do
      if bad > 0, do: warn(table, "skipped #{bad} bytes of #{options.path}")
      Process.send_after(self(), :sweep, @sweep)

      {:ok,
       %__MODULE__{
         table: table,
         journal: journal,
         path: options.path,
         sync_after: options.sync_after
       }}
    else
      {:error, reason} -> {:stop, {:bindings_file, options.path, reason}}
    end
  end

  defp entries(table, write) do
    Table.each(table, fn rows ->
      write.(for {key, _version, bindings} <- rows, do: {key, bindings})
    end)
  end

  defp warn(table, text), do: Log.write(table, :warning, %{}, text)

  @impl GenServer
  def handle_call({:commit, key, version, bindings}, from, %{table: table} = state) do
    with :ok <- Table.writable(table, key, version),
         :ok <- appended(Journal.append(state.journal, {key, bindings})) do
      :ok = Table.write(table, key, version, bindings)
      kept(%{state | changes: state.changes + 1}, from)
    else
      refused -> continue(reply(state, from, refused))
    end
  end

  defp appended(:ok), do: :ok
  defp appended({:error, reason}), do: {:failed, reason}

  defp reply(state, from, answer) do
    GenServer.reply(from, answer)
    state
  end

  defp kept(%{sync_after: 0} = state, from) do
    state = %{state | waiting: [from | state.waiting]}
    if length(state.waiting) < @batch, do: continue(state), else: sync(state)
  end

  defp kept(state, from), do: state |> reply(from, :ok) |> timed() |> continue()

  defp timed(%{timer: nil} = state),
    do: %{state | timer: Process.send_after(self(), :sync, state.sync_after)}

  defp timed(state), do: state

  # The timeout comes when no message is there.
  defp continue(%{waiting: []} = state) do
    if state.changes > max(Table.size(state.table), @changes),
      do: compact(state),
      else: {:noreply, state}
  end

  defp continue(state), do: {:noreply, state, 0}

  # What is still to be synced is in the table, and so in the new file, which is.
  defp compact(state) do
    state = %{state | changes: 0}

    case Journal.write(state.path, &entries(state.table, &1)) do
      :ok ->
        adopt(state)

      {:error, reason} ->
        warn(state.table, "can't write #{state.path} anew: #{inspect(reason)}")
        {:noreply, state}
    end
  end

  defp adopt(state) do
    case Journal.adopt(state.path) do
      {:ok, journal} ->
        Journal.close(state.journal)
        {:noreply, %{state | journal: journal}}

      # The file of the old log may have lost its name.
      {:error, reason} ->
        {:stop, {:bindings_file, state.path, reason}, state}
    end
  end

  @impl GenServer
  def handle_info(message, state) when message in [:timeout, :sync],
    do: sync(if(message == :sync, do: %{state | timer: nil}, else: state))

  def handle_info(:sweep, state) do
    Table.sweep(state.table)
    Process.send_after(self(), :sweep, @sweep)
    continue(state)
  end

  # The log has ended.
  def handle_info({:EXIT, _pid, reason}, state), do: {:stop, reason, state}
  def handle_info(_message, state), do: continue(state)

  defp sync(state) do
    case Journal.sync(state.journal) do
      :ok ->
        for from <- Enum.reverse(state.waiting), do: GenServer.reply(from, :ok)
        continue(%{state | waiting: []})

      # What is in the table and not in the file must not be found.
      {:error, reason} ->
        {:stop, {:bindings_file, state.path, reason}, state}
    end
  end

  @impl GenServer
  def terminate(_reason, state), do: Journal.close(state.journal)
end
