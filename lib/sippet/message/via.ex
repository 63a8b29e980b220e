defmodule Sippet.Message.Via do
  @moduledoc false
  # Who sent a request, by its topmost Via as the stack that received it has stamped it.

  alias Sippet.{Address, Digits}

  @type t ::
          {version :: tuple, protocol :: atom | String.t(),
           sent_by :: {String.t(), :inet.port_number()}, params :: %{String.t() => String.t()}}

  @largest_port 65_535

  @doc """
  Returns protocol, host and port: `received` instead of the sent-by's host, `rport` instead of
  its port. A value that names neither is passed over: it came back from the network, and may not
  be the one that was stamped.
  """
  # RFC3261§18.2.2, RFC3581§4
  @spec remote(t) :: {atom | String.t(), String.t(), :inet.port_number()}
  def remote({_version, protocol, {host, port}, params}),
    do: {protocol, received(params, host), rport(params, port)}

  # RFC5118§4.5 - an address may stand in brackets here
  defp received(%{"received" => text}, host) do
    case Address.host(text) do
      {:ok, received} -> received
      :error -> host
    end
  end

  defp received(_params, host), do: host

  @doc """
  Returns the port that `rport` names, or else the one given.
  """
  @spec rport(map, :inet.port_number()) :: :inet.port_number()
  def rport(%{"rport" => text}, port) do
    case Digits.parse(text, @largest_port) do
      {:ok, number} when number > 0 -> number
      _none -> port
    end
  end

  def rport(_params, port), do: port
end
