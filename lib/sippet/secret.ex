defmodule Sippet.Secret do
  @moduledoc false
  # Random octets that last as long as the VM: a secret for each module that asks for one.

  # As long as the hash of the MACs that it is for, SHA-256 (RFC 2104 §3).
  @size 32

  @doc """
  The secret of a module, made when it is first asked for.
  """
  @spec fetch(module) :: <<_::256>>
  def fetch(owner) do
    case :persistent_term.get({owner, :secret}, nil) do
      nil -> make(owner)
      secret -> secret
    end
  end

  # Two processes may come here at once and must end with one secret. A registered name is the lock: it costs a process
  # that lives for a moment, once per secret, where `:global` would have the loser sleep.
  defp make(owner) do
    {_pid, monitor} = spawn_monitor(fn -> store(owner) end)
    await_end(monitor)
    fetch(owner)
  end

  defp store(owner) do
    Process.register(self(), __MODULE__)

    if :persistent_term.get({owner, :secret}, nil) == nil,
      do: :persistent_term.put({owner, :secret}, :crypto.strong_rand_bytes(@size))
  rescue
    ArgumentError -> __MODULE__ |> Process.monitor() |> await_end()
  end

  defp await_end(monitor) do
    receive do
      {:DOWN, ^monitor, :process, _pid, _reason} -> :ok
    end
  end
end
