defmodule Sippet.Binding.Store.Memory do
  alias Sippet.Options

  @schema [
    name: [
      type: :atom,
      required: true,
      doc: "the name of the store, which `{Sippet.Binding.Store.Memory, name}` then means"
    ],
    max_addresses: [
      type: :positive,
      default: 1_000_000,
      doc:
        "how many addresses-of-record may have bindings; a REGISTER for another one gets 503 " <>
          "with Retry-After"
    ]
  ]

  @moduledoc """
  A store that keeps bindings in memory.

      children = [
        {Sippet.Binding.Store.Memory, name: MyApp.Bindings, max_addresses: 50_000}
      ]

      Sippet.Binding.Store.register({Sippet.Binding.Store.Memory, MyApp.Bindings}, request)

  The store is a process that owns an ETS table. It removes expired bindings once a minute, and
  nobody calls it. Who reads or registers works on the table in his own process. REGISTERs of
  different addresses-of-record run in parallel. Of those for one, each is done as a whole, one
  after another.

  A registrar that crashes in the middle of a REGISTER leaves the table as it was. The table ends
  with the store's process, and the phones are reachable again when they have refreshed their
  bindings. To keep bindings beyond that, use `Sippet.Binding.Store.File` or a database.

  Each node has its own table.

  ## Options

  #{Options.docs(@schema)}
  """

  @behaviour Sippet.Binding.Store

  use GenServer

  alias Sippet.Binding.Store.Table

  @sweep :timer.minutes(1)

  @doc """
  Starts a store; raises `ArgumentError` if an option is wrong.

      iex> {:ok, pid} = Sippet.Binding.Store.Memory.start_link(name: :some_bindings)
      iex> store = {Sippet.Binding.Store.Memory, :some_bindings}
      iex> Sippet.Binding.Store.bindings(store, Sippet.URI.parse!("sip:bob@biloxi.com"))
      {:ok, []}
      iex> GenServer.stop(pid)
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
      Table.write(store, address_of_record, version, bindings)
    end)
  end

  @impl GenServer
  def init(options),
    do: {:ok, schedule(Table.new(options.name, :public, options.max_addresses))}

  @impl GenServer
  def handle_info(:sweep, table) do
    Table.sweep(table)
    {:noreply, schedule(table)}
  end

  def handle_info(_message, table), do: {:noreply, table}

  defp schedule(table) do
    Process.send_after(self(), :sweep, @sweep)
    table
  end
end
