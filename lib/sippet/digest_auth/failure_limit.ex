defmodule Sippet.DigestAuth.FailureLimit do
  alias Sippet.Options

  @schema [
    name: [
      type: :atom,
      required: true,
      doc: "the name that the option `:limit` of `Sippet.DigestAuth.verify/4` gives"
    ],
    max_per_user: [
      type: :limit,
      default: 20,
      doc:
        "failed logins of one user within `:window`, from whatever address. Further logins of that user are refused, the right password included"
    ],
    max_per_address: [
      type: :limit,
      default: 200,
      doc:
        "failed logins from one address within `:window`, as whatever user. Further logins from there are refused. An IPv6 address counts by its first 64 bits"
    ],
    window: [
      type: :positive,
      default: 300_000,
      doc: "milliseconds that a count lasts, from the first failed login that it counts"
    ],
    max_entries: [
      type: :positive,
      default: 100_000,
      doc:
        "users and addresses that are counted at a time. At the bound the oldest count is forgotten"
    ],
    telemetry: [
      type: :module,
      default: nil,
      doc:
        "a module to execute the event of a refusal in, `[:sippet, :digest_auth, :refused]`, in place of `:telemetry`. Its metadata are `:limit`, the name, and `:by`, which is `:user` or `:address`"
    ]
  ]

  @moduledoc """
  Limits how many passwords can be tried for a user, and from an address.

      children = [
        {Sippet.DigestAuth.NonceStore, name: MyApp.Nonces},
        {Sippet.DigestAuth.FailureLimit, name: MyApp.Failures}
      ]

      options = [store: MyApp.Nonces, limit: MyApp.Failures]
      Sippet.DigestAuth.verify(request, "biloxi.com", &MyApp.secret/1, options)

  A login fails with `:wrong_response` or `:unknown_user`. Once a user or an address has failed
  too often, `Sippet.DigestAuth.verify/4` returns `{:error, :too_many_failures}` without a call of
  the look-up, until the count's window is over. Refused logins are not counted again, and a login
  that succeeds takes nothing off a count. `Sippet.DigestAuth.authenticate/4` answers 403. An ACK
  is never refused (RFC 3261 §22.1).

  No honest client comes near the defaults: one with a wrong password that registers every 30
  seconds fails ten times in a window. An attacker tries 20 passwords for a user in each window.
  Three things to know before you use a limit:

    * Whoever fails often enough as a user locks that user out for the rest of the window.
      `max_per_user: :infinity` leaves the limit by address alone.
    * Behind a proxy, all clients have the address of the proxy. Give the option `:address` of
      `Sippet.DigestAuth.verify/4` then.
    * Over UDP an attacker can write any source address, and no limit by address holds him.

  Names are counted as they were sent: where your look-up takes `Bob` for `bob`, they are two
  users here, and so is the hash of a name (`:userhash`). Logins that are judged at the same time may exceed a limit by as many.

  ## The process

  The process owns a table of at most `:max_entries` counts, each under a hash of the user or the
  address, in about 250 bytes. `verify/4` reads the table in the process of its caller. Only a
  failed login waits for this process. If the process ends, all counts are lost.

  ## Options

  #{Options.docs(@schema)}
  """

  use GenServer

  @failed 1
  @refused 2

  @typedoc false
  @type subject :: {:user, realm :: String.t(), name :: term} | {:address, term}

  @doc """
  Starts a limit; raises `ArgumentError` if an option is wrong.

      iex> {:ok, pid} = Sippet.DigestAuth.FailureLimit.start_link(name: :some_failures, max_per_user: 5)
      iex> Sippet.DigestAuth.FailureLimit.stats(:some_failures)
      %{failed: 0, refused: 0, entries: 0}
      iex> GenServer.stop(pid)
      :ok

  """
  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(options) do
    options = Options.validate!(options, @schema)
    GenServer.start_link(__MODULE__, options, name: options.name)
  end

  @doc """
  The specification for a supervisor; limits of different names may run side by side.
  """
  @spec child_spec(keyword) :: Supervisor.child_spec()
  def child_spec(options) do
    %{id: {__MODULE__, options[:name]}, start: {__MODULE__, :start_link, [options]}}
  end

  @doc """
  Returns how many logins have failed and how many were refused since the start, and how many users and addresses are
  counted now.

  A rising `refused` tells that somebody tries passwords, or that a limit is too low.
  """
  @spec stats(atom) :: %{
          failed: non_neg_integer,
          refused: non_neg_integer,
          entries: non_neg_integer
        }
  def stats(name) do
    %{counters: counters} = config(name)

    %{
      failed: :counters.get(counters, @failed),
      refused: :counters.get(counters, @refused),
      entries: :ets.info(name, :size) - 1
    }
  end

  # What a login counts for: a user, and the address that it came from, unless that is not known.
  @doc false
  @spec subjects(String.t(), term, term) :: [subject]
  def subjects(realm, username, nil), do: [{:user, realm, username}]

  def subjects(realm, username, address),
    do: [{:user, realm, username}, {:address, network(address)}]

  # RFC4291§2.5.4 - who has one IPv6 address has the other 2**64 of its subnet. §2.5.5.2 - but for
  # an IPv4 address in one.
  defp network({0, 0, 0, 0, 0, 0xFFFF, high, low}), do: {:ipv4, high, low}
  defp network({a, b, c, d, _, _, _, _}), do: {:ipv6, a, b, c, d}
  defp network({a, b, c, d}), do: {:ipv4, a * 256 + b, c * 256 + d}
  defp network(other), do: other

  # Whether a login may be judged. The clock is the monotonic one, in milliseconds.
  @doc false
  @spec check(atom, [subject], integer) :: :ok | {:error, :too_many_failures}
  def check(name, subjects, now \\ now()) do
    config = config(name)

    case Enum.find(subjects, &over?(name, &1, config, now)) do
      nil ->
        :ok

      subject ->
        :counters.add(config.counters, @refused, 1)
        tell(config.telemetry, name, elem(subject, 0))
        {:error, :too_many_failures}
    end
  end

  defp tell(nil, _name, _by), do: :ok

  defp tell(module, name, by) do
    measurements = %{system_time: System.system_time()}
    module.execute([:sippet, :digest_auth, :refused], measurements, %{limit: name, by: by})
  catch
    # A listener that fails ends no login.
    _kind, _reason -> :ok
  end

  defp over?(name, subject, config, now) do
    case most(subject, config) do
      :infinity -> false
      max -> full?(:ets.lookup(name, key(subject)), max, config.window, now)
    end
  end

  defp full?([{_key, started, count}], max, window, now),
    do: count >= max and now - started < window

  defp full?([], _max, _window, _now), do: false

  # Counts a login that has failed.
  @doc false
  @spec record(atom, [subject], integer) :: :ok
  def record(name, subjects, now \\ now()) do
    config = config(name)
    :counters.add(config.counters, @failed, 1)
    keys = for subject <- subjects, most(subject, config) != :infinity, do: key(subject)
    GenServer.call(name, {:failed, keys, now})
  end

  defp most({:user, _realm, _name}, config), do: config.max_per_user
  defp most({:address, _address}, config), do: config.max_per_address

  # Of one size, however long a name somebody sent.
  defp key(subject), do: :crypto.hash(:sha256, :erlang.term_to_binary(subject))

  defp now, do: System.monotonic_time(:millisecond)

  defp config(name) do
    if :ets.whereis(name) == :undefined,
      do: raise(ArgumentError, "no failure limit named #{inspect(name)} was started")

    :ets.lookup_element(name, :config, 2)
  end

  # A row is {key, when its window began, count}. The queue has the rows in the order of their
  # windows, each once.
  @impl true
  def init(options) do
    :ets.new(options.name, [:set, :protected, :named_table, read_concurrency: true])
    config = Map.take(options, [:max_per_user, :max_per_address, :window, :telemetry])
    config = Map.put(config, :counters, :counters.new(2, [:write_concurrency]))
    listener = config.telemetry || if(Code.ensure_loaded?(:telemetry), do: :telemetry)
    config = Map.put(config, :telemetry, listener)
    :ets.insert(options.name, {:config, config})
    {:ok, schedule(Map.put(options, :queue, :queue.new()))}
  end

  @impl true
  def handle_call({:failed, keys, now}, _from, state),
    do: {:reply, :ok, Enum.reduce(keys, prune(state, now), &count(&2, &1, now))}

  @impl true
  def handle_info(:prune, state), do: {:noreply, state |> prune(now()) |> schedule()}
  def handle_info(_message, state), do: {:noreply, state}

  defp schedule(state) do
    Process.send_after(self(), :prune, state.window)
    state
  end

  defp count(%{name: table} = state, key, now) do
    if :ets.insert_new(table, {key, now, 1}) do
      bound(%{state | queue: :queue.in({now, key}, state.queue)})
    else
      :ets.update_counter(table, key, {3, 1})
      state
    end
  end

  # One row is the configuration.
  defp bound(%{name: table, max_entries: max} = state) do
    if :ets.info(table, :size) - 1 > max, do: drop(state), else: state
  end

  defp prune(state, now) do
    case :queue.peek(state.queue) do
      {:value, {started, _key}} when now - started >= state.window ->
        state |> drop() |> prune(now)

      _young_or_empty ->
        state
    end
  end

  defp drop(%{name: table} = state) do
    {{:value, {_started, key}}, queue} = :queue.out(state.queue)
    :ets.delete(table, key)
    %{state | queue: queue}
  end
end
