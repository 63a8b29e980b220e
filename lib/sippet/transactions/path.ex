defmodule Sippet.Transactions.Path do
  @moduledoc false
  # How a row keeps by which transport its messages go, and where.

  alias Sippet.{Address, Stack, Transport}
  alias Sippet.Transactions.Key

  @typedoc "A transport as it is kept."
  @type kept :: {pid, Sippet.Message.protocol(), boolean, non_neg_integer, more} | Transport.t()

  @typedoc "Of few: the name that the address was found for, and the transport in whose place this one is."
  @type more :: {host :: String.t() | nil, instead_of :: kept | nil} | nil

  ## Transports

  @doc """
  What stands for a transport: one of the stack's is found again by its process, or by its place. A connection
  has nobody else who knows it.
  """
  @spec keep(Stack.t(), Transport.t()) :: kept
  def keep(stack, %Transport{pid: pid, protocol: protocol} = transport) do
    if Stack.listed?(stack, transport),
      do: {pid, protocol, transport.reliable?, Stack.place(transport), more(stack, transport)},
      else: transport
  end

  defp more(_stack, %Transport{host: nil, instead_of: nil}), do: nil
  defp more(_stack, %Transport{host: host, instead_of: nil}), do: {Key.own(host), nil}

  defp more(stack, %Transport{host: host, instead_of: other}),
    do: {Key.own(host), keep(stack, other)}

  @doc """
  The transport. One that was started again at the same address is the same to who sends there.
  """
  @spec transport(Stack.t(), kept) :: Transport.t()
  def transport(_stack, %Transport{} = transport), do: transport

  def transport(stack, {pid, protocol, reliable?, place, more}) do
    found =
      Stack.transport(stack, pid, protocol) || Stack.transport_at(stack, place, protocol) ||
        Transport.Closed.new(protocol, pid, reliable?, place)

    case more do
      nil -> found
      {host, nil} -> %{found | host: host}
      {host, other} -> %{found | host: host, instead_of: transport(stack, other)}
    end
  end

  @spec protocol(kept) :: Sippet.Message.protocol()
  def protocol({_pid, protocol, _reliable?, _place, _more}), do: protocol
  def protocol(%Transport{protocol: protocol}), do: protocol

  @spec reliable?(kept) :: boolean
  def reliable?({_pid, _protocol, reliable?, _place, _more}), do: reliable?
  def reliable?(%Transport{reliable?: reliable?}), do: reliable?

  ## Destinations

  @doc """
  A destination as it is compared: an address is one, however it is written.
  """
  @spec normal(Transport.destination()) :: Transport.destination()
  def normal({host, port}) when is_binary(host) do
    case Address.parse(host) do
      {:ok, address} -> {address, port}
      :error -> {Key.own(host), port}
    end
  end

  def normal(destination), do: destination

  defguardp byte?(number) when number in 0..255

  @doc """
  A destination as it is kept: one of IPv4, as most are, in a number.
  """
  @spec pack(tuple) :: integer | tuple
  def pack({{a, b, c, d}, port})
      when byte?(a) and byte?(b) and byte?(c) and byte?(d) and port in 0..65_535 do
    <<number::48>> = <<a, b, c, d, port::16>>
    number
  end

  def pack(destination), do: destination

  @spec unpack(integer | tuple) :: tuple
  def unpack(number) when is_integer(number) do
    <<a, b, c, d, port::16>> = <<number::48>>
    {{a, b, c, d}, port}
  end

  def unpack(destination), do: destination
end
