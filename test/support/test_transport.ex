defmodule Sippet.TestTransport do
  @moduledoc false
  # A transport that sends to a test: each message goes to the process that is its handle, as `{:sent, destination,
  # octets, key}`. A handle of `{pid, function}` gets it too, and the function decides how the send went.

  @behaviour Sippet.Transport

  alias Sippet.Transport

  @spec new(keyword) :: Transport.t()
  def new(options \\ []) do
    %Transport{
      protocol: :udp,
      reliable?: Keyword.get(options, :reliable?, false),
      pid: self(),
      module: __MODULE__,
      handle: {self(), Keyword.get(options, :outcome, fn _octets -> :ok end)}
    }
  end

  @impl true
  def send_message({pid, outcome}, destination, octets, key) do
    octets = IO.iodata_to_binary(octets)
    send(pid, {:sent, destination, octets, key})
    outcome.(octets)
  end

  def send_message(pid, destination, octets, key),
    do: send_message({pid, fn _ -> :ok end}, destination, octets, key)
end
