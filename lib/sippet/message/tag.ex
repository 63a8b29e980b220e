defmodule Sippet.Message.Tag do
  @moduledoc false
  # The tag of a From or To (RFC 3261 §19.3).

  @doc """
  Returns the tag of an address, or `nil` where it has none or is none.
  """
  @spec of(term) :: String.t() | nil
  def of({_name, _uri, %{"tag" => tag}}), do: tag
  def of(_header), do: nil
end
