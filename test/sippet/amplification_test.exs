defmodule Sippet.AmplificationTest do
  # What a request from a forged address makes the stack send there. `SIPPET_WRITE=1 mix test
  # test/sippet/amplification_test.exs` writes the table of SECURITY.md.
  use ExUnit.Case, async: true

  alias Sippet.{DigestAuth, Message, TestTransport, Transactions}
  alias Sippet.Transactions.Clock

  @document "SECURITY.md"
  @begins "<!-- The table is written by test/sippet/amplification_test.exs. -->\n"
  @ends "<!-- End of the table. -->\n"

  @remote {:udp, {192, 0, 2, 7}, 5060}

  # As short as a request can be that is taken.
  defp request(method) do
    "#{method} sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1\r\nFrom: <sip:c@d>;tag=1\r\nTo: <sip:a@b>\r\n" <>
      "Call-ID: 1\r\nCSeq: 1 #{method}\r\nContact: <sip:c@d>\r\n\r\n"
  end

  defp request(method, :malformed),
    do: String.replace(request(method), "CSeq: 1", "CSeq: x")

  defp request(method, _sound), do: request(method)

  # What each core does with a request, in the words of the table.
  defmodule Core do
    use Sippet.Core

    def receive_request(request, _key, stack) do
      case request.start_line.request_uri.userinfo && :persistent_term.get({__MODULE__, stack}) do
        :challenge -> Sippet.reply(stack, challenge(request))
        :challenge_by_transaction -> Sippet.send(stack, challenge(request))
        :refuse -> Sippet.reply(stack, request, 486)
        :refuse_by_transaction -> Sippet.send(stack, Message.to_response(request, 486))
        :ring_and_accept -> accept(request, stack)
        :ok -> Sippet.send(stack, Message.to_response(request, 200))
        :silent -> :ok
      end
    end

    def receive_error(_reason, _key, _stack), do: :ok

    defp challenge(request) do
      {:error, response} =
        DigestAuth.authenticate(request, "example.com", fn _user -> {:error, :unknown} end)

      response
    end

    defp accept(request, stack) do
      Sippet.send(stack, Message.to_response(request, 180))
      ok = Message.to_response(request, 200)
      Sippet.send(stack, ok)
      Sippet.retransmit_2xx(stack, ok)
    end
  end

  @rows [
    {"a challenge by `reply/2`", "INVITE", :challenge},
    {"a challenge by `send/2`", "INVITE", :challenge_by_transaction},
    {"486 by `reply/3`", "INVITE", :refuse},
    {"486 by `send/2`", "INVITE", :refuse_by_transaction},
    {"180 and 200, which nobody acknowledges", "INVITE", :ring_and_accept},
    {"an INVITE that the core never answers", "INVITE", :silent},
    {"200 to another request", "OPTIONS", :ok},
    {"a challenge to another request by `send/2`", "REGISTER", :challenge_by_transaction},
    {"400 of the stack's own", "OPTIONS", :malformed},
    {"481 to a CANCEL", "CANCEL", :silent}
  ]

  defp table do
    rows =
      for {what, method, does} <- @rows do
        request = request(method, does)
        sent = sent(request, does)
        octets = sent |> Enum.map(&byte_size/1) |> Enum.sum()
        factor = :erlang.float_to_binary(octets / byte_size(request), decimals: 1)
        "| #{what} | #{length(sent)} | #{octets} | #{factor} |\n"
      end

    IO.iodata_to_binary([
      "| answer | packets | octets | times the request |\n|---|---|---|---|\n",
      rows
    ])
  end

  # All that goes to the sender, until nothing is left of its request.
  defp sent(request, does) do
    name = :"amplification#{System.unique_integer([:positive])}"
    :persistent_term.put({Core, name}, does)
    options = [name: name, core: Core]

    start_supervised!(%{
      id: name,
      start: {Sippet, :start_link, [options, %{clock: Clock.new()}]},
      type: :supervisor
    })

    how = [address: {{127, 0, 0, 1}, 5060}, via: {TestTransport, self()}]
    :ok = Sippet.register_transport(name, :udp, false, how)
    stack = Sippet.Stack.fetch!(name)

    Sippet.Router.handle_transport_message(name, request, @remote)
    # The core works in real time.
    Process.sleep(50)
    for _ <- 1..100, do: Transactions.advance(stack, 1_000)
    assert Transactions.held(stack).rows == 0
    stop_supervised!(name)
    flush([])
  end

  defp flush(sent) do
    receive do
      {:sent, {{192, 0, 2, 7}, _port}, octets, _key} -> flush([octets | sent])
    after
      0 -> sent
    end
  end

  test "is what SECURITY.md says of each answer" do
    text = File.read!(@document)
    [before, rest] = String.split(text, @begins)
    [_table, behind] = String.split(rest, @ends)
    written = before <> @begins <> table() <> @ends <> behind
    if System.get_env("SIPPET_WRITE"), do: File.write!(@document, written)
    assert File.read!(@document) == written
  end
end
