defmodule Sippet.Registration.Schema do
  @moduledoc false
  # The options of a registration: checked in the caller's process, and read into what the
  # requests need.

  alias Sippet.DigestAuth.Account
  alias Sippet.Headers.Table
  alias Sippet.{Message, Options, URI}

  # RFC5626§4.5 - of a user agent with one flow
  @base_time 30_000
  @max_time 1_800_000

  # RFC3261§20.19
  @max_expires 0xFFFFFFFF

  # Headers that the registration writes itself.
  @own [
    :via,
    :to,
    :call_id,
    :cseq,
    :contact,
    :expires,
    :route,
    :authorization,
    :proxy_authorization
  ]

  @type address :: {String.t(), URI.t(), %{String.t() => String.t()}}

  @type t :: %{
          stack: atom,
          address_of_record: URI.t(),
          registrar: URI.t(),
          contacts: [address] | nil,
          expires: pos_integer,
          credentials: Sippet.DigestAuth.authenticate() | nil,
          owner: pid | atom,
          name: term,
          instance: String.t() | nil,
          route: [address],
          headers: [{Message.header(), term}],
          base_time: pos_integer,
          max_time: pos_integer
        }

  @doc """
  The schema of the options.
  """
  @spec schema() :: Options.schema()
  def schema do
    [
      stack: [
        type: :atom,
        required: true,
        doc: "the name of the stack that sends the requests"
      ],
      address_of_record: [
        type: {:custom, &sip_uri?/1, "a SIP or SIPS URI with a host"},
        required: true,
        doc:
          "the URI to be reached at, as `\"sip:alice@atlanta.com\"`. It is the URI of To and " <>
            "From"
      ],
      registrar: [
        type: {:custom, &registrar?/1, "a SIP or SIPS URI with a host and without a user"},
        default: nil,
        doc:
          "the Request-URI, as `\"sip:atlanta.com\"`, to which the request goes. Defaults to " <>
            "the host of the address-of-record"
      ],
      contacts: [
        type: {:custom, &contacts?/1, "a list of URIs or of {display_name, uri, params}"},
        default: nil,
        doc:
          "where to reach the user. A parameter `q` may stand there, and no `expires`. " <>
            "Defaults to `Sippet.own_uri/2` with the user of the address-of-record, looked up " <>
            "for each attempt"
      ],
      expires: [
        type: {:custom, &(&1 in 1..@max_expires), "an integer in 1..#{@max_expires}"},
        default: 3_600,
        doc:
          "the seconds to ask for. A registrar grants less or more. If it finds them too " <>
            "brief, the registration asks for its minimum instead, up to a day"
      ],
      credentials: [
        type: {:custom, &credentials?/1, "{username, secret} or a function of a realm"},
        default: nil,
        doc:
          "the answer to challenges: a user with a password or digests, or a function as " <>
            "`Sippet.DigestAuth.make_request/4` takes it. The function is called for each " <>
            "request, in the process of the registration. Without credentials, a challenge is " <>
            "a failure"
      ],
      owner: [
        type: {:custom, &(is_pid(&1) or is_atom(&1)), "a process, its name, or nil"},
        default: nil,
        doc:
          "the process that gets the events. Defaults to the caller of `start_link/1`, and " <>
            "in a child specification to `nil`, nobody. The registration ends with the " <>
            "process, unless it was given by its name"
      ],
      name: [
        type: {:custom, &name?/1, "an atom, {:global, term} or {:via, module, term}"},
        default: nil,
        doc: "the name to register the process under. It stands in the events, else the pid does"
      ],
      instance: [
        type: {:custom, &urn?/1, "a URN, as \"urn:uuid:…\""},
        default: nil,
        doc:
          "a URN of this device that stays, also after a restart. It is the parameter " <>
            "`+sip.instance` of the contacts, by which a registrar replaces the binding of an " <>
            "earlier address"
      ],
      route: [
        type: {:custom, &addresses?/1, "a list of URIs or of {display_name, uri, params}"},
        default: [],
        doc: "the proxies to send the requests by, as `[\"sip:proxy.atlanta.com;lr\"]`"
      ],
      headers: [
        type: {:custom, &headers?/1, "a list or map of headers, without those of a registration"},
        default: [],
        doc:
          "more headers of each request, as `[user_agent: \"Phone/1\"]`. A From names who " <>
            "registers for somebody else. A Supported takes the place of `path`"
      ],
      base_time: [
        type: :positive,
        default: @base_time,
        doc:
          "ms, the base-time of RFC 5626 §4.5. The first repetition is after one to two " <>
            "times this"
      ],
      max_time: [
        type: {:custom, &(&1 in 1..86_400_000), "an integer in 1..86400000"},
        default: @max_time,
        doc:
          "ms, the max-time of RFC 5626 §4.5, which bounds the delays after failures. At " <>
            "most a day"
      ]
    ]
  end

  @doc """
  The options with their credentials as a function, which shows no password where it is printed.
  """
  @spec hide(keyword) :: keyword
  def hide(options) do
    case is_list(options) && List.keyfind(options, :credentials, 0) do
      {:credentials, credentials} when credentials != nil ->
        List.keyreplace(options, :credentials, 0, {:credentials, hidden(credentials)})

      _none ->
        options
    end
  end

  defp hidden({username, secret} = account) do
    if Account.read(username, secret) == :error, do: misused!()
    fn _realm -> {:ok, elem(account, 0), elem(account, 1)} end
  end

  defp hidden(function) when is_function(function, 1), do: function
  defp hidden(_other), do: misused!()

  # What was given may be a secret.
  defp misused! do
    raise ArgumentError, "expected :credentials to be {username, secret} or a function of a realm"
  end

  @doc """
  Reads the options; `ArgumentError` for one that is missing, unknown or of the wrong type.
  """
  @spec new(keyword) :: t
  def new(options) do
    config = options |> hide() |> Options.validate!(schema())
    address_of_record = URI.parse!(config.address_of_record)

    %{
      config
      | address_of_record: address_of_record,
        registrar: registrar(config.registrar, address_of_record),
        contacts: config.contacts && Enum.map(config.contacts, &address!/1),
        route: Enum.map(config.route, &address!/1),
        credentials: config.credentials && careful(config.credentials),
        headers: Enum.to_list(config.headers)
    }
  end

  # RFC3261§10.2.6 - the host of the address-of-record
  defp registrar(nil, uri), do: %{uri | userinfo: nil, parameters: nil, headers: nil}
  defp registrar(uri, _address_of_record), do: URI.parse!(uri)

  # The realm is text from the network, and no function has a clause for every one.
  defp careful(function) do
    fn realm ->
      try do
        function.(realm)
      rescue
        error in FunctionClauseError ->
          info = Function.info(function)

          if error.module == info[:module] and error.function == info[:name],
            do: {:error, :unknown_realm},
            else: reraise(error, __STACKTRACE__)
      end
    end
  end

  defp address!({name, uri, params}), do: {name, URI.parse!(uri), params}
  defp address!(uri), do: {"", URI.parse!(uri), %{}}

  defp sip_uri?(uri) when is_binary(uri) or is_struct(uri, URI) do
    # RFC3261§10.2 - the address-of-record is a SIP or SIPS URI
    match?(
      {:ok, %URI{scheme: scheme, host: host}} when scheme in ["sip", "sips"] and host != nil,
      URI.parse(uri)
    )
  end

  defp sip_uri?(_other), do: false

  # RFC3261§10.2 - no user in the Request-URI
  defp registrar?(uri), do: sip_uri?(uri) and URI.parse!(uri).userinfo == nil

  defp contacts?(contacts) do
    addresses?(contacts) and contacts != [] and
      not Enum.any?(contacts, &match?({_name, _uri, %{"expires" => _}}, &1))
  end

  defp addresses?(addresses), do: is_list(addresses) and Enum.all?(addresses, &address?/1)

  defp address?({name, uri, %{} = params}),
    do: is_binary(name) and address?(uri) and Enum.all?(params, &parameter?/1)

  defp address?(uri) when is_binary(uri) or is_struct(uri, URI),
    do: match?({:ok, _uri}, URI.parse(uri))

  defp address?(_other), do: false

  defp parameter?({name, value}), do: is_binary(name) and is_binary(value)

  defp credentials?(credentials), do: is_function(credentials, 1)

  defp name?({:global, _term}), do: true
  defp name?({:via, module, _term}), do: is_atom(module)
  defp name?(name), do: is_atom(name)

  defp urn?(urn), do: is_binary(urn) and urn =~ ~r/\Aurn:[^<>"\s[:cntrl:]]+\z/i

  defp headers?(headers) when is_map(headers) or is_list(headers) do
    Enum.all?(headers, &match?({name, _value} when is_atom(name) or is_binary(name), &1)) and
      not reserved?(headers)
  end

  defp headers?(_other), do: false

  defp reserved?(headers) do
    message = :register |> Message.build_request("sip:a.invalid") |> Message.put_headers(headers)
    Enum.any?(@own, &Message.has_header?(message, Table.name(&1)))
  end
end
