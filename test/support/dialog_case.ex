defmodule Sippet.DialogCase do
  @moduledoc false
  # A call from Alice to Bob, as values: what they send each other, and the dialog at either end.

  use ExUnit.CaseTemplate

  alias Sippet.{Dialog, Message, URI}

  using do
    quote do
      import Sippet.DialogCase
      alias Sippet.{Dialog, Message, URI}
    end
  end

  def address(uri, tag \\ nil),
    do: {"", URI.parse!(uri), if(tag, do: %{"tag" => tag}, else: %{})}

  def route(uris), do: Enum.map(uris, &address/1)

  @doc """
  The INVITE that begins the call. A header given replaces the one here, `nil` leaves it out.
  """
  def invite(headers \\ []) do
    defaults = [to: address("sip:bob@biloxi.com"), contact: [address("sip:alice@192.0.2.1")]]
    alices(:invite, 7, defaults ++ headers)
  end

  @doc """
  A request that Alice sends within the dialog.
  """
  def alices(method, number, headers \\ []) do
    request(method, "sip:bob@192.0.2.4", number,
      from: address("sip:alice@atlanta.com", "a"),
      to: address("sip:bob@biloxi.com", "b")
    )
    |> put_all(headers)
  end

  @doc """
  A request that Bob sends within the dialog.
  """
  def bobs(method, number, headers \\ []) do
    request(method, "sip:alice@192.0.2.1", number,
      from: address("sip:bob@biloxi.com", "b"),
      to: address("sip:alice@atlanta.com", "a")
    )
    |> put_all(headers)
  end

  defp request(method, uri, number, headers) do
    via = {{2, 0}, :udp, {"192.0.2.1", 5060}, %{"branch" => Message.create_branch()}}
    more = [via: [via], call_id: "call", cseq: {number, method}, max_forwards: 70]
    put_all(Message.build_request(method, uri), headers ++ more)
  end

  @doc """
  Bob's response to a request of Alice's, with his tag and his Contact.
  """
  def answer(request, status, headers \\ []) do
    {name, uri, _params} = request.headers.to

    request
    |> Message.to_response(status)
    |> put_all(to: {name, uri, %{"tag" => "b"}}, contact: [address("sip:bob@192.0.2.4")])
    |> put_all(headers)
  end

  def put_all(message, headers) do
    Enum.reduce(headers, message, fn
      {name, nil}, message -> Message.delete_header(message, name)
      {name, value}, message -> Message.put_header(message, name, value)
    end)
  end

  @doc """
  Alice's end, by a response to her INVITE.
  """
  def alice(status \\ 200, headers \\ []) do
    {:ok, dialog} = Dialog.uac(invite(), answer(invite(), status, headers))
    dialog
  end

  @doc """
  Bob's end, by an INVITE with these headers.
  """
  def bob(headers \\ [], status \\ 200) do
    {:ok, dialog} = Dialog.uas(invite(headers), answer(invite(headers), status))
    dialog
  end

  @doc """
  Bob's end, whose 2xx has its ACK.
  """
  def acknowledged_bob do
    {:ok, dialog} = Dialog.receive_request(bob(), alices(:ack, 7))
    dialog
  end

  @doc """
  The next request of an end, and its dialog then.
  """
  def next(dialog, method) do
    {:ok, request, dialog} = Dialog.next_request(dialog, method)
    {request, dialog}
  end

  @doc """
  The dialog after a response that came.
  """
  def received(dialog, response) do
    with {:ok, dialog} <- Dialog.receive_response(dialog, response), do: dialog
  end
end
