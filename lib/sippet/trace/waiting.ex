defmodule Sippet.Trace.Waiting do
  @moduledoc false
  # Messages of calls that have none yet which a running trace asks for. When one comes, its call
  # is shown from its beginning. What waits is bounded as a trace is: of more the oldest messages
  # are forgotten.

  alias Sippet.Trace.Entry

  @enforce_keys [:max_messages, :max_octets]
  defstruct [
    :max_messages,
    :max_octets,
    calls: %{},
    order: :queue.new(),
    messages: 0,
    octets: 0,
    forgotten: 0
  ]

  # `order` has a Call-ID for each message, and for each that was taken until its turn comes.
  @type t :: %__MODULE__{
          max_messages: pos_integer,
          max_octets: pos_integer,
          calls: %{(String.t() | nil) => :queue.queue({Entry.t(), pos_integer})},
          order: :queue.queue(String.t() | nil),
          messages: non_neg_integer,
          octets: non_neg_integer,
          forgotten: non_neg_integer
        }

  @spec new(pos_integer, pos_integer) :: t
  def new(max_messages, max_octets),
    do: %__MODULE__{max_messages: max_messages, max_octets: max_octets}

  @doc """
  Adds a message that takes so many octets.
  """
  @spec put(t, Entry.t(), pos_integer) :: t
  def put(waiting, %Entry{call_id: call_id} = entry, octets) do
    messages = :queue.in({entry, octets}, Map.get(waiting.calls, call_id, :queue.new()))

    bounded(%{
      waiting
      | calls: Map.put(waiting.calls, call_id, messages),
        order: :queue.in(call_id, waiting.order),
        messages: waiting.messages + 1,
        octets: waiting.octets + octets
    })
  end

  @doc """
  Takes the messages of a call, the oldest first.
  """
  @spec take(t, String.t() | nil) :: {[Entry.t()], t}
  def take(waiting, call_id) do
    {messages, calls} = Map.pop(waiting.calls, call_id, :queue.new())
    messages = :queue.to_list(messages)
    octets = messages |> Enum.map(&elem(&1, 1)) |> Enum.sum()

    {Enum.map(messages, &elem(&1, 0)),
     %{
       waiting
       | calls: calls,
         messages: waiting.messages - length(messages),
         octets: waiting.octets - octets
     }}
  end

  @doc """
  Has nothing wait any more.
  """
  @spec clear(t) :: t
  def clear(waiting),
    do: %{waiting | calls: %{}, order: :queue.new(), messages: 0, octets: 0}

  defp bounded(%{messages: messages, octets: octets} = waiting)
       when messages <= waiting.max_messages and octets <= waiting.max_octets,
       do: waiting

  defp bounded(waiting) do
    {{:value, call_id}, order} = :queue.out(waiting.order)
    bounded(forget_first(%{waiting | order: order}, call_id))
  end

  # It was taken meanwhile, if there is none.
  defp forget_first(waiting, call_id) do
    case waiting.calls do
      %{^call_id => messages} ->
        {{:value, {_entry, octets}}, messages} = :queue.out(messages)

        calls =
          if :queue.is_empty(messages),
            do: Map.delete(waiting.calls, call_id),
            else: Map.put(waiting.calls, call_id, messages)

        %{
          waiting
          | calls: calls,
            messages: waiting.messages - 1,
            octets: waiting.octets - octets,
            forgotten: waiting.forgotten + 1
        }

      %{} ->
        waiting
    end
  end
end
