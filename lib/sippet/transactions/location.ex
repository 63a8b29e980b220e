defmodule Sippet.Transactions.Location do
  @moduledoc false
  # To which address a message goes whose destination is a host's name, and by which transport.

  alias Sippet.{Address, Message, Resolver, Stack, Transport}
  alias Sippet.Transactions.Workers
  alias Sippet.Transport.{Choice, Outgoing}

  @doc """
  Whether a destination is to be looked up, before a message can go there by this transport.
  """
  @spec needed?(Transport.t(), Transport.destination()) :: boolean
  def needed?(%Transport{takes_names?: false}, {host, _port}), do: is_binary(host)
  def needed?(_takes_names, _destination), do: false

  @doc """
  The addresses of a destination, if they are known. Else a worker gets `{:resolved, tag, answer}`.
  """
  @spec look_up(Stack.t(), Transport.t(), Transport.destination(), pos_integer, term) ::
          Resolver.answer() | :asked
  def look_up(stack, transport, {host, _port}, worker, tag) do
    case Address.host(host) do
      {:ok, name} ->
        question = {name, Choice.families(Stack.transports(stack), transport)}
        Resolver.known(stack, question) || ask(stack, question, worker, tag)

      # Text that can be no host's is not worth a question.
      :error ->
        {:error, :nxdomain}
    end
  end

  defp ask(stack, question, worker, tag) do
    Resolver.ask(stack, question, Workers.name(stack, worker), tag)
    :asked
  end

  @doc """
  One of the addresses, by chance, for a transaction, which keeps it.
  """
  @spec draw([:inet.ip_address()]) :: :inet.ip_address()
  # RFC2782 - addresses of one name are alike
  def draw(addresses), do: Enum.random(addresses)

  @doc """
  The address that is always the same, for what no transaction remembers (RFC 3263 §4.4).
  """
  @spec first([:inet.ip_address()]) :: :inet.ip_address()
  def first(addresses), do: Enum.min(addresses)

  @doc """
  Another way for a response whose transport is gone: from another transport of the protocol; over a reliable one to the port
  where the client listens.
  """
  @spec another(Stack.t(), Outgoing.t()) :: Outgoing.t() | nil
  # RFC3261§18.2.2 - by a new connection to received, or else the sent-by's address, and the sent-by's port
  def another(
        stack,
        %Outgoing{transport: gone, destination: {ip, _port}, octets: octets} = outgoing
      ) do
    others =
      Enum.reject(Stack.transports(stack), &(&1.pid == gone.pid and &1.handle == gone.handle))

    case Choice.reaching(others, gone.protocol, ip) do
      [transport | _] when gone.reliable? ->
        %Message{headers: %{via: [{_version, _protocol, {_host, port}, _params} | _]}} =
          Message.parse!(octets)

        %{outgoing | transport: transport, destination: {ip, port}}

      [transport | _] ->
        %{outgoing | transport: transport}

      [] ->
        nil
    end
  end

  @doc """
  The transport by which a message reaches the address: the given one, or else another of its protocol.
  """
  @spec transport(Stack.t(), Transport.t(), :inet.ip_address(), binary) :: Transport.t() | nil
  def transport(stack, %Transport{protocol: protocol} = transport, ip, octets) do
    case Choice.reaching([transport], protocol, ip) do
      [transport] -> transport
      [] -> Choice.choose(Stack.transports(stack), protocol, ip, Message.parse!(octets))
    end
  end
end
