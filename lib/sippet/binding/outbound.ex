defmodule Sippet.Binding.Outbound do
  @moduledoc false
  # What a registrar does with the flows of user agents (RFC 5626 §6): which `reg-id` counts, and
  # which is refused.

  alias Sippet.Binding
  alias Sippet.Binding.Contact
  alias Sippet.Message
  alias Sippet.Message.Route

  @doc """
  The contacts with the `reg-id` that counts, or the status that refuses them.
  """
  @spec validate([Contact.t()], Message.request(), [Binding.address()]) ::
          {:ok, [Contact.t()]} | {:error, 400 | 439}
  def validate(contacts, request, path) do
    cond do
      not Enum.any?(contacts, & &1.reg_id) -> {:ok, contacts}
      first_hop?(request) or outbound?(path) -> one_flow(contacts)
      # RFC5626§6 - a proxy that knows of no flows is in between
      supported?(request, "outbound") -> {:error, 439}
      true -> {:ok, for(contact <- contacts, do: %{contact | reg_id: nil})}
    end
  end

  @doc """
  Whether the user agent has sent the request without a proxy in between.
  """
  @spec first_hop?(Message.request()) :: boolean
  def first_hop?(%Message{headers: %{via: [_proxy, _another | _]}}), do: false
  def first_hop?(%Message{}), do: true

  # RFC5626§6 - the first URI of the Path has the parameter "ob"
  defp outbound?([{_name, uri, _params} | _path]), do: Route.parameter?(uri, "ob")
  defp outbound?([]), do: false

  # RFC5626§6 - a REGISTER is for one flow
  defp one_flow(contacts) do
    if Enum.count(contacts, &(&1.interval > 0)) > 1, do: {:error, 400}, else: {:ok, contacts}
  end

  @doc """
  What the 200 requires of the user agent.
  """
  @spec required([Contact.t()] | :all, Message.request()) :: [String.t()]
  def required(contacts, request) do
    if is_list(contacts) and Enum.any?(contacts, & &1.reg_id) and supported?(request, "outbound"),
      do: ["outbound"],
      else: []
  end

  @doc """
  Whether the option tag is in the request's Supported.
  """
  @spec supported?(Message.request(), String.t()) :: boolean
  def supported?(request, tag) do
    # RFC3261§7.3.1 - tokens are compared in any letter case
    request
    |> Message.get_header(:supported, [])
    |> Enum.any?(&(String.downcase(&1, :ascii) == tag))
  end
end
