defmodule Sippet.Interop.Registrant do
  @moduledoc false
  # Registers alice, and answers the challenge with the password that it was given.

  use Sippet.Core

  alias Sippet.DigestAuth
  alias Sippet.Interop.{Endpoint, Notebook}
  alias Sippet.Message

  @spec register(atom, {String.t(), :inet.port_number()}, String.t()) :: :ok
  def register(stack, address, password) do
    request =
      stack
      |> Endpoint.request(:register, nil, address)
      |> Message.put_header(:to, {"", Endpoint.alice(), %{}})
      |> Message.put_header(:expires, 60)

    go_on(request, password, stack)
  end

  @impl true
  def receive_response(%Message{start_line: line, headers: headers} = response, key, stack) do
    Notebook.tell(stack, {:response, :register, line.status_code, response, key})
    if line.status_code == 401, do: authenticate(response, headers.call_id, stack)
  end

  @impl true
  def receive_error(reason, key, stack), do: Notebook.tell(stack, {:error, reason, key})

  defp authenticate(response, call_id, stack) do
    {request, password} = Notebook.fetch!(stack, call_id)

    case DigestAuth.make_request(request, response, fn _realm -> {:ok, "alice", password} end) do
      {:ok, request} -> go_on(Endpoint.again(request, stack), password, stack)
      {:error, reason} -> Notebook.tell(stack, {:gave_up, reason})
    end
  end

  # RFC3261§22.2 - what was refused once is not tried again: the request is kept with its credentials
  defp go_on(request, password, stack) do
    Notebook.put(stack, request.headers.call_id, {request, password})
    Sippet.send(stack, request)
  end
end
