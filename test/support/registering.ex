defmodule Sippet.Registering do
  @moduledoc false
  # REGISTERs of users of biloxi.com, without a stack.

  alias Sippet.{Message, URI}

  @spec uri(String.t()) :: URI.t()
  def uri(user), do: URI.parse!("sip:#{user}@biloxi.com")

  @doc """
  A REGISTER of a user for contacts, in a call of its own unless the headers say otherwise.
  """
  @spec register(String.t(), [String.t()], map | keyword) :: Message.request()
  def register(user, contacts, headers \\ []) do
    base = %{
      to: {"", uri(user), %{}},
      call_id: "#{System.unique_integer([:positive])}",
      cseq: {1, :register},
      contact: for(contact <- contacts, do: {"", URI.parse!(contact), %{}})
    }

    %{
      Message.build_request(:register, "sip:biloxi.com")
      | headers: Map.merge(base, Map.new(headers))
    }
  end

  @doc """
  The term with each of its texts as a part of a larger one, as if it stood in a datagram.
  """
  @spec lent(term) :: term
  def lent(text) when is_binary(text),
    do: binary_part(text <> String.duplicate(" ", 1_000), 0, byte_size(text))

  def lent([head | tail]), do: [lent(head) | lent(tail)]
  def lent(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> lent() |> List.to_tuple()
  def lent(map) when is_map(map), do: map |> :maps.to_list() |> lent() |> :maps.from_list()
  def lent(term), do: term

  @doc """
  The texts in a term that keep more in memory than themselves.
  """
  @spec borrowed(term) :: [binary]
  def borrowed(text) when is_binary(text),
    do: if(:binary.referenced_byte_size(text) > byte_size(text), do: [text], else: [])

  def borrowed([head | tail]), do: borrowed(head) ++ borrowed(tail)
  def borrowed(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> borrowed()
  def borrowed(map) when is_map(map), do: map |> :maps.to_list() |> borrowed()
  def borrowed(_term), do: []
end
