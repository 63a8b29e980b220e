defmodule Sippet.Binding do
  @options [
    now: [
      type: {:custom, &is_integer/1, "seconds since 1970"},
      default: nil,
      doc: "the time to go by, instead of the clocks; bindings are then judged by `expires_at`"
    ],
    default_expires: [
      type: :positive,
      default: 3_600,
      doc: "seconds that a binding lives if the request says nothing"
    ],
    min_expires: [
      type: :positive,
      default: 60,
      doc: "seconds below which a request gets 423; a request for an hour or more never does"
    ],
    max_expires: [
      type: :positive,
      default: 86_400,
      doc: "seconds that a binding lives at most, whatever the request says"
    ],
    max_bindings: [
      type: :positive,
      default: 16,
      doc: "how many bindings an address-of-record may have; a request for more gets 403"
    ]
  ]

  @moduledoc """
  A binding of a location service: an address-of-record can be reached at a contact, for a time (RFC 3261 §10).

  The bindings of one address-of-record are a list of these structs. The functions here say what becomes of the list;
  where it is kept, under the key that `address_of_record/1` gives, is the application's choice: a table, a database.

      case Sippet.Binding.register(bindings, request) do
        {:ok, bindings, response} -> store(address_of_record, bindings); Sippet.send(stack, response)
        {:error, response} -> Sippet.reply(stack, response)
      end

  REGISTERs are to be taken one after another for each address-of-record (§10.3): do both halves in one process, or in
  one transaction of the database.

    * `contact` - `{display_name, uri, parameters}`, without `expires`
    * `expires_at` - when it ends, in seconds since 1970
    * `call_id`, `cseq` - of the REGISTER that made it
    * `deadline` - when it ends by the monotonic clock of this VM; of the library alone, and `nil` by default

  A binding lasts for a duration, whatever becomes of the wall clock: in the VM that made it, `deadline` counts. In any
  other VM, as after a restart or on another node, `expires_at` counts. Store the four other fields, or all: a
  `deadline` of another VM is passed over.
  """

  alias Sippet.{Digits, Message, Options, Secret, URI}
  alias Sippet.Message.Typed

  @enforce_keys [:contact, :expires_at, :call_id, :cseq]
  defstruct [:contact, :expires_at, :call_id, :cseq, :deadline]

  @type t :: %__MODULE__{
          contact: {String.t(), URI.t(), %{String.t() => String.t()}},
          expires_at: integer,
          call_id: String.t(),
          cseq: non_neg_integer,
          deadline: {vm :: non_neg_integer, seconds :: integer} | nil
        }

  # The wall clock, and the monotonic one with the VM that it is of. Where the caller gives the time, that is the wall
  # clock's, and there is no other.
  @typep now :: %{wall: integer, vm: non_neg_integer | nil, monotonic: integer | nil}

  # RFC3261§10.3 - a request for as long as this is never too brief
  @hour 3_600

  @doc """
  The canonical form of a URI, by which its bindings are found: without parameters, headers and escapes, the host in
  lower case (§10.3 step 5). It is for a To and for a Request-URI alike.

      iex> Sippet.Binding.address_of_record(Sippet.URI.parse!("sip:%62ob@Biloxi.COM;user=phone"))
      "sip:bob@biloxi.com"
  """
  @spec address_of_record(URI.t()) :: String.t()
  def address_of_record(%URI{host: nil} = uri), do: "#{uri.scheme}:#{uri.authority}"

  def address_of_record(%URI{} = uri) do
    user = if uri.userinfo, do: URI.percent_unescape(uri.userinfo) <> "@"
    port = if uri.port != URI.default_port(uri.scheme), do: ":#{uri.port}"
    "#{uri.scheme}:#{user}#{String.downcase(uri.host, :ascii)}#{port}"
  end

  @doc """
  Takes a REGISTER, and gives the bindings after it with the 200 that lists them (§10.3, steps 6 to 8).

  All of a request is done, or nothing: the error is the response to send then, and the bindings
  stay as they were. Of a Contact that is malformed in part, the contacts that are well-formed
  count. The response is 400 for a Contact that has none, 423 with Min-Expires, 500 for a request
  that is older than a binding of its own, 403 for too many bindings. Who may register what, steps
  1 to 5, was found out before.

  Options:

  #{Options.docs(@options)}
  """
  @spec register([t], Message.request(), keyword) ::
          {:ok, [t], Message.response()} | {:error, Message.response()}
  def register(bindings, request, options \\ []) do
    options = Options.validate!(options, @options)
    now = now(options.now)
    current = unexpired(bindings, now)

    case update(current, request, now, options) do
      {:ok, bindings} -> {:ok, bindings, accepted(request, bindings, now)}
      {:error, status} -> {:error, refused(request, status, options)}
    end
  end

  @spec now(integer | nil) :: now
  defp now(nil) do
    <<vm::64, _rest::binary>> = Secret.fetch(__MODULE__)
    %{wall: System.os_time(:second), vm: vm, monotonic: System.monotonic_time(:second)}
  end

  defp now(seconds) when is_integer(seconds), do: %{wall: seconds, vm: nil, monotonic: nil}

  defp left(%__MODULE__{deadline: {vm, at}}, %{vm: vm, monotonic: now}), do: at - now
  defp left(%__MODULE__{expires_at: at}, %{wall: now}), do: at - now

  @doc """
  Returns the bindings that have not expired.

  `now` is in seconds since 1970. Without it the clocks count, as the documentation of the module says.
  """
  @spec current([t], integer | nil) :: [t]
  def current(bindings, now \\ nil), do: unexpired(bindings, now(now))

  defp unexpired(bindings, now), do: Enum.filter(bindings, &(left(&1, now) > 0))

  @doc """
  The URIs of the bindings that are current, those of one q-value in one list, from the highest to the lowest (§16.6): a
  proxy may try those of a list in parallel, and the lists one after another.
  """
  @spec targets([t], integer | nil) :: [[URI.t()]]
  def targets(bindings, now \\ nil) do
    bindings
    |> current(now)
    |> Enum.group_by(&q/1, fn %__MODULE__{contact: {_name, uri, _params}} -> uri end)
    |> Enum.sort_by(fn {q, _uris} -> q end, :desc)
    |> Enum.map(fn {_q, uris} -> uris end)
  end

  # Octets of a q-value that are read: a float in full has no more digits than 17 and an exponent.
  @longest_q 24

  # One that says nothing is as good as any.
  defp q(%__MODULE__{contact: {_name, _uri, %{"q" => q}}}) when byte_size(q) <= @longest_q do
    case Float.parse(q) do
      {q, ""} when q >= 0 and q <= 1 -> q
      _malformed -> 1.0
    end
  end

  defp q(%__MODULE__{}), do: 1.0

  ## Step 6

  defp update(current, %Message{headers: headers} = request, now, options) do
    case headers do
      %{contact: "*"} -> clear(current, request)
      %{contact: contacts} -> change(current, contacts, request, now, options)
      %{"Contact" => _malformed} -> change_good(current, request, now, options)
      %{} -> {:ok, current}
    end
  end

  # The contacts that can be read are the sender's own, whatever stands among them.
  # RFC3261§10.2.2 - but for "*", which stands alone
  defp change_good(current, %Message{headers: headers} = request, now, options) do
    {:ok, good, bad} = Typed.each(headers, :contact)

    if good == [] or "*" in good or "*" in bad,
      do: {:error, 400},
      else: change(current, good, request, now, options)
  end

  # RFC3261§10.3 - "*" is for Expires: 0 alone
  defp clear(current, %Message{headers: %{expires: 0}} = request) do
    if Enum.all?(current, &in_order?(&1, request)), do: {:ok, []}, else: {:error, 500}
  end

  defp clear(_current, _request), do: {:error, 400}

  # RFC3261§10.3 - of the same Call-ID, a lower or equal number is of an older request
  defp in_order?(%__MODULE__{call_id: call_id, cseq: last}, %Message{headers: headers}) do
    {number, _method} = headers.cseq
    headers.call_id != call_id or number > last
  end

  ## Step 7

  defp change(current, contacts, request, now, options) do
    wanted = for contact <- contacts, do: {contact, interval(contact, request, options)}

    cond do
      length(wanted) > options.max_bindings -> {:error, 403}
      Enum.any?(wanted, fn {_contact, interval} -> brief?(interval, options) end) -> {:error, 423}
      not Enum.all?(wanted, &acceptable?(&1, current, request)) -> {:error, 500}
      true -> bounded(Enum.reduce(wanted, current, &put(&1, &2, request, now, options)), options)
    end
  end

  defp interval({_name, _uri, %{"expires" => expires}}, _request, _options), do: seconds(expires)
  defp interval(_contact, %Message{headers: %{expires: expires}}, _options), do: expires
  defp interval(_contact, _request, options), do: options.default_expires

  # RFC3261§20.10 - a malformed value is as good as 3600, and the largest is 2**32-1
  defp seconds(text) do
    case Digits.parse(text, 0xFFFFFFFF) do
      {:ok, seconds} -> seconds
      :error -> @hour
    end
  end

  defp brief?(interval, options),
    do: interval > 0 and interval < @hour and interval < options.min_expires

  defp acceptable?({{_name, uri, _params}, _interval}, current, request),
    do: current |> Enum.filter(&same?(&1, uri)) |> Enum.all?(&in_order?(&1, request))

  defp same?(%__MODULE__{contact: {_name, uri, _params}}, other), do: URI.equivalent(uri, other)

  defp put({{name, uri, params}, interval}, bindings, request, now, options) do
    others = Enum.reject(bindings, &same?(&1, uri))
    {number, _method} = request.headers.cseq

    if interval == 0 do
      others
    else
      seconds = min(interval, options.max_expires)

      others ++
        [
          %__MODULE__{
            contact: {name, uri, Map.delete(params, "expires")},
            expires_at: now.wall + seconds,
            deadline: if(now.vm, do: {now.vm, now.monotonic + seconds}),
            call_id: request.headers.call_id,
            cseq: number
          }
        ]
    end
  end

  defp bounded(bindings, options) do
    if length(bindings) > options.max_bindings, do: {:error, 403}, else: {:ok, bindings}
  end

  ## Step 8

  # RFC3261§10.3 - no Record-Route, whatever the request has
  defp accepted(request, bindings, now) do
    response =
      request
      |> Message.to_response(200)
      |> Message.delete_header(:record_route)
      |> Message.put_header(:date, date(now.wall))

    case for(binding <- bindings, do: contact(binding, now)) do
      [] -> response
      contacts -> Message.put_header(response, :contact, contacts)
    end
  end

  defp date(now), do: now |> DateTime.from_unix!() |> DateTime.to_naive()

  defp contact(%__MODULE__{contact: {name, uri, params}} = binding, now),
    do: {name, uri, Map.put(params, "expires", Integer.to_string(left(binding, now)))}

  defp refused(request, 423, options) do
    request
    |> Message.to_response(423)
    |> Message.delete_header(:record_route)
    |> Message.put_header(:min_expires, options.min_expires)
  end

  defp refused(request, status, _options),
    do: request |> Message.to_response(status) |> Message.delete_header(:record_route)
end
