defmodule Sippet.Interop.Case do
  @moduledoc false
  # Tests of a whole stack over real sockets.

  use ExUnit.CaseTemplate

  import ExUnit.Assertions
  import Sippet.Wait

  alias Sippet.Interop.Notebook
  alias Sippet.Transports.{TCP, TLS, UDP}

  @loopback {127, 0, 0, 1}
  @transports %{udp: UDP, tcp: TCP, tls: TLS}

  using do
    quote do
      import Sippet.Interop.Case

      alias Sippet.Interop.{Peers, Program}
      alias Sippet.SIPp
    end
  end

  @doc """
  Starts a stack with one transport on a free port, and gives its name and where it listens.

  Of the options `:ip` is the address, `:protocol` that of the transport (`:udp`), and `:transport` has options of its own;
  all others are the stack's. What the core tells comes as `{stack, event}`.
  """
  @spec start_stack(module, keyword) :: {atom, {:inet.ip_address(), :inet.port_number()}}
  def start_stack(core, options \\ []) do
    {ip, options} = Keyword.pop(options, :ip, @loopback)
    {protocol, options} = Keyword.pop(options, :protocol, :udp)
    {transport, options} = Keyword.pop(options, :transport, [])
    stack = :"interop_#{System.unique_integer([:positive])}"
    start_supervised!({Notebook, {stack, self()}})
    start_supervised!({Sippet, [name: stack, core: core] ++ options})
    {^ip, port} = add_transport(stack, protocol, [ip: ip] ++ transport)
    Notebook.put(stack, :local, {text(ip), port})
    Notebook.put(stack, :protocol, protocol)
    {stack, {ip, port}}
  end

  @doc """
  Starts a transport of a stack, on a free port if the options name none, and gives where it listens.
  """
  @spec add_transport(atom, :udp | :tcp | :tls, keyword) ::
          {:inet.ip_address(), :inet.port_number()}
  def add_transport(stack, protocol, options \\ []) do
    module = Map.fetch!(@transports, protocol)
    {ip, options} = Keyword.pop(options, :ip, @loopback)
    options = Keyword.merge([name: stack, port: 0, address: local(ip)], options)
    {:ok, address} = {module, options} |> start_supervised!() |> module.sockname()
    address
  end

  defp local(ip) when tuple_size(ip) == 8, do: {text(ip), :inet6}
  defp local(ip), do: text(ip)

  @doc """
  An address in words.
  """
  @spec text(:inet.ip_address()) :: String.t()
  def text(ip), do: ip |> :inet.ntoa() |> List.to_string()

  @doc """
  The requests of a method that the core of a stack was given: waits until there are `count`, and takes those that are
  there besides.
  """
  @spec requests(atom, atom, non_neg_integer) :: [Sippet.Message.request()]
  def requests(stack, method, count) do
    awaited = for _ <- 1..count//1, do: request(stack, method, 5_000)
    awaited ++ surplus(stack, method)
  end

  defp surplus(stack, method) do
    case request(stack, method, 0) do
      nil -> []
      request -> [request | surplus(stack, method)]
    end
  end

  @doc """
  Waits for these responses, as the core of a stack was given them: `[invite: 180, invite: 200]`.
  """
  @spec assert_responses(atom, [{atom, 100..699}]) :: :ok
  def assert_responses(stack, responses) do
    for {method, status} <- responses do
      assert_receive {^stack, {:response, ^method, ^status, _response, _key}}, 5_000
    end

    :ok
  end

  @doc """
  What a stack with `Sippet.Interop.Events` has told so far of connections that were `:opened`, `:closed` or `:refused`.
  """
  @spec connections(atom, :opened | :closed | :refused) :: [map]
  def connections(stack, event) do
    receive do
      {^stack, {:event, [:sippet, :connection, ^event], _measured, about}} ->
        [about | connections(stack, event)]
    after
      0 -> []
    end
  end

  @doc """
  Waits until a stack has no connection any more.
  """
  @spec await_gone(atom) :: :ok
  def await_gone(stack),
    do: wait_until(fn -> Sippet.stats(stack).connections == 0 end, "the end of connections")

  defp request(stack, method, 0) do
    receive do
      {^stack, {:request, ^method, request, _key}} -> request
    after
      0 -> nil
    end
  end

  defp request(stack, method, timeout) do
    receive do
      {^stack, {:request, ^method, request, _key}} -> request
    after
      timeout ->
        flunk("the core was given no further #{method} in #{timeout} ms")
    end
  end
end
