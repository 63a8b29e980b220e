defmodule Sippet.Rooms do
  @moduledoc false
  # The order of the library's modules: a room names rooms below it, and itself. What a module names is read from its
  # compiled functions; types do not count.

  @rooms [
    {"Sippet.Transports, Sippet.Registration, Sippet.Test, Sippet.Trace, Mix",
     "what is built upon the face: transports, registrations, tests, traces, mix tasks",
     ~w(Transports Registration Test Trace Proxy.ResponseContext Mix)},
    {"Sippet", "the face: start, send, forward, register, drain, stats", ~w(Sippet)},
    {"Sippet.Router", "the transports' door: what came in, and where a request goes", ~w(Router)},
    {"Sippet.Transactions", "machines without processes, rows, deadlines, workers, keys",
     ~w(Transactions)},
    {"Sippet.Core", "the behaviour, and the processes in which callbacks run", ~w(Core)},
    {"Sippet.Resolver", "the addresses of hosts", ~w(Resolver)},
    {"Sippet.Transport", "the behaviour, who is registered, and the one way out", ~w(Transport)},
    {"Sippet.Stack", "what the parts of a running stack share", ~w(Stack)},
    {"Sippet.Telemetry", "events and counters", ~w(Telemetry)},
    {"Sippet.Binding.Store", "where a registrar's bindings are kept", ~w(Binding.Store)},
    {"Sippet.Log", "the lines of the log, without what must not be there", ~w(Log)},
    {"Sippet.Overload", "which new requests a stack takes", ~w(Overload)},
    {"Sippet.Proxy, B2BUA, Dialog, SessionTimer, Subscription, Notifier, Refer, Replaces, UAS, Binding, DigestAuth",
     "values: no process, no stack",
     ~w(Proxy B2BUA Dialog SessionTimer Subscription Notifier Refer Replaces UAS Binding DigestAuth)},
    {"Sippet.Message", "messages, and the algebra of Via and Route", ~w(Message Flow LocalHosts)},
    {"Sippet.Headers", "values of headers from text, and back", ~w(Headers)},
    {"Sippet.URI", "URIs, their parts and their comparison", ~w(URI)},
    {"Sippet.Serializer", "the NIF's door for what is printed", ~w(Serializer)},
    {"Sippet.Native", "the NIF", ~w(Native)},
    {"Headers.Table, Names, Options, Secret, Address, Digits, ParseError",
     "what names nothing else", ~w(Headers.Table Names Options Secret Address Digits ParseError)}
  ]

  @levels for {{_title, _what, names}, level} <- @rooms |> Enum.reverse() |> Enum.with_index(),
              name <- names,
              into: %{},
              do: {name, level}

  @doc """
  The rooms, the highest first, each with what it is and the modules in it.
  """
  @spec tree() :: [{String.t(), String.t(), [module]}]
  def tree do
    by_level = Enum.group_by(modules(), &level/1)
    highest = length(@rooms) - 1

    for {{title, what, _names}, index} <- Enum.with_index(@rooms),
        do: {title, what, Enum.sort(Map.get(by_level, highest - index, []))}
  end

  @doc """
  The names of a room above: `{module, named}`.
  """
  @spec upward() :: [{module, module}]
  def upward,
    do: for({module, named} <- edges(), level(named) > level(module), do: {module, named})

  @doc """
  Every `{module, named}` among the library's modules.
  """
  @spec edges() :: [{module, module}]
  def edges do
    modules = modules()
    own = MapSet.new(modules)

    for module <- modules,
        named <- named(definitions(module), own, MapSet.new()),
        named != module,
        do: {module, named}
  end

  # Those whose source lies in lib/.
  defp modules do
    lib = Path.expand("lib")

    for path <- Path.wildcard(Path.join(Mix.Project.compile_path(), "Elixir.*.beam")),
        module = path |> Path.basename(".beam") |> String.to_atom(),
        String.starts_with?(to_string(module.module_info(:compile)[:source]), lib),
        do: module
  end

  @doc """
  The room of a module, counted from the lowest.
  """
  @spec level(module) :: non_neg_integer
  def level(module) do
    parts = parts(Module.split(module))

    Enum.find_value(length(parts)..1//-1, fn taken ->
      @levels[parts |> Enum.take(taken) |> Enum.join(".")]
    end) || raise "#{inspect(module)} is in no room: give it one in #{__ENV__.file}"
  end

  defp parts(["Sippet"]), do: ["Sippet"]
  defp parts(["Sippet" | rest]), do: rest
  # Implementations belong to the module that they are for.
  defp parts(["String", "Chars" | rest]), do: parts(rest)
  defp parts([protocol | rest]) when protocol in ["Inspect", "Enumerable"], do: parts(rest)
  defp parts(["Mix" | _rest]), do: ["Mix"]

  defp definitions(module) do
    {:ok, {^module, [debug_info: {:debug_info_v1, _backend, {:elixir_v1, data, _specs}}]}} =
      module |> :code.which() |> :beam_lib.chunks([:debug_info])

    for {_name, _kind, _meta, clauses} <- data.definitions,
        {_clause_meta, arguments, guards, body} <- clauses,
        do: [arguments, guards, body]
  end

  defp named(term, own, found) when is_atom(term),
    do: if(MapSet.member?(own, term), do: MapSet.put(found, term), else: found)

  defp named([head | tail], own, found), do: named(tail, own, named(head, own, found))
  defp named(term, own, found) when is_tuple(term), do: named(Tuple.to_list(term), own, found)
  defp named(term, own, found) when is_map(term), do: named(Map.to_list(term), own, found)
  defp named(_term, _own, found), do: found
end
