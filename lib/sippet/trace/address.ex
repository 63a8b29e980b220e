defmodule Sippet.Trace.Address do
  @moduledoc false
  # The addresses of messages: one host has one form, so that it has one lane.

  @doc """
  Reads an address: a host with a port, or alone.
  """
  @spec parse(String.t()) :: {:inet.ip_address() | String.t(), :inet.port_number() | nil}
  def parse(text) do
    with [_text, host, port] <- Regex.run(~r/\A(\[.*\]|[^:]*):(\d{1,5})\z/, text),
         port when port <= 65_535 <- String.to_integer(port) do
      {host(host), port}
    else
      _name -> {host(text), nil}
    end
  end

  @doc """
  An address for a host that is one, written as in a URI or without its brackets.
  """
  @spec host(String.t()) :: :inet.ip_address() | String.t()
  def host(text) do
    case Sippet.Address.parse(text) do
      {:ok, address} -> address
      :error -> text
    end
  end
end
