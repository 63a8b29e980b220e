defmodule Sippet.TestCore do
  @moduledoc false
  # A core that tells a test of each callback as `{callback, argument, key}`. Which test is the stack's private option `:test`;
  # with the option `:behave`, what that function returns or raises is what becomes of the callback.

  @behaviour Sippet.Core

  alias Sippet.Stack

  @impl true
  def receive_request(_request, _key), do: raise("the form with the stack is called")

  @impl true
  def receive_response(_response, _key), do: raise("the form with the stack is called")

  @impl true
  def receive_error(_reason, _key), do: raise("the form with the stack is called")

  @impl true
  def receive_request(request, key, stack), do: tell(:receive_request, request, key, stack)
  @impl true
  def receive_response(response, key, stack), do: tell(:receive_response, response, key, stack)
  @impl true
  def receive_error(reason, key, stack), do: tell(:receive_error, reason, key, stack)

  defp tell(callback, argument, key, name) do
    options = Stack.fetch!(name).options.private
    send(options.test, {callback, argument, key})
    Map.get(options, :behave, fn _callback, _argument, _key -> :ok end).(callback, argument, key)
  end
end
