defmodule Sippet.Interop.Registrar do
  @moduledoc false
  # A registrar of test.local for alice and bob, whose password is "secret".

  use Sippet.Core

  alias Sippet.DigestAuth
  alias Sippet.Interop.Notebook
  alias Sippet.{Message, URI}

  @realm "test.local"

  @doc """
  Where a user of a stack is registered, or `nil`.
  """
  @spec lookup(atom, String.t()) :: URI.t() | nil
  def lookup(stack, user) do
    with {_name, uri, _params} <- Notebook.get(stack, {:binding, user}, nil), do: uri
  end

  @doc """
  The password of a user, as `Sippet.DigestAuth` asks for it.
  """
  @spec password(String.t()) :: {:ok, String.t()} | {:error, :unknown}
  def password(user) when user in ["alice", "bob"], do: {:ok, "secret"}
  def password(_other), do: {:error, :unknown}

  @impl true
  def receive_request(%Message{start_line: %{method: method}} = request, key, stack) do
    Notebook.tell(stack, {:request, method, request, key})
    Sippet.send(stack, answer(method, request, stack))
  end

  @impl true
  def receive_error(reason, key, stack), do: Notebook.tell(stack, {:error, reason, key})

  defp answer(:register, request, stack) do
    case DigestAuth.verify(request, @realm, &password/1) do
      {:ok, user} ->
        register(request, user, stack)

      {:error, reason} when reason in [:wrong_response, :unknown_user] ->
        Message.to_response(request, 403)

      {:error, _reason} ->
        challenge(request)
    end
  end

  defp answer(_other, request, _stack), do: Message.to_response(request, 501)

  defp challenge(request) do
    {:ok, response} = DigestAuth.make_response(request, 401, @realm, algorithm: "MD5")
    response
  end

  # RFC3261§10.3 - the answer lists the bindings, each with the time that it has left. Here a user has one.
  defp register(%Message{headers: headers} = request, user, stack) do
    bindings = Enum.reject(bindings(headers), &(elem(&1, 2)["expires"] == "0"))
    Notebook.put(stack, {:binding, user}, List.first(bindings))
    response = Message.to_response(request, 200)
    if bindings == [], do: response, else: Message.put_header(response, :contact, bindings)
  end

  defp bindings(%{contact: "*"}), do: []

  # RFC3261§10.2.1.1 - the time of the Contact, else that of the Expires header, else the registrar's own
  defp bindings(%{contact: contacts} = headers) do
    expires = headers |> Map.get(:expires, 3_600) |> Integer.to_string()
    for {name, uri, params} <- contacts, do: {name, uri, Map.put_new(params, "expires", expires)}
  end
end
