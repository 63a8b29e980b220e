defmodule Sippet.Router.Remote do
  @moduledoc false
  # Where a message came from, as transports tell it: those of version 1.0 may do so in text.

  alias Sippet.{Address, Message}

  @type t :: {Message.protocol(), :inet.ip_address(), :inet.port_number()}

  @doc """
  Returns the one form that the stack knows. Any other term is `:error`.
  """
  @spec read(term) :: {:ok, t} | :error
  def read({protocol, host, port})
      when (is_atom(protocol) or is_binary(protocol)) and port in 0..65_535 do
    with {:ok, address} <- address(host), do: {:ok, {protocol(protocol), address, port}}
  end

  def read(_other), do: :error

  defp address(text) when is_binary(text), do: Address.parse(text)
  defp address(ip), do: if(:inet.is_ip_address(ip), do: {:ok, ip}, else: :error)

  defp protocol(protocol) when is_atom(protocol), do: protocol
  defp protocol(text), do: Message.to_protocol(text)
end
