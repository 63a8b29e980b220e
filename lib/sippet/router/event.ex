defmodule Sippet.Router.Event do
  @moduledoc false
  # What the router tells of what comes in, and of what it sends itself.

  alias Sippet.{Message, Overload, Stack, Telemetry, Transport}
  alias Sippet.Router.Remote
  alias Sippet.Stack.Tap

  @spec received(Stack.t(), Message.t(), non_neg_integer, Remote.t()) :: :ok
  def received(stack, message, bytes, remote) do
    Telemetry.emit(stack, :message_received, %{bytes: bytes}, fn ->
      %{message: message, remote: remote}
    end)
  end

  @spec refused(Stack.t(), term, non_neg_integer, Remote.t()) :: :ok
  def refused(stack, error, bytes, remote) do
    Telemetry.emit(stack, :message_refused, %{bytes: bytes}, fn ->
      %{error: error, remote: remote}
    end)
  end

  @spec rejected(
          Stack.t(),
          Message.request(),
          Overload.reason(),
          non_neg_integer,
          Remote.t()
        ) :: :ok
  def rejected(stack, request, reason, bytes, remote) do
    Telemetry.reject(stack, reason, %{bytes: bytes}, fn ->
      %{reason: reason, request: request, remote: remote}
    end)

    if Overload.begins?(stack, reason),
      do: Stack.log(stack, :warning, fn -> "new requests are refused: #{reason}" end)
  end

  @spec dropped(Stack.t(), atom, non_neg_integer, Remote.t() | term) :: :ok
  def dropped(stack, reason, bytes, remote) do
    Telemetry.emit(stack, :message_dropped, %{bytes: bytes}, fn ->
      %{reason: reason, remote: remote}
    end)
  end

  @doc """
  Tells of a message that was sent; `time` is what `Sippet.Stack.Tap.clock/1` gave before.
  """
  @spec sent(Stack.t(), integer | nil, Transport.t(), Transport.destination(), iodata) :: :ok
  def sent(stack, time, transport, {host, port} = destination, octets) do
    Tap.sent(time, stack, octets, transport, destination)

    Telemetry.emit(stack, :message_sent, %{bytes: IO.iodata_length(octets)}, fn ->
      %{octets: octets, remote: {transport.protocol, host, port}}
    end)
  end

  @spec failed(Stack.t(), Transport.t(), Transport.destination(), term) :: :ok
  def failed(stack, transport, {host, port}, reason) do
    Telemetry.emit(stack, :transport_error, %{system_time: System.system_time()}, fn ->
      %{reason: reason, remote: {transport.protocol, host, port}, key: nil}
    end)
  end
end
