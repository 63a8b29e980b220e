defmodule Sippet.Transport.Courier do
  @moduledoc false
  # Waits for a transport of the 1.0 kind, whose process is called for each message, so that nobody else has to: one
  # message after another, in the order in which they are posted. It ends with the transport.

  use GenServer

  alias Sippet.Transport

  # Messages that wait for a transport. A slow one must not fill the memory.
  @most_waiting 10_000

  @doc """
  Starts the courier of a transport's process.
  """
  @spec start_link(pid) :: GenServer.on_start()
  def start_link(transport), do: GenServer.start_link(__MODULE__, transport)

  @doc """
  Has the courier of a transport call a function, which does the sending.
  """
  @spec post(Transport.t(), (() -> term)) :: :ok | {:error, :busy | :closed}
  def post(%Transport{handle: courier}, send) when is_pid(courier) do
    case Process.info(courier, :message_queue_len) do
      {:message_queue_len, waiting} when waiting < @most_waiting ->
        GenServer.cast(courier, send)

      {:message_queue_len, _many} ->
        {:error, :busy}

      nil ->
        {:error, :closed}
    end
  end

  # One that was handed in, and never registered.
  def post(%Transport{}, send) do
    spawn(send)
    :ok
  end

  @impl true
  def init(transport) do
    Process.monitor(transport)
    {:ok, transport}
  end

  @impl true
  def handle_cast(send, transport) do
    send.()
    {:noreply, transport}
  end

  @impl true
  def handle_info({:DOWN, _ref, :process, transport, _reason}, transport),
    do: {:stop, :normal, transport}

  def handle_info(_message, transport), do: {:noreply, transport}
end
