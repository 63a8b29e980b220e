defmodule Sippet.Interop.Endpoint do
  @moduledoc false
  # What both sides of a call write into their messages.

  alias Sippet.Interop.Notebook
  alias Sippet.{Message, URI}

  @type via :: {{2, 0}, Message.protocol(), {String.t(), :inet.port_number()}, map}

  @doc """
  A topmost Via of this stack, with a branch of its own.
  """
  @spec via(atom) :: via
  def via(stack) do
    {host, port} = Notebook.fetch!(stack, :local)
    {{2, 0}, protocol(stack), {host, port}, %{"branch" => Message.create_branch()}}
  end

  # RFC3261§18.1.1 - a stack whose only transport is not UDP says so in its URIs
  defp protocol(stack), do: Notebook.get(stack, :protocol, :udp)

  defp uri(stack, user, {host, port}) do
    parameters =
      case protocol(stack) do
        :udp -> nil
        protocol -> ";transport=#{protocol}"
      end

    %URI{scheme: "sip", userinfo: user, host: host, port: port, parameters: parameters}
  end

  @doc """
  Where this stack wants the requests of a dialog.
  """
  @spec contact(atom) :: {String.t(), URI.t(), map}
  def contact(stack) do
    {"", uri(stack, nil, Notebook.fetch!(stack, :local)), %{}}
  end

  @doc """
  The address of record of whoever sends requests here.
  """
  @spec alice() :: URI.t()
  def alice, do: %URI{scheme: "sip", userinfo: "alice", host: "test.local", port: 5060}

  @doc """
  A request outside of any dialog, to a user at an address.
  """
  @spec request(atom, atom, String.t(), {String.t(), :inet.port_number()}) :: Message.request()
  def request(stack, method, user, address) do
    uri = uri(stack, user, address)

    method
    |> Message.build_request(uri)
    |> Message.put_header(:via, [via(stack)])
    |> Message.put_header(:from, {"", alice(), %{"tag" => Message.create_tag()}})
    |> Message.put_header(:to, {"", uri, %{}})
    |> Message.put_header(:call_id, Message.create_call_id())
    |> Message.put_header(:cseq, {1, method})
    |> Message.put_header(:contact, [contact(stack)])
  end

  @doc """
  A request in the dialog that a 2xx of the other side made (RFC 3261 §12.2.1.1).
  """
  @spec in_dialog(atom, atom, pos_integer, Message.response()) :: Message.request()
  def in_dialog(stack, method, number, %Message{headers: headers}) do
    [{_name, remote_target, _params} | _] = headers.contact
    # RFC3261§12.1.2 - the route set is the Record-Route, in reverse
    route = headers |> Map.get(:record_route, []) |> Enum.reverse()

    request =
      method
      |> Message.build_request(remote_target)
      |> Message.put_header(:via, [via(stack)])
      |> Message.put_header(:from, headers.from)
      |> Message.put_header(:to, headers.to)
      |> Message.put_header(:call_id, headers.call_id)
      |> Message.put_header(:cseq, {number, method})

    if route == [], do: request, else: Message.put_header(request, :route, route)
  end

  @doc """
  The same request once more, in a transaction of its own, with the next number (RFC 3261 §22.2).
  """
  @spec again(Message.request(), atom) :: Message.request()
  def again(%Message{headers: %{cseq: {number, method}}} = request, stack) do
    request
    |> Message.put_header(:via, [via(stack)])
    |> Message.put_header(:cseq, {number + 1, method})
  end

  @doc """
  The CANCEL of an INVITE.
  """
  @spec cancel(Message.request()) :: Message.request()
  # RFC3261§9.1 - the INVITE's Request-URI, Call-ID, To, From, Route, number, and its topmost Via alone
  def cancel(%Message{start_line: line, headers: headers, target: target}) do
    {number, :invite} = headers.cseq
    copied = Map.take(headers, [:from, :to, :call_id, :route])

    :cancel
    |> Message.build_request(line.request_uri)
    |> Map.update!(:headers, &Map.merge(&1, copied))
    |> Message.put_header(:via, Enum.take(headers.via, 1))
    |> Message.put_header(:cseq, {number, :cancel})
    |> Map.put(:target, target)
  end

  @doc """
  A description of a session with one audio stream that nobody sends.
  """
  @spec put_sdp(Message.t(), atom) :: Message.t()
  def put_sdp(message, stack) do
    {host, _port} = Notebook.fetch!(stack, :local)
    family = if String.contains?(host, ":"), do: "IP6", else: "IP4"

    sdp =
      [
        "v=0",
        "o=- 1 1 IN #{family} #{host}",
        "s=-",
        "c=IN #{family} #{host}",
        "t=0 0",
        "m=audio 9 RTP/AVP 0"
      ]
      |> Enum.map_join(&(&1 <> "\r\n"))

    message
    |> Message.put_header(:content_type, {{"application", "sdp"}, %{}})
    |> Map.put(:body, sdp)
  end
end
