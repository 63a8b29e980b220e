defmodule Sippet.Stack.Tap do
  @moduledoc false
  # Where who watches a stack gets the octets of each message, in and out, first or again, sound or not.
  #
  # The stack's struct has the number of its taps in an atomic: where there is none, a message costs one read of it. A
  # tap's process is sent messages without being asked, so what may lie in its mailbox is bounded, and what may come in a
  # second: the rest is counted, and missed. Neither copies the octets of a datagram.

  alias Sippet.{Stack, Transport}

  # What may be under way to a tap's process at a time, in octets, each message being charged @overhead besides.
  @under_way 4_194_304
  @overhead 256

  @under_way_slot 1
  @missed_slot 2
  @second_slot 3
  @count_slot 4

  @enforce_keys [:pid, :counts, :per_second]
  defstruct [:pid, :counts, :per_second, :text]

  @typedoc """
  A tap of the process `pid`. `text` is what a message must hold to be of interest, `per_second` how many messages the
  process may be told of in a second.
  """
  @type t :: %__MODULE__{
          pid: pid,
          counts: :atomics.atomics_ref(),
          per_second: pos_integer,
          text: binary | nil
        }

  @typedoc """
  What the process of a tap is sent. The time is in microseconds since 1970; `local` is the address that the transport told when it
  registered.
  """
  @type told ::
          {:tapped, :in | :out, time :: integer, protocol :: atom | binary,
           local :: address | nil, remote :: Transport.destination(), octets :: binary}

  @typep address :: {:inet.ip_address(), :inet.port_number()}

  @spec new(pid, pos_integer, binary | nil) :: t
  def new(pid, per_second, text \\ nil),
    do: %__MODULE__{pid: pid, counts: :atomics.new(4, []), per_second: per_second, text: text}

  ## In the stack

  @spec received(
          Stack.t(),
          binary,
          {atom | binary, :inet.ip_address(), :inet.port_number()},
          Transport.t() | nil
        ) ::
          :ok
  def received(stack, octets, {protocol, host, port}, transport) do
    if :atomics.get(stack.taps, 1) > 0,
      do: tell(stack, {:tapped, :in, now(), protocol, local(transport), {host, port}, octets}),
      else: :ok
  end

  @doc """
  The time to give `sent/5`, to be taken before the message leaves: its answer may be faster than the sender.
  """
  @spec clock(Stack.t()) :: integer | nil
  def clock(stack), do: if(:atomics.get(stack.taps, 1) > 0, do: now())

  @spec sent(integer | nil, Stack.t(), iodata, Transport.t(), Transport.destination()) :: :ok
  def sent(nil, _stack, _octets, _transport, _destination), do: :ok

  def sent(time, stack, octets, transport, destination) do
    octets = IO.iodata_to_binary(octets)
    tell(stack, {:tapped, :out, time, transport.protocol, transport.address, destination, octets})
  end

  defp now, do: System.os_time(:microsecond)

  defp tell(stack, told) do
    for tap <- Stack.taps(stack), wanted?(tap, octets(told)), do: pass(tap, told, octets(told))
    :ok
  end

  defp octets(told), do: elem(told, 6)

  defp local(nil), do: nil
  defp local(transport), do: transport.address

  defp wanted?(%__MODULE__{text: nil}, _octets), do: true
  defp wanted?(%__MODULE__{text: text}, octets), do: :binary.match(octets, text) != :nomatch

  defp pass(%__MODULE__{counts: counts} = tap, told, octets) do
    if in_time?(tap) and room?(counts, cost(octets)),
      do: send(tap.pid, told),
      else: :atomics.add(counts, @missed_slot, 1)
  end

  defp in_time?(%__MODULE__{counts: counts, per_second: per_second}) do
    second = System.monotonic_time(:second)

    if :atomics.exchange(counts, @second_slot, second) != second,
      do: :atomics.put(counts, @count_slot, 0)

    :atomics.add_get(counts, @count_slot, 1) <= per_second
  end

  defp room?(counts, cost) do
    if :atomics.add_get(counts, @under_way_slot, cost) <= @under_way do
      true
    else
      :atomics.sub(counts, @under_way_slot, cost)
      false
    end
  end

  defp cost(octets), do: byte_size(octets) + @overhead

  ## In the process of a tap

  @doc """
  Says that a message was taken out of the mailbox.
  """
  @spec taken(t, binary) :: :ok
  def taken(%__MODULE__{counts: counts}, octets),
    do: :atomics.sub(counts, @under_way_slot, cost(octets))

  @doc """
  How many messages came that the process was not told of.
  """
  @spec missed(t) :: non_neg_integer
  def missed(%__MODULE__{counts: counts}), do: :atomics.get(counts, @missed_slot)
end
