defmodule Sippet.PeerVM do
  @moduledoc false
  # Another VM of this machine, with the code of this one. It ends with the test, or is killed.

  import Sippet.Wait

  @patience 20_000

  @doc """
  Starts a VM, linked to the caller; `:args` and `:env` are its command line and its environment.
  """
  @spec start(keyword) :: pid
  def start(options \\ []) do
    paths = Enum.flat_map(:code.get_path(), &[~c"-pa", &1])
    args = for argument <- Keyword.get(options, :args, []), do: to_charlist(argument)

    env =
      for {name, value} <- Keyword.get(options, :env, []),
          do: {to_charlist(name), to_charlist(value)}

    {:ok, peer, _node} =
      :peer.start_link(%{connection: :standard_io, args: args ++ paths, env: env})

    peer
  end

  @doc """
  Calls a function there.
  """
  @spec call(pid, module, atom, [term]) :: term
  def call(peer, module, function, arguments),
    do: :peer.call(peer, module, function, arguments, @patience)

  @doc """
  Starts a process there that lasts as long as the VM.
  """
  @spec start_child(pid, module, term) :: term
  def start_child(peer, module, argument),
    do: call(peer, __MODULE__, :host, [module, argument])

  @doc false
  @spec host(module, term) :: term
  def host(module, argument) do
    caller = self()

    spawn(fn ->
      send(caller, {__MODULE__, module.start_link(argument)})
      receive(do: (:never -> :ok))
    end)

    receive(do: ({__MODULE__, result} -> result))
  end

  @doc """
  Ends the VM by SIGKILL, and returns when it is no more.
  """
  @spec kill(pid) :: :ok
  def kill(peer) do
    os_pid = peer |> call(:os, :getpid, []) |> to_string()
    Process.unlink(peer)
    {_output, 0} = System.cmd("kill", ["-9", os_pid])
    wait_until(fn -> gone?(os_pid) end, "the end of a VM")
  end

  defp gone?(os_pid) do
    {_output, status} = System.cmd("kill", ["-0", os_pid], stderr_to_stdout: true)
    status != 0
  end
end
