defmodule Sippet.Dialog.Contact do
  @moduledoc false
  # The Contact of a message that makes a dialog, or refreshes its remote target.

  alias Sippet.{Message, URI}
  alias Sippet.Message.Typed

  @doc """
  The URI of the Contact. In a `secure?` dialog it is a SIPS URI.
  """
  @spec uri(Message.t(), secure? :: boolean) ::
          {:ok, URI.t()} | {:error, :no_contact | :bad_contact}
  def uri(%Message{headers: headers}, secure?) do
    # RFC3261§8.1.1.8, §12.1.1 - exactly one SIP or SIPS URI. A malformed one counts too: who sent it means one of them.
    case Typed.each(headers, :contact) do
      {:ok, [{_name, %URI{} = uri, _params}], []} -> judged(uri, secure?)
      {:ok, [], []} -> {:error, :no_contact}
      {:ok, _several, _bad} -> {:error, :bad_contact}
      :error -> {:error, :no_contact}
    end
  end

  # RFC3261§12.1.1 - in a dialog of a SIPS URI the Contact is one
  defp judged(%URI{scheme: "sips", host: host} = uri, _secure?) when is_binary(host),
    do: {:ok, uri}

  defp judged(%URI{scheme: "sip", host: host} = uri, false) when is_binary(host), do: {:ok, uri}
  defp judged(_uri, _secure?), do: {:error, :bad_contact}

  @doc """
  The first Contact that the application itself has written, if there is one.
  """
  @spec own(Message.t()) :: tuple | nil
  def own(%Message{headers: %{contact: [contact | _]}}), do: contact
  def own(_message), do: nil
end
