defmodule Sippet.Stack.Events do
  @moduledoc false
  # The events of messages that come in, and of transports that fail: as telemetry, and in the log where a stack begins
  # to refuse requests.

  alias Sippet.{Message, Overload, Stack, Telemetry}
  alias Sippet.Message.Via

  @spec received(Stack.t(), Message.t(), non_neg_integer, Via.remote()) :: :ok
  def received(stack, message, bytes, remote) do
    Telemetry.emit(stack.telemetry, :message_received, %{bytes: bytes}, fn ->
      %{message: message, remote: remote}
    end)
  end

  @spec refused(Stack.t(), term, non_neg_integer, Via.remote()) :: :ok
  def refused(stack, error, bytes, remote) do
    Telemetry.emit(stack.telemetry, :message_refused, %{bytes: bytes}, fn ->
      %{error: error, remote: remote}
    end)
  end

  @spec rejected(
          Stack.t(),
          Message.request(),
          Overload.reason(),
          non_neg_integer,
          Via.remote()
        ) :: :ok
  def rejected(stack, request, reason, bytes, remote) do
    Telemetry.reject(stack.telemetry, reason, %{bytes: bytes}, fn ->
      %{reason: reason, request: request, remote: remote}
    end)

    if Overload.begins?(stack.overload, reason),
      do: Stack.log(stack, :warning, fn -> "new requests are refused: #{reason}" end)
  end

  @spec transport_error(Stack.t(), reason :: term, remote :: tuple | nil, key :: struct | nil) ::
          :ok
  def transport_error(stack, reason, remote, key) do
    measurements = %{system_time: System.system_time()}

    Telemetry.emit(stack.telemetry, :transport_error, measurements, fn ->
      %{reason: reason, remote: remote, key: key}
    end)
  end

  @spec dropped(Stack.t(), atom, non_neg_integer, term) :: :ok
  def dropped(stack, reason, bytes, remote) do
    Telemetry.emit(stack.telemetry, :message_dropped, %{bytes: bytes}, fn ->
      %{reason: reason, remote: remote}
    end)
  end
end
