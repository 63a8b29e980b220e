defmodule Sippet.ExampleCase do
  @moduledoc false
  # Tests of the modules in examples/, each started on a free port of 127.0.0.1.

  use ExUnit.CaseTemplate

  alias Sippet.Message
  alias Sippet.Transports.UDP

  using do
    quote do
      import Sippet.ExampleCase
      import Sippet.Interop.Case
      import Sippet.ScriptedUserAgent

      alias Sippet.{Dialog, Message, ScriptedUserAgent, SIPp, URI}
      alias Sippet.Interop.Peers

      @moduletag :interop
    end
  end

  @doc """
  Starts an example, and gives its stack and where it listens.
  """
  @spec start_example(module, keyword) :: {atom, {:inet.ip_address(), :inet.port_number()}}
  def start_example(module, options \\ []) do
    stack = :"example_#{System.unique_integer([:positive])}"
    # A core of an example is told its configuration through its name alone.
    options = Keyword.merge([name: stack, port: 0], options)

    start_supervised!(%{
      id: options[:name],
      start: {module, :start_link, [options]},
      type: :supervisor
    })

    {:ok, address} = UDP.sockname(options[:name])
    {options[:name], address}
  end

  @doc """
  The SIP URI of a user at an address.
  """
  @spec uri(String.t() | nil, {:inet.ip_address(), :inet.port_number()}) :: String.t()
  def uri(nil, {ip, port}), do: "sip:#{:inet.ntoa(ip)}:#{port}"
  def uri(user, {ip, port}), do: "sip:#{user}@#{:inet.ntoa(ip)}:#{port}"

  @doc """
  The arguments that name a scenario of test/examples/sipp.
  """
  @spec example_scenario(String.t()) :: [String.t()]
  def example_scenario(name),
    do: ["-sf", Path.expand("../examples/sipp/#{name}.xml", __DIR__)]

  @doc """
  A request as the far end sends it once more, in a transaction of its own.
  """
  @spec repeated(Message.request()) :: Message.request()
  def repeated(%Message{headers: %{via: [via | _], cseq: {number, method}}} = request) do
    params = Map.put(elem(via, 3), "branch", Message.create_branch())

    request
    |> Message.put_header(:via, [put_elem(via, 3, params)])
    |> Message.put_header(:cseq, {number + 1, method})
  end
end
