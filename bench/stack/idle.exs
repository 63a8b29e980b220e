# What an idle TCP connection holds in the VM of the stack: the peers are a VM of their own.

defmodule Bench.Silent do
  use Sippet.Core
  def receive_request(_request, _key, _stack), do: :ok
end

[count] = System.argv()
count = String.to_integer(count)

{:ok, _} = Sippet.start_link(name: :idle, core: Bench.Silent)

{:ok, _} =
  Sippet.Transports.TCP.start_link(
    name: :idle,
    port: 15_061,
    address: "127.0.0.1",
    max_per_address: count,
    first_message: 600_000
  )

peers = """
for _ <- 1..#{count} do
  {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, 15061, [:binary, active: false])
  socket
end

IO.puts("connected")
IO.read(:line)
"""

memory = fn ->
  for pid <- Process.list(), do: :erlang.garbage_collect(pid)
  :erlang.memory(:total)
end

before = memory.()
elixir = System.find_executable("elixir")

port =
  Port.open({:spawn_executable, elixir}, [:binary, args: ["--erl", "+Q 131072", "-e", peers]])

receive do
  {^port, {:data, "connected" <> _}} -> :ok
after
  120_000 -> raise "the peers did not connect"
end

# They hibernate after a second.
Process.sleep(3_000)
^count = Sippet.stats(:idle).connections
kb = (:erlang.memory(:total) - before) / count / 1_024
IO.puts("#{count} idle TCP connections: #{Float.round(kb, 1)} KB each (erlang:memory(:total))")
Port.close(port)
