defmodule Sippet.Interop.Case do
  @moduledoc false
  # Tests of a whole stack over real sockets.

  use ExUnit.CaseTemplate

  alias Sippet.Interop.Notebook
  alias Sippet.Transports.UDP

  @loopback {127, 0, 0, 1}

  using do
    quote do
      import Sippet.Interop.Case

      alias Sippet.Interop.{Peers, Program}
      alias Sippet.SIPp
    end
  end

  @doc """
  Starts a stack with one UDP transport on a free port, and gives its name and where it listens.

  Of the options `:ip` is the address; all others are the stack's. What the core tells comes as `{stack, event}`.
  """
  @spec start_stack(module, keyword) :: {atom, {:inet.ip_address(), :inet.port_number()}}
  def start_stack(core, options \\ []) do
    {ip, options} = Keyword.pop(options, :ip, @loopback)
    stack = :"interop_#{System.unique_integer([:positive])}"
    start_supervised!({Notebook, {stack, self()}})
    start_supervised!({Sippet, [name: stack, core: core] ++ options})
    start_supervised!(transport(stack, ip))

    {:ok, {^ip, port}} = UDP.sockname(stack)
    Notebook.put(stack, :local, {text(ip), port})
    {stack, {ip, port}}
  end

  defp transport(stack, ip) when tuple_size(ip) == 8,
    do: {UDP, name: stack, port: 0, address: {text(ip), :inet6}}

  defp transport(stack, ip),
    do: {UDP, name: stack, port: 0, address: text(ip)}

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
        ExUnit.Assertions.flunk("the core was given no further #{method} in #{timeout} ms")
    end
  end
end
