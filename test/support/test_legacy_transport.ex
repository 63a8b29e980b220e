defmodule Sippet.TestLegacyTransport do
  @moduledoc false
  # A transport as they were written for version 1.0: a process that is called with the message to send. It tells a test
  # of each call.

  use GenServer

  def start_link(test), do: GenServer.start_link(__MODULE__, test)

  @impl true
  def init(test), do: {:ok, test}

  @impl true
  def handle_call({:send_message, _message, _host, _port, _key} = call, _from, test) do
    send(test, call)
    {:reply, :ok, test}
  end
end
