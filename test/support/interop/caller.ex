defmodule Sippet.Interop.Caller do
  @moduledoc false
  # Places calls: acknowledges the answer and hangs up, or gives up while it rings.

  use Sippet.Core

  alias Sippet.DigestAuth
  alias Sippet.Interop.{Endpoint, Notebook}
  alias Sippet.Message

  @doc """
  Calls a user at an address and gives the Call-ID. `:cancel` as `then` gives up at the first 180.

  To whom asks for a password the caller gives the one that the test noted as `:password`.
  """
  @spec call(atom, String.t(), {String.t(), :inet.port_number()}, :hang_up | :cancel) ::
          String.t()
  def call(stack, user, address, then \\ :hang_up) do
    invite = stack |> Endpoint.request(:invite, user, address) |> Endpoint.put_sdp(stack)
    Notebook.put(stack, invite.headers.call_id, {then, invite})
    :ok = Sippet.send(stack, invite)
    invite.headers.call_id
  end

  @impl true
  def receive_response(%Message{start_line: line, headers: headers} = response, key, stack) do
    {number, method} = headers.cseq
    Notebook.tell(stack, {:response, method, line.status_code, response, key})
    follow(method, line.status_code, number, response, stack)
  end

  @impl true
  def receive_error(reason, key, stack), do: Notebook.tell(stack, {:error, reason, key})

  # RFC3261§13.2.2.4 - each 2xx is acknowledged, however often it comes; what follows, follows the first
  defp follow(:invite, status, number, response, stack) when status in 200..299 do
    Sippet.send(stack, Endpoint.in_dialog(stack, :ack, number, response))

    if Notebook.first?(stack, {:answered, response.headers.call_id}),
      do: Sippet.send(stack, Endpoint.in_dialog(stack, :bye, number + 1, response))
  end

  defp follow(:invite, 407, _number, response, stack) do
    call_id = response.headers.call_id
    {then, invite} = Notebook.fetch!(stack, call_id)
    password = Notebook.fetch!(stack, :password)

    case DigestAuth.make_request(invite, response, fn _realm -> {:ok, "alice", password} end) do
      {:ok, invite} ->
        invite = Endpoint.again(invite, stack)
        Notebook.put(stack, call_id, {then, invite})
        Sippet.send(stack, invite)

      {:error, reason} ->
        Notebook.tell(stack, {:gave_up, reason})
    end
  end

  defp follow(:invite, 180, _number, response, stack) do
    call_id = response.headers.call_id
    {then, invite} = Notebook.fetch!(stack, call_id)

    if then == :cancel and Notebook.first?(stack, {:cancelled, call_id}),
      do: Sippet.send(stack, Endpoint.cancel(invite))
  end

  defp follow(_method, _status, _number, _response, _stack), do: :ok
end
