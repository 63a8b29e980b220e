defmodule Sippet.Transport.Delivery do
  @moduledoc false
  # The one way out: every message that a stack sends passes here, is told to who watches, and counted.

  alias Sippet.{Message, Stack, Telemetry, Transport}
  alias Sippet.Stack.{Events, Tap}
  alias Sippet.Transport.Courier

  @doc """
  Sends octets, in the calling process. It may wait, as a transport of the 1.0 kind and one that resolves a name do.
  """
  @spec send(
          Stack.t(),
          Transport.t(),
          Transport.destination(),
          binary,
          Transport.key(),
          Message.t() | nil
        ) :: :ok | {:error, term}
  def send(stack, transport, destination, octets, key, message \\ nil) do
    time = Tap.clock(stack)

    sent =
      Transport.send(transport, destination, message(transport, octets, message), octets, key)

    told(stack, transport, destination, octets, key, time, sent)
  end

  # Who was written for version 1.0 takes messages.
  defp message(%Transport{module: nil}, octets, nil), do: Message.parse!(octets)
  defp message(_transport, _octets, message), do: message

  defp told(stack, transport, {host, port} = destination, octets, _key, time, :ok) do
    Tap.sent(time, stack, octets, transport, destination)

    Telemetry.emit(stack.telemetry, :message_sent, %{bytes: byte_size(octets)}, fn ->
      %{octets: octets, remote: {transport.protocol, host, port}}
    end)
  end

  defp told(stack, transport, {host, port}, _octets, key, _time, {:error, reason} = error) do
    Events.transport_error(stack, reason, {transport.protocol, host, port}, key)
    error
  end

  @doc """
  The same for a process that must not wait. What may take its time is done by another process, which calls `failed`
  with the reason where it comes to nothing.
  """
  @spec post(
          Stack.t(),
          Transport.t(),
          Transport.destination(),
          binary,
          Transport.key(),
          (term -> term),
          Message.t() | nil
        ) :: :ok | {:error, term}
  def post(stack, transport, destination, octets, key, failed, message \\ nil)

  def post(stack, %Transport{module: nil} = transport, destination, octets, key, failed, message) do
    Courier.post(transport, fn ->
      patiently(stack, transport, destination, octets, key, failed, message)
    end)
  end

  def post(stack, transport, {host, _port} = destination, octets, key, failed, message)
      when is_binary(host) do
    spawn(fn -> patiently(stack, transport, destination, octets, key, failed, message) end)
    :ok
  end

  def post(stack, transport, destination, octets, key, failed, message) do
    with {:error, :eagain} <- send(stack, transport, destination, octets, key, message) do
      spawn(fn -> patiently(stack, transport, destination, octets, key, failed, message) end)
      :ok
    end
  end

  # T1, after which a datagram is as good as lost, in ms; and how long it waits between two tries.
  @patience 500
  @pause 10

  defp patiently(stack, transport, destination, octets, key, failed, message, left \\ @patience) do
    case send(stack, transport, destination, octets, key, message) do
      :ok ->
        :ok

      {:error, :eagain} when left > 0 ->
        Process.sleep(@pause)
        patiently(stack, transport, destination, octets, key, failed, message, left - @pause)

      {:error, reason} ->
        failed.(reason)
    end
  end
end
