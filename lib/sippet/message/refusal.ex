defmodule Sippet.Message.Refusal do
  @moduledoc false
  # How functions of values refuse a request: with the response that says so.

  alias Sippet.Message

  @type t :: {:error, Message.response()}

  @doc """
  Refuses a request with this status.
  """
  @spec new(Message.request(), 300..699) :: t
  def new(request, status), do: {:error, Message.to_response(request, status)}

  @doc """
  Refuses a request for a header that is malformed, or missing where it must be.
  """
  @spec bad_header(Message.request(), String.t()) :: t
  def bad_header(request, header),
    do: {:error, Message.to_response(request, 400, "Bad Request (#{header})")}
end
