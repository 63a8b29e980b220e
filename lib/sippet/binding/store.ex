defmodule Sippet.Binding.Store do
  @moduledoc """
  A behaviour for the place where a registrar keeps its bindings, and the functions that use one.

      children = [
        {Sippet.Binding.Store.Memory, name: MyApp.Bindings},
        {Sippet, name: :mystack, core: MyApp.Registrar},
        {Sippet.Transports.UDP, name: :mystack}
      ]

      # In the registrar, when the request may be done:
      store = {Sippet.Binding.Store.Memory, MyApp.Bindings}

      case Sippet.Binding.Store.register(store, request) do
        {:ok, response} -> Sippet.send(stack, response)
        {:error, response} -> Sippet.reply(stack, response)
      end

      # In a proxy:
      {:ok, targets} = Sippet.Binding.Store.targets(store, request.start_line.request_uri)

  A store is `{module, term}`: the module of the behaviour, and the term that its callbacks get.

    * `{Sippet.Binding.Store.Memory, name}` keeps bindings until the node ends.
    * `{Sippet.Binding.Store.File, name}` keeps them in a file, which the next VM reads.
    * `{MyApp.BindingStore, MyApp.Repo}` may be a database. [Writing a registrar](registrar.md)
      has one.

  The store does not know who may register what. Authenticate and authorize the request before.

  ## Writing a store

  A store maps an address-of-record to a list of bindings. Both callbacks run in the process that
  calls the functions of this module.

  Keep the order of a list. Bindings that leave the VM should be the ones that
  `Sippet.Binding.storable/1` returns. A list may contain bindings that have expired: the
  functions of this module pass over them, and `c:update/3` removes them with the next REGISTER.

  A store that can't do its work raises or exits. `register/3` then returns a 500, and
  `bindings/2` and `targets/2` return `{:error, :unavailable}`. The reason is in the log, with one
  line a second at most for each module.
  """

  alias Sippet.{Binding, Log, Message, URI}

  @typedoc "The module of a store, and the term that its callbacks get."
  @type t :: {module, term}

  @typedoc """
  A function of the bindings that there are. It returns the bindings to keep and a result, or only
  a result, and then nothing changes.
  """
  @type change(result) :: ([Binding.t()] -> {:ok, [Binding.t()], result} | {:error, result})

  @doc """
  Returns the bindings of an address-of-record, in the order of the list that was kept last.
  Returns `[]` if there are none.
  """
  @callback fetch(store :: term, address_of_record :: String.t()) :: [Binding.t()]

  @doc """
  Changes the bindings of an address-of-record in one step, and returns the result of the
  function.

  No other change of the same address-of-record may come between the read and the write (RFC 3261
  §10.3). In a database that is one transaction with the row locked. The function has no side
  effects, so a store may also call it again when another change was faster.

  Return `{:ok, result}` after the new bindings are kept, and `{:error, result}` if the function
  has refused. Return `:full` if there is no place for another address-of-record. If the function
  raises, nothing may change.
  """
  @callback update(store :: term, address_of_record :: String.t(), change(result)) ::
              {:ok, result} | {:error, result} | :full
            when result: var

  # As often as expired bindings make place in the stores of this library, in seconds.
  @retry_after 60

  @doc """
  Registers the contacts of a REGISTER, and returns the response to send.

  The address-of-record is the URI of the To. The options are those of
  `Sippet.Binding.register/3`, and so are the responses. Further errors are 503 with Retry-After
  if the store is full, and 500 if it has failed. Nothing has changed after an error, but for a
  store that fails after it has written.

  Raises `ArgumentError` if an option is wrong.
  """
  @spec register(t, Message.request(), keyword) ::
          {:ok, Message.response()} | {:error, Message.response()}
  def register({module, store}, request, options \\ []) do
    %Message{headers: %{to: {_name, uri, _params}}} = request
    _valid = Binding.options!(options)
    key = Binding.address_of_record(uri)
    change = &Binding.register(&1, request, options)

    case attempt(module, request, fn -> module.update(store, key, change) end) do
      {:ok, :full} -> {:error, full(request)}
      {:ok, result} -> result
      :error -> {:error, response(request, 500)}
    end
  end

  defp full(request),
    do: request |> response(503) |> Message.put_header(:retry_after, {@retry_after, "", %{}})

  # RFC3261§10.3 - no Record-Route, whatever the request has
  defp response(request, status),
    do: request |> Message.to_response(status) |> Message.delete_header(:record_route)

  @doc """
  Returns the current bindings of a URI.

  The URI may be a Request-URI or the one of a To: it stands for its address-of-record
  (`Sippet.Binding.address_of_record/1`).
  """
  @spec bindings(t, URI.t()) :: {:ok, [Binding.t()]} | {:error, :unavailable}
  def bindings(store, uri), do: read(store, uri, &Binding.current/1)

  @doc """
  Returns the current bindings of a URI in the order in which a proxy tries them.

  The lists are those of `Sippet.Binding.targets/2`, and `[]` if nobody is registered.
  """
  @spec targets(t, URI.t()) :: {:ok, [[Binding.t()]]} | {:error, :unavailable}
  def targets(store, uri), do: read(store, uri, &Binding.targets/1)

  defp read({module, store}, uri, select) do
    key = Binding.address_of_record(uri)

    case attempt(module, nil, fn -> select.(module.fetch(store, key)) end) do
      {:ok, bindings} -> {:ok, bindings}
      :error -> {:error, :unavailable}
    end
  end

  defp attempt(module, request, call) do
    {:ok, call.()}
  catch
    kind, reason ->
      if log?(module) do
        about = %{message: request, crash: {kind, reason, __STACKTRACE__}}
        Log.write(module, :error, about, "a store of bindings has failed")
      end

      :error
  end

  # A database that is down fails with every request.
  defp log?(module) do
    second = System.monotonic_time(:second)
    :atomics.exchange(last_line(module), 1, second) != second
  end

  defp last_line(module) do
    with nil <- :persistent_term.get({__MODULE__, module}, nil) do
      last = :atomics.new(1, [])
      :persistent_term.put({__MODULE__, module}, last)
      last
    end
  end
end
