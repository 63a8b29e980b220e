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
      doc:
        "how many bindings an address-of-record may have; a request with more contacts gets 403"
    ],
    when_full: [
      type: {:one_of, [:refuse, :replace_oldest]},
      default: :refuse,
      doc:
        "whether a request for more bindings than that gets 403, or puts out the least recently " <>
          "refreshed ones"
    ],
    path: [
      type: {:one_of, [:require_supported, :accept]},
      default: :require_supported,
      doc:
        "whether a Path counts only if the request lists `path` in its Supported, and gets 420 " <>
          "otherwise (RFC 3327 §5.3), or always"
    ]
  ]

  @moduledoc """
  A binding of a location service: a contact at which an address-of-record can be reached for a
  time (RFC 3261 §10).

  The bindings of one address-of-record are a list of these structs, the least recently refreshed
  first. `register/3` takes such a list and a REGISTER, and returns the next list and the
  response:

      case Sippet.Binding.register(bindings, request) do
        {:ok, bindings, response} -> store(address_of_record, bindings); Sippet.send(stack, response)
        {:error, response} -> Sippet.reply(stack, response)
      end

  `Sippet.Binding.Store` keeps the lists, in memory, in a file or in your database.
  `address_of_record/1` is the key of a list. You take the REGISTERs of one address-of-record one
  after another (§10.3), and a store does so for you.

    * `contact` - `{display_name, uri, parameters}`, without `expires`; the `q` is among the
      parameters
    * `expires_at` - when the binding ends, in seconds since 1970
    * `call_id`, `cseq` - those of the REGISTER that made the binding
    * `deadline` - when the binding ends by the monotonic clock of this VM; `nil` by default, and
      set by the library alone
    * `instance` - the URN of the user agent, from the parameter `+sip.instance`, in the form in
      which URNs are compared; `nil` if the contact has none
    * `reg_id` - the number of the user agent's flow, from the parameter `reg-id`; `nil` if the
      contact has none, or if it was ignored (RFC 5626 §6)
    * `path` - the addresses of the Path header, from the proxy next to the registrar to the proxy
      next to the user agent (RFC 3327); `[]` by default
    * `source` - the `Sippet.Flow` by which the user agent sent its REGISTER; `nil` if the message
      has none, or if it came through a proxy

  ## One binding or two

  A contact with an instance and a `reg-id` is a flow of a user agent. It takes the place of the
  binding of the same instance and `reg-id`, whatever the contact URIs are.

  Any other contact takes the place of the binding with the same URI. If it has an instance, it
  also takes the place of the bindings of that instance that the request does not list. So a phone
  that has moved to another address leaves no binding behind. A contact whose interval is 0 ends
  the binding of its URI, and no other.

  ## Clocks

  A binding lasts for a duration, whatever becomes of the wall clock. The `deadline` counts in the
  VM that made the binding. In any other VM, as after a restart or on another node, `expires_at`
  counts, and the `deadline` is ignored. `storable/1` returns a binding without the terms that
  mean nothing to another VM.
  """

  alias Sippet.Binding.{Contact, Outbound}
  alias Sippet.{Flow, Message, Options, Secret, URI}
  alias Sippet.Message.Typed

  @enforce_keys [:contact, :expires_at, :call_id, :cseq]
  defstruct [
    :contact,
    :expires_at,
    :call_id,
    :cseq,
    :deadline,
    :instance,
    :reg_id,
    :source,
    path: []
  ]

  @typedoc "A display name, a URI and parameters, as in a Contact, a Path or a Route."
  @type address :: {String.t(), URI.t(), %{String.t() => String.t()}}

  @type t :: %__MODULE__{
          contact: address,
          expires_at: integer,
          call_id: String.t(),
          cseq: non_neg_integer,
          deadline: {vm :: non_neg_integer, seconds :: integer} | nil,
          instance: String.t() | nil,
          reg_id: pos_integer | nil,
          source: Flow.t() | nil,
          path: [address]
        }

  # The wall clock, and the monotonic one with the VM that it is of. Where the caller gives the
  # time, that is the wall clock's, and there is no other.
  @typep now :: %{wall: integer, vm: non_neg_integer | nil, monotonic: integer | nil}

  @doc """
  Returns the canonical form of a URI, which is the key of its bindings.

  The form has no parameters, headers and escapes, and the host is in lower case (§10.3 step 5).
  Pass the URI of a To, or a Request-URI.

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
  Returns the bindings after a REGISTER, and the 200 that lists them (§10.3, steps 6 to 8).

  A REGISTER is done as a whole or not at all. If it is refused, the bindings stay as they were,
  and you send the response of the error:

    * 400 - the Contact has no well-formed contact, the Path is malformed, `*` stands with another
      interval than 0, or several contacts stand beside one with a `reg-id` (RFC 5626 §6)
    * 403 - the address-of-record would have too many bindings
    * 420 with Unsupported - the user agent does not support the Path that a proxy has added
    * 423 with Min-Expires - the interval of a contact is too brief
    * 439 - the user agent asks for a flow, and the proxy next to it does not support that (RFC
      5626 §6)
    * 500 - the request is older than one of its bindings

  If some contacts of a Contact are malformed, the others are registered. You have found out
  before who may register what (steps 1 to 5).

  ## Options

  #{Options.docs(@options)}

  ## Examples

      iex> bob = {"", Sippet.URI.parse!("sip:bob@biloxi.com"), %{}}
      iex> phone = "urn:uuid:00000000-0000-1000-8000-000a95a0e128"
      iex> register = fn bindings, uri, number ->
      ...>   contact = {"", Sippet.URI.parse!(uri), %{"+sip.instance" => "<" <> phone <> ">"}}
      ...>   headers = %{to: bob, call_id: "a", cseq: {number, :register}, contact: [contact]}
      ...>   request = %{Sippet.Message.build_request(:register, "sip:biloxi.com") | headers: headers}
      ...>   Sippet.Binding.register(bindings, request)
      ...> end
      iex> {:ok, bindings, _response} = register.([], "sip:bob@192.0.2.1", 1)
      iex> {:ok, [binding], response} = register.(bindings, "sip:bob@198.51.100.7", 2)
      iex> {to_string(Sippet.Binding.uri(binding)), binding.instance == phone}
      {"sip:bob@198.51.100.7", true}
      iex> response.start_line.status_code
      200
      iex> {:error, response} = register.([binding], "sip:bob@192.0.2.1", 1)
      iex> response.start_line.status_code
      500
  """
  @spec register([t], Message.request(), keyword) ::
          {:ok, [t], Message.response()} | {:error, Message.response()}
  def register(bindings, request, options \\ []) do
    options = options!(options)
    now = now(options.now)
    current = unexpired(bindings, now)

    with {:ok, path} <- path(request, options),
         {:ok, contacts} <- contacts(request, path, options),
         registration = %{request: request, path: path, contacts: contacts, now: now},
         {:ok, bindings} <- update(current, registration, options) do
      {:ok, bindings, accepted(registration, bindings)}
    else
      {:error, status} -> {:error, refused(request, status, options)}
    end
  end

  @doc false
  @spec options!(keyword) :: map
  def options!(options), do: Options.validate!(options, @options)

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

  `now` is in seconds since 1970. Without it the clocks count, as the documentation of the module
  says.
  """
  @spec current([t], integer | nil) :: [t]
  def current(bindings, now \\ nil), do: unexpired(bindings, now(now))

  defp unexpired(bindings, now), do: Enum.filter(bindings, &(left(&1, now) > 0))

  @doc """
  Returns the contact URI of a binding.
  """
  @spec uri(t) :: URI.t()
  def uri(%__MODULE__{contact: {_name, uri, _params}}), do: uri

  @doc """
  Returns the current bindings in the order in which a proxy tries them (§16.6).

  The bindings of one q-value are one list, the most recently refreshed first. The lists stand
  from the highest q-value to the lowest. A proxy tries the bindings of a list in parallel, and
  one list after another. A contact without a q-value counts as 1.

  A user agent may have several flows, which are bindings of one `instance`. A proxy tries only
  one of them at a time (RFC 5626 §7). The first one in the list is the one to try:

      for list <- Sippet.Binding.targets(bindings),
          do: Enum.uniq_by(list, &(&1.instance || &1))
  """
  @spec targets([t], integer | nil) :: [[t]]
  def targets(bindings, now \\ nil) do
    bindings
    |> current(now)
    |> Enum.reverse()
    |> Enum.group_by(&q/1)
    |> Enum.sort_by(fn {q, _bindings} -> q end, :desc)
    |> Enum.map(fn {_q, bindings} -> bindings end)
  end

  @doc """
  Returns a binding as another VM can use it, for stores that outlive this one.

  It has no `deadline`, which only this VM knows. The `source` is `nil` if that is a connection,
  which ends with this VM. The flow of a datagram transport stays, as it is an address.

      iex> flow = %Sippet.Flow{protocol: :udp, remote: {{192, 0, 2, 1}, 5060}}
      iex> binding = %Sippet.Binding{
      ...>   contact: {"", Sippet.URI.parse!("sip:bob@192.0.2.1"), %{}},
      ...>   expires_at: 1_000, call_id: "a", cseq: 1, deadline: {1, 10}, source: flow
      ...> }
      iex> stored = Sippet.Binding.storable(binding)
      iex> {stored.deadline, stored.source == flow}
      {nil, true}
  """
  @spec storable(t) :: t
  def storable(%__MODULE__{source: %Flow{connection: connection}} = binding)
      when connection != nil,
      do: %{binding | deadline: nil, source: nil}

  def storable(%__MODULE__{} = binding), do: %{binding | deadline: nil}

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

  ## What the request says

  # RFC3327§5.3 - the Path of a request is of each of its bindings
  defp path(request, options) do
    case Message.fetch_typed(request, "Path") do
      {:ok, path} -> supported_path(path, request, options)
      :error -> {:ok, []}
      {:error, _malformed} -> {:error, 400}
    end
  end

  # RFC3327§5.3 - a user agent that does not know of Path can't see who has added one: it is the
  # recommended policy to refuse
  defp supported_path(path, request, options) do
    if options.path == :accept or Outbound.supported?(request, "path"),
      do: {:ok, path},
      else: {:error, 420}
  end

  defp contacts(%Message{headers: headers} = request, path, options) do
    case headers do
      %{contact: "*"} -> {:ok, :all}
      %{contact: contacts} -> read(contacts, request, path, options)
      %{"Contact" => _malformed} -> good_contacts(request, path, options)
      %{} -> {:ok, []}
    end
  end

  # The contacts that can be read are the sender's own, whatever stands among them.
  # RFC3261§10.2.2 - but for "*", which stands alone
  defp good_contacts(%Message{headers: headers} = request, path, options) do
    {:ok, good, bad} = Typed.each(headers, :contact)

    if good == [] or "*" in good or "*" in bad,
      do: {:error, 400},
      else: read(good, request, path, options)
  end

  defp read(contacts, request, path, options) do
    contacts
    |> Enum.map(&Contact.new(&1, request.headers[:expires] || options.default_expires))
    |> Outbound.validate(request, path)
  end

  ## Step 6

  defp update(current, %{contacts: :all, request: request}, _options),
    do: clear(current, request)

  defp update(current, registration, options), do: change(current, registration, options)

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

  # What a stranger may send in any number is counted before it is compared.
  defp change(_current, %{contacts: contacts}, %{max_bindings: max})
       when length(contacts) > max,
       do: {:error, 403}

  defp change(current, %{contacts: contacts, request: request} = registration, options) do
    {replaced, kept} = Enum.split_with(current, &replaced?(&1, contacts))

    cond do
      Enum.any?(contacts, &Contact.brief?(&1, options.min_expires)) -> {:error, 423}
      not Enum.all?(replaced, &in_order?(&1, request)) -> {:error, 500}
      true -> bounded(kept ++ made(registration, options), options)
    end
  end

  defp replaced?(binding, contacts) do
    Enum.any?(contacts, &Contact.same?(&1, binding)) or
      Enum.any?(contacts, &Contact.moved?(&1, binding))
  end

  # A contact that stands twice counts as it stands last.
  defp made(%{contacts: contacts} = registration, options) do
    contacts
    |> Enum.reduce([], fn contact, made ->
      binding = new(contact, registration, options)
      [{contact, binding} | Enum.reject(made, fn {_, other} -> Contact.same?(contact, other) end)]
    end)
    |> Enum.reverse()
    |> Enum.filter(fn {contact, _binding} -> contact.interval > 0 end)
    |> Enum.map(fn {_contact, binding} -> binding end)
  end

  defp new(contact, %{request: request, path: path, now: now}, options) do
    seconds = min(contact.interval, options.max_expires)
    {number, _method} = request.headers.cseq

    %__MODULE__{
      contact: own(contact.address),
      expires_at: now.wall + seconds,
      deadline: if(now.vm, do: {now.vm, now.monotonic + seconds}),
      call_id: own(request.headers.call_id),
      cseq: number,
      instance: own(contact.instance),
      reg_id: contact.reg_id,
      source: if(Outbound.first_hop?(request), do: request.source),
      path: own(path)
    }
  end

  # A binding is kept. Text that the parser took out of a datagram may be a part of it, and would
  # keep all of it in memory.
  defp own(text) when is_binary(text) do
    if :binary.referenced_byte_size(text) == byte_size(text), do: text, else: :binary.copy(text)
  end

  defp own([head | tail]), do: [own(head) | own(tail)]
  defp own(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> own() |> List.to_tuple()
  defp own(map) when is_map(map), do: map |> :maps.to_list() |> own() |> :maps.from_list()
  defp own(term), do: term

  # The list is in the order of the refreshes, and the request's own bindings are no more than
  # there may be.
  defp bounded(bindings, %{max_bindings: max} = options) do
    cond do
      length(bindings) <= max -> {:ok, bindings}
      options.when_full == :replace_oldest -> {:ok, Enum.take(bindings, -max)}
      true -> {:error, 403}
    end
  end

  ## Step 8

  # RFC3261§10.3 - no Record-Route, whatever the request has
  defp accepted(%{request: request, now: now} = registration, bindings) do
    request
    |> Message.to_response(200)
    |> Message.delete_header(:record_route)
    |> Message.put_header(:date, date(now.wall))
    |> listed(:contact, for(binding <- bindings, do: contact(binding, now)))
    # RFC3327§5.3 - the 200 says by which Path the user agent is reached
    |> listed("Path", Message.get_header(request, "Path", []))
    |> listed(:require, Outbound.required(registration.contacts, request))
  end

  defp date(now), do: now |> DateTime.from_unix!() |> DateTime.to_naive()

  defp contact(%__MODULE__{contact: {name, uri, params}} = binding, now),
    do: {name, uri, Map.put(params, "expires", Integer.to_string(left(binding, now)))}

  defp listed(response, _header, []), do: response
  defp listed(response, header, values), do: Message.put_header(response, header, values)

  defp refused(request, status, options) do
    response = request |> Message.to_response(status) |> Message.delete_header(:record_route)

    case status do
      420 -> Message.put_header(response, :unsupported, ["path"])
      423 -> Message.put_header(response, :min_expires, options.min_expires)
      _other -> response
    end
  end
end
