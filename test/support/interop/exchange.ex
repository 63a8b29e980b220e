defmodule Sippet.Interop.Exchange do
  @moduledoc false
  # The exchange of test.local: a registrar, and a stateful proxy that asks callers for their password, brings their
  # requests to where the called user is registered, and stays in the way of the dialog.

  use Sippet.Core

  alias Sippet.DigestAuth
  alias Sippet.Interop.{Notebook, Party, Registrar}
  alias Sippet.{Message, URI}
  alias Sippet.Transactions.{Client, Server}

  @realm "test.local"

  @impl true
  def receive_request(%Message{start_line: %{method: :register}} = request, key, stack),
    do: Registrar.receive_request(request, key, stack)

  def receive_request(%Message{start_line: %{method: method}} = request, key, stack) do
    Notebook.tell(stack, {:request, method, request, key})
    take(method, unroute(request, stack), key, stack)
  end

  @impl true
  # RFC3261§16.7 - a 100 goes no further than the next hop; any other response goes where the next Via says
  def receive_response(%Message{start_line: %{status_code: 100}}, _key, _stack), do: :ok

  def receive_response(%Message{headers: %{cseq: {_number, method}}} = response, key, stack) do
    Notebook.tell(stack, {:response, method, response.start_line.status_code, response, key})
    # What has no Via left answers a CANCEL, which was the proxy's own.
    response = Message.delete_header_front(response, :via)
    if response.headers[:via] not in [nil, []], do: Sippet.send(stack, response)
  end

  @impl true
  # RFC3261§16.9 - a request that could not be brought on counts as answered with 503, one without an answer as with 408
  def receive_error(reason, %Client.Key{} = key, stack) do
    Notebook.tell(stack, {:error, reason, key})
    status = if reason == :timeout, do: 408, else: 503
    with %Message{} = request <- Notebook.get(stack, key, nil), do: reply(stack, request, status)
  end

  def receive_error(reason, key, stack), do: Notebook.tell(stack, {:error, reason, key})

  # RFC3261§16.10 - a proxy answers a CANCEL by itself, and sends another after the INVITE that it had sent on
  defp take(:cancel, cancel, key, stack) do
    reply(stack, cancel, 200)
    invite = Notebook.fetch!(stack, {:forwarded, Server.Key.invite(key)})
    Sippet.send(stack, Party.cancel(invite))
  end

  defp take(method, request, key, stack) do
    cond do
      request.headers.max_forwards == 0 -> refuse(stack, request, key, 483)
      in_dialog?(request) -> forward(request, request.start_line.request_uri, key, stack)
      method == :ack -> :ok
      true -> connect(request, key, stack)
    end
  end

  # RFC3261§12.2.2 - what has a tag in its To is of a dialog that was made before
  defp in_dialog?(%Message{headers: %{to: {_name, _uri, params}}}),
    do: Map.has_key?(params, "tag")

  defp connect(request, key, stack) do
    with {:ok, _user} <-
           DigestAuth.verify(request, @realm, &Registrar.password/1, status: 407),
         %URI{} = contact <- Registrar.lookup(stack, request.start_line.request_uri.userinfo) do
      request
      |> Message.delete_header(:proxy_authorization)
      |> record_route(stack)
      |> forward(contact, key, stack)
    else
      {:error, reason} when reason in [:wrong_response, :unknown_user] ->
        refuse(stack, request, key, 403)

      {:error, _reason} ->
        {:ok, response} = DigestAuth.make_response(request, 407, @realm)
        Sippet.send(stack, response)

      nil ->
        refuse(stack, request, key, 404)
    end
  end

  # RFC3261§16.6
  defp forward(request, request_uri, key, stack) do
    onward =
      put_in(request.start_line.request_uri, request_uri)
      |> Message.update_header(:max_forwards, &(&1 - 1))
      |> Message.put_header_front(:via, Party.via(stack))

    Notebook.put(stack, {:forwarded, key}, onward)
    unless key == nil, do: Notebook.put(stack, Client.Key.new(onward), request)
    Sippet.send(stack, onward)
  end

  # RFC3261§16.4 - a first Route that names this proxy is taken off
  defp unroute(%Message{headers: %{route: [{_name, uri, _params} | _]}} = request, stack) do
    if {uri.host, uri.port} == Notebook.fetch!(stack, :local),
      do: Message.delete_header_front(request, :route),
      else: request
  end

  defp unroute(request, _stack), do: request

  # RFC3261§16.6 item 4 - to stay in the way of the dialog that the request makes
  defp record_route(%Message{start_line: %{method: :invite}} = request, stack) do
    {host, port} = Notebook.fetch!(stack, :local)
    own = {"", %URI{scheme: "sip", host: host, port: port, parameters: ";lr"}, %{}}
    Message.put_header_front(request, :record_route, own)
  end

  defp record_route(request, _stack), do: request

  defp refuse(_stack, _ack, nil, _status), do: :ok
  defp refuse(stack, request, _key, status), do: reply(stack, request, status)

  defp reply(stack, request, status), do: Sippet.send(stack, Message.to_response(request, status))
end
