# What `script/demo` runs; the shell script says how.

defmodule Demo.Server do
  # Registers who knows the password, and answers every call.

  use Sippet.Core

  alias Sippet.{DigestAuth, Message}

  @realm "demo.invalid"
  @sdp """
  v=0\r
  o=- 1 1 IN IP4 127.0.0.1\r
  s=-\r
  c=IN IP4 127.0.0.1\r
  t=0 0\r
  m=audio 9 RTP/AVP 0\r
  """

  @impl true
  def receive_request(%Message{start_line: %{method: method}} = request, key, stack),
    do: answer(method, request, key, stack)

  @impl true
  def receive_response(_response, _key), do: :ok

  @impl true
  def receive_error(_reason, _key), do: :ok

  defp answer(:register, request, _key, stack) do
    response =
      case DigestAuth.verify(request, @realm, &password/1) do
        {:ok, _user} -> request |> Message.to_response(200) |> bindings(request)
        {:error, :stale} -> challenge(request, stale: true)
        {:error, _reason} -> challenge(request, [])
      end

    Sippet.send(stack, response)
  end

  defp answer(:invite, request, _key, stack) do
    for status <- [180, 200] do
      response = request |> Message.to_response(status) |> put_contact(stack)
      Sippet.send(stack, if(status == 200, do: put_sdp(response), else: response))
      if status == 200, do: Sippet.retransmit_2xx(stack, put_sdp(response))
    end
  end

  defp answer(:ack, _request, _key, _stack), do: :ok

  defp answer(:cancel, request, _key, stack),
    do: Sippet.send(stack, Message.to_response(request, 200))

  defp answer(method, request, _key, stack) when method in [:bye, :options],
    do: Sippet.send(stack, Message.to_response(request, 200))

  # RFC3261§8.2.1 - a method that is not supported gets 405 with those that are
  defp answer(_method, request, _key, stack) do
    response =
      request
      |> Message.to_response(405)
      |> Message.put_header(:allow, ~w(INVITE ACK CANCEL BYE OPTIONS REGISTER))

    Sippet.send(stack, response)
  end

  defp password("alice"), do: {:ok, "secret"}
  defp password(_user), do: :error

  defp challenge(request, options) do
    {:ok, response} = DigestAuth.make_response(request, 401, @realm, options)
    response
  end

  defp bindings(response, request) do
    response
    |> Message.put_header(:contact, Message.get_header(request, :contact, []))
    |> Message.put_header(:expires, 3600)
  end

  defp put_contact(response, stack),
    do: Message.put_header(response, :contact, [{"", Sippet.own_uri(stack, user: "bob"), %{}}])

  defp put_sdp(response) do
    %{Message.put_header(response, :content_type, {{"application", "sdp"}, %{}}) | body: @sdp}
  end
end

defmodule Demo.Caller do
  # Hands what comes to the demo's own process, which plays the call.

  use Sippet.Core

  @impl true
  def receive_request(request, key), do: send(Demo, {:request, request, key})

  @impl true
  def receive_response(response, _key), do: send(Demo, {:response, response})

  @impl true
  def receive_error(reason, key), do: send(Demo, {:error, reason, key})
end

defmodule Demo.Call do
  # A registration and a call, message by message.

  alias Sippet.{Dialog, DigestAuth, Message, URI}

  def play(server_port) do
    {:ok, _} = register("sip:127.0.0.1:#{server_port}")
    invite = request(:invite, "sip:bob@127.0.0.1:#{server_port}")
    {:ok, ok} = exchange(invite)

    {:ok, dialog} = Dialog.uac(invite, ok)
    :ok = Sippet.send(:alice, Dialog.build_ack(dialog, ok))
    {:ok, bye, _dialog} = Dialog.next_request(dialog, :bye)
    {:ok, _} = exchange(bye)
    :ok
  end

  defp register(registrar) do
    request = request(:register, registrar)

    with {:ok, %{start_line: %{status_code: 401}} = challenge} <- exchange(request),
         {:ok, request} <- DigestAuth.make_request(request, challenge, &credentials/1),
         do: request |> Message.renew() |> exchange()
  end

  defp credentials(_realm), do: {:ok, "alice", "secret"}

  defp request(method, uri) do
    from = {"Alice", URI.parse!("sip:alice@127.0.0.1"), %{}}

    Message.build_request(method, uri)
    |> Message.put_headers(
      from: from,
      contact: [{"", Sippet.own_uri(:alice, user: "alice"), %{}}]
    )
    |> Message.complete()
  end

  defp exchange(request) do
    :ok = Sippet.send(:alice, request)
    final()
  end

  defp final do
    receive do
      {:response, %Message{start_line: %{status_code: status}}} when status < 200 -> final()
      {:response, response} -> {:ok, response}
      {:error, reason, _key} -> {:error, reason}
    after
      5_000 -> {:error, :no_answer}
    end
  end
end

defmodule Demo do
  alias Sippet.{Message, Trace}
  alias Sippet.Transports.UDP

  @ip {127, 0, 0, 1}

  def main([]) do
    Process.register(self(), Demo)
    server_port = start(:server, Demo.Server, 0)
    caller_port = start(:alice, Demo.Caller, 0)
    {:ok, trace} = Trace.start(:alice)
    outcome = Demo.Call.play(server_port)

    calls = Trace.stop(trace)
    names = %{{@ip, caller_port} => "alice", {@ip, server_port} => "server"}
    for call <- calls, entry <- call.entries, do: print(entry, names)
    IO.puts("")
    Trace.print(calls, names: names, plain: true)
    IO.puts("\nThe calls were set up and ended: #{inspect(outcome)}")
  end

  def main(["--listen"]) do
    port = start(:server, Demo.Server, 5060)
    IO.puts("Answering calls on 127.0.0.1:#{port} (UDP). Ctrl-C ends.")
    Process.sleep(:infinity)
  end

  def main([path]) do
    case Message.parse(File.read!(path)) do
      {:ok, message} ->
        IO.inspect(message, pretty: true, limit: :infinity)

      {:error, error} ->
        IO.puts(:stderr, "#{path}: #{Exception.message(error)}")
        System.halt(1)
    end
  end

  defp start(name, core, port) do
    {:ok, _} = Sippet.start_link(name: name, core: core)
    {:ok, transport} = UDP.start_link(name: name, port: port, address: "127.0.0.1")
    {:ok, {_ip, port}} = UDP.sockname(transport)
    port
  end

  defp print(entry, names) do
    IO.puts("\n── #{names[entry.source]} sends #{names[entry.destination]} #{entry.label}")
    message = Message.parse!(entry.octets)
    IO.inspect(message, pretty: true, limit: :infinity, printable_limit: 200, width: 100)
  end
end

Demo.main(System.argv())
