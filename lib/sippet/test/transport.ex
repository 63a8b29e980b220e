defmodule Sippet.Test.Transport do
  @moduledoc false
  # A transport whose far end is the owner of a stack under test: what the stack sends comes to it parsed, as
  # `{tag, stack, method_or_status, message}`, the message's target being where it goes.

  use GenServer

  @behaviour Sippet.Transport

  alias Sippet.{Address, Message, Names, Stack}
  alias Sippet.Message.{RequestLine, StatusLine}

  @type config :: %{
          tag: term,
          stack: atom,
          protocol: Message.protocol(),
          address: {:inet.ip_address(), :inet.port_number()},
          owner: pid,
          outcomes: :ets.tid()
        }

  @spec start_link(config) :: GenServer.on_start()
  def start_link(config), do: GenServer.start_link(__MODULE__, config)

  @doc """
  The transport of this protocol; `ArgumentError` where the stack has none.
  """
  @spec find!(atom, Message.protocol()) :: Sippet.Transport.t()
  def find!(stack, protocol) do
    transports = Stack.transports(Stack.fetch!(stack))

    Enum.find(transports, &(&1.protocol == protocol)) ||
      raise ArgumentError,
            "#{inspect(stack)} has no transport of the protocol #{inspect(protocol)}"
  end

  @doc """
  Decides how sends end: with `reason`, or well.
  """
  @spec fail(:ets.tid(), term) :: :ok
  def fail(outcomes, reason) do
    :ets.insert(outcomes, {:outcome, reason})
    :ok
  end

  @impl true
  def init(%{stack: stack, protocol: protocol} = config) do
    :ok =
      Sippet.register_transport(stack, protocol, Names.reliable?(protocol),
        address: config.address,
        via: {__MODULE__, config},
        takes_names: true
      )

    {:ok, config}
  end

  @impl Sippet.Transport
  def send_message(%{outcomes: outcomes} = config, {host, port}, octets, _key) do
    case :ets.lookup(outcomes, :outcome) do
      [{:outcome, reason}] when reason != nil ->
        {:error, reason}

      _well ->
        message = Message.parse!(octets)
        target = {config.protocol, text(host), port}

        send(
          config.owner,
          {config.tag, config.stack, kind(message), %{message | target: target}}
        )

        :ok
    end
  end

  defp kind(%Message{start_line: %RequestLine{method: method}}), do: method
  defp kind(%Message{start_line: %StatusLine{status_code: status}}), do: status

  defp text(host) when is_binary(host), do: host
  defp text(address), do: Address.to_text(address)
end
