defmodule Sippet.Interop.Script do
  @moduledoc false
  # A user agent whose part the test plays itself, step by step: the test owns all that comes and goes, on a stack
  # whose core hands it every request. What a real program does meanwhile is its own affair.

  import ExUnit.Assertions

  alias Sippet.Interop.{Endpoint, Notebook}
  alias Sippet.{Dialog, Message}

  defmodule Core do
    @moduledoc false
    use Sippet.Core

    @impl true
    def receive_request(request, key, stack) do
      owner = Notebook.fetch!(stack, :observer)
      unless key == nil, do: Sippet.controlling_process(stack, key, owner)
      send(owner, {:sippet, stack, key, {:request, request}})
    end

    @impl true
    def receive_response(_response, _key), do: :ok

    @impl true
    def receive_error(_reason, _key), do: :ok
  end

  # Longer than any of the programs takes.
  @patience 5_000

  @allow ~w(INVITE ACK CANCEL BYE UPDATE PRACK REFER NOTIFY SUBSCRIBE OPTIONS)

  @doc """
  Where the stack wants the requests of its dialogs.
  """
  def contact(stack), do: {"", Sippet.own_uri(stack, user: "script"), %{}}

  @doc """
  A request outside of a dialog to a user at an address, with these headers.
  """
  def new_request(stack, method, user, {ip, port}, headers \\ []) do
    method
    |> Message.build_request("sip:#{user}@#{:inet.ntoa(ip)}:#{port}")
    |> Message.put_headers(from: contact(stack), contact: [contact(stack)], allow: @allow)
    |> Message.put_headers(headers)
    |> Message.complete()
  end

  def send_request(stack, request), do: :ok = Sippet.send(stack, request, owner: self())

  @doc """
  The next response of this status to a request of this method. Fails the test where a final one of another status comes.
  """
  def response(stack, method, status) do
    assert_receive {:sippet, ^stack, _key,
                    {:response, %{headers: %{cseq: {_number, ^method}}} = response}},
                   @patience

    case response.start_line.status_code do
      ^status -> response
      provisional when provisional < 200 -> response(stack, method, status)
      other -> flunk("expected #{status} to #{method}, got #{other}:\n#{response}")
    end
  end

  @doc """
  The next request of this method.
  """
  def request(stack, method) do
    assert_receive {:sippet, ^stack, _key,
                    {:request, %{start_line: %{method: ^method}} = request}},
                   @patience

    request
  end

  @doc """
  Answers a request; a 2xx to INVITE has a Contact and a session description, and is repeated until its ACK comes.
  """
  def answer(stack, request, status, headers \\ []) do
    response =
      request
      |> Message.to_response(status)
      |> Message.put_headers(contact: [contact(stack)], allow: @allow)
      |> Message.put_headers(headers)

    response =
      if request.start_line.method == :invite,
        do: Endpoint.put_sdp(response, stack),
        else: response

    :ok = Sippet.send(stack, response)

    if match?({:invite, 2}, {request.start_line.method, div(status, 100)}),
      do: :ok = Sippet.retransmit_2xx(stack, response)

    response
  end

  @doc """
  Calls, and acknowledges the answer. Gives the dialog, the INVITE and its 2xx.
  """
  def call(stack, user, address, headers \\ []) do
    invite = stack |> new_request(:invite, user, address, headers) |> Endpoint.put_sdp(stack)
    send_request(stack, invite)
    ok = response(stack, :invite, 200)
    {acknowledge(stack, invite, ok), invite, ok}
  end

  @doc """
  The dialog of a 2xx to an INVITE, which is acknowledged; from now on its requests come to the test.
  """
  def acknowledge(stack, invite, ok) do
    {:ok, dialog} = Dialog.uac(invite, ok)
    :ok = Sippet.controlling_process(stack, dialog, self())
    :ok = Sippet.send(stack, Dialog.build_ack(dialog, ok, invite))
    dialog
  end

  @doc """
  Takes the next call, and answers it. Gives the dialog and the INVITE.
  """
  def take_call(stack, headers \\ []) do
    invite = request(stack, :invite)
    ok = answer(stack, invite, 200, headers)
    {:ok, dialog} = Dialog.uas(invite, ok)
    :ok = Sippet.controlling_process(stack, dialog, self())
    ack = request(stack, :ack)
    {:ok, dialog} = dialog |> Dialog.respond(ok) |> Dialog.receive_request(ack)
    {dialog, invite}
  end

  @doc """
  Sends a request within a dialog, and waits for its 200. Gives the dialog, the request and the response.
  """
  def ask(stack, dialog, method, options \\ []) do
    {status, options} = Keyword.pop(options, :status, 200)
    {change, options} = Keyword.pop(options, :change, & &1)
    {:ok, request, dialog} = Dialog.next_request(dialog, method, options)
    request = change.(if method == :invite, do: Endpoint.put_sdp(request, stack), else: request)
    send_request(stack, request)
    response = response(stack, method, status)
    {:ok, dialog} = Dialog.receive_response(dialog, response)

    if method == :invite and status < 300,
      do: :ok = Sippet.send(stack, Dialog.build_ack(dialog, response, request))

    {dialog, request, response}
  end

  def hang_up(stack, dialog), do: ask(stack, dialog, :bye)

  @doc """
  Takes a BYE, and answers it.
  """
  def take_bye(stack), do: answer(stack, request(stack, :bye), 200)
end
