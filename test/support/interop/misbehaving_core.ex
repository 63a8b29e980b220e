defmodule Sippet.Interop.MisbehavingCore do
  @moduledoc false
  # A core that misbehaves where the user of the Request-URI asks for it, and else answers as `Answerer` does. What it
  # sends by itself goes to the address that the test noted as `:peer`.

  use Sippet.Core

  alias Sippet.Interop.{Answerer, Endpoint, Notebook}
  alias Sippet.{Message, URI}

  @impl true
  def receive_request(%Message{start_line: line} = request, key, stack) do
    case line.request_uri.userinfo do
      "raise" -> fail(request, key, stack, fn -> raise "as it was asked to" end)
      "throw" -> fail(request, key, stack, fn -> throw(:as_it_was_asked_to) end)
      "exit" -> fail(request, key, stack, fn -> exit(:as_it_was_asked_to) end)
      "kill" -> fail(request, key, stack, fn -> Process.exit(self(), :kill) end)
      "silent" -> tell(request, key, stack)
      "stuck" -> stick(request, key, stack)
      "sender" -> send_and_answer(request, key, stack)
      _anybody -> Answerer.receive_request(request, key, stack)
    end
  end

  @impl true
  def receive_response(%Message{headers: headers} = response, key, stack) do
    {_number, method} = headers.cseq
    Notebook.tell(stack, {:response, method, response.start_line.status_code, response, key})
    # A 2xx that nobody waited for: this core asks back, out of its callback.
    if key == nil, do: ask_back(stack)
  end

  @impl true
  def receive_error(reason, key, stack), do: Notebook.tell(stack, {:error, reason, key})

  defp tell(%Message{start_line: line} = request, key, stack),
    do: Notebook.tell(stack, {:request, line.method, request, key})

  defp fail(request, key, stack, failure) do
    tell(request, key, stack)
    failure.()
  end

  # Longer than the test, but no longer than its process.
  defp stick(request, key, stack) do
    ref = Process.monitor(Notebook.fetch!(stack, :observer))
    tell(request, key, stack)
    receive do: ({:DOWN, ^ref, :process, _pid, _reason} -> :ok)
  end

  # An ACK of a 2xx has no key; whatever has one is answered first.
  defp send_and_answer(request, nil, stack) do
    tell(request, nil, stack)
    ask_back(stack)
  end

  defp send_and_answer(request, key, stack) do
    Answerer.receive_request(request, key, stack)
    Notebook.tell(stack, {:sent, send_out(stack)})
  end

  defp ask_back(stack) do
    {host, port} = Notebook.fetch!(stack, :peer)
    Sippet.send(stack, Endpoint.request(stack, :options, "alice", {host, port}))
  end

  # To where the test wants: a Request-URI, or a target.
  defp send_out(stack) do
    request = Endpoint.request(stack, :options, "alice", Notebook.fetch!(stack, :peer))

    case Notebook.fetch!(stack, :elsewhere) do
      %URI{} = uri -> Sippet.send(stack, put_in(request.start_line.request_uri, uri))
      target -> Sippet.send(stack, %{request | target: target})
    end
  rescue
    # What is no message at all is the fault of whoever made it.
    error in ArgumentError -> {:error, error}
  end
end
