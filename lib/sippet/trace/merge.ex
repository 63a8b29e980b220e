defmodule Sippet.Trace.Merge do
  @moduledoc false
  # Which calls are legs of one: what a back-to-back user agent has taken on one side and made on
  # the other has two Call-IDs. One walk over all messages, in the order of their times, finds
  # what joins two calls:
  #
  #   * an identifier that both have, wherever they went: of these the first call that had it is
  #     remembered;
  #   * a likeness, of a call that begins at a host with one in progress that has come to that
  #     host. It may be a likeness by chance. So the call must have nothing else that joins it,
  #     and the other must be the only one, or the only one that has no such leg yet.
  #
  # Calls that are joined by way of others are legs of one too. The work grows as the messages: a
  # value that more than a few calls in progress have tells nothing, and is not looked through.

  alias Sippet.{Message, URI}
  alias Sippet.Message.{RequestLine, StatusLine}
  alias Sippet.Trace.{Call, Entry}

  # RFC7989§5 - what stands for an identifier that is not known yet
  @null String.duplicate("0", 32)

  # More calls in progress that are alike are not told apart.
  @alike 32

  @by [:references, :session_id, :charging_vector, :origin, :users]

  # RFC3891, RFC3911, RFC4538 - each begins with the Call-ID of another dialog
  @referring ["Replaces", "Join", "Target-Dialog"]

  @options [
    call_ids: [
      type: {:custom, &__MODULE__.texts?/1, "a list of Call-IDs"},
      default: [],
      doc: "Call-IDs of legs that belong together, whatever they have in common"
    ],
    headers: [
      type: {:custom, &__MODULE__.texts?/1, "a list of names"},
      default: [],
      doc: "names of headers: calls in which one of them has the same value belong together"
    ],
    by: [
      type: {:custom, &__MODULE__.by?/1, "a list of #{inspect(@by)}"},
      default: @by,
      doc: "what else joins two calls; `[]` for nothing"
    ]
  ]

  @doc """
  The schema of the options for `Sippet.Options`.
  """
  @spec options() :: Sippet.Options.schema()
  def options, do: @options

  # `legs` has the call of each Call-ID, by its number. `ids` has the first call of each
  # identifier, `likes` the calls in progress of each likeness, and `keys` those of a call.
  # `joined` calls have a join, `taken` ones are that of another's likeness.
  @enforce_keys [:options, :legs, :left]
  defstruct [
    :options,
    :legs,
    :left,
    closed: MapSet.new(),
    begun: MapSet.new(),
    ids: %{},
    likes: %{},
    keys: %{},
    joined: MapSet.new(),
    taken: MapSet.new(),
    joins: MapSet.new()
  ]

  @spec merge([Call.t()], map) :: [Call.t()]
  def merge(calls, options) do
    options = %{options | headers: Enum.map(options.headers, &String.downcase(&1, :ascii))}
    numbered = Enum.with_index(calls)

    legs = for {call, n} <- numbered, id <- Call.ids(call), id != nil, into: %{}, do: {id, n}

    state = %__MODULE__{
      options: options,
      legs: legs,
      left: Map.new(numbered, fn {call, n} -> {n, length(call.entries)} end)
    }

    joins =
      numbered
      |> Enum.flat_map(fn {call, n} -> for entry <- call.entries, do: {n, entry} end)
      # The sort is stable.
      |> Enum.sort_by(fn {_n, entry} -> entry.time || 0 end)
      |> Enum.reduce(named(state), &look/2)
      |> Map.fetch!(:joins)

    parts(calls, joins)
  end

  defp named(%{options: %{call_ids: ids}, legs: legs} = state) do
    case ids |> Enum.map(&legs[&1]) |> Enum.reject(&is_nil/1) do
      [] -> state
      [first | others] -> Enum.reduce(others, state, &join(&2, &1, first))
    end
  end

  ## One message

  # What has no Call-ID is of no call.
  defp look({_n, %Entry{call_id: nil}}, state), do: state

  defp look({n, entry}, state) do
    state =
      case Message.parse(entry.octets) do
        {:ok, message} -> state |> identify(n, message) |> compare(n, entry, message)
        {:error, _reason} -> state
      end

    over(state, n, entry)
  end

  # A call is in progress until its last message, or to the end where none of its messages could
  # be the last, or it has no times.
  defp over(state, n, entry) do
    left = state.left[n] - 1
    closed = if closes?(entry), do: MapSet.put(state.closed, n), else: state.closed
    state = %{state | left: Map.put(state.left, n, left), closed: closed}

    if left == 0 and entry.time != nil and MapSet.member?(closed, n),
      do: forget(state, n),
      else: state
  end

  # A BYE, a refusal, or any final response to another request than INVITE.
  defp closes?(%Entry{octets: <<"SIP/2.0 ", ?2, _rest::binary>>, method: method}),
    do: method != :invite

  defp closes?(%Entry{octets: <<"SIP/2.0 ", class, _rest::binary>>}), do: class in ?3..?6
  defp closes?(%Entry{method: method}), do: method == :bye

  defp forget(state, n) do
    {keys, all} = Map.pop(state.keys, n, [])

    likes =
      Enum.reduce(keys, state.likes, fn key, likes ->
        case likes do
          %{^key => alike} when map_size(alike) == 1 -> Map.delete(likes, key)
          %{^key => alike} -> Map.put(likes, key, Map.delete(alike, n))
          %{} -> likes
        end
      end)

    %{state | keys: all, likes: likes}
  end

  ## Identifiers

  defp identify(state, n, message) do
    state =
      Enum.reduce(referred(message, state.options), state, fn id, state ->
        case state.legs do
          %{^id => other} -> join(state, n, other)
          %{} -> state
        end
      end)

    Enum.reduce(ids(message, state.options), state, &note(&1, &2, n))
  end

  defp note(id, %{ids: ids} = state, n) do
    case ids do
      %{^id => other} -> join(state, n, other)
      %{} -> %{state | ids: Map.put(ids, id, n)}
    end
  end

  defp ids(message, %{by: by, headers: names}) do
    session = if :session_id in by, do: session_ids(message), else: []
    charging = if :charging_vector in by, do: charging_ids(message), else: []
    session ++ charging ++ named_values(message, names)
  end

  # RFC7989§5
  defp session_ids(message) do
    case Message.fetch_typed(message, "Session-ID") do
      {:ok, {local, params}} ->
        for id <- [local, params["remote"]],
            is_binary(id),
            id = String.downcase(id, :ascii),
            id != @null,
            do: {:session, id}

      _none ->
        []
    end
  end

  # RFC7315§4.6 - the icid-value is unique for a session
  defp charging_ids(message) do
    case Message.fetch_typed(message, "P-Charging-Vector") do
      {:ok, %{"icid-value" => value}} when is_binary(value) -> [{:charging, value}]
      _none -> []
    end
  end

  defp named_values(_message, []), do: []

  defp named_values(message, names) do
    for {name, value} <- lines(message),
        name in names,
        do: {:header, name, value}
  end

  # Headers that have no type, by their names in small letters.
  defp lines(%Message{headers: headers}) do
    for {name, lines} <- headers,
        is_binary(name) and is_list(lines),
        name = String.downcase(name, :ascii),
        line <- lines,
        is_binary(line),
        do: {name, String.trim(line)}
  end

  # Call-IDs of other calls.
  defp referred(message, %{by: by}) do
    if :references in by,
      do:
        referring(message) ++ refer_to(message) ++ for({"x-" <> _, id} <- lines(message), do: id),
      else: []
  end

  defp referring(message) do
    for name <- @referring,
        {:ok, {id, _params}} <- [Message.fetch_typed(message, name)],
        do: id
  end

  # RFC3515§2.1, RFC3891§4 - the headers of the URI are those of the request to come
  defp refer_to(message) do
    with {:ok, {_name, %URI{headers: headers}, _params}} when is_binary(headers) <-
           Message.fetch_typed(message, "Refer-To") do
      for {name, value} <- URI.decode_headers(headers),
          String.downcase(name, :ascii) in ["replaces", "join"],
          is_binary(value),
          do: value |> String.split(";", parts: 2) |> hd() |> String.trim()
    else
      _none -> []
    end
  end

  ## Likenesses

  defp compare(state, n, entry, message) do
    first? = match?(%RequestLine{}, message.start_line) and not MapSet.member?(state.begun, n)
    state = if first?, do: %{state | begun: MapSet.put(state.begun, n)}, else: state
    likenesses = likenesses(state.options.by, entry, message, first?)
    from = left(entry)
    sought = for {:seek, what} <- likenesses, do: {what, from}
    kept = for {:keep, what} <- likenesses, place <- reached(entry), do: {what, place}
    state = Enum.reduce(sought, state, &seek(&1, &2, n))
    Enum.reduce(kept, state, &keep(&1, &2, n))
  end

  # Hosts have ports that change. Between two programs of one host the port tells them apart.
  defp left(%Entry{source: {host, _port} = address, destination: {host, _other}}), do: address
  defp left(%Entry{source: {host, _port}}), do: host

  defp reached(%Entry{destination: {host, _port} = address}), do: [host, address]

  defp likenesses(by, entry, message, first?) do
    origins = if :origin in by, do: origin(entry, message), else: []
    users = if :users in by and first?, do: users(message), else: []
    both = origins ++ users

    Enum.map(both, &{:seek, &1}) ++
      Enum.map(both, &{:keep, &1}) ++
      if(:references in by, do: transfer(message, first?), else: [])
  end

  # RFC8866§5.2 - all but the version is the session's own
  @origin ~r/^o=(\S{1,100}) (\S{1,100}) \S{1,100} (IN \S{1,10} \S{1,100})/m

  defp origin(%Entry{sdp?: true}, %Message{body: body}) do
    case Regex.run(@origin, body, capture: :all_but_first) do
      nil -> []
      parts -> [{:origin, Enum.map(parts, &:binary.copy/1)}]
    end
  end

  defp origin(_entry, _message), do: []

  defp users(%Message{start_line: %RequestLine{method: method}, headers: headers}) do
    with {_, %URI{} = from, _} <- headers[:from],
         {_, %URI{} = to, _} <- headers[:to],
         from when from not in [nil, "", "anonymous"] <- user(from),
         to when to not in [nil, ""] <- user(to) do
      [{:users, method, from, to}]
    else
      _unknown -> []
    end
  end

  defp user(%URI{userinfo: nil, host: nil, authority: authority}), do: authority
  defp user(%URI{userinfo: nil}), do: nil
  defp user(%URI{userinfo: info}), do: info |> String.split([":", ";"], parts: 2) |> hd()

  # RFC3515§2.4.1 - who got a REFER sends a request to its Refer-To
  defp transfer(%Message{start_line: %RequestLine{method: :refer}} = message, _first?) do
    case Message.fetch_typed(message, "Refer-To") do
      {:ok, {_name, %URI{} = uri, _params}} -> [{:keep, place(uri)}]
      _none -> []
    end
  end

  defp transfer(%Message{start_line: %RequestLine{request_uri: uri}}, true),
    do: [{:seek, place(uri)}]

  defp transfer(%Message{start_line: %StatusLine{}}, _first?), do: []
  defp transfer(_message, _first?), do: []

  defp place(%URI{} = uri),
    do: {:transfer, user(uri), uri.host && String.downcase(uri.host, :ascii), uri.port}

  defp keep(key, state, n) do
    case state.likes do
      %{^key => %{^n => _true}} ->
        state

      likes ->
        alike = likes |> Map.get(key, %{}) |> Map.put(n, true)
        keys = Map.update(state.keys, n, [key], &[key | &1])
        %{state | likes: Map.put(likes, key, alike), keys: keys}
    end
  end

  defp seek(key, state, n) do
    alike = state.likes |> Map.get(key, %{}) |> Map.delete(n)

    if MapSet.member?(state.joined, n) or map_size(alike) > @alike,
      do: state,
      else: take(state, n, only(Map.keys(alike), state.taken))
  end

  defp only([other], _taken), do: other

  defp only(others, taken) do
    case Enum.reject(others, &MapSet.member?(taken, &1)) do
      [other] -> other
      _none_or_several -> nil
    end
  end

  defp take(state, _n, nil), do: state

  defp take(state, n, other) do
    state = join(state, n, other)
    %{state | taken: MapSet.put(state.taken, other)}
  end

  ## Joins

  defp join(state, n, n), do: state

  defp join(state, n, other) do
    joined = state.joined |> MapSet.put(n) |> MapSet.put(other)
    %{state | joins: MapSet.put(state.joins, {n, other}), joined: joined}
  end

  # The calls that hang together, each where its first one stands.
  defp parts(calls, joins) do
    near =
      Enum.reduce(joins, %{}, fn {one, other}, near ->
        near
        |> Map.update(one, [other], &[other | &1])
        |> Map.update(other, [one], &[one | &1])
      end)

    numbers = Enum.to_list(0..(length(calls) - 1)//1)

    {firsts, _seen} =
      Enum.flat_map_reduce(numbers, MapSet.new(), fn n, seen ->
        if MapSet.member?(seen, n) do
          {[], seen}
        else
          part = reach([n], near, MapSet.new([n]))
          {[Enum.sort(part)], Enum.into(part, seen)}
        end
      end)

    calls = List.to_tuple(calls)
    for part <- firsts, do: part |> Enum.map(&elem(calls, &1)) |> Call.join()
  end

  defp reach([], _near, part), do: part

  defp reach([n | rest], near, part) do
    new = near |> Map.get(n, []) |> Enum.uniq() |> Enum.reject(&MapSet.member?(part, &1))
    reach(new ++ rest, near, Enum.into(new, part))
  end

  ## What options may be

  @doc false
  @spec texts?(term) :: boolean
  def texts?(value), do: is_list(value) and Enum.all?(value, &(is_binary(&1) and &1 != ""))

  @doc false
  @spec by?(term) :: boolean
  def by?(value), do: is_list(value) and Enum.all?(value, &(&1 in @by))
end
