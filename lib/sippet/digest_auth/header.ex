defmodule Sippet.DigestAuth.Header do
  @moduledoc false
  # Which Digest challenges or credentials a message carries.

  alias Sippet.Message
  alias Sippet.Message.Typed

  @type key :: :authorization | :proxy_authorization | :www_authenticate | :proxy_authenticate
  @type params :: %{String.t() => String.t()}

  @doc """
  The parameters of each Digest value of the header, in order; `:malformed` where there is a
  header and nothing of it can be read.
  """
  @spec digests(Message.t(), key) :: [params] | :malformed
  # RFC8760§2.4 - the client must ignore any challenge that it does not understand, and only that
  # one
  def digests(message, key) do
    case Typed.each(message.headers, key) do
      {:ok, [], [_ | _]} -> :malformed
      {:ok, values, _malformed} -> Enum.flat_map(values, &digest/1)
      :error -> []
    end
  end

  defp digest({scheme, params}) do
    if String.downcase(scheme, :ascii) == "digest", do: [params], else: []
  end

  @doc """
  Puts credentials behind the others, in place of those for the same realms.
  """
  @spec put_credentials(Message.request(), key, [params]) :: Message.request()
  def put_credentials(request, _key, []), do: request

  def put_credentials(request, key, given) do
    realms = MapSet.new(given, & &1["realm"])
    others = Enum.reject(values(request, key), &for_realm?(&1, realms))
    Message.put_header(request, key, others ++ Enum.map(given, &{"Digest", &1}))
  end

  defp values(request, key) do
    case Typed.each(request.headers, key) do
      {:ok, values, _malformed} -> values
      :error -> []
    end
  end

  defp for_realm?(value, realms) do
    case digest(value) do
      [%{"realm" => realm}] -> MapSet.member?(realms, realm)
      _ -> false
    end
  end
end
