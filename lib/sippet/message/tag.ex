defmodule Sippet.Message.Tag do
  @moduledoc false
  # The tag of a From or To (RFC 3261 §19.3).

  @doc """
  What names a dialog at either end: its Call-ID and both tags. `nil` where one of the tags is missing.
  """
  @spec dialog(map) :: term | nil
  def dialog(headers) do
    case {of(headers[:from]), of(headers[:to])} do
      {one, other} when is_binary(one) and is_binary(other) ->
        [headers[:call_id], min(one, other) | max(one, other)]

      _missing ->
        nil
    end
  end

  @doc """
  Returns the tag of an address, or `nil` where it has none or is none.
  """
  @spec of(term) :: String.t() | nil
  def of({_name, _uri, %{"tag" => tag}}), do: tag
  def of(_header), do: nil
end
