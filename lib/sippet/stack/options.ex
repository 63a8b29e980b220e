defmodule Sippet.Stack.Options do
  # `Sippet` documents them.
  @timer_options [
    t1: [
      type: :positive,
      default: 500,
      doc: "estimate of the round-trip time, in ms (RFC 3261 §17.1.1.1)"
    ],
    t2: [type: :positive, default: 4_000, doc: "longest interval between retransmissions, in ms"],
    t4: [type: :positive, default: 5_000, doc: "how long a message stays in the network, in ms"]
  ]

  # Each with the stack's name, or without.
  @callbacks [receive_request: [2, 3], receive_response: [2, 3], receive_error: [2, 3]]
  @core {:module, @callbacks,
         "receive_request/2 or /3, receive_response/2 or /3 and receive_error/2 or /3 (`use Sippet.Core` defines them)"}

  @options [
             name: [
               type: :atom,
               required: true,
               doc: "the stack's name, by which all functions know it"
             ],
             core: [
               type: @core,
               default: nil,
               doc:
                 "the `Sippet.Core`; `register_core/2` may name it later. As long as there is none, requests get 500"
             ]
           ] ++
             @timer_options ++
             [
               answer_timeout: [
                 type: :positive,
                 default: 60_000,
                 doc:
                   "ms that the core has for its first response to an INVITE, other than 100. Then the stack sends 500, " <>
                     "and the core gets the error `:no_answer`"
               ],
               ring_timeout: [
                 type: :positive,
                 # RFC3261§16.6 step 11 - above Timer C, which is larger than 3 minutes
                 default: 200_000,
                 doc:
                   "the same for an INVITE that rings: ms after its last response of 101 to 199. " <>
                     "`Sippet.Proxy.ResponseContext` sets it for its own INVITE, to its Timer C, 64·T1 and 10 s"
               ],
               max_transactions: [
                 type: :positive,
                 # 32 s of `:max_requests`: on UDP a transaction waits as long before it ends (RFC 3261 §17.2, Timers J and L).
                 default: 256_000,
                 doc:
                   "transactions at a time (up to 1.2 KB each), also those that only wait for retransmissions (32 s). " <>
                     "At the limit a new request gets 503 with Retry-After"
               ],
               max_pending: [
                 type: :limit,
                 default: 10_000,
                 doc:
                   "requests other than INVITE at a time that the core is not done with (6 to 11 KB each). At the " <>
                     "limit a new one gets 503 with Retry-After; a source that holds most of them gets it earlier"
               ],
               max_invites: [
                 type: :limit,
                 default: 10_000,
                 doc:
                   "INVITEs at a time that wait for the core, ring, or wait for the ACK of a refusal. At the limit a new " <>
                     "one takes the place of the oldest refusal, else of a stranger's oldest INVITE to which the core " <>
                     "has sent nothing, which gets 503; else it gets 503 itself"
               ],
               max_pending_bytes: [
                 type: :limit,
                 default: 64_000_000,
                 doc:
                   "bytes that the requests of `:max_pending` and `:max_invites` came with. At the limit a new one " <>
                     "gets 503 with Retry-After; a source that holds most of them gets it earlier. A request over UDP " <>
                     "may have 64 KB"
               ],
               max_requests: [
                 type: :limit,
                 default: 8_000,
                 doc:
                   "new requests a second. At the limit a new one gets 503 with Retry-After; a source that sends most " <>
                     "of them gets it earlier. The stack sends no more answers without a transaction in a second, and a " <>
                     "stateless core gets no more responses"
               ],
               stateless: [
                 type: :boolean,
                 default: false,
                 doc:
                   "whether the stack starts no server transactions. The core then gets every request, retransmissions " <>
                     "too, and every response without a transaction, with `nil` as the key; it answers by `forward/2` " <>
                     "(RFC 3261 §8.2.7, §16.11)"
               ],
               telemetry: [
                 type: {:module, [execute: [3]], "execute/3"},
                 default: nil,
                 doc:
                   "a module to execute events in, in place of `:telemetry`; see `Sippet.Telemetry`"
               ],
               resolver: [
                 type:
                   {:options,
                    [
                      nameservers: [
                        type:
                          {:custom, &__MODULE__.nameservers?/1, "a list of {ip, port}, or nil"},
                        default: nil,
                        doc: "the name servers to ask; `nil` for those of the system"
                      ],
                      timeout: [
                        type: :positive,
                        default: 3_000,
                        doc:
                          "ms after which a look-up fails; its request then fails with `:dns_timeout`"
                      ],
                      resolv_conf: [
                        type: {:custom, &is_binary/1, "a path"},
                        default: "/etc/resolv.conf",
                        doc:
                          "the file with the system's name servers, `search`, `domain` and `ndots`; it is read for each look-up"
                      ]
                    ]},
                 default: [],
                 doc: "how the stack looks up the names of hosts; see Names below"
               ],
               hosts: [
                 type:
                   {:custom, &Sippet.LocalHosts.names?/1, "a list of host names and {host, port}"},
                 default: [],
                 doc:
                   "names and addresses by which others know this stack, beside those of its transports; a name without " <>
                     "a port means 5060 and 5061. See `own?/2`"
               ],
               obey_maddr: [
                 type: :boolean,
                 default: false,
                 doc:
                   "whether a response goes to a unicast `maddr` of the topmost Via (RFC 3261 §18.2.2), and not to its " <>
                     "request's source. `true` lets strangers choose where the stack sends"
               ]
             ]

  @moduledoc false
  # The options of a stack: one schema, which is also their documentation.

  alias Sippet.{Flow, LocalHosts, Options}

  @enforce_keys Keyword.keys(@options)
  defstruct @enforce_keys ++ [private: %{}]

  @typedoc """
  The options that users know, and in `private` those that are for tests alone:

    * `:clock` - the table with the time of a stack whose time stands still (`Sippet.Transactions.Clock`)
    * `:least_d` - ms that Timer D takes at least
  """
  @type t :: %__MODULE__{
          name: atom,
          core: module | nil,
          t1: pos_integer,
          t2: pos_integer,
          t4: pos_integer,
          answer_timeout: pos_integer,
          ring_timeout: pos_integer,
          max_transactions: pos_integer,
          max_pending: pos_integer | :infinity,
          max_invites: pos_integer | :infinity,
          max_pending_bytes: pos_integer | :infinity,
          max_requests: pos_integer | :infinity,
          stateless: boolean,
          telemetry: module | nil,
          resolver: %{
            nameservers: [{:inet.ip_address(), :inet.port_number()}] | nil,
            timeout: pos_integer,
            resolv_conf: Path.t()
          },
          hosts: [String.t() | LocalHosts.host()],
          obey_maddr: boolean,
          private: map
        }

  @doc false
  @spec nameservers?(term) :: boolean
  def nameservers?(nil), do: true

  def nameservers?(list) when is_list(list),
    do: Enum.all?(list, &match?({ip, port} when is_tuple(ip) and port in 1..65_535, &1))

  def nameservers?(_other), do: false

  @doc """
  Returns whether a module can be called as a core: `:ok`, or what is expected.
  """
  @spec check_core(module) :: :ok | {:error, String.t()}
  def check_core(module) do
    Options.validate!([core: module], core: [type: @core])
    :ok
  rescue
    error in ArgumentError -> {:error, Exception.message(error)}
  end

  @doc """
  The options that users know.
  """
  @spec schema() :: Options.schema()
  def schema, do: @options

  @doc """
  The options of `Sippet.own_uri/2`.
  """
  @spec own_uri() :: Options.schema()
  def own_uri do
    [
      user: [
        type: {:custom, &is_binary/1, "text"},
        default: nil,
        doc: "the user part, as it stands in a URI: escaped where it has to be"
      ],
      flow: [
        type: {:custom, &is_struct(&1, Flow), "a Sippet.Flow"},
        default: nil,
        doc: "the `source` of a message: the URI is that of its transport, if that has an address"
      ],
      scheme: [
        type: {:custom, &(&1 in ["sip", "sips"]), "\"sip\" or \"sips\""},
        default: "sip",
        doc: "the scheme; the Contact of a dialog that was made by a SIPS URI is a SIPS URI"
      ],
      lr: [
        type: :boolean,
        default: false,
        doc: "whether the URI has the parameter `lr`, as a Record-Route needs it"
      ]
    ]
  end

  @doc """
  The options with their defaults, or `ArgumentError`.
  """
  @spec new(keyword, map) :: t
  def new(options, private \\ %{}),
    do: struct!(__MODULE__, options |> Options.validate!(@options) |> Map.put(:private, private))
end
