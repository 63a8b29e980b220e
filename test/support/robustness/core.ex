defmodule Sippet.Robustness.Core do
  @moduledoc false
  # A core that does what the user of the Request-URI asks for: fail, take its time, never answer, ring, refuse. Anybody
  # else is called and answers. What becomes of the requests that it sends itself is counted.

  use Sippet.Core

  alias Sippet.Message
  alias Sippet.Robustness.Tally
  alias Sippet.Transactions.Client

  # How long a slow core takes, in ms: longer than T1 by far, so that all that wait for it repeat themselves.
  @slow 5_000

  @impl true
  def receive_request(_ack, nil, _stack), do: :ok

  def receive_request(request, _key, stack) do
    case request.start_line.request_uri.userinfo do
      "raise" -> raise "as it was asked to"
      "silent" -> :ok
      "ringing" -> reply(request, 180, stack)
      "busy" -> reply(request, 486, stack)
      "slow" -> reply_slowly(request, stack)
      "direct" -> answer_directly(request, stack)
      _anybody -> answer(request, stack)
    end
  end

  @impl true
  def receive_response(_response, _key), do: Tally.add(:response)

  @impl true
  def receive_error(_reason, %Client.Key{}), do: Tally.add(:error)
  def receive_error(_reason, _key), do: :ok

  defp reply_slowly(request, stack) do
    Process.sleep(@slow)
    answer(request, stack)
  end

  defp answer(%Message{start_line: %{method: :invite}} = request, stack) do
    reply(request, 180, stack)
    answer_directly(request, stack)
  end

  defp answer(request, stack), do: reply(request, 200, stack)

  # No provisional response that the final one could overtake on its way: SIPp would not know what to make of it.
  defp answer_directly(%Message{start_line: %{method: :invite}} = request, stack) do
    response = Message.to_response(request, 200)
    Sippet.send(stack, response)
    Sippet.retransmit_2xx(stack, response)
  end

  defp answer_directly(request, stack), do: reply(request, 200, stack)

  defp reply(request, status, stack), do: Sippet.send(stack, Message.to_response(request, status))
end

defmodule Sippet.Robustness.Guarded do
  @moduledoc false
  # A core that takes nothing without a digest: two users, one with a good password, and one with a number.

  use Sippet.Core

  alias Sippet.{DigestAuth, Message}

  @realm "test.local"
  @users %{"1000" => "correct horse battery staple", "2000" => "1234"}

  @impl true
  def receive_request(_ack, nil, _stack), do: :ok

  # RFC3261§22.1 - a CANCEL can't be challenged
  def receive_request(%Message{start_line: %{method: :cancel}} = cancel, _key, stack),
    do: Sippet.send(stack, Message.to_response(cancel, 200))

  def receive_request(request, _key, stack) do
    options = [algorithm: "MD5", store: Module.concat(stack, Nonces)]

    case DigestAuth.authenticate(request, @realm, &secret/1, options) do
      {:ok, _user} -> Sippet.send(stack, Message.to_response(request, 200))
      {:error, challenge} -> Sippet.send(stack, challenge)
    end
  end

  @impl true
  def receive_error(_reason, _key), do: :ok

  defp secret(user) do
    with :error <- Map.fetch(@users, user), do: {:error, :unknown}
  end
end
