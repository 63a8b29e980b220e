defmodule Sippet.Message.Random do
  @moduledoc false
  # What has to be unique in a message, and hard to guess.

  @magic_cookie "z9hG4bK"

  @spec magic_cookie() :: String.t()
  def magic_cookie, do: @magic_cookie

  # RFC3261§19.3 - 32 bits at least
  @spec tag() :: String.t()
  def tag, do: random(6)

  @spec branch() :: String.t()
  def branch, do: @magic_cookie <> random(9)

  @spec call_id() :: String.t()
  def call_id, do: random(15)

  defp random(octets),
    do: octets |> :crypto.strong_rand_bytes() |> Base.url_encode64(padding: false)
end
