defmodule Sippet.Registration do
  alias Sippet.Registration.{Request, Schema, Server}

  @moduledoc """
  A process that registers a user agent at a registrar, and keeps it registered (RFC 3261 §10.2).

      children = [
        {Sippet, name: :phone, core: MyApp.Phone},
        {Sippet.Transports.UDP, name: :phone, port: 5060},
        {Sippet.Registration,
         stack: :phone,
         address_of_record: "sip:alice@atlanta.com",
         credentials: {"alice", "wonderland"},
         name: MyApp.Registration,
         owner: MyApp.Line}
      ]

      Supervisor.start_link(children, strategy: :one_for_one)

  The process sends a REGISTER, answers the registrar's challenges, and refreshes the bindings
  before they end. It tells its owner what becomes of them. If an attempt fails, it tries again
  later. A stack may have any number of registrations, for one address-of-record or for several.
  Your core sees nothing of the requests.

  Place it behind the stack and its transports in your supervision tree. A supervisor ends its
  children in the reverse order, so the registration can still end its bindings. If the stack or
  its transport is not there, the process looks for them every 500 ms, and then registers.

  ## Options

  #{Sippet.Options.docs(Schema.schema())}

  `ArgumentError` is raised for an option that is missing, unknown or of the wrong type.

  ## Events

  The owner gets `{:sippet_registration, registration, event}`. `registration` is the option
  `:name`, or the pid. `event` is one of:

    * `{:registered, bindings}` - the registrar has the bindings. The event follows each 200, also
      that of a refresh. `bindings` are all that the registrar has listed, as maps: `:uri`, a
      `Sippet.URI`; `:expires`, the seconds that are left; `:own?`, whether it is one of this
      registration;
    * `{:failed, reason, ms}` - an attempt has failed, and the next one is in so many
      milliseconds. Earlier bindings last until they expire;
    * `:expired` - the bindings have ended, as no refresh was successful, or as a 200 does not list
      them any more. The attempts go on;
    * `:unregistered` - the registration has ended by `unregister/2`.

  A `reason` is one of:

    * `:timeout` - nobody has answered;
    * `{:status, 300..699}` - a response of this status;
    * `:wrong_credentials` - the registrar has refused the credentials;
    * `{:challenge, term}` - a challenge could not be answered: `:no_credentials`,
      `:unknown_realm` if the function of `:credentials` has no clause for it, `:repeated` after
      five requests, or an error of `Sippet.DigestAuth.make_request/4`;
    * `:not_bound` - a 200 lists no contact of this registration;
    * `{:unreachable, term}` - the request could not be sent, or got an error of the stack:
      `:no_stack` and `:no_transport` if these are not there, a failure of the DNS or of the
      network.

  The stack also counts these events, and tells them to `Sippet.Telemetry`.

  ## Refreshing

  A refresh is sent at half of the granted time. If more than 1,200 seconds were granted, it is
  sent 600 seconds before the end, and at least once a day. It goes to the address that has
  answered before, until an attempt fails. All requests have one Call-ID, and the number of CSeq
  rises by one. The credentials of the last request are used again, with the next `nc`, or with
  the `nextnonce` of the registrar.

  A contact of the 200 is one of this registration if its URI is equivalent
  (`Sippet.URI.lazy_equivalent/2`), if it has the same `+sip.instance`, or if it has the address
  from which the registrar saw the request come.

  ## Failures

  A 408, a 480, a 5xx, a timeout and an error of the network may pass. The next attempt waits for
  50 to 100 % of `min(max_time, base_time * 2 ^ failures)` (RFC 5626 §4.5). Any other response is
  for somebody to mend, as wrong credentials are, and waits for 50 to 100 % of `max_time`. A
  Retry-After replaces either, up to a day.

  An attempt has at most five requests: the first one, and those that answer a 401, a 407 or a
  423. The minimum of a 423 counts up to a day. A 3xx is not followed. Nothing shows that the
  registrar has sent it, and the next server would get the credentials.

  If the stack ends and starts again, the process registers again.

  ## The end

  If a supervisor ends the process, or its owner ends, it sends one REGISTER more to end the
  bindings, if there may be any. It does not wait for the answer. If it crashes, the bindings stay
  until it has started again. Set `:instance` in that case, so that no binding of an earlier
  Call-ID or address is left behind.
  """

  @typedoc "The process: its pid, or the option `:name`."
  @type registration :: :gen_statem.server_ref()

  @typedoc "A binding that the registrar has listed."
  @type binding :: %{uri: Sippet.URI.t(), expires: pos_integer, own?: boolean}

  @typedoc "Why an attempt has failed; see Events."
  @type reason ::
          :timeout
          | {:status, 300..699}
          | :wrong_credentials
          | {:challenge, term}
          | :not_bound
          | {:unreachable, term}

  @typedoc "An event as the owner gets it."
  @type event ::
          {:registered, [binding]}
          | {:failed, reason, ms :: non_neg_integer}
          | :expired
          | :unregistered

  @typedoc """
  The state of a registration:

    * `:registering` - a REGISTER is on its way;
    * `:registered` - the last attempt was successful;
    * `:waiting` - the last attempt has failed, and the next one is due later;
    * `:unregistering` - a REGISTER that ends the bindings is on its way;
    * `:unregistered` - it has ended.
  """
  @type state :: :registering | :registered | :waiting | :unregistering | :unregistered

  @doc """
  Starts a registration, which sends its first request at once.

  Returns what `:gen_statem.start_link/4` returns. Raises `ArgumentError` for wrong options.
  """
  @spec start_link(keyword) :: :gen_statem.start_ret()
  def start_link(options), do: start_link(options, %{})

  @doc false
  # With options that are for tests alone: `:start_timer`, as :erlang.start_timer/3.
  @spec start_link(keyword, map) :: :gen_statem.start_ret()
  def start_link(options, private) do
    # Not Keyword's: what is no keyword list gets its error below.
    options = if is_list(options), do: put_owner(options, self()), else: options
    config = Schema.new(options)
    :ok = Request.check!(config)
    Server.start_link(config, private)
  end

  defp put_owner(options, owner) do
    if List.keymember?(options, :owner, 0), do: options, else: [{:owner, owner} | options]
  end

  @doc """
  A child specification, whose id has the name, or else the stack and the address-of-record.

  A password stands in it as a function, so that no report of a supervisor shows it. A
  registration whose owner is a pid is `:transient`: it ends with that process and is not started
  again.
  """
  @spec child_spec(keyword) :: Supervisor.child_spec()
  def child_spec(options) do
    options = options |> Schema.hide() |> put_owner(nil)
    id = options[:name] || {options[:stack], to_string(options[:address_of_record])}

    %{
      id: {__MODULE__, id},
      start: {__MODULE__, :start_link, [options]},
      restart: if(is_pid(options[:owner]), do: :transient, else: :permanent)
    }
  end

  @doc """
  Ends the bindings of a registration, and waits for the registrar's answer.

  A request that is on its way is waited for first (RFC 3261 §10.2). Returns `:ok` if the
  registrar has no bindings of this registration, else `{:error, reason}`. After `timeout`
  milliseconds it returns `{:error, :timeout}`, and the process goes on. In any case the
  registration has ended then, and its owner gets `:unregistered`. The process stays, for
  `register/1`.
  """
  @spec unregister(registration, timeout) :: :ok | {:error, reason}
  def unregister(registration, timeout \\ 5_000)
      when timeout == :infinity or (is_integer(timeout) and timeout >= 0),
      do: :gen_statem.call(registration, {:unregister, timeout})

  @doc """
  Registers again after `unregister/2`, and does nothing otherwise.

  If the end is still in progress, the registration begins after it.
  """
  @spec register(registration) :: :ok
  def register(registration), do: :gen_statem.call(registration, :register)

  @doc """
  Returns what is known of a registration:

    * `state` - see `t:state/0`;
    * `registered?` - whether the bindings have been granted, and have not expired;
    * `until` - the time at which they expire, a `DateTime` in UTC, or `nil`;
    * `bindings` - those of the last `:registered` event, `[]` if they have expired;
    * `last_error` - the reason of the last failure since then, or `nil`.
  """
  @spec info(registration) :: %{
          state: state,
          registered?: boolean,
          until: DateTime.t() | nil,
          bindings: [binding],
          last_error: reason | nil
        }
  def info(registration), do: :gen_statem.call(registration, :info)
end
