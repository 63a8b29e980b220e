defmodule Sippet.Interop.Registrar do
  @moduledoc false
  # A registrar of test.local for alice, whose password is "secret".

  use Sippet.Core

  alias Sippet.DigestAuth
  alias Sippet.Interop.Notebook
  alias Sippet.Message

  @realm "test.local"

  @impl true
  def receive_request(%Message{start_line: %{method: method}} = request, key, stack) do
    Notebook.tell(stack, {:request, method, request, key})
    Sippet.send(stack, answer(method, request))
  end

  @impl true
  def receive_error(reason, key, stack), do: Notebook.tell(stack, {:error, reason, key})

  defp answer(:register, request) do
    case DigestAuth.verify(request, @realm, &password/1) do
      {:ok, "alice"} ->
        registered(request)

      {:error, reason} when reason in [:wrong_response, :unknown_user] ->
        Message.to_response(request, 403)

      {:error, _reason} ->
        challenge(request)
    end
  end

  defp answer(_other, request), do: Message.to_response(request, 501)

  defp password("alice"), do: {:ok, "secret"}
  defp password(_other), do: {:error, :unknown}

  defp challenge(request) do
    {:ok, response} = DigestAuth.make_response(request, 401, @realm, algorithm: "MD5")
    response
  end

  # RFC3261§10.3 - the answer lists the bindings, each with the time that it has left
  defp registered(%Message{headers: headers} = request) do
    bindings =
      for {name, uri, params} <- headers.contact do
        {name, uri, Map.put(params, "expires", Integer.to_string(headers.expires))}
      end

    request |> Message.to_response(200) |> Message.put_header(:contact, bindings)
  end
end
