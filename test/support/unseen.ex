defmodule Sippet.Unseen do
  @moduledoc false
  # Messages in which every name is new: method, protocol, scheme, header, parameter and token are made of a number.

  alias Sippet.Message
  alias Sippet.ParseError

  @doc """
  Parses the messages of a range of numbers, and gives by how many atoms the VM's table has grown, and how many messages
  have a method or protocol that is no string.
  """
  @spec grow(Range.t()) :: {atoms :: non_neg_integer, known :: non_neg_integer}
  def grow(numbers) do
    before = :erlang.system_info(:atom_count)
    known = Enum.count(numbers, &known?(message(&1)))
    {:erlang.system_info(:atom_count) - before, known}
  end

  defp message(number) do
    id = "n" <> Integer.to_string(number, 36)

    case rem(number, 4) do
      0 -> {:refused, request(id, "Max-Forwards: x#{id}")}
      1 -> {:parsed, response(id)}
      _ -> {:parsed, request(id, "X-#{id}: v")}
    end
  end

  defp request(id, line) do
    """
    #{id} #{id}:#{id}@#{id};#{id} SIP/2.0
    Via: SIP/2.0/#{id} #{id};branch=z9hG4bK#{id};#{id}=1
    From: #{id} <#{id}:#{id}>;tag=#{id};#{id}
    To: <sip:#{id}@#{id};#{id}=#{id}?#{id}=1>;#{id}=#{id}
    Call-ID: #{id}
    CSeq: 1 #{id}
    Event: #{id};#{id}
    Allow: #{id}, #{id}x
    Authorization: #{id} #{id}=#{id}
    Accept: #{id}/#{id};#{id}
    Reason: #{id};#{id}=1
    Supported: #{id}
    Date: #{id}
    #{id}: #{id}
    #{line}

    """
  end

  defp response(id) do
    """
    SIP/2.0 499 #{id}
    v: SIP/2.0/#{id} #{id}
    f: <sip:#{id}>;#{id}
    t: <#{id}:#{id}>;#{id}
    i: #{id}
    CSeq: 1 #{id}
    #{id}-#{id}: #{id}
    Warning: 399 #{id} "#{id}"

    """
  end

  defp known?({:parsed, text}) do
    {:ok, message} = Message.parse(text)
    {1, method} = message.headers.cseq
    [{_, protocol, _, _}] = message.headers.via
    Message.to_string(message)
    not (is_binary(method) and is_binary(protocol))
  end

  defp known?({:refused, text}) do
    {:error, %ParseError{reason: :invalid_header, request: {method, _}}} = Message.parse(text)
    not is_binary(method)
  end
end
