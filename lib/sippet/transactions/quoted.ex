defmodule Sippet.Transactions.Quoted do
  @moduledoc false
  # The beginning of a request, as an ICMP error quotes what could not be delivered: at least 8 octets behind the IP header,
  # and often some hundred (RFC 792, RFC1812§4.3.2.3).

  alias Sippet.{Headers, Message}
  alias Sippet.Transactions.Client

  @via ["via", "v"]

  @doc """
  The key of the client transaction that has sent the request. `:error` where the quoted octets do not hold its whole
  topmost Via.
  """
  @spec key(binary) :: {:ok, Client.Key.t()} | :error
  def key(octets) do
    with [line, rest] <- :binary.split(octets, "\r\n"),
         [method, _uri, "SIP/2.0"] <- :binary.split(line, " ", [:global]),
         {:ok, value} <- topmost_via(rest),
         {:ok, [{_version, _protocol, _sent_by, %{"branch" => branch}} | _]} <-
           Headers.parse("Via", [value]) do
      {:ok, Client.Key.new(branch, Message.to_method(method))}
    else
      _cut -> :error
    end
  end

  # The last line may be cut.
  defp topmost_via(text) do
    with [line, rest] <- :binary.split(text, "\r\n"),
         [name, value] <- :binary.split(line, ":") do
      if String.downcase(name, :ascii) in @via, do: {:ok, value}, else: topmost_via(rest)
    else
      _cut -> :error
    end
  end
end
