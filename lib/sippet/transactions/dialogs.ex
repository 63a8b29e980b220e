defmodule Sippet.Transactions.Dialogs do
  @moduledoc false
  # Second names of server transactions: by them an ACK for a 2xx, which has a branch of its own, and a response
  # to a peer of RFC 2543, which lacks the Request-URI, find the machine. A registry keeps them, so they end with
  # their machine.

  alias Sippet.{Message, Stack}
  alias Sippet.Transactions.{Directory, Key, Server}

  @typedoc "RFC 3261 §13.2.2.4: an ACK has the dialog and the CSeq number of the 2xx that it is for."
  @type id :: {:ack, Message.value(), String.t() | nil, String.t() | nil, integer | nil}

  @spec name(atom) :: atom
  def name(stack), do: Module.concat(stack, Dialogs)

  @doc """
  What an ACK and its 2xx have in common.
  """
  @spec id(Message.t()) :: id
  def id(%Message{headers: headers}) do
    {:ack, headers[:call_id], Key.tag(headers[:from]), Key.tag(headers[:to]),
     number(headers[:cseq])}
  end

  defp number({number, _method}), do: number
  defp number(_cseq), do: nil

  @doc """
  The calling machine waits for the ACK of this 2xx.
  """
  @spec await(Stack.t(), Message.response()) :: :ok
  def await(stack, response), do: register(stack, id(response), nil)

  @spec forget(Stack.t(), id) :: :ok
  def forget(stack, id), do: Registry.unregister(name(stack.name), id)

  @doc """
  The calling machine answers this request, whose responses may have another key.
  """
  @spec answers(Stack.t(), Message.request(), Server.Key.t()) :: :ok
  def answers(stack, request, key) do
    if Key.rfc2543?(key),
      do: register(stack, Server.Key.of_responses(request), key),
      else: :ok
  end

  @doc """
  The machine that waits for this ACK.
  """
  @spec waiting(Stack.t(), Message.request()) :: pid | nil
  def waiting(stack, ack) do
    case Directory.lookup(name(stack.name), id(ack)) do
      [{pid, nil}] -> pid
      [] -> nil
    end
  end

  @doc """
  The key of the transaction that sends this response.
  """
  @spec key(Stack.t(), Message.response()) :: Server.Key.t()
  def key(stack, response) do
    key = Server.Key.new(response)

    with true <- Key.rfc2543?(key),
         [{_pid, key}] <- Directory.lookup(name(stack.name), key) do
      key
    else
      _none -> key
    end
  end

  # Of two transactions that differ in their Request-URI alone, the first one keeps the name: see
  # RFC3261§17.2.3, by which such a response cannot be matched at all.
  defp register(stack, name, value) do
    _taken = Registry.register(name(stack.name), name, value)
    :ok
  end
end
