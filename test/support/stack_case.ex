defmodule Sippet.StackCase do
  @moduledoc false
  # A whole stack for a test: its core tells the test of each callback, its transport of each message sent.

  use ExUnit.CaseTemplate

  import ExUnit.Assertions

  alias Sippet.{Message, Stack, TestCore, TestTransport, URI}

  @remote {:udp, {192, 0, 2, 7}, 4321}

  using do
    quote do
      import Sippet.StackCase
      alias Sippet.{Message, Router}
    end
  end

  setup context do
    name = Module.concat(context.module, "Stack#{System.unique_integer([:positive])}")
    options = [name: name, core: TestCore, t1: 100, t2: 400, t4: 200, answer_timeout: 1_000]
    limits = [max_transactions: 1_000, max_pending: 1_000, max_requests: 10_000]
    options = options |> Keyword.merge(limits) |> Keyword.merge(Map.get(context, :stack, []))
    {known, private} = Keyword.split(options, Keyword.keys(Stack.Options.schema()))

    start_supervised!(%{
      id: name,
      start: {Sippet, :start_link, [known, Map.new([{:test, self()} | private])]},
      type: :supervisor
    })

    if Map.get(context, :transport, true) do
      :ok =
        Sippet.register_transport(name, :udp, false,
          address: {{127, 0, 0, 1}, 5060},
          via: {TestTransport, self()}
        )
    end

    %{stack: name}
  end

  def remote, do: @remote

  # Hands the stack what a transport would.
  def deliver(stack, text, remote \\ @remote),
    do: Sippet.Router.handle_transport_message(stack, text, remote)

  # A request as text; a header given replaces the one here, `nil` leaves it out.
  def wire(method, headers \\ []) do
    defaults = [
      {"Via", "SIP/2.0/UDP 10.1.1.1;branch=z9hG4bK#{System.unique_integer([:positive])};rport"},
      {"From", "<sip:a@atlanta.com>;tag=1"},
      {"To", "<sip:b@biloxi.com>"},
      {"Call-ID", "call-#{System.unique_integer([:positive])}"},
      {"CSeq", "1 #{method}"},
      {"Max-Forwards", "70"}
    ]

    lines =
      for {name, value} <- merged(defaults, headers),
          value != nil,
          do: [name, ": ", value, "\r\n"]

    IO.iodata_to_binary([method, " sip:b@biloxi.com SIP/2.0\r\n", lines, "\r\n"])
  end

  # A request of the stack's own, with a branch and a Call-ID of its own.
  def own_request(method, uri, sent_by \\ {"127.0.0.1", 5060}) do
    Message.build_request(method, uri)
    |> Message.put_header(:via, [
      {{2, 0}, :udp, sent_by, %{"branch" => Message.create_branch()}}
    ])
    |> Message.put_header(:from, {"", URI.parse!("sip:a@b"), %{"tag" => "1"}})
    |> Message.put_header(:to, {"", URI.parse!("sip:b@b"), %{}})
    |> Message.put_header(:call_id, Message.create_call_id())
    |> Message.put_header(:cseq, {1, method})
    |> Message.put_header(:contact, [{"", URI.parse!("sip:a@127.0.0.1"), %{}}])
  end

  defp merged(defaults, headers) do
    kept = Enum.reject(defaults, fn {name, _value} -> List.keymember?(headers, name, 0) end)
    Enum.sort_by(kept ++ headers, fn {name, _value} -> if name == "Via", do: 0, else: 1 end)
  end

  # The next message that the stack sent, parsed, and where to. Where the machine is slow, the stack's own 100 comes before it.
  def assert_sent(wanted) do
    assert_receive {:sent, destination, octets, _key}, 500
    message = Message.parse!(octets)

    case message.start_line do
      %{status_code: 100} when wanted != 100 -> assert_sent(wanted)
      %{status_code: status} -> assert status == wanted
      %{method: method} -> assert method == wanted
    end

    {message, destination}
  end
end
