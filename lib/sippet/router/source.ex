defmodule Sippet.Router.Source do
  @moduledoc false
  # Where the responses to a request go, by its topmost Via as it was stamped.

  alias Sippet.{Address, Message, Stack}
  alias Sippet.Message.Via
  alias Sippet.Router.Remote

  @doc """
  Where the responses to a stamped request go.

  On an unreliable transport that is the source address, always: `received` is it, or the sent-by equals it. A
  `maddr` that is another address would make the stack send to whom the sender names, so it is obeyed for
  multicast only, or where the stack's option `:obey_maddr` says so.
  """
  @spec response_destination(Stack.t(), Message.t(), Remote.t(), boolean) ::
          {:inet.ip_address() | String.t(), :inet.port_number()}
  # RFC3261§18.2.2 - on a reliable transport by the connection that the request came in by
  def response_destination(_stack, _request, {_protocol, ip, port}, true), do: {ip, port}

  def response_destination(stack, request, {_protocol, ip, _source_port}, false) do
    [{_version, _via_protocol, {_host, port}, params} | _] = request.headers.via

    case params do
      %{"maddr" => maddr} -> {maddr(stack, maddr, ip), port}
      # RFC3581§4 - the port is the one that the stamp has put there
      %{} -> {ip, Via.rport(params, port)}
    end
  end

  @doc """
  Where a response goes that belongs to no transaction: protocol and destination of its topmost Via, as the stamp left
  it.
  """
  @spec via_destination(Message.response()) ::
          {Message.protocol(), String.t(), :inet.port_number()}
  # RFC3261§18.2.2 - `maddr` is left out, as above
  def via_destination(response), do: response.headers.via |> hd() |> Via.remote()

  defp maddr(stack, text, ip) do
    case {Address.parse(text), Address.host(text)} do
      {{:ok, address}, _host} -> if multicast?(address) or obeyed?(stack), do: address, else: ip
      {:error, {:ok, host}} -> if obeyed?(stack), do: host, else: ip
      {:error, :error} -> ip
    end
  end

  defp obeyed?(stack), do: Map.get(stack.options, :obey_maddr, false)

  defp multicast?({first, _, _, _}), do: first in 224..239
  defp multicast?({first, _, _, _, _, _, _, _}), do: first in 0xFF00..0xFFFF
end
