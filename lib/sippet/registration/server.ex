defmodule Sippet.Registration.Server do
  @moduledoc false
  # The process of a registration. Its states are documented above their functions. It owns the
  # transactions of its requests, one at a time.
  #
  # An attempt is one request and those that answer its challenges and its 423. Timers are plain
  # messages
  # `{:timeout, ref, name}`, so that a test can be the clock.

  @behaviour :gen_statem

  alias Sippet.{Flow, Message, Stack, Telemetry}
  alias Sippet.Registration.{Delay, Request, Response, Schema}
  alias Sippet.Transactions.Client

  # Requests of one attempt: a registrar that always asks anew is left in peace.
  @most_requests 5

  # ms between two looks for a stack that is not there.
  @stack_interval 500

  # Milliseconds that a timer of the VM can have at most: 49 days.
  @longest_timer 4_000_000_000

  @enforce_keys [:config, :base, :start_timer]
  defstruct [
    :config,
    :base,
    :start_timer,
    :expires,
    # The request on its way.
    :sent,
    # Where the answer came from last.
    :target,
    :nonce,
    :until,
    :last_error,
    :stack_monitor,
    :owner_monitor,
    # Why the process waits for its stack.
    :missing,
    number: 0,
    failures: 0,
    contacts: [],
    credentials: %{},
    bindings: [],
    # Whether the registrar may have a binding of ours.
    bound?: false,
    registered?: false,
    # Who wait for the end of the registration, and whether it is to begin again after that.
    leaving: [],
    again?: false,
    timers: %{}
  ]

  @typep sent :: %{
           request: Message.request(),
           key: Client.Key.t(),
           left: non_neg_integer,
           reused?: boolean,
           bound?: boolean
         }
  @typep t :: %__MODULE__{
           config: Schema.t(),
           base: Message.request(),
           start_timer: (non_neg_integer, pid, term -> reference),
           sent: sent | nil,
           target: Flow.t() | nil
         }
  @typep result :: :gen_statem.event_handler_result(atom)

  @doc """
  Starts the process.
  """
  @spec start_link(Schema.t(), map) :: :gen_statem.start_ret()
  def start_link(%{name: nil} = config, private),
    do: :gen_statem.start_link(__MODULE__, {config, private}, hibernate_after: 60_000)

  def start_link(%{name: name} = config, private) do
    name = if is_atom(name), do: {:local, name}, else: name
    :gen_statem.start_link(name, __MODULE__, {config, private}, hibernate_after: 60_000)
  end

  @impl true
  def callback_mode, do: :state_functions

  @impl true
  def init({config, private}) do
    # The bindings end with the process.
    Process.flag(:trap_exit, true)

    data = %__MODULE__{
      config: config,
      base: Request.new(config),
      expires: config.expires,
      owner_monitor: if(is_pid(config.owner), do: Process.monitor(config.owner)),
      start_timer: Map.get(private, :start_timer, &:erlang.start_timer/3)
    }

    {:ok, :waiting, data, {:next_event, :internal, :attempt}}
  end

  ## States

  @doc """
  There is no request on its way. The timer `:attempt` begins the next attempt.
  """
  @spec waiting(:gen_statem.event_type(), term, t) :: result
  def waiting(:internal, :attempt, data), do: attempt(data)
  def waiting({:call, from}, {:unregister, timeout}, data), do: leave(from, timeout, data)
  def waiting(type, event, data), do: common(type, event, :waiting, data)

  @doc """
  A REGISTER is on its way.
  """
  @spec registering(:gen_statem.event_type(), term, t) :: result
  def registering(:info, {:sippet, _stack, key, event}, %{sent: %{key: key}} = data),
    do: answered(event, :registering, data)

  # RFC3261§10.2 - no new registration before the final response to the one before
  def registering({:call, from}, {:unregister, timeout}, data),
    do: {:keep_state, await(from, timeout, data)}

  def registering(type, event, data), do: common(type, event, :registering, data)

  @doc """
  The registrar has the bindings. The timer `:attempt` refreshes them.
  """
  @spec registered(:gen_statem.event_type(), term, t) :: result
  def registered({:call, from}, {:unregister, timeout}, data), do: leave(from, timeout, data)
  def registered(type, event, data), do: common(type, event, :registered, data)

  @doc """
  The REGISTER that ends the bindings is on its way.
  """
  @spec unregistering(:gen_statem.event_type(), term, t) :: result
  def unregistering(:info, {:sippet, _stack, key, event}, %{sent: %{key: key}} = data),
    do: answered(event, :unregistering, data)

  def unregistering({:call, from}, {:unregister, timeout}, data),
    do: {:keep_state, await(from, timeout, data)}

  def unregistering(type, event, data), do: common(type, event, :unregistering, data)

  @doc """
  The registration has ended, until somebody wants it again.
  """
  @spec unregistered(:gen_statem.event_type(), term, t) :: result
  def unregistered({:call, from}, {:unregister, timeout}, %{bound?: true} = data),
    do: leave(from, timeout, data)

  def unregistered({:call, from}, {:unregister, _timeout}, data),
    do: {:keep_state, data, {:reply, from, :ok}}

  def unregistered({:call, from}, :register, data), do: attempt(data, [{:reply, from, :ok}])
  def unregistered(type, event, data), do: common(type, event, :unregistered, data)

  ## Events of all states

  defp common({:call, from}, :info, state, data),
    do: {:keep_state, data, {:reply, from, info(state, data)}}

  # Whoever wants it to end after that takes this back.
  defp common({:call, from}, :register, _state, data),
    do: {:keep_state, %{data | again?: true}, {:reply, from, :ok}}

  defp common(:info, {:timeout, ref, name}, state, data) do
    case data.timers do
      %{^name => ^ref} -> due(name, state, %{data | timers: Map.delete(data.timers, name)})
      _stopped -> {:keep_state, data}
    end
  end

  defp common(:info, {:DOWN, ref, :process, _pid, _reason}, state, %{stack_monitor: ref} = data),
    do: stack_down(state, %{data | stack_monitor: nil})

  defp common(:info, {:DOWN, ref, :process, _pid, _reason}, _state, %{owner_monitor: ref} = data),
    do: {:stop, :normal, data}

  # A process that traps exits ends all the same with one that it is linked to.
  defp common(:info, {:EXIT, _pid, reason}, _state, data) when reason != :normal,
    do: {:stop, reason, data}

  # Responses of requests that are over, and whatever else.
  defp common(_type, _event, _state, data), do: {:keep_state, data}

  defp info(state, data) do
    data
    |> Map.take([:registered?, :until, :bindings, :last_error])
    |> Map.put(:state, state)
  end

  defp due(:attempt, _state, data), do: attempt(data)

  defp due(:expiry, _state, data), do: {:keep_state, expire(data)}

  defp due({:unregister, _from} = name, _state, data) do
    {late, leaving} = Enum.split_with(data.leaving, &(&1 == name))
    replies = for {:unregister, from} <- late, do: {:reply, from, {:error, :timeout}}
    # The waiting is over, and not the ending: nobody is left to be told of it.
    {:keep_state, %{data | leaving: if(leaving == [], do: [nil], else: leaving)}, replies}
  end

  defp expire(%{registered?: false} = data), do: data

  defp expire(data) do
    data = forget(data)
    tell(data, :expired)
    emit(data, :registration_expired, %{system_time: System.system_time()}, %{})
    data
  end

  defp forget(data),
    do: %{stop_timer(data, :expiry) | registered?: false, until: nil, bindings: []}

  ## Attempts

  defp attempt(data, actions \\ []) do
    data = stop_timer(data, :attempt)

    case ready(data) do
      {:ok, data} -> register(data, actions)
      {:error, reason} -> await_stack(reason, data, actions)
    end
  end

  defp ready(%{config: %{stack: name}} = data) do
    with pid when is_pid(pid) <- Process.whereis(Sippet.supervisor(name)),
         %Stack{} = stack <- Stack.find(name) do
      if Enum.any?(Stack.transports(stack), & &1.sent_by) do
        monitor = data.stack_monitor || Process.monitor(pid)
        {:ok, %{data | missing: nil, stack_monitor: monitor}}
      else
        {:error, :no_transport}
      end
    else
      nil -> {:error, :no_stack}
    end
  end

  # All that a stack knew of a request is gone with it. Its supervisor starts it again, and its
  # transports after it: that is looked for, as nobody tells.
  defp await_stack(reason, %{missing: reason} = data, actions),
    do: {:next_state, :waiting, start_timer(data, :attempt, @stack_interval), actions}

  defp await_stack(reason, data, actions) do
    data = %{data | sent: nil, target: nil, missing: reason}
    failed({:unreachable, reason}, @stack_interval, data, actions)
  end

  defp register(data, actions) do
    case contacts(data.config) do
      [] -> await_stack(:no_transport, data, actions)
      contacts -> register(contacts, data, actions)
    end
  end

  defp register(contacts, data, actions) do
    # The credentials of a request that is challenged all the same are no wrong ones.
    request =
      data.base
      |> Request.put_contacts(contacts, data.expires)
      |> Request.reuse(data.credentials, data.nonce, data.config.credentials)

    sent = %{
      request: request,
      key: nil,
      left: @most_requests,
      reused?: Request.credentials?(request),
      bound?: data.bound?
    }

    transmit(%{data | sent: sent, contacts: contacts, bound?: true}, :registering, actions)
  end

  defp contacts(%{contacts: nil, address_of_record: uri} = config) do
    # RFC3261§10.2.1 - SIPS contacts for a SIPS address-of-record
    own = Sippet.own_uri(config.stack, user: uri.userinfo, scheme: uri.scheme)
    [Request.with_instance({"", own, %{}}, config.instance)]
  rescue
    # The last transport has gone since they were looked at.
    ArgumentError -> []
  end

  defp contacts(config),
    do: Enum.map(config.contacts, &Request.with_instance(&1, config.instance))

  # RFC3261§10.2 - one Call-ID, and the number goes up by one with each request
  defp transmit(%{sent: sent} = data, state, actions) do
    request = Request.numbered(sent.request, data.number + 1, data.target)
    sent = %{sent | request: request, key: Client.Key.new(request), left: sent.left - 1}
    data = %{data | sent: sent, number: data.number + 1}

    case hand_over(data, request) do
      :ok ->
        {:next_state, state, data, actions}

      # The transport of the way back has gone.
      {:error, :no_transport} when data.target != nil ->
        sent = %{sent | request: %{request | target: data.base.target}, left: sent.left + 1}
        transmit(%{data | target: nil, sent: sent}, state, actions)

      {:error, reason} ->
        failed(state, :unsent, {:unreachable, reason}, nil, data, actions)
    end
  end

  defp hand_over(%{config: %{stack: stack}}, request) do
    Sippet.send(stack, request, owner: self())
  rescue
    error in ArgumentError ->
      # Its tables have gone between the look at it and this.
      if Process.whereis(Sippet.supervisor(stack)),
        do: reraise(error, __STACKTRACE__),
        else: {:error, :no_stack}
  end

  ## Answers

  defp answered({:error, :timeout}, state, data),
    do: failed(state, :unavailable, :timeout, nil, data)

  defp answered({:error, reason}, state, data),
    do: failed(state, :unavailable, {:unreachable, reason}, nil, data)

  defp answered({:response, %{start_line: %{status_code: status}}}, _state, data)
       when status < 200,
       do: {:keep_state, data}

  # Whoever queued up for the end need not wait for the answer to a challenge.
  defp answered({:response, response}, :registering, %{leaving: [_ | _]} = data) do
    data = %{data | target: response.source}

    case Response.read(response, data.contacts, data.expires) do
      {:ok, _bindings} -> data |> accepted(response) |> unregister([])
      {:unavailable, _status} -> unregister(%{data | sent: nil}, [])
      _refused -> unregister(%{data | bound?: data.sent.bound?, sent: nil}, [])
    end
  end

  # RFC3261§10.2.4 - the next request goes to the address that has answered
  defp answered({:response, response}, state, data) do
    data = %{data | target: response.source}

    case Response.read(response, data.contacts, data.expires) do
      {:ok, bindings} -> ok(state, bindings, response, data)
      :challenge -> challenged(response, state, data)
      {:too_brief, seconds} -> too_brief(seconds, response, state, data)
      {class, status} -> failed(state, class, {:status, status}, response, data)
    end
  end

  # What was taken once is good for the next request.
  defp accepted(%{sent: %{request: request}} = data, response) do
    %{
      data
      | credentials: Request.credentials(request),
        nonce: Response.next_nonce(response),
        failures: 0,
        sent: nil
    }
  end

  defp ok(:unregistering, _bindings, response, data),
    do: left(:ok, %{accepted(data, response) | bound?: false})

  defp ok(:registering, bindings, response, data) do
    case for(%{own?: true, expires: seconds} <- bindings, do: seconds) do
      [] -> failed(:registering, :refused, :not_bound, response, expire(data))
      granted -> bound(Enum.min(granted), bindings, accepted(data, response))
    end
  end

  defp bound(granted, bindings, data) do
    data =
      %{
        data
        | registered?: true,
          # Parts of a datagram would keep all of it.
          bindings: copied(bindings),
          until: DateTime.add(DateTime.utc_now(), granted, :second),
          last_error: nil
      }
      |> start_timer(:attempt, Delay.refresh(granted))
      |> start_timer(:expiry, min(granted * 1_000, @longest_timer))

    tell(data, {:registered, data.bindings})
    emit(data, :registration_registered, %{expires: granted}, %{})
    {:next_state, :registered, data}
  end

  defp copied(term), do: term |> :erlang.term_to_binary() |> :erlang.binary_to_term()

  # RFC3261§22.2, §22.3
  defp challenged(_response, state, %{sent: %{left: 0}} = data),
    do: failed(state, :refused, {:challenge, :repeated}, nil, forget_credentials(data))

  defp challenged(response, state, %{config: %{credentials: nil}} = data),
    do: failed(state, :refused, {:challenge, :no_credentials}, response, data)

  defp challenged(response, state, %{sent: sent} = data) do
    case Request.answer(sent.request, response, data.config.credentials, sent.reused?) do
      {:ok, request} ->
        transmit(%{data | sent: %{sent | request: request, reused?: false}}, state, [])

      {:error, :unknown_nonce} ->
        failed(state, :refused, :wrong_credentials, response, forget_credentials(data))

      {:error, reason} ->
        failed(state, :refused, {:challenge, reason}, response, forget_credentials(data))
    end
  end

  defp forget_credentials(data), do: %{data | credentials: %{}, nonce: nil}

  # RFC3261§10.2.8 - again with an interval that is not too brief
  defp too_brief(seconds, response, :registering, %{sent: %{left: left} = sent} = data)
       when is_integer(seconds) and left > 0 do
    if seconds > data.expires and seconds <= Delay.longest() do
      request =
        sent.request
        |> Request.put_contacts(data.contacts, seconds)
        |> Request.reuse(Request.credentials(sent.request), nil, data.config.credentials)

      transmit(%{data | expires: seconds, sent: %{sent | request: request}}, :registering, [])
    else
      failed(:registering, :refused, {:status, 423}, response, data)
    end
  end

  defp too_brief(_seconds, response, state, data),
    do: failed(state, :refused, {:status, 423}, response, data)

  ## Failures

  defp failed(state, class, reason, response, data, actions \\ [])

  # A registration that is to end is not tried again.
  defp failed(:unregistering, _class, reason, _response, data, actions),
    do: left({:error, reason}, %{data | last_error: reason, target: nil}, actions)

  defp failed(:registering, _class, reason, _response, %{leaving: [_ | _]} = data, actions),
    do: unregister(%{data | last_error: reason, target: nil, sent: nil}, actions)

  defp failed(:registering, class, reason, response, data, actions) do
    # Where nobody has answered, the registrar may have got the request all the same. So it is
    # with
    # a 200 that does not list what there is.
    bound? = class == :unavailable or reason == :not_bound or data.sent.bound?
    data = %{data | sent: nil, target: nil, bound?: bound?, failures: data.failures + 1}
    failed(reason, delay(class, response, data), data, actions)
  end

  defp failed(reason, delay, data, actions) do
    data = start_timer(%{data | last_error: reason}, :attempt, delay)
    tell(data, {:failed, reason, delay})
    emit(data, :registration_failed, %{retry_in: delay}, %{reason: reason})
    {:next_state, :waiting, data, actions}
  end

  defp delay(class, response, %{config: config, failures: failures}) do
    cond do
      delay = response && Response.retry_after(response) -> delay
      class == :refused -> Delay.refused(config.max_time)
      true -> Delay.back_off(failures, config.base_time, config.max_time)
    end
  end

  defp stack_down(:unregistering, data),
    do: left({:error, {:unreachable, :no_stack}}, %{data | target: nil})

  defp stack_down(:unregistered, data), do: {:keep_state, %{data | target: nil}}

  defp stack_down(:registering, %{leaving: [_ | _]} = data),
    do: left({:error, {:unreachable, :no_stack}}, %{data | target: nil, sent: nil})

  defp stack_down(_state, data), do: await_stack(:no_stack, stop_timer(data, :attempt), [])

  ## The end of a registration

  defp leave(from, timeout, data), do: from |> await(timeout, data) |> unregister([])

  defp await(from, timeout, data) do
    name = {:unregister, from}
    data = %{data | leaving: [name | data.leaving], again?: false}
    if timeout == :infinity, do: data, else: start_timer(data, name, timeout)
  end

  # There is nothing to be ended where nothing was ever sent.
  defp unregister(%{bound?: false} = data, actions), do: left(:ok, data, actions)

  defp unregister(data, actions) do
    data = stop_timer(data, :attempt)

    with {:ok, data} <- ready(data) do
      request = ending(data)
      reused? = Request.credentials?(request)
      sent = %{request: request, key: nil, left: @most_requests, reused?: reused?, bound?: true}
      transmit(%{data | sent: sent}, :unregistering, actions)
    else
      {:error, reason} -> left({:error, {:unreachable, reason}}, data, actions)
    end
  end

  defp ending(data) do
    data.base
    |> Request.put_contacts(data.contacts, 0)
    |> Request.reuse(data.credentials, data.nonce, data.config.credentials)
  end

  defp left(result, data, actions \\ []) do
    replies = for {:unregister, from} <- data.leaving, do: {:reply, from, result}
    data = Enum.reduce(data.leaving, data, &stop_timer(&2, &1))
    again? = data.again?
    data = %{forget(stop_timer(data, :attempt)) | leaving: [], again?: false, sent: nil}
    tell(data, :unregistered)
    actions = actions ++ replies
    if again?, do: attempt(data, actions), else: {:next_state, :unregistered, data, actions}
  end

  @impl true
  # Somebody ends the process who does not start it again: there is one request more, and no time
  # to wait for its answer. The stack takes the responses of a process that has ended.
  def terminate(reason, _state, %{bound?: true} = data) do
    if reason in [:normal, :shutdown] or match?({:shutdown, _}, reason), do: end_bindings(data)
    :ok
  end

  def terminate(_reason, _state, _data), do: :ok

  defp end_bindings(data) do
    with {:ok, data} <- ready(data),
         do: hand_over(data, data |> ending() |> Request.numbered(data.number + 1, data.target))
  end

  ## Timers, events

  defp start_timer(data, name, ms) do
    data = stop_timer(data, name)
    %{data | timers: Map.put(data.timers, name, data.start_timer.(ms, self(), name))}
  end

  # The message of a timer that was faster has a reference that is not known any more.
  defp stop_timer(data, name) do
    {ref, timers} = Map.pop(data.timers, name)
    if ref, do: :erlang.cancel_timer(ref, async: true, info: false)
    %{data | timers: timers}
  end

  defp tell(%{config: %{owner: owner}} = data, event) do
    owner = if is_atom(owner) and owner != nil, do: Process.whereis(owner), else: owner
    if owner, do: send(owner, {:sippet_registration, identity(data), event})
    :ok
  end

  defp identity(%{config: %{name: name}}), do: name || self()

  defp emit(%{config: config} = data, id, measurements, metadata) do
    with %Stack{telemetry: telemetry} <- Stack.find(config.stack) do
      Telemetry.emit(telemetry, id, measurements, fn ->
        Map.merge(metadata, %{
          registration: identity(data),
          address_of_record: to_string(config.address_of_record)
        })
      end)
    end
  end
end
