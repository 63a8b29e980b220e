defmodule Sippet.DigestAuth.Header do
  @moduledoc false
  # Which Digest challenges or credentials a message carries.

  alias Sippet.Headers
  alias Sippet.Message

  @type key :: :authorization | :proxy_authorization | :www_authenticate | :proxy_authenticate
  @type params :: %{String.t() => String.t()}

  @names %{
    authorization: "Authorization",
    proxy_authorization: "Proxy-Authorization",
    www_authenticate: "WWW-Authenticate",
    proxy_authenticate: "Proxy-Authenticate"
  }

  @doc """
  The parameters of each Digest value of the header, in order; `:malformed` where there is a header and no line of it can
  be read.
  """
  @spec digests(Message.t(), key) :: [params] | :malformed
  def digests(message, key) do
    case Message.get_header(message, key) do
      nil -> readable(Message.get_header(message, @names[key], []), @names[key])
      values -> Enum.flat_map(values, &digest/1)
    end
  end

  # One malformed line leaves the whole header raw. RFC8760§2.4 - the client must ignore any challenge that it does not
  # understand, and only that one.
  defp readable([], _name), do: []

  defp readable(lines, name) do
    case Enum.flat_map(List.wrap(lines), &parse(&1, name)) do
      [] -> :malformed
      values -> Enum.flat_map(values, &digest/1)
    end
  end

  defp parse(line, name) do
    case Headers.parse(name, line) do
      {:ok, values} -> values
      {:error, _error} -> []
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
    others = request |> Message.get_header(key, []) |> Enum.reject(&for_realm?(&1, realms))
    Message.put_header(request, key, others ++ Enum.map(given, &{"Digest", &1}))
  end

  defp for_realm?(value, realms) do
    case digest(value) do
      [%{"realm" => realm}] -> MapSet.member?(realms, realm)
      _ -> false
    end
  end
end
