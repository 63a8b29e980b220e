defmodule Sippet.ScriptedUserAgent do
  @moduledoc false
  # A user agent that does nothing by itself: its core tells the test what comes, and the test says what it sends.

  use Sippet.Core

  alias Sippet.Interop.Notebook
  alias Sippet.{Message, URI}

  @impl true
  def receive_request(%Message{start_line: %{method: method}} = request, key, stack),
    do: Notebook.tell(stack, {:request, method, request, key})

  @impl true
  def receive_response(%Message{start_line: %{status_code: status}} = response, key, stack) do
    {_number, method} = response.headers.cseq
    Notebook.tell(stack, {:response, method, status, response, key})
  end

  @impl true
  def receive_error(reason, key, stack), do: Notebook.tell(stack, {:error, reason, key})

  @doc """
  A request outside of any dialog, from a user of example.com. Options: `:from` a URI, `:to` a URI, `:route` a list of URIs.
  """
  @spec request(atom, atom | String.t(), String.t(), keyword) :: Message.request()
  def request(stack, method, uri, options \\ []) do
    from = Keyword.get(options, :from, "sip:alice@example.com")
    to = Keyword.get(options, :to, uri)

    request =
      method
      |> Message.build_request(uri)
      |> Message.put_header(:from, {"", URI.parse!(from), %{}})
      |> Message.put_header(:to, {"", URI.parse!(to), %{}})
      |> Message.put_header(:contact, [contact(stack, URI.parse!(from).userinfo)])
      |> Message.complete()

    case Keyword.get(options, :route, []) do
      [] ->
        request

      uris ->
        Message.put_header(request, :route, for(uri <- uris, do: {"", URI.parse!(uri), %{}}))
    end
  end

  @doc """
  Sends a request with a Via of its own, and returns it with that. Its sent-by is the stack's to write.
  """
  @spec send_request(atom, Message.request()) :: Message.request()
  def send_request(stack, request) do
    request = request |> Message.delete_header(:via) |> Message.complete()
    :ok = Sippet.send(stack, request)
    request
  end

  @doc """
  Answers a request. A 2xx and a provisional response to an INVITE get a Contact.
  """
  @spec reply(atom, Message.request(), 100..699, (Message.response() -> Message.response())) ::
          Message.response()
  def reply(stack, request, status, change \\ & &1) do
    {_name, uri, _params} = request.headers.to
    response = Message.to_response(request, status)

    response =
      if request.start_line.method == :invite and status in 101..299,
        do: Message.put_header(response, :contact, [contact(stack, uri.userinfo)]),
        else: response

    response = change.(response)
    :ok = Sippet.send(stack, response)
    response
  end

  @doc """
  Returns where the user agent is, as a host and a port.
  """
  @spec local(atom) :: {String.t(), :inet.port_number()}
  def local(stack), do: Notebook.fetch!(stack, :local)

  @spec contact(atom, String.t() | nil) :: {String.t(), URI.t(), map}
  def contact(stack, user) do
    {host, port} = local(stack)
    {"", %URI{scheme: "sip", userinfo: user, host: host, port: port}, %{}}
  end

  @doc """
  The next message of a kind that came to a scripted user agent: a method, or a status and a method.
  """
  defmacro assert_came(stack, method) when is_atom(method) do
    quote do
      stack = unquote(stack)
      assert_receive {^stack, {:request, unquote(method), request, _key}}, 2_000
      request
    end
  end

  defmacro assert_came(stack, {status, method}) do
    quote do
      stack = unquote(stack)

      assert_receive {^stack, {:response, unquote(method), unquote(status), response, _key}},
                     2_000

      response
    end
  end
end
