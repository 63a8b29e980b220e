defmodule Sippet.Transactions.Client.Locating do
  @moduledoc false
  # The first state of a client transaction whose request goes to a host that is still to be looked up: nothing was sent, and
  # nothing will be if it ends here.

  @behaviour Sippet.Transactions.Machine

  import Sippet.Transactions.Machine, only: [passed?: 2]

  alias Sippet.Transactions.Machine

  #   {:locating, ends_at}

  @impl true
  def start(_request, now, {options, _reliable?}),
    do: {{:locating, now + options.resolver.timeout}, []}

  @impl true
  def due({:locating, ends_at}), do: ends_at

  @impl true
  def handle(state, event, now, timers)
  def handle(_state, :terminate, _now, _timers), do: {:terminated, :terminated, []}

  def handle({:locating, ends_at}, :due, now, _timers) when passed?(ends_at, now),
    do: Machine.fail(:dns_timeout, :transport_error)

  def handle(_state, {:error, reason}, _now, _timers), do: Machine.fail(reason, :transport_error)

  # RFC3261§9.1 - the request is cancelled that was never sent
  def handle(_state, :cancelled, _now, _timers), do: Machine.fail(:cancelled, :terminated)
  def handle(state, _event, _now, _timers), do: {state, []}
end
