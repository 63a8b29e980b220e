defmodule Sippet.Transport.Delivery do
  @moduledoc false
  # The one way out: every message that a stack sends passes here, is told to who watches, and counted.

  import Kernel, except: [send: 2]

  alias Sippet.{Message, Stack, Telemetry, Transport}
  alias Sippet.Stack.{Events, Tap}
  alias Sippet.Transport.{Closed, Courier, Outgoing}

  # T1, after which a datagram is as good as lost, in ms; and how long it waits between two tries.
  @patience 500
  @pause 10

  @doc """
  Sends a message, in the calling process. It waits for a transport of the 1.0 kind, for a socket that is full, and for a transport that is
  about to start again.
  """
  @spec send(Stack.t(), Outgoing.t()) :: :ok | {:error, term}
  def send(stack, outgoing), do: patiently(stack, outgoing, @patience)

  @doc """
  The same for a process that must not wait. What may take its time is done by another process, which calls `failed`
  with the reason where it comes to nothing.
  """
  @spec post(Stack.t(), Outgoing.t()) :: :ok | {:error, term}
  def post(stack, %Outgoing{transport: %Transport{module: nil} = transport} = outgoing) do
    with {:error, :closed} <- Courier.post(transport, fn -> finish(stack, outgoing) end),
         do: later(stack, outgoing)
  end

  # A transport that takes names looks them up.
  def post(stack, %Outgoing{destination: {host, _port}} = outgoing) when is_binary(host),
    do: later(stack, outgoing)

  def post(stack, %Outgoing{transport: transport} = outgoing) do
    case attempt(stack, outgoing) do
      :ok ->
        :ok

      {:error, reason} ->
        if passing?(transport, reason),
          do: later(stack, outgoing),
          else: give_up(stack, outgoing, reason)
    end
  end

  defp later(stack, outgoing) do
    spawn(fn -> finish(stack, outgoing) end)
    :ok
  end

  defp finish(stack, outgoing) do
    with {:error, reason} <- send(stack, outgoing),
         failed when failed != nil <- outgoing.failed,
         do: failed.(reason)
  end

  defp patiently(stack, %Outgoing{transport: transport} = outgoing, left) do
    case attempt(stack, outgoing) do
      :ok ->
        :ok

      {:error, reason} ->
        if left > 0 and passing?(transport, reason) do
          Process.sleep(@pause)
          patiently(stack, %{outgoing | transport: successor(stack, transport)}, left - @pause)
        else
          give_up(stack, outgoing, reason)
        end
    end
  end

  defp attempt(stack, %Outgoing{transport: transport, octets: octets} = outgoing) do
    time = Tap.clock(stack)
    %{destination: {host, port} = destination, key: key} = outgoing

    with :ok <- Transport.send(transport, destination, message(outgoing), octets, key) do
      Tap.sent(time, stack, octets, transport, destination)

      Telemetry.emit(stack.telemetry, :message_sent, %{bytes: byte_size(octets)}, fn ->
        %{
          octets: octets,
          method: Outgoing.method(octets),
          status: Outgoing.status(octets),
          remote: {transport.protocol, host, port},
          key: key
        }
      end)
    end
  end

  # Who was written for version 1.0 takes messages.
  defp message(%Outgoing{transport: %{module: nil}, message: nil, octets: octets}),
    do: Message.parse!(octets)

  defp message(%Outgoing{message: message}), do: message

  # A socket that is full, and a transport that has ended and may start again at the same address.
  defp passing?(_transport, :eagain), do: true
  defp passing?(%Transport{module: Closed}, _reason), do: true
  defp passing?(%Transport{module: nil, pid: pid}, _exit), do: not Process.alive?(pid)

  defp passing?(%Transport{reliable?: reliable?, address: address}, :closed),
    do: not reliable? and address != nil

  defp passing?(_transport, _reason), do: false

  defp successor(stack, %Transport{module: Closed, handle: place} = closed),
    do: Stack.transport_at(stack, place, closed.protocol) || closed

  defp successor(stack, %Transport{protocol: protocol} = transport) do
    case Stack.transport_at(stack, Stack.place(transport), protocol) do
      nil -> transport
      successor -> %{successor | host: transport.host}
    end
  end

  # RFC3261§18.2.2 - a response whose way is gone is tried once more by another
  defp give_up(stack, %Outgoing{fallback: fallback} = outgoing, reason) when fallback != nil do
    with true <- gone?(outgoing.transport, reason),
         %Outgoing{} = another <- fallback.(outgoing),
         :ok <- attempt(stack, another) do
      :ok
    else
      _nowhere -> failed(stack, outgoing, reason)
    end
  end

  defp give_up(stack, outgoing, reason), do: failed(stack, outgoing, reason)

  # A datagram that could not be sent leaves its socket as it is; a connection does not outlive a failure.
  defp gone?(%Transport{reliable?: true}, reason), do: reason != :busy
  defp gone?(transport, reason), do: reason != :eagain and passing?(transport, reason)

  defp failed(stack, outgoing, reason) do
    {host, port} = outgoing.destination
    remote = {outgoing.transport.protocol, host, port}
    Events.transport_error(stack, reason, remote, outgoing.key)
    {:error, reason}
  end
end
