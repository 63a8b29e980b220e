defmodule Sippet.Transactions.Path do
  @moduledoc false
  # How a row keeps by which transport its messages go, and where.

  alias Sippet.{Address, Stack, Transport}
  alias Sippet.Transactions.Key

  @typedoc "A transport as it is kept."
  @type kept ::
          {pid, Sippet.Message.protocol(), boolean, non_neg_integer}
          | {pid, Sippet.Message.protocol(), boolean, non_neg_integer, more}
          | Transport.t()

  @typedoc "Of few: the name that the address was found for, and the transport in whose place this one is."
  @type more :: {host :: String.t() | nil, instead_of :: kept | nil}

  ## Transports

  @doc """
  What stands for a transport: one of the stack's is found again by its process, or by its place. A connection
  has nobody else who knows it.
  """
  @spec keep(Stack.t(), Transport.t()) :: kept
  def keep(stack, %Transport{pid: pid, protocol: protocol, reliable?: reliable?} = transport) do
    case {Stack.listed?(stack, transport), transport} do
      {false, _connection} ->
        transport

      {true, %{host: nil, instead_of: nil}} ->
        {pid, protocol, reliable?, Stack.place(transport)}

      {true, %{host: host, instead_of: other}} ->
        other = if other, do: keep(stack, other)
        {pid, protocol, reliable?, Stack.place(transport), {Key.own(host), other}}
    end
  end

  @doc """
  The transport. One that was started again at the same address is the same to who sends there.
  """
  @spec transport(Stack.t(), kept) :: Transport.t()
  def transport(_stack, %Transport{} = transport), do: transport

  def transport(stack, {pid, protocol, reliable?, place}) do
    Stack.transport(stack, pid, protocol) || Stack.transport_at(stack, place, protocol) ||
      Transport.Closed.new(protocol, pid, reliable?, place)
  end

  def transport(stack, {pid, protocol, reliable?, place, {host, other}}) do
    found = transport(stack, {pid, protocol, reliable?, place})
    %{found | host: host, instead_of: if(other, do: transport(stack, other))}
  end

  @doc """
  The transport in whose place this one was taken, and what is kept of this one without it; `nil` where there is none.
  """
  @spec instead_of(kept) :: {other :: kept, kept} | nil
  def instead_of({pid, protocol, reliable?, place, {host, other}}) when other != nil,
    do: {other, {pid, protocol, reliable?, place, {host, nil}}}

  def instead_of(_kept), do: nil

  @spec protocol(kept) :: Sippet.Message.protocol()
  def protocol(%Transport{protocol: protocol}), do: protocol
  def protocol(kept), do: elem(kept, 1)

  @spec reliable?(kept) :: boolean
  def reliable?(%Transport{reliable?: reliable?}), do: reliable?
  def reliable?(kept), do: elem(kept, 2)

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
