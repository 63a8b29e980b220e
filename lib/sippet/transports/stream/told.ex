defmodule Sippet.Transports.Stream.Told do
  @moduledoc false
  # What is told of connections, as telemetry. The stack is looked up each time: it may have been restarted.

  alias Sippet.{Stack, Telemetry}

  @spec opened(map, map) :: :ok
  def opened(%{name: name}, about) do
    emit(name, :connection_opened, %{system_time: System.system_time()}, fn -> about end)
  end

  @spec closed(map, map, map) :: :ok
  def closed(%{name: name}, measurements, about),
    do: emit(name, :connection_closed, measurements, fn -> about end)

  @spec refused(map, tuple | nil, :in | :out, term) :: :ok
  def refused(%{name: name, protocol: protocol}, remote, direction, reason) do
    emit(name, :connection_refused, %{system_time: System.system_time()}, fn ->
      remote = with {ip, port} <- remote, do: {protocol, ip, port}
      %{remote: remote, direction: direction, reason: reason}
    end)
  end

  defp emit(name, event, measurements, details) do
    case Stack.find(name) do
      nil -> :ok
      stack -> Telemetry.emit(stack.telemetry, event, measurements, details)
    end
  end
end
