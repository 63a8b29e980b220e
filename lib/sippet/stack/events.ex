defmodule Sippet.Stack.Events do
  @moduledoc false
  # The events of messages that come in, and of transports that fail: as telemetry, and in the log where a stack begins
  # to refuse requests. What is malformed or refused is in the log for debugging.

  alias Sippet.{Message, Overload, ParseError, Stack, Telemetry}
  alias Sippet.Message.Via

  @spec received(Stack.t(), Message.t(), non_neg_integer, Via.remote()) :: :ok
  def received(stack, message, bytes, remote) do
    Telemetry.emit(stack.telemetry, :message_received, %{bytes: bytes}, fn ->
      %{message: message, remote: remote}
    end)
  end

  @spec refused(Stack.t(), term, non_neg_integer, Via.remote(), Message.t() | nil) :: :ok
  def refused(stack, error, bytes, remote, message \\ nil) do
    Telemetry.emit(stack.telemetry, :message_refused, %{bytes: bytes}, fn ->
      %{error: error, remote: remote}
    end)

    about = %{error: error, message: message, remote: remote}
    Stack.log(stack, :debug, about, fn -> ["a malformed message: ", wrong(error)] end)
  end

  # What a parser's error quotes may be credentials.
  defp wrong(%ParseError{header: header} = error)
       when header in ["Authorization", "Proxy-Authorization"],
       do: wrong(%{error | header: nil, excerpt: "", reason: :invalid_header_line})

  defp wrong(%ParseError{} = error), do: Exception.message(error)
  defp wrong(text), do: text

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

    about = %{message: request, remote: remote}

    if Overload.begins?(stack.overload, reason),
      do: Stack.log(stack, :warning, about, fn -> "new requests are refused: #{reason}" end)

    Stack.log(stack, :debug, about, fn -> "a request is refused: #{reason}" end)
  end

  @spec transport_error(Stack.t(), reason :: term, remote :: tuple | nil, key :: struct | nil) ::
          :ok
  def transport_error(stack, reason, remote, key) do
    measurements = %{system_time: System.system_time()}

    Telemetry.emit(stack.telemetry, :transport_error, measurements, fn ->
      %{reason: reason, remote: remote, key: key}
    end)
  end

  @spec owner_down(Stack.t(), key :: struct | nil, dialog :: struct | nil, reason :: term) :: :ok
  def owner_down(stack, key, dialog, reason) do
    measurements = %{system_time: System.system_time()}

    Telemetry.emit(stack.telemetry, :owner_down, measurements, fn ->
      %{key: key, dialog: dialog, reason: reason}
    end)
  end

  @malformed [:malformed_request, :malformed_response, :malformed_ack, :truncated]

  @spec dropped(Stack.t(), atom, non_neg_integer, term, Message.t() | nil) :: :ok
  def dropped(stack, reason, bytes, remote, message \\ nil) do
    Telemetry.emit(stack.telemetry, :message_dropped, %{bytes: bytes}, fn ->
      %{reason: reason, remote: remote}
    end)

    if reason in @malformed do
      about = %{message: message, remote: remote}
      Stack.log(stack, :debug, about, fn -> "a message is dropped: #{reason}" end)
    end

    :ok
  end
end
