defmodule Sippet.Message.ResponseTest do
  # Not async: it takes the secret of the VM away, and other tests compare tags.
  use ExUnit.Case

  alias Sippet.Message
  alias Sippet.Message.Response
  alias Sippet.URI

  @secret {Response, :secret}

  setup do
    uri = %URI{scheme: "sip", host: "biloxi.com"}
    request = Message.build_request(:options, uri)
    {:ok, request: Message.put_header(request, :to, {"", uri, %{}})}
  end

  # RFC3261§19.3 - a tag must not be guessed by who knows the request
  test "the tag depends on the secret", %{request: request} do
    before = tag(request)
    :persistent_term.erase(@secret)
    assert tag(request) != before
  end

  test "processes that make the secret at once agree on one", %{request: request} do
    for _ <- 1..20 do
      :persistent_term.erase(@secret)
      tasks = for _ <- 1..8, do: Task.async(fn -> receive(do: (:go -> tag(request))) end)
      for task <- tasks, do: send(task.pid, :go)
      assert tasks |> Task.await_many() |> Enum.uniq() |> length() == 1
    end
  end

  defp tag(request) do
    %{headers: %{to: {_, _, %{"tag" => tag}}}} = Message.to_response(request, 200)
    tag
  end
end
